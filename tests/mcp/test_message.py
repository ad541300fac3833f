"""What the gate takes for something else than a call of a tool is none for anybody who may read it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier_service.mcp.message import Message, MessageRefused, ToolCall

CALL = '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"write"}}'
KEYS = ("id", "method", "Method", "METHOD", "m\\u0065thod", "params", "Params", "jsonrpc", "result", "x", "__proto__")
VALUES = ('"tools/call"', '"ping"', "1", "null", "[]", CALL, f"[{CALL}]", f"\r{CALL}\r", f"\n{CALL}\n", '"\u2028"')
SPACES = ("", " ", "\t", "\r", "\n", "\r\n")

members = st.tuples(st.sampled_from(SPACES), st.sampled_from(KEYS), st.sampled_from(VALUES))


def first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


def no_case(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key.casefold(): value for key, value in pairs}


def first_wins_and_no_case(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return no_case(pairs[::-1])


def inherited(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    prototype = value.get("__proto__")
    return (prototype if isinstance(prototype, dict) else {}) | value


READINGS: tuple[Callable[[list[tuple[str, Any]]], dict[str, Any]], ...] = (
    dict, first_wins, no_case, first_wins_and_no_case, inherited,
)  # fmt: skip


@given(st.lists(members, max_size=5))
def test_no_reader_finds_a_call_in_what_passes_as_something_else(pairs: list[tuple[str, str, str]]) -> None:
    text = "{" + ",".join(f'{space}"{key}":{value}' for space, key, value in pairs) + "}"
    try:
        message = Message.parse(text.encode())
    except MessageRefused:
        return

    for line in re.split("[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", message.text.decode()):
        for reading in READINGS:
            with suppress(ValueError):
                found = json.loads(line, object_pairs_hook=reading)
                is_call = isinstance(found, dict) and found.get("method") == "tools/call"
                assert is_call == message.is_tool_call


@given(st.lists(members, max_size=5))
def test_call_is_read_upstream_as_it_was_judged(pairs: list[tuple[str, str, str]]) -> None:
    inner = ",".join(f'{space}"{key}":{value}' for space, key, value in pairs)
    text = '{"id":1,"method":"tools/call","params":{"name":"read","name":"write","arguments":{' + inner + "}}}"
    call = ToolCall(Message.parse(text.encode()))

    for reading in READINGS[:2]:
        upstream = json.loads(call.text(), object_pairs_hook=reading)
        assert (upstream["params"]["name"], upstream["params"]["arguments"]) == (call.name, call.arguments)


@pytest.mark.parametrize("key", ["__proto__", "Arguments", "NAME", "_Meta", "requeststate"])
def test_key_that_some_take_for_another_is_refused_in_a_call(key: str) -> None:
    message = Message.parse(json.dumps({"id": 1, "method": "tools/call", "params": {"name": "a", key: {}}}).encode())

    with pytest.raises(MessageRefused) as refused:
        ToolCall(message)

    assert json.loads(refused.value.answer)["id"] == 1
