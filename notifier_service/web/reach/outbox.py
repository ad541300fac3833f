"""Sends letters to many targets, of which one that is down or never answers holds up no other, and nobody here."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

__all__ = ["Letter", "Outbox", "Outcome", "Result"]

_FIRST_BACKOFF_SECONDS = 1.0
_MAX_BACKOFF_SECONDS = 60.0
#: Longer than anybody takes to put a receiver back up.
_KEEP_SECONDS = 24 * 3600.0

Result = Literal["sent", "again", "refused", "gone"]

_log = logging.getLogger("notifier_service.notices")


class Outcome(NamedTuple):
    """How a try ended: ``again`` may help later, ``refused`` is for this letter, ``gone`` is for the target."""

    result: Result
    why: str = ""
    #: What the target said that one should wait.
    retry_after_seconds: float = 0.0


class Letter(NamedTuple):
    """Something for a target. One of the same ``topic`` that still waits gives way to it."""

    target: str
    content: Any
    topic: str | None = None
    #: When nobody needs it any more, on the clock of the outbox.
    until: float | None = None


@dataclass(eq=False)
class _Queue:
    letters: deque[Letter] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None
    is_failing: bool = False


class Outbox:
    """Letters in queues, one for each target: at most ``capacity`` for one and ``capacity_all``, the oldest give way.

    ``deliver`` tries once. What failed is tried again, ever later, for a day at most. ``count`` hears how each ended:
    ``sent``, ``failed``, ``dropped``, ``expired`` or ``gone``.
    """

    def __init__(
        self,
        name: str,
        deliver: Callable[[Letter], Awaitable[Outcome]],
        count: Callable[[str, str], object],
        *,
        capacity: int = 1000,
        capacity_all: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        gone: Callable[[str], object] = lambda target: None,
    ) -> None:
        self.name = name
        self.clock = clock
        self._deliver = deliver
        self._count = count
        self._capacity = capacity
        self._capacity_all = capacity_all
        self._sleep = sleep
        self._gone = gone
        self._queues: dict[str, _Queue] = {}
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Letters that are not sent yet."""
        return self._waiting

    def put(self, letter: Letter) -> None:
        """Have it sent soon. Never waits, never raises."""
        queue = self._queues.setdefault(letter.target, _Queue())
        if letter.topic is not None:
            # The first may be on its way already: it stays, and what comes later replaces it there.
            before = [one for one in list(queue.letters)[1:] if one.topic == letter.topic]
            for one in before:
                queue.letters.remove(one)
                self._waiting -= 1
        if len(queue.letters) >= self._capacity or self._waiting >= self._capacity_all:
            self._make_room(queue)
        queue.letters.append(letter)
        self._waiting += 1
        with suppress(RuntimeError):  # where no loop runs yet, begin says when one does
            asyncio.get_running_loop()
            self.begin()

    def begin(self) -> None:
        """Send what waits, on the loop that runs."""
        for target, queue in self._queues.items():
            if queue.task is None:
                queue.task = asyncio.get_running_loop().create_task(self._send(target, queue))

    async def close(self, within_seconds: float) -> None:
        """Send what can be within this time, and nothing more."""
        tasks = [queue.task for queue in self._queues.values() if queue.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=within_seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._waiting:
            _log.warning("%d notices over %s were not sent before the end", self._waiting, self.name)

    def _make_room(self, queue: _Queue) -> None:
        if not queue.letters:
            queue = max(self._queues.values(), key=lambda one: len(one.letters))
        queue.letters.popleft()
        self._waiting -= 1
        self._count(self.name, "dropped")
        if not queue.is_failing:
            _log.warning("more notices wait than are kept for one %s; the oldest are dropped", self.name)
        queue.is_failing = True

    async def _send(self, target: str, queue: _Queue) -> None:
        backoff, began = _FIRST_BACKOFF_SECONDS, self.clock()
        while queue.letters:
            letter = queue.letters[0]
            now = self.clock()
            if (letter.until is not None and now >= letter.until) or now - began >= _KEEP_SECONDS:
                self._end(queue, letter, "expired")
                began = now
                continue
            try:
                outcome = await self._deliver(letter)
            except Exception as error:
                _log.exception("a notice over %s cannot be sent", self.name)
                outcome = Outcome("refused", type(error).__name__)
            if outcome.result == "again":
                if not queue.is_failing:
                    queue.is_failing = True
                    _log.warning("a notice over %s cannot be sent: %s; it is tried again", self.name, outcome.why)
                await self._sleep(max(outcome.retry_after_seconds, random.uniform(backoff / 2, backoff)))
                backoff = min(_MAX_BACKOFF_SECONDS, backoff * 2)
                continue
            backoff, began = _FIRST_BACKOFF_SECONDS, self.clock()
            if outcome.result == "gone":
                self._forget(target, queue)
                break
            if outcome.result == "sent" and queue.is_failing:
                _log.warning("notices over %s are sent again", self.name)
                queue.is_failing = False
            if outcome.result == "refused":
                _log.warning("a notice over %s was refused: %s", self.name, outcome.why)
            self._end(queue, letter, "sent" if outcome.result == "sent" else "failed")
        queue.task = None
        if not queue.letters:
            self._queues.pop(target, None)

    def _end(self, queue: _Queue, letter: Letter, result: str) -> None:
        if letter in queue.letters:  # it may have been dropped meanwhile
            queue.letters.remove(letter)
            self._waiting -= 1
        self._count(self.name, result)

    def _forget(self, target: str, queue: _Queue) -> None:
        self._waiting -= len(queue.letters)
        queue.letters.clear()
        self._count(self.name, "gone")
        self._gone(target)
