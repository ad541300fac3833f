"""How a rule names commands: ``git status *``, words against words.

A pattern is one command, written as for a shell: words between blanks, and quotes around what is to be taken as it is.
``* ? [..]`` in a word stand for characters of this one word. Where a rule **allows**:

- ``*`` as the last word stands for any further words, also for none: ``git *`` is ``git`` and all that begins with it.
  Elsewhere it stands for one word.
- The program is compared as it is written: ``git`` is neither ``/usr/bin/git`` nor ``./git``.
- Within the pattern, what ``* ? [..]`` stand for begins with no ``-`` and is no path with ``..``. No ``*``, also not
  the last one, stands for an option by which a well-known program writes, deletes or sends (``find -delete``,
  ``sort -o``, ``sed -i``, ``git log --output``): to allow such a command the pattern has to name the option.
- What a wrapper runs is a part of its own: ``timeout 5 ls`` needs a rule for ``timeout *`` and one for ``ls``.

Where a rule **denies or asks**, it errs to holding back: the program counts under every path and in capital letters;
options count wherever they stand, short ones in any grouping; a ``*`` within stands for any words. In a text that is
not understood, or that an interpreter runs, it is enough that the words appear in their order, whatever quotes,
backslashes and expansions stand between their letters. That is a tripwire, and no protection.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property, lru_cache

from .. import later
from .clues import Clue
from .programs import runs_text, to_be_named
from .shell import CommandReading

__all__ = ["CommandPattern", "is_huge", "matches_command", "mentions", "names_in", "words_held_back"]

Words = tuple[str, ...]

_BLANKS = later.pattern(r"[ \t]+")
_PIECE = later.pattern(r"'([^']*)'|\"([^\"$`\\]*)\"|((?:[A-Za-z0-9_./,:+@%=^~*?{}#!-]|\[[^\]\s'\"]+\]|[^\W_])+)")
_GLOB = later.pattern(r"[*?[]")
_MAX_WORDS = 100
#: Of a text that is not understood: characters and words.
_MAX_LOOKED_AT = 128 * 1024
_MAX_MENTIONED = 10_000


@dataclass(frozen=True)
class _PatternWord:
    """One word: a literal, or an expression."""

    text: str
    expression: re.Pattern[str] | None
    #: What comes before the first ``* ? [``.
    beginning: str

    @property
    def is_option(self) -> bool:
        return self.beginning.startswith("-") and self.text != "-"

    def matches(self, word: str) -> bool:
        return word == self.text if self.expression is None else self.expression.match(word) is not None


@dataclass(frozen=True)
class CommandPattern:
    """A ``command`` of a rule, read once."""

    text: str
    words: tuple[_PatternWord, ...]
    #: Whether any further words may follow.
    is_open: bool

    @classmethod
    def of(cls, text: str) -> CommandPattern:
        """Read a pattern, or raise ``ValueError`` that says why it names no command."""
        words = tuple(_words_of(text))
        is_open = words[-1].text == "*" and words[-1].expression is not None
        return cls(text, words, is_open)

    @property
    def program(self) -> str | None:
        """The program that it names, or None if it names several: for an index."""
        first = self.words[0]
        return first.text if first.expression is None else None

    def clues(self, is_allow: bool) -> Sequence[Clue]:
        """What stands in every command that is allowed or held back."""
        if is_allow:
            names = [Clue((word.text,)) for word in self.words if word.expression is None]
            return [*names, *(Clue(run=word.beginning) for word in self.words if word.expression is not None)]
        clues = [
            Clue(tuple(("option", word.text[:n]) for n in range(2, len(word.text) + 1)))  # they may be cut short
            for word in self._options
            if word.expression is None and word.text[:2] == "--" and len(word.text) > 3
        ]
        for word in (self.words[0], *self._operands):
            is_literal = word.expression is None
            clues.append(Clue((_plain(word.text),)) if is_literal else Clue(run=word.beginning.casefold()))
        return clues

    def allows(self, words: Words) -> bool:
        """Whether an ``allow`` rule with this pattern names a part of these words."""
        first = self.words[0]
        if first.expression is None and words[:1] != (first.text,):
            return False  # so it is for most patterns
        named = self.words[:-1] if self.is_open else self.words
        if len(words) < len(named) or (len(words) > len(named) and not self.is_open) or not words:
            return False
        if not all(_stands_for(pattern, word) for pattern, word in zip(named, words, strict=False)):
            return False
        odd = to_be_named(words)
        if not odd:
            return True
        told = {at for at, pattern in enumerate(named) if pattern.expression is None or _names(pattern, words[:at])}
        return all(at in told for at, word in enumerate(words) if word in odd)

    def holds_back(self, reading: CommandReading) -> bool:
        """Whether a ``deny`` or ``ask`` rule with this pattern holds for a command, of which little may be known."""
        if is_huge(reading) or any(self._may_mean(words) for words in reading.parts):
            return True
        if reading.not_understood is not None:
            return self._is_in(_mentioned(reading.text))
        return any(self._is_in(_mentioned("\n".join(words))) for words in reading.parts if runs_text(words))

    def _may_mean(self, words: Words) -> bool:
        if not _is_program(self.words[0], words[0]):
            return False
        operands = self._operands
        at, is_free, after_option = 0, False, False
        for word in words[1:]:
            while at < len(operands) and operands[at].text == "*" and operands[at].expression is not None:
                at, is_free = at + 1, True
            is_option = word.startswith("-") and word != "-"
            if at < len(operands) and operands[at].matches(word):
                at, is_free = at + 1, False
            elif not (is_option or after_option or is_free or (at == len(operands) and self.is_open)):
                return False
            after_option = is_option
        while at < len(operands) and operands[at].text == "*" and operands[at].expression is not None:
            at += 1
        return at == len(operands) and self._has_options(words[1:])

    def _has_options(self, words: Sequence[str]) -> bool:
        return all(_is_among(option, words) for option in self._options)

    @cached_property
    def _operands(self) -> Sequence[_PatternWord]:
        return [word for word in self.words[1:] if not word.is_option]

    @cached_property
    def _options(self) -> Sequence[_PatternWord]:
        return [word for word in self.words[1:] if word.is_option]

    def _is_in(self, mentioned: Sequence[Words]) -> bool:
        return any(self._begins_in(words) for words in mentioned)

    def _begins_in(self, words: Words) -> bool:
        start = next((at for at, word in enumerate(words) if _is_program(self.words[0], word)), None)
        if start is None:
            return False
        at = start + 1
        for pattern in self.words[1:]:
            if pattern.is_option or (pattern.text == "*" and pattern.expression is not None):
                continue
            found = next((later for later in range(at, len(words)) if pattern.matches(words[later])), None)
            if found is None:
                return False
            at = found + 1
        return self._has_options(words[start + 1 :])


@lru_cache(maxsize=1024)
def _read(pattern: str) -> CommandPattern:
    return CommandPattern.of(pattern)


def is_huge(reading: CommandReading) -> bool:
    """Whether nobody understands it, and it is too much to look for words in: it may hold any."""
    if reading.not_understood is None:
        return False
    return len(reading.text) > _MAX_LOOKED_AT or len(_mentioned(reading.text)[0]) > _MAX_MENTIONED


def words_held_back(reading: CommandReading) -> tuple[Collection[Hashable], Collection[str]]:
    """What the clues of a pattern can be that holds a command back: names, and texts."""
    told = {word for words in reading.parts for word in words}
    if reading.not_understood is not None:
        told.update(word for words in _mentioned(reading.text) for word in words)
    for words in reading.parts:
        if runs_text(words):
            told.update(word for way in _mentioned("\n".join(words)) for word in way)
    options = {("option", word.partition("=")[0]) for word in told if word[:2] == "--" and len(word) > 3}
    return {*map(_plain, told), *options}, set(map(str.casefold, told))


def _plain(word: str) -> str:
    return word.rpartition("/")[2].casefold()


def names_in(text: str) -> frozenset[str]:
    """What may be the name of a program in a text that is not understood, without its path."""
    return frozenset(_plain(word) for words in _mentioned(text) for word in words)


def matches_command(pattern: str, words: Sequence[str]) -> bool:
    """Whether an ``allow`` rule with this pattern names a part of these words."""
    return _read(pattern).allows(tuple(words))


def mentions(text: str, pattern: str) -> bool:
    """Whether a pattern's words appear in a text, whatever hides them: a tripwire that errs to true."""
    return _read(pattern)._is_in(_mentioned(text))


