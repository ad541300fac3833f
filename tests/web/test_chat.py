"""Chat over a WebSocket and over SSE: the messages of the reference documents, on real sockets."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import os
import socket as socket_module
import tempfile
import time
import weakref
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from notifier_service import Broker, ChatTurn, Settings, create_app, serve
from notifier_service.chat import Agent
from notifier_service.core.errors import InvalidInput
from notifier_service.web import Site
from notifier_service.web.auth import Caller
from notifier_service.web.tickets import TICKETS
from tests.raw_socket import BINARY, TEXT, OpenSocket, RawSocket
from tests.raw_stream import OpenStream
from tests.service_process import in_time, service_process

from .conftest import API, PATIENCE_SECONDS, Frame, Stream, WriteTokens, error_of, reading, until

SOCKET = "/ws/chat"
STREAM = "/agent_chat_stream"
DONE = {"type": "done"}
CANCELLED = {"type": "done", "cancelled": True}
SESSION_ENDED = {"type": "error", "message": "The session has ended, or the service is shutting down."}
#: A message whose error is long.
MANY_ERRORS = {"query": "x", **{f"{number:064}": 0 for number in range(20)}}
HELLO = [{"type": "content", "content": "Hello "}, {"type": "content", "content": "you"}, DONE]


def content(text: str) -> dict[str, str]:
    return {"type": "content", "content": text}


class Scripted:
    """An agent that does what the query says."""

    def __init__(self) -> None:
        self.turns: list[ChatTurn] = []
        #: What happened, in order.
        self.heard: list[str] = []
        self.go_on = asyncio.Event()
        #: What it says to ``yield``.
        self.pieces: list[Any] = []

    async def __call__(self, turn: ChatTurn) -> AsyncIterator[Any]:
        self.turns.append(turn)
        self.heard.append(f"{turn.query} began")
        try:
            match turn.query:
                case "wait":
                    yield "began"
                    await self.go_on.wait()
                    yield "over"
                case "silence":
                    await self.go_on.wait()
                case "fail":
                    raise ZeroDivisionError("by zero")
                case "fail late":
                    yield "began"
                    raise ZeroDivisionError("by zero")
                case "ask":
                    yield f"it was {await turn.tools(self.remove, risk_level='high')('/tmp/x')}"
                case "yield":
                    for piece in self.pieces:
                        yield piece
                case "endless":
                    while True:
                        self.heard.append("said")
                        yield "x" * 20_000
                case _:
                    yield "Hello "
                    yield turn.query
        finally:
            self.heard.append(f"{turn.query} ended")

    def remove(self, path: str) -> str:
        self.heard.append(f"removed {path}")
        return "removed"


@pytest.fixture
def agent() -> Scripted:
    return Scripted()


@asynccontextmanager
async def chatting(agent: Agent | None, /, **settings: Any) -> AsyncIterator[Site]:
    """A service with this agent, which leaves no task behind."""
    before = asyncio.all_tasks()
    async with serve(settings=Settings(port=0, **settings), agent=agent) as site:
        yield site
    await until(lambda: asyncio.all_tasks() - {asyncio.current_task()} <= before)


@pytest.fixture
async def site(agent: Scripted) -> AsyncIterator[Site]:
    async with chatting(agent) as site:
        yield site


@pytest.fixture
async def socket(site: Site, open_socket: OpenSocket) -> RawSocket:
    return await open_socket(site.port, SOCKET)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
        yield http


async def answer_on(socket: RawSocket) -> list[dict[str, Any]]:
    """The messages up to the end of the answer."""
    messages = await socket.take(1)
    while messages[-1]["type"] not in ("done", "error"):
        messages += await socket.take(1)
    return messages


async def ask(socket: RawSocket, query: str = "you", **more: Any) -> list[dict[str, Any]]:
    await socket.send({"query": query, **more})
    return await answer_on(socket)


async def frames_on(socket: RawSocket, count: int) -> list[Any]:
    """The next frames: JSON, or the bytes of a binary one."""
    frames: list[Any] = []
    while len(frames) < count:
        opcode, payload = await socket._frame()
        if opcode in (TEXT, BINARY):
            frames.append(payload if opcode == BINARY else json.loads(payload))
    return frames


def code_of(message: Mapping[str, Any]) -> str:
    """The code of an error that has the one shape of contract section 9."""
    assert set(message) == {"type", "success", "error", "message", "code"}
    assert (message["type"], message["success"]) == ("error", False)
    assert message["message"] == message["error"]["message"] != ""
    assert message["code"] == message["error"]["code"]
    return str(message["code"])


@asynccontextmanager
async def streaming(
    http: aiohttp.ClientSession,
    site: Site,
    query: str = "you",
    *,
    at: str | None = None,
    headers: Mapping[str, str] | None = None,
    **params: str,
) -> AsyncIterator[Stream]:
    """Open a chat over SSE; ``at`` is the cursor that a browser comes back with."""
    all_headers = {**(headers or {}), **({} if at is None else {"Last-Event-ID": at})}
    async with http.get(f"{site.url}{STREAM}", params={"query": query, **params}, headers=all_headers) as response:
        assert response.status == 200, await response.text()
        yield Stream(response)


async def status_of(http: aiohttp.ClientSession, site: Site, at: str | None = None, **params: str) -> int:
    headers = {} if at is None else {"Last-Event-ID": at}
    async with http.get(f"{site.url}{STREAM}", params={"query": "you", **params}, headers=headers) as response:
        return response.status


def data(frames: list[Frame]) -> list[Any]:
    return [frame.data for frame in frames]


# The messages of the reference


async def test_answer_has_exactly_the_messages_of_the_reference(socket: RawSocket) -> None:
    assert await ask(socket, "you", session_id="test") == HELLO


@pytest.mark.parametrize("message", [{"query": "you", "session_id": None}, {"type": "query", "query": "you"}])
async def test_session_and_type_may_be_left_out(socket: RawSocket, message: Any) -> None:
    await socket.send(message)

    assert await answer_on(socket) == HELLO


async def test_one_socket_carries_many_turns_with_their_history(socket: RawSocket, agent: Scripted) -> None:
    for _ in range(20):
        assert await ask(socket) == HELLO

    assert [len(turn.history) for turn in agent.turns] == list(range(20))
    assert agent.turns[-1].history[0] == ("you", "Hello you", "done")


async def test_each_message_names_its_session_and_without_one_it_is_the_sockets_own(
    socket: RawSocket, agent: Scripted, site: Site
) -> None:
    for session in ({"session_id": "a"}, {}, {"session_id": "b"}, {}, {"session_id": "a"}):
        await ask(socket, "you", **session)

    own = socket.head.partition("X-Session-Id: ")[2].partition("\r\n")[0]
    assert own.startswith("chat-")
    assert [turn.session_id for turn in agent.turns] == ["a", own, "b", own, "a"]
    assert [len(turn.history) for turn in agent.turns] == [0, 0, 0, 1, 1]
    assert {session.session_id for session in site.broker.sessions} == {"a", "b", own}


async def test_two_sockets_have_sessions_of_their_own(site: Site, agent: Scripted, open_socket: OpenSocket) -> None:
    for _ in range(2):
        await ask(await open_socket(site.port, SOCKET))

    assert agent.turns[0].session_id != agent.turns[1].session_id
    assert agent.turns[1].history == ()


async def test_ping_is_answered_also_while_the_agent_answers(socket: RawSocket, agent: Scripted) -> None:
    await socket.send({"query": "wait"})
    await socket.take(1)
    await socket.send({"type": "ping"})

    assert await socket.take(1) == [{"type": "pong"}]
    agent.go_on.set()
    assert await answer_on(socket) == [content("over"), DONE]


# What the agent yields


async def test_objects_and_bytes_go_out_as_they_are(socket: RawSocket, agent: Scripted) -> None:
    agent.pieces = [b"\0\xff", {"type": "sources", "urls": []}, "", b"", "text"]
    await socket.send({"query": "yield"})

    assert await frames_on(socket, 5) == [
        b"\0\xff", {"type": "sources", "urls": []}, b"", content("text"), DONE,
    ]  # fmt: skip


async def test_half_a_surrogate_pair_breaks_nothing(socket: RawSocket, agent: Scripted) -> None:
    agent.pieces = ["a\ud800b", "\U0001f600"]

    assert await ask(socket, "yield") == [content("a\\ud800b"), content("\U0001f600"), DONE]


@pytest.mark.parametrize("pieces", [["x" * 3_000_000], ["x" * 500] * 1500, ["\ud800" * 300_000]])
async def test_huge_answer_arrives_whole(socket: RawSocket, agent: Scripted, pieces: list[str]) -> None:
    agent.pieces = pieces
    messages = await ask(socket, "yield")

    assert messages[-1] == DONE
    text = "".join(message["content"] for message in messages[:-1])
    assert text == "".join(pieces).encode("utf-8", "backslashreplace").decode()


@pytest.mark.parametrize(
    "end", [{"type": "done", "tokens": 3}, {"type": "error", "message": "no money", "code": "quota"}]
)
async def test_agent_may_end_its_answer_itself(socket: RawSocket, agent: Scripted, end: dict[str, Any]) -> None:
    agent.pieces = ["a", end, "never said"]

    assert await ask(socket, "yield") == [content("a"), end]
    assert await ask(socket) == HELLO


@pytest.mark.parametrize("piece", [None, 5, b"x" * 300_000])
async def test_wrong_piece_is_an_error_and_the_socket_stays(socket: RawSocket, agent: Scripted, piece: Any) -> None:
    agent.pieces = ["a", piece]
    messages = await ask(socket, "yield")

    assert [message["type"] for message in messages] == ["content", "error"]
    assert set(messages[1]) == {"type", "message"}
    assert await ask(socket) == HELLO


@pytest.mark.parametrize(("query", "before"), [("fail", []), ("fail late", [content("began")])])
async def test_failure_of_the_agent_is_told_without_its_trace_and_the_socket_stays(
    socket: RawSocket, query: str, before: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    messages = await ask(socket, query)
    after = await ask(socket)

    assert messages == [*before, {"type": "error", "message": "ZeroDivisionError: by zero"}]
    assert "Traceback" in caplog.text
    assert after == HELLO


# What a client sends


async def test_binary_frames_reach_the_agent_with_the_next_query_and_not_with_the_one_after(
    socket: RawSocket, agent: Scripted
) -> None:
    for piece in (b"\0\xff", b""):
        await socket.send_frame(BINARY, piece)
    await ask(socket)
    await ask(socket)

    assert [turn.attachments for turn in agent.turns] == [(b"\0\xff", b""), ()]


async def test_binary_frame_during_an_answer_belongs_to_the_next_query(socket: RawSocket, agent: Scripted) -> None:
    await socket.send({"query": "wait"})
    await socket.take(1)
    await socket.send_frame(BINARY, b"later")
    agent.go_on.set()
    await answer_on(socket)
    await ask(socket)

    assert [turn.attachments for turn in agent.turns] == [(), (b"later",)]


@pytest.mark.parametrize(("size", "count"), [(600, 3), (0, 102)])
async def test_attachments_are_bounded_and_what_is_left_out_is_told(
    agent: Scripted, open_socket: OpenSocket, size: int, count: int
) -> None:
    async with chatting(agent, max_body_bytes=1024) as site:
        socket = await open_socket(site.port, SOCKET)
        for _ in range(count):
            await socket.send_frame(BINARY, bytes(size))
        errors = await socket.take(2)
        assert await ask(socket) == HELLO

    assert [code_of(error) for error in errors] == ["too_large", "too_large"]
    assert agent.turns[0].attachments == (bytes(size),) * (count - 2)


@pytest.mark.parametrize(
    "frame",
    [
        "", "hello", "{", "[]", '["query"]', "null", "5", '"query"', "\0", '{"query": NaN}', "[" * 100_000,
        "{}", '{"type": "fly"}', '{"type": null}', '{"type": 5}', '{"type": ["query"], "query": "x"}',
        '{"query": ""}', '{"query": 5}', '{"query": null}', '{"query": ["x"]}', '{"type": "query"}',
        '{"query": "x", "session_id": 5}', '{"query": "x", "session_id": "a b"}', '{"query": "x", "session_id": ""}',
        '{"query": "x", "extra": 1}', '{"type": "auth"}', '{"type": "cancel"}',
    ],
    ids=lambda frame: frame[:40],
)  # fmt: skip
async def test_frame_that_is_not_as_expected_is_an_error_and_the_socket_stays(
    socket: RawSocket, agent: Scripted, frame: str
) -> None:
    await socket.send(frame)
    [error] = await socket.take(1)

    assert code_of(error) == "invalid"
    assert agent.turns == []
    assert await ask(socket) == HELLO


async def test_frame_over_the_limit_closes_the_socket_with_1009(agent: Scripted, open_socket: OpenSocket) -> None:
    async with chatting(agent, max_body_bytes=1024) as site:
        socket = await open_socket(site.port, SOCKET)
        await socket.send_frame(TEXT, b" " * 1025)
        await socket.rest()

    assert socket.ended is not None
    assert socket.ended.code == 1009


async def test_query_as_long_as_a_frame_reaches_the_agent(socket: RawSocket, agent: Scripted) -> None:
    query = "x" * (1024 * 1024 - len('{"query": ""}'))
    messages = await ask(socket, query)

    assert messages[-1] == DONE
    assert agent.turns[0].query == query


async def test_second_query_during_an_answer_is_refused_and_the_answer_goes_on(
    socket: RawSocket, agent: Scripted
) -> None:
    await socket.send({"query": "wait", "session_id": "a"})
    await socket.take(1)
    for session in ("a", "b"):
        await socket.send({"query": "you", "session_id": session})
    errors = await socket.take(2)
    agent.go_on.set()

    assert [code_of(error) for error in errors] == ["answer_running", "answer_running"]
    assert await answer_on(socket) == [content("over"), DONE]
    assert len(agent.turns) == 1


async def test_second_socket_of_a_session_is_refused_while_the_agent_answers(
    socket: RawSocket, site: Site, open_socket: OpenSocket
) -> None:
    await socket.send({"query": "wait", "session_id": "a"})
    await socket.take(1)
    other = await open_socket(site.port, SOCKET)

    [error] = await ask(other, "you", session_id="a")
    assert code_of(error) == "answer_running"
    assert await ask(other, "you", session_id="b") == HELLO


# Cancel


async def test_cancel_ends_the_answer_and_the_work_of_the_agent(socket: RawSocket, agent: Scripted) -> None:
    await socket.send({"query": "wait"})
    await socket.take(1)
    await socket.send({"type": "cancel"})
    messages = await answer_on(socket)
    heard = list(agent.heard)

    assert messages == [CANCELLED]
    assert heard == ["wait began", "wait ended"]
    assert await ask(socket) == HELLO
    assert agent.turns[-1].history == (("wait", "began", "cancelled"),)


async def test_cancel_of_a_busy_answer_comes_through(socket: RawSocket) -> None:
    await socket.send({"query": "endless"})
    await socket.take(1)
    await socket.send({"type": "cancel"})

    assert (await answer_on(socket))[-1] == CANCELLED
    assert await ask(socket) == HELLO


async def test_second_cancel_is_an_error_and_the_socket_stays(socket: RawSocket) -> None:
    await socket.send({"query": "wait"})
    await socket.take(1)
    await socket.send({"type": "cancel"})
    await socket.send({"type": "cancel"})
    messages = await socket.take(2)

    assert {"type": "done", "cancelled": True} in messages
    assert [code_of(message) for message in messages if message["type"] == "error"] == ["invalid"]
    assert await ask(socket) == HELLO


async def test_query_right_behind_a_cancel_is_answered_after_its_done(socket: RawSocket) -> None:
    await socket.send({"query": "wait"})
    await socket.take(1)
    await socket.send({"type": "cancel"})
    await socket.send({"query": "you"})

    assert await socket.take(4) == [CANCELLED, *HELLO]


async def test_cancel_withdraws_what_the_agent_asks_and_the_tool_does_not_run(
    socket: RawSocket, site: Site, agent: Scripted
) -> None:
    await socket.send({"query": "ask", "session_id": "a"})
    await until(lambda: site.broker.open("a").desk.pending)
    [request] = site.broker.get("a").desk.pending
    await socket.send({"type": "cancel"})

    assert await answer_on(socket) == [CANCELLED]
    await until(lambda: "ask ended" in agent.heard)
    assert (request.record.status, request.record.reason) == ("cancelled", "the call was cancelled")
    assert agent.heard == ["ask began", "ask ended"]


@pytest.mark.parametrize("how", ["vanish", "close"])
async def test_leaving_cancels_the_answer(socket: RawSocket, agent: Scripted, how: str) -> None:
    await socket.send({"query": "wait"})
    await socket.take(1)
    if how == "vanish":
        socket.vanish()
    else:
        await socket.send_frame(8, b"\x03\xe8")

    await until(lambda: "wait ended" in agent.heard)


async def test_leaving_under_a_runner_that_does_not_cancel_handlers_cancels_the_answer(
    agent: Scripted, broker: Broker, open_socket: OpenSocket
) -> None:
    async with hosted(create_app(broker, Settings(), agent=agent)) as port:
        socket = await open_socket(port, SOCKET)
        await socket.send({"query": "wait"})
        await socket.take(1)
        socket.vanish()

        await until(lambda: "wait ended" in agent.heard)


async def test_slow_clean_up_holds_back_the_next_turn_and_nobody_else(
    open_socket: OpenSocket,
) -> None:
    may_end = asyncio.Event()
    heard = []

    async def agent(turn: ChatTurn) -> AsyncIterator[str]:
        heard.append(f"{turn.query} began")
        try:
            yield turn.query
            if turn.query == "1":
                await asyncio.Event().wait()
        finally:
            if turn.query == "1":
                await may_end.wait()
            heard.append(f"{turn.query} ended")

    async with chatting(agent) as site:
        socket, other = await open_socket(site.port, SOCKET), await open_socket(site.port, SOCKET)
        await socket.send({"query": "1"})
        await socket.take(1)
        await socket.send({"type": "cancel"})
        cancelled = await socket.take(1)
        await socket.send({"query": "2"})
        elsewhere = await ask(other, "3")
        so_far = list(heard)
        may_end.set()
        after = await answer_on(socket)

    assert (cancelled, elsewhere, after) == ([CANCELLED], [content("3"), DONE], [content("2"), DONE])
    assert so_far == ["1 began", "3 began", "3 ended"]
    assert heard[3:] == ["1 ended", "2 began", "2 ended"]


# Tools


async def test_request_of_a_chat_is_seen_in_its_session_and_a_post_lets_the_tool_run(
    socket: RawSocket, site: Site, agent: Scripted, http: aiohttp.ClientSession
) -> None:
    async with reading(http, "a", prefix=f"{site.url}{API}") as stream:
        await stream.until("snapshot")
        await socket.send({"query": "ask", "session_id": "a"})
        asked = (await stream.until("permission_request"))[-1].data["data"]
        before = list(agent.heard)
        url = f"{site.url}{API}/sse/permission-response/a"
        async with http.post(url, json={"approved": True, "request_id": asked["request_id"]}) as response:
            assert response.status == 200
        result = (await stream.until("tool_result"))[-1].data["data"]

    assert (asked["tool_name"], asked["parameters"]) == ("remove", {"path": "/tmp/x"})
    assert await answer_on(socket) == [content("it was removed"), DONE]
    assert before == ["ask began"]
    assert agent.heard == ["ask began", "removed /tmp/x", "ask ended"]
    assert result["result"] == "removed"


async def test_denied_tool_is_told_with_the_reason_word_for_word(
    socket: RawSocket, site: Site, agent: Scripted, http: aiohttp.ClientSession
) -> None:
    await socket.send({"query": "ask", "session_id": "a"})
    await until(lambda: site.broker.open("a").desk.pending)
    url = f"{site.url}{API}/polling/permission-response/a"
    async with http.post(url, json={"approved": False, "reason": "not on a Friday"}) as response:
        assert response.status == 200

    assert await answer_on(socket) == [
        {"type": "error", "message": "remove did not run: rejected by local: not on a Friday"}
    ]
    assert agent.heard == ["ask began", "ask ended"]


# Readers that are slow, or take nothing


async def test_agent_waits_for_a_slow_reader_and_goes_on_when_it_reads(
    agent: Scripted, broker: Broker, open_socket: OpenSocket
) -> None:
    agent.pieces = [str(number) + "x" * 20_000 for number in range(150)]
    async with hosted(create_app(broker, Settings(), agent=agent), send_bytes=4096) as port:
        socket = await open_socket(port, SOCKET, receive_bytes=4096)
        await socket.send({"query": "yield"})
        first = await socket.take(1)
        waited = list(agent.heard)
        messages = [*first, *await answer_on(socket)]

    assert waited == ["yield began"]
    assert messages == [*map(content, agent.pieces), DONE]


async def test_answer_does_not_run_away_from_a_reader_that_takes_nothing(
    site: Site, agent: Scripted, open_socket: OpenSocket
) -> None:
    socket = await open_socket(site.port, SOCKET, receive_bytes=4096)
    await socket.send({"query": "endless"})
    said = await paused(agent)
    await socket.take(1)

    # What the log, the connection and the kernel hold of it.
    assert 20_000 * said < 16 * 1024 * 1024


async def paused(agent: Scripted) -> int:
    """Wait until an endless answer waits for its reader; return how many pieces it has said."""
    said = -1
    async with asyncio.timeout(PATIENCE_SECONDS):
        while said < (said := agent.heard.count("said")):
            for _ in range(200):
                await asyncio.sleep(0)
    return said


async def test_reader_that_takes_nothing_is_cut_with_4408_and_the_agent_stops(
    agent: Scripted, open_socket: OpenSocket
) -> None:
    async with chatting(agent, stalled_seconds=1) as site:
        socket = await open_socket(site.port, SOCKET, receive_bytes=4096)
        await socket.send({"query": "endless"})
        await until(lambda: "endless ended" in agent.heard)
        await socket.rest()

    assert socket.ended is not None
    assert socket.ended == (4408, "slow")


async def test_reader_that_never_reads_again_leaves_nothing_behind(agent: Scripted, open_socket: OpenSocket) -> None:
    async with chatting(agent, stalled_seconds=0.1) as site:
        before = asyncio.all_tasks()
        socket = await open_socket(site.port, SOCKET, receive_bytes=4096)
        await socket.send({"query": "endless"})
        await until(lambda: "endless ended" in agent.heard)
        await until(lambda: asyncio.all_tasks() <= before)


async def test_client_that_sends_and_sends_and_reads_no_error_is_cut(agent: Scripted, open_socket: OpenSocket) -> None:
    async with chatting(agent, stalled_seconds=0.1) as site:
        socket = await open_socket(site.port, SOCKET, receive_bytes=4096)
        await socket.send(MANY_ERRORS)
        assert code_of((await socket.take(1))[0]) == "invalid"
        with pytest.raises(ConnectionError):
            await send_for_ever(socket, MANY_ERRORS)


async def send_for_ever(socket: RawSocket, message: Any) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            await socket.send(message)


async def test_reader_that_takes_a_little_now_and_then_is_not_cut(
    agent: Scripted, broker: Broker, open_stream: OpenStream
) -> None:
    agent.pieces = [b"x" * 150_000]
    app = create_app(broker, Settings(stalled_seconds=1.2), agent=agent)
    async with hosted(app, send_bytes=4096) as port:
        stream = await open_stream(port, f"{STREAM}?query=yield", receive_bytes=4096)
        await stream.status()
        clock, body = asyncio.get_running_loop().time, b""
        began = clock()
        while piece := await stream.reader.read(2000):
            body += piece
            while clock() < began + len(body) / 70_000:  # noqa: ASYNC110  # the pace is what is tested
                await asyncio.sleep(0)

    assert clock() > began + 2 * 1.2
    assert body.endswith(b'data: {"type":"done"}\n\n')


async def test_writer_that_gives_up_beside_another_ends_the_socket_as_slow_too(
    agent: Scripted, broker: Broker, open_socket: OpenSocket
) -> None:
    app = create_app(broker, Settings(stalled_seconds=1), agent=agent)
    async with hosted(app, send_bytes=4096) as port:
        socket = await open_socket(port, SOCKET, receive_bytes=4096)
        await socket.send({"query": "endless"})
        await paused(agent)
        for _ in range(300):
            await socket.send(MANY_ERRORS)
        await until(lambda: "endless ended" in agent.heard)
        await socket.rest()

    assert socket.ended == (4408, "slow")


async def test_next_query_of_a_slow_reader_is_answered_after_the_end_of_the_answer_before(
    agent: Scripted, broker: Broker, open_socket: OpenSocket
) -> None:
    agent.pieces = ["x" * 20_000] * 20
    async with hosted(create_app(broker, Settings(), agent=agent), send_bytes=4096) as port:
        socket = await open_socket(port, SOCKET, receive_bytes=4096)
        await socket.send({"query": "yield"})
        await until(lambda: "yield ended" in agent.heard)
        await socket.send({"query": "you"})
        messages = [*await answer_on(socket), *await answer_on(socket)]

    assert messages == [*[content("x" * 20_000)] * 20, DONE, *HELLO]


# SSE


async def test_stream_has_the_messages_of_the_reference_each_with_an_id(
    site: Site, http: aiohttp.ClientSession
) -> None:
    async with streaming(http, site, session_id="a") as stream:
        frames = await stream.rest()

    assert data(frames) == HELLO
    assert [frame.event for frame in frames] == [None] * 3
    assert [(frame.id or "").rpartition("-")[2] for frame in frames] == ["1", "2", "3"]
    assert stream.retries == ["1000"]
    assert stream.response.headers["X-Session-Id"] == "a"
    assert stream.response.content_type == "text/event-stream"
    assert stream.response.headers["Cache-Control"] == "no-store, no-transform"


async def test_stream_without_a_session_gets_one_of_its_own(
    site: Site, http: aiohttp.ClientSession, agent: Scripted
) -> None:
    for _ in range(2):
        async with streaming(http, site) as stream:
            await stream.rest()
            assert stream.response.headers["X-Session-Id"] == agent.turns[-1].session_id

    assert agent.turns[0].session_id != agent.turns[1].session_id


async def test_bytes_go_over_sse_in_base64(site: Site, http: aiohttp.ClientSession, agent: Scripted) -> None:
    agent.pieces = [b"\0\xff", "a\nb"]
    async with streaming(http, site, "yield") as stream:
        frames = await stream.rest()

    binary = {"type": "binary", "content": base64.b64encode(b"\0\xff").decode()}
    assert data(frames) == [binary, content("a\nb"), DONE]


async def test_stream_that_dropped_goes_on_behind_its_cursor_without_the_agent_noticing(
    site: Site, http: aiohttp.ClientSession, agent: Scripted
) -> None:
    async with streaming(http, site, "wait", session_id="a") as stream:
        [first] = await stream.take(1)
    agent.go_on.set()
    async with streaming(http, site, "wait", session_id="a", at=first.id) as stream:
        frames = await stream.rest()

    assert data([first, *frames]) == [content("began"), content("over"), DONE]
    assert len(agent.turns) == 1


@pytest.mark.parametrize("read", [0, 1, 2])
async def test_finished_answer_can_be_read_again_from_any_place(
    site: Site, http: aiohttp.ClientSession, agent: Scripted, read: int
) -> None:
    async with streaming(http, site, session_id="a") as stream:
        frames = await stream.rest()
    cursors = [f"{(frames[0].id or '').rpartition('-')[0]}-0", *(frame.id for frame in frames)]
    async with streaming(http, site, session_id="a", at=cursors[read]) as stream:
        again = await stream.rest()

    assert again == frames[read:]
    assert len(agent.turns) == 1


async def test_cursor_may_come_in_the_query_and_the_header_is_the_newer(
    site: Site, http: aiohttp.ClientSession
) -> None:
    async with streaming(http, site) as stream:
        first, second, done = await stream.rest()
    async with streaming(http, site, last_event_id=str(first.id)) as stream:
        by_query = await stream.rest()
    async with streaming(http, site, last_event_id=str(first.id), at=second.id) as stream:
        by_both = await stream.rest()

    assert (by_query, by_both) == ([second, done], [done])


async def test_finished_answer_is_204_so_that_an_event_source_stops(
    site: Site, http: aiohttp.ClientSession, agent: Scripted
) -> None:
    async with streaming(http, site) as stream:
        done = (await stream.rest())[-1]

    assert await status_of(http, site, done.id) == 204
    assert await status_of(http, site, last_event_id=str(done.id)) == 204
    assert len(agent.turns) == 1


async def test_stream_that_dropped_before_its_first_message_has_a_place_all_the_same(
    site: Site, open_stream: OpenStream, http: aiohttp.ClientSession, agent: Scripted
) -> None:
    dropped = await open_stream(site.port, f"{STREAM}?query=silence&session_id=a")
    await dropped.status()
    head = [await dropped.reader.readline() for _ in range(4)]
    dropped.vanish()
    agent.go_on.set()
    cursor = head[1].decode().removeprefix("id: ").strip()
    async with streaming(http, site, "silence", session_id="a", at=cursor) as stream:
        frames = await stream.rest()

    assert (head[0], head[2], head[3]) == (b"retry: 1000\n", b'data: {"type":"content","content":""}\n', b"\n")
    assert data(frames) == [DONE]
    assert len(agent.turns) == 1


async def test_same_query_again_while_it_is_answered_rejoins(
    site: Site, http: aiohttp.ClientSession, agent: Scripted
) -> None:
    async with (
        streaming(http, site, "wait", session_id="a") as first,
        streaming(http, site, "wait", session_id="a") as second,
    ):
        began = [*await first.take(1), *await second.take(1)]
        agent.go_on.set()
        frames = await first.rest(), await second.rest()

    assert data(began) == [content("began")] * 2
    assert frames[0] == frames[1]
    assert len(agent.turns) == 1


async def test_another_query_while_the_agent_answers_is_told_as_one_error(
    site: Site, http: aiohttp.ClientSession, agent: Scripted
) -> None:
    async with streaming(http, site, "wait", session_id="a") as running:
        await running.take(1)
        async with streaming(http, site, "you", session_id="a") as stream:
            [error] = await stream.rest()
        agent.go_on.set()
        rest = await running.rest()

    assert (code_of(error.data), error.id) == ("answer_running", "gone")
    assert data(rest) == [content("over"), DONE]


@pytest.mark.parametrize("cursor", ["x", "0-0", "earliest", "x" * 5000, "3w5e11264sgsf-1", "\u00e9"])
async def test_cursor_of_no_answer_is_one_error_and_then_204(
    site: Site, http: aiohttp.ClientSession, agent: Scripted, cursor: str
) -> None:
    async with streaming(http, site, last_event_id=cursor) as stream:
        [error] = await stream.rest()

    assert (code_of(error.data), error.id) == ("not_found", "gone")
    assert await status_of(http, site, error.id) == 204
    assert agent.turns == []


@pytest.mark.parametrize("place", ["99", "zzzzzz", ""])
async def test_place_that_an_answer_never_had_is_one_error(site: Site, http: aiohttp.ClientSession, place: str) -> None:
    async with streaming(http, site) as stream:
        [first, *_] = await stream.rest()
    async with streaming(http, site, at=f"{str(first.id).rpartition('-')[0]}-{place}") as stream:
        [error] = await stream.rest()

    assert (code_of(error.data), error.id) == ("not_found", "gone")


async def test_place_that_is_held_no_longer_is_one_error(agent: Scripted, http: aiohttp.ClientSession) -> None:
    agent.pieces = ["x" * 1000] * 100
    async with chatting(agent, log_bytes=16 * 1024, max_event_bytes=16 * 1024) as site:
        async with streaming(http, site, "yield") as stream:
            [first, *_, done] = await stream.rest()
        async with streaming(http, site, at=first.id) as stream:
            [error] = await stream.rest()
        last = await status_of(http, site, done.id)

    assert (code_of(error.data), error.id, last) == ("not_found", "gone", 204)


async def test_answer_before_the_last_of_a_session_is_held_no_longer(site: Site, http: aiohttp.ClientSession) -> None:
    cursors = []
    for _ in range(2):
        async with streaming(http, site, session_id="a") as stream:
            cursors.append((await stream.rest())[0].id)
    gc.collect()
    async with streaming(http, site, at=cursors[0]) as stream:
        [error] = await stream.rest()
    async with streaming(http, site, at=cursors[1]) as stream:
        rest = await stream.rest()

    assert code_of(error.data) == "not_found"
    assert data(rest) == HELLO[1:]


@pytest.mark.parametrize("params", [{}, {"query": ""}, {"query": "x", "session_id": "a b"}])
async def test_stream_without_a_query_or_with_a_wrong_session_is_422(
    site: Site, http: aiohttp.ClientSession, agent: Scripted, params: dict[str, str]
) -> None:
    async with http.get(f"{site.url}{STREAM}", params=params) as response:
        assert await error_of(response) == (422, "invalid")
    assert agent.turns == []


async def test_silent_answer_has_heartbeats_that_are_no_messages(agent: Scripted, open_stream: OpenStream) -> None:
    async with chatting(agent, heartbeat_seconds=0.02) as site:
        stream = await open_stream(site.port, f"{STREAM}?query=silence")
        await stream.status()
        lines = [await stream.reader.readline() for _ in range(7)]
        agent.go_on.set()

        assert lines[4:] == [b": heartbeat\n"] * 3  # no blank line: that would be a block without data
        assert await stream.events() == [DONE]


async def test_failure_of_the_agent_ends_the_stream_with_its_error(site: Site, http: aiohttp.ClientSession) -> None:
    async with streaming(http, site, "fail late") as stream:
        frames = await stream.rest()

    assert data(frames) == [content("began"), {"type": "error", "message": "ZeroDivisionError: by zero"}]


async def test_stalled_stream_is_cut_and_the_answer_waits_for_nobody(
    agent: Scripted, open_stream: OpenStream, http: aiohttp.ClientSession
) -> None:
    agent.pieces = ["x" * 20_000] * 1000
    async with chatting(agent, stalled_seconds=0.1) as site:
        before = asyncio.all_tasks()
        files = open_files()
        stalled = await open_stream(site.port, f"{STREAM}?query=yield&session_id=a", receive_bytes=4096)
        await stalled.status()
        await until(lambda: "yield ended" in agent.heard)
        await until(lambda: asyncio.all_tasks() <= before)
        await until(lambda: open_files() == files + 1)  # its own end; that of the service is closed
        async with streaming(http, site, session_id="a") as stream:
            after = await stream.rest()

    assert data(after) == HELLO
    assert agent.turns[-1].history[0].outcome == "done"


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_huge_answer_reaches_a_slow_stream_whole(site: Site, agent: Scripted, open_stream: OpenStream) -> None:
    agent.pieces = ["x" * 3_000_000, *["y"] * 1000]
    stream = await open_stream(site.port, f"{STREAM}?query=yield", receive_bytes=4096)
    events = await stream.events()

    assert sum(len(event.get("content", "")) for event in events) == 3_001_000
    assert events[-1] == DONE


# Who may


@asynccontextmanager
async def guarded(agent: Agent, write_tokens: WriteTokens, **settings: Any) -> AsyncIterator[Site]:
    entries = [
        {"token": "viewer", "rights": ["view"], "sessions": ["*"]},
        {"token": "producer", "rights": ["produce"], "sessions": ["*"]},
        {"token": "team", "rights": ["approve"], "sessions": ["team-*"]},
        {"token": "ann", "subject": "ann", "rights": ["approve"], "sessions": ["*"]},
        {"token": "bob", "subject": "bob", "rights": ["approve"], "sessions": ["*"]},
    ]
    async with chatting(agent, auth="tokens", tokens_file=write_tokens(entries), **settings) as site:
        yield site


@pytest.mark.parametrize(
    ("token", "session_id", "status"),
    [
        (None, "team-1", 401),
        ("nobody", "team-1", 401),
        ("viewer", "team-1", 403),
        ("producer", "team-1", 403),
        ("team", "other", 403),
        ("team", None, 403),
        ("team", "team-1", 200),
        ("ann", None, 200),
    ],
)
async def test_stream_needs_the_right_to_approve_in_its_session(
    agent: Scripted,
    write_tokens: WriteTokens,
    http: aiohttp.ClientSession,
    token: str | None,
    session_id: str | None,
    status: int,
) -> None:
    params = {name: value for name, value in (("token", token), ("session_id", session_id)) if value is not None}
    async with guarded(agent, write_tokens) as site:
        assert await status_of(http, site, **params) == status

    assert len(agent.turns) == (status == 200)


@pytest.mark.parametrize(
    ("token", "session_id", "code"),
    [
        ("viewer", "team-1", "forbidden"),
        ("producer", "team-1", "forbidden"),
        ("team", "other", "forbidden"),
        ("team", None, "forbidden"),
        ("team", "team-1", None),
        ("ann", None, None),
    ],
)
async def test_query_needs_the_right_to_approve_in_its_session_and_the_socket_stays(
    agent: Scripted,
    write_tokens: WriteTokens,
    open_socket: OpenSocket,
    token: str,
    session_id: str | None,
    code: str | None,
) -> None:
    async with guarded(agent, write_tokens) as site:
        socket = await open_socket(site.port, f"{SOCKET}?token={token}")
        messages = await ask(socket, session_id=session_id)
        await socket.send({"type": "ping"})
        pong = await socket.take(1)

    if code is None:
        assert messages == HELLO
    else:
        assert [code_of(message) for message in messages] == [code]
        assert agent.turns == []
    assert pong == [{"type": "pong"}]


async def test_token_may_come_as_the_first_message(
    agent: Scripted, write_tokens: WriteTokens, open_socket: OpenSocket
) -> None:
    async with guarded(agent, write_tokens) as site:
        socket = await open_socket(site.port, SOCKET)
        await socket.send({"type": "auth", "token": "ann"})
        assert await ask(socket) == HELLO
        await socket.send({"type": "auth", "token": "bob"})
        [error] = await socket.take(1)
        assert await ask(socket) == HELLO

    assert code_of(error) == "unauthenticated"


@pytest.mark.parametrize("token", ["?token=nobody", ""])
async def test_socket_of_nobody_is_closed_with_4401(
    agent: Scripted, write_tokens: WriteTokens, open_socket: OpenSocket, token: str
) -> None:
    async with guarded(agent, write_tokens) as site:
        socket = await open_socket(site.port, SOCKET + token)
        await socket.send({"query": "you"})
        [error] = await socket.rest()

    assert code_of(error) == "unauthenticated"
    assert socket.ended is not None
    assert socket.ended.code == 4401
    assert agent.turns == []


async def test_answer_of_another_caller_can_neither_be_read_nor_joined(
    agent: Scripted, write_tokens: WriteTokens, http: aiohttp.ClientSession
) -> None:
    async with guarded(agent, write_tokens) as site:
        async with streaming(http, site, "wait", session_id="a", token="ann") as stream:
            [first] = await stream.take(1)
        async with streaming(http, site, "wait", session_id="a", at=first.id, token="bob") as stream:
            [by_cursor] = await stream.rest()
        async with streaming(http, site, "wait", session_id="a", token="bob") as stream:
            [by_query] = await stream.rest()
        agent.go_on.set()
        async with streaming(http, site, "wait", session_id="a", at=first.id, token="ann") as stream:
            rest = await stream.rest()

    assert (code_of(by_cursor.data), by_cursor.id) == ("not_found", "gone")
    assert (code_of(by_query.data), by_query.id) == ("answer_running", "gone")
    assert data(rest) == [content("over"), DONE]


async def test_caller_whose_patterns_no_longer_cover_the_session_cannot_resume(
    agent: Scripted, write_tokens: WriteTokens, http: aiohttp.ClientSession
) -> None:
    async with guarded(agent, write_tokens) as site:
        async with streaming(http, site, session_id="a", token="ann") as stream:
            [first, *_] = await stream.rest()
        write_tokens([{"token": "ann", "subject": "ann", "rights": ["approve"], "sessions": ["b"]}])
        async with streaming(http, site, session_id="a", at=first.id, token="ann") as stream:
            [error] = await stream.rest()

    assert (code_of(error.data), error.id) == ("forbidden", "gone")


@asynccontextmanager
async def expiring(
    agent: Agent, write_tokens: WriteTokens, seconds: float, **settings: Any
) -> AsyncIterator[tuple[int, str]]:
    """The port of a service, and a ticket of ann's for session ``a`` whose right expires soon."""
    path = write_tokens([{"token": "ann", "subject": "ann", "rights": ["approve"], "sessions": ["*"]}])
    app = create_app(settings=Settings(auth="tokens", tokens_file=path, **settings), agent=agent)
    async with hosted(app, send_bytes=4096) as port:
        ann = Caller("ann", frozenset({"approve"}), ("*",), time.time() + seconds)
        yield port, app[TICKETS].issue(ann, "a")


