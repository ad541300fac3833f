"""What waits for a decision, by the time that is left."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from .table import duration, moment, print_table

__all__ = ["Waiting", "by_time_left", "print_waiting", "time_left"]

_COLUMNS = ("LEFT", "SESSION", "TOOL", "RISK", "REQUEST", "PARAMETERS")
_COPIED = ("SESSION", "REQUEST")


def print_waiting(records: Sequence[Mapping[str, Any]]) -> None:
    """Print what waits as a table, and on a terminal how to read it whole."""
    print_table(_COLUMNS, [_cells_of(record) for record in by_time_left(records)], whole=_COPIED)
    if sys.stdout.isatty():
        print("notifier-service watch shows each of them whole, and takes the answer.", file=sys.stderr)


def by_time_left(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that end first come first, and of those that never end the oldest."""
    return sorted(records, key=lambda record: (record.get("expires_at") is None, record.get("expires_at") or ""))


def _seconds_left(record: Mapping[str, Any]) -> float | None:
    """How long a request waits yet, by the clock here; None for one that waits for ever."""
    if record.get("expires_at") is None:
        return None
    return max(0.0, (moment(record["expires_at"]) - datetime.now(UTC)).total_seconds())


def time_left(record: Mapping[str, Any]) -> str:
    """How long it waits yet, in words; nothing where it waits for ever."""
    seconds = _seconds_left(record)
    if seconds is None:
        return ""
    return f"{seconds:.0f} s" if seconds < 100 else duration(seconds)


def _cells_of(record: Mapping[str, Any]) -> Sequence[str]:
    server = record.get("server")
    return (
        time_left(record),
        record["session_id"],
        record["tool_name"] if server is None else f"{server}: {record['tool_name']}",
        record["risk_level"],
        record["request_id"],
        json.dumps(record["parameters"], ensure_ascii=False),
    )


class Waiting:
    """What waits in a session, or in all of them, kept by its events; what ends first comes first."""

    def __init__(self, session_id: str | None) -> None:
        #: False where the service has said that who watches may only look on: then nothing is offered.
        self.may_approve = True
        self._session_id = session_id
        self._records: dict[str, dict[str, Any]] = {}
        self._ids: list[str] | None = None
        #: Title and agent of sessions, as far as the inbox tells them.
        self._labels: dict[str, tuple[str, ...]] = {}

    @property
    def ids(self) -> list[str]:
        if self._ids is None:
            self._ids = [record["request_id"] for record in by_time_left(self._records.values())]
        return self._ids

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._records

    def get(self, request_id: str | None) -> dict[str, Any] | None:
        record = self._records.get(request_id or "")
        return record if record is None or self.may_approve else {**record, "allowed_decisions": []}

    def replace(self, record: dict[str, Any]) -> None:
        """Keep a record that is read whole, if it still waits."""
        if record["request_id"] in self._records:
            self._keep(record)

    def drop(self, request_id: str) -> None:
        self._ids = None if self._records.pop(request_id, None) else self._ids

    def take(self, event_type: str, data: dict[str, Any]) -> list[dict[str, Any]]:
        """Keep what an event tells; return the requests that are new."""
        if event_type == "hello":
            self.may_approve = data.get("may_approve") is not False
        if event_type == "snapshot":
            before, self._records, self._ids = self._records, {}, None
            for row in data.get("sessions", ()):
                self._label(row)
            for record in data["permission_requests"]:
                self._keep(record)
            return [record for record in self._records.values() if record["request_id"] not in before]
        known = self._records.get(data.get("request_id", ""))
        if event_type == "permission_request" and known is None:
            return [self._keep(data)]
        if event_type == "permission_request" and known is not None and data.get("replayed"):
            self._keep({**known, "expires_at": data["expires_at"]})  # after a restart it may have more time
        if event_type == "permission_cleared":
            self.drop(data["request_id"])
        elif event_type == "session_opened":
            self._label(data)
        elif event_type == "session_closed":
            self._labels.pop(data["session_id"], None)
        return []

    def where(self, record: Mapping[str, Any]) -> str:
        """In which of all sessions it waits; nothing where only one is watched."""
        if self._session_id is not None:
            return ""
        return " · ".join((f"in session {record['session_id']}", *self._labels.get(record["session_id"], ())))

    def count_sessions(self) -> int:
        return len({record["session_id"] for record in self._records.values()})

    def _keep(self, data: dict[str, Any]) -> dict[str, Any]:
        record = data if self._session_id is None else {"session_id": self._session_id} | data
        self._records[record["request_id"]] = record
        self._ids = None
        return record

    def _label(self, row: Mapping[str, Any]) -> None:
        told = (row.get("title"), row.get("agent"))
        self._labels[row["session_id"]] = tuple(text for text in told if text)
