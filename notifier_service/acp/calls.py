"""The tool calls of an agent: each as all that was told of it, and what a person has let it do."""

from __future__ import annotations

import shlex
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from ..calls.asker import Asker
from ..calls.report import Report, new_call_id, usable_name
from ..core.errors import InvalidInput, NotifierError, ToolDenied
from ..core.limits import RiskLevel
from ..core.parameters import jsonable

__all__ = ["Calls", "Shown", "ToolView", "operation_of", "operation_params"]

_MAX_CALLS = 1000
_MAX_BYTES = 32 * 1024 * 1024
#: What an agent asks about is more than nothing, whatever it calls it.
_RISKS: Mapping[str, RiskLevel] = {
    "read": "medium", "search": "medium", "think": "medium", "fetch": "medium", "edit": "medium",
    "switch_mode": "medium",
}  # fmt: skip
#: Of an update, these are the new values; what is left out, or null, stays.
_FIELDS = ("title", "name", "kind", "status", "content", "locations", "rawInput", "rawOutput")


class Shown(NamedTuple):
    """What a person is shown of a call. ``is_whole`` says whether the agent told with what it is called."""

    tool_name: str
    parameters: dict[str, Any]
    title: str | None
    risk_level: RiskLevel
    is_whole: bool


class ToolView:
    """One tool call: everything that the agent told of it, the newest of each."""

    def __init__(self, call_id: str, report: Report) -> None:
        self.report = report
        self.size_bytes = 0
        #: What was shown and let run may be done through the editor, each once.
        self.granted: list[tuple[str, ...]] = []
        self._call_id = call_id
        self._told: dict[str, Any] = {}
        self._updates = 0
        self._title: str | None = None

    def update(self, told: Mapping[str, Any]) -> None:
        """Learn more of the call; the session is not told yet."""
        self._told |= {name: told[name] for name in _FIELDS if told.get(name) is not None}

    def tell(self) -> None:
        """Tell the session how the call stands."""
        shown, status = self.shown(), self._told.get("status")
        self.report.tool_name, self.report.risk_level = shown.tool_name, shown.risk_level
        if status in ("in_progress", "completed", "failed"):
            self._try_to_begin(shown)
        if status == "in_progress":
            self._updates += 1
            if self._updates > 1 or shown.title != self._title:
                self.report.progress(self._updates, None, shown.title)
            self._title = shown.title
        elif status in ("completed", "failed"):
            result = self._told.get("rawOutput", _texts(self._told.get("content")))
            error = None if status == "completed" else _failure(result)
            self.report.result(result, success=status == "completed", error=error, duration_ms=self.report.elapsed_ms)
            self.granted.clear()

    def shown(self) -> Shown:
        """The call as a person is to judge it."""
        told = self._told
        raw = told.get("rawInput")
        parameters: dict[str, Any] = dict(raw) if isinstance(raw, dict) else {} if raw is None else {"input": raw}
        changes = _changes(told.get("content"))
        if changes and not all(_is_in(change, parameters) for change in changes):
            parameters[_free("changes", parameters)] = changes
        is_whole = bool(parameters)
        if not is_whole:
            parameters = {"content": _texts(told.get("content")), "locations": told.get("locations")}
            parameters = {name: value for name, value in parameters.items() if value}
        kind = told.get("kind")
        kind = kind if isinstance(kind, str) else "other"
        title = told.get("title")
        return Shown(
            usable_name(told.get("name")) or usable_name(kind) or "other",
            parameters,
            title if isinstance(title, str) and title else None,
            _RISKS.get(kind, "high"),
            is_whole,
        )

    def operations(self, cwd: str | None) -> list[tuple[str, ...]]:
        """What the call as it is told now would do through the editor: may be done, each once, if it is let run."""
        shown = self.shown().parameters
        found: list[tuple[str, ...]] = [
            ("write", change["path"], change["new_text"]) for change in _changes(self._told.get("content"))
        ]
        command = shown.get("command")
        where = shown.get("cwd") or shown.get("workdir") or cwd
        if isinstance(command, str):
            found.append(("run", str(where), command))
        elif isinstance(command, list) and all(isinstance(word, str) for word in command):
            found.append(("run", str(where), shlex.join(command)))
        return found

    def _try_to_begin(self, shown: Shown) -> None:
        with suppress(NotifierError):  # it runs already, and is the agent's to run
            self.report.executing(_jsonable(shown.parameters), description=shown.title)


