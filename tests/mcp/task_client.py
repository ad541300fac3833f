"""What a client says that takes tasks, and how it polls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["TAKES", "TASKS", "polled"]

TASKS = "io.modelcontextprotocol/tasks"
#: The ``_meta`` of its requests.
TAKES: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}},
}


async def polled(
    ask: Callable[[], Awaitable[dict[str, Any]]],
    is_so: Callable[[dict[str, Any]], object] = lambda got: got["status"] != "working",
) -> dict[str, Any]:
    """Ask how a task is until it is so, which is not working if nothing else is said."""
    async with asyncio.timeout(15):
        while not is_so(got := await ask()):  # noqa: ASYNC110  # the protocol wants it to be polled
            await asyncio.sleep(0.01)
    return got
