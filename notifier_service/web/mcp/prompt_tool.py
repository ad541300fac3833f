"""An MCP endpoint whose tools ask a person: Claude Code's permission-prompt tool, and a question in plain words.

Streamable HTTP without sessions, in both of its eras: the handshake (to 2025-11-25) and the stateless one (2026-07-28).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, NamedTuple

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...calls.denials import denial_by_error
from ...core.errors import InvalidInput, NotifierError, TooLarge, UnsupportedMediaType
from ...core.events import PermissionRecord, ToolCallId, ToolName, dump
from ...core.policy.reasons import Reason
from ...core.policy.tool_names import server_of
from ...core.trace import checked_traceparent, in_trace
from ...mcp.conversation import HeldCalls
from ...mcp.message import (
    ERA,
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    TASKS,
    UNSUPPORTED_VERSION,
    MessageId,
    answerable,
    envelope_problem,
    error_answer,
    heartbeat,
    takes_tasks,
)
from ...mcp.sse_messages import PATIENCE_SECONDS, SIGN_OF_LIFE, sse_event
from ...version import __version__
from ..agents.agent_calls import AskedBy, AskedCall, JoinedCall
from ..agents.hooks import CLAUDE_CODE, TimeoutSeconds, answers_in, asked_by_agent, denial_text
from ..answers import json_answer
from ..departure import held
from ..long_body import BODY_BYTES, read_long_json
from ..request import Call, Query, invalid
from ..slow_answer import SlowAnswer
from ..sse import STREAM_HEADERS
from .headers import METHOD, NAME, VERSION, mismatch
from .prompt_tasks import PROMPT_TASKS, answer_about_task, question_as_task

__all__ = ["HELD_CALLS", "PromptQuery", "prompt_tool"]

_HANDSHAKE_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
_STATELESS_VERSION = "2026-07-28"
_VERSIONS = (_STATELESS_VERSION, *_HANDSHAKE_VERSIONS)

_TASK_METHODS = ("tasks/get", "tasks/update", "tasks/cancel")
#: Clients wait 60 s for the first byte of an answer.
_LONGEST_SILENCE_SECONDS = 50.0

_SERVER_INFO = {"name": "notifier_service", "title": "Ask a person", "version": __version__}
_INSTRUCTIONS = "approval_prompt asks a person whether a tool call may run; ask_human asks a person a question."


class PromptQuery(Query):
    """``timeout_seconds`` as when asking: how long a person may take; 0 is for ever."""

    timeout_seconds: TimeoutSeconds | None = None


class _ApprovalArguments(BaseModel):
    """Claude Code's; newer ones may send more, which is passed over."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    tool_name: ToolName
    input: dict[str, Any]
    tool_use_id: ToolCallId | None = None


class _Question(BaseModel):
    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    question: Annotated[str, Field(min_length=1, max_length=20_000)]
    choices: Annotated[list[Annotated[str, Field(min_length=1, max_length=1000)]], Field(max_length=100)] | None = None


#: Neither changes anything, nor leaves the system: a client need not ask a person whether it may ask a person.
_ANNOTATIONS = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": False, "openWorldHint": False}

_TOOLS: list[dict[str, Any]] = [
    {
        "name": "approval_prompt",
        "title": "Ask whether a tool call may run",
        "description": "Asks a person whether a tool call may run, and waits for the answer. The result is a JSON "
        'object: {"behavior": "allow", "updatedInput": {…}} or {"behavior": "deny", "message": "…"}. '
        "Made for Claude Code's --permission-prompt-tool.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "tool_name": {"type": "string", "description": "The tool that wants to run."},
                "input": {"type": "object", "description": "What it would run with."},
                "tool_use_id": {"type": "string", "description": "The agent's own id of the call."},
            },
            "required": ["tool_name", "input"],
        },
        "annotations": {"title": "Ask whether a tool call may run", **_ANNOTATIONS},
    },
    {
        "name": "ask_human",
        "title": "Ask a person",
        "description": "Asks a person a question and waits for the answer, which is the result. Use it when only a "
        "person can know or decide.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "question": {"type": "string", "description": "The question, with all that is needed to answer it."},
                "choices": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "Answers to choose from; the person may also write another one.",
                },
            },
            "required": ["question"],
            "additionalProperties": False,
        },
        "annotations": {"title": "Ask a person", **_ANNOTATIONS},
    },
]


#: The calls that wait here, by the session and the name of who called.
HELD_CALLS: web.AppKey[dict[tuple[str, str], HeldCalls]] = web.AppKey("held_calls", dict)


