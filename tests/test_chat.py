"""Chat: an agent's answer is a bounded log, one at a time in a session, and it can be stopped."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import weakref
from collections import ChainMap
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from notifier_service import Broker, ChatTurn, Decision, Limits, ToolDenied
from notifier_service.chat import Agent, Answer, AnswerReader, Chat, PastTurn, load_agent
from notifier_service.core.errors import (
    AnswerRunning,
    BrokerClosed,
    CursorLost,
    InvalidInput,
    InvalidSessionId,
    LimitReached,
)
from tests.clock import Clock

DONE = {"type": "done"}
CANCELLED = {"type": "done", "cancelled": True}
SESSION_ENDED = {"type": "error", "message": "The session has ended, or the service is shutting down."}


def content(text: str) -> dict[str, str]:
    return {"type": "content", "content": text}


def failed(message: str) -> dict[str, str]:
    return {"type": "error", "message": message}


def saying(*pieces: Any) -> Agent:
    """An agent that yields these pieces; an exception among them is raised."""

    async def agent(turn: ChatTurn) -> AsyncIterator[Any]:
        for piece in pieces:
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    return agent


class Slow:
    """An agent that says that it began, waits until it is let go, and says that it is over."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.turns: list[ChatTurn] = []
        #: What happened, in order.
        self.heard: list[str] = []

    async def __call__(self, turn: ChatTurn) -> AsyncIterator[str]:
        self.turns.append(turn)
        self.heard.append(f"{turn.query} began")
        try:
            yield "began"
            await self.go_on.wait()
            yield "over"
        finally:
            self.heard.append(f"{turn.query} ended")


def begin(broker: Broker, agent: Agent, query: str = "q", **how: Any) -> Answer:
    return Chat(broker, agent).begin("s", query, **{"asked_by": "ada", **how})


async def taken(reader: AnswerReader, *, count: int | None = None) -> list[Any]:
    """The next messages of an answer, or all up to its end; bytes as they are."""
    messages: list[Any] = []
    async with asyncio.timeout(10):
        while not reader.over and (count is None or len(messages) < count):
            for event in await reader.next():
                messages.append(event.json if event.type == "binary" else json.loads(event.json))
    return messages


async def told(answer: Answer) -> list[Any]:
    with answer.reading() as reader:
        return await taken(reader)


async def turns(number: int = 10) -> None:
    """Let every task run that can."""
    for _ in range(number):
        await asyncio.sleep(0)


async def until(state: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not state():  # noqa: ASYNC110  # the state of a core that has no event of its own for it
            await asyncio.sleep(0)


# What an agent says


async def test_answer_is_its_pieces_as_content_and_then_done(broker: Broker) -> None:
    answer = begin(broker, saying("Hello", " world"))

    assert await told(answer) == [content("Hello"), content(" world"), DONE]
    assert answer.outcome == "done"


@pytest.mark.parametrize("pieces", [(), ("",), ("", "")])
async def test_agent_that_says_nothing_is_done(broker: Broker, pieces: tuple[str, ...]) -> None:
    assert await told(begin(broker, saying(*pieces))) == [DONE]


@pytest.mark.parametrize("piece", [b"\0\xff", bytearray(b"\0\xff"), memoryview(b"\0\xff")])
async def test_bytes_go_out_as_bytes(broker: Broker, piece: Any) -> None:
    assert await told(begin(broker, saying(piece))) == [b"\0\xff", DONE]


@pytest.mark.parametrize("kind", [dict, MappingProxyType, ChainMap])
async def test_object_with_a_type_goes_out_as_it_is(broker: Broker, kind: Any) -> None:
    answer = begin(broker, saying(kind({"type": "sources", "urls": ["a"], "n": None})))

    assert await told(answer) == [{"type": "sources", "urls": ["a"], "n": None}, DONE]


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        ({"type": "done", "tokens": 7}, "done"),
        ({"type": "error", "message": "no more money", "code": "quota"}, "error"),
    ],
)
async def test_agent_may_end_its_answer_itself_and_is_asked_no_more(
    broker: Broker, end: dict[str, Any], outcome: str
) -> None:
    answer = begin(broker, saying("a", end, "never said", AssertionError("never raised")))

    assert await told(answer) == [content("a"), end]
    assert answer.outcome == outcome


