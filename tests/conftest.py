"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import count
from tempfile import mkdtemp
from typing import Any

import pytest

from notifier_service import Broker
from notifier_service.core.broker import set_process_broker
from tests.clock import Clock
from tests.raw_socket import RawSocket
from tests.raw_stream import RawStream

with suppress(ModuleNotFoundError):  # environments of the integrations have none
    from hypothesis import settings

    # How long an example takes says how busy the machine is.
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")


gc.disable()  # nearly all that is made while tests are collected stays


def pytest_collection_finish() -> None:
    """What was imported stays: nobody need look through it again whenever memory is looked through."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    broker = Broker()
    yield broker
    broker.close()


@pytest.fixture(autouse=True)
def _no_process_broker_is_left() -> Iterator[None]:
    yield
    set_process_broker(None)


@pytest.fixture(scope="session")
def _new_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Any number of empty folders; before it makes one, pytest 9.1 reads the names of all that it has made."""
    root = tmp_path_factory.mktemp("folders")
    return (mkdtemp(dir=root) for _ in count())


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, _new_folders: Iterator[str]) -> None:
    """Tests read neither the developer's environment nor a ``.env`` of the folder they were started in."""
    for name in [name for name in os.environ if name.startswith("NOTIFIER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", next(_new_folders))
    monkeypatch.chdir(next(_new_folders))


@pytest.fixture
async def open_stream() -> AsyncIterator[Callable[..., Awaitable[RawStream]]]:
    """Open event streams on bare sockets; all of them are closed at the end of the test."""
    opened: list[RawStream] = []

    async def open_one(*arguments: Any, **options: Any) -> RawStream:
        opened.append(await RawStream.open(*arguments, **options))
        return opened[-1]

    yield open_one
    for stream in opened:
        await stream.closed()


@pytest.fixture
async def open_socket() -> AsyncIterator[Callable[..., Awaitable[RawSocket]]]:
    """Open WebSockets on bare sockets; all of them are closed at the end of the test."""
    opened: list[RawSocket] = []

    async def open_one(*arguments: Any, **options: Any) -> RawSocket:
        opened.append(await RawSocket.open(*arguments, **options))
        return opened[-1]

    yield open_one
    for socket in opened:
        await socket.closed()
