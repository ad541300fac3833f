"""On which line each key and value of a TOML text stands, which the library does not tell."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping, Sequence

from .. import later

__all__ = ["Path", "line_of", "line_that_is_too_deep", "lines_of"]

#: The way to a value: keys, and numbers of items.
Path = tuple[str | int, ...]

_BLANK = later.pattern(r"(?:[ \t\n]|#[^\n]*)*")
_KEY = later.pattern(r"[ \t]*(?:([A-Za-z0-9_-]+)|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*')[ \t]*")
_STRING = later.pattern(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
#: Keys of more parts, of which reading one takes time with the square of their number.
_MAX_PARTS = 32
_PART = r"(?:[A-Za-z0-9_-]{1,256}|\"[^\"\n]{0,256}\"|'[^'\n]{0,256}')[ \t]*\.[ \t]*"
_DEEP_KEY = later.pattern(rf"(?<![A-Za-z0-9_-])(?:{_PART}){{{_MAX_PARTS}}}")
_OTHER = later.pattern(r"[^,\]}\n#]+")


def lines_of(text: str) -> Mapping[Path, int]:
    """The lines, from 1, of all there is in a text that ``tomllib`` has read."""
    return _Lines(text.replace("\r\n", "\n")).read()


def line_that_is_too_deep(text: str) -> int | None:
    """The line of a key of so many parts that no reader should be given it."""
    found = _DEEP_KEY.search(text)
    return None if found is None else text.count("\n", 0, found.start()) + 1


def line_of(path: Path, lines: Mapping[Path, int]) -> int:
    """The line of a value, or where it is not there of the one that should hold it."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


class _Lines:
    """Walks over a text that is known to be sound."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._begins = [0, *(match.end() for match in re.finditer("\n", text))]
        self._lines: dict[Path, int] = {}
        self._counts: dict[Path, int] = {}

    def read(self) -> Mapping[Path, int]:
        table: Path = ()
        self._skip()
        while self._at < len(self._text):
            if self._text.startswith("[", self._at):
                line = self._line()
                is_item = self._text.startswith("[[", self._at)
                self._at += 2 if is_item else 1
                table = self._table(self._key(), is_item)
                self._at += 2 if is_item else 1
                self._lines.setdefault(table, line)
            else:
                self._pair(table)
            self._skip()
        return self._lines

    def _table(self, keys: Sequence[str], is_item: bool) -> Path:
        path: Path = ()
        for number, key in enumerate(keys):
            path += (key,)
            self._lines.setdefault(path, self._line())
            is_last = number == len(keys) - 1
            if is_last and is_item:
                self._counts[path] = self._counts.get(path, 0) + 1
            if path in self._counts:
                path += (self._counts[path] - 1,)
        return path

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = table
        for key in self._key():
            path += (key,)
            self._lines.setdefault(path, line)
        self._at += 1  # =
        self._value(path)

    def _key(self) -> list[str]:
        keys = []
        while True:
            found = _KEY.match(self._text, self._at)
            assert found is not None
            keys.append(found[1] or str(tomllib.loads(f"key = {found[0].strip()}")["key"]))
            self._at = found.end()
            if not self._text.startswith(".", self._at):
                return keys
            self._at += 1

    def _value(self, path: Path) -> None:
        self._skip()
        self._lines[path] = self._line()
        mark = self._text[self._at]
        if mark in "\"'":
            found = _STRING.match(self._text, self._at)
            assert found is not None
            self._at = found.end()
        elif mark in "[{":
            self._at += 1
            self._items(path, "]" if mark == "[" else "}")
        else:
            found = _OTHER.match(self._text, self._at)
            assert found is not None
            self._at = found.end()

    def _items(self, path: Path, end: str) -> None:
        number = 0
        while True:
            self._skip()
            if self._text.startswith(end, self._at):
                self._at += 1
                return
            if end == "]":
                self._value((*path, number))
            else:
                self._pair(path)
            number += 1
            self._skip()
            if self._text.startswith(",", self._at):
                self._at += 1

    def _skip(self) -> None:
        found = _BLANK.match(self._text, self._at)
        assert found is not None
        self._at = found.end()

    def _line(self) -> int:
        return bisect_right(self._begins, self._at)