@pytest.mark.parametrize(
    ("piece", "name"),
    [(None, "NoneType"), (1, "int"), (["a"], "list"), ({}, "dict"), ({"type": 1}, "dict"), (object(), "object")],
)
async def test_piece_of_another_kind_is_told_as_an_error(broker: Broker, piece: Any, name: str) -> None:
    answer = begin(broker, saying("a", piece))
    why = f"TypeError: an agent yields text, bytes or objects with a type, not {name}"

    assert await told(answer) == [content("a"), failed(why)]


async def test_object_that_is_no_json_is_told_as_an_error(broker: Broker) -> None:
    [message] = await told(begin(broker, saying({"type": "x", "it": object()})))

    assert message["message"].startswith("not to be shown as JSON: ")


@pytest.mark.parametrize("character", ["x", "\0", "\ud800", "\U0001f600", '"', "é"])
async def test_text_of_any_length_is_split_and_loses_nothing(character: str) -> None:
    broker = Broker(Limits(max_event_bytes=16 * 1024))
    text = character * 50_000

    with begin(broker, saying(text)).reading() as reader:
        messages = await taken(reader)

    said = "".join(message["content"] for message in messages[:-1])
    assert messages[-1] == DONE
    assert len(messages) > 3
    assert said == text.encode("utf-8", "backslashreplace").decode()


async def test_text_longer_than_the_log_reaches_a_reader_whole() -> None:
    broker = Broker(Limits(log_bytes=64 * 1024, max_event_bytes=16 * 1024))
    text = "".join(map(str, range(100_000)))

    messages = await told(begin(broker, saying(text)))

    assert "".join(message["content"] for message in messages[:-1]) == text
    assert messages[-1] == DONE


@pytest.mark.parametrize(
    "piece", [b"x" * 16_385, {"type": "x", "text": "x" * 16_385}, {"type": "done", "text": "x" * 16_385}]
)
async def test_piece_that_cannot_be_split_and_is_too_large_ends_the_answer_with_an_error(piece: Any) -> None:
    [message] = await told(begin(Broker(Limits(max_event_bytes=16 * 1024)), saying(piece)))

    assert (message["type"], set(message)) == ("error", {"type", "message"})
    assert message["message"].endswith(" bytes is over the limit of 16384.")


# What an agent does wrong


