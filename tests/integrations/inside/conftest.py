"""Where the recipes ask: a broker of this process, or a running service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from notifier_service import Broker, Client, Decision, Settings, serve


class Person:
    """Who answers what is asked in session ``s``."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.seen: list[Mapping[str, Any]] = []

    async def answer(self, answers: Mapping[str, Mapping[str, Any]]) -> None:
        """Answer each tool's requests so, until cancelled."""
        session = self._broker.open("s")
        while True:
            for request in session.desk.pending:
                self.seen.append(dict(request.record))
                decision = Decision(request_id=request.request_id, **answers[request.record.tool_name])
                self._broker.decide("s", decision, decided_by="ada")
            await session.log.wait_after(session.log.last_seq)


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    broker = Broker()
    yield broker
    broker.close()


@pytest.fixture(params=["process", "service"])
async def service(request: pytest.FixtureRequest, broker: Broker) -> AsyncIterator[Broker | Client]:
    if request.param == "process":
        yield broker
    else:
        async with serve(broker, Settings(port=0)) as site, Client(f"{site.url}{site.settings.prefix}") as client:
            yield client


@pytest.fixture
async def person(broker: Broker) -> AsyncIterator[Callable[..., Person]]:
    """Have a person answer: ``person(tool_name={"approved": True})``."""
    answering: list[asyncio.Task[None]] = []

    def answers(**by_tool: Mapping[str, Any]) -> Person:
        person = Person(broker)
        answering.append(asyncio.create_task(person.answer(by_tool)))
        return person

    yield answers
    for task in answering:
        task.cancel()
    failed = [error for error in await asyncio.gather(*answering, return_exceptions=True) if type(error) is KeyError]
    assert not failed, f"nobody said how to answer {failed}"
