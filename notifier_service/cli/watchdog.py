"""A thread beside the event loop: it names what holds the loop, and ends a process that cannot end by itself."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["ending_by_signal", "watched_loop"]

_log = logging.getLogger("notifier_service.loop")

#: A loop that takes nothing up for so long stands still: everybody waits, whatever they wait for.
_STILL_SECONDS = 5.0
#: What an orderly end may take beyond the time that is set for it.
_GRACE_SECONDS = 3.0
#: Of a stack that stands still, the calls that are told.
_TOLD_CALLS = 6


@contextmanager
def watched_loop(*, still_seconds: float = _STILL_SECONDS) -> Iterator[None]:
    """Say in the log when the loop that runs now stands still, where it does, and for how long it did."""
    loop, thread = asyncio.get_running_loop(), threading.get_ident()
    over = threading.Event()
    seen = [time.monotonic()]

    def look() -> None:
        told_at: float | None = None
        while not over.wait(still_seconds / 4):
            with_loop = time.monotonic() - seen[0]
            if told_at is None and with_loop > still_seconds:
                told_at = seen[0]
                _log.error("the event loop has stood still for %.0f s, in:\n%s", with_loop, _where(thread))
            elif told_at is not None and seen[0] > told_at:
                _log.error("the event loop goes on, after %.0f s", seen[0] - told_at)
                told_at = None
            try:
                loop.call_soon_threadsafe(lambda: seen.__setitem__(0, time.monotonic()))
            except RuntimeError:
                return  # closed

    threading.Thread(target=look, name="notifier-watchdog", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _where(thread: int) -> str:
    frame = sys._current_frames().get(thread)
    return "" if frame is None else "".join(traceback.format_stack(frame)[-_TOLD_CALLS:]).rstrip()


@contextmanager
def ending_by_signal(
    stop: Callable[[], None], *, within_seconds: float, hang_up: Callable[[], None] | None = None
) -> Iterator[None]:
    """Call ``stop`` on the loop that runs now at the first SIGTERM or SIGINT; the second one ends the process at once.

    The process ends also where ``stop`` leads nowhere: ``within_seconds`` and a little more later. SIGHUP calls
    ``hang_up``; without it, or where the process has a terminal that could hang up, it is one more signal to end.
    """
    loop = asyncio.get_running_loop()
    stopping = threading.Event()

    def end_by_force(number: int) -> None:
        if not over.wait(within_seconds + _GRACE_SECONDS):
            os._exit(128 + number)

    # Of signal, not of the loop: it runs also while the loop stands still, between two steps of whatever holds it.
    def on_signal(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP and hang_up is not None:
            loop.call_soon_threadsafe(hang_up)
            return
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()
        threading.Thread(target=end_by_force, args=(number,), name="notifier-end", daemon=True).start()
        loop.call_soon_threadsafe(stop)

    over = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    for number, handler in before.items():
        if number == signal.SIGHUP and handler == signal.SIG_IGN:
            continue  # nohup
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        over.set()
        for number, handler in before.items():
            signal.signal(number, handler)
