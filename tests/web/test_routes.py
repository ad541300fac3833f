"""Every row of the table: who is let in, and in which order it is checked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from yarl import URL

from notifier_service import Broker
from notifier_service.web.auth import Right
from notifier_service.web.routes import ROUTES, Route

from .conftest import Client, MakeClient, Service, answer, bearer, error_of

_INCLUDED: dict[Right, set[Right]] = {
    "view": {"view"},
    "approve": {"view", "approve"},
    "produce": {"produce"},
    "admin": {"view", "approve", "produce", "admin"},
}
_QUERIES: dict[str, dict[str, str]] = {"ChatQuery": {"query": "hello", "session_id": "team-1"}}
_BODIES: dict[str, Any] = {
    "AiSdkBody": {"messages": [{"role": "user", "parts": [{"type": "text", "text": "a"}]}]},
    "AgUiBody": {"threadId": "t", "runId": "r", "messages": [{"role": "user", "content": "a"}]},
    "ClaimBody": {"run_id": "r"},
    "LabelBody": {"title": "x"},
    "PresenceBody": {"visible": False},
    "LinkBody": {"session_id": "team-1", "request_id": "pr_none"},
    "SubscribeBody": {"endpoint": "https://push.example/", "keys": {"p256dh": "x", "auth": "x"}},
    "PairingBody": {},
    "PairBody": {},
    "DecideBody": {
        "decisions": [
            {"session_id": "team-1", "request_id": "pr_none", "parameters_sha256": "0" * 64, "approved": False}
        ]
    },
    "Decision": {"approved": False},
    "AskBody": {"tool_name": "rm", "parameters": {}},
    "TakeOverBody": {"suggestion_id": "sug_x", "scope": "session"},
    "HookBody": {"session_id": "team-1", "hook_event_name": "PostToolUse", "tool_name": "Bash"},
}


def _id(route: Route) -> str:
    return f"{route.method} {route.path}"


# A WebSocket says what is wrong after it is open: test_websocket.py and test_chat.py show that.
ANSWERED = [route for route in ROUTES if not route.is_socket]
GUARDED = pytest.mark.parametrize("route", [route for route in ANSWERED if route.rights], ids=_id)
IN_A_SESSION = pytest.mark.parametrize("route", [route for route in ANSWERED if "{session_id}" in route.path], ids=_id)
SOCKETS = pytest.mark.parametrize("route", [route for route in ROUTES if route.is_socket], ids=_id)
#: Who knows a link needs no token for it: test_links.py and test_pairing.py show that.
OPEN = pytest.mark.parametrize(
    "route",
    [route for route in ROUTES if not route.rights and "{link}" not in route.path and route.path != "/api/pair"],
    ids=_id,
)
WITH_A_BODY = pytest.mark.parametrize("route", [route for route in ROUTES if route.body is not None], ids=_id)


def path_of(route: Route, session_id: str, prefix: str = "/agent_backend") -> str:
    """The row's path in this session, with names of what there is none of."""
    return route.full_path(prefix).format(
        session_id=session_id,
        request_id="pr_none",
        rule_id="rule_none",
        name="files",
        device_id="dev_none",
        pairing_id="pairing_none",
        link="none",
    )


async def request(
    client: Client, route: Route, session_id: str = "team-1", prefix: str = "/agent_backend", **more: Any
) -> tuple[int, str]:
    """Send what the row asks for, and return status and code of the error it gives."""
    path = path_of(route, session_id, prefix)
    if route.body is not None:
        more = {"json": _BODIES[route.body.__name__], **more}
    if route.query.__name__ in _QUERIES:
        more = {"params": _QUERIES[route.query.__name__], **more}
    return await error_of(await client.request(route.method, path, **more))


