"""Tickets: half a minute, one use, one session, so that no token that lives long stands in a URL."""

from __future__ import annotations

import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from datetime import timedelta

from aiohttp import web

from ..core.errors import LimitReached
from ..core.events import utc_now, utc_text
from .answers import reply
from .auth import TICKET_PREFIX, Caller
from .request import Call, Query

__all__ = ["TICKETS", "Tickets", "issue", "issued"]

_SECONDS = 30.0
_AT_MOST = 10_000

#: Of one caller, so that nobody uses up what all have.
_AT_MOST_EACH = 100


class Tickets:
    """Tickets that were issued and not used yet: at most 10,000, and 100 of one caller.

    ``clock`` is in seconds, monotonic.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        capacity: int = _AT_MOST,
        capacity_each: int = _AT_MOST_EACH,
    ) -> None:
        self._clock = clock
        self._capacity = capacity
        self._capacity_each = capacity_each
        self._by_caller: Counter[str] = Counter()
        self._issued: OrderedDict[str, tuple[float, Caller]] = OrderedDict()

    @staticmethod
    def seconds_for(caller: Caller) -> float:
        """How long a ticket of this caller is good: no longer than the token that stands behind it."""
        return _SECONDS if caller.seconds_left is None else min(_SECONDS, caller.seconds_left)

    def issue(self, caller: Caller, session_id: str | None) -> str:
        """Return a ticket that stands for the caller in this session; without one to look on in all, and no more.

        Raises ``LimitReached``.
        """
        now = self._clock()
        while self._issued and next(iter(self._issued.values()))[0] <= now:
            self._drop(next(iter(self._issued)))
        if len(self._issued) >= self._capacity or self._by_caller[caller.name] >= self._capacity_each:
            raise LimitReached("tickets", f"{self._by_caller[caller.name]} tickets of yours wait to be used.")
        ticket = TICKET_PREFIX + secrets.token_urlsafe(24)
        self._by_caller[caller.name] += 1
        self._issued[ticket] = (
            now + self.seconds_for(caller),
            caller.only_viewing() if session_id is None else caller.only_in(session_id),
        )
        return ticket

    def use(self, ticket: str) -> Caller | None:
        """Return whom the ticket stands for, once; None for one that nobody issued, is used, or is too old."""
        if ticket not in self._issued:
            return None
        until, caller = self._drop(ticket)
        return caller if until > self._clock() else None

    def _drop(self, ticket: str) -> tuple[float, Caller]:
        until, caller = self._issued.pop(ticket)
        self._by_caller[caller.name] -= 1
        if not self._by_caller[caller.name]:
            del self._by_caller[caller.name]
        return until, caller


TICKETS = web.AppKey("tickets", Tickets)


async def issue(call: Call[Query, None]) -> web.Response:
    """A ticket that stands for the caller in this session: once, and for half a minute."""
    return issued(call, call.session_id)


def issued(call: Call[Query, None], session_id: str | None) -> web.Response:
    """The answer with a ticket for this session, or for all that the caller may see."""
    tickets = call.request.config_dict[TICKETS]
    seconds = tickets.seconds_for(call.caller)
    return reply(
        {
            "ticket": tickets.issue(call.caller, session_id),
            "expires_at": utc_text(utc_now() + timedelta(seconds=seconds)),
            "expires_in": seconds,
        },
        status=201,
    )
