"""The same events over a WebSocket, with answers on the same socket (contract sections 3, 8 and 9)."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import jwt
import pytest
from aiohttp import web

from notifier_service import Broker, Limits, Settings, create_app, serve
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.web import AccessLog, Site, sockets
from tests.clock import Clock
from tests.raw_socket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Closed, OpenSocket, RawSocket
from tests.raw_stream import OpenStream

from .conftest import API, WriteTokens, bearer, error_of, until

PREFIX = "/agent_backend"
PATH = f"{PREFIX}/ws/s"
ASK: dict[str, Any] = {"tool_name": "rm", "parameters": {"path": "/tmp/x"}}
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}

Serve: TypeAlias = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve(settings=Settings(port=0)) as site:
        yield site


@pytest.fixture
def broker(site: Site) -> Broker:
    return site.broker


@pytest.fixture
async def socket(site: Site, open_socket: OpenSocket) -> RawSocket:
    """A socket that has been told hello and the state of an empty session."""
    socket = await open_socket(site.port, PATH)
    await socket.take(2)
    return socket


@pytest.fixture
def guarded(write_tokens: WriteTokens) -> Serve:
    """Run a service with a token for each right in sessions ``s`` and ``team-*``; the token is the right's name."""

    def run(**settings: Any) -> AbstractAsyncContextManager[Site]:
        entries = [
            {"token": f"{right}-token", "subject": right, "rights": [right], "sessions": ["s", "team-*"]}
            for right in ("view", "approve", "produce")
        ]
        return serve(settings=Settings(port=0, auth="tokens", tokens_file=write_tokens(entries), **settings))

    return run


@pytest.fixture
def signed(tmp_path: Path) -> Callable[..., str]:
    """Make a token of ``auth=jwt``, whose key stands in ``key`` of the test's folder."""
    secret = "x" * 32
    (tmp_path / "key").write_text(secret)

    def sign(seconds: float, *rights: str, subject: str = "ann") -> str:
        claims = {"sub": subject, "rights": rights, "sessions": ["*"], "exp": int(time.time() + seconds)}
        return jwt.encode(claims, secret, algorithm="HS256")

    return sign


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def ids(events: list[dict[str, Any]]) -> list[str | None]:
    return [event.get("id") for event in events]


def publish(broker: Broker, count: int) -> list[str]:
    return [broker.publish_nowait("s", "note", {"n": n}).id for n in range(count)]


async def error_on(socket: RawSocket, message: Any) -> dict[str, Any]:
    """The error that a message gets, in the one shape; the socket stays usable."""
    await socket.send(message)
    error = await socket.until("error")
    assert set(error) == {"type", "success", "error", "message", "code"}
    assert error["success"] is False
    assert error["message"] == error["error"]["message"] != ""
    assert error["code"] == error["error"]["code"]
    await assert_usable(socket)
    return error


async def assert_usable(socket: RawSocket) -> None:
    await socket.send({"type": "ping"})
    assert await socket.event() == {"type": "pong"}


async def ended(socket: RawSocket) -> tuple[list[str], Closed]:
    """What was told until the end, and how it ended."""
    told = types(await socket.rest())
    assert socket.ended is not None
    return told, socket.ended


# What is told


async def test_socket_is_told_the_same_as_a_stream(
    site: Site, broker: Broker, open_socket: OpenSocket, open_stream: OpenStream
) -> None:
    publish(broker, 1)
    broker.ask("s", **ASK)
    stream = await open_stream(site.port, f"{API}/sse/events/s")
    by_stream = [await stream.event() for _ in range(3)]
    socket = await open_socket(site.port, PATH)
    by_socket = await socket.take(3)
    publish(broker, 2)
    by_stream += [await stream.event() for _ in range(2)]
    by_socket += await socket.take(2)

    assert types(by_socket) == ["hello", "snapshot", "permission_request", "note", "note"]
    for event in (by_stream[0], by_socket[0]):
        assert event is not None
        assert event["data"].pop("viewers") in (1, 2)
    assert by_socket == by_stream


async def test_events_come_live_once_and_in_order(broker: Broker, socket: RawSocket) -> None:
    published = publish(broker, 50)

    assert ids(await socket.take(50)) == published


async def test_backlog_larger_than_one_write_comes_whole(site: Site, broker: Broker, open_socket: OpenSocket) -> None:
    published = [broker.publish_nowait("s", "note", {"text": "x" * 10_000}).id for _ in range(30)]
    socket = await open_socket(site.port, f"{PATH}?after=earliest")

    assert ids((await socket.take(31))[1:]) == published


async def test_socket_is_a_viewer_of_its_own_kind(site: Site, broker: Broker, socket: RawSocket) -> None:
    session = broker.get("s")

    assert session.readers.by_transport == {"websocket": 1}
    assert broker.ask("s", **ASK).record.viewers == 1


async def test_what_a_socket_is_handed_is_counted_so_that_one_who_takes_slowly_is_not_cut(
    broker: Broker, socket: RawSocket
) -> None:
    [reader] = broker.get("s").readers
    before = reader.peer.handed_bytes()
    event = broker.publish_nowait("s", "note", {"text": "x" * 100})
    await socket.take(1)

    assert reader.peer.handed_bytes() - before == 4 + len(event.json)  # and the head of the frame


async def test_silent_socket_gets_heartbeats_and_pings(open_socket: OpenSocket) -> None:
    async with serve(settings=Settings(port=0, heartbeat_seconds=0.04)) as site:
        socket = await open_socket(site.port, PATH)
        await socket.take(2)
        beats = await socket.take(2)
        while not socket.pings:
            await socket.take(1)

    assert [set(beat) for beat in beats] == [{"type", "timestamp"}] * 2
    assert types(beats) == ["heartbeat"] * 2


