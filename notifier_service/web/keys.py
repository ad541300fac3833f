"""The public key with which the heads and the receipts of the audit log are verified (contract section 12)."""

from __future__ import annotations

from aiohttp import web

from ..storage.signed_note import VerifyingKey
from .answers import reply
from .request import Call, Query

__all__ = ["AUDIT_KEYS", "list_keys"]

#: Those that sign now: one, or none.
AUDIT_KEYS = web.AppKey("audit_keys", tuple[VerifyingKey, ...])


async def list_keys(call: Call[Query, None]) -> web.Response:
    """A set of JWKs, each with its name and in the other forms that verifiers take."""
    keys = call.request.config_dict[AUDIT_KEYS]
    return reply({"keys": [{**key.jwk, "name": key.name, "vkey": key.vkey, "pem": key.pem} for key in keys]})
