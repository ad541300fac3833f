"""Texts that a key has signed, in the form of C2SP signed-note with Ed25519, which other people's programs read too.

A note is its text, an empty line, and a line ``— NAME BASE64`` for each who signed. NAME and the first four bytes say
which key that was. The key that verifies is one line, ``NAME+ID+BASE64`` (vkey), and so is the one that signs. Both
need ``cryptography`` (the extra ``proof``), and say so where it is missing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import secrets
from types import ModuleType
from typing import Any, NamedTuple, Self

from ..core.errors import InvalidInput

__all__ = ["BadNote", "SigningKey", "VerifyingKey", "needs_cryptography"]

_ED25519 = b"\x01"
_SIGNATURE = re.compile("— ([^\\s+]+) ([A-Za-z0-9+/]+={0,2})")
_PRIVATE = "PRIVATE+KEY+"
#: Longer ones are no heads, and no keys.
_MOST_CHARACTERS = 64 * 1024


class BadNote(InvalidInput):
    """This is no signed note, or not signed by the key that is known."""


def needs_cryptography() -> ModuleType:
    """The module of ``cryptography`` that signs, or ``InvalidInput`` that says how it is installed."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise InvalidInput("This needs cryptography: pip install 'notifier-service[proof]'") from None
    return ed25519


class VerifyingKey(NamedTuple):
    """The public half; ``name`` is empty where it came in a form that has none, and fits every name then."""

    name: str
    public: bytes

    def key_id(self, name: str | None = None) -> bytes:
        name = self.name if name is None else name
        return hashlib.sha256(name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.key_id().hex()}+{_base64(_ED25519 + self.public)}"

    @property
    def pem(self) -> str:
        # RFC 8410: nothing but the key itself differs between two of them.
        body = _base64(bytes.fromhex("302a300506032b6570032100") + self.public)
        return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"

    @property
    def jwk(self) -> dict[str, str]:
        x = base64.urlsafe_b64encode(self.public).decode().rstrip("=")
        return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.key_id().hex(), "alg": "EdDSA", "use": "sig"}

    @classmethod
    def of(cls, text: str) -> Self:
        """A key in any form that ``GET /api/keys`` gives: a vkey, PEM, a JWK, or that whole answer.

        Raises ``InvalidInput``; also for the key that signs, which belongs nowhere but in its file.
        """
        text = text.strip()
        if _PRIVATE in text or "PRIVATE KEY" in text:
            raise InvalidInput("this is the key that signs: leave it where it is, and take the one of GET /api/keys")
        try:
            if len(text) > _MOST_CHARACTERS:
                raise ValueError
            if text.startswith("{"):
                return cls._of_json(json.loads(text))
            if text.startswith("-----BEGIN PUBLIC KEY-----"):
                der = _bytes("".join(text.splitlines()[1:-1]))
                known = cls("", der[-32:])
                if der != _bytes("".join(known.pem.splitlines()[1:-1])):
                    raise ValueError
                return known
            name, _, key = text.split("+", 2)
            known = cls(name, _bytes(key)[1:])
            if text != known.vkey or len(known.public) != 32 or not _is_name(name):
                raise ValueError
            return known
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InvalidInput(
                "this is no key that verifies: a line NAME+ID+BASE64, a public key in PEM, a JWK, or the answer of "
                "GET /api/keys is needed, for Ed25519"
            ) from None

    @classmethod
    def _of_json(cls, told: Any) -> Self:
        told = told.get("data", told)
        if "keys" in told:
            [told] = told["keys"]
        if "vkey" in told:
            return cls.of(str(told["vkey"]))
        if (told["kty"], told["crv"]) != ("OKP", "Ed25519"):
            raise ValueError
        public = base64.b64decode(told["x"] + "=", altchars=b"-_", validate=True)
        if len(public) != 32:
            raise ValueError
        return cls("", public)

    def text_of(self, note: str) -> str:
        """The text that this key has signed. Raises ``BadNote``; what others have signed beside is passed over."""
        ed25519 = needs_cryptography()
        text, separator, signed = note.rpartition("\n\n")
        lines = signed.splitlines()
        found = [_SIGNATURE.fullmatch(line) for line in lines]
        if not separator or not note.endswith("\n") or not lines or None in found or len(note) > _MOST_CHARACTERS:
            raise BadNote("this is no signed head, or not all of it")
        text += "\n"
        for line in found:
            assert line is not None
            name = line[1]
            blob = _bytes_or_none(line[2])
            if blob is None or (self.name and name != self.name) or blob[:4] != self.key_id(name):
                continue
            try:
                ed25519.Ed25519PublicKey.from_public_bytes(self.public).verify(blob[4:], text.encode())
            except Exception:
                # cryptography raises of several kinds, and each of them says no.
                raise BadNote("its signature is not that of this key over this text: it was changed") from None
            return text
        raise BadNote("it was signed with another key")


class SigningKey(NamedTuple):
    """The private half."""

    name: str
    seed: bytes

    def __repr__(self) -> str:
        return f"SigningKey({self.name!r})"

    @classmethod
    def new(cls, name: str | None = None) -> Self:
        """A key that nobody has yet; without a name, one that is made of chance like the key."""
        name = f"notifier-service/audit-{secrets.token_hex(6)}" if name is None else name
        if not _is_name(name):
            raise InvalidInput("a key has a name without white space and +")
        return cls(name, secrets.token_bytes(32))

    @classmethod
    def of(cls, text: str) -> Self:
        """The key that a file holds. Raises ``InvalidInput``, never with the text."""
        try:
            name, _, key = text.strip().removeprefix(_PRIVATE).split("+", 2)
            known = cls(name, _bytes(key)[1:])
            if len(known.seed) != 32 or text.strip() != known.text or not _is_name(name):
                raise ValueError
            return known
        except ValueError:
            raise InvalidInput("it holds no key that signs audit heads") from None

    @property
    def text(self) -> str:
        """One line, for its file."""
        return f"{_PRIVATE}{self.name}+{self.verifying.key_id().hex()}+{_base64(_ED25519 + self.seed)}"

    @property
    def verifying(self) -> VerifyingKey:
        key = needs_cryptography().Ed25519PrivateKey.from_private_bytes(self.seed)
        return VerifyingKey(self.name, key.public_key().public_bytes_raw())

    def signed(self, text: str) -> str:
        """The note of a text, which ends with a newline."""
        key = needs_cryptography().Ed25519PrivateKey.from_private_bytes(self.seed)
        blob = self.verifying.key_id() + key.sign(text.encode())
        return f"{text}\n— {self.name} {_base64(blob)}\n"


def _is_name(name: str) -> bool:
    return bool(name) and name.isprintable() and not re.search(r"[\s+]", name) and len(name) <= 200


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _bytes_or_none(text: str) -> bytes | None:
    try:
        return _bytes(text)
    except binascii.Error:
        return None
