"""What travels: the events of contract section 2 as frozen models, and the one encoder."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import repeat
from json import loads
from json.encoder import encode_basestring
from operator import is_, itemgetter
from pathlib import PurePath
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, GetPydanticSchema, JsonValue, PlainSerializer
from pydantic_core import PydanticSerializationError, from_json, to_json, to_jsonable_python

from .errors import DenialOutcome, InvalidInput, TooLarge
from .limits import RiskLevel

__all__ = [
    "EVENT_TYPE",
    "MAX_BRACKETS",
    "PRODUCED",
    "RESERVED",
    "Bye",
    "CallDetails",
    "DecisionKind",
    "Deed",
    "Deeds",
    "EventData",
    "FileRule",
    "Gap",
    "Hello",
    "InboxCleared",
    "InboxHello",
    "InboxRecord",
    "InboxSnapshot",
    "KnownTable",
    "Many",
    "PermissionCleared",
    "PermissionRecord",
    "Place",
    "ReadCommand",
    "ResultCleared",
    "Rule",
    "RunningCall",
    "SaidReason",
    "SessionLabel",
    "SessionRow",
    "Sha256",
    "Snapshot",
    "Status",
    "Timestamp",
    "ToolProgress",
    "ToolResult",
    "ToolStatus",
    "beside",
    "checked_event",
    "dump",
    "dump_each",
    "encode",
    "enveloped",
    "envelopes_bytes",
    "is_own_type",
    "made",
    "on_one_line",
    "parse_each",
    "parse_json",
    "parse_own",
    "require_finite",
    "utc_now",
    "utc_text",
]

EVENT_TYPE = re.compile(r"[a-z][a-z0-9_.]{0,63}")

Status = Literal["executing", "waiting_permission", "completed", "failed", "denied", "cancelled"]
RequestStatus = Literal["pending", "approved", "rejected", "expired", "cancelled"]
DecisionKind = Literal["approve", "edit", "reject", "respond"]
Scope = Literal["once", "session", "always"]
#: What a call does, and where; ``elsewhere`` is a folder that is neither the workspace, nor a home, nor the system's.
Deed = Literal["reads", "writes", "deletes", "runs", "sends", "spends"]
Place = Literal["workspace", "home", "system", "elsewhere", "network"]
#: Why the service itself cancelled a request: it stopped, the session was ended, or who waited for it did not outlive a
#: restart.
CancelCode = Literal["shutdown", "session_closed", "restarted"]


def utc_now() -> datetime:
    """The time of now, in UTC, to the millisecond that the wire shows."""
    return datetime.fromtimestamp(time.time_ns() // 1_000_000 / 1000, UTC)


@lru_cache(maxsize=1024)
def utc_text(moment: datetime) -> str:
    """ISO-8601 in UTC with ``Z``, as every ``timestamp`` of the contract."""
    text: str = to_jsonable_python(moment if moment.tzinfo is UTC else moment.astimezone(UTC))
    # To the microsecond or, where that is 0, to the second: written thrice as fast as by ``isoformat``.
    return f"{text[:23]}Z" if text[19] == "." else f"{text[:19]}.000Z"


Timestamp = Annotated[AwareDatetime, Field(strict=False), PlainSerializer(utc_text, return_type=str)]


Item = TypeVar("Item")
Model = TypeVar("Model", bound=BaseModel)

#: Any number of them, a list too. Not a ``Sequence``, which pydantic writes item by item in Python.
Many = Annotated[tuple[Item, ...], Field(strict=False)]


#: Asked of every such field of every event, so without a function of Python.
_is_none = partial(is_, None)


def _absent(**constraints: Any) -> Any:
    """A field that is not there when it has no value, instead of null."""
    return Field(default=None, exclude_if=_is_none, **constraints)


ToolName = Annotated[str, Field(min_length=1, max_length=256)]
ToolCallId = Annotated[str, Field(min_length=1, max_length=256)]
#: An MCP server, as the gateway or the producer names it.
ServerName = Annotated[str, Field(min_length=1, max_length=256)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class EventData(BaseModel):
    """The ``data`` of an event."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @property
    def encoded(self) -> bytes:
        """It as JSON, by the rules of ``encode``."""
        _all_fields(type(self))  # older releases write no model that is not built, and what is read in another is not
        return dump(self)


class SaidAlike(EventData):
    """What many records say alike: encoded once for all of them that have this very one."""

    __slots__ = ("_json",)

    @property
    def encoded(self) -> bytes:
        """It as JSON, by the rules of ``encode``."""
        try:
            encoded: bytes = _JSON.__get__(self)
        except AttributeError:
            encoded = super().encoded
            _JSON.__set__(self, encoded)
        return encoded


#: What is in the slot, past what pydantic looks for where there is nothing.
_JSON = SaidAlike.__dict__["_json"]


