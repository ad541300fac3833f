"""What a peer does is no failure of the service: it is told in the one error shape, or nobody is; no traceback."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from notifier_service.web import Site
from tests.service_process import service_process

from .conftest import PATIENCE_SECONDS, Service, until

API = "/agent_backend/api"
JSON = "Content-Type: application/json"
NDJSON = "Content-Type: application/x-ndjson"
NOTE = b'{"type":"note"}'


def head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode()


def post(body: bytes, *headers: str, path: str = f"{API}/events/s", kind: str = JSON) -> bytes:
    return head("POST", path, kind, f"Content-Length: {len(body)}", "Connection: close", *headers) + body


def handshake(path: str) -> bytes:
    key = base64.b64encode(b"0123456789abcdef").decode()
    return head(
        "GET",
        path,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
    )


ASK = json.dumps({"tool_name": "rm", "parameters": {}}).encode()
PROMPT = json.dumps(
    {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
     "params": {"name": "approval_prompt", "arguments": {"tool_name": "Bash", "input": {}}}}
).encode()  # fmt: skip
HOOK = json.dumps(
    {"session_id": "s", "hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": {}, "tool_use_id": "t"}
).encode()

BEGUN = {
    "nothing": b"",
    "half a head": b"GET / HT",
    "TLS": bytes.fromhex("16030100f1010000ed0303") + bytes(200),
    "garbage": b"\0\xff\r\n\r\n" * 20,
    "expects": head("POST", f"{API}/events/s", JSON, "Content-Length: 100", "Expect: 100-continue"),
    "expects nonsense": head("POST", f"{API}/events/s", JSON, "Content-Length: 100", "Expect: nonsense"),
    "half an event": post(NOTE)[:-5],
    "half a stream": head("POST", f"{API}/events/s", NDJSON, "Transfer-Encoding: chunked") + b"5\r\n{}\n{\r\n",
    "half a chunk": head("POST", f"{API}/events/s", JSON, "Transfer-Encoding: chunked") + b"ff\r\n{",
    "bad chunk": head("POST", f"{API}/events/s", JSON, "Transfer-Encoding: chunked") + b"zz\r\n{",
    "half a decision": post(b"{}", path=f"{API}/sse/permission-response/s")[:-1],
    "asks and waits": post(ASK, path=f"{API}/permissions/s?wait=30"),
    "prompt tool": post(PROMPT, "Accept: application/json, text/event-stream", path="/mcp/s"),
    "hook": post(HOOK, path="/hooks/claude-code"),
    "long-poll": head("GET", f"{API}/long-poll/s?timeout=30"),
    "stream": head("GET", f"{API}/sse/events/s"),
    "chat": head("GET", "/agent_chat_stream?query=hello&session_id=c"),
    "socket": handshake("/agent_backend/ws/s"),
    "chat socket": handshake("/ws/chat"),
    "socket and half a frame": handshake("/agent_backend/ws/s") + b"\x81\xfe",
    "socket and no frame": handshake("/agent_backend/ws/s") + b"\xff" * 40,
    "many at once": head("GET", f"{API}/sse/health/s") * 50,
    "page": head("GET", "/agent_backend/"),
}


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def half_close(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)


LEAVES = {"resets": reset, "closes": socket.socket.close, "half-closes": half_close}


@pytest.fixture
async def silent(service: Service, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Site]:
    """A service that has nothing to complain of when the test is over."""
    caplog.set_level(logging.INFO)
    yield service.site
    complaints = [r for r in caplog.records if r.levelno >= logging.WARNING or r.exc_info]
    assert complaints == [], caplog.text


@pytest.mark.parametrize("leave", LEAVES)
@pytest.mark.parametrize("begun", BEGUN)
async def test_peer_that_leaves_at_any_time_leaves_no_traceback(silent: Site, begun: str, leave: str) -> None:
    left = []
    for turns in (0, 1, 2, 3, 5, 8, 20):
        connection = socket.create_connection((silent.host, silent.port))
        left.append(connection)
        connection.sendall(BEGUN[begun])
        for _ in range(turns):  # so that it meets the service at another point each time
            await asyncio.sleep(0)
        LEAVES[leave](connection)
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection(silent.host, silent.port)
        writer.write(head("GET", "/healthz/live", "Connection: close"))
        assert b" 200 " in await reader.readline()
        writer.close()
    for connection in left:
        connection.close()
    await until(lambda: not silent.broker.connections)


async def test_process_says_nothing_of_peers_that_leave() -> None:
    def leave_at_any_time(port: int) -> None:
        for _ in range(15):
            for begun in BEGUN.values():
                for leave in LEAVES.values():
                    with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as connection:
                        connection.sendall(begun)
                        leave(connection)

    async with service_process() as (process, port):
        await asyncio.to_thread(leave_at_any_time, port)
        process.terminate()
        _, said = await process.communicate()

    assert said.decode() == ""


UNREADABLE = {
    "no request": (b"NONSENSE\r\n\r\n", 400, "invalid", "HTTP request"),
    "TLS": (BEGUN["TLS"] + b"\r\n\r\n", 400, "invalid", "TLS"),
    "version": (b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n", 400, "invalid", "HTTP request"),
    "header": (b"GET / HTTP/1.1\r\nHo st: s3cret\r\n\r\n", 400, "invalid", "HTTP request"),
    "two lengths": (
        head("POST", "/", "Transfer-Encoding: chunked", "Content-Length: 5"), 400, "invalid", "HTTP request",
    ),
    "cookies": (head("GET", "/", "Cookie: " + "s3cret" * 2000), 400, "invalid", "cookies"),
    "path": (head("GET", "/" + "s3cret" * 2000), 400, "invalid", "8190"),
    "headers": (head("GET", "/", *["X-A: s3cret"] * 500), 400, "invalid", "headers"),
    "expectation": (post(NOTE, "Expect: s3cret"), 417, "invalid", "100-continue"),
    "encoding": (post(NOTE, "Content-Encoding: s3cret"), 415, "unsupported_media_type", "gzip"),
    "brotli": (post(NOTE, "Content-Encoding: br"), 415, "unsupported_media_type", "gzip"),
    "two encodings": (post(NOTE, "Content-Encoding: gzip, gzip"), 415, "unsupported_media_type", "once"),
    "no gzip": (post(b"s3cret", "Content-Encoding: gzip"), 422, "invalid", "gzip"),
    "no deflate": (post(b"s3cret", "Content-Encoding: deflate"), 422, "invalid", "deflate"),
    "no gzip in a stream": (post(b"s3cret", "Content-Encoding: gzip", kind=NDJSON), 422, "invalid", "gzip"),
    "charset": (post(NOTE, kind=f"{JSON}; charset=latin-1"), 415, "unsupported_media_type", "UTF-8"),
    "charset of a stream": (post(NOTE, kind=f"{NDJSON}; charset=utf-16"), 415, "unsupported_media_type", "UTF-8"),
    "byte order mark": (post(b"\xef\xbb\xbf" + NOTE), 422, "invalid", "byte order mark"),
    "byte order mark of a stream": (post(b"\xef\xbb\xbf" + NOTE, kind=NDJSON), 422, "invalid", "byte order mark"),
    "UTF-16": (post('{"type":"note"}'.encode("utf-16")), 422, "invalid", "UTF-16"),
    "UTF-32": (post('{"type":"note"}'.encode("utf-32-be")), 422, "invalid", "UTF-32"),
    "latin-1": (post('{"type":"note","data":{"é":1}}'.encode("latin-1")), 422, "invalid", "not UTF-8 at line 1 column"),
    "first half": (post(rb'{"type":"note","data":{"t":"\ud83d"}}'), 422, "invalid", "half a character"),
    "second half": (post(rb'{"type":"note","data":{"t":"\ude00 x"}}'), 422, "invalid", "half a character"),
    "two first halves": (post(rb'{"type":"note","data":{"t":"\ud83d\ud83d"}}'), 422, "invalid", "half a character"),
    "half in parameters": (
        post(rb'{"tool_name":"t","parameters":{"\ud83d":1}}', path=f"{API}/permissions/s"), 422, "invalid", "half a",
    ),
    "half an escape": (post(rb'{"type":"note","data":{"t":"\u12"}}'), 422, "invalid", "escape"),
}  # fmt: skip


@pytest.mark.parametrize("what", UNREADABLE)
async def test_what_cannot_be_read_is_told_in_the_one_shape_with_its_cause(service: Service, what: str) -> None:
    request, status, code, cause = UNREADABLE[what]
    received = await service.raw(request)
    top, _, body = received.partition(b"\r\n\r\n")
    error = json.loads(body)

    assert int(top.split()[1]) == status
    assert b"Content-Type: application/json" in top
    assert (error["success"], error["error"]["code"]) == (False, code)
    assert error["message"] == error["error"]["message"]
    assert cause in error["message"]
    assert b"s3cret" not in received


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(NOTE, "Expect: 100-continue"),
        post(NOTE, kind=f'{JSON}; charset="UTF-8"'),
        post(gzip.compress(NOTE, mtime=0), "Content-Encoding: GZIP"),
        post(NOTE, "Content-Encoding: identity"),
        post(rb'{"type":"note","data":{"t":"\ud83d\ude00\u2028"}}'),
    ],
)
async def test_what_can_be_read_is_taken(service: Service, request_bytes: bytes) -> None:
    assert b" 201 " in await service.raw(request_bytes)


async def test_half_a_character_ends_no_stream_and_is_told_as_text(service: Service) -> None:
    lines = [
        rb'{"type":"note","data":{"t":"cut \ud83d"}}',
        rb'{"type":"note","data":{"t":"\ude00 rest, \\ud83d, \ud83d\ude00"}}',
        rb'{"type":"note","data":{"t":"whole"}}',
    ]
    received = await service.raw(post(b"\n".join(lines), kind=NDJSON))
    log = service.site.broker.get("s").log

    assert b'"count":3' in received
    assert [json.loads(event.json)["data"]["t"] for event in log.read_after(0)] == [
        "cut \\ud83d", "\\ude00 rest, \\ud83d, \U0001f600", "whole",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "request_", [b"GARBAGE\r\n\r\n", b"GET /x HTTP/9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n"]
)
async def test_what_is_no_request_is_one_line_in_the_log_and_no_traceback(request_: bytes) -> None:
    async with service_process("--log-level", "info") as (process, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_)
        answer = await reader.read()
        writer.close()
        process.terminate()
        assert process.stderr is not None
        log = (await process.stderr.read()).decode()

    assert answer.startswith(b"HTTP/1.0 400 ")
    assert log.count("UNKNOWN / 400") == 1
    assert "Traceback" not in log
