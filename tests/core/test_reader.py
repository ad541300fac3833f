"""A live reader: what it is told, in order, whatever the transport, and what ends it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any, Literal

import pytest

from notifier_service.core.event_log import Event
from notifier_service.core.events import Bye
from notifier_service.core.fan_out import Delivery
from notifier_service.core.limits import Limits
from notifier_service.core.metrics import Histogram
from notifier_service.core.question import Question
from notifier_service.core.reader import Reader, heartbeat, retry_ms
from notifier_service.core.session import Session
from tests.clock import Clock
from tests.core.peer import Peer

BEAT = b'{"type":"heartbeat"}'


@pytest.fixture
def session(clock: Clock) -> Session:
    return Session("s", limits=Limits(log_events=3), clock=clock)


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture
def reader(session: Session, peer: Peer) -> Reader:
    return session.join("sse", peer)


def read(session: Session, cursor: str | None = None) -> Reader:
    return session.join("test", Peer(), cursor)


def types(reader: Reader) -> list[str]:
    return [event.type for event in reader.next()]


async def turns() -> None:
    """Let every task run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


# What it is told


def test_first_reader_is_told_hello_and_the_state_then_the_log(session: Session) -> None:
    session.publish("before")
    session.ask(Question(tool_name="t", parameters={}))
    reader = read(session)
    session.publish("after")

    assert types(reader) == ["hello", "snapshot", "permission_request"]
    assert types(reader) == ["after"]
    assert types(reader) == []


def test_reading_knows_when_it_has_told_all(session: Session) -> None:
    reader = read(session)
    known = [reader.is_told_all]
    reader.next()
    known.append(reader.is_told_all)
    session.publish("after")
    known.append(reader.is_told_all)
    reader.next()
    known.append(reader.is_told_all)

    assert known == [False, True, False, True]


def test_readers_at_one_place_share_the_frames_of_the_logs_events(session: Session) -> None:
    made: list[str] = []

    def make(events: Sequence[Event]) -> bytes:
        made.append(events[0].type)
        return b"".join(event.json for event in events)

    first, second = read(session), read(session)
    for reader in (first, second):
        reader.framed("form", reader.next(), make)
    session.publish("after")
    frames = [reader.framed("form", reader.next(), make) for reader in (first, second)]

    assert made == ["hello", "hello", "after"]
    assert frames[0] is frames[1]


def test_reader_that_is_alone_leaves_no_frames_behind(session: Session) -> None:
    made = []

    def make(events: Sequence[Event]) -> bytes:
        made.append(events)
        return b"frames"

    reader = read(session)
    reader.next()
    session.publish("after")
    events = reader.next()
    for _ in range(2):
        reader.framed("form", events, make)

    assert len(made) == 2


def test_only_hello_and_the_logs_own_events_have_an_id(session: Session) -> None:
    session.ask(Question(tool_name="t", parameters={}))
    reader = read(session)
    session.publish("after")

    told = [*reader.next(), *reader.next()]
    assert [event.id for event in told] == [f"{session.log.epoch}-1", "", "", f"{session.log.epoch}-2"]


def test_reader_with_a_cursor_is_told_what_it_missed(session: Session) -> None:
    first = session.publish("first")
    session.publish("second")
    reader = read(session, first.id)

    [hello] = reader.next()
    assert (hello.type, hello.id, json.loads(hello.json)["data"]["resumed"]) == ("hello", first.id, "full")
    assert types(reader) == ["second"]


def test_reader_that_falls_behind_the_log_is_told_of_the_gap_and_the_state(session: Session) -> None:
    reader = read(session)
    reader.next()
    for number in range(5):
        session.publish("x", {"number": number})

    gap, snapshot = reader.next()
    told: dict[str, Any] = json.loads(gap.json)["data"]
    assert (gap.type, told["reason"], told["requested"]) == ("gap", "slow", session.log.id_of(0))
    assert json.loads(snapshot.json)["data"]["last_event_id"] == session.log.last_event_id
    assert types(reader) == []


