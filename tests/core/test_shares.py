"""One holder never has the places of all others."""

from __future__ import annotations

import pytest

from notifier_service.core.errors import LimitReached
from notifier_service.core.shares import EVERYBODY, Shares


def shares(places: int = 100, *, each: int | None = None) -> Shares:
    return Shares("max_things", places, "{} things are open; no more are taken.", each=each)


def fill(places: Shares, holder: str | None, *, may_approve: bool = True) -> int:
    """Take what this holder can have; how many that is."""
    taken = 0
    try:
        while True:
            places.check(holder, may_approve=may_approve)
            places.take(holder)
            taken += 1
    except LimitReached:
        return taken


@pytest.mark.parametrize("holder", [None, EVERYBODY])
def test_nobody_in_particular_may_have_all(holder: str | None) -> None:
    assert fill(shares(), holder) == 100


def test_one_holder_leaves_a_fifth_to_those_who_have_little() -> None:
    places = shares()

    assert [fill(places, name) for name in ("ann", "bob", "eve")] == [80, 20, 0]


def test_who_has_little_is_let_in_until_all_are_taken() -> None:
    places = shares()
    fill(places, "ann")
    for n in range(20):
        places.check(f"other-{n}")
        places.take(f"other-{n}")

    with pytest.raises(LimitReached, match=r"^100 things are open; no more are taken\.$"):
        places.check("last")


def test_who_only_looks_on_leaves_a_tenth_to_those_who_may_approve() -> None:
    places = shares()
    viewers = [fill(places, f"viewer-{n}", may_approve=False) for n in range(5)]

    assert sum(viewers) == 90
    assert fill(places, "approver") == 10


def test_what_was_given_back_can_be_had_again() -> None:
    places = shares()
    fill(places, "ann")
    for _ in range(3):
        places.leave("ann")

    assert (places.used, fill(places, "ann")) == (77, 3)


def test_one_holder_may_be_bounded_by_a_number() -> None:
    places = shares(each=7)

    assert (fill(places, "ann"), fill(places, "bob")) == (7, 7)


@pytest.mark.parametrize("places", range(1, 5))
def test_so_few_places_that_no_part_of_them_is_one_are_anybodys(places: int) -> None:
    assert fill(shares(places), "ann", may_approve=False) == places


def test_refusal_says_whose_they_are() -> None:
    places = shares()
    fill(places, "ann")

    with pytest.raises(LimitReached, match=r"80 of them are yours; the rest is kept for others\.$") as caught:
        places.check("ann")
    assert caught.value.details == {"limit": "max_things"}
