"""Devices that were paired: each has a token of its own, which gives no more than the token that it was given by.

Kept are digests, in the journal, or else in ``devices_file``, or else until the service stops.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..core.errors import InvalidInput, LimitReached, NotDurable, NotFound, Unauthenticated
from ..core.events import Timestamp, dump, utc_now, utc_text
from ..core.journal import Change, Journal
from ..storage.own_file import write_own
from .auth import DEVICE_PREFIX, Authenticator, Caller, digest_of, refuse_writable, with_included
from .patterns import covers

__all__ = ["DEVICES", "DEVICE_KIND", "Device", "DeviceRight", "Devices", "InFile", "InJournal"]

#: What a journal keeps them as, by their ids.
DEVICE_KIND = "device"

#: Nobody produces or administers with a device, whatever they may themselves.
DeviceRight = Literal["view", "approve"]

_MOST, _MOST_EACH = 1000, 20
#: When it was used last is noted no more often than so, and kept.
_USE_SECONDS, _KEPT_USE_SECONDS = 1.0, 3600.0

_log = logging.getLogger("notifier_service.auth")


class Device(BaseModel):
    """One device of one person: what its token gives, and by which token it was given."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")

    id: str
    label: str
    token_sha256: Annotated[str, Field(repr=False)]
    subject: str
    rights: tuple[DeviceRight, ...]
    sessions: tuple[str, ...]
    created_at: Timestamp
    #: In seconds since 1970.
    expires_at: float
    given_by_sha256: Annotated[str, Field(repr=False)]
    signed_with: Annotated[str, Field(repr=False)] = ""
    last_used_at: Timestamp | None = None

    @property
    def giver(self) -> Caller:
        """Who gave it, as far as that is known without the token."""
        return Caller(
            self.subject,
            with_included(self.rights),
            self.sessions,
            token_sha256=self.given_by_sha256,
            signed_with=self.signed_with,
        )


class Shelf(Protocol):
    """Keeps devices."""

    def load(self) -> list[Device]:
        """What was kept before."""

    def keep(self, device: Device) -> None:
        """May raise ``NotDurable``, as ``forget``."""

    def forget(self, device_id: str) -> None: ...


class InMemory:
    """Keeps nothing over a restart."""

    def load(self) -> list[Device]:
        return []

    def keep(self, device: Device) -> None:
        if device.last_used_at is None:
            _log.warning("a device that was paired is forgotten when the service stops: set journal, or devices_file")

    def forget(self, device_id: str) -> None:
        return None


