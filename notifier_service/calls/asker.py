"""Who is asked whether a call may run: the broker of this process, or a running service."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from ..client import Client
from ..core.broker import Broker
from ..core.errors import (
    BrokerClosed,
    InvalidInput,
    LimitReached,
    NotifierError,
    ServiceRefused,
    ServiceRestarted,
    ServiceUnavailable,
    TooLarge,
    ToolDenied,
)
from ..core.events import DecisionKind, EventData, ToolStatus, dump
from ..core.limits import Limits, RiskLevel
from ..core.permissions import ALL_DECISIONS
from ..core.policy import AskedTool, RatedBy
from .denials import denial_by_error, denial_by_record
from .results import shown_parameters

__all__ = ["ASKED_BY", "Asker", "BrokerAsker", "Permission", "Question", "ServiceAsker"]

_log = logging.getLogger("notifier_service.mcp")

#: Who called, where a gateway of the service asks on behalf of its callers; None is this program.
ASKED_BY: ContextVar[str | None] = ContextVar("notifier_service_asked_by", default=None)

_PAUSE_SECONDS = 0.5

_MAX_OUTBOX = 1000
_MAX_BATCH = 50
_MAX_BATCH_BYTES = 512 * 1024
_FAREWELL_SECONDS = 2.0


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
        return _permission(dict(record))

    def tell(self, event_type: str, event: EventData) -> None:
        try:
            self._broker.publish_nowait(self._session_id, event_type, event)
        except NotifierError as error:
            _log.warning("%s was not published: %s", event_type, error)


class ServiceAsker:
    """A session of a service that runs elsewhere, an async context manager.

    Its policy decides, so each call is a question. While it is away every call is denied; events are sent beside the
    calls, and the oldest are dropped when too many wait.

    The service has ``answer_seconds`` to answer, beyond the ``hold_seconds`` for which it may hold one. After it has
    gone, a call is denied that is asked ``ask_seconds`` later, and one that waited ``wait_seconds`` later; that one is
    asked again when the service is back before.
    """

    max_event_bytes = Limits().max_event_bytes

    def __init__(
        self,
        client: Client,
        session_id: str,
        *,
        answer_seconds: float = 5,
        hold_seconds: float = 10,
        ask_seconds: float = 5,
        wait_seconds: float = 15,
    ) -> None:
        self._client = client
        self._session_id = session_id
        self._answer_seconds = answer_seconds
        self._hold_seconds = hold_seconds
        self._ask_seconds = ask_seconds
        self._wait_seconds = wait_seconds
        self._outbox: deque[tuple[str, EventData]] = deque(maxlen=_MAX_OUTBOX)
        self._has_mail = asyncio.Event()
        self._withdrawals: set[asyncio.Task[None]] = set()
        self._is_away = False
        self._is_leaving = False
        self._publisher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._publisher = asyncio.create_task(self._publish())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._publisher is not None  # entered
        self._is_leaving = True
        self._has_mail.set()
        tasks = {self._publisher, *self._withdrawals}
        await asyncio.wait(tasks, timeout=_FAREWELL_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def allows(
        self,
        tool_name: str,
        risk_level: RiskLevel,
        *,
        server: str | None = None,
        definition_sha256: str | None = None,
    ) -> bool:
        return False

    async def ask(self, question: Question) -> Permission:
        began = time.monotonic()
        # Not the call's id: agents give the same one to different calls, and each is a question of its own.
        key = secrets.token_urlsafe(16)
        posted = asyncio.ensure_future(self._post(question, key, self._ask_seconds))
        try:
            while True:
                record = await asyncio.shield(posted)
                if record.get("status") != "pending":
                    return _permission(record)
                if question.announce_status:
                    self._tell_that_it_waits(question, record["request_id"])
                try:
                    record = await self._decided(record["request_id"])
                except ServiceRestarted:
                    record = {}
                if record and record.get("code") != "shutdown":
                    return _permission(record)
                # It was restarted while a person thought: people are asked again as long as there is time.
                left = (question.timeout_seconds or math.inf) - (time.monotonic() - began)
                if left <= _PAUSE_SECONDS:
                    raise _restarted(question)
                posted = asyncio.ensure_future(self._post(question, key, min(left, self._wait_seconds), anew=True))
        except asyncio.CancelledError:
            self._withdraw(posted)
            raise
        except NotifierError as error:
            self._withdraw(posted)
            raise error if isinstance(error, ToolDenied) else _denial(question, error) from error

    def tell(self, event_type: str, event: EventData) -> None:
        self._outbox.append((event_type, event))
        self._has_mail.set()

    def _tell_that_it_waits(self, question: Question, request_id: str) -> None:
        shown = shown_parameters(question.parameters, max_bytes=self.max_event_bytes)
        details = {**shown, "risk_level": question.risk_level, "request_id": request_id}
        waiting = ToolStatus(
            status="waiting_permission",
            tool_name=question.tool_name,
            tool_call_id=question.tool_call_id,
            details=details,
        )
        self.tell("tool_status", waiting)

    async def _post(
        self, question: Question, key: str, patience_seconds: float, *, anew: bool = False
    ) -> dict[str, Any]:
        """Register the request. An answer that got lost is asked for again, and is the same."""
        more: dict[str, Any] = {
            "timeout_seconds": question.timeout_seconds,
            "description": question.description,
            "server": question.server,
            "definition_sha256": question.definition_sha256,
        }

        async def post() -> dict[str, Any]:
            record = await self._client.ask(
                self._session_id,
                question.tool_name,
                question.parameters,
                idempotency_key=key,
                risk_level=question.risk_level,
                risk_reasons=list(question.risk_reasons),
                tool_call_id=question.tool_call_id,
                allowed_decisions=list(question.allowed_decisions),
                **{name: value for name, value in more.items() if value is not None},
            )
            if anew and record.get("code") == "shutdown":  # it goes, and still knows the key
                raise ServiceUnavailable(f"The service at {self._client.url} was restarted while a person thought.")
            return record

        return await self._patiently(post, self._answer_seconds, patience_seconds, has_waited=anew)

    async def _decided(self, request_id: str) -> dict[str, Any]:
        async def held() -> dict[str, Any]:
            return await self._client.request(self._session_id, request_id, wait_seconds=self._hold_seconds)

        while True:
            record = await self._patiently(
                held, self._hold_seconds + self._answer_seconds, self._wait_seconds, has_waited=True
            )
            if record.get("status") != "pending":
                return record

    async def _patiently(
        self,
        call: Callable[[], Awaitable[dict[str, Any]]],
        answer_seconds: float,
        patience_seconds: float,
        *,
        has_waited: bool = False,
    ) -> dict[str, Any]:
        """Call again while the service is away, for so long after the first call began that failed."""
        began: float | None = None
        while True:
            called_at = time.monotonic()
            try:
                async with asyncio.timeout(answer_seconds):
                    record = await call()
                self._is_away = False
                return record
            except ServiceRefused as error:
                if error.status != 429 and error.status < 500:
                    raise
                away: NotifierError = error
            except TimeoutError:
                away = ServiceUnavailable(f"The service at {self._client.url} does not answer in time.")
            except ServiceUnavailable as error:
                away = error
            began = called_at if began is None else began
            if time.monotonic() + _PAUSE_SECONDS > began + patience_seconds or (self._is_away and not has_waited):
                # Who knows it to be away waits for it only where a person may have thought already.
                self._is_away = True
                raise away
            await asyncio.sleep(_PAUSE_SECONDS)

    def _withdraw(self, posted: asyncio.Future[dict[str, Any]]) -> None:
        """Take back what was asked, or is being asked, beside whatever else happens."""

        async def withdraw() -> None:
            with suppress(NotifierError, TimeoutError):
                record = await posted
                async with asyncio.timeout(self._answer_seconds):
                    await self._client.cancel(self._session_id, record["request_id"])

        task = asyncio.create_task(withdraw())
        self._withdrawals.add(task)
        task.add_done_callback(self._withdrawals.discard)

    async def _publish(self) -> None:
        while True:
            if not self._outbox:
                if self._is_leaving:
                    return
                self._has_mail.clear()
                await self._has_mail.wait()
                continue
            batch = self._batch()
            try:
                async with asyncio.timeout(self._answer_seconds):
                    await self._client.publish(self._session_id, batch)
            except (ServiceUnavailable, TimeoutError):
                # What a service did not see while it was away is over when it is back.
                _log.warning("%d events were lost: the service does not answer", len(batch))
            except NotifierError as error:
                _log.warning("%d events were refused: %s", len(batch), error)

    def _batch(self) -> list[dict[str, Any]]:
        batch: list[dict[str, Any]] = []
        size = 0
        while self._outbox and len(batch) < _MAX_BATCH and size < _MAX_BATCH_BYTES:
            event_type, event = self._outbox.popleft()
            size += len(dump(event))
            batch.append({"type": event_type, "data": event.model_dump(mode="json")})
        return batch


def _permission(record: Mapping[str, Any]) -> Permission:
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


def _denial(question: Question, error: NotifierError) -> ToolDenied:
    if isinstance(error, ServiceUnavailable) or (isinstance(error, ServiceRefused) and error.status >= 500):
        return ToolDenied(f"{question.tool_name} did not run: {error.message}", outcome="unavailable")
    return denial_by_error(question.tool_name, error)


def _restarted(question: Question) -> ToolDenied:
    return ToolDenied(
        f"{question.tool_name} did not run: the service was restarted while a person thought, and no time is left to "
        "ask again.",
        outcome="unavailable",
    )
