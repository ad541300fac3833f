"""What sessions that nobody uses cost those that somebody does: the delay of a paced load, alone and beside them.

    python -m benchmarks.idle [--sessions 10000] [--rounds 5]

In pairs, in one process without sockets: what is compared is the turns of the loop that others wait for.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import time
from functools import partial
from types import SimpleNamespace

from notifier_service import Broker, Limits

READERS = 1000
EVENTS_A_SECOND = 2000
SECONDS = 3


async def delays(broker: Broker) -> list[float]:
    """Milliseconds from each event's time to its delivery, of events that are published at a steady pace."""
    sent_at: dict[int, float] = {}
    found: list[float] = []

    def told(number: int, reader: object) -> None:
        while reader.next():  # type: ignore[attr-defined]  # a reader of the core
            if number in sent_at:
                found.append((time.perf_counter() - sent_at[number]) * 1000)

    for number in range(READERS):
        peer = SimpleNamespace(handed_bytes=lambda: 0, unsent_bytes=lambda: 0, is_gone=lambda: False)
        reader = broker.join(f"used-{number}", "sse", peer)
        reader.attend(partial(told, number, reader))
    gc.collect()
    gc.freeze()
    found.clear()
    began, count = time.perf_counter(), EVENTS_A_SECOND * SECONDS
    for event in range(count):
        due = began + event / EVENTS_A_SECOND
        while time.perf_counter() < due:  # noqa: ASYNC110  # a clock has no event
            await asyncio.sleep(0)
        sent_at[event % READERS] = due
        await broker.publish(f"used-{event % READERS}", "note", {"n": event})
    await asyncio.sleep(0.1)
    return found


async def round_of(sessions: int) -> tuple[float, float]:
    broker = Broker(Limits(max_sessions=sessions + READERS + 1, max_connections=READERS + 1))
    for number in range(sessions):
        broker.publish_nowait(f"unused-{number}", "note", {"n": number})
    found = sorted(await delays(broker))
    broker.close()
    gc.unfreeze()
    return statistics.median(found), found[int(len(found) * 0.99)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    pairs = []
    for _ in range(arguments.rounds):
        alone, beside = asyncio.run(round_of(0)), asyncio.run(round_of(arguments.sessions))
        pairs.append((alone, beside))
        print(f"p50 {alone[0]:7.3f} {beside[0]:7.3f} ms   p99 {alone[1]:7.3f} {beside[1]:7.3f} ms")
    ratios = [beside[1] / alone[1] for alone, beside in pairs]
    print(f"p99 beside {arguments.sessions} unused sessions against alone: {statistics.median(ratios):.2f} x")


if __name__ == "__main__":
    main()
