"""The tree and its proofs: the vectors of Certificate Transparency, and a naive tree as RFC 6962 writes it down."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier_service.core.errors import InvalidInput
from notifier_service.storage.merkle import (
    EMPTY,
    Leaves,
    LeavesMissing,
    Tree,
    is_consistent,
    is_included,
    leaf_hash,
    root_of_nothing,
)

#: Of certificate-transparency-go and its siblings, which all implementations are tried with.
VECTORS = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
#: Line and size to the proof, as the same tests have it (their lines count from 1).
INCLUSION = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}

SIZES = st.integers(1, 70)


def naive_root(lines: Sequence[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not lines:
        return hashlib.sha256(b"").digest()
    if len(lines) == 1:
        return hashlib.sha256(b"\x00" + lines[0]).digest()
    k = largest_power_below(len(lines))
    return hashlib.sha256(b"\x01" + naive_root(lines[:k]) + naive_root(lines[k:])).digest()


def naive_inclusion(m: int, lines: Sequence[bytes]) -> list[bytes]:
    """Section 2.1.1."""
    if len(lines) == 1:
        return []
    k = largest_power_below(len(lines))
    if m < k:
        return [*naive_inclusion(m, lines[:k]), naive_root(lines[k:])]
    return [*naive_inclusion(m - k, lines[k:]), naive_root(lines[:k])]


def naive_consistency(m: int, lines: Sequence[bytes], is_whole: bool = True) -> list[bytes]:
    """Section 2.1.2."""
    n = len(lines)
    if m == n:
        return [] if is_whole else [naive_root(lines)]
    k = largest_power_below(n)
    if m <= k:
        return [*naive_consistency(m, lines[:k], is_whole), naive_root(lines[k:])]
    return [*naive_consistency(m - k, lines[k:], False), naive_root(lines[:k])]


def largest_power_below(count: int) -> int:
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def lines_of(count: int) -> list[bytes]:
    return [b"line %d" % number for number in range(count)]


def leaves_of(lines: Sequence[bytes], begin: int = 0) -> Leaves:
    hashes = [leaf_hash(line) for line in lines]
    return Leaves(EMPTY.with_leaves(hashes[:begin]), hashes[begin:])


def hexed(path: Sequence[bytes]) -> list[str]:
    return [one.hex() for one in path]


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert leaves_of(VECTORS).root(size).hex() == ROOTS[size - 1]
    assert EMPTY.with_leaves(map(leaf_hash, VECTORS[:size])).root.hex() == ROOTS[size - 1]


def test_root_of_nothing_is_that_of_nothing() -> None:
    assert EMPTY.root == root_of_nothing() == leaves_of([]).root(0) == hashlib.sha256(b"").digest()


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion_proofs_are_those_of_certificate_transparency(index: int, size: int) -> None:
    assert hexed(leaves_of(VECTORS).inclusion(index, size)) == INCLUSION[index, size]


@pytest.mark.parametrize(("old_size", "size"), CONSISTENCY)
def test_consistency_proofs_are_those_of_certificate_transparency(old_size: int, size: int) -> None:
    assert hexed(leaves_of(VECTORS).consistency(old_size, size)) == CONSISTENCY[old_size, size]


@given(SIZES, st.data())
def test_tree_and_proofs_are_those_of_a_naive_one(size: int, data: st.DataObject) -> None:
    lines = lines_of(size)
    index, old_size = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    leaves = leaves_of(lines)

    assert EMPTY.with_leaves(map(leaf_hash, lines)).root == leaves.root(size) == naive_root(lines)
    assert leaves.inclusion(index, size) == naive_inclusion(index, lines)
    assert leaves.consistency(old_size, size) == naive_consistency(old_size, lines)


@given(SIZES, st.data())
def test_proofs_from_a_place_on_need_no_line_before_it(size: int, data: st.DataObject) -> None:
    lines = lines_of(size)
    begin = data.draw(st.integers(0, size - 1))
    index, some = data.draw(st.integers(begin, size - 1)), data.draw(st.integers(begin, size))
    leaves = leaves_of(lines, begin)

    assert leaves.size == size
    assert leaves.root(some) == naive_root(lines[:some])
    assert leaves.inclusion(index, size) == naive_inclusion(index, lines)
    if some:
        assert leaves.consistency(some, size) == naive_consistency(some, lines)


@given(SIZES, st.data())
def test_proof_holds_for_its_line_its_place_and_its_size_only(size: int, data: st.DataObject) -> None:
    lines = lines_of(size)
    index = data.draw(st.integers(0, size - 1))
    path, root, hashed = leaves_of(lines).inclusion(index, size), naive_root(lines), leaf_hash(lines[index])

    assert is_included(hashed, index, size, path, root)
    assert not is_included(leaf_hash(b"another"), index, size, path, root)
    assert not any(is_included(hashed, other, size, path, root) for other in range(-1, size + 1) if other != index)
    assert not is_included(hashed, index, size, [*path, root], root)
    assert not is_included(hashed, index, size, path[:-1], root) or not path
    assert not is_included(hashed, index, size, path, leaf_hash(b""))
    for place in range(len(path)):
        assert not is_included(hashed, index, size, [*path[:place], root, *path[place + 1 :]], root)


@given(SIZES, st.data())
def test_consistency_holds_for_what_was_only_appended_to(size: int, data: st.DataObject) -> None:
    lines = lines_of(size)
    old_size = data.draw(st.integers(1, size))
    path, old_root, root = leaves_of(lines).consistency(old_size, size), naive_root(lines[:old_size]), naive_root(lines)
    rewritten = naive_root([b"rewritten", *lines[1:old_size]])

    assert is_consistent(old_size, size, path, old_root, root)
    assert not is_consistent(old_size, size, path, rewritten, root)
    assert not is_consistent(old_size, size, path, old_root, rewritten) or rewritten == root
    assert not is_consistent(old_size, size, [*path, root], old_root, root)
    assert not path or not is_consistent(old_size, size, path[:-1], old_root, root)
    assert not is_consistent(0, size, path, old_root, root)
    assert not is_consistent(size + 1, size, path, old_root, root)


@given(SIZES, st.integers(0, 200), st.lists(st.binary(min_size=32, max_size=32), max_size=10), st.binary())
def test_checks_never_fail_otherwise_than_with_no(size: int, other: int, path: list[bytes], root: bytes) -> None:
    assert is_included(leaf_hash(b""), other, size, path, root) in (True, False)
    assert is_consistent(other, size, path, root, root) in (True, False)


def test_what_needs_lines_of_before_says_so() -> None:
    leaves = leaves_of(lines_of(10), 5)

    for ask in (lambda: leaves.inclusion(3, 10), lambda: leaves.root(3), lambda: leaves.consistency(3, 10)):
        with pytest.raises(LeavesMissing, match="first 5 lines"):
            ask()


def test_what_is_not_there_yet_says_so() -> None:
    leaves = leaves_of(lines_of(10))

    for ask in (
        lambda: leaves.inclusion(10, 10),
        lambda: leaves.inclusion(-1, 10),
        lambda: leaves.inclusion(3, 11),
        lambda: leaves.root(11),
        lambda: leaves.consistency(0, 10),
        lambda: leaves.consistency(11, 10),
    ):
        with pytest.raises(LeavesMissing, match="There are 10 lines"):
            ask()


@given(st.integers(0, 1000))
def test_tree_keeps_a_hash_for_each_bit_of_its_size(size: int) -> None:
    tree = EMPTY.with_leaves([leaf_hash(b"x")] * size)

    assert len(tree.subtrees) == size.bit_count()
    assert Tree.of(size, tree.subtrees) == tree


@pytest.mark.parametrize(("size", "subtrees"), [(-1, []), (1, []), (2, [b"x" * 32] * 2), (1, [b"x" * 31]), (0, [b""])])
def test_subtrees_that_are_none_are_refused(size: int, subtrees: list[bytes]) -> None:
    with pytest.raises(InvalidInput, match="no subtrees"):
        Tree.of(size, subtrees)
