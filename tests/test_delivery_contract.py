"""What every way of reading promises: each event once and in order, or a gap and the state (contract section 3).

One list of scenarios, run over SSE, WebSocket, long-poll and polling against a real service. A scenario says what a
reader ends up knowing. Whoever polls the state is shown no events, and is held to what it can know: the state.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar, NamedTuple, TypeAlias

import pytest
from aiohttp import ClientConnectionError, ClientSession, TCPConnector

from notifier_service import Settings, ToolWrapper, serve
from notifier_service.core.event_log import Event
from notifier_service.core.events import ToolProgress, ToolResult, ToolStatus, dump
from notifier_service.core.question import Decision
from notifier_service.web import Site
from tests.raw_socket import RawSocket
from tests.raw_stream import RawStream

PREFIX = "/agent_backend"
API = f"{PREFIX}/api"
PATIENCE_SECONDS = 20
ASK: dict[str, Any] = {"tool_name": "rm", "parameters": {"path": "/tmp/x"}}


class State(NamedTuple):
    """The present state, as the documents' clients keep it."""

    tool_status: dict[str, Any] | None = None
    tool_result: dict[str, Any] | None = None
    #: By request id, oldest first.
    pending: dict[str, dict[str, Any]] = {}  # noqa: RUF012  # a default that nobody changes

    @classmethod
    def of(cls, shown: dict[str, Any]) -> State:
        """The state that a snapshot or a poll shows."""
        pending = shown["permission_requests"]
        assert shown["permission_request"] == (pending[0] if pending else None)
        return cls(shown["tool_status"], shown["tool_result"], {record["request_id"]: record for record in pending})

    def after(self, event: dict[str, Any]) -> State:
        """The state after an event, by the documents' rules."""
        data = event.get("data", {})
        match event["type"]:
            case "tool_status":
                return self._replace(tool_status=data)
            case "tool_result":
                return self._replace(tool_result=data)
            case "result_cleared":
                return self._replace(tool_result=None)
            case "permission_request":
                shown = {name: value for name, value in data.items() if name != "replayed"}
                return self._replace(pending={**self.pending, data["request_id"]: shown})
            case "permission_cleared":
                left = {key: record for key, record in self.pending.items() if key != data["request_id"]}
                return self._replace(pending=left)
        return self


