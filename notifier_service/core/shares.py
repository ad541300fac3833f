"""Places of which there are only so many, so that one holder never has those of all others."""

from __future__ import annotations

from collections import Counter

from .errors import LimitReached

__all__ = ["EVERYBODY", "Shares", "is_roomy"]

#: The holder where callers cannot be told apart: bounded by the number of places alone.
EVERYBODY = "local"

#: This part of the places, at the end, is for holders of less than this part: who has little is not kept out by who
#: has much, and a single holder has nearly all of what nobody else wants.
_PART = 5
#: The part that is kept for those who may approve: whoever looks on does not keep out who decides.
_APPROVERS_PART = 10


def is_roomy(places: int, used: int) -> bool:
    """Whether there is a place for anybody, whoever has the others: as long as that is so, nobody need count them."""
    return used < _roomy(places)


def _roomy(places: int) -> int:
    return places - places // _PART


class Shares:
    """The places of one bound, and who holds how many. None is nobody in particular, as a call in this process.

    ``limit`` is the setting that says how many ``places`` there are, ``full`` what is said when all are taken, with a
    ``{}`` for how many that is; ``refused`` counts by setting. ``each`` bounds what one holder may have of free ones.
    """

    __slots__ = ("_each", "_full", "_held", "_limit", "_places", "_refused", "_roomy", "used")

    def __init__(
        self, limit: str, places: int, full: str, *, refused: Counter[str] | None = None, each: int | None = None
    ) -> None:
        self._refused = refused
        self._limit = limit
        self._places = places
        self._full = full
        self._each = each
        #: With fewer taken there is one for anybody.
        self._roomy = _roomy(places) if each is None else 0
        self._held: dict[str, int] = {}
        self.used = 0

    def check(self, holder: str | None, *, may_approve: bool = True) -> None:
        """Raise ``LimitReached`` unless there is a place for this holder."""
        if self.used < self._roomy:
            return
        why_not = self.why_not(holder, may_approve=may_approve)
        if why_not is not None:
            if self._refused is not None:
                self._refused[self._limit] += 1
            raise LimitReached(self._limit, why_not)

    def why_not(self, holder: str | None, *, may_approve: bool = True) -> str | None:
        """Why there is no place for this holder; None if there is one."""
        places, free = self._places, self._places - self.used
        if free <= 0:
            return self._full.format(self.used)
        if not may_approve and free <= places // _APPROVERS_PART:
            return f"{self._full.format(self.used)} The rest is kept for who may approve."
        if holder is None or holder == EVERYBODY:
            return None
        held, part = self._held.get(holder, 0), places // _PART
        # A part of fewer than one place is none to keep.
        if (0 < part <= held and free <= part) or (self._each is not None and held >= self._each):
            return f"{self._full.format(self.used)} {held} of them are yours; the rest is kept for others."
        return None

    def take(self, holder: str | None) -> None:
        """Have a place, which ``check`` found free."""
        self.used += 1
        if holder is not None:
            self._held[holder] = self._held.get(holder, 0) + 1

    def leave(self, holder: str | None) -> None:
        """Give a place back."""
        self.used -= 1
        if holder is not None:
            self._held[holder] -= 1
            if not self._held[holder]:
                del self._held[holder]
