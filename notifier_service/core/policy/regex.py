"""Regular expressions that cannot run away: one pass over the text, whatever the pattern and whoever wrote the text."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

from .. import later

__all__ = ["BadRegex", "Regex"]

#: Characters, classes and their repetitions: a state is a number of so many bits.
_MAX_PLACES = 1000
#: Steps of building one, so that repetitions of repetitions end soon.
_MAX_STEPS = 20_000
_MAX_DEPTH = 50
#: Sets of places and what follows them, that one expression remembers.
_MAX_REMEMBERED = 4096

_CLASS = later.pattern(r"\[\^?\]?(?:[^\]\\]|\\.)*\]", re.DOTALL)
_DOUBTFUL = later.pattern(r"^\[\^?\[|--|&&|~~|\|\|")
_ESCAPE = later.pattern(r"\\(?:[dDwWsSnrtfv]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[^A-Za-z0-9])", re.DOTALL)
_COUNT = later.pattern(r"\{(\d{1,4})(?:(,)(\d{1,4})?)?\}")
_GROUP = later.pattern(r"\((?:\?:|\?P<[A-Za-z_]\w*>|(?!\?))")
_FLAGS = later.pattern(r"\(\?([is]+)\)")


class BadRegex(ValueError):
    """This is no regular expression of the kind that is used here; the message says why, in words."""


class _Part(NamedTuple):
    """A piece of the expression: whether it matches the empty text, and the places where it begins and ends."""

    is_empty: bool
    first: int
    last: int


class Regex:
    r"""A pattern that a whole text matches or does not, in time that grows with the text's length only.

    Characters, ``.``, classes, groups, ``|``, ``* + ? {m,n}``, and ``(?i)`` ``(?s)`` in front; ``^`` and ``$`` at the
    ends say what holds anyway. ``\d \w \s`` are those of ASCII. What looks around or back is no such pattern.
    Raises ``BadRegex``.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        flags = re.ASCII
        if (given := _FLAGS.match(pattern)) is not None:
            flags |= (re.IGNORECASE if "i" in given[1] else 0) | (re.DOTALL if "s" in given[1] else 0)
            pattern = pattern[given.end() :]
        self._flags = flags
        self._atoms: list[re.Pattern[str]] = []
        self._atom_of: dict[str, int] = {}
        self._places: list[int] = []  # of each place the atom
        self._follow: list[int] = []  # of each place those that may come behind it
        self._steps = 0
        #: What stands in every text that it matches, in whichever case.
        self.runs: list[str] = [""]
        self._whole = self._build(pattern.removeprefix("^"))
        try:
            re.compile(pattern)  # what is read here without a look at whether its parts fit
        except re.error as error:
            raise BadRegex(f"it does not compile: {error}") from None
        self._of_atom = [0] * len(self._atoms)
        for place, atom in enumerate(self._places):
            self._of_atom[atom] |= 1 << place
        self._admitted: dict[str, int] = {}
        self._behind: dict[int, int] = {}
        self._behind_eight: list[dict[int, int]] = [{0: 0} for _ in range(0, len(self._places), 8)]

    def matches(self, text: str) -> bool:
        """Whether it matches the whole of a text."""
        admitted, behind = self._admitted, self._behind
        reached, here = self._whole.first, 0
        for mark in text:
            places = admitted.get(mark)
            here = reached & (self._admit(mark) if places is None else places)
            if not here:
                return False
            following = behind.get(here)
            reached = self._behind_of(here) if following is None else following
        return bool(here & self._whole.last) if text else self._whole.is_empty

    def _admit(self, mark: str) -> int:
        """The places that admit a character."""
        places = 0
        for atom, of_atom in zip(self._atoms, self._of_atom, strict=True):
            if atom.fullmatch(mark):
                places |= of_atom
        _remember(self._admitted, mark, places)
        return places

    def _behind_of(self, here: int) -> int:
        """The places behind any of these, put together of eights: an expression may have many sets of places."""
        following = 0
        for number, known in enumerate(self._behind_eight):
            eight = here >> number * 8 & 255
            more = known.get(eight)
            if more is None:
                more = 0
                for place in _bits(eight):
                    more |= self._follow[number * 8 + place]
                known[eight] = more
            following |= more
        _remember(self._behind, here, following)
        return following

    # The places of an expression, and what may follow each of them (Glushkov's automaton)

    def _build(self, pattern: str) -> _Part:
        whole, at = self._choice(pattern, 0, 0)
        if at < len(pattern):
            raise BadRegex("a group ends that does not begin")
        return whole

    def _choice(self, pattern: str, at: int, depth: int) -> tuple[_Part, int]:
        if depth > _MAX_DEPTH:
            raise BadRegex(f"its groups are deeper than {_MAX_DEPTH}")
        choice, at = self._sequence(pattern, at, depth)
        while pattern.startswith("|", at):
            if depth == 0:
                self.runs.clear()
            other, at = self._sequence(pattern, at + 1, depth)
            choice = _Part(choice.is_empty or other.is_empty, choice.first | other.first, choice.last | other.last)
        return choice, at

    def _sequence(self, pattern: str, at: int, depth: int) -> tuple[_Part, int]:
        sequence = _Part(True, 0, 0)
        while at < len(pattern) and pattern[at] not in "|)":
            if pattern[at:] == "$" and depth == 0:
                return sequence, len(pattern)
            begin = at
            item, end = self._item(pattern, at, depth)
            count, at = _repetition(pattern, end)
            if depth == 0 and self.runs:
                self._note(pattern[begin:end], count)
            if count is not None:
                item = self._repeated(pattern[begin:], item, *count, depth)
            sequence = self._joined(sequence, item)
        return sequence, at

    def _note(self, source: str, count: tuple[int, int | None] | None) -> None:
        """Lengthen the run that stands in every text, or end it."""
        mark = source[-1]
        is_mark = source == mark != "." or (source == f"\\{mark}" and not mark.isalnum())
        if is_mark and (count is None or count[0]):
            self.runs[-1] += mark
        if not is_mark or count is not None:
            self.runs.append("")

    def _item(self, pattern: str, at: int, depth: int) -> tuple[_Part, int]:
        mark = pattern[at]
        if mark == "(":
            group = _GROUP.match(pattern, at)
            if group is None:
                raise BadRegex("it looks around, back, or has another extension of groups")
            inner, at = self._choice(pattern, group.end(), depth + 1)
            return inner, at + 1  # re.compile() saw that it ends
        if mark in "^$":
            raise BadRegex(f"{mark} stands within it: it is anchored at both ends, and there alone")
        found = {"[": _CLASS, "\\": _ESCAPE}.get(mark)
        if found is None:
            return self._place(mark if mark == "." else re.escape(mark)), at + 1
        atom = found.match(pattern, at)
        if atom is None:
            raise BadRegex(f"it has {pattern[at : at + 2]!r}, which is not of the kind that is used here")
        if mark == "[" and _DOUBTFUL.search(atom[0]) is not None:
            raise BadRegex(f"{atom[0]} looks like a set within a set: write [ - & ~ | as \\[ and so on")
        return self._place(atom[0]), atom.end()

    def _place(self, source: str) -> _Part:
        if len(self._places) >= _MAX_PLACES:
            raise BadRegex(f"it is too large: with its repetitions it has more than {_MAX_PLACES} characters")
        atom = self._atom_of.get(source)
        if atom is None:
            try:
                compiled = re.compile(source, self._flags)
            except re.error as error:
                raise BadRegex(f"it does not compile: {error}") from None
            if source.startswith("[^") and not _admits_something(compiled):
                raise BadRegex(f"{source} matches no character at all")
            atom = self._atom_of[source] = len(self._atoms)
            self._atoms.append(compiled)
        place = 1 << len(self._places)
        self._places.append(atom)
        self._follow.append(0)
        return _Part(False, place, place)

    def _joined(self, one: _Part, other: _Part) -> _Part:
        for place in _bits(one.last):
            self._follow[place] |= other.first
        return _Part(
            one.is_empty and other.is_empty,
            one.first | other.first if one.is_empty else one.first,
            one.last | other.last if other.is_empty else other.last,
        )

    def _repeated(self, source: str, item: _Part, least: int, most: int | None, depth: int) -> _Part:
        """So many of an item; each but the first is built anew from its source."""
        copies = max(least, 1) if most is None else most
        whole, behind = item, item
        if copies == 0:
            return _Part(True, 0, 0)
        parts = [item]
        for _ in range(copies - 1):
            self._steps += 1
            if self._steps > _MAX_STEPS:
                raise BadRegex("it is too large: it repeats repetitions")
            parts.append(self._item(source, 0, depth)[0])
        if most is None:
            last = parts[-1]
            for place in _bits(last.last):
                self._follow[place] |= last.first
        for number, part in enumerate(parts):
            behind = part._replace(is_empty=True) if number >= least else part
            whole = behind if number == 0 else self._joined(whole, behind)
        return whole


