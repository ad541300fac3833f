"""A card shows what it asks about before anything approves it, and its buttons never leave the window."""

from __future__ import annotations

import asyncio
import json

import pytest
from playwright.async_api import Locator, expect

from notifier_service.core.permission_request import PermissionRequest
from notifier_service.web import Site
from tests.browser.conftest import SitDown
from tests.browser.console import Console
from tests.browser.engines import BOTH
from tests.browser.person import Person
from tests.browser.requests import ask_all

SIZES = ({"width": 1440, "height": 900}, {"width": 1280, "height": 720}, {"width": 390, "height": 844})

#: Names of buttons that a person cannot press where they are: out of the window, out of their card, or under something.
OUT_OF_REACH = """(actions) => {
    const card = [...document.querySelectorAll("article[data-state=open]")].find((one) => one.checkVisibility());
    return actions.filter((action) => {
        const button = card.querySelector(`[data-action=${action}]`);
        const { left, top, right, bottom } = button.getBoundingClientRect();
        const isInside = left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight;
        const hit = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
        return !isInside || !button.contains(hit);
    });
}"""

#: Remembers in each frame whether the last character of what is asked, and of each part of it, is in the window.
WATCH = """(card) => {
    const seen = (window.seen = new Set());
    const inside = (node) => {
        const range = document.createRange();
        range.selectNodeContents(node);
        let { left, right, top, bottom } = [...range.getClientRects()].at(-1) ?? {};
        for (let box = node.parentElement; box !== null; box = box.parentElement) {
            if (getComputedStyle(box).overflowY === "visible") continue;
            const edge = box.getBoundingClientRect();
            top = Math.max(top, edge.top);
            bottom = Math.min(bottom, edge.bottom);
        }
        const bar = card.querySelector("footer").getBoundingClientRect();
        return Math.min(bottom, bar.top, innerHeight) - Math.max(top, 0) > 3;
    };
    const lastOf = (box) => {
        const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
        let last = null;
        while (walker.nextNode()) if (walker.currentNode.data.trim() !== "") last = walker.currentNode;
        return last;
    };
    window.missing = () =>
        [...card.querySelectorAll(".block")].map(lastOf).filter((node) => node !== null && !seen.has(node));
    const look = () => {
        for (const node of window.missing()) if (inside(node)) seen.add(node);
        if (card.isConnected) requestAnimationFrame(look);
    };
    look();
}"""


@pytest.mark.parametrize(
    ("engine", "locale"),
    [
        ("chromium", "en-GB"),
        pytest.param("chromium", "zh-CN", marks=pytest.mark.integration),
        pytest.param("firefox", "en-GB", marks=pytest.mark.integration),
        pytest.param("firefox", "zh-CN", marks=pytest.mark.integration),
    ],
)
async def test_buttons_that_answer_are_in_every_window_whatever_is_asked(
    sit_down: SitDown, site: Site, locale: str
) -> None:
    asked = ask_all(site.broker)
    person = await sit_down(locale=locale, viewport=SIZES[0])
    console = await Console.at(person, site.url, "command")

    for name, requests in asked.items():
        await console.run(f"location.hash = '#/s/{name}'")
        await expect(console.page.locator(f"#cards [data-request-id='{requests[0].request_id}']")).to_be_visible()
        for size in SIZES:
            await console.page.set_viewport_size(size)
            for scheme in ("light", "dark"):
                await console.page.emulate_media(color_scheme=scheme)
                out_of_reach = await console.page.evaluate(OUT_OF_REACH, ["approve", "reject"])
                assert out_of_reach == [], f"{name} at {size} in {scheme}"
                assert await console.run("document.documentElement.scrollWidth <= innerWidth"), f"{name} at {size}"


