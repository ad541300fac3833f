"""What waits for a decision, by the time that is left."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from .table import duration, moment, print_table

__all__ = ["by_time_left", "print_waiting", "seconds_left"]

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


def seconds_left(record: Mapping[str, Any]) -> float | None:
    """How long a request waits yet, by the clock here; None for one that waits for ever."""
    if record.get("expires_at") is None:
        return None
    return max(0.0, (moment(record["expires_at"]) - datetime.now(UTC)).total_seconds())


def _cells_of(record: Mapping[str, Any]) -> Sequence[str]:
    left, server = seconds_left(record), record.get("server")
    return (
        "" if left is None else duration(left),
        record["session_id"],
        record["tool_name"] if server is None else f"{server}: {record['tool_name']}",
        record["risk_level"],
        record["request_id"],
        json.dumps(record["parameters"], ensure_ascii=False),
    )
