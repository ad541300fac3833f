"""The MCP endpoint whose tools ask a person (contract section 7b)."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from notifier_service import Broker, Decision
from notifier_service.core.permission_request import PermissionRequest
from tests.mcp.task_client import TASKS, polled

from ..conftest import Client, MakeClient, bearer, error_of, serving, until

PATH = "/mcp/s1"
ACCEPT = {"Accept": "application/json, text/event-stream"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
INPUT = {"command": "touch 9007199254740993", "count": 9007199254740993, "text": "ä\u202e\x1b[31m"}
APPROVAL = {"tool_name": "Bash", "input": INPUT, "tool_use_id": "toolu_1"}


def message(method: str, params: Mapping[str, Any] | None = None, number: Any = 1) -> dict[str, Any]:
    told = {"jsonrpc": "2.0", "id": number, "method": method}
    return told if params is None else {**told, "params": params}


def tool_call(name: str, arguments: Any, number: Any = 1, **meta: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments} | ({"_meta": meta} if meta else {})
    return message("tools/call", params, number)


def stateless(method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The arguments of a POST in the era without handshake."""
    params = {**(params or {}), "_meta": META}
    headers = {**ACCEPT, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method}
    if method == "tools/call":
        headers["Mcp-Name"] = params["name"]
    return {"json": message(method, params), "headers": headers}


async def result(client: Client, sent: Mapping[str, Any], **request: Any) -> Any:
    response = await client.post(PATH, json=sent, headers=ACCEPT, **request)
    body = await response.json()
    assert (response.status, body["jsonrpc"], body["id"]) == (200, "2.0", sent["id"])
    return body["result"]


async def refusal(response: aiohttp.ClientResponse) -> tuple[int, int]:
    """Status and code of a JSON-RPC error."""
    body = await response.json()
    assert set(body) == {"jsonrpc", "id", "error"}
    assert body["error"]["message"]
    return response.status, body["error"]["code"]


async def card_of(broker: Broker, session_id: str = "s1") -> PermissionRequest:
    await until(lambda: broker.open(session_id).desk.pending)
    (card,) = broker.open(session_id).desk.pending
    return card


def decide(broker: Broker, approved: bool, **more: Any) -> None:
    broker.decide("s1", Decision(approved=approved, **more), decided_by="anna")


async def asked(client: Client, broker: Broker, call: Mapping[str, Any], approved: bool, **decision: Any) -> Any:
    """What a tool call gives that a person decided."""
    answer = asyncio.ensure_future(result(client, call))
    await card_of(broker)
    decide(broker, approved, **decision)
    return await answer


def text_of(told: Any) -> str:
    """The one text block that a result is."""
    (block,) = told["content"]
    assert block["type"] == "text"
    text: str = block["text"]
    return text


async def events_of(response: aiohttp.ClientResponse) -> list[dict[str, Any]]:
    assert response.content_type == "text/event-stream"
    lines = (await response.text()).splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


# The protocol


