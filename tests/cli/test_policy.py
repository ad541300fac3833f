"""``policy check`` and ``policy explain``: what a file says, before a service reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from notifier_service.cli import main

POLICY = """\
[risk."*"]
"peek" = "low"

[[rule]]
name = "read the app"
effect = "allow"
tool = "read_file"
server = "files"
session = "team-*"
agent = "claude-code"
parameters = { "/path" = { glob = "/srv/app/**" } }
justification = "reads only"

[[rule]]
name = "look at git"
effect = "allow"
command = ["git status *", "git diff *"]

[[rule]]
name = "no deleting"
effect = "deny"
command = "rm *"
justification = "move it to /trash"
"""


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFIER_POLICY_FILE", raising=False)
    monkeypatch.delenv("NOTIFIER_ASK_FROM_RISK", raising=False)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return str(path)


Captured = pytest.CaptureFixture[str]


def explained(capsys: Captured, *arguments: str) -> dict[str, Any]:
    assert main(["policy", "explain", *arguments, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_file_that_loads_is_checked_with_its_number_of_rules(file: str, capsys: Captured) -> None:
    assert main(["policy", "check", file]) == 0
    assert capsys.readouterr() == ("3 rules\n", "")


def test_file_with_one_rule_has_one_rule(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "one.toml"
    path.write_text('[[rule]]\nname = "a"\neffect = "ask"\nuntil = 2020-01-01T00:00:00Z')

    assert main(["policy", "check", str(path)]) == 0
    out, err = capsys.readouterr()
    assert out == "1 rule\n"
    assert err.startswith(f"{path}:4: ")
    assert "until has passed" in err


@pytest.mark.parametrize("command", [["check"], ["explain", "t", "--policy-file"]])
def test_file_that_does_not_load_is_refused_by_line_and_reason(file: str, command: list[str], capsys: Captured) -> None:
    path = Path(file)
    path.write_text(POLICY + 'tols = "x"\n')

    assert main(["policy", *command, file]) == 1
    assert capsys.readouterr() == ("", f'{file}:24: rule "no deleting": unknown key "tols": did you mean tool?\n')


@pytest.mark.parametrize("name", ["", "nowhere", "\0"])
def test_what_is_no_file_is_refused_in_one_line(tmp_path: Path, name: str, capsys: Captured) -> None:
    assert main(["policy", "check", f"{tmp_path}/{name}"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert ":1: it cannot be read" in err


def test_explanation_tells_effect_rule_reasons_and_why(file: str, capsys: Captured) -> None:
    answer = explained(
        capsys, "read_file", "--parameters", '{"path": "/srv/app/a.py"}', "--session", "team-1", "--server", "files",
        "--agent", "claude-code", "--risk", "high", "--policy-file", file,
    )  # fmt: skip

    assert (answer["effect"], answer["rule"]) == ("allow", "read the app")
    assert answer["reasons"] == ['policy rule "read the app" allows it: reads only']
    assert [found["rule"] for found in answer["matched"]] == ["read the app"]
    assert [(found["rule"], found["effect"], found["line"]) for found in answer["considered"]] == [
        ("look at git", "allow", 14),
        ("no deleting", "deny", 19),
    ]


@pytest.mark.parametrize(
    ("arguments", "effect", "reason"),
    [
        (["x"], "ask", "risk high asks a person"),
        (["x", "--risk", "low"], "allow", "risk low is below medium"),
        (["peek"], "allow", "risk low is below medium"),
        (["x", "--parameters", '{"command": "git status; git diff"}'], "allow", '"look at git" allows it'),
        (["x", "--parameters", '{"command": "git status; ls"}'], "ask", 'no rule allows "ls"'),
        (["x", "--parameters", '{"command": "git status `x`"}', "--risk", "low"], "ask", "not understood"),
        (["x", "--parameters", '{"command": "ls `rm -rf ~`"}'], "deny", "move it to /trash"),
        (["x", "--parameters", '{"command": "ls", "command": "git status"}'], "ask", "not all of the call can be read"),
        (["x", "--parameters", '{"command": "ls", "command": "rm x"}'], "deny", "move it to /trash"),
    ],
)
def test_explanation_goes_to_the_default_where_no_rule_matches(
    file: str, arguments: list[str], effect: str, reason: str, capsys: Captured
) -> None:
    answer = explained(capsys, *arguments, "--policy-file", file)

    assert answer["effect"] == effect
    assert reason in answer["reasons"][0]


def test_what_a_justification_says_moves_no_terminal(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('[[rule]]\nname = "no"\neffect = "deny"\njustification = "a\\u001b[31m\\nb\\u202e"')

    assert main(["policy", "explain", "x", "--policy-file", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith(r"a\x1b[31m\nb\u202e")


@pytest.mark.parametrize(("default", "effect"), [("ask", "ask"), ("deny", "deny"), ("by-risk", "allow")])
def test_default_of_the_file_is_told(
    tmp_path: Path, default: str, effect: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(f'default = "{default}"')
    monkeypatch.setenv("NOTIFIER_POLICY_FILE", str(path))

    assert explained(capsys, "x", "--risk", "low")["effect"] == effect


def test_without_a_file_calls_are_judged_by_the_risk_of_the_settings(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFIER_ASK_FROM_RISK", "high")

    assert explained(capsys, "x", "--risk", "medium")["effect"] == "allow"
    assert explained(capsys, "x")["effect"] == "ask"


@pytest.mark.parametrize(
    ("tool", "parameters", "effect", "risk", "why"),
    [
        ("Read", {"file_path": "a.py"}, "allow", "low", "for a call that an agent's hook tells of."),
        ("Bash", {"command": "ls -l"}, "allow", "low", "for a call that an agent's hook tells of."),
        ("read_file", {"path": "/etc/passwd"}, "ask", "medium", "hook tells of; it reads outside of the workspace"),
        ("read_file", {"path": "a.py"}, "allow", "low", "; the policy file rates it low."),
        ("read_file", {"path": ".env"}, "ask", "medium", "; it reads a file that may hold secrets"),
        ("Edit", {"file_path": "a.py"}, "ask", "medium", "tells of."),
        ("Bash", {"command": "make"}, "ask", "high", "tells of."),
        ("mcp__mail__search", {}, "ask", "medium", "without what its server says of it; its name is one of reading"),
        ("no_such", {}, "ask", "high", "tells of."),
        ("peek", {}, "allow", "low", "tells of; the policy file rates it low."),
        ("mcp__any__peek", {}, "allow", "low", "server says of it; the policy file rates it low."),
    ],
)  # fmt: skip
def test_call_is_rated_as_the_service_rates_it_where_no_risk_is_told(
    tool: str, parameters: dict[str, str], effect: str, risk: str, why: str, tmp_path: Path, capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = tmp_path / "app"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (tmp_path / "policy.toml").write_text('[risk."*"]\npeek = "low"\nread_file = "low"\n')
    call = ["policy", "explain", tool, "--parameters", json.dumps(parameters), "--policy-file", "../policy.toml"]

    assert main([*call, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["effect"] == effect
    assert f"risk {risk} is assumed, " in err
    assert why in err

    assert main(call) == 0
    assert capsys.readouterr().out.splitlines()[-1] == err.strip().removeprefix("notifier-service: ")
    assert main([*call, "--risk", "low"]) == 0
    assert "assumed" not in capsys.readouterr().out


def test_server_is_read_out_of_the_name_as_for_a_hook(file: str, capsys: Captured) -> None:
    call = ("--parameters", '{"path": "/srv/app/a.py"}', "--session", "team-1", "--agent", "claude-code")

    for arguments in (("read_file", "--server", "files"), ("mcp__files__read_file",)):
        assert explained(capsys, *arguments, *call, "--policy-file", file)["rule"] == "read the app"
    assert explained(capsys, "mcp__other__read_file", *call, "--policy-file", file)["rule"] is None


def test_explanation_for_people_is_read_from_the_top(file: str, capsys: Captured) -> None:
    assert main(["policy", "explain", "x", "--parameters", '{"command": "rm x"}', "--policy-file", file]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "deny",
        '  policy rule "no deleting" denies it: move it to /trash',
        "",
        "matches:",
        '  line 19, deny "no deleting": command as it wants',
    ]
    assert lines[6] == "does not match:"


@pytest.mark.parametrize(
    "arguments",
    [
        ["x", "--parameters", "[1"],
        ["x", "--parameters", "[1]"],
        ["x", "--parameters", '{"a": NaN}'],
        ["x", "--parameters", "5"],
        ["x", "--parameters", ""],
        ["x", "--parameters", '{"a": "\\ud800"}'],
        ["x", "--parameters", '{"a": ' + "[" * 5000 + "]" * 5000 + "}"],
        ["x", "--parameters", '{"a": ' + "9" * 5000 + "}"],
        ["x", "--session", "a/b"],
        ["x", "--session", ".."],
        ["", "--session", "a"],
        ["x" * 300],
        ["x", "--server", ""],
        ["x", "--agent", "a" * 300],
    ],
)
def test_wrong_usage_is_told_in_one_line(arguments: list[str], capsys: Captured) -> None:
    assert main(["policy", "explain", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("notifier-service: ")


def test_setting_that_is_wrong_is_told(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER_ASK_FROM_RISK", "extreme")

    assert main(["policy", "explain", "x"]) == 2
    assert "NOTIFIER_ASK_FROM_RISK is low, medium, high" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["check"], ["explain"], ["explain", "x", "--risk", "extreme"], ["chek", "f"]]
)
def test_commands_that_are_none_are_refused(arguments: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["policy", *arguments])

    assert caught.value.code == 2
    assert "usage: notifier-service policy" in capsys.readouterr().err
