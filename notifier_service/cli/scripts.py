"""``publish``, ``ask``, ``decide`` and ``watch``: talk to a running service."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from ..bare import DEFAULT_URL
from ..version import __version__

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..client import Client

__all__ = ["add_commands", "service_command"]

#: How a person's command names itself, so that the record says through what was decided.
TERMINAL = f"notifier-service/{__version__} (terminal)"
_JSON_HELP = "print the record as JSON also on a terminal, where a sentence says it otherwise"


def add_commands(commands: Any) -> None:
    watch = service_command(
        commands,
        "watch",
        _watch,
        "follow a session, or all of them, and answer what is asked",
        "Follow a session and answer its requests; without one, what waits in all sessions that the token may see.",
    )
    watch.add_argument("session", nargs="?")

    publish = service_command(commands, "publish", _publish, "publish an event", "Publish an event to a session.")
    publish.add_argument("session")
    publish.add_argument("type", help="tool_status, tool_progress, tool_result, or a type of your own")
    publish.add_argument("data", nargs="?", type=_json_object, help="a JSON object; - reads it from standard input")

    ask = service_command(commands, "ask", _ask, "ask for permission", "Ask a person whether a tool call may run.")
    ask.add_argument("session")
    ask.add_argument("tool")
    ask.add_argument(
        "parameters", nargs="?", type=_json_object, default={}, help="a JSON object; - reads it from standard input"
    )
    ask.add_argument("--wait", action="store_true", help="wait for the decision; exit code 0 only if it is approved")
    ask.add_argument(
        "--edits",
        action="store_true",
        help="with --wait: a person may edit; standard output is the JSON of the parameters that run",
    )
    ask.add_argument("--risk", choices=["low", "medium", "high"], help="risk level (high)")
    ask.add_argument("--description", help="what the agent says it wants; shown as unverified")
    ask.add_argument("--timeout", type=float, metavar="SECONDS", help="deny after so long; 0 is never")
    ask.add_argument("--tool-call-id", help="the agent's own id of the call")
    ask.add_argument("--json", action="store_true", help=_JSON_HELP)

    decide = service_command(commands, "decide", _decide, "answer a permission request", "Answer a permission request.")
    decide.add_argument("session")
    decide.add_argument("request", nargs="?", help="which one (request_id); without, what waits is printed")
    answer = decide.add_mutually_exclusive_group(required=True)
    answer.add_argument("--approve", action="store_true", help="let it run")
    answer.add_argument("--reject", action="store_true", help="do not let it run")
    answer.add_argument("--edit", type=_json_object, metavar="JSON", help="let it run with these parameters")
    answer.add_argument("--respond", metavar="TEXT", help="do not let it run; this is its result")
    decide.add_argument("--reason", help="reaches the agent word for word")
    decide.add_argument("--scope", choices=["once", "session", "always"], help="how far an approval reaches (once)")
    decide.add_argument("--json", action="store_true", help=_JSON_HELP)


def service_command(
    commands: Any, name: str, command: Any, help_text: str, description: str
) -> argparse.ArgumentParser:
    """A command that talks to a running service, with the options for where that is and who asks."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help_text, description=description)
    url = os.environ.get("NOTIFIER_URL", DEFAULT_URL)
    parser.add_argument("--url", default=url, help=f"the service, with its prefix or without (NOTIFIER_URL; {url})")
    parser.add_argument(
        "--token",
        default=os.environ.get("NOTIFIER_TOKEN"),
        help="better set as NOTIFIER_TOKEN, where ps does not show it",
    )
    parser.set_defaults(command=command)
    return parser


def __getattr__(name: str) -> Any:
    # aiohttp and all that is behind it take ten times as long to load as the arguments take to be read.
    if name != "Client":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ..client import Client

    return Client


def _client(arguments: argparse.Namespace) -> Client:
    client: Client = sys.modules[__name__].Client(arguments.url, token=arguments.token, user_agent=TERMINAL)
    return client


async def _watch(arguments: argparse.Namespace) -> int:
    import asyncio
    import signal

    try:
        from .watch import Watch
    except ModuleNotFoundError as error:
        if error.name != "rich":
            raise
        print("notifier-service: watch needs rich: pip install 'notifier-service[cli]'", file=sys.stderr)
        return 2
    task = asyncio.current_task()
    assert task is not None  # called from a coroutine
    terminated = False

    def on_sigterm() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, on_sigterm)
    async with _client(arguments) as client:
        try:
            return await Watch(client, arguments.session).run()
        except asyncio.CancelledError:
            if not terminated:
                raise
            return 128 + signal.SIGTERM  # the terminal has its keys back


async def _publish(arguments: argparse.Namespace) -> int:
    event = {"type": arguments.type} | ({} if arguments.data is None else {"data": arguments.data})
    async with _client(arguments) as client:
        for event_id in await client.publish(arguments.session, event):
            print(event_id)
    return 0


