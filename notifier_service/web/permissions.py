"""Asking and deciding over HTTP (contract sections 4 and 5)."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Literal, Protocol

from aiohttp import web
from pydantic import Field, JsonValue

from ..calls.denials import denial_by_error
from ..calls.report import Report
from ..core.errors import InvalidInput, NotDurable, NotifierError, NotRecorded, RequestNotFound, TooLarge
from ..core.events import (
    DecisionKind,
    EventData,
    Many,
    PermissionRecord,
    ServerName,
    Sha256,
    ToolCallId,
    ToolName,
    dump,
)
from ..core.input_schema import InputSchema
from ..core.limits import MAX_TIMEOUT_SECONDS, RiskLevel
from ..core.permission_request import PermissionRequest
from ..core.policy.reasons import Reason
from ..core.question import ALL_DECISIONS, Decider, Decision, Question
from ..settings import Settings
from .agents.agent_calls import JOINED_CALLS
from .answers import body_of, error_body, told
from .auth import Caller
from .departure import held
from .idempotency import IDEMPOTENCY, idempotency_key
from .long_body import BODY_BYTES, too_large
from .models import rights_of
from .peer import written_out
from .request import Call, Query
from .slow_answer import SlowAnswer
from .trace import traceparent_of

__all__ = [
    "AskBody",
    "ClaimBody",
    "ReadQuery",
    "WaitQuery",
    "ask",
    "cancel",
    "claim",
    "decide",
    "decider_of",
    "list_pending",
    "read",
    "through",
]


class AskBody(EventData):
    """What an agent asks: may this call run?"""

    tool_name: ToolName
    parameters: dict[str, Any]
    risk_level: RiskLevel = "high"
    tool_call_id: ToolCallId | None = None
    timeout_seconds: Annotated[float, Field(ge=0, le=MAX_TIMEOUT_SECONDS)] | None = None
    description: Annotated[str, Field(max_length=10_000)] | None = None
    risk_reasons: Annotated[Many[Annotated[str, Field(max_length=1000)]], Field(max_length=20)] = ()
    allowed_decisions: Many[DecisionKind] = ALL_DECISIONS
    server: ServerName | None = None
    definition_sha256: Sha256 | None = None
    input_schema: dict[str, JsonValue] | None = None
    #: The agent's own id of the call, under which its hooks may have told of it.
    agent_call_id: ToolCallId | None = None


class ClaimBody(EventData):
    """``run_id`` names the run for which an approved request is taken.

    Who ``reports`` tells the session how the run ends; of a run of which nobody will, the end is never missed.
    """

    run_id: Annotated[str, Field(min_length=1, max_length=128)]
    reports: bool = True


class WaitQuery(Query):
    """``wait`` holds the answer until the request is settled, for at most so many seconds."""

    wait: float = Field(default=0, ge=0, le=3600)


class ReadQuery(WaitQuery):
    """``redacted`` takes out what the audit log would not have, and says so, and whether the caller may approve."""

    redacted: Literal["1", "true"] | None = None


class Tell(Protocol):
    """Makes an answer of data whose JSON is encoded already."""

    def __call__(self, data_json: bytes, *, status: int = 200) -> web.StreamResponse: ...


async def decide(call: Call[Query, Decision], tell: Tell = told) -> web.StreamResponse:
    """Answer a permission request: approve, edit, reject or respond."""
    if (size := call.request.get(BODY_BYTES)) is not None:
        raise too_large(size, call.broker.limits)
    decider = decider_of(call.caller, call.request.path, call.request)
    record = await call.broker.answer(call.session_id, call.body, **decider)
    # The tool that waits goes first: it is woken in the next turn of the loop, at whose end its answer leaves.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tell(record.encoded)


class Said(Protocol):
    """A request, as far as it says what it came through."""

    @property
    def headers(self) -> Mapping[str, str]: ...


def decider_of(caller: Caller, path: str, request: Said) -> Decider:
    """Who decides by a request to this path, for the log and the record."""
    return caller.decider(via="polling" if "/polling/" in path else "sse", through=through(request))


def through(request: Said) -> str:
    """What a decision came through, as far as who sends it says: only browsers tell where a request comes from."""
    if "Sec-Fetch-Site" in request.headers or "Origin" in request.headers:
        return "page"
    return "terminal" if "(terminal)" in request.headers.get("User-Agent", "") else "api"


async def ask(call: Call[WaitQuery, AskBody], tell: Tell = told) -> web.StreamResponse:
    """Ask for permission, and hold the answer until it is decided if that is wanted."""
    if not call.query.wait:
        return await _ask_and_wait(call, tell)
    with call.holding():
        return await written_out(call.request, await _ask_and_wait(call, tell), call.settings.stalled_seconds)


async def _ask_and_wait(call: Call[WaitQuery, AskBody], tell: Tell) -> web.StreamResponse:
    key = idempotency_key(call.request)
    request = _asked(call, key)
    try:
        await request.recorded()
        if call.broker.is_durable:
            with suppress(NotDurable):  # that it was announced is told anew if it has to be: the question is kept
                await call.broker.all_kept()
        if not request.pending:
            request.collect()
            return tell(request.record.encoded)
        if call.query.wait:
            await held(call.request, request.decision(), call.query.wait)
    except (asyncio.CancelledError, ConnectionError):
        if key is None:
            request.cancel("the connection of the asker dropped")
        raise
    except NotRecorded:
        _forget(call, key)
        raise
    except NotifierError:
        request.cancel("the asker's token is no longer good for it")
        raise
    request.collect()
    return tell(request.record.encoded, status=201 if request.pending else 200)


async def list_pending(call: Call[Query, None]) -> web.Response:
    """All pending requests, oldest first; a mere producer sees those it asked itself."""
    pending = call.broker.look(call.session_id).pending
    return told(b"[%b]" % b",".join([request.shown.encoded for request in pending if _is_for(call, request)]))


async def read(call: Call[ReadQuery, None]) -> web.StreamResponse:
    """One request, whole, held until it is decided if that is wanted.

    Who may approve and asks for it as it is now has read it: that one waits for it does not say that he looks.
    """
    if not call.query.wait:
        return await _read(call)
    with call.holding():
        return await written_out(call.request, await _read(call), call.settings.stalled_seconds)


async def _read(call: Call[ReadQuery, None]) -> web.StreamResponse:
    request = _found(call)
    slow = SlowAnswer(call.request)
    loop = asyncio.get_running_loop()
    until = loop.time() + call.query.wait
    try:
        while request.pending and not request.is_suspended and (left := until - loop.time()) > 0:
            await held(call.request, request.decision(), min(slow.due_seconds, left))
            if request.pending and not request.is_suspended and not slow.due_seconds:
                await slow.beat()
    except NotifierError as error:
        if not slow.has_begun:
            raise
        return await slow.end(dump(error_body(error)))
    record = request.record.encoded
    is_whole = True
    if call.query.redacted is not None:
        # It takes long to take secrets out of a long text.
        record, is_whole = await asyncio.to_thread(_redacted, request.record, call.settings, call.caller)
    if not call.query.wait and is_whole and call.caller.may("approve"):
        request.note_reader(call.caller.name)
    if request.asked_by == call.caller.name:
        request.collect()
    return await slow.end(body_of(record))


def _redacted(record: PermissionRecord, settings: Settings, caller: Caller) -> tuple[bytes, bool]:
    """A request as everybody may see it who passes by, and whether that is all of it."""
    from ..storage.audit_lines import written_form  # both take long to load
    from ..storage.redaction import Redaction

    told = json.loads(record.encoded)
    shown = written_form(told, Redaction(settings.redact_keys))
    is_whole = all(shown[name] == told[name] for name in ("tool_name", "parameters"))
    return dump({**told, **shown, **rights_of(caller), "parameters_redacted": not is_whole}), is_whole


async def claim(call: Call[Query, ClaimBody]) -> web.Response:
    """Take what was approved for one run, before it begins: another run is refused from then on."""
    request = _found(call, to_cancel=True)
    desk = call.broker.look(call.session_id).desk
    return told((await desk.claim(request, call.body.run_id, reports=call.body.reports)).encoded)


async def cancel(call: Call[Query, None]) -> web.Response:
    """The agent went away: nobody needs to decide any more."""
    request = _found(call, to_cancel=True)
    return told(request.cancel("the agent withdrew it").encoded)


def _asked(call: Call[WaitQuery, AskBody], key: str | None) -> PermissionRequest:
    if key is None:
        return _ask(call)
    keys = call.shared(IDEMPOTENCY)
    scope = ("ask", call.caller.name, call.session_id, key)
    fingerprint = hashlib.sha256(dump(call.body))
    answer, first = keys.claim(scope, fingerprint.digest())
    if first:
        try:
            asked = _ask(call, (key, fingerprint.hexdigest()))
            keys.answered(scope, asked, asked.size + (asked.parameters_bytes or 0))
            return asked
        except BaseException:
            keys.forget(scope)
            raise
    request: PermissionRequest = answer.result()
    return request


def _forget(call: Call[WaitQuery, AskBody], key: str | None) -> None:
    """Who asks again with the same key asks anew."""
    if key is not None:
        call.shared(IDEMPOTENCY).forget(("ask", call.caller.name, call.session_id, key))


def _ask(call: Call[WaitQuery, AskBody], key: Sequence[str] | None = None) -> PermissionRequest:
    try:
        if (size := call.request.get(BODY_BYTES)) is not None:
            raise too_large(size, call.broker.limits)
        return _ask_person(call, key)
    except TooLarge as error:
        _tell_denied(call, error)
        raise


def _tell_denied(call: Call[WaitQuery, AskBody], error: TooLarge) -> None:
    """People see that a call did not run about which they could not be asked."""
    body = call.body
    tell = partial(call.broker.publish_nowait, call.session_id)
    max_bytes = call.broker.limits.max_event_bytes
    report = Report(tell, body.tool_name, body.risk_level, body.tool_call_id, max_event_bytes=max_bytes)
    report.denied(denial_by_error(body.tool_name, error))


def _ask_person(call: Call[WaitQuery, AskBody], key: Sequence[str] | None) -> PermissionRequest:
    body = call.body
    input_schema = InputSchema.of(body.input_schema)
    if input_schema is not None and input_schema.problem is not None:
        raise InvalidInput(f"input_schema: {input_schema.problem}")
    question = Question(
        tool_name=body.tool_name,
        parameters=body.parameters,
        risk_level=body.risk_level,
        tool_call_id=body.tool_call_id,
        traceparent=traceparent_of(call.request),
        timeout_seconds=body.timeout_seconds,
        description=body.description,
        # The asker's words, and marked as such: what the service says itself stands without this.
        risk_reasons=[Reason.by_asker(reason) for reason in body.risk_reasons],
        rated_by="producer",
        allowed_decisions=body.allowed_decisions,
        server=body.server,
        definition_sha256=body.definition_sha256,
        asked_by=call.caller.name,
        input_schema=input_schema,
        asked_with=call.caller.token_sha256,
        outlives=True,
        agent_call_id=body.agent_call_id,
        key=key,
        is_checked=True,
    )
    if body.agent_call_id is not None:
        asked_by = (call.caller.name, call.caller.token_sha256)
        question = call.request.config_dict[JOINED_CALLS].taken(question, asked_by)
    return call.broker.ask(call.session_id, question)


def _found(
    call: Call[ReadQuery, None] | Call[Query, None] | Call[Query, ClaimBody], *, to_cancel: bool = False
) -> PermissionRequest:
    request = call.broker.look(call.session_id).desk.find(call.request.match_info["request_id"])
    if not _is_for(call, request, to_cancel=to_cancel):
        raise RequestNotFound("This session has no permission request of that id.")
    return request


def _is_for(
    call: Call[ReadQuery, None] | Call[Query, None] | Call[Query, ClaimBody],
    request: PermissionRequest,
    *,
    to_cancel: bool = False,
) -> bool:
    """Viewers see every request; a producer sees, and cancels, what it asked itself."""
    caller = call.caller
    if caller.may("admin") or (caller.may("view") and not to_cancel):
        return True
    return caller.may("produce") and request.asked_by == caller.name
