"""Answers that wait: what ends them beside what they wait for."""

from __future__ import annotations

import asyncio

from .conftest import API, serving, until


async def test_a_held_answer_ends_with_its_service() -> None:
    async with serving(shutdown_seconds=1) as service:
        broker = service.site.broker
        held = asyncio.ensure_future(
            service.http.post(f"{API}/permissions/s1", json={"tool_name": "x", "parameters": {}}, params={"wait": "60"})
        )
        await until(lambda: broker.statistics().pending_permissions)
        broker.close()
        body = await (await held).json()

    assert (body["data"]["status"], body["data"]["approved"]) == ("cancelled", False)
