"""A tool is as risky as its server says, and as risky as can be where the server says nothing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from notifier_service.calls.risk import RatedRisk, risk_of_annotations, risk_of_call, risk_of_tool

#: What 22 servers of npm and PyPI list: names, hints and parameters, and by hand which are no harmless reading.
REAL: dict[str, list[dict[str, Any]]] = json.loads(Path(__file__).with_name("real_tools.json").read_text())

LEVELS = [
    (None, "high"),
    ({}, "high"),
    ({"title": "Read"}, "high"),
    ({"readOnlyHint": True, "openWorldHint": False}, "low"),
    ({"readOnlyHint": True}, "low"),
    ({"readOnlyHint": True, "openWorldHint": True}, "medium"),
    # What only reads destroys nothing, whatever else the server says.
    ({"readOnlyHint": True, "destructiveHint": True, "openWorldHint": False}, "low"),
    ({"destructiveHint": False, "openWorldHint": False}, "medium"),
    ({"readOnlyHint": False, "destructiveHint": False, "openWorldHint": False}, "medium"),
    ({"destructiveHint": False}, "medium"),
    ({"destructiveHint": False, "openWorldHint": True}, "high"),
    ({"destructiveHint": True, "openWorldHint": False}, "high"),
    ({"openWorldHint": False}, "high"),
    ({"readOnlyHint": False}, "high"),
    # Only a boolean is an answer.
    ({"readOnlyHint": 1, "openWorldHint": 0}, "high"),
    ({"readOnlyHint": "true", "openWorldHint": "false"}, "high"),
    ({"readOnlyHint": True, "openWorldHint": None}, "low"),
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


# What a name and parameters say against the hints

READS = {"readOnlyHint": True}
CLOSED = READS | {"openWorldHint": False}
ADDS = {"destructiveHint": False, "openWorldHint": False}


def tool(name: str, annotations: dict[str, Any] | None = None, *parameters: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {parameter: {"type": "string"} for parameter in parameters}}
    return {"name": name, "annotations": annotations, "inputSchema": schema}


@pytest.mark.parametrize(
    ("listed", "level", "code"),
    [
        # Hints that nothing speaks against.
        (tool("get_issue", READS, "owner", "number"), "low", "only_reads"),
        (tool("read_file", CLOSED, "path"), "low", "only_reads"),
        (tool("sequentialthinking", CLOSED, "thought"), "low", "only_reads"),
        (tool("get_workflow_run", READS, "id"), "low", "only_reads"),
        (tool("create_entities", ADDS, "entities"), "medium", "destroys_nothing"),
        # A name that says more.
        (tool("delete_file", CLOSED, "path"), "high", "name_disagrees"),
        (tool("deleteAllFiles", READS), "high", "name_disagrees"),
        (tool("send_mail", CLOSED), "high", "name_disagrees"),
        (tool("pay", READS), "high", "name_disagrees"),
        (tool("exec-sql", CLOSED), "high", "name_disagrees"),
        (tool("update_issue", READS), "high", "name_disagrees"),
        (tool("drop_table", ADDS), "high", "name_disagrees"),
        (tool("ｄｅｌｅｔｅ", CLOSED), "high", "name_disagrees"),
        # A look-alike may be any name.
        (tool("dеlete_file", CLOSED), "medium", "letters_mixed"),
        (tool("crеate", ADDS), "high", "letters_mixed"),
        # Parameters that say more.
        (tool("helper", CLOSED, "command"), "high", "parameters_disagree"),
        (tool("read", CLOSED, "amount", "currency"), "high", "parameters_disagree"),
        (tool("lookup", READS, "to", "subject", "body"), "high", "parameters_disagree"),
        # What it reads is not harmless.
        (tool("get-env", CLOSED), "medium", "reads_secrets"),
        (tool("list_api_keys", READS), "medium", "reads_secrets"),
        (tool("fetch_page", CLOSED, "url"), "medium", "takes_addresses"),
        (tool("web_search", READS, "query"), "medium", "only_reads"),
        (tool("web_search", CLOSED, "query"), "low", "only_reads"),
        (tool("search", READS | {"openWorldHint": True}, "query"), "medium", "only_reads"),
        # Without hints: never low, whatever it is called.
        (tool("get_issue", None, "number"), "medium", "called_reading"),
        (tool("listCommits", {}), "medium", "called_reading"),
        (tool("get_env"), "high", "hints_missing"),
        (tool("query", None, "sql"), "high", "hints_missing"),
        (tool("reаd"), "high", "hints_missing"),
        (tool("get_and_delete"), "high", "hints_missing"),
        (tool("frobnicate"), "high", "hints_missing"),
        # Nothing makes a hint milder.
        (tool("get_issue", {"readOnlyHint": False}), "high", "may_destroy_unsaid"),
        (tool("list", {"destructiveHint": True}), "high", "may_destroy"),
        (tool("add_note", {"destructiveHint": False, "openWorldHint": True}), "high", "destroys_nothing"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else value,
)
def test_risk_is_the_higher_of_what_the_hints_and_the_name_say(listed: dict[str, Any], level: str, code: str) -> None:
    rated = risk_of_tool(listed)

    assert (rated.level, rated.reasons[0].code) == (level, code)


@pytest.mark.parametrize(
    "schema",
    [
        None,
        [],
        {"properties": []},
        {"properties": {1: {}, "a": None}},
        {"items": {"items": {"items": {"items": {"items": {"items": {}}}}}}},
        {"properties": {f"p{n}": {"properties": {f"q{m}": {} for m in range(100)}} for n in range(1000)}},
    ],
)
def test_schema_that_is_none_or_huge_is_no_reason_to_fail(schema: Any) -> None:
    assert risk_of_tool({"name": "read", "annotations": CLOSED, "inputSchema": schema}).level == "low"


def test_parameters_within_lists_and_objects_count() -> None:
    inner = {"type": "array", "items": {"properties": {"command": {"type": "string"}}}}

    assert (
        risk_of_tool({"name": "read", "annotations": CLOSED, "inputSchema": {"properties": {"steps": inner}}}).level
        == "high"
    )


def test_name_that_is_no_text_says_nothing() -> None:
    assert risk_of_tool({"name": ["delete"], "annotations": CLOSED}).level == "low"


@pytest.mark.parametrize(
    ("parameters", "level"),
    [
        ({"path": "src/a.py"}, "low"),
        ({"path": "/home/a/.ssh/id_rsa"}, "medium"),
        ({"path": ".env"}, "medium"),
        ({"paths": ["a", {"b": "../.env"}]}, "medium"),
        ({"uri": "file:///etc/shadow"}, "medium"),
        ({"resourceType": "secrets"}, "medium"),
        ({"resourceType": "pod"}, "low"),
        ({"query": "secrets"}, "low"),
        ({"paths": ["a"] * 200 + [".env"]}, "medium"),
        ({"a": {"b": {"c": {"d": {"e": {"f": {"g": ".env"}}}}}}}, "medium"),
        ({"thought": "a/b " * 100_000}, "low"),
        ({"path": "x" * 5000 + "/.env"}, "low"),
    ],
)
def test_a_call_that_reads_where_keys_lie_is_riskier_than_its_tool(parameters: dict[str, Any], level: str) -> None:
    rated = risk_of_call(risk_of_annotations(CLOSED), parameters)

    assert rated.level == level
    assert risk_of_call(risk_of_annotations(None), parameters) == risk_of_annotations(None)


# Real servers


def test_no_real_tool_that_changes_something_or_reads_secrets_is_low() -> None:
    low = {
        (server, listed["name"])
        for server, tools in REAL.items()
        for listed in tools
        if listed.get("is_grave") and of_real(listed).level == "low"
    }

    assert low == set()


def test_real_tools_that_call_themselves_read_only_run_unasked() -> None:
    asking = [
        (server, listed["name"], of_real(listed).reasons[0].code)
        for server, tools in REAL.items()
        for listed in tools
        if listed.get("annotations", {}).get("readOnlyHint") is True
        and "openWorldHint" not in listed["annotations"]
        and of_real(listed).level != "low"
    ]

    assert asking == [("desktop-commander", "start_search", "name_disagrees")]


def test_few_of_the_real_tools_that_have_hints_ask() -> None:
    rated = [of_real(listed).level for tools in REAL.values() for listed in tools]

    assert (len(rated), sum(level != "low" for level in rated)) == (276, 207)


def of_real(listed: dict[str, Any]) -> RatedRisk:
    return risk_of_tool(tool(listed["name"], listed.get("annotations"), *listed["parameters"]))
