"""A permission request as lines for a terminal: every character of it, at any width."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.text import Text

from ..core.policy.deeds import in_words
from .bodies import questions_of
from .drawing import Row, drawn
from .terminal import can_show, cells, one_line, pretty, seen, turns_direction, wrapped
from .waiting import time_left

__all__ = ["card", "clock_time", "divided"]

_RISK = {"low": "green", "medium": "yellow", "high": "bold red"}
#: What a part of a command does that is named beside it.
_DEEDS = {"deletes": "bold red", "sends": "yellow", "spends": "bold red"}
#: Corners, corner of a part, side, side of a line that goes on, and bar.
_FRAME = ("╭", "╰", "├", "│ ", "┊ ", "─")
_ASCII_FRAME = ("+", "+", "+", "| ", ": ", "-")
#: A command may stand behind so many blanks that nobody looks there.
_MANY_BLANKS = " " * 40
_LONGEST_BAR = 100
#: Of fewer cells none is spent on a side.
_NARROW = 12
#: A line goes on no further to the right than this part of the width.
_MOST_HANG = 3
#: What is longer is no sentence, and divided anywhere.
_MOST_LINES = 20


def card(
    record: Mapping[str, Any],
    *,
    place: str = "",
    where: str = "",
    width: int | None = None,
    encoding: str = "utf-8",
    is_exact: bool = False,
) -> list[Text]:
    """All lines of a request, none wider than ``width`` cells; without a width each is as long as it is.

    ``place`` stands in the title, ``where`` says in which session it is asked. A line that goes on has another side
    than one that begins, so that no text can pose as a line of its own. With ``is_exact`` everything but ASCII is an
    escape.
    """
    style = _RISK.get(record["risk_level"], "bold red")
    top, bottom, middle, begins, goes_on, bar = _FRAME if can_show(encoding, "".join(_FRAME)) else _ASCII_FRAME
    if width is not None and width < _NARROW:
        begins = goes_on = ""
    most = _LONGEST_BAR if width is None else min(width, _LONGEST_BAR)
    inner = None if width is None else width - cells(begins)
    shape, body = drawn(record, encoding=encoding, width=inner, is_exact=is_exact)

    def bar_with(text: str) -> list[Text]:
        return divided(Text(_barred(text, bar, most), style), width)

    def framed(rows: Iterable[Row | Text]) -> Iterator[Text]:
        for row in rows:
            pieces = _at_words(row, inner) if isinstance(row, Text) else _hanging(row, inner)
            for number, piece in enumerate(pieces):
                yield Text.assemble((goes_on if number else begins, style), piece)

    return [
        *bar_with(f"{top}{bar} {'May this run?' if questions_of(record) is None else 'A question'}{place} "),
        *framed(_before(record, style, encoding, where=where, is_exact=is_exact)),
        *bar_with(f"{middle}{bar} {shape} "),
        *framed(body),
        *bar_with(middle),
        *framed(_behind(record, encoding, is_exact=is_exact)),
        *bar_with(bottom),
    ]


def _barred(text: str, bar: str, width: int) -> str:
    return text + bar * ((width - cells(text)) // cells(bar))


def divided(line: Text, width: int | None) -> list[Text]:
    """``line`` as pieces of at most ``width`` cells."""
    return [line] if width is None else list(line.divide(wrapped(line.plain, max(2, width))))


def _hanging(row: Row, width: int | None) -> list[Text]:
    """The pieces of a row, those behind the first as far to the right as it says, where that leaves enough room."""
    text, hang = row
    if width is None:
        return [text]
    first = wrapped(text.plain, max(2, width))[:1]
    if not first or hang > width // _MOST_HANG:
        return divided(text, width)
    begin, end = text.divide(first)
    return [begin, *(Text.assemble(" " * hang, piece) for piece in divided(end, width - hang))]


def _at_words(line: Text, width: int | None) -> list[Text]:
    """Pieces of what is said in words, divided between them."""
    pieces: list[Text] = []
    while width is not None and len(pieces) < _MOST_LINES and (places := wrapped(line.plain, max(2, width))):
        place = line.plain.rfind(" ", 0, places[0]) + 1
        begin, line = line.divide([place if place > places[0] // 2 else places[0]])
        pieces.append(begin)
    return pieces + divided(line, width)


def clock_time(timestamp: str) -> str:
    return datetime.fromisoformat(timestamp).astimezone().strftime("%H:%M:%S")


def _before(
    record: Mapping[str, Any], style: str, encoding: str, *, where: str, is_exact: bool
) -> Iterator[Row | Text]:
    """What the service says of the call."""

    def shown(text: str) -> str:
        return seen(one_line(text), encoding, ascii_only=is_exact)

    tool_name, parameters = record["tool_name"], pretty(record["parameters"])
    yield Text.assemble((shown(tool_name), "bold"), "   risk ", (shown(record["risk_level"]), style))
    if where:
        yield Text(shown(where))
    if record.get("server"):
        yield Text(f"of the MCP server {shown(record['server'])}")
    foreign = sorted({letter for letter in tool_name if not letter.isascii()})
    if foreign:
        names = ", ".join(f"{shown(letter)} (U+{ord(letter):04X})" for letter in foreign)
        yield Text(f"The tool's name has letters that may only look familiar: {names}", "yellow")
    deeds = record.get("deeds") or {}
    if deeds.get("does"):
        yield Text(f"It {shown(in_words(deeds))}.", "bold" if deeds["reversible"] is False else "")
    reasons = list(record.get("risk_reasons") or ())
    if deeds.get("does"):
        reasons = [said for said in reasons if said != f"it {in_words(deeds)}"]
    command = record.get("command") or {}
    if not _stands_there_anyway(command.get("parts") or (), record["parameters"]):
        yield from _runs(command, shown, arrow="→" if can_show(encoding, "→") and not is_exact else "->")
    why = command.get("not_understood")
    if why is not None:
        unknown = f"nobody but a shell can tell what it runs: {why['text']}"
        yield Text(shown(unknown[0].upper() + unknown[1:]), "yellow")
        reasons = [said for said in reasons if said != unknown]
    if reasons:
        yield Text("because " + shown("; ".join(reasons)), "dim")
    if record.get("parameters_truncated"):
        yield Text(f"Only the beginning of {record.get('parameters_bytes')} bytes can be shown.", "bold red")
    if not is_exact and turns_direction(parameters):
        yield Text("It has letters that are read from the right, which a terminal may put in another order.", "yellow")
    if _MANY_BLANKS in parameters:
        yield Text("It has long runs of blanks: look behind them.", "yellow")


def _behind(record: Mapping[str, Any], encoding: str, *, is_exact: bool) -> Iterator[Text]:
    """What a scope means, what the agent says of it, and how long it waits."""

    def shown(text: str) -> str:
        return seen(one_line(text), encoding, ascii_only=is_exact)

    if record.get("suggested_rule"):
        until = "For the session, or always," if "always" in record.get("scopes", ()) else "For the session"
        yield Text(f"{until} means: {shown(str(record['suggested_rule']))}", "dim")
    if record.get("description"):
        yield Text(f"The agent says (unverified): {shown(record['description'])}", "italic dim")
    if record.get("expires_at"):
        yield Text(f"Denied by itself at {clock_time(record['expires_at'])}, in {time_left(record)}.", "dim")


def _stands_there_anyway(parts: Sequence[Sequence[str]], parameters: Mapping[str, Any]) -> bool:
    """Whether what runs is one command, and written so in the parameters."""
    if len(parts) != 1 or any("\n" in word for word in parts[0]):
        return False
    [words] = parts
    return any(given in (words, " ".join(words), shlex.join(words)) for given in parameters.values())


def _runs(command: Mapping[str, Any], shown: Callable[[str], str], *, arrow: str) -> Iterator[Row]:
    """What runs, a part on each line, its program marked; what a wrapper runs behind an arrow."""
    parts = command.get("parts") or ()
    for number, words in enumerate(parts):
        depth = (command.get("depths") or (0,) * len(parts))[number]
        program, *others = [shown(word if word.endswith("…") else shlex.quote(word)) for word in words]
        deed = (command.get("does") or (None,) * len(parts))[number]
        before = "It runs " if number == 0 else "    and " if depth == 0 else f"{'':{6 + 2 * depth}}{arrow} "
        does = (f"   {deed}", _DEEDS[deed]) if deed in _DEEDS else ""
        yield Row(Text.assemble(before, (program, "bold"), "".join(f" {word}" for word in others), does), hang=8)
    if command.get("left_out"):
        yield Row(Text(f"    and {command['left_out']} more, which the parameters tell", "yellow"))
