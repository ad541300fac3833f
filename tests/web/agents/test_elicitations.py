"""What an MCP server asks the person at Claude Code is answered here, or Claude Code asks in its own way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Limits
from notifier_service.core.errors import InvalidInput, NotifierError
from tests.policies import a_policy_file

from ..conftest import Client, MakeClient, answer
from .test_hooks import PATH, Agent, agent

__all__ = ["agent"]

FORM = {
    "type": "object",
    "properties": {"project": {"type": "string", "enum": ["billing", "web"]}, "points": {"type": "integer"}},
    "required": ["project"],
}
ASKED = {"message": "Where shall it be filed?", "requested_schema": FORM}


def elicitation(**more: Any) -> dict[str, Any]:
    around = {"session_id": "s1", "hook_event_name": "Elicitation", "mcp_server_name": "tracker", "mode": "form"}
    return {**around, **ASKED, **more}


def told(action: str, **more: Any) -> dict[str, Any]:
    return {"hookSpecificOutput": {"hookEventName": "Elicitation", "action": action, **more}}


async def test_form_is_filled_in_by_a_person_and_its_content_is_what_the_server_gets(agent: Agent) -> None:
    hook = agent.hook(elicitation(elicitation_id="e1", cwd="/home/x"))
    card = await agent.card()
    record = card.record
    assert (record.tool_name, record.server, record.parameters) == ("Elicitation", "tracker", ASKED)
    assert (record.risk_level, record.scopes) == ("low", ("once",))
    assert record.allowed_decisions == ("edit", "reject")
    assert [reason.code for reason in record.reasons] == ["server_question"]
    agent.decide(card, True, parameters={**ASKED, "content": {"project": "web", "points": 3}})

    assert await hook == told("accept", content={"project": "web", "points": 3})
    assert agent.statuses() == []  # no call of the agent's is told of


@pytest.mark.parametrize(
    "content",
    [None, "web", {}, {"project": "tax"}, {"project": "web", "points": "3"}, {"project": "web", "points": 1.5}],
    ids=["none", "a text", "without what is needed", "no option", "a text for a number", "a fraction"],
)
async def test_content_that_does_not_fit_the_form_is_refused_and_the_question_waits(agent: Agent, content: Any) -> None:
    hook = agent.hook(elicitation())
    card = await agent.card()
    with pytest.raises(InvalidInput, match=r"^parameters/content"):
        agent.decide(card, True, parameters={**ASKED, "content": content})
    with pytest.raises(NotifierError):
        agent.decide(card, True)

    assert card.pending
    agent.decide(card, False, reason="nobody's business")
    assert await hook == told("decline")


@pytest.mark.parametrize(("approved", "action"), [(True, "accept"), (False, "decline")])
async def test_address_to_open_is_approved_or_declined(agent: Agent, approved: bool, action: str) -> None:
    hook = agent.hook(elicitation(mode="url", url="https://tracker.example/login", requested_schema=None))
    card = await agent.card()
    assert card.record.parameters == {"message": ASKED["message"], "url": "https://tracker.example/login"}
    assert (card.record.risk_level, card.record.allowed_decisions) == ("medium", ("approve", "reject"))
    agent.decide(card, approved)

    assert await hook == told(action, **({"content": {}} if approved else {}))


async def test_question_that_nobody_answers_is_left_to_the_agent(agent: Agent) -> None:
    hook = agent.hook(elicitation(), timeout_seconds="0.01")
    await agent.card()
    agent.sweep()

    assert await hook == {}


async def test_form_whose_schema_cannot_be_checked_can_be_declined_alone(agent: Agent) -> None:
    hook = agent.hook(elicitation(requested_schema={"properties": {"a": {"type": "string", "pattern": "("}}}))
    card = await agent.card()
    if "edit" in card.record.allowed_decisions:  # what cannot be known to fit is refused then
        with pytest.raises(InvalidInput):
            agent.decide(card, True, parameters={**card.record.parameters, "content": {"a": "x"}})
    agent.decide(card, False)

    assert await hook == told("decline")


@pytest.mark.parametrize(
    "wrong",
    [{"mcp_server_name": ""}, {"mcp_server_name": None}, {"message": 7}, {"requested_schema": []}, {"mode": "voice"}],
)
async def test_what_is_no_question_is_refused_and_nobody_is_asked(client: Client, broker: Broker, wrong: Any) -> None:
    status, error = await answer(await client.post(PATH, json=elicitation(**wrong)))

    assert (status, error["error"]["code"]) == (422, "invalid")
    assert next(iter(wrong)) in error["message"]
    assert not broker.sessions


async def test_question_that_cannot_be_asked_is_left_to_the_agent(make_client: MakeClient) -> None:
    broker = Broker(Limits(max_pending=1))
    client = await make_client(broker)
    broker.ask("s1", tool_name="rm", parameters={})

    assert await answer(await client.post(PATH, json=elicitation())) == (200, {})


@pytest.mark.parametrize("effect", ["allow", "deny"])
async def test_rule_declines_a_question_and_never_answers_it(
    agent: Agent, broker: Broker, tmp_path: Path, effect: str
) -> None:
    broker.follow(a_policy_file(tmp_path / "policy.toml", **{effect: "Elicitation"}))
    hook = agent.hook(elicitation())
    if effect == "allow":
        agent.decide(await agent.card(), True, parameters={**ASKED, "content": {"project": "billing"}})

    assert (await hook)["hookSpecificOutput"]["action"] == ("accept" if effect == "allow" else "decline")
