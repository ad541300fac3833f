"""Between an editor and an agent what the agent asks is held; whatever ends or misbehaves, nothing is let run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notifier_service import Decision
from tests.acp.conftest import AcpWiring

OPTIONS = [
    {"optionId": "a", "name": "Always", "kind": "allow_always"},
    {"optionId": "o", "name": "Once", "kind": "allow_once"},
    {"optionId": "n", "name": "No", "kind": "reject_once"},
]
CALL = {
    "toolCallId": "t1", "title": "Run the tests", "kind": "execute", "status": "in_progress",
    "rawInput": {"command": "make test"},
}  # fmt: skip


def permission(message_id: Any = 0, call: Any = None, *, options: Any = None, session: str = "a1") -> dict[str, Any]:
    params = {"sessionId": session, "toolCall": CALL if call is None else call}
    params["options"] = OPTIONS if options is None else options
    return {"jsonrpc": "2.0", "id": message_id, "method": "session/request_permission", "params": params}


def update(call: dict[str, Any], kind: str = "tool_call_update") -> dict[str, Any]:
    params = {"sessionId": "a1", "update": {"sessionUpdate": kind, **call}}
    return {"jsonrpc": "2.0", "method": "session/update", "params": params}


def request(message_id: Any, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": message_id, "method": method, "params": {"sessionId": "a1", **params}}


def outcome(answer: dict[str, Any]) -> Any:
    return answer["result"]["outcome"]


def selected(option: str) -> dict[str, str]:
    return {"outcome": "selected", "optionId": option}


async def decide(acp: AcpWiring, **decision: Any) -> Any:
    asked = await acp.asked()
    acp.broker.decide("s", Decision(request_id=asked.request_id, **decision), decided_by="ada")
    return asked.record


async def test_what_was_told_of_a_call_is_what_a_person_is_shown(acp: AcpWiring) -> None:
    acp.start()
    diff = {"type": "diff", "path": "/w/a.txt", "oldText": "a", "newText": "b"}
    await acp.says(
        update({"toolCallId": "t1", "title": "Edit", "kind": "edit", "status": "pending"}, "tool_call"),
        update({"toolCallId": "t1", "rawInput": {"dry": False}, "content": [diff]}),
        permission(0, {"toolCallId": "t1"}),
    )

    record = await decide(acp, approved=True)

    assert record.parameters == {
        "dry": False, "changes": [{"path": "/w/a.txt", "old_text": "a", "new_text": "b"}],
    }  # fmt: skip
    assert (record.tool_name, record.description, record.tool_call_id) == ("edit", "Edit", "t1")
    assert record.allowed_decisions == ("approve", "reject")
    assert outcome(await acp.answer(0)) == selected("o")


@pytest.mark.parametrize("scope", ["once", "session"])
async def test_the_agents_own_always_is_never_chosen(scope: str, acp: AcpWiring) -> None:
    acp.start()
    await acp.says(permission(7))
    await decide(acp, approved=True, scope=scope)
    assert outcome(await acp.answer(7)) == selected("o")

    await acp.says(permission(8))
    if scope == "once":
        await decide(acp, approved=False)
    assert outcome(await acp.answer(8)) == selected("n" if scope == "once" else "o")
    assert await acp.in_step() == []  # the editor was asked nothing


@pytest.mark.parametrize(
    ("options", "approved", "rejected"),
    [
        (OPTIONS[:1], {"outcome": "cancelled"}, {"outcome": "cancelled"}),
        ([], {"outcome": "cancelled"}, {"outcome": "cancelled"}),
        ("none", {"outcome": "cancelled"}, {"outcome": "cancelled"}),
        ([OPTIONS[1], {"optionId": "never", "kind": "reject_always"}], selected("o"), selected("never")),
        ([OPTIONS[1], OPTIONS[1]], {"outcome": "cancelled"}, {"outcome": "cancelled"}),
        ([OPTIONS[1], {"optionId": "o", "kind": "allow_always"}, OPTIONS[2]], selected("n"), selected("n")),
        ([{"optionId": "o", "kind": "Allow_Once"}, OPTIONS[2]], selected("n"), selected("n")),
    ],
)
async def test_answer_is_one_that_the_agent_offers_and_nobody_can_take_for_another(
    options: Any, approved: Any, rejected: Any, acp: AcpWiring
) -> None:
    acp.start()
    for message_id, is_approved, expected in ((1, True, approved), (2, False, rejected)):
        await acp.says(permission(message_id, options=options))
        if approved == selected("o"):
            await decide(acp, approved=is_approved)
        assert outcome(await acp.answer(message_id)) == expected


async def test_reason_is_told_to_agents_that_look(acp: AcpWiring) -> None:
    acp.start()
    await acp.says(permission())
    await decide(acp, approved=False, reason="not on a Friday")

    answer = await acp.answer(0)
    assert answer["result"]["_meta"]["notifier_service"]["reason"] == (
        "execute did not run: rejected by ada: not on a Friday"
    )


async def test_calls_become_events_of_the_session(acp: AcpWiring) -> None:
    acp.start()
    await acp.says(
        update(CALL, "tool_call"),
        permission(0, {"toolCallId": "t1"}),
    )
    await decide(acp, approved=True)
    await acp.answer(0)
    await acp.says(
        update({"toolCallId": "t1", "title": "Half way"}),
        update({"toolCallId": "t1", "status": "completed", "rawOutput": {"exit": 0}}),
    )
    await acp.told("completed")

    statuses = [data["status"] for data in acp.events("tool_status")]
    assert statuses == ["executing", "waiting_permission", "executing", "completed"]
    assert acp.events("tool_progress")[-1]["message"] == "Half way"
    assert acp.events("tool_result")[0]["result"] == {"exit": 0}


async def test_everything_else_passes_byte_for_byte(acp: AcpWiring) -> None:
    acp.start()
    lines = [
        '{"jsonrpc":"2.0","method":"x/unknown" , "params":{"z":1, "a":[1.50,1e3,"\\u00e9é"]}}',
        '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"a1","update":{"sessionUpdate":"new_kind"}}}',
        '{"jsonrpc":"2.0","id":"x","method":"_vendor/ask","params":{"_meta":{"terminal":1}}}',
    ]
    await acp.says(*lines)
    assert [(await acp.client.line()).decode() for _ in lines] == lines

    answer = b'{"jsonrpc":"2.0", "id":"x", "result":{"n":1.0}}'
    sent = [answer, b'{"jsonrpc":"2.0","method":"x/note","params":{"n": 1.50}}']
    await acp.client.send(*sent)
    await acp.in_step()
    assert acp.reached()[-3:-1] == sent


@pytest.mark.parametrize(
    "line",
    [
        json.dumps(permission()).replace('"method"', '"Method"'),
        json.dumps(permission()).replace("session/request_permission", "session/Request_Permission"),
        json.dumps(permission()).replace("session/request_permission", "session/request_permission "),
        json.dumps(permission()).replace("session/request_permission", "session/request_permission\\u0000"),
        json.dumps(permission() | {"result": {}}),
        json.dumps(permission(None)),
        json.dumps(permission(1.5)),
        json.dumps(permission() | {"params": []}),
        json.dumps(permission(call="t1")),
        json.dumps(permission(call={"toolCallId": 1})),
        json.dumps(request(0, "fs/write_text_file", Path="/etc/passwd", path="/w/a", content="")),
        json.dumps(request(0, "Fs/Write_Text_File", path="/w/a", content="")),
        json.dumps(request(0, "terminal/create", command="ls", Args=["-l"])),
        json.dumps(request(0, "terminal/create", command="rm", args="-rf /")),
        json.dumps(request(0, "terminal/create", command="rm", args={"-rf": "/"})),
        json.dumps(request(0, "terminal/create", command="rm", args=5)),
        json.dumps(request(0, "terminal/create", command=["rm", "a"])),
        json.dumps(request(0, "terminal/create", command="ls", cwd={"path": "/"})),
        json.dumps(request(0, "terminal/create", args=["ls"])),
        json.dumps(request(0, "fs/write_text_file", path=["/w/a"], content="")),
        json.dumps(request(0, "fs/write_text_file", path="/w/a", content={"text": "x"})),
        json.dumps(request(0, "fs/read_text_file", path=None)),
        '{"jsonrpc":"2.0","id":0,"method":"fs/write_text_file","params":{"sessionId":"a1","path":"a","content":1e999}}',
        "[" * 100_000,
        "not json: session/request_permission",
    ],
)
async def test_what_could_be_taken_for_something_judged_passes_nobody(line: str, acp: AcpWiring) -> None:
    acp.start()
    await acp.says(line)

    assert await acp.in_step() == []
    assert not acp.broker.open("s").desk.pending


async def test_key_that_comes_twice_has_the_one_meaning_that_is_shown(acp: AcpWiring) -> None:
    acp.start()
    text = json.dumps(request(0, "fs/write_text_file", path="/w/a", content="x"))
    await acp.says(text.replace('"path": "/w/a"', '"path": "/etc/passwd", "path": "/w/a"'))
    record = await decide(acp, approved=True)

    assert record.parameters == {"path": "/w/a", "content": "x"}
    assert b"passwd" not in await acp.client.line()


async def test_write_through_the_editor_waits_and_is_edited(acp: AcpWiring) -> None:
    acp.start()
    await acp.says(request(5, "fs/write_text_file", path="/w/a", content="x", _meta={"k": 1}))
    record = await decide(acp, approved=True, parameters={"path": "/w/b", "content": "y"})

    written = await acp.client.message()
    assert written["params"] == {"sessionId": "a1", "path": "/w/b", "content": "y", "_meta": {"k": 1}}
    assert record.tool_name == "write_text_file"
    await acp.client.send({"jsonrpc": "2.0", "id": 5, "result": None})
    assert (await acp.answer(5))["result"] is None
    await acp.told("completed")


async def test_terminal_that_is_rejected_is_not_opened_and_the_agent_is_told(acp: AcpWiring) -> None:
    acp.start()
    await acp.says(request(5, "terminal/create", command="rm", args=["-rf", "/w"], env=[], cwd="/w"))
    record = await decide(acp, approved=False, reason="no")

    assert record.parameters == {"argv": ["rm", "-rf", "/w"], "env": [], "cwd": "/w"}
    answer = await acp.answer(5)
    assert answer["error"] == {"code": -32001, "message": "terminal_create did not run: rejected by ada: no"}
    assert await acp.in_step() == []


async def test_terminal_runs_the_words_that_a_person_made_of_them(acp: AcpWiring) -> None:
    acp.start()
    await acp.says(request(5, "terminal/create", command="rm", args=["a"]))
    await decide(acp, approved=True, parameters={"argv": ["rm", "b", "c d"]})

    assert (await acp.client.message())["params"] == {"sessionId": "a1", "command": "rm", "args": ["b", "c d"]}


async def test_reading_runs_unasked_and_is_told(acp: AcpWiring) -> None:
    acp.start()
    await acp.says(request(5, "fs/read_text_file", path="/w/a"))

    assert (await acp.client.message())["params"]["path"] == "/w/a"
    await acp.client.send({"jsonrpc": "2.0", "id": 5, "error": {"code": 1, "message": "no such file"}})
    assert (await acp.answer(5))["error"]["message"] == "no such file"
    assert (await acp.told("failed"))["details"]["error"] == "no such file"


async def test_what_was_shown_and_approved_is_written_once_without_another_question(acp: AcpWiring) -> None:
    acp.start()
    diff = {"type": "diff", "path": "/w/a", "oldText": None, "newText": "x"}
    await acp.says(permission(0, CALL | {"kind": "edit", "rawInput": {}, "content": [diff]}))
    await decide(acp, approved=True)
    await acp.answer(0)

    await acp.says(request(1, "fs/write_text_file", path="/w/a", content="x"))
    assert (await acp.client.message())["id"] == 1
    await acp.says(request(2, "fs/write_text_file", path="/w/a", content="x"))
    assert (await acp.asked()).record.tool_name == "write_text_file"


@pytest.mark.parametrize("again", [update, lambda call: permission(1, call)])
async def test_what_the_agent_tells_of_a_call_while_it_is_asked_about_may_not_be_done_unasked(
    again: Any, acp: AcpWiring
) -> None:
    acp.start()
    diff = {"type": "diff", "path": "/w/a", "oldText": None, "newText": "x"}
    await acp.says(permission(0))
    asked = await acp.asked()
    await acp.says(again({"toolCallId": "t1", "rawInput": {"command": "rm -rf /"}, "content": [diff]}))
    await acp.in_step()
    acp.broker.decide("s", Decision(request_id=asked.request_id, approved=True), decided_by="ada")
    await acp.answer(0)

    for request_id, operation in (
        (2, {"method": "terminal/create", "command": "rm -rf /"}),
        (3, {"method": "fs/write_text_file", "path": "/w/a", "content": "x"}),
    ):
        await acp.says(request(request_id, **operation))
        await acp.in_step()
        record = acp.broker.open("s").desk.pending[-1].record
        assert record.tool_name == operation["method"].replace("fs/", "").replace("/", "_")
    await acp.says(request(4, "terminal/create", command="make test"))
    assert (await acp.client.message())["params"]["command"] == "make test"


async def test_file_of_which_nothing_is_left_is_shown_as_that(acp: AcpWiring) -> None:
    acp.start()
    diff = {"type": "diff", "path": "/w/a", "oldText": "all", "newText": ""}
    await acp.says(permission(0, {"toolCallId": "t1", "rawInput": {"path": "/w/a", "find": "all"}, "content": [diff]}))

    changes = [{"path": "/w/a", "old_text": "all", "new_text": ""}]
    assert (await decide(acp, approved=False)).parameters == {"path": "/w/a", "find": "all", "changes": changes}


@pytest.mark.parametrize("call_id", ["\ud800", "", "x" * 3000, "a\x00b"])
async def test_call_with_an_id_that_no_event_holds_is_asked_about_all_the_same(call_id: str, acp: AcpWiring) -> None:
    acp.start()
    call = CALL | {"toolCallId": call_id}
    for status in ("in_progress", "pending", "in_progress"):
        await acp.says(update(call | {"status": status, "title": f"\ud800 {status}", "rawOutput": "\ud800"}))
    await acp.says(permission(0, call))
    record = await decide(acp, approved=True)

    assert record.parameters == {"command": "make test"}
    assert outcome(await acp.answer(0)) == selected("o")


async def test_agent_cannot_answer_its_own_question(acp: AcpWiring) -> None:
    acp.start()
    answer = {"jsonrpc": "2.0", "id": 5, "result": {"outcome": selected("o")}}
    await acp.says(permission(5), answer, request(6, "x/ask"), answer | {"id": 6})
    await acp.in_step()

    assert not [message for message in acp.read() if "result" in message]
    assert len(acp.broker.open("s").desk.pending) == 1


async def test_reading_where_keys_lie_is_asked_about(acp: AcpWiring) -> None:
    acp.start()
    await acp.says(request(5, "fs/read_text_file", path="/home/ada/.ssh/id_ed25519"))

    record = await decide(acp, approved=False)
    assert (record.tool_name, record.risk_level) == ("read_text_file", "medium")
    assert "did not run" in (await acp.answer(5))["error"]["message"]


async def test_bytes_that_are_no_utf_8_leave_nobody_waiting(acp: AcpWiring) -> None:
    acp.start()
    await acp.client.send(b'{"jsonrpc":"2.0","id":1,"method":"x/ask","params":"\xff"}')
    await acp.in_step()
    assert acp.read()[0]["params"] == "\ufffd"


@pytest.mark.parametrize(
    ("ran", "is_asked"),
    [
        ({"command": "make test"}, False),
        ({"command": "make test", "cwd": "/w"}, False),
        ({"command": "make", "args": ["test"]}, False),
        ({"command": "make test", "cwd": "/"}, True),
        ({"command": "make test", "env": [{"name": "PATH", "value": "/tmp"}]}, True),
        ({"command": "make", "args": ["test", "install"]}, True),
    ],
)
async def test_command_that_was_shown_runs_where_and_as_it_was_shown(
    ran: dict[str, Any], is_asked: bool, acp: AcpWiring
) -> None:
    acp.start()
    await acp.client.ask(
        {"jsonrpc": "2.0", "id": 9, "method": "session/new", "params": {"cwd": "/w", "mcpServers": []}}
    )
    await acp.says(permission(0))
    await decide(acp, approved=True)
    await acp.answer(0)
    await acp.says(request(1, "terminal/create", **ran))

    if is_asked:
        assert (await acp.asked()).record.tool_name == "terminal_create"
    else:
        assert (await acp.client.message())["id"] == 1


@pytest.mark.parametrize(
    "ends",
    [
        update({"toolCallId": "t1", "status": "completed"}),
        {"jsonrpc": "2.0", "id": 77, "result": {"stopReason": "end_turn"}},
    ],
)
async def test_what_was_approved_may_not_be_done_later(ends: dict[str, Any], acp: AcpWiring) -> None:
    acp.start()
    await acp.client.send(request(77, "session/prompt", prompt=[]))
    await acp.says(permission(0))
    await decide(acp, approved=True)
    await acp.answer(0)
    await acp.says(ends, request(1, "terminal/create", command="make test"))

    assert (await acp.asked()).record.tool_name == "terminal_create"


@pytest.mark.parametrize("message_id", [0, 5, "5", "x"])
async def test_editor_cannot_answer_what_it_was_not_asked(message_id: Any, acp: AcpWiring) -> None:
    acp.start()
    await acp.says(permission(5))
    await acp.asked()
    await acp.client.send({"jsonrpc": "2.0", "id": message_id, "result": {"outcome": selected("o")}})
    await acp.in_step()

    assert not [message for message in acp.read() if "result" in message]
    assert len(acp.broker.open("s").desk.pending) == 1


@pytest.mark.parametrize(
    "cancel",
    [
        {"jsonrpc": "2.0", "method": "session/cancel", "params": {"sessionId": "a1"}},
        {"x/say": {"jsonrpc": "2.0", "method": "$/cancel_request", "params": {"requestId": 0}}},
    ],
)
async def test_cancelled_request_is_withdrawn_and_answered(cancel: dict[str, Any], acp: AcpWiring) -> None:
    acp.start()
    await acp.says(permission(0))
    await acp.asked()
    await (acp.says(cancel["x/say"]) if "x/say" in cancel else acp.client.send(cancel))

    assert outcome(await acp.answer(0)) == {"outcome": "cancelled"}
    await acp.nothing_pending()
    assert await acp.in_step() == []


async def test_other_sessions_are_not_cancelled(acp: AcpWiring) -> None:
    acp.start()
    await acp.says(permission(0, session="a2"))
    await acp.asked()
    await acp.client.send({"jsonrpc": "2.0", "method": "session/cancel", "params": {"sessionId": "a1"}})
    await acp.in_step()

    assert len(acp.broker.open("s").desk.pending) == 1


@pytest.mark.parametrize("ends", ["editor", "agent"])
async def test_whoever_leaves_takes_back_what_waits(ends: str, acp: AcpWiring) -> None:
    acp.start()
    await acp.says(permission(0))
    await acp.asked()
    if ends == "editor":
        acp.client.stop_writing()
    else:
        await acp.client.send({"jsonrpc": "2.0", "method": "x/end", "params": {"code": 3}})

    assert await acp.ended() == (0 if ends == "editor" else 3)
    await acp.nothing_pending()


async def test_same_id_twice_is_one_question(acp: AcpWiring) -> None:
    acp.start()
    await acp.says(permission(0), permission(0))
    await acp.in_step()
    assert "under way" in (await acp.answer(0))["error"]["message"]
    assert len(acp.broker.open("s").desk.pending) == 1


async def test_messages_of_a_batch_are_judged_one_by_one(acp: AcpWiring) -> None:
    acp.start()
    note = {"jsonrpc": "2.0", "method": "x/note"}
    await acp.says(json.dumps([permission(0), note]))

    assert await acp.in_step() == [note]
    await decide(acp, approved=False)
    assert outcome(await acp.answer(0)) == selected("n")


async def test_line_beyond_the_bound_is_told_to_who_waits(acp: AcpWiring) -> None:
    acp.start(max_line_bytes=4000)
    await acp.says(
        permission(3) | {"x": ""}, json.dumps({"jsonrpc": "2.0", "id": 4, "method": "x/big", "p": "x" * 3000})
    )
    assert (await acp.client.message())["method"] == "x/big"
    await acp.client.send({"jsonrpc": "2.0", "id": 6, "method": "x/big", "params": "x" * 5000})
    assert (await acp.client.message())["error"]["message"] == "The message is longer than 4000 bytes."


async def test_both_ways_the_answer_here_wins(acp: AcpWiring) -> None:
    acp.start(mode="both")
    await acp.says(permission(0))
    asked_too = await acp.client.message()
    assert asked_too["params"]["options"] == OPTIONS[1:]
    await decide(acp, approved=True)

    assert outcome(await acp.answer(0)) == selected("o")
    cancel = await acp.client.message()
    assert (cancel["method"], cancel["params"]) == ("$/cancel_request", {"requestId": asked_too["id"]})
    await acp.client.send({"jsonrpc": "2.0", "id": asked_too["id"], "result": {"outcome": selected("n")}})
    await acp.in_step()
    assert len([message for message in acp.read() if message.get("id") == 0]) == 1


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (selected("o"), selected("o")),
        (selected("n"), selected("n")),
        (selected("a"), selected("n")),  # it was not offered
        ({"outcome": "cancelled"}, selected("n")),
        ({"outcome": "granted"}, selected("n")),
        (None, selected("n")),
    ],
)
async def test_both_ways_the_answer_of_the_editor_wins(said: Any, expected: Any, acp: AcpWiring) -> None:
    acp.start(mode="both")
    await acp.says(permission(0))
    asked_too = await acp.client.message()
    await acp.client.send({"jsonrpc": "2.0", "id": asked_too["id"], "result": {"outcome": said}})

    assert outcome(await acp.answer(0)) == expected
    await acp.nothing_pending()


TO_AGENT = (
    "initialize", "authenticate", "logout", "session/new", "session/load", "session/resume", "session/list",
    "session/close", "session/delete", "session/set_mode", "session/set_config_option", "session/fork", "_x/own",
)  # fmt: skip
TO_EDITOR = (
    "terminal/output", "terminal/wait_for_exit", "terminal/kill", "terminal/release", "elicitation/create",
    "elicitation/complete", "session/update", "mcp/message", "_x/own",
)  # fmt: skip
UPDATES = (
    "user_message_chunk", "agent_message_chunk", "agent_thought_chunk", "tool_call", "tool_call_update", "plan",
    "available_commands_update", "current_mode_update", "config_option_update", "session_info_update", "usage_update",
    "notice", "compaction_started", "of_tomorrow",
)  # fmt: skip


async def test_whatever_the_protocol_allows_passes_as_it_came_both_ways(acp: AcpWiring) -> None:
    acp.start()
    params = '"params":{ "sessionId":"a1","n":1.0,"text":"é \\ud83d\\ude00","_meta":{"a":[]} }'
    sent = [f'{{"jsonrpc":"2.0","id":"{number}","method":"{name}",{params}}}' for number, name in enumerate(TO_AGENT)]
    sent += [f'{{"jsonrpc": "2.0","method": "{name}",{params}}}' for name in ("session/cancel", "$/cancel_request")]
    said = [f'{{"jsonrpc":"2.0" ,"id":{number},"method":"{name}",{params}}}' for number, name in enumerate(TO_EDITOR)]
    said += [
        f'{{"jsonrpc":"2.0","method":"session/update","params":{{"sessionId":"a1","update":{{"sessionUpdate":"{kind}"'
        f',"toolCallId":"t{number}","status":"pending","content":[{{"type":"text","text":"\\u00e9"}}]}}}}}}'
        for number, kind in enumerate(UPDATES)
    ]
    said += [f'{{"id":{number},"error":{{"code":-1,"message":"no"}} ,"jsonrpc":"2.0"}}' for number in range(3)]

    await acp.client.send(*(line.encode() for line in sent))
    await acp.says(*said)
    heard = []
    while len(heard) < len(said):
        line = (await acp.client.line()).decode()
        heard += [] if '"result": {' in line else [line]  # the stub's own answers
    answers = [f'{{"jsonrpc":"2.0","id": {number},"result":{{"n":1.50}}}}'.encode() for number in range(len(TO_EDITOR))]
    await acp.client.send(*answers)
    await acp.in_step()

    assert heard == said
    read = acp.reached()
    assert [line.decode() for line in read[: len(sent)]] == sent
    assert read[-1 - len(answers) : -1] == answers
    assert not acp.broker.open("s").desk.pending
