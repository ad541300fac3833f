"""What is asked about a call, and what a person answers (contract section 4)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Required, Self, TypedDict

from pydantic import Field, JsonValue, model_validator

from .events import DecisionKind, Deeds, EventData, Scope
from .input_schema import InputSchema
from .limits import RiskLevel
from .policy.command_use import command_use
from .policy.deeds import deeds_of, reasons_of
from .policy.verdict import AskedTool, Call, RatedBy, Verdict

__all__ = ["ALL_DECISIONS", "ALL_SCOPES", "MAX_REASON", "Decider", "Decision", "Question"]

ALL_DECISIONS: tuple[DecisionKind, ...] = ("approve", "edit", "reject", "respond")
ALL_SCOPES: tuple[Scope, ...] = ("once", "session")
#: Characters that a person says why.
MAX_REASON = 10_000


class Question(NamedTuple):
    """May this call run?"""

    tool_name: str
    parameters: Mapping[str, Any]
    risk_level: RiskLevel = "high"
    risk_reasons: Sequence[str] = ()
    tool_call_id: str | None = None
    #: None for as long as the session's limits say, 0 for ever.
    timeout_seconds: float | None = None
    #: The words of who asks.
    description: str | None = None
    #: The MCP server that has the tool, and a hash of how it defines it.
    server: str | None = None
    definition_sha256: str | None = None
    #: Who asks, as ``AskedTool`` says.
    asked_by: str | None = None
    agent: str | None = None
    #: A digest of the token that who asks came with; empty where none tells one caller from another.
    asked_with: str = ""
    #: Whose word the risk is.
    rated_by: RatedBy = "service"
    #: Those that the asker can carry out; to approve and to reject are always among them.
    allowed_decisions: Collection[DecisionKind] = ALL_DECISIONS
    scopes: Sequence[Scope] = ALL_SCOPES
    #: It asks for words or a choice, which an approval alone does not give: then approving is not offered.
    needs_answer: bool = False
    #: Whether the session is told that the call waits; who has it told tells how the call ends, too.
    announce_status: bool = False
    #: The folder in which who asks works, where that is known.
    workspace: str | None = None
    #: What the call does, where a person is shown that.
    deeds: Deeds | None = None
    #: False asks a person whatever the risk is; what one decided for the session holds all the same.
    by_policy: bool = True
    #: False where ``parameters`` are not all that the tool would get, or can be read in two ways.
    is_whole: bool = True
    #: What the tool says that it takes, where that is known: an edit must fit.
    input_schema: InputSchema | None = None
    #: The agent's own id of the call, under which its hooks may have told of it.
    agent_call_id: str | None = None
    #: Who has approved this very call where its agent asked about it: what would only be asked again is let run.
    approved_before: str | None = None
    #: The trace that the call belongs to, checked.
    traceparent: str | None = None
    #: Who asks is another process, which may come back after a restart of this one.
    outlives: bool = False
    #: Who asks may stay away for as long as there is time, also after a restart.
    may_stay_away: bool = False
    #: The asker's own name for this question, and a digest of all that it asked.
    key: Sequence[str] | None = None
    #: Names, hashes and words came in over a model that has checked them.
    is_checked: bool = False

    @property
    def tool(self) -> AskedTool:
        """What a decision for the session is bound to."""
        schema = self.input_schema
        return AskedTool(
            self.tool_name,
            self.server,
            self.definition_sha256 or (None if schema is None else schema.sha256),
            self.asked_by,
            self.agent,
            command_use(self.parameters),
        )

    def told(self, verdict: Verdict) -> Question:
        """The same with the reasons for a verdict; where it does not just run, with what the call does."""
        if verdict.effect == "allow":
            return self.altered(risk_reasons=(*self.risk_reasons, *verdict.reasons))
        deeds = self.deeds_of(self.parameters)
        reasons: list[str] = list(self.risk_reasons)
        for reason in verdict.reasons:
            # That its risk asks a person tells nobody what is asked.
            is_said = getattr(reason, "code", None) != "risk_asks"
            reasons += [reason] if is_said else reasons_of(deeds, self.parameters)
        return self.altered(risk_reasons=tuple(reasons), deeds=deeds)

    def altered(self, **update: Any) -> Question:
        """The same with these fields: ``_replace``, which looks at each of all the others, too."""
        values = [*self]
        for name, value in update.items():
            values[_PLACES[name]] = value
        return Question._make(values)

    def deeds_of(self, parameters: Mapping[str, Any]) -> Deeds:
        """What the call does with these parameters."""
        return deeds_of(self.tool_name, parameters, reasons=self.risk_reasons, workspace=self.workspace)

    def call(self, session_id: str) -> Call:
        """What the rules of a policy are asked about."""
        return Call(self.tool, session_id, self.risk_level, self.parameters, self.is_whole)


_PLACES = {name: place for place, name in enumerate(Question._fields)}


class Decider(TypedDict, total=False):
    """Who decides: a name, a digest of the token that came with it, and ``via`` which way it came, for the log.
    ``device`` is what the device is called that the token was given to.

    ``program`` is code of this process, which has the whole record. ``through`` is what the person used, ``right`` what
    allowed it, for the record. ``reach`` are the patterns of the sessions in which this person may decide: for always
    is for those.
    """

    decided_by: Required[str]
    decided_with: str
    device: str
    via: str
    through: str
    right: str
    reach: Sequence[str]


class Decision(EventData):
    """What a person answers: the body of a permission response.

    ``parameters`` edits the call and goes only with ``approved: true``; ``response`` answers in the tool's
    place and goes only with ``approved: false``, so that whoever does not know the field fails safe.
    """

    approved: bool
    reason: Annotated[str, Field(max_length=MAX_REASON)] | None = None
    request_id: Annotated[str, Field(max_length=256)] | None = None
    parameters: dict[str, JsonValue] | None = None
    response: str | None = None
    scope: Literal["once", "session", "always"] | None = None
    parameters_sha256: Annotated[str, Field(max_length=256)] | None = None
    action_sha256: Annotated[str, Field(max_length=256)] | None = None

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        if self.parameters is not None and not self.approved:
            raise ValueError("parameters edits the call and goes only with approved: true")
        if self.response is not None and self.approved:
            raise ValueError("response answers in the tool's place and goes only with approved: false")
        if self.scope not in (None, "once") and self.response is not None:
            raise ValueError("a response is for one call: a scope beyond once goes without")
        return self
