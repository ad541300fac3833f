"""Puts each step of a call on record: asked, let run or not, decided, ended, begun and over (contract section 12).

The one place that says what is written. Nothing is made of a step where nobody keeps it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from .audit import NO_AUDIT, AuditLog, Entry
from .errors import InvalidInput, TooLarge
from .events import CallDetails, EventData, PermissionRecord, ToolStatus, utc_now, utc_text
from .parameters import action_sha256_of, frozen_json, parameters_sha256
from .permission_request import PermissionRequest
from .policy.verdict import Verdict
from .question import Question

__all__ = ["Recorder"]

_Kept = Future[None] | None


class Recorder:
    """Writes to ``audit``, which may be another one later. What ends something is noted, what begins is committed."""

    def __init__(self, audit: AuditLog = NO_AUDIT) -> None:
        self.audit = audit

    @property
    def is_on(self) -> bool:
        return self.audit is not NO_AUDIT

    def asked(self, session_id: str, request: PermissionRequest) -> _Kept:
        """A person is about to be asked."""
        if not self.is_on:
            return None
        return self.audit.commit(_line("asked", session_id, _of_request(request), effect="ask"))

    def by_policy(
        self, session_id: str, request: PermissionRequest, settled: PermissionRecord, rule_id: str | None
    ) -> _Kept:
        """The policy is about to settle a request. That it is denied waits for nothing."""
        if not self.is_on:
            return None
        entry = _line(
            "allowed" if settled.approved else "denied",
            session_id,
            _of_request(request),
            effect="allow" if settled.approved else "deny",
            rule=settled.rule,
            rule_id=rule_id,
            approved=settled.approved,
            decision=settled.decision,
            decided_by="policy",
            reason=settled.reason,
        )
        if settled.approved:
            return self.audit.commit(entry)
        self.audit.note(entry)
        return None

    def admitted(self, session_id: str, question: Question, verdict: Verdict, *, reason: str | None = None) -> _Kept:
        """The policy is about to let a call run for which no request was made."""
        if not self.is_on:
            return None
        return self.audit.commit(_allowed(session_id, question, verdict, reason))

    def goes_on(self, session_id: str, question: Question, verdict: Verdict) -> None:
        """A call goes on that was let run before."""
        if self.is_on:
            allowed = _allowed(session_id, question, verdict, "goes on with a call that was let run")
            self.audit.note({**allowed, "continues": True})

    def decided(
        self,
        session_id: str,
        request: PermissionRequest,
        settled: PermissionRecord,
        *,
        through: str,
        right: str | None,
        token: str,
        device: str = "",
    ) -> _Kept:
        """Somebody is about to decide."""
        if not self.is_on:
            return None
        edited = settled.decision == "edit"
        return self.audit.commit(
            _line(
                "decided",
                session_id,
                _of_record(request, settled),
                parameters=settled.parameters if edited else None,
                asked_parameters_sha256=settled.asked_parameters_sha256 if edited else None,
                decision=settled.decision,
                approved=settled.approved,
                scope=settled.scope,
                reason=settled.reason,
                response=settled.response,
                decided_by=settled.decided_by,
                via=through,
                right=right,
                token_sha256=token[:16] or None,
                device=device or None,
                waited_ms=_waited_ms(settled),
            )
        )

    def ended(self, session_id: str, request: PermissionRequest, settled: PermissionRecord) -> None:
        """Nobody has decided, and nobody will."""
        if self.is_on:
            self.audit.note(
                _line(
                    settled.status,
                    session_id,
                    _of_record(request, settled),
                    approved=False,
                    reason=settled.reason,
                    decided_by=settled.decided_by,
                    waited_ms=_waited_ms(settled) if request.announced else None,
                )
            )

    def told(self, session_id: str, event: EventData | Mapping[str, Any] | None) -> None:
        """Who makes a call has told that it runs, or how it ended."""
        if not self.is_on or not isinstance(event, ToolStatus) or event.status == "waiting_permission":
            return
        details = _Told(event.details)
        begins = event.status == "executing"
        self.audit.note(
            _line(
                "started" if begins else "finished",
                session_id,
                {
                    "tool_name": event.tool_name,
                    "tool_call_id": event.tool_call_id,
                    "request_id": details.text("request_id"),
                    "risk_level": details.text("risk_level"),
                },
                **(_run(details) if begins else _end(event.status, details)),
            )
        )

    def notified(
        self, session_id: str, request: PermissionRequest, *, step: str, to: str | None, told: Mapping[str, int]
    ) -> None:
        """People who do not look are called about a request: so many over each channel."""
        if self.is_on:
            channels = dict(told)
            self.audit.note(
                _line("notified", session_id, _of_record(request, request.record), step=step, to=to, channels=channels)
            )

    def away(self, account: str, *, is_away: bool) -> None:
        """Somebody has said that they see nothing, or do again: whom to call changes with it."""
        if self.is_on:
            self.audit.note(_line("away" if is_away else "back", None, {"decided_by": account}))

    def rule(self, kind: str, session_id: str | None, rule: Mapping[str, Any], **more: Any) -> None:
        """A rule was learned, or revoked."""
        if self.is_on:
            names = ("rule_id", "effect", "server", "source", "created_by")
            told = {name: rule.get(name) for name in names}
            entry = {"rule": rule.get("name"), "tool_name": rule.get("tool"), **told, **more}
            self.audit.note(_line(kind, session_id, entry))

    def device(self, kind: str, device: Mapping[str, Any]) -> None:
        """A device was given a token of its own, or had it taken away."""
        if self.is_on:
            self.audit.note(_line(kind, None, device))

    def policy_loaded(self, file: str, rules: int, error: str | None) -> None:
        """A policy file is in force, or does not load."""
        if self.is_on:
            self.audit.note(_line("policy_loaded", None, {"file": file, "rules": rules, "reason": error}))


def _line(kind: str, session_id: str | None, entry: Mapping[str, Any], **more: Any) -> Entry:
    told = {"time": utc_text(utc_now()), "kind": kind, "session_id": session_id, **entry, **more}
    return {name: value for name, value in told.items() if value is not None}


def _of_request(request: PermissionRequest) -> dict[str, Any]:
    """All that was asked."""
    record = request.record
    return {
        **_of_record(request, record),
        "parameters": record.parameters,
        "risk_reasons": list(record.risk_reasons),
        "reason_codes": [reason.code for reason in record.reasons],
        "by_policy": None if request.question.by_policy else False,
        "rule": record.rule,
        "description": record.description,
        "definition_sha256": record.definition_sha256,
    }


def _of_record(request: PermissionRequest, record: PermissionRecord) -> dict[str, Any]:
    return {
        "request_id": record.request_id,
        "tool_call_id": record.tool_call_id,
        "traceparent": record.traceparent,
        "tool_name": record.tool_name,
        "server": record.server,
        "risk_level": record.risk_level,
        "parameters_sha256": record.parameters_sha256,
        "action_sha256": record.action_sha256,
        "agent": request.tool.agent,
        "asked_by": request.asked_by,
    }


def _allowed(session_id: str, question: Question, verdict: Verdict, reason: str | None) -> Entry:
    asked: dict[str, Any] = {}
    try:
        asked["parameters"], text = frozen_json(question.parameters)
        asked["parameters_sha256"] = hashlib.sha256(text).hexdigest()
        asked["action_sha256"] = action_sha256_of(
            text, session_id=session_id, server=question.server, tool_name=question.tool_name
        )
    except (InvalidInput, TooLarge) as error:
        asked["parameters_unwritten"] = error.message
    return _line(
        "allowed",
        session_id,
        asked,
        tool_call_id=question.tool_call_id,
        tool_name=question.tool_name,
        server=question.server,
        risk_level=question.risk_level,
        risk_reasons=[str(each) for each in question.risk_reasons],
        definition_sha256=question.definition_sha256,
        agent=question.agent,
        asked_by=question.asked_by,
        effect="allow",
        approved=True,
        decided_by="policy",
        rule=verdict.rule,
        rule_id=verdict.rule_id,
        reason=reason or "; ".join(verdict.reasons),
    )


class _Told:
    """What a producer says of a call, which may be anything."""

    def __init__(self, details: CallDetails | Mapping[str, Any]) -> None:
        self.all = details if isinstance(details, Mapping) else {**dict(details), **(details.model_extra or {})}

    def text(self, name: str) -> str | None:
        value = self.all.get(name)
        return value if isinstance(value, str) else None


def _run(told: _Told) -> dict[str, Any]:
    parameters = told.all.get("parameters")
    if not isinstance(parameters, dict):
        return {}
    if told.all.get("parameters_truncated"):
        # Of which only the beginning is there, and perhaps a word on the whole.
        sha256 = told.text("parameters_sha256")
        return {"parameters": parameters, "parameters_truncated": True, "parameters_sha256": sha256}
    try:
        return {"parameters": parameters, "parameters_sha256": parameters_sha256(parameters)}
    except (TypeError, ValueError):
        return {}


def _end(status: str, told: _Told) -> dict[str, Any]:
    duration_ms = told.all.get("duration_ms")
    if isinstance(duration_ms, bool) or not isinstance(duration_ms, int | float) or not math.isfinite(duration_ms):
        duration_ms = None
    return {
        "outcome": status,
        "reason": told.text("reason") or told.text("error"),
        "duration_ms": None if duration_ms is None else round(duration_ms),
    }


def _waited_ms(settled: PermissionRecord) -> int:
    """How long people had it before them, as far as the clock of the machine was not set back."""
    decided_at = settled.decided_at or settled.timestamp
    return max(0, round((decided_at - settled.timestamp).total_seconds() * 1000))
