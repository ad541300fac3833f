"""Places of which there are only so many, so that one holder never has those of all others."""

from __future__ import annotations

from collections import Counter

from .errors import LimitReached

__all__ = ["EVERYBODY", "Shares"]

#: The holder where callers cannot be told apart: bounded by the number of places alone.
EVERYBODY = "local"

#: This part of the places, at the end, is for holders of less than this part: who has little is not kept out by who
#: has much, and a single holder has nearly all of what nobody else wants.
_PART = 5
#: The part that is kept for those who may approve: whoever looks on does not keep out who decides.
_APPROVERS_PART = 10


class Shares:
    """The places of one bound, and who holds how many. None is nobody in particular, as a call in this process.

    ``limit`` is the setting that says how many ``places`` there are, ``full`` what is said when all are taken, with a
    ``{}`` for how many that is. ``each`` bounds what one holder may have, whatever is free.
    """

    __slots__ = ("_each", "_full", "_held", "_limit", "_places", "used")

    def __init__(self, limit: str, places: int, full: str, *, each: int | None = None) -> None:
        self._limit = limit
        self._places = places
        self._full = full
        self._each = each
        self._held: Counter[str] = Counter()
        self.used = 0

    def check(self, holder: str | None, *, may_approve: bool = True) -> None:
        """Raise ``LimitReached`` unless there is a place for this holder."""
        places, free = self._places, self._places - self.used
        if free <= 0:
            raise LimitReached(self._limit, self._full.format(self.used))
        if not may_approve and free <= places // _APPROVERS_PART:
            raise LimitReached(self._limit, f"{self._full.format(self.used)} The rest is kept for who may approve.")
        if holder is None or holder == EVERYBODY:
            return
        held, part = self._held[holder], places // _PART
        if free <= part <= held or (self._each is not None and held >= self._each):
            raise LimitReached(
                self._limit, f"{self._full.format(self.used)} {held} of them are yours; the rest is kept for others."
            )

    def take(self, holder: str | None) -> None:
        """Have a place, which ``check`` found free."""
        self.used += 1
        if holder is not None:
            self._held[holder] += 1

    def leave(self, holder: str | None) -> None:
        """Give a place back."""
        self.used -= 1
        if holder is not None:
            self._held[holder] -= 1
            if not self._held[holder]:
                del self._held[holder]
