"""What people decided beyond one call: bound to what they saw, listed, and taken back."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from json.encoder import encode_basestring_ascii
from typing import Any, Literal, NamedTuple

from ..errors import LimitReached, RuleNotFound
from ..events import Rule, utc_now
from ..limits import RiskLevel
from .reasons import Reason
from .verdict import AskedTool, Call, Effect, Verdict, is_riskier

__all__ = ["Entry", "Grants", "Remembered", "Shelf", "about", "described", "named", "quoted", "rule_from"]

_MAX_RULES = 100
#: A policy file takes 256; some are left to tell rules of one name apart.
_MAX_NAME = 240

#: The effects, the strongest first, as the reasons name them.
_WORDS: Mapping[Effect, str] = {"deny": "denied", "ask": "asked", "allow": "allowed"}


class Entry(NamedTuple):
    """A rule, and the tool that it is bound to."""

    tool: AskedTool
    rule: Rule


class Shelf:
    """Rules by their id, oldest first, and by the tool that they are about."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries: dict[str, Entry] = {}
        self._about: dict[AskedTool, list[Entry]] = {}
        for entry in entries:
            self.put(entry)

    def put(self, entry: Entry) -> None:
        self.entries[entry.rule.rule_id] = entry
        self._about.setdefault(entry.tool.whichever_definition, []).append(entry)

    def take(self, rule_id: str) -> Entry:
        """Take a rule out. Raises ``RuleNotFound``."""
        if rule_id not in self.entries:
            raise RuleNotFound("There is no rule of that id.")
        entry = self.entries.pop(rule_id)
        known = entry.tool.whichever_definition
        self._about[known].remove(entry)
        if not self._about[known]:
            del self._about[known]
        return entry

    def about(self, tool: AskedTool) -> Sequence[Entry]:
        """What is decided about a tool, however its server defines it."""
        return self._about.get(tool.whichever_definition, ()) if self._about else ()


