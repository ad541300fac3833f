"""What was asked and how it ended, over HTTP: who sees what of it, page by page."""

from __future__ import annotations

from typing import Any

import pytest

from notifier_service import Broker, Decision

from .conftest import API, Client, MakeClient, WriteTokens, answer, bearer, error_of

HISTORY = f"{API}/history"


def settled(broker: Broker, session_id: str = "s1", tool_name: str = "rm", decided_by: str = "alice") -> str:
    request = broker.ask(session_id, tool_name=tool_name, parameters={"path": "/tmp/x"})
    broker.decide(session_id, Decision(approved=False, request_id=request.request_id), decided_by=decided_by)
    return request.request_id


async def told(client: Client, headers: dict[str, str] | None = None, **query: str) -> dict[str, Any]:
    status, body = await answer(await client.get(HISTORY, params=query, headers=headers))
    assert status == 200, body
    data: dict[str, Any] = body["data"]
    return data


async def test_history_tells_records_with_their_session_newest_first(client: Client, broker: Broker) -> None:
    first, second = settled(broker, "s1"), settled(broker, "s2")
    broker.end_session("s2")

    data = await told(client)

    assert data["next"] is None
    assert [(record["session_id"], record["request_id"]) for record in data["requests"]] == [
        ("s2", second),
        ("s1", first),
    ]
    assert data["requests"][0]["status"] == "rejected"


async def test_decision_over_http_is_in_the_history(client: Client) -> None:
    record = (await answer(await client.post(f"{API}/permissions/s1", json={"tool_name": "rm", "parameters": {}})))[1]
    decision = {"approved": True, "request_id": record["data"]["request_id"], "reason": "fine"}
    decided = (await answer(await client.post(f"{API}/sse/permission-response/s1", json=decision)))[1]["data"]

    assert (await told(client))["requests"] == [{"session_id": "s1", **decided}]


async def test_history_is_empty_as_long_as_nothing_was_settled(client: Client, broker: Broker) -> None:
    broker.ask("s1", tool_name="rm", parameters={})

    assert await told(client) == {"requests": [], "next": None}


async def test_caller_gets_what_its_patterns_cover(
    make_client: MakeClient, write_tokens: WriteTokens, broker: Broker
) -> None:
    entries = [
        {"token": "viewer", "rights": ["view"], "sessions": ["team-*", "shared"]},
        {"token": "stranger", "rights": ["approve"], "sessions": ["nobody-*"]},
        {"token": "admin", "rights": ["admin"], "sessions": ["*"]},
    ]
    client = await make_client(broker, auth="tokens", tokens_file=write_tokens(entries))
    for session_id in ("team-a", "shared", "private"):
        settled(broker, session_id)

    seen = {}
    for entry in entries:
        data = await told(client, {"Authorization": f"Bearer {entry['token']}"})
        seen[entry["token"]] = {record["session_id"] for record in data["requests"]}

    assert seen == {
        "viewer": {"team-a", "shared"},
        "stranger": set(),
        "admin": {"team-a", "shared", "private"},
    }


@pytest.mark.parametrize("session_id", ["private", "never-was"])
async def test_session_outside_the_patterns_is_forbidden_whether_it_ever_was(
    guarded: Client, broker: Broker, session_id: str
) -> None:
    settled(broker, "private")

    response = await guarded.get(HISTORY, params={"session_id": session_id}, headers=bearer("admin"))

    assert await error_of(response) == (403, "forbidden")


async def test_who_only_produces_gets_nothing(guarded: Client) -> None:
    assert await error_of(await guarded.get(HISTORY, headers=bearer("produce"))) == (403, "forbidden")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"session_id": "s1"}, 2),
        ({"tool": "cat"}, 1),
        ({"decided_by": "bob"}, 1),
        ({"session_id": "s2", "tool": "rm"}, 0),
        ({"tool": "c*"}, 0),
    ],
)
async def test_query_chooses_among_them(client: Client, broker: Broker, query: dict[str, str], found: int) -> None:
    settled(broker)
    settled(broker, decided_by="bob")
    settled(broker, "s2", "cat")

    assert len((await told(client, **query))["requests"]) == found


async def test_next_leads_on_to_older_ones(client: Client, broker: Broker) -> None:
    asked = [settled(broker) for _ in range(5)]

    first = await told(client, limit="3")
    settled(broker)
    second = await told(client, limit="3", before=first["next"])

    assert [record["request_id"] for record in first["requests"] + second["requests"]] == asked[::-1]
    assert second["next"] is None


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "many"},
        {"before": "yesterday"},
        {"before": "x" * 65},
        {"session_id": "bad id"},
        {"session_id": ".."},
        {"tool": "x" * 257},
        {"since": "1970"},
    ],
)
async def test_query_that_is_none_is_refused(client: Client, query: dict[str, str]) -> None:
    assert await error_of(await client.get(HISTORY, params=query)) == (422, "invalid")
