"""One row per endpoint. The table registers them, guards them, and says what the documentation must tell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from ..core.errors import Forbidden, InvalidInput, NotifierError, Unauthenticated
from ..core.events import dump
from ..core.question import Decision
from ..core.session import check_session_id
from ..settings import Settings
from . import (
    ag_ui,
    ai_sdk,
    chat,
    description,
    history,
    inbox,
    keys,
    links,
    metrics,
    ops,
    pairing,
    permissions,
    polling,
    presence,
    produce,
    push,
    rules,
    sse,
    tickets,
    websocket,
)
from .agents import hooks
from .answers import expect
from .auth import AUTH, Caller, Right
from .client_address import client_address, held_address
from .guesses import GUESSES
from .long_body import BODY_BYTES, read_long_json, too_large
from .mcp import gateway as mcp_gateway
from .mcp import prompt_tool
from .origin import require_origin
from .rates import RATES, RateName
from .request import BROKER, SETTINGS, STANDING, UNREAD, Call, Query, checked, read_json, read_query

__all__ = ["ROUTES", "Route", "add_routes"]

Handler = Callable[[Call[Any, Any]], Awaitable[web.StreamResponse]]

_NOBODY = Caller("anonymous", frozenset(), ())


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint: who may call it (one of ``rights``; none needs no token), with what, and who answers."""

    method: str
    path: str
    handler: Handler
    rights: frozenset[Right]
    summary: str
    query: type[Query] = Query
    body: type[BaseModel] | None = None
    #: The body holds the parameters of a call, and may be as large; ``BODY_BYTES`` of the request says that it was cut.
    asks_calls: bool = False
    #: The answer to what cannot be read, where an error status is none to who asks; but for rights.
    failed: Callable[[Call[Any, Any], NotifierError], Awaitable[web.Response]] | None = None
    #: Behind the prefix, or at the root.
    prefixed: bool = True
    #: Where a handler has to know over which path it was reached.
    name: str | None = None
    #: A stream takes its token in the query too, and passes over what it does not know there.
    is_stream: bool = False
    #: Where no tokens tell who is who, every user of this machine may call it, and not only who runs the service.
    any_user: bool = False
    #: What each call counts against. A stream asks itself, which says it in its own way.
    rate: RateName | None = None
    #: A WebSocket says what is wrong after it is open: who calls, and whether they may, is its handler's to ask.
    is_socket: bool = False

    def full_path(self, prefix: str) -> str:
        return prefix + self.path if self.prefixed else self.path


def _rights(*rights: Right) -> frozenset[Right]:
    return frozenset(rights)


