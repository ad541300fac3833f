"""A believable morning of an agent, the same each time: what the pictures show, and what axe looks at."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from notifier_service import Broker
from notifier_service.core.events import utc_now
from notifier_service.core.label import Label
from notifier_service.core.limits import RiskLevel
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.question import Decision

__all__ = ["SESSION", "busy", "decided", "desk", "done", "others", "prepared", "waiting"]

SESSION = "release-2.4"

_CHANGES = """\
## 2.4.0

- Invoices can be sent as e-mail.
- A report no longer counts the last day of a month twice.
"""


class _Agent:
    """Works, at times that look like work, until now at the latest."""

    def __init__(self, broker: Broker, session_id: str, *, seconds_ago: float) -> None:
        self._broker = broker
        self._session_id = session_id
        self._now = utc_now() - timedelta(seconds=seconds_ago)
        self._calls = 0

    def says(self, text: str) -> None:
        self._publish("agent_message", {"text": text})
        self._pass(1.4)

    def asks(self, tool_name: str, risk_level: RiskLevel, parameters: dict[str, Any], **more: Any) -> PermissionRequest:
        self._calls += 1
        return self._broker.ask(
            self._session_id, tool_name=tool_name, parameters=parameters, risk_level=risk_level,
            tool_call_id=f"call-{self._calls}", announce_status=True, **more,
        )  # fmt: skip

    def hears(self, request: PermissionRequest, *, approved: bool, reason: str | None = None) -> dict[str, Any]:
        decision = Decision(approved=approved, reason=reason, request_id=request.request_id)
        self._broker.decide(self._session_id, decision, decided_by="anna")
        record = request.record
        call = {"tool_name": record.tool_name, "tool_call_id": record.tool_call_id}
        self._status(call, "executing" if approved else "denied", parameters=record.parameters)
        return call

    def begins(self, tool_name: str, **parameters: Any) -> dict[str, Any]:
        self._calls += 1
        call = {"tool_name": tool_name, "tool_call_id": f"call-{self._calls}"}
        self._status(call, "executing", parameters=parameters, risk_level="low")
        return call

    def progresses(self, call: dict[str, Any], progress: float, total: float, message: str) -> None:
        self._publish("tool_progress", {**call, "progress": progress, "total": total, "message": message})

    def ends(self, call: dict[str, Any], result: Any, *, seconds: float, error: str | None = None) -> None:
        self._pass(seconds)
        outcome = {"success": True, "result": result} if error is None else {"success": False, "error": error}
        self._publish("tool_result", {**call, **outcome, "duration_ms": seconds * 1000})
        self._status(call, "completed" if error is None else "failed")

    def _pass(self, seconds: float) -> None:
        self._now = min(self._now + timedelta(seconds=seconds), utc_now())

    def _status(self, call: dict[str, Any], status: str, **details: Any) -> None:
        self._publish("tool_status", {**call, "status": status, "details": details})

    def _publish(self, event_type: str, data: dict[str, Any]) -> None:
        timestamp = self._now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._broker.publish_nowait(self._session_id, event_type, {**data, "timestamp": timestamp})


def prepared(broker: Broker, *, seconds_ago: float = 60) -> _Agent:
    """The agent has looked around."""
    agent = _Agent(broker, SESSION, seconds_ago=seconds_ago)
    agent.says("I prepare release 2.4.0: read what changed, run the tests, write the notes, publish.")
    agent.ends(agent.begins("list_folder", path="."), ["CHANGES.md", "billing/", "reports/", "tests/"], seconds=0.04)
    agent.ends(agent.begins("read_file", path="CHANGES.md"), _CHANGES, seconds=0.01)
    agent.ends(
        agent.begins("fetch", url="https://ci.example.com/billing/main"),
        None,
        seconds=2.1,
        error="TimeoutError: ci.example.com did not answer within 2 s",
    )
    agent.says("The build server does not answer, so I run the tests here.")
    tests = agent.begins("run_tests", suite="all")
    agent.progresses(tests, 418, 418, "tests/reports/test_month.py")
    agent.ends(tests, {"passed": 416, "skipped": 2, "failed": 0}, seconds=48.3)
    return agent


def waiting(broker: Broker) -> None:
    """It asks for three things at once."""
    agent = prepared(broker)
    agent.says("All tests pass. I would like to tell the customers, write the notes, and publish.")
    agent.asks(
        "send_email",
        "high",
        {
            "to": "customers@example.com",
            "subject": "Billing 2.4.0",
            "account_id": 9007199254740993,
            "attachment": "reports/invoice\u202efdp.exe",
        },
        description="Sends the announcement, with a sample invoice as PDF.",
        risk_reasons=["reaches 2,318 people"],
    )
    agent.asks(
        "write_file",
        "medium",
        {"path": "CHANGES.md", "text": _CHANGES},
        description="Writes the notes of the release.",
    )
    agent.asks(
        "run_command",
        "high",
        {"argv": ["git", "push", "origin", "v2.4.0"], "cwd": "/srv/billing", "timeout_seconds": 60},
        description="Publishes the tag. This is safe.",
        risk_reasons=["runs a program", "changes something outside of this machine"],
    )


def busy(broker: Broker) -> None:
    """It works, on two things at once."""
    agent = prepared(broker, seconds_ago=72)
    agent.says("All tests pass. I build the packages, and upload the sources meanwhile.")
    build = agent.begins("build_package", target="linux-amd64")
    upload = agent.begins("upload", file="billing-2.4.0.tar.gz", to="packages.example.com")
    agent.progresses(build, 31, 48, "compiling billing/reports/month.c")
    agent.progresses(upload, 5_870_000, 18_250_000, "5.6 of 17.4 MiB")


def done(broker: Broker) -> None:
    """All is decided and done, one way or another."""
    agent = prepared(broker)
    notes = agent.asks("write_file", "medium", {"path": "CHANGES.md", "text": _CHANGES})
    agent.ends(agent.hears(notes, approved=True), {"bytes": len(_CHANGES)}, seconds=0.02)
    agent.says("The notes are written. Now I publish.")
    push = agent.asks("run_command", "high", {"argv": ["git", "push", "--force", "origin", "main"]})
    agent.hears(push, approved=False, reason="never force; push the tag only")
    agent.says("I was told not to force, and push the tag only.")
    push = agent.asks("run_command", "high", {"argv": ["git", "push", "origin", "v2.4.0"]})
    agent.ends(agent.hears(push, approved=True), {"exit_code": 0}, seconds=3.7)
    agent.says("Release 2.4.0 is out.")


def others(broker: Broker) -> None:
    """More sessions, for a list of them."""
    for session_id, steps in (("nightly-report", 12), ("support-4711", 3), ("migration:customers", 40)):
        agent = _Agent(broker, session_id, seconds_ago=600)
        for step in range(steps):
            agent.says(f"Step {step + 1} of {steps}.")
    for table in ("customers", "addresses"):
        broker.ask(
            "migration:customers", tool_name="drop_table", parameters={"table": f"old_{table}"}, risk_level="high"
        )


def desk(broker: Broker) -> None:
    """A desk in the morning: several agents at work, and what they ask, some of it alike."""
    decided(broker)
    prepared(broker).says("All tests pass. I would like to publish.")
    for session_id, title, agent in (
        (SESSION, "Release 2.4 of billing", "Claude Code"),
        ("nightly-report", "Monthly figures", "report agent"),
        ("support-4711", "Refund for order 4711", "support agent"),
        ("migration:customers", "Move the customers' table", "Codex"),
    ):
        broker.label(session_id, Label(title=title, agent=agent))
    _Agent(broker, "nightly-report", seconds_ago=30).says("Eleven months are read, September is not complete.")
    broker.ask(
        SESSION, tool_name="edit_file", risk_level="medium", timeout_seconds=240, workspace="/srv/billing",
        parameters={
            "path": "/srv/billing/reports/month.py",
            "old_text": "def last_day(month):\n    if month == 2:\n        return 28\n    return 30\n",
            "new_text": "def last_day(month, year):\n    return monthrange(year, month)[1]\n",
        },
        description="The last day of a month is counted right, also in leap years.",
    )  # fmt: skip
    broker.ask(SESSION, tool_name="run_command", parameters={"command": "git push origin v2.4.0"}, timeout_seconds=420)
    for month in (9, 10, 11):
        path = f"/srv/figures/2026-{month:02}.csv"
        broker.ask("nightly-report", tool_name="read_file", parameters={"path": path}, risk_level="medium")
    broker.ask(
        "support-4711", tool_name="refund", risk_level="high",
        parameters={"order": 4711, "amount": "129.00", "currency": "EUR", "to": "the card that paid"},
    )  # fmt: skip
    broker.ask("migration:customers", tool_name="drop_table", parameters={"table": "old_customers"}, risk_level="high")


def decided(broker: Broker) -> None:
    """What people have decided this morning, in several sessions."""
    for session_id, tool_name, parameters, approved, reason in (
        ("nightly-report", "read_file", {"path": "/srv/figures/2026-08.csv"}, True, None),
        (
            "nightly-report",
            "send_email",
            {"to": "board@example.com", "subject": "Figures"},
            False,
            "September is missing",
        ),
        (SESSION, "edit_file", {"path": "/srv/billing/CHANGES.md", "old_text": "", "new_text": _CHANGES}, True, None),
        (SESSION, "run_command", {"command": "git push --force origin main"}, False, "never force; push the tag only"),
        ("support-4711", "refund", {"order": 4702, "amount": "18.50", "currency": "EUR"}, True, None),
        (SESSION, "edit_file", {"path": "/srv/billing/setup.cfg", "old_text": "2.3", "new_text": "2.4"}, True, None),
    ):
        request = broker.ask(session_id, tool_name=tool_name, parameters=parameters, risk_level="medium")
        decision = Decision(approved=approved, reason=reason, request_id=request.request_id)
        broker.decide(session_id, decision, decided_by="anna" if approved else "ben")
