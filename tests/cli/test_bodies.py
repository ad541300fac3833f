"""Parameters are drawn in the shape that they have, with every character, or exactly: as in the browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier_service.cli.bodies import Body, DiffPart, Part, StepsPart, body_of
from notifier_service.cli.bodies.lines import line_changes

_FILE = Path(__file__).parents[1] / "bodies" / "vectors.json"
VECTORS: list[dict[str, Any]] = json.loads(_FILE.read_text(encoding="utf-8"))


def drawn(body: Body) -> str:
    return "\n".join(map(text_of, body.parts))


def text_of(part: Part) -> str:
    if isinstance(part, StepsPart):
        return "\n".join(" ".join(step.words) for step in part.steps)
    return f"{part.name}\n{_content(part)}"


def _content(part: Any) -> str:
    if part.kind == "diff":
        return "\n".join(line.text for line in part.lines)
    if part.kind == "table":
        return "\n".join("\t".join(row) for row in (part.columns, *part.rows))
    if part.kind == "json":
        return str(part.text)
    if part.kind in ("value", "text"):
        return joined(part.segments)
    return "\n".join(part.items if part.kind == "list" else part.lines)


def joined(segments: Any) -> str:
    return "".join(segment.text for segment in segments)


def marks(body: Body) -> list[list[str]]:
    found: list[list[str]] = []
    for part in body.parts:
        places = part.lines if isinstance(part, DiffPart) else [part]
        segments = [segment for place in places for segment in getattr(place, "segments", ())]
        found += [[segment.mark, segment.text] for segment in segments if segment.mark is not None]
    return found


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["about"])
def test_vector_that_the_browser_is_held_to_too(vector: dict[str, Any]) -> None:
    body = body_of(vector)
    because = body.because and {"code": body.because.code, "characters": list(body.because.characters)}

    assert (body.shape, because) == (vector["shape"], vector["because"])
    assert [text for text in vector["seen"] if text not in drawn(body)] == []
    assert [text for text in vector.get("not_seen", ()) if text in drawn(body)] == []
    assert [part.kind for part in body.parts] == vector.get("kinds", [part.kind for part in body.parts])
    if "lines" in vector:
        diffs = [part for part in body.parts if isinstance(part, DiffPart)]
        assert [[line.kind, line.text] for part in diffs for line in part.lines] == vector["lines"]
    assert marks(body) == vector.get("marked", marks(body))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["about"])
def test_every_name_and_character_is_there(vector: dict[str, Any]) -> None:
    text = drawn(body_of(vector))

    for line in (line for leaf in leaves(vector["parameters"]) for line in leaf.split("\n")):
        # A line of a patch stands without its sign, a word of an argv in quotes, a text in JSON with escapes.
        ways = (line, line[1:], line.replace("'", "'\"'\"'"), json.dumps(line, ensure_ascii=False)[1:-1])
        assert any(way in text for way in ways) or not line.isascii() or not line.isprintable(), line


def leaves(value: Any) -> Iterator[str]:
    """All names, and all values as text."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value if isinstance(value, str) else json.dumps(value)


@given(st.text(st.sampled_from("ab \n")), st.text(st.sampled_from("ab \n")))
def test_lines_that_stay_and_go_are_the_old_text_and_those_that_stay_and_come_the_new(old: str, new: str) -> None:
    lines = line_changes(old, new)

    assert "\n".join(line.text for line in lines if line.kind != "new") == old
    assert "\n".join(line.text for line in lines if line.kind != "gone") == new
    assert [line.old for line in lines if line.old] == list(range(1, old.count("\n") + 2))
    assert [line.new for line in lines if line.new] == list(range(1, new.count("\n") + 2))


def test_two_texts_that_are_far_too_long_to_compare_are_shown_as_both() -> None:
    old, new = ("\n".join(f"{mark}{number}" for number in range(5000)) for mark in "ab")

    kinds = [line.kind for line in line_changes(old, new)]

    assert kinds == ["gone"] * 5000 + ["new"] * 5000


def test_large_parameters_are_read_at_once() -> None:
    parameters = {"text": "x é\n" * 200_000, "list": list(range(50_000)), "old": "a\n" * 9000, "new": "b\n" * 9000}

    assert body_of({"parameters": parameters}).shape == "diff"


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.text()
            | st.sampled_from(["ls", "--- a", "GET", "http://x/"]),
            lambda of: st.lists(of, max_size=3) | st.dictionaries(st.text(max_size=3), of, max_size=3),
        ),
        max_size=5,
    )
    | st.dictionaries(
        st.sampled_from(["command", "argv", "path", "content", "old", "new", "url", "method", "to", "body", "columns"]),
        st.text() | st.lists(st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=2), max_size=3),
    )
)
def test_no_parameters_lose_a_letter(parameters: dict[str, Any]) -> None:
    body = body_of({"parameters": parameters})

    if body.shape == "exact":
        [part] = body.parts
        assert json.loads(text_of(part)[1:]) == parameters
        return
    text = re.sub(r"\W", "", drawn(body))
    for leaf in leaves(parameters):
        assert re.sub(r"\W", "", leaf) in text or not leaf.isprintable()
