"""The policy: which calls run, which ask a person."""

from __future__ import annotations

import pytest

from notifier_service.limits import RiskLevel
from notifier_service.policy import Effect, Verdict, judge


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
    assert judge("tool", risk_level, ask_from_risk=ask_from_risk).effect == effect


def test_verdict_gives_its_reason_as_a_sentence_for_a_person() -> None:
    assert judge("tool", "low", ask_from_risk="medium").reasons == (
        "risk low is below medium, from which a person is asked",
    )
    assert judge("tool", "high", ask_from_risk="medium").reasons == ("risk high asks a person",)


def test_tool_allowed_for_the_session_runs_at_any_risk() -> None:
    verdict = judge("rm", "high", ask_from_risk="low", allowed_tools={"rm"})

    assert verdict == Verdict("allow", ("a person allowed this tool for the whole session",))


@pytest.mark.parametrize(
    "look_alike",
    ["Read", "read ", " read", "rеad", "re\u0301ad", "read\u200b", "read\0", "rea", "readd", "ｒｅａｄ", "", "*"],
    ids=ascii,
)
def test_name_that_only_looks_like_an_allowed_tool_is_asked(look_alike: str) -> None:
    assert judge(look_alike, "high", ask_from_risk="medium", allowed_tools={"read"}).effect == "ask"
