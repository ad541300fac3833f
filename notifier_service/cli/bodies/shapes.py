"""Which shape parameters have. The names of parameters and the kinds of their values tell it, never the tool's name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from .body import (
    Because,
    Body,
    DiffLine,
    DiffPart,
    FilePart,
    JsonPart,
    ListPart,
    Part,
    Segment,
    Shape,
    Step,
    StepsPart,
    TablePart,
    TextPart,
    ValuePart,
)
from .lines import line_changes, plain
from .patch import patch_lines
from .readable import in_ascii, readable_json
from .unseen import mixed_in, name_of, unseen_in

__all__ = ["body_of"]

#: Old text and new one; each pair is looked for in this order.
_PAIRS = (
    ("old_string", "new_string"),
    ("old_str", "new_str"),
    ("oldString", "newString"),
    ("old_text", "new_text"),
    ("oldText", "newText"),
    ("old_content", "new_content"),
    ("oldContent", "newContent"),
    ("old", "new"),
    ("before", "after"),
    ("search", "replace"),
    ("find", "replace"),
    ("original", "modified"),
    ("original", "replacement"),
    ("original", "updated"),
)
#: The same as what the service reads a command from.
_COMMANDS = ("command", "cmd", "script", "argv")
_URLS = ("url", "uri", "endpoint", "href")
_URL = re.compile(r"(?:https?|wss?)://", re.I)
_METHOD = re.compile(r"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|TRACE|CONNECT)\Z", re.I)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_RECIPIENTS = ("to", "recipient", "recipients", "to_email", "channel", "channel_id", "chat_id", "phone_number")
_ADDRESSES = (*_RECIPIENTS, "cc", "bcc", "reply_to", "from", "subject", "title")
_MESSAGES = ("body", "text", "message", "content", "html", "html_body", "text_body", "markdown")
_PATHS = (
    "file_path", "path", "filepath", "filePath", "file", "filename", "file_name", "target_file", "notebook_path",
)  # fmt: skip
_CONTENTS = (
    "content", "contents", "file_text", "insert_text", "new_str", "text", "new_source", "source", "code", "data",
    "body",
)  # fmt: skip
#: What agents say beside what is to be done.
_WORDS = ("description", "explanation", "reason", "reasoning", "justification", "purpose", "rationale", "thought")
#: What a part of a command does that is marked; most of them write.
_RISKY = ("deletes", "sends", "spends")

_WORD = re.compile(r"[\w@%+=:,./-]+\Z", re.A)
_HOST = re.compile(r"([a-z]+://(?:[^/?#\\@]*@)?)([^/?#\\@:]+)(?=(?::[0-9]+)?(?:[/?#]|\Z))", re.I)
#: What may stand behind a command.
_BEHIND = re.compile(r"[ \t]*(?:\Z|[;|&\n<>]|[12]>)")
#: A text that could be taken for something else.
_ODD = re.compile(r"\Z|\s|[\"\[{]|(?:true|false|null|-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\Z")

_MOST_COLUMNS = 12
_MOST_CELL = 200
#: A text that is longer, or has lines, has a place of its own.
_MOST_VALUE = 120

_Values = Mapping[str, Any]
_Found = tuple[Shape, Sequence[Part]] | None


def body_of(record: Mapping[str, Any]) -> Body:
    """How the parameters of a request are drawn: in an easy shape where that shows every character, else exactly."""
    parameters: _Values = record["parameters"]
    because = Because("cut") if record.get("parameters_truncated") else _hiding(parameters)
    told = _steps_of(record.get("command"))
    if because is None:
        for read in _SHAPES:
            found = read(parameters, told)
            if found is not None:
                return Body(found[0], None, found[1])
    return Body("exact", because, [_exactly(parameters, because), *told])


def _diff(values: _Values, told: Sequence[Part]) -> _Found:
    for name, given in values.items():
        is_patch = isinstance(given, str) and not (name in _CONTENTS and _path_of(values))
        lines = patch_lines(given) if is_patch else _applied(given)
        if lines is not None:
            return "diff", _around(values, [name], told, [DiffPart(name, lines)])
        edits = _edits_of(given, name)
        if edits is not None:
            return "diff", _around(values, [name], told, edits)
    pair = _pair_of(values)
    if pair is None:
        return None
    part = DiffPart(" → ".join(pair), line_changes(values[pair[0]], values[pair[1]]))
    return "diff", _around(values, pair, told, [part])


def _applied(given: Any) -> list[DiffLine] | None:
    """A patch that a program is given: ``["apply_patch", "*** Begin Patch…"]``."""
    if not _is_argv(given) or len(given) != 2:
        return None
    lines = patch_lines(given[1])
    return None if lines is None else [DiffLine("note", plain(given[0])), *lines]


def _edits_of(given: Any, name: str) -> list[Part] | None:
    if not isinstance(given, list) or not given:
        return None
    parts: list[Part] = []
    for index, edit in enumerate(given):
        pair = _pair_of(edit) if isinstance(edit, dict) else None
        if pair is None:
            return None
        at = f"{name}[{index}]"
        parts.append(DiffPart(f"{at}.{pair[0]} → {pair[1]}", line_changes(edit[pair[0]], edit[pair[1]])))
        parts += [_part(edit, other, f"{at}.{other}") for other in edit if other not in pair]
    return parts


def _pair_of(values: _Values) -> tuple[str, str] | None:
    return next((pair for pair in _PAIRS if all(isinstance(values.get(name), str) for name in pair)), None)


def _http(values: _Values, told: Sequence[Part]) -> _Found:
    url = next((name for name in _URLS if isinstance(values.get(name), str) and _URL.match(values[name])), None)
    if url is None or _has_break(values[url]):
        return None
    method, headers = values.get("method"), values.get("headers")
    has_method = isinstance(method, str) and _METHOD.match(method) is not None
    if not has_method and not isinstance(headers, dict):
        return None
    first: list[Part] = [ValuePart("method", plain(str(method)))] if has_method else []
    first.append(ValuePart(url, _with_host(values[url])))
    told_by_now = ["method"] * has_method + [url] + ["headers"] * isinstance(headers, dict)
    return "http", [
        *first,
        *(_headers_of(headers) if isinstance(headers, dict) else ()),
        *_rest(values, told_by_now, "body"),
        *told,
    ]


def _headers_of(headers: _Values) -> list[Part]:
    if not headers or not all(_HEADER.match(name) and _is_short(value) for name, value in headers.items()):
        return [_part({"headers": headers}, "headers")]
    return [ListPart("headers", [f"{name}: {_shown(value)}" for name, value in headers.items()])]


def _with_host(url: str) -> Sequence[Segment]:
    """Where a request goes, marked: what stands before an @ is no part of it."""
    found = _HOST.match(url)
    if found is None:
        return plain(url)
    segments = (Segment(found[1]), Segment(found[2], "host"), Segment(url[found.end() :]))
    return [segment for segment in segments if segment.text]


def _message(values: _Values, told: Sequence[Part]) -> _Found:
    body = next((name for name in _MESSAGES if isinstance(values.get(name), str)), None)
    if body is None or not any(_is_recipient(values.get(name)) for name in _RECIPIENTS):
        return None
    head = [name for name in _ADDRESSES if name in values and name != body]
    return "message", [
        *(_part(values, name) for name in head),
        *_rest(values, [*head, body]),
        TextPart(body, "body", plain(values[body])),
        *told,
    ]


def _is_recipient(value: Any) -> bool:
    if isinstance(value, str):
        return value != "" and not _has_break(value)
    return (
        isinstance(value, list) and bool(value) and all(isinstance(one, str) and not _has_break(one) for one in value)
    )


def _file(values: _Values, told: Sequence[Part]) -> _Found:
    paths = (name for name in _PATHS if isinstance(values.get(name), str) and values[name] != "")
    path = next((name for name in paths if not _has_break(values[name])), None)
    content = next((name for name in _CONTENTS if isinstance(values.get(name), str) and name != path), None)
    if path is None or content is None or any(_is_command(values.get(name)) for name in _COMMANDS):
        return None
    return "file", _around(values, [content], told, [FilePart(content, values[content].split("\n"))], [path])


def _is_command(value: Any) -> bool:
    """More than one word: tools say ``create`` and ``view`` in a parameter of that name, too."""
    return isinstance(value, list) or (isinstance(value, str) and re.fullmatch(r"\w*", value, re.A) is None)


def _command(values: _Values, told: Sequence[Part]) -> _Found:
    name = next((one for one in _COMMANDS if _is_text(values.get(one)) or _is_argv(values.get(one))), None)
    # ``view`` beside a path is what an editor does.
    if name is None or (not _is_command(values[name]) and _path_of(values)):
        return None
    given = values[name]
    text = given if isinstance(given, str) else " ".join(map(_quoted, given))
    steps = [step for part in told if isinstance(part, StepsPart) for step in part.steps]
    return "command", [
        TextPart(name, "command", _with_risks(text, steps)),
        *told,
        *_rest(values, [name], "text", has_words=True),
    ]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_argv(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(word, str) for word in value)


def _quoted(word: str) -> str:
    """A word as one types it in a shell."""
    return word if _WORD.match(word) else "'" + word.replace("'", "'\"'\"'") + "'"


def _with_risks(text: str, steps: Iterable[Step]) -> Sequence[Segment]:
    """The command with its risky parts marked, where they stand in it word for word."""
    segments: list[Segment] = []
    begin = 0
    for step in steps:
        if step.depth > 0 or not step.is_risky or not all(map(_WORD.match, step.words)):
            continue
        risky = " ".join(step.words)
        at = text.find(risky, begin)
        while at != -1 and not _is_whole(text, at, at + len(risky)):
            at = text.find(risky, at + 1)
        if at == -1:
            continue
        segments += [Segment(text[begin:at])] if at > begin else []
        segments.append(Segment(risky, "risky"))
        begin = at + len(risky)
    return [*segments, Segment(text[begin:])] if begin < len(text) else segments


def _is_whole(text: str, begin: int, end: int) -> bool:
    """Whether a command begins and ends there."""
    before = text[:begin].rstrip(" \t")
    return (not before or before[-1] in ";|&\n") and _BEHIND.match(text, end) is not None


def _table(values: _Values, told: Sequence[Part]) -> _Found:
    for name, given in values.items():
        found = _rows_of(given) or _rows_under(values, name)
        if found is not None:
            columns, rows, used = found
            part = TablePart(", ".join([*used, name]), columns, rows)
            return "table", _around(values, [name, *used], told, [part])
    return None


_Rows = tuple[Sequence[str], Sequence[Sequence[str]], Sequence[str]]


def _rows_of(given: Any) -> _Rows | None:
    """At least two objects of the same names, with short values."""
    if not isinstance(given, list) or len(given) < 2 or not all(isinstance(row, dict) for row in given):
        return None
    columns = list(given[0])
    if not 0 < len(columns) <= _MOST_COLUMNS:
        return None
    if not all(row.keys() == given[0].keys() and all(map(_is_cell, row.values())) for row in given):
        return None
    return columns, [[_shown(row[column]) for column in columns] for row in given], []


def _rows_under(values: _Values, name: str) -> _Rows | None:
    """Lists of values, and beside them a list of their columns' names."""
    columns, given = values.get("columns"), values[name]
    if not isinstance(columns, list) or not _is_argv(columns) or len(columns) > _MOST_COLUMNS or name == "columns":
        return None
    if not isinstance(given, list) or not given:
        return None
    if not all(isinstance(row, list) and len(row) == len(columns) and all(map(_is_cell, row)) for row in given):
        return None
    return columns, [[_shown(value) for value in row] for row in given], ["columns"]


