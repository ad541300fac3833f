"""Claude Code at work, offline, against a stand-in of the API that it talks to; and people who answer it.

The program is the one that ``CLAUDE_CODE`` names, or ``claude`` of the PATH, or the one that comes with the agent SDK.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Decision, Settings, serve
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.web import Site
from tests.cli.processes import free_port
from tests.integrations.environments import PYTHON
from tests.integrations.messages_api import MessagesApi, messages_api

ALL_HOOKS = ("PreToolUse", "PermissionRequest", "PostToolUse", "PostToolUseFailure", "Stop")
PROMPT_TOOL = ("--permission-prompt-tool", "mcp__gate__approval_prompt")

#: What a person says to a card; None for nothing.
Person = Callable[[PermissionRequest], Mapping[str, Any] | None]


@pytest.fixture
def claude(python_with: Callable[..., Path]) -> Path:
    named = os.environ.get("CLAUDE_CODE") or shutil.which("claude")
    if named is not None:
        return Path(named)
    folder = python_with(*PYTHON["claude-agent-sdk"]).parents[1]
    for program in folder.glob("lib/python*/site-packages/claude_agent_sdk/_bundled/claude"):
        return program
    pytest.skip("claude-agent-sdk comes without Claude Code on this machine; name one with CLAUDE_CODE")


@dataclass
class Run:
    """Claude Code at work in an empty folder."""

    claude: Path
    folder: Path
    site: Site
    api: MessagesApi
    #: What a person was shown.
    cards: list[PermissionRequest] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    servers: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    exit_code: int = 0

    def with_prompt_tool(self, **more: Any) -> None:
        self.servers["gate"] = {"type": "http", "url": f"{self.site.url}/mcp/s1", **more}
        self.flags += PROMPT_TOOL

    def with_hooks(self, *events: str, url: str | None = None, **more: Any) -> None:
        hook = {"type": "http", "url": f"{url or self.site.url}/hooks/claude-code?session_id=s1", "timeout": 60, **more}
        self._with_hook(events, hook)

    def with_command_hooks(self, *events: str, url: str | None = None) -> None:
        url = f"{self.site.url}/agent_backend" if url is None else url
        command = f"{sys.executable} -m notifier_service hook --session s1 --url {url}"
        self._with_hook(events, {"type": "command", "command": command, "timeout": 60})

    def _with_hook(self, events: Sequence[str], hook: Mapping[str, Any]) -> None:
        settings = {"hooks": {event: [{"hooks": [hook]}] for event in events}}
        self.flags += ["--settings", json.dumps(settings)]

    async def ends(self, person: Person) -> list[dict[str, Any]]:
        """Run it to its end, with somebody who answers; return the events of the session."""
        mcp = ["--mcp-config", json.dumps({"mcpServers": self.servers})]
        process = await started(self.claude, self.folder, self.api, *mcp, *self.flags, **self.environment)
        answering = asyncio.create_task(self._answer(person))
        try:
            async with asyncio.timeout(120):
                out, err = await process.communicate()
        finally:
            answering.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == self.exit_code, out.decode() + err.decode()
        session = self.site.broker.open("s1")
        return [json.loads(event.json) for event in session.log.read_after(0)]

    async def _answer(self, person: Person) -> None:
        """Answer what is asked, once Claude Code has had the time to ask over every channel."""
        desk = self.site.broker.open("s1").desk
        while True:
            await asyncio.sleep(0.02)
            for card in desk.pending:
                if card not in self.cards:
                    self.cards.append(card)
                    asyncio.get_running_loop().call_later(0.5, self._decide, card, person)

    def _decide(self, card: PermissionRequest, person: Person) -> None:
        said = person(card) if card.pending else None
        if said is not None:
            decision = Decision(request_id=card.request_id, **said)
            self.site.broker.decide("s1", decision, decided_by="anna")

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "work").iterdir())


async def started(
    claude: Path, folder: Path, api: MessagesApi, *flags: str, **environment: str
) -> asyncio.subprocess.Process:
    """Claude Code that has just begun to work in a folder."""
    inherited = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    return await asyncio.create_subprocess_exec(
        claude, "-p", "go", "--output-format", "stream-json", "--verbose", "--strict-mcp-config", *flags,
        cwd=folder / "work", env={**inherited, **offline(folder / "home", api), **environment},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


def offline(home: Path, api: MessagesApi) -> dict[str, str]:
    """The environment of a Claude Code of which nothing leaves this machine."""
    return {
        "HOME": str(home),
        "ANTHROPIC_BASE_URL": api.url,
        "ANTHROPIC_API_KEY": "none",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "IS_SANDBOX": "1",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1,localhost",
    }


Begin = Callable[..., Awaitable[Run]]


@pytest.fixture
async def begin(claude: Path, tmp_path: Path) -> AsyncIterator[Begin]:
    """Begin a run in which Claude Code makes these calls, all in one turn, or ``apart``: each in its own."""
    async with AsyncExitStack() as stack:

        async def make(*calls: dict[str, Any], apart: bool = False, **settings: Any) -> Run:
            for name in ("work", "home"):
                (tmp_path / name).mkdir()
            site = await stack.enter_async_context(serve(settings=Settings(port=0, **settings)))
            turns = [[call] for call in calls] if apart else [calls]
            api = await stack.enter_async_context(messages_api(*turns))
            return Run(claude, tmp_path, site, api)

        yield make


def bash(command: str, call_id: str = "toolu_1") -> dict[str, Any]:
    return {"id": call_id, "name": "Bash", "input": {"command": command, "description": "work"}}


def approve(card: PermissionRequest) -> dict[str, Any]:
    return {"approved": True}


def edit(card: PermissionRequest) -> dict[str, Any]:
    return {"approved": True, "parameters": {**card.record.parameters, "command": "touch edited"}}


def reject(card: PermissionRequest) -> dict[str, Any]:
    return {"approved": False, "reason": "not on a Sunday"}


def nothing(card: PermissionRequest) -> None:
    return None


def each(*people: Person) -> Person:
    """One after the other, a card each: starting Claude Code takes longer than all that they decide."""
    coming = iter(people)
    return lambda card: next(coming)(card)


@asynccontextmanager
async def no_service() -> AsyncIterator[str]:
    yield f"http://127.0.0.1:{free_port()}"


CHANNELS: dict[str, Callable[[Run], None]] = {
    "prompt tool": lambda run: run.with_prompt_tool(),
    "permission hook": lambda run: run.with_hooks("PermissionRequest"),
    "all hooks": lambda run: run.with_hooks(*ALL_HOOKS),
    "command hook": lambda run: run.with_command_hooks(*ALL_HOOKS),
    "command permission hook": lambda run: run.with_command_hooks("PermissionRequest"),
}
