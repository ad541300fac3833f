"""What things cost, in calls, turns of the loop and bytes: a slow-down is seen here without a clock.

A bound is what was counted when it was written, and a fifth more. Whoever makes something cheaper lowers it; whoever
makes it dearer says in the commit what for.

What is counted happens several times, and the least counts: the sweeper comes by every half second, and on a busy
machine some of its rounds fall among what is counted.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from notifier_service import Broker, Limits, Settings
from notifier_service.core.event_log import EventLog
from notifier_service.core.events import EventData, ToolProgress, ToolResult, ToolStatus
from notifier_service.core.question import Decision, Question
from notifier_service.core.session import Session
from notifier_service.web import Site, serve

from .clock import Clock

READERS = 60
EVENT = {"n": 1, "text": "x" * 64}
HEAD = "{} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
#: Turns of the loop in which any request of these tests is answered.
TURNS = 12
#: So often is each thing counted. Far less than half a second in all, on an idle machine.
TIMES = 5


class Count:
    """How many functions were called, of Python and of C; ``of`` by name."""

    def __init__(self) -> None:
        self.calls = 0
        self.of: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            self.calls += 1
            self.of[frame.f_code.co_name] += 1
        elif event == "c_call":
            self.calls += 1
            self.of[argument.__name__] += 1


@contextmanager
def counting() -> Any:
    count = Count()
    before = sys.getprofile()
    gc.disable()
    sys.setprofile(count)
    try:
        yield count
    finally:
        sys.setprofile(before)
        gc.enable()


async def least(act: Callable[[], Awaitable[None]], before: Callable[[], None] = lambda: None) -> Count:
    """What it costs when nothing else happens, after a first time that pays for what is made once."""
    before()
    await act()
    counts = []
    for _ in range(TIMES):
        before()
        with counting() as count:
            await act()
        counts.append(count)
    return min(counts, key=lambda count: count.calls)


class Plain:
    """A client without a loop, so that nothing it does is counted."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)

    def send(self, method_and_path: str, body: bytes = b"") -> None:
        self.socket.sendall(HEAD.format(method_and_path, len(body)).encode() + body)

    @property
    def answer(self) -> bytes:
        """What has arrived; empty when nothing has."""
        self.socket.setblocking(False)
        try:
            return self.socket.recv(1 << 20)
        except BlockingIOError:
            return b""

    async def answered(self) -> bytes:
        """Wait until something arrives."""
        while not (answer := self.answer):  # noqa: ASYNC110  # a socket without a loop tells nobody
            await asyncio.sleep(0)
        return answer


async def turns(number: int = TURNS) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def most_in_a_turn(act: Callable[[], Awaitable[object]], *, times: int = TIMES) -> int:
    """The most calls that are made in one turn of the loop until ``act`` is done; the least of some times."""
    found = []
    for _ in range(times):
        task = asyncio.ensure_future(act())
        with counting() as count:
            most = 0
            while not task.done():
                before = count.calls
                await asyncio.sleep(0)
                most = max(most, count.calls - before)
        await task
        found.append(most)
    return min(found)


Connect = Callable[[int], Plain]


@pytest.fixture
def connect() -> Iterator[Connect]:
    opened: list[Plain] = []

    def one(port: int) -> Plain:
        opened.append(Plain(port))
        return opened[-1]

    yield one
    for client in opened:
        client.socket.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve(Broker(), Settings(port=0, log_level="warning")) as site:
        yield site


@pytest.fixture
async def session(site: Site, connect: Connect) -> Session:
    """A session with so many event streams, which have been told all there was."""
    session = site.broker.open("s")
    for _ in range(READERS):
        connect(site.port).send(f"GET {site.settings.prefix}/api/sse/events/s")
    while len(session.readers) < READERS:  # noqa: ASYNC110  # no event tells of readers
        await asyncio.sleep(0)
    await turns()
    return session


async def told(session: Session) -> None:
    """Wait until all readers have been told all there is."""
    while session.readers.is_due:  # noqa: ASYNC110  # no event tells that there is nothing to do
        await asyncio.sleep(0)


