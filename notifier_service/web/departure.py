"""Notices that a peer has left, or has lost the right to its answer, while that answer waits.

A server cancels the handler of a peer that leaves only if it was told to, and who embeds this application chooses
its server: so it is looked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from aiohttp import web

from .request import still_allowed

__all__ = ["has_left", "held", "noticing_departure"]

_LOOK_SECONDS = 0.5

Outcome = TypeVar("Outcome")


def has_left(request: web.Request) -> bool:
    """Whether nobody is there any more to read the answer."""
    return request.transport is None or request.transport.is_closing()


def _require_peer(request: web.Request) -> None:
    if has_left(request):
        raise ConnectionResetError("the peer has left")


def _require_both(request: web.Request) -> None:
    _require_peer(request)
    still_allowed(request)


@contextmanager
def noticing_departure(request: web.Request, look: Callable[[web.Request], object] = _require_peer) -> Iterator[None]:
    """Raise in here what ``look`` raises, which looks twice a second: ``ConnectionResetError`` for a peer that left."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # a handler is run by one
    reason: Exception | None = None
    timer = loop.call_later(_LOOK_SECONDS, lambda: again())

    def again() -> None:
        nonlocal reason, timer
        try:
            look(request)
        except Exception as error:
            reason = error
            task.cancel()
        else:
            timer = loop.call_later(_LOOK_SECONDS, again)

    try:
        yield
    except asyncio.CancelledError:
        if reason is not None and task.uncancel() == 0:
            raise reason from None
        raise
    finally:
        timer.cancel()


async def held(request: web.Request, outcome: Awaitable[Outcome], seconds: float | None = None) -> Outcome | None:
    """Hold an answer until its outcome is there, and return that; None when the time is over before.

    Raises ``ConnectionResetError`` when the peer has left, and ``Unauthenticated`` or ``Forbidden`` when it has lost
    the right to the answer meanwhile.
    """
    try:
        with noticing_departure(request, _require_both):
            async with asyncio.timeout(seconds):
                found = await outcome
    except TimeoutError:
        return None
    _require_both(request)
    return found
