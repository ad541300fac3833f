"""A policy file is read strictly: what does not load says on which line, and why, in words that name the rule."""

from __future__ import annotations

import random
import re
import time
import tomllib
from typing import Any

import pytest

from notifier_service.core.errors import InvalidInput
from notifier_service.core.policy.policy import Policy
from notifier_service.core.policy.rules import read_policy
from notifier_service.core.policy.toml_lines import line_of, line_that_is_too_deep, lines_of
from notifier_service.core.policy.verdict import AskedTool, Call

GOOD = """\
# Comments count as lines.
default = "by-risk"
workspace = "/srv/app"

[risk.files]
"read_*" = "low"
"write_file" = "high"

[[rule]]
name = "read the workspace"
effect = "allow"
tool = ["read_file", "list_*"]
server = "filesystem"
session = "team-*"
agent = "claude-code"
risk = ["low", "medium"]
justification = '''reads
only'''
until = 2999-12-31T00:00:00Z
match = [
  { tool = "read_file", parameters = { path = "/srv/app/a.py", mode = "r", amount = 5 } },
]
not_match = [
  { tool = "read_file", parameters = { path = "/srv/app/../../etc/passwd", mode = "r", amount = 5 } },
  { tool = "read_file", parameters = { path = "/srv/app/a.py", mode = "r", amount = 101 } },
  { tool = "read_file", server = "other", parameters = { path = "/srv/app/a.py", mode = "r", amount = 5 } },
]
[rule.parameters]
"/path" = { glob = "/srv/app/**", regex = "[ -~]*" }
"/mode" = { equals = "r" }
"/amount".min = 0
"/amount".max = 100

[[rule]]
name = "look at the repository"
effect = "allow"
tool = "Bash"
command = ["git status *", "git diff *"]
match = [{ tool = "Bash", parameters = { command = "git status -s && git diff" } }]
not_match = [
  { tool = "Bash", parameters = { command = "git status; rm -rf x" } },
  { tool = "Bash", parameters = { command = "git status $(rm -rf x)" } },
]

[[rule]]
name = "no deleting"
effect = "deny"
tool = "Bash"
command = "rm *"
match = [
  { tool = "Bash", parameters = { command = "rm -rf x" } },
  { tool = "Bash", parameters = { command = "git status; rm x" } },
]

[[rule]]
name = "no secrets"
effect = "deny"
parameters = { "/path" = { glob = "**/.env" } }
match = [{ tool = "read_file", parameters = { path = "/srv/app/.env", mode = "r", amount = 1 } }]
"""


def refused(text: str) -> tuple[int, str]:
    """The line and the reason."""
    with pytest.raises(InvalidInput) as caught:
        read_policy(text, "policy.toml", home="/home/ana")
    told = re.fullmatch(r"policy\.toml:(\d+): (.+)", caught.value.message)
    assert told is not None, caught.value.message
    return int(told[1]), told[2]


def test_good_file_loads() -> None:
    policy = read_policy(GOOD, "policy.toml")

    assert [(rule.name, rule.effect, rule.line) for rule in policy.rules] == [
        ("read the workspace", "allow", 9),
        ("look at the repository", "allow", 34),
        ("no deleting", "deny", 45),
        ("no secrets", "deny", 55),
    ]
    assert policy.rated.risk_of("read_file", "files") == "low"


def test_file_with_nothing_in_it_has_no_rule() -> None:
    policy = read_policy("", "policy.toml")

    assert (policy.default, list(policy.rules)) == ("by-risk", [])


