"""The connection of a stream or a socket, as the broker's sweeper sees it."""

from __future__ import annotations

import asyncio

from aiohttp import web

__all__ = ["ConnectionPeer"]

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
        transport = self._request.transport
        return transport is None or transport.is_closing()

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
