"""The application and its life: start, drain, stop."""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError

from ..broker import Broker, set_process_broker
from ..chat import Agent, Chat, load_agent
from ..demo_agent import DemoChat
from ..settings import Settings
from .auth import Authenticator, NoAuth, TokenAuth
from .boundary import AUTH, BROKER, SETTINGS, answer_errors
from .chat import CHAT
from .idempotency import IDEMPOTENCY, IdempotencyKeys
from .jwt_auth import JwtAuth
from .origin import add_cors_headers, guard_origin
from .routes import add_routes
from .sockets import SOCKETS, Sockets
from .tickets import TICKETS, Tickets

__all__ = ["AccessLog", "Site", "create_app", "serve", "server_log"]


def create_app(
    broker: Broker | None = None, settings: Settings | None = None, *, agent: Agent | None = None
) -> web.Application:
    """Return the service as an aiohttp application, to be run or to be mounted with ``add_subapp``.

    ``broker`` becomes the process's broker, the one that ``SimpleNotifier`` and ``ToolWrapper`` publish to; it is
    closed when the application shuts down. Without one, and without ``settings``, they are made from ``NOTIFIER_*``.
    ``agent`` answers in the chat: an async generator function that takes one ``ChatTurn``. Without one it is that of
    ``settings.agent``, or the demonstration agent.

    Raises ``InvalidInput`` when the ``agent`` of the settings, the ``tokens_file`` or the key of ``auth=jwt`` cannot be
    used.
    """
    settings = Settings() if settings is None else settings
    broker = Broker(settings) if broker is None else broker
    app = web.Application(middlewares=[answer_errors, guard_origin], client_max_size=settings.max_body_bytes)
    app[BROKER] = broker
    app[SETTINGS] = settings
    app[TICKETS] = Tickets()
    app[AUTH] = _authenticator(settings, app[TICKETS])
    app[SOCKETS] = Sockets()
    demo = DemoChat()
    if agent is None:
        agent = demo if settings.agent is None else load_agent(settings.agent)
    app[CHAT] = Chat(broker, agent)
    app[IDEMPOTENCY] = IdempotencyKeys()
    add_routes(app, settings.prefix)
    app.on_shutdown.append(_close_broker)

    async def clean_up(app: web.Application) -> None:
        await app[CHAT].drain(settings.shutdown_seconds / 4)
        demo.close()

    app.on_cleanup.append(clean_up)
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
async def serve(
    broker: Broker | None = None, settings: Settings | None = None, *, agent: Agent | None = None
) -> AsyncIterator[Site]:
    """Run the service inside any asyncio program, listening on ``settings.host`` and ``settings.port``.

    On leaving, the listener closes first, streams get ``bye``, pending requests are cancelled, and within
    ``shutdown_seconds`` everything has ended. Raises ``OSError`` when the address is taken.
    """
    settings = Settings() if settings is None else settings
    broker = Broker(settings) if broker is None else broker
    runner = web.AppRunner(
        create_app(broker, settings, agent=agent),
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


class _NoSubprotocols(logging.Filter):
    """aiohttp logs the subprotocols that a socket's client asks for, and some clients put their token there."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "protocols" not in str(record.msg)


logging.getLogger("aiohttp.websocket").addFilter(_NoSubprotocols())

#: The ``logger`` to give to your own runner, beside ``AccessLog``, when the service is mounted in another application.
server_log = logging.getLogger("notifier_service.server")
server_log.addFilter(_NoRequestText())


#: What looks like a JWT or a ticket, and what follows token= where somebody wrote & in the place of ?.
_TOKENS_IN_PATH = re.compile(r"(?:eyJ|tk_)[\w.-]{16,}|(?<=token=)[^/&]+|(?<=ticket=)[^/&]+")


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
            _TOKENS_IN_PATH.sub("***", request.rel_url.raw_path),
            response.status,
            time * 1000,
        )

    @property
    def enabled(self) -> bool:
        return self.logger.isEnabledFor(logging.INFO)


async def _close_broker(app: web.Application) -> None:
    app[BROKER].close()
    app[SOCKETS].end_in(app[SETTINGS].shutdown_seconds / 16)


def _authenticator(settings: Settings, tickets: Tickets) -> Authenticator:
    """The way of authentication that the settings name."""
    if settings.auth == "tokens" and settings.tokens_file is not None:
        return TokenAuth(settings.tokens_file, tickets)
    if settings.auth == "jwt":
        return JwtAuth(settings, tickets)
    return NoAuth(tickets)
