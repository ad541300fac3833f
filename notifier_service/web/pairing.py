"""Pairing a device: a link that is shown as a picture, opened once, and gives a token of its own (section 14)."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field, StringConstraints

from ..core.errors import Forbidden, Gone, LimitReached, NotDurable, NotFound, NotifierError, Unauthenticated
from ..core.events import EventData, Many, utc_now, utc_text
from ..core.label import MAX_AGENT, clean
from .answers import reply
from .auth import AUTH, TICKET_PREFIX, Authenticator, Caller, NoAuth, digest_of, with_included
from .client_address import client_address
from .devices import DEVICES, Device, DeviceRight
from .guesses import GUESSES
from .patterns import covers
from .push import PUSH
from .request import Call, Query
from .revocation import end_revoked

__all__ = [
    "PAIRINGS",
    "PairBody",
    "PairingBody",
    "Pairings",
    "list_devices",
    "look",
    "make",
    "remove_device",
    "show",
    "take",
    "withdraw",
]

#: How long a link is good.
_LINK_SECONDS = 300.0
#: How long it is known afterwards how it ended.
_KNOWN_SECONDS = 3600.0
_AT_MOST, _AT_MOST_EACH = 1000, 20
#: How long a token is good where nobody says it.
_TOKEN_SECONDS = 90 * 86_400.0
_LONGEST_TOKEN_SECONDS = 366 * 86_400.0

#: With the path of the page, or without one, where the prefix is added.
_Address = Annotated[str, StringConstraints(pattern=r"^https?://[!$-.0->A-~]+([/?#][!-~]*)?$", max_length=300)]

State = Literal["waiting", "used", "expired", "withdrawn"]


@dataclass(slots=True)
class _Pairing:
    """What a link gives to whoever opens it first."""

    id: str
    giver: Caller
    label: str | None
    rights: tuple[DeviceRight, ...]
    sessions: tuple[str, ...]
    #: When the token expires, in seconds since 1970, and the link, by the clock.
    token_until: float
    until: float
    ended: Literal["used", "withdrawn"] | None = None
    device_id: str | None = None

    @property
    def gives(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "subject": self.giver.name,
            "rights": list(self.rights),
            "sessions": list(self.sessions),
            "expires_at": utc_text(datetime.fromtimestamp(self.token_until, UTC)),
        }


class Pairings:
    """Links that were made and gave nothing yet: 20 of one caller, for five minutes. ``clock`` is in seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._made: OrderedDict[str, _Pairing] = OrderedDict()

    def make(self, giver: Caller, body: PairingBody) -> tuple[_Pairing, str]:
        """Return a link and its secret. Raises ``Forbidden`` for what the giver has not, and ``LimitReached``."""
        rights, sessions, token_until = _offered(giver, body)
        self._forget_old()
        held = Counter(one.giver.name for one in self._made.values() if self.state_of(one) == "waiting")[giver.name]
        if held >= _AT_MOST_EACH or len(self._made) >= _AT_MOST:
            raise LimitReached("pairings", f"{held} links of yours wait to be opened.")
        # As a ticket it is taken out of whatever is written down.
        secret = TICKET_PREFIX + secrets.token_urlsafe(18)
        pairing = _Pairing(
            id=f"pairing_{secrets.token_hex(8)}",
            giver=giver,
            label=clean(body.label or ""),
            rights=rights,
            sessions=sessions,
            token_until=token_until,
            until=self._clock() + min(_LINK_SECONDS, token_until - time.time()),
        )
        self._made[digest_of(secret)] = pairing
        return pairing, secret

    def find(self, secret: str) -> _Pairing:
        """What a link gives. Raises ``NotFound`` for one that nobody made, and ``Gone`` for one that gives no more."""
        pairing = self._made.get(digest_of(secret))
        if pairing is None:
            raise NotFound("There is no such link: it was never made, or the service was restarted since.")
        state = self.state_of(pairing)
        if state != "waiting":
            why = {"used": "was used", "expired": "is too old", "withdrawn": "was taken back"}[state]
            raise Gone(f"This link {why}: have another one made.", reason=state)
        try:
            pairing.giver.now()
        except Unauthenticated:
            raise Gone("The token by which this link was made is no longer good.", reason="revoked") from None
        return pairing

    def of(self, pairing_id: str, caller: Caller) -> _Pairing:
        """A link that this caller has made. Raises ``NotFound``."""
        for pairing in self._made.values():
            if pairing.id == pairing_id and pairing.giver.name == caller.name and not caller.device_id:
                return pairing
        raise NotFound("There is no link of that id.")

    def state_of(self, pairing: _Pairing) -> State:
        return pairing.ended or ("waiting" if pairing.until > self._clock() else "expired")

    def seconds_left(self, pairing: _Pairing) -> float:
        return max(0.0, pairing.until - self._clock())

    def _forget_old(self) -> None:
        while self._made and next(iter(self._made.values())).until + _KNOWN_SECONDS <= self._clock():
            self._made.popitem(last=False)


