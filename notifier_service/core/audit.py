"""What puts on record who asked, who let what run, and what ran: anybody who keeps lines as this says, or nobody.

Contract section 12. What takes effect waits for its lines: a decision, what the policy allows, a request that people
are to see. What only tells what has happened is noted, and nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Protocol

__all__ = ["NO_AUDIT", "AuditLog", "Entry", "NoAudit"]

#: One line: ``time``, ``kind`` and what else contract section 12 names. Who keeps it adds its number and hashes.
Entry = Mapping[str, Any]


class AuditLog(Protocol):
    """Keeps lines in the order in which they are given. May be called from one thread; never waits."""

    @property
    def error(self) -> str | None:
        """Why nothing can be kept at the moment, or None."""

    def commit(self, *entries: Entry) -> Future[None] | None:
        """Keep these, together. None when nothing has to be waited for.

        Else the result comes, in another thread, when they are kept, or ``NotRecorded`` when they are not: then none
        of them will be.
        """

    def note(self, *entries: Entry) -> None:
        """Keep these as soon as that is possible."""


class NoAudit:
    """Keeps nothing."""

    error = None

    def commit(self, *entries: Entry) -> Future[None] | None:
        return None

    def note(self, *entries: Entry) -> None:
        return None


NO_AUDIT = NoAudit()