def _fields(values: _Values, told: Sequence[Part]) -> _Found:
    """Something that stands on its own is there, and not only what is nested."""
    parts = _rest(values, [])
    return ("fields", [*parts, *told]) if not values or any(part.kind != "json" for part in parts) else None


#: The first that fits is taken.
_SHAPES: Sequence[Callable[[_Values, Sequence[Part]], _Found]] = (
    _diff, _http, _message, _file, _command, _table, _fields,
)  # fmt: skip


def _around(
    values: _Values,
    main: Collection[str],
    told: Sequence[Part],
    parts: Sequence[Part],
    first: Sequence[str] | None = None,
) -> list[Part]:
    """What stands beside the main thing before it, paths first; what the agent says of it behind."""
    first = _path_of(values) if first is None else first
    others = _rest(values, [*main, *first], "text", has_words=True)
    said = [part for part in others if isinstance(part, ValuePart | TextPart) and part.is_agents]
    return [
        *(_part(values, name) for name in first if name not in main),
        *(part for part in others if part not in said),
        *parts,
        *told,
        *said,
    ]


def _path_of(values: _Values) -> list[str]:
    return [name for name in _PATHS if isinstance(values.get(name), str)][:1]


_Role = Literal["body", "text"]


def _rest(values: _Values, without: Collection[str], role: _Role = "text", *, has_words: bool = False) -> list[Part]:
    """All that is not among these names, in its order; the agent's own words last."""
    names = [name for name in values if name not in without]
    said = [name for name in names if has_words and name in _WORDS and isinstance(values[name], str)]
    parts = [_part(values, name, role=role) for name in names if name not in said]
    words = [_part(values, name) for name in said]
    return parts + [replace(part, is_agents=True) for part in words if isinstance(part, ValuePart | TextPart)]


