"""Tickets: what opens one stream in the place of a token in its URL (contract section 8)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from notifier_service import Broker
from notifier_service.core.errors import LimitReached
from notifier_service.web import auth
from notifier_service.web.auth import Caller
from notifier_service.web.tickets import Tickets
from tests.clock import Clock
from tests.signer import Signer

from .conftest import API, Client, MakeClient, answer, bearer, error_of, reading

STREAM = f"{API}/sse/events/team-1"
SOCKET = "/agent_backend/ws/team-1"
ANN = Caller("ann", frozenset({"view"}), ("*",))


async def ticket(client: Client, right: str = "view", session_id: str = "team-1") -> str:
    response = await client.post(f"{API}/sse/ticket/{session_id}", headers=bearer(right))
    assert response.status == 201, await response.text()
    return str((await response.json())["data"]["ticket"])


async def is_good(client: Client, value: str) -> bool:
    """Use a ticket up, and say whether it was good."""
    async with client.get(STREAM, params={"ticket": value}) as response:
        assert response.status in (200, 401)
        return response.status == 200


# Getting one


async def test_a_ticket_says_how_long_it_is_good(guarded: Client) -> None:
    asked_at = datetime.now(UTC)
    response = await guarded.post(f"{API}/sse/ticket/team-1", headers=bearer("view"))

    status, body = await answer(response)
    data = body["data"]
    assert (status, set(body), set(data)) == (201, {"success", "data"}, {"ticket", "expires_at", "expires_in"})
    assert data["expires_in"] == 30
    seconds = (datetime.fromisoformat(data["expires_at"]) - asked_at).total_seconds()
    assert 29 < seconds < 40
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(("right", "status"), [("view", 201), ("approve", 201), ("admin", 201), ("produce", 403)])
async def test_who_may_view_gets_a_ticket(guarded: Client, right: str, status: int) -> None:
    response = await guarded.post(f"{API}/sse/ticket/team-1", headers=bearer(right))

    assert response.status == status


async def test_nobody_gets_a_ticket_outside_their_patterns(guarded: Client) -> None:
    response = await guarded.post(f"{API}/sse/ticket/private", headers=bearer("admin"))

    assert await error_of(response) == (403, "forbidden")


async def test_a_ticket_for_what_is_no_session_is_invalid(guarded: Client) -> None:
    response = await guarded.post(f"{API}/sse/ticket/a%20b", headers=bearer("view"))

    assert await error_of(response) == (422, "invalid")


@pytest.mark.parametrize("params", [{}, {"token": "view-token"}])
async def test_without_a_token_in_the_header_there_is_no_ticket(guarded: Client, params: dict[str, str]) -> None:
    response = await guarded.post(f"{API}/sse/ticket/team-1", params=params)

    assert await error_of(response) == (401, "unauthenticated")


async def test_asking_for_a_ticket_opens_no_session(guarded: Client, broker: Broker) -> None:
    await ticket(guarded)

    assert broker.sessions == ()


def test_no_ticket_is_like_another() -> None:
    tickets = Tickets(capacity_each=1000)

    issued = {tickets.issue(ANN, "s1") for _ in range(1000)}

    assert len(issued) == 1000
    assert min(len(value) for value in issued) >= 3 + 32


# Using it


@pytest.mark.parametrize("name", ["ticket", "token"])
async def test_a_ticket_opens_a_stream(guarded: Client, name: str) -> None:
    async with reading(guarded, "team-1", params={name: await ticket(guarded)}) as stream:
        assert (await stream.take(1))[0].type == "hello"


async def test_a_ticket_opens_a_stream_by_its_header_too(guarded: Client) -> None:
    headers = {"Authorization": f"Bearer {await ticket(guarded)}"}

    async with reading(guarded, "team-1", headers=headers) as stream:
        assert (await stream.take(1))[0].type == "hello"


@pytest.mark.parametrize("name", ["ticket", "token"])
async def test_a_ticket_opens_a_socket(guarded: Client, name: str) -> None:
    async with guarded.ws_connect(SOCKET, params={name: await ticket(guarded)}) as socket:
        assert (await socket.receive_json(timeout=5))["type"] == "hello"


async def test_a_ticket_opens_a_socket_by_the_first_message(guarded: Client) -> None:
    async with guarded.ws_connect(SOCKET) as socket:
        await socket.send_json({"type": "auth", "token": await ticket(guarded)})

        assert (await socket.receive_json(timeout=5))["type"] == "hello"


@pytest.mark.parametrize("name", ["ticket", "token"])
async def test_a_ticket_is_good_once(guarded: Client, name: str) -> None:
    params = {name: await ticket(guarded)}
    async with reading(guarded, "team-1", params=params):
        second = await guarded.get(STREAM, params=params)
    third = await guarded.get(STREAM, params=params)

    assert (second.status, third.status) == (401, 401)  # a stream has no end to read
    assert await error_of(second) == await error_of(third) == (401, "unauthenticated")
    assert (await second.json())["message"] == "This ticket was used, is too old, or was never issued."
    assert params[name] not in await second.text()


async def test_a_ticket_that_opened_a_stream_opens_no_socket(guarded: Client) -> None:
    used = await ticket(guarded)
    assert await is_good(guarded, used)

    async with guarded.ws_connect(SOCKET, params={"ticket": used}) as socket:
        refused = await socket.receive_json(timeout=5)
        await socket.receive(timeout=5)

    assert (refused["type"], refused["code"]) == ("error", "unauthenticated")
    assert socket.close_code == 4401
    assert used not in str(refused)


async def test_of_those_who_come_at_once_with_one_ticket_exactly_one_gets_in(guarded: Client) -> None:
    params = {"ticket": await ticket(guarded)}

    opened = await asyncio.gather(*(guarded.get(STREAM, params=params) for _ in range(8)))

    assert sorted(response.status for response in opened) == [200] + [401] * 7
    for response in opened:
        response.close()


@pytest.mark.parametrize("value", ["tk_", "tk_x", "tk_" + "a" * 32, "tk_\u00e9", "tk_" + "a" * 5000])
async def test_a_ticket_that_nobody_issued_opens_nothing(guarded: Client, value: str) -> None:
    response = await guarded.get(STREAM, params={"ticket": value})

    assert await error_of(response) == (401, "unauthenticated")


async def test_a_ticket_is_good_in_its_session_only(guarded: Client) -> None:
    elsewhere = await guarded.get(f"{API}/sse/events/team-2", params={"ticket": await ticket(guarded)})
    by_socket = await ticket(guarded)
    async with guarded.ws_connect("/agent_backend/ws/team-2", params={"ticket": by_socket}) as socket:
        refused = await socket.receive_json(timeout=5)

    assert elsewhere.status == 403
    assert await error_of(elsewhere) == (403, "forbidden")
    assert refused["code"] == "forbidden"
    assert not await is_good(guarded, by_socket)  # it was used up by that


# What it stands for


async def decide_by_ticket(client: Client, right: str) -> dict[str, Any]:
    """Ask, and answer over a socket that this right's ticket opened."""
    asked = {"tool_name": "rm", "parameters": {}}
    await client.post(f"{API}/permissions/team-1", json=asked, headers=bearer("produce"))
    async with client.ws_connect(SOCKET, params={"ticket": await ticket(client, right)}) as socket:
        await socket.send_json({"type": "permission_response", "approved": True})
        while True:
            message: dict[str, Any] = await socket.receive_json(timeout=5)
            if message["type"] in ("permission_response", "error"):
                return message


