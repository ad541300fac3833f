"""Keeps the turns of a chat, and what the last answer has said, over a restart (contract section 15).

A turn is kept before the agent hears of it. What is said in it is kept a moment later, many messages in one piece.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from pydantic_core import from_json

from .core.event_log import Event
from .core.events import dump
from .core.journal import KeptSession

__all__ = ["KeptTurn", "Outcome", "PastTurn", "Said", "TurnKeeper", "turns_of_before"]

Outcome: TypeAlias = Literal["done", "cancelled", "error"]

#: Of what is said between two of these a killed service may have lost all.
_SECONDS = 0.1
_KINDS = ("content", "message", "binary", "end")

_log = logging.getLogger("notifier_service.chat")


class PastTurn(NamedTuple):
    """An earlier turn of the same session. ``answer`` is its text, as far as it went."""

    query: str
    answer: str
    outcome: Outcome


class Said(NamedTuple):
    """A message of an answer at its place: ``content``, ``message``, ``binary`` or ``end``."""

    seq: int
    kind: str
    message: bytes


class KeptTurn(NamedTuple):
    """A turn, as far as it is kept. ``epoch`` is that of its answer's log; ``cut_at`` is where a restart has cut it."""

    number: int
    query: str
    asked_by: str
    epoch: str
    cut_at: int | None
    #: None for one that ran when the service ended.
    outcome: Outcome | None
    answer: str

    @property
    def past(self) -> PastTurn:
        """The turn, for the agent."""
        return PastTurn(self.query, self.answer, self.outcome or "error")


class TurnKeeper:
    """Keeps one turn in the session's part of the journal, and its messages until ``forget_said``."""

    def __init__(self, kept: KeptSession, turn: KeptTurn, pieces: Sequence[tuple[int, int]] = ()) -> None:
        self._kept = kept
        self.turn = turn
        self._unkept: list[Said] = []
        #: The first and the last place of each piece that is kept.
        self._pieces = deque(pieces)
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """The agent is about to be asked."""
        self._kept.keep(_turn_name(self.turn.number), dump(self.turn[1:]))

    def say(self, event: Event, *, first_seq: int) -> None:
        """Something was said; what stands before ``first_seq`` nobody needs any more."""
        self._unkept.append(Said(event.seq, event.type, event.json))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SECONDS, self._keep_said)
        while self._pieces and self._pieces[0][1] < first_seq:
            self._kept.keep(_said_name(self._pieces.popleft()[0]), None)

    def end(self, past: PastTurn, *, cut_at: int | None = None) -> None:
        """The answer is over."""
        self._keep_said()
        self.turn = self.turn._replace(outcome=past.outcome, answer=past.answer, cut_at=cut_at)
        self.begin()

    def forget_said(self) -> None:
        """Another answer has begun: nobody comes back to this one."""
        self._keep_said()
        for first, _ in self._pieces:
            self._kept.keep(_said_name(first), None)

    def forget(self) -> None:
        """No agent is told of this turn any more."""
        self._kept.keep(_turn_name(self.turn.number), None)

    def _keep_said(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._unkept:
            said, self._unkept = self._unkept, []
            self._pieces.append((said[0].seq, said[-1].seq))
            self._kept.keep(_said_name(said[0].seq), b"\n".join(map(_line, said)))


def turns_of_before(kept: KeptSession) -> tuple[list[TurnKeeper], list[Said]]:
    """The turns of an earlier run, the oldest first, and what was said in the last one. Raises ``NotDurable``."""
    turns: list[KeptTurn] = []
    pieces: list[list[Said]] = []
    for name, body in kept.beside():
        kind, _, number = name.partition("/")
        try:
            if kind == "turn":
                turns.append(_turn(int(number), from_json(body)))
            elif kind == "said":
                pieces.append([_said(seq, line) for seq, line in enumerate(body.split(b"\n"), int(number))])
        except (ValueError, TypeError, LookupError):
            _log.exception("a part of a chat cannot be read from the journal, and is left out")
            kept.keep(name, None)
    keepers = [TurnKeeper(kept, turn) for turn in turns]
    if keepers:
        keepers[-1] = TurnKeeper(kept, turns[-1], [(piece[0].seq, piece[-1].seq) for piece in pieces])
    return keepers, [said for piece in pieces for said in piece]


def _turn_name(number: int) -> str:
    return f"turn/{number:012}"


def _said_name(first_seq: int) -> str:
    return f"said/{first_seq:012}"


def _turn(number: int, told: Sequence[Any]) -> KeptTurn:
    turn = KeptTurn(number, *told)
    if not all(isinstance(text, str) for text in (turn.query, turn.asked_by, turn.epoch, turn.answer)):
        raise TypeError("this is no turn")
    return turn


def _line(said: Said) -> bytes:
    message = base64.b64encode(said.message) if said.kind == "binary" else said.message
    return said.kind[:1].encode() + message


def _said(seq: int, line: bytes) -> Said:
    [kind] = [kind for kind in _KINDS if kind[:1].encode() == line[:1]]
    return Said(seq, kind, base64.b64decode(line[1:]) if kind == "binary" else line[1:])
