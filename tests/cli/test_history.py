"""``history`` prints what was asked and how it ended, for people and for scripts."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from notifier_service import Client, Decision
from notifier_service.cli.terminal import cells
from notifier_service.web import Site
from tests.cli.processes import Commands

pytestmark = pytest.mark.usefixtures("site")


def settled(site: Site, tool_name: str = "rm", **more: Any) -> str:
    question = {"session_id": "s1", "parameters": {"path": "/tmp/x"}, **more}
    session_id = question.pop("session_id")
    reason, decided_by = question.pop("reason", None), question.pop("decided_by", "alice")
    request = site.broker.ask(session_id, tool_name=tool_name, **question)
    decision = Decision(approved=False, request_id=request.request_id, reason=reason)
    site.broker.decide(session_id, decision, decided_by=decided_by)
    return request.request_id


async def test_table_has_a_line_for_each(commands: Commands, site: Site) -> None:
    settled(site)
    settled(site, "write_file", session_id="s2", server="files", reason="not today")

    ended = await commands.run_here("history")

    heading, second, first = ended.out.splitlines()
    assert (ended.exit_code, ended.err) == (0, "")
    assert heading.split() == ["TIME", "SESSION", "TOOL", "RISK", "ENDED", "BY", "AFTER", "PARAMETERS"]
    assert first.split()[2:] == ["s1", "rm", "high", "rejected", "alice", "0.0", "s", '{"path":', '"/tmp/x"}']
    assert second.split()[2:] == [
        "s2", "files:", "write_file", "high", "rejected", "alice", "0.0", "s", '{"path":', '"/tmp/x"}',
        "because:", "not", "today",
    ]  # fmt: skip


async def test_json_is_whole_and_ascii(commands: Commands, site: Site) -> None:
    request_id = settled(site, parameters={"text": "größe\u202e"})

    ended = await commands.run_here("history", "--json")

    data = json.loads(ended.out)
    assert ended.out.isascii()
    assert data["next"] is None
    assert [(record["request_id"], record["parameters"]) for record in data["requests"]] == [
        (request_id, {"text": "größe\u202e"})
    ]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--session", "s2"], ["c"]),
        (["--tool", "cat"], ["b"]),
        (["--decided-by", "bob"], ["d"]),
        (["--limit", "1"], ["d"]),
        (["--session", "s1", "--tool", "rm", "--decided-by", "alice"], ["a"]),
    ],
)
async def test_options_choose_among_them(
    commands: Commands, site: Site, arguments: list[str], found: list[str]
) -> None:
    named = {
        settled(site): "a",
        settled(site, "cat"): "b",
        settled(site, session_id="s2"): "c",
        settled(site, decided_by="bob"): "d",
    }

    ended = await commands.run_here("history", "--json", *arguments)

    assert [named[record["request_id"]] for record in json.loads(ended.out)["requests"]] == found


async def test_what_is_cut_off_is_had_with_the_cursor(commands: Commands, site: Site) -> None:
    asked = [settled(site) for _ in range(3)]

    first = await commands.run_here("history", "--limit", "2")
    cursor = first.err.split("--before ")[1].strip()
    rest = await commands.run_here("history", "--json", "--before", cursor)

    assert len(first.out.splitlines()) == 3
    assert [record["request_id"] for record in json.loads(rest.out)["requests"]] == asked[:1]


async def test_more_than_a_page_is_fetched_in_pages(commands: Commands, site: Site) -> None:
    asked = [settled(site) for _ in range(230)]

    ended = await commands.run_here("history", "--json", "--limit", "220")

    data = json.loads(ended.out)
    assert [record["request_id"] for record in data["requests"]] == asked[:9:-1]
    assert data["next"] is not None


async def test_hostile_text_stays_in_its_line_and_its_place(commands: Commands, site: Site) -> None:
    settled(site, "rm\x1b[2J\u202e", parameters={"a": "\n2026-01-01 approved\x9b1A"}, reason="\r\nגבר\x07")

    ended = await commands.run_here("history")

    assert len(ended.out.splitlines()) == 2
    assert not set(ended.out) & {"\x1b", "\u202e", "\x9b", "\r", "\x07", "ג"}
    assert "rm\\x1b[2J\\u202e" in ended.out


async def test_nothing_settled_is_said_on_standard_error(commands: Commands) -> None:
    ended = await commands.run_here("history")

    assert (ended.exit_code, ended.out, ended.err) == (0, "", "Nothing was settled that you may see.\n")


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1e3", "²", "99999999999"])
async def test_limit_that_is_none_is_wrong_usage(commands: Commands, limit: str) -> None:
    ended = await commands.run_here("history", f"--limit={limit}")

    assert ended.exit_code == 2
    assert "a number from 1 to 1000000 is needed" in ended.err


async def test_what_the_service_refuses_ends_with_one(commands: Commands) -> None:
    ended = await commands.run_here("history", "--before", "yesterday")

    assert (ended.exit_code, ended.out) == (1, "")
    assert "before: this is no cursor" in ended.err


async def test_client_gives_the_page(client: Client, site: Site) -> None:
    request_id = settled(site)

    page = await client.history("s1", tool="rm", decided_by="alice", limit=1)

    assert page["next"] is None
    assert [record["request_id"] for record in page["requests"]] == [request_id]


async def test_line_on_a_terminal_is_cut_where_that_ends(commands: Commands, site: Site) -> None:
    settled(site, "写檔案" * 10, parameters={"text": "字" * 200})
    person, program = os.openpty()
    process = await commands.start("history", stdout=program, env={"COLUMNS": "80", "PYTHONIOENCODING": "utf-8"})
    os.close(program)

    assert (await commands.ended(process)).exit_code == 0
    heading, line = os.read(person, 10_000).decode().splitlines()
    os.close(person)
    assert cells(heading) <= 80
    assert 75 < cells(line) <= 80
    assert line.endswith("...")
