"""The client follows a session across dropped connections and restarts, and names what went wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Client, Limits, Settings, SimpleNotifier, serve
from notifier_service.core.errors import InvalidInput, ServiceRefused, ServiceUnavailable
from notifier_service.core.events import ToolStatus
from notifier_service.web import Site
from tests.cli.processes import free_port
from tests.proxy import Proxy


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve(settings=Settings(port=0)) as site:
        yield site


@pytest.fixture
async def client(site: Site) -> AsyncIterator[Client]:
    async with Client(url_of(site)) as client:
        yield client


PREFIX = "/agent_backend"
STREAM = f"{PREFIX}/api/sse/events/s"
LONG_POLL = f"{PREFIX}/api/long-poll/s"
SILENT = "the stream stays silent: going on over long-poll"
THROUGH = "the stream gets through again: going back to it"


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
    seconds = {name: more.pop(name) for name in ("silence_seconds", "poll_seconds", "probe_seconds") if name in more}
    async with Client(url, **seconds) as client, aclosing(client.events("s", **more)) as events:
        yield events


@asynccontextmanager
async def stranger(answer: bytes, *, stays: bool = False) -> AsyncIterator[str]:
    """A server that is no notifier_service and answers everything so; its URL. It leaves first, unless it ``stays``."""
    answering: set[asyncio.Task[None]] = set()

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        answering.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if stays:
                await reader.read()
        writer.close()

    server = await asyncio.start_server(reply, "127.0.0.1")
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.gather(*answering)


def stream_of(*events: dict[str, Any]) -> bytes:
    """The head of a stream, and these events."""
    frames = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + b"".join(frames)


class Buffering(Proxy):
    """A proxy that holds an answer back until it has ended, unless its length is known, as nginx does.

    ``passes_pieces`` of each come through before: nginx passes what has filled a buffer.
    """

    def __init__(self, port: int, *, passes_pieces: int = 0) -> None:
        super().__init__(port)
        self._passes_pieces = passes_pieces
        self._ends: set[asyncio.StreamWriter] = set()
        #: Whether it holds back, from now on.
        self.holds_back = True
        #: The paths that were asked for, and what it answers in the service's place to those that begin so.
        self.asked: list[str] = []
        self.answers: dict[str, bytes] = {}
        self._on_change = asyncio.Event()

    def cut(self) -> None:
        for end in self._ends:
            end.transport.abort()

    def polls(self) -> list[str]:
        """The long-polls that were asked for."""
        return [path for path in self.asked if path.startswith(LONG_POLL)]

    async def until_asked(self, start: str, times: int = 1) -> None:
        """Wait until paths that begin so have been asked for so often."""
        async with asyncio.timeout(20):
            while sum(path.startswith(start) for path in self.asked) < times:
                self._on_change.clear()
                await self._on_change.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        try:
            while await self._pass_one(reader, writer):
                pass
        finally:
            self._ends.discard(writer)

    async def _pass_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection stays."""
        request = await reader.readuntil(b"\r\n\r\n")
        path = request.split()[1].decode()
        self.asked.append(path)
        self._on_change.set()
        for start, answer in self.answers.items():
            if path.startswith(start):
                writer.write(answer)
                return b"Connection: close" not in answer
        service_reader, service_writer = await asyncio.open_connection("127.0.0.1", self.port)
        service_writer.write(request)
        leaving = asyncio.create_task(reader.read(1))
        answering = asyncio.create_task(self._pass_answer(service_reader, writer))
        try:
            await asyncio.wait({leaving, answering}, return_when=asyncio.FIRST_COMPLETED)
            return answering.done() and not leaving.done() and await answering
        finally:
            service_writer.close()
            for task in (leaving, answering):
                task.cancel()
            await asyncio.gather(leaving, answering, return_exceptions=True)

    async def _pass_answer(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> bool:
        head = await source.readuntil(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 304 "):  # by which it has no body
            sink.write(head)
            return True
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                sink.write(head + await source.readexactly(int(value)))
                return True
        held, pieces = [head], 0
        while piece := await source.read(65536):
            held.append(piece)
            pieces += 1
            if not self.holds_back or pieces <= self._passes_pieces:
                sink.write(b"".join(held))
                held.clear()
        sink.write(b"".join(held))
        return False


@pytest.fixture
async def lively() -> AsyncIterator[Site]:
    """A service whose heart beats so fast that silence is soon noticed."""
    async with serve(settings=Settings(port=0, heartbeat_seconds=0.1)) as site:
        yield site


@pytest.fixture
async def proxy(lively: Site) -> AsyncIterator[Buffering]:
    async with Buffering(lively.port).running() as proxy:
        yield proxy


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
            hello, gap, snapshot, missed = await read_until(events, "note")
            await client.publish("s", {"type": "note", "data": {"n": 3}})
            [live] = await read_until(events, "note")

    assert (bye["data"]["code"], bye["data"]["reconnect"]) == ("shutdown", True)
    assert lost == ["the service ended the stream"]
    assert hello["data"]["resumed"] == "partial"
    assert (gap["data"]["reason"], gap["data"]["requested"]) == ("epoch", note_id)
    assert snapshot["data"]["last_event_id"] == f"{hello['data']['epoch']}-0"
    assert (missed["data"], live["data"]) == ({"n": 2}, {"n": 3})


async def test_reader_tries_every_2_to_3_s_in_the_first_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    slept = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await slept(0)
        if len(pauses) == 8:
            raise asyncio.CancelledError

    monkeypatch.setattr("notifier_service.client.asyncio.sleep", sleep)
    async with following(f"http://127.0.0.1:{free_port()}{PREFIX}") as events:
        with suppress(asyncio.CancelledError):
            await anext(events)

    assert all(2 <= pause <= 3 for pause in pauses[3:])
    assert sum(pauses[:3]) <= 4


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


async def test_bye_is_the_end_of_a_stream_that_somebody_holds_open() -> None:
    lost: list[str] = []
    hello = {"type": "hello", "data": {"heartbeat_seconds": 0.1}}
    bye = {"type": "bye", "data": {"code": "slow", "reconnect": True, "retry_ms": 10}}
    async with (
        stranger(stream_of(hello, bye), stays=True) as url,
        following(url, on_lost=lost.append) as events,
    ):
        await read_until(events, "bye")
        await read_until(events, "bye")

    assert lost == ["the service ended the stream"]


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
    hello = {"type": "hello", "data": {"heartbeat_seconds": 0.02}}
    async with stranger(stream_of(hello), stays=True) as url, following(url, on_lost=lost.put_nowait) as events:
        reading = asyncio.create_task(read_until(events, "never"))
        reason = await asyncio.wait_for(lost.get(), 20)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    assert reason == SILENT


# Behind a proxy that holds streams back


def note(number: int) -> dict[str, Any]:
    return {"type": "note", "data": {"n": number}}


def publish(site: Site, *numbers: int) -> list[str]:
    return [site.broker.publish_nowait("s", "note", {"n": number}).id for number in numbers]


def numbers_of(events: list[dict[str, Any]]) -> list[int]:
    return [event["data"]["n"] for event in events if event["type"] == "note"]


async def until(state: Callable[[], object]) -> None:
    """Let others run until ``state`` holds."""
    async with asyncio.timeout(20):
        while not state():  # noqa: ASYNC110  # the state of a core that has no event of its own for it
            await asyncio.sleep(0)


async def until_held(site: Site) -> None:
    """Wait until the service holds a long-poll."""
    await until(lambda: "long-poll" in site.broker.open("s").readers.by_transport)


async def read_numbers(events: AsyncIterator[dict[str, Any]], last: int) -> list[int]:
    """The numbers of the notes, up to this one."""
    numbers: list[int] = []
    while last not in numbers:
        numbers += numbers_of(await read_until(events, "note"))
    return numbers


async def test_silent_stream_is_left_for_long_poll_which_opens_as_a_stream_does(lively: Site, proxy: Buffering) -> None:
    publish(lively, 1)
    lively.broker.publish_nowait("s", "tool_status", ToolStatus(status="executing", tool_name="t"))
    request = lively.broker.ask("s", tool_name="t", parameters={"x": 1})
    lost: list[str] = []
    async with following(proxy.url, silence_seconds=0.2, on_lost=lost.append) as events:
        opening = await read_until(events, "permission_request")
        publish(lively, 2)
        [live] = await read_until(events, "note")
    async with following(url_of(lively)) as events:
        streamed = await read_until(events, "permission_request")

    assert lost == [SILENT]
    assert [event["type"] for event in opening] == ["hello", "snapshot", "permission_request"]
    assert [(event["type"], sorted(event["data"])) for event in opening] == [
        (event["type"], sorted(event["data"])) for event in streamed
    ]
    hello, snapshot, asked = (event["data"] for event in opening)
    assert (hello["resumed"], hello["session_id"], hello["viewers"]) == ("none", "s", 1)
    assert (hello["epoch"], hello["last_event_id"]) == (streamed[0]["data"]["epoch"], snapshot["last_event_id"])
    assert (snapshot["tool_status"]["tool_name"], [call["tool_name"] for call in snapshot["running"]]) == ("t", ["t"])
    assert (asked["request_id"], asked["replayed"]) == (request.request_id, True)
    assert "id" not in opening[2]
    assert live["data"] == {"n": 2}


async def test_state_comes_at_once_when_a_stream_is_left(proxy: Buffering) -> None:
    async with following(proxy.url, silence_seconds=0.2) as events:
        await read_until(events, "snapshot")

        assert proxy.polls() == [f"{LONG_POLL}?timeout=0"]


async def test_cursor_holds_on_long_poll_too(lively: Site, proxy: Buffering) -> None:
    ids = publish(lively, 1, 2, 3)
    async with following(proxy.url, silence_seconds=0.2, after=ids[0]) as events:
        opening = await read_until(events, "note")
        [third] = await read_until(events, "note")
        publish(lively, 4)
        [live] = await read_until(events, "note")

    assert [event["type"] for event in opening] == ["hello", "note"]
    assert opening[0]["data"]["resumed"] == "full"
    assert [opening[1]["id"], third["id"]] == ids[1:]
    assert live["data"] == {"n": 4}


@pytest.mark.parametrize(("after", "reason"), [("1-1", "epoch"), ("garbage", "unknown")])
async def test_cursor_that_long_poll_cannot_serve_is_a_gap_and_the_state(
    after: str, reason: str, lively: Site, proxy: Buffering
) -> None:
    lively.broker.ask("s", tool_name="t", parameters={})
    async with following(proxy.url, silence_seconds=0.2, after=after) as events:
        opening = await read_until(events, "permission_request")
        publish(lively, 1)
        [live] = await read_until(events, "note")

    assert [event["type"] for event in opening] == ["hello", "gap", "snapshot", "permission_request"]
    assert (opening[0]["data"]["resumed"], opening[1]["data"]["reason"]) == ("partial", reason)
    assert live["data"] == {"n": 1}


async def test_earliest_cursor_shows_requests_that_the_log_no_longer_tells() -> None:
    settings = Settings(port=0, heartbeat_seconds=0.1, log_events=2)
    async with serve(settings=settings) as site, Buffering(site.port).running() as proxy:
        old = site.broker.ask("s", tool_name="old", parameters={})
        publish(site, 1, 2)
        new = site.broker.ask("s", tool_name="new", parameters={})
        async with following(proxy.url, silence_seconds=0.2, after="earliest") as events:
            opening = [await anext(events) for _ in range(4)]

    assert [event["type"] for event in opening] == ["hello", "permission_request", "note", "permission_request"]
    assert [event["data"].get("request_id") for event in opening[1::2]] == [old.request_id, new.request_id]
    assert [event["data"].get("replayed") for event in opening[1::2]] == [True, None]


async def test_what_a_proxy_holds_in_the_middle_of_a_stream_comes_once_and_in_order(
    lively: Site, proxy: Buffering
) -> None:
    proxy.holds_back = False
    lost: list[str] = []
    async with following(proxy.url, on_lost=lost.append) as events:
        await read_until(events, "snapshot")
        publish(lively, 1, 2)
        read = await read_until(events, "note")
        proxy.holds_back = True
        publish(lively, 3, 4)
        read += await read_until(events, "hello")
        publish(lively, 5)
        while read[-1].get("data") != {"n": 5}:
            read.append(await anext(events))

    assert lost == [SILENT]
    assert numbers_of(read) == [1, 2, 3, 4, 5]
    assert [event["data"]["resumed"] for event in read if event["type"] == "hello"] == ["full"]


async def test_opening_that_was_cut_in_two_is_told_again() -> None:
    """A hello alone is no state: whoever has only that has not begun."""
    cursors: asyncio.Queue[bytes] = asyncio.Queue()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        cursors.put_nowait(b"".join(line for line in request.splitlines() if line.lower().startswith(b"last-event-id")))
        hello = {"type": "hello", "data": {"heartbeat_seconds": 15, "resumed": "none"}}
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        writer.write(head + b"id: 1-5\ndata: " + json.dumps(hello).encode() + b"\n\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1")
    async with following(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as events:
        await read_until(events, "hello")
        await read_until(events, "hello")
    server.close()

    assert [cursors.get_nowait(), cursors.get_nowait()] == [b"", b""]


async def test_long_poll_without_an_event_beats_as_a_stream_does(proxy: Buffering) -> None:
    lost: list[str] = []
    async with following(proxy.url, silence_seconds=0.2, poll_seconds=0.1, on_lost=lost.append) as events:
        opening = await read_until(events, "heartbeat")
        [beat] = await read_until(events, "heartbeat")

    assert opening[0]["data"]["heartbeat_seconds"] == 0.1
    assert sorted(beat) == ["timestamp", "type"]
    assert lost == [SILENT]


async def test_way_that_is_cut_while_it_polls_is_tried_again_and_misses_nothing(lively: Site, proxy: Buffering) -> None:
    lost: list[str] = []
    async with following(proxy.url, silence_seconds=0.2, on_lost=lost.append) as events:
        await read_until(events, "snapshot")
        publish(lively, 1)
        await read_until(events, "note")
        reading = asyncio.create_task(read_until(events, "note"))
        await until_held(lively)
        proxy.answers[LONG_POLL] = b"Connection: close"  # no answer at all: a GET that is merely cut is tried once more
        proxy.cut()
        await until(lambda: len(lost) == 2)
        publish(lively, 2)
        proxy.answers.clear()
        hello, missed = await reading

    assert (lost[0], SILENT in lost[1:]) == (SILENT, False)
    assert (hello["type"], hello["data"]["resumed"], missed["data"]) == ("hello", "full", {"n": 2})


async def test_session_that_ends_while_it_is_polled_begins_anew(lively: Site, proxy: Buffering) -> None:
    lost: list[str] = []
    async with following(proxy.url, silence_seconds=0.2, on_lost=lost.append) as events:
        await read_until(events, "snapshot")
        publish(lively, 1)
        [last] = await read_until(events, "note")
        reading = asyncio.create_task(read_until(events, "snapshot"))
        await until_held(lively)
        lively.broker.end_session("s")
        hello, gap, _ = await reading
        publish(lively, 2)
        [live] = await read_until(events, "note")

    assert lost == [SILENT, "the service ended a long-poll before its time"]
    assert (hello["data"]["resumed"], gap["data"]["reason"]) == ("partial", "epoch")
    assert gap["data"]["requested"] == last["id"]
    assert live["data"] == {"n": 2}


async def test_burst_that_overtakes_a_long_poll_is_a_gap() -> None:
    settings = Settings(port=0, heartbeat_seconds=0.1, log_events=3)
    lost: list[str] = []
    async with (
        serve(settings=settings) as site,
        Buffering(site.port).running() as proxy,
        following(proxy.url, silence_seconds=0.2, on_lost=lost.append) as events,
    ):
        await read_until(events, "snapshot")
        publish(site, *range(9))
        hello, gap, snapshot = await read_until(events, "snapshot")
        publish(site, 10)
        [live] = await read_until(events, "note")

    assert lost == [SILENT, "the place in the session was lost (evicted)"]
    assert (hello["data"]["resumed"], gap["data"]["reason"]) == ("partial", "evicted")
    assert snapshot["data"]["last_event_id"] == gap["data"]["newest"]
    assert live["data"] == {"n": 10}


@pytest.mark.parametrize("gap", [None, {"requested": "1-1", "oldest": "2-1", "newest": "2-1", "reason": "epoch"}])
async def test_empty_answers_that_come_too_soon_are_asked_for_ever_more_slowly(gap: Any, proxy: Buffering) -> None:
    body = json.dumps({"data": {"events": [], "last_event_id": "2-1", "gap": gap, "permission_requests": []}}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    proxy.answers[LONG_POLL] = head + body
    lost: list[tuple[float, str]] = []
    clock = asyncio.get_running_loop().time
    async with following(
        proxy.url, silence_seconds=0.2, on_lost=lambda reason: lost.append((clock(), reason))
    ) as events:
        while len(lost) < 4:
            await asyncio.wait_for(anext(events), 20)
    (_, silent), *hasty = lost
    pauses = [later - earlier for (earlier, _), (later, _) in pairwise(hasty)]

    assert silent == SILENT
    assert len({reason for _, reason in hasty}) == 1
    assert len(proxy.polls()) <= 8
    assert [pause > shortest for pause, shortest in zip(pauses, (0.25, 0.5), strict=True)] == [True, True]


async def test_busy_service_says_itself_when_to_ask_it_again(proxy: Buffering) -> None:
    answer = b"HTTP/1.1 429 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    proxy.answers[LONG_POLL] = answer
    lost: asyncio.Queue[str] = asyncio.Queue()
    async with following(proxy.url, silence_seconds=0.2, on_lost=lost.put_nowait) as events:
        reading = asyncio.create_task(read_until(events, "snapshot"))
        reasons = [await asyncio.wait_for(lost.get(), 20) for _ in range(2)]
        asked_at = asyncio.get_running_loop().time()
        proxy.answers.clear()
        await reading
        waited = asyncio.get_running_loop().time() - asked_at

    assert reasons == [SILENT, "the service answers 429"]
    assert waited > 1


async def test_refused_long_poll_ends_with_the_refusal(proxy: Buffering) -> None:
    error = json.dumps({"error": {"code": "forbidden", "message": "no"}}).encode()
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(error)
    proxy.answers[LONG_POLL] = head + error
    async with following(proxy.url, silence_seconds=0.2) as events:
        with pytest.raises(ServiceRefused) as refused:
            await asyncio.wait_for(anext(events), 20)

    assert (refused.value.status, refused.value.code) == (403, "forbidden")


async def test_stream_that_gets_through_again_is_gone_back_to(lively: Site, proxy: Buffering) -> None:
    lost: list[str] = []
    async with following(
        proxy.url, silence_seconds=0.2, poll_seconds=0.2, probe_seconds=0.1, on_lost=lost.append
    ) as events:
        await read_until(events, "snapshot")
        proxy.holds_back = False
        publish(lively, 1)
        read = await read_until(events, "hello")
        publish(lively, 2)
        read += await read_until(events, "note")

    assert lost == [SILENT, THROUGH]
    assert numbers_of(read) == [1, 2]
    assert [event["data"]["resumed"] for event in read if event["type"] == "hello"] == ["full"]
    assert proxy.asked[-1] == STREAM


async def test_nobody_waits_while_the_stream_is_tried_again(lively: Site, proxy: Buffering) -> None:
    lost: list[str] = []
    async with following(proxy.url, silence_seconds=0.5, probe_seconds=0.01, on_lost=lost.append) as events:
        await read_until(events, "snapshot")
        reading = asyncio.create_task(read_until(events, "note"))
        await proxy.until_asked(STREAM, 2)
        publish(lively, 1)
        [event] = await reading
        streams = proxy.asked.count(STREAM)

    assert lost == [SILENT]
    assert event["data"] == {"n": 1}
    assert streams == 2  # it came before the second stream was found silent, too


async def test_stream_of_which_only_the_opening_comes_does_not_get_through(lively: Site) -> None:
    """So does a proxy whose buffer is smaller than the opening."""
    lost: list[str] = []
    async with (
        Buffering(lively.port, passes_pieces=1).running() as proxy,
        following(proxy.url, poll_seconds=0.1, probe_seconds=0.01, on_lost=lost.append) as events,
    ):
        opening = await read_until(events, "snapshot")
        reading = asyncio.create_task(read_until(events, "note"))
        await proxy.until_asked(STREAM, 3)
        publish(lively, 1)
        read = await reading

    assert [event["type"] for event in opening] == ["hello", "snapshot"]
    assert lost == [SILENT]
    assert [event["data"]["resumed"] for event in read if event["type"] == "hello"] == ["full"]


async def test_stream_is_tried_again_ever_more_seldom(proxy: Buffering) -> None:
    clock = asyncio.get_running_loop().time
    async with following(proxy.url, silence_seconds=0.05, probe_seconds=0.1) as events:
        await read_until(events, "snapshot")
        reading = asyncio.create_task(read_until(events, "never"))
        tried_at = []
        for times in (2, 3, 4):
            await proxy.until_asked(STREAM, times)
            tried_at.append(clock())
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    first, second = (later - earlier for earlier, later in pairwise(tried_at))
    assert (first > 0.24, second > 0.44) == (True, True)  # the silence, and twice as long each time


async def test_stream_that_falls_silent_again_is_left_for_longer(proxy: Buffering) -> None:
    left_at: list[float] = []
    clock = asyncio.get_running_loop().time
    async with following(
        proxy.url,
        silence_seconds=0.8,
        poll_seconds=0.1,
        probe_seconds=0.3,
        on_lost=lambda reason: left_at.append(clock()) if reason == SILENT else None,
    ) as events:
        await read_until(events, "snapshot")
        reading = asyncio.create_task(read_until(events, "never"))
        proxy.holds_back = False
        await proxy.until_asked(STREAM, 3)  # the first, a probe, and the way back
        proxy.holds_back = True
        await proxy.until_asked(STREAM, 4)
        tried_at = clock()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    assert len(left_at) == 2
    assert tried_at - left_at[1] > 0.59


async def test_stream_is_tried_again_at_once_after_a_restart(lively: Site, proxy: Buffering) -> None:
    lost: list[str] = []
    async with following(proxy.url, silence_seconds=0.2, poll_seconds=0.2, on_lost=lost.append) as events:
        await read_until(events, "snapshot")
        proxy.holds_back = False
        lively.broker.end_session("s")
        await read_until(events, "gap")
        publish(lively, 1)
        read = await read_until(events, "hello")
        publish(lively, 2)
        read += await read_until(events, "note")

    assert lost[0] == SILENT
    assert lost[-1] == THROUGH
    assert proxy.asked[-1] == STREAM


async def test_every_event_comes_once_and_in_order_however_often_the_way_changes(
    lively: Site, proxy: Buffering
) -> None:
    lost: list[str] = []
    async with following(
        proxy.url, silence_seconds=0.1, poll_seconds=0.1, probe_seconds=0.05, on_lost=lost.append
    ) as events:
        await read_until(events, "snapshot")

        async def produce() -> None:
            number = 0
            while len(lost) < 5:
                number += 1
                publish(lively, number)
                proxy.holds_back = len(lost) % 2 == 0
                await asyncio.sleep(0.005)
            publish(lively, 0)

        producing = asyncio.create_task(produce())
        numbers = await read_numbers(events, 0)
        await producing

    assert [reason for reason in lost if reason not in (SILENT, THROUGH)] == []
    assert numbers == [*range(1, len(numbers)), 0]


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


async def test_session_tells_its_present_state(client: Client) -> None:
    [event_id] = await client.publish("s", {"type": "tool_result", "data": {"tool_name": "t", "success": True}})

    info = await client.session_info("s")

    assert (info["last_event_id"], info["viewers"]) == (event_id, 0)
    assert (info["tool_status"], info["tool_result"]["tool_name"]) == (None, "t")
    assert info["permission_requests"] == []


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
        (lambda client: client.publish("s", {"type": "note", "data": {"text": "x" * 300_000}}), 413, "too_large"),
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
    async with Wire(site.port).laid() as wire, Client(wire.url, away_seconds=1) as waiting:
        held = asyncio.create_task(waiting.request("s", asked["request_id"], wait_seconds=60))
        await wire.used.wait()
        wire.remove()  # a GET that is merely cut is tried again by aiohttp
        with pytest.raises(ServiceUnavailable):
            await asyncio.wait_for(held, 20)


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
    "body",
    [
        b"text/html\r\n\r\n<p>no</p>",
        b"application/json\r\n\r\n[1]",
        b'application/json\r\n\r\n{"error": "no"}',
        b"application/json\r\n\r\n" + b"[" * 100_000,
    ],
    ids=["html", "list", "text", "deep"],
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


async def test_reader_that_missed_the_end_of_its_session_is_told_when_it_comes_back() -> None:
    async with serve(settings=Settings(port=0)) as site:
        before = site.broker.publish_nowait("s", "note").id
        site.broker.end_session("s")
        async with Client(f"{site.url}{site.settings.prefix}") as client:
            events = [event async for event in client.events("s", after=before)]

    assert [(event["type"], event["data"]["code"]) for event in events] == [("bye", "session_closed")]


@pytest.mark.parametrize("session_id", [".", ".."])
async def test_step_in_a_path_is_no_session_id(session_id: str) -> None:
    async with Client() as client:
        with pytest.raises(InvalidInput):
            await client.end_session(session_id)


# The inbox


@asynccontextmanager
async def following_inbox(url: str, **more: Any) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    seconds = {name: more.pop(name) for name in ("silence_seconds", "probe_seconds") if name in more}
    async with Client(url, **seconds) as client, aclosing(client.inbox_events(**more)) as events:
        yield events


async def test_inbox_tells_what_waits_in_all_sessions_and_all_of_it_is_decided_at_once(
    site: Site, client: Client
) -> None:
    for number in range(101):
        site.broker.ask(f"s{number}", tool_name="t", parameters={"n": number})
    async with following_inbox(url_of(site)) as events:
        [_, snapshot] = await read_until(events, "snapshot")
        requests = snapshot["data"]["permission_requests"]
        told = await client.decide_all(requests, approved=False, reason="not today")
        for _ in requests:
            cleared = (await read_until(events, "permission_cleared"))[-1]

    assert [one["status"] for one in told] == [200] * 101
    assert {one["record"]["reason"] for one in told} == {"not today"}
    assert cleared["data"]["session_id"] == "s100"
    assert (await client.inbox())["permission_requests"] == []
    assert await client.decide_all([], approved=True) == []


async def test_inbox_goes_on_behind_its_cursor_when_the_connection_is_cut(site: Site) -> None:
    async with Wire(site.port).laid() as wire, following_inbox(wire.url) as events:
        await read_until(events, "snapshot")
        site.broker.ask("s1", tool_name="t", parameters={})
        await read_until(events, "permission_request")
        wire.cut()
        site.broker.ask("s2", tool_name="t", parameters={})
        [*_, asked] = await read_until(events, "permission_request")

    assert asked["data"]["session_id"] == "s2"


async def test_inbox_whose_stream_is_held_back_is_polled_and_gone_back_to(
    lively: Site, proxy: Buffering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier_service.client._INBOX_POLL_SECONDS", 0.02)
    monkeypatch.setattr("notifier_service.client._INBOX_BEAT_SECONDS", 0.1)
    lost: list[str] = []
    async with following_inbox(proxy.url, silence_seconds=0.2, probe_seconds=0.2, on_lost=lost.append) as events:
        opening = await read_until(events, "snapshot")
        beat = (await read_until(events, "heartbeat"))[-1]
        lively.broker.ask("s1", tool_name="t", parameters={})
        news = await read_until(events, "snapshot")
        proxy.holds_back = False
        back = await read_until(events, "hello")

    assert [event["type"] for event in opening] == ["hello", "snapshot"]
    assert sorted(beat) == ["timestamp", "type"]
    assert [one["session_id"] for one in news[-1]["data"]["permission_requests"]] == ["s1"]
    assert back[-1]["data"]["resumed"] == "full"
    assert lost == [SILENT, THROUGH]


async def test_refused_inbox_ends_with_the_refusal(proxy: Buffering) -> None:
    refusal = b'{"success":false,"error":{"code":"forbidden","message":"no"},"message":"no"}'
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(refusal)
    proxy.answers[f"{PREFIX}/api/inbox"] = head + refusal
    with pytest.raises(ServiceRefused, match="no"):
        async with following_inbox(proxy.url, silence_seconds=0.2) as events:
            await read_until(events, "snapshot")


async def test_reader_says_that_a_person_sees_what_comes(site: Site, client: Client) -> None:
    for events in (client.events("s", visible=True), client.inbox_events(visible=True)):
        async with aclosing(events):
            await read_until(events, "snapshot")
            assert site.broker.is_looked_at("s")
        await until(lambda: not site.broker.is_looked_at("s"))


async def test_person_says_whether_they_see_what_comes_and_whether_they_are_away(site: Site, client: Client) -> None:
    assert await client.presence() == {"away": False}
    said = await client.presence(visible=True, page="p", session_id="s")
    assert (said["visible"], site.broker.is_looked_at("s"), site.broker.is_looked_at("t")) == (True, True, False)
    await client.presence(away=True)

    assert not site.broker.is_looked_at("s")
    assert await client.presence() == {"away": True}


async def test_session_is_called_something(client: Client) -> None:
    assert (await client.label("s", title="Tidy up", agent="robot"))["title"] == "Tidy up"

    row = await client.label("s", title=None)
    assert (row["title"], row["agent"]) == (None, "robot")


async def test_approved_call_is_taken_once(client: Client, site: Site) -> None:
    asked = await client.ask("s", "write", {"path": "a"})
    with pytest.raises(ServiceRefused) as early:
        await client.claim("s", asked["request_id"], "run-1")
    await client.decide("s", {"approved": True, "request_id": asked["request_id"]})

    taken = [await client.claim("s", asked["request_id"], "run-1", reports=False) for _ in range(2)]
    with pytest.raises(ServiceRefused) as late:
        await client.claim("s", asked["request_id"], "run-2")

    assert [each["status"] for each in taken if each] == ["approved", "approved"]
    assert (early.value.code, late.value.code) == ("not_approved", "already_claimed")
    assert site.broker.open("s").desk.runs == ()


async def test_publisher_over_its_rate_waits_as_long_as_the_service_says_and_loses_nothing() -> None:
    async with serve(settings=Settings(port=0, publish_rate="20/1")) as site, Client(url_of(site)) as client:
        for number in range(5):
            await client.publish("s", {"type": "note", "data": {"n": number}})

        log = site.broker.get("s").log
        assert [json.loads(event.json)["data"]["n"] for event in log.read_after(0)] == [0, 1, 2, 3, 4]
        assert site.broker.counters.limits_reached["publish_rate"] >= 4


async def test_publisher_that_would_have_to_wait_for_too_long_is_told() -> None:
    async with serve(settings=Settings(port=0, publish_rate="0.001/1")) as site, Client(url_of(site)) as client:
        await client.publish("s", {"type": "note"})
        with pytest.raises(ServiceRefused) as refused:
            await client.publish("s", {"type": "note"})

    assert (refused.value.status, refused.value.code) == (429, "limit_reached")
    assert refused.value.retry_after_seconds > 900


async def test_asker_over_its_rate_comes_back_when_the_service_says() -> None:
    async with serve(settings=Settings(port=0, publish_rate="2/1")) as site, Client(url_of(site)) as client:
        await client.publish("s", {"type": "note"})
        record = await client.ask("s", "read", {}, risk_level="low", wait_seconds=5)

        assert record["status"] == "approved"
        assert site.broker.counters.limits_reached == {"publish_rate": 1}


async def test_calls_side_by_side_all_find_the_prefix() -> None:
    async with serve(settings=Settings(port=0)) as site, Client(site.url) as client:
        await asyncio.gather(*(client.publish("s", {"type": "note"}) for _ in range(5)))

        assert client.url == f"{site.url}{site.settings.prefix}"
