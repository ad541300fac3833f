"""Links to one decision: who opens one is shown what is asked, and only who then answers has decided (section 14)."""

from __future__ import annotations

import asyncio
import html
import json
import secrets
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qsl

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ..core.errors import (
    Gone,
    InvalidInput,
    LimitReached,
    NotFound,
    NotifierError,
    RequestNotFound,
    UnsupportedMediaType,
)
from ..core.events import EventData, PermissionRecord, utc_text
from ..core.permission_request import PermissionRequest
from ..core.question import MAX_REASON, Decision
from ..core.session import SESSION_ID
from .answers import reply, status_of
from .auth import TICKET_PREFIX, Caller, Right, digest_of
from .request import Call, Query, checked, read_body, read_json

__all__ = ["LINKS", "LinkBody", "Links", "decide", "make", "show"]

_APPROVE = frozenset[Right]({"approve"})
_AT_MOST, _AT_MOST_EACH = 10_000, 100
_MAX_FORM_BYTES = 64 * 1024
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    # Nobody else learns the address, which is all that it takes.
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}
_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:0 auto;padding:1rem}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid;padding:.75rem}"
    "button{font:inherit;padding:.75rem 1.5rem;margin:.5rem 1rem .5rem 0}input{font:inherit;width:100%}"
    ":root{color-scheme:light dark}"
)


@dataclass(slots=True)
class _Link:
    caller: Caller
    session_id: str
    request_id: str
    parameters_sha256: str
    is_used: bool = False


class Links:
    """Links that were made, by a digest: at most 10,000, the oldest give way, and 100 of one caller that wait."""

    def __init__(self) -> None:
        self._made: OrderedDict[str, _Link] = OrderedDict()

    def make(self, caller: Caller, request: PermissionRequest, session_id: str) -> str:
        """Return a link's secret. Raises ``LimitReached``."""
        held = Counter(link.caller.name for link in self._made.values() if not link.is_used)[caller.name]
        if held >= _AT_MOST_EACH:
            raise LimitReached("links", f"{held} links of yours wait to be used.")
        while len(self._made) >= _AT_MOST:
            self._made.popitem(last=False)
        # As a ticket it is taken out of whatever is written down.
        secret = TICKET_PREFIX + secrets.token_urlsafe(24)
        record = request.record
        self._made[digest_of(secret)] = _Link(caller, session_id, record.request_id, record.parameters_sha256)
        return secret

    def find(self, secret: str) -> _Link:
        """Raises ``NotFound`` for one that nobody made, and ``Gone`` for one that was used."""
        link = self._made.get(digest_of(secret))
        if link is None:
            raise NotFound("There is no such link.")
        if link.is_used:
            raise Gone("This link was used.")
        return link


LINKS = web.AppKey("links", Links)


class LinkBody(EventData):
    """The request that a link is for."""

    session_id: Annotated[str, StringConstraints(pattern=SESSION_ID)]
    request_id: Annotated[str, Field(min_length=1, max_length=256)]


class _Answer(BaseModel):
    """What is answered by a link; ``parameters_sha256`` says that the whole was shown."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    approved: bool
    reason: Annotated[str, Field(max_length=MAX_REASON)] | None = None
    parameters_sha256: Annotated[str, Field(max_length=256)] | None = None


async def make(call: Call[Query, LinkBody]) -> web.Response:
    """Make a link by which one request can be decided once, in the caller's name, until it is settled."""
    caller = call.caller.require(_APPROVE, call.body.session_id)
    request = call.broker.look(call.body.session_id).desk.find(call.body.request_id)
    if not (request.pending and request.announced):
        raise RequestNotFound("This request waits no longer.")
    secret = call.request.config_dict[LINKS].make(caller, request, call.body.session_id)
    path = f"{call.settings.prefix}/api/links/{secret}"
    base = call.settings.public_url or f"{call.request.scheme}://{call.request.host}"
    expires_at = request.record.expires_at
    return reply(
        {"url": base + path, "path": path, "expires_at": None if expires_at is None else utc_text(expires_at)},
        status=201,
    )