class Reader(ABC):
    """One client that follows session ``s``: what it was told, and what it knows."""

    #: Whether it is told events at all.
    shows_events: ClassVar[bool] = True
    #: Where its decisions go.
    decides_at: ClassVar[str] = f"{API}/sse/permission-response/s"

    def __init__(self, site: Site, http: ClientSession) -> None:
        self.site = site
        self.http = http
        #: Where it goes on.
        self.cursor: str | None = None
        #: The log's events that it was told, in the order in which they came, over all its connections.
        self.events: list[dict[str, Any]] = []
        #: The reasons of the gaps that it was told.
        self.gaps: list[str] = []
        self.state = State()
        #: What the last connection began with.
        self.resumed: str | None = None
        #: How its reading ended: the code of ``bye``, or ``unreachable``.
        self.ended: str | None = None

    @abstractmethod
    async def connect(self, cursor: str | None = None) -> None:
        """Begin, or go on behind a cursor; return when the beginning was told."""

    @abstractmethod
    async def step(self) -> None:
        """Take what comes next."""

    @abstractmethod
    async def drop(self) -> None:
        """Die, without a word to the service."""

    @abstractmethod
    async def hear_nothing(self) -> None:
        """Make sure that there is nothing to be told."""

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                assert self.ended is None, f"ended with {self.ended}"
                await self.step()

    async def catch_up(self) -> None:
        """Read on until everything is read that there is."""
        log = self.site.broker.open("s").log
        await self.until(lambda: self.cursor == log.last_event_id)

    async def attends(self) -> None:
        """Wait until the service knows that this reader waits for what comes, if it ever does."""
        session = self.site.broker.open("s")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.shows_events and not session.viewer_count:  # noqa: ASYNC110  # no event tells of readers
                await asyncio.sleep(0)

    async def end(self) -> None:
        """Read on until the service ends it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.ended is None:
                await self.step()

    async def decide(self, **decision: Any) -> None:
        async with self.http.post(self.decides_at, json=decision) as response:
            assert response.status == 200, await response.text()

    @property
    def ids(self) -> list[str]:
        return [event["id"] for event in self.events]

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    def take(self, event: dict[str, Any]) -> None:
        """Learn from one message."""
        if "id" in event:
            self.events.append(event)
            self.cursor = event["id"]
        match event["type"]:
            case "hello":
                self.resumed = event["data"]["resumed"]
            case "gap":
                self.gaps.append(event["data"]["reason"])
            case "snapshot":
                self.state = State.of(event["data"])
                self.cursor = event["data"]["last_event_id"]
            case "bye":
                self.ended = event["data"]["code"]
            case _:
                assert "id" in event or event["type"] == "heartbeat" or event["data"]["replayed"]
                self.state = self.state.after(event)


class _Live(Reader):
    """What the stream and the socket have in common: messages that come by themselves."""

    connection: RawStream | RawSocket

    @abstractmethod
    async def _open(self, cursor: str | None) -> None: ...

    async def connect(self, cursor: str | None = None) -> None:
        self.cursor = cursor
        await self._open(cursor)
        first = await self._message()
        assert first["type"] == "hello"
        self.take(first)
        if self.resumed != "full":
            before = len(self.events)
            second = await self._message()
            assert (second["type"] == "gap") == (self.resumed == "partial")
            self.take(second)
            if self.resumed == "partial":
                self.take(await self._message())
            assert len(self.events) == before
            assert self.cursor is not None

    async def step(self) -> None:
        self.take(await self._message())
        if self.ended is not None:
            assert await self.connection.event() is None

    async def drop(self) -> None:
        self.connection.vanish()

    async def hear_nothing(self) -> None:
        beat = await self._message()
        assert beat["type"] == "heartbeat"

    async def _message(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            message = await self.connection.event()
        assert message is not None, "it ended without bye"
        return message


class Sse(_Live):
    receive_bytes: int | None = None

    async def _open(self, cursor: str | None) -> None:
        query = "" if cursor is None else f"?last_event_id={cursor}"
        self.connection = await RawStream.open(
            self.site.port, f"{API}/sse/events/s{query}", receive_bytes=self.receive_bytes
        )


class WebSocket(_Live):
    receive_bytes: int | None = None

    async def _open(self, cursor: str | None) -> None:
        query = "" if cursor is None else f"?after={cursor}"
        self.connection = await RawSocket.open(
            self.site.port, f"{PREFIX}/ws/s{query}", receive_bytes=self.receive_bytes
        )

    async def decide_here(self, **decision: Any) -> None:
        """Decide by a message on the socket itself."""
        assert isinstance(self.connection, RawSocket)
        await self.connection.send({"type": "permission_response", **decision})


class LongPoll(Reader):
    decides_at = f"{API}/polling/permission-response/s"

    async def connect(self, cursor: str | None = None) -> None:
        self.cursor = cursor
        await self._poll(timeout_seconds=0)
        self.resumed = "none" if cursor is None else "partial" if self.gaps else "full"

    async def step(self) -> None:
        await self._poll(timeout_seconds=PATIENCE_SECONDS)

    async def drop(self) -> None:
        held = asyncio.create_task(self._poll(timeout_seconds=60))
        session = self.site.broker.open("s")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (held.done() or session.readers.by_transport.get("long-poll")):  # noqa: ASYNC110  # as above
                await asyncio.sleep(0)
        held.cancel()
        with suppress(asyncio.CancelledError):
            await held

    async def hear_nothing(self) -> None:
        told = len(self.events)
        await self._poll(timeout_seconds=0)
        assert len(self.events) == told

    async def _poll(self, *, timeout_seconds: float) -> None:
        query = {"timeout": str(timeout_seconds)} | ({} if self.cursor is None else {"after": self.cursor})
        try:
            async with self.http.get(f"{API}/long-poll/s", params=query) as response:
                assert response.status == 200, await response.text()
                answer = (await response.json())["data"]
        except ClientConnectionError:
            self.ended = "unreachable"
            return
        if answer["gap"] is not None:
            assert answer["events"] == [] or answer["gap"]["reason"] == "epoch"
            self.gaps.append(answer["gap"]["reason"])
            self.state = State.of(answer)
        for event in answer["events"]:
            self.take(event)
        if self.cursor is None:
            self.state = State.of(answer)
        # What the events add up to is what the answer says beside them.
        assert self.state == State.of(answer)
        self.cursor = answer["last_event_id"]


class Polling(Reader):
    shows_events = False
    decides_at = f"{API}/polling/permission-response/s"

    tag: str | None = None
    #: How often nothing was new, which costs no body.
    unchanged = 0

    async def connect(self, cursor: str | None = None) -> None:
        await self.step()

    async def step(self) -> None:
        headers = {} if self.tag is None else {"If-None-Match": self.tag}
        try:
            async with self.http.get(f"{API}/polling/session-info/s", headers=headers) as response:
                self.tag = response.headers["ETag"]
                if response.status == 304:
                    assert await response.read() == b""
                    self.unchanged += 1
                    return
                assert response.status == 200
                answer = (await response.json())["data"]
        except ClientConnectionError:
            self.ended = "unreachable"
            return
        self.state = State.of(answer)
        self.cursor = answer["last_event_id"]

    async def drop(self) -> None:
        self.tag = None

    async def hear_nothing(self) -> None:
        before = self.unchanged
        await self.step()
        assert self.unchanged == before + 1


Transport: TypeAlias = Callable[[Site, ClientSession], Reader]


class Readers:
    """Makes readers, and buries them."""

    def __init__(self) -> None:
        self._made: list[Reader] = []

    def make(self, transport: Transport, site: Site) -> Any:
        # A connection for each request: one that the service has closed is not tried again.
        http = ClientSession(site.url, connector=TCPConnector(force_close=True))
        self._made.append(transport(site, http))
        return self._made[-1]

    async def close(self) -> None:
        for reader in self._made:
            await reader.http.close()
            if isinstance(reader, _Live):
                with suppress(AttributeError):  # it never connected
                    await reader.connection.closed()


@pytest.fixture
async def readers() -> AsyncIterator[Readers]:
    readers = Readers()
    yield readers
    await readers.close()


@pytest.fixture(params=[Sse, WebSocket, LongPoll, Polling], ids=["sse", "websocket", "long-poll", "polling"])
def new_reader(request: pytest.FixtureRequest, readers: Readers) -> Callable[[Site], Any]:
    """Make a reader of the transport at hand; it has not connected yet."""
    return lambda site: readers.make(request.param, site)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve(settings=Settings(port=0)) as site:
        yield site


@pytest.fixture
async def reader(new_reader: Callable[[Site], Reader], site: Site) -> Reader:
    """A reader that has connected to an empty session."""
    reader = new_reader(site)
    await reader.connect()
    return reader


def state_of(site: Site) -> State:
    """What is so."""
    return State.of(json.loads(dump(site.broker.open("s").snapshot())))


def publish(site: Site, count: int) -> list[str]:
    """Publish events that change the state and others; return their ids."""
    session = site.broker.open("s")
    ids = []
    for number in range(count):
        match number % 4:
            case 0:
                status = ToolStatus(status="executing", tool_name=f"t{number}", tool_call_id="c")
                ids.append(session.publish("tool_status", status).id)
            case 1:
                progress = ToolProgress(tool_name="t", tool_call_id="c", progress=number)
                ids.append(session.publish("tool_progress", progress).id)
            case 2:
                ids.append(session.publish("tool_result", ToolResult(tool_name="t", success=True, result=number)).id)
            case 3:
                ids.append(session.publish("note", {"number": number}).id)
    return ids


def log_of(site: Site) -> Sequence[Event]:
    log = site.broker.get("s").log
    return log.read_after(log.first_seq - 1)


def assert_knows(reader: Reader, published: list[str]) -> None:
    """It was told each of these events once, in order, and no other, and knows what is so."""
    assert reader.ids == (published if reader.shows_events else [])
    assert reader.state == state_of(reader.site)


# The scenarios


async def test_events_come_once_and_in_order(reader: Reader, site: Site) -> None:
    published = publish(site, 3)
    await reader.step()
    published += publish(site, 20)
    await reader.catch_up()
    published += publish(site, 4)
    await reader.catch_up()

    assert_knows(reader, published)
    assert reader.gaps == []


async def test_first_connect_is_told_the_state_and_nothing_of_what_was_before(
    new_reader: Callable[[Site], Reader], site: Site
) -> None:
    publish(site, 7)
    asked = [site.broker.ask("s", **ASK).request_id for _ in range(2)]
    site.broker.ask("s", **ASK).cancel()
    reader = new_reader(site)
    await reader.connect()
    known = reader.state
    published = publish(site, 5)
    await reader.catch_up()

    assert list(known.pending) == asked
    assert (known.tool_status or {})["tool_name"] == "t4"
    assert (known.tool_result or {})["result"] == 6
    assert_knows(reader, published)
    assert (reader.resumed, reader.gaps) == ("none" if reader.shows_events else None, [])


async def test_reader_of_a_silent_session_is_told_nothing_whatever_happens_in_others(
    new_reader: Callable[[Site], Reader],
) -> None:
    async with serve(settings=Settings(port=0, heartbeat_seconds=0.05)) as site:
        publish(site, 3)
        reader = new_reader(site)
        await reader.connect()
        for number in range(5):
            site.broker.publish_nowait("other", "note", {"number": number})
        for _ in range(3):
            await reader.hear_nothing()
        published = publish(site, 1)
        await reader.catch_up()

        assert_knows(reader, published)


async def test_reader_that_comes_back_is_told_what_it_missed_once(reader: Reader, site: Site) -> None:
    published = publish(site, 4)
    await reader.catch_up()
    for _ in range(3):
        await reader.drop()
        published += publish(site, 6)
        await reader.connect(reader.cursor)
        published += publish(site, 2)
        await reader.catch_up()

    assert_knows(reader, published)
    assert (reader.resumed, reader.gaps) == ("full" if reader.shows_events else None, [])


async def test_reader_that_comes_back_from_the_middle_is_told_the_rest_once(
    new_reader: Callable[[Site], Reader], site: Site
) -> None:
    publish(site, 2)
    first = new_reader(site)
    await first.connect()
    published = publish(site, 10)
    middle = published[4]
    second = new_reader(site)
    await second.connect(middle)
    second.state = state_of(site)  # whoever has a cursor knows what was so there; this one was told by the first
    await second.catch_up()

    assert_knows(second, published[5:])


async def test_earliest_is_told_all_that_the_log_holds(new_reader: Callable[[Site], Reader], site: Site) -> None:
    published = publish(site, 9)
    asked = site.broker.ask("s", **ASK)
    published.append(site.broker.get("s").log.last_event_id)
    reader = new_reader(site)
    await reader.connect("earliest")
    await reader.catch_up()

    assert_knows(reader, published)
    assert list(reader.state.pending) == [asked.request_id]


@pytest.mark.parametrize("reason", ["evicted", "epoch", "unknown", "from the future"])
async def test_lost_cursor_is_a_gap_and_the_state_and_reading_goes_on(
    new_reader: Callable[[Site], Reader], reason: str
) -> None:
    async with serve(settings=Settings(port=0, log_events=4)) as site:
        cursor = publish(site, 1)[0]
        if reason == "epoch":
            site.broker.end_session("s")
        publish(site, 10)
        asked = site.broker.ask("s", **ASK).request_id
        if reason == "unknown":
            cursor = "garbage"
        elif reason == "from the future":
            cursor = f"{cursor}zzz"
        # All that is left of a log that began anew is news; of any other nobody knows what was seen.
        held = [event.id for event in log_of(site)] if reason == "epoch" else []
        reader = new_reader(site)
        await reader.connect(cursor)
        known = reader.state
        published = publish(site, 3)
        await reader.catch_up()

        # Who polls the state has no cursor that could be lost: it is told the state, as everybody is here.
        assert reader.gaps == ([reason if reason in ("evicted", "epoch") else "unknown"] if reader.shows_events else [])
        assert list(known.pending) == [asked]
        assert_knows(reader, [*held, *published])


async def test_nothing_is_lost_or_doubled_between_what_was_missed_and_what_is_live(
    new_reader: Callable[[Site], Reader],
) -> None:
    async with serve(settings=Settings(port=0, log_events=100_000, log_bytes=2**26)) as site:
        published = publish(site, 20)
        reader = new_reader(site)
        reader.state = state_of(site)
        async with publishing_all_the_time(site, published):
            await reader.connect(published[9])
            await reader.until(lambda: place(reader) > 300)
        await reader.catch_up()

        assert_knows(reader, published[10:])
        assert reader.gaps == []


@asynccontextmanager
async def publishing_all_the_time(site: Site, published: list[str]) -> AsyncIterator[None]:
    """Publish whenever others have had their turn; note the ids."""

    async def publish_on() -> None:
        while True:
            published.extend(publish(site, 4))
            await asyncio.sleep(0)

    publishing = asyncio.create_task(publish_on())
    try:
        yield
    finally:
        publishing.cancel()


def place(reader: Reader) -> int:
    """How far it has come: the number of the event at its cursor."""
    return 0 if reader.cursor is None else int(reader.cursor.partition("-")[2], 36)


async def test_burst_larger_than_the_log_is_a_gap_and_the_state_and_reading_goes_on(
    new_reader: Callable[[Site], Reader],
) -> None:
    async with serve(settings=Settings(port=0, log_events=4)) as site:
        reader = new_reader(site)
        await reader.connect()
        asked = site.broker.ask("s", **ASK).request_id
        publish(site, 40)
        await reader.catch_up()
        told = list(reader.ids)
        live = publish(site, 2)
        await reader.catch_up()

        assert reader.gaps == ([] if not reader.shows_events else reader.gaps[:1])
        assert set(reader.gaps) <= {"slow", "evicted"}
        assert bool(reader.gaps) == reader.shows_events
        assert list(reader.state.pending) == [asked]
        assert_knows(reader, told + live)


async def test_reader_that_does_not_read_holds_nobody_up_and_goes_on_after_a_gap(
    new_reader: Callable[[Site], Reader], site: Site
) -> None:
    slow: Any = new_reader(site)
    slow.receive_bytes = 4096
    others = [new_reader(site) for _ in range(2)]
    for reader in (slow, *others):
        await reader.connect()
    session = site.broker.open("s")
    published = []
    for number in range(40):  # 8 MB: more than the log holds and the kernel takes
        published.append(session.publish("note", {"number": number, "text": "x" * 200_000}).id)
        for reader in others:
            await reader.catch_up()
    published.append(session.publish("tool_result", ToolResult(tool_name="t", success=True)).id)
    for reader in (slow, *others):
        await reader.catch_up()
    published += publish(site, 2)
    for reader in (slow, *others):
        await reader.catch_up()

    for reader in others:
        assert reader.gaps == []
        assert_knows(reader, published)
    assert slow.state == state_of(site)
    assert bool(slow.gaps) == slow.shows_events
    assert set(slow.gaps) <= {"slow", "evicted"}
    # What it was told is what was published, with the gap, and with nothing out of order.
    assert slow.ids == [event_id for event_id in published if event_id in set(slow.ids)]
    assert slow.ids[-2:] == (published[-2:] if slow.shows_events else [])


async def test_permission_is_asked_shown_decided_cleared_and_its_result_told(reader: Reader, site: Site) -> None:
    await _permission_round_trip(reader, site, reader.decide)


@pytest.mark.parametrize("new_reader", [WebSocket], ids=["websocket"], indirect=True)
async def test_permission_is_decided_on_the_socket_itself_too(reader: WebSocket, site: Site) -> None:
    # The answer to the message stands beside the events.
    answers = []
    taken = reader.take

    def take(event: dict[str, Any]) -> None:
        if event["type"] == "permission_response":
            answers.append(event)
        else:
            taken(event)

    reader.take = take  # type: ignore[method-assign]
    await _permission_round_trip(reader, site, reader.decide_here)

    assert [answer["success"] for answer in answers] == [True]


async def _permission_round_trip(reader: Reader, site: Site, decide: Callable[..., Awaitable[None]]) -> None:
    ran_with = []

    async def delete(path: str) -> str:
        ran_with.append(path)
        return "gone"

    call = asyncio.create_task(ToolWrapper(delete, session_id="s", broker=site.broker, risk_level="high")("/tmp/x"))
    await reader.until(lambda: reader.state.pending)
    [shown] = reader.state.pending.values()
    await reader.catch_up()
    ran_before_the_decision = list(ran_with)
    await decide(approved=True, request_id=shown["request_id"], parameters={"path": "/tmp/y"})
    result = await call
    await reader.catch_up()

    assert (shown["tool_name"], shown["parameters"]) == ("delete", {"path": "/tmp/x"})
    assert (ran_before_the_decision, ran_with, result) == ([], ["/tmp/y"], "gone")
    assert reader.state.pending == {}
    assert (reader.state.tool_result or {})["result"] == "gone"
    assert reader.state == state_of(site)
    if reader.shows_events:
        of_interest = [name for name in reader.types if name.startswith(("permission_", "tool_result"))]
        assert of_interest == [
            "permission_request",
            "permission_response_result",
            "permission_cleared",
            "tool_result",
        ]
        settled = next(event for event in reader.events if event["type"] == "permission_response_result")
        assert (settled["data"]["decision"], settled["data"]["parameters"]) == ("edit", {"path": "/tmp/y"})


async def test_end_of_the_session_is_told_after_all_that_happened_in_it(reader: Reader, site: Site) -> None:
    publish(site, 3)
    site.broker.ask("s", **ASK)
    await reader.catch_up()
    reading = asyncio.create_task(_until_it_is_over(reader, site.broker.get("s").log.epoch))
    await reader.attends()
    site.broker.publish_nowait("s", "note")
    site.broker.end_session("s")
    await reading

    if isinstance(reader, _Live):
        assert reader.ended == "session_closed"
    if reader.shows_events:
        # Told by the events, also to a poll that was held, which learns of the end itself by the gap to a new session.
        assert reader.types[-2:] == ["note", "permission_cleared"]
        assert reader.gaps == ([] if reader.ended else ["epoch"])
    if reader.ended is None:
        assert reader.state == State()
    assert reader.state.pending == {}


async def _until_it_is_over(reader: Reader, epoch: str) -> None:
    """Until the end is told; who polls learns of it by the session that begins anew in its place."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while reader.ended is None and (reader.cursor or "").startswith(f"{epoch}-"):
            await reader.step()


