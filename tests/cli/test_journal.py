"""``journal``: whether a journal is whole, what is in it, and how to make it smaller."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from notifier_service import Broker
from notifier_service.core.question import Question
from notifier_service.storage.journal import JournalFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


async def filled(path: Path, events: int = 300, *, is_left_open: bool = False) -> JournalFile:
    journal = JournalFile(path, sync="normal")
    broker = Broker(journal=journal)
    for number in range(events):
        await broker.publish(f"s{number % 3}", "note", {"n": number, "text": "é \n" * 100})
    await broker.ask("s0", Question("run", {}, outlives=True)).recorded()
    await broker.all_kept()
    if not is_left_open:
        journal.close()
    return journal


def ran(step: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "notifier_service", "journal", step, str(path)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


async def test_whole_journal_is_told_as_that_also_while_it_is_used(path: Path) -> None:
    journal = await filled(path, is_left_open=True)

    used = ran("check", path)
    journal.close()
    left = ran("check", path)

    for done in (used, left):
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("3 sessions, 301 events, 1 requests, ")


async def test_journal_is_whole_however_deep_the_parameters_of_a_question_are(path: Path) -> None:
    journal = JournalFile(path, sync="normal")
    broker, deep = Broker(journal=journal), list[object]()
    for _ in range(198):
        deep = [deep]
    await broker.ask("s", Question("run", {"a": deep}, outlives=True)).recorded()
    await broker.all_kept()
    journal.close()

    done = ran("check", path)

    assert (done.returncode, done.stderr) == (0, "")


async def test_events_are_exported_with_their_sessions_also_while_it_is_used(path: Path) -> None:
    journal = await filled(path, 7, is_left_open=True)

    done = ran("export", path)
    journal.close()

    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [line["session_id"] for line in lines] == ["s0"] * 4 + ["s1"] * 2 + ["s2"] * 2
    assert [line["data"]["n"] for line in lines if line["type"] == "note"] == [0, 3, 6, 1, 4, 2, 5]
    assert all(line["id"] for line in lines)


async def test_journal_is_compacted_where_nobody_uses_it(path: Path) -> None:
    journal = await filled(path, is_left_open=True)
    refused = ran("compact", path)
    journal.close()
    journal = JournalFile(path)
    for session_id in ("s1", "s2"):
        journal.drop(session_id)
    journal.close()

    done = ran("compact", path)
    journal = JournalFile(path)
    [head] = journal.heads()
    events = journal.go_on("s0", most_events=1000, most_bytes=1 << 20)[1].events
    journal.close()

    assert refused.returncode == 1
    assert "another process uses it already" in refused.stderr
    assert done.returncode == 0
    before, after = (int(word) for word in done.stdout.split() if word.isdigit())
    assert after < before
    assert head.session_id == "s0"
    assert len(events) == 101


@pytest.mark.parametrize("step", ["check", "compact", "export"])
@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.write_text("a diary"), "it holds something else than a journal"),
    ],
    ids=["nothing", "a folder", "something else"],
)
def test_what_is_no_journal_is_told_and_left_alone(step: str, made: object, why: str, path: Path) -> None:
    made(path)  # type: ignore[operator]

    done = ran(step, path)

    assert done.returncode == 1
    assert f"journal {path}: " in done.stderr
    assert why in done.stderr
    assert not path.is_file() or path.read_text() == "a diary"


async def test_damage_is_told(path: Path) -> None:
    await filled(path)
    with path.open("r+b") as file:
        for page in range(3, 40, 3):
            file.seek(page * 4096)
            file.write(os.urandom(4096))

    done = ran("check", path)

    assert done.returncode == 1
    assert f"journal {path}: it is damaged" in done.stderr


@pytest.mark.parametrize(
    ("change", "is_exported"),
    [
        ("UPDATE batches SET events = 'a text'", False),
        ("UPDATE batches SET events = 7", False),
        ("UPDATE batches SET last = 'end'", True),
        ("UPDATE batches SET last = last + 1", True),
        ("UPDATE batches SET events = x'7b'", True),
        ("UPDATE kept SET body = 'a text'", True),
        ("DROP TABLE batches", False),
    ],
)
async def test_what_was_changed_by_hand_is_told_and_no_fault_of_the_command(
    change: str, is_exported: bool, path: Path
) -> None:
    await filled(path, 9)
    with sqlite3.connect(path) as connection:
        connection.execute(change)
    connection.close()

    checked, exported = ran("check", path), ran("export", path)

    assert checked.returncode == 1
    assert checked.stderr.startswith(f"journal {path}: ")
    assert exported.returncode == (0 if is_exported else 1)
    assert "Traceback" not in checked.stderr + exported.stderr