async def test_events_of_one_turn_cost_a_reader_one_write(site: Site, session: Session) -> None:
    async def publish_ten() -> None:
        for _ in range(10):
            site.broker.publish_nowait("s", "note", EVENT)
        await told(session)

    count = await least(publish_ten)

    assert count.of["to_json"] == 10
    assert count.of["send"] == READERS
    assert count.calls / (READERS * 10) < 2.8


async def test_single_event_costs_a_reader_few_calls(site: Site, session: Session) -> None:
    async def publish_one() -> None:
        site.broker.publish_nowait("s", "note", EVENT)
        await told(session)

    count = await least(publish_one)

    assert count.calls / READERS < 22


@pytest.mark.parametrize(
    ("event_type", "data", "more_calls"),
    [
        ("tool_status", ToolStatus(status="executing", tool_name="t", tool_call_id="c", details=EVENT), 18),
        ("tool_progress", ToolProgress(tool_name="t", tool_call_id="c", progress=1), 16),
        ("tool_result", ToolResult(tool_name="t", tool_call_id="c", success=True, result=EVENT), 5),
    ],
    ids=["status", "progress", "result"],
)
async def test_what_a_call_tells_is_encoded_once(event_type: str, data: EventData, more_calls: int) -> None:
    broker = Broker()
    broker.publish_nowait("s", "tool_status", ToolStatus(status="executing", tool_name="t", tool_call_id="c"))

    async def publish(event_type: str, data: Any) -> None:
        broker.publish_nowait("s", event_type, data)

    plain = await least(partial(publish, "note", EVENT))
    told = await least(partial(publish, event_type, data))
    broker.close()

    assert told.of["to_json"] == 1
    assert told.calls - plain.calls <= more_calls


async def calls_of_post(client: Plain, path: str, body: bytes) -> int:
    """How many calls the server makes for a POST on a connection that it knows."""

    def send_again() -> None:
        assert client.answer.startswith(b"HTTP/1.1 201")
        client.send(f"POST {path}", body)

    client.send(f"POST {path}", body)
    await turns()
    posted = await least(turns, send_again)
    assert client.answer.startswith(b"HTTP/1.1 201")
    return posted.calls - (await least(turns)).calls


async def test_publishing_costs_less_than_a_request_that_does_nothing(site: Site, connect: Connect) -> None:
    async def nothing(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"success": True, "data": {"ids": ["1kqv3v0i0ow5-2s"]}}, status=201)

    bare = web.Application()
    bare.router.add_post("/publish/{session}", nothing)
    runner = web.AppRunner(bare, access_log=None)
    await runner.setup()
    await (bare_site := web.TCPSite(runner, "127.0.0.1", 0)).start()
    body = b'{"type":"note","data":{"n":1,"text":"xxxxxxxxxxxxxxxxxxxxxxx"}}'
    path = f"{site.settings.prefix}/api/events/s"

    status = b'{"type":"tool_status","data":{"status":"executing","tool_name":"t","details":{"n":1}}}'
    nothing_done = await calls_of_post(connect(runner.addresses[0][1]), "/publish/s", body)
    told = await calls_of_post(connect(site.port), path, status)
    one = await calls_of_post(connect(site.port), path, body)
    hundred = await calls_of_post(connect(site.port), path, b"[%s]" % b",".join([body] * 100))
    await bare_site.stop()
    await runner.cleanup()

    assert one < nothing_done * 0.6
    assert told - one < 33  # the time is written once in each millisecond
    assert hundred / 100 < 4


async def test_events_that_are_alike_are_neither_read_nor_written_one_by_one(site: Site, connect: Connect) -> None:
    client, path = connect(site.port), f"{site.settings.prefix}/api/events/s"
    array = b"[%b]" % b",".join([b'{"type":"alike","data":{"n":%d,"text":"x"}}' % number for number in range(100)])

    def send_again() -> None:
        assert client.answer.startswith(b"HTTP/1.1 201")
        client.send(f"POST {path}", array)

    client.send(f"POST {path}", array)
    await turns()
    for _ in range(4):  # the form is learned
        send_again()
        await turns()

    posted = await least(turns, send_again)

    assert posted.of["to_json"] == 0
    assert posted.of["from_json"] == 1
    assert posted.of["is_own_type"] == 0
    assert posted.calls - (await least(turns)).calls < 400


