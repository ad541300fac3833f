"""Between MCP clients and a server over streamable HTTP: only tools/call is held, everything else passes.

Both eras of the protocol: the one with handshake and sessions (to 2025-11-25), and the stateless one (2026-07-28).
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from pydantic_core import from_json
from yarl import URL

from ...calls.asker import Asker
from ...calls.catalog import Catalog, Definitions
from ...mcp.conversation import Conversation
from ...mcp.gate import Answer, Gate, Run
from ...mcp.message import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    Message,
    MessageRefused,
    ToolCall,
    answerable,
    denial_answer,
    error_answer,
    name_of,
    same_id,
    unpacked,
    written,
)
from ...mcp.readings import Skim, is_harmless
from ...mcp.sse_messages import PATIENCE_SECONDS, SIGN_OF_LIFE, SseEvent, SseMessages, sse_event
from ...mcp.task_calls import begun_task, too_many, withdrawn
from ...mcp.tasks import AFTER_SECONDS, Passed, Reply, Task, Tasks
from ..departure import has_left, noticing_departure
from .headers import (
    NAME,
    SESSION,
    RepeatedArguments,
    check_headers,
    check_task_headers,
    headers_for_own_request,
    relayed_headers,
)

__all__ = ["HttpRelay"]

_log = logging.getLogger("notifier_service.mcp")

#: For the server, where ``Authorization`` is for whoever runs the relay.
_UPSTREAM_AUTHORIZATION = "Upstream-Authorization"

_CREDENTIAL_WORDS = ("auth", "cookie", "key", "secret", "token")

_STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}

_BODY_SECONDS = 60.0
_CONNECT_SECONDS = 10.0

_MAX_REDIRECTS = 3
#: What is kept of an answer where it cannot be passed on piece by piece; and what is read to be shown of it.
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
_MAX_SHOWN_BYTES = 8 * 1024 * 1024

_MAX_PARTIES = 1000
#: Nobody tells who has no session that the tools have changed.
_CATALOG_SECONDS = 60.0

SessionOf = Callable[[str | None], str]


class HttpRelay:
    """The gate before the server at ``upstream``, which people know as ``server``; an async context manager.

    ``asker`` gives who is asked in a session of the service. ``private_headers``, in lower case, are meant for this
    side and not for the server, nor is any header with one of the ``secrets`` in it. A message of more than
    ``max_message_bytes`` is not taken of a client. One that takes tasks gets one for a call that waits longer than
    ``task_seconds``.

    It checks neither ``Host`` nor ``Origin`` nor who calls: whoever brings it requests does.
    """

    def __init__(
        self,
        upstream: str,
        asker: Callable[[str], Asker],
        *,
        server: str | None = None,
        approval_seconds: float | None = None,
        heartbeat_seconds: float = PATIENCE_SECONDS,
        task_seconds: float = AFTER_SECONDS,
        private_headers: Iterable[str] = (),
        secrets: Iterable[str] = (),
        max_message_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self.server = server
        self.heartbeat_seconds = heartbeat_seconds
        self._max_message_bytes = max_message_bytes
        self._upstream = URL(upstream)
        self._asker = asker
        self._approval_seconds = approval_seconds
        self._private_headers = frozenset(private_headers)
        self._secrets = tuple(filter(None, secrets))
        self._tasks = Tasks(after_seconds=task_seconds)
        self._parties: OrderedDict[_PartyKey, _Party] = OrderedDict()
        self._definitions: OrderedDict[str, Definitions] = OrderedDict()
        self._client_names: OrderedDict[_ClientKey, str | None] = OrderedDict()
        self._http: ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = ClientSession(
            # Common servers close a silent connection after 5 s, and what is sent to a closing one is lost.
            connector=TCPConnector(limit=0, keepalive_timeout=4),
            cookie_jar=DummyCookieJar(),
            skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.CONTENT_TYPE),
            timeout=ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for party in self._parties.values():
            party.calls.withdraw()
        await self._tasks.close()
        assert self._http is not None  # entered
        await self._http.close()

    async def answer(
        self,
        request: web.Request,
        session_of: SessionOf,
        *,
        approval_seconds: float | None = None,
        caller: str | None = None,
        still_may: Callable[[str], bool] = lambda session_id: True,
    ) -> web.StreamResponse:
        """Answer a client's GET, POST or DELETE.

        ``session_of`` names the service's session that belongs to an MCP session, or to none. ``approval_seconds``
        counts before that of all; ``still_may`` is asked before a call that was held runs. A ``caller`` who is known
        has tasks of its own; else a client has them by its credentials. Raises ``ConnectionResetError`` when the client
        has left.
        """
        client = self._client_of(request)
        seconds = self._approval_seconds if approval_seconds is None else approval_seconds
        key = _PartyKey(session_of(client.mcp_session), seconds, client)
        owner = (key.session_id, client.credentials if caller is None else caller)
        with noticing_departure(request):
            try:
                message = None
                if request.method == hdrs.METH_POST:
                    message = Message.parse(await self._body(request))
                    check_headers(request.headers, message)
                if message is not None and message.is_tool_call:
                    if "id" not in message.body:
                        _log.warning("a tools/call without an id was dropped: nobody could ask about it or answer it")
                        return web.Response(status=202)
                    return await self._call(request, ToolCall(message), self._party(key), owner, still_may)
                return await self._pass(request, message, key, owner)
            except MessageRefused as refused:
                return _json(refused.answer, 413 if isinstance(refused, _TooLong) else 400)

    async def _pass(
        self, request: web.Request, message: Message | None, key: _PartyKey, owner: _Owner
    ) -> web.StreamResponse:
        """Send on what is no tool call, and what the server answers."""
        body, message_id = None, None
        headers = self._headers(request)
        passed = None
        if message is not None:
            if self._tasks.knows(message):
                check_task_headers(request.headers, message)
            looked = self._tasks.look(owner, message)
            if isinstance(looked, Reply):
                return _json(looked.text, 400 if looked.is_error else 200)
            passed = looked
            body = message.text
            if message.method is not None:
                message_id = message.message_id
            if message.method == "notifications/cancelled" and self._cancelled(key, message.params.get("requestId")):
                return web.Response(status=202)
            if passed is not None:
                body = passed.text
                if passed.task_id is not None:
                    headers[NAME] = passed.task_id
        reply = _Reply(self, request, message_id)
        try:
            async with self.sent(request.method, headers, body) as upstream:
                if upstream.status < 300:
                    if message is not None and message.method == "initialize":
                        self._remember_name(key.client, upstream, name_of(message.params.get("clientInfo")))
                    elif request.method == hdrs.METH_DELETE:
                        self._end_session(key.client.mcp_session)
                return await reply.relayed(upstream, _Watch(self, key, asked=(message_id, passed)))
        except _UpstreamAway as error:
            return await reply.failure(str(error))

    async def _call(
        self, request: web.Request, call: ToolCall, party: _Party, owner: _Owner, still_may: Callable[[str], bool]
    ) -> web.StreamResponse:
        """Ask about a call, and send it on if it may run."""
        reply = _Reply(self, request, call.message_id)
        headers = party.headers = self._headers(request)
        may = partial(still_may, party.key.session_id)
        run = party.calls.gate.admit_nowait(call)
        if run is None:
            send = partial(self._send, headers, party)
            task_of = partial(begun_task, self._tasks, owner, party.calls, call, send=send, still_may=may)
            admitted = await self._held(reply, call, party, task_of)
            if admitted is None:
                return await reply.nothing()
            if isinstance(admitted, Task):
                return await self._task_told(request, reply, call, admitted)
            if isinstance(admitted, Answer):
                return await reply.message(admitted.text)
            run = admitted
            if has_left(request):
                run.cancelled()
                raise ConnectionResetError("the client has left")
            if not may():
                run.cancelled()
                text = f"{call.name} did not run: the token of who called it is no longer good for it."
                return await reply.message(denial_answer(call, text))
        headers = party.headers_for(run, headers)
        watch = _Watch(self, party.key, run)
        party.calls.starts(run)
        try:
            async with self.sent("POST", headers, run.text) as upstream:
                return await reply.relayed(upstream, watch)
        except _UpstreamAway as error:
            run.ends({"error": {"message": str(error)}})
            return await reply.failure(str(error))
        finally:
            # A client that left may come back for the rest of a stream whose events have ids.
            if not watch.is_resumable:
                party.calls.drop(run)

    async def _held(
        self,
        reply: _Reply,
        call: ToolCall,
        party: _Party,
        task_of: Callable[[asyncio.Task[Run | Answer]], Task | None],
    ) -> Run | Answer | Task | None:
        """Wait for what becomes of a call, for so long that it is a task; None when its client has cancelled it."""
        beats: list[bytes] = []
        woken = asyncio.Event()

        def beat(text: bytes) -> None:
            beats[:] = [text]
            woken.set()

        admission = asyncio.create_task(party.calls.admit(call, beat))
        admission.add_done_callback(lambda _: woken.set())
        held = party.calls.hold(call.message_id, admission.cancel)
        task = None
        left = self._tasks.after_seconds if call.takes_tasks else math.inf
        try:
            while not admission.done():
                began = time.monotonic()
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(self.heartbeat_seconds, left)):
                        await woken.wait()
                woken.clear()
                left -= time.monotonic() - began
                if admission.done():
                    break
                if left <= 0:
                    task = task_of(admission)
                    return too_many(call) if task is None else task
                await reply.sign_of_life(beats)
        finally:
            party.calls.let_go(held)
            if task is None and not admission.done():
                await withdrawn(admission)
        if admission.cancelled():
            return None
        admitted = admission.result()
        if not held.is_withdrawn:
            return admitted
        if isinstance(admitted, Run):
            admitted.cancelled()
        return None

    async def _task_told(self, request: web.Request, reply: _Reply, call: ToolCall, task: Task) -> web.StreamResponse:
        """Answer with a task; a client that is not told of it will not ask, and nothing runs."""
        try:
            if has_left(request):
                raise ConnectionResetError("the client has left")
            return await reply.message(task.created(call.message_id))
        except (ConnectionError, asyncio.CancelledError):
            self._tasks.cancel(task)
            raise

    async def _send(self, headers: CIMultiDict[str], party: _Party, run: Run) -> Mapping[str, Any]:
        """Run a call for which nobody waits but its task."""
        run.begins()
        try:
            async with self.sent("POST", party.headers_for(run, headers), run.text) as upstream:
                async for message in _messages(upstream):
                    party.calls.read(message, run)
                    if "method" not in message and same_id(message.get("id"), run.call.message_id):
                        return message
                raise _UpstreamAway(f"The MCP server answered with status {upstream.status} and no result.")
        except _UpstreamAway as error:
            response = {"error": {"code": INTERNAL_ERROR, "message": str(error)}}
            run.ends(response)
            return response
        finally:
            run.cancelled()  # if it has not ended

    def definitions(self, session_id: str) -> Definitions:
        """What is known of the server's tools in a session of the service, whichever client has had them listed."""
        definitions = self._definitions.setdefault(session_id, Definitions())
        self._definitions.move_to_end(session_id)
        if len(self._definitions) > _MAX_PARTIES:
            self._definitions.popitem(last=False)
        return definitions

    def party(self, key: _PartyKey) -> _Party | None:
        """Whoever has called a tool under this key."""
        return self._parties.get(key)

    @asynccontextmanager
    async def sent(self, method: str, headers: CIMultiDict[str], body: bytes | None) -> AsyncIterator[ClientResponse]:
        """Send a request to the server. Raises ``_UpstreamAway`` for whatever keeps it from answering."""
        assert self._http is not None  # entered
        url = self._upstream
        for _ in range(_MAX_REDIRECTS + 1):
            try:
                upstream = await self._http.request(method, url, headers=headers, data=body, allow_redirects=False)
            except (ClientError, OSError, ValueError) as error:
                _log.warning("the server at %s does not answer: %s", self._upstream.origin(), type(error).__name__)
                raise _UpstreamAway("The MCP server cannot be reached.") from None
            async with upstream:
                if not 300 <= upstream.status < 400 or upstream.status == 304:
                    yield upstream
                    return
                # A client that followed it would go past the gate.
                url = _redirected(url, upstream)
        raise _UpstreamAway("The MCP server redirects without end.")

    def _party(self, key: _PartyKey) -> _Party:
        party = self._parties.get(key)
        if party is None:
            party = _Party(self, key, self._asker(key.session_id))
            party.calls.gate.client_name = self._client_names.get(key.client)
            self._parties[key] = party
            if len(self._parties) > _MAX_PARTIES:
                idle = next((old for old, party in self._parties.items() if not party.calls.is_waiting), None)
                if idle is not None:
                    self._parties.pop(idle).calls.withdraw()
        self._parties.move_to_end(key)
        party.refresh()
        return party

    def _cancelled(self, key: _PartyKey, message_id: Any) -> bool:
        party = self._parties.get(key)
        return party is not None and party.calls.cancelled(message_id)

    def _end_session(self, mcp_session: str | None) -> None:
        if mcp_session is not None:
            for key in [key for key in self._parties if key.client.mcp_session == mcp_session]:
                self._parties.pop(key).calls.withdraw()

    def _remember_name(self, client: _ClientKey, upstream: ClientResponse, name: str | None) -> None:
        """Keep what a client called itself for the calls that it makes in the session which begins."""
        self._client_names[client._replace(mcp_session=upstream.headers.get(SESSION))] = name
        if len(self._client_names) > _MAX_PARTIES:
            self._client_names.popitem(last=False)

    @staticmethod
    def _client_of(request: web.Request) -> _ClientKey:
        named = (
            (name.lower(), value)
            for name, value in request.headers.items()
            if name.lower() == "user-agent"
            or (name.lower() != "idempotency-key" and any(word in name.lower() for word in _CREDENTIAL_WORDS))
        )
        return _ClientKey(request.headers.get(SESSION), tuple(sorted(named)))

    def _headers(self, request: web.Request) -> CIMultiDict[str]:
        """What the server is sent of a client's headers."""
        ours = {name.lower() for name, value in request.headers.items() if any(key in value for key in self._secrets)}
        headers = relayed_headers(request.headers, self._private_headers | ours)
        upstream_authorization = headers.popall(_UPSTREAM_AUTHORIZATION, None)
        if upstream_authorization is not None and "authorization" in self._private_headers:
            headers["Authorization"] = upstream_authorization[-1]
        if hdrs.CONTENT_TYPE in headers:
            # Without a charset: one that the server obeys would have it read something else than was judged.
            headers[hdrs.CONTENT_TYPE] = request.content_type
        headers[hdrs.ACCEPT_ENCODING] = "identity"
        return headers

    def response_headers(self, upstream: ClientResponse) -> CIMultiDict[str]:
        """What a client is sent of the server's headers. Which pages may read it is not the server's to say."""
        headers = relayed_headers(upstream.headers, {"set-cookie"} if "cookie" in self._private_headers else ())
        for name in [name for name in headers if name.lower().startswith("access-control-")]:
            headers.popall(name, None)
        if upstream.charset not in (None, "utf-8"):
            headers[hdrs.CONTENT_TYPE] = upstream.content_type  # one by which it would be another message
        return headers

    async def _body(self, request: web.Request) -> bytes:
        limit = self._max_message_bytes
        body = bytearray()
        try:
            if (request.content_length or 0) <= limit:
                async with asyncio.timeout(_BODY_SECONDS):
                    async for piece in request.content.iter_any():
                        body += piece
                        if len(body) > limit:
                            break
                    else:
                        return bytes(body)
        except (TimeoutError, web.RequestPayloadError, HttpProcessingError):
            raise MessageRefused(INVALID_REQUEST, "The message did not arrive whole.") from None
        raise _TooLong(INVALID_REQUEST, f"The message is longer than {limit} bytes.")