PAIRINGS = web.AppKey("pairings", Pairings)


class PairingBody(EventData):
    """What a device is called, what it may do where and for how long, and where it reaches the service.

    Without them: the same as the caller, but at most ``approve``, in the same sessions, for 90 days at most.
    """

    label: Annotated[str, Field(max_length=MAX_AGENT)] | None = None
    rights: Annotated[Many[DeviceRight], Field(min_length=1, max_length=2)] | None = None
    sessions: (
        Annotated[Many[Annotated[str, Field(min_length=1, max_length=256)]], Field(min_length=1, max_length=100)] | None
    ) = None
    expires_in: Annotated[float, Field(ge=60, le=_LONGEST_TOKEN_SECONDS)] | None = None
    url: _Address | None = None
    #: Where the caller itself sees the page, for a service that does not know its ``public_url``.
    page: _Address | None = None


class PairBody(EventData):
    """What the device calls itself, where its person has said nothing."""

    label: Annotated[str, Field(max_length=MAX_AGENT)] | None = None


async def make(call: Call[Query, PairingBody]) -> web.Response:
    """Make a link that gives a device a token of its own, once, within five minutes."""
    page = _page(call)
    if isinstance(call.request.config_dict[AUTH], NoAuth):
        # Nobody needs a token, and nobody could be told from another by one.
        return reply({"needs_token": False, "url": page, "svg": _svg(page)}, status=201)
    pairings = call.request.config_dict[PAIRINGS]
    pairing, secret = pairings.make(call.caller, call.body)
    # Behind the #, which no browser sends to anybody: it is in no log of a proxy, and in no Referer.
    url = f"{page}#/pair/{secret}"
    seconds = pairings.seconds_left(pairing)
    return reply(
        {
            "needs_token": True,
            "pairing_id": pairing.id,
            "url": url,
            "svg": _svg(url),
            "expires_at": utc_text(utc_now() + timedelta(seconds=seconds)),
            "expires_in": seconds,
            "gives": pairing.gives,
        },
        status=201,
    )


async def show(call: Call[Query, None]) -> web.Response:
    """How a link of the caller stands: whether it waits, and which device has used it."""
    pairings = call.request.config_dict[PAIRINGS]
    pairing = pairings.of(call.request.match_info["pairing_id"], call.caller)
    return reply({"pairing_id": pairing.id, "status": pairings.state_of(pairing), "device_id": pairing.device_id})


async def withdraw(call: Call[Query, None]) -> web.Response:
    """Take a link of the caller back before it is used."""
    pairings = call.request.config_dict[PAIRINGS]
    pairing = pairings.of(call.request.match_info["pairing_id"], call.caller)
    if pairings.state_of(pairing) == "waiting":
        pairing.ended = "withdrawn"
    return reply({"pairing_id": pairing.id, "status": pairings.state_of(pairing), "device_id": pairing.device_id})


async def look(call: Call[Query, None]) -> web.Response:
    """What a link gives, to whoever has it; it is not used by that, however often and by whomever it is fetched."""
    pairing = await _found(call)
    return reply({"gives": pairing.gives, "expires_in": call.request.config_dict[PAIRINGS].seconds_left(pairing)})


async def take(call: Call[Query, PairBody]) -> web.Response:
    """Take what a link gives: a token for this device, once."""
    if call.broker.is_durable:
        call.broker.require_durable()
    pairing = await _found(call)
    devices = call.request.config_dict[DEVICES]
    device, token = devices.add(
        pairing.giver.now(),
        label=pairing.label or clean(call.body.label or "") or "a phone",
        rights=pairing.rights,
        sessions=pairing.sessions,
        until=pairing.token_until,
    )
    pairing.ended, pairing.device_id = "used", device.id  # before anything is waited for: of many at once one has it
    try:
        if call.broker.is_durable:
            await call.broker.on_disk()
    except (NotifierError, asyncio.CancelledError):
        pairing.ended, pairing.device_id = None, None
        devices.forget(device)
        raise
    call.broker.recorder.device("device_paired", _recorded(device, by=device.subject))
    return reply({"token": token, "device": devices.told(device, _NOBODY)}, status=201)


