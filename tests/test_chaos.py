"""Connections that are delayed, cut, halved, swallowed or crumbled: everything arrives once and in order."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout, ClientWSTimeout, WSMsgType

from notifier_service import Broker, Client, Decision, Settings, serve
from notifier_service.core.errors import ServiceUnavailable
from notifier_service.web import Site
from tests.chaos_proxy import ChaosProxy, Whim
from tests.raw_socket import OpenSocket, RawSocket
from tests.raw_stream import OpenStream, RawStream

PATIENCE_SECONDS = 30
PATH = "/agent_backend"

#: What may happen to a connection. Cuts fall in the head of an answer, into frames, and between them.
WHIMS: dict[str, list[Whim]] = {
    "slow": [Whim("close", 3000, piece=500, pause_seconds=0.02), Whim("close", 100, "request", pause_seconds=0.05)],
    "in crumbs": [Whim("close", 3000, piece=1), Whim("close", 100, "request", piece=1), Whim(piece=7)],
    "closed": [Whim("close", after) for after in (0, 1, 100, 421, 777, 1234, 2600)],
    "reset": [Whim("reset", after) for after in (0, 1, 100, 421, 777, 1234, 2600)],
    "half-closed": [Whim("half_close", after) for after in (0, 150, 700, 1500, 2600)],
    "half-closed by the client": [Whim("half_close", after, "request") for after in (0, 20, 80, 300)],
    "swallowed": [Whim("black_hole", 150), Whim("black_hole", 20, "request"), Whim("black_hole", 1500)],
}

#: What is told of the events named `number`, which say whether they are the last.
Numbers = AsyncGenerator[dict[str, Any], None]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve(settings=Settings(port=0, heartbeat_seconds=0.2, log_events=20_000)) as site:
        yield site


@pytest.fixture(autouse=True)
def _soon_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients wait for some milliseconds where they wait for half a second."""
    monkeypatch.setattr("notifier_service.client._FIRST_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr("notifier_service.client._EARLY_BACKOFF_SECONDS", 0.05)
    monkeypatch.setattr("notifier_service.client._ANSWER_SECONDS", 0.3)


async def over_sse(url: str) -> Numbers:
    async with Client(url, silence_seconds=0.4, poll_seconds=0.5, probe_seconds=0.2) as client:
        async for event in client.events("s", after="earliest"):
            if event["type"] == "number":
                yield event["data"]
            assert event["type"] != "gap", event


async def over_websocket(url: str) -> Numbers:
    """As a program does it that has nothing but a WebSocket, and notes how far it came."""
    cursor = "earliest"
    async with ClientSession(timeout=ClientTimeout(total=None, connect=0.3)) as http:
        while True:
            with suppress(ClientError, ConnectionError, TimeoutError):
                async with asyncio.timeout(0.3):
                    live = await http.ws_connect(f"{url}/ws/s?after={cursor}", timeout=ClientWSTimeout(ws_close=0.1))
                async with live:
                    while True:
                        async with asyncio.timeout(0.3):
                            message = await live.receive()
                        if message.type is not WSMsgType.TEXT:
                            break
                        event = json.loads(message.data)
                        assert event["type"] != "gap", event
                        cursor = event.get("id", cursor)
                        if event["type"] == "number":
                            yield event["data"]


def _polled(timeout: float) -> Callable[[str], Numbers]:
    async def over_poll(url: str) -> Numbers:
        cursor = "earliest"
        async with ClientSession(timeout=ClientTimeout(total=0.4)) as http:
            while True:
                with suppress(ClientError, ConnectionError, TimeoutError):
                    query = {"after": cursor, "timeout": str(timeout)}
                    async with http.get(f"{url}/api/long-poll/s", params=query) as answer:
                        told = (await answer.json())["data"]
                    assert told["gap"] is None
                    for event in told["events"]:
                        cursor = event["id"]
                        if event["type"] == "number":
                            yield event["data"]
                    if not timeout:
                        await asyncio.sleep(0.005)

    return over_poll


READERS: dict[str, Callable[[str], Numbers]] = {
    "sse": over_sse,
    "websocket": over_websocket,
    "long-poll": _polled(0.2),
    "polling": _polled(0),
}


async def publish_until(broker: Broker, is_over: Callable[[], bool]) -> int:
    """Publish numbers until something has happened, large ones among them; how many there are."""
    count = 0
    while not is_over() or count < 30:
        await broker.publish("s", "number", {"n": count, "text": "x" * (count % 7 * 40), "is_last": False})
        count += 1
        await asyncio.sleep(0.002)
    await broker.publish("s", "number", {"n": count, "is_last": True})
    return count + 1


async def read_through(site: Site, whims: list[Whim], transport: str) -> tuple[int, list[int]]:
    """How many numbers were published, and those that a reader got to know."""
    got: list[int] = []
    site.broker.open("s")
    async with ChaosProxy(site.port, whims).running() as proxy, asyncio.timeout(PATIENCE_SECONDS):
        publishing = asyncio.create_task(publish_until(site.broker, lambda: not proxy.whims))
        async with aclosing(READERS[transport](proxy.url)) as numbers:
            async for number in numbers:
                got.append(number["n"])
                if number["is_last"]:
                    break
        return await publishing, got


@pytest.mark.parametrize("what", WHIMS)
@pytest.mark.parametrize("transport", READERS)
async def test_everything_arrives_once_and_in_order(site: Site, transport: str, what: str) -> None:
    count, got = await read_through(site, list(WHIMS[what]), transport)

    assert got == [*range(count)]


@pytest.mark.parametrize("what", WHIMS)
async def test_what_a_producer_repeats_under_its_key_is_published_once(site: Site, what: str) -> None:
    log = site.broker.open("s").log
    async with ChaosProxy(site.port, WHIMS[what]).running() as proxy, asyncio.timeout(PATIENCE_SECONDS):
        for number in range(max(8, len(WHIMS[what]))):
            while True:
                with suppress(ServiceUnavailable):
                    async with Client(proxy.url) as client:  # a connection of its own, for a whim of its own
                        note = {"type": "number", "data": {"n": number, "text": "x" * 300}}
                        await client.publish("s", note, idempotency_key=f"n{number}")
                        break

    assert [json.loads(event.json)["data"]["n"] for event in log.read_after(0)] == [*range(number + 1)]
    assert not proxy.whims


@pytest.mark.parametrize("what", WHIMS)
async def test_question_is_asked_once_and_its_answer_is_heard(site: Site, what: str) -> None:
    log = site.broker.open("s").log
    whims = WHIMS[what]
    async with ChaosProxy(site.port, whims).running() as proxy, asyncio.timeout(PATIENCE_SECONDS):
        for number in range(len(whims)):
            async with Client(proxy.url) as client:
                asking = asyncio.create_task(client.ask("s", "rm", {"n": number}, wait_seconds=math.inf))
                while not (pending := site.broker.open("s").desk.pending):
                    assert not asking.done(), asking.result()
                    await asyncio.sleep(0.001)
                site.broker.decide("s", Decision(approved=True, request_id=pending[0].request_id), decided_by="anna")
                record = await asking

                assert (record["approved"], record["parameters"]) == (True, {"n": number})

    assert sum(event.type == "permission_request" for event in log.read_after(0)) == len(whims)


@pytest.mark.parametrize("whim", [whim for what in WHIMS.values() for whim in what if whim.side == "request"], ids=repr)
async def test_lines_of_a_producer_are_taken_in_order_and_whole_up_to_where_it_was_cut(site: Site, whim: Whim) -> None:
    session = site.broker.open("s")
    lines = b"".join(b'{"type": "number", "data": {"n": %d}}\n' % number for number in range(100))
    cut = replace(whim, after=whim.after + 1000)
    async with ChaosProxy(site.port, [cut]).running() as proxy, ClientSession(timeout=ClientTimeout(total=0.5)) as http:
        with suppress(ClientError, TimeoutError):
            headers = {"Content-Type": "application/x-ndjson"}
            async with http.post(f"{proxy.url}/api/events/s", data=lines, headers=headers) as answer:
                assert answer.status in (400, 201)

    numbers = [json.loads(event.json)["data"]["n"] for event in session.log.read_after(0)]
    assert numbers == [*range(len(numbers))]
    assert 0 < len(numbers) < 100


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_reader_of_a_byte_at_a_time_holds_nobody_up_and_is_cut_as_slow(
    transport: str, open_stream: OpenStream, open_socket: OpenSocket
) -> None:
    async with serve(settings=Settings(port=0, stalled_seconds=0.5)) as site, asyncio.timeout(PATIENCE_SECONDS):
        if transport == "sse":
            crumbs: RawStream | RawSocket = await open_stream(site.port, f"{PATH}/api/sse/events/s", receive_bytes=4096)
        else:
            crumbs = await open_socket(site.port, f"{PATH}/ws/s", receive_bytes=4096)
        await crumbs.until("snapshot")
        healthy = await open_stream(site.port, f"{PATH}/api/sse/events/s")
        await healthy.until("snapshot")
        disconnects, number = site.broker.get("s").readers.disconnects, 0
        while not disconnects["slow"]:
            number += 1
            await site.broker.publish("s", "x", {"number": number, "text": "x" * 20_000})
            assert (await healthy.event() or {})["data"]["number"] == number
            await crumbs.reader.read(1)
