"""Answers that wait: what ends them beside what they wait for."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.test_utils import make_mocked_request

from notifier_service.core.errors import Unauthenticated
from notifier_service.web.departure import noticing_departure

from .conftest import API, serving, until


async def test_who_waits_for_nothing_any_more_is_told_why() -> None:
    def look(_: object) -> None:
        raise Unauthenticated("The token was revoked.")

    with pytest.raises(Unauthenticated), noticing_departure(make_mocked_request("GET", "/"), look):
        await asyncio.Event().wait()

    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_cancellation_from_elsewhere_stays_one_though_the_peer_leaves_too() -> None:
    looked = asyncio.Event()

    def look(_: object) -> None:
        task.cancel()
        looked.set()
        raise ConnectionResetError("the peer has left")

    async def waiting() -> None:
        with noticing_departure(make_mocked_request("GET", "/"), look):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(waiting())
    await looked.wait()

    with pytest.raises(asyncio.CancelledError):
        await task


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
