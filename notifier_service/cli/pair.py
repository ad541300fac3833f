"""``pair``: shows a link that gives a phone a token of its own, once."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ..bare import is_loopback
from ..client import Client
from .qr import picture
from .scripts import TERMINAL, service_command
from .table import moment
from .terminal import in_a_row
from .typed import names

__all__ = ["add_commands"]

_RIGHTS = ("view", "approve")
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
#: As the service has it.
_SHORTEST, _LONGEST = 60, 366 * 86_400


def add_commands(commands: Any) -> None:
    parser = service_command(
        commands,
        "pair",
        _pair,
        "show a picture with which a phone gets a token of its own",
        "Show a link as a QR code. Whoever opens it first, within five minutes, gets a token of their own, which gives "
        "no more than yours and ends with it. See and take back what was given with: notifier-service devices.",
    )
    parser.add_argument(
        "--public-url",
        metavar="URL",
        help="the service as the phone reaches it (the setting public_url, else where this command reaches it)",
    )
    parser.add_argument("--label", metavar="NAME", help="what the phone is called; without, as it calls itself")
    parser.add_argument(
        "--rights", type=_rights, help="view, or approve, which includes it (approve, where your token has that)"
    )
    parser.add_argument("--sessions", type=names, metavar="PATTERNS", help="with commas (those of your token)")
    parser.add_argument(
        "--expires", type=_seconds, metavar="TIME", help="when its token ends: 12h, 30d (90d, or when yours ends)"
    )
    parser.add_argument("--light", action="store_true", help="without colours: the background here is light")
    parser.add_argument("--json", action="store_true", help="print the link as JSON: {url, expires_at, gives, svg, …}")


async def _pair(arguments: argparse.Namespace) -> int:
    async with Client(arguments.url, token=arguments.token, user_agent=TERMINAL) as client:
        link = await client.pair(
            url=arguments.public_url,
            label=arguments.label,
            rights=arguments.rights,
            sessions=arguments.sessions,
            expires_in=arguments.expires,
        )
    if arguments.json:
        print(json.dumps(link, indent=2))
        return 0
    _show(link["url"], on_light=arguments.light)
    print(link["url"], end="\n\n")
    for line in _told(link):
        print(in_a_row(line, sys.stdout.encoding))
    for warning in _warnings(link["url"]):
        print(f"notifier-service: {warning}", file=sys.stderr)
    return 0


def _show(url: str, *, on_light: bool) -> None:
    is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    lines = picture(url, is_coloured=is_coloured, is_ascii=not _knows_blocks(), on_light=on_light)
    width = len(re.sub(r"\x1b\[[\d;]*m", "", lines[0]))
    if sys.stdout.isatty() and width > shutil.get_terminal_size().columns:
        print(f"notifier-service: the picture needs {width} columns: make the window wider", file=sys.stderr)
        return
    print("\n".join(lines))


def _knows_blocks() -> bool:
    try:
        "▀▄█".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _told(link: Mapping[str, Any]) -> list[str]:
    if not link["needs_token"]:
        return [
            "The service runs with auth=none: it needs no token, and this link only opens its page.",
            "It answers programs of this machine alone. For a phone set auth=tokens: docs/phone.md.",
        ]
    gives = link["gives"]
    may = "see and decide" if "approve" in gives["rights"] else "see, and decide nothing,"
    until = moment(gives["expires_at"]).astimezone()
    return [
        f"Open it on the phone within {link['expires_in'] / 60:.0f} minutes; it works once.",
        f"The phone may then {may} in the name of {gives['subject']}, in sessions {', '.join(gives['sessions'])}, "
        f"until {until:%Y-%m-%d %H:%M}.",
        "To see it, and take it back: notifier-service devices",
    ]


def _warnings(url: str) -> list[str]:
    place = urlsplit(url)
    if is_loopback(place.hostname or ""):
        return ["no phone reaches this address: name another with --public-url, or set public_url (docs/phone.md)"]
    if place.scheme == "http":
        return ["over http everybody in between reads the token: give the service an address with https"]
    return []


def _rights(text: str) -> list[str]:
    rights = names(text)
    if unknown := [right for right in rights if right not in _RIGHTS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(_RIGHTS)}: a device gets no other")
    return rights


def _seconds(text: str) -> int:
    found = re.fullmatch(r"(\d{1,9})([mhdw]?)", text)
    seconds = int(found[1]) * _SECONDS.get(found[2], 1) if found else 0
    if not _SHORTEST <= seconds <= _LONGEST:
        raise argparse.ArgumentTypeError("a time from 1m to 366d is needed, such as 12h or 30d")
    return seconds
