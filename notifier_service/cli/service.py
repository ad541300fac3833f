"""``serve`` and ``demo``: run the service in this process."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import logging
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from ..core.errors import InvalidInput
from ..demo_agent import DemoAgent, Workspace
from ..service_address import KeyUnusable, config_path, make_key, own_key
from ..settings import ENV_PREFIX, Settings, is_loopback
from ..web import Site, raise_soft_limit, serve, without_accept_errors
from ..web.preparation import prepare
from .output import Lines, logging_to
from .systemd import handed_over, told
from .watchdog import ending_by_signal, watched_loop

__all__ = ["add_commands"]

_log = logging.getLogger("notifier_service")
_LOG_FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"

#: Prints a line without ever waiting for who reads it.
Say = Callable[[str], None]


def add_commands(commands: Any) -> None:
    serve_parser = commands.add_parser(
        "serve",
        help="run the service",
        description="Run the service until SIGTERM or Ctrl-C.",
        epilog=f"Every flag is also an environment variable ({ENV_PREFIX}PORT) and a line of the file of --env-file; "
        f"without that flag, of {_own_env_file()} if it is there. Flags win, then the environment.",
    )
    _add_settings(serve_parser)
    serve_parser.set_defaults(command=_serve, is_server=True)
    demo_parser = commands.add_parser(
        "demo",
        help="run the service with an agent to watch",
        description="Run the service, and an agent that lists, reads, writes and runs over and over in session "
        "'demo'. Its tools are real and work in a temporary folder; writing and running ask you first.",
    )
    demo_parser.add_argument("--pause", type=float, default=5, metavar="SECONDS", help="rest between rounds (5)")
    _add_settings(demo_parser)
    demo_parser.set_defaults(command=_demo, is_server=True)


async def _serve(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    return 2 if settings is None else await _until_signal(settings, _ready)


async def _demo(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    if settings is None:
        return 2
    if "log_level" not in settings.model_fields_set:
        settings = settings.model_copy(update={"log_level": "warning"})  # its own output is what one looks at
    with tempfile.TemporaryDirectory(prefix="notifier-demo-") as folder:

        async def agent_at_work(site: Site, say: Say) -> None:
            workspace = Workspace(Path(folder))
            say(_demo_help(site, workspace))
            await DemoAgent(
                site.broker, workspace, pause_seconds=arguments.pause, say=lambda text: say(f"agent: {text}")
            ).run()

        return await _until_signal(settings, agent_at_work)


async def _ready(site: Site, say: Say) -> None:
    if site.settings.auth == "none":
        _log.info(
            "auth=none: every program of this user on this machine may watch, ask and approve, the agent included; "
            "what comes through a proxy is refused (auth=tokens says who may do what)"
        )
    say(f"notifier-service is ready: {site.url}{site.settings.prefix}")
    await prepare()
    await asyncio.Event().wait()


async def _until_signal(settings: Settings, at_work: Callable[[Site, Say], Awaitable[None]]) -> int:
    """Serve, do ``at_work`` beside it, and stop in an orderly way at the first signal; at once at the second."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()

    def stop(exit_code: int = 0, why: str | None = None) -> None:
        if not stopped.done():
            if why is not None:
                _refuse(why)
            stopped.set_result(exit_code)

    def cannot_print(error: OSError) -> None:
        loop.call_soon_threadsafe(stop, 1, f"stopped, because standard output cannot be written: {error.strerror}")

    def read_again() -> None:
        _log.info("SIGHUP: files are read again where they have changed")
        if site is not None:
            site.read_again()

    site: Site | None = None
    # A terminal that hangs up ends what it has started; whoever else sends SIGHUP means the files.
    hang_up = None if any(map(os.isatty, (0, 1, 2))) else read_again
    with (
        logging_to(2, settings.log_level, None if settings.log_format == "json" else _LOG_FORM),
        closing(Lines(1, failed=cannot_print)) as output,
        watched_loop(),
        ending_by_signal(stop, within_seconds=settings.drain_seconds + settings.shutdown_seconds, hang_up=hang_up),
    ):
        raise_soft_limit()
        loop.set_exception_handler(without_accept_errors)
        _log.debug("the event loop is %s", type(loop).__module__.partition(".")[0])
        try:
            make_key()
            own_key()
        except (OSError, KeyUnusable) as error:
            _log.info("the service cannot prove to clients that it is yours: %s", error)
        async with AsyncExitStack() as stack:
            try:
                sockets = handed_over()
                _allow(sockets, settings)
                site = await stack.enter_async_context(serve(settings=settings, sockets=sockets))
            except OSError as error:
                reason = error.strerror or str(error)
                where = f"{settings.host} port {settings.port}: {reason} (settings host and port)"
                if not settings.listens_on_a_port:
                    where = f"{settings.unix}: {reason} (setting unix)"
                return _refuse(f"cannot listen on {where}", 1)
            except InvalidInput as error:
                return _refuse(error.message)
            await stack.enter_async_context(told())
            work = asyncio.ensure_future(at_work(site, output.put))
            either: set[asyncio.Future[Any]] = {work, stopped}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            failed = work.done() and not stopped.done()
            work.cancel()
            [outcome] = await asyncio.gather(work, return_exceptions=True)
            if failed:
                return _refuse(f"stopped, because its work failed: {outcome}", 1)
        return stopped.result()


