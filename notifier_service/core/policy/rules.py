"""What a policy file says: its rules, read strictly; what does not load is told by its line, in words."""

from __future__ import annotations

import hashlib
import re
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from datetime import time as day_time
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

from pydantic import ValidationError

from .. import later
from ..errors import InvalidInput
from ..events import Place
from ..limits import RiskLevel
from .binding import Bound, Learned
from .command_pattern import CommandPattern
from .grants import quoted
from .matching import MISSING, Check, Condition, Equals, Glob, Matches, Names, Parameter, Range, Risks, value_at
from .reach import Reach
from .regex import BadRegex, Regex
from .shell import COMMAND_PARAMETERS, CommandReading, read_call
from .text_glob import BadGlob, NameGlob, PathRoots, TextGlob
from .toml_lines import Path, line_of, line_that_is_too_deep, lines_of
from .tool_names import certain_name, joined_names, possible_servers, spellings
from .verdict import AskedTool, Call, Effect

__all__ = ["Default", "Example", "PolicyRule", "PolicyText", "RatedTools", "read_policy"]

#: What holds where no rule matches; never to allow.
Default = Literal["by-risk", "ask", "deny"]

_MAX_RULES = 10_000
_MAX_NAME = 256
#: Tools and servers of one rule of which each name that both have together is looked for.
_MAX_JOINED = 1000
#: Patterns that are told where none of them fits.
_MAX_TOLD = 4
_LINE = later.pattern(r" ?\(at (?:line (\d+), column \d+|end of document)\)")
_FIELDS = (
    "name", "effect", "tool", "server", "session", "agent", "risk", "parameters", "command", "justification", "until",
    "match", "not_match", "learned", "reach",
)  # fmt: skip
_SAID = ("tool", "server", "session", "agent", "risk", "reach", "parameters", "command")
_CHECKS = ("glob", "min", "max", "equals", "regex")
_EXAMPLE_FIELDS = ("tool", "server", "session", "agent", "risk", "parameters")


class Example(NamedTuple):
    """A call in the file that a rule must match, or must not. What it does not tell is as the rule wants it."""

    call: Call
    told: frozenset[str]
    is_match: bool
    line: int


