"""The service as its users run it: a process of its own."""

from __future__ import annotations

import os
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.forks import Fork, start


def in_time() -> float:
    """The two seconds in which a service ends; as many times that as the machine has more to do than it can."""
    return 2 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@asynccontextmanager
async def service_process(*flags: str) -> AsyncIterator[tuple[Process | Fork, int]]:
    process = await start("serve", "--port", "0", "--log-level", "warning", *flags)
    assert process.stdout is not None
    try:
        ready = (await process.stdout.readline()).decode()
        if not ready:
            raise AssertionError((await process.communicate())[1].decode())
        yield process, int(ready.rsplit(":", 1)[1].partition("/")[0])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
