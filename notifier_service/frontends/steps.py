"""What a turn of the agent is made of, in order, whatever a page calls it: words, calls, questions, answers, an end."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from ..chat import Answer
from ..chat_keeper import Outcome
from ..core.event_log import Event
from ..core.events import parse_own
from ..core.session import Session

__all__ = ["Asked", "Called", "Custom", "Decided", "Ended", "Gave", "Progress", "Step", "Steps", "Text", "TextEnded"]


class Text(NamedTuple):
    """Words of the agent. Those of one ``number`` are one text, from ``begins`` to ``TextEnded``."""

    text: str
    number: int
    begins: bool


class TextEnded(NamedTuple):
    """Something else than words follows."""

    number: int


class Custom(NamedTuple):
    """A message of the agent's own: its ``type``, and the rest of it."""

    kind: str
    data: Any


class Called(NamedTuple):
    """A call of a tool, told once: when it begins or when a person is asked."""

    call_id: str
    tool_name: str
    parameters: Mapping[str, Any]
    title: str | None


class Asked(NamedTuple):
    """A person is asked about a call; ``record`` is the permission request (contract section 4)."""

    call_id: str
    record: Mapping[str, Any]


class Decided(NamedTuple):
    """The request of a call is settled."""

    call_id: str
    record: Mapping[str, Any]


class Progress(NamedTuple):
    """How far a call is."""

    call_id: str
    progress: float
    total: float | None
    message: str | None


class Gave(NamedTuple):
    """A call is over: with a ``result``, or an ``error``, or ``denied``, which says who or what denied it."""

    call_id: str
    tool_name: str
    result: Any
    error: str | None = None
    denied: str | None = None


class Ended(NamedTuple):
    """The turn is over; ``error`` says what went wrong."""

    outcome: Outcome
    error: str | None


Step: TypeAlias = Text | TextEnded | Custom | Called | Asked | Decided | Progress | Gave | Ended


class Steps:
    """Follows an answer, and its session from place ``seq``, and calls ``take`` with each step as it happens.

    What ran in the session before, and goes on, is not of the turn. ``take`` must neither wait nor raise.
    """

    def __init__(self, answer: Answer, session: Session, seq: int, take: Callable[[Step], None]) -> None:
        self._answer = answer
        self._session = session
        self._hear = take
        self._texts = 0
        self._is_in_text = False
        self._said = max(0, answer.log.first_seq - 1)
        self._seq = seq
        self._begun: set[str] = set()
        self._over: set[str] = set()
        self._undecided: dict[str, str] = {}
        session.log.listen(self._read_session)
        answer.log.listen(self._read_answer)
        self._read_session()
        self._read_answer()

    def _take(self, step: Step) -> None:
        """Hand a step on; one that is no words ends the text before it, unless it only tells how far a call is."""
        if self._is_in_text and not isinstance(step, Progress):
            self._is_in_text = False
            self._hear(TextEnded(self._texts))
        self._hear(step)

    def _words(self, text: str) -> None:
        begins, self._is_in_text = not self._is_in_text, True
        self._texts += begins
        self._hear(Text(text, self._texts, begins))

    def _close(self) -> None:
        self._session.log.unlisten(self._read_session)
        self._answer.log.unlisten(self._read_answer)

    def _read_session(self) -> None:
        for event in self._session.log.read_after(self._seq):
            self._seq = event.seq
            read = _READERS.get(event.type)
            if read is not None:
                read(self, parse_own(event.json)["data"])

    def _read_answer(self) -> None:
        for event in self._answer.log.read_after(self._said):
            self._said = event.seq
            self._say(event)

    def _say(self, event: Event) -> None:
        if event.type == "binary":
            self._take(Custom("binary", base64.b64encode(event.json).decode()))
            return
        message = parse_own(event.json)
        kind = str(message.pop("type"))
        if event.type == "end":
            # A call that outlives the turn has no place in it any more.
            self._close()
            error = message.get("message") if kind == "error" else None
            outcome = self._answer.outcome or ("cancelled" if message.get("cancelled") else "done")
            if kind == "error":
                outcome = "error"
            elif message.get("cancelled"):
                outcome = "cancelled"
            self._take(Ended(outcome, str(error) if kind == "error" else None))
        elif kind == "content" and isinstance(message.get("content"), str):
            if message["content"]:
                self._words(message["content"])
        else:
            self._take(Custom(kind, message))

    def _begins(self, call_id: str, tool_name: str, parameters: Any, title: Any) -> None:
        if call_id not in self._begun:
            self._begun.add(call_id)
            parameters = parameters if isinstance(parameters, Mapping) else {}
            self._take(Called(call_id, tool_name, parameters, title if isinstance(title, str) else None))

    def _ends(self, told: Mapping[str, Any], **how: Any) -> None:
        call_id = told.get("tool_call_id")
        if call_id in self._begun and call_id not in self._over:
            self._over.add(call_id)
            self._take(Gave(call_id, told["tool_name"], **{"result": None, **how}))

    def _status(self, told: Mapping[str, Any]) -> None:
        call_id, details, status = told.get("tool_call_id"), told.get("details") or {}, told["status"]
        if call_id is None:
            return
        if status in ("executing", "waiting_permission"):
            self._begins(call_id, told["tool_name"], details.get("parameters"), details.get("description"))
        elif status in ("denied", "cancelled"):
            reason = details.get("reason") or f"{told['tool_name']} was {status}."
            self._ends(told, denied=str(reason))
        elif status == "failed":
            self._ends(told, error=str(details.get("error") or "the call failed"))
        elif status == "completed":
            self._ends(told)

    def _result(self, told: Mapping[str, Any]) -> None:
        error = told.get("error")
        if told["success"]:
            self._ends(told, result=told.get("result"))
        else:
            self._ends(told, result=told.get("result"), error=str(error or "the call failed"))

    def _request(self, told: Mapping[str, Any]) -> None:
        call_id = told.get("tool_call_id") or told["request_id"]
        self._begins(call_id, told["tool_name"], told["parameters"], told.get("description"))
        self._undecided[told["request_id"]] = call_id
        self._take(Asked(call_id, told))

    def _decided(self, told: Mapping[str, Any]) -> None:
        call_id = self._undecided.pop(told["request_id"], None)
        if call_id is not None:
            self._take(Decided(call_id, told))

    def _progress(self, told: Mapping[str, Any]) -> None:
        if told["tool_call_id"] in self._begun:
            self._take(Progress(told["tool_call_id"], told["progress"], told.get("total"), told.get("message")))


_READERS: Mapping[str, Callable[[Steps, Mapping[str, Any]], None]] = {
    "tool_status": Steps._status,
    "tool_result": Steps._result,
    "tool_progress": Steps._progress,
    "permission_request": Steps._request,
    "permission_response_result": Steps._decided,
    "permission_cleared": Steps._decided,
}
