"""One session: its log, its permission requests, its present state, and who watches it."""

from __future__ import annotations

import asyncio
import functools
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, Literal, Unpack

from pydantic import ValidationError

from .errors import CursorLost, InvalidInput, InvalidSessionId, LimitReached, RequestNotFound, SessionClosed
from .event_log import Batch, Event, EventLog, Record, event_of
from .events import (
    PRODUCED,
    CallDetails,
    EventData,
    FileRule,
    Gap,
    Hello,
    PermissionRecord,
    ResultCleared,
    Rule,
    SessionRow,
    Snapshot,
    ToolProgress,
    ToolResult,
    ToolStatus,
    dump,
    parse_own,
    utc_now,
)
from .journal import KeptLog, KeptSession
from .label import NO_LABEL, Label, last_part
from .limits import Limits
from .log_space import Holder
from .metrics import Counters
from .permission_request import PermissionRequest
from .permissions import PermissionDesk
from .policy.by_risk import Ratings, judge
from .policy.reasons import Reason, is_of_more_than_the_tool, is_of_the_call
from .policy.rule_book import RuleBook, log_taken_back, require_revocable
from .policy.verdict import Verdict, is_riskier
from .present_state import NOTHING, SessionState
from .question import Decider, Decision, Question
from .reader import Opening, Peer, Reader
from .readers import Readers
from .recorder import Recorder
from .request_keeper import KeptRequest
from .roll import Listed
from .surroundings import Surroundings
from .wheel import Wheel

__all__ = ["SESSION_ID", "Session", "check_session_id"]

#: Events of the service itself that change what is there.
_OF_STATE = frozenset({"permission_request", "permission_response_result", "permission_cleared", "result_cleared"})

#: What the id of a session looks like.
SESSION_ID = r"^[A-Za-z0-9._:~-]{1,128}$"
#: Of so many calls people are told after a restart that their end is unknown, the newest: who claims and never tells an
#: end must not drive all else out of the log.
_MOST_END_UNKNOWN = 100

_SESSION_ID = re.compile(SESSION_ID)

_log = logging.getLogger("notifier_service.session")


def check_session_id(session_id: str) -> str:
    """Return the id, or raise ``InvalidSessionId``."""
    if not isinstance(session_id, str) or not _SESSION_ID.fullmatch(session_id):
        raise InvalidSessionId("A session id matches [A-Za-z0-9._:~-]{1,128}.")
    if session_id in (".", ".."):
        # Browsers, clients and proxies take these for steps in a path: a decision would reach another endpoint.
        raise InvalidSessionId('A session id is neither "." nor "..".')
    return session_id


