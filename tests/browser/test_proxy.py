"""Through nginx: one that holds the stream back, and one that does as it is asked."""

from __future__ import annotations

import asyncio

import pytest

from notifier_service.web import Site
from tests.browser.conftest import ProxyBefore
from tests.raw_stream import RawStream

STREAM = "/agent_backend/api/sse/events/s1"


async def test_proxy_that_does_as_it_is_asked_passes_the_stream_on(site: Site, proxy_before: ProxyBefore) -> None:
    url = await proxy_before(site.port, holding_back=False)
    stream = await RawStream.open(int(url.rpartition(":")[2]), STREAM)

    assert await stream.status() == 200
    assert (await stream.until("hello"))["data"]["session_id"] == "s1"

    await stream.closed()


async def test_proxy_that_holds_back_gives_nothing_while_the_service_sends(
    site: Site, proxy_before: ProxyBefore
) -> None:
    url = await proxy_before(site.port, holding_back=True)
    direct = await RawStream.open(site.port, STREAM)
    held_back = await RawStream.open(int(url.rpartition(":")[2]), STREAM)
    await direct.until("heartbeat")
    await direct.until("heartbeat")

    assert site.broker.get("s1").viewer_count == 2
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(held_back.status(), 0)

    await direct.closed()
    await held_back.closed()