def test_the_table_holds_each_endpoint_once() -> None:
    rows = [(route.method, route.full_path("/p")) for route in ROUTES]

    assert len(rows) == len(set(rows))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/agent_backend/api/sse/events/{session_id}"),
        ("POST", "/agent_backend/api/sse/permission-response/{session_id}"),
        ("POST", "/agent_backend/api/polling/permission-response/{session_id}"),
        ("GET", "/agent_backend/api/sse/health/{session_id}"),
        ("GET", "/agent_backend/api/polling/session-info/{session_id}"),
        ("GET", "/agent_backend/api/polling/tool-status/{session_id}"),
        ("GET", "/agent_backend/api/polling/permission-request/{session_id}"),
        ("GET", "/agent_backend/api/polling/tool-result/{session_id}"),
        ("POST", "/agent_backend/api/polling/clear-result/{session_id}"),
        ("GET", "/agent_backend/api/long-poll/{session_id}"),
        ("GET", "/api/long-poll/{session_id}"),
        ("GET", "/agent_backend/ws/{session_id}"),
        ("GET", "/ws/chat"),
        ("GET", "/agent_chat_stream"),
        ("POST", "/agent_backend/api/sse/ticket/{session_id}"),
        ("POST", "/agent_backend/api/events/{session_id}"),
        ("POST", "/agent_backend/api/events"),
        ("POST", "/agent_backend/api/permissions/{session_id}"),
        ("GET", "/agent_backend/api/permissions/{session_id}"),
        ("GET", "/agent_backend/api/permissions/{session_id}/{request_id}"),
        ("POST", "/agent_backend/api/permissions/{session_id}/{request_id}/claim"),
        ("DELETE", "/agent_backend/api/permissions/{session_id}/{request_id}"),
        ("DELETE", "/agent_backend/api/sessions/{session_id}"),
        ("GET", "/agent_backend/api/rules/{session_id}"),
        ("DELETE", "/agent_backend/api/rules/{session_id}/{rule_id}"),
        ("GET", "/agent_backend/api/sessions"),
        ("GET", "/agent_backend/api/history"),
        ("GET", "/agent_backend/api/keys"),
        ("POST", "/mcp/{session_id}"),
        ("POST", "/hooks/claude-code"),
        ("GET", "/agent_backend/api/openapi.json"),
        ("GET", "/agent_backend/api/asyncapi.json"),
        ("GET", "/metrics"),
        ("GET", "/healthz/live"),
        ("GET", "/healthz/ready"),
    ],
)
def test_the_table_has_the_paths_of_the_contract(method: str, path: str) -> None:
    assert (method, path) in [(route.method, route.full_path("/agent_backend")) for route in ROUTES]


@GUARDED
async def test_who_has_no_token_is_unauthenticated(guarded: Client, route: Route) -> None:
    assert await request(guarded, route) == (401, "unauthenticated")


@GUARDED
async def test_who_has_no_token_learns_nothing_of_what_else_is_wrong(guarded: Client, route: Route) -> None:
    got = await request(guarded, route, session_id="bad id", json=None, data=b"{", params={"unknown": "1"})

    assert got == (401, "unauthenticated")


@GUARDED
async def test_who_has_another_right_is_forbidden(guarded: Client, route: Route) -> None:
    for right, included in _INCLUDED.items():
        if not included & route.rights:
            assert await request(guarded, route, headers=bearer(right)) == (403, "forbidden"), right


@IN_A_SESSION
async def test_a_session_outside_the_patterns_is_forbidden_whether_it_exists_or_not(
    guarded: Client, broker: Broker, route: Route
) -> None:
    broker.open("private-1")

    existing = await request(guarded, route, session_id="private-1", headers=bearer("admin"))
    other = await request(guarded, route, session_id="private-2", headers=bearer("admin"))

    assert existing == other == (403, "forbidden")
    assert [session.session_id for session in broker.sessions] == ["private-1"]


@SOCKETS
async def test_a_socket_is_opened_before_it_is_asked_who_calls(guarded: Client, broker: Broker, route: Route) -> None:
    for headers in ({}, bearer("view"), bearer("nobody")):
        asked = await request(guarded, route, headers=headers)  # without an upgrade nothing is opened

        assert asked == (422, "invalid")
    assert broker.sessions == ()


