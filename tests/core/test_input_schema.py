"""Whether an edit fits what the tool says that it takes, whatever that schema is."""

from __future__ import annotations

import time
from typing import Any

import pytest

from notifier_service.core.errors import InvalidInput
from notifier_service.core.input_schema import InputSchema

EMAIL = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"
WRITE = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "count": {"type": "integer", "minimum": 0},
        "to": {"type": "array", "items": {"type": "string", "pattern": EMAIL}, "uniqueItems": True},
        "a/b~c": {"enum": [1, 2]},
    },
    "required": ["path"],
    "additionalProperties": False,
}


def required(schema: Any, parameters: dict[str, Any]) -> None:
    known = InputSchema.of(schema)
    assert known is not None
    known.require(parameters)


def refused(schema: Any, parameters: dict[str, Any]) -> InvalidInput:
    with pytest.raises(InvalidInput) as error:
        required(schema, parameters)
    return error.value


def in_one_property(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}}


@pytest.mark.parametrize(
    "parameters",
    [{"path": "a"}, {"path": "", "count": 2**70}, {"path": "a", "to": ["ada@example.org", "bob@example.org"]}],
)
def test_parameters_that_fit_are_taken(parameters: dict[str, Any]) -> None:
    required(WRITE, parameters)


@pytest.mark.parametrize(
    ("parameters", "pointer", "said"),
    [
        ({}, "", "'path' is a required property"),
        ({"path": 5}, "/path", "it is not of type 'string'"),
        ({"path": "a", "count": -1}, "/count", "it is less than the minimum of 0"),
        ({"path": "a", "count": True}, "/count", "it is not of type 'integer'"),
        ({"path": "a", "mode": "r"}, "", "'mode' is no parameter of it"),
        ({"path": "a", "to": ["ada@example.org", "a..b@example.org"]}, "/to/1", "does not match"),
        ({"path": "a", "to": [".ada@example.org"]}, "/to/0", "does not match"),
        ({"path": "a", "to": ["ada@example.org"] * 2}, "/to", "an item is in it twice"),
        ({"path": "a", "a/b~c": 3}, "/a~1b~0c", "it is not one of [1, 2]"),
    ],
)
def test_edit_that_escapes_the_schema_is_refused_with_where_and_why(
    parameters: dict[str, Any], pointer: str, said: str
) -> None:
    error = refused(WRITE, parameters)

    assert error.code == "invalid"
    assert error.message.startswith(f"parameters{pointer}: ")
    assert said in error.message
    assert error.details == {"pointer": pointer}


def test_long_value_is_not_said_whole() -> None:
    assert len(refused(WRITE, {"path": ["x" * 10_000]}).message) < 400


@pytest.mark.parametrize(
    ("schema", "fits", "misfit"),
    [
        ({"patternProperties": {"^x-": {"type": "string"}}, "additionalProperties": False}, {"x-a": "b"}, {"x-a": 1}),
        ({"patternProperties": {"^x-": {}}, "additionalProperties": False}, {"x-a": 1}, {"y": 1}),
        ({"additionalProperties": {"type": "string"}}, {"a": "b"}, {"a": 1}),
        (in_one_property({"additionalProperties": False, "patternProperties": {"a": {}}}), {"a": []}, {"a": {"b": 1}}),
        (in_one_property({"pattern": "^(?=a)[a-z]+$"}), {"a": "abc"}, {"a": "bc"}),
        (in_one_property({"pattern": "b"}), {"a": 5}, {"a": "x"}),
        (in_one_property({"uniqueItems": True}), {"a": [1, True, "1"]}, {"a": [{"b": 1}, {"b": 1}]}),
        (in_one_property({"uniqueItems": False}), {"a": [1, 1]}, None),
        ({"$schema": "http://json-schema.org/draft-07/schema#", **WRITE}, {"path": "a"}, {"path": 1}),
        ({"$defs": {"text": {"type": "string"}}, **in_one_property({"$ref": "#/$defs/text"})}, {"a": "b"}, {"a": 1}),
        (
            {"properties": {"a": {"type": "array", "items": {"$ref": "#"}}}},
            {"a": [{"a": []}]},
            {"a": [{"a": [{"a": 1}]}]},
        ),
    ],
)
def test_schemas_of_many_kinds_are_checked(schema: Any, fits: dict[str, Any], misfit: dict[str, Any] | None) -> None:
    required(schema, fits)

    assert misfit is None or refused(schema, misfit).code == "invalid"