def _words_of(text: str) -> Iterator[_PatternWord]:
    at = 0
    text = text.strip(" \t")
    if not text:
        raise ValueError("a pattern of no words matches no command")
    while at < len(text):
        literal, expression, beginning = "", "", None
        while at < len(text) and text[at] not in " \t":
            piece = _PIECE.match(text, at)
            if piece is None:
                raise ValueError(
                    f"a pattern names one command: {text[at]!r} belongs in quotes, or to no part of a command"
                )
            quoted = next((group for group in piece.groups()[:2] if group is not None), None)
            told = piece[3] if quoted is None else quoted
            if quoted is None and _GLOB.search(told) is not None:
                beginning = literal + _GLOB.split(told)[0] if beginning is None else beginning
                expression += translate(told)[4:-3]
            else:
                expression += re.escape(told)
            literal += told
            at = piece.end()
        yield _PatternWord(
            literal,
            None if beginning is None else re.compile(rf"(?s:{expression})\Z"),
            literal if beginning is None else beginning,
        )
        blanks = _BLANKS.match(text, at)
        at = at if blanks is None else blanks.end()


def _stands_for(pattern: _PatternWord, word: str) -> bool:
    if pattern.expression is None:
        return word == pattern.text
    if word.startswith("-") and not pattern.is_option:
        return False
    return pattern.matches(word) and ".." not in word.split("/")


