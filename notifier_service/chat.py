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
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

from pydantic_core import from_json

from .calls.results import shown_error
from .calls.tool_wrapper import ToolWrapper
from .chat_keeper import KeptTurn, Outcome, PastTurn, Said, TurnKeeper, turns_of_before
from .core.broker import Broker
from .core.errors import AnswerRunning, InvalidInput, NotifierError, SessionNotFound
from .core.event_log import Event, EventLog
from .core.events import dump
from .core.journal import Change
from .core.limits import Limits
from .core.session import Session

__all__ = ["Agent", "Answer", "AnswerReader", "Chat", "ChatTurn", "PastTurn", "load_agent"]

_log = logging.getLogger("notifier_service.chat")

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
_RESTARTED = (
    "The service was restarted while the agent answered. The turn is not run again by itself: what the agent has done "
    "in it so far may have happened."
)

#: Readers were told messages that were not kept: their places are before this much higher one.
_LEAP = 1 << 20

#: In the journal: by the epoch of an answer's log, the session that it is in.
_KIND = "answer"


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
        self,
        query: str,
        session_id: str,
        limits: Limits,
        *,
        asked_by: str,
        remember: Callable[[PastTurn, TurnKeeper | None], None],
        epoch: str | None = None,
    ) -> None:
        self.query = query
        self.session_id = session_id
        self.asked_by = asked_by
        #: How it ended; None while it runs.
        self.outcome: Outcome | None = None
        self.log = EventLog(
            capacity=_ANSWER_MESSAGES,
            capacity_bytes=limits.log_bytes,
            max_event_bytes=limits.max_event_bytes,
            epoch=epoch,
        )
        #: Keeps it over a restart, if anything does.
        self.keeper: TurnKeeper | None = None
        #: A restart has cut it, and nobody has come back to hear that.
        self.is_untold = False
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

    async def run(
        self,
        agent: Agent,
        turn: ChatTurn,
        session: Session,
        before: Collection[asyncio.Task[None]],
        kept: Callable[[], Awaitable[None]],
    ) -> None:
        """Have the agent answer, once the turns ``before`` have really ended; stop it when the session ends.

        Where turns are kept over a restart, this one is when ``kept`` returns, and no agent hears of it before.
        """

        def look_whether_session_ended() -> None:
            if session.log.closed:
                self._stop("error", _error("The session has ended, or the service is shutting down."))

        session.log.listen(look_whether_session_ended)
        look_whether_session_ended()
        try:
            with session.working():
                if before:
                    await asyncio.wait(before, timeout=_SETTLE_SECONDS)
                if self.keeper is not None:
                    await kept()
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
        event = self.log.append(kind, encoded=message)
        if self.keeper is not None:
            self.keeper.say(event, first_seq=self.log.first_seq)
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
            self._append("end", message)
            self._close(outcome, "".join(self._text))

    def _close(self, outcome: Outcome, text: str, *, cut_at: int | None = None) -> None:
        self.outcome = outcome
        self.log.close()
        past = PastTurn(self.query, text, outcome)
        if self.keeper is not None:
            self.keeper.end(past, cut_at=cut_at)
        self._remember(past, self.keeper)

    def go_on(self, keeper: TurnKeeper, said: Sequence[Said]) -> None:
        """Be what is kept of an answer of an earlier run; one that ran is over, and says that a restart has cut it."""
        self.keeper, turn, log = keeper, keeper.turn, self.log
        last_seq = said[-1].seq if said else 0
        cut_at = last_seq if turn.outcome is None else turn.cut_at
        leaps = () if cut_at is None else ((cut_at, _LEAP),)
        log.go_on_behind((), 0, leaps)
        events = [Event(seq, log.id_of(seq), kind, message) for seq, kind, message in said]
        log.go_on_behind(_without_holes(events), last_seq, leaps)
        if turn.outcome is not None:
            self.outcome = turn.outcome
            log.close()
            return
        for _, _, message in said:
            with suppress(ValueError, KeyError, TypeError):  # most messages are not of text
                self._keep_text("" + from_json(message)["content"])
        self.is_untold = True
        self._append("end", _error(_RESTARTED))
        self._close("error", "".join(self._text), cut_at=cut_at)


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
        #: Turns that are over, and what keeps each of them.
        self.past: deque[tuple[PastTurn, TurnKeeper | None]] = deque()
        self.answer: Answer | None = None
        #: The agents at work: more than one while some that were stopped clean up.
        self.tasks: set[asyncio.Task[None]] = set()
        self.turns = 0
        self.is_looked_after = False
        self._capacity = limits.log_bytes
        self._characters = 0

    def remember(self, turn: PastTurn, keeper: TurnKeeper | None) -> None:
        self.past.append((turn, keeper))
        self._characters += _length(turn)
        while len(self.past) > _PAST_TURNS or (self._characters > self._capacity and len(self.past) > 1):
            dropped, keeper = self.past.popleft()
            self._characters -= _length(dropped)
            if keeper is not None:
                keeper.forget()


