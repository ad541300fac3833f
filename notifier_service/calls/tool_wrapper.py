"""Announce, ask, run exactly what was shown, report: around any callable and any object with ``call_tool``."""

from __future__ import annotations

import asyncio
import base64
import contextvars
import copy
import functools
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args

from pydantic import TypeAdapter

from ..core.broker import Broker, process_broker
from ..core.errors import InvalidInput, NotifierError, ToolDenied
from ..core.limits import RiskLevel
from ..core.parameters import canonical_json, jsonable
from ..core.policy.reasons import Reason
from ..core.question import Question
from .asker import Asker, BrokerAsker, Permission, publish_in_trace
from .denials import denial_by_error
from .edits import edit_note
from .loopless import ToldWithoutALoop
from .mcp_session import McpSession
from .report import Report, Tell, new_call_id, number
from .risk import risk_of_call
from .rounds import Round, Rounds

if TYPE_CHECKING:
    from ..client import Client

__all__ = ["RUNNING_CALL", "Risk", "ToolWrapper", "report_progress"]

_log = logging.getLogger("notifier_service.tool_wrapper")

Run = Callable[[], Awaitable[Any]]
Frozen = TypeVar("Frozen")
Risk = RiskLevel | Mapping[str, RiskLevel] | Callable[[str, Mapping[str, Any]], RiskLevel]

_RISKS = get_args(RiskLevel)
#: The call in which this code runs, for what a tool tells of itself.
RUNNING_CALL: contextvars.ContextVar[_Call | None] = contextvars.ContextVar("notifier_service_call", default=None)


def report_progress(progress: float, total: float | None = None, message: str | None = None) -> None:
    """Tell from inside a wrapped tool how far it is (``tool_progress``); from the loop or from its thread.

    Without effect outside a wrapped call, so that a tool can be used on its own.
    """
    call = RUNNING_CALL.get()
    if call is not None:
        call.progress(progress, total, message)


