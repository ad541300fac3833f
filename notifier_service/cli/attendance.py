"""Tells the service whether somebody is at this terminal, so that nobody is called who sees what waits."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress

from ..client import Client
from ..core.errors import NotifierError

__all__ = ["Attendance"]

#: What is said counts for a minute.
_AGAIN_SECONDS = 40.0
_FAREWELL_SECONDS = 1.0


class Attendance:
    """Whether a terminal is looked at: while it has the focus, or for a minute after a key where it does not tell.

    So a terminal that was left, in a multiplexer or on a machine far away, silences nobody's phone.
    """

    def __init__(self, client: Client, session_id: str | None) -> None:
        self._client = client
        self._session_id = session_id
        self._page = f"watch-{secrets.token_hex(8)}"
        #: None where the terminal has not told.
        self._has_focus: bool | None = None
        self._is_touched = True  # who starts it is there
        self._is_told = False
        self._told_at = float("-inf")
        self._changed = asyncio.Event()

    def touch(self) -> None:
        """A key was pressed."""
        self._is_touched = True
        if asyncio.get_running_loop().time() - self._told_at >= _AGAIN_SECONDS:
            self._changed.set()

    def focus(self, has_focus: bool) -> None:  # as the terminal says it
        """The terminal has told whether it has the focus."""
        self._has_focus = has_focus
        self._changed.set()

    async def run(self) -> None:
        """Tell it, whenever it changes and at most as often as it must be told again, until cancelled."""
        try:
            while True:
                if self._has_focus or (self._has_focus is None and self._is_touched):
                    await self._tell(is_here=True)
                elif self._has_focus is False and self._is_told:
                    await self._tell(is_here=False)
                self._is_touched = False
                with suppress(TimeoutError):
                    async with asyncio.timeout(_AGAIN_SECONDS):
                        await self._changed.wait()
                self._changed.clear()
        finally:
            if self._is_told:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_FAREWELL_SECONDS):
                        await self._tell(is_here=False)

    async def _tell(self, *, is_here: bool) -> None:
        self._is_told, self._told_at = is_here, asyncio.get_running_loop().time()
        with suppress(NotifierError):  # the stream says itself that the service is away
            await self._client.presence(visible=is_here, page=self._page, session_id=self._session_id)
