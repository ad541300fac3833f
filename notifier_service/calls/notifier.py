"""The three calls by which the reference documents' tools tell what they do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, get_args

from ..core.broker import process_broker
from ..core.errors import InvalidInput
from ..core.events import DecisionKind
from ..core.limits import RiskLevel
from ..core.permission_request import PermissionRequest
from ..core.question import Question
from ..core.trace import traceparent_now
from .report import Report

__all__ = ["SimpleNotifier"]

_RISKS = get_args(RiskLevel)
#: Whoever asks in this way runs the call itself, and may look only at whether it was approved.
_PLAIN_ANSWERS: tuple[DecisionKind, ...] = ("approve", "reject")


class SimpleNotifier:
    """Tells the process's broker, the one that ``serve()`` or ``create_app()`` was given, what a tool does.

    ``tool_info`` is a mapping with ``tool_name``, ``parameters``, ``risk_level`` and optionally ``tool_call_id`` and
    ``description``. Every call raises ``NoBroker`` before there is a broker, ``InvalidInput`` for a ``tool_info``
    that names no tool, and ``BrokerClosed`` at shutdown.
    """

    @classmethod
    async def notify_tool_execution_start(cls, session_id: str, tool_info: Mapping[str, Any]) -> None:
        """Tell that a tool begins to run (``tool_status`` ``executing``)."""
        info = _Info(tool_info)
        async with _telling(session_id, info) as report:
            report.executing(info.parameters, description=info.description)

    @classmethod
    async def notify_tool_waiting_permission(cls, session_id: str, tool_info: Mapping[str, Any]) -> PermissionRequest:
        """Ask a person, and return the request; ``await request.decision()`` gives the answer, or how it ended.

        People may approve and reject. A caller that runs the ``parameters`` of the answer, or gives its ``response`` to
        the agent, says so in ``tool_info``: ``"allowed_decisions": ["approve", "edit", "reject", "respond"]``. The
        caller has decided to ask, so a low risk does not answer; a rule of the policy does. Raises ``LimitReached``
        when too many requests are pending, and ``TooLarge`` for more than ``max_parameters_bytes``: nobody was asked
        then.
        """
        info = _Info(tool_info)
        question = Question(
            tool_name=info.tool_name,
            parameters=info.parameters,
            risk_level=info.risk_level,
            tool_call_id=info.tool_call_id,
            description=info.description,
            allowed_decisions=info.allowed_decisions,
            announce_status=True,
            by_policy=False,
        )
        return process_broker().ask(session_id, question)

    @classmethod
    async def notify_tool_execution_complete(
        cls, session_id: str, tool_info: Mapping[str, Any], result: Any, success: bool
    ) -> None:
        """Tell how a tool ended (``tool_result``, then ``tool_status`` ``completed`` or ``failed``)."""
        async with _telling(session_id, _Info(tool_info)) as report:
            report.result(result, success=bool(success))


@asynccontextmanager
async def _telling(session_id: str, info: _Info) -> AsyncIterator[Report]:
    """A report of this call; afterwards readers get a turn if much was told."""
    broker = process_broker()
    session = broker.open(session_id)
    tell = partial(broker.publish_to, session, traceparent=traceparent_now())
    max_bytes = broker.limits.max_event_bytes
    yield Report(tell, info.tool_name, info.risk_level, info.tool_call_id, max_event_bytes=max_bytes)
    if broker.must_breathe(session):
        await broker.breathe(session)


class _Info:
    """A ``tool_info``, checked once."""

    def __init__(self, tool_info: Mapping[str, Any]) -> None:
        tool_name = tool_info.get("tool_name")
        if not isinstance(tool_name, str) or not 1 <= len(tool_name) <= 256:
            raise InvalidInput("tool_info needs a tool_name of 1 to 256 characters")
        parameters = tool_info.get("parameters")
        if parameters is not None and not isinstance(parameters, Mapping):
            raise InvalidInput("tool_info's parameters must be a mapping")
        risk_level = tool_info.get("risk_level", "high")
        if risk_level not in _RISKS:
            raise InvalidInput("tool_info's risk_level must be low, medium or high")
        for name in ("tool_call_id", "description"):
            if not isinstance(tool_info.get(name), str | None):
                raise InvalidInput(f"tool_info's {name} must be a text")
        tool_call_id = tool_info.get("tool_call_id")
        if tool_call_id is not None and not 1 <= len(tool_call_id) <= 256:
            raise InvalidInput("tool_info's tool_call_id must have 1 to 256 characters")
        allowed_decisions = tool_info.get("allowed_decisions", _PLAIN_ANSWERS)
        if isinstance(allowed_decisions, str) or not isinstance(allowed_decisions, Collection):
            raise InvalidInput("tool_info's allowed_decisions must be a list")
        self.allowed_decisions: Collection[DecisionKind] = allowed_decisions
        self.tool_name: str = tool_name
        self.parameters: Mapping[str, Any] = parameters or {}
        self.risk_level: RiskLevel = risk_level
        self.tool_call_id: str | None = tool_info.get("tool_call_id")
        self.description: str | None = tool_info.get("description")
