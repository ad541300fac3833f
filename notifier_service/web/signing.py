"""Has the heads of the audit log signed: soon after each line, at each rotation, and at the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

from ..storage.audit_heads import AuditHeads
from ..storage.audit_key import audit_key
from ..storage.merkle import Tree
from ..storage.signed_note import VerifyingKey
from .head_sender import HeadSender

__all__ = ["Signing"]

#: So long somebody may have to wait for a receipt of what was just decided.
_EVERY_SECONDS = 5.0
_SENT_EVERY_SECONDS = 60.0


class Signing:
    """The heads of the log in ``path``, signed by the key in a file, and sent to ``to`` where that is not None.

    Raises ``InvalidInput`` when the key cannot be used.
    """

    def __init__(
        self,
        path: Path,
        key_file: Path,
        to: str | None = None,
        *,
        every_seconds: float = _EVERY_SECONDS,
        sent_every_seconds: float = _SENT_EVERY_SECONDS,
    ) -> None:
        key = audit_key(key_file)
        self.key: VerifyingKey = key.verifying
        self._sender = None if to is None else HeadSender(to)
        self._heads = AuditHeads(path, key)
        self._every_seconds = every_seconds
        self._sent_every_seconds = sent_every_seconds
        self._unsent: str | None = None
        self._writing = threading.Lock()
        self._task: asyncio.Task[None] | None = None

    def rotated(self, path: Path, tree: Tree) -> None:
        """A file of the log has got this other name. For the thread that writes it."""
        note = self._heads.rotated(path, tree)
        if note is not None and self._sender is not None:
            self._sender.put(note)

    def begin(self, tree: Callable[[], Tree | None]) -> None:
        """Sign from now on what ``tree`` says is on disk."""
        if self._sender is not None:
            self._sender.begin()
        self._task = asyncio.create_task(self._sign(tree))

    async def end(self, tree: Tree | None, *, within_seconds: float) -> None:
        """Sign once more, what is on disk at last, and have it sent if that does not take longer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._write, tree)
        self._send()
        if self._sender is not None:
            await self._sender.end(within_seconds)

    async def _sign(self, tree: Callable[[], Tree | None]) -> None:
        loop, send_at = asyncio.get_running_loop(), 0.0
        while True:
            await asyncio.to_thread(self._write, tree())
            if loop.time() >= send_at and self._send():
                send_at = loop.time() + self._sent_every_seconds
            await asyncio.sleep(self._every_seconds)

    def _write(self, tree: Tree | None) -> None:
        # Who is cancelled while this runs in a thread must not lose what it signs.
        with self._writing:
            self._unsent = self._heads.write(tree) or self._unsent

    def _send(self) -> bool:
        """Have the newest head sent, if it was not."""
        note, self._unsent = self._unsent, None
        if note is None or self._sender is None:
            return False
        self._sender.put(note)
        return True
