"""Who looks: pages that say that they are visible, and people who say that they are away."""

from __future__ import annotations

import pytest

from notifier_service import Broker
from notifier_service.core import presence as presence_module
from notifier_service.core.presence import AWAY_KIND, PRESENCE_SECONDS, Page, Presence
from notifier_service.core.reader import Reader
from tests.clock import Clock

from .memory_journal import MemoryJournal
from .peer import Peer


@pytest.fixture
def broker(clock: Clock) -> Broker:
    return Broker(clock=clock)


def everything(session_id: str) -> bool:
    return True


def opened(broker: Broker, session_id: str | None = "s1", *, visible: bool | None = None, page: str = "") -> Reader:
    """A stream of a session, or of the inbox, by alice."""
    if session_id is None:
        reader: Reader = broker.join_inbox("test", Peer(), sees=lambda one: one.startswith("s"), account="alice")
    else:
        reader = broker.join(session_id, "test", Peer(), account="alice")
    if visible is not None:
        reader.page = broker.presence.stream("alice", page, is_visible=visible)
    return reader


def viewers_of_next(broker: Broker) -> int:
    return broker.ask("s1", tool_name="rm", parameters={}).record.viewers


@pytest.mark.parametrize(
    ("visible", "looks", "viewers"), [(None, False, 1), (False, False, 0), (True, True, 1)], ids=["", "hidden", "shown"]
)
def test_stream_is_seen_where_its_page_says_so_and_may_be_where_it_says_nothing(
    broker: Broker, visible: bool | None, looks: bool, viewers: int
) -> None:
    for session_id in ("s1", None):
        reader = opened(broker, session_id, visible=visible)
        assert broker.is_looked_at("s1") is looks
        assert not broker.is_looked_at("other")
        assert viewers_of_next(broker) == viewers
        reader.leave()
        del reader
        assert not broker.is_looked_at("s1")

    assert broker.counters.unseen_requests == (0 if viewers else 2)


def test_page_that_says_by_itself_that_it_is_visible_counts_for_a_minute(broker: Broker, clock: Clock) -> None:
    broker.presence.tell("alice", "p", is_visible=True, sees=lambda session_id: session_id == "s1")

    assert broker.lookers("s1") == {"alice"}
    assert broker.lookers("s2") == set()
    viewers_of_next(broker)
    assert broker.counters.unseen_requests == 0
    clock.now += PRESENCE_SECONDS
    assert broker.lookers("s1") == set()


def test_newer_word_of_a_page_counts(broker: Broker, clock: Clock) -> None:
    broker.presence.tell("alice", "p", is_visible=True, sees=everything)
    broker.presence.tell("bob", "p", is_visible=True, sees=everything)
    clock.now += PRESENCE_SECONDS / 2
    broker.presence.tell("alice", "p", is_visible=True, sees=everything)
    broker.presence.tell("bob", "p", is_visible=False, sees=everything)
    assert broker.lookers("s1") == {"alice"}
    clock.now += PRESENCE_SECONDS / 2

    assert broker.lookers("s1") == {"alice"}


@pytest.mark.parametrize("page", ["p", ""])
def test_page_that_is_hidden_hides_its_streams_and_shows_them_again(broker: Broker, page: str) -> None:
    reader = opened(broker, visible=True, page=page)
    broker.presence.tell("alice", page, is_visible=False, sees=everything)
    assert not broker.is_looked_at("s1")
    broker.presence.tell("alice", page, is_visible=True, sees=lambda session_id: False)

    assert broker.is_looked_at("s1")
    assert reader.page


def test_page_that_is_hidden_hides_no_other_page(broker: Broker) -> None:
    readers = [opened(broker, visible=True), opened(broker, visible=False), opened(broker, visible=True, page="q")]
    broker.presence.tell("alice", "p", is_visible=False, sees=everything)
    assert broker.is_looked_at("s1")
    broker.presence.tell("alice", "", is_visible=False, sees=everything)
    assert [reader.may_be_seen for reader in readers] == [False, False, True]
    broker.presence.tell("alice", "", is_visible=True, sees=everything)

    assert [reader.may_be_seen for reader in readers] == [True, False, True]


def test_who_is_away_sees_nothing_until_they_are_back(broker: Broker) -> None:
    reader = opened(broker, visible=True)
    broker.presence.tell("alice", "p", is_visible=True, sees=everything)
    broker.presence.set_away("alice", is_away=True)
    assert (broker.presence.is_away("alice"), broker.lookers("s1")) == (True, set())
    broker.presence.set_away("alice", is_away=False)

    assert broker.lookers("s1") == {"alice"}
    assert reader.page


def test_pages_and_people_beyond_the_bound_are_forgotten_the_oldest_first(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_module, "_MOST_PAGES", 2)
    presence = Presence(clock)
    for name in ("a", "b", "c"):
        presence.tell(name, "", is_visible=True, sees=everything)
        presence.set_away(f"away-{name}", is_away=True)

    assert list(presence.looking("s1")) == ["b", "c"]
    assert [presence.is_away(f"away-{name}") for name in ("a", "b", "c")] == [False, True, True]


def test_who_is_away_is_so_after_a_restart_until_they_are_back(clock: Clock) -> None:
    journal = MemoryJournal()
    before = Broker(clock=clock, journal=journal)
    said = [before.presence.set_away(name, is_away=True) for name in ("alice", "bob", "alice")]
    before.presence.set_away("bob", is_away=False)
    after = Broker(clock=clock, journal=journal.again())

    assert said == [True, True, False]
    assert [after.presence.is_away(name) for name in ("alice", "bob")] == [True, False]
    after.presence.set_away("alice", is_away=False)
    assert after.journal.kept(AWAY_KIND) == []


def test_page_that_has_said_nothing_sees_nothing() -> None:
    assert not Page("alice").sees("s1")
