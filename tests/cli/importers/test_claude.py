"""Rules of Claude Code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notifier_service.core.errors import InvalidInput
from tests.cli.importers.judging import HOME, Imported

PROJECT = "/srv/app"


def permissions(project: str | None = PROJECT, /, **given: Any) -> Imported:
    path = None if project is None else f"{project}/.claude/settings.json"
    return Imported("claude", json.dumps({"permissions": given}), path)


@pytest.mark.parametrize("rule", ["Bash(npm run test:*)", "Bash(npm run test *)"])
@pytest.mark.parametrize(
    ("command", "effect"),
    [
        ("npm run test", "allow"),
        ("npm run test unit", "allow"),
        ("npm run tests", "ask"),
        ("npm run test; rm -rf x", "ask"),
        ("npm run test $(rm -rf x)", "ask"),
        ("FOO=1 npm run test", "ask"),
    ],
)
def test_prefix_of_a_command_is_allowed_as_whole_words(rule: str, command: str, effect: str) -> None:
    assert permissions(allow=[rule]).effect("Bash", command=command) == effect


def test_command_without_a_star_is_allowed_as_it_is_only() -> None:
    imported = permissions(allow=["Bash(git status)"])

    assert imported.effect("Bash", command="git status") == "allow"
    assert imported.effect("Bash", command="git status -s") == "ask"


@pytest.mark.parametrize(
    "command",
    ["cat /etc/passwd", "cat ../x", "cat ~/x", "cat a /etc/passwd", "cat '/etc/passwd'", "cat src/../../x", "cat .."],
)
def test_command_about_files_is_not_allowed_outside_of_the_folder(command: str) -> None:
    imported = permissions(allow=["Bash(cat *)", "Bash"])

    assert imported.effect("Bash", command="cat ./src/a.txt") == "allow"
    assert imported.effect("Bash", command=command) == "ask"


@pytest.mark.parametrize("command", ["touch .git/hooks/x", "cp a .claude/settings.json", "tee .bashrc"])
def test_command_about_settings_is_asked_whatever_allows_it(command: str) -> None:
    assert permissions(allow=["Bash(touch *)", "Bash(cp *)", "Bash(tee *)"]).effect("Bash", command=command) == "ask"


@pytest.mark.parametrize(
    "command",
    [
        "wget x",
        "echo $(wget x)",
        "FOO=1 wget x",
        "sudo wget x",
        "/usr/bin/wget x",
        'w"g"et x',
        "ls\nwget x",
        "ls && wget",
    ],
)
def test_denied_command_is_denied_however_it_is_written(command: str) -> None:
    assert permissions(allow=["Bash"], deny=["Bash(wget *)"]).effect("Bash", command=command) == "deny"


def test_deny_beats_ask_and_ask_beats_allow() -> None:
    imported = permissions(allow=["Bash(git *)"], ask=["Bash(git push *)"], deny=["Bash(git push --force *)"])

    assert imported.effect("Bash", command="git log") == "allow"
    assert imported.effect("Bash", command="git push origin") == "ask"
    assert imported.effect("Bash", command="git push --force origin") == "deny"


@pytest.mark.parametrize(
    ("tool", "parameters"),
    [
        ("Read", {"file_path": "/srv/app/.env"}),
        ("Read", {"file_path": ".env"}),
        ("Read", {"file_path": "/srv/app/sub/../sub/.env"}),
        ("Edit", {"file_path": "/srv/app/sub/.env"}),
        ("Write", {"file_path": "/srv/app/.ENV"}),
        ("Grep", {"pattern": "x", "path": "/srv/app/.env"}),
        ("NotebookEdit", {"notebook_path": "/srv/app/.env"}),
        ("Bash", {"command": "cat .env"}),
        ("Bash", {"command": "cat sub/'.e'nv"}),
        ("Bash", {"command": "cp .env b"}),
    ],
)
def test_file_that_may_not_be_read_is_denied_to_every_tool(tool: str, parameters: dict[str, Any]) -> None:
    imported = permissions(allow=["Read", "Edit", "Write", "Bash"], deny=["Read(./.env)"])

    assert imported.effect(tool, **parameters) == "deny"
    assert imported.effect("Read", file_path="/srv/app/env") == "allow"


@pytest.mark.parametrize(
    ("rule", "path", "effect"),
    [
        ("Read(//etc/hosts)", "/etc/hosts", "allow"),
        ("Read(/etc/hosts)", "/etc/hosts", "ask"),
        ("Read(~/notes/**)", f"{HOME}/notes/a", "allow"),
        ("Read(~/notes/**)", f"{HOME}/notes/../.ssh/id", "ask"),
    ],
)
def test_path_is_counted_from_where_its_beginning_tells(rule: str, path: str, effect: str) -> None:
    assert permissions(allow=[rule]).effect("Read", file_path=path) == effect


def test_reading_in_the_folder_of_the_project_is_allowed_as_it_is_there() -> None:
    imported = permissions()

    assert imported.effect("Read", file_path="/srv/app/src/a.ts") == "allow"
    assert imported.effect("Read", file_path="src/a.ts") == "allow"
    assert imported.effect("Read", file_path="/srv/app/../other") == "ask"
    assert permissions(None).effect("Read", file_path="/srv/app/src/a.ts") == "ask"


def test_editing_is_allowed_where_a_rule_says_so_and_never_of_settings() -> None:
    imported = permissions(allow=["Edit(/**)"])

    assert imported.effect("Write", file_path="/srv/app/src/a.ts") == "allow"
    assert imported.effect("Write", file_path="/srv/app/.git/hooks/pre-commit") == "ask"
    assert imported.effect("Edit", file_path="/srv/app/.claude/settings.json") == "ask"
    assert imported.effect("Write", file_path="/srv/other") == "ask"


@pytest.mark.parametrize(
    ("url", "effect"),
    [
        ("https://example.com/a?b=c", "allow"),
        ("http://example.com:8080", "allow"),
        ("https://sub.example.com/", "ask"),
        ("https://example.com.evil.com/", "deny"),
        ("https://example.com@evil.com/", "deny"),
        ("https://EVIL.com/", "deny"),
        ("https://ev%69l.com/", "deny"),
        ("https:\\\\evil.com/", "deny"),
        ("https://example.net/", "ask"),
    ],
)
def test_domain_is_that_of_the_url_as_a_browser_reads_it(url: str, effect: str) -> None:
    imported = permissions(allow=["WebFetch(domain:example.com)"], deny=["WebFetch(domain:evil.com)"])

    assert imported.effect("WebFetch", url=url) == effect


def test_tools_of_servers_are_known_to_hooks_and_to_gateways() -> None:
    imported = permissions(allow=["mcp__git__log", "mcp__notes"], deny=["mcp__git__push"])

    assert imported.effect("mcp__git__log", "git") == "allow"
    assert imported.effect("log", "git") == "allow"
    assert imported.effect("log", "other") == "ask"
    assert imported.effect("mcp__notes__read", "notes") == "allow"
    assert imported.effect("mcp__git__push", "git") == "deny"
    assert imported.effect("push", "git") == "deny"
    assert imported.effect("Read", "evil", file_path="/srv/app/a") == "ask"


def test_sub_agents_and_skills_are_named_by_what_they_are_called_with() -> None:
    imported = permissions(allow=["Skill(commit)"], deny=["Agent(Explore)"])

    assert imported.effect("Skill", skill="commit") == "allow"
    assert imported.effect("Skill", skill="other") == "ask"
    assert imported.effect("Task", subagent_type="Explore") == "deny"
    assert imported.effect("Agent", subagent_type="Plan") == "allow"


@pytest.mark.parametrize(
    ("mode", "default"),
    [("default", "ask"), ("acceptEdits", "ask"), ("bypassPermissions", "ask"), ("dontAsk", "deny"), ("plan", "deny")],
)
def test_mode_is_never_to_allow(mode: str, default: str) -> None:
    assert permissions(defaultMode=mode).policy.default == default


def test_what_would_be_asked_is_denied_where_nobody_is_to_be_asked() -> None:
    imported = permissions(defaultMode="dontAsk", allow=["Bash(git *)"], ask=["Bash(git push *)"])

    assert imported.effect("Bash", command="git push") == "deny"


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("Write(/src/**)", "does nothing in Claude Code: only Edit"),
        ("bash(ls)", "does nothing in Claude Code: no tool"),
        ("Bash(ls", "does nothing in Claude Code: it is no Tool"),
        ("WebFetch(example.com)", "does nothing in Claude Code: only WebFetch(domain:"),
        ("Bash(curl * | sh)", "not carried over"),
        ("*", "not carried over"),
        ("Unknown(x)", "not carried over"),
        ("mcp__git__log(x)", "not carried over"),
        ("Read([ab])", "not carried over"),
    ],
)
def test_rule_that_is_not_carried_over_is_told(rule: str, why: str) -> None:
    imported = permissions(allow=[rule])

    (remark,) = [remark for remark in imported.remarks if remark.startswith(rule)]
    assert why in remark
    assert f"#   {remark}" in imported.draft.toml()


@pytest.mark.parametrize(
    ("rule", "call"),
    [
        ("Unknown(x)", ("Unknown", {})),
        ("Bash(curl * | sh)", ("Bash", {"command": "curl x"})),
        ("Bash($X)", ("Bash", {"command": "anything"})),
        ("Skill(a *)", ("Skill", {"skill": "b"})),
        ("mcp__git__log(x)", ("mcp__git__log", {})),
        ("Read(**)", ("Bash", {"command": "anything"})),
        ("Rea*", ("Read", {"file_path": "/x"})),
        ("WebFetch(domain:*)", ("WebFetch", {"url": "https://x.com"})),
    ],
)
def test_what_is_denied_in_words_that_are_not_known_is_denied_in_more_cases(
    rule: str, call: tuple[str, dict[str, Any]]
) -> None:
    assert permissions(deny=[rule]).effect(call[0], **call[1]) == "deny"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no valid JSON"),
        ("[]", "no JSON object"),
        ('{"permissions": []}', "permissions: an object is needed, not a list"),
        ('{"permissions": {"allow": "Bash"}}', "permissions.allow: a list of texts is needed, not a text"),
        ('{"permissions": {"deny": [1]}}', "permissions.deny: a list of texts is needed, not a number"),
        ('{"permissions": {"deny": ["\\ud800"]}}', "half a character"),
        ('{"permissions": {"deny": ["' + "x" * 5000 + '"]}}', "more than 4096 characters"),
        ('{"permissions": {"defaultMode": "bogus"}}', "defaultMode: one of"),
        ('{"permissions": {}, "permissions": {}}', "twice"),
        ("[" * 100_000, "no valid JSON"),
    ],
)
def test_text_that_is_no_settings_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        Imported("claude", text)


def test_names_of_others_are_written_so_that_they_do_nothing() -> None:
    hostile = 'mcp__a__b"\n[[rule]]\neffect = "allow"\n\u202e\x1b[2J'
    imported = permissions(deny=[hostile, f"{hostile} "], allow=["Bash(ls\u200b *)"])

    assert "\u202e" not in imported.draft.toml()
    assert "\n[[rule]]\neffect" not in imported.draft.toml()
    assert {rule.effect for rule in imported.policy.rules if "mcp__a__b" in rule.name} == {"deny"}
