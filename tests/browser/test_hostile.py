"""Whatever an agent sends: nothing of it runs, nothing of it hides, and what was shown is what runs."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

import pytest
from playwright.async_api import expect

from notifier_service.core.events import ToolResult
from notifier_service.web import Site
from tests.browser.conftest import Serving, SitDown
from tests.browser.console import Console
from tests.browser.person import Person

#: Each sets a flag, or fetches from elsewhere, if it ever becomes more than text.
MARKUP = (
    '<img src=x onerror="window.ran=1">',
    "</script><script>window.ran=1</script>",
    "<svg/onload=window.ran=1>",
    "<iframe srcdoc='<script>parent.ran=1</script>'></iframe>",
    '<img src="http://elsewhere.test/pixel"><link rel="stylesheet" href="http://elsewhere.test/style">',
    "javascript:window.ran=1",
    "[link](javascript:window.ran=1) ![](http://elsewhere.test/pixel)",
    "{{constructor.constructor('window.ran=1')()}} ${window.ran=1}",
    "\"'`; window.ran=1; //",
)

#: Characters that show nothing, turn the direction of reading, or speak to a terminal.
UNSEEN = {
    "right-to-left override": "\u202e",
    "left-to-right isolate": "\u2066",
    "zero width space": "\u200b",
    "zero width joiner": "\u200d",
    "byte order mark": "\ufeff",
    "soft hyphen": "\u00ad",
    "line separator": "\u2028",
    "escape": "\x1b[31mred\x1b[0m",
    "null": "\x00",
    "backspace": "\b",
    "delete": "\x7f",
    "next line": "\x85",
    "tag letter": "\U000e0041",
    "variation selector": "\U000e0101",
    "Hangul filler": "\u3164",
}


def unseen_in(text: str) -> list[str]:
    """The characters of these kinds in a text; a line break is seen."""
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c != "\n"] + [
        c for c in text if c in "\u3164\U000e0101"
    ]


async def test_markup_in_a_request_is_text_and_runs_as_it_was_shown(person: Person, site: Site) -> None:
    parameters = {"list": list(MARKUP), **{payload: payload for payload in MARKUP}}
    requests = [
        site.broker.ask(
            "s1", tool_name=payload, parameters=parameters, risk_level="medium", description=payload,
            risk_reasons=[payload], tool_call_id=payload,
        )
        for payload in MARKUP
    ]  # fmt: skip
    console = await Console.at(person, site.url)
    await console.shows(*requests)

    for request, payload in zip(requests, MARKUP, strict=True):
        card = await console.turn_to(request)
        await expect(card.locator("[data-role=description]")).to_contain_text(payload)
        assert (await card.text_content() or "").count(payload) >= 3
        assert json.loads(await console.parameters(card)) == parameters
    card = await console.turn_to(requests[0])
    await console.read(card)
    await console.press(card, "approve")

    assert (await requests[0].decision()).parameters == parameters
    await nothing_ran(console, site)


async def test_markup_in_what_a_tool_gave_and_an_agent_said_is_text(person: Person, site: Site) -> None:
    console = await Console.at(person, site.url)

    for number, payload in enumerate(MARKUP):
        call = {"tool_name": payload, "tool_call_id": f"call-{number}"}
        site.broker.publish_nowait(
            "s1", "tool_status", {**call, "status": "executing", "details": {"parameters": {payload: payload}}}
        )
        site.broker.publish_nowait("s1", "tool_progress", {**call, "progress": 1, "total": 2, "message": payload})
        site.broker.publish_nowait(
            "s1", "tool_result", ToolResult(**call, success=number % 2 == 0, result={payload: payload}, error=payload)
        )
        site.broker.publish_nowait("s1", "tool_status", {**call, "status": "completed", "details": {}})
        site.broker.publish_nowait("s1", "agent_message", {"text": payload})
        site.broker.publish_nowait("s1", "agent.own", {payload: payload, "url": payload, "html": payload})

    await expect(console.messages()).to_have_count(len(MARKUP))
    await expect(console.events("agent.own")).to_have_count(len(MARKUP))
    for payload in MARKUP:
        await expect(console.messages().filter(has_text=payload)).not_to_have_count(0)
        await expect(console.timeline.locator("li[data-kind=call]").filter(has_text=payload)).not_to_have_count(0)
    for details in await console.timeline.locator("summary").all():
        await details.click()
    await nothing_ran(console, site)


async def test_hostile_session_in_the_address_runs_nothing(person: Person, site: Site) -> None:
    page = await person.open(f"{site.url}/agent_backend/")

    for session_id in (MARKUP[0], "\u202e", "a/../b", "__proto__", "%", "x" * 500):
        await page.evaluate("(id) => { location.hash = `#/s/${id}`; }", session_id)
        await page.reload()
        await expect(page.locator("main")).to_be_visible()
        await nothing_ran(Console(person, page), site)


async def test_character_that_nobody_sees_is_shown_as_an_escape_and_flagged(person: Person, site: Site) -> None:
    requests = {}
    for unseen in UNSEEN.values():
        parameters = {"path": f"invoice{unseen}fdp.exe", f"key{unseen}": 1, "nested": [{"deep": unseen}]}
        requests[unseen] = site.broker.ask(
            "s1", tool_name=f"write{unseen}", parameters=parameters, risk_level="medium", description=f"as{unseen}usual"
        )
    console = await Console.at(person, site.url)
    await console.shows(*requests.values())

    for request in requests.values():
        card = await console.turn_to(request)
        shown = await console.parameters(card)
        assert json.loads(shown) == request.record.parameters
        assert unseen_in(await card.text_content() or "") == []
        await expect(card.locator("[data-role=flags]")).to_be_visible()
    await console.press(await console.turn_to(requests["\u202e"]), "approve")
    record = await requests["\u202e"].decision()
    assert record.parameters == {"path": "invoice\u202efdp.exe", "key\u202e": 1, "nested": [{"deep": "\u202e"}]}
    for request in requests.values():
        request.cancel()
    await expect(console.cards).to_have_count(0)
    assert unseen_in(await console.page.locator("body").text_content() or "") == []
    assert unseen_in(await console.page.title()) == []


@pytest.mark.parametrize(
    "parameters",
    [
        {"next to the limit": 2**53 + 1, "below": -(2**63), "huge": 10**40, "small": 5e-324, "float": 1.0},
        {"__proto__": {"admin": True}, "constructor": {"prototype": 1}, "toString": 1, "hasOwnProperty": 0},
        {"": "", " ": " ", "a b": "  two  spaces  ", "lines": "one\ntwo\r\nthree\tend", "quotes": "\"\\\\n'"},
        {"nothing": None, "empty": {}, "list": [], "false": False, "zero": 0, "minus": -0.0},
        {"chinese": "删除全部文件", "family": "👨\u200d👩\u200d👧", "arabic": "مرحبا", "surrogate": "𝒳"},
    ],
    ids=["numbers", "prototype", "spaces", "empty", "scripts"],
)
async def test_parameters_are_shown_and_run_exactly(person: Person, site: Site, parameters: dict[str, Any]) -> None:
    request = site.broker.ask("s1", tool_name="tool", parameters=parameters, risk_level="medium")
    console = await Console.at(person, site.url)
    await console.shows(request)

    assert json.loads(await console.parameters(console.card(request))) == parameters
    assert await console.run("({}).admin") is None
    await console.press(console.card(request), "approve")

    assert (await request.decision()).parameters == parameters


async def test_edit_keeps_what_it_does_not_touch_exactly(person: Person, site: Site) -> None:
    parameters = {
        "id": 2**53 + 1, "ratio": 1.0, "huge": 1e16, "minus": -0.0, "list": [10**30], "__proto__": {"a": 1},
        "path": "a\u202eb", "text": "old",
    }  # fmt: skip
    request = site.broker.ask("s1", tool_name="tool", parameters=parameters, risk_level="medium")
    console = await Console.at(person, site.url)
    card = console.card(request)

    await console.press(card, "edit")
    field = card.locator("[data-field=parameters]")
    text = await field.input_value()
    assert unseen_in(text) == []
    await field.fill(text.replace('"old"', '"new"'))
    await console.press(card, "send-edit")

    # As text, in which 1 and 1.0 are not the same.
    assert json.dumps((await request.decision()).parameters) == json.dumps({**parameters, "text": "new"})


async def test_a_megabyte_says_how_much_is_hidden_and_all_of_it_can_be_reached(
    person: Person, serving: Serving
) -> None:
    site = await serving(log_bytes=16 * 2**20, max_event_bytes=8 * 2**20, max_body_bytes=8 * 2**20)
    parameters = {"first": "BEGIN" + "a" * 500_000 + "rm -rf /" + "a" * 500_000 + "END", "last": "the last"}
    request = site.broker.ask("s1", tool_name="tool", parameters=parameters, risk_level="medium")
    console = await Console.at(person, site.url)
    card = console.card(request)
    await expect(card.locator("[data-role=hidden]")).to_contain_text(re.compile(r"\d{3}[,.\u2009\u202f ]?\d{3}"))
    shown = await card.locator("[data-role=parameters]").text_content() or ""
    assert "BEGIN" in shown
    assert "END" in shown
    assert "the last" in shown
    assert "rm -rf" not in shown

    await card.locator("[data-action=show-all]").first.click()

    await expect(card.locator("[data-role=hidden]")).not_to_be_visible()
    assert json.loads(await console.parameters(card)) == parameters
    await console.read(card)
    await console.press(card, "approve")
    assert (await request.decision()).parameters == parameters


async def test_parameters_that_no_event_holds_are_read_and_shown_before_they_can_be_approved(
    person: Person, site: Site
) -> None:
    parameters = {"path": "/srv/a", "content": "BEGIN" + "a" * 700_000 + "END"}
    request = site.broker.ask("s1", tool_name="Write", parameters=parameters, risk_level="medium")
    console = await Console.at(person, site.url)
    card = console.card(request)
    await expect(card.locator("[data-action=approve]")).to_be_visible()
    await console.listens(card)
    await card.locator("[data-action=show-all]").first.click()
    await expect(card.locator("[data-role=hidden]")).not_to_be_visible()

    is_whole = json.loads(await console.parameters(card)) == parameters
    await console.read(card)
    await console.press(card, "approve")

    assert is_whole
    assert (await request.decision()).decision == "approve"


async def test_large_parameters_that_cannot_be_read_can_only_be_rejected(person: Person, site: Site) -> None:
    person.may_say("/api/permissions/s1/")
    request = site.broker.ask("s1", tool_name="Write", parameters={"content": "a" * 700_000}, risk_level="medium")
    console = await Console.at(person, site.url, "s2")
    await console.page.route("**/api/permissions/s1/*", lambda route: route.abort())
    await console.page.goto(console.page.url.replace("s2", "s1"))
    card = console.card(request)
    await expect(card.locator("[data-action=read-whole]")).to_be_visible()

    assert await card.locator("[data-action=approve], [data-action=edit]").count() == 0
    await console.press(card, "reject")


async def test_deep_nesting_shows_its_innermost_value(person: Person, site: Site) -> None:
    parameters: dict[str, Any] = {"innermost": "rm -rf /"}
    for level in range(100):
        parameters = {f"level {level}": parameters} if level % 2 else {"list": [parameters]}
    request = site.broker.ask("s1", tool_name="tool", parameters=parameters, risk_level="medium")
    console = await Console.at(person, site.url)
    card = console.card(request)
    await expect(card.locator("[data-role=parameters]")).to_be_visible()

    for more in await card.locator("[data-action=show-all]").all():
        await more.click()
    await expect(card.locator("[data-action=show-all]")).to_have_count(0)
    await expect(card.locator("[data-role=parameters]")).to_contain_text("rm -rf /")

    assert json.loads(await console.parameters(card)) == parameters
    await card.get_by_text("rm -rf /").scroll_into_view_if_needed()
    await expect(card.get_by_text("rm -rf /")).to_be_in_viewport()


async def test_many_parameters_do_not_push_the_last_one_out_of_sight(person: Person, site: Site) -> None:
    parameters = {**{f"harmless {number}": number for number in range(500)}, "the last": "rm -rf /"}
    request = site.broker.ask("s1", tool_name="tool", parameters=parameters, risk_level="medium")
    console = await Console.at(person, site.url)
    card = console.card(request)

    await expect(card.locator("[data-role=parameters]")).to_contain_text("rm -rf /")
    await expect(card.locator("[data-role=hidden]")).to_be_visible()


async def test_card_with_a_megabyte_leaves_its_buttons_on_a_phone_in_reach(sit_down: SitDown, serving: Serving) -> None:
    site = await serving(log_bytes=16 * 2**20, max_event_bytes=8 * 2**20, max_body_bytes=8 * 2**20)
    person = await sit_down(viewport={"width": 390, "height": 844})
    request = site.broker.ask("s1", tool_name="tool", parameters={"text": "W" * 1_000_000}, risk_level="medium")
    console = await Console.at(person, site.url)

    await console.press(console.card(request), "approve")
    await expect(console.card(request).locator("[data-role=hidden]")).to_be_hidden()  # all of it is shown first
    await console.read(console.card(request))
    await console.press(console.card(request), "approve")

    assert (await request.decision()).approved is True
    assert await console.run("document.documentElement.scrollWidth <= innerWidth")


async def nothing_ran(console: Console, site: Site) -> None:
    assert await console.run("window.ran") is None
    assert await console.page.locator("a[href*='javascript:' i]").count() == 0
    assert [url for _, url in console.person.requested if not url.startswith(site.url)] == []
