"""The file that is imported: its text, and JSON, JSON with comments or TOML of it, each with one reading only."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from ...core.errors import InvalidInput

__all__ = ["json_object", "jsonc_object", "read", "strings", "toml_table", "wrong"]

#: Far more than anybody writes by hand.
MAX_BYTES = 1024 * 1024
_MAX_STRING = 4096
_HALF_SURROGATE = re.compile("[\ud800-\udfff]")
#: A string of JSON, a comment, or a comma with nothing but white space and comments behind it and before a bracket.
_JSONC = re.compile(
    r'("(?:[^"\\]|\\.)*")|(//[^\n]*|/\*.*?(?:\*/|\Z))|,(?=(?:\s|//[^\n]*|/\*.*?(?:\*/|\Z))*[}\]])', re.DOTALL
)


def read(file: str) -> tuple[str, Path | None]:
    """The text, and where it is; ``-`` is standard input, which is nowhere. Raises ``InvalidInput``."""
    try:
        if file == "-":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(file, "rb") as source:
                data = source.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise InvalidInput(f"it cannot be read: {why or error}") from None
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"it has more than {MAX_BYTES} bytes")
    try:
        return data.decode("utf-8-sig"), None if file == "-" else Path(file).absolute()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"it is no UTF-8: {error.reason} at byte {error.start}") from None


def json_object(text: str) -> dict[str, Any]:
    """Raises ``InvalidInput``."""
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"line {error.lineno}: no valid JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"no valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInput("no JSON object")
    return value


def jsonc_object(text: str) -> dict[str, Any]:
    """The same for JSON with comments, and with commas behind the last of a list. Raises ``InvalidInput``."""
    return json_object(_JSONC.sub(_plain_json, text))


def toml_table(text: str) -> dict[str, Any]:
    """Raises ``InvalidInput``."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of numbers with thousands of digits
        raise InvalidInput(f"no valid TOML: {error}") from None


def strings(value: Any, where: str) -> list[str]:
    """A list of texts that can be written again. Raises ``InvalidInput``."""
    if not isinstance(value, list):
        raise wrong(where, "a list of texts", value)
    for item in value:
        if not isinstance(item, str):
            raise wrong(where, "a list of texts", item)
        if len(item) > _MAX_STRING:
            raise InvalidInput(f"{where}: a text has more than {_MAX_STRING} characters")
        if _HALF_SURROGATE.search(item):
            raise InvalidInput(f"{where}: a text has half a character in it")
    return value


def wrong(where: str, needed: str, value: Any) -> InvalidInput:
    """The error for a value of a wrong type."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return InvalidInput(f"{where}: {needed} is needed, not {names.get(type(value), 'a number')}")


def _plain_json(found: re.Match[str]) -> str:
    if found[1] is not None:
        return found[1]
    # Lines stay as they are counted.
    return re.sub(r"[^\n]", " ", found[0])


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        raise ValueError(f"an object has the key {json.dumps(twice)[:100]} twice")
    return value
