"""What the policy is asked, and what it says.

Effects are those of the field: ``allow``, ``ask``, ``deny`` (Claude Code, Gemini CLI, Codex, opencode).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from ..limits import RiskLevel
from .shell import CommandUse

__all__ = ["AskedTool", "Effect", "RatedBy", "Verdict", "is_riskier"]

Effect = Literal["allow", "ask", "deny"]

#: Who rated a call: this service and the program it is part of, or a producer or an MCP server, whose words those are.
RatedBy = Literal["service", "producer"]

_RANK: dict[RiskLevel, int] = {"low": 0, "medium": 1, "high": 2}


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
