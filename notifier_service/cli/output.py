"""What a long-running command prints and logs: written on a thread, so that nothing waits for who does not read."""

from __future__ import annotations

import json
import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from ..core.trace import fields_of, handled

__all__ = ["Lines", "logging_to"]

_CAPACITY_BYTES = 1024 * 1024
#: What waits at the end is given so long to be taken.
_FAREWELL_SECONDS = 0.5


class Lines:
    """Lines for an open file whose reader may be slow, asleep or gone.

    What does not fit into ``capacity_bytes`` is dropped and counted, and the count is told when there is room again. A
    reader who has gone ends nothing; any other failure to write, such as a full disk, is told to ``failed``, once, on
    the thread.
    """

    def __init__(
        self,
        file: int,
        *,
        capacity_bytes: int = _CAPACITY_BYTES,
        failed: Callable[[OSError], None] = lambda error: None,
    ) -> None:
        self._file = file
        self._capacity_bytes = capacity_bytes
        self._failed = failed
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._dropped = 0
        self._is_broken = False
        self._is_closed = False
        self._writer = threading.Thread(target=self._write_all, name="notifier-lines", daemon=True)
        self._writer.start()

    def put(self, line: str) -> None:
        """Have a line written soon. Never waits, never raises; a lock is held for a moment only."""
        text = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._changed:
            if self._is_broken or self._is_closed:
                return
            if self._waiting_bytes + len(text) > self._capacity_bytes:
                self._dropped += 1
                return
            if self._dropped:
                text = b"notifier-service: %d lines were dropped, because nobody read them\n%b" % (self._dropped, text)
                self._dropped = 0
            self._waiting.append(text)
            self._waiting_bytes += len(text)
            self._changed.notify_all()

    def close(self, *, seconds: float = _FAREWELL_SECONDS) -> None:
        """Take nothing more, and wait so long at most until what was put is written."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_broken or not self._waiting_bytes, timeout=seconds)

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if not self._waiting:
                    return
                text = self._waiting.popleft()
            try:
                self._write(text)
            except OSError as error:
                with self._changed:
                    self._is_broken = True
                    self._waiting.clear()
                    self._changed.notify_all()
                if not isinstance(error, BrokenPipeError):
                    self._failed(error)
                return
            with self._changed:
                self._waiting_bytes -= len(text)
                self._changed.notify_all()

    def _write(self, text: bytes) -> None:
        while text:
            try:
                text = text[os.write(self._file, text) :]
            except BlockingIOError:  # somebody who shares the file made it so
                select.select([], [self._file], [])


class _Json(logging.Formatter):
    """One JSON object a line, with the request that is being handled; of requests with what else is known of them."""

    def format(self, record: logging.LogRecord) -> str:
        fields: Callable[[], dict[str, object]] | None = getattr(record, "fields", None)
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **(fields_of(*handled()) if fields is None else fields()),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _LinesHandler(logging.Handler):
    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put(self.format(record))
        except Exception:
            # A record whose arguments do not fit its text must not end who logs; to say so could block.
            self._lines.put(f"a line of the log cannot be written: {record.name}: {record.msg!r}")


@contextmanager
def logging_to(file: int, level: str, form: str | None) -> Iterator[None]:
    """Write the log to an open file for as long as this lasts; who logs never waits. Without a form it is JSON."""
    lines = Lines(file)
    handler = _LinesHandler(lines)
    handler.setFormatter(_Json() if form is None else logging.Formatter(form))
    root = logging.getLogger()
    level_before = root.level
    root.addHandler(handler)
    root.setLevel(level.upper())
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level_before)
        lines.close()