@pytest.mark.parametrize("right", ["approve", "admin"])
async def test_a_ticket_decides_in_the_name_of_who_got_it(guarded: Client, right: str) -> None:
    told = await decide_by_ticket(guarded, right)

    assert told["data"]["decided_by"] == right


async def test_a_ticket_gives_no_right_that_who_got_it_lacks(guarded: Client) -> None:
    told = await decide_by_ticket(guarded, "view")

    assert told["code"] == "forbidden"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{API}/sse/health/team-1"),
        ("GET", f"{API}/polling/session-info/team-1"),
        ("GET", f"{API}/long-poll/team-1"),
        ("GET", "/api/long-poll/team-1"),
        ("GET", f"{API}/permissions/team-1"),
        ("GET", f"{API}/sessions"),
        ("POST", f"{API}/sse/permission-response/team-1"),
        ("POST", f"{API}/sse/ticket/team-1"),
        ("POST", f"{API}/events/team-1"),
        ("DELETE", f"{API}/sessions/team-1"),
    ],
)
async def test_a_ticket_opens_streams_and_sockets_only_and_is_not_used_up_by_the_rest(
    guarded: Client, method: str, path: str
) -> None:
    value = await ticket(guarded, "admin")
    ways: list[Mapping[str, Any]] = [
        {"params": {"ticket": value}},
        {"params": {"token": value}},
        {"headers": {"Authorization": f"Bearer {value}"}},
    ]

    for way in ways:
        response = await guarded.request(method, path, **way)
        assert await error_of(response) == (401, "unauthenticated")
        assert value not in await response.text()

    assert await is_good(guarded, value)


