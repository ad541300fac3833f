"""People are called in their browsers: end to end encrypted, by device, with no parameter, and withdrawn."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from notifier_service import Broker, Decision, Settings
from notifier_service.core.errors import InvalidInput
from notifier_service.core.events import utc_now
from notifier_service.core.label import Label, clean
from notifier_service.core.notices import Notice
from notifier_service.web import Site, serve
from notifier_service.web.push import PUSH
from notifier_service.web.reach import outbox, push_crypto
from notifier_service.web.reach import push as push_module
from notifier_service.web.reach.push import Push
from notifier_service.web.reach.push_crypto import MAX_PLAIN, ServerKey, encrypted, from_base64, to_base64
from notifier_service.web.reach.subscriptions import Subscription, id_of

from .conftest import API, Client, MakeClient, WriteTokens, answer, bearer, error_of, until
from .push_service import Browser, PushService

PUSHES = f"{API}/push/subscriptions"
PASSWORD = "correct-horse-battery"


@pytest.fixture
async def service() -> AsyncIterator[PushService]:
    async with PushService().running() as service:
        yield service


@pytest.fixture
def browser() -> Browser:
    return Browser()


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[tuple[Site, aiohttp.ClientSession]]:
    async with serve(settings=Settings(port=0, **settings)) as site, aiohttp.ClientSession(site.url) as http:
        yield site, http


def body_of(service: PushService, browser: Browser, name: str = "phone", **more: Any) -> dict[str, Any]:
    return {"endpoint": f"{service.url}/push/{name}", "keys": browser.keys, "label": name, **more}


async def subscribed(
    http: Client | aiohttp.ClientSession, service: PushService, browser: Browser, name: str = "phone", **more: Any
) -> dict[str, Any]:
    headers = more.pop("headers", None)
    status, told = await answer(await http.post(PUSHES, json=body_of(service, browser, name, **more), headers=headers))
    assert status == 201, told
    data: dict[str, Any] = told["data"]
    return data


def asked(broker: Broker, session_id: str = "s1", **more: Any) -> str:
    given = {"tool_name": "rm", "parameters": {"path": "/srv", "password": PASSWORD}, "risk_level": "high", **more}
    return broker.ask(session_id, **given).request_id


# What is sent


def test_encryption_is_that_of_the_example_in_the_standard() -> None:
    """RFC 8291, appendix A."""
    number = int.from_bytes(from_base64("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), "big")

    sealed = encrypted(
        b"When I grow up, I want to be a watermelon",
        "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        "BTBZMqHH6r4Tts7J_aSIgg",
        salt=from_base64("DGv6ra1nlYgDCS1FRnbzlw"),
        sender=ec.derive_private_key(number, ec.SECP256R1()),
        padded_to=1,
    )

    assert to_base64(sealed) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru"
        "3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


def test_what_is_too_large_is_refused_and_what_is_not_fits_a_push(browser: Browser) -> None:
    assert browser.read(encrypted(b"x" * MAX_PLAIN, **browser.keys)) == b"x" * MAX_PLAIN
    with pytest.raises(ValueError, match="3073"):
        encrypted(b"x" * (MAX_PLAIN + 1), **browser.keys)


def test_size_of_a_push_tells_little(browser: Browser) -> None:
    sizes = {len(encrypted(b"x" * length, **browser.keys)) for length in range(1, 500, 37)}

    assert len(sizes) == 1


def test_key_is_made_again_from_its_number() -> None:
    key = ServerKey()

    assert ServerKey(key.number).public == key.public


async def test_device_is_told_a_summary_that_only_it_can_read_and_that_it_is_settled(
    service: PushService, browser: Browser
) -> None:
    async with serving(push_contact="mailto:me@example.org") as (site, http):
        key = (await answer(await http.get(f"{API}/push/key")))[1]["data"]["key"]
        device = await subscribed(http, service, browser, "my phone")
        site.broker.label("s1", Label("Tidy up", None))
        request_id = asked(site.broker)
        await until(lambda: len(service.pushes) == 1)
        site.broker.decide("s1", Decision(approved=True, request_id=request_id), decided_by="alice")
        await until(lambda: site.broker.counters.notifications["push", "sent"] == 2)
        [listed] = (await answer(await http.get(PUSHES)))[1]["data"]

    first, second = service.pushes
    told = first.told(browser)
    assert told.pop("expires_at").endswith("Z")
    assert told == {
        "kind": "permission_request",
        "session_id": "s1",
        "request_id": request_id,
        "tool_name": "rm",
        "risk_level": "high",
        "summary": "rm waits for your decision (high risk) · Tidy up",
        "actions": ["open"],
    }
    settled = second.told(browser)
    assert (settled["kind"], settled["status"], settled["actions"]) == ("settled", "approved", [])
    assert first.headers["topic"] == second.headers["topic"]
    assert (first.headers["urgency"], second.headers["urgency"]) == ("high", "normal")
    assert 290 <= int(first.headers["ttl"]) <= 300
    assert first.headers["authorization"].endswith(f"k={key}")
    assert PASSWORD.encode() not in first.body
    assert (listed["id"], listed["last_result"], listed["service"]) == (device["id"], "sent", "127.0.0.1")
    assert "endpoint" not in listed


@pytest.mark.parametrize(
    ("risk", "actions", "needs_answer"),
    [("medium", ["approve", "reject"], False), ("high", ["open"], False), ("low", ["open"], True)],
)
async def test_what_is_risky_is_read_before_it_is_answered(
    service: PushService, browser: Browser, risk: str, actions: list[str], needs_answer: bool
) -> None:
    async with serving() as (site, http):
        await subscribed(http, service, browser, language="zh")
        asked(site.broker, risk_level=risk, needs_answer=needs_answer, by_policy=not needs_answer)
        await until(lambda: service.pushes)

    told = service.pushes[0].told(browser)
    assert told["actions"] == actions
    assert told["summary"].startswith("rm 等待您的决定")


async def test_device_that_may_only_look_is_offered_no_answer(
    service: PushService, browser: Browser, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens.json"
    rights = ("view", "approve")
    entries = [{"token": f"{one}-token", "subject": one, "rights": [one], "sessions": ["*"]} for one in rights]
    tokens.write_text(json.dumps(entries))
    async with serving(auth="tokens", tokens_file=tokens) as (site, http):
        for right in rights:
            await subscribed(http, service, browser, right, headers={"Authorization": f"Bearer {right}-token"})
        asked(site.broker, risk_level="medium")
        await until(lambda: len(service.pushes) == 2)

    offered = {pushed.path: pushed.told(browser)["actions"] for pushed in service.pushes[:2]}
    assert offered == {"/push/view": ["open"], "/push/approve": ["approve", "reject"]}


async def test_name_that_is_hostile_and_long_fits_and_says_no_more_than_it_is(
    service: PushService, browser: Browser
) -> None:
    async with serving() as (site, http):
        await subscribed(http, service, browser)
        asked(site.broker, "s" * 128, tool_name="{risk}\u202e\x07" + "删" * 240)
        site.broker.label("s" * 128, Label("题" * 200, None))
        asked(site.broker, "s" * 128, tool_name="sk-proj-" + "a1B2" * 16)
        await until(lambda: len(service.pushes) == 2)

    first, second = [push.told(browser) for push in service.pushes[:2]]
    assert first["tool_name"] == "{risk}" + "删" * 240
    assert first["summary"].startswith("{risk}删")
    assert "a1B2a1B2" not in json.dumps(second)


@pytest.mark.parametrize(
    "tool", ["😀" * 256, '"' * 256, "\\" * 256, "删" * 256, "👩\u200d👩\u200d👧" * 51, "e\u0301" * 128, "🇩🇪" * 128]
)
async def test_payload_is_never_over_its_limit_and_cut_behind_a_whole_character(
    service: PushService, browser: Browser, tool: str
) -> None:
    async with serving() as (site, http):
        await subscribed(http, service, browser, language="zh")
        site.broker.label("s" * 128, Label(tool[:200], None))
        asked(site.broker, "s" * 128, tool_name=tool)
        await until(lambda: service.pushes)
    told = service.pushes[0].told(browser)

    assert len(browser.read(service.pushes[0].body)) <= MAX_PLAIN
    beginning = told["tool_name"].removesuffix("…")
    assert clean(tool).startswith(beginning)
    assert not clean(tool)[len(beginning) : len(beginning) + 1].startswith(("\u200d", "\u0301"))
    assert len(beginning) >= 70
    assert told["summary"].startswith(told["tool_name"])


async def test_title_tells_no_secret(service: PushService, browser: Browser) -> None:
    async with serving() as (site, http):
        await subscribed(http, service, browser)
        site.broker.label("s1", Label(f"with password={PASSWORD}", None))
        asked(site.broker)
        await until(lambda: service.pushes)

    assert PASSWORD not in json.dumps(service.pushes[0].told(browser))


async def test_person_who_looks_is_not_called_and_others_are(
    make_client: MakeClient, write_tokens: WriteTokens, broker: Broker, service: PushService
) -> None:
    people = ("alice", "bob", "eve", "oncall")
    entries = [
        {
            "token": f"{name}-token",
            "subject": name,
            "rights": ["approve"],
            "sessions": ["s*"] if name != "eve" else ["x*"],
        }
        for name in people
    ]
    client = await make_client(broker, auth="tokens", tokens_file=write_tokens(entries), escalate="0=oncall")
    broker.notices.after_seconds = 0
    for name in people:
        await subscribed(client, service, Browser(), name, headers=bearer(name))
    await client.post(f"{API}/presence", json={"visible": True}, headers=bearer("alice"))
    asked(broker)
    broker.sweep()
    await until(lambda: len(service.pushes) == 2)

    assert sorted(push.path for push in service.pushes) == ["/push/bob", "/push/oncall"]
    assert (await answer(await client.get(PUSHES, headers=bearer("bob"))))[1]["data"][0]["label"] == "bob"


async def test_device_hears_of_the_sessions_that_it_wants(service: PushService, browser: Browser) -> None:
    async with serving() as (site, http):
        await subscribed(http, service, browser, sessions=["team-*"])
        asked(site.broker, "other")
        asked(site.broker, "team-1")
        await until(lambda: service.pushes)
        assert [push.told(browser)["session_id"] for push in service.pushes] == ["team-1"]


@pytest.mark.parametrize("revoked", [True, False])
async def test_device_of_a_token_that_is_revoked_or_for_other_sessions_is_told_nothing(
    make_client: MakeClient, write_tokens: WriteTokens, broker: Broker, service: PushService, revoked: bool
) -> None:
    kept = {"token": "kept-token", "subject": "kept", "rights": ["admin"], "sessions": ["*"]}
    entry = {"token": "phone-token", "subject": "phone", "rights": ["view"], "sessions": ["*"]}
    client = await make_client(broker, auth="tokens", tokens_file=write_tokens([kept, entry]))
    await subscribed(client, service, Browser(), "phone", headers=bearer("phone"))
    await subscribed(client, service, Browser(), "kept", headers=bearer("kept"))
    write_tokens([kept] if revoked else [kept, {**entry, "sessions": ["others-*"]}])
    asked(broker)
    await until(lambda: service.pushes)

    assert [push.path for push in service.pushes] == ["/push/kept"]
    devices = (await answer(await client.get(PUSHES, headers=bearer("kept"))))[1]["data"]
    assert {device["label"] for device in devices} == ({"kept"} if revoked else {"kept", "phone"})


# What becomes of it


@pytest.mark.parametrize("status", [404, 410])
async def test_device_that_is_gone_is_forgotten(service: PushService, browser: Browser, status: int) -> None:
    service.answer = lambda path: status
    async with serving() as (site, http):
        await subscribed(http, service, browser)
        asked(site.broker)
        await until(lambda: site.broker.counters.notifications["push", "gone"])
        assert (await answer(await http.get(PUSHES)))[1]["data"] == []
        asked(site.broker)

    assert len(service.pushes) == 1


@pytest.mark.parametrize(
    ("status", "said"),
    [(400, "refuses it"), (403, "is the clock of this machine right?"), (413, "too large"), (302, "refuses it")],
)
async def test_push_that_is_refused_is_not_tried_again_and_the_reason_is_told(
    service: PushService, browser: Browser, status: int, said: str
) -> None:
    service.answer = lambda path: status
    async with serving() as (site, http):
        await subscribed(http, service, browser)
        asked(site.broker)
        await until(lambda: site.broker.counters.notifications["push", "failed"])
        [device] = (await answer(await http.get(PUSHES)))[1]["data"]
        assert said in device["last_result"]
        assert len(service.pushes) == 1


async def test_service_that_fails_for_a_while_gets_it_when_it_is_back(
    service: PushService, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_FIRST_BACKOFF_SECONDS", 0.01)
    statuses = iter([500, 429, 503])
    service.answer = lambda path: next(statuses, 201)
    async with serving() as (site, http):
        await subscribed(http, service, browser)
        asked(site.broker)
        await until(lambda: site.broker.counters.notifications["push", "sent"])

    assert len({push.headers["topic"] for push in service.pushes}) == 1


@pytest.mark.parametrize("seconds_off", [-11 * 3600, 11 * 3600, 25 * 3600])
async def test_clock_that_is_wrong_by_hours_serves_still_and_by_more_is_told(
    service: PushService, browser: Browser, monkeypatch: pytest.MonkeyPatch, seconds_off: float
) -> None:
    monkeypatch.setattr(push_crypto, "time", SimpleNamespace(time=lambda: time.time() + seconds_off))
    fits = abs(seconds_off) < 12 * 3600
    service.answer = lambda path: 201 if fits else 403
    async with serving() as (site, http):
        await subscribed(http, service, browser)
        asked(site.broker)
        await until(lambda: service.pushes and site.broker.counters.notifications["push", "sent" if fits else "failed"])
        [device] = (await answer(await http.get(PUSHES)))[1]["data"]

    assert bool(service.wrong) is not fits
    service.wrong.clear()
    assert ("is the clock of this machine right?" in device["last_result"]) is not fits


async def test_clock_that_is_set_takes_no_time_from_a_push(
    service: PushService, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as (site, http):
        await subscribed(http, service, browser)
        monkeypatch.setattr(push_module, "utc_now", lambda: utc_now() + timedelta(days=1))
        asked(site.broker)
        await until(lambda: service.pushes)

    assert 290 <= int(service.pushes[0].headers["ttl"]) <= 300


async def test_request_that_was_settled_while_the_push_service_was_away_calls_nobody_any_more(
    service: PushService, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_FIRST_BACKOFF_SECONDS", 0.01)
    statuses = [500]
    service.answer = lambda path: statuses[0] if statuses else 201
    async with serving() as (site, http):
        await subscribed(http, service, browser)
        request_id = asked(site.broker)
        await until(lambda: service.pushes)
        site.broker.decide("s1", Decision(approved=True, request_id=request_id), decided_by="alice")
        service.pushes.clear()
        statuses.clear()
        await until(lambda: site.broker.counters.notifications["push", "sent"])

    assert service.pushes[-1].told(browser)["kind"] == "settled"
    assert all(push.told(browser)["kind"] == "settled" for push in service.pushes[1:])


async def test_service_that_never_answers_holds_up_no_other_device(service: PushService) -> None:
    service.answer = lambda path: None if "stalled" in path else 201
    async with serving(shutdown_seconds=0.5) as (site, http):
        for number in range(5):
            await subscribed(http, service, Browser(), f"stalled-{number}")
        good = Browser()
        await subscribed(http, service, good, "good")
        asked(site.broker)
        await until(lambda: site.broker.counters.notifications["push", "sent"] == 1)
        decision = {"approved": True}
        assert (await http.post(f"{API}/sse/permission-response/s1", json=decision)).status == 200


async def test_push_of_a_request_that_is_over_is_not_sent_any_more() -> None:
    """A push service that answers 500 for an hour, by a simulated clock: the request expired long before."""
    now, tried = [0.0], []

    async def sleep(seconds: float) -> None:
        now[0] += seconds
        await asyncio.sleep(0)

    counted: list[tuple[str, str]] = []
    push = Push(
        Settings(), lambda *what: counted.append(what), lambda device: ("*",), clock=lambda: now[0], sleep=sleep
    )

    async def failing(device: Subscription, body: bytes, headers: Any) -> outbox.Outcome:
        tried.append(now[0])
        return outbox.Outcome("again", "status 500")

    push._sent = failing  # type: ignore[method-assign]  # an hour of a real one is no test
    endpoint = "http://127.0.0.1:9/x"
    keys = Browser().keys
    await push.subscribe(
        Subscription(id=id_of(endpoint), endpoint=endpoint, subject="me", reach=("*",), created_at=utc_now(), **keys)
    )
    broker = Broker()
    record = broker.ask("s1", tool_name="rm", parameters={}, timeout_seconds=300).record
    push.tell(Notice("requested", "s1", Label(), record, "unseen", seconds_left=300))
    await until(lambda: counted)

    assert counted == [("push", "expired")]
    assert 300 <= now[0] < 400
    assert len(tried) <= 15


# Devices


async def test_device_is_renamed_listed_and_removed_by_its_person(
    guarded: Client, service: PushService, browser: Browser
) -> None:
    first = await subscribed(guarded, service, browser, headers=bearer("view"), label="old")
    again = await subscribed(guarded, service, browser, headers=bearer("view"), label=" new\n\u202ephone ")
    assert (again["id"], again["label"]) == (first["id"], "new phone")
    device = f"{PUSHES}/{first['id']}"
    assert await error_of(await guarded.delete(device, headers=bearer("approve"))) == (404, "not_found")
    assert (await answer(await guarded.get(PUSHES, headers=bearer("approve"))))[1]["data"] == []
    assert (await answer(await guarded.get(PUSHES, headers=bearer("admin"))))[1]["data"][0]["subject"] == "view"
    assert (await guarded.delete(device, headers=bearer("view"))).status == 200
    assert await error_of(await guarded.delete(device, headers=bearer("view"))) == (404, "not_found")
    assert await error_of(await guarded.get(PUSHES, headers=bearer("produce"))) == (403, "forbidden")


async def test_endpoint_of_somebody_else_is_not_taken_over_without_its_keys(
    guarded: Client, service: PushService, browser: Browser
) -> None:
    device = await subscribed(guarded, service, browser, headers=bearer("view"))
    stolen = body_of(service, Browser())
    response = await guarded.post(PUSHES, json=stolen, headers=bearer("approve"))
    assert await error_of(response) == (409, "conflict")

    moved = await subscribed(guarded, service, browser, headers=bearer("approve"))
    assert (moved["id"], moved["subject"]) == (device["id"], "approve")


GOOD = Browser().keys


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": "http://push.example/x"},
        {"endpoint": "ftp://127.0.0.1/x"},
        {"endpoint": "https://10.0.0.1/x"},
        {"endpoint": "https://169.254.169.254/latest/meta-data"},
        {"endpoint": "https://[fd00::1]/x"},
        {"endpoint": "https://2130706434.example@10.0.0.1/x"},
        {"endpoint": "https://user:pw@push.example/x"},
        {"endpoint": "https://push.example/x#y"},
        {"endpoint": "https://push.example:99999/x"},
        {"endpoint": "https:///x"},
        {"endpoint": "https://push.example/" + "x" * 2048},
        {"endpoint": "nonsense"},
        {"endpoint": ""},
        {"keys": {"p256dh": GOOD["p256dh"]}},
        {"keys": {"p256dh": GOOD["auth"], "auth": GOOD["auth"]}},
        {"keys": {"p256dh": GOOD["p256dh"], "auth": "AAAA"}},
        {"keys": {"p256dh": "B" + "A" * 86, "auth": GOOD["auth"]}},
        {"keys": {"p256dh": "***", "auth": GOOD["auth"]}},
        {"label": "x" * 101},
        {"sessions": []},
        {"language": "tlh"},
        {"more": 1},
    ],
)
async def test_subscription_that_cannot_be_used_or_leads_inside_is_refused(
    client: Client, change: dict[str, Any]
) -> None:
    body = {"endpoint": "https://push.example/x", "keys": GOOD, "expirationTime": None, **change}

    assert await error_of(await client.post(PUSHES, json=body)) == (422, "invalid")
    assert (await answer(await client.get(PUSHES)))[1]["data"] == []


async def test_loopback_is_private_too_where_the_service_is_reached_from_elsewhere() -> None:
    push = Push(Settings(host="0.0.0.0", auth="tokens", tokens_file=Path("t")), lambda *what: None, lambda one: ("*",))

    for endpoint in ("http://127.0.0.1:9/x", "https://localhost/x"):
        with pytest.raises(InvalidInput):
            await push.check(endpoint)


async def test_nobody_has_more_devices_than_their_share(client: Client, service: PushService) -> None:
    for number in range(20):
        await subscribed(client, service, Browser(), f"d{number}")

    response = await client.post(PUSHES, json=body_of(service, Browser(), "one-more"))
    assert await error_of(response) == (429, "limit_reached")


# Over a restart


@pytest.mark.parametrize("kept_in", ["journal", "push_file"])
async def test_devices_and_the_key_outlive_a_restart(
    service: PushService, browser: Browser, tmp_path: Path, kept_in: str
) -> None:
    path = tmp_path / "kept"
    async with serving(**{kept_in: path}) as (site, http):
        key = (await answer(await http.get(f"{API}/push/key")))[1]
        device = await subscribed(http, service, browser)
        gone = await subscribed(http, service, Browser(), "gone")
        await http.delete(f"{PUSHES}/{gone['id']}")
    async with serving(**{kept_in: path}) as (site, http):
        assert (await answer(await http.get(f"{API}/push/key")))[1] == key
        [listed] = (await answer(await http.get(PUSHES)))[1]["data"]
        asked(site.broker)
        await until(lambda: service.pushes)

    assert listed["id"] == device["id"]
    assert service.pushes[0].told(browser)["session_id"] == "s1"
    if kept_in == "push_file":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_what_a_device_was_not_sent_before_a_restart_is_sent_after_it_and_withdrawn(
    service: PushService, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_FIRST_BACKOFF_SECONDS", 0.01)
    service.answer = lambda path: 503
    given = {"journal": tmp_path / "journal", "shutdown_seconds": 2}
    body = {"tool_name": "rm", "parameters": {"password": PASSWORD}, "risk_level": "high"}
    async with serving(**given) as (site, http):
        await subscribed(http, service, browser)
        _, told = await answer(await http.post(f"{API}/permissions/s1?wait=0", json=body))
        await until(lambda: service.pushes)
    service.pushes.clear()
    service.answer = lambda path: 201
    async with serving(**given) as (site, http):
        await until(lambda: service.pushes)
        request_id = told["data"]["request_id"]
        site.broker.decide("s1", Decision(approved=True, request_id=request_id), decided_by="alice")
        await until(lambda: len(service.pushes) == 2)

    assert [push.told(browser)["kind"] for push in service.pushes] == ["permission_request", "settled"]
    assert {push.told(browser)["request_id"] for push in service.pushes} == {request_id}


@pytest.mark.parametrize("text", ["{", "[]", '{"devices": []}', '{"key": 7, "devices": []}'])
def test_file_that_is_none_is_refused_at_the_start(tmp_path: Path, text: str) -> None:
    from notifier_service.web import create_app

    path = tmp_path / "push.json"
    path.write_text(text)
    with pytest.raises(InvalidInput, match="push_file"):
        create_app(Broker(), Settings(push_file=path))


def test_key_and_device_that_cannot_be_read_are_made_anew_and_forgotten(tmp_path: Path) -> None:
    from notifier_service.web import create_app

    path = tmp_path / "push.json"
    path.write_text('{"key": "AAA", "devices": [{"id": 7}]}')
    app = create_app(Broker(), Settings(push_file=path))

    assert app[PUSH].key.public
    assert app[PUSH].devices(None) == []


def test_file_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    from notifier_service.web import create_app

    with pytest.raises(InvalidInput, match="push_file cannot be written"):
        create_app(Broker(), Settings(push_file=tmp_path / "nowhere" / "push.json"))


# Where it leads


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What a name server says, which may be something else the next time."""
    found: dict[str, list[str]] = {}
    resolve = asyncio.BaseEventLoop.getaddrinfo

    async def said(self: Any, host: Any, port: Any, **more: Any) -> Any:
        if host not in found:
            return await resolve(self, host, port, **more)
        kind = socket.AF_INET
        return [(kind, socket.SOCK_STREAM, 6, "", (one, port)) for one in found[host]]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", said)
    return found


@pytest.mark.parametrize("addresses", [["10.0.0.7"], ["93.184.216.34", "169.254.169.254"], ["0.0.0.0"]])
async def test_name_that_leads_to_a_private_address_is_refused(
    client: Client, names: dict[str, list[str]], addresses: list[str]
) -> None:
    names["push.example"] = addresses
    body = {"endpoint": "https://push.example/x", "keys": GOOD}

    assert await error_of(await client.post(PUSHES, json=body)) == (422, "invalid")


async def test_device_whose_name_leads_to_a_private_address_later_is_not_called_and_forgotten(
    names: dict[str, list[str]],
) -> None:
    names["push.example"] = ["93.184.216.34"]
    async with serving() as (site, http):
        body = {"endpoint": "https://push.example/x", "keys": GOOD}
        assert (await http.post(PUSHES, json=body)).status == 201
        names["push.example"] = ["10.0.0.7"]
        asked(site.broker)
        await until(lambda: site.broker.counters.notifications["push", "gone"])
        assert (await answer(await http.get(PUSHES)))[1]["data"] == []
