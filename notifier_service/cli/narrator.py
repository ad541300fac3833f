"""What happens in a session, as lines for a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from .screen import Screen
from .terminal import one_line, pretty

__all__ = ["Narrator"]

_RESULT_LINES = 20
_STATUS = {
    "executing": ("▶", "cyan", "runs"),
    "waiting_permission": ("⏸", "yellow", "waits for a person"),
    "completed": ("✔", "green", "is done"),
    "failed": ("✖", "red", "failed"),
    "denied": ("⊘", "red", "was denied"),
    "cancelled": ("⊘", "dim", "was cancelled"),
}
_END_UNKNOWN = ("?", "yellow", "started, end unknown")


class Narrator:
    """Prints each event of a stream as it comes."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._lost = False
        self._shows: Mapping[str, Callable[[dict[str, Any]], None]] = {
            "hello": self._on_hello,
            "snapshot": self._on_snapshot,
            "gap": self._on_gap,
            "bye": self._on_bye,
            "error": self._on_error,
            "heartbeat": self._on_nothing,
            "permission_request": self._on_nothing,
            "result_cleared": self._on_nothing,
            "tool_status": self._on_tool_status,
            "tool_progress": self._on_tool_progress,
            "tool_result": self._on_tool_result,
            "permission_response_result": self._on_permission_response_result,
            "permission_cleared": self._on_permission_cleared,
        }

    def tell(self, event: dict[str, Any]) -> None:
        """Print what a person needs to see of an event; what is asked is not told here."""
        show = self._shows.get(event["type"])
        if show is not None:
            show(event.get("data") or event)
        else:
            self._on_other(event["type"], event.get("data"))

    def lost(self, reason: str) -> None:
        """Print, once, that the connection was lost."""
        if not self._lost:
            self._lost = True
            self._screen.print(Text(f"Connection lost ({one_line(reason)}); trying again.", "yellow"))

    def _on_hello(self, data: dict[str, Any]) -> None:
        back = "Back on" if self._lost else "Watching"
        self._lost = False
        self._screen.print(
            Text(f"{back} session {data['session_id']}; {data['viewers']} watching. Press ? for help.", "dim")
        )

    def _on_snapshot(self, data: dict[str, Any]) -> None:
        for call in (*data["running"], *data.get("end_unknown", ())):
            self._on_tool_status(call)

    def _on_gap(self, data: dict[str, Any]) -> None:
        self._screen.print(Text(f"Some events were missed ({data['reason']}); here is the present state.", "yellow"))

    def _on_nothing(self, data: dict[str, Any]) -> None:
        """Nothing that a person needs to see."""

    def _on_bye(self, data: dict[str, Any]) -> None:
        again = f", coming back in {data['retry_ms'] / 1000:.1f} s" if data["reconnect"] else ""
        self._screen.print(Text(f"The service says goodbye ({data['code']}){again}.", "yellow"))
        self._lost = True

    def _on_error(self, data: dict[str, Any]) -> None:
        self._screen.print(Text(f"Error: {one_line(str(data.get('message')))}", "red"))

    def _on_tool_status(self, data: dict[str, Any]) -> None:
        details = data.get("details") or {}
        is_end_unknown = data["status"] == "failed" and details.get("outcome") == "unknown"
        symbol, style, words = _END_UNKNOWN if is_end_unknown else _STATUS[data["status"]]
        line = self._line(symbol, style)
        line.append(one_line(data["tool_name"]), "bold").append(f" {words}", style)
        if isinstance(details.get("duration_ms"), int | float):
            line.append(f" after {details['duration_ms'] / 1000:.2f} s", "dim")
        if data["status"] == "executing" and details.get("parameters"):
            line.append(f"  {one_line(json.dumps(details['parameters'], ensure_ascii=False))}", "dim")
        why = details.get("error") or (details.get("reason") if data["status"] == "denied" or is_end_unknown else None)
        if why:
            line.append(f"  {one_line(str(why))}", "dim")
        self._screen.print(line)

    def _on_tool_progress(self, data: dict[str, Any]) -> None:
        total = f" of {data['total']:g}" if data.get("total") else ""
        line = self._line("…", "cyan").append(f"{one_line(data['tool_name'])} {data['progress']:g}{total}")
        self._screen.print(line.append(f"  {one_line(data.get('message') or '')}", "dim"))

    def _on_tool_result(self, data: dict[str, Any]) -> None:
        text = one_line(data["error"]) if data.get("error") else pretty(data["result"])
        lines = text.split("\n")
        shown = "\n".join(lines[:_RESULT_LINES])
        if len(lines) > _RESULT_LINES:
            shown += f"\n({len(lines) - _RESULT_LINES} more lines)"
        symbol, style = ("→", "green") if data["success"] else ("→", "red")
        self._screen.print(
            self._line(symbol, style).append(one_line(data["tool_name"]), "bold").append(f" gave {shown}")
        )

    def _on_permission_response_result(self, data: dict[str, Any]) -> None:
        style = "green" if data["approved"] else "red"
        line = self._line("⚖", style).append(one_line(data["tool_name"]), "bold")
        line.append(f" {data.get('decision') or data['status']} by {one_line(str(data['decided_by']))}", style)
        if data.get("reason"):
            line.append(f": {one_line(data['reason'])}")
        self._screen.print(line)

    def _on_permission_cleared(self, data: dict[str, Any]) -> None:
        if data["status"] in ("expired", "cancelled"):
            text = f"{one_line(data['tool_name'])}: the request {data['status']}"
            self._screen.print(self._line("⏱", "yellow").append(f"{text} ({one_line(data.get('reason') or '')})"))

    def _on_other(self, event_type: str, data: Any) -> None:
        line = self._line("·", "dim").append(f"{event_type} ", "dim")
        text = data.get("text") if isinstance(data, dict) and len(data) == 1 else None
        self._screen.print(line.append(one_line(text) if isinstance(text, str) else pretty(data)))

    def _line(self, symbol: str, style: str) -> Text:
        return Text.assemble((datetime.now(UTC).astimezone().strftime("%H:%M:%S "), "dim"), (f"{symbol} ", style))
