"""The bytes that all sessions hold together, and who gives way when they are too many (contract section 16)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import inf
from typing import Protocol

from .wheel import Wheel

__all__ = ["Held", "LogSpace"]

#: How exactly it is known which session was used longest ago.
_GRAIN_SECONDS = 0.5
#: So many sessions give way at most in one go; what is over then, the next event makes room for.
_MOST_STEPS = 500


class Held:
    """Bytes that are held: of events in logs, and of what there is beside them."""

    __slots__ = ("beside_bytes", "log_bytes")

    def __init__(self) -> None:
        self.log_bytes = 0
        self.beside_bytes = 0


class Holder(Protocol):
    """A session, as far as it holds something."""

    session_id: str
    active_at: float
    #: Where it waits to give way, and in which slot of that.
    held_in: Wheel[Holder] | None
    held_slot: int

    @property
    def is_in_use(self) -> bool: ...

    @property
    def log_bytes(self) -> int: ...

    def shrink_log(self, to_bytes: int) -> None:
        """Drop the oldest events until the rest fits; with 0 all, and what was kept beside the log of them."""


class LogSpace(Held):
    """All bytes of all sessions, of which there are ``most_bytes``.

    When there are more, the logs of the sessions that were used longest ago shrink to ``least_bytes``, oldest first;
    when all have, these sessions give way as a whole (``give_way``), but for those in use, whose logs are emptied.
    Nothing is done for an event unless there are too many; then as much as events were appended before.
    """

    __slots__ = ("_give_way", "_least_bytes", "_reached", "_shrunk", "_whole", "most_bytes")

    def __init__(
        self,
        most_bytes: float = inf,
        *,
        least_bytes: int = 0,
        give_way: Callable[[Holder], object] = lambda holder: None,
        reached: Counter[str] | None = None,
    ) -> None:
        super().__init__()
        self.most_bytes = most_bytes
        self._least_bytes = least_bytes
        self._give_way = give_way
        self._reached = Counter[str]() if reached is None else reached
        self._whole = Wheel[Holder](_GRAIN_SECONDS)
        self._shrunk = Wheel[Holder](_GRAIN_SECONDS)

    @property
    def is_over(self) -> bool:
        return self.log_bytes + self.beside_bytes > self.most_bytes

    def add(self, holder: Holder) -> None:
        """A session begins."""
        self._file(holder, self._whole)

    def remove(self, holder: Holder, beside_bytes: int) -> None:
        """A session is over, which holds so much beside its log."""
        self.log_bytes -= holder.log_bytes
        self.beside_bytes -= beside_bytes
        if holder.held_in is not None:
            holder.held_in.remove(holder, holder.held_slot)
            holder.held_in = None

    def make_room(self, newest: Holder) -> None:
        """Have others give way until what is held fits; ``newest`` keeps its newest event."""
        self._reached["max_total_log_bytes"] += 1
        steps = self._shrink(newest, _MOST_STEPS)
        if self.is_over:
            self._let_give_way(newest, steps)

    def _shrink(self, newest: Holder, steps: int) -> int:
        """Shrink whole logs, that of ``newest`` last, and return how many steps are left."""
        is_newest_taken = False
        while self.is_over and steps > 0 and (holder := self._whole.take()) is not None:
            steps -= 1
            if holder is newest:
                is_newest_taken = True
            elif not self._was_used(holder):
                self._shrink_one(holder)
        if is_newest_taken:
            self._shrink_one(newest)
        return steps

    def _shrink_one(self, holder: Holder) -> None:
        excess = max(0, self.log_bytes + self.beside_bytes - self.most_bytes)
        holder.shrink_log(max(1, self._least_bytes, holder.log_bytes - int(excess)))
        self._file(holder, self._shrunk if self.is_over else self._whole)

    def _let_give_way(self, newest: Holder, steps: int) -> None:
        """Have sessions give way whose logs have shrunk."""
        spared: list[Holder] = []
        while self.is_over and steps > 0 and (holder := self._shrunk.take()) is not None:
            steps -= 1
            if holder is newest:
                holder.shrink_log(1)
            elif self._was_used(holder):
                continue
            elif holder.is_in_use:
                holder.shrink_log(0)
            else:
                holder.held_in = None
                self._give_way(holder)
                continue
            holder.held_in = None
            spared.append(holder)
        for holder in spared:  # behind the others: there is nothing more to be had from them
            self._file(holder, self._shrunk, newest.active_at)

    def _was_used(self, holder: Holder) -> bool:
        """Whether a session was used since it was filed; then it is filed anew."""
        if self._whole.slot_at(holder.active_at) <= holder.held_slot:
            return False
        self._file(holder, self._whole)
        return True

    def _file(self, holder: Holder, wheel: Wheel[Holder], at: float | None = None) -> None:
        slot = wheel.slot_at(holder.active_at if at is None else at)
        wheel.file(holder, slot)
        holder.held_in, holder.held_slot = wheel, slot
