"""What an operator or a load balancer asks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from notifier_service import Broker
from notifier_service.core.events import utc_text
from notifier_service.core.question import Question
from tests.policies import a_policy_file

from .conftest import API, Client, MakeClient, WriteTokens, answer, bearer, error_of, reading

if TYPE_CHECKING:
    from conftest import Clock


async def test_a_living_process_says_so(client: Client) -> None:
    assert await answer(await client.get("/healthz/live")) == (200, {"success": True, "data": {"status": "live"}})


async def test_a_process_that_takes_work_says_so(client: Client) -> None:
    assert await answer(await client.get("/healthz/ready")) == (200, {"success": True, "data": {"status": "ready"}})


async def test_policy_that_does_not_load_any_more_is_told_by_health(make_client: MakeClient, tmp_path: Path) -> None:
    file = a_policy_file(tmp_path / "policy.toml", deny="rm")
    client = await make_client(Broker(policy=file))
    before = (await (await client.get("/healthz/ready")).json())["data"]
    file.error = "policy.toml:3: no such effect"

    after = (await (await client.get("/healthz/ready")).json())["data"]
    of_session = (await (await client.get(f"{API}/sse/health/s1")).json())["data"]

    assert before == {"status": "ready", "policy": "loaded"}
    assert after == {"status": "ready", "policy": "stale"}
    assert of_session["policy"] == "stale"


async def test_admin_is_told_of_the_policy_in_force_and_why_a_newer_one_does_not_load(
    make_client: MakeClient, write_tokens: WriteTokens, tmp_path: Path
) -> None:
    file = a_policy_file(tmp_path / "policy.toml", deny="rm")
    file.error = "policy.toml:3: no such effect"
    tokens = [{"token": right, "rights": [right], "sessions": ["*"]} for right in ("admin", "approve")]
    client = await make_client(Broker(policy=file), auth="tokens", tokens_file=write_tokens(tokens))

    response = await client.get(f"{API}/policy", headers={"Authorization": "Bearer admin"})
    refused = await client.get(f"{API}/policy", headers={"Authorization": "Bearer approve"})

    data = (await response.json())["data"]
    assert data.pop("loaded_at") == utc_text(file.loaded_at)
    assert data == {
        "file": str(tmp_path / "policy.toml"),
        "default": "by-risk",
        "rules": [{"name": "no rm", "effect": "deny"}],
        "error": "policy.toml:3: no such effect",
    }
    assert await error_of(refused) == (403, "forbidden")


async def test_without_a_policy_file_there_is_nothing_to_tell_but_the_default(client: Client) -> None:
    _, told = await answer(await client.get(f"{API}/policy"))

    assert told["data"] == {"file": None, "default": "by-risk", "loaded_at": None, "rules": [], "error": None}


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
    broker.open("s2").ask(Question("rm", {}))
    clock.advance(12.5)

    async with reading(client, "s1") as stream:
        await stream.take(2)
        response = await client.get(f"{API}/sessions")

    second, first = (await response.json())["data"]
    assert first == {
        "session_id": "s1",
        "title": None,
        "agent": None,
        "connections": 1,
        "pending_permissions": 0,
        "last_event_id": event.id,
        "created_at": first["created_at"],
        "idle_seconds": 12.5,
        "state": "idle",
    }
    assert (second["session_id"], second["connections"], second["pending_permissions"]) == ("s2", 0, 1)


async def test_the_list_tells_each_of_the_sessions_that_the_patterns_cover(
    make_client: MakeClient, write_tokens: WriteTokens, broker: Broker
) -> None:
    entries = [
        {"token": "approver", "rights": ["approve"], "sessions": ["team-*", "shared"]},
        {"token": "viewer", "rights": ["view"], "sessions": ["shared"]},
        {"token": "stranger", "rights": ["approve"], "sessions": ["nobody-*"]},
        {"token": "admin", "rights": ["admin"], "sessions": ["*"]},
    ]
    client = await make_client(broker, auth="tokens", tokens_file=write_tokens(entries))
    for session_id in ("team-a", "shared", "private"):
        broker.open(session_id)

    seen = {}
    for entry in entries:
        response = await client.get(f"{API}/sessions", headers={"Authorization": f"Bearer {entry['token']}"})
        seen[entry["token"]] = {row["session_id"] for row in (await response.json())["data"]}

    assert seen == {
        "approver": {"team-a", "shared"},
        "viewer": {"shared"},
        "stranger": set(),
        "admin": {"team-a", "shared", "private"},
    }


async def test_who_only_produces_does_not_see_the_list(guarded: Client) -> None:
    response = await guarded.get(f"{API}/sessions", headers=bearer("produce"))

    assert await error_of(response) == (403, "forbidden")


async def test_a_bounded_list_tells_first_where_something_waits_then_what_was_used_last(
    make_client: MakeClient, clock: Clock
) -> None:
    broker = Broker(clock=clock)
    client = await make_client(broker)
    for session_id in ("waiting", "old", "busy"):
        broker.publish_nowait(session_id, "note")
        clock.advance(1)
    broker.ask("waiting", tool_name="rm", parameters={})
    clock.advance(1)
    broker.publish_nowait("busy", "note")

    response = await client.get(f"{API}/sessions", params={"limit": "2"})

    assert [row["session_id"] for row in (await response.json())["data"]] == ["waiting", "busy"]


async def test_pages_of_the_list_tell_each_session_once_in_the_order_of_the_whole(
    make_client: MakeClient, clock: Clock
) -> None:
    broker = Broker(clock=clock)
    client = await make_client(broker)
    for number in range(7):
        broker.publish_nowait(f"s:{number}", "note")
        clock.advance(number % 2)  # some at the same moment
    broker.ask("s:3", tool_name="rm", parameters={})
    whole = await (await client.get(f"{API}/sessions")).json()

    told, pages, cursor = [], 0, {}
    while pages == 0 or cursor:
        page = await (await client.get(f"{API}/sessions", params={"limit": "3", **cursor})).json()
        told += page["data"]
        pages += 1
        cursor = {"cursor": page["next"]} if "next" in page else {}

    assert "next" not in whole
    assert told == whole["data"]
    assert told[0]["session_id"] == "s:3"
    assert (len(told), pages) == (7, 3)


async def test_page_behind_a_session_that_has_ended_meanwhile_goes_on_all_the_same(make_client: MakeClient) -> None:
    broker = Broker()
    client = await make_client(broker)
    for name in ("a", "b", "c"):
        broker.publish_nowait(name, "note")
    first = await (await client.get(f"{API}/sessions", params={"limit": "2"})).json()
    broker.end_session(first["data"][1]["session_id"])

    second = await (await client.get(f"{API}/sessions", params={"limit": "2", "cursor": first["next"]})).json()

    assert [row["session_id"] for row in second["data"]] == ["a"]


@pytest.mark.parametrize("cursor", ["", "1", "3-a-s1", "1-A-s1", "1-a-", "1-a-s/1", "1-a-s1\n", "x" * 300])
async def test_a_cursor_of_the_list_that_is_none_is_refused(client: Client, cursor: str) -> None:
    assert await error_of(await client.get(f"{API}/sessions", params={"cursor": cursor})) == (422, "invalid")


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "many", "1e3", ""])
async def test_a_limit_of_the_list_that_is_none_is_refused(client: Client, limit: str) -> None:
    assert await error_of(await client.get(f"{API}/sessions", params={"limit": limit})) == (422, "invalid")


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
        "policy": "none",
        "audit": "none",
        "journal": "none",
    }


async def test_health_of_a_session_nobody_published_to_keeps_nothing(client: Client, broker: Broker) -> None:
    response = await client.get(f"{API}/sse/health/new")

    assert response.status == 200
    assert [session.session_id for session in broker.sessions] == []


async def test_answers_are_not_stored_nor_sniffed_and_send_no_referrer(client: Client) -> None:
    response = await client.get(f"{API}/sse/health/s1")

    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
