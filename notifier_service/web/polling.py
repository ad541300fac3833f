"""Polling and long-polling: the present state by GET, and the log for clients that cannot hold a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from aiohttp import ETag, web
from pydantic import Field

from ..core.errors import CursorLost
from ..core.event_log import Event, EventLog
from ..core.events import Gap, dump
from ..core.session import Session
from .answers import json_answer, reply, told
from .departure import held
from .models import present_state, rights_of
from .peer import written_out
from .request import Call, Query

__all__ = [
    "LongPollQuery",
    "clear_result",
    "long_poll",
    "permission_request",
    "session_info",
    "tool_result",
    "tool_status",
]


#: Events of one answer, unless a single one is longer; who is behind asks again, and nobody who leaves holds a log.
_PAGE_BYTES = 128 * 1024


class LongPollQuery(Query):
    """``after`` is the cursor behind which to read, without one the next event; ``timeout`` holds for so long."""

    after: str | None = None
    #: The documents' client gives up after 30 s.
    timeout: float = Field(default=25, ge=0, le=60)


async def session_info(call: Call[Query, None]) -> web.Response:
    """The whole present state."""
    session = _polled(call)

    def tell() -> bytes:
        snapshot = session.snapshot()
        told = {**present_state(snapshot), "viewers": session.viewer_count, **rights_of(call.caller)}
        return snapshot.with_requests(told)

    return _unless_known(call, session, tell)


async def tool_status(call: Call[Query, None]) -> web.Response:
    """The last tool status, or null."""
    session = _polled(call)
    return _unless_known(call, session, lambda: dump(session.state.tool_status))


async def permission_request(call: Call[Query, None]) -> web.Response:
    """The oldest pending permission request, or null."""
    session = _polled(call)
    return _unless_known(
        call, session, lambda: _with_rights(session.pending[0].shown.encoded, call) if session.pending else b"null"
    )


async def tool_result(call: Call[Query, None]) -> web.Response:
    """The last tool result, or null."""
    session = _polled(call)
    return _unless_known(call, session, lambda: dump(session.state.tool_result))


async def clear_result(call: Call[Query, None]) -> web.Response:
    """Forget the last result; without effect when there is none."""
    session = _polled(call)
    session.clear_result()
    return reply({"tool_result": None, "last_event_id": session.log.last_event_id})


async def long_poll(call: Call[LongPollQuery, None]) -> web.StreamResponse:
    """A page of the events behind a cursor, and the state; held until there is one or the time is over."""
    if not call.query.timeout:
        return await _long_poll(call)
    with call.holding():
        call.broker.open(call.session_id, opened_by=call.caller.name)  # what comes while it is held is kept for it
        return await written_out(call.request, await _long_poll(call), call.settings.stalled_seconds)


async def _long_poll(call: Call[LongPollQuery, None]) -> web.Response:
    session = _polled(call)
    log = session.log
    opening = session.open_at(call.query.after)
    events: Sequence[Event] = ()
    if opening.gap is not None:
        events = log.read_after(opening.seq, max_bytes=_PAGE_BYTES)  # of a log that began anew all is news
    else:
        try:
            with session.holding("long-poll"):
                coming = log.wait_after(opening.seq, timeout_seconds=call.query.timeout, max_bytes=_PAGE_BYTES)
                events = await held(call.request, coming) or ()
        except CursorLost as lost:  # a burst went through the log
            opening = session.reopen(lost)
    trail = session.trail() if call.query.after == "earliest" else ()
    body, count = _long_poll_body(session, opening.seq, events, opening.gap, trail)
    body = _with_rights(body, call, closing=b"}}")
    call.broker.counters.events_delivered["long-poll"] += count
    call.broker.counters.bytes_delivered += len(body)
    response = json_answer(body)
    if log.closed:
        response.force_close()
    return response


def _polled(call: Call[Any, None]) -> Session:
    session = call.broker.look(call.session_id)
    session.touch()
    return session


def _unless_known(call: Call[Query, None], session: Session, tell: Callable[[], bytes]) -> web.Response:
    """The state with an ETag, or 304 when the client has it already; whatever changes the state moves the log.

    What is told also depends on whether the caller may only look on.
    """
    looks = "" if call.caller.is_approver else ".looks"
    tag = ETag(f"{session.log.last_event_id}.{session.viewer_count}{looks}", is_weak=True)
    known = call.request.if_none_match or ()
    is_known = any(found.value in (tag.value, "*") for found in known)
    response = web.Response(status=304) if is_known else told(tell())
    response.headers["Cache-Control"] = "private, no-cache"  # keep it, and ask each time
    response.etag = tag
    return response


def _with_rights(encoded: bytes, call: Call[Any, None], *, closing: bytes = b"}") -> bytes:
    """A JSON object that is encoded already, with what the caller may not; ``closing`` is the end of it."""
    return (
        encoded if call.caller.is_approver else b'%b,"may_approve":false%b' % (encoded.removesuffix(closing), closing)
    )


class _Body(NamedTuple):
    first: int
    last: int
    body: bytes
    events: int


#: Answers that are kept for others who wait at the same place: they ask within a moment, and each is as long as a page.
_MOST_BODIES = 16
_bodies: WeakKeyDictionary[EventLog, _Body] = WeakKeyDictionary()


def _long_poll_body(
    session: Session, seq: int, events: Sequence[Event], gap: Gap | None, trail: Sequence[Event] = ()
) -> tuple[bytes, int]:
    """The answer, and of how many events it tells.

    Those who waited at the same place share it, because the state depends on the log's end alone.
    """
    log = session.log
    before = _bodies.get(log)
    if gap is None and not trail and before is not None and (before.first, before.last) == (seq, log.last_seq):
        return before.body, before.events
    if len(events) > 1 and sum(len(event.json) for event in events) > _PAGE_BYTES:
        events = events[:-1]  # the one that passes the page
    events = [*trail, *events]
    snapshot = session.snapshot(events[-1].seq if events else None)
    state = snapshot.with_requests({"gap": gap, **present_state(snapshot)})
    body = b'{"success":true,"data":{"events":[%s],%s}' % (b",".join([event.json for event in events]), state[1:])
    if gap is None and not trail and session.viewer_count:  # for the others who wait; one alone leaves no copy behind
        _bodies[log] = _Body(seq, log.last_seq, body, len(events))
        if len(_bodies) > _MOST_BODIES:
            del _bodies[next(iter(_bodies))]
    return body, len(events)