class _ClientKey(NamedTuple):
    """What tells one client of a server from another."""

    mcp_session: str | None
    credentials: tuple[tuple[str, str], ...]


#: Whose a task is: the session of the service, and who calls.
_Owner = tuple[str, Hashable]


class _PartyKey(NamedTuple):
    session_id: str
    approval_seconds: float | None
    client: _ClientKey


class _Party:
    """One client before the gate: its calls, and the tools as the server lists them for it."""

    def __init__(self, relay: HttpRelay, key: _PartyKey, asker: Asker) -> None:
        self.key = key
        gate = Gate(
            asker,
            Catalog(self._request, definitions=relay.definitions(key.session_id)),
            server=relay.server,
            approval_seconds=key.approval_seconds,
            heartbeat_seconds=relay.heartbeat_seconds,
        )
        self.calls = Conversation(gate)
        #: Those of its newest call: the gateway's own requests are made in its name.
        self.headers: CIMultiDict[str] = CIMultiDict()
        self.repeated = RepeatedArguments()
        self._relay = relay
        self._refreshed_at = time.monotonic()

    def headers_for(self, run: Run, headers: CIMultiDict[str]) -> CIMultiDict[str]:
        """The headers with which a call runs: where they repeat arguments, as a person edited those."""
        return headers if run.edited is None else self.repeated.told_anew(headers, run.call.name, run.edited)

    def refresh(self) -> None:
        """Forget a list of tools whose changes would not be told."""
        now = time.monotonic()
        if self.key.client.mcp_session is None and now - self._refreshed_at > _CATALOG_SECONDS:
            self._refreshed_at = now
            self.calls.gate.catalog.drop()

    async def _request(self, method: str, params: dict[str, Any]) -> Mapping[str, Any]:
        """Ask the server something of the gateway's own; the client never sees it."""
        message_id, body = self.calls.own_request(method, params)
        headers = headers_for_own_request(self.headers, method)
        async with self._relay.sent("POST", headers, body) as upstream:
            messages = _messages(upstream)
            async for message in messages:
                if message.get("id") == message_id and "method" not in message:
                    self.repeated.note(message.get("result"))
                    return message
        raise _UpstreamAway("The MCP server did not answer.")


