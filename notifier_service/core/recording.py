"""What takes effect when it is on record, and not before."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from weakref import WeakKeyDictionary

__all__ = ["Recording", "all_of"]


class Recording:
    """Waits until lines are ``kept``, then does ``take_effect``; ``undo`` when they are not. Each happens once.

    On the event loop that is running now; where none is, ``wait`` does it.
    """

    def __init__(self, kept: Future[None], take_effect: Callable[[], object], undo: Callable[[], object]) -> None:
        self._kept = kept
        self._take_effect = take_effect
        self._undo = undo
        self._is_over = False
        self._over = asyncio.Event()
        #: Why it did not take effect.
        self.error: BaseException | None = None
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.is_followed = False
        else:
            #: Whether somebody other than ``wait`` does it.
            self.is_followed = True
            kept.add_done_callback(lambda kept: _on(loop, self._finish))

    def wait(self) -> None:
        """Hold this thread until it has taken effect. Raises why it has not."""
        self._kept.exception()
        self._finish()
        if self.error is not None:
            raise self.error

    async def over(self) -> None:
        """Wait until it has taken effect. Raises why it has not."""
        await self._over.wait()
        if self.error is not None:
            raise self.error

    def _finish(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self.error = self._kept.exception()
        try:
            if self.error is None:
                self._take_effect()
            else:
                self._undo()
        except BaseException as error:
            self.error = error
            raise
        finally:
            self._over.set()


#: What each loop has still to do. One that is woken for each of fifty would fight as often for the interpreter.
_due: WeakKeyDictionary[asyncio.AbstractEventLoop, deque[Callable[[], object]]] = WeakKeyDictionary()


def all_of(*each: Future[None] | None) -> Future[None] | None:
    """Done when each is, with the error of one that failed; None where nothing has to be waited for."""
    waiting = [one for one in each if one is not None]
    if len(waiting) <= 1:
        return waiting[0] if waiting else None
    together: Future[None] = Future()
    left = threading.Semaphore(len(waiting) - 1)

    def done(one: Future[None]) -> None:
        if left.acquire(blocking=False):
            return  # the last one tells
        errors = [error for each in waiting if (error := each.exception()) is not None]
        if errors:
            together.set_exception(errors[0])
        else:
            together.set_result(None)

    for one in waiting:
        one.add_done_callback(done)
    return together


def _on(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    due = _due.setdefault(loop, deque())
    due.append(call)
    if len(due) == 1:
        with suppress(RuntimeError):  # the loop has been closed, and with it who waited
            loop.call_soon_threadsafe(_do, loop, due)


def _do(loop: asyncio.AbstractEventLoop, due: deque[Callable[[], object]]) -> None:
    try:
        while due:
            due.popleft()()
    finally:
        if due:
            loop.call_soon(_do, loop, due)
