"""``audit prove``, and ``audit verify`` of receipts and heads: what is shown to somebody who trusts nobody here."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import InvalidInput, NotifierError
from ..storage.audit_heads import head_path, read_head
from ..storage.audit_leaves import files_of
from ..storage.checkpoint import Checkpoint
from ..storage.receipt import HeadTooOld, Proved, prove_consistency, prove_request, verify_heads, verify_receipt
from ..storage.signed_note import VerifyingKey, needs_cryptography
from .terminal import in_a_row, one_line

__all__ = ["add_options_of_verify", "add_prove", "heads_hold", "verify_offline", "wrong_usage"]

#: Somewhat more than until a service that runs has signed the next head.
_PATIENCE_SECONDS = 8.0
_MOST_BYTES = 64 * 1024 * 1024
#: What a person reads of a line; the receipt has all of it.
_TOLD = (
    "tool_name",
    "decision",
    "reason",
    "decided_by",
    "via",
    "rule",
    "outcome",
    "parameters_sha256",
    "action_sha256",
)


def add_prove(steps: Any) -> None:
    parser = steps.add_parser(
        "prove",
        help="make a receipt of one request, for somebody else",
        description="Print a receipt: the lines of a request, the proof that they are in the log, and its signed "
        "head. With --since, that the log begins with all that an older head says. Whoever has the public key verifies "
        "it with: audit verify --receipt FILE --key FILE",
    )
    parser.add_argument("request", nargs="?", help="the request_id")
    parser.add_argument("--audit-file", type=Path, required=True, metavar="FILE", help="the log; its rotated files too")
    parser.add_argument("--head", type=Path, metavar="FILE", help="a signed head (the log's name with .head behind it)")
    parser.add_argument("--since", type=Path, metavar="HEAD", help="an older signed head, in the place of a request")
    parser.set_defaults(command=_prove)


def add_options_of_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--head", type=Path, metavar="FILE", help="also that the log has all lines of this signed head")
    parser.add_argument("--receipt", type=Path, metavar="FILE", help="a receipt of audit prove, in the place of a log")
    parser.add_argument("--key", type=Path, metavar="FILE", help="the public key that signed (GET /api/keys)")


async def _prove(arguments: argparse.Namespace) -> int:
    if (arguments.request is None) == (arguments.since is None):
        return wrong_usage("audit prove takes either a request or --since")
    until = time.monotonic() + (_PATIENCE_SECONDS if arguments.head is None else 0)
    while True:
        try:
            receipt = _receipt(arguments)
            break
        except HeadTooOld as error:
            if time.monotonic() >= until:
                return _refused(error)
            await asyncio.sleep(0.5)
        except NotifierError as error:
            return _refused(error)
    # ASCII: whatever a terminal could act on stays an escape, and a program reads the same value.
    print(json.dumps(receipt, indent=2))
    return 0


def _receipt(arguments: argparse.Namespace) -> dict[str, Any]:
    path = arguments.audit_file
    note = _note(head_path(path) if arguments.head is None else arguments.head)
    if arguments.since is None:
        return prove_request(arguments.request, files_of(path), note)
    return prove_consistency(_note(arguments.since), files_of(path), note)


def wrong_usage(text: str) -> int:
    print(f"notifier-service: {text}", file=sys.stderr)
    return 2


def verify_offline(arguments: argparse.Namespace) -> int:
    """What a receipt proves, said on standard output; nothing else is looked at."""
    if arguments.file or arguments.head is not None or arguments.key is None:
        return wrong_usage("a receipt is verified alone: audit verify --receipt FILE --key FILE")
    try:
        needs_cryptography()
        key = _key(arguments.key)
    except InvalidInput as error:
        return wrong_usage(error.message)
    try:
        proved = verify_receipt(_content(arguments.receipt), key)
    except NotifierError as error:
        print(f"{arguments.receipt}: {one_line(error.message)}", file=sys.stderr)
        return 1
    for line in _said(proved):
        print(in_a_row(line, sys.stdout.encoding))
    return 0


def heads_hold(arguments: argparse.Namespace) -> int:
    """Compare a log that is whole by itself with the signed heads in a file; 0 if it has the lines of all of them."""
    try:
        key = None
        if arguments.key is not None:
            needs_cryptography()
            key = _key(arguments.key)
        notes = list(_notes(arguments.head))
    except InvalidInput as error:
        return wrong_usage(error.message)
    try:
        newest = verify_heads(notes, arguments.file, key)
    except NotifierError as error:
        print(f"{arguments.head}: {error.message}", file=sys.stderr)
        return 1
    signed = "" if key is not None else "; who has signed it was not looked at, for which --key is needed"
    print(f"the lines to number {newest.size} are those of the signed head{signed}")
    return 0


def _said(proved: Proved) -> Iterator[str]:
    if proved.old_head is not None:
        yield f"The log of {proved.head.size} lines begins with the {proved.old_head.size} lines of the older head."
        yield f"head {_named(proved.head)}"
        return
    yield f"request {proved.request_id}: {len(proved.lines)} of the {proved.head.size} lines of the log"
    for line in proved.lines:
        said = " ".join(f"{name}={_text(line[name])}" for name in _TOLD if line.get(name) is not None)
        yield f"{line['seq']} {_text(line.get('time'))} {_text(line.get('kind'))} {said}"
    yield f"head {_named(proved.head)}"


def _named(head: Checkpoint) -> str:
    return f"{head.root.hex()} of {head.origin}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _refused(error: NotifierError) -> int:
    print(f"notifier-service: {one_line(error.message)}", file=sys.stderr)
    return 1


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > _MOST_BYTES:
        raise InvalidInput(f"{path} is larger than any receipt")
    return content


def _key(path: Path) -> VerifyingKey:
    try:
        return VerifyingKey.of(_content(path).decode())
    except UnicodeDecodeError:
        raise InvalidInput(f"{path}: this is no key that verifies") from None
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error.message}") from None


def _note(path: Path) -> str:
    try:
        return read_head(path)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error


def _notes(path: Path) -> Sequence[str]:
    """The signed head in a file, or those that a second machine has kept: one JSON object a line, with ``head``."""
    content = _content(path)
    if not content.lstrip().startswith(b"{"):
        return [_note(path)]
    whole = content[: content.rfind(b"\n") + 1]  # the last one may be on its way
    try:
        kept: list[Mapping[str, Any]] = [json.loads(line) for line in whole.splitlines() if line.strip()]
        if not kept:
            raise ValueError
        return [str(one["head"]) for one in kept]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidInput(f"{path}: a line of it is no kept head") from None