def _names(pattern: _PatternWord, before: Words) -> bool:
    """Whether what a word of the pattern says before its ``*`` is an option that has to be named."""
    return bool(before) and bool(to_be_named((*before, pattern.beginning)))


def _is_program(pattern: _PatternWord, word: str) -> bool:
    if pattern.text == "*" and pattern.expression is not None:
        return True
    name = word.rpartition("/")[2]
    return any(map(pattern.matches, (word, name, word.casefold(), name.casefold())))


def _is_among(option: _PatternWord, words: Sequence[str]) -> bool:
    if any(option.matches(word) or option.matches(word.partition("=")[0]) for word in words):
        return True
    if option.text.startswith("--"):  # cut short
        return any(
            len(word) > 3 and option.beginning.startswith(word.partition("=")[0]) for word in words if word[:2] == "--"
        )
    letters = {letter for word in words if word[:1] == "-" and word[1:2] != "-" for letter in word[1:]}
    return option.expression is None and set(option.text[1:]) <= letters


_BETWEEN_WORDS = later.pattern(r"[\s;|&()<>`{},!]+")
_BETWEEN_LETTERS = later.pattern(r"\\\n|['\"\\\x00-\x08\x7f\u00ad\u200b-\u200f\u2060\ufeff]")
_EXPANSIONS = later.pattern(r"\$(?:\w+|\{[^}]{0,64}\}|[@*#?!$-])")


@lru_cache(maxsize=16)
def _mentioned(text: str) -> tuple[Words, ...]:
    """The words that a text may hold: without what hides letters, and without expansions that may be empty."""
    plain = _BETWEEN_LETTERS.sub("", text)
    ways = {plain, _EXPANSIONS.sub("", plain), _BETWEEN_LETTERS.sub(" ", text)}
    return tuple(tuple(word for word in _BETWEEN_WORDS.split(way) if word) for way in sorted(ways))
