"""A person answers in the console, and what they answered is what happens."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.async_api import Route, expect
from pytest_asyncio import fixture

from notifier_service import Broker
from notifier_service.core.permissions import Decision, PermissionRequest
from notifier_service.demo_agent import DemoAgent, Workspace
from notifier_service.web import Site
from tests.browser.conftest import Serving, SitDown
from tests.browser.console import Console
from tests.browser.person import Person
from tests.cli.processes import Commands, line_of

BOTH = pytest.mark.parametrize("engine", ["chromium", "firefox"])

WRITTEN = "# Round 1\n\nA person said that I may write this.\n"


@fixture(loop_scope="session")
async def agent(broker: Broker, tmp_path: Path) -> AsyncIterator[Path]:
    """The demonstration agent at its job, once, in session ``s1``; gives the file that it asks to write."""
    job = asyncio.create_task(DemoAgent(broker, Workspace(tmp_path), session_id="s1").round(1))
    yield tmp_path / "notes" / "round-1.md"
    job.cancel()
    with suppress(asyncio.CancelledError):
        await job


@BOTH
async def test_demonstration_writes_the_file_when_a_person_approves(person: Person, commands: Commands) -> None:
    demo = await commands.start("demo", "--port", "0")
    url = (await line_of(demo.stdout, "is ready")).rpartition(" ")[2].removesuffix("/agent_backend")
    file = Path((await line_of(demo.stdout, "An agent works")).rpartition(", in ")[2]) / "notes" / "round-1.md"
    console = await Console.at(person, url, "demo")
    card = console.card_of("write_file")
    await expect(card).to_be_visible()
    assert not file.exists()

    await console.press(card, "approve")

    await expect(console.card_of("run_program")).to_be_visible()
    assert file.read_text() == WRITTEN


async def test_rejected_call_does_not_run_and_the_agent_hears_the_reason(
    person: Person, site: Site, agent: Path
) -> None:
    console = await Console.at(person, site.url)
    card = console.card_of("write_file")

    await console.press(card, "reject")
    await console.fill(card, "reason", "not “today”, 不行")
    await console.press(card, "send-reject")

    await expect(console.card_of("run_program")).to_be_visible()
    assert not agent.exists()
    await expect(
        console.messages().filter(has_text="Denied: write_file did not run: rejected by local: not “today”, 不行")
    ).to_be_visible()


async def test_edited_call_runs_as_it_was_edited(person: Person, site: Site, agent: Path) -> None:
    console = await Console.at(person, site.url)
    card = console.card_of("write_file")

    await console.press(card, "edit")
    await console.fill(card, "parameters", json.dumps({"path": "notes/round-1.md", "text": "as I want it\n"}))
    await expect(card.locator("[data-role=changes]")).to_contain_text("as I want it")
    await console.press(card, "send-edit")

    await expect(console.card_of("run_program")).to_be_visible()
    assert agent.read_text() == "as I want it\n"


async def test_edit_that_is_no_json_is_not_sent_and_says_where(person: Person, site: Site, agent: Path) -> None:
    console = await Console.at(person, site.url)
    card = console.card_of("write_file")

    await console.press(card, "edit")
    await console.fill(card, "parameters", '{"path": "notes/round-1.md", "text": }')

    await expect(card.locator("[data-role=problem]")).to_be_visible()
    await expect(card.locator("[data-action=send-edit]")).to_be_disabled()
    assert len(site.broker.get("s1").desk.pending) == 1


async def test_response_stands_in_the_place_of_the_tool(person: Person, site: Site) -> None:
    request = site.broker.ask("s1", tool_name="deploy", parameters={"to": "production"})
    console = await Console.at(person, site.url)

    await console.press(console.card(request), "respond")
    await console.fill(console.card(request), "response", "done by hand")
    await console.press(console.card(request), "send-respond")

    record = await request.decision()
    assert (record.decision, record.response, record.approved) == ("respond", "done by hand", False)


async def test_approval_for_the_session_says_its_rule_and_settles_the_next_call(person: Person, site: Site) -> None:
    request = site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="medium")
    console = await Console.at(person, site.url)
    button = console.card(request).locator("[data-action=approve-session]")
    await expect(button).to_contain_text("deploy")

    await console.press(console.card(request), "approve-session")

    assert (await request.decision()).scope == "session"
    assert site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="medium").record.approved is True


async def test_double_click_decides_one_request(person: Person, site: Site) -> None:
    first = site.broker.ask("s1", tool_name="first", parameters={}, risk_level="medium")
    second = site.broker.ask("s1", tool_name="second", parameters={}, risk_level="medium")
    console = await Console.at(person, site.url)
    await console.shows(first, second)

    await console.listens(console.card(first))
    await console.card(first).locator("[data-action=approve]").dblclick()

    await console.shows(second)
    assert (await first.decision()).approved is True
    assert person.sent("permission-response") == 1
    assert second.pending


async def test_click_meant_for_a_card_that_went_away_does_not_hit_the_one_in_its_place(
    person: Person, site: Site
) -> None:
    first = site.broker.ask("s1", tool_name="first", parameters={}, risk_level="medium")
    second = site.broker.ask("s1", tool_name="second", parameters={}, risk_level="medium")
    console = await Console.at(person, site.url)
    await console.shows(first, second)
    await console.listens(console.card(second))
    place = await console.card(first).locator("[data-action=approve]").bounding_box()
    assert place is not None

    # As soon as the second card's button is in the place of the first's.
    clicked = asyncio.create_task(
        console.page.evaluate(
            """([x, y, id]) => new Promise((clicked) => {
                const look = () => {
                    const button = document.elementFromPoint(x, y)?.closest("[data-action]");
                    if (button?.closest("[data-request-id]")?.dataset.requestId !== id) requestAnimationFrame(look);
                    else { button.click(); clicked(button.dataset.action); }
                };
                look();
            })""",
            [place["x"] + place["width"] / 2, place["y"] + place["height"] / 2, second.request_id],
        )
    )
    site.broker.decide("s1", Decision(approved=False, request_id=first.request_id), decided_by="somebody")

    assert await clicked == "approve"
    await console.listens(console.card(second))
    assert second.pending
    assert person.sent("permission-response") == 0


@BOTH
async def test_who_decides_second_is_told_that_it_was_decided(sit_down: SitDown, site: Site) -> None:
    anna, ben = await sit_down(), await sit_down()
    request = site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="medium")
    hers, his = await Console.at(anna, site.url), await Console.at(ben, site.url)
    await his.shows(request)
    ben.may_say("409")
    # His answer is on its way while hers is taken.
    await his.page.route("**/permission-response/**", lambda route: _after(request, hers, route))

    await his.press(his.card(request), "approve")

    record = await request.decision()
    assert record.approved is False
    await expect(his.card(request)).to_contain_text("Too late")
    await expect(his.cards).to_have_count(0)


async def _after(request: PermissionRequest, hers: Console, route: Route) -> None:
    await hers.press(hers.card(request), "reject")
    await hers.press(hers.card(request), "send-reject")
    await request.decision()
    await route.continue_()


async def test_request_that_expires_while_one_looks_says_so_and_takes_no_answer(person: Person, site: Site) -> None:
    other = site.broker.ask("s1", tool_name="publish", parameters={}, risk_level="medium")
    console = await Console.at(person, site.url)
    # Nothing on the page moves while the pointer is on a button: what is settled stays to be read.
    await console.card(other).locator("[data-action=approve]").hover()

    request = site.broker.ask("s1", tool_name="deploy", parameters={}, timeout_seconds=3)
    card = console.card(request)
    await expect(card.locator("[data-role=countdown]")).to_contain_text("0:0")

    await expect(card.locator("[data-role=outcome]")).to_contain_text("Expired")
    await expect(card.locator("[data-action=approve]")).to_be_disabled()
    await console.shows(other)


async def test_countdown_is_right_whatever_the_clock_of_the_person_says(person: Person, site: Site) -> None:
    await person.context.add_init_script("const now = Date.now; Date.now = () => now() + 3_600_000;")
    request = site.broker.ask("s1", tool_name="deploy", parameters={}, timeout_seconds=300)

    console = await Console.at(person, site.url)

    await expect(console.card(request).locator("[data-role=countdown]")).to_have_text(re.compile("[45]:[0-9]{2}"))


async def test_high_risk_card_focuses_reject_first(person: Person, site: Site) -> None:
    console = await Console.at(person, site.url)

    request = site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="high")

    await expect(console.card(request).locator("[data-action=reject]")).to_be_focused()


async def test_keys_choose_a_card_and_answer_it(person: Person, site: Site) -> None:
    first, second, third = (
        site.broker.ask("s1", tool_name=name, parameters={}, risk_level="medium") for name in ("one", "two", "three")
    )
    console = await Console.at(person, site.url)
    await console.shows(first, second, third)
    keyboard = console.page.keyboard
    await expect(console.card(first)).to_have_attribute("data-selected", "")

    await keyboard.press("j")
    await expect(console.card(second)).to_have_attribute("data-selected", "")
    await keyboard.press("j")
    await keyboard.press("k")
    await expect(console.card(second)).to_have_attribute("data-selected", "")
    await console.listens(console.card(second))
    await keyboard.press("a")

    assert (await second.decision()).approved is True
    await console.shows(first, third)
    await expect(console.card(second)).to_have_count(0)  # what moves when a card goes away takes no key for a moment
    selected = console.page.locator("article[data-selected][data-state=open]")
    await console.listens(selected)
    await keyboard.press("r")
    await keyboard.type("no")
    await console.listens(selected)
    await keyboard.press("Control+Enter")
    await expect(console.cards).to_have_count(1)
    assert first.pending + third.pending == 1
    rejected = third if first.pending else first
    assert (await rejected.decision()).reason == "no"


async def test_one_key_does_not_approve_what_is_of_high_risk(person: Person, site: Site) -> None:
    request = site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="high")
    console = await Console.at(person, site.url)
    await console.listens(console.card(request))

    await console.page.keyboard.press("a")
    await expect(console.card(request)).to_contain_text("again", ignore_case=True)
    assert request.pending
    await console.page.keyboard.press("a")

    assert (await request.decision()).approved is True


async def test_letters_that_are_typed_into_a_field_are_no_commands(person: Person, site: Site) -> None:
    request = site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="medium")
    console = await Console.at(person, site.url)
    await console.press(console.card(request), "reject")

    await console.card(request).locator("[data-field=reason]").press_sequentially("a jar, kaerja")

    await expect(console.card(request).locator("[data-field=reason]")).to_have_value("a jar, kaerja")
    assert request.pending
    assert person.sent("permission-response") == 0


async def test_help_lists_the_keys(person: Person, site: Site) -> None:
    console = await Console.at(person, site.url)

    await console.page.keyboard.press("?")

    for key in ("J", "K", "A", "R", "E"):
        await expect(console.page.locator("#help").get_by_text(key, exact=True)).to_be_visible()


async def test_proxy_that_changes_the_host_is_named_as_the_cause(person: Person, serving: Serving) -> None:
    site = await serving()
    person.may_say("403")
    request = site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="medium")

    async def change_host(route: Route) -> None:
        answer = await route.fetch(headers={**route.request.headers, "origin": "http://desk.example"})
        await route.fulfill(response=answer)

    await person.context.route("**/permission-response/**", change_host)
    console = await Console.at(person, site.url)

    await console.press(console.card(request), "approve")

    failure = console.card(request).locator("[data-role=failure]")
    await expect(failure).to_contain_text("http://desk.example")
    await expect(failure).to_contain_text("proxy_set_header Host $http_host;")
    assert request.pending
