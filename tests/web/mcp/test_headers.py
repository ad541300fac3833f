"""Headers repeat a message, and say the same as it; what belongs to one connection passes to no other."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict

from notifier_service.web.mcp.headers import NAME, RepeatedArguments, headers_for_own_request, mismatch, relayed_headers

PAGE = {
    "tools": [
        {"name": "move", "inputSchema": {"properties": {"to": {"properties": {"region": {"x-mcp-header": "Region"}}}}}},
        {"name": "odd", "inputSchema": {"properties": ["x-mcp-header"]}},
        "no tool",
    ]
}


@pytest.mark.parametrize(
    "told", [["approval_prompt"], [" approval_prompt "], ["=?base64?YXBwcm92YWxfcHJvbXB0?="]], ids=str
)
def test_name_is_the_same_in_every_form_that_a_header_may_have(told: list[str]) -> None:
    assert mismatch(CIMultiDict((NAME, name) for name in told), [(NAME, "approval_prompt")]) is None


@pytest.mark.parametrize("told", [[], ["a", "a"], ["b"], ["=?base64?a?="], ["=?base64?/w==?="]], ids=str)
def test_header_that_is_missing_or_doubled_or_says_another_name_is_told(told: list[str]) -> None:
    problem = mismatch(CIMultiDict((NAME, name) for name in told), [(NAME, "a")])

    assert problem == "The header Mcp-Name does not say what the message says."


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"to": {"region": "eu"}}, "eu"),
        ({"to": {"region": True}}, "true"),
        ({"to": {"region": "é"}}, "=?base64?w6k=?="),
        ({"to": {"region": "=?x"}}, "=?base64?PT94?="),
        ({"to": "eu"}, None),
        ({}, None),
    ],
)
def test_header_follows_the_argument_that_it_repeats(arguments: Any, told: str | None) -> None:
    repeated = RepeatedArguments()
    repeated.note(PAGE)

    headers = repeated.told_anew(CIMultiDict({"mcp-param-region": "us"}), "move", arguments)

    assert headers.get("Mcp-Param-Region") == told


def test_what_a_header_names_as_of_this_connection_does_not_pass() -> None:
    headers = CIMultiDict({"Connection": "close, X-Mine", "x-mine": "1", "Keep-Alive": "5", "X-Other": "2"})

    assert dict(relayed_headers(headers, {"cookie"})) == {"X-Other": "2"}


def test_own_request_has_nothing_of_the_call_in_whose_name_it_is_made() -> None:
    headers = CIMultiDict(
        {"Mcp-Method": "tools/call", "Mcp-Name": "move", "Mcp-Param-Region": "eu", "Last-Event-ID": "4", "X-Key": "k"}
    )

    assert dict(headers_for_own_request(headers, "tools/list")) == {"Mcp-Method": "tools/list", "X-Key": "k"}
