"""The HTTP gateway passes everything as it is, and no tool call past a person."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from notifier_service import Broker, Client, Settings, serve
from notifier_service.calls.asker import BrokerAsker, Permission
from notifier_service.calls.service_asker import ServiceAsker
from notifier_service.core.question import Question
from notifier_service.mcp.conversation import Conversation
from notifier_service.mcp.gate import Answer, Run
from notifier_service.mcp.message import ToolCall
from tests.cli.processes import free_port
from tests.mcp.http_stub import READS
from tests.mcp.http_wiring import STATELESS, HttpWiring, call, stateless


@pytest.fixture
async def wiring(broker: Broker) -> AsyncIterator[HttpWiring]:
    wiring = HttpWiring(broker)
    yield wiring
    await wiring.close()


# What passes


async def test_everything_but_a_tool_call_passes_as_it_is(wiring: HttpWiring) -> None:
    await wiring.start()
    sent = b'{ "jsonrpc":"2.0", "id":"\xc3\xa9", "method":"vendor/odd", "x-vendor":[1.0,null] }'

    answered = await wiring.post(sent, Mcp_Session_Id="m1", Authorization="Bearer mine", Cookie="a=b", X_Odd="1")

    [received] = wiring.stub.received
    assert received.body == sent
    assert received.headers["Authorization"] == "Bearer mine"
    assert (received.headers["Cookie"], received.headers["X-Odd"], received.headers["Mcp-Session-Id"]) == (
        "a=b", "1", "m1",
    )  # fmt: skip
    assert received.headers["Accept"] == "application/json, text/event-stream"
    assert received.headers["Host"] == f"127.0.0.1:{wiring.stub.port}"
    assert answered.status == 200
    assert (
        answered.body == '{"result": {"method": "vendor/odd", "x-vendor": "é"}, "jsonrpc": "2.0", "id": "é"}'.encode()
    )
    assert answered.headers["X-Vendor"] == "1"


async def test_headers_of_one_connection_or_past_the_gate_do_not_pass(wiring: HttpWiring) -> None:
    await wiring.start()

    answered = await wiring.post(
        {"jsonrpc": "2.0", "id": 1, "method": "ping"}, Connection="keep-alive, X-Hop", X_Hop="1", Accept_Encoding="gzip"
    )

    assert not {"X-Hop", "Connection"} & wiring.stub.received[0].headers.keys()
    assert wiring.stub.received[0].headers["Accept-Encoding"] == "identity"
    assert not {"Alt-Svc", "Access-Control-Allow-Origin", "Keep-Alive"} & answered.headers.keys()


async def test_token_for_the_service_does_not_reach_the_server(wiring: HttpWiring) -> None:
    await wiring.start(secrets=("s3cret",))
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}

    await wiring.post(message, Authorization="Bearer s3cret", X_Key="s3cret", Cookie="a=s3cret", X_Other="mine")
    await wiring.post(message, Authorization="Bearer of the server's own")

    first, second = wiring.stub.received
    assert "s3cret" not in str(first.headers)
    assert (first.headers["X-Other"], second.headers["Authorization"]) == ("mine", "Bearer of the server's own")


@pytest.mark.parametrize(
    "message", [{"jsonrpc": "2.0", "method": "notifications/odd"}, {"jsonrpc": "2.0", "id": 1, "result": {}}]
)
async def test_notification_or_response_is_accepted_by_the_server_alone(
    wiring: HttpWiring, message: dict[str, Any]
) -> None:
    await wiring.start()

    answered = await wiring.post(message)

    assert (answered.status, answered.body) == (202, b"")
    assert wiring.stub.received[0].message == message


async def test_stream_passes_byte_for_byte(wiring: HttpWiring) -> None:
    await wiring.start()
    wiring.stub.stream = b'\xef\xbb\xbfid: 1\r\nretry: 5\r\ndata: {"jsonrpc":\r\ndata: "2.0"}\r\n\r\n: x\r\r'

    answered = await wiring.request("GET", Mcp_Session_Id="m1", Last_Event_ID="0", Accept="text/event-stream")

    assert answered.body == wiring.stub.stream
    assert answered.headers["Content-Type"] == "text/event-stream"
    assert wiring.stub.received[0].headers["Last-Event-ID"] == "0"


async def test_events_pass_as_they_come(wiring: HttpWiring) -> None:
    await wiring.start()

    answered = await wiring.post(call(1, "stream", _meta={"progressToken": "t"}))

    assert answered.body.startswith(b"id: 7\r\nretry: 100\r\ndata:\r\n\r\n: odd\n")
    assert answered.text == "stream ran with {}"
    assert wiring.events("tool_progress")[0]["progress"] == 0
    assert (await wiring.told("completed"))["tool_name"] == "stream"


async def test_session_that_is_deleted_has_nothing_waiting(wiring: HttpWiring) -> None:
    await wiring.start()
    answer = wiring.posting(call(1, "write"), Mcp_Session_Id="m1")
    await wiring.asked()

    deleted = await wiring.request("DELETE", Mcp_Session_Id="m1")

    assert deleted.status == 200
    await wiring.nothing_pending()
    assert (await answer).body == b""
    assert wiring.stub.ran() == []


@pytest.mark.parametrize("path", ["/mcp/", "http://127.0.0.1:{port}/elsewhere?x=1"])
async def test_redirect_within_the_server_is_followed(wiring: HttpWiring, path: str) -> None:
    await wiring.start()
    wiring.stub.redirect = path.replace("{port}", str(wiring.stub.port))

    answered = await wiring.post(call(1, "read"))

    assert answered.text == "read ran with {}"


@pytest.mark.parametrize("target", ["http://localhost:1/mcp", "https://127.0.0.1/mcp", "http://[", "/mcp"])
async def test_redirect_past_the_gate_is_not_handed_on(wiring: HttpWiring, target: str) -> None:
    await wiring.start()
    wiring.stub.redirect = target

    answered = await wiring.post({"jsonrpc": "2.0", "id": 1, "method": "ping"})

    assert answered.status == 502
    assert "Location" not in answered.headers
    assert "redirects" in answered.message["error"]["message"]


# What is asked


async def test_reading_tool_runs_unasked(wiring: HttpWiring) -> None:
    await wiring.start()

    answered = await wiring.post(call(1, "read", {"path": "a"}))

    assert answered.text == 'read ran with {"path": "a"}'
    assert [status["status"] for status in wiring.events("tool_status")] == ["executing", "completed"]


async def test_approved_call_runs_with_what_a_person_made_of_it(wiring: HttpWiring) -> None:
    await wiring.start()
    answer = wiring.posting(call(1, "write", {"path": "a"}))

    await wiring.decide(approved=True, parameters={"path": "b"})

    assert (await answer).text == 'write ran with {"path": "b"}'


async def test_denial_is_a_result_that_says_who_and_why(wiring: HttpWiring) -> None:
    await wiring.start()
    answer = wiring.posting(call(1, "write"))

    await wiring.decide(approved=False, reason="not now")

    answered = await answer
    assert answered.status == 200
    assert answered.message == {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {
            "content": [{"type": "text", "text": "write did not run: rejected by ada: not now"}],
            "isError": True,
        },
    }
    assert wiring.stub.ran() == []


async def test_denial_in_the_stateless_era_is_complete(wiring: HttpWiring) -> None:
    await wiring.start()
    answer = wiring.posting(stateless(1, "write"))

    await wiring.decide(approved=False)

    assert (await answer).message["result"]["resultType"] == "complete"


async def test_response_in_the_tools_place_is_a_result(wiring: HttpWiring) -> None:
    await wiring.start()
    answer = wiring.posting(call(1, "write"))

    await wiring.decide(approved=False, response="it is done")

    assert (await answer).message["result"] == {"content": [{"type": "text", "text": "it is done"}]}
    assert wiring.stub.ran() == []


async def test_call_of_several_rounds_is_asked_once(wiring: HttpWiring) -> None:
    await wiring.start()
    answer = wiring.posting(stateless(1, "rounds", {"rounds": 2}))
    await wiring.decide(approved=True)
    state = (await answer).message["result"]["requestState"]

    second = await wiring.post(stateless(2, "rounds", {"rounds": 2}, requestState=state))
    third = await wiring.post(stateless(3, "rounds", {"rounds": 2}, requestState="ss"))

    assert second.message["result"]["requestState"] == "ss"
    assert third.text == 'rounds ran with {"rounds": 2}'
    assert len(wiring.events("permission_request")) == 1


async def test_what_a_header_repeats_of_an_argument_follows_a_persons_edit(wiring: HttpWiring) -> None:
    await wiring.start()
    answer = wiring.posting(stateless(1, "region", {"in": "eu", "n": 1}), Mcp_Param_Region="eu", Mcp_Param_Other="1")

    await wiring.decide(approved=True, parameters={"in": "ü", "n": 2})

    assert (await answer).status == 200
    headers = wiring.stub.received[-1].headers
    assert (headers["Mcp-Param-Region"], headers["Mcp-Param-Other"]) == ("=?base64?w7w=?=", "1")


@pytest.mark.parametrize("tool", ["write", "stream"])
async def test_agent_is_told_that_a_person_changed_its_call_in_either_form_of_an_answer(
    wiring: HttpWiring, tool: str
) -> None:
    await wiring.start()
    for listed in wiring.stub.tools:
        listed.pop("annotations", None)
    answer = wiring.posting(call(1, tool, {"n": 1}, _meta={"progressToken": "p"}))
    await wiring.decide(approved=True, parameters={"n": 2})

    [*_, note] = (await answer).message["result"]["content"]
    assert note["text"] == 'Note: ada changed the parameters of this call before it ran. It ran with {"n":2}'


async def test_what_a_header_repeats_follows_the_edit_in_the_next_round_too(wiring: HttpWiring) -> None:
    await wiring.start()
    answer = wiring.posting(stateless(1, "rounds", {"rounds": 1}), Mcp_Param_Rounds="1")
    await wiring.decide(approved=True, parameters={"rounds": 2})
    state = (await answer).message["result"]["requestState"]

    await wiring.post(stateless(2, "rounds", {"rounds": 1}, requestState=state), Mcp_Param_Rounds="1")

    assert len(wiring.events("permission_request")) == 1
    assert [call.headers["Mcp-Param-Rounds"] for call in wiring.stub.received[-2:]] == ["2", "2"]


async def test_own_request_for_the_list_has_the_clients_credential_and_era(wiring: HttpWiring) -> None:
    await wiring.start()

    await wiring.post(stateless(1, "read"), Authorization="Bearer a", Mcp_Param_X="1")

    listing, _ = wiring.stub.received
    assert listing.message["method"] == "tools/list"
    assert listing.message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == STATELESS
    assert listing.headers["Authorization"] == "Bearer a"
    assert (listing.headers["Mcp-Method"], listing.headers["MCP-Protocol-Version"]) == ("tools/list", STATELESS)
    assert not {"Mcp-Name", "Mcp-Param-X"} & listing.headers.keys()


async def test_list_is_asked_for_once_per_session_and_credential(wiring: HttpWiring) -> None:
    await wiring.start()

    for headers in ({"Mcp_Session_Id": "a"}, {"Mcp_Session_Id": "b"}, {"Authorization": "x"}, {"X_Api_Key": "y"}):
        await wiring.post(call(1, "read"), **headers)
        await wiring.post(call(2, "read"), **headers)

    assert len(wiring.stub.reached("tools/list")) == 4


async def test_list_that_has_changed_is_asked_for_again(wiring: HttpWiring) -> None:
    await wiring.start()
    await wiring.post(call(1, "read"), Mcp_Session_Id="a")
    await wiring.post(call(2, "change"), Mcp_Session_Id="a")

    answer = wiring.posting(call(3, "read"), Mcp_Session_Id="a")

    await wiring.decide(approved=False)
    assert (await answer).message["result"]["isError"] is True


async def test_tool_that_another_session_of_the_protocol_finds_harmless_has_changed(wiring: HttpWiring) -> None:
    await wiring.start(server="files")
    await wiring.post(call(1, "read"), Mcp_Session_Id="a")
    next(tool for tool in wiring.stub.tools if tool["name"] == "write")["annotations"] = READS

    answer = wiring.posting(call(1, "write"), Mcp_Session_Id="b")

    record = (await wiring.asked()).record
    assert (record.server, record.risk_level) == ("files", "high")
    assert "changed its definition" in record.risk_reasons[0]
    answer.cancel()


async def test_change_that_the_stream_tells_is_heard(wiring: HttpWiring) -> None:
    await wiring.start()
    await wiring.post(call(1, "read"), Mcp_Session_Id="a")
    wiring.stub.stream = b'data: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n\n'

    await wiring.request("GET", Mcp_Session_Id="a")
    await wiring.post(call(2, "read"), Mcp_Session_Id="a")

    assert len(wiring.stub.reached("tools/list")) == 2


async def test_server_without_a_list_has_every_call_asked(wiring: HttpWiring) -> None:
    await wiring.start()
    wiring.stub.tools = None  # type: ignore[assignment]
    answer = wiring.posting(call(1, "read"))

    await wiring.decide(approved=True)

    assert (await answer).text == "read ran with {}"


async def test_answer_to_a_client_passes_while_the_call_of_another_waits_with_the_same_id(wiring: HttpWiring) -> None:
    await wiring.start()
    waiting = wiring.posting(stateless(1, "write"))
    await wiring.asked()

    answered = await wiring.post({"jsonrpc": "2.0", "id": 1, "method": "vendor/odd"})
    await wiring.decide(approved=True)

    assert answered.message["result"]["method"] == "vendor/odd"
    assert (await waiting).text == "write ran with {}"


async def test_same_id_in_two_sessions_is_two_calls(wiring: HttpWiring) -> None:
    await wiring.start()
    first = wiring.posting(call(1, "write", {"n": 1}), Mcp_Session_Id="a")
    await wiring.asked()
    second = wiring.posting(call(1, "write", {"n": 2}), Mcp_Session_Id="b")
    newest = await wiring.asked(2)
    assert newest.record.parameters == {"n": 2}

    await wiring.decide(approved=False)
    await wiring.decide(approved=True)

    answers = {(await answer).text for answer in (first, second)}
    assert answers == {"write did not run: rejected by ada.", 'write ran with {"n": 1}'}


async def test_client_that_waits_for_ever_is_known_by_the_name_it_gave(broker: Broker, wiring: HttpWiring) -> None:
    await wiring.start()
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "claude-code"}}
    await wiring.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})

    known = wiring.posting(call(1, "write"), Mcp_Session_Id="m1")
    patient = (await wiring.asked()).record
    wiring.posting(call(1, "write"), Mcp_Session_Id="m2")
    impatient = (await wiring.asked(2)).record

    assert patient.expires_at is not None
    assert impatient.expires_at is not None
    assert patient.expires_at > impatient.expires_at
    known.cancel()


async def test_call_is_denied_before_its_client_gives_up(wiring: HttpWiring) -> None:
    await wiring.start(approval_seconds=0.05)

    answered = await wiring.post(call(1, "write"))

    assert "did not run" in answered.text
    assert wiring.stub.ran() == []


# While a person thinks


async def test_answer_becomes_a_stream_with_heartbeats_below_any_progress(wiring: HttpWiring) -> None:
    await wiring.start(heartbeat_seconds=0.05)
    answer = wiring.posting(call(1, "stream", _meta={"progressToken": "t"}), Mcp_Session_Id="a")
    wiring.stub.tools = []

    await wiring.asked()
    await asyncio.sleep(0.2)  # heartbeats are made of time
    await wiring.decide(approved=True)

    answered = await answer
    beats = [message["params"] for message in answered.messages if message.get("method")]
    values = [beat["progress"] for beat in beats]
    assert values[:2] == [-1, -0.5]
    assert values == sorted(values)
    assert values[-1] == 0
    assert {beat["progressToken"] for beat in beats} == {"t"}
    assert answered.text == "stream ran with {}"


async def test_client_without_a_token_hears_comments(wiring: HttpWiring) -> None:
    await wiring.start(heartbeat_seconds=0.02)
    answer = wiring.posting(call(1, "write"))
    await wiring.asked()
    await asyncio.sleep(0.1)  # as above

    await wiring.decide(approved=True)

    answered = await answer
    assert answered.body.startswith(b": a person has not answered yet\n")
    assert answered.text == "write ran with {}"


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        ("refuse", {"code": -32021, "message": "no", "data": {"x": 1}}),
        ("garbage", {"code": -32603, "message": "The MCP server answered with status 200 and no message."}),
    ],
)
async def test_what_a_server_answers_late_is_said_in_the_open_stream(
    wiring: HttpWiring, tool: str, said: dict[str, Any]
) -> None:
    await wiring.start(heartbeat_seconds=0.02)
    wiring.stub.tools = []
    answer = wiring.posting(call(1, tool))
    await wiring.asked()
    await asyncio.sleep(0.1)  # as above

    await wiring.decide(approved=True)

    answered = await answer
    assert answered.status == 200
    assert answered.message == {"jsonrpc": "2.0", "id": 1, "error": said}


async def test_status_passes_where_the_stream_is_not_open(wiring: HttpWiring) -> None:
    await wiring.start()
    wiring.stub.tools = []
    answer = wiring.posting(call(1, "refuse"))

    await wiring.decide(approved=True)

    answered = await answer
    assert answered.status == 400
    assert answered.message["error"]["code"] == -32021
    assert (await wiring.told("failed"))["details"]["error"] == "no"


async def test_client_that_takes_no_stream_gets_json_however_long_it_takes(wiring: HttpWiring) -> None:
    await wiring.start(heartbeat_seconds=0.02)
    answer = wiring.posting(call(1, "write"), Accept="application/json")
    await wiring.asked()
    await asyncio.sleep(0.1)  # as above

    await wiring.decide(approved=False)

    assert (await answer).headers["Content-Type"] == "application/json"


async def test_client_that_takes_only_streams_gets_one(wiring: HttpWiring) -> None:
    await wiring.start()
    answer = wiring.posting(call(1, "write"), Accept="text/event-stream")

    await wiring.decide(approved=False)

    answered = await answer
    assert answered.headers["Content-Type"].startswith("text/event-stream")
    assert answered.message["result"]["isError"] is True


@pytest.mark.parametrize("cancels_handlers", [True, False])
@pytest.mark.parametrize("heartbeat_seconds", [0.02, 10])
async def test_client_that_leaves_while_it_waits_withdraws_its_call(
    wiring: HttpWiring, cancels_handlers: bool, heartbeat_seconds: float
) -> None:
    await wiring.start(cancels_handlers=cancels_handlers, heartbeat_seconds=heartbeat_seconds)
    answer = wiring.posting(call(1, "write"))
    request = await wiring.asked()

    answer.cancel()

    await wiring.nothing_pending()
    assert request.record.status == "cancelled"
    assert (await wiring.told("cancelled"))["tool_name"] == "write"
    assert wiring.stub.ran() == []


async def test_client_that_leaves_while_its_call_runs_leaves_the_server_too(wiring: HttpWiring) -> None:
    await wiring.start()
    answer = wiring.posting(call(1, "silent"))
    await wiring.reached(2)

    answer.cancel()

    async with asyncio.timeout(10):
        await wiring.stub.left.wait()
    assert (await wiring.told("cancelled"))["tool_name"] == "silent"


async def test_call_that_is_cancelled_while_it_waits_has_no_answer(wiring: HttpWiring) -> None:
    await wiring.start()
    answer = wiring.posting(call(1, "write"), Mcp_Session_Id="a")
    await wiring.asked()
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}

    cancelled = await wiring.post(cancel, Mcp_Session_Id="a")

    assert cancelled.status == 202
    await wiring.nothing_pending()
    answered = await answer
    assert (answered.status, answered.body) == (200, b"")
    assert wiring.stub.reached("tools/call") == wiring.stub.reached("notifications/cancelled") == []


async def test_call_that_is_cancelled_in_the_turn_in_which_it_is_approved_does_not_run(
    wiring: HttpWiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    admit = Conversation.admit

    async def admit_and_cancel(calls: Conversation, made: ToolCall, beat: Callable[[bytes], None]) -> Run | Answer:
        admitted = await admit(calls, made, beat)
        asyncio.get_running_loop().call_soon(calls.cancelled, made.message_id)
        return admitted

    monkeypatch.setattr(Conversation, "admit", admit_and_cancel)
    await wiring.start()
    answer = wiring.posting(call(1, "write"))

    await wiring.decide(approved=True)

    assert (await answer).body == b""
    assert wiring.stub.ran() == []
    assert [status["status"] for status in wiring.events("tool_status")] == ["waiting_permission", "cancelled"]


@pytest.mark.parametrize(("request_id", "session"), [("1", "a"), (True, "a"), (1, "b"), (None, "a")])
async def test_cancel_that_means_another_call_passes(wiring: HttpWiring, request_id: Any, session: str) -> None:
    await wiring.start()
    answer = wiring.posting(call(1, "write"), Mcp_Session_Id="a")
    request = await wiring.asked()
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request_id}}

    await wiring.post(cancel, Mcp_Session_Id=session)

    assert request.pending
    assert wiring.stub.reached("notifications/cancelled") == [cancel]
    answer.cancel()


async def test_without_a_session_a_cancel_that_may_mean_two_calls_withdraws_none(wiring: HttpWiring) -> None:
    await wiring.start()
    answers = [wiring.posting(call(1, "write"))]
    await wiring.asked()
    answers.append(wiring.posting(call(1, "write")))
    await wiring.asked(2)

    await wiring.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})

    assert len(wiring.broker.open("s").desk.pending) == 2
    for answer in answers:
        answer.cancel()


async def test_call_that_is_cancelled_while_it_runs_is_the_servers_to_end(wiring: HttpWiring) -> None:
    await wiring.start()
    answer = wiring.posting(call(1, "silent"), Mcp_Session_Id="a")
    await wiring.reached(2)
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}

    await wiring.post(cancel, Mcp_Session_Id="a")

    assert wiring.stub.reached("notifications/cancelled") == [cancel]
    assert (await wiring.told("cancelled"))["tool_name"] == "silent"
    answer.cancel()


# No way around


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b'[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write"}}]', -32600),
        (b"[]", -32600),
        (b'{"jsonrpc":"2.0","id":1,"Method":"tools/call","method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"Name":"read","name":"write"}}', -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"write"}}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":NaN}', -32700),
        (b'"tools/call"', -32600),
        (b"\xff\xfe{\x00}\x00", -32700),
        (b"[" * 100_000, -32700),
        (b"", -32700),
    ],
)
async def test_what_is_no_message_or_two_is_refused(wiring: HttpWiring, sent: bytes, code: int) -> None:
    await wiring.start()

    answered = await wiring.post(sent)

    assert answered.status == 400
    assert answered.message["error"]["code"] == code
    assert wiring.stub.received == []


CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write"}}'
DISGUISES = [
    CALL.replace(b"tools/call", b"tools/call\\u0000"),
    CALL.replace(b"tools/call", b"Tools/Call"),
    CALL.replace(b'"method"', b'"method\\u0000"'),
    CALL.replace(b'"method"', b'"method":"ping","METHOD "'),
    CALL.replace(b'"method"', b'"result":{},"method\\u0000"'),
    b"\xef\xbb\xbf" + CALL,
    CALL + b"\x00",
    b"\x00" + CALL,
    CALL + b" trailing",
]


@pytest.mark.parametrize("sent", DISGUISES)
async def test_what_some_server_could_read_as_a_call_does_not_reach_it(wiring: HttpWiring, sent: bytes) -> None:
    await wiring.start()

    answered = await wiring.post(sent)

    assert (answered.status, bool(answered.message["error"]["message"])) == (400, True)
    assert wiring.stub.received == []


@pytest.mark.parametrize("said", [*DISGUISES, CALL, b"[" + CALL + b"]"])
async def test_what_some_client_could_read_as_a_call_does_not_reach_it(wiring: HttpWiring, said: bytes) -> None:
    """As an event, cut into lines, in a line that is none, and as a body of whatever type."""
    await wiring.start()
    halves = said[:30] + b"\ndata:" + said[30:]
    for stream in (
        b"data: " + said + b"\n\n",
        b"\xef\xbb\xbfdata:" + said + b"\r\r",
        b"data: " + halves + b"\n\n",
        b"data: " + said + b"\n",
        b": x\xe2\x80\xa8data: " + said + b"\n\n",
        b"id: x\x0bdata: " + said + b"\ndata: {}\n\n",
        b"Data : " + said + b"\ndata: {}\n\n",
        b'data: {"jsonrpc":"2.0","id":1,"result":\ndata: ' + said + b"\ndata: }\n\n",
    ):
        wiring.stub.stream = stream
        answered = await wiring.request("GET", Mcp_Session_Id="m1", Accept="text/event-stream")
        assert b"ools/" not in answered.body.replace(b"\n", b"") or b'"result":' in answered.body
        assert not any(line.lstrip(b"data: ").startswith(b'{"jsonrpc":"2.0","id":1,"method') for line in
                       answered.body.splitlines())  # fmt: skip
    for content_type in ("application/json", "text/plain", "application/json; charset=utf-16"):
        wiring.stub.answers = said, content_type
        answered = await wiring.post({"jsonrpc": "2.0", "id": 1, "method": "ping"})
        assert answered.status == 502
        assert b"write" not in answered.body


async def test_answer_that_could_be_read_in_two_ways_becomes_an_error(wiring: HttpWiring) -> None:
    await wiring.start()
    wiring.stub.answers = b'data: {"jsonrpc":"2.0","id":1,"result":{},"Method":"x"}\n\n', "text/event-stream"

    answered = await wiring.post(call(1, "read"))

    assert "looks like method" in answered.message["error"]["message"]
    assert (await wiring.told("failed"))["tool_name"] == "read"


@pytest.mark.parametrize("content_type", ["text/event-stream; charset=utf-8", "application/x+text/event-stream"])
async def test_stream_is_one_for_whoever_looks_for_the_word(wiring: HttpWiring, content_type: str) -> None:
    await wiring.start()
    wiring.stub.answers = b": a sign of life\ndata: " + CALL + b"\n\ndata: {}\n\n", content_type

    answered = await wiring.post({"jsonrpc": "2.0", "id": 1, "method": "ping"})

    assert answered.body == b": a sign of life\ndata: {}\n\n"


async def test_what_a_server_asks_of_its_client_passes_over_the_stream(wiring: HttpWiring) -> None:
    await wiring.start()
    wiring.stub.stream = b"".join(
        b'id: 1\ndata: {"jsonrpc":"2.0","id":1,"method":"%s","params":{"x":"\xc3\xa9"}}\n\n' % method
        for method in (b"roots/list", b"sampling/createMessage", b"elicitation/create", b"vendor/back")
    )

    answered = await wiring.request("GET", Mcp_Session_Id="m1", Accept="text/event-stream")

    assert answered.body == wiring.stub.stream


async def test_answer_to_a_call_that_still_waits_does_not_pass(wiring: HttpWiring) -> None:
    await wiring.start()
    answer = wiring.posting(call(1, "write"), Mcp_Session_Id="m1")
    await wiring.asked()
    wiring.stub.stream = b'data: {"jsonrpc":"2.0","id":"1","result":{"content":[]}}\n\n: the end\n\n'

    answered = await wiring.request("GET", Mcp_Session_Id="m1", Accept="text/event-stream")

    assert answered.body == b": the end\n\n"
    answer.cancel()


async def test_long_answer_with_a_call_in_it_is_broken_off(wiring: HttpWiring) -> None:
    await wiring.start()
    text = b'{"jsonrpc":"2.0","id":1,"x":"' + b"x" * 9 * 1024 * 1024 + b'","m\\u0065thod\\u0000" :\n"tools/call"}'
    for said, content_type in ((text, "application/json"), (b"data: " + text + b"\n\n", "text/event-stream")):
        wiring.stub.answers = said, content_type

        with pytest.raises(aiohttp.ClientError):
            await wiring.post({"jsonrpc": "2.0", "id": 1, "method": "ping"})


async def test_of_two_keys_the_judged_one_passes(wiring: HttpWiring) -> None:
    await wiring.start()
    sent = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","method":"ping","params":{"name":"write"}}'

    await wiring.post(sent)

    assert b"tools/call" not in wiring.stub.received[0].body


async def test_call_without_an_id_is_dropped(wiring: HttpWiring) -> None:
    await wiring.start()

    answered = await wiring.post(b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"write"}}')

    assert answered.status == 202
    assert wiring.stub.received == []


async def test_charset_that_would_make_another_message_of_it_does_not_pass(wiring: HttpWiring) -> None:
    await wiring.start()
    sent = b'{"jsonrpc":"2.0","id":1,"method":"ping","x":"+ACI-,+ACI-method+ACI-:+ACI-tools/call"}'

    await wiring.post(sent, Content_Type="application/json; charset=utf-7")

    assert wiring.stub.received[0].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "headers",
    [
        {"Mcp_Method": "tools/list"},
        {"Mcp_Name": "read"},
        {"Mcp_Name": "=?base64?cmVhZA==?="},
        {"Mcp_Name": ""},
        {"MCP_Protocol_Version": "2025-11-25"},
    ],
)
async def test_call_whose_headers_tell_of_another_one_is_refused_unasked(
    wiring: HttpWiring, headers: dict[str, str]
) -> None:
    await wiring.start()

    answered = await wiring.post(stateless(1, "write"), **headers)

    assert answered.status == 400
    assert (answered.message["id"], answered.message["error"]["code"]) == (1, -32020)
    assert wiring.stub.received == []
    assert wiring.events("permission_request") == []


async def test_message_whose_header_calls_it_a_tool_call_is_refused(wiring: HttpWiring) -> None:
    await wiring.start()

    answered = await wiring.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}, Mcp_Method="tools/call")

    assert (answered.status, answered.message["error"]["code"]) == (400, -32020)
    assert wiring.stub.received == []


async def test_name_that_a_header_tells_in_base64_is_the_name(wiring: HttpWiring) -> None:
    await wiring.start()

    answered = await wiring.post(stateless(1, "read"), Mcp_Name="=?base64?cmVhZA==?=")

    assert answered.text == "read ran with {}"


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}])
async def test_pages_of_other_sites_are_kept_out(wiring: HttpWiring, method: str, headers: dict[str, str]) -> None:
    await wiring.start()

    answered = await wiring.request(method, b"{}" if method == "POST" else None, **headers)

    assert answered.status == 403
    assert wiring.stub.received == []


async def test_page_of_an_allowed_origin_may_read_the_session(wiring: HttpWiring) -> None:
    await wiring.start()
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize"}

    answered = await wiring.post(message, Origin="https://app.example")

    assert answered.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Mcp-Session-Id" in answered.headers["Access-Control-Expose-Headers"]
    assert answered.headers["Mcp-Session-Id"] == "m1"


# What goes wrong


async def test_message_that_is_too_long_is_refused_before_it_is_read(wiring: HttpWiring) -> None:
    await wiring.start(max_message_bytes=1000)

    answered = await wiring.post(b" " * 1001)

    assert (answered.status, answered.message["error"]["message"]) == (413, "The message is longer than 1000 bytes.")


async def test_message_of_unknown_length_is_read_no_further_than_is_taken(wiring: HttpWiring) -> None:
    await wiring.start(max_message_bytes=1000)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    async with wiring.http.post(wiring.url, data=pieces()) as response:
        assert response.status == 413
    assert wiring.stub.received == []


async def test_answer_of_100_mb_passes_and_is_not_kept(wiring: HttpWiring) -> None:
    await wiring.start()

    answered = await wiring.post(call(1, "big", {"megabytes": 100}))

    assert len(answered.body) > 100 * 1024 * 1024
    assert "too long to be shown" in json.dumps(wiring.events("tool_result"))


@pytest.mark.parametrize("message", [call(7, "write"), {"jsonrpc": "2.0", "id": 7, "method": "ping"}])
async def test_server_that_is_away_is_said_to_be(wiring: HttpWiring, message: dict[str, Any]) -> None:
    await wiring.start(upstream=f"http://127.0.0.1:{free_port()}/mcp")
    answer = wiring.posting(message)
    if message["method"] == "tools/call":
        await wiring.decide(approved=True)

    answered = await answer

    assert answered.status == 502
    error = {"code": -32603, "message": "The MCP server cannot be reached."}
    assert answered.message == {"jsonrpc": "2.0", "id": 7, "error": error}


async def test_server_that_breaks_off_its_answer_breaks_it_off_for_the_client(wiring: HttpWiring) -> None:
    await wiring.start()

    with pytest.raises(aiohttp.ClientError):
        await wiring.post(call(1, "break"))

    assert (await wiring.told("failed"))["tool_name"] == "break"


async def test_server_that_answers_twice_has_one_result_in_the_session(wiring: HttpWiring) -> None:
    await wiring.start()

    answered = await wiring.post(call(1, "twice"))

    assert len(answered.messages) == 2
    assert len(wiring.events("tool_result")) == 1


@pytest.mark.parametrize("tool", ["garbage", "none"])
async def test_server_that_answers_with_no_message_has_failed(wiring: HttpWiring, tool: str) -> None:
    await wiring.start()

    answered = await wiring.post(call(1, tool))

    assert answered.status == 200
    assert (await wiring.told("failed"))["details"]["error"] == "the server answered with status 200 and no result"


async def test_result_that_comes_over_another_stream_ends_the_call(wiring: HttpWiring) -> None:
    await wiring.start()
    await wiring.post(call(1, "later"), Mcp_Session_Id="a")
    assert [status["status"] for status in wiring.events("tool_status")] == ["executing"]

    await wiring.request("GET", Mcp_Session_Id="a", Last_Event_ID="8")

    assert (await wiring.told("completed"))["tool_name"] == "later"


async def test_progress_that_comes_over_another_stream_is_that_of_the_call(wiring: HttpWiring) -> None:
    await wiring.start()
    await wiring.post(call(1, "later", _meta={"progressToken": "t"}), Mcp_Session_Id="a")
    progress = {"progressToken": "t", "progress": 3}
    told = json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})
    wiring.stub.stream = f"data: {told}\n\n".encode() + wiring.stub.stream

    await wiring.request("GET", Mcp_Session_Id="a", Last_Event_ID="8")

    await wiring.told("completed")
    assert [data["progress"] for data in wiring.events("tool_progress")] == [3]


async def test_service_that_is_away_denies(wiring: HttpWiring) -> None:
    async with (
        Client(f"http://127.0.0.1:{free_port()}/agent_backend") as client,
        ServiceAsker(client, "s", ask_seconds=0.1) as asker,
    ):
        await wiring.start(asker=asker)

        answered = await wiring.post(call(1, "read"))

    assert answered.text.startswith("read did not run: ")
    assert wiring.stub.ran() == []


async def test_service_that_refuses_the_token_denies(wiring: HttpWiring, tmp_path: Any) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text('[{"token": "right", "rights": ["produce"], "sessions": ["*"]}]')
    async with (
        serve(settings=Settings(port=0, auth="tokens", tokens_file=tokens)) as site,
        Client(site.url + site.settings.prefix, token="wrong") as client,
        ServiceAsker(client, "s") as asker,
    ):
        await wiring.start(asker=asker)

        answered = await wiring.post(call(1, "read"))

    assert answered.text.startswith("read did not run: ")
    assert wiring.stub.ran() == []


async def test_broker_that_closes_while_a_call_waits_denies_it(wiring: HttpWiring) -> None:
    await wiring.start()
    answer = wiring.posting(call(1, "write"))
    await wiring.asked()

    wiring.broker.close()

    assert (await answer).message["result"]["isError"] is True
    assert wiring.stub.ran() == []


async def test_call_that_cannot_be_judged_does_not_run(wiring: HttpWiring, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(BrokerAsker):
        async def ask(self, question: Question) -> Permission:
            raise RuntimeError("odd")

    await wiring.start(asker=Broken(wiring.broker, "s"))

    answered = await wiring.post(call(1, "write"))

    error = {"code": -32603, "message": "The gateway failed; nothing ran."}
    assert answered.message == {"jsonrpc": "2.0", "id": 1, "error": error}
    assert wiring.stub.ran() == []
    assert "could not be judged" in caplog.text
