"""All sessions at once: what waits, by GET and as a stream, what sessions are called, many decisions (section 13)."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated, Any, Literal

from aiohttp import ETag, web
from pydantic import Field, StringConstraints

from ..core.errors import (
    BrokerClosed,
    Conflict,
    Forbidden,
    Gone,
    InvalidInput,
    NotFound,
    NotifierError,
    NotRecorded,
    Unauthenticated,
)
from ..core.events import EventData, Many, dump
from ..core.inbox import InboxView
from ..core.label import MAX_AGENT, MAX_TITLE
from ..core.question import MAX_REASON, Decision
from ..core.reader import Reader
from ..core.session import SESSION_ID
from .answers import error_body, json_answer, reply, told
from .auth import Right, still_sees_the_same
from .connection import StreamConnection
from .permissions import through
from .presence import page_of
from .request import Call, Query
from .sse import StreamQuery, cursor_of, streamed
from .tickets import issued

__all__ = ["DecideBody", "LabelBody", "decide", "label", "read", "stream", "ticket"]

_APPROVE = frozenset[Right]({"approve"})


class LabelBody(EventData):
    """What a session is called and which agent runs there; null takes it away, what is not there stays."""

    title: Annotated[str, Field(max_length=MAX_TITLE)] | None = None
    agent: Annotated[str, Field(max_length=MAX_AGENT)] | None = None


class DecisionOfMany(EventData):
    """One decision about a request as it was shown: ``parameters_sha256`` says which parameters that were."""

    session_id: Annotated[str, StringConstraints(pattern=SESSION_ID)]
    request_id: Annotated[str, Field(min_length=1, max_length=256)]
    parameters_sha256: Annotated[str, Field(min_length=1, max_length=256)]
    approved: bool
    reason: Annotated[str, Field(max_length=MAX_REASON)] | None = None
    scope: Literal["once"] | None = None


class DecideBody(EventData):
    """Decisions about requests of any sessions."""

    decisions: Annotated[Many[DecisionOfMany], Field(min_length=1, max_length=100)]


async def read(call: Call[Query, None]) -> web.Response:
    """What waits in the sessions that the caller's patterns cover, and these sessions; 304 where that is known."""
    view = InboxView(call.broker.inbox, call.caller.sees)
    snapshot = await view.prepare(may_approve=call.caller.is_approver)
    # Time goes by without anything having changed.
    rows = [{**row.__dict__, "idle_seconds": 0} for row in snapshot.sessions]
    ids = [(record.request_id, record.viewers) for record in snapshot.permission_requests]
    tag = ETag(hashlib.sha256(dump([rows, ids, snapshot.may_approve])).hexdigest()[:32], is_weak=True)
    known = call.request.if_none_match or ()
    is_known = any(found.value in (tag.value, "*") for found in known)
    response = web.Response(status=304) if is_known else told(snapshot.encoded)
    response.headers["Cache-Control"] = "private, no-cache"  # keep it, and ask each time
    response.etag = tag
    return response


async def stream(call: Call[StreamQuery, None]) -> web.StreamResponse:
    """Send ``hello``, then the snapshot or what was missed, then live, of all that the caller's patterns cover."""
    cursor, caller = cursor_of(call.request), call.caller

    async def join(connection: StreamConnection) -> Reader:
        view = InboxView(call.broker.inbox, caller.sees)
        if cursor is None:
            await view.prepare(may_approve=caller.is_approver)
        reader = call.broker.join_inbox(
            "sse",
            connection,
            cursor,
            sees=caller.sees,
            account=caller.name,
            address=call.address,
            may_approve=caller.is_approver,
            view=view,
        )
        reader.permit(caller.seconds_left, still_sees_the_same(caller))
        reader.page = page_of(call, caller)
        return reader

    return await streamed(call, join)


async def ticket(call: Call[Query, None]) -> web.Response:
    """A ticket that stands for the caller at the inbox, where it looks on: once, and for half a minute."""
    return issued(call, None)


async def label(call: Call[Query, LabelBody]) -> web.Response:
    """Say what a session is called, which is opened by that; who reads the inbox hears of it."""
    broker, session_id = call.broker, call.session_id
    if broker.is_durable:
        broker.require_durable()
    changes = {name: getattr(call.body, name) for name in call.body.model_fields_set}
    session = broker.open(session_id, opened_by=call.caller.name)
    session = broker.label(session_id, session.label.changed(changes), opened_by=call.caller.name)
    if broker.is_durable:
        await broker.on_disk()
    return reply(session.row)


async def decide(call: Call[Query, DecideBody]) -> web.Response:
    """Settle up to a hundred requests of any sessions, each by itself: one that cannot be decided holds up no other."""
    call.spend("decide_rate", len(call.body.decisions) - 1)  # that one is decided is counted already
    told = await asyncio.gather(*(_decided(call, decision) for decision in call.body.decisions))
    return json_answer(b'{"success":true,"data":[%b]}' % b",".join(told))


async def _decided(call: Call[Query, DecideBody], one: DecisionOfMany) -> bytes:
    said: dict[str, Any] = {"session_id": one.session_id, "request_id": one.request_id}
    decision = Decision(
        approved=one.approved,
        reason=one.reason,
        request_id=one.request_id,
        scope="once",
        parameters_sha256=one.parameters_sha256,
    )
    try:
        caller = call.caller.require(_APPROVE, one.session_id)
        record = await call.broker.answer(
            one.session_id,
            decision,
            **caller.decider(via="inbox", through=through(call.request)),
        )
    except NotifierError as error:
        return dump({**said, "status": _status(error), "error": error_body(error)["error"]})
    return dump({**said, "status": 200, "record": record})


def _status(error: NotifierError) -> int:
    if isinstance(error, Unauthenticated):  # it was revoked meanwhile: the rest is not decided
        return 403
    kinds = {
        Forbidden: 403,
        NotFound: 404,
        InvalidInput: 404,  # a session that is called . or .. has no requests
        Conflict: 409,
        Gone: 410,
        NotRecorded: 503,
        BrokerClosed: 503,
    }
    return next((status for kind, status in kinds.items() if isinstance(error, kind)), 500)
