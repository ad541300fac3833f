"""The messages in a body of server-sent events, found while it passes by in whatever pieces."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["PATIENCE_SECONDS", "SIGN_OF_LIFE", "SseEvent", "SseMessages", "sse_event"]

#: Silence before an answer is opened as a stream, and then between signs of life: clients wait 60 s for a first byte.
#: Not sooner, because what is opened has status 200, and the answer may have another one.
PATIENCE_SECONDS = 10.0
#: For a client that asked for no progress: a comment, which keeps proxies from cutting the stream.
SIGN_OF_LIFE = b": a person has not answered yet\n"

_LINE_END = re.compile(rb"(\r\n|\r|\n)")
_BOM = b"\xef\xbb\xbf"


class SseEvent(NamedTuple):
    """An event as it came, or a part of one that is too long to be kept."""

    raw: bytes
    #: What it says, one line each.
    data: list[bytes]
    #: Its other lines: comments, the id, what is no field.
    others: list[bytes]
    is_part: bool = False


class SseMessages:
    """Finds what the events of a stream say; one of more than ``longest_bytes`` is not kept."""

    def __init__(self, longest_bytes: int) -> None:
        #: Whether a client can come back for the rest of the stream.
        self.has_ids = False
        #: Whether an event was too long.
        self.missed = False
        self._longest_bytes = longest_bytes
        self._line: list[bytes] = []
        self._raw: list[bytes] = []
        self._data: list[bytes] = []
        self._others: list[bytes] = []
        self._size = 0
        self._is_long = False
        self._is_after_return = False
        self._is_at_start = True

    def take(self, piece: bytes) -> Iterator[bytes]:
        """The data of each event that this piece completes."""
        for event in self.events(piece):
            if event.data and not event.is_part:
                yield b"\n".join(event.data)

    def events(self, piece: bytes) -> Iterator[SseEvent]:
        """What this piece completes; all together is the stream as it came."""
        if self._is_after_return and piece.startswith(b"\n"):
            piece = piece[1:]
            if self._raw:
                self._raw.append(b"\n")
            else:
                yield SseEvent(b"\n", [], [])
        if piece:
            self._is_after_return = piece.endswith(b"\r")
        *lines, rest = _LINE_END.split(piece)
        for text, end in zip(lines[::2], lines[1::2], strict=True):
            self._keep(text, end)
            line = b"".join(self._line)
            self._line.clear()
            if self._is_at_start:
                line = line.removeprefix(_BOM)
                self._is_at_start = False
            if not line:
                yield self._event(is_part=self._is_long)
                self._is_long = False
                continue
            self._read(line)
            # A comment between two events is a sign of life, and waits for nothing.
            if not self._is_long and not self._data and all(other.startswith(b":") for other in self._others):
                yield self._event()
        self._keep(rest)
        if self._is_long and self._raw:
            yield self._event(is_part=True)

    def rest(self) -> SseEvent:
        """What came behind the last event; some readers take it for one."""
        line = b"".join(self._line)
        if line:
            self._read(line)
        return self._event(is_part=self._is_long)

    def _read(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            return
        self._others.append(line)
        if name == b"id":
            self.has_ids = True

    def _event(self, *, is_part: bool = False) -> SseEvent:
        event = SseEvent(b"".join(self._raw), self._data, self._others, is_part)
        self._raw, self._data, self._others, self._size = [], [], [], 0
        return event

    def _keep(self, text: bytes, end: bytes = b"") -> None:
        self._size += len(text)
        if text or end:
            self._raw.append(text + end)
        if self._is_long or self._size > self._longest_bytes:
            self._is_long = self.missed = True
            self._data, self._others = [], []
            # What is left of the line tells that it is not empty, which would end the event.
            self._line[:] = [b":"] if text or self._line else []
        elif text:
            self._line.append(text)


def sse_event(message: bytes) -> bytes:
    """A message as an event of its own."""
    lines = b"\n".join(b"data: " + line for line in re.split(rb"\r\n|\r|\n", message))
    return b"event: message\n" + lines + b"\n\n"