ROUTES: Sequence[Route] = (
    Route(
        "GET", "/api/sse/events/{session_id}", sse.stream, _rights("view"), "The event stream of a session.",
        query=sse.StreamQuery, is_stream=True,
    ),
    Route(
        "POST", "/api/sse/permission-response/{session_id}", permissions.decide, _rights("approve"),
        "Answer a permission request.", body=Decision, asks_calls=True, rate="decide_rate",
    ),
    Route(
        "POST", "/api/polling/permission-response/{session_id}", permissions.decide, _rights("approve"),
        "The same, under the path of the polling clients.", body=Decision, asks_calls=True, rate="decide_rate",
    ),
    Route(
        "GET", "/api/polling/session-info/{session_id}", polling.session_info, _rights("view"),
        "The present state of a session.", rate="connect_rate",
    ),
    Route(
        "GET", "/api/polling/tool-status/{session_id}", polling.tool_status, _rights("view"),
        "The last tool status.", rate="connect_rate",
    ),
    Route(
        "GET", "/api/polling/permission-request/{session_id}", polling.permission_request, _rights("view"),
        "The oldest pending permission request.", rate="connect_rate",
    ),
    Route(
        "GET", "/api/polling/tool-result/{session_id}", polling.tool_result, _rights("view"),
        "The last tool result.", rate="connect_rate",
    ),
    Route(
        "POST", "/api/polling/clear-result/{session_id}", polling.clear_result, _rights("approve"),
        "Forget the last tool result.", rate="decide_rate",
    ),
    Route(
        "GET", "/api/long-poll/{session_id}", polling.long_poll, _rights("view"),
        "The events behind a cursor, held until there is one.", query=polling.LongPollQuery, rate="connect_rate",
    ),
    Route(
        "GET", "/api/long-poll/{session_id}", polling.long_poll, _rights("view"),
        "The same at the root, where the documents' client asks.", query=polling.LongPollQuery, prefixed=False,
        rate="connect_rate",
    ),
    Route(
        "GET", "/ws/{session_id}", websocket.socket, _rights("view"), "The same events over a WebSocket, with answers.",
        query=websocket.SocketQuery, is_stream=True, is_socket=True,
    ),
    Route(
        "GET", "/ws/chat", chat.chat_socket, _rights("approve"), "Ask the agent, over a WebSocket.",
        prefixed=False, is_stream=True, is_socket=True,
    ),
    Route(
        "GET", "/agent_chat_stream", chat.chat_stream, _rights("approve"), "Ask the agent, over SSE.",
        query=chat.ChatQuery, prefixed=False, is_stream=True,
    ),
    Route(
        "POST", "/api/ag-ui/{session_id}", ag_ui.run, _rights("approve"),
        "Run the agent, as a client of AG-UI does.", body=ag_ui.AgUiBody,
    ),
    Route(
        "POST", "/api/ai-sdk/{session_id}", ai_sdk.respond, _rights("approve"),
        "Ask the agent, as a page with the Vercel AI SDK does.", query=ai_sdk.AiSdkQuery, body=ai_sdk.AiSdkBody,
    ),
    Route(
        "GET", "/api/ai-sdk/{session_id}/stream", ai_sdk.resume, _rights("approve"),
        "The answer that runs, from its beginning, for such a page that comes back.", query=ai_sdk.AiSdkQuery,
    ),
    Route(
        "DELETE", "/api/ai-sdk/{session_id}/stream", ai_sdk.abort, _rights("approve"), "Stop the answer that runs.",
    ),
    Route(
        "POST", "/api/sse/ticket/{session_id}", tickets.issue, _rights("view"),
        "A ticket for one stream or socket, in the place of a token in its URL.",
    ),
    Route("GET", "/api/sse/health/{session_id}", sse.health, _rights("view"), "How a session and its readers are."),
    Route(
        "POST", "/api/events/{session_id}", produce.publish, _rights("produce"), "Publish events to a session.",
        rate="publish_rate",
    ),
    Route(
        "POST", "/api/events", produce.publish, _rights("produce"), "Publish events to many sessions.",
        rate="publish_rate",
    ),
    Route(
        "POST", "/api/permissions/{session_id}", permissions.ask, _rights("produce"), "Ask for permission.",
        query=permissions.WaitQuery, body=permissions.AskBody, asks_calls=True, rate="publish_rate",
    ),
    Route(
        "POST", "/api/permissions/decide", inbox.decide, _rights("approve"),
        "Answer permission requests of many sessions, each by itself.", body=inbox.DecideBody, rate="decide_rate",
    ),
    Route(
        "GET", "/api/permissions/{session_id}", permissions.list_pending, _rights("view", "produce"),
        "The pending permission requests.",
    ),
    Route(
        "GET", "/api/permissions/{session_id}/{request_id}", permissions.read, _rights("view", "produce"),
        "One permission request, held until it is decided if that is wanted.", query=permissions.ReadQuery,
    ),
    Route(
        "POST", "/api/permissions/{session_id}/{request_id}/claim", permissions.claim, _rights("produce"),
        "Take an approved request for one run.", body=permissions.ClaimBody,
    ),
    Route(
        "DELETE", "/api/permissions/{session_id}/{request_id}", permissions.cancel, _rights("produce"),
        "Withdraw a permission request.",
    ),
    Route(
        "GET", "/api/rules", rules.list_learned, _rights("view"), "The rules that hold beyond one session."
    ),
    Route(
        "DELETE", "/api/rules/{rule_id}", rules.revoke_learned, _rights("approve"),
        "Take back what was decided for always.", rate="decide_rate",
    ),
    Route(
        "GET", "/api/rules/{session_id}", rules.list_rules, _rights("view"),
        "The rules that hold in a session, and which would have saved questions.",
    ),
    Route(
        "POST", "/api/rules/{session_id}", rules.take_over, _rights("approve"),
        "Make a rule of what would have saved questions.", body=rules.TakeOverBody, rate="decide_rate",
    ),
    Route(
        "DELETE", "/api/rules/{session_id}/{rule_id}", rules.take_back, _rights("approve"),
        "Take back what was decided for the session, or for always.", rate="decide_rate",
    ),
    Route(
        "POST", "/mcp/gateway/{name}", mcp_gateway.gateway, _rights("produce"),
        "An MCP server of the settings, with a person asked before its tools run.",
        query=mcp_gateway.GatewayQuery, prefixed=False, rate="publish_rate",
    ),
    Route(
        "GET", "/mcp/gateway/{name}", mcp_gateway.gateway, _rights("produce"),
        "Its stream of messages.", query=mcp_gateway.GatewayQuery, prefixed=False,
    ),
    Route(
        "DELETE", "/mcp/gateway/{name}", mcp_gateway.gateway, _rights("produce"),
        "End a session of its protocol.", query=mcp_gateway.GatewayQuery, prefixed=False,
    ),
    Route(
        "POST", "/mcp/{session_id}", prompt_tool.prompt_tool, _rights("produce"),
        "An MCP endpoint whose tools ask a person.", query=prompt_tool.PromptQuery, prefixed=False, rate="publish_rate",
    ),
    Route(
        "POST", "/hooks/claude-code", hooks.claude_code, _rights("produce"), "Claude Code's HTTP hooks.",
        query=hooks.HookQuery, body=hooks.HookBody, asks_calls=True, failed=hooks.unasked, prefixed=False,
        rate="publish_rate",
    ),
    Route(
        "POST", "/hooks/claude-code", hooks.claude_code, _rights("produce"),
        "The same behind the prefix, where the command for other agents asks.",
        query=hooks.HookQuery, body=hooks.HookBody, asks_calls=True, failed=hooks.unasked, rate="publish_rate",
    ),
    Route(
        "GET", "/api/inbox", inbox.read, _rights("view", "approve"),
        "What waits in all sessions that the caller may see.", rate="connect_rate",
    ),
    Route(
        "GET", "/api/sse/inbox", inbox.stream, _rights("view", "approve"),
        "The event stream of all sessions that the caller may see.", query=sse.StreamQuery, is_stream=True,
    ),
    Route(
        "POST", "/api/sse/ticket", inbox.ticket, _rights("view", "approve"),
        "A ticket for one stream of the inbox, in the place of a token in its URL.",
    ),
    Route(
        "GET", "/api/presence", presence.state, _rights("view", "approve"), "Say whether the caller is away.",
        rate="connect_rate",
    ),
    Route(
        "POST", "/api/presence", presence.tell, _rights("view", "approve"),
        "Say whether a page is visible, and whether the caller is away.", body=presence.PresenceBody,
        rate="connect_rate",
    ),
    Route(
        "POST", "/api/links", links.make, _rights("approve"), "Make a link by which one request is decided once.",
        body=links.LinkBody, rate="decide_rate",
    ),
    Route("GET", "/api/links/{link}", links.show, _rights(), "Show what a link is for; it settles nothing."),
    Route("POST", "/api/links/{link}", links.decide, _rights(), "Decide the request of a link, once."),
    Route(
        "GET", "/api/push/key", push.key, _rights("view", "approve"), "The key by which browsers know this service."
    ),
    Route(
        "GET", "/api/push/subscriptions", push.list_devices, _rights("view", "approve"),
        "The devices of the caller that are called by push.",
    ),
    Route(
        "POST", "/api/push/subscriptions", push.subscribe, _rights("view", "approve"),
        "Have a browser called about what waits.", body=push.SubscribeBody, rate="connect_rate",
    ),
    Route(
        "DELETE", "/api/push/subscriptions/{device_id}", push.forget, _rights("view", "approve"),
        "Call a device no more.",
    ),
    Route(
        "POST", "/api/pairings", pairing.make, _rights("view", "approve"),
        "Make a link that gives a device a token of its own.", body=pairing.PairingBody, rate="connect_rate",
    ),
    Route(
        "GET", "/api/pairings/{pairing_id}", pairing.show, _rights("view", "approve"), "Whether a link was used.",
    ),
    Route(
        "DELETE", "/api/pairings/{pairing_id}", pairing.withdraw, _rights("view", "approve"), "Take a link back.",
    ),
    Route("GET", "/api/pair", pairing.look, _rights(), "What a link gives to a device; it is not used by that."),
    Route(
        "POST", "/api/pair", pairing.take, _rights(), "Take what a link gives, once.", body=pairing.PairBody,
    ),
    Route(
        "GET", "/api/devices", pairing.list_devices, _rights("view", "approve"),
        "The devices that were paired, and the browsers that are called by push.",
    ),
    Route(
        "DELETE", "/api/devices/{device_id}", pairing.remove_device, _rights("view", "approve"),
        "Take the token of a device back, or call a browser no more.",
    ),
    Route(
        "POST", "/api/sessions/{session_id}", inbox.label, _rights("produce"),
        "Say what a session is called, and which agent runs there.", body=inbox.LabelBody, rate="publish_rate",
    ),
    Route("DELETE", "/api/sessions/{session_id}", produce.end_session, _rights("produce"), "End a session."),
    Route(
        "GET", "/api/sessions", ops.list_sessions, _rights("view"), "The open sessions that the caller may see.",
        query=ops.SessionsQuery,
    ),
    Route(
        "GET", "/api/history", history.read_history, _rights("view"),
        "What was asked and how it ended, over all sessions.", query=history.HistoryQuery,
    ),
    Route("GET", "/api/policy", ops.policy, _rights("admin"), "The policy in force, and whether its file loads."),
    Route("GET", "/api/keys", keys.list_keys, _rights(), "The public key of the audit log."),
    Route(
        "GET", "/api/openapi.json", description.openapi_json, _rights(),
        "What is asked and answered, as OpenAPI 3.1.",
    ),
    Route(
        "GET", "/api/asyncapi.json", description.asyncapi_json, _rights(),
        "What streams and sockets tell, as AsyncAPI 3.",
    ),
    Route("GET", "/healthz/live", ops.live, _rights(), "The process answers.", prefixed=False),
    Route("GET", "/healthz/live", ops.live, _rights(), "The same behind the prefix.", name=ops.BEHIND_PREFIX),
    Route(
        "GET", "/metrics", metrics.metrics, _rights("admin"), "What was counted, as Prometheus reads it.",
        prefixed=False, any_user=True,
    ),
    Route("GET", "/healthz/ready", ops.ready, _rights(), "It takes work; 503 while it drains.", prefixed=False),
)  # fmt: skip


