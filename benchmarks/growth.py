"""How the cost of the service grows: with readers, with sessions, and with the size of an event."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from statistics import median

from .__main__ import once, positive, say
from .machine import cores, raise_open_files
from .works import PEERS, WORKS, Work

__all__ = ["main"]

_FANOUT = next(work for work in WORKS if work.name == "fanout")
_SESSIONS = next(work for work in WORKS if work.name == "sessions-100")


def main() -> None:
    """Print a table, in Markdown; medians of the rounds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=3, help="how often everything is done (3)")
    rounds = parser.parse_args().rounds
    raise_open_files()
    core = cores()[1]
    print("| | events delivered a second | server's core, µs per event |\n|---|---|---|")
    for title, work in _works():
        outcomes = [once(work, PEERS[0], core) for _ in range(rounds)]
        wrong = [outcome.invalid for outcome in outcomes if outcome.invalid is not None]
        if wrong:
            say(f"{title}: {wrong[0]}")
        else:
            rate, cost = (median(outcome.figures[name] for outcome in outcomes) for name in ("rate", "server_cpu_us"))
            print(f"| {title} | {rate:,.0f} | {cost:.1f} |", flush=True)


def _works() -> Iterator[tuple[str, Work]]:
    for readers, events in ((1, 900), (10, 900), (100, 900), (1000, 500), (5000, 100), (10_000, 50)):
        yield f"1 session × {readers:,} readers", replace(_FANOUT, sizes={"readers": readers, "events": events})
    for sessions, events in ((10, 900), (100, 400), (1000, 40), (5000, 10)):
        sizes = {**_SESSIONS.sizes, "sessions": sessions, "events": events}
        yield f"{sessions:,} sessions × 1 reader", replace(_SESSIONS, sizes=sizes)
    for pad, events in ((64, 500), (1024, 500), (8192, 100), (16_384, 50)):
        sizes = {"readers": 500, "events": events, "pad": pad}
        yield f"1 session × 500 readers, events of {pad:,} bytes", replace(_FANOUT, sizes=sizes)


if __name__ == "__main__":
    main()
