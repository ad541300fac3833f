"""An application that listens, for as long as somebody wants it to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from ..settings import Settings
from .logs import AccessLog, server_log

__all__ = ["listening", "url_of"]


@asynccontextmanager
async def listening(app: web.Application, settings: Settings) -> AsyncIterator[int]:
    """Run the application on ``settings.host`` and ``settings.port``; the port that it has.

    Within ``shutdown_seconds`` everything has ended. Raises ``OSError`` when the address is taken.
    """
    runner = web.AppRunner(
        app,
        handler_cancellation=True,  # a reader that leaves is noticed at once
        # aiohttp waits this long for handlers, cancels them, and may wait as long again.
        shutdown_timeout=settings.shutdown_seconds / 4,
        access_log_class=AccessLog,
        logger=server_log,
        keepalive_timeout=75,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port, backlog=1024)
        await site.start()
        yield site.port
    finally:
        await runner.cleanup()


def url_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
