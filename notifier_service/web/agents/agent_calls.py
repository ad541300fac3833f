"""One call that an agent asks about over several channels is one request.

Claude Code asks about the same call in its hooks and through its permission-prompt tool, partly at the same time, and
only some of them name it. A call is therefore recognised by its id where both sides know one, else by its tool and its
exact parameters; and only across channels: two calls over one channel are two, however alike, and need two decisions.
Calls of two callers are never one: who has another token, is another kind of agent, or another run of it, is another.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Literal, NamedTuple
from weakref import WeakValueDictionary

from aiohttp import web

from ...calls.denials import denial_by_error, denial_by_record
from ...calls.edits import edit_note
from ...calls.report import Report, new_call_id
from ...core.broker import Broker
from ...core.errors import AlreadyClaimed, NotifierError, NotRecorded
from ...core.events import PermissionRecord
from ...core.limits import Limits, RiskLevel
from ...core.parameters import frozen_json
from ...core.permission_request import PermissionRequest
from ...core.policy.places import is_workspace
from ...core.policy.reasons import Reason, doubts_the_tool
from ...core.policy.verdict import is_riskier
from ...core.question import Question
from ...core.session import Session
from ..long_body import too_large
from .built_ins import risk_by_agent

__all__ = ["JOINED_CALLS", "AskedBy", "AskedCall", "Channel", "JoinedCall", "JoinedCalls"]

Channel = Literal["pre_tool_use", "permission_request", "prompt_tool"]

#: How long an approval over one channel answers another one about the same call: they follow each other at once.
_GRANT_SECONDS = 60.0

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")

#: How long an agent may take to make a call again that a person has let it: its model writes the call anew.
_RETRY_SECONDS = 300.0

#: Sessions whose calls are remembered before it is looked which of them have ended.
_SESSIONS_A_LOOK = 64


class AskedBy(NamedTuple):
    """Whose call it is. Without tokens, which say who is who, all that one kind of agent tells is one caller's."""

    name: str
    token_sha256: str
    agent: str


class AskedCall(NamedTuple):
    """A call as one channel tells it."""

    tool_name: str
    parameters: dict[str, Any]
    sha256: str
    size: int
    risk_level: RiskLevel
    asked_by: AskedBy
    risk_reasons: tuple[Reason, ...] = ()
    #: The folder in which the agent works, if that is one to work in.
    workspace: str | None = None
    tool_call_id: str | None = None
    agent_id: str | None = None
    #: The agent's own id of its run, if the channel tells it.
    run_id: str | None = None
    server: str | None = None
    #: Set where the body was too large, of which the beginnings of its texts are left: nobody can be asked then.
    body_bytes: int | None = None

    @property
    def question(self) -> Question:
        """Whether it may run."""
        return Question(
            self.tool_name,
            self.parameters,
            self.risk_level,
            self.risk_reasons,
            workspace=self.workspace,
            server=self.server,
            asked_by=self.asked_by.name,
            agent=self.asked_by.agent,
            asked_with=self.asked_by.token_sha256,
            is_whole=self.body_bytes is None,
        )

    @classmethod
    def of(
        cls,
        tool_name: str,
        parameters: Mapping[str, Any],
        asked_by: AskedBy,
        *,
        folder: object = None,
        tool_call_id: str | None = None,
        agent_id: str | None = None,
        run_id: str | None = None,
        server: str | None = None,
        is_of_server: bool = False,
        body_bytes: int | None = None,
    ) -> AskedCall:
        """Rate the call, copy and hash its parameters, or raise ``InvalidInput`` when they cannot be shown.

        ``folder`` is where the agent says that it works.
        """
        frozen, text = frozen_json(parameters)
        size, sha256 = len(text), hashlib.sha256(text).hexdigest()
        rated = risk_by_agent(tool_name, frozen, folder=folder, is_of_server=is_of_server or server is not None)
        return cls(
            tool_name,
            frozen,
            sha256,
            size,
            rated.level,
            asked_by,
            rated.reasons,
            folder if isinstance(folder, str) and is_workspace(folder) else None,
            tool_call_id,
            agent_id,
            run_id,
            server,
            body_bytes,
        )


