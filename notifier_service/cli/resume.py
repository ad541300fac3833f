"""``resume``: go on with the runs of Claude Code that have ended until a person answers."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from ..client import Client
from ..core.errors import NotifierError, ServiceRefused, ServiceRestarted
from .parked import ParkedRun, park, parked_runs, take
from .scripts import TERMINAL
from .table import print_table

__all__ = ["add_commands"]

#: How long one question to the service is; a person may take longer.
_LOOK_SECONDS = 3600.0
#: Nobody knows it any more: whoever comes back with the call has it asked anew.
_UNKNOWN = "unknown"


def add_commands(commands: Any) -> None:
    parser = commands.add_parser(
        "resume",
        help="go on with runs of claude -p that ended until a person answers",
        description="Wait until a person has decided about the call for which a run of claude -p ended (hook --defer), "
        "and go on with the run in its folder: claude -p --resume RUN. Without RUN with all of them, each when it is "
        "decided. What the agent says goes to standard output.",
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="only this run, by Claude Code's own id of it")
    parser.add_argument("--list", action="store_true", help="print which runs have ended so, and go on with none")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    parser.add_argument("--token", help="better set as NOTIFIER_TOKEN, where ps does not show it")
    parser.add_argument(
        "--claude",
        default="claude",
        metavar="COMMAND",
        help="how Claude Code is started (claude), with what it needs besides: 'claude --settings hooks.json'",
    )
    parser.set_defaults(command=_resume)


async def _resume(arguments: argparse.Namespace) -> int:
    runs = [run for run in parked_runs() if arguments.run in (None, run.run_id)]
    if arguments.run is not None and not runs:
        print(f"notifier-service: no run {arguments.run} has ended until a person answers", file=sys.stderr)
        return 1
    async with AsyncExitStack() as stack:
        clients: dict[str, Client] = {}
        for run in runs:
            if run.url not in clients:
                client = Client(run.url, token=_token(arguments), user_agent=TERMINAL)
                clients[run.url] = await stack.enter_async_context(client)
        if arguments.list or arguments.json:
            return await _list(runs, clients, as_json=arguments.json)
        if not runs:
            print("No run has ended until a person answers.", file=sys.stderr)
        return await _go_on_with_each(runs, clients, shlex.split(arguments.claude))


def _token(arguments: argparse.Namespace) -> str | None:
    token: str | None = arguments.token or os.environ.get("NOTIFIER_TOKEN")
    return token


async def _list(runs: Sequence[ParkedRun], clients: dict[str, Client], *, as_json: bool) -> int:
    rows = [run._asdict() | {"status": await _status(clients[run.url], run)} for run in runs]
    if as_json:
        print(json.dumps(rows, indent=2))
    elif rows:
        cells = [(row["status"], row["tool_name"], row["run_id"], row["folder"]) for row in rows]
        print_table(("STATUS", "TOOL", "RUN", "FOLDER"), cells, whole=("RUN",))
    else:
        print("No run has ended until a person answers.", file=sys.stderr)
    return 0


async def _go_on_with_each(runs: Sequence[ParkedRun], clients: dict[str, Client], claude: Sequence[str]) -> int:
    """Each in its turn, as they are decided; the exit code is that of the last that failed."""
    waiting = {asyncio.create_task(_decided(clients[run.url], run)): run for run in runs}
    exit_code = 0
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                run = waiting.pop(task)
                print(f"notifier-service: {run.tool_name} of {run.run_id}: {task.result()}", file=sys.stderr)
                exit_code = await _go_on(run, claude) or exit_code
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return exit_code


async def _decided(client: Client, run: ParkedRun) -> str:
    while (status := await _status(client, run, wait_seconds=_LOOK_SECONDS)) == "pending":
        pass
    return status


async def _status(client: Client, run: ParkedRun, *, wait_seconds: float = 0) -> str:
    try:
        record = await client.request(run.session_id, run.request_id, wait_seconds=wait_seconds)
    except ServiceRestarted:
        return _UNKNOWN
    except ServiceRefused as refused:
        if refused.status != 404:
            raise
        return _UNKNOWN
    return str(record["status"])


async def _go_on(run: ParkedRun, claude: Sequence[str]) -> int:
    """Have Claude Code go on; nothing where somebody else has it do so. Its hook gets the answer, and nothing else."""
    if not take(run):
        return 0
    try:
        process = await asyncio.create_subprocess_exec(
            *claude, "-p", "--resume", run.run_id, cwd=run.folder, stdin=asyncio.subprocess.DEVNULL
        )
    except OSError as error:
        park(run)
        raise NotifierError(f"{claude[0]} cannot be started in {run.folder}: {error.strerror or error}") from None
    return await process.wait()
