"""aiohttp-sse as its own example uses it: a queue and a task per reader."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp_sse import sse_response

from .loop import run
from .orders import Order, carry_out
from .peer import Peer, Ports, Target, python_program

__all__ = ["AiohttpSse"]


class AiohttpSse(Peer):
    name = "aiohttp-sse"
    title = "plain aiohttp-sse"
    cannot = frozenset({"permission", "storm", "websocket", "long-poll"})
    share = 0.2

    def prepare(self, *, may_install: bool) -> None:
        """The service itself needs it."""

    def programs(self, ports: Ports, folder: Path) -> Sequence[Sequence[str]]:
        return [python_program("aiohttp_sse", ports)]

    def target(self, ports: Ports, processes: Sequence[int]) -> Target:
        return Target(
            port=ports.main,
            stream="/events/{session}",
            publish="/publish/{session}",
            ready="data: ready",
            orders_port=ports.main,
            processes=processes,
        )


async def _serve(port: int) -> None:
    queues: defaultdict[str, set[asyncio.Queue[Any]]] = defaultdict(set)

    def publish(session: str, data: Mapping[str, Any]) -> None:
        for queue in queues[session]:
            queue.put_nowait({"type": "bench", "data": data})

    async def events(request: web.Request) -> web.StreamResponse:
        queue: asyncio.Queue[Any] = asyncio.Queue()
        readers = queues[request.match_info["session"]]
        async with sse_response(request) as response:
            readers.add(queue)
            try:
                await response.send("ready")
                while response.is_connected():
                    await response.send(json.dumps(await queue.get(), separators=(",", ":")))
            finally:
                readers.discard(queue)
        return response

    async def publish_one(request: web.Request) -> web.Response:
        publish(request.match_info["session"], (await request.json())["data"])
        return web.json_response({"success": True}, status=201)

    async def obey(request: web.Request) -> web.Response:
        await carry_out(Order.from_json(await request.read()), publish)
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/events/{session}", events)
    app.router.add_post("/publish/{session}", publish_one)
    app.router.add_post("/orders", obey)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    run(_serve(int(sys.argv[1])))
