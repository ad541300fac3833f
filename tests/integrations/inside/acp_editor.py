"""An editor with the official Python client: starts the agent of its command line, gives it one prompt, and prints as
JSON what it was asked, what it heard of tool calls, and how the turn ended. Option ``--answer KIND`` answers there."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from acp import PROTOCOL_VERSION, spawn_agent_process, text_block
from acp.schema import AllowedOutcome, DeniedOutcome, RequestPermissionResponse


class Editor:
    def __init__(self, answer: str | None) -> None:
        self.answer = answer
        self.asked: list[Any] = []
        self.updates: list[Any] = []
        self.late = asyncio.Event()

    async def request_permission(self, session_id: str, tool_call: Any, options: Any, **kwargs: Any) -> Any:
        self.asked.append([option.kind for option in options])
        if self.answer is None:
            await self.late.wait()
        for option in options:
            if option.kind == self.answer:
                return RequestPermissionResponse(outcome=AllowedOutcome(outcome="selected", option_id=option.option_id))
        return RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))

    async def session_update(self, session_id: str, update: Any, **kwargs: Any) -> None:
        if update.session_update in ("tool_call", "tool_call_update"):
            self.updates.append(update.status)

    def on_connect(self, connection: Any) -> None: ...


async def main(answer: str | None, folder: str, command: list[str]) -> None:
    editor = Editor(answer)
    async with spawn_agent_process(editor, command[0], *command[1:], cwd=folder, env=None) as (agent, _):
        await agent.initialize(protocol_version=PROTOCOL_VERSION)
        session = await agent.new_session(cwd=str(Path(folder)), mcp_servers=[])
        turn = await agent.prompt(session_id=session.session_id, prompt=[text_block("go")])
        editor.late.set()
        print(json.dumps({"asked": editor.asked, "updates": editor.updates, "ended": turn.stop_reason}), flush=True)


if __name__ == "__main__":
    answer = None if sys.argv[1] == "-" else sys.argv[1]
    asyncio.run(main(answer, sys.argv[2], sys.argv[3:]))
