"""What well-known programs do; an unknown one only runs."""

from __future__ import annotations

import shlex

import pytest

from notifier_service.core.policy.program_deeds import use_of


@pytest.mark.parametrize(
    "command",
    ["cat a", "grep -r x src", "ls", "git status -s", "git log --oneline", "find . -name x", "sort a", "rg x",
     "tree -L 2"],
)  # fmt: skip
def test_programs_that_only_read(command: str) -> None:
    assert use_of(shlex.split(command)) == ("reads", True, None)


@pytest.mark.parametrize(
    ("command", "does"),
    [
        ("./cat a", "runs"),
        ("/tmp/ls", "runs"),
        ("find . -delete", "deletes"),
        ("find . -exec rm x", "runs"),
        ("find . -fprint a", "runs"),
        ("sort -o a b", "runs"),
        ("sort -uo a b", "runs"),
        ("sort --out=a b", "runs"),
        ("rg --pre ./x y", "runs"),
        ("tree -o a", "runs"),
        ("git diff --output=a", "runs"),
        ("git grep x", "runs"),
        ("git -c core.pager=x log", "runs"),
        ("git log --ext-diff", "runs"),
        ("git", "runs"),
        ("git bisect run x", "runs"),
        ("uniq a b", "runs"),
        ("hostname evil", "runs"),
        ("make", "runs"),
        ("rm -rf a", "deletes"),
        ("/bin/rm a", "deletes"),
        ("git reset --hard", "deletes"),
        ("git commit -m x", "writes"),
        ("cp a b", "writes"),
        ("curl https://a.example", "sends"),
        ("git push", "sends"),
    ],
)
def test_what_other_programs_do(command: str, does: str) -> None:
    use = use_of(shlex.split(command))

    assert (use.does, use.only_reads) == (does, False)


def test_what_can_be_taken_back() -> None:
    assert [
        use_of(command.split()).reversible for command in ("mkdir a", "git add a", "rm a", "cp a b", "git push")
    ] == [
        True,
        True,
        False,
        None,
        False,
    ]