def test_burst_is_told_in_slices(session: Session) -> None:
    reader = read(session)
    reader.next()
    for _ in range(3):
        session.publish("x", {"text": "x" * 60_000})

    assert [types(reader), types(reader), types(reader)] == [["x", "x"], ["x"], []]


def test_heartbeat_is_told_when_there_is_nothing_else(session: Session) -> None:
    reader = read(session)
    reader.next()
    reader.heartbeat = b'{"type":"heartbeat"}'
    session.publish("x")

    assert [types(reader), types(reader)] == [["x"], ["heartbeat"]]


def test_reader_whose_session_ends_is_told_the_rest(session: Session) -> None:
    reader = read(session)
    reader.next()
    session.ask(Question(tool_name="t", parameters={}))
    session.close("shutdown")

    assert types(reader) == ["permission_request", "permission_cleared"]
    assert not reader.over


def test_reader_that_has_left_or_takes_nothing_is_told_nothing_more(session: Session) -> None:
    left, slow = read(session), read(session)
    left.gone = True
    slow.end("slow")

    assert (left.over, slow.over) == (True, True)


def test_reader_that_resumes_is_told_what_is_behind_its_cursor_without_a_new_hello(session: Session) -> None:
    reader = read(session)
    reader.next()
    first, second, third = (session.publish(name) for name in ("first", "second", "third"))
    reader.next()
    reader.resume(first.id)

    assert [event.id for event in reader.next()] == [second.id, third.id]
    assert types(reader) == []


def test_reader_that_resumes_with_a_lost_cursor_is_told_of_the_gap_the_state_and_what_comes(session: Session) -> None:
    reader = read(session)
    session.ask(Question(tool_name="t", parameters={}))
    reader.next()
    reader.resume("garbage")
    session.publish("after")

    assert types(reader) == ["gap", "snapshot", "permission_request"]
    assert types(reader) == ["after"]


def test_reader_that_resumes_before_anything_was_told_is_still_told_hello(session: Session) -> None:
    first = session.publish("first")
    session.publish("second")
    reader = read(session)
    reader.resume(first.id)

    assert types(reader) == ["hello"]
    assert types(reader) == ["second"]


def test_greeted_reader_is_told_hello_apart_and_not_again(session: Session) -> None:
    reader = read(session)

    assert reader.greet().type == "hello"
    assert types(reader) == ["snapshot"]


def test_trail_that_is_longer_than_one_write_is_told_in_slices(clock: Clock) -> None:
    session = Session("s", limits=Limits(log_events=100), clock=clock)
    for _ in range(20):
        session.ask(Question(tool_name="t", parameters={"text": "x" * 10_000})).cancel()
    for _ in range(100):
        session.publish("note")
    reader = read(session, "earliest")
    slices = []
    while events := reader.next():
        slices.append(events)

    trail, [rest] = slices[:-1], slices[-1:]
    assert len(trail) > 2
    assert all(sum(len(event.json) for event in events) < 80_000 for events in trail)
    assert [event.seq for events in trail for event in events] == [0, *range(1, 41)]
    assert [event.seq for event in rest] == list(range(41, 141))


def test_reader_that_resumes_twice_is_told_of_the_later_cursor_only(session: Session) -> None:
    reader = read(session)
    reader.next()
    first = session.publish("first")
    session.publish("second")
    reader.resume("garbage")
    reader.resume(first.id)

    assert types(reader) == ["second"]


def test_reader_that_resumes_from_the_earliest_is_shown_requests_that_the_log_has_dropped(session: Session) -> None:
    session.ask(Question(tool_name="t", parameters={}))
    for _ in range(3):
        session.publish("x")
    reader = read(session)
    reader.next()
    reader.resume("earliest")

    assert types(reader) == ["permission_request"]
    assert types(reader) == ["x", "x", "x"]


# The reader waits


async def test_waiting_reader_is_woken_by_an_event(session: Session, reader: Reader) -> None:
    waiting = asyncio.create_task(reader.wait())
    await turns()
    assert not waiting.done()
    session.publish("note")

    assert await waiting is None


async def test_wake_before_the_wait_is_not_lost(reader: Reader) -> None:
    reader.wake()
    reader.wake()
    await reader.wait()
    waiting = asyncio.create_task(reader.wait())
    await turns()

    assert not waiting.done()
    waiting.cancel()


