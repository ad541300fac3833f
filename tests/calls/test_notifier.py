"""The three calls of the reference documents publish to the process's broker."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Decision, Limits, SimpleNotifier
from notifier_service.core.broker import set_process_broker
from notifier_service.core.errors import BrokerClosed, InvalidInput, InvalidSessionId, LimitReached, NoBroker, TooLarge
from tests.policies import a_policy_file

INFO = {"tool_name": "write_file", "parameters": {"path": "a.txt"}, "risk_level": "medium"}


@pytest.fixture(autouse=True)
def process(broker: Broker) -> Broker:
    """The process's broker."""
    set_process_broker(broker)
    return broker


def told(broker: Broker) -> list[dict[str, Any]]:
    return [json.loads(event.json) for event in broker.get("s").log.read_after(0)]


async def test_start_is_told_as_executing_with_its_parameters(broker: Broker) -> None:
    await SimpleNotifier.notify_tool_execution_start("s", {**INFO, "tool_call_id": "c1", "description": "as asked"})

    [event] = told(broker)
    details = event["data"]["details"]
    assert (event["type"], event["data"]["status"], event["data"]["tool_name"]) == (
        "tool_status",
        "executing",
        "write_file",
    )
    assert event["data"]["tool_call_id"] == "c1"
    assert details.pop("start_time").endswith("Z")
    assert details == {"parameters": {"path": "a.txt"}, "risk_level": "medium", "description": "as asked"}


async def test_start_without_more_than_a_name_is_high_risk_and_has_no_parameters(broker: Broker) -> None:
    await SimpleNotifier.notify_tool_execution_start("s", {"tool_name": "t"})

    [event] = told(broker)
    assert event["data"]["details"]["risk_level"] == "high"
    assert event["data"]["details"]["parameters"] == {}
    assert "tool_call_id" not in event["data"]
    assert "description" not in event["data"]["details"]


async def test_start_with_parameters_beyond_any_event_shows_their_beginning(broker: Broker) -> None:
    await SimpleNotifier.notify_tool_execution_start("s", {"tool_name": "t", "parameters": {"text": "x" * 300_000}})

    [event] = told(broker)
    details = event["data"]["details"]
    assert details["parameters"]["beginning"].startswith('{"text":"xxx')
    assert (details["parameters_truncated"], details["parameters_bytes"]) == (True, 300_011)


async def test_waiting_asks_a_person_and_gives_the_answer(broker: Broker) -> None:
    request = await SimpleNotifier.notify_tool_waiting_permission("s", {**INFO, "tool_call_id": "c1"})
    broker.decide("s", Decision(approved=True, reason="fine"), decided_by="ada")

    record = await request.decision()

    assert [event["type"] for event in told(broker)] == [
        "tool_status",
        "permission_request",
        "permission_response_result",
        "permission_cleared",
    ]
    status, asked = (event["data"] for event in told(broker)[:2])
    assert (status["status"], status["details"]["request_id"]) == ("waiting_permission", request.request_id)
    assert (asked["parameters"], asked["risk_level"], asked["tool_call_id"]) == ({"path": "a.txt"}, "medium", "c1")
    assert (record.approved, record.reason, record.decided_by) == (True, "fine", "ada")


async def test_waiting_asks_even_where_the_policy_would_let_the_call_run(broker: Broker) -> None:
    request = await SimpleNotifier.notify_tool_waiting_permission("s", {"tool_name": "t", "risk_level": "low"})

    assert request.pending


@pytest.mark.parametrize(
    ("more", "offered"),
    [
        ({}, ("approve", "reject")),
        ({"allowed_decisions": ["approve", "edit", "reject"]}, ("approve", "edit", "reject")),
        ({"allowed_decisions": ("respond", "reject", "approve")}, ("approve", "reject", "respond")),
    ],
)
async def test_waiting_offers_what_the_caller_says_it_can_carry_out(
    more: dict[str, Any], offered: tuple[str, ...], broker: Broker
) -> None:
    request = await SimpleNotifier.notify_tool_waiting_permission("s", INFO | more)

    assert request.record.allowed_decisions == offered


@pytest.mark.parametrize("wrong", ["approve", 1, ["approve"], ["approve", "reject", "dance"], None])
async def test_decisions_that_are_none_are_refused(wrong: Any, broker: Broker) -> None:
    with pytest.raises(InvalidInput):
        await SimpleNotifier.notify_tool_waiting_permission("s", INFO | {"allowed_decisions": wrong})


async def test_waiting_carries_the_agents_own_words(broker: Broker) -> None:
    request = await SimpleNotifier.notify_tool_waiting_permission("s", {**INFO, "description": "to save the notes"})

    assert request.record.description == "to save the notes"


async def test_decision_that_nobody_gives_is_the_expiry(clock: Any) -> None:
    broker = Broker(clock=clock)
    set_process_broker(broker)
    request = await SimpleNotifier.notify_tool_waiting_permission("s", INFO)
    decision = asyncio.create_task(request.decision())
    await asyncio.sleep(0)
    clock.advance(300)
    broker.sweep()

    record = await decision

    assert (record.status, record.approved, record.reason) == ("expired", False, "nobody answered within 300 s")
    broker.close()


