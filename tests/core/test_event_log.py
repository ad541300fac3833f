"""The event log: bounded, append-only, and every way of reading is a cursor into it."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier_service.core.errors import CursorLost, InvalidInput, SessionClosed, TooLarge
from notifier_service.core.event_log import Event, EventLog, base36, event_of, new_epoch


def filled(count: int, **bounds: int) -> EventLog:
    log = EventLog(epoch="e", **bounds)
    for number in range(1, count + 1):
        log.append("note", {"n": number})
    return log


def seqs(log: EventLog, after: int, max_bytes: int | None = None) -> list[int]:
    return [event.seq for event in log.read_after(after, max_bytes=max_bytes)]


# appending


def test_events_are_numbered_from_one_without_a_hole() -> None:
    log = EventLog(epoch="e")
    ids = [log.append("note").id for _ in range(37)]

    assert ids[:3] == ["e-1", "e-2", "e-3"]
    assert ids[34:] == ["e-z", "e-10", "e-11"]


def test_event_is_encoded_with_its_id_when_it_is_appended() -> None:
    data = {"n": [1]}
    event = EventLog(epoch="e").append("note", data)
    data["n"].append(2)

    assert (event.seq, event.id, event.type) == (1, "e-1", "note")
    assert event.json == b'{"type":"note","id":"e-1","data":{"n":[1]}}'


def test_log_that_nobody_wrote_to_has_the_cursor_before_the_first_event() -> None:
    log = EventLog(epoch="e")

    assert (log.last_event_id, log.first_seq, log.last_seq) == ("e-0", 1, 0)
    assert log.read_after(0) == ()


def test_only_the_newest_events_are_kept() -> None:
    log = filled(5, capacity=3)

    assert seqs(log, 2) == [3, 4, 5]
    assert (log.first_seq, log.last_seq) == (3, 5)


def test_oldest_events_go_when_the_bytes_are_too_many() -> None:
    size = len(filled(1).read_after(0)[0].json)
    log = filled(5, capacity_bytes=2 * size)

    assert seqs(log, 3) == [4, 5]
    assert log.statistics().bytes == 2 * size


def test_newest_event_stays_even_if_it_is_larger_than_the_log() -> None:
    log = filled(2, capacity_bytes=10)
    event = log.append("note", {"text": "x" * 100})

    assert list(log.read_after(2)) == [event]
    assert log.statistics().events == 1


def test_event_of_exactly_the_limit_is_kept_and_one_byte_more_is_refused() -> None:
    envelope = len(EventLog(epoch="e").append("note", {"t": ""}).json)
    log = EventLog(epoch="e", max_event_bytes=envelope + 10)
    log.append("note", {"t": "x" * 10})
    with pytest.raises(TooLarge) as caught:
        log.append("note", {"t": "x" * 11})

    assert caught.value.message == f"An event of {envelope + 11} bytes is over the limit of {envelope + 10}."
    assert caught.value.details == {"limit": "max_event_bytes"}
    assert log.last_event_id == "e-1"


def test_what_is_encoded_already_is_appended_as_it_is_and_counted_like_the_rest() -> None:
    log = filled(1)
    event = log.append("binary", encoded=b"\0\xff")

    assert event == log.read_after(1)[0] == (2, "e-2", "binary", b"\0\xff")
    assert log.statistics().bytes == len(log.read_after(0)[0].json) + 2


def test_what_is_encoded_already_keeps_to_the_limit_and_the_end_of_the_log() -> None:
    log = EventLog(epoch="e", max_event_bytes=10)
    log.append("x", encoded=b"x" * 10)

    with pytest.raises(TooLarge, match="11 bytes is over the limit of 10"):
        log.append("x", encoded=b"x" * 11)
    log.close()
    with pytest.raises(SessionClosed):
        log.append("x", encoded=b"")
    assert log.last_seq == 1


def test_event_that_cannot_be_encoded_leaves_no_trace() -> None:
    log = filled(1)
    with pytest.raises(InvalidInput):
        log.append("note", {"o": object()})

    assert log.last_seq == 1
    assert log.append("note").id == "e-2"


def test_closed_log_takes_nothing_and_can_still_be_read() -> None:
    log = filled(2)
    log.close()
    with pytest.raises(SessionClosed, match=r"^This session has ended\.$"):
        log.append("note")

    assert seqs(log, 0) == [1, 2]
    assert log.locate("e-1") == 1


def test_statistics_are_the_log_at_one_moment() -> None:
    log = filled(4, capacity=3, capacity_bytes=5000)
    size = len(log.read_after(3)[0].json)
    before = log.statistics()
    log.close()

    assert before._asdict() == {
        "events": 3,
        "bytes": 3 * size,
        "capacity": 3,
        "capacity_bytes": 5000,
        "appended": 4,
        "evicted": 1,
        "last_event_id": "e-4",
        "closed": False,
    }
    assert log.statistics().closed


# cursors


@pytest.mark.parametrize(
    ("cursor", "place"),
    [("e-3", 3), ("e-5", 5), ("e-2", 2), ("0e-0004", 4), ("earliest", 2)],
)
def test_cursor_is_a_place_in_the_log(cursor: str, place: int) -> None:
    assert filled(5, capacity=3).locate(cursor) == place


def test_cursor_before_the_first_event_reads_all() -> None:
    log = filled(3)

    assert log.locate("e-0") == log.locate("earliest") == 0


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [
        ("e-1", "evicted"),
        ("e-0", "evicted"),
        ("e-6", "unknown"),
        ("e-zzzzzzzzzzzzzzzzzzzzzzzz", "unknown"),
        ("d-4", "epoch"),
        ("zz-4", "epoch"),
        ("", "unknown"),
        ("e", "unknown"),
        ("e-", "unknown"),
        ("-1", "unknown"),
        ("E-3", "unknown"),
        ("e-3 ", "unknown"),
        ("e-3\n", "unknown"),
        ("e-\u0663", "unknown"),
        ("e--3", "unknown"),
        ("e-3-3", "unknown"),
        ("e-" + "1" * 25, "unknown"),
        ("Earliest", "unknown"),
        ("\ud800", "unknown"),
        ("\r\nid: 1", "unknown"),
    ],
    ids=ascii,
)
def test_cursor_that_the_log_does_not_hold_is_a_gap_with_its_reason(cursor: str, reason: str) -> None:
    with pytest.raises(CursorLost) as caught:
        filled(5, capacity=3).locate(cursor)

    lost = caught.value
    assert (lost.reason, lost.requested, lost.oldest, lost.newest) == (reason, cursor, "e-3", "e-5")


def test_cursor_of_any_length_is_told_back_shortened() -> None:
    with pytest.raises(CursorLost) as caught:
        filled(1).locate("x" * 1_000_000)

    assert caught.value.requested == "x" * 64


def test_gap_of_an_empty_log_begins_and_ends_before_the_first_event() -> None:
    with pytest.raises(CursorLost) as caught:
        EventLog(epoch="e").locate("d-1")

    assert (caught.value.oldest, caught.value.newest) == ("e-0", "e-0")


@given(st.integers(0, 10**30))
def test_base36_reads_back(number: int) -> None:
    assert int(base36(number), 36) == number
    assert base36(number) == base36(number).lower()


def test_epoch_grows_with_time_and_never_repeats() -> None:
    before = time.time_ns() // 1_000_000
    epochs = [new_epoch() for _ in range(50)]

    assert len(set(epochs)) == 50
    assert before <= int(epochs[0], 36) >> 20 <= time.time_ns() // 1_000_000
    assert EventLog().epoch != EventLog().epoch


# going on


def gone_on(before: EventLog, *leaps: tuple[int, int], **bounds: int) -> EventLog:
    log = EventLog(epoch=before.epoch, **bounds)
    log.go_on_behind(before.read_after(before.first_seq - 1), before.last_seq, leaps)
    return log


def test_log_goes_on_where_an_earlier_one_has_ended() -> None:
    before = filled(5, capacity=3)
    log = gone_on(before, capacity=3)

    assert log.statistics() == before.statistics()
    assert log.read_after(2) == before.read_after(2)
    assert (log.append("note").id, seqs(log, 3)) == ("e-6", [4, 5, 6])


def test_log_that_goes_on_with_less_room_has_the_newest_events() -> None:
    before = filled(5)
    size = len(before.read_after(4)[0].json)

    assert seqs(gone_on(before, capacity=2), 3) == [4, 5]
    assert gone_on(before, capacity=2).first_seq == 4
    assert gone_on(before, capacity_bytes=3 * size).first_seq == 3
    assert gone_on(before, capacity_bytes=3 * size).size_bytes == 3 * size
    assert gone_on(before, capacity_bytes=1).first_seq == 5


def test_log_that_goes_on_without_its_oldest_events_says_so_to_who_has_not_read_them() -> None:
    log = EventLog(epoch="e")
    log.go_on_behind(filled(5).read_after(3), 5)

    assert (log.first_seq, log.evicted, log.locate("e-3")) == (4, 3, 3)
    with pytest.raises(CursorLost) as lost:
        log.locate("e-2")
    assert lost.value.reason == "evicted"


def test_log_of_which_no_event_is_left_goes_on_with_the_next_id() -> None:
    log = EventLog(epoch="e")
    log.go_on_behind((), 5)

    assert (log.last_event_id, log.append("note").id) == ("e-5", "e-6")


@pytest.mark.parametrize("leaps", [[(0, 100)], [(5, 100)], [(3, 100), (5, 1300)], [(5, 100), (5, 200)]], ids=str)
def test_cursor_of_every_event_is_good_where_the_ids_leap(leaps: list[tuple[int, int]]) -> None:
    log = gone_on(filled(5), *leaps)
    new = [log.append("note") for _ in range(40)]

    assert [log.locate(log.id_of(seq)) for seq in range(46)] == list(range(46))
    assert len({log.id_of(seq) for seq in range(46)}) == 46
    assert [event.seq for event in new] == list(range(6, 46))
    assert new[0].id == f"e-{base36(6 + leaps[-1][1])}"


@pytest.mark.parametrize(("number", "place"), [(3, 3), (4, 3), (103, 3), (104, 4), (105, 5), (106, 5), (1305, 5)])
def test_cursor_of_an_event_that_was_lost_goes_on_behind_what_was_kept_before_it(number: int, place: int) -> None:
    log = gone_on(filled(5), (3, 100), (5, 1300))
    log.append("note")

    assert log.locate(f"e-{base36(number)}") == place


def test_cursor_beyond_the_newest_event_is_unknown_where_the_ids_leap() -> None:
    log = gone_on(filled(5), (5, 100))
    log.append("note")

    with pytest.raises(CursorLost) as lost:
        log.locate(f"e-{base36(107)}")
    assert (lost.value.reason, lost.value.newest) == ("unknown", f"e-{base36(106)}")


# reading


def test_reader_gets_what_is_behind_its_place_oldest_first() -> None:
    log = filled(5)

    assert seqs(log, 3) == [4, 5]
    assert seqs(log, 5) == []


def test_reader_ahead_of_the_log_gets_nothing() -> None:
    assert filled(2).read_after(7) == ()


@pytest.mark.parametrize("place", [0, 1])
def test_reader_behind_the_log_is_told_of_a_gap(place: int) -> None:
    log = filled(5, capacity=3)
    with pytest.raises(CursorLost) as caught:
        log.read_after(place)

    assert (caught.value.reason, caught.value.oldest, caught.value.newest) == ("slow", "e-3", "e-5")


def test_answer_ends_at_the_event_that_passes_the_bytes() -> None:
    log = filled(5)
    size = len(log.read_after(4)[0].json)

    assert seqs(log, 0, max_bytes=0) == [1]
    assert seqs(log, 0, max_bytes=2 * size - 1) == [1, 2]
    assert seqs(log, 0, max_bytes=2 * size) == [1, 2, 3]
    assert seqs(log, 0, max_bytes=5 * size) == [1, 2, 3, 4, 5]


@given(
    st.lists(st.integers(0, 60)),
    st.integers(1, 8),
    st.integers(1, 300),
    st.integers(0, 30),
    st.none() | st.integers(0, 200),
)
def test_reader_sees_an_unbroken_run_of_what_was_appended(
    lengths: list[int], capacity: int, capacity_bytes: int, place: int, max_bytes: int | None
) -> None:
    log = EventLog(capacity=capacity, capacity_bytes=capacity_bytes)
    appended = [log.append("note", {"text": "x" * length}) for length in lengths]
    kept = [event for event in appended if event.seq >= log.first_seq]

    assert len(kept) == log.statistics().events <= capacity
    assert sum(len(event.json) for event in kept) == log.statistics().bytes
    assert log.statistics().bytes <= capacity_bytes or len(kept) == 1
    assert bool(kept) == bool(appended)
    if log.first_seq - 1 <= place:
        events = log.read_after(place, max_bytes=max_bytes)
        assert list(events) == appended[place : place + len(events)]
        assert len(events) == max(0, len(appended) - place) or max_bytes is not None
        assert bool(events) == (place < len(appended))


def test_bytes_that_were_ever_appended_are_counted_also_after_they_have_gone() -> None:
    log = filled(2)
    before = log.appended_bytes
    small = filled(2, capacity=1)
    small.append("x", encoded=b"12345")

    assert before == log.statistics().bytes
    assert (small.appended_bytes, small.statistics().bytes) == (before + 5, 5)


@given(
    st.lists(st.none() | st.tuples(st.integers(0, 12), st.none() | st.integers(0, 120)), max_size=40),
    st.integers(1, 8),
    st.integers(1, 300),
)
def test_what_one_reader_has_read_changes_nothing_for_the_others(
    steps: list[tuple[int, int | None] | None], capacity: int, capacity_bytes: int
) -> None:
    log = EventLog(capacity=capacity, capacity_bytes=capacity_bytes)
    appended = []
    for step in steps:
        if step is None:
            appended.append(log.append("note", {"n": len(appended)}))
            continue
        place, max_bytes = step
        if place < log.first_seq - 1:
            with pytest.raises(CursorLost):
                log.read_after(place, max_bytes=max_bytes)
            continue
        expected, total = [], 0
        for event in appended[place:]:
            expected.append(event)
            total += len(event.json)
            if max_bytes is not None and total > max_bytes:
                break
        assert list(log.read_after(place, max_bytes=max_bytes)) == expected


def test_readers_at_one_place_get_the_very_same_events() -> None:
    log = filled(3)
    first = log.read_after(0, max_bytes=1000)

    assert log.read_after(0, max_bytes=1000) is first
    assert log.read_after(1, max_bytes=1000) is not first
    log.forget_shared()
    assert log.read_after(0, max_bytes=1000) is not first


def test_events_that_the_log_has_dropped_are_not_kept_for_readers_either() -> None:
    log = filled(3, capacity=3)
    oldest = log.read_after(0)[0]
    for _ in range(3):
        log.append("note")

    assert [held for held in gc.get_referrers(oldest) if isinstance(held, list | deque)] == []


# sharing


def told(log: EventLog, owner: str, text: str = "") -> None:
    log.append("permission_request", {"text": text}, owner=owner)


def test_flood_of_one_leaves_what_others_were_asked_in_the_trail() -> None:
    log = EventLog(epoch="e", capacity=100, capacity_bytes=2000)
    told(log, "quiet")
    for _ in range(20):
        told(log, "loud", "x" * 300)

    kept = [event.seq for event in log.trail]
    assert kept[0] == 1
    assert kept[1:] == list(range(log.first_seq - len(kept) + 1, log.first_seq))
    assert 700 < sum(len(event.json) for event in log.trail) <= 1000


def test_oldest_of_many_askers_gives_way_and_may_ask_again() -> None:
    log = EventLog(epoch="e", capacity=4)
    for owner in "abcdefga":
        told(log, owner)
    for _ in range(4):
        log.append("note")

    assert [event.seq for event in log.trail] == [7, 8]


def joined(events: Sequence[Event]) -> bytes:
    return b",".join(event.json for event in events)


def test_same_events_in_the_same_form_are_made_once() -> None:
    log = filled(3)
    made = log.shared("form", log.read_after(1), joined)

    assert made == joined(log.read_after(1))
    assert log.shared("form", log.read_after(1), joined) is made
    log.forget_shared()
    again = log.shared("form", log.read_after(1), joined)
    assert (again, again is made) == (made, False)


def test_single_event_is_shared_too() -> None:
    log = filled(3)

    assert log.shared("form", log.read_after(2), joined) is log.shared("form", log.read_after(2), joined)


def test_forms_do_not_mix() -> None:
    log = filled(2)

    assert log.shared("one", log.read_after(0), joined) == joined(log.read_after(0))
    assert log.shared("other", log.read_after(0), lambda events: b"other") == b"other"
    assert log.shared("one", log.read_after(0), lambda events: b"new") == joined(log.read_after(0))


@pytest.mark.parametrize(("place", "max_bytes"), [(0, None), (2, None), (1, 0), (1, 60)])
def test_other_events_are_never_given_in_the_place_of_these(place: int, max_bytes: int | None) -> None:
    log = filled(4)
    log.shared("form", log.read_after(1), joined)
    events = log.read_after(place, max_bytes=max_bytes)

    assert log.shared("form", events, joined) == joined(events)


def test_events_that_came_later_are_in_what_is_shared_then() -> None:
    log = filled(2)
    log.shared("form", log.read_after(0), joined)
    log.append("note")

    assert log.shared("form", log.read_after(0), joined) == joined(log.read_after(0))


# waiting


async def test_waiting_reader_gets_the_event_when_it_comes() -> None:
    log = filled(2)
    waiting = asyncio.create_task(log.wait_after(2))
    await asyncio.sleep(0)
    event = log.append("note")

    assert list(await waiting) == [event]


async def test_reader_does_not_wait_for_what_is_there() -> None:
    log = filled(2)

    assert [event.seq for event in await log.wait_after(0, timeout_seconds=0)] == [1, 2]


async def test_events_that_come_at_once_are_given_together() -> None:
    log = filled(0)
    waiting = asyncio.create_task(log.wait_after(0))
    await asyncio.sleep(0)
    log.append("note")
    log.append("note")

    assert [event.seq for event in await waiting] == [1, 2]


async def test_reader_from_the_future_waits_until_the_log_is_there() -> None:
    log = filled(0)
    waiting = asyncio.create_task(log.wait_after(1))
    await asyncio.sleep(0)
    log.append("note")
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    log.append("note")

    assert [event.seq for event in await waiting] == [2]


async def test_wait_that_is_over_gives_nothing() -> None:
    assert await filled(2).wait_after(2, timeout_seconds=0) == ()


async def test_event_that_comes_in_the_turn_in_which_the_time_is_over_is_not_passed_over() -> None:
    log = filled(2)
    waiting = asyncio.create_task(log.wait_after(2, timeout_seconds=0.001))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.002, log.append, "a")
    time.sleep(0.01)  # noqa: ASYNC251  # both are due when the loop goes on

    assert [event.seq for event in await waiting] == [3]


async def test_closing_ends_the_wait() -> None:
    log = filled(2)
    waiting = asyncio.create_task(log.wait_after(2))
    await asyncio.sleep(0)
    log.close()

    assert await waiting == ()
    assert await log.wait_after(2) == ()


async def test_waiting_reader_that_the_log_has_passed_is_told_of_a_gap() -> None:
    with pytest.raises(CursorLost, match="slow"):
        await filled(5, capacity=3).wait_after(0)


async def test_cancelled_wait_leaves_the_log_as_it_was() -> None:
    log = filled(0)
    waiting = asyncio.create_task(log.wait_after(0))
    await asyncio.sleep(0)
    waiting.cancel()
    log.append("note")
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert json.loads(log.read_after(0)[0].json) == {"type": "note", "id": "e-1"}


# listening


def test_listener_is_called_at_every_append_and_at_the_close() -> None:
    log, calls = filled(1), []
    listener = lambda: calls.append(log.last_seq)  # noqa: E731  # the same object is needed twice
    log.listen(listener)
    log.listen(listener)
    log.append("note")
    log.append("note")
    log.close()
    log.unlisten(listener)
    log.close()

    assert calls == [2, 3, 3]


def test_listener_may_leave_while_it_is_called() -> None:
    log, calls = filled(0), []

    def once() -> None:
        calls.append(log.last_seq)
        log.unlisten(once)

    log.listen(once)
    log.append("note")
    log.append("note")

    assert calls == [1]


def test_stranger_may_be_unlistened() -> None:
    log = filled(0)
    log.unlisten(print)

    assert log.append("note").seq == 1


# many at once


PIECES = [("note" if number % 3 else "other.note", b'{"n":%d}' % number) for number in range(40)]


def extended(log: EventLog, pieces: Sequence[tuple[str, bytes]], traceparent: str | None = None) -> Sequence[Event]:
    types, data_jsons = zip(*pieces, strict=True)
    return [event_of(event) for event in log.extend(types, data_jsons, traceparent=traceparent)]


@pytest.mark.parametrize("traceparent", [None, "00-" + "1" * 32 + "-" + "2" * 16 + "-01"])
def test_many_at_once_are_the_events_that_they_are_one_by_one(traceparent: str | None) -> None:
    singly, together = [EventLog(epoch="e", capacity=20, capacity_bytes=900) for _ in range(2)]
    pieces = [*PIECES[:30], ("long", b'"%b"' % (b"x" * 800)), *PIECES[30:]]
    appended = [singly.append(event_type, data_json=json, traceparent=traceparent) for event_type, json in pieces]

    events = extended(together, pieces, traceparent)

    assert events == appended
    assert together.read_after(together.first_seq - 1) == singly.read_after(singly.first_seq - 1)
    assert together.statistics() == singly.statistics()
    assert (together.appended_bytes, together.held.log_bytes) == (singly.appended_bytes, singly.held.log_bytes)


def test_many_at_once_wake_who_waits_once() -> None:
    log, woken = EventLog(), list[int]()
    log.listen(lambda: woken.append(log.last_seq))

    extended(log, PIECES)

    assert woken == [40]


def test_of_many_at_once_none_is_kept_where_one_is_too_large() -> None:
    log = EventLog(max_event_bytes=100)

    with pytest.raises(TooLarge):
        extended(log, [*PIECES, ("note", b'"%b"' % (b"x" * 100))])

    assert (log.last_seq, log.size_bytes, log.read_after(0)) == (0, 0, ())


def test_closed_log_takes_not_one_of_many() -> None:
    log = EventLog()
    log.close()

    with pytest.raises(SessionClosed):
        extended(log, PIECES)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["append", "extend"]), st.lists(st.sampled_from(["note", "permission_cleared"]), min_size=1)
    )
    | st.tuples(st.just("read"), st.integers(1, 60))
    | st.tuples(st.just("shrink"), st.integers(0, 900)),
    max_size=12,
)


@given(STEPS, st.booleans())
def test_however_many_come_at_once_what_is_read_is_the_same(steps: list[tuple[str, Any]], went_on: bool) -> None:
    together, singly = [EventLog(epoch="e", capacity=20, capacity_bytes=900, max_event_bytes=200) for _ in range(2)]
    if went_on:
        for log in (together, singly):
            log.go_on_behind([Event(7, "e-7", "note", b"{}")], 7, [(7, 1000)])
    for act, detail in steps:
        if act in ("append", "extend"):
            for event_type in detail:
                singly.append(event_type, data_json=b"{}")
            if act == "extend":
                together.extend(detail, [b"{}"] * len(detail))
            else:
                for event_type in detail:
                    together.append(event_type, data_json=b"{}")
        elif act == "shrink":
            for log in (together, singly):
                log.shrink(detail)
        else:
            behind = max(together.first_seq - 1, together.last_seq - detail)
            for most in (None, 100):
                read = together.read_after(behind, max_bytes=most)
                assert read == singly.read_after(behind, max_bytes=most)
                assert {*map(type, read)} <= {Event}

    assert together.statistics() == singly.statistics()
    assert together.trail == singly.trail
    assert {*map(type, together.trail)} <= {Event}
    assert (together.held_bytes, together.held.log_bytes) == (singly.held_bytes, singly.held.log_bytes)


def test_events_that_came_at_once_are_the_same_for_all_who_read_them() -> None:
    log = EventLog()
    extended(log, PIECES)

    late, early, last = log.read_after(30), log.read_after(0), log.read_after(39)

    assert [id(event) for event in early[30:]] == [id(event) for event in late]
    assert last[0] is early[-1]


def test_garbage_collector_need_not_look_at_events_that_nobody_reads() -> None:
    log = EventLog()
    events = [*log.extend(*zip(*PIECES, strict=True))]

    gc.collect()

    assert [event for event in events if gc.is_tracked(event)] == []


def test_events_that_nobody_reads_are_not_made() -> None:
    log = EventLog(capacity=200)
    types, data_jsons = ["note"] * 100, [b'{"n":1}'] * 100
    log.extend(types, data_jsons)
    gc.collect()
    before = len(gc.get_objects())

    for _ in range(10):
        log.extend(types, data_jsons)

    gc.collect()
    assert len(gc.get_objects()) - before < 10
    assert [event.seq for event in log.read_after(0 + log.evicted)] == [*range(901, 1101)]