RULE = '[[rule]]\nname = "r"\neffect = "allow"\ntool = "t"\n'  # a change stands on line 5


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ('default = "allow"', 1, "default is one of by-risk, ask, deny, and never to allow"),
        ("default = 1", 1, "default is one of"),
        ('\n\nworkspace = "srv"', 3, "workspace is a folder"),
        ('workspace = "/srv/../etc"', 1, "workspace is a folder"),
        ("workspace = 5", 1, "workspace is a text"),
        ('defualt = "ask"', 1, 'unknown key "defualt": did you mean default?'),
        ("zzz = 1", 1, 'unknown key "zzz": known are default'),
        ("rule = 5", 1, "begins with [[rule]]"),
        ("rule = [1]", 1, "begins with [[rule]]"),
        ('[rule]\nname = "r"', 1, "begins with [[rule]]"),
        ("a = ", 1, "no TOML"),
        ("\n\n[[rule", 3, "no TOML"),
        ('x = "a\ny = 1', 1, "no TOML"),
        ("a = 1\na = 2", 2, "no TOML"),
        ("a = 2026-13-01", 1, "no TOML"),
        (f"\na = {'9' * 5000}", 2, "too many digits"),
        (f"a = {'[' * 3000}{']' * 3000}", 1, "nested too deeply"),
        (f"\n{'a.' * 500_000}a = 1", 2, "nested too deeply"),
        (f"[{'a .' * 500_000}a]", 1, "nested too deeply"),
        (f"""\n\n{'"".' * 20}{"'b'. " * 20}a = 1""", 3, "nested too deeply"),
        ("a = \u0000", 1, "no TOML"),
        ("risk = 1", 1, "risk is a table"),
        ("[risk]\nfiles = 1", 2, 'risk of server "files": it is a table of tools'),
        ("[risk.files]", 1, "it is a table of tools"),
        ('[risk.files]\n"a" = "extreme"', 2, '"a" is low, medium or high'),
        ('[risk.files]\n"a[" = "low"', 2, "without its ]"),
        ('[risk."f["]\n"a" = "low"', 1, "without its ]"),
        ("[[rule]]", 1, "rule 1: it has no name"),
        ('[[rule]]\nname = ""', 2, "name is a text that is not empty"),
        ("[[rule]]\nname = 5", 2, "rule 1: name is a text"),
        ('[[rule]]\nname = "a\\nb"', 2, "on one line"),
        (f'[[rule]]\nname = "{"a" * 300}"', 2, "256 characters at most"),
        ('[[rule]]\nname = "r"', 1, 'rule "r": it has no effect: allow, ask, deny'),
        ('[[rule]]\nname = "r"\neffect = "Allow"', 3, 'rule "r": its effect is unknown'),
        ('[[rule]]\nname = "r"\neffect = ["allow"]', 3, "its effect is unknown"),
        ('[[rule]]\nname = "r"\neffect = "allow"', 1, "without any condition it would allow every call"),
        ("[[rule]]\nname = 'r'\neffect = 'allow'\ntools = 'x'", 4, 'unknown key "tools": did you mean tool?'),
    ],
)  # fmt: skip
def test_file_that_does_not_load_says_where_and_why(text: str, line: int, why: str) -> None:
    at, reason = refused(text)

    assert (at, why in reason) == (line, True), reason


