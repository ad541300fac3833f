"""All sessions at once: what waits, who is told of which sessions, and how a reader comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from notifier_service import Broker, Decision
from notifier_service.core import inbox as inbox_module
from notifier_service.core.errors import BrokerClosed, LimitReached
from notifier_service.core.event_log import Event
from notifier_service.core.events import ToolStatus
from notifier_service.core.inbox import InboxView
from notifier_service.core.label import Label
from notifier_service.core.limits import Limits
from notifier_service.core.reader import Reader
from tests.clock import Clock

from .memory_journal import MemoryJournal
from .peer import Peer


@pytest.fixture
def broker(clock: Clock) -> Broker:
    return Broker(clock=clock)


def team(session_id: str) -> bool:
    return session_id.startswith("team-")


def read(broker: Broker, cursor: str | None = None, sees: Callable[[str], bool] = lambda session_id: True) -> Reader:
    return broker.join_inbox("test", Peer(), cursor, sees=sees)


def told(reader: Reader) -> list[dict[str, Any]]:
    """All that there is to tell now."""
    events: list[Event] = []
    while now := reader.next():
        events += now
        reader.sent()
    return [json.loads(event.json) for event in events]


def brief(events: Sequence[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return [(event["type"], event["data"].get("session_id")) for event in events]


def asked(broker: Broker, session_id: str, **parameters: Any) -> str:
    return broker.ask(session_id, tool_name="rm", parameters=parameters).request_id


def decided(broker: Broker, session_id: str, request_id: str) -> None:
    broker.decide(session_id, Decision(approved=True, request_id=request_id), decided_by="alice")


def test_reader_is_told_what_waits_then_what_happens(broker: Broker) -> None:
    first = asked(broker, "a")
    reader = read(broker)

    hello, snapshot = told(reader)
    second = asked(broker, "b")
    decided(broker, "a", first)

    assert (hello["type"], hello["data"]["resumed"]) == ("hello", "none")
    assert [(one["session_id"], one["request_id"]) for one in snapshot["data"]["permission_requests"]] == [("a", first)]
    assert [row["session_id"] for row in snapshot["data"]["sessions"]] == ["a"]
    events = told(reader)
    assert brief(events) == [
        ("session_opened", "b"),
        ("permission_request", "b"),
        ("permission_response_result", "a"),
        ("permission_cleared", "a"),
    ]
    assert [event["data"]["request_id"] for event in events[1:]] == [second, first, first]


def test_record_is_told_as_in_its_session(broker: Broker) -> None:
    reader, in_session = read(broker), broker.join("s1", "test", Peer())
    told(reader), told(in_session)
    asked(broker, "s1", text='"data":{"session_id":"team-1"', deep=[{"a": [1, None, "é\u2028"]}])

    [here] = told(reader)[-1:]
    [there] = told(in_session)

    assert here["data"] == {"session_id": "s1", **there["data"]}
    assert here["id"] != there["id"]


def test_reader_hears_of_its_own_sessions_alone(broker: Broker) -> None:
    for session_id in ("other", "team-1"):
        asked(broker, session_id)
    reader = read(broker, sees=team)
    _, snapshot = told(reader)

    for session_id in ("other-2", "team-2"):
        decided(broker, session_id, asked(broker, session_id, path="team-9"))
    broker.label("other", Label("team-3", None))
    broker.end_session("other")

    assert [row["session_id"] for row in snapshot["data"]["sessions"]] == ["team-1"]
    assert [one["session_id"] for one in snapshot["data"]["permission_requests"]] == ["team-1"]
    assert {session_id for _, session_id in brief(told(reader))} == {"team-2"}
    assert reader.is_told_all


def test_two_readers_at_one_place_share_no_bytes(broker: Broker) -> None:
    some, everything = read(broker, sees=team), read(broker)
    told(some), told(everything)
    asked(broker, "team-1")
    asked(broker, "other")
    asked(broker, "team-2")

    def joined(events: Sequence[Event]) -> bytes:
        return b"".join(event.json for event in events)

    for reader, hears in ((everything, True), (some, False)):
        assert (b'"other"' in reader.framed("form", reader.next(), joined)) is hears


def test_nothing_for_a_reader_is_nothing_to_tell(broker: Broker) -> None:
    reader = read(broker, sees=team)
    told(reader)
    asked(broker, "other")

    assert reader.next() == ()
    assert reader.is_told_all


def test_cursor_resumes_behind_what_was_seen(broker: Broker) -> None:
    reader = read(broker)
    told(reader)
    asked(broker, "a")
    seen = told(reader)[-1]["id"]
    decided(broker, "b", asked(broker, "b"))

    hello, *missed = told(read(broker, seen))

    assert hello["data"]["resumed"] == "full"
    assert brief(missed) == [
        ("session_opened", "b"),
        ("permission_request", "b"),
        ("permission_response_result", "b"),
        ("permission_cleared", "b"),
    ]


def test_earliest_replays_all_that_the_log_holds(broker: Broker) -> None:
    asked(broker, "a")

    assert brief(told(read(broker, "earliest"))[1:]) == [("session_opened", "a"), ("permission_request", "a")]


@pytest.mark.parametrize(
    ("cursor", "reason"), [("rubbish", "unknown"), ("1-1", "epoch"), ("future", "unknown"), ("old", "evicted")]
)
def test_cursor_that_leads_nowhere_is_a_gap_and_the_state(clock: Clock, cursor: str, reason: str) -> None:
    broker = Broker(Limits(log_events=2), clock=clock)
    log = broker.inbox.log
    for number in range(4):
        asked(broker, f"s{number}")
    cursors = {"future": f"{log.epoch}-zzz", "old": f"{log.epoch}-1"}

    hello, gap, snapshot, *rest = told(read(broker, cursors.get(cursor, cursor)))

    assert (hello["data"]["resumed"], gap["data"]["reason"]) == ("partial", reason)
    assert len(snapshot["data"]["permission_requests"]) == 4
    # All of a log that began anew is newer than its reader.
    assert len(rest) == (2 if reason == "epoch" else 0)
    assert broker.counters.gaps[reason] == 1


def test_reader_that_falls_behind_is_told_a_gap_and_the_state(clock: Clock) -> None:
    broker = Broker(Limits(log_events=2), clock=clock)
    reader = read(broker)
    told(reader)
    for number in range(5):
        asked(broker, f"s{number}")

    gap, snapshot = told(reader)

    assert gap["data"]["reason"] == "slow"
    assert len(snapshot["data"]["permission_requests"]) == 5


def test_what_the_policy_answers_by_itself_is_not_told(broker: Broker) -> None:
    reader = read(broker)
    told(reader)
    assert not broker.ask("s1", tool_name="ls", parameters={}, risk_level="low").pending

    assert brief(told(reader)) == [("session_opened", "s1")]


def test_session_is_told_when_it_opens_is_named_and_ends(broker: Broker) -> None:
    reader = read(broker)
    told(reader)
    broker.publish_nowait("s1", "note", {})
    broker.label("s1", Label("Tidy up", "robot"))
    broker.label("s1", Label("Tidy up", "robot"))
    broker.end_session("s1")

    named = {"session_id": "s1", "title": "Tidy up", "agent": "robot"}
    assert [(event["type"], event["data"]) for event in told(reader)] == [
        ("session_opened", {"session_id": "s1"}),
        ("session_opened", named),
        ("session_closed", named),
    ]


@pytest.mark.parametrize("how", ["ended", "expired"])
def test_what_waits_in_a_session_that_goes_is_cleared_before_it(broker: Broker, clock: Clock, how: str) -> None:
    asked(broker, "s1")
    reader = read(broker)
    told(reader)
    if how == "ended":
        broker.end_session("s1")
    else:
        clock.now += broker.limits.permission_timeout_seconds
        broker.sweep()
        clock.now += broker.limits.session_idle_seconds
        broker.sweep()

    assert [kind for kind, _ in brief(told(reader)) if kind != "heartbeat"] == ["permission_cleared", "session_closed"]


def test_state_of_a_session_says_whether_it_waits_works_or_neither(broker: Broker) -> None:
    def state() -> str:
        [row] = broker.inbox.rows(lambda session_id: True)
        return row.state

    session = broker.open("s1")
    states = [state()]
    for status in ("executing", "waiting_permission"):
        session.publish("tool_status", ToolStatus(status=status, tool_name="rm", tool_call_id="c1"))
        states.append(state())
    request_id = asked(broker, "s1")
    states.append(state())
    decided(broker, "s1", request_id)
    session.publish("tool_status", ToolStatus(status="completed", tool_name="rm", tool_call_id="c1"))
    states.append(state())
    with session.working():
        states.append(state())

    assert states == ["idle", "working", "working", "waiting", "idle", "working"]


def test_rows_begin_with_what_waits_then_the_busiest(broker: Broker, clock: Clock) -> None:
    for session_id in ("waits", "old", "new"):
        clock.now += 1
        broker.publish_nowait(session_id, "note", {})
    asked(broker, "waits")

    assert [row.session_id for row in broker.inbox.rows(lambda session_id: True, 2)] == ["waits", "new"]


def test_reader_of_the_inbox_counts_as_one_who_sees_what_is_asked(broker: Broker) -> None:
    unseen = asked(broker, "other")
    read(broker, sees=team)
    still_unseen, seen = asked(broker, "other"), asked(broker, "team-1")

    viewers = {one.request_id: one.viewers for one in broker.inbox.waiting(lambda session_id: True)}
    assert viewers == {unseen: 0, still_unseen: 0, seen: 1}
    assert broker.counters.unseen_requests == 2


def test_of_very_many_requests_the_last_are_told_in_their_beginning(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "_WHOLE_BYTES", 10_000)
    asked(broker, "s1", text="x" * 5_000)
    asked(broker, "s2", text="y" * 5_000)
    asked(broker, "s3", text="z")

    first, second, third = broker.inbox.waiting(lambda session_id: True)

    assert first.parameters == {"text": "x" * 5_000}
    assert second.parameters_truncated
    assert second.parameters_bytes == len(b'{"text":"' + b"y" * 5_000 + b'"}')
    assert set(second.parameters) == {"beginning"}
    assert third.parameters == {"text": "z"}  # it is no longer than a beginning


def test_limit_of_one_session_does_not_bind_the_inbox_that_of_the_process_does(clock: Clock) -> None:
    broker = Broker(Limits(max_connections=3, max_connections_per_session=1), clock=clock)
    for _ in range(3):
        read(broker)

    with pytest.raises(LimitReached):
        read(broker)


def test_reader_that_leaves_gives_its_place_back(clock: Clock) -> None:
    broker = Broker(Limits(max_connections=1), clock=clock)
    reader = read(broker)
    reader.leave()
    reader.leave()

    assert read(broker)
    assert broker.connections == 1


def test_sweeper_looks_after_readers_of_the_inbox_where_no_session_is_open(broker: Broker, clock: Clock) -> None:
    reader = read(broker)
    told(reader)
    clock.now += broker.limits.heartbeat_seconds

    assert broker.sweep() is not None
    assert [event.type for event in reader.next()] == ["heartbeat"]

    reader.permit(1.0)
    clock.now += 1
    broker.sweep()
    assert reader.ending is not None
    assert reader.ending.code == "token_expired"


def test_reader_whose_right_is_gone_is_ended(broker: Broker) -> None:
    reader = read(broker)
    reader.permit(None, lambda: False)
    broker.ask_readers_again()

    assert reader.ending is not None
    assert reader.ending.code == "token_expired"


def test_shutdown_ends_readers_and_lets_nobody_in(broker: Broker) -> None:
    asked(broker, "s1")
    reader = read(broker)
    told(reader)
    broker.close()

    assert brief(told(reader)) == [("permission_cleared", "s1")]
    assert reader.ending is not None
    assert (reader.ending.code, reader.ending.reconnect) == ("shutdown", True)
    with pytest.raises(BrokerClosed):
        read(broker)
    with pytest.raises(BrokerClosed):
        broker.inbox.join("test", Peer(), None, lambda session_id: True)


def test_session_that_expires_after_the_shutdown_is_told_to_nobody(clock: Clock) -> None:
    journal = MemoryJournal()
    Broker(journal=journal, clock=clock).publish_nowait("s1", "note", {})
    after = Broker(journal=journal.again(), clock=clock)
    reader = read(after)
    told(reader)
    after.close()
    clock.now += after.limits.session_idle_seconds
    after.sweep()

    assert after.dormant == ()
    assert told(reader) == []


def test_sweep_looks_after_each_of_very_many_readers(clock: Clock) -> None:
    broker = Broker(Limits(max_connections=300), clock=clock)
    readers = [read(broker) for _ in range(250)]
    for reader in readers:
        told(reader)
    clock.now += broker.limits.heartbeat_seconds
    broker.sweep()

    assert [[event["type"] for event in told(reader)] for reader in readers] == [["heartbeat"]] * 250


def test_statistics_count_what_readers_of_the_inbox_were_told(broker: Broker) -> None:
    reader = read(broker)
    told(reader)
    asked(broker, "s1")
    told(reader)

    assert broker.statistics().counters.events_delivered["test"] == 2


def test_sessions_of_before_a_restart_are_told_and_close_when_nobody_comes_back(clock: Clock) -> None:
    journal = MemoryJournal()
    before = Broker(journal=journal, clock=clock)
    before.publish_nowait("s1", "note", {})
    before.publish_nowait("s2", "note", {})
    before.label("s1", Label("mine", None))
    after = Broker(journal=journal.again(), clock=clock)
    reader = read(after)
    _, snapshot = told(reader)
    rows = snapshot["data"]["sessions"]
    assert [row.session_id for row in after.inbox.rows(lambda session_id: session_id == "s2")] == ["s2"]
    clock.now += after.limits.session_idle_seconds
    after.sweep()

    assert [(row["session_id"], row["title"], row["state"]) for row in rows] == [
        ("s1", "mine", "idle"),
        ("s2", None, "idle"),
    ]
    events = [event for event in told(reader) if event["type"] != "heartbeat"]
    assert [event["data"] for event in events] == [{"session_id": "s1", "title": "mine"}, {"session_id": "s2"}]


def test_rows_of_before_a_restart_stop_at_the_limit(clock: Clock) -> None:
    journal = MemoryJournal()
    before = Broker(journal=journal, clock=clock)
    for session_id in ("s1", "s2"):
        before.publish_nowait(session_id, "note", {})
    after = Broker(journal=journal.again(), clock=clock)

    assert len(after.inbox.rows(lambda session_id: True, 1)) == 1


def test_view_is_of_now(broker: Broker) -> None:
    view = InboxView(broker.inbox, team)
    asked(broker, "team-1")

    assert view.snapshot().last_event_id == broker.inbox.log.last_event_id


def test_nothing_is_told_after_the_end(broker: Broker) -> None:
    broker.close()
    broker.inbox.tell_opened("s1", Label())

    assert broker.inbox.log.last_seq == 0


def test_sessions_of_before_a_restart_are_told_to_who_may_see_them(clock: Clock) -> None:
    journal = MemoryJournal()
    before = Broker(journal=journal, clock=clock)
    for session_id in ("other", "team-1"):
        before.publish_nowait(session_id, "note", {})
    after = Broker(journal=journal.again(), clock=clock)

    assert [row.session_id for row in after.inbox.rows(team)] == ["team-1"]


async def test_state_that_was_gathered_in_turns_is_what_is_told_at_once(broker: Broker) -> None:
    for number in range(230):
        asked(broker, f"team-{number}", n=number)
    at_once = InboxView(broker.inbox, team).snapshot(may_approve=False)
    turns = 0
    gathering = asyncio.ensure_future(InboxView(broker.inbox, team).prepare(may_approve=False))
    while not gathering.done():
        turns += 1
        await asyncio.sleep(0)

    assert await gathering == at_once
    assert turns > 20


async def test_reader_of_a_state_that_was_gathered_is_told_what_has_happened_meanwhile(broker: Broker) -> None:
    before = asked(broker, "team-1")
    for number in range(120):
        broker.open(f"team-of-{number}")
    view = InboxView(broker.inbox, team)
    gathering = asyncio.ensure_future(view.prepare())
    await asyncio.sleep(0)
    after = asked(broker, "team-2")
    decided(broker, "team-1", before)
    await gathering
    reader = broker.join_inbox("test", Peer(), sees=team, view=view)

    _, snapshot, *events = told(reader)
    assert [one["request_id"] for one in snapshot["data"]["permission_requests"]] == [before]
    assert brief(events) == [
        ("session_opened", "team-2"),
        ("permission_request", "team-2"),
        ("permission_response_result", "team-1"),
        ("permission_cleared", "team-1"),
    ]
    assert events[1]["data"]["request_id"] == after
    assert view.snapshot().last_event_id == broker.inbox.log.last_event_id  # what was gathered is told once


def started_again(clock: Clock, *, sessions: int) -> Broker:
    """A broker whose journal has so many sessions of before a restart."""
    journal = MemoryJournal()
    before = Broker(journal=journal, clock=clock)
    for number in range(sessions):
        before.publish_nowait(f"s{number}", "note", {})
    return Broker(journal=journal.again(), clock=clock)


async def test_very_many_sessions_of_before_a_restart_are_told_and_close_in_turns(clock: Clock) -> None:
    after = started_again(clock, sessions=130)
    snapshot = await InboxView(after.inbox, lambda session_id: True).prepare()
    clock.now += after.limits.session_idle_seconds
    after.sweep()

    assert len(snapshot.sessions) == 130
    assert after.counters.sessions_expired == 130


async def test_session_that_somebody_comes_back_to_while_others_expire_stays(clock: Clock) -> None:
    after = started_again(clock, sessions=30)
    after.watch()
    clock.now += after.limits.session_idle_seconds
    async with asyncio.timeout(10):
        while len(after.dormant) == 30:  # noqa: ASYNC110  # each turn of the loop ends some
            await asyncio.sleep(0)
        after.get("s29")
        while after.dormant:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0)

    assert [session.session_id for session in after.sessions] == ["s29"]
    assert after.counters.sessions_expired == 29
    after.close()
