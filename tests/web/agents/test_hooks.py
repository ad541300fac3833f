"""Claude Code's HTTP hooks (contract section 7b)."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import json
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from notifier_service import Broker, Decision, Limits
from notifier_service.core.events import CallDetails
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.policy.policy_file import PolicyFile
from tests.clock import Clock
from tests.policies import a_policy_file

from ..conftest import Client, MakeClient, WriteTokens, answer, bearer, error_of, serving, until

PATH = "/hooks/claude-code"
BASH: dict[str, Any] = {"tool_name": "Bash", "tool_input": {"command": "rm -r build", "description": "clean"}}
#: What Claude Code sends besides; it is passed over.
AROUND: dict[str, Any] = {
    "transcript_path": "/home/x/.claude/s1.jsonl", "cwd": "/home/x", "prompt_id": "p1", "permission_mode": "default",
    "effort": {"level": "medium"},
}  # fmt: skip
SUGGESTIONS = [
    {"type": "setMode", "mode": "acceptEdits", "destination": "session"},
    {
        "type": "addRules",
        "rules": [{"toolName": "Bash", "ruleContent": "rm *"}],
        "behavior": "allow",
        "destination": "localSettings",
    },
]


def body(event: str, session_id: str = "s1", **more: Any) -> dict[str, Any]:
    return {**AROUND, "session_id": session_id, "hook_event_name": event, **BASH, **more}


def pre(tool_use_id: str | None = "t1", **more: Any) -> dict[str, Any]:
    return body("PreToolUse", **({} if tool_use_id is None else {"tool_use_id": tool_use_id}), **more)


def permission(**more: Any) -> dict[str, Any]:
    return body("PermissionRequest", permission_suggestions=SUGGESTIONS, **more)


def prompt(tool_use_id: str | None = "t1", number: int = 1, **arguments: Any) -> dict[str, Any]:
    given = {"tool_name": "Bash", "input": BASH["tool_input"], **arguments}
    if tool_use_id is not None:
        given["tool_use_id"] = tool_use_id
    params = {"name": "approval_prompt", "arguments": given}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


#: What the hook would show, and what would run, are two readings of one body.
DOUBLED = json.dumps(pre()).replace('"tool_input": {', '"tool_input": {"command": "ls", ').encode()


class Agent:
    """Sends hooks and asks the prompt tool, as Claude Code does; each call is answered when it is."""

    def __init__(self, client: Client, broker: Broker) -> None:
        self._client = client
        self._broker = broker
        self._tasks: list[asyncio.Task[Any]] = []

    async def says(self, hook: dict[str, Any], **query: str) -> Any:
        """The answer to a hook that nobody needs to decide."""
        status, told = await answer(await self._client.post(PATH, json=hook, params=query))
        assert status == 200, told
        return told

    def hook(self, hook: dict[str, Any], **query: str) -> asyncio.Task[Any]:
        return self._started(self.says(hook, **query))

    def prompt(self, message: dict[str, Any], session_id: str = "s1") -> asyncio.Task[Any]:
        return self._started(self._prompted(message, session_id))

    async def card(self, count: int = 1, session_id: str = "s1") -> PermissionRequest:
        """The newest request, when there are so many."""
        await until(lambda: len(self.cards(session_id)) >= count)
        assert len(self.cards(session_id)) == count
        return self.cards(session_id)[-1]

    async def joined(self) -> None:
        """Let what was sent arrive: nobody is told that a channel joined a request."""
        await asyncio.sleep(0.1)

    def cards(self, session_id: str = "s1") -> list[PermissionRequest]:
        return list(self._broker.open(session_id).desk.pending)

    def decide(self, card: PermissionRequest, approved: bool, session_id: str = "s1", **more: Any) -> None:
        decision = Decision(approved=approved, request_id=card.request_id, **more)
        self._broker.decide(session_id, decision, decided_by="anna")

    def sweep(self) -> None:
        """Have the service end what is over by its clock."""
        self._broker.sweep()

    def told(self, session_id: str = "s1") -> list[tuple[str, str | None, str | None]]:
        """What the session's readers were told: type, status and call."""
        log = self._broker.open(session_id).log
        kept = log.read_after(log.last_seq - log.statistics().events)
        events = [json.loads(event.json) for event in kept]
        return [(event["type"], event["data"].get("status"), event["data"].get("tool_call_id")) for event in events]

    def statuses(self) -> list[str | None]:
        return [status for event_type, status, _ in self.told() if event_type == "tool_status"]

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _prompted(self, message: dict[str, Any], session_id: str) -> Any:
        response = await self._client.post(f"/mcp/{session_id}", json=message)
        content = (await response.json())["result"]["content"]
        assert [block["type"] for block in content] == ["text"]
        return json.loads(content[0]["text"])

    def _started(self, call: Any) -> asyncio.Task[Any]:
        self._tasks.append(asyncio.ensure_future(call))
        return self._tasks[-1]


@asynccontextmanager
async def working(client: Client, broker: Broker) -> AsyncIterator[Agent]:
    agent = Agent(client, broker)
    try:
        yield agent
    finally:
        await agent.leave()


@pytest.fixture
async def agent(client: Client, broker: Broker) -> AsyncIterator[Agent]:
    async with working(client, broker) as agent:
        yield agent


def behavior(told: Any) -> str:
    """What a hook or the prompt tool says of the call."""
    output = told.get("hookSpecificOutput", told)
    decision: str = output.get("permissionDecision") or output.get("decision", output)["behavior"]
    return decision


