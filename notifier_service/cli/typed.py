"""What a person or a script types, with one reading only: a JSON object, names with commas between them."""

from __future__ import annotations

import argparse
import json
from typing import Any

__all__ = ["json_object", "names"]


def json_object(text: str) -> dict[str, Any]:
    """Parse it, or raise ``ValueError`` that says what is wrong."""
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError('a JSON object is needed, such as \'{"path": "notes.txt"}\'')
    return value


def names(text: str) -> list[str]:
    """The names, of which there is one at least; the ``type`` of an argument."""
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise argparse.ArgumentTypeError("at least one is needed")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("an object has the same key twice")
    return value
