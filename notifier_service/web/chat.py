"""Chat over a WebSocket and over SSE: the agent's messages, exactly as the reference documents have them."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Literal

from aiohttp import web
from aiohttp_sse import EventSourceResponse
from pydantic import Field, JsonValue

from ..chat import Answer, AnswerReader, Chat
from ..core.errors import (
    AnswerRunning,
    BrokerClosed,
    CursorLost,
    Forbidden,
    InvalidInput,
    LimitReached,
    NotDurable,
    NotFound,
    NotifierError,
    TooLarge,
    Unauthenticated,
)
from ..core.event_log import Event
from ..core.events import EventData, dump
from ..core.session import check_session_id
from .answers import as_error
from .auth import Caller
from .peer import ConnectionPeer, Stalled, written
from .request import Call, Query, checked
from .sockets import Socket, on_socket
from .sse import STREAM_HEADERS, cursor_of

__all__ = ["CHAT", "ChatQuery", "chat_socket", "chat_stream"]

CHAT = web.AppKey("chat", Chat)

_APPROVE = frozenset[Literal["view", "approve", "produce", "admin"]]({"approve"})

#: A dropped chat comes back soon: somebody waits for what comes next.
_RETRY_MS = 1000

#: An answer of which nothing has come for so long tells its place, so that who drops then does not ask again.
_PLACE_SECONDS = 1.0
_NOTHING_YET = b'{"type":"content","content":""}'

#: The cursor of an answer that is no longer there: who comes back with it is told to stop.
_GONE = "gone"

_MAX_ATTACHMENTS = 100

QueryText = Annotated[str, Field(min_length=1)]


class ChatQuery(Query):
    """A turn over SSE. ``last_event_id`` resumes where a ``Last-Event-ID`` header cannot be set."""

    query: QueryText
    session_id: str | None = None
    last_event_id: str | None = None


class _Turn(EventData):
    type: Literal["query"] = "query"
    query: QueryText
    session_id: str | None = None


async def chat_socket(call: Call[Query, None]) -> web.StreamResponse:
    """Many turns on one socket; ``cancel`` stops the one that runs, and so does leaving."""

    own_session_id = _new_session_id()

    async def talk(socket: Socket, caller: Caller) -> None:
        socket.permit(caller, _APPROVE)
        call.spend("connect_rate", caller=caller)
        with call.broker.holding(caller.name, address=call.address):
            try:
                await _Turns(call, socket, caller, own_session_id).run()
            except Stalled:
                await socket.close(None, "slow", "slow", linger_seconds=call.settings.stalled_seconds)

    return await on_socket(call, talk, headers={"X-Session-Id": own_session_id})


class _Turns:
    """The turns of one socket: one message is waited for, and one answer goes out, at a time."""

    def __init__(self, call: Call[Any, Any], socket: Socket, caller: Caller, own_session_id: str) -> None:
        self._call = call
        self._chat = call.request.config_dict[CHAT]
        self._settings = call.settings
        self._socket = socket
        self._caller = caller
        #: Where turns without a session_id take place.
        self._own_session_id = own_session_id
        self._attachments: list[bytes] = []
        self._answer: Answer | None = None
        self._answering: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Go on until the peer leaves."""
        receiving: asyncio.Task[Mapping[str, JsonValue] | bytes | None] | None = None
        try:
            while True:
                if receiving is None:
                    receiving = asyncio.create_task(self._socket.receive())
                await asyncio.wait(
                    {receiving} if self._answering is None else {receiving, self._answering},
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if self._answering is not None and self._answering.done():
                    self._answering.result()
                    self._answering = None
                if receiving.done():
                    received, receiving = receiving, None
                    try:
                        message = received.result()
                        if message is None:
                            return
                        await self._take(message)
                    except NotifierError as error:
                        await self._send(as_error(error))
        finally:
            if self._answer is not None:
                self._answer.cancel()
            tasks = [task for task in (receiving, self._answering) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, message: Mapping[str, JsonValue] | bytes) -> None:
        if isinstance(message, bytes):
            self._attach(message)
            return
        kind = message.get("type", "query")
        if kind == "query":
            await self._begin(checked(_Turn, message))
        elif kind == "cancel":
            if self._answer is None or self._answer.outcome is not None:
                raise InvalidInput("cancel: no answer is running")
            self._answer.cancel()
        elif kind == "ping":
            await self._send(b'{"type":"pong"}')
        elif kind == "auth":
            self._caller = self._socket.identify_again(message, self._caller)
            self._socket.permit(self._caller, _APPROVE)
        else:
            raise InvalidInput("type: one of query, cancel, ping, auth")

    def _attach(self, piece: bytes) -> None:
        limit = self._settings.max_body_bytes
        if sum(map(len, self._attachments)) + len(piece) > limit or len(self._attachments) >= _MAX_ATTACHMENTS:
            raise TooLarge(
                f"The attachments of a turn are over the limit of {limit} bytes or {_MAX_ATTACHMENTS} frames; "
                "this one is left out.",
                limit="max_body_bytes",
            )
        self._attachments.append(piece)

    async def _begin(self, turn: _Turn) -> None:
        session_id = self._own_session_id if turn.session_id is None else check_session_id(turn.session_id)
        caller = self._caller.require(_APPROVE, session_id)
        if self._answer is not None and self._answer.outcome is None:
            raise AnswerRunning("The agent is still answering on this socket: wait, or cancel.")
        if self._answering is not None:
            await self._answering  # the end of the answer before goes out first
        self._call.spend("publish_rate", caller=caller)
        answer = self._chat.begin(session_id, turn.query, asked_by=caller.name, attachments=self._attachments)
        self._attachments = []
        self._answer = answer
        self._answering = asyncio.create_task(self._relay(answer))

    async def _relay(self, answer: Answer) -> None:
        with answer.reading() as reader:
            while not reader.over:
                for event in await reader.next():
                    await self._send(event.json, binary=event.type == "binary")

    async def _send(self, message: bytes, *, binary: bool = False) -> None:
        send = self._socket.send_bytes if binary else self._socket.send
        await written(send(message), self._socket.peer, self._settings.stalled_seconds)


async def chat_stream(call: Call[ChatQuery, None]) -> web.StreamResponse:
    """One turn as SSE. A connection that drops does not end the answer: ``Last-Event-ID`` goes on in it."""
    request = call.request
    cursor = cursor_of(request)
    if cursor == _GONE:
        return web.Response(status=204)
    chat = request.config_dict[CHAT]
    try:
        call.spend("connect_rate")
        with call.holding():
            answer, seq = _begin(call, chat) if cursor is None else _found(call, chat, cursor)
            if answer.log.closed and seq >= answer.log.last_seq:
                return web.Response(status=204)
            with answer.reading(seq) as reader:
                response = await _open(call, answer.session_id)
                await _relay(call, response, answer, reader)
            return response
    except _Refused as refused:
        error = refused.error
    except LimitReached as limit:
        error = limit
    return await _tell_end(call, error)


class _Refused(Exception):
    """There is no answer, and why."""

    def __init__(self, error: NotifierError) -> None:
        self.error = error


def _begin(call: Call[ChatQuery, None], chat: Chat) -> tuple[Answer, int]:
    session_id = _new_session_id() if call.query.session_id is None else check_session_id(call.query.session_id)
    call.caller.require(_APPROVE, session_id)
    try:
        call.spend("publish_rate")
        return chat.begin(session_id, call.query.query, asked_by=call.caller.name, rejoin=True), 0
    except (AnswerRunning, LimitReached, BrokerClosed, NotDurable) as error:
        raise _Refused(error) from None


def _found(call: Call[ChatQuery, None], chat: Chat, cursor: str) -> tuple[Answer, int]:
    try:
        answer = chat.find(cursor)
    except (BrokerClosed, NotDurable) as error:
        raise _Refused(error) from None
    if answer is None or answer.asked_by != call.caller.name:  # somebody else's is as if there were none
        raise _Refused(NotFound("This answer is no longer held."))
    try:
        call.caller.require(_APPROVE, answer.session_id)
        return answer, answer.log.locate(cursor)
    except CursorLost:
        raise _Refused(NotFound("This part of the answer is no longer held.")) from None
    except Forbidden as error:
        raise _Refused(error) from None


async def _open(call: Call[ChatQuery, None], session_id: str | None) -> EventSourceResponse:
    response = EventSourceResponse()
    response.headers.update(STREAM_HEADERS)
    if session_id is not None:
        response.headers["X-Session-Id"] = session_id
    await response.prepare(call.request)
    response.stop_streaming()  # its ping task: the wait for the next message beats
    response.force_close()
    return response


async def _relay(
    call: Call[ChatQuery, None], response: EventSourceResponse, answer: Answer, reader: AnswerReader
) -> None:
    """Send what the answer has and gets, until it is over, the token is, or the peer takes nothing."""
    settings, peer = call.settings, ConnectionPeer(call.request)
    try:
        try:
            async with asyncio.timeout(call.caller.seconds_left):
                async for frames in _frames(answer, reader, settings.heartbeat_seconds):
                    call.caller.require(_APPROVE, answer.session_id)
                    await written(response.write(frames), peer, settings.stalled_seconds)
        except TimeoutError:
            frame = _frame(dump({"type": "error", "message": "The token has expired."}), None)
            await written(response.write(frame), peer, settings.stalled_seconds)
    except CursorLost:
        await response.write(_frame(as_error(NotFound("The connection was too slow.")), _GONE))
    except (Unauthenticated, Forbidden) as error:
        await written(response.write(_frame(as_error(error), None)), peer, settings.stalled_seconds)
    except Stalled:
        peer.cut()
    except ConnectionError:
        pass  # the answer goes on, and waits for who comes back


async def _frames(answer: Answer, reader: AnswerReader, heartbeat_seconds: float) -> AsyncIterator[bytes]:
    """What the stream says, until the answer is over. No block without data: many clients parse the data of each."""
    yield b"retry: %d\n" % _RETRY_MS  # the beginning of the first message's block
    place = answer.log.id_of(reader.seq)
    events = await reader.next(timeout_seconds=min(_PLACE_SECONDS, heartbeat_seconds))
    yield b"".join(map(_frame_of, events)) or _frame(_NOTHING_YET, place)
    while not reader.over:
        events = await reader.next(timeout_seconds=heartbeat_seconds)
        yield b"".join(map(_frame_of, events)) or b": heartbeat\n"


async def _tell_end(call: Call[ChatQuery, None], error: NotifierError) -> EventSourceResponse:
    """Say why there is no answer, as a message, because an EventSource shows no status; who comes back gets a 204."""
    response = await _open(call, None)
    await response.write(_frame(as_error(error), _GONE))
    return response


def _frame_of(event: Event) -> bytes:
    message = event.json
    if event.type == "binary":
        message = dump({"type": "binary", "content": base64.b64encode(message).decode()})
    return _frame(message, event.id)


def _frame(message: bytes, event_id: str | None) -> bytes:
    return (b"" if event_id is None else b"id: %s\n" % event_id.encode()) + b"data: %s\n\n" % message


def _new_session_id() -> str:
    return f"chat-{secrets.token_urlsafe(16)}"
