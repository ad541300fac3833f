"""The command as a process of its own that has nothing to import: a fork of one that has imported everything.

Python and its imports take half a second of a core before a service listens; a fork has them. What a test says of the
start itself, of imports or of Python's environment, it has to say of a process that is started anew.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["Fork", "start"]

#: What Python, or a library, reads once and for all when it starts.
_READ_AT_THE_START = ("PYTHON", "LANG", "LC_", "LD_", "TZ")


def _read_at_the_start(env: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in env.items()
        if name.startswith(_READ_AT_THE_START) and name != "PYTHONDONTWRITEBYTECODE"
    }


_ENV = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFIER_")}


def _can_be_forked(env: Mapping[str, str], ends: Sequence[Any]) -> bool:
    """Whether a fork with this environment and these ends is what a process started anew would be."""
    return _read_at_the_start(env) == _read_at_the_start(_ENV) and not any(_is_terminal(end) for end in ends)


def _is_terminal(end: Any) -> bool:
    return end is None or (end not in (PIPE, DEVNULL) and os.isatty(end if isinstance(end, int) else end.fileno()))


class Fork:
    """As ``asyncio.subprocess.Process``, of a process that is another's child."""

    def __init__(self, told: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._told = told
        self._read = b""
        self._began = self._loop.create_future()
        self._ended = self._loop.create_future()
        self.stdin: asyncio.StreamWriter | None = None
        self.stdout: asyncio.StreamReader | None = None
        self.stderr: asyncio.StreamReader | None = None
        self._loop.add_reader(told, self._hear)

    def _hear(self) -> None:
        chunk = os.read(self._told, 100)
        self._read += chunk
        numbers = [int(line) for line in self._read.split(b"\n")[:-1]]
        for future, number in zip((self._began, self._ended), numbers, strict=False):
            if not future.done():
                future.set_result(number)
        if not chunk:
            self._loop.remove_reader(self._told)
            os.close(self._told)
            for future in (self._began, self._ended):
                if not future.done():
                    future.set_exception(AssertionError("the process that forks has ended"))

    async def begun(self, stdin: int | None, stdout: int | None, stderr: int | None) -> Fork:
        """This process, when it has begun, with our ends of its pipes."""
        await self._began
        if stdin is not None:
            transport, protocol = await self._loop.connect_write_pipe(
                asyncio.streams.FlowControlMixin, os.fdopen(stdin, "wb", 0)
            )
            self.stdin = asyncio.StreamWriter(transport, protocol, None, self._loop)
        self.stdout, self.stderr = await _reader(stdout), await _reader(stderr)
        return self

    @property
    def pid(self) -> int:
        return self._began.result()

    @property
    def returncode(self) -> int | None:
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    async def communicate(self, typed: bytes | None = None) -> tuple[bytes | None, bytes | None]:
        if self.stdin is not None:
            if typed:
                self.stdin.write(typed)
            self.stdin.close()
        outputs = [self.stdout, self.stderr]
        out, err = await asyncio.gather(*[_all_of(output) for output in outputs])
        await self.wait()
        return out, err

    def send_signal(self, number: int) -> None:
        if self.returncode is not None:
            raise ProcessLookupError
        with suppress(ProcessLookupError):  # it has ended, and we are about to hear of it
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


async def _all_of(output: asyncio.StreamReader | None) -> bytes | None:
    return None if output is None else await output.read()


@cache
def _starter() -> socket.socket:
    """Where the process hears of commands that forks them for all tests of this one, and ends with it."""
    ours, its = socket.socketpair()
    starter = subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).with_name("fork_starter.py")), str(its.fileno())],
        cwd="/", env=_ENV, pass_fds=[its.fileno()], start_new_session=True,
        # Not used, but pipes as those of nearly every fork: Python looks once at what they are.
        stdin=PIPE, stdout=PIPE,
    )  # fmt: skip
    its.close()

    def end() -> None:
        ours.close()
        starter.communicate()

    atexit.register(end)
    return ours


async def start(
    *arguments: str,
    anew: bool = False,
    env: Mapping[str, str] | None = None,
    stdin: Any = PIPE,
    stdout: Any = PIPE,
    stderr: Any = PIPE,
    cwd: Path | None = None,
) -> Process | Fork:
    """Start the command with these arguments; ``anew`` where it is the start that is tested."""
    env = {name: value for name, value in (env or os.environ).items() if name != "PYTHONDONTWRITEBYTECODE"}
    ends = (stdin, stdout, stderr)
    if not anew and _can_be_forked(env, ends):
        return await _fork({"arguments": arguments, "env": env, "cwd": str(cwd or Path.cwd())}, ends)
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "notifier_service", *arguments, env=env, cwd=cwd,
        stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True,
    )  # fmt: skip


async def _fork(command: Mapping[str, Any], ends: Sequence[Any]) -> Fork:
    told, tells = os.pipe()
    os.set_blocking(told, False)
    ours, its = zip(*[_end(end, is_read=number == 0) for number, end in enumerate(ends)], strict=True)
    line = json.dumps(command).encode() + b"\n"
    sent = socket.send_fds(_starter(), [line], [*its, tells])
    _starter().sendall(line[sent:])
    for end, number in [(PIPE, tells), *zip(ends, its, strict=True)]:
        if end in (PIPE, DEVNULL):
            os.close(number)
    return await Fork(told).begun(*ours)


def _end(end: Any, *, is_read: bool) -> tuple[int | None, int]:
    """What of an end is ours, if anything, and what is the process's."""
    if end == PIPE:
        read, write = os.pipe()
        return (write, read) if is_read else (read, write)
    if end == DEVNULL:
        return None, os.open(os.devnull, os.O_RDWR)
    return None, end if isinstance(end, int) else end.fileno()


async def _reader(end: int | None) -> asyncio.StreamReader | None:
    if end is None:
        return None
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(end, "rb", 0))
    return reader