@dataclass(frozen=True)
class PolicyRule:
    """One rule of a policy file."""

    name: str
    effect: Effect
    line: int = 0
    #: What stands for itself, by the field of the file that says it.
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    #: Where a call may lead, for a rule that holds back.
    reach: Reach | None = None
    parameters: Sequence[Parameter] = ()
    commands: Sequence[CommandPattern] = ()
    until: datetime | None = None
    justification: str | None = None
    examples: Sequence[Example] = ()
    #: Its conditions in the words of the file.
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rule_id(self) -> str:
        """The same whenever the file is read, as long as the rule has its name."""
        return f"file_{hashlib.sha256(self.name.encode()).hexdigest()[:24]}"

    def failing(self, call: Call, told: frozenset[str] | None = None) -> Condition | None:
        """The first condition that does not hold, beside those about the time and the command.

        With ``told`` only these fields of the call count, and its parameters.
        """
        told_of = (condition for name, condition in self.conditions.items() if told is None or name in told)
        allow = self.effect == "allow"
        for condition in (*told_of, *self._of_parameters):
            if not (condition.allows(call) if allow else condition.holds_back(call)):
                return condition
        return None

    @property
    def _of_parameters(self) -> Sequence[Condition]:
        """What it asks of the parameters of a call."""
        return self.parameters if self.reach is None else (self.reach, *self.parameters)

    def fits(self, call: Call) -> bool:
        """Whether nothing fails of a rule that fits the call's tool, server, agent and risk."""
        return all(test(call) for test in self._tests)

    @cached_property
    def _tests(self) -> Sequence[Callable[[Call], bool]]:
        of_call = [self.conditions[name] for name in ("session", "learned") if name in self.conditions]
        tested: Sequence[Condition] = [*of_call, *self._of_parameters]
        return [one.allows if self.effect == "allow" else one.holds_back for one in tested]

    def is_over(self, now: float) -> bool:
        """Whether its ``until`` has passed."""
        return self.until is not None and now >= self.until.timestamp()

    def parts(self, reading: CommandReading | None, call: Call) -> frozenset[int] | None:
        """Which parts of a command it allows; None where the call holds no command and the rule wants none."""
        if reading is None:
            return frozenset() if self.commands else None
        if self._names_the_text(reading, call):
            return frozenset(range(max(len(reading.parts), 1)))
        if reading.not_understood is not None:
            return frozenset()
        if not self.commands:
            return frozenset(range(len(reading.parts)))
        return frozenset(
            number
            for number, words in enumerate(reading.parts)
            if any(pattern.allows(words) for pattern in self._commands_of(words[0]))
        )

    def _commands_of(self, program: str) -> Sequence[CommandPattern]:
        """The patterns that may allow a command of this program."""
        of_any = self._commands_by_program.get(None, ())
        return (*self._commands_by_program.get(program, ()), *of_any)

    @cached_property
    def _commands_by_program(self) -> Mapping[str | None, Sequence[CommandPattern]]:
        """By the program that they name; those that name several stand under None."""
        of: dict[str | None, list[CommandPattern]] = {}
        for pattern in self.commands:
            of.setdefault(pattern.program, []).append(pattern)
        return of

    def _names_the_text(self, reading: CommandReading, call: Call) -> bool:
        """A rule with ``equals`` for the command itself names it, whatever it holds, but for what stands beside it."""
        return not self.commands and any(
            len(parameter.tokens) == 1
            and parameter.tokens[0] in COMMAND_PARAMETERS
            and any(isinstance(check, Equals) for check in parameter.checks)
            and reading.text == call.parameters.get(parameter.tokens[0])
            for parameter in self.parameters
        )

    def holds_back(self, reading: CommandReading | None) -> bool:
        """Whether what a call runs is what a rule that asks or denies means."""
        if not self.commands:
            return True
        return reading is not None and any(pattern.holds_back(reading) for pattern in self.commands)

    def matches_command(self, reading: CommandReading | None, call: Call) -> bool:
        """Whether this rule alone matches what a call runs."""
        if self.effect != "allow":
            return self.holds_back(reading)
        parts = self.parts(reading, call)
        return parts is None or (reading is not None and len(parts) >= max(len(reading.parts), 1))

    def why_not_command(self, reading: CommandReading | None, call: Call) -> str:
        """In words, why what a call runs is not what the rule means."""
        if reading is None:
            return f"the call has no parameter {', '.join(COMMAND_PARAMETERS)}"
        if self.effect != "allow":
            return f"nothing that it runs is {_any_of(pattern.text for pattern in self.commands)}"
        if reading.not_understood is not None:
            return f"the command is not understood: {reading.not_understood}"
        allowed = self.parts(reading, call) or frozenset()
        other = next(words for number, words in enumerate(reading.parts) if number not in allowed)
        return f"{quoted(' '.join(other))} is not {_any_of(pattern.text for pattern in self.commands)}"


class RatedTools:
    """How a file rates tools: exact names before globs, and of globs the highest."""

    def __init__(self, rated: Sequence[tuple[NameGlob, NameGlob, RiskLevel]] = ()) -> None:
        self._rated = rated

    def risk_of(self, tool_name: str, server: str | None) -> RiskLevel | None:
        found: list[tuple[int, int, RiskLevel]] = []
        for of_server, of_tool, risk in self._rated:
            fits_server = of_server.pattern == "*" or (server is not None and _rates(of_server, server, risk))
            if fits_server and _rates(of_tool, tool_name, risk):
                exactness = 2 * of_tool.is_exact + of_server.is_exact
                found.append((exactness, get_args(RiskLevel).index(risk), risk))
        return max(found)[2] if found else None


def _rates(glob: NameGlob, name: str, risk: RiskLevel) -> bool:
    """A rating that makes a tool harmless holds for what it names only, one that does not also for look-alikes."""
    return glob.allows(name) if risk == "low" else glob.holds_back(name)


