"""The clients of the reference documents work unchanged against the service, in a process of its own.

They are told here in our words and in Python, with the URLs, headers, message shapes and control flow that they have
there: what they do not know (``hello``, ``snapshot``, ids) they pass over, and what they do not send is not needed.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout, WSMsgType

from notifier_service.web.polling import LongPollQuery
from tests.service_process import service_process

PATIENCE_SECONDS = 20


class PollingClient:
    """Asks for the whole state every so often, whatever has changed."""

    def __init__(self, http: ClientSession, session_id: str, poll_interval: float = 2.0) -> None:
        self.http = http
        self.session_id = session_id
        self.poll_interval = poll_interval
        self.is_polling = False
        self.on_tool_status_change: Callable[[Any], None] = lambda status: None
        self.on_permission_request: Callable[[Any], None] = lambda request: None
        self.on_tool_result: Callable[[Any], None] = lambda result: None
        self.errors: list[Exception] = []

    async def poll(self) -> None:
        self.is_polling = True
        while self.is_polling:
            try:
                async with self.http.get(f"/agent_backend/api/polling/session-info/{self.session_id}") as response:
                    data = await response.json()
                if data["success"]:
                    self.handle_status_update(data["data"])
            except (ClientError, ValueError, LookupError) as error:
                self.errors.append(error)
            await asyncio.sleep(self.poll_interval)

    def handle_status_update(self, data: Any) -> None:
        if data["tool_status"]:
            self.on_tool_status_change(data["tool_status"])
        if data["permission_request"]:
            self.on_permission_request(data["permission_request"])
        if data["tool_result"]:
            self.on_tool_result(data["tool_result"])

    async def approve_permission(self, approved: bool) -> None:
        path = f"/agent_backend/api/polling/permission-response/{self.session_id}"
        await self.http.post(
            path, headers={"Content-Type": "application/json"}, data=json.dumps({"approved": approved})
        )


class LongPollingClient:
    """Asks again as soon as it was answered; it gives up on an answer after 30 s, and rests 5 s after an error."""

    def __init__(self, http: ClientSession, session_id: str, timeout: float = 30.0) -> None:
        self.http = http
        self.session_id = session_id
        self.timeout = timeout
        self.is_polling = True
        self.handle_update: Callable[[Any], None] = lambda data: None
        self.aborted = 0
        self.errors: list[Exception] = []

    async def long_poll(self) -> None:
        while self.is_polling:
            try:
                async with (
                    asyncio.timeout(self.timeout),  # the abort of the controller
                    self.http.get(f"/api/long-poll/{self.session_id}") as response,
                ):
                    if response.ok:
                        self.handle_update(await response.json())
            except TimeoutError:
                self.aborted += 1
            except (ClientError, ValueError, LookupError) as error:
                self.errors.append(error)
                await asyncio.sleep(5)


class EventSource:
    """What a browser's has of it: messages without a name reach ``onmessage``; an end is an ``onerror``."""

    def __init__(self, http: ClientSession, url: str) -> None:
        self.onopen: Callable[[], None] = lambda: None
        self.onmessage: Callable[[str], None] = lambda data: None
        self.onerror: Callable[[], None] = lambda: None
        self._reading = asyncio.create_task(self._read(http, url))

    def close(self) -> None:
        self._reading.cancel()

    async def _read(self, http: ClientSession, url: str) -> None:
        with suppress(ClientError):
            async with http.get(
                url, headers={"Accept": "text/event-stream"}, timeout=ClientTimeout(total=None)
            ) as response:
                if response.status == 200 and response.content_type == "text/event-stream":
                    self.onopen()
                    await self._dispatch(response.content)
        self.onerror()

    async def _dispatch(self, body: Any) -> None:
        name, data = "", []
        async for line in body:
            field, _, value = line.decode().rstrip("\r\n").partition(":")
            if field == "data":
                data.append(value.removeprefix(" "))
            elif field == "event":
                name = value.strip()
            elif not field and not value:
                if data and name in ("", "message"):
                    self.onmessage("\n".join(data))
                name, data = "", []


