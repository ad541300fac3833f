"""A further round of a call that was let run counts once, for an hour, and only as it was let run."""

from __future__ import annotations

from typing import Any

import pytest

from notifier_service.calls.rounds import Round, Rounds
from tests.clock import Clock

GRANTED = Round("medium", "0a" * 32, {"n": 2})


def take(rounds: Rounds, tool_name: str = "t", n: Any = 1, state: Any = "s", definition: Any = "0a" * 32) -> Any:
    return rounds.take(tool_name, {"n": n}, state, definition)


@pytest.fixture
def rounds(clock: Clock) -> Rounds:
    rounds = Rounds(capacity=3, clock=clock)
    rounds.expect("t", {"n": 1}, "s", GRANTED)
    return rounds


def test_round_that_was_asked_for_is_what_was_let_run_and_counts_once(rounds: Rounds) -> None:
    assert take(rounds) == GRANTED
    assert take(rounds) is None


@pytest.mark.parametrize(
    "other", [{"tool_name": "T"}, {"n": 2}, {"n": "1"}, {"n": True}, {"state": "S"}, {"state": None}]
)
def test_round_that_nobody_asked_for_is_none(other: dict[str, Any], rounds: Rounds) -> None:
    assert take(rounds, **other) is None
    assert take(rounds) == GRANTED


@pytest.mark.parametrize("definition", [None, "0b" * 32])
def test_round_of_a_tool_that_is_defined_anew_is_none(definition: str | None, rounds: Rounds) -> None:
    assert take(rounds, definition=definition) is None
    assert take(rounds) is None


def test_round_is_remembered_for_an_hour(rounds: Rounds, clock: Clock) -> None:
    rounds.expect("t", {"n": 3}, "s", GRANTED)
    clock.advance(3599)
    assert take(rounds) == GRANTED
    clock.advance(1)
    assert take(rounds, n=3) is None


def test_oldest_of_too_many_rounds_is_forgotten(rounds: Rounds) -> None:
    for n in (2, 3, 4):
        rounds.expect("t", {"n": n}, "s", GRANTED)

    assert [take(rounds, n=n) for n in (1, 2, 3, 4)] == [None, GRANTED, GRANTED, GRANTED]


def test_state_that_has_no_form_is_never_met_again(rounds: Rounds) -> None:
    rounds.expect("t", {"n": 1}, float("nan"), GRANTED)

    assert take(rounds, state=float("nan")) is None
