"""Values as JSON that people read: every digit of a number, and an escape for what nobody sees."""

from __future__ import annotations

import json
import re
from typing import Any

from .unseen import name_of, unseen_in

__all__ = ["in_ascii", "readable_json"]

#: A deeper value is indented less, or its text would stand in the last column.
_DEEP = 12
_FOREIGN = re.compile("[^\n\x20-\x7e]")


def readable_json(value: Any) -> str:
    """It reads back to the same value."""
    text = json.dumps(value, indent=1 if _depth(value) > _DEEP else 2, ensure_ascii=False)
    unseen = frozenset(unseen_in(text))
    return _FOREIGN.sub(lambda one: in_ascii(one[0]) if name_of(one[0]) in unseen else one[0], text) if unseen else text


def in_ascii(json_text: str) -> str:
    """The same text, with an escape for every character that is not of ASCII."""
    return _FOREIGN.sub(lambda one: f"\\u{ord(one[0]):04x}" if one[0] < " " else json.dumps(one[0])[1:-1], json_text)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= _DEEP:
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        depth += 1
    return depth
