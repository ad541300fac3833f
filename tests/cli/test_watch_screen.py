"""No key counts in ``watch`` before all that is asked has been on the screen, nor once it has left it."""

from __future__ import annotations

import asyncio
import json
import re
import termios
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Client
from notifier_service.cli.bodies import in_ascii, readable_json
from notifier_service.cli.terminal import seen
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.web import Site
from tests.cli.processes import Commands
from tests.cli.terminals import LOOK, Terminal
from tests.cli.test_bodies import leaves

Open = Callable[..., Awaitable[Terminal]]

SIZES = [(40, 12), (60, 20), (80, 24), (200, 50)]
LEFT = "Nothing was decided: the request had left the screen."
MORE = "Nothing was decided: there is more of it. Space goes on."
TWICE = "High risk: press the same key again to approve."
SMALL = "This terminal is too small"

HIDDEN_FAR_RIGHT = "echo 'all is well " + "." * 60 + "'; rm -rf /srv/production"
LONG = {
    "far right": HIDDEN_FAR_RIGHT,
    "behind blanks": "ls" + " " * 3000 + "; rm -rf /srv/production",
    "one long word": "".join(f"{number:05}" for number in range(600)),
    "wide letters": "危険なコマンド" * 60 + "; rm -rf /srv/production",
    "wide and narrow": "a危b" * 200 + "ÿ½±" * 80,
    "letters with marks": "e\u0301" * 300 + "o\u0302\u0301" * 100,
    "marks on nothing": "x" + "\u0336" * 300 + " \u0301/srv",
    "pictures": "❤\ufe0f🚀👨\u200d👩\u200d👧🇩🇪" * 40,
    "lines and tabs": "a\tb\n\r" * 200 + "rm -rf /srv/production",
    "what moves the cursor": "\x1b[2J\x1b[1A\x9b31m\x08\x07" * 60 + "rm",
    "what turns the direction": "\u202ercs\u2066.exe\u200b" * 60 + "rm",
    "blanks that are none": "rm\u00a0-rf\u3000/\u2003srv\u1680" * 40,
    "what no character is assigned to": "\ue000\u0378\U0010ffff" * 60 + "rm",
    "glyphs that reach over others": "\ufdfd" * 60 + "rm",
}


COMMANDS: dict[str, Any] = {name: {"command": text} for name, text in LONG.items()}


@pytest.fixture
async def watch(site: Site) -> AsyncIterator[Open]:
    """Open a watch of session ``s`` in a terminal of this size."""
    opened: list[Terminal] = []

    async def open_one(columns: int, rows: int, **options: Any) -> Terminal:
        terminal = Terminal(columns, rows)
        opened.append(terminal)
        await terminal.open(f"{site.url}{site.settings.prefix}", **options)
        return terminal

    yield open_one
    for terminal in opened:
        await terminal.close()


#: What the bodies of the browser are held to, too; the service says itself what was cut, and takes no half characters.
_FILE = Path(__file__).parents[1] / "bodies" / "vectors.json"
VECTORS = {
    vector["about"]: vector["parameters"]
    for vector in json.loads(_FILE.read_text(encoding="utf-8"))
    if "parameters_truncated" not in vector and vector["about"] != "half a character"
}


def ask(site: Site, text: str = "", *, risk_level: Any = "medium", **more: Any) -> PermissionRequest:
    call = {"tool_name": "bash", "parameters": {"command": text}, **more}
    return site.broker.ask("s", risk_level=risk_level, **call)


def content(rows: list[str]) -> str:
    """What stands between the card's sides, without blanks: those at the end of a row cannot be told from none."""
    return "".join(row[2:] for row in rows if row[:1] in ("│", "┊", "|", ":")).replace(" ", "")


def not_in(read: str, value: Any) -> list[str]:
    """Which lines of the names and texts of a value were not read: as they are, or as JSON and shells write them."""
    read = unicodedata.normalize("NFC", bare(read))
    lines = {line for leaf in leaves(value) for line in leaf.split("\n")}
    return [line for line in lines if not any(way in read for way in ways(line))]


