"""The console in one tab, in the words of the person before it."""

from __future__ import annotations

from typing import Any, Self
from urllib.parse import quote

from playwright.async_api import Locator, Page, expect

from notifier_service.core.permission_request import PermissionRequest
from tests.browser.person import Person

__all__ = ["Console"]


#: What has been on the screen is known a frame later.
_READ = """
async (card) => {
  for (const end of card.querySelectorAll(".end")) {
    end.scrollIntoView({ block: "center", behavior: "instant" });
    for (let frame = 0; frame < 2; frame += 1) await new Promise(requestAnimationFrame);
  }
}
"""


class Console:
    def __init__(self, person: Person, page: Page) -> None:
        self.person = person
        self.page = page
        #: Says whether, and how, the page hears from the service.
        self.connection = page.locator("#connection")
        #: The card that waits for an answer: one at a time is shown.
        self.cards = page.locator("#cards article[data-state=open]")
        #: All that waits, a row for each; requests that are alike share one.
        self.queue = page.locator("#queue li[data-state=open]")
        self.timeline = page.locator("#timeline")

    @classmethod
    async def at_inbox(cls, person: Person, url: str) -> Self:
        """Open the inbox in a new tab, and wait until it is live."""
        console = cls(person, await person.open(f"{url}/agent_backend/"))
        await console.is_live()
        return console

    @classmethod
    async def at(cls, person: Person, url: str, session_id: str = "s1") -> Self:
        """Open a session in a new tab, and wait until it is live."""
        console = cls(person, await person.open(f"{url}/agent_backend/#/session/{quote(session_id, safe='')}"))
        await console.is_live()
        return console

    async def is_live(self) -> None:
        await expect(self.connection).to_have_attribute("data-connection", "open")

    async def is_not_live(self) -> None:
        await expect(self.connection).not_to_have_attribute("data-connection", "open")

    def card(self, request: PermissionRequest | str) -> Locator:
        """The card of a request, in whatever state."""
        request_id = request if isinstance(request, str) else request.request_id
        return self.page.locator(f"article[data-request-id='{request_id}']")

    def card_of(self, tool_name: str) -> Locator:
        """The card of a tool that waits for an answer."""
        return self.cards.filter(has=self.page.get_by_text(tool_name, exact=True))

    async def shows(self, *requests: PermissionRequest) -> None:
        """Wait until exactly these requests wait for an answer."""
        await self.waits(len(requests))
        for request in requests:
            await expect(self.row(request)).to_have_count(1)

    async def waits(self, number: int) -> None:
        """Wait until so many requests wait for an answer."""
        await expect(self.page.locator("#queue h2 .badge")).to_have_text(str(number))

    def row(self, request: PermissionRequest) -> Locator:
        """Where a request waits in the queue."""
        return self.page.locator(f"#queue li[data-request-ids~='{request.request_id}']")

    async def turn_to(self, request: PermissionRequest) -> Locator:
        """Choose a request in the queue, and give its card."""
        await self.row(request).locator("button").click()
        await expect(self.card(request)).to_be_visible()
        return self.card(request)

    async def listens(self, card: Locator) -> None:
        """Wait until a card takes clicks and keys: one that has just appeared, or moved, takes none."""
        await expect(card).to_have_attribute("data-ready", "")

    async def press(self, card: Locator, action: str) -> None:
        """Press a button of a card, as soon as the card listens."""
        await self.listens(card)
        await card.locator(f"[data-action={action}]").click()

    async def read(self, card: Locator) -> None:
        """Scroll through a card, as who reads it to its end."""
        await card.evaluate(_READ)
        await expect(card).to_have_attribute("data-armed", "")

    async def fill(self, card: Locator, field: str, text: str) -> None:
        """Write into a field of a card's form; the parameters as a whole are written as JSON."""
        as_json = card.locator("[data-action=edit-json]")
        if field == "parameters" and await as_json.count():
            await as_json.click()
        await card.locator(f"[data-field={field}]").fill(text)

    def messages(self) -> Locator:
        """What the agent said."""
        return self.timeline.locator("li[data-kind=message]")

    def events(self, event_type: str) -> Locator:
        """The rows of a type of event that is the agent's own."""
        return self.timeline.locator(f"li[data-event-type='{event_type}']")

    async def shows_steps(self, number: int) -> None:
        """Wait until the timeline has this many events ``step``, each once and in order, the newest on top."""
        await expect(self.events("step")).to_have_count(number)
        texts = (await self.events("step").all_text_contents())[::-1]
        assert [step for step in range(number) if f"step {step}." not in texts[step]] == []

    def calls(self, tool_name: str) -> Locator:
        return self.timeline.locator(f"li[data-kind=call][data-tool-name='{tool_name}']")

    async def transport(self) -> str:
        """How the page hears from the service now."""
        return await self.connection.get_attribute("data-transport") or ""

    async def parameters(self, card: Locator) -> str:
        """The parameters of a card as they are shown exactly, character by character."""
        exact = card.locator("[data-action=exact]")
        if await exact.count() and await card.locator("[data-role=parameters]").get_attribute("data-shape") != "exact":
            await exact.click()
            await expect(card.locator("[data-role=hidden]")).not_to_be_visible()
        return await card.locator("[data-role=parameters]").text_content() or ""

    async def run(self, script: str) -> Any:
        return await self.page.evaluate(script)
