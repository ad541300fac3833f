"""A stream's connection in our own hands: what aiohttp lets go of, the very bytes, and every way in which it ends."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import logging
import re
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from notifier_service import Broker, Settings, create_app, serve
from notifier_service.web import AccessLog, sse
from notifier_service.web.connection import Form, StreamConnection
from tests.raw_stream import OpenStream, RawStream

from .conftest import PATIENCE_SECONDS, until

PATH = "/agent_backend/api/sse/events/s"
TEXT = "x" * 20_000

Place: TypeAlias = tuple[Broker, int, str]
Run: TypeAlias = Callable[..., AbstractAsyncContextManager[Place]]


@asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[Place]:
    async with serve(settings=Settings(port=0, **settings)) as site:
        yield site.broker, site.port, PATH


@asynccontextmanager
async def mounted(*, runner: Any = None, **settings: Any) -> AsyncIterator[Place]:
    """In somebody's application, on a runner with aiohttp's defaults: handlers are not cancelled there."""
    given = Settings(**settings)
    broker = Broker(given)
    host = web.Application()
    host.add_subapp("/notifier/", create_app(broker, given))
    options = {"shutdown_timeout": 0.5, "access_log_class": AccessLog, **(runner or {})}
    running = web.AppRunner(host, **options)
    await running.setup()
    site = web.TCPSite(running, "127.0.0.1", 0)
    await site.start()
    try:
        yield broker, site.port, f"/notifier{PATH}"
    finally:
        await running.cleanup()


@pytest.fixture(params=[served, mounted], ids=["served", "mounted"])
def run(request: pytest.FixtureRequest) -> Run:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> weakref.WeakSet[StreamConnection]:
    """Every connection that was taken over and still exists."""
    alive: weakref.WeakSet[StreamConnection] = weakref.WeakSet()

    class Watched(StreamConnection):
        def __init__(self, request: web.Request) -> None:
            super().__init__(request)
            alive.add(self)

    monkeypatch.setattr(sse, "StreamConnection", Watched)
    return alive


def count_from_here() -> None:
    """What is older is not ``alive``, and is not looked through each time: there may be millions."""
    gc.collect()
    gc.freeze()


def alive(kind: type) -> int:
    gc.collect()
    return sum(isinstance(thing, kind) for thing in gc.get_objects())


async def raw(port: int, request: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    return reader, writer


def get(path: str, http: str = "1.1") -> str:
    return f"GET {path} HTTP/{http}\r\nHost: 127.0.0.1\r\n\r\n"


async def everything(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of the answer, read until the service closes the connection."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    return head, body


def dechunked(body: bytes) -> bytes:
    """The body out of its chunks (RFC 9112 section 7.1), which must fill it to the last byte."""
    content = b""
    while True:
        line, _, rest = body.partition(b"\r\n")
        assert re.fullmatch(rb"[0-9a-fA-F]+", line), f"no chunk begins with {line!r}"
        size = int(line, 16)
        assert rest[size : size + 2] == b"\r\n"
        content, body = content + rest[:size], rest[size + 2 :]
        if size == 0:
            assert body == b"", "something came after the last chunk"
            return content


def events_of(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: ")]


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["data"]["number"] for event in events if event["type"] == "x"]


async def fill(broker: Broker, *, paused: Callable[[], bool]) -> int:
    """Publish until the peer that does not read takes no more; return how many it were."""
    number = 0
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not paused():
            number += 1
            await broker.publish("s", "x", {"number": number, "text": TEXT})
    return number


async def stalled(
    place: Place, open_stream: OpenStream, made: weakref.WeakSet[StreamConnection], *, http: str = "1.1"
) -> tuple[RawStream, StreamConnection, int]:
    """A stream whose peer has stopped reading, and how many events were published."""
    broker, port, path = place
    stream = await open_stream(port, path, receive_bytes=4096, http=http)
    await stream.until("snapshot")
    [taken_over] = made
    number = await fill(broker, paused=lambda: taken_over._is_paused)
    return stream, taken_over, number


# What aiohttp lets go of


async def test_open_stream_is_nobodys_task_and_aiohttp_has_let_go_of_its_request(
    run: Run, open_stream: OpenStream
) -> None:
    count_from_here()
    async with run() as (broker, port, path):
        tasks = len(asyncio.all_tasks())
        streams = [await open_stream(port, path, http=http) for http in ("1.0", "1.1")]
        for stream in streams:
            await stream.until("snapshot")

        await until(lambda: len(asyncio.all_tasks()) == tasks)
        await until(lambda: alive(RequestHandler) == alive(web.Request) == 0)
        assert alive(StreamConnection) == broker.connections == 2
        await broker.publish("s", "x", {"number": 1})
        for stream in streams:
            assert (await stream.until("x"))["data"] == {"number": 1}


async def test_open_and_close_leave_no_connection_behind(
    run: Run, open_stream: OpenStream, made: weakref.WeakSet[StreamConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run() as (broker, port, path):
        tasks = len(asyncio.all_tasks())
        for number in range(200):
            stream = await open_stream(port, path)
            await stream.until("snapshot")
            if number % 2:
                stream.vanish()
            else:
                stream.leave()
        await until(lambda: not broker.connections)
        await until(lambda: len(asyncio.all_tasks()) == tasks)
        gc.collect()

        assert len(made) == 0
        assert broker.counters.disconnects == {"left": 200}
        assert broker.counters.connections_opened == 200


# The very bytes


@pytest.mark.parametrize("query", ["", "?named=1"])
async def test_body_is_in_chunks_under_http_1_1_and_plain_under_1_0(run: Run, query: str) -> None:
    async with run() as (broker, port, path):
        answers = [await raw(port, get(path + query, http)) for http in ("1.1", "1.0")]
        await until(lambda: broker.connections == 2)
        for number in range(3):
            await broker.publish("s", "x", {"number": number, "text": "é" * (100 * number)})
        broker.end_session("s")
        (new_head, new_body), (old_head, old_body) = [await everything(reader) for reader, _ in answers]
        for _, writer in answers:
            writer.close()

    assert b"Transfer-Encoding: chunked" in new_head
    assert b"Transfer-Encoding" not in old_head
    assert new_body.endswith(b"\r\n0\r\n\r\n")
    bodies = [dechunked(new_body), old_body]
    for body in bodies:
        frames = body.split(b"\n\n")
        assert frames[0].startswith(b"retry: ")
        assert frames[-1] == b""
        for frame in frames[:-1]:
            fields = dict(line.split(b": ", 1) for line in frame.split(b"\n"))
            event = json.loads(fields[b"data"])
            if event["type"] != "hello":  # whose id is only where a stream goes on
                assert fields.get(b"id", b"").decode() == event.get("id", "")
            expected = event["type"] if query else ""
            assert fields.get(b"event", b"").decode() == expected
        told = events_of(body)
        assert [event["type"] for event in told] == ["hello", "snapshot", "x", "x", "x", "bye"]
        assert numbers(told) == [0, 1, 2]
        assert told[-1]["data"]["code"] == "session_closed"


async def test_readers_at_one_place_share_the_bytes_of_one_form(
    run: Run, open_stream: OpenStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def counted(form: Form) -> Form:
        def frames(events: Any) -> bytes:
            if events[0].seq:
                made.append(form.name)
            return form.frames(events)

        return Form(form.name, frames, form.bye)

    monkeypatch.setattr(sse, "_FORMS", {key: counted(form) for key, form in sse._FORMS.items()})
    async with run() as (broker, port, path):
        streams = [
            await open_stream(port, path + query, http=http)
            for _ in range(5)
            for query in ("", "?named=1")
            for http in ("1.0", "1.1")
        ]
        for stream in streams:
            await stream.until("snapshot")
        for number in range(3):
            broker.publish_nowait("s", "x", {"number": number})
        lines = []
        for stream in streams:
            body = b""
            while body.count(b"data: ") < 3:
                body += await stream.reader.readuntil(b"\n")
            assert numbers(events_of(body)) == [0, 1, 2]
            lines.append(b"event: x" in body)

    assert sorted(made) == ["sse", "sse, in chunks", "sse, named", "sse, named, in chunks"]
    assert lines == [False, False, True, True] * 5


# What the peer does


@pytest.mark.parametrize("how", ["leave", "vanish", "half-close"])
async def test_peer_that_goes_is_counted_out_once(
    run: Run, open_stream: OpenStream, made: weakref.WeakSet[StreamConnection], how: str
) -> None:
    async with run() as (broker, port, path):
        stream = await open_stream(port, path, http="1.1")
        await stream.until("snapshot")
        [taken_over] = made
        if how == "half-close":
            stream.writer.write_eof()
        else:
            getattr(stream, how)()
        await until(lambda: taken_over.is_closed)

        assert broker.connections == 0
        await broker.publish("s", "x")
        assert broker.counters.disconnects == {"left": 1}


async def test_what_a_peer_sends_after_the_head_is_not_read_into_memory_and_answers_nothing(
    run: Run, open_stream: OpenStream, caplog: pytest.LogCaptureFixture
) -> None:
    async with run() as (broker, port, path):
        reader, writer = await raw(port, get(path) + get(path + "2"))
        await until(lambda: broker.connections)
        await reader.readuntil(b'"snapshot"')
        tracemalloc.start()
        for _ in range(200):  # 20 MB, which no buffer on the way holds
            writer.write(b"GET / HTTP/1.1\r\n\r\n" + b"y" * 100_000)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await writer.drain()
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        await broker.publish("s", "x", {"number": 1})
        told = await reader.readuntil(b'"number":1')
        writer.close()

        assert b"HTTP/1.1" not in told
        assert grown < 2 * 1024 * 1024
        assert broker.counters.connections_opened == 1
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("how", ["leave", "vanish"])
async def test_peer_that_leaves_between_its_head_and_the_answer_leaves_nothing(
    run: Run, how: str, made: weakref.WeakSet[StreamConnection], caplog: pytest.LogCaptureFixture
) -> None:
    async with run() as (broker, port, path):
        tasks = len(asyncio.all_tasks())
        for _ in range(20):
            _, writer = await raw(port, get(path))
            if how == "vanish":
                writer.transport.abort()
            writer.close()
        await until(lambda: broker.counters.connections_opened or not made)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while broker.connections or len(asyncio.all_tasks()) > tasks:  # noqa: ASYNC110  # nothing tells of them
                await asyncio.sleep(0)
        assert sum(broker.counters.disconnects.values()) == broker.counters.connections_opened
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("http", ["1.0", "1.1"])
async def test_peer_that_stops_and_reads_on_gets_everything_in_order(
    run: Run, open_stream: OpenStream, made: weakref.WeakSet[StreamConnection], http: str
) -> None:
    async with run(log_events=5000, log_bytes=64 * 1024 * 1024) as place:
        broker = place[0]
        stream, taken_over, number = await stalled(place, open_stream, made, http=http)
        handed = taken_over.handed_bytes()
        for more in range(number + 1, number + 200):
            await broker.publish("s", "x", {"number": more, "text": TEXT})
        assert taken_over.handed_bytes() == handed  # a peer that takes nothing is handed nothing
        assert 0 < taken_over.unsent_bytes() < 4 * 64 * 1024
        got = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not got or got[-1] < number + 199:
                got.append((await stream.until("x"))["data"]["number"])

        assert got == list(range(1, number + 200))
        assert broker.counters.gaps == {}
        assert broker.connections == 1


# How it ends


async def test_rest_and_bye_reach_a_peer_that_had_stalled_and_reads_on(
    run: Run, open_stream: OpenStream, made: weakref.WeakSet[StreamConnection], caplog: pytest.LogCaptureFixture
) -> None:
    async with run(log_events=5000, log_bytes=64 * 1024 * 1024) as place:
        broker = place[0]
        stream, taken_over, number = await stalled(place, open_stream, made)
        await broker.publish("s", "x", {"number": number + 1})
        broker.end_session("s")
        assert broker.connections == 1
        async with asyncio.timeout(PATIENCE_SECONDS):
            body = await stream.reader.read()
        told = events_of(body)
        await until(lambda: taken_over.is_closed)

        assert numbers(told) == list(range(1, number + 2))
        assert told[-1]["data"]["code"] == "session_closed"
        assert body.endswith(b"\r\n0\r\n\r\n")
        assert broker.counters.disconnects == {"session_closed": 1}
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def _end_of_session(broker: Broker) -> None:
    broker.end_session("s")


def _end_of_token(broker: Broker) -> None:
    [reader] = broker.get("s").readers
    reader.permit(0)
    broker.sweep()


@pytest.mark.parametrize(
    ("end", "reason"), [(_end_of_session, "session_closed"), (_end_of_token, "token_expired")], ids=["session", "token"]
)
async def test_stalled_peer_of_an_ended_stream_is_cut_within_the_linger(
    run: Run,
    open_stream: OpenStream,
    made: weakref.WeakSet[StreamConnection],
    end: Callable[[Broker], None],
    reason: str,
) -> None:
    loop = asyncio.get_running_loop()
    async with run(shutdown_seconds=4) as place:
        broker = place[0]
        _, taken_over, _ = await stalled(place, open_stream, made)
        before = loop.time()
        end(broker)
        assert not taken_over.is_closed
        await until(lambda: taken_over.is_closed)

        assert 0.4 < loop.time() - before < 5  # an eighth of shutdown_seconds
        assert broker.connections == 0
        assert broker.counters.disconnects == {reason: 1}
        assert broker.counters.connections_opened == 1


async def test_shutdown_waits_for_a_stalled_peer_no_longer_than_its_time_and_cuts_it(
    run: Run, open_stream: OpenStream, made: weakref.WeakSet[StreamConnection]
) -> None:
    loop = asyncio.get_running_loop()
    async with run(shutdown_seconds=2, stalled_seconds=60) as place:
        broker = place[0]
        _, taken_over, _ = await stalled(place, open_stream, made)
        before = loop.time()

    assert taken_over.is_closed
    assert loop.time() - before < 5
    assert broker.connections == 0
    assert broker.counters.disconnects == {"shutdown": 1}


async def test_shutdown_cuts_a_peer_that_had_longer_to_take_the_rest(
    run: Run, open_stream: OpenStream, made: weakref.WeakSet[StreamConnection]
) -> None:
    async with run(shutdown_seconds=2, stalled_seconds=60) as place:
        broker = place[0]
        _, taken_over, _ = await stalled(place, open_stream, made)
        [reader] = broker.get("s").readers
        reader.end("slow")
        assert (broker.connections, taken_over.is_closed) == (0, False)

    assert taken_over.is_closed
    assert broker.counters.disconnects == {"slow": 1}


async def test_peer_that_takes_nothing_is_told_slow_and_cut_if_it_does_not_take_that_either(
    run: Run, open_stream: OpenStream, made: weakref.WeakSet[StreamConnection]
) -> None:
    async with run(stalled_seconds=0.3) as place:
        broker = place[0]
        stream, taken_over, number = await stalled(place, open_stream, made)
        await until(lambda: not broker.connections)
        assert not taken_over.is_closed
        await until(lambda: taken_over.is_closed)

        assert broker.counters.disconnects == {"slow": 1}
        async with asyncio.timeout(PATIENCE_SECONDS):
            taken = await stream.reader.read()
        assert taken.count(b"data: ") < number  # what nobody took is dropped
        assert b"bye" not in taken


async def test_stalled_peer_that_half_closes_is_gone_as_if_it_had_left(
    run: Run, open_stream: OpenStream, made: weakref.WeakSet[StreamConnection], caplog: pytest.LogCaptureFixture
) -> None:
    async with run(stalled_seconds=60, heartbeat_seconds=1, shutdown_seconds=4) as place:
        broker = place[0]
        stream, taken_over, _ = await stalled(place, open_stream, made)
        stream.writer.write_eof()
        await until(lambda: not broker.connections)
        assert broker.counters.disconnects == {"left": 1}
        await until(lambda: taken_over.is_closed)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_stream_that_opens_when_its_session_ends_is_told_so(
    run: Run, open_stream: OpenStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = StreamConnection.begin

    async with run() as (broker, port, path):

        def begin(self: StreamConnection, *arguments: Any) -> None:
            broker.end_session("s")
            began(self, *arguments)

        monkeypatch.setattr(StreamConnection, "begin", begin)
        stream = await open_stream(port, path, http="1.1")
        await stream.status()
        told = [event["type"] for event in await stream.events()]

        assert told == ["hello", "snapshot", "bye"]
        assert broker.counters.disconnects == {"session_closed": 1}


async def test_connection_that_is_lost_before_it_is_taken_over_is_left_to_aiohttp(
    run: Run, monkeypatch: pytest.MonkeyPatch, made: weakref.WeakSet[StreamConnection]
) -> None:
    began = StreamConnection.begin

    def begin(self: StreamConnection, request: web.Request, *arguments: Any) -> None:
        assert request.transport is not None
        request.transport.close()
        began(self, request, *arguments)

    monkeypatch.setattr(StreamConnection, "begin", begin)
    async with run() as (broker, port, path):
        reader, writer = await raw(port, get(path))
        _, body = await everything(reader)
        writer.close()

        assert [event["type"] for event in events_of(body)] == ["hello"]  # what goes out with the head
        assert broker.connections == 0
        assert broker.counters.disconnects == {"left": 1}


# The log of requests


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "aiohttp.access"]


@pytest.mark.parametrize("how", ["peer", "session"])
async def test_stream_has_one_line_in_the_access_log_when_it_ends(
    run: Run, open_stream: OpenStream, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    caplog.set_level(logging.INFO, "aiohttp.access")
    async with run() as (broker, port, path):
        tasks = len(asyncio.all_tasks())
        stream = await open_stream(port, path + "?named=1")
        await stream.until("snapshot")
        await until(lambda: len(asyncio.all_tasks()) == tasks)
        assert lines(caplog) == []
        if how == "peer":
            stream.leave()
        else:
            broker.end_session("s")
        await until(lambda: lines(caplog))

    [line] = lines(caplog)
    assert re.fullmatch(rf"127\.0\.0\.1 GET {re.escape(path)} 200 \d+ ms", line)


async def test_line_of_a_stream_tells_no_token_that_stands_in_its_path(
    run: Run, open_stream: OpenStream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aiohttp.access")
    async with run() as (_, port, path):
        await (await open_stream(port, f"{path}-eyJ0b2tlbnRva2VudG9rZW4?token=secret")).until("snapshot")

    [line] = lines(caplog)
    assert f"GET {path}-*** 200 " in line


async def test_stream_has_no_line_where_nobody_reads_the_access_log(
    open_stream: OpenStream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "aiohttp.access")
    async with served() as (_, port, path):
        await (await open_stream(port, path)).until("snapshot")
    caplog.set_level(logging.INFO, "aiohttp.access")
    async with mounted(runner={"access_log": None}) as (_, port, path):
        await (await open_stream(port, path)).until("snapshot")

    assert lines(caplog) == []


# Another loop


@pytest.mark.parametrize(
    "scenario",
    [
        test_open_stream_is_nobodys_task_and_aiohttp_has_let_go_of_its_request,
        test_rest_and_bye_reach_a_peer_that_had_stalled_and_reads_on,
        test_peer_that_stops_and_reads_on_gets_everything_in_order,
        test_peer_that_takes_nothing_is_told_slow_and_cut_if_it_does_not_take_that_either,
        test_stalled_peer_that_half_closes_is_gone_as_if_it_had_left,
        test_shutdown_waits_for_a_stalled_peer_no_longer_than_its_time_and_cuts_it,
        test_peer_that_goes_is_counted_out_once,
    ],
    ids=lambda scenario: scenario.__name__.removeprefix("test_"),
)
def test_it_is_the_same_under_uvloop(
    run: Run,
    made: weakref.WeakSet[StreamConnection],
    caplog: pytest.LogCaptureFixture,
    scenario: Callable[..., Coroutine[Any, Any, None]],
) -> None:
    uvloop = pytest.importorskip("uvloop")
    opened: list[RawStream] = []

    async def open_one(*arguments: Any, **options: Any) -> RawStream:
        opened.append(await RawStream.open(*arguments, **options))
        return opened[-1]

    async def play() -> None:
        given = {"run": run, "open_stream": open_one, "made": made, "caplog": caplog, "http": "1.1", "how": "vanish"}
        await scenario(**{name: given[name] for name in inspect.signature(scenario).parameters})
        for stream in opened:
            await stream.closed()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())
