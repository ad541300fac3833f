"""All rules that a call is asked about, wherever they come from: deny beats ask beats allow."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from ..errors import Forbidden, RuleNotFound, RuleOfFile, SelfApproval
from ..events import FileRule, Rule, utc_now
from ..limits import RiskLevel
from ..redaction import without_credentials
from .grants import quoted
from .learned import LearnedRules
from .matching import Names
from .policy import Default
from .policy_file import PolicyFile
from .verdict import Call, Verdict, strictest

__all__ = ["FileRules", "RuleBook", "RuleSource", "log_taken_back", "require_revocable"]

_log = logging.getLogger("notifier_service.policy")


class RuleSource(Protocol):
    """Rules from one place: a file, what people decided."""

    def judge(self, call: Call) -> Verdict | None:
        """What the rules say of a call; None where none of them holds for it."""

    def doubt(self, call: Call) -> str | None:
        """Why a call for which no rule holds is asked whatever its risk is; None if nothing speaks for that."""

    def use(self, rule_id: str | None) -> None:
        """Count that a rule settled a call; None, or one that is of another source, counts nothing."""


def require_revocable(rule: Rule, name: str, token_sha256: str, reach: Sequence[str]) -> None:
    """Raise what keeps this caller, who may decide in sessions of these patterns, from taking a rule back.

    ``Forbidden`` for a learned one that holds beyond ``reach``; ``SelfApproval`` where tokens tell who is who, and the
    one whom a rule holds back would take it away.
    """
    if rule.source == "learned" and "*" not in reach and not set(rule.session or ("*",)) <= set(reach):
        raise Forbidden("This rule holds in sessions in which you may not decide.")
    if rule.effect != "allow" and token_sha256 and rule.asked_by == name:
        raise SelfApproval("This rule holds back what was asked in your name: somebody else must take it back.")


def log_taken_back(rule: Rule, by: str) -> None:
    """One line: who took what back."""
    name, who = without_credentials(quoted(rule.name)), quoted(by)
    _log.info("%s: taken back by %s (rule %s, %s)", name, who, rule.rule_id, rule.source)


class FileRules:
    """The rules of a policy file, whichever text of it is in force, and how often each settled a call."""

    def __init__(self, file: PolicyFile) -> None:
        self.file = file
        self._policy = file.policy
        self._uses: dict[str | None, tuple[int, datetime | None]] = {}

    @property
    def uses(self) -> Mapping[str | None, tuple[int, datetime | None]]:
        """By the id of the rule: how often, and when last."""
        return self._uses

    def judge(self, call: Call) -> Verdict | None:
        policy = self.file.policy
        if policy is not self._policy:
            # Of rules that are no longer there nobody asks how often they were used.
            self._policy = policy
            self._uses = {rule.rule_id: self._uses[rule.rule_id] for rule in policy.rules if rule.rule_id in self._uses}
        verdict = policy.judge(call)
        if verdict is not None and verdict.rule_id is not None:
            self._uses.setdefault(verdict.rule_id, (0, None))
        return verdict

    def listed(self, session_id: str | None = None) -> Sequence[FileRule]:
        """All of them, in the order of the file; with a session only those that may hold in it."""
        listed = []
        for rule in self.file.policy.rules:
            sessions = rule.conditions.get("session")
            if session_id is not None and isinstance(sessions, Names) and not sessions.may_be(session_id):
                continue
            used, last_used_at = self._uses.get(rule.rule_id, (0, None))
            listed.append(
                FileRule(
                    rule_id=rule.rule_id,
                    name=rule.name,
                    effect=rule.effect,
                    justification=rule.justification,
                    until=rule.until,
                    used=used,
                    last_used_at=last_used_at,
                    **rule.said,
                )
            )
        return listed

    def doubt(self, call: Call) -> str | None:
        return self.file.policy.doubt(call)

    def use(self, rule_id: str | None) -> None:
        if rule_id in self._uses:
            self._uses[rule_id] = self._uses[rule_id][0] + 1, utc_now()


class RuleBook:
    """What holds in every session: the rules of a policy file, and those of ``more`` sources.

    To it each session adds what was decided in it.
    """

    def __init__(
        self,
        policy_file: PolicyFile | None = None,
        more: Sequence[RuleSource] = (),
        *,
        learned: LearnedRules | None = None,
    ) -> None:
        self.file: FileRules | None = None
        self.more = tuple(more)
        self._learned = learned
        self.policy_file = policy_file

    @property
    def policy_file(self) -> PolicyFile | None:
        return None if self.file is None else self.file.file

    @policy_file.setter
    def policy_file(self, policy_file: PolicyFile | None) -> None:
        self.file = None if policy_file is None else FileRules(policy_file)
        self._note_sources()

    @property
    def learned(self) -> LearnedRules | None:
        """What people decided for always, where there is a file for it."""
        return self._learned

    @learned.setter
    def learned(self, learned: LearnedRules) -> None:
        self._learned = learned
        self._note_sources()

    def _note_sources(self) -> None:
        own: tuple[RuleSource | None, ...] = (self.file, self._learned)
        self._sources: tuple[RuleSource, ...] = (*(source for source in own if source is not None), *self.more)

    @property
    def has_sources(self) -> bool:
        """Whether there is anything to be asked beside what a session grants."""
        return bool(self._sources)

    def listed(self, session_id: str | None = None) -> Sequence[Rule | FileRule]:
        """The rules that hold in a session, those of the policy file first; without one all that hold beyond one."""
        of_file = () if self.file is None else self.file.listed(session_id)
        return *of_file, *(() if self._learned is None else self._learned.in_session(session_id))

    def take_back(
        self, rule_id: str, *, revoked_by: str = "", revoked_with: str = "", reach: Sequence[str] = ("*",)
    ) -> Rule:
        """Forget a learned rule, in all sessions, and return it.

        ``reach`` are the patterns of the sessions in which who revokes it may decide, ``revoked_with`` is a digest of
        the token, if any. Raises ``RuleNotFound``, ``RuleOfFile`` for one of the policy file, what
        ``require_revocable`` does, and ``RulesNotKept``.
        """
        rule = None if self._learned is None else self._learned.find(rule_id)
        if self._learned is None or rule is None:
            for of_file in () if self.file is None else self.file.listed():
                if of_file.rule_id == rule_id:
                    raise RuleOfFile(
                        f"This rule is of the policy file {self.file and self.file.file.path}: change it there."
                    )
            raise RuleNotFound("There is no rule of that id.")
        require_revocable(rule, revoked_by, revoked_with, reach)
        taken = self._learned.take_back(rule_id)
        log_taken_back(taken, revoked_by)
        return taken

    @property
    def default(self) -> Default:
        """What holds where no rule does."""
        return "by-risk" if self.file is None else self.file.file.policy.default

    def risk_of(self, tool_name: str, server: str | None) -> RiskLevel | None:
        """How the policy file rates a tool; None if it does not."""
        return None if self.file is None else self.file.file.policy.risk_of(tool_name, server)

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
        """Count that a rule settled a call, or had it asked; None counts nothing."""
        if rule_id is not None:
            for source in (granted, *self._sources):
                source.use(rule_id)