class SaidReason(SaidAlike):
    """Why a call was rated or judged so: ``text`` says it in English, ``code`` and the values beside it in any other.

    With ``said_code`` somebody else says what the service says by that code.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str | int | float]

    code: str
    text: str


class Deeds(SaidAlike):
    """What a call does and where, as far as its name, its hints and its parameters tell; nothing of it is a promise.

    ``paths`` and ``hosts`` are the first that it names. ``reversible`` says whether it can be taken back, null for
    nobody knows.
    """

    does: Many[Deed]
    where: Many[Place]
    paths: Many[str] | None = _absent()
    hosts: Many[str] | None = _absent()
    reversible: bool | None


class ReadCommand(EventData):
    """What a command runs, as far as it can be read; who wants to know all of it reads the parameters.

    ``parts`` are the words of each command that runs, in order, quotes taken away; what a wrapper runs stands behind
    the wrapper. ``depths`` says how many wrappers run each part, absent where none does. Of a long word there is the
    beginning and ``…``, which also stands for words that are left out; ``left_out`` is how many parts are. ``does``
    says what each part does, as far as its program tells, absent where all of them only read or run something. With
    ``not_understood`` more may run, and anything.
    """

    parts: Many[Many[str]]
    depths: Many[int] | None = _absent()
    does: Many[Deed] | None = _absent()
    left_out: int | None = _absent(ge=1)
    not_understood: SaidReason | None


class KnownTable(dict[str, Any]):
    """An object that many records have, with its JSON by the rules of ``encode``."""

    __slots__ = ("encoded",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.encoded = dump(values)


class CallDetails(EventData):
    """What the service says of a call beside its status, as far as it knows.

    ``reason`` is a whole sentence: who or what denied or cancelled it, and why. ``error`` is what the tool or its
    server said; of a long one the beginning, and how much more there was. ``parameters`` are those that run; with
    ``parameters_truncated`` they are ``{"beginning": text}`` of so many ``parameters_bytes``. ``answered_by`` is who
    answered in the tool's place. With ``input_required`` the server wants more before it goes on. ``rule`` names the
    rule of the policy that denied it, ``justification`` is what that rule says for it. ``outcome`` is ``unknown`` of a
    call that was started, and of which nobody knows whether it ran to its end. ``agent_call_id`` is the id under which
    the hooks of the agent behind a gateway tell of this call.
    """

    model_config = ConfigDict(extra="allow")

    parameters: dict[str, Any] | None = _absent()
    parameters_truncated: Literal[True] | None = _absent()
    parameters_bytes: int | None = _absent(ge=0)
    risk_level: RiskLevel | None = _absent()
    reasons: Many[SaidReason] | None = _absent()
    description: str | None = _absent()
    start_time: Timestamp | None = _absent()
    request_id: str | None = _absent()
    agent_call_id: ToolCallId | None = _absent()
    outcome: DenialOutcome | Literal["unknown"] | None = _absent()
    reason: str | None = _absent()
    rule: str | None = _absent()
    justification: str | None = _absent()
    limit: str | None = _absent()
    error: str | None = _absent()
    duration_ms: float | None = _absent(ge=0)
    answered_by: str | None = _absent()
    input_required: Literal[True] | None = _absent()


def _told_as_one(source: Any, handler: Any) -> Any:
    return {**handler(source), "custom_error_type": "dict_type"}


#: What the service tells itself, or the object of a producer, which goes out as it came.
Details = Annotated[dict[str, Any] | CallDetails, Field(union_mode="left_to_right"), GetPydanticSchema(_told_as_one)]


class ToolStatus(EventData):
    """``tool_status``: a call begins, waits, or ends. A producer's ``details`` may be any object."""

    status: Status
    tool_name: ToolName
    timestamp: Timestamp = Field(default_factory=utc_now)
    details: Details = Field(default_factory=dict)
    tool_call_id: ToolCallId | None = _absent()

    def detail(self, name: str) -> Any:
        """What the details say under this name, whoever told them."""
        details = self.details
        return details.get(name) if isinstance(details, dict) else getattr(details, name, None)

    @property
    def is_end_unknown(self) -> bool:
        """Whether the call was started, and nobody knows whether it ran to its end."""
        return self.status == "failed" and self.detail("outcome") == "unknown"


class ToolProgress(EventData):
    """``tool_progress``: how far a running call is (MCP progress)."""

    tool_name: ToolName
    tool_call_id: ToolCallId
    progress: float
    total: float | None = _absent()
    message: str | None = _absent(max_length=4096)


class RunningCall(ToolStatus):
    """A call that executes or waits, in a ``snapshot``, with the newest progress it told."""

    progress: ToolProgress | None = _absent()


class ToolResult(EventData):
    """``tool_result``: what a call gave. ``truncated`` says that ``result`` is only the beginning, as text."""

    tool_name: ToolName
    result: Any = None
    success: bool
    timestamp: Timestamp = Field(default_factory=utc_now)
    error: str | None = _absent()
    duration_ms: float | None = _absent(ge=0)
    tool_call_id: ToolCallId | None = _absent()
    truncated: Literal[True] | None = _absent()
    result_bytes: int | None = _absent(ge=0)


#: What is larger no event tells, and few read it: it is encoded for each of them.
_MOST_ENCODED_BYTES = 256 * 1024


