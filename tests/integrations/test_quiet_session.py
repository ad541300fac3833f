"""An afternoon of the real Claude Code in a project folder: how often its person is asked, and about what.

Twenty reads, eleven commands, five edits, one new file, and four notes to itself.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from notifier_service.cli import main
from notifier_service.cli.policy_init import starter_policy

from .claude_code import Begin, Person, Run, approve, reject

COMMANDS = (
    "git status",
    "git log --oneline -5",
    "ls -la",
    "rg -n 'def total' . | head -20",
    "python -m pytest -q 2>&1 | tail -5",
    "wc -l shop/cart.py tests/test_cart.py",
    "git diff --stat",
    "find . -name '*.py' -not -path './.git/*' | sort",
    "python -m pytest -q tests/test_cart.py",
    "git diff -- shop/cart.py | cat",
    "cat README.md && git branch --show-current",
)


def project(folder: Path) -> None:
    """A small project under version control."""
    for name, text in {
        "README.md": "# shop\n",
        "shop/cart.py": "def total(prices):\n    return sum(prices)\n" + "".join(f"N{n} = {n}\n" for n in range(5)),
        "tests/test_cart.py": "def test_total():\n    assert True\n",
        ".env": "API_TOKEN=abc\n",
    }.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    for command in ("init -q", "add .", "-c user.name=a -c user.email=a@b.example commit -qm first"):
        subprocess.run(["git", *command.split()], cwd=folder, check=True)


def turns_of_41_calls(folder: Path) -> list[list[dict[str, Any]]]:
    """What it does, in the order of a day: read, look, edit, write, note, test."""
    cart = str(folder / "shop/cart.py")
    paths = [cart, str(folder / "README.md"), "tests/test_cart.py", "shop/cart.py"]
    reads = [("Read", {"file_path": paths[number % len(paths)]}) for number in range(20)]
    shell = [("Bash", {"command": command, "description": "work"}) for command in COMMANDS]
    edits = [
        ("Edit", {"file_path": cart, "old_string": f"N{number} = {number}\n", "new_string": f"N{number} = 1{number}\n"})
        for number in range(5)
    ]
    write = ("Write", {"file_path": str(folder / "shop/tax.py"), "content": "RATE = 0.2\n"})
    notes = [("TaskCreate", {"subject": "add tax", "description": "add tax"})] * 4
    numbers = iter(range(41))
    return [
        [{"id": f"toolu_{next(numbers)}", "name": name, "input": given} for name, given in turn]
        for turn in (reads, shell[:6], edits, [write, *notes], shell[6:])
    ]


async def done(run: Run, capsys: pytest.CaptureFixture[str], person: Person) -> list[str]:
    """Let Claude Code do all of it with the settings as they are printed, and return the tools that it asked for."""
    project(run.folder / "work")
    run.api.turns[:] = turns_of_41_calls(run.folder / "work")
    main(["hook", "--print-config", "--session", "s1", "--url", f"{run.site.url}/agent_backend"])
    run.flags += ["--settings", capsys.readouterr().out]
    await run.ends(person)
    assert len(run.api.results) == 41
    return [card.record.tool_name for card in run.cards]


async def test_without_a_policy_what_runs_programs_asks_too(
    begin: Begin,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = await done(await begin(), capsys, approve)

    # Of the commands those that run what stands in the folder: the others only look.
    assert sorted(asked) == ["Bash"] * 3 + ["Edit"] * 5 + ["Write"]


async def test_starter_policy_asks_about_what_changes_and_nothing_else(
    begin: Begin,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(starter_policy(tmp_path / "work", policy))
    run = await begin(policy_file=policy)
    asked = await done(run, capsys, approve)

    assert sorted(asked) == ["Edit"] * 5 + ["Write"]
    failed = {told for told, is_error in run.api.results.values() if is_error}
    assert all("TaskCreate" in told for told in failed)  # some releases have no such tool
    assert (run.folder / "work/shop/tax.py").read_text() == "RATE = 0.2\n"


async def test_starter_policy_opens_nothing_that_it_does_not_name(
    begin: Begin,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        ("Bash", {"command": "ls `rm -rf ~`"}),
        ("Bash", {"command": "echo $(rm -rf ~)"}),
        ("Bash", {"command": "time rm -rf ~"}),
        ("Bash", {"command": "cat <<EOF\n$(touch opened)\nEOF"}),
        ("Bash", {"command": "git push --force"}),
        ("Bash", {"command": "cat .env"}),
        ("Bash", {"command": "cat /root/notes.txt"}),
        ("Read", {"file_path": "/root/.ssh/id_rsa"}),
        ("Write", {"file_path": "../outside.txt", "content": "x"}),
    ]
    policy = tmp_path / "policy.toml"
    policy.write_text(starter_policy(tmp_path / "work", policy))
    made = [{"id": f"toolu_{at}", "name": tool, "input": given} for at, (tool, given) in enumerate(calls)]
    run = await begin(*made, apart=True, policy_file=policy)
    main(["hook", "--print-config", "--session", "s1", "--url", f"{run.site.url}/agent_backend"])
    run.flags += ["--settings", capsys.readouterr().out]
    await run.ends(reject)

    assert [card.record.tool_name for card in run.cards] == [tool for tool, _ in calls]
    commands = [card.record.parameters["command"] for card in run.cards if card.record.tool_name == "Bash"]
    assert commands == [given["command"] for tool, given in calls if tool == "Bash"]
    assert [is_error for _, is_error in run.api.results.values()] == [True] * len(calls)
    assert run.files == []
