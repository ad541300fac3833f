"""An application that listens, for as long as somebody wants it to."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from aiohttp import web

from ..settings import Settings
from .answers import unreadable
from .door import Door
from .logs import AccessLog, server_log
from .plain_connection import PlainConnections
from .request import BROKER
from .short_way import ShortWay, with_short_way
from .unix_socket import bound

__all__ = ["listening", "url_of"]


#: A connection on which nobody asks any more is kept for so long.
_SILENCE_SECONDS = 75
#: What each connection is given.
_HOW: Mapping[str, Any] = {"access_log_class": AccessLog, "logger": server_log, "keepalive_timeout": _SILENCE_SECONDS}


class _Connection(web.RequestHandler):
    """Answers what aiohttp cannot read in the one error shape, and without repeating it; says when it is over."""

    __slots__ = ("left",)

    def __init__(self, *arguments: Any, **how: Any) -> None:
        super().__init__(*arguments, **how)
        self.left: Callable[[], object] | None = None

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self.left is not None:
            self.left()
            self.left = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, ConnectionError):
            raise exc  # the peer has left, and nobody is to be told
        if status >= 500 and exc is not None:
            self.log_exception("a request failed", exc_info=exc)
        else:
            self.log_debug("a request cannot be read (%s)", type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionResetError("an answer is out already")
        return unreadable(status, exc)


class _Server(web.Server):
    """What ``web.AppRunner`` makes, with connections of ours."""

    def __init__(self, like: web.Server, way: ShortWay | None, door: Door) -> None:
        handler = like.request_handler if way is None else with_short_way(way, door, like.request_handler)
        super().__init__(handler, request_factory=like.request_factory, handler_cancellation=like.handler_cancellation)
        #: Connections before they are aiohttp's; None where they are at once.
        self.plain = None if way is None else PlainConnections(way, door, self)

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=asyncio.get_running_loop(), **_HOW)

    def pre_shutdown(self) -> None:
        super().pre_shutdown()
        if self.plain is not None:
            self.plain.close()

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # as aiohttp has it
        await asyncio.gather(super().shutdown(timeout), *([] if self.plain is None else [self.plain.closed(timeout)]))


@asynccontextmanager
async def listening(
    app: web.Application, settings: Settings, sockets: Sequence[socket.socket] = ()
) -> AsyncIterator[int]:
    """Run the application where the settings say; the port that it has, 0 where it has none.

    ``sockets`` that listen already are taken in the place of these. Within ``shutdown_seconds`` everything has ended.
    Raises ``OSError`` when the address is taken.
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
        **_HOW,
    )
    await runner.setup()
    with ExitStack() as files:
        try:
            given = list(sockets)
            if not given and settings.unix is not None:
                given.append(files.enter_context(bound(settings.unix, int(settings.unix_mode, 8))))
            for one in given:
                await web.SockSite(runner, one, backlog=1024).start()
            port = next((one.getsockname()[1] for one in given if one.family != socket.AF_UNIX), 0)
            if not sockets and settings.listens_on_a_port:
                site = web.TCPSite(runner, settings.host, settings.port, backlog=1024)
                await site.start()
                port = site.port
            yield port
        finally:
            await runner.cleanup()
            door.close()


class _Runner(web.AppRunner):
    """A runner whose connections come in through a door."""

    def __init__(self, door: Door, app: web.Application, **how: Any) -> None:
        super().__init__(app, **how)
        self._door = door
        self._making: Callable[[], asyncio.Protocol] | None = None

    @property
    def server(self) -> Any:
        """What makes the protocols of connections, one for all places at which it listens."""
        server = super().server
        if isinstance(server, _Server) and self._making is None:
            if server.plain is None:
                self._making = self._door.making(server)
            else:
                self._making = self._door.making(server.plain, silence_seconds=_SILENCE_SECONDS)
        return self._making

    async def _make_server(self) -> web.Server:  # which ``BaseRunner`` leaves to its subclasses
        like = await super()._make_server()
        return _Server(like, ShortWay.of(self.app), self._door)


def url_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
