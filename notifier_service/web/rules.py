"""What people decided for the rest of a session: listed, and taken back (contract section 11)."""

from __future__ import annotations

from aiohttp import web

from .answers import reply
from .request import Call, Query

__all__ = ["list_rules", "take_back"]


async def list_rules(call: Call[Query, None]) -> web.Response:
    """The rules of a session, oldest first."""
    return reply(call.broker.look(call.session_id).desk.grants.rules)


async def take_back(call: Call[Query, None]) -> web.Response:
    """Forget a rule: the next call that it held for is asked again."""
    return reply(call.broker.look(call.session_id).desk.grants.take_back(call.request.match_info["rule_id"]))
