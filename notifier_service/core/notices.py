"""When people are called about a request that waits: at once where nobody looks, later where nobody answers.

Contract section 14. What tells them (``Channel``) is somebody else's: here is decided when, of whom, and once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from heapq import heappop, heappush
from typing import Literal, NamedTuple, Protocol

from pydantic_core import from_json

from .events import PermissionRecord, dump
from .journal import Change, Journal
from .label import NO_LABEL, Label
from .permission_request import PermissionRequest
from .recorder import Recorder

__all__ = ["NOTICE_KIND", "Channel", "Escalation", "Notice", "Notices", "QuietHours"]

#: What a journal keeps as this: which steps of a request were taken, by its id.
NOTICE_KIND = "notice"
#: A page that is loaded again, or comes back after a restart, is away for so long.
_GRACE_SECONDS = 5.0

Step = Literal["unseen", "waiting", "half", "escalated"]
Kind = Literal["requested", "settled", "session_ended"]

_log = logging.getLogger("notifier_service.notices")


class Escalation(NamedTuple):
    """Whom to call beside the others about a request that has waited so long."""

    after_seconds: float
    to: str


class QuietHours(NamedTuple):
    """From when until when nobody is called but by escalation, by the clock of this machine; past midnight too."""

    begin: time
    end: time

    def holds(self, now: time) -> bool:
        if self.begin <= self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end


class Notice(NamedTuple):
    """Something that people who are not looking are told.

    ``to`` is the one whom an escalation is for, None for all. ``lookers`` are those who look at the session now.
    """

    kind: Kind
    session_id: str
    label: Label
    record: PermissionRecord | None
    step: Step | None = None
    to: str | None = None
    lookers: frozenset[str] = frozenset()


class Channel(Protocol):
    """A way to people. Called on the loop of the broker; never waits."""

    name: str

    @property
    def is_on(self) -> bool:
        """Whether there is anybody to be told."""

    def tell(self, notice: Notice) -> int:
        """Have them told, soon; return how many of them that will be."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request that waits, and whom that was told."""

    session_id: str
    request: PermissionRequest
    asked_at: float
    #: Since when nobody looks; None while somebody does.
    unseen_since: float | None
    steps: list[str] = field(default_factory=list)
    #: Somebody was really told.
    is_told: bool = False

    @property
    def is_first_done(self) -> bool:
        return not {"unseen", "waiting"}.isdisjoint(self.steps)