async def test_socket_ends_with_4401_when_its_token_expires_and_the_agent_stops(
    agent: Scripted, write_tokens: WriteTokens, open_socket: OpenSocket
) -> None:
    async with expiring(agent, write_tokens, 0.2) as (port, ticket):
        socket = await open_socket(port, f"{SOCKET}?ticket={ticket}")
        await socket.send({"query": "wait", "session_id": "a"})
        began, *rest = await socket.rest()
        await until(lambda: "wait ended" in agent.heard)

    assert began == content("began")
    assert code_of(rest[-1]) == "unauthenticated"
    assert socket.ended == (4401, "The token has expired.")


async def test_socket_with_a_newer_token_stays(
    agent: Scripted, write_tokens: WriteTokens, open_socket: OpenSocket
) -> None:
    async with expiring(agent, write_tokens, 0.2) as (port, ticket):
        expires_at = time.time() + 0.3
        socket = await open_socket(port, f"{SOCKET}?ticket={ticket}")
        await socket.send({"type": "auth", "token": "ann"})
        while time.time() < expires_at:
            assert await ask(socket) == HELLO


async def test_stream_says_when_its_token_expires_and_a_newer_one_goes_on(
    agent: Scripted, write_tokens: WriteTokens, http: aiohttp.ClientSession
) -> None:
    async with expiring(agent, write_tokens, 0.2) as (port, ticket):
        url = f"http://127.0.0.1:{port}{STREAM}?query=wait&session_id=a"
        async with http.get(f"{url}&ticket={ticket}") as response:
            began, expired = await Stream(response).rest()
        agent.go_on.set()
        async with http.get(f"{url}&token=ann", headers={"Last-Event-ID": str(began.id)}) as response:
            rest = await Stream(response).rest()

    assert (expired.data, expired.id) == ({"type": "error", "message": "The token has expired."}, None)
    assert data(rest) == [content("over"), DONE]
    assert len(agent.turns) == 1


