"""A desk, a phone and a terminal before the same requests: each shows what others did, and nothing is asked twice."""

from __future__ import annotations

from playwright.async_api import expect

from notifier_service.web import Site
from tests.browser.conftest import SitDown
from tests.browser.console import Console
from tests.cli.processes import Commands
from tests.cli.terminals import Terminal

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
TOOLS = ("read_report", "write_report", "send_report")


async def test_two_of_three_are_answered_on_the_phone_and_every_face_is_right(
    sit_down: SitDown, site: Site, commands: Commands
) -> None:
    terminal = Terminal()
    try:
        await terminal.start(commands, NOTIFIER_URL=f"{site.url}/agent_backend")
        desk = await Console.at_inbox(await sit_down(), site.url)
        phone = await Console.at_inbox(await sit_down(**PHONE), site.url)
        first, second, third = [
            site.broker.ask("s", tool_name=tool, parameters={"path": f"{tool}.csv"}, risk_level="medium")
            for tool in TOOLS
        ]
        await desk.shows(first, second, third)
        await terminal.until("New: send_report. 3 wait")

        for request, steps, said in (
            (first, ("approve",), "approved"),
            (second, ("reject", "send-reject"), "rejected"),
        ):
            card = phone.card(request)
            for step in steps:
                await phone.listens(card)
                await card.locator(f"[data-action={step}]").tap()
            await terminal.until(f"{request.record.tool_name} {said} by local")
            await expect(desk.row(request).and_(desk.queue)).to_have_count(0)
            await desk.waits(2 if request is first else 1)

        await expect(phone.card(third)).to_be_visible()
        await expect(desk.card(third)).to_be_visible()
        await expect(phone.page).to_have_title("(1) notifier_service")
        await terminal.until("send_report")
        assert [(await request.decision()).approved for request in (first, second)] == [True, False]
        assert third.pending
        # Nobody was asked again of what was decided, and nothing was decided but on the phone.
        assert [terminal.shown.count(f"│ path: {tool}.csv") for tool in TOOLS] == [1, 1, 1]
        assert (phone.person.sent("permission"), desk.person.sent("permission")) == (2, 0)
    finally:
        await commands.stop_all()
        await terminal.close()
