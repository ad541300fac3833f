"""Rules of Gemini CLI."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notifier_service.core.errors import InvalidInput
from tests.cli.importers.judging import Imported


def rules(*given: dict[str, Any]) -> Imported:
    return Imported("gemini", toml(*given))


def toml(*given: dict[str, Any]) -> str:
    tables = [{"priority": 100, "toolName": "run_shell_command", **rule} for rule in given]
    # JSON of texts, numbers and lists of them is TOML, too.
    return "\n".join(
        "[[rule]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items()) for table in tables
    )


ALLOW_GIT = {"commandPrefix": "git status", "decision": "allow"}


@pytest.mark.parametrize(
    ("command", "effect"),
    [
        ("git status", "allow"),
        ("git status -s", "allow"),
        ("git statusx", "ask"),
        ("git  status", "ask"),
        ("'git' status", "ask"),
        ("git status 2>&1", "ask"),
        ("git status > /dev/null", "ask"),
        ("git status && git status -s", "allow"),
        ("git status; rm x", "ask"),
    ],
)
def test_prefix_is_compared_as_it_is_written(command: str, effect: str) -> None:
    assert rules(ALLOW_GIT).effect("run_shell_command", command=command) == effect


def test_ask_of_lower_priority_becomes_the_default_behind_an_allow() -> None:
    imported = rules(
        ALLOW_GIT,
        {"decision": "ask_user", "priority": 50},
        {"commandPrefix": "npm test", "decision": "allow", "priority": 10},
    )

    assert imported.effect("run_shell_command", command="git status") == "allow"
    assert imported.effect("run_shell_command", command="npm test") == "ask"
    assert any("npm test" in remark and "comes before it" in remark for remark in imported.remarks)


def test_deny_of_lower_priority_beats_an_allow_which_is_told() -> None:
    imported = rules(ALLOW_GIT, {"commandPrefix": "git", "decision": "deny", "priority": 1, "denyMessage": "no git"})

    assert imported.effect("run_shell_command", command="git status") == "deny"
    assert any("a deny beats an allow here" in remark for remark in imported.remarks)
    assert "no git" in {rule.justification for rule in imported.policy.rules}


@pytest.mark.parametrize(
    ("given", "tool", "server", "effect"),
    [
        ({"mcpName": "files", "toolName": "read"}, "mcp_files_read", "files", "allow"),
        ({"mcpName": "files", "toolName": "read"}, "read", "files", "allow"),
        ({"mcpName": "files", "toolName": "read"}, "mcp_files_read", "other", "ask"),
        ({"mcpName": "files", "toolName": "*"}, "mcp_files_write", "files", "allow"),
        ({"mcpName": "files", "toolName": "*"}, "write", "files", "ask"),
        ({"mcpName": "files", "toolName": "*"}, "mcp_files_x_write", "files_x", "ask"),
        ({"toolName": "mcp_files_*"}, "mcp_files_write", "files", "allow"),
        ({"toolName": "mcp_files_*"}, "mcp_files_x_write", "files_x", "ask"),
        ({"toolName": "mcp_*"}, "mcp_pay_send", "pay", "allow"),
        ({"toolName": "mcp_*"}, "mcp_pay_send", None, "ask"),
        ({"toolName": ["read_file", "glob"]}, "glob", None, "allow"),
        ({"toolName": "read_file"}, "read_file", "evil", "ask"),
        ({"toolName": "search_file_content"}, "grep_search", None, "allow"),
        ({"toolName": "*"}, "read_file", None, "ask"),
        ({"toolName": "run_shell_command"}, "run_shell_command", None, "ask"),
    ],
)
def test_tools_are_allowed_by_name_and_server(
    given: dict[str, Any], tool: str, server: str | None, effect: str
) -> None:
    assert rules({**given, "decision": "allow"}).effect(tool, server, command="ls") == effect


@pytest.mark.parametrize(
    ("given", "tool", "server"),
    [
        ({"toolName": "mcp_my_srv_read"}, "mcp_my_srv_read", None),
        ({"toolName": "mcp_my_srv_read"}, "read", "my_srv"),
        ({"toolName": "mcp_my_srv_read"}, "srv_read", "my"),
        ({"toolName": "mcp_*"}, "read", "any"),
        ({"mcpName": "files", "toolName": "*"}, "mcp_files_x", "files"),
        ({"toolName": "helper"}, "helper", None),
        ({"toolName": "*"}, "read_file", None),
    ],
)
def test_denied_tools_are_denied_under_all_their_names(given: dict[str, Any], tool: str, server: str | None) -> None:
    assert rules({**given, "decision": "deny"}).effect(tool, server) == "deny"


def test_denied_agent_is_denied_as_a_tool_and_as_what_is_invoked() -> None:
    imported = rules({"toolName": "helper", "decision": "deny"})

    assert imported.effect("invoke_agent", agent_name="helper") == "deny"
    assert imported.effect("invoke_agent", agent_name="other") == "ask"


@pytest.mark.parametrize(
    "condition",
    [{"modes": ["autoEdit"]}, {"interactive": True}, {"subagent": "x"}, {"argsPattern": "x"}, {"bogus": 1}],
    ids=str,
)
def test_condition_that_is_not_known_here_allows_nothing_and_denies_in_every_case(condition: dict[str, Any]) -> None:
    tool = {"toolName": "web_fetch", **condition}

    assert rules({**tool, "decision": "allow"}).effect("web_fetch", url="x") == "ask"
    assert rules({**tool, "decision": "deny"}).effect("web_fetch", url="x") == "deny"


def test_what_gemini_cli_itself_kept_as_allowed_is_allowed() -> None:
    pattern = r'\0"file_path":"src/a\.txt"\0'
    imported = rules({"toolName": "write_file", "argsPattern": pattern, "decision": "allow"})

    assert imported.effect("write_file", file_path="src/a.txt", content="x") == "allow"
    assert imported.effect("write_file", file_path="src/b.txt", content="x") == "ask"


@pytest.mark.parametrize(
    ("command", "effect"),
    [("rm -rf x", "deny"), ("echo $(rm -rf x)", "deny"), ("rmdir x", "ask"), ("rm x", "ask")],
)
def test_denied_expression_of_a_command_is_denied_wherever_its_beginning_stands(command: str, effect: str) -> None:
    assert (
        rules({"commandRegex": "rm -rf .*", "decision": "deny"}).effect("run_shell_command", command=command) == effect
    )


def test_denied_expression_that_is_not_understood_denies_every_command() -> None:
    imported = rules({"commandRegex": "(a|b).*", "decision": "deny"})

    assert imported.effect("run_shell_command", command="ls") == "deny"


def test_writing_what_builds_is_asked_whatever_allows_it() -> None:
    imported = rules({"toolName": "write_file", "decision": "allow"})

    assert imported.effect("write_file", file_path="src/a.txt") == "allow"
    assert imported.effect("write_file", file_path="sub/package.json") == "ask"


def test_safety_checker_becomes_an_ask() -> None:
    checker = '[[safety_checker]]\ntoolName = "web_fetch"\n[safety_checker.checker]\ntype = "external"\nname = "x"\n'
    imported = Imported("gemini", toml({"toolName": "web_fetch", "decision": "allow"}) + checker)

    assert imported.effect("web_fetch", url="x") == "ask"


def test_name_that_no_tool_has_does_nothing_which_is_told() -> None:
    imported = rules({"toolName": "read_*", "decision": "allow"}, {"toolName": "x", "mcpName": "*", "decision": "deny"})

    assert [remark for remark in imported.remarks if "does nothing in Gemini CLI" in remark] == imported.remarks
    assert imported.effect("read_file") == "ask"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[rule]\n", "no valid TOML"),
        ("a = " + "9" * 5000, "no valid TOML"),
        ("rule = 1", "rule: a list of tables is needed, not a number"),
        ("rule = [1]", "rule: a list of tables is needed"),
        (toml({"decision": "maybe"}), "decision: one of allow, ask_user, deny is needed"),
        (toml({"decision": "allow", "priority": 1000}), "priority: a whole number from 0 to 999"),
        (toml({"decision": "allow", "priority": True}), "priority: a whole number"),
        (toml({"decision": "allow", "toolName": ""}), "toolName is empty"),
        (toml({"decision": "allow", "toolName": 1}), "toolName: a list of texts is needed"),
        (toml({"decision": "allow", "modes": ["x"]}), "modes: of"),
        (toml({"decision": "allow", "commandPrefix": [1]}), "commandPrefix: a list of texts is needed"),
        (toml({"decision": "allow", "mcpName": ""}), "mcpName is empty"),
        (toml({"decision": "allow", "interactive": "yes"}), "interactive: true or false is needed"),
        ('[[rule]]\ntoolName = "x"\npriority = 1\n', "decision is needed"),
        (toml(*({"decision": "allow", "toolName": f"t{n}"} for n in range(2001))), "more than 2000 rules"),
    ],
)
def test_text_that_is_no_policy_of_gemini_cli_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        Imported("gemini", text)
