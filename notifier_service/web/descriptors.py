"""What happens when a process has used up its descriptors: a few are kept back, to say so with."""

from __future__ import annotations

import asyncio
import json
import os
import resource
from contextlib import suppress
from typing import Any, cast

from .logs import Seldom

__all__ = ["Refusal", "is_out_of_descriptors", "raise_soft_limit", "without_accept_errors"]

#: Kept back from connections: for refusals, files that are read again, and what tools open.
_RESERVE = 32
#: More than any service needs; some systems have a hard limit beyond all reason.
_MOST = 1 << 20
_LINGER_SECONDS = 1.0

_seldom = Seldom("notifier_service.server")

_BODY = json.dumps(
    {
        "success": False,
        "error": {"code": "limit_reached", "message": "The service is out of descriptors.", "limit": "descriptors"},
        "message": "The service is out of descriptors.",
    }
).encode()
_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 2\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


def raise_soft_limit() -> None:
    """Let this process open as many descriptors as it may; each connection takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(ValueError, OSError):  # macOS names a hard limit that it does not keep
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def is_out_of_descriptors() -> bool:
    """Whether only the reserve is left; the lowest free descriptor tells."""
    try:
        lowest = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    os.close(lowest)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft != resource.RLIM_INFINITY and lowest >= soft - _RESERVE


def without_accept_errors(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An exception handler for a loop: asyncio tells of a connection that it cannot take a thousand times a second."""
    error, message = context.get("exception"), context.get("message", "")
    if isinstance(error, OSError) and "accept" in message:
        _tell()
    elif isinstance(error, ValueError) and "_start_serving" in message:
        pass  # for each of those asyncio tries again a second later, even where it has stopped to listen
    else:
        loop.default_exception_handler(context)


def _tell() -> None:
    _seldom.warning("descriptors", "out of descriptors: connections are refused (ulimit -n, LimitNOFILE=)")


class Refusal(asyncio.Protocol):
    """A connection that is told that there is no room, and ends; of many at once the later ones just end."""

    _lingering = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's is of no class of asyncio
        self._timer: asyncio.TimerHandle | None = None
        _tell()
        if Refusal._lingering >= _RESERVE // 2:
            transport.abort()
            return
        Refusal._lingering += 1
        # Closed before the request is read, the connection would be reset, and the answer with it.
        self._timer = asyncio.get_running_loop().call_later(_LINGER_SECONDS, transport.abort)
        transport.write(_ANSWER)

    def data_received(self, data: bytes) -> None:
        self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            Refusal._lingering -= 1
