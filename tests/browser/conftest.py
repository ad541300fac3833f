"""Real browsers, and people at them.

Every test here, and what it uses, runs in one event loop for the whole session: a browser belongs to the loop that
started it, and starting one takes longer than most tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
from playwright.async_api import Browser, Playwright, async_playwright, expect
from pytest_asyncio import fixture, is_async_test

from notifier_service import Broker, Settings, serve
from notifier_service.web import Site
from tests.browser.cable import Cable
from tests.browser.engines import CannotDrive, launched
from tests.browser.person import Person
from tests.browser.proxy import NGINX, nginx_before
from tests.cli.processes import Commands, free_port

#: Long enough for a back-off, or for two browsers that share a core; what hangs, fails before the test's own time-out.
PATIENCE_SECONDS = 15

_HERE = Path(__file__).parent

expect.set_options(timeout=PATIENCE_SECONDS * 1000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE) and is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


class Browsers:
    """Starts each browser when the first test needs it, and keeps it."""

    def __init__(self, playwright: Playwright) -> None:
        self._playwright = playwright
        self._started: dict[str, Browser] = {}
        self._cannot: dict[str, str] = {}

    async def get(self, engine: str) -> Browser:
        if engine in self._cannot:
            pytest.skip(self._cannot[engine])
        if engine not in self._started or not self._started[engine].is_connected():  # one that crashed fails one test
            try:
                self._started[engine] = await launched(self._playwright, engine)
            except CannotDrive as error:
                if engine in self._started:
                    raise  # it could be driven before: that is for the test to say
                self._cannot[engine] = str(error)
                pytest.skip(str(error))
        return self._started[engine]

    async def close(self) -> None:
        for browser in self._started.values():
            await browser.close()


@fixture(scope="session", loop_scope="session")
async def browsers() -> AsyncIterator[Browsers]:
    async with async_playwright() as playwright:
        browsers = Browsers(playwright)
        yield browsers
        await browsers.close()


@pytest.fixture
def engine() -> str:
    """Which browser the test drives; ``parametrize`` it for others."""
    return "chromium"


class Serving(Protocol):
    def __call__(self, **settings: Any) -> Awaitable[Site]: ...


@fixture(loop_scope="session")
async def serving() -> AsyncIterator[Serving]:
    """Run a service in this process, with these settings, until the test ends; ``site.broker`` is its broker."""
    async with AsyncExitStack() as stack:

        async def run(**settings: Any) -> Site:
            # Heartbeats are short, so that a test need not wait long for a watchdog.
            given = Settings(**{"port": 0, "heartbeat_seconds": 1, **settings})
            return await stack.enter_async_context(serve(settings=given))

        yield run


@fixture(loop_scope="session")
async def site(serving: Serving) -> Site:
    return await serving()


@fixture(loop_scope="session")
async def broker(site: Site) -> Broker:
    """The broker of ``site``."""
    return site.broker


@fixture(loop_scope="session")
async def commands() -> AsyncIterator[Commands]:
    """The command as a process of its own: a service that can be killed and started again."""
    commands = Commands()
    try:
        yield commands
    finally:
        await commands.stop_all()


class ProxyBefore(Protocol):
    def __call__(self, service_port: int, *, holding_back: bool) -> Awaitable[str]: ...


@fixture(loop_scope="session")
async def proxy_before(tmp_path: Path) -> AsyncIterator[ProxyBefore]:
    """Put nginx before a service until the test ends, and give its URL."""
    async with AsyncExitStack() as stack:

        async def put(service_port: int, *, holding_back: bool) -> str:
            if NGINX is None:
                pytest.skip("nginx is not installed: scripts/programs tells how")
            return await stack.enter_async_context(nginx_before(service_port, tmp_path, holding_back=holding_back))

        yield put


class CableTo(Protocol):
    def __call__(self, service_port: int) -> Awaitable[Cable]: ...


@fixture(loop_scope="session")
async def cable_to() -> AsyncIterator[CableTo]:
    """Lay a cable to a service; it is plugged in."""
    laid: list[Cable] = []

    async def lay(service_port: int) -> Cable:
        laid.append(Cable(service_port, free_port()))
        await laid[-1].plug()
        return laid[-1]

    yield lay
    for cable in laid:
        cable.pull()


SitDown = Callable[..., Awaitable[Person]]


@fixture(loop_scope="session")
async def sit_down(
    browsers: Browsers,
    engine: str,
    serving: Serving,
    commands: Commands,
    proxy_before: ProxyBefore,
    cable_to: CableTo,
) -> AsyncIterator[SitDown]:
    """Have one more person sit down at the browser; options are those of a browser context.

    People leave before the services stop that they look at, or the last thing they saw would be an error.
    """
    people: list[Person] = []

    async def one_more(**options: Any) -> Person:
        people.append(await Person.at(await browsers.get(engine), **options))
        people[-1].context.set_default_timeout(PATIENCE_SECONDS * 1000)
        return people[-1]

    yield one_more
    async with AsyncExitStack() as stack:
        for person in people:
            stack.push_async_callback(person.leave)


@fixture(loop_scope="session")
async def person(sit_down: SitDown) -> Person:
    return await sit_down()
