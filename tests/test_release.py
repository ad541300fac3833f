"""What keeps a version from being released, in words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


class Tree:
    """As much of a tree as says a version, ready for the release of 1.2.0."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("scripts/release.py", (ROOT / "scripts/release.py").read_text())
        self.write("notifier_service/version.py", '__version__ = "1.2.0"\n')
        for file in ("package.json", "package-lock.json"):
            self.write(f"clients/typescript/{file}", '{"version": "1.2.0"}')
        self.write("CHANGELOG.md", "# Changes\n\n## 1.2.0 - 2026-11-29\n\n- It is faster.\n\n## 1.1.0\n\n- First.\n")

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def consistent(self) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, self.folder / "scripts/release.py", "consistent"], capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_tree_that_says_one_version_everywhere_can_be_released(tree: Tree) -> None:
    assert tree.consistent() == (0, "1.2.0 is what everything says\n")


@pytest.mark.parametrize("file", ["package.json", "package-lock.json"])
def test_client_of_another_version_keeps_it_back(tree: Tree, file: str) -> None:
    tree.write(f"clients/typescript/{file}", '{"version": "1.1.0"}')

    assert tree.consistent() == (
        1, f"clients/typescript/{file} says version 1.1.0, and notifier_service/version.py 1.2.0\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    "changelog",
    [
        "# Changes\n\n## Unreleased\n\n- It is faster.\n",
        "# Changes\n\n## Unreleased\n\n- It is faster.\n\n## 1.1.0\n\n- It was 1.2.0 nearly.\n",
        "# Changes\n\n## 1.2.0 - 2026-11-29\n\n## 1.1.0\n\n- First.\n",
        "# Changes\n\n## 1.2.0rc1\n\n- It is faster.\n",
        "",
    ],
)
def test_changelog_without_the_section_of_the_version_keeps_it_back(tree: Tree, changelog: str) -> None:
    tree.write("CHANGELOG.md", changelog)

    code, told = tree.consistent()

    assert code == 1
    assert "CHANGELOG.md has no section with the changes of 1.2.0: write '## 1.2.0 - " in told


def test_changes_that_are_in_no_version_keep_it_back(tree: Tree) -> None:
    tree.write("CHANGELOG.md", "# Changes\n\n## Unreleased\n\n- More.\n\n## [1.2.0] - 2026-11-29\n\n- It is faster.\n")

    assert tree.consistent() == (
        1, "CHANGELOG.md has changes under 'Unreleased': move them to 1.2.0, or raise the version\n",
    )  # fmt: skip


def test_empty_section_for_what_comes_next_does_not(tree: Tree) -> None:
    tree.write("CHANGELOG.md", "# Changes\n\n## Unreleased\n\n## [1.2.0] - 2026-11-29\n\n- It is faster.\n")

    assert tree.consistent()[0] == 0


def test_every_fault_is_told_at_once(tree: Tree) -> None:
    tree.write("notifier_service/version.py", '__version__ = "2.0.0"\n')

    code, told = tree.consistent()

    assert code == 1
    assert len(told.splitlines()) == 3
