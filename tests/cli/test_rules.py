"""``rules`` lists what holds in a session, takes it back, and makes a rule of a suggestion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Decision
from notifier_service.core.policy.learned import LearnedRules
from notifier_service.settings import Settings
from notifier_service.web import Site, serve
from tests.cli.processes import Commands

pytestmark = pytest.mark.usefixtures("site")


@pytest.fixture
def learning(site: Site, tmp_path: Path) -> Site:
    """The service keeps what people decide for always."""
    site.broker.learn_into(LearnedRules(tmp_path / "rules.toml"))
    return site


def decided(site: Site, tool_name: str = "write", scope: Any = "session", **more: Any) -> None:
    request = site.broker.ask("s1", tool_name=tool_name, parameters={}, asked_by="ci")
    decision = Decision(approved=True, request_id=request.request_id, scope=scope, **more)
    site.broker.decide("s1", decision, decided_by="ana")


async def test_rules_of_a_session_are_listed_with_their_use(commands: Commands, learning: Site) -> None:
    decided(learning, "write", "always", reason="as ever\x1b[2J\u202e")
    decided(learning, "read")
    learning.broker.ask("s1", tool_name="read", parameters={}, asked_by="ci")

    ended = await commands.run_here("rules", "s1")

    heading, learned, session = ended.out.splitlines()
    assert (ended.exit_code, heading.split()) == (0, ["EFFECT", "SOURCE", "USED", "RULE", "WHAT"])
    assert learned.split()[:3] == ["allow", "learned", "0"]
    assert session.split()[:3] == ["allow", "session", "1"]
    assert 'allow every call of "write", asked by "ci", at risk high or less  by ana' in learned
    assert "\x1b" not in ended.out
    assert "\u202e" not in ended.out


async def test_without_a_session_what_holds_beyond_one_is_listed(commands: Commands, learning: Site) -> None:
    decided(learning, "write", "always")
    decided(learning, "read")

    ended = await commands.run_here("rules", "--json")

    data = json.loads(ended.out)
    assert ([rule["tool"] for rule in data["rules"]], data["suggestions"]) == (["write"], [])


async def test_where_no_rule_holds_that_is_said(commands: Commands) -> None:
    ended = await commands.run_here("rules", "s1")

    assert (ended.exit_code, ended.out) == (0, "")
    assert "No rule holds" in ended.err


@pytest.mark.parametrize("scope", ["session", "always"])
async def test_rule_is_taken_back(commands: Commands, learning: Site, scope: str) -> None:
    decided(learning, "write", scope)
    [rule] = learning.broker.open("s1").all_rules()
    where = [] if scope == "always" else ["s1"]

    ended = await commands.run_here("rules", *where, "--revoke", rule.rule_id)
    again = await commands.run_here("rules", *where, "--revoke", rule.rule_id)

    assert (ended.exit_code, ended.out.strip()) == (0, f"taken back: {rule.name}")
    assert learning.broker.open("s1").all_rules() == ()
    assert (again.exit_code, "rule_not_found" in again.err) == (1, True)


@pytest.mark.parametrize(("options", "source"), [([], "session"), (["--always"], "learned")])
async def test_suggestion_is_shown_and_taken_over(
    commands: Commands, learning: Site, options: list[str], source: str
) -> None:
    for _ in range(3):
        decided(learning, scope="once")
    [suggestion] = learning.broker.open("s1").desk.suggestions

    shown = await commands.run_here("rules", "s1")
    ended = await commands.run_here("rules", "s1", "--take-over", suggestion.suggestion_id, "--json", *options)

    assert shown.out.strip() == (
        'would have saved 3 questions: every call of "write", asked by "ci", at risk high or less '
        f"(--take-over {suggestion.suggestion_id})"
    )
    assert json.loads(ended.out)["source"] == source
    assert [rule.source for rule in learning.broker.open("s1").all_rules()] == [source]


async def test_who_may_only_look_is_offered_no_suggestion_and_told_why(commands: Commands, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps([{"token": "look-on", "subject": "vera", "rights": ["view"], "sessions": ["*"]}]))
    async with serve(settings=Settings(port=0, auth="tokens", tokens_file=tokens)) as guarded:
        for _ in range(2):
            decided(guarded, scope="once")

        shown = await commands.run_here("rules", "s1", "--url", guarded.url, "--token", "look-on")

    assert shown.out.splitlines() == [
        'would have saved 2 questions: every call of "write", asked by "ci", at risk high or less',
        "Your token may watch, but not decide.",
    ]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--take-over", "sug_x"], "needs the session"),
        (["s1", "--always"], "goes with --take-over"),
        (["s1", "--revoke", "a", "--take-over", "b"], "not allowed with"),
    ],
)
async def test_options_that_do_not_fit_are_refused(commands: Commands, arguments: list[str], why: str) -> None:
    ended = await commands.run_here("rules", *arguments)

    assert (ended.exit_code, why in ended.err) == (2, True)
