"""The heads of the audit log are signed as time goes by, at each rotation, and at the end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from notifier_service.core.errors import InvalidInput
from notifier_service.storage.audit_chain import in_order
from notifier_service.storage.audit_file import AuditFile
from notifier_service.storage.audit_heads import head_path, read_head
from notifier_service.storage.audit_leaves import files_of
from notifier_service.storage.receipt import verify_heads
from notifier_service.web.signing import Signing

ENTRY = {"time": "2026-01-01T00:00:00.000Z", "kind": "asked", "session_id": "s1"}


async def test_head_is_signed_as_time_goes_by_and_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    signing = Signing(path, tmp_path / "key", every_seconds=0.01)
    log = AuditFile(path, rotated=signing.rotated)

    signing.begin(lambda: log.tree)
    async with asyncio.timeout(10):
        while not head_path(path).exists():  # noqa: ASYNC110  # another thread writes it
            await asyncio.sleep(0.005)
    log.commit(ENTRY).result()
    log.close()
    await signing.end(log.tree, within_seconds=1)

    assert verify_heads([read_head(head_path(path))], [path], signing.key).size == 2


async def test_each_rotated_file_has_its_head_and_all_are_sent(tmp_path: Path) -> None:
    path, copy = tmp_path / "audit.jsonl", tmp_path / "second-machine"
    signing = Signing(path, tmp_path / "key", str(copy))
    log = AuditFile(path, rotate_bytes=2000, rotated=signing.rotated)

    signing.begin(lambda: log.tree)
    for _ in range(30):
        await asyncio.wrap_future(log.commit(ENTRY))
    log.close()
    await signing.end(log.tree, within_seconds=10)

    files = files_of(path)
    assert files == in_order([path, *tmp_path.glob("audit.jsonl." + "[0-9]" * 12)])
    kept = [json.loads(line)["head"] for line in copy.read_text().splitlines()]
    assert {read_head(head_path(file)) for file in files} <= set(kept)
    for note in kept:
        verify_heads([note], files, signing.key)


async def test_signing_that_never_began_ends_with_a_head(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    signing = Signing(path, tmp_path / "key")
    log = AuditFile(path)
    log.close()

    await signing.end(log.tree, within_seconds=1)

    assert verify_heads([read_head(head_path(path))], [path], signing.key).size == 1


def test_key_that_cannot_be_used_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="audit_key_file"):
        Signing(tmp_path / "audit.jsonl", tmp_path)


async def test_head_is_sent_less_often_than_it_is_signed(tmp_path: Path) -> None:
    path, copy = tmp_path / "audit.jsonl", tmp_path / "second-machine"
    signing = Signing(path, tmp_path / "key", str(copy), every_seconds=0.01, sent_every_seconds=3600)
    log = AuditFile(path, rotated=signing.rotated)

    signing.begin(lambda: log.tree)
    for number in range(2, 6):
        await asyncio.wrap_future(log.commit(ENTRY))
        async with asyncio.timeout(10):
            while checkpoint_size(path) < number:  # noqa: ASYNC110  # another thread writes it
                await asyncio.sleep(0.005)
    log.close()
    await signing.end(log.tree, within_seconds=10)

    kept = [json.loads(line)["head"] for line in copy.read_text().splitlines()]
    assert len(kept) == 2
    assert kept[-1] == read_head(head_path(path))


def checkpoint_size(path: Path) -> int:
    place = head_path(path)
    return int(read_head(place).splitlines()[1]) if place.exists() else 0
