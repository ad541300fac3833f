"""A proxy between a client and the service that knows no HTTP, and does to connections what networks do.

``python -m tests.chaos_proxy PORT WHIMS`` is the same for other languages: ``WHIMS`` is a JSON array of objects. It
prints the port on which it listens, and runs until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from tests.proxy import Proxy

__all__ = ["PASS", "ChaosProxy", "Whim"]


@dataclass(frozen=True, slots=True)
class Whim:
    """What becomes of one connection, on one side: of what the service says (`answer`), or the client (`request`).

    So many bytes pass. Then the connection is closed, or reset; its one direction is closed, and the other stays open;
    or nothing more comes through, and everything stays open. `piece` bytes at a time are passed on, with a pause
    before each.
    """

    then: Literal["pass", "close", "reset", "half_close", "black_hole"] = "pass"
    after: int = 0
    side: Literal["answer", "request"] = "answer"
    piece: int = 65536
    pause_seconds: float = 0.0


PASS = Whim()


class ChaosProxy(Proxy):
    """Passes bytes to ``port``; the next connections meet the ``whims``, in this order, and those after them none."""

    def __init__(self, port: int, whims: Iterable[Whim] = ()) -> None:
        super().__init__(port)
        self.whims = list(whims)
        #: How many connections came.
        self.connections = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        whim = self.whims.pop(0) if self.whims else PASS
        from_service, to_service = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_pass(reader, to_service, whim if whim.side == "request" else PASS))
                ways.create_task(_pass(from_service, writer, whim if whim.side == "answer" else PASS))
        except* (ConnectionError, _Cut):
            pass
        finally:
            if whim.then == "reset":
                _reset(writer)
                _reset(to_service)
            for one in (writer, to_service):
                one.transport.abort() if whim.then == "reset" else one.close()
                with suppress(ConnectionError):
                    await one.wait_closed()


class _Cut(Exception):
    """The connection is over."""


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, whim: Whim) -> None:
    """Pass on what comes in one direction, until it ends there."""
    left = whim.after if whim.then != "pass" else None
    while left is None or left > 0:
        piece = await reader.read(whim.piece if left is None else min(whim.piece, left))
        if not piece:
            break
        if whim.pause_seconds:
            await asyncio.sleep(whim.pause_seconds)
        writer.write(piece)
        await writer.drain()
        left = None if left is None else left - len(piece)
    else:
        if whim.then in ("close", "reset"):
            raise _Cut
        if whim.then == "black_hole":
            while await reader.read(65536):
                pass
            raise _Cut
    if writer.can_write_eof():
        with suppress(OSError):
            writer.write_eof()
    if whim.then == "half_close":
        while await reader.read(65536):  # it is not passed on, and nobody is held up by it
            pass


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    with suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


async def _main(port: str, whims: str) -> None:
    async with ChaosProxy(int(port), [Whim(**whim) for whim in json.loads(whims)]).running() as proxy:
        print(proxy.own_port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
