"""Connections as the listener sees them: those on which nothing is asked, and those whose peers take nothing.

A connection costs a descriptor and some memory before anybody has said who is there, so the number of those is bounded
apart from that of readers, and the oldest gives way to a new one: whoever sends a request is in.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast

from aiohttp import web

from ..settings import Settings
from .descriptors import Refusal, is_out_of_descriptors

__all__ = ["Door"]

_LOOK_SECONDS = 0.5

#: Turns of the loop from a connection's beginning until the request that it brought along is under way.
_FIRST_TURNS = 8


class Coming(Protocol):
    """A connection's protocol that says when the connection is over."""

    transport: asyncio.Transport | None
    left: Callable[[], object] | None


@dataclass(slots=True)
class _Standing:
    """How a connection has been since when, on the clock of the loop."""

    since: float
    #: The turn of the loop in which it came.
    turn: int
    has_asked: bool = False
    #: For how long it may be silent then; None where its protocol sees to that.
    silence_seconds: float | None = None
    #: What its peer had not taken when that was looked at last, and since when it has taken nothing of it.
    unsent: int = 0
    stuck_since: float = 0.0


class Door:
    """Makes the protocols of connections, and ends those that only cost something.

    One that has sent no request for ``first_request_seconds`` ends; of more than ``max_idle_connections`` without a
    request under way the oldest do; so does one whose peer takes nothing of an answer for ``stalled_seconds``.
    ``ended`` counts them by the setting. aiohttp itself ends one that was silent since its last request for long.
    """

    def __init__(self, settings: Settings, ended: Counter[str]) -> None:
        self._settings = settings
        self._ended = ended
        # Both in the order in which they became so.
        self._idle: dict[Coming, _Standing] = {}
        self._asking: dict[Coming, _Standing] = {}
        self._loop: asyncio.AbstractEventLoop
        self._timer: asyncio.TimerHandle | None = None
        #: Counted while somebody has just come.
        self._turn = 0
        self._came_in_turn = -_FIRST_TURNS

    def making(
        self, make: Callable[[], object], *, silence_seconds: float | None = None
    ) -> Callable[[], asyncio.Protocol]:
        """The factory of protocols, which ``make`` makes; from now on it is looked after them.

        Those end that send nothing for ``silence_seconds`` after an answer, where that is given.
        """
        self._loop = loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_LOOK_SECONDS, self._look)

        def one() -> asyncio.Protocol:
            if is_out_of_descriptors():
                self._ended["descriptors"] += 1
                return Refusal()
            protocol = cast("Coming", make())
            while len(self._idle) >= self._settings.max_idle_connections and self._one_gives_way():
                pass
            if self._turn - self._came_in_turn >= _FIRST_TURNS:
                loop.call_soon(self._count_turn)
            self._came_in_turn = self._turn
            self._idle[protocol] = _Standing(loop.time(), self._turn, silence_seconds=silence_seconds)
            protocol.left = partial(self._idle.pop, protocol, None)
            return cast("asyncio.Protocol", protocol)

        return one

    def close(self) -> None:
        """Look after nobody any more."""
        if self._timer is not None:
            self._timer.cancel()

    @web.middleware
    async def passing(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """The middleware that knows when a request is under way."""
        protocol = cast("Coming", request.protocol)
        if protocol not in self._idle:
            return await handler(request)
        self.begun(protocol)
        try:
            return await handler(request)
        finally:
            self.ended(protocol)

    def begun(self, protocol: Coming) -> None:
        """A request is under way on a connection on which there was none."""
        self._asking[protocol] = self._idle.pop(protocol)

    def ended(self, protocol: Coming) -> None:
        """It is answered."""
        standing = self._asking.pop(protocol)
        if protocol.transport is not None:  # else it was taken over, or is lost
            self._idle[protocol] = standing
            self.asked(protocol)

    def asked(self, protocol: Coming) -> None:
        """A request was answered on a connection on which there was none, before anybody could look."""
        standing = self._idle.pop(protocol, None)
        if standing is not None:
            standing.since, standing.has_asked = self._loop.time(), True
            self._idle[protocol] = standing

    def replaced(self, protocol: Coming, by: object) -> None:
        """Another protocol, which sees to silence itself, has the connection now."""
        heir, standing = cast("Coming", by), self._idle.pop(protocol, None)
        protocol.left = None
        if standing is not None:
            standing.silence_seconds = None
            self._idle[heir] = standing
            heir.left = partial(self._idle.pop, heir, None)

    def _count_turn(self) -> None:
        self._turn += 1
        if self._turn - self._came_in_turn < _FIRST_TURNS:
            self._loop.call_soon(self._count_turn)

    def _one_gives_way(self) -> bool:
        """End the connection that has been idle for longest; first of those that never asked anything.

        Of many that come at once none gives way before it was looked whether it brought a request along.
        """
        for has_asked in (False, True):
            for protocol, standing in self._idle.items():
                if not has_asked and self._turn - standing.turn < _FIRST_TURNS:
                    break  # and so have those behind it
                transport = protocol.transport
                if standing.has_asked is has_asked and transport is not None and not transport.get_write_buffer_size():
                    del self._idle[protocol]
                    self._end(transport, "max_idle_connections")
                    return True
        return False

    def _look(self) -> None:
        loop, settings = self._loop, self._settings
        self._timer = loop.call_later(min(_LOOK_SECONDS, settings.stalled_seconds / 4), self._look)
        now = loop.time()
        for protocol, standing in tuple(self._idle.items()):
            transport = protocol.transport
            if transport is None:
                continue  # it is about to begin
            if self._is_stuck(transport, standing, now, settings.stalled_seconds):
                self._end(transport, "stalled_seconds")
            elif not standing.has_asked and now - standing.since >= settings.first_request_seconds:
                self._end(transport, "first_request_seconds")
            elif standing.silence_seconds is not None and now - standing.since >= standing.silence_seconds:
                transport.close()
        # Streams and sockets see to it themselves, and say so; this is for what has no way to.
        patience = 2 * settings.stalled_seconds + 5
        for protocol, standing in tuple(self._asking.items()):
            transport = protocol.transport
            if transport is not None and self._is_stuck(transport, standing, now, patience):
                self._end(transport, "stalled_seconds")

    @staticmethod
    def _is_stuck(transport: asyncio.Transport, standing: _Standing, now: float, patience: float) -> bool:
        unsent = transport.get_write_buffer_size()
        if not unsent or not standing.unsent or unsent < standing.unsent:
            standing.stuck_since = now
        standing.unsent = unsent
        return bool(unsent) and now - standing.stuck_since >= patience

    def _end(self, transport: asyncio.Transport, setting: str) -> None:
        if not transport.is_closing():
            self._ended[setting] += 1
            transport.abort()
