"""For which commands a decision about one holds: those that begin alike and have its options, or itself alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import later
from ..parameters import parameters_sha256
from .programs import is_interpreter, to_be_named
from .shell import COMMAND_PARAMETERS, read_call

__all__ = ["CommandUse", "command_use"]

#: Programs of which the second word says what they do, and second words that have them run whatever comes behind.
_WITH_SUBCOMMANDS = frozenset(
    {
        "apt", "brew", "cargo", "docker", "dotnet", "gh", "git", "go", "gradle", "helm", "hg", "kubectl", "mvn", "npm",
        "pip", "pnpm", "podman", "poetry", "svn", "systemctl", "terraform", "uv", "yarn",
    }
)  # fmt: skip
_RUNNING_SUBCOMMANDS = frozenset(
    {
        "add", "alias", "bisect", "ci", "compose", "config", "create", "dlx", "exec", "extension", "filter-branch",
        "foreach", "generate", "i", "init", "install", "plugin", "publish", "run", "run-script", "shell", "start",
        "submodule", "tool", "update", "upgrade", "x",
    }
)  # fmt: skip
_SUBCOMMAND = later.pattern(r"[a-z][a-z0-9-]*")
#: Parameters beside the command that change nothing of what runs.
_HARMLESS = frozenset({"description", "timeout", "timeout_ms", "timeout_seconds"})


class CommandUse(NamedTuple):
    """For which commands a decision about one of them holds.

    With a ``beginning``: for each that is a single command, begins with these words and has the same ``options`` among
    the rest. Without: for the very same ``sha256`` of parameters. ``beside_sha256`` is of what stands beside the
    command.
    """

    beginning: tuple[str, ...]
    options: frozenset[str]
    sha256: str | None
    beside_sha256: str | None


def command_use(parameters: Mapping[str, Any]) -> CommandUse | None:
    """What a decision about a call with these parameters may cover; None for one that holds no command."""
    reading = read_call(parameters)
    if reading is None:
        return None
    words = reading.parts[0] if reading.not_understood is None and len(reading.parts) == 1 else ()
    beginning = _beginning(words)
    if not beginning:
        return CommandUse((), frozenset(), parameters_sha256(_without(parameters, _HARMLESS)), None)
    options = frozenset(word for word in words if word.startswith("-"))
    beside = _without(parameters, _HARMLESS | frozenset(COMMAND_PARAMETERS))
    return CommandUse(beginning, options, None, parameters_sha256(beside))


def _without(parameters: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in names}


def _beginning(words: tuple[str, ...]) -> tuple[str, ...]:
    """The first words that say what a command does; none where only the whole of it says that."""
    if not words or is_interpreter(words) or to_be_named(words):
        return ()
    if words[0].rpartition("/")[2] not in _WITH_SUBCOMMANDS:
        return words[:1]
    is_told = len(words) > 1 and _SUBCOMMAND.fullmatch(words[1]) and words[1] not in _RUNNING_SUBCOMMANDS
    return words[:2] if is_told else ()
