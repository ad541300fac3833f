"""A service that is started again and again with what it has kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from notifier_service.core.broker import Broker
from notifier_service.core.limits import Limits
from tests.clock import Clock
from tests.core.memory_journal import MemoryJournal, Start


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def start(clock: Clock) -> Iterator[Start]:
    """Starts a service with a journal, which ends with the test."""
    started: list[Broker] = []

    def one(journal: MemoryJournal, **limits: Any) -> Broker:
        started.append(Broker(Limits(**limits), journal=journal, clock=clock))
        return started[-1]

    yield one
    for broker in started:
        broker.close()
