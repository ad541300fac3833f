"""What keeps sessions and their events over a restart: anybody who does as this says, or nobody.

Contract section 15. Who reads waits for nothing of it; who is told that something was taken waits until it is kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

from .event_log import Event
from .metrics import Histogram, commit_histogram

__all__ = ["NO_JOURNAL", "Change", "Head", "Journal", "KeptLog", "KeptSession", "NoJournal"]


class Change(NamedTuple):
    """Something that is kept by its name, among others of its kind; without a body it is kept no longer."""

    kind: str
    name: str
    body: bytes | None


class Head(NamedTuple):
    """What is known of a kept session before its events are read."""

    session_id: str
    last_event_id: str
    opened_by: str | None


class KeptLog(NamedTuple):
    """The newest events of a session, without one missing between them, the oldest first.

    ``last_seq`` is that of the newest event that was ever kept. Behind the places in ``leaps`` the numbers in the ids
    are so much higher than the places: what readers were told there and was not kept may have had those in between.
    """

    epoch: str
    events: Sequence[Event]
    last_seq: int
    leaps: Sequence[tuple[int, int]]


class KeptSession(Protocol):
    """Keeps one session. Called from one thread; never waits."""

    def put(self, event: Event) -> None:
        """Keep the next event as soon as that is possible."""

    def forget_before(self, seq: int) -> None:
        """Nobody needs the events before this one any more."""

    def keep(self, name: str, body: bytes | None) -> None:
        """Keep something of the session by its name, until that ends; without a body it is kept no longer."""

    def beside(self) -> Sequence[tuple[str, bytes]]:
        """What was kept so by an earlier run, in the order of the names. Raises ``NotDurable`` as ``go_on``."""

    def drop(self) -> None:
        """The session has ended: nothing of it is needed any more."""


class Journal(Protocol):
    """Keeps sessions, their events, and what else is given to it by name."""

    @property
    def error(self) -> str | None:
        """Why nothing can be kept at the moment, or None."""

    @property
    def size(self) -> int:
        """Bytes on the disk."""

    @property
    def commit_seconds(self) -> Histogram:
        """How long it took to keep a group."""

    @property
    def alive_at(self) -> float:
        """When the run before was there for the last time, in seconds since 1970."""

    def heads(self) -> Sequence[Head]:
        """The sessions that were kept when it was opened, in the order in which they were."""

    def begin(self, session_id: str, epoch: str, *, opened_by: str | None) -> KeptSession | None:
        """A session begins, of which nothing was kept so far; None where nothing of it will be."""

    def go_on(self, session_id: str, *, most_events: int, most_bytes: int) -> tuple[KeptSession, KeptLog]:
        """Read the end of a session that was kept, which goes on there."""

    def drop(self, session_id: str) -> None:
        """Nothing is needed any more of a session that was kept, and did not go on."""

    def kept(self, kind: str) -> Sequence[Change]:
        """All of a kind that were kept when it was opened, in the order of their names."""

    def commit(self, *changes: Change) -> Future[None] | None:
        """Keep these, together, whatever happens to the machine. None when nothing has to be waited for.

        Else the result comes, in another thread, when they are kept, or ``NotDurable`` when they are not: then none of
        them will be.
        """

    def note(self, *changes: Change) -> None:
        """Keep these as soon as that is possible."""

    def together(self) -> AbstractContextManager[None]:
        """Keep all that is given meanwhile, by whomever, in one piece: all of it is there after a restart, or nothing.

        It waits until then, so that it should not be long.
        """

    def all_kept(self) -> Awaitable[None] | None:
        """Wait until all that was put until now is kept; None when nothing has to be waited for.

        Raises ``NotDurable``: what is not kept may still be, as soon as that is possible.
        """


class NoJournal:
    """Keeps nothing."""

    error = None
    size = 0
    commit_seconds = commit_histogram()
    alive_at = 0.0

    def heads(self) -> Sequence[Head]:
        return ()

    def begin(self, session_id: str, epoch: str, *, opened_by: str | None) -> KeptSession | None:
        return None

    def go_on(self, session_id: str, *, most_events: int, most_bytes: int) -> tuple[KeptSession, KeptLog]:
        raise NotImplementedError  # it has no heads

    def drop(self, session_id: str) -> None:
        return None

    def kept(self, kind: str) -> Sequence[Change]:
        return ()

    def commit(self, *changes: Change) -> Future[None] | None:
        return None

    def note(self, *changes: Change) -> None:
        return None

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()

    def all_kept(self) -> Awaitable[None] | None:
        return None


NO_JOURNAL = NoJournal()
