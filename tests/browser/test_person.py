"""A problem in a page fails the test: what every other test here relies on."""

from __future__ import annotations

import pytest
from playwright.async_api import Route

from tests.browser.conftest import Browsers
from tests.browser.engines import BOTH
from tests.browser.person import NETWORK_IS_AWAY, Person

PAGE = "http://page.test/"


async def show(browsers: Browsers, engine: str, body: str) -> Person:
    """A person before a page with this body, whose policy lets no script of its own run."""

    async def answer(route: Route) -> None:
        policy = {"Content-Security-Policy": "script-src 'none'"}
        await route.fulfill(body=f"<title>t</title><body>{body}", content_type="text/html", headers=policy)

    person = await Person.at(await browsers.get(engine))
    await person.context.route(PAGE, answer)
    await person.open(PAGE)
    return person


@BOTH
async def test_page_without_problems_passes(browsers: Browsers, engine: str) -> None:
    person = await show(browsers, engine, "<p>hello</p>")

    await person.leave()

    assert person.requested[0] == ("GET", PAGE)


@BOTH
async def test_violation_of_the_policy_is_a_problem(browsers: Browsers, engine: str) -> None:
    person = await show(browsers, engine, "<script>1</script>")

    with pytest.raises(AssertionError, match="CSP: script-src-elem blocked inline"):
        await person.leave()


@BOTH
@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("setTimeout(() => { throw new Error('boo') }, 0)", "thrown: .*boo"),
        ("console.error('boo')", "console: boo"),
        ("setTimeout(() => alert('boo'), 0)", "dialog: boo"),
    ],
)
async def test_trouble_in_a_page_is_a_problem(browsers: Browsers, engine: str, trouble: str, told: str) -> None:
    person = await show(browsers, engine, "<p>hello</p>")
    [page] = person.context.pages
    await page.evaluate(trouble)
    await page.evaluate("new Promise((resolve) => setTimeout(resolve, 0))")  # after the trouble

    with pytest.raises(AssertionError, match=told):
        await person.leave()


@BOTH
async def test_problem_that_was_expected_passes(browsers: Browsers, engine: str) -> None:
    person = await show(browsers, engine, "<p>hello</p>")
    person.may_say(NETWORK_IS_AWAY)
    [page] = person.context.pages

    await page.evaluate("fetch('http://127.0.0.1:1/').catch(() => null)")

    await person.leave()
