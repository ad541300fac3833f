"""Decisions for always: kept in a file, held to in every session, taken back in every session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from notifier_service.core.broker import Broker
from notifier_service.core.errors import (
    DecisionNotOffered,
    Forbidden,
    InvalidInput,
    LimitReached,
    NotifierError,
    RuleNotFound,
    RuleOfFile,
    RulesNotKept,
    SelfApproval,
    SessionClosed,
)
from notifier_service.core.events import PermissionRecord, Rule
from notifier_service.core.limits import Limits
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.policy.learned import LearnedRules
from notifier_service.core.policy.policy_file import PolicyFile
from notifier_service.core.question import Decision
from notifier_service.core.suggestions import Suggestion
from tests.policies import a_policy_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rules.toml"


@pytest.fixture
def learned(path: Path) -> LearnedRules:
    return LearnedRules(path)


@pytest.fixture
async def broker(learned: LearnedRules) -> Any:
    broker = Broker(learned=learned)
    yield broker
    broker.close()


def ask(broker: Broker, session_id: str = "s1", tool_name: str = "write", **more: Any) -> PermissionRequest:
    return broker.ask(
        session_id, tool_name=tool_name, parameters=more.pop("parameters", {}), **{"asked_by": "ci"} | more
    )


def answer(
    broker: Broker, request: PermissionRequest, approved: bool = True, *, session_id: str = "s1", **more: Any
) -> PermissionRecord:
    by = {name: more.pop(name) for name in ("decided_with", "reach") if name in more}
    decision = Decision(approved=approved, request_id=request.request_id, **{"scope": "always"} | more)
    return broker.decide(session_id, decision, decided_by="ana", **by)


def approve(broker: Broker, **call: Any) -> PermissionRequest:
    request = ask(broker, **call)
    answer(broker, request, scope="once")
    return request


async def test_always_is_offered_only_where_there_is_a_file_that_can_keep_it(broker: Broker, path: Path) -> None:
    without = Broker()
    offered = ask(broker).record.scopes, ask(without).record.scopes, ask(broker, scopes=("once",)).record.scopes
    path.write_text("broken")
    broker.read_again()
    assert broker.rules.learned is not None
    broker.rules.learned.refresh()

    assert offered == (("once", "session", "always"), ("once", "session"), ("once",))
    assert ask(broker, scopes=("once", "session", "always")).record.scopes == ("once", "session")
    with pytest.raises(DecisionNotOffered):
        answer(without, ask(without))
    without.close()


@pytest.mark.parametrize(("approved", "status"), [(True, "approved"), (False, "rejected")])
async def test_decision_for_always_holds_in_every_session_and_after_a_restart(
    broker: Broker, path: Path, approved: bool, status: str
) -> None:
    record = answer(broker, ask(broker), approved, reason="as ever")
    again = Broker(learned=LearnedRules(path))

    assert (record.status, record.scope) == (status, "always")
    for other, session_id in ((broker, "s1"), (broker, "s2"), (again, "s3")):
        settled = ask(other, session_id).record
        assert (settled.status, settled.decided_by) == (status, "policy")
        assert settled.rule is not None
        assert settled.justification == "as ever"
    assert [rule.used for rule in again.open("s3").all_rules()] == [1]
    again.close()


@pytest.mark.parametrize(
    "other",
    [
        {"tool_name": "Write"},
        {"tool_name": "wr\u0456te"},
        {"server": "files"},
        {"definition_sha256": "0a" * 32},
        {"asked_by": "other"},
        {"agent": "codex"},
        {"risk_level": "high"},
        {"parameters": {"command": "ls"}},
        {"is_whole": False},
    ],
    ids=ascii,
)
async def test_click_on_always_grants_no_more_than_it_showed(broker: Broker, other: dict[str, Any]) -> None:
    answer(broker, ask(broker, risk_level="medium"))

    assert ask(broker, **{"risk_level": "medium", **other}).pending
    assert not ask(broker, risk_level="medium").pending


async def test_decision_for_always_settles_the_same_calls_that_wait_in_every_session(broker: Broker) -> None:
    seen = ask(broker)
    twins = [ask(broker), ask(broker, "s2")]
    others = [ask(broker, "s2", "rm"), ask(broker, "s2", scopes=("once",))]
    answer(broker, seen)

    assert [twin.record.decided_by for twin in twins] == ["policy", "policy"]
    assert all(other.pending for other in others)


async def test_decision_of_who_may_decide_in_some_sessions_is_for_those(broker: Broker) -> None:
    answer(broker, ask(broker, "team-1"), session_id="team-1", reach=("team-*",))

    assert [ask(broker, session_id).pending for session_id in ("team-2", "s1")] == [False, True]
    assert [len(broker.open(session_id).all_rules()) for session_id in ("team-2", "s1")] == [1, 0]


@pytest.mark.parametrize("more", [{"parameters": {"a": 1}}, {"approved": False, "response": "x"}])
async def test_edit_and_response_are_for_one_call(broker: Broker, more: dict[str, Any]) -> None:
    request = ask(broker)
    with pytest.raises((InvalidInput, ValueError), match="once"):
        answer(broker, request, **more)

    assert request.pending


async def test_decision_that_cannot_be_kept_decides_nothing(broker: Broker, path: Path) -> None:
    request = ask(broker)
    path.write_text("broken")
    with pytest.raises(RulesNotKept):
        answer(broker, request)
    waits = request.pending
    path.unlink()
    answer(broker, request)

    assert waits
    assert request.record.status == "approved"


async def test_rule_beyond_the_bound_decides_nothing(path: Path) -> None:
    broker = Broker(learned=LearnedRules(path, capacity=1))
    answer(broker, ask(broker))
    request = ask(broker, tool_name="rm")
    with pytest.raises(LimitReached):
        answer(broker, request)

    assert request.pending
    broker.close()


@pytest.mark.parametrize("effect", ["ask", "deny"])
async def test_stricter_rule_of_the_policy_file_holds_against_always(path: Path, tmp_path: Path, effect: str) -> None:
    broker = Broker(learned=LearnedRules(path))
    answer(broker, ask(broker))
    waiting = ask(broker, tool_name="rm")
    file = a_policy_file(tmp_path / "policy.toml", **{effect: "write"})
    broker.follow(file)
    request = ask(broker)

    assert request.record.status == ("pending" if effect == "ask" else "rejected")
    assert not request.pending or request.record.scopes == ("once",)
    assert waiting.pending
    broker.close()


async def test_calls_that_wait_are_not_settled_against_a_stricter_rule(path: Path, tmp_path: Path) -> None:
    broker = Broker(learned=LearnedRules(path))
    seen, twin = ask(broker), ask(broker)
    broker.follow(a_policy_file(tmp_path / "policy.toml", ask="write"))
    answer(broker, seen)

    assert twin.pending
    broker.close()


async def test_rules_that_nobody_can_read_have_everything_asked(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text("[[rule]")
    broker = Broker(learned=LearnedRules(path))

    assert ask(broker, risk_level="low").pending
    assert "every call is asked until it can be read" in caplog.text
    broker.close()


# Taken back


async def test_rule_is_taken_back_in_every_session_at_once(broker: Broker) -> None:
    answer(broker, ask(broker))
    [rule] = broker.open("s1").all_rules()

    taken = broker.open("s2").take_back(rule.rule_id)

    assert taken.rule_id == rule.rule_id
    assert ask(broker).pending
    with pytest.raises(RuleNotFound):
        broker.open("s1").take_back(rule.rule_id)


async def test_file_that_is_named_later_is_asked_in_sessions_that_are_open_already(learned: LearnedRules) -> None:
    broker = Broker()
    ask(broker)
    broker.learn_into(learned)
    request = ask(broker)
    answer(broker, request)

    assert request.record.scope == "always"
    assert not ask(broker).pending
    broker.close()


async def test_who_takes_a_rule_back_or_takes_a_suggestion_over_is_in_the_log(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "notifier_service")
    for _ in range(2):
        approve(broker)
    session = broker.open("s1")
    for scope in ("session", "always"):
        [suggestion] = suggestions(broker)
        rule = session.desk.take_over(suggestion.suggestion_id, scope, decided_by="ana\n")  # type: ignore[arg-type]
        session.take_back(rule.rule_id, revoked_by="ben")

    lines = [line for line in caplog.messages if "rule_" in line]
    assert [line.partition(" (")[0] for line in lines] == [
        '"write": a suggestion became a rule by "ana\\n" for session',
        '"allow every call of \\"write\\", asked by \\"ci\\", at risk high or less": taken back by "ben"',
        '"write": a suggestion became a rule by "ana\\n" for always',
        '"allow every call of \\"write\\", asked by \\"ci\\", at risk high or less": taken back by "ben"',
    ]


async def test_rule_of_the_session_is_taken_back_there(broker: Broker) -> None:
    answer(broker, ask(broker), scope="session")
    [rule] = broker.open("s1").all_rules()
    with pytest.raises(RuleNotFound):
        broker.open("s2").take_back(rule.rule_id)

    assert broker.open("s1").take_back(rule.rule_id) == rule
    assert ask(broker).pending


async def test_rule_of_the_policy_file_is_changed_there(path: Path, tmp_path: Path) -> None:
    broker = Broker(policy=a_policy_file(tmp_path / "policy.toml", allow="read", deny="rm"), learned=LearnedRules(path))
    ask(broker, tool_name="read")
    rules = broker.open("s1").all_rules()

    assert [(rule.source, rule.name, rule.effect, rule.used) for rule in rules] == [
        ("file", "let read", "allow", 1),
        ("file", "no rm", "deny", 0),
    ]
    with pytest.raises(RuleOfFile, match=r"policy\.toml"):
        broker.open("s1").take_back(rules[1].rule_id)
    with pytest.raises(RuleNotFound):
        broker.open("s1").take_back("rule_unknown")
    broker.close()


async def test_rule_of_the_policy_file_is_listed_in_sessions_that_it_may_hold_in(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[[rule]]\nname = "team"\neffect = "deny"\ntool = "rm"\nsession = "team-*"\n')
    broker = Broker(policy=PolicyFile(policy))

    assert [len(broker.open(session_id).all_rules()) for session_id in ("team-1", "s1")] == [1, 0]
    assert len(broker.rules.listed()) == 1
    broker.close()


async def test_rule_that_reaches_beyond_ones_sessions_is_not_ones_to_take_back(broker: Broker) -> None:
    answer(broker, ask(broker))
    answer(broker, ask(broker, "team-1", "rm"), session_id="team-1", reach=("team-*", "x"))
    everywhere, team = broker.open("team-1").all_rules()

    for rule, reach in ((everywhere, ("team-*", "x")), (team, ("team-*",))):
        with pytest.raises(Forbidden):
            broker.rules.take_back(rule.rule_id, reach=reach)
    assert broker.rules.take_back(team.rule_id, reach=("x", "y", "team-*")).rule_id == team.rule_id
    assert broker.rules.take_back(everywhere.rule_id).rule_id == everywhere.rule_id


@pytest.mark.parametrize("scope", ["session", "always"])
async def test_nobody_takes_back_what_holds_back_his_own_calls(broker: Broker, scope: str) -> None:
    answer(broker, ask(broker), False, scope=scope)
    answer(broker, ask(broker, tool_name="read"), scope=scope)
    denied, allowed = broker.open("s1").all_rules()
    session = broker.open("s1")

    with pytest.raises(SelfApproval):
        session.take_back(denied.rule_id, revoked_by="ci", revoked_with="0a")
    session.take_back(allowed.rule_id, revoked_by="ci", revoked_with="0a")
    session.take_back(denied.rule_id, revoked_by="ana", revoked_with="0a")
    assert session.all_rules() == ()


# Which rule would have saved questions


def suggestions(broker: Broker, session_id: str = "s1") -> list[Suggestion]:
    return list(broker.open(session_id).desk.suggestions)


async def test_what_was_approved_again_and_again_is_suggested_as_the_rule_that_would_be_written(
    broker: Broker,
) -> None:
    asked = [approve(broker, parameters={"n": number}) for number in range(3)]
    approve(broker, tool_name="once")
    [suggestion] = suggestions(broker)

    assert (suggestion.would_have_saved, list(suggestion.requests)) == (3, [each.request_id for each in asked])
    assert (suggestion.words, suggestion.rule) == (
        asked[0].record.suggested_rule,
        asked[0].record.suggested_policy_rule,
    )
    assert ask(broker).pending  # never applied by itself


async def test_suggestion_is_not_for_who_asked_what_it_is_made_of(broker: Broker) -> None:
    for _ in range(2):
        asked = broker.ask("s1", tool_name="x", parameters={}, risk_level="medium", asked_by="ci", asked_with="t1")
        broker.decide("s1", Decision(approved=True, request_id=asked.request_id), decided_by="ana")
    desk = broker.open("s1").desk

    told = [desk.suggestions_to(*who) for who in (("ci", "t2"), ("other", "t1"), ("ana", "t3"))]

    assert [[may for _, may in one] for one in told] == [[False], [False], [True]]


async def test_suggestions_begin_with_the_one_that_would_have_saved_the_most(broker: Broker) -> None:
    for number in range(12):
        for _ in range(2 + number % 3):
            approve(broker, tool_name=f"t{number}")

    counts = [each.would_have_saved for each in suggestions(broker)]

    assert counts == sorted(counts, reverse=True)
    assert len(counts) == 10


async def test_risk_of_a_suggestion_is_the_highest_that_was_approved(broker: Broker) -> None:
    low = Broker(Limits(ask_from_risk="low"), learned=broker.rules.learned)
    for risk in ("low", "medium", "low"):
        approve(low, risk_level=risk)

    [suggestion] = suggestions(low)

    assert (suggestion.rule["risk"], suggestion.would_have_saved) == (["low", "medium"], 3)
    low.close()


async def spoil(broker: Broker, how: str) -> None:
    request = ask(broker)
    match how:
        case "rejected":
            answer(broker, request, False, scope="once")
        case "responded":
            answer(broker, request, False, scope="once", response="x")
        case "edited":
            answer(broker, request, scope="once", parameters={"a": 1})
        case "mixed":
            request.cancel()
            approve(broker, risk_level="medium")
        case "redefined":
            request.cancel()
            approve(broker, definition_sha256="0a" * 32)


@pytest.mark.parametrize("how", ["rejected", "responded", "edited", "mixed", "redefined"])
async def test_nothing_is_suggested_of_what_was_not_approved_as_it_is_every_time(broker: Broker, how: str) -> None:
    for _ in range(2):
        approve(broker)
    before = len(suggestions(broker))
    await spoil(broker, how)

    assert (before, suggestions(broker)) == (1, [])


async def test_call_that_the_agent_gave_up_is_nobodys_answer(broker: Broker) -> None:
    for _ in range(2):
        approve(broker)
    ask(broker).cancel()

    assert len(suggestions(broker)) == 1


@pytest.mark.parametrize("call", [{"scopes": ("once",)}, {"is_whole": False}, {"parameters": {"text": "x" * 300_000}}])
async def test_call_for_which_no_rule_may_be_made_is_suggested_never(broker: Broker, call: dict[str, Any]) -> None:
    for _ in range(3):
        approve(broker, **call)

    assert suggestions(broker) == []


async def test_what_a_rule_settles_already_is_not_suggested(broker: Broker, tmp_path: Path) -> None:
    for tool in ("write", "read"):
        for _ in range(2):
            approve(broker, tool_name=tool)
    broker.follow(a_policy_file(tmp_path / "policy.toml", ask="read"))
    answer(broker, ask(broker), scope="session")

    assert suggestions(broker) == []


@pytest.mark.parametrize("scope", ["session", "always"])
async def test_suggestion_is_taken_over_by_a_person(broker: Broker, scope: Any) -> None:
    for _ in range(2):
        approve(broker)
    waiting, elsewhere = ask(broker), ask(broker, "s2")
    [suggestion] = suggestions(broker)

    rule = broker.open("s1").desk.take_over(suggestion.suggestion_id, scope, decided_by="ana", reason="enough")

    assert isinstance(rule, Rule)
    assert (rule.source, rule.created_by, rule.justification) == (
        "learned" if scope == "always" else "session",
        "ana",
        "enough",
    )
    assert rule.name == suggestion.rule["name"]
    assert not waiting.pending
    assert elsewhere.pending == (scope == "session")
    assert suggestions(broker) == []


def refused(broker: Broker, suggestion_id: str, scope: Any, **more: Any) -> type[NotifierError]:
    with pytest.raises(NotifierError) as caught:
        broker.open("s1").desk.take_over(suggestion_id, scope, **{"decided_by": "ana", **more})
    return type(caught.value)


async def test_suggestion_that_is_none_any_more_makes_no_rule(broker: Broker) -> None:
    without = Broker()
    for each in (broker, without):
        for _ in range(2):
            approve(each, asked_with="0a")
    [suggestion] = suggestions(broker)
    identity = suggestion.suggestion_id

    assert refused(broker, "sug_unknown", "session") is RuleNotFound
    assert refused(broker, identity, "once") is DecisionNotOffered
    assert refused(without, identity, "always") is DecisionNotOffered
    assert refused(broker, identity, "session", decided_by="ci", decided_with="0b") is SelfApproval
    answer(broker, ask(broker), False, scope="once")
    assert refused(broker, identity, "session") is RuleNotFound
    desk = broker.open("s1").desk
    broker.end_session("s1")
    with pytest.raises(SessionClosed):
        desk.take_over(identity, "session", decided_by="ana")
    without.close()
