"""A relay of this process between bare HTTP requests and the stub server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from notifier_service import Broker, Settings
from notifier_service.calls.asker import Asker, BrokerAsker
from notifier_service.web import create_gateway_app
from notifier_service.web.mcp.relay import HttpRelay
from tests.mcp.asked_session import AskedSession
from tests.mcp.http_stub import HttpStub

__all__ = ["STATELESS", "Answered", "HttpWiring", "call", "on_a_port", "stateless"]

STATELESS = "2026-07-28"
_META = "io.modelcontextprotocol/"


def call(message_id: Any, name: str, arguments: Any = None, **params: Any) -> dict[str, Any]:
    given = {"name": name, "arguments": arguments or {}, **params}
    return {"jsonrpc": "2.0", "id": message_id, "method": "tools/call", "params": given}


def stateless(message_id: Any, name: str, arguments: Any = None, **params: Any) -> dict[str, Any]:
    meta = {f"{_META}protocolVersion": STATELESS, f"{_META}clientCapabilities": {}, **params.pop("_meta", {})}
    return call(message_id, name, arguments, _meta=meta, **params)


class Answered:
    """An answer that has come whole."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = body

    @property
    def message(self) -> dict[str, Any]:
        """The answer, or the last message of the stream that it is."""
        return self.messages[-1]

    @property
    def messages(self) -> list[dict[str, Any]]:
        if not self.headers["Content-Type"].startswith("text/event-stream"):
            return [json.loads(self.body)]
        return [json.loads(line[6:]) for line in self.body.splitlines() if line.startswith(b"data: ")]

    @property
    def text(self) -> str:
        """What the tool said, or what was said in its place."""
        text: str = self.message["result"]["content"][0]["text"]
        return text


class HttpWiring(AskedSession):
    """Clients, the relay, the server, and the session that is asked."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self.stub = HttpStub()
        self.http = aiohttp.ClientSession()
        self.url = ""
        self._stack = AsyncExitStack()

    async def start(
        self, *, cancels_handlers: bool = True, asker: Asker | None = None, upstream: str = "", **options: Any
    ) -> None:
        """Run the server, and the relay before it."""
        self.stub.port = await self._stack.enter_async_context(on_a_port(self.stub.app()))
        asked = BrokerAsker(self.broker, "s") if asker is None else asker
        relay = await self._stack.enter_async_context(HttpRelay(upstream or self.stub.url, lambda _: asked, **options))
        app = create_gateway_app(relay, Settings(allowed_origins=("https://app.example",)), "s")
        self.url = f"http://127.0.0.1:{await self._stack.enter_async_context(on_a_port(app, cancels_handlers))}/mcp"

    async def close(self) -> None:
        await self.http.close()
        await self._stack.aclose()

    async def request(self, method: str, data: bytes | None = None, **headers: str) -> Answered:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with asyncio.timeout(20), self.http.request(method, self.url, data=data, headers=sent) as response:
            return Answered(response, await response.read())

    async def post(self, message: Any, **headers: str) -> Answered:
        """Send a message, a client's usual headers with it."""
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        usual = {"Content_Type": "application/json", "Accept": "application/json, text/event-stream"}
        if isinstance(message, dict) and f"{_META}protocolVersion" in str(message):
            params = message["params"]
            usual |= {"Mcp_Method": message["method"], "Mcp_Name": params.get("name") or params["taskId"]}
            usual |= {"MCP_Protocol_Version": STATELESS}
        return await self.request("POST", data, **{**usual, **headers})

    def posting(self, message: Any, **headers: str) -> asyncio.Task[Answered]:
        return asyncio.create_task(self.post(message, **headers))

    async def reached(self, count: int) -> None:
        """Wait until so many requests have reached the server."""
        async with asyncio.timeout(15):
            while len(self.stub.received) < count:
                await self.stub.arrived.wait()


@asynccontextmanager
async def on_a_port(app: web.Application, cancels_handlers: bool = True) -> AsyncIterator[int]:
    runner = web.AppRunner(app, handler_cancellation=cancels_handlers, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield site.port
    finally:
        await runner.cleanup()