class PermissionRecord(EventData):
    """A permission request: all that was asked, and how it ended (contract section 4).

    ``parameters`` are those that run: the person's edit after an edit, with ``asked_parameters_sha256`` then
    telling which ones were asked; ``action_sha256`` is over these, the tool, its server and the session. ``approved``,
    ``decision`` and the rest are null while it is pending.
    ``reasons`` say the same as ``risk_reasons``, one for one, and by codes too; ``deeds`` is what the call does,
    ``command`` what runs where it gives a shell or a program a command.
    ``rated_by`` tells whose word ``risk_level`` is: the service's, or that of whoever asks or of an MCP server.
    With ``parameters_truncated`` they are ``{"beginning": text}``, because the whole does not fit into an event: it has
    ``parameters_bytes`` bytes of canonical JSON, ``parameters_sha256`` is its hash, and GET of the request gives it.
    ``suggested_rule`` says in words what a scope beyond ``once`` would allow, ``suggested_policy_rule`` is that rule as
    the file of the learned rules has it.
    ``server`` is the MCP server that has the tool, ``definition_sha256`` a hash of how that server defines it.
    ``traceparent`` is the trace in which it was asked.
    ``code`` is there where the service itself cancelled it. ``rule`` names the rule of the policy that settled it, or
    that wants it asked; ``justification`` is what that rule says for it.
    """

    # Beside the fields: a copy with other fields does not have it.
    __slots__ = ("_text",)

    request_id: str
    tool_name: ToolName
    server: ServerName | None = _absent()
    definition_sha256: Sha256 | None = _absent()
    parameters: dict[str, Any]
    risk_level: RiskLevel
    rated_by: Literal["service", "producer"] = "service"
    timestamp: Timestamp
    status: RequestStatus = "pending"
    parameters_sha256: str
    action_sha256: str
    parameters_truncated: Literal[True] | None = _absent()
    parameters_bytes: int | None = _absent(ge=0)
    asked_parameters_sha256: str | None = _absent()
    expires_at: Timestamp | None
    timeout_seconds: float
    risk_reasons: Many[str] = ()
    reasons: Many[SaidReason] = ()
    deeds: Deeds | None = _absent()
    command: ReadCommand | None = _absent()
    allowed_decisions: Many[DecisionKind]
    scopes: Many[Scope]
    suggested_rule: str | None = _absent()
    suggested_policy_rule: dict[str, Any] | None = _absent()
    rule: str | None = _absent()
    justification: str | None = _absent()
    description: str | None = _absent()
    viewers: int
    tool_call_id: ToolCallId | None = _absent()
    traceparent: str | None = _absent()
    replayed: Literal[True] | None = _absent()
    decision: DecisionKind | None = None
    approved: bool | None = None
    reason: str | None = None
    response: str | None = None
    scope: Scope | None = None
    decided_by: str | None = None
    decided_at: Timestamp | None = None
    code: CancelCode | None = _absent()

    @property
    def encoded(self) -> bytes:
        """It as JSON, by the rules of ``encode``: encoded once for all who tell of it."""
        try:
            text: _Text = _TEXT.__get__(self)
        except AttributeError:
            text = (dump(self), *_NOWHERE) if type(self) is not PermissionRecord else _text_of(self.__dict__)
            _keep_text(self, text)
        return text[0]

    def altered(self, **update: Any) -> Self:
        """A copy with these fields, taken as they are."""
        values = self.__dict__.copy()
        values.update(update)
        return made(type(self), values)

    def retold(self, **update: Any) -> Self:
        """The same; where these are fields that change while one request is told, only they are encoded again."""
        told = self.altered(**update)
        text: _Text | None = getattr(self, "_text", None)
        if text is not None and text[3] and update.keys() <= _CHANGING:
            encoded, state_at, hashes_at, until_at, goes_on_at, end_at = text
            end = encoded[end_at:] if update.keys().isdisjoint(_AT_END) else _end_json(told.__dict__)
            first, hashes, between = encoded[:state_at], encoded[hashes_at:until_at], encoded[goes_on_at:end_at]
            _keep_text(told, _joined(told.__dict__, first, hashes, between, end))
        return told


#: A record as JSON, and where in it stands what changes while it is told: its time and status, behind the hashes until
#: when it waits, and from the last place on what becomes of it. Or nobody knows where.
_Text = tuple[bytes, int, int, int, int, int]
_NOWHERE = (0, 0, 0, 0, 0)
#: What of a record is in its slot, past what pydantic looks for where there is nothing.
_TEXT = PermissionRecord.__dict__["_text"]


def _keep_text(record: PermissionRecord, text: _Text) -> None:
    if len(text[0]) <= _MOST_ENCODED_BYTES:
        _TEXT.__set__(record, text)


_FIELDS = tuple(PermissionRecord.model_fields)
_BESIDE_OUTCOME = _FIELDS[_FIELDS.index("viewers") + 1 : _FIELDS.index("decision")]
_beside_outcome = itemgetter(*_BESIDE_OUTCOME)
_NOTHING_BESIDE = _beside_outcome(dict.fromkeys(_BESIDE_OUTCOME))
_OUTCOME = _FIELDS[_FIELDS.index("decision") :]
_outcome_of = itemgetter(*_OUTCOME)
_NO_OUTCOME = _outcome_of(dict.fromkeys(_OUTCOME))
_NO_OUTCOME_JSON = b",%b" % to_json({name: None for name in _OUTCOME if name != "code"})[1:]
#: What changes when a request is announced, decided, and told again.
_AT_END = frozenset({"viewers", *_OUTCOME})
_CHANGING = _AT_END | {"timestamp", "status", "expires_at"}