def test_events_that_come_together_and_that_nobody_reads_are_kept_and_dropped_together() -> None:
    log = EventLog(capacity=1000)
    types, data_jsons = ["note"] * 100, [b'{"n":1}'] * 100
    for _ in range(11):
        log.extend(types, data_jsons)

    with counting() as count:
        log.extend(types, data_jsons)

    assert (log.last_seq, log.evicted) == (1200, 200)
    assert count.calls < 50
    assert count.of["popleft"] == 1


async def test_request_is_encoded_once_however_often_it_is_told() -> None:
    broker = Broker()

    async def ask_and_decide() -> None:
        request = broker.ask("s", tool_name="t", parameters={"path": "x"}, risk_level="high", tool_call_id="c")
        broker.decide("s", Decision(approved=True, request_id=request.request_id), decided_by="ann")

    count = await least(ask_and_decide)
    broker.close()

    assert count.of["to_json"] == 2  # the parameters, and the rule that is suggested
    assert count.calls < 650


@pytest.mark.parametrize("askers", [1, 20])
async def test_request_costs_little_more_when_logs_are_full(askers: int) -> None:
    full, fresh = Broker(Limits(log_events=60, history_events=60)), Broker()
    names = cycle(f"agent-{number}" for number in range(askers))

    async def ask_and_decide(broker: Broker) -> None:
        request = broker.ask("s", tool_name="t", parameters={"path": "x"}, risk_level="high", asked_by=next(names))
        broker.decide("s", Decision(approved=True, request_id=request.request_id), decided_by="ann")

    for _ in range(100):
        await ask_and_decide(full)
    with_room = await least(partial(ask_and_decide, fresh))
    without = await least(partial(ask_and_decide, full))
    full.close()
    fresh.close()

    # Of the log, the trail, and both of the inbox, of the history and the requests that are remembered something goes.
    assert without.calls - with_room.calls < 150
    assert without.calls < 790


async def test_round_trip_of_a_request_costs_few_calls_and_encodings(site: Site, connect: Connect) -> None:
    prefix = site.settings.prefix
    asker, decider = connect(site.port), connect(site.port)
    desk = site.broker.open("s").desk

    async def ask_and_decide() -> None:
        body = b'{"tool_name":"write_file","parameters":{"path":"a.txt"},"risk_level":"high"}'
        asker.send(f"POST {prefix}/api/permissions/s?wait=30", body)
        await turns()
        [request] = desk.pending
        decision = b'{"approved":true,"request_id":"%b"}' % request.request_id.encode()
        decider.send(f"POST {prefix}/api/sse/permission-response/s", decision)
        await turns()
        assert b'"status":"approved"' in asker.answer
        assert b'"status":"approved"' in decider.answer

    idle = await least(partial(turns, 2 * TURNS))
    trip = await least(ask_and_decide)

    assert trip.of["to_json"] == 1  # the parameters: whatever else is told is known, or stands there already
    assert trip.calls - idle.calls < 1150


async def test_answers_about_requests_encode_none_of_them(site: Site, connect: Connect) -> None:
    for number in range(20):
        site.broker.ask("s", tool_name="t", parameters={"path": "x"}, risk_level="high", tool_call_id=f"c{number}")
    [first, *_] = site.broker.open("s").desk.pending
    client, prefix = connect(site.port), site.settings.prefix
    paths = (
        f"/api/permissions/s/{first.request_id}",
        "/api/permissions/s",
        "/api/polling/session-info/s",
        "/api/inbox",
    )

    async def read(path: str) -> None:
        client.send(f"GET {prefix}{path}")
        assert b'"request_id"' in await client.answered()

    encoded = [(await least(partial(read, path))).of["to_json"] for path in paths]

    assert max(encoded) <= 3  # what stands beside them


async def turns_until_answered(client: Plain) -> int:
    turn = 0
    while not client.answer:
        await asyncio.sleep(0)
        turn += 1
    return turn


