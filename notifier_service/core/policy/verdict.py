"""What the policy is asked, and what it says.

Effects are those of the field: ``allow``, ``ask``, ``deny`` (Claude Code, Gemini CLI, Codex, opencode).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from ..limits import RiskLevel
from .command_use import CommandUse

__all__ = ["AskedTool", "Call", "Effect", "RatedBy", "Verdict", "is_riskier", "strictest"]

Effect = Literal["allow", "ask", "deny"]

#: Who rated a call: this service and the program it is part of, or a producer or an MCP server, whose words those are.
RatedBy = Literal["service", "producer"]

_RANK: dict[RiskLevel, int] = {"low": 0, "medium": 1, "high": 2}
_STRICTNESS: dict[Effect, int] = {"allow": 0, "ask": 1, "deny": 2}


class Verdict(NamedTuple):
    """What the policy says of one call; ``reasons`` are sentences for a person, ``rule_id`` the rule that says so.

    ``rule`` is the name of that rule, ``justification`` what it says to the person and, where it denies, to the agent.
    """

    effect: Effect
    reasons: tuple[str, ...]
    rule_id: str | None = None
    rule: str | None = None
    justification: str | None = None


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
        return self if self.definition_sha256 is None else self._replace(definition_sha256=None)

    @property
    def by_name(self) -> AskedTool:
        """The same tool, however its server defines it and whatever it is told to run."""
        same = self.whichever_definition
        return same if same.command is None else same._replace(command=None)


class Call(NamedTuple):
    """One call, as rules are asked about it.

    ``is_whole`` is False where ``parameters`` are not all that the tool would get, or can be read in two ways: no rule
    allows such a call.
    """

    tool: AskedTool
    session_id: str
    risk_level: RiskLevel
    parameters: Mapping[str, Any]
    is_whole: bool = True


def is_riskier(one: RiskLevel, other: RiskLevel) -> bool:
    return _RANK[one] > _RANK[other]


def strictest(verdicts: Iterable[Verdict | None]) -> Verdict | None:
    """The one that counts of several: deny beats ask beats allow, and of equal ones the first; None where none is."""
    given = [verdict for verdict in verdicts if verdict is not None]
    return max(given, key=lambda verdict: _STRICTNESS[verdict.effect], default=None)
