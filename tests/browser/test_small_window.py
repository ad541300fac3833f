"""A stranger with a small window and a keyboard: nothing is cut off, unlabelled, or out of reach."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Page, expect
from pytest_asyncio import fixture

from notifier_service.web import Site
from tests.browser import scene
from tests.browser.conftest import SitDown
from tests.browser.console import Console
from tests.browser.test_layout import STICKS_OUT

SMALL: dict[str, Any] = {"viewport": {"width": 360, "height": 740}}
HAS_FOCUS = "(name) => document.activeElement.matches(name)"


@fixture(loop_scope="session")
async def busy(site: Site) -> Site:
    """Three sessions, in two of which something waits, and what was decided before."""
    scene.waiting(site.broker)
    scene.others(site.broker)
    scene.decided(site.broker)
    return site


async def findings(page: Page) -> list[str]:
    """All that axe finds, however small."""
    await page.evaluate(AXE_SCRIPT)
    results = await page.evaluate("axe.run('html', {resultTypes: ['violations']})")
    return [f"{each['id']}: {node['html'][:160]}" for each in results["violations"] for node in each["nodes"]]


@pytest.mark.parametrize(
    ("locale", "scheme"), [("de-DE", "dark"), ("zh-CN", "light")], ids=["German, dark", "Chinese, light"]
)
async def test_every_page_is_labelled_and_as_wide_as_the_window(
    sit_down: SitDown, busy: Site, locale: str, scheme: Any
) -> None:
    person = await sit_down(**SMALL, locale=locale, color_scheme=scheme, reduced_motion="reduce")
    console = await Console.at_inbox(person, busy.url)
    page = console.page
    await console.waits(5)

    for place in (
        "inbox",
        "history",
        "rules",
        "devices",
        f"session/{scene.SESSION}",
        "session/nothing",
        "no-such-page",
    ):
        await page.evaluate("(place) => { location.hash = `#/${place}`; }", place)
        await expect(page.locator("main h1").first).to_be_attached()
        assert (place, await findings(page)) == (place, [])
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    await page.locator("[data-action=sessions]").click()
    assert await findings(page) == []
    assert await page.locator("body").evaluate(STICKS_OUT) == []


async def test_keyboard_reaches_the_drawer_and_not_what_it_covers(sit_down: SitDown, busy: Site) -> None:
    console = await Console.at_inbox(await sit_down(**SMALL), busy.url)
    page = console.page
    await console.waits(5)
    await page.locator("[data-action=sessions]").focus()
    await page.keyboard.press("Enter")

    await expect(page.locator("[data-action=theme]")).to_have_text("Theme: system")
    for _ in range(40):
        await page.keyboard.press("Tab")
        assert not await page.evaluate(HAS_FOCUS, "#cards *")
        if await page.evaluate(HAS_FOCUS, "#sessions [data-session-id='nightly-report']"):
            break
    else:
        raise AssertionError("no press of Tab came to the session")
    await page.keyboard.press("Enter")
    await expect(page.locator("#session h1")).to_have_text("nightly-report")
    await expect(page.locator("body")).not_to_contain_class("drawer")


@pytest.mark.parametrize("width", [360, 1000])
async def test_context_that_lies_over_the_card_goes_again(sit_down: SitDown, busy: Site, width: int) -> None:
    console = await Console.at_inbox(await sit_down(viewport={"width": width, "height": 740}), busy.url)
    page = console.page
    await console.waits(5)
    context, button = page.locator("#context"), page.locator("[data-action=context]")
    await expect(context).to_be_hidden()

    await button.click()
    await expect(context.get_by_role("heading", name="Session")).to_be_in_viewport()
    await button.click()
    await expect(context).to_be_hidden()
    await button.click()
    await expect(context).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(context).to_be_hidden()


async def test_help_begins_at_its_beginning_and_the_notice_makes_way(sit_down: SitDown, busy: Site) -> None:
    person = await sit_down(**SMALL)
    page = await person.open(f"{busy.url}/agent_backend/#/no-such-page")
    console = Console(person, page)
    await console.waits(5)
    notice = page.locator("#inbox [data-notice=absent]")
    await expect(notice).to_contain_text("There is no such page.")
    await notice.get_by_role("button", name="Close").click()
    await expect(notice).to_be_hidden()

    await page.keyboard.press("?")
    await expect(page.locator("#help-title")).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize(
    ("place", "text", "target"), [("inbox", "what waits", "#cards"), ("history", "the content", "main")]
)
async def test_first_tab_skips_to_what_the_page_is_for(
    sit_down: SitDown, busy: Site, place: str, text: str, target: str
) -> None:
    person = await sit_down()
    page = await person.open(f"{busy.url}/agent_backend/#/{place}")
    await expect(page.locator("main h1").first).to_be_attached()
    skip = page.locator(".skip")
    await skip.focus()
    await expect(skip).to_have_text(f"Skip to {text}")

    await page.keyboard.press("Enter")

    assert await page.evaluate(HAS_FOCUS, target)
    assert page.url.endswith(f"#/{place}")