class SSEClient:
    """Its token stands in the query of the stream, and in the header of everything else; it reconnects by itself."""

    def __init__(self, http: ClientSession, session_id: str, token: str) -> None:
        self.http = http
        self.session_id = session_id
        self.token = token
        self.event_source: EventSource | None = None
        self.reconnect_attempts = 0
        self.max_reconnect_attempts = 5
        self.reconnect_delay = 1.0
        self.handlers: dict[str, Callable[[Any], None]] = {}
        self.unknown: list[str] = []
        self.opened = 0
        self.gave_up = False
        self._reconnecting: asyncio.Task[None] | None = None

    def connect(self) -> None:
        if self.event_source:
            self.event_source.close()
        url = f"/agent_backend/api/sse/events/{self.session_id}?token={quote(self.token, safe='')}"
        self.event_source = EventSource(self.http, url)
        self.event_source.onopen = self._on_open
        self.event_source.onmessage = lambda data: self.handle_event(json.loads(data))
        self.event_source.onerror = self.handle_reconnect

    def _on_open(self) -> None:
        self.opened += 1
        self.reconnect_attempts = 0

    def handle_event(self, event: Any) -> None:
        match event["type"]:
            case (
                "tool_status"
                | "permission_request"
                | "tool_result"
                | "permission_cleared"
                | "result_cleared"
                | "permission_response_result"
            ) as known:
                self._call(known, event["data"])
            case "heartbeat":
                self._call("heartbeat", event["timestamp"])
            case "error":
                self._call("error", event["message"])
            case unknown:
                self.unknown.append(unknown)

    def handle_reconnect(self) -> None:
        if self.reconnect_attempts < self.max_reconnect_attempts:
            self.reconnect_attempts += 1
            self._reconnecting = asyncio.create_task(self._connect_later())
        else:
            self.gave_up = True

    async def _connect_later(self) -> None:
        await asyncio.sleep(self.reconnect_delay * 2 ** (self.reconnect_attempts - 1))
        self.connect()

    async def approve_permission(self, approved: bool, reason: str = "") -> bool:
        try:
            async with self.http.post(
                f"/agent_backend/api/sse/permission-response/{self.session_id}",
                headers={"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"},
                data=json.dumps({"approved": approved, "reason": reason}),
            ) as response:
                result = await response.json()
                return bool(result["success"])
        except ClientError:
            return False

    async def check_health(self) -> Any:
        async with self.http.get(
            f"/agent_backend/api/sse/health/{self.session_id}", headers={"Authorization": f"Bearer {self.token}"}
        ) as response:
            return await response.json()

    def disconnect(self) -> None:
        if self._reconnecting:
            self._reconnecting.cancel()
        if self.event_source:
            self.event_source.close()
            self.event_source = None

    def _call(self, name: str, value: Any) -> None:
        if name in self.handlers:
            self.handlers[name](value)


async def chat(http: ClientSession, query: str, session_id: str | None = None) -> list[Any]:
    """Open a socket, send one query as text, and read until it is done."""
    message = {"query": query} | ({} if session_id is None else {"session_id": session_id})
    received = []
    async with http.ws_connect("/ws/chat") as websocket:
        await websocket.send_str(json.dumps(message))
        while True:
            response = await websocket.receive(timeout=PATIENCE_SECONDS)
            assert response.type is WSMsgType.TEXT
            data = json.loads(response.data)
            received.append(data)
            if data["type"] == "done":
                return received


class Heard:
    """What a client's callbacks were told; ``until`` waits for more of it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self._more = asyncio.Event()

    def on(self, name: str) -> Callable[[Any], None]:
        def note(value: Any) -> None:
            self.told.append((name, value))
            self._more.set()

        return note

    def of(self, name: str) -> list[Any]:
        return [value for told, value in self.told if told == name]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                await self._more.wait()
                self._more.clear()


@pytest.fixture
async def heard() -> Heard:
    return Heard()


@asynccontextmanager
async def service(*flags: str) -> AsyncIterator[ClientSession]:
    """A client of the service's process, which must end without a word of complaint."""
    async with service_process(*flags) as (process, port), ClientSession(f"http://127.0.0.1:{port}") as http:
        yield http
        process.terminate()
        assert process.stderr is not None
        assert await process.stderr.read() == b""


