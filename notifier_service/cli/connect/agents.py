"""The agents, editors and MCP clients of this machine: where each keeps its settings, and what makes it ask here."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..hook_dialects import DIALECTS, Commands
from .jsonc import Jsonc

__all__ = ["AGENTS", "Agent", "Place"]

#: What our own entries are known by.
_OURS = ("notifier_service", "notifier-service", "/hooks/claude-code")


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
            if name != "hooks":
                settings.set([name], value)
        for event, entries in config["hooks"].items():
            present = settings.get(["hooks", event])
            present = present if isinstance(present, list) else []
            ours = [number for number, entry in enumerate(present) if _is_ours(entry)]
            for number, entry in zip(ours, entries, strict=False):
                if present[number] != entry:
                    settings.set(["hooks", event, number], entry)
            for entry in entries[len(ours) :]:
                settings.append(["hooks", event], entry)

    return change


def _started(key: str, gateway: str) -> Callable[[Jsonc, Place], None]:
    """Put the gateway of this kind before each server or agent that a command starts."""

    def change(settings: Jsonc, place: Place) -> None:
        started = settings.get([key])
        for name, entry in started.items() if isinstance(started, dict) else ():
            if isinstance(entry, dict) and isinstance(entry.get("command"), str):
                _wrap(settings, [key, name], entry, place, ["gateway", gateway, *_named(name)])

    return change


def _wrap(settings: Jsonc, path: Sequence[str], server: Mapping[str, Any], place: Place, how: Sequence[str]) -> None:
    words = server.get("args", [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return
    behind = [server["command"], *words]
    if "--" in words and _is_ours(behind[: behind.index("--")]):
        behind = behind[behind.index("--") + 1 :]
    program, *arguments = place.program
    wanted = [*arguments, *how, "--service", place.url, "--", *behind]
    if server["command"] != program:
        settings.set([*path, "command"], program)
    if words != wanted:
        settings.set([*path, "args"], wanted)


def _named(name: str) -> list[str]:
    return ["--name", name] if 1 <= len(name) <= 256 and name.isprintable() and not name.startswith("-") else []


def _opencode(settings: Jsonc, place: Place) -> None:
    """Have it ask for what it would do unasked; nobody's own choice is changed."""
    if settings.get(["permission"]) is None:
        settings.set(["permission"], {"edit": "ask", "bash": "ask", "webfetch": "ask"})


def _is_ours(entry: Any) -> bool:
    text = json.dumps(entry)
    return any(word in text for word in _OURS)


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
        ("claude",),
        "set NOTIFIER_TOKEN where claude is started, if the service wants a token",
    ),
    Agent(
        "codex",
        "Codex",
        lambda place: place.folder("CODEX_HOME", ".codex") / "hooks.json",
        _hooks("codex"),
        ("codex",),
        "Codex asks once whether it may trust the hooks",
    ),
    Agent(
        "gemini",
        "Gemini CLI",
        lambda place: place.home / ".gemini" / "settings.json",
        _hooks("gemini"),
        ("gemini",),
    ),
    Agent(
        "copilot",
        "Copilot CLI",
        _copilot,
        _hooks("copilot"),
        ("copilot",),
        "Copilot CLI reads its hooks from the repository in which it works: this one",
    ),
    Agent(
        "opencode",
        "opencode",
        lambda place: place.folder("XDG_CONFIG_HOME", ".config") / "opencode" / "opencode.json",
        _opencode,
        ("opencode",),
        "opencode asks now; answer here with: notifier-service bridge opencode http://127.0.0.1:4096",
    ),
    Agent(
        "zed",
        "Zed",
        _application("Zed", "settings.json", linux=("zed", "settings.json")),
        _started("agent_servers", "acp"),
    ),
    Agent(
        "jetbrains", "JetBrains", lambda place: place.home / ".jetbrains" / "acp.json", _started("agent_servers", "acp")
    ),
    Agent("cursor", "Cursor", lambda place: place.home / ".cursor" / "mcp.json", _started("mcpServers", "stdio")),
    Agent(
        "windsurf",
        "Windsurf",
        lambda place: place.home / ".codeium" / "windsurf" / "mcp_config.json",
        _started("mcpServers", "stdio"),
    ),
    Agent(
        "claude-desktop",
        "Claude Desktop",
        _application("Claude", "claude_desktop_config.json", linux=("Claude", "claude_desktop_config.json")),
        _started("mcpServers", "stdio"),
    ),
    Agent(
        "vscode",
        "VS Code",
        _application("Code", "User", "mcp.json", linux=("Code", "User", "mcp.json")),
        _started("servers", "stdio"),
    ),
)
