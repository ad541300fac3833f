"""Who is calling, and what they may do in a session (contract section 8)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Generic, Literal, Protocol, Self, TypeVar
from weakref import WeakSet

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from ..core.errors import Forbidden, InvalidInput, Unauthenticated
from ..core.question import Decider
from ..settings import is_loopback
from .loopback import require_own_program, require_own_user

__all__ = [
    "AUTH",
    "DEVICE_PREFIX",
    "TICKET_PREFIX",
    "Authenticator",
    "Caller",
    "DeviceTokens",
    "NoAuth",
    "Right",
    "TokenAuth",
    "UseTicket",
    "WatchedFile",
    "digest_of",
    "refuse_writable",
    "still_may_view",
    "still_sees_the_same",
    "with_included",
]

_log = logging.getLogger("notifier_service.auth")

Content = TypeVar("Content")

#: Shorter ones are refused, and those below the second number are told of.
_MIN_TOKEN_CHARACTERS = 2
_GOOD_TOKEN_CHARACTERS = 16

#: Tells a ticket from a token.
TICKET_PREFIX = "tk_"
#: And what this service gave to a device itself.
DEVICE_PREFIX = "nsd_"

Right = Literal["view", "approve", "produce", "admin"]

#: What each right includes; producing never includes seeing or deciding.
_INCLUDES: Mapping[Right, frozenset[Right]] = {
    "view": frozenset({"view"}),
    "approve": frozenset({"view", "approve"}),
    "produce": frozenset({"produce"}),
    "admin": frozenset({"view", "approve", "produce", "admin"}),
}


_VIEW = frozenset[Right]({"view"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a name, rights, and the sessions in which they hold."""

    name: str
    rights: frozenset[Right]
    #: Globs, of which a session's name must match one.
    sessions: tuple[str, ...]
    #: When the token that says so expires, in seconds since 1970; None for never.
    expires_at: float | None = None
    #: Whom the token stands for at this moment, or ``Unauthenticated``; None where no token stands behind it.
    renew: Callable[[Caller], Caller] | None = field(default=None, compare=False, repr=False)
    #: Which token it was, as a digest; empty where there is none. Two tokens of one name may be two programs.
    token_sha256: str = field(default="", compare=False, repr=False)
    #: Which of the keys has signed it, as a digest; empty where none has.
    signed_with: str = field(default="", compare=False, repr=False)
    #: The id and the name of the device that the token was given to; empty where it was given to none.
    device_id: str = field(default="", compare=False)
    device: str = field(default="", compare=False)
    #: It stands for somebody who may approve, and is itself to look on alone.
    looks_for_approver: bool = field(default=False, compare=False)

    def now(self) -> Caller:
        """Whom the token stands for at this moment. Raises ``Unauthenticated`` when it has expired or was revoked."""
        if self.expires_at is not None and self.seconds_left == 0:
            raise Unauthenticated("The token has expired.", reason="expired")
        return self if self.renew is None else self.renew(self)

    def only_in(self, session_id: str) -> Caller:
        """The same caller with no session but this one; what stands behind it is asked as for the whole."""
        return replace(self, sessions=(session_id,), renew=partial(_renewed_in, self, session_id))

    def only_viewing(self) -> Caller:
        """The same caller with no right but to look on."""
        return replace(
            self,
            rights=self.rights & _VIEW,
            renew=partial(_renewed_to_view, self),
            looks_for_approver=self.is_approver,
        )

    @property
    def seconds_left(self) -> float | None:
        """How long the token is still good; None for ever."""
        return None if self.expires_at is None else max(0.0, self.expires_at - time.time())

    def may(self, right: Right) -> bool:
        return right in self.rights

    @property
    def is_approver(self) -> bool:
        """Whether the person who looks on may also approve, with this or with the token behind it."""
        return self.may("approve") or self.looks_for_approver

    @property
    def approves_with(self) -> Right:
        """The right by which this caller decides."""
        return "admin" if "admin" in self.rights else "approve"

    def decider(self, *, via: str, through: str) -> Decider:
        """Who decides, for the log and the record: ``via`` which way it comes, ``through`` what the person uses."""
        return {
            "decided_by": self.name,
            "decided_with": self.token_sha256,
            "device": self.device,
            "via": via,
            "reach": self.sessions,
            "through": through,
            "right": self.approves_with,
        }

    def sees(self, session_id: str) -> bool:
        """Whether the session patterns cover this session, which may or may not exist."""
        return "*" in self.sessions or any(fnmatchcase(session_id, pattern) for pattern in self.sessions)

    def require(self, rights: frozenset[Right], session_id: str | None) -> Caller:
        """Return whom the token stands for at this moment, or raise what keeps it from doing this.

        ``Unauthenticated`` when it is no longer good, ``Forbidden`` unless one of the rights is held, in this session
        if one is meant. Whoever goes on for long asks again before each thing that needs the right.
        """
        caller = self.now()
        if session_id is not None and not caller.sees(session_id):
            raise Forbidden("This token is not for that session.")
        if not rights & caller.rights:
            raise Forbidden(f"This needs the right {' or '.join(sorted(rights))}.")
        return caller

    def still_may(self, rights: frozenset[Right], session_id: str | None) -> bool:
        """Whether ``require`` would not raise."""
        try:
            self.require(rights, session_id)
        except (Unauthenticated, Forbidden):
            return False
        return True


