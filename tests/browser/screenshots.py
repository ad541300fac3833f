"""The pictures of the console in docs/, from a service and a browser of their own: ``make screenshots``."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from playwright.async_api import async_playwright, expect

from notifier_service import Broker, Settings, serve
from notifier_service.core.events import RiskLevel
from notifier_service.core.question import Decision
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
    address: str = "#/inbox"
    #: What is pressed before the picture is taken.
    keys: str = ""


_SESSION = f"#/session/{scene.SESSION}"

PICTURES = (
    Picture("inbox", scene.desk, DESK),
    Picture("batch", scene.desk, DESK, keys="jj"),
    Picture("waiting", scene.waiting, DESK, _SESSION),
    Picture("busy", scene.busy, DESK, _SESSION),
    Picture("done", scene.done, DESK, _SESSION),
    Picture("history", scene.decided, DESK, "#/history"),
    Picture("rules", scene.decided, DESK, "#/rules"),
    Picture("dark", scene.desk, {**DESK, "color_scheme": "dark"}),
    Picture("phone", scene.desk, PHONE),
    Picture("chinese", scene.desk, {**DESK, "locale": "zh-CN"}),
)

_POLICY = """\
[[rule]]
name = "read the workspace"
effect = "allow"
tool = "read_file"
parameters = { "/path" = { glob = "/srv/billing/**" } }
justification = "reads only"

[[rule]]
name = "never force"
effect = "deny"
tool = "run_command"
command = ["git push --force *"]
justification = "push the tag only"
"""


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


async def take(picture: Picture, browser: Any) -> None:
    with TemporaryDirectory() as folder:
        policy = Path(folder) / "policy.toml"
        policy.write_text(_POLICY)
        # Time enough that no countdown seems to hurry.
        files = (
            {"policy_file": policy, "learned_rules_file": Path(folder) / "rules.toml"}
            if picture.name == "rules"
            else {}
        )
        async with serve(settings=Settings(port=0, permission_timeout_seconds=600, **files)) as site:
            if picture.scene is not scene.desk:
                scene.others(site.broker)
            picture.scene(site.broker)
            if files:
                rule = site.broker.ask(
                    scene.SESSION, tool_name="run_tests", parameters={"suite": "all"}, risk_level="medium"
                )
                decision = Decision(approved=True, scope="always", request_id=rule.request_id)
                site.broker.decide(scene.SESSION, decision, decided_by="anna")
            person = await Person.at(browser, reduced_motion="reduce", **picture.options)
            page = await person.open(f"{site.url}/agent_backend/{picture.address}")
            if "#/inbox" in picture.address or "session" in picture.address:
                await expect(page.locator("#sessions li")).not_to_have_count(0)
            for key in picture.keys:
                await page.locator("#cards article[data-ready]").wait_for()
                await page.keyboard.press(key)
            await page.evaluate("document.fonts.ready")
            await page.wait_for_timeout(1200)  # what is read beside the card is there, and nothing tells when
            await page.screenshot(path=DOCS / f"console-{picture.name}.png")
            await person.leave()


async def main() -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for picture in PICTURES:
            await take(picture, browser)
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
