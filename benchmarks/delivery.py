"""``python -m benchmarks.delivery [PATH]``: what it costs to publish and deliver, beside another checkout at PATH.

Counted are the instructions of Python's virtual machine and the calls of functions, of Python and of C, from publishing
to the last write, with real connections. Both checkouts are counted in turn, each in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

__all__ = ["SHAPES", "Cost", "Shape", "measure"]

#: Rounds of publishing that are counted; what happens in one of some of them is in the mean.
_ROUNDS = 64
_HERE = Path(__file__).parents[1]


class Shape(NamedTuple):
    """So many readers of a session, who are told so many events at once."""

    readers: int
    events: int


class Cost(NamedTuple):
    """What one event costs for one reader, on the average."""

    instructions: float
    calls: float


SHAPES: Sequence[Shape] = (Shape(1, 1), Shape(1, 10), Shape(60, 1), Shape(60, 10))


class _Count:
    def __init__(self) -> None:
        self.instructions = self.calls = 0

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            self.instructions += 1
        return self.trace

    def profile(self, frame: FrameType, event: str, argument: Any) -> None:
        self.calls += event in ("call", "c_call")


async def measure(shape: Shape, *, rounds: int = _ROUNDS) -> Cost:
    """Count what it takes to tell ``shape.readers`` of ``shape.events``."""
    from notifier_service import Broker, Settings
    from notifier_service.web import serve

    async with serve(Broker(), Settings(port=0, log_level="warning")) as site:
        session = site.broker.open("s")
        clients = []
        for _ in range(shape.readers):
            client = socket.create_connection(("127.0.0.1", site.port))
            client.sendall(f"GET {site.settings.prefix}/api/sse/events/s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            clients.append(client)
        while len(session.readers) < shape.readers:  # noqa: ASYNC110  # no event tells of readers
            await asyncio.sleep(0)

        async def tell() -> None:
            for _ in range(shape.events):
                site.broker.publish_nowait("s", "note", {"n": 1, "text": "x" * 64})
            while session.readers.is_due:  # noqa: ASYNC110  # no event tells that there is nothing to do
                await asyncio.sleep(0)
            for client in clients:
                client.setblocking(False)
                while len(client.recv(1 << 16)) == 1 << 16:
                    continue

        for _ in range(20):
            await asyncio.sleep(0)
            await tell()
        count = _Count()
        gc.disable()
        sys.setprofile(count.profile)
        for _ in range(rounds):
            await tell()
        sys.setprofile(None)
        task = asyncio.create_task(_traced(count, tell, rounds))
        await task
        gc.enable()
        for client in clients:
            client.close()
    told = rounds * shape.readers * shape.events
    return Cost(count.instructions / told, count.calls / told)


async def _traced(count: _Count, tell: Any, rounds: int) -> None:
    sys.settrace(count.trace)
    try:
        for _ in range(rounds):
            await tell()
    finally:
        sys.settrace(None)


def _counted(checkout: Path) -> list[Cost]:
    """Count in another process, with the package of this checkout."""
    done = subprocess.run(  # noqa: S603  # this very program
        [sys.executable, __file__, "--count"],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        cwd=checkout,
        stdout=subprocess.PIPE,
        check=True,
    )
    return [Cost(*cost) for cost in json.loads(done.stdout)]


async def _all() -> list[Cost]:
    return [await measure(shape) for shape in SHAPES]


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.delivery", description=__doc__)
    parser.add_argument("beside", nargs="?", type=Path, help="another checkout, such as one of the commit before")
    parser.add_argument("--pairs", type=int, default=3, help="so often each is counted; the least counts")
    parser.add_argument("--count", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.count:
        print(json.dumps(asyncio.run(_all())))
        return
    beside = [] if arguments.beside is None else [arguments.beside.resolve()]
    found = {checkout: [Cost(9e9, 9e9)] * len(SHAPES) for checkout in (_HERE, *beside)}
    for _ in range(arguments.pairs):
        for checkout, before in found.items():
            counted = _counted(checkout)
            found[checkout] = [Cost(*map(min, *pair)) for pair in zip(before, counted, strict=True)]
    print("| readers | events at once | instructions | calls |" + (" before | more |" if beside else ""))
    print("|---:|---:|---:|---:|" + ("---:|---:|" if beside else ""))
    for place, shape in enumerate(SHAPES):
        cost = found[_HERE][place]
        row = f"| {shape.readers} | {shape.events} | {cost.instructions:.1f} | {cost.calls:.2f} |"
        for other in beside:
            was = found[other][place]
            more = [100 * (now / then - 1) for now, then in zip(cost, was, strict=True)]
            row += f" {was.instructions:.1f}, {was.calls:.2f} | {more[0]:+.1f} %, {more[1]:+.1f} % |"
        print(row)


if __name__ == "__main__":
    main()
