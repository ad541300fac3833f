"""A phone is called: by a press, in its language, and what is answered on it reaches the agent; nothing else does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect
from pytest_asyncio import fixture

from notifier_service import Decision
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.web import Site
from tests.browser.conftest import CableTo, Serving, SitDown
from tests.browser.console import Console
from tests.browser.person import NETWORK_IS_AWAY, Person
from tests.browser.test_accessibility import no_serious_finding
from tests.browser.worker import PhoneWorker, with_push_service
from tests.web.conftest import until
from tests.web.push_service import Browser, PushService

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
TOKEN = "a-long-lived-secret-of-anna"
REFUSED = "status of 40[134] "


@fixture(loop_scope="session")
async def service() -> AsyncIterator[PushService]:
    async with PushService().running() as service:
        yield service


@pytest.fixture
def keys() -> Browser:
    return Browser()


async def phone_of(sit_down: SitDown, service: PushService, keys: Browser, name: str = "phone", **more: Any) -> Person:
    person = await sit_down(**PHONE, **more)
    await with_push_service(person.context, service, keys, name)
    return person


async def subscribed(person: Person, url: str, label: str = "my phone") -> Page:
    page = await person.open(f"{url}/agent_backend/#/devices")
    await page.locator("[data-field=device-label]").fill(label)
    await page.locator("[data-action=subscribe]").click()
    await expect(page.locator("[data-action=unsubscribe]")).to_be_visible()
    return page


async def in_a_pocket(sit_down: SitDown, site: Site, service: PushService, keys: Browser) -> PhoneWorker:
    """The worker of a phone that is called, whose page is closed."""
    page = await subscribed(await phone_of(sit_down, service, keys), site.url)
    worker = await PhoneWorker.of(page)
    await page.close()
    return worker


def ask(site: Site, session_id: str = "s1", **more: Any) -> PermissionRequest:
    call = {"tool_name": "Bash", "parameters": {"command": "git push"}, "risk_level": "medium", **more}
    return site.broker.ask(session_id, **call)


def push_of(request: PermissionRequest, session_id: str = "s1", **more: Any) -> dict[str, Any]:
    """What the service sends of a request."""
    record = request.record
    return {
        "kind": "permission_request", "session_id": session_id, "request_id": record.request_id,
        "tool_name": record.tool_name, "risk_level": record.risk_level, "expires_at": None,
        "summary": "Bash waits", "actions": ["approve", "reject"], **more,
    }  # fmt: skip


# The page of the devices


async def test_device_is_called_after_a_press_and_listed_until_it_is_removed(
    sit_down: SitDown, site: Site, service: PushService, keys: Browser
) -> None:
    person = await phone_of(sit_down, service, keys)
    await person.context.add_init_script(
        "globalThis.asked = 0; const ask = Notification.requestPermission.bind(Notification);"
        "Notification.requestPermission = (...given) => { globalThis.asked += 1; return ask(...given); };"
    )
    page = await person.open(f"{site.url}/agent_backend/#/devices")
    await expect(page.locator("#devices")).to_contain_text("No device is called.")
    before = await page.evaluate("globalThis.asked")

    await page.locator("[data-field=device-label]").fill("Anna's phone")
    await page.locator("[data-action=subscribe]").click()

    item = page.locator("#devices li[data-here]")
    await expect(item).to_contain_text("Anna's phone")
    assert (before, await page.evaluate("globalThis.asked")) == (0, 1)
    await page.reload()
    await expect(item).to_contain_text("this device")
    await no_serious_finding(Console(person, page))
    await item.locator("[data-action=remove-device]").click()
    await expect(page.locator("#devices")).to_contain_text("No device is called.")
    await expect(page.locator("[data-action=subscribe]")).to_be_enabled()
    assert await page.evaluate("localStorage.getItem('test.subscription')") is None


_NO_PUSH_MANAGER = "delete globalThis.PushManager;"
_IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Version/18.5 Safari/604.1"


@pytest.mark.parametrize(
    ("obstacle", "script", "options", "told"),
    [
        ("insecure", "Object.defineProperty(globalThis, 'isSecureContext', { value: false });", {}, "HTTPS"),
        ("homeScreen", _NO_PUSH_MANAGER, {"user_agent": _IPHONE}, "Add to Home Screen"),
        ("unsupported", _NO_PUSH_MANAGER, {}, "cannot be called"),
        (
            "denied",
            "Object.defineProperty(Notification, 'permission', { value: 'denied' });",
            {"locale": "zh-CN"},
            "网站设置",
        ),
    ],
)
async def test_what_stands_in_the_way_is_said_and_nothing_is_offered(
    sit_down: SitDown, site: Site, obstacle: str, script: str, options: dict[str, Any], told: str
) -> None:
    person = await sit_down(**options)
    await person.context.add_init_script(script)

    page = await person.open(f"{site.url}/agent_backend/#/devices")

    await expect(page.locator(f"[data-obstacle={obstacle}]")).to_contain_text(told)
    await expect(page.locator("[data-action=subscribe]")).to_have_count(0)


async def test_service_without_the_extra_and_a_push_service_that_is_away_are_told(
    sit_down: SitDown, site: Site, service: PushService, keys: Browser
) -> None:
    person = await phone_of(sit_down, service, keys)
    person.may_say(REFUSED)
    page = await person.open(f"{site.url}/agent_backend/#/devices")
    await page.evaluate("globalThis.noPushService = true")
    await page.locator("[data-action=subscribe]").click()
    await expect(page.locator("[data-role=devices-failure]")).to_contain_text("push service did not take")
    error = {"success": False, "error": {"code": "not_found", "message": "Pushes need the extra push"}}
    await person.context.route("**/api/push/**", lambda route: route.fulfill(status=404, json=error))

    await page.reload()

    await expect(page.locator("[data-obstacle=noPush]")).to_contain_text("pip install 'notifier-service[push]'")


# Called


async def test_request_that_nobody_sees_is_shown_on_the_phone_and_answered_there(
    sit_down: SitDown, serving: Serving, service: PushService, keys: Browser
) -> None:
    site = await serving()
    person = await phone_of(sit_down, service, keys)
    page = await subscribed(person, site.url)
    worker = await PhoneWorker.of(page)
    presence = site.broker.presence
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await until(lambda: [*presence.looking("s1")])
    await page.goto(f"{site.url}/agent_backend/#/inbox")
    seen = ask(site, tool_name="seen")
    await expect(Console(person, page).card(seen)).to_be_visible()
    assert service.pushes == []  # somebody looks
    await page.close()
    await until(lambda: not [*presence.looking("s1")])

    request = ask(site, session_id="s2", parameters={"command": "git push", "n": 2**60})
    await until(lambda: service.pushes)
    [pushed] = [push.told(keys) for push in service.pushes]
    assert "git push" not in json.dumps(pushed)
    await worker.deliver(pushed)
    notification = await worker.shows(request.request_id)
    await worker.press(request.request_id, "approve")

    assert notification["title"] == "Bash waits for your decision (medium risk)"
    assert notification["body"] == f"Session s2\ncommand: git push\nn: {2**60}"
    assert (notification["lang"], notification["actions"]) == ("en", ["approve", "reject"])
    assert (await request.decision()).approved is True
    assert await worker.shown() == []


async def test_press_opens_the_card_on_the_page_that_is_there_or_on_a_new_one(
    sit_down: SitDown, site: Site, service: PushService, keys: Browser
) -> None:
    person = await phone_of(sit_down, service, keys, locale="zh-CN")
    page = await subscribed(person, site.url)
    worker = await PhoneWorker.of(page)
    first, second = ask(site, risk_level="high"), ask(site, risk_level="high", parameters={"command": "second"})
    for request in (first, second):
        await worker.deliver(push_of(request))
    notification = await worker.shows(first.request_id)
    await worker.shows(second.request_id)

    opened = await worker.press(first.request_id)
    await expect(Console(person, page).card(first)).to_be_visible()
    await page.close()
    opened_new = await worker.press(second.request_id, "open")

    assert (notification["title"], notification["lang"]) == ("Bash 等待您的决定（高风险）", "zh-CN")
    assert notification["actions"] == ["open"]
    assert opened == []
    assert opened_new == [f"{site.url}/agent_backend/#/request/s1/{second.request_id}"]
    assert first.pending
    assert second.pending


async def test_what_is_settled_elsewhere_is_closed_and_a_late_answer_hears_by_whom(
    sit_down: SitDown, site: Site, service: PushService, keys: Browser
) -> None:
    person = await phone_of(sit_down, service, keys)
    worker = await PhoneWorker.of(await subscribed(person, site.url))
    closed, late = ask(site), ask(site, session_id="s2", tool_name="deploy")
    await worker.deliver(push_of(closed))
    await worker.deliver(push_of(late, "s2"))
    for request in (closed, late):
        await worker.shows(request.request_id)
        session_id = "s1" if request is closed else "s2"
        decision = Decision(approved=False, request_id=request.request_id)
        site.broker.decide(session_id, decision, decided_by="ben")

    await worker.deliver(push_of(closed, kind="settled", actions=[], status="rejected"))
    await worker.closes(closed.request_id)
    await worker.press(late.request_id, "approve")
    told = await worker.shows(late.request_id)
    await worker.deliver(push_of(late, "s2"))  # a call that comes after its end
    await worker.closes(late.request_id)

    assert (told["title"], told["body"]) == ("deploy was rejected by ben", "It was settled before you answered.")
    assert (await late.decision()).approved is False
    assert await worker.shown() == []


async def test_what_is_settled_is_told_in_its_place_where_a_push_must_show_something(
    sit_down: SitDown, site: Site, service: PushService, keys: Browser
) -> None:
    person = await phone_of(sit_down, service, keys)
    worker = await PhoneWorker.of(await subscribed(person, site.url))
    await worker.run(
        "PushManager.prototype.getSubscription = async () => ({ endpoint: 'https://web.push.apple.com/abc' })"
    )
    request = ask(site)
    await worker.deliver(push_of(request))
    await worker.shows(request.request_id)
    request.cancel("the agent withdrew it")

    settled = push_of(request, kind="settled", summary="Bash was withdrawn · s1", actions=[], status="cancelled")
    await worker.deliver(settled)

    await worker.shows(request.request_id, "Bash was withdrawn · s1")
    assert [one["actions"] for one in await worker.shown()] == [[]]


async def test_browser_that_changes_where_pushes_go_is_called_there(
    sit_down: SitDown, guarded: Site, service: PushService, keys: Browser
) -> None:
    person = await phone_of(sit_down, service, keys)
    person.may_say(REFUSED)
    page = await person.open(f"{guarded.url}/agent_backend/#token={TOKEN}&/devices")
    await page.locator("[data-field=device-label]").fill("my phone")
    await page.locator("[data-action=subscribe]").click()
    before = await page.locator("#devices li[data-here]").get_attribute("data-device-id")
    worker = await PhoneWorker.of(page)
    told = json.dumps({"endpoint": f"{service.url}/push/moved", "keys": keys.keys})

    await worker.run(
        "(async () => { let ended; const newSubscription = { toJSON: () => (" + told + ") };"
        "const waitUntil = (promise) => { ended = promise; };"
        "dispatchEvent(Object.assign(new Event('pushsubscriptionchange'), { newSubscription, waitUntil }));"
        "await ended; })()"
    )

    [device] = await page.evaluate(_DEVICES, TOKEN)
    assert (device["label"], device["subject"], device["id"] != before) == ("my phone", "anna", True)
    assert json.loads(await page.evaluate(_LEFT))["id"] == device["id"]


async def test_what_is_not_what_was_shown_is_never_approved(
    sit_down: SitDown, site: Site, service: PushService, keys: Browser
) -> None:
    """The notification was made for other parameters, or its request is another one now: the card is opened instead."""
    worker = await in_a_pocket(sit_down, site, service, keys)
    changed, risky = ask(site), ask(site, risk_level="high", parameters={"command": "rm -rf /srv"})
    hash_of_another = "0" * 64
    for request, sha256 in ((changed, hash_of_another), (risky, risky.record.parameters_sha256)):
        data = {"session_id": "s1", "request_id": request.request_id, "parameters_sha256": sha256, "isWhole": True}
        await worker.run(f"registration.showNotification('x', {json.dumps({'tag': request.request_id, 'data': data})})")

        opened = await worker.press(request.request_id, "approve")

        assert opened == [f"{site.url}/agent_backend/#/request/s1/{request.request_id}"]
        assert request.pending


FORGED: tuple[Any, ...] = (
    "no JSON", "[]", "null", '{"kind": "permission_request"}',
    {"kind": "permission_request", "session_id": "../../..", "request_id": "x", "summary": "y"},
    {"kind": "permission_request", "session_id": "s1", "request_id": "x" * 300, "summary": "y"},
    {"kind": "permission_request", "session_id": ["s1"], "request_id": "x"},
    {"kind": "other", "session_id": "s1", "request_id": "x", "navigate": "https://evil.example/"},
)  # fmt: skip


async def test_push_that_is_none_of_ours_says_that_the_page_tells_more_and_opens_that(
    sit_down: SitDown, site: Site, service: PushService, keys: Browser
) -> None:
    worker = await in_a_pocket(sit_down, site, service, keys)

    for forged in FORGED:
        await worker.deliver(forged)

        assert (await worker.shows("unknown"))["actions"] == []
        assert await worker.press("unknown") == [f"{site.url}/agent_backend/#/inbox"]


async def test_words_of_a_push_are_never_those_of_what_is_approved(
    sit_down: SitDown, site: Site, service: PushService, keys: Browser
) -> None:
    """Somebody who can push says that it is harmless: what is shown, and which buttons, is what the service says."""
    person = await phone_of(sit_down, service, keys)
    worker = await PhoneWorker.of(await subscribed(person, site.url))
    request = ask(site, tool_name="rm\u202e", risk_level="high", parameters={"path": "/srv"})
    lie = {"tool_name": "ls", "risk_level": "low", "summary": "ls is safe", "url": "https://evil.example/"}

    await worker.deliver(push_of(request, **lie))

    notification = await worker.shows(request.request_id)
    assert notification["title"] == "rm\\u202e waits for your decision (high risk)"
    assert "evil" not in json.dumps(notification)
    assert notification["actions"] == ["open"]


UNSEEN: tuple[tuple[dict[str, Any], str], ...] = (
    ({"content": "x" * 5000}, "x" * 300),
    ({f"p{number}": number for number in range(20)}, "p19"),
    ({"path": "/srv", "password": "correct-horse-battery"}, "correct-horse"),
    ({"env": [{"DB_PASSWORD": "correct-horse-battery"}]}, "correct-horse"),
    ({"command": "curl -H 'Authorization: Bearer abc.def' x"}, "abc.def"),
    ({"command": "psql postgres://anna:hunter2@db/x"}, "hunter2"),
    ({"meeting_room": "tower-7"}, "tower-7"),
)


async def test_what_a_notification_does_not_show_is_not_approved_on_it(
    sit_down: SitDown, serving: Serving, service: PushService, keys: Browser
) -> None:
    """What the operator names a secret is one here too; what is none by the same rules is shown and offered."""
    site = await serving(redact_keys=("room",))
    worker = await in_a_pocket(sit_down, site, service, keys)

    for parameters, unseen in UNSEEN:
        request = ask(site, parameters=parameters)
        await worker.deliver(push_of(request))

        notification = await worker.shows(request.request_id)
        assert notification["actions"] == ["reject", "open"]
        assert unseen not in notification["body"]
        assert notification["body"].endswith("Only the page shows all of it.")

    harmless = ask(site, parameters={"path": "/etc/ssl/openssl.cnf", "cookie_count": None})
    await worker.deliver(push_of(harmless))
    assert (await worker.shows(harmless.request_id))["actions"] == ["approve", "reject"]


async def test_answer_that_does_not_arrive_is_told(
    sit_down: SitDown, site: Site, service: PushService, keys: Browser, cable_to: CableTo
) -> None:
    person = await phone_of(sit_down, service, keys)
    person.may_say(NETWORK_IS_AWAY)
    cable = await cable_to(site.port)
    worker = await PhoneWorker.of(await subscribed(person, cable.url))
    request = ask(site)
    await worker.deliver(push_of(request))
    await worker.shows(request.request_id)
    cable.pull()

    await worker.press(request.request_id, "approve")

    notification = await worker.shows(request.request_id)
    assert notification["title"] == "Session s1 was not decided"
    assert "may not have arrived" in notification["body"]
    assert request.pending


# Whose right


@fixture(loop_scope="session")
async def guarded(serving: Serving, tmp_path: Path) -> Site:
    tokens = tmp_path / "tokens.json"
    rights = {"rights": ["approve"], "sessions": ["*"]}
    tokens.write_text(json.dumps([{"token": TOKEN, "subject": "anna", **rights}]))
    return await serving(auth="tokens", tokens_file=tokens)


_LEFT = """new Promise((resolve) => {
  const opened = indexedDB.open("notifier /agent_backend/", 1);
  opened.onsuccess = () => {
    const asked = opened.result.transaction("device").objectStore("device").get(1);
    asked.onsuccess = () => { opened.result.close(); resolve(JSON.stringify(asked.result ?? null)); };
  };
})"""


_DEVICES = """(token) => fetch("api/push/subscriptions", { headers: { Authorization: `Bearer ${token}` } })
  .then((answer) => answer.json()).then(({ data }) => data)"""


async def test_phone_decides_in_the_name_of_its_person_until_that_signs_out(
    sit_down: SitDown, guarded: Site, service: PushService, keys: Browser
) -> None:
    person = await phone_of(sit_down, service, keys)
    person.may_say(REFUSED)
    page = await person.open(f"{guarded.url}/agent_backend/#token={TOKEN}&/devices")
    await page.locator("[data-action=subscribe]").click()
    await expect(page.locator("[data-action=unsubscribe]")).to_be_visible()
    worker = await PhoneWorker.of(page)
    first, second = ask(guarded), ask(guarded, session_id="s2")
    await worker.deliver(push_of(first))
    await worker.shows(first.request_id)
    await worker.press(first.request_id, "reject")
    left = await page.evaluate(_LEFT)
    cached = await page.evaluate("caches.keys()")
    await page.locator("[data-action=sessions]").click()
    await page.get_by_text("Sign out", exact=True).click()
    await expect(page.locator("#token-form")).to_be_visible()
    await worker.deliver(push_of(second, "s2"))
    told = await worker.shows(second.request_id)

    assert (await first.decision()).decided_by == "anna"
    assert first.record.status == "rejected"
    assert json.loads(left)["token"] == TOKEN
    assert cached == []
    assert [url for _, url in person.requested[1:] if TOKEN in url] == []
    assert await page.evaluate(_LEFT) == "null"
    assert await page.evaluate("localStorage.getItem('test.subscription')") is None
    assert await page.evaluate(_DEVICES, TOKEN) == []
    assert (told["actions"], "git push" in told["body"]) == (["open"], False)
    assert "not signed in" in told["body"]

    assert guarded.settings.tokens_file is not None
    only_looks = {"token": TOKEN, "subject": "anna", "rights": ["view"], "sessions": ["*"]}
    guarded.settings.tokens_file.write_text(json.dumps([only_looks]))
    guarded.read_again()
    page = await person.open(f"{guarded.url}/agent_backend/#token={TOKEN}&/devices")
    await page.locator("[data-action=subscribe]").click()
    await expect(page.locator("[data-action=unsubscribe]")).to_be_visible()
    await worker.deliver(push_of(second, "s2"))
    told = await worker.shows(second.request_id, "Bash waits for your decision (medium risk)")
    assert told["actions"] == ["open"]


async def test_token_that_is_refused_is_the_right_of_the_device_no_longer(
    sit_down: SitDown, guarded: Site, service: PushService, keys: Browser
) -> None:
    person = await phone_of(sit_down, service, keys)
    person.may_say(REFUSED)
    page = await person.open(f"{guarded.url}/agent_backend/#token={TOKEN}&/devices")
    await page.locator("[data-action=subscribe]").click()
    await expect(page.locator("[data-action=unsubscribe]")).to_be_visible()
    before = json.loads(await page.evaluate(_LEFT))["token"]
    assert guarded.settings.tokens_file is not None
    others = {"token": "another-secret", "subject": "ben", "rights": ["approve"], "sessions": ["*"]}
    guarded.settings.tokens_file.write_text(json.dumps([others]))
    guarded.read_again()

    await page.reload()

    await expect(page.locator("#token-form")).to_be_visible()
    async with asyncio.timeout(15):
        while TOKEN in await page.evaluate(_LEFT):
            pass
    assert before == TOKEN
    assert TOKEN not in await page.evaluate("JSON.stringify({ ...localStorage, ...sessionStorage })")
