"""What people decided for the rest of a session."""

from __future__ import annotations

from typing import Any

import pytest

from notifier_service.core.errors import LimitReached, RuleNotFound
from notifier_service.core.limits import RiskLevel
from notifier_service.core.policy.command_use import command_use
from notifier_service.core.policy.grants import Grants, described, quoted
from notifier_service.core.policy.verdict import AskedTool, Call

READ = AskedTool("read", "mail", "0a" * 32, "ci", "claude-code")


def call(tool: AskedTool = READ, risk: RiskLevel = "medium", *, is_whole: bool = True) -> Call:
    return Call(tool, "s1", risk, {}, is_whole)


def effect(grants: Grants, asked: Call | None = None) -> str | None:
    asked = asked or call()
    verdict = grants.judge(asked)
    return verdict.effect if verdict else "ask" if grants.doubt(asked) else None


@pytest.mark.parametrize("given", ["allow", "deny"])
def test_decision_holds_for_that_tool_from_now_on(given: Any) -> None:
    grants = Grants()
    before = grants.judge(call())
    rule = grants.add(given, READ, "medium", created_by="ana", reason="as you like")

    verdict = grants.judge(call())

    assert before is None
    assert verdict is not None
    word = "allowed" if given == "allow" else "denied"
    assert verdict.reasons == (f"ana {word} this tool for the rest of the session: as you like",)
    assert (verdict.effect, verdict.rule_id, verdict.rule) == (given, rule.rule_id, rule.name)
    assert verdict.justification == "as you like"


@pytest.mark.parametrize("given", ["allow", "deny"])
@pytest.mark.parametrize(
    "other",
    [
        {"tool_name": "Read"},
        {"tool_name": "read "},
        {"tool_name": "rеad"},
        {"tool_name": "re\u0301ad"},
        {"tool_name": "read\u200b"},
        {"tool_name": "read\0"},
        {"tool_name": "*"},
        {"server": "shell"},
        {"server": None},
        {"asked_by": "other"},
        {"asked_by": None},
        {"agent": "codex"},
        {"agent": None},
    ],
    ids=ascii,
)
def test_decision_says_nothing_of_another_tool_or_another_asker(given: Any, other: dict[str, Any]) -> None:
    grants = Grants()
    grants.add(given, READ, "high", created_by="ana")

    assert effect(grants, call(READ._replace(**other), "low")) is None


@pytest.mark.parametrize("definition", ["0b" * 32, None])
@pytest.mark.parametrize("given", ["allow", "deny"])
def test_tool_that_is_defined_anew_is_asked_at_every_risk(given: Any, definition: str | None) -> None:
    grants = Grants()
    grants.add(given, READ, "high", created_by="ana")
    changed = READ._replace(definition_sha256=definition)

    assert [grants.judge(call(changed, risk)) for risk in ("low", "medium", "high")] == [None] * 3
    assert {grants.doubt(call(changed, risk)) for risk in ("low", "medium", "high")} == {
        "the tool is not defined as it was when ana decided about it"
    }


def test_definition_that_becomes_known_is_another_one() -> None:
    grants = Grants()
    grants.add("allow", READ._replace(definition_sha256=None), "high", created_by="ana")

    assert effect(grants) == "ask"


@pytest.mark.parametrize(
    ("given", "at", "expected"),
    [
        ("allow", "low", ["allow", "ask", "ask"]),
        ("allow", "medium", ["allow", "allow", "ask"]),
        ("allow", "high", ["allow", "allow", "allow"]),
        ("deny", "low", ["deny", "deny", "deny"]),
    ],
)
def test_what_was_allowed_is_asked_at_a_higher_risk_and_what_was_denied_never(
    given: Any, at: Any, expected: list[str]
) -> None:
    grants = Grants()
    grants.add(given, READ, at, created_by="ana")

    assert [effect(grants, call(risk=risk)) for risk in ("low", "medium", "high")] == expected


def test_call_that_is_not_whole_is_denied_as_ever_but_not_allowed() -> None:
    grants = Grants()
    grants.add("allow", READ, "high", created_by="ana")
    allowed = effect(grants, call(is_whole=False)), grants.doubt(call(is_whole=False))
    grants.add("deny", READ, "high", created_by="ana")

    assert allowed == ("ask", "not all of the call can be read, so that no rule allows it")
    assert effect(grants, call(is_whole=False)) == "deny"


