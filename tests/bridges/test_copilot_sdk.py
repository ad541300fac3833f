"""What the Copilot SDK asks is asked here: whole, without an edit, and approved once."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from notifier_service import Broker, Client, Decision
from notifier_service.bridges.copilot_sdk import copilot_approval
from notifier_service.calls.service_asker import ServiceAsker
from notifier_service.core.permission_request import PermissionRequest

SHELL = {
    "kind": "shell", "fullCommandText": "touch made && echo yes", "intention": "make", "toolCallId": "call_1",
    "canOfferSessionApproval": True, "commands": [{"identifier": "touch", "readOnly": False}],
    "commandSegments": [{"fullCommandText": "touch made", "identifier": "touch"}], "possiblePaths": ["made"],
    "possibleUrls": [], "hasWriteFileRedirection": False,
}  # fmt: skip


class Once:
    kind = "approve-once"


class Reject:
    kind = "reject"

    def __init__(self, feedback: str) -> None:
        self.feedback = feedback


@pytest.fixture(autouse=True)
def sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two answers of the SDK, which is not installed here."""
    rpc = ModuleType("copilot.rpc")
    vars(rpc).update(PermissionDecisionApproveOnce=Once, PermissionDecisionReject=Reject)
    monkeypatch.setitem(sys.modules, "copilot", ModuleType("copilot"))
    monkeypatch.setitem(sys.modules, "copilot.rpc", rpc)


async def asked(told: dict[str, Any], **decision: Any) -> tuple[PermissionRequest, Any]:
    broker = Broker()
    session = broker.open("s")
    handler = copilot_approval("s", service=broker)
    answer = asyncio.ensure_future(handler(SimpleNamespace(to_dict=lambda: told), {"session_id": "x"}))
    while not session.desk.pending:
        await session.log.wait_after(session.log.last_seq)
    request = session.desk.pending[0]
    broker.decide("s", Decision(request_id=request.request_id, **decision), decided_by="ada")
    answered = await answer
    broker.close()
    return request, answered


async def test_command_is_shown_as_it_runs_and_approved_once() -> None:
    request, answer = await asked(SHELL, approved=True, scope="session")

    assert isinstance(answer, Once)
    record = request.record
    assert (record.tool_name, record.tool_call_id, record.description) == ("shell", "call_1", "make")
    assert record.parameters == {"command": "touch made && echo yes"}
    assert record.allowed_decisions == ("approve", "reject")
    assert record.risk_level == "high"


async def test_rejection_tells_who_and_why() -> None:
    _, answer = await asked(SHELL, approved=False, reason="not now")

    assert answer.feedback == "shell did not run: rejected by ada: not now"


WRITE = {
    "diff": "@@ -1 +1 @@\n-a\n+b\n", "fileName": "/srv/a", "newFileContents": "b\n",
    "fileEdits": [{"after": {"content": "b\n", "path": "/srv/a"}}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("told", "name", "shown", "risk"),
    [
        (
            SHELL | {"requestSandboxBypass": True, "requestSandboxBypassReason": "net", "warning": "rm"},
            "shell_without_sandbox",
            {"command": SHELL["fullCommandText"], "requestSandboxBypass": True, "requestSandboxBypassReason": "net",
             "warning": "rm"},
            "high",
        ),
        ({"kind": "write", "intention": "Edit file", **WRITE}, "write", WRITE, "medium"),
        ({"kind": "read", "intention": "Read", "path": "/etc/x"}, "read", {"path": "/etc/x"}, "medium"),
        ({"kind": "url", "intention": "Get", "url": "http://a/"}, "url", {"url": "http://a/"}, "medium"),
        ({"kind": "custom-tool", "toolName": "pay", "args": {"to": "x"}}, "pay", {"to": "x"}, "high"),
        ({"kind": "custom-tool", "toolName": "pay"}, "pay", {}, "high"),
        ({"kind": "hook", "toolName": "bash", "toolArgs": "ls"}, "bash", {"input": "ls"}, "high"),
        ({"kind": "of-tomorrow", "count": 0, "not": False}, "of-tomorrow", {"count": 0}, "high"),
    ],
)  # fmt: skip
async def test_each_kind_is_shown_whole(told: dict[str, Any], name: str, shown: dict[str, Any], risk: str) -> None:
    request, _ = await asked(told, approved=False)

    assert (request.record.tool_name, request.record.parameters, request.record.risk_level) == (name, shown, risk)


async def test_tool_of_a_server_is_told_with_its_server() -> None:
    told = {"kind": "mcp", "serverName": "mail", "toolName": "send", "args": {"to": "x"}, "readOnly": True}
    request, _ = await asked(told, approved=True)

    assert (request.record.tool_name, request.record.server, request.record.risk_level) == ("send", "mail", "high")


@pytest.mark.parametrize("told", [{"kind": "shell", "fullCommandText": " "}, {"kind": "write", "intention": "Edit"}])
async def test_what_nobody_could_judge_is_rejected(told: dict[str, Any]) -> None:
    answer = await copilot_approval("s", service=Broker())(SimpleNamespace(to_dict=lambda: told), {})

    assert answer.feedback == f"{told['kind']} did not run: it was not told what it would do."


async def test_service_that_is_away_rejects(unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier_service.calls.service_asker.ServiceAsker", partial(ServiceAsker, ask_seconds=0.1))
    async with Client(f"http://127.0.0.1:{unused_tcp_port}") as client:
        answer = await copilot_approval("s", service=client)(SimpleNamespace(to_dict=lambda: SHELL), {})

    assert answer.feedback.startswith("shell did not run: ")
