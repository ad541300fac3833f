"""Three processes behind one proxy: a session lives in one of them, and a restart of one is nothing to the others."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import ClientSession

from notifier_service.cli.proxies import PROXIES, Front
from tests.cli.processes import free_port
from tests.deploy.conftest import TOKEN
from tests.deploy.programs import needs, running
from tests.deploy.test_proxies import API, event_of
from tests.service_process import service_process

pytestmark = pytest.mark.integration

SESSIONS = [f"team-{number}" for number in range(24)]


@pytest.mark.parametrize("proxy", ["nginx", "haproxy"])
async def test_sessions_stay_in_their_process_while_another_is_restarted(
    proxy: str, tokens_file: Path, tmp_path: Path
) -> None:
    needs(proxy)
    port, ports = free_port(), [free_port() for _ in range(3)]
    flags = ["--auth", "tokens", "--tokens-file", str(tokens_file)]
    front = Front(upstreams=tuple(f"127.0.0.1:{one}" for one in ports), listen=f"127.0.0.1:{port}")
    async with AsyncExitStack() as stack:
        homes = [await stack.enter_async_context(service_process(*flags, "--port", str(one))) for one in ports]
        await stack.enter_async_context(running(proxy, PROXIES[proxy](front), port, tmp_path / proxy))
        session = await stack.enter_async_context(ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}))
        base = f"http://127.0.0.1:{port}{API}"

        async def publish(name: str, number: int) -> int:
            answer = await session.post(f"{base}/events/{name}", json={"type": "note", "data": {"n": number}})
            return answer.status

        async def home_of(name: str) -> int:
            """The process that has it; by whichever path it is asked for, there is one."""
            found = []
            for one in ports:
                async with session.get(f"http://127.0.0.1:{one}{API}/sessions") as listed:
                    rows = (await listed.json())["data"]
                    found += [one for row in rows if row["session_id"] == name]
            [home] = found
            return home

        streams = {}
        for name in SESSIONS:
            assert await publish(name, 0) == 201
            streams[name] = await stack.enter_async_context(session.get(f"{base}/sse/events/{name}"))
            await event_of(streams[name], "hello")
            for path in ("polling/session-info", "long-poll", "sse/health", "permissions", "rules"):
                async with session.get(f"{base}/{path}/{name}", params={"wait": "0"}) as answer:
                    assert answer.status in (200, 204, 400, 422)
        before = {name: await home_of(name) for name in SESSIONS}
        assert len(set(before.values())) == 3

        down, _ = homes[0]
        down.terminate()
        await down.wait()
        stay = [name for name in SESSIONS if before[name] != ports[0]]
        for name in stay:
            assert await publish(name, 1) == 201
            assert (await event_of(streams[name], "note"))[0]["data"]["n"] == 1
        moved = next(name for name in SESSIONS if before[name] == ports[0])
        away = asyncio.ensure_future(publish(moved, 1))
        await asyncio.wait([away], timeout=0.2)
        await stack.enter_async_context(service_process(*flags, "--port", str(ports[0])))

        assert await away in (201, 502, 503)
        async with asyncio.timeout(10):
            while await publish(moved, 2) != 201:  # noqa: ASYNC110  # as an agent tries again
                await asyncio.sleep(0.05)
        assert await home_of(moved) == ports[0]
        for name in stay:
            assert await publish(name, 2) == 201
            assert (await event_of(streams[name], "note"))[0]["data"]["n"] == 2
            assert await home_of(name) == before[name]
