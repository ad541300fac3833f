"""Whether a call runs or waits for a person, by its risk alone, where no rule says so."""

from __future__ import annotations

from collections import defaultdict
from functools import cache

from ..limits import RiskLevel
from .reasons import Reason
from .verdict import AskedTool, Verdict, is_riskier

__all__ = ["Ratings", "judge"]

#: Tools of one asker whose ratings a session remembers; with more, those that it does not know count as risky.
_MAX_TOOLS = 1000


@cache  # of three levels and three
def judge(risk_level: RiskLevel, *, ask_from_risk: RiskLevel) -> Verdict:
    """Say by its risk alone whether a call is allowed or asked."""
    if is_riskier(ask_from_risk, risk_level):
        return Verdict("allow", (Reason("risk_below", risk=risk_level, asked_from=ask_from_risk),))
    return Verdict("ask", (Reason("risk_asks", risk=risk_level),))


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
