"""A wrapped tool is announced, asked about, run exactly as it was shown, and reported."""

from __future__ import annotations

import asyncio
import enum
import functools
import inspect
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from notifier_service import Broker, Client, Decision, Limits, ToolDenied, ToolWrapper, report_progress
from notifier_service.core.broker import set_process_broker
from notifier_service.core.errors import InvalidInput, NoBroker
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.policy.verdict import Verdict
from notifier_service.core.trace import in_trace
from tests.policies import a_policy_file

Wrap = Callable[..., ToolWrapper]


@pytest.fixture
def wrap(broker: Broker) -> Wrap:
    return functools.partial(ToolWrapper, session_id="s", broker=broker)


def told(broker: Broker, event_type: str | None = None) -> list[dict[str, Any]]:
    """The data of what the session was told."""
    events = [json.loads(event.json) for event in broker.get("s").log.read_after(0)]
    return [event["data"] for event in events if event_type in (None, event["type"])]


def types(broker: Broker) -> list[str]:
    return [event.type for event in broker.get("s").log.read_after(0)]


def statuses(broker: Broker) -> list[str]:
    return [status["status"] for status in told(broker, "tool_status")]


async def asked(broker: Broker, count: int = 1) -> PermissionRequest:
    """Wait until so many requests are pending; return the newest."""
    session = broker.open("s")
    async with asyncio.timeout(5):
        while len(session.desk.pending) < count:
            await session.log.wait_after(session.log.last_seq)
    return session.desk.pending[-1]


async def answered(broker: Broker, call: Awaitable[Any], **decision: Any) -> Any:
    """Make the call, give its request this answer, and return what the call gives."""
    task = asyncio.ensure_future(call)
    waiting = asyncio.create_task(asked(broker))
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        waiting.cancel()
        return await task
    request = await waiting
    broker.decide("s", Decision(request_id=request.request_id, **decision), decided_by="ada")
    async with asyncio.timeout(5):
        return await task


async def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b


def plain_add(a: int, b: int = 2) -> int:
    return a + b


def later_add(a: int, b: int = 2) -> Awaitable[int]:
    return add(a, b)


class Adder:
    async def method(self, a: int, b: int = 2) -> int:
        return a + b

    def plain_method(self, a: int, b: int = 2) -> int:
        return a + b


class AsyncAdder:
    async def __call__(self, a: int, b: int = 2) -> int:
        return a + b


class PlainAdder:
    def __call__(self, a: int, b: int = 2) -> int:
        return a + b


CALLABLES = [
    (add, "add"),
    (plain_add, "plain_add"),
    (later_add, "later_add"),
    (Adder().method, "method"),
    (Adder().plain_method, "plain_method"),
    (AsyncAdder(), "AsyncAdder"),
    (PlainAdder(), "PlainAdder"),
]


# Callables


@pytest.mark.parametrize(("target", "name"), CALLABLES, ids=[name for _, name in CALLABLES])
async def test_any_callable_runs_with_its_arguments_shown_by_name(
    target: Any, name: str, wrap: Wrap, broker: Broker
) -> None:
    assert await wrap(target, risk_level="low")(1, b=4) == 5

    begun = told(broker, "tool_status")[0]
    assert (begun["tool_name"], begun["details"]["parameters"]) == (name, {"a": 1, "b": 4})


@pytest.mark.parametrize(("target", "name"), CALLABLES, ids=[name for _, name in CALLABLES])
async def test_any_callable_runs_after_a_yes(target: Any, name: str, wrap: Wrap, broker: Broker) -> None:
    assert await answered(broker, wrap(target)(1), approved=True) == 3

    assert types(broker) == [
        "tool_status",
        "permission_request",
        "permission_response_result",
        "permission_cleared",
        "tool_status",
        "tool_result",
        "tool_status",
    ]
    assert statuses(broker) == ["waiting_permission", "executing", "completed"]


@pytest.mark.parametrize("function", [add, plain_add])
async def test_partial_keeps_what_was_bound(function: Any, wrap: Wrap, broker: Broker) -> None:
    tool = wrap(functools.partial(function, 1), tool_name="add_one", risk_level="low")

    assert await tool(b=4) == 5
    assert told(broker, "tool_status")[0]["details"]["parameters"] == {"b": 4}


async def test_partial_is_shown_by_the_name_of_its_function(wrap: Wrap, broker: Broker) -> None:
    await wrap(functools.partial(add, 1), risk_level="low")()

    assert told(broker, "tool_status")[0]["tool_name"] == "add"


async def test_plain_callable_runs_in_a_thread_and_an_async_one_on_the_loop(wrap: Wrap) -> None:
    async def here() -> int:
        return threading.get_ident()

    assert await wrap(threading.get_ident, risk_level="low")() != threading.get_ident()
    assert await wrap(here, risk_level="low")() == threading.get_ident()


async def test_more_positional_and_named_arguments_are_shown_and_run(wrap: Wrap, broker: Broker) -> None:
    def total(first: int, *numbers: int, scale: int = 1, **options: str) -> Any:
        return first, numbers, scale, options

    result = await answered(broker, wrap(total)(1, 2, 3, scale=4, unit="m"), approved=True)

    assert result == (1, (2, 3), 4, {"unit": "m"})
    assert told(broker, "permission_request")[0]["parameters"] == {
        "first": 1,
        "numbers": [2, 3],
        "scale": 4,
        "unit": "m",
    }


async def test_edit_of_more_arguments_reaches_the_tool(wrap: Wrap, broker: Broker) -> None:
    def total(first: int, *numbers: int, scale: int = 1, **options: str) -> Any:
        return first, numbers, scale, options

    edit = {"first": 0, "numbers": [7], "scale": 5, "mode": "x"}

    result = await answered(broker, wrap(total)(1, 2, 3, unit="m"), approved=True, parameters=edit)

    assert result == (0, (7,), 5, {"mode": "x"})


