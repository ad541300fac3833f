"""``journal``: whether a journal is whole, what is in it, and how to make it smaller."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ..core.errors import InvalidInput
from ..storage.journal_reading import check, compact, export

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    parser = commands.add_parser(
        "journal",
        help="check, compact or export a journal",
        description="Read a journal, which a service with the setting journal writes.",
    )
    steps = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command, text, more in (
        ("check", _check, "read all of it", "Exits with 0 and says what is in it, or with 1 and what is wrong. A "
         "service may use it meanwhile."),
        ("compact", _compact, "make the file smaller", "Give back what nobody needs. No service may use it meanwhile; "
         "a service does this by itself, piece by piece."),
        ("export", _export, "print its events", "Print all events as lines of JSON, each with its session_id. A "
         "service may use it meanwhile."),
    ):  # fmt: skip
        step = steps.add_parser(name, help=text, description=more)
        step.add_argument("file", type=Path, metavar="FILE")
        step.set_defaults(command=command)


async def _check(arguments: argparse.Namespace) -> int:
    try:
        found = check(arguments.file)
    except InvalidInput as error:
        return _refused(error)
    print(f"{found.sessions} sessions, {found.events} events, {found.requests} requests, {found.bytes} bytes")
    if found.missing:
        print(f"{found.missing} events between others could not be kept: a disk failed for long.", file=sys.stderr)
    return 0


async def _compact(arguments: argparse.Namespace) -> int:
    try:
        before, after = compact(arguments.file)
    except InvalidInput as error:
        return _refused(error)
    print(f"{before} bytes before, {after} bytes now")
    return 0


async def _export(arguments: argparse.Namespace) -> int:
    try:
        for event in export(arguments.file):
            sys.stdout.buffer.write(event + b"\n")
    except InvalidInput as error:
        return _refused(error)
    sys.stdout.buffer.flush()
    return 0


def _refused(error: InvalidInput) -> int:
    print(error.message, file=sys.stderr)
    return 1
