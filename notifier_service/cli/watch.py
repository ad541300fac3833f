"""``watch``: a person at a terminal follows a session and answers its requests."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections import OrderedDict
from typing import Any, TextIO

from rich.text import Text

from ..client import Client
from ..core.errors import NotifierError, ServiceRefused
from .answers import HELP, KEYS, KEYS_OFFERED, REJECTING, SCOPES, WORDS, WORDS_HELP, WORDS_OFFERED, offered
from .card import card, divided
from .keyboard import Keyboard, Typed
from .narrator import Narrator
from .screen import Screen
from .terminal import one_line
from .typed import json_object
from .written import in_editor, line_of

__all__ = ["Watch"]

#: A key that was meant for what was on the screen before must not answer what took its place.
_KEYS_REST_SECONDS = 0.4
#: How long the second press of a high risk may take.
_CONFIRM_SECONDS = 4.0
#: Where no more lines of a request have room, the keys are named in short.
_FEW_LINES = 3
_MORE_IN_SHORT = Text("Space: more", "bold yellow")

#: A decision is about this request, with this tool and these parameters, and about no other.
_BOUND_TO = ("request_id", "parameters_sha256", "action_sha256")
_TWICE = "High risk: press the same key again to approve."


class Watch:
    """Prints what happens and asks for a key when somebody must decide.

    On a terminal single keys answer the request that is shown, once all of it has been on the screen and as long as
    it is; otherwise lines do, which name the request (``approve ID``, ``reject ID reason``, ``edit ID {json}``).
    """

    def __init__(
        self,
        client: Client,
        session_id: str,
        *,
        stdin: TextIO | None = None,
        stdout: TextIO | None = None,
        rest_seconds: float = _KEYS_REST_SECONDS,
    ) -> None:
        self._client = client
        self._session_id = session_id
        self._rest_seconds = rest_seconds
        self._stdin = sys.stdin if stdin is None else stdin
        self._stdout = sys.stdout if stdout is None else stdout
        self._has_keys = self._stdin.isatty() and self._stdout.isatty()
        self._screen = Screen(self._stdout)
        self._narrator = Narrator(self._screen)
        self._keyboard = Keyboard(self._stdin, has_keys=self._has_keys, on_disturbed=self._screen.disturb)
        self._pending: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._told: set[str] = set()
        self._fetched: set[str] = set()
        self._shown: str | None = None
        #: What is left to show of it, and what was shown last.
        self._pages: list[list[Text]] = []
        self._page: list[Text] = []
        self._page_count = 0
        self._is_tiny = False
        self._early_told_at = 0.0
        self._is_exact = False
        self._is_typing = False
        self._armed_at = 0.0
        self._sure: tuple[str, str, float] | None = None

    async def run(self) -> int:
        """Follow the session until it ends or the person quits."""
        if isinstance(self._stdout, io.TextIOWrapper):
            self._stdout.reconfigure(errors="backslashreplace")  # a terminal that knows ASCII only is served too
        with self._keyboard.open():
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
        async for event in self._client.events(self._session_id, on_lost=self._narrator.lost):
            self._narrator.tell(event)
            self._take(event["type"], event.get("data") or {})
            await self._fetch_whole()
            self._show_next()
        self._screen.print(Text("The session has ended.", "dim"))

    def _take(self, event_type: str, data: dict[str, Any]) -> None:
        """Keep what waits for a decision."""
        if event_type == "snapshot":
            self._pending = OrderedDict((record["request_id"], record) for record in data["permission_requests"])
        elif event_type == "permission_request":
            known = self._pending.setdefault(data["request_id"], data)
            if data.get("replayed"):  # after a restart it may have more time
                self._pending[data["request_id"]] = {**known, "expires_at": data["expires_at"]}
        elif event_type == "permission_cleared":
            self._pending.pop(data["request_id"], None)

    # What is asked

    async def _fetch_whole(self) -> None:
        """Fetch what events carry only the beginning of; what cannot be had whole is offered to be rejected."""
        for request_id, record in list(self._pending.items()):
            if record.get("parameters_truncated") and request_id not in self._fetched:
                self._fetched.add(request_id)
                try:
                    whole = await self._client.request(self._session_id, request_id)
                except NotifierError as error:
                    self._screen.print(Text(f"{request_id} cannot be read whole: {one_line(error.message)}", "red"))
                else:
                    self._pending[request_id] = whole
        self._fetched &= self._pending.keys()

    def _show_next(self) -> None:
        """Show what waits and was not shown: all of it where lines answer, else the oldest when no other is shown."""
        if not self._has_keys:
            for request_id in [one for one in self._pending if one not in self._told]:
                self._show_for_lines(request_id)
            self._told &= self._pending.keys()
            return
        if self._is_typing:
            return  # the answer comes to its end first
        if self._shown is not None and self._shown not in self._pending:
            self._shown = None
            self._screen.release()
        if self._shown is None and self._pending:
            self._is_exact = False
            self._show(next(iter(self._pending)))
            self._screen.bell()

    def _show_for_lines(self, request_id: str) -> None:
        record = self._pending[request_id]
        self._told.add(request_id)
        for line in card(record, encoding=self._screen.encoding):
            self._screen.print(line)
        words = " · ".join(WORDS_OFFERED[action].format(request_id) for action in offered(record))
        self._screen.print(Text(f"Answer with a line: {words}", "bold yellow"))

    def _show(self, request_id: str, note: str = "") -> None:
        """Show a request from its beginning. From here on keys mean it."""
        self._shown = request_id
        self._sure = None
        if note:
            self._say(note)
        columns, rows = self._screen.size
        width = max(2, columns - 1)  # the last cell makes some terminals wrap
        waiting = list(self._pending)
        place = f" ({waiting.index(request_id) + 1} of {len(waiting)} waiting)" if len(waiting) > 1 else ""
        lines = card(
            self._pending[request_id],
            place=place,
            width=width,
            encoding=self._screen.encoding,
            is_exact=self._is_exact,
        )
        for self._is_tiny in (False, True):
            # Below a page stand the keys, or that there is more, and the line with the cursor.
            below = [self._keys(), _MORE_IN_SHORT] if self._is_tiny else [self._keys()]
            room = rows - 1 - max(len(divided(line, width)) for line in below)
            if room >= _FEW_LINES:
                break
        if room < 1:
            self._pages = [lines]
            self._screen.disturb()
            self._screen.print_now(Text("This terminal is too small to show a request: make it larger, then press D."))
            return
        self._pages = [lines[first : first + room] for first in range(0, len(lines), room)]
        self._page_count = len(self._pages)
        if len(self._pages) > 1:
            self._screen.hold()
        self._show_page()

    def _show_page(self) -> None:
        self._page = self._pages.pop(0)
        self._print_page()
        self._armed_at = asyncio.get_running_loop().time() + self._rest_seconds
        self._early_told_at = 0.0

    def _print_page(self) -> None:
        self._screen.begin()
        for line in self._page:
            self._screen.print_now(line)
        if not self._pages:
            self._screen.print_now(self._keys())
        elif self._is_tiny:
            self._screen.print_now(_MORE_IN_SHORT)
        else:
            at = self._page_count - len(self._pages)
            self._screen.print_now(Text(f"Page {at} of {self._page_count}: Space goes on.", "bold yellow"))

    def _keys(self) -> Text:
        keys = [KEYS_OFFERED[action] for action in offered(self._pending[self._shown or ""])]
        if self._is_tiny:
            return Text(" ".join([*(text[0] for text in keys), "?"]), "bold yellow")
        moves = ["J/K next/previous"] if len(self._pending) > 1 else []
        return Text(" · ".join([*keys, *moves, "X exact", "? help"]), "bold yellow")

    def _say(self, text: str, style: str = "yellow") -> None:
        """Tell the person who is asked, whatever is held back; what is asked stays on the screen."""
        was_whole = self._screen.is_whole
        self._screen.print_now(Text(text, style))
        if was_whole and not self._screen.is_whole and self._shown in self._pending:
            self._print_page()

    # What the person says

    async def _answer(self) -> None:
        while True:
            typed = await self._keyboard.next()
            if typed is None:
                if self._has_keys:
                    return
                await asyncio.Event().wait()  # no more input: only watch
                return
            done = await (self._on_key(typed) if self._has_keys else self._on_line(typed.text))
            if done:
                return

    async def _on_line(self, line: str) -> bool:
        """Do what a line says; True to quit."""
        word, _, rest = line.strip().partition(" ")
        action = WORDS.get(word.lower())
        if action == "quit":
            return True
        if word in ("?", "h", "help"):
            self._say(WORDS_HELP, "dim")
        elif action not in KEYS_OFFERED and word not in ("d", "show"):
            if word:
                self._say("Answer with a line: approve, reject, edit or respond, and the request's id; ? explains.")
        else:
            await self._on_words(action if action in KEYS_OFFERED else "show", rest.strip())
        return False

    async def _on_words(self, action: str, rest: str) -> None:
        request_id, _, text = rest.partition(" ")
        record = self._pending.get(request_id)
        if not self._pending:
            self._say("Nothing waits for a decision.", "dim")
        elif record is None:
            waiting = ", ".join(map(one_line, self._pending))
            self._say(f"Nothing was decided: say which request is meant. These wait: {waiting}")
        elif action == "show":
            self._show_for_lines(request_id)
        else:
            await self._decide(action, text, record)

    async def _on_key(self, typed: Typed) -> bool:
        """Do what a key says; True to quit."""
        action = KEYS.get(typed.text.lower())
        if action == "quit":
            return True
        record = self._pending.get(self._shown or "")
        if action == "help":
            self._say(HELP, "dim")
        elif action is None:
            self._say("No such key; ? explains.")
        elif record is None:
            if action != "more":
                self._say("Nothing waits for a decision.", "dim")
        elif action == "more":
            if self._pages and self._screen.is_whole:
                self._show_page()
        elif typed.at < self._armed_at:
            # A key that is held down comes here for as long as it is.
            self._armed_at = typed.at + self._rest_seconds
            if typed.at > self._early_told_at + 1:
                self._early_told_at = typed.at
                self._say("This has just come to the screen: look, then press again.")
        elif action in ("next", "previous"):
            self._move(1 if action == "next" else -1)
        elif action in ("again", "exact"):
            self._is_exact ^= action == "exact"
            self._show(record["request_id"])
        elif not self._screen.is_whole:
            self._screen.hold()  # or it would leave again before anybody can press a key
            self._show(
                record["request_id"],
                "Nothing was decided: the request had left the screen. Here it is: look, then press again.",
            )
        else:
            await self._on_decision_key(action, record)
        return False

    def _move(self, by: int) -> None:
        waiting = list(self._pending)
        at = waiting.index(self._shown or "") + by
        if 0 <= at < len(waiting):
            self._screen.release()
            self._is_exact = False
            self._show(waiting[at])
        else:
            self._say(f"This is the {'last' if by > 0 else 'first'} request that waits.")

    async def _on_decision_key(self, action: str, record: dict[str, Any]) -> None:
        if action not in offered(record):
            self._say("This request does not offer that.")
        elif action not in (*REJECTING, "respond") and self._pages:
            self._say("Nothing was decided: there is more of it. Space goes on.")
        elif action not in ("approve", *SCOPES) or await self._is_sure(action, record):
            await self._decide(action, "", record)

    async def _is_sure(self, action: str, record: dict[str, Any]) -> bool:
        """Whether this is the second press that a high risk takes."""
        if record["risk_level"] != "high":
            return True
        now = asyncio.get_running_loop().time()
        before, self._sure = self._sure, None
        if before is None or before[:2] != (record["request_id"], action) or now > before[2]:
            self._sure = (record["request_id"], action, now + _CONFIRM_SECONDS)
            self._say(_TWICE)
            return False
        if await self._keyboard.is_held_down():
            self._armed_at = asyncio.get_running_loop().time() + self._rest_seconds
            self._say("Nothing was decided: a key that is held down does not count.")
            return False
        return self._shown == record["request_id"] and self._screen.is_whole

    async def _decide(self, action: str, text: str, record: dict[str, Any]) -> None:
        self._is_typing = True
        try:
            decision = await self._decision(action, text, record)
        finally:
            self._is_typing = False
        if decision is not None:
            await self._send(decision, record)
        elif self._has_keys and record["request_id"] in self._pending:
            self._show(record["request_id"])
        self._show_next()

    async def _send(self, decision: dict[str, Any], record: dict[str, Any]) -> None:
        try:
            await self._client.decide(
                self._session_id,
                decision | {name: record[name] for name in _BOUND_TO if record.get(name) is not None},
            )
        except ServiceRefused as error:
            if error.code in ("request_not_found", "request_expired", "request_cancelled", "already_decided"):
                self._pending.pop(record["request_id"], None)
            self._say(f"Not decided: {one_line(error.message)}", "red")
        except NotifierError as error:
            self._say(f"Not decided: {one_line(error.message)}", "red")

    async def _decision(self, action: str, text: str, record: dict[str, Any]) -> dict[str, Any] | None:
        if action in ("approve", *SCOPES):
            return {"approved": True} | ({"scope": action} if action in SCOPES else {})
        if action in REJECTING:
            reason = text or await self._asked("Reason (Enter for none): ")
            scope = {} if action == "reject" else {"scope": "session"}
            return {"approved": False} | scope | ({"reason": reason} if reason else {})
        if action == "respond":
            response = text or await self._asked("Reply in the tool's place: ")
            return {"approved": False, "response": response} if response else None
        edited = await self._edited(text, record["parameters"])
        return None if edited is None else {"approved": True, "parameters": edited}

    async def _asked(self, prompt: str) -> str:
        return await line_of(prompt, self._keyboard, self._screen) if self._has_keys else ""

    async def _edited(self, text: str, parameters: dict[str, Any]) -> dict[str, Any] | None:
        try:
            if not text and self._has_keys:
                before = json.dumps(parameters, indent=2, ensure_ascii=True) + "\n"
                text = await in_editor(before, self._keyboard, self._screen)
            edited = json_object(text)
        except ValueError as error:
            self._say(f"Not decided: {error}", "red")
            return None
        if json.dumps(edited, sort_keys=True) == json.dumps(parameters, sort_keys=True):  # True is not 1 here
            self._say("Nothing was changed, and nothing decided.", "yellow")
            return None
        return edited
