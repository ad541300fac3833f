"""``gateway stdio`` as an MCP client starts it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from notifier_service import Client, serve
from notifier_service.cli.gateway import made_up_session
from notifier_service.core.label import Label
from notifier_service.settings import Settings
from notifier_service.web import Site
from tests.cli.processes import Commands, Finished, free_port, line_of
from tests.mcp.http_stub import HttpStub
from tests.mcp.http_wiring import on_a_port
from tests.mcp.stdio_client import call, initialize

STUB = Path(__file__).parent.parent / "mcp" / "stub_server.py"


@pytest.fixture
def stub(tmp_path: Path) -> list[str]:
    return [sys.executable, "-I", "-S", str(STUB), str(tmp_path / "reached.jsonl")]


async def send(process: Process, message: Any) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(message).encode() + b"\n")
    await process.stdin.drain()


async def answer(process: Process) -> dict[str, Any]:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        message: dict[str, Any] = json.loads(await process.stdout.readline())
    return message


async def left(commands: Commands, process: Process) -> Finished:
    """The client leaves; how the gateway has ended."""
    assert process.stdin is not None
    process.stdin.close()
    return await commands.ended(process)


async def pending(client: Client, session_id: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while not (records := await client.pending(session_id)):  # noqa: ASYNC110  # the service is another process
            await asyncio.sleep(0.02)
    return records[0]


async def test_gateway_runs_the_service_itself_and_says_where(commands: Commands, stub: list[str]) -> None:
    process = await commands.start("gateway", "stdio", "--", *stub, anew=True)
    said = await line_of(process.stderr, "session")
    found = re.search(r"session (\S+), answer at (\S+)/#/s/(\S+)", said)
    assert found is not None
    session_id, url = found[1], found[2]
    assert found[3] == session_id

    await send(process, call(1, "write", {"path": "a"}))
    async with Client(url) as client:
        record = await pending(client, session_id)
        await client.decide(session_id, {"approved": True, "request_id": record["request_id"]})

    assert (await answer(process))["result"]["content"][0]["text"] == 'write ran with {"path": "a"}'
    ended = await left(commands, process)
    assert (ended.exit_code, ended.out) == (0, "")


async def test_running_service_is_asked(
    commands: Commands, stub: list[str], site: Site, client: Client, tmp_path: Path
) -> None:
    (folder := tmp_path / "tidy").mkdir()
    process = await commands.start(
        "gateway", "stdio", "--service", client.url, "--session", "mine", "--", *stub, cwd=folder
    )
    await send(process, initialize("claude-code"))
    await answer(process)
    await send(process, call(1, "write"))

    record = await pending(client, "mine")
    assert site.broker.open("mine").label == Label("tidy", "claude-code")
    await client.decide("mine", {"approved": False, "reason": "no", "request_id": record["request_id"]})

    assert (await answer(process))["result"]["content"][0]["text"] == "write did not run: rejected by local: no"
    await send(process, call(2, "read"))
    assert (await answer(process))["result"]["content"][0]["text"] == "read ran with {}"
    assert (await left(commands, process)).exit_code == 0


async def test_service_that_is_away_denies_everything_until_it_is_back(
    commands: Commands, stub: list[str], tmp_path: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/agent_backend"
    process = await commands.start("gateway", "stdio", "--service", url, "--", *stub)
    await send(process, call(1, "read"))

    denied = await answer(process)
    assert denied["result"]["isError"] is True
    assert b"tools/call" not in (tmp_path / "reached.jsonl").read_bytes()

    async with serve(settings=Settings(port=port)):
        await send(process, call(2, "read"))
        assert (await answer(process))["result"]["content"][0]["text"] == "read ran with {}"
    assert (await left(commands, process)).exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_gateway_and_server(commands: Commands, stub: list[str], number: signal.Signals) -> None:
    process = await commands.start("gateway", "stdio", "--", *stub)
    await send(process, call(1, "write"))
    await send(process, {"jsonrpc": "2.0", "id": 2, "method": "vendor/environment"})
    await answer(process)

    process.send_signal(number)

    async with asyncio.timeout(10):
        assert await process.wait() == 128 + signal.SIGTERM


def runs(process_id: int) -> bool:
    """Whether a process does something still; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("flags", "name"), [([], "stub_server.py"), (["--name", "files"], "files")])
