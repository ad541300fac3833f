"""The event stream: a cursor into the log, written as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from aiohttp import web
from aiohttp_sse import EventSourceResponse

from ..errors import BrokerClosed, LimitReached
from ..event_log import Event, EventLog
from ..events import Bye, encode, utc_text
from ..reading import Reading
from ..session import Viewer, retry_ms
from ..settings import Settings
from .boundary import Call, Query, as_error, reply
from .peer import ConnectionPeer

__all__ = ["STREAM_HEADERS", "StreamQuery", "health", "stream"]

STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    "Connection": "close",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class StreamQuery(Query):
    """``last_event_id`` resumes where a ``Last-Event-ID`` header cannot be set; ``named=1`` adds ``event:`` lines."""

    last_event_id: str | None = None
    named: str | None = None


async def stream(call: Call[StreamQuery, None]) -> web.StreamResponse:
    """Send ``retry`` and ``hello``, then the snapshot or what was missed, then live, until somebody ends it."""
    request, named = call.request, call.query.named in ("1", "true")
    response = EventSourceResponse(send_timeout=2 * call.settings.stalled_seconds + 5)
    response.headers.update(STREAM_HEADERS)
    await response.prepare(request)
    response.stop_streaming()  # its ping task: the broker's sweeper beats for everybody
    response.force_close()
    peer = ConnectionPeer(request)
    try:
        viewer = call.broker.join(call.session_id, "sse", peer)
    except (LimitReached, BrokerClosed) as error:
        await _refuse(response, peer, error, call.settings, named=named)
        return response
    viewer.expire_in(call.caller.seconds_left)
    try:
        # A browser repeats its URL when it reconnects, so the header is the newer of the two.
        cursor = request.headers.get("Last-Event-ID") or call.query.last_event_id or None
        await _deliver(Reading(viewer, cursor), response, peer, named, retry_ms(call.settings))
    except TimeoutError:
        pass  # ended while a write waited for the peer
    finally:
        viewer.leave()
    if viewer.ending is not None:
        slow = viewer.ending.code == "slow"
        linger = call.settings.stalled_seconds if slow else call.settings.shutdown_seconds / 8
        await _farewell(response, peer, viewer.ending, linger, named=named)
    return response


async def health(call: Call[Query, None]) -> web.Response:
    """How a session and its readers are."""
    session = call.broker.open(call.session_id)
    log = session.log.statistics()
    return reply(
        {
            "status": "healthy",
            "session_id": session.session_id,
            "connections": session.viewer_count,
            "connections_by_transport": session.connections_by_transport,
            "queue_size": log.events,
            "queue_capacity": log.capacity,
            "pending_permissions": session.desk.pending_count,
            "last_event_id": log.last_event_id,
            "created_at": utc_text(session.created_at),
            "idle_seconds": round(session.idle_seconds, 3),
            "disconnects": dict(session.disconnects),
        }
    )


async def _deliver(
    reading: Reading, response: EventSourceResponse, peer: ConnectionPeer, named: bool, retry_milliseconds: int
) -> None:
    viewer, head = reading.viewer, b"retry: %d\n\n" % retry_milliseconds
    while not reading.over:
        if events := reading.next():
            async with viewer.writing():
                await response.write(peer.hand(head + _frames(viewer, events, named)))
            head = b""
        elif viewer.ending is not None:
            return
        else:
            await viewer.wait()


class _Joined(NamedTuple):
    first: int
    last: int
    named: bool
    frames: bytes


_joined: WeakKeyDictionary[EventLog, _Joined] = WeakKeyDictionary()


def _frames(viewer: Viewer, events: Sequence[Event], named: bool) -> bytes:
    """The events as one piece; readers at the same place share it."""
    log, first, last = viewer.session.log, events[0].seq, events[-1].seq
    shared = first > 0 and len(viewer.session.viewers) > 1
    if shared:
        before = _joined.get(log)
        if before is not None and before[:3] == (first, last, named):
            return before.frames
    frames = b"".join([_frame(event, named) for event in events])
    if shared:
        _joined[log] = _Joined(first, last, named, frames)
    return frames


def _frame(event: Event, named: bool) -> bytes:
    """One event as SSE fields. JSON is one line, ids and types are checked where they are made: nothing breaks out."""
    head = b"id: %s\n" % event.id.encode() if event.id else b""
    if named:
        head += b"event: %s\n" % event.type.encode()
    return b"%sdata: %s\n\n" % (head, event.json)


async def _refuse(
    response: EventSourceResponse, peer: ConnectionPeer, error: Any, settings: Settings, *, named: bool
) -> None:
    """End a stream that cannot begin. Never with a status: one other than 200 ends a browser's EventSource for good."""
    retry = retry_ms(settings)
    await response.write(b"retry: %d\n\n" % retry + _frame(Event(0, "", "error", as_error(error)), named))
    code: Any = "limit" if isinstance(error, LimitReached) else "shutdown"
    await _farewell(response, peer, Bye(code=code, reconnect=True, retry_ms=retry), 1.0, named=named)


async def _farewell(
    response: EventSourceResponse, peer: ConnectionPeer, bye: Bye, linger_seconds: float, *, named: bool
) -> None:
    """Say bye and end the body, if the socket still takes it within the time; else cut the connection."""
    try:
        async with asyncio.timeout(linger_seconds):
            await response.write(_frame(Event(0, "", "bye", encode("bye", bye)), named))
            await peer.drained()
            await response.write_eof()
    except TimeoutError:
        peer.cut()
    except ConnectionError:
        pass  # the peer was faster
