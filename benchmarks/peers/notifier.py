"""This service, run as its command runs it, and told to publish from inside the process."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from notifier_service import Broker, Settings, serve
from notifier_service.web.routes import ROUTES

from .loop import run
from .orders import Order, carry_out
from .peer import Peer, Ports, Target, python_program

__all__ = ["Notifier"]

#: The end of what every first connect is told before the log.
_READY = '"type":"snapshot"'


class Notifier(Peer):
    name = "notifier"
    title = "notifier_service"
    cannot = frozenset() if any(route.path == "/ws/{session_id}" for route in ROUTES) else frozenset({"websocket"})

    def prepare(self, *, may_install: bool) -> None:
        """It is here."""

    def settings(self, folder: Path) -> Mapping[str, Any]:
        """What is set beside the usual; files may be written to ``folder``."""
        return {}

    def programs(self, ports: Ports, folder: Path) -> Sequence[Sequence[str]]:
        return [python_program("notifier", ports, json.dumps(self.settings(folder)))]

    def target(self, ports: Ports, processes: Sequence[int]) -> Target:
        prefix = "/agent_backend"
        return Target(
            port=ports.main,
            stream=f"{prefix}/api/sse/events/{{session}}",
            publish=f"{prefix}/api/events/{{session}}",
            ready=_READY,
            orders_port=ports.other,
            websocket=f"{prefix}/ws/{{session}}",
            websocket_ready=_READY,
            long_poll=f"{prefix}/api/long-poll/{{session}}?timeout=60&after={{after}}",
            takes_many=True,
            processes=processes,
        )


async def _serve(port: int, orders_port: int, more: Mapping[str, Any]) -> None:
    settings = Settings(
        port=port, max_connections=100_000, max_connections_per_session=100_000, log_level="warning", _env_file=None,
        **more,
    )  # fmt: skip
    broker = Broker(settings)

    def publish(session: str, data: Mapping[str, Any]) -> None:
        broker.publish_nowait(session, "bench", data)

    async def obey(request: web.Request) -> web.Response:
        order = Order.from_json(await request.read())
        await carry_out(order, publish)
        return web.json_response({})

    orders = web.Application()
    orders.router.add_post("/orders", obey)
    runner = web.AppRunner(orders, access_log=None)
    await runner.setup()
    async with serve(broker, settings):
        await web.TCPSite(runner, "127.0.0.1", orders_port).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    run(_serve(int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])))
