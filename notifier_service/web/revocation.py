"""Whatever a token opened ends soon after the token is no longer good."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from aiohttp import web

from .auth import AUTH, NoAuth
from .request import BROKER
from .sockets import SOCKETS

__all__ = ["end_revoked", "ending_revoked"]

#: As often as the broker's sweeper looks for tokens that have expired.
_LOOK_SECONDS = 0.5

#: By how much more than it drifts the wall clock was set, or the machine slept.
_JUMP_SECONDS = 1.0


async def ending_revoked(app: web.Application) -> AsyncIterator[None]:
    """Ask all who read again, whenever the file that says which tokens are good has changed, or the wall clock was set.

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


def end_revoked(app: Mapping[Any, Any]) -> None:
    """End now what was opened by tokens that are no longer good, for whoever knows that some are not."""
    app[BROKER].ask_readers_again()
    app[SOCKETS].ask_again()


async def _look(app: web.Application) -> None:
    source, ahead = app[AUTH].source, _ahead_seconds()
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        # Tokens say by the wall clock until when they are good, and what waits for that waits by the steady one.
        was_ahead, ahead = ahead, _ahead_seconds()
        if app[AUTH].source is not source or abs(ahead - was_ahead) > _JUMP_SECONDS:
            source = app[AUTH].source
            end_revoked(app)


def _ahead_seconds() -> float:
    """How far the wall clock is ahead of the steady one, which nobody sets."""
    return time.time() - time.monotonic()
