"""Rules of programs where the first that matches decides, for a policy where deny beats ask and ask beats allow."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from ...core.errors import InvalidInput
from ...core.policy.verdict import Effect
from .draft import Draft, Rule

__all__ = ["Ranked", "settle"]

_MAX_RULES = 2000


class Ranked(NamedTuple):
    """A rule of the source, and what it becomes: an allow matches nothing more here than there, others nothing less.

    ``tools`` are globs; ``program`` is the first word of the commands that it is about, None where it may be any.
    """

    effect: Effect
    origin: str
    tools: tuple[str, ...]
    rules: tuple[Rule, ...]
    program: str | None = None

    @property
    def is_of_servers(self) -> bool:
        """Whether it is about tools of MCP servers only."""
        return all(
            rule.server is not None or all(name.startswith("mcp_") for name in rule.tools) for rule in self.rules
        )

    def may_meet(self, other: Ranked) -> bool:
        """Whether a call may match both, as far as is known."""
        if None not in (self.program, other.program) and self.program != other.program:
            return False
        if (self.program is not None and other.is_of_servers) or (other.program is not None and self.is_of_servers):
            return False  # no command is a tool of a server
        return any(_may_be_one(one, two) for one in self.tools for two in other.tools)


def settle(draft: Draft, ranked: Sequence[Ranked]) -> None:
    """Add rules of which the first that matches decides, so that nothing becomes wider.

    Where an allow comes before an ask about the same calls, the ask becomes the default, which asks: and so every later
    allow about these calls has to go. Where it comes before a deny, the deny wins here.
    """
    if len(ranked) > _MAX_RULES:
        raise InvalidInput(f"it has more than {_MAX_RULES} rules")
    kept: list[Ranked] = []
    left_to_default: list[Ranked] = []
    for one in ranked:
        allowing = [other for other in kept if other.effect == "allow" and other.may_meet(one)]
        asked = next((other for other in left_to_default if other.may_meet(one)), None)
        if one.effect == "ask" and allowing:
            left_to_default.append(one)
            continue
        if one.effect == "allow" and asked is not None:
            draft.remark(one.origin, f"not carried over: {asked.origin} comes before it, and asks about such calls")
            continue
        if one.effect == "deny":
            for other in allowing:
                draft.remark(other.origin, f"it comes before {one.origin}, but a deny beats an allow here")
        kept.append(one)
    draft.rules += [rule for one in kept for rule in one.rules]


def _may_be_one(one: str, other: str) -> bool:
    if "*" in one and "*" in other:
        return True
    return fnmatchcase(one, other) or fnmatchcase(other, one)