# Before every call


async def test_call_of_low_risk_gets_no_opinion_and_is_told(agent: Agent) -> None:
    told = await agent.says(pre(tool_name="Read", tool_input={"file_path": "a.txt"}))

    assert told == {}
    assert agent.told() == [("tool_status", "executing", "t1")]


@pytest.mark.parametrize("more", [{"tool_name": "Read", "tool_input": {"file_path": "a.txt"}}, {}], ids=["low", "high"])
async def test_session_is_called_after_the_folder_and_the_agent(
    agent: Agent, broker: Broker, more: dict[str, Any]
) -> None:
    agent.hook(pre(cwd="C:\\work\\app", **more), agent="codex")
    await until(lambda: broker.open("s1").label.agent)

    assert broker.open("s1").label == ("app", "codex")


async def test_call_of_high_risk_waits_for_a_person_and_runs_with_what_was_shown(agent: Agent) -> None:
    hook = agent.hook(pre())
    card = await agent.card()
    assert card.record.tool_name == "Bash"
    assert card.record.parameters == BASH["tool_input"]
    assert (card.record.risk_level, card.record.tool_call_id) == ("high", "t1")
    agent.decide(card, True, reason="go on")

    assert await hook == {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "allow",
            "permissionDecisionReason": "approved by anna: go on",
            "updatedInput": BASH["tool_input"],
        }
    }
    assert agent.statuses() == ["waiting_permission", "executing"]


async def test_edit_of_a_person_is_what_runs(agent: Agent) -> None:
    hook = agent.hook(pre())
    agent.decide(await agent.card(), True, parameters={"command": "ls"})

    told = (await hook)["hookSpecificOutput"]
    assert told["updatedInput"] == {"command": "ls"}
    assert told["additionalContext"] == (
        'Note: anna changed the parameters of this call before it ran. It ran with {"command":"ls"}'
    )


@pytest.mark.parametrize("channel", ["PermissionRequest", "prompt tool"])
async def test_agent_is_told_after_the_call_of_an_edit_that_no_hook_before_could_tell(
    agent: Agent, channel: str
) -> None:
    edited = {"command": "ls -l"}
    asked: dict[str, Any] = {"tool_name": "Read"}
    assert await agent.says(pre(**asked)) == {}
    asking = agent.hook(permission(**asked)) if channel == "PermissionRequest" else agent.prompt(prompt(**asked))
    agent.decide(await agent.card(), True, parameters=edited)
    await asking

    told = await agent.says(body("PostToolUse", tool_use_id="t1", tool_input=edited, **asked))

    assert told["hookSpecificOutput"] == {
        "hookEventName": "PostToolUse",
        "additionalContext": (
            'Note: anna changed the parameters of this call before it ran. It ran with {"command":"ls -l"}'
        ),
    }


async def test_edit_that_was_told_before_the_call_is_not_told_again(agent: Agent) -> None:
    hook = agent.hook(pre())
    agent.decide(await agent.card(), True, parameters={"command": "ls"})
    await hook

    assert await agent.says(body("PostToolUse", tool_use_id="t1", tool_input={"command": "ls"})) == {}


@pytest.mark.parametrize(
    ("tool", "decision", "said"),
    [
        ("Read", "deny", 'Read did not run: denied by policy rule "no Read": because of Read'),
        ("Bash", "allow", 'approved by policy: policy rule "let Bash" allows it: because of Bash'),
    ],
)
async def test_rule_of_a_policy_file_answers_the_hook(
    agent: Agent, broker: Broker, tmp_path: Path, tool: str, decision: str, said: str
) -> None:
    broker.follow(a_policy_file(tmp_path / "policy.toml", deny="Read", allow="Bash"))
    told = (await agent.says(pre(tool_name=tool)))["hookSpecificOutput"]

    assert (told["permissionDecision"], told["permissionDecisionReason"]) == (decision, said)


async def test_rule_about_a_servers_tool_knows_the_names_that_agents_give_it(
    agent: Agent, broker: Broker, tmp_path: Path
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(
        '[[rule]]\nname = "no"\neffect = "deny"\ntool = "delete_file"\nserver = "files"\n'
        '[[rule]]\nname = "let"\neffect = "allow"\ntool = "move_file"\nserver = "files"\n'
    )
    broker.follow(PolicyFile(file))
    denied = await agent.says(pre(tool_name="mcp__files__delete_file"))
    gemini = pre(tool_name="mcp_files_delete_file", mcp_server={"server_name": "files"})
    allowed = await agent.says(pre(tool_name="mcp__files__move_file"))

    assert denied["hookSpecificOutput"]["permissionDecision"] == "deny"
    assert (await agent.says(gemini))["hookSpecificOutput"]["permissionDecision"] == "deny"
    assert allowed["hookSpecificOutput"]["permissionDecision"] == "allow"


@pytest.mark.parametrize(
    ("tool", "decision"),
    [
        ("Read", {"behavior": "deny", "message": 'Read did not run: denied by policy rule "no Read": because of Read'}),
        ("Bash", {"behavior": "allow", "updatedInput": BASH["tool_input"]}),
    ],
)
async def test_rule_of_a_policy_file_answers_where_the_agent_itself_would_ask(
    agent: Agent, broker: Broker, tmp_path: Path, tool: str, decision: dict[str, Any]
) -> None:
    broker.follow(a_policy_file(tmp_path / "policy.toml", default="deny", deny="Read", allow="Bash"))
    told = (await agent.says(permission(tool_name=tool)))["hookSpecificOutput"]
    prompted = await agent.prompt(prompt("t9", tool_name=tool))

    assert told["decision"] == decision
    assert prompted == decision


@pytest.mark.parametrize(
    ("decision", "text", "status"),
    [
        ({"reason": "not today"}, "Bash did not run: rejected by anna: not today", "denied"),
        ({}, "Bash did not run: rejected by anna.", "denied"),
        ({"response": "use make clean"}, "Bash did not run; anna answered in its place: use make clean", "completed"),
    ],
)
async def test_denial_says_who_and_why(agent: Agent, decision: dict[str, Any], text: str, status: str) -> None:
    hook = agent.hook(pre())
    agent.decide(await agent.card(), False, **decision)

    assert await hook == {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "deny",
            "permissionDecisionReason": text,
        }
    }
    assert agent.statuses() == ["waiting_permission", status]


