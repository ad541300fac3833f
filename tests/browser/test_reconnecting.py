"""What waits is never lost: by a reload, a restart of the service, or a network that goes away."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import ClientSession
from playwright.async_api import expect

from notifier_service.web import Site
from tests.browser.conftest import CableTo, SitDown
from tests.browser.console import Console
from tests.browser.engines import BOTH
from tests.browser.person import NETWORK_IS_AWAY, Person
from tests.cli.processes import Commands, free_port, line_of


@BOTH
async def test_reload_shows_a_pending_request_again(person: Person, site: Site) -> None:
    console = await Console.at(person, site.url)
    request = site.broker.ask("s1", tool_name="deploy", parameters={"to": "production"}, risk_level="medium")
    await console.shows(request)

    await console.page.reload()

    await console.shows(request)
    await console.press(console.card(request), "approve")
    assert (await request.decision()).approved is True


@BOTH
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_page_comes_back_by_itself_after_a_restart_and_says_so(
    person: Person, commands: Commands, how: signal.Signals
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    person.may_say(NETWORK_IS_AWAY)
    person.may_say("404 .*/api/permissions/")  # it asks what became of the request that is not there any more
    first = await commands.start("serve", "--port", str(port), "--log-level", "warning")
    await line_of(first.stdout, "is ready")
    console = await Console.at(person, url)
    forgotten = await _ask(url, "before")
    await expect(console.card(forgotten)).to_be_visible()

    first.send_signal(how)
    await first.wait()
    await console.is_not_live()
    second = await commands.start("serve", "--port", str(port), "--log-level", "warning")
    await line_of(second.stdout, "is ready")

    await console.is_live()
    await expect(console.page.locator("[data-notice=restarted]")).to_be_visible()
    await expect(console.timeline.locator("li[data-kind=restart]")).to_have_count(1)
    await expect(console.card(forgotten)).to_have_count(0)  # the service denied it when it ended
    request_id = await _ask(url, "after")
    await expect(console.card(request_id)).to_be_visible()
    await console.press(console.card(request_id), "approve")
    assert await _decision(url, request_id) is True


@BOTH
async def test_nothing_that_happened_while_the_network_was_away_is_missed(
    person: Person, site: Site, cable_to: CableTo
) -> None:
    person.may_say(NETWORK_IS_AWAY)
    cable = await cable_to(site.port)
    console = await Console.at(person, cable.url)
    site.broker.publish_nowait("s1", "step", {"text": "step 0."})
    await expect(console.events("step")).to_have_count(1)

    await person.context.set_offline(True)
    cable.pull()
    await console.is_not_live()
    for step in range(1, 51):
        site.broker.publish_nowait("s1", "step", {"text": f"step {step}."})
    request = site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="medium")
    await cable.plug()
    await person.context.set_offline(False)

    await console.shows(request)
    await console.shows_steps(51)
    await console.is_live()


async def test_stream_that_falls_silent_is_noticed_and_nothing_is_missed(
    person: Person, site: Site, cable_to: CableTo
) -> None:
    person.may_say(NETWORK_IS_AWAY)
    cable = await cable_to(site.port)
    console = await Console.at(person, cable.url)

    cable.hold()
    request = site.broker.ask("s1", tool_name="deploy", parameters={}, risk_level="medium")
    await expect(console.connection).not_to_have_attribute("data-connection", "open", timeout=30_000)
    await cable.plug()

    await console.shows(request)
    await console.is_live()


async def test_button_reconnects_at_once(person: Person, commands: Commands) -> None:
    port = free_port()
    person.may_say(NETWORK_IS_AWAY)
    first = await commands.start("serve", "--port", str(port), "--log-level", "warning")
    await line_of(first.stdout, "is ready")
    await person.context.clock.install()
    console = await Console.at(person, f"http://127.0.0.1:{port}")
    first.kill()
    await first.wait()
    await console.is_not_live()
    # From now on no timer of the page fires: it cannot come back by itself before the click.
    await person.context.clock.pause_at(datetime.now(UTC) + timedelta(minutes=1))
    second = await commands.start("serve", "--port", str(port), "--log-level", "warning")
    await line_of(second.stdout, "is ready")

    async with console.page.expect_request("**/api/sse/events/**"):
        await console.page.locator("[data-action=reconnect]").click()
    await person.context.clock.resume()

    await console.is_live()


@pytest.mark.parametrize("has_journal", [True, False])
async def test_what_waits_in_the_inbox_is_what_still_waits_after_a_restart(
    person: Person, commands: Commands, tmp_path: Path, has_journal: bool
) -> None:
    person.may_say(NETWORK_IS_AWAY)
    port = free_port()
    serve = ["serve", "--port", str(port), "--log-level", "warning"]
    serve += ["--journal", str(tmp_path / "journal")] if has_journal else []
    first = await commands.start(*serve)
    await line_of(first.stdout, "is ready")
    url = f"http://127.0.0.1:{port}"
    request_id = await _ask(url, "before")
    console = await Console.at_inbox(person, url)
    await expect(console.card(request_id)).to_be_visible()

    first.kill()
    await first.wait()
    await console.is_not_live()
    await console.page.keyboard.press("a")  # nobody is there to take it
    second = await commands.start(*serve)
    await line_of(second.stdout, "is ready")
    await console.is_live()

    if has_journal:
        await console.press(console.card(request_id), "approve")
        assert await _decision(url, request_id) is True
    else:
        await expect(console.card(request_id)).to_have_count(0)
        await expect(console.page.locator("#cards")).to_contain_text("Nothing waits for you.")


async def test_phone_that_slept_for_an_hour_shows_what_waits_now_and_has_decided_nothing(
    sit_down: SitDown, site: Site
) -> None:
    person = await sit_down(viewport={"width": 390, "height": 844})
    person.may_say(NETWORK_IS_AWAY)
    await person.context.clock.install()
    missed = site.broker.ask("s1", tool_name="missed", parameters={}, risk_level="medium", timeout_seconds=3)
    console = await Console.at_inbox(person, site.url)
    await expect(console.card(missed)).to_be_visible()

    await person.context.set_offline(True)
    await console.is_not_live()
    assert (await missed.decision()).status == "expired"
    later = site.broker.ask("s1", tool_name="later", parameters={}, risk_level="medium", timeout_seconds=0)
    await person.context.clock.fast_forward(3_600_000)
    await console.page.keyboard.press("a")  # on what was there when it fell asleep
    await person.context.set_offline(False)

    await console.is_live()
    await console.waits(1)
    await expect(console.card(later)).to_be_visible()
    assert later.pending
    assert person.sent("permission-response/s1") <= 1


async def _ask(url: str, tool_name: str) -> str:
    async with (
        ClientSession() as http,
        http.post(
            f"{url}/agent_backend/api/permissions/s1",
            json={"tool_name": tool_name, "parameters": {}, "risk_level": "medium"},
        ) as response,
    ):
        return str((await response.json())["data"]["request_id"])


async def _decision(url: str, request_id: str) -> bool:
    async with (
        ClientSession() as http,
        http.get(f"{url}/agent_backend/api/permissions/s1/{request_id}?wait=10") as response,
    ):
        return bool((await response.json())["data"]["approved"])
