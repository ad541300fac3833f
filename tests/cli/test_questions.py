"""Questions are read of a request, and answered, as in the browser."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from notifier_service.cli.bodies import Given, answer_to, questions_of
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.policy.reasons import Reason
from notifier_service.web import Site
from tests.cli.terminals import Terminal
from tests.cli.test_watch import Piped, open_piped, piped

__all__ = ["open_piped", "piped"]

_FILE = Path(__file__).parents[1] / "bodies" / "questions.json"
VECTORS: list[dict[str, Any]] = json.loads(_FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["about"])
def test_vector_that_the_browser_is_held_to_too(vector: dict[str, Any]) -> None:
    questions = questions_of(vector)
    if questions is None:
        assert vector["way"] is None
        return
    told = json.loads(json.dumps(asdict(questions)))

    assert told == {name: vector[name] for name in ("way", "message", "fields")}
    for case in vector["answers"]:
        given = [Given(**one) for one in case["given"]]
        answer = answer_to(questions, vector["parameters"], given)
        assert (dict(answer) if isinstance(answer, Mapping) else list(answer)) == case["answer"]


BRANCH = {
    "question": "Which branch?",
    "header": "Branch",
    "options": [{"label": "main", "description": "as it is"}, {"label": "dev", "preview": "+ one\n- two"}],
}
TESTS = {
    "question": "Which tests?",
    "options": [{"label": "unit"}, {"label": "browser"}, {"label": "load"}],
    "multiSelect": True,
}
TWO = {"questions": [BRANCH, TESTS]}
FORM = {
    "message": "Where does it belong?\nSay it once.",
    "requested_schema": {
        "required": ["project"],
        "properties": {
            "project": {"enum": ["billing", "web"]},
            "points": {"type": "integer", "default": 3},
            "note": {"type": "string"},
        },
    },
}


def ask(site: Site, parameters: dict[str, Any], code: str = "agent_question") -> PermissionRequest:
    how: dict[str, Any] = {"risk_level": "low", "by_policy": False, "needs_answer": True, "scopes": ("once",)}
    return site.broker.ask("s", tool_name="AskUserQuestion", parameters=parameters, risk_reasons=(Reason(code),), **how)


async def decided(request: PermissionRequest) -> Any:
    async with asyncio.timeout(10):
        return (await request.decision()).parameters


@pytest.fixture
async def terminal(site: Site) -> AsyncIterator[Terminal]:
    terminal = Terminal(80, 40)
    await terminal.open(f"{site.url}{site.settings.prefix}")
    yield terminal
    await terminal.close()


@pytest.mark.parametrize(
    ("written", "answers"),
    [
        (("2", "1, 3"), ("dev", "unit, load")),
        (("Main", "the slow ones"), ("main", "the slow ones")),
        (("3", "browser"), ("3", "browser")),
    ],
    ids=["numbers", "a name and words", "a number that is none of them"],
)
async def test_each_question_is_shown_with_its_options_and_answered_by_a_line(
    terminal: Terminal, site: Site, written: tuple[str, str], answers: tuple[str, str]
) -> None:
    request = ask(site, TWO)
    await terminal.until("A answer")
    shown = "\n".join(terminal.rows)
    for line in (
        "[Branch] Which branch?",
        "1  main  as it is",
        "2  dev",
        "| + one",
        "Which tests?  (choose one or more)",
    ):
        assert line in shown
    assert "E edit" not in shown
    await terminal.press("a", until="Branch (1 to 2, or your own words): ")
    terminal.type(f"{written[0]}\n")
    await terminal.until("Which tests? (1 to 3, or several: 1,2, or your own words): ")
    terminal.type(f"{written[1]}\n")

    assert await decided(request) == {**TWO, "answers": {"Which branch?": answers[0], "Which tests?": answers[1]}}


async def test_question_without_an_answer_waits_on(terminal: Terminal, site: Site) -> None:
    request = ask(site, TWO)
    await terminal.until("A answer")
    await terminal.press("a", until="Branch (")
    terminal.type("1\n")
    await terminal.until("Which tests? (")
    terminal.type("\n")
    await terminal.until("Not decided: not answered, or not with what is offered: Which tests?")

    assert request.pending


async def test_form_of_a_server_is_filled_in_with_what_it_takes(terminal: Terminal, site: Site) -> None:
    request = ask(site, FORM, "server_question")
    await terminal.until("A answer")
    assert "Say it once." in "\n".join(terminal.rows)
    for prompt, text in (
        ("project (1 to 2): ", "web"),
        ("points (a whole number; Enter: 3): ", ""),
        ("note (your own words; Enter for none): ", ""),
    ):
        await (terminal.press("a", until=prompt) if prompt.startswith("project") else terminal.until(prompt))
        terminal.type(f"{text}\n")

    assert await decided(request) == {**FORM, "content": {"project": "web", "points": 3}}


async def test_hostile_options_stand_on_one_line_each_with_escapes(terminal: Terminal, site: Site) -> None:
    options = [
        {"label": "safe\n  2  other\x1b[2J\u202e"},
        *({"label": f"o{number}"} for number in range(1000)),
        None,
        {},
    ]
    request = ask(site, {"questions": [{"question": "Which?\r\n1  no", "options": options}]})
    await terminal.until("It has characters that nobody sees")
    await terminal.until("Page 1 of")
    shown = "\n".join(terminal.rows)

    assert "Which? 1 no" in shown
    assert r"1  safe 2 other\x1b[2J\u202e" in shown
    assert request.pending


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("answer {} 2 | 1,3", {"Which branch?": "dev", "Which tests?": "unit, load"}),
        ("approve {} main | the slow ones", {"Which branch?": "main", "Which tests?": "the slow ones"}),
    ],
)
async def test_line_answers_questions_with_a_bar_between_them(
    piped: Piped, site: Site, line: str, answers: dict[str, str]
) -> None:
    request = ask(site, TWO)
    await piped.until("Answer with a line: answer")
    await piped.type(f"answer {request.request_id} 7|\n")
    await piped.until("Not decided: not answered, or not with what is offered: Which tests?")
    await piped.type(f"{line.format(request.request_id)}\n")

    assert await decided(request) == {**TWO, "answers": answers}


async def test_word_that_answers_is_refused_where_nothing_is_asked(piped: Piped, site: Site) -> None:
    request = site.broker.ask("s", tool_name="write_file", parameters={"path": "a"})
    await piped.until("Answer with a line: ")
    await piped.type(f"answer {request.request_id} 1\n")
    await piped.until("Not decided: this is no question.")

    assert request.pending
