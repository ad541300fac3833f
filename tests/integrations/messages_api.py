"""A stand-in of the Messages API on loopback: it has Claude Code make the tool calls of a test, and then say done."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.integrations.model_api import listening, streamed

__all__ = ["MessagesApi", "messages_api"]


class MessagesApi:
    """Answers each request with the next turn's tool calls, and keeps the results that come back."""

    def __init__(self, turns: Sequence[Sequence[dict[str, Any]]]) -> None:
        #: What it has done next, turn by turn.
        self.turns = list(turns)
        #: What each tool call gave, by its id: the text, and whether it is an error.
        self.results: dict[str, tuple[str, bool]] = {}
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self._keep_results(body["messages"])
        return await streamed(request, self._message(body))

    def _keep_results(self, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            for block in message["content"] if isinstance(message["content"], list) else ():
                if block["type"] == "tool_result":
                    content = block["content"]
                    if isinstance(content, list):
                        content = "".join(part.get("text", "") for part in content)
                    self.results[block["tool_use_id"]] = content, bool(block.get("is_error"))

    def _message(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        # A request without tools is not the conversation: a title, a summary.
        calls = self.turns.pop(0) if self.turns and body.get("tools") else ()
        events: list[dict[str, Any]] = [
            {
                "type": "message_start",
                "message": {
                    "id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": [],
                    "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
                },
            }
        ]  # fmt: skip
        for index, call in enumerate(calls):
            block = {"type": "tool_use", "id": call["id"], "name": call["name"], "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(call["input"])}
            events += [
                {"type": "content_block_start", "index": index, "content_block": block},
                {"type": "content_block_delta", "index": index, "delta": delta},
                {"type": "content_block_stop", "index": index},
            ]
        if not calls:
            events += [
                {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "done"}},
                {"type": "content_block_stop", "index": 0},
            ]
        stop = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
        return [
            *events,
            {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 1}},
            {"type": "message_stop"},
        ]


@asynccontextmanager
async def messages_api(*turns: Sequence[dict[str, Any]]) -> AsyncIterator[MessagesApi]:
    """Serve it; each turn is a list of tool calls ``{id, name, input}``."""
    api = MessagesApi(turns)
    async with listening("/v1/messages", api.answer) as api.url:
        yield api