@pytest.mark.parametrize(("is_behind_another", "most"), [(True, 5), (False, 3)], ids=["of-aiohttp", "of-its-own"])
async def test_decision_reaches_who_asked_in_few_turns(
    site: Site, connect: Connect, is_behind_another: bool, most: int
) -> None:
    prefix = site.settings.prefix
    asker, decider = connect(site.port), connect(site.port)
    desk = site.broker.open("s").desk
    found = []
    for _ in range(TIMES):
        asker.send(f"POST {prefix}/api/permissions/s?wait=30", b'{"tool_name":"t","parameters":{}}')
        if is_behind_another:  # of which aiohttp has the connection
            decider.send(f"GET {prefix}/api/permissions/s")
            await decider.answered()
        while not desk.pending:  # noqa: ASYNC110  # no event tells that somebody asks
            await asyncio.sleep(0)
        [request] = desk.pending
        decision = b'{"approved":true,"request_id":"%b"}' % request.request_id.encode()
        decider.send(f"POST {prefix}/api/sse/permission-response/s", decision)
        found.append(await turns_until_answered(asker))
        assert b'"status":"approved"' in await decider.answered()

    assert min(found) <= most


async def test_event_is_acknowledged_in_the_turn_in_which_it_comes(site: Site, connect: Connect) -> None:
    client = connect(site.port)
    found = []
    for _ in range(TIMES):
        client.send(f"POST {site.settings.prefix}/api/events/s", b'{"type":"note","data":{}}')
        found.append(await turns_until_answered(client))

    assert min(found) <= 2


@pytest.mark.parametrize(("session_id", "most"), [("s", 2450), ("s{}-{}", 4500)], ids=["in-one", "in-its-own"])
async def test_open_stream_holds_little_memory(site: Site, connect: Connect, session_id: str, most: int) -> None:
    for number in range(1001):  # of so many sessions the inbox tells, and no more
        site.broker.open(f"before{number}")
        site.broker.end_session(f"before{number}")
    for many in (150, 100):  # the first pay for what is made once
        clients = [connect(site.port) for _ in range(many)]
        gc.collect()
        tracemalloc.start()
        try:
            for number, client in enumerate(clients):
                client.send(f"GET {site.settings.prefix}/api/sse/events/{session_id.format(many, number)}")
            while site.broker.connections < (many if "{" in session_id else 100):  # noqa: ASYNC110  # as above
                await asyncio.sleep(0)
            await turns()
            gc.collect()
            used = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        for client in clients:
            client.socket.close()
        while site.broker.connections:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0)

    assert used / many < most * (1.5 if sys.version_info >= (3, 12) else 1)


async def test_list_of_sessions_takes_no_longer_turns_when_there_are_more(site: Site, connect: Connect) -> None:
    client = connect(site.port)

    async def read_list() -> None:
        client.send(f"GET {site.settings.prefix}/api/sessions")
        received = b""
        while not received.endswith(b"]}"):  # a list of less than a page
            received += client.answer
            await asyncio.sleep(0)

    found = []
    for many in (400, 1000):
        while len(site.broker.sessions) < many:
            site.broker.publish_nowait(f"s{len(site.broker.sessions)}", "note")
        found.append(await most_in_a_turn(read_list))

    assert found[1] < found[0] * 1.2
    assert found[1] < 3500


async def test_inbox_takes_no_longer_turns_when_there_are_more_sessions(site: Site, connect: Connect) -> None:
    client = connect(site.port)

    async def read_inbox() -> None:
        client.send(f"GET {site.settings.prefix}/api/inbox")
        received = b""
        while not received.endswith(b"]}}"):
            received += client.answer
            await asyncio.sleep(0)

    found = []
    for many in (200, 600):
        while len(site.broker.sessions) < many:
            site.broker.ask(f"s{len(site.broker.sessions)}", tool_name="t", parameters={})
        found.append(await most_in_a_turn(read_inbox))

    # What is told of each request is put together in the last of the turns.
    assert (found[1] - found[0]) / 400 < 4
    assert found[1] < 3500


