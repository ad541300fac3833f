"""Plain events go a shorter way, on which nothing but the time is another."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from hypothesis import given
from hypothesis import strategies as st

from notifier_service.core.errors import InvalidInput
from notifier_service.core.events import checked_event, dump, parse_json
from notifier_service.web import produce
from notifier_service.web.plain_events import plain_pieces

from .conftest import API, MakeClient

NOTE = b'{"type":"note","data":{"n":1}}'

#: Some take the shorter way and some do not; which, an answer must not tell.
BODIES: dict[str, bytes] = {
    "plain": NOTE,
    "spaces and lines": b'{ "data" :\n{ "n" : [ 1.0, 2e2 ,\r\n null ] } ,\t"type":"note" }',
    "escapes": rb'{"type":"note","data":{"a\/b":"\u00e9\ud83d\ude00\n\u2028","":"\u0000"}}',
    "characters that end lines": '{"type":"note","data":{"\u2028":"\u2029\u0085é"}}'.encode(),
    "the same key twice": b'{"type":"note","data":{"a":1,"a":2},"type":"other"}',
    "long numbers": b'{"type":"note","data":{"n":123456789012345678901234567890,"f":0.1e-7,"z":-0.0}}',
    "infinity": b'{"type":"note","data":{"n":1e999}}',
    "infinity in a text": b'{"type":"note","data":{"n":"1e999 Infinity"}}',
    "NaN": b'{"type":"note","data":{"n":NaN}}',
    "half a character": rb'{"type":"note","data":{"a":"\ud83d"}}',
    "no UTF-8": b'{"type":"note","data":{"a":"\xff"}}',
    "data that is none": b'{"type":"note","data":[1]}',
    "no data": b'{"type":"note"}',
    "a name too many": b'{"type":"note","data":{},"x":1}',
    "a session": b'{"type":"note","data":{},"session_id":"s1"}',
    "a type of the service": b'{"type":"hello","data":{}}',
    "a type that is none": b'{"type":"No","data":{}}',
    "a tool event": b'{"type":"tool_progress","data":{"tool_name":"t","tool_call_id":"c","progress":1}}',
    "too large": b'{"type":"note","data":{"a":"%b"}}' % (b"x" * 16_384),
    "nearly too large": b'{"type":"note","data":{"a":"%b"}}' % (b"x" * 16_200),
    "what parts events": b'{"type":"note","data":{"a":["x","~","y"],"b":",\\"~\\","}}',
    "no object": b"7",
    "cut": b'{"type":"note","data":{"n":1}',
}


@pytest.mark.parametrize("form", ["one", "array", "lines", "idempotent array"])
async def test_all_bodies_are_answered_and_told_alike_on_both_ways(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    taken = []

    def counted(values: Any, *, max_bytes: int) -> Any:
        pieces = plain_pieces(values, max_bytes=max_bytes)
        taken.append(pieces is not None)
        return pieces

    told: dict[str, list[Any]] = {}
    for way in (counted, lambda values, *, max_bytes: None):
        monkeypatch.setattr(produce, "plain_pieces", way)
        client = await make_client(max_event_bytes=16384)
        for name, body in BODIES.items():
            if form == "lines":
                sent = b"\n".join([NOTE, body.replace(b"\n", b" "), NOTE])
            else:
                sent = body if form == "one" else b"[%b,%b,%b]" % (NOTE, body, NOTE)
            content_type = "application/x-ndjson" if form == "lines" else "application/json"
            headers = {"Content-Type": content_type, "traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}
            if form == "idempotent array":
                headers["Idempotency-Key"] = name
            told.setdefault(name, []).append(await answered_and_read(client, sent, headers))

    assert {name: pair for name, pair in told.items() if pair[0] != pair[1]} == {}
    assert True in taken
    assert False in taken


async def answered_and_read(client: TestClient[Any, Any], sent: bytes, headers: Mapping[str, str]) -> tuple[Any, ...]:
    """The status and the answer of a publish, and what is read of it then; the session is ended."""
    response = await client.post(f"{API}/events/s1", data=sent, headers=headers)
    answer = json.loads(await response.text())
    polled = await client.get(f"{API}/long-poll/s1?after=earliest&timeout=0")
    events = json.loads(await polled.text())["data"]["events"] if polled.status == 200 else polled.status
    await client.delete(f"{API}/sessions/s1")
    return response.status, without_ids(answer), without_ids(events)


def without_ids(value: Any) -> Any:
    """The same, with ids that do not say in which log they are."""
    if isinstance(value, dict):
        return {name: without_ids(item) for name, item in value.items() if name != "timestamp"}
    if isinstance(value, list):
        return [without_ids(item) for item in value]
    return re.sub(r"^[0-9a-z]+-([0-9a-z]+)$", r"\1", value) if isinstance(value, str) else value


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just("~"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=10,
)
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["note", "a.b", "tool_progress", "hello", "No", ""]) | VALUES},
    optional={"data": st.dictionaries(st.text(max_size=6), VALUES, max_size=4) | VALUES, "session_id": VALUES},
)


@given(st.lists(EVENTS | VALUES, max_size=5).map(json.dumps))
def test_what_takes_the_shorter_way_is_what_the_longer_way_makes_of_it(text: str) -> None:
    try:
        values: Any = parse_json(text.encode(), takes_infinity=True)
    except InvalidInput:
        return
    pieces = plain_pieces(values, max_bytes=1000)

    if pieces is not None:
        assert values == parse_json(text.encode())
        assert list(zip(*pieces, strict=True)) == [
            (value["type"], dump(checked_event(value["type"], value["data"]))) for value in values
        ]