class _Reply:
    """What a client gets for one request: an answer, or a stream that was opened while a person thought."""

    def __init__(self, relay: HttpRelay, request: web.Request, message_id: Any) -> None:
        self._relay = relay
        self._request = request
        self._message_id = answerable(message_id)
        self._stream: web.StreamResponse | None = None
        accepted = request.headers.get("Accept", "")
        self._takes_stream = "text/event-stream" in accepted
        self._takes_json = not self._takes_stream or "application/json" in accepted or "*/*" in accepted

    async def sign_of_life(self, beats: list[bytes]) -> None:
        """Tell a client that can hear it that its call still waits."""
        if self._takes_stream:
            stream = await self._opened()
            await stream.write(b"".join(map(sse_event, beats)) or SIGN_OF_LIFE)
            beats.clear()

    async def message(self, text: bytes, status: int = 200) -> web.StreamResponse:
        """Answer with one message."""
        if self._stream is None and (self._takes_json or status != 200):
            return _json(text, status)
        stream = await self._opened()
        await stream.write(sse_event(text))
        await stream.write_eof()
        return stream

    async def failure(self, text: str) -> web.StreamResponse:
        return await self.message(error_answer(self._message_id, INTERNAL_ERROR, text), 502)

    async def nothing(self) -> web.StreamResponse:
        """End without an answer, which a client that cancelled its request does not want."""
        if not self._takes_stream:
            return await self.message(error_answer(self._message_id, INVALID_REQUEST, "The call was cancelled."))
        stream = await self._opened()
        await stream.write_eof()
        return stream

    async def relayed(self, upstream: ClientResponse, watch: _Watch) -> web.StreamResponse:
        """Answer with what the server answers, as it comes and as far as it may pass."""
        watch.begin(upstream)
        if not _is_stream(upstream):
            return await self._whole(upstream, watch)
        stream = self._stream
        if stream is None:
            stream = await self._begun(upstream)
        try:
            async for piece in _pieces(upstream):
                await stream.write(watch.passed(piece))
            await stream.write(watch.rest())
        except _UpstreamAway as error:
            raise self._broken_off(watch, error) from None
        watch.end()
        await stream.write_eof()
        return stream

    async def _whole(self, upstream: ClientResponse, watch: _Watch) -> web.StreamResponse:
        """Answer with a body that is one message, or none; only one that is too long to be kept passes in pieces."""
        body = bytearray()
        pieces = _pieces(upstream)
        async for piece in pieces:
            body += piece
            if len(body) > _MAX_SHOWN_BYTES and (self._stream is None or len(body) > _MAX_ANSWER_BYTES):
                return await self._long(upstream, bytes(body), pieces, watch)
        text = bytes(body)
        watch.read_whole(text)
        if self._stream is None and not _may_be_message(upstream, text):
            watch.end()
            return await self._sent(upstream, text)
        try:
            passed = watch.judged(text)
        except MessageRefused as refused:
            watch.end()
            is_answer = refused.is_response and same_id(refused.message_id, self._message_id)
            return await (self.message(refused.answer, 502) if is_answer else self.failure(str(refused)))
        watch.end()
        if watch.is_told_anew:
            return await self.message(passed, 400)
        if self._stream is None:
            return await self._sent(upstream, passed)
        # Say in the open stream what the server says in a plain answer.
        if _object(passed) is not None and b"jsonrpc" in passed:
            return await self.message(passed)
        return await self.failure(f"The MCP server answered with status {upstream.status} and no message.")

    async def _long(
        self, upstream: ClientResponse, begun: bytes, pieces: AsyncIterator[bytes], watch: _Watch
    ) -> web.StreamResponse:
        watch.miss()
        if self._stream is not None:
            watch.end()
            return await self.failure("The MCP server's answer is too long.")
        stream = await self._begun(upstream)
        skim = Skim()
        try:
            await stream.write(_skimmed(skim, begun))
            async for piece in pieces:
                await stream.write(_skimmed(skim, piece))
        except _UpstreamAway as error:
            raise self._broken_off(watch, error) from None
        watch.end()
        await stream.write_eof()
        return stream

    async def _begun(self, upstream: ClientResponse) -> web.StreamResponse:
        stream = web.StreamResponse(
            status=upstream.status, reason=upstream.reason, headers=self._relay.response_headers(upstream)
        )
        await stream.prepare(self._request)
        return stream

    async def _sent(self, upstream: ClientResponse, body: bytes) -> web.StreamResponse:
        headers = self._relay.response_headers(upstream)
        return web.Response(status=upstream.status, reason=upstream.reason, headers=headers, body=body)

    def _broken_off(self, watch: _Watch, error: _UpstreamAway) -> ConnectionResetError:
        """A client must not take what came for all there is."""
        watch.end()
        if self._request.transport is not None:
            self._request.transport.abort()
        return ConnectionResetError(str(error))

    async def _opened(self) -> web.StreamResponse:
        if self._stream is None:
            self._stream = web.StreamResponse(headers=_STREAM_HEADERS)
            await self._stream.prepare(self._request)
        return self._stream


