"""The parameters of a request as lines of a terminal, in the shape that they have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.text import Text

from .bodies import (
    Because,
    Body,
    DiffLine,
    DiffPart,
    FilePart,
    JsonPart,
    ListPart,
    Part,
    QuestionField,
    Segment,
    StepsPart,
    TablePart,
    TextPart,
    ValuePart,
    body_of,
    in_ascii,
    questions_of,
    readable_json,
)
from .terminal import can_show, cells, seen

__all__ = ["Row", "drawn", "main_text"]

#: A name that nobody takes for more than one, and several that were put together here.
_NAME = re.compile(r"[\w.\[\]$-]+\Z")
_NAMES = re.compile(r"[\w.\[\]$-]+(?:(?:, | → )[\w.\[\]$-]+)*\Z")
_SIGNS = {"same": "  ", "gone": "- ", "new": "+ ", "note": ""}
_STYLES = {"same": "", "gone": "red", "new": "green", "note": "cyan"}
_MARKS = {"gone": "reverse", "new": "reverse", "risky": "bold red underline", "host": "bold underline"}
_SHAPES = {"http": "HTTP request", "fields": "parameters", "exact": "parameters, exactly"}
_TAB = 4
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")
_BLANKS_AT_THE_END = re.compile(r" +\Z")


class Row(NamedTuple):
    """A line of the parameters, and how far to the right it goes on where it does not fit into one."""

    text: Text
    hang: int = 0


def drawn(
    record: Mapping[str, Any], *, encoding: str = "utf-8", width: int | None = None, is_exact: bool = False
) -> tuple[str, list[Row | Text]]:
    """What the parameters are, and their lines with every character; where ``is_exact``, as JSON that is all ASCII.

    So, and as JSON, they are shown too where an easier shape would hide something, or this terminal could not show it;
    a sentence before them says why.
    """
    if is_exact:
        return _SHAPES["exact"], list(_json(in_ascii(readable_json(record["parameters"]))))
    body = body_of(record)
    questions = questions_of(record)
    if questions is not None:
        message = [Row(Text(line)) for line in (questions.message or "").splitlines()]
        asked = [row for field in questions.fields for row in _question(field)]
        hidden = [Text("It has characters that nobody sees, or that mislead.", "yellow")] if body.because else []
        return "what it asks", [*hidden, *(_visible(row, encoding) for row in (*message, *asked))]
    hand = _Hand(encoding, width)
    rows = [row for part in body.parts for row in _rows_of(part, hand)]
    why = _why(body.because)
    if body.shape != "exact" and any(seen(row.text.plain, encoding) != row.text.plain for row in rows):
        why = "Shown exactly, because this terminal cannot show all of it as it is."
        body = Body("exact", None, ())
        rows = list(_json(readable_json(record["parameters"])))
    said = [Text(seen(why, encoding), "yellow")] if why else [] if rows else [Text("none", "dim")]
    return _SHAPES.get(body.shape, body.shape), [*said, *(_visible(row, encoding) for row in rows)]


def main_text(record: Mapping[str, Any]) -> tuple[str, str] | None:
    """Under which name stands the text that the call is about, a command, a file or a message, and what to call a file
    in which it is edited as it is; None where it is edited as JSON."""
    body = body_of(record)
    for part in body.parts:
        if isinstance(part, FilePart):
            paths = (each.segments[0].text for each in body.parts if isinstance(each, ValuePart) and each.segments)
            suffix = next((found[0] for path in paths if (found := _SUFFIX.search(path))), ".txt")
            return part.name, f"file{suffix}"
        if isinstance(part, TextPart) and part.role != "text" and isinstance(record["parameters"].get(part.name), str):
            return part.name, "command.sh" if part.role == "command" else "message.txt"
    return None


def _question(field: QuestionField) -> Iterator[Row]:
    """One question, and its options by their numbers."""
    header = (f"[{_in_line(field.header)}] ", "cyan") if field.header else ""
    how = "choose one or more" if field.is_multiple else "" if field.is_needed else "optional"
    yield Row(Text.assemble(header, (_in_line(field.text), "bold"), (f"  ({how})" if how else "", "dim")))
    if field.description:
        yield Row(Text(f"  {_in_line(field.description)}", "dim"), hang=2)
    digits = len(str(len(field.options)))
    for number, option in enumerate(field.options, 1):
        said = f"  {_in_line(option.description)}" if option.description else ""
        begin = f"  {number:>{digits}}  "
        yield Row(Text.assemble((begin, "bold yellow"), (_in_line(option.label), "bold"), (said, "dim")), len(begin))
        for line in (option.preview or "").splitlines():
            yield Row(Text.assemble(" " * len(begin), (f"| {line}", "dim")), len(begin) + 2)


def _in_line(text: str) -> str:
    """A text of somebody else on one line, so that none of it poses as an option."""
    return " ".join(text.split())


def _visible(row: Row, encoding: str) -> Row:
    shown = seen(row.text.plain, encoding)
    return row if shown == row.text.plain else Row(Text(shown, row.text.style), row.hang)


class _Hand:
    """What can be written on this terminal."""

    def __init__(self, encoding: str, width: int | None) -> None:
        self.width = width
        self.has_signs = can_show(encoding, "→·│")

    def name(self, name: str, pattern: re.Pattern[str] = _NAME) -> str:
        """A name as it is where it cannot be taken for more, else in quotes."""
        if pattern.match(name):
            return name if self.has_signs else name.replace("→", "->")
        return json.dumps(name, ensure_ascii=False)

    def line(self, segments: Iterable[Segment], style: str = "") -> Text:
        """One line, in which tabs and blanks at its end are seen too."""
        line = Text(style=style)
        for segment in segments:
            line.append(segment.text, _MARKS.get(segment.mark or ""))
        if self.has_signs:
            end = _BLANKS_AT_THE_END.search(line.plain)
            if end is not None:
                line = Text.assemble(line[: end.start()], ("·" * len(end[0]), "yellow"), style=style)
            if "\t" in line.plain:
                line = self._with_tabs(line)
        return line

    def _with_tabs(self, line: Text) -> Text:
        made = Text(style=line.style)
        for number, piece in enumerate(line.split("\t", allow_blank=True)):
            if number:
                made.append("→".ljust(_TAB - cells(made.plain) % _TAB), "dim")
            made.append_text(piece)
        return made


def _why(because: Because | None) -> str:
    if because is None or because.code == "cut":
        return ""  # the card tells it
    names = ", ".join(
        f"{name} ({chr(int(name[2:], 16))})" if because.code == "mixed" else name for name in because.characters
    )
    if because.code == "mixed":
        return f"Shown exactly, because it has letters that pose as others: {names}"
    return f"Shown exactly, because it has characters that nobody sees, or that mislead: {names}"


def _rows_of(part: Part, hand: _Hand) -> Iterator[Row]:
    if isinstance(part, StepsPart):
        return  # the card tells it above the parameters
    pattern = _NAMES if isinstance(part, DiffPart | TablePart) else _NAME
    name = (hand.name(part.name, pattern), "bold") if part.name else ""
    if isinstance(part, JsonPart):
        if part.name:
            yield Row(Text.assemble(name, ":"))
        yield from _json(part.text, "  " if part.name else "")
    elif isinstance(part, DiffPart):
        yield Row(Text.assemble(name, ":"))
        yield from _diff(part.lines, hand)
    elif isinstance(part, FilePart):
        yield Row(Text.assemble(name, ": (empty)" if list(part.lines) == [""] else ":"))
        yield from _file(part.lines, hand)
    elif isinstance(part, TablePart):
        yield Row(Text.assemble(name, f": {len(part.rows)} rows"))
        yield from _table(part, hand)
    elif isinstance(part, ListPart):
        yield Row(Text.assemble(name, ":"))
        yield from (Row(Text.assemble("  - ", hand.line([Segment(item)])), hang=4) for item in part.items)
    else:
        yield from _text(part, name, hand)


def _json(text: str, before: str = "") -> Iterator[Row]:
    for line in text.split("\n"):
        yield Row(Text(before + line), hang=len(before) + len(line) - len(line.lstrip()) + 2)


def _text(part: ValuePart | TextPart, name: Any, hand: _Hand) -> Iterator[Row]:
    style = "italic" if part.is_agents else ""
    said = " (the agent's words, unverified)" if part.is_agents else ""
    lines = _split(part.segments)
    if len(lines) == 1:
        yield Row(Text.assemble(name, f"{said}: ", hand.line(lines[0], style)), hang=2)
        yield from (Row(Text(f"  goes to {each.text}", "bold")) for each in lines[0] if each.mark == "host")
        return
    yield Row(Text.assemble(name, f"{said}:"))
    has_end = lines[-1] == []  # the last line feed begins no line that could hold anything
    yield from _numbered([hand.line(line, style) for line in lines[: len(lines) - has_end]])


def _split(segments: Iterable[Segment]) -> list[list[Segment]]:
    """The lines of a text."""
    lines: list[list[Segment]] = [[]]
    for segment in segments:
        for number, text in enumerate(segment.text.split("\n")):
            if number:
                lines.append([])
            if text:
                lines[-1].append(Segment(text, segment.mark))
    return lines


def _numbered(lines: Sequence[Text]) -> Iterator[Row]:
    digits = len(str(len(lines)))
    for number, line in enumerate(lines, 1):
        yield Row(Text.assemble((f"{number:>{digits}} ", "dim"), line), digits + 1)


def _file(lines: Sequence[str], hand: _Hand) -> Iterator[Row]:
    has_end = lines[-1] == ""
    yield from _numbered([hand.line([Segment(line)]) for line in lines[: len(lines) - has_end]])
    if not has_end:
        yield Row(Text("(without a line feed at its end)", "dim"))


def _diff(lines: Sequence[DiffLine], hand: _Hand) -> Iterator[Row]:
    digits = len(str(max((line.new or line.old or 0 for line in lines), default=0)))
    for at, line in enumerate(lines):
        if at == len(lines) - 1 and line.kind == "same" and not line.text:
            return  # both end with a line feed
        number = line.old if line.kind == "gone" else line.new
        style = _STYLES[line.kind]
        begin = Text.assemble((f"{number or '':>{digits}} ", "dim"), (_SIGNS[line.kind], style))
        yield Row(Text.assemble(begin, hand.line(line.segments, style)), len(begin))


def _table(part: TablePart, hand: _Hand) -> Iterator[Row]:
    side = " │ " if hand.has_signs else " | "
    rows = [part.columns, *part.rows]
    widths = [max(cells(row[column]) for row in rows) for column in range(len(part.columns))]
    fits = hand.width is None or sum(widths) + len(side) * (len(widths) - 1) <= hand.width
    if fits and not any(side.strip() in cell for row in rows for cell in row):
        for number, row in enumerate(rows):
            padded = [cell + " " * (width - cells(cell)) for cell, width in zip(row, widths, strict=True)]
            yield Row(Text(side.join(padded).rstrip(), "" if number else "bold"))
        return
    for number, row in enumerate(part.rows, 1):
        yield Row(Text(f"row {number}", "dim"))
        for column, cell in zip(part.columns, row, strict=True):
            yield Row(Text.assemble("  ", (hand.name(column), "bold"), ": ", hand.line([Segment(cell)])), hang=4)
