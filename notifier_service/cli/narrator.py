"""What happens in a session, as lines for a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from .answers import ONLY_LOOKS
from .screen import Screen
from .terminal import one_line, pretty
from .words import ended, outcome

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
    """Prints each event of a session as it comes, or of all of them where ``session_id`` is None.

    ``is_ours`` says whether a request was decided here, ``has_waited`` whether it is known to wait.
    """

    def __init__(
        self,
        screen: Screen,
        session_id: str | None,
        *,
        is_ours: Callable[[str], bool],
        has_waited: Callable[[str], bool],
    ) -> None:
        self._screen = screen
        self._session_id = session_id
        self._is_ours = is_ours
        self._has_waited = has_waited
        self._began_anew = False
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
        if session_id is None:  # to a session these are types like any other
            self._shows = {**self._shows, "session_opened": self._on_opened, "session_closed": self._on_closed}

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
        what = "all sessions" if self._session_id is None else f"session {self._session_id}"
        rights = f" {ONLY_LOOKS}" if data.get("may_approve") is False else ""
        self._screen.print(Text(f"{back} {what}; {data['viewers']} watching.{rights} Press ? for help.", "dim"))

    def _on_snapshot(self, data: dict[str, Any]) -> None:
        if self._began_anew:
            self._began_anew = False
            began = "The service" if self._session_id is None else "The service or the session"
            # With a journal the sessions go on, and the list of what waits in all of them begins anew.
            is_kept = any(self._has_waited(record["request_id"]) for record in data["permission_requests"])
            what = "what it lists still waits, and nothing else" if is_kept else "what waited before is denied"
            self._screen.print(Text(f"{began} began anew: {what}. Here is the present state.", "yellow"))
        for call in (*data.get("running", ()), *data.get("end_unknown", ())):
            self._on_tool_status(call)

    def _on_gap(self, data: dict[str, Any]) -> None:
        self._began_anew = data["reason"] == "epoch"
        if not self._began_anew:
            text = f"Some events were missed ({data['reason']}); here is the present state."
            self._screen.print(Text(text, "yellow"))

    def _on_nothing(self, data: dict[str, Any]) -> None:
        """Nothing that a person needs to see."""

    def _on_bye(self, data: dict[str, Any]) -> None:
        why = ": the token has expired, or is for other sessions now" if data["code"] == "token_expired" else ""
        again = f", coming back in {data['retry_ms'] / 1000:.1f} s" if data["reconnect"] else ""
        self._screen.print(Text(f"The service says goodbye ({data['code']}{why}){again}.", "yellow"))
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
        line = self._line("⚖", style).append(self._called(data), "bold")
        line.append(f" {ended(data, is_ours=self._is_ours(data['request_id']))}", style)
        if data.get("reason"):
            line.append(f": {one_line(data['reason'])}")
        self._screen.print(line)

    def _on_permission_cleared(self, data: dict[str, Any]) -> None:
        if data["status"] in ("expired", "cancelled"):
            why = one_line(data.get("reason") or "") or outcome(data)
            self._screen.print(self._line("⏱", "yellow").append(f"{self._called(data)}: {why}"))

    def _on_opened(self, data: dict[str, Any]) -> None:
        label = [one_line(data[name]) for name in ("title", "agent") if data.get(name)]
        self._screen.print(self._line("·", "dim").append(" · ".join([f"session {data['session_id']} is open", *label])))

    def _on_closed(self, data: dict[str, Any]) -> None:
        self._screen.print(self._line("·", "dim").append(f"session {data['session_id']} has ended"))

    def _on_other(self, event_type: str, data: Any) -> None:
        line = self._line("·", "dim").append(f"{event_type} ", "dim")
        text = data.get("text") if isinstance(data, dict) and len(data) == 1 else None
        self._screen.print(line.append(one_line(text) if isinstance(text, str) else pretty(data)))

    def _called(self, data: Mapping[str, Any]) -> str:
        """Which call it is, among those of all sessions too."""
        tool_name = one_line(data["tool_name"])
        return tool_name if self._session_id is not None else f"{data['session_id']}: {tool_name}"

    def _line(self, symbol: str, style: str) -> Text:
        return Text.assemble((datetime.now(UTC).astimezone().strftime("%H:%M:%S "), "dim"), (f"{symbol} ", style))