@pytest.mark.parametrize(
    ("change", "line", "why"),
    [
        ("server = []", 5, "server is an empty list: it can never match"),
        ('server = ""', 5, "server is a text that is not empty"),
        ('server = ["a",\n""]', 6, "server has an empty text"),
        ("server = 5", 5, "server is a text or a list of texts"),
        ('server = ["a", 5]', 5, "server is a text or a list of texts"),
        ('session = "a["', 5, "without its ]"),
        ('agent = "[b-a]"', 5, "matches no character"),
        ("risk = []", 5, "risk is an empty list"),
        ('risk = "extreme"', 5, 'there is no risk "extreme": low, medium, high'),
        ('risk = ["low", "none"]', 5, 'there is no risk "none"'),
        ("parameters = {}", 5, "parameters are JSON pointers"),
        ('parameters = "x"', 5, "parameters are JSON pointers"),
        ('parameters = { path = { glob = "a" } }', 5, '"path" is no JSON pointer'),
        ('parameters = { "/a~2" = { glob = "a" } }', 5, "is no JSON pointer"),
        ('parameters = { "/a" = {} }', 5, 'parameter "/a" wants one of glob, min, max, equals, regex'),
        ('parameters = { "/a" = "b" }', 5, 'parameter "/a" wants one of'),
        ('parameters = { "/a" = { globe = "b" } }', 5, 'unknown key "globe": did you mean glob?'),
        ('parameters = { "/a" = { glob = 5 } }', 5, "glob is a text"),
        ('parameters = { "/a" = { glob = "/x/[" } }', 5, "without its ]"),
        ('parameters = { "/a" = { glob = "../x" } }', 5, "leaves its own root"),
        ('[rule.parameters]\n"/b" = { min = 1 }\n"/a" = { min = 5, max = 4 }', 7, "min 5 is more than max 4"),
        ('parameters = { "/a" = { min = "1" } }', 5, "min is a number"),
        ('parameters = { "/a" = { max = true } }', 5, "max is a number"),
        ('parameters = { "/a" = { max = nan } }', 5, "max is a number"),
        ('parameters = { "/a" = { min = inf } }', 5, "min is a number"),
        ('parameters = { "/a" = { min = 1, glob = "a" } }', 5, "no value is a number and a text"),
        ('parameters = { "/a" = { regex = "(a)\\\\1" } }', 5, "not of the kind"),
        ('parameters = { "/a" = { regex = "" } }', 5, "regex is a text"),
        ('parameters = { "/a" = { equals = 2026-01-01 } }', 5, "no parameter can equal a date"),
        ('parameters = { "/a" = { equals = [{ b = nan }] } }', 5, "no parameter can equal"),
        ('parameters = { "/a" = { equals = [[07:00:00]] } }', 5, "no parameter can equal"),
        ('parameters = { "/a" = { equals = "b", equals = "c" } }', 5, "no TOML"),
        ('[rule.parameters]\n"/a" = { equals = "b" }\n"/a" = { equals = "c" }', 7, "no TOML"),
        ('parameters = { "/a" = { equals = "b", glob = "c" } }', 5, "it can never match"),
        ('parameters = { "/a" = { equals = 5, max = 4 } }', 5, "it can never match"),
        ('parameters = { "/a" = { equals = { b = 1 } }, "/a/b" = { equals = 2 } }', 5, "it can never match"),
        ('parameters = { "/a" = { equals = { b = 1 } }, "/a/c" = { equals = 1 } }', 5, "it can never match"),
        ("command = []", 5, "command is an empty list"),
        ('command = "  "', 5, "matches no command"),
        ('command = ["ls",\n"ls; rm x"]', 6, "names one command"),
        ('until = "2999-01-01"', 5, "until is a moment with its zone"),
        ("until = 2999-01-01", 5, "until is a moment with its zone"),
        ("until = 2999-01-01T00:00:00", 5, "until is a moment with its zone"),
        ("until = 0001-01-01T00:00:00+14:00", 5, "until is a moment of the years 1 to 9999"),
        ("until = 9999-12-31T23:59:59-01:00", 5, "until is a moment of the years 1 to 9999"),
        ('risk = [\n"low",\n"none"]', 7, 'there is no risk "none"'),
        ('parameters = { "/a" = { min = 1 }, "/a/b" = { equals = 1 } }', 5, 'holds no "/a/b": it can never match'),
        ('parameters = { "/a/0" = { glob = "x" }, "/a" = { regex = "x" } }', 5, 'holds no "/a/0": it can never match'),
        ("justification = 5", 5, "justification is a text"),
        (f'justification = "{"a" * 1001}"', 5, "1000 characters at most"),
        ("match = 5", 5, "match is a list of calls"),
        ('match = ["x"]', 5, "match is a list of calls"),
        ("match = [{}]", 5, "an example has a tool"),
        ('match = [{ tool = "t", paramters = {} }]', 5, 'unknown key "paramters": did you mean parameters?'),
        ('match = [{ tool = "t", parameters = [] }]', 5, "parameters of an example are a table"),
        ('match = [{ tool = "t", risk = "none" }]', 5, 'there is no risk "none"'),
        ('match = [\n{ tool = "t" },\n{ tool = "u" },\n]', 7, 'its example of match: tool "u" is not "t"'),
        ('not_match = [\n{ tool = "t" }]', 6, "it matches its example of not_match"),
        ('command = "ls"\nmatch = [{ tool = "t", parameters = { command = "ls -l" } }]', 6, '"ls -l" is not "ls"'),
        ('command = "ls"\nmatch = [{ tool = "t" }]', 6, "the call has no parameter command"),
        ('command = "ls"\nmatch = [{ tool = "t", parameters = { cmd = "ls *" } }]', 6, "not understood"),
        ('[[rule]]\nname = "r"\neffect = "deny"', 6, "the rule of line 1 has the same name"),
        ('[[rule]]\nname = "s"\neffect = "allow"\ntool = ["t"]', 5, 'it says the same as rule "r" of line 1'),
    ],
)  # fmt: skip
def test_rule_that_does_not_load_says_where_and_why(change: str, line: int, why: str) -> None:
    at, reason = refused(RULE + change)

    assert (at, why in reason) == (line, True), reason
    assert reason.startswith(('rule "r": ', 'rule "s": ', "this is no TOML"))


BOTH = 'parameters = { "/a" = { equals = 1 }, "/b" = { equals = 2 } }\n'


