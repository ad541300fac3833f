"""The browsers that may be called by push, and the key by which they know this service: kept over a restart."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...core.errors import InvalidInput
from ...core.events import Timestamp, dump
from ...core.journal import Change, Journal
from ...storage.own_file import write_own
from .push_crypto import ServerKey, from_base64, to_base64

__all__ = [
    "PUSH_KEY_KIND",
    "PUSH_KIND",
    "InFile",
    "InJournal",
    "InMemory",
    "Shelf",
    "StillGood",
    "Subscription",
    "id_of",
]

PUSH_KIND = "push"
PUSH_KEY_KIND = "push_key"

_log = logging.getLogger("notifier_service.notices")


class Subscription(BaseModel):
    """One browser of one person: where pushes go, with which keys, and about which sessions."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")

    id: str
    endpoint: str = Field(repr=False)
    p256dh: str = Field(repr=False)
    auth: str = Field(repr=False)
    subject: str
    #: Those of the token with which it was made, and those that its person wants to hear of.
    reach: tuple[str, ...]
    sessions: tuple[str, ...] = ("*",)
    label: str | None = None
    language: Literal["en", "zh"] = "en"
    created_at: Timestamp
    token_sha256: Annotated[str, Field(repr=False)] = ""
    #: When the token expires, in seconds since 1970.
    expires_at: float | None = None
    #: The paired device whose token it was.
    device_id: str = ""
    #: Whether that token gave more than to look on.
    may_approve: bool = True


def id_of(endpoint: str) -> str:
    """The name of a subscription, which tells nobody where it leads."""
    return "dev_" + hashlib.sha256(f"push {endpoint}".encode()).hexdigest()[:24]


class Shelf(Protocol):
    """Keeps subscriptions and a key."""

    def load(self) -> tuple[ServerKey | None, list[Subscription]]:
        """What was kept before."""

    def keep_key(self, key: ServerKey) -> None: ...

    def keep(self, subscription: Subscription) -> None: ...

    def forget(self, subscription_id: str) -> None: ...


class InMemory:
    """Keeps nothing over a restart."""

    def load(self) -> tuple[ServerKey | None, list[Subscription]]:
        return None, []

    def keep_key(self, key: ServerKey) -> None:
        _log.warning("devices are forgotten when the service stops: set journal, or push_file")

    def keep(self, subscription: Subscription) -> None:
        return None

    def forget(self, subscription_id: str) -> None:
        return None


class InJournal:
    """Keeps them with the sessions; who acknowledges something waits for the journal (``Broker.on_disk``)."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def load(self) -> tuple[ServerKey | None, list[Subscription]]:
        keys = [change.body for change in self._journal.kept(PUSH_KEY_KIND) if change.body]
        bodies = [change.body for change in self._journal.kept(PUSH_KIND) if change.body]
        key = None
        for text in keys:
            key = _key_of(text.decode(errors="replace"))
        return key, list(_read(bodies))

    def keep_key(self, key: ServerKey) -> None:
        self._journal.note(Change(PUSH_KEY_KIND, "key", to_base64(key.number).encode()))

    def keep(self, subscription: Subscription) -> None:
        self._journal.note(Change(PUSH_KIND, subscription.id, dump(subscription)))

    def forget(self, subscription_id: str) -> None:
        self._journal.note(Change(PUSH_KIND, subscription_id, None))


class InFile:
    """Keeps them in a file that only this user reads. Raises ``InvalidInput`` for one that cannot be used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key: ServerKey | None = None
        self._kept: dict[str, Subscription] = {}

    def load(self) -> tuple[ServerKey | None, list[Subscription]]:
        try:
            told = json.loads(self._path.read_text(encoding="utf-8"))
            self._key = _key_of(told["key"])
            found = list(_read([json.dumps(one).encode() for one in told["devices"]]))
        except FileNotFoundError:
            self._write()  # now is the time to find out that it cannot be written
            return None, []
        except OSError as error:
            raise InvalidInput(f"push_file cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InvalidInput("push_file is none: move it away, and devices subscribe anew") from None
        self._kept = {one.id: one for one in found}
        return self._key, found

    def keep_key(self, key: ServerKey) -> None:
        self._key = key
        self._write()

    def keep(self, subscription: Subscription) -> None:
        self._kept[subscription.id] = subscription
        self._write()

    def forget(self, subscription_id: str) -> None:
        if self._kept.pop(subscription_id, None) is not None:
            self._write()

    def _write(self) -> None:
        body = {
            "key": None if self._key is None else to_base64(self._key.number),
            "devices": [one.model_dump(mode="json") for one in self._kept.values()],
        }
        write_own(self._path, body, setting="push_file")


def _key_of(text: str | None) -> ServerKey | None:
    if text is None:
        return None
    try:
        return ServerKey(from_base64(text))
    except ValueError:
        _log.error("the key for pushes cannot be read: another one is made, and devices subscribe anew")
        return None


def _read(bodies: Iterable[bytes]) -> Iterable[Subscription]:
    for body in bodies:
        try:
            yield Subscription.model_validate_json(body)
        except ValidationError:
            _log.error("a device cannot be read, and is forgotten")


#: Says in which sessions the token is good now that a subscription was made with; None for in none any more.
StillGood = Callable[[Subscription], tuple[str, ...] | None]
