"""``policy init``: a policy for the folder of a project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from notifier_service.cli import main
from notifier_service.cli.policy_init import starter_policy
from notifier_service.core.errors import InvalidInput
from notifier_service.core.policy.policy import Policy
from notifier_service.core.policy.verdict import AskedTool, Call


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "my shop [1]"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def effect_of(policy: Policy, tool: str, **parameters: str) -> str | None:
    verdict = policy.judge(Call(AskedTool(tool), "s1", "medium", parameters))
    return None if verdict is None else verdict.effect


def test_it_writes_a_policy_that_loads_for_the_folder_one_stands_in(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "init"]) == 0
    assert capsys.readouterr().out.startswith(f"Wrote notifier-policy.toml: 8 rules for {folder}\nServe with it:")
    assert main(["policy", "check", "notifier-policy.toml"]) == 0
    assert f'workspace = "{folder}"' in (folder / "notifier-policy.toml").read_text()


def test_it_writes_over_nothing_unless_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "mine.toml"
    file.write_text("# mine")

    assert main(["policy", "init", "mine.toml"]) == 1
    assert "is there already" in capsys.readouterr().err
    assert file.read_text() == "# mine"
    assert main(["policy", "init", "mine.toml", "--force"]) == 0
    assert file.read_text() != "# mine"


def test_it_prints_what_it_would_write(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "init", "-"]) == 0
    assert Policy.loads(capsys.readouterr().out, "-").rules
    assert list(folder.iterdir()) == []


def test_folder_may_be_another(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other").mkdir()

    assert main(["policy", "init", "--folder", str(tmp_path / "other")]) == 0
    assert f'workspace = "{tmp_path}/other"' in (tmp_path / "other/notifier-policy.toml").read_text()


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--folder", "/"], "holds more than a project"),
        (["--folder", "/home"], "holds more than a project"),
        (["--folder", "nowhere"], "is no folder"),
        (["nowhere/policy.toml"], "cannot be written"),
        (["."], "is there already"),
        ([".", "--force"], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], flags: Sequence[str], why: str
) -> None:
    assert main(["policy", "init", *flags]) == 1
    assert why in capsys.readouterr().err


@pytest.mark.parametrize("name", ["it's", "a\nb", "a\\b"])
def test_name_that_no_rule_can_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="no rule can name"):
        starter_policy(Path("/srv") / name, Path("/srv/policy.toml"))


@pytest.mark.parametrize("path", ["notifier-policy.toml", "./a/../notifier-policy.toml", "{}/notifier-policy.toml"])
def test_agent_does_not_change_its_policy(path: str) -> None:
    folder = Path("/srv/a [b]")
    policy = Policy.loads(starter_policy(folder, folder / "notifier-policy.toml", may_edit=True), "p")

    assert effect_of(policy, "Write", file_path=path.format(folder), content="") == "deny"
    assert effect_of(policy, "Write", file_path="README.md", content="") == "allow"


def test_edits_ask_unless_they_are_allowed() -> None:
    folder = Path("/srv/shop")
    asks = Policy.loads(starter_policy(folder, folder / "p.toml"), "p")
    allows = Policy.loads(starter_policy(folder, folder / "p.toml", may_edit=True), "p")

    assert effect_of(asks, "Edit", file_path="/srv/shop/a.py") is None
    assert effect_of(allows, "Edit", file_path="/srv/shop/a.py") == "allow"
    assert effect_of(allows, "Edit", file_path="/srv/shop/../other/a.py") is None


def test_examples_that_are_commented_out_load_too() -> None:
    folder = Path("/srv/shop")
    text, _, more = starter_policy(folder, folder / "p.toml").partition("# More that is often wanted")
    rules = [line[2:] for line in more.splitlines() if line.startswith("# ") and ("=" in line or "[[" in line)]

    names = [rule.name for rule in Policy.loads("\n".join([text, *rules]), "p").rules]
    assert names[-3:] == ["the file server reads in this folder", "small refunds", "edit this folder"]
