"""Tests with other people's programs: left out of ``make test``, run by ``make test-integrations``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integrations.claude_code import begin, claude
from tests.integrations.environments import CannotInstall, npm_environment, python_environment

__all__ = ["begin", "claude", "npm_with", "python_with"]

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("integration")
            item.add_marker(pytest.mark.timeout(900))  # the first time an environment is made in it


@pytest.fixture
def python_with() -> Callable[..., Path]:
    """The interpreter of an environment with these requirements; without them the test is skipped."""

    def make(*requirements: str) -> Path:
        try:
            return python_environment(*requirements)
        except CannotInstall as error:
            pytest.skip(f"{' '.join(requirements)} cannot be installed: {error}")

    return make


@pytest.fixture
def npm_with() -> Callable[..., Path]:
    """The folder of an environment with these npm packages and node 22; without them the test is skipped."""

    def make(*packages: str) -> Path:
        try:
            return npm_environment(*packages)
        except CannotInstall as error:
            pytest.skip(f"{' '.join(packages)} cannot be installed: {error}")

    return make
