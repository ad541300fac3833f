"""Regular expressions that cannot run away: the same answers as those of Python, in one pass."""

from __future__ import annotations

import random
import re
import time

import pytest

from notifier_service.core.policy.regex import BadRegex, Regex


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (
            r"[a-z]+@example\.org",
            ["ana@example.org"],
            ["ana@example.org\n", "x ana@example.org", "ana@exampleXorg", "@"],
        ),
        (r"^a|b$", ["a", "b"], ["ab", ""]),
        (r"(?i)get", ["GET", "get"], ["gets"]),
        (r"(?s).*", ["a\nb", ""], []),
        (r".*", ["ab", ""], ["a\nb"]),
        (r"\d{2,3}", ["12", "123"], ["1", "1234", "١٢"]),
        (r"a{2}", ["aa"], ["a", "aaa"]),
        (r"a{2,}b?", ["aa", "aaab"], ["a", "ab"]),
        (r"(?:ab)*?c", ["c", "ababc"], ["abab"]),
        (r"(?P<year>\d{4})-x{0}y", ["2026-y"], ["2026-xy"]),
        (r"[]a^-]+", ["]a^-"], ["b"]),
        (r"[^]a]", ["b"], ["]", "a", ""]),
        (r"\x41\u00e9\t", ["Aé\t"], ["A"]),
        (r"a||b", ["a", "b", ""], ["ab"]),
        (r"", [""], ["a"]),
        (r"}\{", ["}{"], []),
        (r"[^ -~]", ["é"], ["a"]),
    ],
)
def test_whole_text_is_matched(pattern: str, yes: list[str], no: list[str]) -> None:
    regex = Regex(pattern)

    assert all(map(regex.matches, yes))
    assert not any(map(regex.matches, no))


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"(?=a)b", "looks around"),
        (r"(?<!a)b", "looks around"),
        (r"(a)\1", "not of the kind"),
        (r"\bword", "not of the kind"),
        (r"a++", "possessive"),
        (r"(?>a)", "looks around"),
        (r"a{", "stands alone"),
        (r"a^b", "stands within it"),
        (r"(a$)", "stands within it"),
        (r"[^\d\D]", "no character at all"),
        (r"a{1001}", "too large"),
        (r"((a{100}){100}){100}", "too large"),
        (r"((()*){1000}){1000}", "too large"),
        (r"[a", "not of the kind"),
        (r"(a", "does not compile"),
        (r"*a", "does not compile"),
        (r"a{5,2}", "does not compile"),
        (r"\p{L}", "not of the kind"),
        ("(" * 60 + "a" + ")" * 60, "deeper than"),
        ("(" * 5000 + ")" * 5000, "deeper than"),
        (r"[[:alpha:]]+", "set within a set"),
        (r"[a--b]", "set within a set"),
        (r"[z-a]", "does not compile"),
        (r"a**", "does not compile"),
        (r"a)", "does not begin"),
    ],
)
def test_what_could_run_away_or_matches_nothing_is_refused(pattern: str, why: str) -> None:
    with pytest.raises(BadRegex, match=why):
        Regex(pattern)


def test_answers_are_those_of_python() -> None:
    chance = random.Random(7)

    def piece(depth: int) -> str:
        kind = chance.random()
        if depth > 2 or kind < 0.35:
            return chance.choice(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\w", "c"])
        if kind < 0.55:
            return piece(depth + 1) + piece(depth + 1)
        if kind < 0.7:
            return f"(?:{piece(depth + 1)}|{piece(depth + 1)})"
        times = chance.choice(["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "*?", "{0}"])
        return f"({piece(depth + 1)}){times}"

    for _ in range(1000):
        pattern = piece(0)
        regex, peer = Regex(pattern), re.compile(pattern, re.ASCII)
        for _ in range(5):
            text = "".join(chance.choice("abc1\n") for _ in range(chance.randint(0, 5)))
            assert regex.matches(text) == bool(peer.fullmatch(text)), (pattern, text)


@pytest.mark.parametrize(
    "pattern", ["(a*)*b", "(a|a)*b", "(a+)+b", "a*a*a*a*a*a*b", "(a|b)*a(a|b){400}", "(.*,){20}x", "(a?){100}a{100}"]
)
def test_time_grows_with_the_text_only(pattern: str) -> None:
    regex, chance = Regex(pattern), random.Random(3)
    text = "a" * 20_000 + "".join(chance.choice("ab,") for _ in range(20_000))

    begin = time.process_time()
    regex.matches(text)
    regex.matches("".join(map(chr, range(0x100, 0x5000))))

    assert time.process_time() - begin < 2
