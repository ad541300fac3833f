"""The pictures of the console in docs/, from a service and a browser of their own: ``make screenshots``."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from playwright.async_api import async_playwright, expect

from notifier_service import Broker, Settings, serve
from notifier_service.core.events import RiskLevel
from tests.browser import scene
from tests.browser.console import Console
from tests.browser.person import Person
from tests.browser.requests import ask_all

DOCS = Path(__file__).parents[2] / "docs"

DESK = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


class Picture(NamedTuple):
    name: str
    scene: Callable[[Broker], object]
    options: dict[str, Any]


PICTURES = (
    Picture("waiting", scene.waiting, DESK),
    Picture("busy", scene.busy, DESK),
    Picture("done", scene.done, DESK),
    Picture("dark", scene.waiting, {**DESK, "color_scheme": "dark"}),
    Picture("phone", scene.waiting, PHONE),
    Picture("chinese", scene.waiting, {**DESK, "locale": "zh-CN"}),
)


class Card(NamedTuple):
    """One of the twelve requests, on its card."""

    name: str
    risk_level: RiskLevel
    options: dict[str, Any]


CARDS = (
    Card("command", "high", DESK),
    Card("edit", "medium", DESK),
    Card("table", "medium", {**DESK, "color_scheme": "dark"}),
    Card("http", "high", {**DESK, "color_scheme": "dark"}),
    Card("hostile", "high", DESK),
    Card("mail", "high", PHONE),
)


async def main() -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for picture in PICTURES:
            # Time enough that no countdown seems to hurry.
            async with serve(settings=Settings(port=0, permission_timeout_seconds=600)) as site:
                scene.others(site.broker)
                person = await Person.at(browser, reduced_motion="reduce", **picture.options)
                console = await Console.at(person, site.url, scene.SESSION)
                picture.scene(site.broker)
                await expect(console.calls("run_tests")).to_be_attached()
                await expect(console.cards).to_have_count(len(site.broker.get(scene.SESSION).desk.pending))
                # The list is read every few seconds, and when the page comes to the front.
                await console.run("dispatchEvent(new Event('focus'))")
                here = console.page.locator(f"[data-session-id='{scene.SESSION}']")
                await expect(here).to_contain_text(re.compile(r"[:：] ?1"))
                await console.page.screenshot(path=DOCS / f"console-{picture.name}.png")
                await person.leave()
        for card in CARDS:
            async with serve(settings=Settings(port=0)) as site:
                [request] = ask_all(site.broker, risk_level=card.risk_level, only=card.name)[card.name]
                person = await Person.at(browser, reduced_motion="reduce", **card.options)
                console = await Console.at(person, site.url, card.name)
                await console.listens(console.card(request))
                await console.page.screenshot(path=DOCS / f"console-card-{card.name}.png")
                await person.leave()
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
