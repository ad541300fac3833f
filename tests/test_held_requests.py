"""Whoever waits for a person waits through proxies and restarts: nothing is lost, and nothing is asked twice."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from notifier_service import Broker, Client, Decision, Settings, serve
from notifier_service.core.errors import ServiceRestarted, ServiceUnavailable
from notifier_service.web import Site
from tests.cli.processes import free_port
from tests.losing_proxy import Fate, LosingProxy

LOST: list[Fate] = ["reset", "lose", "half", "502", "504"]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve(settings=Settings(port=0)) as site:
        yield site


@pytest.fixture
async def proxy(site: Site) -> AsyncIterator[LosingProxy]:
    async with LosingProxy(site.port).running() as proxy:
        yield proxy


def url_of(site: Site) -> str:
    return f"{site.url}{site.settings.prefix}"


async def pending(broker: Broker) -> str:
    """The id of the request that waits, as soon as one does."""
    async with asyncio.timeout(20):
        while not broker.open("s").desk.pending:  # noqa: ASYNC110  # what comes there has no event of its own
            await asyncio.sleep(0.01)
    [request] = broker.open("s").desk.pending
    return request.request_id


def asked_so_far(broker: Broker) -> int:
    """How often a person was asked in the session."""
    return sum(event.type == "permission_request" for event in broker.open("s").log.read_after(0))


def approve(broker: Broker, request_id: str) -> None:
    broker.decide("s", Decision(approved=True, request_id=request_id), decided_by="anna")


@pytest.mark.parametrize("fate", LOST)
async def test_answer_that_is_lost_when_asking_is_asked_for_again(site: Site, proxy: LosingProxy, fate: Fate) -> None:
    proxy.fates = [fate]
    async with Client(proxy.url) as client:
        asking = asyncio.create_task(client.ask("s", "rm", {}, wait_seconds=math.inf))
        request_id = await pending(site.broker)
        approve(site.broker, request_id)
        record = await asyncio.wait_for(asking, 20)

    assert (record["request_id"], record["approved"]) == (request_id, True)
    assert asked_so_far(site.broker) == 1


@pytest.mark.parametrize("fate", LOST)
async def test_decision_whose_answer_is_lost_reaches_the_asker_all_the_same(
    site: Site, proxy: LosingProxy, fate: Fate
) -> None:
    proxy.fates = ["pass", fate, fate]
    waiting = asyncio.Event()
    async with Client(proxy.url) as client:
        asking = asyncio.create_task(
            client.ask("s", "rm", {}, wait_seconds=math.inf, on_waiting=lambda _: waiting.set())
        )
        await waiting.wait()
        approve(site.broker, await pending(site.broker))
        record = await asyncio.wait_for(asking, 20)

    assert record["approved"] is True
    assert asked_so_far(site.broker) == 1


async def test_no_answer_is_held_for_longer_than_proxies_wait(site: Site, proxy: LosingProxy) -> None:
    async with Client(proxy.url) as client:
        asking = asyncio.create_task(client.ask("s", "rm", {}, wait_seconds=3000))
        request_id = await pending(site.broker)
        async with asyncio.timeout(20):
            while len(proxy.asked) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        approve(site.broker, request_id)
        await asking

    [posted, held] = proxy.asked
    assert posted == "POST /agent_backend/api/permissions/s"
    assert 0 < float(held.partition("?wait=")[2]) <= 25


@pytest.mark.parametrize("fate", ["reset", "lose", "half"])
async def test_what_is_published_over_a_connection_that_is_lost_comes_once(
    site: Site, proxy: LosingProxy, fate: Fate
) -> None:
    proxy.fates = [fate]
    async with Client(proxy.url) as client:
        [event_id] = await client.publish("s", {"type": "note"})

    log = site.broker.open("s").log
    assert (log.last_event_id, log.last_seq) == (event_id, 1)


async def test_decision_with_an_id_is_sent_again_and_one_without_is_not(site: Site, proxy: LosingProxy) -> None:
    site.broker.ask("s", tool_name="t", parameters={})
    request_id = await pending(site.broker)
    async with Client(proxy.url) as client:
        proxy.fates = ["reset"]
        with pytest.raises(ServiceUnavailable):
            await client.decide("s", {"approved": True})
        proxy.fates = ["lose"]
        record = await client.decide("s", {"approved": True, "request_id": request_id})

    assert record["status"] == "approved"


async def test_asker_that_is_cancelled_withdraws_what_it_asked(site: Site, proxy: LosingProxy) -> None:
    async with Client(proxy.url) as client:
        asking = asyncio.create_task(client.ask("s", "rm", {}, wait_seconds=math.inf))
        await pending(site.broker)
        asking.cancel()
        await asyncio.wait([asking])

    assert site.broker.open("s").desk.pending == ()


async def test_asker_with_a_key_of_its_own_may_come_back_to_what_it_asked(site: Site) -> None:
    async with Client(url_of(site)) as client:
        asking = asyncio.create_task(client.ask("s", "rm", {}, wait_seconds=math.inf, idempotency_key="k"))
        request_id = await pending(site.broker)
        asking.cancel()
        await asyncio.wait([asking])
        again = await client.ask("s", "rm", {}, idempotency_key="k")

    assert (again["request_id"], again["status"]) == (request_id, "pending")


async def test_service_that_is_restarted_while_a_person_thinks_is_asked_again() -> None:
    port = free_port()
    waited_for: list[dict[str, Any]] = []
    async with Client(f"http://127.0.0.1:{port}/agent_backend") as client:
        async with serve(settings=Settings(port=port)) as first:
            asking = asyncio.create_task(
                client.ask("s", "rm", {"path": "a"}, wait_seconds=math.inf, on_waiting=waited_for.append)
            )
            await pending(first.broker)
        async with serve(settings=Settings(port=port)) as second:
            approve(second.broker, await pending(second.broker))
            record = await asyncio.wait_for(asking, 20)

    assert (record["approved"], record["parameters"]) == (True, {"path": "a"})
    assert [told["request_id"] for told in waited_for][1:] == [record["request_id"]]


async def test_request_of_before_a_restart_says_so_and_one_that_never_was_does_not() -> None:
    port = free_port()
    async with Client(f"http://127.0.0.1:{port}/agent_backend") as client:
        async with serve(settings=Settings(port=port)):
            record = await client.ask("s", "rm", {})
        async with serve(settings=Settings(port=port)):
            with pytest.raises(ServiceRestarted, match="was restarted") as told:
                await client.request("s", record["request_id"])
            with pytest.raises(ServiceRestarted):
                await client.decide("s", {"approved": True, "request_id": record["request_id"]})
            with pytest.raises(Exception, match="has no permission request") as unknown:
                await client.request("s", "pr_unknown")

    assert (told.value.status, told.value.code) == (404, "request_not_found")
    assert not isinstance(unknown.value, ServiceRestarted)


async def test_service_that_was_killed_while_a_person_thought_is_asked_again(proxy: LosingProxy) -> None:
    async with serve(settings=Settings(port=0)) as second, Client(proxy.url) as client:
        asking = asyncio.create_task(
            client.ask("s", "rm", {}, wait_seconds=math.inf, on_waiting=lambda _: setattr(proxy, "port", second.port))
        )
        approve(second.broker, await pending(second.broker))
        record = await asyncio.wait_for(asking, 20)

    assert record["approved"] is True


async def test_agent_is_told_of_a_restart_when_the_time_of_the_person_is_over(proxy: LosingProxy) -> None:
    async with serve(settings=Settings(port=0)) as second, Client(proxy.url) as client:

        def restart_late(_: object) -> None:
            proxy.port = second.port
            time.sleep(0.05)  # longer than the person had

        with pytest.raises(ServiceRestarted, match="was restarted"):
            await client.ask("s", "rm", {}, wait_seconds=math.inf, timeout_seconds=0.04, on_waiting=restart_late)

    assert second.broker.sessions == () or second.broker.open("s").desk.pending == ()


async def test_request_that_the_service_cancelled_says_why_in_a_word(site: Site) -> None:
    async with Client(url_of(site)) as client:
        ended = asyncio.create_task(client.ask("s", "rm", {}, wait_seconds=math.inf))
        await pending(site.broker)
        await asyncio.sleep(0.5)  # nothing tells that the client has come back to wait
        site.broker.end_session("s")

        assert (await ended)["code"] == "session_closed"


async def test_service_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier_service.client._LONGEST_AWAY_SECONDS", 0.5)
    port = free_port()
    async with Client(f"http://127.0.0.1:{port}/agent_backend", away_seconds=0.5) as client:
        async with serve(settings=Settings(port=port)) as site:
            asking = asyncio.create_task(client.ask("s", "rm", {}, wait_seconds=math.inf, timeout_seconds=1))
            await pending(site.broker)
        with pytest.raises(ServiceUnavailable):
            await asyncio.wait_for(asking, 20)