@pytest.mark.parametrize("prefix", ["", "/x"])
async def test_the_chat_is_no_session_of_that_name(make_client: MakeClient, broker: Broker, prefix: str) -> None:
    client = await make_client(broker, prefix=prefix)

    async with client.ws_connect("/ws/chat") as chat, client.ws_connect(f"{prefix}/ws/s1") as socket:
        await chat.send_json({"type": "resume", "after": "x"})
        assert (await chat.receive_json(timeout=5))["type"] == "error"
        assert (await socket.receive_json(timeout=5))["type"] == "hello"
    assert [session.session_id for session in broker.sessions] == ["s1"]


@OPEN
async def test_who_has_no_token_may_ask_for_health(guarded: Client, route: Route) -> None:
    response = await guarded.request(route.method, route.full_path("/agent_backend"))

    assert response.status == 200


@OPEN
async def test_health_is_asked_with_head_too(client: Client, route: Route) -> None:
    response = await client.head(route.full_path("/agent_backend"))

    assert (response.status, await response.read()) == (200, b"")


_NO_IDS = ["%0d%0aid", "a%00", "a%20b", "%C3%A9", "%2Fetc", "a%2Fb", "a%25", "a%22", "%FF", "a%0A", "a+b", "💥"]
_NO_IDS.append("x" * 129)


@IN_A_SESSION
async def test_a_session_id_that_is_none_is_invalid(client: Client, route: Route) -> None:
    body = {} if route.body is None else {"json": _BODIES[route.body.__name__]}
    for session_id in _NO_IDS:
        path = path_of(route, session_id)
        response = await client.request(route.method, URL(path, encoded=session_id.isascii()), **body)

        assert await response.json() == {
            "success": False,
            "error": {"code": "invalid", "message": "A session id matches [A-Za-z0-9._:~-]{1,128}."},
            "message": "A session id matches [A-Za-z0-9._:~-]{1,128}.",
        }, session_id
        assert response.status == 422


@pytest.mark.parametrize("session_id", [".", "..", "%2e", "%2E%2e", ".%2E"])
@pytest.mark.parametrize(
    ("method", "place"),
    [
        ("GET", "/agent_backend/api/permissions/{}"),
        ("GET", "/agent_backend/api/sse/events/{}"),
        ("GET", "/api/long-poll/{}"),
        ("POST", "/agent_backend/api/events/{}"),
        ("DELETE", "/agent_backend/api/sessions/{}"),
        ("GET", "/agent_chat_stream?query=x&session_id={}"),
    ],
)
async def test_a_step_in_a_path_is_no_session_id(service: Service, method: str, place: str, session_id: str) -> None:
    path = place.format(session_id)
    received = await service.raw(
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}".encode()
    )
    head, _, body = received.partition(b"\r\n\r\n")

    assert head.split()[1] == b"422"
    assert json.loads(body)["error"]["code"] == "invalid"


@pytest.mark.parametrize("session_id", ["x" * 128, "a.b_c:d~e-F9", "...", "%61"])
async def test_a_session_id_of_the_contract_is_taken(client: Client, session_id: str) -> None:
    response = await client.get(URL(f"/agent_backend/api/permissions/{session_id}", encoded=True))

    assert await answer(response) == (200, {"success": True, "data": []})


@pytest.mark.parametrize("route", [route for route in ROUTES if not route.is_stream], ids=_id)
async def test_a_query_that_is_unknown_or_repeated_is_invalid_where_nothing_streams(
    client: Client, route: Route
) -> None:
    assert await request(client, route, params={"unknown": "s3cret"}) == (422, "invalid")
    assert await request(client, route, params=[("token", "a"), ("token", "b")]) == (422, "invalid")


@WITH_A_BODY
async def test_the_body_is_checked_before_the_right(guarded: Client, route: Route) -> None:
    got = await request(guarded, route, json={"nonsense": 1}, headers=bearer("view"))

    assert got == (422, "invalid")


@pytest.mark.parametrize("prefix", ["", "/x", "/deep/er"])
async def test_the_prefix_stands_before_the_api_and_not_before_health(make_client: MakeClient, prefix: str) -> None:
    client = await make_client(prefix=prefix)

    assert (await client.get(f"{prefix}/api/sessions")).status == 200
    assert (await client.get("/healthz/live")).status == 200
    assert (await client.get("/agent_backend/api/sessions")).status == 404
