"""``python -m benchmarks.journal_growth``: whether memory, file and loop stay bounded over many events, and the start.

In pairs with a broker that keeps nothing. The loop always has something to do, which is the worst case: the writer has
to take the interpreter's lock away from it. It looks behind every event how long it was held; the clock on the wall
tells on a busy machine how long other programs held the core.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal

from notifier_service.core.broker import Broker
from notifier_service.core.journal import NO_JOURNAL
from notifier_service.core.limits import Limits
from notifier_service.storage.journal import JournalFile

from .__main__ import positive

__all__ = ["Growth", "measure"]

_DATA = {"n": 1, "text": "x" * 64}
_MIB = 1024 * 1024
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: Nobody holds the loop for longer; without a journal it is the machine.
_HELD_SECONDS = 0.005
#: Of looks, so that what is remembered of them is little beside what is measured.
_MOST = 100_000
_LIMITS = Limits(max_sessions=10_000, log_events=1000)


class _Watch:
    """Looks, in the loop's thread, how long that was held since it looked last.

    That is the time in which the thread neither ran nor stood in line for a core (Linux tells both), less the time in
    which the writer stood in line: so long it held the interpreter at most.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.held: list[float] = []
        writers = [thread.native_id for thread in threading.enumerate() if thread.name == "journal"]
        self._files = [
            os.open(f"/proc/self/task/{each}/schedstat", os.O_RDONLY) for each in (threading.get_native_id(), *writers)
        ]
        self._at, self._mine, self._others = self._times()

    def _times(self) -> tuple[float, float, float]:
        (ran, waited, _), *others = [[int(word) for word in os.pread(file, 64, 0).split()] for file in self._files]
        return time.perf_counter(), (ran + waited) / 1e9, sum(waited for _, waited, _ in others) / 1e9

    def look(self) -> None:
        at, mine, others = self._times()
        self.seconds.append(at - self._at)
        self.held.append(max(0.0, at - self._at - (mine - self._mine) - (others - self._others)))
        self._at, self._mine, self._others = at, mine, others
        if len(self.seconds) > _MOST:  # the slowest are what counts
            self.seconds = sorted(self.seconds)[_MOST // 2 :]
            self.held = sorted(self.held)[_MOST // 2 :]

    def skip(self) -> None:
        """The loop has slept, because nobody had anything to do."""
        self._at, self._mine, self._others = self._times()


@dataclass
class Growth:
    """What was seen while events were published; sizes at ten moments."""

    watch: _Watch
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_bytes: list[int] = field(default_factory=list)
    file_bytes: list[int] = field(default_factory=list)
    #: Commits while somebody waited for an acknowledgement.
    commits: list[int] = field(default_factory=list)


async def measure(
    path: Path | None, *, events: int, sessions: int, producers: int, at_once: int, sync: Literal["full", "normal"]
) -> Growth:
    """Publish so many events in all, with a journal or without one, and look on."""
    journal = NO_JOURNAL if path is None else JournalFile(path, sync=sync)
    growth = Growth(_Watch())
    broker = Broker(_LIMITS, journal=journal)
    broker.watch()
    left = events
    looked_at = events

    async def produce(number: int) -> None:
        nonlocal left, looked_at
        turn = number
        while left > 0:
            session = broker.open(f"s{turn % sessions}")
            turn += producers
            left -= at_once
            for _ in range(at_once):
                broker.publish_to(session, "note", _DATA)
                growth.watch.look()
            await asyncio.sleep(0)
            before = journal.state.commits if isinstance(journal, JournalFile) else 0
            await broker.all_kept()
            growth.watch.skip()
            if isinstance(journal, JournalFile):
                growth.commits.append(journal.state.commits - before)
            if left <= looked_at:
                looked_at -= events // 10
                growth.memory_bytes.append(_memory_bytes())
                growth.file_bytes.append(journal.size)

    began, began_cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*[produce(number) for number in range(producers)])
    growth.seconds, growth.cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu
    broker.close()
    if isinstance(journal, JournalFile):
        journal.close()
    return growth


def _memory_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def start(path: Path) -> tuple[float, float]:
    """CPU seconds to read the heads, and to read one session."""
    began = time.process_time()
    journal = JournalFile(path)
    heads = journal.heads()
    of_heads = time.process_time() - began
    each = []
    for head in heads[:: max(1, len(heads) // 100)]:
        began = time.thread_time()
        journal.go_on(head.session_id, most_events=_LIMITS.log_events, most_bytes=_LIMITS.log_bytes)
        each.append(time.thread_time() - began)
    journal.close()
    return of_heads, median(each)


def main() -> None:
    """Print tables, in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal_growth", description=__doc__)
    parser.add_argument("--events", type=positive, default=1_000_000, help="how many in all (1000000)")
    parser.add_argument("--sessions", type=positive, default=1000, help="in how many sessions (1000)")
    parser.add_argument("--producers", type=positive, default=50, help="how many publish at once (50)")
    parser.add_argument("--at-once", type=positive, default=50, help="how many events each publishes in a turn (50)")
    parser.add_argument("--sync", choices=["full", "normal"], default="full", help="how they are kept (full)")
    parser.add_argument("--folder", type=Path, default=None, help="on which disk the journal is (a temporary folder)")
    given = parser.parse_args()
    sizes = {"sessions": given.sessions, "producers": given.producers, "at_once": given.at_once, "sync": given.sync}
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "journal"
        few = min(given.events, 1_000_000)
        without = asyncio.run(measure(None, events=few, **sizes))
        kept = asyncio.run(measure(path, events=given.events, **sizes))
        of_heads, of_one = start(path)
    print(f"{given.events:,} events in {given.sessions:,} sessions, {given.producers} producers, sync {given.sync}\n")
    print("| | without a journal | with it |\n|---|---|---|")
    print(f"| events/s | {few / without.seconds:,.0f} | {given.events / kept.seconds:,.0f} |")
    for title, name in (("behind an event, ms", "seconds"), ("held meanwhile, ms", "held")):
        both = [_slowest(getattr(growth.watch, name)) for growth in (without, kept)]
        print(
            f"| {title}: of the 1,000 slowest the median, the longest, and how many took 5 ms | {both[0]} | {both[1]} |"
        )
    commits = sorted(kept.commits)
    p99, most = commits[len(commits) * 99 // 100], commits[-1]
    print(f"| commits until an acknowledgement, p50 · p99 · max | | {commits[len(commits) // 2]} · {p99} · {most} |")
    print(f"| memory at ten moments, MiB | | {_sizes(kept.memory_bytes)} |")
    print(f"| file at ten moments, MiB | | {_sizes(kept.file_bytes)} |")
    print(f"| CPU, µs an event | {_cost(without, few)} | {_cost(kept, given.events)} |")
    print(f"| heads at the start, CPU s, of that to append | | {of_heads:.3f} · {of_heads / kept.cpu_seconds:.4f} |")
    print(f"| one session on demand, CPU ms | | {of_one * 1000:.2f} |")


def _slowest(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)[-1000:]
    over = sum(one > _HELD_SECONDS for one in ordered)
    return f"{median(ordered) * 1000:.2f} · {ordered[-1] * 1000:.2f} · {over}"


def _cost(growth: Growth, events: int) -> str:
    return f"{growth.cpu_seconds / events * 1e6:.1f}"


def _sizes(sizes: Sequence[int]) -> str:
    return " ".join(f"{size / _MIB:.0f}" for size in sizes)


if __name__ == "__main__":
    main()
