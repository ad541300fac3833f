"""The official conformance suite of MCP, directly and through the HTTP gateway: the same checks pass.

Every call is asked about, and approved at once, or so late that it is a task.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from notifier_service import Broker, Decision, Settings
from notifier_service.calls.asker import BrokerAsker
from notifier_service.core.errors import RequestCancelled
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.web import create_gateway_app, listening
from notifier_service.web.mcp.relay import HttpRelay
from tests.cli.processes import free_port
from tests.integrations.environments import NPM, PYTHON

SERVER = Path(__file__).with_name("conformance_server.py")
TASKS_SERVER = Path(__file__).with_name("tasks_server.py")
TASKS = (
    "lifecycle", "capability-negotiation", "wire-fields", "request-state-removal", "mrtr-input", "request-headers",
    "dispatch-and-envelope", "status-notifications", "required-task-error", "mrtr-composition",
)  # fmt: skip
#: What a gateway before a server without tasks cannot do: have a tool that is given as a task only, and let the server
#: ask the client for more before a person was asked.
OF_THE_SERVER = {"required-task-error", "mrtr-composition"}
SUITES = [
    pytest.param("conformance", (), 40, id="0.1.16"),
    pytest.param("conformance alpha", ("--suite", "all", "--spec-version", "2025-11-25"), 84, id="alpha-2025-11-25"),
    pytest.param("conformance alpha", ("--suite", "all", "--spec-version", "2026-07-28"), 152, id="alpha-2026-07-28"),
]


@asynccontextmanager
async def conformance_server(python: Path, *command: str | Path) -> AsyncIterator[str]:
    """The server in a process of its own, or another one; its URL."""
    port = free_port()
    script, *flags = command or (SERVER,)
    process = await asyncio.create_subprocess_exec(python, script, str(port), *flags)
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
async def gateway(upstream: str, broker: Broker, **options: Any) -> AsyncIterator[str]:
    """The gateway in this process; its URL."""
    settings = Settings(port=0)
    async with (
        HttpRelay(upstream, lambda session_id: BrokerAsker(broker, session_id), **options) as relay,
        listening(create_gateway_app(relay, settings, "s"), settings) as port,
    ):
        yield f"http://127.0.0.1:{port}/mcp"


@asynccontextmanager
async def approving(broker: Broker, after_seconds: float = 0) -> AsyncIterator[list[str]]:
    """Approve whatever is asked, at once or so late; the names of the tools."""
    approved: list[str] = []
    session = broker.open("s")

    def decide(request: PermissionRequest) -> None:
        with suppress(RequestCancelled):  # the suite has cancelled it meanwhile
            broker.decide("s", Decision(request_id=request.record.request_id, approved=True), decided_by="test")

    async def approve() -> None:
        seen: set[str] = set()
        while not session.log.closed:  # behind its end nothing is waited for
            for request in session.desk.pending:
                if request.request_id not in seen:
                    seen.add(request.request_id)
                    approved.append(request.record.tool_name)
                    asyncio.get_running_loop().call_later(after_seconds, decide, request)
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
    assert (statuses(direct)["SUCCESS"], statuses(direct)["FAILURE"]) == (count, 0)
    assert len(approved) >= 10


async def task_checks(npm: Path, url: str, results: Path, scenarios: Iterable[str] = TASKS) -> Counter[Any]:
    """Run the scenarios of tasks, a few at a time: most of their time is waited."""
    few = asyncio.Semaphore(3)

    async def run(scenario: str) -> Counter[Any]:
        async with few:
            return await checks(npm, ("--scenario", f"tasks-{scenario}"), url, results / scenario)

    return sum(await asyncio.gather(*map(run, scenarios)), Counter[Any]())


def statuses(found: Counter[Any]) -> Counter[str]:
    told = Counter[str]()
    for (_, _, status), times in found.items():
        told[status] += times
    return told


async def test_tasks_of_the_server_pass(
    python_with: Callable[..., Path], npm_with: Callable[..., Path], tmp_path: Path
) -> None:
    npm, python = npm_with(*NPM["conformance alpha"]), python_with(*PYTHON["sdk 2.x"])
    broker = Broker(Settings())
    async with conformance_server(python, TASKS_SERVER, "tasks") as upstream, gateway(upstream, broker) as url:
        direct = await task_checks(npm, upstream, tmp_path / "direct")
        async with approving(broker) as approved:
            gated = await task_checks(npm, url, tmp_path / "gated")

    assert gated == direct
    # The suite has no check of notifications yet: it says so by the one that it skips.
    assert statuses(direct) == {"SUCCESS": 44, "SKIPPED": 1}
    assert "slow_compute" in approved


@pytest.mark.parametrize(
    ("flags", "left_out"),
    [
        pytest.param((), OF_THE_SERVER, id="of-the-gateway"),
        pytest.param(("tasks",), set(), id="of-the-server-in-those-of-the-gateway"),
    ],
)
async def test_calls_that_wait_for_a_person_are_tasks(
    python_with: Callable[..., Path],
    npm_with: Callable[..., Path],
    tmp_path: Path,
    flags: tuple[str, ...],
    left_out: set[str],
) -> None:
    npm, python = npm_with(*NPM["conformance alpha"]), python_with(*PYTHON["sdk 2.x"])
    broker = Broker(Settings())
    async with (
        conformance_server(python, TASKS_SERVER, *flags) as upstream,
        gateway(upstream, broker, task_seconds=0.2) as url,
        approving(broker, after_seconds=0.5) as approved,
    ):
        found = await task_checks(npm, url, tmp_path, [one for one in TASKS if one not in left_out])

    assert [check for check in found if check[2] not in ("SUCCESS", "SKIPPED")] == []
    assert "slow_compute" in approved
