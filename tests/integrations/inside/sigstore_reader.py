"""sigstore reads the head of an audit log and believes the proof of a receipt."""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore._internal.rekor.checkpoint import LogCheckpoint, SignedCheckpoint, SignedNote, verify_checkpoint
from sigstore._internal.trust import Keyring
from sigstore.errors import VerificationError
from sigstore_models.common import v1

from notifier_service.storage.audit_file import AuditFile
from notifier_service.storage.audit_heads import AuditHeads, head_path, read_head
from notifier_service.storage.audit_leaves import files_of, leaves_of
from notifier_service.storage.receipt import prove_request
from notifier_service.storage.signed_note import SigningKey

KEY = SigningKey.new("test")
DER = base64.b64decode("".join(KEY.verifying.pem.splitlines()[1:-1]))
KEYRING = Keyring([v1.PublicKey(raw_bytes=base64.b64encode(DER), key_details=v1.PublicKeyDetails.PKIX_ED25519)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log that was rotated, with its head."""
    path = tmp_path / "audit.jsonl"
    heads = AuditHeads(path, KEY)
    log = AuditFile(path, rotate_bytes=4000, rotated=heads.rotated)
    for number in range(50):
        log.commit({"time": "2026-01-01T00:00:00.000Z", "kind": "asked", "request_id": f"pr_{number}"}).result()
    log.close()
    heads.write(log.tree)
    return path


def entry_of(receipt: dict[str, Any]) -> Any:
    """The line of a receipt, as sigstore has an entry of its own log."""
    [line] = receipt["lines"]
    note = receipt["head"]
    checkpoint = LogCheckpoint.from_text(SignedNote.from_text(note).note)
    proof = SimpleNamespace(
        log_index=line["index"],
        tree_size=checkpoint.log_size,
        hashes=[base64.b64decode(one) for one in line["proof"]],
        root_hash=bytes.fromhex(checkpoint.log_hash),
        checkpoint=SimpleNamespace(envelope=note),
    )
    key_id = SimpleNamespace(key_id=KEY.verifying.key_id())
    return SimpleNamespace(
        _inner=SimpleNamespace(inclusion_proof=proof, canonicalized_body=line["line"].encode(), log_id=key_id)
    )


def test_head_is_a_signed_checkpoint(path: Path) -> None:
    note = read_head(head_path(path))
    read = SignedCheckpoint.from_text(note)
    leaves = leaves_of(files_of(path))

    read.signed_note.verify(KEYRING, KEY.verifying.key_id())  # type: ignore[arg-type]
    assert read.checkpoint.origin == "test"
    assert read.checkpoint.log_size == leaves.size
    assert read.checkpoint.log_hash == leaves.root(leaves.size).hex()


@pytest.mark.parametrize("number", [0, 1, 7, 24, 49])
def test_receipt_is_believed(path: Path, number: int) -> None:
    entry = entry_of(prove_request(f"pr_{number}", files_of(path), read_head(head_path(path))))

    verify_merkle_inclusion(entry)
    verify_checkpoint(KEYRING, entry)


def test_receipt_that_was_changed_is_not(path: Path) -> None:
    receipt = prove_request("pr_7", files_of(path), read_head(head_path(path)))
    receipt["lines"][0]["line"] = receipt["lines"][0]["line"].replace("asked", "other")

    with pytest.raises(VerificationError):
        verify_merkle_inclusion(entry_of(receipt))


def test_head_that_was_changed_is_not(path: Path) -> None:
    read = SignedCheckpoint.from_text(read_head(head_path(path)).replace("test\n", "tesd\n", 1))

    with pytest.raises(VerificationError):
        read.signed_note.verify(KEYRING, KEY.verifying.key_id())  # type: ignore[arg-type]
