"""Who may only look on is told so, when a stream begins, with the inbox, and with a request as all may see it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker

from .conftest import API, Client, MakeClient, Stream, WriteTokens, answer, bearer

INBOX_STREAM, INBOX = f"{API}/sse/inbox", f"{API}/inbox"
SECRET = {"command": "deploy", "room": "tower-7"}


@asynccontextmanager
async def reading(client: Client, path: str, **request: Any) -> AsyncIterator[Stream]:
    async with client.get(path, **request) as response:
        yield Stream(response)


def told_of(hello: Any) -> Any:
    return hello.data["data"].get("may_approve", "nothing said")


@pytest.mark.parametrize(("right", "told"), [("view", False), ("approve", "nothing said"), ("admin", "nothing said")])
@pytest.mark.parametrize("path", [f"{API}/sse/events/team-1", INBOX_STREAM])
async def test_stream_begins_with_what_its_reader_may_not(guarded: Client, path: str, right: str, told: Any) -> None:
    ticket_at = path.replace("/sse/events/", "/sse/ticket/").replace("/sse/inbox", "/sse/ticket")
    ticket = (await answer(await guarded.post(ticket_at, headers=bearer(right))))[1]["data"]["ticket"]

    async with reading(guarded, path, headers=bearer(right)) as by_token:
        [first] = await by_token.take(1)
    async with reading(guarded, f"{path}?ticket={ticket}") as by_ticket:  # which itself may only look on
        [second] = await by_ticket.take(1)

    assert (told_of(first), told_of(second)) == (told, told)


async def test_inbox_by_get_tells_each_its_rights_whatever_the_other_has_seen(guarded: Client) -> None:
    approver = await guarded.get(INBOX, headers=bearer("approve"))
    known = {"If-None-Match": approver.headers["ETag"]}

    viewer = await guarded.get(INBOX, headers={**bearer("view"), **known})

    assert "may_approve" not in (await approver.json())["data"]
    assert (await viewer.json())["data"]["may_approve"] is False


@pytest.mark.parametrize("right", ["view", "approve", "admin"])
@pytest.mark.parametrize(
    "path",
    [
        "polling/session-info/team-1",
        "polling/permission-request/team-1",
        "long-poll/team-1?timeout=0",
        "long-poll/team-1?timeout=0&after=earliest",
        "long-poll/team-1?timeout=0&after=garbage",
    ],
)
async def test_poll_tells_each_what_they_may_not_whatever_the_other_has_seen(
    guarded: Client, path: str, right: str
) -> None:
    asked = {"tool_name": "deploy", "parameters": {}, "risk_level": "high"}
    await guarded.post(f"{API}/permissions/team-1", json=asked, headers=bearer("produce"))
    other = "approve" if right == "view" else "view"

    async with reading(guarded, f"{API}/sse/events/team-1", headers=bearer("view")):  # then long polls are shared
        before = await guarded.get(f"{API}/{path}", headers=bearer(other))
        known = {"If-None-Match": before.headers.get("ETag", "none")}
        found = (await answer(await guarded.get(f"{API}/{path}", headers={**bearer(right), **known})))[1]["data"]
        other_found = (await before.json())["data"]

    told = [each.pop("may_approve", "nothing said") for each in (found, other_found)]
    assert told == ([False, "nothing said"] if right == "view" else ["nothing said", False])
    assert found == other_found


@pytest.mark.parametrize("right", ["view", "approve"])
async def test_held_poll_that_two_share_tells_each_their_own_rights(guarded: Client, right: str) -> None:
    path = f"{API}/long-poll/team-1?timeout=30"
    held = [asyncio.create_task(guarded.get(path, headers=bearer(one))) for one in ("view", right, "approve")]
    health = f"{API}/sse/health/team-1"
    while (await (await guarded.get(health, headers=bearer("view"))).json())["data"]["connections"] != len(held):
        pass
    event = {"type": "note", "data": {"n": 1}}
    await guarded.post(f"{API}/events/team-1", json=event, headers=bearer("produce"))

    told = [(await answer(await one))[1]["data"] for one in held]

    assert [one.get("may_approve", True) for one in told] == [False, right == "approve", True]
    assert [[each["type"] for each in one["events"]] for one in told] == [["note"]] * 3


async def test_reader_whose_rights_change_comes_back_and_is_told(
    make_client: MakeClient, broker: Broker, write_tokens: WriteTokens
) -> None:
    def give(right: str) -> Path:
        return write_tokens([{"token": "view-token", "subject": "vera", "rights": [right], "sessions": ["*"]}])

    client = await make_client(broker, auth="tokens", tokens_file=give("view"))
    for path in (f"{API}/sse/events/s1", INBOX_STREAM):
        give("view")
        async with reading(client, path, headers=bearer("view")) as stream:
            await stream.take(2)
            give("approve")
            [bye] = await stream.take(1)

        async with reading(client, path, headers=bearer("view")) as stream:
            [hello] = await stream.take(1)
        assert (bye.type, bye.data["data"]["reconnect"], told_of(hello)) == ("bye", True, "nothing said")


@pytest.mark.parametrize("right", ["view", "approve"])
async def test_request_as_passers_by_may_see_it_says_what_is_left_out_and_who_may_answer(
    make_client: MakeClient, broker: Broker, write_tokens: WriteTokens, right: str
) -> None:
    """By the operator's names of secrets; who has not seen all of it has not read it."""
    entry = {"token": f"{right}-token", "subject": "ann", "rights": [right], "sessions": ["*"]}
    client = await make_client(broker, auth="tokens", tokens_file=write_tokens([entry]), redact_keys=("room",))
    whole, part = (broker.ask("s1", tool_name="x", parameters=one) for one in ({"n": 2**70}, SECRET))

    told = [
        json.loads(
            await (await client.get(f"{API}/permissions/s1/{one.request_id}?{query}", headers=bearer(right))).read()
        )
        for one, query in ((whole, "redacted=1"), (part, "redacted=1"), (part, ""))
    ]

    seen, hidden, plain = (one["data"] for one in told)
    rights = {} if right == "approve" else {"may_approve": False}
    assert seen == {**json.loads(whole.record.encoded), **rights, "parameters_redacted": False}
    assert hidden == {
        **plain, **rights, "parameters": {"command": "deploy", "room": "[redacted]"}, "parameters_redacted": True,
    }  # fmt: skip
    assert plain["parameters"] == SECRET