async def test_people_are_told_which_server_has_the_tool(
    commands: Commands, stub: list[str], flags: list[str], name: str
) -> None:
    async with serve(settings=Settings(port=0)) as site, Client(f"{site.url}{site.settings.prefix}") as client:
        process = await commands.start(
            "gateway", "stdio", "--service", client.url, "--session", "s", *flags, "--", *stub
        )
        await send(process, call(1, "write"))

        assert (await pending(client, "s"))["server"] == name
        await left(commands, process)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them")
@pytest.mark.parametrize(
    "command",
    [
        "{server}; true",
        "sleep 1000 & echo $! >{pids}; {server}; true",
        "trap '' TERM INT HUP; sh -c 'trap \"\" TERM; echo $$ >{pids}; while :; do sleep 9; done' & {server}; sleep 99",
    ],
    ids=["a shell", "a child beside", "children that do not want to end"],
)
async def test_nothing_is_left_of_a_server_that_a_shell_started(
    commands: Commands, stub: list[str], tmp_path: Path, command: str
) -> None:
    async def is_left(end: signal.Signals | None) -> list[int]:
        folder = tmp_path / str(end)
        folder.mkdir()
        return await _left_after(end, commands, stub, folder, command)

    # At the same time: some take until the gateway has lost its patience.
    ends = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, None)
    assert await asyncio.gather(*map(is_left, ends)) == [[]] * len(ends)


async def _left_after(
    end: signal.Signals | None, commands: Commands, stub: list[str], folder: Path, command: str
) -> list[int]:
    """The processes of a server that go on after the gateway, which is ended in this way; None ends its input."""
    pids = folder / "pids"
    script = f"echo $$ >{folder / 'shell'}; " + command.format(server=shlex.join(stub), pids=pids)
    process = await commands.start("gateway", "stdio", "--", "sh", "-c", script)
    await send(process, {"jsonrpc": "2.0", "id": 1, "method": "vendor/environment"})
    started = [(await answer(process))["result"]["pid"]]

    if end is None:
        assert process.stdin is not None
        process.stdin.close()
    else:
        process.send_signal(end)
    async with asyncio.timeout(25):
        await process.wait()

    started += [int(file.read_text()) for file in (pids, folder / "shell") if file.exists()]
    return [process_id for process_id in started if runs(process_id)]


async def test_server_that_ends_takes_with_it_what_it_has_started(
    commands: Commands, stub: list[str], tmp_path: Path
) -> None:
    script = f"sleep 1000 & echo $! >{tmp_path / 'pid'}; {shlex.join(stub)}"
    process = await commands.start("gateway", "stdio", "--", "sh", "-c", script)

    await send(process, call(1, "die", {"code": 7}))
    async with asyncio.timeout(20):
        assert await process.wait() == 7

    assert not runs(int((tmp_path / "pid").read_text()))


async def test_server_gets_the_environment_without_what_is_ours(commands: Commands, stub: list[str]) -> None:
    secrets = {"NOTIFIER_TOKEN": "s3cret", "notifier_token": "s3cret"}
    process = await commands.start("gateway", "stdio", "--", *stub, env=os.environ | secrets | {"MY_OWN": "1"})

    await send(process, {"jsonrpc": "2.0", "id": 1, "method": "vendor/environment"})

    environment = (await answer(process))["result"]["env"]
    assert environment["MY_OWN"] == "1"
    assert "s3cret" not in environment.values()
    assert (await left(commands, process)).exit_code == 0


async def test_exit_code_of_the_server_is_passed_on(commands: Commands, stub: list[str]) -> None:
    process = await commands.start("gateway", "stdio", "--", *stub)
    await send(process, call(1, "die", {"code": 7}))

    async with asyncio.timeout(20):
        assert await process.wait() == 7


async def test_files_may_stand_in_for_the_client(commands: Commands, stub: list[str], tmp_path: Path) -> None:
    typed, printed = tmp_path / "typed", tmp_path / "printed"
    typed.write_text(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "vendor/environment"}))
    with typed.open("rb") as source, printed.open("wb") as sink:
        process = await commands.start("gateway", "stdio", "--", *stub, stdin=source, stdout=sink)
        async with asyncio.timeout(20):
            assert await process.wait() == 0

    assert json.loads(printed.read_text())["id"] == 1


