"""Settings come from arguments, the environment and ``.env``, and wrong ones are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from notifier_service import Limits, Settings
from notifier_service.settings import is_loopback


def problems(error: ValidationError) -> list[str]:
    return [".".join(map(str, problem["loc"])) for problem in error.errors()]


def test_defaults_are_those_of_the_contract() -> None:
    assert Settings().model_dump() == {
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
        "max_connections": 10_000,
        "max_connections_per_subject": None,
        "max_connections_per_address": None,
        "max_connections_per_session": 100,
        "max_sessions": 10_000,
        "max_sessions_per_subject": None,
        "max_pending_per_session": 100,
        "max_pending": 10_000,
        "max_pending_lasting": 1000,
        "history_events": 10_000,
        "history_bytes": 64 * 1024 * 1024,
        "ask_from_risk": "medium",
        "one_request_at_a_time": False,
        "require_request_id": False,
        "decision_keep_seconds": 3600,
        "notify_after_seconds": 30,
        "host": "127.0.0.1",
        "port": 8000,
        "unix": None,
        "unix_mode": "660",
        "prefix": "/agent_backend",
        "auth": "none",
        "agent": None,
        "tokens_file": None,
        "jwt_algorithms": (),
        "jwt_key_file": None,
        "jwt_jwks_file": None,
        "jwt_audience": None,
        "jwt_issuer": None,
        "allowed_origins": (),
        "allowed_hosts": (),
        "trusted_proxies": (),
        "max_body_bytes": 1024 * 1024,
        "max_idempotency_bytes": 32 * 1024 * 1024,
        "publish_rate": None,
        "decide_rate": None,
        "connect_rate": None,
        "max_idle_connections": 500,
        "first_request_seconds": 10,
        "drain_seconds": 0,
        "producer_idle_seconds": 600,
        "mcp_upstreams": {},
        "mcp_task_seconds": 20,
        "audit_file": None,
        "audit_required": True,
        "audit_rotate_bytes": 64 * 1024 * 1024,
        "audit_rotate_days": 30,
        "audit_keep_days": 183,
        "audit_key_file": None,
        "audit_heads_to": None,
        "redact_keys": (),
        "journal": None,
        "journal_sync": "full",
        "public_url": None,
        "webhooks": (),
        "webhook_networks": (),
        "push_file": None,
        "devices_file": None,
        "push_contact": None,
        "quiet_hours": None,
        "escalate": (),
        "policy_file": None,
        "learned_rules_file": None,
        "shutdown_seconds": 2,
        "log_level": "info",
        "log_format": "text",
    }


def test_every_setting_says_what_it_is_for() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_settings_are_limits_that_a_broker_takes() -> None:
    assert isinstance(Settings(), Limits)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


def test_variables_of_the_environment_are_read_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER_PORT", "8123")
    monkeypatch.setenv("notifier_one_request_at_a_time", "true")

    settings = Settings()

    assert (settings.port, settings.one_request_at_a_time) == (8123, True)


def test_an_argument_wins_over_the_environment_and_that_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("NOTIFIER_PORT=1\nNOTIFIER_LOG_EVENTS=11\nNOTIFIER_PREFIX=/file\n", encoding="utf-8")
    monkeypatch.setenv("NOTIFIER_PORT", "2")
    monkeypatch.setenv("NOTIFIER_LOG_EVENTS", "22")

    settings = Settings(_env_file=".env", port=3)

    assert (settings.port, settings.log_events, settings.prefix) == (3, 22, "/file")


def test_a_file_that_nobody_named_is_not_read() -> None:
    Path(".env").write_text("NOTIFIER_ASK_FROM_RISK=high\nNOTIFIER_AGENT=theirs:answer\n", encoding="utf-8")

    assert Settings() == Settings(ask_from_risk="medium", agent=None)


def test_a_file_shared_with_other_programs_is_judged_by_its_own_lines_only() -> None:
    Path(".env").write_text("OTHER_PORT=x\nDATABASE_URL=y\nNOTIFIER_PORT=8124\n", encoding="utf-8")

    assert Settings(_env_file=".env").port == 8124


@pytest.mark.parametrize("name", ["NOTIFIER_PROT", "NOTIFIER_", "notifier_prot"])
def test_a_misspelt_variable_is_refused_by_its_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "8000")

    with pytest.raises(ValidationError) as refused:
        Settings()

    assert problems(refused.value) == [name.upper()]


def test_a_misspelt_line_of_the_file_is_refused_by_its_name() -> None:
    Path(".env").write_text("NOTIFIER_PROT=8000\n", encoding="utf-8")

    with pytest.raises(ValidationError) as refused:
        Settings(_env_file=".env")

    assert problems(refused.value) == ["NOTIFIER_PROT"]


def test_variables_of_the_client_commands_are_none_of_the_services_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER_URL", "http://127.0.0.1:1/x")
    monkeypatch.setenv("NOTIFIER_TOKEN", "secret")

    assert Settings() == Settings(port=8000)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", -1),
        ("port", 65536),
        ("port", "abc"),
        ("host", ""),
        ("prefix", "no_slash"),
        ("prefix", "/a//b"),
        ("prefix", "/a b"),
        ("prefix", "/{session}"),
        ("prefix", "/a?b"),
        ("prefix", "/a#b"),
        ("prefix", "/a%2fb"),
        ("prefix", "/a\\b"),
        ("auth", "basic"),
        ("jwt_algorithms.0", "none"),
        ("jwt_algorithms.0", "HS512"),
        ("jwt_algorithms.0", "hs256"),
        ("jwt_algorithms.1", "RS256,PS256"),
        ("jwt_audience", ""),
        ("jwt_issuer", ""),
        ("log_level", "loud"),
        ("heartbeat_seconds", 0),
        ("heartbeat_seconds", float("nan")),
        ("session_idle_seconds", float("inf")),
        ("shutdown_seconds", 0),
        ("shutdown_seconds", 301),
        ("permission_timeout_seconds", -1),
        ("log_events", 0),
        ("log_bytes", 1024),
        ("max_event_bytes", 1024),
        ("max_body_bytes", 1023),
        ("stalled_seconds", 0),
        ("max_connections", 0),
        ("max_connections_per_session", 0),
        ("max_sessions", 0),
        ("max_pending_per_session", 0),
        ("ask_from_risk", "extreme"),
        ("one_request_at_a_time", "sometimes"),
        ("no_such_setting", 1),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**{name.partition(".")[0]: value})

    assert problems(refused.value) == [name]


def test_a_largest_event_that_no_log_holds_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_event_bytes must not be larger than log_bytes"):
        Settings(max_event_bytes=64 * 1024, log_bytes=32 * 1024)


@pytest.mark.parametrize(
    ("given", "kept"), [("/x", "/x"), ("/x/", "/x"), ("/a/b_c-d.e~f", "/a/b_c-d.e~f"), ("/", ""), ("", "")]
)
def test_a_prefix_is_kept_without_its_last_slash(given: str, kept: str) -> None:
    assert Settings(prefix=given).prefix == kept


def test_a_public_address_without_tokens_is_refused_and_told_what_to_set() -> None:
    with pytest.raises(ValidationError, match=r"auth=none is allowed only on a loopback address.*tokens_file"):
        Settings(host="0.0.0.0")


def test_a_public_address_with_tokens_is_taken() -> None:
    settings = Settings(host="0.0.0.0", auth="tokens", tokens_file=Path("tokens.json"))

    assert (settings.host, settings.tokens_file) == ("0.0.0.0", Path("tokens.json"))


def test_tokens_without_a_file_of_them_are_refused() -> None:
    with pytest.raises(ValidationError, match="auth=tokens needs a tokens_file"):
        Settings(auth="tokens")


JWT: dict[str, Any] = {"auth": "jwt", "jwt_algorithms": "ES256", "jwt_key_file": Path("key.pem")}


def test_signed_tokens_are_taken_on_a_public_address() -> None:
    settings = Settings(host="0.0.0.0", **JWT)

    assert (settings.auth, settings.jwt_algorithms, settings.jwt_key_file) == ("jwt", ("ES256",), Path("key.pem"))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"jwt_key_file": None}, "auth=jwt needs either a jwt_key_file or a jwt_jwks_file"),
        ({"jwt_jwks_file": Path("keys.json")}, "auth=jwt needs either a jwt_key_file or a jwt_jwks_file"),
        ({"jwt_algorithms": ()}, "auth=jwt needs jwt_algorithms: HS256, RS256, ES256 or EdDSA"),
        ({"jwt_algorithms": " , "}, "auth=jwt needs jwt_algorithms: HS256, RS256, ES256 or EdDSA"),
        ({"jwt_algorithms": "HS256,RS256"}, "HS256 shares a secret and goes with no other algorithm"),
        ({"jwt_algorithms": "EdDSA,HS256"}, "HS256 shares a secret and goes with no other algorithm"),
    ],
)
def test_signed_tokens_need_one_kind_of_key_and_its_algorithms(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**{**JWT, **changed})

    [problem] = refused.value.errors()
    assert problem["msg"].endswith(why)


def test_algorithms_and_files_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER_AUTH", "jwt")
    monkeypatch.setenv("NOTIFIER_JWT_ALGORITHMS", "RS256, EdDSA,")
    monkeypatch.setenv("NOTIFIER_JWT_JWKS_FILE", "keys.json")

    settings = Settings()

    assert (settings.jwt_algorithms, settings.jwt_jwks_file) == (("RS256", "EdDSA"), Path("keys.json"))


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.1", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("", False),
    ],
)
def test_only_addresses_of_this_machine_are_loopback(host: str, answer: bool) -> None:
    assert is_loopback(host) is answer