async def test_caller_of_a_function_hears_of_an_edit(wrap: Wrap, broker: Broker) -> None:
    heard: list[str] = []

    def halve(a: int) -> float:
        return 10 / a

    halved = wrap(halve, on_edit=heard.append)
    assert await answered(broker, halved(1), approved=True) == 10
    assert heard == []
    assert await answered(broker, halved(1), approved=True, parameters={"a": 5}) == 2
    with pytest.raises(ZeroDivisionError):
        await answered(broker, halved(1), approved=True, parameters={"a": 0})

    note = "changed the parameters of this call before it ran. It ran with "
    assert [text.partition(note)[2] for text in heard] == ['{"a":5}', '{"a":0}']


async def test_note_that_nobody_takes_changes_nothing_of_the_call(
    wrap: Wrap, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(note: str) -> None:
        raise ValueError

    assert await answered(broker, wrap(plain_add, on_edit=refuses)(5), approved=True, parameters={"a": 6}) == 8
    assert caplog.messages == ["on_edit failed"]


async def test_default_that_the_caller_leaves_out_is_left_to_the_tool(wrap: Wrap, broker: Broker) -> None:
    assert await answered(broker, wrap(plain_add)(5), approved=True) == 7
    assert told(broker, "permission_request")[0]["parameters"] == {"a": 5}


async def test_positional_only_parameters_are_shown_by_name_and_can_be_edited(wrap: Wrap, broker: Broker) -> None:
    def power(base: int, exponent: int = 2, /) -> int:
        return base**exponent

    assert await answered(broker, wrap(power)(3), approved=True, parameters={"base": 2, "exponent": 5}) == 32
    assert told(broker, "permission_request")[0]["parameters"] == {"base": 3}


async def test_builtin_without_a_signature_shows_its_arguments_as_a_list(wrap: Wrap, broker: Broker) -> None:
    assert await answered(broker, wrap(max)(1, 5, 3), approved=True) == 5
    assert told(broker, "permission_request")[0]["parameters"] == {"args": [1, 5, 3]}


async def test_edit_of_a_builtin_without_a_signature_reaches_it(wrap: Wrap, broker: Broker) -> None:
    assert await answered(broker, wrap(max)(1, 5, 3), approved=True, parameters={"args": [7, 8]}) == 8


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"a": 1}), ((1,), {"c": 1})])
async def test_call_that_the_tool_itself_would_refuse_is_its_type_error(
    args: tuple[Any, ...], kwargs: dict[str, Any], wrap: Wrap, broker: Broker
) -> None:
    with pytest.raises(TypeError):
        await wrap(add)(*args, **kwargs)

    assert broker.sessions == ()


async def test_name_that_is_a_parameter_and_an_option_cannot_be_shown(wrap: Wrap, broker: Broker) -> None:
    def tool(path: str, /, **options: str) -> None: ...

    with pytest.raises(TypeError, match=r"'path' names both a parameter and one of \*\*options"):
        await wrap(tool)("a", path="b")

    assert broker.sessions == ()


def test_wrapper_stands_in_with_name_text_and_signature() -> None:
    tool = ToolWrapper(add, session_id="s")

    assert (tool.__name__, tool.__doc__) == ("add", "Add two numbers.")  # type: ignore[attr-defined]
    assert inspect.signature(tool) == inspect.signature(add)


async def test_tool_name_can_be_given(wrap: Wrap, broker: Broker) -> None:
    await wrap(add, tool_name="sum", risk_level="low")(1)

    assert {status["tool_name"] for status in told(broker, "tool_status")} == {"sum"}


def test_attributes_of_a_callable_are_read_through() -> None:
    target = PlainAdder()
    target.version = 7  # type: ignore[attr-defined]
    tool = ToolWrapper(target, session_id="s")

    assert tool.version == 7
    with pytest.raises(AttributeError):
        _ = tool.nothing
    with pytest.raises(AttributeError):
        _ = tool._hidden


@pytest.mark.parametrize("target", [None, 5, "add", object(), SimpleNamespace(call_tool=5)])
def test_target_that_nobody_can_call_is_a_type_error(target: Any) -> None:
    with pytest.raises(TypeError, match="a tool is a callable or an object with call_tool"):
        ToolWrapper(target, session_id="s")


async def test_wrapper_of_a_callable_is_no_session(wrap: Wrap) -> None:
    with pytest.raises(TypeError, match="this wrapper stands for a callable: call it"):
        await wrap(add).call_tool("add", {})


async def test_without_a_broker_of_its_own_the_process_broker_is_used(broker: Broker) -> None:
    tool = ToolWrapper(add, session_id="s", risk_level="low")
    with pytest.raises(NoBroker):
        await tool(1)
    set_process_broker(broker)

    assert await tool(1) == 3
    assert statuses(broker) == ["executing", "completed"]


# Objects with call_tool


