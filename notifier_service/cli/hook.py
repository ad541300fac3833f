"""``hook``: what an agent's command hook runs. Its call goes to the service, the person's answer comes back.

An agent starts it before every call, so that only what it needs is imported, and that when it is needed.
Whatever goes wrong is a denial in the agent's own form: a crash, or an exit code of 1, lets the call run.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["add_commands", "main"]

_DEFAULT_URL = "http://127.0.0.1:8000/agent_backend"

_PATH = "/hooks/claude-code"

#: How long a service may take to take the connection, and to answer beyond the time that it holds.
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 10.0

#: How long one answer is held: proxies cut after 50 to 60 s of silence.
_HOLD_SECONDS = 25.0
_STILL_WAITING = 202

#: How long a service that took the hook may be away: a restart takes less.
AWAY_SECONDS = 20.0

#: The agent's own time for the hook in the settings that are printed, and ours, which must end before.
_AGENT_SECONDS = 3600
_OWN_SECONDS = 3590.0

#: Of which nobody waits for the answer.
_REPORTS = frozenset({"PostToolUse", "PostToolUseFailure", "Stop", "SubagentStop"})

_IS_WINDOWS = os.name == "nt"

_GEMINI_EVENTS = {"BeforeTool": "PreToolUse", "AfterTool": "PostToolUse"}
_COPILOT_EVENTS = {
    "preToolUse": "PreToolUse",
    "postToolUse": "PostToolUse",
    "postToolUseFailure": "PostToolUseFailure",
}


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
    import argparse

    parser = argparse.ArgumentParser(prog="notifier-service hook", description=_DESCRIPTION)
    _add_arguments(parser)
    arguments = parser.parse_args(argv)
    if arguments.print_config:
        print(json.dumps(_CONFIGS[arguments.format](arguments), indent=2))
        print(f"notifier-service: {_WHERE[arguments.format]}", file=sys.stderr)
        if _IS_WINDOWS:
            print("notifier-service: on Windows a command that cannot be started lets the call run", file=sys.stderr)
        return 0
    agent = _AGENTS[arguments.format]()
    if arguments.guarded:
        _end_with_parent()
    try:
        exit_code = _run(agent, arguments)
    except Exception as error:
        exit_code = agent.failed(f"notifier-service hook failed: {type(error).__name__}: {error}")
    if arguments.guarded and exit_code == 0:
        print(_ANSWERED, flush=True)
    return exit_code


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    from argparse import SUPPRESS

    url = os.environ.get("NOTIFIER_URL", _DEFAULT_URL)
    parser.add_argument("--format", choices=sorted(_AGENTS), default="claude", help="whose hook it is (claude)")
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
        "--print-config", action="store_true", help="print the settings that make the agent ask, and deny on failure"
    )
    parser.add_argument("--guarded", action="store_true", help=SUPPRESS)


def _run(agent: _Agent, arguments: argparse.Namespace) -> int:
    try:
        # JSON is UTF-8, whatever the locale.
        told = _parsed(getattr(sys.stdin, "buffer", sys.stdin).read())
        if not isinstance(told, dict):
            raise TypeError("an object is needed")
        hook = agent.read(told)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        return agent.failed(f"The hook cannot be read: {type(error).__name__}: {error}")
    try:
        answer = _asked(hook, arguments)
    except _NoAnswer as error:
        if hook.get("hook_event_name") in _REPORTS:
            print(f"notifier-service: {error}", file=sys.stderr)
            return 1  # nothing waits for it, and nothing is allowed by it
        return agent.failed(f"{hook.get('tool_name')} did not run: {error}")
    return agent.answer(hook, answer)


def _parsed(text: str | bytes) -> Any:
    """JSON with one reading: what the agent runs must be what was shown."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(value := dict(pairs)) < len(pairs):
            raise ValueError("an object has the same key twice")
        return value

    return json.loads(text, object_pairs_hook=once)


