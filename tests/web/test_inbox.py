"""All sessions at once over HTTP: poll, stream, what sessions are called, and many decisions in one request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from notifier_service import Broker, Decision, Settings
from notifier_service.web import serve

from .conftest import API, Client, MakeClient, Stream, WriteTokens, answer, bearer, error_of, until

INBOX = f"{API}/inbox"
STREAM = f"{API}/sse/inbox"
DECIDE = f"{API}/permissions/decide"


def asked(broker: Broker, session_id: str, **more: Any) -> dict[str, Any]:
    request = broker.ask(session_id, tool_name="rm", parameters={"path": "/srv"}, **more)
    return {
        "session_id": session_id,
        "request_id": request.request_id,
        "parameters_sha256": request.record.parameters_sha256,
    }


@asynccontextmanager
async def reading(client: Client | aiohttp.ClientSession, **request: Any) -> AsyncIterator[Stream]:
    async with client.get(STREAM, **request) as response:
        assert response.status == 200, await response.text()
        yield Stream(response)


async def seen(client: Client, right: str) -> tuple[set[str], set[str]]:
    _, body = await answer(await client.get(INBOX, headers=bearer(right)))
    requests = {one["session_id"] for one in body["data"]["permission_requests"]}
    return requests, {row["session_id"] for row in body["data"]["sessions"]}


# What waits


async def test_poll_tells_what_waits_and_which_sessions_there_are(client: Client, broker: Broker) -> None:
    first, second = asked(broker, "b"), asked(broker, "a")
    broker.publish_nowait("quiet", "note", {})

    status, body = await answer(await client.get(INBOX))

    assert status == 200
    data = body["data"]
    assert set(data) == {"last_event_id", "permission_requests", "sessions"}
    assert [one["request_id"] for one in data["permission_requests"]] == [first["request_id"], second["request_id"]]
    assert data["permission_requests"][0]["parameters"] == {"path": "/srv"}
    rows = {row["session_id"]: row for row in data["sessions"]}
    assert {session_id: row["state"] for session_id, row in rows.items()} == {
        "a": "waiting",
        "b": "waiting",
        "quiet": "idle",
    }
    assert set(rows["quiet"]) == {
        "session_id", "title", "agent", "connections", "pending_permissions", "last_event_id", "created_at",
        "idle_seconds", "state",
    }  # fmt: skip


async def test_poll_with_nothing_new_is_304_until_something_changes(client: Client, broker: Broker) -> None:
    request = asked(broker, "s1")
    tag = (await client.get(INBOX)).headers["ETag"]

    async def known() -> bool:
        nonlocal tag
        response = await client.get(INBOX, headers={"If-None-Match": tag})
        tag = response.headers["ETag"]
        return response.status == 304

    assert await known()
    changes = (
        lambda: broker.publish_nowait("s1", "note", {}),
        lambda: broker.publish_nowait("s2", "note", {}),
        lambda: broker.decide("s1", Decision(approved=False, request_id=request["request_id"]), decided_by="alice"),
        lambda: broker.end_session("s2"),
    )
    for change in changes:
        change()
        assert not await known()
        assert await known()


async def test_caller_sees_what_its_patterns_cover(guarded: Client, broker: Broker) -> None:
    for session_id in ("team-1", "private"):
        asked(broker, session_id)

    for right in ("view", "approve"):
        assert await seen(guarded, right) == ({"team-1"}, {"team-1"})
    assert await error_of(await guarded.get(INBOX, headers=bearer("produce"))) == (403, "forbidden")
    assert await error_of(await guarded.get(STREAM, headers=bearer("produce"))) == (403, "forbidden")
    assert await error_of(await guarded.get(INBOX)) == (401, "unauthenticated")


async def test_stream_tells_hello_the_snapshot_and_what_happens(client: Client, broker: Broker) -> None:
    first = asked(broker, "s1")
    async with reading(client) as stream:
        hello, snapshot = await stream.take(2)
        second = asked(broker, "s2")
        opened, request = await stream.take(2)
        decided = await client.post(DECIDE, json={"decisions": [{**second, "approved": True}]})
        answered, cleared = await stream.take(2)

    assert decided.status == 200
    assert hello.data["data"].keys() == {"epoch", "last_event_id", "resumed", "heartbeat_seconds", "viewers"}
    assert [one["request_id"] for one in snapshot.data["data"]["permission_requests"]] == [first["request_id"]]
    assert (opened.type, opened.data["data"]) == ("session_opened", {"session_id": "s2"})
    assert request.data["data"]["viewers"] == 1
    for event in (request, answered, cleared):
        assert event.data["data"]["session_id"] == "s2"
        assert event.data["data"]["request_id"] == second["request_id"]
        assert event.id == event.data["id"]


async def test_stream_resumes_behind_the_header_and_the_query(client: Client, broker: Broker) -> None:
    async with reading(client) as stream:
        await stream.take(2)
        asked(broker, "s1")
        cursor = (await stream.take(2))[-1].id or ""
    asked(broker, "s2")

    for how in ({"headers": {"Last-Event-ID": cursor}}, {"params": {"last_event_id": cursor}}):
        async with reading(client, **how) as stream:
            hello, *missed = await stream.take(3)
        assert hello.data["data"]["resumed"] == "full"
        assert [event.type for event in missed] == ["session_opened", "permission_request"]


async def test_stream_with_a_cursor_that_leads_nowhere_is_a_gap_and_no_error(client: Client) -> None:
    async with reading(client, headers={"Last-Event-ID": "'; drop table"}) as stream:
        _, gap, snapshot = await stream.take(3)

    assert gap.data["data"]["reason"] == "unknown"
    assert snapshot.data["data"]["permission_requests"] == []


async def test_stream_names_its_events_where_that_is_wanted(client: Client) -> None:
    async with reading(client, params={"named": "1"}) as stream:
        assert [frame.event for frame in await stream.take(2)] == ["hello", "snapshot"]


async def test_stream_says_bye_at_shutdown() -> None:
    async with aiohttp.ClientSession() as http:
        async with serve(settings=Settings(port=0)) as site:
            response = await http.get(site.url + STREAM)
            stream = Stream(response)
            await stream.take(2)
        bye = (await stream.rest())[-1]

    assert (bye.type, bye.data["data"]["code"], bye.data["data"]["reconnect"]) == ("bye", "shutdown", True)


async def test_stream_beyond_the_limit_is_told_so_and_ends(make_client: MakeClient) -> None:
    client = await make_client(max_connections=1)
    async with reading(client), reading(client) as refused:
        error, bye = await refused.rest()

    assert (error.data["code"], bye.data["data"]["code"]) == ("limit_reached", "limit")


async def test_ticket_opens_one_stream_of_the_inbox_and_lets_look_on_only(guarded: Client, broker: Broker) -> None:
    asked(broker, "team-1")
    asked(broker, "private")
    tickets = [
        (await answer(await guarded.post(f"{API}/sse/ticket", headers=bearer("approve"))))[1]["data"]["ticket"]
        for _ in range(2)
    ]
    async with reading(guarded, params={"ticket": tickets[0]}) as stream:
        _, snapshot = await stream.take(2)
    again = await guarded.get(STREAM, params={"ticket": tickets[0]})

    assert {row["session_id"] for row in snapshot.data["data"]["sessions"]} == {"team-1"}
    assert await error_of(again) == (401, "unauthenticated")
    async with guarded.ws_connect("/agent_backend/ws/team-1", params={"ticket": tickets[1]}) as socket:
        await socket.send_json({"type": "permission_response", "approved": True})
        answers = [await socket.receive_json() for _ in range(4)]
    assert [one["code"] for one in answers if one["type"] == "error"] == ["forbidden"]


@pytest.mark.parametrize("sessions", [None, "others-*"])
async def test_stream_ends_when_its_token_is_revoked_or_is_for_other_sessions(
    make_client: MakeClient, write_tokens: WriteTokens, broker: Broker, sessions: str | None
) -> None:
    def entries(sessions: str | None) -> list[dict[str, Any]]:
        kept = {"token": "kept-token", "rights": ["admin"], "sessions": ["*"]}
        return [kept] + ([{"token": "view-token", "rights": ["view"], "sessions": [sessions]}] if sessions else [])

    client = await make_client(broker, auth="tokens", tokens_file=write_tokens(entries("team-*")))
    async with reading(client, headers=bearer("view")) as stream, reading(client, headers=bearer("kept")) as other:
        await stream.take(2)
        write_tokens(entries(sessions))
        bye = (await stream.rest())[-1]
        asked(broker, "team-1")
        assert "permission_request" in [event.type for event in await other.take(4)]

    assert (bye.type, bye.data["data"]["code"]) == ("bye", "token_expired")


async def test_page_of_another_site_reads_nothing(client: Client) -> None:
    for path in (INBOX, STREAM):
        response = await client.get(path, headers={"Origin": "https://evil.example"})
        assert (await error_of(response))[0] == 403


# What sessions are called


async def test_session_gets_a_title_and_an_agent_which_the_list_tells(client: Client) -> None:
    body = {"title": "  Tidy\nthe \u202edrafts\x07 ", "agent": "claude-code"}
    status, said = await answer(await client.post(f"{API}/sessions/s1", json=body))

    assert status == 200
    assert (said["data"]["title"], said["data"]["agent"]) == ("Tidy the drafts", "claude-code")
    [row] = (await answer(await client.get(f"{API}/sessions")))[1]["data"]
    assert (row["title"], row["agent"], row["state"]) == ("Tidy the drafts", "claude-code", "idle")


async def test_label_changes_in_what_the_body_names(client: Client) -> None:
    for body in ({"title": "old", "agent": "robot"}, {"title": "new"}, {}, {"agent": None}):
        response = await client.post(f"{API}/sessions/s1", json=body)

    data = (await answer(response))[1]["data"]
    assert (data["title"], data["agent"]) == ("new", None)


@pytest.mark.parametrize(
    "body",
    [{"title": 7}, {"title": ["x"]}, {"title": "x" * 201}, {"agent": "x" * 101}, {"name": "x"}, []],
    ids=["number", "list", "long", "long agent", "unknown", "array"],
)
async def test_label_that_is_none_changes_nothing(client: Client, broker: Broker, body: Any) -> None:
    assert await error_of(await client.post(f"{API}/sessions/s1", json=body)) == (422, "invalid")
    assert broker.sessions == ()


async def test_who_may_not_produce_names_no_session(guarded: Client) -> None:
    for right, session_id in (("view", "team-1"), ("approve", "team-1"), ("produce", "private")):
        response = await guarded.post(f"{API}/sessions/{session_id}", json={"title": "x"}, headers=bearer(right))
        assert await error_of(response) == (403, "forbidden")


async def test_label_is_on_disk_when_it_is_acknowledged(tmp_path: Path) -> None:
    settings = Settings(port=0, journal=tmp_path / "journal")
    async with aiohttp.ClientSession() as http:
        async with serve(settings=settings) as site:
            await http.post(f"{site.url}{API}/sessions/s1", json={"title": "mine", "agent": "robot"})
            await http.post(f"{site.url}{API}/events/s1", json={"type": "note"})
        async with serve(settings=settings) as site:
            rows = (await answer(await http.get(f"{site.url}{API}/sessions")))[1]["data"]
            inbox = (await answer(await http.get(f"{site.url}{INBOX}")))[1]["data"]

    assert [(row["title"], row["agent"]) for row in rows] == [("mine", "robot")]
    assert inbox["sessions"][0]["title"] == "mine"


# Many decisions


async def test_each_decision_is_made_by_itself(client: Client, broker: Broker) -> None:
    good, changed, expired, decided = (asked(broker, session_id) for session_id in ("s1", "s2", "s3", "s4"))
    broker.get("s3").desk.find(expired["request_id"]).cancel("gone")
    broker.decide("s4", Decision(approved=False, request_id=decided["request_id"]), decided_by="bob")
    decisions = [
        {**good, "approved": True, "reason": "fine", "scope": "once"},
        {**changed, "approved": True, "parameters_sha256": "0" * 64},
        {**expired, "approved": True},
        {**decided, "approved": True},
        {**good, "session_id": "nowhere", "approved": True},
        {**good, "session_id": "..", "approved": True},
        {**decided, "approved": False},
        {**good, "approved": True},
    ]

    status, body = await answer(await client.post(DECIDE, json={"decisions": decisions}))

    assert status == 200
    assert [
        (one["session_id"], one["request_id"], one["status"], one.get("error", {}).get("code")) for one in body["data"]
    ] == [
        ("s1", good["request_id"], 200, None),
        ("s2", changed["request_id"], 409, "parameters_changed"),
        ("s3", expired["request_id"], 410, "request_cancelled"),
        ("s4", decided["request_id"], 409, "already_decided"),
        ("nowhere", good["request_id"], 404, "request_not_found"),
        ("..", good["request_id"], 404, "invalid"),
        ("s4", decided["request_id"], 200, None),
        ("s1", good["request_id"], 200, None),
    ]
    assert body["data"][0]["record"]["reason"] == "fine"
    assert body["data"][0]["record"] == body["data"][7]["record"]
    assert [one.request_id for one in broker.get("s2").desk.pending] == [changed["request_id"]]


async def test_decisions_outside_the_patterns_and_of_ones_own_calls_are_forbidden_each(
    guarded: Client, broker: Broker
) -> None:
    mine = asked(broker, "team-1", asked_by="approve", asked_with="digest")
    own, private = asked(broker, "team-1"), asked(broker, "private")
    decisions = [{**one, "approved": True} for one in (mine, private, own)]

    _, body = await answer(await guarded.post(DECIDE, json={"decisions": decisions}, headers=bearer("approve")))

    assert [(one["status"], one.get("error", {}).get("code")) for one in body["data"]] == [
        (403, "self_approval"),
        (403, "forbidden"),
        (200, None),
    ]
    for right in ("view", "produce"):
        refused = await guarded.post(DECIDE, json={"decisions": decisions}, headers=bearer(right))
        assert await error_of(refused) == (403, "forbidden")


ONE = {"session_id": "s1", "request_id": "pr_1", "parameters_sha256": "0" * 64, "approved": True}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"decisions": []},
        {"decisions": [ONE] * 101},
        {"decisions": [{**ONE, "parameters_sha256": None}]},
        {"decisions": [{name: value for name, value in ONE.items() if name != "parameters_sha256"}]},
        {"decisions": [{**ONE, "parameters": {}}]},
        {"decisions": [{**ONE, "response": "done"}]},
        {"decisions": [{**ONE, "scope": "session"}]},
        {"decisions": [{**ONE, "approved": "true"}]},
        {"decisions": [{**ONE, "session_id": "a/b"}]},
        {"decisions": [{**ONE, "reason": "x" * 10_001}]},
        {"decisions": ONE},
        [ONE],
    ],
)
async def test_body_that_is_no_list_of_decisions_decides_nothing(client: Client, broker: Broker, body: Any) -> None:
    request = asked(broker, "s1")

    text = json.dumps(body).replace("pr_1", request["request_id"]).replace("0" * 64, request["parameters_sha256"])
    response = await client.post(DECIDE, data=text, headers={"Content-Type": "application/json"})

    assert await error_of(response) == (422, "invalid")
    assert broker.get("s1").desk.pending


async def test_two_people_who_decide_the_same_at_once_get_one_outcome_each(client: Client, broker: Broker) -> None:
    requests = [asked(broker, f"s{number}") for number in range(50)]
    bodies = [{"decisions": [{**one, "approved": approved} for one in requests]} for approved in (True, False)]

    answers = await asyncio.gather(*(client.post(DECIDE, json=body) for body in bodies))

    first, second = [(await answer(one))[1]["data"] for one in answers]
    for one, other in zip(first, second, strict=True):
        assert sorted((one["status"], other["status"])) == [200, 409]


async def test_hundred_decisions_with_a_journal_and_an_audit_are_on_disk(tmp_path: Path) -> None:
    settings = Settings(port=0, journal=tmp_path / "journal", audit_file=tmp_path / "audit")
    async with aiohttp.ClientSession() as http, serve(settings=settings) as site:
        requests = [asked(site.broker, f"s{number}") for number in range(100)]
        await until(lambda: all(session.desk.pending for session in site.broker.sessions))
        body = {"decisions": [{**one, "approved": True} for one in requests]}
        _, told = await answer(await http.post(site.url + DECIDE, json=body))

    assert {one["status"] for one in told["data"]} == {200}
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "audit").read_text().splitlines()]
    assert kinds.count("decided") == 100
