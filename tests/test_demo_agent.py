"""The demonstration agent works in its folder, asks where it matters, and goes on after a no."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Decision
from notifier_service.demo_agent import DemoAgent, Workspace
from notifier_service.permissions import PermissionRequest


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


def told(broker: Broker, event_type: str) -> list[Any]:
    events = [json.loads(event.json) for event in broker.get("demo").log.read_after(0)]
    return [event["data"] for event in events if event["type"] == event_type]


async def next_request(broker: Broker) -> PermissionRequest:
    session = broker.open("demo")
    async with asyncio.timeout(20):
        while not session.desk.pending:
            await session.log.wait_after(session.log.last_seq)
    return session.desk.pending[0]


async def one_round(broker: Broker, workspace: Workspace, *answers: dict[str, Any], said: list[str]) -> None:
    """Let the agent work one round in which its requests are answered in this order."""
    round_one = asyncio.create_task(DemoAgent(broker, workspace, say=said.append).round(1))
    for answer in answers:
        request = await next_request(broker)
        broker.decide("demo", Decision(request_id=request.request_id, **answer), decided_by="ada")
    await round_one


async def test_listing_shows_folders_with_a_slash(workspace: Workspace) -> None:
    assert await workspace.call_tool("list_folder", {"path": "."}) == ["count_words.py", "notes/"]


async def test_what_was_written_can_be_read(workspace: Workspace) -> None:
    written = await workspace.call_tool("write_file", {"path": "notes/a.md", "text": "größe"})

    assert written == {"path": "notes/a.md", "bytes": 7}
    assert await workspace.call_tool("read_file", {"path": "notes/a.md"}) == "größe"


@pytest.mark.parametrize("path", ["..", "../x", "/etc/passwd", "notes/../../x", "link/x"])
@pytest.mark.parametrize("tool", ["list_folder", "read_file", "write_file"])
async def test_no_path_leads_out_of_the_folder(tool: str, path: str, workspace: Workspace) -> None:
    (workspace.folder / "link").symlink_to(workspace.folder.parent)

    with pytest.raises(ValueError, match="the path leads out of the workspace"):
        await workspace.call_tool(tool, {"path": path} | ({"text": ""} if tool == "write_file" else {}))

    assert not (workspace.folder.parent / "x").exists()


@pytest.mark.parametrize("name", ["delete", "_inside", "call_tool", "folder"])
async def test_only_the_four_tools_can_be_called(name: str, workspace: Workspace) -> None:
    with pytest.raises(ValueError, match=f"there is no tool {name}"):
        await workspace.call_tool(name, {})


async def test_program_runs_in_the_folder_and_tells_how_it_ended(workspace: Workspace) -> None:
    program = "import os, sys; print(os.getcwd()); print('oops', file=sys.stderr, flush=True); sys.exit(3)"

    result = await workspace.run_program([sys.executable, "-u", "-c", program])

    assert result == {"exit_code": 3, "output": f"{workspace.folder}\noops\n"}


async def test_program_that_takes_too_long_is_ended(workspace: Workspace) -> None:
    with pytest.raises(TimeoutError):
        await workspace.run_program([sys.executable, "-c", "import signal; signal.pause()"], timeout_seconds=0)


async def test_program_of_a_cancelled_call_is_killed(workspace: Workspace) -> None:
    output: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def on_start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        started = await reader.readline()
        call.cancel()
        output.set_result(started + await reader.read())  # ends when the program does
        writer.close()

    server = await asyncio.start_server(on_start, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    program = f"import signal, socket; socket.create_connection(('127.0.0.1', {port})).send(b'up\\n'); signal.pause()"
    call = asyncio.create_task(workspace.run_program([sys.executable, "-c", program], timeout_seconds=60))

    with pytest.raises(asyncio.CancelledError):
        await call

    assert await asyncio.wait_for(output, 20) == b"up\n"
    server.close()


async def test_round_writes_and_runs_after_two_yeses(broker: Broker, workspace: Workspace) -> None:
    said: list[str] = []

    await one_round(broker, workspace, {"approved": True}, {"approved": True}, said=said)

    assert (workspace.folder / "notes" / "round-1.md").read_text(encoding="utf-8").startswith("# Round 1\n")
    assert [(status["tool_name"], status["status"]) for status in told(broker, "tool_status")] == [
        ("list_folder", "executing"),
        ("list_folder", "completed"),
        ("read_file", "executing"),
        ("read_file", "completed"),
        ("write_file", "waiting_permission"),
        ("write_file", "executing"),
        ("write_file", "completed"),
        ("run_program", "waiting_permission"),
        ("run_program", "executing"),
        ("run_program", "completed"),
    ]
    assert told(broker, "tool_result")[-1]["result"] == {
        "exit_code": 0,
        "output": "round-1.md 11 words\nwelcome.md 7 words\n",
    }
    assert [message["text"] for message in told(broker, "agent_message")] == [
        "Round 1: I look at my notes.",
        "I would like to write notes/round-1.md.",
        "I would like to count the words with a program.",
        "Round 1 is over.",
    ]
    assert "write_file gave \"{'path': 'notes/round-1.md', 'bytes': 48}\"" in said


async def test_person_is_told_the_risk_and_the_agents_words(broker: Broker, workspace: Workspace) -> None:
    await one_round(broker, workspace, {"approved": False}, {"approved": False}, said=[])

    assert [(asked["tool_name"], asked["risk_level"]) for asked in told(broker, "permission_request")] == [
        ("write_file", "medium"),
        ("run_program", "high"),
    ]
    assert told(broker, "permission_request")[0]["description"] == "One step of the demonstration."


async def test_round_goes_on_after_a_no_and_says_why(broker: Broker, workspace: Workspace) -> None:
    said: list[str] = []

    await one_round(broker, workspace, {"approved": False, "reason": "not today"}, {"approved": False}, said=said)

    assert not (workspace.folder / "notes" / "round-1.md").exists()
    assert "Denied: write_file did not run: rejected by ada: not today" in said
    assert "Denied: run_program did not run: rejected by ada." in said
    assert said[-1] == "Round 1 is over."


async def test_edit_that_leads_out_of_the_folder_fails_and_the_round_goes_on(
    broker: Broker, workspace: Workspace
) -> None:
    said: list[str] = []
    outside = {"path": "../x", "text": ""}

    await one_round(broker, workspace, {"approved": True, "parameters": outside}, {"approved": False}, said=said)

    assert "write_file failed: ValueError: the path leads out of the workspace" in said
    assert said[-1] == "Round 1 is over."


async def test_agent_works_round_after_round_until_it_is_cancelled(broker: Broker, workspace: Workspace) -> None:
    work = asyncio.create_task(DemoAgent(broker, workspace, pause_seconds=0).run())
    for _ in range(4):
        request = await next_request(broker)
        broker.decide("demo", Decision(approved=False, request_id=request.request_id), decided_by="ada")
    request = await next_request(broker)
    work.cancel()

    with pytest.raises(asyncio.CancelledError):
        await work

    assert request.record.status == "cancelled"
    assert [asked["parameters"].get("path") for asked in told(broker, "permission_request")] == [
        "notes/round-1.md",
        None,
        "notes/round-2.md",
        None,
        "notes/round-3.md",
    ]
