"""The official client of tasks before both gateways: a call that waits for a person is a task, and ends as one."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Settings, serve
from tests.integrations.environments import NPM, PYTHON
from tests.integrations.test_conformance import TASKS_SERVER, approving, conformance_server, gateway

CLIENT = Path(__file__).with_name("inside") / "tasks_client.mjs"
#: What is called, with what, and whether the client cancels it at once.
CALLS = [
    ("greet", {"name": "Ada"}, False),
    ("slow_compute", {"seconds": 0}, False),
    ("failing_job", {}, False),
    ("protocol_error_job", {}, False),
    ("confirm_delete", {}, False),
    ("slow_compute", {"seconds": 60}, True),
]


async def told(folder: Path, npm: Path, *command: Any) -> list[dict[str, Any]]:
    """What the client says of each call."""
    script = Path(shutil.copy(CLIENT, folder))  # beside its packages, whose entries are for modules alone
    (folder / "node_modules").symlink_to(npm / "node_modules")
    process = await asyncio.create_subprocess_exec(
        npm / "node_modules/.bin/node", script, *map(str, command),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(90):
        out, _ = await process.communicate(b"".join(json.dumps(call).encode() + b"\n" for call in CALLS))
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("kind", ["http", "stdio"])
async def test_official_client_polls_what_waits_for_a_person(
    python_with: Callable[..., Path], npm_with: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    npm, python = npm_with(*NPM["tasks"]), python_with(*PYTHON["sdk 2.x"])
    broker = Broker(Settings())
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(approving(broker, after_seconds=0.5))
        if kind == "http":
            upstream = await stack.enter_async_context(conformance_server(python, TASKS_SERVER))
            client = (await stack.enter_async_context(gateway(upstream, broker, task_seconds=0.1)),)
        else:
            site = await stack.enter_async_context(serve(broker, Settings(port=0)))
            options = ("--service", site.url, "--session", "s", "--task-after", "0.1")
            command = (sys.executable, "-m", "notifier_service", "gateway", "stdio", *options, "--")
            client = (*command, python, TASKS_SERVER, "stdio")
        greeted, computed, failed, panicked, confirmed, cancelled = await told(tmp_path, npm, *client)

    assert greeted["result"]["content"][0]["text"] == "Hello, Ada!"
    assert [one["kind"] for one in (computed, failed, panicked, confirmed, cancelled)] == ["task"] * 5
    assert computed["heard"][0] == "slow_compute waits for a person to decide."
    assert (computed["status"], computed["result"]["content"][0]["text"]) == ("completed", "computed")
    assert (failed["status"], failed["result"]["isError"]) == ("completed", True)
    assert (panicked["status"], panicked["error"]) == ("failed", {"code": -32603, "message": "The job panicked."})
    assert "'confirm': True" in confirmed["result"]["content"][0]["text"]
    assert "The tool needs more of its client." in confirmed["heard"]
    assert cancelled["status"] == "cancelled"