class _Watch:
    """Reads along in an answer of the server's: what becomes of the calls that run, and whether its tools change."""

    def __init__(
        self,
        relay: HttpRelay,
        key: _PartyKey,
        run: Run | None = None,
        *,
        asked: tuple[Any, Passed | None] = (None, None),
    ) -> None:
        self._relay = relay
        self._key = key
        self._run = run
        #: Whether the client gets another error than the server's.
        self.is_told_anew = False
        self._asked_id, self._passed_on = asked
        self._events: SseMessages | None = None
        self._skim: Skim | None = None
        self._missed = False
        self._status = 0

    @property
    def is_resumable(self) -> bool:
        """Whether the answer that is missing may come over another stream."""
        return self._run is not None and self._events is not None and self._events.has_ids

    def begin(self, upstream: ClientResponse) -> None:
        self._status = upstream.status
        if _is_stream(upstream):
            self._events = SseMessages(_MAX_SHOWN_BYTES)

    def passed(self, piece: bytes) -> bytes:
        """What the client gets of this piece of a stream. Raises ``_UpstreamAway`` where it must not get the rest."""
        assert self._events is not None  # begun with a stream
        return b"".join([self._passed(event) for event in self._events.events(piece)])

    def rest(self) -> bytes:
        """What the client gets of what stands behind the last event."""
        assert self._events is not None  # begun with a stream
        return self._passed(self._events.rest())

    def judged(self, text: bytes) -> bytes:
        """A body as it may pass. Raises ``MessageRefused``."""
        if text.lstrip()[:1] == b"[":
            with suppress(ValueError):
                return b"[%b]" % b",".join(map(self._message, unpacked(text)))
        try:
            return self._message(text)
        except (ValueError, RecursionError):
            if is_harmless(text):
                return text
            raise MessageRefused(INTERNAL_ERROR, "The MCP server's answer is no message, and could be one.") from None

    def read_whole(self, text: bytes) -> None:
        """Read the body of an answer that is none of events."""
        if self._run is not None:
            self._read(text)

    def miss(self) -> None:
        """The answer is too long to be read."""
        self._missed = True

    def end(self) -> None:
        """The answer is over."""
        run = self._run
        if run is None or self.is_resumable:
            return
        if self._missed or (self._events is not None and self._events.missed):
            said = "the server's answer was passed on; it is too long to be shown"
            run.ends({"result": {"content": [{"type": "text", "text": said}]}})
        else:
            run.ends({"error": {"message": f"the server answered with status {self._status} and no result"}})

    def _passed(self, event: SseEvent) -> bytes:
        if event.is_part:
            if self._skim is None:
                self._skim = Skim()
            return _skimmed(self._skim, event.raw)
        others_are_harmless = all(map(is_harmless, event.others))
        if not event.data:
            return event.raw if others_are_harmless else b""
        # Whatever a reader puts between two lines is white space here, and to nobody a message of its own.
        text = b" ".join(event.data)
        is_plain = others_are_harmless and not any(line.lstrip()[:1] in (b"{", b"[") for line in event.data[1:])
        try:
            passed = self.judged(text)
        except MessageRefused as refused:
            _log.warning("a message of the server did not pass: %s", refused)
            if refused.is_response and self._run is not None and same_id(refused.message_id, self._run.call.message_id):
                self._read(refused.answer)
                return sse_event(refused.answer)
            return b""
        self._read(passed)
        if is_plain and passed == text:
            return event.raw
        kept = [line for line in event.others if others_are_harmless and line.startswith((b"id:", b"event:"))]
        return b"".join(line + b"\n" for line in kept) + b"data: " + passed + b"\n\n"

    def _message(self, text: bytes) -> bytes:
        """A message as it may pass. Raises ``MessageRefused``, and ``ValueError`` for what is none."""
        message = Message.of_server(text)
        party = self._relay.party(self._key)
        # Of two clients that cannot be told apart one may wait with the id with which the other has asked this.
        is_asked_for = message.is_response and same_id(message.message_id, self._asked_id)
        may_pass = is_asked_for or party is None or party.calls.may_answer(message.message_id, self._run)
        if message.is_response and not may_pass:
            raise MessageRefused(INTERNAL_ERROR, "It answers a call that the server has not been sent.")
        if self._passed_on is not None and is_asked_for:
            told = self._passed_on.told(message.body)
            if told is not message.body:
                self.is_told_anew = "error" in told
                return written(told)
        return message.text if party is None else party.calls.passed(message, self._run)

    def _read(self, data: bytes) -> None:
        """Learn from a message what becomes of a call."""
        message, party = _object(data), self._relay.party(self._key)
        if message is not None and party is not None:
            party.calls.read(message, self._run)


