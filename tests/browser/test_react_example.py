"""The example of the React integration, built and served by Vite as its README says, before a real service."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect
from pytest_asyncio import fixture

from notifier_service import Broker
from notifier_service.core.policy.reasons import Reason
from notifier_service.core.question import Decision
from notifier_service.demo_agent import DemoAgent, Workspace
from notifier_service.web import Site
from tests.browser.console import Console
from tests.browser.person import Person
from tests.browser.test_accessibility import no_serious_finding
from tests.browser.test_layout import STICKS_OUT, UNBROKEN, filling
from tests.browser.test_questions import BRANCH, TESTS, TWO
from tests.cli.processes import free_port, line_of

pytestmark = pytest.mark.integration

EXAMPLE = Path(__file__).parents[2] / "clients" / "typescript" / "example"
VITE = EXAMPLE / "node_modules" / "vite" / "bin" / "vite.js"
NODE = shutil.which("node")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example is built to."""
    if NODE is None or not VITE.exists():
        pytest.skip("the React example is not set up: make test does it where there is node, and npm")
    return tmp_path_factory.mktemp("example")


@fixture(loop_scope="session")
async def url(built: Path, site: Site) -> AsyncIterator[str]:
    """Where Vite serves the example, with ``site`` behind it."""
    assert NODE is not None
    if not any(built.iterdir()):
        build = await asyncio.create_subprocess_exec(
            NODE, VITE, "build", "--logLevel", "error", "--outDir", built, "--emptyOutDir", cwd=EXAMPLE
        )
        assert await build.wait() == 0
    address = ("--host", "127.0.0.1", "--port", str(free_port()), "--strictPort")
    preview = await asyncio.create_subprocess_exec(
        NODE, VITE, "preview", "--outDir", built, *address,
        cwd=EXAMPLE, env={**os.environ, "NOTIFIER_URL": site.url, "NO_COLOR": "1"}, stdin=DEVNULL, stdout=PIPE,
    )  # fmt: skip
    try:
        yield (await line_of(preview.stdout, "Local:")).split()[-1]
    finally:
        preview.terminate()
        await preview.wait()


@fixture(loop_scope="session")
async def page(url: str, person: Person) -> Page:
    """The example, open; the person leaves before Vite does."""
    return await person.open(url)


@fixture(loop_scope="session")
async def agent(broker: Broker, tmp_path: Path) -> AsyncIterator[Path]:
    """The demonstration agent at its job, once; gives the file that it asks to write."""
    async with asyncio.TaskGroup() as group:
        job = group.create_task(DemoAgent(broker, Workspace(tmp_path), session_id="demo").round(1))
        yield tmp_path / "notes" / "round-1.md"
        job.cancel()


def card_of(page: Page, tool_name: str) -> Locator:
    """The card that asks about a tool, when it takes an answer."""
    return page.locator("dialog[open] article[data-ready]").filter(has=page.get_by_role("heading", name=tool_name))


async def test_person_approves_rejects_and_puts_off(page: Page, agent: Path) -> None:
    await card_of(page, "write_file").locator("[data-action=approve]").click()
    program = card_of(page, "run_program")
    await expect(program.locator("[data-action=reject]")).to_be_focused()  # its risk is high
    assert agent.exists()

    await page.keyboard.press("Escape")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="1 request waits").click()
    await program.locator("[data-field=reason]").fill("not today")
    await program.locator("[data-action=reject]").click()

    await expect(page.get_by_text("Nothing runs.")).to_be_visible()
    await expect(page.get_by_role("listitem").filter(has_text="write_file")).to_contain_text("notes/round-1.md")
    await expect(page.locator("dialog[open]")).to_have_count(0)


