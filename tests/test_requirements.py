"""What the image and the tests are made of is written down, and fits what the package asks for."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def wanted(*arguments: str) -> Iterator[Requirement]:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/requirements", *arguments], capture_output=True, text=True, check=True
    )
    yield from map(Requirement, done.stdout.splitlines())


def locked(name: str) -> dict[str, str]:
    text = (ROOT / f"requirements/{name}.txt").read_text()
    return {found[1]: found[2] for found in re.finditer(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)}


def name_of(requirement: Requirement) -> str:
    return re.sub(r"[-_.]+", "-", requirement.name).lower()


@pytest.mark.parametrize(
    ("lock", "extras"), [("image", ["cli", "fast", "jwt", "metrics", "proof"]), ("tests", ["check"])]
)
def test_lock_has_each_thing_that_is_wanted_in_a_release_that_fits(lock: str, extras: list[str]) -> None:
    there = locked(lock)

    for requirement in wanted(*extras):
        assert name_of(requirement) in there, f"run make lock: {lock}.txt has no {requirement.name}"
        assert requirement.specifier.contains(there[name_of(requirement)]), f"run make lock: {requirement}"


def test_tests_run_with_what_the_image_has() -> None:
    assert locked("image").items() <= locked("tests").items()


@pytest.mark.parametrize("lock", ["build", "image"])
def test_what_goes_into_the_image_is_locked_by_its_bytes(lock: str) -> None:
    text = (ROOT / f"requirements/{lock}.txt").read_text()
    requirements = re.split(r"\n(?=\w)", text)[1:] or [text]

    assert len(requirements) == len(locked(lock))
    assert all("--hash=sha256:" in requirement for requirement in requirements)


def test_lowest_releases_are_those_that_the_package_promises() -> None:
    extras = ["cli", "fast", "jwt", "mcp", "metrics", "proof", "test"]
    promised = {name_of(requirement): requirement.specifier for requirement in wanted(*extras)}
    lowest = {name_of(requirement): str(requirement.specifier) for requirement in wanted("--lowest", *extras)}

    assert lowest.keys() == promised.keys()
    assert all(f">={version.removeprefix('==')}" in str(promised[name]) for name, version in lowest.items())
