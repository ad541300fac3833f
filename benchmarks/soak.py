"""Whether the service is as it was when thousands have come and gone: its memory, its tasks, its descriptors.

Everything is done twice. The first time fills what has a bound (the history, the allocator's pools), so that what the
second time leaves behind is what every further one would.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gc
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from notifier_service import Broker, Settings, serve

from .machine import pss_bytes, raise_open_files

__all__ = ["Standing", "Work", "soak", "works"]

_API = "/agent_backend/api"
_AT_ONCE = 50
_RESET = struct.pack("ii", 1, 0)
_PATIENCE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Standing:
    """What the service holds once everybody has left."""

    memory_bytes: int
    objects: int
    tasks: int
    descriptors: int

    def grown(self, before: Standing) -> dict[str, float]:
        """By what part of what it was before each has grown."""
        return {name: getattr(self, name) / getattr(before, name) - 1 for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Work:
    """Something that is done ``times`` times; ``once`` is given the port, and which time it is."""

    name: str
    times: int
    once: Callable[[int, int], Awaitable[None]]


def works(connections: int = 10_000, sessions: int = 5_000, requests: int = 5_000) -> list[Work]:
    return [
        Work("sse", connections, _stream),
        Work("websocket", connections, _socket),
        Work("long-poll", connections, _held_poll),
        Work("polling", connections, _poll),
        Work("ndjson", connections, _producer),
        Work("nothing asked", connections, _silent),
        Work("sessions", sessions, _session),
        Work("requests", requests, _request),
    ]


async def soak(chosen: list[Work], tell: Callable[[str], None] = print) -> dict[str, float]:
    """Do all of it twice at a service in a process of its own; by what part each has grown the second time."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.soak",
        "--served",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())

        orders, told = process.stdin, process.stdout

        async def standing() -> Standing:
            orders.write(b"\n")
            return Standing(**json.loads(await told.readline()))

        tell(_line("at the start", await standing()))
        stands: list[Standing] = []
        for which in ("first", "second"):
            for work in chosen:
                began = time.monotonic()
                await _do(work, port)
                tell(f"  {work.times:>6,} × {work.name}: {time.monotonic() - began:.0f} s")
            stands.append(await standing())
            tell(_line(f"after the {which} time", stands[-1]))
        return stands[1].grown(stands[0])
    finally:
        process.kill()
        await process.wait()


def _line(when: str, standing: Standing) -> str:
    return (
        f"{when}: {standing.memory_bytes / 2**20:.1f} MiB, {standing.objects:,} objects, {standing.tasks} tasks, "
        f"{standing.descriptors} descriptors"
    )


async def _do(work: Work, port: int) -> None:
    numbers = iter(range(work.times))

    async def some() -> None:
        for number in numbers:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await work.once(port, number)

    await asyncio.gather(*(some() for _ in range(min(_AT_ONCE, work.times))))


# What one does who comes and goes


class _Visit:
    """A connection, which is dropped at the end: every second time it is reset."""

    def __init__(self, port: int, number: int, head: str, body: bytes = b"") -> None:
        self._port = port
        self._number = number
        self._sent = f"{head}\r\nHost: 127.0.0.1\r\n".encode() + body

    async def __aenter__(self) -> asyncio.StreamReader:
        reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(self._sent)
        return reader

    async def __aexit__(self, *_: object) -> None:
        if self._number % 2:
            raw: socket.socket = self._writer.get_extra_info("socket")
            with suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._writer.transport.abort()
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


def _name(number: int) -> str:
    return f"soak-{number % 200}"


async def _stream(port: int, number: int) -> None:
    async with _Visit(port, number, f"GET {_API}/sse/events/{_name(number)} HTTP/1.1", b"\r\n") as answer:
        await answer.readuntil(b'"snapshot"')


async def _socket(port: int, number: int) -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    more = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    async with _Visit(port, number, f"GET /agent_backend/ws/{_name(number)} HTTP/1.1", more.encode()) as answer:
        await answer.readuntil(b'"snapshot"')


