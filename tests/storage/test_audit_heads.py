"""Heads say what is on disk, one beside each file; none is signed that contradicts the one before it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from notifier_service.core.errors import InvalidInput
from notifier_service.storage.audit_chain import in_order
from notifier_service.storage.audit_heads import AuditHeads, head_path, read_head
from notifier_service.storage.audit_leaves import files_of, leaves_of
from notifier_service.storage.checkpoint import Checkpoint
from notifier_service.storage.receipt import verify_heads
from notifier_service.storage.signed_note import BadNote, SigningKey

from .conftest import Open, entry

KEY = SigningKey.new("test")


def checkpoint(place: Path) -> Checkpoint:
    return Checkpoint.of(KEY.verifying.text_of(read_head(place)))


def test_head_is_that_of_what_is_on_disk(audit: Open, path: Path) -> None:
    log = audit()
    heads = AuditHeads(path, KEY)
    log.commit(*[entry(number) for number in range(5)]).result()

    heads.write(log.tree)

    head = checkpoint(head_path(path))
    assert (head.origin, head.size, head.root) == ("test", 6, leaves_of([path]).root(6))
    assert sorted(os.listdir(path.parent)) == ["audit.jsonl", "audit.jsonl.head"]


def test_head_is_signed_again_only_when_there_is_more(audit: Open, path: Path) -> None:
    log = audit()
    heads = AuditHeads(path, KEY)

    first, again = heads.write(log.tree), heads.write(log.tree)
    log.commit(entry(1)).result()
    second = heads.write(log.tree)

    assert first is not None
    assert again is None
    assert second == read_head(head_path(path)) != first


def test_each_rotated_file_has_its_last_head_beside_it(audit: Open, path: Path) -> None:
    heads = AuditHeads(path, KEY)
    log = audit(rotate_bytes=3000, rotated=heads.rotated)
    for number in range(40):
        log.commit(entry(number)).result()
    heads.write(log.tree)

    files = files_of(path)
    assert len(files) > 2
    for count, file in enumerate(files, 1):
        assert verify_heads([read_head(head_path(file))], files[:count], KEY.verifying).size == leaves_of([file]).size
        verify_heads([read_head(head_path(file))], [file], KEY.verifying)


def test_rotation_right_behind_a_head_or_before_one_is_no_contradiction(audit: Open, path: Path) -> None:
    heads = AuditHeads(path, KEY)
    log = audit()
    before = log.tree
    heads.write(before)
    log.commit(entry(1)).result()
    heads.write(log.tree)  # in another thread, while this one tells of the rotation

    heads.rotated(path.with_name("audit.jsonl.000000000001"), before)  # type: ignore[arg-type]

    assert heads.error is None
    assert checkpoint(head_path(path)).size == 2


def test_head_of_a_rotated_file_goes_with_it(audit: Open, path: Path) -> None:
    heads = AuditHeads(path, KEY)
    log = audit(rotate_bytes=3000, rotated=heads.rotated)
    for number in range(10):
        log.commit(entry(number)).result()
    oldest = files_of(path)[0]
    oldest.unlink()
    for number in range(10):
        log.commit(entry(number)).result()

    assert not head_path(oldest).exists()
    assert all(head_path(file).exists() for file in files_of(path)[:-1])


def test_heads_go_on_behind_a_restart(audit: Open, path: Path) -> None:
    log = audit()
    log.commit(entry(1)).result()
    AuditHeads(path, KEY).write(log.tree)
    log.close()

    log = audit()
    heads = AuditHeads(path, KEY)
    heads.write(log.tree)

    assert heads.error is None
    assert checkpoint(head_path(path)).size == 3


def test_heads_go_on_behind_a_restart_after_a_rotation_that_nobody_signed(audit: Open, path: Path) -> None:
    log = audit(rotate_bytes=3000)
    AuditHeads(path, KEY).write(log.tree)
    for number in range(20):
        log.commit(entry(number)).result()

    heads = AuditHeads(path, KEY)
    heads.write(log.tree)

    assert heads.error is None
    assert checkpoint(head_path(path)).size == 21 + len(files_of(path)) - 1


def test_heads_go_on_where_the_older_files_are_gone(audit: Open, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = audit(rotate_bytes=3000)
    AuditHeads(path, KEY).write(log.tree)
    for number in range(20):
        log.commit(entry(number)).result()
    for file in files_of(path)[:-1]:
        file.unlink()

    heads = AuditHeads(path, KEY)
    heads.write(log.tree)

    assert heads.error is None
    assert "older files are missing" in caplog.text


@pytest.mark.parametrize("how", ["cut", "changed", "begun anew"])
def test_no_head_is_signed_that_contradicts_the_one_before(
    audit: Open, path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = audit()
    log.commit(*[entry(number) for number in range(5)]).result()
    AuditHeads(path, KEY).write(log.tree)
    log.close()
    before = read_head(head_path(path))
    lines = path.read_bytes().splitlines(keepends=True)
    if how == "cut":
        path.write_bytes(b"".join(lines[:-2]))
    elif how == "changed":
        path.write_bytes(b"".join([lines[0], lines[1].replace(b"asked", b"asKed"), *lines[2:]]))
    else:
        path.unlink()

    log = audit()
    log.commit(*[entry(number) for number in range(9)]).result()
    heads = AuditHeads(path, KEY)

    assert heads.write(log.tree) is None
    assert heads.rotated(path, log.tree) is None  # type: ignore[arg-type]
    assert heads.error is not None
    assert read_head(head_path(path)) == before
    assert "no more heads" in caplog.text
    assert "move" in caplog.text
    head_path(path).unlink()
    again = AuditHeads(path, KEY)
    again.write(log.tree)
    assert again.error is None


def test_no_head_is_signed_of_fewer_lines_than_before(audit: Open, path: Path) -> None:
    log = audit()
    first = log.tree
    log.commit(entry(1)).result()
    heads = AuditHeads(path, KEY)

    heads.write(log.tree)
    heads.write(first)

    assert heads.error is not None
    assert "lines are missing" in heads.error


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"hello", b"x" * 100_000, KEY.signed("text\n").encode()[:50]],
    ids=["empty", "no text", "no note", "large", "torn"],
)
def test_head_that_cannot_be_read_stops_the_signing(audit: Open, path: Path, content: bytes) -> None:
    log = audit()
    head_path(path).write_bytes(content)

    heads = AuditHeads(path, KEY)
    heads.write(log.tree)

    assert heads.error is not None
    assert head_path(path).read_bytes() == content


def test_tree_that_nobody_knows_is_not_signed(path: Path) -> None:
    AuditHeads(path, KEY).write(None)

    assert not head_path(path).exists()


def test_head_that_cannot_be_written_is_given_all_the_same_and_written_later(
    audit: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = audit()
    heads = AuditHeads(path, KEY)
    blocked = path.with_name("audit.jsonl.head.new")
    blocked.mkdir()

    note = heads.write(log.tree)
    assert "cannot be written" in caplog.text
    blocked.rmdir()

    assert heads.write(log.tree) is None
    assert read_head(head_path(path)) == note


def test_file_that_others_swap_for_another_is_not_signed(audit: Open, path: Path, tmp_path: Path) -> None:
    other = audit(tmp_path / "other")
    other.commit(*[entry(number) for number in range(9)]).result()
    other.close()
    log = audit()
    heads = AuditHeads(path, KEY)
    heads.write(log.tree)
    (tmp_path / "other").rename(path)

    log.commit(entry(1)).result()
    heads.write(log.tree)

    assert checkpoint(head_path(path)).size == 1
    with pytest.raises(InvalidInput, match="not those that were signed"):
        verify_heads([read_head(head_path(path))], [path], KEY.verifying)


def test_files_of_a_log_are_those_without_a_gap(audit: Open, path: Path, tmp_path: Path) -> None:
    log = audit(rotate_bytes=3000)
    for number in range(40):
        log.commit(entry(number)).result()
    files = in_order([path, *tmp_path.glob("audit.jsonl.0*")])
    (tmp_path / "audit.jsonl.000000000000.head").touch()

    assert files_of(path) == files
    files[1].unlink()
    assert files_of(path) == files[2:]
    with pytest.raises(InvalidInput, match="No such file"):
        files_of(tmp_path / "nowhere" / "audit.jsonl")


def test_file_that_is_no_head_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xff")

    with pytest.raises(BadNote, match="no signed head"):
        read_head(tmp_path / "x")
