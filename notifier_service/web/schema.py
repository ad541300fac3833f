"""The wire as one JSON Schema, made from the models that make the wire: what clients in other languages start from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from ..core import errors
from ..core.events import (
    Bye,
    EventData,
    Gap,
    Hello,
    InboxCleared,
    InboxHello,
    InboxRecord,
    InboxSnapshot,
    PermissionCleared,
    PermissionRecord,
    ResultCleared,
    SessionLabel,
    SessionRow,
    Snapshot,
    ToolProgress,
    ToolResult,
    ToolStatus,
)
from ..core.question import Decision
from .models import HistoryRecords, PolicyState, PresentState, SessionHealth, StateAndEvents

__all__ = ["EVENT_DATA", "INBOX_DATA", "event_name", "wire_schema"]

#: The events that have ``data``, by type. The other two are ``heartbeat`` and ``error``.
EVENT_DATA: Mapping[str, type[EventData]] = {
    "tool_status": ToolStatus,
    "tool_progress": ToolProgress,
    "tool_result": ToolResult,
    "permission_request": PermissionRecord,
    "permission_cleared": PermissionCleared,
    "permission_response_result": PermissionRecord,
    "result_cleared": ResultCleared,
    "hello": Hello,
    "snapshot": Snapshot,
    "gap": Gap,
    "bye": Bye,
}

#: The same of the inbox.
INBOX_DATA: Mapping[str, type[EventData]] = {
    "permission_request": InboxRecord,
    "permission_cleared": InboxCleared,
    "permission_response_result": InboxRecord,
    "session_opened": SessionLabel,
    "session_closed": SessionLabel,
    "hello": InboxHello,
    "snapshot": InboxSnapshot,
    "gap": Gap,
    "bye": Bye,
}

_ANSWERS: tuple[type[BaseModel], ...] = (
    PresentState,
    StateAndEvents,
    SessionHealth,
    SessionRow,
    HistoryRecords,
    PolicyState,
)

_TEXT = {"type": "string"}


class _WireSchema(GenerateJsonSchema):
    """What is sent has every field; one that is left out when it has no value is optional, and never null."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def field_is_required(self, field: Any, *args: Any, **named: Any) -> bool:
        if self.mode == "validation":
            return super().field_is_required(field, *args, **named)
        return "serialization_exclude_if" not in field

    def model_field_schema(self, schema: core_schema.ModelField) -> JsonSchemaValue:
        made = super().model_field_schema(schema)
        if "serialization_exclude_if" not in schema:
            return made
        kinds = [kind for kind in made.pop("anyOf", ()) if kind != {"type": "null"}]
        made.pop("default", None)
        return {**made, **kinds[0]} if len(kinds) == 1 else {**made, **({"anyOf": kinds} if kinds else {})}


def wire_schema(
    *, answers: Sequence[type[BaseModel]] = (), bodies: Sequence[type[BaseModel]] = (Decision,)
) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of an event, with every event, answer and body of the contract in ``$defs``.

    ``answers`` are more of them.
    """
    sent = dict.fromkeys([*EVENT_DATA.values(), *INBOX_DATA.values(), *_ANSWERS, *answers])
    _, written = models_json_schema(
        [*((model, "serialization") for model in sent), *((body, "validation") for body in bodies)],
        schema_generator=_WireSchema,
        ref_template="#/$defs/{model}",
    )
    definitions = written["$defs"]
    for event_type, model in EVENT_DATA.items():
        definitions[event_name(event_type)] = _event(event_type, model)
    for event_type, model in INBOX_DATA.items():
        definitions[event_name(event_type, of_inbox=True)] = _event(event_type, model)
    definitions["HeartbeatEvent"] = _object({"type": {"const": "heartbeat"}, "timestamp": {"type": "number"}})
    definitions["ErrorEvent"] = _object(
        {
            "type": {"const": "error"},
            "success": {"const": False},
            "error": {"$ref": "#/$defs/ErrorDetails"},
            "message": _TEXT,
            "code": {"$ref": "#/$defs/ErrorCode"},
        }
    )
    definitions["ErrorDetails"] = {
        "type": "object",
        "properties": {"code": {"$ref": "#/$defs/ErrorCode"}, "message": _TEXT},
        "required": ["code", "message"],
        "additionalProperties": True,
    }
    definitions["ErrorCode"] = {"enum": _error_codes()}
    events = [event_name(event_type) for event_type in EVENT_DATA] + ["HeartbeatEvent", "ErrorEvent"]
    inbox = [event_name(event_type, of_inbox=True) for event_type in INBOX_DATA] + ["HeartbeatEvent", "ErrorEvent"]
    definitions["InboxEvent"] = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in inbox]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "WireEvent",
        "description": "What the service says of itself; a producer may add types of its own.",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in events],
        "$defs": dict(sorted(definitions.items())),
    }


def _event(event_type: str, model: type[EventData]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "type": {"const": event_type},
            "id": {"type": "string", "description": "A cursor, <epoch>-<seq>; only what the log keeps has one."},
            "traceparent": {"type": "string", "description": "The trace that a producer has named (W3C)."},
            "data": {"$ref": f"#/$defs/{model.__name__}"},
        },
        "required": ["type", "data"],
        "additionalProperties": False,
    }


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def event_name(event_type: str, *, of_inbox: bool = False) -> str:
    """What a type of event is called among the definitions."""
    name = "".join(word.title() for word in event_type.split("_")) + "Event"
    is_other = of_inbox and INBOX_DATA[event_type] is not EVENT_DATA.get(event_type)
    return f"Inbox{name}" if is_other else name


def _error_codes() -> list[str]:
    return sorted({error.code for error in _subclasses(errors.NotifierError) if "code" in vars(error)})


def _subclasses(error: type[errors.NotifierError]) -> Iterable[type[errors.NotifierError]]:
    for subclass in error.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)
