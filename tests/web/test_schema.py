"""The JSON Schema says what really travels."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from jsonschema import Draft202012Validator

from notifier_service import Broker
from notifier_service.cli import main
from notifier_service.core.events import PRODUCED, RESERVED, ToolProgress, ToolResult, ToolStatus
from notifier_service.web.schema import EVENT_DATA, wire_schema

SCHEMA = wire_schema()
BASE = "/agent_backend/api"


def check(value: Any, name: str | None = None) -> None:
    """Validate against a definition, or against an event."""
    schema = SCHEMA if name is None else {"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
    Draft202012Validator(schema).validate(value)


@pytest.fixture
async def session(broker: Broker) -> str:
    """A session in which everything has happened that leaves a trace."""
    status = ToolStatus(status="executing", tool_name="write", tool_call_id="c1")
    await broker.publish("s1", "tool_status", status)
    progress = ToolProgress(tool_name="write", tool_call_id="c1", progress=1, total=2)
    await broker.publish("s1", "tool_progress", progress)
    await broker.publish("s1", "tool_result", ToolResult(tool_name="read", result=[1], success=True))
    broker.ask("s1", tool_name="write", parameters={"path": "a"}, risk_level="high", description="I must")
    return "s1"


def test_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_every_event_of_the_service_is_in_the_schema() -> None:
    assert {*EVENT_DATA, "heartbeat", "error"} == {*PRODUCED, *RESERVED}


async def test_what_a_stream_says_is_what_the_schema_says(client: TestClient[Any, Any], session: str) -> None:
    async with client.get(f"{BASE}/sse/events/{session}?last_event_id=earliest") as stream:
        told = []
        while len(told) < 5:
            line = await asyncio.wait_for(stream.content.readline(), 5)
            if line.startswith(b"data: "):
                told.append(json.loads(line[6:]))

    assert [event["type"] for event in told] == [
        "hello", "tool_status", "tool_progress", "tool_result", "permission_request",
    ]  # fmt: skip
    for event in told:
        check(event)


async def test_a_snapshot_and_a_heartbeat_are_what_the_schema_says(client: TestClient[Any, Any], session: str) -> None:
    async with client.ws_connect(f"/agent_backend/ws/{session}") as socket:
        hello, snapshot, replayed = [await socket.receive_json() for _ in range(3)]
        await socket.send_json({"type": "permission_response", "approved": "yes"})
        error = await socket.receive_json()

    for event in (hello, snapshot, replayed, error):
        check(event)
    check({"type": "heartbeat", "timestamp": 1642234200.123})


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("polling/session-info/s1", "PresentState"),
        ("long-poll/s1?after=earliest&timeout=0", "StateAndEvents"),
        ("long-poll/s1?after=nonsense&timeout=0", "StateAndEvents"),
        ("sse/health/s1", "SessionHealth"),
    ],
)
async def test_an_answer_is_what_the_schema_says(
    client: TestClient[Any, Any], session: str, path: str, name: str
) -> None:
    answer = await (await client.get(f"{BASE}/{path}")).json()

    check(answer["data"], name)
    # One who may only look on is told that besides.
    assert set(answer["data"]) == set(SCHEMA["$defs"][name]["properties"]) - {"may_approve"}


async def test_the_list_of_sessions_is_what_the_schema_says(client: TestClient[Any, Any], session: str) -> None:
    answer = await (await client.get(f"{BASE}/sessions")).json()

    assert len(answer["data"]) == 1
    check(answer["data"][0], "SessionRow")


@pytest.mark.parametrize("event", [{"type": "tool_status"}, {"type": "own", "data": {}}, {"type": "hello", "data": {}}])
def test_schema_refuses_what_is_no_event_of_the_service(event: Any) -> None:
    assert not Draft202012Validator(SCHEMA).is_valid(event)


def test_a_field_that_may_be_left_out_is_never_null() -> None:
    status = SCHEMA["$defs"]["ToolStatus"]

    assert "tool_call_id" not in status["required"]
    assert status["properties"]["tool_call_id"]["type"] == "string"


def test_command_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0

    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(SCHEMA))
