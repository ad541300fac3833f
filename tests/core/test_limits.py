"""The numbers of contract section 10, as far as the core needs them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from notifier_service.core.limits import Limits


def test_defaults_are_those_of_the_contract() -> None:
    assert Limits().model_dump() == {
        "heartbeat_seconds": 15,
        "log_events": 1000,
        "log_bytes": 1024 * 1024,
        "max_total_log_bytes": 256 * 1024 * 1024,
        "session_idle_seconds": 600,
        "permission_timeout_seconds": 300,
        "max_event_bytes": 256 * 1024,
        "max_parameters_bytes": 16 * 1024 * 1024,
        "max_kept_parameters_bytes": 128 * 1024 * 1024,
        "stalled_seconds": 10,
        "decision_keep_seconds": 3600,
        "notify_after_seconds": 30,
        "shutdown_seconds": 2,
        "max_connections": 10_000,
        "max_connections_per_session": 100,
        "max_connections_per_subject": None,
        "max_connections_per_address": None,
        "max_sessions": 10_000,
        "max_sessions_per_subject": None,
        "max_pending": 10_000,
        "max_pending_lasting": 1000,
        "max_pending_per_session": 100,
        "history_events": 10_000,
        "history_bytes": 64 * 1024 * 1024,
        "ask_from_risk": "medium",
        "one_request_at_a_time": False,
        "require_request_id": False,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("heartbeat_seconds", 0),
        ("heartbeat_seconds", -1),
        ("heartbeat_seconds", 3601),
        ("heartbeat_seconds", float("nan")),
        ("heartbeat_seconds", float("inf")),
        ("log_events", 0),
        ("log_events", 1_000_001),
        ("log_events", 1.5),
        ("log_bytes", 16 * 1024 - 1),
        ("log_bytes", 1024**3 + 1),
        ("session_idle_seconds", 0),
        ("session_idle_seconds", float("inf")),
        ("permission_timeout_seconds", -0.1),
        ("permission_timeout_seconds", 30 * 86400 + 1),
        ("permission_timeout_seconds", float("nan")),
        ("max_event_bytes", 16 * 1024 - 1),
        ("stalled_seconds", 0),
        ("stalled_seconds", 3601),
        ("max_connections", 0),
        ("max_connections_per_session", 0),
        ("max_sessions", 0),
        ("max_pending_per_session", 0),
        ("history_events", 0),
        ("history_bytes", 16 * 1024 - 1),
        ("ask_from_risk", "critical"),
        ("ask_from_risk", None),
        ("one_request_at_a_time", "perhaps"),
    ],
)
def test_wrong_value_is_refused_by_the_name_of_its_setting(name: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        Limits(**{name: value})

    assert [error["loc"] for error in caught.value.errors()] == [(name,)]


def test_permission_timeout_of_zero_is_allowed() -> None:
    assert Limits(permission_timeout_seconds=0).permission_timeout_seconds == 0


def test_misspelt_name_is_refused() -> None:
    with pytest.raises(ValidationError, match="heartbeat_second\n"):
        Limits(heartbeat_second=1)  # type: ignore[call-arg]


def test_largest_event_must_fit_in_the_log() -> None:
    with pytest.raises(ValidationError, match="max_event_bytes must not be larger than log_bytes"):
        Limits(max_event_bytes=32 * 1024, log_bytes=32 * 1024 - 1)

    assert Limits(max_event_bytes=32 * 1024, log_bytes=32 * 1024).max_event_bytes == 32 * 1024


def test_limits_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Limits().log_events = 5  # type: ignore[misc]


def test_every_limit_says_what_it_is_for() -> None:
    assert [name for name, field in Limits.model_fields.items() if not field.description] == []


def test_the_largest_parameters_fit_the_half_that_one_caller_has() -> None:
    with pytest.raises(ValidationError, match="max_parameters_bytes must not be larger than half"):
        Limits(max_parameters_bytes=1_000_001, max_kept_parameters_bytes=2_000_000)
