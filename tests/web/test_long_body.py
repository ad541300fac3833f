"""Calls with large parameters over HTTP: asked, decided and reported, or denied in words."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import aiohttp
import pytest

from notifier_service import Broker, Settings
from notifier_service.core.permission_request import PermissionRequest

from .conftest import API, Client, MakeClient, answer, error_of, until

HOOK = "/hooks/claude-code"
MEGABYTE = 1024 * 1024


def written(size: int, **more: Any) -> dict[str, Any]:
    line = '  "a": [1, 2], \\ \u20ac \U0001f600\n'
    return {"file_path": "/srv/a.json", "content": line * (size // len(line)), **more}


def hook(event: str, tool_input: Any, **more: Any) -> dict[str, Any]:
    return {
        "session_id": "s1", "hook_event_name": event, "tool_name": "Write", "tool_input": tool_input,
        "tool_use_id": "t1", **more,
    }  # fmt: skip


def prompt(tool_input: Any) -> dict[str, Any]:
    arguments = {"tool_name": "Write", "input": tool_input, "tool_use_id": "t1"}
    return {
        "jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": {"name": "approval_prompt", "arguments": arguments},
    }  # fmt: skip


async def sent(client: Client, path: str, body: Any) -> aiohttp.ClientResponse:
    data = io.BytesIO(json.dumps(body, ensure_ascii=False).encode())
    return await client.post(path, data=data, headers={"Content-Type": "application/json"})


def told(broker: Broker) -> list[dict[str, Any]]:
    log = broker.open("s1").log
    return [json.loads(event.json)["data"] for event in log.read_after(log.evicted)]


async def card(broker: Broker) -> PermissionRequest:
    await until(lambda: broker.open("s1").desk.pending)
    [request] = broker.open("s1").desk.pending
    return request


async def approve(client: Client, request: PermissionRequest, **more: Any) -> None:
    await client.get(f"{API}/permissions/s1/{request.request_id}")
    path = f"{API}/sse/permission-response/s1"
    status, body = await answer(await sent(client, path, {"approved": True, **more}))
    assert status == 200, body


SMALL = Settings(max_parameters_bytes=8 * 1024, max_body_bytes=4 * 1024)


@pytest.fixture
def broker() -> Broker:
    return Broker(SMALL)


@pytest.fixture
async def small(make_client: MakeClient, broker: Broker) -> Client:
    """A service that takes bodies of 20 kB whole."""
    return await make_client(broker, max_parameters_bytes=8 * 1024, max_body_bytes=4 * 1024)


@pytest.mark.parametrize("size", [300_000, 1_200_000, 8 * MEGABYTE])
async def test_claude_codes_write_of_any_ordinary_size_is_asked_and_runs_as_it_was_read(
    make_client: MakeClient, size: int
) -> None:
    broker = Broker()
    client = await make_client(broker)
    given = written(size)
    asking = asyncio.create_task(sent(client, HOOK, hook("PreToolUse", given)))
    await approve(client, await card(broker))

    status, body = await answer(await asking)
    assert (status, body["hookSpecificOutput"]["permissionDecision"]) == (200, "allow")
    is_same = body["hookSpecificOutput"]["updatedInput"] == given
    assert is_same  # without the megabytes in the report


async def test_the_prompt_tool_and_the_plain_question_take_as_much(make_client: MakeClient) -> None:
    broker = Broker()
    client = await make_client(broker)
    given = written(2 * MEGABYTE)
    asking = asyncio.create_task(sent(client, "/mcp/s1", prompt(given)))
    await approve(client, await card(broker), parameters=written(3 * MEGABYTE))
    _, body = await answer(await asking)
    asked = await sent(client, f"{API}/permissions/s1", {"tool_name": "Write", "parameters": given})

    verdict = json.loads(body["result"]["content"][0]["text"])
    is_edited = verdict["updatedInput"] == written(3 * MEGABYTE)
    assert (verdict["behavior"], is_edited) == ("allow", True)
    assert asked.status == 201


@pytest.mark.parametrize("event", ["PreToolUse", "PermissionRequest"])
@pytest.mark.parametrize("size", [10_000, 100_000, 5 * MEGABYTE])
async def test_a_hook_about_more_than_can_be_asked_denies_in_words_and_tells_people(
    small: Client, broker: Broker, event: str, size: int
) -> None:
    status, body = await answer(await sent(small, HOOK, hook(event, written(size))))

    output = body["hookSpecificOutput"]
    text = output.get("permissionDecisionReason") or output["decision"]["message"]
    assert status == 200
    assert "deny" in (output.get("permissionDecision"), output.get("decision", {}).get("behavior"))
    assert text.startswith("Write did not run: ")
    assert "8192" in text
    assert not broker.open("s1").desk.pending
    [denied] = [data for data in told(broker) if data.get("status") == "denied"]
    assert (denied["tool_name"], "8192" in denied["details"]["reason"]) == ("Write", True)
    assert "parameters" not in denied["details"]


@pytest.mark.parametrize("size", [10_000, 100_000, 5 * MEGABYTE])
async def test_the_prompt_tool_denies_in_words_and_tells_people(small: Client, broker: Broker, size: int) -> None:
    status, body = await answer(await sent(small, "/mcp/s1", prompt(written(size))))

    verdict = json.loads(body["result"]["content"][0]["text"])
    assert (status, body["id"], verdict["behavior"]) == (200, 7, "deny")
    assert "8192" in verdict["message"]
    assert [data["status"] for data in told(broker)] == ["denied"]


@pytest.mark.parametrize("size", [10_000, 100_000])
async def test_a_question_that_is_too_large_is_an_error_with_sizes_and_people_are_told(
    small: Client, broker: Broker, size: int
) -> None:
    response = await sent(small, f"{API}/permissions/s1", {"tool_name": "Write", "parameters": written(size)})

    assert await error_of(response) == (413, "too_large")
    assert (await response.json())["error"]["limit"] == "max_parameters_bytes"
    [denied] = told(broker)
    assert (denied["status"], denied["tool_name"]) == ("denied", "Write")


async def test_a_decision_that_is_too_large_changes_nothing(small: Client, broker: Broker) -> None:
    request = broker.ask("s1", tool_name="Write", parameters={})

    path = f"{API}/sse/permission-response/s1"
    refused = [await sent(small, path, {"approved": True, "parameters": written(size)}) for size in (10_000, 100_000)]

    assert [await error_of(response) for response in refused] == [(413, "too_large")] * 2
    assert request.pending


async def test_many_small_values_are_refused_before_they_cost_time_and_the_hook_denies(
    small: Client, broker: Broker
) -> None:
    numbers = {"rows": list(range(5000))}
    hooked, body = await answer(await sent(small, HOOK, hook("PreToolUse", numbers)))
    asked = await sent(small, f"{API}/permissions/s1", {"tool_name": "Write", "parameters": numbers})

    assert (hooked, body["hookSpecificOutput"]["permissionDecision"]) == (200, "deny")
    assert "4096 bytes" in body["hookSpecificOutput"]["permissionDecisionReason"]
    assert await error_of(asked) == (413, "too_large")


@pytest.mark.parametrize("size", [1000, 100_000, 5 * MEGABYTE])
async def test_a_call_whose_report_is_too_large_has_ended_and_its_result_is_cut(
    small: Client, broker: Broker, size: int
) -> None:
    asking = asyncio.create_task(sent(small, HOOK, hook("PreToolUse", written(1000))))
    await approve(small, await card(broker))
    await asking

    report = hook("PostToolUse", written(1000), tool_response={"content": written(size)["content"]})
    ended = await answer(await sent(small, HOOK, report))
    await sent(small, HOOK, {"session_id": "s1", "hook_event_name": "Stop"})

    statuses = [data["status"] for data in told(broker) if data.get("details") is not None]
    [result] = [data for data in told(broker) if "success" in data]
    assert ended == (200, {})
    assert statuses == ["waiting_permission", "executing", "completed"]
    assert (result["success"], result.get("truncated")) == (True, None if size == 1000 else True)


@pytest.mark.parametrize("end", [*range(1000, 1060), "at a quote", "at a backslash"])
async def test_wherever_a_text_is_cut_the_rest_is_json(small: Client, end: int | str) -> None:
    known = {"at a quote": chr(34) * 50_000, "at a backslash": chr(92) * 50_000}
    content = "x" * end if isinstance(end, int) else known[end]
    tail = "\U0001f600\\u0041\u20ac\n" * 4000 if isinstance(end, int) else ""
    for is_ascii in (True, False):
        body = json.dumps({"tool_name": "Write", "parameters": {"content": content + tail}}, ensure_ascii=is_ascii)
        response = await small.post(
            f"{API}/permissions/s1", data=body.encode(), headers={"Content-Type": "application/json"}
        )
        assert await error_of(response) == (413, "too_large")
