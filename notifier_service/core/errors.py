"""Every error the service raises, each naming a state of the world.

    NotifierError
    ├── InvalidInput              invalid              what came in is not what the contract asks for
    │   ├── InvalidSessionId      invalid
    │   └── DecisionNotOffered    decision_not_offered
    ├── Unauthenticated           unauthenticated
    ├── Forbidden                 forbidden
    │   ├── EditDenied            edit_denied          the policy denies the edited parameters
    │   └── SelfApproval          self_approval        who asked may not approve
    ├── NotFound                  not_found
    │   ├── SessionNotFound       session_not_found
    │   ├── RequestNotFound       request_not_found
    │   └── RuleNotFound          rule_not_found
    ├── Conflict                  conflict
    │   ├── AmbiguousRequest      ambiguous_request
    │   ├── AlreadyDecided        already_decided
    │   ├── AlreadyClaimed        already_claimed      another run has taken what was approved
    │   ├── NotApproved           not_approved         nothing may run for the request that is claimed
    │   ├── ParametersChanged     parameters_changed
    │   ├── ParametersUnread      parameters_unread    who approves has seen the beginning only
    │   ├── RuleOfFile            rule_of_file         only who writes the policy file changes it
    │   ├── IdempotencyConflict   idempotency_conflict
    │   └── AnswerRunning         answer_running       the agent is still answering the query before
    ├── Gone                      gone
    │   ├── RequestExpired        request_expired
    │   └── RequestCancelled      request_cancelled
    ├── MethodNotAllowed          method_not_allowed
    ├── TooLarge                  too_large
    ├── UnsupportedMediaType      unsupported_media_type
    ├── LimitReached              limit_reached
    ├── RulesNotKept              rules_not_kept       the file of the learned rules cannot be written
    ├── BrokerClosed              shutting_down
    │   └── SessionClosed         session_closed
    ├── NotRecorded               not_recorded         what is decided cannot be put on record, and is not done
    │   └── NotDurable            not_durable          what came cannot be kept over a restart, and is not acknowledged
    ├── CursorLost                gap                  the log no longer holds what a cursor asks for
    ├── NoBroker                  no_broker            this process has no broker yet
    ├── ToolDenied                tool_denied          what an agent gets instead of a result
    ├── ServiceUnavailable        service_unavailable  the client cannot reach the service
    │   └── ServiceUnproven       service_unproven     who listens there does not prove to be the service
    └── ServiceRefused            (as the service says) the service answered with an error
        └── ServiceRestarted      (as the service says) it was restarted while a person thought

``code`` is the stable word that travels on the wire (contract section 9); a class may be renamed,
a code may not. The core raises; only ``web/answers.py`` knows which HTTP status a class becomes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

__all__ = [
    "AlreadyClaimed",
    "AlreadyDecided",
    "AmbiguousRequest",
    "AnswerRunning",
    "AuthFailure",
    "BrokerClosed",
    "Conflict",
    "CursorLost",
    "DecisionNotOffered",
    "EditDenied",
    "Forbidden",
    "GapReason",
    "Gone",
    "IdempotencyConflict",
    "InvalidInput",
    "InvalidSessionId",
    "LimitReached",
    "MethodNotAllowed",
    "NoBroker",
    "NotApproved",
    "NotDurable",
    "NotFound",
    "NotRecorded",
    "NotifierError",
    "ParametersChanged",
    "ParametersUnread",
    "RequestCancelled",
    "RequestExpired",
    "RequestNotFound",
    "RuleNotFound",
    "RuleOfFile",
    "RulesNotKept",
    "SelfApproval",
    "ServiceRefused",
    "ServiceRestarted",
    "ServiceUnavailable",
    "ServiceUnproven",
    "SessionClosed",
    "SessionNotFound",
    "TooLarge",
    "ToolDenied",
    "Unauthenticated",
    "UnsupportedMediaType",
]

GapReason = Literal["evicted", "epoch", "unknown", "slow"]
DenialOutcome = Literal["rejected", "policy", "expired", "cancelled", "limit", "invalid", "unavailable"]


class NotifierError(Exception):
    """The base of every error of this package."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, Any] = details


class InvalidInput(NotifierError):
    """What came in is not what the contract asks for: where and why, never the input itself."""

    code = "invalid"


class InvalidSessionId(InvalidInput):
    """A session id that does not match ``[A-Za-z0-9._:~-]{1,128}``, or is ``.`` or ``..``."""


class DecisionNotOffered(InvalidInput):
    """A decision or a scope that this permission request does not offer."""

    code = "decision_not_offered"


AuthFailure = Literal["missing", "unknown", "expired", "revoked", "claims", "ticket"]


class Unauthenticated(NotifierError):
    """No token, or one that nobody issued. ``reason`` is for who counts them, and tells no caller more."""

    code = "unauthenticated"

    def __init__(self, message: str, *, reason: AuthFailure = "unknown") -> None:
        super().__init__(message)
        self.reason = reason


class Forbidden(NotifierError):
    """The caller is known, and lacks the right in this session."""

    code = "forbidden"


class EditDenied(Forbidden):
    """The policy denies the call as the person edited it; the request stays pending."""

    code = "edit_denied"


class SelfApproval(Forbidden):
    """Who asked may not approve; the request stays pending."""

    code = "self_approval"


class NotFound(NotifierError):
    """There is no such thing."""

    code = "not_found"


class SessionNotFound(NotFound):
    """No session of that id is open."""

    code = "session_not_found"


class RequestNotFound(NotFound):
    """Nothing is pending, or this session never had a request of that id."""

    code = "request_not_found"


