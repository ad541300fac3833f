"""Of many rules those that may match a call: each rule stands under what a call must have for it.

What a rule stands under is there in every call that the rule matches, so that no rule is ever passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .clues import Clue, Clues, usable
from .command_pattern import is_huge, words_held_back
from .matching import MISSING, Check, Equals, Glob, Matches, Names, inner_values, value_at
from .rules import PolicyRule
from .shell import CommandReading
from .text_glob import PathRoots, names_held_back, names_in
from .verdict import Call

__all__ = ["Ranked", "RuleIndex"]

#: A rule and its place among all, the strictest first.
Ranked = tuple[int, PolicyRule]

_Table = dict[Hashable, list[Ranked]]
_Entries = list[tuple[Ranked, Sequence[Clue]]]


class RuleIndex:
    """Rules that fit a call but for its session, its parameters and what it runs."""

    def __init__(self, rules: Sequence[Ranked], roots: PathRoots) -> None:
        self._roots = roots
        self._always: list[Ranked] = []
        self._of_session: _Table = {}
        allowed: _Entries = []
        held_back: _Entries = []
        of_parameter: dict[str, dict[Sequence[str], list[tuple[Ranked, Check]]]] = {}
        for ranked in rules:
            rule = ranked[1]
            session = rule.conditions.get("session")
            if rule.commands and all(clues := [usable(one.clues(rule.effect == "allow")) for one in rule.commands]):
                (allowed if rule.effect == "allow" else held_back).extend((ranked, of_one) for of_one in clues)
            elif (best := _most_telling(rule)) is not None:
                pointers = of_parameter.setdefault(best.tokens[0], {})
                pointers.setdefault(best.tokens, []).append((ranked, best.check))
            elif isinstance(session, Names) and session.exact is not None:
                for name in session.exact:
                    self._of_session.setdefault(name, []).append(ranked)
            else:
                self._always.append(ranked)
        self._of_words = Clues(allowed)
        self._of_words_held_back = Clues(held_back)
        self._held_back_by_words = [ranked for ranked, _ in held_back]
        self._has_words, self._has_words_held_back = bool(allowed), bool(held_back)
        #: By the first name of a pointer, so that no pointer is followed whose beginning is not there.
        self._of_parameter = {
            name: {tokens: _OfValue(entries) for tokens, entries in pointers.items()}
            for name, pointers in of_parameter.items()
        }

    def candidates(self, call: Call, reading: CommandReading | None) -> Sequence[Ranked]:
        """The rules that may match, the strictest first."""
        found = list(self._of_session.get(call.session_id, ()))
        if reading is not None and self._has_words:
            words = {word for part in reading.parts for word in part}
            found += self._of_words.under(words, words)
        if reading is not None and is_huge(reading):
            found += self._held_back_by_words
        elif reading is not None and self._has_words_held_back:
            found += self._of_words_held_back.under(*words_held_back(reading))
        if self._of_parameter:
            for name in call.parameters:
                for tokens, of_value in self._of_parameter.get(name, {}).items():
                    found += of_value.candidates(value_at(call.parameters, tokens), self._roots)
        return sorted(dict([*self._always, *found]).items()) if found else self._always


class _Telling(NamedTuple):
    tokens: Sequence[str]
    check: Check


def _most_telling(rule: PolicyRule) -> _Telling | None:
    """The check of a parameter by which a rule is found best: what it equals, a glob, an expression, any other."""
    checks = [_Telling(one.tokens, check) for one in rule.parameters if one.tokens for check in one.checks]
    return min(checks, key=lambda one: _how_telling(one.check, rule.effect == "allow"), default=None)


def _how_telling(check: Check, is_allow: bool) -> int:
    if isinstance(check, Equals) and not isinstance(check.value, list | dict):
        return 0
    return 2 if not _clues(check, is_allow) else 1


def _clues(check: Check, is_allow: bool) -> Sequence[Sequence[Clue]]:
    """Of each pattern of a check what must stand in a text; nothing where that may be anything."""
    patterns: Sequence[Iterable[Clue]] = ()
    if isinstance(check, Glob):
        patterns = check.glob.clues(is_allow)
    elif isinstance(check, Matches):
        patterns = [[Clue(run=run.casefold()) for run in check.regex.runs]]
    clues = [usable(of_one) for of_one in patterns]
    return clues if all(clues) else ()


class _OfValue:
    """Rules about what one pointer leads to."""

    def __init__(self, entries: Iterable[tuple[Ranked, Check]]) -> None:
        self._always: list[Ranked] = []
        self._tables: dict[bool, _Table] = {}
        clued: dict[tuple[type, bool], _Entries] = {}
        for ranked, check in entries:
            is_allow = ranked[1].effect == "allow"
            if isinstance(check, Equals) and not isinstance(check.value, list | dict):
                table = self._tables.setdefault(is_allow, {})
                for key in (check.text,) if is_allow else check.readings_of(check.value):
                    table.setdefault(key, []).append(ranked)
            elif clues := _clues(check, is_allow):
                clued.setdefault((type(check), is_allow), []).extend((ranked, of_one) for of_one in clues)
            else:
                self._always.append(ranked)
        self._clues = [(_STANDING_IN[kind], [entry for entry, _ in some], Clues(some)) for kind, some in clued.items()]

    def candidates(self, value: Any, roots: PathRoots) -> Iterator[Ranked]:
        if value is MISSING:
            return
        yield from self._always
        for is_allow, table in self._tables.items():
            keys = _equal(value) if is_allow else _equal_held_back(value)
            for found in table.values() if keys is None else (table[key] for key in keys if key in table):
                yield from found
        for standing_in, every, clues in self._clues:
            there = standing_in(value, roots)
            yield from every if there is None else clues.under(*there)


def _equal(value: Any) -> Collection[Hashable] | None:
    text = Equals.text_of(value) if isinstance(value, str | int | float | None) else None
    return () if text is None else (text,)


def _equal_held_back(value: Any) -> Collection[Hashable] | None:
    keys: set[Hashable] = set()
    for inner in inner_values(value):
        if inner is MISSING:
            return None
        keys |= Equals.readings_of(inner)
    return keys


#: The names, and the texts, in a value; None where that is anything.
_Standing = tuple[Collection[Hashable], Collection[str]] | None


def _within(value: Any, roots: PathRoots) -> _Standing:
    text = value[0] if type(value) is list and value else value
    return names_in(text, roots) if type(text) is str else ((), ())


def _within_held_back(value: Any, roots: PathRoots) -> _Standing:
    names: set[Hashable] = set()
    texts: set[str] = set()
    for inner in inner_values(value):
        found = names_held_back(inner, roots) if type(inner) is str else ((), ()) if inner is not MISSING else None
        if found is None:
            return None
        names |= set(found[0])
        texts |= set(found[1])
    return names, texts


def _matching(value: Any, roots: PathRoots) -> _Standing:
    return (), (value.casefold(),) if type(value) is str and Matches.is_looked_at(value) else ()


def _matching_held_back(value: Any, roots: PathRoots) -> _Standing:
    texts: set[str] = set()
    for inner in inner_values(value):
        readings = None if inner is MISSING else Matches.readings_of(inner)
        if readings is None:
            return None
        texts.update(text.casefold() for text in readings)
    return (), texts


_STANDING_IN: Mapping[tuple[type, bool], Callable[[Any, PathRoots], _Standing]] = {
    (Glob, True): _within,
    (Glob, False): _within_held_back,
    (Matches, True): _matching,
    (Matches, False): _matching_held_back,
}
