"""``python -m benchmarks.switched_on``: what the journal, the policy, the audit and the metrics cost.

The server's CPU, the kernel's part included, for one event or request, beside a service that has nothing switched on,
in rounds that alternate. How long a disk takes is not in it: that is what ``benchmarks.journal`` and
``benchmarks.audit`` measure.
"""

from __future__ import annotations

import argparse
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from .__main__ import once, positive, say
from .machine import cores, raise_open_files
from .peers.notifier import Notifier
from .peers.peer import Target
from .works import WORKS

__all__ = ["WAYS", "Way", "main"]

Beside = Callable[[Target], AbstractContextManager[object]]

_SCRAPE_SECONDS = 1.0
_RULES = 1000

_ROWS: Mapping[str, tuple[str, Mapping[str, int]]] = {
    "publish": ("one event per POST", {"events": 8000}),
    "publish-array": ("an event of an array of 100", {"events": 40_000}),
    "sessions-1": ("an event to one reader, published in process", {"sessions": 200, "events": 50}),
    "permission": ("a permission's round trip", {"times": 500}),
}


@contextmanager
def _scraped(target: Target) -> Iterator[None]:
    """Somebody reads the metrics meanwhile."""
    over = threading.Event()

    def scrape() -> None:
        while not over.wait(_SCRAPE_SECONDS):
            with urllib.request.urlopen(f"http://127.0.0.1:{target.port}/metrics", timeout=10) as answer:
                answer.read()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Way(Notifier):
    """The service with one thing switched on."""

    def __init__(self, title: str, *, beside: Beside = nullcontext, **given: Any) -> None:
        self.way, self.beside, self._given = title, beside, given

    def settings(self, folder: Path) -> Mapping[str, Any]:
        """``given``, where ``{}`` in a text stands for the folder; the policy is written there."""
        policy = folder / "policy.toml"
        policy.write_text(
            "".join(
                f'[[rule]]\nname = "rule {number}"\neffect = "ask"\ntool = "write_file"\n'
                f'parameters = {{ "/path" = {{ glob = "/srv/app{number}/**" }} }}\n'
                for number in range(_RULES)
            )
        )
        return {name: value.format(folder) if isinstance(value, str) else value for name, value in self._given.items()}


#: The first is what the others are compared with.
WAYS: Sequence[Way] = (
    Way("nothing"),
    Way("journal, normal", journal="{}/journal", journal_sync="normal"),
    Way("journal, full", journal="{}/journal", journal_sync="full"),
    Way(f"policy, {_RULES:,} rules", policy_file="{}/policy.toml"),
    Way("audit", audit_file="{}/audit.jsonl"),
    Way("metrics, read each second", beside=_scraped),
)


def main() -> None:
    """Print a table, in Markdown; medians of the rounds, the smallest and the largest in brackets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.switched_on", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=5, help="how often everything is done, by turns (5)")
    rounds = parser.parse_args().rounds
    raise_open_files()
    core = cores()[1]
    print(f"| | {WAYS[0].way}, µs | " + " | ".join(way.way for way in WAYS[1:]) + " |")
    print("|---|---|" + "---|" * (len(WAYS) - 1))
    for name, (title, sizes) in _ROWS.items():
        [known] = [work for work in WORKS if work.name == name]
        work = replace(known, sizes={**known.sizes, **sizes, "may_wait": 1})
        found: dict[str, list[float]] = {way.way: [] for way in WAYS}
        for number in range(1, rounds + 1):
            for way in WAYS:
                outcome = once(work, way, core, beside=way.beside)
                if outcome.invalid is not None:
                    raise SystemExit(f"{title}, {way.way}: {outcome.invalid}")
                found[way.way].append(outcome.figures["server_cpu_us"])
                say(f"{title}, round {number} of {rounds}, {way.way}: {found[way.way][-1]:,.1f} µs")
        plain, *others = found.values()
        cells = [_ratio(other, plain) for other in others]
        print(f"| {title} | {median(plain):,.0f} | " + " | ".join(cells) + " |", flush=True)


def _ratio(costs: Sequence[float], plain: Sequence[float]) -> str:
    ratios = [cost / without for cost, without in zip(costs, plain, strict=True)]
    return f"{median(ratios):.2f} × ({min(ratios):.2f}-{max(ratios):.2f})"


if __name__ == "__main__":
    main()
