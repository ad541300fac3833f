"""Asking and deciding: contract section 4, row by row."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from notifier_service.core.broker import Broker
from notifier_service.core.errors import (
    AlreadyDecided,
    AmbiguousRequest,
    DecisionNotOffered,
    EditDenied,
    InvalidInput,
    LimitReached,
    NotifierError,
    ParametersChanged,
    RequestCancelled,
    RequestExpired,
    RequestNotFound,
    SelfApproval,
    SessionClosed,
    TooLarge,
)
from notifier_service.core.event_log import Event
from notifier_service.core.events import EventData, PermissionRecord, dump, utc_now, utc_text
from notifier_service.core.input_schema import InputSchema
from notifier_service.core.limits import Limits
from notifier_service.core.parameters import parameters_sha256
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.permissions import PermissionDesk
from notifier_service.core.policy.reasons import Reason
from notifier_service.core.policy.verdict import Verdict
from notifier_service.core.question import ALL_DECISIONS, Decision, Question

if TYPE_CHECKING:
    from conftest import Clock

ASKED = {"path": "/tmp/x", "mode": 7}
EDITED = {"path": "/tmp/y", "mode": 7}
ALLOW = Verdict("allow", ("a rule allows it",))
DENY = Verdict("deny", ("a rule forbids it", "the path is outside"))


class Desk(PermissionDesk):
    """A desk that keeps what it published, with a policy that the test sets."""

    def __init__(self, clock: Clock, **limits: Any) -> None:
        self.published: list[tuple[str, dict[str, Any]]] = []
        self.verdict = Verdict("ask", ("risk high asks a person",))
        self.judged: list[Question] = []
        self.viewers = 2
        super().__init__(
            "s1",
            limits=Limits(**limits),
            tell=self.keep,
            judge=self.say,
            count_viewers=lambda: self.viewers,
            clock=clock,
        )

    def keep(self, request: PermissionRequest, /, *told: tuple[str, EventData]) -> Sequence[Event]:
        self.published += [(event_type, json.loads(dump(data))) for event_type, data in told]
        return ()

    def say(self, question: Question) -> Verdict:
        self.judged.append(question)
        return self.grants.judge(question.call("s1")) or self.verdict

    @property
    def types(self) -> list[str]:
        return [event_type for event_type, _ in self.published]

    def ask(self, tool_name: str = "write", parameters: Any = ASKED, **call: Any) -> PermissionRequest:
        request = self.register(Question(tool_name, parameters, **call))
        self.announce(request)
        return request

    def answer(self, approved: bool, *, decided_by: str = "ana", **decision: Any) -> PermissionRecord:
        return self.decide(Decision(approved=approved, **decision), decided_by=decided_by)

    def refusal(self, approved: bool, **decision: Any) -> NotifierError:
        with pytest.raises(NotifierError) as caught:
            self.answer(approved, **decision)
        return caught.value


@pytest.fixture
def desk(clock: Clock) -> Desk:
    return Desk(clock)


@pytest.fixture
def one_by_one(clock: Clock) -> Desk:
    return Desk(clock, one_request_at_a_time=True)


# The body


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"approved": None},
        {"approved": 1},
        {"approved": "true"},
        {"approved": True, "also": 1},
        {"approved": True, "reason": 5},
        {"approved": True, "reason": "x" * 10_001},
        {"approved": True, "reason": "\ud800"},
        {"approved": True, "request_id": "x" * 257},
        {"approved": True, "parameters": []},
        {"approved": True, "parameters": {"a": float("nan")}},
        {"approved": True, "parameters": {"a": float("inf")}},
        {"approved": True, "parameters": {"a": b"x"}},
        {"approved": True, "parameters": {"a": (1,)}},
        {"approved": True, "parameters": {1: 2}},
        {"approved": True, "scope": "forever"},
        {"approved": True, "parameters_sha256": 5},
        {"approved": True, "parameters_sha256": "x" * 257},
        {"approved": True, "action_sha256": 5},
        {"approved": True, "action_sha256": "x" * 257},
        {"approved": False, "response": {}},
    ],
    ids=lambda body: ascii(body)[:50],
)
def test_body_of_another_shape_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Decision.model_validate(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"approved": False, "parameters": {}}, "parameters edits the call and goes only with approved: true"),
        ({"approved": True, "response": ""}, "response answers in the tool's place and goes only with approved: false"),
        ({"approved": False, "response": "", "scope": "session"}, "a response is for one call"),
        ({"approved": False, "response": "", "scope": "always"}, "a response is for one call"),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_fields_that_do_not_fit_together_are_refused(body: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Decision.model_validate(body)


def test_circular_or_very_deep_edit_is_refused() -> None:
    circle: dict[str, Any] = {}
    circle["again"] = circle
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]

    for parameters in (circle, {"deep": deep}):
        with pytest.raises(ValidationError, match="recursion"):
            Decision(approved=True, parameters=parameters)


# Asking


def test_asked_request_tells_all_that_the_contract_lists(desk: Desk) -> None:
    before = utc_now()
    record = desk.ask(
        risk_reasons=["writes"], tool_call_id="c1", timeout_seconds=60, description="I tidy up", asked_by="agent"
    ).record

    assert desk.published == [("permission_request", json.loads(dump(record)))]
    assert re.fullmatch(r"pr_[A-Za-z0-9_-]{32}", record.request_id)
    assert record.expires_at is not None
    assert before <= record.timestamp
    assert timedelta(seconds=59.9) < record.expires_at - record.timestamp < timedelta(seconds=60.1)
    told = desk.published[0][1]
    assert told.pop("timestamp") == utc_text(record.timestamp)
    assert told.pop("expires_at") == utc_text(record.expires_at)
    assert told == {
        "request_id": record.request_id,
        "tool_name": "write",
        "parameters": ASKED,
        "risk_level": "high",
        "rated_by": "service",
        "status": "pending",
        "parameters_sha256": parameters_sha256(ASKED),
        "action_sha256": parameters_sha256(
            {"session_id": "s1", "server": None, "tool_name": "write", "parameters": ASKED}
        ),
        "timeout_seconds": 60.0,
        "risk_reasons": ["writes"],
        "reasons": [{"code": "words", "text": "writes"}],
        "allowed_decisions": ["approve", "edit", "reject", "respond"],
        "scopes": list(record.scopes),
        "suggested_rule": 'every call of "write", asked by "agent", at risk high or less',
        "suggested_policy_rule": {
            "name": 'allow every call of "write", asked by "agent", at risk high or less',
            "effect": "allow",
            "tool": "write",
            "risk": ["low", "medium", "high"],
            "learned": {"asked_by": "agent"},
        },
        "description": "I tidy up",
        "viewers": 2,
        "tool_call_id": "c1",
        "decision": None,
        "approved": None,
        "reason": None,
        "response": None,
        "scope": None,
        "decided_by": None,
        "decided_at": None,
    }


def test_request_offers_once_and_the_session(desk: Desk) -> None:
    assert list(desk.ask().record.scopes) == ["once", "session"]


def test_request_ids_never_repeat(desk: Desk) -> None:
    assert len({desk.ask().request_id for _ in range(50)}) == 50


def test_request_is_kept_before_it_is_announced(desk: Desk) -> None:
    request = desk.register(Question(tool_name="write", parameters={}, risk_level="high"))

    assert desk.find(request.request_id) is request
    assert (desk.pending, desk.pending_count, desk.published) == ((), 1, [])
    assert desk.refusal(True).code == "request_not_found"
    assert desk.refusal(True, request_id=request.request_id).code == "request_not_found"


def test_viewers_are_counted_when_the_request_is_announced(desk: Desk) -> None:
    request = desk.register(Question(tool_name="write", parameters={}, risk_level="high"))
    desk.viewers = 5
    desk.announce(request)

    assert desk.published[0][1]["viewers"] == 5


def test_desk_without_a_counter_of_viewers_has_none() -> None:
    desk = PermissionDesk("s1", limits=Limits(), tell=lambda *_: (), judge=lambda *_: ALLOW)

    assert desk.register(Question(tool_name="t", parameters={}, risk_level="low")).record.viewers == 0


def test_pending_requests_stand_in_the_order_asked(desk: Desk) -> None:
    requests = [desk.ask(f"tool{number}") for number in range(4)]
    requests[1].cancel()

    assert desk.pending == (requests[0], requests[2], requests[3])


def test_parameters_are_frozen_when_asked(desk: Desk) -> None:
    parameters: dict[str, Any] = {"list": [1]}
    request = desk.ask(parameters=parameters)
    parameters["list"].append(2)
    parameters["more"] = True
    settled = desk.answer(True)

    assert request.record.parameters == settled.parameters == {"list": [1]}
    assert settled.parameters_sha256 == parameters_sha256({"list": [1]})


def test_parameters_are_shown_as_they_are(desk: Desk) -> None:
    parameters = {"n": 2**53 + 1, "text": "\x00\x1b[2J\u202e", "long": "x" * 200_000}
    desk.ask(parameters=parameters)

    assert desk.published[0][1]["parameters"] == parameters


@pytest.mark.parametrize(
    "parameters",
    [{"a": float("nan")}, {"a": "\ud800"}, {"a": object()}, {"a": 10**5000}],
    ids=["nan", "surrogate", "object", "huge int"],
)
def test_request_that_cannot_be_shown_is_not_kept(desk: Desk, parameters: Any) -> None:
    with pytest.raises(InvalidInput):
        desk.ask(parameters=parameters)

    assert (desk.pending_count, desk.published) == (0, [])


@pytest.mark.parametrize("names", [{"tool_name": "a\ud800"}, {"server": "\udfff"}], ids=list)
def test_request_whose_names_are_no_valid_unicode_is_not_kept(desk: Desk, names: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="no valid Unicode"):
        desk.ask(**names)

    assert (desk.pending_count, desk.published) == (0, [])


def test_request_that_no_event_holds_beside_its_parameters_is_not_kept(clock: Clock) -> None:
    desk = Desk(clock, max_event_bytes=16 * 1024)
    with pytest.raises(TooLarge, match="is over the limit of 16384") as caught:
        desk.ask(description="€" * 9000)

    assert caught.value.details == {"limit": "max_event_bytes"}
    assert (desk.pending_count, desk.published) == (0, [])


@pytest.mark.parametrize("decision", [{"approved": True}, {"approved": False}], ids=["approve", "reject"])
def test_largest_request_that_can_be_asked_can_also_be_decided(clock: Clock, decision: dict[str, Any]) -> None:
    desk = Desk(clock, max_event_bytes=16 * 1024)
    size, request = 16 * 1024, None
    while request is None:
        size -= 1
        try:
            request = desk.ask(description="x" * (size - 12_000), risk_reasons=("x" * 6_000,))
        except (TooLarge, InvalidInput):
            continue

    assert desk.answer(**decision).approved is decision["approved"]


@pytest.mark.parametrize("askers", [(), ("ci",), ("ci", "ci"), ("ci", "eve"), ("eve",), (None,), ("ci", "eve", "ana")])
def test_desk_is_of_a_caller_while_nobody_else_has_asked(desk: Desk, askers: tuple[str | None, ...]) -> None:
    for asker in askers:
        desk.ask(asked_by=asker).cancel()

    assert desk.is_of("ci") == all(asker == "ci" for asker in askers)


def test_more_than_the_limit_are_refused_and_none_is_kept(clock: Clock) -> None:
    desk = Desk(clock, max_pending_per_session=2)
    first, _ = desk.ask(), desk.ask()
    with pytest.raises(LimitReached, match=r"^2 permission requests are pending in this session; more are denied\.$"):
        desk.ask()
    first.cancel()

    assert desk.pending_count == 1
    assert desk.ask().pending


def test_waiting_unannounced_requests_count_towards_the_limit(clock: Clock) -> None:
    desk = Desk(clock, max_pending_per_session=2, one_request_at_a_time=True)
    desk.ask()
    desk.ask()
    with pytest.raises(LimitReached) as caught:
        desk.ask()

    assert caught.value.limit == "max_pending_per_session"


# The policy answers


@pytest.mark.parametrize(
    ("verdict", "status", "kind", "approved", "reason"),
    [
        (ALLOW, "approved", "approve", True, "a rule allows it"),
        (DENY, "rejected", "reject", False, "a rule forbids it; the path is outside"),
    ],
    ids=["allow", "deny"],
)
def test_policy_settles_a_request_before_anybody_sees_it(
    desk: Desk, verdict: Verdict, status: str, kind: str, approved: bool, reason: str
) -> None:
    request = desk.register(Question(tool_name="write", parameters=ASKED, risk_level="high"), verdict)
    record = request.record

    assert (record.status, record.decision, record.approved, record.reason) == (status, kind, approved, reason)
    assert (record.decided_by, record.scope, request.pending) == ("policy", "once", False)
    assert desk.types == ["permission_response_result"]
    assert desk.find(request.request_id) is request
    assert desk.pending_count == 0


def test_policy_answers_even_if_too_many_are_pending(clock: Clock) -> None:
    desk = Desk(clock, max_pending_per_session=1)
    desk.ask()

    assert not desk.register(Question(tool_name="ls", parameters={}, risk_level="low"), ALLOW).pending


# Decided now


@pytest.mark.parametrize(
    ("decision", "status", "kind", "parameters"),
    [
        ({"approved": True}, "approved", "approve", ASKED),
        ({"approved": True, "parameters": EDITED}, "approved", "edit", EDITED),
        ({"approved": True, "parameters": {}}, "approved", "edit", {}),
        ({"approved": False}, "rejected", "reject", ASKED),
        ({"approved": False, "response": "42"}, "rejected", "respond", ASKED),
        ({"approved": False, "response": ""}, "rejected", "respond", ASKED),
    ],
    ids=["approve", "edit", "empty edit", "reject", "respond", "empty response"],
)
def test_record_names_which_of_the_four_decisions_it_was(
    desk: Desk, decision: dict[str, Any], status: str, kind: str, parameters: Any
) -> None:
    request = desk.ask()
    record = desk.answer(**decision, reason="because")

    assert request.record is record
    assert (record.status, record.decision, record.approved) == (status, kind, decision["approved"])
    assert (record.parameters, record.response) == (parameters, decision.get("response"))
    assert record.parameters_sha256 == parameters_sha256(parameters)
    assert (record.reason, record.scope, record.decided_by) == ("because", "once", "ana")
    assert record.decided_at is not None
    assert desk.pending_count == 0


def test_answer_is_told_before_the_request_is_cleared(desk: Desk) -> None:
    request = desk.ask()
    record = desk.answer(False, reason="no")

    assert desk.types == ["permission_request", "permission_response_result", "permission_cleared"]
    assert desk.published[1][1] == {**json.loads(dump(record)), "timestamp": json.loads(dump(record))["decided_at"]}
    cleared = desk.published[2][1]
    assert datetime.fromisoformat(cleared.pop("timestamp"))
    assert cleared == {
        "request_id": request.request_id,
        "tool_name": "write",
        "status": "rejected",
        "reason": "no",
    }


def test_edit_tells_what_was_asked_and_what_runs(desk: Desk) -> None:
    desk.ask()
    record = desk.answer(True, parameters=EDITED)

    assert record.parameters_sha256 == parameters_sha256(EDITED)
    assert record.asked_parameters_sha256 == parameters_sha256(ASKED)


@pytest.mark.parametrize(
    "same",
    [dict(ASKED), dict(reversed(ASKED.items())), {"path": "/tmp/x", "mode": 7.0}],
    ids=["same", "other order", "same number"],
)
def test_edit_that_equals_what_was_asked_is_an_approval(desk: Desk, same: dict[str, Any]) -> None:
    desk.ask()
    record = desk.answer(True, parameters=same)

    assert (record.decision, record.parameters, record.asked_parameters_sha256) == ("approve", ASKED, None)
    assert desk.judged == []
    assert desk.answer(True, parameters=same, request_id=record.request_id) is record


def test_edit_of_one_digit_beyond_2_to_the_53_is_an_edit(desk: Desk) -> None:
    desk.ask(parameters={"amount": 2**53})

    assert desk.answer(True, parameters={"amount": 2**53 + 1}).decision == "edit"


def test_edit_is_for_one_call(desk: Desk) -> None:
    request, twin = desk.ask(), desk.ask()
    with pytest.raises(InvalidInput, match="an edit is for one call"):
        desk.answer(True, parameters=EDITED, scope="session", request_id=request.request_id)

    assert request.pending
    assert twin.pending
    assert desk.grants.rules == ()
    same = desk.answer(True, parameters=dict(ASKED), scope="session", request_id=request.request_id)
    assert (same.decision, same.scope) == ("approve", "session")


def test_edited_call_passes_the_policy_again(desk: Desk) -> None:
    desk.ask()
    desk.answer(True, parameters=EDITED)

    (judged,) = desk.judged
    assert (judged.tool_name, judged.parameters, judged.risk_level) == ("write", EDITED, "high")


def test_edit_that_the_policy_denies_leaves_the_request_pending(desk: Desk) -> None:
    request = desk.ask()
    desk.verdict = DENY
    error = desk.refusal(True, parameters=EDITED)

    assert isinstance(error, EditDenied)
    assert error.message == "The policy denies the edited call: a rule forbids it; the path is outside."
    assert request.pending
    assert desk.answer(True).decision == "approve"


@pytest.mark.parametrize(
    "parameters", [{"a": "\ud800"}, {"\udfff": 1}, {"a": 10**5000}], ids=["surrogate", "surrogate key", "huge int"]
)
def test_edit_that_cannot_be_shown_leaves_the_request_pending(desk: Desk, parameters: Any) -> None:
    request = desk.ask()
    error = desk.refusal(True, parameters=parameters)

    assert isinstance(error, InvalidInput)
    assert error.message.startswith("the parameters cannot be shown as JSON: ")
    assert request.pending


@pytest.mark.parametrize(
    "decision",
    [{"approved": True, "parameters": {"a": "x" * 20_000}}, {"approved": False, "response": "x" * 20_000}],
    ids=["edit", "respond"],
)
def test_answer_that_is_too_large_leaves_the_request_pending(clock: Clock, decision: dict[str, Any]) -> None:
    desk = Desk(clock, max_event_bytes=16 * 1024, max_parameters_bytes=16 * 1024)
    request = desk.ask()

    assert isinstance(desk.refusal(**decision), TooLarge)
    assert request.pending
    assert desk.types == ["permission_request"]


def test_edit_takes_no_parameter_away_from_an_asker_that_keeps_them_all(desk: Desk) -> None:
    request = desk.ask()
    request.keeps_names = True
    refused = desk.refusal(True, parameters={"path": "/tmp/y"})

    assert (refused.code, request.pending) == ("edit_denied", True)
    assert desk.answer(True, parameters={**EDITED, "more": 1}).parameters == {**EDITED, "more": 1}


def test_edit_cannot_be_changed_after_it_was_decided(desk: Desk) -> None:
    desk.ask()
    decision = Decision(approved=True, parameters={"list": [1]})
    record = desk.decide(decision, decided_by="ana")
    assert decision.parameters is not None
    decision.parameters["list"] = "changed"

    assert record.parameters == {"list": [1]}


def test_scope_session_allows_the_tool_from_now_on(desk: Desk) -> None:
    desk.ask("write")
    record = desk.answer(True, scope="session")

    assert record.scope == "session"
    [rule] = desk.grants.rules
    assert (rule.effect, rule.tool, rule.risk, rule.created_by) == ("allow", "write", "high", "ana")


def test_rule_that_nobody_would_read_to_its_end_is_told_in_words_alone(desk: Desk) -> None:
    options = " ".join(f"-{number}" for number in range(2000))
    record = desk.ask("Bash", {"command": f"ls {options}"}).record

    assert record.suggested_rule is not None
    assert (record.suggested_policy_rule, list(record.scopes)) == (None, ["once", "session"])


def test_scope_once_allows_nothing_beyond(desk: Desk) -> None:
    desk.ask()
    desk.answer(True, scope="once")

    assert desk.grants.rules == ()


@pytest.mark.parametrize("approved", [True, False])
def test_decision_for_the_session_settles_the_same_calls_that_wait(desk: Desk, approved: bool) -> None:
    requests = [desk.ask("write", {"n": number}, server="files", asked_by="ci") for number in range(5)]
    desk.answer(approved, scope="session", request_id=requests[2].request_id, reason="as ever")

    word, status = ("allowed", "approved") if approved else ("denied", "rejected")
    twins = [request.record for request in requests if request is not requests[2]]
    assert desk.pending == ()
    assert {request.record.status for request in requests} == {status}
    assert {twin.decided_by for twin in twins} == {"policy"}
    assert {twin.reason for twin in twins} == {f"ana {word} this tool for the rest of the session: as ever"}
    assert [twin.parameters for twin in twins] == [{"n": 0}, {"n": 1}, {"n": 3}, {"n": 4}]
    assert desk.types[5:] == ["permission_response_result", "permission_cleared"] * 5
    assert [rule.used for rule in desk.grants.rules] == [4]


@pytest.mark.parametrize("approved", [True, False])
def test_decision_for_the_session_settles_nothing_else(clock: Clock, approved: bool) -> None:
    desk = Desk(clock)
    given = {"server": "files", "definition_sha256": "0a" * 32, "asked_by": "ci", "agent": "codex"}
    others = [desk.ask("Write", **given), *(desk.ask("write", **{**given, name: None}) for name in given)]
    others.append(desk.ask("write", **given, scopes=("once",)))
    seen = desk.ask("write", **given)
    desk.answer(approved, scope="session", request_id=seen.request_id)

    assert desk.pending == tuple(others)


def test_approval_for_the_session_leaves_the_riskier_calls_that_wait(desk: Desk) -> None:
    riskier = desk.ask()
    seen = desk.register(Question(tool_name="write", parameters={}, risk_level="medium"))
    desk.announce(seen)
    desk.answer(True, scope="session", request_id=seen.request_id)

    assert riskier.pending


def test_same_calls_that_nobody_has_seen_yet_are_settled_unannounced(one_by_one: Desk) -> None:
    seen, twin, other = one_by_one.ask("write"), one_by_one.ask("write"), one_by_one.ask("rm")
    one_by_one.answer(True, scope="session", request_id=seen.request_id)

    assert twin.record.status == "approved"
    assert one_by_one.pending == (other,)
    assert one_by_one.types == [
        "permission_request",
        "permission_response_result",
        "permission_cleared",
        "permission_response_result",
        "permission_request",
    ]


def test_decision_that_would_be_one_rule_too_many_decides_nothing(desk: Desk) -> None:
    for number in range(100):
        desk.answer(True, scope="session", request_id=desk.ask(f"t{number}").request_id)
    request = desk.ask("one more")

    assert desk.refusal(True, scope="session", request_id=request.request_id).code == "limit_reached"
    assert request.pending
    assert desk.answer(True, request_id=request.request_id).status == "approved"


def test_rule_is_suggested_only_where_it_can_be_made(desk: Desk) -> None:
    assert desk.ask(scopes=("once",)).record.suggested_rule is None


@pytest.mark.parametrize("approved", [True, False])
def test_scope_that_the_request_does_not_offer_is_refused(desk: Desk, approved: bool) -> None:
    request = desk.ask()
    request.record = request.record.model_copy(update={"scopes": ("once",)})
    error = desk.refusal(approved, scope="session")

    assert isinstance(error, DecisionNotOffered)
    assert error.details == {"allowed_decisions": list(ALL_DECISIONS), "scopes": ["once"]}
    assert request.pending
    assert desk.grants.rules == ()


@pytest.mark.parametrize(
    ("kind", "decision"),
    [
        ("approve", {"approved": True}),
        ("edit", {"approved": True, "parameters": EDITED}),
        ("reject", {"approved": False}),
        ("respond", {"approved": False, "response": "42"}),
    ],
)
def test_decision_that_the_request_does_not_offer_is_refused(desk: Desk, kind: str, decision: dict[str, Any]) -> None:
    request = desk.ask()
    others = tuple(offered for offered in ALL_DECISIONS if offered != kind)
    request.record = request.record.model_copy(update={"allowed_decisions": others})

    assert desk.refusal(**decision).code == "decision_not_offered"
    assert request.pending


@pytest.mark.parametrize("offered", [(), ("approve",), ("reject",), ("approve", "reject", "later")])
def test_request_offers_to_approve_and_to_reject_and_no_decision_that_does_not_exist(desk: Desk, offered: Any) -> None:
    with pytest.raises(InvalidInput, match="allowed_decisions are approve, reject"):
        desk.ask(allowed_decisions=offered)


# The same decision again, and another one


DECISIONS: dict[str, dict[str, Any]] = {
    "approve": {"approved": True},
    "edit": {"approved": True, "parameters": EDITED},
    "other edit": {"approved": True, "parameters": {**EDITED, "mode": 8}},
    "reject": {"approved": False},
    "respond": {"approved": False, "response": "42"},
    "other response": {"approved": False, "response": "43"},
}


@pytest.mark.parametrize("name", DECISIONS)
def test_same_decision_again_gives_the_same_record(desk: Desk, name: str) -> None:
    request = desk.ask()
    first = desk.answer(**DECISIONS[name], reason="first")
    published = len(desk.published)
    again = desk.answer(
        **DECISIONS[name], request_id=request.request_id, reason="second", decided_by="bob", parameters_sha256="stale"
    )

    assert again is first
    assert (again.reason, again.decided_by) == ("first", "ana")
    assert len(desk.published) == published


def test_another_scope_makes_no_other_decision(desk: Desk) -> None:
    request = desk.ask()
    first = desk.answer(True)

    assert desk.answer(True, scope="session", request_id=request.request_id) is first
    assert desk.answer(True, scope="always", request_id=request.request_id) is first
    assert desk.grants.rules == ()


@pytest.mark.parametrize("second", DECISIONS)
@pytest.mark.parametrize("first", DECISIONS)
def test_other_decision_is_told_the_record_that_won(desk: Desk, first: str, second: str) -> None:
    if first == second:
        return
    request = desk.ask()
    won = desk.answer(**DECISIONS[first])
    error = desk.refusal(**DECISIONS[second], request_id=request.request_id)

    assert isinstance(error, AlreadyDecided)
    assert error.details == {"record": won}
    assert error.message == f"ana decided otherwise before: {won.status} ({won.decision})."
    assert request.record is won


def test_what_was_asked_is_no_longer_the_same_after_an_edit(desk: Desk) -> None:
    request = desk.ask()
    desk.answer(True, parameters=EDITED)

    assert desk.refusal(True, parameters=ASKED, request_id=request.request_id).code == "already_decided"


def test_person_who_agrees_with_the_policy_gets_its_record(desk: Desk) -> None:
    request = desk.register(Question(tool_name="ls", parameters={}, risk_level="low"), ALLOW)

    assert desk.answer(True, request_id=request.request_id) is request.record
    assert desk.refusal(False, request_id=request.request_id).code == "already_decided"


# Which request


def test_decision_without_an_id_decides_the_only_one(desk: Desk) -> None:
    request = desk.ask()

    assert desk.answer(True).request_id == request.request_id


def test_decision_without_an_id_among_several_is_ambiguous(desk: Desk) -> None:
    requests = [desk.ask("one"), desk.ask("two")]
    error = desk.refusal(True, parameters_sha256="stale")

    assert isinstance(error, AmbiguousRequest)
    assert error.details == {"pending": [request.record for request in requests]}
    assert error.message == "2 permission requests are pending: say which one with request_id."
    assert all(request.pending for request in requests)


def test_decision_with_an_id_decides_that_one(desk: Desk) -> None:
    first, second = desk.ask("one"), desk.ask("two")
    desk.answer(False, request_id=second.request_id)

    assert (first.pending, second.record.status) == (True, "rejected")


@pytest.mark.parametrize(
    "decision", [{}, {"request_id": "pr_unknown"}, {"request_id": ""}], ids=["none", "id", "empty"]
)
def test_decision_about_nothing_is_not_found(desk: Desk, decision: dict[str, Any]) -> None:
    assert isinstance(desk.refusal(True, **decision), RequestNotFound)


def test_request_of_another_session_is_not_found(desk: Desk, clock: Clock) -> None:
    request = desk.ask()
    other = Desk(clock)
    other.ask()

    assert other.refusal(True, request_id=request.request_id).code == "request_not_found"
    assert request.pending


def test_settled_request_is_not_found_without_its_id(desk: Desk) -> None:
    desk.ask()
    desk.answer(True)

    assert desk.refusal(True).code == "request_not_found"


def test_error_never_repeats_the_id(desk: Desk) -> None:
    assert "secret" not in desk.refusal(True, request_id="secret").message


# The hash


def test_decision_with_the_hash_of_what_is_pending_is_taken(desk: Desk) -> None:
    request = desk.ask()

    assert desk.answer(True, parameters_sha256=request.record.parameters_sha256).approved


@pytest.mark.parametrize("sha256", ["", "0" * 64, parameters_sha256(EDITED), parameters_sha256(ASKED).upper()])
def test_decision_for_other_parameters_is_refused(desk: Desk, sha256: str) -> None:
    request = desk.ask()
    error = desk.refusal(True, parameters_sha256=sha256)

    assert isinstance(error, ParametersChanged)
    assert error.details == {"record": request.record}
    assert request.pending


def test_existence_is_checked_before_the_hash(desk: Desk) -> None:
    assert desk.refusal(True, request_id="pr_unknown", parameters_sha256="stale").code == "request_not_found"


@pytest.mark.parametrize("end", ["decided", "expired", "cancelled"])
def test_state_is_checked_before_the_hash(desk: Desk, clock: Clock, end: str) -> None:
    request = desk.ask()
    if end == "decided":
        desk.answer(False)
    elif end == "expired":
        clock.advance(300)
    else:
        request.cancel()
    code = desk.refusal(True, request_id=request.request_id, parameters_sha256="stale").code

    assert code == {"decided": "already_decided"}.get(end, f"request_{end}")


def test_hash_is_checked_before_what_is_offered(desk: Desk) -> None:
    request = desk.ask()
    request.record = request.record.model_copy(update={"allowed_decisions": ()})

    assert desk.refusal(True, parameters_sha256="stale").code == "parameters_changed"


def test_body_is_checked_before_the_state(desk: Desk) -> None:
    request = desk.ask()
    desk.answer(True)

    assert desk.refusal(True, parameters={"a": "\ud800"}, request_id=request.request_id).code == "invalid"


# Expiry


def test_request_that_nobody_answers_is_denied(desk: Desk, clock: Clock) -> None:
    request = desk.ask(timeout_seconds=1.5)
    clock.advance(1.49)
    assert desk.expire_due() == 0
    clock.advance(0.01)
    expired = desk.expire_due()

    record = request.record
    assert expired == 1
    assert (record.status, record.approved, record.decision) == ("expired", False, None)
    assert (record.reason, record.decided_by) == ("nobody answered within 1.5 s", "timeout")
    assert desk.types == ["permission_request", "permission_cleared"]
    assert desk.published[1][1]["status"] == "expired"
    assert desk.expire_due() == 0


def test_request_without_a_time_of_its_own_gets_that_of_the_limits(clock: Clock) -> None:
    desk = Desk(clock, permission_timeout_seconds=7)
    request = desk.ask()

    assert request.record.timeout_seconds == 7
    assert request.deadline == desk.next_deadline == clock.now + 7


@pytest.mark.parametrize("by", ["limits", "call"])
def test_timeout_of_zero_waits_for_ever(clock: Clock, by: str) -> None:
    desk = Desk(clock, permission_timeout_seconds=0 if by == "limits" else 5)
    request = desk.ask(timeout_seconds=None if by == "limits" else 0)
    clock.advance(10**9)

    assert desk.expire_due() == 0
    assert (request.pending, request.record.expires_at, desk.next_deadline) == (True, None, None)


def test_zero_is_told_without_a_sign_whoever_was_first_to_name_one(desk: Desk) -> None:
    for timeout_seconds in (-0.0, 0.0):
        assert b'"timeout_seconds":0.0,' in desk.ask(timeout_seconds=timeout_seconds).record.encoded


def test_next_deadline_is_the_earliest(desk: Desk, clock: Clock) -> None:
    desk.ask(timeout_seconds=9)
    earliest = desk.ask(timeout_seconds=3)
    desk.ask(timeout_seconds=0)

    assert desk.next_deadline == clock.now + 3
    earliest.cancel()
    assert desk.next_deadline == clock.now + 9


def test_late_decision_is_refused_even_before_the_sweeper_came(desk: Desk, clock: Clock) -> None:
    request = desk.ask()
    clock.advance(300)
    error = desk.refusal(True, request_id=request.request_id)

    assert isinstance(error, RequestExpired)
    assert error.message == "The request has expired: nobody answered within 300 s."
    assert error.details == {"record": request.record}
    assert request.record.approved is False


def test_late_decision_without_an_id_finds_nothing(desk: Desk, clock: Clock) -> None:
    desk.ask()
    clock.advance(300)

    assert isinstance(desk.refusal(True), RequestExpired)


@pytest.mark.parametrize("timeout_seconds", [-1, float("nan"), float("inf"), 1e300, 1e12])
def test_timeout_that_is_no_time_is_refused_and_nothing_is_kept(desk: Desk, timeout_seconds: float) -> None:
    with pytest.raises(InvalidInput):
        desk.ask(timeout_seconds=timeout_seconds)

    assert (desk.pending_count, desk.published) == (0, [])


# Cancelling and closing


def test_cancelled_request_does_not_run(desk: Desk) -> None:
    request = desk.ask()
    record = request.cancel()

    assert record is request.record
    assert (record.status, record.approved, record.decision) == ("cancelled", False, None)
    assert (record.reason, record.decided_by) == ("the agent went away", "agent")
    assert desk.types == ["permission_request", "permission_cleared"]


def test_reason_of_a_withdrawal_always_fits_the_event_that_tells_of_it(clock: Clock) -> None:
    broker = Broker(Limits(max_event_bytes=16 * 1024), clock=clock)
    request = broker.ask("s", tool_name="t", parameters={})
    request.cancel("\0" * 20_000)

    log = broker.get("s").log
    assert [event.type for event in log.read_after(0)] == ["permission_request", "permission_cleared"]


def test_cancelling_twice_is_cancelling_once(desk: Desk) -> None:
    request = desk.ask()
    first = request.cancel("stopped", cancelled_by="bob")

    assert request.cancel("again") is first
    assert (first.reason, first.decided_by) == ("stopped", "bob")
    assert len(desk.published) == 2


def test_settled_request_cannot_be_cancelled(desk: Desk) -> None:
    request = desk.ask()
    desk.answer(True)

    assert request.cancel().status == "approved"


def test_decision_about_a_cancelled_request_is_told_so(desk: Desk) -> None:
    request = desk.ask()
    request.cancel("stopped")
    error = desk.refusal(False, request_id=request.request_id)

    assert isinstance(error, RequestCancelled)
    assert error.message == "The request was cancelled: stopped."
    assert error.details == {"record": request.record}


def test_closing_cancels_all_and_takes_nothing_more(desk: Desk) -> None:
    requests = [desk.ask(), desk.ask()]
    unannounced = desk.register(Question(tool_name="t", parameters={}, risk_level="high"))
    desk.close("the session has ended", cancelled_by="service")

    assert [(r.record.status, r.record.reason, r.record.decided_by) for r in [*requests, unannounced]] == [
        ("cancelled", "the session has ended", "service")
    ] * 3
    assert desk.types == ["permission_request"] * 2 + ["permission_cleared"] * 2
    with pytest.raises(SessionClosed):
        desk.ask()


def test_closed_desk_still_tells_how_it_ended(desk: Desk) -> None:
    request = desk.ask()
    desk.answer(True)
    desk.close("over", cancelled_by="service")

    assert desk.answer(True, request_id=request.request_id).status == "approved"


# Waiting for the answer


async def test_asker_waits_for_the_decision(desk: Desk) -> None:
    request = desk.ask()
    waiting = [asyncio.create_task(request.decision()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    record = desk.answer(True)

    assert await asyncio.gather(*waiting) == [record, record]
    assert await request.decision() is record


@pytest.mark.parametrize("end", ["expired", "cancelled"])
async def test_asker_is_told_how_a_request_ended_that_nobody_answered(desk: Desk, clock: Clock, end: str) -> None:
    request = desk.ask()
    waiting = asyncio.create_task(request.decision())
    await asyncio.sleep(0)
    if end == "expired":
        clock.advance(300)
        desk.expire_due()
    else:
        request.cancel()

    assert (await waiting).status == end


async def test_asker_that_gave_up_does_not_disturb_the_others(desk: Desk) -> None:
    request = desk.ask()
    gone, staying = asyncio.create_task(request.decision()), asyncio.create_task(request.decision())
    await asyncio.sleep(0)
    gone.cancel()
    record = desk.answer(False)

    assert await staying is record
    with pytest.raises(asyncio.CancelledError):
        await gone


# One at a time


def test_later_request_waits_unannounced_until_the_first_is_settled(one_by_one: Desk, clock: Clock) -> None:
    first, second = one_by_one.ask("one"), one_by_one.ask("two", timeout_seconds=10)
    clock.advance(200)
    assert (one_by_one.pending, one_by_one.pending_count) == ((first,), 2)
    assert (second.announced, second.deadline, second.record.expires_at) == (False, None, None)
    one_by_one.viewers = 4
    one_by_one.answer(True)

    assert one_by_one.pending == (second,)
    assert one_by_one.types == [
        "permission_request",
        "permission_response_result",
        "permission_cleared",
        "permission_request",
    ]
    assert second.deadline == clock.now + 10
    assert second.record.viewers == 4


def test_decision_without_an_id_means_the_announced_one(one_by_one: Desk, clock: Clock) -> None:
    first, second, third = one_by_one.ask("one"), one_by_one.ask("two"), one_by_one.ask("three")
    decided = []
    for approved in (True, False, True):
        decided.append(one_by_one.answer(approved).tool_name)
        clock.advance(1.5)

    assert decided == ["one", "two", "three"]
    assert [r.record.status for r in (first, second, third)] == ["approved", "rejected", "approved"]


def settle(desk: Desk, clock: Clock, request: PermissionRequest, how: str) -> None:
    """Have a request leave the pending set in one of the ways there are."""
    if how == "expired":
        clock.advance(10)
        desk.expire_due()
    elif how == "withdrawn":
        request.cancel()
    else:
        desk.answer(how == "approved", request_id=request.request_id)


@pytest.mark.parametrize("how", ["withdrawn", "expired", "approved", "rejected"])
@pytest.mark.parametrize("approved", [True, False])
@pytest.mark.parametrize("asked", ["before", "after"])
def test_answer_without_an_id_does_not_count_right_after_another_request_was_there(
    desk: Desk, clock: Clock, how: str, approved: bool, asked: str
) -> None:
    shown = desk.ask("read", timeout_seconds=10)
    other = desk.ask("rm") if asked == "before" else None
    settle(desk, clock, shown, how)
    other = other or desk.ask("rm")
    clock.advance(1.49)

    refused = desk.refusal(approved)

    assert (type(refused), refused.code) == (AmbiguousRequest, "ambiguous_request")
    assert refused.details == {"pending": [other.record]}
    assert other.pending
    clock.advance(0.02)
    assert desk.answer(approved).request_id == other.request_id


def test_request_that_nobody_saw_makes_no_answer_ambiguous(desk: Desk) -> None:
    desk.register(Question(tool_name="rm", parameters={}, risk_level="high")).cancel()
    request = desk.ask("read")

    assert desk.answer(True).request_id == request.request_id


def test_answer_with_an_id_counts_whatever_was_there_before(desk: Desk) -> None:
    desk.ask("read").cancel()
    request = desk.ask("rm")

    assert desk.answer(True, request_id=request.request_id).status == "approved"


@pytest.mark.parametrize("pending", [0, 1, 2])
def test_answer_without_an_id_is_refused_where_one_is_required(clock: Clock, pending: int) -> None:
    desk = Desk(clock, require_request_id=True)
    requests = [desk.ask() for _ in range(pending)]

    for approved in (True, False):
        assert desk.refusal(approved).message == "request_id: Field required (setting require_request_id)"

    assert all(request.pending for request in requests)
    assert [desk.answer(True, request_id=request.request_id).status for request in requests] == ["approved"] * pending


def test_action_is_the_session_the_server_the_tool_and_the_parameters(clock: Clock) -> None:
    def of(desk: Desk, *call: Any, **more: Any) -> str:
        return desk.ask(*call, **more).record.action_sha256

    desk, same = Desk(clock), Desk(clock)
    others = [of(desk, "write", server="a"), of(desk, "write", server="b"), of(desk, "Write"), of(desk, "write", {})]

    assert of(desk) == of(same)
    assert len({of(desk), *others}) == 5


@pytest.mark.parametrize("field", ["parameters_sha256", "action_sha256"])
def test_decision_for_another_action_than_the_pending_one_is_refused(desk: Desk, field: str) -> None:
    meant, asked = desk.ask("read", server="a", parameters={"n": 1}), desk.ask("read", server="b", parameters={"n": 2})
    shown = {"parameters_sha256": asked.record.parameters_sha256, "action_sha256": asked.record.action_sha256}
    shown[field] = getattr(meant.record, field)

    for sent in (shown, {field: shown[field]}, {field: shown[field].upper()}, {field: ""}):
        refused = desk.refusal(True, request_id=asked.request_id, **sent)
        assert (type(refused), refused.details) == (ParametersChanged, {"record": asked.record})

    shown[field] = getattr(asked.record, field)
    assert desk.answer(True, request_id=asked.request_id, **shown).status == "approved"


def test_same_parameters_for_another_tool_are_another_action(desk: Desk) -> None:
    shown = desk.ask("read").record
    asked = desk.ask("rm")

    assert asked.record.parameters_sha256 == shown.parameters_sha256
    refused = desk.refusal(True, request_id=asked.request_id, action_sha256=shown.action_sha256)
    assert refused.code == "parameters_changed"


def test_edited_call_has_an_action_of_its_own(desk: Desk) -> None:
    asked = desk.ask().record
    edited = desk.answer(True, parameters=EDITED, action_sha256=asked.action_sha256)

    assert edited.action_sha256 == desk.ask(parameters=EDITED).record.action_sha256 != asked.action_sha256


def test_request_that_nobody_has_seen_cannot_be_decided(one_by_one: Desk) -> None:
    one_by_one.ask()
    hidden = one_by_one.ask()

    assert one_by_one.refusal(True, request_id=hidden.request_id).code == "request_not_found"
    assert one_by_one.find(hidden.request_id).pending


@pytest.mark.parametrize("end", ["expired", "cancelled"])
def test_next_request_is_announced_when_the_first_ends_undecided(one_by_one: Desk, clock: Clock, end: str) -> None:
    first, second = one_by_one.ask(), one_by_one.ask()
    if end == "expired":
        clock.advance(300)
        one_by_one.expire_due()
    else:
        first.cancel()

    assert one_by_one.pending == (second,)
    assert one_by_one.types == ["permission_request", "permission_cleared", "permission_request"]


def test_cancelled_request_that_nobody_saw_leaves_without_a_word(one_by_one: Desk) -> None:
    first, second, third = one_by_one.ask("one"), one_by_one.ask("two"), one_by_one.ask("three")
    second.cancel()
    assert one_by_one.types == ["permission_request"]
    assert one_by_one.refusal(True, request_id=second.request_id).code == "request_cancelled"
    first.cancel()

    assert one_by_one.pending == (third,)


def test_request_announced_out_of_turn_waits_for_those_before_it(one_by_one: Desk) -> None:
    first = one_by_one.register(Question(tool_name="one", parameters={}, risk_level="high"))
    second = one_by_one.register(Question(tool_name="two", parameters={}, risk_level="high"))
    one_by_one.announce(second)
    assert one_by_one.pending == ()
    one_by_one.announce(first)

    assert one_by_one.pending == (first,)


def test_closing_announces_none_of_those_that_wait(one_by_one: Desk) -> None:
    requests = [one_by_one.ask() for _ in range(3)]
    one_by_one.close("over", cancelled_by="service")

    assert [request.record.status for request in requests] == ["cancelled"] * 3
    assert one_by_one.types == ["permission_request", "permission_cleared"]


def test_late_decision_never_falls_on_the_next_request_that_nobody_has_seen(one_by_one: Desk, clock: Clock) -> None:
    first, second = one_by_one.ask("one"), one_by_one.ask("two")
    clock.advance(300)
    error = one_by_one.refusal(True)

    assert error.code in ("request_expired", "request_not_found")
    assert (first.record.status, second.record.status) == ("expired", "pending")


# What is remembered


def test_number_of_settled_requests_that_are_remembered_is_bounded(clock: Clock) -> None:
    desk = Desk(clock, log_events=3)
    requests = [desk.ask() for _ in range(5)]
    for request in requests:
        desk.answer(True, request_id=request.request_id)
    forgotten = [desk.refusal(True, request_id=request.request_id).code for request in requests[:2]]

    assert forgotten == ["request_not_found"] * 2
    assert [desk.find(request.request_id) for request in requests[2:]] == requests[2:]


def test_bytes_of_settled_requests_that_are_remembered_are_bounded(clock: Clock) -> None:
    desk = Desk(clock, log_bytes=32 * 1024, max_event_bytes=16 * 1024)
    requests = [desk.ask(parameters={"a": "x" * 9_000}) for _ in range(6)]
    for request in requests:
        request.cancel()
    remembered = []
    for request in requests:
        try:
            remembered.append(desk.find(request.request_id))
        except RequestNotFound:
            continue

    assert remembered == requests[3:]


def test_newest_settled_request_is_remembered_whatever_its_size(clock: Clock) -> None:
    desk = Desk(clock, log_events=1)
    first, second = desk.ask(), desk.ask()
    first.cancel()
    second.cancel()

    assert desk.find(second.request_id) is second
    assert desk.refusal(True, request_id=first.request_id).code == "request_not_found"


def test_newest_settled_request_is_remembered_even_if_it_alone_is_too_large(clock: Clock) -> None:
    desk = Desk(clock, log_bytes=16 * 1024, max_event_bytes=16 * 1024)
    request = desk.ask()
    request.cancel("x" * 20_000)

    assert desk.find(request.request_id) is request


def test_pending_request_is_never_forgotten(clock: Clock) -> None:
    desk = Desk(clock, log_events=1)
    pending = desk.ask()
    for _ in range(5):
        desk.ask().cancel()

    assert desk.find(pending.request_id) is pending


def test_tool_without_a_name_is_refused_and_nothing_is_kept(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match="tool_name: String should have at least 1 character"):
        desk.ask("")

    assert desk.pending_count == 0


@pytest.mark.parametrize(
    ("asked_with", "decided_by", "decided_with", "is_own"),
    [
        ("a1", "agent", "a1", True),
        ("a1", "agent", "b2", True),
        ("a1", "somebody else", "a1", True),
        ("a1", "somebody else", "b2", False),
        ("a1", "somebody else", "", False),
        ("", "agent", "", False),
    ],
)
def test_neither_the_subject_nor_the_token_that_asked_approves(
    asked_with: str, decided_by: str, decided_with: str, is_own: bool
) -> None:
    broker = Broker()
    request = broker.ask("s1", tool_name="rm", parameters={}, asked_by="agent", asked_with=asked_with)

    with pytest.raises(SelfApproval) if is_own else nullcontext():
        broker.decide("s1", Decision(approved=True), decided_by=decided_by, decided_with=decided_with)

    assert request.pending is is_own


def test_who_asked_may_reject_but_not_reply() -> None:
    broker = Broker()
    request = broker.ask("s1", tool_name="ask_human", parameters={}, asked_by="agent", asked_with="a1")

    with pytest.raises(SelfApproval):
        broker.decide("s1", Decision(approved=False, response="yes"), decided_by="agent", decided_with="a1")
    broker.decide("s1", Decision(approved=False), decided_by="agent", decided_with="a1")

    assert request.record.status == "rejected"


# An edit and what the tool takes

TAKES = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}


def test_edit_that_escapes_the_schema_of_the_tool_leaves_the_request_pending(desk: Desk) -> None:
    request = desk.ask(input_schema=InputSchema.of(TAKES))
    error = desk.refusal(True, parameters={"path": 7})

    assert (error.code, error.message) == ("invalid", "parameters/path: it is not of type 'string'")
    assert error.details == {"pointer": "/path"}
    assert request.pending
    assert desk.judged == []
    assert desk.answer(True, parameters=EDITED).parameters == EDITED


def test_call_as_it_was_asked_need_not_fit_the_schema(desk: Desk) -> None:
    desk.ask(parameters={"path": 7}, input_schema=InputSchema.of(TAKES))

    assert desk.answer(True).decision == "approve"


def test_question_is_answered_or_rejected_and_never_just_approved(desk: Desk) -> None:
    record = desk.ask(needs_answer=True).record
    refusal = desk.refusal(True)

    assert record.allowed_decisions == ("edit", "reject", "respond")
    assert isinstance(refusal, DecisionNotOffered)
    assert "answer it" in refusal.message
    assert desk.answer(True, parameters=EDITED).decision == "edit"


def test_tool_whose_schema_cannot_be_checked_takes_no_edit_and_that_is_said(desk: Desk) -> None:
    record = desk.ask(input_schema=InputSchema.of("text")).record

    assert record.allowed_decisions == ("approve", "reject", "respond")
    assert record.risk_reasons == ("nobody can edit it, because its input schema cannot be checked: it is no object",)
    assert isinstance(desk.refusal(True, parameters=EDITED), DecisionNotOffered)


def test_approval_that_is_used_twice_is_one(desk: Desk) -> None:
    request = desk.ask(input_schema=InputSchema.of(TAKES))
    first = desk.answer(True, request_id=request.request_id)
    again = desk.answer(True, request_id=request.request_id)

    assert again == first
    assert desk.types.count("permission_response_result") == 1
    assert isinstance(desk.refusal(False, request_id=request.request_id), AlreadyDecided)
    assert desk.ask().pending


def test_question_that_is_altered_is_another_with_all_else_the_same() -> None:
    question = Question("t", {"n": 1}, tool_call_id="c", description="why")
    update = {"risk_reasons": ("because",), "key": ("k", "d"), "is_checked": True}

    assert question.altered(**update) == question._replace(**update)
    assert question.tool_call_id == "c"


def test_record_of_what_was_checked_is_that_of_what_is_checked_here() -> None:
    records = []
    for is_checked in (False, True):
        desk = PermissionDesk("s1", limits=Limits(), tell=lambda *_: (), judge=lambda *_: ALLOW)
        question = Question(
            "bash",
            {"command": "rm -rf build", "n": 1},
            risk_reasons=[Reason.by_asker("it is risky"), Reason("risk_asks", risk="high"), "my own words"],
            tool_call_id="c1",
            timeout_seconds=60,
            description="why",
            server="files",
            definition_sha256="a" * 64,
            is_checked=is_checked,
        )
        records.append(desk.register(question).record)
    validated, made = records
    same = {"request_id": "", "timestamp": validated.timestamp}

    assert made.altered(**same) == validated.altered(**same)
    assert dump(made.altered(**same)) == dump(validated.altered(**same)) == made.altered(**same).encoded
    assert [*map(type, made.risk_reasons)] == [str, str, str]
    assert (type(made.timeout_seconds), made.model_copy(update={"viewers": 3}).viewers) == (float, 3)
