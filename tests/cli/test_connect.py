"""connect changes just what makes an agent ask here, in files that a person keeps, and gives them back to the byte."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier_service.cli import main
from notifier_service.cli.connect import command
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


def test_many_at_once_lose_no_change_and_give_every_byte_back(home: Path) -> None:
    before = all_of(home)
    names = ("claude", "gemini", "zed", "cursor", "opencode")
    program = [sys.executable, "-P", "-m", "notifier_service", "connect", "--yes"]
    asked = [subprocess.Popen([*program, name], stdout=subprocess.DEVNULL) for name in names for _ in range(2)]

    assert [one.wait(30) for one in asked] == [0] * len(asked)
    assert all(all_of(home)[name] != before[name] for name in (".claude/settings.json", ".cursor/mcp.json"))
    assert main(["connect", "--undo", "--yes"]) == 0
    assert all_of(home) == before


def test_file_that_changes_between_the_look_and_the_yes_keeps_that_change(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --yes ours is put into what is there by then; who was shown something else is asked again."""
    file = home / ".cursor/mcp.json"
    show = command._show

    def changed_meanwhile(change: Any) -> None:
        show(change)
        file.write_text(CURSOR.replace("http://x", "http://theirs"))

    monkeypatch.setattr(command, "_show", changed_meanwhile)
    monkeypatch.setattr(command, "_agreed", lambda count: True)
    assert main(["connect", "cursor"]) == 1
    assert "changed meanwhile" in capsys.readouterr().err
    assert "notifier_service" not in file.read_text()

    file.write_text(CURSOR)
    assert main(["connect", "cursor", "--yes"]) == 0
    assert "http://theirs" in file.read_text()
    assert "notifier_service" in file.read_text()


def test_lock_of_a_process_that_died_holds_up_nobody_and_one_that_hangs_not_for_ever(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "_LOCK_SECONDS", 0.05)
    lock = home / ".local/state/notifier-service/.connect.json.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert main(["connect", "cursor", "--yes"]) == 1
        assert "another process is writing" in capsys.readouterr().err
        assert (home / ".cursor/mcp.json").read_text() == CURSOR

    assert lock.exists()
    assert main(["connect", "cursor", "--yes"]) == 0


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


@pytest.mark.parametrize("again", [None, "http://127.0.0.1:9999"])
def test_what_a_person_changed_since_stays_and_ours_is_taken_out(again: str | None, home: Path) -> None:
    zed, claude, codex = (
        home / name for name in (".config/zed/settings.json", ".claude/settings.json", ".codex/hooks.json")
    )
    before = all_of(home)
    main(["connect", "--yes"])
    zed.write_text(zed.read_text().replace('"theme": "One Dark"', '"theme": "Ayu"'))
    entry = '{"matcher": "Edit", "hooks": [{"type": "command", "command": "lint"}]}'
    claude.write_bytes(claude.read_bytes().replace(b'"hooks": []}', b'"hooks": []}, ' + entry.encode()))
    codex.write_text(codex.read_text() + "\n")
    if again is not None:
        assert main(["connect", "--yes", "--url", again]) == 0

    assert main(["connect", "--undo", "--yes"]) == 0

    assert zed.read_text() == ZED.replace("One Dark", "Ayu")
    hooks = {"PreToolUse": [{"matcher": "Bash", "hooks": []}, json.loads(entry)]}
    assert json.loads(claude.read_text()) == {"model": "opus", "hooks": hooks}
    now = all_of(home)
    assert now.keys() == before.keys()
    assert {name for name in now if now[name] != before[name]} == {".claude/settings.json", ".config/zed/settings.json"}
    assert main(["connect", "--undo", "--yes"]) == 0
    assert all_of(home) == now


def test_file_that_a_person_broke_since_is_left_to_them(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["connect", "cursor", "--yes"])
    file = home / ".cursor/mcp.json"
    file.write_bytes(now := file.read_bytes() + b"}")

    assert main(["connect", "--undo", "--yes"]) == 1
    assert file.read_bytes() == now
    assert "what it was is kept in" in capsys.readouterr().err


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


def test_link_that_leads_nowhere_leads_nowhere_again(home: Path) -> None:
    link = home / ".cursor/mcp.json"
    (home / ".claude/settings.json").unlink()
    (home / ".claude/settings.json").symlink_to("../made/for/it.json")
    assert main(["connect", "claude", "--yes"]) == 0
    assert (home / "made/for/it.json").exists()

    assert main(["connect", "--undo", "--yes"]) == 0
    assert (home / ".claude/settings.json").is_symlink()
    assert not (home / "made").exists()
    assert link.exists()


def test_folder_that_was_made_goes_with_its_file(home: Path) -> None:
    main(["connect", "windsurf", "jetbrains", "copilot", "codex", "--yes"])
    (home / ".codex/hooks.json").unlink()
    assert main(["connect", "--undo", "--yes"]) == 0

    assert not (home.parent / ".github").exists()
    assert (home / ".codex").exists()


