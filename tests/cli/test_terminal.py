"""Text from elsewhere neither moves the cursor, nor hides, nor reorders what is read."""

from __future__ import annotations

import itertools
import json
import sys
import unicodedata

import pytest
import wcwidth
from hypothesis import given
from hypothesis import strategies as st

from notifier_service.cli.terminal import cells, escaped, pretty, seen, turns_direction, wrapped

#: Format characters that have a glyph of their own: number signs and hieroglyph joiners.
_SHOWN_FORMATS = {
    *range(0x0600, 0x0606), 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440),
}  # fmt: skip


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        ("\0", r"\x00"),  # nothing
        ("\a", r"\x07"),  # bell
        ("\b", r"\x08"),  # back over what was read
        ("\v", r"\x0b"),
        ("\f", r"\x0c"),
        ("\r", r"\x0d"),  # back to the start of the line
        ("\x1b", r"\x1b"),  # begins every ANSI sequence
        ("\x7f", r"\x7f"),
        ("\x85", r"\x85"),  # a line end to some terminals
        ("\x9b", r"\x9b"),  # begins an ANSI sequence in one byte
        ("\xad", r"\xad"),  # soft hyphen
        ("\u034f", r"\u034f"),  # combining grapheme joiner
        ("\u061c", r"\u061c"),  # Arabic letter mark
        ("\u115f", r"\u115f"),  # Hangul fillers
        ("\u1160", r"\u1160"),
        ("\u3164", r"\u3164"),
        ("\uffa0", r"\uffa0"),
        ("\u17b4", r"\u17b4"),  # Khmer inherent vowels
        ("\u17b5", r"\u17b5"),
        ("\u180b", r"\u180b"),  # Mongolian selectors and vowel separator
        ("\u180e", r"\u180e"),
        ("\u200b", r"\u200b"),  # zero-width space
        ("\u200d", r"\u200d"),  # zero-width joiner
        ("\u200e", r"\u200e"),  # direction marks
        ("\u200f", r"\u200f"),
        ("\u2028", r"\u2028"),  # line and paragraph separators
        ("\u2029", r"\u2029"),
        ("\u202a", r"\u202a"),  # embeddings and overrides
        ("\u202e", r"\u202e"),
        ("\u2060", r"\u2060"),  # word joiner
        ("\u2066", r"\u2066"),  # isolates
        ("\u2069", r"\u2069"),
        ("\ufeff", r"\ufeff"),  # byte order mark
        ("\ufff9", r"\ufff9"),  # interlinear annotation
        ("\U0001bca0", r"\U0001bca0"),  # shorthand format controls
        ("\U0001d173", r"\U0001d173"),  # musical format controls
        ("\U000e0001", r"\U000e0001"),  # tags, which spell invisible words
        ("\U000e0061", r"\U000e0061"),
        ("\U000e0100", r"\U000e0100"),  # variation selectors beyond the usual
        ("\ud800", r"\ud800"),  # half a surrogate pair
        ("\udfff", r"\udfff"),
    ],
)
def test_hidden_character_is_shown_as_its_escape(character: str, shown: str) -> None:
    assert escaped(f"a{character}b") == f"a{shown}b"


def test_every_control_format_and_separator_of_unicode_is_escaped() -> None:
    hiding = [
        chr(number)
        for number in range(sys.maxunicode + 1)
        if unicodedata.category(chr(number)) in ("Cc", "Cf", "Cs", "Zl", "Zp") and number not in _SHOWN_FORMATS
    ]

    assert [f"{ord(character):x}" for character in hiding if escaped(character) == character] == ["9", "a"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rm -rf /tmp/x",
        "two\nlines\tand a tab",
        "naïve 日本語 עברית العربية हिन्दी",
        "❤️ 🚀 ½ √",
        r"\x1b stays",
        "\xa0",
    ],
)
def test_text_that_hides_nothing_stays_as_it_is(text: str) -> None:
    assert escaped(text) == text


@given(st.text(st.characters(codec=None, categories=None)))
def test_escaped_text_has_nothing_left_to_escape(text: str) -> None:
    once = escaped(text)

    assert escaped(once) == once
    assert not {"\x1b", "\r", "\b", "\x9b", "\u202e"} & set(once)


def test_json_is_indented_whole_and_keeps_its_letters() -> None:
    assert pretty({"path": "größe", "n": 2**64}) == '{\n  "path": "größe",\n  "n": 18446744073709551616\n}'


def test_line_end_in_a_value_cannot_pose_as_another_line() -> None:
    assert pretty(["a\n  fake: line\r\tb"]) == '[\n  "a\\n  fake: line\\r\\tb"\n]'


def test_ansi_sequence_and_reordering_in_a_value_come_out_escaped() -> None:
    assert pretty("\x1b[2J\x9b1A\x7f\u202etxt.exe") == r'"\u001b[2J\x9b1A\x7f\u202etxt.exe"'


def test_escape_that_was_written_out_is_not_the_character_itself() -> None:
    assert pretty(r"\x9b") == r'"\\x9b"'
    assert pretty("\x9b") == r'"\x9b"'


def test_key_is_escaped_like_a_value() -> None:
    assert pretty({"a\u202eb": 1}) == '{\n  "a\\u202eb": 1\n}'


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text('abc\n"\\é'), lambda of: st.lists(of)))
def test_json_that_hides_nothing_reads_back_as_the_same_value(value: object) -> None:
    assert json.loads(pretty(value)) == value


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("a\u00a0b\u2003c\u3000d", r"a\xa0b\u2003c\u3000d"),  # blanks to a person, and none to a shell
        ("a\tb\nc", r"a\x09b\x0ac"),
        ("\u0301a", r"\u0301a"),  # a mark on what stands before
        ("a\u0301b", "a\u0301b"),
        ("a\u0301\u0302\u0303\u0304", "a\u0301\u0302\u0303\\u0304"),  # more than a letter carries
        ('"\u0338 ', r'"\u0338 '),
        ("हिन्दी ภาษา", "हिन्दी ภาษา"),
        ("❤\ufe0f", r"❤\ufe0f"),  # one cell or two
        ("\ufdfd", r"\ufdfd"),  # drawn over a dozen cells
        ("\ue000\u0378", r"\ue000\u0378"),  # for private use, and for nothing
        ("日本語 größe", "日本語 größe"),
    ],
)
def test_what_has_no_place_of_its_own_is_an_escape(line: str, shown: str) -> None:
    assert seen(line) == shown


def test_what_the_terminal_has_no_letters_for_is_an_escape() -> None:
    assert seen("größe 日", "latin-1") == r"größe \u65e5"
    assert seen("größe 日", "ascii") == r"gr\xf6\xdfe \u65e5"
    assert seen("größe", ascii_only=True) == r"gr\xf6\xdfe"


@given(st.text(st.characters(codec=None, categories=None)), st.integers(2, 30))
def test_pieces_of_a_line_are_the_line_and_none_is_too_wide(text: str, width: int) -> None:
    line = seen(text)
    places = [0, *wrapped(line, width), len(line)]
    pieces = [line[begin:end] for begin, end in itertools.pairwise(places)]

    assert "".join(pieces) == line
    assert all(cells(piece) <= width for piece in pieces)
    assert line.replace("\u0300", "").isprintable() or not line


@given(st.text())
def test_no_terminal_needs_more_cells_than_are_counted(text: str) -> None:
    line = seen(text)

    assert wcwidth.wcswidth(line) <= cells(line)


def test_letters_from_the_right_are_noticed() -> None:
    assert turns_direction("rm שלום")
    assert turns_direction("مرحبا")
    assert not turns_direction("größe 日本語")
