"""Whatever rules about commands allow is run by real shells, in which every program is a recorder.

``SHELL_CASES`` and ``SHELL_SEED`` make more cases, and others.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from notifier_service.core.policy.command_pattern import matches_command
from notifier_service.core.policy.shell import read_command

CASES = int(os.environ.get("SHELL_CASES", "6000"))
SEED = int(os.environ.get("SHELL_SEED", "1"))

#: What the rules allow, and by how many first words it is known.
RULES = {
    "ls *": 1, "cat *": 1, "echo *": 1, "git status *": 2, "git log *": 2, "cd sub": 2, "find *": 1, "sort *": 1,
    "test *": 1, "printf *": 1, "true": 1, "sed -n *": 2, "time *": 1, "bash -c *": 2, "sh -c *": 2, "command *": 1,
}  # fmt: skip
#: With these words programs that look write, delete or run.
HARMFUL = {
    "find": {"-delete", "-exec", "-ok", "-fprintf"},
    "git": {"--exec-path=.", "--output=w", "--outp"},
    "sed": {"-i", "-f"},
    "sort": {"-o", "-uow", "--outp=w", "--compress-prog=evil"},
    "test": {"-v", "-eq"},
}
_WITHOUT_SETTINGS = {"bash": "--norc", "zsh": "-f"}
_ENVIRONMENT = {"PATH": "/nowhere", "HOME": "/nowhere", "LC_ALL": "C.UTF-8"}
NAMED = {tuple(rule.removesuffix(" *").split()) for rule in RULES}

_ALLOWED = (
    "ls", "ls -la sub", "cat a", "cat 'a b'", 'echo "a b"', "git status", "git log -1 --format=%H", "true", "cd sub",
    "echo 'it costs $5 `rm x`; > y'", "find . -name a", "sort -u a", "test -f a", "printf '%s\\n' a", "sed -n 1,2p a",
    "time ls", "bash -c 'ls; cat a'", "sh -c \"echo a\"", "command -v ls", "command echo a",
)  # fmt: skip
_EVIL = (
    "rm -rf x", "evil", "./evil", "touch w", "git push", "git -c alias.x='!evil' x", "curl x", "/bin/rm x", "b",
    "\\rm x", "r''m x", "find . -delete", "sort -o w a", "find . -exec evil '{}' +", "sed -n w w a",
    "sed -n '1e evil' a", "git log --output=w", "git log --outp w", "sort --outp=w a", "sort -uow a",
    "sort --compress-prog=evil a", "git --exec-path=. status", "test -v 'a[$(evil)]'", "printf -v PATH .",
    "test 'a[$(evil)]' -eq 0", "xargs rm", "export PATH=.", "hash -p ./evil ls", "alias ls=evil", "unset PATH",
    "set -x", "read PATH", "trap evil EXIT", "eval 'rm x'", "exec evil", ". ./evil", "source ./evil", "sudo rm",
    "env evil", "nohup evil", "bash evil", "bash -c evil", "command evil", "builtin echo x", "time evil",
    "time -p evil", "coproc evil", "let 'PATH=1'", "mapfile -C evil x", "compgen -C evil", "jobs -x evil",
    "enable -f ./evil ls", "bind -x evil", "declare -x PATH=.", "wait -p PATH",
)  # fmt: skip
#: Every trick known: ``{c}`` is allowed, ``{e}`` is not, ``{w}`` is a word.
_TRICKS = (
    "{c}; {e}", "{c} && {e}", "{c} || {e}", "{c} | {e}", "{c} |& {e}", "{c} & {e}", "{c}\n{e}", "{c}\r{e}",
    "{c}\r\n{e}", "{c} `{e}`", "{c} $({e})", '{c} "$({e})"', '{c} "`{e}`"', "{c} <({e})", "{c} >({e})",
    "{c} ${{x:-$({e})}}", "{c} $[{e}]", "{c} $(( a[$({e})] ))", "{c} <<E\n$({e})\nE", "{c} <<'E'\n$({e})\nE",
    "{c} <<-E\n`{e}`\nE", '{c} <<<"$({e})"', "{c} <<< x", "{c} > w", "{c} >> w", "{c} >| w", "{c} <> w", "{c} &> w",
    "{c} &>> w", "{c} >& w", "{c} 2> w", "{c} 2>w", "{c} {{fd}}> w", "{c} 9> w", "{c} >&9", "{c} 1>&2",
    "{c} > /dev/null", "{c} 2>/dev/null", "{c} 2>&1", "{c} &>/dev/null", "{c} >/dev/null w", "{c} >/dev/null2",
    "{c} >/dev/null/../../w", "{c} > '/dev/null'", "{c} </dev/null", "> w {c}", ">/dev/null {c}", ">/dev/null", "2>&1",
    "2>&1 {e}", "time {c}", "time {e}", "! {c}", "! {e}", "time ! {e}", "coproc {e}", "coproc x {{ {e}; }}",
    "f() {{ {e}; }}; f", "function f {{ {e}; }}; f", "ls() {{ {e}; }}; ls", "alias ls='{e}'; ls",
    "shopt -s expand_aliases; alias ls='{e}'\nls", "{{ {e}; }}", "({e})", "(( {e} ))", "[[ -n $({e}) ]]", "[ -n x ]",
    "if true; then {e}; fi", "while true; do {e}; break; done", "for x in a; do {e}; done", "case a in a) {e};; esac",
    "case a in a) {e};& esac", "until {e}; do true; done", "select x in a; do {e}; done", "{c} {{a,b}}", "{{ls,-l}}",
    "{{evil,}}", "{c} a{{1..3}}", "X=1 {c}", "PATH=. {c}", "PATH=.; {c}", "LD_PRELOAD=./evil {c}", "IFS=s; {c}",
    "IFS=x {e}", "X=$({e})", "X=1", "X+=1 {c}", "a[$({e})]=1 {c}", "{c} $'a\\x3b{e}'", "$'evil'", '$"evil"', "{c} ~",
    "~/evil", "{c} ~+/x", "{c} a:~", "{c} *", "{c} ?", "{c} [a-z]", "{c} -*", "./*", "*", "e*", "{c} !(a)",
    "{c} @({e})", "{c} +(x)", "{c}\x0b{e}", "{c}\x0c{e}", "{c}\u00a0{e}", "{c}\u2003{e}", "{c}\u2028{e}",
    "{c}\u3000;{e}", "{c}\u037e{e}", "{c}\uff1b{e}", "{c}\\\n{e}", "{c} \\\n {w}", "{c} \\; {e}", "{c} \\",
    "{c} # {e}", "{c} #\n{e}", "# {c}\n{e}", "{c}#{e}", "!!", "!evil", "{c} !{w}", "^a^evil", "{c};;{e}", "{c};&{e}",
    ";{c}", "{c};", "{c}&", "&& {e}", "{c} &&\n{e}", "{c}\n&& {e}", "{c} |\n\n{e}", "{c} -- {w}", "{c} -", "{c} --",
    "- {e}", "-- {e}", "{c} 'a\n{e}'", "{c} 'a'\n{e}", '{c} "a\n{e}"', "{c} 'a''b'", "{c} 'a\"b' \"c'd\"; {e}",
    "{c} \\( {w} \\)", "{c} a\\ b", "{c} \\*", "{c}\\;{e}", "{c} \\;{e}", "{c} \\|{e}", "{c} \\{e}", "\\( {e} \\)",
    "{c}\\ {e}",
    '{c} "a\\wb" "\\$(evil)" "\\\\" "\\"; {e} \\""', '{c} "\\\\$({e})"', '{c} "\\`{e}`"', '{c} "a\\\n;{e}"',
    "{c} \"a\\\"; {e}; \\\"\"", "{c} 'a\\'; {e} #'", "'{c}'", '"{e}"', "'ls' a", "l's' a", "ev'il'", "\\ls", "l\\s",
    "ls\\ a", "%1", "=ls", "{c} =ls", "{c} a=~/x", "{c} @{{u}}", "{c} HEAD~1 HEAD^ :x %a ,b +c", "{c} ^a",
    "bash -c '{e}'", 'bash -c "{e}"', "bash -c '{c}'", 'bash -c "{c}"', "sh -c '{e}; {c}'",
    "bash -c \"bash -c '{e}'\"", "bash -c '{c}' {e}", "bash -c 'ls $0' '{e}'", "bash -ic '{c}'", "bash -c -- '{e}'",
    "bash -lc '{e}'", "command {e}", "command -p {e}", "command -v {w}; {e}", "find . -exec {e} ';'",
    "find . -ok {e} ';'", "find . -name '*' -delete", "find . -fprintf w x", "sed -n '1e {e}' a",
    "sed -n 's/a/evil/e' a", "sed -n 's/a/b/w w' a", "sed -n -i p a", "sed -n -e p -e '1w w' a", "sed -n '$p;1,3p' a",
    "sed -n --expression='w w' a", "sed -n -f evil a", "{c} a\x00{e}", "{c} \x1b[2K{e}", "{c} '\u202e{e}'",
    "\ufeff{c}", "\ufeff{e}", "{c} \u00e0{e}", "{c} \u0430", "{e}", "{c}", "{c}", "{c} {w}", "{c}\n>/dev/null",
    "{c}; </dev/null", "{c}; {c}", "{c} && {c}", "{c} || {c}", "{c} | {c}", "{c}\n{c}", "{c} 2>&1 | {c}",
    "{c} 2>/dev/null; {c} >/dev/null",
)  # fmt: skip
_WORDS = ("a", "-x", "'a b'", '"c d"', "w", "evil", "--y=z", "''", "./evil", "-rf", "sub/", "a,b", "x:y")
_MARKS = " \t\n;|&<>(){}[]$`'\"\\!*?~#=%^-+:,./@0129aelrsw\r\x0b\u00a0"


def _made(chance: random.Random, depth: int = 0) -> str:
    def inner() -> str:
        if depth < 2 and chance.random() < 0.25:
            return _made(chance, depth + 1)
        return chance.choice(_ALLOWED)

    text = chance.choice(_TRICKS if chance.random() < 0.7 else _TRICKS[-10:]).format(
        c=inner(), e=chance.choice(_EVIL), w=chance.choice(_WORDS)
    )
    if depth == 0 and chance.random() < 0.4:  # and as nobody would write it
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(text) + 1)
            text = text[:at] + chance.choice(("", chance.choice(_MARKS))) + text[at + chance.randint(0, 1) :]
    return text


def _allowed_cases() -> Iterator[tuple[str, frozenset[str]]]:
    chance = random.Random(SEED)
    for _ in range(CASES):
        text = _made(chance)
        reading = read_command(text)
        if reading.not_understood is None and all(
            any(matches_command(rule, words) for rule in RULES) for words in reading.parts
        ):
            yield text, frozenset("".join(f"{word}\0" for word in words) for words in reading.parts)


#: Functions stand in the place of builtins, and what is not found is recorded. A shell within is run as it would be,
#: and so are the builtins that calculate. Who writes line by line may be interrupted by the rest of its pipeline.
_DRIVER = r"""
line_end=$'\n' in_its_place=$'\3'
record() { builtin printf '%s\0' "${@//$line_end/$in_its_place}" $'\2' >&9; }
command_not_found_handle() { record "$@"; case "$1 $2" in 'bash -c'|'sh -c') builtin eval "$3";; esac; }
command_not_found_handler() { command_not_found_handle "$@"; }
for name in @BUILTINS@; do builtin eval "function $name { record $name \"\$@\"; }"; done
test() { record test "$@"; builtin test "$@"; }
printf() { record printf "$@"; builtin printf "$@"; }
while IFS= builtin read -r -d '' text <&3; do
  builtin printf '\1' >&9
  ( builtin eval "$text" 3<&- ) </dev/null >/dev/null 2>&1
