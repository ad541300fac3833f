"""A tool is as risky as its server says, and as risky as can be where the server says nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from notifier_service.calls.risk import risk_of_annotations, risk_of_tool

LEVELS = [
    (None, "high"),
    ({}, "high"),
    ({"title": "Read"}, "high"),
    ({"readOnlyHint": True, "openWorldHint": False}, "low"),
    ({"readOnlyHint": True}, "medium"),
    ({"readOnlyHint": True, "openWorldHint": True}, "medium"),
    # What only reads destroys nothing, whatever else the server says.
    ({"readOnlyHint": True, "destructiveHint": True, "openWorldHint": False}, "low"),
    ({"destructiveHint": False, "openWorldHint": False}, "medium"),
    ({"readOnlyHint": False, "destructiveHint": False, "openWorldHint": False}, "medium"),
    ({"destructiveHint": False}, "high"),
    ({"destructiveHint": False, "openWorldHint": True}, "high"),
    ({"destructiveHint": True, "openWorldHint": False}, "high"),
    ({"openWorldHint": False}, "high"),
    ({"readOnlyHint": False}, "high"),
    # Only a boolean is an answer.
    ({"readOnlyHint": 1, "openWorldHint": 0}, "high"),
    ({"readOnlyHint": "true", "openWorldHint": "false"}, "high"),
    ({"readOnlyHint": True, "openWorldHint": None}, "medium"),
]
SNAKE = {
    "readOnlyHint": "read_only_hint",
    "destructiveHint": "destructive_hint",
    "openWorldHint": "open_world_hint",
    "title": "title",
}


@pytest.mark.parametrize(("annotations", "level"), LEVELS, ids=[str(annotations) for annotations, _ in LEVELS])
@pytest.mark.parametrize("form", ["wire", "sdk 1.x", "sdk 2.x"])
def test_risk_is_what_the_annotations_say(form: str, annotations: dict[str, Any] | None, level: str) -> None:
    given: Any = annotations
    if annotations is not None and form != "wire":
        given = SimpleNamespace(
            **{SNAKE[name] if form == "sdk 2.x" else name: hint for name, hint in annotations.items()}
        )

    assert risk_of_annotations(given).level == level


@pytest.mark.parametrize(
    ("annotations", "reasons"),
    [
        (None, ("the server does not say what the tool may do",)),
        (
            {"readOnlyHint": True, "openWorldHint": False},
            ("the server says that it only reads", "the server says that it stays within its own system"),
        ),
        (
            {"destructiveHint": True, "openWorldHint": True},
            ("the server says that it may destroy something", "the server says that it reaches the outside world"),
        ),
        (
            {"destructiveHint": False},
            (
                "the server says that it destroys nothing",
                "the server does not say that it stays within its own system",
            ),
        ),
        (
            {"readOnlyHint": False, "openWorldHint": False},
            (
                "the server does not say that it destroys nothing",
                "the server says that it stays within its own system",
            ),
        ),
    ],
    ids=str,
)
def test_reasons_tell_what_the_server_said_and_what_it_left_out(annotations: Any, reasons: tuple[str, ...]) -> None:
    assert risk_of_annotations(annotations).reasons == reasons


@pytest.mark.parametrize(
    "tool", [{"name": "t"}, SimpleNamespace(name="t"), SimpleNamespace(name="t", annotations=None)]
)
def test_tool_without_annotations_is_of_high_risk(tool: Any) -> None:
    rated = risk_of_tool(tool)

    assert (rated.level, rated.reasons) == ("high", ("the server does not say what the tool may do",))


def test_tool_is_rated_by_its_annotations() -> None:
    assert risk_of_tool({"annotations": {"readOnlyHint": True, "openWorldHint": False}}).level == "low"


def test_tool_that_the_server_does_not_list_is_of_high_risk() -> None:
    assert risk_of_tool(None) == ("high", ("the server lists no tool of that name",), None)


def test_annotations_that_are_no_object_say_nothing() -> None:
    assert risk_of_tool({"annotations": ["readOnlyHint"]}).level == "high"


def test_definition_is_what_the_tool_is_and_does() -> None:
    tool = {"name": "t", "description": "reads", "inputSchema": {"type": "object"}, "annotations": {}}
    same = {**dict(reversed(tool.items())), "_meta": {"seen": 2}, "icons": []}
    others = [{**tool, name: {"another": 1}} for name in tool] + [{**tool, "outputSchema": {}}]

    hashes = {risk_of_tool(other).definition_sha256 for other in others}

    assert risk_of_tool(tool).definition_sha256 == risk_of_tool(same).definition_sha256
    assert len(hashes | {risk_of_tool(tool).definition_sha256}) == 6


@pytest.mark.parametrize("tool", [{"name": "t", "description": float("nan")}, SimpleNamespace(name="t")])
def test_definition_that_is_no_json_is_not_known(tool: Any) -> None:
    assert risk_of_tool(tool).definition_sha256 is None
