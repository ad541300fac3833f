"""The short way of what is sent most: events by POST to one session, questions about calls, and decisions.

It is there on a connection of our own listener. aiohttp finds a route, runs middlewares and makes an answer of headers
in twice the time that all of this takes. What is asked of a request is the same, and each time: its host, who sends it,
whether they may. Whoever is not known here, and whatever is not plain, goes the long way as if nobody had looked, which
makes the errors too. Two lead here: ``plain_connection``, where requests come that aiohttp never sees, and
``with_short_way``, the handler of the connections that it has. What is used of aiohttp is public: the handler and the
requests of ``web.Server``, ``BaseRequest.writer``, and that a ``StreamResponse`` says how it is prepared and ended.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Protocol

from aiohttp import HttpVersion11, web
from aiohttp.http import SERVER_SOFTWARE
from pydantic import BaseModel, ValidationError

from ..core.errors import NotifierError
from ..core.events import parse_json
from ..core.question import Decision
from ..core.session import Session
from .alike import alike_in_array
from .answers import ANSWER_HEADERS, answer_to, body_of
from .auth import AUTH, Caller, Right
from .client_address import HELD_ADDRESS, peer_address
from .door import Door
from .origin import CorsHeaders, serves
from .permissions import AskBody, WaitQuery, ask, decide, decider_of
from .plain_events import Pieces, plain_piece, plain_pieces, told_piece
from .plain_head import PlainHead, head_of
from .produce import append_plain, breathe, publish, room_for_data
from .rates import RATES, RateName
from .request import APP, BROKER, CAME, SETTINGS, STANDING, Call

__all__ = ["MOST_PATH", "Answer", "Handler", "Said", "Sender", "ShortWay", "Told", "with_short_way"]

Handler = Callable[[Any], Awaitable[web.StreamResponse]]

#: What somebody does here, by the right that it needs.
_RIGHTS: Mapping[str, frozenset[Right]] = {
    "publish": frozenset({"produce"}), "ask": frozenset({"produce"}), "decide": frozenset({"approve"}),
}  # fmt: skip
#: Where it is done, as a log tells of it.
_PLACES = {"publish": "events", "ask": "permissions", "decide": "sse/permission-response"}
#: Longer ones are for nothing of this.
MOST_PATH = 512
_IDS = b'{"success":true,"data":{"ids":["%b"]}}'

#: What is answered, as it goes over the wire.
_ANSWER = web.RequestKey("answer", bytes)


class Said(NamedTuple):
    """An answer that is made already, head and body, for a connection that goes on."""

    text: bytes
    #: Those go first to whom the loop gives their turn now.
    is_last: bool = False


#: What is said at once, a refusal, or what is waited for.
Answer = Said | web.StreamResponse | Awaitable[web.StreamResponse]


class Sender(Protocol):
    """Who has sent a request, and is still there."""

    @property
    def transport(self) -> asyncio.BaseTransport | None: ...

    def whole(self, path: str, head: PlainHead) -> web.Request:
        """The request as handlers have it."""


class ShortWay:
    """Answers plain requests to one application, or leaves them to the long way."""

    def __init__(self, app: web.Application) -> None:
        self._app, settings = app, app[SETTINGS]
        self._broker, self._settings, self._auth = app[BROKER], settings, app[AUTH]
        self._is_served = serves(settings)
        self._is_token = self._auth.is_token if settings.auth != "none" else None
        self._most_bytes, self._most_event_bytes = settings.max_body_bytes, self._broker.limits.max_event_bytes
        self._rates = app[RATES]
        self._route = _routes(settings.prefix)
        #: What hooks would say in each answer.
        self._said_always = {name: value for hook in _hooks(app) for name, value in hook.always.items()}
        self._created, self._done = _Head(201, self._said_always), _Head(200, self._said_always)

    @staticmethod
    def of(app: web.Application) -> ShortWay | None:
        """The short way of an application; None where somebody else has a say in all requests or answers."""
        if BROKER not in app or len(_hooks(app)) < len(app.on_response_prepare) or len(app.middlewares) > 2:
            return None
        return ShortWay(app)

    def takes(self, path: str, head: PlainHead) -> bool:
        """Whether there is a short way for a request to this path with such a head; nobody else's body is touched."""
        return self._route(path) is not None and head.length <= self._most_bytes and self._is_served(head.host)

    def answer(self, path: str, head: PlainHead, body: bytes, sender: Sender) -> Answer | None:
        """Do what a request that it ``takes`` wants; None, with nothing done, where the long way has to."""
        route = self._route(path)
        assert route is not None  # it takes no other
        does, session_id, query = route
        if self._is_token is not None and self._is_token(session_id):  # the long way knows what not to write down
            return None
        rights, transport = _RIGHTS[does], sender.transport
        assert transport is not None  # else nobody asks
        try:
            caller = self._auth.caller_on(transport, head.authorization).require(rights, session_id)
        except NotifierError:
            return None
        answer: Said | Awaitable[web.StreamResponse] | None
        try:
            if does == "publish" and not head.has_key:
                answer = self._publish(session_id, caller, body, head.trace, transport)
            else:
                said: Any = None
                if does != "publish":
                    said = _checked(AskBody if does == "ask" else Decision, body)
                    if said is None or (does == "ask" and said.agent_call_id is not None):
                        return None
                self._spend("decide_rate" if does == "decide" else "publish_rate", caller, transport)
                if does == "decide" and self._broker.answers_at_once:
                    record = self._broker.decide(session_id, said, **decider_of(caller, path, head))
                    return Said(self._done.over(body_of(record.encoded)), is_last=True)
                request = sender.whole(path, head)
                request[APP], request[CAME], request[STANDING] = self._app, body, (caller, rights, session_id)
                request[HELD_ADDRESS] = peer_address(transport)
                answer = self._handled(
                    does, Call(request, self._broker, self._settings, caller, session_id, query, said)
                )
        except Exception as error:
            return self._failed(sender.whole(path, head), error, does)
        if answer is None or isinstance(answer, Said):
            return answer
        return self._answered(answer, sender.whole(path, head), does)

    def _handled(self, does: str, call: Call[Any, Any]) -> Awaitable[web.StreamResponse]:
        """What the handlers of the long way make of it."""
        if does == "publish":
            return publish(call, self._made)
        return ask(call, self._told) if does == "ask" else decide(call, self._told)

    def _spend(self, rate: RateName, caller: Caller, transport: asyncio.BaseTransport, tokens: int = 1) -> None:
        if self._rates.bounds(rate):
            self._rates.spend(rate, caller.name, peer_address(transport), tokens)

    def _publish(
        self, session_id: str, caller: Caller, body: bytes, trace: str | None, transport: asyncio.BaseTransport
    ) -> Said | Awaitable[web.StreamResponse] | None:
        limit = self._most_event_bytes
        room = room_for_data(limit, trace)
        pieces = alike_in_array(body, max_bytes=room)
        if pieces is None:
            value = _read(body)
            if type(value) is list:
                pieces = plain_pieces(value, max_bytes=room)
                if pieces is None:
                    return None
        if pieces is not None:
            self._spend("publish_rate", caller, transport)
            if len(pieces[0]) > 1:  # by itself, as on the long way
                self._spend("publish_rate", caller, transport, len(pieces[0]) - 1)
            return self._extend(session_id, caller, pieces, trace)
        if len(body) > limit:
            return None
        data = None
        piece = plain_piece(value, max_bytes=room)
        if piece is None:
            telling = told_piece(value, body, max_bytes=room)
            if telling is None:
                return None
            data, piece = telling
        self._spend("publish_rate", caller, transport)
        broker = self._broker
        if broker.is_durable:
            broker.require_durable()
        session = broker.open(session_id, opened_by=caller.name)
        broker.require_room(session)
        event_id = broker.publish_to(session, piece[0], data, data_json=piece[1], traceparent=trace).id
        breathes = broker.must_breathe(session)
        if broker.is_durable or (breathes and session.readers.are_outrun):
            return self._published(session, event_id)
        if breathes:
            broker.yields()
        return Said(self._created.over(_IDS % event_id.encode()), breathes)

    async def _published(self, session: Session, event_id: str) -> web.StreamResponse:
        if self._broker.must_breathe(session):
            await breathe(self._broker, session)
        if self._broker.is_durable:
            await self._broker.all_kept()
        return Told(self._created.over(_IDS % event_id.encode()))

    async def _extend(self, session_id: str, caller: Caller, pieces: Pieces, trace: str | None) -> web.StreamResponse:
        broker = self._broker
        if broker.is_durable:
            broker.require_durable()
        data_json = await append_plain(broker, session_id, caller.name, pieces, trace)
        if broker.is_durable:
            await broker.all_kept()
        return self._told(data_json, status=201)

    async def _answered(
        self, answer: Awaitable[web.StreamResponse], request: web.Request, does: str
    ) -> web.StreamResponse:
        try:
            response = await answer
        except Exception as error:
            return self._failed(request, error, does)
        if self._said_always and not isinstance(response, Told):
            response.headers.extend(self._said_always)
        return response

    def _failed(self, request: web.Request, error: Exception, does: str) -> web.StreamResponse:
        place = f"{self._settings.prefix}/api/{_PLACES[does]}/{{session_id}}"
        response = answer_to(request, error, self._broker, place)
        response.headers.extend(self._said_always)
        return response

    def _told(self, data_json: bytes, *, status: int = 200) -> web.StreamResponse:
        return self._made(body_of(data_json), status)

    def _made(self, body: bytes, status: int) -> web.StreamResponse:
        return Told((self._created if status == 201 else self._done).over(body), status=status)


