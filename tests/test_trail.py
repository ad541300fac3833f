"""What stays of who asked and who decided: a line in the log of the service, and the events of it."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from notifier_service import Broker, Limits
from notifier_service.core.event_log import Event
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.question import Decision


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "notifier_service.permissions")
    return caplog


@pytest.fixture
def broker() -> Broker:
    return Broker()


def asked(broker: Broker, tool_name: str = "rm", **call: Any) -> PermissionRequest:
    return broker.ask("s1", **{"tool_name": tool_name, "parameters": {"path": "/secret"}, **call})


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        ({"approved": True}, "approved"),
        ({"approved": True, "parameters": {"path": "/tmp"}}, "approved (edit)"),
        ({"approved": False, "reason": "a private reason"}, "rejected"),
        ({"approved": False, "response": "a private answer"}, "rejected (respond)"),
    ],
)
async def test_a_decision_is_one_line_that_says_who_and_through_what_and_nothing_private(
    lines: pytest.LogCaptureFixture, decision: dict[str, Any], said: str
) -> None:
    broker = Broker()
    request = asked(broker)

    broker.decide("s1", Decision(**decision), decided_by="ana", via="websocket")

    [line] = lines.messages
    assert line == f'"rm": {said} by "ana" through websocket (request {request.request_id}, session s1)'


async def test_the_same_decision_again_is_no_second_line(lines: pytest.LogCaptureFixture) -> None:
    broker = Broker()
    request_id = asked(broker).request_id

    for _ in range(3):
        broker.decide("s1", Decision(approved=True, request_id=request_id), decided_by="ana", via="sse")

    assert len(lines.messages) == 1


async def test_what_nobody_decided_has_its_line_too(lines: pytest.LogCaptureFixture) -> None:
    now = 0.0
    broker = Broker(clock=lambda: now)
    asked(broker, "late", timeout_seconds=5)
    now = 6.0
    broker.sweep()
    asked(broker, "withdrawn").cancel("the agent went away")
    asked(broker, "harmless", risk_level="low")
    asked(broker, "left")
    broker.end_session("s1")

    ends = [line.partition(" (request ")[0] for line in lines.messages]
    assert ends == [
        '"late": expired by "timeout" through timeout',
        '"withdrawn": cancelled by "agent" through withdrawal',
        '"harmless": approved by "policy" through policy',
        '"left": cancelled by "service" through withdrawal',
    ]


@pytest.mark.parametrize(
    "name", ["rm\nINFO forged: approved by", "rm\r\x1b[2J", "rm\x85\u2028\u202e", 'rm" by "boss', "\x7f"]
)
async def test_no_name_ends_a_line_or_moves_a_terminal(lines: pytest.LogCaptureFixture, name: str) -> None:
    broker = Broker()
    asked(broker, name)

    broker.decide("s1", Decision(approved=True), decided_by=name)

    [line] = lines.messages
    assert line.isascii()
    assert line.isprintable()
    assert line.count('by "') == 1


async def test_a_request_that_nobody_could_be_asked_about_has_no_line(lines: pytest.LogCaptureFixture) -> None:
    broker = Broker(Limits(max_pending_per_session=1))
    asked(broker)
    with pytest.raises(Exception, match="pending"):
        asked(broker)
    await asyncio.sleep(0)

    assert lines.messages == []


# What the log keeps of it


def types(broker: Broker, cursor: str = "earliest") -> list[str]:
    """What a reader is told who begins there, without hello and the like."""
    reader = broker.join("s1", "sse", Peer(), cursor)
    told: list[Event] = []
    while events := reader.next():
        told += events
    reader.leave()
    assert [event.seq for event in told if event.seq] == sorted({event.seq for event in told if event.seq})
    return [event.type for event in told if event.seq]


class Peer:
    def handed_bytes(self) -> int:
        return 0

    def unsent_bytes(self) -> int:
        return 0

    def is_gone(self) -> bool:
        return False


def flooded(broker: Broker, count: int = 1000) -> None:
    for number in range(count):
        broker.publish_nowait("s1", "note", {"number": number})


TOLD = ["permission_request", "permission_response_result", "permission_cleared"]


async def test_a_thousand_events_of_others_leave_the_trail(broker: Broker) -> None:
    request = asked(broker)
    broker.decide("s1", Decision(approved=True), decided_by="ana")
    flooded(broker, 5000)

    assert types(broker)[:4] == [*TOLD, "note"]
    last = json.loads(broker.open("s1").trail()[1].json)
    assert (last["data"]["request_id"], last["data"]["decided_by"]) == (request.request_id, "ana")


async def test_a_reader_whose_place_was_dropped_is_told_a_gap_whatever_the_trail_holds(broker: Broker) -> None:
    asked(broker).cancel()
    flooded(broker, 2000)
    log = broker.open("s1").log

    for seq in (0, 1, 2, 500):
        opening = broker.open("s1").open_at(log.id_of(seq))
        assert (opening.resumed, opening.gap and opening.gap.reason) == ("partial", "evicted")


async def test_what_waits_is_shown_once_as_the_state_that_it_is(broker: Broker) -> None:
    request = asked(broker)
    flooded(broker)
    opening = broker.open("s1").open_at("earliest")

    assert ([record.request_id for record in opening.replay], opening.trail) == ([request.request_id], ())


@pytest.mark.parametrize("flood", [{}, {"risk_level": "low"}, {"parameters": {"text": "x" * 20_000}}])
async def test_one_askers_flood_leaves_the_trail_of_another(broker: Broker, flood: dict[str, Any]) -> None:
    asked(broker, "theirs", asked_by="other")
    broker.decide("s1", Decision(approved=True), decided_by="ana")
    for _ in range(1000):
        asked(broker, asked_by="greedy", **flood).cancel()
    flooded(broker)

    trail = broker.open("s1").trail()
    assert [event.type for event in trail if b'"theirs"' in event.json] == TOLD
    assert len(trail) <= 500
    assert sum(len(event.json) for event in trail) <= 512 * 1024


async def test_calls_that_the_policy_lets_run_leave_the_trail_of_what_people_decided(broker: Broker) -> None:
    asked(broker, "decided", asked_by="agent")
    broker.decide("s1", Decision(approved=False), decided_by="ana")
    for _ in range(3000):
        asked(broker, "harmless", risk_level="low", asked_by="agent")

    assert [event.type for event in broker.open("s1").trail() if b'"decided"' in event.json] == TOLD


async def test_no_request_is_in_the_trail_without_its_end() -> None:
    broker = Broker(Limits(log_events=20))
    for number in range(200):
        asked(broker, f"tool{number % 7}", asked_by=f"asker{number % 3}").cancel()
        flooded(broker, number % 5)

        log = broker.open("s1").log
        told = [json.loads(event.json) for event in (*log.trail, *log.read_after(log.evicted))]
        begun = {event["data"]["request_id"] for event in told if event["type"] == "permission_request"}
        ended = {event["data"]["request_id"] for event in told if event["type"] == "permission_cleared"}
        assert begun <= ended


async def test_a_long_trail_goes_out_in_slices(broker: Broker) -> None:
    for _ in range(40):
        asked(broker, parameters={"text": "x" * 10_000}).cancel()
    flooded(broker)
    reader = broker.join("s1", "sse", Peer(), "earliest")
    sizes = []
    while events := reader.next():
        sizes.append(sum(len(event.json) for event in events))

    assert len(sizes) > 4
    assert max(sizes) < 80 * 1024
