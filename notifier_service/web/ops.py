"""What an operator or a load balancer asks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple, TypeVar

from aiohttp import web
from pydantic import Field, JsonValue

from ..core.broker import Broker
from ..core.errors import BrokerClosed, InvalidInput
from ..core.event_log import base36
from ..core.events import dump
from ..core.journal import Head
from ..core.redaction import without_credentials
from ..core.session import Session
from ..service_address import CHALLENGE, KeyUnusable, address_of, own_key, proof
from .answers import json_answer, reply
from .models import AuditHealth, JournalHealth, PolicyHealth, PolicyRow, PolicyState, WebhookHealth
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


#: So many sessions does one turn of the loop look at, or describe, well below a millisecond of it.
_A_TURN = 50
_CURSOR = re.compile(r"([012])-([0-9a-z]{1,16})-([A-Za-z0-9._:~-]{1,128})")

Value = TypeVar("Value")


class SessionsQuery(Query):
    """``limit`` is the most sessions that are told, ``cursor`` the ``next`` of an earlier answer."""

    limit: int = Field(default=1000, ge=1, le=1000)
    cursor: str | None = Field(default=None, max_length=256, json_schema_extra={"pattern": f"^{_CURSOR.pattern}$"})


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
    health: dict[str, str] = {
        "policy": policy_health(call.broker),
        "audit": audit_health(call.broker),
        "journal": journal_health(call.broker),
        "webhooks": webhook_health(call.broker),
    }
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


def webhook_health(broker: Broker) -> WebhookHealth:
    """Whether the receivers of webhooks take what they are sent."""
    failing = [channel.is_failing for channel in broker.notices.channels if channel.name == "webhook"]
    if not failing:
        return "none"
    return "failing" if any(failing) else "sent"


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


class _Place(NamedTuple):
    """Where a session stands in the list."""

    #: Whether something waits in it, it is only open, or nobody has come back to it since an earlier run.
    rank: int
    #: When it was used last, the latest first.
    unused: int
    session_id: str

    def __str__(self) -> str:
        return f"{self.rank}-{base36(-self.unused)}-{self.session_id}"

    @classmethod
    def of(cls, session: Session) -> _Place:
        return cls(int(not session.pending_count), -int(session.active_at * 1e6), session.session_id)

    @classmethod
    def named(cls, cursor: str) -> _Place:
        found = _CURSOR.fullmatch(cursor)
        if found is None:
            raise InvalidInput("cursor: this is none: it is what next of an earlier answer said")
        return cls(int(found[1]), -int(found[2], 36), found[3])


async def list_sessions(call: Call[SessionsQuery, None]) -> web.Response:
    """The open sessions that the caller's patterns cover: those in which something waits first, then the busiest."""
    broker, query, sees = call.broker, call.query, call.caller.sees
    behind = None if query.cursor is None else _Place.named(query.cursor)
    found: list[tuple[_Place, Session | Head]] = []
    async for part in _in_turns(broker.everyone()):
        last = found[-1][0] if len(found) > query.limit else None
        for one in part:
            place = _Place.of(one) if isinstance(one, Session) else _Place(2, 0, one.session_id)
            if (behind is None or place > behind) and (last is None or place < last) and sees(one.session_id):
                found.append((place, one))
        found.sort()
        del found[query.limit + 1 :]
    told, has_more = found[: query.limit], len(found) > query.limit
    rows: list[bytes] = []
    async for some in _in_turns(told):
        rows += [dump(one.row if isinstance(one, Session) else broker.dormant_row(one)) for _, one in some]
    behind_it = b',"next":%b' % dump(str(told[-1][0])) if has_more else b""
    return json_answer(b'{"success":true,"data":[%b]%b}' % (b",".join(rows), behind_it))


async def _in_turns(values: Iterable[Value]) -> AsyncIterator[Sequence[Value]]:
    """The values in parts, between which others get their turn."""
    left = iter(values)
    await asyncio.sleep(0)
    while part := list(islice(left, _A_TURN)):
        yield part
        await asyncio.sleep(0)