def _asked(hook: Mapping[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Have the service ask, and return what it answers. Raises ``_NoAnswer``.

    The answer is held for ``_HOLD_SECONDS``, and the same hook comes back under its key: also when the answer got lost,
    and after a restart, which asks the person again.
    """
    import random
    import time

    wait = None if hook.get("hook_event_name") in _REPORTS else _HOLD_SECONDS
    address = _hook_url(arguments, wait=wait)
    headers = {"Content-Type": "application/json", "Idempotency-Key": os.urandom(16).hex()}
    if arguments.token:
        headers["Authorization"] = f"Bearer {arguments.token}"
    body = json.dumps(hook).encode()
    until = time.monotonic() + (_OWN_SECONDS if not arguments.timeout else min(_OWN_SECONDS, arguments.timeout + 5))
    has_been_there = is_located = False
    gone_at: float | None = None
    pause = 0.5
    while True:
        try:
            status, answer = _answer(address, body, headers, until - time.monotonic())
            if status == _STILL_WAITING:
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
        time.sleep(random.uniform(pause * 2 / 3, pause))
        pause = min(3.0, pause * 2)


def _answer(address: str, body: bytes, headers: Mapping[str, str], seconds: float) -> tuple[int, bytes]:
    """Status and body of one answer. Raises ``_NoConnection`` when nobody listens, ``_NoAnswer`` for what is none."""
    import http.client
    from urllib.parse import urlsplit

    from ..service_address import KeyUnusable, Unproven, connected, key_for, prove

    if seconds <= 0:
        raise _NoConnection("the service did not answer in time")
    try:
        url = urlsplit(address)
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
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _NoAnswer(f"the service does not answer ({type(error).__name__}: {error})") from None
    finally:
        connection.close()


def _checked(status: int, body: bytes, hook: Mapping[str, Any]) -> dict[str, Any]:
    """The answer, if it is one of a service of ours to this very hook."""
    try:
        answer = json.loads(body)
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
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return _NoAnswer(f"something else than the service answered ({status})")
    return _NoAnswer(f"the service refused ({status}): {answer.get('message') if isinstance(answer, dict) else None}")


class _Agent:
    """An agent whose hooks are Claude Code's: what comes in goes on, what comes back goes out."""

    def read(self, told: dict[str, Any]) -> dict[str, Any]:
        """The hook, in Claude Code's words."""
        return told

    def answer(self, hook: Mapping[str, Any], answer: Mapping[str, Any]) -> int:
        _print(answer)
        return 0

    def failed(self, why: str) -> int:
        """Deny without an answer: all of these agents take exit code 2, and the reason from standard error."""
        print(why, file=sys.stderr)
        return 2


class _Codex(_Agent):
    """The same, read with a strict schema: one key too many, or an `allow` that changes nothing, is an error there,
    and after an error the call runs."""

    def answer(self, hook: Mapping[str, Any], answer: Mapping[str, Any]) -> int:
        allowed, reason, edited = _decision(hook, answer)
        event = hook.get("hook_event_name")
        if allowed is None:
            return 0
        if event == "PermissionRequest":
            if allowed and edited is not None:
                allowed, reason = False, "A person edited the call, which Codex cannot run here: make the edited call."
            decision = {"behavior": "allow"} if allowed else {"behavior": "deny", "message": reason}
            _print({"hookSpecificOutput": {"hookEventName": event, "decision": decision}})
        elif not allowed:
            output = {"hookEventName": event, "permissionDecision": "deny", "permissionDecisionReason": reason}
            _print({"hookSpecificOutput": output})
        elif edited is not None:
            output = {"hookEventName": event, "permissionDecision": "allow", "updatedInput": edited}
            _print({"hookSpecificOutput": output})
        return 0


class _Gemini(_Agent):
    def read(self, told: dict[str, Any]) -> dict[str, Any]:
        hook = told | {"hook_event_name": _GEMINI_EVENTS.get(told["hook_event_name"], told["hook_event_name"])}
        if "mcp_context" in told:
            hook["mcp_server"] = hook.pop("mcp_context")
        response = told.get("tool_response")
        if isinstance(response, dict) and response.get("error"):
            hook |= {"hook_event_name": "PostToolUseFailure", "error": str(response["error"])}
        return hook

    def answer(self, hook: Mapping[str, Any], answer: Mapping[str, Any]) -> int:
        allowed, reason, edited = _decision(hook, answer)
        if allowed is None:
            _print({})
            return 0
        if allowed and edited is not None and hook["tool_input"].keys() - edited.keys():
            # It puts the new parameters over the old ones: one that was taken away would stay.
            allowed, reason = False, "A person took parameters away, which Gemini CLI cannot do: make the edited call."
        if not allowed:
            _print({"decision": "deny", "reason": reason})
        elif edited is None:
            _print({"decision": "allow"})
        else:
            output = {"hookEventName": "BeforeTool", "tool_input": edited}
            _print({"decision": "allow", "hookSpecificOutput": output})
        return 0


class _Copilot(_Agent):
    def read(self, told: dict[str, Any]) -> dict[str, Any]:
        arguments = told.get("toolArgs", told.get("tool_input"))
        if isinstance(arguments, str):
            arguments = _parsed(arguments)
        result = told.get("toolResult", told.get("tool_result"))
        # Events under their own names do not say which they are.
        event = "postToolUseFailure" if "error" in told else "postToolUse" if result is not None else "preToolUse"
        hook = {
            "session_id": told["sessionId"] if "sessionId" in told else told["session_id"],
            "hook_event_name": told.get("hook_event_name", _COPILOT_EVENTS[event]),
            "tool_name": told["toolName"] if "toolName" in told else told["tool_name"],
            "tool_input": {} if arguments is None else arguments,
        }
        more = {"tool_response": result, "error": told.get("error")}
        return hook | {name: value for name, value in more.items() if value is not None}

    def answer(self, hook: Mapping[str, Any], answer: Mapping[str, Any]) -> int:
        allowed, reason, edited = _decision(hook, answer)
        if allowed is None:
            _print({})
        elif allowed:
            _print({"permissionDecision": "allow"} | ({} if edited is None else {"modifiedArgs": edited}))
        else:
            _print({"permissionDecision": "deny", "permissionDecisionReason": reason})
        return 0

    def failed(self, why: str) -> int:
        """Any exit code but 0 lets the call run there."""
        _print({"permissionDecision": "deny", "permissionDecisionReason": why})
        return 0


_AGENTS: Mapping[str, type[_Agent]] = {"claude": _Agent, "codex": _Codex, "gemini": _Gemini, "copilot": _Copilot}


def _decision(
    hook: Mapping[str, Any], answer: Mapping[str, Any]
) -> tuple[bool | None, str | None, dict[str, Any] | None]:
    """Whether the call is allowed (None for no opinion), why not, and a person's edit of it."""
    output = answer.get("hookSpecificOutput")
    if not output:
        return None, None, None
    decision = output.get("decision") or {}
    allowed = "allow" in (output.get("permissionDecision"), decision.get("behavior"))
    reason = output.get("permissionDecisionReason") or decision.get("message") or "It was denied."
    edited = output.get("updatedInput", decision.get("updatedInput"))
    return allowed, reason, None if edited == hook.get("tool_input") else edited


def _print(answer: Mapping[str, Any]) -> None:
    # ASCII: it reaches the agent whole, whatever it takes standard output for.
    print(json.dumps(answer), flush=True)


def _claude_config(arguments: argparse.Namespace) -> dict[str, Any]:
    asks: dict[str, Any] = {"type": "command", "command": _guarded(arguments)}
    tells: dict[str, Any] = {"type": "command", "command": _command(arguments)}
    if not _is_private(arguments.url):
        asks = tells = {
            "type": "http",
            "url": _hook_url(arguments),
            "headers": {"Authorization": "Bearer $NOTIFIER_TOKEN"},
            "allowedEnvVars": ["NOTIFIER_TOKEN"],
        }
    asking = {"hooks": [{**asks, "timeout": _AGENT_SECONDS, "onFailure": "block"}]}
    telling = {"hooks": [{**tells, "timeout": 10}]}
    return {
        "hooks": {
            "PreToolUse": [asking],
            "PermissionRequest": [asking],
            "PostToolUse": [telling],
            "PostToolUseFailure": [telling],
            "Stop": [telling],
            "SubagentStop": [telling],
        }
    }


def _hook_url(arguments: argparse.Namespace, *, wait: float | None = None) -> str:
    from urllib.parse import urlencode

    agent = None if arguments.format == "claude" else arguments.format
    query = {
        "session_id": arguments.session,
        "timeout_seconds": arguments.timeout,
        "agent": agent,
        "wait": wait,
    }
    given = urlencode({name: value for name, value in query.items() if value is not None})
    return f"{arguments.url.partition('#')[0].rstrip('/')}{_PATH}" + (f"?{given}" if given else "")


def _is_private(url: str) -> bool:
    """Whether it is an address of a private network, to which Claude Code sends no HTTP hook (to loopback it does)."""
    from ipaddress import ip_address
    from urllib.parse import urlsplit

    try:
        address = ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return False  # a name
    return address.is_private and not address.is_loopback


def _codex_config(arguments: argparse.Namespace) -> dict[str, Any]:
    def entry(command: str) -> list[dict[str, Any]]:
        return [{"matcher": ".*", "hooks": [{"type": "command", "command": command, "timeout": _AGENT_SECONDS}]}]

    asks, tells = entry(_guarded(arguments)), entry(_command(arguments))
    return {"hooks": {"PreToolUse": asks, "PermissionRequest": asks, "PostToolUse": tells}}


def _gemini_config(arguments: argparse.Namespace) -> dict[str, Any]:
    def entry(command: str) -> list[dict[str, Any]]:
        hook = {"type": "command", "name": "notifier-service", "command": command, "timeout": _AGENT_SECONDS * 1000}
        return [{"matcher": ".*", "hooks": [hook]}]

    return {"hooks": {"BeforeTool": entry(_guarded(arguments)), "AfterTool": entry(_command(arguments))}}


def _copilot_config(arguments: argparse.Namespace) -> dict[str, Any]:
    shell = "powershell" if _IS_WINDOWS else "bash"

    def entry(command: str) -> list[dict[str, Any]]:
        return [{"type": "command", shell: command, "timeoutSec": _AGENT_SECONDS}]

    asks, tells = entry(_guarded(arguments)), entry(_command(arguments))
    return {"version": 1, "hooks": {event: asks if event == "preToolUse" else tells for event in _COPILOT_EVENTS}}


#: What the command ends with when it has answered. Without it whatever came is none of its answers.
_ANSWERED = "answered"

_NO_ANSWER = "notifier-service: the hook did not answer, so this call is denied"


def _guarded(arguments: argparse.Namespace) -> str:
    """The command of a hook that asks, denying where it fails: it is not found, crashes, is killed, or says nothing of
    ours. In words that every shell hands on as they are: no backslash, and no quote but those around them."""
    if _IS_WINDOWS:
        return _command(arguments)
    from shlex import join

    if arguments.format == "copilot":  # any exit code but 0 lets the call run there
        denial, deny = json.dumps({"permissionDecision": "deny", "permissionDecisionReason": _NO_ANSWER}), 'echo "$0"'
    else:
        denial, deny = _NO_ANSWER, 'echo "$0" >&2; exit 2'
    answer = f'"0 "*{_ANSWERED}) printf %s "${{o%{_ANSWERED}}}"'
    guard = f'o=$("$@"); s=$?; case "$s $o" in {answer};; *) {deny};; esac'
    # exec: who ends the agent's shell ends this one, and with it the hook.
    return "exec " + join(["/bin/sh", "-c", guard, denial, *_words(arguments), "--guarded"])


def _command(arguments: argparse.Namespace) -> str:
    """The command for the agent's shell. The token stays in the environment."""
    if _IS_WINDOWS:
        from subprocess import list2cmdline

        return ("& " if arguments.format == "copilot" else "") + list2cmdline(_words(arguments))
    from shlex import join

    return join(_words(arguments))


def _words(arguments: argparse.Namespace) -> list[str]:
    # This very interpreter: an agent's shell knows nothing of a virtual environment. -P: nor does it run what lies in
    # the folder that the agent works in.
    words = [sys.executable, "-P", "-m", "notifier_service", "hook", "--format", arguments.format]
    words += ["--url", arguments.url]
    if arguments.session:
        words += ["--session", arguments.session]
    if arguments.timeout is not None:
        words += ["--timeout", f"{arguments.timeout:g}"]
    return words


def _end_with_parent() -> None:
    """End when the shell has ended that started us: the agent waits no more, and neither need a person."""
    import signal

    parent = os.getppid()

    def look(number: int, frame: object) -> None:
        if os.getppid() != parent:
            os._exit(1)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 1, 1)


_CONFIGS: Mapping[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "claude": _claude_config,
    "codex": _codex_config,
    "gemini": _gemini_config,
    "copilot": _copilot_config,
}

_WHERE: Mapping[str, str] = {
    "claude": "for .claude/settings.json, or a file given with --settings; set NOTIFIER_TOKEN where claude is started",
    "codex": "for ~/.codex/hooks.json or .codex/hooks.json; Codex asks once whether it may trust them",
    "gemini": "for .gemini/settings.json or ~/.gemini/settings.json",
    "copilot": "for .github/hooks/notifier-service.json",
}
