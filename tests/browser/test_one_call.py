"""A call of an agent whose hooks and a gateway both tell of it is one row of what happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import expect

from notifier_service.core.question import Decision
from notifier_service.web import Site
from tests.browser.conftest import Serving
from tests.browser.console import Console
from tests.browser.person import Person
from tests.mcp.http_stub import HttpStub
from tests.mcp.http_wiring import call, on_a_port
from tests.policies import rules_text

ASKED: dict[str, Any] = {"tool_name": "mcp__files__write", "tool_input": {"path": "a"}, "tool_use_id": "t1"}
META = {"claudecode/toolUseId": "t1"}


class Agent:
    """Makes a call as Claude Code does: its hook, the call at the gateway, and its hook again."""

    def __init__(self, site: Site, http: aiohttp.ClientSession) -> None:
        self._site = site
        self._http = http

    async def hook(self, event: str, **more: Any) -> None:
        body = {"session_id": "s1", "hook_event_name": event, **ASKED, **more}
        async with self._http.post(f"{self._site.url}/hooks/claude-code", json=body) as response:
            assert response.status == 200

    async def calls(self, path: str = "a", number: int = 1) -> None:
        headers = {"Accept": "application/json, text/event-stream"}
        message = call(number, "write", {"path": path}, _meta=META)
        url = f"{self._site.url}/mcp/gateway/files?session_id=s1"
        async with self._http.post(url, json=message, headers=headers) as response:
            await response.read()


@asynccontextmanager
async def working(serving: Serving, **settings: Any) -> AsyncIterator[tuple[Site, Agent]]:
    stub = HttpStub()
    async with on_a_port(stub.app()) as stub.port, aiohttp.ClientSession() as http:
        site = await serving(mcp_upstreams={"files": stub.url}, **settings)
        yield site, Agent(site, http)


async def approve(console: Console, site: Site) -> None:
    """Somebody approves the one call that waits."""
    await console.waits(1)
    [request] = site.broker.open("s1").desk.pending
    site.broker.decide("s1", Decision(approved=True, request_id=request.request_id), decided_by="anna")


@pytest.mark.parametrize("how", ["approved at the hook", "asked at the gateway alone"])
async def test_call_that_hook_and_gateway_tell_of_is_one_row_live_and_after_a_reload(
    person: Person, serving: Serving, tmp_path: Path, how: str
) -> None:
    is_by_hook = how == "approved at the hook"
    policy = tmp_path / "policy.toml"
    policy.write_text(rules_text(**({} if is_by_hook else {"allow": "mcp__files__write"})))
    async with working(serving, policy_file=policy) as (site, agent):
        console = await Console.at(person, site.url)
        hook = asyncio.create_task(agent.hook("PreToolUse"))
        if is_by_hook:
            await approve(console, site)
        await hook
        made = asyncio.create_task(agent.calls())
        if not is_by_hook:
            await approve(console, site)
        await made
        row = console.timeline.locator("li[data-kind=call]")
        await expect(row).to_have_count(1)
        await expect(row).to_have_attribute("data-status", "completed")
        await agent.hook("PostToolUse", tool_response="done")

        for _ in range(2):
            await expect(row).to_have_count(1)
            await expect(row).to_have_attribute("data-tool-call-id", "t1")
            await expect(row).to_have_attribute("data-status", "completed")
            await expect(row).to_contain_text("mcp__files__write")
            await expect(row).to_contain_text("approved by anna")
            await expect(row.locator(".brief")).to_contain_text("done")
            await console.page.reload()
            await console.is_live()


async def test_what_the_same_id_says_of_another_call_is_another_row(person: Person, serving: Serving) -> None:
    """The same call again, and a call of another tool that claims to be it."""
    async with working(serving) as (site, agent):
        console = await Console.at(person, site.url)
        hook = asyncio.create_task(agent.hook("PreToolUse"))
        await approve(console, site)
        await hook
        await agent.calls()
        again = asyncio.create_task(agent.calls(number=2))
        await approve(console, site)
        await again
        claimed = {"status": "executing", "tool_name": "delete", "tool_call_id": "c9"}
        site.broker.open("s1").publish("tool_status", {**claimed, "details": {"agent_call_id": "t1"}})

        row = console.timeline.locator("li[data-kind=call]")
        await expect(row).to_have_count(3)
        await expect(console.calls("write")).to_have_count(1)
        await expect(console.calls("mcp__files__write")).to_have_attribute("data-status", "completed")
        await expect(console.calls("delete")).to_have_attribute("data-status", "executing")
