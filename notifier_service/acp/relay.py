"""Between an editor on standard input and output and an agent that is started here: what the agent asks is held."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NamedTuple

from ..calls.asker import Asker, Permission
from ..calls.denials import denial_by_error, frozen
from ..calls.report import Report, new_call_id
from ..calls.risk import RatedRisk, risk_of_call
from ..core.errors import NotifierError, ToolDenied
from ..core.events import DecisionKind
from ..core.limits import RiskLevel
from ..core.question import Question
from ..mcp.line_relay import LineRelay, TooLong
from ..mcp.message import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    MessageId,
    MessageRefused,
    error_answer,
    same_id,
    unpacked,
    written,
)
from .calls import Calls, ToolView, operation_of, operation_params
from .message import CREATE_TERMINAL, PERMISSION, READ_FILE, WRITE_FILE, Message

__all__ = ["AcpRelay", "Mode"]

_log = logging.getLogger("notifier_service.acp")

Mode = Literal["gate", "both"]

#: What an agent is told of an operation that was denied: of JSON-RPC's range for a server's own errors.
_DENIED = -32001
#: The protocol's own code for a request that was taken back.
_CANCELLED = -32800
_MAX_OPEN = 10_000
_MAX_SESSIONS = 1000
#: A policy that denies, or lets run, does so at once: only then is the editor's person asked too.
_POLICY_SECONDS = 0.1

_RISKS: Mapping[str, RiskLevel] = {READ_FILE: "low", WRITE_FILE: "medium", CREATE_TERMINAL: "high"}
_ONCE: tuple[DecisionKind, ...] = ("approve", "reject")
_WITH_EDIT: tuple[DecisionKind, ...] = ("approve", "edit", "reject")


class _Held(NamedTuple):
    """What the agent waits for."""

    message_id: MessageId
    session_id: str
    task: asyncio.Task[None]


class _Running(NamedTuple):
    """An operation that the editor carries out."""

    report: Report


class AcpRelay(LineRelay):
    """One editor, one agent, which people know as ``agent``, and a person who is asked between them.

    With ``mode="gate"`` the person answers here, and the editor is never asked; with ``"both"`` here and in the editor,
    and the first answer wins. The agent's own ``allow_always`` is never chosen. Whatever ends first, the editor, the
    agent or this process, ends the others: what waits is withdrawn, and nothing is let run.
    """

    def __init__(
        self,
        asker: Asker,
        *,
        agent: str | None = None,
        mode: Mode = "gate",
        approval_seconds: float | None = None,
        max_line_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        super().__init__(max_line_bytes=max_line_bytes)
        self._asker = asker
        self._agent = agent
        self._mode = mode
        self._approval_seconds = approval_seconds
        self._calls = Calls(asker)
        self._held: list[_Held] = []
        #: What the editor was asked and has not answered: by the agent's own ids, and by ours.
        self._open: OrderedDict[tuple[type, MessageId], _Running | None] = OrderedDict()
        self._asked_too: dict[str, asyncio.Future[Any]] = {}
        self._own_ids = f"notifier-service-{secrets.token_hex(8)}-"
        self._own_count = 0
        #: What the agent was asked and has not answered, where it says something of its sessions.
        self._prompts: OrderedDict[tuple[type, MessageId], str | None] = OrderedDict()
        self._begun: OrderedDict[tuple[type, MessageId], str | None] = OrderedDict()
        self._folders: OrderedDict[str, str] = OrderedDict()

    def from_client(self, line: bytes) -> None:
        """Pass a line of the editor's on, unless it answers what it was not asked."""
        if not line or line.isspace():
            return
        for text in unpacked(line):
            try:
                message = Message(text)
            except MessageRefused as refused:
                _log.warning("a message of the editor did not pass: %s", refused)
                if not refused.is_response:
                    self._client.write(refused.answer)
            except (ValueError, RecursionError):
                self._client.write(error_answer(None, PARSE_ERROR, "The message is no valid JSON object."))
            else:
                self._from_editor(message)

    def _from_editor(self, message: Message) -> None:
        if message.is_response:
            self._answered(message)
            return
        if message.is_judged:
            if message.is_request:
                text = f"An editor does not ask its agent for {message.method}."
                self._client.write(error_answer(message.message_id, INVALID_REQUEST, text))
            return
        self._learn_from_editor(message)
        self._server.write(message.text)
        if message.method == "session/cancel":
            # The editor answers what it has open itself; what is open here is ours to answer.
            self._cancel(lambda held: held.session_id == message.session_id)

    def from_server(self, line: bytes) -> None:
        """Pass a line of the agent's on, unless it asks for something that is judged."""
        if not line or line.isspace():
            return
        for text in unpacked(line):
            try:
                message = Message(text)
                if message.is_judged:
                    self._judge(message)
                    continue
            except MessageRefused as refused:
                _log.warning("a message of the agent did not pass: %s", refused)
                if not refused.is_response:
                    self._server.write(refused.answer)
            except (ValueError, RecursionError):
                sys.stderr.buffer.write(text + b"\n")
                sys.stderr.flush()
            else:
                self._from_agent(message, len(text))

    def _from_agent(self, message: Message, size_bytes: int) -> None:
        if message.is_request:
            self._opens(message.message_id, None)
        if message.method == "session/update":
            update = message.params.get("update")
            if isinstance(update, dict) and update.get("sessionUpdate") in ("tool_call", "tool_call_update"):
                view = self._calls.update(message.session_id, update, size_bytes=size_bytes)
                if view is not None:
                    view.tell()
        elif message.method == "$/cancel_request":
            cancelled = message.params.get("requestId")
            if self._cancel(lambda held: same_id(held.message_id, cancelled)):
                return  # the editor has never heard of it
        elif message.is_response:
            self._learn_from_answer(message)
        self._client.write(message.text)

    def _judge(self, message: Message) -> None:
        """Hold what the agent asks until it is known what becomes of it. Raises ``MessageRefused``."""
        if not message.is_request:
            _log.warning("a %s without an id was dropped: it could not be answered", message.method)
            return
        message_id = message.judged()
        if any(same_id(held.message_id, message_id) for held in self._held) or _key(message_id) in self._open:
            raise MessageRefused(INVALID_REQUEST, "A request with that id is under way.", message_id)
        if message.method == PERMISSION:
            call = message.params.get("toolCall")
            view = self._calls.update(message.session_id, call, size_bytes=len(message.text))
            if view is None:
                raise MessageRefused(INVALID_PARAMS, "A permission request names its tool call.", message_id)
            decided = self._permission(message, message_id, view)
        else:
            decided = self._operation(message, message_id)
        task = asyncio.create_task(self._hold(message, message_id, decided))
        held = _Held(message_id, str(message.session_id), task)
        self._held.append(held)
        task.add_done_callback(lambda _: self._held.remove(held))

    async def _hold(self, message: Message, message_id: MessageId, decided: Awaitable[None]) -> None:
        try:
            await decided
        except asyncio.CancelledError:
            if message.method == PERMISSION:
                self._server.write(_outcome(message_id, None, None))
            else:
                self._server.write(error_answer(message_id, _CANCELLED, "The request was cancelled; nothing ran."))
        except Exception:
            _log.exception("a request of the agent could not be judged, and nothing ran")
            self._server.write(error_answer(message_id, INTERNAL_ERROR, "The gateway failed; nothing ran."))

    async def _permission(self, message: Message, message_id: MessageId, view: ToolView) -> None:
        """Answer what the agent asks of its person."""
        options = _Options(message.params.get("options"))
        session_id = str(message.session_id)
        shown, report = view.shown(), view.report
        # While a person thinks, the agent may tell of the call anew: that was not shown.
        operations = view.operations(self._folders.get(session_id))
        report.tool_name, report.risk_level = shown.tool_name, shown.risk_level
        report.waits()
        try:
            if options.allow is None:
                text = f"{shown.tool_name} did not run: the agent offers no way to allow it once."
                raise ToolDenied(text, outcome="invalid")
            question = Question(
                shown.tool_name,
                frozen(shown.tool_name, shown.parameters),
                shown.risk_level,
                tool_call_id=report.tool_call_id,
                timeout_seconds=self._approval_seconds,
                description=shown.title,
                rated_by="producer",
                allowed_decisions=_ONCE,
                announce_status=True,
                by_policy=False,
                is_whole=shown.is_whole and message.has_one_reading,
                workspace=self._folders.get(session_id),
            )
            await self._decided(question, message, options)
        except ToolDenied as denial:
            report.denied(denial)
            self._server.write(_outcome(message_id, options.reject, str(denial)))
        except asyncio.CancelledError:
            report.cancelled()
            raise
        else:
            view.granted += operations
            view.tell()
            self._server.write(_outcome(message_id, options.allow, None))

    async def _decided(self, question: Question, message: Message, options: _Options) -> None:
        """Wait until it may run. Raises ``ToolDenied``."""
        asked = asyncio.ensure_future(self._asker.ask(question))
        try:
            await asyncio.wait({asked}, timeout=None if self._mode == "gate" else _POLICY_SECONDS)
            if not asked.done():
                own_id, answered = self._ask_editor(message, options)
                try:
                    await asyncio.wait([asked, answered], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    self._asked_too.pop(own_id, None)
                    if not answered.done():
                        self._client.write(_notification("$/cancel_request", {"requestId": own_id}))
                if not asked.done():
                    options.check(answered.result(), question.tool_name)
                    return
            await asked
        finally:
            asked.cancel()

    def _ask_editor(self, message: Message, options: _Options) -> tuple[str, asyncio.Future[Any]]:
        """Have the editor ask, too, under an id of ours; the id, and what its answer will be."""
        self._own_count += 1
        own_id = f"{self._own_ids}{self._own_count}"
        self._asked_too[own_id] = answered = asyncio.get_running_loop().create_future()
        params = message.params | {"options": options.handed_out}
        self._client.write(written(message.body | {"id": own_id, "params": params}))
        return own_id, answered

    async def _operation(self, message: Message, message_id: MessageId) -> None:
        """Judge what the agent has the editor do."""
        session_id, method = str(message.session_id), str(message.method)
        tool_name = method.replace("fs/", "").replace("/", "_")
        folder = self._folders.get(session_id)
        # What reads anything is not harmless where keys lie.
        risk, reasons, _ = risk_of_call(RatedRisk(_RISKS[method], ()), {"path": message.params.get("path")})
        asker = self._asker
        report = Report(asker.tell, tool_name, risk, new_call_id(), max_event_bytes=asker.max_event_bytes)
        text = message.text
        try:
            parameters = _shown_operation(tool_name, method, message.params)
            if self._calls.takes_grant(session_id, operation_of(method, message.params, folder)):
                permission = Permission()
            else:
                question = Question(
                    tool_name,
                    parameters,
                    risk,
                    risk_reasons=reasons,
                    tool_call_id=report.tool_call_id,
                    timeout_seconds=self._approval_seconds,
                    rated_by="producer",
                    allowed_decisions=_WITH_EDIT,
                    announce_status=True,
                    is_whole=message.has_one_reading,
                    workspace=folder,
                )
                permission = Permission() if asker.allows(question) else await asker.ask(question)
            if permission.edited is not None:
                parameters = dict(permission.edited)
                text = message.with_params(operation_params(message.params, parameters))
            report.executing(parameters)
        except NotifierError as error:
            denial = error if isinstance(error, ToolDenied) else denial_by_error(tool_name, error)
            report.denied(denial)
            self._server.write(error_answer(message_id, _DENIED, str(denial)))
            return
        except asyncio.CancelledError:
            report.cancelled()
            raise
        self._opens(message_id, _Running(report))
        self._client.write(text)

    def _opens(self, message_id: MessageId | None, running: _Running | None) -> None:
        """The editor is asked something, and may answer it once."""
        if message_id is not None:
            self._open[_key(message_id)] = running
            if len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)

    def _answered(self, message: Message) -> None:
        """The editor has answered: us, the agent, or what nobody asked."""
        message_id = message.message_id
        if isinstance(message_id, str) and message_id.startswith(self._own_ids):
            future = self._asked_too.pop(message_id, None)
            if future is not None and not future.done():
                future.set_result(message.result.get("outcome"))
            return  # a late one is dropped: it is decided
        if message_id is None or _key(message_id) not in self._open:
            _log.warning("an answer of the editor was dropped: nobody waits for it")
            return
        running = self._open.pop(_key(message_id))
        self._server.write(message.text)
        if running is not None:
            error = message.body.get("error")
            failed = None if error is None else str(error.get("message") if isinstance(error, dict) else error)
            running.report.result(
                message.body.get("result"),
                success=failed is None,
                error=failed,
                duration_ms=running.report.elapsed_ms,
            )

    def _learn_from_editor(self, message: Message) -> None:
        """Which session works in which folder, and when it has ended its turn."""
        cwd, session_id, message_id = message.params.get("cwd"), message.session_id, message.message_id
        if message_id is None:
            return
        if message.method == "session/prompt":
            _remember(self._prompts, _key(message_id), session_id, _MAX_SESSIONS)
        elif isinstance(cwd, str) and session_id is None:
            _remember(self._begun, _key(message_id), cwd, _MAX_SESSIONS)
        elif isinstance(cwd, str) and session_id is not None:
            _remember(self._folders, session_id, cwd, _MAX_SESSIONS)

    def _learn_from_answer(self, message: Message) -> None:
        if message.message_id is None:
            return
        ended = self._prompts.pop(_key(message.message_id), None)
        if ended is not None:
            self._calls.turn_ended(ended)
        cwd = self._begun.pop(_key(message.message_id), None)
        session_id = message.result.get("sessionId")
        if cwd is not None and isinstance(session_id, str):
            _remember(self._folders, session_id, cwd, _MAX_SESSIONS)

    def too_long(self, line: TooLong, *, from_client: bool) -> None:
        """A line was not kept: who waits for its answer is told, and who waits for the answer that it was."""
        who = "editor" if from_client else "agent"
        _log.warning("a line of the %s that is longer than %d bytes was dropped", who, self._max_line_bytes)
        message_id = line.message_id()
        text = f"The message is longer than {self._max_line_bytes} bytes."
        if message_id is not None:
            answer = error_answer(message_id, INVALID_REQUEST, text)
            (self._client if from_client else self._server).write(answer)

    def _cancel(self, is_meant: Callable[[_Held], bool]) -> bool:
        """Withdraw what is meant, and whether there was anything."""
        meant = [held for held in self._held if is_meant(held)]
        for held in meant:
            held.task.cancel()
        return bool(meant)

    async def _withdraw(self) -> None:
        tasks = [held.task for held in self._held]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_owed(self) -> bool:
        return bool(self._prompts)

    def _server_ended(self) -> None:
        self._calls.end("the agent ended")
        for running in self._open.values():
            if running is not None:
                running.report.result(None, success=False, error="the agent ended")