#: Returns whom a ticket stands for, once; None for one that is not good.
UseTicket = Callable[[str], Caller | None]


class DeviceTokens(Protocol):
    """The tokens that this service gave to devices itself."""

    def holder(self, token: str) -> Caller | None:
        """Whose token this is; None if no device's. Raises ``Unauthenticated`` where it is no longer good."""

    def reach_of(self, device_id: str) -> tuple[str, ...] | None:
        """In which sessions a device may look on now; None for in none."""


class Authenticator(ABC):
    """Says who sent a request, or raises ``Unauthenticated``."""

    def __init__(self, use_ticket: UseTicket) -> None:
        self._use_ticket = use_ticket
        self.devices: DeviceTokens | None = None

    def caller_of(self, request: web.Request, *, token_in_query: bool, any_user: bool = False) -> Caller:
        """``token_in_query`` is set for streams, whose clients cannot set headers.

        ``any_user`` is for what everybody on this machine may know where no tokens tell who is who.
        """
        return self._sender(self.token_of(request, token_in_query=token_in_query), token_in_query=token_in_query)

    def caller_on(self, transport: asyncio.BaseTransport, authorization: str) -> Caller:
        """Who sends a request with this header over a connection, and with none by which somebody speaks for others."""
        return self._sender(_bearer(authorization), token_in_query=False)

    def _sender(self, token: str, *, token_in_query: bool) -> Caller:
        if not token:
            raise Unauthenticated("This needs a token.", reason="missing")
        if token.startswith(TICKET_PREFIX) and not token_in_query:
            # Else whoever finds one in a log could fetch tickets with it for ever.
            raise Unauthenticated("A ticket opens a stream or a socket, nothing else.", reason="ticket")
        return self.caller_with(token)

    @staticmethod
    def token_of(request: web.Request, *, token_in_query: bool) -> str:
        """The token or ticket that came along; empty for none."""
        if token := _bearer(request.headers.get("Authorization", "")):
            return token
        return (request.query.get("token") or request.query.get("ticket") or "").strip() if token_in_query else ""

    def caller_with(self, token: str) -> Caller:
        """Say who holds this token or ticket, which is used up by that."""
        if token.startswith(TICKET_PREFIX):
            caller = self._use_ticket(token)
            if caller is None:
                raise Unauthenticated("This ticket was used, is too old, or was never issued.", reason="ticket")
            return caller.now()
        if token.startswith(DEVICE_PREFIX) and self.devices is not None:
            device = self.devices.holder(token)
            if device is not None:
                return device
        return self._holder(token)

    @property
    @abstractmethod
    def source(self) -> object:
        """What says which tokens are good: another object as soon as it says something else."""

    def is_token(self, text: str) -> bool:
        """Whether this is a token without looking like one, so that nobody writes it down."""
        return False

    def reach_of(self, token_sha256: str, reach: tuple[str, ...], expires_at: float | None) -> tuple[str, ...] | None:
        """In which sessions somebody may look on now who came with this token, and could in those of ``reach``.

        None for in none: what was left with us in its name is to be forgotten.
        """
        return reach if expires_at is None or expires_at > time.time() else None

    def again(self, caller: Caller) -> Caller:
        """Who came with a token that something was left with us for, maybe before a restart, as they may do it now.

        Raises ``Unauthenticated``, or has it raised when the caller is asked, where the token is no longer good.
        """
        return caller

    @abstractmethod
    def _holder(self, token: str) -> Caller:
        """Whose token this is; raises ``Unauthenticated`` if nobody's."""


