"""``gateway``: before the tools of an MCP server or before an agent, so that a person is asked before one runs."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from ..calls.asker import Asker, BrokerAsker
from ..core.errors import InvalidInput
from ..core.limits import MAX_TIMEOUT_SECONDS
from ..core.session import check_session_id
from ..mcp.tasks import AFTER_SECONDS
from .output import logging_to

# An agent waits for its servers whenever it starts: what only one kind of gateway needs, or only one without a service,
# is loaded by that alone.

__all__ = ["add_commands"]

#: Programs that are started only to run another one, which is what people know.
_LAUNCHERS = frozenset(
    {"npx", "node", "bunx", "bun", "deno", "uvx", "uv", "pipx", "python", "python3", "docker", "env"}
)


_LOG_FORM = "notifier-service gateway: %(message)s"


def add_commands(commands: Any) -> None:
    gateway = commands.add_parser(
        "gateway",
        help="ask before a tool of an MCP server runs, or before what an agent does in an editor",
        description="Stand between an MCP client and an MCP server, or between an editor and an agent, and ask a "
        "person before a tool runs.",
    )
    kinds = gateway.add_subparsers(title="kinds", metavar="KIND", required=True)
    stdio = kinds.add_parser(
        "stdio",
        help="before a server that a command starts",
        description="Start an MCP server and stand between it and the client on standard input and output. Without "
        "--service the service and its console run in this process, on a free port of this machine; where, "
        "standard error tells.",
        usage="%(prog)s [OPTION ...] -- COMMAND [ARGUMENT ...]",
    )
    add_options(stdio)
    _add_task_option(stdio)
    stdio.add_argument("server", nargs="+", metavar="COMMAND", help="the server's command, behind --")
    stdio.set_defaults(command=_stdio, is_server=True)
    acp = kinds.add_parser(
        "acp",
        help="between an editor and an agent that speak the Agent Client Protocol",
        description="Start an agent and stand between it and the editor on standard input and output, as the editor's "
        "agent. What the agent asks of its person is asked here, and so is what it would write or run through the "
        "editor. Without --service the service and its console run in this process, on a free port of this machine; "
        "where, standard error tells.",
        usage="%(prog)s [OPTION ...] -- AGENT [ARGUMENT ...]",
    )
    add_options(acp)
    acp.add_argument(
        "--mode",
        choices=("gate", "both"),
        default="gate",
        help="gate asks here only, both here and in the editor: the first answer wins (gate)",
    )
    acp.add_argument("server", nargs="+", metavar="AGENT", help="the agent's command, behind --")
    acp.set_defaults(command=_acp, is_server=True)
    http = kinds.add_parser(
        "http",
        help="before a server that listens",
        description="Stand before an MCP server that speaks streamable HTTP. Clients on this machine connect to /mcp; "
        "for others, let the service be the gateway (serve --mcp-upstreams). Without --service the service and its "
        "console run in this process, on a free port of this machine; where, standard error tells.",
    )
    add_options(http)
    _add_task_option(http)
    http.add_argument("--host", default="127.0.0.1", help="loopback address to listen on (127.0.0.1)")
    http.add_argument("--port", type=int, default=8001, help="port to listen on (8001); 0 takes a free one")
    http.add_argument("upstream", metavar="UPSTREAM", help="the server's URL, such as http://127.0.0.1:3001/mcp")
    http.set_defaults(command=_http, is_server=True)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every kind of gateway."""
    parser.add_argument("--service", metavar="URL", help="a running service, with its prefix or without, to be asked")
    parser.add_argument("--session", type=_session_id, metavar="ID", help="the session to ask in (made up)")
    parser.add_argument(
        "--token",
        default=os.environ.get("NOTIFIER_TOKEN"),
        help="for --service, with the right to produce; better set as NOTIFIER_TOKEN, where ps does not show it",
    )
    parser.add_argument(
        "--policy-file",
        type=Path,
        metavar="FILE",
        help="rules in TOML: what is allowed, asked or denied (without --service)",
    )
    parser.add_argument(
        "--audit-file",
        type=Path,
        metavar="FILE",
        help="put on record there who let what run, before it runs (without --service)",
    )
    parser.add_argument(
        "--name", type=_name, metavar="NAME", help="what people know the MCP server by (from its command or address)"
    )
    parser.add_argument(
        "--approval-timeout",
        type=_seconds,
        metavar="SECONDS",
        help="deny what nobody answered in time (55; for claude-code, and for clients that take tasks, as long as the "
        "service waits)",
    )