def _text_of(values: Mapping[str, Any]) -> _Text:
    """A record of these values as ``dump`` has it, in parts."""
    named = f'{{"request_id":{_text_json(values["request_id"])},"tool_name":{_text_json(values["tool_name"])}'
    for name in ("server", "definition_sha256"):
        if values[name] is not None:
            named += f',"{name}":{_text_json(values[name])}'
    rated = f'"risk_level":"{values["risk_level"]}","rated_by":"{values["rated_by"]}"'
    first = b'%b,"parameters":%b,%b,' % (named.encode(), dump(values["parameters"]), rated.encode())
    hashes = f',"parameters_sha256":{_text_json(values["parameters_sha256"])}'
    hashes += f',"action_sha256":{_text_json(values["action_sha256"])}'
    for name in ("parameters_truncated", "parameters_bytes", "asked_parameters_sha256"):
        if values[name] is not None:
            hashes += f',"{name}":{dump(values[name]).decode()}'
    hashes += ',"expires_at":'
    return _joined(values, first, hashes.encode(), _between_json(values), _end_json(values))


def _between_json(values: Mapping[str, Any]) -> bytes:
    """The fields between ``expires_at`` and ``viewers``; much of them all requests of a tool have in common."""
    why = b'"timeout_seconds":%b,"risk_reasons":[%b],"reasons":[%b]' % (
        _known_json(values["timeout_seconds"]),
        ",".join([_text_json(reason) for reason in values["risk_reasons"]]).encode(),
        b",".join([reason.encoded for reason in values["reasons"]]),
    )
    for name in ("deeds", "command"):
        if values[name] is not None:
            why += b',"%b":%b' % (name.encode(), values[name].encoded)
    may = b'"allowed_decisions":%b,"scopes":%b' % (
        _known_json(values["allowed_decisions"]),
        _known_json(values["scopes"]),
    )
    if values["suggested_rule"] is not None:
        may += f',"suggested_rule":{_text_json(values["suggested_rule"])}'.encode()
    table = values["suggested_policy_rule"]
    if table is not None:
        may += b',"suggested_policy_rule":%b' % (table.encoded if isinstance(table, KnownTable) else dump(table))
    for name in ("rule", "justification", "description"):
        if values[name] is not None:
            may += f',"{name}":{_text_json(values[name])}'.encode()
    return b",%b,%b," % (why, may)


def _joined(values: Mapping[str, Any], first: bytes, hashes: bytes, between: bytes, end: bytes) -> _Text:
    state = f'"timestamp":"{utc_text(values["timestamp"])}","status":"{values["status"]}"'.encode()
    expires_at = values["expires_at"]
    until = b"null" if expires_at is None else f'"{utc_text(expires_at)}"'.encode()
    hashes_at = len(first) + len(state)
    until_at = hashes_at + len(hashes)
    goes_on_at = until_at + len(until)
    text = b"".join((first, state, hashes, until, between, end))
    return text, len(first), hashes_at, until_at, goes_on_at, goes_on_at + len(between)


def _end_json(values: Mapping[str, Any]) -> bytes:
    """The fields from ``viewers`` on."""
    beside = ""
    if _beside_outcome(values) != _NOTHING_BESIDE:
        for name in ("tool_call_id", "traceparent"):
            if values[name] is not None:
                beside += f',"{name}":{_text_json(values[name])}'
        if values["replayed"]:
            beside += ',"replayed":true'
    viewers = f'"viewers":{values["viewers"]}{beside}'.encode()
    outcome = _outcome_of(values)
    if outcome == _NO_OUTCOME:
        return viewers + _NO_OUTCOME_JSON
    decision, approved, reason, response, scope, decided_by, decided_at, code = outcome
    at = "null" if decided_at is None else f'"{utc_text(decided_at)}"'
    why = "" if code is None else f',"code":"{code}"'
    return (
        viewers
        + (
            f',"decision":{_maybe_json(decision)},"approved":{_TRUTH_JSON[approved]},"reason":{_maybe_json(reason)}'
            f',"response":{_maybe_json(response)},"scope":{_maybe_json(scope)},"decided_by":{_maybe_json(decided_by)}'
            f',"decided_at":{at}{why}}}'
        ).encode()
    )


_TRUTH_JSON: Mapping[bool | None, str] = {None: "null", True: "true", False: "false"}


def _maybe_json(text: str | None) -> str:
    return "null" if text is None else _text_json(text)


def made(model: type[Model], values: dict[str, Any], extra: dict[str, Any] | None = None) -> Model:
    """A model of values that nobody needs to check: all of its fields, in their order, and what is ``extra``."""
    one = model.__new__(model)
    _SET_VALUES(one, values)
    _SET_FIELDS(one, _all_fields(model))
    _SET_EXTRA(one, extra)
    _SET_PRIVATE(one, None)
    return one