class _UpstreamAway(ConnectionError):
    """The server does not answer, or not to the end."""


class _TooLong(MessageRefused):
    pass


def _redirected(url: URL, upstream: ClientResponse) -> URL:
    """Where the same request goes instead: elsewhere at the same server, such as to a path with a slash."""
    with suppress(KeyError, ValueError):
        target = url.join(URL(upstream.headers["Location"]))
        if upstream.status in (307, 308) and target.origin() == url.origin():
            return target
    raise _UpstreamAway(f"The MCP server at {url.origin()} redirects elsewhere: name that address as the upstream.")


def _is_stream(upstream: ClientResponse) -> bool:
    """Whether anybody may take an answer for events: some only look whether the type has that word."""
    return "event-stream" in upstream.headers.get(hdrs.CONTENT_TYPE, "").lower()


def _may_be_message(upstream: ClientResponse, body: bytes) -> bool:
    """Whether anybody may take a body for a message: one that is called so, or begins like one."""
    return bool(body) and (
        "json" in upstream.headers.get(hdrs.CONTENT_TYPE, "").lower()
        or body.lstrip(b"\xef\xbb\xbf\xfe\xff\x00 \t\r\n\f\v")[:1] in (b"{", b"[")
    )


def _skimmed(skim: Skim, piece: bytes) -> bytes:
    if not skim.is_harmless(piece):
        raise _UpstreamAway("the server sends what could be read as a call of a tool")
    return piece


