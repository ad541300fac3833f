"""A person answers in the console, and what they answered is what happens."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Route, expect
from pytest_asyncio import fixture

from notifier_service import Broker
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.policy.learned import LearnedRules
from notifier_service.core.question import Decision
from notifier_service.demo_agent import DemoAgent, Workspace
from notifier_service.web import Site
from tests.browser.conftest import Serving, SitDown
from tests.browser.console import Console
from tests.browser.engines import BOTH
from tests.browser.person import Person
from tests.cli.processes import Commands, line_of

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
    await console.listens(console.card(first))
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
    request = site.broker.ask("s1", tool_name="deploy", parameters={}, timeout_seconds=4)
    other = site.broker.ask("s1", tool_name="publish", parameters={}, risk_level="medium")
    console = await Console.at(person, site.url)
    card = console.card(request)
    # Nothing on the page moves while the pointer is on a button: what is settled stays to be read.
    await card.locator("[data-action=reject]").hover()
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
    await expect(console.card(first)).to_be_visible()

    await keyboard.press("j")
    await expect(console.card(second)).to_be_visible()
    await keyboard.press("j")
    await expect(console.card(third)).to_be_visible()
    await keyboard.press("k")
    await console.listens(console.card(second))
    await keyboard.press("a")

    assert (await second.decision()).approved is True
    await console.shows(first, third)
    await console.listens(console.card(third))  # what comes into its place takes no key for a moment
    await keyboard.press("r")
    await keyboard.type("no")
    await console.listens(console.card(third))
    await keyboard.press("Control+Enter")
    await console.shows(first)
    assert (await third.decision()).reason == "no"


async def test_one_key_does_not_approve_what_is_of_high_risk(person: Person, site: Site) -> None:
    request = site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="high")
    console = await Console.at(person, site.url)
    await console.listens(console.card(request))

    await console.page.keyboard.press("a")
    await expect(console.card(request)).to_contain_text("again", ignore_case=True)
    assert request.pending
    await console.page.keyboard.press("a")

    assert (await request.decision()).approved is True


@pytest.mark.parametrize("action", ["approve", "approve-session"])
async def test_one_click_does_not_approve_what_is_of_high_risk_nor_does_a_double_click(
    person: Person, site: Site, action: str
) -> None:
    request = site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="high")
    console = await Console.at(person, site.url)
    button = console.card(request).locator(f"[data-action={action}]")
    await console.listens(console.card(request))
    place = await button.bounding_box()

    await button.dblclick()
    await expect(button).to_contain_text("Press again")
    assert request.pending
    assert await button.bounding_box() == place  # nothing moves under the second press
    await button.click()

    assert (await request.decision()).scope == ("session" if action == "approve-session" else "once")


async def test_press_that_was_not_followed_by_another_is_forgotten(person: Person, site: Site) -> None:
    await person.context.add_init_script(
        "const now = performance.now; performance.now = () => 20 * now.call(performance)"
    )
    request = site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="high")
    console = await Console.at(person, site.url)
    await console.listens(console.card(request))
    button = console.card(request).locator("[data-action=approve]")

    await button.click()
    await expect(button).to_contain_text("Press again")
    await expect(button).not_to_contain_text("Press again")

    assert request.pending


@pytest.mark.parametrize("covered_by", ["timeline", "drawer"])
async def test_key_shows_a_card_that_is_out_of_sight_and_does_not_answer_it(
    sit_down: SitDown, site: Site, covered_by: str
) -> None:
    person = await sit_down(viewport={"width": 390, "height": 700})
    request = site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="medium")
    console = await Console.at(person, site.url)
    card = console.card(request)
    await console.listens(card)
    cover = "show-timeline" if covered_by == "timeline" else "sessions"
    await console.page.locator(f"[data-action={cover}]").click()

    await console.page.keyboard.press("a")
    await expect(card).to_be_in_viewport(ratio=0.9)
    assert request.pending
    await console.listens(card)
    await console.page.keyboard.press("a")

    assert (await request.decision()).approved is True


async def test_key_turns_the_pages_of_a_card_that_is_higher_than_the_screen(person: Person, site: Site) -> None:
    lines = {f"line {number}": number for number in range(55)}
    request = site.broker.ask("s1", tool_name="write", parameters=lines, risk_level="medium")
    console = await Console.at(person, site.url)
    card = console.card(request)
    await expect(card.locator("[data-role=hidden]")).to_be_hidden()
    presses = 0

    while request.pending:
        await console.listens(card)
        await console.page.keyboard.press("a")
        presses += 1
        await expect(card.locator("[data-action=approve]")).to_be_visible() if presses < 2 else None

    assert presses > 2
    assert (await request.decision()).approved is True


async def test_approving_what_is_not_shown_in_full_shows_it_first(person: Person, site: Site) -> None:
    requests = [
        site.broker.ask("s1", tool_name=f"write{number}", parameters={"text": "x" * 6000}, risk_level="medium")
        for number in range(3)
    ]
    console = await Console.at(person, site.url)
    await console.shows(*requests)

    await console.press(console.card(requests[0]), "approve")
    await expect(console.card(requests[0]).locator("[data-role=hidden]")).to_be_hidden()
    await console.press(await console.turn_to(requests[1]), "approve-session")
    await expect(console.card(requests[1]).locator("[data-role=hidden]")).to_be_hidden()
    await console.page.keyboard.press("j")
    await console.page.keyboard.press("x")
    await expect(console.card(requests[2]).locator("[data-role=hidden]")).to_be_hidden()
    assert [request.pending for request in requests] == [True] * 3

    card = await console.turn_to(requests[0])
    assert await card.get_attribute("data-armed") is None  # its end was not on the screen yet
    await console.press(card, "approve")  # which shows a page more of it, and does nothing else
    assert requests[0].pending
    await console.read(card)
    await console.press(card, "approve")
    assert (await requests[0].decision()).approved is True


async def test_what_somebody_writes_outlives_whatever_happens_meanwhile(person: Person, site: Site) -> None:
    request = site.broker.ask("s1", tool_name="write", parameters={"text": "a"}, risk_level="medium")
    console = await Console.at(person, site.url)
    card = console.card(request)
    await console.press(card, "edit")
    await card.locator("[data-action=edit-json]").click()
    field = card.locator("[data-field=parameters]")
    await field.fill('{"text": "what I thought of for long"}')

    others = [
        site.broker.ask("s1", tool_name=f"other{number}", parameters={}, risk_level="medium") for number in range(3)
    ]
    site.broker.publish_nowait("s1", "agent_message", {"text": "still here"})
    await console.shows(request, *others)
    await expect(field).to_be_focused()
    await expect(field).to_have_value('{"text": "what I thought of for long"}')
    site.broker.decide("s1", Decision(approved=False, request_id=request.request_id), decided_by="somebody")

    await expect(card.locator("[data-role=outcome]")).to_contain_text("somebody")
    await expect(field).to_have_value('{"text": "what I thought of for long"}')
    await expect(card.locator("[data-action=send-edit]")).to_be_disabled()
    await expect(card).to_contain_text("nothing of it was sent")
    await card.locator("[data-action=close-form]").click()
    await expect(card).to_have_count(0)


async def test_card_that_moves_takes_no_click_for_a_moment(person: Person, site: Site) -> None:
    request = site.broker.ask("s1", tool_name="a", parameters={}, risk_level="medium")
    console = await Console.at(person, site.url)
    await console.listens(console.card(request))

    # What is above it grows, as when the service was restarted, and a click is on its way.
    await console.run(
        """() => new Promise((done) => {
            document.querySelector(".head").style.paddingBottom = "80px";
            requestAnimationFrame(() => requestAnimationFrame(() => {
                for (const button of document.querySelectorAll("[data-action=approve]")) button.click();
                done();
            }));
        })"""
    )

    assert person.sent("permission-response") == 0
    await console.press(console.card(request), "approve")
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

    for key in ("J", "K", "A", "R", "E", "P", "X"):
        await expect(console.page.locator("#help").get_by_text(key, exact=True)).to_be_visible()


async def test_parameters_that_no_event_holds_are_read_whole_before_they_can_be_approved(
    person: Person, site: Site
) -> None:
    parameters = {"path": "/srv/large.txt", "text": "begin\n" + "x" * 900_000 + "\nrm -rf /srv/production"}
    request = site.broker.ask("s1", tool_name="write", parameters=parameters, risk_level="medium")
    held = Held()
    await person.context.route("**/api/permissions/**", held)
    console = await Console.at(person, site.url)
    card = console.card(request)

    await expect(card).to_contain_text("being read")
    await console.listens(card)
    for action in ("approve", "approve-session", "edit"):
        await expect(card.locator(f"[data-action={action}]")).to_have_count(0)
    await console.page.keyboard.press("a")
    await expect(card.locator("[data-action=reject]")).to_be_enabled()
    held.let_go()
    await expect(card.locator("[data-action=approve]")).to_be_visible()

    await console.press(card, "approve")
    await expect(card.locator("[data-role=parameters]")).to_contain_text("rm -rf /srv/production")
    await expect(card.locator("[data-role=hidden]")).to_be_hidden()
    await console.press(card, "approve")
    assert request.pending  # its end was not on the screen yet
    await console.read(card)
    await console.press(card, "approve")
    assert (await request.decision()).parameters == parameters


async def test_parameters_that_cannot_be_read_whole_cannot_be_approved_and_it_is_said(
    person: Person, site: Site
) -> None:
    person.may_say("503|Failed to load")
    request = site.broker.ask("s1", tool_name="write", parameters={"text": "x" * 900_000}, risk_level="medium")
    await person.context.route("**/api/permissions/**", lambda route: route.fulfill(status=503, body="busy"))
    console = await Console.at(person, site.url)
    card = console.card(request)

    await expect(card).to_contain_text("could not be read")
    await expect(card.locator("[data-action=approve]")).to_have_count(0)
    await person.context.unroute("**/api/permissions/**")
    await card.locator("[data-action=read-whole]").click()

    await expect(card.locator("[data-action=approve]")).to_be_visible()


async def test_rules_in_force_are_listed_and_can_be_taken_back(person: Person, site: Site) -> None:
    allowed, denied = (
        site.broker.ask("s1", tool_name=name, server="mail", parameters={}, risk_level="medium")
        for name in ("search", "send")
    )
    console = await Console.at(person, site.url)
    await console.shows(allowed, denied)
    await expect(console.card(allowed).locator("[data-role=server]")).to_contain_text("mail")

    await console.press(console.card(allowed), "approve-session")
    await console.press(console.card(denied), "reject-session")
    await console.press(console.card(denied), "send-reject")
    assert (await denied.decision()).scope == "session"
    rules = console.page.locator("#rules")
    await rules.locator("summary").click()
    await expect(rules.locator("li")).to_have_count(2)
    assert await rules.locator("li").evaluate_all("(all) => all.map((one) => one.dataset.effect)") == ["allow", "deny"]
    await rules.locator("li").filter(has_text="search").locator("[data-action=revoke]").click()

    await expect(rules.locator("li")).to_have_count(1)
    assert site.broker.ask("s1", tool_name="search", server="mail", parameters={}, risk_level="medium").pending
    assert not site.broker.ask("s1", tool_name="send", server="mail", parameters={}, risk_level="medium").pending


async def test_decision_for_always_says_what_it_grants_and_is_listed_with_its_source(
    person: Person, site: Site, tmp_path: Path
) -> None:
    site.broker.learn_into(LearnedRules(tmp_path / "rules.toml"))
    call = {"server": "mail", "parameters": {}, "risk_level": "medium"}
    allowed, denied = (site.broker.ask("s1", tool_name=name, **call) for name in ("search", "send"))
    console = await Console.at(person, site.url)
    await console.shows(allowed, denied)
    words = allowed.record.suggested_rule
    await expect(console.card(allowed).locator("[data-action=approve-always]")).to_contain_text(
        f"Approve always: {words}"
    )

    await console.press(console.card(allowed), "approve-always")
    await expect(console.page.locator("#cards .told")).to_have_text("✓ Approved from now on search")
    rejecting = console.card(denied).locator("[data-action=reject-always] > span")
    await expect(rejecting).to_have_text('Reject always: every call of "send" of server "mail", asked by this program')
    await console.press(console.card(denied), "reject-always")
    await console.press(console.card(denied), "send-reject")
    assert (await denied.decision()).scope == "always"
    rules = console.page.locator("#rules")
    await rules.locator("summary").click()

    await expect(rules.locator("li")).to_have_count(2)
    await expect(rules.locator("li").first).to_contain_text("for always")
    assert [ask.pending for ask in (site.broker.ask("s2", tool_name=name, **call) for name in ("search", "send"))] == [
        False,
        False,
    ]
    await rules.locator("li").filter(has_text="search").locator("[data-action=revoke]").click()
    await expect(rules.locator("li")).to_have_count(1)
    assert site.broker.ask("s2", tool_name="search", **call).pending


@pytest.mark.parametrize(("scope", "risk"), [("session", "medium"), ("always", "high")])
async def test_rule_that_would_have_saved_questions_is_shown_and_made_by_one_button(
    person: Person, site: Site, tmp_path: Path, scope: str, risk: Any
) -> None:
    site.broker.learn_into(LearnedRules(tmp_path / "rules.toml"))
    for number in range(3):
        request = site.broker.ask("s1", tool_name="search", parameters={"n": number}, risk_level=risk)
        site.broker.decide("s1", Decision(approved=True, request_id=request.request_id), decided_by="ana")
    console = await Console.at(person, site.url)
    waiting = site.broker.ask("s1", tool_name="search", parameters={}, risk_level=risk)
    await console.shows(waiting)
    rules = console.page.locator("#rules")
    await expect(rules.locator("summary")).to_have_text("Rules in force: 0 · 1 would save questions")
    await rules.locator("summary").click()
    await expect(rules.locator("li")).to_contain_text('every call of "search"')
    await expect(rules.locator("li")).to_contain_text("would have saved questions: 3")

    make = rules.locator(f"[data-action=take-over-{scope}]")
    await make.click()
    if risk == "high":
        assert waiting.pending
        await expect(make).to_contain_text("Press again")
        await make.click()

    await expect(rules.locator("[data-rule-id]")).to_have_count(1)
    await expect(rules.locator("[data-suggestion-id]")).to_have_count(0)
    assert waiting.record.decided_by == "policy"


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


class Held:
    """Holds requests back until it is told to let go."""

    def __init__(self) -> None:
        self._open = asyncio.Event()

    async def __call__(self, route: Route) -> None:
        await self._open.wait()
        await route.continue_()

    def let_go(self) -> None:
        self._open.set()