class _Options:
    """The answers that an agent offers."""

    def __init__(self, options: Any) -> None:
        self._options = [
            option
            for option in (options if isinstance(options, list) else ())
            if isinstance(option, dict) and isinstance(option.get("optionId"), str)
        ]
        self.allow = self._first("allow_once")
        self.reject = self._first("reject_once") or self._first("reject_always")

    @property
    def handed_out(self) -> list[dict[str, Any]]:
        """What the editor may offer: nothing that would take later calls out of our sight."""
        return [option for option in self._options if option.get("kind") != "allow_always"]

    def check(self, outcome: Any, tool_name: str) -> None:
        """Take the editor's answer for allowed once, or raise ``ToolDenied``: what it was not offered counts for no."""
        chosen = outcome.get("optionId") if isinstance(outcome, dict) and outcome.get("outcome") == "selected" else None
        if chosen is not None and chosen == self.allow:
            return
        said: Literal["cancelled", "rejected"] = "cancelled" if chosen is None else "rejected"
        raise ToolDenied(f"{tool_name} did not run: it was {said} in the editor.", outcome=said)

    def _first(self, kind: str) -> str | None:
        """The first option of the kind whose id no other option has."""
        ids = [option["optionId"] for option in self._options]
        for option in self._options:
            if option.get("kind") == kind and ids.count(option["optionId"]) == 1:
                option_id: str = option["optionId"]
                return option_id
        return None


def _shown_operation(tool_name: str, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """What a person is shown of an operation: all that the editor would get but for the session."""
    shown = {name: value for name, value in params.items() if name not in ("sessionId", "_meta") and value is not None}
    if method == CREATE_TERMINAL and shown.get("args"):
        shown["argv"] = [shown.pop("command", ""), *shown.pop("args")]
    return frozen(tool_name, shown)


def _outcome(message_id: MessageId, option_id: str | None, reason: str | None) -> bytes:
    """The answer to a permission request; version 1 of the protocol has no place for a reason but ``_meta``."""
    outcome = {"outcome": "cancelled"} if option_id is None else {"outcome": "selected", "optionId": option_id}
    result: dict[str, Any] = {"outcome": outcome}
    if reason is not None:
        result["_meta"] = {"notifier_service": {"reason": reason}}
    return written({"jsonrpc": "2.0", "id": message_id, "result": result})


def _notification(method: str, params: Mapping[str, Any]) -> bytes:
    return written({"jsonrpc": "2.0", "method": method, "params": dict(params)})


def _key(message_id: MessageId) -> tuple[type, MessageId]:
    return type(message_id), message_id


def _remember(where: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    where[key] = value
    if len(where) > most:
        where.popitem(last=False)
