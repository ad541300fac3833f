"""A policy file that is read again when it changes; one that does not load leaves the running policy in force."""

from __future__ import annotations

import os
import stat
import time
from datetime import datetime
from pathlib import Path

from ..errors import InvalidInput
from ..events import utc_now
from .policy import Policy

__all__ = ["PolicyFile", "load_policy"]

#: Ten thousand rules; far more than a person reads.
_MAX_BYTES = 2 * 1024 * 1024
#: A file that changed so shortly ago may not be written to its end.
_SETTLE_SECONDS = 0.1
#: One that goes on changing for so long is read at a later look.
_MOST_SETTLE_SECONDS = 1.0

Stamp = tuple[int, ...]


def load_policy(path: Path) -> Policy:
    """Read a policy, or raise ``InvalidInput`` with ``FILE:LINE: reason``."""
    return Policy.loads(_read(path), str(path), home=_home())


class PolicyFile:
    """``policy`` is the one in force, ``error`` why the newest text does not load (None where it did).

    Raises ``InvalidInput`` (``FILE:LINE: reason``) where the first text does not load.
    """

    def __init__(
        self, path: Path, *, settle_seconds: float = _SETTLE_SECONDS, most_settle_seconds: float = _MOST_SETTLE_SECONDS
    ) -> None:
        self.path = path
        self.error: str | None = None
        self._settle_seconds = settle_seconds
        self._most_settle_seconds = most_settle_seconds
        self._stamp = _stamp(path)
        self._text = _read(path)
        self.policy = Policy.loads(self._text, str(path), home=_home())
        self.loaded_at: datetime = utc_now()

    def refresh(self) -> bool:
        """Look at the file, and tell whether ``policy`` or ``error`` is another now. Never raises; safe in a thread.

        Waits for a moment where somebody may still be writing the file.
        """
        before = self._stamp
        stamp = _stamp(self.path)
        if stamp == before:
            return False
        stamp = self._settled(stamp)
        try:
            text = _read(self.path)
            if _stamp(self.path) != stamp:
                return False  # it is written again: at the next look
            if text == self._text:
                self._stamp = stamp
                return self._tell(None)
            policy = Policy.loads(text, str(self.path), home=_home())
        except InvalidInput as error:
            # What could not be opened may be opened the next time, though nothing shows it.
            self._stamp = stamp if "line" in error.details else None
            return self._tell(error.message)
        self._stamp, self._text, self.policy, self.loaded_at = stamp, text, policy, utc_now()
        self._tell(None)
        return True

    def _tell(self, error: str | None) -> bool:
        before, self.error = self.error, error
        return error != before

    def _settled(self, stamp: Stamp | None) -> Stamp | None:
        """What the file shows once it has not changed for a moment."""
        until = time.monotonic() + self._most_settle_seconds
        while time.monotonic() < until:
            time.sleep(self._settle_seconds)
            before, stamp = stamp, _stamp(self.path)
            if stamp == before:
                break
        return stamp


def _stamp(path: Path) -> Stamp | None:
    """What is another whenever the file is; None where there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev, status.st_mode


def _read(path: Path) -> str:
    try:
        # Of a pipe that nobody writes, nothing ever comes.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise InvalidInput(f"{path}:1: it is a folder" if stat.S_ISDIR(mode) else f"{path}:1: it is no file")
            raw = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidInput(f"{path}:1: it cannot be read: {why}") from None
    if len(raw) > _MAX_BYTES:
        raise InvalidInput(f"{path}:1: it has more than {_MAX_BYTES} bytes", line=1)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InvalidInput(f"{path}:{line}: it is not UTF-8", line=line) from None


def _home() -> str | None:
    try:
        return str(Path.home())
    except RuntimeError:
        return None
