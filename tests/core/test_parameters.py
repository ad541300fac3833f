"""Parameters: what is shown is what is hashed and what runs."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import struct
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, IntEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from notifier_service.core.errors import InvalidInput, TooLarge
from notifier_service.core.parameters import action_sha256, canonical_json, jsonable, parameters_sha256

DOUBLES = st.binary(min_size=8, max_size=8).map(lambda bits: struct.unpack("<d", bits)[0]).filter(math.isfinite)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | DOUBLES
    | st.text()
)
JSON = st.recursive(SCALARS, lambda item: st.lists(item) | st.dictionaries(st.text(), item), max_leaves=20)


class Colour(IntEnum):
    RED = 1


class Mode(Enum):
    FAST = "fast"


class Loud(str):
    def __str__(self) -> str:
        return "LOUD"


@dataclass
class Row:
    name: str
    cells: Any


class Odd(int):
    def __repr__(self) -> str:
        return "odd"


def nested(depth: int, leaf: Any = 1) -> Any:
    for _ in range(depth):
        leaf = [leaf]
    return leaf


def circle() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["again"] = [found]
    return found


# canonical_json


@given(JSON)
@example(-0.0)
@example(5e-324)
@example(1.7976931348623157e308)
@example([1e21, 1e20, 1e-6, 1e-7, 123456789012345680000.0, 0.000001234, 1.5e300, -1e-7])
@example({"\U0001f600": 1, "\ufb33": 2, "\u20ac": 3, "\r": 4, "1": 5, "\u0080": 6, "\u00f6": 7, "": 8})
@example('\u2028\u2029\x7f\x00\x1f"\\/\u00e9')
def test_canonical_json_is_what_rfc_8785_gives(value: Any) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@given(st.integers() | st.integers(min_value=2**53) | st.integers(max_value=-(2**53)))
@example(2**53)
@example(2**53 + 1)
@example(-(2**63))
@example(10**4000 + 1)
def test_integer_beyond_2_to_the_53_keeps_all_its_digits(number: int) -> None:
    assert canonical_json(number) == str(number).encode()


def test_neighbouring_large_integers_have_different_hashes() -> None:
    assert parameters_sha256({"amount": 2**53}) != parameters_sha256({"amount": 2**53 + 1})


@given(JSON)
def test_canonical_json_reads_back_as_the_same_value(value: Any) -> None:
    assert json.loads(canonical_json(value), parse_int=float) == value


@given(st.dictionaries(st.text(), SCALARS, min_size=2))
def test_order_of_the_keys_does_not_change_the_hash(parameters: dict[str, Any]) -> None:
    assert parameters_sha256(parameters) == parameters_sha256(dict(reversed(parameters.items())))


def test_keys_are_ordered_by_their_utf_16_code_units() -> None:
    assert canonical_json({"\U00010000": 1, "\uffff": 2, "b": {"z": 1, "a": 2}, "a": 3}) == (
        '{"a":3,"b":{"a":2,"z":1},"\U00010000":1,"\uffff":2}'.encode()
    )


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-1.5, "-1.5"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e21, "1.5e+21"),
        (-1e-6, "-0.000001"),
        (1e-7, "1e-7"),
        (1.25e-7, "1.25e-7"),
        (333333333.3333333, "333333333.3333333"),
        (4.5, "4.5"),
        (0.002, "0.002"),
    ],
)
def test_number_is_written_as_ecmascript_writes_it(number: float, text: str) -> None:
    assert canonical_json([number]).decode() == f"[{text}]"


def test_subclass_is_hashed_as_the_plain_value_that_it_holds() -> None:
    class Price(float):
        def __repr__(self) -> str:
            return "free"

    assert canonical_json([Loud("quiet"), Odd(3), Colour.RED, Price(0.5)]) == b'["quiet",3,1,0.5]'


def test_true_and_one_are_different() -> None:
    assert canonical_json([True, False, None, 1, 0]) == b"[true,false,null,1,0]"
    assert parameters_sha256({"force": True}) != parameters_sha256({"force": 1})


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), float("-inf"), "\ud800", {"a": "x\udfff"}, {"\ud800": 1}, [10**5000]],
    ids=lambda value: ascii(value)[:20] if not isinstance(value, list) else "huge",
)
def test_value_that_json_cannot_say_is_no_canonical_json(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # what the docstring promises, whoever raises it
        canonical_json(value)


@pytest.mark.parametrize("value", [(1,), {1}, b"x", object(), [datetime.now(UTC)], {"a": iter(())}])
def test_type_that_json_does_not_know_is_no_canonical_json(value: Any) -> None:
    with pytest.raises(TypeError, match="is no JSON type"):
        canonical_json(value)


def test_key_that_is_no_text_is_no_canonical_json() -> None:
    with pytest.raises(TypeError):
        canonical_json({1: 2})


def test_hash_is_sha_256_over_the_canonical_json() -> None:
    expected = hashlib.sha256('{"a":[1,2.5,"é"],"b":null}'.encode()).hexdigest()

    assert parameters_sha256({"b": None, "a": [1, 2.5, "é"]}) == expected


# jsonable


def test_parameters_keep_large_integers_control_characters_and_length() -> None:
    parameters = {"n": 2**53 + 1, "huge": 10**4000, "text": "\x00\x1b[31m\u202e", "long": "x" * 1_000_000, "f": 1.5}

    assert jsonable(parameters) == parameters


@given(JSON)
def test_json_parameters_come_through_unchanged(value: Any) -> None:
    assert jsonable({"value": value}) == {"value": value}


def test_copy_shares_nothing_with_the_caller() -> None:
    inner: list[Any] = [{"deep": [1]}]
    parameters = {"inner": inner}
    copy = jsonable(parameters)
    inner[0]["deep"].append(2)
    inner.append(3)
    parameters["more"] = []

    assert copy == {"inner": [{"deep": [1]}]}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"\xff\x00", "_wA="),
        ((1, (2,)), [1, [2]]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (Colour.RED, 1),
        (Mode.FAST, "fast"),
        (Path("/etc/hosts"), "/etc/hosts"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        ({7}, [7]),
        ({3: "three"}, {"3": "three"}),
        ({None: 1, 1.5: 2, Mode.FAST: 3}, {"None": 1, "1.5": 2, "fast": 3}),
        (MappingProxyType({"a": (1,)}), {"a": [1]}),
        (Row("a", (b"x",)), {"name": "a", "cells": ["eA=="]}),
    ],
    ids=repr,
)
def test_python_value_is_shown_and_runs_in_its_json_form(value: Any, shown: Any) -> None:
    assert jsonable({"value": value}) == {"value": shown}


def test_subclass_cannot_show_something_else_than_it_holds() -> None:
    assert canonical_json(jsonable({"a": Loud("quiet"), "b": Odd(7)})) == b'{"a":"quiet","b":7}'


@pytest.mark.parametrize(
    "parameters",
    [
        {"a": float("nan")},
        {"a": [float("inf")]},
        {"a": {"b": float("-inf")}},
        {"a": object()},
        {"a": lambda: None},
        {"a": 10**5000},
        {"a": nested(300)},
        {"a": nested(100_000)},
        circle(),
        None,
        5,
        [1],
        "text",
    ],
    ids=[
        "nan",
        "inf",
        "minus inf",
        "object",
        "function",
        "huge int",
        "deep",
        "very deep",
        "circle",
        "None",
        "number",
        "list",
        "str",
    ],
)
def test_parameters_that_cannot_be_shown_are_refused(parameters: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^the parameters cannot be shown as JSON: ."):
        jsonable(parameters)


def test_parameters_as_deep_as_the_parser_reads_are_taken_and_no_deeper() -> None:
    assert jsonable({"a": nested(198)}) == {"a": nested(198)}
    with pytest.raises(InvalidInput, match="they are deeper than 200"):
        jsonable({"a": nested(201)})


@pytest.mark.parametrize("parameters", [{"a": "secret\ud800"}, {"secret\udfff": 1}], ids=ascii)
def test_half_a_surrogate_pair_is_refused_without_being_repeated(parameters: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        jsonable(parameters)

    assert caught.value.message == "the parameters cannot be shown as JSON: a string in them is no valid Unicode"


def test_error_without_a_text_is_named() -> None:
    class Mute:
        def keys(self) -> Any:
            raise TypeError

    with pytest.raises(InvalidInput, match=r"as JSON: TypeError$"):
        jsonable(Mute())  # type: ignore[arg-type]


def test_reason_of_a_refusal_is_bounded() -> None:
    class Talkative:
        def keys(self) -> Any:
            raise ValueError("x" * 10_000)

    with pytest.raises(InvalidInput) as caught:
        jsonable(Talkative())  # type: ignore[arg-type]

    assert caught.value.message.endswith(": " + "x" * 200)


def test_iterator_is_refused_and_not_read() -> None:
    iterator = iter([1, 2, 3])
    with pytest.raises(InvalidInput):
        jsonable({"rows": iterator})

    assert list(iterator) == [1, 2, 3]


def test_open_file_is_refused() -> None:
    with open("/dev/null") as file, pytest.raises(InvalidInput):
        jsonable({"file": file})


def test_endless_iterator_is_refused() -> None:
    read = 0

    def endless() -> Any:
        nonlocal read
        for read in itertools.count(1):
            if read > 100:
                raise RuntimeError("read without end")
            yield read

    with pytest.raises(InvalidInput):
        jsonable({"rows": endless()})


def test_keys_that_become_the_same_text_are_refused() -> None:
    with pytest.raises(InvalidInput):
        jsonable({1: "shown", "1": "hidden"})  # type: ignore[dict-item]


async def test_asynchronous_iterator_is_refused() -> None:
    async def rows() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(InvalidInput, match="a async_generator can be read only once"):
        jsonable({"rows": rows()})


def test_iterator_inside_an_object_is_refused_and_not_read() -> None:
    iterator = iter([1, 2])
    with pytest.raises(InvalidInput):
        jsonable({"row": Row("a", iterator)})

    assert list(iterator) == [1, 2]


def test_key_cannot_show_something_else_than_it_holds() -> None:
    assert jsonable({Loud("quiet"): 1}) == {"quiet": 1}


@pytest.mark.parametrize("value", [0.1, 12345.678, 1e-4, 9007199254740991.5, 1e15 + 0.5, 1e16, 1e-5, -0.25, 2.0])
def test_floats_have_one_form_whichever_way_they_are_written(value: float) -> None:
    text = canonical_json(value).decode()

    assert float(text) == value
    assert canonical_json(json.loads(text)) == canonical_json(value)


def test_hash_of_the_action_is_that_of_all_of_it() -> None:
    whole: dict[str, Any] = {
        "session_id": "s",
        "server": None,
        "tool_name": "rm",
        "parameters": {"b": [1.0, {}], "a": "é"},
    }

    assert action_sha256(**whole) == parameters_sha256(whole)


def test_keys_are_ordered_by_their_utf_16_units() -> None:
    assert canonical_json({"\ufb01": 1, "\U0001f600": 2, "a": 3}) == '{"a":3,"\U0001f600":2,"\ufb01":1}'.encode()


@pytest.mark.parametrize(
    "parameters",
    [
        {"rows": [0] * 50_000},
        {"tables": [[0] * 25_000, {str(n): 0 for n in range(25_000)}]},
        {str(n): None for n in range(50_001)},
    ],
    ids=["list", "nested", "keys"],
)
def test_more_values_than_can_be_copied_in_a_moment_are_refused(parameters: Any) -> None:
    with pytest.raises(TooLarge, match="more than 50000 values") as caught:
        jsonable(parameters)

    assert caught.value.details == {"limit": "values"}


def test_as_many_values_as_are_taken_come_through() -> None:
    most = {"rows": [0] * 49_999}

    is_same = jsonable(most) == most
    assert is_same