async def test_shutdown_ends_every_reader_in_time_with_all_that_happened(new_reader: Callable[[Site], Reader]) -> None:
    async with serve(settings=Settings(port=0)) as site:
        reader = new_reader(site)
        await reader.connect()
        published = publish(site, 4)
        await reader.catch_up()
        site.broker.ask("s", **ASK)
        await reader.catch_up()
        ending = asyncio.create_task(reader.end())
        await reader.attends()
        leaving = asyncio.get_running_loop().time()
    took = asyncio.get_running_loop().time() - leaving
    await ending

    assert took < site.settings.shutdown_seconds
    assert reader.ended == ("shutdown" if isinstance(reader, _Live) else "unreachable")
    if reader.shows_events:
        assert reader.ids[:4] == published
        assert reader.types[4:] == ["permission_request", "permission_cleared"]


async def test_reader_that_comes_back_after_a_restart_is_told_of_the_gap(new_reader: Callable[[Site], Reader]) -> None:
    async with serve(settings=Settings(port=0)) as site:
        reader = new_reader(site)
        await reader.connect()
        publish(site, 4)
        await reader.catch_up()
        await reader.drop()
    before = len(reader.events)
    async with serve(settings=Settings(port=site.port)) as again:
        reader.site, reader.ended = again, None
        published = publish(again, 3)
        await reader.connect(reader.cursor)
        published += publish(again, 2)
        await reader.catch_up()

        assert reader.gaps == (["epoch"] if reader.shows_events else [])
        assert reader.ids[before:] == (published if reader.shows_events else [])
        assert reader.state == state_of(again)


