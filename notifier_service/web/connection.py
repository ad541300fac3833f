"""A stream's connection in our own hands: what is left of a request when its head is answered.

For aiohttp a response lives in a task, with a request, a parser and a handler around it: 10 KiB for as long as the
stream is open, and a turn of that task for every write. A stream of events needs none of them: whole frames are
written to the transport by whoever has some, and the transport says when it takes no more (``asyncio.Protocol``). What
is used is public: ``Transport.set_protocol``, ``RequestHandler.transport`` and ``RequestHandler.connection_lost``, by
which aiohttp lets go of a connection as of one that was lost. ``tests/web/test_connection.py`` fails when that changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiohttp import web

from ..core.event_log import Event
from ..core.events import Bye
from ..core.reader import Reader
from .logs import StreamLine
from .loopback import forget_user

__all__ = ["CONNECTIONS", "Connections", "Form", "StreamConnection"]


@dataclass(frozen=True, slots=True)
class Form:
    """How events are put into frames, and what ends the body; readers at one place share the bytes of one form."""

    name: str
    frames: Callable[[Sequence[Event]], bytes]
    bye: Callable[[Bye], bytes]


class StreamConnection(asyncio.Protocol):
    """The connection of one reader, which is told what there is as fast as the peer takes it."""

    __slots__ = (
        "_abort",
        "_among",
        "_form",
        "_handed",
        "_is_over",
        "_is_paused",
        "_line",
        "_reader",
        "_transport",
        "is_closed",
    )

    def __init__(self, request: web.Request) -> None:
        assert request.transport is not None  # a response was just prepared on it
        self._transport: asyncio.Transport = request.transport
        self._reader: Reader | None = None
        self._form: Form | None = None
        self._handed = 0
        self._is_paused = False
        self._is_over = False
        self.is_closed = False
        self._abort: asyncio.TimerHandle | None = None
        self._line: StreamLine | None = None
        self._among: Connections | None = None

    def begin(self, request: web.Request, reader: Reader, form: Form) -> None:
        """Take the connection over from aiohttp, and tell its peer what there is for ``reader``, from now on."""
        self._reader, self._form = reader, form
        handler, transport = request.protocol, self._transport
        if handler.transport is not transport or transport.is_closing():
            reader.leave()
            return
        self._line = StreamLine.of(request)
        self._is_paused = handler.writing_paused
        transport.set_protocol(self)
        transport.resume_reading()
        handler.transport = None  # what it does not have it does not close
        handler.connection_lost(None)
        forget_user(transport)
        self._among = request.config_dict[CONNECTIONS]
        self._among.add(self)
        reader.attend(self)

    # What the transport says

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        # Not now: a transport that is closed by what it calls in the middle of a write loses its connection twice.
        asyncio.get_running_loop().call_soon(self._go_on)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = self.is_closed = True
        if self._abort is not None:
            self._abort.cancel()
        if self._among is not None:
            self._among.discard(self)
        if self._line is not None:
            self._line.write()
        if self._reader is not None:
            self._reader.leave()

    # What the sweeper asks

    def handed_bytes(self) -> int:
        return self._handed

    def unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size()

    def is_gone(self) -> bool:
        return self._transport.is_closing()

    def cut(self) -> None:
        """End the connection without waiting for the peer."""
        self._transport.abort()

    def _go_on(self) -> None:
        self()
        if self._reader is not None and not self._is_paused:
            self._reader.caught_up()

    def __call__(self) -> None:
        """Send what there is, as far as the transport takes it; say bye when the reader is ended."""
        if self._is_over or self._reader is None or self._form is None:
            return
        reader, form = self._reader, self._form
        is_live = reader.ending is None and not reader.gone
        if self._is_paused:
            reader.hold_back()
        while not self._is_paused and (is_live or not reader.over) and (events := reader.next()):
            frames = reader.framed(form.name, events, form.frames)
            self._handed += len(frames)
            self._transport.write(frames)
            reader.sent()
            if reader.is_told_all:
                break
        if is_live:
            return
        bye = reader.ending
        if self._abort is None:  # what the peer does not take in time is dropped
            limits = reader.session.limits
            linger = limits.stalled_seconds if bye is not None and bye.code == "slow" else limits.shutdown_seconds / 8
            self._abort = asyncio.get_running_loop().call_later(linger, self._transport.abort)
        if bye is None:  # a peer that has half-closed and takes nothing: the transport would wait for it
            self._is_over = True
            reader.leave()
        elif not self._is_paused or reader.over:
            self._is_over = True
            reader.leave()
            self._transport.write(form.bye(bye))
            self._transport.close()


class Connections:
    """The connections that aiohttp does not know of any more, so that a shutdown waits for them."""

    def __init__(self) -> None:
        self._open: set[StreamConnection] = set()

    def add(self, connection: StreamConnection) -> None:
        self._open.add(connection)

    def discard(self, connection: StreamConnection) -> None:
        self._open.discard(connection)

    async def closed(self, seconds: float) -> None:
        """Wait until all of them are, which were told to end; cut those whose peer has not taken the rest by then."""
        deadline = asyncio.get_running_loop().time() + seconds
        while still_open := [connection for connection in self._open if not connection.is_closed]:
            if asyncio.get_running_loop().time() >= deadline:
                for connection in still_open:
                    connection.cut()
            await asyncio.sleep(0.01)


CONNECTIONS = web.AppKey("connections", Connections)
