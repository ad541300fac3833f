"""Sends letters to many targets, of which one that is down or never answers holds up no other, and nobody here."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Container
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pydantic_core import from_json

from ...core.events import dump
from ...core.journal import NO_JOURNAL, Change, Journal

__all__ = ["LETTER_KIND", "Letter", "Outbox", "Outcome", "Result"]

#: What a journal keeps as this: letters that were not sent yet, in the order in which they were put.
LETTER_KIND = "letter"

_FIRST_BACKOFF_SECONDS = 1.0
_MAX_BACKOFF_SECONDS = 60.0
#: Longer than anybody takes to put a receiver back up.
_KEEP_SECONDS = 24 * 3600.0
#: After so many failures, and then each time that there are so many more, the next letter is tried too.
_FAILURES_A_PROBE = 5

Result = Literal["sent", "again", "refused", "gone"]

_log = logging.getLogger("notifier_service.notices")


class Outcome(NamedTuple):
    """How a try ended: ``again`` may help later, ``refused`` is for this letter, ``gone`` is for the target."""

    result: Result
    why: str = ""
    #: What the target said that one should wait.
    retry_after_seconds: float = 0.0


@dataclass(eq=False, slots=True)
class Letter:
    """Something for a target, in JSON. What still waits of the same ``topic`` gives way to one that ``replaces`` it."""

    target: str
    content: Any
    topic: str | None = None
    #: When nobody needs it any more, on the clock of the outbox.
    until: float | None = None
    replaces: bool = True
    #: It is about something that nobody can do anything about any more: it gives way first.
    is_over: bool = False
    #: As what a journal keeps it.
    name: str = ""


@dataclass(eq=False)
class _Queue:
    letters: deque[Letter] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None
    #: Those that are on their way at this moment.
    on_their_way: list[Letter] = field(default_factory=list)
    is_failing: bool = False
    dropped: int = 0


class Outbox:
    """Letters in queues, one for each target: at most ``capacity`` for one and ``capacity_all``. What is about
    something that is over gives way first, then the oldest: who makes much of no use takes no place of what waits.

    ``deliver`` tries once. What failed is tried again, ever later, for a day at most; a letter of which its target does
    not get rid, while it takes others, is refused. ``count`` hears how each ended: ``sent``, ``failed``, ``dropped``,
    ``expired`` or ``gone``. A journal keeps what is not sent yet. ``where`` says for the log which target one is.
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
        where: Callable[[str], str | None] = lambda target: None,
    ) -> None:
        self.name = name
        self._where = where
        self.clock = clock
        self._deliver = deliver
        self._count = count
        self._capacity = capacity
        self._capacity_all = capacity_all
        self._sleep = sleep
        self._gone = gone
        self._queues: dict[str, _Queue] = {}
        self._waiting = 0
        self._journal: Journal = NO_JOURNAL
        self._newest = 0

    @property
    def waiting(self) -> int:
        """Letters that are not sent yet."""
        return self._waiting

    @property
    def is_failing(self) -> bool:
        """Whether a target does not take what it is sent."""
        return any(queue.is_failing for queue in self._queues.values())

    def keep_in(self, journal: Journal, targets: Container[str]) -> None:
        """Go on with the letters of before to those ``targets`` that are left, and keep what comes."""
        self._journal = journal
        for name, letter in self._of_before():
            if letter is None or letter.target not in targets:
                journal.note(Change(LETTER_KIND, name, None))
            else:
                self._queues.setdefault(letter.target, _Queue()).letters.append(letter)
                self._waiting += 1

    def put(self, letter: Letter) -> None:
        """Have it sent soon. Never waits, never raises."""
        queue = self._queues.setdefault(letter.target, _Queue())
        if letter.topic is not None and letter.replaces:
            for one in [one for one in queue.letters if one.topic == letter.topic]:
                if one in queue.on_their_way:
                    one.until = self.clock()  # it may arrive, and is not tried again
                else:
                    self._remove(queue, one)
        if len(queue.letters) >= self._capacity or self._waiting >= self._capacity_all:
            self._make_room(queue)
        queue.letters.append(letter)
        self._waiting += 1
        self._keep(letter)
        with suppress(RuntimeError):  # where no loop runs yet, begin says when one does
            asyncio.get_running_loop()
            self.begin()

    def amend(self, target: str, topic: str, amended: Callable[[Any], Any]) -> None:
        """Have what waits about something that is over say what is so now."""
        queue = self._queues.get(target, _Queue())
        for letter in queue.letters:
            if letter.topic == topic:
                letter.content, letter.is_over = amended(letter.content), True
                self._keep(letter)

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
            lost = "are lost" if self._journal is NO_JOURNAL else "wait for the next start"
            _log.warning("%d notices over %s were not sent before the end, and %s", self._waiting, self.name, lost)

    def _make_room(self, queue: _Queue) -> None:
        if not queue.letters:
            queue = max(self._queues.values(), key=lambda one: len(one.letters))
        letter = next((one for one in queue.letters if one.is_over), queue.letters[0])
        self._remove(queue, letter)
        self._count(self.name, "dropped")
        if not queue.dropped:
            _log.warning("more notices wait than are kept for one %s; some are dropped", self._way(letter.target))
        queue.dropped += 1
        queue.is_failing = True

    async def _send(self, target: str, queue: _Queue) -> None:
        backoff, began, failures = _FIRST_BACKOFF_SECONDS, self.clock(), 0
        while queue.letters:
            letter = queue.letters[0]
            now = self.clock()
            if (letter.until is not None and now >= letter.until) or now - began >= _KEEP_SECONDS:
                self._end(queue, letter, "expired")
                began = now
                continue
            outcome = await self._try(queue, letter)
            if outcome.result == "again":
                if not queue.is_failing:
                    queue.is_failing = True
                    way = self._way(target)
                    _log.warning("a notice over %s cannot be sent: %s; it is tried again", way, outcome.why)
                failures += 1
                if failures % _FAILURES_A_PROBE or outcome.retry_after_seconds or not await self._probe(queue, letter):
                    await self._sleep(max(outcome.retry_after_seconds, random.uniform(backoff / 2, backoff)))
                    backoff = min(_MAX_BACKOFF_SECONDS, backoff * 2)
                    continue
                outcome = await self._try(queue, letter)
                if outcome.result == "again":
                    outcome = Outcome("refused", f"{outcome.why}, while others are taken")
            backoff, began, failures = _FIRST_BACKOFF_SECONDS, self.clock(), 0
            if not self._settle(target, queue, letter, outcome):
                break
        queue.task = None
        if not queue.letters:
            self._queues.pop(target, None)

    async def _try(self, queue: _Queue, letter: Letter) -> Outcome:
        queue.on_their_way.append(letter)
        try:
            return await self._deliver(letter)
        except Exception as error:
            _log.exception("a notice over %s cannot be sent", self.name)
            return Outcome("refused", type(error).__name__)
        finally:
            queue.on_their_way.remove(letter)

    async def _probe(self, queue: _Queue, head: Letter) -> bool:
        """Whether the target takes the next letter: then it is the first one that breaks it."""
        following = next((one for one in queue.letters if one is not head), None)
        if following is None:
            return False
        outcome = await self._try(queue, following)
        if outcome.result != "sent":
            return False
        self._settle(following.target, queue, following, outcome)
        return True

    def _settle(self, target: str, queue: _Queue, letter: Letter, outcome: Outcome) -> bool:
        """Do what a try has led to; say whether there is a target still."""
        if outcome.result == "gone":
            self._forget(target, queue)
            return False
        if outcome.result == "sent" and queue.is_failing:
            lost = f"; {queue.dropped} were dropped" if queue.dropped else ""
            _log.warning("notices over %s are sent again%s", self._way(target), lost)
            queue.is_failing, queue.dropped = False, 0
        if outcome.result == "refused":
            _log.warning("a notice over %s was refused: %s", self._way(target), outcome.why)
        self._end(queue, letter, "sent" if outcome.result == "sent" else "failed")
        return True

    def _way(self, target: str) -> str:
        where = self._where(target)
        return self.name if where is None else f"{self.name} {where}"

    def _end(self, queue: _Queue, letter: Letter, result: str) -> None:
        if letter in queue.letters:  # it may have been dropped meanwhile
            self._remove(queue, letter)
        self._count(self.name, result)

    def _forget(self, target: str, queue: _Queue) -> None:
        while queue.letters:
            self._remove(queue, queue.letters[0])
        self._count(self.name, "gone")
        self._gone(target)

    def _remove(self, queue: _Queue, letter: Letter) -> None:
        queue.letters.remove(letter)
        self._waiting -= 1
        self._journal.note(Change(LETTER_KIND, letter.name, None))

    # Over a restart

    def _keep(self, letter: Letter) -> None:
        if self._journal is NO_JOURNAL:
            return
        if not letter.name:
            # In the order of the names they are found again.
            self._newest = max(self._newest + 1, time.time_ns())
            letter.name = f"{self.name} {self._newest:020}"
        until = None if letter.until is None else time.time() + letter.until - self.clock()
        kept = {"target": letter.target, "content": letter.content, "topic": letter.topic, "until": until}
        more = {"replaces": letter.replaces, "is_over": letter.is_over}
        self._journal.note(Change(LETTER_KIND, letter.name, dump(kept | more)))

    def _of_before(self) -> list[tuple[str, Letter | None]]:
        found: list[tuple[str, Letter | None]] = []
        for change in self._journal.kept(LETTER_KIND):
            if not change.name.startswith(f"{self.name} "):
                continue
            try:
                kept = from_json(change.body or b"")
                until = None if kept["until"] is None else kept["until"] - time.time() + self.clock()
                more = kept["replaces"], kept["is_over"]
                letter = Letter(kept["target"], kept["content"], kept["topic"], until, *more, change.name)
                self._newest = max(self._newest, int(change.name.rpartition(" ")[2]))
                found.append((change.name, letter))
            except (ValueError, TypeError, LookupError):
                _log.exception("a notice that was not sent cannot be read from the journal")
                found.append((change.name, None))
        return found