@pytest.mark.parametrize("path", ["/api/sessions", "/api/inbox"])
async def test_what_tells_of_all_sessions_makes_no_copy_of_them(site: Site, connect: Connect, path: str) -> None:
    client, most_bytes = connect(site.port), []

    async def read() -> None:
        client.send(f"GET {site.settings.prefix}{path}")
        received = b""
        while not received.endswith(b"}"):
            await asyncio.sleep(0)
            received += client.answer

    for many in (1500, 4500):
        while len(site.broker.sessions) < many:
            site.broker.publish_nowait(f"s{len(site.broker.sessions)}", "note")
        found = []
        for _ in range(3):  # the first pays for what is made once
            await read()
            tracemalloc.start()
            try:
                await read()
                found.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
        most_bytes.append(min(found))

    assert most_bytes[1] < most_bytes[0] + 10_000  # less than half of a list of the others


@pytest.mark.parametrize("asked", [False, True], ids=["sessions", "requests"])
async def test_much_that_expires_at_once_takes_no_longer_turns(asked: bool) -> None:
    async def most_while_all_expire(many: int) -> int:
        clock = Clock()
        broker = Broker(Limits(session_idle_seconds=50), clock=clock)
        for number in range(many):
            session = broker.open(f"s{number}")
            if asked:
                session.ask(Question("t", {}, timeout_seconds=10))
            else:
                broker.publish_to(session, "note")
        clock.advance(20 if asked else 100)

        async def expire() -> None:
            while broker.counters.decisions["expired"] + broker.counters.sessions_expired < many:  # noqa: ASYNC110
                await asyncio.sleep(0)

        found = await most_in_a_turn(expire, times=1)  # all there is has expired then
        broker.close()
        return found

    few, more = await most_while_all_expire(100), await most_while_all_expire(700)

    assert more < few * 1.3
    assert more < 1200


async def test_sweeper_takes_no_longer_turns_when_there_are_more_readers() -> None:
    peer = SimpleNamespace(handed_bytes=lambda: 0, unsent_bytes=lambda: 0, is_gone=lambda: False)
    broker = Broker(Limits(max_connections=2000, stalled_seconds=0.08))
    found = []
    for many in (300, 1500):
        while broker.connections < many:
            broker.join(f"s{broker.connections}", "sse", peer)

        found.append(await most_in_a_turn(partial(asyncio.sleep, 0.06)))  # in which it comes by

    assert found[1] < found[0] * 1.2
    assert found[1] < 1200
    broker.close()


async def test_scrape_takes_no_longer_turns_when_there_are_more_readers(connect: Connect) -> None:
    peer = SimpleNamespace(handed_bytes=lambda: 0, unsent_bytes=lambda: 0, is_gone=lambda: False)
    found = []
    async with serve(Broker(Limits(max_connections=2000)), Settings(port=0, log_level="warning")) as site:
        client, broker = connect(site.port), site.broker

        async def scrape() -> None:
            client.send("GET /metrics")
            assert b"bytes_delivered" in await client.answered()

        for many in (300, 1500):
            while broker.connections < many:
                broker.join(f"s{broker.connections % 700}", "sse", peer)
            found.append(await most_in_a_turn(scrape))

    assert found[1] < found[0] * 1.2


def test_opening_one_of_very_many_sessions_looks_at_few_others() -> None:
    broker = Broker(Limits(max_sessions=3000))
    for number in range(3000):
        broker.open(f"s{number}")
    tracemalloc.start()
    try:
        with counting() as count:
            broker.open("new")
        most_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    broker.close()

    assert count.calls < 200
    assert most_bytes < 50_000


def test_sessions_that_nobody_uses_cost_a_sweep_nothing() -> None:
    broker = Broker()
    found = []
    for many in (10, 2000):
        while len(broker.sessions) < many:
            broker.publish_nowait(f"s{len(broker.sessions)}", "note")
        broker.sweep()
        with counting() as count:
            broker.sweep()
        found.append(count.calls)

    assert found[1] == found[0]
    broker.close()


@pytest.mark.parametrize(("events", "most"), [(0, 1600), (1, 1900), (5, 3000)])
def test_session_that_nobody_uses_holds_little_memory(events: int, most: int) -> None:
    broker = Broker()

    def make(many: int) -> None:
        for number in range(len(broker.sessions), len(broker.sessions) + many):
            session = broker.open(f"session-{number:06}")
            for _ in range(events):
                broker.publish_to(session, "note", {"n": number})

    make(100)
    gc.collect()
    tracemalloc.start()
    try:
        make(400)
        gc.collect()
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert used / 400 < most
    broker.close()
