"""Who is calling, and what they may do in a session (contract section 8)."""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, Self

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from ..errors import Forbidden, InvalidInput, Unauthenticated
from ..settings import Settings, is_loopback

__all__ = ["Authenticator", "Caller", "NoAuth", "Right", "TokenAuth", "authenticator"]

_log = logging.getLogger("notifier_service.auth")

Right = Literal["view", "approve", "produce", "admin"]

#: What each right includes; producing never includes seeing or deciding.
_INCLUDES: Mapping[Right, frozenset[Right]] = {
    "view": frozenset({"view"}),
    "approve": frozenset({"view", "approve"}),
    "produce": frozenset({"produce"}),
    "admin": frozenset({"view", "approve", "produce", "admin"}),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a name, rights, and the sessions in which they hold."""

    name: str
    rights: frozenset[Right]
    sessions: tuple[str, ...]

    def may(self, right: Right) -> bool:
        return right in self.rights

    def sees(self, session_id: str) -> bool:
        """Whether the session patterns cover this session, which may or may not exist."""
        return any(fnmatchcase(session_id, pattern) for pattern in self.sessions)

    def require(self, rights: frozenset[Right], session_id: str | None) -> None:
        """Raise ``Forbidden`` unless one of the rights is held, in this session if one is meant."""
        if session_id is not None and not self.sees(session_id):
            raise Forbidden("This token is not for that session.")
        if not rights & self.rights:
            raise Forbidden(f"This needs the right {' or '.join(sorted(rights))}.")


class Authenticator(ABC):
    """Says who sent a request, or raises ``Unauthenticated``."""

    @abstractmethod
    def caller_of(self, request: web.Request, *, token_in_query: bool) -> Caller:
        """``token_in_query`` is set for streams, whose clients cannot set headers."""


class NoAuth(Authenticator):
    """``auth=none``: everybody on this machine may do everything, and nobody else anything."""

    _EVERYBODY = Caller("local", _INCLUDES["admin"], ("*",))

    def caller_of(self, request: web.Request, *, token_in_query: bool) -> Caller:
        # Settings refuse a public address; an application that embeds this one chooses its own.
        address = request.transport.get_extra_info("sockname") if request.transport is not None else None
        if isinstance(address, tuple) and not is_loopback(str(address[0]).partition("%")[0]):
            raise Forbidden("auth=none answers on a loopback address only; set auth=tokens.")
        return self._EVERYBODY


class _TokenEntry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    token: str | None = Field(default=None, min_length=1)
    token_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    subject: str | None = Field(default=None, min_length=1, max_length=256)
    rights: list[Right] = Field(min_length=1)
    sessions: list[str] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if (self.token is None) == (self.token_sha256 is None):
            raise ValueError("give either token or token_sha256")
        return self

    @property
    def digest(self) -> str:
        return self.token_sha256 if self.token is None else _digest(self.token)  # type: ignore[return-value]


_ENTRIES = TypeAdapter(list[_TokenEntry])


class TokenAuth(Authenticator):
    """``auth=tokens``: static tokens from a file, read again when it changes.

    Raises ``InvalidInput``, which names the setting, when the file cannot be used at the start. A later version that
    cannot be used leaves the last good one in force and is logged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._stamp()
        self._callers = self._load()

    def caller_of(self, request: web.Request, *, token_in_query: bool) -> Caller:
        self._refresh()
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            token = request.query.get("token", "") if token_in_query else ""
        if not token.strip():
            raise Unauthenticated("This needs a token.")
        # Looked up by digest: no comparison takes longer for a better guess.
        caller = self._callers.get(_digest(token.strip()))
        if caller is None:
            raise Unauthenticated("Nobody issued that token.")
        return caller

    def _refresh(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._callers = self._load()
        except InvalidInput as error:
            _log.error("%s; the tokens read before stay in force", error.message)
        else:
            _log.info("tokens_file was read again: %d tokens", len(self._callers))

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _load(self) -> dict[str, Caller]:
        try:
            entries = _ENTRIES.validate_json(self._path.read_bytes())
        except OSError as error:
            raise InvalidInput(f"tokens_file cannot be read: {error.strerror}") from None
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InvalidInput(f"tokens_file is not as expected: {where}: {first['msg']}") from None
        callers: dict[str, Caller] = {}
        for number, entry in enumerate(entries):
            if entry.digest in callers:
                raise InvalidInput(f"tokens_file is not as expected: {number}: the same token twice")
            rights = frozenset[Right]().union(*(_INCLUDES[right] for right in entry.rights))
            callers[entry.digest] = Caller(entry.subject or f"token-{entry.digest[:12]}", rights, tuple(entry.sessions))
        return callers


def authenticator(settings: Settings) -> Authenticator:
    """The way of authentication that the settings name; JWT takes its place beside these."""
    if settings.auth == "tokens" and settings.tokens_file is not None:
        return TokenAuth(settings.tokens_file)
    return NoAuth()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
