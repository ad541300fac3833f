"""Parameters that no event can carry: how many bytes of them are kept whole beside the logs, and for whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from .errors import LimitReached

__all__ = ["LargeParameters"]


class LargeParameters:
    """Counts the bytes of large parameters over all sessions. One holder, a caller or a session, has half at most."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.bytes = 0
        self._of: Counter[Hashable] = Counter()

    def take(self, size: int, *holders: Hashable) -> None:
        """Count ``size`` bytes more for these holders, or raise ``LimitReached``; a negative size gives back."""
        most = max((self._of[holder] for holder in holders), default=0)
        if size > 0 and (self.bytes + size > self.capacity_bytes or most + size > self.capacity_bytes // 2):
            raise LimitReached(
                "max_kept_parameters_bytes",
                f"Parameters of {size} bytes cannot be kept beside those that wait already: "
                f"{self.bytes} of {self.capacity_bytes} bytes, of which one caller or session has half at most.",
            )
        self.count(size, *holders)

    def count(self, size: int, *holders: Hashable) -> None:
        """Count ``size`` bytes more, or less, though there is no room: what was taken once is not refused."""
        self.bytes += size
        for holder in holders:
            self._of[holder] += size
            if not self._of[holder]:
                del self._of[holder]
