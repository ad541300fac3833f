"""A link shows one request to whoever opens it, settles nothing by that, and decides once."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Decision
from notifier_service.web import links

from .conftest import API, Client, MakeClient, WriteTokens, answer, bearer, error_of

LINKS = f"{API}/links"
SECRET = "correct-horse-battery"


def asked(broker: Broker, session_id: str = "team-1", **more: Any) -> str:
    return broker.ask(session_id, **{"tool_name": "rm", "parameters": {"path": "/srv"}, **more}).request_id


async def made(client: Client, request_id: str, session_id: str = "team-1", right: str = "approve") -> str:
    body = {"session_id": session_id, "request_id": request_id}
    status, told = await answer(await client.post(LINKS, json=body, headers=bearer(right)))
    assert status == 201, told
    assert told["data"]["url"].endswith(told["data"]["path"])
    path: str = told["data"]["path"]
    return path


def is_pending(broker: Broker, request_id: str, session_id: str = "team-1") -> bool:
    return broker.get(session_id).desk.find(request_id).pending


async def test_link_shows_what_is_asked_and_a_preview_of_it_settles_nothing(guarded: Client, broker: Broker) -> None:
    request_id = asked(broker, parameters={"path": "<script>alert(1)</script>\u202e删", "more": ["x"] * 3})
    path = await made(guarded, request_id)
    for method in ("GET", "GET", "HEAD", "GET"):
        response = await guarded.request(method, path)
        assert response.status == 200
    text = await (await guarded.get(path)).text()

    assert is_pending(broker, request_id)
    assert "&lt;script&gt;alert(1)" in text
    assert "\\u202e删" in text
    assert "<script" not in text
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("wanted", "lang"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"), ("zh-Hant-TW", "zh-CN"), ("fr;q=1, ZH;q=0.5, en;q=0.4", "zh-CN"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"), ("en;q=0, zh;q=0", "en"), ("fr", "en"), ("", "en"), ("zh;q=x, *", "en"),
        ("zh; q=0.3, en; q=0.7", "en"), ("," * 5000, "en"),
    ],
)  # fmt: skip
async def test_page_is_in_the_language_of_its_reader(guarded: Client, broker: Broker, wanted: str, lang: str) -> None:
    """Asked, all of it, decided, used, over and unknown: each has the words of that language, and no others."""
    browser = {"Accept": "text/html", "Accept-Language": wanted}
    first, second = (asked(broker, parameters={"path": "/srv", "password": SECRET}) for _ in range(2))
    link, other = await made(guarded, first), await made(guarded, second)
    form = {"approved": "false"}
    pages = [
        (200, await guarded.get(link, headers=browser), ("A decision is asked", "有一项请求等待您的决定")),
        (200, await guarded.post(link, data={"show": "all"}, headers=browser), ("Approve", "批准")),
        (200, await guarded.post(link, data=form, headers=browser), ("It is rejected", "已拒绝")),
        (410, await guarded.post(link, data=form, headers=browser), ("This link was used.", "此链接已被使用。")),
    ]
    broker.decide("team-1", Decision(approved=True, request_id=second), decided_by="ann")
    unknown = f"{link.rpartition('/')[0]}/tk_nobody_made_this"
    pages += [
        (410, await guarded.get(other, headers=browser), ("This request is approved already.", "此请求已被批准。")),
        (404, await guarded.get(unknown, headers=browser), ("There is no such link.", "没有这个链接。")),
    ]

    for status, page, words in pages:
        text = await page.text()
        assert page.status == status
        assert f'<html lang="{lang}">' in text
        assert [word in text for word in words] == [lang == "en", lang != "en"]
        assert (page.headers["Vary"], page.headers["Content-Language"]) == ("Accept-Language", lang)
        assert "script" not in text
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src")


async def test_link_to_a_question_offers_no_approval_and_takes_none(guarded: Client, broker: Broker) -> None:
    request_id = asked(broker, needs_answer=True)
    path = await made(guarded, request_id)
    text = await (await guarded.get(path)).text()
    refused = await guarded.post(path, json={"approved": True})

    assert "Approve" not in text
    assert "answered in the console" in text
    assert await error_of(refused) == (422, "decision_not_offered")
    assert is_pending(broker, request_id)


@pytest.mark.parametrize("approved", [True, False])
async def test_form_of_the_page_decides_in_the_name_of_who_made_the_link_once(
    guarded: Client, broker: Broker, approved: bool
) -> None:
    request_id = asked(broker)
    record = broker.get("team-1").desk.find(request_id).record
    path = await made(guarded, request_id)
    form = {
        "approved": str(approved).lower(),
        "reason": "by phone",
        "parameters_sha256": record.parameters_sha256,
    }

    # A page that names no referrer names no origin either.
    page = {"Accept": "text/html,*/*", "Origin": "null", "Sec-Fetch-Site": "same-origin"}
    decided = await guarded.post(path, data=form, headers=page)
    again = await guarded.post(path, data=form, headers=page)

    assert (decided.status, decided.content_type) == (200, "text/html")
    assert (again.status, again.content_type) == (410, "text/html")
    gone = await guarded.get(path, headers=page)
    assert (gone.status, gone.content_type) == (410, "text/html")
    settled = broker.get("team-1").desk.find(request_id).record
    assert (settled.approved, settled.decided_by, settled.reason) == (approved, "approve", "by phone")


async def test_program_decides_by_json_and_gets_the_record(guarded: Client, broker: Broker) -> None:
    path = await made(guarded, asked(broker))

    status, told = await answer(await guarded.post(path, json={"approved": True}))
    assert (status, told["data"]["status"], told["data"]["decided_by"]) == (200, "approved", "approve")
    assert await error_of(await guarded.post(path, json={"approved": True})) == (410, "gone")


async def test_of_two_who_use_a_link_at_once_one_decides(guarded: Client, broker: Broker) -> None:
    path = await made(guarded, asked(broker))
    answers = await asyncio.gather(*(guarded.post(path, json={"approved": approved}) for approved in (True, False)))

    assert sorted(one.status for one in answers) == [200, 410]


async def test_link_ends_with_its_request(guarded: Client, broker: Broker) -> None:
    request_id = asked(broker)
    path = await made(guarded, request_id)
    broker.decide("team-1", Decision(approved=False, request_id=request_id), decided_by="bob")

    assert (await guarded.get(path)).status == 410
    assert await error_of(await guarded.post(path, json={"approved": True})) == (410, "gone")
    broker.end_session("team-1")
    assert (await guarded.get(path)).status == 410


async def test_link_of_somebody_whose_token_was_revoked_decides_nothing(
    make_client: MakeClient, write_tokens: WriteTokens, broker: Broker
) -> None:
    kept = {"token": "kept-token", "rights": ["admin"], "sessions": ["*"]}
    entry = {"token": "approve-token", "rights": ["approve"], "sessions": ["*"]}
    client = await make_client(broker, auth="tokens", tokens_file=write_tokens([kept, entry]))
    request_id = asked(broker)
    path = await made(client, request_id)
    write_tokens([kept])

    assert (await client.post(path, json={"approved": True})).status == 401
    assert is_pending(broker, request_id)


async def test_link_is_made_by_who_may_decide_and_for_what_waits(guarded: Client, broker: Broker) -> None:
    request_id = asked(broker)
    private = asked(broker, "private")
    body = {"session_id": "team-1", "request_id": request_id}
    for right in ("view", "produce"):
        assert await error_of(await guarded.post(LINKS, json=body, headers=bearer(right))) == (403, "forbidden")
    refused = {"session_id": "private", "request_id": private}
    assert await error_of(await guarded.post(LINKS, json=refused, headers=bearer("approve"))) == (403, "forbidden")
    unknown = {**body, "request_id": "pr_none"}
    assert (await guarded.post(LINKS, json=unknown, headers=bearer("approve"))).status == 404
    broker.decide("team-1", Decision(approved=False, request_id=request_id), decided_by="bob")
    assert (await guarded.post(LINKS, json=body, headers=bearer("approve"))).status == 404


async def test_who_asked_approves_nothing_by_a_link_and_may_try_no_more_than_reject(
    guarded: Client, broker: Broker
) -> None:
    path = await made(guarded, asked(broker, asked_by="approve", asked_with="digest"))

    assert await error_of(await guarded.post(path, json={"approved": True})) == (403, "self_approval")
    assert (await guarded.post(path, json={"approved": False})).status == 200


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"json": {}}, 422),
        ({"json": {"approved": "true"}}, 422),
        ({"json": {"approved": True, "scope": "always"}}, 422),
        ({"json": {"approved": True, "parameters": {}}}, 422),
        ({"data": {"approved": "yes"}}, 422),
        ({"data": {"show": "some"}}, 422),
        ({"data": {"show": "all", "reason": "x"}}, 422),
        ({"json": {"show": "all"}}, 422),
        ({"data": {"approved": "true", "more": "x"}}, 422),
        ({"data": {f"field{n}": "x" for n in range(11)}}, 422),
        ({"data": b"approved=true&reason=" + b"x" * 70_000}, 415),
        ({"data": "approved=true", "headers": {"Content-Type": "text/plain"}}, 415),
    ],
)
async def test_answer_that_is_none_decides_nothing(
    guarded: Client, broker: Broker, more: dict[str, Any], status: int
) -> None:
    request_id = asked(broker)
    path = await made(guarded, request_id)

    assert (await guarded.post(path, **more)).status == status
    assert is_pending(broker, request_id)


@pytest.mark.parametrize("link", ["none", "tk_" + "A" * 32, "%00", "x" * 1000])
async def test_link_that_nobody_made_leads_nowhere(client: Client, link: str) -> None:
    assert (await client.get(f"{LINKS}/{link}")).status == 404
    assert await error_of(await client.post(f"{LINKS}/{link}", json={"approved": True})) == (404, "not_found")


async def test_nobody_has_more_than_a_hundred_links(guarded: Client, broker: Broker) -> None:
    request_id = asked(broker)
    for _ in range(100):
        await made(guarded, request_id)

    body = {"session_id": "team-1", "request_id": request_id}
    response = await guarded.post(LINKS, json=body, headers=bearer("approve"))
    assert await error_of(response) == (429, "limit_reached")


async def test_parameters_that_events_show_in_part_are_read_on_the_page(guarded: Client, broker: Broker) -> None:
    request_id = asked(broker, parameters={"text": "x" * 300_000 + "END"})
    path = await made(guarded, request_id)
    assert await error_of(await guarded.post(path, json={"approved": True})) == (409, "parameters_unread")
    preview = await (await guarded.get(path)).text()
    whole = await guarded.post(path, data={"show": "all"})
    assert ("END" in preview, "END" in await whole.text(), whole.status) == (False, True, 200)
    sha256 = broker.get("team-1").desk.find(request_id).record.parameters_sha256

    assert (await guarded.post(path, json={"approved": True, "parameters_sha256": sha256})).status == 200


@pytest.mark.parametrize(
    "asks",
    [
        {"parameters": {"password": SECRET}},
        {"parameters": {"command": f"curl -H 'Authorization: Bearer {SECRET}'"}},
        {"description": f"with the token: {SECRET}"},
        {"risk_reasons": [f"password={SECRET}"]},
    ],
)
async def test_preview_of_a_link_gets_no_secret_and_who_decides_sees_all(
    guarded: Client, broker: Broker, asks: dict[str, Any]
) -> None:
    request_id = asked(broker, **asks)
    path = await made(guarded, request_id)
    preview = await (await guarded.get(path)).text()
    assert SECRET not in preview
    assert "Show everything" in preview
    assert "Approve" not in preview
    assert "Reject" in preview

    page = await (await guarded.post(path, data={"show": "all"}, headers={"Accept": "text/html"})).text()
    assert SECRET in page
    assert "Approve" in page
    assert is_pending(broker, request_id)


async def test_links_of_requests_that_are_over_take_no_place(guarded: Client, broker: Broker) -> None:
    for _ in range(2):
        request_id = asked(broker)
        for _ in range(100):
            await made(guarded, request_id)
        broker.decide("team-1", Decision(approved=False, request_id=request_id), decided_by="bob")

    assert (await guarded.get(await made(guarded, asked(broker)))).status == 200


async def test_oldest_links_of_all_give_way(guarded: Client, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "_AT_MOST", 2)
    request_id = asked(broker)
    paths = [await made(guarded, request_id) for _ in range(3)]

    assert [(await guarded.get(path)).status for path in paths] == [404, 200, 200]


async def test_link_outlives_a_restart_with_its_request_and_with_the_rights_of_who_made_it(
    make_client: MakeClient, write_tokens: WriteTokens, tmp_path: Path
) -> None:
    entries = [
        {"token": f"{name}-token", "subject": name, "rights": ["approve", "produce"], "sessions": ["*"]}
        for name in ("approve", "revoked", "asker")
    ]
    given = {"auth": "tokens", "tokens_file": write_tokens(entries), "journal": tmp_path / "journal"}
    client = await make_client(Broker(), **given)
    ids = []
    for _ in range(3):
        body = {"tool_name": "rm", "parameters": {}}
        _, told = await answer(
            await client.post(f"{API}/permissions/team-1?wait=0", json=body, headers=bearer("asker"))
        )
        ids.append(told["data"]["request_id"])
    good, revoked = await made(client, ids[0]), await made(client, ids[1], right="revoked")
    used = await made(client, ids[2])
    assert (await client.post(used, json={"approved": False})).status == 200
    await client.close()
    write_tokens([entries[0], entries[2]])
    again = await make_client(Broker(), **given)

    assert [(await again.get(path)).status for path in (good, revoked, used)] == [200, 200, 404]
    assert (await again.post(revoked, json={"approved": True})).status == 401
    status, told = await answer(await again.post(good, json={"approved": True}))
    assert (status, told["data"]["decided_by"]) == (200, "approve")
    assert await error_of(await again.post(good, json={"approved": True})) == (410, "gone")


async def test_no_link_reaches_a_log(guarded: Client, broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        path = await made(guarded, asked(broker))
        await guarded.get(path)
        await guarded.post(path, json={"approved": True})

    assert "/api/links/" in caplog.text
    assert path.rpartition("/")[2] not in caplog.text
