"""``hook``: what an agent's command hook runs. Its call goes to the service, the person's answer comes back.

An agent starts it before every call, so that only what it needs is imported, and that when it is needed.
Whatever goes wrong is a denial in the agent's own form: a crash, or an exit code of 1, lets the call run.
"""

from __future__ import annotations

import os
import sys

from ..bare import DEFAULT_URL, dumped, on_sigalrm_each_second, parsed
from .hook_dialects import DIALECTS, IS_WINDOWS, Commands, Dialect

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from typing import Any, TypeAlias

    Arguments: TypeAlias = "argparse.Namespace | Given"

__all__ = ["Given", "add_commands", "commands_of", "main", "parsed_arguments"]

_PATH = "/hooks/claude-code"

#: How long a service may take to take the connection, and to answer beyond the time that it holds.
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 10.0

#: How long one answer is held: proxies cut after 50 to 60 s of silence.
_HOLD_SECONDS = 25.0
_STILL_WAITING = 202

#: How long a service that took the hook may be away: a restart takes less.
AWAY_SECONDS = 300.0

#: Our own time for a hook, which must end before that in the settings that are printed.
_OWN_SECONDS = 3590.0

#: The service takes no more.
_MOST_DEFERRED = 3500

#: What goes on in the agent's own way where nobody answers.
_OFFERS = frozenset({"Elicitation", "PermissionDenied"})

#: Of which nobody waits for the answer.
_REPORTS = frozenset({"PostToolUse", "PostToolUseFailure", "Stop", "SubagentStop"})


class _NoAnswer(Exception):
    """The service gave none that could be used."""


class _WrongAddress(_NoAnswer):
    """The service is somewhere else."""


class _NoConnection(_NoAnswer):
    """Nobody took what was sent."""


def add_commands(commands: Any) -> None:
    """Have the command listed; ``main`` runs it."""
    _add_arguments(commands.add_parser("hook", help="ask from an agent's hook", description=_DESCRIPTION))


_DESCRIPTION = (
    "Reads an agent's hook from standard input, has the service ask a person, and prints the answer as that agent "
    "expects it. Denies when the service is away."
)


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    arguments = Given.of(argv) or parsed_arguments(argv)
    agent = DIALECTS[arguments.format]()
    if arguments.defer is not None and (arguments.format != "claude" or not 0 < arguments.defer <= _MOST_DEFERRED):
        return agent.failed(f"--defer is for --format claude, and from 0 to {_MOST_DEFERRED} seconds")
    if arguments.print_config:
        import json

        print(json.dumps(agent.config(_commands(arguments, agent)), indent=2))
        print(f"notifier-service: {agent.where}", file=sys.stderr)
        if IS_WINDOWS:
            print("notifier-service: on Windows a command that cannot be started lets the call run", file=sys.stderr)
        return 0
    if arguments.guarded:
        _end_with_parent()
    try:
        exit_code = _run(agent, arguments)
    except Exception as error:
        exit_code = agent.failed(f"notifier-service hook failed: {type(error).__name__}: {error}")
    if arguments.guarded and exit_code == 0:
        print(_ANSWERED, flush=True)
    return exit_code


def parsed_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """What argparse makes of the arguments; it ends the program where they are wrong."""
    import argparse

    parser = argparse.ArgumentParser(prog="notifier-service hook", description=_DESCRIPTION)
    _add_arguments(parser)
    return parser.parse_args(argv)


_WITH_VALUE = frozenset({"--format", "--url", "--token", "--session", "--timeout", "--defer"})


