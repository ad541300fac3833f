"""connect changes just what makes an agent ask here, in files that a person keeps, and gives them back to the byte."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier_service.cli import main
from notifier_service.cli.connect.jsonc import Jsonc, NotJson

ZED = """// mine
{
  "theme": "One Dark", // dark
  "agent_servers": {
    "opencode": { "command": "opencode", "args": ["acp"] },
    "Gemini": {
      "command": "gemini",
      "args": [
        "--acp"
      ],
      "env": {},
    },
  },
}
"""
CURSOR = '{"mcpServers": {"fs": {"command": "npx", "args": ["-y", "fs", "--", "."]}, "web": {"url": "http://x"}}}'
CLAUDE = '{\r\n\t"model": "opus",\r\n\t"hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": []}]}\r\n}'
FILES = {
    ".claude/settings.json": CLAUDE,
    ".codex/config.toml": "model = 'x'\n",
    ".gemini/settings.json": "",
    ".config/zed/settings.json": ZED,
    ".cursor/mcp.json": CURSOR,
    ".config/opencode/opencode.json": '{"permission": {"bash": "allow"}}\n',
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "NOTIFIER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        file = tmp_path / "home" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
    return tmp_path / "home"


def all_of(home: Path) -> dict[str, bytes]:
    files = (file for file in home.rglob("*") if file.is_file() and ".local" not in file.parts)
    return {str(file.relative_to(home)): file.read_bytes() for file in files}


def test_dry_run_shows_the_changes_and_makes_none(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = all_of(home)

    assert main(["connect", "--dry-run"]) == 0

    shown = capsys.readouterr().out
    assert all_of(home) == before
    assert '-      "command": "gemini",' in shown
    assert f"+++ {home}/.codex/hooks.json" in shown
    assert "opencode.json" not in shown  # it asks as its user has said


def test_without_a_terminal_nothing_is_changed_unasked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = all_of(home)

    assert main(["connect"]) == 2

    assert all_of(home) == before
    assert "give --yes" in capsys.readouterr().err


def test_changed_twice_is_changed_once_and_given_back_to_the_byte(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = all_of(home)
    (home / ".cursor/mcp.json").chmod(0o640)

    assert main(["connect", "--yes", "--url", "http://127.0.0.1:8123"]) == 0
    changed = all_of(home)
    assert main(["connect", "--yes", "--url", "http://127.0.0.1:8123"]) == 0
    assert all_of(home) == changed
    assert "Nothing is to be changed." in capsys.readouterr().out
    assert stat.S_IMODE((home / ".cursor/mcp.json").stat().st_mode) == 0o640

    # Another address is put in the place of the first.
    assert main(["connect", "--yes", "--url", "http://127.0.0.1:9999"]) == 0
    assert b"8123" not in b"".join(all_of(home).values())
    assert main(["connect", "--undo", "--yes"]) == 0
    assert all_of(home) == before
    assert main(["connect", "--undo", "--yes"]) == 0


def test_what_makes_each_agent_ask_is_in_its_settings(home: Path) -> None:
    main(["connect", "--yes"])

    claude = json.loads((home / ".claude/settings.json").read_text())
    assert [len(claude["hooks"][event]) for event in ("PreToolUse", "PermissionRequest")] == [2, 1]
    assert claude["hooks"]["PreToolUse"][0] == {"matcher": "Bash", "hooks": []}
    zed = Jsonc((home / ".config/zed/settings.json").read_text())
    args = zed.get(["agent_servers", "Gemini", "args"])
    assert args[-2:] == ["gemini", "--acp"]
    assert "acp" in args
    assert "// dark" in zed.text
    cursor = json.loads((home / ".cursor/mcp.json").read_text())["mcpServers"]
    assert cursor["fs"]["args"][-5:] == ["--", "npx", "-y", "fs", "--", "."][-5:]
    assert cursor["web"] == {"url": "http://x"}


def test_file_that_was_changed_since_is_left_to_its_user(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["connect", "cursor", "--yes"])
    file = home / ".cursor/mcp.json"
    file.write_bytes(file.read_bytes() + b"\n")
    now = file.read_bytes()

    assert main(["connect", "--undo", "--yes"]) == 1
    assert file.read_bytes() == now
    assert "was changed since" in capsys.readouterr().err


def test_file_that_is_no_json_is_left_and_the_others_go_on(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = home / ".config/zed/settings.json"
    broken.write_text('{\n"a": oops}')

    assert main(["connect", "--yes"]) == 1
    assert broken.read_text() == '{\n"a": oops}'
    assert f"{broken}: line 2: this is no JSON" in capsys.readouterr().err
    assert (home / ".codex/hooks.json").exists()


def test_link_is_followed(home: Path) -> None:
    target = home / "dotfiles.json"
    (home / ".cursor/mcp.json").rename(target)
    (home / ".cursor/mcp.json").symlink_to(target)
    main(["connect", "cursor", "--yes"])

    assert (home / ".cursor/mcp.json").is_symlink()
    assert "notifier_service" in target.read_text()


def test_agent_that_nobody_knows_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["connect", "emacs"]) == 2
    assert "emacs is not known; known are claude, codex" in capsys.readouterr().err


def test_hooks_go_into_a_repository_only_where_that_is_said(home: Path, tmp_path: Path) -> None:
    main(["connect", "--yes"])
    assert not (tmp_path / ".github").exists()
    main(["connect", "copilot", "--yes"])
    assert json.loads((tmp_path / ".github/hooks/notifier-service.json").read_text())["version"] == 1
    main(["connect", "--undo", "--yes"])
    assert not (tmp_path / ".github/hooks/notifier-service.json").exists()


@pytest.mark.parametrize(
    ("text", "path", "value", "expected"),
    [
        ("{}\n", ["a"], 1, '{\n  "a": 1\n}\n'),
        ('{"a": 1}', ["b"], [2], '{"a": 1, "b": [2]}'),
        ('{\n\t"a": 1, // one\n}', ["b"], 2, '{\n\t"a": 1,\n\t"b": 2, // one\n}'),
        ('{\n    "a": {"b": 1} // x\n}', ["a", "b"], 2, '{\n    "a": {"b": 2} // x\n}'),
        ("{ /* none */ }", ["a"], 1, '{ /* none */\n  "a": 1\n}'),
        ('{\n  "l": [\n    1\n  ]\n}', ["l", 1], 2, '{\n  "l": [\n    1,\n    2\n  ]\n}'),
        ('{\n  "l": [1]\n}', ["l", 1], 2, '{\n  "l": [1, 2]\n}'),
    ],
)
def test_only_the_place_of_a_value_changes(text: str, path: list[Any], value: Any, expected: str) -> None:
    settings = Jsonc(text)
    settings.set(path, value)

    assert settings.text == expected


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    before=st.dictionaries(st.text(max_size=3), values, max_size=4),
    indent=st.sampled_from([None, 2, "\t"]),
    key=st.text(max_size=3),
    value=values,
)
def test_what_is_set_is_there_and_the_rest_as_before(before: dict[str, Any], indent: Any, key: str, value: Any) -> None:
    settings = Jsonc(json.dumps(before, indent=indent, ensure_ascii=False))
    settings.set([key, "x"] if isinstance(before.get(key), dict) else [key], value)

    expected = dict(before)
    expected[key] = {**before[key], "x": value} if isinstance(before.get(key), dict) else value
    assert json.loads(settings.text) == expected


@pytest.mark.parametrize(
    "text", ["", "{", "[1,]2", '{"a" 1}', '{"a": 1 "b": 2}', "{a: 1}", '{"a": "\n"}', "[" * 100_000]
)
def test_text_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(NotJson):
        Jsonc(text)
