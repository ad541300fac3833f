"""What a command loads before it does its work, in modules: whoever starts it often pays for each of them."""

from __future__ import annotations

import asyncio
import errno
import gc
import importlib
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import notifier_service
from notifier_service import Settings, bare, serve
from notifier_service.cli import main
from notifier_service.cli.hook import commands_of
from notifier_service.service_address import make_key
from notifier_service.web import preparation

ROOT = Path(__file__).parent.parent
READ = {"session_id": "s1", "hook_event_name": "PreToolUse", "tool_name": "Read", "tool_input": {"file_path": "/x"}}

_PROGRAM = """
import sys
sys.path[:0] = {path!r}
import os
before = set(sys.modules)
from notifier_service.cli import main
try:
    code = main({arguments!r})
except SystemExit as end:
    code = end.code
sys.stdout.flush()
print(*sorted(set(sys.modules) - before), file=sys.stderr)
raise SystemExit(code)
"""


def loaded(arguments: Sequence[str], typed: str = "", *, is_bare: bool = False) -> tuple[str, set[str]]:
    """What the command prints, and the modules that it loaded. ``is_bare``: with the standard library alone."""
    path = [str(ROOT)] if is_bare else [str(ROOT), *(folder for folder in sys.path if folder.endswith("site-packages"))]
    program = _PROGRAM.format(path=path, arguments=list(arguments))
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", program], input=typed, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, set(done.stderr.splitlines()[-1].split())


async def test_hook_that_asks_a_service_on_this_machine_loads_hardly_anything() -> None:
    make_key()
    async with serve(settings=Settings(port=0)) as site:
        url = ["--url", f"{site.url}/agent_backend"]
        claude = await asyncio.to_thread(loaded, ["hook", *url], json.dumps(READ), is_bare=True)
        codex = await asyncio.to_thread(
            loaded, ["hook", "--format", "codex", "--session", "s2", *url, "--guarded"], json.dumps(READ), is_bare=True
        )

    assert claude[0] == "{}\n"
    assert codex[0] == "answered\n"
    for _, modules in (claude, codex):
        assert not modules & {"argparse", "email", "enum", "hashlib", "http", "json", "re", "socket", "ssl", "typing"}
        assert len(modules) <= 11, modules


def test_settings_that_are_printed_start_the_hook_without_what_finds_modules_by_name() -> None:
    commands = commands_of("codex", "http://127.0.0.1:8000/agent_backend")

    assert " -m " not in commands.asks + commands.tells


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--guarded"],
        ["--format", "gemini", "--url", "http://x/y"],
        ["--session", "a b", "--timeout", "2.5"],
        ["--token", "t", "--format", "codex", "--format", "copilot"],
        ["--timeout=3", "--url=http://x"],  # and these are for the other reader
        ["--sess", "s"],
        ["--session", "-x"],
        ["--timeout", "soon"],
        ["--format", "none"],
        ["--session"],
        ["more"],
    ],
)
def test_arguments_mean_what_they_mean_to_argparse(arguments: list[str]) -> None:
    from notifier_service.cli import hook

    given = hook.Given.of(arguments)
    if given is not None:
        assert vars(given) == vars(hook.parsed_arguments(arguments))


VALUES: list[Any] = [
    {}, {"a": [1, 2.5, True, None, "ä\u202e\ud800", {"b": {}}], "": "\x00\"\\"}, [], "x", 0, -1.5e300, float("inf"),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_json_is_written_and_read_as_by_json(value: Any) -> None:
    assert bare.dumped(value) == json.dumps(value)
    assert bare.parsed(json.dumps(value)) == bare.parsed(f" {json.dumps(value)}\n".encode("utf-16")) == value


@pytest.mark.parametrize(
    "text", ["", "{", "{} {}", '{"a": 1, "a": 1}', "[" * 100_000, "nul", b"\xff", '"\n"', "1" * 9999]
)
def test_json_that_is_none_is_an_error(text: str | bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        bare.parsed(text)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000])
def test_digest_is_that_of_hmac(size: int) -> None:
    import hmac

    assert bare.hmac_sha256(b"k" * size, b"m" * size) == hmac.new(b"k" * size, b"m" * size, "sha256").hexdigest()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1", "http://127.0.0.1:8000/agent_backend", "http://localhost:1/x?wait=25.0&agent=a%20b",
        "http://x:y/", "http://127.0.0.1:99999/", "http://127.0.0.1:/", "http://[::1]:8000/x", "http://u:p@127.0.0.1/",
        "HTTP://LOCALHOST/x", "https://127.0.0.1:1/x", "http://127.0.0.1/x;y#z", "http:///x", "", "nonsense", "http://ä/",
        "http://127.0.0.1/x\n", "http://127.0.0.1:１/",
    ],
)  # fmt: skip
def test_url_has_the_parts_that_it_has(url: str) -> None:
    from urllib.parse import urlsplit

    def parts(split: Any) -> Any:
        address = split(url)
        try:
            port = address.port
        except ValueError:
            port = "none"
        return address.scheme, address.netloc, address.hostname, port, address.path, address.query

    assert parts(bare.split_url) == parts(urlsplit)


