"""What of a command nobody but a shell can read, as a code with values, and in words."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["WHAT_IS_NOT_UNDERSTOOD", "NotUnderstood"]

#: By code, in English; ``{names}`` stand for the values.
WHAT_IS_NOT_UNDERSTOOD: Mapping[str, str] = {
    "shell_arithmetic": "{program} is given what a shell may calculate, and so run: {word}",
    "shell_assignment": "something else than a program stands where a command begins: {word}",
    "shell_background": "it runs something in the background, or redirects (&)",
    "shell_brace": "it has a brace ({mark})",
    "shell_character": "it has a character that shells may read in several ways, or that nobody sees ({mark})",
    "shell_comment": "it has a comment (#)",
    "shell_escape": "it has an escape (\\)",
    "shell_expansion": "it has an expansion ({mark})",
    "shell_history": "it has a history or negation mark (!)",
    "shell_home": "it has a home folder (~)",
    "shell_nested": "more than {limit} commands run one another",
    "shell_no_command": "there is no command where one is expected",
    "shell_not_text": "what it runs is neither text nor a list of words",
    "shell_option": "{program} is told to run something by {word}",
    "shell_own_word": "{program} is a word of the shell's own",
    "shell_parameter": "parameter {name} beside the command changes what runs",
    "shell_pattern": "it has a pattern of file names ({mark})",
    "shell_program_text": "{program} is given a program of its own: {word}",
    "shell_quote": "a quoted text does not end",
    "shell_redirection": "it has a redirection ({mark})",
    "shell_subshell": "it has a subshell or a function ({mark})",
    "shell_substitution": "it has a substitution ({mark})",
    "shell_too_long": "it has more than {limit} characters",
    "shell_too_many": "a command has more than {limit} words",
    "shell_too_many_parts": "it has more than {limit} commands",
    "shell_wrapper": "{program} runs what it is given",
}


class NotUnderstood(ValueError):
    """A command has a reading that nobody here knows: ``code`` and ``values`` say what it has, the text in words."""

    def __init__(self, code: str, **values: str | int) -> None:
        #: What stands in a command may be long, and may hold what nobody sees.
        self.code = code
        self.values = {name: _shown(value) for name, value in values.items()}
        super().__init__(WHAT_IS_NOT_UNDERSTOOD[code].format_map(self.values))


def _shown(value: str | int) -> str | int:
    if isinstance(value, int):
        return value
    short = value if len(value) <= 80 else f"{value[:80]}…"
    return short if short.isprintable() else ascii(short)[1:-1]
