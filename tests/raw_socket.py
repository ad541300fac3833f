"""A WebSocket client on a bare socket: it sends any frame, reads, stops reading, or leaves, exactly as a test says."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Self

#: Longer than any event takes; shorter than the heartbeat, which would wake what should have come by itself.
PATIENCE_SECONDS = 10

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Closed(NamedTuple):
    """How the service closed a socket; 1006 is what RFC 6455 calls a connection that ended without saying why."""

    code: int
    reason: str


class RawSocket:
    """An open WebSocket. `receive_bytes` bounds what the kernel takes while nobody reads."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self.reader = reader
        self._writer = writer
        #: The head of the handshake's answer.
        self.head = head
        #: How the service closed it, once it has.
        self.ended: Closed | None = None
        #: Pings that came, each answered unless `answers` is off.
        self.pings = 0
        #: Whether pings and a close are answered, as RFC 6455 asks.
        self.answers = True

    @classmethod
    async def open(
        cls, port: int, path: str, *, headers: Mapping[str, str] | None = None, receive_bytes: int | None = None
    ) -> Self:
        connection = socket.socket()
        connection.setblocking(False)
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        # A small limit: the stream reader itself must not read ahead for somebody who does not read.
        reader, writer = await asyncio.open_connection(sock=connection, limit=2**12)
        lines = [
            f"GET {path} HTTP/1.1",
            "Host: 127.0.0.1",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 101 "), head
        return cls(reader, writer, head)

    async def send(self, message: Any) -> None:
        """Send a text frame: text as it is, anything else as JSON."""
        await self.send_frame(TEXT, (message if isinstance(message, str) else json.dumps(message)).encode())

    async def send_frame(self, opcode: int, payload: bytes = b"", *, final: bool = True) -> None:
        length = len(payload)
        if length < 126:
            size = bytes([0x80 | length])
        elif length < 2**16:
            size = bytes([0x80 | 126]) + length.to_bytes(2)
        else:
            size = bytes([0x80 | 127]) + length.to_bytes(8)
        # A mask of zeros is a mask, and leaves the payload as it is.
        self._writer.write(bytes([0x80 * final | opcode]) + size + bytes(4) + payload)
        await self._writer.drain()

    async def event(self) -> dict[str, Any] | None:
        """The next event, or None at the end, of which `ended` then tells."""
        while self.ended is None:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    opcode, payload = await self._frame()
            except (asyncio.IncompleteReadError, ConnectionError):
                self.ended = Closed(1006, "")
                break
            if opcode == TEXT:
                event: dict[str, Any] = json.loads(payload)
                return event
            if opcode == PING:
                self.pings += 1
            if self.answers and opcode in (CLOSE, PING):
                with suppress(ConnectionError):
                    await self.send_frame(CLOSE if opcode == CLOSE else PONG, payload)
            if opcode == CLOSE:
                self.ended = Closed(int.from_bytes(payload[:2]), payload[2:].decode())
                if self.answers:
                    assert await self.reader.read() == b"", "something came after the close"
        return None

    async def take(self, count: int) -> list[dict[str, Any]]:
        events = [await self.event() for _ in range(count)]
        assert None not in events, f"the socket ended: {self.ended}, after {events}"
        return [event for event in events if event is not None]

    async def rest(self) -> list[dict[str, Any]]:
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
        raise AssertionError(f"the socket ended without {event_type}: {self.ended}")

    def leave(self) -> None:
        """Close the connection without the handshake that WebSockets have for it."""
        self._writer.close()

    def vanish(self) -> None:
        """Reset the connection, as a killed process does."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._writer.transport.abort()

    async def closed(self) -> None:
        self._writer.transport.abort()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _frame(self) -> tuple[int, bytes]:
        first, second = await self.reader.readexactly(2)
        assert first & 0xF0 == 0x80, "the service sends whole frames without extensions"
        assert second < 0x80, "a server does not mask"
        length = second
        if length >= 126:
            length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8))
        return first & 0x0F, await self.reader.readexactly(length)


OpenSocket = Callable[..., Awaitable[RawSocket]]
