"""Claude Code's HTTP hooks: its tool calls are told, and asked about, without a line of code.

Whatever cannot be asked is denied in the answer itself: to Claude Code an error status is no verdict.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import re
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from typing import Annotated, Any, NamedTuple

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...calls.denials import denial_by_error, denial_by_record
from ...calls.report import Report
from ...core.errors import BrokerClosed, Forbidden, InvalidInput, NotifierError, ToolDenied, Unauthenticated
from ...core.events import DecisionKind, PermissionRecord, ToolCallId, ToolName, dump
from ...core.limits import MAX_TIMEOUT_SECONDS
from ...core.policy.reasons import Reason
from ...core.policy.tool_names import server_of
from ...core.question import ALL_DECISIONS
from ...core.session import check_session_id
from ..answers import json_answer
from ..auth import Right
from ..departure import held
from ..idempotency import idempotency_key
from ..long_body import BODY_BYTES
from ..request import UNREAD, Call, Query, invalid, read_body
from ..slow_answer import SlowAnswer
from .agent_calls import JOINED_CALLS, AskedBy, AskedCall, Channel, JoinedCall, JoinedCalls
from .agent_questions import answered_in_words, how_asked, is_question
from .built_ins import risk_by_agent
from .elicitations import Elicitation, elicitation_answer, elicitation_asked, how_elicited
from .held_hooks import HELD_HOOKS

__all__ = [
    "CLAUDE_CODE",
    "HookBody",
    "HookQuery",
    "TimeoutSeconds",
    "answers_in",
    "asked_by_agent",
    "claude_code",
    "denial_text",
    "unasked",
]

_log = logging.getLogger("notifier_service.web")

#: The kind of agent that asks, if nothing else is said.
CLAUDE_CODE = "claude-code"

#: How long what an agent does not wait for is open: a person has slept over it.
_PARKED_SECONDS = 86_400.0

TimeoutSeconds = Annotated[float, Field(ge=0, le=MAX_TIMEOUT_SECONDS)]

#: Characters of an agent's own reason that a person is told.
_MOST_SAID = 2000

_PRODUCE = frozenset[Right]({"produce"})

#: Agents that have no form for an edit in their hook PermissionRequest.
_RUNNING_NO_EDIT_THERE = frozenset({"codex"})
_WITHOUT_EDIT: tuple[DecisionKind, ...] = ("approve", "reject", "respond")
#: Agents that lay an edit over what they asked: what it leaves out stays.
_LAYING_EDITS_OVER = frozenset({"gemini"})
#: Agents that take a note about a call only after it has run; to be sure, those too of which some versions do.
_TOLD_AFTERWARDS = frozenset({"codex", "gemini"})


class HookQuery(Query):
    """``session_id`` names the session in the place of the agent's own id; ``timeout_seconds`` as when asking.

    ``agent`` says which agent asks, where it is another than Claude Code. ``wait`` holds the answer for at most so many
    seconds; who waits so comes back with the same ``Idempotency-Key``. After ``defer`` seconds the agent hears that it
    is to end its run; the request waits on, and the same call gets the answer when it comes back.
    """

    session_id: str | None = None
    timeout_seconds: TimeoutSeconds | None = None
    defer: Annotated[float, Field(gt=0, le=3500)] | None = None
    agent: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")] = CLAUDE_CODE
    wait: Annotated[float, Field(ge=0, le=3600)] | None = None


class HookBody(BaseModel):
    """What Claude Code tells of a tool call. It tells more, and tomorrow more than that: it is passed over."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    session_id: str
    hook_event_name: str
    tool_name: ToolName | None = None
    tool_input: dict[str, Any] = {}
    tool_use_id: ToolCallId | None = None
    agent_id: Annotated[str, Field(max_length=256)] | None = None
    #: There for the tools of MCP servers, which may have any name.
    mcp_server: Any = None
    #: The folder in which it works.
    cwd: Any = None
    tool_response: Any = None
    duration_ms: float | None = None
    error: str | None = None
    #: Why the agent's own rules denied it.
    reason: str | None = None
    is_interrupt: bool | None = None
    #: What an MCP server asks.
    mcp_server_name: Any = None
    message: Any = None
    mode: Any = None
    url: Any = None
    requested_schema: Any = None

    @property
    def elicitation(self) -> Elicitation:
        """What an MCP server asks. Raises ``InvalidInput`` when it is no question."""
        try:
            told = self.model_dump(include=set(Elicitation.model_fields), exclude_none=True)
            return Elicitation.model_validate(told)
        except ValidationError as error:
            raise invalid(error, "") from None

    def asked(self, asked_by: AskedBy) -> AskedCall:
        """The call it is about. Raises ``InvalidInput`` when it names no tool or its parameters cannot be shown."""
        if self.tool_name is None:
            raise InvalidInput(f"tool_name: Field required for {self.hook_event_name[:64]}")
        return AskedCall.of(
            self.tool_name,
            self.tool_input,
            asked_by,
            folder=self.cwd,
            tool_call_id=self.tool_use_id,
            agent_id=self.agent_id,
            run_id=self.session_id,
            server=self._server,
            is_of_server=self.mcp_server is not None,
        )

    @property
    def _server(self) -> str | None:
        """The MCP server that has the tool, in the words of whichever agent tells."""
        told = self.mcp_server if isinstance(self.mcp_server, dict) else {"name": self.mcp_server}
        names = (told.get("name"), told.get("server_name"))
        named = next((name for name in names if isinstance(name, str) and 1 <= len(name) <= 256), None)
        return named or server_of(self.tool_name or "")


