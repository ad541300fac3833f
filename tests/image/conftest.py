"""The container image, built once for all of these tests: left out of ``make test``, run by ``make test-image``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.buildah import CannotBuild, Container, built

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("image")
            item.add_marker(pytest.mark.timeout(900))  # the first one builds it, and what it is based on


@pytest.fixture(scope="session")
def container() -> Iterator[Container]:
    """One for all: nothing that runs in it can write to it."""
    try:
        with built() as image:
            container = Container(image)
            yield container
            container.remove()
    except CannotBuild as why:
        pytest.skip(str(why))


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.json"
    path.write_text('[{"token": "secret", "subject": "anna", "rights": ["approve", "produce"], "sessions": ["*"]}]')
    return path