async def test_tool_allowed_for_the_session_is_asked_about_once(agent: Agent) -> None:
    hook = agent.hook(pre())
    agent.decide(await agent.card(), True, scope="session")
    await hook

    told = await agent.says(pre("t2"))
    other = agent.hook(pre("t3", tool_input={"command": "other"}))

    assert behavior(told) == "allow"
    assert (await agent.card()).record.parameters == {"command": "other"}
    other.cancel()


async def test_tool_of_a_server_is_not_trusted_for_its_name(agent: Agent) -> None:
    hook = agent.hook(pre(tool_name="read_file", mcp_server={"name": "files"}))
    card = await agent.card()
    agent.decide(card, False)

    assert (card.record.risk_level, card.record.server) == ("high", "files")
    assert behavior(await hook) == "deny"


async def test_request_expires_after_the_time_the_query_gives(agent: Agent) -> None:
    told = await agent.says(pre(), timeout_seconds="0.05")

    assert behavior(told) == "deny"
    assert "nobody answered within 0.05 s" in told["hookSpecificOutput"]["permissionDecisionReason"]


async def test_session_of_the_query_takes_the_place_of_the_agents_own(agent: Agent) -> None:
    hook = agent.hook(pre(session_id="7f0e"), session_id="team-1")
    agent.decide(await agent.card(session_id="team-1"), True, "team-1")

    assert behavior(await hook) == "allow"


# Where the agent itself asks


async def test_permission_request_answers_with_the_whole_input(agent: Agent) -> None:
    hook = agent.hook(permission())
    agent.decide(await agent.card(), True)

    assert await hook == {
        "hookSpecificOutput": {
            "hookEventName": "PermissionRequest",
            "decision": {"behavior": "allow", "updatedInput": BASH["tool_input"]},
        }
    }
    assert agent.statuses() == []  # nobody would tell of its end


async def test_permission_request_is_denied_with_a_message(agent: Agent) -> None:
    hook = agent.hook(permission())
    agent.decide(await agent.card(), False, reason="no")

    assert await hook == {
        "hookSpecificOutput": {
            "hookEventName": "PermissionRequest",
            "decision": {"behavior": "deny", "message": "Bash did not run: rejected by anna: no"},
        }
    }


async def test_decision_for_the_session_is_kept_here_and_no_rule_of_the_agents(agent: Agent) -> None:
    hook = agent.hook(permission())
    agent.decide(await agent.card(), True, scope="session")

    assert (await hook)["hookSpecificOutput"]["decision"] == {"behavior": "allow", "updatedInput": BASH["tool_input"]}
    assert behavior(await agent.says(permission())) == "allow"


async def test_rejection_for_the_session_denies_the_tool_from_now_on(agent: Agent) -> None:
    hook, twin = agent.hook(pre("t1")), agent.hook(pre("t2"))
    agent.decide(await agent.card(2), False, scope="session", reason="not here")

    assert [behavior(await told) for told in (hook, twin, agent.hook(permission()))] == ["deny"] * 3


@pytest.mark.parametrize("scope", ["session", "once"])
async def test_decision_for_one_agent_is_none_for_other_producers(client: Client, agent: Agent, scope: str) -> None:
    write = {"tool_name": "Write", "tool_input": {"file_path": "a"}}
    hook = agent.hook(pre(**write))
    agent.decide(await agent.card(), True, scope=scope)
    await hook

    ask = {"tool_name": "Write", "parameters": {"file_path": "a"}, "risk_level": "medium"}
    assert (await client.post("/agent_backend/api/permissions/s1", json=ask)).status == 201
    gemini = agent.hook(pre("t2", **write), agent="gemini")
    assert (await agent.card(2)).record.suggested_rule == (
        'every call of "Write", asked by "gemini" as "local", at risk medium or less'
    )
    assert not gemini.done()


async def test_agent_that_asks_gets_a_person_whatever_the_risk(agent: Agent) -> None:
    hook = agent.hook(permission(tool_name="Read", tool_input={"file_path": "/etc/shadow"}))
    card = await agent.card()
    agent.decide(card, False)

    assert card.record.risk_level == "medium"
    assert card.record.risk_reasons == (
        "the agent's own rules want a person for this call",
        'it reads a file that may hold secrets: "/etc/shadow"',
    )
    assert behavior(await hook) == "deny"


# One call over several channels