class PolicyText(NamedTuple):
    """All that a policy file says."""

    default: Default = "by-risk"
    rules: Sequence[PolicyRule] = ()
    rated: RatedTools = RatedTools()
    roots: PathRoots = PathRoots()
    #: ``FILE:LINE: …``, of what loads and does nothing.
    warnings: Sequence[str] = ()


def read_policy(text: str, file: str, *, home: str | None = None) -> PolicyText:
    """Read a policy, run its examples, or raise ``InvalidInput`` with ``FILE:LINE: reason``."""
    try:
        if (deep := line_that_is_too_deep(text)) is not None:
            raise _Refused(deep, "it is nested too deeply")
        try:
            document = tomllib.loads(text)
            lines = lines_of(text)
        except tomllib.TOMLDecodeError as error:
            place = _LINE.search(str(error))
            line = int(place[1]) if place is not None and place[1] else text.count("\n") + (not text.endswith("\n"))
            raise _Refused(max(line, 1), f"this is no TOML: {_LINE.sub('', str(error))}") from None
        except ValueError:  # of numbers with thousands of digits
            number = re.search(r"[0-9_]{4000,}", text)
            line = 1 + (0 if number is None else text.count("\n", 0, number.start()))
            raise _Refused(line, "a number has too many digits") from None
        except RecursionError:
            raise _Refused(1, "it is nested too deeply") from None
        return _Reader(document, lines, home, file).read()
    except _Refused as refused:
        raise InvalidInput(f"{file}:{refused.line}: {refused.reason}", line=refused.line) from None


class _Refused(Exception):
    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


