"""Where bytes become typed objects: what a request says, whole and checked, and who sent it."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import Any, Generic, NamedTuple, TypeVar

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel, ConfigDict, ValidationError

from ..core import errors
from ..core.broker import Broker
from ..core.events import parse_json
from ..settings import Settings
from .auth import Caller, Right
from .client_address import held_address
from .rates import RATES, RateName

__all__ = [
    "APP",
    "BROKEN_PACK",
    "BROKER",
    "CAME",
    "SETTINGS",
    "STANDING",
    "UNREAD",
    "Call",
    "Query",
    "check_body",
    "checked",
    "invalid",
    "packed_otherwise",
    "read_body",
    "read_json",
    "read_query",
    "still_allowed",
    "why_unread",
]

BROKER = web.AppKey("broker", Broker)
SETTINGS = web.AppKey("settings", Settings)

#: Who sent a request, the rights of which one is needed for it, and the session that it is about.
STANDING = web.RequestKey("standing", tuple[Caller, frozenset[Right], str | None])

#: The body, where somebody has read it who could not do with it.
CAME = web.RequestKey("came", bytes)

#: The application, of a request that came past its routes.
APP = web.RequestKey("app", web.Application)

#: The text of a body in which something is wrong, or what is left of it.
UNREAD = web.RequestKey("unread", bytes)

Model = TypeVar("Model", bound=BaseModel)
QueryT = TypeVar("QueryT")
BodyT = TypeVar("BodyT")
Shared = TypeVar("Shared")

#: A body that is no stream arrives within this time; a broken chunk of one never does.
_BODY_SECONDS = 30

BROKEN_PACK = "the body cannot be read: it is not the gzip or deflate that its Content-Encoding promises, or is cut"


class Query(BaseModel):
    """The query of an endpoint. A token or ticket is known everywhere: with ``auth=none`` one that comes is ignored."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", allow_inf_nan=False)

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
        return self.broker.holding(self.caller.name, address=self.address, may_approve=self.caller.may("approve"))

    @property
    def address(self) -> str:
        """From where it comes, for the bounds of an address."""
        return held_address(self.request)

    def shared(self, key: web.AppKey[Shared]) -> Shared:
        """What the requests of the application have in common under this key."""
        app = self.request.get(APP)
        found: Shared = self.request.config_dict[key] if app is None else app[key]
        return found

    def spend(self, rate: RateName, tokens: int = 1, *, caller: Caller | None = None) -> None:
        """Count against what the caller may do a second. Raises ``LimitReached``."""
        rates = self.shared(RATES)
        if rates.bounds(rate):
            rates.spend(rate, (caller or self.caller).name, self.address, tokens)


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
    charset = request.charset
    if charset is not None and charset.lower() not in ("utf-8", "utf8", "us-ascii"):
        raise errors.UnsupportedMediaType("The body must be UTF-8, and its Content-Type names another charset.")
    if hdrs.CONTENT_ENCODING in request.headers:
        packed = ",".join(request.headers.getall(hdrs.CONTENT_ENCODING)).strip().lower()
        if packed not in ("", "identity", "gzip", "deflate"):
            raise packed_otherwise()


def packed_otherwise() -> errors.UnsupportedMediaType:
    return errors.UnsupportedMediaType("The body may be packed with gzip or deflate, once, or not at all.")


async def read_body(request: web.Request, limit: int) -> bytes:
    """The whole body, bounded; unpacked, if it came packed. Raises ``TooLarge`` or ``InvalidInput``."""

    def too_large() -> errors.TooLarge:
        return errors.TooLarge(f"The body is over the limit of {limit} bytes.", limit="max_body_bytes")

    told_size = request.content_length
    if told_size is not None and told_size > limit:
        raise too_large()
    came: bytes | None = request.get(CAME)
    if came is not None:
        return came
    pieces: list[bytes] = []
    size = 0
    try:
        if request.content.is_eof():  # it came with the head, as a small one does
            body = request.content.read_nowait()
            if len(body) > limit:
                raise too_large()
            return body
        async with asyncio.timeout(_BODY_SECONDS):
            async for piece in request.content.iter_any():
                size += len(piece)
                if size > limit:
                    raise too_large()
                pieces.append(piece)
    except TimeoutError:
        raise errors.InvalidInput(f"the body did not arrive within {_BODY_SECONDS} s") from None
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise errors.InvalidInput(why_unread(request)) from error
    return b"".join(pieces)


def why_unread(request: web.Request) -> str:
    """Why a body cannot be read, as far as one can tell."""
    if request.headers.get("Content-Encoding", "").lower() in ("gzip", "deflate"):
        return BROKEN_PACK
    return "the body cannot be read: it is cut, or its chunks are broken"


async def read_json(request: web.Request, limit: int, *, unique_keys: bool = True) -> Any:
    """The body as JSON. Only ``application/json`` is taken, which a foreign web page cannot send unasked.

    ``unique_keys`` as for ``parse_json``.
    """
    check_body(request, "application/json")
    body = await read_body(request, limit)
    try:
        return parse_json(body, unique_keys=unique_keys)
    except errors.NotifierError:
        request[UNREAD] = body
        raise


def still_allowed(request: web.Request) -> None:
    """Ask again for the right to this request, which may have taken long: raises what ``Caller.require`` does."""
    caller, rights, session_id = request[STANDING]
    caller.require(rights, session_id)
