"""The official conformance suite of MCP, directly and through the HTTP gateway: the same checks pass.

Every call is asked about, and approved at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from notifier_service import Broker, Decision, Settings
from notifier_service.calls.asker import BrokerAsker
from notifier_service.web import create_gateway_app, listening
from notifier_service.web.mcp.relay import HttpRelay
from tests.cli.processes import free_port
from tests.integrations.environments import NPM, PYTHON

SERVER = Path(__file__).with_name("conformance_server.py")
SUITES = [
    pytest.param("conformance", (), 40, id="0.1.16"),
    pytest.param("conformance alpha", ("--suite", "all", "--spec-version", "2025-11-25"), 84, id="alpha-2025-11-25"),
    pytest.param("conformance alpha", ("--suite", "all", "--spec-version", "2026-07-28"), 152, id="alpha-2026-07-28"),
]


@asynccontextmanager
async def conformance_server(python: Path) -> AsyncIterator[str]:
    """The server in a process of its own; its URL."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(python, SERVER, str(port))
    try:
        url = f"http://127.0.0.1:{port}/mcp"
        async with asyncio.timeout(60), aiohttp.ClientSession() as http:
            while True:
                with suppress(aiohttp.ClientConnectorError):
                    await (await http.get(url)).read()
                    break
                assert process.returncode is None
                await asyncio.sleep(0.1)
        yield url
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def gateway(upstream: str, broker: Broker) -> AsyncIterator[str]:
    """The gateway in this process; its URL."""
    settings = Settings(port=0)
    async with (
        HttpRelay(upstream, lambda session_id: BrokerAsker(broker, session_id)) as relay,
        listening(create_gateway_app(relay, settings, "s"), settings) as port,
    ):
        yield f"http://127.0.0.1:{port}/mcp"


@asynccontextmanager
async def approving(broker: Broker) -> AsyncIterator[list[str]]:
    """Approve whatever is asked, at once; the names of the tools."""
    approved: list[str] = []
    session = broker.open("s")

    async def approve() -> None:
        while True:
            for request in session.desk.pending:
                approved.append(request.record.tool_name)
                broker.decide("s", Decision(request_id=request.record.request_id, approved=True), decided_by="test")
            await session.log.wait_after(session.log.last_seq)

    task = asyncio.create_task(approve())
    try:
        yield approved
    finally:
        task.cancel()
        await asyncio.wait({task})


async def checks(npm: Path, options: tuple[str, ...], url: str, results: Path) -> Counter[tuple[str, str, str]]:
    """Run the suite against a server: scenario, check and status, as often as they come."""
    path = f"{npm / 'node_modules' / '.bin'}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        npm / "node_modules" / ".bin" / "conformance", "server", "--url", url, "-o", results, *options,
        env={**os.environ, "PATH": path}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(300):
        out, _ = await process.communicate()
    found: Counter[tuple[str, str, str]] = Counter()
    for file in results.glob("*/checks.json"):
        scenario = re.sub(r"-\d{4}-\d\d-\d\dT[^T]+$", "", file.parent.name)
        found.update((scenario, check["id"], check["status"]) for check in json.loads(file.read_text()))
    assert found, out.decode()
    return found


@pytest.mark.parametrize(("suite", "options", "count"), SUITES)
async def test_the_same_checks_pass_directly_and_through_the_gateway(
    python_with: Callable[..., Path],
    npm_with: Callable[..., Path],
    tmp_path: Path,
    suite: str,
    options: tuple[str, ...],
    count: int,
) -> None:
    npm, python = npm_with(*NPM[suite]), python_with(*PYTHON["sdk 2.x"])
    broker = Broker(Settings(ask_from_risk="low"))
    async with conformance_server(python) as upstream, gateway(upstream, broker) as url:
        direct = await checks(npm, options, upstream, tmp_path / "direct")
        async with approving(broker) as approved:
            gated = await checks(npm, options, url, tmp_path / "gated")

    assert gated == direct
    statuses = Counter[str]()
    for (_, _, status), times in direct.items():
        statuses[status] += times
    assert (statuses["SUCCESS"], statuses["FAILURE"]) == (count, 0)
    assert len(approved) >= 10
