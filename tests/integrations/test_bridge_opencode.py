"""The real opencode server, offline, with a stand-in of its model: what it asks is answered over the bridge."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from notifier_service import Broker, Decision, Settings, serve
from notifier_service.core.permission_request import PermissionRequest
from tests.cli.processes import free_port
from tests.integrations.compared import AskedCall, furnish
from tests.integrations.environments import NPM
from tests.integrations.opencode import config_for, environment_in, model
from tests.mcp.http_wiring import on_a_port

MAKE = AskedCall("bash", {"command": "echo made > made.txt", "description": "makes a file"})


async def asked(broker: Broker) -> PermissionRequest:
    session = broker.open("s")
    async with asyncio.timeout(60):
        while not session.desk.pending:
            await session.log.wait_after(session.log.last_seq)
    return session.desk.pending[-1]


@pytest.mark.parametrize("answer", ["approve", "reject", "elsewhere"])
async def test_real_opencode_is_answered_over_the_bridge(
    answer: str, npm_with: Callable[..., Path], tmp_path: Path
) -> None:
    program = npm_with(*NPM["opencode"]) / "node_modules/.bin/opencode"
    await asyncio.to_thread(furnish, tmp_path, (), ())
    work, port, broker = tmp_path / "work", free_port(), Broker()
    url = f"http://127.0.0.1:{port}"
    async with on_a_port(model([MAKE])) as model_port, serve(broker, Settings(port=0)) as site:
        (work / "opencode.json").write_text(json.dumps(config_for(model_port, {"*": "ask"})))
        server = await asyncio.create_subprocess_exec(
            program, "serve", "--port", str(port), "--hostname", "127.0.0.1", cwd=work, env=environment_in(tmp_path),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        assert server.stdout is not None
        async with asyncio.timeout(120):
            while b"listening on" not in (line := await server.stdout.readline()):
                assert line, "opencode ended"
        bridge = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "notifier_service", "bridge", "opencode", url, "--service", site.url,
            "--session", "s", env=os.environ,
        )  # fmt: skip
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(120)) as http:

                async def post(path: str, body: Any) -> Any:
                    async with http.post(url + path, json=body) as response:
                        assert response.status == 200, await response.text()
                        return await response.json()

                session = (await post("/session", {}))["id"]
                parts = [{"type": "text", "text": "go"}]
                named = {"providerID": "stand-in", "modelID": "m"}
                turn = asyncio.create_task(post(f"/session/{session}/message", {"parts": parts, "model": named}))
                request = await asked(broker)
                assert request.record.parameters == MAKE.parameters
                if answer == "elsewhere":
                    async with http.get(f"{url}/permission") as response:
                        waiting = await response.json()
                    await post(f"/permission/{waiting[0]['id']}/reply", {"reply": "once"})
                    async with asyncio.timeout(60):
                        assert (await request.decision()).status == "cancelled"
                else:
                    decision = Decision(request_id=request.request_id, approved=answer == "approve")
                    broker.decide("s", decision, decided_by="ada")
                await turn
        finally:
            bridge.terminate()
            server.kill()
            await server.wait()
            assert await bridge.wait() == 0
    assert (work / "made.txt").exists() is (answer != "reject")
