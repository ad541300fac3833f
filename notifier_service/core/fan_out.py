"""Bring waiting readers up to date, a slice of them per turn of the loop, so that who publishes goes on in between.

A slice costs about as many sends as it has readers. While one runs, others publish: the next reader gets more events in
one send, and the more there is to do, the less each event costs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from .event_log import EventLog
from .metrics import Histogram

__all__ = ["SLICE_READERS", "Audience", "Delivery"]

_log = logging.getLogger("notifier_service.delivery")

#: So few readers are kept in what is small for few.
_FEW = 3

#: Readers brought up to date in one turn of the loop: less than a quarter of a millisecond of sends.
SLICE_READERS = 20


class Member(Protocol):
    """Somebody in an audience."""

    def catch_up(self) -> None:
        """Send what there is, if that is possible without waiting; never waits."""


ReaderT = TypeVar("ReaderT", bound=Member)


class Delivery:
    """The one queue of audiences that have something to be told.

    ``seconds`` gets a sample of how long events take from being published to being written: of the round that begins
    next whenever somebody wants one, so that all others cost nothing.
    """

    def __init__(self, seconds: Histogram | None = None) -> None:
        self.seconds = Histogram(()) if seconds is None else seconds
        #: Whether the round that begins next is timed.
        self.is_timed = True
        self._due: deque[Audience[Any]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, audience: Audience[Any]) -> None:
        """Have the readers of an audience brought up to date soon; where no loop runs, by the next one."""
        self._due.append(audience)
        self.go_on()

    def go_on(self) -> None:
        """See to it that the loop that runs now brings up to date who is due, also what an earlier one left."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # nobody waits where no loop runs
        if self._loop is not loop:
            self._loop = loop
            loop.call_soon(self._turn)

    def _turn(self) -> None:
        left = SLICE_READERS
        due = self._due
        while left > 0 and due:
            audience = due.popleft()
            left -= audience.serve(left)
            if audience.is_due:
                due.append(audience)  # the others first: a large audience does not keep a small one waiting
        if due:
            assert self._loop is not None
            self._loop.call_soon(self._turn)
        else:
            self._loop = None


class Audience(Generic[ReaderT]):
    """The readers of one log, served in rounds. Iterating is safe while they come and go."""

    __slots__ = (
        "_again",
        "_begun",
        "_begun_before",
        "_delivery",
        "_held_back",
        "_log",
        "_next",
        "_published_at",
        "_readers",
        "_round",
        "_touched_at",
        "is_due",
    )

    def __init__(self, log: EventLog, delivery: Delivery) -> None:
        self.is_due = False
        self._log = log
        self._delivery = delivery
        self._readers: dict[ReaderT, None] | tuple[ReaderT, ...] = ()
        self._round: Sequence[ReaderT] = ()
        self._next = 0
        self._again = False
        #: When what the next round tells was published, and what this one does, if that is timed.
        self._touched_at: float | None = None
        self._published_at: float | None = None
        self._held_back = 0
        # Where the log stood when the last two rounds began, as events and bytes ever appended.
        self._begun = self._begun_before = (0, 0)

    def __len__(self) -> int:
        return len(self._readers)

    def __iter__(self) -> Iterator[ReaderT]:
        return iter(tuple(self._readers))

    def __contains__(self, reader: object) -> bool:
        return reader in self._readers

    def add(self, reader: ReaderT) -> None:
        readers = dict.fromkeys((*self._readers, reader)) if isinstance(self._readers, tuple) else self._readers
        readers[reader] = None
        self._readers = readers if len(readers) > _FEW else tuple(readers)

    def discard(self, reader: ReaderT) -> None:
        if isinstance(self._readers, tuple):
            self._readers = tuple(each for each in self._readers if each is not reader)
        else:
            self._readers.pop(reader, None)

    def touch(self) -> None:
        """There is something to tell."""
        delivery = self._delivery
        if self.is_due:
            delivery.go_on()
        elif self._readers:
            self.is_due = True
            log = self._log
            self._begun = self._begun_before = (log.last_seq - 1, log.appended_bytes)
            delivery.add(self)
        else:
            return
        if not self._again:
            self._again = True
            if delivery.is_timed:
                delivery.is_timed = False
                self._touched_at = time.monotonic()

    def serve(self, at_most: int) -> int:
        """Bring so many readers up to date, and return how many it were."""
        begin, log = self._next, self._log
        if not begin:
            self._round = tuple(self._readers)
            self._again = False
            if self._touched_at is not None:
                self._published_at, self._touched_at = self._touched_at, None
                self._held_back = 0
            self._begun_before, self._begun = self._begun, (log.last_seq, log.appended_bytes)
        served = self._round[begin : begin + at_most]
        self._next = begin + len(served)
        for reader in served:
            if reader in self._readers:
                try:
                    reader.catch_up()
                except Exception:
                    # One connection that fails must not keep the others from being served.
                    _log.exception("a reader cannot be brought up to date")
        if self._published_at is not None:
            self._time(self._published_at, len(served))
        if self._next >= len(self._round):
            self._next = 0
            if not self._again:
                self.is_due = False
                self._round = ()
                log.forget_shared()
        return len(served) or 1

    def _time(self, published_at: float, served: int) -> None:
        """Note how late those were served who took what there is."""
        if served > self._held_back:
            self._delivery.seconds.observe(time.monotonic() - published_at, served - self._held_back)
        self._held_back = 0
        if self._next >= len(self._round):
            self._published_at = None

    def held_back(self) -> float | None:
        """Tell that the reader takes nothing now; return what to say to ``late`` once it does, if that is timed."""
        self._held_back += 1
        return self._published_at

    def late(self, published_at: float) -> None:
        """What was published then, and held back for a reader, is written."""
        self._delivery.seconds.observe(time.monotonic() - published_at)

    @property
    def lag(self) -> tuple[int, int]:
        """How many events and bytes a reader who keeps up may be behind, at most."""
        if not self.is_due:
            return 0, 0
        events, size = self._begun_before
        return self._log.last_seq - events, self._log.appended_bytes - size
