"""Errors: each names a state of the world, and its code is a stable word of the wire."""

from __future__ import annotations

import re

import pytest

from notifier_service.core import errors
from notifier_service.core.errors import (
    CursorLost,
    InvalidSessionId,
    LimitReached,
    NotifierError,
    ServiceRefused,
    SessionNotFound,
    ToolDenied,
)

CODES = {
    "AlreadyClaimed": "already_claimed",
    "AlreadyDecided": "already_decided",
    "AmbiguousRequest": "ambiguous_request",
    "AnswerRunning": "answer_running",
    "BrokerClosed": "shutting_down",
    "Conflict": "conflict",
    "CursorLost": "gap",
    "DecisionNotOffered": "decision_not_offered",
    "EditDenied": "edit_denied",
    "Forbidden": "forbidden",
    "Gone": "gone",
    "IdempotencyConflict": "idempotency_conflict",
    "InvalidInput": "invalid",
    "InvalidSessionId": "invalid",
    "LimitReached": "limit_reached",
    "MethodNotAllowed": "method_not_allowed",
    "NoBroker": "no_broker",
    "NotFound": "not_found",
    "NotApproved": "not_approved",
    "NotDurable": "not_durable",
    "NotRecorded": "not_recorded",
    "ParametersChanged": "parameters_changed",
    "ParametersUnread": "parameters_unread",
    "RequestCancelled": "request_cancelled",
    "RequestExpired": "request_expired",
    "RequestNotFound": "request_not_found",
    "RuleNotFound": "rule_not_found",
    "RuleOfFile": "rule_of_file",
    "RulesNotKept": "rules_not_kept",
    "SelfApproval": "self_approval",
    "ServiceUnavailable": "service_unavailable",
    "ServiceUnproven": "service_unproven",
    "SessionClosed": "session_closed",
    "SessionNotFound": "session_not_found",
    "TooLarge": "too_large",
    "ToolDenied": "tool_denied",
    "Unauthenticated": "unauthenticated",
    "UnsupportedMediaType": "unsupported_media_type",
}


def classes(base: type[NotifierError] = NotifierError) -> dict[str, type[NotifierError]]:
    """The errors of the module, by name, the base itself left out."""
    found: dict[str, type[NotifierError]] = {}
    for error in base.__subclasses__():
        if error.__module__ == errors.__name__:
            found |= {error.__name__: error, **classes(error)}
    return found


def drawn_tree() -> dict[str, tuple[str, str]]:
    """Name to (parent, code), as the module's docstring draws it."""
    tree: dict[str, tuple[str, str]] = {}
    above = ["NotifierError"]
    for line in (errors.__doc__ or "").splitlines():
        if found := re.search(r"[├└]── (\w+) +(\w+|\(.+?\))(?: |$)", line):
            depth = (found.start() - 4) // 4
            above[depth + 1 :] = [found[1]]
            tree[found[1]] = (above[depth], found[2])
    return tree


def test_tree_drawn_in_the_docstring_is_the_tree_of_the_classes() -> None:
    drawn = {name: parent for name, (parent, _) in drawn_tree().items()}

    assert drawn == {name: error.__base__.__name__ for name, error in classes().items() if error.__base__}


def test_codes_drawn_in_the_docstring_are_the_codes_of_the_classes() -> None:
    drawn = {name: code for name, (_, code) in drawn_tree().items()}

    assert drawn.pop("ServiceRefused") == drawn.pop("ServiceRestarted") == "(as the service says)"
    assert drawn == {name: error.code for name, error in classes().items() if not issubclass(error, ServiceRefused)}


def test_codes_never_change() -> None:
    assert {name: error.code for name, error in classes().items() if not issubclass(error, ServiceRefused)} == CODES


def test_code_belongs_to_one_class_only() -> None:
    own = [error.code for error in classes().values() if "code" in vars(error)]

    assert len(own) == len(set(own))
    assert {name for name, error in classes().items() if "code" not in vars(error)} == {
        "InvalidSessionId",
        "ServiceRefused",
        "ServiceRestarted",
    }


@pytest.mark.parametrize("code", sorted({*CODES.values(), NotifierError.code}))
def test_code_is_a_plain_word(code: str) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)


def test_module_exports_every_error() -> None:
    assert {"NotifierError", "AuthFailure", "GapReason", *classes()} == set(errors.__all__)


def test_error_carries_its_message_and_details() -> None:
    error = SessionNotFound("No session of that id is open.", session_id="s")

    assert str(error) == error.message == "No session of that id is open."
    assert error.details == {"session_id": "s"}


def test_invalid_session_id_is_caught_as_invalid_input() -> None:
    assert InvalidSessionId("x").code == "invalid"
    assert isinstance(InvalidSessionId("x"), errors.InvalidInput)


def test_reached_limit_names_the_setting_and_when_to_come_back() -> None:
    error = LimitReached("max_sessions", "full", retry_after_seconds=3)

    assert (error.limit, error.retry_after_seconds, error.message) == ("max_sessions", 3, "full")
    assert error.details == {"limit": "max_sessions"}
    assert LimitReached("max_sessions", "full").retry_after_seconds == 1.0


def test_lost_cursor_tells_what_the_log_still_holds() -> None:
    error = CursorLost(requested="e-1", oldest="e-5", newest="e-9", reason="evicted")

    assert (error.requested, error.oldest, error.newest, error.reason) == ("e-1", "e-5", "e-9", "evicted")
    assert error.message == "The log does not hold what the cursor asks for (evicted)."


def test_denied_tool_tells_who_denied_it_and_why() -> None:
    error = ToolDenied("Ana said no.", outcome="rejected", reason="too dangerous", request_id="pr_1")

    assert (error.outcome, error.reason, error.request_id) == ("rejected", "too dangerous", "pr_1")
    assert str(error) == "Ana said no."


def test_refusal_of_the_service_carries_the_code_of_the_service() -> None:
    error = ServiceRefused(409, "ambiguous_request", "say which", pending=[])

    assert (error.status, error.code, error.message) == (409, "ambiguous_request", "say which")
    assert error.details == {"pending": []}
    assert ServiceRefused.code == "error"
