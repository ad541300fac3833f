"""The head of an audit log as a text that is signed: C2SP tlog-checkpoint."""

from __future__ import annotations

import base64
import re
from typing import NamedTuple, Self

from .signed_note import BadNote

__all__ = ["Checkpoint", "text_of_note"]

_FORM = re.compile(r"([^\n]+)\n(0|[1-9]\d{0,18})\n([A-Za-z0-9+/]{43}=)\n((?:[^\n]+\n)*)")


class Checkpoint(NamedTuple):
    """How many lines a log has, and the root of the tree over them; ``origin`` says which log."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def of(cls, text: str) -> Self:
        """The checkpoint that a text says. Raises ``BadNote``."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise BadNote("this is no signed head, or not all of it")
        return cls(found[1], int(found[2]), base64.b64decode(found[3]))


def text_of_note(note: str) -> str:
    """What a note says, whoever has signed it: for who trusts the place that it comes from."""
    text, separator, _ = note.rpartition("\n\n")
    if not separator:
        raise BadNote("this is no signed head, or not all of it")
    return text + "\n"
