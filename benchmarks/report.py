"""Rounds made into ratios: a table to read, JSON to keep."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

from .load import BUSY_GENERATOR, Outcome
from .works import PEERS, Figure, Work

__all__ = ["Comparison", "Results"]

_PACKAGES = ("aiohttp", "aiohttp-sse", "pydantic", "uvloop", "sse-starlette", "starlette", "uvicorn", "redis")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of the first peer beside that of another, over the rounds in which both are valid."""

    work: Work
    figure: Figure
    peer: str
    title: str
    ours: Sequence[float]
    theirs: Sequence[float]

    @property
    def ratios(self) -> Sequence[float]:
        """Ours by theirs, a number for each round."""
        return [our / their for our, their in zip(self.ours, self.theirs, strict=True)]

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def times_better(self) -> float:
        """Above 1 this service is the better one, whichever way the figure goes."""
        return self.ratio if self.figure.more_is_better else 1 / self.ratio


@dataclass(slots=True)
class Results:
    """All outcomes: for each work and peer one a round, in order."""

    rounds: int
    outcomes: dict[tuple[str, str], list[Outcome]] = field(default_factory=dict)
    #: Peers that take no part, and why.
    absent: dict[str, str] = field(default_factory=dict)

    def add(self, work: Work, peer: str, outcome: Outcome) -> None:
        self.outcomes.setdefault((work.name, peer), []).append(outcome)

    def compare(self, work: Work) -> Sequence[Comparison]:
        """Every figure of the work beside every peer that gave it, paired round by round."""
        ours = self.outcomes.get((work.name, PEERS[0].name), ())
        found = []
        for figure in work.figures:
            for peer in PEERS[1:]:
                pairs = [
                    (our.figures[figure.name], their.figures[figure.name])
                    for our, their in zip(ours, self.outcomes.get((work.name, peer.name), ()), strict=False)
                    if our.invalid is None and their.invalid is None
                ]
                if pairs:
                    mine, others = zip(*pairs, strict=True)
                    found.append(Comparison(work, figure, peer.name, peer.title, mine, others))
        return found

    def alone(self, work: Work) -> Sequence[tuple[Figure, float]]:
        """Our own figures where no other peer can do the work."""
        valid = [one for one in self.outcomes.get((work.name, PEERS[0].name), ()) if one.invalid is None]
        return [(figure, median(one.figures[figure.name] for one in valid)) for figure in work.figures if valid]

    def remarks(self, work: Work) -> Sequence[str]:
        """What is wrong with some of the outcomes."""
        found = []
        for peer in PEERS:
            for number, outcome in enumerate(self.outcomes.get((work.name, peer.name), ()), 1):
                if outcome.invalid is not None:
                    found.append(f"{peer.name}, round {number}: INVALID, {outcome.invalid}")
                elif outcome.generator_load > BUSY_GENERATOR:
                    share = f"{outcome.generator_load:.0%}"
                    found.append(f"{peer.name}, round {number}: the load generator was busy {share} of the time")
        return found

    def table(self, works: Sequence[Work]) -> str:
        """The works with the ratio to each peer, absolute numbers beside it."""
        lines = []
        for work in works:
            lines += ["", f"{work.name}: {work.title}"]
            comparisons = self.compare(work)
            for one in comparisons:
                spread = f"{min(one.ratios):.2f}-{max(one.ratios):.2f}"
                verdict = "better" if one.times_better > 1 else "worse"
                lines.append(
                    f"  {one.figure.title:<28} {one.ratio:>8.2f} × {one.title:<22} {verdict:<6}  {spread:<13}"
                    f" {amount(median(one.ours)):>8} to {amount(median(one.theirs)):>8} {one.figure.unit}"
                )
            if not comparisons:
                lines += [
                    f"  {figure.title:<28} {amount(value):>8} {figure.unit}" for figure, value in self.alone(work)
                ]
            lines += [f"  ! {remark}" for remark in self.remarks(work)]
        return "\n".join(lines[1:])

    def to_json(self, works: Sequence[Work]) -> str:
        return json.dumps(
            {
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "rounds": self.rounds,
                "machine": machine(),
                "absent": self.absent,
                "works": [self._work(work) for work in works],
            },
            indent=2,
            ensure_ascii=False,
        )

    def _work(self, work: Work) -> Mapping[str, Any]:
        return {
            "name": work.name,
            "title": work.title,
            "sizes": dict(work.sizes),
            "ratios": [
                {
                    "figure": one.figure.name,
                    "unit": one.figure.unit,
                    "more_is_better": one.figure.more_is_better,
                    "peer": one.peer,
                    "ratio": round(one.ratio, 4),
                    "ratios": [round(ratio, 4) for ratio in one.ratios],
                }
                for one in self.compare(work)
            ],
            "outcomes": {
                peer.name: [
                    {
                        "figures": {name: round(value, 4) for name, value in outcome.figures.items()},
                        "invalid": outcome.invalid,
                        "generator_load": round(outcome.generator_load, 3),
                        "server_load": round(outcome.server_load, 3),
                    }
                    for outcome in self.outcomes[work.name, peer.name]
                ]
                for peer in PEERS
                if (work.name, peer.name) in self.outcomes
            },
        }


def amount(value: float) -> str:
    """A number with three digits that count."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def machine() -> Mapping[str, Any]:
    """What it ran on."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"system": platform.platform(), "python": platform.python_version(), "packages": versions}
