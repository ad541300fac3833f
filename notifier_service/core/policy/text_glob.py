"""Globs over texts that may be paths: compared after every way of writing a path is resolved.

What an ``allow`` rule names must be the only way to read a text; for rules that hold back, one way is enough. Links are
not followed: the service may stand on another machine, and what a link points to may change after the question.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from fnmatch import translate
from functools import lru_cache
from itertools import takewhile
from unicodedata import category, normalize
from urllib.parse import unquote

__all__ = [
    "MAX_CHARACTERS",
    "BadGlob",
    "NameGlob",
    "PathRoots",
    "TextGlob",
    "beginnings",
    "beginnings_held_back",
    "check_glob",
    "seen",
]

#: Longer texts are no paths: no glob allows one, and every glob that holds back does.
MAX_CHARACTERS = 16 * 1024
#: Names at the beginning of a pattern by which it is found among others.
_MAX_BEGINNING = 8
#: A text that is still encoded after so many times of decoding is read by nobody for certain.
_MAX_DECODINGS = 8

_PLAIN = re.compile(r"/?(?:[A-Za-z0-9_@+=,-][A-Za-z0-9_.@+=,-]*(?:/|\Z))*")
#: Steps upwards that some program reads as such: ``.. ``, ``...``, ``..;x``.
_NEARLY_DOTS = re.compile(r"[. ]+(?:;.*)?", re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_ADDRESS = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*:/*+(?:[A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?(?:/.*)?", re.DOTALL
)
_WEB = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}|%u[0-9A-Fa-f]{4}", re.IGNORECASE)

Segments = tuple[str, ...]


class BadGlob(ValueError):
    """This is no glob, or one that matches nothing; the message says why, in words."""


class PathRoots:
    """Where paths begin that do not begin at ``/``: at the ``workspace``, or for ``~`` at the ``home``."""

    def __init__(self, workspace: str | None = None, home: str | None = None) -> None:
        self.workspace = None if workspace is None else _segments(workspace)
        self.home = None if home is None else _segments(home)


def check_glob(pattern: str) -> None:
    """Raise ``BadGlob`` for what is no glob."""
    if not pattern:
        raise BadGlob("an empty glob matches nothing")
    at = pattern.find("[")
    while at >= 0:
        end = pattern.find("]", at + (3 if pattern[at + 1 : at + 2] == "!" else 2))
        if end < 0:
            raise BadGlob(f"{pattern!r} has a [ without its ]; [[] is the character")
        if "/" in pattern[at:end]:
            raise BadGlob(f"{pattern!r} has a / between [ and ]")
        if "(?!)" in translate(pattern[at : end + 1]):
            raise BadGlob(f"{pattern[at : end + 1]} in {pattern!r} matches no character")
        at = pattern.find("[", end)


class NameGlob:
    """A name, byte for byte, or a glob over one (``* ? [..]``)."""

    def __init__(self, pattern: str) -> None:
        check_glob(pattern)
        self.pattern = pattern
        self.is_exact = _is_literal(pattern)
        self._expression = re.compile(translate(pattern))

    def allows(self, name: str) -> bool:
        """Whether it names just this; a glob names nothing with characters that look like others."""
        if self.is_exact:
            return name == self.pattern
        is_plain = name.isascii() and name.isprintable() and name == name.strip()
        return is_plain and self._expression.match(name) is not None

    def holds_back(self, name: str) -> bool:
        """Whether it may mean this."""
        return self._expression.match(name) is not None or self._expression.match(seen(name)) is not None


class TextGlob:
    """``*`` and ``?`` stand for characters between two ``/``, ``**`` for any number of whole names, also for none."""

    def __init__(self, pattern: str, roots: PathRoots) -> None:
        check_glob(pattern)
        self.pattern = pattern
        self._roots = roots
        self._is_of_home = pattern == "~" or pattern.startswith("~/")
        literal = _segments(pattern)
        whole = _resolved(literal) or literal
        if ".." in whole or (whole == ("",) and pattern.strip("/")):
            raise BadGlob(f"{pattern!r} leaves its own root by ..")
        whole = _placed(whole, pattern, roots)
        self._whole = tuple(map(_piece, whole))
        self._beginning = _beginning(whole)
        folded = {_folded(whole), _folded(literal)}
        self._beginnings_held_back = {_beginning(names) for names in folded}
        self._folded = [tuple(map(_piece, names)) for names in folded]

    def beginnings(self, is_allow: bool) -> Collection[Segments]:
        """The names with which a text begins, one of them, that is allowed or held back; nothing where that is any."""
        either = {self._beginning} if is_allow else self._beginnings_held_back
        return either if () not in either else ()

    def allows(self, text: str) -> bool:
        """Whether every reading of a text is one that the pattern names."""
        readings = _certain(text, self._roots, self._is_of_home)
        return bool(readings) and all(_matches(self._whole, names) for names in readings)

    def holds_back(self, text: str) -> bool:
        """Whether any reading of a text is one that the pattern may mean."""
        readings = _possible(text, self._roots)
        return readings is None or any(_matches(pattern, names) for pattern in self._folded for names in readings)


def beginnings(text: str, roots: PathRoots) -> Collection[Segments]:
    """All that a pattern can begin with that allows a text."""
    firsts = [names for is_of_home in (False, True) for names in _certain(text, roots, is_of_home)[:1]]
    return {names[:count] for names in firsts for count in range(1, min(len(names), _MAX_BEGINNING) + 1)}


def beginnings_held_back(text: str, roots: PathRoots) -> Collection[Segments] | None:
    """All that a pattern can begin with that holds a text back; None where that is anything."""
    readings = _possible(text, roots)
    return (
        None
        if readings is None
        else {names[:count] for names in readings for count in range(1, min(len(names), _MAX_BEGINNING) + 1)}
    )


@lru_cache(maxsize=256)
def _certain(text: str, roots: PathRoots, is_of_home: bool) -> Sequence[Segments]:
    """All ways to read a text; none where it cannot be told what somebody reads."""
    if len(text) <= 4096 and _PLAIN.fullmatch(text) is not None:
        return (_placed(_without_empty(text), text, roots),)
    if len(text) > MAX_CHARACTERS or not text.isprintable() or normalize("NFKC", text) != text:
        return ()
    decoded = _decoded(text)
    if decoded is None or not decoded.isprintable() or normalize("NFKC", decoded) != decoded:
        return ()
    readings = []
    for way in dict.fromkeys((text, decoded, text.replace("\\", "/"), decoded.replace("\\", "/"))):
        if way.startswith("$") or (way.startswith("~") and not (is_of_home and way[:2] in ("~", "~/"))):
            return ()
        if _WEB.match(way) is not None and _ADDRESS.fullmatch(way) is None:
            return ()
        names = _resolved(_segments(way))
        if names is None:
            return ()
        names = _placed(names, way, roots)
        if ".." in names:
            return ()
        readings.append(names)
    return readings


@lru_cache(maxsize=256)
def _possible(text: str, roots: PathRoots) -> Sequence[Segments] | None:
    """What somebody may read in a text, without capital letters; None where that may be anything."""
    if len(text) > MAX_CHARACTERS:
        return None
    shown = seen(text)
    decoded = _decoded(shown)
    if decoded is None:
        return None
    ways = {text, shown, decoded, seen(decoded)}
    ways |= {way.replace("\\", "/") for way in ways}
    ways |= {way.partition("\0")[0] for way in ways}
    ways |= {re.sub(r"^\s*file:/*", "/", way, flags=re.IGNORECASE) for way in ways} | {way.strip() for way in ways}
    readings: set[Segments] = set()
    for way in ways:
        names = _segments(way)
        dotted = tuple(".." if name != "." and _NEARLY_DOTS.fullmatch(name) else name for name in names)
        for some in (names, dotted):
            resolved = _resolved(some, is_loose=True) or ()
            readings |= {_folded(some), _folded(resolved), _folded(_placed(resolved, way, roots))}
    return tuple(readings)


def _decoded(text: str) -> str | None:
    """Without percent encoding, however often; None where that does not end, or is none of UTF-8."""
    for _ in range(_MAX_DECODINGS):
        if _ENCODED.search(text) is None:
            return text
        text = unquote(text)
        if "\ufffd" in text:
            return None
        if re.search("%u[0-9a-f]{4}", text, re.IGNORECASE) is not None:
            return None
    return None


def seen(text: str) -> str:
    """The text as a person sees it."""
    if text.isascii():
        return text
    return normalize("NFKC", "".join(mark for mark in text if category(mark) != "Cf"))


def _segments(text: str) -> Segments:
    return tuple(text.split("/"))


def _without_empty(text: str) -> Segments:
    names = text.split("/")
    return (*([""] if text.startswith("/") else ()), *filter(None, names))


def _resolved(names: Segments, *, is_loose: bool = False) -> Segments | None:
    """Without empty names, ``.`` and ``..``; None where a name may be another way to write ``..``."""
    is_rooted = len(names) > 1 and names[0] == ""
    kept: list[str] = [""] if is_rooted else []
    for name in names:
        if name in ("", "."):
            continue
        if name == "..":
            if kept and kept[-1] not in ("", ".."):
                kept.pop()
            elif not is_rooted:
                kept.append(name)
        elif not is_loose and _NEARLY_DOTS.fullmatch(name) is not None:
            return None
        else:
            kept.append(name)
    return tuple(kept)


def _placed(names: Segments, text: str, roots: PathRoots) -> Segments:
    """From where paths begin, as far as that is known."""
    if text.startswith("~") and roots.home is not None and names[:1] == ("~",):
        return _resolved((*roots.home, *names[1:]), is_loose=True) or names
    if names[:1] == ("",) or roots.workspace is None or _SCHEME.match(text) is not None:
        return names
    return _resolved((*roots.workspace, *names), is_loose=True) or names


def _beginning(pattern: Segments) -> Segments:
    """The names before the first that is a glob."""
    return tuple(takewhile(_is_literal, pattern[:_MAX_BEGINNING]))


def _folded(names: Segments) -> Segments:
    return tuple(name.casefold() for name in names)


def _is_literal(name: str) -> bool:
    return not any(mark in name for mark in "*?[")


Piece = str | re.Pattern[str] | None


def _piece(name: str) -> Piece:
    """A name of a pattern; None for any number of names."""
    if name == "**":
        return None
    return name if _is_literal(name) else re.compile(translate(name))


def _matches(pattern: Sequence[Piece], names: Segments) -> bool:
    """Wildcards over names: of several ``**`` only the last one is ever taken back, so that it cannot run away."""
    at, place, star, resumed = 0, 0, -1, 0
    while at < len(names):
        piece = pattern[place] if place < len(pattern) else ""
        if place < len(pattern) and piece is None:
            star, resumed = place, at
            place += 1
        elif place < len(pattern) and (
            piece == names[at] if isinstance(piece, str) else piece is not None and piece.match(names[at])
        ):
            at, place = at + 1, place + 1
        elif star >= 0:
            resumed += 1
            at, place = resumed, star + 1
        else:
            return False
    return all(piece is None for piece in pattern[place:])