async def test_two_wakes_at_once_are_one(reader: Reader) -> None:
    waiting = asyncio.create_task(reader.wait())
    await turns()
    reader.wake()
    reader.wake()
    await waiting
    again = asyncio.create_task(reader.wait())
    await turns()

    assert not again.done()
    again.cancel()


async def test_reader_whose_wait_was_cancelled_can_wait_again(reader: Reader) -> None:
    waiting = asyncio.create_task(reader.wait())
    await turns()
    waiting.cancel()
    await turns()
    reader.wake()

    assert await reader.wait() is None


async def test_reader_that_left_is_woken_no_more(session: Session, reader: Reader) -> None:
    reader.leave()
    session.publish("note")
    waiting = asyncio.create_task(reader.wait())
    await turns()

    assert not waiting.done()
    waiting.cancel()


async def test_reader_that_pushes_goes_on_waiting_while_it_can(session: Session, reader: Reader) -> None:
    pushed: list[int] = []

    def push() -> bool:
        pushed.append(session.log.last_seq)
        return session.log.last_seq < 3

    waiting = asyncio.create_task(reader.wait(push))
    await turns()
    for _ in range(2):
        session.publish("note")
        await turns()
    assert (pushed, waiting.done()) == ([1, 2], False)
    session.publish("note")
    async with asyncio.timeout(10):
        await waiting
    session.publish("note")
    await turns()

    assert pushed == [1, 2, 3]
    assert await reader.wait(push) is None  # what came in between is not lost


async def test_reader_whose_wait_with_a_push_was_cancelled_pushes_no_more(session: Session, reader: Reader) -> None:
    pushed: list[int] = []
    waiting = asyncio.create_task(reader.wait(lambda: bool(pushed.append(1)) or True))
    await turns()
    waiting.cancel()
    await turns()
    session.publish("note")
    await turns()

    assert pushed == []


async def test_reader_that_is_ended_is_woken_and_pushes_no_more(session: Session, reader: Reader) -> None:
    pushed: list[int] = []
    waiting = asyncio.create_task(reader.wait(lambda: bool(pushed.append(1)) or True))
    await turns()
    session.publish("note")
    session.close("session_closed")
    async with asyncio.timeout(10):
        await waiting
    await turns()

    assert pushed == []


async def test_transport_that_attends_is_called_at_once_for_each_event_and_for_the_end(
    session: Session, reader: Reader
) -> None:
    called: list[tuple[int, bool]] = []
    reader.attend(lambda: called.append((session.log.last_seq, reader.ending is not None)))
    assert called == [(0, False)]
    session.publish("note")
    session.publish("note")
    assert called == [(0, False)]
    await turns()
    assert called == [(0, False), (2, False)]
    reader.end("token_expired")

    assert called == [(0, False), (2, False), (2, True)]


async def test_transport_that_attends_and_has_left_is_called_no_more(session: Session, reader: Reader) -> None:
    called: list[int] = []
    reader.attend(lambda: called.append(1))
    reader.leave()
    session.publish("note")
    await turns()

    assert called == [1]


async def test_how_late_a_reader_is_told_that_took_nothing_for_a_while_is_known() -> None:
    seconds = Histogram((60,))
    session = Session("s", delivery=Delivery(seconds))
    reader = read(session)
    reader.next()
    takes = False

    def push() -> None:
        if takes:
            reader.next()
            reader.caught_up()
        else:
            reader.hold_back()

    reader.attend(push)
    session.publish("x")
    await turns()
    held_back = seconds.count
    takes = True
    for _ in range(2):
        reader.wake()

    assert (held_back, seconds.count) == (0, 1)


# The reader is ended