async def test_more_requests_than_the_limit_are_refused_and_not_announced() -> None:
    broker = Broker(Limits(max_pending_per_session=1))
    set_process_broker(broker)
    await SimpleNotifier.notify_tool_waiting_permission("s", INFO)

    with pytest.raises(LimitReached):
        await SimpleNotifier.notify_tool_waiting_permission("s", INFO)

    assert len(broker.get("s").desk.pending) == 1
    broker.close()


async def test_parameters_that_are_not_kept_are_refused_when_a_person_is_asked(broker: Broker) -> None:
    with pytest.raises(TooLarge):
        await SimpleNotifier.notify_tool_waiting_permission(
            "s", {"tool_name": "t", "parameters": {"text": "x" * broker.limits.max_parameters_bytes}}
        )

    assert told(broker) == []


@pytest.mark.parametrize(("success", "status"), [(True, "completed"), (False, "failed")])
async def test_completion_is_told_as_a_result_and_then_a_status(success: bool, status: str, broker: Broker) -> None:
    await SimpleNotifier.notify_tool_execution_complete("s", {**INFO, "tool_call_id": "c1"}, {"bytes": 3}, success)

    result, ended = told(broker)
    assert result["data"].pop("timestamp").endswith("Z")
    assert (result["type"], ended["type"]) == ("tool_result", "tool_status")
    assert result["data"] == {
        "tool_name": "write_file",
        "tool_call_id": "c1",
        "result": {"bytes": 3},
        "success": success,
    }
    assert (ended["data"]["status"], ended["data"]["tool_call_id"]) == (status, "c1")
    assert ended["data"]["details"] == {"risk_level": "medium"}


async def test_reader_keeps_up_with_a_tool_that_tells_without_a_pause() -> None:
    broker = Broker(Limits(log_events=8))
    set_process_broker(broker)
    log = broker.open("s").log
    read: list[int] = []

    async def keep_reading() -> None:
        while len(read) < 100:
            read.extend(event.seq for event in log.read_after(read[-1] if read else 0))
            await log.wait_after(log.last_seq)

    reading = asyncio.create_task(keep_reading())
    for _ in range(100):
        await SimpleNotifier.notify_tool_execution_start("s", INFO)
    broker.close()
    await reading

    assert read == list(range(1, 101))


async def test_completion_with_a_result_beyond_any_event_shows_its_beginning(broker: Broker) -> None:
    await SimpleNotifier.notify_tool_execution_complete("s", INFO, "x" * 300_000, True)

    result = told(broker)[0]["data"]
    assert (result["truncated"], result["result_bytes"]) == (True, 300_002)
    assert result["result"] == '"' + "x" * 4095


CALLS = [
    SimpleNotifier.notify_tool_execution_start,
    SimpleNotifier.notify_tool_waiting_permission,
    lambda session_id, info: SimpleNotifier.notify_tool_execution_complete(session_id, info, None, True),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "info",
    [
        {},
        {"tool_name": ""},
        {"tool_name": "x" * 257},
        {"tool_name": 5},
        {"tool_name": "t", "parameters": ["a"]},
        {"tool_name": "t", "parameters": "a"},
        {"tool_name": "t", "risk_level": "extreme"},
        {"tool_name": "t", "risk_level": None},
        pytest.param(
            {"tool_name": "t", "tool_call_id": 5},
        ),
        pytest.param(
            {"tool_name": "t", "tool_call_id": ""},
        ),
        pytest.param(
            {"tool_name": "t", "risk_level": ["low"]},
        ),
    ],
)
async def test_tool_info_that_says_no_proper_tool_is_refused(call: Any, info: dict[str, Any], broker: Broker) -> None:
    with pytest.raises(InvalidInput):
        await call("s", info)

    assert broker.sessions == ()


@pytest.mark.parametrize("call", CALLS)
async def test_a_bad_session_id_is_refused(call: Any) -> None:
    with pytest.raises(InvalidSessionId):
        await call("no spaces", INFO)


@pytest.mark.parametrize("call", CALLS)
async def test_without_a_broker_in_this_process_every_call_says_so(call: Any) -> None:
    set_process_broker(None)

    with pytest.raises(NoBroker, match=r"call serve\(\) or create_app\(broker\) first"):
        await call("s", INFO)


@pytest.mark.parametrize("call", CALLS)
async def test_after_the_shutdown_every_call_says_so(call: Any, broker: Broker) -> None:
    broker.close()
    set_process_broker(broker)

    with pytest.raises(BrokerClosed):
        await call("s", INFO)


@pytest.mark.parametrize(("effect", "status"), [("allow", "approved"), ("deny", "rejected"), ("ask", "pending")])
async def test_rules_of_a_policy_hold_for_who_has_decided_to_ask(
    broker: Broker, tmp_path: Path, effect: str, status: str
) -> None:
    broker.follow(a_policy_file(tmp_path / "policy.toml", **{effect: "write_file"}))

    request = await SimpleNotifier.notify_tool_waiting_permission("s", INFO)

    assert (request.record.status, request.record.justification) == (status, "because of write_file")


async def test_default_of_a_policy_gives_a_person_to_who_has_decided_to_ask(broker: Broker, tmp_path: Path) -> None:
    broker.follow(a_policy_file(tmp_path / "policy.toml", default="deny"))

    assert (await SimpleNotifier.notify_tool_waiting_permission("s", INFO)).pending