async def test_peer_that_answers_no_ping_is_gone(open_socket: OpenSocket) -> None:
    async with serve(settings=Settings(port=0, heartbeat_seconds=0.04)) as site:
        socket = await open_socket(site.port, PATH)
        socket.answers = False
        await socket.rest()
        await until(lambda: not site.broker.connections)

        assert socket.ended == Closed(1006, "")
        assert site.broker.get("s").readers.disconnects == {"left": 1}


# Where it goes on


async def test_cursor_in_the_url_resumes(site: Site, broker: Broker, open_socket: OpenSocket) -> None:
    published = publish(broker, 4)
    socket = await open_socket(site.port, f"{PATH}?after={published[1]}")
    events = await socket.take(3)
    live = publish(broker, 1)
    events += await socket.take(1)

    assert events[0]["data"]["resumed"] == "full"
    assert ids(events) == [None, *published[2:], *live]


@pytest.mark.parametrize("after", ["garbage", "1-1", "%0D%0Aid:1"])
async def test_lost_cursor_in_the_url_is_a_gap(site: Site, open_socket: OpenSocket, after: str) -> None:
    socket = await open_socket(site.port, f"{PATH}?after={after}")
    hello, gap, snapshot = await socket.take(3)

    assert (hello["data"]["resumed"], gap["type"], snapshot["type"]) == ("partial", "gap", "snapshot")
    assert gap["data"]["reason"] == ("epoch" if after == "1-1" else "unknown")


async def test_socket_that_comes_back_to_a_session_that_was_ended_is_told_to_stop(
    site: Site, broker: Broker, open_socket: OpenSocket
) -> None:
    before = broker.publish_nowait("s", "note").id
    broker.end_session("s")
    socket = await open_socket(site.port, f"{PATH}?after={before}")
    [bye] = await socket.rest()

    assert (bye["type"], bye["data"]["code"], bye["data"]["reconnect"]) == ("bye", "session_closed", False)
    assert socket.ended is not None
    assert socket.ended.code == 4404


async def test_empty_cursor_in_the_url_is_none(site: Site, open_socket: OpenSocket) -> None:
    socket = await open_socket(site.port, f"{PATH}?after=&unknown=1")

    assert types(await socket.take(2)) == ["hello", "snapshot"]


async def test_resume_gives_what_was_missed_without_a_new_hello(broker: Broker, socket: RawSocket) -> None:
    published = publish(broker, 3)
    await socket.take(3)
    await socket.send({"type": "resume", "after": published[0]})
    events = await socket.take(2)
    live = publish(broker, 1)

    assert ids(events + await socket.take(1)) == [*published[1:], *live]


async def test_resume_from_the_end_gives_only_what_comes(broker: Broker, socket: RawSocket) -> None:
    published = publish(broker, 2)
    await socket.take(2)
    await socket.send({"type": "resume", "after": published[-1]})
    await assert_usable(socket)
    live = publish(broker, 1)

    assert ids(await socket.take(1)) == live


async def test_resume_from_the_earliest_gives_all_that_the_log_holds(broker: Broker, socket: RawSocket) -> None:
    published = publish(broker, 3)
    await socket.take(3)
    await socket.send({"type": "resume", "after": "earliest"})

    assert ids(await socket.take(3)) == published


async def test_resume_with_a_lost_cursor_gives_a_gap_the_state_and_then_what_comes(
    broker: Broker, socket: RawSocket
) -> None:
    request = broker.ask("s", **ASK)
    await socket.take(1)
    await socket.send({"type": "resume", "after": "garbage"})
    gap, snapshot, asked = await socket.take(3)
    live = publish(broker, 1)

    assert (gap["type"], gap["data"]["reason"]) == ("gap", "unknown")
    assert snapshot["data"]["permission_request"]["request_id"] == request.request_id
    assert (asked["data"]["request_id"], asked["data"]["replayed"]) == (request.request_id, True)
    assert ids(await socket.take(1)) == live


async def test_socket_that_knows_the_snapshot_is_told_once_what_waits(
    site: Site, broker: Broker, open_socket: OpenSocket
) -> None:
    broker.ask("s", **ASK)
    socket = await open_socket(site.port, f"{PATH}?replay=0")
    told = await socket.take(2)
    await socket.send({"type": "resume", "after": "garbage"})
    told += await socket.take(2)
    live = publish(broker, 1)

    assert [event["type"] for event in told] == ["hello", "snapshot", "gap", "snapshot"]
    assert ids(await socket.take(1)) == live


async def test_resume_in_the_same_breath_as_the_handshake_loses_nothing(
    site: Site, broker: Broker, open_socket: OpenSocket
) -> None:
    published = publish(broker, 3)
    socket = await open_socket(site.port, PATH)
    await socket.send({"type": "resume", "after": published[0]})
    events = [event for event in await socket.take(4) if event["type"] != "snapshot"]

    assert types(events)[0] == "hello"
    assert ids(events[1:3]) == published[1:]


# What is answered


@pytest.fixture
def request_(broker: Broker) -> PermissionRequest:
    return broker.ask("s", **ASK)


