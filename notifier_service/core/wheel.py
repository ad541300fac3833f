"""Things by when their time comes: the next one is found at once, however many there are."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf
from typing import Generic, TypeVar

__all__ = ["Wheel"]

Thing = TypeVar("Thing")


class Wheel(Generic[Thing]):
    """Things in slots of ``grain_seconds``; of those in one slot any may come first.

    Whoever files something keeps its slot, by which it is removed.
    """

    __slots__ = ("_grain", "_order", "_slots")

    def __init__(self, grain_seconds: float) -> None:
        self._grain = grain_seconds
        self._slots: dict[int, set[Thing]] = {}
        #: The numbers of all slots, as a heap; those of some that are empty too.
        self._order: list[int] = []

    def slot_at(self, at: float) -> int:
        """The slot of this moment."""
        return int(at // self._grain)

    def file(self, thing: Thing, slot: int) -> None:
        things = self._slots.get(slot)
        if things is None:
            things = self._slots[slot] = set()
            heappush(self._order, slot)
            if len(self._order) > 2 * len(self._slots) + 64:
                self._order = list(self._slots)
                heapify(self._order)
        things.add(thing)

    def remove(self, thing: Thing, slot: int) -> None:
        """Take out what was filed there and not taken since."""
        things = self._slots[slot]
        things.remove(thing)
        if not things:
            del self._slots[slot]

    def take(self, until: float = inf) -> Thing | None:
        """Take out a thing whose slot has begun by then, of the earliest slot; None if there is none."""
        while self._order:
            slot = self._order[0]
            if slot not in self._slots:
                heappop(self._order)
                continue
            if slot * self._grain > until:
                return None
            things = self._slots[slot]
            thing = things.pop()
            if not things:
                del self._slots[slot]
            return thing
        return None
