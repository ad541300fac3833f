"""The real Claude Code ends its run while nobody answers, and goes on when somebody has: offline."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
from typing import Any

import pytest

from notifier_service import Decision
from tests.integrations.claude_code import Begin, Run, bash, offline, started


async def parked(run: Run) -> dict[str, Any]:
    """Have the run end for its first call, and return what Claude Code says at its end."""
    hook = f"{sys.executable} -m notifier_service hook --session s1 --url {run.site.url} --defer 0.2"
    run.environment["XDG_STATE_HOME"] = str(run.folder / "state")
    settings = {
        event: [{"hooks": [{"type": "command", "command": hook, "timeout": 60}]}]
        for event in ("PreToolUse", "PostToolUse", "PostToolUseFailure", "Stop")
    }
    run.flags[:] = ["--settings", json.dumps({"hooks": settings})]
    process = await started(run.claude, run.folder, run.api, *run.flags, **run.environment)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    told: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    return told


async def resume(run: Run, *flags: str) -> tuple[int | None, str]:
    command = shlex.join([str(run.claude), "--output-format", "json", *run.flags])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "notifier_service", "resume", "--claude", command, *flags,
        env={"PATH": os.environ["PATH"], **offline(run.folder / "home", run.api), **run.environment},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(100):
        out, _ = await process.communicate()
    return process.returncode, out.decode()


def decide(run: Run, approved: bool, **more: Any) -> None:
    [card] = run.site.broker.open("s1").desk.pending
    run.site.broker.decide("s1", Decision(approved=approved, request_id=card.request_id, **more), decided_by="anna")


@pytest.mark.parametrize(
    ("decision", "files", "is_early"),
    [
        ({"approved": True}, ["asked"], True),
        ({"approved": True, "parameters": {"command": "touch edited", "description": "work"}}, ["edited"], False),
        ({"approved": False, "reason": "not on a Sunday"}, [], True),
        ({"approved": False, "reason": "not on a Sunday"}, [], False),
    ],
    ids=["approved before", "edited while resume waits", "rejected before", "rejected while resume waits"],
)
async def test_parked_run_goes_on_as_a_person_decides_and_once(
    begin: Begin, decision: dict[str, Any], files: list[str], is_early: bool
) -> None:
    run = await begin(bash("touch asked"))
    told = await parked(run)
    assert (told["stop_reason"], told["deferred_tool_use"]["id"]) == ("tool_deferred", "toolu_1")
    assert (run.files, run.api.results) == ([], {})

    if is_early:
        decide(run, **decision)
    else:
        asyncio.get_running_loop().call_later(2, lambda: decide(run, **decision))
    ended, said = await resume(run)

    assert ended == 0, said
    assert run.files == files
    result, is_error = run.api.results["toolu_1"]
    assert is_error is not decision["approved"]
    assert decision["approved"] or result.endswith("rejected by anna: not on a Sunday")
    assert await resume(run) == (0, "No run has ended until a person answers.\n")
    assert run.site.broker.open("s1").desk.pending == ()


async def test_parked_runs_are_listed(begin: Begin) -> None:
    run = await begin(bash("touch asked"))
    told = await parked(run)

    _, said = await resume(run, "--json")
    [listed] = json.loads(said)
    assert (listed["status"], listed["tool_name"], listed["run_id"]) == ("pending", "Bash", told["session_id"])
    assert listed["folder"] == str(run.folder / "work")
