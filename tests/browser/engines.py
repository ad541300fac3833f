"""The browsers that the tests drive: which are here, and which of those can be driven.

``python -m tests.browser.engines chromium`` says in a line, if it cannot, what is left out, and what would help.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from playwright.async_api import Browser, Error, Playwright, async_playwright

__all__ = ["BOTH", "CannotDrive", "launched"]

#: For what browsers do each in their own way. Firefox takes a second to open a page.
BOTH = pytest.mark.parametrize("engine", ["chromium", pytest.param("firefox", marks=pytest.mark.integration)])

_PROGRAMS = {"chromium": "chromium", "firefox": "firefox-esr"}

_CHROMIUM_ARGUMENTS = (
    "--no-sandbox",  # does not start as root otherwise, as in a container
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)

#: A browser that is started and says nothing for so long does not work.
_START_SECONDS = 60


class CannotDrive(Exception):
    """This browser is not here, or what is here cannot be driven; the text says why, and what would help."""


async def launched(playwright: Playwright, engine: str) -> Browser:
    """Start a browser, and see that it opens a page. Raises ``CannotDrive``."""
    program = _PROGRAMS[engine]
    path = shutil.which(program)
    if path is None:
        raise CannotDrive(f"{program} is not installed: scripts/programs tells how")
    try:
        async with asyncio.timeout(_START_SECONDS):
            browser = await _launch(playwright, engine, path)
            await _open_a_page(browser)
    except (Error, TimeoutError) as error:
        why = str(error).strip().partition("\n")[0] or f"it did not start within {_START_SECONDS} s"
        raise CannotDrive(
            f"{await _version(path)} cannot be driven by this Playwright ({why}); another version of either helps"
        ) from error
    return browser


async def _launch(playwright: Playwright, engine: str, path: str) -> Browser:
    if engine == "chromium":
        return await playwright.chromium.launch(executable_path=path, args=_CHROMIUM_ARGUMENTS)
    # Debian's own Firefox, over WebDriver BiDi; a patched one would have to be downloaded.
    folder, searched = os.path.dirname(sys.executable), os.environ.get("PATH", "")
    return await playwright.firefox.launch(
        channel="moz-firefox",
        executable_path=Path(__file__).with_name("older_firefox.py"),
        env={**os.environ, "PATH": f"{folder}{os.pathsep}{searched}", "FIREFOX": path},
    )


async def _open_a_page(browser: Browser) -> None:
    """What every test needs first: some versions start, and fail then."""
    try:
        page = await browser.new_page()
        await page.goto("data:text/html,<title>here</title>")
        await page.close()
    except BaseException:
        await browser.close()
        raise


async def _version(path: str) -> str:
    told = await asyncio.create_subprocess_exec(
        path, "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    return (await told.communicate())[0].decode(errors="replace").strip() or path


async def _main(engines: Sequence[str]) -> None:
    async with async_playwright() as playwright:
        for engine in engines:
            try:
                await (await launched(playwright, engine)).close()
            except CannotDrive as why:
                print(f"left out: the tests of the console in {engine}: {why}", file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
