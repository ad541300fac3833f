"""MCP servers of the settings, behind the gate (contract section 7b)."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from pydantic import ValidationError

from notifier_service import Broker, Settings, serve
from tests.mcp.http_stub import HttpStub
from tests.mcp.http_wiring import call

from ..conftest import Client, MakeClient, WriteTokens, error_of, until

PATH = "/mcp/gateway/files"
ACCEPT = {"Accept": "application/json, text/event-stream"}


@pytest.fixture
async def client(make_client: MakeClient, broker: Broker, stub: HttpStub) -> Client:
    return await make_client(broker, mcp_upstreams={"files": stub.url})


async def text_of(client: Client, message: dict[str, Any], path: str = PATH, **headers: str) -> str:
    async with client.post(path, json=message, headers={**ACCEPT, **headers}) as response:
        assert response.status == 200
        text: str = (await response.json())["result"]["content"][0]["text"]
        return text


async def test_server_is_reached_by_its_name(client: Client, stub: HttpStub) -> None:
    assert await text_of(client, call(1, "read")) == "read ran with {}"
    assert (await client.get(PATH)).status == 200
    assert (await client.delete(PATH)).status == 200
    assert [received.method for received in stub.received] == ["POST", "POST", "GET", "DELETE"]


async def test_service_that_listens_passes_a_body_that_came_with_its_head(stub: HttpStub) -> None:
    async with (
        serve(settings=Settings(port=0, mcp_upstreams={"files": stub.url})) as site,
        aiohttp.ClientSession() as http,
        http.post(f"{site.url}{PATH}", json=call(1, "read"), headers=ACCEPT) as response,
    ):
        assert (response.status, "read ran with {}" in await response.text()) == (200, True)


async def test_unknown_name_is_not_found(client: Client) -> None:
    assert await error_of(await client.post("/mcp/gateway/other", json={})) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "headers", "session_id"),
    [
        (PATH, {}, "mcp-files"),
        (PATH, {"Mcp-Session-Id": "secret"}, "mcp-files-2bb80d537b1d"),
        (f"{PATH}?session_id=mine", {"Mcp-Session-Id": "secret"}, "mine"),
    ],
)
async def test_call_is_asked_about_in_a_session_of_its_own(
    client: Client, broker: Broker, path: str, headers: dict[str, str], session_id: str
) -> None:
    answer = asyncio.create_task(text_of(client, call(1, "write"), path, **headers))
    await until(lambda: broker.open(session_id).desk.pending)

    [request] = broker.open(session_id).desk.pending
    request.cancel("enough")

    assert "write did not run" in await answer


async def test_person_may_take_as_long_as_the_url_says(client: Client, broker: Broker, stub: HttpStub) -> None:
    assert "write did not run" in await text_of(client, call(1, "write"), f"{PATH}?timeout_seconds=0.05")
    assert stub.ran() == []


@pytest.mark.parametrize("query", ["timeout_seconds=0", "timeout_seconds=x", "session_id=a/b", "unknown=1"])
async def test_wrong_query_is_refused(client: Client, query: str) -> None:
    status, _ = await error_of(await client.post(f"{PATH}?{query}", json=call(1, "read")))

    assert status == 422


async def test_pages_of_other_sites_do_not_read_the_stream(client: Client, stub: HttpStub) -> None:
    response = await client.get(PATH, headers={"Origin": "https://evil.example"})

    assert await error_of(response) == (403, "forbidden")
    assert stub.received == []


async def test_message_over_the_limit_of_bodies_is_refused(
    make_client: MakeClient, broker: Broker, stub: HttpStub
) -> None:
    client = await make_client(
        broker, mcp_upstreams={"files": stub.url}, max_body_bytes=1024, max_parameters_bytes=1024
    )

    response = await client.post(PATH, json=call(1, "read", {"x": "x" * 3 * 1024}))

    assert response.status == 413
    assert stub.received == []


async def test_token_and_cookies_are_for_the_service_alone(
    make_client: MakeClient, broker: Broker, stub: HttpStub, write_tokens: WriteTokens
) -> None:
    tokens = write_tokens([{"token": "mine", "rights": ["produce"], "sessions": ["mcp-*"]}])
    client = await make_client(broker, mcp_upstreams={"files": stub.url}, auth="tokens", tokens_file=tokens)

    await text_of(
        client, call(1, "read"), Authorization="Bearer mine", Cookie="a=b", **{"Upstream-Authorization": "Bearer its"}
    )

    for received in stub.received:
        assert received.headers.getall("Authorization") == ["Bearer its"]
        assert not {"Cookie", "Upstream-Authorization"} & received.headers.keys()


@pytest.mark.parametrize(
    ("token", "path", "status"),
    [
        ("none", PATH, 401),
        ("viewer", PATH, 403),
        ("producer", PATH, 403),
        ("producer", f"{PATH}?session_id=theirs", 403),
        ("producer", f"{PATH}?session_id=mine", 200),
    ],
)
async def test_producing_in_the_session_is_what_a_caller_needs(
    make_client: MakeClient,
    broker: Broker,
    stub: HttpStub,
    write_tokens: WriteTokens,
    token: str,
    path: str,
    status: int,
) -> None:
    tokens = write_tokens(
        [
            {"token": "viewer", "rights": ["view", "approve"], "sessions": ["*"]},
            {"token": "producer", "rights": ["produce"], "sessions": ["mine"]},
        ]
    )
    client = await make_client(broker, mcp_upstreams={"files": stub.url}, auth="tokens", tokens_file=tokens)

    for method in ("POST", "GET", "DELETE"):
        headers = {"Authorization": f"Bearer {token}"}
        async with client.request(method, path, json=call(1, "read"), headers=headers) as response:
            assert response.status == status


async def test_who_calls_over_the_gateway_cannot_approve(
    make_client: MakeClient, broker: Broker, stub: HttpStub, write_tokens: WriteTokens
) -> None:
    both = {"token": "both", "subject": "agent", "rights": ["produce", "approve"], "sessions": ["*"]}
    other = {"token": "other", "subject": "person", "rights": ["approve"], "sessions": ["*"]}
    tokens = write_tokens([both, other])
    client = await make_client(broker, mcp_upstreams={"files": stub.url}, auth="tokens", tokens_file=tokens)
    answer = asyncio.create_task(text_of(client, call(1, "write"), Authorization="Bearer both"))
    await until(lambda: broker.open("mcp-files").desk.pending)

    decide = "/agent_backend/api/sse/permission-response/mcp-files"
    refused = await client.post(decide, json={"approved": True}, headers={"Authorization": "Bearer both"})
    allowed = await client.post(decide, json={"approved": True}, headers={"Authorization": "Bearer other"})

    assert (await error_of(refused), allowed.status) == ((403, "self_approval"), 200)
    assert await answer == "write ran with {}"


@pytest.mark.parametrize(
    ("given", "upstreams"),
    [
        ("", {}),
        ("files=http://127.0.0.1:1/mcp", {"files": "http://127.0.0.1:1/mcp"}),
        (
            " a=https://a.example/mcp?x=1 , b.2=http://[::1]:9 ,",
            {"a": "https://a.example/mcp?x=1", "b.2": "http://[::1]:9"},
        ),
    ],
)
def test_upstreams_are_pairs_with_commas(given: str, upstreams: dict[str, str]) -> None:
    assert Settings(mcp_upstreams=given) == Settings(mcp_upstreams=upstreams)  # type: ignore[arg-type]
    assert Settings(mcp_upstreams=given).mcp_upstreams == upstreams  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        "http://127.0.0.1/mcp",
        "files",
        "files=",
        "files=ftp://a.example",
        "files=http://me:secret@a.example/mcp",
        "files=http://a.example/mcp#x",
        "files=http://:80/mcp",
        "a/b=http://a.example",
        "a=http://a.example,a=http://b.example",
    ],
)
def test_wrong_upstreams_are_refused(given: str) -> None:
    with pytest.raises(ValidationError, match="mcp_upstreams"):
        Settings(mcp_upstreams=given)  # type: ignore[arg-type]
