"""The permission requests that were settled, over all sessions, also those that have ended (contract section 12)."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from .errors import InvalidInput
from .event_log import base36, new_epoch
from .events import PermissionRecord, dump

__all__ = ["History", "HistoryPage"]

_CURSOR = re.compile(r"([0-9a-z]{1,24})-([0-9a-z]{1,12})")
#: A page ends there, however few records it has: each may be as large as an event.
_PAGE_BYTES = 4 * 1024 * 1024


class _Settled(NamedTuple):
    seq: int
    session_id: str
    tool_name: str
    decided_by: str | None
    holder: Hashable
    json: bytes


class HistoryPage(NamedTuple):
    """Records as JSON with their ``session_id``, newest first; ``next`` is the cursor of older ones, if there are."""

    records: Sequence[bytes]
    next: str | None


class History:
    """The newest settled requests within these bounds; whose take the most room give way first, the oldest of them.

    What the policy answered counts apart from what people did, so that a flood of it drops nobody's decision.
    """

    def __init__(self, capacity: int, capacity_bytes: int) -> None:
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._epoch = new_epoch()
        self._last_seq = 0
        self._settled: dict[int, _Settled] = {}
        self._of: dict[Hashable, deque[_Settled]] = {}
        self._bytes_of: Counter[Hashable] = Counter()
        self._bytes = 0

    def add(
        self, session_id: str, record: PermissionRecord, *, asked_by: str | None, json: bytes | None = None
    ) -> None:
        """Keep a settled request as it is shown; ``json`` is the record if that is encoded already."""
        self._last_seq += 1
        text = b'{"session_id":"%b",%b' % (session_id.encode(), (dump(record) if json is None else json)[1:])
        holder = asked_by, record.decided_by == "policy"
        settled = _Settled(self._last_seq, session_id, record.tool_name, record.decided_by, holder, text)
        self._settled[settled.seq] = settled
        self._of.setdefault(holder, deque()).append(settled)
        self._bytes_of[holder] += len(text)
        self._bytes += len(text)
        while len(self._settled) > self._capacity:
            self._drop_of(max(self._of, key=lambda one: len(self._of[one])))
        while self._bytes > self._capacity_bytes and len(self._settled) > 1:
            self._drop_of(max(self._of, key=lambda one: self._bytes_of[one]))

    def page(
        self,
        sees: Callable[[str], bool],
        *,
        session_id: str | None = None,
        tool_name: str | None = None,
        decided_by: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> HistoryPage:
        """The newest records that fit, of the sessions that the caller ``sees``; ``before`` is a ``next`` of before.

        Raises ``InvalidInput`` for a cursor that is none. Before one of an earlier run there is nothing.
        """
        until = self._located(before)
        seen: dict[str, bool] = {}
        records: list[bytes] = []
        size = oldest = 0
        for settled in reversed(self._settled.values()):
            if (
                settled.seq >= until
                or session_id not in (None, settled.session_id)
                or tool_name not in (None, settled.tool_name)
                or decided_by not in (None, settled.decided_by)
            ):
                continue
            if settled.session_id not in seen:
                seen[settled.session_id] = sees(settled.session_id)
            if not seen[settled.session_id]:
                continue
            size += len(settled.json)
            if len(records) == limit or (records and size > _PAGE_BYTES):
                return HistoryPage(records, f"{self._epoch}-{base36(oldest)}")
            records.append(settled.json)
            oldest = settled.seq
        return HistoryPage(records, None)

    def _located(self, before: str | None) -> int:
        """The place of a cursor, behind the newest without one."""
        if before is None:
            return self._last_seq + 1
        found = _CURSOR.fullmatch(before)
        if found is None:
            raise InvalidInput("before: this is no cursor: it is what next of an earlier answer said")
        return int(found[2], 36) if found[1] == self._epoch else 0

    def _drop_of(self, holder: Hashable) -> None:
        dropped = self._of[holder].popleft()
        del self._settled[dropped.seq]
        self._bytes -= len(dropped.json)
        self._bytes_of[holder] -= len(dropped.json)
        if not self._of[holder]:
            del self._of[holder], self._bytes_of[holder]
