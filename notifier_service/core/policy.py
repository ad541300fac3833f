"""Whether a tool call runs, waits for a person, or is denied, and why.

Effects are those of the field: ``allow``, ``ask``, ``deny`` (Claude Code, Gemini CLI, Codex, opencode).
"""

from __future__ import annotations

from collections import defaultdict
from typing import Literal, NamedTuple

from .limits import RiskLevel
from .shell import CommandUse

__all__ = ["AskedTool", "Effect", "RatedBy", "Ratings", "Verdict", "is_riskier", "judge"]

Effect = Literal["allow", "ask", "deny"]

#: Who rated a call: this service and the program it is part of, or a producer or an MCP server, whose words those are.
RatedBy = Literal["service", "producer"]

_RANK: dict[RiskLevel, int] = {"low": 0, "medium": 1, "high": 2}

#: Tools of one asker whose ratings a session remembers; with more, those that it does not know count as risky.
_MAX_TOOLS = 1000


class Verdict(NamedTuple):
    """What the policy says of one call; ``reasons`` are sentences for a person, ``rule_id`` the rule that says so."""

    effect: Effect
    reasons: tuple[str, ...]
    rule_id: str | None = None


class AskedTool(NamedTuple):
    """Which tool is asked about, and by whom: names are compared byte for byte, so that a look-alike is another one.

    ``asked_by`` is the caller's name, ``agent`` the kind of agent that speaks through a hook or a gateway; without
    either it is the program that the service is part of.
    """

    tool_name: str
    server: str | None = None
    definition_sha256: str | None = None
    asked_by: str | None = None
    agent: str | None = None
    #: What it is told to run, where it runs commands: another command is another tool.
    command: CommandUse | None = None

    @property
    def whichever_definition(self) -> AskedTool:
        """The same tool, however its server defines it."""
        return self._replace(definition_sha256=None)

    @property
    def by_name(self) -> AskedTool:
        """The same tool, however its server defines it and whatever it is told to run."""
        return self._replace(definition_sha256=None, command=None)


def is_riskier(one: RiskLevel, other: RiskLevel) -> bool:
    return _RANK[one] > _RANK[other]


def judge(risk_level: RiskLevel, *, ask_from_risk: RiskLevel) -> Verdict:
    """Say by its risk alone whether a call is allowed or asked."""
    if is_riskier(ask_from_risk, risk_level):
        return Verdict("allow", (f"risk {risk_level} is below {ask_from_risk}, from which a person is asked",))
    return Verdict("ask", (f"risk {risk_level} asks a person",))


class Ratings:
    """The highest risk at which each tool was asked about in one session.

    Who rates its own tool may not talk the risk down afterwards: a new word for the same tool is no reason to stop
    asking.
    """

    def __init__(self, *, capacity: int = _MAX_TOOLS) -> None:
        self._capacity = capacity
        self._highest: defaultdict[tuple[str | None, str | None], dict[AskedTool, RiskLevel]] = defaultdict(dict)

    def note(self, tool: AskedTool, risk_level: RiskLevel) -> None:
        """Remember that the tool was asked about at this risk."""
        if risk_level == "low":
            return
        highest = self._highest[tool.asked_by, tool.agent]
        key = tool.by_name
        if key in highest or len(highest) < self._capacity:
            before = highest.get(key, "low")
            highest[key] = risk_level if is_riskier(risk_level, before) else before

    def highest(self, tool: AskedTool) -> RiskLevel:
        """The highest risk that was said of the tool; low if nothing was."""
        highest = self._highest.get((tool.asked_by, tool.agent), {})
        # Who asked about so many that no more are remembered may have asked about this one.
        return highest.get(tool.by_name, "low" if len(highest) < self._capacity else "high")
