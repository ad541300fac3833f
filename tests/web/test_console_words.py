"""What the service says, the console can say in Chinese."""

from __future__ import annotations

import re
from pathlib import Path

import notifier_service
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
