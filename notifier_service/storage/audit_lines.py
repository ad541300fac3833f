"""What of a step stands in the audit log: so much at most, and no secret. The hashes beside it are of the whole."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..core.audit import Entry
from .redaction import Redaction

__all__ = ["written_form"]

#: Characters of parameters that are kept, and of any other text.
_ROOM = 8192
_TEXT_ROOM = 4096
#: What of a text stands before the place where it was cut may be the beginning of a secret.
_TAIL = re.compile(r"\S{1,512}\Z")

#: Made by the service or the caller, and needed as they are to find what belongs together.
_IDS = re.compile(
    r"time|kind|request_id|rule_id|(asked_)?parameters_sha256|action_sha256|definition_sha256|token_sha256|decision|scope"
    r"|risk_level|effect|outcome|right|traceparent|device_id|until"
)
_NAMES = re.compile(
    r"session_id|tool_name|tool_call_id|server|agent|asked_by|decided_by|created_by|via|device|file|source"
)


def written_form(entry: Entry, redaction: Redaction) -> dict[str, Any]:
    """The entry as it may be written."""
    written: dict[str, Any] = {}
    for name, value in entry.items():
        if value is None:
            continue
        if name == "parameters":
            written |= _parameters(value, redaction)
        elif _IDS.fullmatch(name):
            written[name] = value
        elif _NAMES.fullmatch(name):
            written[name] = redaction.name(value) if isinstance(value, str) else value
        else:
            written[name] = redaction.of(_Bounded(_TEXT_ROOM).of(value))
    return written


def _parameters(parameters: Any, redaction: Redaction) -> dict[str, Any]:
    bounded = _Bounded(_ROOM)
    kept = redaction.of(bounded.of(parameters))
    if not bounded.is_cut:
        return {"parameters": kept}
    return {
        "parameters": {"beginning": json.dumps(kept, ensure_ascii=False)},
        "parameters_truncated": True,
    }


class _Bounded:
    """Copies of a JSON value what fits into so many characters."""

    def __init__(self, room: int) -> None:
        self._room = room
        self.is_cut = False

    def of(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            kept = {}
            for key, item in value.items():
                if self._room <= 0:
                    self.is_cut = True
                    break
                name = self._text(key)
                kept[name] = self.of(item)
            return kept
        if isinstance(value, list | tuple):
            items = []
            for item in value:
                if self._room <= 0:
                    self.is_cut = True
                    break
                items.append(self.of(item))
            return items
        self._room -= 8
        return value

    def _text(self, text: str) -> str:
        room, self._room = max(0, self._room), self._room - len(text) - 4
        if len(text) <= room:
            return text
        self.is_cut = True
        return _TAIL.sub("", text[:room]) + "…"
