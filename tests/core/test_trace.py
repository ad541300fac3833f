"""What is done meanwhile belongs to the request that is handled, and to the trace of who asks."""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace as opentelemetry

from notifier_service import Broker
from notifier_service.core.trace import (
    checked_traceparent,
    fields_of,
    handled,
    handling,
    in_trace,
    traceparent_now,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
OTHER = f"00-{'a' * 32}-{'b' * 16}-00"


def a_span(trace: str = TRACE, span: str = SPAN) -> Any:
    """Within a span of OpenTelemetry."""
    flags = opentelemetry.TraceFlags(1)
    context = opentelemetry.SpanContext(int(trace, 16), int(span, 16), is_remote=False, trace_flags=flags)
    return opentelemetry.use_span(opentelemetry.NonRecordingSpan(context))


def test_outside_of_everything_there_is_no_request_and_no_trace() -> None:
    assert handled() == (None, None)
    assert traceparent_now() is None


async def test_tasks_belong_to_the_request_in_which_they_began_until_it_is_over() -> None:
    async def what_it_belongs_to() -> list[Any]:
        during = handled()
        await is_over.wait()
        return [during, handled(), traceparent_now()]

    is_over = asyncio.Event()
    with handling(lambda: ("an-id", TRACEPARENT)):
        task = asyncio.create_task(what_it_belongs_to())
        await asyncio.sleep(0)
        with handling(lambda: ("another", None)):
            assert handled() == ("another", None)
        assert handled() == ("an-id", TRACEPARENT)
        assert traceparent_now() == TRACEPARENT
    is_over.set()

    assert handled() == (None, None)
    assert await task == [("an-id", TRACEPARENT), (None, None), None]


def test_nearest_trace_counts() -> None:
    with a_span(), handling(lambda: ("an-id", None)):
        assert traceparent_now() == TRACEPARENT
        with in_trace(OTHER), in_trace(None):
            assert traceparent_now() == OTHER
        assert traceparent_now() == TRACEPARENT


@pytest.mark.parametrize(
    "span",
    [None, SimpleNamespace(), SimpleNamespace(trace_id="x", span_id=1, trace_flags=0)],
    ids=["none", "another", "no numbers"],
)
def test_another_opentelemetry_is_none(span: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    current = SimpleNamespace(get_span_context=lambda: span)
    monkeypatch.setattr(opentelemetry, "get_current_span", lambda: current)

    assert traceparent_now() is None


def test_program_that_has_not_loaded_opentelemetry_is_in_no_trace_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_span():
        monkeypatch.delitem(sys.modules, "opentelemetry.trace")

        assert traceparent_now() is None


def test_line_of_the_log_says_what_is_known() -> None:
    assert fields_of(None, None) == {}
    assert fields_of("an-id", TRACEPARENT) == {"request_id": "an-id", "trace_id": TRACE, "span_id": SPAN}


@pytest.mark.parametrize("came", [None, 7, "", TRACEPARENT + "-more", TRACEPARENT.upper(), {"a": 1}])
def test_trace_that_is_not_valid_is_none(came: object) -> None:
    assert checked_traceparent(came) is None


async def test_question_in_a_trace_is_asked_in_it(broker: Broker) -> None:
    with a_span():
        request = broker.ask("s", tool_name="rm", parameters={})

    assert request.record.traceparent == TRACEPARENT
    assert broker.ask("s", tool_name="rm", parameters={}).record.traceparent is None
