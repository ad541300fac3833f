"""Delivery: readers are served in slices, in rounds, and whoever comes, goes or fails harms nobody else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from notifier_service.core.event_log import EventLog
from notifier_service.core.fan_out import SLICE_READERS, Audience, Delivery


class Reader:
    """A cursor into a log; what it has read, and how often it was served."""

    def __init__(self, log: EventLog, then: Callable[[], None] | None = None) -> None:
        self.seen: list[int] = []
        self.served = 0
        self._log = log
        self._then = then

    def catch_up(self) -> None:
        self.served += 1
        self.seen += [event.seq for event in self._log.read_after(self.seen[-1] if self.seen else 0)]
        if self._then is not None:
            self._then()


@pytest.fixture
def delivery() -> Delivery:
    return Delivery()


@pytest.fixture
def log() -> EventLog:
    return EventLog(epoch="e")


@pytest.fixture
def audience(log: EventLog, delivery: Delivery) -> Audience[Reader]:
    return Audience(log, delivery)


def join(audience: Audience[Reader], log: EventLog, count: int) -> list[Reader]:
    readers = [Reader(log) for _ in range(count)]
    for reader in readers:
        audience.add(reader)
    return readers


def publish(audience: Audience[Reader], log: EventLog, count: int = 1) -> None:
    for _ in range(count):
        log.append("note")
        audience.touch()


def served(readers: list[Reader]) -> int:
    return sum(reader.served for reader in readers)


async def rest(*audiences: Audience[Reader]) -> None:
    """Let the loop turn until all have been told everything."""
    async with asyncio.timeout(10):
        while any(audience.is_due for audience in audiences):  # noqa: ASYNC110  # each turn brings them further
            await asyncio.sleep(0)


# Slices


async def test_other_callbacks_run_between_slices_of_readers(audience: Audience[Reader], log: EventLog) -> None:
    readers = join(audience, log, 3 * SLICE_READERS + 5)
    publish(audience, log)
    turns = []
    async with asyncio.timeout(10):
        while audience.is_due:
            turns.append(served(readers))
            await asyncio.sleep(0)
    turns.append(served(readers))

    assert turns == [0, SLICE_READERS, 2 * SLICE_READERS, 3 * SLICE_READERS, 3 * SLICE_READERS + 5]
    assert all(reader.seen == [1] for reader in readers)


async def test_one_slice_serves_several_small_audiences(delivery: Delivery) -> None:
    logs = [EventLog() for _ in range(4)]
    audiences: list[Audience[Reader]] = [Audience(log, delivery) for log in logs]
    readers = [join(audience, log, 6) for audience, log in zip(audiences, logs, strict=True)]
    for audience, log in zip(audiences, logs, strict=True):
        publish(audience, log)
    await asyncio.sleep(0)

    assert [served(each) for each in readers] == [6, 6, 6, 2]
    await asyncio.sleep(0)
    assert [served(each) for each in readers] == [6, 6, 6, 6]


async def test_large_audience_does_not_keep_a_small_one_waiting(
    audience: Audience[Reader], log: EventLog, delivery: Delivery
) -> None:
    large = join(audience, log, 10 * SLICE_READERS)
    small_log = EventLog()
    small: Audience[Reader] = Audience(small_log, delivery)
    [reader] = join(small, small_log, 1)
    publish(audience, log)
    publish(small, small_log)
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert reader.seen == [1]
    assert served(large) == 2 * SLICE_READERS - 1
    await rest(audience)
    assert served(large) == 10 * SLICE_READERS


async def test_audience_without_readers_uses_up_a_slice_little_by_little(delivery: Delivery) -> None:
    log = EventLog()
    audiences: list[Audience[Reader]] = [Audience(log, delivery) for _ in range(SLICE_READERS + 1)]
    for audience in audiences:
        [reader] = join(audience, log, 1)
        audience.touch()
        audience.discard(reader)
    await asyncio.sleep(0)

    # However many there are, a turn of the loop has an end.
    assert [audience.is_due for audience in audiences] == [False] * SLICE_READERS + [True]
    await asyncio.sleep(0)
    assert not audiences[-1].is_due


async def test_thousands_of_touches_are_one_chain_and_each_reader_gets_all_at_once(
    audience: Audience[Reader], log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    calls = []
    call_soon = loop.call_soon

    def counted(callback: Callable[..., object], *arguments: object, **options: object) -> asyncio.Handle:
        if callback == audience._delivery._turn:
            calls.append(callback)
        return call_soon(callback, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "call_soon", counted)
    [reader] = join(audience, log, 1)
    publish(audience, log, 1000)
    for _ in range(4000):
        audience.touch()
    await rest(audience)
    await asyncio.sleep(0)

    assert len(calls) == 1
    assert (reader.served, reader.seen) == (1, list(range(1, 1001)))


# Who fails


async def test_reader_that_fails_is_logged_and_the_others_are_served(
    audience: Audience[Reader], log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("boom")

    [first] = join(audience, log, 1)
    audience.add(Reader(log, fail))
    [last] = join(audience, log, 1)
    publish(audience, log)
    await rest(audience)

    assert (first.seen, last.seen) == ([1], [1])
    [record] = caplog.records
    assert (record.name, record.levelno) == ("notifier_service.delivery", logging.ERROR)
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "boom"


# Who comes and goes


def test_audience_is_its_readers(audience: Audience[Reader], log: EventLog) -> None:
    first, second = join(audience, log, 2)
    audience.add(first)
    audience.discard(second)
    audience.discard(second)

    assert list(audience) == [first]
    assert len(audience) == 1
    assert first in audience
    assert second not in audience


def test_readers_may_go_while_they_are_looked_through(audience: Audience[Reader], log: EventLog) -> None:
    readers = join(audience, log, 3)
    looked_at = []
    for reader in audience:
        looked_at.append(reader)
        audience.discard(reader)

    assert looked_at == readers
    assert not len(audience)


async def test_reader_that_left_in_a_round_is_not_served_any_more(audience: Audience[Reader], log: EventLog) -> None:
    readers = join(audience, log, 2 * SLICE_READERS)
    publish(audience, log)
    await asyncio.sleep(0)
    audience.discard(readers[0])
    audience.discard(readers[-1])
    await rest(audience)

    assert [readers[0].served, readers[-2].served, readers[-1].served] == [1, 1, 0]


async def test_readers_may_discard_each_other_and_themselves_while_they_are_served(
    audience: Audience[Reader], log: EventLog
) -> None:
    def clear() -> None:
        for reader in audience:
            audience.discard(reader)

    first = Reader(log, clear)
    audience.add(first)
    others = join(audience, log, SLICE_READERS)
    publish(audience, log)
    await rest(audience)

    assert (first.served, served(others)) == (1, 0)
    assert not len(audience)


async def test_reader_that_comes_in_a_round_is_served_in_the_next(audience: Audience[Reader], log: EventLog) -> None:
    readers = join(audience, log, 2 * SLICE_READERS)
    publish(audience, log)
    await asyncio.sleep(0)
    [late] = join(audience, log, 1)  # it reads by itself when it comes; what is published from now on is brought
    publish(audience, log)
    await rest(audience)

    assert late.seen == [1, 2]
    assert late.served == 1
    assert all(reader.seen == [1, 2] for reader in readers)


async def test_reader_that_leaves_and_comes_again_in_a_round_is_served_once(
    audience: Audience[Reader], log: EventLog
) -> None:
    readers = join(audience, log, SLICE_READERS + 1)
    publish(audience, log)
    await asyncio.sleep(0)
    audience.discard(readers[-1])
    audience.add(readers[-1])
    await rest(audience)

    assert readers[-1].served == 1
    assert readers[-1].seen == [1]


async def test_audience_whose_readers_have_all_left_is_done(audience: Audience[Reader], log: EventLog) -> None:
    [reader] = join(audience, log, 1)
    publish(audience, log)
    audience.discard(reader)
    await rest(audience)
    [again] = join(audience, log, 1)
    publish(audience, log)
    await rest(audience)

    assert (reader.served, again.seen) == (0, [1, 2])


async def test_touch_without_readers_is_nothing(audience: Audience[Reader], log: EventLog) -> None:
    publish(audience, log)

    assert not audience.is_due
    assert audience.lag == (0, 0)


# Rounds


@pytest.mark.parametrize("at", [0, SLICE_READERS - 1, SLICE_READERS, 2 * SLICE_READERS - 1])
async def test_touch_in_a_round_whoever_causes_it_is_told_to_everybody(
    audience: Audience[Reader], log: EventLog, at: int
) -> None:
    def publish_once() -> None:
        if log.last_seq == 1:
            publish(audience, log)

    readers = [Reader(log, publish_once if number == at else None) for number in range(2 * SLICE_READERS)]
    for reader in readers:
        audience.add(reader)
    publish(audience, log)
    await rest(audience)

    assert [reader.seen for reader in readers] == [[1, 2]] * (2 * SLICE_READERS)
    assert {reader.served for reader in readers} == {2}


async def test_touch_after_a_round_begins_another(audience: Audience[Reader], log: EventLog) -> None:
    [reader] = join(audience, log, 1)
    for _ in range(3):
        publish(audience, log)
        await rest(audience)

    assert (reader.seen, reader.served) == ([1, 2, 3], 3)


async def test_what_readers_shared_is_kept_for_a_round_and_not_longer(
    audience: Audience[Reader], log: EventLog
) -> None:
    made: list[bytes] = []

    def make(events: object) -> bytes:
        made.append(b"x")
        return b"x"

    def share() -> None:
        log.shared("form", log.read_after(0), make)

    for _ in range(SLICE_READERS + 1):
        audience.add(Reader(log, share))
    publish(audience, log, 2)
    await rest(audience)
    assert len(made) == 1

    share()
    assert len(made) == 2


# Loops


def test_touch_where_no_loop_runs_is_told_when_one_does(audience: Audience[Reader], log: EventLog) -> None:
    [reader] = join(audience, log, 1)
    publish(audience, log)
    assert reader.served == 0

    async def later() -> None:
        publish(audience, log)
        await rest(audience)

    asyncio.run(later())

    assert reader.seen == [1, 2]


def test_round_that_a_loop_left_unfinished_goes_on_in_the_next_one(audience: Audience[Reader], log: EventLog) -> None:
    readers = join(audience, log, 50 * SLICE_READERS)

    async def begin() -> None:
        publish(audience, log)
        await asyncio.sleep(0)

    async def go_on() -> None:
        publish(audience, log)
        await rest(audience)

    asyncio.run(begin())
    assert 0 < served(readers) < len(readers)
    asyncio.run(go_on())

    assert all(reader.seen == [1, 2] for reader in readers)


# Lag


async def test_lag_is_what_came_since_the_round_before_the_last_began(
    audience: Audience[Reader], log: EventLog
) -> None:
    size = len(log.append("note").json)
    join(audience, log, SLICE_READERS + 1)
    assert audience.lag == (0, 0)

    publish(audience, log)
    assert audience.lag[0] == 1
    publish(audience, log, 2)
    assert audience.lag == (3, 2 * size)  # at the least: the event that begins it all may be counted or not
    await asyncio.sleep(0)  # the first round has begun, and has readers left
    publish(audience, log)
    assert audience.lag == (4, 3 * size)
    await asyncio.sleep(0)  # it is over, and the second has begun
    assert audience.lag == (1, size)
    await rest(audience)
    assert audience.lag == (0, 0)


async def test_no_reader_who_keeps_up_is_further_behind_than_the_lag_says(
    audience: Audience[Reader], log: EventLog
) -> None:
    readers = join(audience, log, 3 * SLICE_READERS + 7)
    for turn in range(40):
        publish(audience, log, turn % 5)
        behind = max(log.last_seq - (reader.seen[-1] if reader.seen else 0) for reader in readers)
        assert behind <= audience.lag[0]
        await asyncio.sleep(0)
    await rest(audience)

    assert all(reader.seen == list(range(1, log.last_seq + 1)) for reader in readers)