async def test_call_over_hook_and_prompt_tool_is_one_card(agent: Agent) -> None:
    hook = agent.hook(permission())
    await agent.card()
    tool = agent.prompt(prompt())
    await agent.joined()
    agent.decide(await agent.card(), True, parameters={"command": "ls"})

    assert (await hook)["hookSpecificOutput"]["decision"]["updatedInput"] == {"command": "ls"}
    assert await tool == {"behavior": "allow", "updatedInput": {"command": "ls"}}


async def test_card_stays_until_the_last_channel_has_gone(agent: Agent) -> None:
    hook = agent.hook(permission())
    await agent.card()
    tool = agent.prompt(prompt())
    await agent.joined()
    card = await agent.card()
    hook.cancel()
    await agent.joined()
    assert card.pending
    tool.cancel()

    assert (await card.decision()).status == "cancelled"


async def test_two_calls_just_alike_over_one_channel_are_two_cards(agent: Agent) -> None:
    hooks = [agent.hook(permission()), agent.hook(permission())]
    agent.decide(await agent.card(2), True)
    agent.decide(await agent.card(1), False)

    assert sorted([behavior(await hook) for hook in hooks]) == ["allow", "deny"]


async def test_of_two_calls_just_alike_only_who_can_name_it_is_allowed(agent: Agent) -> None:
    hooks = [agent.hook(permission()), agent.hook(permission())]
    await agent.card(2)
    tools = [agent.prompt(prompt("t1", 1)), agent.prompt(prompt("t2", 2))]
    await agent.joined()
    first, second = agent.cards()
    agent.decide(first, True)
    agent.decide(second, False)

    # The hooks may have been joined crosswise: two grants for one approval must not come of it.
    assert sorted([behavior(await tool) for tool in tools]) == ["allow", "deny"]
    answers = [await hook for hook in hooks]
    assert {} in answers
    assert [behavior(told) for told in answers if told] == ["deny"]


async def test_of_two_agents_calls_just_alike_one_approval_runs_one(agent: Agent) -> None:
    hooks = [agent.hook(permission(agent_id="a"))]
    await agent.card()
    tools = [agent.prompt(prompt("t2", 1))]  # of b, whose hook comes later
    await agent.joined()
    hooks.append(agent.hook(permission(agent_id="b")))
    await agent.card(2)
    tools.append(agent.prompt(prompt("t1", 2)))
    await agent.joined()
    first, second = agent.cards()
    agent.decide(first, True)
    agent.decide(second, False)

    allowed = [told for told in await asyncio.gather(*hooks, *tools) if told and behavior(told) == "allow"]
    assert len(allowed) == 1


async def test_approval_that_a_hook_took_for_one_of_two_calls_is_not_the_others(agent: Agent) -> None:
    for call_id in ("t1", "t2"):
        await agent.says(pre(call_id, tool_name="Read"))
    hook = agent.hook(permission(tool_name="Read"))  # may be for either
    agent.decide(await agent.card(), True)
    assert behavior(await hook) == "allow"
    tool = agent.prompt(prompt("t1", tool_name="Read"))
    agent.decide(await agent.card(), False)

    assert behavior(await tool) == "deny"


async def test_call_that_nobody_could_be_asked_about_is_asked_about_anew(make_client: MakeClient) -> None:
    broker = Broker(Limits(max_pending_per_session=1))
    async with working(await make_client(broker), broker) as agent:
        first = agent.hook(pre("t0", tool_input={"command": "x"}))
        card = await agent.card()
        assert behavior(await agent.says(pre())) == "deny"
        agent.decide(card, False)
        await first
        tool = agent.prompt(prompt())
        agent.decide(await agent.card(), False)

        assert behavior(await tool) == "deny"


async def test_other_parameters_are_another_call(agent: Agent) -> None:
    hook = agent.hook(permission())
    await agent.card()
    tool = agent.prompt(prompt(input={"command": "rm -r /"}))
    await agent.card(2)
    for card in agent.cards():
        agent.decide(card, False)

    assert (behavior(await hook), behavior(await tool)) == ("deny", "deny")


async def test_call_approved_before_it_ran_is_not_asked_about_again(agent: Agent) -> None:
    hook = agent.hook(pre())
    agent.decide(await agent.card(), True, parameters={"command": "ls"})
    await hook

    # Claude Code asks again where one of its own rules says so, now with what will run.
    again = await agent.hook(permission(tool_input={"command": "ls"}))
    tool = await agent.prompt(prompt(input={"command": "ls"}))

    assert (behavior(again), behavior(tool)) == ("allow", "allow")


async def test_approval_answers_each_channel_once(agent: Agent) -> None:
    hook = agent.hook(pre())
    agent.decide(await agent.card(), True)
    await hook
    await agent.hook(permission())
    second = agent.hook(permission())
    agent.decide(await agent.card(), False)

    assert behavior(await second) == "deny"


async def test_approval_of_an_unnamed_call_is_not_the_next_ones(agent: Agent) -> None:
    hook = agent.hook(permission())
    agent.decide(await agent.card(), True)
    await hook
    tool = agent.prompt(prompt("t9"))  # may be the same call, or the next one just like it
    agent.decide(await agent.card(), False)

    assert behavior(await tool) == "deny"


async def test_approval_ends_with_the_call(agent: Agent) -> None:
    hook = agent.hook(pre())
    agent.decide(await agent.card(), True)
    await hook
    await agent.says(body("PostToolUse", tool_use_id="t1", tool_response="done"))
    again = agent.hook(permission())
    agent.decide(await agent.card(), False)

    assert behavior(await again) == "deny"


