"""A running service, and the command beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from notifier_service import Client, Settings, serve
from notifier_service.web import Site
from tests.cli.processes import Commands


@pytest.fixture
async def commands() -> AsyncIterator[Commands]:
    commands = Commands()
    try:
        yield commands
    finally:
        await commands.stop_all()


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """A service in this process, which commands find by ``NOTIFIER_URL``."""
    async with serve(settings=Settings(port=0)) as site:
        monkeypatch.setenv("NOTIFIER_URL", f"{site.url}{site.settings.prefix}")
        yield site


@pytest.fixture
async def client(site: Site) -> AsyncIterator[Client]:
    async with Client(f"{site.url}{site.settings.prefix}") as client:
        yield client
