"""A journal in a file: what was acknowledged is there again, and what cannot be kept is not acknowledged."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from notifier_service.core.errors import CursorLost, NotDurable
from notifier_service.core.event_log import Event, EventLog
from notifier_service.core.journal import Change, KeptLog
from notifier_service.storage.journal import JournalFile
from notifier_service.storage.journal_lock import JournalUnusable

Open = Callable[..., JournalFile]


class Disk:
    """A disk that fails as the test says, or is slow: a connection that asks it first."""

    def __init__(self) -> None:
        self.error: str | None = None
        self.gate = threading.Event()
        self.gate.set()

    def connect(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *more: Any) -> sqlite3.Cursor:
                if sql == "COMMIT":
                    disk.gate.wait()
                    if disk.error is not None:
                        raise sqlite3.OperationalError(disk.error)
                return super().execute(sql, *more)

        return sqlite3.connect(*arguments, factory=Connection, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def journal(path: Path, disk: Disk) -> Iterator[Open]:
    """Opens the journal of the test; all that were opened are closed at the end."""
    opened: list[JournalFile] = []

    def one(at: Path = path, **settings: Any) -> JournalFile:
        opened.append(JournalFile(at, **{"connect": disk.connect, **settings}))
        return opened[-1]

    yield one
    disk.error = None
    disk.gate.set()
    for each in opened:
        if each.is_open:
            each.close()


async def kept(journal: JournalFile) -> None:
    waiting = journal.all_kept()
    if waiting is not None:
        await waiting


async def written(journal: JournalFile, count: int, session_id: str = "s", epoch: str = "e") -> EventLog:
    """A log with so many events, all of them kept."""
    log = EventLog(epoch=epoch)
    session = journal.begin(session_id, epoch, opened_by="ann")
    for number in range(count):
        session.put(log.append("note", {"n": number, "text": "é \n \u2028"}))
        if number % 7 == 0:
            await kept(journal)
    await kept(journal)
    return log


def again(
    journal: JournalFile, session_id: str = "s", *, most_events: int = 1000, most_bytes: int = 1 << 20
) -> KeptLog:
    return journal.go_on(session_id, most_events=most_events, most_bytes=most_bytes)[1]


def killed(journal: JournalFile, path: Path, beside: Path) -> Path:
    """What a process that is killed at this moment leaves."""
    beside.mkdir()
    for suffix in ("", "-wal", "-lock"):
        left = path.with_name(path.name + suffix)
        if left.exists():
            (beside / left.name).write_bytes(left.read_bytes())
    copy = beside / path.name
    with sqlite3.connect(copy) as connection:  # the file that was killed is the same file, and not a copy
        connection.execute("UPDATE run SET inode = ?", (os.stat(copy).st_ino,))
    connection.close()
    return copy


def changed(path: Path, *how: str) -> None:
    """Have somebody change the file who knows SQL."""
    with sqlite3.connect(path) as connection:
        for each in how:
            connection.execute(each)
    connection.close()


def ids(events: Any) -> list[str]:
    return [event.id for event in events]


def log_of(kept: KeptLog, *, capacity: int = 1000) -> EventLog:
    log = EventLog(epoch=kept.epoch, capacity=capacity)
    log.go_on_behind(kept.events, kept.last_seq, kept.leaps)
    return log


async def test_events_are_there_again_as_they_were(journal: Open, path: Path) -> None:
    first = journal()
    log = await written(first, 100)
    first.close()

    second = journal()
    [head] = second.heads()

    assert head == ("s", log.last_event_id, "ann")
    assert again(second) == ("e", log.read_after(0), 100, [])


async def test_file_is_for_its_owner_alone_and_one_after_a_close(journal: Open, path: Path) -> None:
    first = journal()
    await written(first, 3)
    modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
    first.close()

    assert set(modes.values()) == {0o600}
    assert sorted(each.name for each in path.parent.iterdir()) == ["journal", "journal-lock"]


async def test_newest_events_are_read_within_the_bounds(journal: Open) -> None:
    first = journal()
    await written(first, 100)
    first.close()

    second = journal()
    events = again(second, most_events=10).events

    assert 10 <= len(events) <= 17
    assert events[-1].seq == 100


async def test_after_a_kill_ids_leap_and_cursors_of_before_hold(journal: Open, path: Path, tmp_path: Path) -> None:
    first = journal()
    log = await written(first, 100)
    left = killed(first, path, tmp_path / "left")

    second = journal(left)
    session, before = second.go_on("s", most_events=1000, most_bytes=1 << 20)
    log_again = log_of(before)
    told_and_lost = log.append("note", {"n": "told to readers, and lost"})
    new = log_again.append("note", {"n": 100})
    session.put(new)
    await kept(second)
    third = journal(killed(second, left, tmp_path / "twice"))
    log_once_more = log_of(again(third))

    assert new.id != told_and_lost.id
    for goes_on in (log_again, log_once_more):
        assert ids(goes_on.read_after(goes_on.locate(log.id_of(40)))) == [*ids(log.read_after(40))[:-1], new.id]
        assert ids(goes_on.read_after(goes_on.locate(told_and_lost.id))) == [new.id]
        assert goes_on.last_event_id == new.id
        assert goes_on.locate(new.id) == 101
        with pytest.raises(CursorLost, match="unknown"):
            goes_on.locate("e-zzzzzzzzz")


async def test_evicted_events_of_before_a_kill_are_a_gap(journal: Open, path: Path, tmp_path: Path) -> None:
    first = journal()
    log = await written(first, 100)
    left = killed(first, path, tmp_path / "left")
    second = journal(left)
    session, before = second.go_on("s", most_events=1000, most_bytes=1 << 20)
    log_again = log_of(before)
    for number in range(50):
        session.put(log_again.append("note", {"n": number}))
    second.close()

    third = journal(left)
    newest = log_of(again(third, most_events=20), capacity=20)

    for cursor in (log.id_of(100), log_again.id_of(101)):
        with pytest.raises(CursorLost, match="evicted"):
            newest.locate(cursor)
    assert ids(newest.read_after(newest.locate(log_again.id_of(140)))) == ids(log_again.read_after(140))


@pytest.mark.parametrize("lost", ["the end of what was written ahead", "the newer file"])
async def test_epoch_changes_where_the_end_of_what_was_acknowledged_is_missing(
    lost: str, journal: Open, path: Path, tmp_path: Path
) -> None:
    first = journal()
    await written(first, 20)
    left = killed(first, path, tmp_path / "left")
    await written(first, 20, "t")
    mark = path.with_name("journal-lock").read_bytes()
    if lost == "the newer file":
        left.with_name("journal-lock").write_bytes(mark)
    else:
        left = killed(first, path, tmp_path / "torn")
        torn = path.with_name("journal-wal").read_bytes()[:-3000]
        # The copy was opened once, which wrote all that is ahead into it.
        left.write_bytes(path.read_bytes())
        left.with_name("journal-wal").write_bytes(torn)

    second = journal(left)
    log = log_of(again(second))

    assert log.epoch != "e"
    assert [event.id.partition("-")[0] for event in log.read_after(0)] == [log.epoch] * 20
    assert all(f'"id":"{event.id}"'.encode() in event.json for event in log.read_after(0))
    with pytest.raises(CursorLost, match="epoch"):
        log.locate("e-5")


async def test_back_up_while_it_runs_is_whole_and_older_than_what_went_on(
    journal: Open, path: Path, tmp_path: Path
) -> None:
    first = journal()
    log = await written(first, 50)
    first.commit(Change("question", "a", b"1")).result()
    copy = tmp_path / "copy"
    with sqlite3.connect(path) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
    await written(first, 5, "later", "f")

    second = journal(copy)

    assert [head.session_id for head in second.heads()] == ["s"]
    assert second.kept("question") == [("question", "a", b"1")]
    restored = again(second)
    assert restored.epoch != log.epoch
    assert [event.type for event in restored.events] == ["note"] * 50


async def test_orderly_stop_leaves_one_file_that_goes_on_elsewhere(journal: Open, path: Path, tmp_path: Path) -> None:
    first = journal()
    log = await written(first, 50)
    first.close()
    assert not path.with_name("journal-wal").exists()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "journal").write_bytes(path.read_bytes())

    moved = again(journal(elsewhere / "journal"))

    assert (moved.epoch, moved.events) == (log.epoch, log.read_after(0))


async def test_session_that_was_dropped_is_gone_and_one_of_its_id_begins_anew(journal: Open) -> None:
    first = journal()
    session = first.begin("s", "e", opened_by=None)
    session.put(Event(1, "e-1", "note", b'{"type":"note","id":"e-1"}'))
    session.drop()
    await written(first, 3, epoch="f")
    first.close()

    second = journal()

    assert again(second).epoch == "f"
    second.close()
    assert rows(second.path, "SELECT count(*) FROM sessions") == 1


async def test_events_that_come_one_by_one_share_rows_and_are_there_again_as_they_were(
    journal: Open, disk: Disk, path: Path
) -> None:
    first = journal()
    log, session = EventLog(epoch="e"), first.begin("s", "e", opened_by=None)
    for number in range(200):
        session.put(log.append("note", {"n": number, "text": "é" * (number % 50)}))
        if number == 100:  # what failed is written anew, and not behind what was not
            disk.error = "disk I/O error"
            with pytest.raises(NotDurable):
                await kept(first)
            disk.error = None
        await kept(first)
    first.close()

    assert rows(path, "SELECT count(*) FROM batches") < 20
    second = journal()
    assert again(second).events == log.read_after(0)
    second.close()
    assert again(journal()).last_seq == 200


async def test_forgotten_events_are_removed_in_time(journal: Open) -> None:
    first = journal()
    log = EventLog(epoch="e", capacity=100_000)
    session = first.begin("s", "e", opened_by=None)
    for _ in range(300):
        session.put(log.append("note", {"text": "x" * 2048}))  # a row each
        await kept(first)
    session.forget_before(250)
    first.commit().result()
    until(lambda: rows(first.path, "SELECT count(*) FROM batches") <= 52)
    first.close()

    second = journal()

    events = again(second).events
    assert len(events) <= 52
    assert ids(events) == ids(log.read_after(log.last_seq - len(events)))


async def test_file_stays_bounded_however_many_sessions_publish_at_once(journal: Open, path: Path) -> None:
    first = journal(sync="normal")
    each = [(EventLog(epoch="e"), first.begin(f"s{number}", "e", opened_by=None)) for number in range(60)]
    most = 0
    for _ in range(30):
        for log, session in each:
            session.put(log.append("note", {"text": "x" * 2048}))  # a row each
            session.forget_before(log.last_seq)
        first.commit().result()
        most = max(most, rows(path, "SELECT count(*) FROM batches"))

    assert most <= 5 * len(each)


def rows(path: Path, sql: str) -> int:
    connection = sqlite3.connect(path)
    try:
        [count] = connection.execute(sql).fetchone()
        return int(count)
    finally:
        connection.close()


def until(what: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 10
    while not what():
        assert time.monotonic() < give_up
        time.sleep(0.005)


async def test_what_is_committed_by_name_is_kept_and_taken_away_by_name(journal: Open) -> None:
    first = journal()
    first.commit(Change("question", "a", b"1"), Change("question", "b", b"2"), Change("rule", "a", b"3")).result()
    first.commit(Change("question", "a", None), Change("question", "b", b"4")).result()
    first.close()

    second = journal()

    assert second.kept("question") == [("question", "b", b"4")]
    assert second.kept("rule") == [("rule", "a", b"3")]


async def test_what_is_kept_beside_the_events_of_a_session_is_there_again_and_goes_with_it(
    journal: Open, path: Path
) -> None:
    first = journal()
    for session_id in ("s", "other"):
        session = first.begin(session_id, "e", opened_by="ann")
        assert session.beside() == ()
        for name in "abc":
            session.keep(name, f"{session_id} {name}".encode())
        session.keep("b", None)
    first.begin("dropped at once", "e", opened_by=None).drop()
    first.close()

    second = journal()
    assert [head.last_event_id for head in second.heads()] == ["e-0", "e-0"]
    going_on, log = second.go_on("s", most_events=10, most_bytes=10)
    assert (log.events, log.last_seq) == ([], 0)
    assert going_on.beside() == [("a", b"s a"), ("c", b"s c")]
    going_on.drop()
    going_on.keep("late", b"of a session that has ended")
    second.drop("other")
    new = second.begin("s", "e2", opened_by=None)
    new.keep("a", b"new")
    assert new.beside() in ((), [("a", b"new")])
    second.close()

    third = journal()
    assert [head.session_id for head in third.heads()] == ["s"]
    assert third.go_on("s", most_events=10, most_bytes=10)[0].beside() == [("a", b"new")]
    assert rows(path, "SELECT count(*) FROM kept") == 1


async def test_what_is_kept_together_is_there_whole_or_not_at_all(journal: Open, path: Path, tmp_path: Path) -> None:
    first = journal()
    log = await written(first, 3)
    session, other = first.begin("t", "f", opened_by=None), EventLog(epoch="f")
    with first.together():
        for _ in range(5000):
            session.put(other.append("note"))
        first.note(Change("answer", "a", b"1"))
        left = killed(first, path, tmp_path / "left")
    await kept(first)
    first.close()

    before, after = journal(left), journal()

    assert [head.session_id for head in before.heads()] == ["s"]
    assert again(before).events == log.read_after(0)
    assert before.kept("answer") == []
    assert again(after, "t").last_seq == 5000
    assert len(after.kept("answer")) == 1


async def test_who_waits_beside_others_shares_a_commit(journal: Open, disk: Disk) -> None:
    first = journal(sync="normal")
    log = EventLog(epoch="e")
    session = first.begin("s", "e", opened_by=None)
    disk.gate.clear()
    before = first.state.commits
    session.put(log.append("note"))
    waiting = []
    for _ in range(50):
        session.put(log.append("note"))
        waiting.append(first.all_kept())
    disk.gate.set()
    await asyncio.gather(*[each for each in waiting if each is not None])

    assert first.state.commits <= before + 3


async def test_nothing_is_acknowledged_while_the_disk_fails_and_all_of_it_is_kept_afterwards(
    journal: Open, disk: Disk
) -> None:
    first = journal()
    log = await written(first, 3)
    session, disk.error = first.begin("t", "f", opened_by=None), "database or disk is full"
    other = EventLog(epoch="f")
    session.put(other.append("note"))
    with pytest.raises(NotDurable, match="disk is full"):
        await kept(first)
    with pytest.raises(NotDurable, match="disk is full"):
        first.commit(Change("question", "a", b"1")).result()
    error, disk.error = first.error, None
    session.put(other.append("note"))
    await kept(first)
    first.close()

    second = journal()

    assert error == "database or disk is full"
    assert first.error is None
    assert again(second, "t").events == other.read_after(0)
    assert again(second).events == log.read_after(0)
    assert second.kept("question") == []


async def test_it_goes_on_by_itself_when_nobody_asks(journal: Open, disk: Disk) -> None:
    first = journal()
    disk.error = "disk I/O error"
    with pytest.raises(NotDurable):
        first.commit(Change("question", "a", b"1")).result()
    disk.error = None

    until(lambda: first.error is None)


async def test_file_that_is_moved_away_acknowledges_nothing(journal: Open, path: Path) -> None:
    first = journal()
    await written(first, 3)
    path.rename(path.with_name("elsewhere"))
    with pytest.raises(NotDurable):
        first.commit(Change("question", "a", b"1")).result()
    path.with_name("elsewhere").rename(path)

    first.commit(Change("question", "a", b"1")).result()


async def test_file_that_another_program_holds_acknowledges_nothing_until_that_lets_it_go(
    journal: Open, path: Path
) -> None:
    first = journal()
    log = await written(first, 3)
    session = first.begin("t", "f", opened_by=None)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    session.put(EventLog(epoch="f").append("note"))
    with pytest.raises(NotDurable, match="another program holds it"):
        await kept(first)
    other.execute("ROLLBACK")
    other.close()
    until(lambda: first.error is None)
    first.close()

    second = journal()
    assert again(second).events == log.read_after(0)
    assert again(second, "t").last_seq == 1


async def test_slow_disk_holds_who_waits_and_nobody_else_and_no_end(journal: Open, disk: Disk) -> None:
    first = journal()
    session, other = first.begin("t", "f", opened_by=None), EventLog(epoch="f")
    disk.gate.clear()
    session.put(other.append("note"))
    waiting = asyncio.ensure_future(kept(first))
    decided = first.commit(Change("question", "a", b"1"))
    await asyncio.sleep(0)

    assert (waiting.done(), decided.done(), first.state.waiting, first.error) == (False, False, 1, None)
    assert not first.close(within_seconds=0.05)
    with pytest.raises(NotDurable, match="closed"):
        first.commit(Change("question", "b", b"2")).result()
    with pytest.raises(JournalUnusable, match="another process uses it already"):
        journal()
    disk.gate.set()
    await waiting
    decided.result(timeout=10)
    assert first.close()
    assert journal().kept("question") == [("question", "a", b"1")]


async def test_what_waits_for_a_disk_that_fails_is_no_more_than_there_is(journal: Open, disk: Disk) -> None:
    first = journal()
    session, disk.error = first.begin("s", "e", opened_by=None), "disk I/O error"
    for round_ in range(20):
        for number in range(500):
            first.note(Change("history", f"{number % 5}", b"x" * 1000), Change("history", "gone", None))
            session.keep(f"{number % 3}", b"y" * 1000)
            session.forget_before(number)
        with pytest.raises(NotDurable):
            first.commit(Change("question", "a", b"%d" % round_)).result()
    waiting_bytes, disk.error = first.state.waiting_bytes, None
    first.commit().result()

    assert 0 < waiting_bytes < 20_000
    assert first.state.waiting_bytes == 0
    assert [change.name for change in first.kept("history")] == ["0", "1", "2", "3", "4"]
    first.close()
    assert [name for name, _ in journal().go_on("s", most_events=1, most_bytes=1)[0].beside()] == ["0", "1", "2"]


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM run",
        "UPDATE run SET commits = 'many'",
        "UPDATE run SET generation = x'00'",
        "UPDATE run SET inode = 'mine'",
        "UPDATE sessions SET epoch = 'no epoch'",
        "UPDATE sessions SET generation = 'first'",
        "UPDATE sessions SET session_id = x'ff'",
        "UPDATE batches SET last = 'end'",
        "UPDATE batches SET generation = 'none'",
        "ALTER TABLE kept RENAME TO lost",
        "ALTER TABLE batches RENAME COLUMN events TO notes",
    ],
)
async def test_file_that_was_changed_by_hand_is_damaged_and_not_a_fault_of_the_service(
    change: str, journal: Open, path: Path
) -> None:
    first = journal()
    await written(first, 20)
    first.close()
    changed(path, change)

    def use() -> None:
        second = journal()
        second.kept("question")
        again(second)

    with pytest.raises((JournalUnusable, NotDurable), match=r"damaged|no such"):
        use()


@pytest.mark.parametrize(
    "events", ["'a text'", "7", "x''", "x'00'", '\'{"type":"note","id":"e-1"}\'', "x'7b7d'", "1.5"]
)
async def test_session_whose_events_were_changed_by_hand_cannot_be_read_and_others_can(
    events: str, journal: Open, path: Path
) -> None:
    first = journal()
    await written(first, 20)
    other = await written(first, 5, "other", "f")
    first.close()
    changed(path, f"UPDATE batches SET events = {events} WHERE key < 2 << 36")
    second = journal()

    with pytest.raises(NotDurable, match="What was kept of this session cannot be read: it is damaged"):
        again(second)
    assert again(second, "other").events == other.read_after(0)
    second.drop("s")
    second.close()
    assert [head.session_id for head in journal().heads()] == ["other"]


def test_second_service_is_refused(journal: Open, path: Path) -> None:
    journal()

    with pytest.raises(JournalUnusable, match=f"{path}: another process uses it already"):
        journal()


def test_file_that_another_program_holds_is_refused(journal: Open, path: Path) -> None:
    journal().close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(JournalUnusable, match="another program holds it"):
            journal()
    finally:
        other.close()


def _folder(path: Path) -> None:
    path.mkdir()


def _text(path: Path) -> None:
    path.write_text("this is my diary, and no journal\n")


def _other_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()


def _newer(path: Path) -> None:
    JournalFile(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def _damaged(path: Path) -> None:
    JournalFile(path).close()
    with path.open("r+b") as file:
        file.seek(100)
        file.write(os.urandom(8000))


def _cut(path: Path) -> None:
    JournalFile(path).close()
    os.truncate(path, 5000)


def _read_only(path: Path) -> None:
    JournalFile(path).close()
    path.chmod(0o400)


def _unreadable(path: Path) -> None:
    JournalFile(path).close()
    path.chmod(0o200)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (_folder, "it is a folder; give the name of a file"),
        (_text, "it holds something else than a journal; give it another name"),
        (_other_database, "it holds something else than a journal; give it another name"),
        (_newer, "version 99 .* start the service that wrote it"),
        (_damaged, "it is damaged .* move that file away"),
        (_cut, "it is damaged .* move that file away"),
        (_read_only, "it is read-only"),
        (_unreadable, "it may not be read"),
        (_pipe, "it is no regular file"),
    ],
)
def test_what_cannot_be_a_journal_is_refused_by_its_name_and_left_alone(
    made: Callable[[Path], None], why: str, journal: Open, path: Path
) -> None:
    made(path)
    before = None if not path.is_file() else path.read_bytes()

    with pytest.raises(JournalUnusable, match=f"^journal {path}: .*{why}"):
        journal()
    assert before is None or path.read_bytes() == before


def test_folder_that_is_not_there_is_told(journal: Open, tmp_path: Path) -> None:
    with pytest.raises(JournalUnusable, match="No such file or directory"):
        journal(tmp_path / "nowhere" / "journal")


@pytest.mark.parametrize("kilobytes", [8, 300])
def test_full_disk_is_told_at_the_start_and_refuses_while_it_runs(kilobytes: int, path: Path) -> None:
    script = """
        import asyncio, resource, sys
        from pathlib import Path
        from notifier_service.core.errors import NotifierError
        from notifier_service.core.event_log import EventLog
        from notifier_service.storage.journal import JournalFile

        async def main():
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]) * 1024,) * 2)
            journal = JournalFile(Path(sys.argv[1]))
            log, session = EventLog(epoch="e"), journal.begin("s", "e", opened_by=None)
            for number in range(100):
                session.put(log.append("note", {"text": "x" * 10_000}))
                try:
                    waiting = journal.all_kept()
                    if waiting is not None:
                        await waiting
                except NotifierError as error:
                    print(number, error.code)
                    break

        try:
            asyncio.run(main())
        except NotifierError as error:
            print("refused", error.message)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path), str(kilobytes)],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip

    if kilobytes == 8:
        assert f"refused journal {path}: " in ran.stdout
        return
    number, code = ran.stdout.split()
    assert code == "not_durable"
    journal = JournalFile(path)
    events = again(journal).events
    journal.close()
    assert len(events) >= int(number) > 5
