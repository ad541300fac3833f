"""Hooks that wait for a person, apart from the connections that wait for them.

A hook without a key lives as long as its connection. With one the same hook may come back and join it, over another
connection: a proxy cut the one before, or its answer got lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from ...core.errors import IdempotencyConflict

__all__ = ["HELD_HOOKS", "HeldHooks"]

#: How long nobody may wait for a hook: its command comes back at once, and an agent that was ended never.
_JOIN_SECONDS = 4.0

Answer = dict[str, Any]


class _HeldHook:
    def __init__(self, fingerprint: bytes, work: Coroutine[Any, Any, Answer], of_call: tuple[str, ...] | None) -> None:
        self.fingerprint = fingerprint
        self.of_call = of_call
        self.task = asyncio.create_task(work)
        self.waiting = 0
        self.given_up: asyncio.TimerHandle | None = None


class HeldHooks:
    """Every hook that is being answered, and those with a key for a moment after."""

    def __init__(self, *, join_seconds: float = _JOIN_SECONDS) -> None:
        self._join_seconds = join_seconds
        self._by_key: dict[tuple[str, ...], _HeldHook] = {}

    @asynccontextmanager
    async def joined(
        self,
        key: tuple[str, ...] | None,
        fingerprint: bytes,
        begin: Callable[[], Coroutine[Any, Any, Answer]],
        *,
        of_call: tuple[str, ...] | None = None,
    ) -> AsyncIterator[asyncio.Task[Answer]]:
        """Wait for a hook, which begins unless one of that key is there. Raises ``IdempotencyConflict``.

        One ``of_call`` that waits for a person, and for which nobody waits any more, is taken over by another key.
        When nobody waits any more it is cancelled: at once without a key, else after the time to come back.
        """
        hook = None if key is None else self._by_key.get(key) or self._left_alone(of_call)
        if hook is None:
            hook = _HeldHook(fingerprint, begin(), of_call)
        elif hook.fingerprint != fingerprint:
            raise IdempotencyConflict("This Idempotency-Key came before with another body.")
        if key is not None:
            self._by_key[key] = hook
        if hook.given_up is not None:
            hook.given_up.cancel()
        hook.waiting += 1
        try:
            yield hook.task
        finally:
            hook.waiting -= 1
            if key is None:
                await _ended(hook.task)
            elif hook.waiting == 0:
                loop = asyncio.get_running_loop()
                hook.given_up = loop.call_later(self._join_seconds, self._give_up, key)

    def _left_alone(self, of_call: tuple[str, ...] | None) -> _HeldHook | None:
        """The hook of this call that was ended while a person is asked; its key is nobody's any more."""
        for key, hook in self._by_key.items():
            if of_call is not None and hook.of_call == of_call and not hook.waiting and not hook.task.done():
                del self._by_key[key]
                return hook
        return None

    async def close(self) -> None:
        """End what is left."""
        hooks, self._by_key = self._by_key, {}
        for hook in hooks.values():
            if hook.given_up is not None:
                hook.given_up.cancel()
            await _ended(hook.task)

    def _give_up(self, key: tuple[str, ...]) -> None:
        self._by_key.pop(key).task.cancel()


async def _ended(task: asyncio.Task[Answer]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


HELD_HOOKS = web.AppKey("held_hooks", HeldHooks)
