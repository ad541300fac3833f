"""The gate before a server's tools: rate a call, ask about it, and tell the session what becomes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..calls.asker import Asker, Permission
from ..calls.catalog import Catalog, ListedTool
from ..calls.edits import edit_note
from ..calls.report import Report, new_call_id
from ..calls.risk import risk_of_call
from ..calls.rounds import Round, Rounds
from ..core.errors import InvalidInput, ToolDenied
from ..core.events import EventData
from ..core.limits import RiskLevel
from ..core.parameters import jsonable
from ..core.question import Question
from ..core.trace import checked_traceparent, in_trace
from .message import ToolCall, denial_answer, heartbeat, replacement_answer, written

__all__ = ["Answer", "Gate", "Run"]

#: Most clients give up after 60 s, whatever progress they hear.
_APPROVAL_SECONDS = 55.0
#: Clients that wait as long as progress comes, with no limit of their own.
_PATIENT_CLIENTS = frozenset({"claude-code"})
#: What a service may take to say that the time is over, before the gate says it.
_GRACE_SECONDS = 2.0


class Answer(NamedTuple):
    """The call does not run; the client gets this in its place."""

    text: bytes


class Run:
    """A call that may run. ``text`` is what goes to the server; the rest tells the session what becomes of it."""

    def __init__(self, rounds: Rounds, call: ToolCall, report: Report, granted: Round) -> None:
        self.call = call
        self.text = call.text(granted.edited)
        self._rounds = rounds
        self._report = report
        self._granted = granted
        self._hears: Callable[[str], None] | None = None

    @property
    def edited(self) -> dict[str, Any] | None:
        """What runs in the place of the arguments, if a person changed them."""
        return self._granted.edited

    def renew(self, message_id: str, hears: Callable[[str], None]) -> None:
        """Have it run under another id: its client waits no longer for the answer under the one that it chose.

        Who does ``hears`` what the server says while it runs.
        """
        self._hears = hears
        self.call = self.call.renewed(message_id)
        self.text = self.call.text(self.edited)

    def begins(self) -> None:
        """It has been sent to the server."""
        edited = self._granted.edited
        self._report.executing(self.call.arguments if edited is None else edited)

    def progress(self, params: Mapping[str, Any]) -> None:
        """The server told how far it is."""
        said = params.get("message")
        self._report.progress(params.get("progress"), params.get("total"), said)
        if self._hears is not None and isinstance(said, str):
            self._hears(said)

    def ends(self, response: Mapping[str, Any]) -> None:
        """The server has answered."""
        result = response.get("result")
        told = result if isinstance(result, Mapping) else {}
        if response.get("error") is not None:
            self._report.result(None, success=False, error=_error(response), duration_ms=self._report.elapsed_ms)
        elif told.get("resultType") == "input_required":
            # The client will send the same call again: it is approved already.
            self._rounds.expect(self.call.name, self.call.arguments, told.get("requestState"), self._granted)
            self._report.ended("completed", input_required=True)
        else:
            success = told.get("isError") is not True
            self._report.result(result, success=success, duration_ms=self._report.elapsed_ms)

    def answer(self, response: Mapping[str, Any]) -> bytes | None:
        """The server's answer as the client gets it, where that is another one: a person's edit is told in it."""
        edited, result = self._granted.edited, response.get("result")
        if edited is None or not isinstance(result, dict) or not isinstance(result.get("content"), list):
            return None
        note = {"type": "text", "text": edit_note(self._granted.edited_by, edited)}
        try:
            return written({**response, "result": result | {"content": [*result["content"], note]}})
        except ValueError:  # a number that this parser has no form for passes as it came
            return None

    def cancelled(self) -> None:
        """The client has lost interest, or the server is gone."""
        self._report.cancelled()


class Gate:
    """Lets one client's calls of one server's tools through, or denies them. People know the server as ``server``.

    What is judged and shown is what ``Run.text`` says. ``client_name`` is what the client called itself when it
    connected; ``approval_seconds`` bounds how long a person may take, None for what is known of the client, which gives
    up after ``client_seconds`` where it says so, and never where it takes a task.
    ``heartbeat_seconds`` is the silence before a client that asked for progress is told some.
    """

    def __init__(
        self,
        asker: Asker,
        catalog: Catalog,
        *,
        server: str | None = None,
        approval_seconds: float | None = None,
        client_seconds: float | None = None,
        heartbeat_seconds: float = 10,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client_name: str | None = None
        self.catalog = catalog
        self._asker = asker
        self._server = server
        self._approval_seconds = approval_seconds
        self._client_seconds = client_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._clock = clock
        self._rounds = Rounds(clock=clock)

    def admit_nowait(self, call: ToolCall) -> Run | None:
        """Let a call through that runs unasked; None for one that ``admit`` must look at."""
        tool = self.catalog.look_up(call.name)
        granted = None if tool is None else self._granted(call, tool, self._question(call, tool))
        if granted is None:
            return None
        return Run(self._rounds, call, self._reporting(call, granted.risk_level), granted)

    async def admit(self, call: ToolCall, beat: Callable[[bytes], None]) -> Run | Answer:
        """Wait until it is known what becomes of a call. ``beat`` takes the progress that the client is told.

        Cancelled, it withdraws what it asked, and nothing runs.
        """
        run = self.admit_nowait(call)
        if run is not None:
            return run
        report = self._reporting(call, "high")
        heart = _Heart(call, beat, self._heartbeat_seconds)
        try:
            tool, permission = await self._permission(call, report)
            if permission.response is not None:
                report.answered(permission.response, permission.decided_by)
                return Answer(replacement_answer(call, permission.response, structured=tool.is_structured))
            by = None if permission.edited is None else permission.decided_by
            granted = Round(report.risk_level, tool.risk.definition_sha256, permission.edited, by)
            return Run(self._rounds, call, report, granted)
        except ToolDenied as denial:
            report.denied(denial)
            return Answer(denial_answer(call, str(denial)))
        except asyncio.CancelledError:
            report.cancelled()
            raise
        finally:
            heart.stop()

    async def _permission(self, call: ToolCall, report: Report) -> tuple[ListedTool, Permission]:
        seconds = self._seconds_for(call)
        began = self._clock()
        try:
            async with asyncio.timeout(None if seconds is None else seconds + _GRACE_SECONDS):
                tool = await self.catalog.find(call.name, call.era)
                question = self._question(call, tool)
                report.risk_level = question.risk_level
                granted = self._granted(call, tool, question)
                if granted is not None:
                    report.risk_level = granted.risk_level
                    return tool, Permission(granted.edited, decided_by=granted.edited_by)
                left = None if seconds is None else max(0.05, seconds - (self._clock() - began))
                try:
                    parameters = jsonable(call.arguments)
                except InvalidInput as error:
                    raise ToolDenied(f"{call.name} did not run: {error.message}", outcome="invalid") from error
                self._asker.introduce(agent=call.client_name or self.client_name)
                permission = await self._asker.ask(
                    question._replace(
                        parameters=parameters,
                        tool_call_id=report.tool_call_id,
                        timeout_seconds=None if left is None else round(left, 3),
                    )
                )
                if permission.response is None and permission.decided_by not in (None, "policy"):
                    self.catalog.definitions.accept(call.name, tool.definition)
                return tool, permission
        except TimeoutError:
            raise ToolDenied(
                f"{call.name} did not run: nobody approved it within {seconds:g} s.", outcome="expired"
            ) from None

    def _granted(self, call: ToolCall, tool: ListedTool, question: Question) -> Round | None:
        """What lets the call run unasked: that it goes on with one that was let run, or the policy."""
        level, definition_sha256 = question.risk_level, tool.risk.definition_sha256
        known = None
        if call.is_retry:
            known = self._rounds.take(call.name, call.arguments, call.params.get("requestState"), definition_sha256)
        is_allowed = self._asker.allows(question, goes_on=known is not None)
        return known or Round(level, definition_sha256) if is_allowed else None

    def _question(self, call: ToolCall, tool: ListedTool) -> Question:
        level, reasons, definition_sha256 = risk_of_call(tool.risk, call.arguments)
        return Question(
            call.name,
            call.arguments,
            level,
            reasons,
            server=self._server,
            definition_sha256=definition_sha256,
            rated_by="producer",
            announce_status=True,
            is_whole=call.has_one_reading,
            input_schema=tool.input_schema,
            agent_call_id=_agent_call_id(call.meta),
            traceparent=checked_traceparent(call.meta.get("traceparent")),
        )

    def _seconds_for(self, call: ToolCall) -> float | None:
        if self._approval_seconds is not None or call.takes_tasks:
            return self._approval_seconds
        is_patient = (call.client_name or self.client_name) in _PATIENT_CLIENTS
        if self._client_seconds is None:
            return None if is_patient else _APPROVAL_SECONDS
        # A little sooner, so that the client hears the answer: nobody is asked for who no longer waits.
        seconds = max(self._client_seconds * 0.8, self._client_seconds - 5)
        return seconds if is_patient else min(seconds, _APPROVAL_SECONDS)

    def _reporting(self, call: ToolCall, risk_level: RiskLevel) -> Report:
        asker, traceparent = self._asker, checked_traceparent(call.meta.get("traceparent"))

        def tell(event_type: str, event: EventData) -> None:
            with in_trace(traceparent):
                asker.tell(event_type, event)

        return Report(
            tell,
            call.name,
            risk_level,
            new_call_id(),
            max_event_bytes=asker.max_event_bytes,
            agent_call_id=_agent_call_id(call.meta),
        )


def _agent_call_id(meta: Mapping[str, Any]) -> str | None:
    """How the agent behind the client calls this call, where it says so: in hooks it does, too."""
    told = meta.get("claudecode/toolUseId")
    return told if isinstance(told, str) and 1 <= len(told) <= 256 else None


def _error(response: Mapping[str, Any]) -> str:
    error = response["error"]
    said = error.get("message") if isinstance(error, Mapping) else None
    return said if isinstance(said, str) else "the server answered with an error"


class _Heart:
    """Tells a client that asked for progress that its call is alive, as long as it waits."""

    def __init__(self, call: ToolCall, beat: Callable[[bytes], None], seconds: float) -> None:
        self._call = call
        self._beat = beat
        self._seconds = seconds
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        if call.progress_token is not None:
            self._arm()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._beats)

    def _beats(self) -> None:
        token = self._call.progress_token
        assert token is not None  # or it was never armed
        self._count += 1
        self._arm()
        self._beat(heartbeat(token, self._count, f"{self._call.name} waits for a person to decide"))
