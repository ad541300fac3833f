"""How long a person may take depends on the client; what went wrong on the way to a person denies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Decision, Limits
from notifier_service.calls.asker import BrokerAsker
from notifier_service.calls.catalog import Catalog
from notifier_service.core.errors import InvalidInput
from notifier_service.mcp.gate import Answer, Gate, Run
from notifier_service.mcp.message import Message, ToolCall
from tests.clock import Clock
from tests.mcp.stdio_client import call
from tests.mcp.task_client import TAKES
from tests.policies import a_policy_file


def tool_call(*arguments: Any, **params: Any) -> ToolCall:
    return ToolCall(Message.parse(json.dumps(call(*arguments, **params)).encode()))


async def no_lists(method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
    raise ConnectionError


async def one_list(method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
    reads = {"readOnlyHint": True, "openWorldHint": False}
    return {"result": {"tools": [{"name": "read", "annotations": reads}, {"name": "write"}]}}


async def asked_for_seconds(broker: Broker, gate: Gate, made: ToolCall) -> float:
    """Put a call before the gate, and return how long the person may take."""
    task = asyncio.create_task(gate.admit(made, lambda beat: None))
    session = broker.open("s")
    async with asyncio.timeout(5):
        while not session.desk.pending:
            await session.log.wait_after(session.log.last_seq)
    request = session.desk.pending[-1]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert request.record.status == "cancelled"
    return request.record.timeout_seconds


async def test_client_that_nobody_knows_gets_its_answer_before_it_gives_up(broker: Broker) -> None:
    gate = Gate(BrokerAsker(broker, "s"), Catalog(no_lists))

    assert 50 < await asked_for_seconds(broker, gate, tool_call(1, "write")) <= 55


async def test_patient_client_waits_as_long_as_the_service_does(broker: Broker) -> None:
    gate = Gate(BrokerAsker(broker, "s"), Catalog(no_lists))
    gate.client_name = "claude-code"

    assert await asked_for_seconds(broker, gate, tool_call(1, "write")) == 300


async def test_patient_client_of_the_stateless_era_says_so_in_each_call(broker: Broker) -> None:
    gate = Gate(BrokerAsker(broker, "s"), Catalog(no_lists))
    meta = {"io.modelcontextprotocol/clientInfo": {"name": "claude-code"}}

    assert await asked_for_seconds(broker, gate, tool_call(1, "write", _meta=meta)) == 300


async def test_time_that_is_given_holds_for_every_client(broker: Broker) -> None:
    gate = Gate(BrokerAsker(broker, "s"), Catalog(no_lists), approval_seconds=120)
    gate.client_name = "claude-code"

    assert 119 < await asked_for_seconds(broker, gate, tool_call(1, "write")) <= 120


@pytest.mark.parametrize(
    ("client_seconds", "name", "expected"), [(20, "x", 16), (20, "claude-code", 16), (600, "x", 55)]
)
async def test_nobody_is_asked_for_a_client_that_is_known_to_have_given_up(
    broker: Broker, client_seconds: float, name: str, expected: float
) -> None:
    gate = Gate(BrokerAsker(broker, "s"), Catalog(no_lists), client_seconds=client_seconds)
    gate.client_name = name

    assert expected - 1 < await asked_for_seconds(broker, gate, tool_call(1, "write")) <= expected


async def test_client_that_takes_tasks_waits_as_long_as_the_service_does(broker: Broker) -> None:
    gate = Gate(BrokerAsker(broker, "s"), Catalog(no_lists), client_seconds=20)

    assert await asked_for_seconds(broker, gate, tool_call(1, "write", _meta=TAKES)) == 300


async def test_whole_call_is_told_in_the_trace_that_it_names(broker: Broker) -> None:
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    gate = Gate(BrokerAsker(broker, "s"), Catalog(no_lists))
    admission = asyncio.create_task(
        gate.admit(tool_call(1, "w", _meta={"traceparent": traceparent}), lambda beat: None)
    )
    session = broker.open("s")
    async with asyncio.timeout(5):
        while not session.desk.pending:
            await session.log.wait_after(session.log.last_seq)

    broker.decide("s", Decision(approved=True), decided_by="ada")
    run = await admission
    assert isinstance(run, Run)
    run.begins()
    run.ends({"result": {"content": []}})

    events = [json.loads(event.json) for event in session.log.read_after(0)]
    told = {(event["type"], event["data"].get("status")): event.get("traceparent") for event in events}
    for status in ("waiting_permission", "executing", "completed"):
        assert told["tool_status", status] == traceparent
    assert told["tool_result", None] == traceparent


async def test_call_whose_parameters_nobody_could_be_shown_is_denied(broker: Broker) -> None:
    gate = Gate(BrokerAsker(broker, "s"), Catalog(one_list))
    made = ToolCall(
        Message.parse(
            b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"w","arguments":{"x":"\\ud800"}}}'
        )
    )

    answer = await gate.admit(made, lambda beat: None)

    assert isinstance(answer, Answer)
    assert json.loads(answer.text)["result"]["isError"] is True


async def test_call_that_is_too_large_to_be_shown_is_denied() -> None:
    broker = Broker(Limits(max_parameters_bytes=256 * 1024))
    gate = Gate(BrokerAsker(broker, "s"), Catalog(one_list))

    answer = await gate.admit(tool_call(1, "write", {"x": "y" * 300_000}), lambda beat: None)

    assert isinstance(answer, Answer)
    assert "limit" in json.loads(answer.text)["result"]["content"][0]["text"]
    broker.close()


async def test_more_calls_than_may_wait_are_denied() -> None:
    broker = Broker(Limits(max_pending_per_session=1))
    gate = Gate(BrokerAsker(broker, "s"), Catalog(one_list))
    first = asyncio.create_task(gate.admit(tool_call(1, "write"), lambda beat: None))
    while not broker.open("s").desk.pending:  # noqa: ASYNC110  # each turn of the loop brings it further
        await asyncio.sleep(0)

    answer = await gate.admit(tool_call(2, "write"), lambda beat: None)

    assert isinstance(answer, Answer)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    broker.close()


async def test_call_that_nobody_was_even_shown_is_denied_in_time() -> None:
    broker = Broker(Limits(one_request_at_a_time=True))
    gate = Gate(BrokerAsker(broker, "s"), Catalog(one_list), approval_seconds=0.1)
    broker.ask("s", tool_name="other", parameters={})

    answer = await gate.admit(tool_call(1, "write"), lambda beat: None)

    assert isinstance(answer, Answer)
    assert "nobody approved it within 0.1 s" in json.loads(answer.text)["result"]["content"][0]["text"]
    assert len(broker.open("s").desk.pending) == 1
    broker.close()


async def test_policy_that_always_asks_holds_a_tool_that_only_reads() -> None:
    broker = Broker(Limits(ask_from_risk="low"))
    gate = Gate(BrokerAsker(broker, "s"), Catalog(one_list))

    assert await asked_for_seconds(broker, gate, tool_call(1, "read")) > 0
    broker.close()


async def test_known_tool_that_only_reads_is_let_through_without_waiting(broker: Broker) -> None:
    gate = Gate(BrokerAsker(broker, "s"), Catalog(one_list))
    assert gate.admit_nowait(tool_call(1, "read")) is None
    await gate.admit(tool_call(1, "read"), lambda beat: None)

    assert isinstance(gate.admit_nowait(tool_call(2, "read")), Run)
    assert gate.admit_nowait(tool_call(3, "write")) is None


# Calls of several rounds


class Server:
    """A server whose one tool is defined so."""

    def __init__(self, **annotations: bool) -> None:
        self.tool: dict[str, Any] = {"name": "ask", "annotations": annotations}

    async def request(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"result": {"tools": [self.tool]}}


async def decided(broker: Broker, **decision: Any) -> None:
    session = broker.open("s")
    async with asyncio.timeout(5):
        while not session.desk.pending:
            await session.log.wait_after(session.log.last_seq)
    broker.decide("s", Decision(request_id=session.desk.pending[0].request_id, **decision), decided_by="ada")


async def first_round(broker: Broker, gate: Gate, **decision: Any) -> None:
    """A call that a person lets run, or the policy, and that the server wants again with the state ``s``."""
    admitting = asyncio.create_task(gate.admit(tool_call(1, "ask", {"n": 1}), lambda beat: None))
    if decision:
        await decided(broker, **decision)
    run = await admitting
    assert isinstance(run, Run)
    run.begins()
    run.ends({"result": {"resultType": "input_required", "requestState": "s"}})


SECOND = tool_call(2, "ask", {"n": 1}, requestState="s")
CLOSED = {"openWorldHint": False}


@pytest.mark.parametrize(
    ("annotations", "decision", "level"),
    [
        ({"readOnlyHint": True} | CLOSED, {}, "low"),
        ({"destructiveHint": False} | CLOSED, {"approved": True}, "medium"),
        ({}, {"approved": True}, "high"),
    ],
)
async def test_second_round_is_told_at_the_risk_of_the_first(
    annotations: dict[str, bool], decision: dict[str, Any], level: str, broker: Broker
) -> None:
    gate = Gate(BrokerAsker(broker, "s"), Catalog(Server(**annotations).request))
    await first_round(broker, gate, **decision)

    run = gate.admit_nowait(SECOND)

    assert isinstance(run, Run)
    run.begins()
    told = [
        json.loads(event.json)["data"] for event in broker.open("s").log.read_after(0) if event.type == "tool_status"
    ]
    running = [status["details"]["risk_level"] for status in told if status["status"] == "executing"]
    assert running == [level, level]


async def test_second_round_runs_what_a_person_made_of_the_first(broker: Broker) -> None:
    gate = Gate(BrokerAsker(broker, "s"), Catalog(Server().request))
    await first_round(broker, gate, approved=True, parameters={"n": 2})
    gate.catalog.drop()  # the list may have changed: it is read anew, and the tool is as it was

    run = await gate.admit(SECOND, lambda beat: None)

    assert isinstance(run, Run)
    assert json.loads(run.text)["params"]["arguments"] == {"n": 2}


async def test_second_round_is_asked_about_where_the_server_defines_the_tool_anew(broker: Broker) -> None:
    server = Server()
    gate = Gate(BrokerAsker(broker, "s"), Catalog(server.request))
    await first_round(broker, gate, approved=True)
    server.tool["description"] = "another"
    gate.catalog.drop()

    await asked_for_seconds(broker, gate, SECOND)


async def test_second_round_does_not_run_where_a_person_has_denied_the_tool_meanwhile(broker: Broker) -> None:
    gate = Gate(BrokerAsker(broker, "s"), Catalog(Server().request))
    await first_round(broker, gate, approved=True)
    other = asyncio.create_task(gate.admit(tool_call(3, "ask"), lambda beat: None))
    await decided(broker, approved=False, scope="session")
    await other

    assert gate.admit_nowait(SECOND) is None
    answer = await gate.admit(SECOND, lambda beat: None)

    assert isinstance(answer, Answer)
    assert b"denied by policy rule" in answer.text


async def test_second_round_comes_too_late(broker: Broker, clock: Clock) -> None:
    gate = Gate(BrokerAsker(broker, "s"), Catalog(Server().request, clock=clock), clock=clock)
    await first_round(broker, gate, approved=True)

    clock.advance(3600)

    assert gate.admit_nowait(SECOND) is None


# What the session is told


async def test_further_round_of_a_call_is_told_with_its_own_risk(broker: Broker) -> None:
    gate = Gate(BrokerAsker(broker, "s"), Catalog(one_list))
    run = await gate.admit(tool_call(1, "read", {}), lambda beat: None)
    assert isinstance(run, Run)
    run.ends({"result": {"resultType": "input_required", "requestState": "s"}})

    again = gate.admit_nowait(tool_call(2, "read", {}, requestState="s"))
    assert again is not None
    again.begins()
    again.ends({"result": {"content": []}})

    told = [json.loads(event.json)["data"] for event in broker.open("s").log.read_after(0)]
    assert {data["details"]["risk_level"] for data in told if "details" in data} == {"low"}


@pytest.mark.parametrize(
    "params",
    [
        {"progress": "1"},
        {"progress": True},
        {},
        {"progress": float("nan")},
        {"progress": 10**400},
    ],
)
async def test_progress_that_is_no_number_is_not_told(broker: Broker, params: dict[str, Any]) -> None:
    gate = Gate(BrokerAsker(broker, "s"), Catalog(one_list))
    run = await gate.admit(tool_call(1, "read"), lambda beat: None)
    assert isinstance(run, Run)

    run.progress(params)
    run.ends({"error": "odd"})

    types = [event.type for event in broker.open("s").log.read_after(0)]
    assert types == ["tool_result", "tool_status"]


WRITES = {"type": "object", "properties": {"path": {"type": "string"}}}


def listing(schema: Any) -> Catalog:
    async def answered(method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"result": {"tools": [{"name": "write", "inputSchema": schema}]}}

    return Catalog(answered)


async def edited(broker: Broker, gate: Gate) -> Run:
    task = asyncio.create_task(gate.admit(tool_call(1, "write", {"path": "a"}), lambda beat: None))
    session = broker.open("s")
    async with asyncio.timeout(5):
        while not session.desk.pending:
            await session.log.wait_after(session.log.last_seq)
    broker.decide("s", Decision(approved=True, parameters={"path": "b"}), decided_by="ada")
    run = await task
    assert isinstance(run, Run)
    return run


async def test_edit_fits_what_the_server_says_that_its_tool_takes(broker: Broker) -> None:
    task = asyncio.create_task(
        Gate(BrokerAsker(broker, "s"), listing(WRITES)).admit(tool_call(1, "write", {"path": "a"}), lambda beat: None)
    )
    session = broker.open("s")
    async with asyncio.timeout(5):
        while not session.desk.pending:
            await session.log.wait_after(session.log.last_seq)
    with pytest.raises(InvalidInput, match="parameters/path: it is not of type"):
        broker.decide("s", Decision(approved=True, parameters={"path": 7}), decided_by="ada")
    broker.decide("s", Decision(approved=False), decided_by="ada")

    assert isinstance(await task, Answer)


async def test_tool_whose_schema_is_too_large_is_offered_for_no_edit(broker: Broker) -> None:
    gate = Gate(BrokerAsker(broker, "s"), listing({"type": "object", "enum": ["x" * 200_000]}))
    task = asyncio.create_task(gate.admit(tool_call(1, "write"), lambda beat: None))
    session = broker.open("s")
    async with asyncio.timeout(5):
        while not session.desk.pending:
            await session.log.wait_after(session.log.last_seq)
    record = session.desk.pending[0].record
    broker.decide("s", Decision(approved=False), decided_by="ada")
    await task

    assert "edit" not in record.allowed_decisions
    assert "input schema cannot be checked" in record.risk_reasons[-2] + record.risk_reasons[-1]


async def test_agent_is_told_in_the_result_that_a_person_changed_its_call(broker: Broker) -> None:
    run = await edited(broker, Gate(BrokerAsker(broker, "s"), listing(WRITES)))
    answer = run.answer({"id": 1, "jsonrpc": "2.0", "result": {"content": [{"type": "text", "text": "done"}], "x": 1}})

    assert answer is not None
    result = json.loads(answer)["result"]
    assert result["x"] == 1
    assert [block["text"] for block in result["content"]] == [
        "done",
        'Note: ada changed the parameters of this call before it ran. It ran with {"path":"b"}',
    ]


@pytest.mark.parametrize(
    "response",
    [
        {"id": 1, "error": {"code": 1, "message": "no"}},
        {"id": 1, "result": {"resultType": "input_required"}},
        {"id": 1, "result": {"content": [], "n": float("inf")}},
        {"id": 1, "result": "text"},
    ],
)
async def test_answer_that_has_no_place_for_a_note_passes_as_it_came(broker: Broker, response: dict[str, Any]) -> None:
    run = await edited(broker, Gate(BrokerAsker(broker, "s"), listing(WRITES)))

    assert run.answer(response) is None


async def test_message_with_a_key_twice_is_asked_about_even_if_a_rule_allows_its_tool(
    broker: Broker, tmp_path: Path
) -> None:
    broker.follow(a_policy_file(tmp_path / "policy.toml", allow="read"))
    gate = Gate(BrokerAsker(broker, "s"), Catalog(one_list))
    await gate.catalog.find("read", {})
    params = b'{"name":"read","arguments":{"path":"a","path":"b"}}'
    doubled = ToolCall(Message.parse(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%b}' % params))

    assert gate.admit_nowait(tool_call(1, "read", {"path": "b"})) is not None
    assert gate.admit_nowait(doubled) is None