async def test_denied_call_is_denied_over_the_other_channel_too(agent: Agent) -> None:
    hook = agent.hook(pre())
    agent.decide(await agent.card(), False, reason="no")
    await hook

    assert await agent.prompt(prompt()) == {
        "behavior": "deny",
        "message": "Bash did not run: rejected by anna: no",
    }


async def test_ids_that_repeat_are_two_calls(agent: Agent) -> None:
    hooks = [agent.hook(pre("t1")), agent.hook(pre("t1", agent_id="sub"))]
    await agent.card(2)
    for card in agent.cards():
        agent.decide(card, False)

    assert [behavior(await hook) for hook in hooks] == ["deny", "deny"]


async def test_channels_of_two_sessions_are_never_joined(agent: Agent) -> None:
    hook = agent.hook(permission())
    await agent.card()
    tool = agent.prompt(prompt(), "s2")
    agent.decide(await agent.card(session_id="s2"), True, "s2")
    agent.decide(await agent.card(), False)

    assert (behavior(await hook), behavior(await tool)) == ("deny", "allow")


async def test_sub_agents_are_never_joined(agent: Agent) -> None:
    first = agent.hook(pre("t1", agent_id="a"))
    agent.decide(await agent.card(), True)
    await first
    other = agent.hook(permission(agent_id="b"))
    agent.decide(await agent.card(), False)

    assert behavior(await other) == "deny"


class Program:
    """A producer with a token of its own; two of them may have one name."""

    def __init__(self, client: Client, token: str) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {token}-token"}

    async def hook(self, hook: dict[str, Any]) -> str:
        response = await self._client.post(PATH, json=hook | {"session_id": "team-1"}, headers=self._headers)
        return behavior(await response.json())

    async def prompt(self, tool_use_id: str = "t1") -> str:
        response = await self._client.post("/mcp/team-1", json=prompt(tool_use_id), headers=self._headers)
        return behavior(json.loads((await response.json())["result"]["content"][0]["text"]))


@pytest.fixture
async def programs(make_client: MakeClient, broker: Broker, write_tokens: WriteTokens) -> list[Program]:
    """Two programs under one name, and one under another."""
    names = {"a": "ci", "b": "ci", "c": "other"}
    entries = [
        {"token": f"{token}-token", "subject": name, "rights": ["produce"], "sessions": ["*"]}
        for token, name in names.items()
    ]
    client = await make_client(broker, auth="tokens", tokens_file=write_tokens(entries))
    return [Program(client, token) for token in names]


@pytest.mark.parametrize("other", [1, 2], ids=["another token of that name", "another name"])
@pytest.mark.parametrize("first", ["PreToolUse", "PermissionRequest"])
async def test_calls_of_two_callers_are_two_cards_however_alike(
    programs: list[Program], broker: Broker, first: str, other: int
) -> None:
    hook = asyncio.ensure_future(programs[0].hook(body(first, tool_use_id="t1")))
    desk = broker.open("team-1").desk
    await until(lambda: len(desk.pending) == 1)
    tool = asyncio.ensure_future(programs[other].prompt("t1"))
    await until(lambda: len(desk.pending) == 2)
    mine, theirs = desk.pending
    broker.decide("team-1", Decision(approved=True, request_id=mine.request_id), decided_by="anna")
    assert await hook == "allow"

    assert not tool.done()
    broker.decide("team-1", Decision(approved=False, request_id=theirs.request_id), decided_by="anna")
    assert await tool == "deny"


@pytest.mark.parametrize("other", [1, 2], ids=["another token of that name", "another name"])
async def test_approval_is_not_for_who_comes_back_with_the_same_id(
    programs: list[Program], broker: Broker, other: int
) -> None:
    hook = asyncio.ensure_future(programs[0].hook(pre("t1")))
    desk = broker.open("team-1").desk
    await until(lambda: len(desk.pending) == 1)
    broker.decide("team-1", Decision(approved=True), decided_by="anna")
    await hook

    late = asyncio.ensure_future(programs[other].prompt("t1"))
    await until(lambda: len(desk.pending) == 1)
    broker.decide("team-1", Decision(approved=False, request_id=desk.pending[0].request_id), decided_by="anna")
    assert await late == "deny"
    # Its own caller gets it, once.
    assert await programs[0].prompt("t1") == "allow"
    again = asyncio.ensure_future(programs[0].prompt("t1"))
    await until(lambda: len(desk.pending) == 1)
    broker.decide("team-1", Decision(approved=False, request_id=desk.pending[0].request_id), decided_by="anna")
    assert await again == "deny"


async def test_report_of_another_caller_ends_no_call(programs: list[Program], broker: Broker) -> None:
    hook = asyncio.ensure_future(programs[0].hook(pre("t1")))
    desk = broker.open("team-1").desk
    await until(lambda: len(desk.pending) == 1)
    for told in (body("PostToolUse", tool_use_id="t1"), body("PostToolUse"), body("Stop")):
        with contextlib.suppress(KeyError):  # no opinion
            await programs[1].hook(told)

    assert len(desk.pending) == 1
    broker.decide("team-1", Decision(approved=True, request_id=desk.pending[0].request_id), decided_by="anna")
    assert await hook == "allow"


async def test_two_runs_of_an_agent_in_one_session_are_never_joined(agent: Agent) -> None:
    first = agent.hook(pre("t1", session_id="run-1"), session_id="s1")
    agent.decide(await agent.card(), True)
    await first
    other = agent.hook(permission(session_id="run-2"), session_id="s1")
    agent.decide(await agent.card(), False)

    assert behavior(await other) == "deny"


