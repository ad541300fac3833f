"""A pattern that is compiled when it is first used."""

from __future__ import annotations

import re

import pytest

from notifier_service.core import later


def test_pattern_does_what_a_compiled_one_does_each_time() -> None:
    words = later.pattern(r"[a-z]+", re.IGNORECASE)

    assert words.findall("One two") == words.findall("One two") == ["One", "two"]
    assert words.sub("x", "One two") == "x x"
    assert (words.pattern, words.fullmatch("1")) == (r"[a-z]+", None)


def test_pattern_is_compiled_when_it_is_first_used() -> None:
    broken = later.pattern("(")

    with pytest.raises(re.error):
        broken.search("")
