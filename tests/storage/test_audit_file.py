"""An audit log in a file: what was acknowledged is kept, and what cannot be is refused."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from notifier_service.core.errors import NotRecorded
from notifier_service.storage.audit_chain import lines_of, verify
from notifier_service.storage.audit_file import AuditFile, AuditUnusable

from .conftest import Open, entry


class Disk:
    """A disk that fails as the test says, or is slow."""

    def __init__(self) -> None:
        self.error: int | None = None
        self.takes = 1 << 30
        self.gate = threading.Event()
        self.gate.set()
        self.commits = 0

    def write(self, fd: int, text: bytes) -> int:
        if self.error is not None:
            if self.takes:
                return os.write(fd, text[: self.takes]) if len(text) <= self.takes else self._part(fd, text)
            raise OSError(self.error, os.strerror(self.error))
        return os.write(fd, text)

    def _part(self, fd: int, text: bytes) -> int:
        taken, self.takes = self.takes, 0
        return os.write(fd, text[:taken])

    def sync(self, fd: int) -> None:
        self.gate.wait()
        self.commits += 1
        os.fsync(fd)


def kinds(path: Path) -> list[str]:
    return [told["kind"] for _, told in lines_of(path)]


def numbers(path: Path) -> list[int]:
    return [told["parameters"]["number"] for _, told in lines_of(path) if "parameters" in told]


def until(what: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 10
    while not what():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def test_a_line_is_on_disk_when_its_commit_is_done(audit: Open, path: Path) -> None:
    log = audit()

    log.commit(entry(1), entry(2)).result()

    assert numbers(path) == [1, 2]
    assert verify([path]).head == log.head


def test_a_new_file_is_for_its_owner_alone(audit: Open, path: Path) -> None:
    log = audit(rotate_bytes=500)
    log.commit(entry(1)).result()
    log.commit(entry(2)).result()

    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    assert len(list(path.parent.iterdir())) == 2


def test_a_log_goes_on_where_it_ended(audit: Open, path: Path) -> None:
    first = audit()
    first.commit(entry(1)).result()
    first.close()
    second = audit()
    second.commit(entry(2)).result()

    assert kinds(path) == ["audit_opened", "asked", "audit_opened", "asked"]
    assert verify([path]).records == second.head.seq == 4


def test_fifty_who_wait_at_once_share_two_commits(audit: Open) -> None:
    disk = Disk()
    log = audit(write=disk.write, sync=disk.sync)
    disk.gate.clear()
    before = disk.commits
    waiting = [log.commit(entry(number)) for number in range(50)]
    disk.gate.set()
    for each in waiting:
        each.result()

    assert disk.commits - before <= 2


def test_what_nobody_waits_for_is_written_too(audit: Open, path: Path) -> None:
    log = audit()
    log.note(entry(1))
    log.note(entry(2))
    log.close()

    assert numbers(path) == [1, 2]


def test_a_second_process_on_the_file_is_refused(audit: Open, path: Path) -> None:
    log = audit()
    program = (
        "import sys; from pathlib import Path; from notifier_service.storage.audit_file import AuditFile\n"
        "try: AuditFile(Path(sys.argv[1]))\nexcept Exception as error: print(error)"
    )
    for _ in range(2):
        said = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
        assert "another process writes it already" in said.stdout
        assert str(path) in said.stdout
    log.commit(entry(1)).result()

    assert verify([path]).records == 2


def test_a_link_to_the_file_is_the_same_file(audit: Open, path: Path) -> None:
    audit()
    link = path.with_name("link.jsonl")
    link.symlink_to(path)

    with pytest.raises(AuditUnusable, match="another process"):
        AuditFile(link)


def a_folder(path: Path) -> None:
    path.mkdir()


def a_read_only_file(path: Path) -> None:
    path.touch()
    path.chmod(0o444)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_text(path: Path) -> None:
    path.write_text("dear diary\n")


def other_json_lines(path: Path) -> None:
    path.write_text('{"kind":"audit_opened","seq":1}\n' * 3)


def a_changed_end(path: Path) -> None:
    log = AuditFile(path)
    log.commit(entry(1)).result()
    log.close()
    path.write_bytes(path.read_bytes().replace(b'"asked"', b'"denied"'))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (a_folder, "Is a directory"),
        (a_read_only_file, "it is read-only"),
        (a_pipe, "it is no regular file"),
        (a_text, "it holds something else than an audit log"),
        (other_json_lines, "it holds something else than an audit log"),
        (a_changed_end, "its last line was changed"),
    ],
)
def test_what_cannot_be_an_audit_log_is_refused_and_left_as_it_is(
    path: Path, make: Callable[[Path], None], why: str
) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else None

    with pytest.raises(AuditUnusable, match=why) as error:
        AuditFile(path)

    assert str(path) in error.value.message
    assert before == (path.read_bytes() if path.is_file() else None)


def test_a_folder_that_is_not_there_is_refused(path: Path) -> None:
    with pytest.raises(AuditUnusable, match="No such file or directory"):
        AuditFile(path / "deeper" / "audit.jsonl")


@pytest.mark.parametrize("kept", [1, 100, 10_000])
def test_a_line_that_was_never_finished_is_kept_beside_and_the_log_goes_on(audit: Open, path: Path, kept: int) -> None:
    log = audit()
    log.commit(entry(1), entry(2)).result()
    log.close()
    lines = path.read_bytes().splitlines(keepends=True)
    torn = lines[-1].removesuffix(b"\n")[:kept]
    path.write_bytes(b"".join(lines[:-1]) + torn)

    audit().commit(entry(3)).result()

    assert numbers(path) == [1, 3]
    assert [told.get("reason", "") for _, told in lines_of(path) if told["kind"] == "audit_opened"][1].startswith(
        f"{len(torn)} bytes of a line that was never finished were moved to audit.jsonl.torn-"
    )
    (beside,) = path.parent.glob("*.torn-*")
    assert beside.read_bytes() == torn


@pytest.mark.parametrize(("error", "takes"), [(errno.ENOSPC, 0), (errno.ENOSPC, 77), (errno.EIO, 0), (errno.EROFS, 0)])
def test_who_waits_for_a_failing_disk_is_told_and_it_goes_on_by_itself(
    audit: Open, path: Path, error: int, takes: int
) -> None:
    disk = Disk()
    log = audit(write=disk.write, sync=disk.sync)
    disk.error, disk.takes = error, takes
    with pytest.raises(NotRecorded, match=os.strerror(error)):
        log.commit(entry(1)).result()
    log.note(entry(2))
    until(lambda: log.state.waiting == 1)
    assert log.error == os.strerror(error)

    disk.error = None
    until(lambda: log.error is None)

    log.commit(entry(3)).result()
    assert numbers(path) == [2, 3]
    assert verify([path]).records == 3


def test_a_sync_that_fails_leaves_nothing_of_its_group(audit: Open, path: Path) -> None:
    fails: list[bool] = []

    def sync(fd: int) -> None:
        if fails:
            raise OSError(errno.EIO, "Input/output error")

    log = audit(sync=sync)
    fails.append(True)
    with pytest.raises(NotRecorded):
        log.commit(entry(1)).result()
    fails.clear()
    log.commit(entry(2)).result()

    assert numbers(path) == [2]


def test_a_log_that_is_not_required_lets_go_on_and_writes_later_what_it_could_not(audit: Open, path: Path) -> None:
    disk = Disk()
    log = audit(required=False, write=disk.write, sync=disk.sync)
    disk.error, disk.takes = errno.ENOSPC, 0
    log.commit(entry(1)).result()
    assert log.error == os.strerror(errno.ENOSPC)
    assert not log.state.required

    disk.error = None
    log.commit(entry(2)).result()

    assert numbers(path) == [1, 2]


def test_lines_that_are_lost_are_counted_in_the_log(audit: Open, path: Path) -> None:
    disk = Disk()
    log = audit(write=disk.write, sync=disk.sync)
    disk.error, disk.takes = errno.ENOSPC, 0
    for number in range(10_005):
        log.note(entry(number))
    until(lambda: log.state.lost == 5 and log.state.waiting == 10_000)
    disk.error = None
    log.commit(entry(-1)).result()

    reasons = [told["reason"] for _, told in lines_of(path) if "reason" in told]
    assert reasons == ["5 lines are lost that could not be written"]
    assert len(numbers(path)) == 10_001


def test_a_real_full_disk_refuses_and_goes_on(path: Path) -> None:
    """A process that may write so many bytes to a file, which for it is a full disk."""
    program = """
