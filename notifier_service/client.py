"""Talk to a running service from Python: follow a session, ask, decide, publish."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from .errors import ServiceRefused, ServiceUnavailable

__all__ = ["DEFAULT_URL", "Client"]

DEFAULT_URL = "http://127.0.0.1:8000/agent_backend"

_FIRST_BACKOFF_SECONDS = 0.5
_MAX_BACKOFF_SECONDS = 30.0
#: Silence until ``hello`` says how often a heartbeat comes.
_FIRST_SILENCE_SECONDS = 30.0


class Client:
    """A client of the service at ``url`` (its prefix included), an async context manager.

    Every call raises ``ServiceUnavailable`` when nobody answers there, and ``ServiceRefused``, with the ``code`` and
    ``details`` of contract section 9, when the answer is an error. The token travels in a header, never in a URL.
    """

    def __init__(self, url: str = DEFAULT_URL, *, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(headers=self._headers, timeout=aiohttp.ClientTimeout(total=None, connect=10))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def events(
        self,
        session_id: str,
        *,
        after: str | None = None,
        on_lost: Callable[[str], None] | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Follow a session: every event once and in order, across dropped connections, restarts and gaps.

        ``after`` is the cursor to go on from; without one the present state comes first (``snapshot``). ``on_lost``
        hears why a connection dropped; the next ``hello`` says that it is back. Ends after a ``bye`` that tells not
        to come back. Raises ``ServiceRefused`` for an answer that another try would not change.
        """
        cursor = after
        backoff = _FIRST_BACKOFF_SECONDS
        while True:
            pause = None
            try:
                async for event_id, event in self._stream(session_id, cursor):
                    if event_id is not None:
                        cursor = event_id
                    backoff = _FIRST_BACKOFF_SECONDS
                    yield event
                    if event["type"] == "bye":
                        if not event["data"]["reconnect"]:
                            return
                        pause = event["data"]["retry_ms"] / 1000
                reason = "the service ended the stream"
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                reason = str(error) or type(error).__name__
            if on_lost is not None:
                on_lost(reason)
            if pause is None:
                pause = random.uniform(backoff / 2, backoff)
                backoff = min(_MAX_BACKOFF_SECONDS, backoff * 2)
            await asyncio.sleep(pause)

    async def decide(self, session_id: str, decision: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a permission request with the body of contract section 4; return its record."""
        return await self._record("POST", f"/api/sse/permission-response/{_quoted(session_id)}", body=dict(decision))

    async def ask(
        self,
        session_id: str,
        tool_name: str,
        parameters: Mapping[str, Any],
        *,
        wait_seconds: float = 0,
        idempotency_key: str | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Ask for permission and return the record, held until it is decided for at most ``wait_seconds``.

        ``more`` are the optional fields: ``risk_level``, ``tool_call_id``, ``timeout_seconds``, ``description``. A
        dropped connection cancels the request, unless an ``idempotency_key`` lets the same call join it again.
        """
        return await self._record(
            "POST",
            f"/api/permissions/{_quoted(session_id)}",
            body={"tool_name": tool_name, "parameters": dict(parameters), **more},
            query={"wait": str(wait_seconds)} if wait_seconds else {},
            headers={} if idempotency_key is None else {"Idempotency-Key": idempotency_key},
        )

    async def request(self, session_id: str, request_id: str, *, wait_seconds: float = 0) -> dict[str, Any]:
        """Return a permission request's record, held until it is decided for at most ``wait_seconds``."""
        return await self._record(
            "GET",
            f"/api/permissions/{_quoted(session_id)}/{_quoted(request_id)}",
            query={"wait": str(wait_seconds)} if wait_seconds else {},
        )

    async def cancel(self, session_id: str, request_id: str) -> dict[str, Any]:
        """Withdraw a permission request."""
        return await self._record("DELETE", f"/api/permissions/{_quoted(session_id)}/{_quoted(request_id)}")

    async def pending(self, session_id: str) -> list[dict[str, Any]]:
        """Return the pending permission requests, oldest first."""
        pending: list[dict[str, Any]] = await self._call("GET", f"/api/permissions/{_quoted(session_id)}")
        return pending

    async def publish(self, session_id: str, events: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[str]:
        """Publish one event ``{type, data}`` or several, and return their ids."""
        body: Any = dict(events) if isinstance(events, Mapping) else [dict(event) for event in events]
        answer = await self._call("POST", f"/api/events/{_quoted(session_id)}", body=body)
        ids: list[str] = answer["ids"]
        return ids

    async def health(self, session_id: str) -> dict[str, Any]:
        """Return how a session and its readers are."""
        return await self._record("GET", f"/api/sse/health/{_quoted(session_id)}")

    async def end_session(self, session_id: str) -> dict[str, Any]:
        """End a session."""
        return await self._record("DELETE", f"/api/sessions/{_quoted(session_id)}")

    async def _stream(self, session_id: str, cursor: str | None) -> AsyncIterator[tuple[str | None, dict[str, Any]]]:
        headers = {"Accept": "text/event-stream"} | ({} if cursor is None else {"Last-Event-ID": cursor})
        url = f"{self.url}/api/sse/events/{_quoted(session_id)}"
        async with self._session.get(url, headers=headers) as response:
            if response.status == 429 or response.status >= 500:
                raise aiohttp.ClientError(f"the service answers {response.status}")
            await _refused(response)
            silence_seconds = _FIRST_SILENCE_SECONDS
            event_id: str | None = None
            data: list[bytes] = []
            lines = _lines(response.content)
            while True:
                async with asyncio.timeout(silence_seconds):
                    line = await anext(lines, None)
                if line is None:
                    return
                if line.startswith(b"id: "):
                    event_id = line[4:].decode()
                elif line.startswith(b"data: "):
                    data.append(line[6:])
                elif not line and data:
                    event: dict[str, Any] = json.loads(b"\n".join(data))
                    if event["type"] == "hello":
                        # Two heartbeats missing and a little more: the connection is dead, or somebody holds it back.
                        silence_seconds = event["data"]["heartbeat_seconds"] * 2.5
                    yield event_id, event
                    event_id, data = None, []

    async def _record(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        return dict(await self._call(method, path, **more))

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        try:
            async with self._session.request(
                method, self.url + path, json=body, params=query or {}, headers=headers or {}
            ) as response:
                await _refused(response)
                return await _data(response)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServiceUnavailable(f"The service at {self.url} does not answer: {error}") from error

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            raise RuntimeError("a Client is used within 'async with'")
        return self._http


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines without their ends; an event may be longer than any line that aiohttp itself reads."""
    pieces: list[bytes] = []
    async for piece in content.iter_any():
        *lines, rest = piece.split(b"\n")
        for line in lines:
            yield b"".join([*pieces, line])
            pieces = []
        pieces.append(rest)


async def _data(response: aiohttp.ClientResponse) -> Any:
    try:
        return (await response.json())["data"]
    except (aiohttp.ContentTypeError, ValueError, KeyError, TypeError):
        raise _of_another(response) from None


def _of_another(response: aiohttp.ClientResponse) -> ServiceRefused:
    return ServiceRefused(
        response.status, "error", f"The answer is {response.status} and comes from no notifier_service."
    )


async def _refused(response: aiohttp.ClientResponse) -> None:
    if response.status < 400:
        return
    try:
        body = await response.json()
        error = dict(body["error"])
        code, message = str(error.pop("code")), str(error.pop("message"))
    except (aiohttp.ContentTypeError, ValueError, KeyError, TypeError):
        raise _of_another(response) from None
    raise ServiceRefused(response.status, code, message, **error)


def _quoted(text: str) -> str:
    return quote(text, safe="")
