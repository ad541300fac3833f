"""The example page with ``@ai-sdk/react``, served by Vite, in Chromium, before a real service."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from notifier_service import Broker, Decision, Settings, serve
from tests.browser.engines import CannotDrive, launched
from tests.cli.processes import free_port, line_of
from tests.integrations.environments import NPM, ROOT
from tests.integrations.test_page_protocols import deletes

EXAMPLE = ROOT / "examples" / "ai_sdk_page"


@pytest.fixture
async def page(broker: Broker, npm_with: Callable[..., Path], tmp_path: Path) -> AsyncIterator[Page]:
    installed = await asyncio.to_thread(npm_with, *NPM["ai page"])
    folder = tmp_path / "page"
    shutil.copytree(EXAMPLE, folder)
    (folder / "node_modules").symlink_to(installed / "node_modules")
    port = free_port()
    async with serve(broker, Settings(port=0), agent=deletes) as site:
        vite = await asyncio.create_subprocess_exec(
            installed / "node_modules/.bin/vite", "--host", "127.0.0.1", "--port", str(port), "--strictPort",
            cwd=folder, env={**os.environ, "NOTIFIER_URL": site.url, "NO_COLOR": "1"},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            await line_of(vite.stdout, "Local:")
            async with async_playwright() as playwright:
                try:
                    browser = await launched(playwright, "chromium")
                except CannotDrive as error:
                    pytest.skip(str(error))
                yield await browser.new_page(base_url=f"http://127.0.0.1:{port}")
                await browser.close()
        finally:
            vite.kill()
            await vite.wait()


async def send(page: Page, text: str) -> None:
    await page.get_by_label("Message").fill(text)
    await page.get_by_label("Message").press("Enter")


async def test_person_answers_in_the_page_and_after_a_reload(page: Page) -> None:
    await page.goto("/")
    await send(page, "a.txt")
    await page.get_by_role("button", name="Approve").click()
    await expect(page.get_by_text("Done: a.txt")).to_be_visible()

    await send(page, "b.txt")
    await expect(page.get_by_role("button", name="Reject")).to_be_visible()
    await page.reload()
    page.once("dialog", lambda dialog: asyncio.ensure_future(dialog.accept("not now")))
    await page.get_by_role("button", name="Reject").click()
    await expect(page.get_by_text("delete did not run: rejected by local: not now")).to_be_visible()
    await expect(page.get_by_text("delete: output-denied")).to_be_visible()
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_page_that_holds_the_stream_shows_the_answer_from_another_screen(page: Page, broker: Broker) -> None:
    await page.goto("/?hold")
    await send(page, "a.txt")
    await expect(page.get_by_text("delete: approval-requested")).to_be_visible()
    request = broker.open("page").desk.pending[0]
    broker.decide("page", Decision(request_id=request.request_id, approved=False, reason="no"), decided_by="ada")

    await expect(page.get_by_text("delete: output-denied")).to_be_visible()
    await expect(page.get_by_text("no", exact=True)).to_be_visible()
