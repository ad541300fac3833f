"""``python -m benchmarks.policy``: what one call costs among many rules of a policy file."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from notifier_service.core.policy.policy import Policy
from notifier_service.core.policy.verdict import AskedTool, Call, Effect

from .__main__ import positive

__all__ = ["SHAPES", "Shape", "measure"]

_EFFECTS: Sequence[Effect] = ("allow", "ask", "deny")
_CALLS = 200


class Shape(NamedTuple):
    """Rules that differ in one thing, ``N``, and calls that one of them matches."""

    title: str
    condition: str
    call: Callable[[int], Call]

    def policy(self, rules: int) -> Policy:
        """So many of them, of each effect in turn."""
        text = "".join(
            f'[[rule]]\nname = "rule {number}"\neffect = "{_EFFECTS[number % 3]}"\n'
            f"{self.condition.replace('N', str(number))}\n"
            for number in range(rules)
        )
        return Policy.loads(text, self.title)


def _call(tool: str, session_id: str = "s", **parameters: Any) -> Call:
    return Call(AskedTool(tool), session_id, "medium", parameters)


SHAPES: Sequence[Shape] = (
    Shape("a tool of its own", 'tool = "tool-N"', lambda n: _call(f"tool-{n}")),
    Shape("a glob of tools", 'tool = "toolN-*"', lambda n: _call(f"tool{n}-x")),
    Shape("a session", 'session = "team-N"', lambda n: _call("read", f"team-{n}")),
    Shape(
        "one tool, a folder",
        'tool = "read"\nparameters = { "/path" = { glob = "/srv/appN/**" } }',
        lambda n: _call("read", path=f"/srv/app{n}/src/main.py"),
    ),
    Shape(
        "one tool, a value",
        'tool = "pay"\nparameters = { "/to" = { equals = "account N" } }',
        lambda n: _call("pay", to=f"account {n}", amount=5),
    ),
    Shape(
        "one tool, folders anywhere",
        'tool = "read"\nparameters = { "/path" = { glob = "**/appN/*.py" } }',
        lambda n: _call("read", path=f"/srv/x/app{n}/main.py"),
    ),
    Shape(
        "one tool, an expression",
        'tool = "mail"\nparameters = { "/to" = { regex = "[a-z]+@teamN\\\\.example" } }',
        lambda n: _call("mail", to=f"ana@team{n}.example"),
    ),
    Shape("a program", 'command = "programN *"', lambda n: _call("Bash", command=f"program{n} --all src")),
    Shape("git and a word", 'command = "git wordN *"', lambda n: _call("Bash", command=f"git word{n} --all src")),
    Shape(
        "git and an option",
        'command = "git * --flagN-x *"',
        lambda n: _call("Bash", command=f"git log --flag{n}-x src"),
    ),
    Shape("a glob of programs", 'command = "progN-* *"', lambda n: _call("Bash", command=f"prog{n}-x --all src")),
)


def measure(shape: Shape, *, rules: int, rounds: int) -> float:
    """Seconds for one call, at best of the rounds, when its kind was judged before."""
    policy = shape.policy(rules)
    calls = [shape.call(number * rules // _CALLS % rules) for number in range(_CALLS)]
    best = float("inf")
    for number in range(rounds + 1):
        begin = time.perf_counter()
        verdicts = [policy.judge(call) for call in calls]
        if number:
            best = min(best, (time.perf_counter() - begin) / len(calls))
        if None in verdicts:
            raise AssertionError(f"{shape.title}: a call met no rule")
    return best


def main() -> None:
    """Print a table, in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policy", description=__doc__)
    parser.add_argument("--rules", type=positive, default=1000, help="how many rules there are (1000)")
    parser.add_argument("--rounds", type=positive, default=5, help="how often everything is done; the best counts (5)")
    arguments = parser.parse_args()
    print(f"| {arguments.rules:,} rules that differ in | one call, µs |\n|---|---|")
    for shape in SHAPES:
        seconds = measure(shape, rules=arguments.rules, rounds=arguments.rounds)
        print(f"| {shape.title} | {seconds * 1e6:.1f} |", flush=True)


if __name__ == "__main__":
    main()
