"""What an agent is told of a call that ran as a person changed it: it would take the result for that of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.events import dump

__all__ = ["edit_note"]

_MAX_SHOWN = 2000


def edit_note(edited_by: str | None, parameters: Mapping[str, Any]) -> str:
    """A sentence for the agent: who changed its call, and what it ran with, of long parameters the beginning."""
    text = dump(parameters).decode()
    shown = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}… ({len(text) - _MAX_SHOWN} more characters)"
    return f"Note: {edited_by or 'a person'} changed the parameters of this call before it ran. It ran with {shown}"