async def test_two_kinds_of_agent_are_never_joined(agent: Agent) -> None:
    first = agent.hook(pre("t1"), agent="codex")
    await agent.card()
    tool = agent.prompt(prompt("t1"))
    await agent.card(2)
    for card in agent.cards():
        agent.decide(card, False)

    assert (behavior(await first), behavior(await tool)) == ("deny", "deny")


@pytest.fixture
async def timed(make_client: MakeClient, clock: Clock) -> AsyncIterator[Agent]:
    """An agent whose time is ``clock``."""
    broker = Broker(Limits(permission_timeout_seconds=0), clock=clock)
    async with working(await make_client(broker), broker) as agent:
        yield agent


@pytest.mark.parametrize(("seconds", "is_asked"), [(59, False), (61, True)])
async def test_approval_is_good_for_a_minute(timed: Agent, clock: Clock, seconds: float, is_asked: bool) -> None:
    hook = timed.hook(pre())
    timed.decide(await timed.card(), True)
    await hook
    clock.advance(seconds)
    again = timed.hook(permission())
    if is_asked:
        timed.decide(await timed.card(), False)

    assert behavior(await again) == ("deny" if is_asked else "allow")


@pytest.mark.parametrize("edit", [None, {"command": "y" * 300_000}], ids=["as asked", "edited"])
async def test_large_approval_that_is_no_longer_kept_whole_is_told_as_denied_to_agent_and_session(
    timed: Agent, clock: Clock, edit: dict[str, Any] | None
) -> None:
    given = {"command": "x" * 300_000}
    hook = timed.hook(pre(tool_input=given))
    timed.decide(await timed.card(), True, parameters=edit)
    assert behavior(await hook) == "allow"
    clock.advance(60)
    timed.sweep()

    told = await timed.says(permission(tool_input=edit or given))

    assert behavior(told) == "deny"
    assert "its parameters are no longer kept whole" in json.dumps(told)
    assert timed.statuses() == ["waiting_permission", "executing", "denied"]


async def test_calls_are_remembered_within_the_bounds_of_the_log(make_client: MakeClient) -> None:
    broker = Broker(Limits(log_events=3))
    async with working(await make_client(broker), broker) as agent:
        for number in range(5):
            await agent.says(pre(f"t{number}", tool_name="Read"))
        await agent.says({"session_id": "s1", "hook_event_name": "Stop"})

        ended = [call for event_type, status, call in agent.told() if status == "cancelled"]
        assert ended == ["t2", "t3", "t4"]


async def test_sessions_that_have_ended_are_forgotten(client: Client, broker: Broker) -> None:
    ended = []
    for number in range(200):
        session_id = f"s{number}"
        await client.post(PATH, json=pre(session_id=session_id, tool_name="Read"))
        ended.append(weakref.ref(broker.open(session_id)))
        broker.end_session(session_id)
    gc.collect()

    assert sum(session() is not None for session in ended) <= 65


@pytest.mark.parametrize("channel", ["PermissionRequest", "prompt tool"])
async def test_what_is_asked_after_a_hook_without_an_opinion_is_shown_whole_and_runs(
    agent: Agent, channel: str
) -> None:
    read: dict[str, Any] = {"file_path": "a.txt"}
    await agent.says(pre(tool_name="Read", tool_input=read))
    asking = (
        agent.prompt(prompt(tool_name="Read", input=read))
        if channel == "prompt tool"
        else agent.hook(permission(tool_name="Read", tool_input=read))
    )
    card = await agent.card()
    agent.decide(card, True)

    told = await asking
    verdict = told if channel == "prompt tool" else told["hookSpecificOutput"]["decision"]
    assert card.record.parameters == read
    assert verdict["updatedInput"] == read


# How a call ended


async def test_result_is_told(agent: Agent) -> None:
    await agent.says(pre(tool_name="Read", tool_input={"file_path": "a"}))
    told = await agent.says(
        body("PostToolUse", tool_use_id="t1", tool_name="Read", tool_response={"text": "x"}, duration_ms=3)
    )

    assert told == {}
    assert agent.told()[1:] == [("tool_result", None, "t1"), ("tool_status", "completed", "t1")]


async def test_failure_is_told_with_its_error(agent: Agent, broker: Broker) -> None:
    await agent.says(body("PostToolUseFailure", tool_use_id="t1", error="exit code 3"))

    result = broker.open("s1").snapshot().tool_result
    assert result is not None
    assert (result.success, result.error) == (False, "exit code 3")
    assert agent.statuses() == ["failed"]


async def test_interruption_is_told(agent: Agent) -> None:
    await agent.says(body("PostToolUseFailure", tool_use_id="t1", error="interrupted", is_interrupt=True))

    assert agent.statuses() == ["cancelled"]


async def test_result_that_comes_twice_is_told_once(agent: Agent) -> None:
    await agent.says(pre(tool_name="Read"))
    for _ in range(2):
        await agent.says(body("PostToolUse", tool_use_id="t1", tool_name="Read", tool_response="x"))

    assert agent.statuses() == ["executing", "completed"]


async def test_calls_without_ids_are_told_apart(agent: Agent, broker: Broker) -> None:
    for path in ("a", "b"):
        await agent.says(pre(None, tool_name="Read", tool_input={"file_path": path}))
    await agent.says(body("PostToolUse", tool_name="Read", tool_input={"file_path": "a"}, tool_response="x"))

    (running,) = broker.open("s1").snapshot().running
    assert isinstance(running.details, CallDetails)
    assert running.details.parameters == {"file_path": "b"}


