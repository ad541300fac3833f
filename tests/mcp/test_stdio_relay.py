"""Only tools/call is held between client and server; whatever ends or misbehaves, nothing runs unapproved."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from tests.mcp.stdio_client import call, initialize
from tests.mcp.wiring import Wiring

ERA = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientInfo": {"name": "c"}}


def said(message: dict[str, Any]) -> str:
    """The text of a result."""
    text: str = message["result"]["content"][0]["text"]
    return text


async def in_step(wiring: Wiring) -> list[dict[str, Any]]:
    """Wait until the server has read all that the client sent before; what the client has got until then."""
    heard: list[dict[str, Any]] = []
    await wiring.client.send({"jsonrpc": "2.0", "id": "step", "method": "ping"})
    while (message := await wiring.client.message()).get("id") != "step":
        heard.append(message)
    return heard


async def test_tool_that_only_reads_runs_unasked_and_the_session_is_told(wiring: Wiring) -> None:
    wiring.start()

    answer = await wiring.client.ask(call(1, "read", {"path": "a"}))

    assert said(answer) == 'read ran with {"path": "a"}'
    completed = await wiring.told("completed")
    executing = await wiring.told("executing")
    assert executing["details"]["parameters"] == {"path": "a"}
    assert executing["tool_call_id"] == completed["tool_call_id"]
    assert wiring.events("tool_result")[0]["result"]["content"][0]["text"] == said(answer)
    assert wiring.events("permission_request") == []


async def test_tool_that_says_nothing_of_itself_waits_for_a_person(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call(1, "write", {"path": "a"}))

    record = (await wiring.asked()).record

    assert (record.tool_name, record.parameters, record.risk_level) == ("write", {"path": "a"}, "high")
    assert wiring.ran() == []
    assert said(await wiring.decided(approved=True)) == 'write ran with {"path": "a"}'
    assert wiring.ran() == [{"name": "write", "arguments": {"path": "a"}}]


async def test_rejected_call_does_not_run_and_the_client_gets_the_reason_word_for_word(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call("a", "write"))

    answer = await wiring.decided(approved=False, reason="Nicht heute: “zu spät”.")

    assert answer == {
        "jsonrpc": "2.0",
        "id": "a",
        "result": {
            "content": [{"type": "text", "text": "write did not run: rejected by ada: Nicht heute: “zu spät”."}],
            "isError": True,
        },
    }
    await in_step(wiring)
    assert wiring.ran() == []
    assert (await wiring.told("denied"))["details"]["outcome"] == "rejected"


async def test_edit_runs_the_edited_arguments(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call(1, "write", {"path": "a"}, _meta={"v/x": 1}))

    answer = await wiring.decided(approved=True, parameters={"path": "b"})

    assert wiring.ran() == [{"name": "write", "arguments": {"path": "b"}, "_meta": {"v/x": 1}}]
    ran, note = answer["result"]["content"]
    assert ran == {"type": "text", "text": 'write ran with {"path": "b"}', "_meta": {"v/x": 1}}
    assert note["text"] == 'Note: ada changed the parameters of this call before it ran. It ran with {"path":"b"}'
    assert (await wiring.told("executing"))["details"]["parameters"] == {"path": "b"}


async def test_response_in_the_tools_place_is_a_result_without_error(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call(1, "write"))

    answer = await wiring.decided(approved=False, response="it is done")

    assert answer["result"] == {"content": [{"type": "text", "text": "it is done"}]}
    await in_step(wiring)
    assert wiring.ran() == []
    assert (await wiring.told("completed"))["details"]["answered_by"] == "ada"


async def test_response_in_the_place_of_a_tool_that_promised_structure_has_it(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call(1, "count"))

    answer = await wiring.decided(approved=False, response='{"n": 3}')

    assert answer["result"] == {"content": [{"type": "text", "text": '{"n": 3}'}], "structuredContent": {"n": 3}}


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"ping"}',
        b' { "id" : 1.50, "method" : "vendor/odd", "jsonrpc":"2.0", "x-vendor": [1e2, -0.0, 12345678901234567890] } ',
        b'{"jsonrpc":"2.0","id":"a","method":"vendor/odd","params":["by","place"],"\\u00e9":"\\ud83d\\ude00 \xc3\xa9"}',
        b'{"jsonrpc":"2.0","method":"notifications/vendor","params":{"tools/call":"tools/call"}}',
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}',
        b'{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"no roots","data":null}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tasks/result","params":{"taskId":"t","tools/call":{"name":"write"}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{"experimental":{"x":{}}}}}',
    ],
)
async def test_what_is_no_tool_call_reaches_the_server_byte_for_byte(wiring: Wiring, line: bytes) -> None:
    wiring.start()

    await wiring.client.send(line)
    await in_step(wiring)

    assert wiring.reached()[0] == line


async def test_what_the_server_says_reaches_the_client_byte_for_byte(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send({"jsonrpc": "2.0", "method": "vendor/question"}, call(5, "number"))

    assert await wiring.client.line() == (
        b'{"jsonrpc": "2.0", "id": "q-1", "method": "vendor/back", "params": [1, {"odd": true}]}'
    )
    assert await wiring.client.line() == (
        b'{"jsonrpc":"2.0","id":5,"result":{"content":[],"n":1.10,"m":12345678901234567890123}}'
    )
    told = await wiring.client.ask({"jsonrpc": "2.0", "id": "q-1", "result": {"x-vendor": 1}})
    assert told["params"] == {"heard": {"jsonrpc": "2.0", "id": "q-1", "result": {"x-vendor": 1}}}


async def test_error_of_the_server_stays_an_error(wiring: Wiring) -> None:
    wiring.start()

    answer = await wiring.client.ask(call(1, "fail"))

    assert answer["error"] == {"code": 7, "message": "no", "data": {"x": 1}}
    assert (await wiring.told("failed"))["details"]["error"] == "no"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write"}}]', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{"name":"write"}}', -32600),
        ('{"jsonrpc":"2.0","id":1,"method":"tools/call","paramſ":{},"params":{"name":"read"}}'.encode(), -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","Name":"write"}}', -32600),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":{},"ARGUMENTS":1}}',
            -32600,
        ),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","result":{},"params":{"name":"write"}}', -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"write"}}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"tools/call","params":{"name":"write"}}', -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"tools/call","params":{"name":"write"}}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":["tools/call"],"params":{"name":"write"}}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["write"]}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":["write"]}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":""}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\\ud800"}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write","arguments":"x"}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write","_meta":[]}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write","arguments":{"n":NaN}}}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write","arguments":{"n":1e999}}}', -32700),
        (b'\xff\xfe{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write"}}', -32700),
        (b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write"}}', -32700),
        ('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write"}}'.encode("utf-16-le"), -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"tools/call"}', -32700),
        (b'{"x":' * 100_000, -32700),
        (b"garbage", -32700),
        (b'"tools/call"', -32600),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, int) else repr(value[-50:]),
)
async def test_what_could_be_read_in_two_ways_never_reaches_the_server(wiring: Wiring, line: bytes, code: int) -> None:
    wiring.start()

    answer = await wiring.client.ask(line)

    assert answer["error"]["code"] == code
    await in_step(wiring)
    assert len(wiring.reached()) == 1


CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write"}}'
DISGUISES = [
    CALL.replace(b"tools/call", b"tools/call\\u0000"),
    CALL.replace(b"tools/call", b"tools/call\\u0000/x"),
    CALL.replace(b"tools/call", b"TOOLS/Call"),
    CALL.replace(b'"method"', b'"method\\u0000"'),
    CALL.replace(b'"method"', b'"METHOD\\u0000x"'),
    CALL.replace(b'"method"', b'"method":"ping","Method\\u0000"'),
    CALL.replace(b'"method"', b'"method\\u0000":"tools/call","method":"ping","x"'),
    CALL.replace(b'"method":"tools/call"', b'"result":{},"method\\u0000":"tools/call"'),
    b"\xef\xbb\xbf" + CALL,
    CALL + b"\x00",
    CALL + b"garbage",
    CALL.replace(b'"name"', b'"name\\u0000":"write","name"').replace(b'"write"}', b'"read"}'),
]


@pytest.mark.parametrize("line", DISGUISES)
async def test_server_in_c_runs_nothing_that_nobody_was_asked_about(wiring: Wiring, line: bytes) -> None:
    wiring.start("c")

    refused = await wiring.client.ask(line)
    await in_step(wiring)

    assert refused["error"]["message"]
    assert wiring.effects() == []


async def test_server_in_c_runs_the_call_that_was_approved(wiring: Wiring) -> None:
    wiring.start("c")
    await wiring.client.send(CALL)

    await wiring.decided(approved=True)

    assert wiring.effects() == ["write"]


@pytest.mark.parametrize("line", [*DISGUISES[:10], CALL, b"[" + CALL + b"]", b'\x00{"x":1}'])
async def test_what_a_client_could_read_as_a_call_does_not_reach_it(wiring: Wiring, line: bytes) -> None:
    wiring.start()

    await wiring.client.send({"jsonrpc": "2.0", "method": "vendor/say", "params": {"hex": line.hex()}})

    for message in await in_step(wiring):
        assert message.keys() == {"jsonrpc", "id", "error"}


async def test_server_whose_request_is_refused_is_told_and_does_not_wait(wiring: Wiring) -> None:
    wiring.start()

    await wiring.client.send({"jsonrpc": "2.0", "method": "vendor/say", "params": {"hex": CALL.hex()}})
    await in_step(wiring)
    await in_step(wiring)

    [told] = [message for line in wiring.reached() if "error" in (message := json.loads(line))]
    assert (told["id"], "does not call" in told["error"]["message"]) == (1, True)


@pytest.mark.parametrize(
    "method", ["roots/list", "sampling/createMessage", "elicitation/create", "ping", "vendor/back"]
)
async def test_what_a_server_asks_of_its_client_passes_and_so_does_the_answer(wiring: Wiring, method: str) -> None:
    wiring.start()
    asked = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"x": ["\u00e9"]}}).encode()
    answer = b'{"jsonrpc": "2.0", "id": 1, "result": {"action": "accept", "content": {"method": "GET"}}}'
    await wiring.client.send({"jsonrpc": "2.0", "method": "vendor/say", "params": {"hex": asked.hex()}})

    assert await wiring.client.line() == asked
    await wiring.client.send(answer)
    await in_step(wiring)

    assert answer in wiring.reached()


@pytest.mark.parametrize("message_id", ["1", 1.0, " 1 "])
async def test_answer_that_some_client_takes_for_that_of_a_waiting_call_does_not_pass(
    wiring: Wiring, message_id: Any
) -> None:
    wiring.start()
    await wiring.client.send(call(1, "write"))
    await wiring.asked()
    line = json.dumps({"jsonrpc": "2.0", "id": message_id, "result": {"content": []}}).encode()

    await wiring.client.send({"jsonrpc": "2.0", "method": "vendor/say", "params": {"hex": line.hex()}})

    assert await in_step(wiring) == []
    assert (await wiring.decided(approved=True))["id"] == 1


async def test_answer_that_could_be_read_in_two_ways_becomes_an_error_and_nobody_waits(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call(1, "silent"))
    await wiring.told("executing")
    line = b'{"jsonrpc":"2.0","id":1,"result":{},"Method":"tools/call"}'

    await wiring.client.send({"jsonrpc": "2.0", "method": "vendor/say", "params": {"hex": line.hex()}})

    answer = await wiring.client.message()
    assert (answer["id"], "looks like method" in answer["error"]["message"]) == (1, True)
    assert (await wiring.told("failed"))["tool_name"] == "silent"


async def test_of_two_methods_in_one_message_the_last_counts_for_everybody(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(
        b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"read","name":"write"}}'
    )

    assert (await wiring.asked()).record.tool_name == "write"
    await wiring.decided(approved=True)
    assert wiring.reached("tools/call") == [b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write"}}']


async def test_message_with_a_key_twice_is_passed_on_in_one_meaning(wiring: Wiring) -> None:
    wiring.start()

    await wiring.client.ask(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","method":"ping","params":{"a":1,"a":2}}')

    assert wiring.reached() == [b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":2}}']


async def test_carriage_return_does_not_smuggle_a_second_line(wiring: Wiring) -> None:
    wiring.start()
    smuggled = b'{"jsonrpc":"2.0","id":2,"method":"prompts/get","params":{"name":"write"}}'

    await wiring.client.ask(b'{"jsonrpc":"2.0","id":1,"method":"ping","params":\r' + smuggled + b"\r}\r")

    assert wiring.reached()[0].count(b"\r") == 0
    assert wiring.reached("prompts/get") == []


async def test_call_without_an_id_is_dropped(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send({"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "read"}})

    await in_step(wiring)

    assert wiring.ran() == []


async def test_tools_are_listed_once_page_by_page_and_the_client_sees_nothing_of_it(wiring: Wiring) -> None:
    wiring.start()

    first = await wiring.client.ask(call(1, "big", {"bytes": 1}))
    second = await wiring.client.ask(call(2, "fail"))

    assert (first["id"], second["id"]) == (1, 2)
    lists = [json.loads(line) for line in wiring.reached("tools/list")]
    assert [message["params"].get("cursor") for message in lists] == [None, "4", "8", "12", "16"]
    assert len({message["id"] for message in lists}) == 5


async def test_list_of_tools_is_asked_for_again_when_it_has_changed(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.ask(call(1, "read"))
    await wiring.client.send(call(2, "change"))
    assert (await wiring.client.message())["method"] == "notifications/tools/list_changed"
    await wiring.client.message()

    await wiring.client.send(call(3, "read"))

    assert (await wiring.asked()).record.tool_name == "read"


async def test_tool_that_is_announced_anew_as_harmless_is_asked_about_and_people_are_told(wiring: Wiring) -> None:
    wiring.start(server="files")
    await wiring.client.ask(call(1, "read"))
    await wiring.client.send(call(2, "disguise"))
    assert (await wiring.client.message())["method"] == "notifications/tools/list_changed"
    await wiring.client.message()

    await wiring.client.send(call(3, "write"))
    record = (await wiring.asked()).record
    told = "the server changed its definition of this tool in this session: description, annotations"
    assert (record.risk_level, record.risk_reasons[0], record.server) == ("high", told, "files")
    assert "denied" not in said(await wiring.decided(approved=True))

    # It runs now as what it was approved to be; one that is new has changed nothing.
    assert said(await wiring.client.ask(call(4, "new"))) == "new ran with {}"


async def test_tool_that_was_called_before_it_was_listed_is_asked_about_when_it_is(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call(1, "new"))
    await wiring.decided(approved=True)
    await wiring.client.send(call(2, "disguise"))
    await wiring.client.message()
    await wiring.client.message()

    await wiring.client.send(call(3, "new"))

    assert "did not list this tool before" in (await wiring.asked()).record.risk_reasons[0]


async def test_tool_of_a_server_that_lists_none_waits_for_a_person(wiring: Wiring) -> None:
    wiring.start("no-lists")
    await wiring.client.send(call(1, "read"))

    record = (await wiring.asked()).record

    assert (record.risk_level, record.risk_reasons[0]) == ("high", "the server did not list its tools")


async def test_client_that_asked_for_progress_hears_that_its_call_waits(wiring: Wiring) -> None:
    wiring.start(heartbeat_seconds=0.05)
    await wiring.client.send(call(1, "write", _meta={"progressToken": "p"}))

    beats = [await wiring.client.message() for _ in range(3)]

    assert {beat["method"] for beat in beats} == {"notifications/progress"}
    assert {beat["params"]["progressToken"] for beat in beats} == {"p"}
    values = [beat["params"]["progress"] for beat in beats]
    assert values == sorted(set(values))
    assert values[-1] < 0


async def test_client_that_asked_for_no_progress_hears_none(wiring: Wiring) -> None:
    wiring.start(heartbeat_seconds=0.01, approval_seconds=0.3)

    answer = await wiring.client.ask(call(1, "write"))

    assert answer["id"] == 1


async def test_progress_of_the_tool_reaches_the_client_and_the_session(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call(1, "progress", _meta={"progressToken": 9}))

    beats = [await wiring.client.message() for _ in range(2)]
    await wiring.client.message()

    assert [beat["params"]["progress"] for beat in beats] == [0, 1]
    await wiring.told("completed")
    assert [(event["progress"], event["total"]) for event in wiring.events("tool_progress")] == [(0.0, 2.0), (1.0, 2.0)]


async def test_nobody_answers_in_time_and_the_call_is_denied_before_the_client_gives_up(wiring: Wiring) -> None:
    wiring.start(approval_seconds=0.2)

    answer = await wiring.client.ask(call(1, "write"))

    assert answer["result"]["isError"] is True
    assert said(answer).startswith("write did not run: nobody answered within 0.")
    assert wiring.ran() == []
    assert (await wiring.told("denied"))["details"]["outcome"] == "expired"


async def test_cancelled_while_it_waits_it_is_withdrawn_and_never_runs(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call(1, "write"))
    request = await wiring.asked()

    await wiring.client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
    await in_step(wiring)

    assert (request.record.status, request.record.reason) == ("cancelled", "the call was cancelled")
    assert [json.loads(line)["method"] for line in wiring.reached()][-1] == "ping"
    assert wiring.ran() == []
    assert wiring.reached("notifications/cancelled") == []
    await wiring.told("cancelled")


async def test_cancelled_in_the_same_breath_it_leaves_nothing_behind(wiring: Wiring) -> None:
    wiring.start()
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    await wiring.client.send(call(1, "write"), cancelled)
    await in_step(wiring)
    assert wiring.ran() == wiring.events("permission_request") == []

    assert said(await wiring.client.ask(call(1, "read"))) == "read ran with {}"


READ_WITH = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":{"x":X}}}'


@pytest.mark.parametrize("argument", ['"\\ud800"', '"\\u0000\\u2028"', "1" * 4000])
async def test_arguments_that_are_hard_to_show_hold_up_no_tool_that_only_reads(wiring: Wiring, argument: str) -> None:
    wiring.start()
    line = READ_WITH.replace("X", argument)

    answer = await wiring.client.ask(line.encode())

    assert said(answer).startswith("read ran with ")
    assert wiring.reached("tools/call") == [line.encode()]
    await wiring.told("completed")


async def test_arguments_too_deep_to_be_looked_through_or_shown_are_denied(wiring: Wiring) -> None:
    wiring.start()
    line = READ_WITH.replace("X", "[" * 300 + "]" * 300)

    answer = await wiring.client.ask(line.encode())

    assert said(answer) == "read did not run: the parameters cannot be shown as JSON: they are deeper than 200"
    assert not wiring.reached("tools/call")


async def test_cancelled_while_it_runs_the_server_hears_of_it(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call(1, "silent"))
    await wiring.told("executing")

    await wiring.client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
    await in_step(wiring)

    assert len(wiring.reached("notifications/cancelled")) == 1
    await wiring.told("cancelled")


async def test_other_messages_do_not_wait_for_a_person(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call(1, "write"))
    await wiring.asked()

    assert said(await wiring.client.ask(call(2, "read"))) == "read ran with {}"
    assert (await wiring.client.ask({"jsonrpc": "2.0", "id": 3, "method": "ping"}))["id"] == 3


async def test_two_calls_wait_side_by_side_and_each_gets_its_own_answer(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call(1, "write", {"n": 1}), call("1", "write", {"n": 2}))

    second = await wiring.asked(2)
    assert second.record.parameters == {"n": 2}
    second.cancel("it was the wrong one")

    assert (await wiring.client.message())["id"] == "1"
    assert (await wiring.decided(approved=True))["id"] == 1


async def test_id_of_a_call_that_is_under_way_is_not_taken_twice(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call(1, "write"))
    await wiring.asked()

    answer = await wiring.client.ask(call(1, "read"))

    assert answer["error"]["code"] == -32600
    assert wiring.ran() == []


async def test_client_that_leaves_while_it_waits_withdraws_its_call(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call(1, "write"))
    request = await wiring.asked()

    wiring.client.stop_writing()

    assert await wiring.ended() == 0
    assert request.record.status == "cancelled"
    assert wiring.ran() == []


async def test_client_that_no_longer_reads_ends_the_server(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.ask(call(1, "read"))
    await wiring.client.send(call(2, "write"))
    request = await wiring.asked()

    wiring.client.stop_reading()

    await wiring.ended()
    assert request.record.status == "cancelled"


async def test_answer_of_a_call_that_runs_still_comes_when_the_client_has_said_all(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.ask(initialize())

    await wiring.client.send(call(1, "read"))
    await wiring.client.message()
    await wiring.client.send(call(2, "big", {"bytes": 300_000}))
    wiring.client.stop_writing()

    assert len(said(await wiring.client.message())) == 300_000
    assert await wiring.client.line() == b""
    assert await wiring.ended() == 0


async def test_server_that_dies_ends_the_relay_with_its_exit_code(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call(1, "write"))
    request = await wiring.asked()

    await wiring.client.send(call(2, "die", {"code": 5}))

    assert await wiring.client.line() == b""
    assert await wiring.ended() == 5
    assert request.record.status == "cancelled"
    assert (await wiring.told("failed"))["details"]["error"] == "the server ended"


async def test_server_that_does_not_want_to_end_is_ended(wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier_service.mcp.line_relay._GRACE_SECONDS", 0.1)
    monkeypatch.setattr("notifier_service.mcp.line_relay._KILL_SECONDS", 0.1)
    wiring.start("stubborn")
    await wiring.client.ask(initialize())

    wiring.client.close()

    assert await wiring.ended() == 128 + 9


async def test_what_the_server_prints_that_is_no_message_goes_to_standard_error(
    wiring: Wiring, capfd: pytest.CaptureFixture[str]
) -> None:
    wiring.start()
    await wiring.client.send(call(1, "garbage"))

    assert await wiring.client.line() == b'{"jsonrpc": "2.0", broken'
    assert said(await wiring.client.message()) == "garbage ran with {}"
    assert "Need to install the following packages: stub" in capfd.readouterr().err


async def test_second_answer_of_a_server_is_passed_on_and_told_once(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call(1, "twice"))

    assert await wiring.client.line() == await wiring.client.line()
    await in_step(wiring)
    assert len(wiring.events("tool_result")) == 1


async def test_answer_to_a_call_that_still_waits_does_not_reach_the_client(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call(1, "write"))
    await wiring.asked()
    await wiring.client.send({"jsonrpc": "2.0", "method": "vendor/presume", "params": {"id": 1}})

    assert await in_step(wiring) == []
    assert said(await wiring.decided(approved=False)) == "write did not run: rejected by ada."


async def test_result_of_a_megabyte_comes_whole(wiring: Wiring) -> None:
    wiring.start()

    assert len(said(await wiring.client.ask(call(1, "big", {"bytes": 1024 * 1024})))) == 1024 * 1024
    await wiring.told("completed")
    assert wiring.events("tool_result")[0]["truncated"] is True


async def test_line_that_is_too_long_is_refused_and_the_next_one_is_taken(wiring: Wiring) -> None:
    wiring.start(max_line_bytes=2000)

    answer = await wiring.client.ask(call(7, "read", {"x": "y" * 300_000}) | {"jsonrpc": "2.0"})

    assert (answer["id"], answer["error"]["code"]) == (7, -32600)
    assert said(await wiring.client.ask(call(8, "read"))) == "read ran with {}"
    assert len(wiring.ran()) == 1


async def test_answer_that_is_too_long_becomes_an_error_and_nobody_waits_for_ever(wiring: Wiring) -> None:
    wiring.start(max_line_bytes=2000)

    answer = await wiring.client.ask(call(7, "big", {"bytes": 300_000}))

    assert (answer["id"], answer["error"]["code"]) == (7, -32603)
    assert said(await wiring.client.ask(call(8, "read"))) == "read ran with {}"
    assert (await wiring.told("failed"))["details"]["error"] == "The answer is longer than 2000 bytes."


async def test_list_that_is_too_long_is_none_and_the_client_hears_nothing_of_it(wiring: Wiring) -> None:
    wiring.start(max_line_bytes=300)
    await wiring.client.send(call(1, "read"))

    assert said(await wiring.decided(approved=False)) == "read did not run: rejected by ada."


async def test_answer_that_is_too_long_is_none_to_a_call_that_still_waits(wiring: Wiring) -> None:
    wiring.start(max_line_bytes=2000)
    await wiring.client.send(call(1, "write"))
    await wiring.asked()
    await wiring.client.send({"jsonrpc": "2.0", "id": 1, "method": "vendor/echo", "params": {"x": "y" * 1880}})

    assert await in_step(wiring) == []
    assert said(await wiring.decided(approved=False)) == "write did not run: rejected by ada."


async def test_client_that_does_not_read_is_not_read_either_and_gets_everything_later(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.ask(call(0, "read"))

    await wiring.client.send(*(call(number, "big", {"bytes": 100_000}) for number in range(1, 31)))

    assert [(await wiring.client.message())["id"] for _ in range(30)] == list(range(1, 31))


async def test_denial_in_the_stateless_era_says_that_the_result_is_complete(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call(1, "write", _meta=ERA))

    answer = await wiring.decided(approved=False)

    assert answer["result"]["resultType"] == "complete"
    assert json.loads(wiring.reached("tools/list")[0])["params"]["_meta"] == ERA


async def test_call_that_needs_more_rounds_is_asked_once_and_stays_as_it_was_edited(wiring: Wiring) -> None:
    wiring.start()
    asked, edited = {"rounds": 2, "n": 1}, {"rounds": 2, "n": 2}
    await wiring.client.send(call(1, "rounds", asked, _meta=ERA))

    first = await wiring.decided(approved=True, parameters=edited)
    second = await wiring.client.ask(call(2, "rounds", asked, _meta=ERA, requestState="s", inputResponses={}))
    third = await wiring.client.ask(call(3, "rounds", asked, _meta=ERA, requestState="ss"))

    assert [first["result"]["requestState"], second["result"]["requestState"]] == ["s", "ss"]
    assert said(third) == f"rounds ran with {json.dumps(edited)}"
    assert len(wiring.events("permission_request")) == 1


@pytest.mark.parametrize(
    "retry",
    [
        call(2, "rounds", {"rounds": 1, "n": 2}, requestState="s"),
        call(2, "rounds", {"rounds": 1}, requestState="t"),
        call(2, "rounds", {"rounds": 1}),
        call(2, "write", {"rounds": 1}, requestState="s"),
    ],
)
async def test_retry_that_is_not_the_approved_call_is_asked_about(wiring: Wiring, retry: dict[str, Any]) -> None:
    wiring.start()
    await wiring.client.send(call(1, "rounds", {"rounds": 1}))
    await wiring.decided(approved=True)

    await wiring.client.send(retry)

    assert (await wiring.asked()).record.tool_call_id is not None
    assert len(wiring.ran()) == 1


async def test_retry_is_let_through_once(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call(1, "rounds", {"rounds": 1}))
    await wiring.decided(approved=True)
    await wiring.client.ask(call(2, "rounds", {"rounds": 1}, requestState="s"))

    await wiring.client.send(call(3, "rounds", {"rounds": 1}, requestState="s"))

    await wiring.asked()
    assert len(wiring.ran()) == 2


async def test_environment_and_folder_reach_the_server_unchanged(
    wiring: Wiring, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("ODD_VARIABLE", "ä b\n")
    monkeypatch.chdir(tmp_path)
    wiring.start()

    answer = await wiring.client.ask({"jsonrpc": "2.0", "id": 1, "method": "vendor/environment"})

    assert answer["result"]["env"]["ODD_VARIABLE"] == "ä b\n"
    assert answer["result"]["cwd"] == str(tmp_path)


async def test_broker_that_closes_denies_what_waits(wiring: Wiring) -> None:
    wiring.start()
    await wiring.client.send(call(1, "write"))
    await wiring.asked()

    wiring.broker.close()

    assert said(await wiring.client.message()).startswith("write did not run: ")
    assert said(await wiring.client.ask(call(2, "read"))) == "read did not run: The service is shutting down."
    assert wiring.ran() == []


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
async def test_relay_leaves_no_open_file_and_no_task(wiring: Wiring) -> None:
    before = len(asyncio.all_tasks())
    wiring.start()
    await wiring.client.ask(call(1, "read"))
    wiring.client.stop_writing()

    await wiring.ended()

    assert len(asyncio.all_tasks()) == before
