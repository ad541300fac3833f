"""Things by when their time comes: the next one is found at once, however many there are."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf
from typing import Generic, TypeVar

__all__ = ["Wheel"]

Thing = TypeVar("Thing")


class Wheel(Generic[Thing]):
    """Things, which are no sets, in slots of ``grain_seconds``; of those in one slot any may come first.

    Whoever files something keeps its slot, by which it is removed.
    """

    __slots__ = ("_grain", "_order", "_slots")

    def __init__(self, grain_seconds: float) -> None:
        self._grain = grain_seconds
        #: What is alone in its slot, as most of what comes in its own time, needs no set around it.
        self._slots: dict[int, Thing | set[Thing]] = {}
        #: The numbers of all slots, as a heap; those of some that are empty too.
        self._order: list[int] = []

    def slot_at(self, at: float) -> int:
        """The slot of this moment."""
        return int(at // self._grain)

    def file(self, thing: Thing, slot: int) -> None:
        if slot not in self._slots:
            self._slots[slot] = thing
            heappush(self._order, slot)
            if len(self._order) > 2 * len(self._slots) + 64:
                self._order = list(self._slots)
                heapify(self._order)
            return
        there = self._slots[slot]
        if isinstance(there, set):
            there.add(thing)
        else:
            self._slots[slot] = {there, thing}

    def remove(self, thing: Thing, slot: int) -> None:
        """Take out what was filed there and not taken since."""
        there = self._slots[slot]
        if isinstance(there, set) and len(there) > 1:
            there.remove(thing)
        else:
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
            there = self._slots[slot]
            if isinstance(there, set) and len(there) > 1:
                return there.pop()
            del self._slots[slot]
            return there.pop() if isinstance(there, set) else there
        return None
