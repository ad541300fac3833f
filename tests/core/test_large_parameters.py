"""Parameters that no event can hold: kept whole beside the log, and approved by who has read them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from notifier_service import Broker, Limits
from notifier_service.core.errors import InvalidInput, LimitReached, ParametersUnread, TooLarge
from notifier_service.core.events import PermissionRecord, dump
from notifier_service.core.parameters import canonical_json
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.question import Decision

if TYPE_CHECKING:
    from conftest import Clock

FILE: dict[str, Any] = {"file_path": "/srv/report.csv", "content": "a line, with words\n" * 16_000}
EDITED = {**FILE, "file_path": "/tmp/report.csv"}


def asked(
    broker: Broker, session_id: str = "s1", parameters: Mapping[str, Any] = FILE, **call: Any
) -> PermissionRequest:
    return broker.ask(session_id, **{"tool_name": "Write", "parameters": parameters, **call})


def decided(broker: Broker, approved: bool, *, by: str = "ana", via: str = "sse", **decision: Any) -> PermissionRecord:
    return broker.decide("s1", Decision(approved=approved, **decision), decided_by=by, via=via)


def events(broker: Broker) -> list[dict[str, Any]]:
    return [json.loads(event.json) for event in broker.open("s1").log.read_after(0)]


@pytest.fixture
def broker(clock: Clock) -> Broker:
    return Broker(clock=clock)


def test_an_ordinary_file_is_asked_and_events_say_what_they_leave_out(broker: Broker) -> None:
    request = asked(broker, announce_status=True)

    canonical = canonical_json(FILE)
    status, permission = (event["data"] for event in events(broker))
    for shown in (status["details"], permission):
        assert shown["parameters_truncated"] is True
        assert shown["parameters_bytes"] == len(canonical)
        assert dump(FILE).decode().startswith(shown["parameters"].pop("beginning"))
        assert shown["parameters"] == {}
    assert permission["parameters_sha256"] == hashlib.sha256(canonical).hexdigest()
    assert request.record.parameters == FILE


def test_no_state_holds_the_whole(broker: Broker) -> None:
    asked(broker, announce_status=True)
    session = broker.open("s1")

    assert len(dump(session.snapshot())) < 64 * 1024
    assert all(record.parameters_truncated for record in session.open_at(None).replay)


def test_what_fits_is_shown_whole_and_says_nothing_of_sizes(broker: Broker) -> None:
    request = asked(broker, parameters={"content": "x" * 200_000})

    assert request.shown == request.record
    assert b"parameters_truncated" not in dump(request.shown)


@pytest.mark.parametrize(
    "decision", [{}, {"scope": "session"}, {"parameters": EDITED}], ids=["approve", "session", "edit"]
)
def test_an_approval_by_somebody_who_saw_the_beginning_does_not_count(broker: Broker, decision: dict[str, Any]) -> None:
    request = asked(broker)
    request.note_reader("ben")

    with pytest.raises(ParametersUnread, match=f"GET /api/permissions/s1/{request.request_id}") as caught:
        decided(broker, True, **decision)

    assert request.pending
    assert caught.value.details["record"].parameters_truncated is True
    assert decided(broker, True, by="ben", **decision).approved is True


@pytest.mark.parametrize("decision", [{}, {"reason": "no"}, {"response": "done by hand"}])
def test_to_reject_takes_no_reading(broker: Broker, decision: dict[str, Any]) -> None:
    asked(broker)

    assert decided(broker, False, **decision).status == "rejected"


def test_those_who_have_read_the_whole_are_remembered_up_to_a_thousand(broker: Broker) -> None:
    request = asked(broker)
    for number in range(1001):
        request.note_reader(f"reader{number}")

    assert [request.was_read_by(f"reader{number}") for number in (0, 999, 1000)] == [True, True, False]
    with pytest.raises(ParametersUnread):
        decided(broker, True, by="reader1000")
    assert decided(broker, True, by="reader999").status == "approved"


def test_what_an_event_shows_whole_everybody_has_read(broker: Broker) -> None:
    request = asked(broker, parameters={"file_path": "a"})
    request.note_reader("ana")

    assert [request.was_read_by(name) for name in ("ana", "ben")] == [True, True]


def test_code_of_this_process_has_the_whole_already(broker: Broker) -> None:
    asked(broker)

    assert decided(broker, True, via="program").approved is True


def test_the_beginning_sent_back_as_an_edit_never_runs(broker: Broker) -> None:
    request = asked(broker)
    request.note_reader("ana")

    with pytest.raises(InvalidInput, match="the beginning"):
        decided(broker, True, parameters=dict(request.shown.parameters))

    assert request.pending


async def test_an_edit_may_be_as_large_as_what_was_asked_and_reaches_the_asker_whole(broker: Broker) -> None:
    request = asked(broker)
    request.note_reader("ana")
    waiting = request.decision()

    answered = decided(broker, True, parameters=EDITED)

    assert answered.parameters_truncated is True
    assert (await waiting).parameters == EDITED
    result = next(event["data"] for event in events(broker) if event["type"] == "permission_response_result")
    assert (result["decision"], result["parameters_truncated"]) == ("edit", True)
    assert result["parameters_sha256"] == hashlib.sha256(canonical_json(EDITED)).hexdigest()
    assert result["asked_parameters_sha256"] == hashlib.sha256(canonical_json(FILE)).hexdigest()


def test_an_edit_may_make_the_small_large_and_the_large_small(broker: Broker) -> None:
    small, large = asked(broker, parameters={"content": ""}), asked(broker)
    large.note_reader("ana")

    grown = decided(broker, True, request_id=small.request_id, parameters=FILE)
    shrunk = decided(broker, True, request_id=large.request_id, parameters={"content": ""})

    assert (grown.parameters_truncated, small.record.parameters) == (True, FILE)
    assert (shrunk.parameters_truncated, shrunk.parameters) == (None, {"content": ""})


def test_a_long_reason_never_makes_a_large_request_undecidable(clock: Clock) -> None:
    broker = Broker(Limits(max_event_bytes=64 * 1024), clock=clock)
    asked(broker, parameters={"content": "x" * 50_000})

    assert decided(broker, True, via="program", reason="\x01" * 5000).reason == "\x01" * 5000


@pytest.mark.parametrize("content", ["\x00" * 400_000, "€" * 150_000, "😀" * 100_000, '"\\' * 200_000])
def test_the_beginning_of_any_text_fits_the_smallest_event(clock: Clock, content: str) -> None:
    broker = Broker(Limits(max_event_bytes=16 * 1024), clock=clock)
    asked(broker, parameters={"content": content}, announce_status=True)

    assert decided(broker, True, via="program").approved is True


def test_many_small_values_are_as_large_as_one_long_text(broker: Broker) -> None:
    request = asked(broker, parameters={"rows": [[number, f"row {number:90}"] for number in range(3000)]})

    assert request.shown.parameters_bytes == len(canonical_json(request.record.parameters))


def test_parameters_beyond_their_limit_are_refused_with_both_sizes(clock: Clock) -> None:
    broker = Broker(Limits(max_parameters_bytes=1024 * 1024), clock=clock)
    with pytest.raises(TooLarge, match="over the limit of 1048576") as caught:
        asked(broker, parameters={"content": "x" * 1024 * 1024})

    assert caught.value.details == {"limit": "max_parameters_bytes", "parameters_bytes": 1024 * 1024 + 14}


# How much is kept


def bounded(clock: Clock) -> Broker:
    return Broker(Limits(max_parameters_bytes=1_000_000, max_kept_parameters_bytes=2_000_000), clock=clock)


LARGE = {"content": "x" * 400_000}


def test_one_caller_keeps_half_of_all_at_most_and_leaves_room_for_others(clock: Clock) -> None:
    broker = bounded(clock)
    for number in range(2):
        asked(broker, f"s{number}", LARGE, asked_by="greedy")

    with pytest.raises(LimitReached) as caught:
        asked(broker, "s2", LARGE, asked_by="greedy")

    assert caught.value.limit == "max_kept_parameters_bytes"
    assert asked(broker, "s3", LARGE, asked_by="other").pending
    assert asked(broker, "s3", {"path": "x"}, asked_by="greedy").pending


def test_one_session_keeps_half_of_all_at_most(clock: Clock) -> None:
    broker = bounded(clock)
    for number in range(2):
        asked(broker, "s1", LARGE, asked_by=f"caller {number}")

    with pytest.raises(LimitReached):
        asked(broker, "s1", LARGE, asked_by="caller 3")
    assert asked(broker, "s2", LARGE, asked_by="caller 3").pending


@pytest.mark.parametrize("end", ["reject", "cancel", "expire", "close"])
def test_what_does_not_run_gives_its_room_back_at_once(clock: Clock, end: str) -> None:
    broker = bounded(clock)
    for _ in range(10):
        request = asked(broker, "s1", LARGE, timeout_seconds=5)
        if end == "reject":
            decided(broker, False, request_id=request.request_id)
        elif end == "cancel":
            request.cancel()
        elif end == "expire":
            clock.advance(6)
            broker.sweep()
        else:
            broker.end_session("s1")
        assert request.record.parameters_truncated is True


def test_what_was_approved_is_kept_whole_for_a_minute_and_then_by_its_beginning(clock: Clock) -> None:
    broker = bounded(clock)
    request = asked(broker, "s1", LARGE)
    decided(broker, True, via="program")

    clock.advance(59)
    broker.sweep()
    assert request.record.parameters == LARGE
    clock.advance(1)
    broker.sweep()

    assert request.record.parameters_truncated is True
    assert decided(broker, True, request_id=request.request_id).approved is True


def test_what_was_approved_gives_way_to_what_waits(clock: Clock) -> None:
    broker = bounded(clock)
    for _ in range(10):
        asked(broker, "s1", LARGE)
        decided(broker, True, via="program")
        clock.advance(6)
