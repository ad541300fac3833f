"""The messages in a body of server-sent events, found while it passes by in whatever pieces."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["SseMessages", "sse_event"]

_LINE_END = re.compile(rb"\r\n|\r|\n")


class SseMessages:
    """Finds what the events of a stream say; one of more than ``longest_bytes`` is not kept."""

    def __init__(self, longest_bytes: int) -> None:
        #: Whether a client can come back for the rest of the stream.
        self.has_ids = False
        #: Whether an event was too long.
        self.missed = False
        self._longest_bytes = longest_bytes
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._size = 0
        self._is_after_return = False

    def take(self, piece: bytes) -> Iterator[bytes]:
        """The data of each event that this piece completes."""
        if self._is_after_return:
            piece = piece.removeprefix(b"\n")
        self._is_after_return = piece.endswith(b"\r")
        *lines, rest = _LINE_END.split(piece)
        for end in lines:
            self._keep(end)
            line = b"".join(self._line)
            self._line.clear()
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
            elif name == b"id":
                self.has_ids = True
            elif not line:
                if self._data and self._size <= self._longest_bytes:
                    yield b"\n".join(self._data)
                self._data.clear()
                self._size = 0
        self._keep(rest)

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._longest_bytes:
            self.missed = True
            self._data.clear()
            # What is left of the line tells that it is not empty, which would end the event.
            self._line[:] = [b":"] if part or self._line else []
        elif part:
            self._line.append(part)


def sse_event(message: bytes) -> bytes:
    """A message as an event of its own."""
    lines = b"\n".join(b"data: " + line for line in _LINE_END.split(message))
    return b"event: message\n" + lines + b"\n\n"
