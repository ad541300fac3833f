"""A rule's pattern names commands word by word; where it denies, it errs to holding back."""

from __future__ import annotations

import time

import pytest

from notifier_service.core.policy.clues import usable
from notifier_service.core.policy.command_pattern import CommandPattern, matches_command, mentions, words_held_back
from notifier_service.core.policy.policy import Policy
from notifier_service.core.policy.shell import read_command
from notifier_service.core.policy.verdict import AskedTool, Call


@pytest.mark.parametrize(
    ("pattern", "command"),
    [
        ("git status", "git status"),
        ("git  status", "'git' \"status\""),
        ("git status *", "git status"),
        ("git status *", "git status -s --branch 'a b'"),
        ("git *", "git"),
        ("*", "git status"),
        ("ls src/*.py", "ls src/a.py"),
        ("ls src/*", "ls src/a/b"),
        ("npm run test:*", "npm run test:unit"),
        ("tail -?", "tail -5"),
        ("head -[0-9]", "head -5"),
        ("cat * *", "cat a -n"),
        ("git tag ?*", "git tag v1"),
        ("git commit -m 'a *'", "git commit -m 'a *'"),
        ("awk '{print $'?'}' *", "awk '{print $1}' a"),
        ("find * -delete", "find . -delete"),
        ("sort --output=* *", "sort --output=a b"),
        ("sed -i *", "sed -i s/a/b/ a"),
        ("python3 -m pytest *", "python3 -m pytest -q -x tests"),
        ("pytest --cov-report=term* *", "pytest --cov-report=term-missing tests"),
        ("python -m pytest ?* --cov-report=term*", "python -m pytest a --cov-report=term"),
        ("pytest *", "pytest --cov=src"),
        ("npx eslint *", "npx eslint src --ext .ts"),
        ('echo "a b" *', "echo 'a b' c"),
    ],
)
def test_pattern_names_a_command(pattern: str, command: str) -> None:
    assert all(matches_command(pattern, words) for words in read_command(command).parts)


@pytest.mark.parametrize(
    ("pattern", "command"),
    [
        ("git status", "git status -s"),
        ("git status *", "git"),
        ("git status *", "git -C a status"),
        ("git status *", "/usr/bin/git status"),
        ("git status *", "./git status"),
        ("git status *", "GIT status"),
        ("git status *", "git statusx"),
        ("git status *", "'git status'"),
        ("git st*", "git stash drop"),
        ("cat a*", "cat a b"),
        ("cat *.py *", "cat -n a.py"),
        ("cat * b", "cat -n b"),
        ("cd /srv/app/*", "cd /srv/app/../../etc"),
        ("cd ?*", "cd .."),
        ("ls 'src/*'", "ls src/a"),
        ("find *", "find . -delete"),
        ("find * *", "find . -fprint a"),
        ("sort *", "sort -uo a b"),
        ("sort -* *", "sort -o a"),
        ("sort --*", "sort --outp=a"),
        ("sort -u -o a", "sort -o -o a"),
        ("git log *", "git log --output=a"),
        ("sed -n *", "sed -n -i p a"),
        ("python3 -m pytest *", "python3 -m pytest --basetemp=a"),
        ("curl *", "curl -so a b"),
        ("npx eslint *", "npx eslint --fix a"),
        ("uv run python -m pytest *", "uv run python -m pytest --basetemp=a"),
        ("pytest --cov-report=term *", "pytest --cov-report=term --cov-report=html:a"),
        ("git -* log *", "git -P log --output=a"),
        ("go test *", "go test -coverprofile=a b"),
    ],
)
def test_pattern_does_not_name_a_command(pattern: str, command: str) -> None:
    assert not any(matches_command(pattern, words) for words in read_command(command).parts)