_HookCall = Call[HookQuery, HookBody]


class _ServiceStops(Exception):
    """Nobody was asked to the end: who waits with a key asks the service that comes next."""


async def unasked(call: Call[Any, Any], error: Exception) -> web.Response:
    """Deny a call about which nobody can be asked, whatever its hook failed at, and tell the session if that is known.

    Raises ``error`` where nothing waits for a verdict: in a report, for the command, which denies by itself, and for
    who may not ask.
    """
    told = _told(call.body) if call.body is not None else await _guessed(call)
    is_report = bool(told.events) and not any(map(_asks, told.events))
    if is_report or "wait" in call.request.query or not call.caller.may("produce"):
        raise error
    if not isinstance(error, NotifierError):
        _log.error("a hook failed", exc_info=error)
        error = NotifierError("Something failed here; the log of the service says what.")
    denial = denial_by_error(told.tool_name or "The call", error)
    _tell_denied(call, told, denial)
    return json_answer(dump(_denied(told.events[0] if len(set(told.events)) == 1 else None, str(denial))))


class _Told(NamedTuple):
    """What is known of a hook that may be no valid one; every event that it could be taken for."""

    events: list[str]
    tool_name: str | None
    session_id: str | None


def _told(body: HookBody) -> _Told:
    return _Told([body.hook_event_name], body.tool_name, body.session_id)


async def _guessed(call: Call[Any, Any]) -> _Told:
    """What the text of a hook says, which has no valid reading, or of which only a part is there."""
    request = call.request
    text = request.get(UNREAD, b"")
    if not text:
        with suppress(NotifierError):
            text = await read_body(request, call.settings.max_body_bytes)

    def texts(name: bytes) -> list[str]:
        found = re.findall(rb'"%b"\s*:\s*"([^"\\]{1,256})"' % name, text)
        return [value.decode(errors="replace") for value in found]

    tools, sessions = texts(b"tool_name"), texts(b"session_id")
    return _Told(texts(b"hook_event_name"), next(iter(tools), None), next(iter(sessions), None))


def _tell_denied(call: Call[Any, Any], told: _Told, denial: ToolDenied) -> None:
    """Tell people of a call that was denied without them; nothing where its session is not known, or not the caller's.

    A session that nobody opened has nobody to be told.
    """
    session_id = call.request.query.get("session_id", told.session_id)
    if told.tool_name is None or session_id is None or not call.caller.still_may(_PRODUCE, session_id):
        return
    session = call.broker.find(session_id)
    if session is not None:
        tell = functools.partial(call.broker.publish_to, session)
        max_bytes = call.broker.limits.max_event_bytes
        Report(tell, told.tool_name, risk_by_agent(told.tool_name, {}).level, None, max_event_bytes=max_bytes).denied(
            denial
        )