class InJournal:
    """Keeps them with the sessions; who acknowledges something waits for the journal (``Broker.on_disk``)."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def load(self) -> list[Device]:
        return list(_read(change.body for change in self._journal.kept(DEVICE_KIND) if change.body))

    def keep(self, device: Device) -> None:
        self._journal.note(Change(DEVICE_KIND, device.id, dump(device)))

    def forget(self, device_id: str) -> None:
        self._journal.note(Change(DEVICE_KIND, device_id, None))


class InFile:
    """Keeps them in a file that only this user reads. Raises ``InvalidInput`` for one that cannot be used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: dict[str, Device] = {}

    def load(self) -> list[Device]:
        try:
            refuse_writable("devices_file", self._path)
            told = json.loads(self._path.read_text(encoding="utf-8"))
            found = list(_read(json.dumps(one).encode() for one in told["devices"]))
        except FileNotFoundError:
            self._write()  # now is the time to find out that it cannot be written
            return []
        except OSError as error:
            raise InvalidInput(f"devices_file cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise InvalidInput("devices_file is none: move it away, and pair the devices anew") from None
        self._kept = {one.id: one for one in found}
        return found

    def keep(self, device: Device) -> None:
        self._rewrite({**self._kept, device.id: device})

    def forget(self, device_id: str) -> None:
        self._rewrite({name: device for name, device in self._kept.items() if name != device_id})

    def _rewrite(self, kept: dict[str, Device]) -> None:
        self._kept = kept
        try:
            self._write()
        except InvalidInput as error:  # which it is at the start alone
            raise NotDurable(error.message) from None

    def _write(self) -> None:
        body = {"devices": [one.model_dump(mode="json") for one in self._kept.values()]}
        write_own(self._path, body, setting="devices_file")


def _read(bodies: Iterable[bytes]) -> Iterable[Device]:
    for body in bodies:
        try:
            yield Device.model_validate_json(body)
        except ValidationError:
            _log.error("a device that was paired cannot be read, and is forgotten")


class Devices:
    """Who holds the token of a device, and what that gives at this moment."""

    def __init__(self, auth: Authenticator) -> None:
        self._auth = auth
        self._shelf: Shelf = InMemory()
        self._by_id: dict[str, Device] = {}
        self._by_token: dict[str, Device] = {}

    def keep_in(self, shelf: Shelf) -> None:
        """Go on with the devices that are kept there, and keep what comes."""
        self._shelf = shelf
        for device in shelf.load():
            self._take(device)

    # Tokens

    def holder(self, token: str) -> Caller | None:
        """Whose token this is; None if no device's. Raises ``Unauthenticated`` where it is no longer good."""
        device = self._by_token.get(digest_of(token))
        if device is None:
            return None
        caller = self._caller(device)
        self._note_use(device)
        return caller

    def reach_of(self, device_id: str) -> tuple[str, ...] | None:
        """In which sessions a device may look on now; None for in none."""
        try:
            return self.again(device_id).sessions
        except Unauthenticated:
            return None

    def _caller(self, device: Device) -> Caller:
        if device.expires_at <= time.time():
            raise Unauthenticated("The token has expired.", reason="expired")
        giver = self._auth.again(device.giver).now()
        rights = with_included(device.rights) & giver.rights
        sessions = tuple(pattern for pattern in device.sessions if covers(giver.sessions, pattern))
        if not rights or not sessions:
            raise Unauthenticated("The token that this device was paired by gives nothing of it any more.")
        return Caller(
            giver.name,
            rights,
            sessions,
            device.expires_at,
            lambda _: self.again(device.id),
            device.token_sha256,
            device_id=device.id,
            device=device.label,
        )

    def again(self, device_id: str) -> Caller:
        """Who holds the token of a device that something was left with us for, as they may do it now.

        Raises ``Unauthenticated``.
        """
        device = self._by_id.get(device_id)
        if device is None:
            raise Unauthenticated("The token was revoked.", reason="revoked")
        return self._caller(device)

    def _note_use(self, device: Device) -> None:
        now, before = utc_now(), device.last_used_at
        ago = _KEPT_USE_SECONDS if before is None else (now - before).total_seconds()
        if ago < _USE_SECONDS:
            return
        used = device.model_copy(update={"last_used_at": now})
        self._take(used)
        if ago >= _KEPT_USE_SECONDS:
            with suppress(NotDurable):
                self._shelf.keep(used)

    # Devices

    def add(
        self, giver: Caller, *, label: str, rights: tuple[DeviceRight, ...], sessions: tuple[str, ...], until: float
    ) -> tuple[Device, str]:
        """Take a device, and return it with its token, which nobody can tell afterwards. Raises ``LimitReached``."""
        self._make_room(giver.name)
        token = DEVICE_PREFIX + secrets.token_urlsafe(32)
        device = Device(
            id=f"device_{secrets.token_hex(8)}",
            label=label,
            token_sha256=digest_of(token),
            subject=giver.name,
            rights=rights,
            sessions=sessions,
            created_at=utc_now(),
            expires_at=until,
            given_by_sha256=giver.token_sha256,
            signed_with=giver.signed_with,
        )
        try:
            self._shelf.keep(device)
        except NotDurable:
            with suppress(NotDurable):
                self._shelf.forget(device.id)
            raise
        self._take(device)
        return device, token

    def of(self, caller: Caller) -> list[dict[str, Any]]:
        """What may be told of the devices that a caller may take back: its own, of everybody for an admin."""
        return [self.told(one, caller) for one in self._by_id.values() if _is_for(one, caller)]

    def told(self, device: Device, caller: Caller) -> dict[str, Any]:
        return {
            "id": device.id,
            "label": device.label,
            "subject": device.subject,
            "rights": list(device.rights),
            "sessions": list(device.sessions),
            "created_at": utc_text(device.created_at),
            "last_used_at": None if device.last_used_at is None else utc_text(device.last_used_at),
            "expires_at": utc_text(datetime.fromtimestamp(device.expires_at, UTC)),
            "ended": self._why_ended(device),
            "is_own": device.id == caller.device_id,
        }

    def remove(self, device_id: str, caller: Caller) -> Device | None:
        """Forget a device, whose token is worth nothing from now on; None where there is none of this id.

        Raises ``NotFound`` for one that is not this caller's to take back. ``NotDurable`` says that it is back after a
        restart.
        """
        device = self._by_id.get(device_id)
        if device is None:
            return None
        if not _is_for(device, caller):
            raise NotFound("There is no device of that id.")
        self.forget(device)
        return device

    def forget(self, device: Device) -> None:
        """It was never there."""
        self._by_id.pop(device.id, None)
        self._by_token.pop(device.token_sha256, None)
        self._shelf.forget(device.id)

    def _take(self, device: Device) -> None:
        self._by_id[device.id] = self._by_token[device.token_sha256] = device

    def _why_ended(self, device: Device) -> str | None:
        """Why the token of a device is no longer good; None where it is."""
        try:
            self._caller(device)
        except Unauthenticated as error:
            return "expired" if error.reason == "expired" else "revoked"
        return None

    def _make_room(self, subject: str) -> None:
        """What has ended gives way. Raises ``LimitReached``."""
        held = [one for one in self._by_id.values() if one.subject == subject]
        if len(held) < _MOST_EACH and len(self._by_id) < _MOST:
            return
        for device in held:
            if self._why_ended(device) is not None:
                self.forget(device)
                return
        raise LimitReached("devices", f"{len(held)} devices are yours; no more are taken.")


DEVICES = web.AppKey("devices", Devices)


def _is_for(device: Device, caller: Caller) -> bool:
    if caller.device_id:  # who has found a phone takes no other away
        return caller.device_id == device.id
    # The same token may have another subject now.
    return caller.may("admin") or device.subject == caller.name or device.given_by_sha256 == caller.token_sha256
