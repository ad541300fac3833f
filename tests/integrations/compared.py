"""What a program says of calls, beside what our judge says with its rules imported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from notifier_service.cli.importers import IMPORTERS
from notifier_service.core.policy.policy import Policy
from notifier_service.core.policy.verdict import AskedTool, Call

__all__ = ["AskedCall", "Comparison", "furnish", "imported_policy", "judged"]

_RANK = {"allow": 0, "ask": 1, "deny": 2}


class AskedCall(NamedTuple):
    """A call of a tool, as a hook tells of it."""

    tool: str
    parameters: Mapping[str, Any]
    server: str | None = None


def furnish(folder: Path, programs: Sequence[str], files: Sequence[str]) -> None:
    """Make a project with these files in ``work``, a ``home``, and in ``bin`` programs that do nothing."""
    for name in ("work/.git", "home", "bin"):
        (folder / name).mkdir(parents=True)
    for name in programs:
        stub = folder / "bin" / name
        stub.write_text("#!/bin/sh\nexit 0\n")
        stub.chmod(0o755)
    for name in files:
        file = folder / "work" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x\n")


def imported_policy(source: str, text: str, path: Path | None = None, *, home: str | None = None) -> Policy:
    """The policy that the rules of a program become."""
    return Policy.loads(IMPORTERS[source](text, path).toml(), "imported.toml", home=home)


def judged(policy: Policy, asked: AskedCall) -> str:
    """What the policy says of a call, where it is not asked about its risk."""
    verdict = policy.judge(Call(AskedTool(asked.tool, asked.server), "s1", "low", dict(asked.parameters)))
    return policy.default if verdict is None else verdict.effect


class Comparison:
    """Counts; and keeps every case in which more is allowed here than there."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.counted: Counter[str] = Counter()
        self.wider: list[tuple[str, str, Any]] = []

    def note(self, there: str, here: str, case: Any) -> None:
        self.counted["cases"] += 1
        self.counted[f"{there} there, {here} here"] += 1
        difference = _RANK[here] - _RANK[there]
        self.counted["same" if difference == 0 else "narrower" if difference > 0 else "wider"] += 1
        if difference < 0:
            self.wider.append((there, here, case))

    def shown(self) -> str:
        return f"{self.source}: {dict(sorted(self.counted.items()))}"

    def assert_never_wider(self, *, cases: int, alike: float) -> None:
        """Nothing is wider, of enough cases; and so much is the same, or else the import would be of no use."""
        print(self.shown())
        wider: Sequence[Any] = self.wider
        assert not wider, f"{len(wider)} wider: {wider[:10]}"
        assert self.counted["cases"] >= cases
        assert self.counted["same"] >= alike * self.counted["cases"]
        assert self.counted["allow there, allow here"]
        assert self.counted["deny there, deny here"]
