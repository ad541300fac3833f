"""What a third party is given of an audit log: the lines of one request, or that one head goes on behind another.

A receipt is JSON. It needs neither the log nor the service to be verified, only the public key.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import InvalidInput, NotFound, NotifierError
from ..core.events import parse_json
from .audit_chain import checked_line, in_order
from .audit_leaves import leaves_of, raw_lines
from .checkpoint import Checkpoint, text_of_note
from .merkle import is_consistent, is_included, leaf_hash
from .signed_note import VerifyingKey

__all__ = ["BadReceipt", "HeadTooOld", "Proved", "prove_consistency", "prove_request", "verify_heads", "verify_receipt"]

_REQUEST = "notifier-service/audit-receipt-1"
_CONSISTENCY = "notifier-service/audit-consistency-1"


class BadReceipt(InvalidInput):
    """A receipt does not prove what it says."""


class _About:
    """Knows which lines are about a request: those that name it, and the runs of the call that these name."""

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._calls: set[tuple[str, str]] = set()

    def is_about(self, line: Mapping[str, Any]) -> bool:
        """Lines are asked about in their order."""
        call = line.get("session_id"), line.get("tool_call_id")
        is_named = isinstance(call[0], str) and isinstance(call[1], str)
        if line.get("request_id") == self._request_id:
            if is_named:
                self._calls.add(call)  # type: ignore[arg-type]  # both are texts
            return True
        is_run = line.get("kind") in ("started", "finished") and line.get("request_id") is None
        return is_run and is_named and call in self._calls


class HeadTooOld(InvalidInput):
    """The newest head was signed before the last of the lines was written."""


class Proved(NamedTuple):
    """What a receipt proves: that these lines stand in the log of this head, or, without lines, that the log of
    ``head`` begins with all that of ``old_head``."""

    head: Checkpoint
    request_id: str | None = None
    lines: Sequence[Mapping[str, Any]] = ()
    old_head: Checkpoint | None = None


def prove_request(request_id: str, paths: Sequence[Path], note: str) -> dict[str, Any]:
    """A receipt with all lines of a request, and the proof that each is in the log of a signed head.

    Raises ``NotFound`` where there are none, ``InvalidInput`` where the head is older than they are, or the files are
    not those that were signed.
    """
    head = Checkpoint.of(text_of_note(note))
    leaves = leaves_of(paths)
    about = _About(request_id)
    found: list[tuple[int, bytes]] = []
    # Most lines are about others, and to parse all of them takes ten times as long.
    needle, run = json.dumps(request_id).encode(), re.compile(rb'"kind":"(?:started|finished)"')
    index = leaves.before.size
    for path in in_order(paths):
        for line in raw_lines(path):
            if (needle in line or (found and run.search(line))) and about.is_about(_content(line)):
                found.append((index, line))
            index += 1
    if not found:
        raise NotFound(f"There is no line about the request {request_id} in {', '.join(map(str, paths))}.")
    _require_signed(leaves.size, head)
    if found[-1][0] >= head.size:
        raise HeadTooOld(
            f"The newest head covers {head.size} lines, and the request has line {found[-1][0] + 1}: the service signs "
            "one within seconds, while it runs."
        )
    if leaves.root(head.size) != head.root:
        raise InvalidInput("The log is not the one that was signed: it was changed, and so nothing is proved by it.")
    return {
        "format": _REQUEST,
        "request_id": request_id,
        "head": note,
        "lines": [
            {"index": index, "line": line.decode(), "proof": _texts(leaves.inclusion(index, head.size))}
            for index, line in found
        ],
    }


def prove_consistency(old_note: str, paths: Sequence[Path], note: str) -> dict[str, Any]:
    """A receipt that the log of a signed head begins with all that of an older one. Raises as ``prove_request``."""
    old, head = (Checkpoint.of(text_of_note(one)) for one in (old_note, note))
    leaves = leaves_of(paths)
    _require_signed(leaves.size, head)
    if not 0 < old.size <= head.size:
        raise InvalidInput("The old head is no older than the new one.")
    proof = leaves.consistency(old.size, head.size)
    if not is_consistent(old.size, head.size, proof, old.root, head.root):
        raise InvalidInput("The log is not the one that was signed: it was changed, and so nothing is proved by it.")
    return {"format": _CONSISTENCY, "old_head": old_note, "head": note, "proof": _texts(proof)}


def verify_receipt(text: bytes, key: VerifyingKey) -> Proved:
    """What a receipt proves to who trusts this key. Raises ``InvalidInput`` that says why it proves nothing."""
    try:
        told = parse_json(text, unique_keys=True)
    except NotifierError as error:
        raise BadReceipt(f"this is no receipt: {error.message}") from None
    try:
        if isinstance(told, dict) and told["format"] == _REQUEST:
            return _request_proved(told, key)
        if isinstance(told, dict) and told["format"] == _CONSISTENCY:
            return _consistency_proved(told, key)
    except (KeyError, TypeError, ValueError, binascii.Error):
        pass
    raise BadReceipt("this is no receipt, or not all of it")


def verify_heads(notes: Iterable[str], paths: Sequence[Path], key: VerifyingKey | None) -> Checkpoint:
    """The newest of these heads, if the log has the lines of each of them. Raises ``InvalidInput`` that says why not.

    Without a key who has signed them is not looked at.
    """
    leaves = leaves_of(paths)
    newest = Checkpoint("", -1, b"")
    for note in notes:
        head = Checkpoint.of(text_of_note(note) if key is None else key.text_of(note))
        _require_signed(leaves.size, head)
        if leaves.root(head.size) != head.root:
            raise InvalidInput(f"the first {head.size} lines are not those that were signed: the log was written anew")
        newest = max(newest, head, key=lambda one: one.size)
    return newest


def _require_signed(size: int, head: Checkpoint) -> None:
    if head.size > size:
        raise InvalidInput(f"the log ends with line {size}, and {head.size} were signed: the end was cut off")


def _content(line: bytes) -> Mapping[str, Any]:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _request_proved(told: Mapping[str, Any], key: VerifyingKey) -> Proved:
    head = Checkpoint.of(key.text_of(_text(told["head"])))
    request_id = _text(told["request_id"])
    lines: list[Mapping[str, Any]] = []
    about, last = _About(request_id), -1
    for entry in told["lines"]:
        index, line = entry["index"], _text(entry["line"]).encode()
        if type(index) is not int or index <= last:
            raise BadReceipt("its lines are not in order")
        last = index
        if not is_included(leaf_hash(line), index, head.size, _hashes(entry["proof"]), head.root):
            raise BadReceipt(f"line {index + 1} is not in the log of its head: it was changed, or is of another log")
        content = checked_line(Path("receipt"), len(lines) + 1, line + b"\n")
        if content["seq"] != index + 1 or not about.is_about(content):
            raise BadReceipt(f"line {index + 1} is about another request")
        lines.append(content)
    if not lines:
        raise BadReceipt("it has no lines")
    return Proved(head, request_id, lines)


def _consistency_proved(told: Mapping[str, Any], key: VerifyingKey) -> Proved:
    old, head = (Checkpoint.of(key.text_of(_text(told[name]))) for name in ("old_head", "head"))
    if not is_consistent(old.size, head.size, _hashes(told["proof"]), old.root, head.root):
        raise BadReceipt("the new head does not go on behind the old one: lines were changed, or it is of another log")
    return Proved(head, old_head=old)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _texts(path: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(one).decode() for one in path]


def _hashes(proof: Sequence[object]) -> list[bytes]:
    if not isinstance(proof, list):
        raise TypeError
    return [base64.b64decode(_text(one), validate=True) for one in proof]
