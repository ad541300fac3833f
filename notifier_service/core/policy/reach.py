"""Which places a call may reach, for rules that hold back: it errs to too many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..events import Place
from .deeds import is_address_name, is_path_name, texts_in
from .places import hosts_in, is_path, place_of
from .shell import CommandReading, read_call
from .verdict import Call

__all__ = ["Reach"]

_MAX_WORDS = 1000


@dataclass(frozen=True)
class Reach:
    """A call names a path or an address in one of these places; relative paths begin at the workspace."""

    places: frozenset[Place]
    workspace: str | None

    def allows(self, call: Call) -> bool:
        """Never: what a call names is not all that it reaches."""
        return False

    def holds_back(self, call: Call) -> bool:
        """Whether a text of the call leads there, or a word of its command; with too many to look at, any may."""
        texts = texts_in(call.parameters)
        reading = read_call(call.parameters)
        return not texts.is_all or any(
            place in self.places
            for places in (_reached_by(reading, self.workspace), _named(texts.found, self.workspace))
            for place in places
        )

    def why_not(self, call: Call) -> str:
        """In words, why it does not hold."""
        return f"nothing that it names is in {' or '.join(sorted(self.places))}"


def _reached_by(reading: CommandReading | None, workspace: str | None) -> Iterator[Place | None]:
    for word in () if reading is None else _words(reading):
        if "://" in word and hosts_in(word):
            yield "network"
        for path in _paths(word):
            yield place_of(path, workspace)


def _named(texts: Sequence[tuple[str, str]], workspace: str | None) -> Iterator[Place | None]:
    for name, text in texts:
        if hosts_in(text) or (is_address_name(name) and text):
            yield "network"
        elif is_path(text) or (is_path_name(name) and "\n" not in text):
            yield place_of(text, workspace)


def _words(reading: CommandReading) -> Iterator[str]:
    """What stands behind the programs; of a text that is not understood all that stands between blanks."""
    left = _MAX_WORDS
    unread = [("", *reading.text.split(None, _MAX_WORDS))] if reading.not_understood is not None else []
    for words in (*reading.parts, *unread):
        for word in words[1:left]:
            yield word.strip("'\"`();&|<>")
        left -= len(words)


def _paths(word: str) -> Iterator[str]:
    """What of a word may be a path: all of it, what stands behind a = or a :, or in an option from the first / on."""
    for piece in {word, *word.replace(":", "=").split("=")[1:]}:
        if is_path(piece) or piece == ".." or "/.." in piece or piece.startswith(("$HOME", "${HOME}")):
            yield piece
        elif piece.startswith("-") and "/" in piece:
            yield piece[piece.index("/") :]
