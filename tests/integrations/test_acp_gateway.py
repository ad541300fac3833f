"""The real opencode, an editor with the official client of the Agent Client Protocol, and the gateway between them."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Decision, Settings, serve
from tests.integrations.compared import AskedCall, furnish
from tests.integrations.environments import NPM, PYTHON, ROOT
from tests.integrations.opencode import config_for, environment_in, model
from tests.mcp.http_wiring import on_a_port

TOUCH = AskedCall("bash", {"command": "echo made > made.txt", "description": "makes a file"})
WRITE = AskedCall("write", {"filePath": "made.txt", "content": "made\n"})


class Turn:
    """One turn of the agent in the editor, with a person who answers here."""

    def __init__(self, folder: Path, said: dict[str, Any], broker: Broker) -> None:
        self.folder = folder
        self.said = said
        self._events = [json.loads(event.json) for event in broker.open("s").log.read_after(0)]

    @property
    def made(self) -> str | None:
        file = self.folder / "work" / "made.txt"
        return file.read_text() if file.exists() else None

    def events(self, event_type: str) -> list[Any]:
        return [event["data"] for event in self._events if event["type"] == event_type]


@pytest.fixture
async def turn(npm_with: Callable[..., Path], python_with: Callable[..., Path], tmp_path: Path) -> Any:
    program = npm_with(*NPM["opencode"]) / "node_modules/.bin/opencode"
    python = await asyncio.to_thread(python_with, *PYTHON["acp"])

    async def run(call: AskedCall, *options: str, editor: str = "-", **answer: Any) -> Turn:
        await asyncio.to_thread(furnish, tmp_path, (), ())
        broker = Broker()
        text = json.dumps(call.parameters).replace("made.txt", str(tmp_path / "work/made.txt"))
        call = call._replace(parameters=json.loads(text))
        async with on_a_port(model([call])) as port, serve(broker, Settings(port=0)) as site:
            (tmp_path / "work/opencode.json").write_text(json.dumps(config_for(port, {"*": "ask"})))
            gateway = [
                sys.executable,
                "-m",
                "notifier_service",
                "gateway",
                "acp",
                "--service",
                site.url,
                "--session",
                "s",
            ]
            process = await asyncio.create_subprocess_exec(
                python, ROOT / "tests/integrations/inside/acp_editor.py", editor, tmp_path / "work",
                *gateway, *options, "--", program, "acp",
                env=environment_in(tmp_path), stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            deciding = asyncio.create_task(decide(broker, answer)) if answer else None
            async with asyncio.timeout(120):
                out, _ = await process.communicate()
            if deciding is not None:
                deciding.cancel()
            return Turn(tmp_path, json.loads(out), broker)  # before the broker closes

    return run


async def decide(broker: Broker, answer: dict[str, Any]) -> None:
    session = broker.open("s")
    while True:
        while not session.desk.pending:
            await session.log.wait_after(session.log.last_seq)
        request = session.desk.pending[-1]
        await asyncio.sleep(0.5)  # a person takes longer than a policy, and the editor is asked meanwhile
        broker.decide("s", Decision(request_id=request.request_id, **answer), decided_by="ada")


@pytest.mark.parametrize("call", [TOUCH, WRITE], ids=["a command", "a file"])
async def test_approved_here_runs_and_the_editor_is_not_asked(call: AskedCall, turn: Any) -> None:
    done = await turn(call, approved=True)

    assert (done.made, done.said["asked"], done.said["ended"]) == ("made\n", [], "end_turn")
    assert done.events("tool_result")[-1]["success"] is True


@pytest.mark.parametrize("call", [TOUCH, WRITE], ids=["a command", "a file"])
async def test_rejected_here_leaves_no_file_and_does_not_ask_the_editor(call: AskedCall, turn: Any) -> None:
    done = await turn(call, approved=False, reason="not now")

    assert (done.made, done.said["asked"]) == (None, [])
    asked = done.events("permission_request")
    shown = json.dumps(asked[0]["parameters"])
    assert "made.txt" in shown
    assert done.events("tool_status")[-1]["status"] == "denied"


async def test_in_both_places_the_first_answer_wins(turn: Any) -> None:
    done = await turn(TOUCH, "--mode", "both", editor="allow_once")

    assert (done.made, done.said["asked"][0]) == ("made\n", ["allow_once", "reject_once"])


async def test_in_both_places_the_answer_here_wins_over_a_silent_editor(turn: Any) -> None:
    done = await turn(TOUCH, "--mode", "both", approved=False)

    assert (done.made, len(done.said["asked"])) == (None, 1)


async def test_acpx_that_denies_everything_is_not_asked(npm_with: Callable[..., Path], tmp_path: Path) -> None:
    program = npm_with(*NPM["opencode"]) / "node_modules/.bin/opencode"
    acpx = npm_with(*NPM["acpx"]) / "node_modules/.bin"
    await asyncio.to_thread(furnish, tmp_path, (), ())
    work, broker = tmp_path / "work", Broker()
    async with on_a_port(model([TOUCH])) as port, serve(broker, Settings(port=0)) as site:
        (work / "opencode.json").write_text(json.dumps(config_for(port, {"*": "ask"})))
        gateway = [sys.executable, "-m", "notifier_service", "gateway", "acp", "--service", site.url, "--session", "s"]
        environment = environment_in(tmp_path)
        environment["PATH"] = f"{acpx}:{environment['PATH']}"
        process = await asyncio.create_subprocess_exec(
            acpx / "acpx", "--agent", shlex.join([*gateway, "--", str(program), "acp"]), "--deny-all",
            "--cwd", work, "exec", "go", env=environment, cwd=work,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        deciding = asyncio.create_task(decide(broker, {"approved": True}))
        async with asyncio.timeout(120):
            out, _ = await process.communicate()
        deciding.cancel()

    assert (work / "made.txt").exists(), out.decode()
