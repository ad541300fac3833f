"""Permission requests: asked, decided once, expired or cancelled; every failure denies.

Contract section 4. A request is state beside the log: it is registered before it is announced, and it stays
in the pending set until it is settled, whoever watches.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache, lru_cache, partial
from math import inf
from typing import Any, Protocol, Unpack

from pydantic import JsonValue, ValidationError

from .errors import (
    AlreadyClaimed,
    AlreadyDecided,
    AmbiguousRequest,
    DecisionNotOffered,
    EditDenied,
    IdempotencyConflict,
    InvalidInput,
    LimitReached,
    NotApproved,
    NotRecorded,
    ParametersChanged,
    ParametersUnread,
    RequestCancelled,
    RequestExpired,
    RequestNotFound,
    RuleNotFound,
    RulesNotKept,
    SelfApproval,
    SessionClosed,
    TooLarge,
)
from .event_log import Event
from .events import (
    CancelCode,
    DecisionKind,
    EventData,
    KnownTable,
    PermissionCleared,
    PermissionRecord,
    ReadCommand,
    RequestStatus,
    Rule,
    SaidReason,
    Scope,
    ToolResult,
    ToolStatus,
    dump,
    made,
    utc_now,
)
from .history import History
from .journal import Change
from .large_parameters import LargeParameters
from .limits import MAX_TIMEOUT_SECONDS, Limits, RiskLevel
from .metrics import Counters
from .parameters import action_sha256_of, beginning, canonical_json, frozen_json, jsonable, parameters_sha256
from .permission_request import PermissionRequest
from .policy.grants import Grants, described, quoted
from .policy.learned import LearnedRules, rule_table
from .policy.reasons import Reason, as_told
from .policy.told_command import told_command
from .policy.verdict import AskedTool, Effect, Verdict
from .present_state import OVER
from .question import ALL_DECISIONS, MAX_REASON, Decider, Decision, Question
from .recorder import Recorder
from .recording import Recording, all_of
from .redaction import without_credentials
from .request_keeper import KeptRequest, RequestKeeper
from .shares import Shares
from .suggestions import Proposal, Suggestion, proposals
from .trace import traceparent_now

__all__ = [
    "AMBIGUOUS_SECONDS",
    "PermissionDesk",
    "new_instance",
]

#: Whoever may take longer waits as if for ever.
_LASTING_SECONDS = 86400
#: So long after a request left the screen an answer that names none may be meant for it: people take that to react.
AMBIGUOUS_SECONDS = 1.5
#: As every run of the service has made them.
_REQUEST_ID = re.compile(r"pr_[A-Za-z0-9_-]{32}")
#: What an event says around its data.
_EVENT_ENVELOPE_BYTES = 256
#: Of a rule that takes more words nobody reads them all, and the event must hold the call too.
_MAX_WORDS = 4096
#: Of what a command runs nobody reads more in a list; the parameters have all of it.
_MAX_COMMAND_BYTES = 4096
#: How long the whole of large parameters is kept for the asker after an approval; the shorter one where room is short.
_KEPT_SECONDS = 60.0
_KEPT_AT_LEAST_SECONDS = 5.0
#: An agent that waits itself comes back within 3 s after a restart, and gives up after 20 s.
_COME_BACK_SECONDS = 60.0

#: Characters of a reason that is kept for the next record with it.
_MOST_SHARED = 500

_log = logging.getLogger("notifier_service.permissions")

Judge = Callable[[Question], Verdict]


class Tell(Protocol):
    """Tells people of a request, in events of these types, and returns them; none where nobody hears of it any more."""

    def __call__(self, request: PermissionRequest, /, *told: tuple[str, EventData]) -> Sequence[Event]: ...


def new_instance() -> str:
    """A name for this run of the service, with which the ids of its requests begin."""
    return secrets.token_hex(4)


class PendingPlaces:
    """The places for all requests that wait in a process, and for those among them that wait as if for ever."""

    def __init__(self, limits: Limits) -> None:
        self.all = Shares(
            "max_pending", limits.max_pending, "{} permission requests are pending in all sessions; more are denied."
        )
        self.lasting = Shares(
            "max_pending_lasting",
            limits.max_pending_lasting,
            "{} permission requests that do not expire within a day are pending in all sessions; more are denied.",
        )


class PermissionDesk:
    """All permission requests of one session.

    ``tell`` appends what is told of a request at once to the session's log, ``judge`` asks the policy about an edited
    call, ``note_use`` hears which rule settled one, ``count_viewers`` tells how many people could see a request,
    ``is_seen`` whether somebody looks, ``counters`` have how each one ended. ``clock`` is in seconds, monotonic. The
    log gets one line for each that ended. ``instance`` names this run of the service: the ids of its requests begin
    so, and an id that does not was given before a restart. Where there is a file of ``learned`` rules, decisions may
    be for always, and ``tell_learned`` hears about which tool one was.
    """

    def __init__(
        self,
        session_id: str,
        *,
        limits: Limits,
        tell: Tell,
        judge: Judge,
        note_use: Callable[[str | None], object] | None = None,
        count_viewers: Callable[[], int] = lambda: 0,
        is_seen: Callable[[], bool] = lambda: False,
        counters: Counters | None = None,
        large_parameters: LargeParameters | None = None,
        history: History | None = None,
        places: PendingPlaces | None = None,
        clock: Callable[[], float] = time.monotonic,
        left_at: float | None = None,
        instance: str | None = None,
        learned: Callable[[], LearnedRules | None] = lambda: None,
        tell_learned: Callable[[AskedTool], object] = lambda tool: None,
        recorder: Recorder | None = None,
        keeper: RequestKeeper | None = None,
    ) -> None:
        self.session_id = session_id
        self.limits = limits
        self._recorder = Recorder() if recorder is None else recorder
        self._keeper = RequestKeeper() if keeper is None else keeper
        #: Those of an earlier run whose askers have not come back; and until when those do who do it at once, or never.
        self._left: dict[str, PermissionRequest] = {}
        self._alone: dict[str, float] = {}
        #: Those that were taken for a run of which no end was told, by the asker's id of the call or else their own.
        self._runs: dict[str, PermissionRequest] = {}
        #: Decisions that are kept for who asked, and since when.
        self._decisions: OrderedDict[str, float] = OrderedDict()
        #: When the last request that people saw left the pending set, on the desk's clock.
        self.left_at = left_at
        self._id_start = "pr_" + (new_instance() if instance is None else instance)
        #: What people decided for the rest of the session.
        self.grants = Grants()
        self._learned = learned
        self._tell_learned = tell_learned
        self.closed = False
        self._places = PendingPlaces(limits) if places is None else places
        self._own_places = Shares(
            "max_pending_per_session",
            limits.max_pending_per_session,
            "{} permission requests are pending in this session; more are denied.",
        )
        # What waits for ever leaves room for what does not.
        self._own_lasting = Shares(
            "max_pending_per_session",
            max(1, limits.max_pending_per_session // 2),
            "{} permission requests that do not expire within a day are pending in this session; more are denied.",
        )
        self._tell = tell
        self._judge = judge
        self._note_use = self.grants.use if note_use is None else note_use
        self._count_viewers = count_viewers
        self._is_seen = is_seen
        self._counters = Counters() if counters is None else counters
        self._clock = clock
        # In the order asked. The queued are not announced yet (one_request_at_a_time).
        self._pending: OrderedDict[str, PermissionRequest] = OrderedDict()
        self._queued: OrderedDict[str, PermissionRequest] = OrderedDict()
        #: Those of which nothing may be seen yet, because that they were asked is not on record.
        self._unrecorded: dict[str, PermissionRequest] = {}
        self._settled: OrderedDict[str, PermissionRequest] = OrderedDict()
        #: Bytes of those, as they are shown.
        self.settled_bytes = 0
        self._history = History(limits.history_events, limits.history_bytes) if history is None else history
        self._large = large_parameters or LargeParameters(limits.max_kept_parameters_bytes)
        # Approved, in the order settled: until when their large parameters are kept whole.
        self._lingering: deque[tuple[float, PermissionRequest]] = deque()
        #: Who asked here; two are enough to know that it was not one alone.
        self._askers: set[str | None] = set()

    @property
    def pending(self) -> Sequence[PermissionRequest]:
        """What people are asked right now, oldest first."""
        return tuple(self._pending.values())

    @property
    def pending_count(self) -> int:
        """All that wait, the unannounced included."""
        return len(self._pending) + len(self._queued) + len(self._unrecorded)

    @property
    def needs_care(self) -> bool:
        """Whether there is something here that ends with time: what waits, and what is kept for who asked."""
        return bool(self.pending_count or self._lingering or self._decisions)

    @property
    def left_recently(self) -> bool:
        """Whether a request was there so lately that an answer without an id may be meant for it."""
        return self.left_at is not None and self._clock() - self.left_at < AMBIGUOUS_SECONDS

    @property
    def next_deadline(self) -> float | None:
        """When the next request expires, on the desk's clock."""
        return min(
            (
                request.deadline
                for request in self._pending.values()
                if request.deadline is not None and request.recording is None
            ),
            default=None,
        )

    def is_of(self, name: str) -> bool:
        """Whether nobody but this caller has asked here."""
        return self._askers <= {name}

    def distrust_askers(self) -> None:
        """Who has asked here before is not known: nobody is taken for the only one."""
        self._askers |= {"", None}

    def find(self, request_id: str) -> PermissionRequest:
        """Return a request, settled ones included as long as they are remembered, or raise ``RequestNotFound``."""
        for shelf in (self._pending, self._settled, self._queued, self._unrecorded):
            request = shelf.get(request_id)
            if request is not None:
                return request
        raise self._not_found(request_id)

    def register(
        self, question: Question, verdict: Verdict | None = None, *, at_once: bool = False
    ) -> PermissionRequest:
        """Keep a request; nobody sees it before ``announce``. The parameters are copied and hashed here.

        One that is to be announced ``at_once``, when it is on record, says from the beginning what people are told,
        where nothing comes in between. A ``verdict`` of the policy answers it at once, unless that is to ask. Raises
        ``InvalidInput`` for parameters that cannot be shown, ``TooLarge`` for more of them than
        ``max_parameters_bytes``, ``LimitReached`` when too many are pending or too many bytes of them are kept,
        ``SessionClosed`` after ``close``; nothing is kept then.
        """
        if self.closed:
            raise SessionClosed("This session has ended.")
        timeout = question.timeout_seconds
        if timeout is None:
            timeout = self.limits.permission_timeout_seconds
        if not 0 <= timeout <= MAX_TIMEOUT_SECONDS:
            raise InvalidInput("timeout_seconds must be 0 (never) to 30 days")
        wanted = frozenset(question.allowed_decisions)
        if not _LEAST_OFFERED <= wanted <= _ALL_OFFERED:
            raise InvalidInput("allowed_decisions are approve, reject, and of edit and respond what can be carried out")
        if question.needs_answer:
            wanted -= {"approve"}
        if question.input_schema is not None and question.input_schema.problem is not None:
            wanted -= {"edit"}
            unchecked = Reason("edit_unchecked", problem=question.input_schema.problem)
            question = question.altered(risk_reasons=(*question.risk_reasons, unchecked))
        frozen, text = frozen_json(question.parameters)
        tool = question.tool
        words, table = _NOT_SUGGESTED
        if "session" in question.scopes:
            words, table = (_suggested if tool.command is not None else _suggested_again)(tool, question.risk_level)
        is_settled = verdict is not None and verdict.effect != "ask"
        parameters_bytes = self._size_of(text)
        timestamp, seconds = utc_now(), abs(float(timeout))  # or another's zero would be told as -0.0
        is_told_now = at_once and not is_settled and self._shows_at_once(question)
        asked = {
            "request_id": self._id_start + secrets.token_urlsafe(18),  # 144 bits
            "tool_name": question.tool_name,
            "parameters": frozen,
            **self._hashes(question.tool_name, question.server, text),
            "risk_level": question.risk_level,
            "rated_by": question.rated_by,
            "risk_reasons": tuple(question.risk_reasons),
            "deeds": question.deeds,
            "command": None if question.deeds is None else self._command_of(frozen),
            "timestamp": timestamp,
            "expires_at": _after(timestamp, seconds) if is_told_now else None,
            "timeout_seconds": seconds,
            "allowed_decisions": _in_order(wanted),
            "scopes": self._scopes(question, may_always=table is not None),
            "suggested_rule": words,
            "suggested_policy_rule": table,
            "description": question.description,
            # Of those who see it: else when it is announced.
            "viewers": self._count_viewers() if is_settled or is_told_now else 0,
            "tool_call_id": question.tool_call_id,
            "traceparent": question.traceparent or traceparent_now(),
            "server": question.server,
            "definition_sha256": question.definition_sha256,
            "rule": None if verdict is None else verdict.rule,
            "justification": None if verdict is None else verdict.justification,
        }
        record = (_checked_record if question.is_checked else _record)(asked)
        request = PermissionRequest(
            record, question.altered(parameters=frozen), withdraw=self.cancel, tool=tool, collected=self.collected
        )
        request.is_told_now = is_told_now
        # What is asked must leave room for the answer, or nobody could give one.
        room = min(self.limits.max_event_bytes // 8, 16 * 1024)
        request.parameters_bytes = parameters_bytes
        request.preview, request.size = self._fitted(record, parameters_bytes, room=room)
        if not is_settled:
            places = self._places_for(timeout)
            for place in places:
                place.check(tool.asked_by)
        self._keep_whole(request, request.preview)
        if verdict is not None and is_settled:
            self._note_asker(tool.asked_by)
            self._answer_by_policy(request, self._by_policy(request, verdict), verdict.rule_id)
            return request
        for place in places:
            place.take(tool.asked_by)
        request.places = places
        self._note_asker(tool.asked_by)
        self._queued[request.request_id] = request
        return request

    def _places_for(self, timeout_seconds: float) -> Sequence[Shares]:
        if 0 < timeout_seconds <= _LASTING_SECONDS:
            return self._own_places, self._places.all
        return self._own_places, self._own_lasting, self._places.all, self._places.lasting

    def when_recorded(self, request: PermissionRequest, show: Callable[[], object]) -> None:
        """Do ``show`` when it is on record that this registered request is asked; one that cannot be is withdrawn."""
        kept = all_of(self._recorder.asked(self.session_id, request), self._keeper.asked(self.session_id, request))
        if kept is None:
            show()
            return
        del self._queued[request.request_id]
        self._unrecorded[request.request_id] = request

        def take_effect() -> None:
            if self._unrecorded.pop(request.request_id, None) is not None:
                self._queued[request.request_id] = request
            if request.pending:
                show()

        self._on_record(request, kept, take_effect, lambda: self._withdraw_unrecorded(request))

    def _shows_at_once(self, question: Question) -> bool:
        """Whether nothing comes between a question and people who see it."""
        return not (self._recorder.is_on or self.limits.one_request_at_a_time or self._keeper.keeps(question))

    def _withdraw_unrecorded(self, request: PermissionRequest) -> None:
        self.cancel(request, "it cannot be put on record", cancelled_by="service")

    @staticmethod
    def _on_record(
        request: PermissionRequest,
        kept: Future[None] | None,
        take_effect: Callable[[], object],
        undo: Callable[[], object],
    ) -> None:
        """Have something happen to a request when it is on record, at once where nothing has to be waited for."""
        if kept is None:
            take_effect()
            return

        def then(act: Callable[[], object]) -> Callable[[], None]:
            def after() -> None:
                request.recording = None
                act()

            return after

        recording = request.recording = Recording(kept, then(take_effect), then(undo))
        if not recording.is_followed:
            recording.wait()

    def announce(self, request: PermissionRequest) -> None:
        """Show a registered request to people; its time begins now.

        With ``one_request_at_a_time`` it stays queued until those before it are settled.
        """
        if self.limits.one_request_at_a_time and (self._pending or next(iter(self._queued)) != request.request_id):
            return
        del self._queued[request.request_id]
        request.announced_at = self._clock()
        seconds = request.record.timeout_seconds
        if seconds > 0:
            request.deadline = request.announced_at + seconds
        if not request.is_told_now:
            now, viewers = utc_now(), self._count_viewers()
            request.record = request.record.retold(expires_at=_after(now, seconds), viewers=viewers, timestamp=now)
        if not request.record.viewers and not self._is_seen():
            self._counters.unseen_requests += 1
        request.announced = True
        self._pending[request.request_id] = request
        told = self._tell(request, ("permission_request", request.shown))
        request.seq = told[0].seq if told else 0
        self._keeper.announced(self.session_id, request)

    def _scopes(self, question: Question, *, may_always: bool) -> tuple[Scope, ...]:
        """Those that are asked for; for always where for the session, if there is a file that can keep it."""
        offered = tuple(question.scopes)
        if "always" in offered:
            offered = tuple([scope for scope in offered if scope != "always"])
        return (*offered, "always") if may_always and self._keeps_always else offered

    @property
    def _keeps_always(self) -> bool:
        learned = self._learned()
        return learned is not None and learned.error is None

    def decide(self, decision: Decision, **decider: Unpack[Decider]) -> PermissionRecord:
        """Settle the request that ``decision`` means, and return its record; the same decision again gives it again.

        Where there is a record, this thread is held until it is kept: ``answer`` holds nobody.
        Raises, in this order: ``InvalidInput`` where ``require_request_id`` wants one; ``RequestNotFound`` or
        ``AmbiguousRequest``; ``AlreadyDecided``, ``RequestExpired`` or ``RequestCancelled``; ``SelfApproval``;
        ``ParametersChanged``, ``DecisionNotOffered``, ``ParametersUnread``; then ``InvalidInput``, ``TooLarge``,
        ``LimitReached``, ``EditDenied`` or ``RulesNotKept`` for what cannot be decided so, and the request stays
        pending; so it does after ``NotRecorded``.
        """
        while (request := self._meant_first(decision)).recording is not None:
            with suppress(NotRecorded):
                request.recording.wait()
        self._begin(request, decision, **decider)
        if request.recording is not None:
            request.recording.wait()
        return self._decided_before(request, decision)

    async def answer(self, decision: Decision, **decider: Unpack[Decider]) -> PermissionRecord:
        """Settle a request as ``decide`` does, and wait until that is on record while others go on."""
        while (request := self._meant_first(decision)).recording is not None:
            with suppress(NotRecorded):
                await request.recording.over()
        self._begin(request, decision, **decider)
        if request.recording is not None:
            await request.recording.over()
        return self._decided_before(request, decision)

    def _meant_first(self, decision: Decision) -> PermissionRequest:
        """The request that is meant: what happens to it and is not on record yet, a decision comes behind that."""
        asked = self._unrecorded.get(decision.request_id or "")
        return self._meant(decision) if asked is None or asked.recording is None else asked

    def _begin(
        self,
        request: PermissionRequest,
        decision: Decision,
        *,
        decided_by: str,
        decided_with: str = "",
        device: str = "",
        via: str = "program",
        through: str | None = None,
        right: str | None = None,
        reach: Sequence[str] = ("*",),
    ) -> None:
        """Have a decision about a request, which may be settled already, take effect when it is on record."""
        if request.deadline is not None and request.deadline <= self._clock():
            # After it was chosen: expiring announces the next one, which nobody has seen yet.
            self.expire_due()
        kind, edited = self._kind(request, decision)
        if not request.pending:
            return
        if kind != "reject":
            self._require_other(request, decided_by, decided_with)
        record = request.record
        if decision.parameters_sha256 not in (None, record.parameters_sha256) or (
            decision.action_sha256 not in (None, record.action_sha256)
        ):
            raise ParametersChanged(
                "The pending request is another than the decision was made for.", record=request.shown
            )
        scope: Scope = decision.scope or "once"
        if kind not in record.allowed_decisions or scope not in record.scopes:
            is_question = kind == "approve" and kind not in record.allowed_decisions
            raise DecisionNotOffered(
                "This is a question: answer it with an edit or a reply, or reject it; an approval alone says nothing."
                if is_question
                else "This request does not offer that decision or scope.",
                allowed_decisions=list(record.allowed_decisions),
                scopes=list(record.scopes),
            )
        if kind == "edit" and scope != "once":
            # The next such call would run as it is asked, and not as the person changed this one.
            raise InvalidInput("scope: an edit is for one call: a scope beyond once goes without")
        if decision.approved and via != "program" and not request.was_read_by(decided_by):
            raise ParametersUnread(
                "Events show only the beginning of these parameters: read them whole before you approve, with "
                f"GET /api/permissions/{self.session_id}/{record.request_id}",
                record=request.shown,
            )
        update: dict[str, Any] = {}
        parameters_bytes = request.parameters_bytes
        if edited is not None:
            if request.preview is not None and edited == request.preview["parameters"]:
                raise InvalidInput("parameters: this is the beginning that events show, and not the whole")
            if request.keeps_names and record.parameters.keys() - edited.keys():
                raise EditDenied("The agent that asks cannot take a parameter away: change it, or reject the call.")
            text = canonical_json(edited)
            parameters_bytes = self._size_of(text)
            if request.question.input_schema is not None:
                request.question.input_schema.require(edited)
            verdict = self._judge(request.question._replace(parameters=edited))
            if verdict.effect == "deny":
                raise EditDenied(f"The policy denies the edited call: {'; '.join(verdict.reasons)}.")
            update = {
                "parameters": edited,
                "deeds": request.question.deeds_of(edited),
                "command": self._command_of(edited),
                **self._hashes(record.tool_name, record.server, text),
                "asked_parameters_sha256": record.parameters_sha256,
            }
        settled = self._decided(
            record,
            status="approved" if decision.approved else "rejected",
            decision=kind,
            reason=decision.reason,
            response=decision.response,
            scope=scope,
            decided_by=decided_by,
            **update,
        )
        preview, _ = self._fitted(settled, parameters_bytes, room=_EVENT_ENVELOPE_BYTES)
        self._keep_whole(request, preview)
        rule = None
        if scope != "once":
            # It may be used at once: whatever that lets run is on record behind this decision, or is not let run.
            rule = self._remember_rule(
                scope,
                "allow" if decision.approved else "deny",
                request.tool,
                record.risk_level,
                created_by=decided_by,
                reason=decision.reason,
                reach=reach,
            )

        def take_effect() -> None:
            if request.pending:
                request.preview, request.parameters_bytes = preview, parameters_bytes
                self._close_request(request, settled, via=via, answered=True)
            if rule is not None:
                self._recorder.rule("rule_learned", self.session_id, dict(rule))
                self.settle_twins(request.tool)
            self._announce_next()
            if scope == "always":
                self._tell_learned(request.tool)

        def undo() -> None:
            if request.pending:
                self._not_settled(request)
                self._keep_whole(request, request.preview)
            if rule is not None:
                self._forget_rule(scope, rule)
                self.keep_rules()

        kept = all_of(
            self._recorder.decided(
                self.session_id,
                request,
                settled,
                through=through or via,
                right=right,
                token=decided_with,
                device=device,
            ),
            self._keeper.settled(
                self.session_id,
                request,
                settled,
                self.grants.entries if scope == "session" else None,
                ahead=partial(self._ahead, request, settled, preview),
            ),
        )
        self._on_record(request, kept, take_effect, undo)

    def expire_due(self) -> int:
        """Deny what nobody answered in time; return how many requests that were."""
        now = self._clock()
        self._let_go(_KEPT_SECONDS)
        self._cancel_left_alone(now)
        while self._decisions and now - next(iter(self._decisions.values())) >= self.limits.decision_keep_seconds:
            self._forget_decision(self.find(next(iter(self._decisions))))
        due = [
            request
            for request in self._pending.values()
            # One that was decided in time has not expired, if that can be put on record.
            if request.deadline is not None and request.deadline <= now and request.recording is None
        ]
        for request in due:
            seconds = request.record.timeout_seconds
            expired = self._decided(
                request.record, status="expired", reason=f"nobody answered within {seconds:g} s", decided_by="timeout"
            )
            self._close_request(request, expired, via="timeout")
            self._announce_next()
        return len(due)

    # What was before

    @property
    def holds_decisions(self) -> bool:
        """Whether there are some for which nobody has come yet."""
        return any(self._settled[request_id].is_awaited for request_id in self._decisions)

    def go_on(self, kept: Sequence[KeptRequest], places: Mapping[str, int]) -> Sequence[PermissionRequest]:
        """Go on with requests of an earlier run, and return them; ``places`` are where the log announced them.

        Those that people saw go on in that order, and behind them the others in the order in which they were asked.
        One that waits, and about which no event may tell as much any more, is denied.
        """
        going_on = []
        for before in sorted(
            kept, key=lambda one: (places.get(one.record.request_id, inf), one.record.timestamp, one.seq)
        ):
            request = PermissionRequest(before.record, before.question, withdraw=self.cancel, collected=self.collected)
            request.claimed_by, request.is_collected = before.run_id, before.is_collected
            request.is_reported, request.is_lost = before.is_reported, before.is_lost
            text = canonical_json(before.record.parameters)
            request.parameters_bytes = len(text)
            try:
                request.preview, request.size = self._fitted(before.record, len(text), room=_EVENT_ENVELOPE_BYTES)
            except TooLarge as error:
                if request.pending:
                    _log.warning("request %s waits on no longer, and is denied: %s", request.request_id, error)
                    self._keeper.forget(request)
                    continue
            going_on.append(request)
            if before.question.outlives:
                self._left[request.request_id] = request
            self._note_asker(request.asked_by)
            if request.preview is not None:
                request.kept_bytes = request.parameters_bytes
                self._large.count(request.kept_bytes, id(self), request.asked_by)
            if not request.pending:
                self._settled[request.request_id] = request
                self.settled_bytes += request.size
                self._decisions[request.request_id] = self._clock()
                self._linger(request)
                if request.claimed_by is not None and not request.is_reported:
                    self._runs[_run_key(request)] = request
                continue
            if request.question.agent is not None and not request.question.may_stay_away:
                self._alone[request.request_id] = self._clock() + _COME_BACK_SECONDS
            request.places = self._places_for(before.record.timeout_seconds)
            for place in request.places:
                place.take(request.asked_by)
            self._wait_on(request, before.waited_seconds, places.get(request.request_id))
        return going_on

    def _wait_on(self, request: PermissionRequest, waited_seconds: float, seq: int | None) -> None:
        """Have people see a request of before, for as long as it has left."""
        if seq is None:
            self._queued[request.request_id] = request
            self.announce(request)
            return
        expires_at = None
        if request.record.timeout_seconds > 0:
            left_seconds = request.record.timeout_seconds - waited_seconds
            request.deadline = self._clock() + left_seconds
            expires_at = utc_now() + timedelta(seconds=left_seconds)
        request.record = request.record.altered(expires_at=expires_at)
        request.announced = True
        request.announced_at = self._clock() - waited_seconds
        request.seq = seq
        self._keeper.announced(self.session_id, request, waited_seconds)
        self._pending[request.request_id] = request

    def cancel_left(self, asked: PermissionRecord) -> None:
        """A request of before whose asker was in the process that ended: nobody waits for it."""
        question = Question(asked.tool_name, asked.parameters, asked.risk_level)
        request = PermissionRequest(asked, question, withdraw=self.cancel, collected=self.collected)
        request.announced = True
        self._pending[request.request_id] = request
        self.cancel(request, "the service was restarted", cancelled_by="service", code="restarted")

    def keep_rules(self) -> None:
        """Have the rules of this session kept as they are now."""
        self._keeper.rules(self.session_id, self.grants.entries)

    def joined(self, question: Question) -> PermissionRequest | None:
        """The request of before that is asked again, under its key or, once, with its ``tool_call_id``.

        Raises ``IdempotencyConflict`` for another question under the same key.
        """
        if not self._left:
            return None
        asks_sha256 = hashlib.sha256(frozen_json(question.parameters)[1]).hexdigest()
        for request in self._left.values():
            before = request.question
            if before.asked_by != question.asked_by:
                continue
            if question.key is not None and before.key is not None and question.key[0] == before.key[0]:
                if question.key[1] != before.key[1]:
                    raise IdempotencyConflict("This Idempotency-Key came before with another body.")
                self._alone.pop(request.request_id, None)
                return request
            if (
                not request.is_collected
                and request.claimed_by is None
                and _is_same_call(question, before)
                and asks_sha256 == _asked_sha256(request)
            ):
                self._alone.pop(request.request_id, None)
                return self._left.pop(request.request_id)
        return None

    async def claim(self, request: PermissionRequest, run_id: str, *, reports: bool = True) -> PermissionRecord:
        """Take an approved request for one run, and return its record; kept before anybody hears of it.

        Who ``reports`` will tell the session how the run ends. Raises ``NotApproved``, ``AlreadyClaimed`` for another
        run, or ``NotDurable``.
        """
        if not request.record.approved:
            raise NotApproved(f"The request is {request.record.status}: nothing may run.", record=request.shown)
        if request.claimed_by not in (None, run_id):
            raise AlreadyClaimed("Another run has taken this request: what it allows begins once.")
        first = request.claimed_by is None
        if first:
            request.claimed_by, request.is_reported = run_id, not reports
        kept = self._keeper.claimed(self.session_id, request)
        try:
            if kept is not None:
                await asyncio.wrap_future(kept)
        except NotRecorded:
            if first:
                request.claimed_by, request.is_reported = None, False
            raise
        if first:
            self._decisions.pop(request.request_id, None)
            if self._keeper.keeps(request.question):
                self._decisions[request.request_id] = self._clock()
            if reports:
                self._begin_run(request)
        self.collected(request)
        return request.record

    def _begin_run(self, request: PermissionRequest) -> None:
        before = self._runs.get(_run_key(request))
        self._runs[_run_key(request)] = request
        if before is not None:  # the same call again
            self._reported(before)

    def told(self, data: ToolStatus | ToolResult) -> None:
        """Whoever runs a call has told of it: of one that has ended the end is known."""
        if not self._runs or (isinstance(data, ToolStatus) and (data.status not in OVER or data.is_end_unknown)):
            return
        request = self._runs.get(data.tool_call_id or "")
        if request is None and isinstance(data, ToolStatus):
            request = self._runs.get(str(data.detail("request_id")))
        if request is not None and request.record.tool_name == data.tool_name:
            del self._runs[_run_key(request)]
            self._reported(request)

    def _reported(self, request: PermissionRequest) -> None:
        request.is_reported, request.is_lost = True, False
        self._keeper.followed(self.session_id, request)

    def lose(self, request: PermissionRequest) -> bool:
        """Take note that people are told that nobody knows how its run ended; False where they were."""
        is_first = not request.is_lost
        request.is_lost = True
        if is_first:
            self._keeper.followed(self.session_id, request)
        return is_first

    @property
    def runs(self) -> Sequence[PermissionRequest]:
        """What was taken for a run of which no end was told."""
        return tuple(self._runs.values())

    def begun(self, question: Question) -> PermissionRequest | None:
        """The request that was taken for a run of this very call, of which no end was told."""
        request = self._runs.get(question.tool_call_id or "")
        if request is None or request.asked_by != question.asked_by or not _is_same_call(question, request.question):
            return None
        asks_sha256 = hashlib.sha256(frozen_json(question.parameters)[1]).hexdigest()
        return request if asks_sha256 == _asked_sha256(request) else None

    def collected(self, request: PermissionRequest) -> None:
        """Who asked is told how it ended: another call does not get that."""
        if not request.pending and not request.is_collected:
            request.is_collected = True
            self._keeper.ended(self.session_id, request, request.record)
            self._linger(request)

    def _forget_decision(self, request: PermissionRequest) -> None:
        self._decisions.pop(request.request_id, None)
        self._left.pop(request.request_id, None)
        self._alone.pop(request.request_id, None)
        if self._runs.get(_run_key(request)) is request:
            del self._runs[_run_key(request)]
        self._keeper.forget(request)
        self._forget_whole(request)

    def _cancel_left_alone(self, now: float) -> None:
        """Withdraw what was asked before a restart by who comes back at once, and has not."""
        for request_id in [each for each, until in self._alone.items() if until <= now]:
            del self._alone[request_id]
            request = self._pending.get(request_id) or self._queued.get(request_id)
            if request is not None and request.recording is None:
                reason = "the service was restarted, and the agent did not come back"
                self.cancel(request, reason, cancelled_by="service", code="restarted")

    def cancel(
        self, request: PermissionRequest, reason: str, *, cancelled_by: str, code: CancelCode | None = None
    ) -> None:
        """Withdraw a request that is still open."""
        # A character is at most seven bytes of JSON, and the event that tells of it must fit.
        reason = reason[: min(MAX_REASON, (self.limits.max_event_bytes - 4096) // 7)]
        if request.pending:
            cancelled = self._decided(
                request.record, status="cancelled", reason=reason, decided_by=cancelled_by, code=code
            )
            self._close_request(request, cancelled, via="withdrawal")
            self._announce_next()

    def close(self, reason: str, *, cancelled_by: str, code: CancelCode | None = None) -> None:
        """Cancel all that is open, and take nothing more."""
        self.closed = True
        if code == "session_closed":
            if self.grants.entries:
                self._keeper.rules(self.session_id, ())
            for request in self._settled.values():
                self._forget_decision(request)
        # The queued go first, so that none of them is announced in between.
        for request in (*self._unrecorded.values(), *self._queued.values(), *self._pending.values()):
            if code == "shutdown" and self._keeper.keeps(request.question):
                request.suspend()
                continue
            self.cancel(request, reason, cancelled_by=cancelled_by, code=code)
            if code == "session_closed":
                self._forget_decision(request)
        self._let_go(0, all_of_them=True)

    def _not_found(self, request_id: str) -> RequestNotFound:
        """That there is no such request; and why not, where its id was made before a restart."""
        if _REQUEST_ID.fullmatch(request_id) and not request_id.startswith(self._id_start):
            return RequestNotFound(
                "The service was restarted since this was asked, and knows nothing of the request any more: nothing "
                "was run for it, and who still needs it asks again.",
                restarted=True,
            )
        return RequestNotFound("This session has no permission request of that id.")

    def _hashes(self, tool_name: str, server: str | None, text: bytes) -> dict[str, str]:
        """Of parameters in their canonical form."""
        action = action_sha256_of(text, session_id=self.session_id, server=server, tool_name=tool_name)
        return {"parameters_sha256": hashlib.sha256(text).hexdigest(), "action_sha256": action}

    def _command_of(self, parameters: Mapping[str, Any]) -> ReadCommand | None:
        """What the call runs; an event must hold the parameters, too."""
        return told_command(parameters, max_bytes=min(_MAX_COMMAND_BYTES, self.limits.max_event_bytes // 16))

    def _meant(self, decision: Decision) -> PermissionRequest:
        if decision.request_id is not None:
            request = self.find(decision.request_id)
            if request.pending and not request.announced:
                raise self._not_found(decision.request_id)
            return request
        if self.limits.require_request_id:
            raise InvalidInput("request_id: Field required (setting require_request_id)")
        if not self._pending:
            raise RequestNotFound("No permission request is pending in this session.")
        why = None
        if len(self._pending) > 1:
            why = f"{len(self._pending)} permission requests are pending"
        elif self.left_recently:
            why = "Another permission request was there a moment ago"
        if why is not None:
            raise AmbiguousRequest(
                f"{why}: say which one with request_id.",
                pending=[request.shown for request in self._pending.values()],
            )
        return next(iter(self._pending.values()))

    @staticmethod
    def _kind(request: PermissionRequest, decision: Decision) -> tuple[DecisionKind, dict[str, JsonValue] | None]:
        """Which of the four decisions it is, and the parameters if it really changes them."""
        if not decision.approved:
            return ("reject" if decision.response is None else "respond"), None
        if decision.parameters is None:
            return "approve", None
        edited = jsonable(decision.parameters)
        asked = request.record.parameters
        # Equal too, because beyond 2^53 an integer and a float may have the same canonical form.
        same = edited == asked and canonical_json(edited) == canonical_json(asked)
        return ("approve", None) if same and request.pending else ("edit", edited)

    @staticmethod
    def _decided_before(request: PermissionRequest, decision: Decision) -> PermissionRecord:
        record = request.shown
        if record.status == "expired":
            raise RequestExpired(f"The request has expired: {record.reason}.", record=record)
        if record.status == "cancelled":
            raise RequestCancelled(f"The request was cancelled: {record.reason}.", record=record)
        if decision.parameters is not None:
            same_parameters = parameters_sha256(decision.parameters) == record.parameters_sha256
        else:
            same_parameters = record.decision != "edit"
        if record.approved == decision.approved and same_parameters and record.response == decision.response:
            return record
        raise AlreadyDecided(
            f"{record.decided_by} decided otherwise before: {record.status} ({record.decision}).", record=record
        )

    @staticmethod
    def _decided(record: PermissionRecord, *, status: RequestStatus, **update: Any) -> PermissionRecord:
        return record.retold(status=status, approved=status == "approved", decided_at=utc_now(), **update)

    def _remember_rule(
        self,
        scope: Scope,
        effect: Effect,
        tool: AskedTool,
        risk_level: RiskLevel,
        *,
        created_by: str,
        reason: str | None,
        reach: Sequence[str],
    ) -> Rule:
        learned = self._learned()
        if scope == "always" and learned is not None:
            return learned.add(effect, tool, risk_level, created_by=created_by, reason=reason or None, sessions=reach)
        return self.grants.add(effect, tool, risk_level, created_by=created_by, reason=reason)

    def _forget_rule(self, scope: Scope, rule: Rule) -> None:
        with suppress(RuleNotFound, RulesNotKept):
            learned = self._learned()
            if scope == "always" and learned is not None:
                learned.take_back(rule.rule_id)
            else:
                self.grants.take_back(rule.rule_id)

    def settle_twins(self, tool: AskedTool) -> None:
        """Give what was just decided about a tool to the calls of it that wait already, as to those that come."""
        for request in (*self._unrecorded.values(), *self._queued.values(), *self._pending.values()):
            verdict = self._judge(request.question) if request.tool == tool else None
            if verdict is None or verdict.rule_id is None or verdict.effect == "ask":
                continue
            if "session" in request.record.scopes and request.recording is None:
                self._settle_by_policy(request, self._by_policy(request, verdict), verdict.rule_id)
        self._announce_next()

    @property
    def suggestions(self) -> Sequence[Suggestion]:
        """The rules that would have saved the most questions of this session; they are nobody's yet."""
        return tuple(each.suggestion for each in self._proposals())

    def suggestions_to(self, name: str, token_sha256: str) -> Sequence[tuple[Suggestion, bool]]:
        """The same, each with whether this caller may take it over: who asked what it is made of may not."""
        return [(each.suggestion, not each.request.was_asked_by(name, token_sha256)) for each in self._proposals()]

    def take_over(
        self,
        suggestion_id: str,
        scope: Scope,
        *,
        decided_by: str,
        decided_with: str = "",
        reason: str | None = None,
        reach: Sequence[str] = ("*",),
    ) -> Rule:
        """Make a rule of a suggestion, as a decision with this scope would, and return it.

        Raises ``RuleNotFound`` where nobody would be told of such a suggestion now, ``SelfApproval``,
        ``DecisionNotOffered`` where no file keeps what is for always, and ``LimitReached`` or ``RulesNotKept``.
        """
        if self.closed:
            raise SessionClosed("This session has ended.")
        found = [each for each in self._proposals() if each.suggestion.suggestion_id == suggestion_id]
        if not found:
            raise RuleNotFound("This session has no suggestion of that id: see which ones there are now.")
        [proposal] = found
        self._require_other(proposal.request, decided_by, decided_with)
        offered = proposal.suggestion.scopes
        if scope not in offered:
            raise DecisionNotOffered(
                "A suggestion is not offered for that scope.", allowed_decisions=["approve"], scopes=list(offered)
            )
        tool, risk_level = proposal.request.tool, proposal.request.record.risk_level
        rule = self._remember_rule(scope, "allow", tool, risk_level, created_by=decided_by, reason=reason, reach=reach)
        _log.info(
            "%s: a suggestion became a rule by %s for %s (rule %s, session %s)",
            without_credentials(quoted(tool.tool_name)),
            quoted(decided_by),
            scope,
            rule.rule_id,
            without_credentials(self.session_id),
        )
        self._recorder.rule("rule_learned", self.session_id, dict(rule))
        self.keep_rules()
        self.settle_twins(tool)
        if scope == "always":
            self._tell_learned(tool)
        return rule

    @staticmethod
    def _require_other(request: PermissionRequest, name: str, token_sha256: str) -> None:
        """Raise ``SelfApproval`` for who asked it."""
        if request.was_asked_by(name, token_sha256):
            raise SelfApproval(
                "This was asked in your name or with your token: somebody else must approve it. Who asks needs a token "
                "with a subject of its own."
            )

    def _proposals(self) -> Sequence[Proposal]:
        scopes: tuple[Scope, ...] = ("session", "always") if self._keeps_always else ("session",)
        return proposals(self._settled.values(), self._judge, scopes=scopes)

    def _settle_by_policy(self, request: PermissionRequest, settled: PermissionRecord, rule_id: str | None) -> None:
        """Settle a request that people were asked, when that is on record."""

        def take_effect() -> None:
            if request.pending:
                self._close_request(request, settled, via="policy", answered=True)
                self._announce_next()

        kept = all_of(
            self._recorder.by_policy(self.session_id, request, settled, rule_id),
            self._keeper.settled(
                self.session_id, request, settled, ahead=partial(self._ahead, request, settled, request.preview)
            ),
        )
        self._on_record(request, kept, take_effect, lambda: self._not_settled(request))

    def _ahead(
        self, request: PermissionRequest, settled: PermissionRecord, preview: Mapping[str, Any] | None
    ) -> Sequence[Change]:
        shown = settled if preview is None else settled.altered(**preview)
        return self._history.ahead(self.session_id, shown, asked_by=request.asked_by)

    def _not_settled(self, request: PermissionRequest) -> None:
        """What was decided cannot be put on record everywhere: it waits on."""
        if self._keeper.keeps(request.question):
            self._keeper.ended(self.session_id, request, request.record)
            self._history.take_back(request.request_id)

    def _answer_by_policy(self, request: PermissionRequest, settled: PermissionRecord, rule_id: str | None) -> None:
        """Settle a request that nobody has seen, when that is on record."""

        def take_effect() -> None:
            self._unrecorded.pop(request.request_id, None)
            if request.pending:
                request.settle(settled)
                self._remember(request, via="policy")
                self.tell_end(request, answered=True, cleared=False)

        kept = self._recorder.by_policy(self.session_id, request, settled, rule_id)
        if kept is not None:
            self._unrecorded[request.request_id] = request
        self._on_record(request, kept, take_effect, lambda: self._withdraw_unrecorded(request))

    def _by_policy(self, request: PermissionRequest, verdict: Verdict) -> PermissionRecord:
        self._note_use(verdict.rule_id)
        allowed = verdict.effect == "allow"
        return self._decided(
            request.record,
            status="approved" if allowed else "rejected",
            decision="approve" if allowed else "reject",
            reason="; ".join(verdict.reasons),
            scope="once",
            decided_by="policy",
            rule=verdict.rule,
            justification=verdict.justification,
        )

    def _close_request(
        self,
        request: PermissionRequest,
        record: PermissionRecord,
        *,
        via: str,
        answered: bool = False,
    ) -> None:
        for place in request.places:
            place.leave(request.asked_by)
        request.places = ()
        self._queued.pop(request.request_id, None)
        self._unrecorded.pop(request.request_id, None)
        announced = self._pending.pop(request.request_id, None) is not None
        if not answered:
            self._recorder.ended(self.session_id, request, record)
            self._keeper.ended(self.session_id, request, record)
        if self._keeper.keeps(request.question):
            self._decisions[request.request_id] = self._clock()
        request.settle(record)
        self._counters.decisions[record.status] += 1
        if answered and via != "policy" and request.announced_at is not None:
            self._counters.decision_wait_seconds.observe(self._clock() - request.announced_at)
        self._remember(request, via=via)
        if announced:
            self.left_at = self._clock()
        self.tell_end(request, answered=answered, cleared=announced)

    def tell_end(self, request: PermissionRequest, *, answered: bool, cleared: bool) -> None:
        """Tell the record as it is when somebody has answered, and that people are asked no longer."""
        told: list[tuple[str, EventData]] = []
        if answered:
            shown = request.shown
            told.append(("permission_response_result", shown.retold(timestamp=shown.decided_at or shown.timestamp)))
        if cleared:
            told.append(("permission_cleared", PermissionCleared.of(request.record)))
        if told:
            self._tell(request, *told)

    def _announce_next(self) -> None:
        """Show the next request that waits unannounced, if it is its turn."""
        if self._queued and not self._pending and not self.closed:
            self.announce(next(iter(self._queued.values())))

    def _note_asker(self, name: str | None) -> None:
        if len(self._askers) < 2:
            self._askers.add(name)

    def _remember(self, request: PermissionRequest, *, via: str) -> None:
        """Keep a settled request for repeated decisions and reads, within the bounds of the log, and in the history."""
        self._tell_the_log(request.record, via)
        self._linger(request)
        shown = request.shown
        self._history.add(self.session_id, shown, asked_by=request.asked_by)
        request.size = len(shown.encoded)
        self._settled[request.request_id] = request
        self.settled_bytes += request.size
        self._counters.permissions[request.record.status] += 1
        while len(self._settled) > self.limits.log_events or self.settled_bytes > self.limits.log_bytes:
            _, dropped = self._settled.popitem(last=False)
            self.settled_bytes -= dropped.size
            self._forget_decision(dropped)

    def _tell_the_log(self, record: PermissionRecord, via: str) -> None:
        """One line: who let what run, or not. No parameters and no reason, and what others named only quoted."""
        if not _log.isEnabledFor(logging.INFO):
            return
        _log.info(
            "%s: %s by %s through %s (request %s, session %s%s)",
            without_credentials(quoted(record.tool_name)),
            record.status if record.decision in (None, "approve", "reject") else f"{record.status} ({record.decision})",
            quoted(record.decided_by or ""),
            via,
            record.request_id,
            without_credentials(self.session_id),
            f", trace {record.traceparent}" if record.traceparent else "",
        )

    def _size_of(self, text: bytes) -> int:
        """Bytes of the canonical form, or ``TooLarge``."""
        size = len(text)
        if size > self.limits.max_parameters_bytes:
            raise TooLarge(
                f"Parameters of {size} bytes are over the limit of {self.limits.max_parameters_bytes}.",
                limit="max_parameters_bytes",
                parameters_bytes=size,
            )
        return size

    def _fitted(
        self, record: PermissionRecord, parameters_bytes: int, *, room: int
    ) -> tuple[Mapping[str, Any] | None, int]:
        """What stands in the place of the parameters if an event cannot hold them, and the size of what is shown."""
        limit = self.limits.max_event_bytes - room
        if parameters_bytes <= limit and (size := len(record.encoded)) <= limit:
            return None, size
        preview = {
            "parameters": {"beginning": beginning(dump(record.parameters), max_bytes=self.limits.max_event_bytes // 4)},
            "parameters_truncated": True,
            "parameters_bytes": parameters_bytes,
        }
        size = len(record.altered(**preview).encoded)
        if size > limit:
            raise TooLarge(
                f"A permission request of {size} bytes beside its parameters is over the limit of "
                f"{self.limits.max_event_bytes}.",
                limit="max_event_bytes",
            )
        return preview, size

    def _keep_whole(self, request: PermissionRequest, preview: Mapping[str, Any] | None) -> None:
        """Count what is kept beside the log, or raise ``LimitReached``; what was approved gives way to what waits."""
        more = (0 if preview is None else preview["parameters_bytes"]) - request.kept_bytes
        if more == 0:
            return
        holders = id(self), request.asked_by
        try:
            self._large.take(more, *holders)
        except LimitReached:
            self._let_go(_KEPT_AT_LEAST_SECONDS, all_of_them=True)
            self._large.take(more, *holders)
        request.kept_bytes += more

    def _linger(self, request: PermissionRequest) -> None:
        """Keep the whole of what was approved for its asker to fetch; of anything else nobody needs it any more."""
        if request.kept_bytes and request.record.approved:
            self._lingering.append((self._clock(), request))
        elif request.kept_bytes:
            self._forget_whole(request)

    def _let_go(self, seconds: float, *, all_of_them: bool = False) -> None:
        """Forget the whole of what was approved so long ago: its asker has had the time to fetch it.

        Who may come back after a restart has the time for which the decision is kept, unless ``all_of_them`` go.
        """
        if not self._lingering:
            return
        now, staying = self._clock(), deque[tuple[float, PermissionRequest]]()
        for since, request in self._lingering:
            if now - since >= seconds and (
                all_of_them or not (self._keeper.keeps(request.question) and request.is_awaited)
            ):
                self._forget_whole(request)
            else:
                staying.append((since, request))
        self._lingering = staying

    def _forget_whole(self, request: PermissionRequest) -> None:
        if request.kept_bytes:
            request.forget_whole()
            self._large.take(-request.kept_bytes, id(self), request.asked_by)
            request.kept_bytes = 0


def _after(moment: datetime, seconds: float) -> datetime | None:
    return moment + timedelta(seconds=seconds) if seconds > 0 else None


def _run_key(request: PermissionRequest) -> str:
    """The name under which the end of a run is told."""
    return request.record.tool_call_id or request.request_id


def _is_same_call(question: Question, before: Question) -> bool:
    """Whether an agent names the call alike."""
    return question.tool_call_id is not None and (
        (question.tool_call_id, question.tool_name, question.server)
        == (before.tool_call_id, before.tool_name, before.server)
    )


def _suggested(tool: AskedTool, risk_level: RiskLevel) -> tuple[str | None, dict[str, Any] | None]:
    """What a scope beyond ``once`` would allow: in words, and as a rule where somebody reads them all."""
    words = described(tool, risk_level)
    return words, KnownTable(rule_table("allow", tool, risk_level, words)) if len(words) <= _MAX_WORDS else None


_LEAST_OFFERED: frozenset[DecisionKind] = frozenset({"approve", "reject"})
_ALL_OFFERED = frozenset(ALL_DECISIONS)


@cache  # of eight
def _in_order(offered: frozenset[DecisionKind]) -> tuple[DecisionKind, ...]:
    return tuple([kind for kind in ALL_DECISIONS if kind in offered])


#: One tool is asked about again and again; of one that runs no command both are short.
_suggested_again = lru_cache(maxsize=256)(_suggested)
_NOT_SUGGESTED: tuple[str | None, dict[str, Any] | None] = (None, None)


def _asked_sha256(request: PermissionRequest) -> str:
    """Of the parameters that were asked, whatever a person made of them."""
    return request.record.asked_parameters_sha256 or request.record.parameters_sha256


def _record(asked: Mapping[str, Any]) -> PermissionRecord:
    reasons: Any = [_said(reason) if isinstance(reason, str) else reason for reason in asked["risk_reasons"]]
    try:
        return PermissionRecord(**asked, reasons=reasons)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise InvalidInput(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


_EMPTY_RECORD = {
    name: None if field.is_required() else field.default for name, field in PermissionRecord.model_fields.items()
}


def _checked_record(asked: Mapping[str, Any]) -> PermissionRecord:
    """The same of fields that were checked where they came in."""
    values, reasons = _EMPTY_RECORD.copy(), asked["risk_reasons"]
    values.update(asked)
    values["risk_reasons"], values["reasons"] = tuple(map(str, reasons)), tuple(map(_said, reasons))
    return made(PermissionRecord, values)


def _said(reason: str) -> SaidReason:
    """A reason as a record has it; one of the service, if it is no long one, is one for all that have it."""
    if isinstance(reason, Reason) and len(reason) <= _MOST_SHARED:
        return _said_alike(reason.code, str(reason), *reason.values.items())
    told = as_told(reason)
    return _said_alike.__wrapped__(told.pop("code"), told.pop("text"), *told.items())


@lru_cache(maxsize=512)
def _said_alike(code: str, text: str, *more: tuple[str, str | int]) -> SaidReason:
    return made(SaidReason, {"code": code, "text": text}, dict(more))