#: What is frozen has no other way in.
_SET_VALUES, _SET_FIELDS, _SET_EXTRA, _SET_PRIVATE = (
    BaseModel.__dict__[name].__set__
    for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)


@lru_cache(maxsize=64)
def _all_fields(model: type[BaseModel]) -> set[str]:
    """Shared by all that are made so: pydantic copies it before it changes it."""
    model.model_rebuild()  # nothing was checked by it so far, and older releases write no model that is not built
    return set(model.model_fields)


class Rule(EventData):
    """What a person decided for the rest of a session, or for always (contract section 11).

    ``name`` says in words for which calls it holds, ``command`` how their commands begin, where it is bound to that.
    ``risk`` is that of the call which was decided, ``asked_by`` and ``agent`` are who asked, ``justification`` is the
    person's reason. Where there are ``session`` patterns it holds in the sessions that match one, until ``until``.
    """

    rule_id: str
    source: Literal["session", "learned"]
    name: str
    effect: Literal["allow", "ask", "deny"]
    tool: ToolName
    server: ServerName | None
    definition_sha256: Sha256 | None = _absent()
    command: str | None = _absent()
    asked_by: str | None
    agent: str | None
    session: Many[str] | None = _absent()
    risk: RiskLevel
    justification: str | None = _absent()
    until: Timestamp | None = _absent()
    used: int = 0
    last_used_at: Timestamp | None = None
    created_by: str
    created_at: Timestamp


#: As a file of rules says it.
OneOrMany = str | Many[str]


class FileRule(EventData):
    """A rule of the policy file, in the words of the file; who wants another changes it there (contract section 11)."""

    rule_id: str
    source: Literal["file"] = "file"
    name: str
    effect: Literal["allow", "ask", "deny"]
    tool: OneOrMany | None = _absent()
    server: OneOrMany | None = _absent()
    session: OneOrMany | None = _absent()
    agent: OneOrMany | None = _absent()
    risk: OneOrMany | None = _absent()
    reach: OneOrMany | None = _absent()
    parameters: dict[str, Any] | None = _absent()
    command: OneOrMany | None = _absent()
    justification: str | None = _absent()
    until: Timestamp | None = _absent()
    used: int = 0
    last_used_at: Timestamp | None = None
    created_by: None = None
    created_at: None = None


class PermissionCleared(EventData):
    """``permission_cleared``: the request left the pending set, whatever the reason."""

    request_id: str
    tool_name: str
    status: RequestStatus
    timestamp: Timestamp = Field(default_factory=utc_now)
    reason: str | None = _absent()

    @classmethod
    def of(cls, record: PermissionRecord) -> PermissionCleared:
        """What is told of a record that is pending no longer."""
        told = {
            "request_id": record.request_id,
            "tool_name": record.tool_name,
            "status": record.status,
            "timestamp": utc_now(),
            "reason": record.reason,
        }
        return made(cls, told)

    @property
    def encoded(self) -> bytes:
        """It as JSON, by the rules of ``encode``."""
        if type(self) is not PermissionCleared:
            return dump(self)
        reason = "" if self.reason is None else f',"reason":{_text_json(self.reason)}'
        return (
            f'{{"request_id":{_text_json(self.request_id)},"tool_name":{_text_json(self.tool_name)}'
            f',"status":"{self.status}","timestamp":"{utc_text(self.timestamp)}"{reason}}}'
        ).encode()


class ResultCleared(EventData):
    """``result_cleared``: nobody needs the last result any more."""

    tool_name: str | None = _absent()
    timestamp: Timestamp = Field(default_factory=utc_now)


class Hello(EventData):
    """``hello``: the first event of every stream. Who may only look on is told so."""

    session_id: str
    epoch: str
    last_event_id: str
    resumed: Literal["full", "partial", "none"]
    heartbeat_seconds: float
    viewers: int
    may_approve: Literal[False] | None = _absent()


class Snapshot(EventData):
    """``snapshot``: the present state; reading goes on behind ``last_event_id``.

    ``end_unknown`` are calls that were started, and of which nobody knows whether they ran to their end.
    """

    last_event_id: str
    tool_status: ToolStatus | None
    permission_request: PermissionRecord | None
    permission_requests: Many[PermissionRecord]
    tool_result: ToolResult | None
    running: Many[RunningCall]
    end_unknown: Many[RunningCall] | None = _absent()

    @property
    def encoded(self) -> bytes:
        """It as JSON."""
        names = ("last_event_id", "tool_status", "tool_result", "running")
        told = {name: getattr(self, name) for name in names}
        return self.with_requests(told if self.end_unknown is None else {**told, "end_unknown": self.end_unknown})

    def with_requests(self, told: Mapping[str, Any]) -> bytes:
        """As JSON what is ``told`` and the requests, which are encoded already."""
        requests = [record.encoded for record in self.permission_requests]
        return b'%b,"permission_request":%b,"permission_requests":[%b]}' % (
            dump(told)[:-1],
            requests[0] if requests else b"null",
            b",".join(requests),
        )


class SessionLabel(EventData):
    """``session_opened`` and ``session_closed``: what a session is called, in the words of who runs it.

    ``session_opened`` comes again when that changes.
    """

    session_id: str
    title: str | None = _absent()
    agent: str | None = _absent()


