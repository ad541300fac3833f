"""Out of descriptors the service says so, in an answer and in one line of its log, and goes on."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest

READY = b"GET /healthz/ready HTTP/1.1\r\nHost: localhost\r\n\r\n"
UNFINISHED = b"POST /api/sse/events/s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"


def answer_of(client: socket.socket) -> bytes:
    """What has come for a request that was sent; empty for a connection that just ended, or was never taken."""
    try:
        return client.recv(4096)
    except OSError:
        return b""


def answer_of_new(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(READY)
        return answer_of(client)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_service_out_of_descriptors_refuses_in_words_and_goes_on(loop: str, tmp_path: Path) -> None:
    if loop == "asyncio":
        (tmp_path / "uvloop.py").write_text("raise ImportError('as if it were not installed')")
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", 'ulimit -n 128; exec "$0" -m notifier_service serve --port 0', sys.executable,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd="/",
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert process.stdout is not None
    port = int((await process.stdout.readline()).decode().rsplit(":", 1)[1].partition("/")[0])
    clients = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(300)]
    for client in clients:
        with suppress(ConnectionError):
            client.sendall(READY)

    answers = [await asyncio.to_thread(answer_of, client) for client in clients]
    for client in clients:
        client.close()
    async with asyncio.timeout(20):
        while not (await asyncio.to_thread(answer_of_new, port)).startswith(b"HTTP/1.1 200"):
            pass
    process.send_signal(signal.SIGTERM)
    _, log = await process.communicate()

    statuses = {answer[:12] for answer in answers}
    refused = next(answer for answer in answers if b" 503 " in answer)
    assert process.returncode == 0
    assert statuses <= {b"HTTP/1.1 200", b"HTTP/1.1 503", b""}
    assert b"Retry-After: 2\r\n" in refused
    assert json.loads(refused.partition(b"\r\n\r\n")[2])["error"]["code"] == "limit_reached"
    assert log.count(b"out of descriptors") == 1
    assert b"Traceback" not in log


async def test_service_that_stops_while_connections_wait_for_descriptors_tells_of_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text("raise ImportError('as if it were not installed')")
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", 'ulimit -n 128; exec "$0" -m notifier_service serve --port 0 --shutdown-seconds 8', sys.executable,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd="/",
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    port = int((await process.stdout.readline()).decode().rsplit(":", 1)[1].partition("/")[0])
    unfinished = socket.create_connection(("127.0.0.1", port), timeout=10)  # what keeps the service for two seconds
    unfinished.sendall(UNFINISHED)
    assert (await asyncio.to_thread(answer_of_new, port)).startswith(b"HTTP/1.1 200")
    process.send_signal(signal.SIGSTOP)  # so that it finds more connections at once than it can take
    clients = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(128)]
    process.send_signal(signal.SIGCONT)
    log = b""
    async with asyncio.timeout(20):
        while b"out of descriptors" not in log:
            log += await process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    stopped_at = asyncio.get_running_loop().time()
    log += (await process.communicate())[1]
    for client in (unfinished, *clients):
        client.close()

    assert process.returncode == 0
    assert asyncio.get_running_loop().time() - stopped_at > 1.0  # else it was gone before asyncio tries again
    assert log.count(b"\n") == log.count(b" INFO ") + 1


async def test_service_takes_all_descriptors_that_it_may_have(tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 512:
        pytest.skip("this machine allows few descriptors")
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", 'ulimit -S -n 64; exec "$0" -m notifier_service serve --port 0', sys.executable,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, cwd="/",
    )  # fmt: skip
    assert process.stdout is not None
    port = int((await process.stdout.readline()).decode().rsplit(":", 1)[1].partition("/")[0])
    clients = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(200)]
    for client in clients:
        client.sendall(READY)
    answers = {(await asyncio.to_thread(answer_of, client))[:12] for client in clients}
    for client in clients:
        client.close()
    process.kill()
    await process.wait()

    assert answers == {b"HTTP/1.1 200"}