@pytest.mark.parametrize(
    ("sent", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}"),
        (b"HTTP/1.1 202 x\r\ncontent-LENGTH:  0\r\n\r\n", 202, b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", 200, b"{}"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}"),
        (b"HTTP/1.0 200 OK\n\n{}", 200, b"{}"),
        (b"HTTP/1.1 204 No\r\n\r\n", 204, b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", None, b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}", 200, b"{}"),
        (b"nonsense\r\n\r\n", None, b""),
        (b"x" * 70_000, None, b""),
        (b"", None, b""),
    ],
)
async def test_answer_is_read_as_by_http_client_whatever_its_pieces(
    sent: bytes, status: int | None, body: bytes
) -> None:
    import http.client

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for start in range(0, len(sent), 3 if len(sent) < 1000 else len(sent)):
            writer.write(sent[start : start + (3 if len(sent) < 1000 else len(sent))])
            await asyncio.sleep(0)
        writer.close()

    def asked(port: int) -> tuple[int | None, bytes]:
        connection = bare.HereConnection("127.0.0.1", port, 10)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return None, b""
        finally:
            connection.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        assert await asyncio.to_thread(asked, server.sockets[0].getsockname()[1]) == (status, body)


def test_version_is_told_without_reading_arguments() -> None:
    out, modules = loaded(["--version"], is_bare=True)

    assert out.startswith("notifier-service ")
    assert len(modules) <= 6, modules


def test_service_that_keeps_nothing_loads_nothing_to_keep_or_seal_it_with() -> None:
    program = "import sys, notifier_service.cli.service; print(*sys.modules)"
    loaded_at_start = set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.split()
    )

    assert "notifier_service.web.app" in loaded_at_start
    assert not loaded_at_start & {
        "cryptography",
        "jwt",
        "sqlite3",
        "prometheus_client",
        "notifier_service.storage.audit_log",
        "notifier_service.storage.journal",
        "notifier_service.storage.redaction",
        "notifier_service.web.openapi",
        "notifier_service.web.reach.webhooks",
    }


def test_garbage_is_collected_once_a_process_of_its_own_is_loaded_and_never_sought_among_that(
    tmp_path: Path,
) -> None:
    (tmp_path / "probe.py").write_text("import gc\nassert gc.isenabled() and gc.get_freeze_count() > 10_000\nagent = 1")
    command = [sys.executable, "-m", "notifier_service", "serve", "--port", "0", "--agent", "probe:agent"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}

    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    assert "probe:agent is no function" in done.stderr  # so it was loaded, and the assertion held


def test_program_that_calls_the_command_collects_garbage_as_it_did() -> None:
    was_enabled, frozen = gc.isenabled(), gc.get_freeze_count()

    with pytest.raises(SystemExit):
        main(["policy", "--help"])

    assert gc.isenabled() == was_enabled
    assert gc.get_freeze_count() <= frozen  # what was frozen may have gone meanwhile


async def test_service_that_has_no_descriptors_left_once_it_is_ready_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_console() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(preparation, "read_console", read_console)

    await preparation.prepare()


def test_every_model_of_the_package_can_be_built() -> None:
    for module in pkgutil.walk_packages(notifier_service.__path__, "notifier_service."):
        importlib.import_module(module.name)

    waiting = BaseModel.__subclasses__()
    while waiting:
        model = waiting.pop()
        waiting += model.__subclasses__()
        if model.__module__.startswith("notifier_service."):
            assert model.model_rebuild(force=True), model


def test_no_model_of_the_wire_is_built_before_the_service_is_ready_and_each_is_soon_after() -> None:
    program = """
import asyncio, notifier_service.cli.service
from notifier_service.core.events import EventData
from notifier_service.web.routes import ROUTES
from notifier_service.web.preparation import prepare
def built():
    waiting, found = [EventData, *(model for route in ROUTES for model in (route.query, route.body) if model)], set()
    while waiting:
        model = waiting.pop()
        waiting += model.__subclasses__()
        found.add(model.__pydantic_complete__)
    return found
print(built())
asyncio.run(prepare())
print(built())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "{False}\n{True}\n"


def test_help_of_a_command_loads_that_command_alone() -> None:
    out, modules = loaded(["ask", "--help"])

    assert "--wait" in out
    assert not modules & {"aiohttp", "asyncio", "pydantic", "json", "notifier_service.cli.service"}
    assert len(modules) <= 54, modules


async def test_gateway_before_a_running_service_loads_no_service() -> None:
    server = [sys.executable, "-S", "-c", "import sys; sys.stdin.read()"]
    async with serve(settings=Settings(port=0)) as site:
        _, modules = await asyncio.to_thread(loaded, ["gateway", "stdio", "--service", site.url, "--", *server])

    assert "notifier_service.mcp.stdio_relay" in modules
    assert not modules & {"notifier_service.web", "notifier_service.acp", "pydantic_settings"}


@pytest.mark.parametrize(
    ("command", "unused"),
    [
        ("token", {"notifier_service.web.app", "notifier_service.web.routes"}),
        ("serve", {"rich", "notifier_service.cli.watch", "notifier_service.cli.scripts"}),
        ("journal", {"aiohttp", "notifier_service.web"}),
        ("hook", {"asyncio", "notifier_service.core"}),
    ],
)
def test_command_loads_nothing_of_the_others(command: str, unused: set[str]) -> None:
    assert not loaded([command, "--help"])[1] & unused


def test_help_of_the_whole_lists_every_command_and_each_is_found_alone() -> None:
    out, _ = loaded(["--help"])

    listed = [line.split()[0] for line in out.splitlines() if line[:4] == "    " and line[4:5].strip()]
    assert {"serve", "ask", "watch", "hook", "proxy-config", "doctor"} <= set(listed)
    for command in set(listed) - {"COMMAND", "serve"}:
        with pytest.raises(SystemExit) as end:
            main([command, "--help"])
        assert end.value.code == 0
