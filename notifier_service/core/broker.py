"""Sessions by id: open, publish, read, ask, decide, expire, close. The only way into the core."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context
from typing import Any, NamedTuple, Unpack
from zlib import crc32

from .audit import NO_AUDIT, AuditLog
from .errors import BrokerClosed, LimitReached, NoBroker, NotDurable, SessionNotFound
from .event_log import Batch, Event, base36, new_epoch
from .events import EventData, PermissionRecord, SessionRow
from .fan_out import Delivery
from .history import History
from .inbox import Inbox, InboxReader, InboxView
from .journal import NO_JOURNAL, Change, Head, Journal
from .label import LABEL_KIND, NO_LABEL, Label, labels_of
from .large_parameters import LargeParameters
from .limits import Limits
from .log_space import Holder, LogSpace
from .metrics import Counters
from .notices import Notices
from .permission_request import PermissionRequest
from .permissions import AMBIGUOUS_SECONDS, PendingPlaces, new_instance
from .policy.grants import Entry
from .policy.learned import LearnedRules
from .policy.policy_file import PolicyFile
from .policy.policy_watch import POLICY_SECONDS, PolicyWatch
from .policy.rule_book import RuleBook
from .policy.verdict import AskedTool
from .presence import Presence
from .question import Decider, Decision, Question
from .reader import Peer, Reader, heartbeat
from .readers import Readers, Seats
from .recorder import Recorder
from .request_keeper import KeptRequest, RequestKeeper
from .roll import Listed, Roll
from .session import Session, check_session_id
from .shares import Shares
from .surroundings import Surroundings
from .turns import Work, at_once
from .wheel import Wheel

__all__ = ["Broker", "BrokerStatistics", "process_broker", "set_process_broker"]

#: Events that one turn of the loop publishes, before readers get their turn.
_EVENTS_A_TURN = 50

#: Bytes of an event around its data: its type, its id, a trace.
_MOST_AROUND_DATA = 256

#: So many sessions, or readers, does the sweeper look at in one turn of the loop, in well below a millisecond.
_LOOKS_A_TURN = 100
#: As long as so many of these takes it to end a request or a session, and to tell of that.
_LOOKS_AN_END = 25
#: And so long for each of all does it leave to others before it begins anew, whatever expires in between.
_PAUSE_SECONDS_EACH = 1e-5

#: How long a session that was ended is known as such: a browser comes back within 5 s. Of too many the oldest are not.
_ENDED_SECONDS = 60
_MOST_ENDED = 10_000

_log = logging.getLogger("notifier_service.broker")


class BrokerStatistics(NamedTuple):
    """The broker at one moment."""

    sessions: int
    connections: int
    pending_permissions: int
    log_bytes: int
    counters: Counters
    closed: bool


class _Dormant:
    """A session of an earlier run that nobody has come back to."""

    __slots__ = ("head", "roll_before", "roll_behind")

    def __init__(self, head: Head) -> None:
        self.head = head
        self.roll_before: Listed | None = None
        self.roll_behind: Listed | None = None


class Broker:
    """All sessions of this process, and the one sweeper that looks after them.

    Everything runs on one event loop. The sweeper is a timer that re-arms itself while there are sessions; no
    ``start`` is needed. ``clock`` gives seconds, monotonic. A ``policy`` says which calls are allowed, asked or denied;
    it is looked at about once a second, and read in a thread where it has changed. In ``learned`` is kept what people
    decide for always, in an ``audit`` log each step of a call, before it takes effect. In a ``journal`` sessions and
    their events are kept over a restart.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        policy: PolicyFile | None = None,
        learned: LearnedRules | None = None,
        audit: AuditLog = NO_AUDIT,
        journal: Journal = NO_JOURNAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = Limits() if limits is None else limits
        self.counters = Counters()
        #: What was settled in all sessions, also in those that have ended.
        self.history = History(self.limits.history_events, self.limits.history_bytes)
        #: The rules that hold in every session.
        self.rules = RuleBook()
        self._watches: dict[str, PolicyWatch] = {}
        #: Puts each step of a call on record.
        self.recorder = Recorder(audit)
        # Settings are limits that may name a policy, which nobody who gives them means to do without.
        named = getattr(self.limits, "policy_file", None)
        if policy is None and named is not None:
            policy = PolicyFile(named)
        if policy is not None:
            self.follow(policy)
        if learned is not None:
            self.learn_into(learned)
        self.closed = False
        self._clock = clock
        self._instance = new_instance()
        self._sessions: dict[str, Session] = {}
        #: These, in the order in which they were opened first, and the dormant.
        self._roll: Roll[Session | _Dormant] = Roll()
        # Of sessions that ended: who answers without an id may not know that another one began.
        self._requests_left_at: dict[str, float] = {}
        #: When sessions were ended by somebody, oldest first.
        self._ended_at: dict[str, float] = {}
        #: Those to which nobody had published when that was looked at last, the oldest first.
        self._silent: dict[str, Session] = {}
        self._places = Shares(
            "max_sessions",
            self.limits.max_sessions,
            "{} sessions are open; no more are taken.",
            refused=self.counters.limits_reached,
            each=self.limits.max_sessions_per_subject,
        )
        self._pending_places = PendingPlaces(self.limits)
        self._seats = Seats(self.limits, self.counters)
        self._space = LogSpace(
            self.limits.max_total_log_bytes,
            least_bytes=self.limits.log_bytes // 16,
            give_way=self._give_way,
            reached=self.counters.limits_reached,
        )
        self._epoch = new_epoch()
        #: Those with readers or questions, at which the sweeper looks each time it comes by.
        self._attended: set[Session] = set()
        #: Those of them to which the sweeper has yet to come in this round.
        self._ahead: set[Session] = set()
        #: All others, by when they expire if nobody uses them until then.
        self._resting: Wheel[Session] = Wheel(self.limits.session_idle_seconds / 1000)
        #: The round of the sweeper that is not over yet, and when the next request expires that it has seen.
        self._round: Iterator[None] | None = None
        self._next_deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._delivery = Delivery(self.counters.delivery_seconds)
        self._large_parameters = LargeParameters(self.limits.max_kept_parameters_bytes)
        self._unyielded_events = 0
        self._unyielded_bytes = 0
        self._turn_events = min(_EVENTS_A_TURN, max(1, self.limits.log_events // 4))
        self._turn_bytes = self.limits.log_bytes // 4
        self.journal: Journal = NO_JOURNAL
        self._keeper = RequestKeeper()
        #: Requests of an earlier run, by their sessions, until those have gone on.
        self._requests_of_before: dict[str, list[KeptRequest]] = {}
        self._rules_of_before: dict[str, list[Entry]] = {}
        self._labels_of_before: dict[str, Label] = {}
        #: Whether what is acknowledged is there again after a restart.
        self.is_durable = False
        #: Sessions of an earlier run that nobody has come back to, and until when they wait for that.
        self._dormant: dict[str, _Dormant] = {}
        self._dormant_until = 0.0
        #: Which pages are visible, and who is away.
        self.presence = Presence(clock, journal=lambda: self.journal)
        #: Calls people who do not look.
        self.notices = Notices(
            clock=clock,
            lookers=self.lookers,
            label=self._label_of,
            recorder=lambda: self.recorder,
            journal=lambda: self.journal if self.is_durable else None,
        )
        self.notices.after_seconds = self.limits.notify_after_seconds
        #: What people are asked in all sessions.
        self.inbox = Inbox(
            self.everyone,
            self.dormant_row,
            limits=self.limits,
            counters=self.counters,
            delivery=self._delivery,
            seats=self._seats,
            clock=clock,
        )
        self._surroundings = Surroundings(
            limits=self.limits,
            counters=self.counters,
            clock=clock,
            delivery=self._delivery,
            large_parameters=self._large_parameters,
            history=self.history,
            seats=self._seats,
            pending_places=self._pending_places,
            instance=self._instance,
            rules=self.rules,
            tell_learned=self._settle_twins,
            recorder=self.recorder,
            keeper=self._keeper,
            tell_asked=self._tell_asked,
            tell_label=self._tell_label,
            count_others=self.inbox.count_viewers,
            is_seen=self.is_looked_at,
            attend=self._attend,
            space=self._space,
        )
        if journal is not NO_JOURNAL:
            self.keep_in(journal)

    @property
    def sessions(self) -> Sequence[Session]:
        """All that are open, in the order they were opened."""
        return tuple(self._sessions.values())

    def everyone(self) -> Iterator[Session | Head]:
        """All that are open or dormant: each once, in as many turns as it takes, whatever comes and goes in between."""
        for one in self._roll:
            yield one.head if isinstance(one, _Dormant) else one

    def find(self, session_id: str) -> Session | None:
        """The session of this id, if one is open."""
        return self._sessions.get(session_id)

    def find_dormant(self, session_id: str) -> Head | None:
        """The session of an earlier run of this id, if nobody has come back to it."""
        dormant = self._dormant.get(session_id)
        return None if dormant is None else dormant.head

    @property
    def connections(self) -> int:
        """All that is held open in the whole process: live readers, and requests whose answers wait."""
        return self._seats.used

    def open(self, session_id: str, *, opened_by: str | None = None, beside: Container[str] = ()) -> Session:
        """Return the session of this id, made on first use; it counts against ``opened_by``.

        When there are too many, an empty one gives way, but for those ``beside``. Raises ``InvalidSessionId``,
        ``BrokerClosed``, or ``LimitReached`` when ``max_sessions`` are open, or as many as one may have.
        """
        session = self._sessions.get(session_id)
        if session is None and session_id in self._dormant:
            session = self._wake(session_id)
        if session is None:
            check_session_id(session_id)
            if self.closed:
                raise BrokerClosed("The service is shutting down.")
            self._make_room(opened_by, beside)
            session = self._begin(session_id, opened_by)
        self._arm()
        return session

    def _begin(self, session_id: str, opened_by: str | None) -> Session:
        session = self._new(session_id)
        session.opened_by = opened_by
        if self.is_durable:
            session.keep(self.journal.begin(session_id, session.log.epoch, opened_by=opened_by))
        self._places.take(opened_by)
        self._requests_left_at.pop(session_id, None)
        self._rest(session)
        self._space.add(session)
        self._sessions[session_id] = self._silent[session_id] = session
        self._roll.add(session)
        self.counters.sessions_opened += 1
        self.inbox.tell_opened(session_id, session.label)
        return session

    def look(self, session_id: str) -> Session:
        """Return the session of this id to be read from: one that nobody opened looks as it would, and is not kept.

        Raises ``InvalidSessionId`` or ``BrokerClosed``.
        """
        session = self._sessions.get(session_id)
        if session is None and session_id in self._dormant:
            session = self._wake(session_id)
        if session is None:
            check_session_id(session_id)
            if self.closed:
                raise BrokerClosed("The service is shutting down.")
            session = self._new(session_id)
        return session

    def keep_in(self, journal: Journal) -> None:
        """Keep all sessions over a restart from now on, and go on with those that were kept before it."""
        self.journal, self.is_durable = journal, True
        self._keeper.journal = journal
        self.history.keep_in(journal)
        self.presence.go_on()
        for head in journal.heads():
            if head.session_id in self._sessions:
                journal.drop(head.session_id)
            else:
                self._dormant[head.session_id] = dormant = _Dormant(head)
                self._roll.add(dormant)
                self._places.take(head.opened_by)
        self._dormant_until = self._clock() + self.limits.session_idle_seconds
        for session in self.sessions:
            session.keep(journal.begin(session.session_id, session.log.epoch, opened_by=session.opened_by))
        for request in self._keeper.of_before():
            self._requests_of_before.setdefault(request.session_id, []).append(request)
        self._rules_of_before = self._keeper.rules_of_before()
        for session_id in self._rules_of_before.keys() - self._dormant.keys():
            del self._rules_of_before[session_id]
            self._keeper.rules(session_id, ())
        self._labels_of_before = labels_of(journal)
        for session_id in self._labels_of_before.keys() - self._dormant.keys():
            self._forget_label(session_id)
        for session_id, requests in tuple(self._requests_of_before.items()):
            if session_id in self._dormant:
                self._wake(session_id)
            else:  # it was killed before anybody saw the question; what was taken once is not refused
                session = self._sessions.get(session_id) or self._begin(session_id, requests[0].question.asked_by)
                session.desk.go_on(requests, {})
                self._attend(session)
                self._arm()
        self._requests_of_before.clear()
        taken = self.notices.taken_before()
        for session in self.sessions:
            pending = session.pending
            self.notices.go_on(session.session_id, pending, taken)
            for one in pending:
                taken.pop(one.request_id, None)
        self.notices.forget(taken)

    @property
    def dormant(self) -> Sequence[Head]:
        """The sessions of an earlier run that nobody has come back to."""
        return tuple(dormant.head for dormant in self._dormant.values())

    @property
    def dormant_seconds(self) -> float:
        """How long these have waited for it."""
        return max(0.0, self._clock() + self.limits.session_idle_seconds - self._dormant_until)

    def dormant_row(self, head: Head) -> SessionRow:
        """Such a session in a list of many."""
        return SessionRow(
            session_id=head.session_id,
            **self._labels_of_before.get(head.session_id, NO_LABEL)._asdict(),
            connections=0,
            pending_permissions=0,
            last_event_id=head.last_event_id,
            created_at=None,
            idle_seconds=round(self.dormant_seconds, 3),
            state="idle",
        )

    def label(self, session_id: str, label: Label, *, opened_by: str | None = None) -> Session:
        """Call a session so from now on, also after a restart; who reads the inbox hears of it.

        Raises what ``open`` does.
        """
        session = self.open(session_id, opened_by=opened_by)
        session.touch()
        session.be_called(label)
        return session

    def _tell_asked(self, session_id: str, request: PermissionRequest, told: Sequence[tuple[Event, str]]) -> None:
        self.inbox.tell_asked(session_id, told)
        if told[-1][0].type == "permission_request":
            self.notices.asked(session_id, request)
        else:
            self.notices.settled(request)

    def _tell_label(self, session_id: str, label: Label) -> None:
        self.inbox.tell_opened(session_id, label)
        if self.is_durable:
            self.journal.note(Change(LABEL_KIND, session_id, label.to_json()))

    def _label_of(self, session_id: str) -> Label:
        session = self._sessions.get(session_id)
        return NO_LABEL if session is None else session.label

    def _forget_label(self, session_id: str) -> None:
        self._labels_of_before.pop(session_id, None)
        if self.is_durable:
            self.journal.note(Change(LABEL_KIND, session_id, None))

    def _wake(self, session_id: str) -> Session:
        """Go on with a session of an earlier run. Raises ``NotDurable`` where it cannot be read."""
        if self.closed:
            raise BrokerClosed("The service is shutting down.")
        limits = self.limits
        kept, before = self.journal.go_on(session_id, most_events=limits.log_events, most_bytes=limits.log_bytes)
        session = self._new(session_id, before.epoch)
        dormant = self._dormant.pop(session_id)
        self._roll.replace(dormant, session)
        session.opened_by = dormant.head.opened_by
        session.label = self._labels_of_before.pop(session_id, NO_LABEL)
        if rules := self._rules_of_before.pop(session_id, ()):
            session.desk.grants.go_on(rules)
        session.go_on(kept, before, self._requests_of_before.pop(session_id, ()))
        self._sessions[session_id] = session
        self._attend(session)
        self._space.add(session)
        if self._space.is_over:
            self._space.make_room(session)
        self._arm()
        return session

    def require_durable(self) -> None:
        """Raise ``NotDurable`` where it is known that nothing can be kept at the moment."""
        if self.journal.error is not None:
            raise NotDurable(f"Nothing can be kept over a restart at the moment: {self.journal.error}.")

    async def on_disk(self) -> None:
        """Wait until all that has happened so far is on disk, what is no event too. Raises ``NotDurable``."""
        kept = self.journal.commit()
        if kept is not None:
            await asyncio.wrap_future(kept)

    async def all_kept(self) -> None:
        """Wait until what has happened so far is there again after a restart. Raises ``NotDurable``."""
        waiting = self.journal.all_kept()
        if waiting is not None:
            await waiting

    def _new(self, session_id: str, epoch: str | None = None) -> Session:
        # Nobody loses anything with an empty log: all of them that an id has are one, with one epoch, as long as no
        # log with events in it has ended.
        if epoch is None:
            epoch = base36(int(self._epoch, 36) ^ (crc32(session_id.encode()) & 0xFFFFF))
        left_at = self._requests_left_at.get(session_id)
        return Session(session_id, self._surroundings, epoch=epoch, request_left_at=left_at)

    def _attend(self, session: Session) -> None:
        """Look at a session each time from now on: it has a reader, or a question."""
        if session.rests_until is not None:
            self._resting.remove(session, session.rests_until)
            session.rests_until = None
        if self._sessions.get(session.session_id) is session and session not in self._ahead:
            self._attended.add(session)

    def _rest(self, session: Session) -> None:
        """Look at a session when it may have expired: what is in use now is not before as long again."""
        at = (self._clock() if session.is_in_use else session.active_at) + self.limits.session_idle_seconds
        # One whose slot is this one was looked at just now.
        session.rests_until = max(self._resting.slot_at(at), self._resting.slot_at(self._clock()) + 1)
        self._resting.file(session, session.rests_until)

    def _make_room(self, opened_by: str | None, beside: Container[str]) -> None:
        """Have empty sessions give way until there is a place, or raise ``LimitReached``."""
        while self._places.why_not(opened_by) is not None and self._one_gave_way(beside):
            continue
        self._places.check(opened_by)

    def _one_gave_way(self, beside: Container[str]) -> bool:
        told, empty = [], None
        for session_id, session in self._silent.items():  # no copy: there may be very many behind the first
            if session.log.last_seq:
                told.append(session_id)
            elif session.is_empty and session_id not in beside:
                empty = session
                break
        for session_id in told:
            del self._silent[session_id]
        if empty is not None:
            self._drop(empty)
        return empty is not None

    def _drop(self, session: Session, *, for_good: bool = False) -> None:
        """End a session. One that had events, or is ended ``for_good``, begins with another epoch the next time."""
        del self._sessions[session.session_id]
        self._roll.remove(session)
        self._attended.discard(session)
        self._ahead.discard(session)
        if session.rests_until is not None:
            self._resting.remove(session, session.rests_until)
            session.rests_until = None
        self._silent.pop(session.session_id, None)
        self._places.leave(session.opened_by)
        if for_good or session.log.last_seq:
            self._epoch = new_epoch()
        if session.kept is not None:
            session.kept.drop()
        session.close("session_closed")
        self._space.remove(session, session.beside_bytes)
        self.inbox.tell_closed(session.session_id, session.label)
        self.notices.session_ended(session.session_id, session.label)
        if session.label != NO_LABEL:
            self._forget_label(session.session_id)

    def _give_way(self, holder: Holder) -> None:
        session = self._sessions[holder.session_id]
        self._drop(session)
        _log.info("a session that nobody uses gave way: all together hold max_total_log_bytes")

    def require_room(self, session: Session) -> None:
        """Raise ``LimitReached`` where nothing more can be kept, whoever gives way."""
        if self._space.is_over:
            self._space.make_room(session)
            if self._space.is_over:
                raise LimitReached(
                    "max_total_log_bytes",
                    f"All sessions together hold {self._space.most_bytes} bytes, and all of them are in use.",
                )

    def get(self, session_id: str) -> Session:
        """Return an open session, or raise ``SessionNotFound`` or ``InvalidSessionId``."""
        session = self._sessions.get(check_session_id(session_id))
        if session is None and session_id in self._dormant:
            session = self._wake(session_id)
        if session is None:
            raise SessionNotFound("No session of that id is open.")
        return session

    def publish_nowait(
        self, session_id: str, event_type: str, data: EventData | Mapping[str, Any] | None = None
    ) -> Event:
        """Append an event to a session. Never waits; raises what ``Session.publish`` does."""
        session = self.open(session_id)
        space = self._space
        if space.log_bytes + space.beside_bytes > space.most_bytes:
            self.require_room(session)
        return self.publish_to(session, event_type, data)

    def publish_to(
        self,
        session: Session,
        event_type: str,
        data: EventData | Mapping[str, Any] | None = None,
        *,
        data_json: bytes | None = None,
        traceparent: str | None = None,
    ) -> Event:
        """Append an event to this very session, which may have ended meanwhile (``SessionClosed``).

        ``data_json`` is ``data`` if that is encoded already, ``traceparent`` the trace that it belongs to.
        """
        if self.closed:
            raise BrokerClosed("The service is shutting down.")
        event = session.publish(event_type, data, data_json=data_json, traceparent=traceparent)
        self._unyielded_events += 1
        self._unyielded_bytes += len(event.json)
        return event

    def extend(
        self,
        session: Session,
        types: Sequence[str],
        data_jsons: Sequence[bytes],
        *,
        traceparent: str | None = None,
    ) -> Batch:
        """Append the first of these events, which leave no state, to this very session; return which it were.

        They are as many as one turn of the loop publishes, and one at least. What bounds them holds as if they came one
        by one. Raises what ``publish_to`` does; nothing has happened then.
        """
        if self.closed:
            raise BrokerClosed("The service is shutting down.")
        before = session.log.appended_bytes
        count = self._fitting(data_jsons)
        events = session.extend(types[:count], data_jsons[:count], traceparent=traceparent)
        self._unyielded_events += len(events)
        self._unyielded_bytes += session.log.appended_bytes - before
        return events

    def _fitting(self, data_jsons: Sequence[bytes]) -> int:
        """How many at once neither take from readers more than one turn of the loop, nor have anybody give way."""
        count = min(len(data_jsons), self._turn_events - self._unyielded_events)
        space = self._space
        room = min(self._turn_bytes - self._unyielded_bytes, space.most_bytes - space.log_bytes - space.beside_bytes)
        room -= count * _MOST_AROUND_DATA + sum(map(len, data_jsons[: max(0, count)]))
        return count if count > 0 and room >= 0 else 1

    async def publish(
        self, session_id: str, event_type: str, data: EventData | Mapping[str, Any] | None = None
    ) -> Event:
        """Append an event, and let readers run often enough that one who keeps up loses nothing.

        Where there is a journal, it is kept when this returns. Raises ``NotDurable``.
        """
        session = self.open(session_id)
        if self.is_durable:
            self.require_durable()
        self.require_room(session)
        event = self.publish_to(session, event_type, data)
        if self.must_breathe(session):
            await self.breathe(session)
        if self.is_durable:
            await self.all_kept()
        return event

    def must_breathe(self, session: Session) -> bool:
        """Whether much was published since readers had a turn, or those of this session are far behind.

        Much is a quarter of a log at most, so that nobody who keeps up falls behind.
        """
        return (
            self._unyielded_events >= self._turn_events
            or self._unyielded_bytes >= self._turn_bytes
            or session.readers.are_outrun
        )

    def yields(self) -> None:
        """Whoever publishes lets the loop have its turn now."""
        self._unyielded_events = self._unyielded_bytes = 0

    async def breathe(self, session: Session) -> None:
        """Yield to the readers, until those of this session who keep up are not in danger of falling behind."""
        self.yields()
        await asyncio.sleep(0)
        if session.readers.are_outrun:
            while session.readers.are_outrun:  # noqa: ASYNC110  # each turn of the loop brings them further
                await asyncio.sleep(0)
            await asyncio.sleep(0)  # whom the last round has woken

    def ask(self, session_id: str, question: Question | None = None, /, **fields: Any) -> PermissionRequest:
        """Ask whether a call may run, with a ``Question``, the fields of one or both, as ``Session.ask`` does.

        What was asked before a restart, and is asked again, is the request of before.
        """
        if question is None:
            question = Question(**fields)
        elif fields:
            question = question._replace(**fields)
        if question.outlives and self.is_durable:
            before = self.look(session_id).desk.joined(question)
            if before is not None:
                return before
        request = self.open(session_id, opened_by=question.asked_by).ask(question)
        if request.deadline is not None:
            self._arm(request.deadline)
        return request

    def decide(self, session_id: str, decision: Decision, **decider: Unpack[Decider]) -> PermissionRecord:
        """Settle a permission request, as ``PermissionDesk.decide`` does; a session that nobody opened has none."""
        return self.look(session_id).decide(decision, **decider)

    @property
    def answers_at_once(self) -> bool:
        """Whether a decision holds at once, and needs not be on record first."""
        return not (self.recorder.is_on or self.is_durable)

    async def answer(self, session_id: str, decision: Decision, **decider: Unpack[Decider]) -> PermissionRecord:
        """The same, waiting until it is on record while others go on."""
        if self.answers_at_once:
            return self.decide(session_id, decision, **decider)
        record = await self.look(session_id).answer(decision, **decider)
        await self.all_kept()
        return record

    def join(
        self,
        session_id: str,
        transport: str,
        peer: Peer,
        cursor: str | None = None,
        *,
        account: str | None = None,
        address: str = "",
        may_approve: bool = True,
        replays: bool = True,
    ) -> Reader:
        """Let a live reader into a session, behind its cursor; it counts against ``account`` and ``address``.

        Raises ``LimitReached`` beyond ``max_connections`` or ``max_connections_per_session``, of which some are kept
        for who ``may_approve``, and what ``open`` does. ``replays`` as for ``Session.join``.
        """
        self._seats.check(account, address=address, may_approve=may_approve)
        session = self.open(session_id, opened_by=account)
        return session.join(
            transport, peer, cursor, account=account, address=address, may_approve=may_approve, replays=replays
        )

    def join_inbox(
        self,
        transport: str,
        peer: Peer,
        cursor: str | None = None,
        *,
        sees: Callable[[str], bool] = lambda session_id: True,
        account: str | None = None,
        address: str = "",
        may_approve: bool = True,
        view: InboxView | None = None,
    ) -> InboxReader:
        """Let a live reader into the inbox, behind its cursor, who ``sees`` some of the sessions; as ``Inbox.join``.

        Raises ``BrokerClosed``, or ``LimitReached`` as ``join`` does.
        """
        if self.closed:
            raise BrokerClosed("The service is shutting down.")
        reader = self.inbox.join(
            transport, peer, cursor, sees, account=account, address=address, may_approve=may_approve, view=view
        )
        self._arm()
        return reader

    def lookers(self, session_id: str) -> set[str]:
        """Who looks at a session now: by a page that is visible, of it or of the inbox, and is not away."""
        session = self._sessions.get(session_id)
        readers = [*self.inbox.readers_of(session_id), *(() if session is None else session.readers)]
        by_stream = {reader.page.account for reader in readers if reader.page and self.presence.is_looking(reader.page)}
        return by_stream.union(self.presence.looking(session_id))

    def is_looked_at(self, session_id: str) -> bool:
        """Whether somebody does."""
        return bool(self.lookers(session_id))

    @contextmanager
    def holding(self, account: str | None = None, *, address: str = "", may_approve: bool = True) -> Iterator[None]:
        """Count a request whose answer waits as a connection. Raises ``LimitReached`` as ``join`` does."""
        self._seats.check(account, address=address, may_approve=may_approve)
        self._seats.take(account, address)
        try:
            yield
        finally:
            self._seats.leave(account, address)

    def end_session(self, session_id: str) -> None:
        """End a session: readers get ``bye``, what is pending is cancelled. Raises ``SessionNotFound``.

        One of an earlier run that cannot be read is ended, too.
        """
        try:
            session = self.get(session_id)
        except NotDurable:
            self._forget_dormant(self._dormant.pop(session_id))
        else:
            self._drop(session, for_good=True)
            self._remember_requests_of(session)
        self._ended_at.pop(session_id, None)
        self._ended_at[session_id] = self._clock()
        if len(self._ended_at) > _MOST_ENDED:
            del self._ended_at[next(iter(self._ended_at))]

    def has_ended(self, session_id: str) -> bool:
        """Whether a session was ended within the last minute, and nothing has happened in one of its id since."""
        ended_at = self._ended_at.get(session_id)
        if ended_at is None or self._clock() - ended_at >= _ENDED_SECONDS:
            return False
        session = self._sessions.get(session_id)
        return session is None or not session.log.last_seq

    def sweep(self) -> float | None:
        """Expire, beat and cut what is due; return the seconds until it is worth looking again, None for never."""
        for _ in self._sweeping():
            continue
        return self._pause()

    def _sweeping(self) -> Iterator[None]:
        """Do the same, and let others have their turn in between."""
        now = self._clock()
        self._delivery.is_timed = True
        for watch in self._watches.values():
            watch.look(now)
        beat = heartbeat()
        self._next_deadline = None
        looks = 0
        for inbox_reader in self.inbox.readers:
            if inbox_reader in self.inbox.readers:
                self._look_at(inbox_reader, now, beat)
            looks += 1
            if looks >= _LOOKS_A_TURN:
                looks = 0
                yield
        # Neither a copy nor a new set: what is new and holds very many costs each collection of garbage a long turn.
        if self._ahead:  # a round that failed has left them
            self._attended |= self._ahead
            self._ahead.clear()
        self._ahead, self._attended = self._attended, self._ahead
        while self._ahead:
            session = self._ahead.pop()
            self._attended.add(session)
            if session.needs_care:
                looks += session.desk.expire_due() * _LOOKS_AN_END
            readers = session.readers
            for reader in readers:
                if reader in readers:
                    self._look_at(reader, now, beat)
                looks += 1
                if looks >= _LOOKS_A_TURN:
                    looks = 0
                    yield
            looks += self._leave_alone(session)
            if session.needs_care:
                self._heed(session.desk.next_deadline)
            if looks >= _LOOKS_A_TURN:
                looks = 0
                yield
        while (resting := self._resting.take(now)) is not None:
            resting.rests_until = None
            self._attended.add(resting)
            looks += self._leave_alone(resting)
            if looks >= _LOOKS_A_TURN:
                looks = 0
                yield
        for one in self._roll if self._dormant and self._dormant_until <= now else ():
            looks += 1
            if isinstance(one, _Dormant):
                # Sessions to which nobody has come back have expired, as they would without a restart.
                del self._dormant[one.head.session_id]
                self._forget_dormant(one)
                self.counters.sessions_expired += 1
                looks += _LOOKS_AN_END
            if looks >= _LOOKS_A_TURN:
                looks = 0
                yield
        self.notices.look(now)

    def _look_at(self, reader: Reader, now: float, beat: bytes) -> None:
        was_ending = reader.ending
        try:
            reader.sweep(now, beat)
        except Exception:
            # One connection that fails to answer must not keep the others from being looked after.
            _log.exception("a %s reader cannot be looked after", reader.transport)
        if reader.ending is not None and reader.ending.code == "slow" and was_ending is None:
            _log.warning("a %s reader took nothing for %g s and is cut", reader.transport, self.limits.stalled_seconds)

    def _leave_alone(self, session: Session) -> int:
        """Look less often at a session in which nothing needs that, or no more at one that has expired.

        Returns as long as how many looks it took.
        """
        if session.readers:
            return 1
        if session.expired:
            self._drop(session)
            self.counters.sessions_expired += 1
            return _LOOKS_AN_END
        if session.is_at_rest and session in self._attended:
            self._rest(session)
            self._attended.discard(session)
        return 1

    def _heed(self, deadline: float | None) -> None:
        """Come back by then."""
        if deadline is not None and (self._next_deadline is None or deadline < self._next_deadline):
            self._next_deadline = deadline

    def _pause(self) -> float | None:
        """How long the sweeper stays away after a round."""
        if not self._sessions and not self._dormant and not self.inbox.readers:
            return POLICY_SECONDS if self._watches else None
        limits = self.limits
        interval = min(0.5, limits.heartbeat_seconds / 4, limits.stalled_seconds / 4, limits.session_idle_seconds / 4)
        if self._next_deadline is not None:
            interval = min(interval, self._next_deadline - self._clock())
        return max(0.01, _PAUSE_SECONDS_EACH * len(self._attended), interval)

    @property
    def policy(self) -> PolicyFile | None:
        """The policy file, if there is one."""
        return self.rules.policy_file

    def follow(self, policy: PolicyFile) -> None:
        """Have a policy file say from now on, in all sessions, which calls are allowed, asked or denied."""
        self.rules.policy_file = policy
        self.recorder.policy_loaded(str(policy.path), len(policy.policy.rules), policy.error)
        self._look_after("policy", policy)

    def learn_into(self, learned: LearnedRules) -> None:
        """Have decisions for always kept in a file from now on, and held to in all sessions."""
        if learned.error is not None:
            _log.warning("%s; every call is asked until it can be read", learned.error)
        self.rules.learned = learned
        self._look_after("learned", learned)

    def _look_after(self, name: str, file: PolicyFile | LearnedRules) -> None:
        if name in self._watches:
            self._watches[name].close()
        self._watches[name] = PolicyWatch(file, self.counters, note=self.recorder.policy_loaded)

    def _settle_twins(self, tool: AskedTool) -> None:
        """Give what was just decided for always about a tool to the calls of it that wait, in all sessions."""
        for session in self._attended | self._ahead:
            if session.pending_count:
                session.desk.settle_twins(tool)

    def watch(self) -> None:
        """Look after sessions and the policy file from now on, even if no session is open yet."""
        self._arm()

    def read_again(self) -> None:
        """Look at the files of rules now."""
        for watch in self._watches.values():
            watch.look(self._clock(), at_once=True)

    def ask_readers_again(self) -> None:
        """End the streams of all who may no longer read; for whoever knows that rights have changed."""
        for readers in self._all_readers():
            for reader in readers:
                reader.ask_again()

    def _all_readers(self) -> Iterator[Readers]:
        yield self.inbox.readers
        for session in self._attended | self._ahead:
            yield session.readers

    def close(self) -> None:
        """Shut down: pending requests are cancelled, readers get ``bye``, nothing new begins. Never waits."""
        if not self.closed:
            self.closed = True
            for session in self.sessions:
                session.close("shutdown")
                self._roll.remove(session)
                self._space.remove(session, session.beside_bytes)
            self._sessions.clear()
            self.inbox.close()
            self._attended.clear()
            self._ahead.clear()
            self._round = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            for watch in self._watches.values():
                watch.close()
        set_process_broker(None, only_if=self)

    def statistics(self, *, is_counted: bool = False) -> BrokerStatistics:
        """What the broker holds at this moment, and what it has counted since it was made.

        Where it ``is_counted`` what readers were sent, by ``count_delivered``, nobody looks at them all again.
        """
        if not is_counted:
            at_once(self.count_delivered())
        return BrokerStatistics(
            sessions=len(self._sessions) + len(self._dormant),
            connections=self.connections,
            pending_permissions=self._pending_places.all.used,
            log_bytes=self._space.log_bytes,
            counters=self.counters,
            closed=self.closed,
        )

    def count_delivered(self) -> Work[None]:
        """Count what all readers were sent so far, in turns."""
        looks = 0
        for readers in self._all_readers():
            for reader in readers:
                readers.count_delivered(reader)
                looks += 1
                if looks >= _LOOKS_A_TURN:
                    looks = 0
                    yield

    def _forget_dormant(self, dormant: _Dormant) -> None:
        head = dormant.head
        self._roll.remove(dormant)
        self.journal.drop(head.session_id)
        label = self._labels_of_before.get(head.session_id, NO_LABEL)
        self.inbox.tell_closed(head.session_id, label)
        if label != NO_LABEL:
            self._forget_label(head.session_id)
        if self._rules_of_before.pop(head.session_id, None):
            self._keeper.rules(head.session_id, ())
        self._places.leave(head.opened_by)

    def _remember_requests_of(self, ended: Session) -> None:
        now = self._clock()
        self._requests_left_at = {
            session_id: left_at
            for session_id, left_at in self._requests_left_at.items()
            if now - left_at < AMBIGUOUS_SECONDS
        }
        left_at = ended.left_at
        if left_at is not None and now - left_at < AMBIGUOUS_SECONDS:
            self._requests_left_at[ended.session_id] = left_at

    def _arm(self, deadline: float | None = None) -> None:
        """Have the sweeper run soon, at ``deadline`` (on the broker's clock) at the latest."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if self._timer is None or loop is not self._loop:
            self._set_timer(loop, 0.01)
        if deadline is not None:
            self._heed(deadline)
            until = max(0.0, deadline - self._clock())
            if loop.time() + until < self._timer_at:
                self._set_timer(loop, until)

    def _set_timer(self, loop: asyncio.AbstractEventLoop, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._loop = loop
        self._timer_at = loop.time() + delay
        # Not in the context of whose request this is: it looks after everybody.
        self._timer = loop.call_at(self._timer_at, self._swept, context=Context())

    def _swept(self) -> None:
        loop, self._timer = self._loop, None
        delay: float | None = 1.0
        try:
            if self._round is None:
                self._round = self._sweeping()
            if next(self._round, self) is self:
                self._round = None
                delay = self._pause()
            else:
                delay = 0.0
        except Exception:
            # The sweeper is the only one who expires requests: it goes on whatever happened.
            self._round = None
            _log.exception("the sweeper failed")
        if delay is not None and loop is not None and not self.closed:
            self._set_timer(loop, delay)


_process_broker: Broker | None = None


def process_broker() -> Broker:
    """Return the broker that ``serve()`` or ``create_app()`` was given in this process, or raise ``NoBroker``."""
    if _process_broker is None:
        raise NoBroker("This process has no broker yet: call serve() or create_app(broker) first.")
    return _process_broker


def set_process_broker(broker: Broker | None, *, only_if: Broker | None = None) -> None:
    """Make ``broker`` the one that ``SimpleNotifier`` and ``ToolWrapper`` use; with ``only_if`` just if that one is."""
    global _process_broker
    if only_if is None or _process_broker is only_if:
        _process_broker = broker
