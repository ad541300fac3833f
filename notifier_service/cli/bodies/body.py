"""What is drawn of the parameters of a request: the same in a page, a dialog and a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Because",
    "Body",
    "DiffLine",
    "DiffPart",
    "FilePart",
    "JsonPart",
    "LineKind",
    "ListPart",
    "Part",
    "Segment",
    "Shape",
    "Step",
    "StepsPart",
    "TablePart",
    "TextPart",
    "ValuePart",
]

Shape = Literal["diff", "command", "file", "table", "message", "http", "fields", "exact"]
LineKind = Literal["same", "gone", "new", "note"]


@dataclass(frozen=True, slots=True)
class Because:
    """Why they are shown as exact JSON though they have another shape.

    ``unseen``: they hold characters that nobody sees or that turn the direction of reading; ``mixed``: a word has
    letters of several scripts that look alike; ``cut``: only the beginning is here. ``characters`` are such as
    ``U+202E``, each once, the lowest first.
    """

    code: Literal["unseen", "mixed", "cut"]
    characters: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """Text as it is; a mark says what of it to look at."""

    text: str
    mark: Literal["gone", "new", "risky", "host"] | None = None


@dataclass(frozen=True, slots=True)
class ValuePart:
    """One short value, and where it stands in the parameters: ``path``, ``edits[0].replace_all``.

    A text is in quotes where it could be taken for something else. With ``is_agents`` it is what the agent says of its
    call; so it is in a ``TextPart``.
    """

    name: str
    segments: Sequence[Segment]
    is_agents: bool = False
    kind: Literal["value"] = "value"


@dataclass(frozen=True, slots=True)
class ListPart:
    name: str
    items: Sequence[str]
    kind: Literal["list"] = "list"


@dataclass(frozen=True, slots=True)
class TextPart:
    """A text of lines, as it is."""

    name: str
    role: Literal["command", "body", "text"]
    segments: Sequence[Segment]
    is_agents: bool = False
    kind: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class FilePart:
    """What a file will hold: joined by line feeds, the lines are the text."""

    name: str
    lines: Sequence[str]
    kind: Literal["file"] = "file"


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A ``note`` is a line of a patch that changes nothing: of which file, and where.

    ``old`` and ``new`` are the numbers of the line in the old and the new text, counted from 1.
    """

    kind: LineKind
    segments: Sequence[Segment]
    old: int | None = None
    new: int | None = None

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments)


@dataclass(frozen=True, slots=True)
class DiffPart:
    """Joined by line feeds, the lines that stay and go are the old text, those that stay and come the new one."""

    name: str
    lines: Sequence[DiffLine]
    kind: Literal["diff"] = "diff"


@dataclass(frozen=True, slots=True)
class TablePart:
    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    kind: Literal["table"] = "table"


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a command; ``depth`` is how many wrappers it stands in."""

    words: Sequence[str]
    depth: int
    does: str | None
    is_risky: bool


@dataclass(frozen=True, slots=True)
class StepsPart:
    """What a command runs, as the service read it; ``left_out`` is how many more there are."""

    steps: Sequence[Step]
    left_out: int
    kind: Literal["steps"] = "steps"


@dataclass(frozen=True, slots=True)
class JsonPart:
    """JSON in which an escape stands for what nobody sees. The name is empty for all of the parameters."""

    name: str
    text: str
    kind: Literal["json"] = "json"


Part = ValuePart | ListPart | TextPart | FilePart | DiffPart | TablePart | StepsPart | JsonPart


@dataclass(frozen=True, slots=True)
class Body:
    """The parts follow each other, and together hold every name and character of the parameters."""

    shape: Shape
    because: Because | None
    parts: Sequence[Part]
