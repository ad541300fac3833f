"""The permission requests that were settled, over all sessions, also those that have ended (contract section 12)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Hashable, Sequence
from operator import attrgetter
from typing import NamedTuple

from pydantic_core import from_json

from .errors import InvalidInput
from .event_log import base36, new_epoch
from .events import PermissionRecord, dump
from .journal import NO_JOURNAL, Change, Journal
from .newest import Newest

__all__ = ["History", "HistoryPage"]

_CURSOR = re.compile(r"([0-9a-z]{1,24})-([0-9a-z]{1,12})")
#: A page ends there, however few records it has: each may be as large as an event.
_PAGE_BYTES = 4 * 1024 * 1024
#: In the journal: each by its request, and one that says of which run the cursors are.
_KIND = "history"
_EPOCH = "epoch"

_log = logging.getLogger("notifier_service.permissions")


class _Settled(NamedTuple):
    seq: int
    request_id: str
    session_id: str
    tool_name: str
    decided_by: str | None
    asked_by: str | None
    json: bytes

    @property
    def holder(self) -> Hashable:
        """Whose room it takes."""
        return self.asked_by, self.decided_by == "policy"

    @property
    def told(self) -> bytes:
        """The record as JSON with its ``session_id``."""
        return b"%b%b" % (_session_head(self.session_id), self.json[1:])

    def kept(self) -> Change:
        """It, as a journal keeps it: what is looked for, and then what is told."""
        found = [self.seq, self.session_id, self.tool_name, self.decided_by, self.asked_by]
        return Change(_KIND, self.request_id, b"%b\n%b" % (dump(found), self.told))


def _session_head(session_id: str) -> bytes:
    return b'{"session_id":"%b",' % session_id.encode()


def _of_before(change: Change) -> _Settled:
    found, _, told = (change.body or b"").partition(b"\n")
    seq, session_id, tool_name, decided_by, asked_by = from_json(found)
    head = _session_head(session_id)
    if type(seq) is not int or not told.startswith(head):
        raise ValueError("this is no settled request")
    return _Settled(seq, change.name, session_id, tool_name, decided_by, asked_by, b"{%b" % told[len(head) :])


class HistoryPage(NamedTuple):
    """Records as JSON with their ``session_id``, newest first; ``next`` is the cursor of older ones, if there are."""

    records: Sequence[bytes]
    next: str | None


class History:
    """The newest settled requests within these bounds; whose take the most room give way first, the oldest of them.

    What the policy answered counts apart from what people did, so that a flood of it drops nobody's decision. Over a
    restart they are kept in a journal, if ``keep_in`` is told of one.
    """

    def __init__(self, capacity: int, capacity_bytes: int) -> None:
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._epoch = new_epoch()
        self._last_seq = 0
        self._settled = self._empty()
        self._journal: Journal = NO_JOURNAL

    def _empty(self) -> Newest[_Settled]:
        return Newest(self._capacity, self._capacity_bytes, attrgetter("json"), at_least=1, dropped=self._note_dropped)

    def _note_dropped(self, dropped: _Settled) -> None:
        if self._journal is not NO_JOURNAL:
            self._journal.note(Change(_KIND, dropped.request_id, None))

    def keep_in(self, journal: Journal) -> None:
        """Keep them over a restart from now on, and go on behind those that were kept before."""
        self._journal = journal
        since, self._settled = tuple(self._settled), self._empty()
        before: list[_Settled] = []
        for change in journal.kept(_KIND):
            if change.name == _EPOCH:
                self._epoch = (change.body or b"").decode()
                continue
            try:
                before.append(_of_before(change))
            except (ValueError, TypeError):
                _log.exception("request %s cannot be read from the history in the journal", change.name)
                journal.note(change._replace(body=None))
        before.sort(key=lambda settled: settled.seq)
        journal.note(Change(_KIND, _EPOCH, self._epoch.encode()))
        ahead = [settled for settled in before if not settled.seq]
        for settled in before[len(ahead) :]:
            self._last_seq = settled.seq
            self._settled.keep(settled.seq, settled, settled.holder)
        for settled in (*ahead, *since):
            self._last_seq += 1
            self._add(settled._replace(seq=self._last_seq))

    def ahead(self, session_id: str, shown: PermissionRecord, *, asked_by: str | None) -> Sequence[Change]:
        """What keeps a settled request in one piece with a decision that is not told yet; ``add`` comes behind it."""
        return () if self._journal is NO_JOURNAL else (_settled(0, session_id, shown, asked_by).kept(),)

    def take_back(self, request_id: str) -> None:
        """What was kept ``ahead`` has not happened."""
        self._journal.note(Change(_KIND, request_id, None))

    def add(self, session_id: str, shown: PermissionRecord, *, asked_by: str | None) -> None:
        """Keep a settled request as it is shown."""
        self._last_seq += 1
        self._add(_settled(self._last_seq, session_id, shown, asked_by))

    def _add(self, settled: _Settled) -> None:
        if self._journal is not NO_JOURNAL:
            self._journal.note(settled.kept())
        self._settled.keep(settled.seq, settled, settled.holder)

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
        for settled in reversed(self._settled):
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
            records.append(settled.told)
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


def _settled(seq: int, session_id: str, shown: PermissionRecord, asked_by: str | None) -> _Settled:
    return _Settled(seq, shown.request_id, session_id, shown.tool_name, shown.decided_by, asked_by, shown.encoded)
