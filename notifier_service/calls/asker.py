"""Who is asked whether a call may run: anybody who answers as this says, such as the broker of this process."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

from ..core.broker import Broker
from ..core.errors import BrokerClosed, InvalidInput, LimitReached, NotifierError, NotRecorded, TooLarge, ToolDenied
from ..core.events import EventData
from ..core.question import Question
from ..core.trace import traceparent_now
from .denials import denial_by_error, denial_by_record

__all__ = ["ASKED_BY", "Asker", "BrokerAsker", "Permission", "permission_by_record", "publish_in_trace"]

_log = logging.getLogger("notifier_service.mcp")

#: Who called, and a digest of the token, where a gateway of the service asks on behalf of its callers; None is this
#: program.
ASKED_BY: ContextVar[tuple[str | None, str]] = ContextVar("notifier_service_asked_by", default=(None, ""))


class Permission(NamedTuple):
    """How a call goes on: as it is, with a person's edit, or with a person's response in its place."""

    edited: dict[str, Any] | None = None
    response: str | None = None
    decided_by: str | None = None


class Asker(Protocol):
    """One session of a service, as who asks there sees it."""

    @property
    def max_event_bytes(self) -> int: ...

    def allows(self, question: Question, *, goes_on: bool = False) -> bool:
        """Whether the policy is known to let such a call run unasked. Never waits.

        If it ``goes_on`` with a call that was let run, whether the policy is not known to deny it.
        """

    async def ask(self, question: Question) -> Permission:
        """Wait for the answer. Raises ``ToolDenied``; cancelled, it withdraws the request."""

    def introduce(self, *, title: str | None = None, agent: str | None = None) -> None:
        """Say what asks and where, for people: a session that nobody has called anything is called so with a question.

        Both are words of somebody who may be nobody to trust, and no rule goes by them.
        """

    def tell(self, event_type: str, event: EventData) -> None:
        """Publish an event. Never waits, never raises."""


class BrokerAsker:
    """A session of the broker in this process; ``agent`` names the kind of agent that speaks through it."""

    def __init__(self, broker: Broker, session_id: str, *, agent: str | None = None) -> None:
        self._broker = broker
        self._session_id = session_id
        self._agent = agent
        self._introduced: dict[str, str | None] = {"title": None, "agent": None}

    @property
    def max_event_bytes(self) -> int:
        return self._broker.limits.max_event_bytes

    def allows(self, question: Question, *, goes_on: bool = False) -> bool:
        asked = self._asked(question)
        try:
            return self._broker.open(self._session_id).admits(asked, goes_on=goes_on)
        except NotifierError:
            return False  # to ask will say why

    async def ask(self, question: Question) -> Permission:
        asked = self._asked(question)
        try:
            session = self._broker.open(self._session_id)
            if await session.admit(asked):
                return Permission()
            session.be_called(session.label.filled(**self._introduced))
            request = self._broker.ask(self._session_id, asked)
        except (BrokerClosed, LimitReached, NotRecorded, TooLarge, InvalidInput) as error:
            raise denial_by_error(question.tool_name, error) from error
        try:
            await request.recorded()
            record = await request.decision()
            if record.approved:
                desk = self._broker.look(self._session_id).desk
                await desk.claim(request, secrets.token_urlsafe(16), reports=question.announce_status)
        except (NotRecorded, BrokerClosed) as error:
            raise denial_by_error(question.tool_name, error) from error
        except asyncio.CancelledError:
            request.cancel("the call was cancelled")
            raise
        return permission_by_record(dict(record))

    def _asked(self, question: Question) -> Question:
        asked_by, asked_with = ASKED_BY.get()
        return question._replace(asked_by=asked_by, asked_with=asked_with, agent=self._agent)

    def introduce(self, *, title: str | None = None, agent: str | None = None) -> None:
        self._introduced = introduced(self._introduced, title, agent)

    def tell(self, event_type: str, event: EventData) -> None:
        try:
            publish_in_trace(self._broker, self._session_id, event_type, event)
        except NotifierError as error:
            _log.warning("%s was not published: %s", event_type, error)


def introduced(before: Mapping[str, str | None], title: str | None, agent: str | None) -> dict[str, str | None]:
    """What is known by now of who asks; an empty word says nothing."""
    return {"title": title or before["title"], "agent": agent or before["agent"]}


def publish_in_trace(broker: Broker, session_id: str, event_type: str, event: EventData) -> None:
    """Publish what happens to a call in the trace of who makes it. Raises what ``Session.publish`` does."""
    broker.publish_to(broker.open(session_id), event_type, event, traceparent=traceparent_now())


def permission_by_record(record: Mapping[str, Any]) -> Permission:
    """How the call goes on that a settled request is about, or its denial."""
    decision, decided_by = record.get("decision"), record.get("decided_by")
    if record.get("approved") is True and decision == "approve":
        return Permission(decided_by=decided_by)
    if record.get("approved") is True and record.get("parameters_truncated") and decision == "edit":
        raise ToolDenied(
            f"{record.get('tool_name') or 'The call'} did not run: the edit is too large, and no longer kept whole.",
            outcome="invalid",
            request_id=record.get("request_id"),
        )
    if record.get("approved") is True and decision == "edit" and isinstance(record.get("parameters"), dict):
        return Permission(edited=record["parameters"], decided_by=decided_by)
    if decision == "respond" and isinstance(record.get("response"), str):
        return Permission(response=record["response"], decided_by=decided_by)
    raise denial_by_record(record)
