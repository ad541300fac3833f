"""What all sessions hold together: who gives way, who is told, and what it costs."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from notifier_service.core.broker import Broker
from notifier_service.core.errors import LimitReached
from notifier_service.core.events import ToolResult, ToolStatus
from notifier_service.core.limits import Limits
from notifier_service.core.question import Decision
from tests.core.peer import Peer

if TYPE_CHECKING:
    from conftest import Clock

KIB = 1024
#: About a KiB, as an event.
PIECE = {"text": "x" * 940}


def crowded(clock: Clock, total: int = 256 * KIB, **limits: Any) -> Broker:
    """A broker whose logs hold 64 KiB each, and ``total`` together."""
    small: dict[str, Any] = {"log_bytes": 64 * KIB, "max_event_bytes": 16 * KIB, "session_idle_seconds": 1e6}
    return Broker(Limits(**small | limits, max_total_log_bytes=total), clock=clock)


def fill(broker: Broker, session_id: str, events: int = 60) -> None:
    for _ in range(events):
        broker.publish_nowait(session_id, "note", PIECE)


def sizes(broker: Broker) -> dict[str, int]:
    return {session.session_id: session.log.size_bytes // KIB for session in broker.sessions}


def held(broker: Broker) -> int:
    """What is held, counted anew."""
    return sum(session.log.held_bytes + session.beside_bytes for session in broker.sessions)


def test_log_of_the_session_unused_for_longest_shrinks_first(clock: Clock) -> None:
    broker = crowded(clock)
    for name in ("first", "second", "third", "fourth"):
        fill(broker, name)
        clock.advance(10)
    broker.publish_nowait("first", "note")  # which is used again
    clock.advance(10)

    fill(broker, "fifth", 40)

    now = sizes(broker)
    assert now["first"] >= 56
    assert now["second"] < 45
    assert now["third"] == now["fourth"] >= 56
    assert now["fifth"] >= 38
    assert held(broker) <= 256 * KIB
    assert broker.statistics().log_bytes == held(broker)


def test_session_that_nobody_uses_gives_way_when_all_logs_have_shrunk_and_one_in_use_keeps_its_place(
    clock: Clock,
) -> None:
    broker = crowded(clock, total=64 * KIB)
    watched = broker.join("watched", "sse", Peer())
    fill(broker, "watched")
    clock.advance(10)
    for number in range(40):
        fill(broker, f"s{number}", 10)
        clock.advance(10)

    assert [session.session_id for session in broker.sessions][:1] == ["watched"]
    assert watched.ending is None
    assert "s39" in sizes(broker)
    assert "s0" not in sizes(broker)
    assert held(broker) <= 64 * KIB
    assert broker.counters.limits_reached["max_total_log_bytes"] > 0


def test_reader_who_resumes_where_the_log_has_shrunk_is_told_gap_and_the_state(clock: Clock) -> None:
    broker = crowded(clock, total=128 * KIB)
    fill(broker, "first", 30)
    place = broker.get("first").log.id_of(5)
    waits = broker.ask("first", tool_name="rm", parameters={}, timeout_seconds=0)
    clock.advance(10)
    for name in ("second", "third"):
        fill(broker, name)

    reader = broker.join("first", "sse", Peer(), place)
    told = [event.type for event in reader.next()]

    assert told == ["hello", "gap", "snapshot", "permission_request"]
    assert broker.counters.gaps == {"evicted": 1}
    assert waits.pending


def test_reader_who_has_seen_all_of_an_emptied_log_has_lost_nothing(clock: Clock) -> None:
    broker = crowded(clock, total=64 * KIB)
    first = broker.join("first", "sse", Peer())
    first.next()
    fill(broker, "first", 10)
    while first.next():
        continue
    clock.advance(10)
    fill(broker, "second", 100)
    broker.publish_nowait("first", "news")

    assert [event.type for event in first.next()] == ["news"]
    second = broker.join("first", "sse", Peer(), broker.get("first").log.id_of(10))
    assert [event.type for event in second.next()] == ["hello"]
    assert [event.type for event in second.next()] == ["news"]


def test_session_that_gave_way_begins_with_another_epoch(clock: Clock) -> None:
    broker = crowded(clock, total=64 * KIB)
    fill(broker, "gone", 10)
    place = broker.get("gone").log.last_event_id
    clock.advance(10)
    for number in range(20):
        fill(broker, f"s{number}", 20)
        clock.advance(1)
    assert "gone" not in sizes(broker)

    reader = broker.join("gone", "sse", Peer(), place)

    assert [event.type for event in reader.next()] == ["hello", "gap", "snapshot"]
    assert broker.counters.gaps == {"epoch": 1}


def test_results_that_many_sessions_keep_beside_their_logs_count_too(clock: Clock) -> None:
    broker = crowded(clock, total=256 * KIB)
    for number in range(200):
        result = ToolResult(tool_name="read", success=True, result="x" * 8 * KIB)
        broker.publish_nowait(f"s{number}", "tool_result", result)
        clock.advance(1)

    assert len(broker.sessions) < 32
    assert held(broker) <= 256 * KIB


def test_what_cannot_be_kept_because_all_is_in_use_is_refused_and_goes_again_when_somebody_leaves(clock: Clock) -> None:
    broker = crowded(clock, total=64 * KIB)
    result = ToolResult(tool_name="read", success=True, result="x" * 8 * KIB)
    readers = []

    def one_more() -> None:
        readers.append(broker.join(f"s{len(readers)}", "sse", Peer()))
        broker.publish_nowait(f"s{len(readers) - 1}", "tool_result", result)

    for _ in range(7):
        one_more()
    with pytest.raises(LimitReached) as refused:
        [one_more() for _ in range(3)]

    assert refused.value.limit == "max_total_log_bytes"
    for reader in readers[:-1]:
        reader.leave()
    clock.advance(1)
    broker.publish_nowait("s9", "note")


def test_settled_requests_count_and_people_can_still_be_asked_and_answer(clock: Clock) -> None:
    broker = crowded(clock, total=64 * KIB)
    for number in range(60):
        request = broker.ask(f"s{number}", tool_name="rm", parameters={"path": "x" * 2 * KIB}, risk_level="high")
        broker.decide(f"s{number}", Decision(approved=True, request_id=request.request_id), decided_by="a")
        assert request.record.approved
        clock.advance(1)

    assert held(broker) <= 64 * KIB
    assert len(broker.sessions) < 30


def test_count_is_what_is_held_whatever_happens(clock: Clock) -> None:
    dice = random.Random(3)
    broker = crowded(clock, total=96 * KIB)
    for _ in range(3000):
        name = f"s{dice.randrange(12)}"
        what = dice.random()
        if what < 0.5:
            broker.publish_nowait(name, "note", {"text": "x" * dice.randrange(4000)})
        elif what < 0.7:
            broker.publish_nowait(
                name, "tool_status", ToolStatus(status="executing", tool_name=name, tool_call_id=name)
            )
        elif what < 0.8:
            broker.publish_nowait(name, "tool_result", ToolResult(tool_name=name, success=True, result="x" * 2000))
        elif what < 0.9:
            broker.ask(name, tool_name="rm", parameters={"n": 1}, risk_level="high").cancel()
        elif what < 0.95:
            broker.open(name).clear_result()
        elif broker.sessions:
            broker.end_session(dice.choice(broker.sessions).session_id)
        clock.advance(dice.random() * 3)

        assert broker.statistics().log_bytes == sum(session.log.held_bytes for session in broker.sessions)
        assert held(broker) <= 96 * KIB + 8 * KIB


def test_log_that_may_be_larger_than_all_together_is_refused() -> None:
    with pytest.raises(ValueError, match="log_bytes must not be larger than max_total_log_bytes"):
        Limits(log_bytes=1024 * KIB, max_total_log_bytes=512 * KIB)
