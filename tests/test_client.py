"""The client follows a session across dropped connections and restarts, and names what went wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Client, Limits, Settings, SimpleNotifier, serve
from notifier_service.errors import ServiceRefused, ServiceUnavailable
from notifier_service.web import Site
from tests.cli.processes import free_port


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve(settings=Settings(port=0)) as site:
        yield site


@pytest.fixture
async def client(site: Site) -> AsyncIterator[Client]:
    async with Client(url_of(site)) as client:
        yield client


def url_of(site: Site) -> str:
    return f"{site.url}{site.settings.prefix}"


async def read_until(events: AsyncIterator[dict[str, Any]], event_type: str) -> list[dict[str, Any]]:
    """Read on until an event of this type, which is the last of those returned."""
    read: list[dict[str, Any]] = []
    async with asyncio.timeout(20):
        async for event in events:
            read.append(event)
            if event["type"] == event_type:
                return read
    raise AssertionError(f"the stream ended without {event_type}: {read}")


@asynccontextmanager
async def following(url: str, **more: Any) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The events of session ``s``, read by a client of its own."""
    async with Client(url) as client, aclosing(client.events("s", **more)) as events:
        yield events


class Wire:
    """A way to the service that can be cut, as a network is."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._ends: list[asyncio.StreamWriter] = []
        self._pumps: set[asyncio.Task[None]] = set()
        #: Set when a client has said something.
        self.used = asyncio.Event()
        self.url = ""

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[Wire]:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1")
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/agent_backend"
        try:
            yield self
        finally:
            self.remove()
            await asyncio.gather(*self._pumps)

    def remove(self) -> None:
        """Cut it for good."""
        self._server.close()
        self.cut()

    def cut(self) -> None:
        for end in self._ends:
            end.transport.abort()
        self._ends.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        service_reader, service_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._ends += [writer, service_writer]
        for source, sink in ((reader, service_writer), (service_reader, writer)):
            self._pumps.add(asyncio.create_task(self._pump(source, sink)))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                sink.write(data)
                self.used.set()
        sink.close()


# Following


async def test_first_connect_is_told_the_present_state_and_then_what_happens(client: Client) -> None:
    await client.publish("s", {"type": "note", "data": {"n": 1}})
    async with aclosing(client.events("s")) as events:
        opening = await read_until(events, "snapshot")
        await client.publish("s", [{"type": "note", "data": {"n": 2}}, {"type": "note"}])
        [first] = await read_until(events, "note")
        [second] = await read_until(events, "note")

    assert [event["type"] for event in opening] == ["hello", "snapshot"]
    assert opening[0]["data"]["resumed"] == "none"
    assert first["data"] == {"n": 2}
    assert "data" not in second


async def test_reader_goes_on_behind_the_cursor_it_names(client: Client) -> None:
    ids = await client.publish("s", [{"type": "note", "data": {"n": number}} for number in range(3)])

    async with aclosing(client.events("s", after=ids[0])) as events:
        hello, missed = await read_until(events, "note")
        [last] = await read_until(events, "note")

    assert hello["data"]["resumed"] == "full"
    assert [missed["id"], last["id"]] == ids[1:]


async def test_event_longer_than_any_line_that_aiohttp_reads_arrives_whole(client: Client) -> None:
    async with aclosing(client.events("s")) as events:
        await read_until(events, "snapshot")
        await client.publish("s", {"type": "note", "data": {"text": "é" * 100_000}})
        [event] = await read_until(events, "note")

    assert event["data"] == {"text": "é" * 100_000}


async def test_reader_whose_connection_is_cut_comes_back_and_misses_nothing(site: Site, client: Client) -> None:
    lost: list[str] = []
    async with Wire(site.port).laid() as wire, following(wire.url, on_lost=lost.append) as events:
        await read_until(events, "snapshot")
        await client.publish("s", {"type": "note", "data": {"n": 1}})
        await read_until(events, "note")
        wire.cut()
        await client.publish("s", {"type": "note", "data": {"n": 2}})
        hello, note = await read_until(events, "note")
        await client.publish("s", {"type": "note", "data": {"n": 3}})
        [live] = await read_until(events, "note")

    assert len(lost) == 1
    assert (hello["type"], hello["data"]["resumed"]) == ("hello", "full")
    assert [note["data"], live["data"]] == [{"n": 2}, {"n": 3}]


async def test_reader_that_saw_only_the_opening_resumes_from_there(site: Site, client: Client) -> None:
    async with Wire(site.port).laid() as wire, following(wire.url) as events:
        await read_until(events, "snapshot")
        wire.cut()
        await client.publish("s", {"type": "note"})
        hello, note = await read_until(events, "note")

    assert hello["data"]["resumed"] == "full"
    assert note["type"] == "note"


async def test_reader_comes_back_after_a_restart_and_is_told_of_the_gap() -> None:
    lost: list[str] = []
    settings = Settings(port=free_port())
    url = f"http://127.0.0.1:{settings.port}/agent_backend"
    async with Client(url) as client, following(url, on_lost=lost.append) as events:
        async with serve(settings=settings):
            await read_until(events, "snapshot")
            [note_id] = await client.publish("s", {"type": "note"})
            await read_until(events, "note")
        [bye] = await read_until(events, "bye")
        async with serve(settings=settings):
            await client.publish("s", {"type": "note", "data": {"n": 2}})
            hello, gap, snapshot = await read_until(events, "snapshot")
            await client.publish("s", {"type": "note", "data": {"n": 3}})
            [live] = await read_until(events, "note")

    assert (bye["data"]["code"], bye["data"]["reconnect"]) == ("shutdown", True)
    assert lost == ["the service ended the stream"]
    assert hello["data"]["resumed"] == "partial"
    assert (gap["data"]["reason"], gap["data"]["requested"]) == ("epoch", note_id)
    assert snapshot["data"]["last_event_id"] == hello["data"]["last_event_id"]
    assert live["data"] == {"n": 3}


async def test_reader_may_come_before_the_service() -> None:
    tried = asyncio.Event()
    settings = Settings(port=free_port())
    url = f"http://127.0.0.1:{settings.port}/agent_backend"
    async with following(url, on_lost=lambda reason: tried.set()) as events:
        opening = asyncio.create_task(read_until(events, "snapshot"))
        await tried.wait()
        async with serve(settings=settings):
            first, *_ = await opening

    assert first["data"]["resumed"] == "none"


async def test_bye_that_tells_not_to_come_back_ends_the_iteration(site: Site, client: Client) -> None:
    read: list[dict[str, Any]] = []
    async with asyncio.timeout(20):
        async for event in client.events("s"):
            read.append(event)
            if event["type"] == "snapshot":
                await client.end_session("s")

    assert [event["type"] for event in read] == ["hello", "snapshot", "bye"]
    assert (read[-1]["data"]["code"], read[-1]["data"]["reconnect"]) == ("session_closed", False)


async def test_refused_stream_ends_with_the_refusal(client: Client) -> None:
    with pytest.raises(ServiceRefused) as refused:
        await anext(client.events("no spaces"))

    assert (refused.value.status, refused.value.code) == (422, "invalid")


async def test_silent_stream_is_kept_by_heartbeats() -> None:
    lost: list[str] = []
    settings = Settings(port=0, heartbeat_seconds=0.1)
    async with serve(settings=settings) as site, following(url_of(site), on_lost=lost.append) as events:
        await read_until(events, "heartbeat")
        [beat] = await read_until(events, "heartbeat")

    assert sorted(beat) == ["timestamp", "type"]
    assert lost == []


async def test_stream_without_heartbeats_is_taken_for_dead() -> None:
    lost: asyncio.Queue[str] = asyncio.Queue()

    async def hold_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = {"type": "hello", "data": {"heartbeat_seconds": 0.02}}
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        writer.write(head + b"data: " + json.dumps(hello).encode() + b"\n\n")
        await reader.read()  # until the client has had enough
        writer.close()

    server = await asyncio.start_server(hold_back, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    async with following(f"http://127.0.0.1:{port}", on_lost=lost.put_nowait) as events:
        reading = asyncio.create_task(read_until(events, "never"))
        reason = await asyncio.wait_for(lost.get(), 20)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    server.close()

    assert reason == "TimeoutError"


# Asking, deciding, publishing


async def test_request_is_asked_decided_and_read(client: Client) -> None:
    asked = await client.ask("s", "write_file", {"path": "a"}, risk_level="medium", description="why", tool_call_id="c")
    [pending] = await client.pending("s")
    decided = await client.decide("s", {"approved": True, "parameters": {"path": "b"}, "reason": "so"})

    assert (asked["status"], asked["risk_level"], asked["description"]) == ("pending", "medium", "why")
    assert pending["request_id"] == asked["request_id"]
    assert (decided["decision"], decided["parameters"], decided["decided_by"]) == ("edit", {"path": "b"}, "local")
    assert await client.request("s", asked["request_id"]) == decided
    assert await client.pending("s") == []


async def test_asking_can_wait_for_the_decision(site: Site, client: Client) -> None:
    asking = asyncio.create_task(client.ask("s", "t", {}, wait_seconds=20))
    async with aclosing(client.events("s")) as events:
        await read_until(events, "permission_request")
    await client.decide("s", {"approved": False, "reason": "no"})

    record = await asking

    assert (record["status"], record["reason"]) == ("rejected", "no")


async def test_asker_with_a_key_joins_its_own_request(client: Client) -> None:
    first = await client.ask("s", "t", {}, idempotency_key="k1")
    second = await client.ask("s", "t", {}, idempotency_key="k1")

    assert first["request_id"] == second["request_id"]


async def test_waiting_ends_when_the_time_is_over(client: Client) -> None:
    asked = await client.ask("s", "t", {}, wait_seconds=0.01)

    assert (await client.request("s", asked["request_id"], wait_seconds=0.01))["status"] == "pending"


async def test_request_can_be_withdrawn(client: Client) -> None:
    asked = await client.ask("s", "t", {})

    record = await client.cancel("s", asked["request_id"])

    assert (record["status"], record["reason"]) == ("cancelled", "the agent withdrew it")


async def test_session_tells_how_it_is(client: Client) -> None:
    [event_id] = await client.publish("s", {"type": "note"})
    await client.ask("s", "t", {})

    health = await client.health("s")

    assert (health["status"], health["session_id"], health["pending_permissions"]) == ("healthy", "s", 1)
    assert health["last_event_id"] != event_id


async def test_session_can_be_ended(client: Client) -> None:
    await client.publish("s", {"type": "note"})

    assert await client.end_session("s") == {"session_id": "s", "status": "closed"}


async def test_calls_of_the_same_process_reach_its_readers(site: Site, client: Client) -> None:
    async with aclosing(client.events("s")) as events:
        await read_until(events, "snapshot")
        await SimpleNotifier.notify_tool_execution_start("s", {"tool_name": "t"})
        [event] = await read_until(events, "tool_status")

    assert event["data"]["tool_name"] == "t"


# What goes wrong


@pytest.mark.parametrize(
    ("call", "status", "code"),
    [
        (lambda client: client.publish("s", {"type": "hello"}), 422, "invalid"),
        (lambda client: client.publish("s", []), 422, "invalid"),
        (lambda client: client.health("a/b?c#d"), 422, "invalid"),
        (lambda client: client.decide("s", {"approved": True}), 404, "request_not_found"),
        (lambda client: client.request("s", "pr_unknown"), 404, "request_not_found"),
        (lambda client: client.cancel("s", "../s"), 404, "request_not_found"),
        (lambda client: client.end_session("unknown"), 404, "session_not_found"),
        (lambda client: client.ask("s", "t", {"text": "x" * 300_000}), 413, "too_large"),
    ],
)
async def test_refusal_carries_status_and_code(call: Any, status: int, code: str, client: Client) -> None:
    with pytest.raises(ServiceRefused) as refused:
        await call(client)

    assert (refused.value.status, refused.value.code) == (status, code)


async def test_refusal_carries_what_the_service_tells_beside(client: Client) -> None:
    await client.ask("s", "t", {})
    await client.ask("s", "t", {})

    with pytest.raises(ServiceRefused) as refused:
        await client.decide("s", {"approved": True})

    assert (refused.value.status, refused.value.code) == (409, "ambiguous_request")
    assert refused.value.message == "2 permission requests are pending: say which one with request_id."
    assert [record["tool_name"] for record in refused.value.details["pending"]] == ["t", "t"]


async def test_limit_is_a_refusal() -> None:
    async with (
        serve(Broker(Limits(max_pending_per_session=1)), Settings(port=0)) as site,
        Client(url_of(site)) as client,
    ):
        await client.ask("s", "t", {})
        with pytest.raises(ServiceRefused) as refused:
            await client.ask("s", "t", {})

    assert (refused.value.status, refused.value.code) == (429, "limit_reached")


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.publish("s", {"type": "note"}),
        lambda client: client.ask("s", "t", {}),
        lambda client: client.health("s"),
    ],
)
async def test_address_where_nobody_answers_is_named(call: Any) -> None:
    url = f"http://127.0.0.1:{free_port()}/agent_backend"
    async with Client(url + "/") as client:
        with pytest.raises(ServiceUnavailable, match=f"The service at {url} does not answer: "):
            await call(client)


async def test_service_that_goes_away_while_it_is_asked_is_told(site: Site, client: Client) -> None:
    asked = await client.ask("s", "t", {})
    async with Wire(site.port).laid() as wire, Client(wire.url) as waiting:
        held = asyncio.create_task(waiting.request("s", asked["request_id"], wait_seconds=60))
        await wire.used.wait()
        wire.remove()  # a GET that is merely cut is tried again by aiohttp
        with pytest.raises(ServiceUnavailable):
            await asyncio.wait_for(held, 20)


@asynccontextmanager
async def stranger(answer: bytes) -> AsyncIterator[str]:
    """A server that is no notifier_service and answers everything so; its URL."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(reply, "127.0.0.1")
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_stream_is_tried_again_where_another_try_may_help(status: int) -> None:
    lost: asyncio.Queue[str] = asyncio.Queue()
    answer = b"HTTP/1.1 %d Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % status
    async with stranger(answer) as url, following(url, on_lost=lost.put_nowait) as events:
        reading = asyncio.create_task(read_until(events, "never"))
        reasons = [await asyncio.wait_for(lost.get(), 20) for _ in range(2)]
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    assert reasons == [f"the service answers {status}"] * 2


