"""What of a text a person would not see, or would take for something else."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import groupby, pairwise

__all__ = ["mixed_in", "name_of", "unseen_in"]

#: Printable to Python, and yet nothing is drawn for them.
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
_UNSEEN = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"})
_PICTURE = (
    "[\xa9\xae\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a\u231b\u2328\u2388\u23cf\u23e9-\u23f3\u23f8-\u23fa\u24c2\u25aa"
    "\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297"
    "\u3299\U0001f000-\U0001f0ff\U0001f10d-\U0001f10f\U0001f12f\U0001f16c-\U0001f171\U0001f17e\U0001f17f\U0001f18e"
    "\U0001f191-\U0001f19a\U0001f201-\U0001f20f\U0001f21a\U0001f22f\U0001f232-\U0001f23a\U0001f249-\U0001f3fa"
    "\U0001f400-\U0001f6ff\U0001f774-\U0001faff]"
)
_COLOURED = f"{_PICTURE}(?:\ufe0f|[\U0001f3fb-\U0001f3ff])?"
#: Pictures that are joined or coloured are no danger, and everybody sends them.
_EMOJI = re.compile(f"{_COLOURED}(?:\u200d{_COLOURED})*")
#: More marks on one letter than any language has cover what stands around it.
_PILE = 5
_WORD = re.compile(r"[^\W_]+")
#: Letters that look like Latin ones, beside these in one word.
_ALIKE = ("CYRILLIC ", "GREEK ", "ARMENIAN ", "CHEROKEE ", "COPTIC ")


def unseen_in(text: str) -> list[str]:
    """Characters that nobody sees, that cover others, or turn the direction of reading, such as ``U+202E``. Line feeds
    and tabs are seen."""
    if text.isascii() and text.isprintable():
        return []
    text = text.replace("\n", "").replace("\t", "")
    if not text.isascii():
        text = _EMOJI.sub("", text)
    piled = _piled(text)
    if text.isprintable() and not piled and not _IGNORABLE.search(text):
        return []
    found = {one for one in set(text) if unicodedata.category(one) in _UNSEEN or _IGNORABLE.match(one)}
    return [name_of(one) for one in found - {" "} | piled]


def _piled(text: str) -> set[str]:
    if text.isascii():
        return set()
    piles = (list(group) for is_mark, group in groupby(text, _is_mark) if is_mark)
    return {mark for pile in piles if len(pile) >= _PILE for mark in pile}


@lru_cache(8192)
def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"


def mixed_in(text: str) -> list[str]:
    """Letters that pose as Latin ones in what is a single word: a path, an address, a name."""
    if text.isascii() or any(map(str.isspace, text)):
        return []
    return [name_of(one) for word in _WORD.findall(text) if _is_mixed(word) for one in word if _script(one) == "alike"]


def name_of(character: str) -> str:
    return f"U+{ord(character):04X}"


def _is_mixed(word: str) -> bool:
    if word.isascii():
        return False
    scripts = [script for script in map(_script, word) if script != "number"]
    return any(one != other and one and other for one, other in pairwise(scripts))


@lru_cache(8192)
def _script(letter: str) -> str:
    if unicodedata.category(letter)[0] == "N":
        return "number"
    name = unicodedata.name(letter, "")
    return "latin" if name.startswith("LATIN ") else "alike" if name.startswith(_ALIKE) else ""
