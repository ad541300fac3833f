"""How a request ended, in the words of the console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .terminal import one_line

__all__ = ["ended", "outcome"]

_OUTCOMES = {
    "approve": "approved",
    "session": "approved for the session",
    "always": "always approved",
    "edit": "approved with changes",
    "reject": "rejected",
    "reject-session": "rejected for the session",
    "reject-always": "always rejected",
    "respond": "answered in the tool's place",
}
_UNDECIDED = {"pending": "waiting", "expired": "nobody answered in time", "cancelled": "withdrawn"}
_NO_PERSON = {"policy": "the policy"}


def outcome(record: Mapping[str, Any]) -> str:
    """What became of a request, without who decided it."""
    status, decision, scope = record["status"], record.get("decision"), record.get("scope") or "once"
    if status in _UNDECIDED:
        return _UNDECIDED[status]
    if decision == "approve" and scope != "once":
        return _OUTCOMES[scope]
    if decision == "reject" and scope != "once":
        return _OUTCOMES[f"reject-{scope}"]
    return _OUTCOMES.get(decision or "", one_line(str(status)))


def ended(record: Mapping[str, Any], *, is_ours: bool = False) -> str:
    """The same with who decided it: ``you`` where that was done here."""
    decided_by = record.get("decided_by")
    if record["status"] in _UNDECIDED or decided_by is None:
        return outcome(record)
    return f"{outcome(record)} by {'you' if is_ours else _NO_PERSON.get(decided_by, one_line(str(decided_by)))}"
