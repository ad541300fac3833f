"""A request in a terminal: which commands it runs, and its parameters in their shape."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier_service.cli.card import card
from notifier_service.cli.terminal import cells, seen
from notifier_service.core.events import dump
from notifier_service.core.question import Question
from notifier_service.core.session import Session


def lines(parameters: dict[str, Any], **options: Any) -> list[str]:
    record = Session("s").ask(Question("Bash", parameters)).record
    return [line.plain[2:] for line in card(json.loads(dump(record)), **options)]


def bold(parameters: dict[str, Any]) -> list[str]:
    record = Session("s").ask(Question("Bash", parameters)).record
    shown = card(json.loads(dump(record)))
    return [line.plain[span.start : span.end] for line in shown for span in line.spans if span.style == "bold"]


def test_each_part_has_a_line_and_what_a_wrapper_runs_an_arrow() -> None:
    command = {"command": "timeout 5 bash -c 'git status; ls' && rg \"it's\""}

    shown = lines(command)
    assert shown[shown.index("It runs timeout 5 bash -c 'git status; ls'") :][:5] == [
        "It runs timeout 5 bash -c 'git status; ls'",
        "        → bash -c 'git status; ls'",
        "          → git status",
        "          → ls",
        """    and rg 'it'"'"'s'""",
    ]
    assert bold(command)[1:-1] == ["timeout", "bash", "git", "ls", "rg"]


def test_arrow_is_of_ascii_where_nothing_else_can_be_shown() -> None:
    for options in ({"encoding": "ascii"}, {"is_exact": True}):
        assert "        -> ls" in lines({"command": "timeout 5 ls"}, **options)


def test_what_is_not_understood_is_said_once() -> None:
    shown = lines({"command": "ls; echo $(id)"})

    assert [line for line in shown if "substitution" in line] == [
        "Nobody but a shell can tell what it runs: it has a substitution ($()"
    ]


def test_parts_that_are_left_out_are_counted() -> None:
    assert "    and 20 more, which the parameters tell" in lines({"command": ";".join(["ls"] * 70)})


def test_what_the_parameters_show_anyway_is_not_said_again() -> None:
    assert "It runs ls -l" in lines({"command": "l's' -l"})
    for written in ({"command": "ls -l"}, {"argv": ["ls", "-l"]}, {"cmd": "ls '-l x'"}):
        assert not [line for line in lines(written) if line.startswith("It runs ls")]


def test_word_ends_no_line_and_moves_no_terminal() -> None:
    assert r"It runs echo 'a\n│ Bash   risk low' b" in lines({"command": ["echo", "a\n│ Bash   risk low", "b"]})


def test_part_that_is_risky_says_what_it_does() -> None:
    assert "    and rm -rf dist   deletes" in lines({"command": "ls && rm -rf dist"})


def body(parameters: dict[str, Any], **options: Any) -> list[str]:
    """The rows of the parameters."""
    record = Session("s").ask(Question("t", parameters)).record
    rows = [line.plain for line in card(json.loads(dump(record)), **options)]
    first, last = (at for at, row in enumerate(rows) if row[0] in "├+" and 0 < at < len(rows) - 1)
    return [rows[first].strip("├─+- "), *(row[2:] for row in rows[first + 1 : last])]


@pytest.mark.parametrize(
    ("parameters", "rows"),
    [
        ({}, ["parameters", "none"]),
        ({"path": "a", "n": 2**64, "s": "3"}, ["parameters", "path: a", "n: 18446744073709551616", 's: "3"']),
        ({"a: b": "c"}, ["parameters", '"a: b": c']),
        ({"old → new": "c"}, ["parameters", '"old → new": c']),
        ({"text": "a  \n\tb\n"}, ["parameters", "text:", "1 a··", "2 →   b"]),
        ({"path": "a", "content": "x"}, ["file", "path: a", "content:", "1 x", "(without a line feed at its end)"]),
        ({"path": "a", "content": ""}, ["file", "path: a", "content: (empty)"]),
        ({"old": "a\nb\n", "new": "a\nc\n"}, ["diff", "old → new:", "1   a", "2 - b", "2 + c"]),
        (
            {"rows": [{"id": 1, "name": "Ana"}, {"id": 2, "name": ""}]},
            ["table", "rows: 2 rows", "id │ name", "1  │ Ana", '2  │ ""'],
        ),
        ({"to": ["a@b.c"], "body": "x"}, ["message", "to:", "  - a@b.c", "body: x"]),
        (
            {"method": "GET", "url": "https://good.example@evil.example/x"},
            ["HTTP request", "method: GET", "url: https://good.example@evil.example/x", "  goes to evil.example"],
        ),
        ({"deep": {"a": 1}, "b": 1}, ["parameters", "deep:", "  {", '    "a": 1', "  }", "b: 1"]),
        (
            {"path": "a\u202eb"},
            [
                "parameters, exactly",
                "Shown exactly, because it has characters that nobody sees, or that mislead: U+202E",
                "{", '  "path": "a\\u202eb"', "}",
            ],
        ),
    ],
)  # fmt: skip
def test_parameters_are_shown_in_their_shape(parameters: dict[str, Any], rows: list[str]) -> None:
    assert body(parameters) == rows


def test_table_that_is_too_wide_is_shown_row_by_row() -> None:
    rows = [{"name": "x" * 30, "text": "y" * 30}, {"name": "a", "text": "b"}]

    assert body({"rows": rows}, width=50)[2:5] == ["row 1", f"  name: {'x' * 30}", f"  text: {'y' * 30}"]


def test_cell_with_the_side_of_a_column_does_not_pose_as_two() -> None:
    assert body({"rows": [{"a": "x │ y"}, {"a": "z"}]})[2:] == ["row 1", "  a: x │ y", "row 2", "  a: z"]


@pytest.mark.parametrize("parameters", [{"text": "größe"}, {"script": "\techo"}, {"to": "x", "body": "👨\u200d👩"}])
def test_what_a_terminal_cannot_show_is_shown_exactly(parameters: dict[str, Any]) -> None:
    shape, why, *rest = body(parameters, encoding="ascii")

    assert (shape, why) == (
        "parameters, exactly",
        "Shown exactly, because this terminal cannot show all of it as it is.",
    )
    assert "".join(rest).isascii()


def test_row_that_does_not_fit_goes_on_behind_its_number() -> None:
    record = Session("s").ask(Question("t", {"text": "a\n" + "b" * 80})).record
    rows = [line.plain for line in card(json.loads(dump(record)), width=60)]

    assert f"│ 2 {'b' * 55}" in rows
    assert f"┊   {'b' * 25}" in rows


_TEXTS = st.text(st.characters(codec="utf-8")) | st.text(st.sampled_from("ab 危é\t\n│→·'")) | st.just("x" * 200)


@given(
    st.dictionaries(
        st.sampled_from(["command", "path", "content", "old", "new", "to", "body", "url", "method"]) | _TEXTS,
        _TEXTS | st.lists(_TEXTS, max_size=3) | st.lists(st.fixed_dictionaries({"a": _TEXTS, "b": _TEXTS}), max_size=3),
        max_size=4,
    ),
    st.integers(2, 100),
    st.sampled_from(["utf-8", "ascii", "latin-1"]),
)
def test_no_line_is_wider_than_the_terminal_and_none_moves_it(
    parameters: dict[str, Any], width: int, encoding: str
) -> None:
    record = {"tool_name": "t", "risk_level": "high", "parameters": parameters}

    for line in card(record, width=width, encoding=encoding):
        assert cells(line.plain) <= width
        assert seen(line.plain, encoding) == line.plain