async def _pieces(upstream: ClientResponse) -> AsyncIterator[bytes]:
    """A server's answer as it comes. Raises ``_UpstreamAway`` when it breaks off."""
    try:
        async for piece in upstream.content.iter_any():
            yield piece
    except (ClientError, OSError, ValueError):
        raise _UpstreamAway("The MCP server broke off its answer.") from None


async def _messages(upstream: ClientResponse) -> AsyncIterator[Mapping[str, Any]]:
    """The messages of an answer, whichever of its two forms it has."""
    events = SseMessages(_MAX_ANSWER_BYTES) if _is_stream(upstream) else None
    body = bytearray()
    async for piece in _pieces(upstream):
        if events is not None:
            for data in events.take(piece):
                if (message := _object(data)) is not None:
                    yield message
        else:
            body += piece
            if len(body) > _MAX_ANSWER_BYTES:
                return
    if (message := _object(bytes(body))) is not None:
        yield message


def _object(data: bytes) -> Mapping[str, Any] | None:
    try:
        message = from_json(data)
    except ValueError:
        with suppress(ValueError, RecursionError):  # half a character, which only this parser takes
            message = json.loads(data)
            return message if isinstance(message, dict) else None
        return None
    return message if isinstance(message, dict) else None


def _json(text: bytes, status: int) -> web.Response:
    return web.Response(body=text, status=status, headers={"Content-Type": "application/json"})
