"""Where ``serve`` listens beside host and port: a Unix socket, and what systemd hands over."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.cli.processes import Commands, free_port

_PATIENCE_SECONDS = 20


@asynccontextmanager
async def serving(*flags: str, ready: str = "notifier-service is ready: ", **how: object) -> AsyncIterator[Process]:
    commands = Commands()
    process = await commands.start("serve", *flags, **how)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            line = (await process.stdout.readline()).decode()
        assert line.startswith(ready), line
        yield process
    finally:
        await commands.stop_all()


async def live(path: Path) -> int:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.get("http://localhost/healthz/live") as answer,
    ):
        return answer.status


async def stopped(process: Process) -> None:
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(_PATIENCE_SECONDS):
        await process.wait()


async def test_unix_socket_answers_whom_it_is_for_and_is_gone_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "notifier.sock"

    async with serving(
        "--unix", str(path), "--unix-mode", "600", ready=f"notifier-service is ready: unix:{path}"
    ) as one:
        assert await live(path) == 200
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
            url = "http://localhost/agent_backend/api/events/s1"
            async with session.post(url, json={"type": "note"}) as answer:
                assert answer.status == 201
        await stopped(one)

    assert not path.exists()


async def test_it_listens_on_a_port_too_where_one_is_set(tmp_path: Path) -> None:
    path, port = tmp_path / "notifier.sock", free_port()

    async with serving("--unix", str(path), "--port", str(port)):
        assert await live(path) == 200
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/healthz/live") as answer:
            assert answer.status == 200


async def test_socket_that_a_killed_process_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "notifier.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()

    async with serving("--unix", str(path)):
        assert await live(path) == 200


async def test_place_that_is_taken_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path, file, folder = tmp_path / "notifier.sock", tmp_path / "file", tmp_path / "missing" / "x.sock"
    file.write_text("mine")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        for place, why in (
            (path, "somebody listens"),
            (file, "is no socket"),
            (folder, "No such file"),
            (tmp_path / ("x" * 120), "too long"),
        ):
            done = await Commands().run("serve", "--unix", str(place))

            assert done.exit_code == 1
            assert why in done.err
            assert "(setting unix)" in done.err
        assert path.exists()
    assert file.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
async def test_program_of_another_user_is_refused_without_tokens_also_over_the_socket(tmp_path: Path) -> None:
    path = Path(f"/tmp/notifier-{os.getpid()}-{tmp_path.name[-8:]}.sock")
    ask = (
        "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(b'GET /agent_backend/api/sessions HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n');"
        "print(s.recv(9000).split(b' ')[1].decode())"
    )
    async with serving("--unix", str(path), "--unix-mode", "666"):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", ask, str(path), stdout=PIPE)
        out, _ = await process.communicate()

        assert out.decode().strip() == "403"
    assert not path.exists()


#: As systemd does: descriptor 3 listens, and the variables name the process that is started.
_ACTIVATE = """
import os, socket, sys
kind, place = sys.argv[1], sys.argv[2]
one = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
one.bind(place if kind == "unix" else (place, 0))
if kind != "deaf":
    one.listen()
print(one.getsockname() if kind == "unix" else one.getsockname()[1], flush=True)
os.dup2(one.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-m", "notifier_service", "serve", *sys.argv[3:]])
"""


async def activated(*arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", _ACTIVATE, *arguments, stdout=PIPE, stderr=PIPE, pass_fds=()
    )


async def test_sockets_of_systemd_are_listened_on_in_the_place_of_host_and_port(tmp_path: Path) -> None:
    path = tmp_path / "activated.sock"
    process = await activated("unix", str(path))
    assert process.stdout is not None
    try:
        await process.stdout.readline()
        assert await live(path) == 200  # who connects before it is ready waits
        await stopped(process)
        assert path.exists()  # systemd's, who goes on listening
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [(("inet", "0.0.0.0"), "auth=none is allowed only on a loopback address"), (("deaf", "127.0.0.1"), "LISTEN_FDS")],
)
async def test_socket_that_must_not_be_listened_on_is_refused(arguments: tuple[str, str], why: str) -> None:
    process = await activated(*arguments)
    async with asyncio.timeout(_PATIENCE_SECONDS):
        _, err = await process.communicate()

    assert process.returncode == 2
    assert why in err.decode()


async def test_systemd_hears_that_it_is_ready_that_it_lives_and_that_it_stops(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        place = tmp_path / "notify.sock"
        manager.bind(str(place))
        manager.setblocking(False)
        loop = asyncio.get_running_loop()
        env = {"NOTIFY_SOCKET": str(place), "WATCHDOG_USEC": "300000"}

        async def heard(text: bytes) -> None:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while await loop.sock_recv(manager, 100) != text:
                    pass

        async with serving("--port", "0", env=env) as process:
            await heard(b"READY=1")
            await heard(b"WATCHDOG=1")
            await heard(b"WATCHDOG=1")
            await stopped(process)
            await heard(b"STOPPING=1")
