"""opencode, offline: its environment, its settings, and a stand-in of the model that it talks to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.integrations.compared import AskedCall

__all__ = ["config_for", "environment_in", "model"]


def environment_in(folder: Path) -> dict[str, str]:
    """The environment in which it knows nothing but a ``folder`` that was furnished."""
    home = folder / "home"
    return {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "HOME": str(home),
        **{f"XDG_{name}_HOME": str(home / name) for name in ("CONFIG", "DATA", "CACHE", "STATE")},
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        # Nothing of it leaves this machine.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1,localhost",
    }


def config_for(port: int, permission: Mapping[str, Any]) -> dict[str, Any]:
    """Its settings, with the model that listens on that port."""
    options = {"baseURL": f"http://127.0.0.1:{port}/v1", "apiKey": "none"}
    provider = {"npm": "@ai-sdk/openai-compatible", "name": "stand-in", "options": options, "models": {"m": {}}}
    return {
        "provider": {"stand-in": provider}, "model": "stand-in/m", "small_model": "stand-in/m",
        "autoupdate": False, "share": "disabled", "snapshot": False, "permission": dict(permission),
    }  # fmt: skip


def model(calls: Sequence[AskedCall], *, at_once: int = 1) -> web.Application:
    """A stand-in of a model that makes the calls, some at once, and then says that it is done."""

    async def complete(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        done = sum(message["role"] == "tool" for message in body["messages"])
        batch = list(enumerate(calls))[done : done + at_once] if body.get("tools") else []
        deltas: list[tuple[Any, str | None]] = [({"role": "assistant", "content": "done"}, None), ({}, "stop")]
        if batch:
            made = [
                {
                    "index": index, "id": f"call_{number}", "type": "function",
                    "function": {"name": call.tool, "arguments": json.dumps(call.parameters)},
                }
                for index, (number, call) in enumerate(batch)
            ]  # fmt: skip
            deltas = [({"role": "assistant", "tool_calls": made}, None), ({}, "tool_calls")]
        for delta, reason in deltas:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/chat/completions", complete)
    return app
