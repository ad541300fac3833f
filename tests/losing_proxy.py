"""A proxy between a client and the service that loses requests and answers, as real ones do."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Literal

from tests.proxy import Proxy

__all__ = ["Fate", "LosingProxy"]

#: What becomes of one request: it passes; its connection is reset before it is passed on; or the service gets it, and
#: the answer is lost, comes by half, or is replaced by the proxy's own page.
Fate = Literal["pass", "reset", "lose", "half", "502", "504", "silent"]


class LosingProxy(Proxy):
    """Passes requests to ``port``, one connection each; the next ones meet the ``fates``, in this order."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.fates: list[Fate] = []
        #: The request lines that came.
        self.asked: list[str] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.decode().partition(" HTTP/")[0])
        size = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
        request = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + await reader.readexactly(size)
        fate = self.fates.pop(0) if self.fates else "pass"
        if fate == "reset":
            return writer.transport.abort()
        answer = b""
        with suppress(ConnectionError):
            from_service, to_service = await asyncio.open_connection("127.0.0.1", self.port)
            to_service.write(request)
            left = asyncio.create_task(reader.read())
            answered = asyncio.create_task(from_service.read())
            await asyncio.wait({left, answered}, return_when=asyncio.FIRST_COMPLETED)
            to_service.close()
            answer = answered.result() if answered.done() else b""
            for task in (left, answered):
                task.cancel()
        if fate == "silent":
            await asyncio.Event().wait()
        if fate == "lose":
            return writer.transport.abort()
        if not answer or fate in ("502", "504"):
            page = b"<html><h1>Bad Gateway</h1></html>"
            status = b"504 Gateway Time-out" if fate == "504" else b"502 Bad Gateway"
            answer = b"HTTP/1.1 %b\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (
                status, len(page), page,
            )  # fmt: skip
        writer.write(answer[: len(answer) - 40] if fate == "half" else answer)
        await writer.drain()
        return None
