"""Where bytes become typed objects and errors become answers: the only place that knows both HTTP and the core."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any, Generic, NamedTuple, TypeVar

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError, LineTooLong
from aiohttp.typedefs import Middleware
from pydantic import BaseModel, ConfigDict, ValidationError

from ..core import errors
from ..core.broker import Broker
from ..core.events import dump, parse_json
from ..core.permissions import PermissionRequest
from ..settings import Settings
from .auth import Authenticator, Caller, Right

__all__ = [
    "ANSWER_HEADERS",
    "AUTH",
    "BROKER",
    "LOOK_SECONDS",
    "SETTINGS",
    "STANDING",
    "Call",
    "Query",
    "answer_errors",
    "as_error",
    "check_body",
    "checked",
    "error_body",
    "expect",
    "held",
    "invalid",
    "json_answer",
    "read_body",
    "read_json",
    "read_query",
    "reply",
    "still_allowed",
    "unreadable",
    "why_unread",
]

_log = logging.getLogger("notifier_service.web")

BROKER = web.AppKey("broker", Broker)
SETTINGS = web.AppKey("settings", Settings)
AUTH: web.AppKey[Authenticator] = web.AppKey("auth", Authenticator)

#: Who sent a request, the rights of which one is needed for it, and the session that it is about.
STANDING = web.RequestKey("standing", tuple[Caller, frozenset[Right], str | None])

Model = TypeVar("Model", bound=BaseModel)
QueryT = TypeVar("QueryT")
BodyT = TypeVar("BodyT")

#: How often a held request looks whether its peer is still there, where the server does not cancel handlers.
LOOK_SECONDS = 0.5

#: A body that is no stream arrives within this time; a broken chunk of one never does.
_BODY_SECONDS = 30

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
    errors.BrokerClosed: 503,
}

ANSWER_HEADERS = {
    "Content-Type": "application/json; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Query(BaseModel):
    """The query of an endpoint. A token or ticket is known everywhere: with ``auth=none`` one that comes is ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    token: str | None = None
    ticket: str | None = None


class Call(NamedTuple, Generic[QueryT, BodyT]):
    """One request, parsed and allowed: what a handler needs and nothing else."""

    request: web.Request
    broker: Broker
    settings: Settings
    caller: Caller
    session_id: str
    query: QueryT
    body: BodyT

    def holding(self) -> AbstractContextManager[None]:
        """Count this request as a connection, whose answer waits. Raises ``LimitReached``."""
        return self.broker.holding(self.caller.name, may_approve=self.caller.may("approve"))


def reply(data: Any, *, status: int = 200) -> web.Response:
    """``{"success": true, "data": …}``"""
    return _json({"success": True, "data": data}, status)


def error_body(error: errors.NotifierError) -> dict[str, Any]:
    """The one error shape (contract section 9)."""
    return {
        "success": False,
        "error": {"code": error.code, "message": error.message, **error.details},
        "message": error.message,
    }


