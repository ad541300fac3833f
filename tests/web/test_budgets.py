"""What one caller keeps here never shuts out another."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Limits

from .conftest import API, Client, MakeClient, WriteTokens, answer, error_of, reading, until

NOTE = {"type": "note"}
READS = [
    "sse/health/{}", "polling/session-info/{}", "polling/tool-status/{}", "polling/permission-request/{}",
    "polling/tool-result/{}", "long-poll/{}?timeout=0", "permissions/{}",
]  # fmt: skip


@pytest.fixture
def tokens(write_tokens: WriteTokens) -> Path:
    """A token for everybody of these names, who may do what the name says in every session."""
    rights: dict[str, list[str]] = {
        "producer": ["produce"], "other-producer": ["produce"], "viewer": ["view"], "other-viewer": ["view"],
        "approver": ["approve"],
    }  # fmt: skip
    return write_tokens(
        [{"token": f"{name}-token", "subject": name, "rights": its, "sessions": ["*"]} for name, its in rights.items()]
    )


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}-token"}


async def guarded(make_client: MakeClient, tokens: Path, broker: Broker) -> Client:
    return await make_client(broker, auth="tokens", tokens_file=tokens)


# Sessions


@pytest.mark.parametrize("path", READS)
async def test_reading_sessions_that_nobody_opened_makes_none(client: Client, broker: Broker, path: str) -> None:
    for n in range(3):
        assert (await client.get(f"{API}/{path.format(f's{n}')}")).status == 200

    assert broker.sessions == ()
    assert (await client.get(f"{API}/permissions/s1/unknown")).status == 404
    assert (await client.post(f"{API}/polling/clear-result/s1", json={})).status == 200
    assert broker.sessions == ()


async def test_cursor_of_a_session_that_nobody_opened_yet_is_good_when_somebody_has(
    client: Client, broker: Broker
) -> None:
    info = (await answer(await client.get(f"{API}/polling/session-info/s1")))[1]["data"]
    broker.publish_nowait("s1", "note")

    polled = (await answer(await client.get(f"{API}/long-poll/s1?after={info['last_event_id']}")))[1]["data"]

    assert polled["gap"] is None
    assert [event["type"] for event in polled["events"]] == ["note"]


async def test_sessions_that_were_only_read_give_way_to_a_producer(make_client: MakeClient) -> None:
    broker = Broker(Limits(max_sessions=3))
    client = await make_client(broker)
    for n in range(9):
        assert (await client.get(f"{API}/long-poll/read-{n}?timeout=0.01")).status == 200

    posted = [await client.post(f"{API}/events/made-{n}", json=NOTE) for n in range(4)]

    assert [response.status for response in posted] == [201, 201, 201, 429]
    assert [session.session_id for session in broker.sessions] == ["made-0", "made-1", "made-2"]


async def test_session_with_a_reader_or_a_question_does_not_give_way(make_client: MakeClient) -> None:
    broker = Broker(Limits(max_sessions=3))
    client = await make_client(broker)
    broker.publish_nowait("published", "note")
    broker.ask("asked", tool_name="rm", parameters={})
    async with reading(client, "read") as stream:
        await stream.take(2)
        refused = await client.post(f"{API}/events/more", json=NOTE)

        assert await error_of(refused) == (429, "limit_reached")
        assert refused.headers["Retry-After"] == "1"
    await until(lambda: not broker.connections)
    assert (await client.post(f"{API}/events/more", json=NOTE)).status == 201


async def test_array_for_several_new_sessions_does_not_have_one_of_them_give_way_to_another(
    make_client: MakeClient,
) -> None:
    broker = Broker(Limits(max_sessions=3))
    client = await make_client(broker)
    broker.open("empty")

    response = await client.post(f"{API}/events", json=[{**NOTE, "session_id": f"s{n}"} for n in range(3)])

    assert response.status == 201
    assert [session.log.last_seq for session in broker.sessions] == [1, 1, 1]


async def test_one_producer_leaves_sessions_for_others(make_client: MakeClient, tokens: Path) -> None:
    broker = Broker(Limits(max_sessions=10))
    client = await guarded(make_client, tokens, broker)

    async def post(name: str, n: int) -> int:
        return (await client.post(f"{API}/events/{name}-{n}", json=NOTE, headers=bearer(name))).status

    assert [await post("producer", n) for n in range(10)] == [201] * 8 + [429] * 2
    assert [await post("other-producer", n) for n in range(2)] == [201] * 2
    assert broker.counters.limits_reached == {"max_sessions": 2}


async def test_live_reader_of_what_nobody_publishes_counts_against_the_reader(
    make_client: MakeClient, tokens: Path
) -> None:
    broker = Broker(Limits(max_sessions=10))
    client = await guarded(make_client, tokens, broker)
    held = [
        asyncio.create_task(client.get(f"{API}/long-poll/x{n}?timeout=10", headers=bearer("viewer")).__aenter__())
        for n in range(10)
    ]
    await until(lambda: len(broker.sessions) == 8)

    response = await client.post(f"{API}/events/s1", json=NOTE, headers=bearer("producer"))

    assert response.status == 201
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)


async def test_number_of_sessions_of_one_subject_can_be_set(make_client: MakeClient, tokens: Path) -> None:
    broker = Broker(Limits(max_sessions_per_subject=2))
    client = await guarded(make_client, tokens, broker)

    async def post(name: str, n: int) -> Any:
        return await client.post(f"{API}/events/{name}-{n}", json=NOTE, headers=bearer(name))

    assert [(await post("producer", n)).status for n in range(3)] == [201, 201, 429]
    assert (await post("other-producer", 1)).status == 201
    broker.end_session("producer-0")
    assert (await post("producer", 3)).status == 201
