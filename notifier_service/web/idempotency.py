"""Answers by ``Idempotency-Key``: a producer that repeats itself after a lost answer gets that answer again."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from ..errors import IdempotencyConflict, InvalidInput
from ..permissions import PermissionRequest

__all__ = ["IDEMPOTENCY", "IdempotencyKeys", "idempotency_key"]

_REMEMBERED_SECONDS = 300.0
_REMEMBERED_KEYS = 10_000


@dataclass(slots=True)
class _Entry:
    fingerprint: bytes
    until: float
    answer: asyncio.Future[Any]

    @property
    def still_needed(self) -> bool:
        """Whether the answer is a permission request that still waits, so that its asker may come back and join."""
        if not self.answer.done() or self.answer.exception() is not None:
            return False
        answer = self.answer.result()
        return isinstance(answer, PermissionRequest) and answer.pending


class IdempotencyKeys:
    """What was answered under which key, for five minutes (or as long as it waits) and at most 10,000 keys.

    A key belongs to a caller and a path; the same key with another body raises ``IdempotencyConflict``.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, capacity: int = _REMEMBERED_KEYS) -> None:
        self._clock = clock
        self._capacity = capacity
        self._entries: OrderedDict[tuple[str, ...], _Entry] = OrderedDict()

    def claim(self, scope: tuple[str, ...], fingerprint: bytes) -> tuple[asyncio.Future[Any], bool]:
        """Return the answer of this key, which may still be made, and whether the caller is the one to make it."""
        now = self._clock()
        while self._entries and next(iter(self._entries.values())).until <= now:
            old_scope, old = self._entries.popitem(last=False)
            if old.still_needed:
                self._entries[old_scope] = replace(old, until=now + _REMEMBERED_SECONDS)
        entry = self._entries.get(scope)
        if entry is not None:
            if entry.fingerprint != fingerprint:
                raise IdempotencyConflict("This Idempotency-Key came before with another body.")
            return entry.answer, False
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._entries[scope] = _Entry(fingerprint, now + _REMEMBERED_SECONDS, answer)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)
        return answer, True

    def forget(self, scope: tuple[str, ...]) -> None:
        """Nothing came of it: the next one with this key begins anew."""
        self._entries.pop(scope, None)


IDEMPOTENCY = web.AppKey("idempotency", IdempotencyKeys)


def idempotency_key(request: web.Request) -> str | None:
    """The header, checked."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise InvalidInput("Idempotency-Key must be 1 to 255 printable ASCII characters")
    return key