async def test_focus_goes_back_to_where_somebody_wrote(page: Page, broker: Broker) -> None:
    await expect(page.locator("[data-connection=open]")).to_be_visible()
    await page.evaluate("document.body.append(document.createElement('textarea'))")
    await page.locator("body > textarea").focus()

    request = broker.ask("demo", tool_name="write_file", parameters={"path": "a"}, risk_level="medium")
    await expect(card_of(page, "write_file")).to_be_visible()
    await page.keyboard.type("who types on\nanswers nothing ")
    assert request.pending
    await card_of(page, "write_file").locator("[data-action=approve]").click()

    await expect(page.locator("body > textarea")).to_be_focused()
    assert (await request.decision()).approved


async def test_call_is_edited_field_by_field_with_the_keyboard_alone(
    page: Page, person: Person, broker: Broker
) -> None:
    parameters = {"path": "notes.md", "text": "one\ntwo\nthree", "mode": 420, "deep": {"keep": [2**70]}}
    request = broker.ask("demo", tool_name="write_file", parameters=parameters, risk_level="medium")
    card = card_of(page, "write_file")
    await expect(card).to_be_visible()

    while not await card.locator("[data-role=editor]").count():  # a key turns the page first where there is more
        await page.keyboard.press("e")
        await expect(card).to_be_visible()
    await expect(card.get_by_label("text")).to_be_focused()
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Control+a")
    await page.keyboard.type("other.md")
    await expect(card.locator("[data-role=changes]")).to_contain_text("other.md")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await expect(card.get_by_label("mode JSON")).to_be_focused()
    await page.keyboard.type("x")
    await expect(card.locator("[data-role=problem]")).to_contain_text("mode: Not JSON")
    assert await card.evaluate(STICKS_OUT) == []
    await no_serious_finding(Console(person, page))
    await page.keyboard.press("Control+Enter")
    await expect(card.get_by_role("alert")).to_contain_text("mode: Not JSON")
    await page.keyboard.press("Backspace")
    await expect(card.locator("[data-role=problem]")).to_be_empty()
    await no_serious_finding(Console(person, page))

    while request.pending:  # a press may show first what has not been on the screen yet
        await page.keyboard.press("Control+Enter")
        await expect(page.locator("dialog[open] article[data-ready], dialog:not([open])")).to_be_attached()

    decided = await request.decision()
    assert (decided.decision, decided.parameters) == ("edit", {**parameters, "path": "other.md"})


@pytest.mark.parametrize("width", [390, 1280, 1440])
async def test_text_that_does_not_break_stays_in_the_dialog(page: Page, broker: Broker, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 800})
    for text in UNBROKEN:
        request = broker.ask(
            "demo", tool_name=f"tool_{text[:200]}", server=text[:100], parameters={text[:400]: text}, risk_level="high",
            risk_reasons=[text[:600]], description=text,
        )  # fmt: skip
        card = page.locator(f"article[data-request-id='{request.request_id}'][data-ready]")
        await expect(card).to_be_visible()
        assert await card.evaluate(STICKS_OUT) == []
        reject, approve = (card.locator(f"[data-action={action}]") for action in ("reject", "approve"))
        assert await filling(reject) != await filling(approve) == await filling(card.locator("[data-action=respond]"))
        await card.locator("[data-action=edit]").click()
        await card.locator("[data-role=editor] textarea").first.fill(text)
        assert await card.evaluate(STICKS_OUT) == []
        if await card.locator("[data-action=edit-json]").count():
            await card.locator("[data-action=edit-json]").click()
        await card.locator("[data-field=edit]").fill(json.dumps({"text": text}, ensure_ascii=False))
        assert await card.evaluate(STICKS_OUT) == []
        await card.locator("[data-action=approve-edited]").scroll_into_view_if_needed()
        await card.locator("[data-action=approve-edited]").click(trial=True)
        broker.decide("demo", Decision(approved=False, request_id=request.request_id), decided_by="somebody")
        await page.locator("[data-action=next]").click()