@pytest.mark.parametrize(
    ("answer", "kind", "status"),
    [
        ({"approved": True, "reason": "fine"}, "approve", "approved"),
        ({"approved": True, "parameters": {"path": "/tmp/y"}}, "edit", "approved"),
        ({"approved": False}, "reject", "rejected"),
        ({"approved": False, "response": "gone already"}, "respond", "rejected"),
    ],
)
async def test_decision_is_answered_with_its_record_and_told_to_all(
    broker: Broker, socket: RawSocket, answer: dict[str, Any], kind: str, status: str
) -> None:
    request = broker.ask("s", **ASK)
    await socket.take(1)
    await socket.send({"type": "permission_response", "request_id": request.request_id, **answer})
    events = {event["type"]: event for event in await socket.take(3)}
    record = await request.decision()

    mine = events["permission_response"]
    assert (mine["success"], set(mine)) == (True, {"type", "success", "data"})
    assert (mine["data"]["decision"], mine["data"]["status"]) == (kind, status)
    assert {name: mine["data"][name] for name in answer} == answer
    assert (mine["data"]["decided_by"], record.decision) == ("local", kind)
    assert events["permission_response_result"]["data"]["decision"] == kind
    assert events["permission_cleared"]["data"]["request_id"] == request.request_id


async def test_same_decision_again_gets_the_same_record(
    broker: Broker, request_: PermissionRequest, socket: RawSocket
) -> None:
    for _ in range(2):
        await socket.send({"type": "permission_response", "approved": True, "request_id": request_.request_id})
    first, second = [await socket.until("permission_response") for _ in range(2)]

    assert first == second


async def test_other_decision_afterwards_is_told_who_won(
    site: Site, request_: PermissionRequest, open_socket: OpenSocket
) -> None:
    socket = await open_socket(site.port, PATH)
    answer = {"type": "permission_response", "request_id": request_.request_id}
    await socket.send({**answer, "approved": True})
    await socket.until("permission_cleared")

    error = await error_on(socket, {**answer, "approved": False})

    assert (error["code"], error["error"]["record"]["status"]) == ("already_decided", "approved")


@pytest.mark.parametrize(
    "sent",
    [
        '{"type":"permission_response","approved":false,"approved":true}',
        '{"type":"ping","type":"permission_response","approved":true}',
        '{"type":"permission_response","approved":true,"parameters":{"path":"a","path":"/"}}',
    ],
)
async def test_decision_with_a_key_twice_is_an_error_and_decides_nothing(
    request_: PermissionRequest, site: Site, open_socket: OpenSocket, sent: str
) -> None:
    socket = await open_socket(site.port, PATH)

    error = await error_on(socket, sent)

    assert (error["code"], request_.pending) == ("invalid", True)


async def test_decision_without_an_id_is_that_of_the_only_request(
    request_: PermissionRequest, site: Site, open_socket: OpenSocket
) -> None:
    socket = await open_socket(site.port, PATH)
    await socket.send({"type": "permission_response", "approved": True})

    assert (await socket.until("permission_response"))["data"]["request_id"] == request_.request_id


async def test_decision_without_an_id_is_ambiguous_while_several_are_pending(
    broker: Broker, site: Site, open_socket: OpenSocket
) -> None:
    asked = [broker.ask("s", **ASK).request_id for _ in range(2)]
    socket = await open_socket(site.port, PATH)

    error = await error_on(socket, {"type": "permission_response", "approved": True})

    assert error["code"] == "ambiguous_request"
    assert [record["request_id"] for record in error["error"]["pending"]] == asked
    assert broker.get("s").desk.pending_count == 2


@pytest.mark.parametrize("approved", [True, False])
async def test_decision_without_an_id_is_ambiguous_right_after_another_request_was_there(
    request_: PermissionRequest, broker: Broker, site: Site, open_socket: OpenSocket, approved: bool
) -> None:
    socket = await open_socket(site.port, PATH)
    request_.cancel()
    other = broker.ask("s", **ASK)

    error = await error_on(socket, {"type": "permission_response", "approved": approved})

    assert (error["code"], other.pending) == ("ambiguous_request", True)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"approved": True, "request_id": "pr_unknown"}, "request_not_found"),
        ({"approved": True, "parameters_sha256": "0" * 64}, "parameters_changed"),
        ({"approved": True, "action_sha256": "0" * 64}, "parameters_changed"),
        ({"approved": "yes"}, "invalid"),
        ({}, "invalid"),
        ({"approved": True, "unknown": 1}, "invalid"),
        ({"approved": False, "parameters": {}}, "invalid"),
    ],
)
async def test_decision_that_does_not_hold_is_an_error_and_decides_nothing(
    broker: Broker, site: Site, open_socket: OpenSocket, answer: dict[str, Any], code: str
) -> None:
    request = broker.ask("s", **ASK)
    socket = await open_socket(site.port, PATH)

    error = await error_on(socket, {"type": "permission_response", **answer})

    assert (error["code"], request.pending) == (code, True)


# Who may


@pytest.mark.parametrize("way", ["header", "token", "first message", "ticket"])
async def test_token_comes_by_header_by_query_or_by_the_first_message(
    guarded: Serve, open_socket: OpenSocket, way: str
) -> None:
    async with guarded() as site:
        if way == "header":
            socket = await open_socket(site.port, PATH, headers=bearer("view"))
        elif way == "token":
            socket = await open_socket(site.port, f"{PATH}?token=view-token")
        elif way == "ticket":
            async with aiohttp.ClientSession(site.url) as http:
                response = await http.post(f"{API}/sse/ticket/s", headers=bearer("view"))
                ticket = (await response.json())["data"]["ticket"]
            socket = await open_socket(site.port, f"{PATH}?ticket={ticket}")
            again = await open_socket(site.port, f"{PATH}?ticket={ticket}")
            assert (await ended(again))[1].code == 4401
        else:
            socket = await open_socket(site.port, PATH)
            await socket.send({"type": "auth", "token": "view-token"})

        assert types(await socket.take(2)) == ["hello", "snapshot"]


