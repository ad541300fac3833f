"""Pages with the real AI SDK and with the real client of AG-UI, and its validator, against the agent of the chat."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, ChatTurn, Decision, Settings, ToolDenied, report_progress, serve
from tests.integrations.environments import NPM, PYTHON

INSIDE = Path(__file__).with_name("inside")


async def deletes(turn: ChatTurn) -> AsyncIterator[str]:
    async def delete(path: str) -> dict[str, str]:
        return {"gone": path}

    yield "I will. "
    try:
        yield f"Done: {(await turn.tools(delete, risk_level='high')(turn.query))['gone']}"
    except ToolDenied as denial:
        yield str(denial)


async def says_everything(turn: ChatTurn) -> AsyncIterator[str | bytes | dict[str, Any]]:
    async def count() -> int:
        report_progress(1, 2, "half")
        return 2

    async def fails() -> None:
        raise ValueError("no disk")

    yield "I count. "
    yield {"type": "my own kind!", "n": await turn.tools(count, risk_level="low")()}
    yield b"\x00\xff"
    with suppress(ValueError):
        await turn.tools(fails, risk_level="low")()
    yield "And then I fail."
    raise RuntimeError("out of paper")


async def ran(*command: Any, cwd: Path | None = None) -> Any:
    process = await asyncio.create_subprocess_exec(
        *map(str, command), cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, (out + err).decode()
    return json.loads(out)


@pytest.fixture
async def api() -> AsyncIterator[tuple[Broker, str]]:
    broker = Broker()
    async with serve(broker, Settings(port=0), agent=deletes) as site:
        yield broker, f"{site.url}{site.settings.prefix}/api"


@pytest.mark.parametrize("version", ["ai 7", "ai 6"])
@pytest.mark.parametrize("way", ["approve", "reject", "reload", "hold"])
async def test_page_with_the_ai_sdk_is_asked(
    way: str, version: str, api: tuple[Broker, str], npm_with: Callable[..., Path]
) -> None:
    folder = await asyncio.to_thread(npm_with, *NPM[version])
    broker, url = api
    hold = f"?hold={int(way == 'hold')}&sdk={version[-1]}"
    page = asyncio.create_task(
        ran(folder / "node_modules/.bin/node", INSIDE / "ai_sdk_page.mjs", f"{url}/ai-sdk/s{hold}", way, cwd=folder)
    )
    if way == "hold":  # somebody answers on another screen
        session = broker.open("s")
        async with asyncio.timeout(30):
            while not session.desk.pending:
                await session.log.wait_after(session.log.last_seq)
        broker.decide("s", Decision(request_id=session.desk.pending[0].request_id, approved=True), decided_by="ada")
    done = await page

    assert done["problems"] == []
    if way != "hold":
        assert {said[1]["state"] for said in done["said"][:-1]} == {"approval-requested"}
    text, tool, rest = done["said"][-1]
    assert (text["text"], tool["input"]) == ("I will. ", {"path": "a.txt"})
    if way == "reject":
        assert (tool["state"], tool["approval"]["reason"]) == ("output-denied", "not now")
    else:
        assert (tool["state"], tool["output"], rest["text"]) == ("output-available", {"gone": "a.txt"}, "Done: a.txt")
    if version == "ai 7" and way == "hold":
        assert tool["approval"]["approved"] is True


@pytest.mark.parametrize("version", ["ai 7", "ai 6"])
async def test_sdk_knows_every_chunk(version: str, npm_with: Callable[..., Path]) -> None:
    folder = await asyncio.to_thread(npm_with, *NPM[version])
    node = folder / "node_modules/.bin/node"
    async with serve(Broker(), Settings(port=0), agent=says_everything) as site:
        url = f"{site.url}{site.settings.prefix}/api/ai-sdk/s?sdk={version[-1]}"
        done = await ran(node, INSIDE / "ai_sdk_page.mjs", url, "approve", cwd=folder)

    parts = done["said"][0]
    assert [part["type"] for part in parts] == [
        "text", "dynamic-tool", "data-my-own-kind-", "data-binary", "dynamic-tool", "text",
    ]  # fmt: skip
    assert (parts[1]["output"], parts[4]["errorText"]) == (2, "ValueError: no disk")
    assert done["problems"] == ["Error: RuntimeError: out of paper"]


@pytest.mark.parametrize(
    ("payload", "content"),
    [
        ({"approved": True}, '{"gone": "a.txt"}'),
        ({"approved": True, "editedArgs": {"path": "b.txt"}}, '{"gone": "b.txt"}'),
        ({"approved": False, "reason": "no"}, "delete did not run: rejected by local: no"),
    ],
)
async def test_client_of_ag_ui_is_interrupted_and_resumes(
    payload: Any, content: str, api: tuple[Broker, str], npm_with: Callable[..., Path]
) -> None:
    folder = await asyncio.to_thread(npm_with, *NPM["ag-ui"])
    node = folder / "node_modules/.bin/node"
    done = await ran(node, INSIDE / "ag_ui_page.mjs", f"{api[1]}/ag-ui/s", json.dumps(payload), cwd=folder)

    assert [(run[0], run[-1]) for run in done["runs"]] == [("RUN_STARTED", "RUN_FINISHED")] * 2
    assert next(message["content"] for message in done["messages"] if message["role"] == "tool") == content


async def test_validator_of_ag_ui_finds_no_error(api: tuple[Broker, str], python_with: Callable[..., Path]) -> None:
    python = await asyncio.to_thread(python_with, *PYTHON["ag-ui-validate"])
    report = await ran(python.with_name("ag-ui-validate"), f"{api[1]}/ag-ui/s", "--json")

    assert report["summary"]["errors"] == 0, report
