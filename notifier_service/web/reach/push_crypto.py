"""What a push service carries and cannot read (RFC 8291), and how we say who we are to it (RFC 8292)."""

from __future__ import annotations

import base64
import json
import os
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["MAX_PLAIN", "ServerKey", "can_push", "check_keys", "encrypted", "from_base64", "to_base64"]

#: A record that every push service takes has 4096 bytes, of which the payload may have so many here.
MAX_PLAIN = 3072
_RECORD_BYTES = 4096
#: So that the size of a push tells little about what is in it.
_PADDED_TO = 512
#: Half of what RFC 8292 allows: a clock that is wrong by hours, ours or theirs, still serves.
_GOOD_SECONDS = 12 * 3600

_POINT_BYTES, _AUTH_BYTES = 65, 16


def can_push() -> bool:
    """Whether the extra ``push`` is there, which is loaded when the first device comes."""
    return find_spec("cryptography") is not None


def to_base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64(text: str) -> bytes:
    """Raises ``ValueError`` for what is none."""
    plain = text.rstrip("=").replace("+", "-").replace("/", "_")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)


def check_keys(p256dh: str, auth: str) -> None:
    """Raise ``ValueError`` unless these are the keys of a browser."""
    from cryptography.hazmat.primitives.asymmetric import ec

    point, secret = from_base64(p256dh), from_base64(auth)
    if len(point) != _POINT_BYTES or len(secret) != _AUTH_BYTES:
        raise ValueError("p256dh has 65 bytes and auth 16")
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)


def encrypted(
    text: bytes,
    p256dh: str,
    auth: str,
    *,
    salt: bytes | None = None,
    sender: ec.EllipticCurvePrivateKey | None = None,
    padded_to: int = _PADDED_TO,
) -> bytes:
    """The body of a push that only the browser with these keys can read. Raises ``ValueError`` for more than 3 KiB."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if len(text) > MAX_PLAIN:
        raise ValueError(f"a push of {len(text)} bytes is over the limit of {MAX_PLAIN}")
    receiver_point, secret = from_base64(p256dh), from_base64(auth)
    receiver = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), receiver_point)
    sender = ec.generate_private_key(ec.SECP256R1()) if sender is None else sender
    salt = os.urandom(16) if salt is None else salt
    point = _point(sender)
    shared = _derived(sender.exchange(ec.ECDH(), receiver), secret, b"WebPush: info\0" + receiver_point + point, 32)
    key = _derived(shared, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derived(shared, salt, b"Content-Encoding: nonce\0", 12)
    padded = text + b"\x02"
    padded += bytes(-len(padded) % padded_to)
    head = salt + _RECORD_BYTES.to_bytes(4, "big") + len(point).to_bytes(1, "big") + point
    return head + AESGCM(key).encrypt(nonce, padded, None)


def _derived(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=hashes.SHA256(), length=size, salt=salt, info=info).derive(secret)


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


class ServerKey:
    """The key by which push services know this service, and browsers hold on to it."""

    def __init__(self, number: bytes | None = None) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        if number is None:
            self._key = ec.generate_private_key(ec.SECP256R1())
        else:
            self._key = ec.derive_private_key(int.from_bytes(number, "big"), ec.SECP256R1())

    @property
    def number(self) -> bytes:
        """The secret, by which it is made again."""
        return self._key.private_numbers().private_value.to_bytes(32, "big")

    @property
    def public(self) -> str:
        """As ``applicationServerKey`` of a page wants it."""
        return to_base64(_point(self._key))

    def authorization(self, endpoint: str, contact: str, now: float | None = None) -> str:
        """The header for a push to this endpoint."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        place = urlsplit(endpoint)
        claims = {
            "aud": f"{place.scheme}://{place.netloc}",
            "exp": int(time.time() if now is None else now) + _GOOD_SECONDS,
            "sub": contact,
        }
        parts = [json.dumps(part, separators=(",", ":")).encode() for part in ({"typ": "JWT", "alg": "ES256"}, claims)]
        text = ".".join(map(to_base64, parts))
        first, second = decode_dss_signature(self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        signature = to_base64(first.to_bytes(32, "big") + second.to_bytes(32, "big"))
        return f"vapid t={text}.{signature}, k={self.public}"
