"""What the container image promises, seen in one that was built from this tree."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.cli.processes import free_port
from tests.image.buildah import ROOT, Container

PINNED = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)


def get(port: int, path: str, token: str | None = None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urlopen(Request(f"http://127.0.0.1:{port}{path}", headers=headers), timeout=5) as answer:
            status: int = answer.status
            return status
    except HTTPError as error:
        return error.code


@pytest.fixture
def at_port() -> dict[str, int]:
    return {"NOTIFIER_PORT": free_port()}


def test_it_is_a_user_who_can_write_nothing(container: Container) -> None:
    write = 'for folder in . /opt "$(dirname "$(command -v python)")"; do touch "$folder/x"; done'
    done = container.run("sh", "-c", f"id -u; pwd; {write}", environment={})

    assert done.stdout.split() == ["10001", "/"]
    assert done.stderr.count("Permission denied") == 3


def test_it_has_what_was_locked_and_no_pip(container: Container) -> None:
    listing = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()), sep='\\n')"
    done = container.run("python", "-c", listing, environment={})
    locked = dict(PINNED.findall((ROOT / "requirements/image.txt").read_text()))
    there = {name.lower().replace("_", "-"): version for name, version in PINNED.findall(done.stdout)}

    assert there.pop("notifier-service")
    assert there.items() <= locked.items()
    assert {"aiohttp", "uvloop", "pyjwt", "rich"} <= there.keys()


def test_it_is_healthy_when_it_serves_and_not_before(
    container: Container, at_port: dict[str, int], tokens: Path
) -> None:
    kind, *check = container.settings["Healthcheck"]["Test"]
    before = container.run(*check, environment=at_port)
    with container.serving(at_port, tokens) as service:
        after = container.run(*check, environment=at_port)

    assert kind == "CMD"
    assert "is ready" in service.said
    assert before.returncode != 0
    assert after.returncode == 0, after.stderr


def test_it_wants_a_token(container: Container, at_port: dict[str, int], tokens: Path) -> None:
    with container.serving(at_port, tokens) as service:
        assert "is ready" in service.said
        for path, token, status in [
            ("/agent_backend/api/permissions/s1", None, 401),
            ("/agent_backend/api/permissions/s1", "wrong", 401),
            ("/agent_backend/api/permissions/s1", "secret", 200),
            ("/agent_backend/", None, 200),
        ]:
            assert get(at_port["NOTIFIER_PORT"], path, token) == status, path


def test_it_does_not_start_without_tokens(container: Container, at_port: dict[str, int]) -> None:
    done = container.run(*container.settings["Entrypoint"], *container.settings["Cmd"], environment=at_port)

    assert done.returncode != 0
    assert "tokens_file" in done.stderr


def test_it_stops_in_two_seconds_with_a_stream_open(
    container: Container, at_port: dict[str, int], tokens: Path
) -> None:
    with (
        container.serving(at_port, tokens) as service,
        socket.create_connection(("127.0.0.1", at_port["NOTIFIER_PORT"]), timeout=5) as reader,
    ):
        reader.sendall(
            b"GET /agent_backend/api/sse/events/s1 HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer secret\r\n\r\n"
        )
        assert reader.recv(1 << 16).startswith(b"HTTP/1.1 200")
        status = Path(f"/proc/{service.pid}/status").read_text()
        ended = service.stop()

    assert ended == 0
    # The first process of a container gets no signal that it does not handle.
    assert int(status.partition("SigCgt:")[2].split()[0], 16) & 1 << signal.SIGTERM - 1
