"""Agents whose hooks are commands: what each says, what it expects, and the settings that make it ask.

All are put in Claude Code's words, which the service understands. Whatever goes wrong is a denial in the agent's own
form.
"""

from __future__ import annotations

import os
import sys

from ..bare import dumped, parsed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, ClassVar

__all__ = ["DIALECTS", "IS_WINDOWS", "Commands", "Dialect"]

IS_WINDOWS = os.name == "nt"

#: Hooks that decide nothing.
_AFTERWARDS = ("PostToolUse", "PostToolUseFailure")
#: The agent's own time for the hook in the settings that are printed.
_AGENT_SECONDS = 3600


class Commands:
    """What settings name: a command that asks and denies where it fails, one that only tells, and the service's URL.

    ``url`` is None where the agent itself cannot send its hooks there.
    """

    def __init__(self, asks: str, tells: str, url: str | None) -> None:
        self.asks = asks
        self.tells = tells
        self.url = url


class Dialect:
    """Claude Code: what comes in goes on, what comes back goes out."""

    #: Where the printed settings belong.
    where = "for .claude/settings.json, or a file given with --settings; set NOTIFIER_TOKEN where claude is started"

    def read(self, told: dict[str, Any]) -> dict[str, Any]:
        """The hook, in Claude Code's words."""
        return told

    def answer(self, hook: Mapping[str, Any], answer: Mapping[str, Any]) -> int:
        """Print the service's answer as the agent expects it, and return the exit code."""
        _print(answer)
        return 0

    def failed(self, why: str) -> int:
        """Deny without an answer: all of these agents but one take exit code 2, and the reason from standard error."""
        print(why, file=sys.stderr)
        return 2

    def denial_of_a_shell(self, why: str) -> tuple[str, str]:
        """The same for a shell: a text, and the words that deny with it as ``$0``."""
        return why, 'echo "$0" >&2; exit 2'

    def config(self, commands: Commands) -> dict[str, Any]:
        """The settings that make the agent ask, and deny on failure."""
        asks: dict[str, Any] = {"type": "command", "command": commands.asks}
        tells: dict[str, Any] = {"type": "command", "command": commands.tells}
        if commands.url is not None:
            asks = tells = {
                "type": "http",
                "url": commands.url,
                "headers": {"Authorization": "Bearer $NOTIFIER_TOKEN"},
                "allowedEnvVars": ["NOTIFIER_TOKEN"],
            }
        asking = {"hooks": [{**asks, "timeout": _AGENT_SECONDS, "onFailure": "block"}]}
        telling = {"hooks": [{**tells, "timeout": 10}]}
        # Where nobody answers here, Claude Code asks in its own way, or its denial stands.
        offering = {"hooks": [{**tells, "timeout": _AGENT_SECONDS}]}
        return {
            "hooks": {
                "PreToolUse": [asking],
                "PermissionRequest": [asking],
                "PostToolUse": [telling],
                "PostToolUseFailure": [telling],
                "PermissionDenied": [offering],
                "Elicitation": [offering],
                "Stop": [telling],
                "SubagentStop": [telling],
            }
        }


class _Codex(Dialect):
    """The same, read with a strict schema: one key too many, or an `allow` that changes nothing, is an error there,
    and after an error the call runs."""

    where = "for ~/.codex/hooks.json or .codex/hooks.json; Codex asks once whether it may trust them"

    def answer(self, hook: Mapping[str, Any], answer: Mapping[str, Any]) -> int:
        allowed, reason, edited = _decision(hook, answer)
        event = hook.get("hook_event_name")
        if allowed is None:
            if (note := _note(answer)) is not None:
                _print({"hookSpecificOutput": {"hookEventName": event, "additionalContext": note}})
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

    def config(self, commands: Commands) -> dict[str, Any]:
        def entry(command: str) -> list[dict[str, Any]]:
            return [{"matcher": ".*", "hooks": [{"type": "command", "command": command, "timeout": _AGENT_SECONDS}]}]

        asks, tells = entry(commands.asks), entry(commands.tells)
        return {"hooks": {"PreToolUse": asks, "PermissionRequest": asks, "PostToolUse": tells}}