async def show(call: Call[Query, None]) -> web.Response:
    """Show what is asked, and settle nothing, however often and by whomever this is fetched."""
    try:
        link, request = _found(call)
    except NotifierError as error:
        if not _is_browser(call):
            raise
        return _page("This link leads nowhere any more", f"<p>{html.escape(error.message)}</p>", status_of(error))
    return _page("A decision is asked", _asked(link.session_id, request.record), 200)


async def decide(call: Call[Query, None]) -> web.Response:
    """Decide the request of a link, once."""
    is_form = call.request.content_type == "application/x-www-form-urlencoded"
    try:
        answer = checked(_Answer, await _body(call, is_form=is_form))
        record = await _decided(call, answer)
    except NotifierError as error:
        if not _is_browser(call):
            raise
        return _page("This was not decided", f"<p>{html.escape(error.message)}</p>", status_of(error))
    if not _is_browser(call):
        return reply(record)
    return _page(f"It is {record.status}", f"<p>{html.escape(record.tool_name)}</p>", 200)


async def _decided(call: Call[Query, None], answer: _Answer) -> PermissionRecord:
    link, request = _found(call)
    caller = link.caller.require(_APPROVE, link.session_id)
    if answer.parameters_sha256 == link.parameters_sha256:
        request.note_reader(caller.name)  # the page that asks so has shown all of them
    link.is_used = True  # before anything is waited for: of two at once one decides
    try:
        return await call.broker.answer(
            link.session_id,
            Decision(
                approved=answer.approved,
                reason=answer.reason,
                request_id=link.request_id,
                parameters_sha256=link.parameters_sha256,
            ),
            **caller.decider(via="link", through="link"),
        )
    except (NotifierError, asyncio.CancelledError):
        link.is_used = False
        raise


async def _body(call: Call[Query, None], *, is_form: bool) -> Any:
    if not is_form:
        if call.request.content_type != "application/json":
            raise UnsupportedMediaType("The body must come as a form or as Content-Type: application/json.")
        return await read_json(call.request, _MAX_FORM_BYTES)
    text = (await read_body(call.request, _MAX_FORM_BYTES)).decode("utf-8", "replace")
    try:
        fields = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=10))
    except ValueError:
        raise InvalidInput("The form has more than 10 fields.") from None
    approved = {"true": True, "false": False}.get(fields.pop("approved", ""))
    if approved is None:
        raise InvalidInput("approved: true or false")
    return {**{name: value for name, value in fields.items() if value}, "approved": approved}


def _is_browser(call: Call[Query, None]) -> bool:
    return "text/html" in call.request.headers.get("Accept", "")


def _found(call: Call[Query, None]) -> tuple[_Link, PermissionRequest]:
    link = call.request.config_dict[LINKS].find(call.request.match_info["link"])
    try:
        request = call.broker.look(link.session_id).desk.find(link.request_id)
    except RequestNotFound:
        raise Gone("This request is over.") from None
    if not request.pending:
        raise Gone(f"This request is {request.record.status} already.")
    return link, request


def _asked(session_id: str, record: PermissionRecord) -> str:
    """What is asked, with every character of it: what cannot be seen stands there as an escape."""
    parameters = json.dumps(record.parameters, indent=2, ensure_ascii=False)
    rows: Mapping[str, str | None] = {
        "Tool": record.tool_name,
        "Session": session_id,
        "Risk": record.risk_level,
        "Why": "; ".join(record.risk_reasons) or None,
        "The agent says": record.description,
        "Until": None if record.expires_at is None else utc_text(record.expires_at),
    }
    told = "".join(
        f"<p><b>{name}:</b> {html.escape(_visible(text))}</p>" for name, text in rows.items() if text is not None
    )
    buttons = '<button name="approved" value="false">Reject</button>'
    if "approve" in record.allowed_decisions:
        buttons += '<button name="approved" value="true">Approve</button>'
    else:
        buttons += "<p>This is a question: it is answered in the console.</p>"
    return (
        f"{told}<pre>{html.escape(_visible(parameters))}</pre>"
        '<form method="post"><label>Reason <input name="reason" maxlength="10000"></label>'
        f'<input type="hidden" name="parameters_sha256" value="{html.escape(record.parameters_sha256)}">'
        f"{buttons}</form>"
    )


def _visible(text: str) -> str:
    return "".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in text)


def _page(title: str, body: str, status: int) -> web.Response:
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>{body}</html>"
    )
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=_HEADERS)
