"""An approved call is taken for one run; of one that nobody told the end of, people hear that it is unknown."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from notifier_service.core.broker import Broker
from notifier_service.core.errors import AlreadyClaimed
from notifier_service.core.events import CallDetails, EventData, ToolResult, ToolStatus
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.permissions import PermissionDesk
from notifier_service.core.question import Decision, Question
from tests.core.memory_journal import MemoryJournal, Start

if TYPE_CHECKING:
    from conftest import Clock

CALL = Question("write", {"path": "/tmp/x"}, asked_by="ann", tool_call_id="c1", timeout_seconds=300, outlives=True)
UNNAMED = CALL._replace(tool_call_id=None)
HERE = CALL._replace(outlives=False)
HARMLESS = CALL._replace(risk_level="low", rated_by="service")


def desk_of(broker: Broker) -> PermissionDesk:
    return broker.look("s").desk


def ends(broker: Broker) -> list[dict[str, Any]]:
    """The calls of which people were told that their end is unknown."""
    log = broker.look("s").log
    told = [json.loads(event.json) for event in log.read_after(log.first_seq - 1) if event.type == "tool_status"]
    return [each["data"] for each in told if each["data"]["details"].get("outcome") == "unknown"]


async def ask(broker: Broker, question: Question = CALL) -> PermissionRequest:
    request = broker.ask("s", question)
    await request.recorded()
    return request


async def approve(broker: Broker, request: PermissionRequest) -> None:
    await broker.answer("s", Decision(approved=True, request_id=request.request_id), decided_by="bea")


async def begin(broker: Broker, question: Question = CALL, run_id: str = "run-1", **how: Any) -> PermissionRequest:
    """Ask, approve, and take it for a run."""
    request = await ask(broker, question)
    if request.pending:
        await approve(broker, request)
    await desk_of(broker).claim(request, run_id, **how)
    return request


def told(**more: Any) -> ToolStatus:
    return ToolStatus(**{"status": "completed", "tool_name": "write", "tool_call_id": "c1", **more})


async def test_run_of_which_no_end_was_told_has_an_unknown_one_after_a_restart(
    start: Start, journal: MemoryJournal
) -> None:
    first = start(journal)
    request = await begin(first)
    first.publish_nowait("s", "tool_status", told(status="executing"))

    broker = start(journal.again())

    [end] = ends(broker)
    assert end["status"] == "failed"
    assert (end["tool_call_id"], end["details"]["request_id"]) == ("c1", request.request_id)
    assert end["details"]["reason"] == "write was started, and its end is unknown: it may have run, and may not."
    snapshot = broker.look("s").snapshot()
    assert snapshot.running == ()
    assert snapshot.end_unknown is not None
    assert [call.tool_call_id for call in snapshot.end_unknown] == ["c1"]
    assert desk_of(broker).find(request.request_id).claimed_by == "run-1"


async def test_unknown_end_is_told_once_however_often_the_service_is_restarted(
    start: Start, journal: MemoryJournal
) -> None:
    await begin(start(journal))
    second = journal.again()
    start(second)

    third = second.again()

    assert len(ends(start(third))) == 1


@pytest.mark.parametrize("question", [CALL, HERE], ids=["elsewhere", "in this process"])
@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        ("tool_status", told()),
        ("tool_status", told(status="failed", details={"error": "no"})),
        ("tool_status", told(status="cancelled", details=CallDetails(reason="stopped"))),
        ("tool_result", ToolResult(tool_name="write", tool_call_id="c1", success=True)),
    ],
)
async def test_run_of_which_the_end_was_told_is_over(
    start: Start, journal: MemoryJournal, question: Question, event_type: str, data: EventData
) -> None:
    first = start(journal)
    await begin(first, question)
    first.publish_nowait("s", event_type, data)

    assert ends(start(journal.again())) == []


async def test_unknown_ends_of_many_runs_leave_room_for_what_else_was_told(
    start: Start, journal: MemoryJournal
) -> None:
    first = start(journal, max_pending_per_session=1000)
    for number in range(103):
        request = await begin(first, CALL._replace(tool_call_id=f"c{number}"))

    told_of = ends(start(journal.again()))

    assert len(told_of) == 100
    assert told_of[-1]["details"]["request_id"] == request.request_id


async def test_end_that_is_in_the_log_and_not_yet_noted_is_known(start: Start, journal: MemoryJournal) -> None:
    first = start(journal)
    await begin(first)
    noted = dict(journal.named)
    first.publish_nowait("s", "tool_status", told())
    journal.named.clear()
    journal.named.update(noted)  # it was killed between the two

    assert ends(start(journal.again())) == []


@pytest.mark.parametrize(
    "data",
    [
        told(status="executing"),
        told(tool_call_id="c2"),
        told(tool_name="read"),
        told(tool_call_id=None),
        told(status="failed", details={"outcome": "unknown"}),
    ],
)
async def test_what_is_no_end_of_it_leaves_it_open(start: Start, journal: MemoryJournal, data: ToolStatus) -> None:
    first = start(journal)
    request = await begin(first)
    first.publish_nowait("s", "tool_status", data)

    unknown = [end for end in ends(start(journal.again())) if end["details"].get("request_id")]

    assert [end["details"]["request_id"] for end in unknown] == [request.request_id]


@pytest.mark.parametrize("details", [dict, CallDetails])
async def test_call_without_an_id_ends_by_its_request(
    start: Start, journal: MemoryJournal, details: Callable[..., Any]
) -> None:
    first = start(journal)
    request = await begin(first, UNNAMED)
    first.publish_nowait("s", "tool_status", told(tool_call_id=None, details=details(request_id=request.request_id)))

    assert ends(start(journal.again())) == []


async def test_run_that_the_policy_let_begin_is_forgotten_with_its_end(start: Start, journal: MemoryJournal) -> None:
    broker = start(journal)
    request = await begin(broker, HARMLESS)
    kept = ("request", request.request_id) in journal.named
    broker.publish_nowait("s", "tool_status", told())

    assert kept
    assert ("request", request.request_id) not in journal.named


async def test_who_tells_no_end_is_not_missed(start: Start, journal: MemoryJournal) -> None:
    request = await begin(start(journal), reports=False)

    broker = start(journal.again())

    assert ends(broker) == []
    with pytest.raises(AlreadyClaimed):
        await desk_of(broker).claim(desk_of(broker).find(request.request_id), "run-2")


async def test_run_in_the_process_that_died_has_an_unknown_end_too(
    start: Start, journal: MemoryJournal, clock: Clock
) -> None:
    request = await begin(start(journal), HERE)
    await begin(start(journal.again()), HERE._replace(tool_call_id="c2"), reports=False)
    second = journal.again()

    broker = start(second)

    assert [end["details"]["request_id"] for end in ends(broker)] == [request.request_id]
    clock.advance(5000)
    desk_of(broker).expire_due()
    assert ("request", request.request_id) not in second.named


async def test_approval_that_nobody_took_has_no_run(start: Start, journal: MemoryJournal) -> None:
    first = start(journal)
    await approve(first, await ask(first))

    assert ends(start(journal.again())) == []


@pytest.mark.parametrize("is_restarted", [True, False])
async def test_agent_that_tries_again_is_asked_anew_and_the_person_told_why(
    start: Start, journal: MemoryJournal, is_restarted: bool
) -> None:
    first = start(journal)
    request = await begin(first, HARMLESS)
    broker = start(journal.again()) if is_restarted else first

    again = await ask(broker, HARMLESS)

    assert again.request_id != request.request_id
    assert again.pending
    assert again.record.reasons[0].code == "began_before"
    assert len(ends(broker)) == 1


@pytest.mark.parametrize(
    "other",
    [
        HARMLESS._replace(tool_call_id="c2"),
        HARMLESS._replace(parameters={"path": "/tmp/y"}),
        HARMLESS._replace(asked_by="carl"),
        HARMLESS._replace(server="files"),
    ],
)
async def test_another_call_is_judged_as_any(start: Start, journal: MemoryJournal, other: Question) -> None:
    await begin(start(journal), HARMLESS)

    asked = await ask(start(journal.again()), other)

    assert asked.record.approved


async def test_call_that_is_taken_again_has_one_run_that_is_open(start: Start, journal: MemoryJournal) -> None:
    await begin(start(journal))
    second = journal.again()
    broker = start(second)
    again = await begin(broker, run_id="run-2")

    last = start(second.again())

    assert [end["details"]["request_id"] for end in ends(last)][1:] == [again.request_id]


async def test_session_that_is_ended_forgets_its_runs(start: Start, journal: MemoryJournal) -> None:
    first = start(journal)
    await begin(first)
    await begin(first, HERE._replace(tool_call_id="c2"))
    first.end_session("s")

    assert not [name for kind, name in journal.named if kind == "request"]
    assert start(journal.again()).look("s").desk.runs == ()


@pytest.mark.parametrize("is_killed", [True, False])
async def test_call_that_waited_in_the_process_that_ended_waits_no_more(
    start: Start, journal: MemoryJournal, is_killed: bool
) -> None:
    first = start(journal)
    request = await ask(first, HERE._replace(announce_status=True))
    other = await ask(first, CALL._replace(announce_status=True, tool_call_id="c2"))
    first.publish_nowait("s", "tool_status", told(status="waiting_permission", tool_call_id="c3"))
    if not is_killed:
        first.close()

    snapshot = start(journal.again()).look("s").snapshot()

    assert snapshot.tool_status is not None
    assert (snapshot.tool_status.status, snapshot.tool_status.tool_call_id) == ("cancelled", "c1")
    assert snapshot.tool_status.detail("request_id") == request.request_id
    assert [call.tool_call_id for call in snapshot.running] == ["c2", "c3"]
    assert [record.request_id for record in snapshot.permission_requests] == [other.request_id]


# Whose agent waits itself


async def test_question_of_an_agent_that_does_not_come_back_is_withdrawn(
    start: Start, journal: MemoryJournal, clock: Clock
) -> None:
    first = start(journal)
    of_agent = await ask(first, CALL._replace(agent="claude-code", announce_status=True))
    of_producer = await ask(first, CALL._replace(tool_call_id="c2"))
    parked = await ask(first, CALL._replace(agent="claude-code", tool_call_id="c3", may_stay_away=True))

    broker = start(journal.again())
    desk = desk_of(broker)
    clock.advance(50)
    desk.expire_due()
    waited = [each.request_id for each in desk.pending]
    clock.advance(20)
    desk.expire_due()

    staying = [of_producer.request_id, parked.request_id]
    assert waited == [of_agent.request_id, *staying]
    assert [each.request_id for each in desk.pending] == staying
    record = desk.find(of_agent.request_id).record
    assert (record.status, record.code) == ("cancelled", "restarted")
    assert broker.look("s").snapshot().running == ()


@pytest.mark.parametrize("key", [None, ("k", "digest")])
async def test_question_of_an_agent_that_comes_back_waits_on(
    start: Start, journal: MemoryJournal, clock: Clock, key: tuple[str, str] | None
) -> None:
    of_agent = CALL._replace(agent="claude-code", key=key)
    asked = await ask(start(journal), of_agent)

    broker = start(journal.again())
    joined = await ask(broker, of_agent)
    clock.advance(100)
    desk_of(broker).expire_due()

    assert joined.request_id == asked.request_id
    assert joined.pending


async def test_answer_to_an_agent_that_is_away_is_kept(start: Start, journal: MemoryJournal, clock: Clock) -> None:
    of_agent = CALL._replace(agent="claude-code")
    asked = await ask(start(journal), of_agent)

    broker = start(journal.again())
    await approve(broker, asked)
    clock.advance(100)
    desk_of(broker).expire_due()

    assert (await ask(broker, of_agent)).record.approved


# Large parameters

LARGE = CALL._replace(parameters={"text": "x" * 50_000})
SMALL = {"max_event_bytes": 16 * 1024, "log_bytes": 64 * 1024}


async def test_large_parameters_are_whole_for_as_long_as_the_decision_is_kept(
    start: Start, journal: MemoryJournal, clock: Clock
) -> None:
    first = start(journal, **SMALL)
    request = await ask(first, LARGE)
    await approve(first, request)
    clock.advance(3000)
    desk_of(first).expire_due()
    whole = dict(request.record.parameters)

    broker = start(journal.again(), **SMALL)
    clock.advance(3000)
    desk_of(broker).expire_due()
    claimed = await desk_of(broker).claim(desk_of(broker).find(request.request_id), "run-1")
    clock.advance(70)
    desk_of(broker).expire_due()

    assert whole == claimed.parameters == LARGE.parameters
    assert desk_of(broker).find(request.request_id).record.parameters_truncated


async def test_large_parameters_that_were_approved_give_way_to_those_that_wait(
    start: Start, journal: MemoryJournal, clock: Clock
) -> None:
    broker = start(journal, **SMALL, max_parameters_bytes=60_000, max_kept_parameters_bytes=120_000)
    request = await ask(broker, LARGE)
    await approve(broker, request)
    clock.advance(10)

    other = await ask(broker, LARGE._replace(tool_call_id="c2"))

    assert request.record.parameters_truncated
    assert other.record.parameters == LARGE.parameters


async def test_large_parameters_are_counted_no_more_when_the_decision_is_forgotten(
    start: Start, journal: MemoryJournal, clock: Clock
) -> None:
    broker = start(journal, **SMALL, max_parameters_bytes=60_000, max_kept_parameters_bytes=120_000)
    for number in range(3):
        request = await ask(broker, LARGE._replace(tool_call_id=f"c{number}"))
        await approve(broker, request)
        clock.advance(4000)
        desk_of(broker).expire_due()

    assert request.record.parameters_truncated


# Who reads on behind a cursor of before


async def test_reader_of_before_is_told_that_a_question_has_more_time(
    start: Start, journal: MemoryJournal, clock: Clock
) -> None:
    first = start(journal)
    asked = await ask(first, CALL)
    await ask(first, CALL._replace(tool_call_id="c2", timeout_seconds=0))
    cursor = first.look("s").log.last_event_id

    broker = start(journal.again())
    session = broker.look("s")
    broker.publish_nowait("s", "note", {})

    for before in (cursor, "earliest", f"{session.log.epoch}-0"):
        opening = session.open_at(before)
        assert (opening.resumed, opening.gap) == ("full", None)
        assert [record.request_id for record in opening.replay] == [asked.request_id]
    assert session.open_at(session.log.last_event_id).replay == ()
    assert first.look("s").open_at(cursor).replay == ()
