"""The real Claude Code asks a person: offline, against a stand-in of the API that it talks to."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import async_playwright

from notifier_service.cli import main
from notifier_service.core.permission_request import PermissionRequest
from tests.browser.engines import CannotDrive, launched
from tests.mcp.http_stub import HttpStub
from tests.mcp.http_wiring import on_a_port

from .claude_code import ALL_HOOKS, CHANNELS, Begin, Person, approve, bash, each, edit, no_service, nothing, reject


def edit_text(card: PermissionRequest) -> dict[str, Any]:
    return {"approved": True, "parameters": {"text": "y"}}


@pytest.mark.parametrize("channel", CHANNELS)
async def test_calls_run_as_a_person_decides(begin: Begin, channel: str) -> None:
    calls = [bash(f"touch {name}", name) for name in ("approved", "changed", "rejected")]
    run = await begin(*calls, apart=True)
    CHANNELS[channel](run)
    await run.ends(each(approve, edit, reject))

    commands = [card.record.parameters["command"] for card in run.cards]
    assert run.files == ["approved", "edited"]
    assert {name: is_error for name, (_, is_error) in run.api.results.items()} == {
        "approved": False,
        "changed": False,
        "rejected": True,
    }
    assert run.api.results["rejected"][0].endswith("Bash did not run: rejected by anna: not on a Sunday")
    assert commands == ["touch approved", "touch edited", "touch rejected"]


async def test_settings_that_the_command_prints_work(begin: Begin, capsys: pytest.CaptureFixture[str]) -> None:
    run = await begin(bash("touch approved", "approved"), bash("touch rejected", "rejected"), apart=True)
    main(["hook", "--print-config", "--session", "s1", "--url", f"{run.site.url}/agent_backend"])
    run.flags += ["--settings", capsys.readouterr().out]
    events = await run.ends(each(approve, reject))

    ends = {
        event["data"]["tool_call_id"]: event["data"]["status"] for event in events if event["type"] == "tool_status"
    }
    assert run.files == ["approved"]
    assert ends == {"approved": "completed", "rejected": "denied"}


async def test_life_of_a_call_is_told_from_asking_to_its_result(begin: Begin) -> None:
    run = await begin(bash("mkfifo first && echo hello"))
    run.with_hooks(*ALL_HOOKS)
    events = await run.ends(approve)

    assert [(event["type"], event["data"].get("status")) for event in events] == [
        ("tool_status", "waiting_permission"),
        ("permission_request", "pending"),
        ("permission_response_result", "approved"),
        ("permission_cleared", "approved"),
        ("tool_status", "executing"),
        ("tool_result", None),
        ("tool_status", "completed"),
    ]
    assert events[-2]["data"]["result"]["stdout"] == "hello"
    calls = {event["data"]["tool_call_id"] for event in events if event["type"].startswith("tool_")}
    assert calls == {"toolu_1"}


async def test_failure_of_a_call_is_told(begin: Begin) -> None:
    run = await begin(bash("exit 3"))
    run.with_hooks(*ALL_HOOKS)
    events = await run.ends(approve)

    assert events[-1]["data"]["status"] == "failed"
    assert events[-2]["data"]["success"] is False


@pytest.mark.parametrize("hooks", [("PermissionRequest",), ALL_HOOKS], ids=["permission hook", "all hooks"])
async def test_call_over_hook_and_prompt_tool_is_one_card(begin: Begin, hooks: tuple[str, ...]) -> None:
    run = await begin(bash("touch approved"), bash("touch rejected", "toolu_2"), apart=True)
    run.with_prompt_tool()
    run.with_hooks(*hooks)
    await run.ends(each(approve, reject))

    assert [card.record.parameters["command"] for card in run.cards] == ["touch approved", "touch rejected"]
    assert run.files == ["approved"]


async def test_of_two_calls_just_alike_one_approval_runs_one(begin: Begin) -> None:
    read = {"name": "Read", "input": {"file_path": "/etc/hostname"}}
    run = await begin({"id": "toolu_1", **read}, {"id": "toolu_2", **read})
    run.with_prompt_tool()
    run.with_hooks("PermissionRequest")
    answers = iter([{"approved": True}, {"approved": False}])
    await run.ends(lambda card: next(answers))

    assert len(run.cards) == 2
    assert sorted(is_error for _, is_error in run.api.results.values()) == [False, True]


@pytest.mark.parametrize("channel", ["prompt tool", "permission hook"])
async def test_approval_for_the_session_is_asked_once(begin: Begin, channel: str) -> None:
    run = await begin(bash("mkfifo first"), bash("mkfifo second", "toolu_2"))
    CHANNELS[channel](run)
    await run.ends(lambda card: {"approved": True, "scope": "session"})

    assert len(run.cards) == 1
    assert run.files == ["first", "second"]


async def test_person_who_takes_longer_than_an_answer_may_is_waited_for(begin: Begin) -> None:
    run = await begin(bash("touch asked"), heartbeat_seconds=0.1)  # the answer is a stream, with progress, before that
    run.with_prompt_tool()
    await run.ends(approve)

    assert run.files == ["asked"]


@pytest.mark.parametrize("token", ["agent-secret", "wrong"])
@pytest.mark.parametrize("channel", ["prompt tool", "printed settings"])
async def test_agent_asks_with_a_token_of_its_own(
    begin: Begin, tmp_path: Path, capsys: pytest.CaptureFixture[str], token: str, channel: str
) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text('[{"token": "agent-secret", "rights": ["produce"], "sessions": ["s1"]}]')
    run = await begin(bash("touch asked"), auth="tokens", tokens_file=tokens)
    run.environment["NOTIFIER_TOKEN"] = token
    if channel == "prompt tool":
        run.with_prompt_tool(headers={"Authorization": "Bearer ${NOTIFIER_TOKEN}"})
        if token == "wrong":  # Claude Code does not start without its prompt tool
            run.exit_code = 1
    else:
        main(["hook", "--print-config", "--session", "s1", "--url", f"{run.site.url}/agent_backend"])
        run.flags += ["--settings", capsys.readouterr().out]
    await run.ends(approve)

    assert run.files == (["asked"] if token == "agent-secret" else [])


async def test_question_is_answered_by_a_person(begin: Begin) -> None:
    question = {"question": "Which branch?", "choices": ["main", "dev"]}
    run = await begin({"id": "toolu_1", "name": "mcp__gate__ask_human", "input": question})
    run.with_prompt_tool()
    run.flags += ["--allowedTools", "mcp__gate__ask_human"]
    await run.ends(lambda card: {"approved": False, "response": "dev"})

    assert run.api.results["toolu_1"] == ("dev", False)


_BRANCH = {
    "question": "Which branch?",
    "header": "Branch",
    "options": [{"label": "main", "description": "as it is"}, {"label": "dev", "description": "what comes"}],
    "multiSelect": False,
}
_TESTS = {**_BRANCH, "question": "Which tests?", "header": "Tests", "multiSelect": True}
_OWN_WORDS = {"Which branch?": "a new one", "Which tests?": "main, dev"}


@pytest.mark.parametrize("hooks", [(), ("PreToolUse",), ALL_HOOKS], ids=["prompt tool", "hook", "all"])
async def test_questions_of_its_own_are_answered_by_a_person(begin: Begin, hooks: tuple[str, ...]) -> None:
    asked = {"an answer to each": [_BRANCH, _TESTS], "a reply": [_BRANCH], "a rejection": [_BRANCH]}
    calls = [{"id": name, "name": "AskUserQuestion", "input": {"questions": asked[name]}} for name in asked]
    run = await begin(*calls, apart=True)
    run.with_prompt_tool()  # without, Claude Code has no such tool in print mode
    run.with_hooks(*hooks)
    await run.ends(
        each(
            lambda card: {"approved": True, "parameters": {**card.record.parameters, "answers": _OWN_WORDS}},
            lambda card: {"approved": False, "response": "dev"},
            reject,
        )
    )

    told = run.api.results
    assert len(run.cards) == 3
    assert '"Which branch?"="a new one", "Which tests?"="main, dev"' in told["an answer to each"][0]
    assert '"Which branch?"="dev"' in told["a reply"][0]
    assert "AskUserQuestion did not run: rejected by anna: not on a Sunday" in told["a rejection"][0]
    assert [told[name][1] for name in asked] == [False, False, True]


async def test_option_that_is_chosen_in_the_console_reaches_the_agent(begin: Begin) -> None:
    run = await begin({"id": "toolu_1", "name": "AskUserQuestion", "input": {"questions": [_BRANCH, _TESTS]}})
    run.with_prompt_tool()
    run.with_hooks(*ALL_HOOKS)
    async with async_playwright() as playwright:
        try:
            browser = await launched(playwright, "chromium")
        except CannotDrive as error:
            pytest.skip(str(error))
        page = await browser.new_page()
        await page.goto(f"{run.site.url}/agent_backend/#/session/s1")

        async def choose() -> None:
            card = page.locator("article[data-state=open][data-ready]")
            await card.get_by_role("radio", name="dev").check()
            for name in ("main", "dev"):
                await card.get_by_role("checkbox", name=name).check()
            await card.locator("[data-action=answer]").click()

        choosing = asyncio.create_task(choose())
        await run.ends(nothing)
        await choosing
        await browser.close()

    assert len(run.cards) == 1
    result, is_error = run.api.results["toolu_1"]
    assert '"Which branch?"="dev", "Which tests?"="main, dev"' in result
    assert not is_error


@pytest.mark.parametrize("hooks", ["http", "command"])
async def test_questions_of_an_mcp_server_are_answered_by_a_person(begin: Begin, hooks: str) -> None:
    people: dict[str, tuple[Person, dict[str, Any]]] = {
        "an answer": (
            lambda card: {"approved": True, "parameters": {**card.record.parameters, "content": {"project": "web"}}},
            {"action": "accept", "content": {"project": "web"}},
        ),
        "a rejection": (reject, {"action": "decline"}),
        "nobody": (nothing, {"action": "cancel"}),
    }
    calls = [{"id": name, "name": "mcp__notes__ask", "input": {}} for name in people]
    run = await begin(*calls, apart=True, permission_timeout_seconds=5)
    server = Path(__file__).with_name("notes_server.py")
    run.servers["notes"] = {"type": "stdio", "command": sys.executable, "args": [str(server)]}
    run.flags += ["--allowedTools", "mcp__notes__ask"]
    (run.with_hooks if hooks == "http" else run.with_command_hooks)("Elicitation")
    await run.ends(each(*[person for person, _ in people.values()]))

    assert [(card.record.tool_name, card.record.server) for card in run.cards] == [("Elicitation", "notes")] * 3
    for name, (_, told) in people.items():
        result, is_error = run.api.results[name]
        answer = json.loads(result)
        assert (is_error, {field: answer[field] for field in told}) == (False, told)


_NOT_CHECKED = "Auto mode is unavailable"


@pytest.mark.parametrize("person", [approve, reject], ids=["approve", "reject"])
async def test_call_that_auto_mode_denied_is_tried_again_when_a_person_says_so(begin: Begin, person: Person) -> None:
    page = {"name": "WebFetch", "input": {"url": "http://127.0.0.1:9/", "prompt": "what it says"}}
    run = await begin({"id": "toolu_1", **page}, ask_from_risk="high")  # or it is asked about before
    run.api.turns.append([{"id": "toolu_2", **page}])
    run.with_hooks("PreToolUse", "PermissionDenied")
    run.flags += ["--permission-mode", "auto"]
    await run.ends(person)

    assert [reason.code for card in run.cards for reason in card.record.reasons if reason.code == "agent_denied"]
    assert run.api.results["toolu_1"][0].startswith(_NOT_CHECKED)
    assert run.api.results["toolu_2"][0].startswith(_NOT_CHECKED) is (person is reject)
    assert len(run.cards) == (1 if person is approve else 2)


@pytest.mark.parametrize("event", ["PreToolUse", "PermissionRequest"])
async def test_service_that_is_away_lets_nothing_run(begin: Begin, event: str) -> None:
    run = await begin(bash("touch asked"))
    async with no_service() as url:
        run.with_hooks(event, url=url, onFailure="block")
        run.flags += ["--allowedTools", "Bash"] if event == "PreToolUse" else []
        await run.ends(approve)

    assert (run.files, run.api.results["toolu_1"][1]) == ([], True)


async def test_command_hook_whose_service_is_away_lets_nothing_run(begin: Begin) -> None:
    run = await begin(bash("touch asked"))
    async with no_service() as url:
        run.with_command_hooks("PreToolUse", url=url)
        run.flags += ["--allowedTools", "Bash"]
        await run.ends(approve)

    assert (run.files, run.api.results["toolu_1"][1]) == ([], True)


async def test_server_behind_the_stdio_gateway_is_asked_about(begin: Begin) -> None:
    names = ("approved", "changed", "rejected")
    run = await begin(
        *[{"id": name, "name": "mcp__notes__keep", "input": {"text": name}} for name in names], apart=True
    )
    run.servers["notes"] = _behind_the_gateway(run.site.url)
    run.flags += ["--allowedTools", "mcp__notes__keep"]
    await run.ends(each(approve, edit_text, reject))

    told = run.api.results
    assert [card.record.tool_name for card in run.cards] == ["keep"] * 3
    assert told["approved"][0] == "kept"
    assert told["changed"][0].startswith("kept")  # and that it was changed
    assert told["rejected"][0].startswith("keep did not run: rejected by anna: not on a Sunday")
    assert [told[name][1] for name in names] == [False, False, True]
    assert (run.folder / "work" / "note").read_text() == "approvedy"


def _behind_the_gateway(url: str) -> dict[str, Any]:
    """How Claude Code is told of the server of notes, with the gateway before it."""
    words = ["gateway", "stdio", "--service", f"{url}/agent_backend", "--session", "s1", "--"]
    server = Path(__file__).with_name("notes_server.py")
    return {
        "type": "stdio",
        "command": sys.executable,
        "args": ["-m", "notifier_service", *words, sys.executable, str(server)],
    }


async def test_call_over_hook_and_stdio_gateway_is_one_card(begin: Begin) -> None:
    names = ("approved", "changed", "rejected")
    run = await begin(
        *[{"id": name, "name": "mcp__notes__keep", "input": {"text": name}} for name in names], apart=True
    )
    run.with_hooks(*ALL_HOOKS)
    run.servers["notes"] = _behind_the_gateway(run.site.url)
    await run.ends(each(approve, edit_text, reject))

    assert [card.record.tool_name for card in run.cards] == ["mcp__notes__keep"] * 3
    assert [run.api.results[name][1] for name in names] == [False, False, True]
    assert (run.folder / "work" / "note").read_text() == "approvedy"


async def test_call_over_hook_and_http_gateway_is_one_card(begin: Begin) -> None:
    stub = HttpStub()
    async with on_a_port(stub.app()) as port:
        stub.port = port
        call = {"id": "toolu_1", "name": "mcp__notes__write", "input": {"text": "x"}}
        run = await begin(call, mcp_upstreams={"files": stub.url})
        run.with_hooks(*ALL_HOOKS)
        run.servers["notes"] = {"type": "http", "url": f"{run.site.url}/mcp/gateway/files?session_id=s1"}
        await run.ends(edit_text)

    (card,) = run.cards
    assert card.record.tool_name == "mcp__notes__write"
    told, is_error = run.api.results["toolu_1"]
    assert told.startswith('write ran with {"text": "y"}')
    assert not is_error
    assert len(stub.ran()) == 1


async def test_server_behind_the_http_gateway_is_asked_about(begin: Begin) -> None:
    stub = HttpStub()
    names = ("approved", "changed", "rejected")
    async with on_a_port(stub.app()) as port:
        stub.port = port
        calls = [{"id": name, "name": "mcp__files__write", "input": {"text": name}} for name in names]
        run = await begin(*calls, apart=True, mcp_upstreams={"files": stub.url})
        run.servers["files"] = {"type": "http", "url": f"{run.site.url}/mcp/gateway/files?session_id=s1"}
        run.flags += ["--allowedTools", "mcp__files__write"]
        await run.ends(each(approve, edit_text, reject))

    assert [card.record.tool_name for card in run.cards] == ["write"] * 3
    told = run.api.results
    assert told["approved"][0] == 'write ran with {"text": "approved"}'
    assert told["changed"][0].startswith('write ran with {"text": "y"}')  # and that it was changed
    assert told["rejected"][0].startswith("write did not run: rejected by anna: not on a Sunday")
    assert [told[name][1] for name in names] == [False, False, True]
    assert len(stub.ran()) == 2