@pytest.mark.parametrize(
    "body", [b"text/html\r\n\r\n<p>no</p>", b"application/json\r\n\r\n[1]", b'application/json\r\n\r\n{"error": "no"}']
)
async def test_error_of_another_service_says_that_it_is_another(body: bytes) -> None:
    head = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Type: "
    async with stranger(head + body) as url, Client(url) as client:
        with pytest.raises(ServiceRefused, match="comes from no notifier_service") as refused:
            await client.health("s")

    assert (refused.value.status, refused.value.code) == (404, "error")


@pytest.mark.parametrize(
    "body",
    [
        b"text/html\r\n\r\n<p>welcome</p>",
        pytest.param(
            b"application/json\r\n\r\n{}",
        ),
        pytest.param(
            b"application/json\r\n\r\n<p>",
        ),
    ],
)
async def test_answer_of_another_service_is_an_error_of_this_package(body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: "
    async with stranger(head + body) as url, Client(url) as client:
        with pytest.raises((ServiceUnavailable, ServiceRefused)):
            await client.health("s")


async def test_client_is_used_within_async_with() -> None:
    with pytest.raises(RuntimeError, match="a Client is used within 'async with'"):
        await Client().health("s")


# Tokens


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Site]:
    tokens = [
        {"token": "agent-token", "subject": "agent", "rights": ["produce"], "sessions": ["team-*"]},
        {"token": "person-token", "subject": "ada", "rights": ["approve"], "sessions": ["*"]},
    ]
    (tmp_path / "tokens.json").write_text(json.dumps(tokens), encoding="utf-8")
    settings = Settings(port=0, auth="tokens", tokens_file=tmp_path / "tokens.json")
    async with serve(settings=settings) as site:
        yield site