@pytest.mark.parametrize(
    ("wanted", "spoken"),
    [
        ("2024-11-05", "2024-11-05"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
        (None, "2025-11-25"),
        ([], "2025-11-25"),
    ],
)
async def test_handshake_agrees_on_a_version(client: Client, wanted: Any, spoken: str) -> None:
    params = {"protocolVersion": wanted, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}

    told = await result(client, message("initialize", params))

    assert told["protocolVersion"] == spoken
    assert told["capabilities"] == {"tools": {}}
    assert told["serverInfo"]["name"] == "notifier_service"


async def test_discovery_tells_the_versions(client: Client) -> None:
    response = await client.post(PATH, **stateless("server/discover"))

    told = (await response.json())["result"]
    assert response.status == 200
    assert told["supportedVersions"][0] == "2026-07-28"
    assert (told["resultType"], told["ttlMs"], told["cacheScope"]) == ("complete", 0, "private")
    assert told["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "notifier_service"


async def test_ping_is_answered(client: Client) -> None:
    assert await result(client, message("ping", number="a")) == {}


async def test_tools_are_listed_with_schemas_and_annotations(client: Client) -> None:
    told = await result(client, message("tools/list"))
    other = (await (await client.post(PATH, **stateless("tools/list"))).json())["result"]

    assert [tool["name"] for tool in told["tools"]] == ["approval_prompt", "ask_human"]
    for tool in told["tools"]:
        assert tool["annotations"]["readOnlyHint"] is True
        assert tool["annotations"]["openWorldHint"] is False
        assert set(tool["inputSchema"]["required"]) <= set(tool["inputSchema"]["properties"])
    assert (other["tools"], other["resultType"]) == (told["tools"], "complete")


@pytest.mark.parametrize(
    "sent",
    [
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 77}},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": {}}},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": []},
        {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "approval_prompt", "arguments": APPROVAL}},
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "x"}},
    ],
)
async def test_what_wants_no_answer_is_accepted_and_asks_nobody(
    client: Client, broker: Broker, sent: dict[str, Any]
) -> None:
    response = await client.post(PATH, json=sent)

    assert (response.status, await response.read()) == (202, b"")
    assert broker.sessions == ()


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
async def test_other_methods_are_not_allowed(client: Client, method: str) -> None:
    response = await client.request(method, PATH)

    assert await error_of(response) == (405, "method_not_allowed")
    assert response.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "x": NaN}', -32700),
        (b"\xff\xfe", -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "method": "tools/call"}', -32700),
        (
            b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "approval_prompt", "arguments": '
            b'{"tool_name": "Bash", "input": {"command": "ls", "command": "rm -r /"}}}}',
            -32700,
        ),
        (b"[" * 100_000, -32700),
        (b"null", -32600),
        (b'"ping"', -32600),
        (b"[]", -32600),
        (b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]', -32600),
        (b'{"id": 1, "method": "ping"}', -32600),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 7}', -32600),
        (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": [], "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"a": {"b": 1, "b": 2}}}', -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "Method": "tools/call"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "method\\u0000": "tools/call"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "x": "%b", "x": 1}' % (b"y" * 2_000_000), -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call\\u0000", "params": {}}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "Tools/List", "params": {}}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "result": {}}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\x00', -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"_meta": 1}}', -32602),
    ],
)
async def test_what_is_no_message_is_refused(client: Client, broker: Broker, sent: bytes, error: int) -> None:
    response = await client.post(PATH, data=io.BytesIO(sent), headers={"Content-Type": "application/json"})

    assert await refusal(response) == (400, error)
    assert broker.sessions == ()


async def test_body_of_another_type_or_over_the_limit_is_refused(client: Client) -> None:
    plain = await client.post(PATH, data=b"{}", headers={"Content-Type": "text/plain"})
    big = await client.post(PATH, data=io.BytesIO(b" " * 1_100_000), headers={"Content-Type": "application/json"})

    assert await refusal(plain) == (415, -32600)
    assert await refusal(big) == (413, -32600)


async def test_unknown_method_and_tool_are_errors_of_the_protocol(client: Client) -> None:
    method = await client.post(PATH, json=message("resources/list"))
    tool = await client.post(PATH, json=tool_call("rm", {}))
    listed = await client.post(PATH, json=tool_call("ask_human", ["x"]))

    assert await refusal(method) == (200, -32601)
    assert await refusal(tool) == (200, -32602)
    assert await refusal(listed) == (200, -32602)


@pytest.mark.parametrize("method", ["initialize", "ping", "resources/list"])
async def test_method_that_the_stateless_era_lacks_is_not_found(client: Client, method: str) -> None:
    assert await refusal(await client.post(PATH, **stateless(method))) == (404, -32601)


@pytest.mark.parametrize(
    ("headers", "meta", "error"),
    [
        ({}, {"io.modelcontextprotocol/clientCapabilities": None}, -32602),
        ({}, {"io.modelcontextprotocol/protocolVersion": None}, -32602),
        ({"MCP-Protocol-Version": "2025-11-25"}, {}, -32020),
        ({"MCP-Protocol-Version": None}, {}, -32020),
        ({"Mcp-Method": "tools/list"}, {}, -32020),
        ({"Mcp-Method": None}, {}, -32020),
        ({"Mcp-Name": "ask_human"}, {}, -32020),
        ({"Mcp-Name": None}, {}, -32020),
        (
            {"MCP-Protocol-Version": "2099-01-01"},
            {"io.modelcontextprotocol/protocolVersion": "2099-01-01"},
            -32022,
        ),
    ],
)
async def test_stateless_message_that_contradicts_itself_is_refused_and_asks_nobody(
    client: Client, broker: Broker, headers: dict[str, Any], meta: dict[str, Any], error: int
) -> None:
    sent = stateless("tools/call", {"name": "approval_prompt", "arguments": APPROVAL})
    told = {**sent["headers"], **headers}
    named = {**META, **meta}
    sent["json"]["params"]["_meta"] = {key: value for key, value in named.items() if value is not None}
    sent["headers"] = {key: value for key, value in told.items() if value is not None}

    assert await refusal(await client.post(PATH, **sent)) == (400, error)
    assert broker.sessions == ()


