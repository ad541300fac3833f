"""An MCP server over streamable HTTP with odd but legal habits, which misbehaves on request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from aiohttp import web
from multidict import CIMultiDict

__all__ = ["HttpStub", "Received"]

READS = {"readOnlyHint": True, "openWorldHint": False}


def listed(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object"}, **more}


class Received(NamedTuple):
    method: str
    headers: CIMultiDict[str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.body)
        return message


class HttpStub:
    """Keeps what has reached it; its port is there once it runs."""

    def __init__(self) -> None:
        self.tools: list[dict[str, Any]] = [
            listed("read", annotations=READS),
            listed("write"),
            listed("hang"),
            listed("broken"),
            listed("half"),
            listed("slow"),
            listed("needs"),
            listed("task"),
            listed("rounds", inputSchema={"type": "object", "properties": {"rounds": {"x-mcp-header": "Rounds"}}}),
            listed("region", inputSchema={"type": "object", "properties": {"in": {"x-mcp-header": "Region"}, "n": {}}}),
            *(listed(name, annotations=READS) for name in (
                "stream", "twice", "garbage", "break", "big", "refuse", "silent", "later", "change", "none",
            )),
        ]  # fmt: skip
        self.received: list[Received] = []
        self.arrived = asyncio.Event()
        self.left = asyncio.Event()
        #: What its GET stream says.
        self.stream = b": nothing\n\n"
        #: What it answers to every request but that for its tools, and as which type.
        self.answers: tuple[bytes, str] | None = None
        self.redirect: str | None = None
        self.knows_discover = False
        self.port = 0

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1024**3)
        app.router.add_route("*", "/{path:.*}", self.answer)
        return app

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def reached(self, method: str) -> list[dict[str, Any]]:
        return [one.message for one in self.received if one.body and one.message.get("method") == method]

    def ran(self) -> list[dict[str, Any]]:
        return [message["params"] for message in self.reached("tools/call")]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        received = Received(request.method, CIMultiDict(request.headers), await request.read())
        self.received.append(received)
        self.arrived.set()
        self.arrived.clear()
        if self.redirect is not None and request.path == "/mcp":
            return web.Response(status=307, headers={"Location": self.redirect})
        if request.method == "GET":
            return await self._events(request, self.stream)
        if request.method == "DELETE":
            return web.Response(status=200)
        message = received.message
        method, message_id = message.get("method"), message.get("id")
        if self.answers is not None and method != "tools/list":
            return web.Response(body=self.answers[0], headers={"Content-Type": self.answers[1]})
        if method is None or message_id is None:
            return web.Response(status=202)
        if method == "tools/call":
            return await self._call(request, message)
        if method == "initialize":
            params = message.get("params", {})
            began = {"protocolVersion": params.get("protocolVersion"), "serverInfo": {"name": "stub", "version": "1"}}
            return self._json(message_id, {**began, "capabilities": {"tools": {}}}, {"Mcp-Session-Id": "m1"})
        if method == "server/discover" and self.knows_discover:
            return self._json(message_id, {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}})
        if method in ("tasks/get", "tasks/update", "tasks/cancel"):
            if message["params"].get("taskId") != "theirs":
                error = {"code": -32601, "message": "no tasks"}
                return web.json_response({"jsonrpc": "2.0", "id": message_id, "error": error}, status=404)
            return self._json(message_id, {"taskId": "theirs", "status": "completed", "echo": message})
        if method == "server/discover":
            return web.json_response({"jsonrpc": "2.0", "id": message_id, "error": {"code": -32601, "message": "no"}})
        if method == "tools/list":
            return self._json(message_id, {"tools": self.tools})
        return self._json(message_id, {"method": method, "x-vendor": "é"})

    def _json(self, message_id: Any, result: Any, headers: Mapping[str, str] | None = None) -> web.Response:
        body = json.dumps({"result": result, "jsonrpc": "2.0", "id": message_id}, ensure_ascii=False).encode()
        odd = {"X-Vendor": "1", "Alt-Svc": 'h3=":1"', "Access-Control-Allow-Origin": "*", "Keep-Alive": "timeout=1"}
        return web.Response(body=body, headers={"Content-Type": "application/json", **odd, **(headers or {})})

    async def _call(self, request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        message_id, params = message["id"], message["params"]
        name, arguments = params["name"], params.get("arguments") or {}
        result = {"content": [{"type": "text", "text": f"{name} ran with {json.dumps(arguments)}"}]}
        answer = self._event({"jsonrpc": "2.0", "id": message_id, "result": result})
        if name == "stream":
            progress = {"progressToken": params["_meta"]["progressToken"], "progress": 0}
            told = self._event({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})
            return await self._events(request, b"id: 7\r\nretry: 100\r\ndata:\r\n\r\n", b": odd\n" + told, answer)
        if name == "twice":
            return await self._events(request, answer, answer)
        if name == "later":
            self.stream = answer
            return await self._events(request, b"id: 8\ndata:\n\n")
        if name == "none":
            return await self._events(request, b": that was all\n\n")
        if name == "change":
            self.tools[0].pop("annotations", None)
            changed = self._event({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
            return await self._events(request, changed, answer)
        if name == "garbage":
            return web.Response(text="<p>It works!</p>", content_type="text/html")
        if name == "break":
            response = await self._events(request, answer[:20], end=False)
            assert request.transport is not None
            request.transport.abort()
            return response
        if name == "big":
            return await self._big(request, message_id, arguments["megabytes"])
        if name == "refuse":
            error = {"jsonrpc": "2.0", "id": message_id, "error": {"code": -32021, "message": "no", "data": {"x": 1}}}
            return web.json_response(error, status=400)
        if name in ("silent", "hang"):
            try:
                await asyncio.Event().wait()
            finally:
                self.left.set()
        if name == "half":
            result = {"content": [], "n": 1.1, "half": "\ud800"}
            body = json.dumps({"jsonrpc": "2.0", "id": message_id, "result": result}).encode()
            return web.Response(body=body, headers={"Content-Type": "application/json"})
        if name == "slow":
            progress = {"progressToken": params["_meta"]["progressToken"], "progress": 1, "message": "half"}
            told = self._event({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})
            await self._events(request, told, end=False)
            await asyncio.Event().wait()
        if name == "broken":
            error = {"code": 7, "message": "no", "data": {"x": 1}}
            return web.json_response({"jsonrpc": "2.0", "id": message_id, "error": error})
        if name == "needs" and "inputResponses" not in params:
            asked = {key: {"method": "elicitation/create", "params": {"message": key}} for key in ("who", "where")}
            needed = {"resultType": "input_required", "inputRequests": asked, "requestState": "kept"}
            return self._json(message_id, needed)
        if name == "needs":
            said = json.dumps({key: params[key] for key in ("inputResponses", "requestState")})
            result = {"content": [{"type": "text", "text": said}]}
        if name == "task":
            return self._json(message_id, {"resultType": "task", "taskId": "theirs", "status": "working"})
        if name == "rounds" and arguments.get("rounds", 1) > len(params.get("requestState", "")):
            result = {"resultType": "input_required", "requestState": params.get("requestState", "") + "s"}  # type: ignore[dict-item]
        return self._json(message_id, result)

    @staticmethod
    async def _big(request: web.Request, message_id: Any, megabytes: int) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"' % message_id)
        for _ in range(megabytes):
            await response.write(b"x" * 1024 * 1024)
        await response.write(b'"}]}}')
        return response

    @staticmethod
    def _event(message: Any) -> bytes:
        return b"event: message\ndata: " + json.dumps(message).encode() + b"\n\n"

    @staticmethod
    async def _events(request: web.Request, *events: bytes, end: bool = True) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Vendor": "1"})
        await response.prepare(request)
        for event in events:
            await response.write(event)
        if end:
            await response.write_eof()
        return response