async def test_token_travels_in_the_header(guarded: Site) -> None:
    async with (
        Client(url_of(guarded), token="agent-token") as agent,
        Client(url_of(guarded), token="person-token") as ada,
    ):
        await agent.ask("team-a", "t", {})
        async with aclosing(ada.events("team-a")) as events:
            opening = await read_until(events, "permission_request")
        record = await ada.decide("team-a", {"approved": True})

    assert [event["type"] for event in opening] == ["hello", "snapshot", "permission_request"]
    assert record["decided_by"] == "ada"


@pytest.mark.parametrize(
    ("token", "session", "status", "code"),
    [
        (None, "team-a", 401, "unauthenticated"),
        ("wrong-token", "team-a", 401, "unauthenticated"),
        ("person-token", "team-a", 403, "forbidden"),
        ("agent-token", "other", 403, "forbidden"),
    ],
)
async def test_token_without_the_right_is_refused(
    token: str | None, session: str, status: int, code: str, guarded: Site
) -> None:
    async with Client(url_of(guarded), token=token) as client:
        with pytest.raises(ServiceRefused) as refused:
            await client.publish(session, {"type": "note"})

    assert (refused.value.status, refused.value.code) == (status, code)
    assert "token" not in str(refused.value.details)


async def test_stream_without_the_right_ends_with_the_refusal(guarded: Site) -> None:
    async with Client(url_of(guarded), token="agent-token") as agent:
        with pytest.raises(ServiceRefused) as refused:
            await anext(agent.events("team-a"))

    assert (refused.value.status, refused.value.code) == (403, "forbidden")
