"""A broker with a journal: what was acknowledged is there again after a restart, and what is not kept is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from notifier_service.core.broker import Broker
from notifier_service.core.errors import BrokerClosed, LimitReached, NotDurable, SessionNotFound
from notifier_service.core.journal import NO_JOURNAL
from notifier_service.core.limits import Limits
from notifier_service.core.question import Decision, Question
from notifier_service.core.session import Session
from tests.clock import Clock
from tests.core.memory_journal import MemoryJournal
from tests.core.peer import Peer

YES = Decision(approved=True)


@pytest.fixture
def run(clock: Clock) -> Callable[..., Broker]:
    """A run of the service on a journal, and a clock that stands still."""

    def begun(journal: MemoryJournal, **limits: Any) -> Broker:
        return Broker(Limits(**limits), journal=journal, clock=clock)

    return begun


Run = Callable[..., Broker]


def told(session: Session) -> list[tuple[str, str]]:
    return [(event.id, event.type) for event in session.log.read_after(session.log.first_seq - 1)]


def question(**fields: Any) -> Question:
    return Question("write", {"path": "a"}, "high", outlives=True, **fields)


async def turns() -> None:
    """Let every task run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


# What comes back


def test_without_a_journal_nothing_is_there_again_and_nobody_waits() -> None:
    with NO_JOURNAL.together():
        NO_JOURNAL.note()
        waited_for = [NO_JOURNAL.commit(), NO_JOURNAL.all_kept(), NO_JOURNAL.begin("s", "e", opened_by=None)]
        NO_JOURNAL.drop("s")

    assert waited_for == [None] * 3
    assert (NO_JOURNAL.heads(), NO_JOURNAL.kept("request")) == ((), ())
    with pytest.raises(NotImplementedError):
        NO_JOURNAL.go_on("s", most_events=1, most_bytes=1)


async def test_broker_without_a_journal_has_nothing_on_disk_to_wait_for(clock: Clock) -> None:
    broker = Broker(clock=clock)
    await broker.publish("s", "note")
    await broker.on_disk()
    await broker.all_kept()

    assert not broker.is_durable


@pytest.mark.parametrize(
    "come_back",
    [
        lambda broker: broker.open("s"),
        lambda broker: broker.look("s"),
        lambda broker: broker.get("s"),
        lambda broker: broker.join("s", "sse", Peer()).session,
    ],
    ids=["open", "look", "get", "join"],
)
async def test_session_comes_back_with_its_events_and_cursor_to_whoever_asks_for_it(
    journal: MemoryJournal, run: Run, come_back: Callable[[Broker], Session]
) -> None:
    before = run(journal)
    before.open("s", opened_by="ann")
    events = [await before.publish("s", "note", {"n": n}) for n in range(3)]

    after = run(journal.again())
    session = come_back(after)
    next_event = await after.publish("s", "note")

    assert session is after.get("s")
    assert session.opened_by == "ann"
    assert told(session) == [(event.id, "note") for event in [*events, next_event]]
    assert [event.json for event in session.log.read_after(session.log.locate(events[0].id))][:2] == [
        event.json for event in events[1:]
    ]
    assert next_event.seq == 4


async def test_session_comes_back_after_any_number_of_restarts(journal: MemoryJournal, run: Run) -> None:
    events = []
    for _ in range(4):
        events.append(await run(journal).publish("s", "note"))
        journal = journal.again()

    assert told(run(journal).get("s")) == [(event.id, "note") for event in events]


async def test_sessions_that_nobody_has_come_back_to_are_counted_and_known(
    journal: MemoryJournal, run: Run, clock: Clock
) -> None:
    before = run(journal)
    first, last = await before.publish("a", "note"), await before.publish("b", "note")

    after = run(journal.again())
    clock.advance(5)

    assert [(head.session_id, head.last_event_id) for head in after.dormant] == [("a", first.id), ("b", last.id)]
    assert (after.dormant_seconds, after.sessions, after.statistics().sessions) == (5.0, (), 2)
    after.get("a")
    assert ([head.session_id for head in after.dormant], after.statistics().sessions) == (["b"], 2)