async def ask(http: ClientSession, **more: Any) -> Any:
    """What an agent does before a tool runs: ask, and wait for the answer."""
    body = {"tool_name": "file_edit", "parameters": {"file": "example.py"}, "risk_level": "high"}
    async with http.post("/agent_backend/api/permissions/s?wait=20", json=body, **more) as response:
        assert response.status in (200, 201), await response.text()
        return (await response.json())["data"]


async def publish(http: ClientSession, event_type: str, data: Any, **more: Any) -> None:
    async with http.post("/agent_backend/api/events/s", json={"type": event_type, "data": data}, **more) as response:
        assert response.status == 201, await response.text()


STATUS = {"status": "executing", "tool_name": "file_search", "details": {"parameters": {"query": "example"}}}
RESULT = {"tool_name": "file_search", "result": {"matches": 5}, "success": True}


async def test_polling_client_sees_status_request_and_result_and_its_answer_counts(heard: Heard) -> None:
    async with service() as http:
        client = PollingClient(http, "s", poll_interval=0.01)
        client.on_tool_status_change = heard.on("status")
        client.on_permission_request = heard.on("request")
        client.on_tool_result = heard.on("result")
        polling = asyncio.create_task(client.poll())
        await publish(http, "tool_status", STATUS)
        await heard.until(lambda: heard.of("status"))
        asking = asyncio.create_task(ask(http))
        await heard.until(lambda: heard.of("request"))
        await client.approve_permission(True)
        record = await asking
        await publish(http, "tool_result", RESULT)
        await heard.until(lambda: heard.of("result"))
        client.is_polling = False
        await polling

    assert client.errors == []
    assert heard.of("status")[0]["tool_name"] == "file_search"
    shown = heard.of("request")[0]
    assert (shown["tool_name"], shown["parameters"], shown["risk_level"], shown["status"]) == (
        "file_edit", {"file": "example.py"}, "high", "pending",
    )  # fmt: skip
    assert (record["status"], heard.of("result")[0]["result"]) == ("approved", {"matches": 5})


async def held(http: ClientSession, polls: int) -> None:
    """Wait until just so many long polls are held."""
    found = None
    while found != ({"long-poll": polls} if polls else {}):
        async with http.get("/agent_backend/api/sse/health/s") as response:
            found = (await response.json())["data"]["connections_by_transport"]


async def test_long_polling_client_is_woken_by_each_change(heard: Heard) -> None:
    async with service() as http:
        client = LongPollingClient(http, "s")
        client.handle_update = heard.on("update")
        polling = asyncio.create_task(client.long_poll())
        await held(http, 1)
        asking = asyncio.create_task(ask(http))
        await heard.until(lambda: heard.of("update"))
        await held(http, 1)
        await PollingClient(http, "s").approve_permission(False)
        record = await asking
        await heard.until(lambda: not heard.of("update")[-1]["data"]["permission_request"])
        await held(http, 1)
        client.is_polling = False
        await publish(http, "tool_result", RESULT)
        await polling

    assert client.errors == []
    assert record["status"] == "rejected"
    assert all(update["success"] for update in heard.of("update"))
    first, last = heard.of("update")[0]["data"], heard.of("update")[-1]["data"]
    assert first["permission_request"]["parameters"] == {"file": "example.py"}
    assert (last["permission_request"], last["tool_result"]["result"]) == (None, {"matches": 5})


async def test_long_polling_client_that_gives_up_asks_again_and_leaves_nothing(heard: Heard) -> None:
    async with service() as http:
        client = LongPollingClient(http, "s", timeout=0.05)
        client.handle_update = heard.on("update")
        polling = asyncio.create_task(client.long_poll())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while client.aborted < 3:  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0)
        client.is_polling = False
        await polling
        await held(http, 0)

    assert (client.errors, heard.told) == ([], [])


def test_long_poll_is_answered_before_the_documents_client_gives_up() -> None:
    defaults = inspect.signature(LongPollingClient).parameters

    assert LongPollQuery().timeout <= defaults["timeout"].default - 5


