"""The rules of a policy file, asked together: deny beats ask beats allow, whatever the order."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..limits import RiskLevel
from .grants import quoted
from .matching import Condition, Names
from .reasons import Reason
from .rule_index import Ranked, RuleIndex
from .rules import Default, PolicyRule, PolicyText, read_policy
from .shell import CommandReading, read_call
from .text_glob import seen
from .tool_names import bare_name, spellings
from .verdict import Call, Effect, Verdict

__all__ = ["Considered", "Default", "Explanation", "Policy"]

_STRICTEST_FIRST: Sequence[Effect] = ("deny", "ask", "allow")
_CODES: dict[Effect, str] = {"allow": "allowed_rule", "ask": "asked_rule", "deny": "denied_rule"}
#: Kinds of calls of which is remembered which rules may hold for them.
_MAX_KINDS = 1000
#: Rules of which is remembered how they are found, each as often as it is in another set of them.
_MAX_IN_INDEXES = 100_000


class Considered(NamedTuple):
    """One rule, and why it matches a call, or does not: the first of its conditions that fails."""

    rule: str
    effect: Effect
    line: int
    reason: str


class Explanation(NamedTuple):
    """What the rules say of a call (None where none matches), which match, and of each other one why it does not.

    ``doubt`` is why a call for which no rule holds is asked whatever its risk is.
    """

    verdict: Verdict | None
    matched: Sequence[Considered] = ()
    considered: Sequence[Considered] = ()
    doubt: str | None = None


class Policy:
    """Immutable. Without a text: no rule, and the default by risk."""

    def __init__(self, text: PolicyText = PolicyText()) -> None:  # noqa: B008  # frozen
        self.default: Default = text.default
        self.rules: Sequence[PolicyRule] = text.rules
        self.rated = text.rated
        self.warnings: Sequence[str] = text.warnings
        self._roots = text.roots
        ordered = sorted(text.rules, key=lambda rule: _STRICTEST_FIRST.index(rule.effect))
        self._ranked = list(enumerate(ordered))
        self._of_tool: dict[str, list[Ranked]] = {}
        self._of_any_tool: list[Ranked] = []
        for ranked in self._ranked:
            names = ranked[1].conditions.get("tool")
            exact = names.exact if isinstance(names, Names) else None
            joined = [] if exact is None else [glob.pattern for glob in names.joined]  # type: ignore[union-attr]
            for name in dict.fromkeys((*(exact or ()), *joined)):
                self._of_tool.setdefault(name, []).append(ranked)
            if exact is None:
                self._of_any_tool.append(ranked)
        sessions = [rule.conditions["session"] for rule in text.rules if "session" in rule.conditions]
        self._has_session_globs = not all(map(_names_sessions, sessions))
        self._kinds: dict[tuple[str | None, ...], RuleIndex] = {}
        self._indexes: dict[tuple[int, ...], RuleIndex] = {}
        self._in_indexes = 0

    @classmethod
    def loads(cls, text: str, file: str, *, home: str | None = None) -> Policy:
        """Read a policy from the text of a file, or raise ``InvalidInput`` with ``FILE:LINE: reason``."""
        return cls(read_policy(text, file, home=home))

    def judge(self, call: Call) -> Verdict | None:
        """What the rules say of a call; None where none of them matches."""
        if not self.rules:
            return None
        reading = read_call(call.parameters)
        return _verdict(self._matching(call, reading))

    def doubt(self, call: Call) -> str | None:
        """Why a call for which no rule holds is asked whatever its risk is; None if nothing speaks for that."""
        if not self.rules:
            return None
        reading = read_call(call.parameters)
        if reading is None:
            return None
        if reading.not_understood is not None:
            return Reason("command_not_understood", why=str(reading.not_understood))
        parts = self._parts(self._candidates(call, reading), call, reading)
        part = next((words for number, words in enumerate(reading.parts) if not parts[number]), None)
        if part is None or not any(parts.values()):
            return None
        return Reason("command_part", part=quoted(" ".join(part)))

    def explain(self, call: Call) -> Explanation:
        """What ``judge`` says, and of each rule why it matches or not."""
        reading = read_call(call.parameters)
        matching = self._matching(call, reading, everything=True)
        verdict = _verdict(matching)
        matched, considered = [], []
        for rule in self.rules:
            if rule in matching:
                matched.append(Considered(rule.name, rule.effect, rule.line, _why_matched(rule)))
            else:
                considered.append(Considered(rule.name, rule.effect, rule.line, _why_not(rule, call, reading)))
        doubt = None if verdict is not None else self.doubt(call) if call.is_whole else Reason("not_whole")
        return Explanation(verdict, tuple(matched), tuple(considered), doubt)

    def risk_of(self, tool_name: str, server: str | None) -> RiskLevel | None:
        """How the file rates a tool, by the name that its server gives it or by its own; None if it does not."""
        return self.rated.risk_of(bare_name(tool_name, server), server) or self.rated.risk_of(tool_name, server)

    def _matching(
        self, call: Call, reading: CommandReading | None, *, everything: bool = False
    ) -> Sequence[PolicyRule]:
        """The rules that match, the strictest first; of these the first is enough where not ``everything`` is wanted.

        Several rules that allow may each allow a part of a command.
        """
        found: list[PolicyRule] = []
        candidates = self._candidates(call, reading)
        allowing: list[PolicyRule] = []
        now = time.time()
        for rule in candidates:
            if rule.effect == "allow" and not call.is_whole:
                break  # those that ask or deny stand before
            if rule.is_over(now) or not rule.fits(call):
                continue
            if rule.effect == "allow":
                if reading is None and not rule.commands:
                    found.append(rule)
                else:
                    allowing.append(rule)
                    continue
            elif rule.holds_back(reading):
                found.append(rule)
            if found and not everything:
                return found
        if reading is not None and allowing:
            parts = self._parts(allowing, call, reading)
            if all(parts.values()):
                names = {rule.name for rules in parts.values() for rule in (rules if everything else rules[:1])}
                found += [rule for rule in allowing if rule.name in names]
        return found

    @staticmethod
    def _parts(rules: Iterable[PolicyRule], call: Call, reading: CommandReading) -> dict[int, list[PolicyRule]]:
        """Of each part of a command the rules that allow it."""
        parts: dict[int, list[PolicyRule]] = {number: [] for number in range(max(len(reading.parts), 1))}
        now = time.time()
        for rule in rules:
            if rule.effect == "allow" and not rule.is_over(now) and rule.fits(call):
                for number in rule.parts(reading, call) or ():
                    parts[number].append(rule)
        return parts

    def _candidates(self, call: Call, reading: CommandReading | None) -> Iterator[PolicyRule]:
        tool = call.tool
        session = call.session_id if self._has_session_globs else None
        kind = (tool.tool_name, tool.server, tool.agent, tool.asked_by, call.risk_level, session)
        index = self._kinds.get(kind)
        if index is None:
            if len(self._kinds) >= _MAX_KINDS:
                self._kinds.clear()
            names = {way for name in spellings(tool.tool_name, tool.server) for way in (name, seen(name))}
            known = {ranked[0]: ranked for name in names for ranked in self._of_tool.get(name, ())}
            known |= {ranked[0]: ranked for ranked in self._of_any_tool}
            index = self._kinds[kind] = self._index_of([known[rank] for rank in sorted(known)], call)
        return (rule for _, rule in index.candidates(call, reading))

    def _index_of(self, known: Sequence[Ranked], call: Call) -> RuleIndex:
        """How the rules for its kind are found; most kinds of calls have the rules of another kind."""
        fitting = [ranked for ranked in known if _may_fit(ranked[1], call)]
        ranks = tuple(rank for rank, _ in fitting)
        index = self._indexes.get(ranks)
        if index is None:
            self._in_indexes += len(ranks) + 1
            if self._in_indexes > _MAX_IN_INDEXES:
                self._in_indexes = len(ranks) + 1
                self._indexes.clear()
                self._kinds.clear()
            index = self._indexes[ranks] = RuleIndex(fitting, self._roots)
        return index


def _may_fit(rule: PolicyRule, call: Call) -> bool:
    """Whether a rule fits the kind of a call; the rest of its conditions is looked at for each call."""
    return all(
        condition.allows(call) if rule.effect == "allow" else condition.holds_back(call)
        for name, condition in rule.conditions.items()
        if name != "learned" and not (name == "session" and _names_sessions(condition))
    )


def _names_sessions(condition: Condition | None) -> bool:
    return isinstance(condition, Names) and condition.exact is not None


def _verdict(matching: Sequence[PolicyRule]) -> Verdict | None:
    if not matching:
        return None
    first = matching[0]
    reasons = tuple(_reason(rule) for rule in matching if rule.effect == first.effect)
    return Verdict(first.effect, reasons, first.rule_id, first.name, first.justification)


def _reason(rule: PolicyRule) -> Reason:
    why = {} if rule.justification is None else {"why": rule.justification}
    return Reason(_CODES[rule.effect], rule=quoted(rule.name), **why)


def _why_matched(rule: PolicyRule) -> str:
    names = [
        *rule.conditions,
        *([] if rule.reach is None else ["reach"]),
        *(quoted(parameter.pointer) for parameter in rule.parameters),
    ]
    names += ["command"] if rule.commands else []
    return f"{', '.join(names)} as it wants" if names else "it holds for every call"


def _why_not(rule: PolicyRule, call: Call, reading: CommandReading | None) -> str:
    if rule.effect == "allow" and not call.is_whole:
        return str(Reason("not_whole"))
    if rule.is_over(time.time()):
        return "its until has passed"
    failing = rule.failing(call)
    if failing is not None:
        return failing.why_not(call)
    return rule.why_not_command(reading, call)