@pytest.mark.parametrize("way", ["header", "query", "first message"])
async def test_token_of_nobody_is_told_so_and_closed_with_4401(
    guarded: Serve, open_socket: OpenSocket, way: str
) -> None:
    async with guarded() as site:
        headers = {"Authorization": "Bearer nobody"} if way == "header" else None
        socket = await open_socket(site.port, PATH + ("?token=nobody" if way == "query" else ""), headers=headers)
        if way == "first message":
            await socket.send({"type": "auth", "token": "nobody"})
        error = await socket.event()

        assert error is not None
        assert (error["type"], error["code"]) == ("error", "unauthenticated")
        assert await ended(socket) == ([], Closed(4401, error["message"]))
        assert site.broker.sessions == ()


@pytest.mark.parametrize(
    "first",
    [
        {"type": "ping"},
        {"type": "auth"},
        {"type": "auth", "token": 1},
        {"type": "auth", "token": "view-token", "more": 1},
        {"token": "view-token"},
        [],
        "no json",
        b"view-token",
    ],
    ids=str,
)
async def test_first_message_that_is_no_token_is_closed_with_4401(
    guarded: Serve, open_socket: OpenSocket, first: Any
) -> None:
    async with guarded() as site:
        socket = await open_socket(site.port, PATH)
        if isinstance(first, bytes):
            await socket.send_frame(BINARY, first)
        else:
            await socket.send(first)
        told, close = await ended(socket)

    assert (told, close.code) == (["error"], 4401)
    assert "view-token" not in close.reason


async def test_no_first_message_in_time_is_closed_with_4401(
    guarded: Serve, open_socket: OpenSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "_FIRST_MESSAGE_SECONDS", 0.01)
    async with guarded() as site:
        socket = await open_socket(site.port, PATH)

        assert await ended(socket) == (["error"], Closed(4401, "This needs a token, and none came."))


async def test_peer_that_leaves_before_its_first_message_leaves_nothing(
    guarded: Serve, open_socket: OpenSocket, caplog: pytest.LogCaptureFixture
) -> None:
    async with guarded() as site:
        before = len(asyncio.all_tasks())
        socket = await open_socket(site.port, PATH)
        socket.vanish()

        async with asyncio.timeout(5):
            while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110  # no event tells that tasks are gone
                await asyncio.sleep(0)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_producer_may_not_look_and_nobody_into_a_foreign_session(guarded: Serve, open_socket: OpenSocket) -> None:
    async with guarded() as site:
        producer = await open_socket(site.port, PATH, headers=bearer("produce"))
        stranger = await open_socket(site.port, f"{PREFIX}/ws/private", headers=bearer("view"))

        for socket in (producer, stranger):
            told, close = await ended(socket)
            assert (told, close.code) == (["error"], 4403)
        assert site.broker.sessions == ()


async def test_viewer_may_not_decide_until_a_newer_token_of_the_same_person_says_so(
    signed: Callable[..., str], tmp_path: Path, open_socket: OpenSocket
) -> None:
    settings = Settings(port=0, auth="jwt", jwt_algorithms="HS256", jwt_key_file=tmp_path / "key")
    async with serve(settings=settings) as site:
        request = site.broker.ask("s", **ASK)
        socket = await open_socket(site.port, f"{PATH}?token={signed(60, 'view')}")
        answer = {"type": "permission_response", "approved": True}
        refused = await error_on(socket, answer)
        other = await error_on(socket, {"type": "auth", "token": signed(60, "approve", subject="eve")})
        worse = await error_on(socket, {"type": "auth", "token": signed(60, "produce")})
        still_refused = await error_on(socket, answer)
        await socket.send({"type": "auth", "token": signed(60, "approve")})
        await socket.send(answer)
        record = (await socket.until("permission_response"))["data"]

    assert [error["code"] for error in (refused, other, worse, still_refused)] == [
        "forbidden",
        "unauthenticated",
        "forbidden",
        "forbidden",
    ]
    assert (record["decided_by"], request.record.status) == ("ann", "approved")


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_reader_whose_token_expires_is_ended(
    signed: Callable[..., str],
    tmp_path: Path,
    clock: Clock,
    open_socket: OpenSocket,
    open_stream: OpenStream,
    transport: str,
) -> None:
    settings = Settings(port=0, auth="jwt", jwt_algorithms="HS256", jwt_key_file=tmp_path / "key")
    broker = Broker(settings, clock=clock)
    async with serve(broker, settings) as site:
        reader: Any
        if transport == "websocket":
            reader = await open_socket(site.port, f"{PATH}?token={signed(60, 'view')}")
        else:
            reader = await open_stream(site.port, f"{API}/sse/events/s?token={signed(60, 'view')}")
        await reader.until("snapshot")
        clock.advance(50)
        broker.sweep()
        publish(broker, 1)
        await reader.until("note")
        clock.advance(11)
        broker.sweep()
        bye = await reader.until("bye")

        assert (bye["data"]["code"], bye["data"]["reconnect"]) == ("token_expired", True)
        assert await reader.event() is None
        if transport == "websocket":
            assert reader.ended == Closed(4401, "token_expired")
        await until(lambda: not broker.connections)
        assert broker.get("s").readers.disconnects == {"token_expired": 1}


