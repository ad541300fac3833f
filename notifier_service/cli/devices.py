"""``devices``: lists the devices that were paired and those that are called by push, and takes them back."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..client import Client
from .scripts import TERMINAL, service_command
from .table import moment, print_table

__all__ = ["add_commands"]

_COLUMNS = ("KIND", "NAME", "OF", "USED", "UNTIL", "DEVICE", "GIVES")


def add_commands(commands: Any) -> None:
    parser = service_command(
        commands,
        "devices",
        _devices,
        "list the devices that were paired or are called by push, and take them back",
        "List the devices that were paired, with what their tokens give, and the browsers that are called by push; or "
        "take some of them back. What a device has open ends at once.",
    )
    parser.add_argument("action", nargs="?", choices=["list", "remove"], default="list", help="(list)")
    parser.add_argument("device", nargs="*", help="which ones to remove, as the list names them")
    parser.add_argument(
        "--json", action="store_true", help="print {devices, subscriptions}, whole; or what was removed"
    )


async def _devices(arguments: argparse.Namespace) -> int:
    is_removal = arguments.action == "remove"
    if is_removal is not bool(arguments.device):
        problem = "remove needs a device: notifier-service devices lists them" if is_removal else "list takes no device"
        print(f"notifier-service: {problem}", file=sys.stderr)
        return 2
    async with Client(arguments.url, token=arguments.token, user_agent=TERMINAL) as client:
        if is_removal:
            removed = [await client.remove_device(device) for device in arguments.device]
        else:
            told = await client.devices()
    if is_removal:
        print(
            json.dumps(removed, indent=2) if arguments.json else "\n".join(f"removed: {one['id']}" for one in removed)
        )
    elif arguments.json:
        print(json.dumps(told, indent=2))  # ASCII: whatever a terminal could act on stays an escape
    elif rows := list(_rows(told)):
        print_table(_COLUMNS, rows, whole=("DEVICE",))
    else:
        print("No device of yours is paired or called. Pair a phone with: notifier-service pair", file=sys.stderr)
    return 0


def _rows(told: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    for one in told["devices"]:
        gives = f"{' '.join(one['rights'])} in {', '.join(one['sessions'])}"
        yield (
            "paired", one["label"], one["subject"], _day(one["last_used_at"]), one["ended"] or _day(one["expires_at"]),
            one["id"], gives,
        )  # fmt: skip
    for one in told["subscriptions"]:
        name, used = one["label"] or one["service"] or "", _day(one["last_at"])
        yield "push", name, one["subject"], used, "", one["id"], f"pushes of {', '.join(one['sessions'])}"


def _day(timestamp: str | None) -> str:
    return "never" if timestamp is None else f"{moment(timestamp).astimezone():%Y-%m-%d %H:%M}"
