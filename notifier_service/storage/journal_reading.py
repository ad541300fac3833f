"""What a journal holds, and whether it is whole: for people, beside a service or without one."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from ..core.events import parse_own
from .journal_lock import JournalLock, JournalUnusable
from .journal_tables import UNREADABLE, as_damaged, connected, key_of, number_of, read_only, unusable

__all__ = ["Contents", "check", "compact", "export"]


class Contents(NamedTuple):
    """How much a journal holds; ``missing`` are events of which nothing is left between others."""

    sessions: int
    events: int
    requests: int
    bytes: int
    missing: int


def check(given: Path) -> Contents:
    """Read all of a journal. Raises ``JournalUnusable`` with what is wrong with it, and where."""
    path = Path(os.path.realpath(given))
    try:
        with closing(read_only(path, given)) as connection:
            problems = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
            if problems != ["ok"]:
                raise JournalUnusable(f"journal {given}: it is damaged: {'; '.join(problems)}")
            events = missing = 0
            behind: dict[int, int] = {}
            for key, last, text in connection.execute("SELECT key, last, events FROM batches ORDER BY key"):
                session, first = number_of(key)
                if not _are_events(text, last - first + 1):
                    raise JournalUnusable(f"journal {given}: it is damaged: the events from key {key} on are not whole")
                events += last - first + 1
                missing += first - behind.get(session, first - 1) - 1
                behind[session] = last
            [odd] = connection.execute(
                "SELECT count(*) FROM kept WHERE typeof(name) != 'text' OR typeof(body) != 'blob'"
            ).fetchone()
            if odd:
                raise JournalUnusable(f"journal {given}: it is damaged: {odd} of what is kept by name is no such thing")
            [sessions] = connection.execute("SELECT count(*) FROM sessions WHERE session_id IS NOT NULL").fetchone()
            [requests] = connection.execute("SELECT count(*) FROM kept WHERE kind = 'request'").fetchone()
            return Contents(sessions, events, requests, path.stat().st_size, missing)
    except (OSError, *UNREADABLE) as error:
        raise unusable(given, as_damaged(error)) from error


def compact(given: Path) -> tuple[int, int]:
    """Give back what nobody needs; the bytes before and after. Raises ``JournalUnusable``, also while it is in use."""
    path = Path(os.path.realpath(given))
    try:
        before = path.stat().st_size
        with closing(JournalLock(path)):
            read_only(path, given).close()  # nothing else is written into
            with closing(connected(path, sqlite3.connect)) as connection:
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return before, path.stat().st_size
    except (OSError, *UNREADABLE) as error:
        raise unusable(given, as_damaged(error)) from error


def export(given: Path) -> Iterator[bytes]:
    """All events as JSON, those of one session after the other, each with its ``session_id``. Raises as ``check``."""
    path = Path(os.path.realpath(given))
    try:
        with closing(read_only(path, given)) as connection:
            sessions = connection.execute(
                "SELECT number, session_id FROM sessions WHERE session_id IS NOT NULL ORDER BY number"
            ).fetchall()
            for number, session_id in sessions:
                for (text,) in connection.execute(
                    "SELECT events FROM batches WHERE key BETWEEN ? AND ? ORDER BY key",
                    (key_of(number, 0), key_of(number + 1, 0) - 1),
                ):
                    if not isinstance(text, bytes):
                        raise TypeError("these are no events")
                    for event in text.split(b"\n"):
                        yield b'{"session_id":"%b",%b' % (session_id.encode(), event[1:])
    except (OSError, *UNREADABLE) as error:
        raise unusable(given, as_damaged(error)) from error


def _are_events(text: object, count: int) -> bool:
    """Whether these are so many events, each whole."""
    if not isinstance(text, bytes):
        return False
    events = text.split(b"\n")
    try:
        return len(events) == count and all(isinstance(parse_own(event), dict) for event in events)
    except ValueError:
        return False