AUTH: web.AppKey[Authenticator] = web.AppKey("auth", Authenticator)


class NoAuth(Authenticator):
    """``auth=none``: programs of this user on this machine may do everything, and nobody else anything."""

    _EVERYBODY = Caller("local", _INCLUDES["admin"], ("*",))

    def __init__(self, use_ticket: UseTicket) -> None:
        super().__init__(use_ticket)
        #: Connections of this user's programs to this machine: their ends are the same for as long as they last.
        self._own: WeakSet[asyncio.BaseTransport] = WeakSet()

    def caller_of(self, request: web.Request, *, token_in_query: bool, any_user: bool = False) -> Caller:
        _require_loopback(request.protocol.sockname)
        require_own_program(request, any_user=any_user)
        return self._EVERYBODY

    def caller_on(self, transport: asyncio.BaseTransport, authorization: str) -> Caller:
        if transport not in self._own:
            _require_loopback(transport.get_extra_info("sockname"))
            require_own_user(transport)
            self._own.add(transport)
        return self._EVERYBODY

    def caller_with(self, token: str) -> Caller:
        return self._EVERYBODY

    @property
    def source(self) -> object:
        return self._EVERYBODY

    def _holder(self, token: str) -> Caller:
        return self._EVERYBODY


class WatchedFile(Generic[Content]):
    """A file that is read again when it changes. A later version that cannot be used leaves the last good one in force.

    ``load`` turns its bytes into what is used, or raises ``InvalidInput`` that names the setting, as this does too when
    the file cannot be used at the start.
    """

    def __init__(self, setting: str, path: Path, load: Callable[[bytes], Content]) -> None:
        self._setting = setting
        self._path = path
        self._load = load
        self._seen = self._stamp()
        self._content = self._read()

    @property
    def content(self) -> Content:
        """What the file says now."""
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen = stamp
            try:
                self._content = self._read()
            except InvalidInput as error:
                _log.error("%s; what was read before stays in force", error.message)
            else:
                _log.info("%s was read again", self._setting)
        return self._content

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self) -> Content:
        try:
            refuse_writable(self._setting, self._path)
            content = self._path.read_bytes()
        except OSError as error:
            raise InvalidInput(f"{self._setting} cannot be read: {error.strerror}") from None
        return self._load(content)


def refuse_writable(setting: str, path: Path) -> None:
    """Raise ``InvalidInput`` for a file that everybody on this machine may write: they could name themselves in it."""
    if os.name != "posix":
        return
    mode = path.stat().st_mode
    if mode & stat.S_IWOTH:
        raise InvalidInput(f"{setting} may be written by everybody: chmod o-w it, and see what it says")
    if mode & stat.S_IWGRP:  # where each user has a group of their own it is common, and harmless
        _log.warning("%s may be written by all of its group, who could name themselves in it: chmod g-w", setting)
    folder = path.resolve().parent.stat().st_mode
    if folder & stat.S_IWOTH and not folder & stat.S_ISVTX:
        raise InvalidInput(f"{setting} is in a folder that everybody may write: chmod o-w that, or move it")


class _TokenEntry(BaseModel):
    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    token: str | None = Field(default=None, min_length=1)
    token_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    subject: str | None = Field(default=None, min_length=1, max_length=256)
    rights: list[Right] = Field(min_length=1)
    sessions: list[str] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if (self.token is None) == (self.token_sha256 is None):
            raise ValueError("give either token or token_sha256")
        if self.token is not None and self.token.startswith(TICKET_PREFIX):
            raise ValueError(f"what begins with {TICKET_PREFIX} is a ticket, and no token")
        if self.token is not None and len(self.token) < _MIN_TOKEN_CHARACTERS:
            raise ValueError(
                f"a token of fewer than {_MIN_TOKEN_CHARACTERS} characters is soon guessed: take openssl rand -hex 32"
            )
        return self

    @property
    def digest(self) -> str:
        return self.token_sha256 if self.token is None else digest_of(self.token)  # type: ignore[return-value]


