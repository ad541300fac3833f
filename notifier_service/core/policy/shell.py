"""What a shell command runs, read by a grammar so small that no shell can read it in another way.

Plain words and quoted literals without expansion, joined by ``&& || ; |`` or line ends; redirections to ``/dev/null``
and ``2>&1`` only; no assignment in front, no reserved word, no program whose business is to run another one. Whatever
else a text holds is not understood, and that is an answer: who does not know what a command runs asks a person.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..parameters import parameters_sha256

__all__ = ["CommandUse", "NotUnderstood", "command_use", "simple_commands"]

#: Far more than a person reads; reading takes time in proportion.
_MAX_CHARACTERS = 64 * 1024

_OPERATORS = ("&&", "||", ";", "|", "\n")
_REDIRECTION = re.compile(r"(?:(?:[12]?>>?|&>>?|<)[ \t]*/dev/null|2>&1|1>&2)(?=[ \t\n;|&<>]|\Z)")
#: What stands for itself outside of quotes: letters and digits of any script, and marks that no shell gives a meaning.
_PLAIN_MARKS = frozenset("_-./,:+@%=^")
_SINGLE_QUOTED = re.compile(r"'([^']*)'")
_DOUBLE_QUOTED = re.compile(r'"([^"$`\\]*)"')

#: In the place of a command these are the shell's own words, or change how it reads what follows.
_RESERVED = frozenset(
    {
        "!", ".", "[", "[[", "alias", "bind", "builtin", "case", "command", "coproc", "declare", "do", "done", "elif",
        "else", "enable", "env", "esac", "eval", "exec", "export", "fc", "fi", "for", "function", "hash", "if", "in",
        "local", "readonly", "select", "set", "shopt", "source", "then", "time", "trap", "typeset", "unalias", "unset",
        "until", "while",
    }
)  # fmt: skip
#: Programs that run what they are given.
_WRAPPERS = frozenset(
    {
        "ash", "bash", "busybox", "chroot", "chrt", "csh", "dash", "doas", "docker", "entr", "expect", "fish", "flock",
        "ionice", "ksh", "nice", "nohup", "nsenter", "parallel", "podman", "rbash", "runuser", "script", "setpriv",
        "setsid", "sh", "ssh", "stdbuf", "su", "sudo", "systemd-run", "taskset", "tcsh", "timeout", "unshare", "watch",
        "xargs", "zsh",
    }
)  # fmt: skip
#: Options by which a program that only looks for files runs or removes something.
_RUNNING_OPTIONS: Mapping[str, frozenset[str]] = {
    "find": frozenset({"-delete", "-exec", "-execdir", "-fls", "-fprint", "-fprint0", "-fprintf", "-ok", "-okdir"}),
}
#: Programs of which the second word says what they do, and second words that have them run whatever comes behind.
_WITH_SUBCOMMANDS = frozenset(
    {
        "apt", "brew", "cargo", "dotnet", "gh", "git", "go", "gradle", "helm", "hg", "kubectl", "mvn", "npm", "pip",
        "pnpm", "poetry", "svn", "systemctl", "terraform", "uv", "yarn",
    }
)  # fmt: skip
_RUNNING_SUBCOMMANDS = frozenset(
    {
        "add", "alias", "bisect", "ci", "config", "create", "dlx", "exec", "extension", "filter-branch", "foreach",
        "generate", "i", "init", "install", "plugin", "publish", "run", "run-script", "shell", "start", "submodule",
        "tool", "update", "upgrade", "x",
    }
)  # fmt: skip
_SUBCOMMAND = re.compile(r"[a-z][a-z0-9-]*")
#: Programs that run the file that they are given: only the whole command says what that is.
_INTERPRETERS = re.compile(
    r"(?:python|pypy|node|nodejs|deno|bun|ruby|perl|php|lua|tclsh|java|pwsh|osascript|make|gmake|ninja|just|npx|bunx|uvx"
    r"|pipx|awk|gawk|mawk|sed|vi|vim|nvim|emacs|gdb|sqlite3|psql|mysql)[0-9.]*"
)

#: Parameters that hold what a shell or a program is given, and those beside it that change nothing of what runs.
_COMMAND_PARAMETERS = ("command", "cmd", "script", "argv")
_HARMLESS = frozenset({"description", "timeout", "timeout_ms", "timeout_seconds"})


class NotUnderstood(ValueError):
    """This text has a reading that the grammar does not know; the message says what it was, in words."""


def simple_commands(text: str) -> tuple[tuple[str, ...], ...]:
    """The words of each command that a shell would run for this text, in order. Raises ``NotUnderstood``."""
    if len(text) > _MAX_CHARACTERS:
        raise NotUnderstood(f"it has more than {_MAX_CHARACTERS} characters")
    reader = _Reader(text)
    commands = reader.read()
    for words in commands:
        _refuse_what_runs_others(words)
    return commands


class _Reader:
    """Reads from left to right, once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self) -> tuple[tuple[str, ...], ...]:
        commands: list[tuple[str, ...]] = []
        words: list[str] = []
        joined_by = ";"  # as a text begins
        while self._at < len(self._text):
            operator = next((mark for mark in _OPERATORS if self._text.startswith(mark, self._at)), None)
            if self._text[self._at] in " \t":
                self._at += 1
            elif operator is not None:
                self._at += len(operator)
                if words:
                    commands.append(tuple(words))
                    words = []
                elif operator != "\n":
                    raise NotUnderstood(f"there is no command before {operator}")
                elif joined_by not in (";", "\n"):
                    continue  # the command behind && || | may stand on the next line
                joined_by = operator
            elif (redirection := _REDIRECTION.match(self._text, self._at)) is not None:
                self._at = redirection.end()
            elif self._text[self._at] == "&":
                raise NotUnderstood("it runs something in the background, or redirects (&)")
            else:
                words.append(self._word())
        if words:
            commands.append(tuple(words))
        elif joined_by not in (";", "\n"):
            raise NotUnderstood(f"there is no command behind {joined_by}")
        if not commands:
            raise NotUnderstood("there is no command")
        return tuple(commands)

    def _word(self) -> str:
        pieces: list[str] = []
        text = self._text
        while self._at < len(text):
            mark = text[self._at]
            if mark in " \t\n;|&":
                break
            literal = {"'": _SINGLE_QUOTED, '"': _DOUBLE_QUOTED}.get(mark)
            quoted = None if literal is None else literal.match(text, self._at)
            if quoted is not None:
                if not all(map(_is_told_as_it_is, quoted[1])):
                    raise NotUnderstood("a quoted text has a character that nobody sees")
                pieces.append(quoted[1])
                self._at = quoted.end()
            elif mark.isalnum() or self._stands_for_itself(mark, pieces):
                pieces.append(mark)
                self._at += 1
            else:
                raise NotUnderstood(_why(mark))
        return "".join(pieces)

    @staticmethod
    def _stands_for_itself(mark: str, before: list[str]) -> bool:
        if mark == "~":  # a home folder at the beginning of a word, and where a path begins within it
            return bool(before) and before[-1] not in ("=", ":")
        return mark in _PLAIN_MARKS and (mark != "=" or bool(before))  # zsh reads =ls as the path of ls


