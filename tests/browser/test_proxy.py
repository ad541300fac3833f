"""Through nginx: one that holds the stream back, and one that does as it is asked."""

from __future__ import annotations

import asyncio

from playwright.async_api import expect

from notifier_service.web import Site
from tests.browser.conftest import ProxyBefore
from tests.browser.console import Console
from tests.browser.person import Person
from tests.raw_stream import RawStream

STREAM = "/agent_backend/api/sse/events/s1"


async def test_proxy_that_holds_back_gives_nothing_while_the_service_sends(
    site: Site, proxy_before: ProxyBefore
) -> None:
    url = await proxy_before(site.port, holding_back=True)
    direct = await RawStream.open(site.port, STREAM)
    held_back = await RawStream.open(int(url.rpartition(":")[2]), STREAM, http="1.1")
    anything = asyncio.create_task(held_back.reader.read(1))

    await direct.until("heartbeat")
    await direct.until("heartbeat")

    assert site.broker.get("s1").viewer_count == 2
    assert not anything.done()
    anything.cancel()
    await direct.closed()
    await held_back.closed()


async def test_console_goes_on_over_long_poll_when_a_proxy_holds_the_stream_back(
    person: Person, site: Site, proxy_before: ProxyBefore
) -> None:
    url = await proxy_before(site.port, holding_back=True)
    before = site.broker.ask("s1", tool_name="before", parameters={}, risk_level="medium")

    console = await Console.at(person, url)

    await expect(console.connection).to_have_attribute("data-transport", "long-poll")
    await console.shows(before)
    later = site.broker.ask("s1", tool_name="later", parameters={}, risk_level="medium")
    await console.shows(before, later)
    await console.press(await console.turn_to(later), "approve")
    assert (await later.decision()).approved is True
    await console.shows(before)


async def test_console_uses_the_stream_through_a_proxy_that_does_as_it_is_asked(
    person: Person, site: Site, proxy_before: ProxyBefore
) -> None:
    url = await proxy_before(site.port, holding_back=False)

    console = await Console.at(person, url)

    await expect(console.connection).to_have_attribute("data-transport", "sse")
    request = site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="medium")
    await console.shows(request)
    assert [url for _, url in person.requested if "/long-poll/" in url] == []