async def test_header_that_comes_twice_is_refused(client: Client) -> None:
    sent = stateless("tools/list")
    headers = [*sent["headers"].items(), ("Mcp-Method", "tools/call")]

    assert await refusal(await client.post(PATH, json=sent["json"], headers=headers)) == (400, -32020)


async def test_version_that_nobody_speaks_is_refused_with_those_that_are(client: Client) -> None:
    response = await client.post(PATH, json=message("ping"), headers={"MCP-Protocol-Version": "2099-01-01"})

    body = await response.json()
    assert (response.status, body["error"]["code"]) == (400, -32022)
    assert "2025-11-25" in body["error"]["data"]["supported"]


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
async def test_client_of_the_official_sdk_is_answered_by_a_person(mode: str) -> None:
    sdk = pytest.importorskip("mcp")
    if not hasattr(sdk, "Client"):
        pytest.skip("the SDK 1.x has no client for an address")
    progress: list[float] = []

    async def told(value: float, total: float | None, text: str | None) -> None:
        progress.append(value)

    async with (
        serving(heartbeat_seconds=0.02) as service,
        sdk.Client(f"{service.site.url}{PATH}", mode=mode) as client,
    ):
        tools = (await client.list_tools()).tools
        call = asyncio.ensure_future(client.call_tool("ask_human", {"question": "?"}, progress_callback=told))
        await until(lambda: len(progress) > 2)
        decide(service.site.broker, False, response="blue")
        answer = await call

    assert [tool.name for tool in tools] == ["approval_prompt", "ask_human"]
    assert (answer.content[0].text, answer.is_error) == ("blue", False)
    assert progress == sorted(set(progress))


# The permission-prompt tool


async def test_approval_echoes_the_input_as_it_was_shown(client: Client, broker: Broker) -> None:
    answer = asyncio.ensure_future(result(client, tool_call("approval_prompt", APPROVAL)))
    card = await card_of(broker)
    assert (card.record.tool_name, card.record.tool_call_id, card.record.risk_level) == ("Bash", "toolu_1", "high")
    decide(broker, True)

    assert json.loads(text_of(await answer)) == {"behavior": "allow", "updatedInput": INPUT}
    assert card.record.parameters == INPUT


async def test_edit_is_the_input_that_runs(client: Client, broker: Broker) -> None:
    told = await asked(client, broker, tool_call("approval_prompt", APPROVAL), True, parameters={"command": "ls"})

    assert json.loads(text_of(told)) == {"behavior": "allow", "updatedInput": {"command": "ls"}}


async def test_session_scope_is_a_rule_of_this_session(client: Client, broker: Broker) -> None:
    told = await asked(client, broker, tool_call("approval_prompt", APPROVAL), True, scope="session")
    again = await result(client, tool_call("approval_prompt", {**APPROVAL, "tool_use_id": "toolu_2"}))

    # The agent gets no rule of its own, which nobody could take back.
    assert json.loads(text_of(told)) == {"behavior": "allow", "updatedInput": INPUT}
    assert json.loads(text_of(again)) == {"behavior": "allow", "updatedInput": INPUT}


@pytest.mark.parametrize(
    ("decision", "text"),
    [
        ({"reason": 'no "quotes"\nplease'}, 'Bash did not run: rejected by anna: no "quotes"\nplease'),
        ({}, "Bash did not run: rejected by anna."),
        ({"response": "it is there already"}, "Bash did not run; anna answered in its place: it is there already"),
    ],
)
async def test_denial_always_has_a_message(client: Client, broker: Broker, decision: dict[str, Any], text: str) -> None:
    told = await asked(client, broker, tool_call("approval_prompt", APPROVAL), False, **decision)

    assert json.loads(text_of(told)) == {"behavior": "deny", "message": text}


async def test_stateless_result_says_that_it_is_complete(client: Client, broker: Broker) -> None:
    sent = stateless("tools/call", {"name": "approval_prompt", "arguments": APPROVAL})
    answer = asyncio.ensure_future(client.post(PATH, **sent))
    await card_of(broker)
    decide(broker, True)

    told = (await (await answer).json())["result"]
    assert told["resultType"] == "complete"
    assert json.loads(text_of(told))["behavior"] == "allow"


