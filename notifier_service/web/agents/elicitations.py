"""What an MCP server asks the person at an agent (``elicitation/create``), as the agent's hook tells it.

A form is answered by an edit that puts ``content`` beside what was asked, which must fit the form's own schema; to open
an address is approved. Where nobody here has answered, the agent asks in its own way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...core.events import PermissionRecord
from ...core.input_schema import InputSchema
from ...core.policy.reasons import Reason
from .agent_calls import AskedBy, AskedCall

__all__ = ["Elicitation", "elicitation_answer", "elicitation_asked", "how_elicited"]

#: The name under which it is asked, which is the agent's for it.
_TOOL = "Elicitation"


class Elicitation(BaseModel):
    """What the hook tells. It tells more, and tomorrow more than that: it is passed over."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    mcp_server_name: Annotated[str, Field(min_length=1, max_length=256)]
    message: str
    mode: Literal["form", "url"] = "form"
    url: str | None = None
    requested_schema: dict[str, Any] | None = None


def elicitation_asked(told: Elicitation, asked_by: AskedBy, run_id: str) -> AskedCall:
    """What is asked, as a person sees it. Raises ``InvalidInput`` when it cannot be shown."""
    parameters: dict[str, Any] = {"message": told.message}
    if told.mode == "url":
        parameters["url"] = told.url
    elif told.requested_schema is not None:
        parameters["requested_schema"] = told.requested_schema
    asked = AskedCall.of(_TOOL, parameters, asked_by, run_id=run_id, server=told.mcp_server_name)
    # Nothing runs by it; an address leads where nobody here knows.
    return asked._replace(risk_level="medium" if told.mode == "url" else "low", risk_reasons=())


def how_elicited(asked: AskedCall) -> dict[str, Any]:
    """How a person is asked about it: no rule answers it, and one answer is for one question."""
    how: dict[str, Any] = {"by_policy": False, "scopes": ("once",), "risk_reasons": (Reason("server_question"),)}
    form = asked.parameters.get("requested_schema")
    if form is None:
        return how | {"allowed_decisions": ("approve", "reject")}
    schema = {"type": "object", "properties": {"content": form}, "required": [*asked.parameters, "content"]}
    return how | {
        "allowed_decisions": ("approve", "edit", "reject"),
        "needs_answer": True,
        "input_schema": InputSchema.of(schema),
    }


def elicitation_answer(record: PermissionRecord) -> dict[str, Any]:
    """What the server is told; nothing where no person has answered."""
    answer: Mapping[str, Any]
    if record.decided_by is None or record.decision is None:
        return {}
    if record.approved:
        answer = {"action": "accept", "content": record.parameters.get("content", {})}
    else:
        answer = {"action": "decline"}
    return {"hookSpecificOutput": {"hookEventName": "Elicitation", **answer}}
