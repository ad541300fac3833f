"""Globs over texts that may be paths: compared after every way of writing a path is resolved.

What an ``allow`` rule names must be the only way to read a text; for rules that hold back, one way is enough. Links are
not followed: the service may stand on another machine, and what a link points to may change after the question.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Collection, Hashable, Iterable, Sequence
from contextlib import suppress
from fnmatch import translate
from functools import cached_property, lru_cache
from itertools import takewhile
from unicodedata import category, normalize
from urllib.parse import unquote

from .. import later
from .clues import Clue, runs_in

__all__ = [
    "MAX_CHARACTERS",
    "BadGlob",
    "NameGlob",
    "PathRoots",
    "TextGlob",
    "check_glob",
    "names_held_back",
    "names_in",
    "seen",
]

#: Longer texts are no paths: no glob allows one, and every glob that holds back does.
MAX_CHARACTERS = 16 * 1024
#: So many names at the beginning of a pattern may be a clue to it.
_MAX_BEGINNING = 8
#: Texts of which what may be read in them is remembered for many.
_SHORT = 256
#: A text that is still encoded after so many times of decoding is read by nobody for certain.
_MAX_DECODINGS = 8

_PLAIN = later.pattern(r"/?(?:[A-Za-z0-9_@+=,-][A-Za-z0-9_.@+=,-]*(?:/|\Z))*")
#: Steps upwards that some program reads as such: ``.. ``, ``...``, ``..;x``.
_NEARLY_DOTS = later.pattern(r"[. ]+(?:;.*)?", re.DOTALL)
_SCHEME = later.pattern(r"[A-Za-z][A-Za-z0-9+.-]*:")
_ADDRESS = later.pattern(
    r"[A-Za-z][A-Za-z0-9+.-]*:/*+(?:[A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?(?:/.*)?", re.DOTALL
)
_WEB = later.pattern(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_ENCODED = later.pattern(r"%[0-9A-Fa-f]{2}|%u[0-9A-Fa-f]{4}", re.IGNORECASE)
#: What some program takes for another way to write a path or an address, and what that stands for.
_FILE = later.pattern(r"\s*file:/*", re.IGNORECASE)
_FILE_OF_HOST = later.pattern(r"\s*file://[^/]*", re.IGNORECASE)
_BEFORE_DRIVE = later.pattern(r"/+(?:[.?]/+)?(?=[A-Za-z]:)")
_DRIVE_ALONE = later.pattern(r"([A-Za-z]:)(?=[^/])")
_HOST = later.pattern(r"\s*([a-z][a-z0-9+.-]+:)/*(?:[^/?#]*@)?(\[[^]/?#]*\]|[^/?#:@]+)(?::\d*)?([^?#]*)", re.IGNORECASE)
_STREAM = later.pattern(r"::?\$[A-Za-z_]+\Z")

Segments = tuple[str, ...]


class BadGlob(ValueError):
    """This is no glob, or one that matches nothing; the message says why, in words."""


class PathRoots:
    """Where paths begin that do not begin at ``/``: at the ``workspace``, or for ``~`` at the ``home``."""

    def __init__(self, workspace: str | None = None, home: str | None = None) -> None:
        self.workspace = None if workspace is None else _segments(workspace)
        self.home = None if home is None else _segments(home)
        self._home = home
        own = "" if self.home is None else f"|{re.escape('~' + self.home[-1])}"
        self._of_home = re.compile(rf"(?:\$HOME|\$\{{HOME\}}|%HOME%|%USERPROFILE%{own})(?=/|\Z)")

    def unfolded(self, text: str) -> str:
        """The text with the home for a ``~`` in front, where it is known."""
        return text if self._home is None or text[:2] not in ("~", "~/") else self._home + text[1:]

    def with_tilde(self, text: str) -> str:
        """The text with ``~`` for what else may stand for the home."""
        return self._of_home.sub("~", text, count=1) if self._of_home.match(text) is not None else text


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

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        return re.compile(translate(self.pattern))

    def allows(self, name: str) -> bool:
        """Whether it names just this; a glob names nothing with characters that look like others."""
        if self.is_exact:
            return name == self.pattern
        is_plain = name.isascii() and name.isprintable() and name == name.strip()
        return is_plain and self._expression.match(name) is not None

    def holds_back(self, name: str) -> bool:
        """Whether it may mean this."""
        if self.is_exact:
            return self.pattern in (name, seen(name))
        return self._expression.match(name) is not None or self._expression.match(seen(name)) is not None


class TextGlob:
    """``*`` and ``?`` stand for characters between two ``/``, ``**`` for any number of whole names, also for none."""

    def __init__(self, pattern: str, roots: PathRoots) -> None:
        check_glob(pattern)
        self.pattern = pattern
        self._roots = roots
        self._is_of_home = pattern == "~" or pattern.startswith("~/")
        literal = _segments(pattern)
        unfolded = _segments(roots.unfolded(pattern))
        whole = _resolved(unfolded) or unfolded
        lost_home = self._is_of_home and unfolded == literal and whole[0] != "~"
        if ".." in whole or lost_home or (whole == ("",) and pattern.strip("/")):
            raise BadGlob(f"{pattern!r} leaves its own root by ..")
        whole = _placed(whole, pattern, roots)
        self._whole = tuple(map(_piece, whole))
        self._names = whole
        self._folded_names = list({_folded(whole), _folded(literal)})
        self._folded = [tuple(map(_piece, names)) for names in self._folded_names]
        self._needed = [max(filter(_is_literal, names), key=len, default=None) for names in self._folded_names]

    def clues(self, is_allow: bool) -> Sequence[Sequence[Clue]]:
        """Of each of its patterns what must stand in a text that is allowed or held back."""
        return [_clues(names) for names in ([self._names] if is_allow else self._folded_names)]

    def allows(self, text: str) -> bool:
        """Whether every reading of a text is one that the pattern names."""
        readings = _certain(text, self._roots, self._is_of_home)
        return bool(readings) and all(_matches(self._whole, names) for names in readings)

    def holds_back(self, text: str) -> bool:
        """Whether any reading of a text is one that the pattern may mean."""
        readings = _possible(text, self._roots)
        return readings is None or any(
            _matches(pattern, names)
            for pattern, needed in zip(self._folded, self._needed, strict=True)
            for names in readings
            if needed is None or needed in names
        )


def names_in(text: str, roots: PathRoots) -> tuple[Collection[Hashable], Collection[str]]:
    """What the clues of a pattern can be that allows a text: its names and how it begins, and its names as texts."""
    return _told(_certain(text, roots, text.startswith("~"))[:1])


def names_held_back(text: str, roots: PathRoots) -> tuple[Collection[Hashable], Collection[str]] | None:
    """What the clues of a pattern can be that holds a text back; None where that is anything."""
    readings = _possible(text, roots)
    return None if readings is None else _told(readings)


def _told(readings: Sequence[Segments]) -> tuple[Collection[Hashable], Collection[str]]:
    names = {name for reading in readings for name in reading}
    begins = {reading[:n] for reading in readings for n in range(1, min(len(reading), _MAX_BEGINNING) + 1)}
    return names | begins, names


def _clues(pattern: Segments) -> Sequence[Clue]:
    beginning = tuple(takewhile(_is_literal, pattern[:_MAX_BEGINNING]))
    names = [beginning] if any(beginning) else []
    literal = [name for name in pattern if name and _is_literal(name)]
    runs = [run for name in pattern if not _is_literal(name) for run in runs_in(name)]
    return [*(Clue((name,)) for name in (*names, *literal)), *(Clue(run=run) for run in runs)]


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
        if "$" in way and ".." in way:
            return ()  # what a variable stands for may be no name at all
        names = _resolved(_segments(roots.unfolded(way)))
        if names is None or (way[:1] == "~" and names[:1] not in (("",), ("~",))):
            return ()
        names = _placed(names, way, roots)
        if ".." in names:
            return ()
        readings.append(names)
    return readings


def _possible(text: str, roots: PathRoots) -> Sequence[Segments] | None:
    """What somebody may read in a text, without capital letters; None where that may be anything."""
    return _possible_in_short(text, roots) if len(text) <= _SHORT else _possible_in_long(text, roots)


def _read(text: str, roots: PathRoots) -> Sequence[Segments] | None:
    if len(text) > MAX_CHARACTERS:
        return None
    if len(text) <= 4096 and _PLAIN.fullmatch(text) is not None:
        ways: set[str] | None = {text}
    else:
        ways = _ways(text, roots)
    if ways is None:
        return None
    readings: set[Segments] = set()
    for way in ways:
        names = _segments(way)
        dotted = tuple(".." if name != "." and _NEARLY_DOTS.fullmatch(name) else name for name in names)
        trimmed = tuple(_trimmed(name) or name for name in dotted)
        for some in {names, dotted, trimmed}:
            resolved = _resolved(some, is_loose=True) or ()
            placed = _placed(resolved, way, roots)
            readings |= {_folded(some), _folded(resolved), *map(_folded, _elsewhere(placed, roots))}
    return tuple(readings)


#: As many texts as rules look at in one value.
_possible_in_short = lru_cache(maxsize=2048)(_read)
_possible_in_long = lru_cache(maxsize=64)(_read)


def _ways(text: str, roots: PathRoots) -> set[str] | None:
    """What a program may make of a text before it looks for names in it; None where that may be anything."""
    shown = seen(text)
    decoded = _decoded(shown)
    if decoded is None:
        return None
    ways = {text, shown, decoded, seen(decoded)}
    ways |= {way.replace("\\", "/") for way in ways}
    ways |= {way.partition("\0")[0] for way in ways}
    ways |= {way.strip() for way in ways}
    ways |= {_FILE.sub("/", way, count=1) for way in ways if _FILE.match(way)} | {
        _FILE_OF_HOST.sub("", way, count=1) for way in ways if _FILE_OF_HOST.match(way)
    }
    ways |= {_BEFORE_DRIVE.sub("", way, count=1) for way in ways if _BEFORE_DRIVE.match(way)}
    ways |= {_DRIVE_ALONE.sub(r"\1/", way, count=1) for way in ways if _DRIVE_ALONE.match(way)}
    ways |= {f"{found[1]}//{_host(found[2])}{found[3]}" for way in ways if (found := _HOST.match(way)) is not None}
    return {roots.unfolded(roots.with_tilde(way)) for way in ways} | ways


def _trimmed(name: str) -> str:
    """Without what Windows and some servers drop at the end of a name."""
    return _STREAM.sub("", name.partition(";")[0].rstrip(". ")).rstrip(". ")


def _host(name: str) -> str:
    """The host as most programs write it."""
    name = name.replace("\u3002", ".").rstrip(".")
    if name[:1].isdigit():
        with suppress(OSError, ValueError):
            name = socket.inet_ntoa(socket.inet_aton(name))  # 0x7f.1 is 127.0.0.1
    return name


def _elsewhere(names: Segments, roots: PathRoots) -> Iterable[Segments]:
    """A path, and where else it leads if it goes up from a folder that is not known, or through ``/proc``."""
    yield names
    if names[:1] == ("..",):
        rest = names[names.count("..") :]
        yield ("", *rest)
        if roots.home is not None:
            yield (*roots.home, *rest)
    if names[:2] == ("", "proc") and "root" in names[3:]:
        yield ("", *names[len(names) - names[::-1].index("root") :])
        yield ("", *names[names.index("root", 3) + 1 :])


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
    if names[:1] == ("",) or roots.workspace is None or _SCHEME.match(text) is not None:
        return names
    return _resolved((*roots.workspace, *names), is_loose=True) or names


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