@pytest.mark.parametrize(("command", "exit_code"), [("no-such-command-here", 127), (os.devnull, 126)])
async def test_command_that_cannot_be_started_is_told(commands: Commands, command: str, exit_code: int) -> None:
    ended = await commands.run("gateway", "stdio", "--", command)

    assert ended.exit_code == exit_code
    assert ended.out == ""
    assert f"notifier-service: {command}: " in ended.err


async def test_wrong_setting_is_told_before_anything_starts(
    commands: Commands, stub: list[str], tmp_path: Path
) -> None:
    ended = await commands.run("gateway", "stdio", "--", *stub, env={"NOTIFIER_LOG_EVENTS": "x"})

    assert ended.exit_code == 2
    assert "log_events" in ended.err
    assert not (tmp_path / "reached.jsonl").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ["--session", "a/b"], ["--approval-timeout", "0"], ["--approval-timeout", "x"], ["--task-after", "x"],
        ["--task-after", "-1"], ["--task-after", "nan"], [],
    ],
)  # fmt: skip
async def test_wrong_usage_is_refused(commands: Commands, flags: list[str]) -> None:
    command = ["--", "true"] if flags else []

    assert (await commands.run_here("gateway", "stdio", *flags, *command)).exit_code == 2


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["npx", "-y", "@modelcontextprotocol/server-filesystem", "/tmp"], "server-filesystem"),
        (["/usr/bin/python3", "-m", "my server.py"], "my-server.py"),
        (["docker", "--rm"], "server"),
    ],
)
def test_session_is_named_after_the_server(command: list[str], name: str) -> None:
    assert re.fullmatch(rf"mcp-{re.escape(name)}-[0-9a-f]{{4}}", made_up_session(command))


# Before a server that listens


async def test_gateway_stands_before_a_server_that_listens(commands: Commands) -> None:
    stub = HttpStub()
    async with on_a_port(stub.app()) as port, aiohttp.ClientSession() as http:
        stub.port = port
        process = await commands.start("gateway", "http", stub.url, "--port", "0")
        said = await line_of(process.stderr, "session")
        found = re.search(r"session (mcp-127\.0\.0\.1-\S+), answer at (\S+)/#/s/", said)
        assert found is not None
        url = (await line_of(process.stdout, "is ready: ")).split()[-1]
        answer = asyncio.create_task(http.post(url, json=call(1, "write", {"path": "a"})))
        async with Client(found[2]) as client:
            record = await pending(client, found[1])
            await client.decide(found[1], {"approved": True, "request_id": record["request_id"]})
        result = (await (await answer).json())["result"]
        process.terminate()
        ended = await commands.ended(process)

    assert result["content"][0]["text"] == 'write ran with {"path": "a"}'
    assert (ended.exit_code, ended.out) == (0, "")


async def test_running_service_is_asked_about_a_server_that_listens(
    commands: Commands, site: Site, client: Client
) -> None:
    stub = HttpStub()
    async with on_a_port(stub.app()) as port, aiohttp.ClientSession() as http:
        stub.port = port
        process = await commands.start(
            "gateway", "http", stub.url, "--port", "0", "--service", client.url, "--session", "mine"
        )
        url = (await line_of(process.stdout, "is ready: ")).split()[-1]
        answer = asyncio.create_task(http.post(url, json=call(1, "write")))
        await pending(client, "mine")
        process.send_signal(signal.SIGINT)
        ended = await commands.ended(process)
        with pytest.raises(aiohttp.ClientError):
            await answer

    assert ended.exit_code == 0
    assert await client.pending("mine") == []
    assert stub.ran() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ftp://127.0.0.1/mcp"], "an http or https URL"),
        (["127.0.0.1:3001"], "an http or https URL"),
        (["http://127.0.0.1/mcp", "--host", "0.0.0.0"], "loopback"),
        (["http://127.0.0.1/mcp", "--port", "65536"], "port"),
    ],
)
async def test_wrong_arguments_of_the_http_gateway_are_refused(
    commands: Commands, arguments: list[str], said: str
) -> None:
    ended = await commands.run("gateway", "http", *arguments)

    assert ended.exit_code == 2
    assert said in ended.err


async def test_port_that_is_taken_is_told(commands: Commands, site: Site) -> None:
    ended = await commands.run("gateway", "http", "http://127.0.0.1/mcp", "--port", str(site.port))

    assert ended.exit_code == 1
    assert f"cannot listen on 127.0.0.1 port {site.port}" in ended.err
