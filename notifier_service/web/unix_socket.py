"""A Unix socket to listen on: made with its permissions, and gone when nobody listens any more."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["bound"]


@contextmanager
def bound(path: Path, mode: int) -> Iterator[socket.socket]:
    """A listening socket at the path, removed at the end.

    One that nobody listens on any more is replaced. Raises ``OSError`` where somebody does, or where no socket stands.
    """
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        before = os.umask(0o777 & ~mode)  # it is never open to more than it will be
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        os.chmod(path, mode)
        ours = os.stat(path)
        listener.listen(1024)
        listener.setblocking(False)
        try:
            yield listener
        finally:
            with suppress(FileNotFoundError):
                if os.path.samestat(os.lstat(path), ours):  # else another process listens there now
                    os.unlink(path)
    finally:
        listener.close()


def _clear(path: Path) -> None:
    """Remove a socket that a killed process has left."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.EEXIST, f"{path} is there, and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.settimeout(1)
            probe.connect(str(path))
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            return
    raise OSError(errno.EADDRINUSE, f"somebody listens on {path}")
