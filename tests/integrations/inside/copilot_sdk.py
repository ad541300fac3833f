"""The real Copilot runtime, driven by the Copilot SDK, runs its tools as a person answers.

COPILOT_CLI_PATH says where the runtime is.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from copilot import CopilotClient, RuntimeConnection

from notifier_service import Broker, Client
from notifier_service.bridges.copilot_sdk import copilot_approval
from tests.integrations.inside.answers import answer_in_order


@asynccontextmanager
async def model(calls: Sequence[tuple[str, dict[str, Any]]]) -> AsyncIterator[tuple[str, list[str]]]:
    """A stand-in of a model that makes the calls, one a turn: its address, and what came back."""
    results: list[str] = []

    async def complete(request: web.Request) -> web.Response:
        body = await request.json()
        results[:] = [message["content"] for message in body["messages"] if message["role"] == "tool"]
        message: dict[str, Any] = {"role": "assistant", "content": "done"}
        if body.get("tools") and len(results) < len(calls):
            name, arguments = calls[len(results)]
            function = {"name": name, "arguments": json.dumps(arguments)}
            call = {"id": f"call_{len(results)}", "type": "function", "function": function}
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if "tool_calls" in message else "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
        return web.json_response(answer | {"choices": [choice], "usage": usage})

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/chat/completions", complete)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site.port}/v1", results
    finally:
        await runner.cleanup()


async def run(approval: Any, model_url: str, folder: Path) -> None:
    """One turn of Copilot in ``folder / "work"``."""
    work, home = folder / "work", folder / "home"
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "COPILOT_AUTO_UPDATE": "false"}
    # Whatever it might want of the net is not there.
    environment |= {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    client = CopilotClient(
        connection=RuntimeConnection.for_stdio(path=os.environ["COPILOT_CLI_PATH"]),
        working_directory=str(work),
        base_directory=str(home),
        env=environment,
        use_logged_in_user=False,
    )
    await client.start()
    try:
        session = await client.create_session(
            on_permission_request=approval,
            model="m",
            provider={"type": "openai", "wire_api": "completions", "base_url": model_url, "api_key": "none"},
            working_directory=str(work),
        )
        await session.send_and_wait("go", timeout=50)
        await session.disconnect()
    finally:
        await client.stop()


def bash(command: str) -> tuple[str, dict[str, Any]]:
    return "bash", {"command": command, "description": "make"}


async def test_tools_run_as_a_person_answers_and_not_while_the_service_is_away(
    broker: Broker, tmp_path: Path, unused_tcp_port: int
) -> None:
    work = tmp_path / "work"
    for name in ("work", "home"):
        (tmp_path / name).mkdir()
    (work / "old").write_text("one\n")
    edit = "edit", {"path": str(work / "old"), "old_str": "one", "new_str": "two"}
    calls = [
        bash("touch a && echo made"),
        bash("touch b"),
        ("create", {"path": str(work / "c"), "file_text": "hello\n"}),
        edit,
        bash("touch e"),
    ]
    answers = [{"approved": True}, {"approved": False, "reason": "not now"}] * 2
    answering = asyncio.create_task(answer_in_order(broker, answers))
    async with Client(f"http://127.0.0.1:{unused_tcp_port}") as away, model(calls) as (url, results):
        here, there = copilot_approval("s1", service=broker), copilot_approval("s1", service=away)

        async def approval(request: Any, invocation: Any) -> Any:
            return await (there if answering.done() else here)(request, invocation)

        await run(approval, url, tmp_path)
    shown = await answering

    assert sorted(path.name for path in work.iterdir()) == ["a", "c", "old"]
    assert (work / "old").read_text() == "one\n"
    assert [record.tool_name for record in shown] == ["shell", "shell", "write", "write"]
    assert shown[0].parameters == {"command": "touch a && echo made"}
    assert (shown[2].parameters["fileName"], shown[2].parameters["newFileContents"]) == (str(work / "c"), "hello\n")
    assert shown[3].parameters["newFileContents"] == "two\n"
    assert results[0].startswith("made\n")
    assert results[1].endswith("shell did not run: rejected by ada: not now")
    assert "shell did not run: " in results[4]
