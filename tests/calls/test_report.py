"""A session is told each step of a call once and in order; what cannot be told changes nothing for who calls."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from notifier_service.calls.report import Report, new_call_id, usable_name
from notifier_service.core.errors import BrokerClosed, LimitReached, ToolDenied
from notifier_service.core.events import CallDetails, EventData, ToolStatus, encode

Told = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def report(told: Told) -> Report:
    def tell(event_type: str, event: EventData) -> None:
        told.append((event_type, event.model_dump(mode="json")))

    return Report(tell, "rm", "high", "c1", max_event_bytes=64 * 1024)


def statuses(told: Told) -> list[str]:
    return [data["status"] for event_type, data in told if event_type == "tool_status"]


def test_each_step_is_told_once_and_in_order(report: Report, told: Told) -> None:
    for _ in range(2):
        report.executing({"path": "a"})
    report.progress(1, 2, "half")
    for _ in range(2):
        report.result("done", success=True)

    assert [event_type for event_type, _ in told] == ["tool_status", "tool_progress", "tool_result", "tool_status"]
    assert statuses(told) == ["executing", "completed"]
    assert {data["tool_call_id"] for _, data in told} == {"c1"}


@pytest.mark.parametrize(
    ("message", "said"),
    [("caf\udce9", "caf\\udce9"), ("x" * 5000, "x" * 4096), ("\ud800" * 5000, "\\ud800" * 682 + "\\ud8"), (7, None)],
)
def test_progress_of_a_call_says_what_an_event_can_hold(message: Any, said: Any, report: Report, told: Told) -> None:
    report.executing({})
    report.progress(1, 2, message)

    assert told[-1][1].get("message") == said


def test_it_runs_from_where_that_is_told_to_its_end(report: Report) -> None:
    assert not report.is_running
    report.executing({})
    assert report.is_running
    report.result(1, success=True)
    assert not report.is_running


def test_nothing_is_told_after_the_end(report: Report, told: Told) -> None:
    report.ended("cancelled")

    report.executing({})
    report.progress(1)
    report.result(1, success=True)
    report.denied(ToolDenied("no", outcome="policy"))
    report.cancelled()

    assert statuses(told) == ["cancelled"]
    assert len(told) == 1


def test_progress_is_told_only_while_it_runs(report: Report, told: Told) -> None:
    report.progress(1)

    assert told == []


def test_a_call_that_waits_again_is_told_to_run_with_what_was_approved(report: Report, told: Told) -> None:
    report.executing({"path": "a"})
    report.waits()
    report.executing({"path": "b"})

    assert [data["details"]["parameters"] for _, data in told] == [{"path": "a"}, {"path": "b"}]


@pytest.mark.parametrize("error", ["x" * 3000, ValueError("x" * 3000)], ids=["text", "exception"])
def test_a_long_error_has_one_bound_and_a_mark(report: Report, told: Told, error: str | Exception) -> None:
    report.result(None, success=False, error=error)

    (_, result), (_, status) = told
    assert len(result["error"]) < 2100
    assert result["error"].endswith(" more characters)")
    assert status["details"]["error"] == result["error"]


def test_a_call_that_is_taken_back_says_whether_it_ran(report: Report, told: Told) -> None:
    unrun = Report(lambda event_type, event: told.append((event_type, event.model_dump())), "rm", "low", None,
                   max_event_bytes=1024)  # fmt: skip
    report.executing({})
    report.cancelled()
    unrun.cancelled()

    assert statuses(told) == ["executing", "cancelled", "cancelled"]
    assert set(told[1][1]["details"]) == {"risk_level", "duration_ms"}
    assert told[2][1]["details"] == {
        "risk_level": "low",
        "outcome": "cancelled",
        "reason": "rm did not run: the request was cancelled because the call was cancelled.",
    }


def test_a_result_of_a_call_that_was_taken_back_ends_it_as_cancelled(report: Report, told: Told) -> None:
    report.executing({})
    report.result("half of it", success=False, status="cancelled", error="interrupted")

    assert statuses(told) == ["executing", "cancelled"]
    assert (told[1][1]["result"], told[1][1]["error"]) == ("half of it", "interrupted")
    assert "error" not in told[2][1]["details"]


@pytest.mark.parametrize("refusal", [BrokerClosed("gone"), LimitReached("max_sessions", "full")])
def test_what_cannot_be_announced_does_not_run_and_what_comes_later_changes_nothing(refusal: Exception) -> None:
    def refuse(event_type: str, event: EventData) -> None:
        raise refusal

    report = Report(refuse, "rm", "high", new_call_id(), max_event_bytes=1024)

    with pytest.raises(type(refusal)):
        report.executing({})
    report.progress(1)
    report.result(1, success=True)


def test_details_are_frozen_and_leave_out_what_is_not_known() -> None:
    details = CallDetails(risk_level="low", reason=None)

    with pytest.raises(ValidationError):
        details.risk_level = "high"  # type: ignore[misc]
    assert b'"details":{"risk_level":"low"}' in encode(
        "tool_status", ToolStatus(status="executing", tool_name="rm", details=details)
    )


@pytest.mark.parametrize(
    "details",
    [{"duration_ms": "3 s"}, {"error": None}, {"start_time": 1642234200.5, "parameters": "ls"}, {"own": [1]}, {}],
)
def test_details_of_a_producer_go_out_as_they_came(details: dict[str, Any]) -> None:
    status = ToolStatus.model_validate({"status": "failed", "tool_name": "rm", "details": details})

    assert status.model_dump(mode="json")["details"] == details


@pytest.mark.parametrize("name", ["rm", "x" * 256, "löschen"])
def test_name_of_another_program_that_people_can_be_told_is_used(name: str) -> None:
    assert usable_name(name) == name


@pytest.mark.parametrize("name", ["", "x" * 257, "rm\x1b[2J", "a\nb", None, 7, ["rm"]], ids=repr)
def test_name_of_another_program_that_nobody_could_be_told_is_not(name: object) -> None:
    assert usable_name(name) is None
