"""The page as an app: installed under whatever path, offline in words, and heard where a person wants that."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from notifier_service.web import Site, pages
from tests.browser.conftest import CableTo, Serving, SitDown
from tests.browser.console import Console
from tests.browser.person import Person
from tests.browser.proxy import NGINX, nginx_before

OFFLINE = r"ERR_INTERNET_DISCONNECTED|status of 50|net::ERR_"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}

#: Counts what the page asks of the system.
_COUNTS = """
globalThis.badges = [];
navigator.setAppBadge = async (number) => { badges.push(number); };
let tones = 0;
globalThis.AudioContext = class {
  state = "suspended"; currentTime = 0; destination = {};
  async resume() { this.state = "running"; }
  createOscillator() {
    const start = () => { document.documentElement.dataset.tones = tones += 1; };
    return { frequency: {}, connect: (next) => next, start, stop() {} };
  }
  createGain() { return { gain: { setValueAtTime() {}, exponentialRampToValueAtTime() {} }, connect: (next) => next }; }
};
"""


async def is_worked(page: Page) -> str:
    """Wait until the worker works; the address for which it does."""
    return str(await page.evaluate("navigator.serviceWorker.ready.then(({ scope }) => scope)"))


async def app_of(page: Page) -> tuple[str, list[str]]:
    """By what the browser knows the app, and what it finds wrong with it."""
    devtools = await page.context.new_cdp_session(page)
    manifest = await devtools.send("Page.getAppManifest")
    errors = await devtools.send("Page.getInstallabilityErrors")
    known = [error["errorId"] for error in errors["installabilityErrors"] if error["errorId"] != "in-incognito"]
    return manifest["manifest"]["id"], [*map(str, manifest["errors"]), *known]


async def test_page_is_an_app_without_any_prefix(sit_down: SitDown, serving: Serving) -> None:
    site = await serving(prefix="")
    person = await sit_down(**PHONE)
    page = await person.open(f"{site.url}/")

    assert await is_worked(page) == f"{site.url}/"
    assert await app_of(page) == (f"{site.url}/", [])


async def test_page_is_an_app_behind_a_proxy_that_adds_a_path_and_says_when_that_is_alone(
    sit_down: SitDown, site: Site, cable_to: CableTo, tmp_path: Path
) -> None:
    if NGINX is None:
        pytest.skip("nginx is not installed: scripts/programs tells how")
    cable = await cable_to(site.port)
    person = await sit_down()
    person.may_say(OFFLINE)
    how = (
        "rewrite ^/team/a(/.*)$ $1 break; proxy_set_header Host $http_host; proxy_http_version 1.1;"
        'proxy_set_header Connection "";'
    )
    async with nginx_before(int(cable.url.rpartition(":")[2]), tmp_path, how=how) as proxy:
        page = await person.open(f"{proxy}/team/a/agent_backend/#/devices")
        scope = await is_worked(page)
        app = await app_of(page)
        cable.pull()
        await page.reload()
        told = await page.locator("body").inner_text()

    assert scope == f"{proxy}/team/a/agent_backend/"
    assert app == (scope, [])
    assert "the service behind it does not answer" in told


async def test_page_without_a_connection_says_so_and_comes_back_where_it_was(sit_down: SitDown, site: Site) -> None:
    person = await sit_down(**PHONE, locale="zh-CN")
    person.may_say(OFFLINE)
    request = site.broker.ask("s1", tool_name="deploy", parameters={"to": "production"}, risk_level="medium")
    console = await Console.at(person, site.url)
    page = console.page
    await is_worked(page)
    await person.context.set_offline(offline=True)

    await page.reload()

    await expect(page.locator("body")).to_contain_text("此设备已离线")
    await expect(page.locator("body")).to_contain_text("也无法作出决定")
    assert "production" not in await page.content()
    await person.context.set_offline(offline=False)
    await page.locator("button").click()
    await console.is_live()
    await expect(console.card(request)).to_be_visible()
    assert await page.evaluate("caches.keys()") == []


_REPLY = b"""
addEventListener("message", ({ ports }) => ports[0]?.postMessage("the new one"));
"""
_ASK_WORKER = """
() => new Promise(async (resolve) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = ({ data }) => resolve(data);
  const { active } = await navigator.serviceWorker.ready;
  active.postMessage("who are you?", [port2]);
  setTimeout(() => resolve("another one"), 200);
})
"""


async def test_page_that_is_open_says_that_a_new_version_is_there_and_loses_no_draft(
    person: Person, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is replaced at once; the page when its person wants it, and not while they write."""
    person.may_say(OFFLINE)
    request = site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="medium")
    console = await Console.at_inbox(person, site.url)
    page, card = console.page, console.card(request)
    await is_worked(page)
    assert await page.evaluate(_ASK_WORKER) == "another one"
    await console.press(card, "reject")
    await console.fill(card, "reason", "what I thought of for long")
    files = pages._served(pages._FOLDER)
    page_of, worker = files["index.html"], files["worker.js" if "worker.js" in files else "console/worker.js"]
    newer = page_of.body.replace(b'.js"></script>', b'.js?newer"></script>')
    monkeypatch.setitem(files, "index.html", page_of._replace(body=newer, etag="newer", packed={}))
    monkeypatch.setitem(files, "worker.js", worker._replace(body=worker.body + _REPLY, etag="newer", packed={}))

    for reader in tuple(site.broker.inbox.readers):
        reader.end("shutdown")  # as at a restart
    reload = page.locator("[data-action=reload]")
    await expect(reload).to_be_visible()
    async with asyncio.timeout(15):
        while await page.evaluate(_ASK_WORKER) != "the new one":
            pass
    await reload.click()
    await expect(card.locator("[data-field=reason]")).to_have_value("what I thought of for long")
    await card.locator("[data-action=close-form]").click()
    await reload.click()

    await expect(page.locator("script[src*=newer]")).to_be_attached()
    await console.is_live()
    await expect(reload).to_be_hidden()
    assert request.pending


