"""The lines of an audit log: none can be changed, removed, doubled or exchanged without being found."""

from __future__ import annotations

import hashlib
import json
import random
import time
from pathlib import Path

import pytest

from notifier_service.storage.audit_chain import GENESIS, BadLine, Head, chained, in_order, lines_of, verify

from .conftest import Open, entry


@pytest.fixture
def written(audit: Open, path: Path) -> list[bytes]:
    log = audit()
    log.commit(*(entry(number) for number in range(20))).result()
    log.close()
    return path.read_bytes().splitlines(keepends=True)


def test_a_line_says_the_sha256_of_its_json_with_sorted_keys_and_without_the_hash(written: list[bytes]) -> None:
    prev = GENESIS
    for seq, line in enumerate(written, 1):
        told = json.loads(line)
        said = told.pop("hash")
        body = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

        assert hashlib.sha256(body.encode()).hexdigest() == said
        assert (told["seq"], told["prev"]) == (seq, prev)
        prev = said


def test_a_log_that_nobody_changed_is_found_whole(written: list[bytes], path: Path) -> None:
    found = verify([path])

    assert found.records == len(written) == 21
    assert found.head == Head(21, json.loads(written[-1])["hash"])
    assert [told["kind"] for _, told in lines_of(path)] == ["audit_opened"] + ["asked"] * 20


def test_any_one_flipped_byte_is_found_and_its_line_is_named(written: list[bytes], path: Path) -> None:
    whole = b"".join(written)
    at = {0, len(whole) - 1, *(random.Random(7).sample(range(len(whole)), 600))}
    at |= {whole.index(line) + len(line) - 1 for line in written}  # each newline
    for place in at:
        for bit in (1, 32, 128):
            changed = bytearray(whole)
            changed[place] ^= bit
            path.write_bytes(changed)
            line = whole.count(b"\n", 0, place) + 1

            with pytest.raises(BadLine) as bad:
                verify([path])
            assert bad.value.number in (line, line + 1), (place, bit)
            assert bad.value.message.startswith(f"{path}:{bad.value.number}: ")


@pytest.mark.parametrize("line", [0, 1, 10, 19])
def test_a_removed_line_is_found(written: list[bytes], path: Path, line: int) -> None:
    path.write_bytes(b"".join(written[:line] + written[line + 1 :]))

    with pytest.raises(BadLine) as bad:
        verify([path])
    assert bad.value.number == line + 1


@pytest.mark.parametrize("line", [0, 1, 10, 20])
def test_a_doubled_line_is_found(written: list[bytes], path: Path, line: int) -> None:
    path.write_bytes(b"".join(written[: line + 1] + written[line:]))

    with pytest.raises(BadLine) as bad:
        verify([path])
    assert bad.value.number == line + 2


@pytest.mark.parametrize(("one", "other"), [(0, 1), (3, 4), (5, 15), (19, 20)])
def test_exchanged_lines_are_found(written: list[bytes], path: Path, one: int, other: int) -> None:
    written[one], written[other] = written[other], written[one]
    path.write_bytes(b"".join(written))

    with pytest.raises(BadLine) as bad:
        verify([path])
    assert bad.value.number == one + 1


def test_a_line_that_was_written_anew_with_a_hash_that_fits_it_is_found_at_the_next(
    written: list[bytes], path: Path
) -> None:
    told = json.loads(written[4])
    written[4], _ = chained(entry(999), Head(4, told["prev"]))
    path.write_bytes(b"".join(written))

    with pytest.raises(BadLine, match="it does not go on with line 5") as bad:
        verify([path])
    assert bad.value.number == 6


@pytest.mark.parametrize("put", [b"\n", b"{}\n", b"not json\n", b"\xff\xfe\n", b"[1]\n", b'{"hash":1}\n', b" "])
def test_what_was_put_in_is_found(written: list[bytes], path: Path, put: bytes) -> None:
    for place in (0, 5, len(written)):
        path.write_bytes(b"".join([*written[:place], put, *written[place:]]))

        with pytest.raises(BadLine) as bad:
            verify([path])
        assert bad.value.number == place + 1


def test_a_line_with_a_key_said_twice_or_written_with_white_space_is_found(written: list[bytes], path: Path) -> None:
    for line in (written[3].replace(b'"kind"', b'"kind":"allowed","kind"'), written[3].replace(b",", b", ")):
        path.write_bytes(b"".join([*written[:3], line, *written[4:]]))

        with pytest.raises(BadLine) as bad:
            verify([path])
        assert bad.value.number == 4


@pytest.mark.parametrize("before", [b'"prev":', b'"seq":', b'"time":'])
def test_a_hash_that_was_moved_within_its_line_is_found(written: list[bytes], path: Path, before: bytes) -> None:
    member = b'"hash":"%s",' % json.loads(written[3])["hash"].encode()
    moved = written[3].replace(member, b"").replace(before, member + before)
    path.write_bytes(b"".join([*written[:3], moved, *written[4:]]))

    with pytest.raises(BadLine) as bad:
        verify([path])
    assert bad.value.number == 4


@pytest.mark.parametrize("last", [b'{"seq":1}', b'{"kind":"decided","approved":true}'])
def test_a_whole_line_without_its_newline_that_was_never_written_so_is_found(
    written: list[bytes], path: Path, last: bytes
) -> None:
    path.write_bytes(b"".join(written) + last)
    with pytest.raises(BadLine) as bad:
        verify([path])
    assert bad.value.number == len(written) + 1

    path.write_bytes(b"".join(written[:-1]) + written[-1][:-1].replace(b"asked", b"ended"))
    with pytest.raises(BadLine) as bad:
        verify([path])
    assert bad.value.number == len(written)


@pytest.mark.parametrize("kept", [1, 30, 200])
def test_the_beginning_of_a_last_line_that_was_never_finished_is_told_and_is_no_fault(
    written: list[bytes], path: Path, kept: int
) -> None:
    path.write_bytes(b"".join(written[:-1]) + written[-1][:kept])

    found = verify([path])

    assert (found.records, found.unfinished_bytes) == (20, kept)


@pytest.mark.parametrize("text", [b"", b"\n", b"hello\n", b"x" * 1_000_000, b"\0" * 100, b"{" * 600_000])
def test_a_file_that_is_no_audit_log_is_refused(path: Path, text: bytes) -> None:
    path.write_bytes(text)

    with pytest.raises(BadLine):
        verify([path])


def test_files_of_a_rotated_log_are_checked_in_a_row_in_whatever_order_they_are_given(audit: Open, path: Path) -> None:
    log = audit(rotate_bytes=2000)
    for number in range(20):
        log.commit(entry(number)).result()
    log.close()
    files = sorted(path.parent.iterdir())
    assert len(files) > 3

    found = verify(files)
    assert found.head == log.head
    assert in_order(files)[-1] == path
    assert verify(files[::-1]) == found
    assert verify(in_order(files)[2:]).head == log.head  # the oldest are gone, as after half a year

    middle = in_order(files)[1]
    with pytest.raises(BadLine, match="missing or moved"):
        verify([file for file in files if file != middle])
    with pytest.raises(BadLine, match="doubled"):
        verify([*files, middle])


def test_a_hundred_thousand_lines_are_checked_in_less_than_ten_seconds(path: Path) -> None:
    head, lines = Head(), []
    for number in range(5000):
        line, head = chained(entry(number) if number else {"kind": "audit_opened"}, head)
        lines.append(line)
    path.write_bytes(b"".join(lines))
    began = time.process_time()

    assert verify([path]).records == 5000
    assert time.process_time() - began < 0.5
