"""MCP servers behind the gate: those that the settings name, and the one of ``gateway http``."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated

from aiohttp import web
from pydantic import Field

from ...calls.asker import ASKED_BY, BrokerAsker, Permission
from ...core.broker import Broker
from ...core.errors import NotFound
from ...core.limits import MAX_TIMEOUT_SECONDS
from ...core.question import Question
from ...core.session import check_session_id
from ...settings import Settings
from ..agents.agent_calls import JoinedCalls
from ..answers import answer_errors, expect
from ..auth import Right
from ..long_body import longest_body
from ..origin import CorsHeaders, origin_guard, require_origin
from ..request import Call, Query
from .relay import HttpRelay

__all__ = ["GATEWAYS", "GatewayQuery", "Gateways", "create_gateway_app", "gateway"]

_PRODUCE = frozenset[Right]({"produce"})
_METHODS = ("GET", "POST", "DELETE")


class GatewayQuery(Query):
    """``session_id`` names the session to ask in; without it, each session of the protocol has one.

    ``timeout_seconds`` is how long a person may take, whatever is known of the client.
    """

    session_id: str | None = None
    timeout_seconds: Annotated[float, Field(gt=0, le=MAX_TIMEOUT_SECONDS)] | None = None


class _Asker(BrokerAsker):
    """Asks about no call that a person has just approved where its agent asked about it, over a hook."""

    def __init__(self, broker: Broker, session_id: str, *, agent: str, joined_calls: JoinedCalls) -> None:
        super().__init__(broker, session_id, agent=agent)
        self._joined_calls = joined_calls

    def allows(self, question: Question, *, goes_on: bool = False) -> bool:
        name, token_sha256 = ASKED_BY.get()
        known = self._joined_calls.approved(question, (name or "", token_sha256))
        if known is not None:
            question = question._replace(approved_before=known.record.decided_by)
        is_allowed = super().allows(question, goes_on=goes_on)
        if known is not None and is_allowed:
            known.stood_for_gateway = True
        return is_allowed

    async def ask(self, question: Question) -> Permission:
        name, token_sha256 = ASKED_BY.get()
        return await super().ask(self._joined_calls.taken(question, (name or "", token_sha256)))


class Gateways:
    """The relays to the servers that the settings name."""

    def __init__(self, broker: Broker, settings: Settings, joined_calls: JoinedCalls) -> None:
        # Cookies are for the host, and a token for the service: neither is the server's to know.
        private = {"cookie"} if settings.auth == "none" else {"cookie", "authorization"}
        self._relays = {
            name: HttpRelay(
                url,
                lambda session_id: _Asker(broker, session_id, agent="mcp-gateway", joined_calls=joined_calls),
                server=name,
                private_headers=private,
                max_message_bytes=longest_body(settings),
                task_seconds=settings.mcp_task_seconds,
            )
            for name, url in settings.mcp_upstreams.items()
        }

    async def running(self, app: web.Application) -> AsyncIterator[None]:
        """Run them as long as the application runs."""
        async with AsyncExitStack() as stack:
            for relay in self._relays.values():
                await stack.enter_async_context(relay)
            yield

    def relay(self, name: str) -> HttpRelay:
        relay = self._relays.get(name)
        if relay is None:
            raise NotFound("No MCP server of that name is behind this gateway: see the setting mcp_upstreams.")
        return relay


GATEWAYS = web.AppKey("gateways", Gateways)


async def gateway(call: Call[GatewayQuery, None]) -> web.StreamResponse:
    """Relay a request to the server of that name, and ask before one of its tools runs."""
    request, name = call.request, call.request.match_info["name"]
    relay = request.config_dict[GATEWAYS].relay(name)

    def session_of(mcp_session: str | None) -> str:
        if call.query.session_id is not None:
            session_id = check_session_id(call.query.session_id)
        else:
            session_id = _made_up_session(name, mcp_session)
        call.caller.require(_PRODUCE, session_id)
        return session_id

    ASKED_BY.set((call.caller.name, call.caller.token_sha256))
    with call.holding():
        return await relay.answer(
            request,
            session_of,
            approval_seconds=call.query.timeout_seconds,
            caller=None if call.settings.auth == "none" else call.caller.name,
            still_may=lambda session_id: call.caller.still_may(_PRODUCE, session_id),
        )


def create_gateway_app(relay: HttpRelay, settings: Settings, session_id: str) -> web.Application:
    """An application with the one endpoint ``/mcp``, which asks in one session. Who calls is not asked."""
    app = web.Application(middlewares=[answer_errors(origin_guard(settings))])

    async def endpoint(request: web.Request) -> web.StreamResponse:
        require_origin(request, settings)
        return await relay.answer(request, lambda _: session_id)

    for method in _METHODS:
        app.router.add_route(method, "/mcp", endpoint, expect_handler=expect)
    if settings.allowed_origins:
        app.on_response_prepare.append(CorsHeaders(settings))
    return app


def _made_up_session(name: str, mcp_session: str | None) -> str:
    """The session of a session of the protocol, whose own id is a secret: who has it speaks for the client."""
    if mcp_session is None:
        return f"mcp-{name}"
    return f"mcp-{name}-{hashlib.sha256(mcp_session.encode()).hexdigest()[:12]}"