async def test_whoever_comes_back_while_all_are_looked_through_is_met_once(journal: MemoryJournal, run: Run) -> None:
    before = run(journal)
    for session_id in "abcd":
        await before.publish(session_id, "note")
    broker = run(journal.again())
    await broker.publish("new", "note")
    everyone = broker.everyone()
    first, second = next(everyone).session_id, next(everyone).session_id
    for session_id in ("a", "c"):
        broker.get(session_id)
    broker.end_session("d")
    await broker.publish("newer", "note")

    rest = [(one.session_id, isinstance(one, Session)) for one in everyone]

    assert [(first, False), (second, False), *rest] == [("a", False), ("b", False), ("c", True), ("new", True)]
    assert [one.session_id for one in broker.everyone()] == ["a", "b", "c", "new", "newer"]
    assert [broker.find(session_id) is None for session_id in ("a", "b", "d")] == [False, True, True]
    assert [broker.find_dormant(session_id) is None for session_id in ("a", "b", "d")] == [True, False, True]


async def test_sessions_that_are_woken_and_hold_too_much_together_shrink(
    journal: MemoryJournal, run: Run, clock: Clock
) -> None:
    before = run(journal)
    for name in ("a", "b", "c"):
        for _ in range(30):
            await before.publish(name, "note", {"text": "x" * 1000})

    small = {"max_event_bytes": 16 * 1024, "log_bytes": 32 * 1024, "max_total_log_bytes": 64 * 1024}
    after = run(journal.again(), **small)
    sizes = []
    for name in ("a", "b", "c"):
        sizes.append(after.get(name).log.size_bytes // 1024)
        clock.advance(1)

    assert sizes == [30, 30, 30]
    assert after.statistics().log_bytes <= 64 * 1024
    assert after.get("a").log.size_bytes < 8 * 1024
    assert after.counters.limits_reached == {"max_total_log_bytes": 1}


async def test_session_that_nobody_comes_back_to_expires_for_good_and_makes_room(
    journal: MemoryJournal, run: Run, clock: Clock
) -> None:
    await run(journal).publish("s", "note")
    second = journal.again()
    after = run(second, max_sessions=1, session_idle_seconds=60)
    with pytest.raises(LimitReached):
        after.open("other")
    clock.advance(59)
    assert after.sweep() is not None
    clock.advance(1)
    after.sweep()

    assert (after.dormant, after.counters.sessions_expired) == ((), 1)
    with pytest.raises(SessionNotFound):
        after.get("s")
    after.open("other")
    assert run(second.again()).dormant == ()


async def test_session_that_was_ended_does_not_come_back(journal: MemoryJournal, run: Run) -> None:
    before = run(journal)
    await before.publish("s", "note")
    await before.publish("kept", "note")
    before.end_session("s")
    second = journal.again()
    after = run(second)
    after.end_session("kept")

    assert after.dormant == ()
    assert second.again().heads() == []


async def test_session_that_was_ended_begins_anew_where_a_cursor_from_before_is_not_taken_for_its_own(
    journal: MemoryJournal, run: Run
) -> None:
    before = run(journal)
    old = await before.publish("s", "note")
    before.end_session("s")
    new = await before.publish("s", "other")
    session = run(journal.again()).get("s")

    assert told(session) == [(new.id, "other")]
    assert old.id.partition("-")[0] != session.log.epoch


async def test_rules_for_a_session_hold_in_it_after_a_restart(journal: MemoryJournal, run: Run) -> None:
    before = run(journal)
    before.ask("s", Question("write", {}, "high"))
    await turns()
    await before.answer("s", Decision(approved=True, scope="session"), decided_by="ann")

    after = run(journal.again())
    after.open("s")

    assert not after.ask("s", Question("write", {}, "high")).pending
    assert after.ask("other", Question("write", {}, "high")).pending


@pytest.mark.parametrize("how", ["nobody came back", "its end was kept, and not that of the rules"])
async def test_rules_end_with_their_session(journal: MemoryJournal, run: Run, clock: Clock, how: str) -> None:
    before = run(journal)
    before.ask("s", Question("write", {}, "high"))
    await turns()
    await before.answer("s", Decision(approved=True, scope="session"), decided_by="ann")
    if how != "nobody came back":
        journal.sessions["s"].drop()
    second = journal.again()
    after = run(second, session_idle_seconds=60)
    clock.advance(60)
    after.sweep()

    assert second.kept("rules") == []
    assert after.ask("s", Question("write", {}, "high")).pending


async def test_who_asks_again_after_a_restart_gets_the_request_of_before(journal: MemoryJournal, run: Run) -> None:
    asked = run(journal).ask("s", question(key=("k", "body")))
    await turns()

    after = run(journal.again())
    again = after.ask("s", question(key=("k", "body")))
    other = after.ask("s", question(key=("l", "body")))

    assert (again.request_id, again.pending) == (asked.request_id, True)
    assert other.request_id != asked.request_id
    assert [event_type for _, event_type in told(after.get("s"))] == ["permission_request"]


async def test_question_that_was_kept_and_not_shown_yet_is_shown_after_a_restart(
    journal: MemoryJournal, run: Run
) -> None:
    asked = run(journal).ask("s", question(asked_by="ann"))
    second = journal.again()
    assert second.heads() == []

    session = run(second).get("s")

    assert (session.opened_by, [event_type for _, event_type in told(session)]) == ("ann", ["permission_request"])
    assert [request.request_id for request in session.desk.pending] == [asked.request_id]


@pytest.mark.parametrize("limit", ["max_sessions", "max_sessions_per_subject"])
async def test_questions_of_before_are_shown_although_fewer_sessions_may_be_open_now(
    journal: MemoryJournal, run: Run, limit: str
) -> None:
    before = run(journal)
    for session_id in ("a", "b"):
        before.ask(session_id, question(asked_by="ann"))
    after = run(journal.again(), **{limit: 1})

    assert [len(session.desk.pending) for session in after.sessions] == [1, 1]
    with pytest.raises(LimitReached):
        after.open("c", opened_by="ann")


async def test_question_of_before_is_shown_in_the_session_that_is_open_by_now(
    journal: MemoryJournal, run: Run, clock: Clock
) -> None:
    asked = run(journal).ask("s", question())
    broker = Broker(clock=clock)
    session = broker.open("s")
    broker.keep_in(journal.again())

    assert [request.request_id for request in session.desk.pending] == [asked.request_id]
    assert broker.sessions == (session,)


async def test_session_that_cannot_be_read_is_refused_and_waits_until_it_can(journal: MemoryJournal, run: Run) -> None:
    before = run(journal)
    [event, _] = [await before.publish(session_id, "note") for session_id in ("s", "other")]
    second = journal.again()
    second.unreadable = {"s"}
    after = run(second)

    for use in (after.open, after.look, after.get):
        with pytest.raises(NotDurable):
            use("s")
    await after.publish("other", "note")
    second.unreadable = set()

    assert told(after.get("s")) == [(event.id, "note")]


async def test_session_that_cannot_be_read_can_be_ended_all_the_same(journal: MemoryJournal, run: Run) -> None:
    before = run(journal, max_sessions=1)
    old = await before.publish("s", "note")
    second = journal.again()
    second.unreadable = {"s"}
    after = run(second, max_sessions=1)
    after.end_session("s")

    assert after.has_ended("s")
    assert (after.dormant, second.again().heads()) == ((), [])
    new = await after.publish("s", "note")
    assert new.id.partition("-")[0] != old.id.partition("-")[0]
    with pytest.raises(SessionNotFound):
        after.end_session("other")


async def test_broker_that_is_closed_goes_on_with_no_session_of_before(journal: MemoryJournal, run: Run) -> None:
    await run(journal).publish("s", "note")
    second = journal.again()
    after = run(second)
    after.close()

    for use in (after.open, after.look, after.get):
        with pytest.raises(BrokerClosed):
            use("s")
    assert [head.session_id for head in second.again().heads()] == ["s"]


async def test_broker_that_is_given_a_journal_late_keeps_what_it_has_in_place_of_what_was_kept(
    journal: MemoryJournal, run: Run, clock: Clock
) -> None:
    before = run(journal)
    await before.publish("s", "old")
    await before.publish("other", "note")
    second = journal.again()
    broker = Broker(clock=clock)
    new = await broker.publish("s", "new")
    broker.keep_in(second)
    await broker.all_kept()

    assert told(broker.get("s")) == [(new.id, "new")]
    after = run(second.again())
    assert told(after.get("s")) == [(new.id, "new")]
    assert [event_type for _, event_type in told(after.get("other"))] == ["note"]


async def test_session_that_is_open_when_the_journal_comes_ends_the_one_that_was_kept_though_it_is_empty(
    journal: MemoryJournal, run: Run, clock: Clock
) -> None:
    await run(journal).publish("s", "old")
    second = journal.again()
    broker = Broker(clock=clock)
    broker.open("s")
    broker.keep_in(second)

    assert (broker.dormant, second.again().heads()) == ((), [])


# What is acknowledged


async def test_publisher_waits_until_its_event_is_kept_while_readers_have_it(journal: MemoryJournal, run: Run) -> None:
    broker = run(journal)
    journal.is_held = True
    publishing = asyncio.create_task(broker.publish("s", "note"))
    await turns()
    seen, was_done, kept = told(broker.get("s")), publishing.done(), journal.again().heads()
    journal.works_again()
    event = await publishing

    assert (was_done, kept) == (False, [])
    assert seen == [(event.id, "note")]
    assert [head.last_event_id for head in journal.again().heads()] == [event.id]


async def test_event_is_not_taken_where_it_is_known_that_nothing_can_be_kept(journal: MemoryJournal, run: Run) -> None:
    broker = run(journal)
    journal.error = "the disk is full"
    with pytest.raises(NotDurable, match="the disk is full"):
        await broker.publish("s", "note")

    assert told(broker.look("s")) == []
    journal.works_again()
    assert (await broker.publish("s", "note")).seq == 1


async def test_publisher_whose_event_turns_out_not_to_be_kept_is_told_so(journal: MemoryJournal, run: Run) -> None:
    broker = run(journal)
    journal.is_held = True
    publishing = asyncio.create_task(broker.publish("s", "note"))
    await turns()
    journal.error = "the disk is full"
    journal.is_held = False
    journal.note()
    with pytest.raises(NotDurable, match="the disk is full"):
        await publishing
    journal.works_again()

    assert told(run(journal.again()).get("s")) == told(broker.get("s"))


async def test_decision_is_acknowledged_when_it_is_kept(journal: MemoryJournal, run: Run) -> None:
    broker = run(journal)
    asked = broker.ask("s", question())
    await turns()
    journal.is_held = True
    deciding = asyncio.create_task(broker.answer("s", YES, decided_by="ann"))
    await turns()
    lost = run(journal.again()).get("s").desk.find(asked.request_id).record
    was_done = deciding.done()
    journal.works_again()
    record = await deciding

    assert (was_done, lost.status) == (False, "pending")
    assert run(journal.again()).get("s").desk.find(asked.request_id).record.decided_by == record.decided_by == "ann"


async def test_decision_is_acknowledged_when_what_readers_are_told_of_it_is_kept_too(
    journal: MemoryJournal, run: Run
) -> None:
    broker = run(journal)
    broker.ask("s", question())
    await turns()
    journal.is_held = True
    deciding = asyncio.create_task(broker.answer("s", YES, decided_by="ann"))
    await turns()
    journal.works_again()
    journal.is_held = True
    await turns()
    was_done = deciding.done()
    journal.works_again()
    await deciding

    assert not was_done
    assert told(run(journal.again()).get("s")) == told(broker.get("s"))


async def test_who_waits_for_the_disk_waits_for_all_that_was_given_before(journal: MemoryJournal, run: Run) -> None:
    broker = run(journal)
    journal.is_held = True
    broker.publish_nowait("s", "note")
    waiting = asyncio.create_task(broker.on_disk())
    await turns()
    was_done = waiting.done()
    journal.works_again()
    await waiting

    assert not was_done
    assert len(journal.again().heads()) == 1
    journal.error = "the disk is full"
    with pytest.raises(NotDurable):
        await broker.on_disk()


def test_many_events_at_once_are_there_again(journal: MemoryJournal, run: Run) -> None:
    session = run(journal).open("s")
    session.extend(["note"] * 20, [b'{"n":%d}' % number for number in range(20)])

    assert told(run(journal.again()).open("s")) == told(session)