class _Reader:
    def __init__(self, document: Mapping[str, Any], lines: Mapping[Path, int], home: str | None, file: str) -> None:
        self._document = document
        self._lines = lines
        self._home = home
        self._file = file
        self._roots = PathRoots(None, home)
        self._whose = ""
        self._warnings: list[str] = []

    def read(self) -> PolicyText:
        document = self._document
        self._known(document, ("default", "workspace", "rule", "risk"), ())
        default = document.get("default", "by-risk")
        if default not in get_args(Default):
            self._refuse(f"default is one of {', '.join(get_args(Default))}, and never to allow", "default")
        workspace = document.get("workspace")
        if workspace is not None:
            workspace = self._text(workspace, "workspace")
            if workspace.startswith("~/") and self._home is not None:
                workspace = self._home + workspace[1:]
            if not workspace.startswith("/") or ".." in workspace.split("/"):
                self._refuse("workspace is a folder from / on, without ..", "workspace")
        self._roots = PathRoots(workspace, self._home)
        rated = RatedTools(tuple(self._rated()))
        tables = document.get("rule", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self._refuse("a rule begins with [[rule]], in two pairs of brackets", "rule")
        if len(tables) > _MAX_RULES:
            self._refuse(f"there are more than {_MAX_RULES} rules", "rule", _MAX_RULES)
        rules = [self._rule(table, number) for number, table in enumerate(tables)]
        self._no_doubles(rules, tables)
        for rule in rules:
            self._run_examples(rule)
        return PolicyText(default, tuple(rules), rated, self._roots, tuple(self._warnings))

    # One rule

    def _rule(self, table: Mapping[str, Any], number: int) -> PolicyRule:
        where: Path = ("rule", number)
        name = table.get("name")
        self._whose = f"rule {quoted(name)}: " if isinstance(name, str) else f"rule {number + 1}: "
        self._known(table, _FIELDS, where)
        if name is None:
            self._refuse("it has no name", *where)
        name = self._text(name, *where, "name")
        if len(name) > _MAX_NAME or not name.isprintable():
            self._refuse(f"a name has {_MAX_NAME} characters at most, on one line", *where, "name")
        effect: Any = table.get("effect")
        if effect not in get_args(Effect):
            wrong = "it has no effect" if effect is None else "its effect is unknown"
            self._refuse(f"{wrong}: {', '.join(get_args(Effect))}", *where, "effect")
        rule = PolicyRule(
            name=name,
            effect=effect,
            line=line_of(where, self._lines),
            conditions=self._conditions(table, where),
            reach=self._reach(table, where) if "reach" in table else None,
            parameters=self._parameters(table.get("parameters"), (*where, "parameters"), effect),
            commands=self._commands(table, where),
            until=self._until(table.get("until"), (*where, "until")),
            justification=self._justification(table.get("justification"), (*where, "justification")),
            examples=(*self._examples(table, where, "match"), *self._examples(table, where, "not_match")),
            said={key: table[key] for key in _SAID if key in table},
        )
        if effect == "allow" and not (rule.conditions or rule.parameters or rule.commands):
            self._refuse("without any condition it would allow every call", *where)
        return rule

    def _conditions(self, table: Mapping[str, Any], where: Path) -> Mapping[str, Condition]:
        conditions: dict[str, Condition] = {}
        names_of = _NAMES if table["effect"] == "allow" else _NAMES_HELD_BACK
        for key, names in names_of.items():
            if key in table:
                globs = tuple(
                    self._name_glob(text, *where, key, *place) for text, place in self._texts(table[key], *where, key)
                )
                conditions[key] = Names(key, globs, names)
        tool, server = conditions.get("tool"), conditions.get("server")
        if isinstance(tool, Names) and isinstance(server, Names):
            if table["effect"] == "allow":
                conditions["tool"] = replace(tool, names=_names_at_server)
            else:
                joined = _joined(tool.globs, server.globs)
                conditions |= {"tool": replace(tool, joined=joined), "server": replace(server, joined=joined)}
        if "risk" in table:
            levels = self._texts(table["risk"], *where, "risk")
            for level, place in levels:
                if level not in get_args(RiskLevel):
                    self._refuse(f"there is no risk {quoted(level)}: low, medium, high", *where, "risk", *place)
            conditions["risk"] = Risks(frozenset(level for level, _ in levels))  # type: ignore[misc]  # just looked at
        if "learned" in table:
            conditions["learned"] = self._bound(table, where)
        return conditions

    def _reach(self, table: Mapping[str, Any], where: Path) -> Reach:
        if table.get("effect") == "allow":
            self._refuse("reach only holds back: what a call names is not all that it reaches", *where, "reach")
        places = self._texts(table["reach"], *where, "reach")
        for place, item in places:
            if place not in get_args(Place):
                self._refuse(f"there is no place {quoted(place)}: {', '.join(get_args(Place))}", *where, "reach", *item)
        workspace = self._document.get("workspace")
        return Reach(frozenset(place for place, _ in places), workspace if isinstance(workspace, str) else None)  # type: ignore[misc]

    def _bound(self, table: Mapping[str, Any], where: Path) -> Bound:
        """What a rule is bound to that was made of a decision for always, in this file too."""
        tool, server = table.get("tool"), table.get("server")
        if not isinstance(tool, str) or not isinstance(server, str | None):
            self._refuse("what is learned is about one tool of one server, or of none", *where, "learned")
        try:
            return Bound(Learned.model_validate(table["learned"]).tool(str(tool), server))
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, ("learned", *first["loc"])))
            return self._refuse(f"{place}: {first['msg'].removeprefix('Value error, ')}", *where, "learned")  # type: ignore[no-any-return]

    def _parameters(self, table: Any, where: Path, effect: Effect) -> Sequence[Parameter]:
        if table is None:
            return ()
        if not isinstance(table, dict) or not table:
            self._refuse('parameters are JSON pointers and what they lead to: {"/path" = {glob = "/srv/**"}}', *where)
        parameters = [self._parameter(pointer, wanted, (*where, pointer)) for pointer, wanted in table.items()]
        for one in parameters:
            for other in parameters:
                self._can_both_hold(one, other, where)
                if effect == "allow" and _holds_nothing(one) and _is_within(other, one):
                    self._refuse(
                        f"{quoted(one.pointer)} is a number or a text, which holds no {quoted(other.pointer)}: "
                        "it can never match",
                        *where,
                        other.pointer,
                    )
        return tuple(parameters)

    def _parameter(self, pointer: str, wanted: Any, where: Path) -> Parameter:
        if (pointer and not pointer.startswith("/")) or re.search("~(?![01])", pointer):
            self._refuse(f"{quoted(pointer)} is no JSON pointer: it begins with /, and ~ is written ~0", *where)
        if not isinstance(wanted, dict) or not wanted:
            self._refuse(f"parameter {quoted(pointer)} wants one of {', '.join(_CHECKS)}", *where)
        self._known(wanted, _CHECKS, where)
        checks: list[Check] = []
        if "equals" in wanted:
            try:
                if _holds_dates(wanted["equals"]):
                    raise TypeError
                checks.append(Equals.of(wanted["equals"]))
            except (ValueError, TypeError):
                self._refuse("no parameter can equal a date, inf or nan", *where, "equals")
        if "min" in wanted or "max" in wanted:
            checks.append(self._range(wanted, where))
        if "glob" in wanted:
            try:
                checks.append(Glob(TextGlob(self._text(wanted["glob"], *where, "glob"), self._roots)))
            except BadGlob as error:
                self._refuse(str(error), *where, "glob")
        if "regex" in wanted:
            try:
                checks.append(Matches(Regex(self._text(wanted["regex"], *where, "regex"))))
            except BadRegex as error:
                self._refuse(f"regex {quoted(wanted['regex'])}: {error}", *where, "regex")
        if ("min" in wanted or "max" in wanted) and ("glob" in wanted or "regex" in wanted):
            self._refuse("no value is a number and a text: it can never match", *where)
        tokens = tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])
        return Parameter(pointer, tokens, tuple(checks))

    def _range(self, wanted: Mapping[str, Any], where: Path) -> Range:
        ends: list[int | float | None] = []
        for key in ("min", "max"):
            end = wanted.get(key)
            if end is not None and (
                type(end) not in (int, float) or end != end or end in (float("inf"), -float("inf"))
            ):
                self._refuse(f"{key} is a number", *where, key)
            ends.append(end)
        least, most = ends
        if least is not None and most is not None and least > most:
            self._refuse(f"min {least} is more than max {most}: it can never match", *where, "min")
        return Range(least, most)

    def _can_both_hold(self, one: Parameter, other: Parameter, where: Path) -> None:
        """Where one says what a value equals, that must be what the other wants of it, or of a part of it."""
        equals = next((check for check in one.checks if isinstance(check, Equals)), None)
        if equals is None or other.tokens[: len(one.tokens)] != one.tokens:
            return
        value = value_at(equals.value, other.tokens[len(one.tokens) :])
        if value is MISSING or not all(check.allows(value) for check in other.checks):
            self._refuse(
                f"{quoted(other.pointer)} can never be what {quoted(one.pointer)} equals: it can never match",
                *where,
                other.pointer,
            )

    def _commands(self, table: Mapping[str, Any], where: Path) -> Sequence[CommandPattern]:
        if "command" not in table:
            return ()
        commands = []
        for text, place in self._texts(table["command"], *where, "command"):
            try:
                commands.append(CommandPattern.of(text))
            except ValueError as error:
                self._refuse(f"command {quoted(text)}: {error}", *where, "command", *place)
        return tuple(commands)

    def _until(self, until: Any, where: Path) -> datetime | None:
        if until is None:
            return None
        if not isinstance(until, datetime) or until.tzinfo is None:
            self._refuse("until is a moment with its zone, without quotes: 2026-12-31T00:00:00Z", *where)
        try:
            moment: datetime = until.astimezone(UTC)
        except OverflowError:
            self._refuse("until is a moment of the years 1 to 9999, in UTC too", *where)
        if moment.timestamp() <= time.time():
            line = line_of(where, self._lines)
            self._warnings.append(
                f"{self._file}:{line}: {self._whose}its until has passed, so that it matches nothing any more"
            )
        return moment

    def _justification(self, text: Any, where: Path) -> str | None:
        if text is None:
            return None
        justification = self._text(text, *where)
        if len(justification) > 1000:
            self._refuse("a justification has 1000 characters at most", *where)
        return justification

    # Its examples

    def _examples(self, table: Mapping[str, Any], where: Path, key: str) -> Iterable[Example]:
        examples = table.get(key, [])
        if not isinstance(examples, list) or not all(isinstance(example, dict) for example in examples):
            self._refuse(f'{key} is a list of calls: [{{tool = "read_file", parameters = {{…}}}}]', *where, key)
        for number, example in enumerate(examples):
            yield self._example(example, (*where, key, number), is_match=key == "match")

    def _example(self, example: Mapping[str, Any], where: Path, *, is_match: bool) -> Example:
        self._known(example, _EXAMPLE_FIELDS, where)
        if "tool" not in example:
            self._refuse("an example has a tool", *where)
        told = {key: self._text(example[key], *where, key) for key in _EXAMPLE_FIELDS[:-1] if key in example}
        risk = told.get("risk", "high")
        if risk not in get_args(RiskLevel):
            self._refuse(f"there is no risk {quoted(risk)}: low, medium, high", *where, "risk")
        parameters = example.get("parameters", {})
        if not isinstance(parameters, dict):
            self._refuse("the parameters of an example are a table", *where, "parameters")
        tool = AskedTool(told["tool"], told.get("server"), agent=told.get("agent"))
        call = Call(tool, told.get("session", ""), risk, parameters)  # type: ignore[arg-type]  # just looked at
        return Example(call, frozenset(told), is_match, line_of(where, self._lines))

    def _run_examples(self, rule: PolicyRule) -> None:
        for example in rule.examples:
            why_not = why_not_matched(rule, example)
            whose = f"rule {quoted(rule.name)}: "
            if example.is_match and why_not is not None:
                raise _Refused(example.line, f"{whose}it does not match its example of match: {why_not}")
            if not example.is_match and why_not is None:
                raise _Refused(example.line, f"{whose}it matches its example of not_match")

    # The rest of the file

    def _rated(self) -> Iterable[tuple[NameGlob, NameGlob, RiskLevel]]:
        servers = self._document.get("risk", {})
        if not isinstance(servers, dict):
            self._refuse('risk is a table for each server: [risk.files] and then "read_*" = "low"', "risk")
        for server, tools in servers.items():
            self._whose = f"risk of server {quoted(server)}: "
            if not isinstance(tools, dict) or not tools:
                self._refuse('it is a table of tools and their risk: "read_*" = "low"', "risk", server)
            of_server = self._name_glob(server, "risk", server)
            for tool, risk in tools.items():
                if risk not in get_args(RiskLevel):
                    self._refuse(f"{quoted(tool)} is low, medium or high", "risk", server, tool)
                yield of_server, self._name_glob(tool, "risk", server, tool), risk
        self._whose = ""

    def _no_doubles(self, rules: Sequence[PolicyRule], tables: Sequence[Mapping[str, Any]]) -> None:
        named: dict[str, PolicyRule] = {}
        saying: dict[str, PolicyRule] = {}
        for number, (rule, table) in enumerate(zip(rules, tables, strict=True)):
            self._whose = f"rule {quoted(rule.name)}: "
            if rule.name in named:
                other = named[rule.name]
                self._refuse(f"the rule of line {other.line} has the same name", "rule", number, "name")
            said = _said(table)
            if said in saying:
                other = saying[said]
                self._refuse(f"it says the same as rule {quoted(other.name)} of line {other.line}", "rule", number)
            named[rule.name] = saying[said] = rule

    # What any value may be

    def _refuse(self, reason: str, *where: str | int) -> Any:
        raise _Refused(line_of(where, self._lines), f"{self._whose}{reason}")

    def _known(self, table: Mapping[str, Any], known: Sequence[str], where: Path) -> None:
        for key in table:
            if key not in known:
                near = get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                self._refuse(f"unknown key {quoted(key)}: {hint}", *where, key)

    def _text(self, value: Any, *where: str | int) -> str:
        if not isinstance(value, str) or not value:
            self._refuse(f"{where[-1]} is a text that is not empty", *where)
        return str(value)

    def _texts(self, value: Any, *where: str | int) -> Sequence[tuple[str, Path]]:
        """One text or a list of them, and where each stands."""
        if isinstance(value, str):
            return [(self._text(value, *where), ())]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self._refuse(f"{where[-1]} is a text or a list of texts", *where)
        if not value:
            self._refuse(f"{where[-1]} is an empty list: it can never match", *where)
        for number, item in enumerate(value):
            if not item:
                self._refuse(f"{where[-1]} has an empty text, which can never match", *where, number)
        return [(item, (number,)) for number, item in enumerate(value)]

    def _name_glob(self, text: str, *where: str | int) -> NameGlob:
        try:
            return NameGlob(text)
        except BadGlob as error:
            raise _Refused(line_of(where, self._lines), f"{self._whose}{error}") from None