class _Gemini(Dialect):
    """Its own names for events, and a verdict beside the edit."""

    where = "for .gemini/settings.json or ~/.gemini/settings.json"

    _EVENTS: ClassVar = {"BeforeTool": "PreToolUse", "AfterTool": "PostToolUse"}

    def read(self, told: dict[str, Any]) -> dict[str, Any]:
        hook = told | {"hook_event_name": self._EVENTS.get(told["hook_event_name"], told["hook_event_name"])}
        if "mcp_context" in told:
            hook["mcp_server"] = hook.pop("mcp_context")
        response = told.get("tool_response")
        if isinstance(response, dict) and response.get("error"):
            hook |= {"hook_event_name": "PostToolUseFailure", "error": str(response["error"])}
        return hook

    def answer(self, hook: Mapping[str, Any], answer: Mapping[str, Any]) -> int:
        allowed, reason, edited = _decision(hook, answer)
        if allowed is None:
            note = _note(answer)
            told = {"hookEventName": "AfterTool", "additionalContext": note}
            _print({} if note is None else {"hookSpecificOutput": told})
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

    def config(self, commands: Commands) -> dict[str, Any]:
        def entry(command: str) -> list[dict[str, Any]]:
            hook = {"type": "command", "name": "notifier-service", "command": command, "timeout": _AGENT_SECONDS * 1000}
            return [{"matcher": ".*", "hooks": [hook]}]

        return {"hooks": {"BeforeTool": entry(commands.asks), "AfterTool": entry(commands.tells)}}


class _Copilot(Dialect):
    """Its own names for everything; arguments may come as text."""

    where = "for .github/hooks/notifier-service.json"

    _EVENTS: ClassVar = {
        "preToolUse": "PreToolUse",
        "postToolUse": "PostToolUse",
        "postToolUseFailure": "PostToolUseFailure",
    }

    def read(self, told: dict[str, Any]) -> dict[str, Any]:
        arguments = told.get("toolArgs", told.get("tool_input"))
        if isinstance(arguments, str):
            arguments = parsed(arguments)
        result = told.get("toolResult", told.get("tool_result"))
        # Events under their own names do not say which they are.
        event = "postToolUseFailure" if "error" in told else "postToolUse" if result is not None else "preToolUse"
        hook = {
            "session_id": told["sessionId"] if "sessionId" in told else told["session_id"],
            "hook_event_name": told.get("hook_event_name", self._EVENTS[event]),
            "tool_name": told["toolName"] if "toolName" in told else told["tool_name"],
            "tool_input": {} if arguments is None else arguments,
        }
        more = {"tool_response": result, "error": told.get("error"), "cwd": told.get("cwd")}
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

    def denial_of_a_shell(self, why: str) -> tuple[str, str]:
        return dumped({"permissionDecision": "deny", "permissionDecisionReason": why}), 'echo "$0"'

    def config(self, commands: Commands) -> dict[str, Any]:
        shell = "powershell" if IS_WINDOWS else "bash"

        def entry(command: str) -> list[dict[str, Any]]:
            return [{"type": "command", shell: command, "timeoutSec": _AGENT_SECONDS}]

        asks, tells = entry(commands.asks), entry(commands.tells)
        return {"version": 1, "hooks": {event: asks if event == "preToolUse" else tells for event in self._EVENTS}}


DIALECTS: Mapping[str, type[Dialect]] = {"claude": Dialect, "codex": _Codex, "gemini": _Gemini, "copilot": _Copilot}


def _decision(
    hook: Mapping[str, Any], answer: Mapping[str, Any]
) -> tuple[bool | None, str | None, dict[str, Any] | None]:
    """Whether the call is allowed (None for no opinion), why not, and a person's edit of it."""
    output = answer.get("hookSpecificOutput")
    if not output or hook.get("hook_event_name") in _AFTERWARDS:
        return None, None, None
    decision = output.get("decision") or {}
    allowed = "allow" in (output.get("permissionDecision"), decision.get("behavior"))
    reason = output.get("permissionDecisionReason") or decision.get("message") or "It was denied."
    edited = output.get("updatedInput", decision.get("updatedInput"))
    return allowed, reason, None if edited == hook.get("tool_input") else edited


def _note(answer: Mapping[str, Any]) -> str | None:
    """What the agent is to be told of a call that has run."""
    note = (answer.get("hookSpecificOutput") or {}).get("additionalContext")
    return note if isinstance(note, str) else None


def _print(answer: Mapping[str, Any]) -> None:
    # ASCII: it reaches the agent whole, whatever it takes standard output for.
    print(dumped(answer), flush=True)
