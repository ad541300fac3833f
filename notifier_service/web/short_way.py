"""The short way of what is sent most: plain events by POST to one session, questions about calls, and decisions.

It is there on a connection of our own listener. aiohttp finds a route, runs middlewares and makes an answer of headers
in twice the time that all of this takes. What is asked of a request is the same, and each time: its host, who sends it,
whether they may. Whoever is not known here, and whatever is not plain, goes the long way as if nobody had looked, which
makes the errors too. What is used of aiohttp is public: the handler and the requests of ``web.Server``,
``BaseRequest.writer``, and that a ``StreamResponse`` says itself how it is prepared and ended.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Literal

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http import SERVER_SOFTWARE
from pydantic import ValidationError

from ..core.errors import NotifierError
from ..core.events import parse_json
from ..core.question import Decision
from .answers import ANSWER_HEADERS, answer_to, body_of, error_answer
from .auth import AUTH, Right
from .door import Door
from .origin import serves
from .permissions import AskBody, WaitQuery, ask, decide
from .plain_events import plain_piece, plain_pieces, told_piece
from .produce import append_plain, breathe, room_for_data
from .rates import RATES
from .request import BROKER, CAME, SETTINGS, STANDING, Call
from .trace import traceparent_of

__all__ = ["ANSWER", "ToldToAny", "with_short_way"]

Handler = Callable[[Any], Awaitable[web.StreamResponse]]

_PRODUCE = frozenset[Right]({"produce"})
_APPROVE = frozenset[Right]({"approve"})
_NEEDED = frozenset({b"host", b"content-type", b"content-length"})
#: Any other header may mean that something else is to be asked: of a page, of a proxy, of a key, of how a body comes.
_KNOWN = _NEEDED | {
    b"accept", b"accept-encoding", b"accept-language", b"authorization", b"connection", b"traceparent", b"tracestate",
    b"user-agent",
}  # fmt: skip
_IDS = b'{"success":true,"data":{"ids":["%b"]}}'
_JSON = frozenset({"application/json", "application/json; charset=utf-8"})

#: What is answered, as it goes over the wire.
ANSWER = web.RequestKey("answer", bytes)

_TRACED = "traced"


@lru_cache(maxsize=64)
def _known(names: tuple[bytes, ...]) -> str:
    """Whether headers of these names are known, once each; empty for no. A client sends the same ones each time."""
    lower = [name.lower() for name in names]
    if not (_NEEDED.issubset(lower) and _KNOWN.issuperset(lower) and len({*lower}) == len(lower)):
        return ""
    return _TRACED if b"traceparent" in lower else "untraced"


def with_short_way(app: web.Application, door: Door, long_way: Handler) -> Handler:
    """The handler of all requests: the short way for those that may go it, else the one that is given.

    Where somebody else has a say in requests or answers, all go the long way.
    """
    if BROKER not in app or app[RATES].bounds("publish_rate") or app.on_response_prepare or len(app.middlewares) > 2:
        return long_way
    broker, settings, auth = app[BROKER], app[SETTINGS], app[AUTH]
    path = re.compile(re.escape(f"{settings.prefix}/api/events/") + r"(?!\.\.?$)([A-Za-z0-9._:~-]{1,128})")
    is_served = serves(settings)
    most, limit = settings.max_body_bytes, broker.limits.max_event_bytes
    is_token = auth.is_token if settings.auth != "none" else None
    head, told = _Head(), ToldToAny()
    beyond = _with_short_asking(app, long_way)

    async def short_way(request: web.Request) -> web.StreamResponse:
        found = path.fullmatch(request.raw_path)
        if found is None:
            return await beyond(request)
        if not (known := _comes_plainly(request, is_served)):
            return await long_way(request)
        session_id = found[1]
        if is_token is not None and is_token(session_id):  # the long way knows what must not be written down
            return await long_way(request)
        try:
            caller = auth.caller_of(request, token_in_query=False).require(_PRODUCE, session_id)
        except NotifierError:
            return await long_way(request)
        body = request.content.read_nowait()
        trace = traceparent_of(request) if known == _TRACED else None
        value = _read(body) if len(body) <= most else None
        piece = pieces = data = None
        if type(value) is list:
            pieces = plain_pieces(value, max_bytes=room_for_data(limit, trace))
        elif len(body) <= limit:
            room = room_for_data(limit, trace)
            piece = plain_piece(value, max_bytes=room)
            if piece is None and (telling := told_piece(value, body, max_bytes=room)) is not None:
                data, piece = telling
        if piece is None and pieces is None:
            request[CAME] = body
            return await long_way(request)
        try:
            if broker.is_durable:
                broker.require_durable()
            if pieces is not None:
                ids = '","'.join(await append_plain(broker, session_id, caller.name, pieces, trace))
            else:
                assert piece is not None
                session = broker.open(session_id, opened_by=caller.name)
                broker.require_room(session)
                ids = broker.publish_to(session, piece[0], data, data_json=piece[1], traceparent=trace).id
                if broker.must_breathe(session):
                    await breathe(broker, session)
            if broker.is_durable:
                await broker.all_kept()
        except NotifierError as error:
            return error_answer(error, broker.counters)
        text = _IDS % ids.encode()
        request[ANSWER] = head.of(len(text)) + text
        return told

    def handle(request: web.Request) -> Awaitable[web.StreamResponse]:
        return door.passing(request, short_way) if request.method == "POST" else long_way(request)

    return handle


def _comes_plainly(request: web.Request, is_served: Callable[[str], bool]) -> str:
    """Whether nothing is to be asked of a request but who sends it, and all of it is here: as ``_known`` says it."""
    headers = request.headers
    known = _known(tuple([name for name, _ in request.raw_headers]))
    if (
        not known
        or headers[hdrs.CONTENT_TYPE] not in _JSON
        or not is_served(headers[hdrs.HOST])
        or not request.content.is_eof()
        or not request.keep_alive
        or request.version != HttpVersion11
    ):
        return ""
    return known


def _with_short_asking(app: web.Application, long_way: Handler) -> Handler:
    """The same for who asks about calls, and who decides: what answers them is that of the long way."""
    broker, settings, auth = app[BROKER], app[SETTINGS], app[AUTH]
    path = re.compile(
        re.escape(f"{settings.prefix}/api/")
        + r"(?:(permissions)|(?:sse|polling)/permission-response)/(?!\.\.?(?:$|\?)|decide(?:$|\?))"
        r"([A-Za-z0-9._:~-]{1,128})(?(1)(?:\?wait=([0-9]{1,4}(?:\.[0-9]{1,3})?))?)"
    )
    is_served = serves(settings)
    is_token = auth.is_token if settings.auth != "none" else None
    most = settings.max_body_bytes
    created, done = _Head(201), _Head(200)
    decides_freely = not app[RATES].bounds("decide_rate")

    def told(data_json: bytes, *, status: int = 200) -> web.StreamResponse:
        text = body_of(data_json)
        return Told((created if status == 201 else done).of(len(text)) + text, status=status)

    async def short_asking(request: web.Request) -> web.StreamResponse:
        found = path.fullmatch(request.raw_path)
        if found is None or not (found[1] or decides_freely) or not _comes_plainly(request, is_served):
            return await long_way(request)
        if (request.content_length or 0) > most:  # of a larger body the long way reads what it can keep
            return await long_way(request)
        asks, session_id, wait = found.groups()
        if is_token is not None and is_token(session_id):  # the long way knows what must not be written down
            return await long_way(request)
        rights = _PRODUCE if asks else _APPROVE
        try:
            caller = auth.caller_of(request, token_in_query=False).require(rights, session_id)
        except NotifierError:
            return await long_way(request)
        body = request[CAME] = request.content.read_nowait()
        try:
            value = parse_json(body, unique_keys=True)
            query = _wait_of(wait) if asks else None
            said: Any = (AskBody if asks else Decision).model_validate(value)
        except (NotifierError, ValidationError):
            return await long_way(request)
        if asks and said.agent_call_id is not None:
            return await long_way(request)
        request[STANDING] = caller, rights, session_id
        call: Call[Any, Any] = Call(request, broker, settings, caller, session_id, query, said)
        try:
            return await (ask(call, told) if asks else decide(call, told))
        except Exception as error:
            where = f"{settings.prefix}/api/{'permissions' if asks else 'sse/permission-response'}/{{session_id}}"
            return answer_to(request, error, broker, where)

    return short_asking


@lru_cache(maxsize=64)
def _wait_of(text: str | None) -> WaitQuery:
    return WaitQuery() if text is None else WaitQuery(wait=float(text))


def _read(body: bytes) -> Any:
    """What it says; None where that is not JSON."""
    try:
        return parse_json(body, takes_infinity=True)
    except NotifierError:
        return None


class _Head:
    """The head of an answer, made once a second."""

    def __init__(self, status: Literal[200, 201] = 201) -> None:
        self._second = 0
        self._head = b""
        self._status = b"201 Created" if status == 201 else b"200 OK"

    def of(self, length: int) -> bytes:
        second = int(time.time())
        if second != self._second:
            headers = {**ANSWER_HEADERS, "Date": formatdate(second, usegmt=True), "Server": SERVER_SOFTWARE}
            lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
            self._second = second
            self._head = b"HTTP/1.1 %b\r\n%bContent-Length: " % (self._status, "".join(lines).encode())
        return b"%b%d\r\n\r\n" % (self._head, length)


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


class ToldToAny(Told):
    """The same of every request that has its answer with it: to make one for each costs as much as to parse a body."""

    def __init__(self) -> None:
        super().__init__(b"")

    async def prepare(self, request: web.BaseRequest) -> None:
        await request.writer.write(request[ANSWER])
