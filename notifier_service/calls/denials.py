"""What an agent is told when a tool did not run: who or what denied it, and a person's reason word for word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.errors import (
    BrokerClosed,
    DenialOutcome,
    InvalidInput,
    LimitReached,
    NotifierError,
    NotRecorded,
    ToolDenied,
)
from ..core.events import PermissionRecord
from ..core.parameters import jsonable

__all__ = ["denial_by_error", "denial_by_record", "frozen"]

#: What a record says of the rule that denied it.
_OF_A_RULE = ("rule", "justification")


def denial_by_record(record: PermissionRecord | Mapping[str, Any]) -> ToolDenied:
    """The denial that a settled request is, given as the record or as the JSON of it.

    The caller has seen that the request is settled, and that it was neither approved nor answered in the tool's place.
    """
    told = record if isinstance(record, Mapping) else dict(record)
    status, reason, decided_by, viewers = (told.get(field) for field in ("status", "reason", "decided_by", "viewers"))
    outcome: DenialOutcome
    # Of what a service left out, nothing is said.
    if status == "expired":
        seen = "" if viewers is None else f" ({viewers} could see the request)"
        outcome, why = "expired", f"{reason or 'nobody answered in time'}{seen}."
    elif status == "cancelled":
        outcome, why = "cancelled", f"the request was cancelled{f' because {reason}' if reason else ''}."
    elif decided_by == "policy":
        outcome, why = "policy", f"denied by policy{_rule_in_words(told)}"
    else:
        by = f" by {decided_by}" if decided_by else ""
        outcome, why = "rejected", f"rejected{by}" + (f": {reason}" if reason else ".")
    return ToolDenied(
        f"{told.get('tool_name') or 'The call'} did not run: {why}",
        outcome=outcome,
        reason=reason if outcome == "rejected" else None,
        request_id=told.get("request_id"),
        **{field: told[field] for field in _OF_A_RULE if outcome == "policy" and told.get(field) is not None},
    )


def _rule_in_words(told: Mapping[str, Any]) -> str:
    rule, justification = map(told.get, _OF_A_RULE)
    if rule is None:
        return f": {told['reason']}." if told.get("reason") else "."
    return f' rule "{rule}"' + (f": {justification}" if justification else "")


def frozen(tool_name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of what a person is shown and what runs. Raises ``ToolDenied`` for what JSON has no form for."""
    try:
        return jsonable(parameters)
    except InvalidInput as error:
        raise denial_by_error(tool_name, error) from error


def denial_by_error(tool_name: str, error: NotifierError) -> ToolDenied:
    """The denial of a call about which nobody could be asked."""
    outcome: DenialOutcome = "invalid"
    if isinstance(error, LimitReached):
        outcome = "limit"
    elif isinstance(error, BrokerClosed | NotRecorded):
        outcome = "unavailable"
    sizes = {key: error.details[key] for key in ("limit", "parameters_bytes") if key in error.details}
    return ToolDenied(f"{tool_name} did not run: {error.message}", outcome=outcome, **sizes)
