"""The same outcome of a call has the same words, whoever makes the call and however it is asked about."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Decision, Limits, SimpleNotifier, ToolWrapper
from notifier_service.core.broker import set_process_broker
from notifier_service.core.permission_request import PermissionRequest
from tests.mcp.http_wiring import HttpWiring
from tests.mcp.stdio_client import call
from tests.mcp.wiring import Wiring
from tests.policies import a_policy_file

from .conftest import Client, MakeClient

DECISIONS: Mapping[str, dict[str, Any]] = {
    "completed": {"approved": True},
    "failed": {"approved": True},
    "edited": {"approved": True, "parameters": {"path": "b"}},
    "responded": {"approved": False, "response": "it is 42"},
    "denied by a person": {"approved": False, "reason": "not today"},
}
ALLOW_AND_DENY = ["approve", "edit", "reject", "respond"]

#: What follows the question: each event, and the details that tell what became of the call.
EXECUTING = ("executing", {"parameters": {"path": "a"}})
RESULT = ("tool_result", {"success": True})
WORDS: Mapping[str, list[tuple[str, dict[str, Any]]]] = {
    "completed": [EXECUTING, RESULT, ("completed", {})],
    "failed": [EXECUTING, ("tool_result", {"success": False, "error": "ERROR"}), ("failed", {"error": "ERROR"})],
    "edited": [("executing", {"parameters": {"path": "b"}}), RESULT, ("completed", {})],
    "responded": [("tool_result", {"success": True, "result": "it is 42"}), ("completed", {"answered_by": "ada"})],
    "denied by a person": [
        ("denied", {"outcome": "rejected", "reason": "TOOL did not run: rejected by ada: not today"})
    ],
    "denied by policy": [
        (
            "denied",
            {
                "outcome": "policy",
                "reason": 'TOOL did not run: denied by policy rule "RULE": not here',
                "rule": "RULE",
                "justification": "not here",
            },
        )
    ],
    "expired": [
        (
            "denied",
            {
                "outcome": "expired",
                "reason": "TOOL did not run: nobody answered within N s (0 could see the request).",
            },
        )
    ],
    "cancelled": [
        (
            "cancelled",
            {"outcome": "cancelled", "reason": "TOOL did not run: the request was cancelled because CAUSE."},
        )
    ],
}


class Voice:
    """Makes calls of one tool, each of which is asked about."""

    limits = Limits(ask_from_risk="low")
    outcomes: tuple[str, ...] = tuple(WORDS)
    error = "no"
    cause = "the call was cancelled"

    def __init__(self, broker: Broker, stack: AsyncExitStack, make_client: MakeClient, folder: Path) -> None:
        self.broker = broker
        self.stack = stack
        self.make_client = make_client
        self.folder = folder
        self.task: asyncio.Task[Any] | None = None

    async def begin(self, outcome: str, seconds: float | None) -> None:
        """Make the call, and do not wait for it."""
        raise NotImplementedError

    async def leave(self) -> None:
        """Take the call back."""
        assert self.task is not None
        self.task.cancel()

    async def over(self, outcome: str) -> None:
        """Wait until the call has ended."""
        assert self.task is not None
        await asyncio.wait({self.task})

    async def asked(self) -> PermissionRequest:
        session = self.broker.open("s")
        async with asyncio.timeout(15):
            while not session.desk.pending:
                await session.log.wait_after(session.log.last_seq)
        return session.desk.pending[-1]

    async def decide(self, **decision: Any) -> None:
        request = await self.asked()
        self.broker.decide("s", Decision(request_id=request.request_id, **decision), decided_by="ada")


class Wrapper(Voice):
    error = "ValueError: no"

    async def begin(self, outcome: str, seconds: float | None) -> None:
        async def write(path: str) -> str:
            if outcome == "failed":
                raise ValueError("no")
            return f"wrote {path}"

        tool = ToolWrapper(write, session_id="s", broker=self.broker, timeout_seconds=seconds)
        self.task = asyncio.create_task(tool(path="a"))


class StdioGateway(Voice):
    wiring: Wiring | None = None

    async def begin(self, outcome: str, seconds: float | None) -> None:
        if self.wiring is None:
            self.wiring = Wiring(self.broker, self.folder / "reached")
            self.wiring.start(approval_seconds=seconds)
            self.stack.push_async_callback(self.wiring.close)
        await self.wiring.client.send(call(1, "fail" if outcome == "failed" else "write", {"path": "a"}))

    async def leave(self) -> None:
        assert self.wiring is not None
        await self.wiring.client.send(
            {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        )

    async def over(self, outcome: str) -> None:
        assert self.wiring is not None
        if outcome == "cancelled":
            await self.wiring.told("cancelled")
        else:
            await self.wiring.client.message()


class HttpGateway(Voice):
    wiring: HttpWiring | None = None

    async def begin(self, outcome: str, seconds: float | None) -> None:
        if self.wiring is None:
            self.wiring = HttpWiring(self.broker)
            await self.wiring.start(approval_seconds=seconds)
            self.wiring.stub.tools = []
            self.stack.push_async_callback(self.wiring.close)
        if outcome == "failed":
            self.wiring.stub.answers = (
                b'{"jsonrpc":"2.0","id":1,"error":{"code":7,"message":"no"}}',
                "application/json",
            )
        self.task = self.wiring.posting(call(1, "write", {"path": "a"}))

    async def over(self, outcome: str) -> None:
        await super().over(outcome)
        assert self.wiring is not None
        if outcome == "cancelled":
            await self.wiring.told("cancelled")


class Hook(Voice):
    cause = "the agent went away"
    tool = "Bash"
    client: Client | None = None
    number = 0

    async def begin(self, outcome: str, seconds: float | None) -> None:
        if self.client is None:
            self.client = await self.make_client(self.broker)
        self.number += 1
        await self.ask({} if seconds is None else {"timeout_seconds": str(seconds)})

    async def ask(self, query: dict[str, str]) -> None:
        self.task = asyncio.create_task(self.hook("PreToolUse", query))

    async def hook(self, event: str, query: dict[str, str] | None = None, **more: Any) -> None:
        assert self.client is not None
        body: dict[str, Any] = {
            "session_id": "s",
            "hook_event_name": event,
            "tool_name": self.tool,
            "tool_input": {"path": "a"},
        }
        body |= {"tool_use_id": f"t{self.number}", **more}
        await (await self.client.post("/hooks/claude-code", json=body, params=query or {})).read()

    async def over(self, outcome: str) -> None:
        await super().over(outcome)
        if outcome in ("completed", "edited"):
            await self.hook("PostToolUse", tool_response="done")
        elif outcome == "failed":
            await self.hook("PostToolUseFailure", error="no")
        elif outcome == "cancelled":
            session = self.broker.open("s")
            async with asyncio.timeout(15):
                while (status := session.snapshot().tool_status) is None or status.status != "cancelled":
                    await session.log.wait_after(session.log.last_seq)


class PromptTool(Hook):
    """Asks about what the policy lets run, so that the hook had no opinion."""

    limits = Limits()
    tool = "Read"

    async def ask(self, query: dict[str, str]) -> None:
        await self.hook("PreToolUse")
        arguments = {"tool_name": self.tool, "input": {"path": "a"}, "tool_use_id": f"t{self.number}"}
        message = call(self.number, "approval_prompt", arguments)

        async def prompt() -> None:
            assert self.client is not None
            await (await self.client.post("/mcp/s", json=message, params=query)).read()

        self.task = asyncio.create_task(prompt())


class Notifier(Voice):
    """Tells that its call runs and what it gave; that it was denied its caller knows, and does not tell."""

    outcomes = ("completed", "edited")

    async def begin(self, outcome: str, seconds: float | None) -> None:
        set_process_broker(self.broker)
        self.task = asyncio.create_task(self.call())

    async def call(self) -> None:
        info: dict[str, Any] = {
            "tool_name": "write",
            "parameters": {"path": "a"},
            "tool_call_id": "c",
            "allowed_decisions": ALLOW_AND_DENY,
        }
        request = await SimpleNotifier.notify_tool_waiting_permission("s", info)
        record = await request.decision()
        info["parameters"] = record.parameters
        await SimpleNotifier.notify_tool_execution_start("s", info)
        await SimpleNotifier.notify_tool_execution_complete("s", info, "done", True)


VOICES: tuple[type[Voice], ...] = (Wrapper, StdioGateway, HttpGateway, Hook, PromptTool, Notifier)


@asynccontextmanager
async def speaking(kind: type[Voice], make_client: MakeClient, folder: Path) -> AsyncIterator[Voice]:
    broker = Broker(kind.limits)
    async with AsyncExitStack() as stack:
        stack.callback(broker.close)
        yield kind(broker, stack, make_client, folder)


def heard(voice: Voice) -> list[tuple[str, dict[str, Any]]]:
    """What the session was told of the last call after the question, without what differs from call to call."""
    events = [json.loads(event.json) for event in voice.broker.open("s").log.read_after(0)]
    asked = next(event["data"] for event in reversed(events) if "decision" in event["data"])
    told: list[tuple[str, dict[str, Any]]] = []
    for event in events:
        data = event["data"]
        if data.get("tool_call_id") != asked["tool_call_id"]:
            continue
        if data.get("status") == "waiting_permission":
            told.clear()  # a call that the policy lets run was told to run before its agent asked about it
        elif event["type"] == "tool_status":
            details = data["details"]
            assert details.pop("risk_level") == asked["risk_level"]
            assert details.pop("start_time", None) is None or data["status"] == "executing"
            assert details.pop("duration_ms", 0) >= 0
            assert details.pop("request_id", asked["request_id"]) == asked["request_id"]
            if "reason" in details:
                details["reason"] = plain(details["reason"], asked, voice)
            if "rule" in details:
                details["rule"] = details["rule"].replace(asked["rule"], "RULE")
            if "error" in details:
                details["error"] = details["error"].replace(voice.error, "ERROR")
            told.append((data["status"], details))
        elif event["type"] == "tool_result":
            kept: dict[str, Any] = {"success": data["success"]}
            if "error" in data:
                kept["error"] = data["error"].replace(voice.error, "ERROR")
            if data["result"] == "it is 42":
                kept["result"] = data["result"]
            told.append(("tool_result", kept))
    return told


def plain(reason: str, asked: dict[str, Any], voice: Voice) -> str:
    reason = re.sub(f"^{asked['tool_name']}", "TOOL", reason).replace(voice.cause, "CAUSE")
    reason = re.sub(r"within [\d.]+ s", "within N s", reason)
    return reason.replace(asked["rule"], "RULE") if asked["decided_by"] == "policy" else reason


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [(kind, outcome) for kind in VOICES for outcome in WORDS if outcome in kind.outcomes],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
async def test_the_same_outcome_has_the_same_words(
    kind: type[Voice], outcome: str, make_client: MakeClient, tmp_path: Path
) -> None:
    async with speaking(kind, make_client, tmp_path) as voice:
        if outcome == "denied by policy":
            await voice.begin(outcome, None)
            await voice.decide(approved=False, scope="session", reason="not here")
            await voice.over(outcome)
        await voice.begin(outcome, 0.2 if outcome == "expired" else None)
        if outcome == "cancelled":
            await voice.asked()
            await voice.leave()
        elif outcome in DECISIONS:
            await voice.decide(**DECISIONS[outcome])
        with contextlib.suppress(asyncio.CancelledError):
            await voice.over(outcome)

        assert heard(voice) == WORDS[outcome]


@pytest.mark.parametrize("kind", [kind for kind in VOICES if kind is not Notifier], ids=lambda kind: kind.__name__)
async def test_rule_of_the_policy_file_denies_through_every_door(
    kind: type[Voice], make_client: MakeClient, tmp_path: Path
) -> None:
    tool = getattr(kind, "tool", "write")
    async with speaking(kind, make_client, tmp_path) as voice:
        voice.broker.follow(a_policy_file(tmp_path / "policy.toml", deny=tool))
        await voice.begin("denied by policy", None)
        with contextlib.suppress(asyncio.CancelledError):
            await voice.over("denied by policy")

        [(status, details)] = heard(voice)
        assert (status, details["outcome"], details["rule"]) == ("denied", "policy", "RULE")
        assert details["justification"] == f"because of {tool}"
        assert details["reason"] == f'TOOL did not run: denied by policy rule "RULE": because of {tool}'
        events = [json.loads(event.json) for event in voice.broker.open("s").log.read_after(0)]
        [record] = [event["data"] for event in events if event["type"] == "permission_response_result"]
        assert (record["status"], record["decided_by"], record["rule"]) == ("rejected", "policy", f"no {tool}")