@pytest.mark.parametrize(
    ("engine", "size"),
    [
        pytest.param("chromium", SIZES[1], marks=pytest.mark.integration),
        ("chromium", SIZES[2]),
        pytest.param("firefox", SIZES[1], marks=pytest.mark.integration),
    ],
)
async def test_nothing_of_high_risk_is_approved_before_its_end_was_on_the_screen(
    sit_down: SitDown, site: Site, size: dict[str, int]
) -> None:
    asked = ask_all(site.broker, risk_level="high")
    person = await sit_down(viewport=size)
    # A card waits for half a second before it listens: that adds up.
    await person.context.add_init_script(
        "const now = performance.now; performance.now = () => 4 * now.call(performance)"
    )
    console = await Console.at(person, site.url, "command")

    for name in ("long-command", "edit", "mail", "large", "nested", "hostile"):
        [request] = asked[name]
        await console.run(f"location.hash = '#/s/{name}'")
        card = console.card(request)
        await expect(card).to_be_visible()
        await card.evaluate(WATCH)
        await pressed_until_decided(console, card, request)

        assert request.record.decision == "approve", name


#: What a card is, as soon as it takes keys or is settled.
STATE = """(card) => new Promise((told) => {
    const look = () => {
        const isOver = card.dataset.state === "settled" || !card.isConnected;
        if (!isOver && !card.hasAttribute("data-ready")) return requestAnimationFrame(look);
        const missing = window.missing().map((node) => node.data.slice(0, 80));
        const folded = card.querySelectorAll("[data-action=show-all]").length;
        told({ isOver, isArmed: card.hasAttribute("data-armed"), missing, folded });
    };
    look();
})"""


async def pressed_until_decided(console: Console, card: Locator, request: PermissionRequest) -> None:
    """Press A as a person does; it never counts before all was seen."""
    handle = await card.element_handle()
    assert handle is not None
    while not (state := await handle.evaluate(STATE))["isOver"]:
        assert not (state["isArmed"] and (state["missing"] or state["folded"])), state
        await console.page.keyboard.press("a")
        assert state["isArmed"] or request.pending
    await asyncio.wait_for(request.decision(), 10)


@BOTH
async def test_click_on_what_was_not_read_to_its_end_goes_on_and_approves_nothing(person: Person, site: Site) -> None:
    request = site.broker.ask(
        "s1", tool_name="run", parameters={"command": "\n".join(f"step {n}" for n in range(50))}, risk_level="high"
    )
    console = await Console.at(person, site.url)
    card = console.card(request)
    await console.listens(card)
    assert await card.get_attribute("data-armed") is None

    presses = 0
    while await card.get_attribute("data-armed") is None:
        await expect(card.locator("[data-action=approve]")).not_to_contain_text("again")
        await console.press(card, "approve")
        presses += 1

    assert presses > 1
    assert request.pending


async def test_finger_approves_what_is_of_high_risk_by_staying_and_not_by_a_tap(sit_down: SitDown, site: Site) -> None:
    person = await sit_down(viewport=SIZES[2], has_touch=True, is_mobile=True)
    request = site.broker.ask("s1", tool_name="deploy", parameters={"to": "production"}, risk_level="high")
    console = await Console.at(person, site.url)
    card = console.card(request)
    await expect(card).to_have_attribute("data-armed", "")
    await console.listens(card)
    await expect(card.locator("[data-role=reading]")).to_contain_text("hold")
    button = card.locator("[data-action=approve]")

    for _ in range(3):
        await button.tap()
    finger = {"pointerType": "touch", "isPrimary": True, "clientX": 5, "clientY": 5, "bubbles": True}
    await button.dispatch_event("pointerdown", finger)
    await button.dispatch_event("pointerup", finger)
    assert request.pending
    await button.dispatch_event("pointerdown", finger)

    assert (await asyncio.wait_for(request.decision(), 10)).approved is True


async def test_command_is_edited_as_a_command_and_a_number_stays_what_it_is(person: Person, site: Site) -> None:
    command = 'echo "one"\n\techo two'
    request = site.broker.ask(
        "s1", tool_name="run", parameters={"command": command, "id": 2**53 + 1, "ratio": 1.0, "env": {"A": "1"}},
        risk_level="medium",
    )  # fmt: skip
    console = await Console.at(person, site.url)
    card = console.card(request)
    await console.press(card, "edit")
    field = card.locator("[data-name=command]")
    await expect(field).to_be_focused()
    assert await field.input_value() == command

    await field.fill(command.replace("two", "2"))
    await expect(card.locator("[data-role=changes] del")).to_contain_text("echo two")
    await expect(card.locator("[data-role=changes] ins")).to_contain_text("echo 2")
    await console.press(card, "send-edit")

    parameters = (await request.decision()).parameters
    assert json.dumps(parameters) == json.dumps(
        {"command": 'echo "one"\n\techo 2', "id": 2**53 + 1, "ratio": 1.0, "env": {"A": "1"}}
    )