@pytest.mark.parametrize(
    "more",
    [
        BOTH + 'match = [{ tool = "t", parameters = { a = 1 } }]',
        BOTH + 'command = "ls"\nmatch = [{ tool = "t", parameters = { a = 1 } }]',
        BOTH + 'not_match = [{ tool = "t", parameters = { a = 1 } }, { tool = "t" }]',
        'server = "s"\nsession = "x"\nagent = "a"\nrisk = "low"\nmatch = [{ tool = "t" }]',
    ],
)
def test_example_need_not_tell_everything(more: str) -> None:
    assert read_policy(RULE + more, "policy.toml")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (RULE + BOTH + 'match = [{ tool = "t" }]', 'there is no parameter "/a"'),
        (RULE + BOTH + 'match = [{ tool = "t", parameters = { a = 1, b = 3 } }]', 'parameter "/b" is 3'),
        (
            RULE + BOTH + 'command = "ls"\nmatch = [{ tool = "t", parameters = { a = 1, command = "rm x" } }]',
            '"rm x" is not "ls"',
        ),
        (
            RULE.replace("allow", "deny") + BOTH + 'match = [{ tool = "t", parameters = { a = 1 } }]',
            'there is no parameter "/b"',
        ),
    ],
)
def test_example_that_is_told_in_part_matches_in_what_it_tells_and_wholly_where_a_rule_denies(
    text: str, why: str
) -> None:
    assert why in refused(text)[1]


def test_deny_rule_that_its_example_misses_says_so() -> None:
    text = '[[rule]]\nname = "r"\neffect = "deny"\ncommand = "rm *"\nmatch = [{tool="t", parameters={command="ls"}}]'

    assert refused(text) == (
        5,
        'rule "r": it does not match its example of match: nothing that it runs is "rm *"',
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("until = 2999-01-01T00:00:00Z", "until = 2999-01-01T01:00:00+01:00"),
        ('parameters = { "/a" = { equals = [1, { b = 2 }] } }', 'parameters."/a".equals = [1.0, { b = 2.0 }]'),
        ('parameters = { "/a" = { min = 1, max = 2 } }', 'parameters = { "/a" = { max = 2.0, min = 1 } }'),
    ],
)
def test_rule_that_says_the_same_in_other_words_is_a_duplicate(one: str, other: str) -> None:
    def rule(name: str, condition: str) -> str:
        return f'[[rule]]\nname = "{name}"\neffect = "allow"\ntool = "t"\n{condition}\n'

    assert 'it says the same as rule "r" of line 1' in refused(rule("r", one) + rule("s", other))[1]
    one, other = (f'parameters = {{ "/a" = {{ equals = {value} }} }}' for value in ("1", "true"))
    assert read_policy(rule("r", one) + rule("s", other), "policy.toml")


def test_more_rules_than_anybody_reads_are_refused() -> None:
    text = "".join(f'[[rule]]\nname = "{number}"\neffect = "ask"\ntool = "t{number}"\n' for number in range(10_001))

    assert refused(text) == (40_001, "there are more than 10000 rules")


def test_rule_whose_time_has_passed_loads_with_a_warning_and_runs_its_examples() -> None:
    policy = read_policy(RULE + 'until = 2020-01-01T00:00:00+02:00\nmatch = [{ tool = "t" }]', "policy.toml")

    assert [warning.partition(": ")[0] for warning in policy.warnings] == ["policy.toml:5"]
    assert "until has passed" in policy.warnings[0]


def test_rules_that_differ_in_one_list_or_value_are_two() -> None:
    text = RULE + 'parameters = { "/a" = { equals = [1, 2] } }\n' + RULE.replace('"r"', '"s"')
    text += 'parameters = { "/a" = { equals = [2, 1] } }'

    assert len(read_policy(text, "policy.toml").rules) == 2


def test_workspace_may_be_at_home() -> None:
    text = f'workspace = "~/app"\n{RULE}parameters = {{ "/path" = {{ glob = "src/**" }} }}'
    [rule] = read_policy(text, "policy.toml", home="/home/ana").rules

    assert rule.failing(Call(AskedTool("t"), "s", "low", {"path": "/home/ana/app/src/x"})) is None


@pytest.mark.parametrize(
    ("tool", "server", "risk"),
    [
        ("read_file", "files", "medium"),
        ("read_link", "files", "high"),
        ("read_x", "files", "low"),
        ("read_x", "other", None),
        ("read_x\u0435", "files", None),
        ("send", "other", "high"),
        ("send", None, "high"),
        ("pay", "bank-eu", "medium"),
        ("pay", None, None),
    ],
)
def test_table_of_risks_goes_from_exact_names_to_globs_and_of_these_the_highest(
    tool: str, server: str | None, risk: str | None
) -> None:
    rated = read_policy(
        """
[risk.files]
"read_file" = "medium"
"read_*" = "low"
"*_link" = "high"
[risk."*"]
"send" = "high"
[risk."bank-*"]
"pay" = "medium"
""",
        "policy.toml",
    ).rated

    assert rated.risk_of(tool, server) == risk


