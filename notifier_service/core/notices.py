"""When people are called about a request that waits: at once where nobody looks, later where nobody answers.

Contract section 14. What tells them (``Channel``) is somebody else's: here is decided when, of whom, and once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, tzinfo
from heapq import heappop, heappush
from typing import Any, Literal, NamedTuple, Protocol

from pydantic_core import from_json

from .events import PermissionRecord, dump
from .journal import Change, Journal
from .label import NO_LABEL, Label
from .permission_request import PermissionRequest
from .recorder import Recorder

__all__ = ["NOTICE_KIND", "Channel", "Escalation", "Notice", "Notices", "QuietHours", "Taken"]

#: What a journal keeps as this: which steps of a request were taken, and who was told, by its id.
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
    """From when until when nobody is called but by escalation, past midnight too.

    By the clocks of a zone, which change in spring and autumn where they do there; None for those of this machine.
    """

    begin: time
    end: time
    zone: tzinfo | None = None

    def holds(self, moment: datetime) -> bool:
        now = moment.astimezone(self.zone).time()
        if self.begin <= self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end


class Notice(NamedTuple):
    """Something that people who are not looking are told.

    ``to`` is the one whom an escalation is for, None for all. ``lookers`` are those who look at the session now.
    ``told`` are those of the channel who have heard of the request before: who hears that it is settled.
    ``seconds_left`` is how long a request waits on, by a clock that nobody sets; None for ever.
    """

    kind: Kind
    session_id: str
    label: Label
    record: PermissionRecord | None
    step: Step | None = None
    to: str | None = None
    lookers: frozenset[str] = frozenset()
    told: frozenset[str] = frozenset()
    seconds_left: float | None = None


class Taken(NamedTuple):
    """What was done about a request: the steps, and who was told over each channel."""

    steps: Sequence[str] = ()
    told: Mapping[str, Collection[str]] = {}


class Channel(Protocol):
    """A way to people. Called on the loop of the broker; never waits."""

    name: str

    @property
    def is_on(self) -> bool:
        """Whether there is anybody to be told."""

    @property
    def is_failing(self) -> bool:
        """Whether what they are to be told does not arrive."""

    def tell(self, notice: Notice) -> Collection[str]:
        """Have them told, soon; return what they are called, over a restart too."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request that waits, and whom that was told."""

    session_id: str
    request: PermissionRequest
    asked_at: float
    #: Since when nobody looks; None while somebody does.
    unseen_since: float | None
    steps: list[str] = field(default_factory=list)
    #: Who was really told, by channel.
    told: dict[str, set[str]] = field(default_factory=dict)

    @property
    def is_first_done(self) -> bool:
        return not {"unseen", "waiting"}.isdisjoint(self.steps)


