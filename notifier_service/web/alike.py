"""Events that are alike, as those of a program that tells of one thing: taken as they came, read into no values.

The form of an event is all of its text but the values. A form that comes often is learned by reading an event of it as
all are read. Others that differ in values only are as plain, which their text tells in half the time.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache

from pydantic_core import from_json

from ..core.errors import InvalidInput
from ..core.events import MAX_BRACKETS, on_one_line, parse_json
from .plain_events import Pieces, plain_piece

__all__ = ["alike_in_array", "alike_lines"]

#: A form is learned when so many events may have had it: that takes as long as a hundred of them. The next one of its
#: kind takes twice as many, so that nobody is busy with learning where forms come and go.
_OFTEN = 300
#: So many kinds of events are remembered, and of each so many forms, none of which is longer or has more brackets.
_KINDS, _FORMS, _FORM_BYTES, _FORM_BRACKETS = 64, 4, 1024, 16
#: So many times may events of another kind or form follow, and once more for so many events: where that happens with
#: each event, nothing is to be gained.
_RUNS, _EVENTS_A_RUN = 2, 8

_HEAD = re.compile(rb'\{"type": ?"([a-z][a-z0-9_.]{0,63}+)", ?"data": ?(?=\{)')
_STRING = rb'"[^"]*+"'
#: No number is so large that it would be infinite, or so long that it might be refused.
_WHOLE, _EXPONENT = rb"[1-9][0-9]{0,17}+", rb"[eE][-+]?+[0-9]{1,2}+"
#: No text is two of these, or one of them in two ways: what does not match is found out in one pass.
_VALUE = rb"(?:%b|%b|-?+(?:%b|0)(?:\.[0-9]{1,17}+(?:%b)?+|%b)|-%b|-?0|true|false|null)" % (
    _STRING, _WHOLE, _WHOLE, _EXPONENT, _EXPONENT, _WHOLE,
)  # fmt: skip
#: A name and its colon, or a value.
_TOKEN = re.compile(rb"%b( *+:)?+|[-0-9][-+.0-9eE]*+|true|false|null" % _STRING)

#: Stands for a value in a form; no valid text has it.
_BLANK = b"\0"
#: Stands for an escaped quote or backslash.
_ESCAPED = b"\x7f\x7f"


def alike_in_array(body: bytes, *, max_bytes: int) -> Pieces | None:
    """``plain_pieces`` of what is in this JSON array; None, too, where the events are not alike."""
    if not (body.startswith(b'[{"type":') and body.endswith(b"]")):
        return None
    return _alike(body, b", " if body.startswith(b" ", 9) else b",", len(body) - 1, max_bytes)


def alike_lines(lines: bytes, *, max_bytes: int) -> Pieces | None:
    """The same of these lines, with a line feed before each."""
    return _alike(lines, b"\n", len(lines), max_bytes)


def _alike(text: bytes, between: bytes, end: int, max_bytes: int) -> Pieces | None:
    """The same of the events up to this end, with this between them, behind the first byte."""
    following = b'}%b{"type":' % between
    if following not in text:
        return None  # one alone is not worth it
    shadow = _shadow(text)
    types: list[str] = []
    pieces: list[bytes] = []
    at = runs = 0
    while at < end:
        runs += 1
        begin = at + len(between) if at else 1
        head = _HEAD.match(text, begin)
        if head is None or runs > _RUNS + len(pieces) // _EVENTS_A_RUN:
            return None
        kind = _kind_of(between, head[0])
        run = kind.matcher and kind.matcher.match(shadow, at)
        if not run or run.end() == at:
            until = shadow.find(following, begin) + 1 or end
            kind.meet(text[begin:until], shadow[head.end() : until], text.count(following, at))
            run = kind.matcher and kind.matcher.match(shadow, at)
            if not run or run.end() == at:
                return None
        found = text[head.end() : run.end() - 1].split(b"}%b%b" % (between, head[0]))
        types += [head[1].decode()] * len(found)
        pieces += found
        at = run.end()
    if len(pieces) * _FORM_BRACKETS > MAX_BRACKETS:
        return None
    if not _are_valid(pieces):
        return None
    may_grow = not text.isascii()
    if may_grow:
        pieces = [*map(on_one_line, pieces)]
    if (may_grow or len(text) > max_bytes) and max(map(len, pieces)) + max(map(len, {*types})) > max_bytes:
        return None
    return types, pieces


def _shadow(text: bytes) -> bytes:
    """The text with quotes only where strings begin and end, and everything in its place."""
    return text if b"\\" not in text else text.replace(rb"\\", _ESCAPED).replace(rb"\"", _ESCAPED)


def _are_valid(pieces: list[bytes]) -> bool:
    """Whether their strings hold nothing that no string holds: they are read as if they were one together."""
    try:
        from_json(b'"%b"' % _shadow(b" ".join(pieces)).replace(b'"', b" "))
    except ValueError:
        return False
    return True


class _Kind:
    """Events of one type, and the forms that they have."""

    def __init__(self, between: bytes, head: bytes) -> None:
        self._between, self._head = between, head
        #: Those that are learned, and how many events had others, the newest last.
        self._learned: list[bytes] = []
        self._met: dict[bytes, int] = {}
        self._often = _OFTEN
        #: What matches all events that follow each other and have one of the forms that are learned.
        self.matcher: re.Pattern[bytes] | None = None

    def meet(self, event: bytes, data: bytes, following: int) -> None:
        """An event that has this data, escapes aside, and is not matched, and so many others behind it."""
        form = _TOKEN.sub(_blanked, data)
        if form in self._learned:
            return  # it is its values that do not match
        if len(form) > _FORM_BYTES or form.count(b"{") + form.count(b"[") > _FORM_BRACKETS - 2 or _ESCAPED in form:
            return
        met = self._met.pop(form, 0) + 1 + following
        while len(self._met) >= _FORMS:
            del self._met[next(iter(self._met))]
        self._met[form] = met
        if met >= self._often:
            del self._met[form]
            if _is_plain(event):
                self._learn(form)

    def _learn(self, form: bytes) -> None:
        self._often *= 2
        self._learned = [*self._learned, form][-_FORMS:]
        forms = [_VALUE.join(map(re.escape, (self._head + one).split(_BLANK))) for one in self._learned]
        self.matcher = re.compile(rb"(?:(?:\A\[|%b)(?:%b))*+" % (self._between, b"|".join(forms)))


@lru_cache(maxsize=_KINDS)
def _kind_of(between: bytes, head: bytes) -> _Kind:
    return _Kind(between, head)


def _blanked(token: re.Match[bytes]) -> bytes:
    return token[0] if token[1] else _BLANK


def _is_plain(event: bytes) -> bool:
    try:
        value = parse_json(event, unique_keys=True)
    except InvalidInput:
        return False
    return plain_piece(value, max_bytes=sys.maxsize) is not None
