"""Chat: an agent's answers as they come, with its tools announced and asked about in the same session.

Each answer has a bounded log of its own, so that a reader who drops comes back to its place without the agent noticing.
The messages are those of the reference documents: ``content``, ``done``, ``error`` (contract section 6).
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

from .calls.results import shown_error
from .calls.tool_wrapper import ToolWrapper
from .core.broker import Broker
from .core.errors import AnswerRunning, InvalidInput, NotifierError
from .core.event_log import Event, EventLog
from .core.events import dump
from .core.limits import Limits
from .core.session import Session

__all__ = ["Agent", "Answer", "AnswerReader", "Chat", "ChatTurn", "PastTurn", "load_agent"]

_log = logging.getLogger("notifier_service.chat")

Outcome: TypeAlias = Literal["done", "cancelled", "error"]

#: Messages of an answer that are kept; a word is one message, so that events' limit would be too small.
_ANSWER_MESSAGES = 20_000

#: What one turn of a reader takes from the log.
_SLICE_BYTES = 64 * 1024

#: Earlier turns that an agent is told; within ``log_bytes`` all together.
_PAST_TURNS = 100

#: How long a new turn waits until those before, which were cancelled, have really ended.
_SETTLE_SECONDS = 10.0

#: What is told of an error; it fits the smallest ``max_event_bytes``.
_ERROR_CHARACTERS = 2000

_DONE = b'{"type":"done"}'
_CANCELLED = b'{"type":"done","cancelled":true}'


class PastTurn(NamedTuple):
    """An earlier turn of the same session. ``answer`` is its text, as far as it went."""

    query: str
    answer: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """One query of a person, and what the agent needs to answer it."""

    query: str
    session_id: str
    #: Oldest first; bounded, so the oldest may be missing.
    history: Sequence[PastTurn]
    #: Binary frames that came before the query.
    attachments: Sequence[bytes]
    #: ``ToolWrapper`` bound to this session: ``search = turn.tools(search, risk_level="low")``.
    tools: Callable[..., ToolWrapper]


#: An async generator function of one ``ChatTurn``: it yields text, bytes, or JSON objects with a ``type``.
Agent: TypeAlias = Callable[[ChatTurn], AsyncIterator[str | bytes | Mapping[str, Any]]]


def load_agent(place: str) -> Agent:
    """Return the agent that ``package.module:function`` names, or raise ``InvalidInput`` that says what is wrong."""
    module_name, _, name = place.partition(":")
    if not module_name or not name:
        raise InvalidInput("setting agent: the form is package.module:function")
    try:
        found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:
        # Whatever a module of the user's does when it is imported.
        raise InvalidInput(f"setting agent: {place} cannot be loaded: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise InvalidInput(f"setting agent: {place} is no function")
    agent: Agent = found
    return agent


class Answer:
    """One running or finished answer: its messages, and a way to stop it."""

    def __init__(
        self, query: str, session_id: str, limits: Limits, *, asked_by: str, remember: Callable[[PastTurn], None]
    ) -> None:
        self.query = query
        self.session_id = session_id
        self.asked_by = asked_by
        #: How it ended; None while it runs.
        self.outcome: Outcome | None = None
        self.log = EventLog(
            capacity=_ANSWER_MESSAGES, capacity_bytes=limits.log_bytes, max_event_bytes=limits.max_event_bytes
        )
        self.readers: set[AnswerReader] = set()
        #: The agent at work, which may outlive its answer when it was stopped.
        self.task: asyncio.Task[None] | None = None
        self._remember = remember
        self._text: list[str] = []
        self._room_for_text = limits.log_bytes // 4
        # A character is at most seven bytes of JSON: half a surrogate pair, escaped.
        self._piece_characters = (limits.max_event_bytes - 64) // 7
        self._reader_went_on = asyncio.Event()

    def cancel(self) -> None:
        """Stop: readers hear ``done`` with ``cancelled`` now, and the agent's work is cancelled, tools included."""
        self._stop("cancelled", _CANCELLED)

    @contextmanager
    def reading(self, seq: int = 0) -> Iterator[AnswerReader]:
        """Read behind place ``seq``; while somebody reads, the agent does not run away from them."""
        reader = AnswerReader(self, seq)
        self.readers.add(reader)
        try:
            yield reader
        finally:
            self.readers.discard(reader)
            self._reader_went_on.set()

    async def run(self, agent: Agent, turn: ChatTurn, session: Session, before: Collection[asyncio.Task[None]]) -> None:
        """Have the agent answer, once the turns ``before`` have really ended; stop it when the session ends."""

        def look_whether_session_ended() -> None:
            if session.log.closed:
                self._stop("error", _error("The session has ended, or the service is shutting down."))

        session.log.listen(look_whether_session_ended)
        look_whether_session_ended()
        try:
            with session.working():
                if before:
                    await asyncio.wait(before, timeout=_SETTLE_SECONDS)
                if self.outcome is None:
                    await self._relay(agent(turn))
                self._end("done", _DONE)
        except asyncio.CancelledError:
            self._end("cancelled", _CANCELLED)
            raise
        except Exception as error:
            if isinstance(error, NotifierError):
                message = error.message
            else:
                message = shown_error(error)
                _log.exception("the agent failed in session %s", self.session_id)
            self._end("error", _error(message))
        finally:
            session.log.unlisten(look_whether_session_ended)
            self._end("error", _error("The agent failed."))  # by what is no Exception

    async def _relay(self, stream: AsyncIterator[str | bytes | Mapping[str, Any]]) -> None:
        """Say what the agent yields, until one of them ends the answer."""
        if not hasattr(stream, "__aiter__"):
            if isinstance(stream, Coroutine):
                stream.close()  # else Python warns that nobody awaited it
            raise TypeError("the agent is no async generator function")
        try:
            async for piece in stream:
                if self.outcome is None:
                    await self._keep_pace()
                    await self._say(piece)
                if self.outcome is not None:
                    return
        finally:
            # The agent's own clean-up, when it was not the agent that ended.
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    async def _say(self, piece: str | bytes | Mapping[str, Any]) -> None:
        if isinstance(piece, str):
            size = self._piece_characters
            for start in range(0, len(piece), size):
                if start:
                    await self._keep_pace()
                part = piece[start : start + size]
                self._append("content", dump({"type": "content", "content": part}))
                self._keep_text(part)
        elif isinstance(piece, bytes | bytearray | memoryview):
            self._append("binary", bytes(piece))
        elif isinstance(piece, Mapping) and isinstance(piece.get("type"), str):
            message = dump(dict(piece))
            if piece["type"] in ("done", "error"):
                self._end("done" if piece["type"] == "done" else "error", message)
                return
            if piece["type"] == "content" and isinstance(piece.get("content"), str):
                self._keep_text(piece["content"])
            self._append("message", message)
        else:
            raise TypeError(f"an agent yields text, bytes or objects with a type, not {type(piece).__name__}")

    def _append(self, kind: str, message: bytes) -> None:
        self.log.append(kind, encoded=message)
        for reader in self.readers:
            reader.unread_bytes += len(message)

    def _keep_text(self, text: str) -> None:
        if self._room_for_text:
            kept = text[: self._room_for_text]
            self._room_for_text -= len(kept)
            self._text.append(kept)

    async def _keep_pace(self) -> None:
        """Let others run; wait for readers of whom the log would run away."""
        await asyncio.sleep(0)
        while self._outruns_a_reader():
            self._reader_went_on.clear()
            await self._reader_went_on.wait()

    def _outruns_a_reader(self) -> bool:
        # Half of the log is for what they have not read, the rest for those who drop and come back.
        log = self.log
        room = min(log.capacity_bytes // 2, log.capacity_bytes - log.max_event_bytes)
        return any(
            reader.unread_bytes > room or log.last_seq - reader.seq > log.capacity // 2 for reader in self.readers
        )

    def _stop(self, outcome: Outcome, message: bytes) -> None:
        self._end(outcome, message)
        if self.task is not None:
            self.task.cancel()

    def _end(self, outcome: Outcome, message: bytes) -> None:
        if self.outcome is None:
            self.log.append("end", encoded=message)
            self.outcome = outcome
            self.log.close()
            self._remember(PastTurn(self.query, "".join(self._text), outcome))


class AnswerReader:
    """A place in an answer's log."""

    def __init__(self, answer: Answer, seq: int) -> None:
        self.seq = seq
        self.unread_bytes = sum(len(event.json) for event in answer.log.read_after(max(seq, answer.log.first_seq - 1)))
        self._answer = answer

    async def next(self, *, timeout_seconds: float | None = None) -> Sequence[Event]:
        """Wait for what comes next; nothing when the time is over, or the answer (``over``). Raises ``CursorLost``.

        The event types are ``content``, ``binary`` (whose ``json`` are the bytes), ``message`` and ``end``.
        """
        log = self._answer.log
        await log.wait_after(self.seq, timeout_seconds=timeout_seconds)
        events = log.read_after(self.seq, max_bytes=_SLICE_BYTES)
        for event in events:
            self.seq = event.seq
            self.unread_bytes -= len(event.json)
        self._answer._reader_went_on.set()
        return events

    @property
    def over(self) -> bool:
        """Whether everything was read, the end included."""
        return self._answer.log.closed and self.seq >= self._answer.log.last_seq


class _Conversation:
    """What is kept of the chat in one session."""

    def __init__(self, limits: Limits) -> None:
        self.past: deque[PastTurn] = deque(maxlen=_PAST_TURNS)
        self.answer: Answer | None = None
        #: The agents at work: more than one while some that were stopped clean up.
        self.tasks: set[asyncio.Task[None]] = set()
        self._capacity = limits.log_bytes
        self._characters = 0

    def remember(self, turn: PastTurn) -> None:
        if len(self.past) == self.past.maxlen:
            self._characters -= _length(self.past[0])
        self.past.append(turn)
        self._characters += _length(turn)
        while self._characters > self._capacity and len(self.past) > 1:
            self._characters -= _length(self.past.popleft())


class Chat:
    """The chats of a broker's sessions, all with one agent; one answer at a time in each."""

    def __init__(self, broker: Broker, agent: Agent) -> None:
        if not callable(agent):
            raise TypeError("an agent is an async generator function")
        self._broker = broker
        self._agent = agent
        self._conversations: WeakKeyDictionary[Session, _Conversation] = WeakKeyDictionary()
        self._answers: WeakValueDictionary[str, Answer] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(
        self, session_id: str, query: str, *, asked_by: str, attachments: Sequence[bytes] = (), rejoin: bool = False
    ) -> Answer:
        """Have the agent answer.

        Raises ``AnswerRunning`` while it answers in this session, and what ``Broker.open`` does. With ``rejoin`` the
        same query by the same caller gets the running answer: a connection that dropped before it heard of its place
        comes back so.
        """
        session = self._broker.open(session_id, opened_by=asked_by)
        conversation = self._conversations.get(session)
        if conversation is None:
            conversation = self._conversations[session] = _Conversation(session.limits)
        running = conversation.answer
        if running is not None and running.outcome is None:
            if rejoin and (running.query, running.asked_by) == (query, asked_by):
                return running
            raise AnswerRunning("The agent is still answering in this session: wait, or cancel.")
        session.touch()
        session.has_more = True  # what was said before
        answer = Answer(query, session_id, session.limits, asked_by=asked_by, remember=conversation.remember)
        turn = ChatTurn(
            query=query,
            session_id=session_id,
            history=tuple(conversation.past),
            attachments=tuple(attachments),
            tools=functools.partial(ToolWrapper, session_id=session_id, broker=self._broker),
        )
        task = asyncio.create_task(answer.run(self._agent, turn, session, tuple(conversation.tasks)))

        def settle(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            conversation.tasks.discard(task)
            answer.task = None

        answer.task = task
        self._tasks.add(task)
        conversation.tasks.add(task)
        task.add_done_callback(settle)
        conversation.answer = answer
        self._answers[answer.log.epoch] = answer
        return answer

    def find(self, cursor: str) -> Answer | None:
        """The answer whose log a cursor is of; the last of each session is kept while the session lives."""
        return self._answers.get(cursor.partition("-")[0])

    async def drain(self, seconds: float) -> None:
        """Wait until the agents of answers that were stopped have ended."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)


def _error(message: str) -> bytes:
    return dump({"type": "error", "message": message[:_ERROR_CHARACTERS]})


def _length(turn: PastTurn) -> int:
    return len(turn.query) + len(turn.answer)