done
"""
_START = 'exec "$0" "$1" -c "$2" 9>"$3" 3<&0 </dev/null'
_BUILTINS = """
. : alias bg bind cd command compgen complete declare dirs disown echo enable eval exec exit export false fc fg
getopts hash help history jobs kill let local logout mapfile popd pushd pwd read readarray readonly return set shift
shopt source suspend times trap true type typeset ulimit umask unalias unset wait
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the commands run: with files whose names are options and programs."""
    folder = tmp_path / "work"
    (folder / "sub").mkdir(parents=True)
    for name in ("a", "a b", "-rf", "-delete"):
        (folder / name).write_text("x\n")
    (folder / "evil").write_text("#!/bin/sh\nprintf 'evil\\0\\n\\0' >&9\n")
    (folder / "evil").chmod(0o755)
    return folder


def _check_all_are_named(case: tuple[str, frozenset[str]], record: str) -> int:
    """Hold the programs that ran against the rules, and against what was read; how many ran."""
    text, told = case
    calls = [call.replace("\3", "\n") for call in record.split("\2\0") if call]
    for call in calls:
        words = tuple(call.split("\0")[:-1])
        assert any(words[: len(named)] == named for named in NAMED), (text, words)
        assert HARMFUL.get(words[0], set()).isdisjoint(words), (text, words)
        assert call in told, (text, words)
    return len(calls)


def _files(folder: Path) -> list[tuple[str, bytes]]:
    return sorted((entry.name, entry.read_bytes()) for entry in folder.iterdir() if entry.is_file())


@pytest.mark.timeout(max(60, CASES // 50))
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_nothing_runs_that_no_rule_named(shell: str, folder: Path) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    cases = list(_allowed_cases())
    before = _files(folder)
    texts = folder.parent / "texts"
    texts.write_bytes("".join(f"{text}\0" for text, _ in cases).encode())
    record = folder.parent / "record"
    driver = _DRIVER.replace(
        "@BUILTINS@", " ".join(name for name in _BUILTINS.split() if shell == "bash" or name not in ".:")
    )
    with texts.open("rb") as given:
        subprocess.run(
            ["/bin/sh", "-c", _START, path, _WITHOUT_SETTINGS[shell], driver, record],
            cwd=folder, stdin=given, check=False, timeout=max(50, CASES // 50), env=_ENVIRONMENT,
        )  # fmt: skip
    runs = record.read_bytes().decode().split("\1")[1:]

    assert len(runs) == len(cases)
    assert len(cases) > CASES / 6
    assert sum(map(_check_all_are_named, cases, runs)) > len(cases) / 2
    assert _files(folder) == before


@pytest.mark.timeout(max(60, CASES // 50))
@pytest.mark.parametrize("shell", ["bash", "dash", "ksh", "mksh", "yash"])
def test_nothing_evil_runs_where_the_programs_that_look_are_real(shell: str, folder: Path) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    programs = folder.parent / "programs"
    programs.mkdir()
    recorder = programs / "recorder"
    recorder.write_text('#!/bin/sh\nprintf "%s\\0" "${0##*/}" "$@" "\2" >&9\n')
    recorder.chmod(0o755)
    real = {"find": shutil.which("find"), "sed": shutil.which("sed"), "sort": shutil.which("sort")}
    for name in {text.split()[0] for text in (*_EVIL, *_ALLOWED)} - set(_BUILTINS.split()):
        if name.isalpha():
            (programs / name).symlink_to(real.get(name) or recorder)
    before = _files(folder)
    cases = list(_allowed_cases())[: max(100, CASES // 60)]
    ran = 0
    for case in cases:
        run = subprocess.run(
            ["/bin/sh", "-c", 'exec 9>&1 >/dev/null 2>&1; exec "$0" -c "$1"', path, case[0]],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False, timeout=10,
            env={**_ENVIRONMENT, "PATH": str(programs)},
        )  # fmt: skip
        ran += _check_all_are_named(case, run.stdout.decode())

    assert ran > len(cases) / 4
    assert _files(folder) == before
