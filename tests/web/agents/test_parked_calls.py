"""An agent that ends its run while nobody answers, and comes back to the same call when somebody has."""

from __future__ import annotations

from typing import Any

import pytest

from ..conftest import Client
from .test_hooks import Agent, agent, behavior, body, permission, pre

__all__ = ["agent"]

SOON = {"defer": "0.05"}


async def parked(agent: Agent, tool_use_id: str = "t1") -> Any:
    """The card of a call whose agent has ended its run."""
    told = await agent.says(pre(tool_use_id), **SOON)
    assert told["hookSpecificOutput"]["permissionDecision"] == "defer"
    card = agent.cards()[-1]
    assert card.request_id in told["hookSpecificOutput"]["permissionDecisionReason"]
    return card


async def test_request_waits_on_for_a_day(agent: Agent) -> None:
    card = await parked(agent)

    assert (card.pending, card.record.timeout_seconds) == (True, 86_400)
    assert agent.statuses() == ["waiting_permission"]


@pytest.mark.parametrize(("approved", "says"), [(True, "allow"), (False, "deny")])
@pytest.mark.parametrize("is_early", [True, False], ids=["decided before", "decided after"])
async def test_call_that_comes_back_gets_the_answer_once(
    agent: Agent, approved: bool, says: str, is_early: bool
) -> None:
    card = await parked(agent)
    if is_early:
        agent.decide(card, approved)
    again = agent.hook(pre(), defer="60")
    if not is_early:
        await agent.joined()
        agent.decide(card, approved)

    assert behavior(await again) == says
    assert agent.statuses()[-1] == ("executing" if approved else "denied")
    agent.hook(pre(), defer="60")
    assert (await agent.card()).request_id != card.request_id


async def test_two_that_come_back_get_one_approval(agent: Agent) -> None:
    card = await parked(agent)
    agent.decide(card, True)
    first, second = agent.hook(pre(), defer="60"), agent.hook(pre(), defer="60")
    other = await agent.card()
    agent.decide(other, False)

    assert sorted([behavior(await first), behavior(await second)]) == ["allow", "deny"]


async def test_call_that_comes_back_too_early_is_parked_again(agent: Agent) -> None:
    card = await parked(agent)

    assert await parked(agent) is card
    agent.decide(card, True)
    assert behavior(await agent.says(pre())) == "allow"


async def test_agent_that_is_killed_when_it_has_come_back_finds_its_request_again(agent: Agent) -> None:
    card = await parked(agent)
    again = agent.hook(pre(), defer="60")
    await agent.joined()
    again.cancel()
    await agent.joined()
    agent.decide(card, True)

    assert behavior(await agent.says(pre())) == "allow"


@pytest.mark.parametrize(
    "other",
    [pre("t2"), pre(tool_input={"command": "rm -r /"}), pre(session_id="s9"), pre(agent_id="a1"), pre(None)],
    ids=["id", "parameters", "run", "agent", "no id"],
)
async def test_another_call_does_not_get_the_answer(agent: Agent, other: dict[str, Any]) -> None:
    agent.decide(await parked(agent), True)
    asked = agent.hook(other, session_id="s1")
    agent.decide(await agent.card(), False)

    assert behavior(await asked) == "deny"


async def test_call_that_the_agent_went_on_without_is_withdrawn(agent: Agent) -> None:
    card, other = await parked(agent), await parked(agent, "t2")
    agent.decide(other, True)
    await agent.says(pre("t2"))
    await agent.says(body("PostToolUse", tool_use_id="t2", tool_response={}))
    await agent.says(body("Stop"))

    assert card.record.status == "cancelled"
    assert agent.cards() == []


async def test_where_the_agent_itself_would_ask_it_waits(agent: Agent) -> None:
    asked = agent.hook(permission(), **SOON)
    card = await agent.card()
    await agent.joined()
    assert not asked.done()
    agent.decide(card, True)

    assert behavior(await asked) == "allow"


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan", "9999"])
async def test_wrong_time_is_a_denial(agent: Agent, seconds: str) -> None:
    told = await agent.says(pre(), defer=seconds)

    assert behavior(told) == "deny"
    assert agent.cards() == []


async def test_other_agents_cannot_be_sent_home(client: Client, agent: Agent) -> None:
    told = await agent.says(pre(), agent="codex", **SOON)

    assert behavior(told) == "deny"
    assert "only Claude Code" in told["hookSpecificOutput"]["permissionDecisionReason"]
