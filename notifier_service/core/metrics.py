"""What the broker counts: plain numbers that any exporter can read."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Counters", "Histogram", "commit_histogram"]


class Histogram:
    """How often a number of seconds was at most each of ``bounds``, which rise, or beyond all of them."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        #: For each bound what is at most that and beyond the one before; the last is what is beyond all.
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += times
        self.sum += seconds * times

    @property
    def count(self) -> int:
        return sum(self.counts)


def _delivery_seconds() -> Histogram:
    return Histogram((0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10))


def commit_histogram() -> Histogram:
    """For how long a journal takes to keep a group."""
    return Histogram((0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5))


def _decision_seconds() -> Histogram:
    return Histogram((1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400))


@dataclass(slots=True)
class Counters:
    """Totals since the broker began. Never labelled with a session id, so that their number is bounded."""

    events_published: int = 0
    events_evicted: int = 0
    sessions_opened: int = 0
    sessions_expired: int = 0
    connections_opened: int = 0
    #: Who reads right now, by transport; the one number here that goes down too.
    connections: Counter[str] = field(default_factory=Counter)
    #: Events of logs that were written to readers, and the bytes of all that was, frames included. Of a reader who is
    #: still there they are known when it is asked (``Broker.statistics``): its place says how many events it had.
    events_delivered: Counter[str] = field(default_factory=Counter)
    bytes_delivered: int = 0
    #: From the moment an event is published until it is written, for a sample of writes.
    delivery_seconds: Histogram = field(default_factory=_delivery_seconds)
    #: Readers who came with a cursor, by what they were given: full, partial.
    replays: Counter[str] = field(default_factory=Counter)
    #: Of them, those who opened a new connection with it.
    reconnects: int = 0
    #: Permission requests by how they ended: approved, rejected, expired, cancelled.
    permissions: Counter[str] = field(default_factory=Counter)
    #: The same of those that people were asked.
    decisions: Counter[str] = field(default_factory=Counter)
    #: How long those that a person answered had been shown.
    decision_wait_seconds: Histogram = field(default_factory=_decision_seconds)
    #: Requests that were shown when nobody was there to see them.
    unseen_requests: int = 0
    #: What people who do not look were told, by channel and how that ended.
    notifications: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: What the policy said of calls: allow, ask, deny.
    policy_decisions: Counter[str] = field(default_factory=Counter)
    #: How often a changed policy file was read, by what came of it: loaded, refused.
    policies_read: Counter[str] = field(default_factory=Counter)
    #: Gaps told to readers, by reason.
    gaps: Counter[str] = field(default_factory=Counter)
    #: Streams that ended, by reason: left, shutdown, session_closed, slow, token_expired.
    disconnects: Counter[str] = field(default_factory=Counter)
    #: Callers who were not let in, by reason.
    auth_failures: Counter[str] = field(default_factory=Counter)
    #: Refusals, by the setting that was reached.
    limits_reached: Counter[str] = field(default_factory=Counter)