class Notices:
    """Calls people over ``channels`` about what waits; without any, nothing is done.

    ``lookers`` says who looks at a session, ``label`` what it is called, ``clock`` gives seconds, monotonic, and
    ``local_time`` the time of day. Steps go on record, and are kept over a restart with their requests.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        lookers: Callable[[str], set[str]],
        label: Callable[[str], Label] = lambda session_id: NO_LABEL,
        recorder: Callable[[], Recorder],
        journal: Callable[[], Journal | None] = lambda: None,
        local_time: Callable[[], time] = lambda: datetime.now(UTC).astimezone().time(),
    ) -> None:
        self.channels: list[Channel] = []
        self.after_seconds = 30.0
        self.escalate: Sequence[Escalation] = ()
        self.quiet: QuietHours | None = None
        self.local_time = local_time
        self._clock = clock
        self._lookers = lookers
        self._label = label
        self._recorder = recorder
        self._journal = journal
        self._waiting: dict[str, _Waiting] = {}
        #: Those of which nobody was told yet.
        self._first: dict[str, _Waiting] = {}
        #: When the other steps are due.
        self._due: list[tuple[float, str, str]] = []

    @property
    def is_on(self) -> bool:
        return any(channel.is_on for channel in self.channels)

    def asked(self, session_id: str, request: PermissionRequest) -> None:
        """A request is announced: who does not look is told at once."""
        if self.is_on:
            now = self._clock()
            waiting = _Waiting(session_id, request, request.announced_at or now, unseen_since=float("-inf"))
            self._wait(waiting)
            self._look_at(waiting, now)

    def go_on(self, session_id: str, requests: Iterable[PermissionRequest], before: dict[str, list[str]]) -> None:
        """Requests of an earlier run wait on, of which these steps were taken; pages have a moment to come back."""
        if not self.is_on:
            return
        now = self._clock()
        for request in requests:
            if request.request_id not in self._waiting:
                steps, asked_at = before.get(request.request_id, []), request.announced_at or now
                self._wait(_Waiting(session_id, request, asked_at, now, list(steps), is_told=bool(steps)))

    def steps_of_before(self) -> dict[str, list[str]]:
        """Which steps an earlier run has taken, by request."""
        journal = self._journal()
        found: dict[str, list[str]] = {}
        for change in () if journal is None else journal.kept(NOTICE_KIND):
            found[change.name] = []
            try:
                found[change.name] = [str(step) for step in from_json(change.body or b"")]
            except (ValueError, TypeError):
                _log.exception("what was told of a request cannot be read from the journal")
        return found

    def forget(self, request_ids: Iterable[str]) -> None:
        """Nothing is kept of these any more."""
        journal = self._journal()
        if journal is not None:
            for request_id in request_ids:
                journal.note(Change(NOTICE_KIND, request_id, None))

    def settled(self, request: PermissionRequest) -> None:
        """A request waits no longer: who was told of it is told that."""
        waiting = self._waiting.pop(request.request_id, None)
        if waiting is None:
            return
        self._first.pop(request.request_id, None)
        if waiting.steps:
            self._keep(waiting, None)
        if waiting.is_told:
            self._tell(Notice("settled", waiting.session_id, self._label(waiting.session_id), request.shown))

    def session_ended(self, session_id: str, label: Label) -> None:
        """A session is over."""
        if self.is_on:
            self._tell(Notice("session_ended", session_id, label, None))

    def look(self, now: float) -> None:
        """Do what is due."""
        for waiting in tuple(self._first.values()):
            self._look_at(waiting, now)
        while self._due and self._due[0][0] <= now:
            _, request_id, step = heappop(self._due)
            due = self._waiting.get(request_id)
            if due is not None and step not in due.steps:
                self._take(due, step)

    def _wait(self, waiting: _Waiting) -> None:
        request_id = waiting.request.request_id
        self._waiting[request_id] = waiting
        if not waiting.is_first_done:
            self._first[request_id] = waiting
        seconds = waiting.request.record.timeout_seconds
        if seconds:
            heappush(self._due, (waiting.asked_at + seconds / 2, request_id, "half"))
        for escalation in self.escalate:
            step = f"escalated to {escalation.to}"
            heappush(self._due, (waiting.asked_at + escalation.after_seconds, request_id, step))

    def _look_at(self, waiting: _Waiting, now: float) -> None:
        """Tell of a request for the first time, if that is due."""
        if self._is_quiet():
            return
        if now - waiting.asked_at >= self.after_seconds:
            self._take(waiting, "waiting")
        elif self._lookers(waiting.session_id):
            waiting.unseen_since = None
        elif waiting.unseen_since is None:
            waiting.unseen_since = now
        elif now - waiting.unseen_since >= _GRACE_SECONDS:
            self._take(waiting, "unseen")

    def _take(self, waiting: _Waiting, step: str) -> None:
        """Take a step, once: tell whom it is for, put it on record, and keep that it was taken."""
        if step == "half":
            # Whom nobody has told before is told by the first step, and not twice at its time.
            if not waiting.is_first_done:
                return
            if self._is_quiet():
                return
        elif not step.startswith("escalated"):
            self._first.pop(waiting.request.request_id, None)
        waiting.steps.append(step)
        kind, _, to = step.partition(" to ")
        notice = Notice(
            "requested",
            waiting.session_id,
            self._label(waiting.session_id),
            waiting.request.shown,
            kind,  # type: ignore[arg-type]
            to or None,
            frozenset(self._lookers(waiting.session_id)),
        )
        told = self._tell(notice)
        self._keep(waiting, waiting.steps)
        if told:
            waiting.is_told = True
            self._recorder().notified(waiting.session_id, waiting.request, step=kind, to=to or None, told=told)

    def _tell(self, notice: Notice) -> dict[str, int]:
        """How many are told over each channel; one that fails holds up no other."""
        told = {}
        for channel in self.channels:
            try:
                if number := channel.tell(notice):
                    told[channel.name] = number
            except Exception:
                _log.exception("nobody can be told over %s", channel.name)
        return told

    def _keep(self, waiting: _Waiting, steps: Sequence[str] | None) -> None:
        journal = self._journal()
        if journal is not None and waiting.request.question.outlives:
            body = None if steps is None else dump(list(steps))
            journal.note(Change(NOTICE_KIND, waiting.request.request_id, body))

    def _is_quiet(self) -> bool:
        return self.quiet is not None and self.quiet.holds(self.local_time())