def ways(line: str) -> Iterator[str]:
    escaped = json.dumps(line, ensure_ascii=False)[1:-1]
    # The sign before a line of a patch stands apart from it.
    for way in (line, line[1:], line.replace("'", "'\"'\"'"), escaped, readable_json(line)[1:-1], in_ascii(escaped)):
        yield unicodedata.normalize("NFC", bare(seen(way.replace("\t", ""))))


def bare(text: str) -> str:
    """Without blanks, and what stands for those at the end of a line and for tabs."""
    return text.translate(dict.fromkeys(map(ord, " \t·→")))


def last_row(rows: list[str]) -> int:
    return max(at for at, row in enumerate(rows) if row)


async def read_to_the_end(terminal: Terminal, *, end: str = "A approve") -> str:
    """Go through all pages; what was on the screen, each time all of it was there."""
    read = ""
    while True:
        found = await terminal.until("Space goes on.", "Space: more", end)
        rows = terminal.rows
        marks = [at for at, row in enumerate(rows) if "May this run?" in row or "Space" in row]
        read += content(rows[max([at for at in marks if "Space" not in rows[at] or at < last_row(rows)], default=0) :])
        if found == end:
            return read
        terminal.type(" ")


@pytest.mark.parametrize(("columns", "rows"), SIZES)
async def test_every_character_was_on_the_screen_before_a_key_counts(
    columns: int, rows: int, watch: Open, site: Site
) -> None:
    terminal = await watch(columns, rows)
    for name, parameters in (COMMANDS | VECTORS).items():
        request = ask(site, parameters=parameters)
        read = await read_to_the_end(terminal)

        assert request.pending, name
        assert not_in(read, request.record.parameters) == [], name
        if name in COMMANDS:
            await terminal.press("a", until="bash approved by you")
            assert request.record.parameters == parameters, name
        request.cancel()


async def test_key_before_the_end_approves_nothing(watch: Open, site: Site) -> None:
    terminal = await watch(60, 12)
    request = ask(site, LONG["one long word"])
    for _ in range(3):
        await terminal.until("Space goes on.")
        await terminal.press("a", until=MORE)
        terminal.type(" ")

    assert request.pending
    await terminal.press("r", until="Reason")  # what nobody wants to read to its end is rejected
    terminal.type("\n")
    await terminal.until("bash rejected by you")


@pytest.mark.parametrize(("columns", "rows"), SIZES)
async def test_description_reasons_and_name_are_shown_whole_too(
    columns: int, rows: int, watch: Open, site: Site
) -> None:
    long = "".join(f"{number:04}" for number in range(250))
    terminal = await watch(columns, rows)
    ask(site, tool_name="t" * 250, description=f"d{long}", risk_reasons=[f"r{long}"])
    read = await read_to_the_end(terminal)

    assert "t" * 250 in read
    assert f"d{long}" in read
    assert f"becauser{long}" in read


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}])
async def test_terminal_of_another_encoding_shows_everything_too(
    environment: dict[str, str], watch: Open, site: Site
) -> None:
    terminal = await watch(60, 20, **environment)
    ask(site, "größe 危険" * 150 + "rm")
    read = await read_to_the_end(terminal)

    assert read.count("\\u5371\\u967a") == 150
    assert ("größe" in read) is (environment["PYTHONIOENCODING"] == "latin-1")
    assert "rm" in read


async def test_key_for_letters_that_may_change_places_shows_their_escapes(watch: Open, site: Site) -> None:
    terminal = await watch(80, 24)
    ask(site, "rm אבג /srv")
    await terminal.until("letters that are read from the right")
    await terminal.press("x", until="rm \\u05d0\\u05d1\\u05d2 /srv")


async def test_what_no_event_can_hold_is_fetched_and_shown_to_its_end(watch: Open, site: Site) -> None:
    terminal = await watch(200, 60)
    text = "".join(f"{number:07}" for number in range(40_000)) + "; rm -rf /srv"
    request = ask(site, text)
    read = await read_to_the_end(terminal)

    assert text.replace(" ", "") in read
    await terminal.press("a", until="bash approved by you")
    assert request.record.parameters == {"command": text}