async def test_nobody_who_answers_in_time_is_a_denial(client: Client) -> None:
    told = await result(client, tool_call("approval_prompt", APPROVAL), params={"timeout_seconds": "0.05"})

    assert json.loads(text_of(told)) == {
        "behavior": "deny",
        "message": "Bash did not run: nobody answered within 0.05 s (0 could see the request).",
    }


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"tool_name": "Bash"},
        {"tool_name": "", "input": {}},
        {"tool_name": "x" * 257, "input": {}},
        {"tool_name": 7, "input": {}},
        {"tool_name": "Bash", "input": None},
        {"tool_name": "Bash", "input": [1]},
        {"tool_name": "Bash", "input": "rm"},
        {"tool_name": "Bash", "input": {}, "tool_use_id": 7},
        {"tool_name": "Bash", "input": {"x": "\ud800"}},
    ],
)
async def test_wrong_arguments_are_a_denial_and_ask_nobody(
    client: Client, broker: Broker, arguments: dict[str, Any]
) -> None:
    body = json.dumps(tool_call("approval_prompt", arguments)).encode()
    response = await client.post(PATH, data=body, headers={"Content-Type": "application/json"})
    told = await response.json()

    if "error" in told:  # half a character is no JSON to begin with
        assert (response.status, told["error"]["code"]) == (400, -32700)
    else:
        verdict = json.loads(text_of(told["result"]))
        assert verdict["behavior"] == "deny"
        assert verdict["message"]
    assert not broker.open("s1").desk.pending


async def test_what_newer_agents_send_is_passed_over(client: Client, broker: Broker) -> None:
    call = tool_call("approval_prompt", {**APPROVAL, "agent_id": "a", "suggestions": []})

    assert json.loads(text_of(await asked(client, broker, call, True)))["behavior"] == "allow"


async def test_too_many_pending_are_denied(make_client: MakeClient) -> None:
    client = await make_client(max_pending_per_session=1)
    first = asyncio.ensure_future(client.post(PATH, json=tool_call("approval_prompt", APPROVAL)))
    async with asyncio.timeout(5):
        while not (await (await client.get("/agent_backend/api/permissions/s1")).json())["data"]:
            pass
    told = await result(client, tool_call("approval_prompt", {**APPROVAL, "tool_use_id": "toolu_2"}, 2))
    first.cancel()

    assert json.loads(text_of(told))["behavior"] == "deny"


async def test_the_same_call_twice_over_this_tool_is_two_cards(client: Client, broker: Broker) -> None:
    calls = [asyncio.ensure_future(result(client, tool_call("approval_prompt", APPROVAL, n))) for n in (1, 2)]
    await until(lambda: len(broker.open("s1").desk.pending) == 2)
    first, second = broker.open("s1").desk.pending
    decide(broker, True, request_id=first.request_id)
    decide(broker, False, request_id=second.request_id)

    verdicts = sorted([json.loads(text_of(await call))["behavior"] for call in calls])
    assert verdicts == ["allow", "deny"]


# A question


@pytest.mark.parametrize(
    ("choices", "approved", "decision", "text"),
    [
        (None, False, {"response": "the blue one"}, "the blue one"),
        (["red", "blue"], False, {"response": "blue"}, "blue"),
        (None, True, {}, "Yes."),
        (None, True, {"reason": "but slowly"}, "Yes. but slowly"),
        (None, False, {}, "No."),
        (None, False, {"reason": "never"}, "No. never"),
        (["red", "blue"], True, {}, "Yes, without saying which of the choices."),
        (["red", "blue"], False, {"reason": "neither"}, "No. neither"),
    ],
)
async def test_answer_of_a_person_is_the_result(
    client: Client, broker: Broker, choices: list[str] | None, approved: bool, decision: dict[str, Any], text: str
) -> None:
    arguments = {"question": "Which?"} | ({} if choices is None else {"choices": choices})
    answer = asyncio.ensure_future(result(client, tool_call("ask_human", arguments)))
    card = await card_of(broker)
    decide(broker, approved, **decision)

    told = await answer
    assert (text_of(told), told["isError"]) == (text, False)
    assert (card.record.tool_name, card.record.parameters) == ("ask_human", arguments)
    assert (card.record.allowed_decisions, card.record.scopes) == (("approve", "reject", "respond"), ("once",))


