"""Results as events carry them: whole, or the beginning and the size."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from notifier_service.calls.results import shown_error, shown_parameters, shown_result

ROOM = 256 * 1024
ENVELOPE = 8 * 1024


@dataclass
class Point:
    x: int


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("secret")


class Plain:
    def __repr__(self) -> str:
        return "<plain \ud800>"


class Wordy:
    def __repr__(self) -> str:
        return "w" * 10_000


class Booby:
    @property
    def __dataclass_fields__(self) -> Any:
        raise RuntimeError("looked at")

    def __repr__(self) -> str:
        return "<booby>"


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def circle() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def shown(result: Any, max_bytes: int = ROOM) -> Any:
    fields = shown_result(result, max_bytes=max_bytes)
    json.dumps(fields, allow_nan=False)
    return fields


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (None, None),
        ("text", "text"),
        ({"a": [1, 2.5, True]}, {"a": [1, 2.5, True]}),
        (2**60 + 1, 2**60 + 1),
        ((1, 2), [1, 2]),
        (Point(3), {"x": 3}),
        (b"\xff", "_w=="),
        ([float("nan"), float("inf"), float("-inf")], ["NaN", "Infinity", "-Infinity"]),
        ("file\udcff", "file\\udcff"),
        ({"\ud800": ["\udfff"]}, {"\\ud800": ["\\udfff"]}),
        (Plain(), "<plain \\ud800>"),
        ([Plain()], ["<plain \\ud800>"]),
        (Unprintable(), "<Unprintable, which cannot be printed: RuntimeError>"),
        (Booby(), "<booby>"),
        (Wordy(), "w" * 4096),
    ],
    ids=lambda value: type(value).__name__,
)
def test_result_is_shown_in_its_json_form(result: Any, expected: Any) -> None:
    assert shown(result) == {"result": expected}


def test_circle_is_shown_as_python_prints_it() -> None:
    assert shown(circle()) == {"result": "[[...]]"}


def test_deep_result_is_shown_as_python_prints_it() -> None:
    assert shown(nested(300)) == {"result": "[" * 300 + "1" + "]" * 300}


def test_result_that_pydantic_and_python_cannot_walk_is_named() -> None:
    assert shown(nested(200_000)) == {"result": "<list, which cannot be printed: RecursionError>"}


@pytest.mark.parametrize("depth", [201, 230, 254])
def test_result_deeper_than_json_is_read_does_not_break_the_call(depth: int) -> None:
    assert shown(nested(depth)) == {"result": "[" * depth + "1" + "]" * depth}


@pytest.mark.parametrize("result", [10**5000, {"n": 10**5000}], ids=["alone", "inside"])
def test_integer_of_thousands_of_digits_does_not_break_the_call(result: Any) -> None:
    assert "result" in shown(result)


def test_result_is_a_copy() -> None:
    rows = [[1]]
    fields = shown(rows)
    rows[0].append(2)

    assert fields == {"result": [[1]]}


def test_result_up_to_the_envelope_is_whole() -> None:
    text = "x" * (ROOM - ENVELOPE - 2)

    assert shown(text) == {"result": text}


def test_result_beyond_the_envelope_is_its_beginning_and_its_size() -> None:
    size = ROOM - ENVELOPE - 1

    assert shown("x" * size) == {"result": '"' + "x" * 4095, "truncated": True, "result_bytes": size + 2}


def test_beginning_is_counted_in_characters_and_ends_at_a_whole_one() -> None:
    fields = shown("\U0001f600" * 100_000)

    assert fields["result"] == '"' + "\U0001f600" * 4095
    assert fields["result_bytes"] == 400_002


def test_iterator_is_never_read() -> None:
    iterator = iter([1, 2])

    assert shown(iterator)["result"].startswith("<list_iterator object at ")
    assert list(iterator) == [1, 2]


async def test_async_iterator_is_never_read() -> None:
    async def chunks() -> AsyncIterator[int]:
        yield 1

    iterator = chunks()

    assert " object test_async_iterator" in shown(iterator)["result"].replace("_generator", "")
    assert [chunk async for chunk in iterator] == [1]


@pytest.mark.parametrize(
    "wrap", [lambda i: [i], lambda i: {"rows": i}, lambda i: (1, i)], ids=["list", "dict", "tuple"]
)
def test_iterator_inside_a_result_is_never_read(wrap: Any) -> None:
    def rows() -> Iterator[int]:
        yield from (1, 2)

    iterator = rows()
    shown(wrap(iterator))

    assert list(iterator) == [1, 2]


@pytest.mark.parametrize("wrap", [Point, lambda i: [[i]]], ids=["dataclass", "lists"])
def test_iterator_hidden_in_a_result_is_never_read(wrap: Any) -> None:
    iterator = iter([1, 2])
    shown(wrap(iterator))

    assert list(iterator) == [1, 2]


def test_small_parameters_are_shown_whole() -> None:
    parameters = {"path": "/tmp", "n": 2**53 + 1}
    details = shown_parameters(parameters, max_bytes=ROOM)

    assert details == {"parameters": {"path": "/tmp", "n": 2**53 + 1}}
    assert details["parameters"] is not parameters


def test_large_parameters_are_shown_as_their_beginning_and_size() -> None:
    details = shown_parameters({"a": "x" * ROOM}, max_bytes=ROOM)

    assert details == {
        "parameters": {"beginning": '{"a":"' + "x" * 4090},
        "parameters_truncated": True,
        "parameters_bytes": ROOM + 8,
    }


def test_error_is_its_class_and_what_it_says() -> None:
    assert shown_error(ValueError("no such row")) == "ValueError: no such row"


def test_error_that_says_nothing_is_its_class() -> None:
    assert shown_error(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_long_error_is_cut_and_says_by_how_much() -> None:
    text = shown_error(ValueError("x" * 5000))

    assert text == "ValueError: " + "x" * 1988 + "… (3012 more characters)"


def test_error_of_exactly_the_limit_is_whole() -> None:
    assert shown_error(ValueError("x" * 1988)) == "ValueError: " + "x" * 1988


def test_error_that_cannot_be_printed_is_named() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert shown_error(Broken()).startswith("Broken")
