"""A person at a browser: some tabs, and everything that went wrong in any of them."""

from __future__ import annotations

import re
from typing import Any

from playwright.async_api import BrowserContext, ConsoleMessage, Dialog, Page, Request, WebError

__all__ = ["NETWORK_IS_AWAY", "Person"]

#: What browsers write to the console when a request finds nobody: said by a page whose service is down.
NETWORK_IS_AWAY = (
    r"Failed to load resource: net::|net::ERR_|NetworkError|can’t establish a connection|when fetching the script"
)

#: What Firefox says where the others are silent: of Playwright's own script in the page, which it holds to the page's
#: policy, and of a stream that ends because the person goes elsewhere.
_FIREFOX_SAYS = (
    r"CSP: script-src blocked eval |blocked a JavaScript eval \(script-src\)",
    r"was interrupted while the page was loading",
)

#: Runs before anything of the page. A violation of the content security policy is an error like every other.
_TELL_VIOLATIONS = """
addEventListener("securitypolicyviolation", (violation) => {
  console.error(`CSP: ${violation.effectiveDirective} blocked ${violation.blockedURI} ${violation.sample}`);
});
"""


class Person:
    """A browser context of its own, as another person has one: nothing is shared but the service.

    Whatever a page throws, writes to the console as an error, loads against its policy, or asks in a dialog is a
    problem, and fails the test when it ends, unless the test said before that it ``may_say`` so.
    """

    def __init__(self, context: BrowserContext, engine: str) -> None:
        self.context = context
        #: chromium or firefox.
        self.engine = engine
        self.problems: list[str] = []
        #: Method and URL of every request, in the order in which they were made.
        self.requested: list[tuple[str, str]] = []
        self._allowed: list[str] = list(_FIREFOX_SAYS if engine == "firefox" else ())
        context.on("console", self._console)
        context.on("weberror", self._threw)
        context.on("dialog", self._dialog)
        context.on("request", self._request)

    @classmethod
    async def at(cls, browser: Any, **options: Any) -> Person:
        """A person who sits down at this browser; ``options`` are those of a browser context."""
        context = await browser.new_context(**options)
        await context.add_init_script(_TELL_VIOLATIONS)
        return cls(context, browser.browser_type.name)

    async def open(self, url: str) -> Page:
        """Open a tab."""
        page = await self.context.new_page()
        await page.goto(url)
        return page

    def sent(self, path: str) -> int:
        """How many requests were posted to a path that contains this."""
        return sum(method == "POST" and path in url for method, url in self.requested)

    def may_say(self, pattern: str) -> None:
        """Allow problems that contain this, from now on and before."""
        self._allowed.append(pattern)

    async def leave(self) -> None:
        """Close all tabs; fails if there was a problem in one of them."""
        await self.context.close()
        allowed = re.compile("|".join(self._allowed) or r"(?!)")
        if problems := [problem for problem in self.problems if not allowed.search(problem)]:
            raise AssertionError("\n".join(problems))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _threw(self, error: WebError) -> None:
        self.problems.append(f"thrown: {error.error}")

    async def _dialog(self, dialog: Dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _request(self, request: Request) -> None:
        self.requested.append((request.method, request.url))