async def test_icon_and_title_tell_how_many_wait(person: Person, site: Site) -> None:
    await person.context.add_init_script(_COUNTS)
    console = await Console.at_inbox(person, site.url)
    first = site.broker.ask("s1", tool_name="a", parameters={}, risk_level="medium")
    site.broker.ask("s2", tool_name="b", parameters={}, risk_level="medium")
    await expect(console.page).to_have_title("(2) notifier_service")

    first.cancel("the agent withdrew it")

    await expect(console.page).to_have_title("(1) notifier_service")
    assert await console.run("badges.at(-1)") == 1


async def test_sound_is_off_until_it_is_turned_on_and_stays_on(person: Person, site: Site) -> None:
    await person.context.add_init_script(_COUNTS)
    console = await Console.at_inbox(person, site.url)
    page = console.page
    await page.mouse.click(5, 400)
    await asked_and_told(console, site, "quiet")
    before = await tones_of(page)

    await page.goto(f"{site.url}/agent_backend/#/devices")
    await page.locator("[data-action=sound]").click()
    await expect(page.locator("html")).to_have_attribute("data-tones", "2")  # how it sounds
    await page.reload()
    await page.goto(f"{site.url}/agent_backend/#/inbox")
    await console.is_live()
    await asked_and_told(console, site, "untouched")
    untouched = await tones_of(page)
    await page.mouse.click(5, 400)
    await asked_and_told(console, site, "loud")

    await expect(page.locator("html")).to_have_attribute("data-tones", "2")
    assert (before, untouched) == (None, None)


async def tones_of(page: Page) -> str | None:
    return await page.locator("html").get_attribute("data-tones")


async def asked_and_told(console: Console, site: Site, tool_name: str) -> None:
    request = site.broker.ask("s1", tool_name=tool_name, parameters={}, risk_level="medium")
    await expect(console.row(request)).to_be_visible()


async def test_page_that_is_loaded_later_says_where_it_cannot_be_and_is_loaded_again(
    person: Person, site: Site
) -> None:
    console = await Console.at_inbox(person, site.url)
    person.may_say("Failed to load resource")
    await console.page.route("**/other_pages*", lambda route: route.abort())

    await console.page.get_by_role("link", name="History").click()
    await expect(console.page.get_by_role("alert")).to_contain_text("could not be loaded")
    await console.page.unroute("**/other_pages*")
    await console.page.get_by_role("button", name="Load again").click()

    await expect(console.page.get_by_role("searchbox", name="By whom")).to_be_visible()
    assert console.page.url.endswith("#/history")
