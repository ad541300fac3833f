"""What the grammar of commands lets pass is what a real shell runs, word for word; the rest is not understood."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from notifier_service.core.policy.command_use import command_use
from notifier_service.core.policy.shell import CommandReading, read_call, read_command
from notifier_service.core.policy.told_command import told_command

BASH = shutil.which("bash")


def told(reading: CommandReading) -> dict[str, object]:
    return {"parts": [list(words) for words in reading.parts], "not_understood": reading.not_understood}


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
        ('grep "a\\|b\\w" "\\"\\$c\\\\"', [["grep", "a\\|b\\w", '"$c\\']]),
        ("find . \\( -name \\*.py \\) a\\ b \\;", [["find", ".", "(", "-name", "*.py", ")", "a b", ";"]]),
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
    assert told(read_command(text)) == {"parts": commands, "not_understood": None}


@pytest.mark.parametrize(
    "text",
    [
        "", " \n", ";", "; a", "a;;b", "a &&", "a |", "&& a", "a &", "a & b", "a |& b",
        "ls `rm -rf ~`", "echo $(rm -rf ~)", 'echo "$(rm x)"', 'echo "`rm x`"', "echo $HOME",
        'echo "a\\\nb"', 'echo "a\\`b"', 'echo "\\\\$(rm x)"',
        "echo ${x}",
        "cat <<E\n$(rm x)\nE", "cat <<<x", "a > b", "a >> b", "a < b", "a <(b)", "a 3>/dev/null", "a >/dev/null2",
        "a 2>&12", "a >& b", "(a)", "{ a; }", "a() { b; }", "a {b,c}", "a *", "a ?", "a [b]", "a ~", "a b=~/c", "~/a",
        "# a", "a # b", "a \\\n b", "a\\b", "\\rm a", "a\\", "a \\'b'", "a 'b", 'a "b', "! a", "a !b", "=a", "a =b",
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
    assert str(read_command(text).not_understood or "")


@pytest.mark.parametrize(
    ("text", "code", "values"),
    [
        ("ls `rm x`", "shell_substitution", {"mark": "`"}),
        ('ls "$(rm x)"', "shell_substitution", {"mark": "$("}),
        ("ls <(rm x)", "shell_substitution", {"mark": "<("}),
        ("ls $HOME", "shell_expansion", {"mark": "$"}),
        ('ls "a\\`b"', "shell_escape", {"mark": "\\"}),
        ('ls "\\\\$(rm x)"', "shell_substitution", {"mark": "$("}),
        ("ls > a", "shell_redirection", {"mark": ">"}),
        ("cat <<E", "shell_redirection", {"mark": "<"}),
        ("ls &", "shell_background", {}),
        ("(ls)", "shell_subshell", {"mark": "("}),
        ("ls *.py", "shell_pattern", {"mark": "*"}),
        ("ls {a,b}", "shell_brace", {"mark": "{"}),
        ("ls ~/x", "shell_home", {"mark": "~"}),
        ("ls # x", "shell_comment", {"mark": "#"}),
        ('ls "a!b"', "shell_history", {"mark": "!"}),
        ("ls 'a", "shell_quote", {}),
        ("ls 'a\u202eb'", "shell_character", {"mark": "\\u202e"}),
        ("ls &&", "shell_no_command", {}),
        ("ls;\n>/dev/null", "shell_no_command", {}),
        ("X=1 ls", "shell_assignment", {"word": "X=1"}),
        ("if ls", "shell_own_word", {"program": "if"}),
        ("ls; /usr/bin/sudo rm x", "shell_wrapper", {"program": "sudo"}),
        ("timeout rm", "shell_wrapper", {"program": "timeout"}),
        ("timeout 5", "shell_wrapper", {"program": "timeout"}),
        ("time", "shell_wrapper", {"program": "time"}),
        ("bash a.sh", "shell_wrapper", {"program": "bash"}),
        ("docker run x", "shell_wrapper", {"program": "docker"}),
        ("docker-compose exec x rm", "shell_wrapper", {"program": "docker-compose"}),
        ("docker container exec x rm", "shell_wrapper", {"program": "docker"}),
        ("npx mypy --python-executable x", "shell_option", {"program": "mypy", "word": "--python-executable"}),
        ("docker compose exec x rm", "shell_wrapper", {"program": "docker"}),
        ("env -i ls", "shell_option", {"program": "env", "word": "-i"}),
        ("find . -exec rm x", "shell_option", {"program": "find", "word": "-exec"}),
        ("git -c core.pager=x log", "shell_option", {"program": "git", "word": "-c"}),
        ("git fetch --upload-pa=x", "shell_option", {"program": "git", "word": "--upload-pa=x"}),
        ("git -C a grep -nOx b", "shell_option", {"program": "git", "word": "-nOx"}),
        ("git --no-pager bisect run rm", "shell_option", {"program": "git", "word": "bisect"}),
        ("kubectl -n x exec pod rm", "shell_option", {"program": "kubectl", "word": "exec"}),
        ("sort --compress-prog=x a", "shell_option", {"program": "sort", "word": "--compress-prog=x"}),
        ("rg --pre x a", "shell_option", {"program": "rg", "word": "--pre"}),
        ("go test -exec=x a", "shell_option", {"program": "go", "word": "-exec=x"}),
        ("sed -f a b", "shell_option", {"program": "sed", "word": "-f"}),
        ("sed '1e rm x' a", "shell_program_text", {"program": "sed", "word": "1e rm x"}),
        ("sed -n -e p -e 's/a/b/w c' a", "shell_program_text", {"program": "sed", "word": "s/a/b/w c"}),
        ("sed --expression='w c' a", "shell_program_text", {"program": "sed", "word": "w c"}),
        ("awk '{system(\"rm x\")}' a", "shell_program_text", {"program": "awk", "word": '{system("rm x")}'}),
        ("awk -F, '{print > \"b\"}' a", "shell_program_text", {"program": "awk", "word": '{print > "b"}'}),
        ("awk -v x=1 -i y '{print}' a", "shell_option", {"program": "awk", "word": "-i"}),
        ("npm test --script-she=x", "shell_option", {"program": "npm", "word": "--script-she=x"}),
        ("test -v 'a[$(rm x)]'", "shell_arithmetic", {"program": "test", "word": "-v"}),
        ("printf %d 'a[$(rm x)]'", "shell_arithmetic", {"program": "printf", "word": "%d"}),
        ("exit 'a[$(rm x)]'", "shell_arithmetic", {"program": "exit", "word": "a[$(rm x)]"}),
        ("time time time time time ls", "shell_nested", {"limit": 4}),
        ("x" * 70_000, "shell_too_long", {"limit": 65536}),
        ("ls;" * 501, "shell_too_many_parts", {"limit": 500}),
        ("ls " + "a " * 5000, "shell_too_many", {"limit": 5000}),
        (["ls", *["a"] * 5000], "shell_too_many", {"limit": 5000}),
        (["ls", "a" * 70_000], "shell_too_long", {"limit": 65536}),
        (7, "shell_not_text", {}),
        ([], "shell_not_text", {}),
        (["ls", 7], "shell_not_text", {}),
        (["ls", "a\x1b[2K"], "shell_character", {"mark": "\\x1b"}),
        (["bash", "-c", "ls; (rm x)"], "shell_subshell", {"mark": "("}),
        (["bash", "a.sh"], "shell_wrapper", {"program": "bash"}),
        (["sudo", "rm"], "shell_wrapper", {"program": "sudo"}),
        (["a" * 90 + "=1"], "shell_assignment", {"word": "a" * 80 + "…"}),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_told_by_a_code_and_values(text: object, code: str, values: object) -> None:
    reading = read_command(text)

    assert reading.not_understood is not None
    assert (reading.not_understood.code, reading.not_understood.values) == (code, values)
    record = told_command({"command": text}, max_bytes=4096)
    assert record is not None
    assert record.not_understood is not None
    assert record.not_understood.text == str(reading.not_understood)


@pytest.mark.parametrize(
    "text",
    [
        "sed -n 1,20p a", "sed -n '/a[b]x/,$p;5q' a", "sed 's/a b/c\\/d/g; s|x|y|I' a", "sed -ne p -e 2d a",
        "sed -i.bak 3d a", "sed --quiet '$!d' a",
        "awk 'NR>10 || NF {if ($1 >= 2) print $1}' a", "awk -F: -v x=1 -F , '{print}' a", "awk",
        "docker compose -f a -p b ps", "test -f a", "printf '%s: %5s\\n' a b", "exit 1", "exit",
        "docker", "docker --version",
        "docker logs -f x", "docker compose ps", "docker compose", "docker volume ls",
        "docker-compose logs x", "npx mypy a", "git", "git -C a --no-pager log -c", "git grep -n a",
        "go test -run x ./...",
        "find . -name a -type f", "sort -k2 -r a", "python -m pytest -q", "python -m", "printf", "command -v git",
    ],
)  # fmt: skip
def test_what_only_looks_is_one_command(text: str) -> None:
    reading = read_command(text)

    assert reading.not_understood is None
    assert len(reading.parts) == 1


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["git", "status", "a; b", "$(c)", "*"], [["git", "status", "a; b", "$(c)", "*"]]),
        (["bash", "-lc", "git status && ls 'a b'"], [["git", "status"], ["ls", "a b"]]),
        (["/bin/sh", "-c", "timeout 5 ls"], [["timeout", "5", "ls"], ["ls"]]),
        (["timeout", "5", "bash", "-c", "a; b"],
         [["timeout", "5", "bash", "-c", "a; b"], ["bash", "-c", "a; b"], ["a"], ["b"]]),
    ],
)  # fmt: skip
def test_list_of_words_is_run_without_a_shell_unless_it_is_one(argv: list[str], parts: list[list[str]]) -> None:
    assert told(read_command(argv)) == {"parts": parts, "not_understood": None}


@pytest.mark.parametrize("name", ["command", "cmd", "script", "argv"])
def test_each_parameter_that_holds_a_command_says_the_same(name: str) -> None:
    text, words = read_call({name: "git status"}), read_call({name: ["git", "status"], "timeout": 5})

    assert text is not None
    assert words is not None
    assert text.parts == words.parts == (("git", "status"),)


@pytest.mark.parametrize(
    ("beside", "name"),
    [
        ({"args": ["rm", "a b"]}, "args"),
        ({"args": "rm"}, "args"),
        ({"args": {"a": ["rm", 7]}}, "args"),
        ({"shell": 7}, "shell"),
        ({"args": ["status"], "env": {"PATH": "."}}, "args"),
        ({"env": {"PATH": "."}}, "env"),
        ({"shell": "evil"}, "shell"),
        ({"cmd": "rm"}, "cmd"),
    ],
)
def test_parameter_that_changes_what_runs_is_not_understood_and_seen_in_the_text(
    beside: dict[str, object], name: str
) -> None:
    reading = read_call({"command": "git", **beside})

    assert reading is not None
    assert reading.not_understood is not None
    assert (reading.not_understood.code, reading.not_understood.values) == ("shell_parameter", {"name": name})
    assert "rm" in reading.text or name != "args" or "env" in beside


@pytest.mark.parametrize("shell", [True, "bash", "/bin/zsh", None, False])
def test_usual_shell_and_plain_arguments_change_nothing(shell: object) -> None:
    reading = read_call({"command": "git", "args": ["status", "-s"], "shell": shell})

    assert reading is not None
    assert told(reading) == {"parts": [["git", "status", "-s"]], "not_understood": None}


def test_what_is_nested_deeply_is_not_understood() -> None:
    nested: list[object] = ["rm"]
    for _ in range(10_000):
        nested = [nested]

    assert read_command(nested).text == "rm"
    assert read_command(nested).not_understood is not None


def test_parts_of_what_is_not_understood_are_told_as_far_as_they_are_known() -> None:
    reading = read_command("ls; sudo rm x; timeout 5 a; doas b")

    assert [words[0] for words in reading.parts] == ["ls", "sudo", "timeout", "a", "doas"]
    assert str(reading.not_understood) == "sudo runs what it is given"


def test_reading_takes_time_in_proportion() -> None:
    """Each of them holds as much of one mark as is read at all."""
    for text in ("a " * 30_000, "'a'" * 20_000, "a;" * 30_000, "a |\n" * 15_000, '"' * 60_000, "2>&1 " * 12_000,
                 "sed '" + "s/" * 30_000 + "'", "sed '" + "1,p;" * 15_000 + "!'", "sed '/" + "[" * 60_000 + "'",
                 "time " * 12_000 + "a"):  # fmt: skip
        started = time.process_time()
        read_command(text)

        assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "text",
    [
        "timeout -k 1 -s KILL 5s a 'b c'", "timeout --preserve-status --kill-after=1 9 a", "nice -5 a -n",
        "nice -n 5 a b", "nice a", "env a b=c", "stdbuf -oL -e0 a", "time a b", "command a",
        "bash -c 'a \"b c\"; a'", "sh -c 'nice a'",
    ],
)  # fmt: skip
def test_wrappers_run_what_was_read(text: str, tmp_path: Path) -> None:
    wrapper = text.split()[0]
    if BASH is None or (shutil.which(wrapper) is None and wrapper not in ("command", "time")):
        pytest.skip("bash or the wrapper is not installed")
    recorder = tmp_path / "a"
    recorder.write_text('#!/bin/sh\nprintf "%s\\0" "$@" "\n"\n')
    recorder.chmod(0o755)

    run = subprocess.run(
        [BASH, "--norc", "-c", text], env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, check=True, capture_output=True
    )

    told = ["".join(f"{word}\0" for word in words[1:]) for words in read_command(text).parts if words[0] == "a"]
    assert run.stdout.decode() == "".join(f"{words}\n\0" for words in told)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"command": "git push origin main"}, {"command": "git push origin other"}),
        ({"command": "git status"}, {"command": "git  status 2>/dev/null"}),
        ({"command": "rm a", "description": "x"}, {"command": "rm a", "description": "y", "timeout": 5}),
        ({"command": "mkfifo first"}, {"command": "mkfifo second"}),
        ({"argv": ["rm", "a"]}, {"argv": ["rm", "b"]}),
        ({"argv": ["git", "push", "a"]}, {"cmd": "git push b"}),
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
        ("/usr/bin/git status", "/usr/bin/git push"),
        ("sort -o a b", "sort -o b a"),
        ("find . -delete", "find / -delete"),
        ("timeout 5 ls", "timeout 5 rm"),
        ("docker ps", "docker rm a"),
    ],
)
def test_decision_about_one_command_covers_no_other(one: str, other: str) -> None:
    assert command_use({"command": one}) != command_use({"command": other})
    assert command_use({"command": one}) != command_use({"command": one, "sandbox": False})
    assert command_use({"command": one}) != command_use({"command": one, "script": other})


def test_call_without_a_command_is_no_use_of_one() -> None:
    assert command_use({"path": "a", "commands": "b"}) is None


@pytest.mark.parametrize("beside", [{"shell": "/bin/sh"}, {"shell": True, "env": {}}, {"args": [], "stdin": ""}])
def test_what_changes_nothing_beside_a_command_is_passed_over(beside: dict[str, object]) -> None:
    assert read_call({"command": "ls -l", "timeout": 5, **beside}) == read_command("ls -l")
