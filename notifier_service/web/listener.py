"""An application that listens, for as long as somebody wants it to."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from ..settings import Settings
from .boundary import BROKER
from .door import Door
from .logs import AccessLog, server_log

__all__ = ["listening", "url_of"]


@asynccontextmanager
async def listening(app: web.Application, settings: Settings) -> AsyncIterator[int]:
    """Run the application on ``settings.host`` and ``settings.port``; the port that it has.

    Within ``shutdown_seconds`` everything has ended. Raises ``OSError`` when the address is taken.
    """
    broker = app.get(BROKER)
    door = Door(settings, Counter() if broker is None else broker.counters.limits_reached)
    app.middlewares.insert(0, door.passing)
    runner = _Runner(
        door,
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
        door.close()


class _Runner(web.AppRunner):
    """A runner whose connections come in through a door."""

    def __init__(self, door: Door, app: web.Application, **how: Any) -> None:
        super().__init__(app, **how)
        self._door = door

    @property
    def server(self) -> Any:
        """What makes the protocols of connections; asked once, by the site that listens."""
        server = super().server
        return None if server is None else self._door.making(server)


def url_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
