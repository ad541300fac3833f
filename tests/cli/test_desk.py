"""``sessions`` and ``pending`` say where agents work and what waits; ``ask`` and ``decide`` speak to who sits there."""

from __future__ import annotations

import json
import os
import pty
import select
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from notifier_service import Client, Decision
from notifier_service.web import Site
from tests.cli.processes import Commands, line_of

pytestmark = pytest.mark.usefixtures("site")


@pytest.fixture
async def on_a_terminal(commands: Commands) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Run a command whose standard output is a terminal, and return what it showed there."""
    screen, program = pty.openpty()
    with open(program, "w", encoding="utf-8") as stdout:

        async def run(*arguments: str) -> str:
            await commands.run_here(*arguments, env={"COLUMNS": "200"}, stdout=stdout)
            stdout.flush()
            shown = b""
            while select.select([screen], [], [], 0.05)[0]:
                shown += os.read(screen, 100_000)
            return shown.decode().replace("\r\n", "\n")

        yield run
    os.close(screen)


def ask(site: Site, session_id: str = "s", tool_name: str = "rm", **more: Any) -> str:
    return site.broker.ask(session_id, tool_name=tool_name, parameters={"path": "a"}, **more).request_id


async def test_sessions_tell_what_waits_there(commands: Commands, site: Site) -> None:
    site.broker.publish_nowait("quiet", "note")
    ask(site, "busy")

    ended = await commands.run_here("sessions")
    rows = json.loads((await commands.run_here("sessions", "--json")).out)

    lines = [line.split() for line in ended.out.splitlines()]
    assert (ended.exit_code, ended.err) == (0, "")
    assert lines[0] == ["STATE", "WAITING", "WATCHING", "QUIET", "FOR", "SESSION", "AGENT", "TITLE"]
    assert (lines[1][:2], lines[1][-1]) == (["waiting", "1"], "busy")
    assert (lines[2][0], lines[2][-1]) == ("idle", "quiet")
    assert [row["session_id"] for row in rows] == ["busy", "quiet"]


async def test_no_session_and_nothing_waiting_are_said_on_standard_error(commands: Commands) -> None:
    sessions, pending = [await commands.run_here(*each) for each in (["sessions"], ["pending", "s"])]

    assert (sessions.exit_code, sessions.out, sessions.err) == (0, "", "No session is open that you may see.\n")
    assert pending[:2] == (0, "")
    assert pending.err == "Nothing waits for a decision that you may see.\n"


async def test_pending_begins_with_what_ends_first(commands: Commands, site: Site) -> None:
    never = ask(site, tool_name="never", timeout_seconds=0)
    late = ask(site, tool_name="late", timeout_seconds=900)
    soon = ask(site, tool_name="soon\x1b[2J", timeout_seconds=20)

    ended = await commands.run_here("pending", "s")
    records = json.loads((await commands.run_here("pending", "s", "--json")).out)

    heading, *rows = ended.out.splitlines()
    assert heading.split() == ["LEFT", "SESSION", "TOOL", "RISK", "REQUEST", "PARAMETERS"]
    assert [row.split()[-2:] for row in rows] == [['{"path":', '"a"}']] * 3
    assert "soon\\x1b[2J" in rows[0]
    assert [request in row for request, row in zip((soon, late, never), rows, strict=True)] == [True] * 3
    assert [record["request_id"] for record in records] == [soon, late, never]
    assert {record["session_id"] for record in records} == {"s"}


# ask and decide


async def test_ask_tells_a_person_where_to_answer(on_a_terminal: Any, client: Client) -> None:
    shown = await on_a_terminal("ask", "s", "rm", '{"path": "a"}')
    [record] = await client.pending("s")

    assert shown == (
        f"Asked: rm, risk high. A person decides.\n  {record['request_id']}\nTo answer it: notifier-service watch s\n"
    )


async def test_ask_tells_a_person_how_it_ended(commands: Commands, client: Client) -> None:
    screen, program = pty.openpty()
    process = await commands.start("ask", "s", "rm\x1b", "--wait", stdout=program)
    request_id = (await line_of(process.stderr)).rpartition(" ")[2]
    await client.decide("s", {"approved": False, "request_id": request_id, "reason": "no\n\x1b[31m"})

    assert (await commands.ended(process)).exit_code == 1
    assert os.read(screen, 10_000).decode() == "rm\\x1b: rejected by local\r\n  no\\n\\x1b[31m\r\n"
    os.close(program)
    os.close(screen)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--approve"], "rm: approved by you\n"),
        (["--approve", "--scope", "session"], "rm: approved for the session by you\n"),
        (["--edit", '{"path": "b"}'], "rm: approved with changes by you\n"),
        (["--reject", "--reason", "no"], "rm: rejected by you\n  no\n"),
        (["--respond", "42"], "rm: answered in the tool's place by you\n  the answer: 42\n"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
async def test_decide_tells_a_person_what_they_did(
    arguments: list[str], told: str, on_a_terminal: Any, site: Site
) -> None:
    assert await on_a_terminal("decide", "s", ask(site), *arguments) == told


async def test_decide_does_not_say_you_of_what_somebody_else_decided(on_a_terminal: Any, site: Site) -> None:
    request_id = ask(site)
    site.broker.decide("s", Decision(approved=True, request_id=request_id), decided_by="ada")

    told = await on_a_terminal("decide", "s", request_id, "--approve")

    assert told == "rm: approved by ada\n  That was so already: nothing was changed.\n"


async def test_decide_without_an_id_shows_a_person_what_waits(on_a_terminal: Any, site: Site) -> None:
    request_id = ask(site)

    heading, row = (await on_a_terminal("decide", "s", "--approve")).splitlines()

    assert heading.startswith("LEFT")
    assert request_id in row


async def test_json_is_for_terminals_too(on_a_terminal: Any, site: Site) -> None:
    asked = json.loads(await on_a_terminal("ask", "s", "t", "--json"))
    decided = json.loads(await on_a_terminal("decide", "s", asked["request_id"], "--reject", "--json"))

    assert (asked["status"], decided["status"]) == ("pending", "rejected")


async def test_away_says_so_until_it_is_over(commands: Commands, site: Site) -> None:
    said = [(await commands.run_here("away", *each)).out for each in ((), ("on",), (), ("off",))]

    assert said == [
        "You are not away.\n",
        *["You are away: what waits calls your devices.\n"] * 2,
        "You are not away.\n",
    ]
    assert not site.broker.presence.is_away("local")
