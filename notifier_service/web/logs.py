"""What the logs tell of requests, and what they never do: a token."""

from __future__ import annotations

import logging
import re
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError

from ..core.redaction import CREDENTIAL
from ..core.trace import fields_of
from .client_address import client_address
from .trace import belongs_to

__all__ = ["IS_TOKEN", "AccessLog", "Seldom", "StreamLine", "server_log"]

#: What looks like a JWT or a ticket, and what follows token= where somebody wrote & in the place of ?.
_TOKENS_IN_PATH = re.compile(CREDENTIAL + r"|(?<=token=)[^/&]+|(?<=ticket=)[^/&]+")

#: Whether a text is a token of this service, which may look like nothing.
IS_TOKEN: web.AppKey[Callable[[str], bool]] = web.AppKey("is_token")

_LINE = "%s %s %s %d %.0f ms"


class _NoRequestText(logging.Filter):
    """aiohttp logs the text of a request that it cannot parse, and that text may hold a token."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ConnectionError):  # what a peer did is no failure of ours
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
            return server_log.isEnabledFor(logging.DEBUG)
        if isinstance(error, HttpProcessingError | web.RequestPayloadError | zlib.error):
            record.msg = f"{record.msg}: what came in cannot be read ({type(error).__name__})"
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True


class _NoSubprotocols(logging.Filter):
    """aiohttp logs the subprotocols that a socket's client asks for, and some clients put their token there."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "protocols" not in str(record.msg)


logging.getLogger("aiohttp.websocket").addFilter(_NoSubprotocols())

#: The ``logger`` to give to your own runner, beside ``AccessLog``, when the service is mounted in another application.
server_log = logging.getLogger("notifier_service.server")
server_log.addFilter(_NoRequestText())


class AccessLog(AbstractAccessLogger):
    """One line a request, without the query: a token never reaches a log.

    Give it to your own runner (``access_log_class=AccessLog``) when the service is mounted in another application.
    """

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        told = (client_address(request), request.method, _path(request), response.status, time * 1000)
        self.logger.info(_LINE, *told, extra={"fields": lambda: _fields(belongs_to(request), *told)})

    @property
    def enabled(self) -> bool:
        return self.logger.isEnabledFor(logging.INFO)


@dataclass(frozen=True, slots=True)
class StreamLine:
    """The line of a stream, written when it ends; only what it needs of the request is kept until then."""

    logger: logging.Logger
    remote: str
    method: str
    path: str
    began: float
    belongs_to: tuple[str | None, str | None]

    @classmethod
    def of(cls, request: web.Request) -> Self | None:
        """The line of this request, or None where nobody reads it."""
        access_log = request.protocol.access_logger
        if access_log is None or not access_log.enabled:
            return None
        told = (client_address(request), request.method, _path(request))
        return cls(access_log.logger, *told, time.monotonic(), belongs_to(request))

    def write(self) -> None:
        milliseconds = (time.monotonic() - self.began) * 1000
        told = (self.remote, self.method, self.path, 200, milliseconds)
        self.logger.info(_LINE, *told, extra={"fields": lambda: _fields(self.belongs_to, *told)})


class Seldom:
    """Warns of what may happen thousands of times a second: one line a minute for each kind, with their number."""

    def __init__(self, logger: str, *, seconds: float = 60, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logging.getLogger(logger)
        self._seconds = seconds
        self._clock = clock
        self._told: dict[str, tuple[float, int]] = {}

    def warning(self, kind: str, text: str) -> None:
        """``kind`` is one of few: what is told of each is kept for ever."""
        now = self._clock()
        told_at, untold = self._told.get(kind, (-self._seconds, 0))
        if now - told_at < self._seconds:
            self._told[kind] = told_at, untold + 1
            return
        self._told[kind] = now, 0
        self._logger.warning("%s%s", text, f" ({untold} more since the last such line)" if untold else "")


def _fields(
    belongs: tuple[str | None, str | None], remote: str, method: str, path: str, status: int, duration: float
) -> Mapping[str, object]:
    """What stands in a line of JSON beside the text."""
    fields: dict[str, object] = {"remote": remote, "method": method, "path": path, "status": status}
    fields["duration_ms"] = round(duration)
    return fields | fields_of(*belongs)


def _is_token_of(request: web.BaseRequest) -> Callable[[str], bool] | None:
    try:
        return request.config_dict.get(IS_TOKEN) if isinstance(request, web.Request) else None
    except AssertionError:
        return None  # it was answered before it was given to the application, which knows its tokens


def _path(request: web.BaseRequest) -> str:
    # The raw path: percent-encoded, so that nobody writes lines of their own into the log.
    path = _TOKENS_IN_PATH.sub("***", request.rel_url.raw_path)
    is_token = _is_token_of(request)
    if is_token is None:
        return path
    return "/".join("***" if part and is_token(unquote(part)) else part for part in path.split("/"))
