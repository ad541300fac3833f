"""The service as its users run it, often: each a process of its own, which has imported everything."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

#: Forks a service for each line of flags, says which process that is, and when it has ended.
_STARTER = """
import json, os, sys
from notifier_service.cli import main, service
import notifier_service.storage.journal, notifier_service.web.app
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = 1
        try:
            code = main(json.loads(line))
        finally:
            sys.stdout.flush()
            os._exit(code)
    print("pid", pid, flush=True)
    os.waitpid(pid, 0)
    print("ended", flush=True)
"""


class ForkedService:
    """Starts one service after the other."""

    def __init__(self, starter: asyncio.subprocess.Process) -> None:
        self._starter = starter
        self._pid = 0

    def kill(self) -> None:
        """As ``kill -9`` does."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    @asynccontextmanager
    async def running(self, *flags: str) -> AsyncIterator[int]:
        """A service with these flags, until it is killed here at the latest; the port at which it listens."""
        assert self._starter.stdin is not None
        given = ["serve", "--port", "0", "--log-level", "warning", *flags]
        self._starter.stdin.write(json.dumps(given).encode() + b"\n")
        port = 0
        while not (port and self._pid):
            line = await self._line()
            if line.startswith("pid "):
                self._pid = int(line[4:])
            else:
                port = int(line.rsplit(":", 1)[1].partition("/")[0])
        try:
            yield port
        finally:
            self.kill()
            self._pid = 0
            while await self._line() != "ended":
                continue

    async def _line(self) -> str:
        assert self._starter.stdout is not None
        line = (await self._starter.stdout.readline()).decode().rstrip("\n")
        if not line or (line == "ended" and self._pid):
            raise AssertionError("the service did not start")
        return line


@asynccontextmanager
async def forked_service() -> AsyncIterator[ForkedService]:
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _STARTER,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        yield ForkedService(starter)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(starter.pid, signal.SIGKILL)  # with a service that nobody has come to kill
        await starter.wait()
