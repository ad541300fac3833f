"""Of much that comes the newest is kept, and nobody's flood takes the room of what belongs to others."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier_service.core.newest import Newest

places = count(1)


def keep(newest: Newest[bytes], *things: bytes, holder: str = "a") -> None:
    for thing in things:
        newest.keep(next(places), thing, holder)


def as_it_is(thing: bytes) -> bytes:
    return thing


def test_newest_are_read_from_either_end() -> None:
    newest = Newest[bytes](2, 100, as_it_is)
    keep(newest, b"1", b"2", b"3")

    assert list(newest) == [b"2", b"3"]
    assert list(reversed(newest)) == [b"3", b"2"]
    assert newest.size_bytes == 2


def test_who_has_the_most_gives_way_first() -> None:
    newest = Newest[bytes](3, 100, as_it_is)
    keep(newest, b"1", holder="quiet")
    keep(newest, b"2", b"3", b"4", b"5", holder="flood")

    assert list(newest) == [b"1", b"4", b"5"]


def test_of_two_with_as_many_gives_way_who_has_been_there_longer() -> None:
    newest = Newest[bytes](2, 100, as_it_is)
    keep(newest, b"1", holder="first")
    keep(newest, b"2", holder="second")
    keep(newest, b"3", holder="third")

    assert list(newest) == [b"2", b"3"]


def test_who_takes_the_most_bytes_gives_way_however_few_things_these_are() -> None:
    newest = Newest[bytes](10, 10, as_it_is)
    keep(newest, b"12345678", holder="large")
    keep(newest, b"1", b"2", b"3", holder="many")

    assert list(newest) == [b"1", b"2", b"3"]


@pytest.mark.parametrize(("at_least", "kept"), [(0, []), (1, [b"12345"])])
def test_what_is_too_large_stays_only_where_so_many_do(at_least: int, kept: list[bytes]) -> None:
    newest = Newest[bytes](10, 3, as_it_is, at_least=at_least)
    keep(newest, b"1", b"12345")

    assert list(newest) == kept
    assert newest.size_bytes == sum(map(len, kept))


def test_room_shrinks_as_far_as_it_is_told() -> None:
    newest = Newest[bytes](10, 100, as_it_is)
    keep(newest, b"11", b"22", b"33")

    newest.shrink(4)

    assert list(newest) == [b"22", b"33"]


def test_each_that_gives_way_is_told_of() -> None:
    gone: list[bytes] = []
    newest = Newest[bytes](1, 100, as_it_is, dropped=gone.append)
    keep(newest, b"1", b"2", holder="a")
    keep(newest, b"3", holder="b")

    assert (gone, list(newest)) == ([b"1", b"2"], [b"3"])


def test_who_was_gone_and_comes_again_is_the_newest_holder() -> None:
    newest = Newest[bytes](2, 100, as_it_is)
    for thing, holder in ((b"1", "a"), (b"2", "b"), (b"3", "c"), (b"4", "a")):
        keep(newest, thing, holder=holder)

    assert list(newest) == [b"3", b"4"]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9))),
    st.integers(0, 6),
    st.integers(0, 25),
    st.integers(0, 1),
)
def test_it_keeps_what_looking_through_all_of_them_each_time_would_keep(
    told: list[tuple[str, int]], capacity: int, capacity_bytes: int, at_least: int
) -> None:
    newest = Newest[bytes](capacity, capacity_bytes, as_it_is, at_least=at_least)
    there: list[tuple[str, bytes]] = []
    order: list[str] = []

    def drop_of_most(size_of: Callable[[bytes], int]) -> None:
        most = max(order, key=lambda one: sum(size_of(thing) for holder, thing in there if holder == one))
        there.remove(next(each for each in there if each[0] == most))
        order[:] = [one for one in order if one in {holder for holder, _ in there}]

    for number, (holder, size) in enumerate(told):
        thing = b"%d" % (number % 10) * size
        keep(newest, thing, holder=holder)
        there.append((holder, thing))
        order += [] if holder in order else [holder]
        if len(there) > capacity:
            drop_of_most(lambda thing: 1)
        while sum(len(thing) for _, thing in there) > capacity_bytes and len(there) > at_least:
            drop_of_most(len)

        assert list(newest) == [thing for _, thing in there]
