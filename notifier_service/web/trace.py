"""Which request it is, and of which trace: what proxies and agents say of that in headers, if it is valid."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

from aiohttp import web

from ..core.redaction import CREDENTIAL
from ..core.trace import checked_traceparent

__all__ = ["REQUEST_IDS", "TRACE_BYTES", "belongs_to", "request_id_of", "say_request_id", "traceparent_of"]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._~:/+=-]{8,128}")
_CREDENTIAL = re.compile(CREDENTIAL)

#: What an event is longer by that has one.
TRACE_BYTES = 72

#: Set where requests have ids: whether a text is a token, which is none.
REQUEST_IDS: web.AppKey[Callable[[str], bool]] = web.AppKey("request_ids")

_ID = web.RequestKey("request_id", str)


def traceparent_of(request: web.BaseRequest) -> str | None:
    """The ``traceparent`` that came along, in the form of version 00; None for none, two, or one that is not valid."""
    came = request.headers.getall("traceparent", ())
    return checked_traceparent(came[0]) if len(came) == 1 else None


def belongs_to(request: web.BaseRequest) -> tuple[str | None, str | None]:
    """The id of a request, and its trace."""
    return request_id_of(request), traceparent_of(request)


def request_id_of(request: web.BaseRequest) -> str | None:
    """The ``X-Request-Id`` that came along, or one that is made: also where what came may be a token.

    None where the application gives requests no ids.
    """
    if not isinstance(request, web.Request):
        return None
    try:
        is_token = request.config_dict.get(REQUEST_IDS)
    except AssertionError:
        return None  # it was answered before it was given to the application
    if is_token is None:
        return None
    if _ID not in request:
        came = request.headers.get("X-Request-Id", "")
        is_good = _REQUEST_ID.fullmatch(came) and not _CREDENTIAL.search(came)
        if is_good and any(map(is_token, (came, *re.split(r"[/:=]", came)))):
            is_good = False
        request[_ID] = came if is_good else secrets.token_hex(16)
    return request[_ID]


async def say_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Have the answer say which request it is of."""
    request_id = request_id_of(request)
    if request_id is not None:
        response.headers["X-Request-Id"] = request_id