class RuleNotFound(NotFound):
    """This session has no rule of that id, or it was taken back."""

    code = "rule_not_found"


class Conflict(NotifierError):
    """The state of the world contradicts what was asked."""

    code = "conflict"


class AmbiguousRequest(Conflict):
    """A decision without ``request_id`` while several requests are pending, or another one was a moment ago."""

    code = "ambiguous_request"


class AlreadyDecided(Conflict):
    """Somebody decided otherwise before; ``details["record"]`` is what won."""

    code = "already_decided"


class AlreadyClaimed(Conflict):
    """Another run has taken the request: what was approved begins once."""

    code = "already_claimed"


class NotApproved(Conflict):
    """A request is claimed that is not approved; ``details["record"]`` is how it stands."""

    code = "not_approved"


class ParametersChanged(Conflict):
    """``parameters_sha256`` or ``action_sha256`` is not that of the pending request."""

    code = "parameters_changed"


class ParametersUnread(Conflict):
    """An approval of parameters of which events show the beginning only, by somebody who has not read them whole."""

    code = "parameters_unread"


class RuleOfFile(Conflict):
    """The rule is one of the policy file, and is changed there."""

    code = "rule_of_file"


class IdempotencyConflict(Conflict):
    """An ``Idempotency-Key`` that came before with another body."""

    code = "idempotency_conflict"


class AnswerRunning(Conflict):
    """A query of a chat whose agent is still answering the one before."""

    code = "answer_running"


class Gone(NotifierError):
    """It was there, and it is over."""

    code = "gone"


class RequestExpired(Gone):
    """Nobody decided in time."""

    code = "request_expired"


class RequestCancelled(Gone):
    """The agent went away, the session ended, or the service shut down."""

    code = "request_cancelled"


class MethodNotAllowed(NotifierError):
    """The path exists, the method does not."""

    code = "method_not_allowed"


class TooLarge(NotifierError):
    """An event or a body beyond its limit, in bytes."""

    code = "too_large"


class UnsupportedMediaType(NotifierError):
    """A body whose ``Content-Type`` the endpoint does not take."""

    code = "unsupported_media_type"


class LimitReached(NotifierError):
    """A bound of the settings is reached; ``limit`` names the setting.

    When to come back is a header of an answer; with ``is_told`` it is in the error too, for whom there is no header.
    """

    code = "limit_reached"

    def __init__(self, limit: str, message: str, *, retry_after_seconds: float = 1.0, is_told: bool = False) -> None:
        told = {"retry_after_seconds": round(retry_after_seconds, 3)} if is_told else {}
        super().__init__(message, limit=limit, **told)
        self.limit = limit
        self.retry_after_seconds = retry_after_seconds


class RulesNotKept(NotifierError):
    """A decision for always cannot be written down, so that it is none; the message says why."""

    code = "rules_not_kept"


class BrokerClosed(NotifierError):
    """The service is shutting down: nothing new begins."""

    code = "shutting_down"


class SessionClosed(BrokerClosed):
    """This session has ended; a new one of the same id starts with a new epoch."""

    code = "session_closed"


class NotRecorded(NotifierError):
    """What was to be decided or asked cannot be put on record, so it is not: the request stays as it is."""

    code = "not_recorded"


class NotDurable(NotRecorded):
    """What came cannot be kept over a restart at the moment, so nobody is told that it was taken."""

    code = "not_durable"


class CursorLost(NotifierError):
    """The log no longer (or never did) hold what the cursor asks for.

    ``requested``, ``oldest`` and ``newest`` are event ids, ``reason`` one of ``evicted``, ``epoch``,
    ``unknown`` and ``slow`` (contract section 2, ``gap``).
    """

    code = "gap"

    def __init__(self, *, requested: str, oldest: str, newest: str, reason: GapReason) -> None:
        super().__init__(f"The log does not hold what the cursor asks for ({reason}).")
        self.requested = requested
        self.oldest = oldest
        self.newest = newest
        self.reason: GapReason = reason


class NoBroker(NotifierError):
    """This process has no broker yet: call ``serve()`` or ``create_app(broker)`` first."""

    code = "no_broker"


class ToolDenied(NotifierError):
    """The tool did not run. The text says who or what denied it, and why.

    ``outcome`` is ``rejected`` (a person said no), ``policy``, ``expired`` (nobody answered in time),
    ``cancelled``, ``limit`` (too many pending), ``invalid`` (the parameters or the edit cannot be used) or
    ``unavailable`` (the service is closing). ``reason`` is a person's reason word for word, or None.
    """

    code = "tool_denied"

    def __init__(
        self,
        message: str,
        *,
        outcome: DenialOutcome,
        reason: str | None = None,
        request_id: str | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message, **details)
        self.outcome: DenialOutcome = outcome
        self.reason = reason
        self.request_id = request_id


class ServiceUnavailable(NotifierError):
    """The service does not answer at its address."""

    code = "service_unavailable"
    #: Whether it had taken the connection, so that it may come back.
    was_there = False


class ServiceUnproven(ServiceUnavailable):
    """Who listens at the address does not prove to be the service that is meant: nothing was sent to it."""

    code = "service_unproven"


class ServiceRefused(NotifierError):
    """The service answered with an error; ``code`` is its word, ``status`` the HTTP status."""

    def __init__(self, status: int, code: str, message: str, **details: Any) -> None:
        super().__init__(message, **details)
        self.status = status
        self.code = code  # type: ignore[misc]  # each answer brings its own
        #: How long the service wants to be left alone, if it says so.
        self.retry_after_seconds = 0.0


class ServiceRestarted(ServiceRefused):
    """The service was restarted while a person thought: it knows nothing of the request, and nothing was run for it."""
