"""SIGTERM ends the process in time with streams open: on a real process, with real signals."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from notifier_service import Broker, Settings, create_app, serve
from tests.raw_socket import Closed, OpenSocket
from tests.raw_stream import OpenStream
from tests.service_process import in_time, service_process

BASE = "/agent_backend/api"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_the_process_within_two_seconds_and_every_stream_gets_bye(
    number: signal.Signals, open_stream: OpenStream
) -> None:
    async with service_process() as (process, port):
        streams = [await open_stream(port, f"{BASE}/sse/events/s{index % 7}") for index in range(100)]
        for stream in streams:
            await stream.until("snapshot")

        began = time.monotonic()
        process.send_signal(number)
        exit_code = await process.wait()
        took = time.monotonic() - began

        assert exit_code == 0
        assert took < in_time()
        for stream in streams:
            last = (await stream.events())[-1]
            assert last["type"] == "bye"
            assert last["data"]["code"] == "shutdown"
            assert last["data"]["reconnect"] is True
            assert last["data"]["retry_ms"] > 2000
        assert process.stderr is not None
        assert await process.stderr.read() == b""


async def test_signal_ends_the_process_in_time_with_sockets_and_long_polls_open(open_socket: OpenSocket) -> None:
    async with service_process() as (process, port), ClientSession() as client:
        url = f"http://127.0.0.1:{port}{BASE}"
        sockets = [await open_socket(port, f"/agent_backend/ws/s{index % 7}") for index in range(50)]
        for socket in sockets:
            await socket.until("snapshot")
        mute = await open_socket(port, "/agent_backend/ws/s0")
        mute.answers = False
        held = [asyncio.create_task(client.get(f"{url}/long-poll/s0?timeout=60")) for _ in range(20)]
        health: dict[str, int] = {}
        while health.get("long-poll") != 20:
            async with client.get(f"{url}/sse/health/s0") as response:
                health = (await response.json())["data"]["connections_by_transport"]

        began = time.monotonic()
        process.terminate()
        answers = await asyncio.gather(*held)
        exit_code = await process.wait()

        assert exit_code == 0
        assert time.monotonic() - began < in_time()
        for socket in (*sockets, mute):
            last = (await socket.rest())[-1]
            assert (last["type"], last["data"]["code"], last["data"]["reconnect"]) == ("bye", "shutdown", True)
            assert socket.ended == Closed(1001, "shutdown")
        for answer in answers:
            assert (answer.status, answer.headers["Connection"]) == (200, "close")
            assert (await answer.json())["data"]["events"] == []
        assert process.stderr is not None
        assert await process.stderr.read() == b""


async def test_sockets_get_bye_also_where_their_tasks_have_no_turn_left(open_socket: OpenSocket) -> None:
    broker = Broker()
    async with serve(broker, Settings(port=0, shutdown_seconds=0.1)) as site:
        sockets = [await open_socket(site.port, f"/agent_backend/ws/s{index % 3}") for index in range(30)]
        for socket in sockets:
            await socket.until("snapshot")
        loop = asyncio.get_running_loop()

        def busy() -> None:
            nonlocal turn
            time.sleep(0.05)  # something else has the machine
            turn = loop.call_soon(busy)

        turn = loop.call_soon(busy)
        broker.publish_nowait("s0", "note", {"n": 1})
    turn.cancel()
    last = [(await socket.rest())[-1] for socket in sockets]

    assert {event["type"] for event in last} == {"bye"}


async def test_stalled_readers_and_held_requests_do_not_delay_the_end(
    open_stream: OpenStream, open_socket: OpenSocket
) -> None:
    async with service_process("--stalled-seconds", "60") as (process, port), ClientSession() as client:
        url = f"http://127.0.0.1:{port}{BASE}"
        for _ in range(5):
            await open_stream(port, f"{BASE}/sse/events/s", receive_bytes=4096)
            await open_socket(port, "/agent_backend/ws/s", receive_bytes=4096)
        for _ in range(40):  # more than the kernel takes for a reader that does not read
            big = {"type": "x", "data": {"text": "x" * 200_000}}
            async with client.post(f"{url}/events/s", json=big) as response:
                assert response.status == 201
        held = asyncio.create_task(
            client.post(f"{url}/permissions/s?wait=60", json={"tool_name": "t", "parameters": {}})
        )

        async def endless() -> AsyncIterator[bytes]:
            yield b'{"type":"a"}\n'
            await asyncio.Event().wait()

        producing = asyncio.create_task(
            client.post(f"{url}/events/p", data=endless(), headers={"Content-Type": "application/x-ndjson"})
        )
        for session, pending, queued in (("s", 1, None), ("p", 0, 1)):
            health = {}
            while health.get("pending_permissions") != pending or queued not in (None, health["queue_size"]):
                async with client.get(f"{url}/sse/health/{session}") as response:
                    health = (await response.json())["data"]

        began = time.monotonic()
        process.terminate()
        exit_code = await process.wait()

        assert exit_code == 0
        assert time.monotonic() - began < in_time()
        answer = await held
        record = (await answer.json())["data"]
        assert (answer.status, record["status"], record["reason"]) == (
            200,
            "cancelled",
            "the service is shutting down",
        )
        await asyncio.gather(producing, return_exceptions=True)


async def test_second_signal_ends_the_process_at_once(open_stream: OpenStream) -> None:
    async with service_process("--shutdown-seconds", "300", "--stalled-seconds", "300") as (process, port):
        await open_stream(port, f"{BASE}/sse/events/s", receive_bytes=4096)
        async with ClientSession() as client:
            for _ in range(40):
                big = {"type": "x", "data": {"text": "x" * 200_000}}
                await client.post(f"http://127.0.0.1:{port}{BASE}/events/s", json=big)

            process.terminate()
            refused = False
            while not refused:  # the listener closes first
                try:
                    await client.get(f"http://127.0.0.1:{port}/healthz/live")
                except OSError:
                    refused = True
        process.terminate()

        assert await process.wait() == 128 + signal.SIGTERM


async def test_service_in_another_application_ends_with_it(open_stream: OpenStream) -> None:
    broker = Broker()
    host = web.Application()
    host.add_subapp("/notifier/", create_app(broker, Settings()))
    runner = web.AppRunner(host)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    stream = await open_stream(site.port, f"/notifier{BASE}/sse/events/s")
    await stream.until("snapshot")

    async with asyncio.timeout(2):
        await runner.cleanup()

    assert (await stream.events())[-1]["data"]["code"] == "shutdown"
    assert broker.closed


async def test_what_happened_last_reaches_the_readers_before_bye(open_stream: OpenStream) -> None:
    async with serve(settings=Settings(port=0)) as site:
        stream = await open_stream(site.port, f"{BASE}/sse/events/s")
        await stream.until("snapshot")
        site.broker.ask("s", tool_name="t", parameters={})

    types = [event["type"] for event in await stream.events()]
    assert types == ["permission_request", "permission_cleared", "bye"]


async def test_leaving_serve_frees_the_port_and_the_process_broker() -> None:
    async with serve(settings=Settings(port=0)) as site:
        port = site.port

    async with serve(settings=Settings(port=port)) as site:
        assert site.port == port


async def test_readiness_says_so_before_the_listener_closes() -> None:
    async with service_process("--drain-seconds", "1") as (process, port), ClientSession() as client:
        url = f"http://127.0.0.1:{port}"
        process.terminate()
        async with asyncio.timeout(10):
            while True:
                async with client.get(f"{url}/healthz/ready") as response:
                    if response.status == 503:
                        break
        async with client.get(f"{url}/healthz/live") as live, client.get(f"{url}{BASE}/sse/health/s") as health:
            assert (live.status, health.status) == (200, 200)

        assert await process.wait() == 0


async def test_producer_of_a_stream_is_told_at_the_end_what_was_taken() -> None:
    async with service_process() as (process, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"POST {BASE}/events/s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
            'Content-Length: 1000\r\n\r\n{"type": "note"}\n{"type": "note"}\n{"ty'.encode()
        )
        async with ClientSession() as client:
            while True:
                async with client.get(f"http://127.0.0.1:{port}{BASE}/sse/health/s") as response:
                    if (await response.json())["data"]["queue_size"] == 2:
                        break
        process.terminate()
        answer = await reader.read()
        writer.close()

        assert await process.wait() == 0
    head, _, body = answer.partition(b"\r\n\r\n")
    error = json.loads(body)["error"]
    assert head.startswith(b"HTTP/1.1 503 ")
    assert (error["code"], error["count"]) == ("shutting_down", 2)


@pytest.mark.parametrize("number", [signal.SIGHUP])
async def test_signal_to_read_files_again_ends_nothing(number: signal.Signals, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps([{"token": "a-token-of-anna", "rights": ["view"], "sessions": ["*"]}]))
    flags = ("--auth", "tokens", "--tokens-file", str(tokens), "--log-level", "info")
    async with service_process(*flags) as (process, port), ClientSession() as client:
        tokens.write_text(json.dumps([{"token": "a-token-of-bert", "rights": ["view"], "sessions": ["*"]}]))
        process.send_signal(number)
        assert process.stderr is not None
        async with asyncio.timeout(10):
            while b"tokens_file was read again" not in await process.stderr.readline():
                pass
        url = f"http://127.0.0.1:{port}{BASE}/sse/health/s"
        statuses = []
        for token in ("a-token-of-anna", "a-token-of-bert"):
            async with client.get(url, headers={"Authorization": f"Bearer {token}"}) as response:
                statuses.append(response.status)
        process.terminate()

        assert statuses == [401, 200]
        assert await process.wait() == 0
