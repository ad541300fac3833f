"""The tables of a journal, and what keeps a file from being one (SQLite, in WAL mode)."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from .journal_lock import JournalUnusable

__all__ = [
    "UNREADABLE",
    "Connect",
    "Damaged",
    "as_damaged",
    "connected",
    "key_of",
    "number_of",
    "open_journal",
    "read_only",
    "reading",
    "unusable",
    "why_not_kept",
]

Connect = Callable[..., sqlite3.Connection]


class Damaged(sqlite3.DatabaseError):
    """A row holds something else than what the service writes."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


#: How it shows that a file is damaged, or was changed by hand: SQLite keeps whatever is given for any column.
UNREADABLE = (sqlite3.Error, TypeError, ValueError, OverflowError)

_APPLICATION_ID = 0x4E4F5449
_VERSION = 1
_MAGIC = b"SQLite format 3\0"

#: Of the 63 bits of a key: events of one session, and above them the sessions that a file ever had.
_SEQ_BITS = 36

_TABLES = """
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
BEGIN IMMEDIATE;
CREATE TABLE sessions (
    number INTEGER PRIMARY KEY, session_id TEXT, epoch TEXT NOT NULL, generation INTEGER NOT NULL, opened_by TEXT
);
CREATE UNIQUE INDEX open_sessions ON sessions (session_id) WHERE session_id IS NOT NULL;
CREATE TABLE batches (
    key INTEGER PRIMARY KEY, last INTEGER NOT NULL, generation INTEGER NOT NULL, events BLOB NOT NULL
);
CREATE TABLE kept (kind TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE run (
    one INTEGER PRIMARY KEY CHECK (one = 1), commits INTEGER NOT NULL, generation INTEGER NOT NULL,
    is_clean INTEGER NOT NULL, sync TEXT NOT NULL, machine TEXT NOT NULL, inode INTEGER NOT NULL
);
INSERT INTO run VALUES (1, 0, 0, 1, 'full', '', 0);
PRAGMA application_id = 0x4E4F5449;
PRAGMA user_version = 1;
COMMIT;
"""


def key_of(session_number: int, seq: int) -> int:
    """The key of the batch of this session that begins with the event at this place."""
    return session_number << _SEQ_BITS | seq


def number_of(key: int) -> tuple[int, int]:
    """The session, and the place of the first event, of a batch."""
    return key >> _SEQ_BITS, key & ((1 << _SEQ_BITS) - 1)


def open_journal(path: Path, given: Path, connect: Connect) -> sqlite3.Connection:
    """Open a journal to write it, made where there is none. Raises ``JournalUnusable``, which names it as ``given``."""
    try:
        _look_at(path, given)
        connection = connected(path, connect)
        try:
            return _checked(connection, given)
        except BaseException:
            connection.close()
            raise
    except (OSError, sqlite3.Error) as error:
        raise unusable(given, error) from error


def read_only(path: Path, given: Path) -> sqlite3.Connection:
    """Open a journal to read it, beside a service that may write it. Raises ``JournalUnusable``."""
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise _foreign(given)
        connection = reading(path)
        try:
            return _checked(connection, given)
        except BaseException:
            connection.close()
            raise
    except (OSError, sqlite3.Error) as error:
        raise unusable(given, error) from error


def unusable(given: Path, error: BaseException) -> JournalUnusable:
    """Why a journal cannot be used, and what to do."""
    return JournalUnusable(f"journal {given}: {why_not_kept(error)}{_what_to_do(error)}")


def reading(path: Path) -> sqlite3.Connection:
    """Another connection to a journal that is one, to read what is committed."""
    # Nothing else may open and close the file in a process that writes it: POSIX locks would be gone.
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)


def why_not_kept(error: BaseException) -> str:
    """In words of who looks after the machine."""
    if isinstance(error, sqlite3.Error):
        text = str(error) or type(error).__name__
        if _is(error, sqlite3.SQLITE_FULL):
            return f"the disk is full ({text})"
        if _is(error, sqlite3.SQLITE_BUSY) or _is(error, sqlite3.SQLITE_LOCKED):
            return f"another program holds it ({text})"
        if _is(error, sqlite3.SQLITE_CORRUPT) or _is(error, sqlite3.SQLITE_NOTADB):
            return f"it is damaged ({text})"
        if _is(error, sqlite3.SQLITE_READONLY):
            return f"it cannot be written ({text})"
        return text
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) or type(error).__name__


def as_damaged(error: BaseException) -> BaseException:
    """The same, or what it says of the file that it was about."""
    if isinstance(error, TypeError | ValueError | OverflowError):
        return Damaged(f"a row holds something else than the service writes: {error}")
    return error


def _is(error: sqlite3.Error, code: int) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == code


def _what_to_do(error: BaseException) -> str:
    if isinstance(error, sqlite3.Error):
        if _is(error, sqlite3.SQLITE_FULL):
            return "; make room, and start again"
        if _is(error, sqlite3.SQLITE_BUSY) or _is(error, sqlite3.SQLITE_LOCKED):
            return "; end that one first"
        if _is(error, sqlite3.SQLITE_CORRUPT) or _is(error, sqlite3.SQLITE_NOTADB):
            return "; see notifier-service journal check, and move that file away to begin another"
    return "; give it another name (setting journal), or mend that"


def _look_at(path: Path, given: Path) -> None:
    """Make the file if it is not there, and see that it may be one."""
    try:
        # SQLite would make it readable for others; what it makes beside it gets the same rights.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return
    except FileExistsError:
        pass
    there = os.stat(path)
    if stat.S_ISDIR(there.st_mode):
        raise JournalUnusable(f"journal {given}: it is a folder; give the name of a file.")
    if not stat.S_ISREG(there.st_mode):
        raise JournalUnusable(f"journal {given}: it is no regular file.")
    # Root may do so all the same: who has taken the rights away did not mean that.
    if not there.st_mode & 0o444:
        raise OSError(0, "it may not be read")
    if not there.st_mode & 0o222:
        raise OSError(0, "it is read-only")
    with path.open("rb") as file:
        beginning = file.read(len(_MAGIC))
    if beginning and beginning != _MAGIC:
        raise _foreign(given)


def _foreign(given: Path) -> JournalUnusable:
    return JournalUnusable(
        f"journal {given}: it holds something else than a journal; give it another name, or move that file away."
    )


def connected(path: Path, connect: Connect) -> sqlite3.Connection:
    """A connection that writes a journal which is one."""
    connection = connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
    try:
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _checked(connection: sqlite3.Connection, given: Path) -> sqlite3.Connection:
    with closing(connection.execute("SELECT count(*) FROM sqlite_schema")) as rows:
        [tables] = rows.fetchone()
    if not tables:
        connection.executescript(_TABLES)
        [mode] = connection.execute("PRAGMA journal_mode").fetchone()
        if mode != "wal":
            raise JournalUnusable(f"journal {given}: SQLite cannot write ahead there; put it on a local disk.")
        return connection
    [application_id] = connection.execute("PRAGMA application_id").fetchone()
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if application_id != _APPLICATION_ID:
        raise _foreign(given)
    if version != _VERSION:
        raise JournalUnusable(
            f"journal {given}: it has version {version} of the tables, and this service knows {_VERSION}: start the "
            "service that wrote it, or move that file away to begin another."
        )
    return connection
