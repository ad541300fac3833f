"""What stays of who asked and who decided: one line in the log for each request that ended."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from notifier_service import Broker, Limits
from notifier_service.permissions import Decision, PermissionRequest


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "notifier_service.permissions")
    return caplog


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
