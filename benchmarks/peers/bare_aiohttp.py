"""aiohttp with nothing in its handlers: what an HTTP request costs before anybody does anything with it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from .loop import run
from .peer import Peer, Ports, Target, python_program

__all__ = ["BareAiohttp"]

_ANSWER = b'{"success":true,"data":{"ids":["1kqv3v0i0ow5-2s"]}}'


class BareAiohttp(Peer):
    name = "bare-aiohttp"
    title = "bare aiohttp handler"

    def prepare(self, *, may_install: bool) -> None:
        """The service itself needs it."""

    def programs(self, ports: Ports, folder: Path) -> Sequence[Sequence[str]]:
        return [python_program("bare_aiohttp", ports)]

    def target(self, ports: Ports, processes: Sequence[int]) -> Target:
        return Target(port=ports.main, stream="", publish="/publish/{session}", ready="", processes=processes)


async def _serve(port: int) -> None:
    async def publish(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=_ANSWER, status=201, content_type="application/json", charset="utf-8")

    app = web.Application()
    app.router.add_post("/publish/{session}", publish)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    run(_serve(int(sys.argv[1])))
