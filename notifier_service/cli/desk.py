"""``sessions`` and ``pending``: where agents work, and what waits for a person."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..client import Client
from .scripts import TERMINAL, service_command
from .table import duration, print_table
from .waiting import by_time_left, print_waiting

__all__ = ["add_commands"]

_SESSIONS = ("STATE", "WAITING", "WATCHING", "QUIET FOR", "SESSION", "AGENT", "TITLE")


def add_commands(commands: Any) -> None:
    sessions = service_command(
        commands,
        "sessions",
        _sessions,
        "list the sessions in which agents work",
        "List the open sessions that the token may see: those in which something waits first.",
    )
    sessions.add_argument("--json", action="store_true", help="print the list as JSON, whole")
    pending = service_command(
        commands,
        "pending",
        _pending,
        "list what waits for a decision",
        "List the permission requests that wait, by the time that is left; of all sessions that the token may see.",
    )
    pending.add_argument("session", nargs="?", help="only of this session")
    pending.add_argument("--json", action="store_true", help="print the list as JSON, whole")


async def _sessions(arguments: argparse.Namespace) -> int:
    async with Client(arguments.url, token=arguments.token, user_agent=TERMINAL) as client:
        rows = await client.sessions()
    if arguments.json:
        print(json.dumps(rows, indent=2))  # ASCII: whatever a terminal could act on stays an escape
    elif rows:
        print_table(_SESSIONS, [_cells_of_session(row) for row in rows], whole=("SESSION",))
    else:
        print("No session is open that you may see.", file=sys.stderr)
    return 0


def _cells_of_session(row: Mapping[str, Any]) -> Sequence[str]:
    waiting = row["pending_permissions"]
    return (
        row.get("state") or ("waiting" if waiting else "idle"),
        str(waiting or ""),
        str(row["connections"] or ""),
        duration(row["idle_seconds"]),
        row["session_id"],
        row.get("agent") or "",
        row.get("title") or "",
    )


async def _pending(arguments: argparse.Namespace) -> int:
    async with Client(arguments.url, token=arguments.token, user_agent=TERMINAL) as client:
        if arguments.session is None:
            records = (await client.inbox())["permission_requests"]
        else:
            records = [{"session_id": arguments.session} | one for one in await client.pending(arguments.session)]
    if arguments.json:
        print(json.dumps(by_time_left(records), indent=2))
    elif records:
        print_waiting(records)
    else:
        print("Nothing waits for a decision that you may see.", file=sys.stderr)
    return 0
