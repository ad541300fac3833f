"""One request on a terminal, page by page: whether all of it has been on the screen, and still is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from .answers import KEYS_OFFERED, offered
from .card import card, divided
from .screen import Screen
from .terminal import cells

__all__ = ["Sight"]

#: Where no more lines of a request have room, the keys are named in short.
_FEW_LINES = 3
_MORE_IN_SHORT = Text("Space: more", "bold yellow")
_TOO_SMALL = "This terminal is too small to show a request: make it larger, then press D."


class Sight:
    """What a person has before their eyes. A key counts ``rest_seconds`` after it has come there, and not before: it
    was meant for what was there until then."""

    def __init__(self, screen: Screen, rest_seconds: float) -> None:
        #: The request that keys mean.
        self.request_id: str | None = None
        self.is_exact = False
        self._screen = screen
        self._rest_seconds = rest_seconds
        self._record: Mapping[str, Any] = {}
        #: What is left to show of it, and what was shown last.
        self._pages: list[list[Text]] = []
        self._page: Sequence[Text] = ()
        self._page_count = 0
        self._is_tiny = False
        self._keys = Text()
        self._has_others = False
        self._armed_at = 0.0
        self._early_told_at = 0.0

    @property
    def has_more(self) -> bool:
        """Whether there are pages that were not shown yet."""
        return bool(self._pages)

    @property
    def is_whole(self) -> bool:
        """Whether the page that was shown last is on the screen."""
        return self._screen.is_whole

    def show(self, record: Mapping[str, Any], *, place: str = "", where: str = "", has_others: bool = False) -> None:
        """Show a request from its beginning. From here on keys mean it."""
        self.request_id, self._record, self._has_others = record["request_id"], record, has_others
        columns, rows = self._screen.size
        width = max(2, columns - 1)  # the last cell makes some terminals wrap
        lines = card(
            record, place=place, where=where, width=width, encoding=self._screen.encoding, is_exact=self.is_exact
        )
        for self._is_tiny in (False, True):
            # Below a page stand the keys, or that there is more, and the line with the cursor.
            self._keys = self._key_row() if self._is_tiny else self._key_rows(width)
            below = [self._keys, _MORE_IN_SHORT] if self._is_tiny else [self._keys]
            room = rows - 1 - max(sum(len(divided(line, width)) for line in each.split()) for each in below)
            if room >= _FEW_LINES:
                break
        if room < 1:
            self._pages = [lines]
            self._screen.disturb()
            self._screen.print_now(Text(_TOO_SMALL))
            return
        self._pages = [lines[first : first + room] for first in range(0, len(lines), room)]
        self._page_count = len(self._pages)
        if len(self._pages) > 1:
            self._screen.hold()
        self.turn()

    def turn(self) -> None:
        """Show the next page."""
        self._page = self._pages.pop(0)
        self._print()
        self.rest()
        self._early_told_at = 0.0

    def rest(self) -> None:
        """From now on for a moment no key counts."""
        self._armed_at = asyncio.get_running_loop().time() + self._rest_seconds

    def is_early(self, at: float) -> bool:
        """Whether a key of this moment came too soon; the person is told so."""
        if at >= self._armed_at:
            return False
        # A key that is held down comes here for as long as it is.
        self._armed_at = at + self._rest_seconds
        if at > self._early_told_at + 1:
            self._early_told_at = at
            self.say("This has just come to the screen: look, then press again.")
        return True

    def leave(self) -> None:
        """Show it no longer, and print what was held back meanwhile."""
        self.request_id = None
        self.is_exact = False
        self._pages = []
        self._screen.release()

    def say(self, text: str, style: str = "yellow") -> None:
        """Tell the person who is asked, whatever is held back; what is asked stays on the screen."""
        was_whole = self.is_whole
        self._screen.print_now(Text(text, style))
        if was_whole and not self.is_whole and self.request_id is not None:
            self._print()

    def _print(self) -> None:
        self._screen.begin()
        for line in self._page:
            self._screen.print_now(line)
        if not self._pages:
            self._screen.print_now(self._keys)
        elif self._is_tiny:
            self._screen.print_now(_MORE_IN_SHORT)
        else:
            at = self._page_count - len(self._pages)
            self._screen.print_now(Text(f"Page {at} of {self._page_count}: Space goes on.", "bold yellow"))

    def _key_row(self) -> Text:
        return Text(" ".join([*(KEYS_OFFERED[action][0] for action in offered(self._record)), "?"]), "bold yellow")

    def _key_rows(self, width: int) -> Text:
        keys = [KEYS_OFFERED[action] for action in offered(self._record)]
        moves = ["J/K next/previous"] if self._has_others else []
        rows = [""]
        for key in [*keys, *moves, "X exact", "? help"]:
            row = f"{rows[-1]} · {key}" if rows[-1] else key
            if cells(row) <= width or not rows[-1]:
                rows[-1] = row
            else:
                rows.append(key)
        return Text("\n".join(rows), "bold yellow")