async def test_question_that_nobody_answers_is_an_error(client: Client) -> None:
    told = await result(client, tool_call("ask_human", {"question": "?"}), params={"timeout_seconds": "0.05"})

    assert (text_of(told), told["isError"]) == ("Nobody answered: nobody answered within 0.05 s.", True)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"question": ""}, {"question": 1}, {"question": "?", "choices": "a"}, {"question": "?", "x": 1},
     {"question": "?", "choices": [""]}, {"question": "x" * 20_001}, {"question": "?", "choices": ["a"] * 101}],
)  # fmt: skip
async def test_wrong_question_is_an_error_and_asks_nobody(
    client: Client, broker: Broker, arguments: dict[str, Any]
) -> None:
    told = await result(client, tool_call("ask_human", arguments))

    assert told["isError"]
    assert not broker.open("s1").desk.pending


async def test_answer_to_a_question_is_no_permission_for_a_tool_of_that_name(client: Client, broker: Broker) -> None:
    question = {"question": "May I?"}
    answer = asyncio.ensure_future(result(client, tool_call("ask_human", question)))
    asking = await card_of(broker)
    hook = {
        "session_id": "s1",
        "hook_event_name": "PermissionRequest",
        "tool_name": "ask_human",
        "tool_input": question,
    }
    permission = asyncio.ensure_future(client.post("/hooks/claude-code", json=hook))
    await until(lambda: len(broker.open("s1").desk.pending) == 2)
    hooked = broker.open("s1").desk.pending[1]
    decide(broker, True, request_id=asking.request_id)
    await answer
    assert not permission.done()
    decide(broker, False, request_id=hooked.request_id)

    told = await (await permission).json()
    assert told["hookSpecificOutput"]["decision"]["behavior"] == "deny"


# While a person thinks


async def test_answer_that_takes_long_is_a_stream_with_growing_progress(make_client: MakeClient) -> None:
    broker = Broker()
    client = await make_client(broker, heartbeat_seconds=0.02)
    call = tool_call("approval_prompt", APPROVAL, progressToken="p")
    async with client.post(PATH, json=call, headers=ACCEPT) as response:
        for _ in range(9):  # three frames of three lines
            await response.content.readline()
        decide(broker, True)
        events = await events_of(response)

    *beats, last = events
    assert json.loads(text_of(last["result"]))["behavior"] == "allow"
    assert last["id"] == 1
    progress = [beat["params"]["progress"] for beat in beats]
    assert progress == sorted(set(progress))
    assert all(value < 0 for value in progress)
    assert {beat["params"]["progressToken"] for beat in beats} <= {"p"}


async def test_stream_begins_with_the_first_progress(make_client: MakeClient) -> None:
    broker = Broker()
    client = await make_client(broker, heartbeat_seconds=0.02)
    call = tool_call("approval_prompt", APPROVAL, progressToken=7)
    async with client.post(PATH, json=call, headers=ACCEPT) as response:
        assert await response.content.readline() == b"event: message\n"
        beat = json.loads((await response.content.readline()).removeprefix(b"data: "))
        decide(broker, False)

    assert beat == {
        "jsonrpc": "2.0",
        "method": "notifications/progress",
        "params": {"progressToken": 7, "progress": -1.0, "message": "waiting for a person"},
    }


async def test_who_gave_no_token_gets_comments_in_the_stream(make_client: MakeClient) -> None:
    broker = Broker()
    client = await make_client(broker, heartbeat_seconds=0.02)
    async with client.post(PATH, json=tool_call("approval_prompt", APPROVAL), headers=ACCEPT) as response:
        assert (await response.content.readline()).startswith(b": ")
        decide(broker, True)
        (last,) = await events_of(response)

    assert json.loads(text_of(last["result"]))["behavior"] == "allow"


async def test_who_takes_no_stream_gets_json_however_long_it_takes(make_client: MakeClient) -> None:
    broker = Broker()
    client = await make_client(broker, heartbeat_seconds=0.02)
    call = asyncio.ensure_future(client.post(PATH, json=tool_call("approval_prompt", APPROVAL)))
    await card_of(broker)
    await asyncio.sleep(0.1)  # five times as long as it takes to begin a stream
    decide(broker, True)

    response = await call
    assert response.content_type == "application/json"
    assert json.loads(text_of((await response.json())["result"]))["behavior"] == "allow"