async def _held_poll(port: int, number: int) -> None:
    async with _Visit(port, number, f"GET {_API}/long-poll/{_name(number)}?timeout=60 HTTP/1.1", b"\r\n"):
        await _answered(port, f"GET {_API}/sse/health/{_name(number)} HTTP/1.1")  # by then it is held


async def _poll(port: int, number: int) -> None:
    async with _Visit(port, number, f"GET {_API}/polling/session-info/{_name(number)} HTTP/1.1", b"\r\n") as answer:
        await answer.readuntil(b"\r\n\r\n")


async def _producer(port: int, number: int) -> None:
    line = b'{"type":"note"}\n{"type":"no'
    body = b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(line), line)
    async with _Visit(port, number, f"POST {_API}/events/{_name(number)} HTTP/1.1", body):
        await _answered(port, f"GET {_API}/sse/health/{_name(number)} HTTP/1.1")


async def _silent(port: int, number: int) -> None:
    async with _Visit(port, number, "GET /agent"):
        pass


async def _session(port: int, number: int) -> None:
    """A session of its own, with some events."""
    events = [{"type": "note", "data": {"text": "x" * 200}}] * 5
    await _answered(port, f"POST {_API}/events/own-{os.urandom(8).hex()} HTTP/1.1", events)


async def _request(port: int, number: int) -> None:
    """A question that is asked and withdrawn."""
    asked = await _answered(
        port, f"POST {_API}/permissions/{_name(number)} HTTP/1.1", {"tool_name": "rm", "parameters": {"n": number}}
    )
    await _answered(port, f"DELETE {_API}/permissions/{_name(number)}/{asked['data']['request_id']} HTTP/1.1")


async def _answered(port: int, head: str, body: Any = None) -> Any:
    text = b"" if body is None else json.dumps(body).encode()
    more = b"Connection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)
    async with _Visit(port, 0, head, more) as answer:
        status, _, told = (await answer.read()).partition(b"\r\n\r\n")
    if not status.startswith(b"HTTP/1.1 20"):
        raise RuntimeError(f"{head}: {status[:40]!r} {told[:200]!r}")
    return json.loads(told)


# The service, and what it says of itself


async def _served() -> None:
    """Serve until standard input ends; print the port, and for each line there how it stands once all is quiet."""
    settings = Settings(
        port=0, session_idle_seconds=1, history_events=50, stalled_seconds=2,
        max_connections_per_session=1000,
    )  # fmt: skip
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin.buffer)
    async with serve(settings=settings) as site:
        print(site.port, flush=True)
        while await lines.readline():
            await _quiet(site.broker)
            gc.collect()
            standing = Standing(
                memory_bytes=pss_bytes([os.getpid()]),
                objects=len(gc.get_objects()),
                tasks=len(asyncio.all_tasks()),
                descriptors=len(os.listdir("/proc/self/fd")),
            )
            print(json.dumps({name: getattr(standing, name) for name in Standing.__slots__}), flush=True)
    pipe.close()


async def _quiet(broker: Broker) -> None:
    """Wait until everybody has left and the sessions are over, and what looks after them has looked once more."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while broker.sessions or broker.connections:  # noqa: ASYNC110  # no event tells of them
            await asyncio.sleep(0.1)
    await asyncio.sleep(2)


def _run(main: Coroutine[Any, Any, int | None]) -> int:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main) or 0
    return uvloop.run(main) or 0


async def _main(share: float) -> int:
    grown = await soak(
        works(*(max(1, round(times * share)) for times in (10_000, 5_000, 5_000))), lambda text: print(text, flush=True)
    )
    print(", ".join(f"{name} {part:+.1%}" for name, part in grown.items()))
    return 1 if any(part > 0.05 for part in grown.values()) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--share", type=float, default=1, help="how much of it is done (1)")
    parser.add_argument("--served", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    raise_open_files()
    sys.exit(_run(_served()) if arguments.served else asyncio.run(_main(arguments.share)))
