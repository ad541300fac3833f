"""The real Claude Code, driven by the Claude Agent SDK, calls its tools as a person answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from approve_claude_agent import approval
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient

from tests.integrations.messages_api import messages_api


async def write(service: Any, folder: Path, **options: Any) -> tuple[list[str], str, bool]:
    """Which files are there after Claude wanted to make one, and what it was told: the text, and whether it failed."""
    work, home = folder / "work", folder / "home"
    work.mkdir()
    home.mkdir()
    call = {"id": "toolu_1", "name": "Bash", "input": {"command": "touch a && echo made", "description": "make a"}}
    async with messages_api([call]) as api:
        environment = {
            "ANTHROPIC_BASE_URL": api.url,
            "ANTHROPIC_API_KEY": "none",
            "HOME": str(home),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
            # Whatever it might want of the net is not there.
            "HTTP_PROXY": "http://127.0.0.1:9",
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1",
        }
        gate = approval("s", service=service, **options)
        async with ClaudeSDKClient(ClaudeAgentOptions(can_use_tool=gate, cwd=work, env=environment)) as client:
            await client.query("make a")
            async for _ in client.receive_response():
                pass
        return sorted(path.name for path in work.iterdir()), *api.results["toolu_1"]


async def test_approved_call_runs(service: Any, person: Any, tmp_path: Path) -> None:
    seen = person(Bash={"approved": True}).seen

    assert await write(service, tmp_path) == (["a"], "made", False)
    assert seen[0]["parameters"]["command"] == "touch a && echo made"
    assert seen[0]["tool_call_id"] == "toolu_1"


async def test_edited_call_runs_as_it_was_edited(service: Any, person: Any, tmp_path: Path) -> None:
    person(Bash={"approved": True, "parameters": {"command": "touch b && echo other"}})

    assert await write(service, tmp_path) == (["b"], "other", False)


async def test_rejected_call_does_not_run_and_claude_is_told_why(service: Any, person: Any, tmp_path: Path) -> None:
    person(Bash={"approved": False, "reason": "not now"})

    assert await write(service, tmp_path) == ([], "Bash did not run: rejected by ada: not now", True)
