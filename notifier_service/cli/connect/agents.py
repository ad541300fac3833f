"""The agents, editors and MCP clients of this machine: where each keeps its settings, and what makes it ask here."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..hook_dialects import DIALECTS, Commands
from .jsonc import Jsonc

__all__ = ["AGENTS", "Agent", "Place"]

#: What our own hooks are known by, and nobody else's that is called nearly so.
_OUR_COMMAND = re.compile(
    r"notifier_service\.cli import main.{0,40}[\"'] hook |-m notifier_service hook\b"
    r"|notifier-service(?:\.exe)?[\"']? hook\b"
)
_OUR_PATH = "/hooks/claude-code"
_PERMISSION = {"edit": "ask", "bash": "ask", "webfetch": "ask"}

Steps = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """What the settings of agents name: a service, how to start this program, and the commands of its hooks."""

    home: Path
    environment: Mapping[str, str]
    url: str
    program: Sequence[str]
    commands: Callable[[str], Commands]

    def folder(self, variable: str, *otherwise: str) -> Path:
        """A folder that a variable may name."""
        named = self.environment.get(variable)
        return Path(named) if named else self.home.joinpath(*otherwise)


@dataclass(frozen=True)
class Agent:
    """An agent: what it is called, its settings, whether it is here, and how they are changed in place."""

    name: str
    title: str
    path: Callable[[Place], Path]
    change: Callable[[Jsonc, Place], None]
    #: Takes out what ``change`` put in, where a person has changed the file since.
    restore: Callable[[Jsonc], None]
    #: Programs that show that it is here, besides the folder of its settings.
    programs: Sequence[str] = ()
    #: What a person has to do besides.
    note: str = ""

    def is_here(self, place: Place) -> bool:
        path = self.path(place)
        if path.exists() or any(shutil.which(name, path=place.environment.get("PATH")) for name in self.programs):
            return True
        return path.parent.is_dir() and path.parent != place.home


def _hooks(dialect: str) -> Callable[[Jsonc, Place], None]:
    def change(settings: Jsonc, place: Place) -> None:
        config = DIALECTS[dialect]().config(place.commands(dialect))
        for name, value in config.items():
            if name != "hooks" and settings.get([name]) != value:
                settings.set([name], value)
        for event, entries in config["hooks"].items():
            [entry] = entries
            ours = _our_hooks(settings, event)
            for path in ours:
                hook = entry["hooks"][0] if "hooks" in entry else entry
                if settings.get(path) != hook:
                    settings.set(path, hook)
            if not ours:
                settings.append(["hooks", event], entry)

    return change


def _without_hooks(settings: Jsonc) -> None:
    hooks = settings.get(["hooks"])
    for event in hooks if isinstance(hooks, dict) else ():
        for path in reversed(_our_hooks(settings, event)):
            settings.remove(path)
            # What held nothing else goes with it: the list, and with that the entry; the event; all hooks.
            holders: list[tuple[Steps, Steps]] = [(held, held) for held in (("hooks", event), ("hooks",))]
            if len(path) > 3:
                holders.insert(0, (path[:-1], path[:3]))
            for holder, taken in holders:
                if settings.get(holder):
                    break
                settings.remove(taken)


def _our_hooks(settings: Jsonc, event: str) -> list[Steps]:
    """Where our hooks of this event are, in an entry of their own or beside others."""
    entries = settings.get(["hooks", event])
    found: list[Steps] = []
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        inner = entry.get("hooks") if isinstance(entry, dict) else None
        if isinstance(inner, list):
            found += [("hooks", event, number, "hooks", at) for at, hook in enumerate(inner) if _is_ours(hook)]
        elif _is_ours(entry):
            found.append(("hooks", event, number))
    return found


def _is_ours(hook: Any) -> bool:
    if not isinstance(hook, dict):
        return False
    url = hook.get("url")
    if isinstance(url, str) and urlsplit(url).path.endswith(_OUR_PATH):
        return True
    commands = (hook.get(name) for name in ("command", "bash", "powershell"))
    return any(isinstance(command, str) and _OUR_COMMAND.search(command) for command in commands)


def _started(key: str, gateway: str) -> Callable[[Jsonc, Place], None]:
    """Put the gateway of this kind before each server or agent that a command starts."""

    def change(settings: Jsonc, place: Place) -> None:
        for path, words in _commands(settings, key):
            behind = _behind(words)
            if behind is None and _is_gateway(words):
                continue  # somebody has put one there in a way of their own
            program, *arguments = place.program
            how = ["gateway", gateway, *_named(str(path[-1])), "--service", place.url, "--"]
            wanted = [program, *arguments, *how, *(words if behind is None else behind)]
            if words != wanted:
                _put(settings, path, words, wanted)

    return change


def _not_started(key: str) -> Callable[[Jsonc], None]:
    def restore(settings: Jsonc) -> None:
        for path, words in _commands(settings, key):
            behind = _behind(words)
            if behind:
                _put(settings, path, words, behind)

    return restore


def _commands(settings: Jsonc, key: str) -> list[tuple[Steps, list[str]]]:
    """Where a command is started, and its words."""
    started = settings.get([key])
    found: list[tuple[Steps, list[str]]] = []
    for name, entry in started.items() if isinstance(started, dict) else ():
        arguments = entry.get("args", []) if isinstance(entry, dict) else None
        if isinstance(arguments, list):
            words = [entry.get("command"), *arguments]
            if all(isinstance(word, str) for word in words):
                found.append(((key, name), words))
    return found


def _put(settings: Jsonc, path: Steps, words: Sequence[str], wanted: Sequence[str]) -> None:
    if words[0] != wanted[0]:
        settings.set([*path, "command"], wanted[0])
    if list(words[1:]) != list(wanted[1:]):
        settings.set([*path, "args"], list(wanted[1:]))


def _behind(words: Sequence[str]) -> list[str] | None:
    """What our gateway starts, if these words are it as it is put here."""
    match words[1:]:
        case ["-P", "-m", "notifier_service", "gateway", _, "--name", _, "--service", _, "--", *behind]:
            return list(behind)
        case ["-P", "-m", "notifier_service", "gateway", _, "--service", _, "--", *behind]:
            return list(behind)
    return None


def _is_gateway(words: Sequence[str]) -> bool:
    stem = words[0].replace("\\", "/").rpartition("/")[2].removesuffix(".exe")
    return "gateway" in words and (stem == "notifier-service" or "notifier_service" in words)


def _named(name: str) -> list[str]:
    return ["--name", name] if 1 <= len(name) <= 256 and name.isprintable() and not name.startswith("-") else []


def _opencode(settings: Jsonc, place: Place) -> None:
    """Have it ask for what it would do unasked; nobody's own choice is changed."""
    if settings.get(["permission"]) is None:
        settings.set(["permission"], _PERMISSION)


