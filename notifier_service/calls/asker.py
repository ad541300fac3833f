"""Who is asked whether a call may run: anybody who answers as this says, such as the broker of this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

from ..core.broker import Broker
from ..core.errors import BrokerClosed, InvalidInput, LimitReached, NotifierError, TooLarge, ToolDenied
from ..core.events import DecisionKind, EventData
from ..core.limits import RiskLevel
from ..core.permissions import ALL_DECISIONS
from ..core.policy import AskedTool, RatedBy
from .denials import denial_by_error, denial_by_record

__all__ = ["ASKED_BY", "Asker", "BrokerAsker", "Permission", "Question", "permission_by_record"]

_log = logging.getLogger("notifier_service.mcp")

#: Who called, where a gateway of the service asks on behalf of its callers; None is this program.
ASKED_BY: ContextVar[str | None] = ContextVar("notifier_service_asked_by", default=None)


class Question(NamedTuple):
    """May this call run?"""

    tool_name: str
    parameters: dict[str, Any]
    risk_level: RiskLevel
    risk_reasons: Sequence[str]
    tool_call_id: str
    timeout_seconds: float | None
    description: str | None = None
    allowed_decisions: tuple[DecisionKind, ...] = ALL_DECISIONS
    #: Whether the session is told that the call waits; who tells it so tells how the call ends, too.
    announce_status: bool = True
    #: The MCP server that has the tool, and a hash of how it defines it.
    server: str | None = None
    definition_sha256: str | None = None


class Permission(NamedTuple):
    """How a call goes on: as it is, with a person's edit, or with a person's response in its place."""

    edited: dict[str, Any] | None = None
    response: str | None = None
    decided_by: str | None = None


class Asker(Protocol):
    """One session of a service, as the gateway sees it."""

    @property
    def max_event_bytes(self) -> int: ...

    def allows(
        self,
        tool_name: str,
        risk_level: RiskLevel,
        *,
        server: str | None = None,
        definition_sha256: str | None = None,
    ) -> bool:
        """Whether the policy is known to let such a call run unasked. Never waits."""

    async def ask(self, question: Question) -> Permission:
        """Wait for the answer. Raises ``ToolDenied``; cancelled, it withdraws the request."""

    def tell(self, event_type: str, event: EventData) -> None:
        """Publish an event. Never waits, never raises."""


class BrokerAsker:
    """A session of the broker in this process; ``agent`` names the kind of agent that speaks through it.

    ``rated_by`` says whose word the risk of a question is: that of the MCP server behind a gateway, if nothing is said.
    """

    def __init__(
        self, broker: Broker, session_id: str, *, agent: str | None = None, rated_by: RatedBy = "producer"
    ) -> None:
        self._broker = broker
        self._session_id = session_id
        self._agent = agent
        self._rated_by = rated_by

    @property
    def max_event_bytes(self) -> int:
        return self._broker.limits.max_event_bytes

    def allows(
        self,
        tool_name: str,
        risk_level: RiskLevel,
        *,
        server: str | None = None,
        definition_sha256: str | None = None,
    ) -> bool:
        tool = AskedTool(tool_name, server, definition_sha256, ASKED_BY.get(), self._agent)
        try:
            return self._broker.open(self._session_id).admits(tool, risk_level, rated_by=self._rated_by)
        except NotifierError:
            return False  # to ask will say why

    async def ask(self, question: Question) -> Permission:
        if self.allows(
            question.tool_name,
            question.risk_level,
            server=question.server,
            definition_sha256=question.definition_sha256,
        ):
            return Permission()
        try:
            request = self._broker.ask(
                self._session_id,
                tool_name=question.tool_name,
                parameters=question.parameters,
                risk_level=question.risk_level,
                risk_reasons=question.risk_reasons,
                rated_by=self._rated_by,
                asked_by=ASKED_BY.get(),
                agent=self._agent,
                tool_call_id=question.tool_call_id,
                timeout_seconds=question.timeout_seconds,
                description=question.description,
                allowed_decisions=question.allowed_decisions,
                announce_status=question.announce_status,
                server=question.server,
                definition_sha256=question.definition_sha256,
            )
        except (BrokerClosed, LimitReached, TooLarge, InvalidInput) as error:
            raise denial_by_error(question.tool_name, error) from error
        try:
            record = await request.decision()
        except asyncio.CancelledError:
            request.cancel("the call was cancelled")
            raise
        return permission_by_record(dict(record))

    def tell(self, event_type: str, event: EventData) -> None:
        try:
            self._broker.publish_nowait(self._session_id, event_type, event)
        except NotifierError as error:
            _log.warning("%s was not published: %s", event_type, error)


def permission_by_record(record: Mapping[str, Any]) -> Permission:
    """How the call goes on that a settled request is about, or its denial."""
    decision, decided_by = record.get("decision"), record.get("decided_by")
    if record.get("approved") is True and decision == "approve":
        return Permission(decided_by=decided_by)
    if record.get("approved") is True and record.get("parameters_truncated") and decision == "edit":
        raise ToolDenied(
            f"{record.get('tool_name')} did not run: the edit is too large, and no longer kept whole.",
            outcome="invalid",
            request_id=record.get("request_id"),
        )
    if record.get("approved") is True and decision == "edit" and isinstance(record.get("parameters"), dict):
        return Permission(edited=record["parameters"], decided_by=decided_by)
    if decision == "respond" and isinstance(record.get("response"), str):
        return Permission(response=record["response"], decided_by=decided_by)
    raise denial_by_record(record)
