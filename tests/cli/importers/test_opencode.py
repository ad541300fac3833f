"""Rules of opencode."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notifier_service.core.errors import InvalidInput
from tests.cli.importers.judging import Imported

PROJECT = "/srv/app"


def permission(given: Any, project: str | None = PROJECT, **more: Any) -> Imported:
    text = json.dumps({"permission": given, **more})
    return Imported("opencode", text, None if project is None else f"{project}/opencode.json")


@pytest.mark.parametrize(
    ("command", "effect"),
    [
        ("git", "allow"),
        ("git status", "allow"),
        ('git commit -m "a message"', "allow"),
        ("git status && git log", "allow"),
        ("'git' status", "ask"),
        ("git push origin", "ask"),
        ("git push --force", "deny"),
        ("git status; git push --force", "deny"),
        ("git diff /etc/passwd", "ask"),
        ("git diff ../x", "ask"),
        ("ls", "ask"),
    ],
)
def test_last_rule_that_matches_a_command_decides(command: str, effect: str) -> None:
    imported = permission({"bash": {"*": "ask", "git *": "allow", "git push *": "ask", "git push --force*": "deny"}})

    assert imported.effect("bash", command=command) == effect


def test_rule_that_a_later_one_replaces_allows_nothing() -> None:
    imported = permission({"bash": {"git *": "allow", "*": "ask"}})

    assert imported.effect("bash", command="git status") == "ask"


def test_ask_for_everything_becomes_the_default_behind_what_is_allowed() -> None:
    imported = permission({"*": "ask", "webfetch": "allow"})

    assert imported.policy.default == "ask"
    assert imported.effect("webfetch", url="https://x") == "allow"
    assert imported.effect("read", filePath="/srv/app/a") == "ask"


def test_deny_of_everything_is_the_default_and_a_rule() -> None:
    imported = permission("deny")

    assert imported.policy.default == "deny"
    assert imported.effect("anything") == "deny"


@pytest.mark.parametrize(
    ("tool", "path", "effect"),
    [
        ("read", "/srv/app/src/a.ts", "allow"),
        ("read", "src/a.ts", "allow"),
        ("read", "/srv/app/../other", "ask"),
        ("read", "/etc/passwd", "ask"),
        ("edit", "/srv/app/src/deep/a.ts", "allow"),
        ("write", "/srv/app/docs/a.md", "ask"),
        ("edit", "/srv/app/src/.env", "deny"),
    ],
)
def test_paths_are_counted_from_the_folder_of_the_project(tool: str, path: str, effect: str) -> None:
    imported = permission({"read": "allow", "edit": {"*": "ask", "src/*": "allow", "*.env": "deny"}})

    assert imported.effect(tool, filePath=path) == effect


def test_patch_is_denied_where_it_names_what_may_not_be_edited() -> None:
    imported = permission({"edit": {"*.env": "deny"}})

    assert imported.effect("apply_patch", patchText="*** Update File: prod.env\n") == "deny"
    assert imported.effect("apply_patch", patchText="*** Update File: a.txt\n") == "ask"


def test_file_that_is_for_every_project_allows_no_paths() -> None:
    imported = permission({"read": "allow"}, None)

    assert imported.effect("read", filePath="/srv/app/a") == "ask"
    assert any("the folder of the project is not known" in remark for remark in imported.remarks)


@pytest.mark.parametrize(
    ("tool", "parameters", "effect"),
    [
        ("read", {"filePath": "/etc/passwd"}, "deny"),
        ("read", {"filePath": "/srv/app/../x"}, "deny"),
        ("read", {"filePath": "/srv/apple/x"}, "deny"),
        ("read", {"filePath": "/srv/app/x"}, "allow"),
        ("bash", {"command": "cat /etc/passwd"}, "deny"),
        ("bash", {"command": "ls", "workdir": "/etc"}, "deny"),
        ("bash", {"command": "ls"}, "ask"),
    ],
)
def test_what_lies_outside_is_denied(tool: str, parameters: dict[str, Any], effect: str) -> None:
    assert permission({"read": "allow", "external_directory": "deny"}).effect(tool, **parameters) == effect


@pytest.mark.parametrize(
    "project", ["/srv/app", "/home/anna/work/a-project_with.a/long/name/in/a/deep/folder", "/x" * 200]
)
def test_what_lies_outside_of_a_folder_is_denied_however_long_its_name_is(project: str) -> None:
    imported = permission({"read": "allow", "external_directory": "deny"}, project)

    for outside in ("/", "/etc/passwd", project[:-1], f"{project}x/a", f"{project}/../a", "~/a", "../a"):
        assert imported.effect("read", filePath=outside) == "deny"
    assert imported.effect("read", filePath="src/a") == "allow"


@pytest.mark.parametrize("parameters", [{"workdir": "/etc"}, {"workdir": "../x"}])
def test_command_in_another_folder_is_asked_whatever_allows_it(parameters: dict[str, Any]) -> None:
    assert permission({"bash": "allow"}).effect("bash", command="ls", **parameters) == "ask"


def test_what_one_agent_may_not_is_for_all_and_what_one_may_is_for_none() -> None:
    imported = permission(
        {"bash": {"ls *": "allow"}},
        agent={"build": {"permission": {"bash": {"rm *": "deny"}, "webfetch": "allow"}}},
    )

    assert imported.effect("bash", command="rm x") == "deny"
    assert imported.effect("webfetch", url="x") == "ask"
    assert imported.effect("bash", command="ls src") == "allow"


def test_tool_that_is_switched_off_is_denied() -> None:
    imported = permission({}, tools={"bash": False, "write": False, "webfetch": True})

    assert imported.effect("bash", command="ls") == "deny"
    assert imported.effect("edit", filePath="a") == "deny"
    assert imported.effect("webfetch", url="x") == "allow"


def test_keys_that_are_numbers_come_first_as_in_javascript() -> None:
    imported = permission({"webfetch": {"https://x": "deny", "1": "allow"}})

    assert imported.effect("webfetch", url="https://x") == "deny"


def test_comments_and_commas_at_ends_are_read_over() -> None:
    text = '{ // of the project\n "permission": {"webfetch": {"https://a//b": "allow", /* , } */ }, },\n}'

    assert Imported("opencode", text).effect("webfetch", url="https://a//b") == "allow"


def test_tool_of_a_server_with_the_name_of_an_own_one_is_asked() -> None:
    assert permission({"webfetch": "allow"}).effect("webfetch", "evil", url="x") == "ask"


@pytest.mark.parametrize(
    ("given", "tool", "parameters"),
    [
        ({"pay_*": "deny"}, "pay_send", {}),
        ({"*sh": "deny"}, "bash", {"command": "ls"}),
        ({"bash": {"$(x)": "deny"}}, "bash", {"command": "ls"}),
        ({"custom": {"a*": "deny"}}, "custom", {}),
        ({"task": {"gen*": "deny"}}, "task", {"subagent_type": "general"}),
    ],
)
def test_what_is_denied_is_denied_in_at_least_these_cases(
    given: dict[str, Any], tool: str, parameters: dict[str, Any]
) -> None:
    assert permission(given).effect(tool, **parameters) == "deny"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"permission": 1}', "permission: an effect or an object is needed, not a number"),
        ('{"permission": {"bash": []}}', "permission: an effect or an object is needed, not a list"),
        ('{"permission": {"bash": "maybe"}}', "permission.bash: one of allow, ask, deny is needed"),
        ('{"permission": {"bash": {"*": 1}}}', "permission.bash: one of"),
        ('{"agent": []}', "agent: an object is needed, not a list"),
        ('{"agent": {"build": 1}}', "agent.build: an object is needed"),
        ('{"tools": {"bash": "no"}}', "tools.bash: true or false is needed, not a text"),
        ('{"permission": {"bash": "ask", "bash": "allow"}}', "twice"),
        ('{"permission": /* open', "no valid JSON"),
        ("[1]", "no JSON object"),
    ],
)
def test_text_that_is_no_config_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        Imported("opencode", text)
