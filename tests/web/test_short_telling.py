"""What a producer tells of a call goes past routes and middlewares too, and nobody can tell but by the time."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from .conftest import serving
from .test_short_asking import lasting
from .test_short_way import LONG, TRACE, asked, post
from .test_short_way import taken as taken  # the fixture

STATUS = {"status": "executing", "tool_name": "t"}

BODIES: dict[str, Any] = {
    "a status": {"type": "tool_status", "data": STATUS},
    "details": {"type": "tool_status", "data": {**STATUS, "tool_call_id": "c", "details": {"a\u2028": [1.0, None]}}},
    "a time": {"type": "tool_status", "data": {**STATUS, "timestamp": "2026-01-02T03:04:05.678+02:00"}},
    "progress": {"type": "tool_progress", "data": {"tool_name": "t", "tool_call_id": "c", "progress": 1}},
    "a result": {"type": "tool_result", "data": {"tool_name": "t", "success": True, "result": {"a": "\u00e9"}}},
    "another status": {"type": "tool_status", "data": {**STATUS, "status": "begun"}},
    "no name": {"type": "tool_status", "data": {"status": "executing"}},
    "unknown fields": {"type": "tool_status", "data": {**STATUS, "password": "hunter2"}},
    "no details": {"type": "tool_status", "data": {**STATUS, "details": [1]}},
    "no data": {"type": "tool_status"},
    "null": {"type": "tool_status", "data": None},
    "a session": {"type": "tool_status", "data": STATUS, "session_id": "s1"},
    "too large": {"type": "tool_status", "data": {**STATUS, "details": {"a": "x" * 16_384}}},
    "nearly too large": {"type": "tool_status", "data": {**STATUS, "details": {"a": "x" * 16_190}}},
    "infinity": b'{"type":"tool_progress","data":{"tool_name":"t","tool_call_id":"c","progress":1e999}}',
    "infinity within": b'{"type":"tool_status","data":{"status":"failed","tool_name":"t","details":{"a":[1e999]}}}',
    "a key twice": b'{"type":"tool_status","data":{"status":"failed","status":"executing","tool_name":"t"}}',
    "of the service": {"type": "permission_request", "data": {}},
}


async def told_so(more: str, body: bytes) -> tuple[Any, ...]:
    async with serving(max_event_bytes=16_384) as service:
        line, headers, text = await asked(service, post(body, more))
        headers.pop("Content-Length")
        session = service.site.broker.open("s1")
        events = [lasting(event.json) for event in session.log.read_after(session.log.first_seq - 1)]
        snapshot = json.loads(lasting(session.snapshot().encoded))
        return line, headers, re.sub(rb'"ids":.*', b"", text), events, snapshot["tool_status"], snapshot["tool_result"]


@pytest.mark.parametrize("name", BODIES)
async def test_all_that_is_told_of_calls_is_answered_alike_on_both_ways(name: str) -> None:
    said = BODIES[name]
    body = said if isinstance(said, bytes) else json.dumps(said).encode()

    assert await told_so(TRACE, body) == await told_so(TRACE + LONG, body)


async def test_status_goes_the_short_way(taken: list[object]) -> None:
    async with serving() as service:
        line, _, _ = await asked(service, post(json.dumps(BODIES["details"]).encode()))

        assert (line, len(taken)) == ("HTTP/1.1 201 Created", 1)
        assert [call.tool_call_id for call in service.site.broker.get("s1").snapshot().running] == ["c"]
