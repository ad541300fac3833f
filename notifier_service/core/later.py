"""Regular expressions that are compiled when they are first used: all of them take as long as loading asyncio."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

__all__ = ["pattern"]


class _Pattern:
    """Has of a pattern whatever has been asked of it."""

    def __init__(self, source: str, flags: int = 0) -> None:
        self._source, self._flags = source, flags

    def __getattr__(self, name: str) -> Any:
        found = self.__dict__[name] = getattr(re.compile(self._source, self._flags), name)  # which re remembers
        return found


if TYPE_CHECKING:
    pattern = re.compile
else:
    #: As ``re.compile``, for a pattern that not every start needs.
    pattern = _Pattern
