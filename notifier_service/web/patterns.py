"""Whether a pattern of sessions names none but those that others name."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

__all__ = ["covers"]

_WILD = frozenset("*?[")


@lru_cache(maxsize=1024)
def covers(wider: Sequence[str], pattern: str) -> bool:
    """Whether every session that a glob names is one of ``wider``, as far as that is seen easily.

    True is certain; False may only mean that nobody has looked closely: ``eu-*-prod`` within ``*-prod``.
    """
    return any(_is_within(pattern, other) for other in wider)


def _is_within(pattern: str, other: str) -> bool:
    if other in ("*", pattern):
        return True
    if _WILD.isdisjoint(pattern):
        return fnmatchcase(pattern, other)
    # What begins with these characters itself, whatever its wildcards stand for.
    beginning = other.removesuffix("*")
    return beginning != other and _WILD.isdisjoint(beginning) and pattern.startswith(beginning)
