"""The tree over an audit log goes on over groups, restarts and rotated files, and is that over its lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from notifier_service.core.errors import InvalidInput
from notifier_service.storage.audit_chain import in_order, lines_of, verify
from notifier_service.storage.audit_leaves import leaves_of, raw_lines
from notifier_service.storage.merkle import EMPTY, Tree, leaf_hash

from .conftest import Open, entry


def all_lines(paths: list[Path]) -> list[bytes]:
    return [line for path in in_order(paths) for line in raw_lines(path)]


def tree_over(lines: list[bytes]) -> Tree:
    return EMPTY.with_leaves(map(leaf_hash, lines))


def test_tree_is_that_over_the_lines_of_the_file(audit: Open, path: Path) -> None:
    log = audit()
    log.commit(*[entry(number) for number in range(5)]).result()
    log.commit(entry(5)).result()

    assert log.tree == tree_over(all_lines([path])) == leaves_of([path]).tree
    assert log.tree is not None
    assert log.tree.size == log.head.seq == 7


def test_tree_goes_on_behind_a_restart(audit: Open, path: Path) -> None:
    log = audit()
    log.commit(entry(1)).result()
    log.close()

    log = audit()

    assert log.tree == tree_over(all_lines([path]))
    assert log.head.seq == 3


def test_tree_goes_on_behind_a_line_that_was_never_finished(audit: Open, path: Path) -> None:
    log = audit()
    log.close()
    with path.open("ab") as file:
        file.write(b'{"half')

    log = audit()

    assert log.tree == tree_over(all_lines([path]))


def test_tree_goes_on_over_rotated_files_and_tells_of_each(audit: Open, path: Path, tmp_path: Path) -> None:
    told: list[tuple[Path, Tree]] = []
    log = audit(rotate_bytes=3000, rotated=lambda *one: told.append(one))
    for number in range(60):
        log.commit(entry(number)).result()
    files = in_order([path, *tmp_path.glob("audit.jsonl.0*")])

    assert len(files) > 3
    assert [at for at, _ in told] == files[:-1]
    for number in range(1, len(files)):
        assert told[number - 1][1] == tree_over(all_lines(files[:number]))
    assert log.tree == tree_over(all_lines(files)) == leaves_of(files).tree == leaves_of(files[-2:]).tree
    assert log.tree == leaves_of([path]).tree
    assert verify(files).records == log.tree.size


def test_tree_goes_on_over_a_restart_in_a_rotated_log(audit: Open, path: Path, tmp_path: Path) -> None:
    log = audit(rotate_bytes=3000)
    for number in range(20):
        log.commit(entry(number)).result()
    log.close()

    log = audit(rotate_bytes=3000)
    log.commit(*[entry(number) for number in range(20)]).result()

    assert log.tree == tree_over(all_lines([path, *tmp_path.glob("audit.jsonl.0*")]))


def test_tree_goes_on_in_a_new_file_when_the_old_one_was_taken_away(audit: Open, path: Path) -> None:
    log = audit()
    log.commit(entry(1)).result()
    moved = path.rename(path.with_name("moved"))
    log.commit(entry(2)).result()

    assert log.tree == tree_over(all_lines([moved, path]))


def test_tree_of_a_file_from_which_a_line_was_taken_is_not_known(
    audit: Open, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = audit()
    log.commit(*[entry(number) for number in range(5)]).result()
    log.close()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], *lines[3:]]))

    log = audit()
    log.commit(entry(5)).result()

    assert log.tree is None
    assert "can be proved" in caplog.text


def test_failing_disk_changes_no_tree(audit: Open, path: Path) -> None:
    def full(fd: int, text: bytes) -> int:
        raise OSError(28, "No space left on device")

    log = audit()
    tree = log.tree
    log.close()
    before = path.read_bytes()
    log = audit()
    log.close()

    assert tree == tree_over(before.splitlines())
    with pytest.raises(InvalidInput, match="No space left"):
        audit(write=full)


@pytest.mark.parametrize(
    "first",
    [b"", b"{}\n", b"[]\n", b"3\n", b'{"seq": 2}\n', b'{"seq": "x"}\n', b'{"seq": 2, "tree": 3}\n', b"{" * 9999 + b"\n",
     b'{"seq": 2, "tree": ["zz"]}\n', b'{"seq": 2, "tree": ["00"]}\n', b'{"seq": 0}\n', b"\xff\n", b'{"seq": null}\n'],
)  # fmt: skip
def test_file_that_does_not_say_what_was_before_it_is_refused(path: Path, first: bytes) -> None:
    path.write_bytes(first)

    with pytest.raises(InvalidInput, match=r"audit\.jsonl"):
        leaves_of([path])


def test_file_that_is_missing_between_two_is_noticed(audit: Open, path: Path, tmp_path: Path) -> None:
    log = audit(rotate_bytes=3000)
    for number in range(30):
        log.commit(entry(number)).result()
    first, *_ = in_order(list(tmp_path.glob("audit.jsonl.0*")))

    with pytest.raises(InvalidInput, match="does not go on behind"):
        leaves_of([first, path])


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nothing cannot be read: No such file"):
        leaves_of([tmp_path / "nothing"])


def test_first_line_of_a_new_log_says_nothing_of_a_tree(audit: Open, path: Path) -> None:
    audit()

    assert [sorted(told) for _, told in lines_of(path)] == [["hash", "kind", "prev", "seq", "time"]]
