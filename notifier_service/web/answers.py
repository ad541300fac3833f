"""Where errors become answers: the one place that knows which HTTP status a state of the world has."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from math import ceil
from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import ContentEncodingError, LineTooLong
from aiohttp.typedefs import Middleware

from ..core import errors
from ..core.broker import Broker
from ..core.events import dump
from ..core.metrics import Counters
from ..core.trace import fields_of, handling
from .departure import has_left
from .request import BROKEN_PACK, BROKER, packed_otherwise
from .trace import belongs_to

__all__ = [
    "ANSWER_HEADERS",
    "answer_errors",
    "answer_to",
    "as_error",
    "body_of",
    "codes_by_status",
    "count_refusal",
    "error_answer",
    "error_body",
    "expect",
    "json_answer",
    "reply",
    "status_of",
    "told",
    "unreadable",
]

_log = logging.getLogger("notifier_service.web")

_STATUS: Mapping[type[errors.NotifierError], int] = {
    errors.InvalidInput: 422,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.TooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.LimitReached: 429,
    errors.RulesNotKept: 503,
    errors.BrokerClosed: 503,
    errors.NotRecorded: 503,
}

ANSWER_HEADERS = {
    "Content-Type": "application/json; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def reply(data: Any, *, status: int = 200, **beside: Any) -> web.Response:
    """``{"success": true, "data": …}``"""
    return _json({"success": True, "data": data, **beside}, status)


def told(data_json: bytes, *, status: int = 200) -> web.Response:
    """The same of data whose JSON is encoded already."""
    return json_answer(body_of(data_json), status)


def body_of(data_json: bytes) -> bytes:
    """The body of such an answer."""
    return b'{"success":true,"data":%b}' % data_json


def error_body(error: errors.NotifierError) -> dict[str, Any]:
    """The one error shape (contract section 9)."""
    return {
        "success": False,
        "error": {"code": error.code, "message": error.message, **error.details},
        "message": error.message,
    }


def answer_errors(guard: Callable[[web.Request], web.Response | None]) -> Middleware:
    """The middleware that gives every failure the one error shape; ``guard`` may refuse, or answer, before all else."""

    @web.middleware
    async def answer(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        with handling(partial(belongs_to, request)):
            try:
                answer = guard(request)
                return await handler(request) if answer is None else answer
            except Exception as error:
                # The path may hold what a person typed, the query a token: the route's own form says enough.
                resource = request.match_info.route.resource
                where = resource.canonical if resource is not None else "?"
                return answer_to(request, error, request.config_dict.get(BROKER), where)

    return answer


def answer_to(request: web.Request, error: Exception, broker: Broker | None, where: str) -> web.Response:
    """The answer to what failed in a handler; ``where`` is told of what is a fault of ours."""
    if isinstance(error, errors.NotifierError):
        # A gateway that asks a service elsewhere has none.
        return _error_response(error) if broker is None else error_answer(error, broker.counters)
    if isinstance(error, web.HTTPException):
        if error.status < 400:
            raise error
        return _error_response(_from_http(error), status=error.status, allow=error.headers.get("Allow"))
    if isinstance(error, ConnectionError) and has_left(request):
        # The peer has left: nobody reads this, and it is no failure of ours that aiohttp should log.
        return web.Response(status=499, reason="Client Closed Request")
    _log.exception("%s %s failed", request.method, where, extra={"fields": lambda: fields_of(*belongs_to(request))})
    return _json(_internal(), 500)


def error_answer(error: errors.NotifierError, counters: Counters) -> web.Response:
    """The answer to what a broker could not do, which is counted."""
    count_refusal(counters, error)
    return _error_response(error)


#: Limits that the core does not count: their tables are shared by nobody, and have no counters.
_COUNTED_HERE = frozenset({"tickets", "rules_per_session", "learned_rules"})


def count_refusal(counters: Counters, error: errors.NotifierError) -> None:
    """Count a caller who was not let in, or who has reached a limit that nobody has counted yet."""
    if isinstance(error, errors.Unauthenticated):
        counters.auth_failures[error.reason] += 1
    elif type(error) is errors.Forbidden:
        counters.auth_failures[str(error.details.get("cause", "forbidden"))] += 1
    elif isinstance(error, errors.LimitReached) and error.limit in _COUNTED_HERE:
        counters.limits_reached[error.limit] += 1


def _internal() -> dict[str, Any]:
    body = {"code": "internal", "message": "Something failed here; the log of the service says what."}
    return {"success": False, "error": body, "message": body["message"]}


def _from_http(error: web.HTTPException) -> errors.NotifierError:
    """What aiohttp itself, or a route that an embedding program adds, raises."""
    if error.status == 404:
        return errors.NotFound("There is no such path.")
    if error.status == 405:
        return errors.MethodNotAllowed("This path does not take that method.")
    kind = next((kind for kind, status in _STATUS.items() if status == error.status), errors.NotifierError)
    return errors.LimitReached("requests", error.reason) if kind is errors.LimitReached else kind(error.reason)


def status_of(error: errors.NotifierError) -> int:
    """The HTTP status of an error."""
    return next((_STATUS[base] for base in type(error).__mro__ if base in _STATUS), 500)


def _error_response(
    error: errors.NotifierError, *, status: int | None = None, allow: str | None = None
) -> web.Response:
    if status is None:
        status = status_of(error)
    response = _json(error_body(error), status)
    if isinstance(error, errors.LimitReached):
        response.headers["Retry-After"] = str(max(1, ceil(error.retry_after_seconds)))
    elif isinstance(error, errors.BrokerClosed | errors.NotRecorded) and status == 503:
        response.headers["Retry-After"] = "5"
    elif status == 415:
        response.headers["Accept-Encoding"] = "gzip, deflate"
    elif status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="notifier_service"'
    if allow is not None:
        response.headers["Allow"] = allow
    return response


def codes_by_status() -> dict[int, list[str]]:
    """Which codes an answer of each status may have."""
    found: dict[int, list[str]] = {}
    waiting = list(_STATUS)
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        status = next(_STATUS[base] for base in kind.__mro__ if base in _STATUS)
        found.setdefault(status, []).append(kind.code)
    return found


def unreadable(status: int, error: BaseException | None) -> web.Response:
    """The answer to what the server itself could not read; what came is never repeated."""
    answer: web.Response
    if status >= 500:
        answer = _json(_internal(), status)
    elif isinstance(error, ContentEncodingError):
        known = "install" not in str(error)  # what is to be installed for it is told of encodings that are not taken
        answer = _error_response(errors.InvalidInput(BROKEN_PACK) if known else packed_otherwise())
    elif isinstance(error, LineTooLong) or "Too many headers" in str(error):
        text = "The path and each header, cookies too, may have 8190 bytes; of headers there may be 128."
        answer = _error_response(errors.InvalidInput(text), status=400)
    elif "HTTPS" in str(error):
        text = "This port speaks HTTP, and this is TLS: use http://."
        answer = _error_response(errors.InvalidInput(text), status=400)
    else:
        answer = _error_response(errors.InvalidInput("This is no HTTP request that can be read."), status=400)
    answer.force_close()
    return answer


async def expect(request: web.Request) -> web.Response | None:
    """Say ``100 Continue`` to who asks for it; anything else that is expected is refused in the one error shape."""
    if request.version >= HttpVersion11:
        if request.headers.get("Expect", "").lower() != "100-continue":
            refused = errors.InvalidInput("Expect: only 100-continue is understood.")
            return _error_response(refused, status=417)
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # it is no part of the answer
    return None


def as_error(error: errors.NotifierError) -> bytes:
    """An error as the event of a stream or a socket (contract section 9)."""
    return dump({"type": "error", **error_body(error), "code": error.code})


def json_answer(body: bytes, status: int = 200) -> web.Response:
    """An answer whose JSON is encoded already."""
    return web.Response(body=body, status=status, headers=ANSWER_HEADERS)


def _json(value: Any, status: int) -> web.Response:
    return json_answer(dump(value), status)
