"""The chat's agent as AG-UI 1.0 runs: requests are interrupts, and a resume answers them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..core.errors import InvalidInput, NotifierError
from ..core.events import dump
from ..core.question import Decision
from ..frontends.ag_ui import AgUiEvents, interrupts_of
from ..frontends.page_turn import PageTurn
from .page_stream import (
    PageTurns,
    check_decisions,
    decide_for_page,
    page_decision,
    settled_otherwise,
    stream_end,
    stream_turn,
)
from .request import Call, Query

__all__ = ["AG_UI", "AgUiBody", "run"]

AG_UI = web.AppKey("ag_ui", PageTurns)

Text = Annotated[str, Field(min_length=1, max_length=1024)]


class _Resume(BaseModel):
    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore", populate_by_name=True)

    interrupt_id: Text = Field(alias="interruptId")
    status: Literal["resolved", "cancelled"]
    payload: JsonValue = None


class AgUiBody(BaseModel):
    """A ``RunAgentInput``; of its ``messages`` the last one of the user counts, the agent knows those before."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore", populate_by_name=True)

    thread_id: Text = Field(alias="threadId")
    run_id: Text = Field(alias="runId")
    messages: list[dict[str, JsonValue]] = Field(default_factory=list)
    resume: list[_Resume] | None = None


async def run(call: Call[Query, AgUiBody]) -> web.StreamResponse:
    """Run the agent until it ends, or until a person is asked; a ``resume`` goes on with it."""
    about = {"threadId": call.body.thread_id, "runId": call.body.run_id}
    started = dump({"type": "RUN_STARTED", **about, "protocolVersion": "1.0"})
    turns = call.request.config_dict[AG_UI]
    try:
        turn = turns.find(call)
        if turn is not None and turn.thread != call.body.thread_id:
            turn = None  # of another conversation
        seq = 0
        if call.body.resume:
            turn, seq = await _resumed(call, turn), turn.left_at if turn is not None else 0
        elif turn is not None and turn.waiting and not turn.log.closed:
            raise InvalidInput("resume: every open interrupt is to be answered first")
        else:
            call.spend("publish_rate")
            turn = turns.begin(call, _said(call.body.messages), [], lambda answer: AgUiEvents(answer.log.epoch))
            turn.thread = call.body.thread_id
    except NotifierError as error:
        failed = dump({"type": "RUN_ERROR", "message": error.message, "code": error.code})
        return await stream_end(call, (started, failed))
    return await stream_turn(
        call,
        turn,
        max(seq, turn.log.first_seq - 1),
        headers={},
        first=(started,),
        leaves=lambda turn: _finished(about, {"type": "interrupt", "interrupts": interrupts_of(turn)}),
        ends=lambda turn: _ended(about, turn),
        failed=_failed,
    )


async def _resumed(call: Call[Query, AgUiBody], turn: PageTurn | None) -> PageTurn:
    """Answer the interrupts. Raises ``NotifierError`` for one that cannot be, and for one that is left out."""
    entries = call.body.resume or []
    if turn is None:
        raise InvalidInput("resume: nothing of this thread waits")
    left_out = turn.waiting.keys() - {entry.interrupt_id for entry in entries}
    if left_out:
        raise InvalidInput("resume: every open interrupt is to be answered")
    decisions = [_decision(entry) for entry in entries]
    check_decisions(call, turn, decisions)
    for decision in decisions:
        if not await decide_for_page(call, decision):
            settled_otherwise(call, decision)
    return turn


def _decision(entry: _Resume) -> Decision:
    """``cancelled`` is a no: nobody has said yes."""
    if entry.status == "cancelled":
        nobody = "the page was left without an answer"
        return page_decision("resume", request_id=entry.interrupt_id, approved=False, reason=nobody)
    payload = entry.payload if isinstance(entry.payload, Mapping) else {}
    approved, edited, reason = payload.get("approved"), payload.get("editedArgs"), payload.get("reason")
    if not isinstance(approved, bool) or not isinstance(edited, dict | None) or not isinstance(reason, str | None):
        raise InvalidInput("resume: a payload has approved true or false, and may have editedArgs and a reason")
    return page_decision(
        "resume",
        request_id=entry.interrupt_id,
        approved=approved,
        parameters=edited if approved else None,
        reason=reason or None,
    )


def _said(messages: Sequence[Mapping[str, JsonValue]]) -> str:
    for message in reversed(messages):
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, list):
                texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
                content = "\n".join(text for text in texts if isinstance(text, str))
            if isinstance(content, str) and content:
                return content
            break
    raise InvalidInput("messages: the last message of a user has no text")


def _finished(about: Mapping[str, str], outcome: Mapping[str, Any]) -> Iterator[bytes]:
    yield dump({"type": "RUN_FINISHED", **about, "outcome": dict(outcome)})


def _ended(about: Mapping[str, str], turn: PageTurn) -> Iterator[bytes]:
    if turn.error is not None:
        yield from _failed(turn.error)
        return
    cancelled = turn.answer.outcome == "cancelled"
    yield from _finished(about, {"type": "cancelled" if cancelled else "success"})


def _failed(text: str) -> Iterator[bytes]:
    yield dump({"type": "RUN_ERROR", "message": text})