def _add_task_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--task-after",
        type=_seconds_or_none,
        default=AFTER_SECONDS,
        metavar="SECONDS",
        help="a call that waits longer is a task for clients that take tasks (io.modelcontextprotocol/tasks): they ask "
        "later what became of it (20)",
    )


async def _stdio(arguments: argparse.Namespace) -> int:
    with logging_to(2, "warning", _LOG_FORM):
        return await _run_stdio(arguments)


async def _run_stdio(arguments: argparse.Namespace) -> int:
    from ..mcp.stdio_relay import StdioRelay

    session_id = arguments.session or made_up_session(arguments.server)
    try:
        async with asker(arguments, session_id) as asked:
            asked.introduce(title=_folder())
            source, sink = _taken_standard_streams()
            relay = StdioRelay(
                asked,
                server=arguments.name or name_of_server(arguments.server),
                approval_seconds=arguments.approval_timeout,
                client_seconds=_patience_of_claude_code(),
                task_seconds=arguments.task_after,
            )
            return await relay.run(arguments.server, source=source, sink=sink)
    except (ValidationError, InvalidInput) as error:
        return refuse(error)


async def _acp(arguments: argparse.Namespace) -> int:
    with logging_to(2, "warning", _LOG_FORM):
        return await _run_acp(arguments)


async def _run_acp(arguments: argparse.Namespace) -> int:
    from ..acp.relay import AcpRelay

    agent = arguments.name or name_of_server(arguments.server)
    session_id = arguments.session or made_up_session(arguments.server, kind="acp")
    try:
        async with asker(arguments, session_id, agent=agent) as asked:
            source, sink = _taken_standard_streams()
            relay = AcpRelay(asked, agent=agent, mode=arguments.mode, approval_seconds=arguments.approval_timeout)
            return await relay.run(arguments.server, source=source, sink=sink)
    except (ValidationError, InvalidInput) as error:
        return refuse(error)


async def _http(arguments: argparse.Namespace) -> int:
    with logging_to(2, "warning", _LOG_FORM):
        return await _run_http(arguments)


async def _run_http(arguments: argparse.Namespace) -> int:
    from ..settings import Settings
    from ..web import create_gateway_app, listening, url_of
    from ..web.mcp.relay import HttpRelay

    session_id = arguments.session or made_up_session([urlsplit(arguments.upstream).hostname or "server"])
    try:
        # The gateway's own address, and what its settings say of an upstream.
        settings = Settings(
            host=arguments.host,
            port=arguments.port,
            unix=None,
            auth="none",
            mcp_upstreams={"upstream": arguments.upstream},
        )
    except ValidationError as error:
        return refuse(error)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        try:
            asked = await stack.enter_async_context(asker(arguments, session_id))
        except InvalidInput as error:
            return refuse(error)
        relay = HttpRelay(
            arguments.upstream,
            lambda _: asked,
            server=arguments.name or urlsplit(arguments.upstream).netloc.rpartition("@")[2],
            approval_seconds=arguments.approval_timeout,
            task_seconds=arguments.task_after,
            secrets=() if arguments.token is None else (arguments.token,),
        )
        await stack.enter_async_context(relay)
        try:
            app = create_gateway_app(relay, settings, session_id)
            port = await stack.enter_async_context(listening(app, settings))
        except OSError as error:
            print(f"notifier-service: cannot listen on {settings.host} port {settings.port}: {error}", file=sys.stderr)
            return 1
        print(f"notifier-service gateway is ready: {url_of(settings.host, port)}/mcp", flush=True)
        await stopped.wait()
    return 0


