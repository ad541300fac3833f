"""``history``: what was asked and how it ended, also in sessions that are over."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..client import Client
from .scripts import service_command
from .table import duration, moment, print_table
from .terminal import one_line
from .words import outcome

__all__ = ["add_commands"]

_MOST_A_PAGE = 200
_COLUMNS = ("TIME", "SESSION", "TOOL", "RISK", "ENDED", "BY", "AFTER", "PARAMETERS")


def add_commands(commands: Any) -> None:
    parser = service_command(
        commands,
        "history",
        _history,
        "show what was asked and how it ended",
        "Show the permission requests that were settled, newest first, over all sessions that the token may see.",
    )
    parser.add_argument("--session", help="only of this session")
    parser.add_argument("--tool", help="only of this tool")
    parser.add_argument(
        "--decided-by", metavar="NAME", help="only what this one decided; policy and timeout are names too"
    )
    parser.add_argument("--before", metavar="CURSOR", help="go on to older ones, as the last line of an answer says")
    parser.add_argument("--limit", type=_limit, default=20, metavar="N", help="at most so many (20)")
    parser.add_argument("--json", action="store_true", help="print {requests, next}, whole")


async def _history(arguments: argparse.Namespace) -> int:
    requests: list[dict[str, Any]] = []
    cursor: str | None = arguments.before
    async with Client(arguments.url, token=arguments.token) as client:
        while True:
            page = await client.history(
                arguments.session,
                tool=arguments.tool,
                decided_by=arguments.decided_by,
                before=cursor,
                limit=min(_MOST_A_PAGE, arguments.limit - len(requests)),
            )
            requests += page["requests"]
            cursor = page["next"]
            if cursor is None or len(requests) >= arguments.limit:
                break
    if arguments.json:
        # ASCII: whatever a terminal could act on stays an escape, and a script reads the same value.
        print(json.dumps({"requests": requests, "next": cursor}, indent=2))
        return 0
    if not requests:
        print("Nothing was settled that you may see.", file=sys.stderr)
        return 0
    print_table(_COLUMNS, [_cells_of(record) for record in requests])
    if cursor is not None:
        print(f"There are older ones: --before {one_line(cursor)}", file=sys.stderr)
    return 0


def _cells_of(record: Mapping[str, Any]) -> Sequence[str]:
    reason, server = record.get("reason"), record.get("server")
    parameters = json.dumps(record["parameters"], ensure_ascii=False)
    return (
        moment(record.get("decided_at") or record["timestamp"]).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        record["session_id"],
        record["tool_name"] if server is None else f"{server}: {record['tool_name']}",
        record["risk_level"],
        outcome(record),
        record.get("decided_by") or "",
        _after(record),
        parameters if not reason else f"{parameters}  because: {reason}",
    )


def _after(record: Mapping[str, Any]) -> str:
    if not record.get("decided_at"):
        return ""
    return duration((moment(record["decided_at"]) - moment(record["timestamp"])).total_seconds())


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= 1_000_000:
        raise argparse.ArgumentTypeError("a number from 1 to 1000000 is needed")
    return int(text)
