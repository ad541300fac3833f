"""A policy file that does not load at the start keeps the command from starting: nothing is let run without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from notifier_service.cli import main

BROKEN = """default = "by-risk"

[[rule]]
name = "a"
effect = "permit"
tool = "rm"
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.mark.parametrize(
    "command",
    [
        ["serve", "--port", "0"],
        ["demo", "--port", "0"],
        ["gateway", "stdio", "COMMAND"],
        ["gateway", "http", "--port", "0", "http://127.0.0.1:9/mcp"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_command_ends_with_the_line_and_the_reason(command: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    Path("policy.toml").write_text(BROKEN)
    behind = len(command) if "COMMAND" not in command else command.index("COMMAND")

    assert main([*command[:behind], "--policy-file", "policy.toml", *command[behind:]]) == 2
    assert "policy.toml:5: " in capfd.readouterr().err


@pytest.mark.parametrize("where", ["variable", "flag"])
def test_file_that_is_not_there_is_told(
    where: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["serve", "--port", "0"]
    if where == "variable":
        monkeypatch.setenv("NOTIFIER_POLICY_FILE", "none.toml")
    else:
        arguments += ["--policy-file", "none.toml"]

    assert main(arguments) == 2
    assert "none.toml:1: " in capfd.readouterr().err


@pytest.mark.parametrize("kind", [["stdio", "COMMAND"], ["http", "http://127.0.0.1:9/mcp"]], ids=lambda kind: kind[0])
def test_gateway_that_asks_a_service_has_no_policy_of_its_own(
    kind: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["--service", "http://127.0.0.1:9", "--policy-file", "policy.toml"]

    assert main(["gateway", kind[0], *options, kind[1]]) == 2
    assert "the policy of that service decides" in capfd.readouterr().err
