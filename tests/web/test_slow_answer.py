"""Answers that wait for a person: a sign of life before a proxy cuts them, and hooks that come back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from notifier_service import Broker, Decision

from .conftest import API, Client, MakeClient, answer, error_of, until

HOOK: dict[str, Any] = {
    "session_id": "s1",
    "hook_event_name": "PreToolUse",
    "tool_name": "Bash",
    "tool_input": {"a": 1},
}
PROMPT = {
    "jsonrpc": "2.0", "id": 1, "method": "tools/call",
    "params": {"name": "approval_prompt", "arguments": {"tool_name": "Bash", "input": {"a": 1}}},
}  # fmt: skip


def decide(broker: Broker, *, approved: bool = True) -> None:
    broker.decide("s1", Decision(approved=approved), decided_by="anna")


@pytest.fixture
def _beats_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier_service.web.slow_answer.BEAT_SECONDS", 0.01)


@pytest.mark.usefixtures("_beats_often")
@pytest.mark.parametrize("asking", ["hook", "prompt tool", "request"])
async def test_answer_that_waits_sends_white_space_before_its_json(
    make_client: MakeClient, broker: Broker, asking: str
) -> None:
    client = await make_client(broker, heartbeat_seconds=0.02)
    if asking == "request":
        request = broker.ask("s1", tool_name="t", parameters={})
        opening = client.get(f"{API}/permissions/s1/{request.request_id}?wait=60")
    elif asking == "hook":
        opening = client.post("/hooks/claude-code", json=HOOK)
    else:
        opening = client.post("/mcp/s1", json=PROMPT, headers={"Accept": "application/json"})

    async with opening as response:  # its head is there before anybody has decided
        first = await response.content.readany()
        [waiting] = broker.open("s1").desk.pending
        decide(broker)
        text = (first + await response.content.read()).decode()

    assert (response.status, response.content_type, waiting.pending) == (200, "application/json", False)
    assert set(first) == {ord("\n")}
    told = json.loads(text)
    assert "allow" in text or told["data"]["approved"] is True


@pytest.mark.usefixtures("_beats_often")
async def test_answer_that_began_ends_with_the_service_in_its_own_words(client: Client, broker: Broker) -> None:
    async with client.post("/hooks/claude-code", json=HOOK) as response:
        await response.content.readany()
        broker.close()
        told = json.loads(await response.text())

    assert told["hookSpecificOutput"]["permissionDecision"] == "deny"


async def test_hook_with_a_key_comes_back_to_what_it_asked(client: Client, broker: Broker) -> None:
    key = {"Idempotency-Key": "k"}

    first = await client.post("/hooks/claude-code?wait=0", json=HOOK, headers=key)
    again = asyncio.create_task(client.post("/hooks/claude-code?wait=20", json=HOOK, headers=key).__aenter__())
    await until(lambda: broker.open("s1").desk.pending)
    decide(broker)
    settled = await again
    repeated = await client.post("/hooks/claude-code?wait=20", json=HOOK, headers=key)

    assert await answer(first) == (202, {"success": True, "data": {"status": "pending"}})
    assert settled.status == repeated.status == 200
    assert await settled.json() == await repeated.json()
    events = [event.type for event in broker.open("s1").log.read_after(0)]
    assert events.count("permission_request") == 1


async def test_hook_to_which_nobody_comes_back_is_withdrawn(client: Client, broker: Broker) -> None:
    await client.post("/hooks/claude-code?wait=0", json=HOOK, headers={"Idempotency-Key": "k"})
    [card] = broker.open("s1").desk.pending

    assert (await asyncio.wait_for(card.decision(), 10)).status == "cancelled"


@pytest.mark.parametrize(
    ("query", "key", "tool", "refused"),
    [
        ("?wait=1", None, "Bash", (422, "invalid")),
        ("?wait=-1", "k", "Bash", (422, "invalid")),
        ("?wait=nan", "k", "Bash", (422, "invalid")),
        ("?wait=1", "é", "Bash", (422, "invalid")),
        ("?wait=1", "k", "Other", (409, "idempotency_conflict")),
    ],
)
async def test_hook_that_cannot_come_back_is_refused(
    client: Client, query: str, key: str | None, tool: str, refused: tuple[int, str]
) -> None:
    await client.post("/hooks/claude-code?wait=0", json=HOOK, headers={"Idempotency-Key": "k"})

    headers = {} if key is None else {"Idempotency-Key": key}
    response = await client.post(f"/hooks/claude-code{query}", json={**HOOK, "tool_name": tool}, headers=headers)

    assert await error_of(response) == refused


async def test_hook_that_may_come_back_is_not_answered_by_a_service_that_stops(client: Client, broker: Broker) -> None:
    key = {"Idempotency-Key": "k"}
    waiting = asyncio.create_task(client.post("/hooks/claude-code?wait=20", json=HOOK, headers=key).__aenter__())
    await until(lambda: broker.open("s1").desk.pending)
    broker.close()

    assert await error_of(await waiting) == (503, "shutting_down")
    late = await client.post("/hooks/claude-code?wait=20", json=HOOK, headers=key)
    assert await error_of(late) == (503, "shutting_down")
