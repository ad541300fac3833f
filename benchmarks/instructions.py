"""``python -m benchmarks.instructions``: what things cost in instructions, which no other load changes.

Counted is this service's program alone, in user mode, under valgrind's callgrind; what the kernel and the other side do
is not in it. Each thing is done so often and twice as often: what is made once is in neither.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from notifier_service import Broker
from notifier_service.core.events import EventData, ToolProgress, ToolStatus

from .__main__ import positive
from .load import WORKS as LOADS
from .load import Bench
from .peers.bare_aiohttp import BareAiohttp
from .peers.notifier import Notifier
from .peers.peer import Peer, running

__all__ = ["main"]

_TOTALS = re.compile(r"^totals: (\d+)$", re.M)
#: What every program is counted with: the order of a set is no matter of chance.
_ENVIRONMENT = {**os.environ, "PYTHONHASHSEED": "0"}

_TEXT = {"n": 1, "text": "x" * 64}
_STATUS = ToolStatus(status="executing", tool_name="read", tool_call_id="c", details=_TEXT)
_PROGRESS = ToolProgress(tool_name="read", tool_call_id="c", progress=1, message="x" * 64)

#: What is published in the process, by the title of the row.
_PUBLISHED: Mapping[str, tuple[str, EventData | Mapping[str, object]]] = {
    "an event, published in process": ("note", _TEXT),
    "`tool_status`, the same": ("tool_status", _STATUS),
    "`tool_progress`, the same": ("tool_progress", _PROGRESS),
}

#: What is done over HTTP: title, server, work of the load generator, its size by name, how often.
_WORKS: Sequence[tuple[str, Peer, str, str, int]] = (
    ("a POST to a bare aiohttp handler", BareAiohttp(), "publish", "events", 800),
    ("one event per POST", Notifier(), "publish", "events", 800),
    ("an event of an array of 100", Notifier(), "publish-array", "events", 4000),
    ("the same, no two in a row alike", Notifier(), "publish-varied", "events", 4000),
    ("an event of an NDJSON stream", Notifier(), "publish-stream", "events", 1600),
    ("a permission's round trip", Notifier(), "permission", "times", 100),
)


class Counter:
    """Counts what a program of this machine does, which was started by ``command``."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._dumps = folder, 0
        self.command = ("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/counts")

    def instructions(self, process: int, work: Callable[[], object]) -> int:
        """What the program needs while ``work`` is done."""

        def tell(*words: str) -> None:
            subprocess.run(["callgrind_control", *words, str(process)], check=True, capture_output=True)  # noqa: S603, S607

        tell("-i", "on")
        work()
        tell("-i", "off")
        tell("-d")
        self._dumps += 1
        found = _TOTALS.search((self._folder / f"counts.{self._dumps}").read_text())
        assert found is not None
        return int(found[1])

    def each(self, process: int, work: Callable[[int], object], times: int) -> float:
        """What one needs, when it is done so often and twice as often."""
        work(times)
        fewer = self.instructions(process, lambda: work(times))
        return (self.instructions(process, lambda: work(2 * times)) - fewer) / times


def published(title: str, times: int) -> float:
    """Instructions of an event that is published in the process."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        counter = Counter(Path(name))
        with subprocess.Popen(  # noqa: S603  # this very program
            [*counter.command, sys.executable, "-m", __spec__.name, "--publish", title],
            env=_ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ) as process:  # fmt: skip

            def publish(count: int) -> None:
                print(count, file=process.stdin, flush=True)
                assert process.stdout is not None
                assert process.stdout.readline() == "done\n"

            try:
                return counter.each(process.pid, publish, times)
            finally:
                process.kill()


def publish_as_told(title: str) -> None:
    """Publish as often as each line says, until there are no more."""
    broker, (event_type, data) = Broker(), _PUBLISHED[title]
    for line in sys.stdin:
        for _ in range(int(line)):
            broker.publish_nowait("s", event_type, data)
        print("done", flush=True)


def served(peer: Peer, work: str, size: str, times: int) -> float:
    """Instructions of a server for one thing that the load generator wants of it."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        counter = Counter(Path(name))
        with running(peer, under=counter.command, environment=_ENVIRONMENT) as target:

            def load(count: int) -> None:
                bench = Bench(target, {size: count, "may_wait": 1})
                LOADS[work](bench)
                bench.loop.close()

            return counter.each(target.processes[0], load, times)


def main() -> None:
    """Print a table, in Markdown; medians of the rounds, the smallest and the largest in brackets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=5, help="how often everything is counted, by turns (5)")
    parser.add_argument("--publish", choices=list(_PUBLISHED), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.publish is not None:
        publish_as_told(arguments.publish)
        return
    if shutil.which("callgrind_control") is None:
        sys.exit("Instructions are counted by valgrind. To have it: sudo apt-get install valgrind")
    counts: dict[str, list[float]] = {}
    for _ in range(arguments.rounds):
        for title in _PUBLISHED:
            counts.setdefault(title, []).append(published(title, 500))
        for title, peer, work, size, times in _WORKS:
            counts.setdefault(title, []).append(served(peer, work, size, times))
    first = {"in process": counts[next(iter(_PUBLISHED))], "": counts[_WORKS[0][0]]}
    print("| | instructions | beside the first of its kind |\n|---|---|---|")
    for title, found in counts.items():
        beside = first["in process" if title in _PUBLISHED else ""]
        ratio = median(one / other for one, other in zip(found, beside, strict=True))
        print(f"| {title} | {median(found):,.0f} ({min(found):,.0f}-{max(found):,.0f}) | {ratio:.2f} × |")


if __name__ == "__main__":
    main()