async def test_stalled_stream_whose_token_expires_leaves_nothing_behind(
    agent: Scripted, write_tokens: WriteTokens, open_stream: OpenStream
) -> None:
    agent.pieces = ["x" * 20_000] * 1000
    async with expiring(agent, write_tokens, 0.2, stalled_seconds=60) as (port, ticket):
        before = asyncio.all_tasks()
        stream = await open_stream(port, f"{STREAM}?query=yield&session_id=a&ticket={ticket}", receive_bytes=4096)
        await stream.status()
        await until(lambda: "yield ended" in agent.heard)
        await until(lambda: asyncio.all_tasks() <= before)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}, 200),
        ({}, 200),
    ],
)
async def test_page_of_another_site_gets_no_answer_and_the_agent_does_not_work(
    agent: Scripted, http: aiohttp.ClientSession, headers: dict[str, str], status: int
) -> None:
    async with chatting(agent, allowed_origins="https://app.example") as site:
        response = await http.get(f"{site.url}{STREAM}?query=you", headers=headers)
        assert response.status == status
        await response.read()

    assert len(agent.turns) == (status == 200)


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_page_of_another_site_opens_no_socket(
    site: Site, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(f"{site.url}{SOCKET}", headers=headers)

    assert refused.value.status == 403


# Bounds and ends


async def test_chats_are_bounded(agent: Scripted, open_socket: OpenSocket, http: aiohttp.ClientSession) -> None:
    async with chatting(agent, max_connections=1) as site:
        first = await open_socket(site.port, SOCKET)
        await ask(first)
        second = await open_socket(site.port, SOCKET)
        [refused] = await second.rest()
        async with streaming(http, site, session_id="a") as stream:
            [told] = await stream.rest()
        first.vanish()
        while (last := await status_of(http, site, session_id="a")) == 200 and len(agent.turns) == 1:
            pass

    assert code_of(refused) == "limit_reached"
    assert second.ended is not None
    assert second.ended.code == 4429
    assert (code_of(told.data), told.id) == ("limit_reached", "gone")
    assert last == 200
    assert [turn.query for turn in agent.turns] == ["you", "you"]


async def test_session_that_is_ended_ends_the_answer_and_the_socket_stays(
    site: Site, socket: RawSocket, agent: Scripted, http: aiohttp.ClientSession
) -> None:
    await socket.send({"query": "wait", "session_id": "a"})
    await socket.take(1)
    async with http.delete(f"{site.url}{API}/sessions/a") as response:
        assert response.status == 200

    assert await answer_on(socket) == [SESSION_ENDED]
    await until(lambda: "wait ended" in agent.heard)
    assert await ask(socket, session_id="a") == HELLO
    assert agent.turns[-1].history == ()


async def test_shutdown_ends_answers_with_an_error_and_sockets_with_1001(
    agent: Scripted, open_socket: OpenSocket, http: aiohttp.ClientSession
) -> None:
    async with chatting(agent) as site:
        socket, idle = await open_socket(site.port, SOCKET), await open_socket(site.port, SOCKET)
        await socket.send({"query": "wait"})
        await socket.take(1)
        await idle.send({"type": "ping"})
        await idle.take(1)
        stream = asyncio.create_task(rest_of_stream(http, site))
        await until(lambda: len(agent.turns) == 2)

    assert await socket.event() == SESSION_ENDED
    for each in (socket, idle):
        assert [code_of(message) for message in await each.rest()] == ["shutting_down"]
        assert each.ended is not None
        assert each.ended.code == 1001
    assert (await stream)[-1] == SESSION_ENDED
    assert agent.heard.count("wait ended") == 2


async def rest_of_stream(http: aiohttp.ClientSession, site: Site) -> list[Any]:
    async with streaming(http, site, "wait") as stream:
        return data(await stream.rest())


async def test_shutdown_waits_a_moment_for_an_agent_that_cleans_up(open_socket: OpenSocket) -> None:
    cleaned = []

    async def agent(turn: ChatTurn) -> AsyncIterator[str]:
        try:
            yield "began"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            cleaned.append(turn.query)

    async with chatting(agent) as site:
        socket = await open_socket(site.port, SOCKET)
        await socket.send({"query": "q"})
        await socket.take(1)

    assert cleaned == ["q"]


async def test_session_with_a_running_answer_does_not_expire_and_is_forgotten_after_it(
    agent: Scripted, open_socket: OpenSocket
) -> None:
    async with chatting(agent, session_idle_seconds=0.02) as site:
        socket = await open_socket(site.port, SOCKET)
        await socket.send({"query": "wait", "session_id": "a"})
        await socket.take(1)
        session = weakref.ref(site.broker.get("a"))
        other = site.broker.open("b")
        await until(lambda: other.log.closed)
        alive = session()
        assert alive is not None
        was_open = not alive.log.closed
        del alive
        agent.go_on.set()
        await answer_on(socket)
        await until(lambda: not site.broker.sessions)
        gc.collect()

        assert was_open
        assert session() is None


# Where the agent comes from


@asynccontextmanager
async def hosted(app: web.Application, *, send_bytes: int | None = None) -> AsyncIterator[int]:
    """The port of an application under a runner as a host program makes it: handlers are not cancelled.

    ``send_bytes`` bounds what the kernel takes from the service while nobody reads.
    """
    runner = web.AppRunner(app)
    await runner.setup()
    listener = socket_module.create_server(("127.0.0.1", 0))
    if send_bytes is not None:
        listener.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_SNDBUF, send_bytes)
    await web.SockSite(runner, listener).start()
    yield listener.getsockname()[1]
    await runner.cleanup()


