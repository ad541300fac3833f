"""Publishing over HTTP, one event, many, or a stream of them (contract section 5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, NotRequired, TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from ..core.broker import Broker
from ..core.errors import BrokerClosed, Forbidden, InvalidInput, LimitReached, NotDurable, NotifierError, TooLarge
from ..core.events import EventData, checked_event, dump, parse_each, parse_json, require_finite
from ..core.parameters import has_more_values
from ..core.session import Session, check_session_id
from .alike import alike_in_array, alike_lines
from .answers import body_of, json_answer, reply, told
from .auth import Right
from .idempotency import IDEMPOTENCY, idempotency_key
from .kept_answers import fingerprint_of, kept_answer
from .plain_events import Pieces, plain_pieces
from .rates import RATES
from .request import Call, Query, check_body, invalid, read_body, still_allowed, why_unread
from .trace import TRACE_BYTES, traceparent_of

__all__ = ["append_plain", "breathe", "end_session", "publish", "room_for_data"]

Checked = TypeVar("Checked")


class PublishedEvent(TypedDict):
    """One event of a producer; ``session_id`` where the path names none."""

    __pydantic_config__ = ConfigDict(defer_build=True, extra="forbid")  # type: ignore[misc]

    type: Annotated[str, Field(max_length=64)]
    data: NotRequired[dict[str, Any] | None]
    session_id: NotRequired[str | None]


#: A stream of events is read more slowly where its next one is due so soon; it ends where that is later.
_PACED_SECONDS = 0.25

#: So many lines of a stream, or bytes of those that are alike, are taken in together: half a millisecond.
_LINES_AT_ONCE, _BYTES_AT_ONCE = 100, 16_384

#: What an event has around its type and its data, at most: the names, and an id.
_ENVELOPE_BYTES = 96

_PRODUCE = frozenset[Right]({"produce"})

_ONE = TypeAdapter(PublishedEvent)
_MANY = TypeAdapter(list[PublishedEvent], config=ConfigDict(defer_build=True))


#: A checked event, encoded but for its id: session id, type, data, and the data's JSON.
_Ready = tuple[str, str, EventData | Mapping[str, Any] | None, bytes | None]


async def publish(
    call: Call[Query, None], made_of: Callable[[bytes, int], web.StreamResponse] = json_answer
) -> web.StreamResponse:
    """Append events to their sessions: a JSON object, an array (whole or not at all), or an NDJSON stream."""
    check_body(call.request, "application/json", "application/x-ndjson")
    if call.request.content_type == "application/x-ndjson":
        with call.holding():
            return await _publish_stream(call)
    # Nothing is decided by an event, and what readers get is what was read here.
    text = await read_body(call.request, call.settings.max_body_bytes)
    pieces = None
    if call.session_id and not call.request.headers.get("Idempotency-Key"):
        pieces = alike_in_array(
            text, max_bytes=room_for_data(call.broker.limits.max_event_bytes, traceparent_of(call.request))
        )
    body = parse_json(text, takes_infinity=True) if pieces is None else None
    key = idempotency_key(call.request)
    if key is None:
        return told(await _publish_all(call, body, text, pieces), status=201)
    require_finite(text, body)
    keys = call.shared(IDEMPOTENCY)
    scope = ("publish", call.caller.name, call.session_id, key)
    answer, first = keys.claim(scope, fingerprint_of(body))
    if first:
        try:
            made = await _publish_once(call, body, text, scope)
            keys.answered(scope, made, len(made))
            return made_of(made, 201)
        except NotifierError as error:
            keys.forget(scope)
            answer.set_exception(error)
            answer.exception()  # looked at: whoever waits beside us gets it, and nobody need
            raise
    return made_of(await answer, 201)


async def end_session(call: Call[Query, None]) -> web.Response:
    """End a session: its readers get ``bye``, what is pending is cancelled.

    What others have asked there, and how it was answered, goes with it: that takes the right to approve.
    """
    if not call.caller.may("approve") and not _is_alone(call):
        raise Forbidden("Others have asked in this session: to end it takes the right approve besides produce.")
    broker = call.broker
    broker.end_session(call.session_id)
    if broker.is_durable:
        await broker.on_disk()  # or it would be there again after a restart
    return reply({"session_id": call.session_id, "status": "closed"})


def _is_alone(call: Call[Query, None]) -> bool:
    """Whether nobody but this caller has asked in the session; of one that cannot be read, whether he opened it."""
    try:
        return call.broker.get(call.session_id).desk.is_of(call.caller.name)
    except NotDurable:
        head = call.broker.find_dormant(call.session_id)
        return head is not None and head.opened_by == call.caller.name


async def _publish_all(call: Call[Query, None], body: Any, text: bytes, pieces: Pieces | None) -> bytes:
    if not call.broker.is_durable:
        return await _append_all(call, body, text, pieces)
    call.broker.require_durable()
    data_json = await _append_all(call, body, text, pieces)
    await call.broker.all_kept()
    return data_json


async def _publish_once(call: Call[Query, None], body: Any, text: bytes, scope: Sequence[str]) -> bytes:
    """Publish under a key, and return the answer; where events are kept, it is kept with them."""
    broker = call.broker
    if not broker.is_durable:
        return body_of(await _append_all(call, body, text))
    broker.require_durable()
    with broker.journal.together():
        made = body_of(await _append_all(call, body, text))
        broker.journal.note(kept_answer(scope, fingerprint_of(body), made))
    await broker.all_kept()
    return made


async def _append_all(call: Call[Query, None], body: Any, text: bytes, pieces: Pieces | None = None) -> bytes:
    """Append all events of this body, which are these pieces where that is known, and return the data of the answer."""
    broker, trace = call.broker, traceparent_of(call.request)
    limit = broker.limits.max_event_bytes
    if pieces is None and call.session_id:
        values = body if isinstance(body, list) else [body] if len(text) <= limit else []
        pieces = plain_pieces(values, max_bytes=room_for_data(limit, trace))
    if pieces is not None:
        if len(pieces[0]) > 1:
            call.spend("publish_rate", len(pieces[0]) - 1)  # that one is sent is counted already
        return await append_plain(broker, call.session_id, call.caller.name, pieces, trace)
    require_finite(text, body)
    if not isinstance(body, list):
        # A value takes two bytes at least: what cannot fit is not encoded to find that out.
        if (call.request.content_length or limit + 1) > limit and has_more_values(body, limit // 2):
            raise TooLarge(f"An event is over the limit of {limit} bytes.", limit="max_event_bytes")
        session_id, event_type, data, data_json = _ready(call, _checked(_ONE, body), trace=trace)
        session = broker.open(session_id, opened_by=call.caller.name)
        broker.require_room(session)
        ids = [broker.publish_to(session, event_type, data, data_json=data_json, traceparent=trace).id]
        if broker.must_breathe(session):
            await breathe(broker, session)
        return dump({"ids": ids})
    if not body:
        raise InvalidInput("an array of events must not be empty")
    # Whatever could refuse an event later refuses all of them now.
    if len(body) > 1:
        call.spend("publish_rate", len(body) - 1)  # that one is sent is counted already
    events: list[PublishedEvent] = _checked(_MANY, body)
    ready = [_ready(call, event, number, trace=trace) for number, event in enumerate(events)]
    named = dict.fromkeys([event[0] for event in ready])
    sessions = {name: broker.open(name, opened_by=call.caller.name, beside=named) for name in named}
    broker.require_room(next(iter(sessions.values())))
    ids = []
    for session_id, event_type, data, data_json in ready:
        session = sessions[session_id]
        ids.append(broker.publish_to(session, event_type, data, data_json=data_json, traceparent=trace).id)
        if broker.must_breathe(session):
            await breathe(broker, session)
    return dump({"ids": ids})


async def append_plain(broker: Broker, session_id: str, opened_by: str, pieces: Pieces, trace: str | None) -> bytes:
    """Append plain events to a session, all of them, and return the data of the answer."""
    session = broker.open(session_id, opened_by=opened_by)
    broker.require_room(session)
    types, data_jsons = pieces
    ids, between, done = list[str](), '","', 0
    while done < len(types):
        events = broker.extend(session, types[done:], data_jsons[done:], traceparent=trace)
        done += len(events)
        ids.append(events.ids(between))
        if broker.must_breathe(session):
            await breathe(broker, session)
    return b'{"ids":["%b"]}' % between.join(ids).encode()


async def breathe(broker: Broker, session: Session) -> None:
    """Let readers have their turn. Whole or not at all: a sender that drops meanwhile changes nothing."""
    with suppress(asyncio.CancelledError):
        await broker.breathe(session)


async def _publish_stream(call: Call[Query, None]) -> web.Response:
    if idempotency_key(call.request) is not None:
        raise InvalidInput("an NDJSON stream takes no Idempotency-Key: what stood before a failure stays")
    broker, trace = call.broker, traceparent_of(call.request)
    count, acknowledged, at_line = 0, 0, 1
    last_event_ids: dict[str, str] = {}
    is_paced = call.request.config_dict[RATES].bounds("publish_rate")
    room = room_for_data(broker.limits.max_event_bytes, trace)
    try:
        takes_many = not is_paced and bool(call.session_id)
        async for numbers, lines, pieces in _lines(call, broker.limits.max_event_bytes, room if takes_many else None):
            at_line = numbers[0] if numbers else at_line
            still_allowed(call.request)
            if broker.is_durable:
                broker.require_durable()
            values = parse_each(lines) if pieces is None else None
            if values and takes_many:
                pieces = plain_pieces(values, max_bytes=room)
            done = 0
            while done < len(numbers):
                at_line = numbers[done]
                if is_paced:
                    await _paced(call)
                if pieces is None:
                    line = lines[done]
                    value = parse_json(line, takes_halves=True, takes_infinity=True) if values is None else values[done]
                    require_finite(line, value)
                    session_id, event_type, data, data_json = _ready(call, _checked(_ONE, value), trace=trace)
                    session = broker.open(session_id, opened_by=call.caller.name)
                    broker.require_room(session)
                    event = broker.publish_to(session, event_type, data, data_json=data_json, traceparent=trace)
                    last_event_id = event.id
                    done += 1
                    count += 1
                else:
                    session = broker.open(call.session_id, opened_by=call.caller.name)
                    broker.require_room(session)
                    types, data_jsons = pieces
                    events = broker.extend(session, types[done:], data_jsons[done:], traceparent=trace)
                    last_event_id = session.log.last_event_id
                    done += len(events)
                    count += len(events)
                    at_line = numbers[done - 1]
                last_event_ids[session.session_id] = last_event_id
                if broker.must_breathe(session):
                    await broker.breathe(session)
                    still_allowed(call.request)
            if broker.is_durable:
                await broker.all_kept()
            acknowledged = count
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if not broker.closed or (task is not None and task.cancelling()):
            raise
        # aiohttp has ended the body, and leaves a moment to say what was taken.
        raise BrokerClosed("The service is shutting down.", line=at_line, count=count) from None
    except NotifierError as error:
        with suppress(NotDurable):
            if broker.is_durable and not isinstance(error, NotDurable):
                await broker.all_kept()
                acknowledged = count
        count = acknowledged if broker.is_durable else count
        error.details = {**error.details, "line": error.details.get("line", at_line), "count": count}
        raise
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise InvalidInput(why_unread(call.request), line=at_line, count=count) from error
    return reply({"count": count, "last_event_ids": last_event_ids}, status=201)


async def _paced(call: Call[Query, None]) -> None:
    """Read on when the producer may send another event, where that is soon. Raises ``LimitReached`` where it is not."""
    rates = call.request.config_dict[RATES]
    while seconds := rates.seconds_until("publish_rate", call.caller.name, call.address):
        if seconds > _PACED_SECONDS:
            raise rates.refusal("publish_rate", seconds)
        await asyncio.sleep(seconds)
        still_allowed(call.request)


async def _lines(
    call: Call[Query, None], limit: int, room: int | None
) -> AsyncIterator[tuple[Sequence[int], Sequence[bytes], Pieces | None]]:
    """The numbers from 1 of a body's lines, and the lines, as they arrive; blank ones are passed over.

    They are so few that others need not wait long for who takes them all in. Instead of lines with events that are
    alike, each of ``room`` bytes at most, there are these events.
    """
    rest, at = b"", 1
    content, idle_seconds = call.request.content, call.settings.producer_idle_seconds
    while True:
        try:
            async with asyncio.timeout(idle_seconds):
                piece = await content.readany()
        except TimeoutError:
            call.broker.counters.limits_reached["producer_idle_seconds"] += 1
            raise LimitReached("producer_idle_seconds", f"Nothing came for {idle_seconds:g} s.") from None
        if not piece:
            break
        text, _, rest = (b"\n" + rest + piece).rpartition(b"\n")
        if not text:
            yield [], [], None
        for block in _blocks(text) if text else ():
            pieces = None if room is None else alike_lines(block, max_bytes=room)
            if pieces is not None:
                yield range(at, at + len(pieces[0])), [], pieces
                at += len(pieces[0])
                continue
            lines = block[1:].split(b"\n")
            for begin in range(0, len(lines), _LINES_AT_ONCE):
                yield *_not_blank(lines[begin : begin + _LINES_AT_ONCE], at + begin), None
            at += len(lines)
        if len(rest) > limit:
            raise TooLarge(f"A line is over the limit of {limit} bytes.", limit="max_event_bytes", line=at)
    if rest.strip():
        yield [at], [rest], None


def _blocks(text: bytes) -> Iterator[bytes]:
    """This text in parts that are not very large; it, and each of them, begins with a line feed."""
    at = 0
    while len(text) - at > _BYTES_AT_ONCE:
        end = text.rfind(b"\n", at + 1, at + _BYTES_AT_ONCE)
        if end < 0 and (end := text.find(b"\n", at + _BYTES_AT_ONCE)) < 0:
            break
        yield text[at:end]
        at = end
    yield text[at:]


def _not_blank(lines: Sequence[bytes], first: int) -> tuple[Sequence[int], Sequence[bytes]]:
    """Those of these lines that are not blank, behind their numbers."""
    numbers: Sequence[int] = range(first, first + len(lines))
    if not all(map(bytes.strip, lines)):
        numbers = [number for number, line in zip(numbers, lines, strict=True) if line.strip()]
        lines = [line for line in lines if line.strip()]
    return numbers, lines


def _checked(form: TypeAdapter[Checked], value: Any) -> Checked:
    try:
        checked: Checked = form.validator.validate_python(value)
        return checked
    except ValidationError as error:
        raise invalid(error, "") from None


def _ready(call: Call[Query, None], event: PublishedEvent, place: int | None = None, *, trace: str | None) -> _Ready:
    """Check an event's session, the right to publish there, its type and its data, and encode the data."""
    session_id, named, event_type, data = call.session_id, event.get("session_id"), event["type"], event.get("data")
    if session_id:
        if named is not None and named != session_id:
            raise InvalidInput(_at(place, "session_id: another session than the path names"))
    elif named is None:
        raise InvalidInput(_at(place, "session_id: Field required"))
    else:
        session_id = check_session_id(named)
        call.caller.require(_PRODUCE, session_id)
    try:
        checked_data = checked_event(event_type, data)
    except ValidationError as error:
        raise invalid(error, _at(place, "data")) from None
    except InvalidInput as error:
        raise InvalidInput(_at(place, f"type: {error.message}")) from None
    data_json = None if checked_data is None else dump(checked_data)
    limit = call.broker.limits.max_event_bytes
    if data_json is not None and len(data_json) + len(event_type) > room_for_data(limit, trace):
        raise TooLarge(f"An event is over the limit of {limit} bytes.", limit="max_event_bytes")
    return session_id, event_type, checked_data, data_json


def room_for_data(max_event_bytes: int, trace: str | None) -> int:
    """Bytes that the type and the data of an event may have."""
    return max_event_bytes - _ENVELOPE_BYTES - (0 if trace is None else TRACE_BYTES)


def _at(place: int | None, what: str) -> str:
    return what if place is None else f"{place}.{what}"
