"""Texts that are patches: every line of them says what it is."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .body import DiffLine
from .lines import plain, with_words

__all__ = ["patch_lines"]

_HUNK = re.compile(r"@@ -([0-9]{1,9})(?:,([0-9]{1,9}))? \+([0-9]{1,9})(?:,([0-9]{1,9}))? @@")
#: What stands before the first hunk of a file.
_HEADER = re.compile(
    r"diff |index |--- |\+\+\+ |(?:new|deleted) file mode |(?:old|new) mode |(?:rename|copy) (?:from|to) "
    r"|(?:dis)?similarity index |Index: |={10,}\Z|\Z"
)
_STEP = re.compile(r"\*\*\* (?:(?:Add|Update|Delete) File: |Move to: |End of File\Z)")


def patch_lines(text: str) -> list[DiffLine] | None:
    """The lines of a unified patch, or of one between ``*** Begin Patch`` and its end; None for any other text."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    found = _steps(lines) if lines[:1] == ["*** Begin Patch"] else _unified(lines)
    return None if found is None else with_words(found)


def _unified(lines: Sequence[str]) -> list[DiffLine] | None:
    """Each hunk holds as many lines as it says: nothing behind it can pass for a part of it."""
    found: list[DiffLine] = []
    old_left = new_left = old_number = new_number = 0
    has_hunk = False
    for line in lines:
        sign = line[:1] or " "
        if old_left > 0 or new_left > 0:
            if sign == "\\":
                found.append(DiffLine("note", plain(line)))
                continue
            if sign not in " +-":
                return None
            is_old, is_new = sign != "+", sign != "-"
            found.append(_change(line, old_number if is_old else None, new_number if is_new else None))
            old_number, new_number = old_number + is_old, new_number + is_new
            old_left, new_left = old_left - is_old, new_left - is_new
            if old_left < 0 or new_left < 0:
                return None
        elif (hunk := _HUNK.match(line)) is not None:
            has_hunk = True
            old_number, new_number = int(hunk[1]), int(hunk[3])
            old_left, new_left = (1 if hunk[group] is None else int(hunk[group]) for group in (2, 4))
            found.append(DiffLine("note", plain(line)))
        elif _HEADER.match(line) or (has_hunk and sign == "\\"):
            found.append(DiffLine("note", plain(line)))
        else:
            return None
    return found if has_hunk and old_left == 0 and new_left == 0 else None


def _steps(lines: Sequence[str]) -> list[DiffLine] | None:
    if len(lines) < 3 or lines[-1] != "*** End Patch":
        return None
    found: list[DiffLine] = []
    for index, line in enumerate(lines):
        if index in (0, len(lines) - 1) or _STEP.match(line) or line.startswith("@@"):
            found.append(DiffLine("note", plain(line)))
        elif line[:1] in ("", " ", "+", "-"):
            found.append(_change(line, None, None))
        else:
            return None
    return found


def _change(line: str, old: int | None, new: int | None) -> DiffLine:
    return DiffLine("new" if line[:1] == "+" else "gone" if line[:1] == "-" else "same", plain(line[1:]), old, new)
