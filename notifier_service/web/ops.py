"""What an operator or a load balancer asks."""

from __future__ import annotations

from aiohttp import web

from ..errors import BrokerClosed
from .answers import SessionRow
from .boundary import Call, Query, reply

__all__ = ["list_sessions", "live", "ready"]


async def live(call: Call[Query, None]) -> web.Response:
    """The process answers."""
    return reply({"status": "live"})


async def ready(call: Call[Query, None]) -> web.Response:
    """The process takes work; 503 while it drains."""
    if call.broker.closed:
        raise BrokerClosed("The service is shutting down.")
    return reply({"status": "ready"})


async def list_sessions(call: Call[Query, None]) -> web.Response:
    """The open sessions that the caller's patterns cover."""
    return reply(
        [
            SessionRow(
                session_id=session.session_id,
                connections=session.viewer_count,
                pending_permissions=session.desk.pending_count,
                last_event_id=session.log.last_event_id,
                idle_seconds=round(session.idle_seconds, 3),
            )
            for session in call.broker.sessions
            if call.caller.sees(session.session_id)
        ]
    )
