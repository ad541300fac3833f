"""The command: all works with all peers, in alternated rounds, as a table, JSON and a chart."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeVar

from .chart import draw
from .load import Outcome, Task
from .machine import cores, open_files, raise_open_files
from .peers.peer import Missing, Peer, Target, running
from .report import Results
from .works import PEERS, WORKS, Work

Named = TypeVar("Named", Work, Peer)

#: Longer than any work takes, with the time-outs within it.
_MOST_SECONDS = 180


def main() -> int:
    """Run what is chosen; 1 when a figure of this service is not valid."""
    arguments = parse()
    works = chosen(arguments.works, WORKS, "work")
    peers = chosen(arguments.peers, PEERS, "peer")
    if PEERS[0] not in peers:
        peers = [PEERS[0], *peers]
    # As Ctrl-C does: the servers that run are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated: nothing is written"))
    raise_open_files()
    results = Results(arguments.rounds)
    peers = [peer for peer in peers if is_there(peer, works, results, may_install=not arguments.no_install)]
    server, generator = cores()
    if server == generator:
        say("This machine has one core: the load generator takes part of what the server needs.")
    if any(work.name == "idle" for work in works) and open_files() < 10_200:
        say(f"Only {open_files()} files may be open (ulimit -Hn): fewer streams will be idle.")
    began = time.monotonic()
    for work in [work for work in works if work.name in PEERS[0].cannot]:
        say(f"Left out: {work.name}. This version of {PEERS[0].title} does not offer it.")
    works = [work for work in works if work.name not in PEERS[0].cannot]
    for work in works:
        for number in range(1, arguments.rounds + 1):
            for peer in peers:
                if peer.name in work.peers and work.name not in peer.cannot:
                    say(f"{work.name}, round {number} of {arguments.rounds}: {peer.name} ", end="")
                    outcome = once(work, peer, generator)
                    results.add(work, peer.name, outcome)
                    say("INVALID: " + outcome.invalid if outcome.invalid is not None else shown(work, outcome))
    print(results.table(works))
    print(f"\n{arguments.rounds} rounds in {(time.monotonic() - began) / 60:.0f} min; ratios are medians of rounds.")
    print("Absolute numbers are this machine's, at this hour; the ratios are what can be compared.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "benchmark.json").write_text(results.to_json(works))
    (arguments.out / "benchmark.svg").write_text(draw([one for work in works for one in results.compare(work)]))
    print(f"Written: {arguments.out / 'benchmark.json'} and {arguments.out / 'benchmark.svg'}")
    ours = [one for (_, peer), outcomes in results.outcomes.items() if peer == PEERS[0].name for one in outcomes]
    return int(any(outcome.invalid is not None for outcome in ours))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench",
        description="Measure the service beside its peers on this machine; everything stays on loopback.",
        epilog="Works: "
        + ", ".join(work.name for work in WORKS)
        + ". Peers: "
        + ", ".join(p.name for p in PEERS)
        + ".",
    )
    parser.add_argument("--works", default="", help="which works, with commas; all without")
    parser.add_argument("--peers", default="", help="which peers, with commas; all without")
    parser.add_argument("--rounds", type=positive, default=5, help="how often everything is done (5)")
    parser.add_argument("--no-install", action="store_true", help="leave out peers that are not installed")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder for JSON and SVG")
    return parser.parse_args()


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def chosen(names: str, all_of_them: Sequence[Named], kind: str) -> list[Named]:
    """Those that are named, in the order of the table."""
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    if unknown := wanted - {one.name for one in all_of_them}:
        known = ", ".join(one.name for one in all_of_them)
        sys.exit(f"no such {kind}: {', '.join(sorted(unknown))}; there are {known}")
    return [one for one in all_of_them if not wanted or one.name in wanted]


def is_there(peer: Peer, works: Sequence[Work], results: Results, *, may_install: bool) -> bool:
    """Whether a peer can take part; one that is missing is told of in one line."""
    if not any(peer.name in work.peers for work in works):
        return False
    try:
        peer.prepare(may_install=may_install)
    except Missing as missing:
        say(f"Goes on without {peer.title}. To have it: {missing}")
        results.absent[peer.name] = str(missing)
        return False
    return True


def once(
    work: Work,
    peer: Peer,
    core: int,
    *,
    beside: Callable[[Target], AbstractContextManager[object]] = nullcontext,
) -> Outcome:
    """One work with one fresh server, the load generator on its own core; what is ``beside`` it goes on meanwhile."""
    try:
        with running(peer) as target, beside(target):
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.load"],
                input=Task(work.name, target, work.sizes_for(peer)).to_json(),
                capture_output=True,
                timeout=_MOST_SECONDS,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
                check=False,
            )
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return Outcome(invalid=str(error))
    if done.returncode:
        return Outcome(invalid=f"the load generator failed: {done.stderr.decode()[-500:]}")
    return Outcome(**json.loads(done.stdout))


def shown(work: Work, outcome: Outcome) -> str:
    return ", ".join(f"{figure.title} {outcome.figures[figure.name]:,.4g} {figure.unit}" for figure in work.figures)


def say(text: str, *, end: str = "\n") -> None:
    """Progress goes to standard error; the table is the output."""
    print(text, end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
