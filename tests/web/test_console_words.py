"""What the service says, the console can say in Chinese, and everybody says the same of the same."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import notifier_service
from notifier_service.cli.words import ended
from notifier_service.core.policy.command_use import CommandUse
from notifier_service.core.policy.deeds import in_words
from notifier_service.core.policy.grants import described, named
from notifier_service.core.policy.reasons import SENTENCES
from notifier_service.core.policy.verdict import AskedTool

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


def test_worker_has_the_same_words_in_both_languages_and_puts_the_same_values_in() -> None:
    english, chinese = (
        dict(re.findall(r'^  "?([\w.-]+)"?:\s+"(.*)",$', part, re.M))
        for part in (CONSOLE / "worker_words.js").read_text().split("const chinese")
    )

    assert english.keys() == chinese.keys()
    for name, text in english.items():
        assert set(re.findall(r"\{\d\}", text)) == set(re.findall(r"\{\d\}", chinese[name])), name


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


GIT = CommandUse(("git", "push"), frozenset({"-f", "--all"}), None, None)
RULES = [
    (described(AskedTool("rm"), "low"), '对 "rm" 的所有调用，由此程序提问，风险为低'),
    (described(AskedTool("rm", asked_by="ci"), None), '对 "rm" 的所有调用，由 "ci" 提问'),
    (
        named("allow", AskedTool("read", "files", "0" * 64, "ada", "codex"), "medium"),
        '对 "read" 的所有调用，服务器为 "files"，定义与现在相同，由 "codex"（身份 "ada"）提问，风险不高于中',
    ),
    (
        described(AskedTool("sh", command=GIT), "high"),
        '对 "sh" 的所有调用，只有一条命令，以 "git push" 开头，选项为 "--all"、"-f"，由此程序提问，风险不高于高',
    ),
    (
        described(AskedTool("sh", command=GIT._replace(options=frozenset())), None),
        '对 "sh" 的所有调用，只有一条命令，以 "git push" 开头，没有选项，由此程序提问',
    ),
    (
        named("deny", AskedTool("sh", command=CommandUse((), frozenset(), "0" * 64, None)), "low"),
        '对 "sh" 的所有调用，参数与此完全相同，由此程序提问',
    ),
    # A name that says it were of a server, or asked by another, stays a name.
    (
        described(AskedTool('x" of server "y', asked_by='a", at risk high or less'), "low"),
        r'对 "x\" of server \"y" 的所有调用，由 "a\", at risk high or less" 提问，风险为低',
    ),
    ("no-secrets", "no-secrets"),
    (named("allow", AskedTool("x" * 250, "y" * 250), "low"), named("allow", AskedTool("x" * 250, "y" * 250), "low")),
]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_rule_that_the_service_words_is_said_in_chinese_whatever_its_names_are() -> None:
    program = (
        f"import {{ ruleInChinese }} from {json.dumps((CONSOLE / 'chinese_rules.js').as_uri())};"
        f"console.log(JSON.stringify({json.dumps([words for words, _ in RULES])}.map(ruleInChinese)))"
    )
    ran = subprocess.run(
        ["node", "--input-type=module", "--eval", program], capture_output=True, check=True, timeout=30
    )

    assert json.loads(ran.stdout) == [told for _, told in RULES]
