"""What the stand-ins of model APIs have in common: one path on loopback that answers with a stream of events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

__all__ = ["listening", "streamed"]


@asynccontextmanager
async def listening(path: str, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """Answer what is posted to this path; the URL before it."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post(path, answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site.port}"
    finally:
        await runner.cleanup()


async def streamed(request: web.Request, events: Iterable[dict[str, Any]]) -> web.StreamResponse:
    """Answer with these events, each under its type."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for event in events:
        await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    return response
