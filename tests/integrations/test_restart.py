"""The real Claude Code rides over a service that is killed while a person thinks: one question, one answer, one run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from notifier_service.cli import main
from notifier_service.core.errors import ServiceRefused
from tests.cli.test_asking_over_a_restart import ONCE, Service, approve, told, waiting

from .claude_code import bash, started
from .messages_api import MessagesApi, messages_api


@pytest.fixture
async def api() -> AsyncIterator[MessagesApi]:
    async with messages_api([bash("echo ran >> runs")]) as api:
        yield api


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("work", "home"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.parametrize("approved", [True, False])
async def test_claude_code_rides_over_a_kill_while_a_person_thinks(
    claude: Path, api: MessagesApi, folder: Path, approved: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Service(folder / "journal")
    main(["hook", "--print-config", "--session", "s", "--url", service.url])
    settings = json.loads(capsys.readouterr().out)
    command = {"type": "command", "command": _command(service, capsys), "timeout": 120}
    for hooks in settings["hooks"].values():
        hooks[0]["hooks"] = [command]

    async with service.running() as client:
        process = await started(claude, folder, api, "--settings", json.dumps(settings))
        before = await waiting(client)
    async with service.running() as client:
        after = await waiting(client)
        if approved:
            await approve(client, after)
        else:
            await client.decide("s", {"approved": False, "request_id": after["request_id"]})
        async with asyncio.timeout(120):
            out, err = await process.communicate()
        types = await told(client)
        if approved:
            with pytest.raises(ServiceRefused, match="Another run has taken"):
                await client.claim("s", after["request_id"], "another")

    assert process.returncode == 0, out.decode() + err.decode()
    assert after["request_id"] == before["request_id"]
    assert types == ONCE
    assert (folder / "work" / "runs").exists() is approved
    if approved:
        assert (folder / "work" / "runs").read_text() == "ran\n"


def _command(service: Service, capsys: pytest.CaptureFixture[str]) -> str:
    """The guarded command that is printed for an agent which takes no URL."""
    main(["hook", "--format", "codex", "--print-config", "--session", "s", "--url", service.url])
    printed = json.loads(capsys.readouterr().out)
    command: str = printed["hooks"]["PreToolUse"][0]["hooks"][0]["command"]
    return command.replace("--format codex", "--format claude")
