"""What was asked and decided is there again after a restart, and happens once: contract section 15."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest

from notifier_service.core.broker import Broker
from notifier_service.core.errors import (
    AlreadyClaimed,
    IdempotencyConflict,
    NotApproved,
    NotDurable,
    NotRecorded,
)
from notifier_service.core.event_log import Event
from notifier_service.core.events import PermissionRecord
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.permissions import PermissionDesk
from notifier_service.core.question import Decision, Question
from notifier_service.core.recording import all_of
from tests.core.memory_journal import MemoryJournal, Start

if TYPE_CHECKING:
    from conftest import Clock

CALL = Question("write", {"path": "/tmp/x"}, asked_by="ann", tool_call_id="c1", timeout_seconds=300, outlives=True)
UNNAMED = CALL._replace(tool_call_id=None)


def desk_of(broker: Broker) -> PermissionDesk:
    return broker.look("s").desk


def found(broker: Broker, request: PermissionRequest) -> PermissionRequest:
    return desk_of(broker).find(request.request_id)


def events(broker: Broker) -> list[Event]:
    log = broker.look("s").log
    return list(log.read_after(log.first_seq - 1))


def needed(journal: MemoryJournal) -> set[str]:
    """What is kept by name for who comes back; the history is for who looks back."""
    return {name for kind, name in journal.named if kind != "history"}


def types(broker: Broker) -> list[str]:
    return [event.type for event in events(broker)]


async def ask(broker: Broker, question: Question = CALL, **more: Any) -> PermissionRequest:
    request = broker.ask("s", question, **more)
    await request.recorded()
    return request


async def decide(broker: Broker, request: PermissionRequest, approved: bool = True, **more: Any) -> PermissionRecord:
    decision = Decision(approved=approved, request_id=request.request_id, **more)
    return await broker.answer("s", decision, decided_by="bea")


# What waits


async def test_question_waits_on_for_what_is_left_of_its_time(
    start: Start, journal: MemoryJournal, clock: Clock
) -> None:
    asked = await ask(start(journal))
    assert asked.record.expires_at is not None

    clock.advance(5000)  # nobody could answer while it was away
    broker = start(journal.again(alive_at=time.time() + 100))
    request = found(broker, asked)

    [pending] = desk_of(broker).pending
    assert pending is request
    assert types(broker) == ["permission_request"]
    assert request.record.expires_at is not None
    assert -110 < (request.record.expires_at - asked.record.expires_at).total_seconds() < -90
    clock.advance(190)
    assert desk_of(broker).expire_due() == 0
    clock.advance(20)
    assert desk_of(broker).expire_due() == 1
    assert request.record.status == "expired"


async def test_question_as_deep_as_any_waits_on_and_is_not_announced_again(
    start: Start, journal: MemoryJournal
) -> None:
    deep: list[Any] = []
    for _ in range(198):
        deep = [deep]
    asked = await ask(start(journal), CALL._replace(parameters={"a": deep}))

    broker = start(journal.again())

    assert found(broker, asked).record.parameters == {"a": deep}
    assert types(broker) == ["permission_request"]
    assert (await decide(broker, asked)).approved


async def test_question_without_an_end_waits_on_without_one(start: Start, journal: MemoryJournal) -> None:
    asked = await ask(start(journal), timeout_seconds=0)

    broker = start(journal.again(alive_at=time.time() + 1e6))

    assert found(broker, asked).pending
    assert found(broker, asked).record.expires_at is None
    assert desk_of(broker).next_deadline is None
    assert (await decide(broker, asked)).approved


async def test_question_that_nobody_saw_is_announced_and_has_all_of_its_time(
    start: Start, journal: MemoryJournal, clock: Clock
) -> None:
    asked = await ask(start(journal))
    journal.sessions.clear()  # it was killed behind the commit, before the event was kept

    broker = start(journal.again())

    [event] = events(broker)
    assert event.type == "permission_request"
    assert found(broker, asked).deadline == clock() + 300
    assert desk_of(broker).next_deadline == clock() + 300


async def test_time_in_which_a_question_stood_behind_another_is_none_of_its_own(
    start: Start, journal: MemoryJournal, clock: Clock
) -> None:
    first = start(journal, one_request_at_a_time=True)
    shown = await ask(first)
    behind = await ask(first, tool_call_id="c2")

    broker = start(journal.again(alive_at=time.time() + 100), one_request_at_a_time=True)
    await decide(broker, shown)

    assert found(broker, behind).deadline == clock() + 300


async def test_questions_are_there_again_in_the_order_in_which_they_were_asked(
    start: Start, journal: MemoryJournal
) -> None:
    first = start(journal)
    asked = [await ask(first, tool_call_id=f"c{number}") for number in range(12)]

    broker = start(journal.again())

    assert [each.request_id for each in desk_of(broker).pending] == [each.request_id for each in asked]


async def test_one_question_at_a_time_is_shown_after_a_restart_too(start: Start, journal: MemoryJournal) -> None:
    first = start(journal, one_request_at_a_time=True)
    asked = []
    for number in range(8):
        asked.append(await ask(first, tool_call_id=f"c{number}"))
        await asyncio.sleep(0.002)  # the order of those that nobody has seen is that of their times

    broker = start(journal.again(), one_request_at_a_time=True)
    shown = []
    while desk_of(broker).pending:
        [pending] = desk_of(broker).pending
        shown.append(pending.request_id)
        await decide(broker, pending)

    assert shown == [each.request_id for each in asked]


async def test_question_that_was_taken_once_is_not_refused_for_want_of_room(
    start: Start, journal: MemoryJournal
) -> None:
    small = {"max_event_bytes": 16 * 1024, "log_bytes": 64 * 1024}
    first = start(journal, **small)
    whole = {"text": "x" * 50_000}
    asked = [await ask(first, tool_call_id=f"c{number}", parameters=whole) for number in range(4)]

    less = {"max_parameters_bytes": 40_000, "max_kept_parameters_bytes": 80_000, "max_pending": 1}
    broker = start(journal.again(), **small, **less)

    for before in asked:
        request = found(broker, before)
        assert request.record.parameters == whole
        assert request.shown.parameters_truncated
        assert (await decide(broker, request, approved=False)).status == "rejected"


async def test_service_that_takes_smaller_events_starts_and_denies_what_none_can_hold(
    start: Start, journal: MemoryJournal
) -> None:
    first = start(journal)
    waits = await ask(first, description="d" * 40_000)
    decided = await ask(first, description="d" * 40_000, tool_call_id="c2")
    await decide(first, decided)
    small = await ask(first, tool_call_id="c3")

    second = journal.again()
    broker = start(second, max_event_bytes=16 * 1024)

    assert [each.request_id for each in desk_of(broker).pending] == [small.request_id]
    assert (found(broker, waits).record.status, found(broker, waits).record.code) == ("cancelled", "restarted")
    assert types(broker)[-1] == "permission_cleared"
    assert found(broker, decided).record.approved
    assert needed(second) == {small.request_id, decided.request_id}


async def test_places_of_before_are_taken_until_they_are_left(start: Start, journal: MemoryJournal) -> None:
    asked = await ask(start(journal))

    broker = start(journal.again())

    assert broker.statistics().pending_permissions == 1
    await decide(broker, asked)
    assert broker.statistics().pending_permissions == 0


async def test_who_asked_before_is_not_taken_for_the_only_one(start: Start, journal: MemoryJournal) -> None:
    first = start(journal)
    asked = await ask(first)
    await decide(first, asked)
    assert desk_of(first).is_of("ann")

    assert not desk_of(start(journal.again())).is_of("ann")


async def test_who_waited_in_the_process_that_died_is_told_that_it_was_restarted(
    start: Start, journal: MemoryJournal
) -> None:
    asked = await ask(start(journal), outlives=False)

    broker = start(journal.again())
    record = found(broker, asked).record

    assert (record.status, record.code, record.decided_by) == ("cancelled", "restarted", "service")
    assert types(broker) == ["permission_request", "permission_cleared"]
    assert desk_of(broker).pending == ()


async def test_orderly_stop_leaves_the_question_and_tells_who_held_it(start: Start, journal: MemoryJournal) -> None:
    first = start(journal)
    asked = await ask(first)
    here = await ask(first, tool_call_id="c2", outlives=False)
    held = asyncio.ensure_future(asked.decision())
    await asyncio.sleep(0)

    first.close()

    assert (await held).status == (await asked.decision()).status == "pending"
    assert (here.record.status, here.record.code) == ("cancelled", "shutdown")
    broker = start(journal.again())
    assert [each.request_id for each in desk_of(broker).pending] == [asked.request_id]


async def test_decision_that_is_kept_while_the_service_stops_is_acknowledged_and_told_after_it(
    start: Start, journal: MemoryJournal
) -> None:
    first = start(journal)
    asked = await ask(first)
    journal.is_held = True
    deciding = asyncio.ensure_future(decide(first, asked))
    await asyncio.sleep(0)

    first.close()
    journal.works_again()

    assert (await deciding).approved
    assert types(start(journal.again())) == ["permission_request", "permission_response_result", "permission_cleared"]


@pytest.mark.parametrize("kept", [1, 2, 3])
async def test_answer_is_told_once_though_the_service_was_killed_while_it_was_told(
    start: Start, journal: MemoryJournal, kept: int
) -> None:
    first = start(journal)
    await decide(first, await ask(first))
    left = journal.again()
    session = left.sessions["s"]
    session.events, session.last_seq = session.events[:kept], kept

    assert types(start(left)) == ["permission_request", "permission_response_result", "permission_cleared"]


async def test_session_that_ends_leaves_no_question_no_decision_and_no_rule(
    start: Start, journal: MemoryJournal
) -> None:
    first = start(journal)
    await decide(first, await ask(first), scope="session")
    await ask(first, tool_name="delete", tool_call_id="c2")
    assert len(needed(journal)) == 3

    first.end_session("s")

    assert needed(journal) == set()


async def test_session_without_a_rule_ends_without_one(start: Start, journal: MemoryJournal) -> None:
    first = start(journal)
    await decide(first, await ask(first))

    first.end_session("s")

    assert needed(journal) == set()


# What was decided


async def test_decision_that_cannot_be_kept_is_not_taken(start: Start, journal: MemoryJournal) -> None:
    broker = start(journal)
    asked = await ask(broker)
    journal.error = "the disk is full"

    with pytest.raises(NotDurable):
        await decide(broker, asked, scope="session")

    assert asked.pending
    assert desk_of(broker).grants.rules == ()
    assert types(broker) == ["permission_request"]
    journal.works_again()
    assert found(start(journal.again()), asked).pending
    assert (await decide(broker, asked, approved=False)).status == "rejected"


async def test_decision_that_nobody_collected_is_there_again_and_given_once(
    start: Start, journal: MemoryJournal
) -> None:
    first = start(journal)
    asked = await ask(first)
    await decide(first, asked, reason="fine")

    broker = start(journal.again())
    assert desk_of(broker).holds_decisions
    joined = await ask(broker)
    record = await joined.decision()
    joined.collect()

    assert (joined.request_id, record.status, record.reason) == (asked.request_id, "approved", "fine")
    assert not desk_of(broker).holds_decisions
    assert (await ask(broker)).request_id != asked.request_id


async def test_decision_is_kept_for_its_time_and_then_nowhere(
    start: Start, journal: MemoryJournal, clock: Clock
) -> None:
    first = start(journal, decision_keep_seconds=60)
    asked = await ask(first)
    await decide(first, asked)

    second = journal.again()
    broker = start(second, decision_keep_seconds=60)
    clock.advance(59)
    desk_of(broker).expire_due()
    assert found(start(second.again()), asked).record.approved
    clock.advance(1)
    desk_of(broker).expire_due()

    assert needed(second) == set()
    assert not desk_of(broker).holds_decisions
    assert (await ask(broker)).request_id != asked.request_id


# Who comes back


async def test_asker_joins_under_its_key_as_often_as_it_asks(start: Start, journal: MemoryJournal) -> None:
    asked = await ask(start(journal), UNNAMED, key=("k", "body"))

    broker = start(journal.again())

    assert [(await ask(broker, UNNAMED, key=("k", "body"))).request_id for _ in range(2)] == [asked.request_id] * 2
    with pytest.raises(IdempotencyConflict):
        broker.ask("s", UNNAMED, key=("k", "another body"))
    assert (await ask(broker, UNNAMED, key=("l", "body"))).request_id != asked.request_id


async def test_asker_joins_with_its_call_after_an_edit(start: Start, journal: MemoryJournal) -> None:
    first = start(journal)
    asked = await ask(first)
    await decide(first, asked, parameters={"path": "/tmp/y"})

    joined = await ask(start(journal.again()))

    assert joined.request_id == asked.request_id
    assert joined.record.parameters == {"path": "/tmp/y"}


@pytest.mark.parametrize(
    "other",
    [
        {"asked_by": "carl"},
        {"tool_call_id": "c2"},
        {"tool_call_id": None},
        {"tool_name": "delete"},
        {"server": "files"},
        {"parameters": {"path": "/etc"}},
        {"tool_call_id": None, "key": ("k", "body")},
    ],
    ids=lambda other: ", ".join(other),
)
async def test_nobody_joins_with_another_call(start: Start, journal: MemoryJournal, other: dict[str, Any]) -> None:
    asked = await ask(start(journal))

    broker = start(journal.again())

    assert (await ask(broker, **other)).request_id != asked.request_id
    assert (await ask(broker)).request_id == asked.request_id


# What is claimed


async def test_what_is_not_approved_cannot_be_claimed(start: Start, journal: MemoryJournal) -> None:
    broker = start(journal)
    asked = await ask(broker)

    with pytest.raises(NotApproved) as pending:
        await desk_of(broker).claim(asked, "run-1")
    await decide(broker, asked, approved=False)
    with pytest.raises(NotApproved) as rejected:
        await desk_of(broker).claim(asked, "run-1")

    assert pending.value.details["record"].status == "pending"
    assert rejected.value.details["record"].status == "rejected"


async def test_approved_call_is_claimed_by_one_run_and_over_a_restart(start: Start, journal: MemoryJournal) -> None:
    first = start(journal)
    asked = await ask(first)
    await decide(first, asked)
    claimed = await desk_of(first).claim(asked, "run-1")

    broker = start(journal.again())
    request = found(broker, asked)

    assert claimed.approved
    assert (await desk_of(broker).claim(request, "run-1")).approved
    with pytest.raises(AlreadyClaimed):
        await desk_of(broker).claim(request, "run-2")
    assert (await ask(broker)).request_id != asked.request_id


async def test_call_is_claimed_where_nothing_is_kept(broker: Broker) -> None:
    request = broker.ask("s", CALL)
    broker.decide("s", Decision(approved=True), decided_by="bea")

    assert (await desk_of(broker).claim(request, "run-1")).approved
    with pytest.raises(AlreadyClaimed):
        await desk_of(broker).claim(request, "run-2")


async def test_claim_that_cannot_be_kept_leaves_the_call_to_any_run(start: Start, journal: MemoryJournal) -> None:
    broker = start(journal)
    asked = await ask(broker)
    await decide(broker, asked)
    journal.error = "the disk is full"

    with pytest.raises(NotDurable):
        await desk_of(broker).claim(asked, "run-1")
    assert not asked.is_collected
    journal.works_again()

    assert (await desk_of(broker).claim(asked, "run-2")).approved


async def test_run_that_has_the_call_keeps_it_though_it_cannot_be_told_again(
    start: Start, journal: MemoryJournal
) -> None:
    broker = start(journal)
    asked = await ask(broker)
    await decide(broker, asked)
    await desk_of(broker).claim(asked, "run-1")
    journal.error = "the disk is full"

    with pytest.raises(NotDurable):
        await desk_of(broker).claim(asked, "run-1")
    journal.works_again()

    with pytest.raises(AlreadyClaimed):
        await desk_of(broker).claim(asked, "run-2")


# What is on record in two places


def test_what_is_kept_in_two_places_is_done_when_both_are() -> None:
    audit: Future[None] = Future()
    journal: Future[None] = Future()
    both = all_of(audit, None, journal)
    assert both is not None

    journal.set_result(None)
    assert not both.done()
    audit.set_result(None)

    assert both.result(timeout=0) is None


@pytest.mark.parametrize("fails_first", [True, False])
def test_what_one_of_two_places_cannot_keep_is_not_done_and_the_other_is_waited_for(fails_first: bool) -> None:
    audit: Future[None] = Future()
    journal: Future[None] = Future()
    both = all_of(audit, journal)
    assert both is not None

    if fails_first:
        audit.set_exception(NotRecorded("The disk is full."))
        assert not both.done()
        journal.set_result(None)
    else:
        journal.set_result(None)
        audit.set_exception(NotRecorded("The disk is full."))

    with pytest.raises(NotRecorded, match="The disk is full"):
        both.result(timeout=0)


def test_nothing_is_waited_for_where_nobody_keeps_anything() -> None:
    alone: Future[None] = Future()
    assert all_of() is all_of(None, None) is None
    assert all_of(None, alone) is alone