class Session:
    """One conversation or agent run that people may watch.

    It stands in the ``surroundings`` that it shares with others, else alone in its ``own``, by the names of their
    fields. ``request_left_at`` is when the last request of the one before it left the screens of people. Everything
    here runs on one event loop and never waits, so that what one call does is seen whole or not at all.
    """

    # There may be very many in which little happens: what they do not need yet is not made.
    __slots__ = (
        "__weakref__",
        "_all",
        "_desk",
        "_forgotten",
        "_ratings",
        "_request_left_at",
        "_state",
        "_went_on_at",
        "_working",
        "active_at",
        "beside_bytes",
        "clock",
        "created_at",
        "has_more",
        "held_in",
        "held_slot",
        "kept",
        "label",
        "log",
        "opened_by",
        "readers",
        "rests_until",
        "roll_before",
        "roll_behind",
        "session_id",
    )

    def __init__(
        self,
        session_id: str,
        surroundings: Surroundings | None = None,
        *,
        epoch: str | None = None,
        request_left_at: float | None = None,
        **own: Any,
    ) -> None:
        self.session_id = check_session_id(session_id)
        self._all = every = Surroundings(**own) if surroundings is None else surroundings
        limits = every.limits
        self.clock = every.clock
        self.created_at: datetime = utc_now()
        #: Whose session it is, of the many that may be open.
        self.opened_by: str | None = None
        #: It rests in this slot until somebody looks whether it expires, unless it has a reader or a question.
        self.rests_until: int | None = None
        #: Its neighbours among all sessions.
        self.roll_before: Listed | None = None
        self.roll_behind: Listed | None = None
        #: Where it waits to give way, when all sessions together hold too much.
        self.held_in: Wheel[Holder] | None = None
        self.held_slot = 0
        #: How much of it stands beside the log.
        self.beside_bytes = 0
        #: Set by who keeps something for this session beside its log.
        self.has_more = False
        #: What it is called.
        self.label = NO_LABEL
        #: What keeps its events over a restart, if anything does.
        self.kept: KeptSession | None = None
        self._forgotten = 0
        #: The last event of an earlier run; -1 where this is the first.
        self._went_on_at = -1
        self.log = EventLog(
            capacity=limits.log_events,
            capacity_bytes=limits.log_bytes,
            max_event_bytes=limits.max_event_bytes,
            epoch=epoch,
            held=every.space,
        )
        self._request_left_at = request_left_at
        self._desk: PermissionDesk | None = None
        self._ratings: Ratings | None = None
        self.readers = Readers(self.log, every.delivery, every.seats)
        self._working = 0
        self._state: SessionState | None = None
        #: When somebody has used it last, on its clock.
        self.active_at: float = every.clock()

    @property
    def limits(self) -> Limits:
        return self._all.limits

    @property
    def counters(self) -> Counters:
        return self._all.counters

    @property
    def rules(self) -> RuleBook:
        """The rules that hold in every session."""
        return self._all.rules

    @property
    def recorder(self) -> Recorder:
        """Puts each step of a call on record."""
        return self._all.recorder

    @property
    def desk(self) -> PermissionDesk:
        """Its permission requests."""
        desk = self._desk
        if desk is None:
            every = self._all
            desk = self._desk = PermissionDesk(
                self.session_id,
                limits=every.limits,
                tell=self._append_asked,
                judge=self.judge,
                note_use=self._note_use,
                count_viewers=lambda: self._count_who_may_see() + every.count_others(self.session_id),
                is_seen=lambda: every.is_seen(self.session_id),
                counters=every.counters,
                places=every.pending_places,
                large_parameters=every.large_parameters,
                history=every.history,
                clock=every.clock,
                left_at=self._request_left_at,
                instance=every.instance,
                learned=lambda: every.rules.learned,
                tell_learned=every.tell_learned,
                recorder=every.recorder,
                keeper=every.keeper,
            )
            desk.closed = self.log.closed
        return desk

    @property
    def state(self) -> SessionState:
        """What its events add up to, to read."""
        return NOTHING if self._state is None else self._state

    def _own_state(self) -> SessionState:
        if self._state is None:
            self._state = SessionState(self.limits.log_events, self.limits.log_bytes)
        return self._state

    @property
    def pending(self) -> Sequence[PermissionRequest]:
        """What people are asked right now, oldest first."""
        return () if self._desk is None else self._desk.pending

    @property
    def pending_count(self) -> int:
        """All that wait, the unannounced included."""
        return 0 if self._desk is None else self._desk.pending_count

    @property
    def needs_care(self) -> bool:
        """Whether something ends here with time, beside the session."""
        return self._desk is not None and self._desk.needs_care

    @property
    def left_at(self) -> float | None:
        """When the last request left the screens of people, on its clock."""
        return self._request_left_at if self._desk is None else self._desk.left_at

    # What happens

    def publish(
        self,
        event_type: str,
        data: EventData | Mapping[str, Any] | None = None,
        *,
        data_json: bytes | None = None,
        traceparent: str | None = None,
    ) -> Event:
        """Append an event and bring the present state up to date. Never waits, whoever reads.

        ``data_json`` is ``data`` if that is encoded already, ``traceparent`` the trace that it belongs to.

        Raises ``SessionClosed``, ``TooLarge`` or ``InvalidInput``; nothing has happened then.
        """
        event = self._append(event_type, data, data_json=data_json, traceparent=traceparent)
        is_plain = data is None or type(data) is dict  # as most are, and such leave no state
        if not is_plain and (kind := (self._state or self._own_state()).follow(data, len(event.json))) is not None:
            self._count_beside()
            if kind is ToolStatus:
                self.recorder.told(self.session_id, data)
            if self._desk is not None and kind is not ToolProgress:
                self._desk.told(data)  # type: ignore[arg-type]  # by its kind
        space = self._all.space
        if space.log_bytes + space.beside_bytes > space.most_bytes:
            space.make_room(self)
        return event

    def extend(self, types: Sequence[str], data_jsons: Sequence[bytes], *, traceparent: str | None = None) -> Batch:
        """Append events that leave no state, as ``publish`` does one by one; nothing has happened where it raises."""
        evicted = self.log.evicted
        events = self.log.extend(types, data_jsons, traceparent=traceparent)
        self._appended(events, evicted)
        space = self._all.space
        if space.log_bytes + space.beside_bytes > space.most_bytes:
            space.make_room(self)
        return events

    def clear_result(self) -> None:
        """Forget the last result and tell the readers; without effect when there is none."""
        self.touch()
        if self.state.tool_result is not None:
            cleared = ResultCleared(tool_name=self.state.tool_result.tool_name)
            self.state.clear_result()
            self._append("result_cleared", cleared)
            self._count_beside()

    def be_called(self, label: Label) -> None:
        """Be called so from now on."""
        if label != self.label:
            self.label = label
            self._all.tell_label(self.session_id, label)

    def introduce(self, question: Question) -> None:
        """Be called after who asks and the folder in which that works, where nobody has said anything else."""
        if self.label.agent is None and question.agent is not None:
            self.be_called(self.label.filled(title=last_part(question.workspace), agent=question.agent))

    # What is asked

    def judge(self, question: Question) -> Verdict:
        """Ask the policy about a call in this session: the rules, from wherever they come, then what holds without one.

        A producer's word that a tool is harmless counts, but not after the tool was asked about at a higher risk.
        """
        return self._judged(self._rated(question))

    def _rated(self, question: Question) -> Question:
        """The question at the risk at which a person rates its tool in the policy file, up or down.

        What makes one call riskier than its tool, or another tool of it, is not rated down by that.
        """
        level = self.rules.risk_of(question.tool_name, question.server)
        reasons = question.risk_reasons
        if level is None or (is_riskier(question.risk_level, level) and is_of_more_than_the_tool(reasons)):
            return question
        reasons = (Reason("rated_by_policy", risk=level), *reasons)
        return question._replace(risk_level=level, rated_by="service", risk_reasons=reasons)

    def _judged(self, question: Question) -> Verdict:
        verdict = self._judged_alone(question)
        if verdict.effect != "ask" or question.approved_before is None or not question.is_whole:
            return verdict
        return Verdict("allow", (Reason("approved_before", by=question.approved_before),))

    def _judged_alone(self, question: Question) -> Verdict:
        by_rule = self._by_rules(question)
        if by_rule is not None:
            return by_rule
        default = self.rules.default if question.by_policy else "ask"
        if default == "deny":
            return Verdict("deny", (Reason("default_denies"),))
        if not question.is_whole:
            return Verdict("ask", (Reason("not_whole"),))
        if default == "by-risk":
            return self._by_risk(question)
        return Verdict("ask", (Reason("default_asks"),) if question.by_policy else ())

    def _by_rules(self, question: Question) -> Verdict | None:
        """What the rules say, and else why it is asked although somebody decided about its tool."""
        granted, rules = self.desk.grants, self._all.rules
        if granted.is_empty and not rules.has_sources:
            return None
        call = question.call(self.session_id)
        verdict = rules.judge(call, granted)
        if not question.by_policy and "session" not in question.scopes:
            # What only a person can answer, no rule allows.
            return None if verdict is not None and verdict.effect == "allow" else verdict
        if verdict is None and (doubt := rules.doubt(call, granted)) is not None:
            return Verdict("ask", (doubt,))
        return verdict

    def _by_risk(self, question: Question) -> Verdict:
        verdict = judge(question.risk_level, ask_from_risk=self.limits.ask_from_risk)
        if verdict.effect == "allow" and question.rated_by == "producer":
            before = "low" if self._ratings is None else self._ratings.highest(question.tool)
            if not is_riskier(self.limits.ask_from_risk, before):
                reason = Reason("rated_lower_than_before", risk=question.risk_level, before=before)
                return Verdict("ask", (reason,))
        return verdict

    def _note_use(self, rule_id: str | None) -> None:
        self.rules.use(rule_id, self.desk.grants)

    def all_rules(self) -> Sequence[Rule | FileRule]:
        """The rules that hold in this session, from wherever they come: the strictest that matches a call counts."""
        return *self.rules.listed(self.session_id), *self.desk.grants.rules

    def take_back(
        self, rule_id: str, *, revoked_by: str = "", revoked_with: str = "", reach: Sequence[str] = ("*",)
    ) -> Rule:
        """Forget a rule of this session or a learned one, as ``RuleBook.take_back`` does."""
        rule = self.desk.grants.find(rule_id)
        if rule is None:
            taken = self.rules.take_back(rule_id, revoked_by=revoked_by, revoked_with=revoked_with, reach=reach)
        else:
            require_revocable(rule, revoked_by, revoked_with, reach)
            log_taken_back(rule, revoked_by)
            taken = self.desk.grants.take_back(rule_id)
            self.desk.keep_rules()
        self.recorder.rule("rule_revoked", self.session_id, dict(taken), decided_by=revoked_by or None)
        return taken

    def admits(self, question: Question, *, goes_on: bool = False) -> bool:
        """Whether the policy lets such a call run unasked, which is counted as the use of a rule.

        Where that is to be put on record first, it does not: ``admit`` waits for it. If the call ``goes_on`` with one
        that was let run, and is on record as that, it does, and so it does where the policy would ask.
        """
        if self.recorder.is_on and (not goes_on or self.recorder.audit.error is not None):
            return False
        verdict = self.judge(question)
        if verdict.effect == "deny" or (verdict.effect == "ask" and not goes_on):
            return False
        if verdict.effect == "allow":
            self.counters.policy_decisions["allow"] += 1
            self._note_use(verdict.rule_id)
        self.recorder.goes_on(self.session_id, question, verdict)
        return True

    async def admit(self, question: Question) -> bool:
        """The same, on record when it comes back. Raises ``NotRecorded``; the call does not run then."""
        verdict = self.judge(question)
        if verdict.effect != "allow":
            return False
        kept = self.recorder.admitted(self.session_id, question, verdict)
        if kept is not None:
            await asyncio.wrap_future(kept)
        self.counters.policy_decisions["allow"] += 1
        self._note_use(verdict.rule_id)
        return True

    def ask(self, question: Question) -> PermissionRequest:
        """Ask whether a call may run; the request comes back settled if the policy answers.

        Before a request that is announced goes ``tool_status`` ``waiting_permission``, where the question wants it.
        Raises what ``PermissionDesk.register`` does.
        """
        if question.risk_level not in ("low", "medium", "high"):
            raise InvalidInput("risk_level must be low, medium or high")
        self.introduce(question)
        question = self._rated(question)
        verdict = self._judged(question)
        desk = self.desk
        begun = desk.begun(question)
        if begun is not None:
            self._tell_end_unknown(begun)
            began_before = Reason("began_before")
            question = question._replace(risk_reasons=(began_before, *question.risk_reasons))
            if verdict.effect == "allow":
                verdict = Verdict("ask", ())
        self.counters.policy_decisions[verdict.effect] += 1
        question = question.told(verdict)
        if verdict.effect == "ask" and verdict.rule is not None:
            question = question._replace(scopes=("once",))  # whatever a person decides, the rule asks again
        try:
            request = desk.register(question, verdict, at_once=True)
        except LimitReached as error:
            self.counters.limits_reached[error.limit] += 1
            raise
        if not is_of_the_call(question.risk_reasons):
            if self._ratings is None:
                self._ratings = Ratings()
            self._ratings.note(request.tool, question.risk_level)
        self.touch()
        self._all.attend(self)
        if request.pending and request.recording is None:
            self._note_use(verdict.rule_id)
            desk.when_recorded(request, functools.partial(self._announce, request))
        return request

    def _announce(self, request: PermissionRequest) -> None:
        if request.question.announce_status:
            record = request.shown
            self.publish(
                "tool_status",
                ToolStatus(
                    status="waiting_permission",
                    tool_name=record.tool_name,
                    tool_call_id=record.tool_call_id,
                    details=CallDetails(
                        parameters=record.parameters,
                        parameters_truncated=record.parameters_truncated,
                        parameters_bytes=record.parameters_bytes if record.parameters_truncated else None,
                        risk_level=record.risk_level,
                        reasons=record.reasons,
                        request_id=record.request_id,
                        agent_call_id=request.question.agent_call_id,
                    ),
                ),
                traceparent=record.traceparent,
            )
        self.desk.announce(request)

    def decide(self, decision: Decision, **decider: Unpack[Decider]) -> PermissionRecord:
        """Settle a request as ``PermissionDesk.decide`` does."""
        self.touch()
        return self.desk.decide(decision, **decider)

    async def answer(self, decision: Decision, **decider: Unpack[Decider]) -> PermissionRecord:
        """Settle a request as ``PermissionDesk.answer`` does."""
        self.touch()
        return await self.desk.answer(decision, **decider)

    # Who reads

    def join(
        self,
        transport: str,
        peer: Peer,
        cursor: str | None = None,
        *,
        account: str | None = None,
        address: str = "",
        may_approve: bool = True,
        replays: bool = True,
    ) -> Reader:
        """Let a live reader in behind its cursor, or raise ``LimitReached`` or ``SessionClosed``.

        It counts against ``account``, and ``address`` if that is known. What waits is told again behind a snapshot
        where it ``replays``.
        """
        if self.log.closed:
            raise SessionClosed("This session has ended.")
        self.readers.require_place(account, address=address, may_approve=may_approve)
        reader = Reader(self, transport, peer, account, address, replays=replays)
        self.readers.add(reader)
        self._all.attend(self)
        reader.begin(cursor, may_approve=may_approve)
        return reader

    def forget(self, reader: Reader) -> None:
        """Let a reader go, once."""
        if reader in self.readers:
            self.readers.discard(reader)
            self.touch()

    def open_at(self, cursor: str | None) -> Opening:
        """Say where a reader with this cursor begins; None is a first connect. Never fails (contract section 3)."""
        pending = [request.shown for request in self.pending]
        if cursor is None:
            return Opening("none", self.log.last_seq, None, pending)
        try:
            seq = self.log.locate(cursor)
        except CursorLost as lost:
            # All of a log that began anew is newer than its reader. Of any other nobody can tell what was seen.
            seq = self.log.first_seq - 1 if lost.reason == "epoch" else self.log.last_seq
            return Opening("partial", seq, self._gap(lost), pending)
        if cursor == "earliest" and seq:
            # Such a reader knows nothing: what the log no longer tells is shown beside it.
            return Opening("full", seq, None, pending, self.trail())
        trail = self.trail() if cursor == "earliest" else ()
        return Opening("full", seq, None, self._with_another_end() if seq <= self._went_on_at else (), trail)

    def _with_another_end(self) -> Sequence[PermissionRecord]:
        """The requests that have more time than the log says, because the service was away meanwhile."""
        return [
            request.shown
            for request in self.pending
            if 0 < request.seq <= self._went_on_at and request.deadline is not None
        ]

    def trail(self) -> Sequence[Event]:
        """The permission events of before the log, without the requests that wait: those are part of the state."""
        waiting = {request.seq for request in self.pending}
        return tuple(event for event in self.log.trail if event.seq not in waiting)

    def reopen(self, lost: CursorLost) -> Opening:
        """Say where a live reader goes on that fell behind the log."""
        return Opening("partial", self.log.last_seq, self._gap(lost), [request.shown for request in self.pending])

    def hello(self, opening: Opening, *, may_approve: bool = True) -> Hello:
        return Hello(
            session_id=self.session_id,
            epoch=self.log.epoch,
            last_event_id=self.log.last_event_id,
            resumed=opening.resumed,
            heartbeat_seconds=self.limits.heartbeat_seconds,
            viewers=self.viewer_count,
            may_approve=None if may_approve else False,
        )

    def snapshot(self, behind: int | None = None) -> Snapshot:
        """The present state, for a reader who goes on behind this place; without one, where the log ends.

        Events between the two, told after it, lead to the same state again.
        """
        last_event_id = self.log.last_event_id if behind is None else self.log.id_of(behind)
        return self.state.snapshot(last_event_id, [request.shown for request in self.pending])

    @contextmanager
    def holding(self, transport: str) -> Iterator[None]:
        """Count a reader that waits for one answer: it sees what is asked, and no limit of this session binds it."""
        self.readers.waiting[transport] += 1
        self.counters.connections[transport] += 1
        try:
            yield
        finally:
            self.readers.waiting[transport] -= 1
            self.counters.connections[transport] -= 1
            self.touch()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Keep the session from expiring while something is done in it that may be silent for long."""
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            self.touch()

    @property
    def viewer_count(self) -> int:
        """How many readers there are, and how many wait for one answer."""
        return len(self.readers) + self.readers.waiting_count

    def _count_who_may_see(self) -> int:
        """The same without the pages that say that nobody looks."""
        readers = self.readers
        return len([reader for reader in readers if reader.may_be_seen]) + readers.waiting_count

    @property
    def row(self) -> SessionRow:
        """The session in a list of many."""
        pending = self.pending_count
        return SessionRow(
            session_id=self.session_id,
            title=self.label.title,
            agent=self.label.agent,
            connections=self.viewer_count,
            pending_permissions=pending,
            last_event_id=self.log.last_event_id,
            created_at=self.created_at,
            idle_seconds=round(self.idle_seconds, 3),
            state="waiting" if pending else "working" if self._working or self.state.has_running else "idle",
        )

    # Life

    def touch(self) -> None:
        """Tell that somebody uses this session."""
        self.active_at = self.clock()

    @property
    def idle_seconds(self) -> float:
        """How long nobody has published, asked, decided, or left."""
        return max(0.0, float(self.clock() - self.active_at))

    @property
    def expired(self) -> bool:
        """Whether nobody needs this session any more."""
        return not self.is_in_use and self.idle_seconds >= self.limits.session_idle_seconds

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that anybody would miss: no event, nobody who reads, nothing that waits."""
        return not (self.log.last_seq or self.has_more or self.label != NO_LABEL or self.is_in_use)

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing in it needs to be looked after, but that it expires."""
        return not (self.readers or self.needs_care)

    @property
    def is_in_use(self) -> bool:
        """Whether somebody reads, waits or works here, or is yet to come for an answer."""
        if self.viewer_count or self._working:
            return True
        return self._desk is not None and bool(self._desk.pending_count or self._desk.holds_decisions)

    def close(self, code: Literal["shutdown", "session_closed"]) -> None:
        """End the session: what is pending is cancelled, readers get the rest and ``bye``."""
        if not self.log.closed:
            reason = "the service is shutting down" if code == "shutdown" else "the session has ended"
            if self._desk is not None:
                self._desk.close(reason, cancelled_by="service", code=code)
            self.log.close()
            self.readers.touch()
            for reader in self.readers:
                try:
                    reader.end(code)
                except Exception:
                    # One connection that fails must not keep the others from being ended.
                    _log.exception("a %s reader cannot be told of the end", reader.transport)

    def _append_asked(self, request: PermissionRequest, /, *told: tuple[str, EventData]) -> Sequence[Event]:
        """Append what the desk tells, as that of who asked; what the policy answers is apart from what people do.

        What is on record only when the service has shut down, nobody hears of any more; where it is kept, people are
        told after the restart.
        """
        log = self.log
        if log.closed:
            return ()
        self._count_beside()
        evicted, appended = log.evicted, []
        for event_type, data in told:
            owner = request.asked_by or ""
            if event_type == "permission_response_result" and request.record.decided_by == "policy":
                owner += " by policy"
            appended.append((log.append(event_type, data_json=data.encoded, owner=owner), owner))
        events = [event for event, _ in appended]
        self._appended(events, evicted)
        if request.announced:  # what the policy answers by itself waits for nobody
            self._all.tell_asked(self.session_id, request, appended)
        if self._all.space.is_over:
            self._all.space.make_room(self)
        if request.record.code == "restarted":
            self._end_left_waiting({request.request_id})
        return events

    def _appended(self, events: Sequence[Record] | Batch, evicted: int) -> None:
        """These were appended, when so many had been dropped in all: wake who reads, and count and keep them."""
        log, counters = self.log, self._all.counters
        self.readers.touch()
        counters.events_published += len(events)
        counters.events_evicted += log.evicted - evicted
        self.active_at = self.clock()
        if self.kept is not None:
            for event in events:
                self.kept.put(event_of(event))
            self.forget_evicted()

    def _append(
        self,
        event_type: str,
        data: EventData | Mapping[str, Any] | None = None,
        *,
        data_json: bytes | None = None,
        owner: str = "",
        traceparent: str | None = None,
    ) -> Event:
        log, counters = self.log, self._all.counters
        evicted = log.evicted
        event = log.append(event_type, data, data_json=data_json, owner=owner, traceparent=traceparent)
        self.readers.touch()
        counters.events_published += 1
        counters.events_evicted += log.evicted - evicted
        self.active_at = self.clock()
        if self.kept is not None:
            self.kept.put(event)
            self.forget_evicted()
        return event

    @property
    def log_bytes(self) -> int:
        """Bytes of all events that are kept."""
        return self.log.held_bytes

    def shrink_log(self, to_bytes: int) -> None:
        """Drop the oldest events, as ``EventLog.shrink`` does; readers who miss them are told."""
        evicted = self.log.evicted
        self.log.shrink(to_bytes)
        self._all.counters.events_evicted += self.log.evicted - evicted
        self.forget_evicted()

    def _count_beside(self) -> None:
        """Count what is kept beside the log: the present state, and the requests that were settled."""
        state, desk = self._state, self._desk
        beside = (0 if state is None else state.size_bytes) + (0 if desk is None else desk.settled_bytes)
        self._all.space.beside_bytes += beside - self.beside_bytes
        self.beside_bytes = beside

    # What was before

    def keep(self, kept: KeptSession | None) -> None:
        """Have this session kept over a restart, with all that is in its log."""
        self.kept = kept
        if kept is not None:
            for event in self.log.read_after(self.log.first_seq - 1):
                kept.put(event)

    def go_on(self, kept: KeptSession, before: KeptLog, requests: Sequence[KeptRequest] = ()) -> None:
        """Go on where an earlier run of the service has left this session, with the requests that it has left."""
        self.log.go_on_behind(before.events, before.last_seq, before.leaps)
        self._forgotten = self.log.evicted
        self._went_on_at = self.log.last_seq
        asked: dict[str, Event] = {}
        answered: set[str] = set()
        told: dict[str, ToolStatus | ToolResult] = {}
        cancelled: set[str] = set()
        for event in before.events:
            if event.type in PRODUCED or event.type in _OF_STATE:
                with suppress(LookupError, ValueError, TypeError, AttributeError):  # changed by hand
                    self._follow_again(event, asked, answered, told, cancelled)
        self.desk.distrust_askers()
        self.kept = kept
        # People were asked, too, where the log has dropped the event since: nobody is asked twice.
        places = {
            request.record.request_id: request.seq for request in requests if 0 < request.seq < self.log.first_seq
        }
        places |= {request_id: event.seq for request_id, event in asked.items()}
        for request in self.desk.go_on(requests, places):
            was_announced = asked.pop(request.request_id, None) is not None
            if was_announced and not request.pending:
                is_untold = request.record.status in ("approved", "rejected") and request.request_id not in answered
                self.desk.tell_end(request, answered=is_untold, cleared=True)
        for event in asked.values():
            with suppress(ValidationError):
                record = PermissionRecord.model_validate_json(dump(parse_own(event.json)["data"]))
                self.desk.cancel_left(record)
        for last in told.values():
            self.desk.told(last)
        for request in self.desk.runs[-_MOST_END_UNKNOWN:]:
            self._tell_end_unknown(request)
        self._end_left_waiting(cancelled)

    def _end_left_waiting(self, cancelled: set[str]) -> None:
        """Tell of each call that waits for a person, and whose request is ``cancelled``, that it does not run."""
        for call in self.state.waiting:
            request_id = str(call.detail("request_id"))
            with suppress(RequestNotFound):
                if self.desk.find(request_id).record.status == "cancelled":
                    cancelled.add(request_id)
            if request_id not in cancelled:
                continue
            reason = f"{call.tool_name} did not run: the request was cancelled because the service was restarted."
            details = CallDetails(outcome="cancelled", reason=reason, request_id=request_id)
            ended = ToolStatus(
                status="cancelled", tool_name=call.tool_name, tool_call_id=call.tool_call_id, details=details
            )
            self.publish("tool_status", ended)

    def _tell_end_unknown(self, request: PermissionRequest) -> None:
        """Tell, once, that a call was started, and that nobody knows how it ended."""
        record = request.record
        if self.desk.lose(request):
            details = CallDetails(
                risk_level=record.risk_level,
                request_id=record.request_id,
                outcome="unknown",
                reason=f"{record.tool_name} was started, and its end is unknown: it may have run, and may not.",
            )
            status = ToolStatus(
                status="failed", tool_name=record.tool_name, tool_call_id=record.tool_call_id, details=details
            )
            self.publish("tool_status", status)

    def _follow_again(
        self,
        event: Event,
        asked: dict[str, Event],
        answered: set[str],
        told: dict[str, ToolStatus | ToolResult],
        cancelled: set[str],
    ) -> None:
        """Follow an event of before; of each call remember the last that was told since it was asked about."""
        data = parse_own(event.json).get("data") or {}
        if event.type == "permission_request":
            asked[data["request_id"]] = event
            told.pop(data.get("tool_call_id", ""), None)
        elif event.type == "permission_response_result":
            answered.add(data["request_id"])
        elif event.type == "permission_cleared":
            asked.pop(data["request_id"], None)
            if data["status"] == "cancelled":
                cancelled.add(data["request_id"])
        elif event.type == "result_cleared":
            self.state.clear_result()
        else:
            with suppress(ValidationError):  # of an earlier version, which took what is not taken any more
                followed = PRODUCED[event.type].model_validate(data)
                self._own_state().follow(followed, len(event.json))
                if isinstance(followed, ToolStatus | ToolResult):
                    told[followed.tool_call_id or str(data.get("details", {}).get("request_id"))] = followed

    def forget_evicted(self) -> None:
        """Have events removed that the log has dropped, many at once."""
        evicted = self.log.evicted
        if self.kept is not None and evicted - self._forgotten >= max(1, self.limits.log_events // 4):
            self._forgotten = evicted
            self.kept.forget_before(evicted + 1)

    def _gap(self, lost: CursorLost) -> Gap:
        """What a reader with a lost cursor is told; it is counted."""
        self.counters.gaps[lost.reason] += 1
        return Gap(requested=lost.requested, oldest=lost.oldest, newest=lost.newest, reason=lost.reason)
