"""What the service says, the console can say in Chinese, and everybody says the same of the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import notifier_service
from notifier_service.cli.words import ended
from notifier_service.core.policy.deeds import in_words
from notifier_service.core.policy.reasons import SENTENCES

CONSOLE = Path(notifier_service.__file__).parent / "web" / "console"


def test_each_reason_has_its_sentence_with_the_same_values() -> None:
    said = re.findall(r'^  (\w+):\s+"(.*)",$', (CONSOLE / "chinese_reasons.js").read_text(), re.M)

    def values(sentence: str) -> set[str]:
        return set(re.findall(r"\{(\w+)\}", sentence))

    assert {code: values(sentence) for code, sentence in said} == {
        code: values(sentence) for code, sentence in SENTENCES.items()
    }


def test_both_languages_have_the_same_words() -> None:
    names = [
        re.findall(r'^  "?([\w.-]+)"?:', (CONSOLE / f"{language}.js").read_text(), re.M)
        for language in ("english", "chinese")
    ]

    assert sorted(names[0]) == sorted(names[1])


def words_of(language: str) -> dict[str, str]:
    return dict(re.findall(r'^  "?([\w.-]+)"?:\s+"(.*)",$', (CONSOLE / f"{language}.js").read_text(), re.M))


def test_both_languages_put_the_same_values_in() -> None:
    english, chinese = words_of("english"), words_of("chinese")

    for name in english.keys() & chinese.keys():
        assert set(re.findall(r"\{\d\}", english[name])) == set(re.findall(r"\{\d\}", chinese[name])), name


@pytest.mark.parametrize(
    ("decision", "scope", "name"),
    [
        ("approve", "once", "approve"),
        ("approve", "session", "session"),
        ("approve", "always", "always"),
        ("edit", "once", "edit"),
        ("reject", "once", "reject"),
        ("reject", "session", "rejectSession"),
        ("reject", "always", "rejectAlways"),
        ("respond", "once", "respond"),
    ],
)
def test_terminal_and_page_say_the_same_of_how_a_request_ended(decision: str, scope: str, name: str) -> None:
    status = "approved" if decision in ("approve", "edit") else "rejected"
    record = {"status": status, "decision": decision, "scope": scope, "decided_by": "ana"}
    words = words_of("english")

    assert ended(record) == words[f"decision.{name}"].replace("{0}", "ana")
    assert ended(record, is_ours=True) == words[f"decision.{name}"].replace("{0}", words["by.you"])
    assert ended({**record, "decided_by": "policy"}).endswith(words["by.policy"])


@pytest.mark.parametrize("status", ["expired", "cancelled"])
def test_terminal_and_page_say_the_same_of_what_nobody_decided(status: str) -> None:
    assert ended({"status": status}) == words_of("english")[f"decision.{status}"]


def test_terminal_and_page_say_the_same_of_what_a_call_does() -> None:
    words = words_of("english")
    deeds = {name.removeprefix("deed."): text for name, text in words.items() if name.startswith("deed.")}
    places = {name.removeprefix("place."): text for name, text in words.items() if name.startswith("place.")}

    for deed, text in deeds.items():
        assert text in in_words({"does": [deed], "where": [], "reversible": None})
    for place, text in places.items():
        assert text in in_words({"does": ["writes"], "where": [place], "reversible": None})
