"""Of many rules those that may match a call: each rule stands under what a call must have for it.

A key of a rule is there in every call that the rule matches, so that no rule is ever passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any

from .command_pattern import programs_in
from .matching import MISSING, Check, Equals, Glob, Names, inner_values, value_at
from .rules import PolicyRule
from .shell import CommandReading
from .text_glob import PathRoots, beginnings, beginnings_held_back
from .verdict import Call

__all__ = ["Ranked", "RuleIndex"]

#: A rule and its place among all, the strictest first.
Ranked = tuple[int, PolicyRule]

_Table = dict[Hashable, list[Ranked]]


class RuleIndex:
    """Rules that fit a call but for its session, its parameters and what it runs."""

    def __init__(self, rules: Sequence[Ranked], roots: PathRoots) -> None:
        self._roots = roots
        self._always: list[Ranked] = []
        self._of_session: _Table = {}
        self._of_words: _Table = {}
        self._of_words_held_back: _Table = {}
        #: By the first name of a pointer, so that no pointer is followed whose beginning is not there.
        self._of_parameter: dict[str, dict[Sequence[str], _OfValue]] = {}
        for ranked in rules:
            self._add(ranked)

    def candidates(self, call: Call, reading: CommandReading | None) -> Sequence[Ranked]:
        """The rules that may match, the strictest first."""
        found = list(_under(self._of_session, (call.session_id,)))
        if reading is not None and self._of_words:
            words = {key for part in reading.parts for key in (part[:1], part[:2])}
            found += _under(self._of_words, words)
        if reading is not None and self._of_words_held_back:
            told = {_plain(word) for part in reading.parts for word in part}
            found += _under(self._of_words_held_back, told | programs_in(reading))
        if self._of_parameter:
            for name in call.parameters:
                for tokens, of_value in self._of_parameter.get(name, {}).items():
                    found += of_value.candidates(value_at(call.parameters, tokens), self._roots)
        return sorted(dict([*self._always, *found]).items()) if found else self._always

    def _add(self, ranked: Ranked) -> None:
        rule = ranked[1]
        session = rule.conditions.get("session")
        if isinstance(session, Names) and session.exact is not None:
            _put(self._of_session, session.exact, ranked)
        elif (words := _words(rule)) is not None:
            _put(self._of_words if rule.effect == "allow" else self._of_words_held_back, words, ranked)
        elif (parameter := next((one for one in rule.parameters if one.tokens), None)) is not None:
            pointers = self._of_parameter.setdefault(parameter.tokens[0], {})
            pointers.setdefault(parameter.tokens, _OfValue()).add(ranked, parameter.checks)
        else:
            self._always.append(ranked)


class _OfValue:
    """Rules about what one pointer leads to."""

    def __init__(self) -> None:
        self._always: list[Ranked] = []
        self._tables: dict[tuple[type, bool], _Table] = {}

    def add(self, ranked: Ranked, checks: Sequence[Check]) -> None:
        is_allow = ranked[1].effect == "allow"
        for check in checks:
            keys = _keys(check, is_allow)
            if keys:
                _put(self._tables.setdefault((type(check), is_allow), {}), keys, ranked)
                return
        self._always.append(ranked)

    def candidates(self, value: Any, roots: PathRoots) -> Iterable[Ranked]:
        if value is MISSING:
            return
        yield from self._always
        for kind, table in self._tables.items():
            keys = _KEYS_OF[kind](value, roots)
            if keys is None:
                for rules in table.values():
                    yield from rules
            else:
                yield from _under(table, keys)


def _words(rule: PolicyRule) -> Collection[Hashable] | None:
    """The first words of what it allows, or the words of what it holds back; None where they may be any."""
    keys: list[Hashable] = []
    for pattern in rule.commands:
        literal = [word.text for word in pattern.words if word.expression is None]
        if pattern.program is None:
            return None
        if rule.effect == "allow":
            has_second = len(pattern.words) > 1 and pattern.words[1].expression is None
            keys.append((pattern.program, pattern.words[1].text) if has_second else (pattern.program,))
        else:
            operands = [word.text for word in pattern.words[1:] if word.expression is None and not word.is_option]
            keys.append(_plain((operands or literal)[0]))
    return keys or None


def _plain(word: str) -> str:
    return word.rpartition("/")[2].casefold()


def _keys(check: Check, is_allow: bool) -> Collection[Hashable]:
    """What a value must have that passes a check; nothing where it may have anything."""
    if isinstance(check, Equals) and not isinstance(check.value, list | dict):
        return (check.text,) if is_allow else check.readings_of(check.value)
    if isinstance(check, Glob):
        return check.glob.beginnings(is_allow)
    return ()


def _equal(value: Any, roots: PathRoots) -> Collection[Hashable] | None:
    text = Equals.text_of(value) if isinstance(value, str | int | float | None) else None
    return () if text is None else (text,)


def _equal_held_back(value: Any, roots: PathRoots) -> Collection[Hashable] | None:
    keys: set[Hashable] = set()
    for inner in inner_values(value):
        if inner is MISSING:
            return None
        keys |= Equals.readings_of(inner)
    return keys


def _within(value: Any, roots: PathRoots) -> Collection[Hashable] | None:
    text = value[0] if type(value) is list and value else value
    return beginnings(text, roots) if type(text) is str else ()


def _within_held_back(value: Any, roots: PathRoots) -> Collection[Hashable] | None:
    keys: set[Hashable] = set()
    for inner in inner_values(value):
        found = beginnings_held_back(inner, roots) if type(inner) is str else () if inner is not MISSING else None
        if found is None:
            return None
        keys.update(found)
    return keys


_KEYS_OF: Mapping[tuple[type, bool], Callable[[Any, PathRoots], Collection[Hashable] | None]] = {
    (Equals, True): _equal,
    (Equals, False): _equal_held_back,
    (Glob, True): _within,
    (Glob, False): _within_held_back,
}


def _put(table: _Table, keys: Iterable[Hashable], ranked: Ranked) -> None:
    for key in keys:
        table.setdefault(key, []).append(ranked)


def _under(table: _Table, keys: Iterable[Hashable]) -> Iterable[Ranked]:
    if table:
        for key in keys:
            yield from table.get(key, ())