def odd(kind: str, file: Path) -> None:
    file.unlink()
    if kind == "a folder":
        file.mkdir()
    elif kind == "a pipe":
        os.mkfifo(file)
    elif kind == "a device":
        file.symlink_to("/dev/zero")
    elif kind == "a circle":
        file.symlink_to(file.name)
    elif kind == "latin-1":
        file.write_bytes(b'{"a": "\xe9"}')
    elif kind == "a list":
        file.write_text("[]")
    else:
        file.write_text("{}")
        file.chmod(0o444)


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a device", "a circle", "latin-1", "a list", "read-only"])
def test_file_that_cannot_be_changed_is_left_and_the_others_go_on(
    kind: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / ".claude/settings.json"
    odd(kind, file)

    assert main(["connect", "--yes"]) == 1

    assert f"{file}" in (said := capsys.readouterr().err)
    assert "Claude Code is left as it is" in said
    assert b"notifier_service" in (home / ".cursor/mcp.json").read_bytes()
    assert main(["connect", "--undo", "--yes"]) == 0
    assert (home / ".cursor/mcp.json").read_text() == CURSOR


def test_file_that_cannot_be_written_is_told_and_the_others_go_on(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = all_of(home)
    replace = os.replace

    def fails(source: str, target: Path) -> None:
        if target.name == "settings.json":
            raise OSError(28, "No space left on device", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails)
    assert main(["connect", "--yes"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    changed = all_of(home)
    assert {name for name in changed if changed[name] != before.get(name)} == {".codex/hooks.json", ".cursor/mcp.json"}

    monkeypatch.undo()
    monkeypatch.setenv("HOME", str(home))
    assert main(["connect", "--undo", "--yes"]) == 0
    assert all_of(home) == before


def test_hooks_of_others_stay_also_beside_ours_and_under_nearly_our_name(home: Path) -> None:
    ours = {"type": "command", "command": "notifier-service hook --url http://old"}
    others = [
        {"type": "command", "command": "python ~/notifier-service-extras/log.py hook"},
        {"type": "http", "url": "http://127.0.0.1/hooks/claude-code-log"},
    ]
    file = home / ".claude/settings.json"
    mixed = {"matcher": "Bash", "hooks": [others[0], ours, others[1]]}
    file.write_text(json.dumps({"hooks": {"PreToolUse": [mixed]}}, indent=2))
    main(["connect", "claude", "--yes"])

    [entry] = json.loads(file.read_text())["hooks"]["PreToolUse"]
    assert [entry["hooks"][0], entry["hooks"][2]] == others
    assert entry["hooks"][1]["url"].endswith("/hooks/claude-code")
    assert entry["matcher"] == "Bash"


def test_gateway_that_a_person_has_put_there_stays(home: Path) -> None:
    args = ["gateway", "stdio", "--session", "mine", "--", "npx", "fs"]
    servers = {"a": {"command": "notifier-service", "args": args}, "b": {"command": "notifier-service"}}
    (home / ".cursor/mcp.json").write_text(json.dumps({"mcpServers": servers}))
    main(["connect", "cursor", "--yes"])

    now = json.loads((home / ".cursor/mcp.json").read_text())["mcpServers"]
    assert now["a"] == servers["a"]
    assert now["b"]["args"][-2:] == ["--", "notifier-service"]


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


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ('{"a": 1}', ["a"], "{}"),
        ('{"a": 1, "b": 2}', ["a"], '{ "b": 2}'),
        ('{"a": 1, "b": 2}', ["b"], '{"a": 1 }'),
        ('{\n  "a": 1, // one\n  "b": 2,\n}', ["b"], '{\n  "a": 1, // one\n}'),
        ('{\r\n\t"a": 1,\r\n\t"b": [2]\r\n}', ["b"], '{\r\n\t"a": 1\r\n}'),
        ('{"l": [1, 2, 3]}', ["l", 1], '{"l": [1,  3]}'),
    ],
)
def test_only_what_is_removed_goes(text: str, path: list[Any], expected: str) -> None:
    settings = Jsonc(text)
    settings.remove(path)

    assert settings.text == expected


@given(
    before=st.lists(st.integers(), min_size=1, max_size=4),
    indent=st.sampled_from([None, 1, "\t"]),
    at=st.integers(0, 3),
)
def test_what_is_removed_is_gone_and_the_rest_as_before(before: list[int], indent: Any, at: int) -> None:
    at %= len(before)
    listed = Jsonc(json.dumps(before, indent=indent))
    listed.remove([at])
    named = Jsonc(json.dumps({str(number): one for number, one in enumerate(before)}, indent=indent))
    named.remove([str(at)])

    assert json.loads(listed.text) == before[:at] + before[at + 1 :]
    assert list(json.loads(named.text)) == [str(number) for number in range(len(before)) if number != at]


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
