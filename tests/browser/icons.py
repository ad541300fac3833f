"""The icons of the page that is installed, drawn of ``icon.svg``: ``python -m tests.browser.icons``."""

from __future__ import annotations

import asyncio
from pathlib import Path

from playwright.async_api import async_playwright

import notifier_service
from tests.browser.engines import launched

CONSOLE = Path(notifier_service.__file__).parent / "web" / "console"

#: What they are called, how large they are, and what of the drawing is another there: systems cut the corners of some
#: themselves, and of a badge they take the shape alone.
ICONS = {
    "icon-192": (192, ("", "")),
    "icon-512": (512, ("", "")),
    "icon-maskable": (512, (' rx="8"', "")),
    "icon-apple": (180, (' rx="8"', "")),
    "icon-badge": (96, ('<rect width="32" height="32" rx="8" fill="#1f4fbf"/>', "")),
}


async def main() -> None:
    drawing = (CONSOLE / "icon.svg").read_text()
    async with async_playwright() as playwright:
        browser = await launched(playwright, "chromium")
        for name, (size, (part, other)) in ICONS.items():
            page = await browser.new_page(viewport={"width": size, "height": size})
            drawn = drawing.replace(part, other) if part else drawing
            await page.set_content(f"<style>*{{margin:0;display:block}}svg{{width:{size}px}}</style>{drawn}")
            await page.screenshot(path=CONSOLE / f"{name}.png", omit_background=True)
            await page.close()
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