_ENTRIES = TypeAdapter(list[_TokenEntry], config=ConfigDict(defer_build=True))


class TokenAuth(Authenticator):
    """``auth=tokens``: static tokens from a file. Raises ``InvalidInput`` when it cannot be used at the start."""

    def __init__(self, path: Path, use_ticket: UseTicket) -> None:
        super().__init__(use_ticket)
        self._callers = WatchedFile("tokens_file", path, lambda content: _callers(content, self._known))

    @property
    def source(self) -> object:
        return self._callers.content

    def _holder(self, token: str) -> Caller:
        # Looked up by digest: no comparison takes longer for a better guess.
        return self._known(digest_of(token))

    def is_token(self, text: str) -> bool:
        return digest_of(text) in self._callers.content

    def reach_of(self, token_sha256: str, reach: tuple[str, ...], expires_at: float | None) -> tuple[str, ...] | None:
        caller = self._callers.content.get(token_sha256)
        return caller.sessions if caller is not None and caller.may("view") else None

    def again(self, caller: Caller) -> Caller:
        return replace(caller, renew=partial(self._known, caller.token_sha256))

    def _known(self, digest: str, before: Caller | None = None) -> Caller:
        caller = self._callers.content.get(digest)
        if caller is None:
            if before is None:
                raise Unauthenticated("Nobody issued that token.")
            raise Unauthenticated("The token was revoked.", reason="revoked")
        return caller


def still_may_view(caller: Caller, session_id: str) -> Callable[[], bool] | None:
    """What tells whether a caller may still see a session; None where nothing can change that."""
    return None if caller.renew is None else partial(caller.still_may, _VIEW, session_id)


def still_sees_the_same(caller: Caller, session_id: str | None = None) -> Callable[[], bool] | None:
    """What tells whether a caller may still see, and do, what it may now; None where nothing can change that.

    It is about one session, or about all. Whose patterns or rights are others comes back, and is told what holds now.
    """

    def still() -> bool:
        try:
            now = caller.require(_VIEW, session_id)
        except (Unauthenticated, Forbidden):
            return False
        has_same_sessions = session_id is not None or now.sessions == caller.sessions
        return has_same_sessions and now.is_approver == caller.is_approver

    return None if caller.renew is None else still


def with_included(rights: Iterable[Right]) -> frozenset[Right]:
    """Rights with those that they include."""
    return frozenset[Right]().union(*(_INCLUDES[right] for right in rights))


def _bearer(authorization: str) -> str:
    """The token in such a header; empty where there is none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _require_loopback(address: object) -> None:
    # Settings refuse a public address; an application that embeds this one chooses its own.
    if isinstance(address, tuple) and not is_loopback(str(address[0]).partition("%")[0]):
        raise Forbidden("auth=none answers on a loopback address only; set auth=tokens.")


def _renewed_in(whole: Caller, session_id: str, before: Caller) -> Caller:
    caller = whole.now()
    if not caller.sees(session_id):
        raise Forbidden("This token is not for that session.")
    return caller.only_in(session_id)


def _renewed_to_view(whole: Caller, before: Caller) -> Caller:
    return whole.now().only_viewing()


def _callers(content: bytes, renew: Callable[[str, Caller], Caller]) -> dict[str, Caller]:
    try:
        entries = _ENTRIES.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"tokens_file is not as expected: {where}: {first['msg']}") from None
    callers: dict[str, Caller] = {}
    for number, entry in enumerate(entries):
        if entry.digest in callers:
            raise InvalidInput(f"tokens_file is not as expected: {number}: the same token twice")
        name = entry.subject or f"token-{entry.digest[:12]}"
        callers[entry.digest] = Caller(
            name,
            with_included(entry.rights),
            tuple(entry.sessions),
            renew=partial(renew, entry.digest),
            token_sha256=entry.digest,
        )
    short = sum(entry.token is not None and len(entry.token) < _GOOD_TOKEN_CHARACTERS for entry in entries)
    if short:
        _log.info(  # a choice, which may be meant: nothing has failed
            "%d of the tokens in tokens_file are shorter than %d characters and could be guessed",
            short,
            _GOOD_TOKEN_CHARACTERS,
        )
    return callers


def digest_of(token: str) -> str:
    """What tells a token from others without being one."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
