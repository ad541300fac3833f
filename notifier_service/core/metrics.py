"""What the broker counts: plain numbers that any exporter can read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Counters"]


@dataclass(slots=True)
class Counters:
    """Totals since the broker began. Never labelled with a session id, so that their number is bounded."""

    events_published: int = 0
    events_evicted: int = 0
    sessions_opened: int = 0
    sessions_expired: int = 0
    connections_opened: int = 0
    #: Live readers right now; the one number here that goes down too.
    connections: int = 0
    #: Permission requests by how they ended: approved, rejected, expired, cancelled.
    permissions: Counter[str] = field(default_factory=Counter)
    #: How often a changed policy file was read, by what came of it: loaded, refused.
    policies_read: Counter[str] = field(default_factory=Counter)
    #: Gaps told to readers, by reason.
    gaps: Counter[str] = field(default_factory=Counter)
    #: Streams that ended, by reason: left, shutdown, session_closed, slow, token_expired.
    disconnects: Counter[str] = field(default_factory=Counter)
    #: Refusals, by the setting that was reached.
    limits_reached: Counter[str] = field(default_factory=Counter)
