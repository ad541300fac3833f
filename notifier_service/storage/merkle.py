"""A Merkle tree over lines, as RFC 6962 (and 9162) hash them: a root that says all of them, and short proofs about it.

To append takes the hashes of the complete subtrees that stand side by side, one for each bit of the size, and no line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..core.errors import InvalidInput

__all__ = [
    "EMPTY",
    "Leaves",
    "LeavesMissing",
    "Tree",
    "is_consistent",
    "is_included",
    "leaf_hash",
    "root_of_nothing",
]

_HASH_BYTES = 32


class LeavesMissing(InvalidInput):
    """A proof needs lines that are not there."""


def leaf_hash(line: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + line).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of_nothing() -> bytes:
    return hashlib.sha256().digest()


class Tree(NamedTuple):
    """The tree over ``size`` lines: ``subtrees`` are the roots of its complete ones, the largest and oldest first."""

    size: int = 0
    subtrees: tuple[bytes, ...] = ()

    def with_leaves(self, hashes: Iterable[bytes]) -> Tree:
        """The tree over these lines too, of each the ``leaf_hash``."""
        size, subtrees = self.size, list(self.subtrees)
        for hashed in hashes:
            rest = size
            while rest & 1:
                hashed = _node_hash(subtrees.pop(), hashed)
                rest >>= 1
            subtrees.append(hashed)
            size += 1
        return Tree(size, tuple(subtrees))

    @property
    def root(self) -> bytes:
        if not self.subtrees:
            return root_of_nothing()
        *rest, root = self.subtrees
        for subtree in reversed(rest):
            root = _node_hash(subtree, root)
        return root

    @classmethod
    def of(cls, size: int, subtrees: Sequence[bytes]) -> Tree:
        """The tree that somebody wrote down. Raises ``InvalidInput`` where that is none."""
        if size < 0 or len(subtrees) != size.bit_count() or any(len(one) != _HASH_BYTES for one in subtrees):
            raise InvalidInput("these are no subtrees of a tree of that size")
        return cls(size, tuple(subtrees))


EMPTY = Tree()


class Leaves:
    """The lines behind a tree that is known, by their hashes: roots and proofs of any size from there on.

    Asked about what is before, it raises ``LeavesMissing``.
    """

    def __init__(self, before: Tree, hashes: Sequence[bytes]) -> None:
        self.before = before
        self._hashes = hashes
        self._made: dict[tuple[int, int], bytes] = {}
        begin = 0
        for bit, subtree in zip(_bits(before.size), before.subtrees, strict=True):
            self._made[begin, begin + bit] = subtree
            begin += bit

    @property
    def size(self) -> int:
        return self.before.size + len(self._hashes)

    @property
    def tree(self) -> Tree:
        """The tree over all of them."""
        return self.before.with_leaves(self._hashes)

    def root(self, size: int) -> bytes:
        """The root of the first so many lines."""
        self._require(0 <= size <= self.size, size)
        return self._hash(0, size) if size else root_of_nothing()

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """What proves that line ``index``, from 0, is among the first ``size`` (RFC 6962 section 2.1.1)."""
        self._require(0 <= index < size <= self.size, size)
        path: list[bytes] = []
        begin, end = 0, size
        while end - begin > 1:
            middle = begin + _split(end - begin)
            if index < middle:
                path.append(self._hash(middle, end))
                end = middle
            else:
                path.append(self._hash(begin, middle))
                begin = middle
        path.reverse()
        return path

    def consistency(self, old_size: int, size: int) -> list[bytes]:
        """What proves that the first ``size`` lines begin with the first ``old_size`` (section 2.1.2)."""
        self._require(0 < old_size <= size <= self.size, size)
        path: list[bytes] = []
        begin, end, is_whole = 0, size, True
        while old_size != end:
            middle = begin + _split(end - begin)
            if old_size <= middle:
                path.append(self._hash(middle, end))
                end = middle
            else:
                path.append(self._hash(begin, middle))
                begin, is_whole = middle, False
        if not is_whole:
            path.append(self._hash(begin, end))
        path.reverse()
        return path

    def _hash(self, begin: int, end: int) -> bytes:
        made = self._made.get((begin, end))
        if made is not None:
            return made
        if end - begin == 1:
            if begin < self.before.size:
                raise LeavesMissing(
                    f"The first {self.before.size} lines are needed for this: they are in an older file."
                )
            return self._hashes[begin - self.before.size]
        middle = begin + _split(end - begin)
        hashed = _node_hash(self._hash(begin, middle), self._hash(middle, end))
        if (end - begin).bit_count() == 1:  # of the others there is one for each size that is asked about
            self._made[begin, end] = hashed
        return hashed

    def _require(self, is_there: bool, size: int) -> None:
        if not is_there:
            raise LeavesMissing(f"There are {self.size} lines, and this is about {size}.")


def is_included(hashed: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether a line with this ``leaf_hash`` is number ``index``, from 0, of the ``size`` that the root says."""
    if not 0 <= index < size:
        return False
    place, last = index, size - 1
    for other in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            hashed = _node_hash(other, hashed)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            hashed = _node_hash(hashed, other)
        place, last = place >> 1, last >> 1
    return last == 0 and hashed == root


def is_consistent(old_size: int, size: int, path: Sequence[bytes], old_root: bytes, root: bytes) -> bool:
    """Whether the ``size`` lines of one root begin with the ``old_size`` of the other."""
    if not 0 < old_size <= size:
        return False
    if old_size == size:
        return not path and old_root == root
    rest = list(path)
    if old_size & (old_size - 1) == 0:
        rest.insert(0, old_root)
    if not rest:
        return False
    place, last = old_size - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old_made = made = rest.pop(0)
    for other in rest:
        if last == 0:
            return False
        if place & 1 or place == last:
            old_made, made = _node_hash(other, old_made), _node_hash(other, made)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            made = _node_hash(made, other)
        place, last = place >> 1, last >> 1
    return last == 0 and old_made == old_root and made == root


def _split(count: int) -> int:
    """The largest power of two that is smaller."""
    return 1 << (count - 1).bit_length() - 1


def _bits(number: int) -> Iterator[int]:
    """The powers of two of which a number is the sum, the largest first."""
    for place in range(number.bit_length() - 1, -1, -1):
        if number >> place & 1:
            yield 1 << place
