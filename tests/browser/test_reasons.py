"""Why something is asked, and what the call does, in the language of the person."""

from __future__ import annotations

from typing import Any

from playwright.async_api import expect

from notifier_service.core.policy.reasons import Reason
from notifier_service.web import Site
from tests.browser.conftest import SitDown
from tests.browser.console import Console
from tests.browser.person import Person

DELETES: dict[str, Any] = {
    "tool_name": "delete_files", "parameters": {"paths": ["/srv/app/a", "/etc/\u202eb"]}, "workspace": "/srv/app",
    "risk_reasons": [Reason("name_disagrees", deed="deletes"), Reason.by_asker("the server says that it only reads"),
                     "in a program's words"],
}  # fmt: skip


async def test_card_says_what_the_call_does(person: Person, site: Site) -> None:
    request = site.broker.ask("s1", **DELETES)
    card = (await Console.at(person, site.url)).card(request)

    await expect(card.locator("[data-role=deeds]")).to_have_text(
        "What it does: deletes, in the workspace, in the system's folders: /srv/app/a, /etc/\\u202eb "
        "This cannot be taken back."
    )
    await expect(card).to_contain_text(
        "by its name it deletes; the asker says: the server says that it only reads; in a"
    )


async def test_reasons_are_said_in_the_language_of_the_person(sit_down: SitDown, site: Site) -> None:
    request = site.broker.ask("s1", **DELETES)
    card = (await Console.at(await sit_down(locale="zh-CN"), site.url)).card(request)

    await expect(card.locator("[data-role=deeds]")).to_contain_text("删除、在工作区内、在系统目录中：/srv/app/a")
    await expect(card).to_contain_text("但从名称看，它会删除")
    await expect(card).to_contain_text("提问方称：服务器称它只读取")
    await expect(card).to_contain_text("in a program's words")


async def test_card_says_which_commands_run_and_what_of_them_nobody_can_tell(sit_down: SitDown, site: Site) -> None:
    command = "timeout 5 rm 'a\u00e9 b'; ls; sudo x"
    request = site.broker.ask("s1", tool_name="Bash", parameters={"command": command})
    card = (await Console.at(await sit_down(), site.url)).card(request)
    in_chinese = (await Console.at(await sit_down(locale="zh-CN"), site.url)).card(request)

    lines = card.locator("[data-role=command] li")
    await expect(lines).to_have_text(["timeout 5 rm 'a\u00e9 b'", "→ rm 'a\u00e9 b'", "ls", "sudo x"])
    await expect(lines.locator("b")).to_have_text(["timeout", "rm", "ls", "sudo"])
    await expect(card.locator("[data-role=command] .warning")).to_have_text(
        "Nobody but a shell can tell what it runs: sudo runs what it is given"
    )
    await expect(in_chinese.locator("[data-role=command] .warning")).to_have_text(
        "无法预知运行什么：sudo 会运行交给它的内容"
    )