async def test_key_rejects_for_the_whole_session(watch: Open, site: Site) -> None:
    terminal = await watch(80, 24)
    request = ask(site, "rm")
    await terminal.until("T reject for the session")
    await terminal.press("t", until="Reason")
    terminal.type("never\n")
    await terminal.until("bash rejected for the session by you")

    assert (request.record.scope, request.record.reason) == ("session", "never")


async def test_card_names_the_server(watch: Open, site: Site) -> None:
    terminal = await watch(80, 24)
    ask(site, "rm", server="mail\u202e")
    await terminal.until("of the MCP server mail\\u202e")


# What has left the screen


async def test_card_that_scrolled_away_is_shown_again_before_a_key_counts(watch: Open, site: Site) -> None:
    terminal = await watch(80, 24)
    request = ask(site, HIDDEN_FAR_RIGHT)
    await terminal.until("A approve")
    for number in range(80):
        site.broker.publish_nowait("s", "note", {"text": f"event {number}"})
    await terminal.until("event 79")
    assert "production" not in "".join(terminal.rows)
    await terminal.press("a", until=LEFT)
    await terminal.until("A approve")

    assert request.pending
    assert HIDDEN_FAR_RIGHT.replace(" ", "") in content(terminal.rows)
    for number in range(80):
        site.broker.publish_nowait("s", "note", {"text": f"later {number}"})
    await terminal.press("a", until="bash approved by you")
    assert "later 79" in terminal.shown


async def test_no_key_decides_what_is_no_longer_to_be_seen(watch: Open, site: Site) -> None:
    terminal = await watch(80, 14)
    for key in "aysernpA":
        request = ask(site, "rm")
        await terminal.until("A approve")
        for number in range(10):
            site.broker.publish_nowait("s", "note", {"text": f"event {key}{number}"})
        await terminal.until(f"event {key}9")
        await terminal.press(key, until=LEFT)

        assert request.pending, key
        await terminal.press("a", until="bash approved by you")


async def test_one_event_that_pushes_the_first_line_off_is_enough(watch: Open, site: Site) -> None:
    terminal = await watch(80, 14)
    request = ask(site, "rm")
    await terminal.until("A approve")
    number = 0
    while "May this run?" in "".join(terminal.rows):
        number += 1
        site.broker.publish_nowait("s", "note", {"text": f"event {number}"})
        await terminal.until(f"event {number}")
    await terminal.press("a", until=LEFT)

    assert request.pending


@pytest.mark.parametrize("size", [(40, 24), (80, 8), (200, 50)])
async def test_card_is_shown_again_after_the_window_has_another_size(
    size: tuple[int, int], watch: Open, site: Site
) -> None:
    terminal = await watch(80, 24)
    request = ask(site, HIDDEN_FAR_RIGHT)
    await terminal.until("A approve")
    terminal.resize(*size)
    await terminal.press("a", until=LEFT)
    read = await read_to_the_end(terminal)

    assert request.pending
    assert HIDDEN_FAR_RIGHT.replace(" ", "") in read
    await terminal.press("a", until="bash approved by you")


async def test_window_that_has_another_size_shows_the_request_again_by_itself(watch: Open, site: Site) -> None:
    terminal = await watch(80, 24)
    request = ask(site, HIDDEN_FAR_RIGHT)
    await terminal.until("A approve")
    terminal.resize(60, 30)
    await terminal.until("May this run?")
    await terminal.until("A approve")

    assert HIDDEN_FAR_RIGHT.replace(" ", "") in content(terminal.rows[-20:])
    await terminal.press("a", until="bash approved by you")
    assert request.record.status == "approved"


async def test_window_that_was_small_for_a_moment_counts_as_changed(watch: Open, site: Site) -> None:
    terminal = await watch(80, 24)
    request = ask(site, HIDDEN_FAR_RIGHT)
    await terminal.until("A approve")
    terminal.resize(20, 5)
    terminal.resize(80, 24)
    await terminal.press("a", until=LEFT)

    assert request.pending


