"""The conditions of a rule, each asked about a call.

Where a rule allows, a condition holds only if nothing else can be meant; where it asks or denies, if it may be meant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

from .. import later
from ..limits import RiskLevel
from ..parameters import canonical_json
from .grants import quoted
from .regex import Regex
from .text_glob import NameGlob, TextGlob, seen
from .verdict import Call

__all__ = [
    "MISSING",
    "Check",
    "Condition",
    "Equals",
    "Glob",
    "Matches",
    "Names",
    "Parameter",
    "Range",
    "Risks",
    "inner_values",
    "value_at",
]

#: What a pointer leads to that leads nowhere.
MISSING = object()
#: What rules that hold back look at in one value, some tenths of a second; one with more may hold anything.
_MAX_WORK = 10_000
_WORK_PER_VALUE = 5
_CHARACTERS_PER_WORK = 50
#: Longer texts are matched by no expression of a rule that allows, and by every one of a rule that holds back.
_MAX_CHARACTERS = 64 * 1024
_LEADING_NUMBER = later.pattern(r"[^\w.+-]*([+-]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")


class Condition(Protocol):
    """Something that a rule asks of a call."""

    def allows(self, call: Call) -> bool:
        """Whether it holds for a rule that allows."""

    def holds_back(self, call: Call) -> bool:
        """Whether it holds for a rule that asks or denies."""

    def why_not(self, call: Call) -> str:
        """In words, why it does not hold."""


@dataclass(frozen=True)
class Names:
    """One of the names that a call has is one of these: of its tool, its server, its session, or who asks.

    A call whose server nobody tells may be called one of ``joined``: a tool of a server in one word.
    """

    what: str
    globs: Sequence[NameGlob]
    names: Callable[[Call], Sequence[str | None]]
    joined: Sequence[NameGlob] = ()

    @property
    def exact(self) -> Sequence[str] | None:
        """The names, if all of them are told as they are."""
        return [glob.pattern for glob in self.globs] if all(glob.is_exact for glob in self.globs) else None

    def allows(self, call: Call) -> bool:
        return any(glob.allows(name) for name in self.names(call) if name is not None for glob in self.globs)

    def holds_back(self, call: Call) -> bool:
        return any(glob.holds_back(name) for name in self.names(call) if name is not None for glob in self.globs) or (
            bool(self.joined)
            and call.tool.server is None
            and any(glob.holds_back(call.tool.tool_name) for glob in self.joined)
        )

    def may_be(self, name: str) -> bool:
        """Whether one of them may mean this name."""
        return any(glob.holds_back(name) for glob in self.globs)

    def why_not(self, call: Call) -> str:
        given = [quoted(name) for name in self.names(call) if name is not None]
        wanted = " or ".join(quoted(glob.pattern) for glob in self.globs)
        return f"{self.what} {' or '.join(given)} is not {wanted}" if given else f"no {self.what} is told"


@dataclass(frozen=True)
class Risks:
    levels: frozenset[RiskLevel]

    def allows(self, call: Call) -> bool:
        return call.risk_level in self.levels

    holds_back = allows

    def why_not(self, call: Call) -> str:
        return f"risk {call.risk_level} is not {' or '.join(sorted(self.levels, key=('low', 'medium', 'high').index))}"


class Check(Protocol):
    """Something that a rule asks of one parameter."""

    def allows(self, value: Any) -> bool: ...
    def holds_back(self, value: Any) -> bool: ...
    def wanted(self) -> str: ...


@dataclass(frozen=True)
class Parameter:
    """What a JSON pointer leads to is there, and passes all checks."""

    pointer: str
    tokens: Sequence[str]
    checks: Sequence[Check]

    def allows(self, call: Call) -> bool:
        value = value_at(call.parameters, self.tokens)
        return value is not MISSING and all(check.allows(value) for check in self.checks)

    def holds_back(self, call: Call) -> bool:
        value = value_at(call.parameters, self.tokens)
        return value is not MISSING and all(check.holds_back(value) for check in self.checks)

    def why_not(self, call: Call) -> str:
        value = value_at(call.parameters, self.tokens)
        if value is MISSING:
            return f"there is no parameter {quoted(self.pointer)}"
        failing = next(
            (check for check in self.checks if not check.allows(value)),
            self.checks[0],
        )
        return f"parameter {quoted(self.pointer)} is {_shown(value)}, and not {failing.wanted()}"


def value_at(value: Any, tokens: Sequence[str]) -> Any:
    """What a JSON pointer leads to, or ``MISSING``."""
    for token in tokens:
        if isinstance(value, Mapping):
            value = value.get(token, MISSING)
        elif isinstance(value, list) and token.isascii() and token.isdigit() and str(int(token[:9])) == token:
            value = value[int(token)] if int(token) < len(value) else MISSING
        else:
            return MISSING
    return value


@dataclass(frozen=True)
class Glob:
    """A text that is named by a glob, or a list of such texts."""

    glob: TextGlob

    def allows(self, value: Any) -> bool:
        if type(value) is list:
            return bool(value) and all(type(item) is str and self.glob.allows(item) for item in value)
        return type(value) is str and self.glob.allows(value)

    def holds_back(self, value: Any) -> bool:
        return any(
            inner is MISSING or (type(inner) is str and self.glob.holds_back(inner)) for inner in inner_values(value)
        )

    def wanted(self) -> str:
        return f"certainly within {quoted(self.glob.pattern)}"


@dataclass(frozen=True)
class Matches:
    """A text that a regular expression matches from its beginning to its end."""

    regex: Regex

    def allows(self, value: Any) -> bool:
        return type(value) is str and self.is_looked_at(value) and self.regex.matches(value)

    def holds_back(self, value: Any) -> bool:
        return any(inner is MISSING or self._may_match(inner) for inner in inner_values(value))

    def _may_match(self, value: Any) -> bool:
        readings = self.readings_of(value)
        return readings is None or any(map(self.regex.matches, readings))

    @staticmethod
    def is_looked_at(text: str) -> bool:
        """Whether it is not too long."""
        return len(text) <= _MAX_CHARACTERS

    @staticmethod
    def readings_of(value: Any) -> frozenset[str] | None:
        """The texts that a program may read in a value; None where they are too long to be looked at."""
        if type(value) is not str:
            return frozenset({str(value)}) if type(value) in (int, float) else frozenset()
        if len(value) > _MAX_CHARACTERS:
            return None
        return frozenset({value, value.strip(), seen(value)})

    def wanted(self) -> str:
        return f"what {quoted(self.regex.pattern)} matches"


@dataclass(frozen=True)
class Range:
    """A number between two others, which count as between. A text is none, and neither is true."""

    least: int | float | None
    most: int | float | None

    def allows(self, value: Any) -> bool:
        is_number = type(value) is int or (type(value) is float and math.isfinite(value))
        return is_number and self._holds(value)

    def holds_back(self, value: Any) -> bool:
        return any(inner is MISSING or self._may_hold(inner) for inner in inner_values(value))

    def _holds(self, value: int | float | Decimal) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def _may_hold(self, value: Any) -> bool:
        """Some programs read numbers out of texts, from their beginning, and true as 1."""
        if isinstance(value, int | float):
            return value != value or self._holds(value)
        numbers = _numbers(value) if type(value) is str else ()
        return any(number != number or self._holds(number) or self._holds(float(number)) for number in numbers)

    def wanted(self) -> str:
        ends = [f"at least {self.least}"] if self.least is not None else []
        ends += [f"at most {self.most}"] if self.most is not None else []
        return f"a number of {' and '.join(ends)}"


@dataclass(frozen=True)
class Equals:
    """The same JSON: 1 is 1.0, and neither is true or "1"."""

    value: Any
    text: bytes

    @classmethod
    def of(cls, value: Any) -> Equals:
        """Raises ``ValueError`` or ``TypeError`` for what no JSON can be equal to."""
        return cls(value, canonical_json(value))

    def allows(self, value: Any) -> bool:
        if type(value) is str or type(self.value) is str:
            return type(value) is type(self.value) and bool(value == self.value)
        return Equals.text_of(value) == self.text

    def holds_back(self, value: Any) -> bool:
        if self.allows(value):
            return True
        mine = self.readings_of(self.value)
        return any(inner is MISSING or not mine.isdisjoint(Equals.readings_of(inner)) for inner in inner_values(value))

    def wanted(self) -> str:
        return _shown(self.value)

    @staticmethod
    def text_of(value: Any) -> bytes | None:
        """As JSON; None for what is none."""
        try:
            return canonical_json(value)
        except (ValueError, TypeError, RecursionError):
            return None

    @staticmethod
    def readings_of(value: Any) -> frozenset[str | bytes]:
        """What a program may take a value for that does not look at types."""
        if isinstance(value, bool):
            return frozenset({"true", "1"} if value else {"false", "0"})
        if isinstance(value, str):
            text = seen(value).partition("\0")[0].strip().casefold()
            number = _number(text)
            return frozenset(
                {text} if number is None or number != number else {text, format(number.normalize(), "f")[:400]}
            )
        if isinstance(value, int):
            return frozenset({str(value) if abs(value) < 10**400 else "huge"})
        text_of = Equals.text_of(value)
        return frozenset() if text_of is None else frozenset({text_of.decode()})


def _numbers(text: str) -> Iterator[Decimal]:
    """What somebody may read in a text: ``1,000 EUR`` is 1000, or 1."""
    begins = _LEADING_NUMBER.match(text)
    some = {text} if begins is None else {text, begins[1], begins[1].replace(",", ""), begins[1].partition(",")[0]}
    return (number for number in map(_number, some) if number is not None)


def _number(text: str) -> Decimal | None:
    text = text.strip()
    if not text or len(text) > 5000:
        return None
    try:
        number = Decimal(text)
    except (InvalidOperation, ValueError):
        try:
            return Decimal(int(text, 0))
        except ValueError:
            return None
    return number if number.is_nan() or number.is_infinite() or abs(number.adjusted()) < 10_000 else Decimal("nan")


def inner_values(value: Any) -> Iterator[Any]:
    """A value and all values in it; ``MISSING`` in the place of what is too much to look at."""
    waiting, left = [value], _MAX_WORK
    while waiting:
        inner = waiting.pop()
        yield inner
        if isinstance(inner, str):
            left -= len(inner) // _CHARACTERS_PER_WORK
        elif isinstance(inner, Mapping | list | tuple):
            left -= len(inner) * _WORK_PER_VALUE
            if left >= 0:
                waiting += inner.values() if isinstance(inner, Mapping) else inner
        if left < 0:
            waiting = [] if inner is MISSING else [MISSING]


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    text = Equals.text_of(value)
    return quoted("what is no JSON" if text is None else text.decode())[1:-1].replace('\\"', '"')
