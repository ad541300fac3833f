"""Questions that an agent asks a person through a tool of its own, with options to choose from.

Claude Code's runs without asking anybody when it is given the ``answers`` beside its ``questions``: each question's own
text, and what was chosen or written. So an answer is an edit, and what it may hold is the schema that an edit must fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.input_schema import InputSchema
from ...core.policy.reasons import Reason
from .agent_calls import AskedCall

__all__ = ["answered_in_words", "how_asked", "is_question"]

_TOOLS = frozenset({"AskUserQuestion"})

_ANSWER = {"type": "string", "minLength": 1}


def is_question(asked: AskedCall) -> bool:
    """Whether the call asks a person something, in the form that can be answered."""
    return asked.tool_name in _TOOLS and asked.body_bytes is None and bool(_questions(asked.parameters))


def how_asked(asked: AskedCall) -> dict[str, Any]:
    """How a person is asked about it: no rule answers a question, and one answer is for one question."""
    properties = {
        text: {**_ANSWER, **({"title": question["header"]} if isinstance(question.get("header"), str) else {})}
        for text, question in _questions(asked.parameters).items()
    }
    answers = {"type": "object", "properties": properties, "additionalProperties": False, "minProperties": 1}
    schema = {"type": "object", "properties": {"answers": answers}, "required": ["questions", "answers"]}
    return {
        "by_policy": False,
        "scopes": ("once",),
        "needs_answer": True,
        "risk_reasons": (Reason("agent_question"), *asked.risk_reasons),
        "input_schema": InputSchema.of(schema),
    }


def answered_in_words(asked: Mapping[str, Any], response: str) -> dict[str, Any] | None:
    """What the tool runs with when a person has replied in words; None where that does not say to which."""
    questions = _questions(asked)
    return {**asked, "answers": dict.fromkeys(questions, response)} if len(questions) == 1 else None


def _questions(parameters: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Each question by its text; empty where something in there is none."""
    given = parameters.get("questions")
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        return {}
    texts = [one.get("question") for one in given]
    if not all(isinstance(text, str) and text for text in texts) or len(set(texts)) < len(texts):
        return {}
    return dict(zip(texts, given, strict=True))
