"""The chat's agent for pages with the Vercel AI SDK: a UI message stream with tool approvals."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..core.errors import InvalidInput, NotFound, RequestCancelled, RequestExpired, TooLarge
from ..core.events import dump
from ..core.question import Decision
from ..frontends.ai_sdk import AiSdkChunks, is_known
from ..frontends.page_turn import PageTurn
from .answers import reply
from .page_stream import PageTurns, check_decisions, decide_for_page, page_decision, stream_turn
from .request import Call, Query

__all__ = ["AI_SDK", "AiSdkBody", "AiSdkQuery", "abort", "respond", "resume"]

AI_SDK = web.AppKey("ai_sdk", PageTurns)

_HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}
_DONE = b"data: [DONE]\n\n"
_MAX_ATTACHMENTS = 100


class AiSdkQuery(Query):
    """``hold=1`` keeps the stream open while a person is asked, for pages that do not answer themselves.

    ``sdk=7`` has the page hear what somebody else has answered: versions before take that for an error.
    """

    hold: bool = False
    sdk: int = 6


class AiSdkBody(BaseModel):
    """What the SDK's transport sends; of ``messages`` the last one counts, the agent knows those before."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")

    messages: Annotated[list[dict[str, JsonValue]], Field(min_length=1)]
    trigger: str = "submit-message"


async def respond(call: Call[AiSdkQuery, AiSdkBody]) -> web.StreamResponse:
    """Have the agent answer the last message, or go on as its approvals say.

    The page's copy of what a tool gets is never used: what runs is what the service has kept.
    """
    turns = call.request.config_dict[AI_SDK]
    last = call.body.messages[-1]
    if last.get("role") == "assistant" and call.body.trigger != "regenerate-message":
        turn = turns.find(call)
        decisions = list(_decisions(last))
        if turn is not None:
            check_decisions(call, turn, decisions)
        for decision in decisions:
            with suppress(RequestExpired, RequestCancelled):  # the stream says what became of it
                await decide_for_page(call, decision)
        if turn is None:
            raise NotFound("This answer is no longer held.")
        return await _stream(call, turn, turn.left_at, goes_on=True)
    message = next((one for one in reversed(call.body.messages) if one.get("role") == "user"), None)
    if message is None:
        raise InvalidInput("messages: one of a user is needed")
    call.spend("publish_rate")
    query, attachments = _said(message, call.settings.max_body_bytes)
    turn = turns.begin(call, query, attachments, lambda answer: AiSdkChunks(f"msg-{answer.log.epoch}"))
    return await _stream(call, turn, 0)


async def resume(call: Call[AiSdkQuery, None]) -> web.StreamResponse:
    """The answer that runs, from its beginning; 204 when none does."""
    turn = call.request.config_dict[AI_SDK].find(call)
    if turn is None or turn.log.closed:
        return web.Response(status=204)
    return await _stream(call, turn, 0)


async def abort(call: Call[Query, None]) -> web.Response:
    """Stop the answer that runs. A page that only leaves does not: it may come back."""
    turn = call.request.config_dict[AI_SDK].find(call)
    if turn is None or turn.log.closed:
        raise NotFound("No answer is running.")
    turn.answer.cancel()
    return reply({"aborted": True})


async def _stream(
    call: Call[AiSdkQuery, Any], turn: PageTurn, seq: int, *, goes_on: bool = False
) -> web.StreamResponse:
    return await stream_turn(
        call,
        turn,
        max(seq, turn.log.first_seq - 1),
        headers=_HEADERS,
        first=(dump({"type": "start"}),) if goes_on else (),
        leaves=None if call.query.hold else _leaves,
        last=_DONE,
        knows=lambda chunk: is_known(chunk, call.query.sdk),
        failed=_failed,
    )


def _leaves(turn: PageTurn) -> Iterator[bytes]:
    yield dump({"type": "finish-step"})
    yield dump({"type": "finish", "finishReason": "tool-calls"})


def _failed(text: str) -> Iterator[bytes]:
    yield dump({"type": "error", "errorText": text})


def _decisions(message: Mapping[str, JsonValue]) -> Iterator[Decision]:
    """What the page's person has answered; of what else the message says nothing is believed."""
    for part in _parts(message):
        approval = part.get("approval")
        if part.get("state") != "approval-responded" or not isinstance(approval, dict):
            continue
        request_id, approved, reason = approval.get("id"), approval.get("approved"), approval.get("reason")
        if not isinstance(request_id, str) or not isinstance(approved, bool):
            raise InvalidInput("messages: an approval has an id, and approved true or false")
        reason = reason if isinstance(reason, str) and reason else None
        yield page_decision("messages.approval", request_id=request_id, approved=approved, reason=reason)


def _said(message: Mapping[str, JsonValue], max_bytes: int) -> tuple[str, list[bytes]]:
    """The words of a message, and the files that it carries."""
    words: list[str] = []
    files: list[bytes] = []
    for part in _parts(message):
        text, url = part.get("text"), part.get("url")
        if part.get("type") == "text" and isinstance(text, str):
            words.append(text)
        elif part.get("type") == "file" and isinstance(url, str) and url.startswith("data:"):
            head, _, data = url.partition(",")
            try:
                files.append(base64.b64decode(data, validate=True) if head.endswith(";base64") else data.encode())
            except binascii.Error:
                raise InvalidInput("messages: the data of a file is no base64") from None
    if len(files) > _MAX_ATTACHMENTS:
        raise TooLarge(f"A message carries at most {_MAX_ATTACHMENTS} files.", limit="max_body_bytes")
    if not (query := "\n".join(words)):
        raise InvalidInput("messages: the last message of the user has no text")
    return query, files


def _parts(message: Mapping[str, JsonValue]) -> Sequence[Mapping[str, JsonValue]]:
    parts = message.get("parts")
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
