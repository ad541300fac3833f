"""What the grammar of commands lets pass is what a real shell runs, word for word; the rest is not understood."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from notifier_service.core.policy.command_use import command_use
from notifier_service.core.policy.not_understood import NotUnderstood
from notifier_service.core.policy.shell import simple_commands

BASH = shutil.which("bash")


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("git status", [["git", "status"]]),
        ("\tls  -l 'a b'\"c d\"e ", [["ls", "-l", "a bc de"]]),
        ("a && b || c; d | e\nf;", [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]),
        ("a &&\n\n b", [["a"], ["b"]]),
        ("make 2>/dev/null >/dev/null 2>&1 </dev/null", [["make"]]),
        ("git log HEAD~1 --format=%H, a=b", [["git", "log", "HEAD~1", "--format=%H,", "a=b"]]),
        ("echo 'it costs $5; `no` | > \\ *'", [["echo", "it costs $5; `no` | > \\ *"]]),
        ("echo 'two\nlines'", [["echo", "two\nlines"]]),
        ("echo 'grüße' \"ñandú\"", [["echo", "grüße", "ñandú"]]),
        ("time git log | cat", [["time", "git", "log"], ["git", "log"], ["cat"]]),
        (
            "timeout -k 5 10s nice -n 5 a -b",
            [["timeout", "-k", "5", "10s", "nice", "-n", "5", "a", "-b"], ["nice", "-n", "5", "a", "-b"], ["a", "-b"]],
        ),
        ("bash -c 'a; b \"c d\"'; e", [["bash", "-c", 'a; b "c d"'], ["a"], ["b", "c d"], ["e"]]),
        ("command -v git; command env a", [["command", "-v", "git"], ["command", "env", "a"], ["env", "a"], ["a"]]),
    ],
)
def test_plain_commands_are_read_as_a_shell_reads_them(text: str, commands: list[list[str]]) -> None:
    assert [list(words) for words in simple_commands(text)] == commands


@pytest.mark.parametrize(
    "text",
    [
        "", " \n", ";", "; a", "a;;b", "a &&", "a |", "&& a", "a &", "a & b", "a |& b",
        "ls `rm -rf ~`", "echo $(rm -rf ~)", 'echo "$(rm x)"', 'echo "`rm x`"', "echo $HOME", 'echo "a\\"b"',
        "echo ${x}",
        "cat <<E\n$(rm x)\nE", "cat <<<x", "a > b", "a >> b", "a < b", "a <(b)", "a 3>/dev/null", "a >/dev/null2",
        "a 2>&12", "a >& b", "(a)", "{ a; }", "a() { b; }", "a {b,c}", "a *", "a ?", "a [b]", "a ~", "a b=~/c", "~/a",
        "# a", "a # b", "a \\\n b", "a\\ b", "a 'b", 'a "b', "! a", "a !b", "=a", "a =b",
        "X=1 a", "a=b", "PATH=. ls", "'' a", "-a", "%1", "if a; then b; fi", "time -p rm x", "coproc a", "[ a ]",
        "grüße ñandú",
        "env", "env X=1 a", "/usr/bin/env -i a", "command -p a", "exec a", "eval a", "source a", ". a", "sh a",
        "bash -c", "bash -c a b", "bash -x -c a", "zsh",
        "xargs a",
        "sudo a", "doas a", "nice --x a", "nohup a", "timeout a", "timeout -x 1 a", "watch a",
        "ssh h a", "docker run a", "find . -exec a",
        "find . -execdir a", "a; sudo b", "a && env -S b", "'su'do a", '"env"',
        "bash -c 'sudo a'", "time env nice time command a", "bash -c \"bash -c 'a > b'\"",
        "a\rb", "a\x00b", "a\x1b[2Kb", "a 'x\u202ey'", "a\u00a0b", "a\u2003b", "a\u2028b", "\ufeffa",
        "a " + "x" * 70_000,
    ],
)  # fmt: skip
def test_what_has_another_reading_is_not_understood_and_says_why(text: str) -> None:
    with pytest.raises(NotUnderstood) as why:
        simple_commands(text)

    assert str(why.value)


_PLAIN = ("a", "b", "git", "status", "'q r'", ";", "|", "&&", "||", "\n", "2>&1", " ")
_PIECES = [
    "a",
    "b",
    "git",
    "status",
    "push",
    "-f",
    "--x=y",
    "'q",
    "r'",
    '"s',
    't"',
    ";",
    "|",
    "&",
    "&&",
    "||",
    "\n",
    "2>&1",
    ">/dev/null",
    "2>/dev/null",
    ">",
    "<",
    "<<",
    "$",
    "`",
    "(",
    ")",
    "{",
    "}",
    "*",
    "?",
    "~",
    "!",
    "#",
    "\\",
    "=",
    "a=b",
    "env",
    "sudo",
    "sh",
    "-c",
    "time",
    "$(b)",
    "`b`",
    "${a}",
    '"$(b)"',
    "'$(b)'",
    "<(b)",
    ">b",
    "{b,c}",
    "a()",
    "if",
    "then",
    "fi",
    "do",
    "done",
    ".",
    "eval",
    "exec",
    "[",
    "]",
    "xargs",
    "find",
    "-exec",
    "\t",
    "''",
    '""',
    "'a'\"b\"",
    "a\\b",
    "#",
    "!!",
    "%1",
    "--",
    "é",
    "=b",
    "~/b",
    "$'b'",
    '$"b"',
    "&>",
    "|&",
    ";;",
    "\\\n",
    "\r",
]


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
def test_what_is_understood_is_all_that_a_real_shell_runs(tmp_path: Path) -> None:
    """Commands made at random of every trick are run by bash, in which every program is a recorder."""
    assert BASH is not None
    recorder = tmp_path / "recorder"
    # In one write: the commands of a pipeline run beside each other.
    recorder.write_text('#!/bin/sh\nprintf \'%s\\0\' "${0##*/}" "$@" "\n" >> "$RECORD"\n')
    recorder.chmod(0o755)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in {
        "a",
        "b",
        "git",
        "status",
        "push",
        "env",
        "sudo",
        "sh",
        "xargs",
        "find",
        "é",
        "q",
        "c",
        "-f",
        "q r",
        "s t",
        "ab",
    }:
        (programs / name).symlink_to(recorder)
    work = tmp_path / "work"
    work.mkdir()
    chance = random.Random(int(os.environ.get("SHELL_SEED", "1")))
    understood = ran_in_all = 0
    for number in range(int(os.environ.get("SHELL_CASES", "6000"))):
        text = chance.choice(["", " "]).join(
            chance.choice(_PLAIN if chance.random() < 0.6 else _PIECES) for _ in range(chance.randint(1, 7))
        )
        try:
            read = simple_commands(text)
        except NotUnderstood:
            continue
        understood += 1
        record = tmp_path / f"record{number}"
        subprocess.run(
            [BASH, "--norc", "-c", text], cwd=work, check=False, timeout=10, stdin=subprocess.DEVNULL,
            capture_output=True, env={"PATH": str(programs), "RECORD": str(record), "HOME": "/home/nobody"},
        )  # fmt: skip
        ran = record.read_text().split("\n\0")[:-1] if record.exists() else []
        told = {"".join(f"{word}\0" for word in words) for words in read}
        assert {call.replace(f"{programs}/", "") for call in ran} <= told, text
        assert not any(work.iterdir()), text
        ran_in_all += len(ran)

    assert understood > 100
    assert ran_in_all > understood / 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"command": "git push origin main"}, {"command": "git push origin other"}),
        ({"command": "git status"}, {"command": "git  status 2>/dev/null"}),
        ({"command": "rm a", "description": "x"}, {"command": "rm a", "description": "y", "timeout": 5}),
        ({"command": "mkfifo first"}, {"command": "mkfifo second"}),
        ({"argv": ["rm", "a"]}, {"argv": ["rm", "a"]}),
    ],
)
def test_decision_holds_for_what_begins_alike_and_has_the_same_options(one: object, other: object) -> None:
    assert command_use(one) == command_use(other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("git push origin main", "git push --force origin main"),
        ("git push origin main", "git push origin main; rm -rf x"),
        ("git fetch", "git fetch --upload-pack=evil"),
        ("git status", "git -c core.pager=evil status"),
        ("git status", "git status $(evil)"),
        ("rm a", "rm -r a"),
        ("rm a", "./rm a"),
        ("python3 a.py", "python3 b.py"),
        ("make a", "make b"),
        ("npm run test", "npm run deploy"),
        ("git config a b", "git config core.pager evil"),
        ("pip install a", "pip install b"),
        ("a | b", "a | c"),
        ("git status", "GIT_DIR=x git status"),
    ],
)
def test_decision_about_one_command_covers_no_other(one: str, other: str) -> None:
    assert command_use({"command": one}) != command_use({"command": other})
    assert command_use({"command": one}) != command_use({"command": one, "sandbox": False})
    assert command_use({"command": one}) != command_use({"command": one, "script": other})


def test_call_without_a_command_is_no_use_of_one() -> None:
    assert command_use({"path": "a", "commands": "b"}) is None