def growing(levels: int) -> dict[str, Any]:
    """A schema of which a reader who does not count looks at two to the power of ``levels`` parts."""
    parts: dict[str, Any] = {f"a{level}": {"allOf": [{"$ref": f"#/$defs/a{level + 1}"}] * 2} for level in range(levels)}
    return {"$ref": "#/$defs/a0", "$defs": parts | {f"a{levels}": {"type": "object"}}}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"not": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "parameters", "why"),
    [
        ({"$ref": "http://127.0.0.1:9/schema.json"}, {}, "refers to what is not in it"),
        ({"$ref": "#/$defs/none"}, {}, "refers to what is not in it"),
        ({"$ref": "#"}, {}, "refers to itself without end"),
        ({"allOf": [{"$ref": "#"}]}, {}, "refers to itself without end"),
        (growing(40), {}, "takes too long"),
        (in_one_property({"pattern": ".{4000}b"}), {"a": "a" * 5000}, "a text of 5000 characters"),
        (in_one_property({"pattern": "ab" * 2000}), {"a": "a" * 10_000}, "a text of 10000 characters"),
        (in_one_property({"pattern": r"(\w{1000}){1000}"}), {"a": "b"}, ""),
        (in_one_property({"pattern": r"(a)\1"}), {"a": "b"}, "none that surely ends"),
        (in_one_property({"pattern": 5}), {"a": "b"}, "a pattern in it is no text"),
        ({"patternProperties": {"^(a+)+$": {}}, "unevaluatedProperties": False}, {"a" * 40 + "!": 1}, "unevaluated"),
        ({"$schema": "https://example.org/my-own", "type": "object"}, {}, "its $schema is none that is known"),
        ({"properties": 5}, {"a": 1}, "no JSON Schema that can be read"),
        (in_one_property({"minLength": "5"}), {"a": "b"}, "no JSON Schema that can be read"),
        ({"type": "object", "enum": ["x" * 100] * 10_000}, {}, "bytes, more than"),
        ({"default": float("nan")}, {}, "it is no JSON"),
        (nested(5000), {}, "it is no JSON"),
        ("string", {}, "it is no object"),
    ],
)
def test_hostile_schema_neither_holds_anybody_nor_lets_an_edit_through(
    schema: Any, parameters: dict[str, Any], why: str
) -> None:
    began = time.thread_time()
    error = refused(schema, parameters)

    assert time.thread_time() - began < 5
    assert error.message.startswith("The tool's input schema cannot be checked (")
    assert why in error.message


def test_where_there_is_no_schema_nothing_is_known() -> None:
    assert InputSchema.of(None) is None


def test_schema_is_a_copy_and_one_like_another() -> None:
    given: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}
    schema = InputSchema.of(given)
    given["properties"]["a"]["type"] = "integer"

    assert schema is not None
    assert schema.to_json() == {"type": "object", "properties": {"a": {"type": "string"}}}
    assert schema == InputSchema.of(schema.to_json())
    assert hash(schema) == hash(InputSchema.of(schema.to_json()))
    assert schema != given


def test_schema_that_cannot_be_checked_has_no_text() -> None:
    schema = InputSchema.of([])

    assert schema is not None
    assert (schema.problem, schema.to_json()) == ("it is no object", None)


@pytest.mark.parametrize("value", ["secret" * 200, ["secret"], {"secret": "secret"}])
def test_what_was_given_stands_in_no_answer(value: Any) -> None:
    schemas = [{"type": "integer"}, {"enum": [1]}, {"const": 1}, {"anyOf": [{"type": "null"}]}, {"not": {}}]
    schemas += [{"pattern": "^a$", "minProperties": 9, "minItems": 9}]

    for schema in schemas:
        assert "secret" not in refused({"properties": {"a": schema}}, {"a": value}).message
