"""A client that leaves is gone from health within a second: on real sockets, because aiohttp's test server hides it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import ClientSession, web

from notifier_service import Broker, Settings, create_app, serve
from tests.raw_socket import OpenSocket
from tests.raw_stream import OpenStream

PREFIX = "/agent_backend"


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Broker, int, str]]:
    async with serve(settings=Settings(port=0)) as site:
        yield site.broker, site.port, PREFIX


@asynccontextmanager
async def mounted() -> AsyncIterator[tuple[Broker, int, str]]:
    """In somebody's application, on a runner with aiohttp's defaults: handlers are not cancelled there."""
    broker = Broker()
    host = web.Application()
    host.add_subapp("/notifier/", create_app(broker, Settings()))
    runner = web.AppRunner(host, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield broker, site.port, "/notifier" + PREFIX
    finally:
        await runner.cleanup()


@pytest.fixture(params=[served, mounted], ids=["served", "mounted"])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Broker, int, str]]:
    async with request.param() as found:
        yield found


async def connections(port: int, prefix: str) -> int:
    async with (
        ClientSession() as client,
        client.get(f"http://127.0.0.1:{port}{prefix}/api/sse/health/s") as response,
    ):
        number: int = (await response.json())["data"]["connections"]
        return number


@pytest.mark.parametrize("how", ["leave", "vanish"])
@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_client_that_leaves_is_gone_from_health_within_a_second(
    service: tuple[Broker, int, str], transport: str, how: str, open_stream: OpenStream, open_socket: OpenSocket
) -> None:
    _, port, prefix = service
    client = await (
        open_stream(port, f"{prefix}/api/sse/events/s") if transport == "sse" else open_socket(port, f"{prefix}/ws/s")
    )
    await client.until("snapshot")
    assert await connections(port, prefix) == 1

    getattr(client, how)()

    async with asyncio.timeout(1):
        while await connections(port, prefix):
            pass


async def test_streams_that_left_leave_no_task_behind(
    service: tuple[Broker, int, str], open_stream: OpenStream
) -> None:
    broker, port, prefix = service
    before = len(asyncio.all_tasks())
    streams = [await open_stream(port, f"{prefix}/api/sse/events/s") for _ in range(20)]
    for stream in streams:
        await stream.until("snapshot")

    for stream in streams:
        stream.vanish()

    async with asyncio.timeout(5):
        while broker.connections or len(asyncio.all_tasks()) > before:  # noqa: ASYNC110  # no event tells of them
            await asyncio.sleep(0)
    assert broker.counters.disconnects == {"left": 20}


async def test_poll_that_is_dropped_while_it_is_held_is_gone_from_health_within_a_second(
    service: tuple[Broker, int, str],
) -> None:
    broker, port, prefix = service
    session = broker.open("s")
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {prefix}/api/long-poll/s?timeout=60 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    async with asyncio.timeout(1):
        while not session.viewer_count:  # noqa: ASYNC110  # no event tells of readers
            await asyncio.sleep(0)

    writer.transport.abort()

    async with asyncio.timeout(1):
        while session.viewer_count:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0)
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_asker_that_drops_withdraws_its_request(service: tuple[Broker, int, str]) -> None:
    broker, port, prefix = service
    session = broker.open("s")
    body = b'{"tool_name":"t","parameters":{}}'
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST {prefix}/api/permissions/s?wait=60 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    await session.log.wait_after(0)
    [request] = session.desk.pending

    writer.transport.abort()

    async with asyncio.timeout(2):
        record = await request.decision()
    assert (record.status, record.reason) == ("cancelled", "the connection of the asker dropped")
    with suppress(ConnectionError):
        await writer.wait_closed()
