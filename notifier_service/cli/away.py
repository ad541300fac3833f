"""``away``: a person says that they see nothing, whichever page is open, so that they are called elsewhere."""

from __future__ import annotations

import argparse
from typing import Any

from ..client import Client
from .scripts import TERMINAL, service_command

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    away = service_command(
        commands,
        "away",
        _away,
        "say that you see nothing, and are to be called elsewhere",
        "Say that you see nothing, whichever page is open: what waits calls your devices at once. Without on or off, "
        "say whether it is so.",
    )
    away.add_argument("state", nargs="?", choices=("on", "off"))


async def _away(arguments: argparse.Namespace) -> int:
    async with Client(arguments.url, token=arguments.token, user_agent=TERMINAL) as client:
        told = await client.presence(away=None if arguments.state is None else arguments.state == "on")
    print("You are away: what waits calls your devices." if told["away"] else "You are not away.")
    return 0
