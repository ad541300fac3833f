"""What is under way between a client and a server stands in one book: whose answer comes, and whom a cancel means."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from notifier_service import Broker
from notifier_service.calls.asker import BrokerAsker
from notifier_service.calls.catalog import Catalog
from notifier_service.mcp.conversation import Conversation, HeldCalls
from notifier_service.mcp.gate import Answer, Gate, Run
from notifier_service.mcp.message import Message, ToolCall
from tests.mcp.stdio_client import call

Start = Callable[..., Run]


def tool_call(message_id: Any, name: str, **params: Any) -> ToolCall:
    return ToolCall(Message.parse(json.dumps(call(message_id, name, **params)).encode()))


async def one_list(method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
    reads = {"readOnlyHint": True, "openWorldHint": False}
    return {"result": {"tools": [{"name": "read", "annotations": reads}]}}


def withdraw_nothing() -> None:
    """Somebody else ends the waiting."""


@pytest.fixture
async def calls(broker: Broker) -> Conversation:
    catalog = Catalog(one_list)
    await catalog.find("read", {})
    return Conversation(Gate(BrokerAsker(broker, "s"), catalog))


@pytest.fixture
def start(calls: Conversation) -> Start:
    """Send a call to a server that nobody need be."""

    def start_one(message_id: Any, token: Any = None) -> Run:
        run = calls.gate.admit_nowait(tool_call(message_id, "read", _meta={"progressToken": token}))
        assert run is not None
        calls.starts(run)
        return run

    return start_one


def told(broker: Broker, event_type: str) -> list[dict[str, Any]]:
    events = [json.loads(event.json) for event in broker.open("s").log.read_after(0)]
    return [event["data"] for event in events if event["type"] == event_type]


def statuses(broker: Broker) -> list[str]:
    return [data["status"] for data in told(broker, "tool_status")]


def progress(token: Any, amount: int = 1) -> dict[str, Any]:
    return {"method": "notifications/progress", "params": {"progressToken": token, "progress": amount}}


async def test_answer_ends_the_call_with_its_id_and_is_told_once(
    broker: Broker, calls: Conversation, start: Start
) -> None:
    start(1)
    start("1")

    calls.read({"id": 1.0, "result": {}})
    calls.read({"id": 1, "result": {}})

    assert statuses(broker) == ["executing", "executing", "completed"]
    assert not calls.is_under_way(1)
    assert calls.is_under_way("1")


@pytest.mark.parametrize("message_id", [True, None, [1], {"id": 1}, "1 "])
async def test_what_is_no_id_of_a_call_answers_none(calls: Conversation, start: Start, message_id: Any) -> None:
    start(1)

    calls.read({"id": message_id, "result": {}})

    assert calls.is_under_way(1)


async def test_answer_on_the_stream_of_one_call_is_for_no_other(calls: Conversation, start: Start) -> None:
    mine = start(1)
    start(2)

    calls.read({"id": 2, "result": {}}, only=mine)

    assert calls.is_under_way(2)


async def test_request_of_the_server_with_the_id_of_a_call_is_no_answer(calls: Conversation, start: Start) -> None:
    start(1)

    calls.read({"id": 1, "method": "roots/list"})

    assert calls.is_under_way(1)


async def test_progress_is_that_of_the_calls_with_its_token(broker: Broker, calls: Conversation, start: Start) -> None:
    for message_id, token in ((1, 7), (2, "7"), (3, None)):
        start(message_id, token)

    for said in (progress(7), progress(True), progress(None), {"method": "notifications/progress", "params": []}):
        calls.read(said)

    assert len(told(broker, "tool_progress")) == 1


async def test_progress_on_the_stream_of_one_call_is_for_no_other(
    broker: Broker, calls: Conversation, start: Start
) -> None:
    start(1, "a")

    calls.read(progress("a"), only=start(2, "b"))

    assert told(broker, "tool_progress") == []


async def test_list_that_has_changed_is_not_believed_any_more(calls: Conversation) -> None:
    calls.read({"method": "notifications/tools/list_changed"})

    assert calls.gate.admit_nowait(tool_call(1, "read")) is None


async def test_cancel_of_a_waiting_call_withdraws_it_and_is_not_for_the_server(calls: Conversation) -> None:
    held = calls.hold(1, withdraw_nothing)

    assert calls.cancelled(1)
    assert held.is_withdrawn


async def test_cancel_of_a_running_call_is_told_and_passed_on(
    broker: Broker, calls: Conversation, start: Start
) -> None:
    start(1)

    assert not calls.cancelled(1)
    assert statuses(broker) == ["executing", "cancelled"]
    assert not calls.is_running


@pytest.mark.parametrize("message_id", [2, "1", True, None, [1]])
async def test_cancel_of_another_id_withdraws_nothing(calls: Conversation, message_id: Any) -> None:
    held = calls.hold(1, withdraw_nothing)

    assert not calls.cancelled(message_id)
    assert not held.is_withdrawn


async def test_cancel_that_may_mean_two_calls_means_none(broker: Broker, calls: Conversation, start: Start) -> None:
    start(1)
    held = calls.hold(1, withdraw_nothing)

    assert not calls.cancelled(1)
    assert not held.is_withdrawn
    assert statuses(broker) == ["executing"]


def test_of_two_waiting_calls_with_one_id_none_is_withdrawn_until_one_is_gone() -> None:
    calls = HeldCalls()
    first, second = calls.hold(1, withdraw_nothing), calls.hold(1, withdraw_nothing)

    assert not calls.cancelled(1)
    calls.let_go(first)
    calls.let_go(first)
    assert calls.cancelled(1)
    assert second.is_withdrawn
    assert not first.is_withdrawn


async def test_answer_to_a_waiting_call_does_not_pass_in_any_reading_of_its_id(calls: Conversation) -> None:
    held = calls.hold(12, withdraw_nothing)

    assert not any(calls.may_answer(message_id) for message_id in (12, 12.0, "12", " 12", "1.2e1"))
    assert calls.may_answer(13)
    calls.let_go(held)
    assert calls.may_answer(12)


async def test_answer_of_a_running_call_passes_beside_one_that_looks_like_it(calls: Conversation, start: Start) -> None:
    mine = start(12)
    calls.hold("12", withdraw_nothing)

    assert calls.may_answer(12)
    assert calls.may_answer(12, only=mine)
    assert not calls.may_answer("12", only=mine)


async def test_own_requests_are_known_and_nobody_guesses_their_ids(broker: Broker, calls: Conversation) -> None:
    (first, text), (second, _) = calls.own_request("tools/list", {}), calls.own_request("tools/list", {"cursor": "x"})
    other = Conversation(calls.gate).own_request("tools/list", {})[0]

    assert json.loads(text) == {"jsonrpc": "2.0", "id": first, "method": "tools/list", "params": {}}
    assert first != second
    assert [calls.is_own(message_id) for message_id in (first, second, other, 1, None)] == [True, True, *[False] * 3]


async def test_client_that_is_gone_has_nothing_under_way(broker: Broker, calls: Conversation, start: Start) -> None:
    held = calls.hold(1, withdraw_nothing)
    start(2)
    start(3)

    calls.withdraw()

    assert held.is_withdrawn
    assert not calls.is_running
    assert statuses(broker)[2:] == ["cancelled", "cancelled"]


async def test_server_that_is_gone_fails_what_it_owes(broker: Broker, calls: Conversation, start: Start) -> None:
    start(1)

    calls.fail("the server ended")

    assert told(broker, "tool_result")[0]["error"] == "the server ended"
    assert not calls.is_running


async def test_call_that_a_server_never_answers_does_not_stay_for_ever(calls: Conversation, start: Start) -> None:
    for message_id in range(1001):
        start(message_id)

    assert not calls.is_under_way(0)
    assert calls.is_under_way(1)


async def test_gate_that_fails_runs_nothing(
    calls: Conversation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*arguments: Any) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(calls.gate, "admit", fail)

    answer = await calls.admit(tool_call(1, "read"), lambda beat: None)

    assert isinstance(answer, Answer)
    assert json.loads(answer.text)["error"] == {"code": -32603, "message": "The gateway failed; nothing ran."}
    assert "a call could not be judged, and was not run" in caplog.text
