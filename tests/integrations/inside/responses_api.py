"""A stand-in of the Responses API on loopback: it has Codex make the calls of a test, one a turn, and then say done."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from tests.integrations.model_api import listening, streamed


class ResponsesApi:
    """Answers each request with the next command, and keeps what came back of each."""

    def __init__(self, commands: Sequence[str]) -> None:
        self._commands = list(enumerate(commands))
        self.results: dict[str, str] = {}
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        for item in body["input"]:
            if item.get("type") == "function_call_output":
                self.results[item["call_id"]] = item["output"]
        text = [{"type": "output_text", "text": "done"}]
        item = {"type": "message", "role": "assistant", "id": "m", "content": text}
        if self._commands:
            number, command = self._commands.pop(0)
            arguments = json.dumps({"cmd": command})
            call = {"name": "exec_command", "call_id": f"call_{number}", "arguments": arguments}
            item = {"type": "function_call", **call}
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        usage |= {"input_tokens_details": None, "output_tokens_details": None}
        events = [
            {"type": "response.created", "response": {"id": "r"}},
            {"type": "response.output_item.done", "item": item},
            {"type": "response.completed", "response": {"id": "r", "usage": usage}},
        ]
        return await streamed(request, events)


@asynccontextmanager
async def responses_api(*commands: str) -> AsyncIterator[ResponsesApi]:
    """Serve it."""
    api = ResponsesApi(commands)
    async with listening("/v1/responses", api.answer) as url:
        api.url = f"{url}/v1"
        yield api
