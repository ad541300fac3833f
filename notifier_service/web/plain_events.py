"""Plain events: of a producer's own types, with data, in which nothing can be wrong and of which nothing follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from ..core.errors import InvalidInput
from ..core.events import PRODUCED, EventData, dump, dump_each, dump_plain, is_own_type, require_finite

__all__ = ["Pieces", "plain_piece", "plain_pieces", "told_piece"]

#: What becomes events, in this order: their types, and the data of each as JSON.
Pieces = tuple[Sequence[str], Sequence[bytes]]


def plain_piece(value: Any, *, max_bytes: int) -> tuple[str, bytes] | None:
    """``plain_pieces`` of one."""
    if type(value) is not dict or len(value) != 2:
        return None
    event_type, data = value.get("type"), value.get("data")
    if type(event_type) is not str or type(data) is not dict or not is_own_type(event_type):
        return None
    data_json = dump_plain(data)
    if data_json is None or len(data_json) + len(event_type) > max_bytes:
        return None
    return event_type, data_json


def told_piece(value: Any, text: bytes, *, max_bytes: int) -> tuple[EventData, tuple[str, bytes]] | None:
    """What a producer tells of a call by this JSON: its data, checked, and the piece; None as ``plain_pieces``."""
    if type(value) is not dict or len(value) != 2:
        return None
    event_type, data = value.get("type"), value.get("data")
    if type(event_type) is not str or type(data) is not dict or event_type not in PRODUCED:
        return None
    try:
        require_finite(text, value)
        told = PRODUCED[event_type].model_validate(data)
        data_json = dump(told)
    except (ValidationError, InvalidInput):
        return None
    return None if len(data_json) + len(event_type) > max_bytes else (told, (event_type, data_json))


def plain_pieces(values: Sequence[Any], *, max_bytes: int) -> Pieces | None:
    """What came in as JSON as events that need no other look, encoded together; None if one of them does.

    Each is an object with a type of the producer's own and an object as data, of ``max_bytes`` together, and names
    nothing else: no session. None says nothing of what is wrong, nor that something is.
    """
    # A few passes that Python makes by itself cost a third of one that asks everything of each event.
    try:
        types = [value["type"] for value in values]
        data = [value["data"] for value in values]
        kinds = {*types}
    except (KeyError, TypeError):  # it is no object, has no such name, or a type that is an object
        return None
    # Each has these two: it has no more where they have no more in all.
    if sum(map(len, values)) != 2 * len(values) or {*map(type, data)} != {dict}:
        return None
    if {*map(type, kinds)} != {str} or not all(map(is_own_type, kinds)):
        return None
    pieces = dump_each(data)
    if pieces is None or max(map(len, pieces)) + max(map(len, kinds)) > max_bytes:
        return None
    return types, pieces
