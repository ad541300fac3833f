"""The proof that a reader got every event once and in order; a figure without it does not count."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

__all__ = ["NUMBER", "check", "delays_ns", "numbers", "unchunked"]

#: Every event carries its number in its session, from 1, and the time of its publishing, CLOCK_MONOTONIC in ns.
NUMBER = re.compile(rb'"n":(\d+),"t":(\d+)')


def unchunked(body: bytes) -> bytes:
    """A body that came in chunks, as one piece; what is left of an unfinished chunk is kept too."""
    pieces, at = [], 0
    while (line_end := body.find(b"\r\n", at)) > 0:
        size = int(body[at:line_end].partition(b";")[0], 16)
        if not size:
            break
        pieces.append(body[line_end + 2 : line_end + 2 + size])
        at = line_end + 2 + size + 2
    return b"".join(pieces)


def numbers(received: bytes) -> list[int]:
    """The event numbers in what one reader received, as they came; ``received`` begins with the answer's head."""
    head, _, body = received.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        body = unchunked(body)
    return [int(number) for number, _ in NUMBER.findall(body)]


def check(got: Sequence[int], first: int, last: int) -> str | None:
    """Say what is wrong with the numbers that a reader got; None when they are ``first`` to ``last``, in order."""
    if list(got) == list(range(first, last + 1)):
        return None
    seen = set(got)
    if missing := [number for number in range(first, last + 1) if number not in seen]:
        return f"{len(missing)} lost, the first is {missing[0]}"
    if strange := [number for number in got if not first <= number <= last]:
        return f"{len(strange)} that nobody sent, the first is {strange[0]}"
    if len(seen) < len(got):
        return f"{len(got) - len(seen)} doubled"
    return next(f"reordered at {number}" for expected, number in enumerate(got, first) if number != expected)


def delays_ns(pieces: Sequence[bytes], times_ns: Sequence[int]) -> list[int]:
    """From publishing to receiving, for each event; ``times_ns`` tells when each piece was there."""
    ends = list(accumulate(map(len, pieces)))
    return [times_ns[bisect_left(ends, found.end())] - int(found[2]) for found in NUMBER.finditer(b"".join(pieces))]
