"""The application and its life: start, drain, stop."""

from __future__ import annotations

import logging
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError

from ..broker import Broker, set_process_broker
from ..settings import Settings
from .auth import authenticator
from .boundary import AUTH, BROKER, SETTINGS, answer_errors
from .idempotency import IDEMPOTENCY, IdempotencyKeys
from .origin import add_cors_headers, guard_origin
from .routes import add_routes

__all__ = ["AccessLog", "Site", "create_app", "serve", "server_log"]


def create_app(broker: Broker | None = None, settings: Settings | None = None) -> web.Application:
    """Return the service as an aiohttp application, to be run or to be mounted with ``add_subapp``.

    ``broker`` becomes the process's broker, the one that ``SimpleNotifier`` and ``ToolWrapper`` publish to; it is
    closed when the application shuts down. Without one, and without ``settings``, they are made from ``NOTIFIER_*``.
    Raises ``InvalidInput`` when the ``tokens_file`` cannot be used.
    """
    settings = Settings() if settings is None else settings
    broker = Broker(settings) if broker is None else broker
    app = web.Application(middlewares=[answer_errors, guard_origin], client_max_size=settings.max_body_bytes)
    app[BROKER] = broker
    app[SETTINGS] = settings
    app[AUTH] = authenticator(settings)
    app[IDEMPOTENCY] = IdempotencyKeys()
    add_routes(app, settings.prefix)
    app.on_shutdown.append(_close_broker)
    app.on_response_prepare.append(add_cors_headers)
    set_process_broker(broker)
    return app


@dataclass(frozen=True, slots=True)
class Site:
    """A running service."""

    broker: Broker
    settings: Settings
    host: str
    port: int

    @property
    def url(self) -> str:
        """Where it listens, without the prefix."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@asynccontextmanager
async def serve(broker: Broker | None = None, settings: Settings | None = None) -> AsyncIterator[Site]:
    """Run the service inside any asyncio program, listening on ``settings.host`` and ``settings.port``.

    On leaving, the listener closes first, streams get ``bye``, pending requests are cancelled, and within
    ``shutdown_seconds`` everything has ended. Raises ``OSError`` when the address is taken.
    """
    settings = Settings() if settings is None else settings
    broker = Broker(settings) if broker is None else broker
    runner = web.AppRunner(
        create_app(broker, settings),
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
        yield Site(broker, settings, settings.host, site.port)
    finally:
        await runner.cleanup()


class _NoRequestText(logging.Filter):
    """aiohttp logs the text of a request that it cannot parse, and that text may hold a token."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError | web.RequestPayloadError | zlib.error):
            record.msg = f"{record.msg}: what came in cannot be read ({type(error).__name__})"
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True


#: The ``logger`` to give to your own runner, beside ``AccessLog``, when the service is mounted in another application.
server_log = logging.getLogger("notifier_service.server")
server_log.addFilter(_NoRequestText())


class AccessLog(AbstractAccessLogger):
    """One line a request, without the query: a token never reaches a log.

    Give it to your own runner (``access_log_class=AccessLog``) when the service is mounted in another application.
    """

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        # The raw path: percent-encoded, so that nobody writes lines of their own into the log.
        self.logger.info(
            "%s %s %s %d %.0f ms",
            request.remote,
            request.method,
            request.rel_url.raw_path,
            response.status,
            time * 1000,
        )

    @property
    def enabled(self) -> bool:
        return self.logger.isEnabledFor(logging.INFO)


async def _close_broker(app: web.Application) -> None:
    app[BROKER].close()
