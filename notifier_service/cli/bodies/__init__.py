"""Parameters as people read them: which shape they have, and the parts to draw. Pure functions, as in the browser."""

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
    StepsPart,
    TablePart,
    TextPart,
    ValuePart,
)
from .questions import Given, QuestionField, Questions, answer_to, questions_of
from .readable import in_ascii, readable_json
from .shapes import body_of

__all__ = [
    "Because",
    "Body",
    "DiffLine",
    "DiffPart",
    "FilePart",
    "Given",
    "JsonPart",
    "ListPart",
    "Part",
    "QuestionField",
    "Questions",
    "Segment",
    "Shape",
    "StepsPart",
    "TablePart",
    "TextPart",
    "ValuePart",
    "answer_to",
    "body_of",
    "in_ascii",
    "questions_of",
    "readable_json",
]
