"""The key that signs is made once, for its owner alone, and nothing else is taken for it."""

from __future__ import annotations

import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from notifier_service.core.errors import InvalidInput
from notifier_service.storage.audit_key import audit_key


def test_key_is_made_at_the_first_start_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "key"

    key = audit_key(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert audit_key(path) == key
    assert os.listdir(tmp_path) == ["key"]


def test_two_keys_are_two(tmp_path: Path) -> None:
    assert audit_key(tmp_path / "a") != audit_key(tmp_path / "b")


def test_many_who_start_at_once_have_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: audit_key(tmp_path / "key"), range(8)))

    assert len(keys) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o602, 0o644])
def test_key_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    audit_key(path)
    path.chmod(mode)

    with pytest.raises(InvalidInput, match=f"audit_key_file {path}: others may read or write it.*chmod 600"):
        audit_key(path)


@pytest.mark.parametrize("content", [b"", b"secret", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\n", b"x" * 10_000])
def test_file_with_something_else_is_refused_without_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(InvalidInput) as caught:
        audit_key(path)

    assert caught.value.message == f"audit_key_file {path}: it holds no key that signs audit heads"
    assert path.read_bytes() == content


def test_place_where_no_file_can_be_is_named(tmp_path: Path) -> None:
    for path, why in ((tmp_path, "no regular file"), (tmp_path / "nowhere" / "key", "No such file or directory")):
        with pytest.raises(InvalidInput, match=why):
            audit_key(path)


def test_pipe_under_the_name_holds_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key", 0o600)

    with pytest.raises(InvalidInput, match="no regular file"):
        audit_key(tmp_path / "key")


def test_without_cryptography_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)

    with pytest.raises(InvalidInput, match=r"notifier-service\[proof\]"):
        audit_key(tmp_path / "key")
    assert os.listdir(tmp_path) == []
