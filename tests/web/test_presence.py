"""Pages say over HTTP whether they are visible, and people that they are away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from notifier_service import Broker, Settings
from notifier_service.web import serve

from .conftest import API, Client, answer, bearer, error_of, reading, until

PRESENCE = f"{API}/presence"


@pytest.mark.parametrize(
    ("visible", "looks"), [("1", True), ("true", True), ("0", False), ("'; --", False), ("", False)]
)
async def test_stream_says_whether_its_page_is_visible(
    client: Client, broker: Broker, visible: str, looks: bool
) -> None:
    async with reading(client, params={"visible": visible, "page": "x" * 1000}) as stream:
        await stream.take(2)
        assert broker.is_looked_at("s1") is looks
    await until(lambda: not broker.is_looked_at("s1"))


async def test_inbox_and_socket_say_so_too(client: Client, broker: Broker) -> None:
    async with client.get(f"{API}/sse/inbox", params={"visible": "1"}):
        assert broker.is_looked_at("any")
    await until(lambda: not broker.is_looked_at("any"))
    async with client.ws_connect("/agent_backend/ws/s1", params={"visible": "1"}) as socket:
        await socket.receive_json()
        assert broker.is_looked_at("s1")
    await until(lambda: not broker.is_looked_at("s1"))


async def test_page_says_so_by_itself_and_hides_its_stream(client: Client, broker: Broker) -> None:
    said = await answer(await client.post(PRESENCE, json={"visible": True, "session_id": "s1"}))
    assert said == (200, {"success": True, "data": {"visible": True, "away": False, "expires_in": 60.0}})
    assert (broker.is_looked_at("s1"), broker.is_looked_at("s2")) == (True, False)
    await client.post(PRESENCE, json={"visible": False})
    assert not broker.is_looked_at("s1")

    async with reading(client, params={"visible": "1"}) as stream:
        await stream.take(1)
        await client.post(PRESENCE, json={"visible": False})
        assert not broker.is_looked_at("s1")


async def test_who_is_away_is_away_on_every_page(client: Client, broker: Broker) -> None:
    async with reading(client, params={"visible": "1"}) as stream:
        await stream.take(1)
        _, said = await answer(await client.post(PRESENCE, json={"away": True}))
        assert (said["data"]["away"], broker.is_looked_at("s1")) == (True, False)
        await client.post(PRESENCE, json={"away": False})
        assert broker.is_looked_at("s1")


async def test_who_is_away_is_told_so_is_on_record_and_is_so_after_a_restart(tmp_path: Path) -> None:
    settings = Settings(port=0, journal=tmp_path / "journal", audit_file=tmp_path / "audit")
    for body, is_away in (({"away": True}, True), ({"visible": True}, True), ({"away": False}, False)):
        async with serve(settings=settings) as site, aiohttp.ClientSession(site.url) as http:
            for _ in range(2):
                async with http.post(PRESENCE, json=body) as response:
                    assert (await response.json())["data"]["away"] is is_away
            async with http.get(PRESENCE) as response:
                assert (await response.json())["data"] == {"away": is_away}
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]

    told = [(line["kind"], line["decided_by"]) for line in lines if line["kind"] in ("away", "back")]
    assert told == [("away", "local"), ("back", "local")]


async def test_page_counts_in_the_sessions_of_its_token_alone(guarded: Client, broker: Broker) -> None:
    await guarded.post(PRESENCE, json={"visible": True}, headers=bearer("view"))
    assert (broker.lookers("team-1"), broker.lookers("private")) == ({"view"}, set())

    refused = await guarded.post(PRESENCE, json={"visible": True, "session_id": "private"}, headers=bearer("view"))
    assert await error_of(refused) == (403, "forbidden")
    assert await error_of(await guarded.post(PRESENCE, json={"away": True}, headers=bearer("produce"))) == (
        403,
        "forbidden",
    )


@pytest.mark.parametrize(
    "body",
    [{}, {"visible": "1"}, {"visible": None}, {"page": "p"}, {"visible": True, "page": ""}, {"away": 1}, [],
     {"visible": True, "page": "x" * 65}, {"visible": True, "session_id": "a/b"}, {"visible": True, "more": 1}],
)  # fmt: skip
async def test_what_says_nothing_is_refused(client: Client, body: Any) -> None:
    assert await error_of(await client.post(PRESENCE, json=body)) == (422, "invalid")