@pytest.mark.parametrize(
    "pattern", ["", " ", "a|b", "a; b", "a && b", "a > b", "a $x", "a `b`", "a\nb", "a (b)", "a 'b", "a \\b", "a ["]
)
def test_text_that_is_no_command_is_no_pattern_and_says_why(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        CommandPattern.of(pattern)


@pytest.mark.parametrize(
    ("pattern", "command"),
    [
        ("rm *", "rm a"),
        ("rm *", "rm"),
        ("rm *", "/bin/rm -rf a"),
        ("rm *", "RM a"),
        ("rm *", "ls; rm a"),
        ("rm *", "timeout 5 rm a"),
        ("rm *", "bash -c 'ls && nice rm a'"),
        ("rm *", "sudo rm a"),
        ("rm *", "xargs rm"),
        ("rm *", "find . -exec rm {} +"),
        ("rm *", "\\rm a"),
        ("rm *", "r''m a"),
        ("rm *", "r\\m a"),
        ("rm *", "r\\\nm a"),
        ("rm *", "$(rm a)"),
        ("rm *", "echo `rm a`"),
        ("rm *", "echo a;rm a"),
        ("rm *", "r$@m a"),
        ("rm *", "r${x}m a"),
        ("rm *", "{rm,a}"),
        ("rm *", "X=1 rm a"),
        ("rm *", "cat <<E\n$(rm a)\nE"),
        ("rm *", 'echo "$(/bin/rm a)"'),
        ("rm *", "python3 -c 'import os; os.system(\"rm a\")'"),
        ("rm -rf *", "rm -fr a"),
        ("rm -rf *", "rm a -r -v -f"),
        ("rm -rf *", "sudo rm a -r -f"),
        ("git push --force *", "git push origin --force"),
        ("git push --force *", "git -C a push origin --force"),
        ("git push --force *", "git push --forc origin"),
        ("git push * --force", "git push origin a --force"),
        ("git push *", "git -C a push"),
        ("git * push", "git a b push"),
        ("git push *", "(git push)"),
        ("* .env", "cat .env"),
        ("* *.env *", "head -n 5 src/a.env b"),
        ("curl *", "curl a | sh"),
        ("curl -o *", "curl -so a b"),
        ("kubectl delete --all=true *", "kubectl delete --all=true pods"),
    ],
)
def test_rule_that_holds_back_holds_for_every_form_of_a_command(pattern: str, command: str) -> None:
    reading = read_command(command)

    assert CommandPattern.of(pattern).holds_back(reading)
    names, texts = words_held_back(reading)
    for clue in usable(CommandPattern.of(pattern).clues(False)):
        assert any(clue.run in text for text in texts) if clue.run else not set(clue.names).isdisjoint(names)


@pytest.mark.parametrize(
    ("pattern", "command"),
    [
        ("rm *", "git commit -m 'rm a'"),
        ("rm *", "ls rm"),
        ("rm *", "sed -n '/rm /p' a"),
        ("rm *", "make rm"),
        ("rm *", "echo 'a; rm b'"),
        ("rm *", "$(rmdir a)"),
        ("rm -rf *", "rm -r a"),
        ("rm -rf *", "$(rm -r a)"),
        ("git push *", "git log --oneline push-it"),
        ("git push *", "git log push"),
        ("git push --force *", "git push -f"),
        ("git push --force *", "git push --fast"),
        ("git branch -D *", "git branch -d a"),
        ("git push", "git push origin"),
        ("git push a", "git push"),
        ("git push origin *", "(git push)"),
        ("curl *", "python3 a.py"),
    ],
)
def test_rule_that_holds_back_holds_for_no_other_command(pattern: str, command: str) -> None:
    assert not CommandPattern.of(pattern).holds_back(read_command(command))


def test_mention_is_found_whatever_stands_between_its_letters() -> None:
    assert mentions('echo a; r""m\u200b -rf x', "rm *")
    assert not mentions("echo a", "rm *")


def test_program_of_a_pattern_is_known_unless_it_is_several() -> None:
    assert CommandPattern.of("git status *").program == "git"
    assert CommandPattern.of("g* status").program is None


def test_comparing_takes_time_in_proportion() -> None:
    reading = read_command("a " * 30_000)
    broken = read_command("rm${" * 15_000 + " a" * 1000)
    pattern = CommandPattern.of("a " + "*a" * 200 + " * b* *")
    started = time.process_time()
    for words in reading.parts:
        pattern.allows(words)
    pattern.holds_back(reading)
    pattern.holds_back(broken)
    CommandPattern.of("* " + "*a" * 200).holds_back(read_command("b " + "a" * 60_000 + "b"))

    assert time.process_time() - started < 2


@pytest.mark.parametrize("text", ["`a` " + "a" * 200_000, "`a` " + "a " * 20_000])
def test_text_that_is_too_much_to_look_at_may_hold_any_word(text: str) -> None:
    reading = read_command(text)

    assert reading.not_understood is not None
    assert CommandPattern.of("rm *").holds_back(reading)
    assert not CommandPattern.of("rm *").holds_back(read_command("`a` a"))


def test_rules_that_hold_back_know_a_text_that_is_too_much_to_look_at() -> None:
    policy = Policy.loads('[[rule]]\nname = "no deleting"\neffect = "deny"\ncommand = ["rm *", "dd *"]', "policy.toml")
    call = Call(AskedTool("Bash"), "s1", "high", {"command": "`a` " + "a " * 200_000})

    assert policy.judge(call) is not None
