"""The asker of a service that runs elsewhere, which is asked over HTTP about each call."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from ..client import Client
from ..core.errors import NotifierError, ServiceRefused, ServiceRestarted, ServiceUnavailable, ToolDenied
from ..core.events import CallDetails, DecisionKind, EventData, ToolStatus, dump
from ..core.label import NO_LABEL
from ..core.limits import Limits
from ..core.question import Question
from ..core.trace import in_trace, traceparent_now
from .asker import Permission, introduced, permission_by_record
from .denials import denial_by_error
from .results import shown_parameters

__all__ = ["ServiceAsker"]

_log = logging.getLogger("notifier_service.mcp")

_PAUSE_SECONDS = 0.5

_MAX_OUTBOX = 1000
_MAX_BATCH = 50
_MAX_BATCH_BYTES = 512 * 1024
_FAREWELL_SECONDS = 2.0
#: A restart takes less, whatever time the person has left.
_LEAST_AWAY_SECONDS = 15.0
_LONGEST_AWAY_SECONDS = 60 * 60.0


class ServiceAsker:
    """A session of a service that runs elsewhere, an async context manager.

    Its policy decides, so each call is a question. While it is away every call is denied; events are sent beside the
    calls, and the oldest are dropped when too many wait.

    The service has ``answer_seconds`` to answer, beyond the ``hold_seconds`` for which it may hold one. After it has
    gone, a call is denied that is asked ``ask_seconds`` later, and one that waited when the time is over that
    the person has for it (an hour where that is any), or ``wait_seconds`` later. That one goes on when the service is
    back before.
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
        wait_seconds: float | None = None,
    ) -> None:
        self._client = client
        self._session_id = session_id
        self._answer_seconds = answer_seconds
        self._hold_seconds = hold_seconds
        self._ask_seconds = ask_seconds
        self._wait_seconds = wait_seconds
        #: Events, and in which trace each was told.
        self._outbox: deque[tuple[str, EventData, str | None]] = deque(maxlen=_MAX_OUTBOX)
        self._has_mail = asyncio.Event()
        self._withdrawals: set[asyncio.Task[None]] = set()
        self._is_away = False
        self._is_leaving = False
        self._publisher: asyncio.Task[None] | None = None
        #: What to call the session, and whether that was said.
        self._introduced: dict[str, str | None] = {"title": None, "agent": None}
        self._is_introduced = True

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

    def allows(self, question: Question, *, goes_on: bool = False) -> bool:
        return goes_on

    async def ask(self, question: Question) -> Permission:
        began = time.monotonic()
        # Not the call's id: agents give the same one to different calls, and each is a question of its own.
        key = secrets.token_urlsafe(16)
        posted = asyncio.ensure_future(self._post(question, key, self._ask_seconds))
        try:
            while True:
                record = await asyncio.shield(posted)
                away_seconds = self._longest_away(record, began)
                if record.get("status") != "pending":
                    return await self._begun(question, record, key)
                if question.announce_status:
                    self._tell_that_it_waits(question, record["request_id"])
                try:
                    record = await self._decided(record["request_id"], away_seconds)
                except ServiceRestarted:
                    record = {}
                if record and record.get("code") != "shutdown":
                    return await self._begun(question, record, key)
                # It was restarted while a person thought: people are asked again as long as there is time.
                left = (question.timeout_seconds or math.inf) - (time.monotonic() - began)
                if left <= _PAUSE_SECONDS:
                    raise _restarted(question)
                posted = asyncio.ensure_future(self._post(question, key, min(left, away_seconds), anew=True))
        except asyncio.CancelledError:
            self._withdraw(posted)
            raise
        except NotifierError as error:
            self._withdraw(posted)
            raise error if isinstance(error, ToolDenied) else _denial(question, error) from error

    async def _begun(self, question: Question, record: dict[str, Any], run_id: str) -> Permission:
        """How the call goes on; one that runs is taken for this run first, so that it runs once."""
        permission = permission_by_record(record)
        if permission.response is not None:
            return permission
        if permission.edited is not None and "edit" not in _offered(question):
            raise ToolDenied(
                f"{question.tool_name} did not run: the service answered what was not offered.", outcome="invalid"
            )

        async def claim() -> dict[str, Any]:
            reports = question.announce_status
            try:
                claimed = await self._client.claim(self._session_id, record["request_id"], run_id, reports=reports)
            except ServiceRestarted:  # it has no journal: nobody else can have it, and it was approved
                claimed = None
            return record if claimed is None else claimed

        seconds = self._answer_seconds
        away_seconds = self._longest_away(record, time.monotonic())
        return permission_by_record(await self._patiently(claim, seconds, away_seconds, has_waited=True))

    def _longest_away(self, record: Mapping[str, Any], began: float) -> float:
        """How long the service may be away while this waits that a person may have answered."""
        if self._wait_seconds is not None:
            return self._wait_seconds
        person_seconds = record.get("timeout_seconds") or _LONGEST_AWAY_SECONDS
        left = min(person_seconds, _LONGEST_AWAY_SECONDS) - (time.monotonic() - began)
        return max(_LEAST_AWAY_SECONDS, left)

    def introduce(self, *, title: str | None = None, agent: str | None = None) -> None:
        known = introduced(self._introduced, title, agent)
        self._is_introduced &= known == self._introduced
        self._introduced = known

    async def _say_what_asks(self) -> None:
        """Call the session after what asks where nobody has; who may not do that asks all the same."""
        if self._is_introduced:
            return
        with suppress(ServiceRefused):
            row = await self._client.label(self._session_id)
            label = NO_LABEL.filled(**self._introduced)._asdict()
            unsaid = {name: text for name, text in label.items() if text is not None and row.get(name) is None}
            if unsaid:
                await self._client.label(self._session_id, **unsaid)
        self._is_introduced = True

    def tell(self, event_type: str, event: EventData) -> None:
        self._outbox.append((event_type, event, traceparent_now()))
        self._has_mail.set()

    def _tell_that_it_waits(self, question: Question, request_id: str) -> None:
        shown = shown_parameters(question.parameters, max_bytes=self.max_event_bytes)
        details = CallDetails(
            **shown, risk_level=question.risk_level, request_id=request_id, agent_call_id=question.agent_call_id
        )
        waiting = ToolStatus(
            status="waiting_permission",
            tool_name=question.tool_name,
            tool_call_id=question.tool_call_id,
            details=details,
        )
        with in_trace(question.traceparent):
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
            "agent_call_id": question.agent_call_id,
            "input_schema": None if question.input_schema is None else question.input_schema.to_json(),
        }

        async def post() -> dict[str, Any]:
            await self._say_what_asks()
            with in_trace(question.traceparent):
                record = await self._client.ask(
                    self._session_id,
                    question.tool_name,
                    question.parameters,
                    idempotency_key=key,
                    risk_level=question.risk_level,
                    risk_reasons=list(question.risk_reasons),
                    tool_call_id=question.tool_call_id,
                    allowed_decisions=sorted(_offered(question)),
                    **{name: value for name, value in more.items() if value is not None},
                )
            if anew and record.get("code") == "shutdown":  # it goes, and still knows the key
                raise ServiceUnavailable(f"The service at {self._client.url} was restarted while a person thought.")
            return record

        return await self._patiently(post, self._answer_seconds, patience_seconds, has_waited=anew)

    async def _decided(self, request_id: str, away_seconds: float) -> dict[str, Any]:
        async def held() -> dict[str, Any]:
            return await self._client.request(self._session_id, request_id, wait_seconds=self._hold_seconds)

        while True:
            record = await self._patiently(
                held, self._hold_seconds + self._answer_seconds, away_seconds, has_waited=True
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
            traceparent = self._outbox[0][2]
            batch = self._batch(traceparent)
            try:
                with in_trace(traceparent):
                    async with asyncio.timeout(self._answer_seconds):
                        await self._client.publish(self._session_id, batch)
            except (ServiceUnavailable, TimeoutError):
                # What a service did not see while it was away is over when it is back.
                _log.warning("%d events were lost: the service does not answer", len(batch))
            except NotifierError as error:
                _log.warning("%d events were refused: %s", len(batch), error)

    def _batch(self, traceparent: str | None) -> list[dict[str, Any]]:
        """The next events that were told in one trace."""
        batch: list[dict[str, Any]] = []
        size = 0
        while self._outbox and len(batch) < _MAX_BATCH and size < _MAX_BATCH_BYTES:
            if self._outbox[0][2] != traceparent:
                break
            event_type, event, _ = self._outbox.popleft()
            size += len(dump(event))
            batch.append({"type": event_type, "data": event.model_dump(mode="json")})
        return batch


def _offered(question: Question) -> set[DecisionKind]:
    """The decisions that the asker can carry out; nobody there could check an edit against a schema with a problem."""
    decisions = set(question.allowed_decisions)
    if question.input_schema is not None and question.input_schema.problem is not None:
        decisions.discard("edit")
    return decisions


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
