"""Who is there, in order, to be walked along in as many turns as it takes, without a copy of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["Listed", "Roll"]


class Listed(Protocol):
    """Stands on a roll, between these two, of which there may be none; each is the roll's own."""

    roll_before: Any
    roll_behind: Any


Member = TypeVar("Member", bound=Listed)


class _Walk(Generic[Member]):
    """Who is met next, and last; None when it is over."""

    __slots__ = ("last", "next")

    def __init__(self, first: Member | None, last: Member | None) -> None:
        self.next = first
        self.last = last


class Roll(Generic[Member]):
    """All in the order in which they came. Who walks along it lets them come and go in between.

    Who is there from the first step to the last is met once. Who comes meanwhile is not met, who goes only before that.
    """

    __slots__ = ("_first", "_last", "_walks")

    def __init__(self) -> None:
        self._first: Member | None = None
        self._last: Member | None = None
        self._walks: list[_Walk[Member]] = []

    def __iter__(self) -> Iterator[Member]:
        walk = _Walk(self._first, self._last)
        self._walks.append(walk)
        try:
            while (member := walk.next) is not None:
                walk.next = None if member is walk.last else member.roll_behind
                yield member
        finally:
            self._walks.remove(walk)

    def add(self, member: Member) -> None:
        """Let somebody in behind all others."""
        self._stand(self._last, member)
        self._stand(member, None)

    def remove(self, member: Member) -> None:
        """Let somebody go."""
        before, behind = member.roll_before, member.roll_behind
        for walk in self._walks:
            if walk.next is member:
                walk.next = None if walk.last is member else behind
            if walk.last is member:
                walk.last = before
        self._stand(before, behind)
        member.roll_before = member.roll_behind = None

    def replace(self, member: Member, other: Member) -> None:
        """Let somebody have the place of another, who goes."""
        for walk in self._walks:
            if walk.next is member:
                walk.next = other
            if walk.last is member:
                walk.last = other
        self._stand(member.roll_before, other)
        self._stand(other, member.roll_behind)
        member.roll_before = member.roll_behind = None

    def _stand(self, before: Member | None, behind: Member | None) -> None:
        """Have these two stand one behind the other, or at an end where one of them is nobody."""
        if before is None:
            self._first = behind
        else:
            before.roll_behind = behind
        if behind is None:
            self._last = before
        else:
            behind.roll_before = before
