"""A journal for tests: what it keeps is there again in the one that is opened after it, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from notifier_service.core.broker import Broker
from notifier_service.core.errors import NotDurable
from notifier_service.core.event_log import Event, base36
from notifier_service.core.journal import Change, Head, KeptLog
from notifier_service.core.metrics import commit_histogram

#: Starts a service with a journal, and these limits.
Start = Callable[..., Broker]


@dataclass(eq=False)
class KeptInMemory:
    """A session, and those of its events that are kept."""

    journal: MemoryJournal
    session_id: str
    epoch: str
    opened_by: str | None
    events: list[Event] = field(default_factory=list)
    last_seq: int = 0
    leaps: list[tuple[int, int]] = field(default_factory=list)
    named: dict[str, bytes] = field(default_factory=dict)
    is_dropped: bool = False

    def put(self, event: Event) -> None:
        self.journal.give(lambda: self._keep(event))

    def forget_before(self, seq: int) -> None:
        self.journal.give(lambda: self._forget_before(seq))

    def keep(self, name: str, body: bytes | None) -> None:
        self.journal.give(lambda: self._change(name, body))

    def beside(self) -> Sequence[tuple[str, bytes]]:
        return sorted(self.named.items())

    def drop(self) -> None:
        self.journal.give(self._drop)

    @property
    def last_event_id(self) -> str:
        leapt = self.leaps[-1][1] if self.leaps else 0
        return f"{self.epoch}-{base36(self.last_seq + leapt)}"

    def _keep(self, event: Event) -> None:
        self.journal.sessions[self.session_id] = self
        self.events.append(event)
        self.last_seq = event.seq

    def _forget_before(self, seq: int) -> None:
        self.events = [event for event in self.events if event.seq >= seq]

    def _change(self, name: str, body: bytes | None) -> None:
        if self.is_dropped:
            return
        self.journal.sessions[self.session_id] = self
        if body is None:
            self.named.pop(name, None)
        else:
            self.named[name] = body

    def _drop(self) -> None:
        self.is_dropped = True
        if self.journal.sessions.get(self.session_id) is self:
            del self.journal.sessions[self.session_id]


class MemoryJournal:
    """Keeps at once what it is given, unless the test says otherwise; as the journal in a file does, in one thread.

    While ``error`` is set nothing can be kept, while ``is_held`` nothing is yet; ``works_again`` ends both. A session
    whose id is in ``unreadable`` cannot be read.
    """

    def __init__(self, alive_at: float = 0.0) -> None:
        self.sessions: dict[str, KeptInMemory] = {}
        self.named: dict[tuple[str, str], bytes] = {}
        self.unreadable: set[str] = set()
        self.error: str | None = None
        self.is_held = False
        self.size = 0
        self.commit_seconds = commit_histogram()
        self.alive_at = alive_at
        #: What is not kept yet, and who waits for that.
        self._given: list[tuple[Callable[[], None], Future[None] | None]] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._pieces = 0
        self._before: dict[str, KeptInMemory] = {}

    def again(self, *, alive_at: float = 0.0, leapt: int = 0) -> Self:
        """What the next run finds, if this one ends at this moment; the ids go on so much higher."""
        journal = type(self)(alive_at)
        journal.named = dict(self.named)
        for session_id, kept in self.sessions.items():
            leaps = list(kept.leaps)
            if leapt:
                leaps.append((kept.last_seq, leapt + (leaps[-1][1] if leaps else 0)))
            journal._before[session_id] = journal.sessions[session_id] = KeptInMemory(
                journal,
                session_id,
                kept.epoch,
                kept.opened_by,
                list(kept.events),
                kept.last_seq,
                leaps,
                dict(kept.named),
            )
        return journal

    def works_again(self) -> None:
        """Keep what waits, and what comes, from now on."""
        self.error, self.is_held = None, False
        self._write()

    # What the core calls

    def heads(self) -> Sequence[Head]:
        return [Head(kept.session_id, kept.last_event_id, kept.opened_by) for kept in self._before.values()]

    def begin(self, session_id: str, epoch: str, *, opened_by: str | None) -> KeptInMemory:
        return KeptInMemory(self, session_id, epoch, opened_by)

    def go_on(self, session_id: str, *, most_events: int, most_bytes: int) -> tuple[KeptInMemory, KeptLog]:
        if session_id in self.unreadable:
            raise NotDurable("What was kept of this session cannot be read.")
        kept = self._before.pop(session_id)
        return kept, KeptLog(kept.epoch, kept.events[-most_events:], kept.last_seq, kept.leaps)

    def drop(self, session_id: str) -> None:
        self._before.pop(session_id).drop()

    def kept(self, kind: str) -> Sequence[Change]:
        return [Change(kind, name, body) for (of, name), body in sorted(self.named.items()) if of == kind]

    def commit(self, *changes: Change) -> Future[None]:
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()
        self.give(lambda: self._change(changes), future)
        return future

    def note(self, *changes: Change) -> None:
        self.give(lambda: self._change(changes))

    @contextmanager
    def together(self) -> Iterator[None]:
        self._pieces += 1
        try:
            yield
        finally:
            self._pieces -= 1
            self._write()

    def all_kept(self) -> Awaitable[None] | None:
        if not self._given:
            return None
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._write()
        return waiter

    # What is given

    def give(self, write: Callable[[], None], future: Future[None] | None = None) -> None:
        self._given.append((write, future))
        self._write()

    def _change(self, changes: Sequence[Change]) -> None:
        for kind, name, body in changes:
            if body is None:
                self.named.pop((kind, name), None)
            else:
                self.named[kind, name] = body

    def _write(self) -> None:
        if self.is_held or self._pieces:
            return
        if self.error is not None:
            self._fail(NotDurable(f"It cannot be kept over a restart at the moment: {self.error}."))
            return
        given, self._given = self._given, []
        for write, future in given:
            write()
            if future is not None:
                future.set_result(None)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _fail(self, error: NotDurable) -> None:
        """What somebody waits for will not be kept; the rest is tried again."""
        given, self._given = self._given, []
        for write, future in given:
            if future is None:
                self._given.append((write, None))
            else:
                future.set_exception(error)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)