async def claude_code(call: Call[HookQuery, HookBody]) -> web.StreamResponse:
    """Tell of a tool call, or ask about it and hold the answer until it is decided; other hooks get no opinion."""
    try:
        return await _answered(call)
    except (Unauthenticated, Forbidden, ConnectionError):
        raise
    except Exception as error:
        return await unasked(call, error)


async def _answered(call: _HookCall) -> web.StreamResponse:
    body = call.body
    session_id = check_session_id(body.session_id if call.query.session_id is None else call.query.session_id)
    call.caller.require(_PRODUCE, session_id)
    handler = _EVENTS.get(body.hook_event_name)
    if handler is None:
        if _asks(body.hook_event_name):
            raise InvalidInput("hook_event_name: PreToolUse and PermissionRequest are what asks, spelled like that")
        return json_answer(b"{}")
    # The call itself must be one before anything is denied or told.
    asked = body.asked(_asked_by(call)) if body.hook_event_name in _TOOL_EVENTS else None
    if asked is not None:
        asked = asked._replace(body_bytes=call.request.get(BODY_BYTES))
    call = call._replace(session_id=session_id)
    key = idempotency_key(call.request)
    if call.query.wait is not None:
        if key is None:
            raise InvalidInput("wait needs an Idempotency-Key, with which to come back")
        if call.broker.closed:
            raise BrokerClosed("The service is shutting down.")
    whose = (call.caller.name, session_id, call.query.agent)
    scope = None if key is None else (*whose, key)
    fingerprint = hashlib.sha256(dump(body)).digest()
    # An agent that names the call means the same one, whose hook before was ended.
    of_call = None if scope is None or body.tool_use_id is None else (*whose, fingerprint.hex())
    hooks = call.request.config_dict[HELD_HOOKS]
    async with hooks.joined(scope, fingerprint, lambda: handler(call, asked), of_call=of_call) as answering:
        try:
            return await _held(call, answering)
        except _ServiceStops:
            raise BrokerClosed("The service is shutting down.") from None


async def _held(call: _HookCall, answering: asyncio.Task[dict[str, Any]]) -> web.StreamResponse:
    """The answer when it is there. Raises ``ConnectionResetError`` when the agent has left."""
    slow = SlowAnswer(call.request)
    while True:
        seconds = slow.due_seconds if call.query.wait is None else call.query.wait
        try:
            await held(call.request, asyncio.wait({answering}), seconds)
        except NotifierError as error:
            return await slow.end(dump(_refusal(call.body, error)))
        if answering.done():
            return await slow.end(dump(answering.result()))
        if call.query.wait is not None:
            return json_answer(dump({"success": True, "data": {"status": "pending"}}), 202)
        await slow.beat()


def _refusal(body: HookBody, error: NotifierError) -> dict[str, Any]:
    """A denial in the words of the hook; nothing where nothing was asked."""
    if body.hook_event_name not in _ASKING:
        return {}
    return _denied(body.hook_event_name, str(denial_by_error(body.tool_name or "The call", error)))


def _denied(event: str | None, text: str) -> dict[str, Any]:
    """The denial that the event takes; where it is not known, all that deny."""
    if event == "PermissionRequest":
        return _permission({"behavior": "deny", "message": text})
    denied = _before(denied=text)
    if event != "PreToolUse":
        denied |= {"continue": False, "stopReason": text, "decision": "block", "reason": text}
    return denied


