"""What was settled is remembered over all sessions, within bounds that nobody's flood takes from others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notifier_service import Broker, Decision, Limits
from notifier_service.core.errors import InvalidInput
from notifier_service.core.history import History, HistoryPage


def asked_and_decided(broker: Broker, session_id: str = "s1", *, approved: bool = True, **question: Any) -> str:
    question = {"tool_name": "rm", "parameters": {"path": "/tmp/x"}, "asked_by": "agent", **question}
    request = broker.ask(session_id, **question)
    if request.pending:
        broker.decide(session_id, Decision(approved=approved, request_id=request.request_id), decided_by="alice")
    return request.request_id


def everything(session_id: str) -> bool:
    return True


def records(page: HistoryPage) -> list[dict[str, Any]]:
    return [json.loads(record) for record in page.records]


def ids(page: HistoryPage) -> list[str]:
    return [record["request_id"] for record in records(page)]


def test_settled_request_is_remembered_with_its_session(broker: Broker) -> None:
    request_id = asked_and_decided(broker)

    [record] = records(broker.history.page(everything))

    assert record["session_id"] == "s1"
    assert (record["request_id"], record["status"], record["decided_by"]) == (request_id, "approved", "alice")
    assert record["parameters"] == {"path": "/tmp/x"}


def test_every_way_to_end_is_remembered_newest_first(broker: Broker) -> None:
    approved = asked_and_decided(broker)
    rejected = asked_and_decided(broker, approved=False)
    cancelled = broker.ask("s1", tool_name="rm", parameters={})
    cancelled.cancel()
    by_policy = asked_and_decided(broker, risk_level="low")
    waiting = broker.ask("s1", tool_name="rm", parameters={})

    page = records(broker.history.page(everything))

    assert [(record["request_id"], record["status"]) for record in page] == [
        (by_policy, "approved"),
        (cancelled.request_id, "cancelled"),
        (rejected, "rejected"),
        (approved, "approved"),
    ]
    assert waiting.pending


def test_session_that_has_ended_is_remembered_and_what_waited_in_it(broker: Broker) -> None:
    decided = asked_and_decided(broker)
    waiting = broker.ask("s1", tool_name="rm", parameters={})

    broker.end_session("s1")

    assert ids(broker.history.page(everything)) == [waiting.request_id, decided]


def test_caller_sees_of_the_sessions_that_it_may_see(broker: Broker) -> None:
    mine = asked_and_decided(broker, "team-1")
    asked_and_decided(broker, "private")

    assert ids(broker.history.page(lambda session_id: session_id.startswith("team-"))) == [mine]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"session_id": "s2"}, ["c"]),
        ({"tool_name": "cat"}, ["b"]),
        ({"decided_by": "policy"}, ["d"]),
        ({"decided_by": "alice", "session_id": "s1"}, ["b", "a"]),
        ({"tool_name": "nothing"}, []),
    ],
)
def test_filters_are_exact_and_all_hold(broker: Broker, filters: dict[str, str], found: list[str]) -> None:
    named = {
        asked_and_decided(broker): "a",
        asked_and_decided(broker, tool_name="cat"): "b",
        asked_and_decided(broker, "s2"): "c",
        asked_and_decided(broker, risk_level="low"): "d",
    }

    assert [named[one] for one in ids(broker.history.page(everything, **filters))] == found


def test_pages_lead_to_the_oldest_while_new_ones_come(broker: Broker) -> None:
    asked = [asked_and_decided(broker) for _ in range(5)]

    first = broker.history.page(everything, limit=2)
    asked_and_decided(broker)
    second = broker.history.page(everything, before=first.next, limit=2)
    third = broker.history.page(everything, before=second.next, limit=2)

    assert ids(first) + ids(second) + ids(third) == asked[::-1]
    assert third.next is None


def test_last_page_that_is_full_has_no_next(broker: Broker) -> None:
    asked_and_decided(broker, "other")
    asked_and_decided(broker)

    assert broker.history.page(lambda session_id: session_id == "s1", limit=1).next is None


@pytest.mark.parametrize("cursor", ["", "x", "-", "1-", "a-b-c", "a-É", "A-1", "a" * 30 + "-1", "a-1\n"])
def test_cursor_that_is_none_is_refused(broker: Broker, cursor: str) -> None:
    with pytest.raises(InvalidInput, match="before"):
        broker.history.page(everything, before=cursor)


def test_before_a_cursor_of_an_earlier_run_there_is_nothing(broker: Broker) -> None:
    earlier = Broker()
    for _ in range(2):
        asked_and_decided(earlier)
        asked_and_decided(broker)
    cursor = earlier.history.page(everything, limit=1).next

    assert broker.history.page(everything, before=cursor) == ([], None)


def test_newest_stay_when_there_are_too_many() -> None:
    broker = Broker(Limits(history_events=3))
    asked = [asked_and_decided(broker) for _ in range(5)]

    assert ids(broker.history.page(everything)) == asked[:1:-1]


def test_newest_stay_when_they_have_too_many_bytes() -> None:
    broker = Broker(Limits(history_bytes=16 * 1024))
    asked = [asked_and_decided(broker, parameters={"text": "x" * 5000}) for _ in range(5)]

    kept = ids(broker.history.page(everything))

    assert kept == asked[::-1][: len(kept)]
    assert len(kept) == 2


def test_one_record_stays_however_large_it_is(broker: Broker) -> None:
    history = History(10, 10)
    record = broker.ask("s1", tool_name="rm", parameters={}, risk_level="low").record

    history.add("s1", record, asked_by=None)

    assert len(history.page(everything).records) == 1


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param({"asked_by": "flooder"}, id="of another asker"),
        pytest.param({"risk_level": "low"}, id="of what the policy answers"),
    ],
)
def test_flood_drops_no_decision_of_others(flood: dict[str, Any]) -> None:
    broker = Broker(Limits(history_events=10))
    mine = [asked_and_decided(broker) for _ in range(4)]

    for _ in range(100):
        asked_and_decided(broker, "flooded", **flood)

    assert set(mine) <= set(ids(broker.history.page(everything)))


def test_last_of_an_asker_gives_way_too() -> None:
    broker = Broker(Limits(history_events=1))
    asked_and_decided(broker, asked_by="one")

    newest = asked_and_decided(broker, asked_by="other")
    asked_and_decided(broker, asked_by="one")

    assert newest not in ids(broker.history.page(everything))
    assert len(ids(broker.history.page(everything))) == 1


def test_page_ends_before_it_is_too_large(broker: Broker) -> None:
    asked = [asked_and_decided(broker, parameters={"text": "x" * 200_000}) for _ in range(30)]

    first = broker.history.page(everything, limit=200)
    rest = broker.history.page(everything, limit=200, before=first.next)

    assert len(first.records) == 20
    assert ids(first) + ids(rest) == asked[::-1]


def test_large_parameters_are_kept_as_they_were_shown(broker: Broker) -> None:
    asked_and_decided(broker, parameters={"text": "x" * 1_000_000})

    [record] = records(broker.history.page(everything))

    assert record["parameters_truncated"] is True
    assert record["parameters_bytes"] > 1_000_000
    assert len(json.dumps(record)) < 10_000