async def test_newer_token_keeps_the_socket_open(
    signed: Callable[..., str], tmp_path: Path, clock: Clock, open_socket: OpenSocket
) -> None:
    settings = Settings(
        port=0, auth="jwt", jwt_algorithms="HS256", jwt_key_file=tmp_path / "key", heartbeat_seconds=3600
    )
    broker = Broker(settings, clock=clock)
    async with serve(broker, settings) as site:
        socket = await open_socket(site.port, f"{PATH}?token={signed(60, 'view')}")
        await socket.until("snapshot")
        await socket.send({"type": "auth", "token": signed(600, "view")})
        await assert_usable(socket)
        clock.advance(300)
        broker.sweep()
        for _ in range(2):  # a first ping might still be answered before the end
            await assert_usable(socket)
        clock.advance(301)
        broker.sweep()

        assert (await socket.until("bye"))["data"]["code"] == "token_expired"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://app.example.evil"])
async def test_page_of_another_site_is_refused_before_the_upgrade(origin: str) -> None:
    async with serve(settings=Settings(port=0, allowed_origins="https://app.example")) as site:
        async with (
            aiohttp.ClientSession(site.url) as http,
            http.get(PATH, headers={**UPGRADE, "Origin": origin}) as response,
        ):
            assert await error_of(response) == (403, "forbidden")
        assert site.broker.sessions == ()


@pytest.mark.parametrize("origin", ["https://app.example", "own"])
async def test_own_page_and_that_of_an_allowed_origin_are_let_in(open_socket: OpenSocket, origin: str) -> None:
    async with serve(settings=Settings(port=0, allowed_origins="https://app.example")) as site:
        headers = {"Origin": "http://127.0.0.1" if origin == "own" else origin}
        socket = await open_socket(site.port, PATH, headers=headers)

        assert types(await socket.take(2)) == ["hello", "snapshot"]


async def test_who_comes_without_an_upgrade_is_told_what_this_is(site: Site) -> None:
    async with aiohttp.ClientSession(site.url) as http, http.get(PATH) as response:
        assert await error_of(response) == (422, "invalid")
        assert "WebSocket" in (await response.json())["message"]


@pytest.mark.parametrize(
    "headers",
    [{"Connection": "close"}, {"Sec-WebSocket-Version": "99"}, {"Sec-WebSocket-Key": "short"}],
    ids=["no upgrade", "version", "key"],
)
async def test_handshake_that_is_none_gets_an_error_of_the_one_shape(site: Site, headers: Mapping[str, str]) -> None:
    async with aiohttp.ClientSession(site.url) as http, http.get(PATH, headers={**UPGRADE, **headers}) as response:
        assert (await error_of(response))[0] == 400


# How it ends


async def test_shutdown_says_bye_after_all_that_was_published_and_closes_with_1001(open_socket: OpenSocket) -> None:
    async with serve(settings=Settings(port=0)) as site:
        socket = await open_socket(site.port, PATH)
        await socket.take(2)
        site.broker.ask("s", **ASK)
        ending = asyncio.create_task(socket.rest())

    told = await ending
    assert types(told) == ["permission_request", "permission_cleared", "bye"]
    assert (told[-1]["data"]["code"], told[-1]["data"]["reconnect"]) == ("shutdown", True)
    assert socket.ended == Closed(1001, "shutdown")


async def test_shutdown_ends_a_socket_of_which_nobody_knows_yet_who_calls(
    guarded: Serve, open_socket: OpenSocket
) -> None:
    async with guarded() as site:
        socket = await open_socket(site.port, PATH)
        ending = asyncio.create_task(socket.rest())

    assert [error["code"] for error in await ending] == ["shutting_down"]
    assert socket.ended == Closed(1001, "The service is shutting down.")


async def test_socket_that_opens_while_the_service_drains_is_closed_with_1001(
    site: Site, open_socket: OpenSocket
) -> None:
    site.broker.close()
    socket = await open_socket(site.port, PATH)
    error = await socket.event()

    assert error is not None
    assert error["code"] == "shutting_down"
    assert await ended(socket) == ([], Closed(1001, error["message"]))


async def test_session_that_is_ended_closes_with_4404_and_need_not_be_asked_for_again(
    site: Site, broker: Broker, socket: RawSocket
) -> None:
    publish(broker, 2)
    async with aiohttp.ClientSession(site.url) as http, http.delete(f"{API}/sessions/s") as response:
        assert response.status == 200
    told = await socket.rest()

    assert types(told) == ["note", "note", "bye"]
    assert (told[-1]["data"]["code"], told[-1]["data"]["reconnect"]) == ("session_closed", False)
    assert socket.ended == Closed(4404, "session_closed")


@pytest.mark.parametrize("session_id", ["a%20b", "x" * 129, "a%2Fb", "%0d%0aid"])
async def test_session_id_that_is_none_is_told_so_and_closed_with_4404(
    site: Site, open_socket: OpenSocket, session_id: str
) -> None:
    socket = await open_socket(site.port, f"{PREFIX}/ws/{session_id}")
    error = await socket.event()

    assert error is not None
    assert error["code"] == "invalid"
    assert await ended(socket) == ([], Closed(4404, "A session id matches [A-Za-z0-9._:~-]{1,128}."))


async def test_who_calls_is_asked_before_the_session_id_and_the_session_id_before_the_right(
    guarded: Serve, open_socket: OpenSocket
) -> None:
    async with guarded() as site:
        codes = []
        for token in ("nobody", "view-token"):
            socket = await open_socket(site.port, f"{PREFIX}/ws/a%20b?token={token}")
            codes.append((await ended(socket))[1].code)

    assert codes == [4401, 4404]


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_session"])
async def test_socket_beyond_a_limit_is_told_which_and_closed_with_4429(open_socket: OpenSocket, limit: str) -> None:
    limits: dict[str, Any] = {limit: 1}
    async with serve(settings=Settings(port=0, **limits)) as site:
        first = await open_socket(site.port, PATH)
        await first.take(2)
        second = await open_socket(site.port, PATH)
        error = await second.event()

        assert error is not None
        assert (error["code"], error["error"]["limit"]) == ("limit_reached", limit)
        assert await ended(second) == ([], Closed(4429, error["message"]))
        assert site.broker.counters.limits_reached == {limit: 1}
        await assert_usable(first)
        first.vanish()
        await until(lambda: not site.broker.connections)
        third = await open_socket(site.port, PATH)
        assert types(await third.take(1)) == ["hello"]