@pytest.mark.parametrize(
    ("code", "reconnect"), [("shutdown", True), ("token_expired", True), ("slow", True), ("session_closed", False)]
)
async def test_ended_reader_is_woken_and_told_why(
    session: Session,
    reader: Reader,
    code: Literal["shutdown", "token_expired", "slow", "session_closed"],
    reconnect: bool,
) -> None:
    waiting = asyncio.create_task(reader.wait())
    await turns()
    reader.end(code)
    await waiting
    reader.leave()

    assert isinstance(reader.ending, Bye)
    assert (reader.ending.code, reader.ending.reconnect) == (code, reconnect)
    assert 3000 <= reader.ending.retry_ms < 5000
    assert session.readers.disconnects == session.counters.disconnects == {code: 1}


async def test_waiting_transport_says_farewell_in_the_very_turn_of_the_end(reader: Reader) -> None:
    told: list[str] = []

    def farewell() -> None:
        assert reader.ending is not None
        told.append(reader.ending.code)

    waiting = asyncio.create_task(reader.wait(lambda: True, farewell=farewell))
    await turns()
    reader.end("shutdown")
    reader.end("slow")

    assert told == ["shutdown"]
    await waiting


def test_first_reason_to_end_wins(reader: Reader) -> None:
    reader.end("token_expired")
    first = reader.ending
    reader.end("shutdown")

    assert reader.ending is first


async def test_end_interrupts_a_write_that_the_peer_does_not_take(reader: Reader) -> None:
    async def write() -> None:
        async with reader.writing():
            await asyncio.Event().wait()

    writing = asyncio.create_task(write())
    await turns()
    assert not writing.done()
    reader.end("shutdown")
    with pytest.raises(TimeoutError):
        await writing


async def test_write_that_nobody_ends_takes_its_time(reader: Reader) -> None:
    taken = asyncio.Event()

    async def write() -> str:
        async with reader.writing():
            await taken.wait()
        return "written"

    writing = asyncio.create_task(write())
    await turns()
    taken.set()

    assert await writing == "written"


async def test_last_write_of_an_ended_reader_goes_out_if_it_need_not_wait(reader: Reader) -> None:
    reader.end("shutdown")
    written = False
    async with reader.writing():
        written = True

    assert written


async def test_last_write_of_an_ended_reader_does_not_wait(reader: Reader) -> None:
    reader.end("shutdown")
    with pytest.raises(TimeoutError):
        async with reader.writing():
            await asyncio.Event().wait()


async def test_end_after_a_write_leaves_the_task_alone(reader: Reader) -> None:
    async with reader.writing():
        pass
    reader.end("slow")
    await turns()

    assert reader.ending is not None
    assert reader.ending.code == "slow"


# The reader is looked after


def test_silent_stream_gets_a_heartbeat(reader: Reader, clock: Clock) -> None:
    clock.advance(14.9)
    reader.sweep(clock(), BEAT)
    before = reader.heartbeat
    clock.advance(0.1)
    reader.sweep(clock(), BEAT)

    assert (before, reader.heartbeat) == (None, BEAT)
    assert reader.ending is None


async def test_reader_is_woken_for_its_heartbeat(reader: Reader, clock: Clock) -> None:
    waiting = asyncio.create_task(reader.wait())
    await turns()
    clock.advance(15)
    reader.sweep(clock(), BEAT)

    assert await waiting is None


async def test_heartbeat_is_pushed_and_the_silence_begins_anew_with_it(
    session: Session, reader: Reader, clock: Clock
) -> None:
    pushed: list[bytes | None] = []

    def push() -> None:
        pushed.append(reader.heartbeat)
        reader.sent()

    reader.attend(push)
    clock.advance(15)
    reader.sweep(clock(), BEAT)
    await turns()
    assert (pushed, reader.heartbeat) == ([None, BEAT], None)
    clock.advance(14.9)
    reader.sweep(clock(), BEAT)
    await turns()
    assert pushed == [None, BEAT]
    clock.advance(0.1)
    reader.sweep(clock(), BEAT)
    await turns()

    assert pushed == [None, BEAT, BEAT]


async def test_write_takes_the_heartbeat_with_it_and_the_silence_begins_anew(reader: Reader, clock: Clock) -> None:
    clock.advance(15)
    reader.sweep(clock(), BEAT)
    async with reader.writing():
        pass
    assert reader.heartbeat is None
    clock.advance(14.9)
    reader.sweep(clock(), BEAT)
    assert reader.heartbeat is None
    clock.advance(0.1)
    reader.sweep(clock(), BEAT)

    assert reader.heartbeat == BEAT


