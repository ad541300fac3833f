"""``pair`` shows a link that a phone can read; ``devices`` lists what was given by it, and takes it back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pyte
import pytest
import zxingcpp

from notifier_service import Settings, serve
from notifier_service.cli.qr import picture
from notifier_service.web import Site
from tests.cli.processes import Commands

LINK = "https://box.tail1234.ts.net/agent_backend/#/pair/tk_" + "A" * 24


@pytest.fixture
async def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """A service with the token of ``ana``, who may approve in ``team-*``, which commands come with."""
    entry = {"token": "approve-token-of-ana", "subject": "ana", "rights": ["approve"], "sessions": ["team-*"]}
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps([entry]))
    async with serve(settings=Settings(port=0, auth="tokens", tokens_file=tokens)) as site:
        monkeypatch.setenv("NOTIFIER_URL", site.url)
        monkeypatch.setenv("NOTIFIER_TOKEN", "approve-token-of-ana")
        yield site


async def opened(site: Site, url: str) -> dict[str, Any]:
    """What a phone gets that opens the link."""
    headers = {"Authorization": f"Bearer {url.rpartition('/')[2]}"}
    async with (
        aiohttp.ClientSession(headers=headers) as phone,
        phone.post(f"{site.url}/agent_backend/api/pair", json={"label": "Android"}) as response,
    ):
        assert response.status == 201
        told: dict[str, Any] = (await response.json())["data"]
        return told


# The picture


def read(dark: Sequence[Sequence[bool]]) -> Sequence[str]:
    """What another library reads in a picture of these modules, each of four by four points."""
    rows = [bytes(0 if module else 255 for module in row for _ in range(4)) for row in dark for _ in range(4)]
    return [
        found.text for found in zxingcpp.read_barcodes(memoryview(b"".join(rows)).cast("B", (len(rows), len(rows[0]))))
    ]


def seen_on(background: str, lines: Sequence[str]) -> list[list[bool]]:
    """Which points are dark on a terminal whose background is ``white`` or ``black``, and its writing the other."""
    screen = pyte.Screen(120, 80)
    pyte.Stream(screen).feed("\r\n".join(lines))
    own = {"default": "black" if background == "white" else "white"}

    def is_dark(colour: str, default: str) -> bool:
        return {"default": default, "000000": "black", "ffffff": "white"}[colour] == "black"

    rows: list[list[bool]] = []
    for y in range(len(lines)):
        cells = [screen.buffer[y][x] for x in range(120)]
        ink = [is_dark(cell.fg, own["default"]) for cell in cells]
        paper = [is_dark(cell.bg, background) for cell in cells]
        for half in ("▀█", "▄█"):
            rows.append(
                [i if c.data in half or c.data == "#" else p for c, i, p in zip(cells, ink, paper, strict=True)]
            )
    return rows


@pytest.mark.parametrize("background", ["white", "black"])
@pytest.mark.parametrize("how", ["colours", "blocks", "ascii", "ascii in colours"])
def test_picture_is_read_on_dark_and_on_light_backgrounds(background: str, how: str) -> None:
    lines = picture(LINK, is_coloured="colours" in how, is_ascii="ascii" in how, on_light=background == "white")

    assert read(seen_on(background, lines)) == [LINK]
    assert len(lines) <= 41


def test_picture_leaves_room_in_a_window_of_the_usual_size() -> None:
    lines = picture(LINK, is_coloured=False)

    assert (len(lines), {len(line) for line in lines}) == (19, {37})


# The command


async def test_pair_shows_a_link_that_gives_a_phone_what_it_says(commands: Commands, guarded: Site) -> None:
    ended = await commands.run_here("pair", "--public-url", "https://box.example", "--label", "Ana's phone\x1b[2J")

    assert (ended.exit_code, ended.err) == (0, "")
    *drawn, url = ended.out.partition("\n\n")[0].splitlines()
    assert url.startswith("https://box.example/agent_backend/#/pair/tk_")
    assert read([[c == " " for c in row] for row in drawn]) == [url] or read(seen_on("black", drawn)) == [url]
    assert "see and decide in the name of ana, in sessions team-*" in ended.out
    assert "within 5 minutes" in ended.out
    told = await opened(guarded, url)
    assert (told["device"]["label"], told["device"]["rights"]) == ("Ana's phone[2J", ["approve"])


async def test_pair_gives_less_where_that_is_asked(commands: Commands, guarded: Site) -> None:
    ended = await commands.run_here(
        "pair", "--rights", "view", "--sessions", "team-a, team-b*", "--expires", "12h", "--json"
    )

    link = json.loads(ended.out)
    assert (link["gives"]["rights"], link["gives"]["sessions"]) == (["view"], ["team-a", "team-b*"])
    told = await opened(guarded, link["url"])
    assert (told["device"]["label"], told["device"]["rights"]) == ("Android", ["view"])


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (["--rights", "admin"], 2, "admin is none of view, approve"),
        (["--rights", ","], 2, "at least one"),
        (["--sessions", ""], 2, "at least one"),
        (["--expires", "never"], 2, "12h or 30d"),
        (["--expires", "59"], 2, "12h or 30d"),
        (["--expires", "99999999w"], 2, "12h or 30d"),
        (["--sessions", "*"], 1, "forbidden"),
        (["--public-url", "ftp://x"], 1, "invalid"),
        (["--token", "nobodys-token"], 1, "unauthenticated"),
    ],
)
async def test_pair_says_what_it_cannot_do(
    commands: Commands, guarded: Site, arguments: Sequence[str], exit_code: int, words: str
) -> None:
    ended = await commands.run_here("pair", *arguments)

    assert (ended.exit_code, ended.out) == (exit_code, "")
    assert words in ended.err


@pytest.mark.parametrize(
    ("url", "warning"),
    [
        ("https://box.example", ""),
        ("http://192.168.1.5:8000", "over http everybody in between reads the token"),
        ("http://localhost:8000", "no phone reaches this address"),
    ],
)
async def test_pair_warns_of_an_address_that_a_phone_should_not_use(
    commands: Commands, guarded: Site, url: str, warning: str
) -> None:
    ended = await commands.run_here("pair", "--public-url", url)

    assert ended.exit_code == 0
    assert warning in ended.err
    assert bool(warning) is bool(ended.err)


async def test_without_tokens_pair_says_that_the_link_only_opens_the_page(commands: Commands, site: Site) -> None:
    ended = await commands.run_here("pair")

    assert ended.exit_code == 0
    assert f"{site.url}/agent_backend/\n" in ended.out
    assert "/pair/" not in ended.out
    assert "auth=none" in ended.out


# What was given


async def test_devices_are_listed_and_removed(commands: Commands, guarded: Site) -> None:
    none = await commands.run_here("devices")
    assert (none.exit_code, none.out) == (0, "")
    assert "notifier-service pair" in none.err
    link = json.loads((await commands.run_here("pair", "--label", "one\u202e", "--json")).out)
    told = await opened(guarded, link["url"])
    device = told["device"]["id"]

    heading, row = (await commands.run_here("devices", "list")).out.splitlines()
    assert heading.split() == ["KIND", "NAME", "OF", "USED", "UNTIL", "DEVICE", "GIVES"]
    assert row.split()[:4] == ["paired", "one", "ana", "never"]
    assert row.endswith(f"{device}  approve in team-*")
    as_json = json.loads((await commands.run_here("devices", "--json")).out)
    assert ([one["id"] for one in as_json["devices"]], as_json["subscriptions"]) == ([device], [])
    assert told["token"] not in json.dumps(as_json)

    removed = await commands.run_here("devices", "remove", device)

    assert (removed.exit_code, removed.out) == (0, f"removed: {device}\n")
    again = await commands.run_here("devices", "remove", device)
    assert (again.exit_code, again.out) == (1, "")
    assert "not_found" in again.err
    assert (await commands.run_here("devices", "list", "--token", told["token"])).exit_code == 1


@pytest.mark.parametrize("arguments", [["remove"], ["list", "device_1"], ["forget"]])
async def test_devices_says_what_it_takes(commands: Commands, arguments: Sequence[str]) -> None:
    ended = await commands.run_here("devices", *arguments)

    assert (ended.exit_code, ended.out) == (2, "")
