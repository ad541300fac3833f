"""Text from elsewhere, made safe to show on a terminal: nothing moves the cursor, hides, or reorders what is read."""

from __future__ import annotations

import json
import re
import unicodedata
from functools import lru_cache
from typing import Any

__all__ = ["can_show", "cells", "escaped", "in_a_row", "one_line", "pretty", "seen", "turns_direction", "wrapped"]

#: Controls (C0 but newline and tab, DEL, C1), soft hyphen, bidirectional and zero-width marks, line separators, the
#: byte order mark, tag characters, variation selectors beyond the usual, and half surrogates.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\ud800-\udfff]"
)

#: Glyphs that fonts draw over the cells behind their own.
_OVERFLOWING = re.compile("[\ua9c5\ufdfa-\ufdfd\U00012000-\U0001254f]")
#: Marks that a letter carries in any living script; more of them cover what stands around it.
_MOST_MARKS = 3
#: Of so many it is remembered what they are: more than a text uses.
_MOST_LETTERS = 8192
_LETTERS_FROM_THE_RIGHT = frozenset({"R", "AL", "AN"})


def escaped(text: str) -> str:
    """``text`` with every hidden or moving character written as its escape (``\\u202e``, ``\\x1b``)."""
    return _HIDDEN.sub(lambda found: _escape(found[0]), text)


def one_line(text: str) -> str:
    """The same for text that must not look like more lines than one: newlines and tabs are escaped too."""
    return escaped(text).replace("\n", "\\n").replace("\t", "\\t")


def pretty(value: Any) -> str:
    """JSON for a person: indented, whole, letters as they are, what hides or moves escaped.

    Inside JSON strings newlines are ``\\n`` already, so that a value cannot look like another line.
    """
    return escaped(json.dumps(value, indent=2, ensure_ascii=False))


def in_a_row(text: str, encoding: str | None) -> str:
    """On one line, in its own cells, and in the order in which it stands beside its neighbours."""
    return seen(one_line(text), encoding or "ascii", ascii_only=turns_direction(text))


def seen(line: str, encoding: str = "utf-8", *, ascii_only: bool = False) -> str:
    """``line`` with everything as its escape that has no place of its own on a terminal of this encoding.

    That is all that ``one_line`` escapes; white space but the blank; what no character is assigned to; glyphs that
    reach over the next ones; marks without a letter, or more of them than a letter carries; and what makes a picture of
    a symbol, with which terminals do not agree on its width.
    """
    if line.isascii() and line.isprintable():
        return line
    if not ascii_only and all(map(_stands_alone, line)) and can_show(encoding, line):
        return line
    shown = []
    is_letter, marks = False, 0
    for character in line:
        category = unicodedata.category(character)
        if category[0] == "M":
            marks += 1
            has_place = is_letter and marks <= _MOST_MARKS and character not in "\ufe0e\ufe0f"
        else:
            is_letter, marks = category[0] == "L", 0
            has_place = character.isprintable()
        if ascii_only:
            has_place = character.isascii() and character.isprintable()
        if not has_place or _HIDDEN.match(character) or _OVERFLOWING.match(character):
            shown.append(_escape(character))
        else:
            shown.append(character.encode(encoding, "backslashreplace").decode(encoding))
    return "".join(shown)


def cells(text: str) -> int:
    """How many cells of a terminal ``text`` takes at most: terminals differ, and none may take more."""
    return len(text) if text.isascii() else sum(map(_most_cells, text))


def wrapped(line: str, width: int) -> list[int]:
    """Where ``line`` is divided so that no piece takes more than ``width`` cells, 2 at least; not between letter and
    mark, as long as both fit."""
    if line.isascii():
        return list(range(width, len(line), width))
    places = []
    begin, taken, at = 0, 0, 0
    while at < len(line):
        end, wide = at + 1, _most_cells(line[at])
        while end < len(line) and _is_mark(line[end]) and wide + _most_cells(line[end]) <= width:
            wide += _most_cells(line[end])
            end += 1
        if taken + wide > width and at > begin:
            places.append(at)
            begin, taken = at, 0
        taken += wide
        at = end
    return places


def can_show(encoding: str, text: str) -> bool:
    """Whether a terminal of this encoding has letters for all of it."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def turns_direction(text: str) -> bool:
    """Whether ``text`` has letters that are read from right to left, which a terminal may put in another order."""
    return not text.isascii() and any(unicodedata.bidirectional(one) in _LETTERS_FROM_THE_RIGHT for one in text)


@lru_cache(_MOST_LETTERS)
def _most_cells(character: str) -> int:
    if unicodedata.east_asian_width(character) in "WFA" or unicodedata.category(character) == "So":
        return 2
    return 1


@lru_cache(_MOST_LETTERS)
def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"


@lru_cache(_MOST_LETTERS)
def _stands_alone(character: str) -> bool:
    """Whether it has a place of its own whatever stands beside it."""
    is_special = _is_mark(character) or _HIDDEN.match(character) or _OVERFLOWING.match(character)
    return character.isprintable() and not is_special


def _escape(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