class JoinedCall:
    """One call, the request that a person sees of it, and the channels that wait for the decision."""

    def __init__(self, broker: Broker, session: Session, asked: AskedCall) -> None:
        self.asked = asked
        #: The agent's own id of it, if any channel gave one.
        self.tool_call_id = asked.tool_call_id
        self.request: PermissionRequest | None = None
        #: Over which channels it was asked about.
        self.channels: set[Channel] = set()
        #: Whether another call of the same content was asked about while this one was not over.
        self.has_twin = False
        self.is_over = False
        #: The agent was told to end its run: nobody waits, and the request is there until it comes back.
        self.is_parked = False
        #: False where an edit is the answer to a question, of which the agent hears anyway.
        self.notes_edits = True
        self.granted_at: float | None = None
        #: Until when the same call, made again, is let run by the approval of this one; then it ``is_retry``.
        self.retry_until = -math.inf
        self.is_retry = False
        #: A gateway has asked about this call too, and was told so by its approval.
        self.stood_for_gateway = False
        #: What the agent is still to be told of a person's edit.
        self.edit_note: str | None = None
        self._run_id = secrets.token_urlsafe(16)
        #: Why it does not run, although it was approved.
        self._not_begun: str | None = None
        self._may_stay_away = False
        self._broker = broker
        self._session = session
        self._waiting: set[object] = set()
        self._event_id = asked.tool_call_id or new_call_id()
        self._report = Report(
            functools.partial(broker.publish_to, session),
            asked.tool_name,
            asked.risk_level,
            None,
            max_event_bytes=broker.limits.max_event_bytes,
        )

    @property
    def is_announced(self) -> bool:
        """Whether the agent told of it before it asked, and so will of its end: only then is its status told."""
        return "pre_tool_use" in self.channels

    @property
    def is_waited_for(self) -> bool:
        return bool(self._waiting)

    @property
    def event_id(self) -> str | None:
        """Its id in events, if there is one."""
        return self._event_id if self.is_announced else self.tool_call_id

    @property
    def report(self) -> Report:
        """Tells the session what the call does."""
        self._report.tool_call_id = self.event_id
        return self._report

    @property
    def record(self) -> PermissionRecord:
        """The request as it stands; only for a call that was asked about. An approval in it has all that may run."""
        assert self.request is not None
        record = self.request.record
        if self.request.is_suspended:
            gone = {"approved": False, "status": "cancelled", "reason": "the service is shutting down"}
            return record.model_copy(update={**gone, "decided_by": "service", "code": "shutdown"})
        why_not = self._not_begun
        if why_not is None and record.approved and record.parameters_truncated:
            why_not = "its parameters are no longer kept whole"
        if why_not is not None:
            return record.model_copy(update={"approved": False, "status": "cancelled", "reason": why_not})
        return record

    async def begin(self) -> None:
        """Take what was approved for the run of this call, before the agent hears of it over any channel.

        It is denied where that cannot be put on record, or another run has it. Without effect if it was not approved.
        """
        if self.request is None or not self.record.approved:
            return
        try:
            await self._session.desk.claim(self.request, self._run_id, reports=self.is_announced)
        except AlreadyClaimed:
            self._not_begun = "another run has taken it already"
        except NotRecorded:
            self._not_begun = "it cannot be put on record that it begins"

    def ask(self, **how: Any) -> PermissionRequest:
        """Have a person asked, or the policy answer; ``how`` are fields of the question.

        Raises what ``Session.ask`` does, and the call is over then.
        """
        try:
            if self.asked.body_bytes is not None:
                raise too_large(self.asked.body_bytes, self._broker.limits)
            how |= {"tool_call_id": self.event_id, "announce_status": self.is_announced}
            if how.get("key") is not None:
                self._run_id = how["key"][0]  # who comes back with it after a restart is this run
            self.request = self._broker.ask(self._session.session_id, self.asked.question, **how)
        except NotifierError as error:
            self.is_over = True
            self._forget_parameters()
            self.report.denied(denial_by_error(self.asked.tool_name, error))
            raise
        self._forget_parameters()
        if self.request.pending:
            self.report.waits()
        return self.request

    @contextmanager
    def waiting(self) -> Iterator[object]:
        """Wait as one channel; when the last one has left, nobody needs the decision any more."""
        place = object()
        self._waiting.add(place)
        try:
            yield place
        finally:
            self.leave(place)
        self._settled()

    def leave(self, place: object, reason: str = "the agent went away") -> None:
        """One channel waits no more. Without effect when it left before."""
        if place in self._waiting:
            self._waiting.discard(place)
            if self._may_stay_away:
                self.is_parked = not self._waiting and self.request is not None and self.request.pending
            elif (
                not self._waiting
                and self.request is not None
                and self.request.pending
                and not self.request.is_suspended
            ):
                self.request.cancel(reason)
                self._settled(has_left=True)

    def park(self) -> None:
        """From now on the agent may stay away: the request waits on, and is answered once to the same call."""
        self._may_stay_away = True

    def spend(self) -> None:
        """The approval was used: no other channel gets it."""
        self.granted_at = -math.inf

    def retried_as(self, tool_call_id: str | None, now: float) -> None:
        """The agent has made this call again, which was approved for that: no other one is let run by it."""
        self.retry_until, self.is_retry, self.granted_at = -math.inf, True, now
        self.tool_call_id = self._event_id = tool_call_id or self._event_id

    def may_stand_for(self, question: Question, asked_by: tuple[str, str]) -> bool:
        """Whether a person has approved this very call, of which a gateway now asks, and it was not asked for before.

        Where the gateway knows the tool to be riskier than the person saw, or doubts which one it is, it was another.
        """
        request = self.request
        if request is None or request.pending or self.is_over or self.stood_for_gateway or not self.record.approved:
            return False
        is_by_person = request.record.decided_by not in (None, "policy")
        return (
            is_by_person
            and (self.asked.asked_by.name, self.asked.asked_by.token_sha256) == asked_by
            and _is_tool_of_server(self.asked.tool_name, question.tool_name)
            and not is_riskier(question.risk_level, request.record.risk_level)
            and not doubts_the_tool(question.risk_reasons)
            and self.asked.sha256 == _sha256_of(question.parameters)
        )

    def tell_running(self, parameters: Mapping[str, Any]) -> None:
        """Publish that it runs, with what. Raises what publishing does."""
        self.report.executing(parameters, whole_bytes=self.asked.body_bytes)
        self._forget_parameters()

    def _forget_parameters(self) -> None:
        """What was asked or told has them; calls are told apart by their hash."""
        self.asked = self.asked._replace(parameters={}, size=0 if self.request is None else self.request.size)

    def _settled(self, *, has_left: bool = False) -> None:
        """Remember how the request ended, and tell it if the call was announced.

        A channel that comes too late for the whole of what was approved is denied, and so the call is.
        """
        request = self.request
        if request is None or request.pending or self.is_over:
            return
        record = self.record
        if record.approved:
            if self.granted_at is not None:
                return
            # Whoever asks about it next asks about what runs: the person's edit, if there is one.
            self.granted_at = self._session.clock()
            self.asked = self.asked._replace(sha256=record.parameters_sha256)
            if record.decision == "edit" and self.notes_edits:
                self.edit_note = edit_note(record.decided_by, record.parameters)
            if self.is_announced:
                # The decision stands; that nobody can be told of it any more changes nothing.
                with suppress(NotifierError):
                    self.tell_running(record.parameters)
            return
        self.is_over = True
        if not self.is_announced:
            return
        if record.decision == "respond":
            self.report.answered(record.response, record.decided_by)
        elif has_left:
            self.report.withdrawn(denial_by_record(record))
        else:
            self.report.denied(denial_by_record(record))


