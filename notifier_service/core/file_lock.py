"""A lock that processes hold while they read a file and write it anew."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["locked"]


@contextmanager
def locked(target: Path, within_seconds: float) -> Iterator[None]:
    """Hold a lock beside the file: the file itself is another one after each time that it is written.

    It ends with the process that holds it, however that ends. Raises ``OSError``, and ``TimeoutError`` where another
    process holds it for longer.
    """
    import fcntl  # not on Windows, where the rest of the package may be imported all the same

    descriptor = os.open(target.with_name(f".{target.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + within_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise TimeoutError(f"another process is writing {target.name}") from None
                time.sleep(0.005)
        yield
    finally:
        os.close(descriptor)