@pytest.mark.parametrize(("columns", "rows"), [(20, 2), (3, 3), (1, 1), (12, 1)])
async def test_terminal_with_no_room_decides_nothing(columns: int, rows: int, watch: Open, site: Site) -> None:
    terminal = await watch(columns, rows)
    request = ask(site, "rm", risk_level="high")
    await terminal.until(SMALL)
    for _ in range(3):
        terminal.type("a")
        await terminal.until(SMALL, LOOK)

    assert request.pending
    terminal.resize(80, 24)
    await terminal.press("d", until="A approve")
    await terminal.press("a", until=TWICE)
    await terminal.press("a", until="bash approved by you")


@pytest.mark.parametrize(("columns", "rows"), [(20, 5), (10, 6), (30, 4), (80, 3)])
async def test_tiny_terminal_shows_everything_line_by_line(columns: int, rows: int, watch: Open, site: Site) -> None:
    terminal = await watch(columns, rows)
    request = ask(site, "echo; rm -rf /srv/production", risk_level="high", risk_reasons=["x"])
    while await terminal.until("Space: more", "Space goes on.", "A R E P S T ?", "A approve") in (
        "Space: more", "Space goes on.",
    ):  # fmt: skip
        terminal.type(" ")
    await terminal.press("a", until="press the same key again")
    assert request.pending
    await terminal.press("a", until="bash approved by you")
    text = re.sub(r"[│┊] |\r\n|Space: more", "", terminal.shown)

    assert "rm-rf/srv/production" in text.replace(" ", "")


@pytest.mark.parametrize(("columns", "rows"), [(10, 6), (11, 5), (11, 4)])
async def test_words_that_there_is_more_have_room_where_the_keys_need_less(
    columns: int, rows: int, watch: Open, site: Site
) -> None:
    terminal = await watch(columns, rows)
    request = ask(site, "rm", allowed_decisions=("approve", "reject"))
    while await terminal.until("Space: more", "A R S T ?") == "Space: more":
        terminal.type(" ")
    await terminal.press("a", until="bash approved by you")

    assert request.record.status == "approved"


# Which keys count


async def test_high_risk_takes_a_second_press(watch: Open, site: Site) -> None:
    terminal = await watch(80, 24)
    request = ask(site, "rm", risk_level="high")
    await terminal.until("A approve")
    await terminal.press("a", until=TWICE)
    assert request.pending
    await terminal.press("a", until="bash approved by you")


@pytest.mark.parametrize(("between", "until"), [("x", "A approve"), ("d", "A approve"), ("s", TWICE)])
async def test_second_press_is_of_the_same_key_for_the_same_picture(
    between: str, until: str, watch: Open, site: Site
) -> None:
    terminal = await watch(80, 40)
    request = ask(site, "rm", risk_level="high")
    await terminal.until("A approve")
    await terminal.press("a", until=TWICE)
    await terminal.press(between, until=until)
    await terminal.press("a", until=TWICE)

    assert request.pending


async def test_key_that_is_held_down_approves_no_high_risk(watch: Open, site: Site) -> None:
    terminal = await watch(80, 24)
    request = ask(site, "rm", risk_level="high")
    await terminal.until("A approve")
    await terminal.press("a", until=TWICE)
    for _ in range(20):
        terminal.type("a")
        await asyncio.sleep(0.03)  # as a keyboard repeats
    await terminal.until("a key that is held down does not count")

    assert request.pending


async def test_key_that_is_held_down_does_not_go_on_to_the_next_request(watch: Open, site: Site) -> None:
    terminal = await watch(80, 24, rest_seconds=0.4)
    first, second = ask(site, "one"), ask(site, "two")
    await terminal.until("A approve")
    await terminal.press("a", until="bash approved by you")
    for _ in range(40):
        terminal.type("a")
        await asyncio.sleep(0.03)  # as a keyboard repeats: three times as long as a key rests

    assert (first.record.status, second.record.status) == ("approved", "pending")


async def test_key_that_was_pressed_before_the_card_came_decides_nothing(watch: Open, site: Site) -> None:
    terminal = await watch(80, 24)
    terminal.type("a")
    request = ask(site, "rm")
    terminal.type("a")
    await terminal.until("A approve")
    await terminal.press("?", until="Q  quit")

    assert request.pending


