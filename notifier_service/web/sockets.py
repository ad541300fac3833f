"""What all WebSockets share: who opens one, what may come in, and a close that says why."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal
from weakref import WeakSet

from aiohttp import WSMsgType, web
from aiohttp.abc import AbstractStreamWriter
from pydantic import JsonValue

from ..core.errors import BrokerClosed, Forbidden, InvalidInput, NotifierError, Unauthenticated
from ..core.events import EventData, parse_json
from ..core.session import check_session_id
from .answers import as_error, count_refusal
from .auth import AUTH, Caller, Right
from .client_address import client_address
from .guesses import GUESSES
from .origin import require_origin
from .peer import ConnectionPeer
from .request import Call, checked

__all__ = ["SOCKETS", "Authenticate", "Socket", "Sockets", "on_socket"]

_log = logging.getLogger("notifier_service.web")

#: How long a client that brought no token may take to send one.
_FIRST_MESSAGE_SECONDS = 10

#: How long a peer may take to answer a close.
_CLOSE_SECONDS = 1.0

#: Close codes; those from 4400 say what HTTP would have said, which a browser hides when a handshake fails.
_CLOSE_CODES: Mapping[str, int] = {
    "shutdown": 1001,
    "shutting_down": 1001,
    "unauthenticated": 4401,
    "token_expired": 4401,
    "forbidden": 4403,
    "invalid": 4404,
    "session_closed": 4404,
    "slow": 4408,
    "limit": 4429,
    "limit_reached": 4429,
}


class Authenticate(EventData):
    """``{"type": "auth", "token"}``: the first message of a client that brought no token, or a newer one later."""

    type: Literal["auth"]
    token: str


class Socket:
    """An open WebSocket; text frames are JSON."""

    def __init__(self, call: Call[Any, Any]) -> None:
        settings = call.settings
        self._call = call
        self._life: asyncio.Timeout | None = None
        self._writer: AbstractStreamWriter | None = None
        self._ended_by: NotifierError | None = None
        self._holder: tuple[Caller, frozenset[Right]] | None = None
        #: Set by who says bye by itself when the service shuts down.
        self.follows_session = False
        self.peer = ConnectionPeer(call.request)
        self.response = web.WebSocketResponse(
            heartbeat=settings.heartbeat_seconds,
            max_msg_size=settings.max_body_bytes + 1,  # aiohttp means the first size that is too much
            compress=False,
            timeout=_CLOSE_SECONDS,
        )

    async def send(self, event: bytes) -> None:
        """Send one JSON object."""
        await self.response.send_frame(self.peer.hand(event), WSMsgType.TEXT)

    async def send_bytes(self, piece: bytes) -> None:
        """Send a binary frame."""
        await self.response.send_frame(self.peer.hand(piece), WSMsgType.BINARY)

    def push(self, frames: bytes) -> bool:
        """Write whole frames without waiting, and say whether the peer takes more."""
        transport = self._call.request.transport
        if transport is None or transport.is_closing() or self.response.closed:
            return True  # who waits for its messages hears that it has left
        transport.write(self.peer.hand(frames))
        return not transport.get_write_buffer_size()

    async def drain(self) -> None:
        """Wait until the peer has taken enough of what was written."""
        assert self._writer is not None  # it is open
        await self._writer.drain()

    async def receive(self) -> dict[str, JsonValue] | bytes | None:
        """The next message, an object or the bytes of a binary frame; None when the peer has closed.

        Raises ``InvalidInput`` for text that is no JSON object; the socket stays usable. A frame over the limit, or
        one that is no WebSocket at all, closes it (1009, 1002, 1007).
        """
        message = await self.response.receive()
        if message.type is WSMsgType.BINARY:
            return bytes(message.data)
        if message.type is not WSMsgType.TEXT:
            return None
        value = parse_json(message.data.encode("utf-8", "surrogatepass"), unique_keys=True)
        if not isinstance(value, dict):
            raise InvalidInput("a message is a JSON object")
        return value

    async def identify(self) -> Caller:
        """Say who has opened the socket: by header, by ``?token=``, by ``?ticket=``, or by the first message."""
        request = self._call.request
        authenticator = request.config_dict[AUTH]
        try:
            return authenticator.caller_of(request, token_in_query=True)
        except Unauthenticated:
            if authenticator.token_of(request, token_in_query=True):
                await request.config_dict[GUESSES].slow_down(client_address(request))
                raise
        try:
            async with asyncio.timeout(_FIRST_MESSAGE_SECONDS):
                first = await self.receive()
            if first is None:
                raise ConnectionResetError("the peer has left")
            token = checked(Authenticate, first).token
        except TimeoutError:
            raise Unauthenticated("This needs a token, and none came.", reason="missing") from None
        except InvalidInput:
            raise Unauthenticated(
                "This needs a token: the first message is {type: auth, token}.", reason="missing"
            ) from None
        try:
            return authenticator.caller_with(token)
        except Unauthenticated:
            await request.config_dict[GUESSES].slow_down(client_address(request))
            raise

    def identify_again(self, message: Mapping[str, JsonValue], before: Caller) -> Caller:
        """Say who the newer token of a client stands for, which must be the same person."""
        caller = self._call.request.config_dict[AUTH].caller_with(checked(Authenticate, message).token)
        if caller.name != before.name:
            raise Unauthenticated("This token is somebody else's.")
        return caller

    def permit(self, caller: Caller, rights: frozenset[Right]) -> None:
        """Say who has the socket, and by which rights; it ends when the token has expired or no longer gives one."""
        assert self._life is not None
        self._holder = caller, rights
        self._ended_by = Unauthenticated("The token has expired.", reason="expired")
        seconds = caller.seconds_left
        self._life.reschedule(None if seconds is None else asyncio.get_running_loop().time() + seconds)

    def ask_again(self) -> None:
        """End the socket if its token no longer gives a right to it."""
        if self._holder is None or self._life is None or self._life.expired():
            return
        caller, rights = self._holder
        try:
            caller.require(rights, None)
        except (Unauthenticated, Forbidden) as error:
            self._ended_by = error
            self._life.reschedule(asyncio.get_running_loop().time())

    def end_in(self, seconds: float) -> None:
        """End the socket soon, because the service shuts down."""
        if not self.follows_session and self._life is not None and not self._life.expired():
            self._ended_by = BrokerClosed("The service is shutting down.")
            self._life.reschedule(asyncio.get_running_loop().time() + seconds)

    async def talk(self, about: Callable[[Socket, Caller], Awaitable[None]]) -> None:
        """Open, let ``about`` have the socket until it returns, and close; what it raises is told to the peer."""
        self._writer = await self.response.prepare(self._call.request)
        try:
            async with asyncio.timeout(None) as self._life:
                try:
                    caller = await self.identify()  # as by HTTP: who calls, then the id, then the right
                    if self._call.session_id:
                        check_session_id(self._call.session_id)
                    await about(self, caller)
                finally:
                    self._life = None  # what follows has its own time
        except NotifierError as error:
            await self.refuse(error)
        except TimeoutError:
            if self._ended_by is not None:
                await self.refuse(self._ended_by)
        except ConnectionError:
            pass  # the peer has left
        except Exception:
            _log.exception("a socket failed")
            await self.close(None, "internal", "Something failed here; the log of the service says what.")
        finally:
            if self.peer.unsent_bytes():
                self.peer.cut()  # closed already, it would wait for ever for a peer that takes nothing

    async def refuse(self, error: NotifierError) -> None:
        """Say why the socket ends, and close it with a code that says it too."""
        count_refusal(self._call.broker.counters, error)
        await self.close(as_error(error), error.code, error.message)

    async def close(self, last: bytes | None, code: str, reason: str, *, linger_seconds: float | None = None) -> None:
        """Send ``last`` and close, if the peer still takes it within the time; else cut the connection."""
        if linger_seconds is None:
            linger_seconds = self._call.settings.shutdown_seconds / 8 if self._call.broker.closed else _CLOSE_SECONDS
        text = reason.encode()[:120].decode(errors="ignore").encode()
        try:
            async with asyncio.timeout(linger_seconds):
                if last is not None:
                    await self.send(last)
                await self.peer.drained()
                await self.response.close(code=_CLOSE_CODES.get(code, 1011), message=text, drain=False)
        except (TimeoutError, ConnectionError, asyncio.CancelledError):
            # A drain() that was interrupted before fails at once as if cancelled: only a real cancellation goes on.
            if self.peer.unsent_bytes():
                self.peer.cut()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise


class Sockets:
    """The open sockets of an application, to be closed at shutdown."""

    def __init__(self) -> None:
        self._open: WeakSet[Socket] = WeakSet()

    def add(self, socket: Socket) -> None:
        self._open.add(socket)

    def ask_again(self) -> None:
        """End those whose tokens are no longer good for them."""
        for socket in tuple(self._open):
            socket.ask_again()

    def end_in(self, seconds: float) -> None:
        """End all of them soon; those that follow a session have heard of the shutdown, and end before."""
        for socket in tuple(self._open):
            socket.end_in(seconds)


SOCKETS = web.AppKey("sockets", Sockets)


async def on_socket(
    call: Call[Any, Any],
    about: Callable[[Socket, Caller], Awaitable[None]],
    *,
    headers: Mapping[str, str] | None = None,
) -> web.WebSocketResponse:
    """Open a socket, have ``about`` talk on it, and close it. Raises what keeps it from being opened at all."""
    request = call.request
    require_origin(request, call.settings)
    if request.headers.get("Upgrade", "").strip().lower() != "websocket":
        raise InvalidInput(
            "this path is a WebSocket: connect with ws:// or wss://; a proxy in between must pass on Upgrade over "
            "HTTP/1.1 (nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade)"
        )
    socket = Socket(call)
    socket.response.headers.update(headers or {})
    request.config_dict[SOCKETS].add(socket)
    await socket.talk(about)
    return socket.response
