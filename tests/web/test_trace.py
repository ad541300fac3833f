"""Traces go on from who produces to who reads, and each request has an id; neither brings a token anywhere."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

import notifier_service
from notifier_service import Broker
from notifier_service.calls.service_asker import ServiceAsker
from notifier_service.core.question import Question
from notifier_service.core.trace import in_trace
from tests.service_process import service_process
from tests.signer import Signer

from .conftest import API, Client, MakeClient, WriteTokens, reading, until

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
ASKED = {"tool_name": "rm", "parameters": {"path": "a"}}


async def events_of(client: Client, **request: Any) -> list[dict[str, Any]]:
    async with client.get(f"{API}/long-poll/s1?after=earliest&timeout=0", **request) as response:
        events: list[dict[str, Any]] = (await response.json())["data"]["events"]
    return events


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ({"type": "note"}, "application/json"),
        ([{"type": "note", "data": {"a": 1}}, {"type": "other"}], "application/json"),
        ({"type": "tool_progress", "data": {"tool_name": "t", "tool_call_id": "c", "progress": 1}}, "application/json"),
        ({"type": "note"}, "application/x-ndjson"),
    ],
)
async def test_trace_of_a_producer_is_on_its_events_and_on_no_others(
    client: Client, body: Any, content_type: str
) -> None:
    headers = {"Content-Type": content_type}
    traced = await client.post(
        f"{API}/events/s1", data=json.dumps(body), headers={**headers, "traceparent": TRACEPARENT}
    )
    plain = await client.post(f"{API}/events/s1", data=json.dumps(body), headers=headers)
    events = await events_of(client)

    assert (traced.status, plain.status) == (201, 201)
    half = len(events) // 2
    assert [event.get("traceparent") for event in events] == [TRACEPARENT] * half + [None] * half


async def test_reader_of_a_stream_is_told_the_trace(client: Client) -> None:
    async with reading(client) as stream:
        await stream.until("snapshot")
        await client.post(f"{API}/events/s1", json={"type": "note"}, headers={"traceparent": TRACEPARENT})
        [event] = await stream.until("note")

    assert event.data["traceparent"] == TRACEPARENT


async def test_trace_of_a_question_is_in_its_record_until_its_end_and_in_the_log(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    asked = await client.post(f"{API}/permissions/s1", json=ASKED, headers={"traceparent": TRACEPARENT})
    other = f"00-{'a' * 32}-{'b' * 16}-01"
    decided = await client.post(
        f"{API}/sse/permission-response/s1", json={"approved": True}, headers={"traceparent": other}
    )
    events = {event["type"]: event for event in await events_of(client)}

    for response in (asked, decided):
        assert (await response.json())["data"]["traceparent"] == TRACEPARENT
    assert events["permission_request"]["data"]["traceparent"] == TRACEPARENT
    assert events["permission_response_result"]["data"]["traceparent"] == TRACEPARENT
    assert f"trace {TRACEPARENT})" in caplog.text


@pytest.mark.parametrize("where", ["header", "meta"])
async def test_trace_of_an_agent_is_in_what_it_asks(client: Client, broker: Broker, where: str) -> None:
    """By a hook, and by the prompt tool of MCP, which has a place for it in each message."""
    headers = {"traceparent": TRACEPARENT} if where == "header" else {}
    meta = {"traceparent": TRACEPARENT} if where == "meta" else {}
    hook = {
        "session_id": "run",
        "hook_event_name": "PreToolUse",
        "tool_name": "Bash",
        "tool_input": {"command": "rm a"},
    }
    arguments = {"tool_name": "Bash", "input": {"command": "rm b"}, "tool_use_id": "t1"}
    params = {"name": "approval_prompt", "arguments": arguments, "_meta": meta}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    asking = [
        asyncio.ensure_future(client.post("/hooks/claude-code?session_id=s1", json=hook, headers=headers)),
        asyncio.ensure_future(client.post("/mcp/s1", json=message, headers={**headers, "Accept": "application/json"})),
    ]
    desk = broker.open("s1").desk
    await until(lambda: len(desk.pending) == 2)
    traces = {request.record.parameters["command"]: request.record.traceparent for request in desk.pending}
    broker.end_session("s1")
    await asyncio.gather(*asking)

    assert traces == {"rm a": TRACEPARENT if where == "header" else None, "rm b": TRACEPARENT}


async def test_client_tells_the_trace_that_it_is_in(client: Client, broker: Broker) -> None:
    url = str(client.make_url("/agent_backend"))
    async with notifier_service.Client(url) as talks:
        with in_trace(TRACEPARENT):
            await talks.publish("s1", {"type": "note"})
            record = await talks.ask("s1", "rm", {})
        async with ServiceAsker(talks, "s1") as asker:
            asking = asyncio.create_task(asker.ask(Question("mv", {}, traceparent=TRACEPARENT)))
            await until(lambda: len(broker.open("s1").desk.pending) == 2)
            asked = broker.open("s1").desk.pending[1]
            asking.cancel()
            await asyncio.wait([asking])

    [note] = [event for event in await events_of(client) if event["type"] == "note"]
    assert [note["traceparent"], record["traceparent"], asked.record.traceparent] == [TRACEPARENT] * 3


async def test_trace_of_a_question_is_on_record(make_client: MakeClient, tmp_path: Path) -> None:
    client = await make_client(audit_file=tmp_path / "audit.jsonl")
    await client.post(f"{API}/permissions/s1", json=ASKED, headers={"traceparent": TRACEPARENT})
    await client.post(f"{API}/sse/permission-response/s1", json={"approved": True})
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]

    traces = {line["kind"]: line.get("traceparent") for line in lines}
    assert traces["asked"] == traces["decided"] == TRACEPARENT


@pytest.mark.parametrize(
    "traceparent",
    [
        "", "x", TRACEPARENT.upper(), f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
        f"{TRACEPARENT}-more", f"{TRACEPARENT} ", f'00-{TRACE}-{SPAN}-0"', f"00-{TRACE}-{SPAN}", "0" * 5000,
        f"00-{TRACE}-{SPAN}-٠١", f"01-{TRACE}-{SPAN}-01-" + "x" * 600, [TRACEPARENT, TRACEPARENT],
    ],
)  # fmt: skip
async def test_trace_that_is_not_valid_is_passed_over(client: Client, traceparent: str | list[str]) -> None:
    values = [traceparent] if isinstance(traceparent, str) else traceparent
    headers = [("traceparent", value) for value in values]
    published = await client.post(f"{API}/events/s1", json={"type": "note"}, headers=headers)
    asked = await client.post(f"{API}/permissions/s1", json=ASKED, headers=headers)

    assert (published.status, asked.status) == (201, 201)
    is_valid = traceparent == f"{TRACEPARENT} "  # what is blank around a header is none of it
    assert "traceparent" not in json.dumps(await events_of(client)) or is_valid


async def test_trace_of_a_later_version_goes_on_as_this_one(client: Client) -> None:
    headers = {"traceparent": f"cc-{TRACE}-{SPAN}-01-what-comes-tomorrow"}
    await client.post(f"{API}/events/s1", json={"type": "note"}, headers=headers)

    assert [event["traceparent"] for event in await events_of(client)] == [TRACEPARENT]


async def test_event_that_fits_only_without_its_trace_is_refused_and_the_array_with_it(
    make_client: MakeClient, broker: Broker
) -> None:
    client = await make_client(broker)
    edge = {"type": "note", "data": {"text": "x" * (256 * 1024 - 96 - 16 - len('{"text":""}'))}}
    body = [{"type": "first"}, edge]

    refused = await client.post(f"{API}/events/s1", json=body, headers={"traceparent": TRACEPARENT})
    assert refused.status == 413
    assert (await client.post(f"{API}/events/s1", json=body)).status == 201
    assert broker.get("s1").log.last_seq == 2


async def test_answers_say_the_id_of_their_request_where_the_log_has_it(
    make_client: MakeClient, write_tokens: WriteTokens
) -> None:
    tokens = write_tokens([{"token": "a-secret-word-of-mine", "rights": ["admin"], "sessions": ["*"]}])
    client = await make_client(auth="tokens", tokens_file=tokens, log_format="json")
    ids = {}
    for came in ("0f3c9a1b-proxy", "a-secret-word-of-mine", "x/a-secret-word-of-mine", "tk_0123456789abcdefghijklmn",
                 "short", "x" * 129, "a b c d e f g", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"):  # fmt: skip
        async with client.get("/healthz/live", headers={"X-Request-Id": came}) as response:
            ids[came] = response.headers["X-Request-Id"]
    async with client.get(f"{API}/sessions") as refused:
        made = refused.headers["X-Request-Id"]

    assert ids.pop("0f3c9a1b-proxy") == "0f3c9a1b-proxy"
    for came, said in {**ids, "": made}.items():
        assert said != came
        assert len(said) == 32
    assert len({*ids.values(), made}) == len(ids) + 1


async def test_log_is_json_with_ids_and_traces_and_without_any_token(tmp_path: Path) -> None:
    signer = Signer.new()
    key_file = tmp_path / "key"
    key_file.write_bytes(signer.signing)
    token = signer.token(rights=["admin"], sessions=["*"])
    ticket = "tk_0123456789abcdefghijklmnopqrstuv"
    flags = ("--auth", "jwt", "--jwt-algorithms", "HS256", "--jwt-key-file", str(key_file), "--log-format", "json")
    async with service_process(*flags, "--log-level", "debug") as (process, port), ClientSession() as http:
        url, mine = f"http://127.0.0.1:{port}{API}", {"Authorization": f"Bearer {token}"}
        for secret in (token, ticket):
            for headers in ({"X-Request-Id": secret}, {"traceparent": secret}, {"X-Request-Id": f"a:{secret}"}):
                async with http.get(f"{url}/sse/health/s?token={secret}", headers={**mine, **headers}) as response:
                    assert secret not in str(response.headers)
            async with http.get(f"{url}/sse/events/{secret}?token={token}", headers={"X-Request-Id": secret}):
                pass
        headers = {**mine, "X-Request-Id": "from-the-proxy", "traceparent": TRACEPARENT}
        async with http.post(f"{url}/events/s1", json={"type": "note"}, headers=headers) as response:
            assert response.status == 201
        process.terminate()
        assert process.stderr is not None
        printed = (await process.stderr.read()).decode()

    lines = [json.loads(line) for line in printed.splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    [line] = [line for line in lines if line.get("request_id") == "from-the-proxy"]
    told = {name: line[name] for name in ("method", "path", "status", "trace_id", "span_id", "level")}
    assert told == {
        "method": "POST", "path": f"{API}/events/s1", "status": 201, "trace_id": TRACE, "span_id": SPAN,
        "level": "info",
    }  # fmt: skip
    for secret in (ticket, *token.split(".")[1:]):
        assert secret not in printed


async def test_every_line_of_a_request_says_its_id_and_no_other_line_does(tmp_path: Path) -> None:
    async with (
        service_process("--log-format", "json", "--log-level", "debug") as (process, port),
        ClientSession() as http,
    ):
        url = f"http://127.0.0.1:{port}{API}"

        async def post(path: str, body: Any, request_id: str) -> Any:
            headers = {"X-Request-Id": request_id, "traceparent": TRACEPARENT}
            async with http.post(f"{url}/{path}", json=body, headers=headers) as response:
                return (await response.json())["data"]

        async with http.ws_connect(
            f"http://127.0.0.1:{port}/agent_backend/ws/s1", headers={"X-Request-Id": "a-socket"}
        ) as ws:
            asked = await post("permissions/s1", ASKED, "who-asks")
            await post(
                "sse/permission-response/s1", {"approved": True, "request_id": asked["request_id"]}, "who-decides"
            )
            asked = await post("permissions/s1", ASKED, "who-asks-again")
            await ws.send_json({"type": "permission_response", "approved": True, "request_id": asked["request_id"]})
            asked = await post("permissions/s1", {**ASKED, "timeout_seconds": 0.05}, "nobody-answers")
            while (await ws.receive_json())["type"] != "permission_cleared":
                pass
            async with http.get(f"{url}/permissions/s1/{asked['request_id']}?wait=10") as response:
                assert (await response.json())["data"]["status"] == "expired"
        process.terminate()
        assert process.stderr is not None
        printed = (await process.stderr.read()).decode()

    lines = [json.loads(line) for line in printed.splitlines()]
    ends = [line for line in lines if "(request pr_" in line["message"]]
    assert [line["message"].split()[1] for line in ends] == ["approved", "approved", "expired"]
    # What nobody did is of no request, though each was there when the timer of all sessions was set.
    assert [line.get("request_id") for line in ends] == ["who-decides", "a-socket", None]
    assert [line.get("trace_id") for line in ends] == [TRACE, None, None]


async def test_failure_is_found_in_the_log_by_the_id_that_its_answer_says(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = await make_client(log_format="json")
    monkeypatch.setattr(Broker, "look", None)

    async with client.get(f"{API}/sse/health/s1") as response:
        said = response.headers["X-Request-Id"]

    assert response.status == 500
    [failed] = [record for record in caplog.records if record.exc_info]
    assert failed.fields() == {"request_id": said}  # type: ignore[attr-defined]