async def test_what_opens_nothing_uses_no_ticket_up(guarded: Client) -> None:
    value = await ticket(guarded)
    params = {"ticket": value}

    head = await guarded.head(STREAM, params=params)
    options = await guarded.options(STREAM, params=params)
    preflight = await guarded.options(
        STREAM, params=params, headers={"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    )
    no_socket = await guarded.get(SOCKET, params=params)
    foreign = await guarded.get(SOCKET, params=params, headers={"Origin": "https://a.example", "Upgrade": "websocket"})

    statuses = [response.status for response in (head, options, preflight, no_socket, foreign)]
    assert statuses == [405, 405, 403, 422, 403]
    assert await is_good(guarded, value)


async def test_without_auth_tickets_are_given_and_not_needed(client: Client) -> None:
    response = await client.post(f"{API}/sse/ticket/s1")
    value = (await response.json())["data"]["ticket"]

    assert response.status == 201
    for params in ({"ticket": value}, {"ticket": value}, {"token": value}, {}):
        async with reading(client, params=params) as stream:
            assert (await stream.take(1))[0].type == "hello"
    health = await client.get(f"{API}/sse/health/s1", params={"ticket": value})
    assert health.status == 200


# How long, and how many


@pytest.mark.parametrize(("seconds", "good"), [(0.0, True), (29.9, True), (30.0, False), (3600.0, False)])
def test_a_ticket_is_good_for_half_a_minute(clock: Clock, seconds: float, good: bool) -> None:
    tickets = Tickets(clock=clock)
    value = tickets.issue(ANN, "s1")

    clock.advance(seconds)

    used = tickets.use(value)
    assert (used is not None) is good
    assert tickets.use(value) is None


def test_a_ticket_stands_for_its_caller_in_one_session() -> None:
    tickets = Tickets()
    caller = Caller("ann", frozenset({"view", "approve"}), ("team-*", "x"), time.time() + 60)

    assert tickets.use(tickets.issue(caller, "team-1")) == Caller(
        "ann", frozenset({"view", "approve"}), ("team-1",), caller.expires_at
    )


def test_no_more_tickets_wait_than_there_is_room_for(clock: Clock) -> None:
    tickets = Tickets(clock=clock, capacity=2)
    first = tickets.issue(ANN, "s1")
    tickets.issue(ANN, "s1")

    with pytest.raises(LimitReached) as full:
        tickets.issue(ANN, "s1")

    assert full.value.limit == "tickets"
    assert tickets.use(first) is not None  # nobody is pushed out
    tickets.issue(ANN, "s1")


def test_tickets_that_nobody_used_make_room_when_they_are_too_old(clock: Clock) -> None:
    tickets = Tickets(clock=clock, capacity=2)
    tickets.issue(ANN, "s1")
    clock.advance(10)
    second = tickets.issue(ANN, "s1")

    clock.advance(20)
    third = tickets.issue(ANN, "s1")

    with pytest.raises(LimitReached):
        tickets.issue(ANN, "s1")
    assert tickets.use(second) is not None
    assert tickets.use(third) is not None


def test_one_caller_does_not_use_up_what_all_have(clock: Clock) -> None:
    tickets = Tickets(clock=clock, capacity_each=2)
    first = tickets.issue(ANN, "s1")
    tickets.issue(ANN, "s2")

    with pytest.raises(LimitReached):
        tickets.issue(ANN, "s1")
    bob = tickets.issue(Caller("bob", frozenset({"view"}), ("*",)), "s1")

    assert tickets.use(bob) is not None
    assert tickets.use(first) is not None
    tickets.issue(ANN, "s1")
    clock.advance(30)
    tickets.issue(ANN, "s1")
    tickets.issue(ANN, "s1")


async def test_too_many_tickets_are_told_as_a_limit(guarded: Client) -> None:
    for _ in range(100):
        assert (await guarded.post(f"{API}/sse/ticket/team-1", headers=bearer("view"))).status == 201

    response = await guarded.post(f"{API}/sse/ticket/team-1", headers=bearer("view"))

    assert await error_of(response) == (429, "limit_reached")
    assert (await response.json())["error"]["limit"] == "tickets"
    assert int(response.headers["Retry-After"]) >= 1


# Of a token that expires


async def signed_client(make_client: MakeClient, broker: Broker, tmp_path: Path, signer: Signer) -> Client:
    (tmp_path / "secret").write_bytes(signer.verifying)
    return await make_client(broker, auth="jwt", jwt_algorithms="HS256", jwt_key_file=tmp_path / "secret")


async def test_a_ticket_is_good_no_longer_than_the_token_behind_it(
    make_client: MakeClient, broker: Broker, tmp_path: Path
) -> None:
    signer = Signer.new()
    client = await signed_client(make_client, broker, tmp_path, signer)
    headers = {"Authorization": f"Bearer {signer.token(exp=time.time() + 10)}"}

    data = (await (await client.post(f"{API}/sse/ticket/team-1", headers=headers)).json())["data"]

    left = (datetime.fromisoformat(data["expires_at"]) - datetime.now(UTC)).total_seconds()
    assert 5 < data["expires_in"] <= 10
    assert 5 < left <= 10


def test_a_ticket_expires_with_its_token(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "time", SimpleNamespace(time=clock))
    tickets = Tickets(clock=clock)
    caller = Caller("ann", frozenset({"view"}), ("*",), clock.now + 10)
    early, late = tickets.issue(caller, "s1"), tickets.issue(caller, "s1")

    clock.advance(9.9)
    in_time = tickets.use(early)
    clock.advance(0.1)

    assert in_time is not None
    assert tickets.use(late) is None


async def test_a_stream_that_a_ticket_opened_ends_with_the_token_behind_it(
    make_client: MakeClient, tmp_path: Path, clock: Clock
) -> None:
    broker, signer = Broker(clock=clock), Signer.new()
    client = await signed_client(make_client, broker, tmp_path, signer)
    headers = {"Authorization": f"Bearer {signer.token(exp=time.time() + 600)}"}
    issued = await (await client.post(f"{API}/sse/ticket/team-1", headers=headers)).json()

    async with reading(client, "team-1", params={"ticket": issued["data"]["ticket"]}) as stream:
        await stream.until("snapshot")
        clock.advance(601)
        broker.sweep()
        ended = await stream.rest()
    broker.close()

    assert ended[-1].data["data"]["code"] == "token_expired"
