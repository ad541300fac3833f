"""Text from elsewhere, made safe to show on a terminal: nothing moves the cursor, hides, or reorders what is read."""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["escaped", "one_line", "pretty"]

#: Controls (C0 but newline and tab, DEL, C1), soft hyphen, bidirectional and zero-width marks, line separators, the
#: byte order mark, tag characters, variation selectors beyond the usual, and half surrogates.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\ud800-\udfff]"
)


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


def _escape(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
