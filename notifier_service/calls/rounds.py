"""Calls of several rounds: a server wants more of its client first, and then the same call again."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..core.limits import RiskLevel
from ..core.parameters import canonical_json

__all__ = ["Round", "Rounds"]

_CAPACITY = 1000
#: As long as a person may take to give what the server wants.
_ROUND_SECONDS = 3600.0


class Round(NamedTuple):
    """What holds for a call that was let run, and for its further rounds."""

    risk_level: RiskLevel
    #: How its tool was defined then.
    definition_sha256: str | None
    #: What runs in the place of the arguments that were sent, if a person changed them.
    edited: dict[str, Any] | None = None
    edited_by: str | None = None


class Rounds:
    """The rounds that servers wait for, of calls that were let run: nobody is asked about one of them again.

    It is known by its tool, the arguments that the client sent and the state that the server gave, and counts once. Of
    more than ``capacity`` the oldest is forgotten.
    """

    def __init__(self, *, capacity: int = _CAPACITY, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._clock = clock
        self._expected: OrderedDict[bytes, tuple[Round, float]] = OrderedDict()

    def expect(self, tool_name: str, arguments: Mapping[str, Any], state: Any, granted: Round) -> None:
        """The server wants this call again."""
        key = _key(tool_name, arguments, state)
        if key is not None:
            self._expected[key] = granted, self._clock() + _ROUND_SECONDS
            if len(self._expected) > self._capacity:
                self._expected.popitem(last=False)

    def take(
        self, tool_name: str, arguments: Mapping[str, Any], state: Any, definition_sha256: str | None
    ) -> Round | None:
        """What holds for this call if a server waits for it, and if the tool is defined as it was."""
        key = _key(tool_name, arguments, state)
        granted, until = self._expected.pop(key, (None, 0.0)) if key is not None else (None, 0.0)
        if granted is None or until <= self._clock() or granted.definition_sha256 != definition_sha256:
            return None
        return granted


def _key(tool_name: str, arguments: Mapping[str, Any], state: Any) -> bytes | None:
    """A hash of what tells calls apart; None for what has no form, and is never met again."""
    try:
        return hashlib.sha256(canonical_json([tool_name, arguments, state])).digest()
    except (ValueError, TypeError):
        return None
