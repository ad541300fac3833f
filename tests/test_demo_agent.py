"""The demonstration agent works in its folder, asks where it matters, and goes on after a no."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Decision, Limits
from notifier_service.chat import Answer, Chat
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.demo_agent import ChatWorkspace, DemoAgent, DemoChat, Workspace
from tests.policies import a_policy_file


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


def told(broker: Broker, event_type: str) -> list[Any]:
    events = [json.loads(event.json) for event in broker.get("demo").log.read_after(0)]
    return [event["data"] for event in events if event["type"] == event_type]


async def next_request(broker: Broker) -> PermissionRequest:
    session = broker.open("demo")
    async with asyncio.timeout(20):
        while not session.desk.pending:
            await session.log.wait_after(session.log.last_seq)
    return session.desk.pending[0]


async def one_round(broker: Broker, workspace: Workspace, *answers: dict[str, Any], said: list[str]) -> None:
    """Let the agent work one round in which its requests are answered in this order."""
    round_one = asyncio.create_task(DemoAgent(broker, workspace, say=said.append).round(1))
    for answer in answers:
        request = await next_request(broker)
        broker.decide("demo", Decision(request_id=request.request_id, **answer), decided_by="ada")
    await round_one


async def test_listing_shows_folders_with_a_slash(workspace: Workspace) -> None:
    assert await workspace.call_tool("list_folder", {"path": "."}) == ["count_words.py", "notes/"]


async def test_what_was_written_can_be_read(workspace: Workspace) -> None:
    written = await workspace.call_tool("write_file", {"path": "notes/a.md", "text": "größe"})

    assert written == {"path": "notes/a.md", "bytes": 7}
    assert await workspace.call_tool("read_file", {"path": "notes/a.md"}) == "größe"


@pytest.mark.parametrize("path", ["..", "../x", "/etc/passwd", "notes/../../x", "link/x"])
@pytest.mark.parametrize("tool", ["list_folder", "read_file", "write_file"])
async def test_no_path_leads_out_of_the_folder(tool: str, path: str, workspace: Workspace) -> None:
    (workspace.folder / "link").symlink_to(workspace.folder.parent)

    with pytest.raises(ValueError, match="the path leads out of the workspace"):
        await workspace.call_tool(tool, {"path": path} | ({"text": ""} if tool == "write_file" else {}))

    assert not (workspace.folder.parent / "x").exists()


@pytest.mark.parametrize("name", ["delete", "_inside", "call_tool", "folder"])
async def test_only_the_four_tools_can_be_called(name: str, workspace: Workspace) -> None:
    with pytest.raises(ValueError, match=f"there is no tool {name}"):
        await workspace.call_tool(name, {})


async def test_program_runs_in_the_folder_and_tells_how_it_ended(workspace: Workspace) -> None:
    program = "import os, sys; print(os.getcwd()); print('oops', file=sys.stderr, flush=True); sys.exit(3)"

    result = await workspace.run_program([sys.executable, "-u", "-c", program])

    assert result == {"exit_code": 3, "output": f"{workspace.folder}\noops\n"}


async def test_program_that_takes_too_long_is_ended(workspace: Workspace) -> None:
    with pytest.raises(TimeoutError):
        await workspace.run_program([sys.executable, "-c", "import signal; signal.pause()"], timeout_seconds=0)


async def test_program_of_a_cancelled_call_is_killed(workspace: Workspace) -> None:
    output: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def on_start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        started = await reader.readline()
        call.cancel()
        output.set_result(started + await reader.read())  # ends when the program does
        writer.close()

    server = await asyncio.start_server(on_start, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    program = f"import signal, socket; socket.create_connection(('127.0.0.1', {port})).send(b'up\\n'); signal.pause()"
    call = asyncio.create_task(workspace.run_program([sys.executable, "-c", program], timeout_seconds=60))

    with pytest.raises(asyncio.CancelledError):
        await call

    assert await asyncio.wait_for(output, 20) == b"up\n"
    server.close()


async def test_round_writes_and_runs_after_two_yeses(broker: Broker, workspace: Workspace) -> None:
    said: list[str] = []

    await one_round(broker, workspace, {"approved": True}, {"approved": True}, said=said)

    assert (workspace.folder / "notes" / "round-1.md").read_text(encoding="utf-8").startswith("# Round 1\n")
    assert [(status["tool_name"], status["status"]) for status in told(broker, "tool_status")] == [
        ("list_folder", "executing"),
        ("list_folder", "completed"),
        ("read_file", "executing"),
        ("read_file", "completed"),
        ("write_file", "waiting_permission"),
        ("write_file", "executing"),
        ("write_file", "completed"),
        ("run_program", "waiting_permission"),
        ("run_program", "executing"),
        ("run_program", "completed"),
    ]
    assert told(broker, "tool_result")[-1]["result"] == {
        "exit_code": 0,
        "output": "round-1.md 11 words\nwelcome.md 7 words\n",
    }
    assert [message["text"] for message in told(broker, "agent_message")] == [
        "Round 1: I look at my notes.",
        "I would like to write notes/round-1.md.",
        "I would like to count the words with a program.",
        "Round 1 is over.",
    ]
    assert "write_file gave \"{'path': 'notes/round-1.md', 'bytes': 48}\"" in said


async def test_person_is_told_the_risk_and_the_agents_words(broker: Broker, workspace: Workspace) -> None:
    await one_round(broker, workspace, {"approved": False}, {"approved": False}, said=[])

    assert [(asked["tool_name"], asked["risk_level"]) for asked in told(broker, "permission_request")] == [
        ("write_file", "medium"),
        ("run_program", "high"),
    ]
    assert told(broker, "permission_request")[0]["description"] == "One step of the demonstration."


async def test_round_goes_on_after_a_no_and_says_why(broker: Broker, workspace: Workspace) -> None:
    said: list[str] = []

    await one_round(broker, workspace, {"approved": False, "reason": "not today"}, {"approved": False}, said=said)

    assert not (workspace.folder / "notes" / "round-1.md").exists()
    assert "Denied: write_file did not run: rejected by ada: not today" in said
    assert "Denied: run_program did not run: rejected by ada." in said
    assert said[-1] == "Round 1 is over."


async def test_edit_that_leads_out_of_the_folder_fails_and_the_round_goes_on(
    broker: Broker, workspace: Workspace
) -> None:
    said: list[str] = []
    outside = {"path": "../x", "text": ""}

    await one_round(broker, workspace, {"approved": True, "parameters": outside}, {"approved": False}, said=said)

    assert "write_file failed: ValueError: the path leads out of the workspace" in said
    assert said[-1] == "Round 1 is over."


async def test_agent_works_round_after_round_until_it_is_cancelled(broker: Broker, workspace: Workspace) -> None:
    work = asyncio.create_task(DemoAgent(broker, workspace, pause_seconds=0).run())
    for _ in range(4):
        request = await next_request(broker)
        broker.decide("demo", Decision(approved=False, request_id=request.request_id), decided_by="ada")
    request = await next_request(broker)
    work.cancel()

    with pytest.raises(asyncio.CancelledError):
        await work

    assert request.record.status == "cancelled"
    assert [asked["parameters"].get("path") for asked in told(broker, "permission_request")] == [
        "notes/round-1.md",
        None,
        "notes/round-2.md",
        None,
        "notes/round-3.md",
    ]


# The chat


@pytest.fixture
def notes(tmp_path: Path) -> ChatWorkspace:
    return ChatWorkspace(tmp_path / "work")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def demo(temporary: Path) -> Iterator[DemoChat]:
    demo = DemoChat(pause_seconds=0)
    yield demo
    demo.close()


async def said_in(answer: Answer) -> str:
    """The text of an answer, which ended well."""
    pieces = []
    with answer.reading() as reader:
        while not reader.over:
            pieces += [json.loads(event.json) for event in await reader.next()]
    assert pieces[-1] == {"type": "done"}, pieces
    return "".join(piece["content"] for piece in pieces[:-1])


async def reply_of(
    demo: DemoChat, broker: Broker, query: str, *decisions: dict[str, Any], session_id: str = "demo", **how: Any
) -> str:
    """What the demonstration says to a query while its requests are decided in this order."""
    answer = Chat(broker, demo).begin(session_id, query, asked_by="ada", **how)
    for decision in decisions:
        request = await next_request(broker)
        broker.decide("demo", Decision(request_id=request.request_id, **decision), decided_by="ada")
    async with asyncio.timeout(20):
        return await said_in(answer)


@pytest.mark.parametrize("query", ["hello", "", "  ", "read", "write", "write a", "LISTEN", "help me"])
async def test_what_is_no_command_is_answered_with_the_commands(demo: DemoChat, broker: Broker, query: str) -> None:
    assert "I know these commands:\nlist; read NAME;" in await reply_of(demo, broker, query)


async def test_chinese_is_answered_in_chinese(demo: DemoChat, broker: Broker) -> None:
    assert (await reply_of(demo, broker, "你好")).startswith("你好！我是 notifier_service 的演示助手。")


async def test_answer_comes_word_by_word(demo: DemoChat, broker: Broker) -> None:
    answer = Chat(broker, demo).begin("demo", "hello", asked_by="ada")
    with answer.reading() as reader:
        while not reader.over:
            await reader.next()

    words = [json.loads(event.json) for event in answer.log.read_after(0)]
    assert [word["content"] for word in words[:3]] == ["Hello! ", "I ", "am "]


async def test_notes_are_written_after_a_yes_and_can_be_listed_read_and_counted(demo: DemoChat, broker: Broker) -> None:
    written = await reply_of(demo, broker, "write list buy some milk", {"approved": True})
    listed = await reply_of(demo, broker, "LIST")
    read = [await reply_of(demo, broker, f"read {name}") for name in ("list", "list.md")]
    counted = await reply_of(demo, broker, "count", {"approved": True})

    assert written == "I would like to write list.md. Written: 14 bytes."
    assert listed == "list.md\nwelcome.md"
    assert read == ["buy some milk\n"] * 2
    assert counted == "I would like to run a program. list.md 3 words\nwelcome.md 7 words\n"


async def test_notes_of_one_session_are_not_those_of_another(demo: DemoChat, broker: Broker, temporary: Path) -> None:
    await reply_of(demo, broker, "write mine a secret", {"approved": True})

    assert await reply_of(demo, broker, "list") == "mine.md\nwelcome.md"
    assert await reply_of(demo, broker, "list", session_id="other") == "welcome.md"
    assert len(list(temporary.iterdir())) == 2


async def test_notes_of_the_last_hundred_sessions_are_kept(demo: DemoChat, broker: Broker, temporary: Path) -> None:
    await reply_of(demo, broker, "write mine a secret", {"approved": True})
    for number in range(99):
        await reply_of(demo, broker, "list", session_id=f"s{number}")
    assert await reply_of(demo, broker, "list") == "mine.md\nwelcome.md"
    for number in range(100):
        await reply_of(demo, broker, "list", session_id=f"t{number}")

    assert len(list(temporary.iterdir())) == 100
    assert await reply_of(demo, broker, "list") == "welcome.md"


async def test_person_is_shown_what_was_asked_in_the_chat(demo: DemoChat, broker: Broker) -> None:
    await reply_of(demo, broker, f"write a {'x' * 500}", {"approved": False})

    [asked] = told(broker, "permission_request")
    assert (asked["tool_name"], asked["risk_level"]) == ("write_file", "medium")
    assert asked["parameters"] == {"path": "notes/a.md", "text": "x" * 500 + "\n"}
    assert asked["description"] == f"Asked in the chat: write a {'x' * 192}"


async def test_after_a_no_nothing_is_written_and_the_reason_is_told(demo: DemoChat, broker: Broker) -> None:
    said = await reply_of(demo, broker, "write a text", {"approved": False, "reason": "not today"})

    assert said.endswith("I did not do it: write_file did not run: rejected by ada: not today")
    assert await reply_of(demo, broker, "list") == "welcome.md"


async def test_rule_of_a_policy_file_answers_in_the_chat(demo: DemoChat, broker: Broker, tmp_path: Path) -> None:
    broker.follow(a_policy_file(tmp_path / "policy.toml", deny="write_file", allow="count_words"))

    written, counted = await reply_of(demo, broker, "write a text"), await reply_of(demo, broker, "count")

    assert written.endswith(
        'I did not do it: write_file did not run: denied by policy rule "no write_file": because of write_file'
    )
    assert counted.endswith("welcome.md 7 words\n")
    assert not told(broker, "permission_request")


async def test_attachments_are_counted(demo: DemoChat, broker: Broker) -> None:
    said = await reply_of(demo, broker, "list", attachments=[b"abc", b""])

    assert said == "You sent me 3 bytes. You sent me 0 bytes. welcome.md"


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("read nothing", "No such file or directory"),
        ("read ../../../../etc/passwd", "the path leads out of the workspace"),
        ("read /etc/passwd", "No such file or directory"),  # notes//etc/passwd.md
        ("read a\0b", "embedded null"),
        (f"read {'x' * 300}", "File name too long"),
        (f"talk {'9' * 5000}", "Exceeds the limit (4300 digits) for integer string conversion"),
    ],
    ids=lambda text: text[:24],
)
async def test_what_does_not_work_is_said(demo: DemoChat, broker: Broker, query: str, why: str) -> None:
    said = await reply_of(demo, broker, query)

    assert said.startswith("That did not work: ")
    assert why in said


@pytest.mark.parametrize(
    "edit",
    [
        {"path": "../x.md"},
        {"path": "notes/../../x.md"},
        {"path": "/tmp/x.md"},
        {"path": "count_words.py"},
        {"path": "notes/../count_words.py"},
        {"path": "x.md"},
        {"path": "notes/deeper/x.md"},
        {"path": "notes/x.py"},
        {"path": "notes"},
        {"path": ""},
        {"path": "notes/a\0.md"},
        {"path": "notes/link.md"},
        {"path": 5},
        {"path": None},
        {"path": ["notes/a.md"]},
        {"text": 5},
        {"text": None},
        {"text": "x" * 10_001},
        {"more": 1},
    ],
    ids=str,
)
async def test_no_edit_leads_out_of_the_notes(
    demo: DemoChat, broker: Broker, temporary: Path, edit: dict[str, Any]
) -> None:
    await reply_of(demo, broker, "list")
    [folder] = temporary.iterdir()
    outside = folder.parent / "outside.md"
    (folder / "notes" / "link.md").symlink_to(outside)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    parameters = {"path": "notes/a.md", "text": "x", **edit}

    said = await reply_of(demo, broker, "write a text", {"approved": True, "parameters": parameters})

    assert said.startswith("I would like to write a.md. That did not work: ")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert list(temporary.iterdir()) == [folder]


async def test_edit_of_what_is_read_leads_nowhere_else(demo: DemoChat) -> None:
    broker = Broker(Limits(ask_from_risk="low"))
    approved = {"approved": True, "parameters": {"path": "../../../../../../etc/passwd"}}

    said = [await reply_of(demo, broker, query, approved) for query in ("read welcome", "list")]

    assert said == ["That did not work: the path leads out of the workspace"] * 2


async def test_edit_of_the_program_does_not_run_another(demo: DemoChat, broker: Broker) -> None:
    edit = {"argv": ["touch", "/tmp/x"]}
    said = await reply_of(demo, broker, "count", {"approved": True, "parameters": edit})

    assert said.startswith("I would like to run a program. That did not work: ")


async def test_program_is_nothing_that_stands_in_the_folder(
    notes: ChatWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(notes.folder))
    for name in ("count_words.py", "pathlib.py", "sitecustomize.py"):
        (notes.folder / name).write_text("print('from the folder')")

    assert await notes.call_tool("count_words", {}) == "welcome.md 7 words\n"


async def test_number_of_notes_is_bounded(notes: ChatWorkspace) -> None:
    for number in range(99):
        await notes.call_tool("write_file", {"path": f"notes/{number}.md", "text": "x" * 10_000})

    with pytest.raises(ValueError, match="at most 100 notes of 10000 characters are kept"):
        await notes.call_tool("write_file", {"path": "notes/more.md", "text": ""})


async def test_chat_has_no_tool_that_runs_a_program_of_the_callers(notes: ChatWorkspace) -> None:
    with pytest.raises(ValueError, match="there is no tool run_program"):
        await notes.call_tool("run_program", {"argv": ["true"]})


async def test_program_of_a_cancelled_answer_is_killed(
    demo: DemoChat, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    output: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def on_start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        started = await reader.readline()
        answer.cancel()
        output.set_result(started + await reader.read())  # ends when the program does
        writer.close()

    server = await asyncio.start_server(on_start, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    program = f"import signal, socket; socket.create_connection(('127.0.0.1', {port})).send(b'up\\n'); signal.pause()"
    monkeypatch.setattr("notifier_service.demo_agent._PROGRAM", program)
    chat = Chat(broker, demo)
    answer = chat.begin("demo", "count", asked_by="ada")
    await next_request(broker)
    broker.decide("demo", Decision(approved=True), decided_by="ada")

    assert await asyncio.wait_for(output, 20) == b"up\n"
    await chat.drain(20)
    server.close()
    assert answer.outcome == "cancelled"
    assert [status["status"] for status in told(broker, "tool_status")][-1] == "cancelled"


async def test_talking_can_be_cancelled(demo: DemoChat, broker: Broker) -> None:
    chat = Chat(broker, demo)
    answer = chat.begin("demo", "talk 600", asked_by="ada")
    with answer.reading() as reader:
        first = [json.loads(event.json) for event in await reader.next()]
        answer.cancel()
        rest = [json.loads(event.json) for event in await reader.next()]
    await chat.drain(20)

    assert first[0] == {"type": "content", "content": "0.0 "}
    assert rest[-1] == {"type": "done", "cancelled": True}
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_notes_are_in_one_temporary_folder_that_is_removed(temporary: Path, broker: Broker) -> None:
    demo = DemoChat(pause_seconds=0)
    await reply_of(demo, broker, "hello")
    without_tools = list(temporary.iterdir())
    await reply_of(demo, broker, "list")
    await reply_of(demo, broker, "list")
    with_tools = [path.name for path in temporary.iterdir()]
    demo.close()
    demo.close()
    del demo
    gc.collect()  # what was not removed warns now

    assert without_tools == []
    assert len(with_tools) == 1
    assert with_tools[0].startswith("notifier-chat-")
    assert list(temporary.iterdir()) == []
