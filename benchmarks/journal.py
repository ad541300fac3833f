"""``python -m benchmarks.journal``: what it costs producers that events are kept, against a service that keeps none."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from .__main__ import positive

__all__ = ["Figures", "measure"]

_WAYS: Mapping[str, Sequence[str]] = {
    "in memory": (),
    "normal": ("--journal", "{}", "--journal-sync", "normal"),
    "full": ("--journal", "{}", "--journal-sync", "full"),
}
_BODY = b'{"type":"note","data":{"n":1,"text":"%b"}}' % (b"x" * 64)
_SESSIONS = 10


class Figures(NamedTuple):
    """Acknowledged events a second, and how long their producers waited, in milliseconds."""

    rate: float
    median_ms: float
    p99_ms: float


async def measure(flags: Sequence[str], *, producers: int, events: int) -> Figures:
    """Publish so many events one by one from each producer, to a service that is started with these flags."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "notifier_service", "serve", "--port", "0", "--log-level", "warning", *flags,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        port = int((await process.stdout.readline()).decode().rsplit(":", 1)[1].partition("/")[0])
        await asyncio.gather(*[_produce(port, number, 10, []) for number in range(producers)])
        waited: list[float] = []
        began = time.perf_counter()
        await asyncio.gather(*[_produce(port, number, events, waited) for number in range(producers)])
        seconds = time.perf_counter() - began
    finally:
        process.kill()
        await process.wait()
    waited.sort()
    return Figures(len(waited) / seconds, median(waited) * 1000, waited[len(waited) * 99 // 100] * 1000)


async def _produce(port: int, number: int, events: int, waited: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST /agent_backend/api/events/s{number % _SESSIONS} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(_BODY)}\r\n\r\n"
    ).encode()
    for _ in range(events):
        began = time.perf_counter()
        writer.write(head + _BODY)
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 201"):
            raise AssertionError(answer.decode())
        await reader.readexactly(int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        waited.append(time.perf_counter() - began)
    writer.close()


def main() -> None:
    """Print a table, in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal", description=__doc__)
    parser.add_argument("--producers", type=positive, default=50, help="how many publish at once (50)")
    parser.add_argument("--events", type=positive, default=200, help="how many events each publishes (200)")
    parser.add_argument("--rounds", type=positive, default=5, help="how often everything is done, by turns (5)")
    parser.add_argument("--folder", type=Path, default=None, help="on which disk the journals are (a temporary folder)")
    arguments = parser.parse_args()
    found: dict[str, list[Figures]] = {way: [] for way in _WAYS}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for number in range(arguments.rounds):
            for way, flags in _WAYS.items():
                path = Path(folder) / f"{way}-{number}"
                given = [flag.format(path) for flag in flags]
                figures = measure(given, producers=arguments.producers, events=arguments.events)
                found[way].append(asyncio.run(figures))
    print(f"| {arguments.producers} producers | events/s | of the rate in memory | median, ms | p99, ms |")
    print("|---|---|---|---|---|")
    for way, rounds in found.items():
        ratio = median(one.rate / other.rate for one, other in zip(rounds, found["in memory"], strict=True))
        rate, median_ms, p99_ms = (median(column) for column in zip(*rounds, strict=True))
        print(f"| {way} | {rate:,.0f} | {ratio:.2f} | {median_ms:.1f} | {p99_ms:.1f} |")


if __name__ == "__main__":
    main()
