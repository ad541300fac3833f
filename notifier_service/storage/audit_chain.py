"""The lines of an audit log: each carries the hash of the one before, so that none can be changed, taken or put in.

A line is canonical JSON (RFC 8785: sorted keys, no white space, UTF-8). ``hash`` is the SHA-256 of the line without
it, ``prev`` the hash of the line before, of the first line ever sixty-four zeros. ``seq`` counts from 1, and goes on
over rotated files and restarts; ``time`` is what the clock of the machine said, which may jump back.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import InvalidInput
from ..core.parameters import canonical_json

__all__ = [
    "GENESIS",
    "MAX_LINE_BYTES",
    "BadLine",
    "Head",
    "Verified",
    "chained",
    "checked_line",
    "first_seq",
    "in_order",
    "lines_of",
    "verify",
]

#: What the first line of a chain has before it.
GENESIS = "0" * 64
#: No line is longer; what would be is written without its parameters.
MAX_LINE_BYTES = 256 * 1024

#: The first in a line is its own: what is sorted before it holds plain values, in which a quotation mark is escaped.
_HASH = re.compile(rb'"hash":"([0-9a-f]{64})",')


class Head(NamedTuple):
    """Where a chain ends: the number and the hash of its last line."""

    seq: int = 0
    hash: str = GENESIS


class Verified(NamedTuple):
    """What was found: how many lines, where they end, and bytes of a last line that was never finished."""

    records: int
    head: Head
    unfinished_bytes: int


class BadLine(InvalidInput):
    """A line of an audit log is not as it was written, or not where it was."""

    def __init__(self, path: Path, number: int, why: str) -> None:
        super().__init__(f"{path}:{number}: {why}", line=number)
        self.path = path
        self.number = number
        self.why = why


def chained(entry: Mapping[str, Any], behind: Head) -> tuple[bytes, Head]:
    """The line that says ``entry`` behind the head of a chain, with its newline, and the new head."""
    text = canonical_json({**entry, "seq": behind.seq + 1, "prev": behind.hash, "hash": GENESIS})
    place = _HASH.search(text)
    assert place is not None  # kind, prev, seq and time come behind it
    before, after = text[: place.start()], text[place.end() :]
    head = Head(behind.seq + 1, hashlib.sha256(before + after).hexdigest())
    return b'%s"hash":"%s",%s\n' % (before, head.hash.encode(), after), head


def lines_of(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number and the content of each line of a log, each checked by itself and against the one before.

    Raises ``BadLine`` at the first that does not fit. The beginning of a last line that was never finished is none.
    """
    return _Reading(path).lines(None)


def verify(paths: Sequence[Path]) -> Verified:
    """Check a log, or the files into which one was rotated, given in any order. Raises ``BadLine``."""
    records, head, reading = 0, None, None
    for path in in_order(paths):
        if reading is not None and reading.unfinished_bytes:
            raise BadLine(reading.path, reading.number + 1, "it is not whole, and another file follows")
        reading = _Reading(path)
        for _ in reading.lines(head):
            records += 1
        head = reading.head
    if reading is None or head is None:
        raise InvalidInput("No file was named.")
    return Verified(records, head, reading.unfinished_bytes)


def in_order(paths: Sequence[Path]) -> list[Path]:
    """The files of one log, the oldest first; one that cannot be read comes where it was given."""
    # One is not looked at, which may be a pipe: it can be read but once.
    return list(paths) if len(paths) < 2 else sorted(paths, key=first_seq)


def first_seq(path: Path) -> int:
    """The number of the first line of a file; 0 where nobody can say."""
    try:
        with path.open("rb") as file:
            first = json.loads(file.readline(MAX_LINE_BYTES + 1))
        return int(first["seq"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0


class _Reading:
    """One file, read line by line; ``head`` is where it has come to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self.head: Head | None = None
        self.unfinished_bytes = 0

    def lines(self, behind: Head | None) -> Iterator[tuple[int, dict[str, Any]]]:
        """``behind`` is where the file before ended; None for nobody knows."""
        self.head = behind
        try:
            with self.path.open("rb") as file:
                while line := file.readline(2 * MAX_LINE_BYTES):
                    if not line.endswith(b"\n") and self._is_unfinished(line):
                        self.unfinished_bytes = len(line)
                        break
                    self.number += 1
                    yield self.number, self._checked(line)
        except OSError as error:
            raise BadLine(self.path, self.number, f"it cannot be read: {error.strerror or error}") from error
        if not self.number:
            raise BadLine(self.path, 1, "there is no line; a log begins with audit_opened")

    def _checked(self, line: bytes) -> dict[str, Any]:
        told = checked_line(self.path, self.number, line)
        known, begins = self.head, self.number == 1
        seq, prev = told.get("seq"), told.get("prev")
        if type(seq) is not int or seq < 1 or not isinstance(prev, str):
            raise self._bad("it has no number or nothing before it")
        if known is None:
            # The first line of the first file that was given: it may go on with one that was not.
            if told.get("kind") != "audit_opened":
                raise self._bad("a file begins with audit_opened, and this with another line: some are missing before")
            if (seq == 1) != (prev == GENESIS):
                raise self._bad("it is the first of a chain and has one before it, or the other way round")
        elif seq != known.seq + 1:
            raise self._bad(_why_not_next(seq, known.seq))
        elif prev != known.hash:
            raise self._bad(f"it does not go on with line {seq - 1}: that one was changed or exchanged")
        elif begins and told.get("kind") != "audit_opened":
            raise self._bad("a file begins with audit_opened")
        self.head = Head(seq, told["hash"])
        return told

    def _is_unfinished(self, line: bytes) -> bool:
        """Whether this may be what a process wrote of a line before it was killed, and nobody was told of that line.

        Behind a whole line stands a newline: anything else there was put in its place, and so was a whole one that
        was never written like that.
        """
        if len(line) >= 2 * MAX_LINE_BYTES or not line.startswith((b"{", b"\0")):
            return False
        text = line.decode("utf-8", "replace")
        try:
            is_whole = json.JSONDecoder().raw_decode(text)[1] == len(text)
        except (ValueError, RecursionError):
            return True
        if is_whole:
            checked_line(self.path, self.number + 1, line + b"\n")
        return is_whole

    def _bad(self, why: str) -> BadLine:
        return BadLine(self.path, self.number, why)


def checked_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    """The content of a line whose hash is that of what it says; which others stand around it is not looked at."""
    found = _HASH.search(line)
    if found is None:
        raise BadLine(path, number, "it has no hash")
    if not line.endswith(b"\n"):
        raise BadLine(path, number, "something else stands where the line ends")
    if hashlib.sha256(line[: found.start()] + line[found.end() : -1]).hexdigest() != found[1].decode():
        raise BadLine(path, number, "its hash is not that of what it says")
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        raise BadLine(path, number, "it is no JSON") from None
    if not isinstance(told, dict) or told.get("hash") != found[1].decode() or type(told.get("seq")) is not int:
        raise BadLine(path, number, "it is no record")
    if list(told) != sorted(told):
        # The hash is over all but its own words, so their place is looked at too.
        raise BadLine(path, number, "its parts are not in order")
    return told


def _why_not_next(seq: int, before: int) -> str:
    if seq <= before:
        return f"it is number {seq} and comes behind number {before}: it was doubled or exchanged"
    return f"it is number {seq} and comes behind number {before}: {seq - before - 1} are missing or moved"
