"""What a record says of a command that a call runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notifier_service.core.events import dump
from notifier_service.core.policy.told_command import told_command

ROOM = 4096


def told(parameters: dict[str, Any], max_bytes: int = ROOM) -> dict[str, Any] | None:
    found = told_command(parameters, max_bytes=max_bytes)
    return None if found is None else json.loads(dump(found))


def test_parts_are_told_in_their_order() -> None:
    assert told({"command": "git status; rg 'a b' | head -3"}) == {
        "parts": [["git", "status"], ["rg", "a b"], ["head", "-3"]],
        "not_understood": None,
    }


def test_what_a_wrapper_runs_stands_behind_it_with_its_depth() -> None:
    assert told({"argv": ["timeout", "5", "bash", "-c", "git status; ls"]}) == {
        "parts": [
            ["timeout", "5", "bash", "-c", "git status; ls"],
            ["bash", "-c", "git status; ls"],
            ["git", "status"],
            ["ls"],
        ],
        "depths": [0, 1, 2, 2],
        "not_understood": None,
    }


def test_what_stands_behind_a_wrapper_and_beside_it_is_told_apart() -> None:
    found = told({"command": "ls; env nice -n 5 make; pwd"})

    assert found is not None
    assert found["depths"] == [0, *range(len(found["parts"]) - 2), 0]


@pytest.mark.parametrize(
    ("parameters", "parts", "why"),
    [
        ({"command": "echo $(id)"}, [],
         {"code": "shell_substitution", "mark": "$(", "text": "it has a substitution ($()"}),
        ({"cmd": "ls; sudo rm x"}, [["ls"], ["sudo", "rm", "x"]],
         {"code": "shell_wrapper", "program": "sudo", "text": "sudo runs what it is given"}),
        ({"command": "ls", "env": {"LD_PRELOAD": "x"}}, [["ls"]],
         {"code": "shell_parameter", "name": "env", "text": "parameter env beside the command changes what runs"}),
        ({"script": 7}, [], {"code": "shell_not_text", "text": "what it runs is neither text nor a list of words"}),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_told_by_a_code_and_in_words(
    parameters: dict[str, Any], parts: list[list[str]], why: dict[str, Any]
) -> None:
    assert told(parameters) == {"parts": parts, "not_understood": why}


@pytest.mark.parametrize(
    ("command", "does"),
    [
        ("git status && rm -rf build; ls", ["reads", "deletes", "reads"]),
        ("timeout 5 bash -c 'curl -d @a http://b'", ["runs", "runs", "sends"]),
        (["tee", "a"], ["writes"]),
        ("ls; make", None),
        ("rm $(cat a)", None),
    ],
)
def test_what_each_part_does_is_told_where_one_changes_something_or_sends(
    command: object, does: list[str] | None
) -> None:
    found = told({"command": command})

    assert found is not None
    assert found.get("does") == does


@pytest.mark.parametrize("parameters", [{}, {"path": "/a"}, {"text": "rm -rf /"}])
def test_call_without_a_command_has_none(parameters: dict[str, Any]) -> None:
    assert told(parameters) is None


def test_long_word_ends_where_it_is_cut() -> None:
    found = told({"command": f"echo {'a' * 201} b"})

    assert found is not None
    assert found["parts"] == [["echo", "a" * 200 + "…", "b"]]


def test_parts_that_are_left_out_are_counted() -> None:
    found = told({"command": "; ".join(["ls"] * 70)})

    assert found is not None
    assert (len(found["parts"]), found["left_out"]) == (50, 20)


@pytest.mark.parametrize(
    "command",
    [
        "echo " + "'🚀🚀' " * 4_000,
        "echo " + "'\"\"\\\\\\\\' " * 4_000,
        "echo " + "a " * 4_000,
        "true;" * 500,
        ["echo"] * 5_000,
        ["timeout", "5"] * 2_500,
    ],
)
@pytest.mark.parametrize("room", [1024, ROOM])
def test_hostile_command_takes_no_more_room_than_there_is(command: object, room: int) -> None:
    found = told_command({"command": command}, max_bytes=room)

    assert found is not None
    assert len(dump(found.parts)) <= room + 16
    assert found.parts[-1][-1] == "…" or found.left_out


def test_no_value_makes_it_fail() -> None:
    for command in ("", " ", "\ud800", "'\ud800'", ["\ud800"], [""], [], None, "\x00", "ls\u202e", {"a": [1]}, True):
        found = told_command({"command": command}, max_bytes=ROOM)

        assert found is not None
        assert dump(found)
