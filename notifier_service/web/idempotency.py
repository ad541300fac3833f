"""Answers by ``Idempotency-Key``: a producer that repeats itself after a lost answer gets that answer again."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ..core.errors import IdempotencyConflict, InvalidInput
from ..core.permission_request import PermissionRequest

__all__ = ["IDEMPOTENCY", "IdempotencyKeys", "idempotency_key"]

_REMEMBERED_SECONDS = 300.0
_REMEMBERED_KEYS = 10_000
#: How often it is looked which are too old.
_LOOK_SECONDS = 5.0
#: So many of these go at once; the next caller sees to the others.
_MOST_AT_ONCE = 500


#: What a remembered key costs besides its answer.
_KEY_BYTES = 512

#: What was done, who did it, and under which path and key.
Scope = tuple[str, ...]


@dataclass(slots=True)
class _Entry:
    fingerprint: bytes
    until: float
    answer: asyncio.Future[Any]
    size: int = _KEY_BYTES

    @property
    def still_needed(self) -> bool:
        """Whether the answer is a permission request that still waits, so that its asker may come back and join."""
        if not self.answer.done() or self.answer.exception() is not None:
            return False
        answer = self.answer.result()
        return isinstance(answer, PermissionRequest) and answer.pending


class _Shelf:
    """What is remembered for one caller, the oldest first."""

    def __init__(self) -> None:
        self.entries: OrderedDict[Scope, _Entry] = OrderedDict()
        self.size = 0

    def remove(self, scope: Scope) -> int:
        """How many bytes that frees."""
        entry = self.entries.pop(scope, None)
        freed = 0 if entry is None else entry.size
        self.size -= freed
        return freed


class IdempotencyKeys:
    """What was answered under which key, for five minutes (or as long as it waits), by caller.

    A key belongs to a caller and a path; the same key with another body raises ``IdempotencyConflict``. When there are
    more than ``capacity`` keys or ``capacity_bytes``, who has most on the shelf loses the oldest there: what others ask
    does not make anybody's retry ask twice. ``forgotten`` hears of each that is not remembered any more.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        forgotten: Callable[[Scope], object] = lambda scope: None,
        capacity: int = _REMEMBERED_KEYS,
        capacity_bytes: int = 32 * 1024 * 1024,
    ) -> None:
        self._clock = clock
        self._forgotten = forgotten
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._shelves: dict[Scope, _Shelf] = {}
        self._keys = 0
        self._bytes = 0
        self._look_at = 0.0

    def claim(self, scope: Scope, fingerprint: bytes) -> tuple[asyncio.Future[Any], bool]:
        """Return the answer of this key, which may still be made, and whether the caller is the one to make it."""
        now = self._clock()
        self._expire(now)
        shelf = self._shelves.setdefault(scope[1:2], _Shelf())
        entry = shelf.entries.get(scope)
        if entry is not None and (entry.until > now or entry.still_needed):
            if entry.fingerprint != fingerprint:
                raise IdempotencyConflict("This Idempotency-Key came before with another body.")
            return entry.answer, False
        self.forget(scope)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._shelves.setdefault(scope[1:2], shelf).entries[scope] = _Entry(
            fingerprint, now + _REMEMBERED_SECONDS, answer
        )
        shelf.size += _KEY_BYTES
        self._bytes += _KEY_BYTES
        self._keys += 1
        self._make_room(scope)
        return answer, True

    def answered(self, scope: Scope, answer: Any, size: int) -> None:
        """Remember what came of it, which takes ``size`` bytes."""
        shelf = self._shelves.get(scope[1:2])
        entry = None if shelf is None else shelf.entries.get(scope)
        if shelf is None or entry is None:
            return
        entry.size += size
        shelf.size += size
        self._bytes += size
        entry.answer.set_result(answer)
        self._make_room(scope)

    def forget(self, scope: Scope) -> None:
        """Nothing came of it: the next one with this key begins anew."""
        shelf = self._shelves.get(scope[1:2])
        if shelf is None or scope not in shelf.entries:
            return
        self._bytes -= shelf.remove(scope)
        self._keys -= 1
        self._forgotten(scope)
        if not shelf.entries:
            del self._shelves[scope[1:2]]

    def _make_room(self, newest: Scope) -> None:
        while self._keys > self._capacity or self._bytes > self._capacity_bytes:
            largest = max(self._shelves.values(), key=lambda shelf: shelf.size)
            oldest = next(
                (scope for scope, entry in largest.entries.items() if scope != newest and not entry.still_needed), None
            )
            if oldest is None:
                return  # bounded by what else may wait
            self.forget(oldest)

    def _expire(self, now: float) -> None:
        if now < self._look_at:
            return
        over: list[Scope] = []
        for shelf in self._shelves.values():
            for scope, entry in shelf.entries.items():
                if entry.until > now or len(over) == _MOST_AT_ONCE:
                    break  # the oldest stand first
                if not entry.still_needed:
                    over.append(scope)
        for scope in over:
            self.forget(scope)
        if len(over) < _MOST_AT_ONCE:
            self._look_at = now + _LOOK_SECONDS


IDEMPOTENCY = web.AppKey("idempotency", IdempotencyKeys)


def idempotency_key(request: web.Request) -> str | None:
    """The header, checked."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise InvalidInput("Idempotency-Key must be 1 to 255 printable ASCII characters")
    return key
