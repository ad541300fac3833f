"""``hook --defer`` and ``resume``: a run that ends while nobody answers goes on when somebody has."""

from __future__ import annotations

import asyncio
import json
import shlex
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Decision
from notifier_service.web import Site
from tests.cli.processes import Commands, Finished, free_port

CALL = {"session_id": "run-1", "hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_use_id": "t1"}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs are remembered."""
    monkeypatch.setattr("notifier_service.cli.hook.AWAY_SECONDS", 0)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "notifier-service" / "parked"


@pytest.fixture
def claude(tmp_path: Path) -> str:
    """A program that notes in which folder it was started with what, and ends with 7."""
    program = tmp_path / "claude.py"
    note = "open(sys.argv[1], 'a').write(json.dumps([os.getcwd(), sys.argv[2:]]) + '\\n')"
    program.write_text(f"import json, os, sys\n{note}\nsys.exit(7)\n")
    return shlex.join([sys.executable, str(program), str(tmp_path / "started")])


def started(tmp_path: Path) -> list[Any]:
    file = tmp_path / "started"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


async def parked(commands: Commands, folder: Path, *flags: str, **more: Any) -> Finished:
    hook = json.dumps({**CALL, "tool_input": {"command": "rm x"}, "cwd": str(folder), **more})
    return await commands.run_here("hook", "--session", "s1", "--defer", "0.05", *flags, typed=hook)


def decide(site: Site, approved: bool = True) -> None:
    for card in site.broker.open("s1").desk.pending:
        site.broker.decide("s1", Decision(approved=approved, request_id=card.request_id), decided_by="anna")


async def test_run_is_remembered_for_its_user_alone(
    commands: Commands, site: Site, tmp_path: Path, state: Path
) -> None:
    done = await parked(commands, tmp_path)

    assert done.exit_code == 0
    assert json.loads(done.out)["hookSpecificOutput"]["permissionDecision"] == "defer"
    [file] = state.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    [listed] = json.loads((await commands.run_here("resume", "--json")).out)
    assert (listed["run_id"], listed["folder"], listed["status"]) == ("run-1", str(tmp_path), "pending")
    assert "pending  Bash" in (await commands.run_here("resume", "--list")).out


@pytest.mark.parametrize("approved", [True, False])
async def test_run_goes_on_in_its_folder_when_it_is_decided_and_once(
    commands: Commands, site: Site, tmp_path: Path, claude: str, approved: bool
) -> None:
    await parked(commands, tmp_path)
    two = [asyncio.ensure_future(commands.run_here("resume", "--claude", claude)) for _ in range(2)]
    while site.broker.connections == 0:  # noqa: ASYNC110  # the command runs in a thread
        await asyncio.sleep(0.01)
    assert started(tmp_path) == []
    decide(site, approved)

    assert sorted([(await one).exit_code for one in two]) == [0, 7]  # one has nothing left to do
    assert started(tmp_path) == [[str(tmp_path), ["-p", "--resume", "run-1"]]]
    assert "No run has ended" in (await commands.run_here("resume", "--claude", claude)).err


async def test_each_goes_on_when_it_is_decided(commands: Commands, site: Site, tmp_path: Path, claude: str) -> None:
    await parked(commands, tmp_path)
    await parked(commands, tmp_path, session_id="run-2")
    decide(site)
    one = await commands.run_here("resume", "run-2", "--claude", claude)
    assert [more[-1] for _, more in started(tmp_path)] == ["run-2"]
    others = await commands.run_here("resume", "--claude", claude)

    assert [more[-1] for _, more in started(tmp_path)] == ["run-2", "run-1"]
    assert (one.exit_code, others.exit_code) == (7, 7)


async def test_run_that_cannot_go_on_is_there_still(
    commands: Commands, site: Site, tmp_path: Path, claude: str
) -> None:
    await parked(commands, tmp_path)
    decide(site)
    failed = await commands.run_here("resume", "--claude", "/no/such/claude")
    unknown = await commands.run_here("resume", "another-run", "--claude", claude)

    assert (failed.exit_code, unknown.exit_code) == (1, 1)
    assert "/no/such/claude cannot be started" in failed.err
    assert "no run another-run" in unknown.err
    assert (await commands.run_here("resume", "--claude", claude)).exit_code == 7


async def test_service_that_is_away_has_nothing_go_on(
    commands: Commands, site: Site, tmp_path: Path, claude: str, state: Path
) -> None:
    await parked(commands, tmp_path)
    [file] = state.iterdir()
    file.write_text(json.dumps({**json.loads(file.read_text()), "url": f"http://127.0.0.1:{free_port()}"}))

    assert (await commands.run_here("resume", "--list")).exit_code == 3
    assert started(tmp_path) == []
    assert file.exists()


async def test_run_of_which_the_service_knows_nothing_goes_on_and_asks_again(
    commands: Commands, site: Site, tmp_path: Path, claude: str
) -> None:
    await parked(commands, tmp_path)
    site.broker.look("s1").close("session_closed")

    await commands.run_here("resume", "--claude", claude)
    assert len(started(tmp_path)) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"run_id": 7}', '{"run_id": "x", "more": "y"}'])
async def test_file_that_is_none_of_ours_is_passed_over(commands: Commands, state: Path, text: str) -> None:
    state.mkdir(parents=True)
    (state / "odd.json").write_text(text)

    done = await commands.run_here("resume", "--claude", "false")
    assert (done.exit_code, done.err) == (0, "No run has ended until a person answers.\n")


@pytest.mark.parametrize("approved", [True, False])
async def test_hook_that_is_answered_in_time_parks_nothing(
    commands: Commands, site: Site, tmp_path: Path, state: Path, approved: bool
) -> None:
    asked = asyncio.ensure_future(parked(commands, tmp_path, "--defer", "30"))
    while not site.broker.open("s1").desk.pending:  # noqa: ASYNC110  # the command runs in a thread
        await asyncio.sleep(0.01)
    decide(site, approved)

    told = json.loads((await asked).out)["hookSpecificOutput"]["permissionDecision"]
    assert told == ("allow" if approved else "deny")
    assert not state.exists()


async def test_place_that_cannot_be_written_is_told_and_the_run_ends_all_the_same(
    commands: Commands, site: Site, tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("a file")
    done = await parked(commands, tmp_path)

    assert json.loads(done.out)["hookSpecificOutput"]["permissionDecision"] == "defer"
    assert "resume will not find this run, run-1" in done.err


@pytest.mark.parametrize(
    "flags",
    [
        ["--defer", "0"],
        ["--defer", "-1"],
        ["--defer", "9999"],
        ["--defer", "nan"],
        ["--defer", "1", "--format", "codex"],
    ],
)
async def test_wrong_use_is_a_denial(commands: Commands, flags: list[str]) -> None:
    done = await commands.run_here("hook", *flags, typed=json.dumps(CALL))

    assert (done.exit_code, done.out) == (2, "")


async def test_printed_settings_run_the_command_that_remembers(commands: Commands) -> None:
    done = await commands.run_here("hook", "--print-config", "--defer", "90")

    [asking] = json.loads(done.out)["hooks"]["PreToolUse"]
    [hook] = asking["hooks"]
    assert hook["type"] == "command"
    assert "--defer 90" in hook["command"]
