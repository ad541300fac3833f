"""Keeps permission requests over a restart whose askers come back: what was asked, and how it ended.

Contract section 15. A question is kept before anybody sees it, a decision before anybody hears of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from .errors import NotifierError
from .events import PermissionRecord, dump, parse_own
from .input_schema import InputSchema
from .journal import NO_JOURNAL, Change, Journal
from .parameters import parameters_sha256
from .permission_request import PermissionRequest
from .policy.grants import Entry
from .policy.kept_grants import grants_from, grants_text
from .question import Question

__all__ = ["KeptRequest", "RequestKeeper"]

_KIND = "request"
_RULES = "rules"
#: What of a question is in no record.
_BESIDE = (
    "asked_by", "asked_with", "agent", "announce_status", "workspace", "by_policy", "is_whole", "key", "may_stay_away",
)  # fmt: skip

_log = logging.getLogger("notifier_service.permissions")


class KeptRequest(NamedTuple):
    """A request of an earlier run, as far as that got with it; ``waited_seconds`` while the service was there.

    ``seq`` is where the log announced it, whether that holds it still or not; 0 for nowhere.
    """

    session_id: str
    record: PermissionRecord
    question: Question
    waited_seconds: float
    seq: int
    run_id: str | None
    is_collected: bool
    is_reported: bool
    is_lost: bool


class RequestKeeper:
    """Writes to ``journal``, which may be another one later. ``clock`` is in seconds since 1970."""

    def __init__(self, journal: Journal = NO_JOURNAL, clock: Callable[[], float] = time.time) -> None:
        self.journal = journal
        self._clock = clock

    def keeps(self, question: Question) -> bool:
        """Whether a request is there again after a restart."""
        return self.journal is not NO_JOURNAL and question.outlives

    def asked(self, session_id: str, request: PermissionRequest) -> Future[None] | None:
        """A person is about to be asked."""
        return self._commit(session_id, request, request.record)

    def announced(self, session_id: str, request: PermissionRequest, waited_seconds: float = 0.0) -> None:
        """A person has been asked: the time begins, or goes on."""
        request.waits_since = self._clock() - waited_seconds
        self._note(session_id, request, request.record)

    def settled(
        self,
        session_id: str,
        request: PermissionRequest,
        record: PermissionRecord,
        rules: Sequence[Entry] | None = None,
        *,
        ahead: Callable[[], Sequence[Change]] = tuple,
    ) -> Future[None] | None:
        """Somebody is about to decide; with that go all rules of the session, where these change.

        In one piece with a request that is there again after a restart is kept what stands ``ahead`` in the history.
        """
        if self.journal is NO_JOURNAL:
            return None
        changes = [self._change(session_id, request, record), *ahead()] if self.keeps(request.question) else []
        if rules is not None:
            changes.append(Change(_RULES, session_id, grants_text(rules)))
        return self.journal.commit(*changes) if changes else None

    def rules(self, session_id: str, rules: Sequence[Entry]) -> None:
        """The rules of a session are these from now on."""
        if self.journal is not NO_JOURNAL:
            self.journal.note(Change(_RULES, session_id, grants_text(rules) if rules else None))

    def rules_of_before(self) -> dict[str, list[Entry]]:
        """The rules of all sessions that an earlier run has left."""
        found = {}
        for change in self.journal.kept(_RULES):
            try:
                found[change.name] = grants_from(change.body or b"")
            except (ValueError, KeyError, TypeError):
                _log.exception("the rules of a session cannot be read from the journal, and hold no more")
                self.rules(change.name, ())
        return found

    def ended(self, session_id: str, request: PermissionRequest, record: PermissionRecord) -> None:
        """Nobody has decided, and nobody will; or nobody has, against what was kept before."""
        self._note(session_id, request, record)

    def claimed(self, session_id: str, request: PermissionRequest) -> Future[None] | None:
        """Who asked is about to run it, which is kept where nobody comes back, too, but somebody may miss its end."""
        if self.journal is NO_JOURNAL or (request.is_reported and not request.question.outlives):
            return None
        return self.journal.commit(self._change(session_id, request, request.record))

    def followed(self, session_id: str, request: PermissionRequest) -> None:
        """It is known how its run ended, or that nobody knows it. To what a policy let run nobody comes back then."""
        is_needed = request.is_lost or (request.question.outlives and request.record.decided_by != "policy")
        if self.journal is not NO_JOURNAL and is_needed:
            self.journal.note(self._change(session_id, request, request.record))
        else:
            self.forget(request)

    def forget(self, request: PermissionRequest) -> None:
        """Nobody comes back to it any more."""
        if self.keeps(request.question) or (self.journal is not NO_JOURNAL and request.claimed_by is not None):
            self.journal.note(Change(_KIND, request.request_id, None))

    def of_before(self) -> list[KeptRequest]:
        """All requests that an earlier run has left."""
        found = []
        for change in self.journal.kept(_KIND):
            try:
                found.append(_kept(change.body or b"", self.journal.alive_at))
            except (ValueError, KeyError, TypeError, NotifierError):
                _log.exception("request %s cannot be read from the journal, and is denied", change.name)
                self.journal.note(Change(_KIND, change.name, None))
        return found

    def _commit(self, session_id: str, request: PermissionRequest, record: PermissionRecord) -> Future[None] | None:
        if not self.keeps(request.question):
            return None
        return self.journal.commit(self._change(session_id, request, record))

    def _note(self, session_id: str, request: PermissionRequest, record: PermissionRecord) -> None:
        if self.keeps(request.question):
            self.journal.note(self._change(session_id, request, record))

    def _change(self, session_id: str, request: PermissionRequest, record: PermissionRecord) -> Change:
        question = request.question
        schema = question.input_schema
        body = {
            "session_id": session_id,
            "beside": {name: getattr(question, name) for name in _BESIDE},
            "input_schema": None if schema is None else schema.to_json(),
            "at": self._clock() if request.waits_since is None else request.waits_since,
            "seq": request.seq,
            "run_id": request.claimed_by,
            "is_collected": request.is_collected,
            "is_reported": request.is_reported,
            "is_lost": request.is_lost,
            "outlives": question.outlives,
        }
        return Change(_KIND, request.request_id, b'{"record":%b,%b' % (record.encoded, dump(body)[1:]))


def _kept(body: bytes, alive_at: float) -> KeptRequest:
    told = parse_own(body)
    record = PermissionRecord.model_validate_json(dump(told["record"]))
    asked_sha256 = record.asked_parameters_sha256 or record.parameters_sha256
    if record.status == "pending" and parameters_sha256(record.parameters) != asked_sha256:
        raise ValueError("its parameters are not those that were asked")
    question = Question(
        tool_name=record.tool_name,
        parameters=record.parameters,
        risk_level=record.risk_level,
        risk_reasons=record.risk_reasons,
        tool_call_id=record.tool_call_id,
        timeout_seconds=record.timeout_seconds,
        description=record.description,
        server=record.server,
        definition_sha256=record.definition_sha256,
        rated_by=record.rated_by,
        allowed_decisions=record.allowed_decisions,
        scopes=record.scopes,
        deeds=record.deeds,
        input_schema=InputSchema.of(told["input_schema"]),
        outlives=told.get("outlives", True),
        **told["beside"],
    )
    waited_seconds = min(max(0.0, alive_at - told["at"]), record.timeout_seconds)
    return KeptRequest(
        told["session_id"],
        record,
        question,
        waited_seconds,
        told["seq"],
        told["run_id"],
        told["is_collected"],
        told.get("is_reported", False),
        told.get("is_lost", False),
    )