class Notices:
    """Calls people over ``channels`` about what waits; without any, nothing is done.

    ``lookers`` says who looks at a session, ``label`` what it is called, ``clock`` gives seconds, monotonic, and
    ``now`` the moment, in any zone. Steps go on record, and are kept over a restart with their requests.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        lookers: Callable[[str], set[str]],
        label: Callable[[str], Label] = lambda session_id: NO_LABEL,
        recorder: Callable[[], Recorder],
        journal: Callable[[], Journal | None] = lambda: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.channels: list[Channel] = []
        self.after_seconds = 30.0
        self.escalate: Sequence[Escalation] = ()
        self.quiet: QuietHours | None = None
        self.now = now
        self._clock = clock
        self._lookers = lookers
        self._label = label
        self._recorder = recorder
        self._journal = journal
        self._waiting: dict[str, _Waiting] = {}
        #: Those of which nobody was told yet.
        self._first: dict[str, _Waiting] = {}
        #: When the other steps are due.
        self._due: list[tuple[float, str, str, str]] = []

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

    def go_on(self, session_id: str, requests: Iterable[PermissionRequest], before: Mapping[str, Taken]) -> None:
        """Requests of an earlier run wait on, of which these steps were taken; pages have a moment to come back."""
        if not self.is_on:
            return
        now = self._clock()
        for request in requests:
            if request.request_id not in self._waiting:
                taken, asked_at = before.get(request.request_id, Taken()), request.announced_at or now
                told = {channel: set(names) for channel, names in taken.told.items()}
                self._wait(_Waiting(session_id, request, asked_at, now, list(taken.steps), told))

    def taken_before(self) -> dict[str, Taken]:
        """What an earlier run has done, by request."""
        journal = self._journal()
        found: dict[str, Taken] = {}
        for change in () if journal is None else journal.kept(NOTICE_KIND):
            found[change.name] = Taken()
            try:
                found[change.name] = _taken(from_json(change.body or b""))
            except (ValueError, TypeError, LookupError, AttributeError):
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
            self._keep(waiting, is_over=True)
        if waiting.told:
            notice = Notice("settled", waiting.session_id, self._label(waiting.session_id), request.shown)
            self._tell(notice, waiting.told)

    def session_ended(self, session_id: str, label: Label) -> None:
        """A session is over."""
        if self.is_on:
            self._tell(Notice("session_ended", session_id, label, None))

    def look(self, now: float) -> None:
        """Do what is due."""
        for waiting in tuple(self._first.values()):
            self._look_at(waiting, now)
        while self._due and self._due[0][0] <= now:
            _, request_id, step, to = heappop(self._due)
            due = self._waiting.get(request_id)
            if due is not None and step not in due.steps:
                self._take(due, step, to)

    def _wait(self, waiting: _Waiting) -> None:
        request_id = waiting.request.request_id
        self._waiting[request_id] = waiting
        if not waiting.is_first_done:
            self._first[request_id] = waiting
        seconds = waiting.request.record.timeout_seconds
        if seconds:
            heappush(self._due, (waiting.asked_at + seconds / 2, request_id, "half", ""))
        for after_seconds, to in self.escalate:
            step = f"escalated to {to} after {after_seconds:g}"
            heappush(self._due, (waiting.asked_at + after_seconds, request_id, step, to))

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

    def _take(self, waiting: _Waiting, step: str, to: str = "") -> None:
        """Take a step, once: tell whom it is for, put it on record, and keep that it was taken."""
        if step == "half":
            # Whom nobody has told before is told by the first step, and not twice at its time.
            if not waiting.is_first_done:
                return
            if self._is_quiet():
                return
        elif not to:
            self._first.pop(waiting.request.request_id, None)
        waiting.steps.append(step)
        kind: Step = "escalated" if to else step  # type: ignore[assignment]  # it is one of the others
        session_id, request = waiting.session_id, waiting.request
        seconds = request.record.timeout_seconds
        notice = Notice(
            "requested",
            session_id,
            self._label(session_id),
            request.shown,
            kind,
            to or None,
            lookers=frozenset(self._lookers(session_id)),
            seconds_left=max(0.0, waiting.asked_at + seconds - self._clock()) if seconds else None,
        )
        told = self._tell(notice)
        for channel, names in told.items():
            waiting.told.setdefault(channel, set()).update(names)
        self._keep(waiting)
        if to and not told:
            _log.warning("a request should be told to %s, whom no webhook and no device reaches", to)
        if told or to:
            channels = {channel: len(names) for channel, names in told.items()}
            self._recorder().notified(session_id, request, step=kind, to=to or None, told=channels)

    def _tell(self, notice: Notice, before: Mapping[str, Collection[str]] | None = None) -> dict[str, Collection[str]]:
        """Who is told over each channel; one that fails holds up no other. ``before`` are the only ones, if given."""
        told = {}
        for channel in self.channels:
            try:
                if before is not None:
                    notice = notice._replace(told=frozenset(before.get(channel.name, ())))
                if (before is None or notice.told) and (names := channel.tell(notice)):
                    told[channel.name] = names
            except Exception:
                _log.exception("nobody can be told over %s", channel.name)
        return told

    def _keep(self, waiting: _Waiting, *, is_over: bool = False) -> None:
        journal = self._journal()
        if journal is not None and waiting.request.question.outlives:
            told = {channel: sorted(names) for channel, names in waiting.told.items()}
            body = None if is_over else dump({"steps": waiting.steps, "told": told})
            journal.note(Change(NOTICE_KIND, waiting.request.request_id, body))

    def _is_quiet(self) -> bool:
        return self.quiet is not None and self.quiet.holds(self.now())


def _taken(kept: Any) -> Taken:
    told = {str(channel): [str(name) for name in names] for channel, names in kept["told"].items()}
    return Taken([str(step) for step in kept["steps"]], told)