def why_not_matched(rule: PolicyRule, example: Example) -> str | None:
    """In words, why a rule does not match its example, whatever the time is; None where it does.

    An example of ``match`` may tell some of the parameters that an ``allow`` rule wants, and not all of them. Where a
    rule holds back, that would let the call through that stands in the file.
    """
    call, wanted, has_command = example.call, rule.parameters, bool(rule.commands)
    if example.is_match and rule.effect == "allow":
        told = [one for one in wanted if value_at(call.parameters, one.tokens) is not MISSING]
        if told:
            wanted = told
            has_command = has_command and not call.parameters.keys().isdisjoint(COMMAND_PARAMETERS)
    asked = replace(rule, parameters=wanted, commands=rule.commands if has_command else ())
    failing = asked.failing(call, example.told)
    if failing is not None:
        return failing.why_not(call)
    reading = read_call(call.parameters)
    return None if asked.matches_command(reading, call) else asked.why_not_command(reading, call)


_NAMES: Mapping[str, Any] = {
    "tool": lambda call: (call.tool.tool_name,),
    "server": lambda call: (call.tool.server,),
    "session": lambda call: (call.session_id,),
    "agent": lambda call: (call.tool.agent, call.tool.asked_by),
}


def _names_at_server(call: Call) -> Sequence[str | None]:
    """The tool's name, and how its server calls it: another server's tool of that name is another tool."""
    name, server = call.tool.tool_name, call.tool.server
    return (name, certain_name(name, server))


