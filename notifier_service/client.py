"""Talk to a running service from Python: follow a session, ask, decide, publish."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import math
import random
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp

from . import service_address
from .bare import DEFAULT_URL
from .core.errors import (
    InvalidInput,
    NotifierError,
    ServiceRefused,
    ServiceRestarted,
    ServiceUnavailable,
    ServiceUnproven,
)
from .core.trace import traceparent_now
from .version import __version__

__all__ = ["DEFAULT_URL", "Client"]

_PIECEWISE_BYTES = 256 * 1024
_FIRST_BACKOFF_SECONDS = 0.5
#: Most that is away is back within a minute: until then it is tried every 2 to 3 s.
_FIRST_MINUTE_SECONDS = 60.0
_EARLY_BACKOFF_SECONDS = 3.0
_MAX_BACKOFF_SECONDS = 30.0
#: For a person with any time, nobody waits longer for a service that has gone.
_LONGEST_AWAY_SECONDS = 60 * 60.0
_MAX_PROBE_SECONDS = 2 * 60 * 60.0
#: What an answer may take beyond the time that it is held, and that its request takes over the slowest of networks.
_ANSWER_SECONDS = 10.0
_SLOWEST_BYTES_A_SECOND = 32 * 1024
#: How long one answer is held: proxies cut after 50 to 60 s of silence.
_HOLD_SECONDS = 25.0
_FAREWELL_SECONDS = 2.0
#: How often the inbox is asked for where its stream does not get through, and how seldom nothing new is told.
_INBOX_POLL_SECONDS = 2.0
_INBOX_BEAT_SECONDS = 15.0
_INBOX = "/api/inbox"
_INBOX_STREAM = "/api/sse/inbox"
#: As many as the service takes in one request.
_MOST_DECISIONS = 100

_T = TypeVar("_T")
#: An event, and the cursor of whoever has seen it.
_Steps = AsyncGenerator[tuple[str | None, dict[str, Any]], None]


class Client:
    """Talks to the service at ``url``, with its prefix or without; an async context manager.

    Every call raises ``ServiceUnavailable`` when nobody answers there, ``ServiceUnproven`` when somebody answers who
    does not prove to be this user's service (nothing is sent to him), and ``ServiceRefused``, with the ``code`` and
    ``details`` of contract section 9, when the service answers with an error. The token travels in a header, never in a
    URL.

    ``events`` leaves a stream that brings nothing for ``silence_seconds`` before its ``hello`` (two default
    heartbeats), or for 2.5 heartbeats after it, and goes on over long-polls that the service holds for ``poll_seconds``
    (60 at most). It tries the stream again after ``probe_seconds``, each time twice as late, and after every lost
    connection.

    No call waits for an answer for ever: without one it raises ``ServiceUnavailable`` after some 10 s, or 20 s.
    A call that waits for a decision has the service hold its answer for 25 s at most, and asks for it again, also when
    it got lost; while the service is away it tries for ``away_seconds``, and for as long as the person has whom it has
    asked already. When a connection was lost, the client sends
    the request once more under the same ``Idempotency-Key``, so that the service asks or publishes nothing twice.
    Where a rate of the service is reached (``publish_rate`` and others), it waits as long as that says, up to
    ``away_seconds``.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        silence_seconds: float = 30,
        poll_seconds: float = 25,
        probe_seconds: float = 600,
        away_seconds: float = 20,
        user_agent: str = f"notifier-service/{__version__}",
    ) -> None:
        self.url = urlsplit(url)._replace(query="", fragment="").geturl().rstrip("/")
        self._locating: asyncio.Future[tuple[str, bool]] | None = None
        self._silence_seconds = silence_seconds
        self._poll_seconds = poll_seconds
        self._probe_seconds = probe_seconds
        self._away_seconds = away_seconds
        self._withdrawals: set[asyncio.Task[None]] = set()
        self._headers = {"User-Agent": user_agent}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = self._new_session()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._withdrawals:
            await asyncio.wait(self._withdrawals, timeout=_FAREWELL_SECONDS)
            for task in self._withdrawals:
                task.cancel()
            await asyncio.gather(*self._withdrawals, return_exceptions=True)
        if self._http is not None:
            await self._http.close()
            self._http = None

    def events(
        self,
        session_id: str,
        *,
        after: str | None = None,
        on_lost: Callable[[str], None] | None = None,
        visible: bool = False,
    ) -> AsyncIterator[dict[str, Any]]:
        """Follow a session: every event once and in order, across dropped connections, restarts and gaps.

        ``after`` is the cursor to go on from; without one the present state comes first (``snapshot``). ``on_lost``
        hears why a connection dropped or was left for another way, the stream or long-poll; the next ``hello`` says
        that it is back. ``visible`` says that a person sees what comes. Over long-poll there is no ``bye``. Ends after
        a ``bye`` that tells not to come back. Raises ``ServiceRefused`` for an answer that another try would not
        change.
        """
        return self._follow(
            lambda cursor: self._stream(_stream_of(session_id), cursor, visible=visible),
            lambda cursor, probe_seconds: self._long_poll(session_id, cursor, probe_seconds),
            after,
            on_lost,
        )

    def inbox_events(
        self, *, after: str | None = None, on_lost: Callable[[str], None] | None = None, visible: bool = False
    ) -> AsyncIterator[dict[str, Any]]:
        """Follow all sessions that the caller may see, as ``events`` does one (contract section 13).

        Where the stream does not get through, the whole comes as a ``snapshot`` whenever something has changed.
        """
        return self._follow(
            lambda cursor: self._stream(_INBOX_STREAM, cursor, visible=visible),
            lambda cursor, probe_seconds: self._poll_inbox(probe_seconds),
            after,
            on_lost,
        )

    async def _follow(
        self,
        stream: Callable[[str | None], _Steps],
        poll: Callable[[str | None, float], _Steps],
        cursor: str | None,
        on_lost: Callable[[str], None] | None,
    ) -> AsyncIterator[dict[str, Any]]:
        backoff, streaming = _Backoff(), True
        probe_seconds, next_probe_seconds = 0.0, self._probe_seconds
        while True:
            pause: float | None = None
            retry_after = 0.0
            url = self.url
            steps = stream(cursor) if streaming else poll(cursor, probe_seconds)
            try:
                async with aclosing(steps):
                    async for place, event in steps:
                        cursor = place
                        if "id" in event or event["type"] == "heartbeat":
                            backoff.reset()  # what only greets and falls silent has proven nothing
                        yield event
                        if event["type"] == "bye":
                            if not event["data"]["reconnect"]:
                                return
                            pause = event["data"]["retry_ms"] / 1000
                            break
                if streaming:
                    reason = "the service ended the stream"
                else:
                    reason, pause, streaming = "the stream gets through again: going back to it", 0.0, True
            except _Silent:
                # Somebody holds the stream back. What he holds is behind the cursor, and comes over long-poll.
                reason, pause, streaming = "the stream stays silent: going on over long-poll", 0.0, False
                probe_seconds, next_probe_seconds = next_probe_seconds, _later(next_probe_seconds)
            except ServiceUnproven:
                raise
            except ServiceRefused as error:
                await self._locate(error, url)
                continue
            except (aiohttp.ClientError, TimeoutError, ConnectionError, ServiceUnavailable) as error:
                reason = str(error) or type(error).__name__
                probe_seconds = 0.0  # the way there may be another one afterwards
                if isinstance(error, _Busy):
                    retry_after = error.retry_after
            if on_lost is not None:
                on_lost(reason)
            if pause is None:
                pause = retry_after + backoff.next()
            await asyncio.sleep(pause)

    async def session_info(self, session_id: str) -> dict[str, Any]:
        """Return the present state of a session, and how many watch it."""
        return await self._record("GET", _session_info(session_id), is_safe=True)

    async def label(self, session_id: str, **label: str | None) -> dict[str, Any]:
        """Say what a session is called, with ``title``, ``agent`` or both; None takes one away."""
        return await self._record("POST", f"/api/sessions/{_quoted(session_id)}", body=label, is_safe=True)

    async def presence(
        self,
        *,
        visible: bool | None = None,
        away: bool | None = None,
        page: str | None = None,
        session_id: str | None = None,
    ) -> dict[str, Any]:
        """Say whether a person sees what comes, which counts for a minute, or is away; return what is so by now.

        ``page`` names what they see it on, ``session_id`` the only session of which they do. With neither ``visible``
        nor ``away`` nothing is said. Who is away is called elsewhere, whatever is visible (contract section 14).
        """
        said = {"visible": visible, "away": away, "page": page, "session_id": session_id}
        if visible is None and away is None:
            return await self._record("GET", "/api/presence", is_safe=True)
        body = {name: value for name, value in said.items() if value is not None}
        return await self._record("POST", "/api/presence", body=body)

    async def decide_all(
        self, requests: Sequence[Mapping[str, Any]], *, approved: bool, reason: str | None = None
    ) -> list[dict[str, Any]]:
        """Decide requests of any sessions as they were shown, each by itself, and return how each one went.

        A request needs its ``session_id``, ``request_id`` and ``parameters_sha256``, as the inbox tells them.
        """
        told: list[dict[str, Any]] = []
        names = ("session_id", "request_id", "parameters_sha256")
        for start in range(0, len(requests), _MOST_DECISIONS):
            some = requests[start : start + _MOST_DECISIONS]
            shown = [{name: request[name] for name in names} for request in some]
            decisions = [{**one, "approved": approved, "reason": reason} for one in shown]
            told += await self._call("POST", "/api/permissions/decide", body={"decisions": decisions}, is_safe=True)
        return told

    async def decide(self, session_id: str, decision: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a permission request with the body of contract section 4; return its record."""
        return await self._record(
            "POST",
            f"/api/sse/permission-response/{_quoted(session_id)}",
            body=dict(decision),
            # Without an id it is for whichever waits then: the same again might approve another one.
            is_safe=decision.get("request_id") is not None,
        )

    async def ask(
        self,
        session_id: str,
        tool_name: str,
        parameters: Mapping[str, Any],
        *,
        wait_seconds: float = 0,
        idempotency_key: str | None = None,
        on_waiting: Callable[[dict[str, Any]], None] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Ask for permission and return the record, waiting until it is decided for at most ``wait_seconds``.

        ``more`` are the optional fields: ``risk_level``, ``tool_call_id``, ``timeout_seconds``, ``description``,
        ``server``, ``definition_sha256``, ``input_schema``. ``wait_seconds=math.inf`` waits until the request is
        settled; ``on_waiting`` is called with the record that is waited for. A service that is restarted meanwhile is
        asked again under the same key, as long as the person would have had time, and ``on_waiting`` is called again.

        Cancelled, it withdraws the request, unless an ``idempotency_key`` was given, with which the same call joins it
        again. Raises ``ServiceRestarted`` when the service was restarted and there is no time left to ask again, and
        ``ServiceUnavailable`` when it stays away.
        """
        key = secrets.token_urlsafe(16) if idempotency_key is None else idempotency_key
        path, body = f"/api/permissions/{_quoted(session_id)}", {"tool_name": tool_name, "parameters": dict(parameters)}

        async def post() -> dict[str, Any]:
            return await self._record("POST", path, body=body | more, headers={"Idempotency-Key": key}, is_safe=True)

        async def post_patiently() -> dict[str, Any]:
            try:
                return await post()
            except ServiceRefused as error:
                if not wait_seconds or error.status < 500:
                    raise
            except ServiceUnavailable as error:
                if not wait_seconds or not error.was_there:
                    raise  # where nobody listens the address may be wrong
            return await self._patiently(post)  # only the answer may have been lost

        posted = asyncio.ensure_future(post_patiently())
        try:
            record = await asyncio.shield(posted)
            if wait_seconds:
                record = await self._settled(session_id, record, post, wait_seconds, on_waiting)
        except asyncio.CancelledError:
            if idempotency_key is None:
                self._withdraw(session_id, posted)
            else:
                posted.cancel()
            raise
        return record

    async def request(self, session_id: str, request_id: str, *, wait_seconds: float = 0) -> dict[str, Any]:
        """Return a permission request's record, waiting until it is decided for at most ``wait_seconds``.

        Raises ``ServiceRestarted`` when it was asked before the service was restarted.
        """
        if not wait_seconds:
            path = f"/api/permissions/{_quoted(session_id)}/{_quoted(request_id)}"
            return await self._record("GET", path, is_safe=True)
        return await self._held(session_id, request_id, wait_seconds)

    async def _held(
        self, session_id: str, request_id: str, wait_seconds: float, *, away_seconds: float = 0
    ) -> dict[str, Any]:
        path = f"/api/permissions/{_quoted(session_id)}/{_quoted(request_id)}"
        until = time.monotonic() + wait_seconds
        while True:
            hold_seconds = max(0.0, min(_HOLD_SECONDS, until - time.monotonic()))

            async def held(seconds: float = hold_seconds) -> dict[str, Any]:
                return await self._record("GET", path, query={"wait": f"{seconds:.3f}"}, held_seconds=seconds)

            asked_at = time.monotonic()
            record = await self._patiently(held, away_seconds=away_seconds)
            if record.get("status") != "pending" or time.monotonic() >= until:
                return record
            if time.monotonic() - asked_at < hold_seconds / 2:
                await asyncio.sleep(_FIRST_BACKOFF_SECONDS)  # it is shutting down, and the question waits on

    async def claim(
        self, session_id: str, request_id: str, run_id: str, *, reports: bool = True
    ) -> dict[str, Any] | None:
        """Take an approved request for one run, before that begins, and return its record, whole.

        ``run_id`` is yours for this run: the same again gives the record again, and another one is refused
        (``ServiceRefused``, code ``already_claimed``): nothing may run then. Who ``reports`` publishes how the run ends
        (``tool_status``), or people are told after a restart that nobody knows it. None from an older service, which
        takes no claims. While the service is away, it is tried for ``away_seconds``. Raises ``ServiceRestarted`` when
        the service has forgotten the request since.
        """
        path = f"/api/permissions/{_quoted(session_id)}/{_quoted(request_id)}/claim"
        body = {"run_id": run_id} if reports else {"run_id": run_id, "reports": False}
        try:
            return await self._patiently(lambda: self._record("POST", path, body=body, is_safe=True))
        except ServiceRefused as error:
            if error.code in ("not_found", "method_not_allowed"):
                return None
            raise

    async def cancel(self, session_id: str, request_id: str) -> dict[str, Any]:
        """Withdraw a permission request."""
        path = f"/api/permissions/{_quoted(session_id)}/{_quoted(request_id)}"
        return await self._record("DELETE", path, is_safe=True)

    async def pending(self, session_id: str) -> list[dict[str, Any]]:
        """Return the pending permission requests, oldest first."""
        path = f"/api/permissions/{_quoted(session_id)}"
        pending: list[dict[str, Any]] = await self._call("GET", path, is_safe=True)
        return pending

    async def sessions(self) -> list[dict[str, Any]]:
        """Return the open sessions that the token may see, those in which something waits first; 1000 at most."""
        rows: list[dict[str, Any]] = await self._call("GET", "/api/sessions", is_safe=True)
        return rows

    async def inbox(self) -> dict[str, Any]:
        """Return what waits in every session that the token may see, and these sessions."""
        return await self._record("GET", _INBOX, is_safe=True)

    async def history(
        self,
        session_id: str | None = None,
        *,
        tool: str | None = None,
        decided_by: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> dict[str, Any]:
        """Return ``{requests, next}``: how permission requests ended, over all sessions, newest first, 200 at most.

        ``next`` is for ``before``, to go on to older ones; None where there are none.
        """
        given = {"session_id": session_id, "tool": tool, "decided_by": decided_by, "before": before}
        query = {name: value for name, value in given.items() if value is not None}
        return await self._record("GET", "/api/history", query={**query, "limit": str(limit)}, is_safe=True)

    async def publish(
        self,
        session_id: str,
        events: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        idempotency_key: str | None = None,
    ) -> list[str]:
        """Publish one event ``{type, data}`` or several, and return their ids.

        After ``ServiceUnavailable`` nobody knows whether they were taken; the same call again with the same
        ``idempotency_key`` publishes them once.
        """
        body: Any = dict(events) if isinstance(events, Mapping) else [dict(event) for event in events]
        key = secrets.token_urlsafe(16) if idempotency_key is None else idempotency_key
        path, headers = f"/api/events/{_quoted(session_id)}", {"Idempotency-Key": key}
        answer = await self._call("POST", path, body=body, headers=headers, is_safe=True)
        ids: list[str] = answer["ids"]
        return ids

    async def rules(self, session_id: str | None = None) -> list[dict[str, Any]]:
        """Return the rules that hold in a session; without one those of the files, which hold beyond any."""
        rules: list[dict[str, Any]] = await self._call("GET", _rules(session_id), is_safe=True)
        return rules

    async def pair(self, **what: Any) -> dict[str, Any]:
        """Return a link that gives a device a token of its own, once: ``url``, ``svg``, ``gives`` and ``expires_in``.

        ``what`` are ``label``, ``rights``, ``sessions``, ``expires_in`` (s), and ``url``, the address of the service as
        the device reaches it. Without tokens ``needs_token`` is False, and the link is that of the page.
        """
        given = {name: value for name, value in what.items() if value is not None}
        return await self._record("POST", "/api/pairings", body={"page": self.url, **given})

    async def devices(self) -> dict[str, Any]:
        """Return ``devices``, which were paired, and ``subscriptions``, the browsers that are called by push."""
        return await self._record("GET", "/api/devices", is_safe=True)

    async def remove_device(self, device_id: str) -> dict[str, Any]:
        """Take the token of a device back, or call a browser no more."""
        return await self._record("DELETE", f"/api/devices/{quote(device_id, safe='')}")

    async def suggestions(self, session_id: str) -> list[dict[str, Any]]:
        """Return the rules that would have saved questions in a session; they are nobody's yet."""
        suggestions: list[dict[str, Any]] = await self._call(
            "GET", _rules(session_id), is_safe=True, field="suggestions"
        )
        return suggestions

    async def take_over(self, session_id: str, suggestion_id: str, *, scope: str = "session") -> dict[str, Any]:
        """Make a rule of a suggestion, for the session or for always, and return it."""
        body = {"suggestion_id": suggestion_id, "scope": scope}
        return await self._record("POST", _rules(session_id), body=body)

    async def take_back(self, rule_id: str, session_id: str | None = None) -> dict[str, Any]:
        """Revoke a rule of a session, or a learned one, and return it; a learned one needs no session."""
        return await self._record("DELETE", f"{_rules(session_id)}/{_quoted(rule_id)}")

    async def health(self, session_id: str) -> dict[str, Any]:
        """Return how a session and its readers are."""
        return await self._record("GET", f"/api/sse/health/{_quoted(session_id)}", is_safe=True)

    async def end_session(self, session_id: str) -> dict[str, Any]:
        """End a session."""
        return await self._record("DELETE", f"/api/sessions/{_quoted(session_id)}")

    async def _stream(self, path: str, cursor: str | None, *, visible: bool = False) -> _Steps:
        """Follow over the stream. Raises ``_Silent`` when nothing comes for too long, whoever holds it back."""
        headers = {"Accept": "text/event-stream", "Prefer": "replay=0"}
        headers |= {} if cursor is None else {"Last-Event-ID": cursor}
        silence_seconds = self._silence_seconds
        query = {"visible": "1"} if visible else {}
        opening = self._session.get(self.url + path, headers=headers, params=query)
        async with await _heard(opening, silence_seconds) as response:
            _not_busy(response)
            await _refused(response)
            if response.status == 204:
                yield cursor, {"type": "bye", "data": {"code": "session_closed", "reconnect": False, "retry_ms": 0}}
                return
            frames = _Frames()
            while piece := await _heard(response.content.readany(), silence_seconds):
                for event_id, event in frames.take(piece):
                    if event["type"] == "hello":
                        # Two heartbeats missing and a little more: the connection is dead, or somebody holds it back.
                        silence_seconds = event["data"]["heartbeat_seconds"] * 2.5
                    if event["type"] == "snapshot":
                        cursor = event["data"]["last_event_id"]
                    elif event_id is not None and (event["type"] != "hello" or event["data"]["resumed"] == "full"):
                        # Who has only the hello of another opening still needs the snapshot.
                        cursor = event_id
                    yield cursor, event
                    if event["type"] == "snapshot" and path != _INBOX_STREAM:
                        for record in event["data"]["permission_requests"]:
                            yield cursor, {"type": "permission_request", "data": record | {"replayed": True}}

    async def _long_poll(self, session_id: str, cursor: str | None, probe_seconds: float) -> _Steps:
        """Follow over long-poll, opened as a stream is; ends when the stream gets through again.

        The stream is tried beside it, on a connection of its own: a person who must decide waits for no probe.
        """
        state = await self._poll(session_id, cursor, 0)
        viewers = (await self._answer(_session_info(session_id)))["viewers"]
        events, gap, last_event_id = state.pop("events"), state.pop("gap"), state["last_event_id"]
        rights = _rights_in(state)
        state.pop("may_approve", None)
        resumed = "none" if cursor is None else "full" if gap is None else "partial"
        is_earliest = cursor == "earliest"
        if not events:
            cursor = last_event_id
        hello = {
            "session_id": session_id,
            "epoch": last_event_id.partition("-")[0],
            "last_event_id": last_event_id,
            "resumed": resumed,
            "heartbeat_seconds": self._poll_seconds,
            "viewers": viewers + 1,
            **rights,
        }
        yield cursor, {"type": "hello", "data": hello}
        if gap is not None:
            yield cursor, {"type": "gap", "data": gap}
        if events:
            state["last_event_id"] = f"{hello['epoch']}-0"  # they follow the state, as on a stream
        if resumed != "full":
            yield cursor, {"type": "snapshot", "data": state}
        if resumed != "full" or is_earliest:
            told = {event["data"]["request_id"] for event in events if event["type"] == "permission_request"}
            for record in state["permission_requests"]:
                if record["request_id"] not in told:
                    yield cursor, {"type": "permission_request", "data": record | {"replayed": True}}
        probe = asyncio.create_task(self._probe(_stream_of(session_id), probe_seconds))
        try:
            while True:
                for event in events:
                    cursor = event["id"]
                    yield cursor, event
                if probe.done():
                    probe.result()
                    return
                asked_at = time.monotonic()
                answer = await self._poll(session_id, cursor, self._poll_seconds)
                events = answer["events"]
                if answer["gap"] is not None:
                    raise aiohttp.ClientError(f"the place in the session was lost ({answer['gap']['reason']})")
                if not events:
                    # So ends a session or a service. Asking again at once might get the same answer for ever.
                    if time.monotonic() - asked_at < self._poll_seconds * 0.9:
                        raise aiohttp.ClientError("the service ended a long-poll before its time")
                    yield cursor, {"type": "heartbeat", "timestamp": round(time.time(), 3)}
        finally:
            probe.cancel()
            await asyncio.gather(probe, return_exceptions=True)

    async def _poll_inbox(self, probe_seconds: float) -> _Steps:
        """Follow the inbox by asking for the whole of it; ends when the stream gets through again."""
        probe = asyncio.create_task(self._probe(_INBOX_STREAM, probe_seconds))
        tag, heard_at, is_open = "", time.monotonic(), False
        try:
            while not probe.done():
                async with (
                    asyncio.timeout(_ANSWER_SECONDS),
                    self._session.get(self.url + _INBOX, headers={"If-None-Match": tag} if tag else {}) as response,
                ):
                    _not_busy(response)
                    await _refused(response)
                    tag = response.headers.get("ETag", "")
                    data = None if response.status == 304 else dict(await _data(response))
                if data is not None:
                    cursor = data["last_event_id"]
                    if not is_open:
                        hello = {"epoch": cursor.partition("-")[0], "last_event_id": cursor, "resumed": "none"}
                        hello |= {"heartbeat_seconds": _INBOX_BEAT_SECONDS, "viewers": 1}
                        hello |= _rights_in(data)
                        yield None, {"type": "hello", "data": hello}
                    is_open, heard_at = True, time.monotonic()
                    yield cursor, {"type": "snapshot", "data": data}
                elif time.monotonic() - heard_at >= _INBOX_BEAT_SECONDS:
                    heard_at = time.monotonic()
                    yield cursor, {"type": "heartbeat", "timestamp": round(time.time(), 3)}
                await asyncio.wait({probe}, timeout=_INBOX_POLL_SECONDS)
            probe.result()
        finally:
            probe.cancel()
            await asyncio.gather(probe, return_exceptions=True)

    async def _probe(self, path: str, pause: float) -> None:
        """Return when the stream gets through: not only its opening, but what comes after it."""
        while True:
            await asyncio.sleep(pause)
            with suppress(
                _Silent, ServiceRefused, ServiceUnavailable, aiohttp.ClientError, TimeoutError, ConnectionError
            ):
                async with aclosing(self._stream(path, None)) as steps:
                    async for _, event in steps:
                        if "id" in event or event["type"] == "heartbeat":
                            return
            pause = _later(max(pause, self._probe_seconds / 2))

    async def _poll(self, session_id: str, cursor: str | None, seconds: float) -> dict[str, Any]:
        query = {"timeout": str(seconds)} | ({} if cursor is None else {"after": cursor})
        return await self._answer(f"/api/long-poll/{_quoted(session_id)}", query, held_seconds=seconds)

    async def _answer(
        self, path: str, query: Mapping[str, str] | None = None, *, held_seconds: float = 0
    ) -> dict[str, Any]:
        """The data of an answer, or the same errors as those of a stream."""
        async with (
            asyncio.timeout(held_seconds + _ANSWER_SECONDS),
            self._session.get(self.url + path, params=query or {}) as response,
        ):
            _not_busy(response)
            await _refused(response)
            return dict(await _data(response))

    async def _record(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        return dict(await self._call(method, path, **more))

    async def _call(self, method: str, path: str, **how: Any) -> Any:
        """What ``_call_once`` gives; where a rate of the service is reached, it is asked again when that says."""
        gives_up_at = time.monotonic() + self._away_seconds
        while True:
            try:
                return await self._call_once(method, path, **how)
            except ServiceRefused as error:  # before it did anything
                pause = error.details.get("retry_after_seconds")
                if error.status != 429 or not isinstance(pause, int | float):
                    raise
                if time.monotonic() + pause > gives_up_at:
                    raise
                await asyncio.sleep(pause)

    async def _call_once(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        is_safe: bool = False,
        field: str = "data",
        held_seconds: float = 0,
    ) -> Any:
        """The data of an answer, or another ``field`` of it.

        What ``is_safe`` to do twice is sent once more when its connection is lost, or swallows it.
        """
        how: dict[str, Any] = {"params": query or {}, "headers": dict(headers or {})}
        if (traceparent := traceparent_now()) is not None:
            how["headers"]["traceparent"] = traceparent
        text = b"" if body is None else json.dumps(body).encode()
        if text:
            how["headers"]["Content-Type"] = "application/json"
        seconds = held_seconds + _ANSWER_SECONDS + len(text) / _SLOWEST_BYTES_A_SECOND
        was_there = False
        try:
            try:
                async with asyncio.timeout(seconds):
                    return await self._sent(self._session, method, path, text, how, field)
            except aiohttp.ClientConnectorError:
                raise  # nobody listens
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError):
                # After a sleep the service may have given up connections that this end still thinks good.
                was_there = True
                if not is_safe:
                    raise
            async with asyncio.timeout(seconds), self._new_session() as fresh:
                return await self._sent(fresh, method, path, text, how, field)
        except ServiceUnavailable as error:  # nobody was there to prove anything
            error.was_there = was_there
            raise
        except TimeoutError as error:
            unavailable = ServiceUnavailable(f"The service at {self.url} does not answer in time.")
            unavailable.was_there = True
            raise unavailable from error
        except aiohttp.ClientError as error:
            unavailable = ServiceUnavailable(f"The service at {self.url} does not answer: {error}")
            unavailable.was_there = was_there
            raise unavailable from error

    async def _sent(
        self, session: aiohttp.ClientSession, method: str, path: str, text: bytes, how: Mapping[str, Any], field: str
    ) -> Any:
        url = self.url
        try:
            return await self._sent_once(session, method, path, text, how, field)
        except ServiceRefused as error:
            await self._locate(error, url)
        return await self._sent_once(session, method, path, text, how, field)

    async def _sent_once(
        self, session: aiohttp.ClientSession, method: str, path: str, text: bytes, how: Mapping[str, Any], field: str
    ) -> Any:
        # aiohttp sends much of it in pieces, so that the loop goes on, if it comes as a file.
        data = io.BytesIO(text) if len(text) > _PIECEWISE_BYTES else text or None
        async with session.request(method, self.url + path, data=data, **how) as response:
            await _refused(response)
            return await _data(response, field)

    async def _locate(self, refused: ServiceRefused, url: str) -> None:
        """Put the prefix behind a URL that lacks it, where that may be what was refused at ``url``; else raise it.

        That is looked at once, whoever hears of it meanwhile.
        """
        is_of_another_path = refused.code in ("not_found", "method_not_allowed") or (
            refused.code == "error" and refused.status in (200, 404, 405)
        )
        if not is_of_another_path:
            raise refused
        if self.url == url:
            if self._locating is None:
                self._locating = asyncio.ensure_future(asyncio.to_thread(service_address.located, url))
            whole, lacked_it = await asyncio.shield(self._locating)
            if whole == url:
                raise refused
            if not lacked_it:
                message = f"There is no service at {url}, but one at {whole}: use that address."
                raise ServiceRefused(refused.status, refused.code, message) from refused
            self.url = whole

    async def _prove(self, *_: Any) -> None:
        """Before a connection is made: that who listens is the service which is meant."""
        try:
            key = service_address.key_for(self.url)
            if key is not None:
                await asyncio.to_thread(_prove, self.url, key)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ServiceUnavailable(f"The service at {self.url} does not answer: {error}") from error
        except (service_address.Unproven, service_address.KeyUnusable) as error:
            raise ServiceUnproven(str(error)) from None

    async def _settled(
        self,
        session_id: str,
        record: dict[str, Any],
        post: Callable[[], Awaitable[dict[str, Any]]],
        wait_seconds: float,
        on_waiting: Callable[[dict[str, Any]], None] | None,
    ) -> dict[str, Any]:
        """The record when it is settled, or when the time is over; asked anew after a restart."""
        began = time.monotonic()

        async def post_anew() -> dict[str, Any]:
            record = await post()
            if record.get("code") == "shutdown":  # it goes, and still knows the key
                raise ServiceUnavailable(f"The service at {self.url} is shutting down.")
            return record

        while record["status"] == "pending":
            if on_waiting is not None:
                on_waiting(record)
            left = wait_seconds - (time.monotonic() - began)
            person_seconds = record["timeout_seconds"] or math.inf
            away_seconds = min(left, person_seconds, _LONGEST_AWAY_SECONDS)
            try:
                request_id = record["request_id"]
                record = await self._held(session_id, request_id, max(0.0, left), away_seconds=away_seconds)
                if record["status"] == "pending":
                    break
            except ServiceRestarted:
                if time.monotonic() - began >= min(wait_seconds, person_seconds):
                    raise
            else:
                if record.get("code") != "shutdown" or time.monotonic() - began >= min(wait_seconds, person_seconds):
                    break
            record = await self._patiently(post_anew, away_seconds=away_seconds)
        return record

    async def _patiently(
        self, call: Callable[[], Awaitable[dict[str, Any]]], *, away_seconds: float = 0
    ) -> dict[str, Any]:
        """Call again while the service is away, for so long after the first call that failed."""
        away_seconds = max(away_seconds, self._away_seconds)
        backoff = _Backoff()
        gone_at: float | None = None
        while True:
            retry_after = 0.0
            try:
                return await call()
            except ServiceRefused as error:
                if error.status not in (408, 429) and error.status < 500:
                    raise
                away: NotifierError = error
                retry_after = error.retry_after_seconds
            except ServiceUnavailable as error:
                away = error
            gone_at = time.monotonic() if gone_at is None else gone_at
            pause = retry_after + backoff.next()
            if time.monotonic() + pause > gone_at + away_seconds:
                raise away
            await asyncio.sleep(pause)

    def _withdraw(self, session_id: str, posted: asyncio.Future[dict[str, Any]]) -> None:
        """Take back what was asked, or is being asked, beside whatever else happens."""

        async def withdraw() -> None:
            with suppress(NotifierError, TimeoutError):
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await self.cancel(session_id, (await posted)["request_id"])

        task = asyncio.create_task(withdraw())
        self._withdrawals.add(task)
        task.add_done_callback(self._withdrawals.discard)

    def _new_session(self) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_start.append(self._prove)
        return aiohttp.ClientSession(
            headers=self._headers, timeout=aiohttp.ClientTimeout(total=None, connect=10), trace_configs=[trace]
        )

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            raise RuntimeError("a Client is used within 'async with'")
        return self._http


def _prove(url: str, key: bytes) -> None:
    address = urlsplit(url)
    connection = service_address.connected(address)
    try:
        service_address.prove(connection, address.path, key)
    finally:
        connection.close()


class _Silent(Exception):
    """A stream says nothing for longer than its heartbeats allow."""


class _Busy(aiohttp.ClientError):
    """The service, or whoever stands before it, cannot answer now; ``retry_after`` is in seconds."""

    def __init__(self, status: int, retry_after: float) -> None:
        super().__init__(f"the service answers {status}")
        self.retry_after = retry_after


class _Backoff:
    """How long to wait after failures in a row: every 2 to 3 s in the first minute, then ever more seldom."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._seconds = _FIRST_BACKOFF_SECONDS
        self._failed_at: float | None = None

    def next(self) -> float:
        now = time.monotonic()
        self._failed_at = now if self._failed_at is None else self._failed_at
        pause = random.uniform(self._seconds * 2 / 3, self._seconds)
        is_early = now - self._failed_at < _FIRST_MINUTE_SECONDS
        self._seconds = min(_EARLY_BACKOFF_SECONDS if is_early else _MAX_BACKOFF_SECONDS, self._seconds * 2)
        return pause


class _Frames:
    """The events in the bytes of a stream, with their ids; an event may be longer than any line that aiohttp reads."""

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._id: str | None = None
        self._data: list[bytes] = []

    def take(self, piece: bytes) -> Iterator[tuple[str | None, dict[str, Any]]]:
        """The events that are whole with this piece."""
        *lines, rest = piece.split(b"\n")
        for end in lines:
            line = b"".join([*self._line, end])
            self._line = []
            if line.startswith(b"id: "):
                self._id = line[4:].decode()
            elif line.startswith(b"data: "):
                self._data.append(line[6:])
            elif not line and self._data:
                yield self._id, json.loads(b"\n".join(self._data))
                self._id, self._data = None, []
        self._line.append(rest)


async def _heard(coming: Awaitable[_T], silence_seconds: float) -> _T:
    """What comes within the time. Raises ``_Silent`` otherwise, unlike a connection that does not come about."""
    try:
        async with asyncio.timeout(silence_seconds) as silence:
            return await coming
    except TimeoutError:
        if silence.expired():
            raise _Silent from None
        raise


def _later(seconds: float) -> float:
    return min(_MAX_PROBE_SECONDS, seconds * 2)


def _stream_of(session_id: str) -> str:
    return f"/api/sse/events/{_quoted(session_id)}"


def _rights_in(data: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer says of the token: that it may only look on, where that is so."""
    return {"may_approve": False} if data.get("may_approve") is False else {}


def _session_info(session_id: str) -> str:
    return f"/api/polling/session-info/{_quoted(session_id)}"


def _not_busy(response: aiohttp.ClientResponse) -> None:
    if response.status == 429 or response.status >= 500:
        raise _Busy(response.status, _retry_after(response))


def _retry_after(response: aiohttp.ClientResponse) -> float:
    wait = response.headers.get("Retry-After", "")
    # A date instead of seconds is legal, and nobody here sends one.
    return float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 6 else 0.0


def _rules(session_id: str | None) -> str:
    return "/api/rules" if session_id is None else f"/api/rules/{_quoted(session_id)}"


async def _data(response: aiohttp.ClientResponse, field: str = "data") -> Any:
    try:
        return (await response.json())[field]
    except (aiohttp.ContentTypeError, ValueError, KeyError, TypeError, RecursionError):
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
    except (aiohttp.ContentTypeError, ValueError, KeyError, TypeError, RecursionError):
        raise _of_another(response) from None
    kind = ServiceRestarted if code == "request_not_found" and error.get("restarted") is True else ServiceRefused
    refused = kind(response.status, code, message, **error)
    refused.retry_after_seconds = _retry_after(response)
    raise refused


def _quoted(text: str) -> str:
    if text in (".", ".."):
        raise InvalidInput("an id that is . or .. would be taken for a step in the path")
    return quote(text, safe="")
