"""Who looks: the pages of people that say whether they are visible, and people who say that they are away.

Contract section 14. A page says so on its stream, which counts as long as it is open, or by itself for a while.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

from .journal import NO_JOURNAL, Change, Journal

__all__ = ["AWAY_KIND", "PRESENCE_SECONDS", "Page", "Presence"]

#: What a journal keeps as this: who is away, by name.
AWAY_KIND = "away"
#: How long a page that says so without a stream counts: twice what a sensible page lets pass between two words.
PRESENCE_SECONDS = 60.0
#: More pages that say so are not remembered, the oldest is forgotten.
_MOST_PAGES = 10_000


class Page:
    """One page of somebody: all of its streams are seen, or not, with it."""

    __slots__ = ("__weakref__", "account", "is_hidden", "is_shown", "sees", "until")

    def __init__(self, account: str) -> None:
        self.account = account
        #: What it has said of itself, and what its person has said of all pages without a name.
        self.is_shown = False
        self.is_hidden = False
        #: Until when it counts without a stream, and for which sessions.
        self.until = 0.0
        self.sees: Callable[[str], bool] = _nothing

    @property
    def is_visible(self) -> bool:
        return self.is_shown and not self.is_hidden


class Presence:
    """Which pages are visible, and who is away, which a journal keeps. ``clock`` gives seconds, monotonic."""

    def __init__(self, clock: Any = time.monotonic, *, journal: Callable[[], Journal] = lambda: NO_JOURNAL) -> None:
        self._clock = clock
        self._journal = journal
        # Kept by their streams, and below.
        self._pages: WeakValueDictionary[tuple[str, str], Page] = WeakValueDictionary()
        self._told: OrderedDict[tuple[str, str], Page] = OrderedDict()
        self._away: OrderedDict[str, None] = OrderedDict()
        self._unnamed = count()

    def stream(self, account: str | None, page_id: str, *, is_visible: bool) -> Page:
        """The page of a stream that says whether it is visible; it counts while somebody keeps it.

        Without an id it is a page of its own.
        """
        page = self._page(account or "", page_id or f"\0{next(self._unnamed)}")
        page.is_shown = is_visible
        return page

    def tell(self, account: str, page_id: str, *, is_visible: bool, sees: Callable[[str], bool]) -> None:
        """A page says whether it is visible, with its streams, and for a while without any.

        One without an id speaks for all streams of its person that have none: where it hides, none of them is seen.
        """
        key = account, page_id
        page = self._page(*key)
        page.is_shown = is_visible
        for (holder, name), other in self._pages.items():
            if not page_id and holder == account and name.startswith("\0"):
                other.is_hidden = not is_visible
        self._told.pop(key, None)
        page.until = 0.0
        if is_visible:
            page.until, page.sees = self._clock() + PRESENCE_SECONDS, sees
            self._told[key] = page
            if len(self._told) > _MOST_PAGES:
                self._told.popitem(last=False)

    def set_away(self, account: str, *, is_away: bool) -> bool:
        """Somebody sees nothing from now on, whatever page is open; or does again. Say whether that is new."""
        if is_away == (account in self._away):
            return False
        if is_away:
            self._away[account] = None
            if len(self._away) > _MOST_PAGES:
                self._come_back(self._away.popitem(last=False)[0])
            self._journal().note(Change(AWAY_KIND, account, b"true"))
        else:
            del self._away[account]
            self._come_back(account)
        return True

    def _come_back(self, account: str) -> None:
        self._journal().note(Change(AWAY_KIND, account, None))

    def go_on(self) -> None:
        """Who was away when an earlier run ended is away still."""
        self._away.update({change.name: None for change in self._journal().kept(AWAY_KIND)})

    def is_away(self, account: str) -> bool:
        return account in self._away

    def is_looking(self, page: Page) -> bool:
        """Whether somebody looks at this page."""
        return page.is_visible and page.account not in self._away

    def looking(self, session_id: str) -> Iterator[str]:
        """Who looks at a session by a page that has said so without a stream."""
        now = self._clock()
        while self._told and next(iter(self._told.values())).until <= now:
            self._told.popitem(last=False)
        for page in self._told.values():
            if page.until > now and self.is_looking(page) and page.sees(session_id):
                yield page.account

    def _page(self, account: str, page_id: str) -> Page:
        page = self._pages.get((account, page_id))
        if page is None:
            page = self._pages[account, page_id] = Page(account)
        return page


def _nothing(session_id: str) -> bool:
    return False
