"""Calls people in their browsers: end to end encrypted, by device, and gone when the push service says so."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import socket
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp

from ...core.errors import Conflict, InvalidInput, LimitReached, NotFound
from ...core.events import PermissionRecord, utc_now, utc_text
from ...core.journal import Journal
from ...core.label import clean
from ...core.notices import Notice
from ...settings import Settings, is_loopback
from .outbox import Letter, Outbox, Outcome
from .outside import LOOPBACK, NotOutside, Outside, clock_hint, is_not_outside, seconds_to_wait
from .push_crypto import MAX_PLAIN, ServerKey, check_keys, encrypted, to_base64
from .subscriptions import InJournal, InMemory, Shelf, StillGood, Subscription
from .words import cut, pushed_summary

if TYPE_CHECKING:
    from ...storage.redaction import Redaction

__all__ = ["Push"]

_MOST, _MOST_EACH = 1000, 20
#: The longest names that fit: with the last, that of a tool twice and all with a backslash before each character.
_NAME_BYTES = (MAX_PLAIN, 600, 300)
#: Of a request without an end.
_LONGEST_SECONDS = 86_400.0
_LOOKUP_SECONDS = 3.0
_MAX_ENDPOINT = 2048

_log = logging.getLogger("notifier_service.notices")


class Push:
    """The channel ``push``, and the devices that it reaches."""

    name = "push"

    def __init__(
        self, settings: Settings, count: Callable[[str, str], object], still_good: StillGood, **outbox: Any
    ) -> None:
        self._settings = settings
        self._still_good = still_good
        self._outside = Outside(LOOPBACK if is_loopback(settings.host) else ())
        self._outbox = Outbox(self.name, self._deliver, count, gone=self._forget, **outbox)
        self._shelf: Shelf = InMemory()
        self._key: ServerKey | None = None
        self._devices: dict[str, Subscription] = {}
        #: How the last push to a device ended, and when.
        self._last: dict[str, tuple[str, str]] = {}
        self._called = {escalation.to for escalation in settings.escalate}
        self._http: aiohttp.ClientSession | None = None

    @cached_property
    def _redaction(self) -> Redaction:
        from ...storage.redaction import Redaction  # some thirty long patterns, which no start waits for

        return Redaction(self._settings.redact_keys)

    @property
    def is_on(self) -> bool:
        """Whether anybody can be called."""
        return bool(self._devices)

    @property
    def is_failing(self) -> bool:
        """One browser that cannot be reached is no trouble of this service."""
        return False

    def keep_in(self, journal: Journal) -> None:
        """Go on with the devices that a journal keeps, and with what they were not sent yet; keep what comes."""
        self.keep_on(InJournal(journal))
        self._outbox.keep_in(journal, self._devices)

    def keep_on(self, shelf: Shelf) -> None:
        """Go on with the devices that are kept there, and keep what comes."""
        self._shelf = shelf
        self._key, devices = shelf.load()
        self._devices = {one.id: one for one in devices}

    @property
    def key(self) -> ServerKey:
        """The key by which browsers know this service, made at first use."""
        if self._key is None:
            self._key = ServerKey()
            self._shelf.keep_key(self._key)
        return self._key

    # Devices

    async def check(self, endpoint: str) -> None:
        """Raise ``InvalidInput`` for an endpoint that nothing is sent to."""
        place = urlsplit(endpoint)
        is_here = self._is_here(place.hostname)
        if len(endpoint) > _MAX_ENDPOINT or place.username is not None or place.fragment or not place.hostname:
            raise InvalidInput("endpoint: a URL of a push service, without user and fragment")
        if place.scheme != "https" and not (place.scheme == "http" and is_here):
            raise InvalidInput("endpoint: https is needed")
        try:
            port = place.port or (443 if place.scheme == "https" else 80)
            self._outside.check(endpoint)
            found: Sequence[Any] = ()
            with suppress(TimeoutError, OSError):  # one that cannot be looked up now is looked up when it is used
                async with asyncio.timeout(_LOOKUP_SECONDS):
                    loop = asyncio.get_running_loop()
                    found = await loop.getaddrinfo(place.hostname, port, type=socket.SOCK_STREAM)
            for *_, address in found:
                self._outside.check(f"https://{_in_url(str(address[0]))}/")
        except ValueError:
            raise InvalidInput("endpoint: a URL of a push service, without user and fragment") from None
        except NotOutside:
            raise InvalidInput("endpoint: it leads to a private address") from None

    async def subscribe(self, device: Subscription) -> Subscription:
        """Take a device, or what it has changed to. Raises ``InvalidInput``, ``Conflict`` or ``LimitReached``.

        One that somebody else has subscribed moves to who comes with the same keys: with the same browser.
        """
        try:
            check_keys(device.p256dh, device.auth)
        except ValueError:
            raise InvalidInput("keys: p256dh is a point of P-256, and auth has 16 bytes, in base64url") from None
        await self.check(device.endpoint)
        before = self._devices.get(device.id)
        is_same = before is not None and (before.p256dh, before.auth) == (device.p256dh, device.auth)
        if before is not None and before.subject != device.subject and not is_same:
            raise Conflict("This endpoint is another one's device.")
        if before is None or before.subject != device.subject:
            held = Counter(one.subject for one in self._devices.values())[device.subject]
            if held >= _MOST_EACH or (before is None and len(self._devices) >= _MOST):
                raise LimitReached("push_subscriptions", f"{held} devices are yours; no more are taken.")
        self._shelf.keep(device)
        self._devices[device.id] = device
        return device

    def devices(self, subject: str | None) -> list[dict[str, Any]]:
        """What may be told of somebody's devices, or of all; not where they lead, which is a right to call them."""
        return [self.told(one) for one in self._devices.values() if subject is None or one.subject == subject]

    def told(self, device: Subscription) -> dict[str, Any]:
        result, at = self._last.get(device.id, (None, None))
        return {
            "id": device.id,
            "label": device.label,
            "subject": device.subject,
            "device_id": device.device_id or None,
            "sessions": list(device.sessions),
            "language": device.language,
            "service": urlsplit(device.endpoint).hostname,
            "created_at": utc_text(device.created_at),
            "last_result": result,
            "last_at": at,
        }

    def unsubscribe(self, device_id: str, subject: str | None) -> None:
        """Forget somebody's device. Raises ``NotFound``."""
        device = self._devices.get(device_id)
        if device is None or subject not in (None, device.subject):
            raise NotFound("There is no device of that id.")
        self._forget(device_id)

    def forget_paired(self, paired_id: str) -> None:
        """Forget what a device subscribed with the token that it was paired for."""
        for device in tuple(self._devices.values()):
            if device.device_id == paired_id:
                self._forget(device.id)

    def _forget(self, device_id: str) -> None:
        if self._devices.pop(device_id, None) is not None:
            self._last.pop(device_id, None)
            self._shelf.forget(device_id)

    # Calling

    def tell(self, notice: Notice) -> Collection[str]:
        """Have the devices called of those who may see the session, and do not look at it."""
        record = notice.record
        if record is None:
            return ()
        told: list[str] = []
        payloads: dict[tuple[str, bool], str] = {}
        for device in tuple(self._devices.values()):
            is_for = device.id in notice.told if notice.kind == "settled" else self._is_for(device, notice)
            if is_for and self._may_see(device, notice.session_id):
                kind = device.language, device.may_approve
                if kind not in payloads:
                    payloads[kind] = _payload(notice, record, *kind, self._redaction)
                self._outbox.put(self._letter(device, notice, record, payloads[kind]))
                told.append(device.id)
        return told

    def begin(self) -> None:
        """Send what waits from now on, on the loop that runs."""
        self._outbox.begin()

    async def close(self, within_seconds: float) -> None:
        await self._outbox.close(within_seconds)
        if self._http is not None:
            await self._http.close()

    def _is_for(self, device: Subscription, notice: Notice) -> bool:
        if notice.to is not None:
            return device.subject == notice.to
        return device.subject not in self._called and device.subject not in notice.lookers

    def _may_see(self, device: Subscription, session_id: str) -> bool:
        """Whether its token is good for the session still; a device of one that is good for none is forgotten."""
        reach = self._still_good(device)
        if reach is None:
            _log.info("a device is forgotten: the token with which it was made is no longer good")
            self._forget(device.id)
            return False
        return _matches(session_id, reach) and _matches(session_id, device.sessions)

    def _letter(self, device: Subscription, notice: Notice, record: PermissionRecord, payload: str) -> Letter:
        seconds = _LONGEST_SECONDS if notice.seconds_left is None else notice.seconds_left
        topic = to_base64(hashlib.sha256(record.request_id.encode()).digest())[:32]
        content = {"payload": payload, "kind": notice.kind}
        until = None if record.expires_at is None else self._outbox.clock() + seconds
        return Letter(device.id, content, topic, until)

    async def _deliver(self, letter: Letter) -> Outcome:
        device = self._devices.get(letter.target)
        if device is None:
            return Outcome("gone")
        left = _LONGEST_SECONDS if letter.until is None else letter.until - self._outbox.clock()
        headers = {
            "TTL": str(max(0, int(left))),
            "Urgency": "high" if letter.content["kind"] == "requested" else "normal",
            "Topic": str(letter.topic),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "Authorization": self.key.authorization(device.endpoint, self._contact),
        }
        body = encrypted(letter.content["payload"].encode(), device.p256dh, device.auth)
        outcome = await self._sent(device, body, headers)
        self._last[device.id] = outcome.why or outcome.result, utc_text(utc_now())
        return outcome

    async def _sent(self, device: Subscription, body: bytes, headers: Mapping[str, str]) -> Outcome:
        if self._http is None:
            self._http = self._outside.session()
        try:
            self._outside.check(device.endpoint)
            async with self._http.post(device.endpoint, data=body, headers=headers, allow_redirects=False) as response:
                return _outcome(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if is_not_outside(error):
                return self._not_outside()
            return Outcome("again", type(error).__name__)

    @staticmethod
    def _not_outside() -> Outcome:
        _log.warning("a device is forgotten: its endpoint leads to a private address")
        return Outcome("gone", "private address")

    @property
    def _contact(self) -> str:
        """Whom a push service may ask about us."""
        return self._settings.push_contact or self._settings.public_url or "mailto:nobody@localhost"

    def _is_here(self, host: str | None) -> bool:
        return is_loopback(self._settings.host) and host is not None and is_loopback(host)


def _outcome(response: aiohttp.ClientResponse) -> Outcome:
    status = response.status
    if status < 300:
        return Outcome("sent")
    if status in (404, 410):
        return Outcome("gone", f"status {status}")
    if status in (408, 425, 429) or status >= 500:
        return Outcome("again", f"status {status}", seconds_to_wait(response.headers))
    why = {401: "does not know us", 403: "does not know us", 413: "finds it too large"}.get(status, "refuses it")
    hint = f"; is the clock of this machine right?{clock_hint(response.headers)}" if status in (401, 403) else ""
    return Outcome("refused", f"status {status}: the push service {why}{hint}")


def _payload(notice: Notice, record: PermissionRecord, language: str, may_approve: bool, redaction: Redaction) -> str:
    """What the device is told: no parameter, because it fetches the whole by its own right. Long names are cut."""
    tool = redaction.name(clean(record.tool_name) or "")
    name = redaction.of(notice.label.title) or notice.session_id
    actions = _actions(record, may_approve=may_approve) if notice.kind == "requested" else []
    return next(
        payload
        for most in _NAME_BYTES
        if len((payload := _told(notice, record, language, actions, cut(tool, most), cut(name, most))).encode())
        <= MAX_PLAIN
    )


def _told(notice: Notice, record: PermissionRecord, language: str, actions: Sequence[str], tool: str, name: str) -> str:
    is_request = notice.kind == "requested"
    told = {
        "kind": "permission_request" if is_request else "settled",
        "session_id": notice.session_id,
        "request_id": record.request_id,
        "tool_name": tool,
        "risk_level": record.risk_level,
        "expires_at": None if record.expires_at is None else utc_text(record.expires_at),
        "summary": pushed_summary(notice, record, tool, name, language),
        "actions": actions,
    }
    if not is_request:
        told["status"] = record.status
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def _actions(record: PermissionRecord, *, may_approve: bool) -> list[str]:
    """What may be answered on the notification, by whom the device is of: what is risky is read first."""
    is_readable = may_approve and record.risk_level != "high" and "approve" in record.allowed_decisions
    return ["approve", "reject"] if is_readable else ["open"]


def _matches(session_id: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(session_id, pattern) for pattern in patterns)


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address
