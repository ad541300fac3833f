"""``watch`` without a session: what waits in all of them, one request at a time, the rest said without moving it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Client, Settings, serve
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.web import Site
from tests.cli.processes import Commands, Finished, free_port, line_of
from tests.cli.terminals import LOOK, SCREEN, Terminal

Open = Callable[..., Awaitable[Terminal]]


@pytest.fixture
async def watch(site: Site) -> AsyncIterator[Open]:
    """Open a watch of all sessions in a terminal of this size."""
    opened: list[Terminal] = []

    async def open_one(columns: int = 80, rows: int = 24, url: str = "") -> Terminal:
        terminal = Terminal(columns, rows)
        opened.append(terminal)
        await terminal.open(url or url_of(site), None)
        return terminal

    yield open_one
    for terminal in opened:
        await terminal.close()


def url_of(site: Site) -> str:
    return f"{site.url}{site.settings.prefix}"


def ask(site: Site, session_id: str, tool_name: str = "write_file", **more: Any) -> PermissionRequest:
    call = {"parameters": {"path": "a.txt"}, "risk_level": "medium", **more}
    return site.broker.ask(session_id, tool_name=tool_name, **call)


async def test_what_ends_first_is_shown_first_and_where_it_is_asked(watch: Open, site: Site, client: Client) -> None:
    await client.label("soon", title="Billing", agent="claude-code")
    late = ask(site, "late", timeout_seconds=900)
    soon = ask(site, "soon", timeout_seconds=60)
    ask(site, "never", timeout_seconds=0)
    terminal = await watch()
    await terminal.until("3 requests wait in 3 sessions; what ends first is shown first.")
    await terminal.until("May this run? (1 of 3 waiting)")
    await terminal.until("in session soon · Billing · claude-code")
    await terminal.until("A approve")
    await terminal.press("j", until="in session late")
    await terminal.until("A approve")
    await terminal.press("a", until="late: write_file approved by you")

    assert (late.record.status, soon.record.status) == ("approved", "pending")


async def test_what_comes_and_goes_elsewhere_is_said_and_moves_nothing(watch: Open, site: Site, client: Client) -> None:
    shown = ask(site, "s1", "first_tool")
    terminal = await watch()
    await terminal.until("? help")
    card = terminal.rows
    new = ask(site, "s2", "second\x1b_tool")
    await terminal.until("New: second\\x1b_tool in session s2. 2 wait; J goes to the next.")
    await client.decide("s2", {"approved": False, "request_id": new.request_id, "reason": "no"})
    await terminal.until("second\\x1b_tool in session s2: rejected by local. 1 wait.")
    ask(site, "s3", "third_tool").cancel("the agent withdrew it")
    await terminal.until("third_tool in session s3: withdrawn. 1 wait.")

    assert [row for row in terminal.rows if row][:-1] == [row for row in card if row]
    await terminal.press("a", until="s1: first_tool approved by you")
    assert shown.record.status == "approved"
    before = terminal.shown.partition("first_tool approved by you")[0]
    assert "s2: second\\x1b_tool rejected by local: no" in before
    assert "s3: third_tool: the agent withdrew it" in before


async def test_what_is_answered_elsewhere_makes_room_and_takes_no_key_with_it(
    watch: Open, site: Site, client: Client
) -> None:
    first, second = ask(site, "s1", "first_tool"), ask(site, "s2", "second_tool")
    terminal = await watch()
    await terminal.until("A approve")
    await client.decide("s1", {"approved": True, "request_id": first.request_id})
    await terminal.until("s1: first_tool approved by local")
    await terminal.until("second_tool   risk medium")
    terminal.type("a")
    await terminal.until(LOOK)

    assert second.pending


async def test_same_tool_in_two_sessions_is_answered_where_it_is_asked(watch: Open, site: Site) -> None:
    first, second = ask(site, "s1"), ask(site, "s2")
    terminal = await watch()
    await terminal.until("in session s1")
    await terminal.until("A approve")
    await terminal.press("r", until="Reason (Enter for none): ")
    terminal.type("no\n")
    await terminal.until("s1: write_file rejected by you: no")
    await terminal.until("in session s2")
    await terminal.until("A approve")
    await terminal.press("a", until="s2: write_file approved by you")

    assert (first.record.status, second.record.status) == ("rejected", "approved")


async def test_thousand_requests_in_three_hundred_sessions_are_counted_and_read_one_by_one(
    watch: Open, site: Site
) -> None:
    asked = [ask(site, f"s{number % 300}", timeout_seconds=1000 - number % 7) for number in range(1000)]
    terminal = await watch()
    await terminal.until("1000 requests wait in 300 sessions")
    await terminal.until("May this run? (1 of 1000 waiting)")
    await terminal.until("A approve")
    await terminal.press("l", until="and 980 more")
    await terminal.press("d", until="A approve")
    await terminal.press("a", until="write_file approved by you")
    await terminal.until("May this run? (1 of 999 waiting)")

    assert [request.record.status for request in asked].count("approved") == 1


async def test_request_of_which_the_inbox_tells_the_beginning_is_read_whole(watch: Open, site: Site) -> None:
    request = ask(site, "s1", parameters={"path": "a", "content": "x" * 300_000 + "\nthe end"})
    terminal = await watch(200, 60)
    while await terminal.until("Space goes on.", "A approve") == "Space goes on.":
        terminal.type(" ")

    assert "2 the end" in terminal.shown
    await terminal.press("a", until="approved by you")
    assert request.record.status == "approved"


async def test_hundred_events_of_other_sessions_leave_the_card_where_it_is(watch: Open, site: Site) -> None:
    request = ask(site, "s1", risk_level="high")
    terminal = await watch()
    await terminal.until("A approve")
    for number in range(100):
        site.broker.publish_nowait(f"other{number}", "note", {"text": "x"})
        ask(site, f"other{number}").cancel("over")
    await terminal.until("write_file in session other99: withdrawn. 1 wait.")
    await terminal.press("a", until="High risk: press the same key again to approve.")
    assert request.pending
    await terminal.press("a", until="s1: write_file approved by you")


async def test_lines_of_a_pipe_answer_in_any_session(commands: Commands, site: Site) -> None:
    first, second = ask(site, "s1"), ask(site, "s2", parameters={"path": "x" * 500})
    process = await commands.start("watch", env=SCREEN)
    await line_of(process.stdout, "2 requests wait in 2 sessions")
    await line_of(process.stdout, f"path: {'x' * 500}")
    assert process.stdin is not None
    process.stdin.write(f"approve {second.request_id}\nreject {first.request_id} not now\n".encode())
    await line_of(process.stdout, "s2: write_file approved by you")
    await line_of(process.stdout, "s1: write_file rejected by you: not now")

    assert (first.record.reason, second.record.status) == ("not now", "approved")


# A service that goes away


@pytest.mark.parametrize("has_journal", [False, True])
async def test_service_that_is_restarted_is_told_and_what_waits_then_is_shown(
    has_journal: bool, watch: Open, tmp_path: Path
) -> None:
    settings = Settings(port=free_port(), journal=str(tmp_path / "journal") if has_journal else None)
    async with serve(settings=settings) as before:
        url = url_of(before)
        async with Client(url) as client:
            record = await client.ask("s1", "first_tool", {}, risk_level="medium", wait_seconds=0)
        terminal = await watch(url=url)
        await terminal.until("A approve")
    # Without a journal what waits is denied before the service ends.
    lost = "Connection lost; trying again. Until then nothing can be decided."
    await terminal.until(lost if has_journal else "first_tool: the service")
    async with serve(settings=settings) as after:
        if has_journal:
            await terminal.until("Back: what is shown still waits, unless you are told otherwise.")
            await terminal.press("a", until="s1: first_tool approved by you")
            assert "began anew: what it lists still waits, and nothing else." in terminal.shown
            assert "is denied" not in terminal.shown
            assert terminal.shown.count("May this run?") == 1  # it is not announced anew
            async with Client(url) as client:
                assert (await client.request("s1", record["request_id"]))["status"] == "approved"
        else:
            await terminal.until("The service began anew: what waited before is denied.")
            await terminal.until("Nothing waits for a decision.")
            await terminal.press("a", until="Nothing waits for a decision.")
            ask(after, "s2", "second_tool")
            await terminal.until("second_tool   risk medium")


async def test_token_that_is_taken_away_ends_the_watch_with_one(commands: Commands, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    entry = {"token": "t" * 32, "subject": "anna", "rights": ["approve"], "sessions": ["*"]}
    tokens.write_text(json.dumps([entry]), encoding="utf-8")
    async with serve(settings=Settings(port=0, auth="tokens", tokens_file=str(tokens))) as site:
        process = await commands.start("watch", "--url", url_of(site), env={**SCREEN, "NOTIFIER_TOKEN": "t" * 32})
        await line_of(process.stdout, "Watching all sessions")
        tokens.write_text(json.dumps([{**entry, "token": "u" * 32}]), encoding="utf-8")
        ended: Finished = await asyncio.wait_for(commands.ended(process), 20)

    assert ended.exit_code == 1
    assert ended.err.startswith("notifier-service: ")
    assert "(unauthenticated)" in ended.err
    assert "t" * 32 not in ended.out + ended.err
