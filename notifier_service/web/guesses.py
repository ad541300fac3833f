"""Slows down who guesses tokens, by address; a right token never waits, whoever else is behind its address."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable

from aiohttp import web

from ..core.errors import LimitReached

__all__ = ["GUESSES", "Guesses"]

#: Wrong tokens in a minute that cost nothing: a page that was left open, a token that has just been changed.
_FREE = 100
_FORGOTTEN_SECONDS = 60.0
_FIRST_DELAY_SECONDS = 0.1
_MAX_DELAY_SECONDS = 2.0

#: Answers to one address that are held back at once; more are told to come later.
_MAX_WAITING = 16
_MAX_ADDRESSES = 10_000


class Guesses:
    """How many wrong tokens came from which address lately. ``refused`` counts answers that were not even held back."""

    def __init__(
        self,
        refused: Counter[str],
        *,
        clock: Callable[[], float] = time.monotonic,
        max_addresses: int = _MAX_ADDRESSES,
    ) -> None:
        self._refused = refused
        self._clock = clock
        self._max_addresses = max_addresses
        # The address that was wrong last stands last.
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._waiting: Counter[str] = Counter()

    def delay_seconds(self, address: str) -> float:
        """Note a wrong token, and say how long its answer is held back."""
        now = self._clock()
        count, at = self._wrong.pop(address, (0, now))
        count = 1 if now - at >= _FORGOTTEN_SECONDS else count + 1
        self._wrong[address] = count, now
        if len(self._wrong) > self._max_addresses:
            self._wrong.popitem(last=False)
        over = count - _FREE
        return 0.0 if over <= 0 else min(_MAX_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2 ** min(over - 1, 10))

    async def slow_down(self, address: str) -> None:
        """Hold back the answer to a wrong token. Raises ``LimitReached`` when too many of the address wait already."""
        seconds = self.delay_seconds(address)
        if not seconds:
            return
        if self._waiting[address] >= _MAX_WAITING:
            self._refused["wrong_tokens"] += 1
            raise LimitReached(
                "wrong_tokens", "Too many wrong tokens come from this address.", retry_after_seconds=_MAX_DELAY_SECONDS
            )
        self._waiting[address] += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]


GUESSES = web.AppKey("guesses", Guesses)