class Upstream:
    """Stands where an MCP client session stands."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.server = "upstream"

    async def call_tool(
        self,
        name: str,
        arguments: dict[str, Any] | None = None,
        read_timeout_seconds: float | None = None,
        progress_callback: Callable[..., Awaitable[None]] | None = None,
        *,
        meta: dict[str, Any] | None = None,
    ) -> Any:
        self.calls.append((name, arguments, read_timeout_seconds, meta))
        if progress_callback is not None:
            await progress_callback(1, 2, "half")
            await asyncio.sleep(0)
        return SimpleNamespace(isError=name == "broken")

    async def list_tools(self) -> list[str]:
        return ["a", "b"]


class BareUpstream:
    """Only what a tool wrapper needs."""

    def __init__(self, result: Any = None) -> None:
        self.result = result
        self.calls: list[tuple[str, Any]] = []

    async def call_tool(self, name: str, arguments: Any) -> Any:
        self.calls.append((name, arguments))
        return self.result


async def test_session_is_called_with_all_that_its_call_tool_takes(wrap: Wrap, broker: Broker) -> None:
    upstream = Upstream()

    await answered(broker, wrap(upstream).call_tool("read", {"path": "a"}, 5, meta={"k": 1}), approved=True)

    assert upstream.calls == [("read", {"path": "a"}, 5, {"k": 1})]
    assert told(broker, "permission_request")[0]["tool_name"] == "read"


async def test_what_else_a_session_offers_is_read_through(wrap: Wrap) -> None:
    session = wrap(Upstream())

    assert session.server == "upstream"
    assert await session.list_tools() == ["a", "b"]


async def test_wrapper_of_a_session_is_no_callable(wrap: Wrap) -> None:
    with pytest.raises(TypeError, match=r"use call_tool\(name, arguments\)"):
        await wrap(Upstream())()


@pytest.mark.parametrize(("given", "passed"), [(None, None), ({}, {})])
async def test_call_without_arguments_is_passed_as_it_came(given: Any, passed: Any, wrap: Wrap) -> None:
    upstream = BareUpstream()

    await wrap(upstream, risk_level="low").call_tool("ping", given)

    assert upstream.calls == [("ping", passed)]


async def test_progress_of_a_session_is_told(wrap: Wrap, broker: Broker) -> None:
    await wrap(Upstream(), risk_level="low").call_tool("read", {})

    [progress] = told(broker, "tool_progress")
    call_id = told(broker, "tool_status")[0]["tool_call_id"]
    assert progress == {"tool_name": "read", "tool_call_id": call_id, "progress": 1, "total": 2, "message": "half"}


@pytest.mark.parametrize("as_keyword", [True, False])
async def test_whoever_asked_for_progress_hears_it_too(as_keyword: bool, wrap: Wrap, broker: Broker) -> None:
    heard: list[Any] = []

    async def hear(*progress: Any) -> None:
        heard.append(progress)

    session = wrap(Upstream(), risk_level="low")
    if as_keyword:
        await session.call_tool("read", {}, progress_callback=hear)
    else:
        await session.call_tool("read", {}, None, hear)

    assert heard == [(1, 2, "half")]
    assert len(told(broker, "tool_progress")) == 1


async def test_result_that_says_it_is_an_error_is_reported_as_failed(wrap: Wrap, broker: Broker) -> None:
    result = await wrap(Upstream(), risk_level="low").call_tool("broken", {})

    assert result.isError is True
    assert told(broker, "tool_result")[0]["success"] is False
    assert statuses(broker) == ["executing", "failed"]


async def test_result_of_the_newer_sdk_that_says_it_is_an_error_is_reported_as_failed(
    wrap: Wrap, broker: Broker
) -> None:
    await wrap(BareUpstream(SimpleNamespace(is_error=True)), risk_level="low").call_tool("broken", {})

    assert statuses(broker) == ["executing", "failed"]


async def test_edit_of_a_session_call_reaches_it(wrap: Wrap, broker: Broker) -> None:
    upstream = BareUpstream()

    await answered(broker, wrap(upstream).call_tool("read", {"path": "a"}), approved=True, parameters={"path": "b"})

    assert upstream.calls == [("read", {"path": "b"})]
    assert told(broker, "tool_status")[-2]["details"]["parameters"] == {"path": "b"}


async def test_call_that_a_session_itself_would_refuse_leaves_nothing_running(wrap: Wrap, broker: Broker) -> None:
    with pytest.raises(TypeError):
        await answered(broker, wrap(Upstream()).call_tool("read", {}, no_such_argument=1), approved=True)

    assert broker.get("s").snapshot().running == ()


@pytest.mark.parametrize("name", ["", "x" * 257])
async def test_tool_name_that_no_event_holds_is_denied(name: str, wrap: Wrap) -> None:
    with pytest.raises(ToolDenied):
        await wrap(BareUpstream()).call_tool(name, {})


# Risk


@pytest.mark.parametrize("risk", ["medium", "high", None])
async def test_medium_high_and_unknown_risk_ask(risk: Any, wrap: Wrap, broker: Broker) -> None:
    await answered(broker, wrap(add, risk_level=risk)(1), approved=True)

    assert told(broker, "permission_request")[0]["risk_level"] == (risk or "high")


async def test_low_risk_runs_unasked_and_is_told(wrap: Wrap, broker: Broker) -> None:
    assert await wrap(add, risk_level="low")(1) == 3

    begun, ended = told(broker, "tool_status")
    [result] = told(broker, "tool_result")
    assert types(broker) == ["tool_status", "tool_result", "tool_status"]
    assert (begun["status"], begun["details"]["risk_level"]) == ("executing", "low")
    assert begun["details"]["start_time"].endswith("Z")
    assert (result["result"], result["success"]) == (3, True)
    assert ended["details"] == {"risk_level": "low", "duration_ms": result["duration_ms"]}
    assert {begun["tool_call_id"], result["tool_call_id"], ended["tool_call_id"]} == {begun["tool_call_id"]}


async def test_limits_say_from_which_risk_a_person_is_asked() -> None:
    broker = Broker(Limits(ask_from_risk="low"))

    await answered(broker, ToolWrapper(add, session_id="s", broker=broker, risk_level="low")(1), approved=True)

    assert told(broker, "permission_request")[0]["risk_reasons"] == ["it writes"]
    broker.close()


@pytest.mark.parametrize(
    "risk",
    [
        {"read": "low", "write": "medium"},
        lambda name, parameters: "low" if name == "read" else "medium" if parameters == {"path": "a"} else None,
    ],
)
async def test_risk_is_looked_up_by_tool(risk: Any, wrap: Wrap, broker: Broker) -> None:
    session = wrap(BareUpstream(), risk_level=risk)

    await session.call_tool("read", {"path": "a"})
    await answered(broker, session.call_tool("write", {"path": "a"}), approved=True)

    assert [status["details"]["risk_level"] for status in told(broker, "tool_status")] == [
        "low",
        "low",
        "medium",
        "medium",
        "medium",
    ]


@pytest.mark.parametrize("risk", [None, {"other": "low"}, {"add": "extreme"}, lambda name, parameters: None])
async def test_risk_that_nobody_told_is_high_and_says_so(risk: Any, wrap: Wrap, broker: Broker) -> None:
    await answered(broker, wrap(add, risk_level=risk)(1), approved=True)

    request = told(broker, "permission_request")[0]
    assert request["risk_level"] == "high"
    assert request["risk_reasons"] == ["nobody said how risky this tool is", "it writes"]


def test_a_level_that_does_not_exist_is_refused_when_the_tool_is_wrapped() -> None:
    with pytest.raises(InvalidInput, match="risk_level must be low, medium or high"):
        ToolWrapper(add, session_id="s", risk_level="extreme")  # type: ignore[arg-type]


async def test_risk_function_that_fails_lets_nothing_run(wrap: Wrap, broker: Broker) -> None:
    ran: list[int] = []

    def risk(name: str, parameters: Mapping[str, Any]) -> Any:
        raise LookupError("no idea")

    with pytest.raises(LookupError):
        await wrap(ran.append, risk_level=risk)(1)

    assert ran == []


async def test_risk_function_cannot_change_what_is_shown(wrap: Wrap, broker: Broker) -> None:
    def risk(name: str, parameters: dict[str, Any]) -> Any:
        parameters.pop("b")
        return "high"

    await answered(broker, wrap(add, risk_level=risk)(1, b=5), approved=True)

    assert told(broker, "permission_request")[0]["parameters"] == {"a": 1, "b": 5}


# What is asked


async def test_request_carries_call_and_description(wrap: Wrap, broker: Broker) -> None:
    await answered(broker, wrap(add, description="to know the sum", timeout_seconds=7)(1), approved=True)

    request = told(broker, "permission_request")[0]
    assert request["description"] == "to know the sum"
    assert request["timeout_seconds"] == 7
    assert {status["tool_call_id"] for status in told(broker, "tool_status")} == {request["tool_call_id"]}


async def test_what_is_shown_is_what_runs_whatever_the_caller_does_meanwhile(wrap: Wrap, broker: Broker) -> None:
    items = [{"path": "harmless"}]
    call = asyncio.create_task(wrap(lambda items: items)(items))
    request = await asked(broker)
    items[0]["path"] = "/etc"
    items.append({"path": "/"})
    broker.decide("s", Decision(approved=True), decided_by="ada")

    assert await call == [{"path": "harmless"}]
    assert request.record.parameters == {"items": [{"path": "harmless"}]}


async def test_what_is_shown_is_what_a_session_runs_whatever_the_caller_does_meanwhile(
    wrap: Wrap, broker: Broker
) -> None:
    upstream, arguments = BareUpstream(), {"paths": ["harmless"]}
    call = asyncio.create_task(wrap(upstream).call_tool("read", arguments))
    await asked(broker)
    arguments["paths"].append("/etc")
    arguments["more"] = ["x"]
    broker.decide("s", Decision(approved=True), decided_by="ada")
    await call

    assert upstream.calls == [("read", {"paths": ["harmless"]})]


async def test_keys_that_look_alike_as_json_are_not_shown_as_one(wrap: Wrap, broker: Broker) -> None:
    with pytest.raises(ToolDenied):
        await answered(broker, wrap(lambda values: values)({1: "hidden", "1": "shown"}), approved=True)


@pytest.mark.parametrize(
    "decided",
    [
        ["a"],
        pytest.param(
            ["edited"],
        ),
    ],
)
async def test_tool_that_changes_its_arguments_does_not_change_the_record(
    decided: list[str], wrap: Wrap, broker: Broker
) -> None:
    call = asyncio.create_task(wrap(lambda items: items.append("more"))(["a"]))
    request = await asked(broker)
    broker.decide("s", Decision(approved=True, parameters={"items": list(decided)}), decided_by="ada")
    await call

    assert request.record.parameters == {"items": decided}


@dataclass
class Point:
    x: int
    y: int


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Speed(enum.StrEnum):
    SLOW = "slow"
    FAST = "fast"


@pytest.mark.parametrize(
    ("given", "shown", "edit", "edited"),
    [
        (Path("a/b"), "a/b", "c", Path("c")),
        (Colour.RED, "red", "blue", Colour.BLUE),
        (Point(1, 2), {"x": 1, "y": 2}, {"x": 1, "y": 5}, Point(1, 5)),
        ((1, 2), [1, 2], [3], (3,)),
        (None, None, "new", "new"),
        (5, 5, 6, 6),
        ({"a": [1]}, {"a": [1]}, {"b": 2}, {"b": 2}),
        pytest.param(
            Speed.SLOW,
            "slow",
            "fast",
            Speed.FAST,
        ),
        pytest.param(
            b"hello",
            "aGVsbG8=",
            "Ynll",
            b"bye",
        ),
        pytest.param(
            [Path("a")],
            ["a"],
            ["b"],
            [Path("b")],
        ),
    ],
    ids=repr,
)
async def test_edited_value_has_the_type_that_the_tool_expects(
    given: Any, shown: Any, edit: Any, edited: Any, wrap: Wrap, broker: Broker
) -> None:
    got: list[Any] = []

    def tool(value: Any) -> None:
        got.append(value)

    await answered(broker, wrap(tool)(given), approved=True, parameters={"value": edit})

    assert told(broker, "permission_request")[0]["parameters"] == {"value": shown}
    assert got == [edited]
    assert type(got[0]) is type(edited)
    assert not isinstance(edited, list) or type(got[0][0]) is type(edited[0])


async def test_approval_runs_the_objects_themselves_and_not_how_they_are_shown(wrap: Wrap, broker: Broker) -> None:
    got: list[Any] = []
    tool = wrap(lambda *values: got.extend(values))

    await answered(broker, tool(Path("a"), Colour.RED, Point(1, 2), b"x", {3}), approved=True)

    assert got == [Path("a"), Colour.RED, Point(1, 2), b"x", {3}]


async def test_edit_leaves_what_it_does_not_touch_as_it_was(wrap: Wrap, broker: Broker) -> None:
    def tool(path: Path, colour: Colour, point: Point) -> Any:
        return path, colour, point

    edit = {"path": "a", "colour": "red", "point": {"x": 9, "y": 2}}

    result = await answered(broker, wrap(tool)(Path("a"), Colour.RED, Point(1, 2)), approved=True, parameters=edit)

    assert result == (Path("a"), Colour.RED, Point(9, 2))


@pytest.mark.parametrize(
    ("tool", "given", "edit", "text"),
    [
        (add, (1,), {"a": 1, "c": 2}, "The edited parameters are not the tool's (got an unexpected keyword"),
        (add, (1,), {}, "The edited parameters are not the tool's (missing a required argument: 'a')"),
        (lambda value: value, (Colour.RED,), {"value": "green"}, "The edit of value is no Colour"),
        (lambda value: value, (Point(1, 2),), {"value": {"x": 1}}, "The edit of value is no Point"),
        pytest.param(
            lambda *args: args, (1, 2), {"args": 5}, "The edit of args",
        ),
        pytest.param(
            lambda *args: args, (1, 2), {"args": "ab"}, "The edit of args",
        ),
        pytest.param(
            lambda first=1, *args: (first, args), (1, 2, 3), {"args": [2, 3]}, "The edited parameters",
        ),
    ],
)  # fmt: skip
async def test_edit_that_the_tool_cannot_take_does_not_run(
    tool: Any, given: tuple[Any, ...], edit: dict[str, Any], text: str, wrap: Wrap, broker: Broker
) -> None:
    with pytest.raises(ToolDenied) as denied:
        await answered(broker, wrap(tool)(*given), approved=True, parameters=edit)

    assert (denied.value.outcome, str(denied.value)[: len(text)]) == ("invalid", text)
    assert statuses(broker) == ["waiting_permission", "denied"]


async def test_response_in_the_tools_place_is_the_result(wrap: Wrap, broker: Broker) -> None:
    ran: list[int] = []

    result = await answered(broker, wrap(ran.append)(1), approved=False, response="it is 42")

    assert (result, ran) == ("it is 42", [])
    assert statuses(broker) == ["waiting_permission", "completed"]
    assert told(broker, "tool_result")[0]["result"] == "it is 42"
    assert told(broker, "tool_status")[-1]["details"]["answered_by"] == "ada"


async def test_tool_allowed_for_the_session_is_not_asked_again(wrap: Wrap, broker: Broker) -> None:
    session = wrap(BareUpstream())
    await answered(broker, session.call_tool("write", {"n": 1}), approved=True, scope="session")

    await session.call_tool("write", {"n": 2})

    assert len(told(broker, "permission_request")) == 1
    assert statuses(broker)[-2:] == ["executing", "completed"]


@pytest.mark.parametrize("other", ["Write", "write ", "wr\u0456te"])
async def test_tool_allowed_for_the_session_allows_no_other(other: str, wrap: Wrap, broker: Broker) -> None:
    session = wrap(BareUpstream())
    await answered(broker, session.call_tool("write", {}), approved=True, scope="session")

    with pytest.raises(ToolDenied):
        await answered(broker, session.call_tool(other, {}), approved=False)


async def test_calls_of_one_session_run_side_by_side(wrap: Wrap, broker: Broker) -> None:
    tool = wrap(add)
    calls = [asyncio.create_task(tool(number)) for number in range(3)]
    await asked(broker, count=3)
    for request in reversed(broker.get("s").desk.pending):
        broker.decide("s", Decision(approved=True, request_id=request.request_id), decided_by="ada")

    assert await asyncio.gather(*calls) == [2, 3, 4]
    assert len({status["tool_call_id"] for status in told(broker, "tool_status")}) == 3


# Denials


async def denied(call: Awaitable[Any]) -> ToolDenied:
    with pytest.raises(ToolDenied) as raised:
        async with asyncio.timeout(5):
            await call
    return raised.value


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("not <b>today</b>\nmaybe", "add did not run: rejected by ada: not <b>today</b>\nmaybe"),
        (None, "add did not run: rejected by ada."),
    ],
)
async def test_rejection_tells_who_and_the_reason_word_for_word(
    reason: str | None, text: str, wrap: Wrap, broker: Broker
) -> None:
    denial = await denied(answered(broker, wrap(add)(1), approved=False, reason=reason))

    ended = told(broker, "tool_status")[-1]
    assert (str(denial), denial.outcome, denial.reason) == (text, "rejected", reason)
    assert denial.request_id == told(broker, "permission_request")[0]["request_id"]
    assert ended["status"] == "denied"
    assert ended["details"] == {
        "risk_level": "high",
        "outcome": "rejected",
        "reason": text,
        "request_id": denial.request_id,
    }


async def test_request_that_nobody_answers_expires_and_tells_who_could_see_it(clock: Any) -> None:
    broker = Broker(clock=clock)
    call = asyncio.create_task(ToolWrapper(add, session_id="s", broker=broker, timeout_seconds=30)(1))
    await asked(broker)
    clock.advance(29.9)
    broker.sweep()
    assert broker.get("s").desk.pending_count == 1
    clock.advance(0.1)
    broker.sweep()

    denial = await denied(call)

    assert str(denial) == "add did not run: nobody answered within 30 s (0 could see the request)."
    assert (denial.outcome, denial.reason) == ("expired", None)
    assert statuses(broker) == ["waiting_permission", "denied"]
    broker.close()


async def test_request_that_somebody_withdraws_is_denied_as_cancelled(wrap: Wrap, broker: Broker) -> None:
    call = asyncio.create_task(wrap(add)(1))
    (await asked(broker)).cancel("the agent withdrew it")

    denial = await denied(call)

    assert str(denial) == "add did not run: the request was cancelled because the agent withdrew it."
    assert (denial.outcome, denial.reason) == ("cancelled", None)
    assert statuses(broker) == ["waiting_permission", "denied"]


async def test_shutdown_denies_what_waits(wrap: Wrap, broker: Broker) -> None:
    call = asyncio.create_task(wrap(add)(1))
    await asked(broker)
    broker.close()

    denial = await denied(call)

    assert str(denial) == "add did not run: the request was cancelled because the service is shutting down."
    assert denial.outcome == "cancelled"


async def test_end_of_the_session_denies_what_waits(wrap: Wrap, broker: Broker) -> None:
    call = asyncio.create_task(wrap(add)(1))
    await asked(broker)
    broker.end_session("s")

    denial = await denied(call)

    assert str(denial) == "add did not run: the request was cancelled because the session has ended."


async def test_approved_call_that_cannot_be_told_to_run_does_not_run() -> None:
    broker = Broker(Limits(max_sessions=1))
    ran: list[int] = []
    call = asyncio.create_task(ToolWrapper(ran.append, session_id="s", broker=broker, tool_name="write")(1))
    request = await asked(broker)
    broker.decide("s", Decision(approved=True, request_id=request.request_id), decided_by="ada")
    broker.end_session("s")
    broker.publish_nowait("another", "note", {})

    assert "write did not run" in str(await denied(call))
    assert ran == []


def test_wrapper_asks_a_broker_or_a_service_and_not_both(broker: Broker) -> None:
    with pytest.raises(TypeError, match="a broker or a service, not both"):
        ToolWrapper(print, session_id="s", broker=broker, service=Client())


@pytest.mark.parametrize("risk", ["low", "high"])
async def test_closed_service_denies_every_call(risk: Any, wrap: Wrap, broker: Broker) -> None:
    broker.close()
    ran: list[int] = []

    denial = await denied(wrap(ran.append, tool_name="t", risk_level=risk)(1))

    assert str(denial) == "t did not run: The service is shutting down."
    assert (denial.outcome, denial.reason, denial.request_id) == ("unavailable", None, None)
    assert ran == []


async def test_call_that_was_approved_just_before_the_shutdown_does_not_run(wrap: Wrap, broker: Broker) -> None:
    ran: list[int] = []
    call = asyncio.create_task(wrap(ran.append, tool_name="t")(1))
    await asked(broker)
    broker.decide("s", Decision(approved=True), decided_by="ada")
    broker.close()

    assert (await denied(call)).outcome == "unavailable"
    assert ran == []


async def test_more_calls_than_may_wait_are_denied() -> None:
    broker = Broker(Limits(max_pending_per_session=1))
    tool = ToolWrapper(add, session_id="s", broker=broker)
    first = asyncio.create_task(tool(1))
    await asked(broker)

    denial = await denied(tool(2))

    assert str(denial) == "add did not run: 1 permission requests are pending in this session; more are denied."
    assert (denial.outcome, denial.request_id) == ("limit", None)
    assert statuses(broker) == ["waiting_permission", "denied"]
    broker.close()
    await denied(first)


async def test_bad_session_id_denies_every_call(broker: Broker) -> None:
    denial = await denied(ToolWrapper(add, session_id="no spaces", broker=broker, risk_level="low")(1))

    assert str(denial) == "add did not run: A session id matches [A-Za-z0-9._:~-]{1,128}."
    assert denial.outcome == "invalid"


def circular() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


def deep() -> list[Any]:
    items: list[Any] = []
    for _ in range(300):
        items = [items]
    return items


@pytest.mark.parametrize("risk", ["low", "high"])
@pytest.mark.parametrize(
    "value",
    [object(), circular(), deep(), float("nan"), float("inf"), "\ud800", {"\udfff": 1}, threading.Lock()],
    ids=["object", "circular", "deep", "nan", "infinity", "surrogate", "surrogate key", "lock"],
)
async def test_parameters_that_cannot_be_shown_are_denied(value: Any, risk: Any, wrap: Wrap, broker: Broker) -> None:
    ran: list[Any] = []

    def tool(value: Any) -> None:
        ran.append(value)

    denial = await denied(wrap(tool, risk_level=risk)(value))

    assert str(denial).startswith("tool did not run: the parameters cannot be ")
    assert (denial.outcome, ran) == ("invalid", [])
    assert statuses(broker) == ["denied"]


@pytest.mark.parametrize("value", [object(), circular(), float("nan"), "\ud800"])
async def test_parameters_of_a_session_call_that_cannot_be_shown_are_denied(
    value: Any, wrap: Wrap, broker: Broker
) -> None:
    upstream = BareUpstream()

    denial = await denied(wrap(upstream).call_tool("t", {"value": value}))

    assert str(denial).startswith("t did not run: the parameters cannot be shown as JSON: ")
    assert (denial.outcome, upstream.calls) == ("invalid", [])
    assert statuses(broker) == ["denied"]


async def test_generator_as_a_parameter_is_denied_unread(wrap: Wrap) -> None:
    items = (item for item in [1, 2, 3])

    assert (await denied(wrap(list)(items))).outcome == "invalid"
    assert list(items) == [1, 2, 3]


async def test_huge_parameters_that_somebody_must_see_are_denied(wrap: Wrap, broker: Broker) -> None:
    denial = await denied(wrap(len)("x" * 17_000_000))

    assert "17000010 bytes are over the limit of 16777216" in str(denial)
    assert denial.outcome == "invalid"
    assert statuses(broker) == ["denied"]


async def test_huge_parameters_that_nobody_is_asked_about_run_and_show_their_beginning(
    wrap: Wrap, broker: Broker
) -> None:
    assert await wrap(len, risk_level="low")("x" * 300_000) == 300_000

    details = told(broker, "tool_status")[0]["details"]
    assert details["parameters"]["beginning"].startswith('{"obj":"xxx')
    assert (details["parameters_truncated"], details["parameters_bytes"]) == (True, 300_010)


# How it ends


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_exception_of_the_tool_reaches_the_caller_unchanged(kind: str, wrap: Wrap, broker: Broker) -> None:
    error = FileNotFoundError(2, "No such file", "a.txt")

    async def fail() -> None:
        raise error

    def fail_plainly() -> None:
        raise error

    with pytest.raises(FileNotFoundError) as raised:
        await wrap(fail if kind == "async" else fail_plainly, risk_level="low")()

    [result] = told(broker, "tool_result")
    assert raised.value is error
    assert (result["success"], result["result"]) == (False, None)
    assert result["error"] == "FileNotFoundError: [Errno 2] No such file: 'a.txt'"
    assert statuses(broker) == ["executing", "failed"]
    assert told(broker, "tool_status")[-1]["details"]["error"] == result["error"]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError(), "KeyError"),
        (ValueError("x" * 3000), "ValueError: " + "x" * 1988 + "… (1012 more characters)"),
        (ValueError("half \ud800"), "ValueError: half \\ud800"),
    ],
    ids=["nothing to say", "long", "surrogate"],
)
async def test_exception_is_told_in_a_bounded_text(error: Exception, text: str, wrap: Wrap, broker: Broker) -> None:
    async def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        await wrap(fail, risk_level="low")()

    assert told(broker, "tool_result")[0]["error"] == text


async def test_exception_that_cannot_be_printed_reaches_the_caller_too(wrap: Wrap, broker: Broker) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    async def fail() -> None:
        raise Unprintable

    with pytest.raises(Unprintable):
        await wrap(fail, risk_level="low")()

    assert statuses(broker) == ["executing", "failed"]


async def test_plain_tool_that_runs_out_of_items_fails_like_an_async_one(wrap: Wrap, broker: Broker) -> None:
    def first() -> int:
        return next(iter([]))  # raises StopIteration, which no coroutine may raise (PEP 479)

    with pytest.raises(RuntimeError):
        async with asyncio.timeout(1):
            await wrap(first, risk_level="low")()

    assert statuses(broker) == ["executing", "failed"]


async def test_cancelled_call_withdraws_its_request(wrap: Wrap, broker: Broker) -> None:
    call = asyncio.create_task(wrap(add)(1))
    request = await asked(broker)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert (request.record.status, request.record.reason) == ("cancelled", "the call was cancelled")
    assert statuses(broker) == ["waiting_permission", "cancelled"]
    assert broker.get("s").snapshot().running == ()


async def test_cancelled_run_is_told_as_cancelled(wrap: Wrap, broker: Broker) -> None:
    started = asyncio.Event()

    async def wait() -> None:
        started.set()
        await asyncio.Event().wait()

    call = asyncio.create_task(wrap(wait, risk_level="low")())
    await started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert statuses(broker) == ["executing", "cancelled"]
    assert told(broker, "tool_result") == []


async def test_end_of_the_service_does_not_change_what_a_running_tool_gives(wrap: Wrap, broker: Broker) -> None:
    async def tool() -> int:
        broker.close()
        return 5

    assert await wrap(tool, risk_level="low")() == 5


async def test_huge_result_reaches_the_caller_whole_and_people_in_part(wrap: Wrap, broker: Broker) -> None:
    text = "é" * 200_000

    assert await wrap(lambda: text, risk_level="low")() == text

    [result] = told(broker, "tool_result")
    assert (result["truncated"], result["result_bytes"]) == (True, 400_002)
    assert result["result"] == '"' + "é" * 4095


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (Path("a"), "a"),
        (Point(1, 2), {"x": 1, "y": 2}),
        (float("nan"), "NaN"),
        ([float("-inf")], ["-Infinity"]),
        ("\ud800", "\\ud800"),
        ({"name": "\udcff"}, {"name": "\\udcff"}),
        (b"\xff", "_w=="),
        (Adder, repr(Adder)),
        ([1, Adder], [1, repr(Adder)]),
        (Unprintable(), "<Unprintable, which cannot be printed: RuntimeError>"),
        (2**70, 2**70),
    ],
    ids=lambda value: ascii(value)[:40] if not isinstance(value, Unprintable) else "Unprintable",
)
async def test_result_is_shown_as_well_as_it_can_be_and_returned_as_it_is(
    value: Any, shown: Any, wrap: Wrap, broker: Broker
) -> None:
    assert await wrap(lambda: value, risk_level="low")() is value

    assert told(broker, "tool_result")[0]["result"] == shown
    assert statuses(broker) == ["executing", "completed"]


async def test_circular_result_is_shown_as_python_prints_it(wrap: Wrap, broker: Broker) -> None:
    value = circular()

    assert await wrap(lambda: value, risk_level="low")() is value
    assert told(broker, "tool_result")[0]["result"] == "[[...]]"


async def test_generator_that_a_tool_gives_reaches_the_caller_unread(wrap: Wrap, broker: Broker) -> None:
    def count() -> Iterator[int]:
        yield from range(3)

    items = await wrap(count, risk_level="low")()

    assert list(items) == [0, 1, 2]
    assert told(broker, "tool_result")[0]["result"].startswith("<generator object ")


async def test_generator_inside_a_result_reaches_the_caller_unread(wrap: Wrap) -> None:
    result = await wrap(lambda: {"rows": (row for row in range(3))}, risk_level="low")()

    assert list(result["rows"]) == [0, 1, 2]


async def test_result_whose_attributes_raise_reaches_the_caller(wrap: Wrap, broker: Broker) -> None:
    class Row:
        def __getattr__(self, name: str) -> Any:
            return {}[name]

    row = Row()

    assert await wrap(lambda: row, risk_level="low")() is row
    assert statuses(broker) == ["executing", "completed"]


async def test_tool_that_goes_on_using_its_result_does_not_change_what_was_told(wrap: Wrap, broker: Broker) -> None:
    items = await wrap(lambda: ["a"], risk_level="low")()
    items.append("b")

    result = broker.get("s").snapshot().tool_result
    assert result is not None
    assert result.result == ["a"]


# Progress


async def test_progress_is_told_from_the_loop(wrap: Wrap, broker: Broker) -> None:
    async def tool() -> None:
        report_progress(1, 2, "half")
        await asyncio.sleep(0)

    await wrap(tool, risk_level="low")()

    assert types(broker) == ["tool_status", "tool_progress", "tool_result", "tool_status"]
    progress = told(broker, "tool_progress")[0]
    assert (progress["progress"], progress["total"], progress["message"]) == (1, 2, "half")


async def test_progress_told_just_before_the_end_is_not_lost(wrap: Wrap, broker: Broker) -> None:
    async def tool() -> None:
        report_progress(2, 2, "done")

    await wrap(tool, risk_level="low")()
    await asyncio.sleep(0)

    assert types(broker) == ["tool_status", "tool_progress", "tool_result", "tool_status"]


async def test_progress_is_told_from_the_thread(wrap: Wrap, broker: Broker) -> None:
    def tool() -> None:
        report_progress(1)
        report_progress(2.5)

    await wrap(tool, risk_level="low")()

    assert types(broker) == ["tool_status", "tool_progress", "tool_progress", "tool_result", "tool_status"]
    assert [progress["progress"] for progress in told(broker, "tool_progress")] == [1, 2.5]
    assert "total" not in told(broker, "tool_progress")[0]


async def test_progress_belongs_to_the_call_that_reports_it(wrap: Wrap, broker: Broker) -> None:
    async def inner() -> None:
        report_progress(1)
        await asyncio.sleep(0)

    async def outer() -> None:
        await wrap(inner, risk_level="low")()
        report_progress(2)
        await asyncio.sleep(0)

    await wrap(outer, risk_level="low")()

    assert [(progress["tool_name"], progress["progress"]) for progress in told(broker, "tool_progress")] == [
        ("inner", 1),
        ("outer", 2),
    ]


async def test_progress_after_the_end_is_not_told(wrap: Wrap, broker: Broker) -> None:
    left: list[asyncio.Task[None]] = []

    async def linger() -> None:
        await over.wait()
        report_progress(9)

    async def tool() -> None:
        left.append(asyncio.create_task(linger()))

    over = asyncio.Event()
    await wrap(tool, risk_level="low")()
    over.set()
    await left[0]
    await asyncio.sleep(0)

    assert told(broker, "tool_progress") == []


async def test_progress_outside_any_call_has_no_effect(broker: Broker) -> None:
    set_process_broker(broker)

    report_progress(1)

    assert broker.sessions == ()


@pytest.mark.parametrize(
    "progress",
    [
        float("nan"),
        float("inf"),
        "half",
        pytest.param(
            None,
        ),
        pytest.param(
            10**400,
        ),
    ],
    ids=["nan", "infinity", "text", "none", "huge"],
)
async def test_progress_that_is_no_number_is_logged_and_changes_nothing(
    progress: Any, wrap: Wrap, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    async def tool() -> int:
        report_progress(progress)
        await asyncio.sleep(0)
        return 5

    with caplog.at_level(logging.WARNING):
        assert await wrap(tool, risk_level="low")() == 5

    assert told(broker, "tool_progress") == []
    assert caplog.messages == ["a tool reported progress that is no number"]


async def test_long_progress_message_is_cut(wrap: Wrap, broker: Broker) -> None:
    await wrap(lambda: report_progress(1, message="x" * 5000), risk_level="low")()

    assert told(broker, "tool_progress")[0]["message"] == "x" * 4096


async def test_call_that_the_policy_denies_does_not_run(
    wrap: Wrap, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier_service.core.session.judge", lambda *call, **rules: Verdict("deny", ("rule 3",)))

    with pytest.raises(ToolDenied, match=r"add did not run: denied by policy: rule 3\.") as denied:
        await wrap(add)(1)

    assert (denied.value.outcome, denied.value.reason) == ("policy", None)
    assert types(broker) == ["permission_response_result", "tool_status"]
    assert statuses(broker) == ["denied"]


async def test_keyword_that_is_called_args_stays_one_where_nothing_tells_the_signature(wrap: Wrap) -> None:
    assert await wrap(dict, risk_level="low")(args=[["a", 1]]) == {"args": [["a", 1]]}


async def test_edit_of_a_list_into_something_else_does_not_run(wrap: Wrap, broker: Broker) -> None:
    with pytest.raises(ToolDenied, match="The edit of value is no list"):
        await answered(broker, wrap(lambda value: value)([1]), approved=True, parameters={"value": "x"})
    broker.open("s")

    assert await answered(broker, wrap(lambda value: value)([]), approved=True, parameters={"value": "x"}) == "x"


async def test_edit_that_leaves_a_name_out_passes_the_rest_by_name(wrap: Wrap, broker: Broker) -> None:
    def tool(a: int = 1, b: int = 2) -> tuple[int, int]:
        return a, b

    assert await answered(broker, wrap(tool)(5, 6), approved=True, parameters={"b": 7}) == (1, 7)


class Silent:
    """A session whose ``call_tool`` tells no signature."""

    call_tool = dict


async def test_session_that_tells_no_signature_is_called_as_it_is(wrap: Wrap) -> None:
    with pytest.raises(TypeError, match="dict expected at most 1 argument"):
        await wrap(Silent(), risk_level="low").call_tool("t", {})


async def test_arguments_that_clash_where_nothing_tells_the_signature_are_refused(wrap: Wrap) -> None:
    with pytest.raises(TypeError, match="'args' names both"):
        await wrap(dict, risk_level="low")([("a", 1)], args=2)


async def test_rule_of_a_policy_file_denies_in_its_own_words(wrap: Wrap, broker: Broker, tmp_path: Path) -> None:
    broker.follow(a_policy_file(tmp_path / "policy.toml", deny="add"))

    with pytest.raises(ToolDenied) as denied:
        await wrap(add, risk_level="low")(1)

    assert str(denied.value) == 'add did not run: denied by policy rule "no add": because of add'
    [told_denied] = told(broker, "tool_status")
    assert told_denied["status"] == "denied"
    details = {name: told_denied["details"][name] for name in ("outcome", "rule", "justification")}
    assert details == {"outcome": "policy", "rule": "no add", "justification": "because of add"}


async def test_rule_of_a_policy_file_lets_run_unasked_what_is_risky(wrap: Wrap, broker: Broker, tmp_path: Path) -> None:
    broker.follow(a_policy_file(tmp_path / "policy.toml", allow="add"))

    await wrap(add, risk_level="high")(1)

    assert "permission_request" not in types(broker)


async def test_call_is_asked_and_told_in_the_trace_of_its_caller(broker: Broker) -> None:
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    with in_trace(traceparent):
        await answered(broker, ToolWrapper(add, session_id="s", broker=broker)(1), approved=True)

    events = [json.loads(event.json) for event in broker.open("s").log.read_after(0)]
    told = {
        event["type"] for event in events if traceparent in (event.get("traceparent"), event["data"].get("traceparent"))
    }
    assert {"tool_status", "permission_request", "tool_result"} <= told
    assert {event["type"] for event in events} - told == {"permission_cleared"}  # which is about a request alone
