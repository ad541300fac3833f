"""``notifier-service policy import``."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from notifier_service.cli import main
from notifier_service.cli.importers import IMPORTERS

SOURCES = {
    "claude": '{"permissions": {"allow": ["Bash(ls *)", "Write(/x)"]}}',
    "codex": 'prefix_rule(pattern=["ls"])\nhost_executable(name="ls", paths=["/bin/ls"])\n',
    "gemini": '[[rule]]\ntoolName = "glob"\ndecision = "allow"\npriority = 1\n'
    '[[rule]]\ntoolName = "*"\ndecision = "allow"\npriority = 0\n',
    "opencode": '{"permission": {"bash": {"ls *": "allow"}, "doom_loop": "deny"}}',
}


@pytest.mark.parametrize("source", SOURCES)
def test_policy_stands_on_standard_output_and_remarks_beside_it(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rules"
    file.write_text(SOURCES[source])

    assert main(["policy", "import", source, str(file)]) == 0
    out, err = capsys.readouterr()
    policy = tmp_path / "policy.toml"
    policy.write_text(out)
    assert main(["policy", "check", str(policy)]) == 0
    for line in err.splitlines():
        assert line.startswith(f"notifier-service: {file}: ")
        assert f"#   {line.removeprefix(f'notifier-service: {file}: ')}" in out
    assert err


@pytest.mark.parametrize("source", SOURCES)
def test_standard_input_is_read(
    source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(SOURCES[source].encode())))

    assert main(["policy", "import", source, "-"]) == 0
    out, err = capsys.readouterr()
    assert 'effect = "allow"' in out
    assert "notifier-service: standard input: " in err


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "it cannot be read: No such file or directory"),
        ("folder", "it cannot be read: Is a directory"),
        (b"\xff\xfe", "it is no UTF-8"),
        (b"{" * 2_000_000, "it has more than 1048576 bytes"),
        (b"{[(", "no "),
    ],
    ids=["missing", "directory", "binary", "huge", "broken"],
)
def test_file_that_cannot_be_read_is_one_line_and_exit_code_1(
    source: str, content: bytes | str | None, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rules"
    if content == "folder":
        file.mkdir()
    elif isinstance(content, bytes):
        file.write_bytes(content)

    assert main(["policy", "import", source, str(file)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"notifier-service: {file}: ")
    assert why in err


@pytest.mark.parametrize("arguments", [[], ["claude"], ["other", "x"], ["claude", "x", "y"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["policy", "import", *arguments])

    assert ended.value.code == 2


def test_every_program_of_the_contract_can_be_imported() -> None:
    assert sorted(IMPORTERS) == ["claude", "codex", "gemini", "opencode"]