def refuse(error: ValidationError | InvalidInput) -> int:
    if isinstance(error, InvalidInput):
        print(f"notifier-service: {error.message}", file=sys.stderr)
        return 2
    problem = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, problem["loc"]))
    print(f"notifier-service: setting {place}: {problem['msg']}", file=sys.stderr)
    return 2


@asynccontextmanager
async def asker(
    arguments: argparse.Namespace, session_id: str, *, agent: str | None = None, kind: str = "gateway"
) -> AsyncIterator[Asker]:
    """Who is asked: the service at ``--service``, or one that runs here as long as this lasts."""
    if arguments.service is not None:
        if arguments.policy_file is not None:
            raise InvalidInput("--policy-file goes without --service: the policy of that service decides")
        if arguments.audit_file is not None:
            raise InvalidInput("--audit-file goes without --service: that service puts on record what it decides")
        from ..calls.service_asker import ServiceAsker
        from ..client import Client

        async with (
            Client(arguments.service, token=arguments.token) as client,
            ServiceAsker(client, session_id) as asked,
        ):
            _say(kind, client.url, session_id)
            if agent is not None:
                asked.introduce(title=_folder(), agent=agent)
            yield asked
    else:
        from ..settings import Settings
        from ..web import serve

        files = {"policy_file": arguments.policy_file, "audit_file": arguments.audit_file}
        given = {name: path for name, path in files.items() if path is not None}
        settings = Settings(host="127.0.0.1", port=0, unix=None, auth="none", log_level="warning", **given)
        async with serve(settings=settings) as site:
            _say(kind, site.url + settings.prefix, session_id)
            yield BrokerAsker(site.broker, session_id, agent=agent)


def made_up_session(command: Sequence[str], *, kind: str = "mcp") -> str:
    """A session id that people recognise, and that no other run has."""
    return f"{kind}-{name_of_server(command)}-{secrets.token_hex(2)}"


def name_of_server(command: Sequence[str]) -> str:
    """What people know a server by that this command starts; not what it says of itself, which any server may."""
    words = [word for word in command if not word.startswith("-")]
    names = [PurePath(word).name for word in words]
    name = next((name for name in names if name not in _LAUNCHERS), "server")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:60].strip("-")
    return name or "server"


def _folder() -> str | None:
    """What people call the folder of the project that this was started in; None where it is none of a project."""
    folder = Path.cwd()
    return None if folder in (Path.home(), Path(folder.anchor)) else folder.name


def _patience_of_claude_code() -> float | None:
    """After how many seconds Claude Code gives up a call, where its environment, which is handed on to us, says so."""
    milliseconds = os.environ.get("MCP_TOOL_TIMEOUT", "")
    return int(milliseconds) / 1000 if re.fullmatch(r"[0-9]{3,12}", milliseconds) else None


def _taken_standard_streams() -> tuple[int, int]:
    """Standard input and output for the protocol alone: nobody else reads from the one or prints into the other."""
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return source, sink


def _say(kind: str, url: str, session_id: str) -> None:
    print(
        f"notifier-service {kind}: session {session_id}, answer at {url}/#/s/{session_id}", file=sys.stderr, flush=True
    )


def _session_id(text: str) -> str:
    try:
        return check_session_id(text)
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(error.message) from None


def _name(text: str) -> str:
    if not (1 <= len(text) <= 256 and text.isprintable()):
        raise argparse.ArgumentTypeError("a name has 1 to 256 characters that can be seen")
    return text


def _seconds_or_none(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= MAX_TIMEOUT_SECONDS:
        raise argparse.ArgumentTypeError("a number of seconds from 0 to 30 days is needed")
    return seconds


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= MAX_TIMEOUT_SECONDS:
        raise argparse.ArgumentTypeError("a number of seconds from above 0 to 30 days is needed")
    return seconds