def _is_told_as_it_is(mark: str) -> bool:
    return mark.isprintable() or mark in "\n\t"


def _why(mark: str) -> str:
    if mark in "'\"":
        return "a quoted text has an expansion or an escape in it, or does not end"
    names = {
        "$": "an expansion ($)", "`": "a substitution (`)", "\\": "an escape (\\)", "<": "a redirection (<)",
        ">": "a redirection (>)", "(": "a subshell or a function", ")": "a subshell or a function",
        "*": "a pattern (*)", "?": "a pattern (?)", "[": "a pattern ([)", "]": "a pattern (])",
        "{": "a brace", "}": "a brace",
        "~": "a home folder (~)", "#": "a comment (#)", "!": "a history or negation mark (!)",
    }  # fmt: skip
    return f"it has {names.get(mark, 'a character that shells may read in several ways')}"


def _refuse_what_runs_others(words: tuple[str, ...]) -> None:
    first = words[0]
    program = first.rpartition("/")[2]
    if not first or "=" in first or first.startswith(("%", "-", "~")):
        raise NotUnderstood("an assignment, or something else than a program, stands where a command begins")
    if first in _RESERVED or program in _RESERVED:
        raise NotUnderstood(f"{program} is the shell's own word")
    if program in _WRAPPERS:
        raise NotUnderstood(f"{program} runs what it is given")
    if not _RUNNING_OPTIONS.get(program, frozenset()).isdisjoint(words):
        raise NotUnderstood(f"{program} is told to run or to remove something")


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
    held = [name for name in _COMMAND_PARAMETERS if name in parameters]
    if not held:
        return None
    words = _single_command(parameters[held[0]]) if len(held) == 1 else ()
    beginning = _beginning(words)
    if not beginning:
        return CommandUse((), frozenset(), parameters_sha256(_without(parameters, _HARMLESS)), None)
    options = frozenset(word for word in words if word.startswith("-"))
    return CommandUse(beginning, options, None, parameters_sha256(_without(parameters, _HARMLESS | {held[0]})))


def _without(parameters: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in names}


def _single_command(command: Any) -> tuple[str, ...]:
    """Its words; none where it is more than one, or not understood."""
    try:
        commands = simple_commands(command) if isinstance(command, str) else ()
    except NotUnderstood:
        return ()
    return commands[0] if len(commands) == 1 else ()


def _beginning(words: tuple[str, ...]) -> tuple[str, ...]:
    """The first words that say what a command does; none where only the whole of it says that."""
    if not words or _INTERPRETERS.fullmatch(words[0].rpartition("/")[2]):
        return ()
    if words[0] not in _WITH_SUBCOMMANDS:
        return words[:1]
    is_told = len(words) > 1 and _SUBCOMMAND.fullmatch(words[1]) and words[1] not in _RUNNING_SUBCOMMANDS
    return words[:2] if is_told else ()