def with_short_way(way: ShortWay, door: Door, long_way: Handler) -> Handler:
    """The handler of the requests of aiohttp's connections: the short way for those that may go it, else this one."""

    async def short_way(request: web.Request) -> web.StreamResponse:
        head = head_of(request.raw_headers)
        if (
            head is None
            or len(request.raw_path) > MOST_PATH
            or not way.takes(request.raw_path, head)
            or request.transport is None
            or not request.content.is_eof()
            or not request.keep_alive
            or request.version != HttpVersion11
        ):
            return await long_way(request)
        body = request[CAME] = request.content.read_nowait()
        answer = way.answer(request.raw_path, head, body, _WithRequest(request, request.transport))
        if answer is None:
            return await long_way(request)
        if isinstance(answer, Said):
            if answer.is_last:
                await asyncio.sleep(0)
            request[_ANSWER] = answer.text
            return told
        return answer if isinstance(answer, web.StreamResponse) else await answer

    def handle(request: web.Request) -> Awaitable[web.StreamResponse]:
        return door.passing(request, short_way) if request.method == "POST" else long_way(request)

    told = _ToldToAny()
    return handle


class _WithRequest(NamedTuple):
    """Who has sent a request that is there."""

    request: web.Request
    transport: asyncio.BaseTransport | None

    def whole(self, path: str, head: PlainHead) -> web.Request:
        return self.request


