"""The same events over a WebSocket, with answers on the same socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from aiohttp import web
from pydantic import JsonValue

from ..core.errors import InvalidInput, NotifierError
from ..core.event_log import Event
from ..core.events import Bye, EventData, dump, encode
from ..core.question import Decision
from ..core.reader import Reader, retry_ms
from .answers import as_error, count_refusal
from .auth import Caller, still_may_view
from .presence import page_of
from .request import Call, Query, checked
from .sockets import Socket, on_socket
from .sse import replays

__all__ = ["SocketQuery", "socket"]


class SocketQuery(Query):
    """``after`` resumes behind an event; ``replay``, ``visible`` and ``page`` are as on the stream."""

    after: str | None = None
    replay: str | None = None
    visible: str | None = None
    page: str | None = None


class _Resume(EventData):
    type: Literal["resume"]
    after: str


async def socket(call: Call[SocketQuery, None]) -> web.StreamResponse:
    """Send what the stream sends, as text frames; take ``resume``, ``permission_response``, ``auth`` and ``ping``."""

    async def follow(socket: Socket, caller: Caller) -> None:
        caller = caller.require(frozenset({"view"}), call.session_id)
        if call.query.after and call.broker.has_ended(call.session_id):
            over = Bye(code="session_closed", reconnect=False, retry_ms=retry_ms(call.settings))
            await socket.close(encode("bye", over), over.code, over.code)
            return
        call.spend("connect_rate", caller=caller)
        reader = call.broker.join(
            call.session_id,
            "websocket",
            socket.peer,
            call.query.after or None,
            account=caller.name,
            address=call.address,
            may_approve=caller.is_approver,
            replays=replays(call.request, call.query.replay),
        )
        socket.follows_session = True
        reader.permit(caller.seconds_left, still_may_view(caller, call.session_id))
        reader.page = page_of(call, caller)
        talk = _Told(reader, socket)
        sending = asyncio.create_task(talk.send())
        receiving = asyncio.create_task(_Answers(call, caller, reader, socket).receive())
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reader.leave()
            sending.cancel()
            receiving.cancel()
            outcomes = await asyncio.gather(sending, receiving, return_exceptions=True)
        if reader.ending is not None:
            bye = reader.ending
            linger = call.settings.stalled_seconds if bye.code == "slow" else call.settings.shutdown_seconds / 8
            last = None if talk.is_bye_told else encode("bye", bye)
            await socket.close(last, bye.code, bye.code, linger_seconds=linger)
            return
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    return await on_socket(call, follow)


class _Told:
    """What the peer is told: all that there is for ``reader``, until it is ended or has left.

    While the peer takes everything, frames are pushed by whoever has some; the task waits where it does not.
    """

    def __init__(self, reader: Reader, socket: Socket) -> None:
        self._reader = reader
        self._socket = socket
        self._has_room = True
        self.is_bye_told = False

    async def send(self) -> None:
        reader = self._reader
        while not reader.over:
            if not self._push():
                async with reader.writing():
                    await self._socket.drain()
                self._has_room = True
            elif reader.ending is not None:
                return
            else:
                reader.caught_up()
                await reader.wait(self._push, farewell=self._push)

    def _push(self) -> bool:
        """Send what there is without waiting, and say whether the peer takes more."""
        reader = self._reader
        while self._has_room and (events := reader.next()):
            self._has_room = self._socket.push(reader.framed("websocket", events, _text_frames))
            reader.sent()
            if reader.is_told_all:
                break
        if self._has_room and reader.ending is not None and not (self.is_bye_told or reader.over):
            self._socket.push(_text_frames([Event(0, "", "bye", encode("bye", reader.ending))]))
            self.is_bye_told = True
        return self._has_room


def _text_frames(events: Sequence[Event]) -> bytes:
    """Events as text frames (RFC 6455 section 5.2), unmasked as a server's are."""
    pieces: list[bytes] = []
    for event in events:
        size = len(event.json)
        if size < 126:
            head = b"\x81%c" % size
        elif size < 65536:
            head = b"\x81\x7e" + size.to_bytes(2, "big")
        else:
            head = b"\x81\x7f" + size.to_bytes(8, "big")
        pieces += (head, event.json)
    return b"".join(pieces)


class _Answers:
    """What a reader may send, and what it gets for it."""

    def __init__(self, call: Call[Any, Any], caller: Caller, reader: Reader, socket: Socket) -> None:
        self._call = call
        self._caller = caller
        self._reader = reader
        self._socket = socket
        self._by_type: Mapping[str, Callable[[Mapping[str, JsonValue]], Awaitable[bytes | None]]] = {
            "auth": self._auth,
            "permission_response": self._decide,
            "ping": self._ping,
            "resume": self._resume,
        }

    async def receive(self) -> None:
        """Answer messages until the peer leaves; a bad one gets an error, and the socket stays."""
        while True:
            answer: bytes | None
            try:
                message = await self._socket.receive()
                if message is None:
                    return
                answer = await self._answer(message)
            except NotifierError as error:
                count_refusal(self._call.broker.counters, error)
                answer = as_error(error)
            if answer is not None:
                await self._socket.send(answer)

    async def _answer(self, message: Mapping[str, JsonValue] | bytes) -> bytes | None:
        if isinstance(message, bytes):
            raise InvalidInput("a message is a text frame: this socket takes no binary ones")
        kind = message.get("type")
        answer = self._by_type.get(kind) if isinstance(kind, str) else None
        if answer is None:
            raise InvalidInput(f"type: one of {', '.join(self._by_type)}")
        return await answer(message)

    async def _auth(self, message: Mapping[str, JsonValue]) -> None:
        caller = self._socket.identify_again(message, self._caller)
        caller.require(frozenset({"view"}), self._call.session_id)
        self._caller = caller
        self._reader.permit(caller.seconds_left, still_may_view(caller, self._call.session_id))

    async def _decide(self, message: Mapping[str, JsonValue]) -> bytes:
        self._call.spend("decide_rate", caller=self._caller)
        decision = checked(Decision, {name: value for name, value in message.items() if name != "type"})
        caller = self._caller.require(frozenset({"approve"}), self._call.session_id)
        record = await self._call.broker.answer(
            self._call.session_id,
            decision,
            **caller.decider(via="websocket", through="socket"),
        )
        return dump({"type": "permission_response", "success": True, "data": record})

    async def _ping(self, message: Mapping[str, JsonValue]) -> bytes:
        return b'{"type":"pong"}'

    async def _resume(self, message: Mapping[str, JsonValue]) -> None:
        self._call.spend("connect_rate", caller=self._caller)
        after = checked(_Resume, message).after
        self._caller.require(frozenset({"view"}), self._call.session_id)
        self._reader.resume(after)
        self._reader.wake()