async def _pre_tool_use(call: _HookCall, asked: AskedCall | None) -> dict[str, Any]:
    """Before every call: what the policy lets run gets no opinion, for everything else the answer is a person's."""
    assert asked is not None
    try:
        session = call.broker.open(call.session_id, opened_by=call.caller.name)
        joined = _calls(call).join(call.broker, session, "pre_tool_use", asked)
        session.introduce(asked.question)
        verdict = session.judge(asked.question)
        joined.notes_edits = not is_question(asked)
        how = {} if joined.notes_edits else how_asked(asked)
        is_new = joined.request is None
        if joined.is_retry:
            joined.tell_running(asked.parameters)
        if is_new and not how and verdict.effect == "allow" and verdict.rule_id is None:
            # It is not ours to allow what the agent's own rules may want a person for.
            joined.tell_running(asked.parameters)
            return {}
        if is_new:
            request = joined.ask(**_lasting(call), **_coming_back(call, asked), **how)
            request.keeps_names = call.query.agent in _LAYING_EDITS_OVER
        record = await _decided(call, joined, defer=call.query.defer)
    except NotifierError as error:
        return _refusal(call.body, error)
    if record.status == "pending":
        return _deferred(record)
    if (answers := answers_in(record, asked)) is not None:
        return _before(approved=record, runs_with=answers)
    if not record.approved:
        return _before(denied=denial_text(record))
    if call.query.agent in _TOLD_AFTERWARDS:
        return _before(approved=record)
    note, joined.edit_note = joined.edit_note, None
    return _before(approved=record, note=note)


async def _permission_request(call: _HookCall, asked: AskedCall | None) -> dict[str, Any]:
    """Where the agent itself would ask: a person answers, whatever the risk."""
    assert asked is not None
    try:
        decisions = _WITHOUT_EDIT if call.query.agent in _RUNNING_NO_EDIT_THERE else ALL_DECISIONS
        joined = asked_by_agent(
            call, "permission_request", asked, call.query.timeout_seconds, decisions, **_coming_back(call, asked)
        )
        record = await _decided(call, joined)
    except NotifierError as error:
        return _refusal(call.body, error)
    if (answers := answers_in(record, asked)) is not None:
        return _permission({"behavior": "allow", "updatedInput": answers})
    if not record.approved:
        return _permission({"behavior": "deny", "message": denial_text(record)})
    if joined.has_twin:
        # Of two calls just alike this hook cannot say which one it asks about, and may have been joined with the other.
        if "prompt_tool" in joined.channels:
            return {}  # it can say, and it answers
        joined.spend()
    return _permission({"behavior": "allow", "updatedInput": record.parameters})


async def _permission_denied(call: _HookCall, asked: AskedCall | None) -> dict[str, Any]:
    """The agent's own judgement denied a call: it does not run, unless a person has exactly this call tried again."""
    assert asked is not None
    session = call.broker.open(call.session_id, opened_by=call.caller.name)
    calls = _calls(call)
    known = calls.finish(session, asked)
    if known is not None and known.request is not None:
        return {}  # it was asked about here, and decided
    reason = call.body.reason or "it does not say why"
    if known is not None and not known.is_over:
        known.is_over = True
        known.report.ended("denied", reason=f"{asked.tool_name} did not run: denied by the agent: {reason}")
    joined = JoinedCall(call.broker, session, asked)
    how = {"by_policy": False, "scopes": ("once",), "allowed_decisions": ("approve", "reject")}
    reasons = (Reason("agent_denied", why=reason[:_MOST_SAID]), *asked.risk_reasons)
    record = await _person_says(call, joined, asked, risk_reasons=reasons, **how)
    if record is None or not record.approved:
        return {}
    calls.let_retry(session, joined)
    return {"hookSpecificOutput": {"hookEventName": "PermissionDenied", "retry": True}}


async def _elicitation(call: _HookCall, asked: AskedCall | None) -> dict[str, Any]:
    """An MCP server asks the person at the agent something: one here answers, or the agent asks in its own way."""
    elicited = elicitation_asked(call.body.elicitation, _asked_by(call), call.body.session_id)
    elicited = elicited._replace(body_bytes=call.request.get(BODY_BYTES))
    session = call.broker.open(call.session_id, opened_by=call.caller.name)
    joined = JoinedCall(call.broker, session, elicited)
    joined.notes_edits = False
    record = await _person_says(call, joined, elicited, **how_elicited(elicited))
    return {} if record is None else elicitation_answer(record)