def test_rule_tells_all_that_it_is_bound_to() -> None:
    grants = Grants()
    rule = grants.add("allow", READ, "medium", created_by="ana")

    assert grants.rules == (rule,)
    assert (rule.tool, rule.server, rule.definition_sha256) == ("read", "mail", "0a" * 32)
    assert (rule.asked_by, rule.agent, rule.risk, rule.effect) == ("ci", "claude-code", "medium", "allow")
    assert (rule.created_by, rule.used, rule.last_used_at, rule.source) == ("ana", 0, None, "session")
    assert rule.name == (
        'allow every call of "read" of server "mail" as it is defined now, asked by "claude-code" as "ci", '
        "at risk medium or less"
    )


@pytest.mark.parametrize(
    ("tool", "risk", "words"),
    [
        (AskedTool("rm"), "high", 'every call of "rm", asked by this program, at risk high or less'),
        (AskedTool("rm", asked_by="ci"), "low", 'every call of "rm", asked by "ci", at risk low'),
        (AskedTool("rm", agent="codex"), None, 'every call of "rm", asked by "codex"'),
        (AskedTool('a", asked by "b'), None, 'every call of "a\\", asked by \\"b", asked by this program'),
    ],
)
def test_words_name_the_calls(tool: AskedTool, risk: Any, words: str) -> None:
    assert described(tool, risk) == words


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ls", 'one command that begins with "ls" and has no options'),
        ("git push --force origin", 'one command that begins with "git push" and has "--force"'),
        ("git push -q --force", 'one command that begins with "git push" and has "--force" and "-q"'),
    ],
)
def test_words_say_how_the_command_begins_and_its_options(command: str, words: str) -> None:
    tool = AskedTool("Bash", command=command_use({"command": command}))

    assert described(tool, None) == f'every call of "Bash" with {words}, asked by this program'


@pytest.mark.parametrize("command", ["cat a | grep b", "echo $(date)", "sudo ls"])
def test_words_of_a_command_that_is_not_one_simple_one_bind_the_rule_to_its_parameters(command: str) -> None:
    tool = AskedTool("Bash", command=command_use({"command": command}))
    rule = Grants().add("allow", tool, "low", created_by="ana")

    assert rule.name == 'allow every call of "Bash" with just these parameters, asked by this program, at risk low'
    assert rule.command is None


def test_names_of_others_are_shown_byte_for_byte() -> None:
    assert quoted("b\u0430sh\x1b[2J\x7f\u202e\n") == '"b\\u0430sh\\u001b[2J\\u007f\\u202e\\n"'


def test_use_is_counted() -> None:
    grants = Grants()
    rule, other = (
        grants.add("allow", READ, "high", created_by="a"),
        grants.add("allow", AskedTool("b"), "high", created_by="a"),
    )
    for rule_id in (rule.rule_id, rule.rule_id, None, "rule_unknown"):
        grants.use(rule_id)

    used, unused = grants.rules
    assert (used.used, used.last_used_at is not None) == (2, True)
    assert unused == other


def test_rule_that_was_taken_back_holds_no_more() -> None:
    grants = Grants()
    rule = grants.add("allow", READ, "high", created_by="ana")
    grants.add("allow", AskedTool("b"), "high", created_by="ana")

    assert grants.take_back(rule.rule_id) == rule
    assert effect(grants) is None
    assert [rule.tool for rule in grants.rules] == ["b"]
    with pytest.raises(RuleNotFound):
        grants.take_back(rule.rule_id)


def test_rules_about_two_definitions_of_a_tool_are_taken_back_one_by_one() -> None:
    grants = Grants()
    old = grants.add("allow", READ, "high", created_by="ana")
    grants.add("allow", READ._replace(definition_sha256="0b" * 32), "high", created_by="ana")

    grants.take_back(old.rule_id)

    assert effect(grants) == "ask"
    assert effect(grants, call(READ._replace(definition_sha256="0b" * 32))) == "allow"


def test_later_decision_about_the_same_tool_takes_the_place_of_the_earlier() -> None:
    grants = Grants()
    grants.add("allow", READ, "low", created_by="ana")
    grants.add("deny", READ, "high", created_by="ben")

    assert [rule.created_by for rule in grants.rules] == ["ben"]
    assert effect(grants, call(risk="low")) == "deny"


def test_rules_are_bounded() -> None:
    grants = Grants(capacity=2)
    for name in "ab":
        grants.add("allow", AskedTool(name), "high", created_by="ana")

    with pytest.raises(LimitReached, match="take one back"):
        grants.add("allow", AskedTool("c"), "high", created_by="ana")
    grants.add("deny", AskedTool("a"), "high", created_by="ana")
    assert sorted((rule.tool, rule.effect) for rule in grants.rules) == [("a", "deny"), ("b", "allow")]
