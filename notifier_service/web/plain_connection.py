"""A connection whose requests are answered here for as long as they are plain; aiohttp has it from the first other on.

To aiohttp a request is a parser, a queue, a future, a task, a stream and a response, and three turns of the loop: more
than an event costs that is published by it. A request that is here whole, and of which each header is known, needs none
of that: its head is found by one search, and its answer is written before the next turn. Whatever else comes is given
to aiohttp byte by byte, with the connection, which is its own from then on. What is used of it is public: that
``web.Server`` makes protocols, and requests of what was read; ``Transport.set_protocol``.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, cast

from aiohttp import EMPTY_PAYLOAD, HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.log import access_logger
from multidict import CIMultiDict
from yarl import URL

from .door import Door
from .logs import AccessLog
from .plain_head import PlainHead, head_in
from .short_way import MOST_PATH, Said, ShortWay, Told

__all__ = ["PlainConnection", "PlainConnections"]

#: What is kept of what came and cannot be answered yet; a longer body that does not come at once is aiohttp's.
_MOST_BYTES = 64 * 1024
#: So long the rest of a request may take: many clients send head and body one behind the other.
_REST_SECONDS = 0.1

_url = lru_cache(maxsize=256)(partial(URL, encoded=True))


class PlainConnections:
    """The connections of a server that aiohttp has not got, and what they share."""

    def __init__(self, way: ShortWay, door: Door, server: web.Server) -> None:
        self.way, self.door = way, door
        self.loop = asyncio.get_running_loop()
        #: Makes the protocol of a connection that aiohttp is to have.
        self.server = server
        self.access_log = AccessLog(access_logger, "")
        self._open: set[PlainConnection] = set()

    def __call__(self) -> PlainConnection:
        return PlainConnection(self)

    def add(self, connection: PlainConnection) -> None:
        self._open.add(connection)

    def discard(self, connection: PlainConnection) -> None:
        self._open.discard(connection)

    def close(self) -> None:
        """Have each end as soon as nothing is under way on it."""
        for connection in tuple(self._open):
            connection.close()

    async def closed(self, seconds: float | None) -> None:
        """Wait until all have ended, which were told to; cut those whose peer has not taken the rest by then."""
        deadline = math.inf if seconds is None else self.loop.time() + seconds
        while self._open and self.loop.time() < deadline:  # noqa: ASYNC110  # a transport tells nobody else
            await asyncio.sleep(0.01)
        for connection in tuple(self._open):
            connection.cut()


class PlainConnection(asyncio.Protocol):
    """One of them."""

    __slots__ = (
        "_among", "_came", "_is_busy", "_is_closing", "_is_full", "_request", "_rest_timer", "_taken", "left", "task",
        "transport",
    )  # fmt: skip

    def __init__(self, among: PlainConnections) -> None:
        self._among = among
        self.transport: asyncio.Transport | None = None
        self.left: Callable[[], object] | None = None
        #: Who answers what is under way, where that takes longer.
        self.task: asyncio.Task[None] | None = None
        #: What came, and is no whole request yet, or waits until the one before it is answered.
        self._came = b""
        self._rest_timer: asyncio.TimerHandle | None = None
        #: An answer is under way, or others have their turn before the next one.
        self._is_busy = False
        #: The peer does not take what it is told; and who waits until it has.
        self._is_full = False
        self._taken: asyncio.Future[None] | None = None
        self._is_closing = False
        self._request: web.Request | None = None

    # What a request asks of its protocol

    @property
    def peername(self) -> Any:
        return None if self.transport is None else self.transport.get_extra_info("peername")

    @property
    def sockname(self) -> Any:
        return None if self.transport is None else self.transport.get_extra_info("sockname")

    @property
    def ssl_context(self) -> Any:
        return None if self.transport is None else self.transport.get_extra_info("sslcontext")

    # What the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if (connection := transport.get_extra_info("socket")) is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # as aiohttp does: an answer may wait long
        self._among.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._forget_rest()
        self._among.discard(self)
        if self.task is not None:
            self.task.cancel()
        if self.left is not None:
            self.left()
            self.left = None

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)
        if not self._is_busy:
            self._is_busy = True
            self._among.loop.call_soon(self._go_on)

    def data_received(self, data: bytes) -> None:
        is_rest = bool(self._came)
        if is_rest:
            data = self._came + data
        if self._is_busy or self._is_full:
            self._keep(data)
            return
        if is_rest:
            self._forget_rest()
        self._take(data, is_rest=is_rest)

    # What is done with it

    def _take(self, data: bytes, *, is_rest: bool = False) -> None:
        line_end = data.find(b"\r\n")
        end = data.find(b"\r\n\r\n", line_end)
        if (
            end < 0
            or line_end > MOST_PATH
            or not data.startswith(b"POST ")
            or data[line_end - 9 : line_end] != b" HTTP/1.1"
        ):
            self._hand_over(data)
            return
        way = self._among.way
        head = head_in(data[line_end + 2 : end + 2])
        path = data[5 : line_end - 9].decode("latin-1")
        if head is None or not way.takes(path, head):
            self._hand_over(data)
            return
        size = end + 4 + head.length
        if size > len(data):
            if is_rest or size > _MOST_BYTES:
                self._hand_over(data)
            else:
                self._came = data
                self._rest_timer = self._among.loop.call_later(_REST_SECONDS, self._give_up)
            return
        answer = way.answer(path, head, data[end + 4 : size], self)
        if answer is None:
            self._hand_over(data)
            return
        if size < len(data):
            self._keep(data[size:])
        if isinstance(answer, Said) and not answer.is_last:
            self._say(answer.text, path, head)
            return
        loop = self._among.loop
        self._is_busy = True
        self._among.door.begun(self)  # from now on: it gives way to nobody who comes in this very turn
        if isinstance(answer, Said):
            loop.call_soon(self._say_last, answer.text, path, head)
        else:
            self.task = loop.create_task(self._answer(answer, self.whole(path, head)))

    def _say_last(self, text: bytes, path: str, head: PlainHead) -> None:
        self._among.door.ended(self)
        self._say(text, path, head)

    def _say(self, text: bytes, path: str, head: PlainHead) -> None:
        """Answer at once."""
        among, transport = self._among, self.transport
        if transport is None:
            return
        transport.write(text)
        among.door.asked(self)
        if among.access_log.enabled:
            among.access_log.log(self.whole(path, head), Told(text, status=int(text[9:12])), 0)
        self._request = None
        if self._is_busy or self._came:
            self._is_busy = True
            self._among.loop.call_soon(self._go_on)

    async def _answer(self, answer: web.StreamResponse | Awaitable[web.StreamResponse], request: web.Request) -> None:
        among, loop = self._among, self._among.loop
        began = loop.time()
        with suppress(ConnectionError):
            try:
                response = answer if isinstance(answer, web.StreamResponse) else await answer
                await response.prepare(request)
                await response.write_eof()
            finally:
                self.task = self._request = None
                among.door.ended(self)
            if among.access_log.enabled:
                among.access_log.log(request, response, loop.time() - began)
            self._go_on()

    def _go_on(self) -> None:
        """Do what has come meanwhile."""
        self._is_busy = False
        transport, data = self.transport, self._came
        if transport is None or transport.is_closing():  # nobody would hear the answer
            return
        if self._is_closing:
            transport.close()
        elif not self._is_full:
            self._came = b""
            if len(data) > _MOST_BYTES:
                transport.resume_reading()
            if data:
                self._take(data)

    def _keep(self, data: bytes) -> None:
        if len(data) > _MOST_BYTES >= len(self._came) and self.transport is not None:
            self.transport.pause_reading()
        self._came = data

    def _forget_rest(self) -> None:
        self._came = b""
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None

    def _give_up(self) -> None:
        """Let aiohttp wait for the rest of a request."""
        data = self._came
        self._forget_rest()
        self._hand_over(data)

    def _hand_over(self, data: bytes) -> None:
        """Let aiohttp have the connection, and what came on it."""
        among, transport = self._among, self.transport
        if transport is None or transport.is_closing():
            return
        among.discard(self)
        handler = among.server()
        among.door.replaced(self, handler)
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(data)

    def whole(self, path: str, head: PlainHead) -> web.Request:
        """The request that is under way as handlers have it; its body is not with it."""
        if self._request is None:
            url = _url(path)
            message = RawRequestMessage(
                "POST", path, HttpVersion11, head.headers, head.raw_headers, False, None, False, False, url
            )
            # Of its protocol a request wants the addresses and the transport, which this one has.
            protocol, task = cast("web.RequestHandler", self), cast("asyncio.Task[None]", None)
            made = self._among.server.request_factory(message, EMPTY_PAYLOAD, protocol, _Writer(self), task)
            self._request = cast("web.Request", made)
        return self._request

    async def taken(self) -> None:
        """Wait until the peer takes more. Raises ``ConnectionResetError`` when it has left."""
        if self._is_full:
            self._taken = self._among.loop.create_future()
            try:
                await self._taken
            finally:
                self._taken = None

    def close(self) -> None:
        """End as soon as nothing is under way."""
        self._is_closing = True
        if not self._is_busy and self.transport is not None:
            self.transport.close()

    def cut(self) -> None:
        """End now."""
        if self.transport is not None:
            self.transport.abort()


class _Writer(AbstractStreamWriter):
    """Writes an answer whose length is known, its head together with its beginning."""

    def __init__(self, connection: PlainConnection) -> None:
        self._connection = connection
        self._head = b""

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        self._head = f"{status_line}\r\n{''.join(lines)}\r\n".encode()

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        transport = self._connection.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the peer has left")
        text, self._head = self._head + bytes(chunk), b""
        self.output_size += len(text)
        transport.write(text)
        await self.drain()

    async def write_eof(self, chunk: bytes = b"") -> None:
        if chunk or self._head:
            await self.write(chunk)

    async def drain(self) -> None:
        await self._connection.taken()

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        raise NotImplementedError

    def enable_chunking(self) -> None:
        raise NotImplementedError
