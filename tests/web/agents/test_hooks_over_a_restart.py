"""With a journal, the question of an agent that names its call is there again after a restart, and is answered once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession

from notifier_service import Decision, Settings
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.web import Site, serve

from ..conftest import until

CALL = {"command": "rm -r build"}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[Site]:
    async with serve(settings=Settings(port=0, journal=path)) as site:
        yield site


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def hook(http: ClientSession, site: Site, **more: Any) -> bool | None:
    """Send a hook that asks; whether the call may run, None if there was no answer."""
    body = {
        "session_id": "s",
        "hook_event_name": "PreToolUse",
        "tool_name": "Bash",
        "tool_input": CALL,
        "tool_use_id": "t1",
        **more,
    }
    async with http.post(f"{site.url}/hooks/claude-code", json=body) as answer:
        told = await answer.json()
    return bool(told["hookSpecificOutput"]["permissionDecision"] == "allow")


async def prompt(http: ClientSession, site: Site, **more: Any) -> bool | None:
    """Ask the prompt tool."""
    arguments = {"tool_name": "Bash", "input": CALL, "tool_use_id": "t1", **more}
    params = {"name": "approval_prompt", "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    async with http.post(f"{site.url}/mcp/s", json=message, headers=ACCEPT) as answer:
        told = await answer.json()
    return bool(json.loads(told["result"]["content"][0]["text"])["behavior"] == "allow")


async def gone(asking: asyncio.Future[Any]) -> None:
    """The agent's own answer to a service that has ended, whatever that is."""
    with suppress(ClientError, ConnectionError):
        assert await asking is False


async def card(site: Site) -> PermissionRequest:
    await until(lambda: site.broker.open("s").desk.pending)
    [request] = site.broker.open("s").desk.pending
    return request


def decide(site: Site, request: PermissionRequest, approved: bool = True) -> None:
    site.broker.decide("s", Decision(approved=approved, request_id=request.request_id), decided_by="anna")


def questions(site: Site) -> int:
    log = site.broker.open("s").log
    return sum(event.type == "permission_request" for event in log.read_after(0))


CHANNELS = pytest.mark.parametrize("ask", [hook, prompt], ids=["hook", "prompt tool"])


@CHANNELS
@pytest.mark.parametrize("approved", [True, False])
async def test_repeat_of_a_call_joins_the_question_of_before(
    journal: Path, http: ClientSession, ask: Callable[..., Any], approved: bool
) -> None:
    async with running(journal) as site:
        asking = asyncio.ensure_future(ask(http, site))
        before = await card(site)
    await gone(asking)

    async with running(journal) as site:
        again = asyncio.ensure_future(ask(http, site))
        after = await card(site)
        await asyncio.sleep(0.1)  # nobody is told that an agent has joined
        decide(site, after, approved)

        assert await again is approved
        assert after.request_id == before.request_id
        assert questions(site) == 1


@CHANNELS
async def test_person_who_approved_while_the_agent_was_away_has_approved_once(
    journal: Path, http: ClientSession, ask: Callable[..., Any]
) -> None:
    async with running(journal) as site:
        asking = asyncio.ensure_future(ask(http, site))
        request = await card(site)
    await gone(asking)
    async with running(journal) as site:
        decide(site, await card(site))

    async with running(journal) as site:
        assert await ask(http, site) is True
        assert site.broker.open("s").desk.find(request.request_id).claimed_by is not None
        again = asyncio.ensure_future(ask(http, site))
        anew = await card(site)
        decide(site, anew, approved=False)

        assert anew.request_id != request.request_id
        assert await again is False


@CHANNELS
async def test_call_that_has_no_name_is_cancelled_by_a_restart(
    journal: Path, http: ClientSession, ask: Callable[..., Any]
) -> None:
    async with running(journal) as site:
        asking = asyncio.ensure_future(ask(http, site, tool_use_id=None))
        await card(site)
    await gone(asking)

    async with running(journal) as site:
        assert site.broker.open("s").desk.pending == ()


@CHANNELS
async def test_call_that_another_run_has_is_denied(journal: Path, http: ClientSession, ask: Callable[..., Any]) -> None:
    async with running(journal) as site:
        asking = asyncio.ensure_future(ask(http, site))
        request = await card(site)
        decide(site, request)
        await site.broker.open("s").desk.claim(request, "another")

        assert await asking is False


async def test_hook_tells_how_a_call_ended_that_began_before_a_restart(journal: Path, http: ClientSession) -> None:
    async with running(journal) as site:
        asking = asyncio.ensure_future(hook(http, site))
        decide(site, await card(site))
        assert await asking is True

    async with running(journal) as site:
        lost = site.broker.open("s").snapshot().end_unknown
        done = {"session_id": "s", "hook_event_name": "PostToolUse", "tool_name": "Bash", "tool_input": CALL}
        async with http.post(
            f"{site.url}/hooks/claude-code", json={**done, "tool_use_id": "t1", "tool_response": "x"}
        ) as answer:
            assert answer.status == 200

        assert lost is not None
        assert site.broker.open("s").snapshot().end_unknown is None
        assert site.broker.open("s").desk.runs == ()