async def test_edit_of_a_word_lets_nothing_run_that_was_not_on_the_screen(person: Person, site: Site) -> None:
    steps = "\n".join(f"step {n}" for n in range(80))
    request = site.broker.ask("s1", tool_name="run", parameters={"command": steps}, risk_level="high")
    console = await Console.at(person, site.url)
    card = console.card(request)
    await console.press(card, "edit")
    await card.locator("[data-name=command]").fill(steps + "\nlast")
    await expect(card.locator("[data-role=changes] ins")).to_contain_text("last")

    await console.press(card, "send-edit")
    await expect(card.locator("[data-role=outcome]")).to_contain_text("on the screen")
    assert request.pending
    while request.pending and await card.get_attribute("data-armed") is None:
        await console.press(card, "send-edit")
    if request.pending:  # else the end came up before the last press
        await console.press(card, "send-edit")

    assert (await request.decision()).parameters == {"command": steps + "\nlast"}


async def test_field_that_holds_no_json_is_named_and_nothing_is_sent(person: Person, site: Site) -> None:
    request = site.broker.ask("s1", tool_name="run", parameters={"command": "ls -l", "id": 3}, risk_level="medium")
    console = await Console.at(person, site.url)
    card = console.card(request)
    await console.press(card, "edit")

    await card.locator("[data-name=id]").fill('3, "command": "rm"')

    await expect(card.locator("[data-role=problem]")).to_contain_text("id: ")
    await expect(card.locator("[data-action=send-edit]")).to_be_disabled()


async def test_what_the_agent_says_stands_apart_wherever_it_says_it(person: Person, site: Site) -> None:
    request = site.broker.ask(
        "s1", tool_name="Bash", parameters={"command": "rm -rf x; ls", "description": "Safe."}, description="Harmless."
    )
    console = await Console.at(person, site.url)
    card = console.card(request)

    await expect(card.locator("[data-role=said]").first).to_contain_text("not verified")
    await expect(card.locator("[data-role=said]").first).to_contain_text("Safe.")
    await expect(card.locator("[data-role=description]")).to_contain_text("not verified")
    await expect(card.locator("[data-role=judgement]")).not_to_contain_text("Safe.")
    await expect(card.locator("mark.risky")).to_have_text("rm -rf x")


async def test_key_shows_the_parameters_exactly_and_back(person: Person, site: Site) -> None:
    parameters = {"old_string": "naïve\n", "new_string": "nai\u0308ve\n"}
    request = site.broker.ask("s1", tool_name="Edit", parameters=parameters, risk_level="medium")
    console = await Console.at(person, site.url)
    place = console.card(request).locator("[data-role=parameters]")
    await expect(place).to_have_attribute("data-shape", "diff")

    await console.page.keyboard.press("x")
    await expect(place).to_have_attribute("data-shape", "exact")
    assert (await place.text_content() or "").isascii()
    assert json.loads(await place.text_content() or "") == parameters
    await console.page.keyboard.press("x")

    await expect(place).to_have_attribute("data-shape", "diff")


@pytest.mark.parametrize("key", ["Control+a", "Meta+a", "Alt+a"])
async def test_key_with_a_modifier_is_the_browsers(person: Person, site: Site, key: str) -> None:
    request = site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="medium")
    console = await Console.at(person, site.url)
    await console.listens(console.card(request))

    await console.page.keyboard.press(key)
    await console.run("dispatchEvent(new KeyboardEvent('keydown', {key: 'a', repeat: true, bubbles: true}))")

    await expect(console.card(request)).to_have_attribute("data-state", "open")
    assert person.sent("permission-response") == 0


async def test_who_decided_here_is_you(person: Person, site: Site) -> None:
    request = site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="medium")
    console = await Console.at(person, site.url)

    await console.press(console.card(request), "approve")

    row = console.calls("deploy")
    await expect(row).to_contain_text("approved by you")
    assert (await row.locator("summary").text_content() or "").count("approved") == 1
