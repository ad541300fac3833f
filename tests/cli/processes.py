"""The command, started as a person or a script starts it."""

from __future__ import annotations

import asyncio
import contextvars
import io
import os
import random
import signal
import socket
import sys
import threading
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import Any, NamedTuple, TextIO

import pytest

from notifier_service.cli import main
from tests.forks import Fork, start

__all__ = ["Commands", "Finished", "free_port", "line_of"]

#: Far more than any step takes: it is there so that a failure ends.
_PATIENCE_SECONDS = 30


class Finished(NamedTuple):
    exit_code: int
    out: str
    err: str


class Commands:
    """Starts ``notifier-service`` and leaves nothing of it running."""

    def __init__(self) -> None:
        self._processes: list[tuple[str, Process | Fork]] = []

    async def start(
        self, *arguments: str, anew: bool = False, env: Mapping[str, str] | None = None, **ends: Any
    ) -> Process | Fork:
        """Start the command, ``anew`` if its start is what is tested; its ends are pipes unless others are given."""
        process = await start(*arguments, anew=anew, env={**os.environ, **(env or {})}, **ends)
        self._processes.append((arguments[0], process))
        return process

    async def run(self, *arguments: str, typed: str = "", **how: Any) -> Finished:
        """Run the command to its end."""
        return await self.ended(await self.start(*arguments, **how), typed)

    async def run_here(
        self, *arguments: str, typed: str = "", env: Mapping[str, str] | None = None, stdout: TextIO | None = None
    ) -> Finished:
        """Run the command to its end in a thread of this process, which takes a hundredth of the time."""
        finished: Future[Finished] = Future()

        def run() -> None:
            try:
                finished.set_result(_main(arguments, typed, env or {}, stdout))
            except BaseException as error:
                finished.set_exception(error)

        # Nobody waits for the thread of a command that does not end: its test fails, and the others go on.
        threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True).start()
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await asyncio.shield(asyncio.wrap_future(finished))

    async def ended(self, process: Process | Fork, typed: str = "") -> Finished:
        """Wait until a started command has ended."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            out, err = await process.communicate(typed.encode() or None)
        assert process.returncode is not None
        return Finished(process.returncode, (out or b"").decode(), (err or b"").decode())

    async def stop_all(self) -> None:
        """End what still runs, with all that it started: in an orderly way if it can, and in any case."""
        for command, process in self._processes:
            # A watch leaves nothing behind that would need an orderly end.
            for number in (signal.SIGINT, signal.SIGKILL)[command == "watch" :]:
                with suppress(ProcessLookupError, TimeoutError):
                    os.killpg(process.pid, number)
                    async with asyncio.timeout(5):
                        await process.wait()
            await process.communicate()


def _main(arguments: Sequence[str], typed: str, env: Mapping[str, str], stdout: TextIO | None) -> Finished:
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout or out), redirect_stderr(err):
        patch.setattr(sys, "stdin", io.StringIO(typed))
        for name, value in env.items():
            patch.setenv(name, value)
        try:
            exit_code: Any = main(arguments)
        except SystemExit as end:
            exit_code = end.code
    return Finished(exit_code, out.getvalue(), err.getvalue())


def free_port() -> int:
    """A port that stays free: none of those from which the system takes the near end of a connection."""
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


async def line_of(stream: asyncio.StreamReader | None, containing: str = "") -> str:
    """The next line of a command's output that contains this."""
    assert stream is not None
    read = []
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while line := (await stream.readline()).decode():
            read.append(line)
            if containing in line:
                return line.rstrip("\n")
    raise AssertionError(f"the output ended without {containing!r}: {''.join(read)}")