async def _person_says(call: _HookCall, joined: JoinedCall, asked: AskedCall, **how: Any) -> PermissionRecord | None:
    """What a person says to something beside the agent's calls; None where nobody can be asked."""
    try:
        joined.ask(timeout_seconds=call.query.timeout_seconds, **how, **_coming_back(call, asked))
        return await _decided(call, joined)
    except NotifierError as error:
        _log.info("nobody can be asked about a hook %s: %s", call.body.hook_event_name, error)
        return None


async def _post_tool_use(call: _HookCall, asked: AskedCall | None) -> dict[str, Any]:
    return _ended(call, asked, success=True)


async def _post_tool_use_failure(call: _HookCall, asked: AskedCall | None) -> dict[str, Any]:
    return _ended(call, asked, success=False)


async def _stop(call: _HookCall, asked: AskedCall | None) -> dict[str, Any]:
    """The agent's turn is over: what it announced and told no end of (its own rules denied it) does not run."""
    session = call.broker.open(call.session_id, opened_by=call.caller.name)
    for open_call in _calls(call).open_calls(session, _asked_by(call), call.body.session_id, call.body.agent_id):
        if open_call.request is not None and open_call.request.pending:
            open_call.request.cancel("the agent went on without it")
        open_call.is_over = True
        reason = f"{open_call.asked.tool_name} gave no result: the agent's turn ended without one."
        open_call.report.ended("cancelled", reason=reason)
    return {}


_EVENTS: Mapping[str, Callable[[_HookCall, AskedCall | None], Coroutine[Any, Any, dict[str, Any]]]] = {
    "PreToolUse": _pre_tool_use,
    "PermissionRequest": _permission_request,
    "PostToolUse": _post_tool_use,
    "PostToolUseFailure": _post_tool_use_failure,
    "PermissionDenied": _permission_denied,
    "Elicitation": _elicitation,
    "Stop": _stop,
    "SubagentStop": _stop,
}
_TOOL_EVENTS = _EVENTS.keys() - {"Elicitation", "Stop", "SubagentStop"}
#: Those whose answer is a verdict.
_ASKING = frozenset({"PreToolUse", "PermissionRequest"})
_LIKE_ASKING = frozenset({"pretooluse", "permissionrequest", "beforetool"})


def _asks(event: str) -> bool:
    """Whether an agent that says so waits for a verdict, however it spells it."""
    return re.sub(r"[\W_]", "", event).casefold() in _LIKE_ASKING


def asked_by_agent(
    call: Call[Any, Any],
    channel: Channel,
    asked: AskedCall,
    timeout_seconds: float | None,
    allowed_decisions: Collection[DecisionKind] = ALL_DECISIONS,
    **how: Any,
) -> JoinedCall:
    """Ask about a call for which the agent's own rules want a person; joined with what another channel asked.

    A low risk does not answer it: the agent knows why it asks. What a person allowed for the session does.
    Raises what ``Session.ask`` does.
    """
    session = call.broker.open(call.session_id, opened_by=call.caller.name)
    joined = _calls(call).join(call.broker, session, channel, asked)
    if joined.request is None:
        wanted = {"by_policy": False, "risk_reasons": (Reason("agent_rules"), *asked.risk_reasons)}
        if is_question(asked):
            joined.notes_edits, wanted = False, how_asked(asked)
        joined.ask(timeout_seconds=timeout_seconds, allowed_decisions=allowed_decisions, **wanted, **how)
    return joined


def _coming_back(call: _HookCall, asked: AskedCall) -> dict[str, Any]:
    """Who waits in pieces comes back with its key, also after a restart; others may tell of the same call again."""
    key = idempotency_key(call.request)
    if call.query.wait is None or key is None:
        return {"outlives": asked.tool_call_id is not None}
    return {"outlives": True, "key": (key, hashlib.sha256(dump(call.body)).hexdigest())}


def answers_in(record: PermissionRecord, asked: AskedCall) -> dict[str, Any] | None:
    """What a question of the agent's runs with, to which a person replied in words; None for everything else."""
    if record.decision != "respond" or not is_question(asked):
        return None
    return answered_in_words(asked.parameters, record.response or "")