class Remembered:
    """A source of rules that people's decisions became, each bound to what was shown.

    A rule holds for one tool of one server, as it was defined then, and for who asked. What was allowed at one risk is
    asked again at a higher one; what was denied is denied at every risk.
    """

    #: For how long a person decided.
    lasting: Literal["always", "session"] = "always"

    def __init__(self) -> None:
        self._shelf = Shelf()
        #: How often, and when last, each rule settled a call.
        self._uses: dict[str, tuple[int, datetime]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether there are none."""
        return not self._shelf.entries

    @property
    def rules(self) -> Sequence[Rule]:
        """All of them, oldest first."""
        return tuple(self._counted(entry.rule) for entry in self._shelf.entries.values())

    def find(self, rule_id: str) -> Rule | None:
        """The rule of this id, if there is one."""
        entry = self._shelf.entries.get(rule_id)
        return None if entry is None else self._counted(entry.rule)

    def judge(self, call: Call) -> Verdict | None:
        """What the rules say of a call; None if nobody decided about it. No rule allows a call that is not whole."""
        said = [entry.rule for entry in self._shelf.about(call.tool) if self._holds(entry, call)]
        for effect, word in _WORDS.items():
            for rule in said:
                if rule.effect == effect:
                    why = {"why": rule.justification} if rule.justification else {}
                    reason = Reason(f"{word}_{self.lasting}", by=rule.created_by, **why)
                    return Verdict(effect, (reason,), rule.rule_id, rule.name, rule.justification)
        return None

    def doubt(self, call: Call) -> Reason | None:
        """Why a call for which no rule holds is asked whatever its risk is; None if nothing speaks for that.

        A tool about which somebody decided is never let run by its risk alone: one that is another by now is asked.
        """
        rules = [entry.rule for entry in self._shelf.about(call.tool) if self._is_in_force(entry.rule, call)]
        if not rules:
            return None
        same = [rule for rule in rules if rule.definition_sha256 == call.tool.definition_sha256]
        if not same:
            return Reason("changed_since_decided", by=rules[-1].created_by)
        if not call.is_whole:
            return Reason("not_whole")
        by = same[-1].created_by
        return Reason("risk_above_allowed", risk=call.risk_level, allowed=same[-1].risk, by=by)

    def use(self, rule_id: str | None) -> None:
        """Count that a rule settled a call; None, or one that is of another source or taken back, counts nothing."""
        if rule_id is not None and rule_id in self._shelf.entries:
            self._uses[rule_id] = self._uses.get(rule_id, (0, utc_now()))[0] + 1, utc_now()

    def _holds(self, entry: Entry, call: Call) -> bool:
        rule = entry.rule
        if entry.tool != call.tool or not self._is_in_force(rule, call):
            return False
        return rule.effect != "allow" or (call.is_whole and not is_riskier(call.risk_level, rule.risk))

    def _is_in_force(self, rule: Rule, call: Call) -> bool:
        return True

    def _counted(self, rule: Rule) -> Rule:
        uses = self._uses.get(rule.rule_id)
        return rule if uses is None else rule.model_copy(update={"used": uses[0], "last_used_at": uses[1]})

    def _forget(self, rule_id: str) -> Rule:
        """Take a rule from the shelf and return it with its last count. Raises ``RuleNotFound``."""
        rule = self._counted(self._shelf.take(rule_id).rule)
        self._uses.pop(rule_id, None)
        return rule


class Grants(Remembered):
    """The rules of one session, made by its decisions with ``scope: session``; at most ``capacity`` of them."""

    lasting = "session"

    def __init__(self, *, capacity: int = _MAX_RULES) -> None:
        super().__init__()
        self._capacity = capacity

    def add(
        self, effect: Effect, tool: AskedTool, risk_level: RiskLevel, *, created_by: str, reason: str | None = None
    ) -> Rule:
        """Keep a decision as a rule, in the place of an earlier one about the same tool, or raise ``LimitReached``."""
        before = [entry.rule for entry in self._shelf.about(tool) if entry.tool == tool]
        if len(self._shelf.entries) >= self._capacity and not before:
            raise LimitReached(
                "rules_per_session",
                f"This session has {len(self._shelf.entries)} rules: take one back, or decide about this call only.",
            )
        for rule in before:
            self._forget(rule.rule_id)
        rule = rule_from("session", effect, tool, risk_level, created_by=created_by, reason=reason)
        self._shelf.put(Entry(tool, rule))
        return rule

    @property
    def entries(self) -> Sequence[Entry]:
        """All of them with their tools, oldest first."""
        return tuple(self._shelf.entries.values())

    def go_on(self, entries: Iterable[Entry]) -> None:
        """Hold to rules of before."""
        for entry in entries:
            self._shelf.put(entry)

    def take_back(self, rule_id: str) -> Rule:
        """Forget a rule, and return it; what waits or runs already is not touched. Raises ``RuleNotFound``."""
        return self._forget(rule_id)


def about(tool: AskedTool) -> dict[str, Any]:
    """The fields of a ``Rule`` that tell which tool it is about."""
    return {
        "tool": tool.tool_name,
        "server": tool.server,
        "definition_sha256": tool.definition_sha256,
        "command": None if tool.command is None else " ".join(tool.command.beginning) or None,
        "asked_by": tool.asked_by,
        "agent": tool.agent,
    }


def rule_from(
    source: Literal["session", "learned"],
    effect: Effect,
    tool: AskedTool,
    risk_level: RiskLevel,
    *,
    created_by: str,
    reason: str | None = None,
) -> Rule:
    """The rule that a decision about a call of this tool becomes."""
    return Rule(
        rule_id="rule_" + secrets.token_urlsafe(12),
        source=source,
        name=named(effect, tool, risk_level),
        effect=effect,
        **about(tool),
        risk=risk_level,
        justification=reason,
        created_by=created_by,
        created_at=utc_now(),
    )


def named(effect: Effect, tool: AskedTool, risk_level: RiskLevel, words: str | None = None) -> str:
    """What a rule about this tool is called: what it does, with which calls; ``words`` say which, if they are there."""
    name = f"{effect} {words or described(tool, risk_level if effect == 'allow' else None)}"
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 3]}..."


def described(tool: AskedTool, risk_level: RiskLevel | None) -> str:
    """In words, which calls a rule about this tool holds for; None for every risk."""
    parts = [_which_calls(tool)]
    if tool.server is not None:
        parts.append(f" of server {quoted(tool.server)}")
    if tool.definition_sha256 is not None:
        parts.append(" as it is defined now")
    asker = [] if tool.agent is None else [quoted(tool.agent)]
    asker += [] if tool.asked_by is None else [quoted(tool.asked_by)]
    parts.append(f", asked by {' as '.join(asker) or 'this program'}")
    if risk_level is not None:
        parts.append(f", at risk {risk_level}" + ("" if risk_level == "low" else " or less"))
    return "".join(parts)


def _which_calls(tool: AskedTool) -> str:
    name, use = quoted(tool.tool_name), tool.command
    if use is None:
        return f"every call of {name}"
    if not use.beginning:
        return f"every call of {name} with just these parameters"
    options = " and ".join(map(quoted, sorted(use.options))) or "no options"
    return f"every call of {name} with one command that begins with {quoted(' '.join(use.beginning))} and has {options}"


def quoted(text: str) -> str:
    """Text that somebody else chose, within a sentence: it ends no line, moves no terminal, and looks like no other."""
    return encode_basestring_ascii(text[:256]).replace("\x7f", "\\u007f")
