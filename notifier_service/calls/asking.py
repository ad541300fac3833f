"""Ask whether a call may run that somebody else makes: an agent framework with a callback, a middleware, a hook."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..core.broker import Broker, process_broker
from ..core.errors import InvalidInput, ToolDenied
from ..core.events import DecisionKind
from ..core.input_schema import InputSchema
from ..core.limits import RiskLevel
from ..core.parameters import jsonable
from ..core.question import Question
from .asker import Asker, BrokerAsker
from .denials import denial_by_error

if TYPE_CHECKING:
    from ..client import Client

__all__ = ["ask"]


async def ask(
    session_id: str,
    tool_name: str,
    parameters: Mapping[str, Any],
    *,
    service: Broker | Client | None = None,
    risk_level: RiskLevel = "high",
    risk_reasons: Sequence[str] = (),
    tool_call_id: str | None = None,
    description: str | None = None,
    timeout_seconds: float | None = None,
    server: str | None = None,
    definition_sha256: str | None = None,
    may_edit: bool = True,
    input_schema: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Wait for the answer, and return the parameters with which the call may run: a copy, or a person's edit.

    ``service`` is a broker of this process, a ``Client`` of a running service, or None for the process's broker. With
    ``may_edit=False`` people are offered no edit, for a caller that could not carry one out. Unlike ``ToolWrapper`` it
    does not know when the call runs, nor what it gives. ``server`` names the MCP server that has the tool,
    ``definition_sha256`` is a hash of how that server defines it, and an edit fits the ``input_schema`` (JSON Schema).

    Raises ``ToolDenied``, whose text says who or what denied it, also when the service is away. Cancelled, it withdraws
    the request.
    """
    schema = InputSchema.of(input_schema)
    try:
        frozen = jsonable(parameters)
        if schema is not None and schema.problem is not None:
            raise InvalidInput(f"input_schema: {schema.problem}")
    except InvalidInput as error:
        raise denial_by_error(tool_name, error) from error
    decisions: tuple[DecisionKind, ...] = ("approve", "edit", "reject") if may_edit else ("approve", "reject")
    question = Question(
        tool_name=tool_name,
        parameters=frozen,
        risk_level=risk_level,
        risk_reasons=risk_reasons,
        tool_call_id=tool_call_id or "call_" + secrets.token_urlsafe(12),
        timeout_seconds=timeout_seconds,
        description=description,
        allowed_decisions=decisions,
        server=server,
        definition_sha256=definition_sha256,
        input_schema=schema,
    )
    if service is None or isinstance(service, Broker):
        return await _parameters(BrokerAsker(service or process_broker(), session_id), question)
    from .service_asker import ServiceAsker  # who has a Client has loaded what it needs

    async with ServiceAsker(service, session_id) as asker:
        return await _parameters(asker, question)


async def _parameters(asker: Asker, question: Question) -> dict[str, Any]:
    permission = await asker.ask(question)
    is_edited = permission.edited is not None
    if permission.response is not None or (is_edited and "edit" not in question.allowed_decisions):
        raise ToolDenied(
            f"{question.tool_name} did not run: the service answered what was not offered.", outcome="invalid"
        )
    return dict(question.parameters if permission.edited is None else permission.edited)