def _part(values: _Values, name: str, called: str | None = None, role: _Role = "text") -> Part:
    given, called = values[name], name if called is None else called
    if isinstance(given, str) and (_has_break(given) or len(given) > _MOST_VALUE):
        return TextPart(called, role, plain(given))
    if _is_scalar(given):
        text = _shown(given)
        return ValuePart(called, _with_host(text) if text == given and _URL.match(text) else plain(text))
    if isinstance(given, list) and given and all(map(_is_cell, given)):
        return ListPart(called, [_shown(item) for item in given])
    return JsonPart(called, readable_json(given))


def _exactly(parameters: _Values, because: Because | None) -> Part:
    """All of them, with an escape for what poses as something else, too."""
    text = readable_json(parameters)
    if because is not None and because.characters:
        text = "".join(in_ascii(one) if name_of(one) in because.characters else one for one in text)
    return JsonPart("", text)


def _shown(given: Any) -> str:
    """A short value as text: every digit of a number, and a text in quotes where it could be taken for another."""
    if isinstance(given, str) and not _ODD.match(given) and not given[-1].isspace():
        return given
    return json.dumps(given, ensure_ascii=False)


def _is_scalar(given: Any) -> bool:
    return not isinstance(given, dict | list)


def _is_short(given: Any) -> bool:
    return _is_scalar(given) and not _has_break(given)