class JoinedCalls:
    """The calls of every session that hooks and the permission-prompt tool told of."""

    def __init__(self) -> None:
        self._calls: dict[Session, list[JoinedCall]] = {}
        #: The newest of each id; a gateway may speak in another session than the hooks.
        self._by_id: WeakValueDictionary[str, JoinedCall] = WeakValueDictionary()
        self._look_at = _SESSIONS_A_LOOK

    def join(self, broker: Broker, session: Session, channel: Channel, asked: AskedCall) -> JoinedCall:
        """Return the call that another channel told of, or a new one.

        It comes back with a request if somebody was asked already; that one may be settled.
        """
        calls = self._of(session)
        now = session.clock()
        known = None
        if channel == "pre_tool_use":  # an agent tells of a call there first, but for one that it comes back to
            known = next((call for call in calls if _is_come_back_to(call, asked)), None)
            if known is not None:
                known.is_parked = False  # two that come back are no one run
            else:
                known = next((call for call in calls if call.retry_until > now and _is_like(call, asked)), None)
                if known is not None:
                    known.retried_as(asked.tool_call_id, now)
        else:
            matching = [call for call in calls if _is_same(call, channel, asked, now)]
            by_id = [call for call in matching if call.tool_call_id is not None and asked.tool_call_id is not None]
            known = next(iter(by_id or matching), None)
        if known is None:
            known = JoinedCall(broker, session, asked)
            for call in calls:
                # Whichever agent's: not every channel tells which one asks.
                if _is_live(call, now) and _has_same_content(call, asked):
                    call.has_twin = known.has_twin = True
            calls.append(known)
            _forget_oldest(calls, session.limits)
        elif known.request is None:
            # It was told to run, and what it runs with was forgotten then; it is the same by its hash.
            known.asked = known.asked._replace(parameters=asked.parameters)
        if known.tool_call_id is None:
            known.tool_call_id = asked.tool_call_id
        if known.asked.run_id is None:
            known.asked = known.asked._replace(run_id=asked.run_id)
        known.channels.add(channel)
        if known.tool_call_id is not None:
            self._by_id[known.tool_call_id] = known
        return known

    def approved(self, question: Question, asked_by: tuple[str, str]) -> JoinedCall | None:
        """The call that a person has approved over a hook, and of which a gateway asks now."""
        known = None if question.agent_call_id is None else self._by_id.get(question.agent_call_id)
        return known if known is not None and known.may_stand_for(question, asked_by) else None

    def taken(self, question: Question, asked_by: tuple[str, str]) -> Question:
        """The gateway's question with who has approved it over a hook, once; without, as it is."""
        known = self.approved(question, asked_by)
        if known is None:
            return question
        known.stood_for_gateway = True
        return question._replace(approved_before=known.record.decided_by)

    def let_retry(self, session: Session, call: JoinedCall) -> None:
        """Let the next call that is just like this one, of the same run, run once by its approval."""
        calls = self._of(session)
        call.retry_until = session.clock() + _RETRY_SECONDS
        calls.append(call)
        _forget_oldest(calls, session.limits)

    def finish(self, session: Session, asked: AskedCall) -> JoinedCall | None:
        """Return the call that has run; None if nobody told of it."""
        calls = self._calls.get(session, [])
        if asked.tool_call_id is not None:
            same = [call for call in calls if call.tool_call_id == asked.tool_call_id and _is_of_one_run(call, asked)]
        else:
            same = [call for call in calls if not call.is_over and _is_like(call, asked)]
        # Ids repeat: some agents count anew in every sub-agent.
        return next((call for call in same if not call.is_over), next(iter(same), None))

    def open_calls(self, session: Session, asked_by: AskedBy, run_id: str, agent_id: str | None) -> list[JoinedCall]:
        """The calls that an agent announced and told no end of, and for which nobody waits."""
        return [
            call
            for call in self._calls.get(session, [])
            if call.is_announced
            and not call.is_over
            and not call.is_waited_for
            and (call.asked.asked_by, call.asked.run_id, call.asked.agent_id) == (asked_by, run_id, agent_id)
        ]

    def _of(self, session: Session) -> list[JoinedCall]:
        """The calls of a session. One that begins anew knows nothing of those of the one before."""
        calls = self._calls.get(session)
        if calls is None:
            if len(self._calls) >= self._look_at:
                self._calls = {open_one: its for open_one, its in self._calls.items() if not open_one.log.closed}
                self._look_at = max(_SESSIONS_A_LOOK, 2 * len(self._calls))
            calls = self._calls[session] = []
        return calls