def _joined(tools: Sequence[NameGlob], servers: Sequence[NameGlob]) -> Sequence[NameGlob]:
    pairs = [(tool, server) for server in servers if server.is_exact for tool in tools if tool.pattern.strip("*")]
    return tuple(
        NameGlob(name) for tool, server in pairs[:_MAX_JOINED] for name in joined_names(tool.pattern, server.pattern)
    )


def _holds_nothing(parameter: Parameter) -> bool:
    """Whether it is a number or a text for a rule that allows."""
    return any(isinstance(check, Range | Matches) for check in parameter.checks)


def _is_within(one: Parameter, other: Parameter) -> bool:
    """Whether one pointer leads into what the other leads to."""
    return len(one.tokens) > len(other.tokens) and one.tokens[: len(other.tokens)] == other.tokens


_NAMES_HELD_BACK: Mapping[str, Any] = {
    **_NAMES,
    "tool": lambda call: spellings(call.tool.tool_name, call.tool.server),
    "server": lambda call: possible_servers(call.tool.tool_name, call.tool.server),
}


def _any_of(texts: Iterable[str]) -> str:
    some = [quoted(text) for text in texts]
    more = [] if len(some) <= _MAX_TOLD else [f"another of {len(some)} patterns"]
    return " or ".join(some[: _MAX_TOLD - len(more)] + more)


def _said(table: Mapping[str, Any]) -> str:
    """What two rules say alike, however they are written."""
    said = {key: value for key, value in table.items() if key not in ("name", "justification", "match", "not_match")}
    for key in (*_NAMES, "risk", "command"):
        if key in said:
            said[key] = sorted({said[key]} if isinstance(said[key], str) else set(said[key]))
    return repr(_ordered(said))


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((key, _ordered(item)) for key, item in value.items())
    if isinstance(value, list):
        return list(map(_ordered, value))
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _holds_dates(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_dates, value.values()))
    if isinstance(value, list):
        return any(map(_holds_dates, value))
    return isinstance(value, date | day_time)
