"""The policy in force stays so whatever happens to its file, and a sound text comes into force by itself."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from notifier_service.core.errors import InvalidInput
from notifier_service.core.policy.policy_file import PolicyFile, load_policy

ONE = '[[rule]]\nname = "one"\neffect = "deny"\ntool = "t"\n'
TWO = ONE + '[[rule]]\nname = "two"\neffect = "ask"\ntool = "u"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(ONE)
    return path


@pytest.fixture
def file(path: Path) -> PolicyFile:
    return PolicyFile(path, settle_seconds=0.001)


def names(file: PolicyFile) -> list[str]:
    return [rule.name for rule in file.policy.rules]


def test_file_that_does_not_change_is_not_read_again(file: PolicyFile) -> None:
    before = file.policy

    assert (file.refresh(), file.policy is before, file.error) == (False, True, None)


def test_changed_file_comes_into_force(file: PolicyFile, path: Path) -> None:
    loaded_at = file.loaded_at
    path.write_text(TWO)

    assert file.refresh()
    assert names(file) == ["one", "two"]
    assert file.loaded_at >= loaded_at
    assert not file.refresh()


def test_file_that_was_only_touched_changes_nothing(file: PolicyFile, path: Path) -> None:
    before = file.policy
    os.utime(path, (5, 5))

    assert (file.refresh(), file.policy is before) == (False, True)


def test_file_in_the_place_of_another_comes_into_force(file: PolicyFile, path: Path) -> None:
    status = path.stat()
    other = path.with_suffix(".new")
    other.write_text(ONE.replace('"t"', '"v"'))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)

    assert file.refresh()


def broken(path: Path, how: str) -> None:
    path.unlink()
    match how:
        case "a folder":
            path.mkdir()
        case "a pipe":
            os.mkfifo(path)
        case "a device":
            path.symlink_to("/dev/zero")
        case "a link to itself":
            path.symlink_to(path)
        case "half written":
            path.write_text(TWO[:-8])
        case "not UTF-8":
            path.write_bytes(TWO.encode() + b"\n# \xff")
        case "huge":
            path.write_text("#" * (2 * 1024 * 1024 + 1))
        case "unsound":
            path.write_text(TWO + 'tools = "x"')


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("gone", ":1: it cannot be read: No such file or directory"),
        ("a folder", ":1: it cannot be read: Is a directory"),
        ("a pipe", ":1: it is no file"),
        ("a device", ":1: it is no file"),
        ("a link to itself", ":1: it cannot be read: Too many levels of symbolic links"),
        ("half written", ":8: this is no TOML"),
        ("not UTF-8", ":10: it is not UTF-8"),
        ("huge", ":1: it has more than 2097152 bytes"),
        ("unsound", ':9: rule "two": unknown key "tools"'),
    ],
)
def test_file_that_does_not_load_leaves_the_running_policy_in_force_and_comes_back(
    file: PolicyFile, path: Path, how: str, why: str
) -> None:
    broken(path, how)

    assert file.refresh()
    assert file.error is not None
    assert file.error.startswith(f"{path}{why}")
    assert names(file) == ["one"]
    assert not file.refresh()  # told once

    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    path.write_text(TWO)

    assert file.refresh()
    assert (file.error, names(file)) == (None, ["one", "two"])


def test_file_that_comes_back_as_it_was_is_told(file: PolicyFile, path: Path) -> None:
    moved = path.rename(path.with_suffix(".away"))
    assert file.refresh()
    moved.rename(path)

    assert file.refresh()
    assert (file.error, names(file)) == (None, ["one"])


@pytest.mark.parametrize("how", ["a folder", "a pipe", "a device", "gone", "not UTF-8", "huge", "unsound"])
def test_file_that_does_not_load_at_first_is_refused(path: Path, how: str) -> None:
    broken(path, how)

    with pytest.raises(InvalidInput, match=r"policy\.toml:\d+: "):
        PolicyFile(path)
    with pytest.raises(InvalidInput, match=r"policy\.toml:\d+: "):
        load_policy(path)


def test_path_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"embedded null (byte|character)"):
        PolicyFile(Path("a\0b"))


def test_file_with_a_mark_of_its_encoding_loads(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + ONE.encode())

    assert len(load_policy(path).rules) == 1


def test_nobody_needs_to_be_at_home(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", nobody)

    assert len(load_policy(path).rules) == 1


def test_text_that_is_being_written_comes_into_force_whole(path: Path) -> None:
    file = PolicyFile(path, settle_seconds=0.1)
    rules = [ONE, TWO.removeprefix(ONE), "# the end\n"]

    def write() -> None:
        with path.open("w") as out:
            for rule in rules:
                out.write(rule)
                out.flush()
                time.sleep(0.005)

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while writer.is_alive():
        file.refresh()
        seen.add(len(names(file)))
    writer.join()
    file.refresh()

    assert seen <= {1, 2}
    assert names(file) == ["one", "two"]


class Restless(type(Path())):  # type: ignore[misc]  # the class of this system's paths
    """A file that somebody writes whenever it is looked at."""

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        os.utime(self)
        return super().stat(follow_symlinks=follow_symlinks)


def test_file_that_never_comes_to_rest_is_left_for_a_later_look(path: Path) -> None:
    file = PolicyFile(Restless(path), settle_seconds=0.001, most_settle_seconds=0.01)
    path.write_text(TWO)

    assert not file.refresh()
    assert names(file) == ["one"]
