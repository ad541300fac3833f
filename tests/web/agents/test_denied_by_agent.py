"""A call that an agent's own judgement denied is tried again when a person says so: exactly this call, once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clock import Clock

from .test_hooks import Agent, agent, body, permission, pre, timed

__all__ = ["agent", "timed"]

READ = {"tool_name": "Read", "tool_input": {"file_path": "/home/x/notes"}}
RETRY = {"hookSpecificOutput": {"hookEventName": "PermissionDenied", "retry": True}}


def denied(tool_use_id: str = "t1", **more: Any) -> dict[str, Any]:
    return body("PermissionDenied", tool_use_id=tool_use_id, reason="it leaves the task", **more)


def decision(told: Any) -> Any:
    return told.get("hookSpecificOutput", {}).get("permissionDecision")


async def test_person_has_a_denied_call_tried_again_which_runs_unasked_once(agent: Agent) -> None:
    hook = agent.hook(denied())
    card = await agent.card()
    assert card.record.tool_call_id == "t1"
    assert card.record.allowed_decisions == ("approve", "reject")
    assert card.record.scopes == ("once",)
    [told, *_] = card.record.reasons
    assert (told.code, told.text.endswith(": it leaves the task")) == ("agent_denied", True)
    agent.decide(card, True)
    assert await hook == RETRY

    assert decision(await agent.hook(pre("t2"))) == "allow"
    assert (await agent.hook(permission()))["hookSpecificOutput"]["decision"]["behavior"] == "allow"
    assert await agent.says(body("PostToolUse", tool_use_id="t2", tool_response="done")) == {}
    assert agent.statuses() == ["executing", "completed"]
    again = agent.hook(pre("t3"))
    agent.decide(await agent.card(), False)
    assert decision(await again) == "deny"


@pytest.mark.parametrize(
    "other",
    [
        {"tool_input": {"command": "rm -r build", "description": "other"}},
        {"tool_name": "Shell"},
        {"agent_id": "sub-1"},
        {"session_id": "s2"},
    ],
    ids=["parameters", "tool", "sub-agent", "run"],
)
async def test_another_call_is_asked_about(agent: Agent, other: dict[str, Any]) -> None:
    hook = agent.hook(denied(agent_id="main"), session_id="s1")
    agent.decide(await agent.card(), True)
    await hook
    asked = agent.hook(pre("t2", **{"agent_id": "main", **other}), session_id="s1")
    agent.decide(await agent.card(), False)

    assert decision(await asked) == "deny"


async def test_call_that_comes_too_late_is_asked_about(timed: Agent, clock: Clock) -> None:
    hook = timed.hook(denied())
    timed.decide(await timed.card(), True)
    await hook
    clock.advance(301)
    asked = timed.hook(pre("t2"))
    timed.decide(await timed.card(), False)

    assert decision(await asked) == "deny"


@pytest.mark.parametrize("how", ["rejected", "nobody"])
async def test_denial_stands_where_nobody_says_otherwise(agent: Agent, how: str) -> None:
    hook = agent.hook(denied(), timeout_seconds="0.01" if how == "nobody" else "60")
    card = await agent.card()
    if how == "rejected":
        agent.decide(card, False)
    else:
        agent.sweep()

    assert await hook == {}


async def test_call_that_was_told_to_run_is_told_to_be_denied(agent: Agent) -> None:
    assert await agent.says(pre("t1", **READ)) == {}
    hook = agent.hook(denied("t1", **READ))
    agent.decide(await agent.card(), False)
    await hook

    assert agent.statuses() == ["executing", "denied"]


async def test_denial_of_a_call_that_was_decided_here_asks_nobody(agent: Agent) -> None:
    hook = agent.hook(pre("t1"))
    agent.decide(await agent.card(), False)
    await hook

    assert await agent.says(denied("t1")) == {}
    assert agent.cards() == []
