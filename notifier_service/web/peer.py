"""The connection of a stream or a socket, as the broker's sweeper sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from aiohttp import web

from .departure import has_left

__all__ = ["ConnectionPeer", "Stalled", "written", "written_out"]

#: Less than a transport takes before it has anybody wait.
_AT_ONCE_BYTES = 32 * 1024
#: How often it is looked whether a peer that had stalled has taken the rest.
_LOOK_SECONDS = 0.02


class ConnectionPeer:
    """How much of what was handed to a connection its peer has taken, and whether it is still there."""

    __slots__ = ("_handed", "_request")

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._handed = 0

    def hand(self, piece: bytes) -> bytes:
        """Count what is about to be written, and return it."""
        self._handed += len(piece)
        return piece

    def handed_bytes(self) -> int:
        return self._handed

    def unsent_bytes(self) -> int:
        transport = self._request.transport
        return 0 if transport is None else transport.get_write_buffer_size()

    def is_gone(self) -> bool:
        return has_left(self._request)

    async def drained(self) -> None:
        """Wait until the peer has taken everything, or has left.

        Not by aiohttp's drain(): HTTP/1.0 has none at its end, and one that was interrupted before fails at once.
        """
        while self.unsent_bytes():  # noqa: ASYNC110  # a transport tells nobody
            await asyncio.sleep(_LOOK_SECONDS)

    def cut(self) -> None:
        """End the connection without waiting for the peer."""
        if self._request.transport is not None:
            self._request.transport.abort()


class Stalled(Exception):
    """The peer takes nothing."""


async def written(write: Awaitable[None], peer: ConnectionPeer, stalled_seconds: float) -> None:
    """Wait for a write; raise ``Stalled`` when the peer takes no byte of it for so long."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    timer: asyncio.TimerHandle

    def look(before: int) -> None:
        nonlocal timer
        unsent = peer.unsent_bytes()
        if unsent < before and not patience.expired():
            patience.reschedule(loop.time() + stalled_seconds)
        timer = loop.call_later(stalled_seconds / 4, look, unsent)

    try:
        async with asyncio.timeout(stalled_seconds) as patience:
            look(0)
            try:
                await write
            finally:
                timer.cancel()
    except TimeoutError:
        raise Stalled from None
    except asyncio.CancelledError:
        # Two writers wait for the peer as one in aiohttp: who gives up seems to cancel the other.
        if task is not None and task.cancelling():
            raise
        raise Stalled from None


async def written_out(request: web.Request, response: web.StreamResponse, stalled_seconds: float) -> web.StreamResponse:
    """Write an answer, and return it when its peer has taken it; one that takes nothing for so long is cut.

    Whoever holds a place for the request gives it back only then.
    """
    peer = ConnectionPeer(request)
    if not peer.unsent_bytes() and (response.content_length or _AT_ONCE_BYTES) < _AT_ONCE_BYTES:
        return response  # as soon as it is handed over, the connection has taken it

    async def write() -> None:
        await response.prepare(request)
        await response.write_eof()

    try:
        await written(write(), peer, stalled_seconds)
    except Stalled:
        peer.cut()
    return response
