"""Whether a pattern of sessions is within others: never said of one that is not."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import product

import pytest

from notifier_service.web.patterns import covers


@pytest.mark.parametrize(
    ("wider", "pattern"),
    [
        (("*",), "*"),
        (("*",), "team-*"),
        (("a", "team-*"), "team-1"),
        (("team-*",), "team-*"),
        (("team-*",), "team-a*"),
        (("team-*",), "team-?"),
        (("team-*",), "team-[ab]-*"),
        (("team-?",), "team-1"),
        (("*-prod",), "eu-prod"),
        (("[ab]-1",), "a-1"),
    ],
)
def test_narrower_patterns_are_within(wider: tuple[str, ...], pattern: str) -> None:
    assert covers(wider, pattern)


@pytest.mark.parametrize(
    ("wider", "pattern"),
    [
        ((), "a"),
        (("team-*",), "*"),
        (("team-*",), "team*"),
        (("team-*",), "?eam-1"),
        (("team-*",), "[t]eam-*"),
        (("team-?",), "team-*"),
        (("team-1", "team-2"), "team-?"),
        (("[t]*",), "[a]*"),
        (("TEAM-*",), "team-1"),
        (("*a*",), "*a*b"),
    ],
)
def test_others_are_not(wider: tuple[str, ...], pattern: str) -> None:
    assert not covers(wider, pattern)


def test_what_is_said_to_be_within_matches_nothing_else() -> None:
    pieces = ["a", "b", "*", "?", "[ab]", "[!a]", "]", "["]
    names = ["".join(name) for length in range(4) for name in product("ab[]-", repeat=length)]
    for length in range(1, 4):
        for parts in product(pieces, repeat=length):
            pattern = "".join(parts)
            for wider in ("a*", "ab*", "a?", "*b", "[ab]*", "[", "a[*"):
                if covers((wider,), pattern):
                    leaked = [n for n in names if fnmatchcase(n, pattern) and not fnmatchcase(n, wider)]
                    assert leaked == [], (wider, pattern)
