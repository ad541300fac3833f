"""Rows of text from elsewhere as a table for a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Sequence
from datetime import datetime

from .terminal import cells, in_a_row, wrapped

__all__ = ["duration", "moment", "print_table"]

_WIDEST_COLUMN = 24
_NARROWEST_LINE = 60


def print_table(heading: Sequence[str], rows: Sequence[Sequence[str]], *, whole: Collection[str] = ()) -> None:
    """Print it to standard output. On a terminal no line is wider than that; what is cut ends with dots.

    Columns named in ``whole`` are never cut by themselves: they hold what a person copies.
    """
    encoding = sys.stdout.encoding or "ascii"
    width = max(_NARROWEST_LINE, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None
    shown = [heading, *([in_a_row(cell, encoding) for cell in row] for row in rows)]
    columns = range(len(heading) - 1)
    widths = [max(cells(row[column]) for row in shown) for column in columns]
    widths = [each if name in whole else min(_WIDEST_COLUMN, each) for each, name in zip(widths, heading, strict=False)]
    for row in shown:
        line = "".join(_padded(row[column], widths[column]) + "  " for column in columns) + row[-1]
        print(line.rstrip() if width is None else _cut(line, width).rstrip())


def _padded(text: str, width: int) -> str:
    text = _cut(text, width)
    return text + " " * (width - cells(text))


def _cut(text: str, width: int) -> str:
    if cells(text) <= width:
        return text
    return text[: wrapped(text, width - 3)[0]] + "..."


def moment(timestamp: str) -> datetime:
    return datetime.fromisoformat(timestamp)


def duration(seconds: float) -> str:
    """As short as it is exact enough: ``0.4 s``, ``12 min``, ``5 h``, ``3 days``."""
    seconds = max(0.0, seconds)
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 100 * 3600 else f"{seconds / 86400:.0f} days"
