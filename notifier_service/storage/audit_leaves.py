"""The lines of an audit log as the leaves of one Merkle tree, which goes on over rotated files.

A leaf is a line without its newline; its number in the tree, from 0, is one less than its ``seq``. The first line of a
file has in ``tree`` what the tree over the lines before it is, so that a file can be looked at without those.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import InvalidInput
from .audit_chain import MAX_LINE_BYTES, first_seq, in_order
from .merkle import EMPTY, Leaves, Tree, leaf_hash

__all__ = ["files_of", "leaves_of", "raw_lines", "tree_told"]


def tree_told(tree: Tree | None) -> dict[str, Any]:
    """What the first line of a file says of the lines before it: nothing where there are none, or nobody knows."""
    return {} if tree is None or not tree.size else {"tree": [subtree.hex() for subtree in tree.subtrees]}


def leaves_of(paths: Sequence[Path]) -> Leaves:
    """The lines of the files of one log. Raises ``InvalidInput`` where one cannot be read, or goes on behind no other.

    Whether each line is as it was written is not looked at: who has a signed head finds it by the root.
    """
    before: Tree | None = None
    hashes: list[bytes] = []
    for path in in_order(paths):
        lines = raw_lines(path)
        first = next(lines, None)
        if first is None:
            raise InvalidInput(f"{path}: there is no whole line")
        here = _tree_before(path, first)
        if before is None:
            before = here
        elif here != before.with_leaves(hashes):
            raise InvalidInput(f"{path}: it does not go on behind the files before it")
        hashes.append(leaf_hash(first))
        hashes += map(leaf_hash, lines)
    return Leaves(EMPTY if before is None else before, hashes)


def files_of(path: Path) -> list[Path]:
    """A log and the files into which it was rotated, the oldest first, from behind the last one that is missing."""
    name = re.compile(re.escape(path.name) + r"\.\d{12}")
    try:
        rotated = sorted(one for one in path.absolute().parent.iterdir() if name.fullmatch(one.name))
    except OSError as error:
        raise InvalidInput(f"{path.parent} cannot be read: {error.strerror or error}") from error
    together = [path]
    for older in reversed(rotated):
        # The name of a rotated file ends with the number of its last line.
        if int(older.name[-12:]) != first_seq(together[0]) - 1:
            break
        together.insert(0, older)
    return together


def raw_lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a file as they stand in it, without their newlines."""
    try:
        with path.open("rb") as file:
            while line := file.readline(2 * MAX_LINE_BYTES):
                if line.endswith(b"\n"):
                    yield line[:-1]
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error


def _tree_before(path: Path, first: bytes) -> Tree:
    try:
        told: Mapping[str, Any] = json.loads(first)
        seq, subtrees = told["seq"], told.get("tree", [])
        return Tree.of(int(seq) - 1, [bytes.fromhex(subtree) for subtree in subtrees])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidInput):
        raise InvalidInput(f"{path}: its first line does not say what was before it") from None
