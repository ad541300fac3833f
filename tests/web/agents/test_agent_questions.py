"""Claude Code's own questions are answered by a person, with one of the options or in words of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker
from notifier_service.core.errors import InvalidInput, NotifierError
from tests.policies import a_policy_file

from .test_hooks import Agent, agent, body, permission, pre, prompt

__all__ = ["agent"]

BRANCH = {
    "question": "Which branch?",
    "header": "Branch",
    "options": [{"label": "main", "description": "as it is"}, {"label": "dev", "description": "what comes"}],
    "multiSelect": False,
}
TESTS = {**BRANCH, "question": "Which tests?", "header": "Tests", "multiSelect": True}
ONE: dict[str, Any] = {"questions": [BRANCH]}
TWO: dict[str, Any] = {"questions": [BRANCH, TESTS]}
ASKS: dict[str, Callable[[Agent, dict[str, Any]], asyncio.Task[Any]]] = {
    "before the call": lambda agent, asked: agent.hook(pre(tool_name="AskUserQuestion", tool_input=asked)),
    "permission": lambda agent, asked: agent.hook(permission(tool_name="AskUserQuestion", tool_input=asked)),
    "prompt tool": lambda agent, asked: agent.prompt(prompt(tool_name="AskUserQuestion", input=asked)),
}


def runs_with(told: Any) -> Any:
    """What the tool is given; None where it is denied."""
    output = told.get("hookSpecificOutput", told)
    return output.get("updatedInput", output.get("decision", {}).get("updatedInput"))


@pytest.mark.parametrize("channel", ASKS)
@pytest.mark.parametrize(
    ("asked", "answers"),
    [
        (ONE, {"Which branch?": "dev"}),
        (TWO, {"Which branch?": "neither: a new one", "Which tests?": "main, dev"}),
        (TWO, {"Which tests?": "dev"}),
    ],
    ids=["an option", "own words and several options", "one of two"],
)
async def test_answer_is_what_the_tool_runs_with(
    agent: Agent, channel: str, asked: dict[str, Any], answers: dict[str, Any]
) -> None:
    told = ASKS[channel](agent, asked)
    card = await agent.card()
    assert [reason.code for reason in card.record.reasons] == ["agent_question"]
    assert (card.record.risk_level, card.record.scopes) == ("low", ("once",))
    agent.decide(card, True, parameters={**asked, "answers": answers})

    assert runs_with(await told) == {**asked, "answers": answers}
    assert "additionalContext" not in (await told).get("hookSpecificOutput", {})  # the agent hears the answer itself


@pytest.mark.parametrize("channel", ASKS)
async def test_reply_in_words_answers_the_one_question(agent: Agent, channel: str) -> None:
    told = ASKS[channel](agent, ONE)
    agent.decide(await agent.card(), False, response="the one of today")

    assert runs_with(await told) == {**ONE, "answers": {"Which branch?": "the one of today"}}


@pytest.mark.parametrize("channel", ASKS)
async def test_reply_in_words_to_several_questions_reaches_the_agent(agent: Agent, channel: str) -> None:
    told = ASKS[channel](agent, TWO)
    agent.decide(await agent.card(), False, response="dev, and all of them")

    assert runs_with(await told) is None
    assert "anna answered in its place: dev, and all of them" in str(await told)


@pytest.mark.parametrize("channel", ASKS)
async def test_rejection_is_a_denial_with_its_reason(agent: Agent, channel: str) -> None:
    told = ASKS[channel](agent, ONE)
    agent.decide(await agent.card(), False, reason="ask me tomorrow")

    assert runs_with(await told) is None
    assert "rejected by anna: ask me tomorrow" in str(await told)


@pytest.mark.parametrize(
    "answers",
    [{"Which one?": "dev"}, {"Which branch?": 7}, {"Which branch?": ""}, {"Which branch?": ["dev"]}, {}, "dev", None],
    ids=["another question", "a number", "nothing", "a list", "none", "a text", "null"],
)
async def test_what_is_no_answer_is_refused_and_the_question_waits(agent: Agent, answers: Any) -> None:
    told = ASKS["before the call"](agent, ONE)
    card = await agent.card()
    with pytest.raises(InvalidInput, match=r"^parameters/answers"):
        agent.decide(card, True, parameters={**ONE, "answers": answers})

    assert card.pending
    with pytest.raises(NotifierError):
        agent.decide(card, True, parameters={"answers": {"Which branch?": "dev"}})
    agent.decide(card, True, parameters={**ONE, "answers": {"Which branch?": "dev"}})
    assert runs_with(await told)["answers"] == {"Which branch?": "dev"}


@pytest.mark.parametrize(
    "given",
    [{}, {"questions": []}, {"questions": "Which?"}, {"questions": [{"question": 7}]}, {"questions": [BRANCH, BRANCH]}],
    ids=["none", "an empty list", "a text", "a number", "twice the same"],
)
async def test_what_is_no_question_is_a_call_like_others(agent: Agent, given: dict[str, Any]) -> None:
    assert await agent.says(pre(tool_name="AskUserQuestion", tool_input=given)) == {}

    told = agent.hook(permission(tool_name="AskUserQuestion", tool_input=given))
    card = await agent.card()
    assert [reason.code for reason in card.record.reasons] == ["agent_rules"]
    agent.decide(card, True)
    assert runs_with(await told) == given


async def test_question_over_all_channels_is_one_card(agent: Agent) -> None:
    tool: dict[str, Any] = {"tool_name": "AskUserQuestion"}
    hook = agent.hook(pre(**tool, tool_input=ONE))
    agent.decide(await agent.card(), True, parameters={**ONE, "answers": {"Which branch?": "dev"}})
    edited = runs_with(await hook)

    assert runs_with(await agent.hook(permission(**tool, tool_input=edited))) == edited
    assert runs_with(await agent.prompt(prompt(**tool, input=edited))) == edited
    assert agent.cards() == []
    done = body("PostToolUse", tool_use_id="t1", **tool, tool_input=edited, tool_response={"answers": {}})
    assert await agent.says(done) == {}
    assert agent.statuses() == ["waiting_permission", "executing", "completed"]


@pytest.mark.parametrize("effect", ["allow", "deny"])
async def test_rule_denies_a_question_and_never_answers_it(
    agent: Agent, broker: Broker, tmp_path: Path, effect: str
) -> None:
    broker.follow(a_policy_file(tmp_path / "policy.toml", **{effect: "AskUserQuestion"}))
    told = ASKS["before the call"](agent, ONE)
    if effect == "allow":
        agent.decide(await agent.card(), True, parameters={**ONE, "answers": {"Which branch?": "main"}})

    assert (runs_with(await told) is None) is (effect == "deny")
