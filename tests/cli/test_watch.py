"""``watch`` shows what happens and takes a person's answers, as lines from a pipe and as keys from a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import rich

import notifier_service
from notifier_service import Client, Settings, serve
from notifier_service.cli import attendance
from notifier_service.cli.watch import Watch
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.web import Site
from tests.cli.processes import Commands, free_port, line_of
from tests.cli.terminals import LOOK, SCREEN, Terminal
from tests.web.conftest import until

HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\x08\x9b31m\x7f\u202etxt.exe\u200b\u2028\U000e0041"
HARMLESS = r"\u001b[2J\u001b]0;owned\u0007\r\b\u009b31m\u007f\u202etxt.exe\u200b\u2028\udb40\udc41"


#: What asks a terminal to tell whether it has the focus, and what it says then.
FOCUS_ON, FOCUS_OFF = "\x1b[?1004h", "\x1b[?1004l"
HAS_FOCUS, LOST_FOCUS = "\x1b[I", "\x1b[O"

Open = Callable[..., "Piped"]

OUTCOMES = {
    **dict.fromkeys(("approve", "a", "y"), "approved"),
    **dict.fromkeys(("reject", "r"), "rejected"),
    "edit": "approved with changes",
    "respond": "answered in the tool's place",
    "session": "approved for the session",
}


class Piped:
    """A watch of session ``s`` in this process that reads lines, on real pipes."""

    def __init__(
        self, url: str, *, stdin: int | None = None, encoding: str = "utf-8", token: str | None = None
    ) -> None:
        self._keyboard: int | None = None
        if stdin is None:
            stdin, self._keyboard = os.pipe()
        self._stdin = stdin
        self._screen, self._stdout = os.pipe()
        self._encoding = encoding
        self._output = asyncio.StreamReader()
        self._watching = asyncio.create_task(self._watch(url, token))

    async def until(self, text: str) -> str:
        """The next line with this text."""
        return await line_of(self._output, text)

    async def type(self, text: str) -> None:
        assert self._keyboard is not None
        os.write(self._keyboard, text.encode())

    def end_input(self) -> None:
        if self._keyboard is not None:
            os.close(self._keyboard)
        self._keyboard = None

    async def ended(self) -> tuple[int, str]:
        """Wait until the watch has ended; its exit code, and what it printed last."""
        async with asyncio.timeout(20):
            return await self._watching, (await self._output.read()).decode()

    async def close(self) -> None:
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        self.end_input()

    async def _watch(self, url: str, token: str | None) -> int:
        screen = open(self._screen, "rb", buffering=0)
        with open(self._stdin) as stdin, open(self._stdout, "w", encoding=self._encoding) as stdout:
            await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(self._output), screen
            )
            async with Client(url, token=token) as client:
                return await Watch(client, "s", stdin=stdin, stdout=stdout).run()


@pytest.fixture
async def open_piped(site: Site, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    """Begin a watch of this service, or of the one at ``url``."""
    for name, value in SCREEN.items():
        monkeypatch.setenv(name, value)
    opened: list[Piped] = []

    def open_one(url: str = f"{site.url}{site.settings.prefix}", **how: Any) -> Piped:
        opened.append(Piped(url, **how))
        return opened[-1]

    yield open_one
    for piped in opened:
        await piped.close()


@pytest.fixture
async def piped(open_piped: Open) -> Piped:
    """A watch that has begun."""
    piped = open_piped()
    await piped.until("Watching session s; 1 watching.")
    return piped


@pytest.fixture
async def terminal(site: Site) -> AsyncIterator[Terminal]:
    terminal = Terminal()
    try:
        await terminal.open(f"{site.url}{site.settings.prefix}")
        yield terminal
    finally:
        await terminal.close()


@pytest.fixture
async def terminal_of_a_shell(commands: Commands, site: Site) -> AsyncIterator[Terminal]:
    """The same in a process of its own."""
    terminal = Terminal()
    try:
        await terminal.start(commands)
        yield terminal
    finally:
        await commands.stop_all()
        await terminal.close()


def ask(site: Site, tool_name: str = "write_file", **more: Any) -> PermissionRequest:
    """Ask from within the service."""
    call = {"parameters": {"path": "a.txt"}, "risk_level": "medium", **more}
    return site.broker.ask("s", tool_name=tool_name, **call)


def answer_of(request: PermissionRequest) -> tuple[Any, ...]:
    return request.record.decision, request.record.reason, request.record.parameters, request.record.response


async def decided(request: PermissionRequest) -> tuple[Any, ...]:
    async with asyncio.timeout(20):
        await request.decision()
    return answer_of(request)


# Lines


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("approve {}", ("approve", None, {"path": "a.txt"}, None)),
        ("  a  {}  ", ("approve", None, {"path": "a.txt"}, None)),
        ("y {}", ("approve", None, {"path": "a.txt"}, None)),
        ("reject {}", ("reject", None, {"path": "a.txt"}, None)),
        ("Reject {} not  today; größe", ("reject", "not  today; größe", {"path": "a.txt"}, None)),
        ("r {} no", ("reject", "no", {"path": "a.txt"}, None)),
        ('edit {} {"path": "b.txt"}', ("edit", None, {"path": "b.txt"}, None)),
        ("respond {} it is 42", ("respond", None, {"path": "a.txt"}, "it is 42")),
        ("session {}", ("approve", None, {"path": "a.txt"}, None)),
    ],
)
async def test_line_answers_the_request_that_it_names(
    line: str, answer: tuple[Any, ...], piped: Piped, site: Site
) -> None:
    request = ask(site)
    await piped.until("Answer with a line: ")
    await piped.type(line.replace("{}", request.request_id, 1) + "\n")

    assert await decided(request) == answer
    assert request.record.scope == ("session" if line.startswith("session") else "once")
    await piped.until(f"write_file {OUTCOMES[line.split()[0].lower()]} by you")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("edit {} {", "Not decided: no valid JSON: "),
        ("edit {}", "Not decided: no valid JSON: "),
        ("edit {} [1]", "Not decided: a JSON object is needed, such as "),
        ('edit {} {"path": "a.txt"}', "Nothing was changed, and nothing decided."),
        ('edit {} {"n": NaN}', "Not decided: "),
        ('edit {} {"path": "a", "path": "b"}', "Not decided: no valid JSON: an object has the same key twice"),
        ("yes", "Answer with a line: "),
        ("more", "Answer with a line: "),
        ("?", "edit ID {JSON}"),
        ("show {}", "May this run?"),
        # Whoever names no request, or another one, has not said what may run.
        ("approve", "Nothing was decided: say which request is meant. These wait: pr_"),
        ("y", "Nothing was decided: say which request is meant. These wait: pr_"),
        ("approve pr_other", "Nothing was decided: say which request is meant. These wait: pr_"),
        ("reject no", "Nothing was decided: say which request is meant. These wait: pr_"),
    ],
)
async def test_line_that_decides_nothing_is_told_so(line: str, told: str, piped: Piped, site: Site) -> None:
    request = ask(site)
    await piped.until("Answer with a line: ")
    await piped.type(line.replace("{}", request.request_id, 1) + "\n")
    await piped.until(told)

    assert request.pending


async def test_empty_response_decides_nothing(piped: Piped, site: Site) -> None:
    request = ask(site)
    await piped.until("Answer with a line: ")
    await piped.type(f"respond {request.request_id}\n\nshow {request.request_id}\n")
    await piped.until("Answer with a line: ")

    assert request.pending


async def test_who_may_only_look_is_told_so_and_offered_no_answer(open_piped: Open, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps([{"token": "look-on", "subject": "vera", "rights": ["view"], "sessions": ["*"]}]))
    async with serve(settings=Settings(port=0, auth="tokens", tokens_file=tokens)) as site:
        piped = open_piped(f"{site.url}{site.settings.prefix}", token="look-on")
        first = await piped.until("Watching session s; 1 watching.")
        request = ask(site)
        offered = await piped.until("Your token")
        await piped.type(f"approve {request.request_id}\n")
        answer = await piped.until("Your token")
        await piped.type("?\n")
        help_text = await piped.until("show ID")
        await piped.close()

    assert "Your token may watch, but not decide." in first
    assert [offered.strip(), answer.strip()] == ["Your token may watch, but not decide."] * 2
    assert request.record.decision is None
    assert ("show ID" in help_text, "approve ID" in help_text) == (True, False)


async def test_edit_of_a_number_into_true_is_an_edit(piped: Piped, site: Site) -> None:
    request = ask(site, parameters={"force": 1})
    await piped.until("Answer with a line: ")
    await piped.type(f'edit {request.request_id} {{"force": true}}\n')
    async with asyncio.timeout(2):
        await request.decision()

    assert answer_of(request)[2] == {"force": True}


async def test_edit_longer_than_one_read_is_taken_whole(piped: Piped, site: Site) -> None:
    request = ask(site)
    await piped.until("Answer with a line: ")
    await piped.type(f'edit {request.request_id} {{"path": "' + "x" * 10_000 + '"}\n')
    async with asyncio.timeout(20):
        record = await request.decision()

    assert record.parameters == {"path": "x" * 10_000}


async def test_line_with_nothing_pending_is_told_so(piped: Piped) -> None:
    await piped.type("y\n")

    assert await piped.until("Nothing waits") == "Nothing waits for a decision."


async def test_q_ends_the_watch(commands: Commands, site: Site) -> None:
    ended = await commands.run("watch", "s", env=SCREEN, typed="q\n")

    assert (ended.exit_code, ended.err) == (0, "")


async def test_watch_without_more_input_goes_on_until_the_session_ends(piped: Piped, site: Site) -> None:
    piped.end_input()
    site.broker.publish_nowait("s", "note", {"text": "still here"})
    await piped.until("still here")
    site.broker.end_session("s")

    await piped.until("The service says goodbye (session_closed).")
    assert await piped.ended() == (0, "The session has ended.\n")


@pytest.mark.parametrize("name", ["/dev/null", "answers"])
async def test_input_that_cannot_be_waited_for_only_watches(
    name: str, open_piped: Open, site: Site, tmp_path: Path
) -> None:
    piped = open_piped(stdin=os.open(tmp_path / name, os.O_RDONLY | os.O_CREAT))
    await piped.until("Watching session s")
    site.broker.publish_nowait("s", "note", {"text": "still here"})

    assert (await piped.until("still here")).endswith("· note still here")


async def test_request_that_waited_before_is_shown_once(open_piped: Open, site: Site) -> None:
    ask(site)
    piped = open_piped()
    await piped.until("May this run?")
    await piped.type("q\n")

    assert "May this run?" not in (await piped.ended())[1]


async def test_request_is_shown_with_all_that_a_person_needs(piped: Piped, site: Site) -> None:
    ask(site, risk_level="high", description="to save the notes", parameters={"path": "größe", "n": 2**64})

    await piped.until("May this run?")
    await piped.until("write_file   risk high")
    await piped.until('It writes ("größe").')
    await piped.until("├─ parameters ─")
    await piped.until("path: größe")
    await piped.until("n: 18446744073709551616")
    await piped.until("The agent says (unverified): to save the notes")
    await piped.until("Denied by itself at ")


async def test_line_for_a_request_decided_elsewhere_decides_no_other(piped: Piped, site: Site, client: Client) -> None:
    first, second = ask(site, "first_tool"), ask(site, "second_tool")
    await piped.until("first_tool   risk medium")
    await piped.until("second_tool   risk medium")
    await client.decide("s", {"approved": False, "request_id": first.request_id, "reason": "elsewhere"})
    await piped.until("first_tool rejected by local: elsewhere")
    await piped.type(f"a {first.request_id}\na {second.request_id}\n")
    await piped.until(f"Nothing was decided: say which request is meant. These wait: {second.request_id}")

    assert (await decided(second))[0] == "approve"


async def test_request_that_is_withdrawn_is_told(piped: Piped, site: Site) -> None:
    request = ask(site)
    await piped.until("Answer with a line: ")
    request.cancel("the agent withdrew it")

    await piped.until("write_file: the agent withdrew it")


async def test_what_tools_do_is_shown(piped: Piped, client: Client) -> None:
    for status in ("executing", "waiting_permission", "completed", "failed", "denied", "cancelled"):
        details = {"parameters": {"n": 1}, "reason": "why", "duration_ms": 1500}
        await client.publish(
            "s", {"type": "tool_status", "data": {"status": status, "tool_name": "t", "details": details}}
        )
    progress = {"tool_name": "t", "tool_call_id": "c", "progress": 1, "total": 2, "message": "half"}
    await client.publish("s", {"type": "tool_progress", "data": progress})
    await client.publish("s", {"type": "tool_result", "data": {"tool_name": "t", "success": True, "result": {"n": 1}}})
    await client.publish("s", {"type": "tool_result", "data": {"tool_name": "t", "success": False, "error": "bad"}})
    lines = [
        '▶ t runs after 1.50 s  {"n": 1}',
        "⏸ t waits for a person after 1.50 s",
        "✔ t is done after 1.50 s",
        "✖ t failed after 1.50 s",
        "⊘ t was denied after 1.50 s  why",
        "⊘ t was cancelled after 1.50 s",
        "… t 1 of 2  half",
        "→ t gave {",
        "→ t gave bad",
    ]

    for line in lines:
        assert (await piped.until(line))[9:] == line


async def test_what_nobody_needs_to_read_is_not_shown(open_piped: Open) -> None:
    async with serve(settings=Settings(port=0, heartbeat_seconds=0.05)) as site:
        url = f"{site.url}{site.settings.prefix}"
        piped = open_piped(url)
        await piped.until("Watching session s")
        async with Client(url) as client, aclosing(client.events("s")) as events:
            await client.publish("s", {"type": "tool_result", "data": {"tool_name": "t", "success": True}})
            await piped.until("→ t gave null")
            site.broker.get("s").clear_result()
            beats = 0
            async for event in events:
                beats += event["type"] == "heartbeat"
                if beats == 3:
                    break
        site.broker.publish_nowait("s", "note", {"text": "after it"})

        assert (await piped.until("")).endswith("· note after it")
        await piped.close()


async def test_refusal_to_let_another_reader_in_is_told(open_piped: Open) -> None:
    async with serve(settings=Settings(port=0, max_connections_per_session=1)) as site:
        url = f"{site.url}{site.settings.prefix}"
        first = open_piped(url)
        await first.until("Watching session s; 1 watching.")
        refused = open_piped(url)
        await refused.until("Error: This session has 1 r")
        await refused.until("The service says goodbye (limit), coming back in ")
        for piped in (first, refused):
            await piped.close()


async def test_long_result_is_cut(piped: Piped, client: Client) -> None:
    result = {"tool_name": "t", "success": True, "result": list(range(100))}
    await client.publish("s", {"type": "tool_result", "data": result})

    await piped.until("(82 more lines)")


async def test_calls_that_run_already_are_shown_first(open_piped: Open, client: Client) -> None:
    await client.publish("s", {"type": "tool_status", "data": {"status": "executing", "tool_name": "t"}})
    piped = open_piped()

    await piped.until("▶ t runs")


async def test_event_of_a_type_of_its_own_is_shown_as_json(piped: Piped, client: Client) -> None:
    await client.publish("s", [{"type": "my.note", "data": {"text": "a", "n": 1}}, {"type": "bare"}])

    await piped.until("· my.note {")
    await piped.until("· bare null")


@pytest.mark.parametrize(
    "event_type",
    [
        "heartbeats",
        *(
            pytest.param(
                name,
            )
            for name in ("lost", "readable", "other")
        ),
    ],
)
async def test_event_of_any_type_is_only_shown(event_type: str, piped: Piped, client: Client) -> None:
    await client.publish("s", [{"type": event_type, "data": {"n": 1}}, {"type": "note", "data": {"text": "after it"}}])

    await piped.until(f"· {event_type} {{")
    await piped.until("· note after it")


@pytest.mark.parametrize(
    "details",
    [
        {"parameters": "text", "reason": 5},
        pytest.param(
            {"duration_ms": "long"},
        ),
    ],
)
async def test_odd_details_do_not_end_the_watch(details: dict[str, Any], piped: Piped, client: Client) -> None:
    status = {"status": "executing", "tool_name": "t", "details": details}
    await client.publish("s", [{"type": "tool_status", "data": status}, {"type": "note", "data": {"text": "after it"}}])

    await piped.until("· note after it")


async def test_nothing_from_elsewhere_reaches_the_terminal_as_it_is(piped: Piped, site: Site, client: Client) -> None:
    status = {"tool_name": HOSTILE, "details": {"parameters": {HOSTILE: HOSTILE}, "reason": HOSTILE, "error": HOSTILE}}
    for word in ("executing", "denied", "failed"):
        await client.publish("s", {"type": "tool_status", "data": {**status, "status": word}})
    progress = {"tool_name": HOSTILE, "tool_call_id": "c", "progress": 1, "message": HOSTILE}
    await client.publish("s", {"type": "tool_progress", "data": progress})
    for result in ({"success": True, "result": [HOSTILE]}, {"success": False, "error": HOSTILE}):
        await client.publish("s", {"type": "tool_result", "data": {"tool_name": HOSTILE, **result}})
    await client.publish("s", [{"type": "note", "data": {"text": HOSTILE}}, {"type": "note", "data": {HOSTILE: 1}}])
    request = ask(site, HOSTILE, parameters={HOSTILE: HOSTILE}, description=HOSTILE, risk_reasons=[HOSTILE])
    await client.decide("s", {"approved": False, "reason": HOSTILE, "request_id": request.request_id})
    ask(site, HOSTILE).cancel(HOSTILE)
    await client.publish("s", {"type": "note", "data": {"text": "the end"}})
    shown = [await piped.until("") for _ in range(1)]
    while "the end" not in shown[-1]:
        shown.append(await piped.until(""))

    assert not {"\x1b", "\x07", "\r", "\x08", "\x9b", "\x7f", "\u202e", "\u200b", "\u2028", "\U000e0041"} & set(
        "".join(shown)
    )
    assert sum("txt.exe" in line for line in shown) >= 14


@pytest.mark.parametrize(
    "field",
    [
        "parameters",
        pytest.param(
            "tool_name",
        ),
        pytest.param(
            "description",
        ),
    ],
)
async def test_no_field_of_a_request_can_pose_as_another_line(field: str, piped: Piped, site: Site) -> None:
    text = "x\nread_file   risk low"
    ask(site, **{field: {"path": text} if field == "parameters" else text})
    shown = [await piped.until("")]
    while "Answer with a line: " not in shown[-1]:
        shown.append(await piped.until(""))

    assert not [line for line in shown if line.strip("│ ").startswith("read_file")]


async def test_watch_comes_back_to_a_service_that_was_killed(commands: Commands, open_piped: Open) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/agent_backend"
    service = await commands.start("serve", "--port", str(port))
    await line_of(service.stdout)
    piped = open_piped(url)
    await piped.until("Watching session s")
    async with Client(url) as client:
        await client.publish("s", {"type": "note"})
    await piped.until("· note")
    service.kill()
    await service.wait()
    await piped.until("Connection lost (")
    async with serve(settings=Settings(port=port)):
        await piped.until("Back on session s; 1 watching.")
        await piped.until("The service or the session began anew: what waited before is denied.")
        await piped.type("q\n")
        assert (await piped.ended())[0] == 0


async def test_decision_while_the_service_is_away_is_told(commands: Commands, open_piped: Open) -> None:
    service = await commands.start("serve", "--port", "0")
    url = (await line_of(service.stdout)).rpartition(" ")[2]
    piped = open_piped(url)
    async with Client(url) as client:
        record = await client.ask("s", "t", {})
    await piped.until("Answer with a line: ")
    service.kill()
    await piped.until("Connection lost (")
    await piped.type(f"y {record['request_id']}\n")

    await piped.until(f"Not decided: The service at {url} does not answer: ")


async def test_session_that_cannot_be_followed_ends_with_one(commands: Commands, site: Site) -> None:
    ended = await commands.run("watch", "no spaces", env=SCREEN)

    assert ended.exit_code == 1
    assert ended.err == "notifier-service: A session id matches [A-Za-z0-9._:~-]{1,128}. (invalid)\n"


def test_watch_without_rich_says_what_to_install(tmp_path: Path) -> None:
    for installed in Path(rich.__file__).parent.parent.iterdir():
        if not installed.name.startswith("rich"):
            (tmp_path / installed.name).symlink_to(installed)
    project = Path(notifier_service.__file__).parent.parent

    done = subprocess.run(
        [sys.executable, "-S", "-m", "notifier_service", "watch", "s"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{project}"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    message = "notifier-service: watch needs rich: pip install 'notifier-service[cli]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)


async def test_terminal_that_knows_only_ascii_is_served_too(open_piped: Open, site: Site) -> None:
    piped = open_piped(encoding="ascii")
    await piped.until("Watching session s")
    site.broker.publish_nowait("s", "note", {"text": "größe"})

    await piped.until("note gr")


# Keys


def editor(folder: Path, script: str) -> str:
    """A program that edits its argument in this way."""
    path = folder / "my editor"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(stat.S_IRWXU)
    return f"'{path}'"


async def test_key_approves(terminal: Terminal, site: Site) -> None:
    request = ask(site)
    await terminal.until("A approve")
    await terminal.press("a", until="write_file approved by you")

    assert await decided(request) == ("approve", None, {"path": "a.txt"}, None)


async def test_key_right_after_a_new_card_decides_nothing(terminal: Terminal, site: Site) -> None:
    first, second = ask(site, "first_tool"), ask(site, "second_tool")
    await terminal.until("A approve")
    await terminal.press("a", until="first_tool approved by you")
    await terminal.until("second_tool   risk medium")
    terminal.type("a")
    await terminal.until(LOOK)

    assert (first.record.status, second.record.status) == ("approved", "pending")


async def test_keys_typed_ahead_answer_one_request_only(terminal: Terminal, site: Site) -> None:
    first, second = ask(site, "first_tool"), ask(site, "second_tool")
    await terminal.until("A approve")
    await terminal.press("aaaa", until="first_tool approved by you")
    await terminal.until("second_tool   risk medium")

    assert (first.record.status, second.record.status) == ("approved", "pending")


@pytest.mark.parametrize(
    ("typed", "reason"), [("too risky, größe\n", "too risky, größe"), ("\n", None), ("  \n", None), ("y\n", "y")]
)
async def test_key_rejects_with_the_reason_that_is_typed(
    typed: str, reason: str | None, terminal: Terminal, site: Site
) -> None:
    request = ask(site)
    await terminal.until("A approve")
    await terminal.press("r", until="Reason (Enter for none): ")
    terminal.type(typed)

    assert await decided(request) == ("reject", reason, {"path": "a.txt"}, None)
    await terminal.until("write_file rejected by you")


async def test_typed_reason_is_echoed_and_can_be_corrected(terminal: Terminal, site: Site) -> None:
    request = ask(site)
    await terminal.until("A approve")
    await terminal.press("r", until="Reason (Enter for none): ")
    terminal.type("nn\x7fo\n")
    await terminal.until("nn")

    assert (await decided(request))[1] == "no"


async def test_ctrl_d_at_a_prompt_does_not_make_the_watch_deaf(terminal: Terminal, site: Site) -> None:
    ask(site)
    await terminal.until("A approve")
    await terminal.press("p", until="Reply in the tool's place: ")
    terminal.type("\x04")
    terminal.type("?\n")
    async with asyncio.timeout(2):
        await terminal.until("E  edit the parameters")


async def test_output_waits_while_a_person_types(terminal: Terminal, site: Site, client: Client) -> None:
    request = ask(site)
    await terminal.until("A approve")
    await terminal.press("r", until="Reason (Enter for none): ")
    await client.publish("s", {"type": "note", "data": {"text": "meanwhile"}})
    terminal.type("no\n")
    await terminal.until("meanwhile")

    assert "Reason (Enter for none): no\r\n" in terminal.shown
    assert (await decided(request))[1] == "no"


async def test_key_responds_with_the_text_that_is_typed(terminal: Terminal, site: Site) -> None:
    request = ask(site)
    await terminal.until("A approve")
    await terminal.press("p", until="Reply in the tool's place: ")
    terminal.type("it is 42\n")

    assert await decided(request) == ("respond", None, {"path": "a.txt"}, "it is 42")


async def test_key_approves_for_the_whole_session(terminal: Terminal, site: Site) -> None:
    request = ask(site)
    await terminal.until("A approve")
    await terminal.press("s", until="write_file approved for the session by you")

    assert request.record.scope == "session"
    assert ask(site).record.decided_by == "policy"


HIDING = {"path": "a.txt", "text": "größe\x1b"}


@pytest.fixture
async def edit_with(site: Site, tmp_path: Path) -> AsyncIterator[Any]:
    """Watch with an editor of this script, or of this command, and press e at a request."""
    terminal = Terminal()

    async def edit(
        script: str, *, command: str | None = None, parameters: Any = HIDING, first: str = "", until: str
    ) -> tuple[Terminal, PermissionRequest]:
        await terminal.open(f"{site.url}{site.settings.prefix}", EDITOR=command or editor(tmp_path, script))
        request = ask(site, parameters=parameters)
        await terminal.until("A approve")
        if first:
            await terminal.press(first, until="A approve")
        await terminal.press("e", until=until)
        return terminal, request

    try:
        yield edit
    finally:
        await terminal.close()


async def test_key_opens_the_editor_and_what_it_leaves_is_the_edit(edit_with: Any) -> None:
    _, request = await edit_with('sed -i s/a.txt/b.txt/ "$1"', until="write_file approved with changes by you")

    assert await decided(request) == ("edit", None, {"path": "b.txt", "text": "größe\x1b"}, None)


@pytest.mark.parametrize(
    ("parameters", "script", "name", "edited"),
    [
        ({"command": 'echo "größe"', "timeout": 5}, 'echo "ls" > "$1"', "command.sh", {"command": "ls", "timeout": 5}),
        ({"path": "a.py", "content": "a\n"}, 'echo b >> "$1"', "file.py", {"path": "a.py", "content": "a\nb\n"}),
        ({"path": "a.py", "content": "a"}, 'echo b > "$1"', "file.py", {"path": "a.py", "content": "b"}),
        ({"path": "a. /x", "content": ""}, 'printf b > "$1"', "file.txt", {"path": "a. /x", "content": "b"}),
        ({"to": "a@b.c", "body": "x"}, 'printf y > "$1"', "message.txt", {"to": "a@b.c", "body": "y"}),
        ({"old": "a", "new": "b"}, 'sed -i s/b/c/ "$1"', "parameters.json", {"old": "a", "new": "c"}),
        ({"argv": ["a", "b"]}, 'sed -i s/b/c/ "$1"', "parameters.json", {"argv": ["a", "c"]}),
    ],
)
async def test_command_file_or_message_is_edited_as_it_is(
    parameters: Any, script: str, name: str, edited: Any, edit_with: Any, tmp_path: Path
) -> None:
    script = f'basename "$1" > {tmp_path}/name; {script}'

    _, request = await edit_with(script, parameters=parameters, until="write_file approved with changes by you")

    assert (await decided(request))[2] == edited
    assert (tmp_path / "name").read_text(encoding="utf-8") == f"{name}\n"


async def test_what_is_shown_exactly_is_edited_exactly(edit_with: Any) -> None:
    _, request = await edit_with(
        'sed -i s/60/5/ "$1"',
        parameters={"command": "ls", "timeout": 60},
        first="x",
        until="write_file approved with changes by you",
    )

    assert (await decided(request))[2] == {"command": "ls", "timeout": 5}


async def test_editor_sees_what_hides_as_escapes_and_has_the_terminal(edit_with: Any, tmp_path: Path) -> None:
    script = f'cat "$1" > {tmp_path}/seen; printf \'name? \'; read name; printf \'{{"path": "%s"}}\' $name > "$1"'

    terminal, request = await edit_with(script, until="name? ")
    terminal.type("c.txt\n")

    assert (await decided(request))[2] == {"path": "c.txt"}
    seen = (tmp_path / "seen").read_text(encoding="ascii")
    assert seen == '{\n  "path": "a.txt",\n  "text": "gr\\u00f6\\u00dfe\\u001b"\n}\n'


@pytest.mark.parametrize(
    ("script", "command", "told"),
    [
        ("exit 0", None, "Nothing was changed, and nothing decided."),
        ("exit 3", None, "ended with 3."),
        ("echo '{' > \"$1\"", None, "Not decided: no valid JSON: "),
        ("echo '[]' > \"$1\"", None, "Not decided: a JSON object is needed, such as "),
        ("", "no-such-editor --wait", "Not decided: no-such-editor --wait: No such file or directory; set EDITOR."),
        pytest.param(
            "rm \"$1\"", None, "Not decided",
        ),
        pytest.param(
            "printf '\\377' > \"$1\"", None, "Not decided",
        ),
        pytest.param(
            "", "vi 'unclosed", "set EDITOR",
        ),
    ],
    ids=["unchanged", "failed", "no json", "array", "missing", "removed", "no text", "unclosed"],
)  # fmt: skip
async def test_editor_that_leaves_no_edit_decides_nothing(
    script: str, command: str | None, told: str, edit_with: Any
) -> None:
    terminal, request = await edit_with(script, command=command, until=told)
    await terminal.press("a", until="write_file approved by you")

    assert request.record.decision == "approve"


async def test_request_shows_its_parameters_escaped_on_a_terminal(terminal: Terminal, site: Site) -> None:
    ask(site, HOSTILE, parameters={"command": HOSTILE}, description=HOSTILE)
    await terminal.until("A approve")

    assert f'"command": "{HARMLESS}"' in terminal.shown
    assert not {"\x1b", "\x07", "\x08", "\x9b", "\x7f", "\u202e", "\u200b", "\u2028", "\U000e0041"} & set(
        terminal.shown
    )
    assert terminal.shown.count("\r") == terminal.shown.count("\r\n")


async def test_coloured_terminal_gets_the_watchs_own_escapes_only(site: Site) -> None:
    terminal = Terminal()
    try:
        await terminal.open(f"{site.url}{site.settings.prefix}", TERM="xterm-256color")
        ask(site, HOSTILE, parameters={"command": HOSTILE}, description=HOSTILE)
        await terminal.until("A approve")
    finally:
        await terminal.close()

    shown = terminal.shown.replace(FOCUS_ON, "").replace(FOCUS_OFF, "")
    sequences = {part.partition("m")[0] for part in shown.split("\x1b")[1:]}
    assert "\x1b[" in shown
    assert [sequence for sequence in sequences if sequence.strip("[0123456789;")] == []
    assert "\x9b" not in terminal.shown


async def test_terminal_that_wants_no_colour_gets_none(site: Site) -> None:
    terminal = Terminal()
    try:
        await terminal.open(f"{site.url}{site.settings.prefix}", TERM="xterm-256color", NO_COLOR="1")
        ask(site, parameters={"old": "a", "new": "b"}, risk_level="high")
        await terminal.until("A approve")
    finally:
        await terminal.close()

    shown = terminal.shown.replace(FOCUS_ON, "").replace(FOCUS_OFF, "")
    codes = {code for part in shown.split("\x1b[")[1:] for code in part.partition("m")[0].split(";")}
    assert [code for code in codes if len(code) > 1] == []
    assert "1 - a" in "\n".join(terminal.rows)


async def test_terminal_counts_as_looked_at_while_it_has_the_focus(site: Site) -> None:
    terminal = Terminal()
    try:
        await terminal.open(f"{site.url}{site.settings.prefix}", TERM="xterm-256color")
        await until(lambda: site.broker.is_looked_at("s"))
        assert not site.broker.is_looked_at("another")
        request = ask(site)
        await terminal.until("A approve")
        terminal.type(LOST_FOCUS)
        await until(lambda: not site.broker.is_looked_at("s"))
        terminal.type(HAS_FOCUS)
        await until(lambda: site.broker.is_looked_at("s"))
        # In a line that a person types it would stand, so that the terminal is not asked meanwhile.
        assert (terminal.shown.count(FOCUS_ON), terminal.shown.count(FOCUS_OFF)) == (1, 0)
        await terminal.press("r", until="Reason (Enter for none): ")
        assert (terminal.shown.count(FOCUS_ON), terminal.shown.count(FOCUS_OFF)) == (1, 1)
        terminal.type("no\n")
        await until(lambda: not request.pending)
        terminal.type("q")
        assert await terminal.ended() == 0
    finally:
        await terminal.close()

    assert not site.broker.is_looked_at("s")
    assert terminal.shown.count(FOCUS_ON) == terminal.shown.count(FOCUS_OFF) == 2


async def test_terminal_that_does_not_tell_counts_for_a_minute_after_a_key(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    tell = site.broker.presence.tell

    def tell_too(account: str, page_id: str, *, is_visible: bool, sees: Callable[[str], bool]) -> None:
        told.append(is_visible)
        tell(account, page_id, is_visible=is_visible, sees=sees)

    monkeypatch.setattr(site.broker.presence, "tell", tell_too)
    monkeypatch.setattr(attendance, "_AGAIN_SECONDS", 0.05)
    terminal = Terminal()
    try:
        await terminal.open(f"{site.url}{site.settings.prefix}")
        await until(lambda: told == [True])
        terminal.type("?")
        await until(lambda: told == [True, True])
        terminal.type("q")
        await terminal.ended()
    finally:
        await terminal.close()

    assert (told[:2], told[-1]) == ([True, True], False)
    assert FOCUS_ON not in terminal.shown


async def test_key_that_comes_soon_after_another_tells_nothing_anew(site: Site) -> None:
    class Told(Client):
        times = 0

        async def presence(self, **said: Any) -> dict[str, Any]:
            self.times += 1
            return {}

    client = Told(site.url)
    attended = attendance.Attendance(client, "s")
    running = asyncio.create_task(attended.run())
    await until(lambda: client.times)
    for _ in range(100):
        attended.touch()
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert client.times == 2


async def test_pipe_is_no_person(piped: Piped, site: Site) -> None:
    ask(site)
    await piped.until("Answer with a line")

    assert not site.broker.is_looked_at("s")
    assert site.broker.lookers("s") == set()


async def test_stopped_watch_leaves_the_shell_a_terminal_that_does_not_tell(commands: Commands, site: Site) -> None:
    terminal = Terminal()
    try:
        await terminal.start(commands, TERM="xterm-256color")
        assert terminal.process is not None
        terminal.process.send_signal(signal.SIGTSTP)
        await terminal.until(FOCUS_OFF)
        await asyncio.to_thread(os.waitid, os.P_PID, terminal.process.pid, os.WSTOPPED | os.WNOWAIT)
        terminal.process.send_signal(signal.SIGCONT)
        await terminal.until(FOCUS_ON)
        terminal.type("q")
        assert await terminal.ended() == 0
    finally:
        await terminal.close()


async def test_q_restores_the_terminal(terminal: Terminal) -> None:
    during = termios.tcgetattr(terminal.keyboard)
    terminal.type("q")

    assert await terminal.ended() == 0
    assert not during[3] & termios.ICANON
    assert termios.tcgetattr(terminal.keyboard) == terminal.settings_before


async def test_ctrl_d_ends_the_watch(terminal: Terminal) -> None:
    terminal.type("\x04")

    assert await terminal.ended() == 0


async def test_ctrl_c_restores_the_terminal(terminal_of_a_shell: Terminal) -> None:
    assert terminal_of_a_shell.process is not None
    terminal_of_a_shell.process.send_signal(signal.SIGINT)

    assert await terminal_of_a_shell.ended() == 130
    assert termios.tcgetattr(terminal_of_a_shell.keyboard) == terminal_of_a_shell.settings_before


async def test_ctrl_c_while_a_person_types_restores_the_terminal(terminal_of_a_shell: Terminal, site: Site) -> None:
    request = ask(site)
    await terminal_of_a_shell.until("A approve")
    await terminal_of_a_shell.press("r", until="Reason (Enter for none): ")
    assert terminal_of_a_shell.process is not None
    terminal_of_a_shell.process.send_signal(signal.SIGINT)

    assert await terminal_of_a_shell.ended() == 130
    assert termios.tcgetattr(terminal_of_a_shell.keyboard) == terminal_of_a_shell.settings_before
    assert request.pending


async def test_key_shows_help_and_the_request_again(terminal: Terminal, site: Site) -> None:
    terminal.type("?")
    await terminal.until("E  edit the parameters")
    terminal.type("z")
    await terminal.until("No such key; ? explains.")
    terminal.type("a")
    await terminal.until("Nothing waits for a decision.")
    request = ask(site)
    await terminal.until("A approve")
    await terminal.press("d", until="May this run?")

    assert request.pending


async def test_key_for_a_request_decided_elsewhere_decides_nothing(
    terminal: Terminal, site: Site, client: Client
) -> None:
    request = ask(site)
    await terminal.until("A approve")
    await terminal.press("r", until="Reason (Enter for none): ")
    await client.decide("s", {"approved": True})
    terminal.type("no\n")
    await terminal.until("Not decided: local decided otherwise before: approved (approve).")

    assert request.record.status == "approved"