def test_peer_that_takes_nothing_is_cut(reader: Reader, peer: Peer, clock: Clock) -> None:
    peer.handed, peer.unsent = 100, 60
    reader.sweep(clock(), BEAT)
    clock.advance(9.9)
    reader.sweep(clock(), BEAT)
    before = reader.ending
    clock.advance(0.1)
    reader.sweep(clock(), BEAT)

    assert before is None
    assert reader.ending is not None
    assert reader.ending.code == "slow"


def test_peer_that_is_handed_more_and_takes_nothing_is_cut_too(reader: Reader, peer: Peer, clock: Clock) -> None:
    for _ in range(11):
        peer.handed, peer.unsent = peer.handed + 100, peer.unsent + 100
        reader.sweep(clock(), BEAT)
        clock.advance(1)

    assert reader.ending is not None
    assert reader.ending.code == "slow"


def test_peer_that_takes_a_byte_now_and_then_is_not_cut(reader: Reader, peer: Peer, clock: Clock) -> None:
    peer.handed, peer.unsent = 100, 60
    for _ in range(10):
        reader.sweep(clock(), BEAT)
        peer.unsent -= 1
        clock.advance(9.9)

    assert (reader.ending, reader.heartbeat) == (None, None)


def test_peer_that_had_taken_all_in_between_begins_anew(reader: Reader, peer: Peer, clock: Clock) -> None:
    for unsent in (10, 0, 10):
        peer.handed, peer.unsent = 10 - unsent, unsent
        reader.sweep(clock(), BEAT)
        clock.advance(9)

    assert reader.ending is None


async def test_peer_that_has_gone_is_noticed(reader: Reader, peer: Peer, clock: Clock) -> None:
    waiting = asyncio.create_task(reader.wait())
    await turns()
    peer.gone = True
    clock.advance(100)
    reader.sweep(clock(), BEAT)
    await waiting

    assert (reader.gone, reader.ending, reader.heartbeat) == (True, None, None)


def test_reader_whose_token_expires_is_ended_then_and_not_before(
    session: Session, reader: Reader, clock: Clock
) -> None:
    reader.permit(5)
    clock.now += 4.9
    reader.sweep(clock(), b"")
    before = reader.ending
    clock.now += 0.1
    reader.sweep(clock(), b"")

    assert before is None
    assert reader.ending is not None
    assert (reader.ending.code, reader.ending.reconnect) == ("token_expired", True)


def test_reader_with_a_newer_token_that_never_expires_stays(reader: Reader, clock: Clock) -> None:
    reader.permit(5)
    reader.permit(None)
    clock.now += 10
    reader.sweep(clock(), b"")

    assert reader.ending is None


def test_reader_whose_right_is_asked_again_stays_as_long_as_it_has_it(session: Session, reader: Reader) -> None:
    unbound, rights = read(session), {"read"}
    reader.permit(None, lambda: "read" in rights)
    for one in (reader, unbound):
        one.ask_again()
    before = reader.ending
    rights.clear()
    for one in (reader, unbound):
        one.ask_again()

    assert before is None
    assert reader.ending is not None
    assert (reader.ending.code, unbound.ending) == ("token_expired", None)


def test_heartbeat_tells_the_time_in_seconds() -> None:
    before = time.time()
    beat = json.loads(heartbeat())

    assert set(beat) == {"type", "timestamp"}
    assert beat["type"] == "heartbeat"
    assert before - 0.001 <= beat["timestamp"] <= time.time() + 0.001


@pytest.mark.parametrize(("shutdown_seconds", "lowest"), [(0.1, 3000), (2, 3000), (2.5, 3500), (10, 11_000)])
def test_reader_comes_back_later_than_a_restart_takes(shutdown_seconds: float, lowest: int) -> None:
    limits = Limits(shutdown_seconds=shutdown_seconds)
    waits = {retry_ms(limits) for _ in range(200)}

    assert lowest <= min(waits) <= max(waits) < lowest + 2000
    assert len(waits) > 50
