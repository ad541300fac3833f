"""A receipt proves the lines of one request to who has nothing but the public key, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from notifier_service.core.errors import InvalidInput, NotFound
from notifier_service.storage.audit_heads import AuditHeads, head_path, read_head
from notifier_service.storage.audit_leaves import files_of
from notifier_service.storage.receipt import (
    prove_consistency,
    prove_request,
    verify_heads,
    verify_receipt,
)
from notifier_service.storage.signed_note import SigningKey

from .conftest import Open, entry

KEY = SigningKey.new("test")
PUBLIC = KEY.verifying
OTHER = SigningKey.new("test")


@pytest.fixture
def log(audit: Open, path: Path) -> Path:
    """A log with three lines of ``pr_1`` among others, its head, and rotated files."""
    heads = AuditHeads(path, KEY)
    file = audit(rotate_bytes=4000, rotated=heads.rotated, sync=lambda fd: None)
    for number in range(30):
        more = {"request_id": "pr_1", "kind": "decided"} if number in (3, 15, 16) else {"request_id": f"pr_x{number}"}
        file.commit(entry(number, **more)).result()
    heads.write(file.tree)
    file.close()
    return path


def receipt_of(path: Path, request_id: str = "pr_1") -> dict[str, Any]:
    made = prove_request(request_id, files_of(path), read_head(head_path(path)))
    receipt: dict[str, Any] = json.loads(json.dumps(made))
    return receipt


def verified(receipt: Any, key: SigningKey = KEY) -> Any:
    return verify_receipt(json.dumps(receipt).encode(), key.verifying)


def test_receipt_has_all_lines_of_the_request_and_no_other(log: Path) -> None:
    receipt = receipt_of(log)
    log.unlink()  # what proves needs nothing else

    proved = verified(receipt)

    assert [line["parameters"]["number"] for line in proved.lines] == [3, 15, 16]
    assert proved.request_id == "pr_1"
    assert [line["seq"] for line in proved.lines] == [entry["index"] + 1 for entry in receipt["lines"]]


def test_run_of_the_call_that_was_asked_about_is_in_its_receipt(audit: Open, path: Path) -> None:
    file, heads = audit(), AuditHeads(path, KEY)
    call = {"tool_call_id": "call_1"}
    file.commit(
        entry(0, kind="started", **call),
        entry(1, request_id="pr_1", **call),
        entry(2, request_id="pr_1", kind="decided", **call),
        entry(3, kind="started", **call),
        entry(4, kind="started", session_id="s2", **call),
        entry(5, kind="started", tool_call_id="call_2"),
        entry(6, kind="finished", request_id="pr_2", **call),
        entry(7, kind="asked", **call),
        entry(8, kind="finished", **call),
    ).result()
    heads.write(file.tree)

    receipt = receipt_of(path)

    assert [line["parameters"]["number"] for line in verified(receipt).lines] == [1, 2, 3, 8]
    receipt["lines"] = receipt["lines"][2:]  # runs of which nobody says that they are of this request
    with pytest.raises(InvalidInput, match="about another request"):
        verified(receipt)


def test_receipt_of_a_rotated_file_needs_the_others_no_longer(log: Path) -> None:
    whole = receipt_of(log)["lines"]
    first, *rest = files_of(log)
    for file in rest:
        file.unlink()
    receipt = prove_request("pr_1", [first], read_head(head_path(first)))

    proved = verified(receipt)

    assert 0 < len(proved.lines) <= len(whole)


def test_receipt_needs_no_file_that_was_removed(log: Path) -> None:
    files = files_of(log)
    late = next(n for n in range(29, 0, -1) if f'"number":{n},' in log.read_text())
    for file in files[:-1]:
        file.unlink()

    assert len(verified(receipt_of(log, f"pr_x{late}")).lines) == 1


def changed(receipt: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    change(receipt)
    return receipt


def _swap(receipt: dict[str, Any]) -> None:
    receipt["lines"].reverse()


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "the line": lambda r: r["lines"][0].update(line=r["lines"][0]["line"].replace("decided", "expired")),
    "a space more": lambda r: r["lines"][0].update(line=r["lines"][0]["line"] + " "),
    "the place": lambda r: r["lines"][0].update(index=r["lines"][0]["index"] + 1),
    "a negative place": lambda r: r["lines"][0].update(index=-1),
    "a place that is none": lambda r: r["lines"][0].update(index="3"),
    "a true place": lambda r: r["lines"][0].update(index=True),
    "a fractional place": lambda r: r["lines"][0].update(index=3.0),
    "the proof": lambda r: r["lines"][0]["proof"].reverse(),
    "a longer proof": lambda r: r["lines"][0]["proof"].append(r["lines"][0]["proof"][0]),
    "a shorter proof": lambda r: r["lines"][0]["proof"].pop(),
    "no proof": lambda r: r["lines"][0].update(proof=[]),
    "a proof that is text": lambda r: r["lines"][0].update(proof="AAAA"),
    "a proof of numbers": lambda r: r["lines"][0].update(proof=[1, 2]),
    "a proof that is no base64": lambda r: r["lines"][0].update(proof=["é", "!"]),
    "another proof": lambda r: r["lines"][0].update(proof=r["lines"][1]["proof"]),
    "lines doubled": lambda r: r["lines"].insert(0, r["lines"][0]),
    "lines exchanged": _swap,
    "no lines": lambda r: r.update(lines=[]),
    "lines missing": lambda r: r.pop("lines"),
    "lines that are none": lambda r: r.update(lines=3),
    "another request": lambda r: r.update(request_id="pr_2"),
    "no request": lambda r: r.pop("request_id"),
    "the head": lambda r: r.update(head=r["head"].replace("test\n", "tesd\n", 1)),
    "half of the head": lambda r: r.update(head=r["head"][:-20]),
    "no head": lambda r: r.pop("head"),
    "a head of nothing": lambda r: r.update(head=KEY.signed("test\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")),
    "a head signed by another": lambda r: r.update(head=OTHER.signed(r["head"].partition("\n\n")[0] + "\n")),
    "a text that is no head": lambda r: r.update(head=KEY.signed("hello\n")),
    "the format": lambda r: r.update(format="other"),
    "no format": lambda r: r.pop("format"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_receipt_in_which_something_was_changed_proves_nothing(log: Path, change: str) -> None:
    receipt = receipt_of(log)
    verified(receipt)

    with pytest.raises(InvalidInput):
        verified(changed(receipt, CHANGES[change]))


def test_every_byte_of_a_line_counts(log: Path) -> None:
    receipt = receipt_of(log)
    line = receipt["lines"][0]["line"]
    for place in range(0, len(line), 7):
        receipt["lines"][0]["line"] = line[:place] + chr(ord(line[place]) ^ 1) + line[place + 1 :]

        with pytest.raises(InvalidInput):
            verified(receipt)


def test_receipt_for_another_key_proves_nothing(log: Path) -> None:
    with pytest.raises(InvalidInput, match="another key"):
        verified(receipt_of(log), OTHER)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"3", b"null", b"\xff", b"{}", b"[" * 200_000, b'{"format": 1}', b'{"a":1,"a":2}']
)
def test_text_that_is_no_receipt_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput, match="no receipt"):
        verify_receipt(text, PUBLIC)


def test_request_that_nobody_asked_has_no_receipt(log: Path) -> None:
    for request_id in ("pr_none", "", "pr_", '"', "number"):
        with pytest.raises(NotFound, match="no line about"):
            receipt_of(log, request_id)


def test_request_that_is_newer_than_the_head_has_no_receipt_yet(log: Path, audit: Open) -> None:
    audit().commit(entry(99, request_id="pr_new")).result()

    with pytest.raises(InvalidInput, match="within seconds"):
        receipt_of(log, "pr_new")
    assert len(verified(receipt_of(log)).lines) == 3


def test_log_that_was_changed_gives_no_receipt(log: Path) -> None:
    log.write_bytes(log.read_bytes().replace(b"asked", b"asKed", 1))

    with pytest.raises(InvalidInput, match="not the one that was signed"):
        receipt_of(log)


def test_log_whose_end_was_cut_off_gives_no_receipt(log: Path) -> None:
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))

    with pytest.raises(InvalidInput, match="cut off"):
        receipt_of(log)


# From one head to another


def grown(log: Path, audit: Open) -> tuple[str, str]:
    """The head of a log, and its head after more was written."""
    old = read_head(head_path(log))
    heads = AuditHeads(log, KEY)
    file = audit(rotate_bytes=4000, rotated=heads.rotated, sync=lambda fd: None)
    file.commit(*[entry(number) for number in range(10)]).result()
    heads.write(file.tree)
    return old, read_head(head_path(log))


def test_new_head_is_proved_to_go_on_behind_an_old_one(log: Path, audit: Open) -> None:
    old, new = grown(log, audit)

    proved = verified(prove_consistency(old, files_of(log), new))

    assert proved.old_head is not None
    assert (proved.old_head.size, proved.lines) == (verify_heads([old], files_of(log), PUBLIC).size, ())
    assert proved.head.size > proved.old_head.size


def test_heads_in_the_wrong_order_prove_nothing(log: Path, audit: Open) -> None:
    old, new = grown(log, audit)

    with pytest.raises(InvalidInput, match="no older"):
        prove_consistency(new, files_of(log), old)
    receipt = prove_consistency(old, files_of(log), new)
    with pytest.raises(InvalidInput, match="does not go on"):
        verified({**receipt, "old_head": new, "head": old})
    with pytest.raises(InvalidInput, match="does not go on"):
        verified({**receipt, "proof": []})


def test_log_that_was_written_anew_cannot_prove_its_old_head(log: Path, tmp_path: Path, audit: Open) -> None:
    old = read_head(head_path(log))
    other = tmp_path / "anew"
    heads = AuditHeads(other, KEY)
    file = audit(other)
    file.commit(*[entry(number) for number in range(60)]).result()
    heads.write(file.tree)

    with pytest.raises(InvalidInput, match="not the one that was signed"):
        prove_consistency(old, [other], read_head(head_path(other)))
    with pytest.raises(InvalidInput, match="written anew"):
        verify_heads([old], [other], PUBLIC)


# A log and a head


def test_log_that_fits_its_head_is_accepted(log: Path) -> None:
    notes = [read_head(head_path(log))]

    assert verify_heads(notes, files_of(log), PUBLIC) == verify_heads(notes, [log], None)


def test_end_that_was_cut_off_is_found_against_the_head(log: Path) -> None:
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))

    with pytest.raises(InvalidInput, match="the end was cut off"):
        verify_heads([read_head(head_path(log))], [log], PUBLIC)


def test_old_head_needs_the_older_files(log: Path) -> None:
    first = files_of(log)[0]
    old = read_head(head_path(first))

    assert verify_heads([old], files_of(log), PUBLIC).size > 0
    with pytest.raises(InvalidInput, match="in an older file"):
        verify_heads([old], [log], PUBLIC)