async def test_mounted_service_chats_under_its_path(
    agent: Scripted, broker: Broker, open_socket: OpenSocket, http: aiohttp.ClientSession
) -> None:
    host = web.Application()
    host.add_subapp("/notifier/", create_app(broker, Settings(), agent=agent))
    async with hosted(host) as port:
        socket = await open_socket(port, f"/notifier{SOCKET}")
        assert await ask(socket, session_id="a") == HELLO
        async with http.get(f"http://127.0.0.1:{port}/notifier{STREAM}?query=you&session_id=a") as response:
            assert data(await Stream(response).rest()) == HELLO

    assert [len(turn.history) for turn in agent.turns] == [0, 1]


async def test_without_a_prefix_the_chat_is_no_session_of_that_name(
    agent: Scripted, open_socket: OpenSocket, http: aiohttp.ClientSession
) -> None:
    async with chatting(agent, prefix="") as site:
        assert await ask(await open_socket(site.port, SOCKET)) == HELLO
        async with streaming(http, site) as stream:
            assert data(await stream.rest()) == HELLO


AGENT = """
async def answer(turn):
    yield "from a module"
"""


async def test_agent_of_the_settings_answers_and_one_that_is_given_goes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agent: Scripted, open_socket: OpenSocket
) -> None:
    (tmp_path / "agent_of_settings.py").write_text(AGENT)
    monkeypatch.syspath_prepend(tmp_path)
    answers = []
    for given in (None, agent):
        async with chatting(given, agent="agent_of_settings:answer") as site:
            answers.append(await ask(await open_socket(site.port, SOCKET)))

    assert answers == [[content("from a module"), DONE], HELLO]