async def test_key_turns_the_pages_of_a_dialog_that_is_higher_than_the_screen(page: Page, broker: Broker) -> None:
    await page.set_viewport_size({"width": 390, "height": 600})
    request = broker.ask(
        "demo", tool_name="write", parameters={"path": "a"}, risk_level="high", description="word " * 700
    )
    card = page.locator(f"article[data-request-id='{request.request_id}']")
    for _ in range(2):
        await expect(card).to_have_attribute("data-ready", "true")
        await page.keyboard.press("a")
    assert request.pending
    await expect(card.locator("[data-armed]")).to_have_count(0)  # no press counted yet

    listens_or_is_gone = page.locator("dialog[open] article[data-ready], dialog:not([open])")
    while await page.locator("dialog[open]").count():
        await page.keyboard.press("a")
        await expect(listens_or_is_gone).to_be_attached()

    assert (await request.decision()).approved is True


LINES = "\n".join(f"line {number}" for number in range(300))
ORDINARY = {
    "command": {"command": "cd /srv && rm -rf build\ncurl -X POST https://example.org -d @out"},
    "file": {"path": "notes.md", "content": LINES},
    "diff": {"file_path": "a.py", "old_string": "return 1", "new_string": "return 2"},
    "table": {"table": "people", "rows": [{"id": row, "name": "Ada", "mail": "ada@example.org"} for row in range(80)]},
    "message": {"to": "a@example.org", "subject": "Hello", "body": LINES},
    "exact": {"path": "a\u202eb", "text": LINES},
}


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 720)])
async def test_each_shape_is_decided_in_the_window_and_after_its_end_was_seen(
    page: Page, broker: Broker, width: int, height: int
) -> None:
    await page.set_viewport_size({"width": width, "height": height})
    await page.add_style_tag(
        content="main, dialog { text-align: center; font: italic 9px serif } p, code { margin: 3em }"
    )
    for shape, parameters in ORDINARY.items():
        request = broker.ask("demo", tool_name="tool", parameters=parameters, risk_level="high")
        card = page.locator(f"article[data-request-id='{request.request_id}']")
        await expect(card.locator(f"[data-role=parameters][data-shape={shape}]")).to_be_visible()
        for action in ("approve", "reject"):
            await expect(card.locator(f"[data-action={action}]")).to_be_in_viewport(ratio=1)
        assert await card.evaluate(STICKS_OUT) == []
        looks = await card.locator("[data-role=parameters]").evaluate("one => getComputedStyle(one).textAlign")
        assert looks == "start"

        if await card.locator("[data-action=show-all]").count():
            await card.locator("[data-action=approve]").click()  # which only opens what is folded
            await expect(card.locator("[data-action=show-all]")).to_have_count(0)
            await expect(card).not_to_have_attribute("data-read", "true")
        assert request.pending
        await page.locator("dialog").evaluate("one => one.scrollTo(0, one.scrollHeight)")
        listening = page.locator("article[data-ready][data-read]")
        await expect(listening).to_be_attached()
        await page.keyboard.press("a")
        await expect(listening.locator("[data-armed]")).to_be_attached()
        await page.keyboard.press("a")
        assert (await request.decision()).approved is True


async def test_question_is_answered_by_its_options(page: Page, broker: Broker) -> None:
    await page.set_viewport_size({"width": 390, "height": 844})
    request = broker.ask(
        "demo",
        tool_name="AskUserQuestion",
        parameters=TWO,
        risk_level="low",
        risk_reasons=(Reason("agent_question"),),
        needs_answer=True,
        by_policy=False,
    )
    card = card_of(page, "AskUserQuestion")
    await card.get_by_role("radio", name="release/2.4").check()
    await card.get_by_role("checkbox", name="unit").check()
    await card.locator("[data-action=answer]").click()

    async with asyncio.timeout(15):
        record = await request.decision()
    assert record.parameters["answers"] == {BRANCH["question"]: "release/2.4", TESTS["question"]: "unit"}
