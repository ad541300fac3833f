"""Pairing a device: a link that works once gives a token that gives no more than its giver's, and ends with it."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shutil
import stat
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import aiohttp
import pytest
import zxingcpp

from notifier_service import Broker, Settings
from notifier_service.core.errors import Gone, InvalidInput
from notifier_service.web import Site, devices, serve
from notifier_service.web.auth import Caller
from notifier_service.web.pairing import PairingBody, Pairings
from tests.signer import Signer

from .conftest import API, Client, MakeClient, WriteTokens, answer, bearer, error_of, reading
from .push_service import Browser, PushService

WS = "/agent_backend/ws/team-1"
PAIRINGS_PATH, PAIR, DEVICES = f"{API}/pairings", f"{API}/pair", f"{API}/devices"

ENTRIES: Sequence[Mapping[str, Any]] = [
    {"token": "approve-token", "subject": "ana", "rights": ["approve"], "sessions": ["team-*"]},
    {"token": "second-token", "subject": "ben", "rights": ["approve"], "sessions": ["*"]},
    {"token": "view-token", "subject": "eve", "rights": ["view"], "sessions": ["team-*"]},
    {"token": "admin-token", "subject": "root", "rights": ["admin"], "sessions": ["*"]},
]


@pytest.fixture
async def people(make_client: MakeClient, broker: Broker, write_tokens: WriteTokens) -> Client:
    return await make_client(broker, auth="tokens", tokens_file=write_tokens(ENTRIES))


Http = Client | aiohttp.ClientSession


async def made(http: Http, right: str = "approve", *, headers: Any = None, **body: Any) -> dict[str, Any]:
    status, told = await answer(await http.post(PAIRINGS_PATH, json=body, headers=headers or bearer(right)))
    assert status == 201, told
    data: dict[str, Any] = told["data"]
    return data


def secret_of(link: Mapping[str, Any]) -> dict[str, str]:
    """The header of whoever has opened the link."""
    return {"Authorization": f"Bearer {str(link['url']).rpartition('/')[2]}"}


async def taken(http: Http, link: Mapping[str, Any], **body: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """The header of the device that has taken what a link gives, and what is told of it."""
    status, told = await answer(await http.post(PAIR, json=body, headers=secret_of(link)))
    assert status == 201, told
    return {"Authorization": f"Bearer {told['data']['token']}"}, told["data"]["device"]


async def paired(http: Http, right: str = "approve", **body: Any) -> tuple[dict[str, str], dict[str, Any]]:
    return await taken(http, await made(http, right, **body))


def asked(broker: Broker, session_id: str = "team-1") -> str:
    return broker.ask(session_id, tool_name="rm", parameters={"path": "/srv"}).request_id


def decide(http: Http, request_id: str, headers: Mapping[str, str], session_id: str = "team-1") -> Any:
    body = {"request_id": request_id, "approved": True}
    return http.post(f"{API}/sse/permission-response/{session_id}", json=body, headers=headers)


# The link


async def test_device_decides_in_the_name_of_who_paired_it_and_within_the_same_sessions(
    people: Client, broker: Broker
) -> None:
    link = await made(people, label="Ana's phone")
    gives = {"label": "Ana's phone", "subject": "ana", "rights": ["approve"], "sessions": ["team-*"]}
    assert {name: link["gives"][name] for name in gives} == gives
    device, told = await taken(people, link, label="Android")

    assert (told["label"], told["subject"], told["ended"], told["last_used_at"]) == ("Ana's phone", "ana", None, None)
    assert (await decide(people, request_id := asked(broker), device)).status == 200
    assert broker.get("team-1").desk.find(request_id).record.decided_by == "ana"
    asked(broker, "private")
    assert await error_of(await people.get(f"{API}/permissions/private", headers=device)) == (403, "forbidden")
    for path in ("/metrics", f"{API}/policy"):
        assert (await people.get(path, headers=device)).status == 403
    assert (await people.post(f"{API}/events/team-1", json={"type": "note"}, headers=device)).status == 403


async def test_looking_at_a_link_uses_nothing_however_often_and_taking_it_uses_it(people: Client) -> None:
    link = await made(people)
    for _ in range(3):  # as previews of messages do, though none of them has what is behind the #
        status, told = await answer(await people.get(PAIR, headers=secret_of(link)))
        assert (status, told["data"]["gives"]) == (200, link["gives"])
        assert (await people.get("/agent_backend/")).status == 200
    assert (await people.head(PAIR, headers=secret_of(link))).status == 200
    status_path = f"{PAIRINGS_PATH}/{link['pairing_id']}"
    told = (await answer(await people.get(status_path, headers=bearer("approve"))))[1]["data"]
    assert (told["status"], told["device_id"]) == ("waiting", None)

    _, device = await taken(people, link)

    assert await error_of(await people.get(PAIR, headers=secret_of(link))) == (410, "gone")
    told = (await answer(await people.get(status_path, headers=bearer("approve"))))[1]["data"]
    assert (told["status"], told["device_id"]) == ("used", device["id"])


async def test_of_fifty_who_take_a_link_at_once_one_gets_a_token(people: Client) -> None:
    link = await made(people)
    answers = await asyncio.gather(*(people.post(PAIR, json={}, headers=secret_of(link)) for _ in range(50)))

    assert sorted(one.status for one in answers) == [201] + [410] * 49
    told = (await answer(await people.get(DEVICES, headers=bearer("approve"))))[1]["data"]
    assert len(told["devices"]) == 1


async def test_secret_of_a_link_is_in_its_fragment_and_in_no_log(
    people: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        link = await made(people)
        await people.get(PAIR, headers=secret_of(link))
        device, _ = await taken(people, link)
        await people.get(f"{API}/inbox", headers=device)
        await people.get(f"{API}/inbox?token={device['Authorization'][7:]}")
        await people.get(f"/x/{device['Authorization'][7:]}/{link['url'].rpartition('/')[2]}")

    before, _, fragment = link["url"].partition("#")
    assert before.endswith("/agent_backend/")
    assert re.fullmatch(r"/pair/tk_[\w-]{24}", fragment)
    assert "/api/pair" in caplog.text
    assert fragment.rpartition("/")[2] not in caplog.text
    assert device["Authorization"][7:] not in caplog.text


def test_link_is_good_for_minutes_and_says_afterwards_how_it_ended() -> None:
    now = 1000.0
    pairings = Pairings(clock=lambda: now)
    giver = Caller("ana", frozenset({"view", "approve"}), ("*",))
    pairing, secret = pairings.make(giver, PairingBody())
    assert pairings.find(secret) is pairing
    now += 299
    assert pairings.find(secret) is pairing
    now += 1

    with pytest.raises(Gone) as error:
        pairings.find(secret)
    assert error.value.details == {"reason": "expired"}
    assert "too old" in error.value.message
    assert pairings.state_of(pairing) == "expired"


async def test_link_that_was_taken_back_gives_nothing(people: Client) -> None:
    link = await made(people)
    path = f"{PAIRINGS_PATH}/{link['pairing_id']}"
    for right in ("second", "admin"):
        assert await error_of(await people.delete(path, headers=bearer(right))) == (404, "not_found")
    assert (await answer(await people.delete(path, headers=bearer("approve"))))[1]["data"]["status"] == "withdrawn"

    response = await people.post(PAIR, json={}, headers=secret_of(link))
    assert (response.status, (await response.json())["error"]["reason"]) == (410, "withdrawn")


async def test_link_that_nobody_made_leads_nowhere(people: Client) -> None:
    for secret in ("tk_" + "A" * 24, "approve-token", "x" * 5000, "nsd_" + "A" * 43):
        wrong = {"Authorization": f"Bearer {secret}"}
        assert await error_of(await people.get(PAIR, headers=wrong)) == (404, "not_found")
        assert await error_of(await people.post(PAIR, json={}, headers=wrong)) == (404, "not_found")
    assert await error_of(await people.get(PAIR)) == (401, "unauthenticated")
    assert await error_of(await people.post(PAIR, json={})) == (401, "unauthenticated")


async def test_ticket_and_link_are_not_taken_for_each_other(people: Client) -> None:
    issued = await answer(await people.post(f"{API}/sse/ticket/team-1", headers=bearer("approve")))
    ticket = issued[1]["data"]["ticket"]
    link = await made(people)

    assert (await people.post(PAIR, json={}, headers={"Authorization": f"Bearer {ticket}"})).status == 404
    secret = secret_of(link)["Authorization"][7:]
    assert (await people.get(f"{API}/sse/events/team-1?ticket={secret}")).status == 401
    assert (await people.get(f"{API}/inbox", headers=secret_of(link))).status == 401


async def test_who_guesses_links_is_slowed_down(people: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier_service.web.guesses._MAX_DELAY_SECONDS", 0.2)
    wrong = {"Authorization": "Bearer tk_" + "A" * 24}
    for _ in range(100):
        assert (await people.get(PAIR, headers=wrong)).status == 404
    answers = await asyncio.gather(*(people.post(PAIR, json={}, headers=wrong) for _ in range(30)))

    assert {one.status for one in answers} == {404, 429}
    link = await made(people)
    await taken(people, link)  # a right one never waits


async def test_nobody_has_more_than_twenty_links_that_wait(people: Client) -> None:
    links = [await made(people) for _ in range(20)]
    response = await people.post(PAIRINGS_PATH, json={}, headers=bearer("approve"))
    assert await error_of(response) == (429, "limit_reached")

    await people.delete(f"{PAIRINGS_PATH}/{links[0]['pairing_id']}", headers=bearer("approve"))
    await made(people)
    await made(people, "second")


# The address and the picture


def read_picture(svg: str) -> str:
    """What another library reads in the picture: strokes of one module, black on white, drawn four times as large."""
    drawn = ElementTree.fromstring(svg)
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    paper, ink = drawn
    assert (paper.get("fill"), ink.get("stroke")) == ("#fff", "#000")
    size = int(drawn.get("viewBox", "").split()[-1])
    rows, x, y = [bytearray(b"\xff" * size * 4) for _ in range(size * 4)], 0, 0.0
    for step, across, _, down in re.findall(r"([Mmh])(-?\d+)( (-?[\d.]+))?", ink.get("d", "")):
        if step == "h":
            for row in rows[int(y) * 4 : int(y) * 4 + 4]:
                row[x * 4 : (x + int(across)) * 4] = bytes(int(across) * 4)
            x += int(across)
        else:
            x, y = (int(across), float(down)) if step == "M" else (x + int(across), y + float(down))
    [found] = zxingcpp.read_barcodes(memoryview(b"".join(rows)).cast("B", (size * 4, size * 4)))
    return str(found.text)


@pytest.mark.parametrize(
    ("given", "public", "page"),
    [
        ({"url": "https://box.tail1234.ts.net"}, None, "https://box.tail1234.ts.net/agent_backend/"),
        ({"url": "https://box.example:8443/"}, None, "https://box.example:8443/agent_backend/"),
        ({"page": "https://box.example/agents/agent_backend/"}, None, "https://box.example/agents/agent_backend/"),
        ({"page": "https://box.example/agent_backend/?x=1#/inbox"}, None, "https://box.example/agent_backend/"),
        ({"page": "http://127.0.0.1:8000"}, "https://desk.example", "https://desk.example/agent_backend/"),
        ({"url": "http://192.168.1.5:8000"}, "https://desk.example", "http://192.168.1.5:8000/agent_backend/"),
    ],
)
async def test_picture_reads_as_the_link_to_where_the_phone_reaches_the_service(
    make_client: MakeClient, write_tokens: WriteTokens, given: Mapping[str, str], public: str | None, page: str
) -> None:
    client = await make_client(auth="tokens", tokens_file=write_tokens(ENTRIES), public_url=public)
    link = await made(client, **given)

    assert link["url"].startswith(f"{page}#/pair/tk_")
    assert read_picture(link["svg"]) == link["url"]


async def test_without_an_address_it_is_that_of_the_request(people: Client) -> None:
    link = await made(people, headers={**bearer("approve"), "Host": "desk.local:9000"})

    assert link["url"].startswith("http://desk.local:9000/agent_backend/#/pair/")


#: What is no link.
WRONG: Sequence[Any] = [
    {"url": "ftp://box.example"},
    {"page": "file:///etc/passwd"},
    {"url": "javascript:alert(1)"},
    {"url": "https://box.example/\n"},
    {"url": "https://böx.example"},
    {"url": "https://"},
    {"url": "https://user:secret@box.example"},
    {"url": "https://x/" + "a" * 300},
    {"rights": []},
    {"rights": ["admin"]},
    {"rights": ["approve", "produce"]},
    {"rights": "everything"},
    {"sessions": []},
    {"sessions": [""]},
    {"sessions": ["team-1"] * 101},
    {"expires_in": 59},
    {"expires_in": "never"},
    {"expires_in": 400 * 86400},
    {"label": "x" * 101},
    {"more": 1},
    [],
]


async def test_link_that_cannot_be_is_not_made(people: Client) -> None:
    for body in WRONG:
        response = await people.post(PAIRINGS_PATH, json=body, headers=bearer("admin"))

        assert await error_of(response) == (422, "invalid"), body


@pytest.mark.parametrize("label", ["\u202e\x00", "", "a\nb\u202ec"])
async def test_name_of_a_device_is_one_line_that_is_seen(people: Client, label: str) -> None:
    _, device = await paired(people, label=label)

    assert device["label"] in ("a phone", "a bc")


# No wider than the giver's


@pytest.mark.parametrize(
    ("right", "body"),
    [
        ("view", {"rights": ["approve"]}),
        ("approve", {"sessions": ["*"]}),
        ("approve", {"sessions": ["team-1", "other"]}),
        ("approve", {"sessions": ["team*"]}),
        ("approve", {"sessions": ["[t]eam-*"]}),
    ],
)
async def test_link_for_more_than_its_maker_has_is_not_made(people: Client, right: str, body: Any) -> None:
    response = await people.post(PAIRINGS_PATH, json=body, headers=bearer(right))

    assert await error_of(response) == (403, "forbidden")


async def test_less_than_its_maker_has_is_given_as_asked(people: Client, broker: Broker) -> None:
    device, told = await paired(people, "admin", rights=["view"], sessions=["team-a*"], expires_in=3600)

    assert (told["rights"], told["sessions"]) == (["view"], ["team-a*"])
    assert (await people.get(f"{API}/permissions/team-a1", headers=device)).status == 200
    assert (await people.get(f"{API}/permissions/team-b1", headers=device)).status == 403
    assert (await decide(people, asked(broker, "team-a1"), device, "team-a1")).status == 403


async def test_whoever_looks_on_pairs_a_device_that_looks_on(people: Client) -> None:
    assert (await paired(people, "view"))[1]["rights"] == ["view"]


async def test_device_pairs_no_other_and_takes_none_away(people: Client) -> None:
    _, other = await paired(people)
    device, own = await paired(people)
    assert await error_of(await people.post(PAIRINGS_PATH, json={}, headers=device)) == (403, "forbidden")

    told = (await answer(await people.get(DEVICES, headers=device)))[1]["data"]["devices"]
    assert [(one["id"], one["is_own"]) for one in told] == [(own["id"], True)]
    assert (await people.delete(f"{DEVICES}/{other['id']}", headers=device)).status == 404
    assert (await people.delete(f"{DEVICES}/{own['id']}", headers=device)).status == 200
    assert (await people.get(f"{API}/inbox", headers=device)).status == 401


async def test_device_may_no_more_than_its_giver_at_this_moment(
    people: Client, broker: Broker, write_tokens: WriteTokens
) -> None:
    device, told = await paired(people)
    write_tokens([{**ENTRIES[0], "rights": ["view"]}])
    assert (await decide(people, request_id := asked(broker), device)).status == 403

    write_tokens([{**ENTRIES[0], "sessions": ["other-*"]}])
    assert (await people.get(f"{API}/permissions/team-1", headers=device)).status == 401
    write_tokens([{**ENTRIES[0], "rights": ["produce"]}])
    assert (await people.get(f"{API}/permissions/team-1", headers=device)).status == 401

    write_tokens([{**ENTRIES[0], "subject": "anastasia"}])
    assert (await decide(people, request_id, device)).status == 200
    assert broker.get("team-1").desk.find(request_id).record.decided_by == "anastasia"
    [listed] = (await answer(await people.get(DEVICES, headers=bearer("approve"))))[1]["data"]["devices"]
    assert (listed["id"], listed["ended"]) == (told["id"], None)


async def test_device_ends_with_the_token_that_paired_it_and_a_link_of_it_too(
    people: Client, write_tokens: WriteTokens
) -> None:
    device, told = await paired(people)
    link = await made(people)
    async with reading(people, "team-1", headers=device) as stream, people.ws_connect(WS, headers=device) as socket:
        await stream.until("snapshot")
        write_tokens(ENTRIES[1:])

        assert (await stream.rest())[-1].data["data"]["code"] == "token_expired"
        while (message := await socket.receive(timeout=5)).type == aiohttp.WSMsgType.TEXT:
            continue
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    assert (await people.get(f"{API}/inbox", headers=device)).status == 401
    response = await people.post(PAIR, json={}, headers=secret_of(link))
    assert (response.status, (await response.json())["error"]["reason"]) == (410, "revoked")
    listed = (await answer(await people.get(DEVICES, headers=bearer("admin"))))[1]["data"]["devices"]
    assert [(one["id"], one["ended"]) for one in listed] == [(told["id"], "revoked")]


async def test_device_of_a_signed_token_ends_with_it_and_with_its_key(make_client: MakeClient, tmp_path: Path) -> None:
    signer, keys = Signer.new(), tmp_path / "key"
    keys.write_bytes(signer.verifying)
    client = await make_client(auth="jwt", jwt_algorithms="HS256", jwt_key_file=keys)
    giver = {"Authorization": f"Bearer {signer.token(rights=['approve'])}"}
    link = await made(client, headers=giver)
    too_long = await client.post(PAIRINGS_PATH, json={"expires_in": 86400 * 300}, headers=giver)
    assert await error_of(too_long) == (403, "forbidden")
    device, told = await taken(client, link)
    assert told["expires_at"] == link["gives"]["expires_at"]
    assert (await client.get(f"{API}/inbox", headers=device)).status == 200

    keys.write_bytes(Signer.new().verifying)

    assert (await client.get(f"{API}/inbox", headers=device)).status == 401


async def test_devices_of_one_key_of_a_set_stay_when_another_comes_and_go_with_it(
    make_client: MakeClient, tmp_path: Path
) -> None:
    one, other, keys = Signer.new("ES256"), Signer.new("ES256"), tmp_path / "keys.json"
    first, second = ({**signer.jwk(), "kid": kid} for signer, kid in ((one, "a"), (other, "b")))
    keys.write_text(json.dumps({"keys": [first]}))
    client = await make_client(auth="jwt", jwt_algorithms="ES256", jwt_jwks_file=keys)
    giver = {"Authorization": f"Bearer {one.token(rights=['view'], kid='a')}"}
    device, _ = await taken(client, await made(client, headers=giver))

    keys.write_text(json.dumps({"keys": [{**first, "kid": "renamed"}, second]}))
    assert (await client.get(f"{API}/inbox", headers=device)).status == 200
    keys.write_text(json.dumps({"keys": [second]}))
    assert (await client.get(f"{API}/inbox", headers=device)).status == 401


# Taken back


async def test_device_that_was_removed_has_its_streams_sockets_and_polls_ended_at_once(people: Client) -> None:
    device, told = await paired(people)
    ticket = await answer(await people.post(f"{API}/sse/ticket/team-1", headers=device))
    polled = asyncio.ensure_future(people.get(f"{API}/long-poll/team-1?timeout=30", headers=device))
    async with (
        reading(people, "team-1", headers=device) as stream,
        reading(people, "", prefix=f"{API}/sse/inbox?x=", headers=device) as inbox,
        people.ws_connect(WS, headers=device) as socket,
        reading(people, "team-1", headers=bearer("approve")) as of_giver,
    ):
        for one in (stream, inbox, of_giver):
            await one.until("snapshot")

        removed = await people.delete(f"{DEVICES}/{told['id']}", headers=bearer("approve"))

        assert (await answer(removed))[1]["data"] == {"id": told["id"], "status": "removed"}
        for ended in (stream, inbox):
            assert (await ended.rest())[-1].data["data"]["code"] == "token_expired"
        while (message := await socket.receive(timeout=5)).type == aiohttp.WSMsgType.TEXT:
            continue
        assert (message.type, socket.close_code) == (aiohttp.WSMsgType.CLOSE, 4401)
        assert (await polled).status == 401
        assert not of_giver.response.content.at_eof()
    assert (await people.get(f"{API}/inbox", headers=device)).status == 401
    ticket_path = f"{API}/sse/events/team-1?ticket={ticket[1]['data']['ticket']}"
    assert (await people.get(ticket_path)).status == 401
    assert (await people.delete(f"{DEVICES}/{told['id']}", headers=bearer("approve"))).status == 404


async def test_devices_are_those_of_their_person_and_all_for_an_admin(people: Client) -> None:
    device, of_ana = await paired(people, label="one")
    _, of_ben = await paired(people, "second", label="two")
    await people.get(f"{API}/inbox", headers=device)

    async def seen_by(right: str) -> dict[str, Any]:
        told = (await answer(await people.get(DEVICES, headers=bearer(right))))[1]["data"]["devices"]
        return {one["id"]: one for one in told}

    assert set(await seen_by("approve")) == {of_ana["id"]}
    assert set(await seen_by("view")) == set()
    everybody = await seen_by("admin")
    assert set(everybody) == {of_ana["id"], of_ben["id"]}
    assert everybody[of_ana["id"]]["last_used_at"] is not None
    assert everybody[of_ben["id"]]["last_used_at"] is None
    assert (await people.delete(f"{DEVICES}/{of_ben['id']}", headers=bearer("approve"))).status == 404
    assert (await people.delete(f"{DEVICES}/{of_ben['id']}", headers=bearer("admin"))).status == 200
    assert set(await seen_by("second")) == set()


async def test_pushes_that_a_device_subscribed_to_go_with_it(
    people: Client, broker: Broker, write_tokens: WriteTokens
) -> None:
    device, told = await paired(people)
    async with PushService().running() as service:
        names = {}
        for name, headers in (("phone", device), ("laptop", bearer("approve"))):
            body = {"endpoint": f"{service.url}/push/{name}", "keys": Browser().keys, "label": name}
            subscribed = await answer(await people.post(f"{API}/push/subscriptions", json=body, headers=headers))
            names[name] = subscribed[1]["data"]
        assert (names["phone"]["device_id"], names["laptop"]["device_id"]) == (told["id"], None)
        listed = (await answer(await people.get(DEVICES, headers=bearer("approve"))))[1]["data"]["subscriptions"]
        assert [one["label"] for one in listed] == ["phone", "laptop"]

        await people.delete(f"{DEVICES}/{told['id']}", headers=bearer("approve"))

        listed = (await answer(await people.get(DEVICES, headers=bearer("approve"))))[1]["data"]["subscriptions"]
        assert [one["label"] for one in listed] == ["laptop"]
        laptop = f"{DEVICES}/{names['laptop']['id']}"
        assert (await people.delete(laptop, headers=bearer("second"))).status == 404
        assert (await people.delete(laptop, headers=bearer("approve"))).status == 200


@pytest.mark.parametrize("ends", ["its giver", "its time"])
async def test_device_that_has_ended_is_called_no_more(
    people: Client, broker: Broker, write_tokens: WriteTokens, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    device, _ = await paired(people, expires_in=60)
    async with PushService().running() as service:
        body = {"endpoint": f"{service.url}/push/phone", "keys": Browser().keys}
        assert (await people.post(f"{API}/push/subscriptions", json=body, headers=device)).status == 201
        if ends == "its giver":
            write_tokens(ENTRIES[1:])
        else:
            later = SimpleNamespace(time=lambda: time.time() + 61)
            monkeypatch.setattr(devices, "time", later)

        asked(broker)

        listed = (await answer(await people.get(DEVICES, headers=bearer("admin"))))[1]["data"]
        assert listed["subscriptions"] == []
        assert [one["ended"] for one in listed["devices"]] == ["revoked" if ends == "its giver" else "expired"]
        assert (await people.get(f"{API}/inbox", headers=device)).status == 401


async def test_nobody_has_more_than_twenty_devices_and_what_has_ended_gives_way(
    people: Client, write_tokens: WriteTokens
) -> None:
    for _ in range(20):
        await paired(people)
    link = await made(people)
    response = await people.post(PAIR, json={}, headers=secret_of(link))
    assert await error_of(response) == (429, "limit_reached")

    write_tokens([{**ENTRIES[0], "token": "new-token"}, *ENTRIES[1:]])
    link = await made(people, "new")
    await taken(people, link)
    told = (await answer(await people.get(DEVICES, headers=bearer("new"))))[1]["data"]["devices"]
    assert [one["ended"] for one in told].count(None) == 1
    assert len(told) == 20


# Kept


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[tuple[Site, aiohttp.ClientSession]]:
    async with serve(settings=Settings(port=0, **settings)) as site, aiohttp.ClientSession(site.url) as http:
        yield site, http


@pytest.mark.parametrize("shelf", ["journal", "devices_file"])
async def test_devices_are_kept_over_a_restart_as_digests_and_links_are_not(
    tmp_path: Path, write_tokens: WriteTokens, shelf: str
) -> None:
    settings = {"auth": "tokens", "tokens_file": write_tokens(ENTRIES), shelf: tmp_path / "kept"}
    async with serving(**settings) as (_, http):
        device, told = await paired(http)
        gone, gone_told = await paired(http)
        await http.get(f"{API}/inbox", headers=device)
        await http.delete(f"{DEVICES}/{gone_told['id']}", headers=bearer("approve"))
        link = await made(http)

    kept = b"".join(path.read_bytes() for path in tmp_path.glob("kept*"))
    assert device["Authorization"][7:].encode() not in kept
    assert b"approve-token" not in kept
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o600
    async with serving(**settings) as (_, http):
        assert (await http.get(f"{API}/inbox", headers=device)).status == 200
        assert (await http.get(f"{API}/inbox", headers=gone)).status == 401
        [listed] = (await answer(await http.get(DEVICES, headers=bearer("approve"))))[1]["data"]["devices"]
        assert (listed["id"], listed["ended"]) == (told["id"], None)
        assert (await http.post(PAIR, json={}, headers=secret_of(link))).status == 404
    write_tokens(ENTRIES[1:])
    async with serving(**settings) as (_, http):
        assert (await http.get(f"{API}/inbox", headers=device)).status == 401


async def test_link_to_a_decision_that_a_device_has_made_ends_with_it_over_a_restart_too(
    tmp_path: Path, write_tokens: WriteTokens
) -> None:
    settings = {"auth": "tokens", "tokens_file": write_tokens(ENTRIES), "journal": tmp_path / "journal"}
    paths = []
    async with serving(**settings) as (_, http):
        device, told = await paired(http)
        for number in range(2):
            asking = {"tool_name": "rm", "parameters": {"n": number}}
            response = await http.post(f"{API}/permissions/team-1", json=asking, headers=bearer("admin"))
            body = {"session_id": "team-1", "request_id": (await response.json())["data"]["request_id"]}
            linked = await answer(await http.post(f"{API}/links", json=body, headers=device))
            paths.append(linked[1]["data"]["path"])

    async with serving(**settings) as (_, http):
        decided = await answer(await http.post(paths[0], json={"approved": True}))
        assert (decided[0], decided[1]["data"]["decided_by"]) == (200, "ana")
        await http.delete(f"{DEVICES}/{told['id']}", headers=bearer("approve"))
        assert (await http.post(paths[1], json={"approved": True})).status == 401


async def test_without_a_place_to_keep_them_that_is_told(people: Client, caplog: pytest.LogCaptureFixture) -> None:
    await paired(people)

    assert "set journal, or devices_file" in caplog.text


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"devices": 1}', "\udcff"])
async def test_file_of_devices_that_is_none_keeps_the_service_from_starting(
    tmp_path: Path, write_tokens: WriteTokens, content: str
) -> None:
    path = tmp_path / "devices.json"
    path.write_text(content, errors="surrogateescape")

    with pytest.raises(InvalidInput, match="devices_file is none"):
        async with serving(auth="tokens", tokens_file=write_tokens(ENTRIES), devices_file=path):
            pass
    assert path.read_text(errors="surrogateescape") == content


async def test_file_of_devices_that_everybody_may_write_or_nobody_is_refused(
    tmp_path: Path, write_tokens: WriteTokens
) -> None:
    path = tmp_path / "devices.json"
    path.write_text('{"devices": []}')
    path.chmod(0o666)
    for refused in (path, tmp_path, tmp_path / "none" / "devices.json"):
        with pytest.raises(InvalidInput, match="devices_file"):
            async with serving(auth="tokens", tokens_file=write_tokens(ENTRIES), devices_file=refused):
                pass


async def test_device_that_was_written_into_the_file_with_more_rights_is_none(
    tmp_path: Path, write_tokens: WriteTokens, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "devices.json"
    settings = {"auth": "tokens", "tokens_file": write_tokens(ENTRIES), "devices_file": path}
    async with serving(**settings) as (_, http):
        device, _ = await paired(http, "admin")
    told = json.loads(path.read_text())
    told["devices"][0]["rights"] = ["admin"]
    path.write_text(json.dumps(told))

    async with serving(**settings) as (_, http):
        assert (await http.get(f"{API}/inbox", headers=device)).status == 401
    assert "cannot be read, and is forgotten" in caplog.text


async def test_link_whose_device_cannot_be_kept_is_not_used_up(
    tmp_path: Path, write_tokens: WriteTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    from notifier_service.core.errors import NotDurable

    settings = {"auth": "tokens", "tokens_file": write_tokens(ENTRIES), "journal": tmp_path / "journal"}
    async with serving(**settings) as (site, http):
        link = await made(http)

        async def full() -> None:
            raise NotDurable("The disk is full.")

        with monkeypatch.context() as failing:
            failing.setattr(site.broker, "on_disk", full)
            response = await http.post(PAIR, json={}, headers=secret_of(link))
            assert await error_of(response) == (503, "not_durable")
        assert (await answer(await http.get(DEVICES, headers=bearer("approve"))))[1]["data"]["devices"] == []
        await taken(http, link)


async def test_file_of_devices_that_cannot_be_written_gives_nothing_and_takes_back_at_once(
    tmp_path: Path, write_tokens: WriteTokens
) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    settings = {"auth": "tokens", "tokens_file": write_tokens(ENTRIES), "devices_file": folder / "devices.json"}
    async with serving(**settings) as (_, http):
        device, told = await paired(http)
        link = await made(http)
        shutil.rmtree(folder)

        response = await http.post(PAIR, json={}, headers=secret_of(link))
        assert await error_of(response) == (503, "not_durable")
        assert (await http.get(f"{API}/inbox", headers=device)).status == 200
        async with reading(http, "team-1", headers=device) as stream:
            await stream.until("snapshot")
            response = await http.delete(f"{DEVICES}/{told['id']}", headers=bearer("approve"))
            assert await error_of(response) == (503, "not_durable")
            assert (await stream.rest())[-1].data["data"]["code"] == "token_expired"
        assert (await http.get(f"{API}/inbox", headers=device)).status == 401

        folder.mkdir()
        await taken(http, link)


# On record


async def test_audit_log_says_which_device_was_paired_decided_and_was_removed(
    tmp_path: Path, write_tokens: WriteTokens
) -> None:
    audit = tmp_path / "audit.jsonl"
    async with serving(auth="tokens", tokens_file=write_tokens(ENTRIES), audit_file=audit) as (site, http):
        device, told = await paired(http, label="Ana's phone")
        assert (await decide(http, asked(site.broker), device)).status == 200
        await http.delete(f"{DEVICES}/{told['id']}", headers=bearer("admin"))

    text = audit.read_text()
    lines = {line["kind"]: line for line in map(json.loads, text.splitlines())}
    given, decided, removed = (lines[kind] for kind in ("device_paired", "decided", "device_removed"))
    assert (given["device"], given["decided_by"], given["rights"]) == ("Ana's phone", "ana", ["approve"])
    assert (decided["decided_by"], decided["device"]) == ("ana", "Ana's phone")
    assert decided["token_sha256"] == given["token_sha256"] == removed["token_sha256"]
    assert (removed["device_id"], removed["decided_by"]) == (told["id"], "root")
    assert device["Authorization"][7:] not in text


async def test_device_approves_nothing_that_its_giver_has_asked(
    make_client: MakeClient, broker: Broker, write_tokens: WriteTokens
) -> None:
    client = await make_client(broker, auth="tokens", tokens_file=write_tokens(ENTRIES))
    device, _ = await paired(client, "admin")
    body = {"tool_name": "rm", "parameters": {}}
    asked_one = await answer(await client.post(f"{API}/permissions/team-1", json=body, headers=bearer("admin")))
    request_id = asked_one[1]["data"]["request_id"]

    assert await error_of(await decide(client, request_id, device)) == (403, "self_approval")


# Without tokens


async def test_without_tokens_the_link_opens_the_page_and_gives_nothing(client: Client) -> None:
    link = await made(client, headers={"X": "y"}, url="http://127.0.0.1:9000")

    assert link["needs_token"] is False
    assert link["url"] == "http://127.0.0.1:9000/agent_backend/"
    assert read_picture(link["svg"]) == link["url"]
    assert (await answer(await client.get(DEVICES)))[1]["data"]["devices"] == []
    wrong = {"Authorization": "Bearer tk_" + "A" * 24}
    assert await error_of(await client.post(PAIR, json={}, headers=wrong)) == (404, "not_found")