@pytest.mark.parametrize("heartbeat_seconds", [0.02, 15])
async def test_client_that_leaves_withdraws_the_request(heartbeat_seconds: float) -> None:
    async with serving(heartbeat_seconds=heartbeat_seconds) as service:
        async with aiohttp.ClientSession(service.site.url) as leaving:
            call = asyncio.ensure_future(
                leaving.post(PATH, json=tool_call("approval_prompt", APPROVAL), headers=ACCEPT)
            )
            card = await card_of(service.site.broker)
            if heartbeat_seconds < 1:
                response = await call
                await response.content.readline()  # it is a stream by now
                response.close()
            else:
                call.cancel()
        record = await asyncio.wait_for(card.decision(), 5)

    assert (record.status, record.reason) == ("cancelled", "the agent went away")


@pytest.mark.parametrize("number", [5, "five"])
async def test_client_that_cancels_withdraws_the_request(client: Client, broker: Broker, number: Any) -> None:
    call = asyncio.ensure_future(result(client, tool_call("approval_prompt", APPROVAL, number)))
    card = await card_of(broker)
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}
    for session_id in ("s2", "s1"):
        assert card.pending
        await client.post(f"/mcp/{session_id}", json=cancel)

    assert (card.record.status, card.record.reason) == ("cancelled", "the agent withdrew it")
    assert json.loads(text_of(await call))["behavior"] == "deny"


async def test_id_of_two_calls_cancels_neither(client: Client, broker: Broker) -> None:
    calls = [asyncio.ensure_future(result(client, tool_call("approval_prompt", APPROVAL))) for _ in range(2)]
    await until(lambda: len(broker.open("s1").desk.pending) == 2)
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    await client.post(PATH, json=cancel)

    assert len(broker.open("s1").desk.pending) == 2
    for card in broker.open("s1").desk.pending:
        decide(broker, False, request_id=card.request_id)
    await asyncio.gather(*calls)


async def test_service_that_shuts_down_denies(client: Client, broker: Broker) -> None:
    call = asyncio.ensure_future(result(client, tool_call("approval_prompt", APPROVAL)))
    await card_of(broker)
    broker.close()
    late = await result(client, tool_call("approval_prompt", APPROVAL))

    assert json.loads(text_of(await call))["behavior"] == "deny"
    assert json.loads(text_of(late))["behavior"] == "deny"


# Who may


async def test_web_page_of_another_site_is_refused(client: Client) -> None:
    for header in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        response = await client.post(PATH, json=message("ping"), headers=header)

        assert await error_of(response) == (403, "forbidden")


async def test_token_of_a_producer_asks_and_never_approves(guarded: Client, broker: Broker) -> None:
    call = tool_call("ask_human", {"question": "May I?"})
    asking = asyncio.ensure_future(guarded.post("/mcp/team-1", json=call, headers=bearer("produce")))
    await card_of(broker, "team-1")
    answer = {"approved": True}
    path = "/agent_backend/api/sse/permission-response/team-1"
    refused = await guarded.post(path, json=answer, headers=bearer("produce"))
    approved = await guarded.post(path, json=answer, headers=bearer("approve"))

    assert (refused.status, approved.status) == (403, 200)
    assert text_of((await (await asking).json())["result"]) == "Yes."


async def test_token_in_the_query_is_not_taken(guarded: Client) -> None:
    response = await guarded.post("/mcp/team-1?token=produce-token", json=message("ping"))

    assert await error_of(response) == (401, "unauthenticated")


async def test_cancelling_is_for_who_asked(guarded: Client, broker: Broker) -> None:
    call = tool_call("ask_human", {"question": "May I?"})
    asking = asyncio.ensure_future(guarded.post("/mcp/team-1", json=call, headers=bearer("produce")))
    card = await card_of(broker, "team-1")
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    await guarded.post("/mcp/team-1", json=cancel, headers=bearer("other"))

    assert card.pending
    asking.cancel()


# Questions as tasks


