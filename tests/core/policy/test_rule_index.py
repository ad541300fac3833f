"""Of many rules none is passed over that would match by itself, and few are looked at."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from notifier_service.core.errors import InvalidInput
from notifier_service.core.policy.clues import Clue, Clues, runs_in, usable
from notifier_service.core.policy.policy import Policy
from notifier_service.core.policy.regex import Regex
from notifier_service.core.policy.shell import read_call
from notifier_service.core.policy.verdict import AskedTool, Call

WORDS = [
    "git", "rm", "ls", "status", "--force", "--force-with-lease", "-rf", "-r", "a", ".env", "x.env", "/etc/x",
    "src/a.py", "push", "Push", "--fo", "--f", "--", "-", "*", "g*", "*.env", "s?v", "--for*", "fil[ea]", "'a_b'",
    "curl", "--max=3", "/usr/bin/rm",
]  # fmt: skip
GIVEN = [
    "GIT", "'git'", "$(rm)", "x", "--forc", "--force=1", "-fr", "sh", "timeout", ";", "&&", "|", ">o", "r''m",
    "fileaenv",
]  # fmt: skip
NAMES = [
    "srv", "etc", "a", ".env", "x.py", "Etc", "..", ".", "~", "%2e%2e", "file1", "file22", "*", "**", "*.py",
    "file*", "?ile1", "[ab]", "*il*", "home", "ana",
]  # fmt: skip
PIECES = [
    "file", "a", ".", ".*", "[ab]", "(x|y)", "\\.", "b?", "(?:file)+", "c{0,2}", "env", "\\d", "e{2}", "srv/",
    "|etc",
]  # fmt: skip


def path(random: Random, *, is_glob: bool) -> str:
    names = [name for name in NAMES if is_glob or not set(name) & set("*?[")]
    text = random.choice(["/", "", "~/", "https://", "/proc/1/root/", "../"])
    text += "/".join(random.choice(names) for _ in range(random.randint(1, 5)))
    return text if is_glob else random.choice([text, text.upper(), text.replace("/", "\\")])


def words(random: Random, some: list[str]) -> str:
    return " ".join(random.choice(some) for _ in range(random.randint(1, 5)))


def condition(random: Random) -> str:
    kind = random.randint(0, 4)
    if kind == 0:
        return f"command = {json.dumps([words(random, WORDS) for _ in range(random.randint(1, 2))])}"
    if kind < 3:
        return f'parameters."/p".glob = {json.dumps(path(random, is_glob=True))}'
    if kind == 3:
        expression = random.choice(["", "(?i)"]) + words(random, PIECES).replace(" ", "")
        return f'parameters."/p".regex = {json.dumps(expression)}'
    return f'parameters = {{ "/p" = {{ equals = {json.dumps(path(random, is_glob=False))} }}, "/n" = {{ min = 3 }} }}'


def policy(random: Random) -> Policy:
    text, said = "", set[str]()
    while len(said) < 60:
        one = condition(random)
        effect = random.choice(["allow", "ask", "deny"])
        session = random.choice(["", "", 'session = "s"'])
        more = f'[[rule]]\nname = "r{len(said)}"\neffect = "{effect}"\n{one}\n{session}\n'
        try:
            Policy.loads(more, "policy.toml", home="/home/ana")
        except InvalidInput:
            continue
        if one not in said:
            said.add(one)
            text += more
    return Policy.loads(text, "policy.toml", home="/home/ana")


def parameters(random: Random) -> dict[str, Any]:
    if random.random() < 0.4:
        return {"command": words(random, [word for word in WORDS + GIVEN if not set(word) & set("*?[")])}
    one, other = (path(random, is_glob=False) for _ in range(2))
    value = random.choice([one, one, [one, other], {"x": one}, 5, "file1.b", "fileaenv", "\u200bfile"])
    return {"p": value, "n": random.randint(0, 6)}


@pytest.mark.parametrize("seed", range(10))
def test_no_rule_is_passed_over_that_matches_by_itself(seed: int) -> None:
    random = Random(seed)
    rules = policy(random)
    found = 0
    for _ in range(150):
        call = Call(AskedTool("t"), random.choice(["s", "other"]), "low", parameters(random))
        reading = read_call(call.parameters)
        expected = {r.name for r in rules.rules if r.failing(call) is None and r.matches_command(reading, call)}
        assert expected <= {one.rule for one in rules.explain(call).matched}
        found += len(expected)
    assert found > 5


def test_entry_stands_under_what_fewest_others_have() -> None:
    clues = Clues([(n, [Clue(("git",)), Clue((f"word{n}",)), Clue(run="flag")]) for n in range(9)])

    assert list(clues.under(["git", "word5"], ["--flag"])) == [5]


def test_entry_is_found_by_characters_in_a_row() -> None:
    clues = Clues([("a", [Clue(run="example")]), ("b", [Clue(run="exa")]), ("c", [Clue(("one", "two"))])])

    assert set(clues.under([], ["an example"])) == {"a", "b"}
    assert set(clues.under([], ["an exam"])) <= {"a", "b"}
    assert list(clues.under(["two"], ["x"])) == ["c"]


def test_nothing_is_found_by_two_characters() -> None:
    assert usable([Clue(run="ab"), Clue(run="")]) == []


def test_runs_of_a_glob_stand_for_themselves() -> None:
    assert list(runs_in("a[]x]bc*d[!]]?e")) == ["a", "bc", "d", "e"]


@pytest.mark.parametrize(
    ("pattern", "runs"),
    [
        ("abc", ["abc"]),
        (r"a\.b+c*d{2}e{0,1}f", ["a.b", "d", "f"]),
        ("[ab]cd(e|f)g.h", ["cd", "g", "h"]),
        ("ab|abc", []),
        ("(?i)(ab|c)DE", ["DE"]),
        (r"\d\x41a", ["a"]),
    ],
)
def test_runs_of_an_expression_stand_in_all_that_it_matches(pattern: str, runs: list[str]) -> None:
    assert [run for run in Regex(pattern).runs if run] == runs
