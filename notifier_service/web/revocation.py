"""Whatever a token opened ends soon after the token is no longer good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web

from .auth import AUTH, NoAuth
from .request import BROKER
from .sockets import SOCKETS

__all__ = ["ending_revoked"]

#: As often as the broker's sweeper looks for tokens that have expired.
_LOOK_SECONDS = 0.5


async def ending_revoked(app: web.Application) -> AsyncIterator[None]:
    """Ask all who read again, whenever the file that says which tokens are good has changed.

    Deliveries ask nobody: a stream outlives its token by half a second at most, while what needs a right is asked for
    each time.
    """
    if isinstance(app[AUTH], NoAuth):
        yield
        return
    looking = asyncio.create_task(_look(app))
    yield
    looking.cancel()
    with suppress(asyncio.CancelledError):
        await looking


async def _look(app: web.Application) -> None:
    source = app[AUTH].source
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        if app[AUTH].source is not source:
            source = app[AUTH].source
            app[BROKER].ask_readers_again()
            app[SOCKETS].ask_again()
