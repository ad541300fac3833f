"""A turn as a UI message stream of the Vercel AI SDK (npm ``ai`` 6 and 7, ``ui-message-chunks``)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..core.events import dump
from .steps import Asked, Called, Custom, Decided, Ended, Gave, Progress, Step, Text, TextEnded

__all__ = ["AiSdkChunks", "is_known"]

Chunk = dict[str, Any]

#: The SDK before 7 takes it for an error.
_OF_SEVEN = b'{"type":"tool-approval-response"'

_NOT_OF_A_NAME = re.compile(r"[^A-Za-z0-9_-]+")


class AiSdkChunks:
    """Says each step in chunks. Every tool is ``dynamic``: a page need not declare it."""

    def __init__(self, message_id: str) -> None:
        self._message_id = message_id

    def begin(self) -> Iterator[bytes]:
        """What a new message begins with."""
        yield dump({"type": "start", "messageId": self._message_id})
        yield dump({"type": "start-step"})

    def say(self, step: Step) -> Iterator[bytes]:
        """The chunks of a step."""
        return map(dump, _chunks(step))


def is_known(chunk: bytes, sdk: int) -> bool:
    """Whether pages with this version of the SDK know such a chunk."""
    return sdk >= 7 or not chunk.startswith(_OF_SEVEN)


def _chunks(step: Step) -> Iterator[Chunk]:
    if isinstance(step, Text):
        if step.begins:
            yield {"type": "text-start", "id": f"text-{step.number}"}
        yield {"type": "text-delta", "id": f"text-{step.number}", "delta": step.text}
    elif isinstance(step, TextEnded):
        yield {"type": "text-end", "id": f"text-{step.number}"}
    elif isinstance(step, Called):
        called: Chunk = {"toolCallId": step.call_id, "toolName": step.tool_name, "dynamic": True}
        if step.title is not None:
            called["title"] = step.title
        yield {"type": "tool-input-start", **called}
        yield {"type": "tool-input-available", **called, "input": dict(step.parameters)}
    elif isinstance(step, Asked):
        asked: Chunk = {"approvalId": step.record["request_id"], "toolCallId": step.call_id}
        reasons = "; ".join(map(str, step.record.get("risk_reasons") or ()))
        yield {"type": "tool-approval-request", **asked, **({"reason": reasons} if reasons else {})}
    elif isinstance(step, Decided):
        yield {"type": "tool-approval-response", **_decision(step.record)}
    elif isinstance(step, Gave):
        if step.denied is not None:
            yield {"type": "tool-output-denied", "toolCallId": step.call_id}
        elif step.error is not None:
            yield {"type": "tool-output-error", "toolCallId": step.call_id, "errorText": step.error, "dynamic": True}
        else:
            yield {"type": "tool-output-available", "toolCallId": step.call_id, "output": step.result, "dynamic": True}
    elif isinstance(step, Progress):
        told = {"toolCallId": step.call_id, "progress": step.progress, "total": step.total, "message": step.message}
        yield {"type": "data-progress", "data": told, "transient": True}
    elif isinstance(step, Custom):
        yield {"type": f"data-{_NOT_OF_A_NAME.sub('-', step.kind)[:64] or 'message'}", "data": step.data}
    elif isinstance(step, Ended):
        if step.outcome == "cancelled":
            yield {"type": "abort", "reason": "the answer was cancelled"}
            return
        if step.error is not None:
            yield {"type": "error", "errorText": step.error}
        yield {"type": "finish-step"}
        yield {"type": "finish", "finishReason": "error" if step.error is not None else "stop"}


def _decision(record: Mapping[str, Any]) -> Chunk:
    """What a page hears of a settled request: only a run with the very call is approved to it, or with an edit."""
    is_approved = record.get("approved") is True
    reason = record.get("reason")
    if not isinstance(reason, str) or not reason:
        status, by = record.get("status"), record.get("decided_by")
        reason = None if is_approved else f"{status} by {by}" if by else str(status)
    decided: Chunk = {"approvalId": record["request_id"], "approved": is_approved}
    return decided if reason is None else decided | {"reason": reason}
