"""sse-starlette with Redis pub/sub in between, one subscription per process: the usual way to push from Python."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from .orders import Order, carry_out
from .peer import Peer, Ports, Target, install_debian, install_python, python_program

__all__ = ["StarletteRedis"]


class StarletteRedis(Peer):
    name = "starlette-redis"
    title = "sse-starlette + Redis"
    cannot = frozenset({"permission", "storm", "websocket", "long-poll"})
    share = 0.1

    def prepare(self, *, may_install: bool) -> None:
        install_python(
            ["sse-starlette", "uvicorn", "httptools", "redis"],
            ["sse_starlette", "uvicorn", "httptools", "redis"],
            may_install=may_install,
        )
        install_debian(["redis-server"], ["redis-server"], may_install=may_install)

    def programs(self, ports: Ports, folder: Path) -> Sequence[Sequence[str]]:
        socket = str(folder / "redis")
        redis = shutil.which("redis-server") or "/usr/sbin/redis-server"
        return [
            [redis, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", str(folder)],
            python_program("starlette_redis", ports, socket),
        ]

    def target(self, ports: Ports, processes: Sequence[int]) -> Target:
        return Target(
            port=ports.main,
            stream="/events/{session}",
            publish="/publish/{session}",
            ready="data: ready",
            orders_port=ports.main,
            processes=processes,
        )


def _serve(port: int, redis_socket: str) -> None:
    import uvicorn
    from redis.asyncio import Redis
    from redis.exceptions import ConnectionError as NotThere
    from sse_starlette import EventSourceResponse
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    queues: defaultdict[str, set[asyncio.Queue[str]]] = defaultdict(set)
    redis = Redis(unix_socket_path=redis_socket, decode_responses=True)

    async def hand_on() -> None:
        async with redis.pubsub() as pubsub:
            await pubsub.psubscribe("session:*")
            async for message in pubsub.listen():
                if message["type"] == "pmessage":
                    for queue in queues[message["channel"].removeprefix("session:")]:
                        queue.put_nowait(message["data"])

    async def events(request: Request) -> Response:
        async def stream() -> AsyncIterator[dict[str, str]]:
            queue: asyncio.Queue[str] = asyncio.Queue()
            readers = queues[request.path_params["session"]]
            readers.add(queue)
            try:
                yield {"data": "ready"}
                while True:
                    yield {"data": await queue.get()}
            finally:
                readers.discard(queue)

        return EventSourceResponse(stream())

    async def publish_one(request: Request) -> Response:
        text = json.dumps(await request.json(), separators=(",", ":"))
        await redis.publish(f"session:{request.path_params['session']}", text)
        return JSONResponse({"success": True}, status_code=201)

    async def obey(request: Request) -> Response:
        pipeline = redis.pipeline(transaction=False)

        def publish(session: str, data: Mapping[str, Any]) -> None:
            pipeline.publish(f"session:{session}", json.dumps({"type": "bench", "data": data}, separators=(",", ":")))

        async def send() -> None:
            await pipeline.execute()

        await carry_out(Order.from_json(await request.body()), publish, send)
        return JSONResponse({})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        while True:
            try:
                await redis.ping()
                break
            except (NotThere, OSError):
                await asyncio.sleep(0.05)
        task = asyncio.create_task(hand_on())
        yield
        task.cancel()

    app = Starlette(
        routes=[
            Route("/events/{session}", events),
            Route("/publish/{session}", publish_one, methods=["POST"]),
            Route("/orders", obey, methods=["POST"]),
        ],
        lifespan=lifespan,
    )
    uvicorn.run(app, host="127.0.0.1", port=port, backlog=4096, log_level="error", access_log=False, http="httptools")


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[3])
