"""However long what an agent says: nothing is pushed out of sight, and what answers stays at hand."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import Locator, Page, expect

from notifier_service.core.permission_request import PermissionRequest
from notifier_service.web import Site
from tests.browser.conftest import SitDown
from tests.browser.console import Console

pytestmark = pytest.mark.integration

WIDTHS = pytest.mark.parametrize("width", [390, 1280, 1440])

#: What no line breaks by itself: a word, an address, a language without spaces.
UNBROKEN = ("y" * 3000, "https://example.com/" + "a" * 900, "删除生产数据库" * 80)

#: Names of what sticks out of its card, or of the page, to the side.
STICKS_OUT = """(card) => {
    const edge = card.getBoundingClientRect();
    const parts = [...card.querySelectorAll("*")].filter((one) => {
        const { left, right, width } = one.getBoundingClientRect();
        return width > 1 && (right > edge.right + 1 || left < edge.left - 1);
    });
    const page = document.documentElement.scrollWidth > innerWidth ? ["the page"] : [];
    return [...page, ...parts.map((one) => one.dataset.action ?? one.dataset.role ?? one.outerHTML.slice(0, 100))];
}"""


def hostile(site: Site, text: str, session_id: str = "s1") -> PermissionRequest:
    return site.broker.ask(
        session_id, tool_name=f"tool_{text[:200]}", server=text[:100], parameters={text[:400]: text, "q": [text]},
        risk_level="high", risk_reasons=[text[:600]], description=text,
    )  # fmt: skip


async def is_within(card: Locator) -> None:
    assert await card.evaluate(STICKS_OUT) == []


async def is_reachable(page: Page, button: Locator) -> None:
    """A person can scroll to it, and a click then hits it."""
    await button.scroll_into_view_if_needed()
    await button.click(trial=True)


@WIDTHS
async def test_text_that_does_not_break_stays_in_its_card(sit_down: SitDown, site: Site, width: int) -> None:
    person = await sit_down(viewport={"width": width, "height": 800})
    requests = [hostile(site, text) for text in UNBROKEN]
    console = await Console.at(person, site.url)
    await console.shows(*requests)

    for number, request in enumerate(requests):
        card = console.card(request)
        await console.listens(card)
        await is_within(card)
        for action in ("approve", "reject"):
            await is_reachable(console.page, card.locator(f"[data-action={action}]"))
        if number < len(requests) - 1:
            await console.page.keyboard.press("j")


@WIDTHS
@pytest.mark.parametrize(
    ("action", "field", "send"),
    [
        ("edit", "parameters", "send-edit"),
        ("reject", "reason", "send-reject"),
        ("respond", "response", "send-respond"),
    ],
)
async def test_long_line_that_is_written_leaves_what_sends_it_in_the_card(
    sit_down: SitDown, site: Site, width: int, action: str, field: str, send: str
) -> None:
    person = await sit_down(viewport={"width": width, "height": 800})
    request = site.broker.ask("s1", tool_name="write", parameters={"text": "a"}, risk_level="medium")
    console = await Console.at(person, site.url)
    card = console.card(request)
    await console.press(card, action)

    for text in UNBROKEN:
        await console.fill(card, field, json.dumps({"text": text}, ensure_ascii=False))
        await expect(card.locator(f"[data-action={send}]")).to_be_enabled()
        await is_within(card)
        await is_reachable(console.page, card.locator(f"[data-action={send}]"))


@pytest.mark.parametrize("risk", ["medium", "high"])
async def test_what_stands_out_at_a_high_risk_lets_nothing_run(sit_down: SitDown, site: Site, risk: str) -> None:
    person = await sit_down()
    request = site.broker.ask(
        "s1", tool_name="write", parameters={"text": "a"}, risk_level="high" if risk == "high" else "medium"
    )
    console = await Console.at(person, site.url)
    card = console.card(request)
    approve = await filling(card.locator("[data-action=approve]"))
    reject = await filling(card.locator("[data-action=reject]"))
    await console.press(card, "edit")
    await console.fill(card, "parameters", '{"text": "b"}')

    assert approve != reject
    filled = approve if risk == "medium" else reject
    assert (await filling(card.locator("[data-action=send-edit]")) == filled) is (risk == "medium")


async def filling(button: Locator) -> str:
    return str(await button.evaluate("(button) => getComputedStyle(button).backgroundColor"))
