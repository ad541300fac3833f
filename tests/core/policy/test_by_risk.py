"""The policy: which calls run, which ask a person."""

from __future__ import annotations

import pytest

from notifier_service.core.limits import RiskLevel
from notifier_service.core.policy.by_risk import Ratings, judge
from notifier_service.core.policy.verdict import AskedTool, Effect


@pytest.mark.parametrize(
    ("risk_level", "ask_from_risk", "effect"),
    [
        ("low", "low", "ask"),
        ("medium", "low", "ask"),
        ("high", "low", "ask"),
        ("low", "medium", "allow"),
        ("medium", "medium", "ask"),
        ("high", "medium", "ask"),
        ("low", "high", "allow"),
        ("medium", "high", "allow"),
        ("high", "high", "ask"),
    ],
)
def test_risk_below_the_threshold_runs_and_the_rest_asks(
    risk_level: RiskLevel, ask_from_risk: RiskLevel, effect: Effect
) -> None:
    assert judge(risk_level, ask_from_risk=ask_from_risk).effect == effect


def test_verdict_gives_its_reason_as_a_sentence_for_a_person() -> None:
    assert judge("low", ask_from_risk="medium").reasons == ("risk low is below medium, from which a person is asked",)
    assert judge("high", ask_from_risk="medium").reasons == ("risk high asks a person",)


READ = AskedTool("read", "files", "0a" * 32, "ci")


def test_highest_risk_at_which_a_tool_was_asked_about_is_remembered() -> None:
    ratings = Ratings()
    levels: tuple[RiskLevel, ...] = ("low", "medium", "high", "medium", "low")
    seen = []
    for level in levels:
        ratings.note(READ, level)
        seen.append(ratings.highest(READ))

    assert seen == ["low", "medium", "high", "high", "high"]


@pytest.mark.parametrize("other", [{"tool_name": "Read"}, {"server": None}, {"asked_by": "x"}, {"agent": "x"}])
def test_ratings_are_of_one_tool_and_one_asker(other: dict[str, str | None]) -> None:
    ratings = Ratings()
    ratings.note(READ, "high")

    assert ratings.highest(READ._replace(**other)) == "low"  # type: ignore[arg-type]  # of AskedTool's own fields
    assert ratings.highest(READ._replace(definition_sha256="0b" * 32)) == "high"


def test_who_asked_about_more_tools_than_are_remembered_is_not_believed_about_the_rest() -> None:
    ratings = Ratings(capacity=2)
    for name in ("a", "b", "c"):
        ratings.note(AskedTool(name, asked_by="ci"), "medium")
    ratings.note(AskedTool("a", asked_by="ci"), "high")

    assert [ratings.highest(AskedTool(name, asked_by="ci")) for name in "abcd"] == ["high", "medium", "high", "high"]
    assert ratings.highest(AskedTool("c", asked_by="other")) == "low"