async def test_exception_is_told_without_its_trace_and_logged_with_it(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    answer = begin(broker, saying("a", ZeroDivisionError("by zero")))

    assert await told(answer) == [content("a"), failed("ZeroDivisionError: by zero")]
    assert answer.outcome == "error"
    assert "the agent failed in session s" in caplog.text
    assert "Traceback (most recent call last)" in caplog.text


async def test_denial_is_told_in_its_own_words_and_is_no_failure_to_log(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    answer = begin(broker, saying(ToolDenied("rm did not run: rejected by ada.", outcome="rejected")))

    assert await told(answer) == [failed("rm did not run: rejected by ada.")]
    assert caplog.text == ""


@pytest.mark.parametrize(
    "error", [InvalidInput("x" * 100_000), ValueError("x" * 100_000), InvalidInput("\ud800" * 9999)]
)
async def test_error_of_any_length_is_told_in_bounds(error: Exception) -> None:
    answer = begin(Broker(Limits(max_event_bytes=16 * 1024)), saying(error))

    [message] = await told(answer)
    assert message["type"] == "error"
    assert 1000 < len(json.dumps(message)) < 16 * 1024


async def test_what_is_no_exception_ends_the_answer_too(broker: Broker) -> None:
    class Exit(BaseException):
        pass

    answer = begin(broker, saying("a", Exit()))
    assert answer.task is not None
    [outcome] = await asyncio.gather(answer.task, return_exceptions=True)

    assert isinstance(outcome, Exit)
    assert await told(answer) == [content("a"), failed("The agent failed.")]


async def coroutine_function(turn: ChatTurn) -> str:
    return "text"


@pytest.mark.parametrize("agent", [coroutine_function, lambda turn: "text", lambda turn: None, lambda turn: ["text"]])
async def test_agent_that_is_no_generator_is_told_as_an_error(broker: Broker, agent: Any) -> None:
    assert await told(begin(broker, agent)) == [failed("TypeError: the agent is no async generator function")]


async def test_agent_that_fails_before_it_is_a_generator_is_told_as_an_error(broker: Broker) -> None:
    def agent(turn: ChatTurn) -> Any:
        raise LookupError("no model")

    assert await told(begin(broker, agent)) == [failed("LookupError: no model")]


async def test_agent_may_return_any_async_iterator(broker: Broker) -> None:
    class Pieces:
        def __init__(self, turn: ChatTurn) -> None:
            self._left = [turn.query, "b"]

        def __aiter__(self) -> Pieces:
            return self

        async def __anext__(self) -> str:
            if not self._left:
                raise StopAsyncIteration
            return self._left.pop(0)

    assert await told(begin(broker, Pieces, "a")) == [content("a"), content("b"), DONE]


@pytest.mark.parametrize("agent", [None, "agent", 5])
def test_chat_needs_an_agent(agent: Any) -> None:
    with pytest.raises(TypeError, match="an agent is an async generator function"):
        Chat(Broker(), agent)


async def test_session_can_be_used_on_after_a_failure(broker: Broker) -> None:
    async def agent(turn: ChatTurn) -> AsyncIterator[str]:
        if turn.query == "fail":
            raise ValueError
        yield "fine"

    chat = Chat(broker, agent)
    first = await told(chat.begin("s", "fail", asked_by="ada"))
    second = await told(chat.begin("s", "again", asked_by="ada"))

    assert first == [failed("ValueError")]
    assert second == [content("fine"), DONE]


# What an agent is given


async def test_turn_holds_the_query_the_session_and_the_attachments(broker: Broker) -> None:
    agent = Slow()
    answer = begin(broker, agent, "why?", attachments=[b"a", b"b"])
    await taken_once(answer)

    [turn] = agent.turns
    assert (turn.query, turn.session_id, turn.attachments, turn.history) == ("why?", "s", (b"a", b"b"), ())


async def taken_once(answer: Answer) -> list[Any]:
    with answer.reading() as reader:
        return await taken(reader, count=1)


async def test_history_is_the_earlier_turns_oldest_first_with_how_each_ended(broker: Broker) -> None:
    seen: list[ChatTurn] = []

    async def agent(turn: ChatTurn) -> AsyncIterator[Any]:
        seen.append(turn)
        yield "some "
        if turn.query == "fail":
            raise ValueError
        if turn.query == "wait":
            await asyncio.Event().wait()
        yield b"bytes are no text"
        yield {"type": "content", "content": "more"}
        yield {"type": "note", "content": "not said"}

    chat = Chat(broker, agent)
    for query in ("good", "fail", "wait"):
        answer = chat.begin("s", query, asked_by="ada")
        await taken_once(answer)
        if query == "wait":
            answer.cancel()
        await told(answer)
    await told(chat.begin("s", "last", asked_by="ada"))
    await told(chat.begin("another", "q", asked_by="ada"))

    assert [turn.history for turn in seen[3:]] == [
        (
            PastTurn("good", "some more", "done"),
            PastTurn("fail", "some ", "error"),
            PastTurn("wait", "some ", "cancelled"),
        ),
        (),
    ]


async def test_history_is_bounded_in_turns(broker: Broker) -> None:
    agent = Slow()
    agent.go_on.set()
    chat = Chat(broker, agent)
    for number in range(103):
        await told(chat.begin("s", str(number), asked_by="ada"))

    history = agent.turns[-1].history
    assert len(history) == 100
    assert (history[0].query, history[-1].query) == ("2", "101")


async def test_history_is_bounded_in_characters_and_keeps_the_last_turn() -> None:
    broker = Broker(Limits(log_bytes=16 * 1024, max_event_bytes=16 * 1024))
    histories = []

    async def agent(turn: ChatTurn) -> AsyncIterator[str]:
        histories.append([len(past.query) + len(past.answer) for past in turn.history])
        for _ in range(20):
            yield "x" * 1000

    chat = Chat(broker, agent)
    for query in ("a", "b", "c", "d", "e", "x" * 50_000, "f"):
        await told(chat.begin("s", query, asked_by="ada"))

    # An answer's text is kept up to a quarter of the log.
    assert histories == [[], [4097], [4097] * 2, [4097] * 3, [4097] * 3, [4097] * 3, [54_096]]


async def test_tools_are_bound_to_the_session_of_the_turn(broker: Broker) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    async def agent(turn: ChatTurn) -> AsyncIterator[str]:
        yield str(await turn.tools(add, risk_level="low")(1, 2))

    assert await told(begin(broker, agent)) == [content("3"), DONE]
    assert [event.type for event in broker.get("s").log.read_after(0)] == ["tool_status", "tool_result", "tool_status"]


# One at a time


async def test_second_query_while_the_agent_answers_is_refused_and_the_answer_goes_on(broker: Broker) -> None:
    agent = Slow()
    chat = Chat(broker, agent)
    answer = chat.begin("s", "first", asked_by="ada")

    with pytest.raises(AnswerRunning, match="still answering in this session"):
        chat.begin("s", "second", asked_by="ada")
    agent.go_on.set()
    assert await told(answer) == [content("began"), content("over"), DONE]
    assert len(agent.turns) == 1


async def test_other_session_is_answered_side_by_side(broker: Broker) -> None:
    agent = Slow()
    chat = Chat(broker, agent)
    answers = [chat.begin(session, "q", asked_by="ada") for session in ("a", "b")]
    for answer in answers:
        await taken_once(answer)

    assert sorted(turn.session_id for turn in agent.turns) == ["a", "b"]


async def test_same_query_of_the_same_caller_rejoins_the_running_answer(broker: Broker) -> None:
    agent = Slow()
    chat = Chat(broker, agent)
    answer = chat.begin("s", "q", asked_by="ada", rejoin=True)

    again = chat.begin("s", "q", asked_by="ada", rejoin=True)
    for other in ({"query": "p", "asked_by": "ada"}, {"query": "q", "asked_by": "bob"}):
        with pytest.raises(AnswerRunning):
            chat.begin("s", rejoin=True, **other)  # type: ignore[arg-type]

    assert again is answer


async def test_same_query_after_the_end_is_answered_anew(broker: Broker) -> None:
    chat = Chat(broker, saying("a"))
    first = chat.begin("s", "q", asked_by="ada", rejoin=True)
    await told(first)

    assert chat.begin("s", "q", asked_by="ada", rejoin=True) is not first


@pytest.mark.parametrize("session_id", ["", "a b", "x" * 129])
async def test_session_id_is_checked(broker: Broker, session_id: str) -> None:
    with pytest.raises(InvalidSessionId):
        Chat(broker, saying()).begin(session_id, "q", asked_by="ada")


async def test_nothing_begins_when_the_broker_is_closed_or_full() -> None:
    full, closed = Broker(Limits(max_sessions=1)), Broker()
    full.publish_nowait("other", "note")
    closed.close()

    with pytest.raises(LimitReached):
        begin(full, saying())
    with pytest.raises(BrokerClosed):
        begin(closed, saying())


# Stopping


async def test_cancelled_answer_ends_at_once_and_its_agent_is_cancelled(broker: Broker) -> None:
    agent = Slow()
    answer = begin(broker, agent)
    with answer.reading() as reader:
        await taken(reader, count=1)
        answer.cancel()
        rest = await taken(reader)
    await until(lambda: answer.task is None)

    assert rest == [CANCELLED]
    assert answer.outcome == "cancelled"
    assert agent.heard == ["q began", "q ended"]


async def test_second_cancel_and_one_after_the_end_change_nothing(broker: Broker) -> None:
    agent = Slow()
    answer = begin(broker, agent)
    await taken_once(answer)
    answer.cancel()
    answer.cancel()
    await until(lambda: answer.task is None)
    answer.cancel()

    assert await told(answer) == [content("began"), CANCELLED]


async def test_answer_that_is_cancelled_before_it_began_never_reaches_the_agent(broker: Broker) -> None:
    agent = Slow()
    answer = begin(broker, agent)
    answer.cancel()

    assert await told(answer) == [CANCELLED]
    await turns()
    assert agent.turns == []


async def test_agent_that_swallows_its_cancellation_is_heard_no_more(broker: Broker) -> None:
    closed = asyncio.Event()

    async def agent(turn: ChatTurn) -> AsyncIterator[str]:
        try:
            yield "a"
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            yield "I go on"
            yield "and on"
        finally:
            closed.set()

    answer = begin(broker, agent)
    await taken_once(answer)
    answer.cancel()
    await asyncio.wait_for(closed.wait(), 10)

    assert await told(answer) == [content("a"), CANCELLED]


async def test_agent_that_fails_while_it_is_stopped_is_logged_and_its_answer_stays_cancelled(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    async def agent(turn: ChatTurn) -> AsyncIterator[str]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            raise ValueError("while cleaning up")

    answer = begin(broker, agent)
    await taken_once(answer)
    answer.cancel()
    await until(lambda: answer.task is None)

    assert await told(answer) == [content("a"), CANCELLED]
    assert "while cleaning up" in caplog.text


async def test_work_that_was_cancelled_inside_the_agent_ends_its_answer(broker: Broker) -> None:
    answer = begin(broker, saying("a", asyncio.CancelledError()))

    assert await told(answer) == [content("a"), CANCELLED]


class Cleaning(Slow):
    """A slow agent that takes its time to clean up after a cancellation, until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = asyncio.Event()

    async def __call__(self, turn: ChatTurn) -> AsyncIterator[str]:
        try:
            async for piece in super().__call__(turn):
                yield piece
        finally:
            await self.may_end.wait()
            self.heard.append(f"{turn.query} cleaned")


async def test_next_turn_waits_until_the_one_before_has_really_ended(broker: Broker) -> None:
    agent = Cleaning()
    chat = Chat(broker, agent)
    first = chat.begin("s", "1", asked_by="ada")
    await taken_once(first)
    first.cancel()
    second = chat.begin("s", "2", asked_by="ada")
    await turns()
    heard = list(agent.heard)
    agent.may_end.set()
    await taken_once(second)

    assert heard == ["1 began", "1 ended"]
    assert agent.heard == ["1 began", "1 ended", "1 cleaned", "2 began"]


async def test_turn_waits_for_all_before_it_also_when_the_last_was_cancelled_while_it_waited(broker: Broker) -> None:
    agent = Cleaning()
    chat = Chat(broker, agent)
    first = chat.begin("s", "1", asked_by="ada")
    await taken_once(first)
    first.cancel()
    second = chat.begin("s", "2", asked_by="ada")
    await turns()
    second.cancel()
    await until(lambda: second.task is None)
    third = chat.begin("s", "3", asked_by="ada")
    await turns()
    agent.may_end.set()
    await taken_once(third)

    assert agent.heard == ["1 began", "1 ended", "1 cleaned", "3 began"]
    assert await told(second) == [CANCELLED]


async def test_turn_does_not_wait_for_ever_for_an_agent_that_never_ends(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier_service.chat._SETTLE_SECONDS", 0)
    agent = Cleaning()
    chat = Chat(broker, agent)
    first = chat.begin("s", "1", asked_by="ada")
    await taken_once(first)
    first.cancel()
    second = chat.begin("s", "2", asked_by="ada")

    assert await taken_once(second) == [content("began")]
    agent.may_end.set()


async def test_cancel_withdraws_the_permission_request_and_the_tool_does_not_run(broker: Broker) -> None:
    ran = []

    async def agent(turn: ChatTurn) -> AsyncIterator[str]:
        yield "I ask"
        await turn.tools(lambda: ran.append(1), tool_name="rm", risk_level="high")()
        yield "never"

    answer = begin(broker, agent)
    await until(lambda: broker.get("s").desk.pending)
    [request] = broker.get("s").desk.pending
    answer.cancel()
    await until(lambda: answer.task is None)

    assert (request.record.status, request.record.reason) == ("cancelled", "the call was cancelled")
    assert ran == []
    assert await told(answer) == [content("I ask"), CANCELLED]


async def test_request_of_the_agent_is_decided_in_its_session_and_then_it_goes_on(broker: Broker) -> None:
    async def agent(turn: ChatTurn) -> AsyncIterator[str]:
        yield str(await turn.tools(lambda: 42, tool_name="sum", risk_level="high")())

    answer = begin(broker, agent)
    await until(lambda: broker.get("s").desk.pending)
    broker.decide("s", Decision(approved=True), decided_by="ada")

    assert await told(answer) == [content("42"), DONE]


@pytest.mark.parametrize("end", [lambda broker: broker.end_session("s"), lambda broker: broker.close()])
async def test_session_that_ends_stops_its_agent_and_says_so(broker: Broker, end: Callable[[Broker], None]) -> None:
    agent = Slow()
    answer = begin(broker, agent)
    await taken_once(answer)
    end(broker)

    assert await told(answer) == [content("began"), SESSION_ENDED]
    await until(lambda: answer.task is None)
    assert agent.heard == ["q began", "q ended"]
    assert answer.outcome == "error"


async def test_session_that_ended_before_the_agent_began_never_reaches_it(broker: Broker) -> None:
    agent = Slow()
    answer = begin(broker, agent)
    broker.end_session("s")

    assert await told(answer) == [SESSION_ENDED]
    await turns()
    assert agent.turns == []


async def test_agent_may_end_its_own_session(broker: Broker) -> None:
    async def agent(turn: ChatTurn) -> AsyncIterator[str]:
        yield "bye"
        broker.end_session(turn.session_id)
        yield "never said"

    assert await told(begin(broker, agent)) == [content("bye"), SESSION_ENDED]


async def test_session_of_an_ended_one_begins_anew_without_history(broker: Broker) -> None:
    agent = Slow()
    agent.go_on.set()
    chat = Chat(broker, agent)
    await told(chat.begin("s", "1", asked_by="ada"))
    broker.end_session("s")
    await told(chat.begin("s", "2", asked_by="ada"))

    assert agent.turns[-1].history == ()


async def test_drain_waits_for_the_agents_that_were_stopped_no_longer_than_it_is_told(broker: Broker) -> None:
    agent = Cleaning()
    chat = Chat(broker, agent)
    await chat.drain(10)  # nobody to wait for
    await taken_once(chat.begin("s", "q", asked_by="ada"))
    broker.close()
    await chat.drain(0)
    before = list(agent.heard)
    agent.may_end.set()
    await chat.drain(10)

    assert before[-1] != "q cleaned"
    assert agent.heard[-1] == "q cleaned"


# Reading


async def test_agent_waits_for_a_reader_that_takes_its_time_and_loses_nothing() -> None:
    broker = Broker(Limits(log_bytes=16 * 1024, max_event_bytes=16 * 1024))
    said = 0

    async def agent(turn: ChatTurn) -> AsyncIterator[str]:
        nonlocal said
        for number in range(200):
            said += 1
            yield f"{number} " + "x" * 1000

    answer = begin(broker, agent)
    with answer.reading() as reader:
        await turns(500)
        ahead = said
        messages = await taken(reader)

    assert ahead < 20
    assert [message["content"].split()[0] for message in messages[:-1]] == [str(number) for number in range(200)]
    assert messages[-1] == DONE


async def test_agent_waits_for_the_slowest_of_its_readers(broker: Broker) -> None:
    answer = begin(broker, saying(*["x" * 100_000] * 50))
    with answer.reading() as slow, answer.reading() as fast:
        reading_fast = asyncio.create_task(taken(fast))
        await turns(500)
        ahead = answer.log.last_seq
        slowly, quickly = await taken(slow), await reading_fast

    assert ahead < 20
    assert slowly == quickly
    assert sum(len(message.get("content", "")) for message in slowly) == 5_000_000


async def test_small_pieces_are_not_lost_by_large_ones_behind_them(broker: Broker) -> None:
    """The bytes that a reader has not read count, not the number of pieces."""
    pieces = [*["x"] * 9000, *["y" * 30_000] * 60]
    answer = begin(broker, saying(*pieces))
    with answer.reading() as reader:
        await turns(10_000)
        messages = await taken(reader)

    assert "".join(message["content"] for message in messages[:-1]) == "".join(pieces)


async def test_number_of_small_pieces_that_a_reader_has_not_read_is_bounded_too(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier_service.chat._ANSWER_MESSAGES", 100)
    answer = begin(broker, saying(*["x"] * 500))
    with answer.reading() as reader:
        await turns(1000)
        ahead = answer.log.last_seq
        messages = await taken(reader)

    assert ahead == 51
    assert messages == [content("x")] * 500 + [DONE]


async def test_agent_goes_on_when_the_reader_it_waited_for_leaves() -> None:
    broker = Broker(Limits(log_bytes=16 * 1024, max_event_bytes=16 * 1024))
    answer = begin(broker, saying(*["x" * 1000] * 100))
    with answer.reading():
        await turns(500)
        waited = answer.outcome
    await until(lambda: answer.outcome)

    assert (waited, answer.outcome) == (None, "done")


async def test_agent_that_waits_for_a_reader_can_be_cancelled() -> None:
    broker = Broker(Limits(log_bytes=16 * 1024, max_event_bytes=16 * 1024))
    ended = []

    async def agent(turn: ChatTurn) -> AsyncIterator[str]:
        try:
            for _ in range(100):
                yield "x" * 1000
        finally:
            ended.append(turn.query)

    answer = begin(broker, agent)
    with answer.reading() as reader:
        await turns(500)
        answer.cancel()
        messages = await taken(reader)
    await until(lambda: answer.task is None)

    assert messages[-1] == CANCELLED
    assert ended == ["q"]


async def test_answer_that_nobody_reads_is_bounded_and_whoever_comes_late_is_told() -> None:
    broker = Broker(Limits(log_bytes=16 * 1024, max_event_bytes=16 * 1024))
    answer = begin(broker, saying(*["x" * 1000] * 100))
    await until(lambda: answer.outcome)

    assert answer.log.statistics().bytes <= 16 * 1024
    with answer.reading() as reader, pytest.raises(CursorLost):
        await reader.next()


async def test_reader_that_comes_back_to_the_oldest_place_of_a_full_log_loses_nothing() -> None:
    broker = Broker(Limits(log_bytes=16 * 1024, max_event_bytes=16 * 1024))
    go_on = asyncio.Event()

    async def agent(turn: ChatTurn) -> AsyncIterator[str]:
        for number in range(40):
            if number == 30:
                await go_on.wait()
            yield f"{number} " + "x" * 1000

    answer = begin(broker, agent)
    await until(lambda: answer.log.last_seq == 30)
    first = answer.log.first_seq
    with answer.reading(first - 1) as reader:
        go_on.set()
        await turns(100)
        messages = await taken(reader)

    assert [int(message["content"].split()[0]) for message in messages[:-1]] == list(range(first - 1, 40))


async def test_busy_agent_that_never_waits_lets_others_run(broker: Broker) -> None:
    answer = begin(broker, saying(*["x", ""] * 1000))
    await turns(20)

    assert answer.outcome is None
    assert 5 < answer.log.last_seq < 20


async def test_wait_for_the_next_message_may_end_before_there_is_one(broker: Broker) -> None:
    with begin(broker, Slow()).reading() as reader:
        await taken(reader, count=1)

        assert await reader.next(timeout_seconds=0) == ()
        assert not reader.over


async def test_reader_resumes_behind_its_place(broker: Broker) -> None:
    answer = begin(broker, saying("a", "b", "c"))
    await told(answer)
    cursor = answer.log.read_after(0)[1].id

    with answer.reading(answer.log.locate(cursor)) as reader:
        assert await taken(reader) == [content("c"), DONE]


# What is kept


async def test_answer_is_found_by_its_cursors_until_the_next_turn(broker: Broker) -> None:
    chat = Chat(broker, saying("a"))
    first = chat.begin("s", "q", asked_by="ada")
    await told(first)
    cursor = first.log.last_event_id

    assert chat.find(cursor) is chat.find(first.log.id_of(0)) is first
    del first
    await told(chat.begin("s", "q", asked_by="ada"))
    gc.collect()
    assert chat.find(cursor) is None


@pytest.mark.parametrize("cursor", ["", "-", "zzz-1", "earliest", "a" * 10_000])
async def test_cursor_of_no_answer_finds_none(broker: Broker, cursor: str) -> None:
    assert Chat(broker, saying()).find(cursor) is None


async def test_session_with_a_running_answer_does_not_expire(clock: Clock) -> None:
    broker = Broker(Limits(session_idle_seconds=10), clock=clock)
    agent = Slow()
    answer = begin(broker, agent)
    await taken_once(answer)

    clock.now += 1000
    broker.sweep()
    while_it_runs = len(broker.sessions)
    agent.go_on.set()
    await told(answer)
    await until(lambda: answer.task is None)
    clock.now += 9
    broker.sweep()
    just_after = len(broker.sessions)
    clock.now += 2
    broker.sweep()

    assert (while_it_runs, just_after, len(broker.sessions)) == (1, 1, 0)


@pytest.mark.parametrize("how", ["done", "cancelled", "failed", "session ended"])
async def test_session_that_is_gone_leaves_nothing_behind(broker: Broker, how: str) -> None:
    async def agent(turn: ChatTurn) -> AsyncIterator[str]:
        yield "a"
        if how == "failed":
            raise InvalidInput("no")
        if how != "done":
            await asyncio.Event().wait()

    chat = Chat(broker, agent)
    answer = chat.begin("s", "q", asked_by="ada")
    session, cursor = weakref.ref(broker.get("s")), answer.log.last_event_id
    await taken_once(answer)
    if how == "cancelled":
        answer.cancel()
    if how != "session ended":
        await told(answer)
    broker.end_session("s")
    await chat.drain(10)
    await turns()
    gone = weakref.ref(answer)
    del answer
    gc.collect()
    gc.collect()  # what the session kept goes when it does

    assert (session(), gone(), chat.find(cursor)) == (None, None, None)


# Loading an agent


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Write a module; its name comes back."""
    monkeypatch.syspath_prepend(tmp_path)
    names: list[str] = []

    def write(text: str) -> str:
        names.append(f"agents_of_test_{len(names)}")
        (tmp_path / f"{names[-1]}.py").write_text(text, encoding="utf-8")
        return names[-1]

    yield write
    for name in names:
        sys.modules.pop(name, None)


AGENTS = """
class Agents:
    @staticmethod
    async def inner(turn):
        yield "inner"

async def agent(turn):
    yield "outer"

number = 5
"""


@pytest.mark.parametrize(("name", "said"), [("agent", "outer"), ("Agents.inner", "inner")])
async def test_agent_is_loaded_by_its_name(broker: Broker, module: Callable[[str], str], name: str, said: str) -> None:
    agent = load_agent(f"{module(AGENTS)}:{name}")

    assert await told(begin(broker, agent)) == [content(said), DONE]


@pytest.mark.parametrize("place", ["", ":", "json", "json:", ":loads", "json.loads"])
def test_place_of_another_form_is_refused(place: str) -> None:
    with pytest.raises(InvalidInput, match=r"^setting agent: the form is package\.module:function$"):
        load_agent(place)


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("no_such_module:agent", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("json:agent", "AttributeError: module 'json' has no attribute 'agent'"),
        ("json:loads.", "AttributeError: 'function' object has no attribute ''"),
        (".json:loads", "TypeError: the 'package' argument is required to perform a relative import for '.json'"),
    ],
)
def test_agent_that_is_not_there_is_refused_by_its_name(place: str, why: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_agent(place)

    assert caught.value.message == f"setting agent: {place} cannot be loaded: {why}"


def test_module_that_fails_when_it_is_imported_is_refused(module: Callable[[str], str]) -> None:
    name = module("raise RuntimeError('no key')")

    with pytest.raises(InvalidInput, match=f"^setting agent: {name}:a cannot be loaded: RuntimeError: no key$"):
        load_agent(f"{name}:a")


def test_what_is_no_function_is_refused(module: Callable[[str], str]) -> None:
    with pytest.raises(InvalidInput, match=r"number is no function$"):
        load_agent(f"{module(AGENTS)}:number")
