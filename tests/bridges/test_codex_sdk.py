"""What the Codex SDK asks is asked here: whole, without an edit, once, and refused where nobody could judge it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from notifier_service import Decision, Settings, sync
from notifier_service.bridges.codex_sdk import CodexApprovals
from notifier_service.calls.service_asker import ServiceAsker
from notifier_service.core.permission_request import PermissionRequest

COMMAND = "item/commandExecution/requestApproval"
FILES = "item/fileChange/requestApproval"
RUN = {
    "kind": "command", "threadId": "t", "turnId": "u", "itemId": "c1", "startedAtMs": 1, "environmentId": "local",
    "command": "/bin/bash -lc 'touch made'", "cwd": "/srv", "reason": "please",
    "commandActions": [{"type": "unknown", "command": "touch made"}], "proposedExecpolicyAmendment": ["touch"],
    "availableDecisions": ["accept", {"acceptWithExecpolicyAmendment": {"execpolicy_amendment": ["touch"]}}],
}  # fmt: skip
CHANGE = {"threadId": "t", "turnId": "u", "itemId": "c1", "startedAtMs": 1, "reason": None, "grantRoot": None}
CHANGES = [{"path": "/srv/made", "kind": {"type": "add"}, "diff": "hello\n"}]


@pytest.fixture(scope="module")
def service() -> Iterator[sync.Service]:
    with sync.serve_in_thread(Settings(port=0)) as service:
        yield service


@pytest.fixture
def session_id(request: pytest.FixtureRequest) -> str:
    return "s-" + str(abs(hash(request.node.nodeid)))


@pytest.fixture
def seen(service: sync.Service, session_id: str) -> Iterator[Callable[..., Any]]:
    """What is shown when ``approvals`` are asked, and what they answer once a person has."""
    threads: list[threading.Thread] = []

    def ask(approvals: CodexApprovals, method: str, params: Any, **decision: Any) -> tuple[PermissionRequest, Any]:
        answers: list[Any] = []
        threads.append(threading.Thread(target=lambda: answers.append(approvals(method, params))))
        threads[-1].start()

        async def decide(_: Any) -> PermissionRequest:
            session = service.broker.open(session_id)
            while not session.desk.pending:
                await session.log.wait_after(session.log.last_seq)
            request = session.desk.pending[-1]
            if decision:
                made = Decision(request_id=request.request_id, **decision)
                service.broker.decide(session_id, made, decided_by="ada")
            return request

        request = service.loop.wait(decide, "a person")
        if not decision:
            approvals.close()
        threads[-1].join(10)
        return request, answers[0]

    yield ask
    assert not any(thread.is_alive() for thread in threads)


@pytest.fixture
def approvals(service: sync.Service, session_id: str) -> CodexApprovals:
    return CodexApprovals(session_id, service=service)


def started(changes: Any = CHANGES, **more: Any) -> dict[str, Any]:
    item = {"type": "fileChange", "id": "c1", "changes": changes, "status": "inProgress"}
    return {"threadId": "t", "turnId": "u", "item": item | more}


def test_command_is_shown_as_it_runs_and_accepted_once(approvals: CodexApprovals, seen: Callable[..., Any]) -> None:
    request, answer = seen(approvals, COMMAND, RUN, approved=True, scope="session")

    assert answer == {"decision": "accept"}
    record = request.record
    assert (record.tool_name, record.tool_call_id, record.description) == ("Bash", "c1", "please")
    assert record.parameters == {"command": "/bin/bash -lc 'touch made'", "cwd": "/srv"}
    assert record.allowed_decisions == ("approve", "reject")
    assert record.risk_level == "high"


def test_rejected_command_is_declined(approvals: CodexApprovals, seen: Callable[..., Any]) -> None:
    assert seen(approvals, COMMAND, RUN, approved=False)[1] == {"decision": "decline"}


@pytest.mark.parametrize(
    "more",
    [
        {"networkApprovalContext": {"host": "example.org", "protocol": "https"}, "command": None},
        {"kind": "writeStdin"},
        {"environmentId": "vm-2"},
        {"additionalPermissions": {"network": {"enabled": True}}},
    ],
)
def test_what_is_more_than_a_command_is_shown_whole_under_another_name(
    more: dict[str, Any], approvals: CodexApprovals, seen: Callable[..., Any]
) -> None:
    request, _ = seen(approvals, COMMAND, RUN | more, approved=False)

    assert request.record.tool_name == "codex_escalation"
    told = {"command": RUN["command"], "cwd": "/srv"} | more
    assert request.record.parameters == {name: value for name, value in told.items() if value is not None}


def test_changes_of_files_are_shown_as_the_newest_notification_told_them(
    approvals: CodexApprovals, seen: Callable[..., Any]
) -> None:
    later = [
        *CHANGES,
        {"path": "/etc/x", "kind": {"type": "update", "move_path": None}, "diff": "@@ -1 +1 @@\n-a\n+b\n"},
    ]
    approvals.saw("item/started", started())
    approvals.saw("item/fileChange/patchUpdated", {"threadId": "t", "itemId": "c1", "changes": later})
    request, answer = seen(approvals, FILES, CHANGE, approved=True)

    assert answer == {"decision": "accept"}
    assert (request.record.tool_name, request.record.risk_level) == ("apply_patch", "medium")
    assert request.record.parameters == {"changes": later}


@pytest.mark.parametrize(
    ("notification", "params"),
    [
        (None, None),
        ("item/started", started(threadId="other") | {"threadId": "other"}),
        ("item/started", started(changes=[])),
        ("item/started", started(changes=None)),
        ("item/started", started(changes=[{"path": "/srv/made"}])),
        ("item/started", started(changes=[{"path": "", "diff": "x"}])),
        ("item/started", started(type="commandExecution")),
        ("item/started", started(id=7)),
        ("item/started", {"item": "c1"}),
        ("item/started", "c1"),
        ("turn/started", started()),
    ],
)
def test_changes_of_files_that_were_not_told_are_declined(
    notification: str | None, params: Any, approvals: CodexApprovals
) -> None:
    if notification is not None:
        approvals.saw(notification, params)

    assert approvals(FILES, CHANGE) == {"decision": "decline"}


def test_changes_that_have_ended_are_not_shown_for_another_question(approvals: CodexApprovals) -> None:
    approvals.saw("item/started", started())
    approvals.saw("item/completed", started())

    assert approvals(FILES, CHANGE) == {"decision": "decline"}


def test_changes_that_would_open_a_folder_for_the_session_are_declined(approvals: CodexApprovals) -> None:
    approvals.saw("item/started", started())

    assert approvals(FILES, CHANGE | {"grantRoot": "/"}) == {"decision": "decline"}


def test_permissions_are_given_for_the_turn_as_they_were_shown(
    approvals: CodexApprovals, seen: Callable[..., Any]
) -> None:
    asked = {"network": {"enabled": True}, "fileSystem": None}
    params = {"threadId": "t", "turnId": "u", "itemId": "p1", "startedAtMs": 1, "cwd": "/srv", "permissions": asked}
    method = "item/permissions/requestApproval"
    request, answer = seen(approvals, method, params, approved=True)

    assert request.record.parameters == {"cwd": "/srv", "permissions": asked}
    assert answer == {"permissions": asked, "scope": "turn"}
    assert seen(approvals, method, params, approved=False)[1] == {"permissions": {}, "scope": "turn"}


@pytest.mark.parametrize(
    ("method", "params", "refusal"),
    [
        (COMMAND, None, {"decision": "decline"}),
        (COMMAND, {"threadId": "t", "itemId": "c1", "cwd": "/srv"}, {"decision": "decline"}),
        (COMMAND, RUN | {"command": " "}, {"decision": "decline"}),
        (COMMAND, RUN | {"command": ["touch", "made"]}, {"decision": "decline"}),
        ("item/permissions/requestApproval", {"permissions": {}}, {"permissions": {}, "scope": "turn"}),
        ("execCommandApproval", {"command": ["touch", "made"], "cwd": "/"}, {"decision": "denied"}),
        ("applyPatchApproval", {"fileChanges": {}}, {"decision": "denied"}),
        ("mcpServer/elicitation/request", {"message": "?"}, {"action": "decline"}),
        ("item/tool/requestUserInput", {"questions": []}, {"answers": {}}),
        ("of/tomorrow", {"command": "touch made"}, {}),
    ],
)
def test_what_nobody_could_judge_is_refused_in_the_words_of_the_request(
    method: str, params: Any, refusal: dict[str, Any], approvals: CodexApprovals
) -> None:
    assert approvals(method, params) == refusal


def test_service_that_is_away_declines(unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier_service.calls.service_asker.ServiceAsker", partial(ServiceAsker, ask_seconds=0.1))
    approvals = CodexApprovals("s", service=f"http://127.0.0.1:{unused_tcp_port}")

    assert approvals(COMMAND, RUN) == {"decision": "decline"}


def test_name_that_no_session_has_declines(service: sync.Service) -> None:
    assert CodexApprovals("../x", service=service)(COMMAND, RUN) == {"decision": "decline"}


def test_client_that_closes_withdraws_what_waits(approvals: CodexApprovals, seen: Callable[..., Any]) -> None:
    request, answer = seen(approvals, COMMAND, RUN)

    assert answer == {"decision": "decline"}
    assert request.record.status == "cancelled"
    assert approvals(COMMAND, RUN) == {"decision": "decline"}
