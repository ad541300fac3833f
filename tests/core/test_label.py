"""What a session is called: one clean line, kept with the session."""

from __future__ import annotations

import pytest

from notifier_service import Broker
from notifier_service.core.errors import InvalidInput
from notifier_service.core.label import MAX_AGENT, MAX_TITLE, NO_LABEL, Label, clean, last_part
from notifier_service.core.question import Question

from .memory_journal import MemoryJournal


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Tidy the drafts", "Tidy the drafts"),
        ("  two\r\nlines\tand more  ", "two lines and more"),
        ("\x1b[31mred\x07", "[31mred"),
        ("safe\u202etxt.exe", "safetxt.exe"),
        ("in\u200bvisible\ufeff", "invisible"),
        ("草稿 é 🎉", "草稿 é 🎉"),
        ("\u2028\u2029\u0085\x00", None),
        ("", None),
    ],
)
def test_label_is_what_can_be_seen_on_one_line(text: str, cleaned: str | None) -> None:
    assert clean(text) == cleaned


def test_label_that_is_too_long_is_refused_and_one_that_is_filled_in_is_cut() -> None:
    for name, most in (("title", MAX_TITLE), ("agent", MAX_AGENT)):
        assert getattr(NO_LABEL.changed({name: "x" * most}), name) == "x" * most
        with pytest.raises(InvalidInput, match=name):
            NO_LABEL.changed({name: "x" * (most + 1)})

    assert NO_LABEL.filled(title="x" * 300, agent=None) == Label("x" * MAX_TITLE, None)


def test_what_somebody_said_is_not_filled_over() -> None:
    assert Label("mine", None).filled(title="folder", agent="claude-code") == Label("mine", "claude-code")


def test_label_changes_in_what_is_named_alone() -> None:
    label = Label("mine", "robot")

    assert label.changed({"title": "yours"}) == Label("yours", "robot")
    assert label.changed({"title": None}) == Label(None, "robot")
    assert label.changed({}) == label


async def test_label_is_there_again_after_a_restart_for_who_comes_back_and_who_does_not() -> None:
    journal = MemoryJournal()
    before = Broker(journal=journal)
    for session_id in ("s1", "s2"):
        before.publish_nowait(session_id, "note", {})
        before.label(session_id, Label(f"work of {session_id}", "robot"))
    before.close()

    after = Broker(journal=journal.again())

    assert [row.title for row in map(after.dormant_row, after.dormant)] == ["work of s1", "work of s2"]
    assert after.open("s1").label == Label("work of s1", "robot")


async def test_label_of_a_session_that_has_ended_is_gone_with_it() -> None:
    journal = MemoryJournal()
    broker = Broker(journal=journal)
    broker.publish_nowait("s1", "note", {})
    broker.label("s1", Label("old", None))
    broker.end_session("s1")
    broker.publish_nowait("s1", "note", {})
    broker.close()

    assert Broker(journal=journal.again()).open("s1").label == NO_LABEL


def test_label_of_a_session_that_did_not_outlive_the_restart_is_not_kept() -> None:
    journal = MemoryJournal()
    journal.named["label", "gone"] = Label("old", None).to_json()
    broker = Broker(journal=journal)

    assert broker.open("gone").label == NO_LABEL
    assert journal.kept("label") == []


async def test_label_that_cannot_be_read_keeps_no_service_from_starting() -> None:
    journal = MemoryJournal()
    broker = Broker(journal=journal)
    broker.publish_nowait("s1", "note", {})
    broker.label("s1", Label("old", None))
    broker.close()
    journal.named["label", "s1"] = b'{"title": 7}'

    assert Broker(journal=journal.again()).open("s1").label == NO_LABEL


def test_session_that_is_called_something_does_not_give_way() -> None:
    session = Broker().label("s1", Label("mine", None))

    assert not session.is_empty


@pytest.mark.parametrize(
    ("folder", "title"),
    [("/srv/app", "app"), ("/srv/app/", "app"), ("C:\\work\\app", "app"), ("app", "app"), ("/", None), (None, None)],
)
def test_folder_is_called_by_its_last_part(folder: str | None, title: str | None) -> None:
    assert last_part(folder) == title


def test_session_is_called_after_who_asks_first_where_nobody_has_said_anything_else() -> None:
    broker = Broker()
    question = Question("rm", {}, agent="claude-code", workspace="/srv/app")
    broker.ask("s1", question)
    broker.ask("s1", question._replace(agent="codex", workspace="/other"))
    broker.label("s2", Label("mine", None))
    broker.ask("s2", question)
    broker.ask("s3", question._replace(agent=None))

    labels = [broker.get(session_id).label for session_id in ("s1", "s2", "s3")]
    assert labels == [Label("app", "claude-code"), Label("mine", "claude-code"), NO_LABEL]


def test_label_of_a_session_that_had_no_event_is_forgotten_with_it() -> None:
    journal = MemoryJournal()
    broker = Broker(journal=journal)
    broker.label("s1", Label("mine", None))
    again = journal.again()
    after = Broker(journal=again)

    assert after.open("s1").label == NO_LABEL
    assert again.kept("label") == []