def _forget_oldest(calls: list[JoinedCall], limits: Limits) -> None:
    """Keep within the bounds of the log: first without calls that are over, then without those that came first."""
    size = sum(call.asked.size for call in calls)
    while len(calls) > 1 and (len(calls) > limits.log_events or size > limits.log_bytes):
        oldest = next((call for call in calls if call.is_over), calls[0])
        calls.remove(oldest)
        size -= oldest.asked.size


def _is_come_back_to(call: JoinedCall, asked: AskedCall) -> bool:
    names = (asked.tool_call_id, asked.agent_id, asked.run_id)
    is_named = asked.tool_call_id is not None and (call.tool_call_id, call.asked.agent_id, call.asked.run_id) == names
    return call.is_parked and is_named and _has_same_content(call, asked)


def _is_same(call: JoinedCall, channel: Channel, asked: AskedCall, now: float) -> bool:
    """Whether the channel, which did not ask about this call yet, means it."""
    if channel in call.channels or not _is_like(call, asked):
        return False
    by_id = call.tool_call_id is not None and asked.tool_call_id is not None
    if by_id and call.tool_call_id != asked.tool_call_id:
        return False
    if call.request is None:
        return not call.is_over
    if call.request.pending:
        return True
    if call.granted_at is None:
        return by_id  # denied: so is the same call over another channel
    # An approval is for one call. Who does not name it may have it only after its own first hook, which was approved.
    follows = by_id or (channel == "permission_request" and "pre_tool_use" in call.channels)
    return follows and _is_live(call, now)


