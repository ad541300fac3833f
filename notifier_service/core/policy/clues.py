"""Finds rules by what must stand in a text that they match: a whole name, or a few characters in a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

from .. import later

__all__ = ["Clue", "Clues", "runs_in", "usable"]

#: So many characters in a row are looked up, and as few where there are no more.
_LONGEST, _SHORTEST = 4, 3
_BETWEEN_RUNS = later.pattern(r"[*?]|\[!?\]?[^\]]*\]")

T = TypeVar("T")


class Clue(NamedTuple):
    """What must stand in a text: one of the ``names`` as a whole, or the ``run`` somewhere."""

    names: Sequence[Hashable] = ()
    run: str = ""


class Clues(Generic[T]):
    """Each entry stands under that of its clues which the fewest others have."""

    def __init__(self, entries: Iterable[tuple[T, Sequence[Clue]]]) -> None:
        given = [(entry, [short for clue in clues for short in _shortened(clue)]) for entry, clues in entries]
        frequency = Counter(clue for _, clues in given for clue in clues)
        self._of_name: dict[Hashable, list[T]] = {}
        self._of_run: dict[str, list[T]] = {}
        for entry, clues in given:
            clue = min(clues, key=frequency.__getitem__)
            for name in clue.names:
                self._of_name.setdefault(name, []).append(entry)
            if clue.run:
                self._of_run.setdefault(clue.run, []).append(entry)
        self._lengths = {len(run) for run in self._of_run}

    def under(self, names: Iterable[Hashable], texts: Iterable[str]) -> Iterator[T]:
        """All of which a clue is there."""
        if self._of_name:
            for name in names:
                yield from self._of_name.get(name, ())
        if self._of_run:
            for run in {text[at : at + n] for text in texts for n in self._lengths for at in range(len(text) - n + 1)}:
                yield from self._of_run.get(run, ())


def usable(clues: Iterable[Clue]) -> Sequence[Clue]:
    """Those by which something can be found."""
    return [clue for clue in clues if clue.names or len(clue.run) >= _SHORTEST]


def runs_in(glob: str) -> Iterator[str]:
    """The characters in a row that stand for themselves in a glob."""
    return filter(None, _BETWEEN_RUNS.split(glob))


def _shortened(clue: Clue) -> Iterator[Clue]:
    if clue.names:
        yield clue
    length = min(_LONGEST, len(clue.run))
    for at in range(len(clue.run) - length + 1 if clue.run else 0):
        yield Clue(run=clue.run[at : at + length])
