"""An audit log in a file: lines are appended by one thread, in groups, and nobody hears of them before they are kept.

While one group is on its way to the disk the next one gathers, so that fifty who wait share one commit. The file is
locked: two processes that write to one would break the chain.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ..core.audit import Entry
from ..core.errors import InvalidInput, NotRecorded
from ..core.events import utc_now, utc_text
from .audit_chain import MAX_LINE_BYTES, BadLine, Head, chained, checked_line
from .audit_leaves import leaves_of, tree_told
from .merkle import EMPTY, Tree, leaf_hash

__all__ = ["AuditFile", "AuditState", "AuditUnusable"]

#: Lines that nobody waits for are kept while the disk fails; of more the oldest are lost, and counted.
_MOST_KEPT = 10_000
#: Lines of one group, so that those who came first do not wait for ever.
_MOST_TOGETHER = 1000
#: How long until the disk is tried again when nobody asks for it.
_AGAIN_SECONDS = 1.0
#: How long until a rotation that failed is tried again.
_ROTATE_AGAIN_SECONDS = 60.0
_DAY_SECONDS = 86400

_log = logging.getLogger("notifier_service.audit")


class AuditUnusable(InvalidInput):
    """The file cannot be used as an audit log: which one, and what to do."""


class AuditState(NamedTuple):
    """An audit log at one moment: ``error`` is why nothing can be written, ``lost`` the lines that never will be."""

    file: str
    required: bool
    records: int
    commits: int
    failures: int
    waiting: int
    lost: int
    error: str | None


class _Waiting(NamedTuple):
    entries: Sequence[Entry]
    #: None where nobody waits.
    future: Future[None] | None


class AuditFile:
    """The audit log in ``path``, which goes on where that ends. Raises ``AuditUnusable``.

    Unless ``required``, who waits goes on also when nothing can be written. ``prepare`` makes of an entry what may
    stand in the file. A file is rotated when it would be larger than ``rotate_bytes`` or is older than
    ``rotate_days``; a rotated one is removed after ``keep_days``, 0 for never. ``rotated`` hears, in the thread that
    writes, of the new name of a file and of the tree over all lines to its end. ``write`` and ``sync`` are those of the
    operating system; ``close`` waits at most ``close_seconds`` for them.
    """

    def __init__(
        self,
        path: Path,
        *,
        required: bool = True,
        prepare: Callable[[Entry], dict[str, Any]] = dict,
        rotate_bytes: int = 64 * 1024 * 1024,
        rotate_days: float = 30,
        keep_days: float = 183,
        rotated: Callable[[Path, Tree], object] = lambda path, tree: None,
        write: Callable[[int, bytes], int] = os.write,
        sync: Callable[[int], object] = os.fsync,
        close_seconds: float = 10,
    ) -> None:
        self.path = Path(os.path.realpath(path))
        self.required = required
        self._prepare = prepare
        self._rotate_bytes = rotate_bytes
        self._rotate_days = rotate_days
        self._keep_days = keep_days
        self._rotated_to = rotated
        self._write = write
        self._sync = sync
        self._close_seconds = close_seconds
        self._given = path
        self._fd = -1
        self._inode: tuple[int, int] = (0, 0)
        self._size = 0
        self._began: float = 0
        self._rotate_at = 0.0
        self._head = Head()
        self._tree: Tree | None = EMPTY
        self._commits = self._failures = self._lost = 0
        self._error: str | None = None
        self._kept: list[_Waiting] = []
        self._queue: deque[_Waiting] = deque()
        self._wake = threading.Condition()
        self._is_closing = False
        try:
            self._begin("")
        except OSError as error:
            self._let_go()
            raise AuditUnusable(f"audit_file {path}: {_why(error)}") from error
        except BaseException:
            self._let_go()
            raise
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    @property
    def error(self) -> str | None:
        return self._error

    @property
    def head(self) -> Head:
        """The last line that is on disk."""
        return self._head

    @property
    def tree(self) -> Tree | None:
        """The tree over all lines that are on disk; None where the file does not say what was before it."""
        return self._tree

    @property
    def state(self) -> AuditState:
        waiting = len(self._queue) + len(self._kept)
        return AuditState(
            str(self._given),
            self.required,
            self._head.seq,
            self._commits,
            self._failures,
            waiting,
            self._lost,
            self._error,
        )

    def commit(self, *entries: Entry) -> Future[None]:
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()  # who stops waiting takes nothing back
        self._put(_Waiting(entries, future))
        return future

    def note(self, *entries: Entry) -> None:
        self._put(_Waiting(entries, None))

    def close(self) -> None:
        """Write what waits, and let the file go. Whatever comes after that is refused.

        A disk that answers nothing for ``close_seconds`` is not waited for any longer, which is logged.
        """
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._thread.join(self._close_seconds)
        if self._thread.is_alive():
            _log.error(
                "the audit log %s is left while its disk does not answer; its last lines may be lost", self._given
            )

    def _put(self, waiting: _Waiting) -> None:
        with self._wake:
            if not self._is_closing:
                if waiting.future is None and len(self._queue) >= _MOST_KEPT:
                    self._lost += len(waiting.entries)
                    return
                self._queue.append(waiting)
                self._wake.notify()
                return
        if waiting.future is not None:
            waiting.future.set_exception(NotRecorded("The audit log is closed: nothing is decided any more."))

    # The thread

    def _run(self) -> None:
        while True:
            with self._wake:
                if not self._queue and not self._is_closing:
                    self._wake.wait(_AGAIN_SECONDS if self._kept else None)
                group = [self._queue.popleft() for _ in range(min(len(self._queue), _MOST_TOGETHER))]
                is_last = self._is_closing and not self._queue
            if group or self._kept:
                self._try(group)
            if is_last:
                self._let_go()
                return

    def _try(self, group: list[_Waiting]) -> None:
        everything = [*self._kept, *group]
        try:
            self._append(everything)
        except Exception as error:
            # Whatever it is, nobody may wait for ever, and nothing may be taken for kept that is not.
            self._fail(everything, error)
            return
        self._commits += 1
        self._kept = []
        if self._error is not None:
            _log.warning("the audit log %s is written again", self._given)
            self._error = None
        for waiting in group:
            if waiting.future is not None:
                waiting.future.set_result(None)

    def _fail(self, everything: list[_Waiting], error: Exception) -> None:
        self._failures += 1
        why = _why(error)
        if self._error is None:
            _log.error("the audit log %s cannot be written: %s", self._given, why)
        self._error = why
        kept = []
        for waiting in everything:
            future = waiting.future
            if future is None:
                kept.append(waiting)
            elif self.required:
                future.set_exception(NotRecorded(f"It cannot be put on record, so it is not done: {why}."))
            else:
                kept.append(waiting._replace(future=None))
                future.set_result(None)
        self._lost += sum(len(waiting.entries) for waiting in kept[:-_MOST_KEPT])
        self._kept = kept[-_MOST_KEPT:]

    def _append(self, group: Sequence[_Waiting]) -> None:
        """Write all of them, or none; when this returns they are on disk."""
        self._look_at_the_file()
        lines, head = self._lines(group, self._head)
        if self._is_due(len(lines)):
            try:
                self._rotate()
            except OSError as error:
                _log.error("the audit log %s cannot be rotated: %s", self._given, _why(error))
                self._rotate_at = time.monotonic() + _ROTATE_AGAIN_SECONDS
            else:
                lines, head = self._lines(group, self._head)
        self._append_bytes(lines)
        self._head = head

    def _lines(self, group: Sequence[_Waiting], head: Head) -> tuple[bytes, Head]:
        lines = []
        if self._lost:
            line, head = chained(_opened(f"{self._lost} lines are lost that could not be written"), head)
            lines.append(line)
        for waiting in group:
            for entry in waiting.entries:
                line, head = self._line(entry, head)
                lines.append(line)
        return b"".join(lines), head

    def _line(self, entry: Entry, behind: Head) -> tuple[bytes, Head]:
        try:
            line, head = chained(self._prepare(entry), behind)
            if len(line) <= MAX_LINE_BYTES:
                return line, head
            why = f"a line of {len(line)} bytes is too long"
        except (TypeError, ValueError, RecursionError) as error:
            why = _why(error)
        # One that cannot be written must not keep the others from being.
        _log.error("a line of the audit log %s is written without its details: %s", self._given, why)
        return chained(_bare(entry), behind)

    def _append_bytes(self, text: bytes) -> None:
        try:
            _write_all(self._fd, text, self._write)
            self._sync(self._fd)
        except OSError:
            # Half a line would break the chain, and a whole one would tell of what was not done.
            with suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise
        self._size += len(text)
        self._lost = 0
        if self._tree is not None:
            self._tree = self._tree.with_leaves(leaf_hash(line) for line in text.split(b"\n") if line)

    def _look_at_the_file(self) -> None:
        """Go on where others have moved, removed or cut the file: the chain then says so."""
        try:
            here = os.stat(self.path)
        except FileNotFoundError:
            here = None
        if here is not None and (here.st_dev, here.st_ino) == self._inode:
            _require_writable(here)
            if here.st_size == self._size:
                return
            if os.fstat(self._fd).st_size > self._size and self._error is not None:
                os.ftruncate(self._fd, self._size)  # what is left of a group that failed
                return
            _log.error("the audit log %s was changed by another program", self._given)
            self._size = here.st_size
            is_whole = not self._size or os.pread(self._fd, 1, self._size - 1) == b"\n"
            line, head = chained(_opened("another program has changed this file"), self._head)
            self._append_bytes(line if is_whole else b"\n" + line)
            self._head = head
            return
        _log.error("the audit log %s was moved or removed by another program; a new file goes on", self._given)
        before, self._fd = self._fd, -1
        try:
            self._begin("another program has moved or removed the file before")
        except BaseException:
            self._let_go()
            self._fd = before
            raise
        os.close(before)

    # The file

    def _begin(self, why: str) -> None:
        """Open the file, find where it ends, and say so in it. Raises ``OSError`` or ``AuditUnusable``."""
        fd = self._fd = _locked(self.path)
        there = os.fstat(fd)
        reasons = [why] if why else []
        head, size = self._head, there.st_size
        if size:
            head, whole = _end_of(fd, self.path, size)
            if whole < size:
                reasons.append(self._set_aside(fd, head, whole, size))
                size = whole
            if there.st_nlink > 1:
                self._forget_other_names(there)
        if size:
            # Who put another file in its place while this one was written may have put other lines into it.
            self._tree = None if why and head != self._head else _tree_of(self.path, head)
        self._inode, self._size, self._head = (there.st_dev, there.st_ino), size, head
        self._began = _began(fd) if size else time.time()
        line, opened = chained(_opened("; ".join(reasons)) | ({} if size else tree_told(self._tree)), head)
        self._append_bytes(line)
        _sync_folder(self.path.parent)
        self._head = opened
        self._remove_old()

    def _set_aside(self, fd: int, head: Head, whole: int, size: int) -> str:
        """Take what was never finished out of the file, and keep it beside."""
        torn = os.pread(fd, size - whole, whole)
        beside = self.path.with_name(f"{self.path.name}.torn-{head.seq + 1:012}")
        kept = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(kept, torn)
            os.fsync(kept)
        finally:
            os.close(kept)
        os.ftruncate(fd, whole)
        _log.warning("the audit log %s ends with %d bytes of a line that was never finished", self._given, len(torn))
        return f"{len(torn)} bytes of a line that was never finished were moved to {beside.name}"

    def _is_due(self, more_bytes: int) -> bool:
        """Whether the file is to be rotated before so much comes."""
        if time.monotonic() < self._rotate_at:
            return False
        is_full = self._size + more_bytes > self._rotate_bytes and self._size > _first_line_bytes(self._fd)
        return is_full or time.time() - self._began > self._rotate_days * _DAY_SECONDS

    def _rotate(self) -> None:
        """Give the file another name, and go on in a new one; at no moment there is none."""
        new = self.path.with_name(self.path.name + ".new")
        with suppress(FileNotFoundError):
            new.unlink()
        fd = _locked(new)
        try:
            reason = f"goes on behind {self._rotated_name.name}"
            line, head = chained(_opened(reason) | tree_told(self._tree), self._head)
            _write_all(fd, line, self._write)
            self._sync(fd)
            there = os.fstat(fd)
            os.link(self.path, self._rotated_name)
            os.rename(new, self.path)
        except BaseException:
            os.close(fd)
            with suppress(OSError):
                new.unlink()
            raise
        os.close(self._fd)
        self._fd, self._inode = fd, (there.st_dev, there.st_ino)
        rotated, tree = self._rotated_name, self._tree
        self._size, self._head, self._began = len(line), head, time.time()
        if tree is not None:
            self._tree = tree.with_leaves([leaf_hash(line[:-1])])
            self._rotated_to(rotated, tree)
        _sync_folder(self.path.parent)
        self._remove_old()

    @property
    def _rotated_name(self) -> Path:
        return self.path.with_name(f"{self.path.name}.{self._head.seq:012}")

    def _rotated(self) -> Sequence[Path]:
        name = re.compile(re.escape(self.path.name) + r"\.\d{12}")
        return [path for path in self.path.parent.iterdir() if name.fullmatch(path.name)]

    def _remove_old(self) -> None:
        if self._keep_days:
            for path in self._rotated():
                with suppress(OSError):
                    if time.time() - path.stat().st_mtime > self._keep_days * _DAY_SECONDS:
                        path.unlink()
                        _log.info("the audit log %s is older than %g days and was removed", path, self._keep_days)

    def _forget_other_names(self, there: os.stat_result) -> None:
        """A process was killed while it rotated: the file has got its new name, and has the old one still."""
        for path in self._rotated():
            with suppress(OSError):
                if os.path.samestat(path.stat(), there):
                    path.unlink()

    def _let_go(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _bare(entry: Entry) -> dict[str, Any]:
    """What tells which step of which request it is."""
    names = ("time", "kind", "session_id", "request_id", "parameters_sha256", "action_sha256", "decision", "approved")
    return {name: entry[name] for name in names if name in entry}


def _opened(reason: str) -> dict[str, Any]:
    return {"time": utc_text(utc_now()), "kind": "audit_opened", **({"reason": reason} if reason else {})}


def _locked(path: Path) -> int:
    """The file, open for this process alone. Raises ``OSError`` or ``AuditUnusable``."""
    while True:
        # Without O_NONBLOCK a pipe under the name would hold the start.
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        try:
            there = os.fstat(fd)
            if not stat.S_ISREG(there.st_mode):
                raise AuditUnusable(f"audit_file {path}: it is no regular file.")
            _require_writable(there)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AuditUnusable(
                    f"audit_file {path}: another process writes it already; each needs a file of its own."
                ) from None
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(path), there):
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # it was rotated meanwhile


def _require_writable(there: os.stat_result) -> None:
    # Root may write it all the same: who has made it read-only did not mean that.
    if not there.st_mode & 0o222:
        raise OSError(0, "it is read-only")


def _end_of(fd: int, path: Path, size: int) -> tuple[Head, int]:
    """The last line that is whole, and where it ends. Raises ``AuditUnusable`` for what is no audit log."""
    start = os.pread(fd, MAX_LINE_BYTES, 0)
    first, newline, _ = start.partition(b"\n")
    try:
        if not newline:
            raise BadLine(path, 1, "there is no whole line")
        checked_line(path, 1, first + newline)
    except BadLine as error:
        raise AuditUnusable(
            f"audit_file {path}: it holds something else than an audit log ({error.why}); give it another name, or "
            "move that file away."
        ) from None
    tail_at = max(0, size - 3 * MAX_LINE_BYTES)
    tail = os.pread(fd, size - tail_at, tail_at)
    end = tail.rfind(b"\n") + 1
    line = tail[tail.rfind(b"\n", 0, end - 1) + 1 : end]
    try:
        told = checked_line(path, 0, line)
    except BadLine as error:
        raise AuditUnusable(
            f"audit_file {path}: its last line was changed ({error.why}); look at it with audit verify, and move that "
            "file away to begin another."
        ) from None
    return Head(told["seq"], told["hash"]), tail_at + end


def _tree_of(path: Path, head: Head) -> Tree | None:
    """The tree over all lines to the end of a file; None where that cannot be said, which is logged."""
    try:
        leaves = leaves_of([path])
        if leaves.size == head.seq:
            return leaves.tree
        why = f"it ends with number {head.seq}, which is its line {leaves.size}"
    except InvalidInput as error:
        why = error.message
    _log.error("nothing in the audit log %s can be proved: %s", path, why)
    return None


def _began(fd: int) -> float:
    """When the first line of the file was written, as that says."""
    try:
        first = os.pread(fd, MAX_LINE_BYTES, 0).partition(b"\n")[0]
        found = re.search(rb'"time":"([^"]+)"', first)
        return time.time() if found is None else datetime.fromisoformat(found[1].decode()).astimezone(UTC).timestamp()
    except ValueError:
        return time.time()


def _first_line_bytes(fd: int) -> int:
    return os.pread(fd, MAX_LINE_BYTES, 0).find(b"\n") + 1


def _write_all(fd: int, text: bytes, write: Callable[[int, bytes], int]) -> None:
    rest = memoryview(text)
    while rest:
        rest = rest[write(fd, bytes(rest)) :]


def _sync_folder(folder: Path) -> None:
    """Have the name of a new file survive a loss of power."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) or type(error).__name__
