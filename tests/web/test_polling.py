"""Polling and long-polling: the state by GET, and the log for clients that cannot hold a stream."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from notifier_service import Broker, Settings, serve
from notifier_service.core.events import ToolResult, ToolStatus
from tests.raw_stream import OpenStream

from .conftest import API, Client, MakeClient, error_of, serving, until

INFO = f"{API}/polling/session-info/s1"
LONG = f"{API}/long-poll/s1"


async def data_of(client: Any, path: str, **query: Any) -> Any:
    async with client.get(path, params=query) as response:
        assert response.status == 200, await response.text()
        return (await response.json())["data"]


def types(data: dict[str, Any]) -> list[str]:
    return [event["type"] for event in data["events"]]


async def test_state_of_a_session_that_nobody_published_to_is_empty(client: Client, broker: Broker) -> None:
    data = await data_of(client, INFO)

    assert data == {
        "tool_status": None,
        "permission_request": None,
        "permission_requests": [],
        "tool_result": None,
        "running": [],
        "last_event_id": broker.open("s1").log.last_event_id,
        "viewers": 0,
    }


async def test_state_is_that_of_now_and_its_parts_are_the_same(client: Client, broker: Broker) -> None:
    broker.publish_nowait("s1", "tool_status", ToolStatus(status="executing", tool_name="a"))
    broker.publish_nowait("s1", "tool_result", ToolResult(tool_name="b", success=True, result=[1]))
    first, second = (broker.ask("s1", tool_name=name, parameters={}) for name in "cd")
    info = await data_of(client, INFO)

    assert (info["tool_status"]["tool_name"], info["tool_result"]["result"]) == ("a", [1])
    assert info["permission_request"]["request_id"] == first.request_id
    assert [record["request_id"] for record in info["permission_requests"]] == [first.request_id, second.request_id]
    for part in ("tool-status", "permission-request", "tool-result"):
        assert await data_of(client, f"{API}/polling/{part}/s1") == info[part.replace("-", "_")]


async def test_poll_with_nothing_new_is_a_304_and_the_next_event_is_not(client: Client, broker: Broker) -> None:
    first = await client.get(INFO)
    tag = {"If-None-Match": first.headers["ETag"]}
    again = await client.get(INFO, headers=tag)
    broker.publish_nowait("s1", "x")
    later = await client.get(INFO, headers=tag)

    assert first.headers["Cache-Control"] == "private, no-cache"
    assert (again.status, await again.read()) == (304, b"")
    assert later.status == 200


async def test_cleared_result_is_gone_and_the_readers_are_told_once(client: Client, broker: Broker) -> None:
    broker.publish_nowait("s1", "tool_result", ToolResult(tool_name="b", success=True))
    for _ in range(2):
        assert (await client.post(f"{API}/polling/clear-result/s1")).status == 200

    assert await data_of(client, f"{API}/polling/tool-result/s1") is None
    assert [event.type for event in broker.get("s1").log.read_after(1)] == ["result_cleared"]


@pytest.mark.parametrize("path", [LONG, "/api/long-poll/s1"])
async def test_long_poll_gives_what_a_cursor_missed_at_once(client: Client, broker: Broker, path: str) -> None:
    first = broker.publish_nowait("s1", "a")
    broker.publish_nowait("s1", "b", {"n": 1})
    data = await data_of(client, path, after=first.id, timeout="60")

    assert data["events"] == [{"type": "b", "id": data["last_event_id"], "data": {"n": 1}}]
    assert (data["gap"], data["permission_requests"]) == (None, [])


async def test_long_poll_waits_for_the_next_event_and_counts_as_a_viewer(client: Client, broker: Broker) -> None:
    session = broker.open("s1")
    broker.publish_nowait("s1", "before")
    waiting = asyncio.ensure_future(data_of(client, LONG))
    await until(lambda: session.viewer_count)
    health = await data_of(client, f"{API}/sse/health/s1")
    request = broker.ask("s1", tool_name="t", parameters={})

    assert types(await waiting) == ["permission_request"]
    assert health["connections_by_transport"] == {"long-poll": 1}
    assert (request.record.viewers, session.viewer_count) == (1, 0)


async def test_long_poll_without_an_event_in_time_is_a_normal_answer(client: Client) -> None:
    data = await data_of(client, LONG, timeout="0")

    assert (data["events"], data["gap"]) == ([], None)


@pytest.mark.parametrize(("after", "reason"), [("garbage", "unknown"), ("1-1", "epoch"), ("\r\nid: 1", "unknown")])
async def test_long_poll_with_a_lost_cursor_is_told_of_the_gap_at_once(
    client: Client, broker: Broker, after: str, reason: str
) -> None:
    request = broker.ask("s1", tool_name="t", parameters={})
    data = await data_of(client, LONG, after=after, timeout="60")

    assert data["gap"]["reason"] == reason
    # A log that began anew is news from its beginning.
    assert [event["type"] for event in data["events"]] == (["permission_request"] if reason == "epoch" else [])
    assert data["permission_request"]["request_id"] == request.request_id


@pytest.mark.parametrize("after", ["earliest", "1-1"])
async def test_long_poll_answers_page_by_page_and_loses_nothing(client: Client, broker: Broker, after: str) -> None:
    published = [broker.publish_nowait("s1", "note", {"text": "é" * 30_000}).id for _ in range(12)]
    sizes, told, cursor = [], [], after
    while cursor != published[-1]:
        async with client.get(LONG, params={"after": cursor, "timeout": "60"}) as response:
            body = await response.read()
        data = json.loads(body)["data"]
        assert data["last_event_id"] == data["events"][-1]["id"]
        sizes.append(len(body))
        told += [event["id"] for event in data["events"]]
        cursor = data["last_event_id"]

    assert told == published
    assert len(sizes) == 6
    assert max(sizes) < 129 * 1024


async def test_event_of_more_than_a_page_is_a_page_of_its_own(client: Client, broker: Broker) -> None:
    small, large, last = (broker.publish_nowait("s1", "note", {"text": "x" * size}).id for size in (1, 200_000, 1))
    told = []
    cursor = "earliest"
    while cursor != last:
        data = await data_of(client, LONG, after=cursor)
        told.append([event["id"] for event in data["events"]])
        cursor = data["last_event_id"]

    assert told == [[small], [large], [last]]


async def test_long_poll_that_a_burst_overtakes_is_told_of_the_gap(make_client: MakeClient) -> None:
    broker = Broker(Settings(log_events=2))
    client = await make_client(broker)
    waiting = asyncio.ensure_future(data_of(client, LONG))
    await until(lambda: broker.open("s1").viewer_count)
    for _ in range(5):
        broker.publish_nowait("s1", "x")

    data = await waiting
    assert (data["events"], data["gap"]["reason"]) == ([], "slow")
    assert data["last_event_id"] == broker.get("s1").log.last_event_id


@pytest.mark.parametrize("seconds", ["-1", "61", "1e9", "nan", "soon"])
async def test_time_that_is_none_is_refused(client: Client, seconds: str) -> None:
    assert await error_of(await client.get(LONG, params={"timeout": seconds})) == (422, "invalid")


async def test_reader_that_was_killed_on_sse_goes_on_over_long_poll_and_back(open_stream: OpenStream) -> None:
    async with serving() as service:
        broker, seen = service.site.broker, []
        stream = await open_stream(service.site.port, f"{API}/sse/events/s1")
        await stream.until("snapshot")
        for name in ("a", "b"):
            broker.publish_nowait("s1", name)
            seen.append(await stream.until(name))
        stream.vanish()
        for name in ("c", "d"):
            broker.publish_nowait("s1", name)
        data = await data_of(service.http, LONG, after=seen[-1]["id"])
        seen += data["events"]
        broker.publish_nowait("s1", "e")
        stream = await open_stream(service.site.port, f"{API}/sse/events/s1?last_event_id={data['last_event_id']}")
        seen += [event for event in (await stream.event(), await stream.event()) if event and event["type"] != "hello"]

    assert [event["type"] for event in seen] == ["a", "b", "c", "d", "e"]
    assert [event["id"].partition("-")[2] for event in seen] == ["1", "2", "3", "4", "5"]


async def test_thousand_long_polls_wake_on_one_event() -> None:
    async with (
        serve(settings=Settings(port=0)) as site,
        aiohttp.ClientSession(site.url, connector=aiohttp.TCPConnector(limit=0)) as http,
    ):
        session = site.broker.open("s1")
        waiting = [asyncio.ensure_future(data_of(http, LONG, timeout="50")) for _ in range(1000)]
        await until(lambda: session.viewer_count == 1000)
        session.publish("x")

        assert [types(data) for data in await asyncio.gather(*waiting)] == [["x"]] * 1000


async def test_shutdown_answers_a_long_poll_at_once_and_closes_its_connection() -> None:
    async with serve(settings=Settings(port=0)) as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(f"GET {LONG} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await until(lambda: site.broker.open("s1").viewer_count)

    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"Connection: close" in answer
    assert b'"events":[]' in answer
