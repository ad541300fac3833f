"""Noticing that a peer has left, or has lost the right to its answer, while the answer waits for something."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiohttp import web

from ..core.permissions import PermissionRequest
from .request import still_allowed

__all__ = ["LOOK_SECONDS", "held"]

#: How often a held request looks whether its peer is still there, where the server does not cancel handlers.
LOOK_SECONDS = 0.5


async def held(request: web.Request, waiting: PermissionRequest, seconds: float) -> bool:
    """Hold an answer until the permission request is settled; False when the time is over.

    Raises ``ConnectionResetError`` when the peer has left, also under a server that does not cancel handlers, and
    ``Unauthenticated`` or ``Forbidden`` when it has lost the right to the answer meanwhile.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while waiting.pending:
        left = deadline - loop.time()
        if left <= 0:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(min(left, LOOK_SECONDS)):
                await waiting.decision()
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError("the peer has left")
        still_allowed(request)
    return True
