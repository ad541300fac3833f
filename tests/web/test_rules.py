"""What was decided for a session, listed and taken back (contract section 11)."""

from __future__ import annotations

from typing import Any

import pytest

from notifier_service import Broker

from .conftest import API, Client, answer, bearer, error_of

ASK: dict[str, Any] = {
    "tool_name": "search",
    "server": "mail",
    "parameters": {},
    "risk_level": "medium",
    "definition_sha256": "0a" * 32,
}
RULES = f"{API}/rules/s1"


async def asked(client: Client, session_id: str = "s1", **more: Any) -> dict[str, Any]:
    body = {name: value for name, value in {**ASK, **more}.items() if value is not None}
    record: dict[str, Any] = (await answer(await client.post(f"{API}/permissions/{session_id}", json=body)))[1]["data"]
    return record


async def decided(client: Client, record: dict[str, Any], approved: bool = True, **more: Any) -> int:
    decision = {"approved": approved, "request_id": record["request_id"], "scope": "session", **more}
    return (await client.post(f"{API}/sse/permission-response/s1", json=decision)).status


async def rules(client: Client) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await answer(await client.get(RULES)))[1]["data"]
    return listed


async def test_rule_is_listed_with_all_that_it_is_bound_to(client: Client) -> None:
    record = await asked(client)
    await decided(client, record, reason="my own mail")
    await asked(client)

    [rule] = await rules(client)

    assert rule.pop("rule_id").startswith("rule_")
    assert {name: rule.pop(name) is not None for name in ("created_at", "last_used_at")} == {
        "created_at": True,
        "last_used_at": True,
    }
    assert rule == {
        "source": "session",
        "name": f"allow {record['suggested_rule']}",
        "effect": "allow",
        "tool": "search",
        "server": "mail",
        "definition_sha256": "0a" * 32,
        "asked_by": "local",
        "agent": None,
        "risk": "medium",
        "justification": "my own mail",
        "used": 1,
        "created_by": "local",
    }


@pytest.mark.parametrize(
    "other",
    [
        {"server": "shell"},
        {"server": None},
        {"tool_name": "Search"},
        {"risk_level": "high"},
        {"definition_sha256": "0b" * 32},
        {"definition_sha256": "0b" * 32, "risk_level": "low"},
        {"definition_sha256": None, "risk_level": "low"},
    ],
)
async def test_call_that_is_another_than_the_person_saw_is_asked(client: Client, other: dict[str, Any]) -> None:
    await decided(client, await asked(client))

    assert (await asked(client, **other))["status"] == "pending"
    assert (await asked(client))["status"] == "approved"


async def test_rule_that_is_taken_back_holds_no_more(client: Client) -> None:
    await decided(client, await asked(client))
    [rule] = await rules(client)

    status, body = await answer(await client.delete(f"{RULES}/{rule['rule_id']}"))

    assert (status, body["data"]["rule_id"]) == (200, rule["rule_id"])
    assert await rules(client) == []
    assert (await asked(client))["status"] == "pending"
    assert await error_of(await client.delete(f"{RULES}/{rule['rule_id']}")) == (404, "rule_not_found")


async def test_rejection_can_be_for_the_session_and_be_taken_back(client: Client) -> None:
    first, twin = await asked(client), await asked(client)
    await decided(client, first, approved=False)
    later = await asked(client, risk_level="high")
    [rule] = await rules(client)
    await client.delete(f"{RULES}/{rule['rule_id']}")

    settled = await answer(await client.get(f"{API}/permissions/s1/{twin['request_id']}"))
    assert settled[1]["data"]["status"] == "rejected"
    assert (later["status"], later["decided_by"]) == ("rejected", "policy")
    assert (rule["effect"], (await asked(client))["status"]) == ("deny", "pending")


async def test_low_rating_is_not_believed_of_a_tool_that_was_asked_about(client: Client) -> None:
    read = {"tool_name": "read", "definition_sha256": None}
    believed = await asked(client, **read, risk_level="low")
    await asked(client, **read, risk_level="high")
    doubted = await asked(client, **read, risk_level="low", risk_reasons=["it only reads"])

    assert (believed["status"], doubted["status"]) == ("approved", "pending")
    assert doubted["risk_reasons"] == [
        "the asker says: it only reads",
        "who asks rates it low now, and it was asked about at risk high before",
    ]
    assert doubted["rated_by"] == "producer"


async def test_session_that_nobody_opened_has_no_rules_and_is_not_made(client: Client, broker: Broker) -> None:
    assert await rules(client) == []
    assert await error_of(await client.delete(f"{RULES}/rule_x")) == (404, "rule_not_found")
    assert broker.sessions == ()


async def test_rules_of_another_session_are_not_found(client: Client) -> None:
    await decided(client, await asked(client))
    [rule] = await rules(client)
    await asked(client, "s2")

    assert await error_of(await client.delete(f"{API}/rules/s2/{rule['rule_id']}")) == (404, "rule_not_found")
    assert await rules(client) == [rule]


@pytest.mark.parametrize(
    ("method", "right", "status"),
    [("GET", "view", 200), ("GET", "produce", 403), ("DELETE", "view", 403), ("DELETE", "produce", 403)],
)
async def test_who_may_see_may_list_and_who_may_approve_may_take_back(
    guarded: Client, method: str, right: str, status: int
) -> None:
    path = f"{API}/rules/team-1" + ("" if method == "GET" else "/rule_x")

    assert (await guarded.request(method, path, headers=bearer(right))).status == status