async def test_huge_result_is_cut(agent: Agent, broker: Broker) -> None:
    await agent.says(body("PostToolUse", tool_use_id="t1", tool_response="x" * 500_000))

    result = broker.open("s1").snapshot().tool_result
    assert result is not None
    assert result.truncated


async def test_call_of_which_nobody_told_the_end_is_over_when_the_turn_is(agent: Agent, broker: Broker) -> None:
    await agent.says(pre(tool_name="Read"))
    await agent.says(pre("t2", tool_name="Read", agent_id="sub"))
    told = await agent.says({"session_id": "s1", "hook_event_name": "Stop"})

    assert told == {}
    assert agent.told()[2:] == [("tool_status", "cancelled", "t1")]
    assert [call.tool_call_id for call in broker.open("s1").snapshot().running] == ["t2"]
    await agent.says({"session_id": "s1", "hook_event_name": "SubagentStop", "agent_id": "sub"})
    assert broker.open("s1").snapshot().running == ()


async def test_request_of_a_call_that_has_run_is_withdrawn(agent: Agent) -> None:
    hook = agent.hook(pre())
    card = await agent.card()
    await agent.says(body("PostToolUse", tool_use_id="t1", tool_response="x"))

    assert card.record.status == "cancelled"
    assert behavior(await hook) == "deny"
    assert agent.statuses() == ["waiting_permission", "completed"]


async def test_other_hooks_get_no_opinion(agent: Agent) -> None:
    assert await agent.says({"session_id": "s1", "hook_event_name": "SessionStart", "source": "startup"}) == {}
    assert agent.told() == []


# What fails


async def test_agent_that_leaves_withdraws_what_it_asked() -> None:
    async with serving() as service:
        async with aiohttp.ClientSession(service.site.url) as leaving:
            hook = asyncio.ensure_future(leaving.post(PATH, json=pre()))
            desk = service.site.broker.open("s1").desk
            await until(lambda: desk.pending)
            (card,) = desk.pending
            hook.cancel()
        record = await asyncio.wait_for(card.decision(), 5)

        assert (record.status, record.reason) == ("cancelled", "the agent went away")
        status = service.site.broker.open("s1").state.tool_status
        assert status is not None
        assert status.status == "cancelled"


async def test_agent_that_leaves_an_embedding_application_withdraws_what_it_asked(
    embedded: aiohttp.ClientSession, broker: Broker
) -> None:
    hook = asyncio.ensure_future(embedded.post(PATH, json=pre()))
    await until(lambda: broker.open("s1").desk.pending)
    (card,) = broker.open("s1").desk.pending
    hook.cancel()

    assert (await asyncio.wait_for(card.decision(), 5)).status == "cancelled"


@pytest.mark.parametrize("event", ["PreToolUse", "PermissionRequest"])
async def test_what_cannot_be_asked_is_denied_in_the_answer(make_client: MakeClient, event: str) -> None:
    client = await make_client(max_pending_per_session=1)
    first = asyncio.ensure_future(client.post(PATH, json=body(event)))
    async with asyncio.timeout(5):
        while not (await (await client.get("/agent_backend/api/permissions/s1")).json())["data"]:
            pass

    status, told = await answer(await client.post(PATH, json=body(event)))
    first.cancel()

    assert (status, behavior(told)) == (200, "deny")
    assert "1 permission requests are pending" in json.dumps(told)


@pytest.mark.parametrize("event", ["PreToolUse", "PermissionRequest"])
async def test_parameters_too_large_for_an_event_are_asked_and_run_whole(agent: Agent, event: str) -> None:
    given = {"command": "x" * 300_000}
    hook = agent.hook(body(event, tool_input=given))
    agent.decide(await agent.card(), True)

    told = (await hook)["hookSpecificOutput"]
    assert told.get("updatedInput", told.get("decision", {}).get("updatedInput")) == given


async def test_service_that_shuts_down_denies(agent: Agent, broker: Broker) -> None:
    hook = agent.hook(pre())
    await agent.card()
    broker.close()

    assert behavior(await hook) == "deny"
    assert behavior(await agent.says(pre("t2"))) == "deny"
    assert behavior(await agent.says(permission())) == "deny"


async def test_session_that_ends_denies_and_forgets_its_calls(agent: Agent, broker: Broker) -> None:
    hook = agent.hook(pre())
    agent.decide(await agent.card(), True)
    await hook
    broker.end_session("s1")
    again = agent.hook(permission())
    await agent.card()
    broker.end_session("s1")

    assert behavior(await again) == "deny"


@pytest.mark.parametrize(
    "wrong",
    [
        {"session_id": "no such/id"},
        {"session_id": 7},
        {"hook_event_name": None},
        {"tool_name": ""},
        {"tool_name": None},
        {"tool_name": "x" * 257},
        {"tool_input": "rm"},
        {"tool_input": None},
        {"tool_input": []},
        {"tool_use_id": ""},
        {"tool_use_id": "x" * 300},
        {"tool_use_id": 7},
    ],
)
@pytest.mark.parametrize("asks", [pre, permission])
async def test_wrong_hook_is_denied_in_the_form_of_its_event(
    client: Client, broker: Broker, wrong: dict[str, Any], asks: Any
) -> None:
    status, told = await answer(await client.post(PATH, json={**asks(), **wrong}))

    assert (status, behavior(told)) == (200, "deny")
    assert "hook_event_name" in wrong or told["hookSpecificOutput"]["hookEventName"] == asks()["hook_event_name"]
    assert broker.sessions == ()