def _allow(sockets: Sequence[socket.socket], settings: Settings) -> None:
    """Raise ``InvalidInput`` for a socket that was handed over, and that anybody may reach who then may approve."""
    for one in sockets:
        if settings.auth == "none" and one.family != socket.AF_UNIX and not is_loopback(one.getsockname()[0]):
            raise InvalidInput(
                "auth=none is allowed only on a loopback address, and the socket that was handed over is on another one"
            )


def _demo_help(site: Site, workspace: Workspace) -> str:
    base = f"{site.url}{site.settings.prefix}/api/sse"
    respond = f"curl -sS {base}/permission-response/demo -H 'Content-Type: application/json' -d"
    url = "" if site.url == "http://127.0.0.1:8000" else f" --url {site.url}{site.settings.prefix}"
    return f"""\
notifier-service demo is ready: {site.url}{site.settings.prefix}

An agent works in session 'demo', in {workspace.folder}
It lists and reads unasked. Before it writes a file or runs a program it asks you.

  in a browser       {site.url}{site.settings.prefix}/#/s/demo
  see what it does   curl -N {base}/events/demo
  say yes            {respond} '{{"approved": true, "request_id": "pr_…"}}'
  say no             {respond} '{{"approved": false, "request_id": "pr_…", "reason": "not today"}}'
                     with the request_id that the permission_request above shows
  or both at once    {_this_command()} watch demo{url}

Ctrl-C ends it.
"""


def _this_command() -> str:
    """How a person types this command in another terminal."""
    if shutil.which("notifier-service") is not None:
        return "notifier-service"
    started_as = sys.argv[0]
    return f"{sys.executable} -m notifier_service" if started_as.endswith("__main__.py") else started_as


def _refuse(text: str, exit_code: int = 2) -> int:
    print(f"notifier-service: {text}", file=sys.stderr)
    return exit_code


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--env-file", type=Path, metavar="FILE", help=f"read settings from FILE ({_own_env_file()} if it is there)"
    )
    group = parser.add_argument_group("settings")
    for name, field in Settings.model_fields.items():
        flag = "--" + name.replace("_", "-")
        default = "" if field.default is None else f" (default: {field.default or repr(field.default)})"
        text = (field.description or "").replace("%", "%%") + default
        if field.annotation is bool:
            group.add_argument(flag, dest=name, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            group.add_argument(flag, dest=name, default=None, metavar=_metavar(name, field), help=text)


def _metavar(name: str, field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return "{" + ",".join(map(str, get_args(field.annotation))) + "}"
    if name.endswith("_seconds"):
        return "SECONDS"
    kinds = {field.annotation, *get_args(field.annotation)}  # of one that may be absent, those that it may be
    if kinds & {int, float}:
        return "N"
    if Path in kinds:
        return "FILE"
    return name.upper()


def _settings(arguments: argparse.Namespace) -> Settings | None:
    """The settings from flags, environment and file; None when they are wrong, which is then told."""
    given = {name: value for name in Settings.model_fields if (value := getattr(arguments, name)) is not None}
    try:
        settings = Settings(_env_file=_env_file(arguments.env_file), **given)
        if settings.agent is not None and os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # where its module may be; last, so that it takes no other module's place
        return settings
    except (InvalidInput, OSError, UnicodeDecodeError) as error:
        _refuse(str(error))
        return None
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False, include_context=False):
            place = ".".join(str(part) for part in problem["loc"])
            _refuse(_explained(place, problem["type"], problem["msg"].removeprefix("Value error, "), place in given))
        return None


def _own_env_file() -> Path:
    """Where the service's own settings are, for whoever has no other place for them."""
    return Path(config_path()) / "env"


def _env_file(named: Path | None) -> Path | None:
    """The file to read settings from, or None. Raises ``InvalidInput`` or ``OSError`` for one that cannot be used."""
    if named is None:
        _tell_of_unread_file()
        own = _own_env_file()
        if not own.exists():
            return None
        status = own.stat()
        if status.st_mode & 0o022 or status.st_uid not in (0, os.getuid()):
            raise InvalidInput(f"{own} is not read: others may write it (chmod go-w, chown)")
        named = own
    named.read_text(encoding="utf-8")  # pydantic-settings says nothing of a file that is not there
    return named


def _tell_of_unread_file() -> None:
    """Settings in the folder one stands in were read once: whoever relied on it is told."""
    try:
        is_ours = ENV_PREFIX in Path(".env").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    if is_ours:
        print("notifier-service: .env in this folder is not read; name it with --env-file .env", file=sys.stderr)


def _explained(place: str, kind: str, why: str, is_flag: bool) -> str:
    if kind == "extra_forbidden":
        known = [name.upper() for name in Settings.model_fields]
        close = difflib.get_close_matches(place.upper().removeprefix(ENV_PREFIX), known, n=1)
        return f"{place}: no such setting" + (f"; did you mean {ENV_PREFIX}{close[0]}?" if close else "")
    if not place:
        return why
    flag = f"--{place.replace('_', '-')}" if is_flag else f"{ENV_PREFIX}{place}".upper()
    return f"setting {place} ({flag}): {why}"
