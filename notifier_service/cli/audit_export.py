"""``audit export``: an audit log in the forms that other programs read."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from ..core.errors import InvalidInput
from .audit_lines import Line
from .terminal import one_line, seen

__all__ = ["FORMATS", "agentack_trace", "export"]

FORMATS = ("agentack", "csv", "jsonl")

_COLUMNS = (
    "seq", "time", "kind", "session_id", "request_id", "tool_call_id", "tool_name", "server", "agent", "asked_by",
    "risk_level", "risk_reasons", "effect", "rule", "decision", "approved", "scope", "reason", "decided_by", "via",
    "right", "waited_ms", "outcome", "duration_ms", "parameters", "parameters_sha256", "action_sha256", "prev", "hash",
)  # fmt: skip
#: What a spreadsheet takes for a formula when a cell begins with it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def export(arguments: argparse.Namespace, lines: Iterator[Line]) -> Iterator[str]:
    """The text, in pieces that end with a newline."""
    if arguments.format == "csv":
        yield from _csv(lines)
    elif arguments.format == "jsonl":
        for line in lines:
            yield json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=True) + "\n"
    else:
        trace, left_out = agentack_trace(list(lines))
        if left_out:
            print(f"Calls left out, because what became of them is not in the log: {left_out}", file=sys.stderr)
        for event in trace:
            yield json.dumps(event, separators=(",", ":")) + "\n"


def _csv(lines: Iterator[Line]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    for row in _rows(lines):
        writer.writerow(row)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _rows(lines: Iterator[Line]) -> Iterator[Sequence[str]]:
    yield _COLUMNS
    for line in lines:
        yield [_cell(line.get(name)) for name in _COLUMNS]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = seen(one_line(text), "utf-8")
    return f"'{text}" if text.startswith(_FORMULA) else text


def agentack_trace(lines: Sequence[Line]) -> tuple[list[dict[str, Any]], int]:
    """One session as a trace of AgentAck (schema version 2), and how many calls are left out because they go on.

    A policy's word is an approval like a person's. An edit blocks what was asked, and is another
    action that is approved. Raises ``InvalidInput`` for more than one session.
    """
    sessions = {line["session_id"] for line in lines if line.get("session_id") is not None}
    if len(sessions) != 1:
        found = ", ".join(sorted(map(str, sessions))[:10]) or "none"
        raise InvalidInput(f"An AgentAck trace is of one session: choose it with --session. The log has: {found}")
    trace = _Trace(sessions.pop())
    for line in lines:
        trace.add(line)
    return trace.finished(), trace.open_calls


class _Trace:
    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._events: list[dict[str, Any]] = []
        #: What is approved and did not run yet, by the id of the call; and what has run, by what it was.
        self._approved: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
        self._requests: dict[str, tuple[str, dict[str, Any], Line]] = {}
        self._last: dict[str, tuple[str, dict[str, Any]]] = {}
        self._settled: set[str] = set()
        self._time = "1970-01-01T00:00:00Z"

    @property
    def open_calls(self) -> int:
        return len(self._actions() - self._settled)

    def _actions(self) -> set[str]:
        return {event["action_id"] for event in self._events if event["type"] == "action_proposed"}

    def add(self, line: Line) -> None:
        self._time = line["time"]
        kind = line["kind"]
        if kind == "asked":
            self._propose(line["request_id"], line)
        elif kind in ("allowed", "denied"):
            self._by_policy(line)
        elif kind in ("decided", "expired", "cancelled") and line.get("request_id") in self._requests:
            self._answer(line)
        elif kind == "started":
            self._execute(line)
        elif kind == "finished" and line.get("outcome") in ("denied", "cancelled"):
            self._block_what_waits(line)

    def finished(self) -> list[dict[str, Any]]:
        """All events, without those of calls of which nobody knows yet what becomes of them."""
        unknown = self._actions() - self._settled
        events = [event for event in self._events if event["action_id"] not in unknown]
        return [*events, self._event("session_end")]

    def _propose(self, action_id: str, line: Line, **of_edit: Any) -> None:
        action = _action({**line, **of_edit})
        self._requests[action_id] = action_id, action, line
        self._emit("action_proposed", action_id, action=action)
        self._emit("approval_requested", action_id, approval_id=action_id, action=action)

    def _by_policy(self, line: Line) -> None:
        action_id = line.get("request_id") or f"line-{line['seq']}"
        if action_id not in self._requests:
            self._propose(action_id, line)
        self._decide(action_id, allow=line["kind"] == "allowed", line=line)

    def _answer(self, line: Line) -> None:
        action_id = line["request_id"]
        _, _, asked = self._requests[action_id]
        if action_id in self._last_decided:
            # Withdrawn after it was decided, and before it ran.
            self._block(action_id, line)
        elif line.get("decision") == "edit":
            self._decide(action_id, allow=False, line=line)
            edited = f"{action_id}.edited"
            self._propose(
                edited,
                asked,
                parameters=line.get("parameters"),
                parameters_sha256=line.get("parameters_sha256"),
                parameters_truncated=line.get("parameters_truncated"),
            )
            self._decide(edited, allow=True, line=line)
        else:
            self._decide(action_id, allow=line["kind"] == "decided" and line.get("approved") is True, line=line)

    @property
    def _last_decided(self) -> set[str]:
        return {event["action_id"] for event in self._events if event["type"] == "approval_decision"}

    def _decide(self, action_id: str, *, allow: bool, line: Line) -> None:
        _, action, asked = self._requests[action_id]
        self._emit("approval_decision", action_id, approval_id=action_id, decision="allow" if allow else "deny")
        if allow:
            for key in _keys({**asked, **{k: line[k] for k in ("parameters_sha256",) if line.get(k)}}):
                self._approved[key].append((action_id, action))
                self._last[key] = action_id, action
        else:
            self._block(action_id, line)
            for key in _keys(asked)[:1]:
                self._last[key] = action_id, action

    def _block(self, action_id: str, line: Line) -> None:
        if action_id not in self._settled:
            self._settled.add(action_id)
            self._emit("action_blocked", action_id, approval_id=action_id, **_why(line))

    def _execute(self, line: Line) -> None:
        """What runs is what was approved for this very call, else what was approved with these parameters."""
        found = None
        for key in _keys(line):
            waiting = [each for each in self._approved[key] if each[0] not in self._settled]
            found = waiting[0] if waiting else self._last.get(key)
            if found is not None:
                break
        if found is None:
            action_id = f"line-{line['seq']}"
            self._emit("action_proposed", action_id, action=_action(line))
            self._emit("action_executed", action_id, action=_action(line))
        elif line.get("parameters_truncated") and not line.get("parameters_sha256"):
            return  # of what is too large for an event nobody has told the hash: it is no evidence of anything
        else:
            action_id, approved = found
            sha256 = line.get("parameters_sha256")
            same = sha256 is not None and sha256 == approved["parameters"].get("sha256")
            action = approved if same else {**_action(line), "resource": approved["resource"]}
            self._emit("action_executed", action_id, approval_id=action_id, action=action)
        self._settled.add(action_id)

    def _block_what_waits(self, line: Line) -> None:
        for key in _keys(line)[:1]:
            for action_id, _ in self._approved[key]:
                self._block(action_id, line)

    def _emit(self, kind: str, action_id: str, **more: Any) -> None:
        self._events.append(self._event(kind, action_id=action_id, **more))

    def _event(self, kind: str, **more: Any) -> dict[str, Any]:
        return {"schema_version": 2, "type": kind, "timestamp": self._time, "session_id": self._session_id, **more}


def _action(line: Line) -> dict[str, Any]:
    """Parameters are as the log has them, without secrets, so that the hash of the whole stands beside them."""
    parameters: dict[str, Any] = {"shown": line.get("parameters")}
    if line.get("parameters_sha256") is not None:
        parameters["sha256"] = line["parameters_sha256"]
    resource = f"{line.get('server') or ''}/{line.get('tool_name')}"
    return {"tool": str(line.get("tool_name")), "operation": "call", "resource": resource, "parameters": parameters}


def _keys(line: Line) -> Sequence[str]:
    keys = []
    if line.get("tool_call_id"):
        keys.append(f"id {line['tool_call_id']}")
    if line.get("parameters_sha256"):
        keys.append(f"of {line.get('tool_name')} {line['parameters_sha256']}")
    return keys


def _why(line: Line) -> dict[str, str]:
    by, why = line.get("decided_by"), line.get("reason")
    text = ": ".join(str(each) for each in (by, why) if each)
    return {"reason": text[:1000]} if text else {}
