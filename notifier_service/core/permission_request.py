"""One permission request: what was asked, who waits for the answer, and how it ended (contract section 4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from .events import CancelCode, PermissionRecord
from .policy.verdict import AskedTool
from .question import Question
from .recording import Recording
from .shares import Shares

__all__ = ["PermissionRequest"]

#: More readers of one request are not remembered: they read it again.
_MOST_READERS = 1000


class Withdraw(Protocol):
    """Takes a request back that is still open."""

    def __call__(
        self, request: PermissionRequest, reason: str, *, cancelled_by: str, code: CancelCode | None = None
    ) -> None: ...


class PermissionRequest:
    """One tool call that waits for a person, or waited. ``record`` is all of it, ``shown`` what an event can carry."""

    __slots__ = (
        "_collected",
        "_readers",
        "_shown",
        "_waiters",
        "_withdraw",
        "announced",
        "announced_at",
        "asked_by",
        "claimed_by",
        "deadline",
        "is_collected",
        "is_lost",
        "is_reported",
        "is_suspended",
        "is_told_now",
        "keeps_names",
        "kept_bytes",
        "parameters_bytes",
        "places",
        "preview",
        "question",
        "record",
        "recording",
        "request_id",
        "seq",
        "size",
        "tool",
        "waits_since",
    )

    def __init__(
        self,
        record: PermissionRecord,
        question: Question,
        *,
        withdraw: Withdraw,
        tool: AskedTool | None = None,
        collected: Callable[[PermissionRequest], object] = lambda request: None,
    ) -> None:
        self._withdraw = withdraw
        self._collected = collected
        self._waiters: set[asyncio.Future[PermissionRecord]] = set()
        self.record = record
        self.request_id = record.request_id
        self.question = question
        self.tool = question.tool if tool is None else tool
        self.asked_by = self.tool.asked_by
        self.announced = False
        #: On the desk's clock; None while it is not announced.
        self.announced_at: float | None = None
        #: The same in seconds since 1970, less what an earlier run was away, for who keeps it over a restart.
        self.waits_since: float | None = None
        #: Who asked was told how it ended.
        self.is_collected = False
        #: The run for which it was taken; whether the end of that was told, or nobody will tell it; and whether people
        #: were told that nobody knows it.
        self.claimed_by: str | None = None
        self.is_reported = False
        self.is_lost = False
        #: It waits on, and nobody waits for it here any more: the service is shutting down.
        self.is_suspended = False
        #: Its record says already what people are told when it is announced.
        self.is_told_now = False
        #: What is about to happen to it, and does when that is on record.
        self.recording: Recording | None = None
        #: The places that it takes while it is pending.
        self.places: Sequence[Shares] = ()
        #: On the desk's clock; None for never, or while it is not announced.
        self.deadline: float | None = None
        #: The asker lays an edit over what it asked, so that none can take a parameter away.
        self.keeps_names = False
        #: What stands in an event in the place of parameters that it cannot hold.
        self.preview: Mapping[str, Any] | None = None
        #: Where the log announced it; 0 for nowhere yet.
        self.seq = 0
        #: Bytes of large parameters that are counted for it.
        self.kept_bytes = 0
        #: Bytes of the canonical form of its parameters.
        self.parameters_bytes = 0
        #: Bytes of what is shown.
        self.size = 0
        self._readers: set[str] = set()
        #: The record of which ``shown`` was made last, what stood in it, and that.
        self._shown: tuple[PermissionRecord, Mapping[str, Any], PermissionRecord] | None = None

    @property
    def shown(self) -> PermissionRecord:
        """The record for events and lists: of large parameters the beginning, their size and their hash."""
        record, preview = self.record, self.preview
        if preview is None:
            return record
        before = self._shown
        if before is not None and before[0] is record and before[1] is preview:
            return before[2]
        shown = record.altered(**preview)
        self._shown = record, preview, shown
        return shown

    def note_reader(self, name: str) -> None:
        """Tell that the whole was given to this caller, who may approve it from now on."""
        if self.preview is not None and len(self._readers) < _MOST_READERS:
            self._readers.add(name)

    def was_read_by(self, name: str) -> bool:
        """Whether this caller was given all there is to approve; what events hold, everybody was."""
        return self.preview is None or name in self._readers

    def was_asked_by(self, name: str, token_sha256: str) -> bool:
        """Whether this caller asked it: in this name or with this token, where tokens tell who is who."""
        asked_with = self.question.asked_with
        return bool(asked_with) and (self.asked_by == name or asked_with == token_sha256)

    def forget_whole(self) -> None:
        """Keep of large parameters what is shown only."""
        self.record, self.preview, self._shown = self.shown, None, None
        self.question = self.question._replace(parameters=self.record.parameters)

    @property
    def pending(self) -> bool:
        return self.record.status == "pending"

    @property
    def is_awaited(self) -> bool:
        """Whether somebody has decided, and who asked has not heard of it."""
        return self.record.decision is not None and not self.is_collected

    async def recorded(self) -> None:
        """Wait until it is on record that this is asked, where that is kept. Raises ``NotRecorded`` if it is not."""
        if self.recording is not None and not self.announced:
            await self.recording.over()

    async def decision(self) -> PermissionRecord:
        """Wait until the request is settled, and return the record: a person's answer, or how it ended.

        Never raises for a denial: ``record.approved`` is True only when the call may run, with
        ``record.parameters``; while the service shuts down, it may be pending still.
        """
        if self.pending and not self.is_suspended:
            waiter: asyncio.Future[PermissionRecord] = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                return await waiter
            finally:
                self._waiters.discard(waiter)
        return self.record

    def cancel(self, reason: str = "the agent went away", *, cancelled_by: str = "agent") -> PermissionRecord:
        """Withdraw the request; nothing runs. Without effect when it is settled already."""
        self._withdraw(self, reason, cancelled_by=cancelled_by)
        return self.record

    def collect(self) -> None:
        """Who asked is told how it ended; without effect while it is pending."""
        self._collected(self)

    def suspend(self) -> None:
        """Have nobody wait for it any more here: it waits on where it is kept."""
        self.is_suspended = True
        self._give(self.record)

    def settle(self, record: PermissionRecord) -> None:
        """Give the record of its end to all who wait for it."""
        self.record = record
        if self.question.input_schema is not None:
            self.question = self.question._replace(input_schema=None)
        self.deadline = None
        self._give(record)

    def _give(self, record: PermissionRecord) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(record)