class SessionRow(EventData):
    """A session, in the list of those that are open.

    ``state`` is ``waiting`` where a person is asked, ``working`` where a call runs or an answer is under way. One that
    nobody has come back to since a restart has no ``created_at``.
    """

    session_id: str
    title: str | None
    agent: str | None
    connections: int
    pending_permissions: int
    last_event_id: str
    created_at: Timestamp | None
    idle_seconds: float
    state: Literal["working", "waiting", "idle"]


class InboxRecord(PermissionRecord):
    """A permission request, and the session in which it is asked."""

    session_id: str

    @classmethod
    def of(cls, record: PermissionRecord, session_id: str) -> InboxRecord:
        """A request of a session, encoded already as that is."""
        told = made(cls, {**record.__dict__, "session_id": session_id})
        _keep_text(told, (b'%b,"session_id":"%b"}' % (record.encoded[:-1], session_id.encode()), *_NOWHERE))
        return told


class InboxCleared(PermissionCleared):
    """``permission_cleared``, and the session in which it was asked."""

    session_id: str


class InboxHello(EventData):
    """``hello`` of the inbox."""

    epoch: str
    last_event_id: str
    resumed: Literal["full", "partial", "none"]
    heartbeat_seconds: float
    viewers: int
    may_approve: Literal[False] | None = _absent()


class InboxSnapshot(EventData):
    """What waits in all sessions that the caller may see, the oldest first, and these sessions.

    Of very many requests together, those behind the first eight megabytes have the beginning of their parameters only
    (``parameters_truncated``).
    """

    last_event_id: str
    permission_requests: Many[InboxRecord]
    sessions: Many[SessionRow]
    #: In the answer to a GET; on a stream ``hello`` says it.
    may_approve: Literal[False] | None = _absent()

    @property
    def encoded(self) -> bytes:
        """It as JSON; the requests are encoded already."""
        told = dump({"last_event_id": self.last_event_id, "sessions": self.sessions})
        records = b",".join([record.encoded for record in self.permission_requests])
        rights = b"" if self.may_approve is None else b',"may_approve":false'
        return b'%b,"permission_requests":[%b]%b}' % (told[:-1], records, rights)


class Gap(EventData):
    """``gap``: events that a reader missed for good; a ``snapshot`` follows."""

    requested: str
    oldest: str
    newest: str
    reason: Literal["evicted", "epoch", "unknown", "slow"]


class Bye(EventData):
    """``bye``: the server ends the stream, and says whether to come back."""

    code: Literal["shutdown", "token_expired", "session_closed", "slow", "limit"]
    reconnect: bool
    retry_ms: int


#: What a producer may publish besides types of its own, with the model that checks it.
PRODUCED: Mapping[str, type[EventData]] = {
    "tool_status": ToolStatus,
    "tool_progress": ToolProgress,
    "tool_result": ToolResult,
}

#: Types that only the service itself makes.
RESERVED = frozenset(
    {
        "permission_request",
        "permission_cleared",
        "permission_response_result",
        "result_cleared",
        "heartbeat",
        "error",
        "hello",
        "snapshot",
        "gap",
        "bye",
    }
)


def checked_event(event_type: str, data: Mapping[str, Any] | None) -> EventData | Mapping[str, Any] | None:
    """Return the data of an event that a producer may publish, validated.

    Raises ``InvalidInput`` for a type that is no type or is the service's own, and pydantic's
    ``ValidationError`` for data that is not what the type asks for.
    """
    model = _model_of(event_type)
    return data if model is None else model.model_validate({} if data is None else data)


@lru_cache(maxsize=1024)
def _model_of(event_type: str) -> type[EventData] | None:
    if event_type in RESERVED:
        raise InvalidInput(f"only the service itself publishes {event_type}")
    if not EVENT_TYPE.fullmatch(event_type):
        raise InvalidInput("an event type matches [a-z][a-z0-9_.]{0,63}")
    return PRODUCED.get(event_type)


@lru_cache(maxsize=1024)
def is_own_type(event_type: str) -> bool:
    """Whether a producer may publish this type, and any object with it: one of its own."""
    try:
        return _model_of(event_type) is None
    except InvalidInput:
        return False


def encode(event_type: str, data: EventData | Mapping[str, Any] | None = None, **top: JsonValue) -> bytes:
    """One event as JSON, on one line, in UTF-8; without ``data`` where there is none.

    What JSON cannot say is written as text (NaN as ``"NaN"``, bytes in base64, half a surrogate pair escaped),
    so that a tool's odd result never breaks a stream. Raises ``InvalidInput`` for what has no text at all.
    """
    event: dict[str, Any] = {"type": event_type, **top}
    if data is not None:
        event["data"] = data
    return dump(event)


def beside(event_type: str, data_json: bytes) -> bytes:
    """``encode(event_type, data)`` of an event without an id, where the data is encoded already."""
    return b'{"type":%b,"data":%b}' % (_type_json(event_type), data_json)