async def list_devices(call: Call[Query, None]) -> web.Response:
    """The devices that the caller has paired, and the browsers that are called by push; of everybody for an admin."""
    caller, push = call.caller, call.request.config_dict.get(PUSH)
    whose = None if caller.may("admin") else caller.name
    return reply(
        {
            "devices": call.request.config_dict[DEVICES].of(caller),
            "subscriptions": [] if push is None else push.devices(whose),
        }
    )


async def remove_device(call: Call[Query, None]) -> web.Response:
    """Take the token of a device back, with all that it has opened; or call a browser no more."""
    device_id, caller, push = call.request.match_info["device_id"], call.caller, call.request.config_dict.get(PUSH)
    try:
        device = call.request.config_dict[DEVICES].remove(device_id, caller)
    except NotDurable:
        _end(call, device_id)  # though it is back after a restart
        raise
    if device is not None:
        _end(call, device_id)
        call.broker.recorder.device("device_removed", _recorded(device, by=caller.name))
    elif push is None:
        raise NotFound("There is no device of that id.")
    else:
        push.unsubscribe(device_id, None if caller.may("admin") else caller.name)
    if call.broker.is_durable:
        await call.broker.on_disk()
    return reply({"id": device_id, "status": "removed"})


def _end(call: Call[Any, Any], device_id: str) -> None:
    """End what a device has open, and call it no more."""
    end_revoked(call.request.config_dict)
    push = call.request.config_dict.get(PUSH)
    if push is not None:
        push.forget_paired(device_id)


_NOBODY = Caller("", frozenset(), ())


async def _found(call: Call[Query, Any]) -> _Pairing:
    secret = Authenticator.token_of(call.request, token_in_query=False)
    if not secret:
        raise Unauthenticated("This needs the secret of a link, as Authorization: Bearer.", reason="missing")
    try:
        return call.request.config_dict[PAIRINGS].find(secret)
    except (NotFound, Gone):
        await call.request.config_dict[GUESSES].slow_down(client_address(call.request))
        raise


def _offered(giver: Caller, body: PairingBody) -> tuple[tuple[DeviceRight, ...], tuple[str, ...], float]:
    """What a device gets of what its giver has. Raises ``Forbidden`` for more than that."""
    if giver.device_id:
        raise Forbidden("A device pairs no other: use the token that it was paired by.")
    default: tuple[DeviceRight, ...] = ("approve",) if giver.may("approve") else ("view",)
    rights = tuple(dict.fromkeys(body.rights or default))
    if not with_included(rights) <= giver.rights:
        raise Forbidden("A device gets no right that your token has not.")
    sessions = tuple(body.sessions or giver.sessions)
    if not all(covers(giver.sessions, pattern) for pattern in sessions):
        raise Forbidden("A device gets no sessions that your token is not for.")
    left = giver.seconds_left
    seconds = min(_TOKEN_SECONDS, _TOKEN_SECONDS if left is None else left)
    if body.expires_in is not None:
        seconds = body.expires_in
        if left is not None and seconds > left:
            raise Forbidden(f"The token of a device ends no later than yours, which is good for {left:.0f} s.")
    return rights, sessions, time.time() + seconds


def _page(call: Call[Query, PairingBody]) -> str:
    """Where the device finds the page."""
    here = f"{call.request.scheme}://{call.request.host}"
    given = call.body.url or call.settings.public_url or call.body.page or here
    base = given.partition("#")[0].partition("?")[0].rstrip("/")
    has_path = "/" in base.partition("://")[2]
    return f"{base}/" if has_path else f"{base}{call.settings.prefix}/"


def _svg(url: str) -> str:
    """The picture of a link: black on white, whatever the page's colours are, with the border that readers need."""
    import segno  # who pairs nothing need not load it

    svg = BytesIO()
    segno.make(url, error="m", micro=False).save(
        svg, kind="svg", xmldecl=False, nl=False, omitsize=True, border=4, dark="#000", light="#fff"
    )
    return svg.getvalue().decode()


def _recorded(device: Device, *, by: str) -> dict[str, Any]:
    return {
        "device_id": device.id,
        "device": device.label,
        "rights": list(device.rights),
        "sessions": list(device.sessions),
        "until": utc_text(datetime.fromtimestamp(device.expires_at, UTC)),
        "token_sha256": device.token_sha256[:16],
        "decided_by": by,
    }
