"""How often one caller may do something: so many a second, and so many at once (contract section 16)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal

from aiohttp import web

from ..core.errors import LimitReached
from ..core.shares import EVERYBODY
from ..settings import Rate, Settings

__all__ = ["RATES", "RateName", "Rates"]

RateName = Literal["publish_rate", "decide_rate", "connect_rate"]

_NAMES: tuple[RateName, ...] = ("publish_rate", "decide_rate", "connect_rate")

#: Of how many callers it is known how often they came. Of more the one who came longest ago is forgotten: by then he
#: may do again what he might at first, or nearly.
_MAX_CALLERS = 10_000


class Rates:
    """What each caller has left of the rates that are set: a subject, or an address where there is none.

    Each has a bucket of as many tokens as may be spent at once, which fills up at so many a second; of what nobody has
    spent lately nothing is kept. ``refused`` counts by setting, ``clock`` is in seconds, monotonic.
    """

    def __init__(
        self,
        rates: Mapping[RateName, Rate],
        refused: Counter[str],
        *,
        clock: Callable[[], float] = time.monotonic,
        max_callers: int = _MAX_CALLERS,
    ) -> None:
        self._rates = rates
        self._refused = refused
        self._clock = clock
        self._max_callers = max_callers
        #: When each bucket will be full again, by rate and caller; who came last stands last.
        self._full_at: dict[RateName, dict[str, float]] = {name: {} for name in rates}

    @classmethod
    def of(cls, settings: Settings, refused: Counter[str]) -> Rates:
        """The rates that the settings have."""
        rates = {name: rate for name in _NAMES if (rate := getattr(settings, name)) is not None}
        return cls(rates, refused)

    def bounds(self, name: RateName) -> bool:
        """Whether such a rate is set."""
        return name in self._rates

    def seconds_until(self, name: RateName, caller: str, address: str, tokens: int = 1) -> float:
        """Spend tokens, or say how long to wait until there are so many; 0 where they are spent.

        Of more than fit in the bucket a full one is enough: the rest has to be waited for afterwards.
        """
        rate = self._rates.get(name)
        if rate is None:
            return 0.0
        # A token may have any subject, and no address has this form.
        holder = f"@{address}" if caller == EVERYBODY else f"={caller}"
        now = self._clock()
        full_at = self._full_at[name]
        before = max(now, full_at.pop(holder, now))
        wait = before - now - (rate.at_once - min(tokens, rate.at_once)) / rate.a_second
        is_spent = wait <= 1e-9
        full_at[holder] = before + tokens / rate.a_second if is_spent else before
        if len(full_at) > self._max_callers:
            del full_at[next(iter(full_at))]
        return 0.0 if is_spent else wait

    def spend(self, name: RateName, caller: str, address: str, tokens: int = 1) -> None:
        """Spend tokens, or raise ``LimitReached``, which says when to come back."""
        seconds = self.seconds_until(name, caller, address, tokens)
        if seconds:
            raise self.refusal(name, seconds)

    def refusal(self, name: RateName, seconds: float) -> LimitReached:
        """What a caller is told, which is counted."""
        self._refused[name] += 1
        rate = self._rates[name]
        return LimitReached(
            name,
            f"Not more than {rate.a_second:g} a second and {rate.at_once} at once: come back in {seconds:.1f} s.",
            retry_after_seconds=seconds,
            is_told=True,
        )


RATES = web.AppKey("rates", Rates)