@pytest.fixture
def guarded_flags(tmp_path: Path) -> tuple[str, ...]:
    tokens = tmp_path / "tokens.json"
    entries = [
        {"token": "a person's+token", "subject": "person", "rights": ["approve"], "sessions": ["*"]},
        {"token": "agent", "rights": ["produce"], "sessions": ["*"]},
    ]
    tokens.write_text(json.dumps(entries))
    return "--auth", "tokens", "--tokens-file", str(tokens), "--heartbeat-seconds", "0.2"


async def test_sse_client_with_its_token_in_the_query_is_told_all_and_decides(
    heard: Heard, guarded_flags: tuple[str, ...]
) -> None:
    agent: dict[str, Any] = {"headers": {"Authorization": "Bearer agent"}}
    names = [
        "tool_status",
        "permission_request",
        "permission_response_result",
        "permission_cleared",
        "tool_result",
        "heartbeat",
    ]
    async with service(*guarded_flags) as http:
        client = SSEClient(http, "s", "a person's+token")
        client.handlers = {name: heard.on(name) for name in [*names, "error"]}
        client.connect()
        await heard.until(lambda: heard.of("heartbeat"))
        health = await client.check_health()
        await publish(http, "tool_status", STATUS, **agent)
        asking = asyncio.create_task(ask(http, **agent))
        await heard.until(lambda: heard.of("permission_request"))
        accepted = await client.approve_permission(True, "the person agrees")
        too_late = await client.approve_permission(True, "twice")
        record = await asking
        await publish(http, "tool_result", RESULT, **agent)
        await heard.until(lambda: heard.of("tool_result"))
        client.disconnect()

    assert (health["success"], health["data"]["status"], health["data"]["connections"]) == (True, "healthy", 1)
    assert (accepted, too_late) == (True, False)
    assert (record["status"], record["reason"], record["decided_by"]) == ("approved", "the person agrees", "person")
    order = [name for name, _ in heard.told if name != "heartbeat"]
    assert order == names[:-1]
    assert heard.of("tool_status")[0]["details"] == {"parameters": {"query": "example"}}
    assert isinstance(heard.of("heartbeat")[0], float)
    assert set(client.unknown) == {"hello", "snapshot"}


async def test_sse_client_that_reconnects_is_shown_what_was_asked_while_it_was_away(
    heard: Heard, guarded_flags: tuple[str, ...]
) -> None:
    agent: dict[str, Any] = {"headers": {"Authorization": "Bearer agent"}}
    async with service(*guarded_flags) as http:
        client = SSEClient(http, "s", "a person's+token")
        client.reconnect_delay = 0.2
        client.handlers = {"heartbeat": heard.on("heartbeat"), "permission_request": heard.on("permission_request")}
        client.connect()
        await heard.until(lambda: heard.of("heartbeat"))
        async with http.delete("/agent_backend/api/sessions/s", **agent) as response:  # the stream ends
            assert response.status == 200
        asking = asyncio.create_task(ask(http, **agent))
        await heard.until(lambda: heard.of("permission_request"))
        accepted = await client.approve_permission(False)
        record = await asking
        client.disconnect()

    assert (client.opened, client.gave_up) == (2, False)
    assert (accepted, record["status"]) == (True, "rejected")
    assert heard.of("permission_request")[0]["status"] == "pending"


async def test_chat_clients_of_socket_and_stream_read_the_same_answer_until_it_is_done(heard: Heard) -> None:
    async with service() as http:
        source = EventSource(http, f"/agent_chat_stream?query={quote('hello')}&session_id=test")
        source.onmessage = lambda data: heard.on("message")(json.loads(data))
        by_socket, without_session = await asyncio.gather(chat(http, "hello", "other"), chat(http, "hello"))
        await heard.until(lambda: heard.told and heard.of("message")[-1]["type"] == "done")
        source.close()

    assert by_socket[-1] == {"type": "done"}
    assert all(message == {"type": "content", "content": message["content"]} for message in by_socket[:-1])
    assert len(by_socket) > 2
    assert heard.of("message") == without_session == by_socket


async def test_chat_client_is_told_of_an_error_by_a_message() -> None:
    async with service() as http, http.ws_connect("/ws/chat") as websocket:
        await websocket.send_str(json.dumps({"query": ""}))
        error = await websocket.receive_json(timeout=PATIENCE_SECONDS)

    assert error["type"] == "error"
    assert error["message"]
