"""A push service on a real socket, and a browser with keys: what arrives is checked and read as the standards say."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.web.receiver import Posted, Receiver


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unbase64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def point_of(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


class Browser:
    """The keys of a subscription, and who reads what was encrypted to them."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.auth = os.urandom(16)

    @property
    def keys(self) -> dict[str, str]:
        return {"p256dh": base64url(point_of(self.private.public_key())), "auth": base64url(self.auth)}

    def read(self, body: bytes) -> bytes:
        """What a push says; raises for what is not for this browser."""
        salt, size, length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
        sender, sealed = body[21 : 21 + length], body[21 + length :]
        assert len(body) <= 4096
        assert len(sealed) <= size
        secret = self.private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender))
        info = b"WebPush: info\x00" + point_of(self.private.public_key()) + sender
        shared = HKDF(hashes.SHA256(), 32, self.auth, info).derive(secret)
        key = HKDF(hashes.SHA256(), 16, salt, b"Content-Encoding: aes128gcm\x00").derive(shared)
        nonce = HKDF(hashes.SHA256(), 12, salt, b"Content-Encoding: nonce\x00").derive(shared)
        padded = AESGCM(key).decrypt(nonce, sealed, None).rstrip(b"\x00")
        assert padded[-1:] == b"\x02", "the last record ends so"
        return padded[:-1]


class Pushed(NamedTuple):
    """One push as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    def told(self, browser: Browser) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(browser.read(self.body))
        return told


class PushService(Receiver):
    """Takes pushes as RFC 8030 says."""

    def __init__(self) -> None:
        super().__init__(status=201)
        self.pushes: list[Pushed] = []
        #: What is wrong with pushes that came.
        self.wrong: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        async with super().running():
            self.headers["Location"] = f"{self.url}/message/1"
            yield self
        assert self.wrong == []

    def keep(self, posted: Posted) -> None:
        try:
            self._check(posted.headers)
        except Exception as error:
            self.wrong.append(repr(error))
        self.pushes.append(Pushed(*posted))

    def _check(self, headers: dict[str, str]) -> None:
        assert headers["content-encoding"] == "aes128gcm"
        assert headers["ttl"].isdigit()
        assert headers["urgency"] in ("high", "normal")
        assert 0 < len(headers["topic"]) <= 32
        assert set(headers["topic"]) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        scheme, _, rest = headers["authorization"].partition(" ")
        parts = dict(part.strip().split("=", 1) for part in rest.split(","))
        assert scheme == "vapid"
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unbase64url(parts["k"]))
        claims = jwt.decode(parts["t"], public, algorithms=["ES256"], audience=self.url)
        assert 0 < claims["exp"] - time.time() <= 24 * 3600
        assert claims["sub"].startswith(("mailto:", "https:"))
