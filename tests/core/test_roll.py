"""Who walks along a roll meets each one once who stays, whoever comes and goes meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier_service.core.roll import Listed, Roll


class Member:
    def __init__(self, name: str) -> None:
        self.name = name
        self.roll_before: Listed | None = None
        self.roll_behind: Listed | None = None


def roll_of(names: str) -> tuple[Roll[Member], dict[str, Member]]:
    roll, members = Roll[Member](), {name: Member(name) for name in names}
    for member in members.values():
        roll.add(member)
    return roll, members


def names(walk: Iterator[Member] | Roll[Member]) -> str:
    return "".join(member.name for member in walk)


def test_all_are_met_in_the_order_in_which_they_came() -> None:
    roll, _ = roll_of("abc")

    assert names(roll) == "abc"
    assert names(roll) == "abc"
    assert names(Roll[Member]()) == ""


@pytest.mark.parametrize(
    ("gone", "rest"),
    [("a", "bcd"), ("b", "cd"), ("c", "bd"), ("d", "bc"), ("bcd", ""), ("dcb", ""), ("cd", "b"), ("dc", "b")],
)
def test_who_goes_before_the_walk_comes_by_is_not_met(gone: str, rest: str) -> None:
    roll, members = roll_of("abcd")
    walk = iter(roll)
    assert next(walk).name == "a"

    for name in gone:
        roll.remove(members[name])

    assert names(walk) == rest
    assert names(roll) == "".join(name for name in "abcd" if name not in gone)


def test_who_comes_meanwhile_is_not_met_even_where_the_last_has_gone() -> None:
    roll, members = roll_of("abc")
    walk = iter(roll)
    next(walk)

    roll.add(Member("d"))
    roll.remove(members["c"])
    roll.add(members["c"])

    assert names(walk) == "b"
    assert names(roll) == "abdc"


@pytest.mark.parametrize("replaced", ["a", "b", "c"])
def test_who_has_the_place_of_another_is_met_in_its_place_or_was(replaced: str) -> None:
    roll, members = roll_of("abc")
    walk = iter(roll)
    next(walk)

    roll.replace(members[replaced], Member("x"))

    assert names(walk) == "bc".replace(replaced, "x")
    assert names(roll) == "abc".replace(replaced, "x")


def test_who_has_gone_holds_none_of_the_others() -> None:
    roll, members = roll_of("abc")
    roll.remove(members["b"])
    roll.replace(members["c"], Member("d"))

    assert {(one.roll_before, one.roll_behind) for one in (members["b"], members["c"])} == {(None, None)}


def test_walk_that_is_given_up_is_forgotten() -> None:
    roll, members = roll_of("abc")
    walk = iter(roll)
    next(walk)
    walk.close()  # type: ignore[attr-defined]  # it is a generator
    roll.remove(members["b"])

    assert names(walk) == ""
    assert names(roll) == "ac"


@given(st.lists(st.tuples(st.sampled_from(("add", "remove", "replace", "begin", "walk")), st.integers(0, 20))))
def test_whatever_comes_and_goes_who_stays_is_met_once_and_nobody_twice(steps: Sequence[tuple[str, int]]) -> None:
    roll, there = Roll[Member](), list[Member]()
    walks: list[tuple[Iterator[Member], list[Member], list[Member]]] = []  # who is to be met, and who was
    for step, at in steps:
        other = Member("other")
        if step == "add":
            roll.add(other)
            there.append(other)
        elif step == "begin":
            walk = iter(roll)
            walks.append((walk, [*there], [*islice(walk, 1)]))
        elif step == "walk" and walks:
            walk, _, met = walks[at % len(walks)]
            met += islice(walk, at % 3)
        elif step in ("remove", "replace") and there:
            place = at % len(there)
            gone, new = there[place], [other] if step == "replace" else []
            there[place : place + 1] = new
            if new:
                roll.replace(gone, other)
            else:
                roll.remove(gone)
            for _, expected, met in walks:
                if gone in expected and gone not in met:
                    expected[expected.index(gone) : expected.index(gone) + 1] = new
        assert list(roll) == there

    assert all([*met, *walk] == expected for walk, expected, met in walks)
