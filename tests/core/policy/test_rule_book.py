"""All rules asked as one: of a policy file, and of what people decided."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from notifier_service.core.policy.grants import Grants
from notifier_service.core.policy.policy_file import PolicyFile
from notifier_service.core.policy.rule_book import RuleBook
from notifier_service.core.policy.verdict import AskedTool, Call, Effect, Verdict, strictest
from tests.policies import a_policy_file, rules_text

WRITE = AskedTool("write")


def call(tool: AskedTool = WRITE, *, is_whole: bool = True) -> Call:
    return Call(tool, "s", "medium", {}, is_whole)


def granted(effect: Effect) -> Grants:
    grants = Grants()
    grants.add(effect, WRITE, "medium", created_by="ana")
    return grants


def effect_of(verdict: Verdict | None) -> str | None:
    return None if verdict is None else verdict.effect


@pytest.mark.parametrize("order", list(itertools.permutations(("allow", "ask", "deny"), 2)))
def test_deny_beats_ask_beats_allow_in_any_order(order: tuple[Effect, ...]) -> None:
    verdicts = [None, *(Verdict(effect, ()) for effect in order), None]

    assert effect_of(strictest(verdicts)) == next(effect for effect in ("deny", "ask", "allow") if effect in order)


def test_no_verdict_is_the_strictest_of_none() -> None:
    assert strictest([None, None]) is None


@pytest.mark.parametrize(
    ("in_file", "by_person", "effect"),
    [
        ("allow", "allow", "allow"),
        ("allow", "deny", "deny"),
        ("ask", "allow", "ask"),
        ("ask", "deny", "deny"),
        ("deny", "allow", "deny"),
    ],
)
def test_the_strictest_rule_counts_whatever_its_source(
    in_file: Effect, by_person: Effect, effect: Effect, tmp_path: Path
) -> None:
    book = RuleBook(a_policy_file(tmp_path / "policy.toml", **{in_file: "write"}))

    assert effect_of(book.judge(call(), granted(by_person))) == effect


def test_without_a_file_what_people_decided_counts_and_the_default_is_by_risk() -> None:
    book = RuleBook()

    assert effect_of(book.judge(call(), granted("allow"))) == "allow"
    assert book.judge(call(), Grants()) is None
    assert book.default == "by-risk"
    assert book.policy_file is None


def test_file_says_what_holds_where_no_rule_does(tmp_path: Path) -> None:
    assert RuleBook(a_policy_file(tmp_path / "policy.toml", default="deny")).default == "deny"


@pytest.mark.parametrize(("effect", "judged"), [("allow", None), ("ask", "ask"), ("deny", "deny")])
def test_no_rule_allows_a_call_of_which_not_all_is_there(effect: Effect, judged: str | None, tmp_path: Path) -> None:
    book = RuleBook(a_policy_file(tmp_path / "policy.toml", **{effect: "write"}))
    verdict = book.judge(call(is_whole=False), Grants())

    assert effect_of(verdict) in (judged, "ask" if effect == "allow" else judged)


def test_doubt_about_a_tool_comes_from_whichever_source_has_one(tmp_path: Path) -> None:
    changed = call(WRITE._replace(definition_sha256="0a" * 32))
    book = RuleBook(a_policy_file(tmp_path / "policy.toml", deny="rm"), [granted("allow")])

    assert book.doubt(changed, Grants()) == "the tool is not defined as it was when ana decided about it"
    assert book.doubt(changed, granted("deny")) == "the tool is not defined as it was when ana decided about it"
    assert book.doubt(call(AskedTool("other")), Grants()) is None


def test_use_of_a_rule_is_counted_where_the_rule_is(tmp_path: Path) -> None:
    grants, learned = granted("allow"), granted("allow")
    book = RuleBook(a_policy_file(tmp_path / "policy.toml", allow="write"), [learned])
    verdict = book.judge(call(AskedTool("write", "elsewhere")), grants)
    assert verdict is not None
    assert book.file is not None

    for rule_id in (verdict.rule_id, verdict.rule_id, grants.rules[0].rule_id, None):
        book.use(rule_id, grants)

    assert [count for count, _ in book.file.uses.values()] == [2]
    assert (grants.rules[0].used, learned.rules[0].used) == (1, 0)


def test_uses_of_a_rule_are_kept_as_long_as_the_file_has_it(tmp_path: Path) -> None:
    file = a_policy_file(tmp_path / "policy.toml", allow="write", deny="rm")
    book = RuleBook(file)
    assert book.file is not None
    for tool in ("write", "rm"):
        verdict = book.judge(call(AskedTool(tool)), Grants())
        assert verdict is not None
        book.use(verdict.rule_id, Grants())
    (tmp_path / "policy.toml").write_text(rules_text(allow="write", ask="pay"))
    file.refresh()

    book.judge(call(AskedTool("pay")), Grants())

    assert [count for count, _ in book.file.uses.values()] == [1, 0]


def test_rules_of_the_file_are_listed_for_the_sessions_that_they_may_hold_in(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(rules_text(deny="rm") + 'session = "team-*"\n' + rules_text(allow="ls")[21:])
    book = RuleBook(PolicyFile(tmp_path / "policy.toml"))

    names = {session: [rule.name for rule in book.listed(session)] for session in ("team-a", "other", None)}

    assert names == {"team-a": ["no rm", "let ls"], "other": ["let ls"], None: ["no rm", "let ls"]}
