"""What systemd hands over and wants to hear: sockets that it listens on, that the service is ready, that it lives."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from ..core.errors import InvalidInput

__all__ = ["handed_over", "told"]

#: The first descriptor that is handed over.
_FIRST = 3


def handed_over() -> list[socket.socket]:
    """The sockets that this process was started with to listen on; none where it was started in another way.

    Raises ``InvalidInput`` for a descriptor that is no listening stream socket.
    """
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    sockets = []
    for descriptor in range(_FIRST, _FIRST + int(count)):
        try:
            one = socket.socket(fileno=descriptor)
            listens = one.type == socket.SOCK_STREAM and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as error:
            raise InvalidInput(f"LISTEN_FDS: descriptor {descriptor} is no socket: {error.strerror}") from None
        if not listens:
            raise InvalidInput(f"LISTEN_FDS: descriptor {descriptor} does not listen for streams (Accept=no is needed)")
        os.set_inheritable(descriptor, False)
        one.setblocking(False)
        sockets.append(one)
    return sockets


@asynccontextmanager
async def told() -> AsyncIterator[None]:
    """Tell systemd, if it asks, that the service is ready; within the block that it lives; then that it stops."""
    place = os.environ.get("NOTIFY_SOCKET")
    if not place:
        yield
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
        to.setblocking(False)

        def tell(text: bytes) -> None:
            with suppress(OSError):  # nobody is to be stopped because nobody listens
                to.sendto(text, "\0" + place[1:] if place.startswith("@") else place)

        tell(b"READY=1")
        living = asyncio.ensure_future(_live(tell)) if _watched_seconds() else None
        try:
            yield
        finally:
            if living is not None:
                living.cancel()
            tell(b"STOPPING=1")


async def _live(tell: Callable[[bytes], None]) -> None:
    while True:
        tell(b"WATCHDOG=1")
        await asyncio.sleep(_watched_seconds() / 3)


def _watched_seconds() -> float:
    """After how long without a word systemd ends the service; 0 for never."""
    microseconds, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID")
    if not microseconds.isdecimal() or pid not in (None, str(os.getpid())):
        return 0
    return int(microseconds) / 1_000_000