@pytest.mark.parametrize("query", ["timeout_seconds=soon", "agent=No!", "session_id=no/such", "surprise=1"])
async def test_hook_at_a_wrong_address_is_denied(client: Client, query: str) -> None:
    status, told = await answer(await client.post(f"{PATH}?{query}", json=permission()))

    assert (status, told["hookSpecificOutput"]["decision"]["behavior"]) == (200, "deny")


@pytest.mark.parametrize("event", ["preToolUse", "pre_tool_use", "PreToolUse ", "BeforeTool", "permission-request"])
async def test_event_that_asks_under_another_spelling_is_denied(client: Client, event: str) -> None:
    status, told = await answer(await client.post(PATH, json=body(event)))

    assert (status, behavior(told), told["decision"]) == (200, "deny", "block")


@pytest.mark.parametrize("event", ["PostToolUse", "PostToolUseFailure", "Stop"])
async def test_wrong_report_is_an_error_because_nothing_waits_for_it(client: Client, event: str) -> None:
    response = await client.post(PATH, json={**body(event), "tool_use_id": 7})

    assert await error_of(response) == (422, "invalid")


async def test_what_nobody_could_be_asked_about_is_told_to_who_watches_its_session(
    client: Client, broker: Broker
) -> None:
    log = broker.open("s1").log

    await client.post(PATH, json=pre(tool_use_id=7))
    await client.post(PATH, data=DOUBLED, headers={"Content-Type": "application/json"})

    told = [json.loads(event.json)["data"] for event in log.read_after(log.evicted)]
    assert [(data["status"], data["tool_name"]) for data in told] == [("denied", "Bash")] * 2
    assert "twice" in told[1]["details"]["reason"]


async def test_report_in_the_parameters_is_not_taken_for_the_event(client: Client) -> None:
    """What an agent writes into a call cannot make its hook look like one that asks for nothing."""
    sent = json.dumps({"before": {"hook_event_name": "PostToolUse"}, **pre(tool_use_id=7)})

    status, told = await answer(await client.post(PATH, data=sent, headers={"Content-Type": "application/json"}))

    assert (status, behavior(told), told["continue"]) == (200, "deny", False)


@pytest.mark.parametrize("sent", [b"", b"{", b"[]", b"null", b'{"a": NaN}', b"\xff", b"[" * 10_000, DOUBLED])
async def test_body_that_is_no_hook_is_a_denial(client: Client, sent: bytes) -> None:
    status, told = await answer(await client.post(PATH, data=sent, headers={"Content-Type": "application/json"}))

    assert (status, behavior(told)) == (200, "deny")


async def test_body_that_cannot_be_read_whole_is_a_denial(client: Client) -> None:
    sent = io.BytesIO(json.dumps(pre(tool_input={"numbers": [0] * 600_000})).encode())
    status, told = await answer(await client.post(PATH, data=sent, headers={"Content-Type": "application/json"}))

    assert (status, behavior(told)) == (200, "deny")


@pytest.mark.parametrize(
    "header", [{"Content-Type": "text/plain"}, {"Content-Type": "application/json; charset=utf-16"}]
)
async def test_hook_of_another_type_is_denied(client: Client, broker: Broker, header: dict[str, str]) -> None:
    status, told = await answer(await client.post(PATH, data=json.dumps(permission()), headers=header))

    assert (status, told["hookSpecificOutput"]["decision"]["behavior"]) == (200, "deny")
    assert broker.sessions == ()


async def test_web_page_asks_for_nothing(client: Client) -> None:
    assert (await client.post(PATH, json=pre(), headers={"Origin": "https://evil.example"})).status == 403
    assert (await client.post(PATH, json=pre(), headers={"Host": "evil.example"})).status == 403


@pytest.mark.parametrize("right", ["view", "approve"])
async def test_only_a_producer_may_send_hooks(guarded: Client, right: str) -> None:
    response = await guarded.post(PATH, json=pre(session_id="team-1"), headers=bearer(right))

    assert await error_of(response) == (403, "forbidden")


async def test_session_outside_the_patterns_is_forbidden(guarded: Client) -> None:
    for query, session_id in (({}, "private"), ({"session_id": "private"}, "team-1")):
        response = await guarded.post(PATH, json=pre(session_id=session_id), params=query, headers=bearer("produce"))

        assert await error_of(response) == (403, "forbidden")


async def test_who_asks_can_never_approve(guarded: Client, broker: Broker) -> None:
    async with working(guarded, broker):
        hook = asyncio.ensure_future(guarded.post(PATH, json=pre(session_id="team-1"), headers=bearer("produce")))
        await until(lambda: broker.open("team-1").desk.pending)
        path = "/agent_backend/api/sse/permission-response/team-1"
        response = await guarded.post(path, json={"approved": True}, headers=bearer("produce"))
        assert await error_of(response) == (403, "forbidden")
        hook.cancel()


async def test_hundred_calls_at_once_are_a_hundred_cards(agent: Agent) -> None:
    hooks = [agent.hook(pre(f"t{number}")) for number in range(100)]
    await agent.card(100)
    for number, card in enumerate(agent.cards()):
        agent.decide(card, number % 2 == 0)

    answers = [behavior(await hook) for hook in hooks]
    assert (answers.count("allow"), answers.count("deny")) == (50, 50)