def denial_text(record: PermissionRecord) -> str:
    """What the agent is told of a call that did not run."""
    if record.decision == "respond":
        return f"{record.tool_name} did not run; {record.decided_by} answered in its place: {record.response}"
    return str(denial_by_record(record))


async def _decided(call: _HookCall, joined: JoinedCall, *, defer: float | None = None) -> PermissionRecord:
    """The request as it was decided, or as it waits on after ``defer`` seconds."""
    assert joined.request is not None
    with joined.waiting(), call.holding():
        with suppress(TimeoutError):
            async with asyncio.timeout(defer):
                await joined.request.decision()
        if joined.request.pending and not joined.request.is_suspended:
            joined.park()
            return joined.record
        call.caller.require(_PRODUCE, call.session_id)
        await joined.begin()
    if call.query.wait is not None and joined.record.code == "shutdown":
        raise _ServiceStops
    joined.request.collect()
    return joined.record


def _lasting(call: _HookCall) -> dict[str, Any]:
    """How long a person may take; where the agent does not wait for that, a day if nothing is said."""
    if call.query.defer is None:
        return {"timeout_seconds": call.query.timeout_seconds}
    if call.query.agent != CLAUDE_CODE:
        raise InvalidInput("defer: only Claude Code ends its run and goes on later")
    seconds = call.query.timeout_seconds
    return {"timeout_seconds": _PARKED_SECONDS if seconds is None else seconds, "may_stay_away": True}


def _deferred(record: PermissionRecord) -> dict[str, Any]:
    output = {"hookEventName": "PreToolUse", "permissionDecision": "defer"}
    return {"hookSpecificOutput": {**output, "permissionDecisionReason": f"waits for a person as {record.request_id}"}}


def _before(
    *,
    denied: str | None = None,
    approved: PermissionRecord | None = None,
    runs_with: Mapping[str, Any] | None = None,
    note: str | None = None,
) -> dict[str, Any]:
    output: dict[str, Any] = {"hookEventName": "PreToolUse"}
    if approved is not None:
        said = "answered" if runs_with is not None else "approved"
        who = f"{said} by {approved.decided_by}" + (f": {approved.reason}" if approved.reason else "")
        output |= {
            "permissionDecision": "allow",
            "permissionDecisionReason": who,
            "updatedInput": approved.parameters if runs_with is None else runs_with,
        }
        if note is not None:
            output["additionalContext"] = note
    else:
        output |= {"permissionDecision": "deny", "permissionDecisionReason": denied}
    return {"hookSpecificOutput": output}


def _permission(decision: dict[str, Any]) -> dict[str, Any]:
    return {"hookSpecificOutput": {"hookEventName": "PermissionRequest", "decision": decision}}


def _ended(call: _HookCall, asked: AskedCall | None, *, success: bool) -> dict[str, Any]:
    """Tell what a call gave; and to the agent, that a person changed it, where no hook before could."""
    assert asked is not None
    body = call.body
    session = call.broker.open(call.session_id, opened_by=call.caller.name)
    joined = _calls(call).finish(session, asked)
    if joined is None:
        joined = JoinedCall(call.broker, session, asked)
    elif joined.is_over:
        return {}  # told before
    if joined.request is not None and joined.request.pending:
        joined.request.cancel("the call has run without it")
    joined.is_over = True
    joined.report.result(
        body.tool_response,
        success=success,
        status="cancelled" if body.is_interrupt and not success else None,
        error=None if success else body.error or "it failed",
        duration_ms=None if body.duration_ms is None else max(0.0, body.duration_ms),
        whole_bytes=call.request.get(BODY_BYTES),
    )
    if joined.edit_note is None:
        return {}
    return {"hookSpecificOutput": {"hookEventName": body.hook_event_name, "additionalContext": joined.edit_note}}


def _asked_by(call: _HookCall) -> AskedBy:
    return AskedBy(call.caller.name, call.caller.token_sha256, call.query.agent)


def _calls(call: Call[Any, Any]) -> JoinedCalls:
    return call.request.config_dict[JOINED_CALLS]
