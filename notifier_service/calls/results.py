"""What a tool gave, and what it was given, as an event can carry it: whole, or its beginning and its size."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from typing import Any

from pydantic_core import from_json, to_json

from ..core.events import dump, on_one_line
from ..core.parameters import beginning

__all__ = ["shown_error", "shown_parameters", "shown_result"]

#: Room for what an event says around a result or parameters.
_ENVELOPE_BYTES = 8 * 1024
_PREVIEW_CHARACTERS = 4096
_MAX_ERROR_CHARACTERS = 2000
_LOOKED_AT = 10_000


def shown_result(result: Any, *, max_bytes: int, whole_bytes: int | None = None) -> dict[str, Any]:
    """Return the fields ``result`` and, where it is cut, ``truncated`` and ``result_bytes`` of a ``tool_result``.

    The result is copied, so that a tool that goes on using it changes nothing. What JSON has no form for is shown as
    Python prints it; an iterator is never read. With ``whole_bytes`` it is what is left of so much.
    """
    text = _as_json(result)
    if whole_bytes is None and len(text) <= max_bytes - _ENVELOPE_BYTES:
        return {"result": from_json(text)}
    return {
        "result": beginning(text, max_bytes=max_bytes // 4),
        "truncated": True,
        "result_bytes": len(text) if whole_bytes is None else whole_bytes,
    }


def shown_parameters(
    parameters: Mapping[str, Any], *, max_bytes: int, whole_bytes: int | None = None
) -> dict[str, Any]:
    """Return the detail ``parameters`` and, where it is cut, ``parameters_bytes``, for calls nobody is asked about.

    A permission request never goes through here: it shows its parameters whole or is refused.
    """
    shown = shown_result(dict(parameters), max_bytes=max_bytes, whole_bytes=whole_bytes)
    if "truncated" not in shown:
        return {"parameters": shown["result"]}
    return {
        "parameters": {"beginning": shown["result"]},
        "parameters_truncated": True,
        "parameters_bytes": shown["result_bytes"],
    }


def shown_error(error: BaseException | str) -> str:
    """What went wrong, as one text of bounded length; of an exception its class and what it says."""
    text = error if isinstance(error, str) else _said(error)
    hidden = len(text) - _MAX_ERROR_CHARACTERS
    return text if hidden <= 0 else f"{text[:_MAX_ERROR_CHARACTERS]}… ({hidden} more characters)"


def _said(error: BaseException) -> str:
    try:
        said = str(error)
    except Exception:
        said = "(it cannot say what)"
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _as_json(value: Any) -> bytes:
    """JSON that can be read again, whatever a tool's own class does when it is looked at: the tool has run already."""
    try:
        if not _holds_iterator(value, [_LOOKED_AT]):
            text = to_json(value, inf_nan_mode="strings", bytes_mode="base64", by_alias=True, fallback=_printed)
            from_json(text)
            return on_one_line(text)
    except Exception:
        with suppress(Exception):
            text = dump(value)
            from_json(text)
            return text
    return to_json(_printed(value))


def _holds_iterator(value: Any, budget: list[int]) -> bool:
    """Whether showing the value would use it up, as far as one finds out in a bounded number of looks."""
    budget[0] -= 1
    if isinstance(value, Iterator | AsyncIterator):
        return True
    if is_dataclass(value) and not isinstance(value, type):
        value = vars(value) if hasattr(value, "__dict__") else {}
    if isinstance(value, Mapping):
        return budget[0] > 0 and any(_holds_iterator(item, budget) for item in value.values())
    if isinstance(value, list | tuple):
        return budget[0] > 0 and any(_holds_iterator(item, budget) for item in value)
    return False


def _printed(value: Any) -> str:
    try:
        return repr(value)[:_PREVIEW_CHARACTERS].encode("utf-8", "backslashreplace").decode()
    except Exception as error:
        return f"<{type(value).__name__}, which cannot be printed: {type(error).__name__}>"