def _is_live(call: JoinedCall, now: float) -> bool:
    return not call.is_over and (call.granted_at is None or now - call.granted_at <= _GRANT_SECONDS)


def _is_like(call: JoinedCall, asked: AskedCall) -> bool:
    return _has_same_content(call, asked) and _is_of_one_run(call, asked)


def _is_of_one_run(call: JoinedCall, asked: AskedCall) -> bool:
    """Whether one agent of one run of one caller may have told both, as far as they say."""
    agents, runs = (call.asked.agent_id, asked.agent_id), (call.asked.run_id, asked.run_id)
    return (
        call.asked.asked_by == asked.asked_by
        and (None in agents or agents[0] == agents[1])
        and (None in runs or runs[0] == runs[1])
    )


def _is_tool_of_server(called: str, tool_name: str) -> bool:
    """Whether an agent calls a server's tool so: ``mcp__SERVER__TOOL``, in letters that its API takes."""
    return called.startswith("mcp__") and called.endswith("__" + _NOT_IN_NAMES.sub("_", tool_name))


def _sha256_of(parameters: Mapping[str, Any]) -> str | None:
    """The hash of parameters; None for those that cannot be shown, and so were never approved."""
    try:
        return hashlib.sha256(frozen_json(parameters)[1]).hexdigest()
    except NotifierError:
        return None


def _has_same_content(call: JoinedCall, asked: AskedCall) -> bool:
    return (
        call.asked.asked_by == asked.asked_by
        and call.asked.tool_name == asked.tool_name
        and call.asked.sha256 == asked.sha256
    )


JOINED_CALLS = web.AppKey("joined_calls", JoinedCalls)
