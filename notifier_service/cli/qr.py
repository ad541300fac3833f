"""Draws a link in a terminal, as a picture that phones read whatever colours the terminal has."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

__all__ = ["picture"]

#: Half of what the standard wants around it on paper: here it is of one colour beyond that.
_BORDER = 2
#: Of the 256 colours those that no theme changes.
_BLACK, _WHITE = 16, 231
_NOTHING = "\x1b[0m"


def picture(text: str, *, is_coloured: bool, is_ascii: bool = False, on_light: bool = False) -> Sequence[str]:
    """The lines, each as wide as the others.

    Without colours, light is what the terminal writes with, which is right where its background is dark; ``on_light``
    is for one whose background is light. ``is_ascii`` is for one that knows no blocks, and takes twice the room.
    """
    import segno  # who draws nothing need not load it

    code = segno.make(text, error="l", micro=False)
    rows = [[bool(module) for module in row] for row in code.matrix_iter(border=_BORDER)]
    if is_ascii:
        return [_wide(row, is_coloured=is_coloured, on_light=on_light) for row in rows]
    rows += [[False] * len(rows[0])] * (len(rows) % 2)
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return [_half_blocks(upper, lower, is_coloured=is_coloured, on_light=on_light) for upper, lower in pairs]


def _half_blocks(upper: Sequence[bool], lower: Sequence[bool], *, is_coloured: bool, on_light: bool) -> str:
    """Two rows in one line: a character is twice as high as it is wide."""
    both = list(zip(upper, lower, strict=True))
    if is_coloured:
        runs = ((pair, len(list(same))) for pair, same in groupby(both))
        return "".join(f"\x1b[38;5;{_ink(up)};48;5;{_ink(low)}m" + "▀" * n for (up, low), n in runs) + _NOTHING
    return "".join(" ▄▀█"[2 * (up is on_light) + (low is on_light)] for up, low in both)


def _wide(row: Sequence[bool], *, is_coloured: bool, on_light: bool) -> str:
    if is_coloured:
        return "".join(f"\x1b[48;5;{_ink(dark)}m" + "  " * len(list(same)) for dark, same in groupby(row)) + _NOTHING
    return "".join("##" if dark is on_light else "  " for dark in row)


def _ink(is_dark: bool) -> int:
    return _BLACK if is_dark else _WHITE
