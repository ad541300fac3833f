"""Where tokens are wanted: the page asks for one, and it appears nowhere else."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
from playwright.async_api import expect
from pytest_asyncio import fixture

from notifier_service import Decision
from notifier_service.core.events import Scope
from notifier_service.core.policy.learned import LearnedRules
from notifier_service.web import Site
from tests.browser.conftest import Serving, SitDown
from tests.browser.console import Console
from tests.browser.person import Person

TOKEN = "a-long-lived-secret-of-anna"

#: Browsers write every refusal to the console, also one that the page knows what to do with.
REFUSED = "status of 40[13] "


@fixture(loop_scope="session")
async def guarded(serving: Serving, tmp_path: Path) -> Site:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(
        json.dumps(
            [
                {"token": TOKEN, "subject": "anna", "rights": ["approve"], "sessions": ["team-*"]},
                {"token": "agent-secret", "subject": "agent", "rights": ["produce"], "sessions": ["team-*"]},
                {"token": "view-secret", "subject": "vera", "rights": ["view"], "sessions": ["team-*"]},
            ]
        )
    )
    return await serving(auth="tokens", tokens_file=tokens)


async def test_page_asks_for_the_token_and_leaves_it_out_of_every_address(
    person: Person, guarded: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    person.may_say(REFUSED)
    request = guarded.broker.ask("team-1", tool_name="deploy", parameters={}, risk_level="medium")
    page = await person.open(f"{guarded.url}/agent_backend/#/s/team-1")
    console = Console(person, page)
    await page.locator("#token-form [data-field=token]").fill(TOKEN)

    await page.locator("[data-action=use-token]").click()

    await console.is_live()
    await console.press(console.card(request), "approve")
    assert (await request.decision()).decided_by == "anna"
    await page.reload()
    await console.is_live()  # kept for this tab
    assert any("ticket=" in url for _, url in person.requested)
    assert [url for _, url in person.requested if TOKEN in url] == []
    assert "/agent_backend/api/sse/events/team-1" in caplog.text
    assert TOKEN not in caplog.text
    assert TOKEN not in page.url


async def test_token_of_the_address_is_taken_once_and_gone(person: Person, guarded: Site) -> None:
    person.may_say(REFUSED)
    page = await person.open(f"{guarded.url}/agent_backend/#token={TOKEN}&/s/team-1")

    await Console(person, page).is_live()

    assert page.url == f"{guarded.url}/agent_backend/#/s/team-1"
    assert [url for _, url in person.requested[1:] if TOKEN in url] == []
    await page.go_back()
    assert TOKEN not in page.url


async def test_wrong_token_is_refused_in_words(person: Person, guarded: Site) -> None:
    person.may_say(REFUSED)
    page = await person.open(f"{guarded.url}/agent_backend/#/s/team-1")

    await page.locator("#token-form [data-field=token]").fill("guessed")
    await page.locator("[data-action=use-token]").click()

    await expect(page.locator("#token-form")).to_contain_text("refused")
    await expect(page.locator("[data-field=token]")).to_be_focused()


async def test_session_of_others_is_refused_in_words(person: Person, guarded: Site) -> None:
    person.may_say(REFUSED)
    page = await person.open(f"{guarded.url}/agent_backend/#token={TOKEN}&/s/private")

    await expect(page.locator("body")).to_contain_text("may not see this session")


async def test_who_may_only_look_is_offered_no_answer_until_the_token_may_decide(person: Person, guarded: Site) -> None:
    person.may_say(REFUSED)
    more = {"tool_name": "deploy", "parameters": {}, "risk_level": "high"}
    request = guarded.broker.ask("team-1", **more)
    alike = [guarded.broker.ask(f"team-{number}", tool_name="ls", parameters={"n": number}) for number in (2, 3)]
    page = await person.open(f"{guarded.url}/agent_backend/#token=view-secret&/s/team-1")
    console = Console(person, page)
    await console.is_live()
    card = console.card(request)
    answers = card.locator(".bar-of-actions button, .lasting button")
    await expect(card).to_contain_text("Your token may watch, but not decide.")
    await expect(answers).to_have_count(0)
    await page.keyboard.press("a")
    await page.keyboard.press("r")

    await page.evaluate("location.hash = '#/inbox'")
    await console.is_live()
    await console.shows(request, *alike)
    await console.row(alike[0]).locator("button").click()
    batch = console.cards.first
    await expect(batch).to_contain_text("Your token may watch, but not decide.")
    await expect(batch.locator("[data-action=approve], [data-action=reject]")).to_have_count(0)

    assert guarded.settings.tokens_file is not None
    may_now = {"token": "view-secret", "subject": "vera", "rights": ["approve"], "sessions": ["team-*"]}
    guarded.settings.tokens_file.write_text(json.dumps([may_now]))
    guarded.read_again()
    await expect(batch.locator("[data-action=approve]")).to_be_visible()
    assert request.pending


async def test_who_may_not_take_a_rule_back_or_over_is_offered_neither_and_told_why(
    person: Person, guarded: Site, tmp_path: Path
) -> None:
    person.may_say(REFUSED)
    broker = guarded.broker
    broker.learn_into(LearnedRules(tmp_path / "rules.toml"))

    def decide(tool: str, scope: Scope, reach: Sequence[str] = ("*",), *, approved: bool = True) -> None:
        asked = broker.ask("team-1", tool_name=tool, parameters={}, asked_by="anna", asked_with="of-the-agent")
        decision = Decision(approved=approved, request_id=asked.request_id, scope=scope)
        broker.decide("team-1", decision, decided_by="ben", reach=reach)

    decide("read", "session")
    decide("fetch", "always")
    decide("rm", "session", approved=False)
    for _ in range(2):
        decide("write", "once")
    page = await person.open(f"{guarded.url}/agent_backend/#token={TOKEN}&/s/team-1")
    console = Console(person, page)
    await console.is_live()
    rules = page.locator("#rules")
    await rules.locator("summary").click()
    offered = rules.locator("[data-action=revoke], [data-action^=take-over]")

    await expect(rules).to_contain_text("also holds in sessions in which you may not decide")  # fetch, everywhere
    await expect(rules).to_contain_text("holds back what was asked in your name")  # rm
    await expect(rules).to_contain_text("This was asked in your name: somebody else must allow it.")  # write
    await expect(offered).to_have_count(1)
    await expect(rules.locator("li", has_text="read").locator("[data-action=revoke]")).to_be_visible()
    await page.keyboard.press("?")
    await expect(page.locator("#help")).to_contain_text("approve")
    await page.keyboard.press("Escape")

    looking = Console(person, await person.open(f"{guarded.url}/agent_backend/#token=view-secret&/s/team-1"))
    await looking.is_live()
    rules = looking.page.locator("#rules")
    await rules.locator("summary").click()
    await expect(rules.locator("li")).to_have_count(4)
    await expect(rules.get_by_text("Your token may watch, but not decide.")).to_have_count(1)
    await expect(rules.locator("li button")).to_have_count(0)
    await looking.page.keyboard.press("?")
    await expect(looking.page.locator("#help dt:visible")).to_have_text(["J", "K", "X", "?", "Esc"])
    await looking.page.keyboard.press("Escape")
    await looking.page.evaluate("location.hash = '#/rules'")
    everywhere = looking.page.locator("#all-rules")
    await expect(everywhere.locator("li")).to_have_count(1)
    await expect(everywhere).to_contain_text("Your token may watch, but not decide.")
    await expect(everywhere.locator("li button")).to_have_count(0)


async def test_token_that_ends_while_the_drawer_is_open_is_asked_for_in_its_place(
    sit_down: SitDown, guarded: Site
) -> None:
    person = await sit_down(viewport={"width": 360, "height": 740})
    person.may_say(REFUSED)
    page = await person.open(f"{guarded.url}/agent_backend/#token=view-secret")
    console = Console(person, page)
    await console.is_live()
    await page.locator("[data-action=sessions]").click()

    assert guarded.settings.tokens_file is not None
    anna = {"token": TOKEN, "subject": "anna", "rights": ["approve"], "sessions": ["team-*"]}
    guarded.settings.tokens_file.write_text(json.dumps([anna]))
    guarded.read_again()

    await expect(page.locator("#token-form [data-field=token]")).to_be_focused()
    await expect(page.locator("[data-action=sessions]")).to_be_hidden()
    await page.keyboard.type(TOKEN)
    await page.keyboard.press("Enter")
    await console.is_live()


async def test_token_is_not_shared_with_another_person(sit_down: SitDown, guarded: Site) -> None:
    anna, ben = await sit_down(), await sit_down()
    anna.may_say(REFUSED)
    ben.may_say(REFUSED)
    await Console(anna, await anna.open(f"{guarded.url}/agent_backend/#token={TOKEN}&/s/team-1")).is_live()

    page = await ben.open(f"{guarded.url}/agent_backend/#/s/team-1")

    await expect(page.locator("#token-form")).to_be_visible()


async def test_link_with_another_token_asks_before_it_takes_the_place_of_the_kept_one(
    person: Person, guarded: Site
) -> None:
    person.may_say(REFUSED)
    request = guarded.broker.ask("team-1", tool_name="deploy", parameters={}, risk_level="medium")
    page = await person.open(f"{guarded.url}/agent_backend/#token={TOKEN}&/s/team-1")
    console = Console(person, page)
    await console.is_live()

    await page.evaluate("location.hash = '#token=view-secret&/s/team-1'")
    question = page.locator("#token-question")
    await expect(question).to_contain_text("another token")
    assert "view-secret" not in page.url
    await question.locator("[data-action=keep-token]").click()
    await console.press(console.card(request), "approve")
    assert (await request.decision()).decided_by == "anna"

    await page.goto(f"{guarded.url}/agent_backend/?again#token=view-secret&/s/team-1")
    await expect(question).to_be_visible()
    assert "view-secret" not in page.url
    await question.locator("[data-action=take-token]").click()
    await console.is_live()
    assert await page.evaluate("sessionStorage.getItem('notifier.token')") == "view-secret"


async def test_link_with_a_signed_token_says_whose_it_is(person: Person, guarded: Site) -> None:
    person.may_say(REFUSED)
    signed = f"e30.{base64.urlsafe_b64encode(json.dumps({'sub': 'mallory 王'}).encode()).decode().rstrip('=')}.x"
    page = await person.open(f"{guarded.url}/agent_backend/#token={TOKEN}&/s/team-1")
    await Console(person, page).is_live()

    await page.evaluate(f"location.hash = '#token={signed}'")

    await expect(page.locator("#token-question")).to_contain_text("mallory 王")


async def test_reviewer_of_the_readme_sees_the_sessions_of_the_team(person: Person, guarded: Site) -> None:
    person.may_say(REFUSED)
    for session_id in ("team-1", "team-2", "private"):
        guarded.broker.ask(session_id, tool_name="deploy", parameters={}, risk_level="medium")
    page = await person.open(f"{guarded.url}/agent_backend/")
    await page.locator("#token-form [data-field=token]").fill(TOKEN)
    await page.locator("[data-action=use-token]").click()

    rows = page.locator("#sessions li a")
    await expect(rows).to_have_count(2)
    await rows.filter(has_text="team-2").click()

    console = Console(person, page)
    await console.is_live()
    await expect(console.cards).to_have_count(1)


async def test_who_may_list_nothing_is_told_and_opens_a_session_by_its_id(person: Person, guarded: Site) -> None:
    person.may_say(REFUSED)
    page = await person.open(f"{guarded.url}/agent_backend/#token=agent-secret")

    await expect(page.locator("#sessions")).to_contain_text("may not list sessions")
    await page.locator("[data-field=session-id]").fill("team-1")
    await page.locator("[data-action=open]").click()

    await expect(page).to_have_url(f"{guarded.url}/agent_backend/#/session/team-1")
