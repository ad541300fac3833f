"""A client of the event stream on a bare socket: it reads, stops reading, or leaves, exactly when a test says so."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Self


class RawStream:
    """An open event stream. `receive_bytes` bounds what the kernel takes while nobody reads."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, path: str, *, receive_bytes: int | None = None, http: str = "1.0") -> Self:
        connection = socket.socket()
        connection.setblocking(False)
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        # A small limit: the stream reader itself must not read ahead for somebody who does not read.
        reader, writer = await asyncio.open_connection(sock=connection, limit=2**12)
        # HTTP/1.0 has the plain stream as its body; the chunk lines of 1.1 stand between frames, and are passed over.
        writer.write(f"GET {path} HTTP/{http}\r\nHost: 127.0.0.1\r\n\r\n".encode())
        await writer.drain()
        return cls(reader, writer)

    async def status(self) -> int:
        """The status of the answer; the head is read."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await self.reader.readexactly(1)
        return int(head.split(b" ")[1])

    async def event(self) -> dict[str, Any] | None:
        """The next event, or None at the end."""
        while line := await self._line():
            if line.startswith(b"data: "):
                event: dict[str, Any] = json.loads(line[6:])
                return event
        return None

    async def events(self) -> list[dict[str, Any]]:
        """All events until the end."""
        found = []
        while (event := await self.event()) is not None:
            found.append(event)
        return found

    async def until(self, event_type: str) -> dict[str, Any]:
        """The next event of a type; what comes before is passed over."""
        while (event := await self.event()) is not None:
            if event["type"] == event_type:
                return event
        raise AssertionError(f"the stream ended without {event_type}")

    def leave(self) -> None:
        """Close the connection."""
        self.writer.close()

    def vanish(self) -> None:
        """Reset the connection, as a killed process does."""
        self.writer.transport.abort()

    async def closed(self) -> None:
        self.writer.transport.abort()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    async def _line(self) -> bytes:
        pieces = []
        while True:
            try:
                pieces.append(await self.reader.readuntil(b"\n"))
            except asyncio.LimitOverrunError as error:
                pieces.append(await self.reader.readexactly(error.consumed))
                continue
            except asyncio.IncompleteReadError as error:
                pieces.append(error.partial)
            return b"".join(pieces)


OpenStream = Callable[..., Awaitable[RawStream]]
