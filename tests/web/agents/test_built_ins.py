"""How risky the agents' own tools are, and what they are given."""

from __future__ import annotations

from typing import Any

import pytest

from notifier_service.web.agents.built_ins import risk_by_agent

HERE = "/srv/app"
PATCH = "*** Begin Patch\n*** Update File: {}\n-a\n+b\n*** End Patch"


@pytest.mark.parametrize(
    ("tool", "parameters", "level", "code"),
    [
        ("TodoWrite", {"todos": []}, "low", None),
        ("Task", {"prompt": "delete all"}, "low", None),
        ("update_plan", {}, "low", None),
        # Reading
        ("Read", {"file_path": "/srv/app/a.py"}, "low", None),
        ("read_file", {"absolute_path": "/srv/app/a.py"}, "low", None),
        ("view", {"path": "a.py"}, "low", None),
        ("Glob", {"pattern": "**/*.py"}, "low", None),
        ("Grep", {"pattern": "/etc/shadow", "path": "src"}, "low", None),
        ("Read", {"file_path": "/srv/other/a.py"}, "medium", "reads_outside"),
        ("Read", {"file_path": "../other/a.py"}, "medium", "reads_outside"),
        ("LS", {"path": "/etc"}, "medium", "reads_outside"),
        ("Glob", {"pattern": "/etc/*"}, "medium", "reads_outside"),
        ("Read", {"file_path": "/srv/app/.env"}, "medium", "reads_secret_file"),
        ("Read", {"file_path": "/home/a/.ssh/id_rsa"}, "medium", "reads_secret_file"),
        ("Read", {"file_path": "/etc/shadow"}, "medium", "reads_secret_file"),
        ("Grep", {"pattern": "KEY", "glob": ".env*"}, "medium", "reads_secret_file"),
        ("read_many_files", {"paths": ["a", ".env"]}, "medium", "reads_secret_file"),
        # Editing
        ("Edit", {"file_path": "/srv/app/a.py", "old_string": "/etc/passwd", "new_string": ""}, "medium", None),
        ("write_file", {"file_path": "a.py", "content": "x"}, "medium", None),
        ("Write", {"file_path": "/srv/other/a.py", "content": "x"}, "high", "writes_outside"),
        ("Write", {"file_path": "/etc/cron.d/x", "content": "x"}, "high", "writes_outside"),
        ("Write", {"file_path": "/srv/app/.env", "content": "x"}, "high", "writes_outside"),
        ("Edit", {"file_path": "/srv/app/.git/hooks/pre-commit"}, "high", "changes_guards"),
        ("Write", {"file_path": ".claude/settings.json"}, "high", "changes_guards"),
        ("apply_patch", {"input": PATCH.format("a.py")}, "medium", None),
        ("apply_patch", {"command": PATCH.format("../../etc/passwd")}, "high", "writes_outside"),
        ("patch", {"patchText": PATCH.format(".mcp.json")}, "high", "changes_guards"),
        ("read_many_files", {"paths": ["a"] * 300}, "medium", "not_looked_through"),
        ("MultiEdit", {"edits": [{"file_path": "a"}] * 300}, "high", "not_looked_through"),
        # The web
        ("WebFetch", {"url": "https://a.example"}, "medium", "asks_the_web"),
        ("google_web_search", {"query": "x"}, "medium", "asks_the_web"),
        # Commands
        ("Bash", {"command": "git status && ls -la src | head -5"}, "low", None),
        ("run_shell_command", {"command": "cat a.py 2>/dev/null"}, "low", None),
        ("shell", {"command": ["grep", "-r", "x", "src"]}, "low", None),
        ("Bash", {"command": "cat /srv/other/a"}, "medium", "reads_outside"),
        ("Bash", {"command": "cat ../../etc/hosts"}, "medium", "reads_outside"),
        ("Bash", {"command": "grep -f/etc/hosts x"}, "medium", "reads_outside"),
        ("Bash", {"command": "diff --from-file=/etc/hosts a"}, "medium", "reads_outside"),
        ("Bash", {"command": "cat .env"}, "medium", "reads_secret_file"),
        ("exec_command", {"cmd": "cat hosts", "workdir": "/etc"}, "medium", "reads_outside"),
        ("run_shell_command", {"command": "ls", "dir_path": "src"}, "low", None),
        ("Bash", {"command": "cat a > b"}, "high", None),
        ("Bash", {"command": "cat $(rm -rf /)"}, "high", None),
        ("Bash", {"command": "ls; rm a"}, "high", None),
        ("Bash", {"command": "npm test"}, "high", None),
        ("Bash", {"command": "ls", "dangerouslyDisableSandbox": True}, "high", None),
        ("Bash", {"command": "ls", "env": {"PATH": "."}}, "high", None),
        ("Bash", {}, "high", None),
        ("Bash", {"command": 7}, "high", None),
        # What is not known
        ("KillShell", {}, "high", None),
        ("read_File", {}, "high", None),
        ("Reаd", {"file_path": "a"}, "high", None),
        # Tools of servers, of which a hook tells no hints
        ("mcp__files__read_file", {"path": "a"}, "medium", "called_reading"),
        ("mcp__files__Read", {"file_path": "a"}, "medium", "called_reading"),
        ("mcp__files__delete", {}, "high", "hints_missing"),
        ("mcp__x", {}, "high", "hints_missing"),
    ],
)  # fmt: skip
def test_agents_own_tools_are_rated_by_what_they_are_given(
    tool: str, parameters: dict[str, Any], level: str, code: str | None
) -> None:
    rated = risk_by_agent(tool, parameters, folder=HERE)

    assert (rated.level, next((reason.code for reason in rated.reasons), None)) == (level, code)


@pytest.mark.parametrize("folder", [None, 7, "/", "/home/ana", "/etc", "app"])
@pytest.mark.parametrize(
    ("tool", "parameters", "level"),
    [
        ("Read", {"file_path": "/srv/app/a"}, "low"),
        ("Read", {"file_path": "/etc/hosts"}, "medium"),
        ("Write", {"file_path": "/srv/app/a"}, "medium"),
        ("Write", {"file_path": "/etc/hosts"}, "high"),
        ("Bash", {"command": "ls"}, "medium"),
    ],
)
def test_without_a_folder_to_work_in_only_what_is_certain_counts(
    tool: str, parameters: dict[str, Any], level: str, folder: object
) -> None:
    assert risk_by_agent(tool, parameters, folder=folder).level == level


def test_tool_of_a_server_is_not_trusted_for_the_name_of_an_agents_own() -> None:
    assert risk_by_agent("Read", {"file_path": "a"}, folder=HERE, is_of_server=True).level == "medium"
    assert risk_by_agent("TodoWrite", {}, folder=HERE, is_of_server=True).level == "high"
