"""Publishing over HTTP, one event, many, or a stream of them (contract section 5)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import ConfigDict, Field, ValidationError

from ..errors import InvalidInput, NotifierError, TooLarge, Unauthenticated, UnsupportedMediaType
from ..events import EventData, checked_event, encode, parse_json
from ..session import check_session_id
from .boundary import Call, Query, checked, invalid, read_json, reply
from .idempotency import IDEMPOTENCY, idempotency_key

__all__ = ["end_session", "publish"]


class PublishedEvent(EventData):
    """One event of a producer; ``session_id`` where the path names none."""

    model_config = ConfigDict(strict=False)

    type: str = Field(max_length=64)
    data: dict[str, Any] | None = None
    session_id: str | None = None


class _Ready(NamedTuple):
    session_id: str
    type: str
    data: EventData | Mapping[str, Any] | None


async def publish(call: Call[Query, None]) -> web.Response:
    """Append events to their sessions: a JSON object, an array (whole or not at all), or an NDJSON stream."""
    content_type = call.request.content_type
    if content_type == "application/x-ndjson":
        return await _publish_stream(call)
    if content_type != "application/json":
        raise UnsupportedMediaType("Events come as application/json or application/x-ndjson.")
    body = await read_json(call.request, call.settings.max_body_bytes)
    key = idempotency_key(call.request)
    if key is None:
        return reply({"ids": await _publish_all(call, body)}, status=201)
    keys = call.request.config_dict[IDEMPOTENCY]
    scope = ("publish", call.caller.name, call.session_id, key)
    answer, first = keys.claim(scope, hashlib.sha256(encode("body", {"body": body})).digest())
    if first:
        try:
            answer.set_result(await _publish_all(call, body))
        except NotifierError as error:
            keys.forget(scope)
            answer.set_exception(error)
            answer.exception()  # looked at: whoever waits beside us gets it, and nobody need
            raise
    return reply({"ids": await answer}, status=201)


async def end_session(call: Call[Query, None]) -> web.Response:
    """End a session: its readers get ``bye``, what is pending is cancelled."""
    call.broker.end_session(call.session_id)
    return reply({"session_id": call.session_id, "status": "closed"})


async def _publish_all(call: Call[Query, None], body: Any) -> list[str]:
    if body == []:
        raise InvalidInput("an array of events must not be empty")
    if isinstance(body, list):
        ready = [_ready(call, event, str(number)) for number, event in enumerate(body)]
    else:
        ready = [_ready(call, body, "")]
    # Whatever could refuse an event later refuses all of them now.
    limit = call.broker.limits.max_event_bytes
    for event in ready:
        if len(encode(event.type, event.data)) + 64 > limit:
            raise TooLarge(f"An event is over the limit of {limit} bytes.", limit="max_event_bytes")
    return await _append(call, ready)


async def _append(call: Call[Query, None], ready: Sequence[_Ready]) -> list[str]:
    """Append all of them to the sessions that are open now, yielding to readers in between."""
    sessions = {event.session_id: call.broker.open(event.session_id) for event in ready}
    ids = []
    for session_id, event_type, data in ready:
        ids.append(call.broker.publish_to(sessions[session_id], event_type, data).id)
        # Whole or not at all: a sender that drops meanwhile changes nothing.
        with suppress(asyncio.CancelledError):
            await call.broker.breathe()
    return ids


async def _publish_stream(call: Call[Query, None]) -> web.Response:
    if idempotency_key(call.request) is not None:
        raise InvalidInput("an NDJSON stream takes no Idempotency-Key: what stood before a failure stays")
    count, at_line = 0, 1
    last_event_ids: dict[str, str] = {}
    try:
        async for at_line, line in _lines(call.request, call.broker.limits.max_event_bytes):  # noqa: B007  # told when a line fails
            if call.caller.seconds_left == 0:
                raise Unauthenticated("The token has expired.")
            ready = _ready(call, parse_json(line), "")
            event = await call.broker.publish(*ready)
            last_event_ids[ready.session_id] = event.id
            count += 1
    except NotifierError as error:
        error.details = {**error.details, "line": error.details.get("line", at_line), "count": count}
        raise
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise InvalidInput("the body cannot be read", line=at_line, count=count) from error
    return reply({"count": count, "last_event_ids": last_event_ids}, status=201)


async def _lines(request: web.Request, limit: int) -> AsyncIterator[tuple[int, bytes]]:
    """The lines of a body with their numbers from 1, as they arrive; blank ones are passed over."""
    rest, number = b"", 0
    async for piece in request.content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            number += 1
            if line.strip():
                yield number, line
        if len(rest) > limit:
            raise TooLarge(f"A line is over the limit of {limit} bytes.", limit="max_event_bytes", line=number + 1)
    if rest.strip():
        yield number + 1, rest


def _ready(call: Call[Query, None], value: Any, where: str) -> _Ready:
    """Check one event: its form, its session, the right to publish there, and its data."""
    event = checked(PublishedEvent, value, where=where)
    session_id = call.session_id
    if session_id:
        if event.session_id not in (None, session_id):
            raise InvalidInput(_at(where, "session_id: another session than the path names"))
    elif event.session_id is None:
        raise InvalidInput(_at(where, "session_id: Field required"))
    else:
        session_id = check_session_id(event.session_id)
        call.caller.require(frozenset({"produce"}), session_id)
    try:
        return _Ready(session_id, event.type, checked_event(event.type, event.data))
    except ValidationError as error:
        raise invalid(error, f"{where}.data".lstrip(".")) from None
    except InvalidInput as error:
        raise InvalidInput(_at(where, f"type: {error.message}")) from None


def _at(where: str, why: str) -> str:
    return f"{where}.{why}" if where else why
