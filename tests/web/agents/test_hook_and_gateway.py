"""A call that a person approved over a hook is asked about no second time by the gateway: once, as it is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker
from tests.mcp.http_stub import HttpStub
from tests.mcp.http_wiring import call
from tests.policies import a_policy_file

from ..conftest import Client, MakeClient, WriteTokens, answer, bearer, until
from .test_hooks import PATH, Agent, agent, pre, working

__all__ = ["agent"]

GIVEN: dict[str, Any] = {"text": "x"}
HOOK: dict[str, Any] = {"tool_name": "mcp__notes__keep_it", "tool_input": GIVEN, "mcp_server": {"name": "notes"}}
#: As the gateway of the server asks.
ASK: dict[str, Any] = {"tool_name": "keep.it", "parameters": GIVEN, "server": "n", "agent_call_id": "t1"}


async def approved(agent: Agent, **more: Any) -> None:
    hook = agent.hook(pre("t1", **HOOK))
    agent.decide(await agent.card(), True, **more)
    await hook


async def gateway_asks(client: Client, session_id: str = "s1", token: str | None = None, **more: Any) -> Any:
    headers = {} if token is None else bearer(token)
    body = {name: value for name, value in {**ASK, **more}.items() if value is not None}
    response = await client.post(f"/agent_backend/api/permissions/{session_id}", json=body, headers=headers)
    return (await answer(response))[1]["data"]


@pytest.mark.parametrize("session_id", ["s1", "another"])
async def test_call_that_was_approved_over_a_hook_runs_without_a_second_card(
    agent: Agent, client: Client, session_id: str
) -> None:
    await approved(agent)
    record = await gateway_asks(client, session_id)

    assert (record["status"], record["decided_by"]) == ("approved", "policy")
    [reason] = [one for one in record["reasons"] if one["code"] == "approved_before"]
    assert reason["text"] == "anna has approved this very call where its agent asked about it"
    assert agent.cards(session_id) == []
    assert (await gateway_asks(client, session_id))["status"] == "pending"  # one approval is for one call


@pytest.mark.parametrize(
    "other",
    [
        {"parameters": {"text": "y"}},
        {"tool_name": "it"},
        {"tool_name": "keep"},
        {"agent_call_id": "t2"},
        {"agent_call_id": None},
        {"risk_reasons": ["the server changed its definition of this tool in this session: description"]},
    ],
    ids=["parameters", "end of the name", "tool", "id", "no id", "doubt"],
)
async def test_what_is_another_call_is_asked_about(agent: Agent, client: Client, other: dict[str, Any]) -> None:
    await approved(agent)

    assert (await gateway_asks(client, **other))["status"] == "pending"


async def test_call_that_the_gateway_knows_to_be_riskier_than_a_person_saw_is_asked_about(
    agent: Agent, client: Client
) -> None:
    hook = agent.hook(pre("t1", tool_name="mcp__notes__read_it", tool_input=GIVEN))
    card = await agent.card()
    assert card.record.risk_level == "medium"
    agent.decide(card, True)
    await hook

    assert (await gateway_asks(client, tool_name="read_it", risk_level="high"))["status"] == "pending"
    assert (await gateway_asks(client, tool_name="read_it", risk_level="medium"))["status"] == "approved"


async def test_edit_is_what_the_gateway_lets_run_and_what_was_asked_is_not(agent: Agent, client: Client) -> None:
    await approved(agent, parameters={"text": "edited"})

    assert (await gateway_asks(client))["status"] == "pending"
    assert (await gateway_asks(client, parameters={"text": "edited"}))["status"] == "approved"


@pytest.mark.parametrize("how", ["waits", "rejected", "answered", "allowed by a rule", "told only"])
async def test_what_no_person_has_approved_is_asked_about(
    agent: Agent, client: Client, broker: Broker, tmp_path: Path, how: str
) -> None:
    if how == "allowed by a rule":
        broker.follow(a_policy_file(tmp_path / "policy.toml", allow="mcp__notes__keep_it"))
    hook = agent.hook(pre("t1", **(HOOK if how != "told only" else {"tool_name": "Read", "tool_input": {}})))
    if how in ("rejected", "answered"):
        agent.decide(await agent.card(), False, **({"response": "no need"} if how == "answered" else {}))
    if how == "waits":
        await agent.card()
    else:
        await hook

    assert (await gateway_asks(client))["status"] == "pending"


async def test_rule_that_denies_at_the_gateway_denies(
    agent: Agent, client: Client, broker: Broker, tmp_path: Path
) -> None:
    await approved(agent)
    broker.follow(a_policy_file(tmp_path / "policy.toml", deny="keep.it"))

    assert (await gateway_asks(client))["status"] == "rejected"


async def test_call_of_another_caller_is_asked_about(
    make_client: MakeClient, broker: Broker, write_tokens: WriteTokens
) -> None:
    entries = [
        {"token": f"{token}-token", "subject": token, "rights": ["produce"], "sessions": ["*"]}
        for token in ("one", "two")
    ]
    client = await make_client(broker, auth="tokens", tokens_file=write_tokens(entries))
    async with working(client, broker) as agent:
        hook = asyncio.create_task(_posted(client, pre("t1", **HOOK), "one"))
        agent.decide(await agent.card(), True)
        await hook

        assert (await gateway_asks(client, token="two"))["status"] == "pending"
        assert (await gateway_asks(client, "s2", token="one"))["status"] == "approved"


async def _posted(client: Client, hook: dict[str, Any], token: str) -> Any:
    return await answer(await client.post(PATH, json=hook, headers=bearer(token)))


@pytest.mark.parametrize("is_known", [True, False], ids=["tools are known", "tools are not known"])
async def test_gateway_of_the_service_asks_no_second_time_either(
    make_client: MakeClient, broker: Broker, stub: HttpStub, is_known: bool
) -> None:
    client = await make_client(broker, mcp_upstreams={"files": stub.url})
    asked = {"tool_name": "mcp__files__write", "tool_input": {"path": "a"}}
    meta = {"claudecode/toolUseId": "t1"}

    async def posted(message: dict[str, Any]) -> str:
        headers = {"Accept": "application/json, text/event-stream"}
        response = await client.post("/mcp/gateway/files?session_id=s1", json=message, headers=headers)
        text: str = (await response.json())["result"]["content"][0]["text"]
        return text

    if is_known:
        await posted(call(0, "read"))
    async with working(client, broker) as agent:
        hook = agent.hook(pre("t1", **asked))
        agent.decide(await agent.card(), True)
        await hook
        assert await posted(call(1, "write", {"path": "a"}, _meta=meta)) == 'write ran with {"path": "a"}'

        again = asyncio.create_task(posted(call(2, "write", {"path": "a"}, _meta=meta)))
        await until(lambda: agent.cards())
        agent.decide(agent.cards()[0], False)
        assert "write did not run" in await again

    told = [json.loads(event.json) for event in broker.open("s1").log.read_after(0)]
    by_gateway = [one["data"] for one in told if one["type"] == "tool_status" and one["data"]["tool_name"] == "write"]
    statuses = [one["status"] for one in by_gateway]
    assert statuses == ["executing", "completed", "waiting_permission", "denied"]
    assert {one["details"]["agent_call_id"] for one in by_gateway} == {"t1"}  # as the hook's are called
