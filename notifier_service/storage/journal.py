"""A journal in a file: events and what else must outlive the process are committed by one thread, in groups.

While one group is on its way to the disk the next one gathers, so that fifty who wait share one commit. Events of one
session in one group are one row, as the bytes that readers get.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Awaitable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from ..core.errors import NotDurable
from ..core.event_log import Event, base36, new_epoch
from ..core.journal import Change, Head, KeptLog, KeptSession
from ..core.metrics import commit_histogram
from .journal_lock import JournalLock
from .journal_tables import (
    UNREADABLE,
    Connect,
    Damaged,
    as_damaged,
    connected,
    key_of,
    number_of,
    open_journal,
    reading,
    unusable,
    why_not_kept,
)

__all__ = ["JournalFile", "JournalState", "Sync"]

Sync = Literal["full", "normal"]

#: Behind a run that was not ended in order, readers may have been told events that were not kept: ids leap over them.
LEAP = 1 << 20
#: So many events, or bytes of them, may wait for the disk; of more nothing is kept. Fewer than a leap passes over.
_MOST_WAITING = LEAP // 8
_MOST_WAITING_BYTES = 64 * 1024 * 1024
#: Of one group, so that those who came first do not wait for ever.
_MOST_TOGETHER = 2000
_MOST_TOGETHER_BYTES = 2 * 1024 * 1024
#: So far a row grows by what comes later: many of one event each are dear to read. It fits a page.
_MOST_BYTES_A_ROW = 2048
#: How long until the disk is tried again when nobody asks for it.
_AGAIN_SECONDS = 1.0
#: Rows that one transaction removes at least, and pages that it gives back: each takes a millisecond or two. It removes
#: twice as many rows as it writes, or those that nobody needs would become ever more.
_ROWS_A_CHUNK = 32
_PAGES_A_CHUNK = 256

#: Pages that nobody uses are given back where there are more of them, and more than a quarter of all.
_MOST_FREE_PAGES = 2048

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_HEAD = re.compile(rb'\{"type":"([^"\\]+)","id":"([0-9a-z]+-[0-9a-z]+)"')

_log = logging.getLogger("notifier_service.journal")


class JournalState(NamedTuple):
    """A journal at one moment: ``error`` is why nothing can be kept, ``waiting`` the events that are not yet.

    ``waiting_bytes`` are those of all that waits, what is no event included.
    """

    file: str
    sync: Sync
    commits: int
    failures: int
    waiting: int
    waiting_bytes: int
    error: str | None


class _Kept:
    """A session in the file."""

    __slots__ = ("_journal", "epoch", "is_dropped", "number", "opened_by", "session_id", "tail")

    def __init__(self, journal: JournalFile, session_id: str, epoch: str, opened_by: str | None) -> None:
        self._journal = journal
        self.session_id = session_id
        self.epoch = epoch
        self.opened_by = opened_by
        #: Its row; None before anything of it was written. This and what follows is the writer's.
        self.number: int | None = None
        self.is_dropped = False
        #: Its newest row that this run has written: the key, the last place, and bytes.
        self.tail = (0, 0, _MOST_BYTES_A_ROW)

    def put(self, event: Event) -> None:
        self._journal.put(self, event)

    def forget_before(self, seq: int) -> None:
        self._journal.give(_Forget(self, seq))

    def keep(self, name: str, body: bytes | None) -> None:
        self._journal.give(_Beside(self, name, body))

    def beside(self) -> Sequence[tuple[str, bytes]]:
        return self._journal.beside(self)

    def drop(self) -> None:
        self._journal.give(_Drop(self))


class _Put(NamedTuple):
    kept: _Kept
    event: Event


#: ``_Put`` without the detour through Python that its own constructor takes.
_new_put = partial(tuple.__new__, _Put)


class _Forget(NamedTuple):
    kept: _Kept
    seq: int


class _Beside(NamedTuple):
    kept: _Kept
    name: str
    body: bytes | None


class _Drop(NamedTuple):
    kept: _Kept


class _Commit(NamedTuple):
    changes: Sequence[Change]
    #: None where nobody waits.
    future: Future[None] | None


class _Together(NamedTuple):
    """A piece begins, or ends."""

    begins: bool


class _Row(NamedTuple):
    """A session of an earlier run that nobody has read so far; it began in one ``generation``, and ended in another."""

    number: int
    epoch: str
    generation: int
    opened_by: str | None
    last_seq: int
    last_generation: int

    @property
    def last_event_id(self) -> str:
        return f"{self.epoch}-{base36(self.last_seq + (self.last_generation - self.generation) * LEAP)}"


_new_event = partial(tuple.__new__, Event)

#: What waits to be written.
_Item = _Put | _Forget | _Beside | _Drop | _Commit


class JournalFile:
    """The journal in ``path``, which goes on where that ends. Raises ``JournalUnusable``.

    Events are on disk when they are kept with ``full``, and in the hands of the operating system with ``normal``; what
    is committed is on disk. ``connect`` is that of ``sqlite3``.
    """

    def __init__(self, path: Path, *, sync: Sync = "full", connect: Connect = sqlite3.connect) -> None:
        self.path = Path(os.path.realpath(path))
        self._given = path
        self._sync: Sync = sync
        self._connect = connect
        self._queue: deque[_Item | _Together] = deque()
        #: Taken from it, and part of a piece that has not ended; of so many pieces.
        self._ahead: list[_Item] = []
        self._pieces = 0
        self._given_events = self._taken_events = 0
        self._given_bytes = self._taken_bytes = 0
        self._is_full = False
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = threading.Event()
        self._is_closing = False
        self._error: str | None = None
        #: How many events were given until the end of the newest group.
        self._until = 0
        self._commits = self._failures = 0
        self.commit_seconds = commit_histogram()
        self._synchronous = ""
        #: Events of groups that failed; they are tried again.
        self._left: list[_Item] = []
        #: Ranges of keys to be removed, and until which place of a session.
        self._to_remove: deque[tuple[int, int]] = deque()
        try:
            self._lock = JournalLock(self.path)
            try:
                self._open()
            except BaseException:
                self._lock.close()
                raise
        except (OSError, *UNREADABLE) as error:
            raise unusable(path, as_damaged(error)) from error
        #: When the run before was seen to be alive for the last time, in seconds since 1970.
        self.alive_at = self._lock.alive_at
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def _open(self) -> None:
        self._connection = open_journal(self.path, self._given, self._connect)
        try:
            self._inode = os.stat(self.path).st_ino
            self._begin_run()
            self._rows = self._read_rows()
            self._reader = reading(self.path)
        except BaseException:
            self._connection.close()
            raise

    @property
    def error(self) -> str | None:
        return "too much waits for the disk" if self._is_full and self._error is None else self._error

    @property
    def state(self) -> JournalState:
        return JournalState(
            file=str(self._given),
            sync=self._sync,
            commits=self._commits,
            failures=self._failures,
            waiting=self._given_events - self._taken_events,
            waiting_bytes=self._given_bytes - self._taken_bytes,
            error=self.error,
        )

    @property
    def size(self) -> int:
        size = 0
        for suffix in ("", "-wal"):
            with suppress(OSError):
                size += os.stat(f"{self.path}{suffix}").st_size
        return size

    # What was kept

    def heads(self) -> Sequence[Head]:
        return [Head(session_id, row.last_event_id, row.opened_by) for session_id, row in self._rows.items()]

    def go_on(self, session_id: str, *, most_events: int, most_bytes: int) -> tuple[KeptSession, KeptLog]:
        row = self._rows[session_id]
        with self._reading(session_id):
            batches, leaps = self._newest(row, most_events, most_bytes)
        del self._rows[session_id]
        kept = _Kept(self, session_id, row.epoch, row.opened_by)
        kept.number = row.number
        events = [event for batch in reversed(batches) for event in batch]
        return kept, KeptLog(row.epoch, events, row.last_seq, leaps)

    def drop(self, session_id: str) -> None:
        row = self._rows.pop(session_id)
        kept = _Kept(self, session_id, row.epoch, row.opened_by)
        kept.number = row.number
        kept.drop()

    def beside(self, kept: _Kept) -> Sequence[tuple[str, bytes]]:
        if kept.number is None:
            return ()
        with self._reading(kept.session_id):
            return self._named(_kind_of(kept.number))

    @contextmanager
    def _reading(self, session_id: str) -> Iterator[None]:
        try:
            yield
        except UNREADABLE as error:
            why = why_not_kept(as_damaged(error))
            _log.error("session %s of the journal %s cannot be read: %s", session_id, self._given, why)
            raise NotDurable(f"What was kept of this session cannot be read: {why}.") from error

    def kept(self, kind: str) -> Sequence[Change]:
        try:
            return [Change(kind, name, body) for name, body in self._named(kind)]
        except UNREADABLE as error:
            raise unusable(self._given, as_damaged(error)) from error

    def _named(self, kind: str) -> list[tuple[str, bytes]]:
        """All of a kind; what was changed by hand to be no bytes is as if it were empty, and nobody can read that."""
        rows = self._reader.execute("SELECT name, body FROM kept WHERE kind = ? ORDER BY name", (kind,))
        return [(str(name), body if isinstance(body, bytes) else b"") for name, body in rows]

    def _newest(
        self, row: _Row, most_events: int, most_bytes: int
    ) -> tuple[Sequence[Sequence[Event]], Sequence[tuple[int, int]]]:
        """Events in pieces, the newest first, as far back as none is missing; and where the ids leap."""
        found: list[Sequence[Event]] = []
        leaps: list[tuple[int, int]] = []
        texts: list[bytes] = []
        first, generation, size = row.last_seq + 1, self._generation, 0

        def take() -> None:
            """All rows of one run at once: many hold one event, and each is dear."""
            if texts:
                text = b"\n".join(reversed(texts))
                found.append(_events_of(text, first, row.epoch, (generation - row.generation) * LEAP))
                texts.clear()

        for key, last, written_in, text in self._reader.execute(
            "SELECT key, last, generation, events FROM batches WHERE key BETWEEN ? AND ? ORDER BY key DESC LIMIT ?",
            (key_of(row.number, 0), key_of(row.number + 1, 0) - 1, most_events),
        ):
            if last + 1 != first or row.last_seq - last >= most_events or size >= most_bytes:
                break
            if written_in != generation:
                take()
                leaps.append((last, (generation - row.generation) * LEAP))
            first, generation = number_of(key)[1], written_in
            texts.append(text)
            size += len(text)
        take()
        if sum(map(len, found)) != row.last_seq + 1 - first:
            raise Damaged("a row holds another number of events than it says")
        if generation != row.generation:
            leaps.append((0, (generation - row.generation) * LEAP))
        return found, leaps[::-1]

    # What is to be kept

    def begin(self, session_id: str, epoch: str, *, opened_by: str | None) -> KeptSession:
        return _Kept(self, session_id, epoch, opened_by)

    def put(self, kept: _Kept, event: Event) -> None:
        """Keep an event of a session as soon as that is possible, if not too much waits for it."""
        if (
            self._given_events - self._taken_events >= _MOST_WAITING
            or self._given_bytes - self._taken_bytes >= _MOST_WAITING_BYTES
        ):
            self._is_full = True
            return
        self._is_full = False
        self._given_events += 1
        self._given_bytes += len(event.json)
        self._queue.append(_new_put((kept, event)))
        if not self._wake.is_set():
            self._wake.set()

    @contextmanager
    def together(self) -> Iterator[None]:
        self.give(_Together(begins=True))
        try:
            yield
        finally:
            self.give(_Together(begins=False))

    def give(self, item: _Forget | _Beside | _Drop | _Commit | _Together) -> None:
        self._given_bytes += _size_of(item)
        self._queue.append(item)
        self._wake.set()

    def commit(self, *changes: Change) -> Future[None]:
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()  # who stops waiting takes nothing back
        if self._is_closing:
            future.set_exception(NotDurable("The journal is closed: nothing is taken any more."))
        else:
            self.give(_Commit(changes, future))
        return future

    def note(self, *changes: Change) -> None:
        self.give(_Commit(changes, None))

    def all_kept(self) -> Awaitable[None] | None:
        if self._is_full:
            raise NotDurable("Too much waits for the disk: it may be lost when the service ends now.")
        until = self._given_events
        if self._taken_events >= until:
            return None
        self._loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append((until, waiter))
        if self._taken_events >= until:  # meanwhile
            self._woken(until, None)
        return waiter

    def _woken(self, until: int, error: str | None) -> None:
        """Tell all who wait for no more than this, on their loop."""
        while self._waiters and self._waiters[0][0] <= until:
            waiter = self._waiters.popleft()[1]
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(NotDurable(f"It cannot be kept over a restart at the moment: {error}."))

    @property
    def is_open(self) -> bool:
        return not self._is_closing

    def close(self, *, within_seconds: float | None = None) -> bool:
        """Keep what waits, and let the file go. Whatever comes after that is refused.

        False where the disk has not answered in time: the process keeps the file as long as it lives.
        """
        self._reader.close()  # the last connection to be closed leaves one file
        self._is_closing = True
        self._wake.set()
        self._thread.join(within_seconds)
        if self._thread.is_alive():
            _log.error(
                "the journal %s is left without its end: the disk has not answered within %g s, and %d events wait",
                self._given,
                within_seconds,
                self._given_events - self._taken_events,
            )
            return False
        self._lock.close()
        return True

    # The thread

    def _run(self) -> None:
        while True:
            has_more = bool(self._to_remove) and self._error is None
            if not self._queue and not has_more and not self._is_closing and not self._wake.wait(_AGAIN_SECONDS):
                self._lock.beat()
            self._wake.clear()
            is_closing = self._is_closing
            group = self._group()
            is_last = is_closing and not self._queue
            if group or has_more or self._error is not None or is_last:
                self._try(group, is_last=is_last)
            if is_last:
                with suppress(sqlite3.Error):
                    self._connection.close()
                return

    def _group(self) -> list[_Item]:
        """What is to be committed next: whole pieces only."""
        group, self._ahead = self._ahead, []
        whole = 0
        size = 0
        while self._queue and (self._pieces or (len(group) < _MOST_TOGETHER and size < _MOST_TOGETHER_BYTES)):
            item = self._queue.popleft()
            if isinstance(item, _Together):
                if item.begins and not self._pieces:
                    whole = len(group)
                self._pieces += 1 if item.begins else -1
                continue
            group.append(item)
            size += _size_of(item)
        if self._pieces and not self._is_closing:
            self._ahead = group[whole:]
            del group[whole:]
        return group

    def _try(self, group: list[_Item], *, is_last: bool) -> None:
        began = time.perf_counter()
        everything = self._left + group
        until = self._until = self._until + sum(isinstance(item, _Put) for item in group)
        begun: list[_Kept] = []
        try:
            self._write(everything, begun, is_last=is_last)
        except Exception as error:
            # Whatever it is, nobody may wait for ever, and nothing may be taken for kept that is not.
            for kept in begun:
                kept.number = None
            for item in everything:
                if isinstance(item, _Put):
                    item.kept.tail = (0, 0, _MOST_BYTES_A_ROW)
            self._fail(everything, error, until)
            return
        self.commit_seconds.observe(time.perf_counter() - began)
        self._lock.note(self._commits)
        if self._error is not None:
            _log.warning("the journal %s is written again", self._given)
            self._error = None
        self._left = []
        self._taken_bytes += sum(map(_size_of, everything))
        self._taken_events = until
        self._tell(until, None)
        for item in group:
            if isinstance(item, _Commit) and item.future is not None:
                item.future.set_result(None)

    def _fail(self, everything: list[_Item], error: Exception, until: int) -> None:
        self._failures += 1
        why = why_not_kept(error)
        if self._error is None:
            _log.error("the journal %s cannot be written: %s", self._given, why)
        self._error = why
        waited_for = [item.future for item in everything if isinstance(item, _Commit) and item.future is not None]
        left = [item for item in everything if not isinstance(item, _Commit) or item.future is None]
        self._left = _newest_of_each(left)
        self._taken_bytes += sum(map(_size_of, everything)) - sum(map(_size_of, self._left))
        for future in waited_for:
            future.set_exception(NotDurable(f"It cannot be kept over a restart, so it is not done: {why}."))
        self._tell(until, why)
        self._connect_again()

    def _connect_again(self) -> None:
        """What a disk that failed has left in memory is not to be relied on."""
        with suppress(sqlite3.Error):
            self._connection.close()
        self._synchronous = ""

    def _tell(self, until: int, error: str | None) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has been closed, and with it who waited
                self._loop.call_soon_threadsafe(self._woken, until, error)

    def _write(self, items: Sequence[_Item], begun: list[_Kept], *, is_last: bool) -> None:
        """Write all of them, or none; when this returns they are kept."""
        self._look_at_the_file()
        connection = self._connection
        is_full = self._sync == "full" or is_last or any(_is_waited_for(item) for item in items)
        self._synchronize("FULL" if is_full else "NORMAL")
        commits = self._commits + 1
        gone, left = 0, None
        connection.execute("BEGIN IMMEDIATE")
        try:
            # First, because a session of the same id may have begun since.
            dropped = [self._dropped(item.kept) for item in items if isinstance(item, _Drop)]
            rows = self._write_events(items, begun)
            dropped += [self._written(item) for item in items if not isinstance(item, _Put)]
            if self._to_remove:
                gone, left = self._remove_some(max(_ROWS_A_CHUNK, 2 * rows))
            connection.execute("UPDATE run SET commits = ?, is_clean = ? WHERE one = 1", (commits, is_last))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise
        self._commits = commits
        for _ in range(gone):
            self._to_remove.popleft()
        if left is not None:
            self._to_remove[0] = left
        self._to_remove.extend(each for each in dropped if each is not None)

    def _write_events(self, items: Sequence[_Item], begun: list[_Kept]) -> int:
        """Write all events, and return how many rows that has made."""
        of: dict[_Kept, list[Event]] = {}
        for item in items:
            if isinstance(item, _Put) and not item.kept.is_dropped:
                of.setdefault(item.kept, []).append(item.event)
            elif isinstance(item, _Beside) and not item.kept.is_dropped:
                of.setdefault(item.kept, [])
        rows: list[tuple[int, int, int, bytes]] = []
        more: list[tuple[int, bytes, int]] = []
        for kept, events in of.items():
            if kept.number is None:
                cursor = self._connection.execute(
                    "INSERT INTO sessions (session_id, epoch, generation, opened_by) VALUES (?, ?, ?, ?)",
                    (kept.session_id, kept.epoch, self._generation, kept.opened_by),
                )
                kept.number = cursor.lastrowid
                begun.append(kept)
            assert kept.number is not None  # SQLite gives every row one
            for run in _without_holes(events):
                text = b"\n".join([event.json for event in run])
                key, last, size = kept.tail
                if size + len(text) < _MOST_BYTES_A_ROW and last + 1 == run[0].seq:
                    more.append((run[-1].seq, b"\n" + text, key))
                    kept.tail = (key, run[-1].seq, size + len(text) + 1)
                else:
                    key = key_of(kept.number, run[0].seq)
                    rows.append((key, run[-1].seq, self._generation, text))
                    kept.tail = (key, run[-1].seq, len(text))
        self._connection.executemany("INSERT INTO batches VALUES (?, ?, ?, ?)", rows)
        self._connection.executemany(
            "UPDATE batches SET last = ?, events = CAST(events || ? AS BLOB) WHERE key = ?", more
        )
        return len(rows)

    def _dropped(self, kept: _Kept) -> tuple[int, int] | None:
        kept.is_dropped = True
        if kept.number is None:
            return None
        self._connection.execute("UPDATE sessions SET session_id = NULL WHERE number = ?", (kept.number,))
        self._connection.execute("DELETE FROM kept WHERE kind = ?", (_kind_of(kept.number),))
        return key_of(kept.number, 0), key_of(kept.number + 1, 0)

    def _written(self, item: _Item) -> tuple[int, int] | None:
        """Write what is no event; the batches that nobody needs any more, as a range of keys."""
        if isinstance(item, _Commit):
            self._change(item.changes)
        elif isinstance(item, _Beside) and not item.kept.is_dropped:
            assert item.kept.number is not None  # _write_events has given it one
            self._change([Change(_kind_of(item.kept.number), item.name, item.body)])
        elif isinstance(item, _Forget) and item.kept.number is not None:
            # The batch in which that event is stays: the next one begins behind it.
            key = self._connection.execute(
                "SELECT max(key) FROM batches WHERE key BETWEEN ? AND ?",
                (key_of(item.kept.number, 0), key_of(item.kept.number, item.seq)),
            ).fetchone()[0]
            return None if key is None else (key_of(item.kept.number, 0), key)
        return None

    def _change(self, changes: Sequence[Change]) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", [change for change in changes if change.body is not None]
        )
        self._connection.executemany(
            "DELETE FROM kept WHERE kind = ? AND name = ?", [change[:2] for change in changes if change.body is None]
        )

    def _remove_some(self, most: int) -> tuple[int, tuple[int, int] | None]:
        """Remove so many rows: how many ranges are done with, and what is left of the one behind them."""
        connection = self._connection
        gone, left = 0, None
        for low, high in self._to_remove:
            keys = connection.execute(
                "SELECT key FROM batches WHERE key >= ? AND key < ? ORDER BY key LIMIT ?", (low, high, most)
            ).fetchall()
            connection.executemany("DELETE FROM batches WHERE key = ?", keys)
            if len(keys) == most:
                left = keys[-1][0] + 1, high
                break
            most -= len(keys)
            gone += 1
            session, seq = number_of(high)
            if not seq:  # all of a session that was dropped
                connection.execute("DELETE FROM sessions WHERE number = ?", (session - 1,))
            if gone == _ROWS_A_CHUNK:
                break
        [free] = connection.execute("PRAGMA freelist_count").fetchone()
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        if free > max(_MOST_FREE_PAGES, pages // 4):
            connection.execute(f"PRAGMA incremental_vacuum({_PAGES_A_CHUNK})").fetchall()
        return gone, left

    def _look_at_the_file(self) -> None:
        """See that the file is still there, and open it again where it failed."""
        if os.stat(self.path).st_ino != self._inode:
            raise OSError(0, "another program has moved or replaced the file: put it back, or start the service again")
        if not self._synchronous:
            self._connection = connected(self.path, self._connect)
            self._synchronous = "FULL"

    def _synchronize(self, how: str) -> None:
        if how != self._synchronous:
            self._connection.execute(f"PRAGMA synchronous = {how}")
            self._synchronous = how

    # The beginning

    def _begin_run(self) -> None:
        """Find out how the run before has ended, and write that this one has begun."""
        connection = self._connection
        run = connection.execute("SELECT commits, generation, is_clean, sync, machine, inode FROM run").fetchone()
        if run is None or not all(type(each) is int for each in (*run[:3], run[5])):
            raise Damaged("it does not say how the run before has ended")
        self._commits, generation, is_clean, sync, machine, inode = run
        here = _machine()
        self._generation: int = generation if is_clean else generation + 1
        is_other_file = inode not in (0, self._inode) and not is_clean
        mark = self._lock.mark
        is_behind = bool(self._commits) and (not is_clean if mark is None else mark > self._commits)
        has_lost_power = not is_clean and machine != here and sync != "full"
        self._synchronous = "FULL"
        connection.execute("BEGIN IMMEDIATE")
        if is_other_file or is_behind or has_lost_power:
            _log.warning(
                "the journal %s may lack the end of what was acknowledged: its sessions go on with another epoch",
                self._given,
            )
            connection.execute("UPDATE sessions SET epoch = ?", (new_epoch(),))
        self._commits = max(self._commits, mark or 0) + 1
        connection.execute(
            "UPDATE run SET commits = ?, generation = ?, is_clean = 0, sync = ?, machine = ?, inode = ?",
            (self._commits, self._generation, self._sync, here, self._inode),
        )
        connection.execute("COMMIT")
        self._lock.note(self._commits)

    def _read_rows(self) -> dict[str, _Row]:
        rows: dict[str, _Row] = {}
        for number, session_id, epoch, generation, opened_by in self._connection.execute(
            "SELECT number, session_id, epoch, generation, opened_by FROM sessions ORDER BY number"
        ):
            low, high = key_of(number, 0), key_of(number + 1, 0)
            if session_id is None:
                self._to_remove.append((low, high))
                continue
            last = self._connection.execute(
                "SELECT last, generation FROM batches WHERE key >= ? AND key < ? ORDER BY key DESC LIMIT 1", (low, high)
            ).fetchone()
            row = _Row(number, epoch, generation, opened_by, *(last or (0, generation)))
            is_one = isinstance(session_id, str) and isinstance(epoch, str) and epoch.isalnum()
            if not is_one or not all(type(each) is int for each in (generation, row.last_seq, row.last_generation)):
                raise Damaged(f"row {number} of sessions is none")
            rows[session_id] = row
        return rows


def _is_waited_for(item: _Item) -> bool:
    return isinstance(item, _Commit) and item.future is not None


def _kind_of(session_number: int) -> str:
    """Of what is kept by name of one session."""
    return f"session {session_number}"


def _size_of(item: _Item | _Together) -> int:
    """How many bytes wait with it."""
    if isinstance(item, _Put):
        return len(item.event.json)
    if isinstance(item, _Commit):
        return sum(len(change.body or b"") for change in item.changes)
    return len(item.body or b"") if isinstance(item, _Beside) else 0


def _newest_of_each(items: Sequence[_Item]) -> list[_Item]:
    """These, without what later ones replace, so that what waits for a disk that fails is no more than there is."""
    seen: set[object] = set()
    newest: list[_Item] = []
    for item in reversed(items):
        if isinstance(item, _Commit):
            changes = [change for change in item.changes if change[:2] not in seen]
            seen.update(change[:2] for change in changes)
            if changes:
                newest.append(item._replace(changes=changes))
            continue
        if isinstance(item, _Beside | _Forget):
            key = (item.kept, item.name if isinstance(item, _Beside) else None)
            if key in seen:
                continue
            seen.add(key)
        newest.append(item)
    newest.reverse()
    return newest


def _without_holes(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """The runs of events of which none is missing."""
    begin = 0
    for place in range(1, len(events) + 1):
        if place == len(events) or events[place].seq != events[place - 1].seq + 1:
            yield events[begin:place]
            begin = place


def _events_of(text: bytes, first_seq: int, epoch: str, leapt: int) -> Sequence[Event]:
    """The events of a batch, as they were; with another epoch in their ids where that has changed."""
    each = text.split(b"\n")
    heads = [head for head in map(_HEAD.match, each) if head is not None]
    if len(each) != len(heads):
        raise Damaged("a row holds something else than events")
    found = zip(range(first_seq, first_seq + len(each)), heads, each, strict=True)
    if heads[0][2] == f"{epoch}-{base36(first_seq + leapt)}".encode():
        return [_new_event((seq, head[2].decode(), head[1].decode(), json)) for seq, head, json in found]
    events: list[Event] = []
    for seq, head, json in found:
        event_id = f"{epoch}-{base36(seq + leapt)}"
        json = json[: head.start(2)] + event_id.encode() + json[head.end(2) :]
        events.append(_new_event((seq, event_id, head[1].decode(), json)))
    return events


def _machine() -> str:
    """A name of this machine since it was started, where it has one."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
