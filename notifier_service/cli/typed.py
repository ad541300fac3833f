"""A JSON object as a person or a script types it, with one reading only."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["json_object"]


def json_object(text: str) -> dict[str, Any]:
    """Parse it, or raise ``ValueError`` that says what is wrong."""
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError('a JSON object is needed, such as \'{"path": "notes.txt"}\'')
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("an object has the same key twice")
    return value
