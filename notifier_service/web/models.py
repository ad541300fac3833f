"""What the service answers beside events: the ``data`` of health, polls and lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from ..core.events import (
    EventData,
    Gap,
    Many,
    PermissionRecord,
    Rule,
    RunningCall,
    Snapshot,
    Timestamp,
    ToolResult,
    ToolStatus,
)
from ..core.policy.policy import Default
from ..core.policy.verdict import Effect
from ..core.suggestions import Suggestion
from .auth import Caller

__all__ = [
    "AuditHealth",
    "HistoryRecord",
    "HistoryRecords",
    "JournalHealth",
    "PolicyHealth",
    "PolicyRow",
    "PolicyState",
    "PresentState",
    "RecordToCaller",
    "RedactedRecord",
    "Refused",
    "RuleToCaller",
    "SessionHealth",
    "StateAndEvents",
    "SuggestionToCaller",
    "WebhookHealth",
    "present_state",
    "rights_of",
]


#: Whether the policy in force is what its file says now: it is stale where the newest text does not load.
PolicyHealth = Literal["none", "loaded", "stale"]


#: Whether what happens is put on record: it is failing where it should be and cannot.
AuditHealth = Literal["none", "written", "failing"]


#: Whether the receivers of webhooks take what they are sent.
WebhookHealth = Literal["none", "sent", "failing"]

#: Whether what is acknowledged is kept over a restart: it is failing where it should be and cannot.
JournalHealth = Literal["none", "written", "failing"]


def _absent() -> Any:
    return Field(default=None, exclude_if=lambda value: value is None)


class RecordToCaller(PermissionRecord):
    """A request; ``may_approve`` says that the caller may only look on."""

    may_approve: Literal[False] | None = _absent()


class RedactedRecord(RecordToCaller):
    """A request without what the audit log would not have of it, and what that means for who reads it.

    ``parameters_redacted`` says whether something of its tool and parameters is left out.
    """

    parameters_redacted: bool


#: Why a caller may do nothing with a rule: the right to approve is missing, it holds in sessions in which they may not
#: decide, or it was asked in their name.
Refused = Literal["right", "sessions", "asker"]


class RuleToCaller(Rule):
    """A rule; ``refused`` says why the caller may not take it back."""

    refused: Refused | None = _absent()


class SuggestionToCaller(Suggestion):
    """A suggestion; ``refused`` says why the caller may not make a rule of it."""

    refused: Refused | None = _absent()


class SessionHealth(EventData):
    """How a session and its readers are."""

    status: str
    session_id: str
    connections: int
    connections_by_transport: dict[str, int]
    queue_size: int
    queue_capacity: int
    pending_permissions: int
    last_event_id: str
    created_at: Timestamp
    idle_seconds: float
    disconnects: dict[str, int]
    policy: PolicyHealth
    audit: AuditHealth
    journal: JournalHealth


class PolicyRow(EventData):
    """One rule of the policy file."""

    name: str
    effect: Effect


class PolicyState(EventData):
    """The policy in force. ``error`` is why the newest text of its file does not load: ``FILE:LINE: reason``.

    ``learned_file`` keeps what people decide for always, ``learned_error`` is why it cannot be read.
    """

    file: str | None
    default: Default
    loaded_at: Timestamp | None
    rules: Many[PolicyRow]
    error: str | None
    learned_file: str | None = _absent()
    learned_error: str | None = _absent()


class HistoryRecord(PermissionRecord):
    """A permission request that was settled, and the session in which it was asked."""

    session_id: str


class HistoryRecords(EventData):
    """Some of them, newest first; ``next`` is what ``before`` takes to go on to older ones."""

    requests: Many[HistoryRecord]
    next: str | None


class _State(EventData):
    tool_status: ToolStatus | None
    permission_request: PermissionRecord | None
    permission_requests: Many[PermissionRecord]
    tool_result: ToolResult | None
    running: Many[RunningCall]
    last_event_id: str
    may_approve: Literal[False] | None = _absent()


class PresentState(_State):
    """The whole present state, as a poll gives it."""

    viewers: int


class StateAndEvents(_State):
    """A long poll: the events behind the cursor, or the gap, and the state after them."""

    events: Many[object]
    gap: Gap | None


def rights_of(caller: Caller) -> Mapping[str, bool]:
    """What answers say of what the caller may do: that it may only look on, where that is so."""
    return {} if caller.is_approver else {"may_approve": False}


def present_state(snapshot: Snapshot) -> dict[str, object]:
    """What every poll tells of the state beside the requests; not validated again, it comes from the session."""
    return {
        "last_event_id": snapshot.last_event_id,
        "tool_status": snapshot.tool_status,
        "tool_result": snapshot.tool_result,
        "running": snapshot.running,
    }