class Chat:
    """The chats of a broker's sessions, all with one agent; one answer at a time in each."""

    def __init__(self, broker: Broker, agent: Agent) -> None:
        if not callable(agent):
            raise TypeError("an agent is an async generator function")
        self._broker = broker
        self._agent = agent
        self._conversations: WeakKeyDictionary[Session, _Conversation] = WeakKeyDictionary()
        self._answers: WeakValueDictionary[str, Answer] = WeakValueDictionary()
        #: By the epochs of the answers of an earlier run, their sessions.
        self._of_before: dict[str, str] = {}
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
        conversation = self._conversation(session)
        before = conversation.answer
        is_running = before is not None and before.outcome is None
        if (
            before is not None
            and rejoin
            and (is_running or before.is_untold)
            and (before.query, before.asked_by) == (query, asked_by)
        ):
            before.is_untold = False
            return before
        if is_running:
            raise AnswerRunning("The agent is still answering in this session: wait, or cancel.")
        session.touch()
        session.has_more = True  # what was said before
        answer = self._answer(conversation, session, query, asked_by)
        self._keep(answer, before, conversation, session)
        turn = ChatTurn(
            query=query,
            session_id=session_id,
            history=tuple(past for past, _ in conversation.past),
            attachments=tuple(attachments),
            tools=functools.partial(ToolWrapper, session_id=session_id, broker=self._broker),
        )
        running = answer.run(self._agent, turn, session, tuple(conversation.tasks), self._broker.on_disk)
        task = asyncio.create_task(running)

        def settle(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            conversation.tasks.discard(task)
            answer.task = None

        answer.task = task
        self._tasks.add(task)
        conversation.tasks.add(task)
        task.add_done_callback(settle)
        return answer

    def find(self, cursor: str) -> Answer | None:
        """The answer whose log a cursor is of; the last of each session is kept while the session lives.

        Raises ``NotDurable`` where that of an earlier run cannot be read.
        """
        epoch = cursor.partition("-")[0]
        if epoch in self._of_before:
            with suppress(SessionNotFound):
                self._conversation(self._broker.get(self._of_before[epoch]))
        answer = self._answers.get(epoch)
        if answer is not None:
            answer.is_untold = False
        return answer

    def go_on(self) -> None:
        """Go on with the chats of an earlier run, where there is a journal, as soon as somebody comes back to them."""
        broker = self._broker
        there = {head.session_id for head in broker.dormant} | {session.session_id for session in broker.sessions}
        for change in broker.journal.kept(_KIND):
            session_id = (change.body or b"").decode(errors="replace")
            if session_id in there:
                self._of_before[change.name] = session_id
            else:
                broker.journal.note(change._replace(body=None))

    def _conversation(self, session: Session) -> _Conversation:
        conversation = self._conversations.get(session)
        if conversation is None:
            conversation = _Conversation(session.limits)
            if session.kept is not None:
                self._read(conversation, session, *turns_of_before(session.kept))
            self._conversations[session] = conversation
        return conversation

    def _read(
        self, conversation: _Conversation, session: Session, keepers: Sequence[TurnKeeper], said: Sequence[Said]
    ) -> None:
        """Go on with the turns of an earlier run."""
        for keeper in keepers:
            conversation.turns = keeper.turn.number
            session.has_more = True
            if keeper.turn.outcome is not None:
                conversation.remember(keeper.turn.past, keeper)
        if keepers:
            turn = keepers[-1].turn
            self._answer(conversation, session, turn.query, turn.asked_by, turn.epoch).go_on(keepers[-1], said)
            self._look_after(conversation, session)

    def _answer(
        self, conversation: _Conversation, session: Session, query: str, asked_by: str, epoch: str | None = None
    ) -> Answer:
        answer = Answer(
            query,
            session.session_id,
            session.limits,
            asked_by=asked_by,
            remember=conversation.remember,
            epoch=epoch,
        )
        conversation.answer = self._answers[answer.log.epoch] = answer
        return answer

    def _keep(self, answer: Answer, before: Answer | None, conversation: _Conversation, session: Session) -> None:
        """Have a turn that begins kept over a restart, in the place of what was said in the one before."""
        if session.kept is None:
            return
        conversation.turns += 1
        if before is not None and before.keeper is not None:
            before.keeper.forget_said()
            self._forget(before)
        epoch = answer.log.epoch
        answer.keeper = TurnKeeper(
            session.kept, KeptTurn(conversation.turns, answer.query, answer.asked_by, epoch, None, None, "")
        )
        answer.keeper.begin()
        self._broker.journal.note(Change(_KIND, epoch, answer.session_id.encode()))
        self._look_after(conversation, session)

    def _look_after(self, conversation: _Conversation, session: Session) -> None:
        """Have nobody come back to an answer over a restart when its session has ended before."""

        def look_whether_session_ended() -> None:
            if session.log.closed and not self._broker.closed and conversation.answer is not None:
                self._forget(conversation.answer)

        if not conversation.is_looked_after:
            conversation.is_looked_after = True
            session.log.listen(look_whether_session_ended)

    def _forget(self, answer: Answer) -> None:
        """Nobody comes back to this answer over a restart."""
        self._of_before.pop(answer.log.epoch, None)
        self._broker.journal.note(Change(_KIND, answer.log.epoch, None))

    async def drain(self, seconds: float) -> None:
        """Wait until the agents of answers that were stopped have ended."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)


def _error(message: str) -> bytes:
    return dump({"type": "error", "message": message[:_ERROR_CHARACTERS]})


def _without_holes(events: Sequence[Event]) -> Sequence[Event]:
    """The newest of which none is missing."""
    first = len(events)
    while first and (first == len(events) or events[first - 1].seq + 1 == events[first].seq):
        first -= 1
    return events[first:]


def _length(turn: PastTurn) -> int:
    return len(turn.query) + len(turn.answer)
