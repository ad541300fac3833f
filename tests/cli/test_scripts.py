"""``publish``, ``ask`` and ``decide`` talk to a running service, and their exit codes tell a script how it went."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from notifier_service import Client, Decision
from notifier_service.cli import main
from notifier_service.core.errors import ServiceRefused
from notifier_service.web import Site
from tests.cli.processes import Commands, line_of

pytestmark = pytest.mark.usefixtures("site")


async def asked(events: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    """The next permission request."""
    async with asyncio.timeout(20):
        async for event in events:
            if event["type"] == "permission_request":
                request: dict[str, Any] = event["data"]
                return request
    raise AssertionError("nobody asked")


# publish


async def test_publish_prints_the_id_of_the_event(commands: Commands, site: Site) -> None:
    ended = await commands.run_here("publish", "s", "note", '{"text": "größe"}')

    [event] = site.broker.get("s").log.read_after(0)
    assert (ended.exit_code, ended.out, ended.err) == (0, f"{event.id}\n", "")
    assert json.loads(event.json) == {"type": "note", "id": event.id, "data": {"text": "größe"}}


async def test_publish_without_data_publishes_none(commands: Commands, site: Site) -> None:
    ended = await commands.run_here("publish", "s", "note")

    [event] = site.broker.get("s").log.read_after(0)
    assert ended.exit_code == 0
    assert json.loads(event.json) == {"type": "note", "id": event.id}


async def test_publish_reads_data_from_standard_input(commands: Commands, site: Site) -> None:
    ended = await commands.run_here("publish", "s", "note", "-", typed='{"n":\n1}')

    [event] = site.broker.get("s").log.read_after(0)
    assert ended.exit_code == 0
    assert json.loads(event.json)["data"] == {"n": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["s", "hello"], "type: only the service itself publishes hello (invalid)"),
        (["no spaces", "note"], "A session id matches [A-Za-z0-9._:~-]{1,128}. (invalid)"),
        (["s", "tool_status", "{}"], "data.status: Field required (invalid)"),
    ],
)
async def test_event_that_the_service_refuses_ends_with_one(
    arguments: list[str], message: str, commands: Commands
) -> None:
    ended = await commands.run_here("publish", *arguments)

    assert (ended.exit_code, ended.out, ended.err) == (1, "", f"notifier-service: {message}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("", "no valid JSON: Expecting value: line 1 column 1 (char 0)"),
        ('{"a": 1, "a": 2}', "no valid JSON: an object has the same key twice"),
        ('{"x": [{"a": 1, "\\u0061": 2}]}', "no valid JSON: an object has the same key twice"),
        ("[1]", 'a JSON object is needed, such as \'{"path": "notes.txt"}\''),
        ("null", 'a JSON object is needed, such as \'{"path": "notes.txt"}\''),
        pytest.param(
            '{"n": NaN}',
            "no valid JSON: ",
        ),
        pytest.param(
            '{"n": ' + "[" * 5000,
            "no valid JSON: ",
        ),
    ],
    ids=["cut", "empty", "twice", "twice spelt otherwise", "array", "null", "nan", "deep"],
)
@pytest.mark.parametrize(
    "command", [["publish", "s", "note"], ["ask", "s", "t"], ["decide", "s", "--edit"]], ids=lambda command: command[0]
)
def test_bad_json_is_wrong_usage(
    command: list[str], text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, text, "--url", "http://127.0.0.1:1"])

    assert ended.value.code == 2
    assert message in capsys.readouterr().err


async def test_bad_json_on_standard_input_ends_with_two(commands: Commands, site: Site) -> None:
    ended = await commands.run_here("publish", "s", "note", "-", typed="no")

    assert (ended.exit_code, ended.out) == (2, "")
    assert "error: argument data: no valid JSON" in ended.err
    assert site.broker.sessions == ()


async def test_reader_of_the_output_may_leave(commands: Commands) -> None:
    read_end, write_end = socket.socketpair()
    read_end.close()

    ended = await commands.run("publish", "s", "note", stdout=write_end)

    write_end.close()
    assert (ended.exit_code, ended.err) == (0, "")


# ask


async def test_ask_prints_the_pending_request_and_goes(commands: Commands, client: Client) -> None:
    ended = await commands.run_here(
        "ask", "s", "write_file", '{"path": "a"}', "--risk", "medium", "--description", "why", "--timeout", "30",
        "--tool-call-id", "c1",
    )  # fmt: skip

    record = json.loads(ended.out)
    assert (ended.exit_code, ended.err) == (0, "")
    assert await client.pending("s") == [record]
    assert (record["tool_name"], record["parameters"], record["status"]) == ("write_file", {"path": "a"}, "pending")
    assert (record["risk_level"], record["description"], record["tool_call_id"]) == ("medium", "why", "c1")
    assert record["timeout_seconds"] == 30


async def test_ask_reads_parameters_from_standard_input(commands: Commands) -> None:
    ended = await commands.run_here("ask", "s", "t", "-", typed='{"n": 1}')

    assert json.loads(ended.out)["parameters"] == {"n": 1}


@pytest.mark.parametrize(
    ("decision", "exit_code", "kind"),
    [
        ({"approved": True}, 0, "approve"),
        ({"approved": False, "reason": "no \x1b[31m\u202e"}, 1, "reject"),
    ],
)
async def test_ask_wait_ends_with_the_decision(
    decision: dict[str, Any], exit_code: int, kind: str, commands: Commands, client: Client
) -> None:
    asking = asyncio.create_task(commands.run_here("ask", "s", "t", '{"path": "a"}', "--wait"))
    async with aclosing(client.events("s")) as events:
        request = await asked(events)
    await client.decide("s", decision)
    ended = await asking

    record = json.loads(ended.out)
    assert ended.err == f"waiting for a person to decide {request['request_id']}\n"
    assert ended.exit_code == exit_code
    assert (record["decision"], record["reason"]) == (kind, decision.get("reason"))
    assert ended.out.isascii()
    assert not {"\x1b", "\r"} & set(ended.out)


async def test_ask_wait_takes_what_was_approved_and_what_another_took_runs_nothing(
    commands: Commands, site: Site
) -> None:
    ended = []
    for is_taken in (False, True):
        process = await commands.start("ask", "s", "t", "--wait")
        request_id = (await line_of(process.stderr)).rsplit(" ", 1)[1]
        desk = site.broker.get("s").desk
        site.broker.decide("s", Decision(approved=True, request_id=request_id), decided_by="ann")
        if is_taken:
            await desk.claim(desk.find(request_id), "another")
        ended.append(await commands.ended(process))
        if not is_taken:
            assert desk.find(request_id).claimed_by is not None

    assert [each.exit_code for each in ended] == [0, 1]
    assert "Another run has taken this request: what it allows begins once." in ended[1].err


@pytest.mark.parametrize("flags", [[], ["--wait"]])
async def test_ask_offers_what_a_script_can_carry_out(flags: list[str], commands: Commands, client: Client) -> None:
    asking = asyncio.create_task(commands.run_here("ask", "s", "rm", '{"path": "draft.txt"}', *flags))
    async with aclosing(client.events("s")) as events:
        request = await asked(events)

    assert request["allowed_decisions"] == ["approve", "reject"]
    for decision in ({"approved": True, "parameters": {"path": "other"}}, {"approved": False, "response": "42"}):
        with pytest.raises(ServiceRefused) as refused:
            await client.decide("s", {**decision, "request_id": request["request_id"]})
        assert refused.value.code == "decision_not_offered"
    await client.decide("s", {"approved": False, "request_id": request["request_id"]})
    await asking


@pytest.mark.parametrize(
    ("decision", "exit_code", "out"),
    [
        ({"approved": True}, 0, {"path": "a", "n": 2**64}),
        ({"approved": True, "parameters": {"path": "b\u202e", "n": 1}}, 0, {"path": "b\u202e", "n": 1}),
        ({"approved": True, "parameters": {}}, 0, {}),
        ({"approved": False, "reason": "no"}, 1, None),
    ],
)
async def test_ask_with_edits_prints_what_to_run_and_nothing_else(
    decision: dict[str, Any], exit_code: int, out: Any, commands: Commands, client: Client
) -> None:
    call = ("ask", "s", "rm", json.dumps({"path": "a", "n": 2**64}), "--wait", "--edits")
    asking = asyncio.create_task(commands.run_here(*call))
    async with aclosing(client.events("s")) as events:
        request = await asked(events)
    await client.decide("s", {**decision, "request_id": request["request_id"]})
    ended = await asking

    assert request["allowed_decisions"] == ["approve", "edit", "reject"]
    assert ended.exit_code == exit_code
    assert (json.loads(ended.out) if ended.out else None) == out
    assert ended.out.isascii()
    assert ended.out.count("\n") == (1 if out is not None else 0)


@pytest.mark.parametrize("edited", [True, False])
async def test_ask_with_edits_prints_parameters_whole_that_no_event_holds(
    edited: bool, commands: Commands, client: Client
) -> None:
    asked_for, runs = ({"text": letter * 400_000} for letter in ("a", "b" if edited else "a"))
    call = ("ask", "s", "t", "-", "--wait", "--edits")
    asking = asyncio.create_task(commands.run_here(*call, typed=json.dumps(asked_for)))
    async with aclosing(client.events("s")) as events:
        request = await asked(events)
    await client.request("s", request["request_id"])
    await client.decide(
        "s", {"approved": True, "request_id": request["request_id"]} | ({"parameters": runs} if edited else {})
    )
    ended = await asking

    assert (ended.exit_code, json.loads(ended.out)) == (0, runs)


async def test_ask_with_edits_prints_what_the_policy_lets_run(commands: Commands, site: Site) -> None:
    ended = await commands.run_here("ask", "s", "t", '{"n": 1}', "--wait", "--edits", "--risk", "low")

    assert (ended.exit_code, json.loads(ended.out)) == (0, {"n": 1})


async def test_ask_with_edits_and_without_wait_is_wrong_usage(commands: Commands, client: Client) -> None:
    ended = await commands.run_here("ask", "s", "t", "--edits")

    assert (ended.exit_code, ended.out) == (2, "")
    assert await client.pending("s") == []


@pytest.mark.parametrize(
    "answered",
    [
        {"decision": "edit", "parameters": {"path": "b"}},
        {"decision": "approve", "parameters": {"path": "b"}},
        {"decision": "approve", "parameters": {"path": "a", "force": True}},
        {"decision": "edit", "parameters": {"path": "a"}},
    ],
)
async def test_edit_that_was_not_offered_is_no_approval(answered: dict[str, Any], commands: Commands) -> None:
    record = {"request_id": "pr_1", "status": "approved", "approved": True, **answered}

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"success": True, "data": record})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    tcp = web.TCPSite(runner, "127.0.0.1", 0)
    await tcp.start()
    url = f"http://127.0.0.1:{tcp.port}/x"
    try:
        ended = await commands.run_here("ask", "s", "rm", '{"path": "a"}', "--wait", "--url", url)
    finally:
        await runner.cleanup()

    assert (ended.exit_code, ended.out) == (1, "")


async def test_ask_wait_that_the_policy_settles_does_not_wait(commands: Commands) -> None:
    ended = await commands.run_here("ask", "s", "t", "--wait", "--risk", "low")

    assert (ended.exit_code, ended.err) == (0, "")
    assert json.loads(ended.out)["decided_by"] == "policy"


async def test_ask_wait_that_nobody_answers_ends_with_one(commands: Commands) -> None:
    ended = await commands.run_here("ask", "s", "t", "--wait", "--timeout", "0.01")

    assert ended.exit_code == 1
    assert json.loads(ended.out)["status"] == "expired"


async def test_ask_wait_at_the_end_of_the_session_ends_with_one(commands: Commands, site: Site) -> None:
    process = await commands.start("ask", "s", "t", "--wait")
    await line_of(process.stderr)
    site.broker.end_session("s")

    ended = await commands.ended(process)

    assert ended.exit_code == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_ask_wait_that_is_stopped_withdraws_its_request(
    number: signal.Signals, commands: Commands, client: Client
) -> None:
    process = await commands.start("ask", "s", "t", "--wait")
    request_id = (await line_of(process.stderr)).rpartition(" ")[2]
    process.send_signal(number)

    ended = await commands.ended(process)

    record = await client.request("s", request_id)
    assert (ended.exit_code, ended.out, ended.err) == (130, "", "")
    assert (record["status"], record["reason"]) == ("cancelled", "the agent withdrew it")


async def test_ask_wait_whose_service_goes_away_ends_with_three(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier_service.cli.scripts.Client", partial(Client, away_seconds=0.1))
    monkeypatch.setattr("notifier_service.client._LONGEST_AWAY_SECONDS", 0.1)
    process = await commands.start("serve", "--port", "0")
    url = (await line_of(process.stdout)).rpartition(" ")[2]
    asking = asyncio.create_task(commands.run_here("ask", "s", "t", "--wait", "--timeout", "2", "--url", url))
    async with Client(url) as client, aclosing(client.events("s")) as events:
        await asked(events)
    process.kill()
    await process.wait()
    ended = await asking

    assert (ended.exit_code, ended.out) == (3, "")
    assert f"notifier-service: The service at {url} does not answer: " in ended.err


# decide


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--approve"], {"decision": "approve", "scope": "once"}),
        (["--approve", "--scope", "session"], {"decision": "approve", "scope": "session"}),
        (["--edit", '{"path": "b"}'], {"decision": "edit", "parameters": {"path": "b"}}),
        (["--edit", "{}"], {"decision": "edit", "parameters": {}}),
        (["--reject", "--reason", "no"], {"decision": "reject", "reason": "no"}),
        (["--respond", "42"], {"decision": "respond", "response": "42"}),
        (["--respond", ""], {"decision": "respond", "response": ""}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_decide_answers_and_prints_the_record(
    arguments: list[str], told: dict[str, Any], commands: Commands, client: Client
) -> None:
    request = await client.ask("s", "t", {"path": "a"})

    ended = await commands.run_here("decide", "s", request["request_id"], *arguments)

    record = json.loads(ended.out)
    assert (ended.exit_code, ended.err) == (0, "")
    assert {name: record[name] for name in told} == told
    assert record == await client.request("s", request["request_id"])


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    "arguments", [["--approve"], ["--edit", "{}"], ["--respond", "42"], ["--approve", "--scope", "session"]]
)
async def test_decide_without_an_id_shows_what_waits_and_decides_nothing(
    arguments: list[str], count: int, commands: Commands, client: Client
) -> None:
    waiting = [await client.ask("s", name, {"path": "a\x1b"}) for name in ("a", "b")[:count]]

    unsure = await commands.run_here("decide", "s", *arguments)

    assert (unsure.exit_code, json.loads(unsure.out)) == (2, waiting)
    assert unsure.out.isascii()
    assert "say which of these is meant" in unsure.err
    assert await client.pending("s") == waiting


async def test_decide_answers_the_one_that_it_names(commands: Commands, client: Client) -> None:
    first, second = [await client.ask("s", name, {}) for name in ("a", "b")]

    sure = await commands.run_here("decide", "s", second["request_id"], "--approve")

    assert (sure.exit_code, json.loads(sure.out)["tool_name"]) == (0, "b")
    assert [record["request_id"] for record in await client.pending("s")] == [first["request_id"]]


@pytest.mark.parametrize("answer", ["--approve", "--reject"])
async def test_decide_with_nothing_pending_ends_with_one(answer: str, commands: Commands, site: Site) -> None:
    ended = await commands.run_here("decide", "s", answer)

    assert (ended.exit_code, ended.out) == (1, "")
    assert ended.err.startswith("notifier-service: No permission request is pending in this session.")


@pytest.mark.parametrize("arguments", [[], ["--approve", "--reject"], ["--approve", "--scope", "never"]])
def test_decide_needs_exactly_one_answer(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["decide", "s", *arguments])

    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


# The service


@pytest.mark.parametrize(
    "command",
    [["publish", "s", "note"], ["ask", "s", "t"], ["ask", "s", "t", "--wait"], ["decide", "s", "--approve"]],
    ids=" ".join,
)
def test_service_that_is_away_ends_with_three(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/agent_backend"
        exit_code = main([*command, "--url", url])

    error = capsys.readouterr().err
    assert exit_code == 3
    assert error.startswith(f"notifier-service: The service at {url} does not answer: ")
    assert error.endswith("\nIs it running? Start it with: notifier-service serve\n")


async def test_token_comes_from_the_environment_and_is_not_shown_in_the_help(commands: Commands) -> None:
    ended = await commands.run_here("publish", "--help", env={"NOTIFIER_TOKEN": "hunter2"})

    assert ended.exit_code == 0
    assert "NOTIFIER_TOKEN" in ended.out
    assert "hunter2" not in ended.out


@pytest.mark.parametrize("command", ["watch", "publish", "ask", "decide"])
def test_help_says_what_the_command_takes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])

    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert text.startswith(f"usage: notifier-service {command} ")
    assert "NOTIFIER_URL" in text
