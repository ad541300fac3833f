"""Things by when their time comes."""

from __future__ import annotations

import random
import tracemalloc

from notifier_service.core.wheel import Wheel


def taken(wheel: Wheel[str], until: float = float("inf")) -> list[str]:
    found = []
    while (thing := wheel.take(until)) is not None:
        found.append(thing)
    return found


def filed(wheel: Wheel[str], thing: str, at: float) -> int:
    slot = wheel.slot_at(at)
    wheel.file(thing, slot)
    return slot


def test_things_are_taken_in_the_order_of_their_slots_and_none_before_its_slot_has_begun() -> None:
    wheel = Wheel[str](0.5)
    for thing, at in [("c", 3.0), ("a", 1.2), ("b", 2.6), ("d", 1e9)]:
        filed(wheel, thing, at)

    assert wheel.take(0.9) is None
    assert taken(wheel, 2.5) == ["a", "b"]
    assert taken(wheel, 2.9) == []
    assert taken(wheel) == ["c", "d"]
    assert wheel.take() is None


def test_what_was_removed_is_not_taken_and_may_be_filed_again() -> None:
    wheel = Wheel[str](1)
    slot = filed(wheel, "a", 5)
    filed(wheel, "b", 7)
    wheel.remove("a", slot)
    filed(wheel, "a", 9)

    assert taken(wheel) == ["b", "a"]


def test_things_that_come_and_go_for_ever_leave_nothing_behind() -> None:
    wheel = Wheel[str](1)
    filed(wheel, "stays", 0)
    tracemalloc.start()
    try:
        for at in range(1, 20_000):
            wheel.remove("passes", filed(wheel, "passes", at))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert held < 20_000
    assert taken(wheel) == ["stays"]


def test_it_takes_what_a_sorted_list_would() -> None:
    dice = random.Random(7)
    wheel, slots = Wheel[str](1), dict[str, int]()
    for number in range(3000):
        if slots and dice.random() < 0.4:
            thing = dice.choice(sorted(slots))
            wheel.remove(thing, slots.pop(thing))
        elif slots and dice.random() < 0.3:
            earliest = min(slots.values())
            thing = wheel.take()
            assert thing is not None
            assert slots.pop(thing) == earliest
        else:
            slots[f"t{number}"] = filed(wheel, f"t{number}", dice.uniform(0, 500))

    assert sorted(taken(wheel)) == sorted(slots)


def test_what_is_alone_in_its_slot_takes_no_more_than_its_place() -> None:
    wheel = Wheel[str](1)
    tracemalloc.start()
    try:
        for at in range(10_000):
            filed(wheel, "thing", at)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert held / 10_000 < 150
