"""What people decided beyond one call: bound to what they saw, listed, and taken back."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from ..errors import LimitReached, RuleNotFound
from ..events import Rule, utc_now
from ..limits import RiskLevel
from .reasons import Reason
from .verdict import AskedTool, Call, Effect, Verdict, is_riskier

__all__ = ["Grants", "Remembered", "described", "quoted", "rule_from"]

_MAX_RULES = 100


class Remembered:
    """A source of rules that people's decisions became, each bound to what was shown.

    A rule holds for one tool of one server, as it was defined then, and for who asked. What was allowed at one risk is
    asked again at a higher one; what was denied is denied at every risk.
    """

    #: For how long a person decided.
    lasting: Literal["always", "session"] = "always"

    def __init__(self) -> None:
        self._rules: dict[AskedTool, Rule] = {}
        #: How often, and when last, each rule settled a call.
        self._uses: dict[str, tuple[int, datetime]] = {}

    @property
    def rules(self) -> Sequence[Rule]:
        """All of them, oldest first."""
        return tuple(self._counted(rule) for rule in self._rules.values())

    def judge(self, call: Call) -> Verdict | None:
        """What the rules say of a call; None if nobody decided about it. No rule allows a call that is not whole."""
        rule = self._rules.get(call.tool)
        if rule is None or (rule.effect == "allow" and not (call.is_whole and _covers(rule, call.risk_level))):
            return None
        word = "denied" if rule.effect == "deny" else "allowed"
        why = {"why": rule.justification} if rule.justification else {}
        return Verdict(
            rule.effect,
            (Reason(f"{word}_{self.lasting}", by=rule.created_by, **why),),
            rule.rule_id,
            rule.name,
            rule.justification,
        )

    def doubt(self, call: Call) -> Reason | None:
        """Why a call for which no rule holds is asked whatever its risk is; None if nothing speaks for that.

        A tool about which somebody decided is never let run by its risk alone: one that is another by now is asked.
        """
        if not self._rules:
            return None
        rule = self._rules.get(call.tool)
        if rule is not None:
            if not call.is_whole:
                return Reason("not_whole")
            return Reason("risk_above_allowed", risk=call.risk_level, allowed=rule.risk, by=rule.created_by)
        known = call.tool.whichever_definition
        others = [rule for other, rule in self._rules.items() if other.whichever_definition == known]
        if others:
            return Reason("changed_since_decided", by=others[-1].created_by)
        return None

    def use(self, rule_id: str | None) -> None:
        """Count that a rule settled a call; None, or one that is of another source or taken back, counts nothing."""
        if any(rule.rule_id == rule_id for rule in self._rules.values()):
            assert rule_id is not None  # no rule has that
            self._uses[rule_id] = self._uses.get(rule_id, (0, utc_now()))[0] + 1, utc_now()

    def _counted(self, rule: Rule) -> Rule:
        uses = self._uses.get(rule.rule_id)
        return rule if uses is None else rule.model_copy(update={"used": uses[0], "last_used_at": uses[1]})


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
        if len(self._rules) >= self._capacity and tool not in self._rules:
            raise LimitReached(
                "rules_per_session",
                f"This session has {len(self._rules)} rules: take one back, or decide about this call only.",
            )
        before = self._rules.pop(tool, None)
        if before is not None:
            self._uses.pop(before.rule_id, None)
        rule = self._rules[tool] = rule_from("session", effect, tool, risk_level, created_by=created_by, reason=reason)
        return rule

    def take_back(self, rule_id: str) -> Rule:
        """Forget a rule, and return it; what waits or runs already is not touched. Raises ``RuleNotFound``."""
        for tool, rule in self._rules.items():
            if rule.rule_id == rule_id:
                del self._rules[tool]
                counted = self._counted(rule)
                self._uses.pop(rule_id, None)
                return counted
        raise RuleNotFound("This session has no rule of that id.")


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
        name=f"{effect} {described(tool, risk_level if effect == 'allow' else None)}",
        effect=effect,
        tool=tool.tool_name,
        server=tool.server,
        definition_sha256=tool.definition_sha256,
        command=None if tool.command is None else " ".join(tool.command.beginning) or None,
        asked_by=tool.asked_by,
        agent=tool.agent,
        risk=risk_level,
        justification=reason,
        created_by=created_by,
        created_at=utc_now(),
    )


def _covers(rule: Rule, risk_level: RiskLevel) -> bool:
    return not is_riskier(risk_level, rule.risk)


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
    return json.dumps(text[:256]).replace("\x7f", "\\u007f")