def _not_opencode(settings: Jsonc) -> None:
    if settings.get(["permission"]) == _PERMISSION:
        settings.remove(["permission"])


def _application(*mac: str, linux: Sequence[str]) -> Callable[[Place], Path]:
    """Where an application of the desktop keeps its settings."""

    def path(place: Place) -> Path:
        if sys.platform == "darwin":
            return place.home.joinpath("Library", "Application Support", *mac)
        return place.folder("XDG_CONFIG_HOME", ".config").joinpath(*linux)

    return path


def _copilot(place: Place) -> Path:
    return Path(os.path.abspath(".github/hooks/notifier-service.json"))


AGENTS: Sequence[Agent] = (
    Agent(
        "claude",
        "Claude Code",
        lambda place: place.folder("CLAUDE_CONFIG_DIR", ".claude") / "settings.json",
        _hooks("claude"),
        _without_hooks,
        ("claude",),
        "set NOTIFIER_TOKEN where claude is started, if the service wants a token",
    ),
    Agent(
        "codex",
        "Codex",
        lambda place: place.folder("CODEX_HOME", ".codex") / "hooks.json",
        _hooks("codex"),
        _without_hooks,
        ("codex",),
        "Codex asks once whether it may trust the hooks",
    ),
    Agent(
        "gemini",
        "Gemini CLI",
        lambda place: place.home / ".gemini" / "settings.json",
        _hooks("gemini"),
        _without_hooks,
        ("gemini",),
    ),
    Agent(
        "copilot",
        "Copilot CLI",
        _copilot,
        _hooks("copilot"),
        _without_hooks,
        ("copilot",),
        "Copilot CLI reads its hooks from the repository in which it works: this one",
    ),
    Agent(
        "opencode",
        "opencode",
        lambda place: place.folder("XDG_CONFIG_HOME", ".config") / "opencode" / "opencode.json",
        _opencode,
        _not_opencode,
        ("opencode",),
        "opencode asks now; answer here with: notifier-service bridge opencode http://127.0.0.1:4096",
    ),
    Agent(
        "zed",
        "Zed",
        _application("Zed", "settings.json", linux=("zed", "settings.json")),
        _started("agent_servers", "acp"),
        _not_started("agent_servers"),
    ),
    Agent(
        "jetbrains",
        "JetBrains",
        lambda place: place.home / ".jetbrains" / "acp.json",
        _started("agent_servers", "acp"),
        _not_started("agent_servers"),
    ),
    Agent(
        "cursor",
        "Cursor",
        lambda place: place.home / ".cursor" / "mcp.json",
        _started("mcpServers", "stdio"),
        _not_started("mcpServers"),
    ),
    Agent(
        "windsurf",
        "Windsurf",
        lambda place: place.home / ".codeium" / "windsurf" / "mcp_config.json",
        _started("mcpServers", "stdio"),
        _not_started("mcpServers"),
    ),
    Agent(
        "claude-desktop",
        "Claude Desktop",
        _application("Claude", "claude_desktop_config.json", linux=("Claude", "claude_desktop_config.json")),
        _started("mcpServers", "stdio"),
        _not_started("mcpServers"),
    ),
    Agent(
        "vscode",
        "VS Code",
        _application("Code", "User", "mcp.json", linux=("Code", "User", "mcp.json")),
        _started("servers", "stdio"),
        _not_started("servers"),
    ),
)
