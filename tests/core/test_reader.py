"""What one live reader is told, in order, whatever the transport."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from notifier_service.core.event_log import Event
from notifier_service.core.limits import Limits
from notifier_service.core.permissions import Question
from notifier_service.core.reader import Reading
from notifier_service.core.session import Session
from tests.clock import Clock


class Peer:
    gone = False

    def handed_bytes(self) -> int:
        return 0

    def unsent_bytes(self) -> int:
        return 0

    def is_gone(self) -> bool:
        return self.gone


@pytest.fixture
def session(clock: Clock) -> Session:
    return Session("s", limits=Limits(log_events=3), clock=clock)


def read(session: Session, cursor: str | None = None) -> Reading:
    return Reading(session.join("test", Peer()), cursor)


def types(reading: Reading) -> list[str]:
    return [event.type for event in reading.next()]


def test_first_reader_is_told_hello_and_the_state_then_the_log(session: Session) -> None:
    session.publish("before")
    session.ask(Question(tool_name="t", parameters={}))
    reading = read(session)
    session.publish("after")

    assert types(reading) == ["hello", "snapshot", "permission_request"]
    assert types(reading) == ["after"]
    assert types(reading) == []


def test_reading_knows_when_it_has_told_all(session: Session) -> None:
    reading = read(session)
    known = [reading.is_told_all]
    reading.next()
    known.append(reading.is_told_all)
    session.publish("after")
    known.append(reading.is_told_all)
    reading.next()
    known.append(reading.is_told_all)

    assert known == [False, True, False, True]


def test_readers_at_one_place_share_the_frames_of_the_logs_events(session: Session) -> None:
    made: list[str] = []

    def make(events: Sequence[Event]) -> bytes:
        made.append(events[0].type)
        return b"".join(event.json for event in events)

    first, second = read(session), read(session)
    for reading in (first, second):
        reading.framed("form", reading.next(), make)
    session.publish("after")
    frames = [reading.framed("form", reading.next(), make) for reading in (first, second)]

    assert made == ["hello", "hello", "after"]
    assert frames[0] is frames[1]


def test_reader_that_is_alone_leaves_no_frames_behind(session: Session) -> None:
    made = []

    def make(events: Sequence[Event]) -> bytes:
        made.append(events)
        return b"frames"

    reading = read(session)
    reading.next()
    session.publish("after")
    events = reading.next()
    for _ in range(2):
        reading.framed("form", events, make)

    assert len(made) == 2


def test_only_hello_and_the_logs_own_events_have_an_id(session: Session) -> None:
    session.ask(Question(tool_name="t", parameters={}))
    reading = read(session)
    session.publish("after")

    told = [*reading.next(), *reading.next()]
    assert [event.id for event in told] == [f"{session.log.epoch}-1", "", "", f"{session.log.epoch}-2"]


def test_reader_with_a_cursor_is_told_what_it_missed(session: Session) -> None:
    first = session.publish("first")
    session.publish("second")
    reading = read(session, first.id)

    [hello] = reading.next()
    assert (hello.type, hello.id, json.loads(hello.json)["data"]["resumed"]) == ("hello", first.id, "full")
    assert types(reading) == ["second"]


def test_reader_that_falls_behind_the_log_is_told_of_the_gap_and_the_state(session: Session) -> None:
    reading = read(session)
    reading.next()
    for number in range(5):
        session.publish("x", {"number": number})

    gap, snapshot = reading.next()
    told: dict[str, Any] = json.loads(gap.json)["data"]
    assert (gap.type, told["reason"], told["requested"]) == ("gap", "slow", session.log.id_of(0))
    assert json.loads(snapshot.json)["data"]["last_event_id"] == session.log.last_event_id
    assert types(reading) == []


def test_burst_is_told_in_slices(session: Session) -> None:
    reading = read(session)
    reading.next()
    for _ in range(3):
        session.publish("x", {"text": "x" * 60_000})

    assert [types(reading), types(reading), types(reading)] == [["x", "x"], ["x"], []]


def test_heartbeat_is_told_when_there_is_nothing_else(session: Session) -> None:
    reading = read(session)
    reading.next()
    reading.viewer.heartbeat = b'{"type":"heartbeat"}'
    session.publish("x")

    assert [types(reading), types(reading)] == [["x"], ["heartbeat"]]


def test_reader_whose_session_ends_is_told_the_rest(session: Session) -> None:
    reading = read(session)
    reading.next()
    session.ask(Question(tool_name="t", parameters={}))
    session.close("shutdown")

    assert types(reading) == ["permission_request", "permission_cleared"]
    assert not reading.over


def test_reader_that_has_left_or_takes_nothing_is_told_nothing_more(session: Session) -> None:
    left, slow = read(session), read(session)
    left.viewer.gone = True
    slow.viewer.end("slow")

    assert (left.over, slow.over) == (True, True)


def test_reader_that_resumes_is_told_what_is_behind_its_cursor_without_a_new_hello(session: Session) -> None:
    reading = read(session)
    reading.next()
    first, second, third = (session.publish(name) for name in ("first", "second", "third"))
    reading.next()
    reading.resume(first.id)

    assert [event.id for event in reading.next()] == [second.id, third.id]
    assert types(reading) == []


def test_reader_that_resumes_with_a_lost_cursor_is_told_of_the_gap_the_state_and_what_comes(session: Session) -> None:
    reading = read(session)
    session.ask(Question(tool_name="t", parameters={}))
    reading.next()
    reading.resume("garbage")
    session.publish("after")

    assert types(reading) == ["gap", "snapshot", "permission_request"]
    assert types(reading) == ["after"]


def test_reader_that_resumes_before_anything_was_told_is_still_told_hello(session: Session) -> None:
    first = session.publish("first")
    session.publish("second")
    reading = read(session)
    reading.resume(first.id)

    assert types(reading) == ["hello"]
    assert types(reading) == ["second"]


def test_reader_that_resumes_twice_is_told_of_the_later_cursor_only(session: Session) -> None:
    reading = read(session)
    reading.next()
    first = session.publish("first")
    session.publish("second")
    reading.resume("garbage")
    reading.resume(first.id)

    assert types(reading) == ["second"]


def test_reader_that_resumes_from_the_earliest_is_shown_requests_that_the_log_has_dropped(session: Session) -> None:
    session.ask(Question(tool_name="t", parameters={}))
    for _ in range(3):
        session.publish("x")
    reading = read(session)
    reading.next()
    reading.resume("earliest")

    assert types(reading) == ["permission_request"]
    assert types(reading) == ["x", "x", "x"]
