"""A phone is paired by the page: the picture of one page is the link of another, which one press takes."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from playwright.async_api import Page, expect
from pytest_asyncio import fixture

from notifier_service.web import Site
from tests.browser.conftest import Serving, SitDown
from tests.browser.console import Console
from tests.browser.person import Person
from tests.browser.test_accessibility import no_serious_finding

TOKEN = "a-long-lived-secret-of-anna"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
#: Browsers write every refusal to the console, also one that the page knows what to do with.
REFUSED = "status of (40[134]|410) "


@fixture(loop_scope="session")
async def guarded(serving: Serving, tmp_path: Path) -> Site:
    tokens = tmp_path / "tokens.json"
    entries = [
        {"token": TOKEN, "subject": "anna", "rights": ["approve"], "sessions": ["team-*"]},
        {"token": "produce-secret", "subject": "agent", "rights": ["produce"], "sessions": ["team-*"]},
    ]
    tokens.write_text(json.dumps(entries))
    return await serving(auth="tokens", tokens_file=tokens)


async def shown_link(desk: Page, *, label: str = "", only_look: bool = False) -> str:
    """Have the page of devices show a picture, and give the link beside it."""
    await desk.locator("#paired [data-action=pair]").click()
    await desk.locator("[data-field=phone-label]").fill(label)
    if only_look:
        await desk.locator("[data-field=phone-looks]").check()
    await desk.locator("[data-action=make-pairing]").click()
    picture = desk.locator("[data-role=pairing-picture]")
    await expect(picture).to_be_visible()
    assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth > 20)")
    return await desk.locator("[data-role=pairing-link]").inner_text()


async def at_devices(person: Person, site: Site) -> Page:
    return await person.open(f"{site.url}/agent_backend/#token={TOKEN}&/devices")


async def test_phone_takes_a_token_of_its_own_decides_and_is_taken_back(
    sit_down: SitDown, guarded: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    anna, walker = await sit_down(), await sit_down(**PHONE)
    anna.may_say(REFUSED)
    walker.may_say(REFUSED)
    desk = await at_devices(anna, guarded)
    link = await shown_link(desk, label="Anna's phone")
    await expect(desk.locator("[data-role=pairing-warning]")).to_contain_text("No phone reaches this address")
    request = guarded.broker.ask("team-1", tool_name="deploy", parameters={}, risk_level="medium")

    phone = await walker.open(link)
    await expect(phone.locator("[data-role=pair-gives]")).to_contain_text("In the name of anna")
    for each, page in ((anna, desk), (walker, phone)):
        await no_serious_finding(Console(each, page))
    assert phone.url == f"{guarded.url}/agent_backend/"
    for button in await phone.locator("#pair button").all():
        box = await button.bounding_box()
        assert box is not None
        assert box["height"] >= 44
    await phone.locator("[data-action=take-pairing]").tap()
    console = Console(walker, phone)
    await console.is_live()
    await expect(desk.locator("[data-role=pairing-state]")).to_have_text("The phone is paired.")
    await desk.locator("[data-action=close-pairing]").click()
    await console.press(console.card(request), "approve")

    assert (await request.decision()).decided_by == "anna"
    secret = link.rpartition("/")[2]
    assert [url for _, url in walker.requested if secret in url.partition("#")[0]] == []
    assert secret not in caplog.text
    await phone.reload()
    await console.is_live()  # kept for the device
    item = desk.locator("#paired li[data-paired-id]")
    await expect(item).to_contain_text("Anna's phone")
    await item.locator("[data-action=unpair]").click()
    await expect(item).to_have_count(0)
    await expect(phone.locator("#token-form")).to_be_visible()


async def test_link_that_gives_nothing_any_more_says_why(sit_down: SitDown, guarded: Site) -> None:
    anna, walker = await sit_down(), await sit_down(**PHONE)
    anna.may_say(REFUSED)
    walker.may_say(REFUSED)
    desk = await at_devices(anna, guarded)
    link = await shown_link(desk, only_look=True)
    phone = await walker.open(link)
    await expect(phone.locator("[data-role=pair-gives]")).to_contain_text("decide nothing")
    await desk.locator("[data-action=close-pairing]").click()

    await phone.locator("[data-action=take-pairing]").tap()
    await expect(phone.locator("[data-role=pair-failure]")).to_contain_text("This link was taken back")
    again = await walker.open(f"{guarded.url}/agent_backend/#/pair/tk_nonsense")
    await expect(again.locator("[data-role=pair-failure]")).to_contain_text("There is no such link")
    await again.locator("[data-action=leave-pairing]").tap()
    await expect(again.locator("#token-form")).to_be_visible()


async def test_browser_with_a_token_is_told_that_it_is_replaced_and_signing_out_leaves_none_behind(
    sit_down: SitDown, guarded: Site
) -> None:
    anna, walker = await sit_down(), await sit_down()
    anna.may_say(REFUSED)
    walker.may_say(REFUSED)
    desk = await at_devices(anna, guarded)
    link = await shown_link(desk, label="laptop <img src=x>")
    page = await walker.open(f"{guarded.url}/agent_backend/#token={TOKEN}")
    await Console(walker, page).is_live()

    await page.evaluate("link => { location.href = link; }", link)
    await expect(page.locator("[data-role=pair-replaces]")).to_be_visible()
    await page.locator("[data-action=take-pairing]").click()
    await Console(walker, page).is_live()
    await page.goto(f"{guarded.url}/agent_backend/#/devices")
    item = page.locator("#paired li[data-paired-id]")
    await expect(item).to_contain_text("laptop <img src=x>")
    await expect(page.locator("#paired [data-action=pair]")).to_have_count(0)
    await page.locator("[data-action=forget-token]").click()

    await expect(page.locator("#token-form")).to_be_visible()
    await desk.reload()
    await expect(desk.locator("#paired")).to_contain_text("No device is paired")