class Given:
    """The arguments as settings give them: whole names, each with a value that is one.

    ``argparse`` takes as long to load as all else that a hook does.
    """

    def __init__(self) -> None:
        self.format = "claude"
        self.url = os.environ.get("NOTIFIER_URL", DEFAULT_URL)
        self.token = os.environ.get("NOTIFIER_TOKEN")
        self.session: str | None = None
        self.timeout: float | None = None
        self.defer: float | None = None
        self.print_config = self.guarded = False

    @classmethod
    def of(cls, argv: Sequence[str]) -> Given | None:
        """What ``argparse`` would make of them; None where it must look itself."""
        given = cls()
        left = list(argv)
        while left:
            name = left.pop(0)
            if name == "--guarded":
                given.guarded = True
            elif name in _WITH_VALUE and left and left[0][:1] != "-":
                setattr(given, name[2:], left.pop(0))
            else:
                return None
        try:
            given.timeout = None if given.timeout is None else float(given.timeout)  # was text so far
            given.defer = None if given.defer is None else float(given.defer)
        except ValueError:
            return None
        return given if given.format in DIALECTS else None


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    from argparse import SUPPRESS

    url = os.environ.get("NOTIFIER_URL", DEFAULT_URL)
    parser.add_argument("--format", choices=sorted(DIALECTS), default="claude", help="whose hook it is (claude)")
    parser.add_argument("--url", default=url, help=f"the service, with its prefix or without (NOTIFIER_URL; {url})")
    parser.add_argument(
        "--token",
        default=os.environ.get("NOTIFIER_TOKEN"),
        help="better set as NOTIFIER_TOKEN, where ps does not show it",
    )
    parser.add_argument("--session", help="the session; without, the agent's own id of it")
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="deny after so long; without, after the service's own time"
    )
    parser.add_argument(
        "--defer",
        type=float,
        metavar="SECONDS",
        help="for claude -p: when nobody has answered by then, the run ends; notifier-service resume goes on with it",
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print the settings that make the agent ask, and deny on failure"
    )
    parser.add_argument("--guarded", action="store_true", help=SUPPRESS)


def _run(agent: Dialect, arguments: Arguments) -> int:
    try:
        # JSON is UTF-8, whatever the locale.
        told = parsed(getattr(sys.stdin, "buffer", sys.stdin).read())
        if not isinstance(told, dict):
            raise TypeError("an object is needed")
        hook = agent.read(told)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        return agent.failed(f"The hook cannot be read: {type(error).__name__}: {error}")
    try:
        answer = _asked(hook, arguments)
    except _NoAnswer as error:
        if hook.get("hook_event_name") in _REPORTS | _OFFERS:
            print(f"notifier-service: {error}", file=sys.stderr)
            return 1  # nothing is allowed by it
        return agent.failed(f"{hook.get('tool_name')} did not run: {error}")
    if arguments.defer is not None:
        _note_parked(hook, answer, arguments)
    return agent.answer(hook, answer)


def _note_parked(hook: Mapping[str, Any], answer: Mapping[str, Any], arguments: Arguments) -> None:
    """Remember a run that ends now, so that ``resume`` finds it."""
    output = answer.get("hookSpecificOutput") or {}
    if output.get("permissionDecision") != "defer":
        return
    from .parked import ParkedRun, park

    run_id = str(hook.get("session_id"))
    try:
        park(
            ParkedRun(
                run_id=run_id,
                folder=str(hook.get("cwd") or os.getcwd()),
                url=arguments.url,
                session_id=arguments.session or run_id,
                request_id=str(output.get("permissionDecisionReason")).rpartition(" ")[2],
                tool_name=str(hook.get("tool_name")),
            )
        )
    except OSError as error:
        print(f"notifier-service: resume will not find this run, {run_id}: {error}", file=sys.stderr)


