"""What changes between two texts, line by line and word by word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher

from .body import DiffLine, Segment

__all__ = ["line_changes", "plain", "with_words"]

#: Of the table of two texts: what takes more is shown as gone and new as a whole.
_MOST_CELLS = 250_000
#: The same for the words of two lines, and of all lines together.
_MOST_WORD_CELLS = 40_000
_MOST_CELLS_OF_ALL_WORDS = 400_000
#: What it takes to look at a line is worth so many.
_CELLS_OF_A_LINE = 100
#: Lines of which less is the same have nothing to do with each other.
_ALIKE = 0.5

_WORDS = re.compile(r"\w+|[ \t]+|.")

#: What stays in both, what goes and what comes with a None.
_Pair = tuple[str | None, str | None]


def line_changes(before: str, after: str) -> list[DiffLine]:
    lines: list[DiffLine] = []
    numbers = {"gone": 0, "new": 0}
    for left, right in _compared(before.split("\n"), after.split("\n"), _MOST_CELLS):
        numbers["gone"] += left is not None
        numbers["new"] += right is not None
        if left is not None and right is not None:
            lines.append(DiffLine("same", plain(left), numbers["gone"], numbers["new"]))
        elif left is not None:
            lines.append(DiffLine("gone", plain(left), old=numbers["gone"]))
        else:
            lines.append(DiffLine("new", plain(right or ""), new=numbers["new"]))
    return with_words(lines)


def with_words(lines: Sequence[DiffLine]) -> list[DiffLine]:
    """The same lines; where one stands for another, what differs in them is marked."""
    marked = list(lines)
    begin, room = 0, _MOST_CELLS_OF_ALL_WORDS
    while begin < len(lines):
        middle = _end_of(lines, begin, "gone")
        end = _end_of(lines, middle, "new")
        for gone, new in zip(range(begin, middle), range(middle, end), strict=False):
            if room <= 0:
                return marked
            old_words, new_words = _WORDS.findall(lines[gone].text), _WORDS.findall(lines[new].text)
            cells = len(old_words) * len(new_words)
            room -= cells + _CELLS_OF_A_LINE
            if cells > _MOST_WORD_CELLS:
                continue
            pairs = _compared(old_words, new_words, _MOST_WORD_CELLS)
            if _are_alike(pairs, lines[gone].text, lines[new].text):
                marked[gone] = replace(lines[gone], segments=_segments(pairs, 0))
                marked[new] = replace(lines[new], segments=_segments(pairs, 1))
        begin = max(end, begin + 1)
    return marked


def plain(text: str) -> tuple[Segment, ...]:
    return (Segment(text),)


def _end_of(lines: Sequence[DiffLine], begin: int, kind: str) -> int:
    end = begin
    while end < len(lines) and lines[end].kind == kind:
        end += 1
    return end


def _are_alike(pairs: Sequence[_Pair], before: str, after: str) -> bool:
    same = sum(len(left.strip()) for left, right in pairs if left is not None and right is not None)
    return same >= _ALIKE * min(len(before.strip()), len(after.strip()))


def _segments(pairs: Sequence[_Pair], side: int) -> list[Segment]:
    found: list[Segment] = []
    for pair in pairs:
        text = pair[side]
        if text is None:
            continue
        mark = None if None not in pair else "gone" if side == 0 else "new"
        if found and found[-1].mark == mark:
            found[-1] = replace(found[-1], text=found[-1].text + text)
        else:
            found.append(Segment(text, mark))  # type: ignore[arg-type]  # it is one of the two
    return found


def _compared(old: Sequence[str], new: Sequence[str], most_cells: int) -> list[_Pair]:
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return [
        *((text, text) for text in old[:head]),
        *_between(old[head : len(old) - tail], new[head : len(new) - tail], most_cells),
        *((text, text) for text in old[len(old) - tail :]),
    ]


def _between(old: Sequence[str], new: Sequence[str], most_cells: int) -> Iterator[_Pair]:
    blocks: Sequence[tuple[int, int, int]] = [(len(old), len(new), 0)]
    if len(old) * len(new) <= most_cells:
        blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    old_at = new_at = 0
    for old_begin, new_begin, size in blocks:
        yield from ((text, None) for text in old[old_at:old_begin])
        yield from ((None, text) for text in new[new_at:new_begin])
        yield from ((text, text) for text in old[old_begin : old_begin + size])
        old_at, new_at = old_begin + size, new_begin + size