def test_lines_are_told_of_everything_in_a_text() -> None:
    text = (
        'a.b."c d".\'e\' = 1 # x = [\n"f\\u0041" = [ # ]\n  """x\n"""" , '
        "{g = {h = '''\n'''}},\n 2026-01-01 00:00:00\n]\n"
        "[t]\nk = 5\n[[x.y]]\nz = 1\n[[x.y]]\n[x.y.w]\nv = 1\n[[x.y]]\n"
    )
    lines = lines_of(text)

    def paths(value: Any, path: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [path, *(deeper for key, item in inner for deeper in paths(item, (*path, key)))]

    assert set(paths(tomllib.loads(text), ())[1:]) <= set(lines)
    assert [
        lines[path]
        for path in (
            ("a", "b", "c d", "e"), ("fA", 0), ("fA", 1, "g", "h"), ("fA", 2), ("t", "k"), ("x", "y", 0, "z"),
            ("x", "y", 1, "w", "v"), ("x", "y", 2),
        )
    ] == [1, 3, 4, 6, 9, 11, 14, 15]  # fmt: skip
    assert line_of(("nowhere", 5), lines) == 1


def test_windows_ends_of_lines_are_lines() -> None:
    assert refused('default = "ask"\r\n\r\nzzz = 1\r\n')[0] == 3


# Whatever happens to a file

DENIED = [
    Call(AskedTool("Bash", agent="claude-code"), "team-1", "medium", {"command": "rm -rf x"}),
    Call(AskedTool("Bash", agent="claude-code"), "team-1", "medium", {"command": "git status; rm x"}),
    Call(
        AskedTool("read_file", "filesystem", agent="claude-code"),
        "team-1",
        "medium",
        {"path": "/srv/app/.env", "mode": "r", "amount": 1},
    ),
]


def mutated(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text))
    lines = text.splitlines(keepends=True)
    line = chance.randrange(len(lines))
    match chance.randrange(6):
        case 0:
            return text[:at] + text[at + 1 :]
        case 1:
            return text[:at] + chance.choice("\"'[]{}=#*?./\\ \n\0aé0") + text[at:]
        case 2:
            return text[:at] + chr(chance.randrange(1, 0x250)) + text[at + 1 :]
        case 3:
            return "".join(lines[:line] + lines[line + 1 :])
        case 4:
            return "".join(lines[: line + 1] + lines[line:])
        case _:
            return text[:at]


def loaded_or_told(text: str) -> Policy | None:
    try:
        return Policy.loads(text, "policy.toml", home="/home/ana")
    except InvalidInput as error:
        told = error.message
    assert re.match(r"policy\.toml:\d+: .", told), text
    return None


def test_changed_file_loads_or_says_where_it_does_not_and_never_lets_an_example_through_unnoticed() -> None:
    chance, loaded = random.Random(20261129), 0
    headers = GOOD.count("[[rule]]")

    for _ in range(600):
        text = mutated(GOOD, chance)
        policy = loaded_or_told(text)
        if policy is None:
            continue
        loaded += 1
        if len(policy.rules) < headers:
            continue  # cut at the end of a rule, which nothing in a text can tell
        for call in DENIED:
            verdict = policy.judge(call)
            assert verdict is None or verdict.effect != "allow", text
    assert loaded > 50


def test_hostile_texts_are_refused_soon() -> None:
    begin = time.process_time()
    for text in ("[" * 100_000, "a=" + "[" * 100_000, "a=" + "{b=" * 50_000, "\n" * 1_000_000 + "=", '"' * 100_000):
        refused(text)

    assert time.process_time() - begin < 5


@pytest.mark.parametrize("mark", ["a", '"', "'", "a ", "a.b ", ".", "-", "a" * 300 + "."])
def test_text_that_is_no_deep_key_is_looked_through_at_once(mark: str) -> None:
    begin = time.process_time()

    assert line_that_is_too_deep(mark * (1_000_000 // len(mark))) is None
    assert time.process_time() - begin < 5


def test_key_of_some_parts_is_none_that_is_too_deep() -> None:
    assert line_that_is_too_deep(f"{'a.' * 30}a = 1") is None
