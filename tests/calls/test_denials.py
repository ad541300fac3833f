"""A denial says who or what denied a call, whoever tells it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notifier_service import Broker, Decision
from notifier_service.calls.denials import denial_by_error, denial_by_record, frozen
from notifier_service.core.errors import (
    BrokerClosed,
    InvalidInput,
    LimitReached,
    NotifierError,
    SessionClosed,
    ToolDenied,
)
from notifier_service.core.events import dump
from notifier_service.core.permission_request import PermissionRequest
from tests.clock import Clock


def reject(broker: Broker, request: PermissionRequest, clock: Clock) -> None:
    broker.decide("s", Decision(approved=False, reason='not "now"\nlater'), decided_by="ada")


def reject_silently(broker: Broker, request: PermissionRequest, clock: Clock) -> None:
    broker.decide("s", Decision(approved=False), decided_by="ada")


def expire(broker: Broker, request: PermissionRequest, clock: Clock) -> None:
    clock.advance(31)
    broker.sweep()


def cancel(broker: Broker, request: PermissionRequest, clock: Clock) -> None:
    request.cancel("the agent went away")


ENDS = [
    (reject, "rejected", 'rm did not run: rejected by ada: not "now"\nlater', 'not "now"\nlater'),
    (reject_silently, "rejected", "rm did not run: rejected by ada.", None),
    (expire, "expired", "rm did not run: nobody answered within 30 s (0 could see the request).", None),
    (cancel, "cancelled", "rm did not run: the request was cancelled because the agent went away.", None),
]


@pytest.mark.parametrize(("end", "outcome", "text", "reason"), ENDS, ids=[end.__name__ for end, *_ in ENDS])
@pytest.mark.parametrize("form", ["record", "json"])
async def test_record_and_its_json_are_told_alike(
    form: str, end: Any, outcome: str, text: str, reason: str | None, clock: Clock
) -> None:
    broker = Broker(clock=clock)
    request = broker.ask("s", tool_name="rm", parameters={}, risk_level="high", timeout_seconds=30)
    end(broker, request, clock)

    denial = denial_by_record(request.record if form == "record" else json.loads(dump(request.record)))

    assert (denial.outcome, str(denial), denial.reason) == (outcome, text, reason)
    assert denial.request_id == request.request_id
    broker.close()


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ({"rule": "no deletes", "justification": "ask ops"}, 'denied by policy rule "no deletes": ask ops'),
        ({"rule": "no deletes"}, 'denied by policy rule "no deletes"'),
        ({}, "denied by policy: no rule allows it."),
    ],
    ids=["justified", "not justified", "by default"],
)
def test_denial_by_the_policy_names_the_rule_and_says_what_that_says(told: dict[str, str], text: str) -> None:
    record = {"tool_name": "rm", "status": "rejected", "decided_by": "policy", "reason": "no rule allows it", **told}
    denial = denial_by_record(record)

    assert (denial.outcome, str(denial)) == ("policy", f"rm did not run: {text}")
    assert (denial.reason, denial.details) == (None, told)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (LimitReached("max_pending_per_session", "full"), "limit"),
        (BrokerClosed("closed"), "unavailable"),
        (SessionClosed("over"), "unavailable"),
        (InvalidInput("what"), "invalid"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, NotifierError) else value,
)
def test_error_that_kept_anybody_from_being_asked_is_a_denial(error: NotifierError, outcome: str) -> None:
    denial = denial_by_error("rm", error)

    assert (denial.outcome, str(denial)) == (outcome, f"rm did not run: {error.message}")


def test_what_a_person_is_shown_does_not_change_with_what_it_was_copied_from() -> None:
    paths = ["a"]
    shown = frozen("rm", {"paths": paths})
    paths.append("b")

    assert shown == {"paths": ["a"]}


def test_call_that_json_has_no_form_for_is_denied_as_invalid() -> None:
    with pytest.raises(ToolDenied, match=r"^rm did not run: ") as denied:
        frozen("rm", {"weight": float("nan")})

    assert denied.value.outcome == "invalid"


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({}, "The call did not run: rejected."),
        ({"tool_name": None, "status": None, "decided_by": None, "reason": None}, "The call did not run: rejected."),
        ({"tool_name": "rm", "status": "rejected", "reason": "no"}, "rm did not run: rejected: no"),
        ({"tool_name": "rm", "status": "rejected", "decided_by": ""}, "rm did not run: rejected."),
        ({"tool_name": "rm", "status": "expired"}, "rm did not run: nobody answered in time."),
        (
            {"status": "expired", "viewers": 0},
            "The call did not run: nobody answered in time (0 could see the request).",
        ),
        ({"tool_name": "rm", "status": "cancelled"}, "rm did not run: the request was cancelled."),
        ({"tool_name": "rm", "status": "rejected", "decided_by": "policy"}, "rm did not run: denied by policy."),
    ],
)
def test_what_a_service_left_out_of_a_record_is_in_no_sentence(record: dict[str, Any], text: str) -> None:
    assert str(denial_by_record(record)) == text
