"""Commands and texts of other programs' rules, as the patterns and regular expressions that our rules take."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = [
    "LEADS_OUTSIDE",
    "NO_OUTSIDE",
    "NO_OUTSIDE_NO_OPTIONS",
    "PLAIN_WORD",
    "anything_with",
    "escape",
    "mentions_path",
    "set_of",
    "verbatim",
    "word_of_a_pattern",
]

PLAIN_WORD = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")

_QUOTES = r"[\x27\"\\]*"
#: White space, quotes and operators: behind one of them a word begins.
_SEPARATORS = r" \t\n\x27\"=;|&<>():,"
#: A piece of a word that leads nowhere else: it begins with no ``/`` or ``~``, and is neither ``.`` nor ``..``.
_PIECE = rf"[^./~{_SEPARATORS}]/?|\.[^./~{_SEPARATORS}]/?|\./[^./~{_SEPARATORS}]/?"
#: A text in which no word leads out of the folder where it runs, or is that folder.
NO_OUTSIDE = rf"(?s)(?:{_PIECE}|[{_SEPARATORS}])*"
#: The same without options.
NO_OUTSIDE_NO_OPTIONS = (
    rf"(?s)(?:[^./~{_SEPARATORS}-][/-]?|\.[^./~{_SEPARATORS}-][/-]?|\./[^./~{_SEPARATORS}-]|[{_SEPARATORS}])*"
)
#: The path of a parameter that may lead out of the folder that it is counted from.
LEADS_OUTSIDE = r"(?s)[/~\\].*|.*\.\..*|[A-Za-z]:.*"


def set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


def escape(text: str) -> str:
    """``text`` as a pattern; ``re.escape`` escapes a blank, too, which nobody wants to read."""
    return re.sub(r"([\\.^$*+?{}\[\]|()\n\t\r\f\v-])", _escaped, text)


def word_of_a_pattern(word: str) -> str | None:
    """A word as it stands in a ``command`` of a rule, for itself and nothing else; None where it cannot."""
    if PLAIN_WORD.fullmatch(word):
        return word
    if "'" not in word and "\n" not in word:
        return f"'{word}'"
    return None


def verbatim(prefix: str, *, inside: bool = False) -> str:
    """Texts in which words stand as they are compared elsewhere: with one blank between them, unquoted.

    Either a single command with this beginning, or several without any quotes; without redirections. With ``inside`` no
    word leads out of the folder, either.
    """
    if inside:
        one = rf"{escape(prefix)}(?: (?:{_PIECE}|[ \x27\"=:,()])*)?"
        joined = r"[=;|&():,\n]"
        several = rf"(?:{_PIECE})(?: ?(?:{_PIECE}|{joined}))*"
    else:
        one = rf"{escape(prefix)}(?: [^;&|\n<>\\]*)?"
        several = r"[^ \t\x27\"\\<>](?: ?[^ \t\x27\"\\<>])* ?"
    return f"(?s){one}|{several}"


def anything_with(parts: Iterable[str], *, ignore_case: bool = False) -> str:
    """Texts that hold all of these parts, one behind the other."""
    flags = "(?is)" if ignore_case else "(?s)"
    return flags + ".*" + ".*".join(map(escape, parts)) + ".*"


def mentions_path(name: str, *, begins: bool, ends: bool) -> str:
    """Shell texts with this piece of a path in them, however it is quoted; as the beginning or the end of a name."""
    before = r"(?:.*[^A-Za-z0-9_.-])?" if begins else ".*"
    after = r"(?:[^A-Za-z0-9_.-].*)?" if ends else ".*"
    return rf"(?is){before}{_spelled(name)}{_QUOTES}{after}"


def _spelled(word: Sequence[str]) -> str:
    return _QUOTES.join(map(escape, word))


def _escaped(found: re.Match[str]) -> str:
    return {"\n": r"\n", "\t": r"\t", "\r": r"\r", "\f": r"\f", "\v": r"\v"}.get(found[0], "\\" + found[0])
