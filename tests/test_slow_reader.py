"""A reader that stops reading costs nobody anything: real sockets, real back-pressure."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from notifier_service import Settings, serve
from notifier_service.web import Site
from tests.raw_socket import Closed, OpenSocket
from tests.raw_stream import OpenStream

PATH = "/agent_backend/api/sse/events/s"
SOCKET = "/agent_backend/ws/s"
TEXT = "x" * 20_000


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve(settings=Settings(port=0, stalled_seconds=0.5)) as site:
        yield site


@pytest.mark.parametrize("http", ["1.0", "1.1"])
async def test_stalled_reader_is_cut_with_bye_slow_and_counted_while_a_healthy_one_reads_on(
    site: Site, open_stream: OpenStream, http: str
) -> None:
    healthy = await open_stream(site.port, PATH)
    await healthy.until("snapshot")
    stalled = await open_stream(site.port, PATH, receive_bytes=4096, http=http)
    session = site.broker.get("s")
    await stalled.status()

    number = 0
    async with asyncio.timeout(20):
        while not session.readers.disconnects["slow"]:
            # The healthy one has each event before the next is published: it waits for nobody.
            number += 1
            await site.broker.publish("s", "x", {"number": number, "text": TEXT})
            assert (await healthy.event() or {})["data"]["number"] == number

    assert site.broker.counters.disconnects["slow"] == 1
    assert {reader.transport for reader in session.readers} == {"sse"}
    last = (await stalled.events())[-1]
    assert (last["type"], last["data"]["code"], last["data"]["reconnect"]) == ("bye", "slow", True)


async def test_stalled_socket_is_closed_as_slow_and_counted_while_a_healthy_one_reads_on(
    site: Site, open_socket: OpenSocket
) -> None:
    healthy = await open_socket(site.port, SOCKET)
    await healthy.until("snapshot")
    stalled = await open_socket(site.port, SOCKET, receive_bytes=4096)
    session = site.broker.get("s")

    number = 0
    async with asyncio.timeout(20):
        while not session.readers.disconnects["slow"]:
            number += 1
            await site.broker.publish("s", "x", {"number": number, "text": TEXT})
            assert (await healthy.event() or {})["data"]["number"] == number

    assert site.broker.counters.disconnects["slow"] == 1
    assert len(session.readers) == 1
    last = (await stalled.rest())[-1]
    assert (last["type"], last["data"]["code"], last["data"]["reconnect"]) == ("bye", "slow", True)
    assert stalled.ended == Closed(4408, "slow")


@pytest.mark.parametrize("http", ["1.0", "1.1"])
async def test_stalled_reader_that_never_reads_again_leaves_nothing_behind(
    site: Site, open_stream: OpenStream, http: str
) -> None:
    before = asyncio.all_tasks()
    await (await open_stream(site.port, PATH, receive_bytes=4096, http=http)).status()
    for _ in range(600):
        await site.broker.publish("s", "x", {"text": TEXT})

    async with asyncio.timeout(10):
        while site.broker.connections or asyncio.all_tasks() > before:  # noqa: ASYNC110  # no event tells of them
            await asyncio.sleep(0)
    assert site.broker.counters.disconnects == {"slow": 1}


async def test_slow_reader_that_falls_behind_the_log_is_told_of_a_gap_and_goes_on(
    site: Site, open_stream: OpenStream
) -> None:
    slow = await open_stream(site.port, PATH, receive_bytes=4096)
    await slow.until("snapshot")
    for number in range(600):  # 12 MB through a log of 1 MiB
        await site.broker.publish("s", "x", {"number": number, "text": TEXT})
    last_event_id = site.broker.get("s").log.last_event_id

    gap = await slow.until("gap")
    snapshot = await slow.event()

    assert gap["data"]["reason"] == "slow"
    assert snapshot is not None
    assert snapshot["type"] == "snapshot"
    assert snapshot["data"]["last_event_id"] == last_event_id
    await site.broker.publish("s", "x", {"number": "next"})
    assert (await slow.until("x"))["data"]["number"] == "next"


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_stalled_readers_do_not_make_memory_grow(
    site: Site, transport: str, open_stream: OpenStream, open_socket: OpenSocket
) -> None:
    for _ in range(10):
        if transport == "sse":
            await (await open_stream(site.port, PATH, receive_bytes=4096)).status()
        else:
            await open_socket(site.port, SOCKET, receive_bytes=4096)
    for number in range(100):
        await site.broker.publish("s", "x", {"number": number, "text": TEXT})
    tracemalloc.start()

    for number in range(1000):  # 20 MB to each of ten readers
        await site.broker.publish("s", "x", {"number": number, "text": TEXT})
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # A log of 1 MiB, and per reader what a slice and the transport's buffer hold.
    assert grown < 6 * 1024 * 1024
