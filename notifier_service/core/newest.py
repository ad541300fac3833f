"""What is kept of much that comes, so that nobody's flood takes the room of what belongs to others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from operator import attrgetter
from typing import Any, Generic, TypeVar

__all__ = ["Newest"]

Thing = TypeVar("Thing")


class _Share(deque[int]):
    """The places of what counts against one holder, the oldest first."""

    __slots__ = ("holder", "size_bytes")

    def __init__(self, holder: Hashable) -> None:
        super().__init__()
        self.holder = holder
        self.size_bytes = 0


_SIZE: Any = attrgetter("size_bytes")


class Newest(Generic[Thing]):
    """The newest things within these bounds; whose take the most room give way first, the oldest of them.

    ``json_of`` gives what of a thing has a size, ``dropped`` hears of each that gives way. ``at_least`` so many stay,
    however large they are.
    """

    __slots__ = (
        "_at_least",
        "_capacity",
        "_capacity_bytes",
        "_dropped",
        "_json_of",
        "_shares",
        "_things",
        "size_bytes",
    )

    def __init__(
        self,
        capacity: int,
        capacity_bytes: int,
        json_of: Callable[[Thing], bytes],
        *,
        at_least: int = 0,
        dropped: Callable[[Thing], object] | None = None,
    ) -> None:
        self.size_bytes = 0
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._json_of = json_of
        self._at_least = at_least
        self._dropped = dropped
        #: By their places, oldest first.
        self._things: dict[int, Thing] = {}
        self._shares: dict[Hashable, _Share] = {}

    def __iter__(self) -> Iterator[Thing]:
        return iter(self._things.values())

    def __reversed__(self) -> Iterator[Thing]:
        return reversed(self._things.values())

    def keep(self, place: int, thing: Thing, holder: Hashable) -> None:
        """Keep the next one, which is newer than all there are; its room is taken by ``holder``."""
        shares = self._shares
        share = shares.get(holder)
        if share is None:
            share = shares[holder] = _Share(holder)
        size = len(self._json_of(thing))
        share.append(place)
        share.size_bytes += size
        self.size_bytes += size
        self._things[place] = thing
        if len(self._things) > self._capacity:
            # Most often there is one; else Python finds by itself, in one step of ours, who has the most.
            self._drop_of(share if len(shares) == 1 else max(shares.values(), key=len))
        if self.size_bytes > self._capacity_bytes:
            self.shrink(self._capacity_bytes)

    def shrink(self, to_bytes: int) -> None:
        """Drop what is too much for so many bytes."""
        while self.size_bytes > to_bytes and len(self._things) > self._at_least:
            self._drop_of(max(self._shares.values(), key=_SIZE))

    def _drop_of(self, share: _Share) -> None:
        thing = self._things.pop(share.popleft())
        size = len(self._json_of(thing))
        share.size_bytes -= size
        self.size_bytes -= size
        if not share:
            del self._shares[share.holder]
        if self._dropped is not None:
            self._dropped(thing)