def enveloped(event_type: str, event_id: str, data_json: bytes | None, traceparent: str | None = None) -> bytes:
    """``encode(event_type, data, id=event_id)`` where the data is encoded already; None for no data."""
    if traceparent is not None:  # digits and dashes, as it was checked where it came in
        event_id += f'","traceparent":"{traceparent}'
    if data_json is None:
        return b'{"type":%b,"id":"%b"}' % (_type_json(event_type), event_id.encode())
    return b'{"type":%b,"id":"%b","data":%b}' % (_type_json(event_type), event_id.encode(), data_json)


def enveloped_each(
    event_types: Sequence[str], event_ids: Sequence[str], data_jsons: Sequence[bytes], traceparent: str | None = None
) -> Sequence[bytes]:
    """``enveloped`` of each, in a few passes that Python makes by itself."""
    behind = _behind_id(traceparent)
    heads = {event_type: _before_id(event_type) for event_type in {*event_types}}
    ids = (f"{behind}\n".join(event_ids) + behind).encode().split(b"\n")
    parts = zip(map(heads.__getitem__, event_types), ids, data_jsons, repeat(b"}"))
    return [*map(b"".join, parts)]


def envelopes_bytes(event_types: Sequence[str], traceparent: str | None = None) -> int:
    """Bytes that ``enveloped_each`` puts around ids and data, of all together."""
    behind = len(_behind_id(traceparent)) + len(b"}")
    sizes = {event_type: len(_before_id(event_type)) + behind for event_type in {*event_types}}
    if len(sizes) == 1:
        return len(event_types) * sizes[event_types[0]]
    return sum(map(sizes.__getitem__, event_types))


@lru_cache(maxsize=1024)
def _before_id(event_type: str) -> bytes:
    return b'{"type":%b,"id":"' % _type_json(event_type)


def _behind_id(traceparent: str | None) -> str:
    return '","data":' if traceparent is None else f'","traceparent":"{traceparent}","data":'


@lru_cache(maxsize=256)
def _known_json(value: float | tuple[str, ...]) -> bytes:
    """``dump`` of what is one of a few values."""
    return dump(value)


@lru_cache(maxsize=1024)
def _type_json(event_type: str) -> bytes:
    return dump(event_type)


def dump(value: Any) -> bytes:
    """``value`` as JSON, by the rules of ``encode``."""
    try:
        return on_one_line(to_json(value, inf_nan_mode="strings", bytes_mode="base64", by_alias=True))
    except (PydanticSerializationError, ValueError) as error:
        if "surrogates not allowed" not in str(error):
            raise InvalidInput(f"not to be shown as JSON: {str(error)[:200]}") from error
    # Rare (a file name that is no UTF-8): worth a second pass, not a check of every string of every event.
    try:
        text = to_json(_without_surrogates(value), inf_nan_mode="strings", bytes_mode="base64", by_alias=True)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise InvalidInput(f"not to be shown as JSON: {str(error)[:200]}") from error
    return on_one_line(text)


#: Stands between the values of ``dump_each``. They are objects, so that it is next to one on either side.
_BETWEEN = "~"
_CUT = b',"~",'


def dump_each(values: Sequence[dict[str, Any]]) -> Sequence[bytes] | None:
    """``dump`` of each of these objects, which came in as JSON, in one go.

    None where that is not possible: ``dump`` them one by one, and see whether a number is infinite.
    """
    row: list[Any] = [_BETWEEN] * (2 * len(values) - 1)
    row[::2] = values
    try:
        text = to_json(row, inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError):
        return None
    # In a text the quotes would be escaped: what looks so elsewhere is an item of an array, and one piece too many.
    pieces = on_one_line(text[1:-1]).split(_CUT)
    return None if len(pieces) != len(values) or b"Infinity" in text else pieces


def dump_plain(value: dict[str, Any]) -> bytes | None:
    """``dump_each`` of one."""
    try:
        text = to_json(value, inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError):
        return None
    return None if b"Infinity" in text else on_one_line(text)


def _text_json(text: str) -> str:
    """``dump`` of a text, as text; the encoder of ``json`` writes plain ones alike, without the way there."""
    return encode_basestring(text) if text.isascii() else dump(text).decode()


def on_one_line(json: bytes) -> bytes:
    """The same JSON without the three characters that many readers of lines, not JSON, take for the end of one."""
    if not json.isascii():  # a look at every byte is spared most texts
        for raw, escaped in _LINE_ENDS:
            if raw in json:
                json = json.replace(raw, escaped)
    return json


#: U+2028, U+2029 and U+0085 in UTF-8; outside of its strings JSON has none of them.
_LINE_ENDS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


#: An array of the smallest events with data, in a body of a megabyte, has half of that.
MAX_BRACKETS = 100_000


#: Without what is inside a string, which costs a parser nothing: a file of code has many brackets.
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


def _has_more_brackets(text: bytes) -> bool:
    if len(text) <= MAX_BRACKETS or text.count(b"[") + text.count(b"{") <= MAX_BRACKETS:
        return False
    outside = _STRINGS.sub(b"", text)
    return outside.count(b"[") + outside.count(b"{") > MAX_BRACKETS


