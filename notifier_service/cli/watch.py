"""``watch``: a person at a terminal follows a session, or all of them, and answers what is asked."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from typing import Any, TextIO

from rich.text import Text

from ..client import Client
from ..core.errors import NotifierError, ServiceRefused
from .answers import (
    HELP,
    HELP_LOOKING,
    KEYS,
    KEYS_OFFERED,
    ONLY_LOOKS,
    REJECTING,
    SCOPES,
    WORDS,
    WORDS_HELP,
    WORDS_HELP_LOOKING,
    WORDS_OFFERED,
    meant,
    offered,
)
from .attendance import Attendance
from .bodies import Given, QuestionField, answer_to, questions_of
from .card import card
from .drawing import main_text
from .keyboard import Keyboard, Typed
from .narrator import Narrator
from .screen import Screen
from .sight import Sight
from .terminal import one_line
from .typed import json_object
from .waiting import Waiting, time_left
from .words import ended, outcome
from .written import in_editor, line_of

__all__ = ["Watch"]

#: A key that was meant for what was on the screen before must not answer what took its place.
_KEYS_REST_SECONDS = 0.4
#: How long the second press of a high risk may take.
_CONFIRM_SECONDS = 4.0
#: A person who makes the window larger or smaller is done when nothing of it was heard for so long.
_REDRAW_SECONDS = 1.0

#: A decision is about this request, with this tool and these parameters, and about no other.
_BOUND_TO = ("request_id", "parameters_sha256", "action_sha256")
_GONE = ("request_not_found", "request_expired", "request_cancelled", "already_decided")
_TWICE = "High risk: press the same key again to approve."
_LEFT = "Nothing was decided: the request had left the screen. Here it is: look, then press again."
#: Of a list of all that waits.
_MOST_LISTED = 20


class Watch:
    """Prints what happens and asks for a key when somebody must decide; without a session what waits in all of them.

    On a terminal single keys answer the request that is shown, once all of it has been on the screen and as long as
    it is; otherwise lines do, which name the request (``approve ID``, ``reject ID reason``, ``edit ID {json}``).
    """

    def __init__(
        self,
        client: Client,
        session_id: str | None = None,
        *,
        stdin: TextIO | None = None,
        stdout: TextIO | None = None,
        rest_seconds: float = _KEYS_REST_SECONDS,
    ) -> None:
        self._client = client
        self._session_id = session_id
        self._stdin = sys.stdin if stdin is None else stdin
        self._stdout = sys.stdout if stdout is None else stdout
        self._has_keys = self._stdin.isatty() and self._stdout.isatty()
        self._screen = Screen(self._stdout)
        self._narrator = Narrator(
            self._screen,
            session_id,
            is_ours=lambda request_id: request_id in self._ours,
            has_waited=lambda request_id: request_id in self._waiting,
        )
        self._attendance = Attendance(client, session_id)
        self._keyboard = Keyboard(
            self._stdin,
            has_keys=self._has_keys,
            on_disturbed=self._on_disturbed,
            on_focus=self._attendance.focus,
            write=self._screen.control,
        )
        self._sight = Sight(self._screen, rest_seconds)
        self._waiting = Waiting(session_id)
        self._told: set[str] = set()
        self._unreadable: set[str] = set()
        #: What was decided here, and what is on its way there.
        self._ours: set[str] = set()
        self._sending: dict[str, asyncio.Event] = {}
        self._is_typing = False
        self._is_reading = False
        self._is_lost = False
        self._is_counted = False
        self._redrawing: asyncio.TimerHandle | None = None
        self._answered: dict[str, Any] = {}
        self._sure: tuple[str, str, float] | None = None

    async def run(self) -> int:
        """Follow until the session ends or the person quits."""
        if isinstance(self._stdout, io.TextIOWrapper):
            self._stdout.reconfigure(errors="backslashreplace")  # a terminal that knows ASCII only is served too
        with self._keyboard.open():
            tasks = {asyncio.create_task(self._follow()), asyncio.create_task(self._answer())}
            attended = {asyncio.create_task(self._attendance.run())} if self._has_keys else set()
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                # Before the keyboard is given back: a task that has borrowed it gives it back first.
                for task in tasks | attended:
                    task.cancel()
                await asyncio.gather(*tasks, *attended, return_exceptions=True)
                if self._redrawing is not None:
                    self._redrawing.cancel()
            for task in done:
                task.result()
        return 0

    # What happens

    async def _follow(self) -> None:
        if self._session_id is None:
            events = self._client.inbox_events(on_lost=self._on_lost)
        else:
            events = self._client.events(self._session_id, on_lost=self._on_lost)
        async for event in events:
            await self._take(event["type"], event.get("data") or {}, event)
            await self._show_next()
        self._screen.print(Text("The session has ended." if self._session_id else "The service has ended.", "dim"))

    async def _take(self, event_type: str, data: dict[str, Any], event: dict[str, Any]) -> None:
        if event_type in ("permission_response_result", "permission_cleared"):
            await self._sent(data["request_id"])
        self._narrator.tell(event)
        new = self._waiting.take(event_type, data)
        if event_type == "hello":
            self._is_counted = False
            self._status("Back: what is shown still waits, unless you are told otherwise." if self._is_lost else "")
            self._is_lost = False
        elif event_type == "snapshot" and not self._is_counted:
            self._is_counted = True
            self._count()
        elif new:
            self._announce(new[-1])
        elif event_type == "permission_response_result":
            self._answered = data
        elif event_type == "permission_cleared" and self._session_id is None:
            is_told = self._answered.get("request_id") == data["request_id"]
            words = ended(self._answered) if is_told else outcome(data)
            self._status(f"{self._called(data)}: {words}. {len(self._waiting)} wait.")

    def _on_lost(self, reason: str) -> None:
        self._narrator.lost(reason)
        self._is_lost = True
        self._status("Connection lost; trying again. Until then nothing can be decided.")

    async def _sent(self, request_id: str) -> None:
        """Wait until it is known who decided it, where that is being sent from here."""
        if request_id in self._sending:
            await self._sending[request_id].wait()

    def _count(self) -> None:
        """Say how much waits in all sessions."""
        count, sessions = len(self._waiting), self._waiting.count_sessions()
        if self._session_id is not None:
            return
        where = f" in {sessions} sessions" if sessions > 1 else ""
        many = f"{count} requests wait{where}; what ends first is shown first."
        text = many if count > 1 else "1 request waits." if count else "Nothing waits for a decision."
        self._screen.print(Text(text, "dim"))

    def _announce(self, record: dict[str, Any]) -> None:
        """Say what else waits by now, without moving what is read."""
        if not self._has_keys or self._sight.request_id is None:
            return
        text = f"New: {self._called(record)}. {len(self._waiting)} wait; J goes to the next."
        if self._session_id is not None:
            self._screen.print(Text(text, "yellow"))
        elif not self._is_typing:
            self._status(text)
            self._screen.bell()

    def _status(self, text: str) -> None:
        """Say at once, below what is read, what else has happened; it is told again behind it."""
        if text and self._screen.is_held and self._sight.request_id is not None and not self._is_typing:
            self._screen.status(text)

    def _called(self, data: dict[str, Any]) -> str:
        tool_name = one_line(data["tool_name"])
        return tool_name if self._session_id is not None else f"{tool_name} in session {data['session_id']}"

    # What is asked

    async def _read_whole(self, request_id: str) -> dict[str, Any] | None:
        """A request with all that events carry only the beginning of; what cannot be had is offered to be rejected."""
        record = self._waiting.get(request_id)
        if record is not None and record.get("parameters_truncated") and request_id not in self._unreadable:
            try:
                whole = await self._client.request(record["session_id"], request_id)
            except NotifierError as error:
                self._unreadable.add(request_id)
                self._screen.print(Text(f"{request_id} cannot be read whole: {one_line(error.message)}", "red"))
            else:
                self._waiting.replace({"session_id": record["session_id"]} | whole)
        return self._waiting.get(request_id)

    async def _show_next(self) -> None:
        """Show what waits and was not shown: all of it where lines answer, else the first when no other is shown."""
        if not self._has_keys:
            for request_id in [one for one in self._waiting.ids if one not in self._told]:
                await self._show_for_lines(request_id)
            self._told.intersection_update(self._waiting.ids)
            return
        if self._is_typing or self._is_reading:
            return  # that comes to its end first
        if self._sight.request_id is not None and self._sight.request_id not in self._waiting:
            self._sight.leave()
        if self._sight.request_id is None and self._waiting:
            await self._show(self._waiting.ids[0])
            self._screen.bell()

    async def _show_for_lines(self, request_id: str) -> None:
        record = await self._read_whole(request_id)
        self._told.add(request_id)
        if record is None:
            return
        for line in card(record, where=self._waiting.where(record), encoding=self._screen.encoding):
            self._screen.print(line)
        words = " · ".join(WORDS_OFFERED[action].format(request_id) for action in offered(record))
        self._screen.print(Text(f"Answer with a line: {words}" if words else ONLY_LOOKS, "bold yellow"))

    async def _show(self, request_id: str, note: str = "") -> None:
        """Show a request from its beginning, as soon as all of it is here."""
        self._is_reading = True
        try:
            record = await self._read_whole(request_id)
        finally:
            self._is_reading = False
        if record is None:  # it went meanwhile
            await self._show_next()
            return
        if note:
            self._sight.say(note)
        self._draw(record)

    def _draw(self, record: dict[str, Any]) -> None:
        self._sure = None
        ids, request_id = self._waiting.ids, record["request_id"]
        place = f" ({ids.index(request_id) + 1} of {len(ids)} waiting)" if len(ids) > 1 else ""
        self._sight.show(record, place=place, where=self._waiting.where(record), has_others=len(ids) > 1)
        if self._session_id is None:
            self._screen.hold()  # of all sessions so much may come that nobody could read

    def _on_disturbed(self) -> None:
        """The window has another size, or the terminal was another program's: as soon as that rests, show it again."""
        self._screen.disturb()
        if self._redrawing is not None:
            self._redrawing.cancel()
        self._redrawing = asyncio.get_running_loop().call_later(_REDRAW_SECONDS, self._redraw)

    def _redraw(self) -> None:
        record = self._waiting.get(self._sight.request_id)
        if record is not None and not (self._sight.is_whole or self._is_typing or self._is_reading):
            self._draw(record)

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
            self._sight.say(WORDS_HELP if self._waiting.may_approve else WORDS_HELP_LOOKING, "dim")
        elif action not in KEYS_OFFERED and word not in ("d", "show"):
            if word:
                self._sight.say(
                    "Answer with a line: approve, reject, edit or respond, and the request's id; ? explains."
                )
        else:
            await self._on_words(action if action in KEYS_OFFERED else "show", rest.strip())
        return False

    async def _on_words(self, action: str, rest: str) -> None:
        request_id, _, text = rest.partition(" ")
        record = self._waiting.get(request_id)
        if not self._waiting:
            self._sight.say("Nothing waits for a decision.", "dim")
        elif record is None:
            waiting = ", ".join(map(one_line, self._waiting.ids[:_MOST_LISTED]))
            more = f" and {len(self._waiting) - _MOST_LISTED} more" if len(self._waiting) > _MOST_LISTED else ""
            self._sight.say(f"Nothing was decided: say which request is meant. These wait: {waiting}{more}")
        elif action == "show":
            await self._show_for_lines(request_id)
        elif not self._waiting.may_approve:
            self._sight.say(ONLY_LOOKS)
        else:
            await self._decide(meant(action, record), text, record)

    async def _on_key(self, typed: Typed) -> bool:
        """Do what a key says; True to quit."""
        self._attendance.touch()
        action = KEYS.get(typed.text.lower())
        if action == "quit":
            return True
        record = self._waiting.get(self._sight.request_id)
        if action == "help":
            self._sight.say(HELP if self._waiting.may_approve else HELP_LOOKING, "dim")
        elif action == "list":
            self._list()
        elif action is None:
            self._sight.say("No such key; ? explains.")
        elif record is None:
            if action != "more":
                self._sight.say("It is being read." if self._waiting else "Nothing waits for a decision.", "dim")
        elif action == "more":
            if self._sight.has_more and self._sight.is_whole:
                self._sight.turn()
        elif self._sight.is_early(typed.at):
            pass
        elif action in ("next", "previous"):
            await self._move(1 if action == "next" else -1)
        elif action in ("again", "exact"):
            self._sight.is_exact ^= action == "exact"
            await self._show(record["request_id"])
        elif not self._sight.is_whole:
            self._screen.hold()  # or it would leave again before anybody can press a key
            await self._show(record["request_id"], _LEFT)
        else:
            await self._on_decision_key(action, record)
        return False

    def _list(self) -> None:
        """All that waits, in the order in which it is shown."""
        lines = []
        for number, request_id in enumerate(self._waiting.ids[:_MOST_LISTED], 1):
            record = self._waiting.get(request_id) or {}
            where = f" in session {record['session_id']}" if self._session_id is None else ""
            left = time_left(record)
            time = f"{left} left" if left else "no end"
            tool = one_line(record["tool_name"])
            lines.append(f"  {number:>2}  {tool}{where}, risk {one_line(record['risk_level'])}, {time}")
        more = len(self._waiting) - len(lines)
        self._sight.say("\n".join([*lines, *([f"  and {more} more"] if more else [])] or ["Nothing waits."]), "dim")

    async def _move(self, by: int) -> None:
        ids = self._waiting.ids
        at = ids.index(self._sight.request_id or "") + by
        if 0 <= at < len(ids):
            self._sight.leave()
            await self._show(ids[at])
        else:
            self._sight.say(f"This is the {'last' if by > 0 else 'first'} request that waits.")

    async def _on_decision_key(self, action: str, record: dict[str, Any]) -> None:
        action = meant(action, record)
        if action not in offered(record):
            self._sight.say("This request does not offer that." if self._waiting.may_approve else ONLY_LOOKS)
        elif action not in (*REJECTING, "respond") and self._sight.has_more:
            self._sight.say("Nothing was decided: there is more of it. Space goes on.")
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
            self._sight.say(_TWICE)
            return False
        if await self._keyboard.is_held_down():
            self._sight.rest()
            self._sight.say("Nothing was decided: a key that is held down does not count.")
            return False
        return self._sight.request_id == record["request_id"] and self._sight.is_whole

    async def _decide(self, action: str, text: str, record: dict[str, Any]) -> None:
        self._is_typing = True
        try:
            decision = await self._decision(action, text, record)
        finally:
            self._is_typing = False
        if decision is not None:
            await self._send(decision, record)
        elif self._has_keys and record["request_id"] in self._waiting:
            await self._show(record["request_id"])
        await self._show_next()

    async def _send(self, decision: dict[str, Any], record: dict[str, Any]) -> None:
        request_id = record["request_id"]
        bound = {name: record[name] for name in _BOUND_TO if record.get(name) is not None}
        self._ours.add(request_id)
        sending = self._sending[request_id] = asyncio.Event()
        try:
            await self._client.decide(record["session_id"], decision | bound)
        except NotifierError as error:
            self._ours.discard(request_id)
            if isinstance(error, ServiceRefused) and error.code in _GONE:
                self._waiting.drop(request_id)
            self._sight.say(f"Not decided: {one_line(error.message)}", "red")
        finally:
            del self._sending[request_id]
            sending.set()

    async def _decision(self, action: str, text: str, record: dict[str, Any]) -> dict[str, Any] | None:
        if action in ("approve", *SCOPES):
            return {"approved": True} | ({"scope": action} if action in SCOPES else {})
        if action in REJECTING:
            reason = text or await self._asked("Reason (Enter for none): ")
            scope = {} if action == "reject" else {"scope": "session"}
            return {"approved": False} | scope | ({"reason": reason} if reason else {})
        if action == "answer":
            return await self._answered_question(text, record)
        if action == "respond":
            response = text or await self._asked("Reply in the tool's place: ")
            return {"approved": False, "response": response} if response else None
        edited = await self._edited(text, record)
        return None if edited is None else {"approved": True, "parameters": edited}

    async def _answered_question(self, text: str, record: dict[str, Any]) -> dict[str, Any] | None:
        """What is written to each question; on a line with a bar between them."""
        questions = questions_of(record)
        if questions is None:
            self._sight.say("Not decided: this is no question.", "red")
            return None
        fields = questions.fields
        written = [part.strip() for part in text.split("|")] if text and len(fields) > 1 else [text] * len(fields)
        given = []
        for index, field in enumerate(fields):
            said = written[index] if index < len(written) else ""
            if not said and self._has_keys:
                said = await self._asked(_question_prompt(field))
            given.append(_given(field, said))
        answer = answer_to(questions, record["parameters"], given)
        if isinstance(answer, dict):
            return answer
        missing = "; ".join(one_line(fields[index].text) for index in answer)
        self._sight.say(f"Not decided: not answered, or not with what is offered: {missing}", "yellow")
        return None

    async def _asked(self, prompt: str) -> str:
        return await line_of(prompt, self._keyboard, self._screen) if self._has_keys else ""

    async def _edited(self, text: str, record: dict[str, Any]) -> dict[str, Any] | None:
        parameters: dict[str, Any] = record["parameters"]
        try:
            edited = json_object(text) if text or not self._has_keys else await self._in_editor(record)
        except ValueError as error:
            self._sight.say(f"Not decided: {error}", "red")
            return None
        if json.dumps(edited, sort_keys=True) == json.dumps(parameters, sort_keys=True):  # True is not 1 here
            self._sight.say("Nothing was changed, and nothing decided.", "yellow")
            return None
        return edited

    async def _in_editor(self, record: dict[str, Any]) -> dict[str, Any]:
        """The parameters as the person leaves them: a command, file or message is edited as such, all else as JSON."""
        parameters = record["parameters"]
        main = None if self._sight.is_exact else main_text(record)
        if main is None:
            before = json.dumps(parameters, indent=2, ensure_ascii=True) + "\n"
            return json_object(await in_editor(before, self._keyboard, self._screen))
        name, file_name = main
        before = parameters[name]
        after = await in_editor(before, self._keyboard, self._screen, name=file_name)
        # Editors end each file with a line feed.
        return {**parameters, name: after if before.endswith("\n") else after.removesuffix("\n")}


