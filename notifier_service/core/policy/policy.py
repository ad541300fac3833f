"""The rules of a policy file, asked together: deny beats ask beats allow, whatever the order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from ..limits import RiskLevel
from .verdict import Call, Verdict

__all__ = ["Considered", "Default", "Explanation", "Policy"]

#: What holds where no rule matches; never to allow.
Default = Literal["by-risk", "ask", "deny"]


class Considered(NamedTuple):
    """One rule, and why it matches a call, or does not: the first of its conditions that fails."""

    rule: str
    line: int
    reason: str


class Explanation(NamedTuple):
    """What the rules say of a call (None where none matches), and each of them."""

    verdict: Verdict | None
    matched: Sequence[Considered] = ()
    considered: Sequence[Considered] = ()


class Policy:
    """Immutable. Without a file: no rule, and the default by risk."""

    def __init__(self, *, default: Default = "by-risk") -> None:
        self.default: Default = default
        self.rules: Sequence[object] = ()

    def judge(self, call: Call) -> Verdict | None:
        """What the rules say of a call; None where none of them matches."""
        return None

    def explain(self, call: Call) -> Explanation:
        """The same, and of each rule why."""
        return Explanation(self.judge(call))

    def risk_of(self, tool_name: str, server: str | None) -> RiskLevel | None:
        """How the file rates a tool of this server; None where it does not."""
        return None
