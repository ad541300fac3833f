"""Whoever asks rides over a service that is killed while a person thinks: one question, one answer, one run."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Client, ToolDenied
from notifier_service import ask as ask_a_service
from notifier_service.core.errors import NotifierError, ServiceRefused
from tests.cli.processes import Commands, free_port, line_of
from tests.cli.test_gateway import answer, left, send
from tests.mcp.stdio_client import call
from tests.mcp.task_client import TAKES, polled
from tests.service_process import service_process

STUB = Path(__file__).parent.parent / "mcp" / "stub_server.py"
HOOK = {
    "session_id": "s",
    "hook_event_name": "PreToolUse",
    "tool_name": "Bash",
    "tool_input": {"command": "rm x"},
    "tool_use_id": "t1",
}


class Service:
    """A service that is started again and again with the same journal at the same address."""

    def __init__(self, journal: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/agent_backend"
        self._flags = ["--journal", str(journal)]

    @asynccontextmanager
    async def running(self, number: signal.Signals = signal.SIGKILL) -> AsyncIterator[Client]:
        """A person at the service, which is ended so at the end."""
        async with service_process("--port", str(self.port), *self._flags) as (process, _):
            async with Client(self.url) as client:
                yield client
            process.send_signal(number)
            await process.wait()


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path / "journal")


async def waiting(client: Client) -> dict[str, Any]:
    """The one request that waits."""
    async with asyncio.timeout(30):
        while True:
            try:
                if pending := await client.pending("s"):
                    break
            except NotifierError:
                pass
            await asyncio.sleep(0.02)
    [request] = pending
    return request


async def approve(client: Client, request: dict[str, Any], **more: Any) -> None:
    await client.decide("s", {"approved": True, "request_id": request["request_id"], **more})


async def told(client: Client) -> list[str]:
    """What the session was told of requests, and of the end of its calls."""
    types = []
    async with asyncio.timeout(30):
        async for event in client.events("s", after="earliest"):
            if event["type"] == "marker":
                return types
            if event["type"].startswith("permission_") and "id" in event:
                types.append(event["type"])
            if event["type"] == "hello":
                await client.publish("s", {"type": "marker"})
    raise AssertionError("the stream ended")


ONCE = ["permission_request", "permission_response_result", "permission_cleared"]

Start = Callable[[Commands, Service], Awaitable[Process]]
End = Callable[[Commands, Process], Awaitable[bool]]


async def _script(commands: Commands, service: Service) -> Process:
    process = await commands.start("ask", "s", "deploy", '{"to": "live"}', "--wait", "--url", service.url)
    assert "waiting for a person" in await line_of(process.stderr)
    return process


async def _script_ran(commands: Commands, process: Process) -> bool:
    ended = await commands.ended(process)
    assert "waiting for a person" not in ended.err, ended  # said once
    return ended.exit_code == 0


async def _hook(commands: Commands, service: Service) -> Process:
    process = await commands.start("hook", "--url", service.url)
    assert process.stdin is not None
    process.stdin.write(json.dumps(HOOK).encode())
    process.stdin.write_eof()
    return process


async def _hook_ran(commands: Commands, process: Process) -> bool:
    ended = await commands.ended(process)
    assert ended.exit_code == 0, ended
    return bool(json.loads(ended.out)["hookSpecificOutput"]["permissionDecision"] == "allow")


async def _gateway(commands: Commands, service: Service, tool: str = "write") -> Process:
    server = [sys.executable, "-I", "-S", str(STUB), "/dev/null"]
    process = await commands.start("gateway", "stdio", "--service", service.url, "--session", "s", "--", *server)
    await send(process, call(1, tool, {"path": "a"}))
    return process


async def _gateway_ran(commands: Commands, process: Process) -> bool:
    text = (await answer(process))["result"]["content"][0]["text"]
    assert (await left(commands, process)).out == ""  # it ran once
    return bool(text == 'write ran with {"path": "a"}')


ASKERS = pytest.mark.parametrize(
    ("begin", "ran"),
    [(_script, _script_ran), (_hook, _hook_ran), (_gateway, _gateway_ran)],
    ids=["ask --wait", "hook", "gateway stdio"],
)


@ASKERS
async def test_asker_rides_over_a_kill_and_what_was_asked_before_is_answered_after(
    commands: Commands, service: Service, begin: Start, ran: End
) -> None:
    async with service.running() as client:
        process = await begin(commands, service)
        before = await waiting(client)
    async with service.running() as client:
        after = await waiting(client)
        await approve(client, after)

        assert await ran(commands, process)
        assert after["request_id"] == before["request_id"]
        assert await told(client) == ONCE
        with pytest.raises(ServiceRefused) as refused:
            await client.claim("s", after["request_id"], "another")

    assert refused.value.code == "already_claimed"


@ASKERS
async def test_person_who_approved_while_the_asker_was_away_has_approved(
    commands: Commands, service: Service, begin: Start, ran: End
) -> None:
    async with service.running(signal.SIGTERM) as client:
        process = await begin(commands, service)
        request = await waiting(client)
        process.send_signal(signal.SIGSTOP)
    async with service.running() as client:
        await approve(client, request)
    async with service.running() as client:
        process.send_signal(signal.SIGCONT)

        assert await ran(commands, process)
        assert await told(client) == ONCE


async def test_hook_that_was_killed_over_a_restart_comes_again_to_the_same_question(
    commands: Commands, service: Service
) -> None:
    async with service.running() as client:
        killed = await _hook(commands, service)
        request = await waiting(client)
        killed.kill()
        await killed.wait()
    async with service.running() as client:
        again = await _hook(commands, service)
        await approve(client, request)

        assert await _hook_ran(commands, again)
        assert await told(client) == ONCE


async def test_call_that_is_a_task_rides_over_a_kill_and_runs_once(commands: Commands, service: Service) -> None:
    server = [sys.executable, "-I", "-S", str(STUB), "/dev/null"]
    flags = ("--service", service.url, "--session", "s", "--task-after", "0")
    process = await commands.start("gateway", "stdio", *flags, "--", *server)

    async def got() -> dict[str, Any]:
        about = {"taskId": task["taskId"], "_meta": TAKES}
        await send(process, {"jsonrpc": "2.0", "id": 2, "method": "tasks/get", "params": about})
        result: dict[str, Any] = (await answer(process))["result"]
        return result

    async with service.running() as client:
        await send(process, call(1, "write", {"path": "a"}, _meta=TAKES))
        task = (await answer(process))["result"]
        await waiting(client)
    while_away = await got()
    async with service.running() as client:
        await approve(client, await waiting(client))
        ended = await polled(got)
        types = await told(client)

    assert while_away["statusMessage"] == "write waits for a person to decide."
    assert ended["result"]["content"][0]["text"] == 'write ran with {"path": "a"}'
    assert types == ONCE
    assert (await left(commands, process)).out == ""


async def test_library_rides_over_a_kill(service: Service) -> None:
    async with Client(service.url) as asker:
        async with service.running() as client:
            asking = asyncio.ensure_future(
                ask_a_service("s", "write", {"path": "a"}, service=asker, timeout_seconds=60)
            )
            await waiting(client)
        async with service.running() as client:
            request = await waiting(client)
            await client.decide("s", {"approved": False, "reason": "no", "request_id": request["request_id"]})

            with pytest.raises(ToolDenied, match=r"rejected by .*: no"):
                await asking
            assert await told(client) == ONCE


async def test_call_that_a_killed_gateway_had_begun_has_an_unknown_end(commands: Commands, service: Service) -> None:
    async with service.running() as client:
        process = await _gateway(commands, service, "silent")
        async with asyncio.timeout(30):
            async for event in client.events("s"):
                if event["type"] == "tool_status" and event["data"]["status"] == "executing":
                    break
        process.kill()
        await process.wait()
    async with service.running() as client:
        async with asyncio.timeout(30):
            async for event in client.events("s"):
                if event["type"] == "snapshot":
                    snapshot = event["data"]
                    break
        watching = await commands.start("watch", "s", "--url", service.url)
        line = await line_of(watching.stdout, "unknown")

    [begun] = snapshot["end_unknown"]
    assert snapshot["running"] == []
    assert (begun["tool_name"], begun["details"]["outcome"]) == ("silent", "unknown")
    assert "silent started, end unknown" in line