def _question_prompt(field: QuestionField) -> str:
    """What a person is asked to write to one question."""
    ways = [f"1 to {len(field.options)}" + (", or several: 1,2" if field.is_multiple else "")] if field.options else []
    own = {"text": "your own words", "integer": "a whole number", "number": "a number", "json": "JSON"}
    ways += [own[field.words]] if field.words is not None else []
    chosen, words = field.given.chosen, field.given.words
    by_default = ",".join(str(index + 1) for index in chosen) or one_line(words)
    enter = f"; Enter: {by_default}" if by_default else "" if field.is_needed else "; Enter for none"
    return f"{one_line(field.header or field.text)} ({', or '.join(ways)}{enter}): "


def _given(field: QuestionField, text: str) -> Given:
    """The options that a text names by their numbers or one by its name, or else words."""
    if not text:
        return field.given
    numbers = [part.strip() for part in text.split(",")]
    most = len(field.options) if field.is_multiple else 1
    places = [int(one) - 1 for one in numbers if one.isdecimal() and one.isascii() and len(one) < 10]
    if field.options and len(places) == len(numbers) <= most and all(0 <= at < len(field.options) for at in places):
        return Given(sorted(set(places)))
    named = [at for at, option in enumerate(field.options) if option.label.casefold() == text.casefold()]
    if named or field.words is None:
        return Given(named[:1])
    return Given((), text)
