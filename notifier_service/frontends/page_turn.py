"""A turn as one protocol says it: a log that pages read from its beginning, or go on in from where they left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from ..chat import Answer
from ..core.event_log import EventLog
from ..core.limits import Limits
from ..core.session import Session
from .steps import Asked, Called, Decided, Ended, Gave, Step, Steps

__all__ = ["PageTurn", "Words"]

#: An answer has so many messages at most, and a message is so many pieces here.
_PIECES = 60_000
#: What a piece says beside what it is a piece of.
_ENVELOPE_BYTES = 4096


class Words(Protocol):
    """How a protocol says a turn."""

    def begin(self) -> Iterator[bytes]:
        """What comes before the first step."""

    def say(self, step: Step) -> Iterator[bytes]:
        """A step."""


class PageTurn:
    """One turn, said as it happens, whether or not a page reads it."""

    def __init__(self, answer: Answer, session: Session, seq: int, words: Words, limits: Limits) -> None:
        self.answer = answer
        #: Bounded as the answer's own log; words around a piece take room, too.
        self.log = EventLog(
            capacity=_PIECES,
            capacity_bytes=4 * limits.log_bytes,
            max_event_bytes=2 * limits.max_event_bytes + _ENVELOPE_BYTES,
        )
        #: The requests that wait, by their ids.
        self.waiting: dict[str, Mapping[str, Any]] = {}
        #: All that were asked in it, also those that nobody remembers any more.
        self.asked: set[str] = set()
        #: What the page calls the conversation, where it has a name for it.
        self.thread: str | None = None
        #: What the turn ended with, where something went wrong.
        self.error: str | None = None
        #: Where a page left to have its person answer.
        self.left_at = 0
        self._words = words
        self._running: set[str] = set()
        for piece in words.begin():
            self.log.append("piece", encoded=piece)
        Steps(answer, session, seq, self._take)

    @property
    def only_waits(self) -> bool:
        """Whether nothing happens until somebody answers."""
        return bool(self.waiting) and not self._running

    def _take(self, step: Step) -> None:
        if isinstance(step, Called):
            self._running.add(step.call_id)
        elif isinstance(step, Asked):
            self._running.discard(step.call_id)
            self.waiting[step.record["request_id"]] = step.record
            self.asked.add(step.record["request_id"])
        elif isinstance(step, Decided):
            self.waiting.pop(step.record["request_id"], None)
        elif isinstance(step, Gave):
            self._running.discard(step.call_id)
        for piece in self._words.say(step):
            self.log.append("piece", encoded=piece)
        if isinstance(step, Ended):
            self.error = step.error
            self.waiting.clear()
            self.log.close()
