"""What was settled is remembered over all sessions, within bounds that nobody's flood takes from others."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from notifier_service import Broker, Decision, Limits
from notifier_service.core.errors import InvalidInput, NotRecorded
from notifier_service.core.history import History, HistoryPage
from tests.core.memory_journal import MemoryJournal
from tests.core.test_recorder import Ledger


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


# Over a restart


def started(journal: MemoryJournal, **limits: Any) -> Broker:
    return Broker(Limits(**limits), journal=journal)


async def test_history_is_there_again_with_its_filters_and_its_cursors(broker: Broker) -> None:
    journal = MemoryJournal()
    first = started(journal)
    asked = [asked_and_decided(first, "s1") for _ in range(3)]
    asked.append(asked_and_decided(first, "s2", tool_name="cat", risk_level="low"))
    asked.append(asked_and_decided(first, "s2", approved=False))
    page = first.history.page(everything, limit=2)
    whole = first.history.page(everything)

    second = started(journal.again())

    assert second.history.page(everything) == whole
    assert ids(second.history.page(everything, before=page.next)) == asked[2::-1]
    assert ids(second.history.page(everything, decided_by="policy", tool_name="cat")) == [asked[3]]
    newest = asked_and_decided(second)
    third = started(second.journal.again())  # type: ignore[attr-defined]
    assert ids(third.history.page(everything)) == [newest, *asked[::-1]]


async def test_session_that_has_ended_is_in_the_history_of_the_next_run() -> None:
    journal = MemoryJournal()
    first = started(journal)
    asked = [asked_and_decided(first), first.ask("s1", tool_name="rm", parameters={}).request_id]
    first.end_session("s1")

    assert ids(started(journal.again()).history.page(everything)) == asked[::-1]


async def test_decision_is_in_the_history_of_the_next_run_once_though_it_was_killed_before_it_was_told() -> None:
    journal = MemoryJournal()
    first = started(journal)
    before = asked_and_decided(first)
    request = first.ask("s1", tool_name="rm", parameters={"text": "x" * 300_000}, asked_by="agent", outlives=True)
    await request.recorded()
    journal.is_held = True
    deciding = asyncio.create_task(
        first.answer("s1", Decision(approved=False, request_id=request.request_id), decided_by="alice")
    )
    await asyncio.sleep(0)
    assert ids(started(journal.again()).history.page(everything)) == [before]
    journal.works_again()
    killed = journal.again()  # what follows in the process has not happened
    await deciding

    second = started(killed)
    [record, _] = records(second.history.page(everything))
    assert (record["request_id"], record["status"]) == (request.request_id, "rejected")
    assert record["parameters_truncated"]
    later = asked_and_decided(second)
    assert ids(started(killed.again()).history.page(everything)) == [later, request.request_id, before]
    assert ids(started(journal.again()).history.page(everything)) == [request.request_id, before]


async def test_what_another_record_refuses_is_in_no_history() -> None:
    journal, ledger = MemoryJournal(), Ledger()
    broker = Broker(journal=journal, audit=ledger)
    call = {"tool_name": "rm", "parameters": {}, "outlives": True, "asked_by": "agent"}
    requests = [broker.ask("s1", **call) for _ in range(2)]
    await ledger.keep()
    decision = Decision(approved=True, request_id=requests[0].request_id, scope="session")

    refused = asyncio.ensure_future(broker.answer("s1", decision, decided_by="alice"))
    await asyncio.sleep(0)
    assert ids(started(journal.again()).history.page(everything)) == [requests[0].request_id]  # ahead of the other
    await ledger.fail()
    with pytest.raises(NotRecorded):
        await refused
    assert ids(started(journal.again()).history.page(everything)) == []

    decided = asyncio.ensure_future(broker.answer("s1", decision, decided_by="alice"))
    await asyncio.sleep(0)
    await ledger.keep()  # and now the other one is about to be settled by the rule
    await decided
    await ledger.fail()
    assert requests[1].pending
    assert ids(started(journal.again()).history.page(everything)) == [requests[0].request_id]


async def test_history_of_before_gives_way_to_smaller_bounds_and_leaves_the_journal() -> None:
    journal = MemoryJournal()
    first = started(journal)
    asked = [asked_and_decided(first) for _ in range(5)]
    second = journal.again()

    assert ids(started(second, history_events=2).history.page(everything)) == asked[:2:-1]
    assert ids(started(second.again()).history.page(everything)) == asked[:2:-1]


async def test_what_was_settled_before_the_journal_came_is_kept_behind_what_is_there() -> None:
    journal = MemoryJournal()
    before = asked_and_decided(started(journal))
    broker = Broker()
    since = asked_and_decided(broker)
    second = journal.again()
    broker.keep_in(second)

    assert ids(broker.history.page(everything)) == [since, before]
    assert ids(started(second.again()).history.page(everything)) == [since, before]


@pytest.mark.parametrize("body", [b"", b"[]", b"null\n{}", b'["1","s","t",null,null]\n{}', b'[1,"s","t",null,null]\nx'])
async def test_record_that_cannot_be_read_from_the_journal_is_left_out(body: bytes) -> None:
    journal = MemoryJournal()
    asked = [asked_and_decided(started(journal)) for _ in range(2)]
    journal.named["history", asked[1]] = body
    second = journal.again()

    assert ids(started(second).history.page(everything)) == [asked[0]]
    assert ("history", asked[1]) not in second.named
