"""What an operator or a load balancer asks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from notifier_service import Broker

from .conftest import API, Client, MakeClient, answer, error_of, reading

if TYPE_CHECKING:
    from conftest import Clock


async def test_a_living_process_says_so(client: Client) -> None:
    assert await answer(await client.get("/healthz/live")) == (200, {"success": True, "data": {"status": "live"}})


async def test_a_process_that_takes_work_says_so(client: Client) -> None:
    assert await answer(await client.get("/healthz/ready")) == (200, {"success": True, "data": {"status": "ready"}})


async def test_a_process_that_drains_is_alive_but_not_ready(client: Client, broker: Broker) -> None:
    broker.close()

    live, ready = await client.get("/healthz/live"), await client.get("/healthz/ready")

    assert live.status == 200
    assert await error_of(ready) == (503, "shutting_down")
    assert ready.headers["Retry-After"] == "5"


async def test_the_list_tells_of_each_open_session(make_client: MakeClient, clock: Clock) -> None:
    broker = Broker(clock=clock)
    client = await make_client(broker)
    event = broker.publish_nowait("s1", "note")
    broker.open("s2").ask(tool_name="rm", parameters={})
    clock.advance(12.5)

    async with reading(client, "s1") as stream:
        await stream.take(2)
        response = await client.get(f"{API}/sessions")

    first, second = (await response.json())["data"]
    assert first == {
        "session_id": "s1",
        "connections": 1,
        "pending_permissions": 0,
        "last_event_id": event.id,
        "idle_seconds": 12.5,
    }
    assert (second["session_id"], second["connections"], second["pending_permissions"]) == ("s2", 0, 1)


async def test_health_tells_how_a_session_and_its_readers_are(make_client: MakeClient, clock: Clock) -> None:
    broker = Broker(clock=clock)
    client = await make_client(broker)
    broker.publish_nowait("s1", "note")
    broker.ask("s1", tool_name="rm", parameters={})
    clock.advance(3.25)

    async with reading(client, "s1") as one, reading(client, "s1") as two:
        await one.take(2)
        await two.take(2)
        response = await client.get(f"{API}/sse/health/s1")

    data = (await response.json())["data"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", data.pop("created_at"))
    assert data == {
        "status": "healthy",
        "session_id": "s1",
        "connections": 2,
        "connections_by_transport": {"sse": 2},
        "queue_size": 2,
        "queue_capacity": 1000,
        "pending_permissions": 1,
        "last_event_id": broker.get("s1").log.last_event_id,
        "idle_seconds": 3.25,
        "disconnects": {},
    }


async def test_health_of_a_session_nobody_published_to_creates_it(client: Client, broker: Broker) -> None:
    response = await client.get(f"{API}/sse/health/new")

    assert response.status == 200
    assert [session.session_id for session in broker.sessions] == ["new"]


async def test_answers_are_not_stored_nor_sniffed_and_send_no_referrer(client: Client) -> None:
    response = await client.get(f"{API}/sse/health/s1")

    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
