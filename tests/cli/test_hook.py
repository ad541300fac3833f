"""``hook``: what the command hooks of agents run."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from notifier_service import Decision, Settings, serve
from notifier_service.cli.hook_dialects import DIALECTS
from notifier_service.core.errors import DecisionNotOffered, EditDenied
from notifier_service.web import Site
from tests.cli.processes import Commands, Finished, free_port
from tests.losing_proxy import Fate, LosingProxy


@pytest.fixture(autouse=True)
def _nothing_is_waited_for_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier_service.cli.hook.AWAY_SECONDS", 0)


COMMAND = {"command": "rm -r build", "why": "ä\u202e"}
CLAUDE = {"session_id": "s1", "hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": COMMAND}
ASKS = {**CLAUDE, "hook_event_name": "PermissionRequest"}
CODEX = {**CLAUDE, "turn_id": "1", "model": "gpt", "tool_use_id": "call_1"}
GEMINI = {
    "session_id": "s1", "hook_event_name": "BeforeTool", "tool_name": "run_shell_command", "tool_input": COMMAND,
    "timestamp": "2026-11-21T18:00:00Z",
}  # fmt: skip
COPILOT = {"sessionId": "s1", "timestamp": 1, "cwd": "/x", "toolName": "bash", "toolArgs": COMMAND}
EVERY = {"claude": CLAUDE, "codex": CODEX, "gemini": GEMINI, "copilot": COPILOT}

BEFORE = "hookSpecificOutput"


async def asked(
    commands: Commands, site: Site, agent: str, hook: Mapping[str, Any], decision: Mapping[str, Any]
) -> Finished:
    """What the command does with a hook that a person decides."""
    running = asyncio.ensure_future(commands.run_here("hook", "--format", agent, typed=json.dumps(hook)))
    desk = site.broker.open("s1").desk
    async with asyncio.timeout(10):
        while not desk.pending:  # noqa: ASYNC110  # the command runs in a thread
            await asyncio.sleep(0.01)
    site.broker.decide("s1", Decision(**decision), decided_by="anna")
    return await running


async def said(commands: Commands, agent: str, hook: Any, *flags: str, **environment: str) -> Finished:
    """What the command does with a hook that nobody needs to decide."""
    typed = hook if isinstance(hook, str) else json.dumps(hook)
    return await commands.run_here("hook", "--format", agent, *flags, typed=typed, env=environment)


def before(decision: str, **more: Any) -> dict[str, Any]:
    return {BEFORE: {"hookEventName": "PreToolUse", "permissionDecision": decision, **more}}


def permission(**decision: Any) -> dict[str, Any]:
    return {BEFORE: {"hookEventName": "PermissionRequest", "decision": decision}}


DENIED = "{} did not run: rejected by anna: no"
EDIT = {**COMMAND, "command": "ls"}

EDIT_TOLD = "Note: anna changed the parameters of this call before it ran. It ran with " + json.dumps(
    EDIT, ensure_ascii=False, separators=(",", ":")
)

APPROVE: dict[str, Any] = {"approved": True}
EDITED: dict[str, Any] = {"approved": True, "parameters": EDIT}
CUT: dict[str, Any] = {"approved": True, "parameters": {"command": "ls"}}
REJECT: dict[str, Any] = {"approved": False, "reason": "no"}


@pytest.mark.parametrize(
    ("agent", "hook", "decision", "printed"),
    [
        (
            "claude", CLAUDE, APPROVE,
            before("allow", permissionDecisionReason="approved by anna", updatedInput=COMMAND),
        ),
        (
            "claude", CLAUDE, EDITED,
            before(
                "allow", permissionDecisionReason="approved by anna", updatedInput=EDIT, additionalContext=EDIT_TOLD
            ),
        ),
        ("claude", CLAUDE, REJECT, before("deny", permissionDecisionReason=DENIED.format("Bash"))),
        ("claude", ASKS, APPROVE, permission(behavior="allow", updatedInput=COMMAND)),
        ("claude", ASKS, REJECT, permission(behavior="deny", message=DENIED.format("Bash"))),
        # An allow that changes nothing is an error to Codex, and then the call runs unasked: so nothing is printed.
        ("codex", CODEX, APPROVE, None),
        ("codex", CODEX, EDITED, before("allow", updatedInput=EDIT)),
        ("codex", CODEX, REJECT, before("deny", permissionDecisionReason=DENIED.format("Bash"))),
        ("codex", ASKS, APPROVE, permission(behavior="allow")),
        ("codex", ASKS, {**APPROVE, "scope": "session"}, permission(behavior="allow")),
        ("codex", ASKS, REJECT, permission(behavior="deny", message=DENIED.format("Bash"))),
        ("gemini", GEMINI, APPROVE, {"decision": "allow"}),
        (
            "gemini", GEMINI, EDITED,
            {"decision": "allow", BEFORE: {"hookEventName": "BeforeTool", "tool_input": EDIT}},
        ),
        ("gemini", GEMINI, REJECT, {"decision": "deny", "reason": DENIED.format("run_shell_command")}),
        ("copilot", COPILOT, APPROVE, {"permissionDecision": "allow"}),
        ("copilot", COPILOT, EDITED, {"permissionDecision": "allow", "modifiedArgs": EDIT}),
        (
            "copilot", COPILOT, REJECT,
            {"permissionDecision": "deny", "permissionDecisionReason": DENIED.format("bash")},
        ),
        (
            "copilot", {**COPILOT, "toolArgs": json.dumps(COMMAND)}, CUT,
            {"permissionDecision": "allow", "modifiedArgs": {"command": "ls"}},
        ),
    ],
)  # fmt: skip
async def test_each_agent_gets_the_answer_in_its_own_words(
    commands: Commands, site: Site, agent: str, hook: dict[str, Any], decision: dict[str, Any], printed: Any
) -> None:
    done = await asked(commands, site, agent, hook, decision)

    assert (done.exit_code, done.err) == (0, "")
    assert (json.loads(done.out) if done.out else None) == printed
    assert done.out.isascii()


@pytest.mark.parametrize(
    ("agent", "hook", "after", "event"),
    [
        ("codex", CODEX, {"hook_event_name": "PostToolUse", "tool_response": "x"}, "PostToolUse"),
        ("gemini", GEMINI, {"hook_event_name": "AfterTool", "tool_response": {"llmContent": "x"}}, "AfterTool"),
        ("gemini", GEMINI, {"hook_event_name": "AfterTool", "tool_response": {"error": "x"}}, "AfterTool"),
    ],
)
async def test_agent_that_takes_no_note_before_a_call_is_told_of_the_edit_once_after_it(
    commands: Commands, site: Site, agent: str, hook: dict[str, Any], after: dict[str, Any], event: str
) -> None:
    before_it = await asked(commands, site, agent, hook, EDITED)
    first = await said(commands, agent, {**hook, "tool_input": EDIT, **after})
    second = await said(commands, agent, {**hook, "tool_input": EDIT, **after})

    assert "additionalContext" not in before_it.out
    assert json.loads(first.out) == {BEFORE: {"hookEventName": event, "additionalContext": EDIT_TOLD}}
    assert (first.exit_code, first.err) == (0, "")
    assert second.out.strip() in ("", "{}")


async def test_hook_after_a_call_says_nothing_that_copilot_could_take_for_a_verdict(
    commands: Commands, site: Site
) -> None:
    await asked(commands, site, "copilot", COPILOT, EDITED)
    done = await said(commands, "copilot", {**COPILOT, "toolArgs": EDIT, "toolResult": {"resultType": "success"}})

    assert (done.exit_code, done.out) == (0, "{}\n")


@pytest.mark.parametrize(
    ("agent", "hook", "decision", "refused"),
    [
        ("codex", ASKS, EDITED, DecisionNotOffered),
        ("codex", ASKS, CUT, DecisionNotOffered),
        ("gemini", GEMINI, CUT, EditDenied),
        ("gemini", GEMINI, {"approved": True, "parameters": {}}, EditDenied),
        ("gemini", GEMINI, {"approved": True, "parameters": {"why": "x", "more": 1}}, EditDenied),
    ],
)
async def test_edit_that_the_agent_cannot_run_is_not_taken_from_the_person(
    commands: Commands, site: Site, agent: str, hook: dict[str, Any], decision: dict[str, Any], refused: type[Exception]
) -> None:
    with pytest.raises(refused):
        await asked(commands, site, agent, hook, decision)
    (card,) = site.broker.open("s1").desk.pending
    site.broker.decide("s1", Decision(approved=False), decided_by="anna")

    assert ("edit" in card.record.allowed_decisions) is (agent == "gemini")


@pytest.mark.parametrize(
    ("agent", "hook", "printed"),
    [
        ("claude", {**CLAUDE, "tool_name": "Read"}, "{}\n"),
        ("codex", {**CODEX, "tool_name": "update_plan"}, ""),
        ("gemini", {**GEMINI, "tool_name": "read_file"}, "{}\n"),
        ("copilot", {**COPILOT, "toolName": "view"}, "{}\n"),
        ("claude", {"session_id": "s1", "hook_event_name": "SessionStart"}, "{}\n"),
    ],
)
async def test_what_asks_nobody_gets_no_opinion(
    commands: Commands, site: Site, agent: str, hook: dict[str, Any], printed: str
) -> None:
    assert await said(commands, agent, hook) == Finished(0, printed, "")


async def test_tool_of_a_server_of_gemini_is_asked_about(commands: Commands, site: Site) -> None:
    hook = {**GEMINI, "tool_name": "read_file", "mcp_context": {"server_name": "x", "tool_name": "read_file"}}

    done = await asked(commands, site, "gemini", hook, REJECT)

    assert json.loads(done.out)["decision"] == "deny"


@pytest.mark.parametrize(
    ("agent", "hook", "success"),
    [
        ("claude", {**CLAUDE, "hook_event_name": "PostToolUse", "tool_response": "x"}, True),
        ("claude", {**CLAUDE, "hook_event_name": "PostToolUseFailure", "error": "x"}, False),
        ("codex", {**CODEX, "hook_event_name": "PostToolUse", "tool_response": "x"}, True),
        ("gemini", {**GEMINI, "hook_event_name": "AfterTool", "tool_response": {"llmContent": "x"}}, True),
        ("gemini", {**GEMINI, "hook_event_name": "AfterTool", "tool_response": {"error": {"message": "x"}}}, False),
        ("copilot", {**COPILOT, "toolResult": {"resultType": "success", "textResultForLlm": "x"}}, True),
        ("copilot", {**COPILOT, "error": "x"}, False),
        (
            "copilot",
            {"hook_event_name": "PostToolUse", "session_id": "s1", "tool_name": "bash", "tool_result": {"x": 1}},
            True,
        ),
    ],
)
async def test_results_are_told(
    commands: Commands, site: Site, agent: str, hook: dict[str, Any], success: bool
) -> None:
    done = await said(commands, agent, hook)

    result = site.broker.open("s1").snapshot().tool_result
    assert (done.exit_code, done.err) == (0, "")
    assert result is not None
    assert result.success is success


async def test_session_and_time_are_those_of_the_flags(commands: Commands, site: Site) -> None:
    done = await said(commands, "claude", CLAUDE, "--session", "team-1", "--timeout", "0.05")

    assert "nobody answered within 0.05 s" in done.out
    assert [session.session_id for session in site.broker.sessions] == ["team-1"]


async def test_token_comes_from_the_environment(commands: Commands, tmp_path: Any) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text('[{"token": "agent-secret", "rights": ["produce"], "sessions": ["*"]}]')
    async with serve(settings=Settings(port=0, auth="tokens", tokens_file=tokens)) as site:
        url = f"{site.url}/agent_backend"
        hook = {**CLAUDE, "tool_name": "Read"}
        taken = await said(commands, "claude", hook, NOTIFIER_URL=url, NOTIFIER_TOKEN="agent-secret")
        refused = await said(commands, "claude", hook, NOTIFIER_URL=url, NOTIFIER_TOKEN="wrong")
        without = await said(commands, "copilot", {**COPILOT, "toolName": "view"}, NOTIFIER_URL=url)

    assert taken == Finished(0, "{}\n", "")
    assert (refused.exit_code, refused.out) == (2, "")
    assert "refused (401): Nobody issued that token." in refused.err
    assert "wrong" not in refused.err
    assert json.loads(without.out)["permissionDecision"] == "deny"


# What fails denies


def denies(agent: str, done: Finished) -> bool:
    """Whether the agent takes it for a denial, with a reason."""
    if agent == "copilot":  # which passes over a hook that fails
        told = json.loads(done.out)
        return done.exit_code == 0 and told["permissionDecision"] == "deny" and bool(told["permissionDecisionReason"])
    return done.exit_code == 2 and done.out == "" and bool(done.err.strip())


@pytest.mark.parametrize("agent", EVERY)
async def test_service_that_is_away_denies(commands: Commands, agent: str) -> None:
    done = await said(commands, agent, EVERY[agent], NOTIFIER_URL=f"http://127.0.0.1:{free_port()}/agent_backend")

    assert denies(agent, done)
    assert "did not run: the service does not answer" in done.out + done.err


@pytest.mark.parametrize("agent", EVERY)
@pytest.mark.parametrize("url", ["", "nonsense", "ftp://x/y", "http://", "http://x:y/", "http://127.0.0.1:99999/"])
async def test_address_that_is_none_denies(commands: Commands, agent: str, url: str) -> None:
    assert denies(agent, await said(commands, agent, EVERY[agent], "--url", url))


@pytest.mark.parametrize("agent", EVERY)
@pytest.mark.parametrize("typed", ["", "{", "[]", "null", "7", "{}", "[" * 100_000, '{"tool_name": "Bash"}', "\x00"])
async def test_input_that_is_no_hook_denies(commands: Commands, site: Site, agent: str, typed: str) -> None:
    assert denies(agent, await said(commands, agent, typed))
    assert site.broker.sessions == ()


@pytest.mark.parametrize(
    ("agent", "hook"), [("claude", CLAUDE), ("codex", CODEX), ("gemini", GEMINI), ("copilot", COPILOT)]
)
async def test_hook_with_two_readings_denies(commands: Commands, site: Site, agent: str, hook: dict[str, Any]) -> None:
    typed = json.dumps(hook).replace('"command": ', '"command": "ls", "command": ')

    ended = await said(commands, agent, typed)

    assert denies(agent, ended)
    assert "the same key twice" in ended.out + ended.err
    assert site.broker.sessions == ()


async def test_agent_says_which_one_it_is(commands: Commands, site: Site) -> None:
    running = asyncio.ensure_future(said(commands, "codex", CODEX))
    desk = site.broker.open("s1").desk
    async with asyncio.timeout(10):
        while not desk.pending:  # noqa: ASYNC110  # the command runs in a thread
            await asyncio.sleep(0.01)
    [request] = desk.pending
    request.cancel()
    await running

    assert (request.tool.agent, request.tool.asked_by) == ("codex", "local")


@pytest.mark.parametrize("agent", EVERY)
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, ""),
        (200, "<html>sign in</html>"),
        (200, "[]"),
        (200, "null"),
        (200, '{"success": true}'),
        (200, '{"hookSpecificOutput": "allow"}'),
        (200, '{"hookSpecificOutput": {"hookEventName": "PostToolUse"}}'),
        (302, "{}"),
        (404, "{}"),
        (500, '{"hookSpecificOutput": {"hookEventName": "PreToolUse", "permissionDecision": "allow"}}'),
        (503, "busy"),
    ],
)
async def test_answer_of_something_else_denies(commands: Commands, agent: str, status: int, body: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body, headers={"Location": "/x"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    tcp = web.TCPSite(runner, "127.0.0.1", 0)
    await tcp.start()
    done = await said(commands, agent, EVERY[agent], NOTIFIER_URL=f"http://127.0.0.1:{tcp.port}/x")
    await runner.cleanup()

    assert denies(agent, done)


@pytest.mark.parametrize("sent", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}"])
async def test_connection_that_breaks_denies(commands: Commands, sent: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        done = await said(commands, "claude", CLAUDE, NOTIFIER_URL=f"http://127.0.0.1:{port}/x")

    assert denies("claude", done)


async def test_report_that_cannot_be_told_denies_nothing(commands: Commands) -> None:
    hook = {**CLAUDE, "hook_event_name": "PostToolUse", "tool_response": "x"}
    done = await said(commands, "claude", hook, NOTIFIER_URL=f"http://127.0.0.1:{free_port()}/agent_backend")

    assert (done.exit_code, done.out) == (1, "")


async def test_service_that_shuts_down_denies(commands: Commands, site: Site) -> None:
    running = asyncio.ensure_future(commands.run_here("hook", typed=json.dumps(CLAUDE)))
    async with asyncio.timeout(10):
        while not site.broker.open("s1").desk.pending:  # noqa: ASYNC110  # the command runs in a thread
            await asyncio.sleep(0.01)
    site.broker.close()
    done = await running

    assert denies("claude", done)


async def test_agent_that_ends_its_hook_withdraws_the_request(commands: Commands, site: Site) -> None:
    process = await commands.start("hook")
    assert process.stdin is not None
    process.stdin.write(json.dumps(CLAUDE).encode())
    process.stdin.write_eof()
    desk = site.broker.open("s1").desk
    async with asyncio.timeout(20):
        while not desk.pending:  # noqa: ASYNC110  # the command is another process
            await asyncio.sleep(0.01)
    (card,) = desk.pending
    process.kill()

    assert (await asyncio.wait_for(card.decision(), 5)).status == "cancelled"


# Waiting through proxies and restarts


@pytest.mark.parametrize("fate", ["lose", "half", "reset", "502", "504"])
async def test_answer_that_is_lost_is_asked_for_again_and_nobody_is_asked_twice(
    commands: Commands, site: Site, monkeypatch: pytest.MonkeyPatch, fate: Fate
) -> None:
    monkeypatch.setattr("notifier_service.cli.hook.AWAY_SECONDS", 20)
    async with LosingProxy(site.port).running() as proxy:
        proxy.fates = [fate]
        running = asyncio.ensure_future(said(commands, "claude", CLAUDE, NOTIFIER_URL=proxy.url))
        await pending(site)
        site.broker.decide("s1", Decision(approved=True), decided_by="anna")
        done = await running

    assert json.loads(done.out)[BEFORE]["permissionDecision"] == "allow"
    assert [event.type for event in site.broker.open("s1").log.read_after(0)].count("permission_request") == 1


async def test_service_that_is_restarted_while_a_person_thinks_is_asked_again(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier_service.cli.hook.AWAY_SECONDS", 20)
    port = free_port()
    url = f"http://127.0.0.1:{port}/agent_backend"
    async with serve(settings=Settings(port=port)) as first:
        running = asyncio.ensure_future(said(commands, "claude", CLAUDE, NOTIFIER_URL=url))
        await pending(first)
    async with serve(settings=Settings(port=port)) as second:
        await pending(second)
        second.broker.decide("s1", Decision(approved=True), decided_by="anna")
        done = await running

    assert json.loads(done.out)[BEFORE]["permissionDecision"] == "allow"


async def test_service_with_a_journal_that_is_restarted_asks_one_question(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("notifier_service.cli.hook.AWAY_SECONDS", 20)
    settings = Settings(port=free_port(), journal=tmp_path / "journal")
    url = f"http://127.0.0.1:{settings.port}/agent_backend"
    async with serve(settings=settings) as first:
        running = asyncio.ensure_future(said(commands, "claude", CLAUDE, NOTIFIER_URL=url))
        await pending(first)
        [asked] = first.broker.open("s1").desk.pending
    async with serve(settings=settings) as second:
        await pending(second)
        await second.broker.answer("s1", Decision(approved=True, request_id=asked.request_id), decided_by="anna")
        done = await running
        types = [event.type for event in second.broker.open("s1").log.read_after(0)]

    assert json.loads(done.out)[BEFORE]["permissionDecision"] == "allow"
    assert types.count("permission_request") == types.count("permission_cleared") == 1


async def pending(site: Site) -> None:
    async with asyncio.timeout(20):
        while not site.broker.open("s1").desk.pending:  # noqa: ASYNC110  # the command runs in a thread
            await asyncio.sleep(0.01)


# The printed command, in the shell of the agent


def commands_of(settings: Any) -> list[str]:
    """The commands of the hooks that ask."""
    hooks = settings["hooks"]
    asking = [
        hooks[event] for event in ("PreToolUse", "PermissionRequest", "BeforeTool", "preToolUse") if event in hooks
    ]
    entries = [entry for entries in asking for entry in entries]
    return [hook.get("command", hook.get("bash")) for entry in entries for hook in entry.get("hooks", [entry])]


async def printed(commands: Commands, agent: str, *flags: str) -> list[str]:
    # An address to which Claude Code sends no HTTP hook, so that it gets a command too; the test's own is put in.
    done = await said(commands, agent, "", "--print-config", *flags, NOTIFIER_URL="http://10.0.0.1/x")
    return commands_of(json.loads(done.out))


def in_shell(command: str, hook: Any, shell: str = "/bin/sh", **how: Any) -> Finished:
    done = subprocess.run(
        [shell, "-c", command], input=json.dumps(hook), capture_output=True, text=True, timeout=60, check=False, **how
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("agent", EVERY)
@pytest.mark.parametrize(
    "program",
    [
        None,  # not there
        "",  # no output
        "exit 1",
        "exit 3",
        "kill -9 $$",
        "kill -TERM $$",
        "echo hello",
        "echo '{}'",
        """echo '{"hookSpecificOutput": {"hookEventName": "PreToolUse", "permissionDecision": "allow"}}'""",
        """echo '{"decision": "allow", "permissionDecision": "allow"}'; exit 1""",
        "echo answered; kill -9 $$",
        "echo 'Traceback (most recent call last):' >&2; exit 1",
    ],
)
async def test_command_that_fails_in_whatever_way_denies(
    agent: str, program: str | None, commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter = tmp_path / 'it\'s "my" $HOME `venv`' / "python"
    interpreter.parent.mkdir()
    if program is not None:
        interpreter.write_text(f"#!/bin/sh\n{program}\n")
        interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))

    for command in await printed(commands, agent):
        assert denies(agent, in_shell(command, EVERY[agent]))


async def test_command_whose_interpreter_cannot_be_run_denies(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path))  # a folder
    for agent in EVERY:
        for command in await printed(commands, agent):
            assert denies(agent, in_shell(command, EVERY[agent]))


@pytest.mark.parametrize("agent", EVERY)
async def test_command_runs_without_a_path_and_is_answered(agent: str, commands: Commands, site: Site) -> None:
    (command, *_) = await printed(commands, agent, "--session", "s1")
    command = command.replace("http://10.0.0.1/x", f"{site.url}/agent_backend")
    environment = {"PATH": "/nowhere", "XDG_CONFIG_HOME": os.environ["XDG_CONFIG_HOME"]}
    running = asyncio.ensure_future(asyncio.to_thread(in_shell, command, EVERY[agent], env=environment))
    desk = site.broker.open("s1").desk
    async with asyncio.timeout(20):
        while not desk.pending:  # noqa: ASYNC110  # the command is another process
            await asyncio.sleep(0.01)
    site.broker.decide("s1", Decision(approved=True, parameters=EDIT), decided_by="anna")
    done = await running

    assert (done.exit_code, done.err) == (0, "")
    assert EDIT["command"] in done.out
    assert json.loads(done.out)


async def test_command_passes_a_denial_on(commands: Commands) -> None:
    for agent in EVERY:
        for command in await printed(commands, agent):
            away = command.replace("http://10.0.0.1/x", f"http://127.0.0.1:{free_port()}/x")
            done = await asyncio.to_thread(in_shell, away, EVERY[agent])
            assert denies(agent, done)
            assert "the service does not answer" in done.out + done.err


async def test_command_runs_nothing_from_the_folder_that_the_agent_works_in(commands: Commands, tmp_path: Path) -> None:
    for name in ("notifier_service", "json", "argparse"):
        (tmp_path / f"{name}.py").write_text("print('{}\\nanswered'); raise SystemExit(0)")
    for agent in EVERY:
        for command in await printed(commands, agent):
            done = await asyncio.to_thread(in_shell, command.replace("10.0.0.1", "127.0.0.1:9"), {}, cwd=tmp_path)
            assert denies(agent, done)


async def test_shell_that_is_killed_withdraws_the_request(commands: Commands, site: Site) -> None:
    (command, *_) = await printed(commands, "codex")
    command = command.replace("http://10.0.0.1/x", f"{site.url}/agent_backend")
    process = await asyncio.create_subprocess_shell(command, stdin=asyncio.subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(json.dumps(CODEX).encode())
    process.stdin.write_eof()
    desk = site.broker.open("s1").desk
    async with asyncio.timeout(20):
        while not desk.pending:  # noqa: ASYNC110  # the command is another process
            await asyncio.sleep(0.01)
    (card,) = desk.pending
    process.kill()
    await process.wait()

    assert (await asyncio.wait_for(card.decision(), 20)).status == "cancelled"


# Settings and start


@pytest.mark.parametrize("agent", EVERY)
async def test_settings_that_are_printed_are_json_and_name_no_token(commands: Commands, agent: str) -> None:
    done = await said(commands, agent, "", "--print-config", "--session", "team 1", NOTIFIER_TOKEN="s3cret")

    settings = json.loads(done.out)
    assert done.exit_code == 0
    assert "s3cret" not in done.out
    assert "team" in done.out
    assert done.err.startswith("notifier-service: for ")
    if agent == "claude":
        hooks = settings["hooks"]
        assert {"PreToolUse", "PermissionRequest", "PostToolUse", "PostToolUseFailure", "Stop"} <= set(hooks)
        for event in ("PreToolUse", "PermissionRequest"):
            (hook,) = hooks[event][0]["hooks"]
            assert (hook["type"], hook["onFailure"], hook["timeout"]) == ("http", "block", 3600)
            assert hook["url"].endswith("/hooks/claude-code?session_id=team+1")
            assert (hook["headers"], hook["allowedEnvVars"]) == (
                {"Authorization": "Bearer $NOTIFIER_TOKEN"},
                ["NOTIFIER_TOKEN"],
            )
    if agent == "gemini":
        assert settings["hooks"]["BeforeTool"][0]["hooks"][0]["timeout"] == 3_600_000  # milliseconds


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://127.0.0.1:8000/x", "http"),
        ("http://[::1]:8000/x", "http"),
        ("https://notifier.example/x", "http"),
        ("http://192.168.1.5:8000/x", "command"),
        ("http://172.17.0.1:8000/x", "command"),
    ],
)
async def test_claude_code_gets_a_command_where_it_would_send_no_hook(commands: Commands, url: str, kind: str) -> None:
    done = await said(commands, "claude", "", "--print-config", "--url", url)

    for event, entries in json.loads(done.out)["hooks"].items():
        (hook,) = entries[0]["hooks"]
        assert hook["type"] == kind
        assert (hook.get("onFailure") == "block") is (event in ("PreToolUse", "PermissionRequest"))


async def test_it_is_listed_with_the_other_commands(commands: Commands) -> None:
    listed = await commands.run_here("--help")
    helped = await commands.run_here("hook", "--help")

    assert "hook" in listed.out
    assert "--print-config" in helped.out


def test_nothing_is_loaded_that_it_does_not_need() -> None:
    """An agent starts it before each of its calls."""
    program = (
        "import sys; from notifier_service.cli import main; main(['hook', '--print-config']); "
        "print(sorted({'aiohttp', 'pydantic', 'asyncio', 'http.client'} & set(sys.modules)), file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize("format_name", sorted(DIALECTS))
def test_folder_in_which_an_agent_works_is_told(format_name: str) -> None:
    told = COPILOT if format_name == "copilot" else {"session_id": "s1", "hook_event_name": "BeforeTool", "cwd": "/x"}

    assert DIALECTS[format_name]().read(dict(told))["cwd"] == "/x"