async def _ask(arguments: argparse.Namespace) -> int:
    if arguments.edits and not arguments.wait:
        print("notifier-service: --edits goes with --wait, which prints the parameters that run", file=sys.stderr)
        return 2
    import json
    from functools import partial

    optional = {
        "risk_level": arguments.risk,
        "description": arguments.description,
        "timeout_seconds": arguments.timeout,
        "tool_call_id": arguments.tool_call_id,
    }
    more = {name: value for name, value in optional.items() if value is not None}
    # A script is offered what it can carry out, and no more.
    more["allowed_decisions"] = ["approve", "edit", "reject"] if arguments.edits else ["approve", "reject"]
    async with _client(arguments) as client:
        ask = partial(client.ask, arguments.session, arguments.tool, arguments.parameters, **more)
        record = await (_decided(client, arguments.session, ask) if arguments.wait else ask())
        if record["approved"] and record.get("parameters_truncated"):
            record = await client.request(arguments.session, record["request_id"])
    is_json = arguments.json or not sys.stdout.isatty()
    if not arguments.wait:
        _print(record) if is_json else _tell_asked(record, arguments)
        return 0
    if record["approved"] and record.get("parameters_truncated"):
        print("notifier-service: the parameters are too large, and no longer kept whole", file=sys.stderr)
        return 1
    if record["approved"] and not arguments.edits and _is_edited(record, arguments.parameters):
        print("notifier-service: the service answered with an edit, which was not offered", file=sys.stderr)
        return 1
    if arguments.edits and record["approved"]:
        print(json.dumps(record["parameters"]))
    elif arguments.edits:
        # Standard output is for what runs, and nothing does.
        print(json.dumps(record, indent=2) if is_json else _told(record), file=sys.stderr)
    elif is_json:
        _print(record)
    else:
        print(_told(record))
    return 0 if record["approved"] else 1


def _tell_asked(record: dict[str, Any], arguments: argparse.Namespace) -> None:
    if record["status"] != "pending":
        print(_told(record))
        return
    from .terminal import in_a_row

    session = in_a_row(arguments.session, sys.stdout.encoding)
    print(
        f"Asked: {in_a_row(record['tool_name'], sys.stdout.encoding)}, risk {record['risk_level']}. A person decides."
    )
    print(f"  {record['request_id']}")
    print(f"To answer it: notifier-service watch {session}")


def _told(record: dict[str, Any], *, is_ours: bool = False) -> str:
    """How a request ended, as a sentence, and why."""
    from .terminal import in_a_row
    from .words import ended

    tool, encoding = in_a_row(record["tool_name"], sys.stdout.encoding), sys.stdout.encoding
    rule = f" (rule {in_a_row(record['rule'], encoding)})" if record.get("rule") else ""
    words = f"{tool}: {ended(record, is_ours=is_ours)}{rule}"
    for name, before in (("reason", ""), ("response", "the answer: ")):
        if record.get(name):
            words += f"\n  {before}{in_a_row(record[name], encoding)}"
    return words


def _is_edited(record: dict[str, Any], asked: dict[str, Any]) -> bool:
    from ..core.parameters import canonical_json

    return record["decision"] == "edit" or canonical_json(record["parameters"]) != canonical_json(asked)


async def _decided(client: Client, session_id: str, ask: Callable[..., Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """Wait for the decision, and take what was approved; whoever stops us withdraws the request."""
    import asyncio
    import math
    import secrets
    import signal
    import threading
    from contextlib import suppress

    from ..core.errors import ServiceRestarted

    task = asyncio.current_task()
    assert task is not None  # called from a coroutine
    if threading.current_thread() is threading.main_thread():  # no other hears signals
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)

    def say(record: dict[str, Any]) -> None:
        print(f"waiting for a person to decide {record['request_id']}", file=sys.stderr, flush=True)

    try:
        record = await ask(wait_seconds=math.inf, on_waiting=say)
        if record["approved"]:
            with suppress(ServiceRestarted):  # without a journal nobody else can have it, and it was approved
                run_id = secrets.token_urlsafe(16)
                # What a script runs and how that ends, nobody tells the session.
                record = await client.claim(session_id, record["request_id"], run_id, reports=False) or record
        return record
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _decide(arguments: argparse.Namespace) -> int:
    decision: dict[str, Any] = {"approved": bool(arguments.approve or arguments.edit is not None)}
    optional = {
        "request_id": arguments.request,
        "parameters": arguments.edit,
        "response": arguments.respond,
        "reason": arguments.reason,
        "scope": arguments.scope,
    }
    decision |= {name: value for name, value in optional.items() if value is not None}
    async with _client(arguments) as client:
        is_json = arguments.json or not sys.stdout.isatty()
        if arguments.request is None and not arguments.reject:
            return _not_meant(await client.pending(arguments.session), arguments.session, is_json=is_json)
        # The same decision again is answered as the first was, whoever made that one.
        before = (
            None if is_json or arguments.request is None else await client.request(arguments.session, arguments.request)
        )
        record = await client.decide(arguments.session, decision)
    if is_json:
        _print(record)
    elif before is not None and before["status"] != "pending":
        print(f"{_told(record)}\n  That was so already: nothing was changed.")
    else:
        print(_told(record, is_ours=True))
    return 0


def _not_meant(pending: list[dict[str, Any]], session: str, *, is_json: bool) -> int:
    """Show what waits: a yes to whatever it is would reach further than what the person saw."""
    if not pending:
        print("notifier-service: No permission request is pending in this session.", file=sys.stderr)
        return 1
    if is_json:
        import json

        print(json.dumps(pending, indent=2))
    else:
        from .waiting import print_waiting

        print_waiting([{"session_id": session} | record for record in pending])
    print("notifier-service: say which of these is meant, by its request_id; nothing was decided", file=sys.stderr)
    return 2


def _json_object(text: str) -> dict[str, Any]:
    from .typed import json_object

    if text == "-":
        text = sys.stdin.read()
    try:
        return json_object(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _print(record: dict[str, Any]) -> None:
    import json

    # ASCII: whatever a terminal could act on stays an escape, and a script reads the same value.
    print(json.dumps(record, indent=2))
