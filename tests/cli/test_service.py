"""``serve`` and ``demo`` start, say so, refuse what is wrong, and stop in an orderly way."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Client, Settings, __version__
from notifier_service.cli import main
from tests.cli.processes import Commands, line_of


async def url_of(process: Process) -> str:
    """The URL of the ready line."""
    line = await line_of(process.stdout)
    found = re.fullmatch(r"notifier-service (?:demo )?is ready: (http://127\.0\.0\.1:[0-9]+\S*)", line)
    assert found, line
    return found[1]


def write(name: str, text: str) -> None:
    Path(name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_serve_runs_on_the_fast_loop_where_that_is_installed(
    commands: Commands, tmp_path: Path, loop: str
) -> None:
    environment = {}
    if loop == "asyncio":
        (tmp_path / "uvloop.py").write_text("raise ImportError('as if it were not installed')")
        environment["PYTHONPATH"] = str(tmp_path)
    process = await commands.start("serve", "--port", "0", "--log-level", "debug", anew=True, env=environment)
    async with Client(await url_of(process)) as client:
        await client.publish("s", {"type": "note", "data": {"n": 1}})
        assert (await client.health("s"))["queue_size"] == 1
    process.send_signal(signal.SIGTERM)

    ended = await commands.ended(process)

    assert ended.exit_code == 0
    assert f"the event loop is {loop}\n" in ended.err


async def first(events: AsyncIterator[dict[str, Any]], event_type: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        async for event in events:
            if event["type"] == event_type:
                return event
    raise AssertionError(f"no {event_type}")


# serve


async def test_serve_prints_one_line_when_it_is_ready_and_ends_with_zero_at_sigterm(commands: Commands) -> None:
    process = await commands.start("serve", "--port", "0", anew=True)
    url = await url_of(process)
    async with Client(url) as client:
        health = await client.health("s")
    process.send_signal(signal.SIGTERM)

    ended = await commands.ended(process)

    assert url.endswith("/agent_backend")
    assert health["status"] == "healthy"
    assert (ended.exit_code, ended.out) == (0, "")


async def test_serve_ends_with_zero_at_ctrl_c(commands: Commands) -> None:
    process = await commands.start("serve", "--port", "0", anew=True)
    await url_of(process)
    process.send_signal(signal.SIGINT)

    assert (await commands.ended(process)).exit_code == 0


async def test_streams_get_bye_at_sigterm_and_do_not_hold_the_service(commands: Commands) -> None:
    process = await commands.start("serve", "--port", "0")
    async with Client(await url_of(process)) as client, aclosing(client.events("s")) as events:
        await first(events, "snapshot")
        process.send_signal(signal.SIGTERM)
        bye = await first(events, "bye")

    assert (bye["data"]["code"], bye["data"]["reconnect"]) == ("shutdown", True)
    assert bye["data"]["retry_ms"] >= 3000
    assert (await commands.ended(process)).exit_code == 0


async def test_second_signal_ends_the_service_at_once(commands: Commands) -> None:
    process = await commands.start("serve", "--port", "0", "--shutdown-seconds", "300")
    port = int((await url_of(process)).split(":")[2].partition("/")[0])
    _, slow = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /agent_backend/api/events/s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
    slow.write(head.encode() + b'Content-Length: 1000\r\n\r\n{"type": "note"}\n')
    async with Client(f"http://127.0.0.1:{port}/agent_backend") as client, aclosing(client.events("s")) as events:
        if (await first(events, "snapshot"))["data"]["last_event_id"].endswith("-0"):
            await first(events, "note")
        process.send_signal(signal.SIGTERM)
        await first(events, "bye")
    process.send_signal(signal.SIGTERM)

    assert (await commands.ended(process)).exit_code == 128 + signal.SIGTERM
    slow.close()


async def test_flags_reach_the_service(commands: Commands) -> None:
    process = await commands.start(
        "serve", "--port", "0", "--prefix", "/x/", "--heartbeat-seconds", "7", "--one-request-at-a-time"
    )
    url = await url_of(process)
    async with Client(url) as client, aclosing(client.events("s")) as events:
        hello = await first(events, "hello")
        await client.ask("s", "a", {})
        await client.ask("s", "b", {})
        pending = await client.pending("s")

    assert url.endswith("/x")
    assert hello["data"]["heartbeat_seconds"] == 7
    assert [record["tool_name"] for record in pending] == ["a"]


async def test_environment_and_file_reach_the_service_and_flags_win(commands: Commands) -> None:
    write(".env", "NOTIFIER_HEARTBEAT_SECONDS=9\nNOTIFIER_PREFIX=/file\n")
    environment = {"NOTIFIER_PREFIX": "/environment", "NOTIFIER_PORT": "1"}
    process = await commands.start("serve", "--port", "0", "--env-file", ".env", env=environment)
    url = await url_of(process)
    async with Client(url) as client, aclosing(client.events("s")) as events:
        hello = await first(events, "hello")

    assert url.endswith("/environment")
    assert hello["data"]["heartbeat_seconds"] == 9


async def test_own_settings_of_the_user_are_read_unless_a_file_is_named(commands: Commands, tmp_path: Path) -> None:
    own = tmp_path / "home" / "notifier-service" / "env"
    own.parent.mkdir(parents=True)
    own.write_text("NOTIFIER_PREFIX=/own\n")
    write("named", "NOTIFIER_PREFIX=/named\n")
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "home")}
    by_default = await commands.start("serve", "--port", "0", env=environment)
    named = await commands.start("serve", "--port", "0", "--env-file", "named", env=environment)

    assert (await url_of(by_default)).endswith("/own")
    assert (await url_of(named)).endswith("/named")


async def test_own_settings_that_others_may_write_refuse_to_start(commands: Commands, tmp_path: Path) -> None:
    own = tmp_path / "notifier-service" / "env"
    own.parent.mkdir()
    own.write_text("NOTIFIER_PREFIX=/own\n")
    own.chmod(0o666)

    ended = await commands.run_here("serve", env={"XDG_CONFIG_HOME": str(tmp_path)})

    assert ended.exit_code == 2
    assert ended.err == f"notifier-service: {own} is not read: others may write it (chmod go-w, chown)\n"


@pytest.mark.parametrize("named", ["missing", "folder", "binary"])
async def test_named_file_that_cannot_be_read_refuses_to_start(named: str, commands: Commands) -> None:
    Path("folder").mkdir()
    Path("binary").write_bytes(b"\xff\xfe")

    ended = await commands.run_here("serve", "--env-file", named)

    assert (ended.exit_code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("name", [".env", "stringprep.py", "rich.py", "ssl.py", "json.py"])
async def test_nothing_in_the_folder_it_is_started_in_has_a_say(name: str, commands: Commands, tmp_path: Path) -> None:
    theirs = "NOTIFIER_PREFIX=/theirs" if name == ".env" else "open('it-ran', 'w').close()"
    write(name, theirs + "\n")
    process = await commands.start("serve", "--port", "0", anew=True)
    url = await url_of(process)
    async with Client(url) as client:
        await client.health("s")
    # By name, as a person starts it.
    by_name = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("notifier-service")), "ask", "--help", stdout=asyncio.subprocess.DEVNULL
    )
    await by_name.wait()
    process.send_signal(signal.SIGTERM)
    ended = await commands.ended(process)

    assert url.endswith("/agent_backend")
    assert not Path("it-ran").exists()
    assert ("--env-file .env" in ended.err) == (name == ".env")


async def test_module_of_the_folder_does_not_stand_in_for_another_beside_an_agent(commands: Commands) -> None:
    write("my_agent.py", AGENT)
    write("stringprep.py", "open('it-ran', 'w').close()\n")
    process = await commands.start("serve", "--port", "0", "--agent", "my_agent:answer", anew=True)

    assert (await chat_of(await url_of(process), "hi"))[0]["content"] == "You said hi."
    assert not Path("it-ran").exists()


async def test_serve_with_tokens_asks_for_one(commands: Commands) -> None:
    tokens = [{"token": "t1", "rights": ["admin"], "sessions": ["*"]}]
    write("tokens.json", json.dumps(tokens))
    process = await commands.start("serve", "--port", "0", "--auth", "tokens", "--tokens-file", "tokens.json")
    url = await url_of(process)

    refused = await commands.run_here("publish", "s", "note", "--url", url)
    taken = await commands.run_here("publish", "s", "note", "--url", url, env={"NOTIFIER_TOKEN": "t1"})

    assert (refused.exit_code, refused.err) == (1, "notifier-service: This needs a token. (unauthenticated)\n")
    assert taken.exit_code == 0


async def test_requests_are_logged_without_their_query(commands: Commands) -> None:
    process = await commands.start("serve", "--port", "0")
    host = (await url_of(process)).removeprefix("http://").partition("/")[0]
    reader, writer = await asyncio.open_connection(*host.split(":"))
    writer.write(b"GET /healthz/live?token=secret HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    await reader.read()
    writer.close()
    process.send_signal(signal.SIGTERM)

    ended = await commands.ended(process)

    assert "127.0.0.1 GET /healthz/live 2" in ended.err
    assert "secret" not in ended.err


async def test_port_that_is_taken_is_told_and_ends_with_one(commands: Commands) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = await commands.run("serve", "--port", str(port), anew=True)

    assert (ended.exit_code, ended.out) == (1, "")
    assert f"notifier-service: cannot listen on 127.0.0.1 port {port}: " in ended.err
    assert "address already in use (settings host and port)" in ended.err
    assert "Traceback" not in ended.err


async def test_output_that_nobody_can_take_is_not_told_as_a_taken_port(commands: Commands) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    ended = await commands.run("serve", "--port", "0", anew=True, stdout=full)
    os.close(full)

    assert ended.exit_code != 0
    assert "cannot listen" not in ended.err


# The agent of the chat

AGENT = """
async def answer(turn):
    yield f"You said {turn.query}."
