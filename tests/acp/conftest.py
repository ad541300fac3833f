"""A relay of this process between a bare editor and an agent that says what it is told to."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker
from notifier_service.acp.relay import AcpRelay
from notifier_service.calls.asker import BrokerAsker
from tests.mcp.wiring import Wiring

AGENT = Path(__file__).with_name("stub_agent.py")


class AcpWiring(Wiring):
    """The editor is ``client``."""

    def start(self, *flags: str, **options: Any) -> None:
        self.start_before([sys.executable, "-I", "-S", str(AGENT), str(self._log), *flags], **options)

    def start_before(self, command: Sequence[str], **options: Any) -> None:
        relay = AcpRelay(BrokerAsker(self.broker, "s"), **{"agent": "stub"} | options)
        self._run = asyncio.create_task(relay.run(command, source=self.client.source, sink=self.client.sink))

    async def says(self, *messages: dict[str, Any] | str) -> None:
        """Have the agent send these; text as it is."""
        lines = [one if isinstance(one, str) else json.dumps(one) for one in messages]
        await self.client.send({"jsonrpc": "2.0", "method": "x/say", "params": {"lines": lines}})

    async def answer(self, message_id: Any) -> dict[str, Any]:
        """What the agent gets to a request of its own."""
        async with asyncio.timeout(15):
            while True:
                for message in self.read():
                    if "method" not in message and message.get("id") == message_id:
                        return message
                await asyncio.sleep(0.01)

    def read(self) -> list[dict[str, Any]]:
        """What the agent has read, but for what it was told to say."""
        messages = [json.loads(line) for line in self.reached()]
        return [message for message in messages if message.get("method") != "x/say"]

    async def in_step(self) -> list[dict[str, Any]]:
        """Wait until the agent has read and said all that was sent before; what the editor has got until then."""
        heard: list[dict[str, Any]] = []
        await self.client.send({"jsonrpc": "2.0", "id": "step", "method": "x/step"})
        while (message := await self.client.message()).get("id") != "step":
            heard.append(message)
        return heard


@pytest.fixture
async def acp(broker: Broker, tmp_path: Path) -> AsyncIterator[AcpWiring]:
    wiring = AcpWiring(broker, tmp_path / "agent.log")
    yield wiring
    await wiring.close()
