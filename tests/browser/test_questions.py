"""What an agent or a server asks a person is a card with its options, and what a person chooses is the answer."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Locator, expect

from notifier_service import Broker
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.policy.reasons import Reason
from notifier_service.web import Site
from tests.browser.conftest import SitDown
from tests.browser.console import Console
from tests.browser.person import Person
from tests.browser.test_accessibility import no_serious_finding

PHONE = {"width": 390, "height": 844}
BRANCH = {
    "question": "Which branch shall the release go out from?",
    "header": "Branch",
    "options": [
        {"label": "main", "description": "What runs in production now, with the fixes of this week."},
        {"label": "release/2.4", "description": "Frozen on Monday.", "preview": "+ retry in delivery\n- old queue"},
    ],
    "multiSelect": False,
}
TESTS = {
    "question": "Which tests shall run before?",
    "header": "Tests",
    "options": [{"label": "unit", "description": "2 minutes"}, {"label": "browser"}, {"label": "load"}],
    "multiSelect": True,
}
TWO = {"questions": [BRANCH, TESTS]}


def asked(broker: Broker, parameters: dict[str, Any], **how: Any) -> PermissionRequest:
    asking = {
        "tool_name": "AskUserQuestion",
        "risk_level": "low",
        "risk_reasons": (Reason("agent_question"),),
        "needs_answer": True,
        "by_policy": False,
        "scopes": ("once",),
        "timeout_seconds": 3000,
    }
    return broker.ask("s1", parameters=parameters, **asking | how)


def option(card: Locator, name: str, role: Any = "radio") -> Locator:
    return card.get_by_role(role, name=name)


async def open_card(person: Person, site: Site, request: PermissionRequest) -> tuple[Console, Locator]:
    console = await Console.at(person, site.url)
    card = console.card(request)
    await console.listens(card)
    return console, card


async def test_options_that_are_chosen_are_the_answer_and_nothing_is_sent_before_each_question_has_one(
    person: Person, site: Site
) -> None:
    request = asked(site.broker, TWO)
    console, card = await open_card(person, site, request)
    await expect(card.get_by_role("group", name="Which branch shall")).to_contain_text("What runs in production now")
    await expect(card.locator("[data-action^=approve], [data-action=edit]")).to_have_count(0)
    await option(card, "release/2.4").check()
    await console.press(card, "answer")
    problem = card.get_by_role("alert").filter(has_text="not answered yet")
    await expect(problem).to_have_count(1)
    await expect(option(card, "unit", "checkbox")).to_be_focused()
    assert request.pending

    await option(card, "unit", "checkbox").check()
    await option(card, "load", "checkbox").check()
    await expect(problem).to_have_count(0)
    await console.press(card, "answer")

    await expect(card).to_have_attribute("data-outcome", "approved")
    assert request.record.parameters == {
        **TWO,
        "answers": {BRANCH["question"]: "release/2.4", TESTS["question"]: "unit, load"},
    }
    await expect(card).to_contain_text("Replied")


async def test_own_words_are_an_answer_and_outlive_the_page_of_another_request(person: Person, site: Site) -> None:
    request = asked(site.broker, TWO)
    other = asked(site.broker, {"questions": [TESTS]})
    console, card = await open_card(person, site, request)
    words = card.get_by_role("textbox", name="In your own words: Which branch")
    await words.fill("a new one, from main")
    await expect(card.locator("input[value=own]").first).to_be_checked()
    await option(card, "browser", "checkbox").check()
    await console.turn_to(other)
    await console.turn_to(request)

    await console.listens(card)
    await words.press("Control+Enter")
    await console.waits(1)
    assert request.record.parameters["answers"] == {
        BRANCH["question"]: "a new one, from main",
        TESTS["question"]: "browser",
    }


async def test_keyboard_alone_answers(person: Person, site: Site) -> None:
    request = asked(site.broker, {"questions": [BRANCH]})
    console, card = await open_card(person, site, request)
    await option(card, "main").focus()
    await console.page.keyboard.press("ArrowDown")
    await expect(option(card, "release/2.4")).to_be_checked()
    await console.listens(card)
    await console.page.keyboard.press("a")

    await expect(card).to_have_attribute("data-outcome", "approved")
    assert request.record.parameters["answers"] == {BRANCH["question"]: "release/2.4"}


@pytest.mark.integration
async def test_question_can_be_rejected_with_a_reason(person: Person, site: Site) -> None:
    request = asked(site.broker, TWO)
    console, card = await open_card(person, site, request)
    await console.press(card, "reject")
    await console.fill(card, "reason", "ask me tomorrow")
    await console.press(card, "send-reject")

    await expect(card).to_have_attribute("data-outcome", "rejected")
    assert request.record.reason == "ask me tomorrow"


@pytest.mark.integration
async def test_question_of_the_tool_that_asks_people_is_answered_by_a_choice(person: Person, site: Site) -> None:
    parameters = {"question": "Go on?", "choices": ["now", "later"]}
    decisions = ("approve", "reject", "respond")
    request = asked(site.broker, parameters, tool_name="ask_human", needs_answer=False, allowed_decisions=decisions)
    console, card = await open_card(person, site, request)
    await expect(card.locator("[data-action=approve], [data-action=respond]")).to_have_count(0)
    await option(card, "later").check()
    await console.press(card, "answer")

    await expect(card).to_have_attribute("data-state", "settled")
    assert request.record.response == "later"


FORM = {
    "message": "The tracker wants to know where to file this.",
    "requested_schema": {
        "type": "object",
        "required": ["project", "weight"],
        "properties": {
            "project": {"type": "string", "title": "Project", "enum": ["billing", "web"]},
            "weight": {"type": "integer", "description": "in points", "default": 3},
            "urgent": {"type": "boolean", "default": False},
            "note": {"type": "string", "maxLength": 20},
        },
    },
}


async def test_form_of_a_server_is_filled_in(person: Person, site: Site) -> None:
    reasons = (Reason("server_question"),)
    request = asked(site.broker, FORM, tool_name="Elicitation", server="tracker", risk_reasons=reasons)
    console, card = await open_card(person, site, request)
    await expect(card).to_contain_text("of MCP server tracker")
    await expect(card.get_by_role("radio", name="No", exact=True)).to_be_checked()
    await option(card, "web").check()
    weight = card.get_by_role("textbox", name="weight")
    await expect(weight).to_have_value("3")
    await weight.fill("many")
    await console.press(card, "answer")
    await expect(card.get_by_role("alert").filter(has_text="A whole number is wanted")).to_have_count(1)
    await weight.fill("8")
    await console.press(card, "answer")

    await expect(card).to_have_attribute("data-outcome", "approved")
    assert request.record.parameters["content"] == {"project": "web", "weight": 8, "urgent": False}


@pytest.mark.integration
async def test_form_of_a_server_is_declined_by_one_press(person: Person, site: Site) -> None:
    request = asked(site.broker, FORM, risk_reasons=(Reason("server_question"),))
    console, card = await open_card(person, site, request)
    await expect(card.locator("[data-action=reject]")).to_contain_text("Decline")
    await console.press(card, "reject")

    await expect(card).to_have_attribute("data-outcome", "rejected")


HOSTILE: dict[str, list[dict[str, Any]]] = {
    "questions": [
        {
            "question": "</fieldset><script>alert(1)</script>\u202eWhich?\x1b[2J",
            "header": "<b>" + "h" * 2000,
            "options": [
                {"label": f"option {number}\u2066" if number % 100 else "x" * 5000, "description": "d" * 300}
                for number in range(1000)
            ]
            + [{"description": "no label"}, None, "text", {"label": 7}],
        },
        {"question": "__proto__", "options": [{"label": "constructor"}]},
    ]
}


@pytest.mark.parametrize("locale", ["en-GB", pytest.param("zh-CN", marks=pytest.mark.integration)])
async def test_hostile_question_is_shown_as_text_and_can_be_answered(
    sit_down: SitDown, site: Site, locale: str
) -> None:
    request = asked(site.broker, HOSTILE)
    person = await sit_down(locale=locale, viewport=PHONE)
    console, card = await open_card(person, site, request)
    assert await console.run("document.documentElement.scrollWidth <= innerWidth")
    await expect(card.locator(".question script, .question b")).to_have_count(0)
    await expect(card.locator(".questions .escape").first).to_be_visible()
    await expect(card.get_by_role("radio")).to_have_count(43)
    await card.locator("[data-action=more-options]").click()
    await expect(card.get_by_role("radio")).to_have_count(1003)
    await card.locator("input[value='999']").check()
    await option(card, "constructor").check()
    await console.press(card, "answer")

    await expect(card).to_have_attribute("data-outcome", "approved")
    texts = [str(question["question"]) for question in HOSTILE["questions"]]
    assert request.record.parameters["answers"] == {texts[0]: "option 999\u2066", texts[1]: "constructor"}


@pytest.mark.integration
@pytest.mark.parametrize(("parameters", "locale"), [(TWO, "en-GB"), (FORM, "zh-CN")], ids=["options", "form"])
async def test_questions_have_no_serious_finding_of_axe_on_a_phone(
    sit_down: SitDown, site: Site, locale: str, parameters: dict[str, Any]
) -> None:
    reasons = (Reason("agent_question" if parameters is TWO else "server_question"),)
    request = asked(site.broker, parameters, risk_reasons=reasons)
    person = await sit_down(locale=locale, viewport=PHONE)
    console, card = await open_card(person, site, request)
    assert await console.run("document.documentElement.scrollWidth <= innerWidth")
    await console.press(card, "answer")
    await expect(card.locator("[data-open]").first).to_be_visible()

    await no_serious_finding(console)