import resource, sys
from pathlib import Path
from tests.storage.conftest import entry
from notifier_service.storage.audit_file import AuditFile
log = AuditFile(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
kept = 0
try:
    while True:
        log.commit(entry(kept)).result()
        kept += 1
except Exception as error:
    print(kept, error.code)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.commit(entry(kept)).result()
log.close()
"""
    root = Path(__file__).parents[2]
    said = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    kept, code = said.stdout.split()

    assert code == "not_recorded"
    assert numbers(path) == list(range(int(kept) + 1))


def test_a_file_that_is_made_read_only_refuses_until_it_is_not(audit: Open, path: Path) -> None:
    log = audit()
    path.chmod(0o444)
    with pytest.raises(NotRecorded, match="read-only"):
        log.commit(entry(1)).result()
    path.chmod(0o600)
    log.commit(entry(2)).result()

    assert numbers(path) == [2]


@pytest.mark.parametrize("how", ["moved", "removed"])
def test_a_file_that_was_taken_away_is_followed_by_another_of_the_same_chain(audit: Open, path: Path, how: str) -> None:
    log = audit()
    log.commit(entry(1)).result()
    away = path.rename(path.with_name("elsewhere"))
    log.commit(entry(2)).result()

    assert numbers(path) == [2]
    assert verify([away, path]).head == log.head
    if how == "removed":
        away.unlink()
        assert verify([path]).head == log.head


def test_a_file_that_another_program_cuts_or_writes_to_goes_on_and_the_change_is_found(audit: Open, path: Path) -> None:
    log = audit()
    log.commit(entry(1)).result()
    with path.open("ab") as file:
        file.write(b"half a line of somebody else")
    log.commit(entry(2)).result()
    with pytest.raises(Exception, match=r":3: it has no hash"):
        verify([path])

    os.truncate(path, 0)
    log.commit(entry(3)).result()
    told = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["kind"] for line in told] == ["audit_opened", "asked"]
    assert told[0]["reason"] == "another program has changed this file"
    assert verify([path]).head == log.head


def test_a_log_is_rotated_by_size_and_by_age_and_old_files_go(audit: Open, path: Path) -> None:
    log = audit(rotate_bytes=800)
    for number in range(5):
        log.commit(entry(number)).result()
    log.close()
    rotated = sorted(path.parent.glob("audit.jsonl.*"))
    assert len(rotated) >= 2
    os.utime(rotated[0], (0, 0))

    log = audit(rotate_days=0)
    log.commit(entry(9)).result()
    log.commit(entry(10)).result()

    left = [file for file in path.parent.iterdir() if file != rotated[0]]
    assert not rotated[0].exists()
    assert len(left) >= 4
    assert verify(left).head == log.head


def test_old_files_stay_where_that_is_wanted(audit: Open, path: Path) -> None:
    old = path.with_name("audit.jsonl.000000000001")
    old.touch()
    os.utime(old, (0, 0))

    audit(keep_days=0)

    assert old.exists()


def test_a_rotation_that_fails_keeps_the_log_going(audit: Open, path: Path) -> None:
    log = audit(rotate_bytes=500)
    path.with_name("audit.jsonl.new").mkdir()
    for number in range(5):
        log.commit(entry(number)).result()

    assert numbers(path) == [0, 1, 2, 3, 4]


def test_a_kill_between_the_two_steps_of_a_rotation_leaves_one_name(audit: Open, path: Path) -> None:
    log = audit()
    log.commit(entry(1)).result()
    log.close()
    os.link(path, path.with_name("audit.jsonl.000000000002"))

    audit().commit(entry(2)).result()

    assert [file.name for file in path.parent.iterdir()] == ["audit.jsonl"]
    assert numbers(path) == [1, 2]


def test_a_line_that_cannot_be_written_keeps_no_other_from_being(audit: Open, path: Path) -> None:
    log = audit()
    bad: Any = object()
    log.commit(entry(1), {"kind": "asked", "session_id": "s2", "tool_name": bad}, entry(2)).result()
    log.commit(entry(3, text="x" * 300_000)).result()

    assert numbers(path) == [1, 2]
    assert kinds(path) == ["audit_opened", "asked", "asked", "asked", "asked"]


def test_a_clock_that_jumps_back_leaves_a_log_that_verifies(audit: Open, path: Path) -> None:
    log = audit()
    log.commit(entry(1, time="2026-05-01T00:00:00.000Z"), entry(2, time="2020-01-01T00:00:00.000Z")).result()

    assert verify([path]).records == 3
    assert [told["seq"] for _, told in lines_of(path)] == [1, 2, 3]


def test_a_disk_that_does_not_answer_is_not_waited_for_at_the_end(
    audit: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answers = threading.Event()
    answers.set()
    log = audit(sync=lambda fd: answers.wait(), close_seconds=0.01)
    answers.clear()
    waits = log.commit(entry(1))

    log.close()

    assert not waits.done()
    assert "its disk does not answer" in caplog.text
    answers.set()
    waits.result(10)


def test_what_comes_after_the_end_is_refused(audit: Open) -> None:
    log = audit()
    log.close()

    with pytest.raises(NotRecorded, match="closed"):
        log.commit(entry(1)).result()
    log.note(entry(2))
