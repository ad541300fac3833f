"""Notices that a peer has left, or has lost the right to its answer, while that answer waits.

A server cancels the handler of a peer that leaves only if it was told to, and who embeds this application chooses
its server: so it is looked.
"""

from __future__ import annotations

import asyncio
import math
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


class _Watch:
    """Ends the waiting of a task when ``look`` raises, which looks twice a second, or when the time is over."""

    __slots__ = ("_look", "_loop", "_request", "_task", "_timer", "_until", "_why")

    def __init__(
        self, request: web.Request, look: Callable[[web.Request], object], seconds: float | None = None
    ) -> None:
        task = asyncio.current_task()
        assert task is not None  # a handler is run by one
        self._request, self._look, self._task = request, look, task
        self._loop = asyncio.get_running_loop()
        self._until = math.inf if seconds is None else self._loop.time() + seconds
        self._why: Exception | None = None
        self._timer = self._loop.call_later(
            _LOOK_SECONDS if seconds is None else min(_LOOK_SECONDS, seconds), self._see
        )

    def _see(self) -> None:
        left = self._until - self._loop.time()
        try:
            if left <= 0:
                raise _TimeOver
            self._look(self._request)
        except Exception as error:
            self._why = error
            self._task.cancel()
        else:
            self._timer = self._loop.call_later(min(_LOOK_SECONDS, left), self._see)

    def why_cancelled(self) -> Exception | None:
        """Why the task was, if that was done here and by nobody else; asked once, when it was."""
        return self._why if self._why is not None and self._task.uncancel() == 0 else None

    def end(self) -> None:
        self._timer.cancel()


class _TimeOver(Exception):
    """Nobody waits any longer."""


@contextmanager
def noticing_departure(request: web.Request, look: Callable[[web.Request], object] = _require_peer) -> Iterator[None]:
    """Raise in here what ``look`` raises, which looks twice a second: ``ConnectionResetError`` for a peer that left."""
    watch = _Watch(request, look)
    try:
        yield
    except asyncio.CancelledError:
        if (reason := watch.why_cancelled()) is not None:
            raise reason from None
        raise
    finally:
        watch.end()


async def held(request: web.Request, outcome: Awaitable[Outcome], seconds: float | None = None) -> Outcome | None:
    """Hold an answer until its outcome is there, and return that; None when the time is over before.

    Raises ``ConnectionResetError`` when the peer has left, and ``Unauthenticated`` or ``Forbidden`` when it has lost
    the right to the answer meanwhile.
    """
    watch = _Watch(request, _require_both, seconds)
    try:
        found = await outcome
    except asyncio.CancelledError:
        reason = watch.why_cancelled()
        if isinstance(reason, _TimeOver):
            return None
        if reason is not None:
            raise reason from None
        raise
    finally:
        watch.end()
    _require_both(request)
    return found