async def test_what_is_pasted_or_an_arrow_decides_nothing(watch: Open, site: Site) -> None:
    terminal = await watch(80, 24)
    request = ask(site, "rm")
    for pasted in ("all of this is pasted", "\x1b[A", "yes", "ay", "\x1b[200~a\x1b[201~"):
        await terminal.press("d", until="A approve")
        await terminal.press("z", until="No such key")
        terminal.type(pasted)
        await terminal.press("?", until="Q  quit")

        assert request.pending, pasted


async def test_arrow_that_comes_in_pieces_is_no_letter(watch: Open, site: Site) -> None:
    terminal = await watch(80, 24)
    request = ask(site, "rm")
    await terminal.until("A approve")
    await asyncio.sleep(0.5)  # until keys count
    for piece in "\x1b[A":
        terminal.type(piece)
        await asyncio.sleep(0.01)  # each is read by itself
    await terminal.press("?", until="Q  quit")

    assert request.pending


async def test_ctrl_s_does_not_stop_what_a_key_would_answer(watch: Open) -> None:
    terminal = await watch(80, 24)

    assert not termios.tcgetattr(terminal.keyboard)[0] & termios.IXON


async def test_keys_go_from_one_request_to_the_next_and_back(watch: Open, site: Site) -> None:
    terminal = await watch(80, 24)
    first, second = ask(site, tool_name="first_tool"), ask(site, tool_name="second_tool")
    await terminal.until("A approve")
    await terminal.press("j", until="May this run? (2 of 2 waiting)")
    await terminal.until("second_tool   risk medium")
    await terminal.press("j", until="This is the last request that waits.")
    await terminal.press("a", until="second_tool approved by you")
    await terminal.until("first_tool   risk medium")

    assert (first.record.status, second.record.status) == ("pending", "approved")


async def test_what_a_request_does_not_offer_has_no_key(watch: Open, site: Site) -> None:
    terminal = await watch(80, 24)
    request = ask(site, "rm", allowed_decisions=("approve", "reject"))
    await terminal.until("A approve")
    await terminal.press("e", until="This request does not offer that.")
    await terminal.press("p", until="This request does not offer that.")

    assert "E edit" not in terminal.shown
    assert "P reply" not in terminal.shown
    assert request.pending


async def test_page_that_is_asked_elsewhere_makes_room(watch: Open, site: Site, client: Client) -> None:
    terminal = await watch(80, 14)
    first, second = ask(site, LONG["one long word"]), ask(site, "ls", tool_name="second_tool")
    await terminal.until("Space goes on.")
    site.broker.publish_nowait("s", "note", {"text": "meanwhile"})
    await client.decide("s", {"approved": False, "request_id": first.request_id})
    await terminal.until("meanwhile")
    await terminal.until("second_tool   risk medium")
    await terminal.press("a", until="second_tool approved by you")

    assert second.record.status == "approved"


async def test_flood_of_events_while_a_page_is_read_is_bounded_and_told(
    watch: Open, site: Site, client: Client
) -> None:
    terminal = await watch(80, 12)
    ask(site, LONG["one long word"])
    await terminal.until("Space goes on.")
    await client.publish("s", [{"type": "note", "data": {"text": f"event {number}"}} for number in range(700)])
    terminal.type(" ")
    await read_to_the_end(terminal)
    await terminal.press("a", until="lines that came meanwhile are not shown)")
    await terminal.until("event 699")

    assert "event 1\r" not in terminal.shown


async def test_pipe_gets_every_character_of_a_request(commands: Commands, site: Site) -> None:
    process = await commands.start("watch", "s", env={"COLUMNS": "40", "PYTHONIOENCODING": "utf-8"})
    assert process.stdout is not None
    ask(site, LONG["far right"] * 20, risk_level="high")
    shown = ""
    async with asyncio.timeout(20):
        while "Answer with a line: approve pr_" not in shown:
            shown += (await process.stdout.readline()).decode()

    assert f"command: {LONG['far right'] * 20}\n" in shown
