"""The event stream: a cursor into the log, written as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from math import ceil
from typing import Any

from aiohttp import web
from aiohttp_sse import EventSourceResponse

from ..core.errors import BrokerClosed, LimitReached
from ..core.event_log import Event
from ..core.events import Bye, encode
from ..core.reader import Reader, retry_ms
from ..settings import Settings
from .answers import as_error, reply
from .auth import still_sees_the_same
from .connection import Form, StreamConnection
from .models import SessionHealth
from .ops import audit_health, journal_health, policy_health
from .peer import ConnectionPeer
from .presence import page_of
from .request import Call, Query

__all__ = ["STREAM_HEADERS", "StreamQuery", "cursor_of", "health", "replays", "stream", "streamed"]

STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    "Connection": "close",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


#: How polyfills of EventSource spell it in the query, small and without - and _.
_CURSOR_NAMES = frozenset({"lasteventid", "evslasteventid"})


class StreamQuery(Query):
    """``last_event_id`` resumes where a ``Last-Event-ID`` header cannot be set; ``named=1`` adds ``event:`` lines.

    ``replay=0`` says that the client knows ``snapshot``, and needs no request that waits told again behind it.
    ``visible=1`` says that somebody sees the page, ``page`` which of the caller's pages that is.
    """

    last_event_id: str | None = None
    named: str | None = None
    replay: str | None = None
    visible: str | None = None
    page: str | None = None


async def stream(call: Call[StreamQuery, None]) -> web.StreamResponse:
    """Send ``hello``, then the snapshot or what was missed, then live, until somebody ends it."""
    cursor, caller = cursor_of(call.request), call.caller
    if cursor is not None and call.broker.has_ended(call.session_id):
        return web.Response(status=204)  # by which the standard stops an EventSource that comes back

    async def join(connection: StreamConnection) -> Reader:
        reader = call.broker.join(
            call.session_id,
            "sse",
            connection,
            cursor,
            account=caller.name,
            address=call.address,
            may_approve=caller.is_approver,
            replays=replays(call.request, call.query.replay),
        )
        reader.permit(caller.seconds_left, still_sees_the_same(caller, call.session_id))
        reader.page = page_of(call, caller)
        return reader

    return await streamed(call, join)


async def streamed(
    call: Call[StreamQuery, None], join: Callable[[StreamConnection], Awaitable[Reader]]
) -> web.StreamResponse:
    """Answer with the stream of a reader that ``join`` makes on this connection."""
    request, named = call.request, call.query.named in ("1", "true")
    response = EventSourceResponse(send_timeout=2 * call.settings.stalled_seconds + 5)
    response.headers.update(STREAM_HEADERS)
    await response.prepare(request)
    response.stop_streaming()  # its ping task: the broker's sweeper beats for everybody
    response.force_close()
    connection = StreamConnection(request)
    try:
        call.spend("connect_rate")
        reader = await join(connection)
    except (LimitReached, BrokerClosed) as error:
        await _refuse(response, ConnectionPeer(request), error, call.settings, named=named)
        return response
    try:
        # The first piece goes through aiohttp, and the head with it. A block of its own for retry would have no data,
        # and common clients hand the data of every block to JSON.parse.
        hello = _frame(reader.greet(), named=named)
        await response.write(b"retry: %d\n%b" % (retry_ms(call.settings), hello))
    except BaseException:
        reader.leave()
        raise
    connection.begin(request, reader, _FORMS[named, response.headers.get("Transfer-Encoding") == "chunked"])
    return response


def cursor_of(request: web.Request) -> str | None:
    """Where a client that comes back goes on: its header, or what stands last in the query; None on a first connect."""
    # A browser repeats its URL when it reconnects, so the header is the newer of the two; a polyfill appends to it.
    in_query = [
        value
        for name, value in request.query.items()
        if value and name.replace("-", "").replace("_", "").lower() in _CURSOR_NAMES
    ]
    return request.headers.get("Last-Event-ID") or (in_query[-1] if in_query else None)


def replays(request: web.Request, in_query: str | None) -> bool:
    """Whether what waits is told again behind a snapshot, unless the client knows that: ``replay=0``, or so preferred.

    A client that sets headers says it with one (RFC 7240), and its URL stays as it is.
    """
    preferred = request.headers.get("Prefer", "").replace(" ", "").lower().split(",")
    return in_query not in ("0", "false") and "replay=0" not in preferred


async def health(call: Call[Query, None]) -> web.Response:
    """How a session and its readers are."""
    session = call.broker.look(call.session_id)
    log = session.log.statistics()
    return reply(
        SessionHealth(
            status="healthy",
            session_id=session.session_id,
            connections=session.viewer_count,
            connections_by_transport=session.readers.by_transport,
            queue_size=log.events,
            queue_capacity=log.capacity,
            pending_permissions=session.pending_count,
            last_event_id=log.last_event_id,
            created_at=session.created_at,
            idle_seconds=round(session.idle_seconds, 3),
            disconnects=dict(session.readers.disconnects),
            policy=policy_health(call.broker),
            audit=audit_health(call.broker),
            journal=journal_health(call.broker),
        )
    )


def _frame(event: Event, *, named: bool) -> bytes:
    """One event as SSE fields. JSON is one line, ids and types are checked where they are made: nothing breaks out."""
    head = b"id: %s\n" % event.id.encode() if event.id else b""
    if named:
        head += b"event: %s\n" % event.type.encode()
    return b"%sdata: %s\n\n" % (head, event.json)


def _frames(events: Sequence[Event]) -> bytes:
    # As _frame does, without a call for each of the many events that are the log's.
    return b"".join(
        [
            b"id: %b\ndata: %b\n\n" % (event.id.encode(), event.json) if event.id else _frame(event, named=False)
            for event in events
        ]
    )


def _named_frames(events: Sequence[Event]) -> bytes:
    return b"".join([_frame(event, named=True) for event in events])


def _form(name: str, frames: Callable[[Sequence[Event]], bytes], *, in_chunks: bool) -> Form:
    def chunk(events: Sequence[Event]) -> bytes:
        body = frames(events)
        return b"%x\r\n%s\r\n" % (len(body), body)

    def bye(bye: Bye) -> bytes:
        last = [Event(0, "", "bye", encode("bye", bye))]
        return chunk(last) + b"0\r\n\r\n" if in_chunks else frames(last)

    return Form(f"{name}, in chunks" if in_chunks else name, chunk if in_chunks else frames, bye)


#: By whether events are named, and whether the body is sent in chunks (RFC 9112 section 7.1).
_FORMS = {
    (named, in_chunks): _form(
        "sse, named" if named else "sse", _named_frames if named else _frames, in_chunks=in_chunks
    )
    for named in (False, True)
    for in_chunks in (False, True)
}


async def _refuse(
    response: EventSourceResponse, peer: ConnectionPeer, error: Any, settings: Settings, *, named: bool
) -> None:
    """End a stream that cannot begin. Never with a status: one other than 200 ends a browser's EventSource for good."""
    retry = retry_ms(settings)
    if isinstance(error, LimitReached):
        retry = max(retry, ceil(error.retry_after_seconds * 1000))
    await response.write(b"retry: %d\n" % retry + _frame(Event(0, "", "error", as_error(error)), named=named))
    code: Any = "limit" if isinstance(error, LimitReached) else "shutdown"
    await _farewell(response, peer, Bye(code=code, reconnect=True, retry_ms=retry), 1.0, named=named)


async def _farewell(
    response: EventSourceResponse, peer: ConnectionPeer, bye: Bye, linger_seconds: float, *, named: bool
) -> None:
    """Say bye and end the body, if the socket still takes it within the time; else cut the connection."""
    try:
        async with asyncio.timeout(linger_seconds):
            await response.write(_frame(Event(0, "", "bye", encode("bye", bye)), named=named))
            await peer.drained()
            await response.write_eof()
    except TimeoutError:
        peer.cut()
    except ConnectionError:
        pass  # the peer was faster
