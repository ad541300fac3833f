"""The signed heads of an audit log: one beside the log, and one beside each rotated file.

A head is a promise that these were the lines. So none is ever signed that contradicts the one before it: when the log
was cut or written anew while nobody looked, there are no more heads until a person has looked into it.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from contextlib import suppress
from pathlib import Path

from ..core.errors import InvalidInput
from .audit_leaves import files_of, leaves_of
from .checkpoint import Checkpoint, text_of_note
from .merkle import LeavesMissing, Tree
from .signed_note import BadNote, SigningKey

__all__ = ["AuditHeads", "head_path", "read_head"]

_MOST_BYTES = 64 * 1024

_log = logging.getLogger("notifier_service.audit")


def head_path(path: Path) -> Path:
    """Where the head of an audit log stands."""
    return path.with_name(f"{path.name}.head")


def read_head(path: Path) -> str:
    """The note in a file. Raises ``BadNote``, or ``OSError``."""
    content = path.read_bytes()
    try:
        if len(content) <= _MOST_BYTES:
            return content.decode()
    except UnicodeDecodeError:
        pass
    raise BadNote(f"{path}: this is no signed head, or not all of it")


class AuditHeads:
    """Signs the heads of the log in ``path``.

    May be used from several threads. What fails is logged, and told by ``error``; nothing raises.
    """

    def __init__(self, path: Path, key: SigningKey) -> None:
        self._path = Path(os.path.realpath(path))
        self._key = key
        self._lock = threading.Lock()
        self._is_checked = False
        self._size = 0
        self._unwritten: str | None = None
        self.error: str | None = None

    def write(self, tree: Tree | None) -> str | None:
        """Sign the head of what is on disk now, and return it; None if there is no more than at the last time."""
        note = None
        with self._lock:
            if self._may_sign() and tree is not None and self._is_more(tree):
                self._unwritten = note = self._signed(tree)
                self._size = tree.size
            if self._unwritten is not None and self._is_put(head_path(self._path), self._unwritten):
                self._unwritten = None
        return note

    def rotated(self, path: Path, tree: Tree) -> str | None:
        """Sign the last head of a file that has got this other name, put it beside, and return it."""
        note = None
        with self._lock:
            if self._may_sign():
                note = self._signed(tree)
                self._is_put(head_path(path), note)
            self._remove_old()
        return note

    def _may_sign(self) -> bool:
        if not self._is_checked:
            self._fail(self._why_not())
            self._is_checked = True
        return self.error is None

    def _is_more(self, tree: Tree) -> bool:
        if tree.size < self._size:
            self._fail(f"the log has {tree.size} lines, and {self._size} were signed: lines are missing")
        return tree.size > self._size

    def _why_not(self) -> str | None:
        """Why the log contradicts the head that was signed last, before this process; None if it does not."""
        place = head_path(self._path)
        try:
            known = Checkpoint.of(text_of_note(read_head(place)))
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"{place} cannot be read: {error.strerror or error}"
        except BadNote:
            return f"{place} is no signed head, or not all of it"
        try:
            leaves = leaves_of([self._path])
            if known.size < leaves.before.size:
                leaves = leaves_of(files_of(self._path))
            if known.size > leaves.size:
                return f"the log has {leaves.size} lines, and {known.size} were signed: lines are missing"
            if leaves.root(known.size) != known.root:
                return f"the first {known.size} lines are not those that were signed: the log was changed"
        except LeavesMissing:
            _log.warning("the audit log %s cannot be compared with its head: older files are missing", self._path)
        except InvalidInput as error:
            return error.message
        self._size = known.size
        return None

    def _fail(self, why: str | None) -> None:
        self.error = why
        if why is not None:
            _log.error(
                "no more heads of the audit log %s are signed: %s; look into it, then move %s away",
                self._path,
                why,
                head_path(self._path),
            )

    def _signed(self, tree: Tree) -> str:
        return self._key.signed(Checkpoint(self._key.name, tree.size, tree.root).text)

    def _is_put(self, place: Path, note: str) -> bool:
        try:
            _replace(place, note.encode())
        except OSError as error:
            _log.error("%s cannot be written: %s", place, error.strerror or error)
            return False
        return True

    def _remove_old(self) -> None:
        """Heads of rotated files that were removed."""
        name = re.compile(re.escape(self._path.name) + r"\.\d{12}\.head")
        with suppress(OSError):
            for place in self._path.parent.iterdir():
                if name.fullmatch(place.name) and not place.with_suffix("").exists():
                    place.unlink()


def _replace(place: Path, content: bytes) -> None:
    """Put it there whole; who reads meanwhile gets what was there before."""
    draft = place.with_name(f"{place.name}.new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    draft.replace(place)