def parse_json(
    text: bytes, *, unique_keys: bool = False, takes_halves: bool = False, takes_infinity: bool = False
) -> JsonValue:
    """Parse JSON that came in. Raises ``InvalidInput`` that says where and why, never with the text itself.

    Of a key that an object has twice the last counts, as everywhere; with ``unique_keys`` it is refused, because others
    read the first: what is asked, decided or run must have one reading.
    ``takes_halves`` takes half a surrogate pair, which a text that was cut within an emoji ends with, as ``encode``
    writes it: escaped, as text. ``takes_infinity`` leaves it to the caller to ``require_finite`` numbers.
    ``TooLarge`` for more brackets than any body of events has: a megabyte of them would take a hundred times as long as
    one of text.
    """
    if _has_more_brackets(text):
        raise TooLarge(f"JSON of more than {MAX_BRACKETS} objects and arrays is not taken.", limit="values")
    try:
        value: JsonValue = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        if takes_halves and (whole := _SURROGATES.sub(_half_as_text, text)) != text:
            return parse_json(whole, unique_keys=unique_keys, takes_infinity=takes_infinity)
        raise InvalidInput(f"no valid JSON: {_why(text, error)}") from error
    if not takes_infinity:
        require_finite(text, value)
    if unique_keys and (colons := text.count(b":")) > 1:
        # More colons than keys stand in strings, or behind a key that is there no more.
        keys = _count_keys(value)
        if colons != keys and _STRINGS.sub(b"", text).count(b":") != keys:
            raise InvalidInput("an object has the same key twice, so that it can be read in two ways")
    return value


def parse_own(text: bytes) -> Any:
    """Parse JSON that was written here. Raises ``ValueError``.

    What came in as deep as its parser goes is deeper by what stands around it now.
    """
    try:
        return from_json(text)
    except ValueError:
        try:
            return loads(text)
        except RecursionError:
            raise ValueError("deeper than anything that was written here") from None


def parse_each(texts: Sequence[bytes]) -> Sequence[JsonValue] | None:
    """``parse_json`` of each, with ``takes_infinity``; None where one cannot be read so, which that says of it."""
    if max(map(len, texts), default=0) > MAX_BRACKETS:
        return None
    try:
        return [from_json(text, allow_inf_nan=False) for text in texts]
    except ValueError:
        return None


def require_finite(text: bytes, value: JsonValue) -> None:
    """Raise ``InvalidInput`` where a number in this JSON, which reads as this value, is too large.

    1e999 is valid, and reads as infinity, which no answer could repeat.
    """
    if _may_hold_infinity(text) and _has_infinity(value):
        raise InvalidInput("no valid JSON: a number is too large")


def _count_keys(value: JsonValue) -> int:
    count, level = 0, [value]
    while level:
        below: list[JsonValue] = []
        for item in level:
            if isinstance(item, dict):
                count += len(item)
                below += [inner for inner in item.values() if type(inner) in (dict, list)]
            elif isinstance(item, list):
                below += [inner for inner in item if type(inner) in (dict, list)]
        level = below
    return count


#: The escapes in JSON, pairs of surrogates as one; a half that stands alone is the group.
_SURROGATES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


def _half_as_text(escape: re.Match[bytes]) -> bytes:
    return escape[0] if escape[1] is None else b"\\\\" + escape[1]


def _why(text: bytes, error: ValueError) -> str:
    """What is wrong, where the parser names only what it met."""
    why, _, place = str(error).rpartition(" at ")
    if text.startswith(b"\xef\xbb\xbf"):
        why = "a byte order mark (send UTF-8 without one)"
    elif text.startswith((b"\xff\xfe", b"\xfe\xff")) or (len(text) >= 4 and 0 in text[:2]):
        why = "UTF-16 or UTF-32 (send UTF-8)"
    elif why == "invalid unicode code point":
        why = "bytes that are not UTF-8"
    elif "escape" in why and any(escape[1] for escape in _SURROGATES.finditer(text)):
        why = "half a character (a surrogate alone, as of a text cut within an emoji)"
    return f"{why} at {place}"


#: Every digit as 0, every exponent as e: what is left to find are plain texts, ten times as fast as by an expression.
_NUMBERS = bytes(
    ord("0")
    if chr(code).isdigit() and code < 128
    else ord("e")
    if chr(code) in "eE"
    else ord("+")
    if chr(code) == "+"
    else 32
    for code in range(256)
)
_LONG_NUMBER = b"0" * 300


def _may_hold_infinity(text: bytes) -> bool:
    numbers = text.translate(_NUMBERS)
    if b"0e" in numbers and (b"0e00" in numbers or b"0e+00" in numbers):
        return True
    return len(numbers) > len(_LONG_NUMBER) and _LONG_NUMBER in numbers


def _has_infinity(value: JsonValue) -> bool:
    if isinstance(value, float):
        return value in (float("inf"), float("-inf"))
    if isinstance(value, dict):
        return any(map(_has_infinity, value.values()))
    return isinstance(value, list) and any(map(_has_infinity, value))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, BaseModel):
        return _without_surrogates(value.model_dump(mode="python", warnings=False))
    if isinstance(value, Mapping):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _without_surrogates(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, PurePath):
        return _without_surrogates(str(value))
    if isinstance(value, list | tuple | set | frozenset):
        return [_without_surrogates(item) for item in value]
    return value
