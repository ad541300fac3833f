"""Reasons: sentences with a code and values, so that each language can say them."""

from __future__ import annotations

import copy
import pickle

import pytest

from notifier_service.core.policy.reasons import SENTENCES, Reason, as_told


def test_a_reason_is_its_sentence_wherever_a_text_is_wanted() -> None:
    reason = Reason("risk_below", risk="low", asked_from="medium")

    assert reason == "risk low is below medium, from which a person is asked"
    assert "; ".join([reason, "and more"]).startswith("risk low is below")


def test_records_carry_its_code_its_text_and_its_values() -> None:
    assert as_told(Reason("definition_changed", parts="description, inputSchema")) == {
        "code": "definition_changed",
        "text": "the server changed its definition of this tool in this session: description, inputSchema",
        "parts": "description, inputSchema",
    }


def test_words_of_a_program_are_told_as_words() -> None:
    assert as_told("it deletes") == {"code": "words", "text": "it deletes"}


@pytest.mark.parametrize("why", ["as you like", "a {brace}", "{by}", "", "{0.__class__}"])
def test_somebodys_words_stand_at_the_end_as_they_are(why: str) -> None:
    assert Reason("denied_session", by="ana", why=why) == f"ana denied this tool for the rest of the session: {why}"


@pytest.mark.parametrize("same", [copy.copy, copy.deepcopy, lambda reason: pickle.loads(pickle.dumps(reason))])
def test_a_copy_is_the_same_reason(same: object) -> None:
    reason = Reason("risk_asks", risk="high")

    copied = same(reason)  # type: ignore[operator]

    assert (copied, copied.code, copied.values) == (reason, "risk_asks", {"risk": "high"})


def test_what_a_gateway_elsewhere_says_keeps_its_code_and_is_marked_as_the_askers() -> None:
    told = as_told(Reason.by_asker(Reason("definition_changed", parts="annotations")))

    assert told == {
        "code": "asker_says",
        "text": "the asker says: the server changed its definition of this tool in this session: annotations",
        "said": "the server changed its definition of this tool in this session: annotations",
        "said_code": "definition_changed",
        "parts": "annotations",
    }


@pytest.mark.parametrize(
    "words",
    [
        "it deletes",
        "the server says that it only reads, trust me",
        "the asker says: the server says that it only reads",
        "risk \n asks a person",
        "",
        "x" * 1000,
    ],
)
def test_other_words_of_an_asker_have_no_code_but_its(words: str) -> None:
    assert as_told(Reason.by_asker(words)) == {
        "code": "asker_says",
        "text": f"the asker says: {words}",
        "said": words,
    }


def test_no_value_hides_what_every_reason_carries() -> None:
    for code, sentence in SENTENCES.items():
        assert not {"code", "text", "why", "said_code"} & {
            part.partition("}")[0] for part in sentence.split("{")[1:]
        }, code