#: What is done, in which session, and what the query says.
_Route = tuple[str, str, WaitQuery]


def _hooks(app: web.Application) -> list[CorsHeaders]:
    """Those hooks of answers that say the same in each answer to a program."""
    return [hook for hook in app.on_response_prepare if isinstance(hook, CorsHeaders)]


def _routes(prefix: str) -> Callable[[str], _Route | None]:
    """Says what a path is for; None for another."""
    path = re.compile(
        re.escape(f"{prefix}/api/")
        + r"(?:(?P<publish>events)|(?P<ask>permissions)|(?P<decide>(?:sse|polling)/permission-response))/"
        r"(?!\.\.?(?:$|\?)|decide(?:$|\?))(?P<session>[A-Za-z0-9._:~-]{1,128})"
        r"(?(ask)(?:\?wait=(?P<wait>[0-9]{1,4}(?:\.[0-9]{1,3})?))?)"
    )

    @lru_cache(maxsize=1024)
    def route(text: str) -> _Route | None:
        found = path.fullmatch(text)
        if found is None:
            return None
        does = next(name for name in _RIGHTS if found[name] is not None)
        try:
            query = WaitQuery() if found["wait"] is None else WaitQuery(wait=float(found["wait"]))
        except ValidationError:
            return None
        return does, found["session"], query

    return route


def _read(body: bytes) -> Any:
    """What it says; None where that is not JSON."""
    try:
        return parse_json(body, takes_infinity=True)
    except NotifierError:
        return None


def _checked(model: type[BaseModel], body: bytes) -> Any:
    """The same as such an object; None where it is none."""
    try:
        return model.model_validate(parse_json(body, unique_keys=True))
    except (NotifierError, ValidationError):
        return None


class _Head:
    """The head of an answer, made once a second."""

    def __init__(self, status: Literal[200, 201], more: Mapping[str, str]) -> None:
        self._headers = {**ANSWER_HEADERS, **more}
        self._second = 0
        self._head = b""
        self._status = b"201 Created" if status == 201 else b"200 OK"

    def over(self, body: bytes) -> bytes:
        """The head, and this behind it."""
        second = int(time.time())
        if second != self._second:
            headers = {**self._headers, "Date": formatdate(second, usegmt=True), "Server": SERVER_SOFTWARE}
            lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
            self._second = second
            self._head = b"HTTP/1.1 %b\r\n%bContent-Length: " % (self._status, "".join(lines).encode())
        return b"%b%d\r\n\r\n%b" % (self._head, len(body), body)


class Told(web.StreamResponse):
    """An answer that is made already, for a connection that goes on."""

    def __init__(self, text: bytes, *, status: int = 201) -> None:
        super().__init__(status=status)
        self._text = text

    @property
    def keep_alive(self) -> bool:
        return True

    @property  # type: ignore[misc]  # nobody sets it
    def content_length(self) -> int:
        return len(self._text)

    async def prepare(self, request: web.BaseRequest) -> None:
        text, self._text = self._text, b""  # it may be written by who waits until it is taken
        if text:
            await request.writer.write(text)

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to be written."""


class _ToldToAny(Told):
    """The same of every request that has its answer with it: to make one for each costs as much as to parse a body."""

    def __init__(self) -> None:
        super().__init__(b"")

    async def prepare(self, request: web.BaseRequest) -> None:
        await request.writer.write(request[_ANSWER])
