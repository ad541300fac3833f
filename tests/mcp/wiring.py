"""A relay of this process between a bare client and the stub server."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from notifier_service import Broker
from notifier_service.calls.asker import BrokerAsker
from notifier_service.mcp.stdio_relay import StdioRelay
from tests.mcp.asked_session import AskedSession
from tests.mcp.stdio_client import StdioClient

STUB = Path(__file__).with_name("stub_server.py")


class Wiring(AskedSession):
    """A client, the relay, the server, and the session that is asked."""

    def __init__(self, broker: Broker, log: Path) -> None:
        super().__init__(broker)
        self.client = StdioClient()
        self._log = log
        self._run: asyncio.Task[int] | None = None

    def start(self, *flags: str, **options: Any) -> None:
        """Start the relay before the stub server."""
        self.start_before([sys.executable, "-I", "-S", str(STUB), str(self._log), *flags], **options)

    def start_before(self, command: Sequence[str], **options: Any) -> None:
        """Start the relay before the server of this command."""
        relay = StdioRelay(BrokerAsker(self.broker, "s"), **options)
        client = self.client
        self._run = asyncio.create_task(relay.run(command, source=client.source, sink=client.sink))

    async def ended(self) -> int:
        """Wait until the relay has ended; its exit code."""
        assert self._run is not None
        async with asyncio.timeout(20):
            return await self._run

    async def close(self) -> None:
        self.client.close()
        if self._run is not None:
            await self.ended()

    async def decided(self, **decision: Any) -> dict[str, Any]:
        """Give the request that waits this answer, and return what the client gets then."""
        await self.decide(**decision)
        return await self.client.message()

    def reached(self, method: str | None = None) -> list[bytes]:
        """The lines that the server has read, or those of one method."""
        lines = self._log.read_bytes().splitlines() if self._log.exists() else []
        return [line for line in lines if method is None or json.loads(line).get("method") == method]

    def effects(self) -> list[str]:
        """The tools that have run, however the server came to take something for a call."""
        ran = self._log.with_name(f"{self._log.name}.ran")
        return ran.read_text().split() if ran.exists() else []

    def ran(self) -> list[dict[str, Any]]:
        """The params of the calls that have reached the server."""
        return [json.loads(line)["params"] for line in self.reached("tools/call")]
