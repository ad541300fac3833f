"""What a shell command runs, read by a grammar so small that no shell can read it in another way.

Words of letters, digits and marks that mean nothing to a shell, and quoted literals without expansion, joined by
``&& || ; |`` or line ends; redirections to ``/dev/null`` and ``2>&1`` only; no assignment in front, no reserved word.
A wrapper such as ``timeout 5`` is unwrapped where it is certain what it runs, and what it runs is read as well.
Whatever else a text holds is not understood, and that is an answer: who does not know what runs asks a person.

A pattern of file names (``*.py``) is not understood either: it stands for names, and a file may be called ``-delete``.
The grammar is that of POSIX shells: for ``cmd.exe`` and PowerShell no rule should allow shell text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from .. import later
from .not_understood import NotUnderstood
from .programs import SHELLS, wrapped

__all__ = ["COMMAND_PARAMETERS", "CommandReading", "read_call", "read_command"]

#: Parameters that hold what a shell or a program is given.
COMMAND_PARAMETERS = ("command", "cmd", "script", "argv")
_HOLDING_COMMANDS = frozenset(COMMAND_PARAMETERS)
#: Parameters beside them that change what runs, and of which no rule about a command knows.
_CHANGING_PARAMETERS = ("args", "arguments", "env", "environment", "executable", "input", "shell", "stdin")
_CHANGING = frozenset(_CHANGING_PARAMETERS)

#: Far more than a person reads; reading takes time in proportion.
_MAX_CHARACTERS = 64 * 1024
#: Words of all commands together; a person reads no more, and each is compared with every pattern.
_MAX_WORDS = 5000
#: Commands in one text.
_MAX_PARTS = 500
#: Wrappers within wrappers; nobody needs more.
_MAX_NESTED = 4

_BLANKS = later.pattern(r"[ \t]+")
_OPERATOR = later.pattern(r"&&|\|\||[;|\n]")
_REDIRECTION = later.pattern(r"(?:(?:[12]?>>?|&>>?|<)[ \t]*/dev/null|2>&1)(?=[ \t\n;|&<>]|\Z)")
#: What stands for itself outside of quotes. Letters of other scripts do not: a shell may see a blank in their bytes.
_PLAIN = later.pattern(r"[A-Za-z0-9_./,:+@%-]+")
_PLAIN_WORD = later.pattern(r"[A-Za-z0-9_./,:+@%=-]+")
_USUAL_SHELL = later.pattern(r"(?:/bin/|/usr/bin/|/usr/local/bin/|/opt/homebrew/bin/)?(?:bash|dash|sh|zsh)")
_ENDS_OF_WORD = ("", " ", "\t", "\n", ";", "|", "&")
#: What a backslash may quote: marks, and no letter, which it would hide rather than quote.
_QUOTED_BY_BACKSLASH = tuple("().*?|;![]{}+ ")
_SINGLE_QUOTED = later.pattern(r"'([^']*)'")
#: An interactive shell reads ``!`` in double quotes, too. A backslash there stands for itself, but before these four.
_ODD_IN_QUOTES = later.pattern(r"(?:[^$`\\!]|\\[^`!\n])*?(?=[$`!]|\\[`!\n])")
_DOUBLE_QUOTED = later.pattern(r'"((?:[^"$`\\!]|\\[^`!\n])*)"')
_ESCAPED = later.pattern(r'\\(["$\\])')

Words = tuple[str, ...]


@dataclass(frozen=True)
class CommandReading:
    """What a command runs; with ``not_understood`` it may be more, and anything."""

    #: What it was read from; the words of an argv in their order, a line each.
    text: str
    #: The words of each command that runs, in order; what a wrapper runs stands behind the wrapper, as a part of its
    #: own. Empty where the text cannot be divided.
    parts: tuple[Words, ...]
    not_understood: NotUnderstood | None = None
    #: How many wrappers run each part, one within the other.
    depths: tuple[int, ...] = ()


def read_call(parameters: Mapping[str, Any]) -> CommandReading | None:
    """What a call with these parameters runs; None for one that holds no command."""
    if parameters.keys().isdisjoint(_HOLDING_COMMANDS):  # as most are
        return None
    held = [name for name in COMMAND_PARAMETERS if name in parameters]
    command = parameters[held[0]]
    if len(held) == 1 and parameters.keys().isdisjoint(_CHANGING):
        return read_command(command)
    changing = [name for name in _CHANGING_PARAMETERS if parameters.get(name) and not _is_usual(name, parameters[name])]
    if len(held) == 1 and changing == ["args"] and _are_plain(command, parameters["args"]):
        return read_command(" ".join([command, *parameters["args"]]))
    reading = read_command(command)
    beside = [*held[1:], *changing]
    if not beside:
        return reading
    text = "\n".join([reading.text, *(_as_text(parameters[name]) for name in beside)])
    why = reading.not_understood or NotUnderstood("shell_parameter", name=beside[0])
    return replace(reading, text=text, not_understood=why)


def _is_usual(name: str, value: object) -> bool:
    """Whether this is the shell that a command runs in anyway."""
    return name == "shell" and (value is True or (isinstance(value, str) and _USUAL_SHELL.fullmatch(value) is not None))


def _are_plain(command: Any, args: Any) -> bool:
    """Whether these words are the same to a shell and without one, so that it does not matter what a tool does."""
    words = [command, *args] if isinstance(args, list | tuple) else [None]
    return all(isinstance(word, str) and _PLAIN_WORD.fullmatch(word) for word in words)


def read_command(command: object) -> CommandReading:
    """What a shell runs for this text, or the system for this list of words. Raises nothing."""
    if isinstance(command, str):
        return _read_text(command)
    try:
        if isinstance(command, list | tuple) and command and all(isinstance(word, str) for word in command):
            parts = _of_words(tuple(command))
        else:
            raise NotUnderstood("shell_not_text")
    except NotUnderstood as why:
        return CommandReading(_as_text(command), (), why)
    return _unwrapped(_as_text(command), parts)


@lru_cache(maxsize=16)
def _read_text(text: str) -> CommandReading:
    """A call is read where it is shown, where rules are asked, and where a decision about it is kept."""
    try:
        parts = [(words, 0) for words in _divided(text)]
    except NotUnderstood as why:
        return CommandReading(text, (), why)
    return _unwrapped(text, parts)


def _as_text(command: object) -> str:
    """All that a value holds, a line each, for who looks for a word in it."""
    if isinstance(command, str):
        return command
    if isinstance(command, list | tuple) and all(isinstance(word, str) for word in command):
        return "\n".join(command)
    found: list[str] = []
    waiting = [command]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [part for pair in value.items() for part in pair][::-1]
        elif isinstance(value, list | tuple):
            waiting += reversed(value)
        else:
            found.append(str(value))
    return "\n".join(found)


def _of_words(argv: Words) -> list[tuple[Words, int]]:
    """An argv runs without a shell; one that is a shell and its text says the same as the text."""
    if len(argv) > _MAX_WORDS:
        raise NotUnderstood("shell_too_many", limit=_MAX_WORDS)
    if sum(map(len, argv)) > _MAX_CHARACTERS:
        raise NotUnderstood("shell_too_long", limit=_MAX_CHARACTERS)
    _refuse_hidden("".join(argv))
    text = wrapped(argv) if argv[0].rpartition("/")[2] in SHELLS else None
    return [(words, 0) for words in _divided(text)] if isinstance(text, str) else [(argv, 0)]


def _unwrapped(text: str, commands: list[tuple[Words, int]]) -> CommandReading:
    parts: list[tuple[Words, int]] = []
    waiting = commands[::-1]
    why: NotUnderstood | None = None
    while waiting:
        words, depth = waiting.pop()
        parts.append((words, depth))
        try:
            runs = wrapped(words)
            if runs is not None and depth >= _MAX_NESTED:
                raise NotUnderstood("shell_nested", limit=_MAX_NESTED)
            inner = _divided(runs) if isinstance(runs, str) else () if runs is None else (runs,)
        except NotUnderstood as reason:
            why = why or reason
        else:
            waiting += [(words, depth + 1) for words in reversed(inner)]
    return CommandReading(text, tuple(words for words, _ in parts), why, tuple(depth for _, depth in parts))


def _divided(text: str) -> tuple[Words, ...]:
    if len(text) > _MAX_CHARACTERS:
        raise NotUnderstood("shell_too_long", limit=_MAX_CHARACTERS)
    return _Reader(text).read()


def _refuse_hidden(text: str) -> None:
    """A person who is asked sees these words."""
    hidden = next((mark for mark in text if not (mark.isprintable() or mark in "\n\t")), None)
    if hidden is not None:
        raise NotUnderstood("shell_character", mark=hidden)


class _Reader:
    """Reads from left to right, once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self) -> tuple[Words, ...]:
        commands: list[Words] = []
        words: list[str] = []
        joined_by = ";"  # as a text begins
        is_redirected = False
        while self._at < len(self._text):
            if (blanks := _BLANKS.match(self._text, self._at)) is not None:
                self._at = blanks.end()
            elif (operator := _OPERATOR.match(self._text, self._at)) is not None:
                self._at = operator.end()
                if words:
                    commands.append(tuple(words))
                    words = []
                    self._require_few(commands)
                elif operator[0] != "\n" or is_redirected:  # zsh runs a program for a redirection that stands alone
                    raise NotUnderstood("shell_no_command")
                elif joined_by not in (";", "\n"):
                    continue  # the command behind && || | may stand on the next line
                joined_by = operator[0]
                is_redirected = False
            elif (redirection := _REDIRECTION.match(self._text, self._at)) is not None:
                self._at = redirection.end()
                is_redirected = True
            elif self._text[self._at] == "&":
                raise NotUnderstood("shell_background")
            else:
                words.append(self._word())
                if len(words) > _MAX_WORDS:
                    raise NotUnderstood("shell_too_many", limit=_MAX_WORDS)
        if words:
            commands.append(tuple(words))
        if not words and (is_redirected or not commands or joined_by not in (";", "\n")):
            raise NotUnderstood("shell_no_command")
        return tuple(commands)

    @staticmethod
    def _require_few(commands: Sequence[Words]) -> None:
        if len(commands) > _MAX_PARTS:
            raise NotUnderstood("shell_too_many_parts", limit=_MAX_PARTS)

    def _word(self) -> str:
        begins = self._at
        pieces: list[str] = []
        text = self._text
        while True:
            if (plain := _PLAIN.match(text, self._at)) is not None:
                pieces.append(plain[0])
                self._at = plain.end()
            mark = text[self._at : self._at + 1]
            if mark in _ENDS_OF_WORD:
                return "".join(pieces)
            if mark in "'\"":
                pieces.append(self._quoted(mark))
            elif mark == "\\" and text[self._at + 1 : self._at + 2] in _QUOTED_BY_BACKSLASH:
                pieces.append(text[self._at + 1])
                self._at += 2
            elif self._stands_for_itself(mark, begins):
                pieces.append(mark)
                self._at += 1
            else:
                raise self._why(self._at)

    def _quoted(self, mark: str) -> str:
        quoted = (_SINGLE_QUOTED if mark == "'" else _DOUBLE_QUOTED).match(self._text, self._at)
        if quoted is None:
            raise self._why_not_literal(mark)
        _refuse_hidden(quoted[1])
        self._at = quoted.end()
        return quoted[1] if mark == "'" else _ESCAPED.sub(r"\1", quoted[1])

    def _stands_for_itself(self, mark: str, begins: int) -> bool:
        """Whether a mark means nothing where it stands in its word."""
        if mark == "~":  # a home folder at the beginning of a word, and where a path begins within it
            return self._at > begins and self._text[self._at - 1] not in "=:'\""
        return mark in "=^" and self._at > begins  # zsh reads =ls as the path of ls, and ^a as all other files

    def _why_not_literal(self, quote: str) -> NotUnderstood:
        """Why a quoted text is not what it shows."""
        odd = _ODD_IN_QUOTES.match(self._text, self._at) if quote == '"' else None
        return NotUnderstood("shell_quote") if odd is None else self._why(odd.end())

    def _why(self, at: int) -> NotUnderstood:
        mark = self._text[at]
        if self._text.startswith(("$(", "`", "<(", ">("), at):
            return NotUnderstood("shell_substitution", mark=self._text[at : at + 2] if mark != "`" else "`")
        return NotUnderstood(_CODES.get(mark, "shell_character"), mark=mark)


#: What a mark begins that is no plain one.
_CODES: Mapping[str, str] = {
    "$": "shell_expansion", "\\": "shell_escape", "<": "shell_redirection", ">": "shell_redirection",
    "(": "shell_subshell", ")": "shell_subshell", "*": "shell_pattern", "?": "shell_pattern", "[": "shell_pattern",
    "]": "shell_pattern", "{": "shell_brace", "}": "shell_brace", "~": "shell_home", "#": "shell_comment",
    "!": "shell_history", "^": "shell_pattern",
}  # fmt: skip
