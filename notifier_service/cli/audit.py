"""``audit``: what an audit log says, and whether it is as it was written."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ..storage.audit_chain import BadLine, verify
from .audit_proof import add_options_of_verify, add_prove, heads_hold, verify_offline, wrong_usage

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    parser = commands.add_parser(
        "audit",
        help="verify an audit log",
        description="Read audit logs, which a service with the setting audit_file writes. No service needs to run.",
    )
    steps = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_verify(steps)
    add_prove(steps)


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
    if found.unfinished_bytes:
        print(
            f"The last {found.unfinished_bytes} bytes are of a line that was never finished: nobody was told of it.",
            file=sys.stderr,
        )
    return 0 if arguments.head is None else heads_hold(arguments)
