"""Rules asked together."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from notifier_service.core.limits import RiskLevel
from notifier_service.core.policy.policy import Policy
from notifier_service.core.policy.verdict import AskedTool, Call


def a_policy(text: str) -> Policy:
    return Policy.loads(text, "policy.toml", home="/home/ana")


def rule(name: str, effect: str, more: str = "") -> str:
    return f'[[rule]]\nname = "{name}"\neffect = "{effect}"\n{more}\n'


def call(
    tool: str = "t",
    parameters: dict[str, Any] | None = None,
    *,
    server: str | None = None,
    session: str = "s",
    agent: str | None = None,
    asked_by: str | None = None,
    risk: RiskLevel = "medium",
    is_whole: bool = True,
) -> Call:
    asked = AskedTool(tool, server, agent=agent, asked_by=asked_by)
    return Call(asked, session, risk, {} if parameters is None else parameters, is_whole)


def effect_of(policy: Policy, asked: Call) -> str | None:
    verdict = policy.judge(asked)
    return None if verdict is None else verdict.effect


def shell(text: Any) -> Call:
    return call("Bash", {"command": text})


@pytest.mark.parametrize("order", list(itertools.permutations(("deny", "ask", "allow"))))
@pytest.mark.parametrize("count", [1, 2, 3])
def test_deny_beats_ask_beats_allow_whatever_the_order_and_however_specific(order: tuple[str, ...], count: int) -> None:
    conditions = ['tool = "t"', 'tool = "*"', 'tool = "t"\nparameters = { "/a" = { equals = 1 } }']
    chosen = order[:count]
    text = "".join(rule(effect, effect, condition) for effect, condition in zip(chosen, conditions, strict=False))

    verdict = a_policy(text).judge(call("t", {"a": 1}))

    assert verdict is not None
    assert verdict.effect == verdict.rule == next(effect for effect in ("deny", "ask", "allow") if effect in chosen)


def test_verdict_names_the_rule_and_what_it_says() -> None:
    policy = a_policy(rule("no paying", "deny", 'tool = "pay"\njustification = "ask finance"'))

    verdict = policy.judge(call("pay"))

    assert verdict is not None
    assert (verdict.rule, verdict.justification) == ("no paying", "ask finance")
    assert verdict.reasons == ('policy rule "no paying" denies it: ask finance',)
    assert verdict.rule_id == policy.rules[0].rule_id
    assert policy.judge(call("other")) is None


@pytest.mark.parametrize(
    ("condition", "fits", "other"),
    [
        ('tool = "read_*"', [call("read_file")], [call("Read_file"), call("xread_file")]),
        ('tool = ["a", "b*"]', [call("a"), call("bc")], [call("ab")]),
        ('tool = "t"\nserver = "files"', [call(server="files")], [call(), call(server="Files"), call(server="files2")]),
        ('session = "team-*"', [call(session="team-1")], [call(session="my-team-1"), call(session="team")]),
        ('session = ["a", "b"]', [call(session="a"), call(session="b")], [call(session="ab")]),
        ('agent = "claude-code"', [call(agent="claude-code"), call(asked_by="claude-code")], [call(), call(agent="x")]),
        ('risk = ["low", "medium"]', [call(risk="low"), call()], [call(risk="high")]),
        ('tool = "t"\nuntil = 2999-01-01T00:00:00Z', [call()], [call("u")]),
        ('tool = "t"\nuntil = 2020-01-01T00:00:00Z', [], [call()]),
    ],
)
@pytest.mark.parametrize("effect", ["allow", "ask", "deny"])
def test_each_condition_must_hold(effect: str, condition: str, fits: list[Call], other: list[Call]) -> None:
    policy = a_policy(rule("r", effect, condition))

    assert {effect_of(policy, asked) for asked in fits} <= {effect}
    assert {effect_of(policy, asked) for asked in other} == {None}


def test_rule_that_denies_without_a_condition_denies_everything() -> None:
    assert effect_of(a_policy(rule("stop", "deny")), call("anything", {"command": "x $("})) == "deny"


GIT = rule("git", "allow", 'tool = "Bash"\ncommand = ["git status *", "git diff *"]')
LS = rule("ls", "allow", 'tool = "Bash"\ncommand = "ls *"')
RM = rule("no rm", "deny", 'tool = "Bash"\ncommand = "rm *"')


@pytest.mark.parametrize(
    ("text", "effect"),
    [
        ("git status", "allow"),
        ("git status -s && git diff | ls", "allow"),
        (["git", "status"], "allow"),
        ("git push", None),
        ("git status; git push", None),
        ("git status; rm -rf x", "deny"),
        ("ls `rm -rf ~`", "deny"),
        ("echo $(rm -rf ~)", "deny"),
        ("time rm -rf ~", "deny"),
        ("cat <<x\n$(rm -rf ~)\nx", "deny"),
        ("ls $(date)", None),
        ("ls > x", None),
        ("A=1 ls", None),
        ("", None),
        (5, None),
        (["ls", 5], None),
        ({"a": "ls"}, None),
    ],
)
def test_every_part_of_a_command_is_allowed_by_some_rule(text: Any, effect: str | None) -> None:
    assert effect_of(a_policy(GIT + LS + RM), shell(text)) == effect


def test_rules_that_each_allow_a_part_are_all_named() -> None:
    verdict = a_policy(GIT + LS).judge(shell("git status && ls"))

    assert verdict is not None
    assert verdict.reasons == ('policy rule "git" allows it', 'policy rule "ls" allows it')


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        ("git status && curl x", 'no rule allows "curl x"'),
        ("ls $(date)", "no rule allows a command that is not understood: it has a substitution"),
        ("curl x", None),
        ("ls", None),
    ],
)
def test_doubt_says_what_no_rule_allows(text: str, doubt: str | None) -> None:
    told = a_policy(GIT + LS).doubt(shell(text))

    assert told is None if doubt is None else told is not None and told.startswith(doubt)


def test_rule_that_would_deny_another_use_of_a_program_says_nothing() -> None:
    policy = a_policy(rule("no force", "deny", 'tool = "Bash"\ncommand = "git push --force *"') + GIT)

    assert effect_of(policy, shell("git push -f")) is None
    assert effect_of(policy, shell("git status")) == "allow"
    assert effect_of(policy, shell("git push origin --force")) == "deny"


def test_rule_with_another_condition_that_fails_leaves_the_doubt() -> None:
    policy = a_policy(
        GIT + rule("there", "allow", 'command = "curl *"\nparameters = { "/cwd" = { equals = "/there" } }')
    )

    assert policy.doubt(shell("git status; curl x")) == 'no rule allows "curl x"'


def test_nothing_is_in_doubt_without_rules_or_a_command() -> None:
    assert Policy().doubt(shell("ls $(x)")) is None
    assert Policy().judge(shell("ls")) is None
    assert a_policy(LS).doubt(call("t")) is None


def test_rule_without_a_pattern_allows_only_commands_that_are_understood() -> None:
    policy = a_policy(rule("shell", "allow", 'tool = "Bash"'))

    assert effect_of(policy, shell("make test; ls")) == "allow"
    assert effect_of(policy, shell("echo $(date)")) is None


def test_text_that_is_named_as_it_is_is_allowed_whatever_it_holds() -> None:
    policy = a_policy(rule("date", "allow", 'tool = "Bash"\nparameters = { "/command" = { equals = "echo $(date)" } }'))

    assert effect_of(policy, shell("echo $(date)")) == "allow"
    assert effect_of(policy, shell("echo $(date) ")) is None
    assert effect_of(policy, call("Bash", {"command": "echo $(date)", "env": {"PATH": "."}})) is None


def test_pattern_means_nothing_where_no_command_is() -> None:
    assert effect_of(a_policy(LS), call("Bash", {"text": "ls"})) is None
    assert effect_of(a_policy(RM), call("Bash", {"text": "rm x"})) is None


# The pitfalls of others


def test_look_alike_names_of_a_tool_are_not_allowed() -> None:
    policy = a_policy(rule("read", "allow", 'tool = ["read_file", "list_*"]'))

    assert effect_of(policy, call("read_file")) == "allow"
    for name in ("re\u0430d_file", "read_file\u200b", "\uff52ead_file", "READ_FILE", "list_\u0430", "list_x\u202e"):
        assert effect_of(policy, call(name)) is None


def test_look_alike_names_of_a_tool_are_denied() -> None:
    policy = a_policy(rule("no", "deny", 'tool = "delete_file"'))

    assert effect_of(policy, call("\uff44elete_file")) == "deny"
    assert effect_of(policy, call("delete\u200b_file")) == "deny"


@pytest.mark.parametrize("effect", ["ask", "deny"])
@pytest.mark.parametrize(
    "asked",
    [
        call("delete_file", server="files"),
        call("mcp__files__delete_file", server="files"),
        call("mcp__files__delete_file"),
        call("mcp_files_delete_file", server="files"),
    ],
)
def test_tool_is_held_back_through_whichever_door_it_is_asked_about(effect: str, asked: Call) -> None:
    for tool in ("delete_file", "mcp__files__delete_file", "delete_*"):
        assert effect_of(a_policy(rule("no", effect, f'tool = "{tool}"\nserver = "files"')), asked) == effect
        assert effect_of(a_policy(rule("no", effect, f'tool = "{tool}"\nserver = "other"')), asked) is None


def test_tool_with_its_server_before_it_is_allowed_by_no_other_name() -> None:
    policy = a_policy(rule("read", "allow", 'tool = "read_file"'))

    assert effect_of(policy, call("mcp__files__read_file")) is None
    assert effect_of(policy, call("mcp__files__read_file", server="files")) is None


@pytest.mark.parametrize(
    "path",
    [
        "/srv/app/../../etc/passwd",
        "/srv/app/%2e%2e/%2e%2e/etc/passwd",
        "/srv/app/..%2f..%2fetc",
        "/srv/app/..\\..\\etc",
    ],
)
def test_dots_and_encoded_separators_leave_no_folder(path: str) -> None:
    policy = a_policy(rule("app", "allow", 'parameters = { "/path" = { glob = "/srv/app/**" } }'))

    assert effect_of(policy, call("read", {"path": path})) is None


def test_parameters_that_are_too_large_for_a_pattern_are_not_allowed_and_are_denied() -> None:
    parameters = {"path": "/srv/app/" + "a" * 100_000}
    glob = 'parameters = { "/path" = { glob = "/srv/**" } }'

    assert effect_of(a_policy(rule("a", "allow", glob)), call("t", parameters)) is None
    assert effect_of(a_policy(rule("d", "deny", glob)), call("t", parameters)) == "deny"


# The index


def wide(count: int, condition: str) -> str:
    return "".join(rule(f"r{n}", ("allow", "deny", "ask")[n % 3], condition.replace("N", str(n))) for n in range(count))


@pytest.mark.parametrize(
    ("condition", "asked"),
    [
        ('tool = "toolN"', lambda n: call(f"tool{n}")),
        ('tool = "toolN-*"', lambda n: call(f"tool{n}-x")),
        ('server = "N"', lambda n: call(server=str(n))),
        ('session = "sN"', lambda n: call(session=f"s{n}")),
        ('tool = "Bash"\ncommand = "programN *"', lambda n: shell(f"program{n} -x")),
        ('parameters = { "/path" = { glob = "/srv/appN/**" } }', lambda n: call("t", {"path": f"/srv/app{n}/x"})),
        ('parameters = { "/path" = { glob = "/srv/appN/**" } }', lambda n: call("t", {"path": f"/srv/x/../app{n}/x"})),
        ('parameters = { "/a/b" = { equals = "N" } }', lambda n: call("t", {"a": {"b": str(n)}})),
        ('parameters = { "/pN" = { min = 5 } }', lambda n: call("t", {f"p{n}": 5})),
        ('parameters = { "/path" = { glob = "/srv/appN/**" } }', lambda n: call("t", {"path": [f"/srv/app{n}/x"]})),
        ('tool = "Bash"\ncommand = "git subN *"', lambda n: shell(f"git sub{n} -x | git sub{n}")),
        ('tool = "Bash"\ncommand = "p* subN *"', lambda n: shell(f"prog sub{n} -x")),
        ('session = "sN-*"', lambda n: call(session=f"s{n}-x")),
        ('parameters = { "/x" = { equals = N } }', lambda n: call("t", {"x": n})),
        ('parameters = { "/p" = { glob = "**/*.fileN" } }', lambda n: call("t", {"p": f"/a/b.file{n}"})),
        ('parameters = { "/p" = { regex = ".*(a|b)\\\\.fileN" } }', lambda n: call("t", {"p": f"xb.file{n}"})),
        ('command = "git * --flagN-x *"', lambda n: shell(f"git a --flag{n}-x b")),
        ('command = "progN-* *"', lambda n: shell(f"prog{n}-x b")),
        ('parameters = { "" = { equals = { n = N } } }', lambda n: call("t", {"n": n})),
    ],
)
def test_index_finds_the_one_rule_of_many(condition: str, asked: Any) -> None:
    policy = a_policy(wide(300, condition))

    for number in (0, 1, 2, 150, 299):
        verdict = policy.judge(asked(number))
        assert verdict is not None
        assert verdict.rule == f"r{number}"
    assert policy.judge(asked(1000)) is None


@pytest.mark.parametrize("value", [["a", ["x"]], {"k": "X"}, "x%c0%ae", "a" * 70_000, [0] * 20_000])
@pytest.mark.parametrize("condition", ['glob = "/etc/N"', 'equals = "N"'])
def test_index_passes_no_rule_over_that_holds_back(value: Any, condition: str) -> None:
    text = "".join(
        rule(f"r{n}", "deny", f'parameters = {{ "/a" = {{ {condition.replace("N", n)} }} }}') for n in ("x", "y")
    )
    policy = a_policy(text)
    expected = [one for one in policy.rules if one.fits(call("t", {"a": value}))]

    verdict = policy.judge(call("t", {"a": value}))

    assert (None if verdict is None else verdict.rule) == (expected[0].name if expected else None)


def test_kinds_of_calls_are_not_remembered_for_ever() -> None:
    policy = a_policy(rule("r", "allow", 'tool = "t*"'))

    for number in range(2500):
        assert effect_of(policy, call(f"t{number}")) == "allow"


def test_sets_of_rules_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{Policy.__module__}._MAX_IN_INDEXES", 100)
    policy = a_policy(wide(150, 'tool = "toolN-*"'))

    for number in (*range(150), *range(150)):
        assert effect_of(policy, call(f"tool{number}-x")) is not None


# Why


def test_explanation_says_of_each_rule_why() -> None:
    policy = a_policy(
        rule("a", "allow", 'tool = "t"\nparameters = { "/path" = { glob = "/srv/**" } }')
        + rule("b", "ask", 'tool = "t"\nserver = "files"')
        + rule("c", "deny", 'risk = "high"')
        + rule("d", "deny", 'tool = "t"\nuntil = 2020-01-01T00:00:00Z')
        + rule("e", "allow", 'parameters = { "/path" = { equals = { x = "y" } } }')
        + rule("f", "allow", 'parameters = { "/size" = { min = 1, max = 2 } }')
        + rule("g", "allow", 'parameters = { "/path" = { regex = "a" } }')
        + rule("h", "allow", 'tool = "u"')
        + rule("i", "ask", 'tool = "t"\nagent = "x"')
        + rule("j", "allow", 'command = "ls"')
        + rule("k", "ask", "")
    )

    explained = policy.explain(call("t", {"path": "/etc", "size": True}))

    assert [(found.rule, found.line, found.reason) for found in explained.matched] == [
        ("k", policy.rules[10].line, "it holds for every call")
    ]
    assert {found.rule: found.reason for found in explained.considered} == {
        "a": 'parameter "/path" is "/etc", and not certainly within "/srv/**"',
        "b": "no server is told",
        "c": "risk medium is not high",
        "d": "its until has passed",
        "e": 'parameter "/path" is "/etc", and not {"x":"y"}',
        "f": 'parameter "/size" is true, and not a number of at least 1 and at most 2',
        "g": 'parameter "/path" is "/etc", and not what "a" matches',
        "h": 'tool "t" is not "u"',
        "i": "no agent is told",
        "j": "the call has no parameter command, cmd, script, argv",
    }
    assert explained.verdict is not None
    assert explained.verdict.effect == "ask"


def test_explanation_names_all_that_match() -> None:
    policy = a_policy(GIT + LS + RM + rule("any", "allow", 'tool = "Bash"\nrisk = "medium"'))

    explained = policy.explain(shell("git status"))

    assert [(found.rule, found.reason) for found in explained.matched] == [
        ("git", "tool, command as it wants"),
        ("any", "tool, risk as it wants"),
    ]
    assert [found.rule for found in explained.considered] == ["ls", "no rm"]


def test_explanation_of_a_command_says_which_part_is_not_allowed() -> None:
    policy = a_policy(GIT + LS)

    explained = policy.explain(shell("git status; curl x"))
    unread = policy.explain(shell("git status $(x)"))

    assert explained.verdict is None
    assert explained.doubt == 'no rule allows "curl x"'
    assert [found.reason for found in explained.considered] == [
        '"curl x" is not "git status *" or "git diff *"',
        '"git status" is not "ls *"',
    ]
    assert all("not understood" in found.reason for found in unread.considered)


def test_call_that_is_not_whole_is_allowed_by_nothing() -> None:
    explained = a_policy(LS).explain(shell("ls")._replace(is_whole=False))

    assert explained.verdict is None
    assert explained.doubt == "not all of the call can be read, so that no rule allows it"


def test_hostile_values_are_shown_on_one_line() -> None:
    policy = a_policy(rule("a", "allow", 'parameters = { "/a" = { max = 5 } }'))

    for value in ("\x1b[2J\n", float("nan"), {"\u202e": ["\x1b"]}, "x" * 100_000, object()):
        [found] = policy.explain(call("t", {"a": value})).considered
        assert found.reason.isprintable()
        assert len(json.dumps(found.reason)) < 2000


#: A tool as agents call it, and the server where they tell it.
CALLED = [
    ("read_file", "my files"),
    ("mcp__my_files__read_file", "my_files"),
    ("mcp__my_files__read_file", "my files"),
    ("mcp__my_files__read_file", None),
    ("mcp_my_files_read_file", "my files"),
    ("mcp_my_files_read_file", None),
    ("my_files_read_file", None),
    ("my_files-read_file", None),
    ("my_files__read_file", "my_files"),
]


@pytest.mark.parametrize("effect", ["ask", "deny"])
@pytest.mark.parametrize(("name", "server"), CALLED)
@pytest.mark.parametrize("tool", ['"read_file"', '["write_file", "read_file"]', '"read_*"', '"*_file"'])
def test_rule_that_holds_back_knows_a_tool_however_an_agent_calls_it(
    effect: str, tool: str, name: str, server: str | None
) -> None:
    policy = a_policy(rule("r", effect, f'tool = {tool}\nserver = ["my files", "my_files"]'))

    assert effect_of(policy, call(name, server=server)) == effect


@pytest.mark.parametrize("more", ['tool = "read_file"', 'tool = "read_*"', 'server = "files"', 'server = "f*"'])
def test_rule_that_holds_back_needs_no_server_for_the_names_of_claude_code(more: str) -> None:
    policy = a_policy(rule("r", "deny", more))

    for server in ("files", None):
        assert effect_of(policy, call("mcp__files__read_file", server=server)) == "deny"


@pytest.mark.parametrize(
    ("name", "server"), [("read_files", "files"), ("files_read_file", "other"), ("read_file", None), ("file", "files")]
)
def test_rule_that_denies_a_servers_tool_leaves_others_alone(name: str, server: str | None) -> None:
    policy = a_policy(rule("r", "deny", 'tool = "read_file"\nserver = "files"'))

    assert effect_of(policy, call(name, server=server)) is None


@pytest.mark.parametrize(
    ("name", "server", "effect"),
    [
        ("read_file", "files", "allow"),
        ("mcp__files__read_file", "files", "allow"),
        ("mcp_files_read_file", "files", "allow"),
        ("mcp__other__read_file", "other", None),
        ("mcp__other__read_file", "files", None),
        ("mcp__files__read_file", "other", None),
        ("mcp__files__read_file", None, None),
        ("mcp__files__x__read_file", "files", None),
        ("files_read_file", None, None),
        ("files-read_file", "files", None),
        ("mcp__files__read_f\u0456le", "files", None),
    ],
)
@pytest.mark.parametrize("tool", ["read_file", "read_*"])
def test_rule_that_allows_a_servers_tool_opens_no_look_alike(
    tool: str, name: str, server: str | None, effect: str | None
) -> None:
    policy = a_policy(rule("r", "allow", f'tool = "{tool}"\nserver = "files"'))

    assert effect_of(policy, call(name, server=server)) == effect


def test_rule_that_allows_and_names_no_server_takes_a_name_as_it_is() -> None:
    policy = a_policy(rule("r", "allow", 'tool = "read_file"'))

    assert effect_of(policy, call("mcp__files__read_file", server="files")) is None
    assert effect_of(policy, call("read_file", server="files")) == "allow"


def test_rule_of_many_tools_and_servers_is_read_in_time() -> None:
    names = ", ".join(f'"n{number}"' for number in range(500))
    policy = a_policy(rule("r", "deny", f"tool = [{names}]\nserver = [{names}]"))

    assert effect_of(policy, call("mcp__n499__n499", server="n499")) == "deny"


def test_explanation_of_a_call_under_another_name_is_the_judgement() -> None:
    policy = a_policy(rule("r", "deny", 'tool = "read_file"\nserver = "files"'))
    explained = policy.explain(call("mcp__files__read_file", server="files"))

    assert [one.rule for one in explained.matched] == ["r"]
