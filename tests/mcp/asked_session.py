"""The session that a gateway asks in: what waits there, what it was told, and a person who decides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from notifier_service import Broker, Decision
from notifier_service.core.permission_request import PermissionRequest


class AskedSession:
    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    async def asked(self, count: int = 1) -> PermissionRequest:
        """Wait until so many requests are pending; return the newest."""
        session = self.broker.open("s")
        await self.until(lambda: len(session.desk.pending) >= count)
        return session.desk.pending[-1]

    async def decide(self, **decision: Any) -> None:
        """Give the request that waits, or comes next, this answer."""
        request = await self.asked()
        self.broker.decide("s", Decision(request_id=request.request_id, **decision), decided_by="ada")

    async def nothing_pending(self) -> None:
        await self.until(lambda: not self.broker.open("s").desk.pending)

    async def until(self, state: Callable[[], object]) -> None:
        session = self.broker.open("s")
        async with asyncio.timeout(15):
            while not state():
                await session.log.wait_after(session.log.last_seq)

    async def told(self, status: str) -> dict[str, Any]:
        """Wait until the session was told of this status; the data of that event."""
        found: list[dict[str, Any]] = []

        def is_told() -> bool:
            found[:] = [data for data in self.events("tool_status") if data["status"] == status]
            return bool(found)

        await self.until(is_told)
        return found[-1]

    def events(self, event_type: str) -> list[dict[str, Any]]:
        """The data of what the session was told."""
        events = [json.loads(event.json) for event in self.broker.open("s").log.read_after(0)]
        return [event["data"] for event in events if event["type"] == event_type]
