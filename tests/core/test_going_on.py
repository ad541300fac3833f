"""A session that goes on after a restart: what was there is there again, and what was asked is still asked."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from notifier_service.core.errors import AlreadyClaimed, InvalidInput, NotDurable, SelfApproval
from notifier_service.core.event_log import Event
from notifier_service.core.events import ToolProgress, ToolResult, ToolStatus, dump
from notifier_service.core.input_schema import InputSchema
from notifier_service.core.journal import Change
from notifier_service.core.limits import Limits
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.question import Decision, Question
from notifier_service.core.request_keeper import RequestKeeper
from notifier_service.core.session import Session
from tests.clock import Clock
from tests.core.memory_journal import MemoryJournal

if TYPE_CHECKING:
    from collections.abc import Callable

QUESTION = Question("write", {"path": "/tmp/x"}, tool_call_id="c1", outlives=True, asked_by="ci", asked_with="digest")


class Run:
    """One run of the service, of which there is one session; it is killed when the next one begins."""

    def __init__(self, journal: MemoryJournal, wall: Clock, *, goes_on: bool = False, **limits: Any) -> None:
        self.journal = journal
        self.wall = wall
        self.clock = Clock()
        self.limits = limits
        keeper = RequestKeeper(journal, wall)
        settings: dict[str, Any] = {"limits": Limits(**limits), "clock": self.clock, "keeper": keeper}
        if goes_on:
            kept, before = journal.go_on("s", most_events=1000, most_bytes=1 << 20)
            self.session = Session("s", epoch=before.epoch, **settings)
            self.session.desk.grants.go_on(keeper.rules_of_before().get("s", ()))
            self.session.go_on(kept, before, keeper.of_before())
        else:
            self.session = Session("s", epoch="e", **settings)
            self.session.keep(journal.begin("s", "e", opened_by=None))

    def next(self, *, away_seconds: float = 0, events: int | None = None, leapt: int = 0) -> Run:
        """What comes after it, where of its log no more was kept than so many ``events``."""
        journal = self.journal.again(alive_at=self.wall(), leapt=leapt)
        if events is not None:
            kept = journal.sessions["s"]
            kept.events, kept.last_seq = kept.events[:events], events
        self.wall.advance(away_seconds)
        return Run(journal, self.wall, goes_on=True, **self.limits)

    def ask(self, **changes: Any) -> PermissionRequest:
        return self.session.ask(QUESTION._replace(**changes))

    def decide(self, request: PermissionRequest, *, by: str = "ana", **decision: Any) -> None:
        told = Decision(**{"approved": True, "request_id": request.request_id, **decision})
        self.session.decide(told, decided_by=by)

    def pass_by(self, seconds: float) -> None:
        self.wall.advance(seconds)
        self.clock.advance(seconds)
        self.session.desk.expire_due()

    @property
    def events(self) -> list[Event]:
        return list(self.session.log.read_after(self.session.log.first_seq - 1))

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]

    def named(self, kind: str) -> list[str]:
        return [change.name for change in self.journal.kept(kind)]


@pytest.fixture
def run() -> Run:
    return Run(MemoryJournal(), Clock())


def data(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(event.json)["data"]
    return found


def status(state: Any, call: str) -> ToolStatus:
    return ToolStatus(status=state, tool_name="rm", tool_call_id=call)


# Events, and what they add up to


def test_session_comes_back_with_its_events_and_its_state(run: Run) -> None:
    run.session.publish("tool_status", status("executing", "c1"))
    run.session.publish("tool_status", status("executing", "c2"))
    run.session.publish("tool_progress", ToolProgress(tool_name="rm", tool_call_id="c1", progress=2, total=3))
    run.session.publish("tool_result", ToolResult(tool_name="rm", tool_call_id="c0", success=True, result={"n": 1}))
    run.session.publish("note", {"text": "é \u2028"})
    run.session.publish("bell")
    run.session.publish("tool_status", status("completed", "c2"))

    after = run.next()

    snapshot = after.session.snapshot()
    assert after.events == run.events
    assert dump(snapshot) == dump(run.session.snapshot())
    assert [call.tool_call_id for call in snapshot.running] == ["c1"]
    assert snapshot.tool_result is not None


def test_result_that_was_cleared_does_not_come_back(run: Run) -> None:
    run.session.publish("tool_result", ToolResult(tool_name="rm", success=True, result=1))
    run.session.clear_result()

    after = run.next()

    assert after.session.snapshot().tool_result is None
    assert after.types == ["tool_result", "result_cleared"]


@pytest.mark.parametrize("odd", [{"status": "of an earlier version"}, {}, None])
def test_event_that_would_be_taken_no_more_is_told_all_the_same(odd: Any, run: Run) -> None:
    run.session.publish("tool_status", status("executing", "c1"))
    run.session.publish("tool_status", odd)
    run.session.publish("tool_status", status("executing", "c2"))

    after = run.next()

    assert after.events == run.events
    assert [call.tool_call_id for call in after.session.snapshot().running] == ["c1", "c2"]


def test_reader_goes_on_behind_its_cursor_over_restarts(run: Run) -> None:
    first = run.session.publish("note", {"n": 1})
    run.session.publish("note", {"n": 2})
    second = run.next(leapt=1000)
    second.session.publish("note", {"n": 3})
    third = second.next()

    opening = third.session.open_at(first.id)

    assert opening.resumed == "full"
    assert [data(event)["n"] for event in third.session.log.read_after(opening.seq)] == [2, 3]
    assert [event.id for event in third.events] == ["e-1", "e-2", "e-rv"]


def test_what_happened_before_there_was_a_journal_is_kept_too() -> None:
    journal = MemoryJournal()
    session = Session("s", epoch="e")
    session.publish("note", {"n": 1})
    session.publish("note", {"n": 2})
    session.keep(journal.begin("s", "e", opened_by=None))
    session.publish("note", {"n": 3})

    [kept] = journal.sessions.values()

    assert kept.events == session.log.read_after(0)
    assert kept.last_seq == 3


def test_session_of_which_nothing_is_kept_goes_on_all_the_same() -> None:
    session = Session("s", limits=Limits(log_events=1))
    session.keep(None)
    session.publish("note")
    session.publish("note")
    session.forget_evicted()

    assert session.log.last_seq == 2


def test_no_more_is_kept_than_about_what_the_log_holds() -> None:
    run = Run(MemoryJournal(), Clock(), log_events=8)
    kept = []
    for _ in range(3):
        for number in range(20):
            run.session.publish("note", {"n": number})
            run.session.forget_evicted()
            kept.append(len(run.journal.sessions["s"].events))
        run = run.next()

    assert max(kept) <= 8 + 2
    assert len(run.events) == 8
    assert run.session.log.last_seq == 60


# What is asked


def test_request_comes_back_and_waits_as_it_did(run: Run) -> None:
    request = run.ask()

    after = run.next()

    [pending] = after.session.desk.pending
    assert pending.record.model_copy(update={"expires_at": None}) == request.record.model_copy(
        update={"expires_at": None}
    )
    assert pending.question == request.question._replace(timeout_seconds=300)
    assert after.events == run.events
    assert [each.request_id for each in after.session.snapshot().permission_requests] == [request.request_id]


async def test_request_that_came_back_is_decided_for_who_asks_again(run: Run) -> None:
    request = run.ask()
    await request.recorded()
    after = run.next()

    joined = after.session.desk.joined(QUESTION)
    assert joined is not None
    deciding = asyncio.ensure_future(joined.decision())
    record = await after.session.answer(Decision(approved=True, request_id=request.request_id), decided_by="ana")

    assert (await deciding) == record
    assert record.approved
    assert after.types == ["permission_request", "permission_response_result", "permission_cleared"]


def test_request_that_came_back_is_bound_to_what_it_was(run: Run) -> None:
    schema = InputSchema.of({"type": "object", "properties": {"path": {"type": "string"}}})
    request = run.ask(input_schema=schema, scopes=("once", "session"), by_policy=False, workspace="/srv")

    after = run.next()

    [pending] = after.session.desk.pending
    with pytest.raises(SelfApproval):
        after.decide(request, by="ci")
    with pytest.raises(InvalidInput, match="/path"):
        after.decide(request, parameters={"path": 7})
    after.decide(request, parameters={"path": "/tmp/y"})
    assert (pending.record.decision, pending.record.parameters) == ("edit", {"path": "/tmp/y"})
    assert (pending.question.workspace, pending.question.by_policy) == ("/srv", False)


@pytest.mark.parametrize(("waited", "left"), [(0, 300), (100, 200), (299, 1)])
def test_request_has_what_is_left_of_its_time_however_often_the_service_was_away(
    waited: float, left: float, run: Run
) -> None:
    run.ask(timeout_seconds=300)
    run.pass_by(waited / 2)
    second = run.next(away_seconds=3600)
    second.pass_by(waited / 2)
    third = second.next(away_seconds=3600)

    third.pass_by(left - 0.5)
    before = third.session.desk.pending_count
    third.pass_by(1)

    assert (before, third.session.desk.pending_count) == (1, 0)
    assert third.types == ["permission_request", "permission_cleared"]


def test_request_whose_decision_could_not_be_kept_has_no_more_time_for_that(run: Run) -> None:
    request = run.ask(timeout_seconds=300)
    run.pass_by(200)
    run.journal.error = "the disk is full"
    with pytest.raises(NotDurable):
        run.decide(request)
    run.journal.works_again()
    after = run.next()

    after.pass_by(101)

    assert after.types == ["permission_request", "permission_cleared"]


def test_request_without_an_end_waits_without_one(run: Run) -> None:
    run.ask(timeout_seconds=0)
    after = run.next(away_seconds=1e6).next()

    after.pass_by(1e6)

    assert after.session.desk.pending_count == 1


def test_request_that_nobody_saw_is_shown_with_all_of_its_time(run: Run) -> None:
    run.session.publish("note")
    run.ask(timeout_seconds=300)
    run.pass_by(200)

    after = run.next(events=1)
    after.pass_by(299)

    assert after.session.desk.pending_count == 1
    assert after.types == ["note", "permission_request"]


def test_request_that_waits_for_longer_than_the_log_goes_back_is_not_shown_anew() -> None:
    run = Run(MemoryJournal(), Clock(), log_events=8)
    request = run.ask(timeout_seconds=300)
    for _ in range(20):
        run.session.publish("note")
        run.session.forget_evicted()
    run.pass_by(200)

    after = run.next().next()
    shown = [each.request_id for each in after.session.open_at("earliest").replay]
    before = after.types
    after.pass_by(101)

    assert before == ["note"] * 8
    assert shown == [request.request_id]
    assert after.types == ["note"] * 7 + ["permission_cleared"]


@pytest.mark.parametrize(
    ("end", "types"),
    [
        (lambda run, request: run.decide(request), ["permission_response_result", "permission_cleared"]),
        (
            lambda run, request: run.decide(request, approved=False),
            ["permission_response_result", "permission_cleared"],
        ),
        (lambda run, request: run.pass_by(1000), ["permission_cleared"]),
        (lambda run, request: request.cancel(), ["permission_cleared"]),
    ],
    ids=["approved", "rejected", "expired", "cancelled"],
)
def test_end_that_was_kept_and_of_which_nobody_heard_is_told(
    end: Callable[[Run, PermissionRequest], object], types: list[str], run: Run
) -> None:
    request = run.ask()
    end(run, request)

    after = run.next(events=1)
    once_more = after.next()

    assert after.types == once_more.types == ["permission_request", *types]
    assert [{**data(event), "timestamp": ""} for event in after.events] == [
        {**data(event), "timestamp": ""} for event in run.events
    ]
    assert after.session.desk.pending_count == 0
    assert after.session.desk.find(request.request_id).record == request.record


def test_end_with_parameters_too_large_for_an_event_is_told_with_their_beginning(run: Run) -> None:
    request = run.ask()
    run.decide(request, parameters={"path": "x" * 1_000_000})

    after = run.next(events=1)

    [_, told, _] = after.events
    assert data(told)["parameters_truncated"] is True
    assert data(told) == data(run.events[1])
    assert after.session.desk.find(request.request_id).record.parameters == {"path": "x" * 1_000_000}


def test_end_that_was_told_is_told_once(run: Run) -> None:
    request = run.ask()
    run.decide(request)

    after = run.next()

    assert after.events == run.events
    assert after.session.desk.find(request.request_id).record == request.record


def test_request_whose_asker_was_in_the_process_that_ended_is_cancelled(run: Run) -> None:
    request = run.ask(outlives=False)

    after = run.next()
    once_more = after.next()

    record = after.session.desk.find(request.request_id).record
    assert (record.status, record.code) == ("cancelled", "restarted")
    assert after.types == once_more.types == ["permission_request", "permission_cleared"]


def test_request_of_another_version_does_not_keep_its_session_from_going_on(run: Run) -> None:
    run.session.publish("permission_request", {"request_id": "perm_of_another_version"})
    run.session.publish("note")

    after = run.next()

    assert after.types == ["permission_request", "note"]
    assert after.session.desk.pending_count == 0


async def test_request_that_was_taken_for_a_run_is_taken_after_a_restart(run: Run) -> None:
    request = run.ask()
    await request.recorded()
    await run.session.answer(Decision(approved=True, request_id=request.request_id), decided_by="ana")
    await run.session.desk.claim(request, "run-1")

    after = run.next()
    found = after.session.desk.find(request.request_id)

    with pytest.raises(AlreadyClaimed):
        await after.session.desk.claim(found, "run-2")
    assert (await after.session.desk.claim(found, "run-1")).approved
    assert after.session.desk.joined(QUESTION) is None


def test_decision_that_nobody_came_for_in_time_is_kept_no_longer(run: Run) -> None:
    run.decide(run.ask())
    after = run.next()
    held = after.session.desk.holds_decisions

    after.pass_by(Limits().decision_keep_seconds)

    assert held
    assert not after.session.desk.holds_decisions
    assert after.named("request") == []


def test_session_that_ends_takes_its_requests_and_rules_with_it(run: Run) -> None:
    run.decide(run.ask(), scope="session")
    run.ask(tool_name="other")
    run.ask(tool_name="third", outlives=False)
    before = run.named("request"), run.named("rules")

    run.session.close("session_closed")

    assert [len(names) for names in before] == [2, 1]
    assert run.named("request") == run.named("rules") == []


def test_request_waits_on_when_the_service_is_stopped_in_order(run: Run) -> None:
    request = run.ask()
    gone = run.ask(tool_name="other", outlives=False)
    run.session.close("shutdown")

    after = run.next()

    assert [each.request_id for each in after.session.desk.pending] == [request.request_id]
    assert gone.record.status == "cancelled"


def test_nothing_is_written_where_there_is_no_journal() -> None:
    keeper = RequestKeeper()
    session = Session("s", keeper=keeper)
    request = session.ask(QUESTION)
    session.decide(Decision(approved=True, request_id=request.request_id, scope="session"), decided_by="ana")
    session.take_back(session.desk.grants.rules[0].rule_id)

    assert not keeper.keeps(request)
    assert not session.desk.holds_decisions
    assert keeper.of_before() == []
    assert keeper.rules_of_before() == {}


def changed(body: bytes, **changes: Any) -> bytes:
    return dump({**json.loads(body), **changes})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: None,
        lambda body: b"",
        lambda body: body[:-5],
        lambda body: b"[]",
        lambda body: changed(body, record=None),
        lambda body: changed(body, record={**json.loads(body)["record"], "status": "of a later version"}),
        lambda body: changed(body, record={**json.loads(body)["record"], "parameters": {"path": "/etc/passwd"}}),
        lambda body: changed(body, beside=None),
        lambda body: changed(body, beside={"of_a_later_version": 1}),
        lambda body: changed(body, at="today"),
    ],
)
def test_request_that_cannot_be_read_again_is_denied_and_the_others_wait(
    spoil: Callable[[bytes], bytes | None], run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    request, other = run.ask(), run.ask(tool_call_id="c2")
    body = spoil(run.journal.named["request", request.request_id])
    run.journal.named["request", request.request_id] = b"" if body is None else body

    after = run.next()

    record = after.session.desk.find(request.request_id).record
    assert (record.status, record.code) == ("cancelled", "restarted")
    assert [each.request_id for each in after.session.desk.pending] == [other.request_id]
    assert after.named("request") == [other.request_id]
    assert request.request_id in caplog.text


# What was decided for the session


def test_what_was_decided_for_the_session_holds_after_a_restart(run: Run) -> None:
    run.decide(run.ask(), scope="session")
    run.decide(run.ask(tool_name="rm"), approved=False, scope="session")

    after = run.next().next()

    assert after.ask().record.status == "approved"
    assert after.ask(tool_name="rm").record.status == "rejected"
    assert after.ask(asked_by="other").pending
    assert after.ask(definition_sha256="0a" * 32).pending
    assert after.session.desk.grants.entries == run.session.desk.grants.entries


def test_rule_that_was_taken_back_holds_no_more_after_a_restart(run: Run) -> None:
    run.decide(run.ask(), scope="session")
    run.decide(run.ask(tool_name="rm"), scope="session")
    first, second = run.session.desk.grants.rules
    run.session.take_back(first.rule_id)

    after = run.next()
    left = [rule.rule_id for rule in after.session.all_rules()]
    after.session.take_back(second.rule_id)

    assert left == [second.rule_id]
    assert after.named("rules") == []
    assert after.next().ask(tool_name="rm").pending


def test_rule_that_could_not_be_kept_is_none_after_a_restart_either(run: Run) -> None:
    request = run.ask()
    run.journal.error = "the disk is full"
    with pytest.raises(NotDurable):
        run.decide(request, scope="session")
    run.journal.works_again()

    after = run.next()

    assert after.session.desk.grants.rules == ()
    assert [each.request_id for each in after.session.desk.pending] == [request.request_id]


def test_rules_that_cannot_be_read_again_hold_no_more_and_are_kept_no_longer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal = MemoryJournal()
    run = Run(journal, Clock())
    run.decide(run.ask(), scope="session")
    journal.commit(Change("rules", "other", b"[7]"), Change("rules", "third", b""))

    found = RequestKeeper(journal).rules_of_before()

    assert list(found) == ["s"]
    assert [entry.rule.tool for entry in found["s"]] == ["write"]
    assert run.named("rules") == ["s"]
    assert "cannot be read" in caplog.text