def checked(model: type[Model], value: Any, *, where: str = "") -> Model:
    """Validate ``value``, or raise ``InvalidInput`` that says where and why, without the value."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid(error, where) from None


def invalid(error: ValidationError, where: str) -> errors.InvalidInput:
    problems = [
        {
            "where": ".".join([*([where] if where else []), *(str(part)[:64] for part in problem["loc"])]),
            "why": problem["msg"],
        }
        for problem in error.errors(include_input=False, include_url=False, include_context=False)[:20]
    ]
    first = problems[0]
    place = f"{first['where']}: " if first["where"] else ""
    return errors.InvalidInput(f"{place}{first['why']}", problems=problems)


def read_query(request: web.Request, model: type[Model], *, lenient: bool) -> Model:
    """Parse the query. A stream passes over names it does not know, because a 4xx ends an EventSource for good."""
    values: dict[str, str] = {}
    for name, value in request.query.items():
        if name in values and not lenient:
            raise errors.InvalidInput(f"{name[:64]}: given twice")
        if not lenient or name in model.model_fields:
            values[name] = value
    return checked(model, values)


def check_body(request: web.Request, *types: str) -> None:
    """Raise ``UnsupportedMediaType`` unless the body is UTF-8 text of such a type, packed in a way that is unpacked."""
    if request.content_type not in types:
        raise errors.UnsupportedMediaType(f"The body must come as Content-Type: {' or '.join(types)}.")
    if request.charset is not None and request.charset.lower() not in ("utf-8", "utf8", "us-ascii"):
        raise errors.UnsupportedMediaType("The body must be UTF-8, and its Content-Type names another charset.")
    packed = ",".join(request.headers.getall("Content-Encoding", ())).strip().lower()
    if packed not in ("", "identity", "gzip", "deflate"):
        raise _packed_otherwise()


def _packed_otherwise() -> errors.UnsupportedMediaType:
    return errors.UnsupportedMediaType("The body may be packed with gzip or deflate, once, or not at all.")


async def read_body(request: web.Request, limit: int) -> bytes:
    """The whole body, bounded; unpacked, if it came packed. Raises ``TooLarge`` or ``InvalidInput``."""
    too_large = errors.TooLarge(f"The body is over the limit of {limit} bytes.", limit="max_body_bytes")
    if request.content_length is not None and request.content_length > limit:
        raise too_large
    pieces: list[bytes] = []
    size = 0
    try:
        if request.content.is_eof():  # it came with the head, as a small one does
            body = request.content.read_nowait()
            if len(body) > limit:
                raise too_large
            return body
        async with asyncio.timeout(_BODY_SECONDS):
            async for piece in request.content.iter_any():
                size += len(piece)
                if size > limit:
                    raise too_large
                pieces.append(piece)
    except TimeoutError:
        raise errors.InvalidInput(f"the body did not arrive within {_BODY_SECONDS} s") from None
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise errors.InvalidInput(why_unread(request)) from error
    return b"".join(pieces)


_BROKEN_PACK = "the body cannot be read: it is not the gzip or deflate that its Content-Encoding promises, or is cut"


def why_unread(request: web.Request) -> str:
    """Why a body cannot be read, as far as one can tell."""
    if request.headers.get("Content-Encoding", "").lower() in ("gzip", "deflate"):
        return _BROKEN_PACK
    return "the body cannot be read: it is cut, or its chunks are broken"


async def read_json(request: web.Request, limit: int, *, unique_keys: bool = True) -> Any:
    """The body as JSON. Only ``application/json`` is taken, which a foreign web page cannot send unasked.

    ``unique_keys`` as for ``parse_json``.
    """
    check_body(request, "application/json")
    return parse_json(await read_body(request, limit), unique_keys=unique_keys)


def still_allowed(request: web.Request) -> None:
    """Ask again for the right to this request, which may have taken long: raises what ``Caller.require`` does."""
    caller, rights, session_id = request[STANDING]
    caller.require(rights, session_id)


async def held(request: web.Request, waiting: PermissionRequest, seconds: float) -> bool:
    """Hold an answer until the permission request is settled; False when the time is over.

    Raises ``ConnectionResetError`` when the peer has left, also under a server that does not cancel handlers, and
    ``Unauthenticated`` or ``Forbidden`` when it has lost the right to the answer meanwhile.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while waiting.pending:
        left = deadline - loop.time()
        if left <= 0:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(min(left, LOOK_SECONDS)):
                await waiting.decision()
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError("the peer has left")
        still_allowed(request)
    return True


def answer_errors(guard: Callable[[web.Request], web.Response | None]) -> Middleware:
    """The middleware that gives every failure the one error shape; ``guard`` may refuse, or answer, before all else."""

    @web.middleware
    async def answer(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            answer = guard(request)
            return await handler(request) if answer is None else answer
        except Exception as error:
            return _answer_to(request, error)

    return answer


def _answer_to(request: web.Request, error: Exception) -> web.Response:
    if isinstance(error, errors.NotifierError):
        return _error_response(error)
    if isinstance(error, web.HTTPException):
        if error.status < 400:
            raise error
        return _error_response(_from_http(error), status=error.status, allow=error.headers.get("Allow"))
    if isinstance(error, ConnectionError) and (request.transport is None or request.transport.is_closing()):
        # The peer has left: nobody reads this, and it is no failure of ours that aiohttp should log.
        return web.Response(status=499, reason="Client Closed Request")
    # The path may hold what a person typed, the query a token: the route's own form says enough.
    resource = request.match_info.route.resource
    _log.exception("%s %s failed", request.method, resource.canonical if resource is not None else "?")
    return _json(_internal(), 500)


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


def _error_response(
    error: errors.NotifierError, *, status: int | None = None, allow: str | None = None
) -> web.Response:
    if status is None:
        status = next((_STATUS[base] for base in type(error).__mro__ if base in _STATUS), 500)
    response = _json(error_body(error), status)
    if isinstance(error, errors.LimitReached):
        response.headers["Retry-After"] = str(max(1, round(error.retry_after_seconds)))
    elif isinstance(error, errors.BrokerClosed) and status == 503:
        response.headers["Retry-After"] = "5"
    elif status == 415:
        response.headers["Accept-Encoding"] = "gzip, deflate"
    elif status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="notifier_service"'
    if allow is not None:
        response.headers["Allow"] = allow
    return response


def unreadable(status: int, error: BaseException | None) -> web.Response:
    """The answer to what the server itself could not read; what came is never repeated."""
    answer: web.Response
    if status >= 500:
        answer = _json(_internal(), status)
    elif isinstance(error, ContentEncodingError):
        known = "install" not in str(error)  # what is to be installed for it is told of encodings that are not taken
        answer = _error_response(errors.InvalidInput(_BROKEN_PACK) if known else _packed_otherwise())
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
