"""What an operator or a load balancer asks."""

from __future__ import annotations

import asyncio
from heapq import nsmallest

from aiohttp import web
from pydantic import Field

from ..errors import BrokerClosed
from ..session import Session
from .answers import SessionRow
from .boundary import Call, Query, reply

__all__ = ["DRAINING", "SessionsQuery", "list_sessions", "live", "ready"]


#: Set while the listener is still open and nothing new should come.
DRAINING = web.AppKey("draining", asyncio.Event)


class SessionsQuery(Query):
    """``limit`` is the most sessions that are told."""

    limit: int = Field(default=1000, ge=1, le=1000)


async def live(call: Call[Query, None]) -> web.Response:
    """The process answers."""
    return reply({"status": "live"})


async def ready(call: Call[Query, None]) -> web.Response:
    """The process takes work; 503 while it drains."""
    if call.broker.closed or call.request.config_dict[DRAINING].is_set():
        raise BrokerClosed("The service is shutting down.")
    return reply({"status": "ready"})


async def list_sessions(call: Call[SessionsQuery, None]) -> web.Response:
    """The open sessions that the caller's patterns cover: those in which something waits first, then the busiest."""
    seen = (session for session in call.broker.sessions if call.caller.sees(session.session_id))
    return reply([_row(session) for session in nsmallest(call.query.limit, seen, key=_by_need)])


def _by_need(session: Session) -> tuple[bool, float]:
    return not session.desk.pending_count, session.idle_seconds


def _row(session: Session) -> SessionRow:
    return SessionRow(
        session_id=session.session_id,
        connections=session.viewer_count,
        pending_permissions=session.desk.pending_count,
        last_event_id=session.log.last_event_id,
        idle_seconds=round(session.idle_seconds, 3),
    )
