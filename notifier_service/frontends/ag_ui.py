"""A turn as events of AG-UI 1.0 (``@ag-ui/core``): a request is an interrupt, at which the run ends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..core.events import dump
from .page_turn import PageTurn
from .steps import Called, Custom, Decided, Gave, Progress, Step, Text, TextEnded

__all__ = ["AgUiEvents", "interrupts_of"]

Told = dict[str, Any]


class AgUiEvents:
    """Says each step in events, but for the beginning and the end of a run: a turn may be several."""

    def __init__(self, message_id: str) -> None:
        self._message_id = message_id

    def begin(self) -> Iterator[bytes]:
        yield from ()

    def say(self, step: Step) -> Iterator[bytes]:
        """The events of a step."""
        return map(dump, self._events(step))

    def _events(self, step: Step) -> Iterator[Told]:
        """That a person is asked, and that the turn ends, says the run."""
        if isinstance(step, Text):
            message_id = f"{self._message_id}-{step.number}"
            if step.begins:
                yield {"type": "TEXT_MESSAGE_START", "messageId": message_id, "role": "assistant"}
            yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": step.text}
        elif isinstance(step, TextEnded):
            yield {"type": "TEXT_MESSAGE_END", "messageId": f"{self._message_id}-{step.number}"}
        else:
            yield from _events(step)


def interrupts_of(turn: PageTurn) -> list[Told]:
    """What the page is to ask its person: each request that waits, with a schema by which pages offer an edit."""
    return [_interrupt(record) for record in turn.waiting.values()]


def _interrupt(record: Mapping[str, Any]) -> Told:
    properties: Told = {"approved": {"type": "boolean"}, "reason": {"type": "string"}}
    if "edit" in record["allowed_decisions"]:
        properties["editedArgs"] = {"type": "object"}
    reasons = [str(reason) for reason in record.get("risk_reasons") or ()]
    interrupt: Told = {
        "id": record["request_id"],
        "reason": "tool_call",
        "message": "; ".join([f"{record['tool_name']} asks to run", *reasons]),
        "toolCallId": record.get("tool_call_id") or record["request_id"],
        "responseSchema": {"type": "object", "properties": properties, "required": ["approved"]},
        "metadata": {name: record[name] for name in ("risk_level", "parameters_sha256") if name in record},
    }
    return interrupt if record.get("expires_at") is None else interrupt | {"expiresAt": record["expires_at"]}


def _events(step: Step) -> Iterator[Told]:
    if isinstance(step, Called):
        yield {"type": "TOOL_CALL_START", "toolCallId": step.call_id, "toolCallName": step.tool_name}
        arguments = json.dumps(dict(step.parameters), ensure_ascii=False)
        yield {"type": "TOOL_CALL_ARGS", "toolCallId": step.call_id, "delta": arguments}
        yield {"type": "TOOL_CALL_END", "toolCallId": step.call_id}
    elif isinstance(step, Gave):
        content = step.denied or step.error
        if content is None:
            content = step.result if isinstance(step.result, str) else json.dumps(step.result, ensure_ascii=False)
        told = {"messageId": f"result-{step.call_id}", "toolCallId": step.call_id, "content": content}
        yield {"type": "TOOL_CALL_RESULT", **told, "role": "tool"}
    elif isinstance(step, Decided):
        names = ("request_id", "status", "decision", "reason", "decided_by")
        yield _custom("permission_settled", {name: step.record.get(name) for name in names})
    elif isinstance(step, Progress):
        yield _custom("tool_progress", step._asdict())
    elif isinstance(step, Custom):
        yield _custom(step.kind, step.data)


def _custom(name: str, value: Any) -> Told:
    return {"type": "CUSTOM", "name": name, "value": value}