async def test_restart_eats_nothing_that_was_taken_before_the_reader_was_back(
    new_reader: Callable[[Site], Reader],
) -> None:
    async with serve(settings=Settings(port=0)) as site:
        reader = new_reader(site)
        await reader.connect()
        publish(site, 2)
        await reader.catch_up()
        await reader.drop()
    before = len(reader.events)
    async with serve(settings=Settings(port=site.port)) as again:
        reader.site, reader.ended = again, None
        publish(again, 300)
        settled, waiting = (again.broker.ask("s", **ASK).request_id for _ in range(2))
        again.broker.decide("s", Decision(approved=False, request_id=settled), decided_by="p")
        await reader.connect(reader.cursor)
        await reader.catch_up()

        assert reader.gaps == (["epoch"] if reader.shows_events else [])
        assert reader.ids[before:] == ([event.id for event in log_of(again)] if reader.shows_events else [])
        assert list(reader.state.pending) == [waiting]
        assert reader.state == state_of(again)


async def test_reader_that_drops_amid_what_follows_a_restart_goes_on_there(
    new_reader: Callable[[Site], Reader],
) -> None:
    async with serve(settings=Settings(port=0)) as site:
        reader = new_reader(site)
        if not reader.shows_events:
            pytest.skip("who polls the state is told no events")
        publish(site, 40)
        await reader.connect("1-1")
        await reader.until(lambda: reader.events)
        await reader.drop()
        told = len(reader.events)
        await reader.connect(reader.cursor)
        await reader.catch_up()

        assert told > 0
        assert reader.ids == [event.id for event in log_of(site)]


