"""Nothing that keeps people with a screen reader, a keyboard or weak eyes from deciding."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import expect

from notifier_service import Broker
from notifier_service.web import Site
from tests.browser import scene
from tests.browser.conftest import SitDown
from tests.browser.console import Console
from tests.browser.person import Person
from tests.browser.requests import ask_all

pytestmark = pytest.mark.integration

PHONE = {"width": 390, "height": 844}


@pytest.mark.parametrize("what", [scene.waiting, scene.busy, scene.done])
async def test_session_has_no_serious_finding_of_axe(
    person: Person, site: Site, what: Callable[[Broker], None]
) -> None:
    what(site.broker)
    console = await Console.at(person, site.url, scene.SESSION)
    await expect(console.calls("run_tests")).to_be_visible()
    await console.waits(len(site.broker.get(scene.SESSION).desk.pending))

    await no_serious_finding(console)


async def test_list_of_sessions_has_no_serious_finding_of_axe(person: Person, site: Site) -> None:
    scene.others(site.broker)
    page = await person.open(f"{site.url}/agent_backend/")
    await expect(page.locator("[data-session-id='migration:customers']")).to_have_attribute("data-waiting", "2")

    await no_serious_finding(Console(person, page))


async def test_chinese_has_no_serious_finding_of_axe(sit_down: SitDown, site: Site) -> None:
    scene.waiting(site.broker)
    person = await sit_down(locale="zh-CN")
    console = await Console.at(person, site.url, scene.SESSION)
    await console.waits(3)
    await expect(console.cards.first).to_contain_text("批准")

    await no_serious_finding(console)


@pytest.mark.parametrize("action", ["edit", "reject", "respond"])
async def test_forms_of_a_card_have_no_serious_finding_of_axe(person: Person, site: Site, action: str) -> None:
    request = site.broker.ask("s1", tool_name="deploy", parameters={"to": "production"})
    console = await Console.at(person, site.url)

    await console.press(console.card(request), action)
    await expect(console.card(request).locator("textarea").first).to_be_visible()

    await no_serious_finding(console)


@pytest.mark.integration
async def test_no_shape_of_parameters_has_a_serious_finding_of_axe(person: Person, site: Site) -> None:
    asked = ask_all(site.broker, risk_level="high")
    console = await Console.at(person, site.url, "command")
    await console.page.emulate_media(reduced_motion="reduce")
    await console.page.evaluate(AXE_SCRIPT)

    for name in ("long-command", "edit", "table", "http", "hostile"):
        await console.run(f"location.hash = '#/s/{name}'")
        card = console.card(asked[name][0])
        await console.listens(card)
        for more in await card.locator("[data-action=show-all]").all():
            await more.click()
        for scheme in ("light", "dark"):
            await console.page.emulate_media(color_scheme=scheme)
            assert await findings(console, "article") == [], name


async def test_help_has_no_serious_finding_of_axe(person: Person, site: Site) -> None:
    console = await Console.at(person, site.url)

    await console.page.keyboard.press("?")
    await expect(console.page.locator("#help")).to_be_visible()

    await no_serious_finding(console)


async def test_new_request_is_announced_and_the_title_tells_how_many_wait(person: Person, site: Site) -> None:
    console = await Console.at(person, site.url)

    site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="medium")
    site.broker.ask("s1", tool_name="publish", parameters={}, risk_level="medium")

    await expect(console.page).to_have_title("(2) s1 · notifier_service")
    await expect(console.page.locator("[aria-live]").filter(has_text="publish")).to_have_count(1)


async def test_language_and_theme_can_be_changed_and_are_kept(person: Person, site: Site) -> None:
    console = await Console.at(person, site.url)
    request = site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="medium")
    approve = console.card(request).locator("[data-action=approve]")
    await expect(approve).to_contain_text("Approve")

    await console.page.locator("[data-action=language]").click()
    await expect(approve).to_contain_text("批准")
    await console.page.locator("[data-action=theme]").click()
    await console.page.locator("[data-action=theme]").click()
    await console.page.reload()

    await expect(approve).to_contain_text("批准")
    assert await console.run("document.documentElement.lang") == "zh-CN"
    assert await console.run("document.documentElement.dataset.theme") == "dark"


async def no_serious_finding(console: Console) -> None:
    """Have axe look at the page: in light and dark, and as wide as a phone."""
    page = console.page
    await page.emulate_media(reduced_motion="reduce")
    await page.evaluate(AXE_SCRIPT)
    assert await findings(console) == []
    await page.emulate_media(color_scheme="dark")
    assert await findings(console) == []
    await page.set_viewport_size(PHONE)
    assert await findings(console) == []


async def findings(console: Console, within: str = "html") -> list[str]:
    """What axe finds serious or critical, with the elements."""
    results = await console.page.evaluate("(within) => axe.run(within, {resultTypes: ['violations']})", within)
    return [
        f"{finding['id']}: {node['html'][:200]} {node['failureSummary']}"
        for finding in results["violations"]
        if finding["impact"] in ("serious", "critical")
        for node in finding["nodes"]
    ]
