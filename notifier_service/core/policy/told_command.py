"""What a command runs, as a record carries it: the parts in their order, and what of it is not understood."""

from __future__ import annotations

from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any

from ..events import ReadCommand, SaidReason, made
from .program_deeds import use_of
from .shell import CommandReading, read_call

__all__ = ["told_command"]

_MAX_PARTS = 50
_MAX_CHARACTERS = 200
_MORE = "…"
#: What a person looks at before the rest.
_CHANGING = frozenset({"writes", "deletes", "sends"})


def told_command(parameters: Mapping[str, Any], *, max_bytes: int) -> ReadCommand | None:
    """What a call with these parameters runs; None for one that holds no command.

    The parts are cut where they would take more than ``max_bytes`` of JSON.
    """
    reading = read_call(parameters)
    if reading is None:
        return None
    parts = _parts(reading, max_bytes)
    depths = reading.depths[: len(parts)]
    does = tuple([use_of(words).does for words in reading.parts[: len(parts)]])
    why = reading.not_understood
    told = {
        "parts": tuple(parts),
        "depths": depths if any(depths) else None,
        "does": None if _CHANGING.isdisjoint(does) else does,
        "left_out": len(reading.parts) - len(parts) or None,
        "not_understood": None if why is None else made(SaidReason, {"code": why.code, "text": str(why)}, why.values),
    }
    return made(ReadCommand, told)


def _parts(reading: CommandReading, room: int) -> list[tuple[str, ...]]:
    parts: list[tuple[str, ...]] = []
    for words in reading.parts[:_MAX_PARTS]:
        told: list[str] = []
        room -= len("[],")
        for word in words:
            short = word if len(word) <= _MAX_CHARACTERS else word[:_MAX_CHARACTERS] + _MORE
            room -= len(encode_basestring(short).encode()) + len(",")
            if room < 0:
                return [*parts, (*told, _MORE)]
            told.append(short)
        parts.append(tuple(told))
    return parts