def _asked(hook: Mapping[str, Any], arguments: Arguments) -> dict[str, Any]:
    """Have the service ask, and return what it answers. Raises ``_NoAnswer``.

    The answer is held for ``_HOLD_SECONDS``, and the same hook comes back under its key: also when the answer got lost,
    and after a restart, which asks the person again.
    """
    import time

    wait = None if hook.get("hook_event_name") in _REPORTS else _HOLD_SECONDS
    address = _hook_url(arguments, wait=wait)
    headers = {"Content-Type": "application/json", "Idempotency-Key": os.urandom(16).hex()}
    if arguments.token:
        headers["Authorization"] = f"Bearer {arguments.token}"
    body = dumped(hook).encode()
    own_until = time.monotonic() + _OWN_SECONDS
    until = own_until if not arguments.timeout else min(own_until, time.monotonic() + arguments.timeout + 5)
    has_been_there = is_located = False
    gone_at: float | None = None
    pause = 0.5
    while True:
        try:
            status, answer = _answer(address, body, headers, until - time.monotonic())
            if status == _STILL_WAITING:
                if gone_at is not None:  # that is none of the person's time
                    until = min(own_until, until + time.monotonic() - gone_at)
                has_been_there, gone_at, pause = True, None, 0.5
                continue
            has_been_there = True
            if status == 404 and not is_located:
                is_located = True
                from ..service_address import located

                whole, lacked_prefix = located(arguments.url)
                if lacked_prefix:
                    arguments.url = whole
                    address = _hook_url(arguments, wait=wait)
                    continue
                if whole != arguments.url:
                    raise _WrongAddress(f"there is no service at {arguments.url}, but one at {whole}: use that address")
            if status not in (408, 429) and status < 500:
                return _checked(status, answer, hook)
            away = _refusal(status, answer)
        except _WrongAddress:
            raise
        except _NoConnection as error:
            if not has_been_there:
                raise
            away = error
        except _NoAnswer as error:
            has_been_there, away = True, error
        gone_at = time.monotonic() if gone_at is None else gone_at
        if time.monotonic() + pause > min(until, gone_at + AWAY_SECONDS):
            raise away
        import random

        time.sleep(random.uniform(pause * 2 / 3, pause))
        pause = min(3.0, pause * 2)


def _answer(address: str, body: bytes, headers: Mapping[str, str], seconds: float) -> tuple[int, bytes]:
    """Status and body of one answer. Raises ``_NoConnection`` when nobody listens, ``_NoAnswer`` for what is none."""
    from ..bare import split_url
    from ..service_address import KeyUnusable, Unproven, connected, key_for, prove

    if seconds <= 0:
        raise _NoConnection("the service did not answer in time")
    try:
        url = split_url(address)
        connection = connected(url, seconds=_CONNECT_SECONDS)
    except ValueError as error:
        raise _NoConnection(f"the address of the service is wrong: {error}") from None
    except OSError as error:
        raise _NoConnection(f"the service does not answer ({type(error).__name__}: {error})") from None
    try:
        key = key_for(address)
        if key is not None:  # before the token and the parameters go out
            prove(connection, url.path.removesuffix(_PATH), key)
        connection.sock.settimeout(min(seconds, _HOLD_SECONDS + _ANSWER_SECONDS))
        connection.request("POST", f"{url.path}?{url.query}" if url.query else url.path, body, dict(headers))
        response = connection.getresponse()
        return response.status, response.read()
    except (KeyUnusable, Unproven) as error:
        raise _NoConnection(str(error)) from None
    except TimeoutError:
        raise _NoAnswer("the service did not answer in time") from None
    except (OSError, ValueError, _http_error()) as error:
        raise _NoAnswer(f"the service does not answer ({type(error).__name__}: {error})") from None
    finally:
        connection.close()


def _http_error() -> type[Exception]:
    from http.client import HTTPException  # loaded when something has failed

    return HTTPException


def _checked(status: int, body: bytes, hook: Mapping[str, Any]) -> dict[str, Any]:
    """The answer, if it is one of a service of ours to this very hook."""
    try:
        answer = parsed(body)
    except (ValueError, RecursionError):
        answer = None
    if status != 200 or not isinstance(answer, dict):
        raise _refusal(status, body)
    output = answer.get("hookSpecificOutput")
    if answer and (not isinstance(output, dict) or output.get("hookEventName") != hook.get("hook_event_name")):
        raise _NoAnswer("something else than the service answered")
    return answer


def _refusal(status: int, body: bytes) -> _NoAnswer:
    """Why an answer cannot be used."""
    try:
        answer = parsed(body)
    except (ValueError, RecursionError):
        return _NoAnswer(f"something else than the service answered ({status})")
    return _NoAnswer(f"the service refused ({status}): {answer.get('message') if isinstance(answer, dict) else None}")