TAKING = META | {"io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}}}


async def as_taker(
    client: Client, method: str, meta: Any = TAKING, *, path: str = PATH, **params: Any
) -> dict[str, Any]:
    """What the endpoint answers to a client that takes tasks."""
    name = params.get("taskId") or params.get("name") or ""
    headers = {**ACCEPT, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, "Mcp-Name": name}
    async with client.post(path, json=message(method, {**params, "_meta": meta}), headers=headers) as response:
        answer: dict[str, Any] = await response.json()
        return answer


async def question_as_task(client: Client, broker: Broker, path: str = PATH) -> str:
    answer = await as_taker(client, "tools/call", path=path, name="ask_human", arguments={"question": "Which?"})
    await card_of(broker)
    assert (answer["result"]["resultType"], answer["result"]["status"]) == ("task", "working")
    task_id: str = answer["result"]["taskId"]
    return task_id


async def test_question_that_nobody_answers_at_once_is_a_task(make_client: MakeClient, broker: Broker) -> None:
    client = await make_client(broker, mcp_task_seconds=0)
    task_id = await question_as_task(client, broker)

    before = await as_taker(client, "tasks/get", taskId=task_id)
    decide(broker, False, response="the second")
    after = await polled(
        lambda: as_taker(client, "tasks/get", taskId=task_id), lambda got: got["result"]["status"] != "working"
    )

    assert before["result"]["statusMessage"] == "A person is asked."
    assert (after["result"]["status"], text_of(after["result"]["result"])) == ("completed", "the second")


async def test_question_that_is_answered_soon_is_no_task(client: Client, broker: Broker) -> None:
    answer = asyncio.ensure_future(as_taker(client, "tools/call", name="ask_human", arguments={"question": "Which?"}))
    await card_of(broker)

    decide(broker, True)

    assert text_of((await answer)["result"]) == "Yes."


async def test_question_is_withdrawn_with_its_task(make_client: MakeClient, broker: Broker) -> None:
    client = await make_client(broker, mcp_task_seconds=0)
    task_id = await question_as_task(client, broker)
    card = await card_of(broker)

    cancelled = await as_taker(client, "tasks/cancel", taskId=task_id)
    await until(lambda: not card.pending)

    assert cancelled["result"] == {"resultType": "complete"}
    assert (card.record.status, card.record.reason) == ("cancelled", "the agent withdrew it")
    assert (await as_taker(client, "tasks/get", taskId=task_id))["result"]["status"] == "cancelled"


async def test_question_that_its_time_ends_is_a_task_that_says_so(make_client: MakeClient, broker: Broker) -> None:
    client = await make_client(broker, mcp_task_seconds=0)
    task_id = await question_as_task(client, broker, f"{PATH}?timeout_seconds=0.2")

    after = await polled(
        lambda: as_taker(client, "tasks/get", taskId=task_id), lambda got: got["result"]["status"] != "working"
    )

    assert after["result"]["result"]["isError"] is True
    assert text_of(after["result"]["result"]).startswith("Nobody answered: ")


async def test_client_with_too_many_questions_is_told_so(
    make_client: MakeClient, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier_service.mcp.tasks.Tasks._has_room", lambda *_: False)
    client = await make_client(broker, mcp_task_seconds=0)

    answer = await as_taker(client, "tools/call", name="ask_human", arguments={"question": "Which?"})

    assert answer["result"]["isError"] is True
    await until(lambda: not broker.open("s1").desk.pending)


@pytest.mark.parametrize(("meta", "code"), [(TAKING, -32602), (META, -32021)], ids=["takes tasks", "does not say so"])
@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_unknown_task_is_refused(client: Client, method: str, meta: Any, code: int) -> None:
    assert (await as_taker(client, method, meta, taskId="x" * 32))["error"]["code"] == code


@pytest.mark.parametrize("method", ["tasks/list", "tasks/result"])
async def test_requests_of_the_older_tasks_are_unknown(client: Client, method: str) -> None:
    assert (await as_taker(client, method, taskId="x"))["error"]["code"] == -32601


async def test_request_about_a_task_says_in_its_headers_which(make_client: MakeClient, broker: Broker) -> None:
    client = await make_client(broker, mcp_task_seconds=0)
    task_id = await question_as_task(client, broker)
    headers = {**ACCEPT, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tasks/cancel", "Mcp-Name": "another"}

    refused = await client.post(
        PATH, json=message("tasks/cancel", {"taskId": task_id, "_meta": TAKING}), headers=headers
    )

    assert await refusal(refused) == (400, -32020)
    assert (await card_of(broker)).pending


async def test_endpoint_tells_that_it_has_tasks(client: Client) -> None:
    told = await as_taker(client, "server/discover")

    assert told["result"]["capabilities"] == {"tools": {}, "extensions": {TASKS: {}}}
