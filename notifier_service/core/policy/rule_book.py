"""All rules that a call is asked about, wherever they come from: deny beats ask beats allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from ..events import utc_now
from .policy import Default
from .policy_file import PolicyFile
from .verdict import Call, Verdict, strictest

__all__ = ["FileRules", "RuleBook", "RuleSource"]


class RuleSource(Protocol):
    """Rules from one place: a file, what people decided."""

    def judge(self, call: Call) -> Verdict | None:
        """What the rules say of a call; None where none of them holds for it."""

    def doubt(self, call: Call) -> str | None:
        """Why a call for which no rule holds is asked whatever its risk is; None if nothing speaks for that."""

    def use(self, rule_id: str | None) -> None:
        """Count that a rule settled a call; None, or one that is of another source, counts nothing."""


class FileRules:
    """The rules of a policy file, whichever text of it is in force, and how often each settled a call."""

    def __init__(self, file: PolicyFile) -> None:
        self.file = file
        self._uses: dict[str | None, tuple[int, datetime | None]] = {}

    @property
    def uses(self) -> Mapping[str | None, tuple[int, datetime | None]]:
        """By the id of the rule: how often, and when last."""
        return self._uses

    def judge(self, call: Call) -> Verdict | None:
        verdict = self.file.policy.judge(call)
        if verdict is not None and verdict.rule_id is not None:
            self._uses.setdefault(verdict.rule_id, (0, None))
        return verdict

    def doubt(self, call: Call) -> str | None:
        return self.file.policy.doubt(call)

    def use(self, rule_id: str | None) -> None:
        if rule_id in self._uses:
            self._uses[rule_id] = self._uses[rule_id][0] + 1, utc_now()


class RuleBook:
    """What holds in every session: the rules of a policy file, and those of ``more`` sources.

    To it each session adds what was decided in it.
    """

    def __init__(self, policy_file: PolicyFile | None = None, more: Sequence[RuleSource] = ()) -> None:
        self.file: FileRules | None = None
        self.more = tuple(more)
        self.policy_file = policy_file

    @property
    def policy_file(self) -> PolicyFile | None:
        return None if self.file is None else self.file.file

    @policy_file.setter
    def policy_file(self, policy_file: PolicyFile | None) -> None:
        self.file = None if policy_file is None else FileRules(policy_file)
        self._sources: tuple[RuleSource, ...] = self.more if self.file is None else (self.file, *self.more)

    @property
    def default(self) -> Default:
        """What holds where no rule does."""
        return "by-risk" if self.file is None else self.file.file.policy.default

    def judge(self, call: Call, granted: RuleSource) -> Verdict | None:
        """What the rules say of a call in a session where so much was ``granted``; None where none of them holds.

        Of several the strictest counts, whatever its source. No rule allows a call that is not whole.
        """
        verdict = strictest(source.judge(call) for source in (granted, *self._sources))
        return None if verdict is not None and verdict.effect == "allow" and not call.is_whole else verdict

    def doubt(self, call: Call, granted: RuleSource) -> str | None:
        """Why a call for which no rule holds is asked whatever its risk is; None if nothing speaks for that."""
        doubts = (source.doubt(call) for source in (granted, *self._sources))
        return next((doubt for doubt in doubts if doubt is not None), None)

    def use(self, rule_id: str | None, granted: RuleSource) -> None:
        """Count that a rule settled a call; None counts nothing."""
        if rule_id is not None:
            for source in (granted, *self._sources):
                source.use(rule_id)
