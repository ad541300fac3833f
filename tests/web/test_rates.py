"""How often one caller may do something, through every door, and what that leaves to others."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from notifier_service import Broker, Settings
from notifier_service.core.errors import LimitReached
from notifier_service.settings import Rate
from notifier_service.web.rates import Rates

from .conftest import API, Client, MakeClient, WriteTokens, error_of, reading

if TYPE_CHECKING:
    from conftest import Clock

EVENT = {"type": "note", "data": {"n": 1}}
#: Three at once; of these tests nobody lives to see the fourth.
FEW = "0.001/3"
NDJSON = {"Content-Type": "application/x-ndjson"}


def rates(clock: Clock, *, max_callers: int = 10) -> Rates:
    return Rates({"publish_rate": Rate(2, 3)}, Counter(), clock=clock, max_callers=max_callers)


def spent(rates: Rates, caller: str, address: str = "10.0.0.1", tokens: int = 1) -> bool:
    return not rates.seconds_until("publish_rate", caller, address, tokens)


# The buckets


def test_so_many_are_spent_at_once_and_then_so_many_a_second(clock: Clock) -> None:
    limited = rates(clock)

    assert [spent(limited, "a") for _ in range(4)] == [True, True, True, False]
    clock.advance(0.5)
    assert [spent(limited, "a") for _ in range(2)] == [True, False]
    clock.advance(1000)
    assert [spent(limited, "a") for _ in range(4)] == [True, True, True, False]


def test_refusal_says_when_to_come_back_and_then_it_is_so(clock: Clock) -> None:
    limited = rates(clock)
    for _ in range(3):
        limited.spend("publish_rate", "a", "")

    with pytest.raises(LimitReached) as refused:
        limited.spend("publish_rate", "a", "", 2)

    assert refused.value.retry_after_seconds == pytest.approx(1.0)
    assert refused.value.details == {"limit": "publish_rate", "retry_after_seconds": 1.0}
    clock.advance(refused.value.retry_after_seconds)
    limited.spend("publish_rate", "a", "", 2)


def test_more_than_fits_is_let_through_when_nothing_was_spent_and_waited_for_afterwards(clock: Clock) -> None:
    limited = rates(clock)

    assert spent(limited, "a", tokens=7)
    clock.advance(2)
    assert not spent(limited, "a")
    clock.advance(0.5)
    assert spent(limited, "a")


def test_callers_are_told_apart_by_subject_and_without_one_by_address(clock: Clock) -> None:
    limited = rates(clock)

    assert spent(limited, "a", "10.0.0.1", 3)
    assert not spent(limited, "a", "10.0.0.2")
    assert spent(limited, "b", "10.0.0.1", 3)
    assert spent(limited, "local", "10.0.0.1", 3)
    assert not spent(limited, "local", "10.0.0.1")
    assert spent(limited, "local", "10.0.0.2", 3)
    assert spent(limited, "10.0.0.2", "10.0.0.3", 3)


def test_made_up_callers_take_no_more_room_and_the_last_limited_ones_stay_so(clock: Clock) -> None:
    limited = rates(clock, max_callers=10)
    for number in range(1000):
        assert spent(limited, f"made up {number}")
        if number == 0:
            spent(limited, "busy", tokens=3)
        assert not spent(limited, "busy", tokens=3)


@pytest.mark.parametrize(
    ("value", "rate"),
    [("100/500", (100, 500)), ("100", (100, 100)), ("0.5", (0.5, 1)), (" 2.5 / 7 ", (2.5, 7)), ("3,9", (3, 9)),
     ("3:9", (3, 9)), (12, (12, 12)), (1.5, (1.5, 2)), ((4, 8), (4, 8)), (Rate(1, 2), (1, 2)), (None, None)],
)  # fmt: skip
def test_rate_is_so_many_a_second_and_so_many_at_once(value: Any, rate: Any) -> None:
    assert Settings(publish_rate=value).publish_rate == rate


@pytest.mark.parametrize(
    "value",
    ["", "0", "-1", "1/0", "0/5", "nan", "inf", "1e9", "many", "1/2/3", "1/", "/2", "1.2.3", "5/1.5", True, [1]],
)
@pytest.mark.parametrize("name", ["publish_rate", "decide_rate", "connect_rate"])
def test_what_is_no_rate_is_refused_with_what_one_is(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"{name}[\s\S]*so many at once: 100/500") as refused:
        Settings(**{name: value})

    assert "input_value" in str(refused.value)


# Through every door


async def refused(response: Any, limit: str) -> None:
    assert await error_of(response) == (429, "limit_reached")
    error = (await response.json())["error"]
    assert error["limit"] == limit
    assert error["retry_after_seconds"] > 0
    assert int(response.headers["Retry-After"]) >= error["retry_after_seconds"]


@pytest.mark.parametrize(
    "path", ["/events/s1", "/events", "/permissions/s1"], ids=["events", "events of many", "questions"]
)
async def test_publisher_over_its_rate_is_refused(make_client: MakeClient, path: str) -> None:
    client = await make_client(publish_rate=FEW)
    body = {"tool_name": "rm", "parameters": {}} if "permissions" in path else {**EVENT, "session_id": "s1"}

    answers = [await client.post(f"{API}{path}", json=body) for _ in range(4)]

    assert [response.status for response in answers] == [201, 201, 201, 429]
    await refused(answers[3], "publish_rate")


async def test_all_doors_of_a_publisher_count_together_and_an_array_by_its_events(make_client: MakeClient) -> None:
    broker = Broker()
    client = await make_client(broker, publish_rate=FEW)

    first = await client.post(f"{API}/events/s1", json=[EVENT, EVENT])
    too_many = await client.post(f"{API}/events/s1", json=[EVENT, EVENT])

    assert first.status == 201
    await refused(too_many, "publish_rate")
    assert broker.get("s1").log.last_seq == 2
    assert broker.counters.limits_reached == {"publish_rate": 1}


async def test_stream_of_events_over_the_rate_ends_and_says_how_many_were_taken(make_client: MakeClient) -> None:
    broker = Broker()
    client = await make_client(broker, publish_rate="0.001/5")
    lines = b"".join(json.dumps(EVENT).encode() + b"\n" for _ in range(20))

    response = await client.post(f"{API}/events/s1", data=lines, headers=NDJSON)

    await refused(response, "publish_rate")
    error = (await response.json())["error"]
    assert (error["count"], error["line"]) == (4, 5)
    assert broker.get("s1").log.last_seq == 4


async def test_stream_of_events_is_read_more_slowly_where_the_next_is_due_soon(make_client: MakeClient) -> None:
    broker = Broker()
    client = await make_client(broker, publish_rate="100/2")
    lines = b"".join(json.dumps(EVENT).encode() + b"\n" for _ in range(12))
    began = asyncio.get_running_loop().time()

    response = await client.post(f"{API}/events/s1", data=lines, headers=NDJSON)

    assert (response.status, (await response.json())["data"]["count"]) == (201, 12)
    assert asyncio.get_running_loop().time() - began >= 0.09
    assert broker.counters.limits_reached == {}


async def test_hook_over_the_rate_denies(make_client: MakeClient) -> None:
    client = await make_client(publish_rate="0.001/1")
    hook = {
        "session_id": "s1", "hook_event_name": "PreToolUse", "tool_name": "Read", "tool_input": {"file_path": "/a"},
    }  # fmt: skip

    first = await (await client.post("/hooks/claude-code", json=hook)).json()
    second = await (await client.post("/hooks/claude-code", json=hook)).json()

    assert first == {}
    assert second["hookSpecificOutput"]["permissionDecision"] == "deny"


@pytest.mark.parametrize("path", ["/mcp/s1", "/mcp/gateway/files"])
async def test_mcp_endpoints_refuse_who_sends_too_much(make_client: MakeClient, path: str) -> None:
    client = await make_client(publish_rate="0.001/1", mcp_upstreams="files=http://127.0.0.1:9/mcp")
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}

    await client.post(path, json=message)
    second = await client.post(path, json=message)

    await refused(second, "publish_rate")


@pytest.mark.parametrize("path", ["sse", "polling"])
async def test_decider_over_the_rate_is_refused_and_the_request_waits_on(make_client: MakeClient, path: str) -> None:
    broker = Broker()
    client = await make_client(broker, decide_rate=FEW)
    waits = broker.ask("s1", tool_name="rm", parameters={})
    url = f"{API}/{path}/permission-response/s1"

    guesses = [await client.post(url, json={"approved": True, "request_id": f"pr_{n}"}) for n in range(3)]
    fourth = await client.post(url, json={"approved": True, "request_id": waits.request_id})

    assert [response.status for response in guesses] == [404] * 3
    await refused(fourth, "decide_rate")
    assert waits.pending


async def test_decider_over_the_rate_is_told_on_a_socket_which_stays(make_client: MakeClient) -> None:
    broker = Broker()
    client = await make_client(broker, decide_rate="0.001/1")
    waits = broker.ask("s1", tool_name="rm", parameters={})
    decision = {"type": "permission_response", "approved": False, "request_id": waits.request_id}

    async with client.ws_connect("/agent_backend/ws/s1") as socket:
        for _ in range(3):  # hello, snapshot, and what waits
            await socket.receive_json()
        told = []
        for message in (decision, decision, {"type": "ping"}):
            await socket.send_json(message)
            while (answer := await socket.receive_json())["type"] not in ("permission_response", "error", "pong"):
                continue
            told.append(answer)

    assert [answer["type"] for answer in told] == ["permission_response", "error", "pong"]
    assert told[1]["code"] == "limit_reached"
    assert told[1]["error"]["limit"] == "decide_rate"
    assert told[1]["error"]["retry_after_seconds"] > 1


@pytest.mark.parametrize(
    "path",
    [f"{API}/polling/{kind}/s1" for kind in ("session-info", "tool-status", "permission-request", "tool-result")]
    + [f"{API}/long-poll/s1?timeout=0", "/api/long-poll/s1?timeout=0"],
)
async def test_polls_over_the_rate_are_refused(make_client: MakeClient, path: str) -> None:
    client = await make_client(connect_rate=FEW)

    answers = [await client.get(path) for _ in range(4)]

    assert [response.status for response in answers] == [200] * 3 + [429]
    await refused(answers[3], "connect_rate")


async def test_stream_over_the_rate_says_so_and_when_to_come_back(make_client: MakeClient) -> None:
    client = await make_client(connect_rate="0.01/1")

    async with reading(client) as first, reading(client) as second:
        assert (await first.take(1))[0].type == "hello"
        error, bye = await second.rest()

    assert (error.data["code"], error.data["error"]["limit"]) == ("limit_reached", "connect_rate")
    assert (bye.type, bye.data["data"]["code"], bye.data["data"]["reconnect"]) == ("bye", "limit", True)
    assert int(second.retries[0]) == bye.data["data"]["retry_ms"] > 90_000


@pytest.mark.parametrize("path", ["/agent_backend/ws/s1", "/ws/chat"])
async def test_socket_over_the_rate_is_closed_with_the_code_of_a_limit(make_client: MakeClient, path: str) -> None:
    client = await make_client(connect_rate="0.001/1")

    async with client.ws_connect(path), client.ws_connect(path) as second:
        error = await second.receive_json()
        await second.receive()

    assert (error["code"], error["error"]["limit"]) == ("limit_reached", "connect_rate")
    assert second.close_code == 4429


async def test_socket_that_resumes_over_and_over_is_refused_and_stays(make_client: MakeClient) -> None:
    broker = Broker()
    client = await make_client(broker, connect_rate="0.001/2")

    async with client.ws_connect("/agent_backend/ws/s1") as socket:
        hello = await socket.receive_json()
        await socket.receive_json()
        for _ in range(2):
            await socket.send_json({"type": "resume", "after": hello["data"]["last_event_id"]})
        error = await socket.receive_json()
        broker.publish_nowait("s1", "note")

        assert (error["type"], error["error"]["limit"]) == ("error", "connect_rate")
        assert (await socket.receive_json())["type"] == "note"


async def test_chat_over_either_rate_says_so(make_client: MakeClient) -> None:
    client = await make_client(publish_rate="0.001/1")

    first = await (await client.get("/agent_chat_stream?query=a")).text()
    second = await (await client.get("/agent_chat_stream?query=b")).text()
    async with client.ws_connect("/ws/chat") as socket:
        await socket.send_json({"query": "c"})
        third = await socket.receive_json()

    assert "limit_reached" not in first
    assert '"limit":"publish_rate"' in second
    assert third["error"]["limit"] == "publish_rate"


# Who is who


@pytest.fixture
async def two(make_client: MakeClient, write_tokens: WriteTokens) -> Client:
    """A service with rates, and a token each for ``greedy`` (two of them) and ``modest``."""
    entries = [
        {"token": token, "subject": token.partition("-")[0], "rights": ["admin"], "sessions": ["*"]}
        for token in ("greedy-1", "greedy-2", "modest-1")
    ]
    few = {"publish_rate": FEW, "decide_rate": FEW, "connect_rate": FEW}
    return await make_client(auth="tokens", tokens_file=write_tokens(entries), **few)


async def test_whoever_spends_all_takes_nothing_from_others(two: Client) -> None:
    async def publish(token: str) -> int:
        response = await two.post(f"{API}/events/s1", json=EVENT, headers={"Authorization": f"Bearer {token}"})
        return response.status

    assert [await publish("greedy-1") for _ in range(5)] == [201, 201, 201, 429, 429]
    assert await publish("greedy-2") == 429  # another token of the same subject
    assert [await publish("modest-1") for _ in range(3)] == [201] * 3


async def test_wrong_tokens_spend_nothing_of_anybody(two: Client) -> None:
    for _ in range(5):
        response = await two.post(f"{API}/events/s1", json=EVENT, headers={"Authorization": "Bearer nobody"})
        assert response.status == 401

    response = await two.post(f"{API}/events/s1", json=EVENT, headers={"Authorization": "Bearer modest-1"})
    assert response.status == 201


FROM = {
    address: {"X-Forwarded-For": address, "Authorization": "Bearer shared"}
    for address in ("198.51.100.7", "198.51.100.8", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")
}


async def test_connections_of_one_address_are_bounded_and_leave_others_theirs(
    make_client: MakeClient, write_tokens: WriteTokens
) -> None:
    settings = Settings(
        auth="tokens",
        tokens_file=write_tokens([{"token": "shared", "rights": ["admin"], "sessions": ["*"]}]),
        trusted_proxies="127.0.0.1",
        max_connections_per_address=2,
    )
    broker = Broker(settings)
    client = await make_client(broker, **settings.model_dump(exclude_unset=True))
    async with AsyncExitStack() as stack:

        async def first(address: str) -> str:
            stream = await stack.enter_async_context(reading(client, headers=FROM[address]))
            return (await stream.take(1))[0].type

        assert [await first("198.51.100.7") for _ in range(3)] == ["hello", "hello", "error"]
        assert await first("198.51.100.8") == "hello"
        assert [await first(v6) for v6 in ("2001:db8::1", "2001:db8::2", "2001:db8::1")] == ["hello", "hello", "error"]
        assert await first("2001:db8:0:1::1") == "hello"
        refused = await client.get(f"{API}/long-poll/s1", headers=FROM["198.51.100.7"])
        assert (await error_of(refused), refused.headers["Retry-After"]) == ((429, "limit_reached"), "1")
        async with client.ws_connect("/agent_backend/ws/s1", headers=FROM["198.51.100.7"]) as socket:
            assert (await socket.receive_json())["error"]["limit"] == "max_connections_per_address"
        at_once = await client.get(f"{API}/long-poll/s1?timeout=0", headers=FROM["198.51.100.7"])
        assert at_once.status == 200  # holds nothing
    assert broker.counters.limits_reached == {"max_connections_per_address": 4}


async def test_place_of_an_address_is_free_again_when_its_stream_ends(make_client: MakeClient) -> None:
    broker = Broker(Settings(max_connections_per_address=1))
    client = await make_client(broker)

    for _ in range(3):
        async with reading(client) as stream:
            assert (await stream.take(1))[0].type == "hello"
        async with asyncio.timeout(10):
            while broker.connections:  # noqa: ASYNC110  # no event tells of it
                await asyncio.sleep(0)


async def test_limits_that_are_reached_are_metrics(make_client: MakeClient) -> None:
    client = await make_client(publish_rate="0.001/1", decide_rate="0.001/1", connect_rate="0.001/1")
    for _ in range(2):
        await client.post(f"{API}/events/s1", json=EVENT)
        await client.post(f"{API}/polling/clear-result/s1")
        await client.get(f"{API}/polling/tool-status/s1")

    text = await (await client.get("/metrics")).text()

    for name in ("publish_rate", "decide_rate", "connect_rate"):
        assert f'notifier_limits_reached_total{{limit="{name}"}} 1.0' in text
