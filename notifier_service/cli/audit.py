"""``audit``: what an audit log says, and whether it is as it was written."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..core.errors import InvalidInput
from ..storage.audit_chain import BadLine, verify
from .audit_export import FORMATS, export
from .audit_lines import add_choice, chosen, in_words, refused
from .audit_proof import add_options_of_verify, add_prove, heads_hold, verify_offline, wrong_usage
from .audit_summary import summary, summary_in_words

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    parser = commands.add_parser(
        "audit",
        help="verify an audit log, or say what is in it",
        description="Read audit logs, which a service with the setting audit_file writes. No service needs to run.",
    )
    steps = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_verify(steps)
    add_prove(steps)
    _add_show(steps)
    _add_summary(steps)
    _add_export(steps)


def _add_verify(steps: Any) -> None:
    parser = steps.add_parser(
        "verify",
        help="find the first line that is not as it was written",
        description="Check each line and the chain of them. Exits with 0 and prints the number of records and the "
        "head, or with 1 and the first line that was changed, removed, doubled or exchanged. That lines at the end "
        "are missing shows only when the head is compared with one that was noted before.",
    )
    parser.add_argument("file", nargs="*", type=Path, help="the log, or all files of one that was rotated")
    add_options_of_verify(parser)
    parser.set_defaults(command=_verify)


async def _verify(arguments: argparse.Namespace) -> int:
    if arguments.receipt is not None:
        return verify_offline(arguments)
    if not arguments.file or (arguments.key is not None and arguments.head is None):
        return wrong_usage(
            "audit verify takes the files of a log, or --receipt; --key goes with one of --head and that"
        )
    try:
        found = verify(arguments.file)
    except BadLine as error:
        print(error.message, file=sys.stderr)
        return 1
    print(f"{found.records} records, head {found.head.hash}")
    if (before := found.head.seq - found.records) > 0:
        print(f"It goes on behind {before} older lines, which are not in these files.", file=sys.stderr)
    if found.unfinished_bytes:
        print(
            f"The last {found.unfinished_bytes} bytes are of a line that was never finished: nobody was told of it.",
            file=sys.stderr,
        )
    return 0 if arguments.head is None else heads_hold(arguments)


def _add_show(steps: Any) -> None:
    parser = steps.add_parser(
        "show", help="print its lines for a person", description="Print the lines of an audit log, the oldest first."
    )
    add_choice(parser)
    parser.add_argument("--json", action="store_true", help="print each line as JSON")
    parser.set_defaults(command=_show)


async def _show(arguments: argparse.Namespace) -> int:
    try:
        for line in chosen(arguments):
            print(json.dumps(line, sort_keys=True, separators=(",", ":")) if arguments.json else in_words(line))
    except BadLine as error:
        return refused(error)
    return 0


def _add_summary(steps: Any) -> None:
    parser = steps.add_parser(
        "summary",
        help="say how often people were asked, and which rule would have saved that",
        description="Of each tool: how often it was asked about and approved, the median time to answer, how often in "
        "less than a second, and which rule would have saved how many questions.",
    )
    add_choice(parser)
    parser.add_argument("--json", action="store_true", help="print one object for programs")
    parser.set_defaults(command=_summary)


async def _summary(arguments: argparse.Namespace) -> int:
    try:
        told = summary(chosen(arguments))
    except BadLine as error:
        return refused(error)
    if arguments.json:
        print(json.dumps(told, indent=2))
    else:
        is_unicode = (sys.stdout.encoding or "").lower().replace("-", "") in ("utf8", "utf16")
        print(summary_in_words(told, ascii_only=not is_unicode), end="")
    return 0


def _add_export(steps: Any) -> None:
    parser = steps.add_parser(
        "export",
        help="write it in the form of another program",
        description="Print an audit log as a trace that AgentAck judges (one session), as CSV, or as JSON lines.",
    )
    add_choice(parser)
    parser.add_argument("--format", choices=FORMATS, required=True, help="agentack, csv or jsonl")
    parser.set_defaults(command=_export)


async def _export(arguments: argparse.Namespace) -> int:
    try:
        for text in export(arguments, chosen(arguments)):
            sys.stdout.write(text)
    except BadLine as error:
        return refused(error)
    except InvalidInput as error:
        print(f"notifier-service: {error.message}", file=sys.stderr)
        return 2
    return 0