async def test_agent_that_cannot_be_loaded_refuses_to_start(broker: Broker) -> None:
    with pytest.raises(InvalidInput, match="setting agent: json:nothing cannot be loaded"):
        create_app(broker, Settings(agent="json:nothing"))


async def test_without_an_agent_the_demonstration_answers_in_the_language_of_the_query(
    open_socket: OpenSocket,
) -> None:
    texts = []
    async with chatting(None) as site:
        socket = await open_socket(site.port, SOCKET)
        for query in ("hello", "你好，请介绍一下你自己"):
            messages = await ask(socket, query, session_id="test_session")
            texts.append("".join(message["content"] for message in messages[:-1]))
            assert messages[-1] == DONE

    assert texts[0].startswith("Hello! I am the demonstration agent")
    assert texts[1].startswith("你好！")


async def test_service_that_ends_removes_the_notes_of_the_demonstration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_socket: OpenSocket
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with chatting(None) as site:
        assert await ask(await open_socket(site.port, SOCKET), "list") == [content("welcome.md"), DONE]
        while_it_runs = len(list(tmp_path.iterdir()))
        socket = await open_socket(site.port, SOCKET)
        await socket.send({"query": "count", "session_id": "a"})
        await until(lambda: site.broker.open("a").desk.pending)

    assert while_it_runs == 1
    assert list(tmp_path.iterdir()) == []


async def test_sigterm_while_the_demonstration_answers_ends_the_process_in_time_and_in_silence(
    monkeypatch: pytest.MonkeyPatch, open_socket: OpenSocket
) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "default")  # what is left behind warns
    async with service_process() as (process, port):
        talking, asking = await open_socket(port, SOCKET), await open_socket(port, SOCKET)
        await talking.send({"query": "talk 600"})
        await talking.take(1)
        await asking.send({"query": "write a text"})
        await asking.take(1)
        process.terminate()
        async with asyncio.timeout(in_time()):
            exit_code = await process.wait()
        assert process.stderr is not None
        said = await process.stderr.read()

        assert (exit_code, said) == (0, b"")
        for socket in (talking, asking):
            assert SESSION_ENDED in await socket.rest()
            assert socket.ended is not None
            assert socket.ended.code == 1001
