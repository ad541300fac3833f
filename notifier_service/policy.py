"""Whether a tool call runs, waits for a person, or is denied, and why.

One function decides; rules from a file come into it here. Effects are those of the field: ``allow``, ``ask``,
``deny`` (Claude Code, Gemini CLI, Codex, opencode).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

from .limits import RiskLevel

__all__ = ["Effect", "Verdict", "judge"]

Effect = Literal["allow", "ask", "deny"]

_RANK: dict[RiskLevel, int] = {"low": 0, "medium": 1, "high": 2}


class Verdict(NamedTuple):
    """What the policy says of one call; ``reasons`` are sentences for a person."""

    effect: Effect
    reasons: tuple[str, ...]


def judge(
    tool_name: str,
    risk_level: RiskLevel,
    *,
    ask_from_risk: RiskLevel,
    allowed_tools: Collection[str] = (),
) -> Verdict:
    """Say whether this call is allowed, asked or denied.

    ``allowed_tools`` are the tools a person allowed for the whole session; names match byte for byte, so that a
    look-alike name is asked again.
    """
    if tool_name in allowed_tools:
        return Verdict("allow", ("a person allowed this tool for the whole session",))
    if _RANK[risk_level] < _RANK[ask_from_risk]:
        return Verdict("allow", (f"risk {risk_level} is below {ask_from_risk}, from which a person is asked",))
    return Verdict("ask", (f"risk {risk_level} asks a person",))