class ToolWrapper:
    """Stands in for a tool, with the same signature, and lets people see and decide its calls.

    ``target`` is an async or plain callable (a plain one runs in a thread), or an object with
    ``call_tool(name, arguments, …)`` such as an MCP client session; everything else the object has is passed
    through. ``risk_level`` is one level, a mapping from tool name to level, or a function of name and parameters; what
    it does not know is ``high``. Without one, an object that lists its tools is asked for their annotations.
    ``description`` is the agent's own words, shown as such; ``server`` names the MCP server that has the tools.
    ``on_edit`` hears the sentence that the agent should be told of a call which a person changed: what a function
    returns has no place for it. The broker of this process is asked and told, or the running service whose ``Client``
    is given as ``service``.

    A person is shown the arguments of the call. Defaults that the caller leaves out, and arguments that a
    ``functools.partial`` holds, belong to the tool.

    A call that is denied raises ``ToolDenied``, whose text says who or what denied it and why. An exception of the tool
    reaches the caller unchanged. A response in the tool's place is returned as the call's result. Where ``call_tool``
    is declared to give MCP's ``CallToolResult``, as the SDK's sessions are, both are such results, a denial with
    ``isError``, because that is what reaches a model.
    """

    def __init__(
        self,
        target: Any,
        *,
        session_id: str,
        broker: Broker | None = None,
        service: Client | None = None,
        tool_name: str | None = None,
        risk_level: Risk | None = None,
        description: str | None = None,
        timeout_seconds: float | None = None,
        server: str | None = None,
        on_edit: Callable[[str], object] | None = None,
    ) -> None:
        self._target = target
        self._session_id = session_id
        if broker is not None and service is not None:
            raise TypeError("a wrapper asks a broker or a service, not both")
        self._broker = broker
        self._service = service
        self._risk_level = risk_level
        self._description = description
        self._timeout_seconds = timeout_seconds
        self._server = server
        self._on_edit = on_edit
        self._rounds = Rounds()
        self._session = McpSession(target) if callable(getattr(target, "call_tool", None)) else None
        if self._session is not None:
            self._signature = _signature(target.call_tool)
        elif callable(target):
            functools.update_wrapper(self, target, updated=())
            self._signature = _signature(target)
            if self._signature is not None:
                self.__signature__ = self._signature
        else:
            raise TypeError("a tool is a callable or an object with call_tool(name, arguments)")
        if isinstance(risk_level, str) and risk_level not in _RISKS:
            raise InvalidInput("risk_level must be low, medium or high")
        function = target.func if isinstance(target, functools.partial) else target
        self._tool_name: str = tool_name or getattr(function, "__name__", None) or type(target).__name__

    def __getattr__(self, name: str) -> Any:
        # Only what the wrapper itself lacks: list_tools, initialize and the rest of an MCP session.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._target, name)

    @ToldWithoutALoop
    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the wrapped callable, if it is allowed."""
        if self._session is not None:
            raise TypeError("this wrapper stands for a session: use call_tool(name, arguments)")
        arguments = await self._frozen(self._tool_name, lambda: _Arguments(self._signature, args, kwargs))

        def prepare(edited: Mapping[str, Any] | None) -> Run:
            positional, named = arguments.edited(edited)
            return lambda: self._call(*positional, **named)

        return await self._gated(await self._question(self._tool_name, arguments.shown), prepare)

    async def _call(self, *positional: Any, **named: Any) -> Any:
        if inspect.iscoroutinefunction(self._target) or inspect.iscoroutinefunction(type(self._target).__call__):
            return await self._target(*positional, **named)
        result = await asyncio.to_thread(_without_stop_iteration, self._target, *positional, **named)
        return await result if inspect.isawaitable(result) else result

    @ToldWithoutALoop
    async def call_tool(self, name: str, arguments: Mapping[str, Any] | None = None, *args: Any, **kwargs: Any) -> Any:
        """Call a tool of the wrapped session, if it is allowed, with what else its ``call_tool`` takes."""
        if self._session is None:
            raise TypeError("this wrapper stands for a callable: call it")
        try:
            return await self._call_tool(self._session, name, arguments, args, kwargs)
        except ToolDenied as denial:
            result = self._session.result(str(denial), is_error=True)
            if result is None:
                raise
            return result

    async def message_handler(self, message: Any) -> None:
        """Hear what an MCP server tells, so that a changed list of tools is read anew.

        The SDK's sessions do not need it: the wrapper hears them by itself. It is for a session that takes a handler of
        this form and does not let anybody join later.
        """
        if self._session is not None:
            self._session.hear(message)

    async def _call_tool(
        self,
        session: McpSession,
        name: str,
        arguments: Mapping[str, Any] | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        frozen = await self._frozen(name, lambda: jsonable(arguments or {}))
        if self._signature is not None:
            self._signature.bind(name, arguments, *args, **kwargs)  # the TypeError that the session itself would raise
        question = await self._question(name, frozen)
        granted = None
        if any(kwargs.get(field) is not None for field in ("request_state", "input_responses")):
            granted = self._rounds.take(name, frozen, kwargs.get("request_state"), question.definition_sha256)
        if granted is not None:
            parameters = frozen if granted.edited is None else granted.edited
            question = question._replace(risk_level=granted.risk_level, parameters=parameters)

        def prepare(edited: Mapping[str, Any] | None) -> Run:
            parameters = question.parameters if edited is None else edited
            given = None if arguments is None and not parameters else jsonable(parameters)
            positional, named = self._with_progress((name, given, *args), kwargs)

            async def run() -> Any:
                result = await session.call(positional, named)
                if getattr(result, "result_type", None) == "input_required":
                    changed = None if parameters is frozen else dict(parameters)
                    holds = Round(question.risk_level, question.definition_sha256, changed)
                    self._rounds.expect(name, frozen, getattr(result, "request_state", None), holds)
                return result

            return run

        return await self._gated(question, prepare, goes_on=granted is not None)

    async def _frozen(self, tool_name: str, freeze: Callable[[], Frozen]) -> Frozen:
        """Freeze parameters; those that cannot be shown are denied, and the session is told."""
        if not isinstance(tool_name, str) or not 1 <= len(tool_name) <= 256:
            raise ToolDenied("A tool has a name of 1 to 256 characters; it did not run.", outcome="invalid")
        try:
            return freeze()
        except InvalidInput as error:
            denial = denial_by_error(tool_name, error)
            async with self._new_call(tool_name, "high") as call:
                call.report.denied(denial)
            raise denial from error

    @asynccontextmanager
    async def _new_call(self, tool_name: str, risk_level: RiskLevel) -> AsyncIterator[_Call]:
        if self._service is None:
            broker = self._broker or process_broker()
            asker = BrokerAsker(broker, self._session_id)
            yield self._call_at(
                asker, functools.partial(publish_in_trace, broker, self._session_id), tool_name, risk_level
            )
            return
        from .service_asker import ServiceAsker  # who has a Client has loaded what it needs

        async with ServiceAsker(self._service, self._session_id) as away:
            yield self._call_at(away, away.tell, tool_name, risk_level)

    @staticmethod
    def _call_at(asker: Asker, tell: Tell, tool_name: str, risk_level: RiskLevel) -> _Call:
        report = Report(tell, tool_name, risk_level, new_call_id(), max_event_bytes=asker.max_event_bytes)
        return _Call(asker, report, asyncio.get_running_loop())

    def _with_progress(
        self, positional: tuple[Any, ...], named: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Hear the progress that an MCP session tells, beside whoever else asked for it."""
        call = RUNNING_CALL.get()
        signature = self._signature
        if call is None or signature is None or "progress_callback" not in signature.parameters:
            return positional, dict(named)
        bound = signature.bind(*positional, **named)
        theirs = bound.arguments.get("progress_callback")

        async def relay(progress: float, total: float | None = None, message: str | None = None) -> None:
            call.progress(progress, total, message)
            if theirs is not None:
                await theirs(progress, total, message)

        bound.arguments["progress_callback"] = relay
        return bound.args, bound.kwargs

    async def _question(self, tool_name: str, parameters: Mapping[str, Any]) -> Question:
        question = Question(
            tool_name,
            parameters,
            timeout_seconds=self._timeout_seconds,
            description=self._description,
            server=self._server,
            announce_status=True,
        )
        given: Any = self._risk_level
        if given is None and self._session is not None:
            tool = await self._session.listed(tool_name)
            level, reasons, definition_sha256 = risk_of_call(tool.risk, parameters)
            return question._replace(
                risk_level=level,
                risk_reasons=reasons,
                definition_sha256=definition_sha256,
                rated_by="producer",
                input_schema=tool.input_schema,
            )
        if isinstance(given, Mapping):
            given = given.get(tool_name)
        elif callable(given):
            given = given(tool_name, jsonable(parameters))
        if given in _RISKS:
            return question._replace(risk_level=given)
        return question._replace(risk_reasons=(Reason("unrated"),))

    async def _gated(
        self, question: Question, prepare: Callable[[Mapping[str, Any] | None], Run], *, goes_on: bool = False
    ) -> Any:
        async with self._new_call(question.tool_name, question.risk_level) as call:
            return await self._run(call, question, prepare, goes_on=goes_on)

    async def _run(
        self, call: _Call, question: Question, prepare: Callable[[Mapping[str, Any] | None], Run], *, goes_on: bool
    ) -> Any:
        report, asker = call.report, call.asker
        token = RUNNING_CALL.set(call)
        try:
            try:
                permission = Permission()
                if not (goes_on and asker.allows(question, goes_on=True)):
                    permission = await asker.ask(question._replace(tool_call_id=report.tool_call_id))
                if permission.response is not None:
                    report.answered(permission.response, permission.decided_by)
                    answer = self._session and self._session.result(permission.response, is_error=False)
                    return permission.response if answer is None else answer
                run = prepare(permission.edited)
                try:
                    report.executing(question.parameters if permission.edited is None else permission.edited)
                except NotifierError as error:
                    raise denial_by_error(question.tool_name, error) from error
            except ToolDenied as denial:
                report.denied(denial)
                raise
            note = None if permission.edited is None else edit_note(permission.decided_by, permission.edited)
            try:
                result = await run()
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                self._tell_edit(note)
                report.result(None, success=False, error=error, duration_ms=report.elapsed_ms)
                raise
            report.result(result, success=not _says_that_it_failed(result), duration_ms=report.elapsed_ms)
            self._tell_edit(note)
            return result if self._session is None or note is None else self._session.noted(result, note)
        except asyncio.CancelledError:
            report.cancelled()
            raise
        finally:
            RUNNING_CALL.reset(token)

    def _tell_edit(self, note: str | None) -> None:
        """The call has run, whatever becomes of the note."""
        if note is not None and self._on_edit is not None:
            try:
                self._on_edit(note)
            except Exception:
                _log.exception("on_edit failed")


