"""A right is asked for whenever it is used, and what a token opened ends with the token."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from notifier_service import Broker
from notifier_service.web import auth
from tests.mcp.http_stub import HttpStub
from tests.mcp.http_wiring import call, on_a_port
from tests.signer import Signer

from .conftest import API, Client, MakeClient, WriteTokens, answer, bearer, error_of, reading, until

ASK = {"tool_name": "rm", "parameters": {"path": "/srv"}}
WS = "/agent_backend/ws/team-1"
LINE = b'{"type":"note"}\n'

Rewrite = Callable[..., None]


@pytest.fixture
def rewrite(write_tokens: WriteTokens) -> Rewrite:
    """Write the tokens file: a token for each right in ``team-*``, but for those named, which are left out or given."""

    def write(*without: str, sessions: str = "team-*", **rights: Sequence[str]) -> None:
        write_tokens(
            [
                {
                    "token": f"{name}-token",
                    "subject": name,
                    "rights": rights.get(name, [name]),
                    "sessions": [sessions],
                }
                for name in ("view", "approve", "produce", "admin")
                if name not in without
            ]
        )

    write()
    return write


@pytest.fixture
async def client(make_client: MakeClient, broker: Broker, rewrite: Rewrite, tmp_path: Path) -> Client:
    return await make_client(broker, auth="tokens", tokens_file=tmp_path / "tokens.json")


@asynccontextmanager
async def socket(client: Client, right: str, path: str = WS) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with client.ws_connect(path, headers=bearer(right)) as open_one:
        if path == WS:
            await open_one.receive_json()
            await open_one.receive_json()
        yield open_one


def ask(broker: Broker, session_id: str = "team-1", **how: Any) -> Any:
    return broker.ask(session_id, **ASK, **how)


def approval(request: Any) -> Mapping[str, Any]:
    return {"type": "permission_response", "approved": True, "request_id": request.request_id}


async def error_on(socket: aiohttp.ClientWebSocketResponse) -> str:
    while (message := await socket.receive_json())["type"] != "error":
        continue
    return str(message["code"])


# Deciding


async def test_a_revoked_token_decides_nothing_over_the_socket_that_it_opened(
    client: Client, broker: Broker, rewrite: Rewrite
) -> None:
    async with socket(client, "approve") as open_one:
        request = ask(broker)
        rewrite("approve")

        await open_one.send_json(approval(request))

        assert await error_on(open_one) == "unauthenticated"
    assert request.pending


async def test_who_lost_the_right_to_approve_goes_on_reading_and_decides_nothing(
    client: Client, broker: Broker, rewrite: Rewrite
) -> None:
    async with socket(client, "approve") as open_one:
        request = ask(broker)
        rewrite(approve=["view"])

        await open_one.send_json(approval(request))

        assert await error_on(open_one) == "forbidden"
        await open_one.send_json({"type": "ping"})
        assert await open_one.receive_json() == {"type": "pong"}
    assert request.pending


async def test_who_was_given_the_right_to_approve_may_at_once(client: Client, broker: Broker, rewrite: Rewrite) -> None:
    async with socket(client, "view") as open_one:
        request = ask(broker)
        rewrite(view=["approve"])

        await open_one.send_json(approval(request))
        while (await open_one.receive_json())["type"] != "permission_response":
            continue

    assert request.record.approved


async def test_a_signed_token_decides_nothing_the_moment_it_has_expired(
    make_client: MakeClient, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer, keys = Signer.new(), tmp_path / "key"
    keys.write_bytes(signer.verifying)
    client = await make_client(broker, auth="jwt", jwt_algorithms="HS256", jwt_key_file=keys)
    token = signer.token(rights=["approve"], exp=time.time() + 60)
    async with client.ws_connect(WS, headers={"Authorization": f"Bearer {token}"}) as open_one:
        request = ask(broker)
        monkeypatch.setattr(auth, "time", SimpleNamespace(time=lambda: time.time() + 60.05))

        await open_one.send_json(approval(request))

        assert await error_on(open_one) == "unauthenticated"
    assert request.pending


async def test_a_token_whose_key_was_taken_back_decides_nothing(
    make_client: MakeClient, broker: Broker, tmp_path: Path
) -> None:
    signer, keys = Signer.new(), tmp_path / "key"
    keys.write_bytes(signer.verifying)
    client = await make_client(broker, auth="jwt", jwt_algorithms="HS256", jwt_key_file=keys)
    token = signer.token(rights=["approve"])
    async with client.ws_connect(WS, headers={"Authorization": f"Bearer {token}"}) as open_one:
        request = ask(broker)
        keys.write_bytes(Signer.new().verifying)

        await open_one.send_json(approval(request))

        assert await error_on(open_one) == "unauthenticated"
    assert request.pending


# Reading


@pytest.mark.parametrize("how", [{"without": "view"}, {"sessions": "other-*"}, {"view": ["produce"]}])
async def test_streams_end_when_their_token_no_longer_gives_the_right_to_read(
    client: Client, rewrite: Rewrite, how: dict[str, Any]
) -> None:
    async with (
        reading(client, "team-1", headers=bearer("view")) as stream,
        socket(client, "view") as open_one,
    ):
        await stream.until("snapshot")

        without = how.pop("without", None)
        rewrite(*[without] if without else [], **how)

        assert (await stream.rest())[-1].data["data"]["code"] == "token_expired"
        assert (await open_one.receive_json())["type"] == "bye"
        assert (await open_one.receive()).data == 4401


async def test_streams_of_others_go_on(client: Client, broker: Broker, rewrite: Rewrite) -> None:
    async with (
        reading(client, "team-1", headers=bearer("view")) as gone,
        reading(client, "team-1", headers=bearer("admin")) as other,
    ):
        await other.until("snapshot")
        rewrite("view")
        await gone.rest()

        broker.publish_nowait("team-1", "note")

        assert (await other.until("note"))[-1].type == "note"


async def test_a_ticket_is_worth_what_the_token_behind_it_is(client: Client, rewrite: Rewrite) -> None:
    tickets = [
        (await (await client.post(f"{API}/sse/ticket/team-1", headers=bearer("view"))).json())["data"]["ticket"]
        for _ in range(2)
    ]

    rewrite(sessions="other-*")
    narrowed = await client.get(f"{API}/sse/events/team-1", params={"ticket": tickets[0]})
    rewrite("view")
    revoked = await client.get(f"{API}/sse/events/team-1", params={"ticket": tickets[1]})

    assert await error_of(narrowed) == (403, "forbidden")
    assert await error_of(revoked) == (401, "unauthenticated")


async def test_a_long_poll_that_was_held_gives_nothing_to_a_revoked_token(
    client: Client, broker: Broker, rewrite: Rewrite
) -> None:
    held = asyncio.create_task(client.get(f"{API}/long-poll/team-1?timeout=30", headers=bearer("view")).__aenter__())
    await until(lambda: broker.sessions and broker.sessions[0].viewer_count)

    rewrite("view")
    broker.publish_nowait("team-1", "note", {"secret": True})

    assert await error_of(await held) == (401, "unauthenticated")


# Producing


async def test_a_stream_of_events_is_taken_up_to_where_its_token_was_revoked(
    client: Client, broker: Broker, rewrite: Rewrite
) -> None:
    async def lines() -> AsyncIterator[bytes]:
        yield LINE
        await until(lambda: broker.sessions and broker.get("team-1").log.last_seq)
        rewrite("produce")
        yield LINE

    response = await client.post(
        f"{API}/events/team-1", data=lines(), headers={**bearer("produce"), "Content-Type": "application/x-ndjson"}
    )

    assert await error_of(response) == (401, "unauthenticated")
    assert (await response.json())["error"]["count"] == 1
    assert broker.get("team-1").log.last_seq == 1


async def test_an_asker_whose_token_was_revoked_while_a_person_thought_is_told_nothing_and_nothing_runs(
    client: Client, broker: Broker, rewrite: Rewrite
) -> None:
    held = asyncio.create_task(
        client.post(f"{API}/permissions/team-1?wait=30", json=ASK, headers=bearer("produce")).__aenter__()
    )
    await until(lambda: broker.sessions and broker.get("team-1").desk.pending)
    [request] = broker.get("team-1").desk.pending

    rewrite("produce")

    assert await error_of(await held) == (401, "unauthenticated")
    assert request.record.status == "cancelled"


async def test_a_decision_that_was_waited_for_is_not_told_to_a_revoked_token(
    client: Client, broker: Broker, rewrite: Rewrite
) -> None:
    request = ask(broker, asked_by="produce")
    held = asyncio.create_task(
        client.get(f"{API}/permissions/team-1/{request.request_id}?wait=30", headers=bearer("produce")).__aenter__()
    )
    await asyncio.sleep(0.05)

    rewrite("produce")

    assert await error_of(await held) == (401, "unauthenticated")
    assert request.pending


async def test_a_hook_of_a_revoked_token_denies_in_words(client: Client, broker: Broker, rewrite: Rewrite) -> None:
    body = {"session_id": "team-1", "hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": {}}
    held = asyncio.create_task(client.post("/hooks/claude-code", json=body, headers=bearer("produce")).__aenter__())
    await until(lambda: broker.sessions and broker.get("team-1").desk.pending)

    rewrite("produce")
    status, told = await answer(await held)

    assert status == 200
    assert told["hookSpecificOutput"]["permissionDecision"] == "deny"
    assert "revoked" in told["hookSpecificOutput"]["permissionDecisionReason"]


async def test_a_call_behind_the_gateway_does_not_run_for_a_token_that_was_revoked_while_it_was_held(
    make_client: MakeClient, broker: Broker, rewrite: Rewrite, tmp_path: Path
) -> None:
    stub = HttpStub()
    async with on_a_port(stub.app()) as port:
        stub.port = port
        client = await make_client(
            broker, auth="tokens", tokens_file=tmp_path / "tokens.json", mcp_upstreams={"files": stub.url}
        )
        held = asyncio.create_task(
            client.post(
                "/mcp/gateway/files?session_id=team-1",
                json=call(1, "write"),
                headers={**bearer("produce"), "Accept": "application/json, text/event-stream"},
            ).__aenter__()
        )
        await until(lambda: broker.sessions and broker.get("team-1").desk.pending)
        [request] = broker.get("team-1").desk.pending

        rewrite("produce")
        approved = await client.post(
            f"{API}/sse/permission-response/team-1",
            json={"approved": True, "request_id": request.request_id},
            headers=bearer("approve"),
        )
        result = (await (await held).json())["result"]

    assert approved.status == 200
    assert result["isError"] is True
    assert "did not run" in result["content"][0]["text"]
    assert stub.ran() == []


# Chatting


async def test_a_chat_ends_when_its_token_is_revoked(client: Client, rewrite: Rewrite) -> None:
    async with socket(client, "approve", "/ws/chat") as chat:
        await chat.send_json({"type": "ping"})
        await chat.receive_json()

        rewrite("approve")

        assert await error_on(chat) == "unauthenticated"
        assert (await chat.receive()).data == 4401


async def test_no_turn_begins_with_a_right_that_was_taken_back(client: Client, rewrite: Rewrite) -> None:
    async with socket(client, "approve", "/ws/chat") as chat:
        await chat.send_json({"type": "ping"})
        await chat.receive_json()
        rewrite(sessions="other-*")

        await chat.send_json({"query": "hello", "session_id": "team-1"})

        assert json.loads(await chat.receive_str())["code"] == "forbidden"


async def test_what_a_signed_token_opened_ends_when_the_wall_clock_is_set_beyond_its_time(
    make_client: MakeClient, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer, keys = Signer.new(), tmp_path / "key"
    keys.write_bytes(signer.verifying)
    client = await make_client(broker, auth="jwt", jwt_algorithms="HS256", jwt_key_file=keys)
    headers = {"Authorization": f"Bearer {signer.token(rights=['view'], exp=time.time() + 1800)}"}
    lasting = {"Authorization": f"Bearer {signer.token(rights=['view'], exp=time.time() + 7200)}"}
    wall = time.time
    async with (
        client.ws_connect(WS, headers=headers) as short,
        client.ws_connect(WS, headers=lasting) as long,
        reading(client, "team-1", headers=headers) as stream,
    ):
        await stream.until("snapshot")
        monkeypatch.setattr(time, "time", lambda: wall() + 3600)

        ended = (await stream.rest())[-1]
        while (message := await short.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
        broker.publish_nowait("team-1", "note")
        while (await long.receive_json())["type"] != "note":
            pass

    assert ended.data["data"]["code"] == "token_expired"
    assert message.data == 4401


@pytest.mark.parametrize("seconds", [-3600, 3600])
async def test_a_wall_clock_that_is_set_by_an_hour_ends_no_question_ticket_or_key(
    client: Client, broker: Broker, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    produce = {**bearer("produce"), "Idempotency-Key": "k"}

    async def posted(path: str, body: Any, headers: Mapping[str, str] = produce) -> Any:
        status, told = await answer(await client.post(f"{API}/{path}/team-1", json=body, headers=headers))
        assert status in (200, 201, 202), told
        return told["data"]

    asked = await posted("permissions", ASK)
    published = await posted("events", {"type": "note"})
    ticket = (await posted("sse/ticket", None, bearer("view")))["ticket"]
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + seconds)
    broker.sweep()

    async with reading(client, "team-1", params={"ticket": ticket}) as stream:
        await stream.until("snapshot")
    assert await posted("permissions", ASK) == asked
    assert await posted("events", {"type": "note"}) == published
    decision = {"approved": True, "request_id": asked["request_id"]}
    record = await posted("sse/permission-response", decision, bearer("approve"))
    assert record["status"] == "approved"
