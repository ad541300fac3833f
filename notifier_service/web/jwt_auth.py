"""``auth=jwt``: tokens that somebody signed, checked with a key or a JWKS file (RFC 7519, RFC 7517, RFC 8725)."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..core.errors import InvalidInput, Unauthenticated
from ..settings import JwtAlgorithm, Settings
from .auth import Authenticator, Caller, Right, UseTicket, WatchedFile, digest_of, with_included

__all__ = ["JwtAuth", "mint"]

#: Longer than any token of ours; what is longer is not even parsed.
_MAX_TOKEN_CHARACTERS = 16 * 1024

#: RFC 7518 sections 3.2 and 3.3: a secret is at least as long as the hash; RSA has its own least size.
_MIN_SECRET_BYTES = 32
_MIN_RSA_BITS = 2048


class _Key(NamedTuple):
    """What verifies a token, and what tells it from other keys without being one."""

    material: Any
    digest: str


_Keys = Mapping[str | None, _Key]


class _Claims(BaseModel):
    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore", strict=True, hide_input_in_errors=True)

    sub: str = Field(min_length=1, max_length=256)
    rights: list[Right]
    sessions: list[str]
    exp: float


class JwtAuth(Authenticator):
    """Takes tokens with the claims ``sub``, ``rights``, ``sessions`` (globs) and ``exp``.

    The algorithms are those of the settings and no others; keys are read again when their file changes. Raises
    ``InvalidInput``, which names the setting, when PyJWT is missing or the key cannot be used.
    """

    def __init__(self, settings: Settings, use_ticket: UseTicket) -> None:
        super().__init__(use_ticket)
        self._jwt = jwt = _pyjwt()
        self._algorithms = algorithms = list(settings.jwt_algorithms)
        self._audience, self._issuer = settings.jwt_audience, settings.jwt_issuer
        self._keys: WatchedFile[_Keys]
        if settings.jwt_jwks_file is not None:
            self._keys = WatchedFile(
                "jwt_jwks_file", settings.jwt_jwks_file, lambda content: _key_set(jwt, content, algorithms)
            )
        else:
            assert settings.jwt_key_file is not None  # the settings say so
            self._keys = WatchedFile(
                "jwt_key_file", settings.jwt_key_file, lambda content: {None: _key(jwt, content, algorithms)}
            )

    @property
    def source(self) -> object:
        return self._keys.content

    def _renewed(self, token: str, keys: _Keys, before: Caller) -> Caller:
        """Verified anew only with other keys: that it expires is known."""
        return before if self._keys.content is keys else self._holder(token)

    def again(self, caller: Caller) -> Caller:
        # The token itself is kept nowhere, and says nothing else than it did as long as its key is there.
        if not any(key.digest == caller.signed_with for key in self._keys.content.values()):
            raise Unauthenticated("The key that signed the token was taken back.", reason="revoked")
        return caller

    def _holder(self, token: str) -> Caller:
        jwt = self._jwt
        keys = self._keys.content
        unknown = Unauthenticated("Nobody issued that token.")
        if len(token) > _MAX_TOKEN_CHARACTERS:
            raise unknown
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            key = keys.get(key_id if key_id in keys else None)
            if key is None:
                raise unknown
            claims = jwt.decode(
                token,
                key.material,
                algorithms=self._algorithms,
                options={"require": ["exp", "sub"], "verify_aud": self._audience is not None},
                audience=self._audience,
                issuer=self._issuer,
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("The token has expired.", reason="expired") from None
        except jwt.ImmatureSignatureError:
            raise Unauthenticated("The token is not valid yet.", reason="claims") from None
        except jwt.InvalidAudienceError:
            raise Unauthenticated("The token's claim aud is not as expected.", reason="claims") from None
        except jwt.InvalidIssuerError:
            raise Unauthenticated("The token's claim iss is not as expected.", reason="claims") from None
        except jwt.MissingRequiredClaimError as error:
            raise Unauthenticated(f"The token lacks the claim {error.claim}.", reason="claims") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise unknown from None
        try:
            known = _known(claims)
        except InvalidInput as error:
            raise Unauthenticated(f"The token's {error.message}", reason="claims") from None
        renew = partial(self._renewed, token, keys)
        return Caller(
            known.sub,
            with_included(known.rights),
            tuple(known.sessions),
            known.exp,
            renew,
            digest_of(token),
            signed_with=key.digest,
        )


def mint(
    key_file: Path,
    algorithm: JwtAlgorithm,
    *,
    subject: str,
    rights: Sequence[Right],
    sessions: Sequence[str],
    seconds: float,
    audience: str | None = None,
    issuer: str | None = None,
) -> str:
    """Return a token that is good for so many seconds, signed with the secret or the private key in ``key_file``.

    Raises ``InvalidInput`` when PyJWT is missing, the key cannot be used, or no service would take the token.
    """
    jwt = _pyjwt()
    try:
        content = key_file.read_bytes().strip()
    except OSError as error:
        raise InvalidInput(f"jwt_key_file cannot be read: {error.strerror}") from None
    key = _prepared(jwt, content, algorithm)
    if algorithm != "HS256" and not _is_private(key):
        raise InvalidInput("jwt_key_file holds a public key: only the private one signs")
    now = int(time.time())
    claims = {"sub": subject, "rights": list(rights), "sessions": list(sessions), "iat": now, "exp": now + int(seconds)}
    _known(claims)
    more = {"aud": audience, "iss": issuer}
    token: str = jwt.encode(
        claims | {name: value for name, value in more.items() if value is not None}, key, algorithm=algorithm
    )
    return token


def _known(claims: Mapping[str, Any]) -> _Claims:
    """The claims that say who may do what. Raises ``InvalidInput``, without their values."""
    try:
        return _Claims.model_validate(claims)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"claim {where} is not as expected: {first['msg']}") from None


def _pyjwt() -> ModuleType:
    try:
        import jwt
    except ModuleNotFoundError:
        raise InvalidInput("auth=jwt needs PyJWT: pip install 'notifier-service[jwt]'") from None
    return jwt


def _key(jwt: Any, content: bytes, algorithms: Sequence[str]) -> _Key:
    """The one key of ``jwt_key_file``, which every algorithm of the settings must be able to use."""
    content = content.strip()
    for algorithm in algorithms:
        if _is_private(_prepared(jwt, content, algorithm)):
            raise InvalidInput("jwt_key_file holds a private key: the service needs the public one only")
    return _Key(content, _told_apart(content))


def _prepared(jwt: Any, content: bytes, algorithm: str) -> Any:
    """The secret or the key that a ``jwt_key_file`` holds."""
    try:
        key = jwt.get_algorithm_by_name(algorithm).prepare_key(content)
    except Exception as error:
        # PyJWT and cryptography raise errors of many bases, whose texts may hold the key.
        raise InvalidInput(f"jwt_key_file holds no key for {algorithm} ({type(error).__name__})") from None
    _require_strength("jwt_key_file", algorithm, key)
    return key


def _is_private(key: Any) -> bool:
    return hasattr(key, "private_bytes")


def _require_strength(setting: str, algorithm: str, key: Any) -> None:
    if algorithm == "HS256" and len(key) < _MIN_SECRET_BYTES:
        raise InvalidInput(f"{setting} is too short: a secret has at least {_MIN_SECRET_BYTES} bytes")
    if algorithm == "RS256" and key.key_size < _MIN_RSA_BITS:
        raise InvalidInput(f"{setting} is too short: an RSA key has at least {_MIN_RSA_BITS} bits")


def _key_set(jwt: Any, content: bytes, algorithms: Sequence[str]) -> _Keys:
    """The keys of ``jwt_jwks_file`` by ``kid``, those of other algorithms left out; a single one also without it."""
    try:
        found = jwt.PyJWKSet.from_dict(json.loads(content)).keys
    except Exception as error:
        # As above: many bases, and texts that may hold the key.
        raise InvalidInput(f"jwt_jwks_file is no key set ({type(error).__name__})") from None
    usable = [key for key in found if key.algorithm_name in algorithms and key.public_key_use in (None, "sig")]
    if not usable:
        raise InvalidInput(f"jwt_jwks_file holds no key for {', '.join(algorithms)}")
    keys: dict[str | None, _Key] = {}
    for key in usable:
        if not isinstance(key.key_id, str | None):
            raise InvalidInput("jwt_jwks_file holds a kid that is no text")
        if key.key_id in keys:
            raise InvalidInput("jwt_jwks_file holds two keys of one kid")
        if _is_private(key.key):
            raise InvalidInput("jwt_jwks_file holds a private key: the service needs the public ones only")
        _require_strength("jwt_jwks_file", key.algorithm_name, key.key)
        material = json.dumps(key.Algorithm.to_jwk(key.key, as_dict=True), sort_keys=True)
        keys[key.key_id] = _Key(key, _told_apart(material.encode()))
    return {None: next(iter(keys.values())), **keys} if len(keys) == 1 else keys


def _told_apart(material: bytes) -> str:
    """Short, so that a secret of few words is not guessed by it either."""
    return hashlib.sha256(b"notifier-service key " + material).hexdigest()[:16]
