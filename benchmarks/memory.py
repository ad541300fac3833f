"""What a session that nobody uses takes, and one with an event stream: bytes of this process, in pairs.

    python -m benchmarks.memory [--sessions 2000]

Each pair is measured twice, with half as many and with as many: what is made once is in neither.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import socket
import tracemalloc
from array import array
from collections.abc import Awaitable, Callable

from notifier_service import Broker, Limits, Settings
from notifier_service.web import Site, serve

#: Of the first streams some is kept that is bounded: addresses that were read.
_WARM = 200


async def kib_each(
    many: int, make: Callable[[int], Awaitable[object]], *, before: Callable[[], Awaitable[object]] | None = None
) -> float:
    """KiB that one of so many takes, beyond what half as many do.

    What is bounded is to be full ``before``: what makes room in it for one of them has been counted, too.
    """
    gc.collect()
    tracemalloc.start()
    try:
        if before is not None:
            await before()
        for number in range(many // 2):
            await make(number)
        gc.collect()
        half = tracemalloc.get_traced_memory()[0]
        for number in range(many // 2, many):
            await make(number)
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - half) / (many - many // 2) / 1024
    finally:
        tracemalloc.stop()


async def session(many: int, *, has_events: bool) -> float:
    broker = Broker(Limits(max_sessions=many + 1))

    async def make(number: int) -> None:
        session = broker.open(f"session-{number:06}")
        if has_events:
            broker.publish_to(session, "note", {"n": number})

    found = await kib_each(many, make)
    broker.close()
    return found


async def stream(many: int) -> float:
    """A session of its own with an event stream that has been told all there is."""
    settings = Settings(port=0, log_level="error", max_connections=many + _WARM + 1, max_sessions=2 * many + _WARM)
    clients = array("i")

    async def make(number: int) -> None:
        clients.append((await opened(site, f"session-{number:06}")).detach())  # what is left of it is the kernel's

    async def fill() -> None:
        for number in range(site.settings.log_events):  # of so many sessions the inbox tells, and no more
            site.broker.open(f"before-{number}")
            site.broker.end_session(f"before-{number}")
        for number in range(-_WARM, 0):
            await make(number)

    async with serve(settings=settings) as site:
        found = await kib_each(many, make, before=fill)
        for client in clients:
            os.close(client)
    return found


async def opened(site: Site, session_id: str) -> socket.socket:
    client = socket.create_connection((site.host, site.port))
    path = f"{site.settings.prefix}/api/sse/events/{session_id}"
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: {site.host}\r\n\r\n".encode())
    client.setblocking(False)
    while True:
        await asyncio.sleep(0)
        try:
            if b"snapshot" in client.recv(65536):
                return client
        except BlockingIOError:
            continue


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=2000)
    many = parser.parse_args().sessions
    print(f"a session in which nothing has happened   {await session(many, has_events=False):6.2f} KiB")
    print(f"a session with one event                  {await session(many, has_events=True):6.2f} KiB")
    print(f"a session with an event stream            {await stream(min(many, 400)):6.2f} KiB")


if __name__ == "__main__":
    asyncio.run(main())
