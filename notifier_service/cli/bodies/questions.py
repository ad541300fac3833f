"""What a request asks a person: questions with options or fields to fill in, and what their answer is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ...bare import parsed

__all__ = ["Given", "Option", "QuestionField", "Questions", "answer_to", "questions_of"]

_CODES = ("agent_question", "server_question")
_NUMBERS = {
    "integer": re.compile(r"-?[0-9]+\Z"),
    "number": re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z"),
}


@dataclass(frozen=True, slots=True)
class Given:
    """What a person has chosen of a question, by the options' places, and written."""

    chosen: Sequence[int] = ()
    words: str = ""


@dataclass(frozen=True, slots=True)
class Option:
    value: Any
    label: str
    description: str | None = None
    preview: str | None = None


@dataclass(frozen=True, slots=True)
class QuestionField:
    """One question, and under which name its answer is given. It has options, or takes words of one's own, or both.

    ``words`` says what these are, and is None where only an option is an answer. ``given`` is what is chosen and
    written before anybody does.
    """

    name: str
    text: str
    header: str | None = None
    description: str | None = None
    options: Sequence[Option] = ()
    is_multiple: bool = False
    words: Literal["text", "number", "integer", "json"] | None = "text"
    is_needed: bool = True
    given: Given = Given()


@dataclass(frozen=True, slots=True)
class Questions:
    """``way`` is how an answer is given: as text to each question, as the content of a form, or as a reply."""

    way: Literal["answers", "content", "response"]
    message: str | None
    fields: Sequence[QuestionField]


def questions_of(record: Mapping[str, Any]) -> Questions | None:
    """The questions of a request; None where it asks whether a call may run, or they cannot be read."""
    parameters = record["parameters"]
    codes = [reason.get("code") for reason in record.get("reasons") or ()]
    if record.get("parameters_truncated") or not any(code in codes for code in _CODES):
        return None
    return _own_questions(parameters) or _form(parameters) or _one_question(parameters)


def answer_to(
    questions: Questions, parameters: Mapping[str, Any], given: Sequence[Given]
) -> dict[str, Any] | Sequence[int]:
    """What a person's choices and words say, as fields of a decision.

    Where some questions are not answered, or not with what they take, the places of these.
    """
    values: dict[str, Any] = {}
    open_ones = []
    for index, field in enumerate(questions.fields):
        try:
            value = _value_of(field, given[index], questions.way)
        except ValueError:
            open_ones.append(index)
            continue
        if value is not None:
            values[field.name] = value
        elif field.is_needed:
            open_ones.append(index)
    if open_ones:
        return open_ones
    if questions.way == "response":
        return {"approved": False, "response": next(iter(values.values()))}
    return {"approved": True, "parameters": {**parameters, questions.way: values}}


def _value_of(field: QuestionField, given: Given, way: str) -> Any:
    """None for no answer. Raises ``ValueError`` for one that it does not take."""
    picked = [field.options[index] for index in given.chosen if 0 <= index < len(field.options)]
    written = given.words.strip()
    if way != "content":
        said = [*(option.label for option in picked), *([written] if written else [])]
        return ", ".join(said) if said else None
    if field.is_multiple:
        return [option.value for option in picked] if picked or field.is_needed else None
    if field.options:
        return picked[0].value if picked else None
    if not written:
        return None
    if field.words == "text":
        return given.words
    if field.words in _NUMBERS and not _NUMBERS[field.words].match(written):
        raise ValueError(written)
    return parsed(written)


def _own_questions(parameters: Mapping[str, Any]) -> Questions | None:
    """``questions``, each with options, that an agent asks by a tool of its own."""
    questions = parameters.get("questions")
    if not isinstance(questions, list) or not questions or not all(isinstance(one, dict) for one in questions):
        return None
    texts = [one.get("question") for one in questions]
    if not all(map(_text, texts)) or len(set(texts)) < len(texts):
        return None
    fields = [
        QuestionField(
            one["question"],
            one["question"],
            header=_text(one.get("header")),
            options=_options_of(one.get("options")),
            is_multiple=one.get("multiSelect") is True,
        )
        for one in questions
    ]
    return Questions("answers", None, fields)


def _options_of(given: Any) -> list[Option]:
    options = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    return [
        Option(label, label, _text(one.get("description")), _text(one.get("preview")))
        for one in options
        if (label := _text(one.get("label"))) is not None
    ]


def _one_question(parameters: Mapping[str, Any]) -> Questions | None:
    """One question, with choices or without."""
    question, choices = _text(parameters.get("question")), parameters.get("choices")
    if question is None:
        return None
    options = [Option(one, one) for one in choices if _text(one)] if isinstance(choices, list) else []
    return Questions("response", None, [QuestionField("question", question, options=options)])


def _form(parameters: Mapping[str, Any]) -> Questions | None:
    """The fields of a schema that an MCP server asks to have filled in."""
    schema = parameters.get("requested_schema")
    if not isinstance(schema, dict):
        return None
    properties, needed = schema.get("properties"), schema.get("required")
    properties = properties if isinstance(properties, dict) else {}
    needed = needed if isinstance(needed, list) else []
    fields = [_field_of(name, given, is_needed=name in needed) for name, given in properties.items()]
    return Questions("content", _text(parameters.get("message")), fields)


def _field_of(name: str, given: Any, *, is_needed: bool) -> QuestionField:
    schema = given if isinstance(given, dict) else {}
    title = _text(schema.get("title"))
    field = QuestionField(
        name,
        title or name,
        header=None if title is None else name,
        description=_text(schema.get("description")),
        is_needed=is_needed,
    )
    items, by_default = schema.get("items"), schema.get("default")
    is_multiple = schema.get("type") == "array" and isinstance(items, dict)
    options = _choices_of(items if isinstance(items, dict) and is_multiple else schema)
    if options:
        wanted = by_default if is_multiple and isinstance(by_default, list) else [by_default]
        # True is not 1 here.
        places = [next((at for at, one in enumerate(options) if _same(one.value, value)), None) for value in wanted]
        chosen = [at for at in places if at is not None]
        return replace(field, options=options, is_multiple=is_multiple, words=None, given=Given(chosen))
    kind = schema.get("type")
    if kind == "string":
        return replace(field, given=Given((), by_default if isinstance(by_default, str) else ""))
    is_number = isinstance(by_default, int | float) and not isinstance(by_default, bool)
    written = json.dumps(by_default) if is_number else ""
    return replace(field, words=kind if kind in ("number", "integer") else "json", given=Given((), written))


def _choices_of(schema: Mapping[str, Any]) -> list[Option]:
    """The values among which one is chosen, and what they are called."""
    if schema.get("type") == "boolean":
        return [Option(True, "true"), Option(False, "false")]
    for named in (schema.get("oneOf"), schema.get("anyOf")):
        if isinstance(named, list) and named and all(isinstance(one, dict) and "const" in one for one in named):
            return [
                Option(one["const"], _text(one.get("title")) or _shown(one["const"]), _text(one.get("description")))
                for one in named
            ]
    values, names = schema.get("enum"), schema.get("enumNames")
    if not isinstance(values, list):
        return []
    names = names if isinstance(names, list) else []
    called = [*names, *([None] * len(values))]
    return [Option(value, _text(name) or _shown(value)) for value, name in zip(values, called, strict=False)]


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _text(given: Any) -> str | None:
    return given if isinstance(given, str) and given else None
