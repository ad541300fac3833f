"""What an operator or a load balancer asks."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from heapq import nsmallest
from itertools import islice

from aiohttp import web
from pydantic import Field, JsonValue

from ..core.broker import Broker
from ..core.errors import BrokerClosed, InvalidInput
from ..core.journal import Head
from ..core.redaction import without_credentials
from ..core.session import Session
from ..service_address import CHALLENGE, KeyUnusable, address_of, own_key, proof
from .answers import reply
from .models import AuditHealth, JournalHealth, PolicyHealth, PolicyRow, PolicyState, SessionRow
from .request import Call, Query

__all__ = [
    "BEHIND_PREFIX",
    "DRAINING",
    "SessionsQuery",
    "journal_health",
    "list_sessions",
    "live",
    "policy",
    "policy_health",
    "ready",
]


#: Set while the listener is still open and nothing new should come.
DRAINING = web.AppKey("draining", asyncio.Event)

#: The name of the route of ``live`` behind the prefix.
BEHIND_PREFIX = "live-behind-the-prefix"


class SessionsQuery(Query):
    """``limit`` is the most sessions that are told."""

    limit: int = Field(default=1000, ge=1, le=1000)


async def live(call: Call[Query, None]) -> web.Response:
    """The process answers; and who it is, to who asks with a challenge: where its API begins, and a proof."""
    challenge = call.request.headers.get(CHALLENGE)
    if challenge is None:
        return reply({"status": "live"})
    if not re.fullmatch(r"[A-Za-z0-9_-]{16,128}", challenge):
        raise InvalidInput(f"{CHALLENGE}: 16 to 128 of A-Z, a-z, 0-9, _ and - are needed")
    is_behind = call.request.match_info.route.name == BEHIND_PREFIX
    version = call.request.version
    told: dict[str, JsonValue] = {
        "status": "live",
        "prefix": "" if is_behind else call.settings.prefix,
        # What has come through, for who asks from behind a proxy: nothing that he has not sent himself.
        "seen": {
            "http": f"{version.major}.{version.minor}",
            "host": without_credentials(call.request.headers.get("Host", "")[:280]),
        },
    }
    transport = call.request.transport
    name = None if transport is None else transport.get_extra_info("sockname")
    if isinstance(name, tuple):
        with suppress(KeyUnusable):  # the command told it at its start
            key = own_key()
            address = address_of(name)
            told |= {"address": address, "proof": None if key is None else proof(key, challenge, address)}
    return reply(told)


async def ready(call: Call[Query, None]) -> web.Response:
    """The process takes work; 503 while it drains."""
    if call.broker.closed or call.request.config_dict[DRAINING].is_set():
        raise BrokerClosed("The service is shutting down.")
    health = {"policy": policy_health(call.broker), "audit": audit_health(call.broker)}
    health["journal"] = journal_health(call.broker)
    return reply({"status": "ready", **{name: how for name, how in health.items() if how != "none"}})


def audit_health(broker: Broker) -> AuditHealth:
    """Whether what happens is put on record."""
    if not broker.recorder.is_on:
        return "none"
    return "written" if broker.recorder.audit.error is None else "failing"


def journal_health(broker: Broker) -> JournalHealth:
    """Whether what is acknowledged is kept over a restart."""
    if not broker.is_durable:
        return "none"
    return "written" if broker.journal.error is None else "failing"


def policy_health(broker: Broker) -> PolicyHealth:
    """Whether the rules in force are what their files say now."""
    files = [file for file in (broker.policy, broker.rules.learned) if file is not None]
    if not files:
        return "none"
    return "loaded" if all(file.error is None for file in files) else "stale"


async def policy(call: Call[Query, None]) -> web.Response:
    """The policy in force, and why the newest text of its file does not load, if it does not."""
    file, learned = call.broker.policy, call.broker.rules.learned
    kept = {} if learned is None else {"learned_file": str(learned.path), "learned_error": learned.error}
    if file is None:
        return reply(PolicyState(file=None, default="by-risk", loaded_at=None, rules=(), error=None, **kept))
    rules = tuple(PolicyRow(name=rule.name, effect=rule.effect) for rule in file.policy.rules)
    return reply(
        PolicyState(
            file=str(file.path),
            default=file.policy.default,
            loaded_at=file.loaded_at,
            rules=rules,
            error=file.error,
            **kept,
        )
    )


async def list_sessions(call: Call[SessionsQuery, None]) -> web.Response:
    """The open sessions that the caller's patterns cover: those in which something waits first, then the busiest."""
    seen = (session for session in call.broker.sessions if call.caller.sees(session.session_id))
    rows = [_row(session) for session in nsmallest(call.query.limit, seen, key=_by_need)]
    idle_seconds = round(call.broker.dormant_seconds, 3)
    dormant = (head for head in call.broker.dormant if call.caller.sees(head.session_id))
    rows += [_dormant_row(head, idle_seconds) for head in islice(dormant, call.query.limit - len(rows))]
    return reply(rows)


def _by_need(session: Session) -> tuple[bool, float]:
    return not session.desk.pending_count, session.idle_seconds


def _dormant_row(head: Head, idle_seconds: float) -> SessionRow:
    return SessionRow(
        session_id=head.session_id,
        connections=0,
        pending_permissions=0,
        last_event_id=head.last_event_id,
        idle_seconds=idle_seconds,
    )


def _row(session: Session) -> SessionRow:
    return SessionRow(
        session_id=session.session_id,
        connections=session.viewer_count,
        pending_permissions=session.desk.pending_count,
        last_event_id=session.log.last_event_id,
        idle_seconds=round(session.idle_seconds, 3),
    )
