"""The rules of a session as they are kept over a restart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json

from ..events import Rule, dump
from .command_use import CommandUse
from .grants import Entry
from .verdict import AskedTool

__all__ = ["grants_from", "grants_text"]


def grants_text(entries: Sequence[Entry]) -> bytes:
    """All rules of a session, with the tools that they are bound to."""
    return dump([{"rule": entry.rule, "tool": _tool_told(entry.tool)} for entry in entries])


def grants_from(text: bytes) -> list[Entry]:
    """The same again. Raises ``ValueError``, ``KeyError`` or ``TypeError`` for what is none."""
    return [Entry(_tool_of(told["tool"]), Rule.model_validate_json(dump(told["rule"]))) for told in from_json(text)]


def _tool_told(tool: AskedTool) -> dict[str, object]:
    use = tool.command
    command = None if use is None else {**use._asdict(), "options": sorted(use.options)}
    return {**tool._asdict(), "command": command}


def _tool_of(told: dict[str, Any]) -> AskedTool:
    use = told["command"]
    if use is not None:
        use = CommandUse(**{**use, "beginning": tuple(use["beginning"]), "options": frozenset(use["options"])})
    return AskedTool(**{**told, "command": use})