class _Call(NamedTuple):
    """One call of a tool."""

    asker: Asker
    report: Report
    loop: asyncio.AbstractEventLoop

    def progress(self, progress: float, total: float | None, message: str | None) -> None:
        if number(progress) is None:
            _log.warning("a tool reported progress that is no number")
            return
        told = progress, total, None if message is None else str(message)
        try:
            here = asyncio.get_running_loop() is self.loop
        except RuntimeError:
            here = False  # in the tool's thread
        if here:
            self.report.progress(*told)
        else:
            self.loop.call_soon_threadsafe(self.report.progress, *told)


class _Arguments:
    """The arguments of one call of a callable: a frozen copy, how it is shown, and how an edit is put into it."""

    def __init__(self, signature: inspect.Signature | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._signature = signature
        self._has_positional = bool(args)
        if signature is None:
            if args and "args" in kwargs:
                raise TypeError("'args' names both the positional arguments and one by name")
            named: dict[str, Any] = {"args": list(args), **kwargs} if args else dict(kwargs)
        else:
            bound = signature.bind(*args, **kwargs)  # the TypeError that the callable itself would raise
            named = {}
            for name, value in bound.arguments.items():
                if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                    if clash := named.keys() & value.keys():
                        raise TypeError(f"{clash.pop()!r} names both a parameter and one of **{name}")
                    named.update(value)
                else:
                    named[name] = list(value) if isinstance(value, tuple) and _is_var(signature, name) else value
        try:
            self._frozen: dict[str, Any] = copy.deepcopy(named)
        except Exception as error:
            raise InvalidInput(f"the parameters cannot be copied, so nobody could approve them: {error}") from error
        self.shown = jsonable(self._frozen)

    def edited(self, edited: Mapping[str, Any] | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that run: the frozen copy, or with a person's edit put in."""
        values = self._frozen
        if edited is not None:
            values = {name: self._value(name, value) for name, value in jsonable(edited).items()}
        if self._signature is None:
            named = dict(values)
            return tuple(named.pop("args", ())) if self._has_positional else (), named
        positional: list[Any] = []
        named = dict(values)
        by_name = False
        for name, parameter in self._signature.parameters.items():
            if parameter.kind is parameter.VAR_POSITIONAL:
                rest = named.pop(name, [])
                if by_name and rest:
                    raise ToolDenied(
                        f"The edited parameters leave a hole before {name}; the tool did not run.", outcome="invalid"
                    )
                positional.extend(rest)
                by_name = True
            elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                if name not in named:
                    by_name = True
                elif not by_name:
                    positional.append(named.pop(name))
        try:
            self._signature.bind(*positional, **named)
        except TypeError as error:
            raise ToolDenied(
                f"The edited parameters are not the tool's ({error}); it did not run.", outcome="invalid"
            ) from error
        return tuple(positional), named

    def _value(self, name: str, value: Any) -> Any:
        """An edited value as the tool expects it: unchanged ones stay the very objects that were frozen."""
        if name not in self._frozen:
            return value
        original = self._frozen[name]
        try:
            return _like(original, value)
        except (ValueError, TypeError) as error:
            raise ToolDenied(
                f"The edit of {name} is no {type(original).__name__}; the tool did not run.", outcome="invalid"
            ) from error


def _like(original: Any, value: Any) -> Any:
    """An edited JSON value in the types of what it takes the place of; what was not edited is the original itself."""
    if canonical_json(jsonable({"": original})) == canonical_json({"": value}):
        return original
    if original is None or type(original) in (str, bool, int, float):
        return value
    if type(original) is dict and isinstance(value, dict):
        return {key: _like(original[key], item) if key in original else item for key, item in value.items()}
    if type(original) in (list, tuple, set, frozenset) and isinstance(value, list):
        models = list(original)
        # An item that was added is like the last one that was there.
        items = [
            _like(models[min(index, len(models) - 1)], item) if models else item for index, item in enumerate(value)
        ]
        return type(original)(items)
    if type(original) in (dict, list):
        if not original:
            return value
        raise TypeError("another shape")
    if type(original) is bytes:
        return base64.b64decode(value, altchars=b"-_", validate=True)
    return TypeAdapter(type(original)).validate_json(canonical_json(value))


def _without_stop_iteration(target: Callable[..., Any], *positional: Any, **named: Any) -> Any:
    """Call a plain tool in its thread: a StopIteration could not come out of a coroutine (PEP 479)."""
    try:
        return target(*positional, **named)
    except StopIteration as error:
        raise RuntimeError("the tool raised StopIteration") from error


def _says_that_it_failed(result: Any) -> bool:
    """Whether a result carries a failure inside, as MCP's do (isError on the wire, is_error in the 2.x SDK)."""
    try:
        return getattr(result, "isError", None) is True or getattr(result, "is_error", None) is True
    except Exception:
        return False  # an object whose attributes raise says nothing


def _is_var(signature: inspect.Signature, name: str) -> bool:
    return signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL


def _signature(target: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(target)
    except (ValueError, TypeError):
        return None  # some built-ins tell nothing
