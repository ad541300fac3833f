"""A token appears nowhere: not in logs, answers or errors, whatever comes in."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, TCPConnector, WSMsgType

from notifier_service.web.routes import ROUTES
from tests.raw_stream import OpenStream
from tests.service_process import service_process
from tests.signer import Signer

API = "/agent_backend/api"
TOKEN = "secret-4f1c9a"
WRONG = "secret-of-nobody"

NO_HTTP = [
    f"GET {API}/sse/events/s?token={TOKEN} HTTP/9.x\r\n\r\n",
    f"GARBAGE {TOKEN}\r\n\r\n",
    f"GET {API}/sse/health/s HTTP/1.1\r\nHost: localhost\r\nAuthorization Bearer {TOKEN}\r\n\r\n",
    f"POST {API}/events/s HTTP/1.1\r\nHost: localhost\r\nContent-Length: {TOKEN}\r\n\r\n",
    f"GET /{TOKEN * 1000} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    f"GET http://[{TOKEN}/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
]


async def test_token_is_in_nothing_that_the_process_prints_or_answers(tmp_path: Path, open_stream: OpenStream) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps([{"token": TOKEN, "rights": ["admin"], "sessions": ["*"]}]))
    bodies = []
    flags = ("--auth", "tokens", "--tokens-file", str(tokens), "--log-level", "debug")
    async with service_process(*flags) as (process, port), ClientSession() as client:
        url = f"http://127.0.0.1:{port}{API}"
        stream = await open_stream(port, f"{API}/sse/events/s?token={TOKEN}")
        await stream.until("snapshot")
        for token in (TOKEN, WRONG):
            headers = {"Authorization": f"Bearer {token}"}
            for method, path, body in (
                ("GET", f"/sse/health/s?token={token}", None),
                ("GET", f"/sse/events/s%0d%0a?token={token}", None),
                ("GET", f"/nothing?token={token}", None),
                ("POST", f"/sse/permission-response/s?token={token}", {"approved": token}),
                ("POST", "/events/s", {"type": token, "data": {"a": 1}}),
                ("POST", "/permissions/s", {"tool_name": "t", "parameters": {}, "risk_level": token}),
            ):
                async with client.request(method, url + path, json=body, headers=headers) as response:
                    bodies.append(await response.text())
        tokens.write_text(json.dumps([{"token": TOKEN, "rights": [TOKEN], "sessions": ["*"]}]))
        async with client.get(f"{url}/sse/health/s", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
            assert response.status == 200  # the tokens read before stay in force
        for text in NO_HTTP:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(text.encode())
            assert (await reader.read()).startswith(b"HTTP/1.0 400")
            writer.close()
            await writer.wait_closed()
        process.terminate()
        assert process.stderr is not None
        printed = (await process.stderr.read()).decode()

    assert "tokens_file is not as expected" in printed
    assert TOKEN not in printed
    assert WRONG not in printed
    for body in bodies:
        assert TOKEN not in body
        assert WRONG not in body


class Caller:
    """Sends what holds a token to every place it could get to, and keeps the answers."""

    def __init__(self, https: Sequence[ClientSession], port: int, mine: str) -> None:
        self._https = itertools.cycle(https)
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        #: The header of somebody who may do everything.
        self.mine = {"Authorization": f"Bearer {mine}"}
        self.answers: list[str] = []

    @property
    def http(self) -> ClientSession:
        return next(self._https)

    async def call(self, method: str, path: str, *, keep: bool = True, **request: Any) -> int:
        """Call, and keep the head and the first piece of the answer, which may be a stream."""
        async with self.http.request(method, self.url + path, **request) as response:
            piece = await response.content.readany()
        if keep:
            self.answers += [str(response.headers), str(response.reason), piece.decode()]
        return response.status

    async def talk(self, path: str, frames: Sequence[tuple[bytes, WSMsgType]], **request: Any) -> None:
        """Open a socket, send these frames, and keep what comes until it is closed."""
        async with self.http.ws_connect(self.url + path, **request) as socket:
            with suppress(ConnectionError):
                for frame, kind in frames:
                    await socket.send_frame(frame, kind)
                await socket.send_frame(b'{"type":"ping"}', WSMsgType.TEXT)
            while (message := await socket.receive(timeout=5)).type in (WSMsgType.TEXT, WSMsgType.BINARY):
                self.answers.append(message.data)
                if message.data == '{"type":"pong"}':
                    await socket.close()
            self.answers.append(f"{message.data} {message.extra}")

    async def garble(self, *requests: bytes) -> None:
        """Send what is no HTTP. The sender gets its own bad line back, from aiohttp: that is kept from nobody."""
        for request in requests:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(request)
            with suppress(ConnectionError):
                writer.write_eof()
                await reader.read()
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def send_everywhere(caller: Caller, token: str) -> None:
    """Send a token to every place that a client, an attacker or a mistake could put it."""
    theirs = {"Authorization": f"Bearer {token}"}
    for route in ROUTES:
        path = route.full_path("/agent_backend").replace("{session_id}", "s").replace("{request_id}", "pr_x")
        if route.method == "GET":
            wait = {"timeout": "0"} if "long-poll" in path else {}
            for name in ("token", "ticket"):
                await caller.call("GET", path, params={name: token, **wait})
        if route.method != "DELETE":
            await caller.call(
                route.method, path, params={"timeout": "x"} if "long-poll" in path else {}, headers=theirs
            )
    for path in ("/nothing/", f"{API}/sse/health/", f"{API}/sse/events/s&token=", f"{API}/sse/events/s;ticket="):
        await caller.call("GET", path + token)
    text, mine = {"Content-Type": "text/plain"}, caller.mine
    broken = {"Content-Type": "application/json", **mine}
    await caller.call(
        "GET", f"{API}/sse/health/s", headers={"Cookie": f"token={token}", "Referer": f"http://a/?t={token}"}
    )
    # A gap tells who sent it the cursor that it does not know.
    await caller.call("GET", f"{API}/sse/events/s", headers={"Last-Event-ID": token, **mine}, keep=False)
    await caller.call("GET", f"{API}/sse/health/s", headers={"X-Token": token, "Origin": token, "Authorization": token})
    await caller.call("GET", f"{API}/sse/health/s", headers={"Host": token})
    await caller.call("POST", f"{API}/sse/permission-response/s", data=token, headers={**text, **mine})
    await caller.call("POST", f"{API}/sse/permission-response/s", data=f'{{"a":"{token}', headers=broken)
    for decision in ({"approved": token}, {"approved": True, "request_id": token}, [token], token):
        await caller.call("POST", f"{API}/sse/permission-response/s", json=decision, headers=mine)
    for body in (
        {"type": token},
        {"type": "tool_status", "data": {"status": token}},
        {"type": "note", "session_id": f"{token}?"},
    ):
        await caller.call("POST", f"{API}/events", json=body, headers=mine)
        lines = f'{{"type":"note","session_id":"s"}}\n{json.dumps(body)}\n'
        await caller.call("POST", f"{API}/events", data=lines, headers={"Content-Type": "application/x-ndjson", **mine})
    lines = f'{{"type":"note"}}\n{token}\n'
    await caller.call("POST", f"{API}/events/s", data=lines, headers={"Content-Type": "application/x-ndjson", **mine})
    await caller.call("POST", f"{API}/events/s", json={"type": 1}, headers={"Idempotency-Key": token, **mine})
    asked: dict[str, Any] = {"tool_name": "t", "parameters": {}, "risk_level": "high"}
    await caller.call("POST", f"{API}/permissions/s", json={**asked, "risk_level": token}, headers=mine)
    # What is asked and published is for who reads it, and for nobody else.
    data = {"tool_name": token, "parameters": {"token": token}, "risk_level": "high", "timeout_seconds": 60}
    await caller.call("POST", f"{API}/permissions/told", json=data, headers=mine, keep=False)
    data = {"type": "note", "data": {"token": token}}
    await caller.call("POST", f"{API}/events/told", json=data, headers=mine, keep=False)
    socket, auth = "/agent_backend/ws/s", json.dumps({"type": "auth", "token": token}).encode()
    frames = [
        (auth, WSMsgType.TEXT),
        (token.encode(), WSMsgType.TEXT),
        (token.encode(), WSMsgType.BINARY),
        (json.dumps({"type": token}).encode(), WSMsgType.TEXT),
        (json.dumps({"type": "resume", "after": [token]}).encode(), WSMsgType.TEXT),
        (json.dumps({"type": "permission_response", "approved": token}).encode(), WSMsgType.TEXT),
        (token.encode(), WSMsgType.PING),
        (token.encode() + b"\xff", WSMsgType.TEXT),
    ]
    for way in ({"token": token}, {"ticket": token}):
        await caller.talk(socket, frames, params=way)
    await caller.talk(socket, frames, headers=mine)
    for frame in frames:
        await caller.talk(socket, [frame])
    await caller.talk(socket, frames[:1], protocols=(token, "bearer"))
    await caller.talk(socket, frames[1:2], headers={"Origin": caller.url, **theirs})
    raw, upgrade = token.encode(), b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    await caller.garble(
        b"GET %b?token=%b HTTP/9.x\r\n\r\n" % (API.encode(), raw),
        b"GARBAGE %b\r\n\r\n" % raw,
        b"%b\r\n\r\n" % raw,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization Bearer %b\r\n\r\n" % raw,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\x01\r\n\r\n" % raw,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n\r\n" % (raw * 100),
        b"GET /?token=%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % (raw * 100),
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %b\r\n\r\n" % raw,
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n" % raw,
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n%b" % raw,
        b"GET http://[%b/ HTTP/1.1\r\nHost: localhost\r\n\r\n" % raw,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nExpect: %b\r\n\r\n" % raw,
        b"GET %b HTTP/1.1\r\nHost: localhost\r\n%bSec-WebSocket-Key: %b\r\n\r\n" % (socket.encode(), upgrade, raw),
        b"GET %b HTTP/1.1\r\nHost: localhost\r\n%bSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n\xf1\x10%b"
        % (socket.encode(), upgrade, raw),
    )


async def test_no_signed_token_and_no_ticket_is_in_anything_that_the_process_prints_or_answers(tmp_path: Path) -> None:
    signer, stranger = Signer.new(), Signer.new()
    key_file = tmp_path / "key"
    key_file.write_bytes(signer.signing)
    everything: dict[str, Any] = {"rights": ["admin"], "sessions": ["*"]}
    valid = signer.token(jti="valid", **everything)
    bad = [
        signer.token(jti="expired", **everything, exp=time.time() - 60),
        stranger.token(jti="forged", **everything),
        "tk_0123456789abcdefghijklmnopqrstuv",
    ]
    flags = ("--auth", "jwt", "--jwt-algorithms", "HS256", "--jwt-key-file", str(key_file), "--log-level", "debug")
    async with service_process(*flags) as (process, port), AsyncExitStack() as stack:
        # From many addresses, for whoever sends more wrong tokens from one is answered later and later.
        https = [
            await stack.enter_async_context(
                ClientSession(
                    timeout=ClientTimeout(total=10), connector=TCPConnector(local_addr=(f"127.0.0.{number}", 0))
                )
            )
            for number in range(2, 10)
        ]
        caller = Caller(https, port, valid)
        async with caller.http.post(f"{caller.url}{API}/sse/ticket/s", headers=caller.mine) as response:
            ticket = str((await response.json())["data"]["ticket"])
        await asyncio.gather(*(send_everywhere(caller, token) for token in (*bad, valid)))
        for _ in range(2):
            await caller.call("GET", f"{API}/sse/events/s", params={"ticket": ticket})
        await caller.call("GET", f"{API}/sse/events/{ticket}")
        await caller.call("GET", f"{API}/sse/events/s", params={"token": signer.token(rights="secret-right")})
        key_file.write_bytes(b"too-short-a-secret")
        assert await caller.call("GET", f"{API}/sse/health/s", headers=caller.mine) == 200
        await caller.call("GET", "/metrics", headers=caller.mine)
        process.terminate()
        assert process.stdout is not None
        assert process.stderr is not None
        printed = (await process.stdout.read() + await process.stderr.read()).decode()

    assert "jwt_key_file is too short" in printed
    assert f"GET {API}/sse/health/s 401" in printed
    assert "Traceback" not in printed
    told = "\n".join(map(str, caller.answers))
    secrets = [signer.signing.decode(), "too-short-a-secret", "secret-right", ticket]
    for token in (*bad, valid):
        secrets += token.split(".")[1:] or [token]
    for secret in secrets:
        assert secret not in printed
        assert secret not in told