"""


async def chat_of(url: str, query: str) -> list[dict[str, Any]]:
    """What the chat answers, message by message."""
    host = url.removeprefix("http://").partition("/")[0]
    reader, writer = await asyncio.open_connection(*host.split(":"))
    path = f"/agent_chat_stream?query={query}"
    writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    async with asyncio.timeout(20):
        body = (await reader.read()).partition(b"\r\n\r\n")[2]
    writer.close()
    return [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: ")]


@pytest.mark.parametrize(
    ("flags", "environment"), [(["--agent", "my_agent:answer"], {}), ([], {"NOTIFIER_AGENT": "my_agent:answer"})]
)
async def test_agent_of_the_current_folder_answers_in_the_chat(
    flags: list[str], environment: dict[str, str], commands: Commands
) -> None:
    write("my_agent.py", AGENT)
    process = await commands.start("serve", "--port", "0", *flags, env=environment)

    said = await chat_of(await url_of(process), "hi")

    assert said == [{"type": "content", "content": "You said hi."}, {"type": "done"}]


@pytest.mark.parametrize(
    ("agent", "why"),
    [
        ("", "the form is package.module:function"),
        ("my_agent:other", "my_agent:other cannot be loaded: AttributeError: module 'my_agent' has no attribute"),
        ("broken:answer", "broken:answer cannot be loaded: SyntaxError: "),
    ],
)
async def test_agent_that_is_none_is_refused_with_one_line(agent: str, why: str, commands: Commands) -> None:
    write("my_agent.py", AGENT)
    write("broken.py", "def (")
    ended = await commands.run("serve", "--port", "0", "--agent", agent)

    assert (ended.exit_code, ended.out) == (2, "")
    assert ended.err.startswith(f"notifier-service: setting agent: {why}")
    assert ended.err.count("\n") == 1


# Refusals


@pytest.mark.parametrize("command", ["serve", "demo"])
async def test_unknown_variable_refuses_to_start_and_names_what_was_meant(command: str, commands: Commands) -> None:
    ended = await commands.run_here(command, env={"NOTIFIER_PROT": "8001"})

    message = "notifier-service: NOTIFIER_PROT: no such setting; did you mean NOTIFIER_PORT?\n"
    assert (ended.exit_code, ended.out, ended.err) == (2, "", message)


@pytest.mark.parametrize("command", ["serve", "demo"])
async def test_wrong_flag_refuses_to_start(command: str, commands: Commands) -> None:
    ended = await commands.run_here(command, "--port", "eighty")

    assert (ended.exit_code, ended.out) == (2, "")
    assert ended.err.startswith("notifier-service: setting port (--port): Input should be a valid integer")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "65536"], "setting port (--port): Input should be less than or equal to 65535\n"),
        (["--heartbeat-seconds", "nan"], "setting heartbeat_seconds (--heartbeat-seconds): Input should be a finite"),
        (["--log-level", "loud"], "setting log_level (--log-level): Input should be 'debug', 'info', "),
        (["--prefix", "x"], "setting prefix (--prefix): a prefix is a plain path such as /agent_backend\n"),
        (["--host", "0.0.0.0"], "auth=none is allowed only on a loopback address, because "),
        (["--auth", "tokens"], "auth=tokens needs a tokens_file\n"),
        (["--auth", "tokens", "--tokens-file", "none.json"], "tokens_file cannot be read: No such file or directory\n"),
    ],
)  # fmt: skip
def test_wrong_value_is_named_with_its_flag(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"notifier-service: {message}")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("NOTIFIER_PORT", "x", "setting port (NOTIFIER_PORT): Input should be a valid integer"),
        (
            "notifier_stalled_seconds",
            "0",
            "setting stalled_seconds (NOTIFIER_STALLED_SECONDS): Input should be greater",
        ),
        pytest.param(
            "NOTIFIER_ZZZ",
            "x",
            "NOTIFIER_ZZZ: no such setting\n",
        ),
    ],
)
def test_wrong_value_is_named_with_its_variable(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)

    assert main(["serve"]) == 2
    assert capsys.readouterr().err.startswith(f"notifier-service: {message}")


def test_all_that_is_wrong_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "x", "--log-events", "0"]) == 2

    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[2] for line in lines] == ["log_events", "port"]


def test_wrong_value_is_never_echoed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("NOTIFIER_AUTH", "hunter2")

    assert main(["serve"]) == 2
    assert "hunter2" not in capsys.readouterr().err


def test_tokens_file_that_is_none_is_refused_without_its_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    write("tokens.json", '[{"token": "hunter2", "rights": ["fly"], "sessions": ["*"]}]')

    assert main(["serve", "--auth", "tokens", "--tokens-file", "tokens.json"]) == 2

    error = capsys.readouterr().err
    assert error.startswith("notifier-service: tokens_file is not as expected: 0.rights.0: ")
    assert "hunter2" not in error


# demo


async def test_demo_says_what_to_do_works_and_leaves_no_folder_behind(commands: Commands) -> None:
    process = await commands.start("demo", "--port", "0", "--pause", "0")
    url = await url_of(process)
    folder = (await line_of(process.stdout, "An agent works in session 'demo', in ")).rpartition(" ")[2]
    respond = await line_of(process.stdout, "say yes")
    watch = await line_of(process.stdout, " watch demo")
    async with Client(url) as client, aclosing(client.events("demo")) as events:
        await first(events, "permission_request")
        await client.decide("demo", {"approved": True})
        await line_of(process.stdout, "agent: write_file gave ")
        wrote = sorted(os.listdir(f"{folder}/notes"))
        while not (pending := await client.pending("demo")):
            await first(events, "permission_request")
        await client.decide("demo", {"approved": True, "request_id": pending[0]["request_id"]})
        await line_of(process.stdout, "agent: Round 1 is over.")
        await line_of(process.stdout, "agent: Round 2: I look at my notes.")
    process.send_signal(signal.SIGTERM)
    ended = await commands.ended(process)

    assert os.path.dirname(folder) == tempfile.gettempdir()
    assert wrote == ["round-1.md", "welcome.md"]
    assert f"curl -sS {url}/api/sse/permission-response/demo" in respond
    assert '"request_id": "pr_…"' in respond
    assert watch.endswith(f" watch demo --url {url}")
    assert (ended.exit_code, ended.err) == (0, "")
    assert os.path.basename(folder) not in os.listdir(tempfile.gettempdir())


@pytest.mark.parametrize(
    ("flags", "environment", "file"),
    [
        (["--log-level=info"], {}, ""),
        ([], {"NOTIFIER_LOG_LEVEL": "info"}, ""),
        pytest.param(
            [],
            {},
            "NOTIFIER_LOG_LEVEL=info",
        ),
    ],
)
async def test_demo_logs_what_it_is_told_to(
    flags: list[str], environment: dict[str, str], file: str, commands: Commands
) -> None:
    write("settings", file)
    process = await commands.start("demo", "--port=0", "--env-file=settings", *flags, env=environment)
    async with Client(await url_of(process)) as client:
        await client.health("demo")
    process.send_signal(signal.SIGTERM)

    assert "GET /agent_backend/api/sse/health/demo 200" in (await commands.ended(process)).err


async def test_demo_whose_output_is_no_longer_read_does_not_go_on_without_its_agent(commands: Commands) -> None:
    output, theirs = os.pipe()
    process = await commands.start("demo", "--port", "0", "--pause", "0", stdout=theirs)
    os.close(theirs)
    with os.fdopen(output, encoding="utf-8") as lines:
        url = (await asyncio.to_thread(lines.readline)).split()[-1]
        while "I would like to write" not in await asyncio.to_thread(lines.readline):
            pass
    async with Client(url) as client, aclosing(client.events("demo")) as events:
        await first(events, "permission_request")
        await client.decide("demo", {"approved": False})
        ended, goes_on = asyncio.create_task(process.wait()), asyncio.create_task(first(events, "permission_request"))
        done, left = await asyncio.wait({ended, goes_on}, timeout=2, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    if not done:
        raise TimeoutError


# Help


def test_help_lists_commands_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert [
        name for name in ("serve", "demo", "watch", "publish", "ask", "decide") if f"\n    {name} " not in text
    ] == []
    assert "3  the service does not answer" in text


async def test_help_of_serve_lists_every_setting_with_its_default(commands: Commands) -> None:
    ended = await commands.run_here("serve", "--help", env={"COLUMNS": "400"})

    assert ended.exit_code == 0
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in ended.out
        assert (field.description or "") in ended.out
        assert field.default is None or f"(default: {field.default or repr(field.default)})" in ended.out
    assert "--log-level {debug,info,warning,error}" in ended.out
    assert "--tokens-file FILE" in ended.out
    assert "--max-sessions-per-subject N" in ended.out
    assert "--jwt-audience JWT_AUDIENCE" in ended.out
    assert "--heartbeat-seconds SECONDS" in ended.out


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0

    assert capsys.readouterr().out == f"notifier-service {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["fly"], ["serve", "--fly"], ["serve", "extra"]])
def test_wrong_usage_ends_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: notifier-service")
