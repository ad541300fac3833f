"""``bridge``: ask here what an agent asks that runs as a server of its own."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from ..bridges.opencode import OpencodeBridge
from ..core.errors import InvalidInput, NotifierError
from .gateway import add_options, asker, made_up_session, refuse
from .output import logging_to

__all__ = ["add_commands"]

_LOG_FORM = "notifier-service bridge: %(message)s"


def add_commands(commands: Any) -> None:
    bridge = commands.add_parser(
        "bridge",
        help="ask here what an agent asks that runs as a server of its own",
        description="Follow an agent that runs as a server of its own, ask a person here, and reply there.",
    )
    kinds = bridge.add_subparsers(title="kinds", metavar="KIND", required=True)
    opencode = kinds.add_parser(
        "opencode",
        help="to a running opencode serve",
        description="Follow the events of an opencode server, ask here what it asks, and reply there. Without "
        "--service the service and its console run in this process, on a free port of this machine; where, standard "
        "error tells. A password of the server goes into its URL: http://opencode:PASSWORD@127.0.0.1:4096.",
    )
    add_options(opencode)
    opencode.add_argument("url", metavar="URL", help="where opencode serves, such as http://127.0.0.1:4096")
    opencode.set_defaults(command=_opencode, is_server=True)


async def _opencode(arguments: argparse.Namespace) -> int:
    name = arguments.name or "opencode"
    session_id = arguments.session or made_up_session([name], kind="bridge")
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    with logging_to(2, "warning", _LOG_FORM):
        try:
            async with (
                asker(arguments, session_id, agent=name, kind="bridge") as asked,
                OpencodeBridge(asked, arguments.url, approval_seconds=arguments.approval_timeout) as bridge,
            ):
                running, ended = asyncio.create_task(bridge.run()), asyncio.create_task(stopped.wait())
                await asyncio.wait((running, ended), return_when=asyncio.FIRST_COMPLETED)
                for task in (running, ended):
                    task.cancel()
                with suppress(asyncio.CancelledError):
                    await running
        except NotifierError as error:
            print(f"notifier-service: {error.message}", file=sys.stderr)
            return 2 if isinstance(error, InvalidInput) else 1
        except ValidationError as error:
            return refuse(error)
    return 0