def add_routes(app: web.Application, prefix: str) -> None:
    taken = set()
    for route in ROUTES:
        place = route.method, route.full_path(prefix)
        if place in taken:
            continue  # without a prefix, what is behind it is at the root already
        taken.add(place)
        endpoint = _endpoint(route, app)
        app.router.add_route(route.method, route.full_path(prefix), endpoint, name=route.name, expect_handler=expect)
        if route.method == "GET" and not route.rights:
            app.router.add_route("HEAD", route.full_path(prefix), endpoint)  # as load balancers ask


def _endpoint(route: Route, app: web.Application) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Wrap a handler: who calls, what they say, whether they may. In this order: token, ids, query, body, right."""
    broker, settings, auth = app[BROKER], app[SETTINGS], app[AUTH]
    # A socket asks itself. What needs no right tells every page the same.
    is_read = route.method == "GET" and bool(route.rights) and not route.is_socket
    is_optional = not any(field.is_required() for field in route.query.model_fields.values())
    is_rated = route.rate is not None and app[RATES].bounds(route.rate)

    async def endpoint(request: web.Request) -> web.StreamResponse:
        caller = _NOBODY
        if is_read:
            require_origin(request, settings)  # of what changes something, the middleware has asked
        if route.rights and not route.is_socket:
            try:
                caller = auth.caller_of(request, token_in_query=route.is_stream, any_user=route.any_user)
            except Unauthenticated:
                if auth.token_of(request, token_in_query=route.is_stream):
                    await app[GUESSES].slow_down(client_address(request))
                raise
        try:
            call = await understood(request, caller)
        except (Unauthenticated, Forbidden):
            raise
        except NotifierError as error:
            if route.failed is None:
                raise
            return await route.failed(Call(request, broker, settings, caller, "", None, None), error)
        return await route.handler(call)

    async def understood(request: web.Request, caller: Caller) -> Call[Any, Any]:
        session_id = request.match_info.get("session_id")
        if session_id is not None and not route.is_socket:
            check_session_id(session_id)
        if is_optional and not request.query_string:
            query = _nothing_asked(route.query)
        else:
            query = read_query(request, route.query, lenient=route.is_stream)
        if is_rated and route.rate is not None:  # before a body is read, which costs more than anything else
            app[RATES].spend(route.rate, caller.name, held_address(request))
        body = None
        if route.body is not None:
            body = await _body(request, route, route.body, settings)
        if route.rights and not route.is_socket:
            caller = caller.require(route.rights, session_id)
            request[STANDING] = caller, route.rights, session_id
        return Call(request, broker, settings, caller, session_id or "", query, body)

    return endpoint


@cache
def _nothing_asked(query: type[Query]) -> Query:
    return query()


async def _body(request: web.Request, route: Route, model: type[BaseModel], settings: Settings) -> BaseModel:
    if not route.asks_calls:
        return checked(model, await read_json(request, settings.max_body_bytes))
    value, cut_bytes = await read_long_json(request, settings)
    if cut_bytes is not None:
        request[BODY_BYTES] = cut_bytes
    try:
        return checked(model, value)
    except InvalidInput:
        request[UNREAD] = dump(value)
        if cut_bytes is None:
            raise
        raise too_large(cut_bytes, settings) from None  # whatever else is wrong with it
