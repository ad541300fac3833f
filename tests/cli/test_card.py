"""A request in a terminal: which commands it runs."""

from __future__ import annotations

import json
from typing import Any

from notifier_service.cli.card import card
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

    assert lines(command)[3:8] == [
        "It runs timeout 5 bash -c 'git status; ls'",
        "        → bash -c 'git status; ls'",
        "          → git status",
        "          → ls",
        """    and rg 'it'"'"'s'""",
    ]
    assert bold(command)[1:] == ["timeout", "bash", "git", "ls", "rg"]


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
    assert "It runs ls -l" not in lines({"command": "ls -l"})


def test_word_ends_no_line_and_moves_no_terminal() -> None:
    assert r"It runs echo 'a\n│ Bash   risk low' b" in lines({"command": ["echo", "a\n│ Bash   risk low", "b"]})