def _hook_url(arguments: Arguments, *, wait: float | None = None) -> str:
    agent = None if arguments.format == "claude" else arguments.format
    query = {
        "session_id": arguments.session,
        "timeout_seconds": arguments.timeout,
        "defer": arguments.defer,
        "agent": agent,
        "wait": wait,
    }
    given = _encoded({name: str(value) for name, value in query.items() if value is not None})
    return f"{arguments.url.partition('#')[0].rstrip('/')}{_PATH}" + (f"?{given}" if given else "")


def _encoded(query: Mapping[str, str]) -> str:
    if all(value.isascii() and value.replace(".", "").isalnum() for value in query.values()):
        return "&".join(f"{name}={value}" for name, value in query.items())
    from urllib.parse import urlencode

    return urlencode(query)


def commands_of(dialect: str, url: str) -> Commands:
    """What the settings of an agent name, so that its hooks ask the service at this URL."""
    from argparse import Namespace

    return _commands(Namespace(format=dialect, url=url, session=None, timeout=None, defer=None), DIALECTS[dialect]())


def _commands(arguments: Arguments, agent: Dialect) -> Commands:
    # Only the command remembers which runs have ended.
    url = None if _is_private(arguments.url) or arguments.defer is not None else _hook_url(arguments)
    return Commands(_guarded(arguments, agent), _command(arguments), url)


#: What the command ends with when it has answered. Without it whatever came is none of its answers.
_ANSWERED = "answered"

_NO_ANSWER = "notifier-service: the hook did not answer, so this call is denied"


def _is_private(url: str) -> bool:
    """Whether it is an address of a private network, to which Claude Code sends no HTTP hook (to loopback it does)."""
    from ipaddress import ip_address
    from urllib.parse import urlsplit

    try:
        address = ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return False  # a name
    return address.is_private and not address.is_loopback


def _guarded(arguments: Arguments, agent: Dialect) -> str:
    """The command of a hook that asks, denying where it fails: it is not found, crashes, is killed, or says nothing of
    ours. In words that every shell hands on as they are: no backslash, and no quote but those around them."""
    if IS_WINDOWS:
        return _command(arguments)
    from shlex import join

    denial, deny = agent.denial_of_a_shell(_NO_ANSWER)
    answer = f'"0 "*{_ANSWERED}) printf %s "${{o%{_ANSWERED}}}"'
    guard = f'o=$("$@"); s=$?; case "$s $o" in {answer};; *) {deny};; esac'
    # exec: who ends the agent's shell ends this one, and with it the hook.
    return "exec " + join(["/bin/sh", "-c", guard, denial, *_words(arguments), "--guarded"])


def _command(arguments: Arguments) -> str:
    """The command for the agent's shell. The token stays in the environment."""
    if IS_WINDOWS:
        from subprocess import list2cmdline

        return ("& " if arguments.format == "copilot" else "") + list2cmdline(_words(arguments))
    from shlex import join

    return join(_words(arguments))


def _words(arguments: Arguments) -> list[str]:
    # This very interpreter: an agent's shell knows nothing of a virtual environment. -P: nor does it run what lies in
    # the folder that the agent works in.
    # -c: -m would first load what takes a third of all the time that this takes.
    program = "from notifier_service.cli import main; raise SystemExit(main())"
    words = [sys.executable, "-P", "-c", program, "hook", "--format", arguments.format]
    words += ["--url", arguments.url]
    if arguments.session:
        words += ["--session", arguments.session]
    if arguments.timeout is not None:
        words += ["--timeout", f"{arguments.timeout:g}"]
    if arguments.defer is not None:
        words += ["--defer", f"{arguments.defer:g}"]
    return words


def _end_with_parent() -> None:
    """End when the shell has ended that started us: the agent waits no more, and neither need a person."""
    parent = os.getppid()

    def look(number: int, frame: object) -> None:
        if os.getppid() != parent:
            os._exit(1)

    on_sigalrm_each_second(look)
