"""Rules of Codex, imported, beside what ``codex execpolicy check`` says of the same commands."""

from __future__ import annotations

import json
import random
import shlex
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.integrations.compared import AskedCall, Comparison, imported_policy, judged
from tests.integrations.environments import NPM

PROGRAMS = ("git", "npm", "rm", "ls", "cargo", "python3")
WORDS = ("status", "push", "test", "-rf", "--force", "x", "a.txt", "origin", "run")
ODD_WORDS = ("a b", "*", "it's", 'say "x"', "", "é", "$HOME", "a;b")
DECISIONS = {"allow": "allow", "prompt": "ask", "forbidden": "deny", None: "ask"}
FILES = 12
COMMANDS_A_FILE = 25


def word(random_: random.Random) -> str:
    return random_.choice(ODD_WORDS if random_.random() < 0.08 else WORDS)


def rules_text(random_: random.Random) -> str:
    lines = []
    for _ in range(random_.randint(3, 8)):
        pattern: list[object] = [random_.choice(PROGRAMS)]
        if random_.random() < 0.15:
            pattern = [random_.sample(PROGRAMS, 2)]
        for _ in range(random_.choice((0, 1, 1, 2))):
            pattern.append([word(random_), word(random_)] if random_.random() < 0.2 else word(random_))
        given = [f"pattern={json.dumps(pattern, ensure_ascii=False)}"]
        decision = random_.choice(("allow", "allow", "prompt", "forbidden", None))
        if decision is not None:
            given.append(f'decision="{decision}"')
        if random_.random() < 0.3:
            given.append('justification="because"')
        lines.append(f"prefix_rule({', '.join(given)})")
    if random_.random() < 0.3:
        lines.append('host_executable(name="git", paths=["/usr/bin/git"])')
    return "\n".join(lines) + "\n"


def command(random_: random.Random, rules: str) -> list[str]:
    program = random_.choice(PROGRAMS)
    if random_.random() < 0.1:
        program = f"/usr/bin/{program}"
    return [program, *(word(random_) for _ in range(random_.choice((0, 1, 1, 2, 3))))]


def test_imported_rules_are_never_wider_than_codex(npm_with: Callable[..., Path], tmp_path: Path) -> None:
    codex = str(npm_with(*NPM["codex"]) / "node_modules/.bin/codex")
    random_ = random.Random(20)
    cases = []
    for number in range(FILES):
        file = tmp_path / f"{number}.rules"
        file.write_text(rules_text(random_))
        cases += [(file, command(random_, file.read_text())) for _ in range(COMMANDS_A_FILE)]

    def decided(case: tuple[Path, list[str]]) -> str:
        file, words = case
        check = [codex, "execpolicy", "check", "--resolve-host-executables", "--rules", str(file), "--", *words]
        said = subprocess.run(check, capture_output=True, text=True, timeout=60)
        assert said.returncode == 0, said.stderr
        return DECISIONS[json.loads(said.stdout).get("decision")]

    with ThreadPoolExecutor(2) as checking:
        there = list(checking.map(decided, cases))
    comparison = Comparison("codex")
    policies = {file: imported_policy("codex", file.read_text()) for file, _ in cases}
    for (file, words), effect in zip(cases, there, strict=True):
        for tool, parameters in (("Bash", {"command": shlex.join(words)}), ("shell", {"command": words})):
            here = judged(policies[file], AskedCall(tool, parameters))
            comparison.note(effect, here, (file.read_text(), words, tool))
    # Of a compound command the strictest of its parts.
    for first, second in zip(range(0, len(cases), 2), range(1, len(cases), 2), strict=True):
        file, words = cases[first]
        strictest = max(there[first], there[second], key=("allow", "ask", "deny").index)
        if cases[second][0] == file:
            text = f"{shlex.join(words)} {random_.choice(('&&', ';', '|', '||'))} {shlex.join(cases[second][1])}"
            here = judged(policies[file], AskedCall("Bash", {"command": text}))
            comparison.note(strictest, here, (file.read_text(), text))

    comparison.assert_never_wider(cases=600, alike=0.7)
