"""``watch``: a person at a terminal follows a session and answers its requests."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shlex
import subprocess
import sys
import tempfile
import termios
import tty
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from ..client import Client
from ..errors import NotifierError, ServiceRefused
from .terminal import one_line, pretty

__all__ = ["Watch"]

#: A key that was meant for the card before must not answer the one that took its place.
_KEYS_REST_SECONDS = 0.4
_RESULT_LINES = 20

_STATUS = {
    "executing": ("▶", "cyan", "runs"),
    "waiting_permission": ("⏸", "yellow", "waits for a person"),
    "completed": ("✔", "green", "is done"),
    "failed": ("✖", "red", "failed"),
    "denied": ("⊘", "red", "was denied"),
    "cancelled": ("⊘", "dim", "was cancelled"),
}
_RISK = {"low": "green", "medium": "yellow", "high": "bold red"}
_HELP = """\
  y  approve                 n  reject, with a reason
  s  approve this tool for the whole session
  e  edit the parameters     r  respond in the tool's place
  d  show the request again  q  quit"""


class Watch:
    """Prints what happens and asks for a key when somebody must decide.

    On a terminal single keys answer; otherwise lines do (``y``, ``n reason``, ``e {json}``, ``r text``, ``s``, ``q``).
    """

    def __init__(
        self, client: Client, session_id: str, *, stdin: TextIO | None = None, stdout: TextIO | None = None
    ) -> None:
        self._client = client
        self._session_id = session_id
        self._stdin = sys.stdin if stdin is None else stdin
        self._stdout = sys.stdout if stdout is None else stdout
        self._console = Console(file=self._stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._interactive = self._stdin.isatty() and self._stdout.isatty()
        self._pending: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._shown: str | None = None
        self._armed_at = 0.0
        self._held: list[Any] | None = None
        self._input: asyncio.Queue[str | None] = asyncio.Queue()
        self._lost = False
        self._typed = b""
        self._shows: Mapping[str, Callable[[dict[str, Any]], None]] = {
            "hello": self._on_hello,
            "snapshot": self._on_snapshot,
            "gap": self._on_gap,
            "bye": self._on_bye,
            "error": self._on_error,
            "heartbeat": self._on_nothing,
            "result_cleared": self._on_nothing,
            "tool_status": self._on_tool_status,
            "tool_progress": self._on_tool_progress,
            "tool_result": self._on_tool_result,
            "permission_request": self._on_permission_request,
            "permission_response_result": self._on_permission_response_result,
            "permission_cleared": self._on_permission_cleared,
        }

    async def run(self) -> int:
        """Follow the session until it ends or the person quits."""
        if isinstance(self._stdout, io.TextIOWrapper):
            self._stdout.reconfigure(errors="backslashreplace")  # a terminal that knows ASCII only is served too
        with self._keyboard():
            tasks = {asyncio.create_task(self._follow()), asyncio.create_task(self._answer())}
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                # Before the keyboard is given back: a task that has borrowed it gives it back first.
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            for task in done:
                task.result()
        return 0

    # What happens

    async def _follow(self) -> None:
        async for event in self._client.events(self._session_id, on_lost=self._on_lost):
            show = self._shows.get(event["type"])
            if show is not None:
                show(event.get("data") or event)
            else:
                self._on_other(event["type"], event.get("data"))
            self._show_next()
        self._print(Text("The session has ended.", "dim"))

    def _on_lost(self, reason: str) -> None:
        if not self._lost:
            self._lost = True
            self._print(Text(f"Connection lost ({one_line(reason)}); trying again.", "yellow"))

    def _on_hello(self, data: dict[str, Any]) -> None:
        back = "Back on" if self._lost else "Watching"
        self._lost = False
        self._print(Text(f"{back} session {data['session_id']}; {data['viewers']} watching. Press ? for help.", "dim"))

    def _on_snapshot(self, data: dict[str, Any]) -> None:
        for call in data["running"]:
            self._on_tool_status(call)
        self._pending = OrderedDict((record["request_id"], record) for record in data["permission_requests"])

    def _on_gap(self, data: dict[str, Any]) -> None:
        self._print(Text(f"Some events were missed ({data['reason']}); here is the present state.", "yellow"))

    def _on_nothing(self, data: dict[str, Any]) -> None:
        """Nothing that a person needs to see."""

    def _on_bye(self, data: dict[str, Any]) -> None:
        again = f", coming back in {data['retry_ms'] / 1000:.1f} s" if data["reconnect"] else ""
        self._print(Text(f"The service says goodbye ({data['code']}){again}.", "yellow"))
        self._lost = True

    def _on_error(self, data: dict[str, Any]) -> None:
        self._print(Text(f"Error: {one_line(str(data.get('message')))}", "red"))

    def _on_tool_status(self, data: dict[str, Any]) -> None:
        symbol, style, words = _STATUS[data["status"]]
        line = self._line(symbol, style)
        line.append(one_line(data["tool_name"]), "bold").append(f" {words}", style)
        details = data.get("details") or {}
        if isinstance(details.get("duration_ms"), int | float):
            line.append(f" after {details['duration_ms'] / 1000:.2f} s", "dim")
        if data["status"] == "executing" and details.get("parameters"):
            line.append(f"  {one_line(json.dumps(details['parameters'], ensure_ascii=False))}", "dim")
        why = details.get("error") or (details.get("reason") if data["status"] == "denied" else None)
        if why:
            line.append(f"  {one_line(str(why))}", "dim")
        self._print(line)

    def _on_tool_progress(self, data: dict[str, Any]) -> None:
        total = f" of {data['total']:g}" if data.get("total") else ""
        line = self._line("…", "cyan").append(f"{one_line(data['tool_name'])} {data['progress']:g}{total}")
        self._print(line.append(f"  {one_line(data.get('message') or '')}", "dim"))

    def _on_tool_result(self, data: dict[str, Any]) -> None:
        text = one_line(data["error"]) if data.get("error") else pretty(data["result"])
        lines = text.split("\n")
        shown = "\n".join(lines[:_RESULT_LINES])
        if len(lines) > _RESULT_LINES:
            shown += f"\n({len(lines) - _RESULT_LINES} more lines)"
        symbol, style = ("→", "green") if data["success"] else ("→", "red")
        self._print(self._line(symbol, style).append(one_line(data["tool_name"]), "bold").append(f" gave {shown}"))

    def _on_permission_request(self, data: dict[str, Any]) -> None:
        self._pending.setdefault(data["request_id"], data)

    def _on_permission_response_result(self, data: dict[str, Any]) -> None:
        style = "green" if data["approved"] else "red"
        line = self._line("⚖", style).append(one_line(data["tool_name"]), "bold")
        line.append(f" {data.get('decision') or data['status']} by {one_line(str(data['decided_by']))}", style)
        if data.get("reason"):
            line.append(f": {one_line(data['reason'])}")
        self._print(line)

    def _on_permission_cleared(self, data: dict[str, Any]) -> None:
        self._pending.pop(data["request_id"], None)
        if data["status"] in ("expired", "cancelled"):
            text = f"{one_line(data['tool_name'])}: the request {data['status']}"
            self._print(self._line("⏱", "yellow").append(f"{text} ({one_line(data.get('reason') or '')})"))

    def _on_other(self, event_type: str, data: Any) -> None:
        line = self._line("·", "dim").append(f"{event_type} ", "dim")
        text = data.get("text") if isinstance(data, dict) and len(data) == 1 else None
        self._print(line.append(one_line(text) if isinstance(text, str) else pretty(data)))

    # What is asked

    def _show_next(self) -> None:
        """Show the oldest request, if it is not the one shown already."""
        if self._shown is not None and self._shown not in self._pending:
            self._shown = None
        if self._shown is None and self._pending:
            record = next(iter(self._pending.values()))
            self._shown = record["request_id"]
            self._armed_at = asyncio.get_running_loop().time() + _KEYS_REST_SECONDS
            self._print(self._card(record))
            if self._interactive:
                self._console.bell()

    def _card(self, record: dict[str, Any]) -> Panel:
        risk = record["risk_level"]
        parts = [Text.assemble((one_line(record["tool_name"]), "bold"), "   risk ", (risk, _RISK[risk]))]
        if record.get("risk_reasons"):
            parts.append(Text("because " + one_line("; ".join(record["risk_reasons"])), "dim"))
        parts.append(Text(pretty(record["parameters"])))
        if record.get("description"):
            parts.append(Text(f"The agent says (unverified): {one_line(record['description'])}", "italic dim"))
        if record.get("expires_at"):
            parts.append(Text(f"Denied by itself at {_clock(record['expires_at'])}.", "dim"))
        parts.append(Text("y approve · n reject · e edit · s for the session · r respond · ? help", "bold yellow"))
        waiting = f" (1 of {len(self._pending)} waiting)" if len(self._pending) > 1 else ""
        return Panel(Group(*parts), title=f"May this run?{waiting}", border_style=_RISK[risk], title_align="left")

    async def _answer(self) -> None:
        while True:
            said = await self._input.get()
            if said is None:
                if self._interactive:
                    return
                await asyncio.Event().wait()  # no more input: only watch
                return
            word, _, rest = said.strip().partition(" ")
            if word == "q":
                return
            if word in ("?", "h"):
                self._print(Text(_HELP, "dim"))
            elif word in ("y", "n", "s", "e", "r", "d"):
                await self._command(word, rest)
            elif word:
                self._print(Text("y, n, e, s, r, d or q; ? explains.", "dim"))

    async def _command(self, word: str, rest: str) -> None:
        record = self._pending.get(self._shown or "")
        if record is None:
            self._print(Text("Nothing waits for a decision.", "dim"))
            return
        if self._interactive and asyncio.get_running_loop().time() < self._armed_at:
            self._print(Text("Another request has just taken this place: look, then press again.", "yellow"))
            return
        if word == "d":
            self._print(self._card(record))
            return
        decision = await self._decision(word, rest, record)
        if decision is None:
            return
        try:
            await self._client.decide(
                self._session_id,
                {**decision, "request_id": record["request_id"], "parameters_sha256": record["parameters_sha256"]},
            )
        except ServiceRefused as error:
            if error.code in ("request_not_found", "request_expired", "request_cancelled", "already_decided"):
                self._pending.pop(record["request_id"], None)
            self._print(Text(f"Not decided: {one_line(error.message)}", "red"))
            self._show_next()
        except NotifierError as error:
            self._print(Text(f"Not decided: {one_line(error.message)}", "red"))

    async def _decision(self, word: str, rest: str, record: dict[str, Any]) -> dict[str, Any] | None:
        if word == "y":
            return {"approved": True}
        if word == "s":
            return {"approved": True, "scope": "session"}
        if word == "n":
            reason = rest or (await self._line_of("Reason (Enter for none): ") if self._interactive else "")
            return {"approved": False} | ({"reason": reason} if reason else {})
        if word == "r":
            response = rest or (await self._line_of("Response in the tool's place: ") if self._interactive else "")
            return {"approved": False, "response": response} if response else None
        edited = await self._edited(rest, record["parameters"])
        return None if edited is None else {"approved": True, "parameters": edited}

    async def _edited(self, text: str, parameters: dict[str, Any]) -> dict[str, Any] | None:
        if not text and self._interactive:
            written = await self._in_editor(json.dumps(parameters, indent=2, ensure_ascii=True) + "\n")
            if written is None:
                return None
            text = written
        try:
            edited = json.loads(text)
        except ValueError as error:
            self._print(Text(f"Not decided: no valid JSON: {error}", "red"))
            return None
        if not isinstance(edited, dict):
            self._print(Text("Not decided: parameters are a JSON object.", "red"))
            return None
        if json.dumps(edited, sort_keys=True) == json.dumps(parameters, sort_keys=True):  # True is not 1 here
            self._print(Text("Nothing was changed, and nothing decided.", "yellow"))
            return None
        return edited

    # The terminal

    def _line(self, symbol: str, style: str) -> Text:
        return Text.assemble((datetime.now(UTC).astimezone().strftime("%H:%M:%S "), "dim"), (f"{symbol} ", style))

    def _print(self, content: Any) -> None:
        """Print now, or when the person has finished typing."""
        if self._held is not None:
            self._held.append(content)
        else:
            self._console.print(content)

    @contextmanager
    def _keyboard(self) -> Iterator[None]:
        """Hear single keys on a terminal, lines elsewhere."""
        loop = asyncio.get_running_loop()
        descriptor = self._stdin.fileno()
        before = termios.tcgetattr(descriptor) if self._interactive else None
        try:
            if before is not None:
                tty.setcbreak(descriptor)
            loop.add_reader(descriptor, self._on_readable, descriptor)
        except PermissionError:
            # A plain file as standard input cannot be waited for; it has no keys either.
            for line in self._stdin:
                self._input.put_nowait(line)
            self._input.put_nowait(None)
        try:
            yield
        finally:
            loop.remove_reader(descriptor)
            if before is not None:
                termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

    def _on_readable(self, descriptor: int) -> None:
        data = os.read(descriptor, 4096)
        if self._interactive and self._held is None:
            if not data or data == b"\x04":
                self._no_more_input(descriptor)
            else:
                self._input.put_nowait(data.decode(errors="replace")[0])  # what was typed ahead answers nothing
            return
        *lines, self._typed = (self._typed + data).split(b"\n")
        for line in lines:
            self._input.put_nowait(line.decode(errors="replace"))
        if not data:
            # The end of the input; at a prompt Ctrl-D, which ends that line only.
            rest, self._typed = self._typed, b""
            if rest or self._held is not None:
                self._input.put_nowait(rest.decode(errors="replace"))
            if self._held is None:
                self._no_more_input(descriptor)

    def _no_more_input(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        self._input.put_nowait(None)

    @contextmanager
    def _typing(self) -> Iterator[None]:
        """Give the person the terminal: whole lines, echo, and no output in between."""
        descriptor = self._stdin.fileno()
        keys = termios.tcgetattr(descriptor)
        lines = termios.tcgetattr(descriptor)
        lines[3] |= termios.ICANON | termios.ECHO
        termios.tcsetattr(descriptor, termios.TCSADRAIN, lines)
        self._held = []
        try:
            yield
        finally:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, keys)
            held, self._held = self._held, None
            for content in held or ():
                self._console.print(content)

    async def _line_of(self, prompt: str) -> str:
        with self._typing():
            self._console.print(prompt, end="")
            return (await self._input.get() or "").strip()

    async def _in_editor(self, text: str) -> str | None:
        """Let the person edit ``text``; None, and why, if that does not come about."""
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        loop, descriptor = asyncio.get_running_loop(), self._stdin.fileno()
        with tempfile.TemporaryDirectory(prefix="notifier-edit-") as folder, self._typing():
            path = Path(folder) / "parameters.json"
            path.write_text(text, encoding="utf-8")
            loop.remove_reader(descriptor)
            try:
                exit_code = await asyncio.to_thread(subprocess.call, [*shlex.split(editor), str(path)])
                if exit_code != 0:
                    self._print(Text(f"Not decided: {editor} ended with {exit_code}.", "red"))
                    return None
                return path.read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or str(error)
                self._print(Text(f"Not decided: {one_line(f'{editor}: {why}')}; set EDITOR.", "red"))
                return None
            finally:
                loop.add_reader(descriptor, self._on_readable, descriptor)


def _clock(timestamp: str) -> str:
    return datetime.fromisoformat(timestamp).astimezone().strftime("%H:%M:%S")