class _Refused(Exception):
    """A message that is answered with an error."""

    def __init__(self, code: int, message: str, *, status: int = 400, data: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self._code = code
        self._data = {} if data is None else {"data": data}

    def answer(self, message_id: MessageId | None) -> bytes:
        return error_answer(message_id, self._code, str(self), **self._data)


class _Message(NamedTuple):
    """One message of a client that wants an answer."""

    id: MessageId
    method: str
    params: Mapping[str, Any]
    meta: Mapping[str, Any]
    is_stateless: bool

    def result(self, result: Mapping[str, Any]) -> bytes:
        more: dict[str, Any] = {}
        if self.is_stateless:
            more = {"resultType": "complete", "_meta": {f"{ERA}serverInfo": _SERVER_INFO}}
            if self.method != "tools/call":
                more |= {"ttlMs": 0, "cacheScope": "private"}
        return dump({"jsonrpc": "2.0", "id": self.id, "result": {**result, **more}})


_PromptCall = Call[PromptQuery, None]


async def prompt_tool(call: Call[PromptQuery, None]) -> web.StreamResponse:
    """Answer one message of an MCP client: one POST, one answer."""
    message_id: MessageId | None = None
    try:
        body = await _body(call)
        message_id = answerable(body.get("id"))
        message = _checked(call, body)
        if message is None:
            return web.Response(status=202)
        with in_trace(checked_traceparent(message.meta.get("traceparent"))):
            if message.is_stateless and message.method in _TASK_METHODS:
                about = answer_about_task(call.request.config_dict[PROMPT_TASKS], _owner(call), body)
                return json_answer(about.text, 400 if about.is_error else 200)
            return await _answered(call, message)
    except _Refused as refused:
        return json_answer(refused.answer(message_id), refused.status)


async def _body(call: _PromptCall) -> dict[str, Any]:
    try:
        body, cut_bytes = await read_long_json(call.request, call.settings)
        if cut_bytes is not None:
            call.request[BODY_BYTES] = cut_bytes
    except UnsupportedMediaType as error:
        raise _Refused(INVALID_REQUEST, error.message, status=415) from None
    except TooLarge as error:
        raise _Refused(INVALID_REQUEST, error.message, status=413) from None
    except InvalidInput as error:
        raise _Refused(PARSE_ERROR, error.message) from None
    if isinstance(body, list):
        raise _Refused(INVALID_REQUEST, "A batch is not taken: send its messages one by one.")
    if not isinstance(body, dict) or body.get("jsonrpc") != "2.0":
        raise _Refused(INVALID_REQUEST, 'A message is a JSON object with "jsonrpc": "2.0".')
    problem = envelope_problem(body)
    if problem is not None:
        raise _Refused(INVALID_REQUEST, problem)
    return body


def _checked(call: _PromptCall, body: dict[str, Any]) -> _Message | None:
    """The request that wants an answer, or None for what wants none."""
    method, params = body.get("method"), body.get("params", {})
    if method is None and ("result" in body or "error" in body):
        return None  # nothing was asked of the client that it could answer, and it does no harm
    if not isinstance(method, str):
        raise _Refused(INVALID_REQUEST, "A message has a method, which is a string.")
    if "id" not in body:
        if method == "notifications/cancelled" and isinstance(params, dict):
            _cancel(call, params.get("requestId"))
        return None
    message_id = answerable(body["id"])
    if message_id is None:
        raise _Refused(INVALID_REQUEST, "An id is a string or an integer.")
    if not isinstance(params, dict):
        raise _Refused(INVALID_PARAMS, "The params of a request are an object.")
    meta = params.get("_meta", {})
    if not isinstance(meta, dict):
        raise _Refused(INVALID_PARAMS, "The _meta of a request is an object.")
    named = call.request.headers.getall(VERSION, [])
    is_stateless = f"{ERA}protocolVersion" in meta or _STATELESS_VERSION in named or method == "server/discover"
    if is_stateless:
        _check_stateless(call, method, params, meta)
    elif named and any(version not in _HANDSHAKE_VERSIONS for version in named):
        raise _unsupported(named[0])
    return _Message(message_id, method, params, meta, is_stateless)


def _check_stateless(call: _PromptCall, method: str, params: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Refuse what does not say what it is, or says in its headers that it is something else."""
    version = meta.get(f"{ERA}protocolVersion")
    if not isinstance(version, str) or f"{ERA}clientCapabilities" not in meta:
        raise _Refused(
            INVALID_PARAMS, f"_meta tells {ERA}protocolVersion and {ERA}clientCapabilities in every request."
        )
    said = [(VERSION, version), (METHOD, method)]
    if method == "tools/call":
        said.append((NAME, params.get("name", "")))
    elif method in _TASK_METHODS:
        said.append((NAME, params.get("taskId", "")))
    problem = mismatch(call.request.headers, said)
    if problem is not None:
        raise _Refused(HEADER_MISMATCH, problem)
    if version != _STATELESS_VERSION:
        raise _unsupported(version)


def _unsupported(version: str) -> _Refused:
    data = {"supported": list(_VERSIONS), "requested": version}
    return _Refused(UNSUPPORTED_VERSION, "That protocol version is not spoken here.", data=data)


async def _answered(call: _PromptCall, message: _Message) -> web.StreamResponse:
    if message.method == "tools/call":
        return await _tool_called(call, message)
    if message.method == "tools/list":
        return json_answer(message.result({"tools": _TOOLS}))
    if message.is_stateless and message.method == "server/discover":
        return json_answer(
            message.result(
                {
                    "supportedVersions": _VERSIONS,
                    "capabilities": {"tools": {}, "extensions": {TASKS: {}}},
                    "instructions": _INSTRUCTIONS,
                }
            )
        )
    if not message.is_stateless and message.method == "ping":
        return json_answer(message.result({}))
    if not message.is_stateless and message.method == "initialize":
        wanted = message.params.get("protocolVersion")
        return json_answer(
            message.result(
                {
                    "protocolVersion": wanted if wanted in _HANDSHAKE_VERSIONS else _HANDSHAKE_VERSIONS[0],
                    "capabilities": {"tools": {}},
                    "serverInfo": _SERVER_INFO,
                    "instructions": _INSTRUCTIONS,
                }
            )
        )
    status = 404 if message.is_stateless else 200
    raise _Refused(METHOD_NOT_FOUND, "There is no such method here.", status=status)


async def _tool_called(call: _PromptCall, message: _Message) -> web.StreamResponse:
    name, arguments = message.params.get("name"), message.params.get("arguments", {})
    status = 400 if message.is_stateless else 200
    if name not in ("approval_prompt", "ask_human"):
        raise _Refused(INVALID_PARAMS, "There is no tool of that name.", status=status)
    if not isinstance(arguments, dict):
        raise _Refused(INVALID_PARAMS, "The arguments of a tool are an object.", status=status)
    if name == "approval_prompt":
        return await _approval_prompt(call, message, arguments)
    return await _ask_human(call, message, arguments)


async def _approval_prompt(call: _PromptCall, message: _Message, arguments: Mapping[str, Any]) -> web.StreamResponse:
    """Ask whether a call may run. Whatever goes wrong is a denial in the form that Claude Code expects."""
    name = arguments.get("tool_name")
    try:
        try:
            given = _ApprovalArguments.model_validate(arguments)
        except ValidationError as error:
            raise invalid(error, "") from None
        asked = AskedCall.of(
            given.tool_name,
            given.input,
            _asked_by(call),
            server=server_of(given.tool_name),
            tool_call_id=given.tool_use_id,
            body_bytes=call.request.get(BODY_BYTES),
        )
        # Who names the call may tell of it again after a restart.
        outlives = given.tool_use_id is not None
        joined = asked_by_agent(call, "prompt_tool", asked, call.query.timeout_seconds, outlives=outlives)
    except NotifierError as error:
        denied = denial_by_error(name[:256] if isinstance(name, str) and name else "The call", error)
        return json_answer(message.result(_text({"behavior": "deny", "message": str(denied)})))
    return await _when_settled(call, message, joined, functools.partial(_verdict, asked), runs=True)


def _asked_by(call: _PromptCall) -> AskedBy:
    return AskedBy(call.caller.name, call.caller.token_sha256, CLAUDE_CODE)


def _verdict(asked: AskedCall, record: PermissionRecord) -> dict[str, Any]:
    if (answers := answers_in(record, asked)) is not None:
        return _text({"behavior": "allow", "updatedInput": answers})
    if not record.approved:
        return _text({"behavior": "deny", "message": denial_text(record)})
    return _text({"behavior": "allow", "updatedInput": record.parameters})


async def _ask_human(call: _PromptCall, message: _Message, arguments: Mapping[str, Any]) -> web.StreamResponse:
    """Ask a question; what a person responds is the result."""
    try:
        try:
            given = _Question.model_validate(arguments)
        except ValidationError as error:
            raise invalid(error, "") from None
        question = AskedCall.of("ask_human", given.model_dump(exclude_none=True), _asked_by(call))._replace(
            risk_level="low"
        )
        # Joined with nothing: an answer to a question must never be taken for the permission to run a tool.
        joined = JoinedCall(call.broker, call.broker.open(call.session_id, opened_by=call.caller.name), question)
        joined.ask(
            by_policy=False,
            risk_reasons=(Reason("agent_question"),),
            allowed_decisions=("approve", "reject", "respond"),
            scopes=("once",),
            timeout_seconds=call.query.timeout_seconds,
        )
    except NotifierError as error:
        return json_answer(message.result(_text(f"Nobody was asked: {error.message}", is_error=True)))
    if message.is_stateless and takes_tasks(message.meta):
        return await _soon_or_as_task(call, message, joined)
    return await _when_settled(call, message, joined, _answer)


def _owner(call: _PromptCall) -> tuple[str | None, str]:
    """Whose a task is."""
    return call.session_id, call.caller.name


async def _soon_or_as_task(call: _PromptCall, message: _Message, joined: JoinedCall) -> web.StreamResponse:
    """Answer with what a person says, or with a task when that takes longer than a while."""
    assert joined.request is not None
    tasks = call.request.config_dict[PROMPT_TASKS]
    seconds = min(tasks.after_seconds, _LONGEST_SILENCE_SECONDS)
    with joined.waiting() as place, call.holding(), _held_call(call, message, joined, place):
        if await held(call.request, joined.request.decision(), seconds) is not None:
            return json_answer(message.result(_answer(joined.record)))
        task = question_as_task(tasks, _owner(call), joined, _answer)
        if task is None:
            return json_answer(message.result(_text("Nobody was asked: too many questions are tasks.", is_error=True)))
        return json_answer(task.created(message.id))


def _answer(record: PermissionRecord) -> dict[str, Any]:
    if record.decision == "respond":
        return _text(record.response or "")
    if record.decision is None:
        return _text(f"Nobody answered: {record.reason}.", is_error=True)
    said = "Yes." if record.approved else "No."
    if record.approved and "choices" in record.parameters:
        said = "Yes, without saying which of the choices."
    return _text(f"{said} {record.reason}" if record.reason else said)


def _text(text: str | Mapping[str, Any], *, is_error: bool = False) -> dict[str, Any]:
    shown = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
    return {"content": [{"type": "text", "text": shown}], "isError": is_error}


async def _when_settled(
    call: _PromptCall,
    message: _Message,
    joined: JoinedCall,
    told: Callable[[PermissionRecord], dict[str, Any]],
    *,
    runs: bool = False,
) -> web.StreamResponse:
    """Answer when the request is settled: as JSON if that is soon, else as a stream with progress until then.

    A call that ``runs`` when it is approved is taken for that first.
    """
    assert joined.request is not None
    patience = min(PATIENCE_SECONDS, call.settings.heartbeat_seconds)
    takes_stream = "text/event-stream" in call.request.headers.get("Accept", "")
    slow = SlowAnswer(call.request)
    with joined.waiting() as place, call.holding(), _held_call(call, message, joined, place):
        try:
            while await held(call.request, joined.request.decision(), patience) is None:
                if takes_stream:
                    return await _streamed(call, message, joined, told, patience, runs=runs)
                if slow.due_seconds < patience:
                    await slow.beat()
            if runs:
                await joined.begin()
        except NotifierError as refused:
            if not slow.has_begun:
                raise
            return await slow.end(error_answer(message.id, INTERNAL_ERROR, refused.message))
    return await slow.end(message.result(told(joined.record)))


@contextmanager
def _held_call(call: _PromptCall, message: _Message, joined: JoinedCall, place: object) -> Iterator[None]:
    """As long as this lasts, its client can withdraw the call by its id."""
    books, key = call.request.config_dict[HELD_CALLS], (call.session_id, call.caller.name)
    calls = books.setdefault(key, HeldCalls())
    waiting = calls.hold(message.id, lambda: joined.leave(place, "the agent withdrew it"))
    try:
        yield
    finally:
        calls.let_go(waiting)
        if not calls.is_waiting:
            books.pop(key, None)


async def _streamed(
    call: _PromptCall,
    message: _Message,
    joined: JoinedCall,
    told: Callable[[PermissionRecord], dict[str, Any]],
    patience: float,
    *,
    runs: bool,
) -> web.StreamResponse:
    assert joined.request is not None
    response = web.StreamResponse(headers=STREAM_HEADERS)
    await response.prepare(call.request)
    token = answerable(message.meta.get("progressToken"))
    beats = 0
    while True:
        beats += 1
        beat = SIGN_OF_LIFE if token is None else sse_event(heartbeat(token, beats, "waiting for a person"))
        await response.write(beat)
        try:
            if await held(call.request, joined.request.decision(), patience) is not None:
                if runs:
                    await joined.begin()
                last = message.result(told(joined.record))
                break
        except NotifierError as refused:
            last = error_answer(message.id, INTERNAL_ERROR, refused.message)
            break
    await response.write(sse_event(last))
    await response.write_eof()
    return response


def _cancel(call: _PromptCall, request_id: object) -> None:
    calls = call.request.config_dict[HELD_CALLS].get((call.session_id, call.caller.name))
    if calls is not None:
        calls.cancelled(request_id)
