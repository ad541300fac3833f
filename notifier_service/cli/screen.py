"""What a person can still see of what was printed on a terminal."""

from __future__ import annotations

import os
import shutil
from collections import deque
from typing import TextIO

from rich.console import Console
from rich.text import Text

from .terminal import cells, one_line, seen, wrapped

__all__ = ["Screen"]

#: What is held back while a person reads or types; of more the oldest are dropped, and that is said.
_MOST_HELD = 500


class Screen:
    """Prints, and knows whether what was printed since ``begin`` is still on the screen.

    Where the width of a character is not certain, or how a terminal wraps, the worst is taken: what may have left the
    screen has left it.
    """

    def __init__(self, stdout: TextIO) -> None:
        self._stdout = stdout
        self._console = Console(file=stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._held: deque[Text] | None = None
        self._dropped = 0
        self._rows = 0
        self._size_then = (0, 0)
        self._is_disturbed = True
        self._status_cells = 0

    def fileno(self) -> int:
        return self._stdout.fileno()

    @property
    def encoding(self) -> str:
        return self._stdout.encoding or "ascii"

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        try:
            columns, rows = os.get_terminal_size(self._stdout.fileno())
        except (OSError, ValueError):
            columns, rows = 0, 0
        if columns <= 0 or rows <= 0:  # a terminal that does not say
            columns, rows = shutil.get_terminal_size()
        return columns, rows

    @property
    def is_whole(self) -> bool:
        """Whether all that was printed since ``begin`` is on the screen."""
        columns, rows = self.size
        return not self._is_disturbed and self._size_then == (columns, rows) and self._rows < rows

    def begin(self) -> None:
        """What is printed from here on must stay in sight."""
        self._rows, self._size_then, self._is_disturbed = 0, self.size, False

    def disturb(self) -> None:
        """Something else wrote on the screen, or its size changed: nobody knows what is left on it."""
        self._is_disturbed = True

    def print(self, content: Text) -> None:
        """Print now, or on ``release``."""
        if self._held is None:
            self.print_now(content)
            return
        self._dropped += len(self._held) == _MOST_HELD
        self._held.append(content)

    def print_now(self, content: Text, *, end: str = "\n") -> None:
        """Print, whatever is held back."""
        self._wipe_status()
        columns = max(2, self.size[0])
        for line in content.plain.encode(self.encoding, "backslashreplace").decode(self.encoding).split("\n"):
            self._rows += max(1, -(-cells(line) // (columns - 1)))  # a wide character may leave a cell free
        self._console.print(content, end=end)

    def status(self, text: str) -> None:
        """Write on the line with the cursor, in the place of what was written there before: nothing moves by it."""
        self._wipe_status()
        room = max(0, self.size[0] - 1)
        line = seen(one_line(text), self.encoding)
        line = line[: ([*wrapped(line, max(2, room)), len(line)])[0]] if room > 1 else ""
        self._status_cells = cells(line)
        self._console.print(Text(line, "bold yellow"), end="")

    def _wipe_status(self) -> None:
        if self._status_cells:
            self._stdout.write("\r" + " " * min(self._status_cells, max(0, self.size[0] - 1)) + "\r")
            self._status_cells = 0

    def control(self, sequence: str) -> None:
        """Have the terminal do something that is not seen."""
        self._stdout.write(sequence)
        self._stdout.flush()

    def bell(self) -> None:
        self._console.bell()

    @property
    def is_held(self) -> bool:
        return self._held is not None

    def hold(self) -> None:
        """Let nothing come in between until ``release``; may be repeated."""
        if self._held is None:
            self._held, self._dropped = deque(maxlen=_MOST_HELD), 0

    def release(self) -> None:
        """Print what was held back."""
        held, self._held = self._held, None
        if held and self._dropped:
            self.print_now(Text(f"({self._dropped} lines that came meanwhile are not shown)", "yellow"))
        for content in held or ():
            self.print_now(content)
