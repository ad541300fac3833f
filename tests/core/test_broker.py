"""The broker: sessions by id, their limits, and the sweeper that looks after them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from notifier_service.core.broker import Broker, process_broker, set_process_broker
from notifier_service.core.errors import (
    AmbiguousRequest,
    BrokerClosed,
    CursorLost,
    InvalidSessionId,
    LimitReached,
    NoBroker,
    RequestNotFound,
    SessionClosed,
    SessionNotFound,
)
from notifier_service.core.limits import Limits
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.permissions import PermissionDesk
from notifier_service.core.question import Decision, Question
from notifier_service.core.reader import Reader

if TYPE_CHECKING:
    from conftest import Clock

ASK: dict[str, Any] = {"tool_name": "write", "parameters": {}, "risk_level": "high"}
YES = Decision(approved=True)


def peer(*, handed: int = 0, unsent: int = 0, gone: bool = False) -> Any:
    return SimpleNamespace(handed_bytes=lambda: handed, unsent_bytes=lambda: unsent, is_gone=lambda: gone)


def broken_peer(error: Exception) -> Any:
    def is_gone() -> bool:
        raise error

    return SimpleNamespace(handed_bytes=lambda: 0, is_gone=is_gone)


def still(clock: Clock, **limits: Any) -> Broker:
    """A broker on a clock that stands still."""
    return Broker(Limits(**limits), clock=clock)


async def settled(request: PermissionRequest) -> str:
    async with asyncio.timeout(10):
        return (await request.decision()).status


# Opening


def test_session_is_made_on_first_use(clock: Clock) -> None:
    broker = still(clock)
    session = broker.open("s")

    assert broker.open("s") is broker.get("s") is session
    assert (broker.sessions, broker.counters.sessions_opened) == ((session,), 1)


def test_session_has_the_limits_counters_and_clock_of_its_broker(clock: Clock) -> None:
    broker = still(clock, log_events=5)
    session = broker.open("s")

    assert (session.limits, session.counters, session.clock) == (broker.limits, broker.counters, clock)


def test_broker_without_limits_has_the_defaults() -> None:
    assert Broker().limits == Limits()


@pytest.mark.parametrize(
    "use",
    [
        lambda broker: broker.open("a/b"),
        lambda broker: broker.get("a/b"),
        lambda broker: broker.publish_nowait("a/b", "note"),
        lambda broker: broker.ask("a/b", **ASK),
        lambda broker: broker.decide("a/b", YES, decided_by="ana"),
        lambda broker: broker.join("a/b", "sse", peer()),
        lambda broker: broker.end_session("a/b"),
    ],
    ids=["open", "get", "publish", "ask", "decide", "join", "end"],
)
def test_id_that_is_no_session_id_is_refused_everywhere(clock: Clock, use: Any) -> None:
    broker = still(clock)
    with pytest.raises(InvalidSessionId):
        use(broker)

    assert broker.sessions == ()


def test_session_that_nobody_opened_is_not_found(clock: Clock) -> None:
    broker = still(clock)
    with pytest.raises(SessionNotFound):
        broker.get("s")
    with pytest.raises(SessionNotFound):
        broker.end_session("s")
    with pytest.raises(RequestNotFound):
        broker.decide("s", YES, decided_by="ana")

    assert broker.sessions == ()


@pytest.mark.parametrize(
    "use",
    [
        lambda broker: broker.open("b"),
        lambda broker: broker.publish_nowait("b", "note"),
        lambda broker: broker.ask("b", **ASK),
        lambda broker: broker.join("b", "sse", peer()),
    ],
    ids=["open", "publish", "ask", "join"],
)
def test_more_sessions_than_the_limit_are_not_opened(clock: Clock, use: Any) -> None:
    broker = still(clock, max_sessions=1)
    broker.publish_nowait("a", "note")
    with pytest.raises(LimitReached, match=r"^1 sessions are open; no more are taken\.$") as caught:
        use(broker)

    assert caught.value.limit == "max_sessions"
    assert broker.counters.limits_reached == {"max_sessions": 1}
    assert broker.open("a") is broker.get("a")


def test_empty_session_gives_way_to_a_new_one_and_no_other_does(clock: Clock) -> None:
    broker = still(clock, max_sessions=4)
    for name in ("told", "read", "empty", "beside"):
        broker.open(name)
    broker.publish_nowait("told", "note")
    broker.join("read", "sse", peer())
    broker.open("new", beside={"beside"})

    assert [session.session_id for session in broker.sessions] == ["told", "read", "beside", "new"]
    broker.publish_nowait("new", "note")
    with pytest.raises(LimitReached):
        broker.open("another", beside={"beside"})
    assert broker.open("another").session_id == "another"
    assert [session.session_id for session in broker.sessions] == ["told", "read", "new", "another"]


# Publishing, asking, deciding


async def test_published_event_is_in_the_log_of_its_session(broker: Broker) -> None:
    event = await broker.publish("s", "note", {"n": 1})

    assert list(broker.get("s").log.read_after(0)) == [event]
    assert broker.get("s").log.last_event_id == event.id


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"log_events": 8}, ""),
        ({"log_events": 3}, ""),
        ({"log_events": 1}, ""),
        ({}, ""),
        ({"log_bytes": 16 * 1024, "max_event_bytes": 16 * 1024}, "x" * 3000),
    ],
    ids=["8 events", "3 events", "1 event", "default", "bytes"],
)
async def test_reader_that_keeps_up_loses_nothing_however_fast_one_publishes(
    clock: Clock, limits: dict[str, int], text: str
) -> None:
    broker = still(clock, **limits)
    log = broker.open("s").log
    seen: list[int] = []

    async def read() -> None:
        while len(seen) < 200:
            seen.extend(event.seq for event in await log.wait_after(seen[-1] if seen else 0))

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    for _ in range(200):
        await broker.publish("s", "note", {"text": text})
    async with asyncio.timeout(10):
        await reading

    assert seen == list(range(1, 201))
    broker.close()


async def test_publisher_yields_at_the_fiftieth_event_at_the_latest(broker: Broker) -> None:
    turns: list[int] = []
    asyncio.get_running_loop().call_soon(lambda: turns.append(broker.get("s").log.last_seq))
    for _ in range(60):
        await broker.publish("s", "note")

    assert turns == [50]


class Attendant:
    """A reader that reads on each time it is called, and may do something else too."""

    def __init__(self, broker: Broker, then: Callable[[], None] = lambda: None) -> None:
        self.seen: list[int] = []
        self.lost = 0
        self._log = broker.open("s").log
        self._then = then
        broker.join("s", "sse", peer()).attend(self._read)

    def _read(self) -> None:
        place = self.seen[-1] if self.seen else 0
        try:
            self.seen += [event.seq for event in self._log.read_after(place)]
        except CursorLost:
            self.lost += 1
            self.seen.append(self._log.last_seq)
        self._then()


@pytest.mark.parametrize("publishers", [1, 3])
@pytest.mark.parametrize("log_events", [8, 16])
async def test_publisher_waits_while_many_readers_would_be_outrun(
    clock: Clock, log_events: int, publishers: int
) -> None:
    broker = still(clock, log_events=log_events, max_connections_per_session=1000)
    readers = [Attendant(broker) for _ in range(700)]  # eleven turns of the loop, in which more than a log could come

    async def publish() -> None:
        for _ in range(60):
            await broker.publish("s", "note")

    async with asyncio.timeout(20):
        await asyncio.gather(*(publish() for _ in range(publishers)))
        while broker.get("s").readers.is_due:  # noqa: ASYNC110  # each turn of the loop brings them further
            await asyncio.sleep(0)

    assert {reader.lost for reader in readers} == {0}
    assert all(reader.seen == list(range(1, 60 * publishers + 1)) for reader in readers)
    broker.close()


async def test_publisher_does_not_wait_for_readers_that_fail_or_take_nothing(clock: Clock) -> None:
    broker = still(clock, log_events=4)
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("boom")

    Attendant(broker, fail)
    stuck = broker.join("s", "websocket", peer(handed=10, unsent=10))
    waiting = asyncio.create_task(stuck.wait(lambda: False))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        for _ in range(100):
            await broker.publish("s", "note")
        await waiting

    assert len(calls) > 1
    broker.close()


async def test_publisher_of_one_session_does_not_wait_for_the_readers_of_another(clock: Clock) -> None:
    broker = still(clock, log_events=16)
    Attendant(broker)
    for _ in range(9):
        broker.get("s").publish("note")
    assert broker.get("s").readers.are_outrun
    assert await broker.publish("other", "note")

    assert broker.get("s").readers.are_outrun  # not a turn of the loop has gone by
    broker.close()


def test_publisher_in_a_second_loop_does_not_wait_for_what_the_first_one_left(clock: Clock) -> None:
    broker = still(clock, log_events=4)
    reader = Attendant(broker)
    for _ in range(3):
        broker.publish_nowait("s", "note")

    async def publish() -> None:
        async with asyncio.timeout(10):
            await broker.publish("s", "note")

    asyncio.run(publish())

    assert reader.seen == [1, 2, 3, 4]
    broker.close()


async def test_request_is_decided_through_the_broker(broker: Broker) -> None:
    request = broker.ask("s", **ASK)
    record = broker.decide("s", YES, decided_by="ana")

    assert (record.request_id, record.status, record.decided_by) == (request.request_id, "approved", "ana")


def test_request_of_another_session_is_not_found(clock: Clock) -> None:
    broker = still(clock)
    request = broker.ask("a", **ASK)
    broker.open("b")
    with pytest.raises(RequestNotFound):
        broker.decide("b", Decision(approved=True, request_id=request.request_id), decided_by="ana")

    assert request.pending


def test_tool_allowed_in_one_session_is_asked_in_another(clock: Clock) -> None:
    broker = still(clock)
    broker.ask("a", **ASK)
    broker.decide("a", Decision(approved=True, scope="session"), decided_by="ana")

    assert not broker.ask("a", **ASK).pending
    assert broker.ask("b", **ASK).pending


# Reading


def test_readers_are_counted_over_all_sessions(clock: Clock) -> None:
    broker = still(clock)
    viewers = [broker.join("a", "sse", peer()), broker.join("b", "ws", peer())]
    viewers[0].leave()

    assert broker.connections == 1
    assert broker.counters.connections_opened == 2


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("max_connections", "1 streams are open; no more are taken."),
        ("max_connections_per_session", "This session has 1 readers; no more are taken."),
    ],
)
def test_more_readers_than_the_limit_are_refused_and_counted_once(clock: Clock, limit: str, message: str) -> None:
    broker = still(clock, **{limit: 1})
    broker.join("s", "sse", peer())
    with pytest.raises(LimitReached) as caught:
        broker.join("s", "sse", peer())

    assert (caught.value.limit, caught.value.message) == (limit, message)
    assert broker.counters.limits_reached == {limit: 1}
    assert broker.connections == 1


def test_readers_of_one_address_are_bounded_and_a_place_is_free_again_when_one_leaves(clock: Clock) -> None:
    broker = still(clock, max_connections_per_address=2)
    first = broker.join("a", "sse", peer(), address="10.0.0.1")
    with broker.holding(address="10.0.0.1"):
        with pytest.raises(LimitReached, match="2 streams are open from your address"):
            broker.join("b", "sse", peer(), address="10.0.0.1")
        broker.join("b", "sse", peer(), address="10.0.0.2")
        broker.join("b", "sse", peer())
    first.leave()
    for _ in range(2):
        broker.join("c", "sse", peer(), address="10.0.0.1")

    assert broker.counters.limits_reached == {"max_connections_per_address": 1}


def test_refused_reader_opens_no_session(clock: Clock) -> None:
    broker = still(clock, max_connections=1)
    broker.join("a", "sse", peer())
    with pytest.raises(LimitReached):
        broker.join("b", "sse", peer())

    assert [session.session_id for session in broker.sessions] == ["a"]


# Ending


def test_ended_session_says_bye_and_cancels(clock: Clock) -> None:
    broker = still(clock)
    reader, request = broker.join("s", "sse", peer()), broker.ask("s", **ASK)
    epoch = broker.get("s").log.epoch
    broker.end_session("s")

    assert reader.ending is not None
    assert reader.ending.code == "session_closed"
    assert request.record.status == "cancelled"
    assert broker.sessions == ()
    assert broker.open("s").log.epoch != epoch


def test_session_that_was_ended_is_known_as_such_for_a_minute_or_until_something_happens(clock: Clock) -> None:
    broker = still(clock)
    for name in ("ended", "again"):
        broker.open(name)
        broker.end_session(name)
    told = [broker.has_ended(name) for name in ("ended", "again", "never")]
    broker.open("again")
    told.append(broker.has_ended("again"))
    broker.publish_nowait("again", "note")
    told.append(broker.has_ended("again"))
    clock.advance(59)
    told.append(broker.has_ended("ended"))
    clock.advance(1)
    told.append(broker.has_ended("ended"))

    assert told == [True, True, False, True, False, True, False]


def test_session_that_is_ended_again_is_the_last_of_many_to_be_forgotten(clock: Clock) -> None:
    broker = still(clock)
    for name in (*(f"s{number}" for number in range(10_000)), "s0", "one"):
        broker.open(name)
        broker.end_session(name)

    assert [broker.has_ended(name) for name in ("s0", "s1", "s2", "one")] == [True, False, True, True]


def test_answer_without_an_id_counts_where_the_session_before_had_no_request(clock: Clock) -> None:
    broker = still(clock)
    broker.ask("asked", **ASK)
    for name in ("asked", "silent"):
        broker.open(name)
        broker.end_session(name)
        broker.ask(name, **ASK)

    with pytest.raises(AmbiguousRequest):
        broker.decide("asked", YES, decided_by="ana")
    assert broker.decide("silent", YES, decided_by="ana").status == "approved"


def test_readers_of_all_sessions_are_ended_when_they_may_read_no_more(clock: Clock) -> None:
    broker = still(clock)
    stays, goes, goes_too = (broker.join(name, "sse", peer()) for name in "aab")
    stays.permit(None, lambda: True)
    for reader in (goes, goes_too):
        reader.permit(None, lambda: False)
    broker.ask_readers_again()

    assert stays.ending is None
    assert [reader.ending and reader.ending.code for reader in (goes, goes_too)] == ["token_expired"] * 2


def test_closed_broker_cancels_all_and_opens_nothing(clock: Clock) -> None:
    broker = still(clock)
    viewers = [broker.join(name, "sse", peer()) for name in "ab"]
    request = broker.ask("c", **ASK)
    session = broker.get("c")
    broker.close()
    broker.close()

    assert [reader.ending.code for reader in viewers if reader.ending] == ["shutdown", "shutdown"]
    assert (request.record.status, request.record.reason) == ("cancelled", "the service is shutting down")
    assert (broker.closed, broker.sessions) == (True, ())
    for use in (
        lambda: broker.open("a"),
        lambda: broker.look("a"),
        lambda: broker.ask("s", **ASK),
        lambda: broker.publish_nowait("a", "note"),
    ):
        with pytest.raises(BrokerClosed, match=r"^The service is shutting down\.$"):
            use()
    with pytest.raises(SessionClosed):
        session.publish("note")


def test_statistics_are_the_broker_at_one_moment(clock: Clock) -> None:
    broker = still(clock, one_request_at_a_time=True)
    broker.join("a", "sse", peer())
    broker.ask("a", **ASK)
    broker.ask("a", **ASK)
    broker.publish_nowait("b", "note")
    before = broker.statistics()
    broker.close()

    assert (before.sessions, before.connections, before.pending_permissions, before.closed) == (2, 1, 2, False)
    assert before.log_bytes > 0
    assert before.counters is broker.counters
    assert broker.statistics()[:4] == (0, 1, 0, 0)
    assert broker.statistics().closed


# The sweeper, on a clock that stands still


def test_sweep_expires_what_nobody_answered(clock: Clock) -> None:
    broker = still(clock)
    request = broker.ask("s", **ASK, timeout_seconds=5)
    clock.advance(5)
    broker.sweep()

    assert request.record.status == "expired"


def test_sweep_drops_idle_sessions_only(clock: Clock) -> None:
    broker = still(clock)
    idle = broker.open("idle")
    broker.join("watched", "sse", peer())
    broker.ask("asked", **ASK, timeout_seconds=0)
    clock.advance(600)
    broker.open("new")
    broker.sweep()

    assert [session.session_id for session in broker.sessions] == ["watched", "asked", "new"]
    assert idle.log.closed
    assert broker.counters.sessions_expired == 1


def test_sweep_beats_on_silent_streams(clock: Clock) -> None:
    broker = still(clock)
    reader = broker.join("s", "sse", peer())
    clock.advance(15)
    broker.sweep()

    assert reader.heartbeat is not None
    assert reader.heartbeat.startswith(b'{"type":"heartbeat","timestamp":')


def test_sweep_cuts_a_stalled_reader_and_says_so_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    broker = still(clock)
    reader = broker.join("s", "sse", peer(handed=100, unsent=60))
    for _ in range(3):
        broker.sweep()
        clock.advance(10)

    assert reader.ending is not None
    assert reader.ending.code == "slow"
    assert caplog.messages == ["a sse reader took nothing for 10 s and is cut"]


def test_sweep_notices_a_peer_that_has_gone(clock: Clock) -> None:
    broker = still(clock)
    reader = broker.join("s", "sse", peer(gone=True))
    broker.sweep()

    assert reader.gone


def test_sweep_of_nothing_need_not_come_again(clock: Clock) -> None:
    broker = still(clock)
    broker.open("s")
    clock.advance(600)

    assert broker.sweep() is None
    assert broker.sessions == ()


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        ({}, 0.5),
        ({"heartbeat_seconds": 1}, 0.25),
        ({"stalled_seconds": 0.4}, 0.1),
        ({"session_idle_seconds": 0.2}, 0.05),
        ({"heartbeat_seconds": 0.001}, 0.01),
    ],
)
def test_sweeper_comes_often_enough_for_the_shortest_limit(
    clock: Clock, limits: dict[str, float], seconds: float
) -> None:
    broker = still(clock, **limits)
    broker.open("s")

    assert broker.sweep() == seconds


def test_sweeper_comes_when_the_next_request_expires(clock: Clock) -> None:
    broker = still(clock)
    for session_id, timeout in [("a", 100), ("b", 0.25), ("c", 0.375), ("d", 0)]:
        broker.ask(session_id, **ASK, timeout_seconds=timeout)

    assert broker.sweep() == 0.25
    clock.advance(0.125)
    assert broker.sweep() == 0.125


def test_session_expires_at_its_time_whatever_was_done_in_it_before(clock: Clock) -> None:
    broker = still(clock, session_idle_seconds=100)
    for number in range(5):
        broker.publish_nowait(f"s{number}", "note")
        clock.advance(10)
        broker.sweep()
    broker.publish_nowait("s0", "note")
    reader = broker.join("s1", "sse", peer())
    request = broker.ask("s2", **ASK, timeout_seconds=30)
    clock.advance(60)
    broker.sweep()
    assert [session.session_id for session in broker.sessions] == ["s0", "s1", "s2", "s3", "s4"]
    assert request.record.status == "expired"

    clock.advance(30)
    broker.sweep()
    assert {session.session_id for session in broker.sessions} == {"s0", "s1", "s2"}
    clock.advance(10)
    reader.leave()
    broker.sweep()
    assert {session.session_id for session in broker.sessions} == {"s1", "s2"}
    clock.advance(100)
    broker.sweep()
    assert broker.sessions == ()
    assert broker.counters.sessions_expired == 5


def test_session_in_which_somebody_works_does_not_expire_and_is_looked_at_again(clock: Clock) -> None:
    broker = still(clock, session_idle_seconds=100)
    with broker.open("s").working():
        for _ in range(5):
            clock.advance(90)
            broker.sweep()
    clock.advance(99)
    broker.sweep()
    assert len(broker.sessions) == 1
    clock.advance(101)
    broker.sweep()
    assert broker.sessions == ()


# The sweeper, on its own timer


async def test_sweeper_looks_at_very_many_and_lets_others_have_their_turn(clock: Clock) -> None:
    broker = still(clock, max_connections=2000)
    readers = [broker.join(f"s{number}", "sse", peer()) for number in range(500)]
    readers += [broker.join("full", "sse", peer()) for _ in range(100)]
    for reader in readers:
        reader.next()
    clock.advance(15)
    turns_with_some = 0
    async with asyncio.timeout(10):
        while (beaten := sum(reader.heartbeat is not None for reader in readers)) < 600:
            turns_with_some += beaten > 0
            await asyncio.sleep(0)

    assert turns_with_some >= 5
    broker.close()


async def test_very_many_readers_of_the_inbox_and_sessions_that_expire_are_no_long_turn_either(clock: Clock) -> None:
    broker = still(clock, max_connections=2000, session_idle_seconds=60)
    readers = [broker.join_inbox("sse", peer(), None, sees=lambda session_id: True) for _ in range(250)]
    for number in range(250):
        broker.publish_nowait(f"s{number}", "note")
    for reader in readers:
        while reader.next():
            continue
    clock.advance(60)
    turns_with_some = 0
    async with asyncio.timeout(10):
        while broker.sessions:
            turns_with_some += len(broker.sessions) < 250
            await asyncio.sleep(0)

    assert turns_with_some >= 1
    assert all(reader.heartbeat is not None for reader in readers)
    assert broker.counters.sessions_expired == 250
    broker.close()


def test_reader_that_leaves_because_another_one_is_looked_at_is_not_looked_at(clock: Clock) -> None:
    broker = still(clock)
    looks = 0

    def is_gone() -> bool:
        nonlocal looks
        looks += 1
        for reader in readers:
            reader.leave()
        return False

    one = SimpleNamespace(handed_bytes=lambda: 0, unsent_bytes=lambda: 0, is_gone=is_gone)
    readers: list[Reader] = [broker.join("s", "sse", one), broker.join("s", "sse", one)]
    broker.sweep()
    readers = [broker.join_inbox("sse", one, None, sees=lambda session_id: True) for _ in range(2)]
    broker.sweep()

    assert looks == 2
    assert broker.connections == 0


def test_question_in_a_session_that_is_not_kept_is_no_work_for_the_sweeper(clock: Clock) -> None:
    broker = still(clock)
    request = broker.look("s").ask(Question("rm", {}, "high", timeout_seconds=1))
    clock.advance(1)

    assert broker.sweep() is None
    assert request.pending


async def test_session_that_ends_and_question_that_is_asked_in_the_middle_of_a_round_are_heeded(clock: Clock) -> None:
    broker = still(clock, max_connections=2000)
    readers = {f"s{number}": broker.join(f"s{number}", "sse", peer()) for number in range(500)}
    clock.advance(15)
    async with asyncio.timeout(10):
        while not any(reader.heartbeat for reader in readers.values()):  # noqa: ASYNC110  # the round has begun
            await asyncio.sleep(0)
    ahead = next(name for name, reader in readers.items() if reader.heartbeat is None)
    looked_at = next(name for name, reader in readers.items() if reader.heartbeat is not None)
    broker.end_session(ahead)
    request = broker.ask(looked_at, **ASK, timeout_seconds=0.05)
    clock.advance(0.05)

    assert await settled(request) == "expired"
    assert readers[ahead].heartbeat is None
    assert sum(reader.heartbeat is not None for reader in readers.values()) == 499
    broker.close()


async def test_sweeper_that_fails_in_the_middle_of_a_round_goes_on_with_the_rest(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = still(clock)
    requests = [broker.ask(f"s{number}", **ASK, timeout_seconds=0.01) for number in range(20)]
    fails = iter([OSError("disk")])

    def expire_due(desk: PermissionDesk) -> int:
        for error in fails:
            raise error
        return properly(desk)

    properly = PermissionDesk.expire_due
    monkeypatch.setattr(PermissionDesk, "expire_due", expire_due)
    clock.advance(0.01)
    async with asyncio.timeout(10):
        records = await asyncio.gather(*(request.decision() for request in requests))

    assert {record.status for record in records} == {"expired"}
    broker.close()


async def test_request_expires_in_time_without_anybody_looking(broker: Broker) -> None:
    request = broker.ask("s", **ASK, timeout_seconds=0.03)

    assert await settled(request) == "expired"


async def test_request_with_a_short_time_is_not_kept_waiting_by_a_long_sleep(clock: Clock) -> None:
    broker = still(clock)
    broker.ask("s", **ASK, timeout_seconds=100)
    await settled_sweep(broker)
    request = broker.ask("s", **ASK, timeout_seconds=0)
    urgent = broker.ask("s", **ASK, timeout_seconds=0.02)
    clock.advance(0.02)

    assert await settled(urgent) == "expired"
    assert request.pending
    broker.close()


async def settled_sweep(broker: Broker) -> None:
    """Wait until the sweeper has run."""
    swept = asyncio.Event()

    def is_gone() -> bool:
        swept.set()
        return False

    reader = broker.join("s", "sse", SimpleNamespace(handed_bytes=lambda: 0, is_gone=is_gone, unsent_bytes=lambda: 0))
    async with asyncio.timeout(10):
        await swept.wait()
    reader.leave()


async def test_idle_session_closes_and_the_sweeper_starts_again_with_the_next() -> None:
    broker = Broker(Limits(session_idle_seconds=0.02))
    for _ in range(2):
        log = broker.open("s").log
        async with asyncio.timeout(10):
            assert await log.wait_after(0) == ()

    assert broker.sessions == ()
    assert broker.counters.sessions_expired == 2
    broker.close()


async def test_sweeper_goes_on_after_a_failure(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    failed = asyncio.Event()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            failed.set()

    logger, told = logging.getLogger("notifier_service.broker"), Told()
    logger.addHandler(told)
    try:
        reader = broker.join("s", "sse", broken_peer(RuntimeError("no such socket")))
        async with asyncio.timeout(10):
            await failed.wait()
    finally:
        logger.removeHandler(told)
    reader.leave()
    request = broker.ask("s", **ASK, timeout_seconds=0.01)

    assert caplog.messages[0] == "a sse reader cannot be looked after"
    assert await settled(request) == "expired"


def test_broken_reader_does_not_keep_the_requests_of_others_from_expiring(clock: Clock) -> None:
    broker = still(clock)
    broker.join("a", "sse", broken_peer(RuntimeError("no such socket")))
    request = broker.ask("b", **ASK, timeout_seconds=1)
    clock.advance(1)
    broker.sweep()

    assert request.record.status == "expired"


async def test_broker_that_is_closed_while_it_sweeps_sweeps_no_more(clock: Clock) -> None:
    broker = still(clock)
    closed = asyncio.Event()
    looks = 0

    def is_gone() -> bool:
        nonlocal looks
        looks += 1
        broker.close()
        closed.set()
        return True

    broker.join("s", "sse", SimpleNamespace(handed_bytes=lambda: 0, is_gone=is_gone))
    async with asyncio.timeout(10):
        await closed.wait()
    await asyncio.sleep(0)

    assert (looks, broker.sessions) == (1, ())


def test_broker_works_without_a_loop_and_follows_to_another_one() -> None:
    broker = Broker()
    requests = [broker.ask("s", **ASK, timeout_seconds=0.02)]

    async def once() -> str:
        requests.append(broker.ask("s", **ASK, timeout_seconds=0.02))
        return await settled(requests[-1])

    ends = [asyncio.run(once()) for _ in range(2)]

    assert ends == ["expired", "expired"]
    assert [request.record.status for request in requests] == ["expired"] * 3
    broker.close()


# The broker of the process


def test_process_without_a_broker_says_what_to_call() -> None:
    with pytest.raises(NoBroker, match=r"call serve\(\) or create_app\(broker\) first"):
        process_broker()


def test_broker_of_the_process_is_left_when_it_closes() -> None:
    broker = Broker()
    set_process_broker(broker)
    found = process_broker()
    broker.close()

    assert found is broker
    with pytest.raises(NoBroker):
        process_broker()


def test_closing_one_broker_leaves_the_other_in_its_place() -> None:
    mine, other = Broker(), Broker()
    set_process_broker(mine)
    other.close()

    assert process_broker() is mine


async def test_sweeper_whose_clock_fails_once_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    fails = True

    def clock() -> float:
        nonlocal fails
        if fails and broker.sessions:
            fails = False
            raise OSError("no clock")
        return time.monotonic()

    broker = Broker(clock=clock)
    broker.open("s")
    async with asyncio.timeout(10):
        while fails:  # noqa: ASYNC110  # the broker's own timer brings it about
            await asyncio.sleep(0)
    request = broker.ask("s", **ASK, timeout_seconds=0.01)

    assert await settled(request) == "expired"
    assert caplog.messages == ["the sweeper failed"]
    broker.close()


def test_closed_broker_publishes_to_no_session_that_was_open_before() -> None:
    broker = Broker()
    session = broker.open("s")
    broker.close()

    with pytest.raises(BrokerClosed):
        broker.publish_to(session, "x")


# Many events at once


def pieces(count: int, size: int = 1) -> tuple[list[str], list[bytes]]:
    return ["note"] * count, [b'{"n":%d,"pad":"%b"}' % (number, b"x" * size) for number in range(count)]


def test_many_events_are_published_a_turn_at_a_time(clock: Clock) -> None:
    broker = still(clock)
    session = broker.open("s1")
    before = session.active_at
    clock.advance(1)

    turns = [len(broker.extend(session, *pieces(70)))]
    assert broker.must_breathe(session)
    turns.append(len(broker.extend(session, *pieces(20))))

    assert turns == [50, 1]  # nobody breathed meanwhile
    assert (broker.counters.events_published, session.log.last_seq) == (51, 51)
    assert session.active_at == before + 1


async def test_many_events_go_on_after_a_turn(clock: Clock) -> None:
    broker = still(clock)
    session = broker.open("s1")
    broker.extend(session, *pieces(50))

    await broker.breathe(session)

    assert len(broker.extend(session, *pieces(10))) == 10


@pytest.mark.parametrize("limits", [{}, {"max_total_log_bytes": 16384}])
def test_events_that_may_fill_a_bound_are_published_one_by_one(clock: Clock, limits: dict[str, int]) -> None:
    broker = still(clock, max_event_bytes=16384, log_bytes=16384, **limits)

    assert len(broker.extend(broker.open("s1"), *pieces(10, 1600))) == 1


def test_many_events_have_others_give_way(clock: Clock) -> None:
    broker = still(clock, max_event_bytes=16384, log_bytes=16384, max_total_log_bytes=20000)
    for name in ("s1", "s2", "s3"):
        session = broker.open(name)
        for _ in range(10):
            broker.extend(session, *pieces(1, 1000))
        clock.advance(1)

    assert broker.statistics().log_bytes <= 20000
    assert broker.counters.limits_reached["max_total_log_bytes"] > 0


def test_closed_broker_takes_none_of_many_events(clock: Clock) -> None:
    broker = still(clock)
    session = broker.open("s1")
    broker.close()

    with pytest.raises(BrokerClosed):
        broker.extend(session, *pieces(2))


def test_who_leaves_while_all_readers_are_counted_is_counted_once() -> None:
    broker = Broker(Limits(max_connections=300, max_connections_per_session=300))
    readers = [broker.join("s1", "test", peer()) for _ in range(250)]
    broker.publish_nowait("s1", "note", {})
    for reader in readers:
        while reader.next():
            continue
    counting = broker.count_delivered()
    next(counting)
    for reader in (readers[0], readers[-1]):
        reader.leave()
    for _ in counting:
        continue

    assert broker.statistics(is_counted=True).counters.events_delivered["test"] == 250
    assert broker.statistics().counters.events_delivered["test"] == 250