class Calls:
    """The tool calls that an agent tells of; ``tell`` publishes to the session of this service."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._views: OrderedDict[tuple[str, str], ToolView] = OrderedDict()
        self._size = 0

    def update(self, session_id: str | None, told: Any, *, size_bytes: int = 0) -> ToolView | None:
        """Merge what was told of a call into what is known of it; None for what names no call."""
        call_id = told.get("toolCallId") if isinstance(told, dict) else None
        if session_id is None or not isinstance(call_id, str):
            return None
        key = session_id, call_id
        view = self._views.get(key)
        if view is None:
            asker = self._asker
            report = Report(
                asker.tell,
                "other",
                "high",
                usable_name(call_id) or new_call_id(),
                max_event_bytes=asker.max_event_bytes,
            )
            view = self._views[key] = ToolView(call_id, report)
        view.update(told)
        view.size_bytes += size_bytes
        self._size += size_bytes
        self._views.move_to_end(key)
        while len(self._views) > _MAX_CALLS or (self._size > _MAX_BYTES and len(self._views) > 1):
            self._size -= self._views.popitem(last=False)[1].size_bytes
        return view

    def takes_grant(self, session_id: str, operation: tuple[str, ...] | None) -> bool:
        """Whether a person was shown just this of a call that was let run; it is let run once."""
        for (session, _), view in self._views.items():
            if operation is not None and session == session_id and operation in view.granted:
                view.granted.remove(operation)
                return True
        return False

    def turn_ended(self, session_id: str) -> None:
        """The agent has answered a prompt: nothing that was let run is still to be done."""
        for (session, _), view in self._views.items():
            if session == session_id:
                view.granted.clear()

    def end(self, text: str) -> None:
        """The agent is gone, and its calls with it."""
        for view in self._views.values():
            if view.report.is_running:
                view.report.result(None, success=False, error=text, duration_ms=view.report.elapsed_ms)
        self._views.clear()


def operation_of(method: str, params: Mapping[str, Any], cwd: str | None) -> tuple[str, ...] | None:
    """What an operation through the editor does, to be compared with what was let run; None for what never is."""
    if method == "fs/write_text_file":
        path, content = params.get("path"), params.get("content")
        return ("write", path, content) if isinstance(path, str) and isinstance(content, str) else None
    if method == "terminal/create" and not params.get("env"):
        command, words, where = params.get("command"), params.get("args") or [], params.get("cwd") or cwd
        if isinstance(command, str) and isinstance(words, list) and all(isinstance(word, str) for word in words):
            return "run", str(where), shlex.join([command, *words]) if words else command
    return None


def operation_params(params: Mapping[str, Any], edited: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an operation with a person's edit of what was shown of them. Raises ``ToolDenied``."""
    kept = {name: params[name] for name in ("sessionId", "_meta") if name in params}
    changed = dict(edited)
    if "argv" in changed:
        words = changed.pop("argv")
        if not (isinstance(words, list) and words and all(isinstance(word, str) for word in words)):
            raise ToolDenied("The edit of argv is no list of words; nothing ran.", outcome="invalid")
        changed |= {"command": words[0], "args": words[1:]}
    return changed | kept


def _changes(content: Any) -> list[dict[str, str]]:
    """The files that a call changes, as the agent tells them: the text before, where there was any, and after."""
    found = []
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and part.get("type") == "diff":
            path, old, new = part.get("path"), part.get("oldText"), part.get("newText")
            if isinstance(path, str) and isinstance(new, str):
                found.append({"path": path, "old_text": old if isinstance(old, str) else "", "new_text": new})
    return found


def _is_in(change: Mapping[str, str], parameters: Mapping[str, Any]) -> bool:
    """Whether parameters say the same already; that nothing is left of a file, they say with an empty text."""
    values = list(parameters.values())
    return all(text in values for name, text in change.items() if text or name == "new_text")


def _texts(content: Any) -> str | None:
    texts = []
    for part in content if isinstance(content, list) else ():
        block = part.get("content") if isinstance(part, dict) else None
        if isinstance(block, dict) and isinstance(block.get("text"), str):
            texts.append(block["text"])
    return "\n".join(texts) or None


def _failure(result: Any) -> str:
    return result if isinstance(result, str) and result else "the agent says that it failed"


def _jsonable(parameters: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return jsonable(parameters)
    except InvalidInput:
        return {}


def _free(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name += "_"
    return name
