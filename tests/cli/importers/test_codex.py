"""Rules of Codex."""

from __future__ import annotations

from contextlib import suppress

import pytest

from notifier_service.core.errors import InvalidInput
from tests.cli.importers.judging import Imported

RULES = """
# What may run
GIT = ["git"]
prefix_rule(pattern=GIT + [["status", "diff"]])
prefix_rule(pattern=["git", "push"], decision="prompt", justification="it is seen by others")
prefix_rule(["rm"], "forbidden", justification="use trash", match=["rm x", ["rm", "-rf", "a b"]], not_match=["rmdir x"])
prefix_rule(pattern=["say", "it's"], decision="forbidden")
prefix_rule(pattern=["echo", "a b"])
host_executable(name="git", paths=["/usr/bin/git"])
network_rule(host="example.com", protocol="https", decision="deny")
"""


@pytest.mark.parametrize(
    ("command", "effect"),
    [
        ("git status", "allow"),
        ("git diff a b", "allow"),
        ("git log", "ask"),
        ("git push", "ask"),
        ("git status && git push", "ask"),
        ("git status && rm x", "deny"),
        ("rm -rf x", "deny"),
        ("/bin/rm x", "deny"),
        ("/usr/bin/git status", "ask"),
        ("echo 'a b' c", "allow"),
        ("echo a b", "ask"),
        ('say "it\'s"', "deny"),
        ("ls", "ask"),
    ],
)
@pytest.mark.parametrize("tool", ["Bash", "shell"])
def test_strictest_of_the_prefixes_decides(tool: str, command: str, effect: str) -> None:
    assert Imported("codex", RULES).effect(tool, command=command) == effect


def test_words_of_a_call_are_judged_as_the_text_is() -> None:
    imported = Imported("codex", RULES)

    assert imported.effect("shell", command=["git", "status"]) == "allow"
    assert imported.effect("shell", command=["rm", "-rf", "x"]) == "deny"


def test_justification_is_carried_over() -> None:
    rules = Imported("codex", RULES).policy.rules

    assert {rule.justification for rule in rules} == {None, "it is seen by others", "use trash"}


def test_what_cannot_be_said_here_is_told() -> None:
    remarks = "\n".join(Imported("codex", RULES).remarks)

    assert "host_executable git" in remarks
    assert "network_rule example.com" in remarks


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('prefix_rule(pattern=["git"]', "line 1: no Starlark"),
        ("for name in []: pass", "line 1: what it does is not known"),
        ('\ndef rules():\n    prefix_rule(pattern=["rm"], decision="forbidden")\nrules()', "line 2: what it does"),
        ('[prefix_rule(pattern=[name]) for name in ["a"]]', "line 1: what it does is not known"),
        ('load("other.rules", "x")', "line 1: what it does is not known"),
        ('__import__("os").system("touch /tmp/x")', "line 1: what it does is not known"),
        ("prefix_rule(pattern=names)", "line 1: a value is not literal"),
        ('prefix_rule(pattern=["a" for _ in []])', "line 1: a value is not literal"),
        ("prefix_rule(pattern=[])", "line 1: pattern: a list of words is needed"),
        ('prefix_rule(pattern="git status")', "line 1: pattern: a list of words is needed, not a text"),
        ('prefix_rule(pattern=["git", []])', "alternatives is empty"),
        ('prefix_rule(pattern=["git", 1])', "a list of texts is needed, not a number"),
        ('prefix_rule(pattern=["git"], decision="maybe")', "decision is none of"),
        ('prefix_rule(pattern=["git"], bogus=1)', "takes no bogus"),
        ('prefix_rule(**{"pattern": ["git"]})', "takes no"),
        ('prefix_rule(pattern=["git"], justification="")', "justification is no text"),
        ('prefix_rule(pattern=["git"], match=["hg x"])', "match: hg x fails"),
        ('prefix_rule(pattern=["git"], not_match=["git x"])', "not_match: git x fails"),
        ('prefix_rule(pattern=["git"], match="git x")', "a list of commands is needed, not a text"),
        ("x = " + "(" * 10_000, "no Starlark"),
        ("\0", "no Starlark"),
        ("x = " + "-" * 100_000 + "1", "no Starlark: it is nested too deeply"),
        ("x = ['a']" + " + ['a']" * 50_000, "no Starlark"),
        (f"prefix_rule(pattern=[{', '.join(['[' + repr(['a'] * 20)[1:-1] + ']'] * 4)}])", "more than 256 prefixes"),
    ],
)
def test_what_is_no_literal_call_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        Imported("codex", text)


@pytest.mark.parametrize("count", [400, 800, 900, 950, 980, 1000, 2000])
def test_deep_sum_is_read_or_refused(count: int) -> None:
    text = "x = ['a']" + " + ['a']" * count + "\nprefix_rule(pattern=['ls'])\n"
    effect = "refused"
    with suppress(InvalidInput):
        effect = Imported("codex", text).effect("Bash", command="ls")

    assert effect in ("allow", "refused")
