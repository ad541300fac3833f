"""``python -m benchmarks.audit``: what it costs to decide where decisions are put on record first."""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from notifier_service.core.broker import Broker
from notifier_service.core.question import Decision
from notifier_service.storage.audit_file import AuditFile
from notifier_service.storage.audit_lines import written_form
from notifier_service.storage.redaction import Redaction

from .__main__ import positive

__all__ = ["Cost", "measure"]


class Cost(NamedTuple):
    """Milliseconds until a decision is answered: by one, and by the last of many at once; and of one write and sync."""

    commit: float
    alone: float
    alone_recorded: float
    many: float
    many_recorded: float
    many_recorded_p99: float

    def text(self, deciders: int) -> str:
        def more(recorded: float, plain: float) -> str:
            return f"{recorded:.2f} ms, {(recorded - plain) / self.commit:.2f} commits more"

        return (
            f"a commit: {self.commit:.2f} ms\n"
            f"one decides: {self.alone:.2f} ms; on record {more(self.alone_recorded, self.alone)}\n"
            f"{deciders} decide at once: {self.many:.2f} ms; on record {more(self.many_recorded, self.many)}, "
            f"at the 99th percentile {more(self.many_recorded_p99, self.many)}"
        )


async def measure(folder: Path, *, rounds: int, deciders: int, sync_ms: float = 0) -> Cost:
    """Decide alone and many at once, in turns without a record and with one, so that both meet the same machine.

    A commit takes ``sync_ms`` more than the disk needs.
    """
    sync = partial(_sync, sync_ms)
    prepare = partial(written_form, redaction=Redaction())
    audit = AuditFile(folder / "audit.jsonl", prepare=prepare, sync=sync)
    brokers = {False: Broker(), True: Broker(audit=audit)}
    commits: list[float] = []
    times: dict[tuple[bool, int], list[float]] = {}
    for number in range(rounds + 1):
        commit = _one_commit(folder, sync)
        took = {(on, count): await _decide(brokers[on], count) for on in brokers for count in (1, deciders)}
        if number:  # the first pays for what is made once
            commits.append(commit)
            for key, milliseconds in took.items():
                times.setdefault(key, []).append(milliseconds)
    await asyncio.to_thread(audit.close)
    many = sorted(times[True, deciders])
    return Cost(
        median(commits),
        median(times[False, 1]),
        median(times[True, 1]),
        median(times[False, deciders]),
        median(many),
        many[int(len(many) * 0.99)],
    )


def _sync(milliseconds: float, fd: int) -> None:
    time.sleep(milliseconds / 1000)
    os.fsync(fd)


def _one_commit(folder: Path, sync: Callable[[int], object]) -> float:
    fd = os.open(folder / "commit", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        began = time.perf_counter()
        os.write(fd, b"x" * 1000)
        sync(fd)
        return (time.perf_counter() - began) * 1000
    finally:
        os.close(fd)


async def _decide(broker: Broker, count: int) -> float:
    requests = [broker.ask(f"s{number}", tool_name="rm", parameters={"path": "a.txt"}) for number in range(count)]
    for request in requests:
        await request.recorded()
    decisions: Sequence[Decision] = [Decision(approved=True, request_id=request.request_id) for request in requests]
    began = time.perf_counter()
    await asyncio.gather(
        *(broker.answer(f"s{number}", decision, decided_by="person") for number, decision in enumerate(decisions))
    )
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """Print three lines."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=100, help="how often everything is done (100)")
    parser.add_argument("--deciders", type=positive, default=50, help="how many decide at once (50)")
    parser.add_argument("--folder", type=Path, help="on the disk to be measured (the folder for temporary files)")
    parser.add_argument("--sync-ms", type=float, default=0, help="have each commit take so much longer (0)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        cost = asyncio.run(
            measure(Path(folder), rounds=arguments.rounds, deciders=arguments.deciders, sync_ms=arguments.sync_ms)
        )
    print(cost.text(arguments.deciders))


if __name__ == "__main__":
    main()
