"""Many tabs of one browser: one stream, and all of them live."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Error, expect

from notifier_service.web import Site
from tests.browser.conftest import PATIENCE_SECONDS, CableTo, Serving
from tests.browser.console import Console
from tests.browser.engines import BOTH
from tests.browser.person import NETWORK_IS_AWAY, Person

pytestmark = pytest.mark.integration

STANDS_STILL = """(url) => {
    const request = new XMLHttpRequest();
    request.open("GET", url, false);
    request.send();
    return request.status;
}"""


async def tabs(person: Person, url: str, number: int) -> list[Console]:
    return [await Console.at(person, url) for _ in range(number)]


async def leader_of(consoles: list[Console]) -> Console:
    """The tab that holds the stream, as soon as it is one; the others hear through it."""
    async with asyncio.timeout(2 * PATIENCE_SECONDS):
        while True:
            leaders = [console for console in consoles if await console.transport() == "sse"]
            if len(leaders) == 1:
                return leaders[0]
            await asyncio.sleep(0.05)  # tabs agree among themselves: only looking at all of them tells


async def show_all(consoles: list[Console], number: int) -> None:
    """Wait until each of these tabs shows every step."""
    for console in consoles:
        await console.shows_steps(number)


def publish(site: Site, steps: range) -> None:
    for step in steps:
        site.broker.publish_nowait("s1", "step", {"text": f"step {step}."})


@BOTH
async def test_request_that_one_tab_decides_closes_in_the_other(person: Person, site: Site) -> None:
    one, other = await tabs(person, site.url, 2)
    request = site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="medium")
    await one.shows(request)
    await other.shows(request)

    await one.press(one.card(request), "approve")

    await expect(other.cards).to_have_count(0)
    assert (await request.decision()).approved is True


async def test_ten_tabs_are_live_over_one_stream(person: Person, site: Site) -> None:
    consoles = await tabs(person, site.url, 10)

    request = site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="medium")
    for console in consoles:
        await console.shows(request)
        await console.is_live()

    assert site.broker.get("s1").viewer_count == 1
    await consoles[7].page.bring_to_front()
    await consoles[7].press(consoles[7].card(request), "reject")
    await consoles[7].press(consoles[7].card(request), "send-reject")
    for console in consoles:
        await expect(console.cards).to_have_count(0)
    assert (await request.decision()).approved is False


@BOTH
async def test_another_tab_takes_over_when_the_leading_one_is_closed(person: Person, site: Site) -> None:
    consoles = await tabs(person, site.url, 3)
    publish(site, range(10))
    await show_all(consoles, 10)
    leader = await leader_of(consoles)
    consoles.remove(leader)

    publish(site, range(10, 20))
    await leader.page.close()
    publish(site, range(20, 30))

    await show_all(consoles, 30)
    await leader_of(consoles)
    publish(site, range(30, 31))
    await show_all(consoles, 31)
    assert site.broker.get("s1").viewer_count == 1


async def test_another_tab_takes_over_when_the_leading_one_crashes(person: Person, site: Site) -> None:
    person.may_say("Page crashed")
    consoles = await tabs(person, site.url, 3)
    publish(site, range(10))
    await show_all(consoles, 10)
    leader = await leader_of(consoles)
    consoles.remove(leader)

    crashed = asyncio.create_task(leader.page.wait_for_event("crash"))
    try:
        await leader.page.goto("chrome://crash")
    except Error:
        await crashed
    publish(site, range(10, 20))

    await show_all(consoles, 20)
    await leader_of(consoles)


async def test_another_tab_takes_over_when_the_leading_one_hangs(person: Person, serving: Serving) -> None:
    site = await serving(heartbeat_seconds=0.2)
    consoles = await tabs(person, site.url, 3)
    publish(site, range(10))
    await show_all(consoles, 10)
    leader = await leader_of(consoles)
    others = [console for console in consoles if console is not leader]

    # It waits for an answer and does nothing else, until the others are sure.
    # What the DevTools call frozen stops nothing in a page that is visible.
    hanging = asyncio.create_task(leader.page.evaluate(STANDS_STILL, "/agent_backend/api/long-poll/still?timeout=60"))
    publish(site, range(10, 20))

    await show_all(others, 20)
    successor = await leader_of(others)
    assert not hanging.done()
    site.broker.publish_nowait("still", "note", {})
    assert await hanging == 200
    publish(site, range(20, 21))
    await show_all(consoles, 21)
    assert await leader_of(consoles) is successor


async def test_tabs_come_back_together_when_the_network_does(person: Person, site: Site, cable_to: CableTo) -> None:
    person.may_say(NETWORK_IS_AWAY)
    cable = await cable_to(site.port)
    consoles = await tabs(person, cable.url, 3)
    publish(site, range(5))
    await show_all(consoles, 5)

    await person.context.set_offline(True)
    cable.pull()
    for console in consoles:
        await console.is_not_live()
    publish(site, range(5, 10))
    await cable.plug()
    await person.context.set_offline(False)

    await show_all(consoles, 10)
    for console in consoles:
        await console.is_live()
    assert site.broker.get("s1").viewer_count == 1


async def test_two_sessions_in_two_tabs_are_kept_apart(person: Person, site: Site) -> None:
    one, other = await Console.at(person, site.url, "s1"), await Console.at(person, site.url, "s2")
    request = site.broker.ask("s2", tool_name="deploy", parameters={}, risk_level="medium")

    await other.shows(request)
    await expect(one.cards).to_have_count(0)