def _repetition(pattern: str, at: int) -> tuple[tuple[int, int | None] | None, int]:
    mark = pattern[at : at + 1]
    count: tuple[int, int | None]
    if mark and mark in "*+?":
        count, at = {"*": (0, None), "+": (1, None), "?": (0, 1)}[mark], at + 1
    elif (given := _COUNT.match(pattern, at)) is not None:
        least = int(given[1])
        most = least if given[2] is None else None if given[3] is None else int(given[3])
        count, at = (least, most), given.end()
    elif mark == "{":
        raise BadRegex("a { stands alone: \\{ is the character")
    else:
        return None, at
    if pattern.startswith("+", at):
        raise BadRegex("it has a possessive repetition")
    if pattern.startswith("?", at):
        at += 1  # as few as may be: that changes nothing of whether the whole matches
    return count, at


def _bits(number: int) -> Iterator[int]:
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest


def _remember(known: dict[str, int] | dict[int, int], key: str | int, value: int) -> None:
    if len(known) >= _MAX_REMEMBERED:
        known.clear()
    known[key] = value  # type: ignore[index]  # each with keys of its own kind


def _admits_something(atom: re.Pattern[str]) -> bool:
    if atom.search("".join(map(chr, range(128)))) is not None:
        return True
    return any(atom.match(chr(number)) for number in range(128, sys.maxunicode + 1))
