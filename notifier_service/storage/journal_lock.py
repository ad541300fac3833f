"""Says that one process uses a journal, and how far that was kept: a small file beside it."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from ..core.errors import InvalidInput

__all__ = ["JournalLock", "JournalUnusable"]

_BYTES = 20


class JournalUnusable(InvalidInput):
    """The file cannot be used as a journal: which one, and what to do."""


class JournalLock:
    """Held until it is closed. Raises ``JournalUnusable`` where another process holds it.

    ``mark`` is the number of the newest commit of which anybody may have heard; None where that is not known.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + "-lock")
        # Without O_NONBLOCK a pipe under the name would hold the start.
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise JournalUnusable(
                f"journal {path}: another process uses it already; each service needs a journal of its own."
            ) from None
        with suppress(ValueError, OSError):
            self.mark: int | None = None
            self.mark = int(os.pread(self._fd, _BYTES, 0))
        self.alive_at = os.fstat(self._fd).st_mtime

    def note(self, commit: int) -> None:
        """Have it known that this commit was kept; it outlives the process, and not the machine."""
        with suppress(OSError):  # what is lost is only a way to see that the journal is an older one
            os.pwrite(self._fd, b"%0*d" % (_BYTES, commit), 0)

    def beat(self) -> None:
        """Have it known that the process is alive."""
        with suppress(OSError):
            os.utime(self._fd)

    def close(self) -> None:
        os.close(self._fd)