# Changing horses


HORSES: Sequence[Transport] = [Sse, LongPoll, WebSocket, Sse, WebSocket, LongPoll, Sse]


async def test_reader_that_is_killed_goes_on_over_the_next_transport(readers: Readers, site: Site) -> None:
    published: list[str] = []
    reader = readers.make(HORSES[0], site)
    await reader.connect()
    for transport in HORSES[1:]:
        published += publish(site, 5)
        # It is killed in the middle of what there is; a poll is taken whole or not at all.
        await reader.until(lambda reader=reader, published=published: place(reader) >= len(published) - 2)
        await reader.drop()
        published += publish(site, 5)
        reader = await _change_horses(readers, reader, transport)
    await reader.catch_up()

    assert_knows(reader, published)


async def test_reader_that_is_killed_while_much_is_published_goes_on_over_the_next_transport(readers: Readers) -> None:
    async with serve(settings=Settings(port=0, log_events=100_000, log_bytes=2**26)) as site:
        published: list[str] = []
        reader = readers.make(HORSES[0], site)
        await reader.connect()
        async with publishing_all_the_time(site, published):
            for transport in HORSES[1:]:
                reached = place(reader) + 100
                await reader.until(lambda reader=reader, reached=reached: place(reader) >= reached)
                await reader.drop()
                reader = await _change_horses(readers, reader, transport)
        await reader.catch_up()

        assert_knows(reader, published)


async def _change_horses(readers: Readers, rider: Reader, transport: Transport) -> Any:
    reader = readers.make(transport, rider.site)
    reader.events, reader.state = rider.events, rider.state
    await reader.connect(rider.cursor)
    assert (reader.resumed, reader.gaps) == ("full", [])
    return reader