def _is_cell(given: Any) -> bool:
    return _is_short(given) and not (isinstance(given, str) and len(given) > _MOST_CELL)


def _has_break(given: Any) -> bool:
    return isinstance(given, str) and ("\n" in given or "\t" in given)


def _steps_of(command: Mapping[str, Any] | None) -> list[Part]:
    """What a command runs, where that is more than its text says."""
    if not command:
        return []
    parts = command["parts"]
    depths, does = command.get("depths") or [0] * len(parts), command.get("does") or [None] * len(parts)
    steps = [Step(words, depth, deed, deed in _RISKY) for words, depth, deed in zip(parts, depths, does, strict=False)]
    left_out = command.get("left_out") or 0
    is_more = len(steps) > 1 or left_out > 0 or any(step.is_risky for step in steps)
    return [StepsPart(steps, left_out)] if is_more else []


def _hiding(parameters: _Values) -> Because | None:
    """Why an easy shape would hide something; None where none would."""
    unseen: set[str] = set()
    mixed: set[str] = set()
    waiting: list[Any] = [parameters]
    while waiting:
        item = waiting.pop()
        texts: Iterable[str] = (item,) if isinstance(item, str) else ()
        if isinstance(item, dict):
            texts = item.keys()
            # A name stands on one line.
            unseen.update(name_of(mark) for mark in "\n\t" if any(mark in name for name in item))
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
        for text in texts:
            unseen.update(unseen_in(text))
            mixed.update(mixed_in(text))
    for name in _COMMANDS:
        given = parameters.get(name)
        if isinstance(given, str) and not given.isascii():
            mixed.update(*map(mixed_in, given.split()))
    if unseen:
        return Because("unseen", _in_order(unseen | mixed))
    return Because("mixed", _in_order(mixed)) if mixed else None


def _in_order(characters: Iterable[str]) -> list[str]:
    return sorted(characters, key=lambda name: int(name[2:], 16))
