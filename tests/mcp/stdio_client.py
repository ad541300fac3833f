"""A bare MCP client over two pipes: what it sends and gets are lines."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

__all__ = ["StdioClient", "call", "initialize"]

_PATIENCE_SECONDS = 30


def call(message_id: Any, name: str, arguments: Any = None, **params: Any) -> dict[str, Any]:
    """A ``tools/call``."""
    given = {} if arguments is None else {"arguments": arguments}
    return {
        "jsonrpc": "2.0",
        "id": message_id,
        "method": "tools/call",
        "params": {"name": name, **given, **params},
    }


def initialize(client_name: str = "test") -> dict[str, Any]:
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": client_name, "version": "1"}}
    return {"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": params}


class StdioClient:
    """The client's ends of the two pipes, of which a server has the others: ``source`` and ``sink``."""

    def __init__(self) -> None:
        self.source, self._write_end = os.pipe()
        self._read_end, self.sink = os.pipe()
        self._reader = asyncio.StreamReader(limit=2**28)
        self._transport: asyncio.ReadTransport | None = None

    async def send(self, *messages: Any) -> None:
        """Send messages, or bytes as they are, one a line."""
        lines = [message if isinstance(message, bytes) else json.dumps(message).encode() for message in messages]
        await asyncio.to_thread(self._write, b"".join(line + b"\n" for line in lines))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._write_end, view) :]

    async def line(self) -> bytes:
        """The next line, without its end; empty when there are no more."""
        if self._transport is None:
            loop = asyncio.get_running_loop()
            pipe = os.fdopen(self._read_end, "rb", buffering=0)
            self._transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(self._reader), pipe)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return (await self._reader.readline()).removesuffix(b"\n")

    async def message(self) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = json.loads(await self.line())
        return message

    async def ask(self, message: Any) -> dict[str, Any]:
        await self.send(message)
        return await self.message()

    def stop_writing(self) -> None:
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1

    def stop_reading(self) -> None:
        if self._transport is not None:
            self._transport.close()
        elif self._read_end >= 0:
            os.close(self._read_end)
        self._read_end = -1

    def close(self) -> None:
        self.stop_writing()
        self.stop_reading()