@pytest.mark.parametrize("how", ["closes", "vanishes"])
async def test_peer_that_leaves_is_counted_out_and_leaves_no_task(
    site: Site, open_socket: OpenSocket, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    before = len(asyncio.all_tasks())
    opened = [await open_socket(site.port, PATH) for _ in range(10)]
    for socket in opened:
        await socket.take(2)

    for socket in opened:
        if how == "vanishes":
            socket.vanish()
        else:
            await socket.send_frame(8, (1000).to_bytes(2))
            assert await ended(socket) == ([], Closed(1000, ""))

    async with asyncio.timeout(5):
        while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110  # no event tells that tasks are gone
            await asyncio.sleep(0)
    assert site.broker.connections == 0
    assert site.broker.counters.disconnects == {"left": 10}
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_normal_ends_leave_no_warning_in_the_log(
    open_socket: OpenSocket, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(settings=Settings(port=0)) as site:
        for _ in range(3):
            socket = await open_socket(site.port, PATH)
            await socket.take(2)
            publish(site.broker, 1)
            await socket.take(1)
        site.broker.end_session("s")
        await socket.rest()
        open_to_the_end = await open_socket(site.port, PATH)
        await open_to_the_end.take(2)

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_failure_of_ours_is_told_without_its_text_and_closed_with_1011(
    site: Site,
    socket: RawSocket,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("the reason")

    monkeypatch.setattr(broker, "decide", fails)
    await socket.send({"type": "permission_response", "approved": True})
    _, close = await ended(socket)

    assert close.code == 1011
    assert "the reason" not in close.reason
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == ["a socket failed"]
    await until(lambda: not broker.connections)


# What is no message

BAD = [
    "",
    "{",
    "no json",
    "null",
    "1",
    '"ping"',
    "[]",
    '[{"type":"ping"}]',
    "{}",
    '{"type":null}',
    '{"type":1}',
    '{"type":["ping"]}',
    '{"type":"nothing"}',
    '{"type":"Ping"}',
    '{"type":"hello"}',
    '{"type":"ping"}{"type":"ping"}',
    '{"type":"resume"}',
    '{"type":"resume","after":null}',
    '{"type":"resume","after":1}',
    '{"type":"resume","after":"x","more":1}',
    '{"type":"auth"}',
    '{"type":"permission_response","approved":NaN}',
    '{"type":"permission_response","approved":true,"parameters":{"n":1e999}}',
    '{"type":"permission_response","approved":true,"reason":"\\ud800"}',
    '{"type":"resume","after":"\x00"}',
    "[" * 10_000,
    '{"type":' * 5_000 + "1" + "}" * 5_000,
    '{"type":"permission_response","approved":true,"parameters":' + '{"a":' * 300 + "1" + "}" * 301,
]


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[:40] or "empty")
async def test_text_that_is_no_message_gets_an_error_and_the_socket_stays(
    broker: Broker, socket: RawSocket, text: str
) -> None:
    error = await error_on(socket, text)

    assert error["code"] == "invalid"
    assert len(error["message"]) < 300


async def test_error_does_not_repeat_what_came_in(socket: RawSocket) -> None:
    for message in ("s3cret", {"type": "s3cret"}, {"type": "resume", "after": ["s3cret"]}, {"s3cret": 1}):
        assert "s3cret" not in json.dumps(await error_on(socket, message))


async def test_binary_frame_gets_an_error_and_the_socket_stays(socket: RawSocket) -> None:
    await socket.send_frame(BINARY, b'{"type":"ping"}')
    error = await socket.event()

    assert error is not None
    assert (error["type"], error["code"]) == ("error", "invalid")
    await assert_usable(socket)


def resume_of(size: int) -> str:
    """A message of just so many bytes."""
    empty = '{"type":"resume","after":""}'
    return empty.replace('""', f'"{"x" * (size - len(empty))}"')


@pytest.mark.parametrize("size", [1024, 70_000])
async def test_message_at_the_limit_is_taken_and_one_beyond_closes_with_1009(
    open_socket: OpenSocket, size: int
) -> None:
    async with serve(settings=Settings(port=0, max_body_bytes=size)) as site:
        socket = await open_socket(site.port, PATH)
        await socket.take(2)
        await socket.send(resume_of(size))
        told = types(await socket.take(2))
        await socket.send(resume_of(size + 1))
        rest, close = await ended(socket)

        assert told == ["gap", "snapshot"]
        assert (rest, close.code) == ([], 1009)
        await until(lambda: not site.broker.connections)


async def test_pieces_of_a_message_are_bounded_together(open_socket: OpenSocket) -> None:
    async with serve(settings=Settings(port=0, max_body_bytes=1024)) as site:
        socket = await open_socket(site.port, PATH)
        await socket.take(2)
        for index in range(3):
            await socket.send_frame(TEXT if not index else CONTINUATION, b"x" * 400, final=False)
        _, close = await ended(socket)

    assert close.code == 1009


async def test_pieces_are_one_message_also_with_a_ping_in_between(socket: RawSocket) -> None:
    pieces = '{"type":"resume","after":"ü"}'.encode()
    await socket.send_frame(TEXT, pieces[:26], final=False)  # within the character
    await socket.send_frame(PING, b"here?")
    await socket.send_frame(CONTINUATION, pieces[26:], final=False)
    await socket.send_frame(CONTINUATION)

    gap, _ = await socket.take(2)
    assert gap["data"]["requested"] == "ü"


async def test_text_that_is_no_utf8_closes_with_1007(broker: Broker, socket: RawSocket) -> None:
    await socket.send_frame(TEXT, b'{"type":"resume","after":"\xff"}')
    told, close = await ended(socket)

    assert (told, close.code) == ([], 1007)
    await until(lambda: not broker.connections)


@pytest.mark.parametrize(("opcode", "final"), [(3, True), (CONTINUATION, True), (PING, False)])
async def test_frame_that_is_none_closes_with_1002(socket: RawSocket, opcode: int, final: bool) -> None:
    await socket.send_frame(opcode, b"x", final=final)
    told, close = await ended(socket)

    assert (told, close.code) == ([], 1002)


async def test_flood_of_bad_messages_is_answered_and_starves_nobody(
    site: Site, broker: Broker, socket: RawSocket, open_socket: OpenSocket
) -> None:
    other = await open_socket(site.port, PATH)
    await other.take(2)
    for _ in range(2000):
        await socket.send("x")
    published = publish(broker, 1)

    assert ids(await other.take(1)) == published
    told = [await socket.event() for _ in range(2001)]
    assert sorted(event["type"] for event in told if event) == ["error"] * 2000 + ["note"]
    await assert_usable(socket)


async def test_unsolicited_pong_is_nothing(socket: RawSocket) -> None:
    await socket.send_frame(PONG, b"x")

    await assert_usable(socket)


# Who does not read


async def stall(broker: Broker) -> None:
    """Publish more than the kernel takes for somebody who does not read."""
    for _ in range(600):
        await broker.publish("s", "x", {"text": "x" * 20_000})


async def test_reader_that_takes_nothing_is_told_slow_and_closed_with_4408(open_socket: OpenSocket) -> None:
    async with serve(settings=Settings(port=0, stalled_seconds=0.3)) as site:
        socket = await open_socket(site.port, PATH, receive_bytes=4096)
        await stall(site.broker)
        session = site.broker.get("s")
        await until(lambda: session.readers.disconnects["slow"])
        told = await socket.rest()

    assert (told[-1]["type"], told[-1]["data"]["code"], told[-1]["data"]["reconnect"]) == ("bye", "slow", True)
    assert socket.ended == Closed(4408, "slow")


@pytest.mark.parametrize("reason", ["slow", "left"])
async def test_reader_that_never_reads_again_leaves_nothing(open_socket: OpenSocket, reason: str) -> None:
    # Whichever comes first: the bytes that it does not take, or the pong that it does not send.
    times = {"slow": (0.2, 15), "left": (60, 0.2)}[reason]
    settings = Settings(port=0, stalled_seconds=times[0], heartbeat_seconds=times[1])
    async with serve(settings=settings) as site:
        before = len(asyncio.all_tasks())
        await open_socket(site.port, PATH, receive_bytes=4096)
        await stall(site.broker)
        [reader] = site.broker.get("s").readers

        async with asyncio.timeout(5):
            while len(asyncio.all_tasks()) > before or reader.peer.unsent_bytes():  # noqa: ASYNC110  # as above
                await asyncio.sleep(0)
    assert site.broker.counters.disconnects == {reason: 1}


async def test_peer_that_sends_without_reading_the_answers_is_cut(open_socket: OpenSocket) -> None:
    async with serve(settings=Settings(port=0, stalled_seconds=0.2)) as site:
        socket = await open_socket(site.port, PATH, receive_bytes=4096)

        async def flood() -> None:
            while True:
                await socket.send("x" * 1000)

        flooding = asyncio.create_task(flood())
        await until(lambda: site.broker.counters.disconnects["slow"])
        await asyncio.wait({flooding}, timeout=5)
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)

        assert site.broker.connections == 0


async def test_shutdown_waits_for_no_peer_that_was_refused_and_does_not_answer_the_close(
    guarded: Serve, open_socket: OpenSocket
) -> None:
    async with guarded(shutdown_seconds=5) as site:
        for _ in range(3):
            socket = await open_socket(site.port, f"{PATH}?token=nobody")
            socket.answers = False
            await socket.rest()
        began = time.monotonic()

    assert time.monotonic() - began < 5


async def test_peer_that_does_not_answer_the_close_is_cut(open_socket: OpenSocket) -> None:
    async with serve(settings=Settings(port=0, shutdown_seconds=0.8)) as site:
        before = len(asyncio.all_tasks())
        socket = await open_socket(site.port, PATH)
        await socket.take(2)
        socket.answers = False
        site.broker.end_session("s")

        assert await ended(socket) == (["bye"], Closed(4404, "session_closed"))
        async with asyncio.timeout(5):
            while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110  # no event tells that tasks are gone
                await asyncio.sleep(0)


# In which service


@asynccontextmanager
async def mounted() -> AsyncIterator[tuple[Broker, int]]:
    """In somebody's application, on a runner with aiohttp's defaults: handlers are not cancelled there."""
    broker = Broker(Limits(heartbeat_seconds=0.1))
    host = web.Application()
    host.add_subapp("/notifier/", create_app(broker, Settings(heartbeat_seconds=0.1)))
    runner = web.AppRunner(host, shutdown_timeout=0.5, access_log_class=AccessLog)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield broker, site.port
    finally:
        await runner.cleanup()


async def test_mounted_socket_is_told_answered_and_ended(
    open_socket: OpenSocket, caplog: pytest.LogCaptureFixture
) -> None:
    async with mounted() as (broker, port):
        socket = await open_socket(port, f"/notifier{PATH}")
        await socket.until("snapshot")
        published = publish(broker, 1)
        assert (await socket.until("note"))["id"] == published[0]
        await socket.send({"type": "ping"})
        await socket.until("pong")
        ending = asyncio.create_task(socket.until("bye"))

    assert (await ending)["data"]["code"] == "shutdown"
    assert await ended(socket) == ([], Closed(1001, "shutdown"))
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_peer_that_leaves_a_mounted_socket_leaves_nothing(
    open_socket: OpenSocket, caplog: pytest.LogCaptureFixture
) -> None:
    async with mounted() as (broker, port):
        before = len(asyncio.all_tasks())
        opened = [await open_socket(port, f"/notifier{PATH}") for _ in range(5)]
        for socket in opened:
            await socket.until("snapshot")
            socket.vanish()

        async with asyncio.timeout(5):
            while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110  # no event tells that tasks are gone
                await asyncio.sleep(0)
        assert broker.counters.disconnects == {"left": 5}
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("way", ["subprotocol", "query", "first message"])
async def test_token_does_not_reach_the_log(
    guarded: Serve, open_socket: OpenSocket, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    caplog.set_level(logging.DEBUG)
    async with guarded() as site:
        headers = {"Sec-WebSocket-Protocol": "bearer, view-token"} if way == "subprotocol" else None
        socket = await open_socket(site.port, PATH + ("?token=view-token" if way == "query" else ""), headers=headers)
        if way != "query":
            await socket.send({"type": "auth", "token": "view-token"})
        await socket.take(2)
        site.broker.end_session("s")
        await socket.rest()

    printed = "\n".join(caplog.handler.format(record) for record in caplog.records)
    assert f"GET {PATH} 101" in printed
    assert "view-token" not in printed


# What is pushed


@pytest.mark.parametrize("size", [125, 126, 65535, 65536])
async def test_pushed_frame_has_the_length_that_it_says(
    site: Site, broker: Broker, open_socket: OpenSocket, size: int
) -> None:
    readers = [await open_socket(site.port, PATH) for _ in range(2)]  # two, who share the bytes
    for reader in readers:
        await reader.take(2)
    empty = len(broker.publish_nowait("s", "note", {"text": ""}).json)
    event = broker.publish_nowait("s", "note", {"text": "x" * (size - empty)})
    broker.publish_nowait("s", "note", {"text": "last"})
    for reader in readers:
        told = await reader.take(3)
        assert [len(each["data"]["text"]) for each in told] == [0, size - empty, 4]
        await assert_usable(reader)

    assert len(event.json) == size


async def test_pushes_and_answers_come_whole_and_each_in_its_order(
    site: Site, broker: Broker, socket: RawSocket
) -> None:
    request = broker.ask("s", **ASK)
    for number in range(300):
        broker.publish_nowait("s", "x", {"number": number, "text": "x" * (number * 3)})
        await socket.send({"type": "ping"})
        await socket.send_frame(PING, b"%d" % number)
        if number == 150:
            await socket.send(
                {"type": "permission_response", "request_id": request.record.request_id, "approved": True}
            )
    told = await socket.take(300)
    while types(told).count("pong") < 300 or types(told).count("x") < 300 or "permission_response" not in types(told):
        told += await socket.take(1)

    assert [event["data"]["number"] for event in told if event["type"] == "x"] == list(range(300))
    assert types(told).count("pong") == 300
    [answer] = [event for event in told if event["type"] == "permission_response"]
    assert answer["success"] is True


@pytest.mark.parametrize("closes", ["peer", "service"])
async def test_nothing_is_pushed_after_a_close(broker: Broker, socket: RawSocket, closes: str) -> None:
    session = broker.get("s")
    if closes == "peer":
        await socket.send_frame(CLOSE, (1000).to_bytes(2))
    else:
        broker.end_session("s")
    rest = asyncio.create_task(socket.rest())  # which fails when anything follows the close
    async with asyncio.timeout(10):
        while not rest.done():
            if not session.log.closed:
                session.publish("note")
            await asyncio.sleep(0)
    await rest

    assert socket.ended == (Closed(1000, "") if closes == "peer" else Closed(4404, "session_closed"))
    assert not session.readers


async def test_slow_socket_that_takes_a_little_at_a_time_loses_nothing(open_socket: OpenSocket) -> None:
    async with serve(settings=Settings(port=0, log_events=5000, log_bytes=64 * 1024 * 1024)) as site:
        slow = await open_socket(site.port, PATH, receive_bytes=4096)
        other = await open_socket(site.port, PATH)
        await slow.take(2)
        await other.take(2)
        [reader, _] = site.broker.get("s").readers
        number = 0
        async with asyncio.timeout(10):
            while reader.peer.unsent_bytes() < 64 * 1024:  # it has stopped being pushed to
                await site.broker.publish("s", "x", {"number": number, "text": "x" * 20_000})
                number += 1
        handed = reader.peer.handed_bytes()
        for _ in range(100):
            await site.broker.publish("s", "x", {"number": number, "text": "x" * 20_000})
            number += 1
        assert reader.peer.handed_bytes() == handed
        told = []
        async with asyncio.timeout(10):
            for _ in range(number):
                told += await slow.take(1)
                if len(told) % 20 == 0:
                    await site.broker.publish("s", "later")

        assert [event["data"]["number"] for event in told] == list(range(number))
        assert site.broker.counters.gaps == {}
