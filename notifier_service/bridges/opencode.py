"""A bridge to a running opencode server: it follows its events, asks here, and replies there.

Read in opencode 1.18 (``GET /event``, ``GET /permission``, ``POST /permission/{id}/reply``).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import quote, urlsplit

import aiohttp
from pydantic_core import from_json

from ..calls.asker import Asker
from ..calls.denials import denial_by_error, frozen
from ..calls.report import Report, new_call_id, usable_name
from ..core.errors import InvalidInput, NotifierError, ServiceRefused, ServiceUnavailable, ToolDenied
from ..core.question import Question
from ..mcp.sse_messages import SseMessages

__all__ = ["OpencodeBridge"]

_log = logging.getLogger("notifier_service.bridge")

_MAX_EVENT_BYTES = 64 * 1024 * 1024
_ANSWER_SECONDS = 10.0
#: opencode says something every 10 s; a stream that is silent for longer is dead.
_SILENCE_SECONDS = 45.0
_MAX_BACKOFF_SECONDS = 10.0
_REPLY_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0)
#: As many as wait at the same time; the rest is found when the bridge looks again.
_MAX_WAITING = 100


class _Waiting(NamedTuple):
    task: asyncio.Task[None]
    session_id: str


class OpencodeBridge:
    """Asks ``asker`` what the opencode server at ``url`` asks its person; an async context manager.

    What waited before it came is asked, too, and what was answered elsewhere is withdrawn here. ``always`` is never
    replied: what is remembered is remembered here. Rejected and undecided calls are rejected there, with the reason. A
    server that is away is looked for again; what waits here waits on, because it waits there.
    """

    def __init__(
        self, asker: Asker, url: str, *, approval_seconds: float | None = None, server: str | None = None
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInput("The address of opencode is a URL, such as http://127.0.0.1:4096.")
        self.url = parts._replace(query="", fragment="").geturl().rstrip("/")
        self._asker = asker
        self._approval_seconds = approval_seconds
        self._server = server
        self._waiting: dict[str, _Waiting] = {}
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(None, sock_connect=_ANSWER_SECONDS))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._http is not None  # entered
        tasks = [waiting.task for waiting in self._waiting.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.close()

    async def run(self) -> None:
        """Follow the server until cancelled. Raises ``ServiceUnavailable`` if it was never there."""
        backoff, was_there = 0.5, False
        while True:
            try:
                async for event in self._events():
                    backoff, was_there = 0.5, True
                    self._take(event)
                reason = "the server ended the stream"
            except ServiceRefused as error:
                if not was_there or error.status in (401, 403):
                    raise
                reason = error.message
            except (aiohttp.ClientError, TimeoutError, ConnectionError, ValueError) as error:
                reason = str(error) or type(error).__name__
                if not was_there:
                    raise ServiceUnavailable(f"There is no opencode at {_shown(self.url)}: {reason}") from error
            _log.warning("opencode is away (%s); looking for it again", reason)
            await asyncio.sleep(backoff * random.uniform(0.8, 1.2))
            backoff = min(2 * backoff, _MAX_BACKOFF_SECONDS)

    async def _events(self) -> AsyncIterator[Mapping[str, Any]]:
        assert self._http is not None  # entered
        messages = SseMessages(_MAX_EVENT_BYTES)
        async with self._http.get(f"{self.url}/event", headers={"Accept": "text/event-stream"}) as response:
            if response.status != 200 or response.content_type != "text/event-stream":
                await _refuse(response)
            # What it asks from now on comes as an event; what it asked before is on the list.
            await self._look()
            while True:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    piece = await response.content.readany()
                if not piece:
                    return
                for data in messages.take(piece):
                    event = from_json(data)
                    if isinstance(event, dict):
                        yield event

    async def _look(self) -> None:
        """Ask what waits there, and withdraw what does not any more."""
        pending = await self._request("GET", "/permission")
        if not isinstance(pending, list):
            raise ValueError("its list of permissions is none")
        asked = {one["id"]: one for one in pending if isinstance(one, dict) and isinstance(one.get("id"), str)}
        for request_id in self._waiting.keys() - asked.keys():
            self._withdraw(request_id)
        for one in asked.values():
            self._ask(one)

    def _take(self, event: Mapping[str, Any]) -> None:
        told = event.get("properties")
        if not isinstance(told, dict):
            return
        if event.get("type") == "permission.asked":
            self._ask(told)
        elif event.get("type") == "permission.replied":
            self._withdraw(told.get("requestID", told.get("permissionID")))
        elif event.get("type") == "session.deleted":
            info = told.get("info")
            session_id = info.get("id") if isinstance(info, dict) else told.get("sessionID")
            for request_id in [key for key, one in self._waiting.items() if one.session_id == session_id]:
                self._withdraw(request_id)

    def _ask(self, asked: Mapping[str, Any]) -> None:
        request_id, session_id = asked.get("id"), asked.get("sessionID")
        if not isinstance(request_id, str) or request_id in self._waiting or len(self._waiting) >= _MAX_WAITING:
            return
        task = asyncio.create_task(self._decide(request_id, asked))
        self._waiting[request_id] = _Waiting(task, str(session_id))
        task.add_done_callback(lambda _: self._waiting.pop(request_id, None))

    def _withdraw(self, request_id: Any) -> None:
        waiting = self._waiting.get(request_id) if isinstance(request_id, str) else None
        if waiting is not None:
            waiting.task.cancel()

    async def _decide(self, request_id: str, asked: Mapping[str, Any]) -> None:
        asker = self._asker
        shown = await self._shown(asked)
        report = Report(asker.tell, shown.tool_name, "high", shown.call_id, max_event_bytes=asker.max_event_bytes)
        reply: dict[str, Any] = {"reply": "once"}
        try:
            question = Question(
                shown.tool_name,
                frozen(shown.tool_name, shown.parameters),
                tool_call_id=shown.call_id,
                timeout_seconds=self._approval_seconds,
                description=shown.description,
                server=self._server,
                rated_by="producer",
                allowed_decisions=("approve", "reject"),
                announce_status=True,
                by_policy=False,
                is_whole=shown.is_whole,
            )
            await asker.ask(question)
            report.executing(question.parameters)
        except NotifierError as error:
            denial = error if isinstance(error, ToolDenied) else denial_by_error(shown.tool_name, error)
            report.denied(denial)
            reply = {"reply": "reject", "message": str(denial)}
        except asyncio.CancelledError:
            report.cancelled()
            raise
        problem = await self._replied(request_id, reply)
        if problem is not None and reply["reply"] == "once":  # nobody knows that it runs
            report.ended("cancelled", reason=f"opencode did not take the answer{problem}")

    async def _replied(self, request_id: str, reply: Mapping[str, Any]) -> str | None:
        """Reply there, again where that fails for a moment, since it waits for this; why it was not taken."""
        path = f"/permission/{quote(request_id, safe='')}/reply"
        for pause in (*_REPLY_PAUSES_SECONDS, None):
            try:
                await self._request("POST", path, reply)
            except ServiceRefused as error:
                if error.status == 404:
                    return ": it had another one already"  # somebody answered there first, or it is gone
                said = error.message
            except (aiohttp.ClientError, TimeoutError, ConnectionError, ValueError) as error:
                said = str(error) or type(error).__name__
            else:
                return None
            _log.warning("opencode did not take the answer to %s: %s", request_id, said)
            if pause is not None:
                await asyncio.sleep(pause)
        return ""

    async def _shown(self, asked: Mapping[str, Any]) -> _Shown:
        """What a person is shown: the call itself where opencode has it, else what it told with its question."""
        permission = usable_name(asked.get("permission")) or "permission"
        call = await self._call(asked)
        state = call.get("state")
        given = state.get("input") if isinstance(state, dict) else None
        call_id = usable_name(call.get("callID")) or new_call_id()
        if not isinstance(given, dict) or not given:
            told = {name: asked[name] for name in ("metadata", "patterns") if asked.get(name)}
            return _Shown(permission, told, None, call_id, is_whole=False)
        name = usable_name(call.get("tool")) or permission
        patterns = asked.get("patterns")
        told_patterns = ", ".join(map(str, patterns)) if isinstance(patterns, list) else ""
        description = None if name == permission else f"asks for {permission}: {told_patterns}"[:4000]
        return _Shown(name, dict(given), description, call_id, is_whole=True)

    async def _call(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """The call that the question is about, as opencode keeps it; empty where it is none, or not to be had."""
        tool = asked.get("tool")
        if not isinstance(tool, dict):
            return {}
        session_id, message_id = (quote(str(name), safe="") for name in (asked.get("sessionID"), tool.get("messageID")))
        path = f"/session/{session_id}/message/{message_id}"
        try:
            message = await self._request("GET", path)
        except (aiohttp.ClientError, TimeoutError, ConnectionError, ValueError, ServiceRefused):
            message = None
        parts = message.get("parts") if isinstance(message, dict) else None
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and part.get("type") == "tool" and part.get("callID") == tool.get("callID"):
                return part
        return {}

    async def _request(self, method: str, path: str, body: Any = None) -> Any:
        assert self._http is not None  # entered
        async with (
            asyncio.timeout(_ANSWER_SECONDS),
            self._http.request(method, self.url + path, json=body) as response,
        ):
            if response.status != 200:
                await _refuse(response)
            return await response.json(loads=from_json)


class _Shown(NamedTuple):
    tool_name: str
    parameters: dict[str, Any]
    description: str | None
    call_id: str
    is_whole: bool


async def _refuse(response: aiohttp.ClientResponse) -> None:
    text = (await response.content.read(1000)).decode(errors="replace")
    kind = response.content_type
    said = text.strip() if kind == "application/json" else f"it answers with {kind}"
    raise ServiceRefused(response.status, "error", f"This is no opencode server, or an older one: {said}")


def _shown(url: str) -> str:
    """The URL without a password that stands in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
