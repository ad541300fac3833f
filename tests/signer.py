"""Who signs tokens, as an identity provider does."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")


@dataclass(frozen=True)
class Signer:
    """Signs with a key that was made for the test."""

    algorithm: str
    #: The bytes of a secret, or a private key.
    key: Any

    @classmethod
    def new(cls, algorithm: str = "HS256") -> Self:
        make = {
            "HS256": lambda: secrets.token_hex(32).encode(),
            "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }
        return cls(algorithm, make[algorithm]())

    @property
    def verifying(self) -> bytes:
        """What the service has in its key file: the secret, or the public key in PEM."""
        if isinstance(self.key, bytes):
            return self.key
        pem: bytes = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem

    @property
    def signing(self) -> bytes:
        """What nobody else has: the secret, or the private key in PEM."""
        if isinstance(self.key, bytes):
            return self.key
        pem: bytes = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return pem

    def jwk(self, *, private: bool = False, **members: Any) -> dict[str, Any]:
        """The key as a member of a JWKS; with None a member is left out."""
        key = self.key if private or isinstance(self.key, bytes) else self.key.public_key()
        found = jwt.get_algorithm_by_name(self.algorithm).to_jwk(key, as_dict=True)
        return {name: value for name, value in {**found, **members}.items() if value is not None}

    def token(self, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token that may view everything for an hour, with these claims instead; with None one is left out."""
        all_claims = {"sub": "ann", "rights": ["view"], "sessions": ["*"], "exp": time.time() + 3600, **claims}
        given = {name: value for name, value in all_claims.items() if value is not None}
        return self.token_of(json.dumps(given).encode(), header)

    def token_of(self, payload: bytes, header: dict[str, Any] | None = None) -> str:
        """Sign any bytes in the place of claims, under a header of any content."""
        whole = {"typ": "JWT", "alg": self.algorithm, **(header or {})}
        signed = f"{base64url(json.dumps(whole).encode())}.{base64url(payload)}"
        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        return f"{signed}.{base64url(algorithm.sign(signed.encode(), self.key))}"


def base64url(content: bytes) -> str:
    return jwt.utils.base64url_encode(content).decode()


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()
