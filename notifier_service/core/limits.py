"""The numbers that bound the core: contract section 10, without reading any environment."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["MAX_TIMEOUT_SECONDS", "Limits", "RiskLevel"]

RiskLevel = Literal["low", "medium", "high"]

#: The longest that a person may be given, by a setting or by who asks.
MAX_TIMEOUT_SECONDS = 30 * 86400


class Limits(BaseModel):
    """What the broker may hold and how long it waits; frozen, every field with its reason."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", allow_inf_nan=False)

    heartbeat_seconds: float = Field(
        default=15,
        gt=0,
        le=3600,
        description="Silence on a stream before a heartbeat is sent; proxies cut at 30 to 60 s.",
    )
    log_events: int = Field(default=1000, ge=1, le=1_000_000, description="Events that the log of one session keeps.")
    log_bytes: int = Field(
        default=1024 * 1024, ge=16 * 1024, le=1024**3, description="Bytes of events that the log of one session keeps."
    )
    max_total_log_bytes: int = Field(
        default=256 * 1024 * 1024,
        ge=16 * 1024,
        description="Bytes of all logs together: those of sessions unused for longest shrink, then these give way.",
    )
    session_idle_seconds: float = Field(
        default=600,
        gt=0,
        description="A session without viewer, pending request and traffic is dropped after this long.",
    )
    permission_timeout_seconds: float = Field(
        default=300,
        ge=0,
        le=MAX_TIMEOUT_SECONDS,
        description="A permission request nobody answers is denied after this; 0 is never.",
    )
    max_event_bytes: int = Field(default=256 * 1024, ge=16 * 1024, description="The largest event, encoded.")
    max_parameters_bytes: int = Field(
        default=16 * 1024 * 1024,
        ge=1024,
        description="The largest parameters of a permission request; events carry the beginning of large ones.",
    )
    max_kept_parameters_bytes: int = Field(
        default=128 * 1024 * 1024,
        ge=2048,
        description="Parameters too large for events, kept over all sessions; one caller or session has half at most.",
    )
    stalled_seconds: float = Field(
        default=10, gt=0, le=3600, description="A peer that takes no byte for so long is cut."
    )
    shutdown_seconds: float = Field(
        default=2,
        gt=0,
        le=300,
        description="From SIGTERM to exit, with streams open; readers come back later than that.",
    )
    max_connections: int = Field(
        default=10_000, ge=1, description="Live streams of the whole process, and requests whose answers wait."
    )
    max_connections_per_subject: int | None = Field(
        default=None, ge=1, description="Live streams of one subject; without, as many as leave others room."
    )
    max_connections_per_address: int | None = Field(
        default=None, ge=1, description="Live streams of one address, an IPv6 one up to its /64; without, no bound."
    )
    max_connections_per_session: int = Field(default=100, ge=1, description="Live streams of one session.")
    max_sessions: int = Field(default=10_000, ge=1, description="Sessions open at once.")
    max_sessions_per_subject: int | None = Field(
        default=None, ge=1, description="Sessions that one subject has opened; without, as many as leave others room."
    )
    max_pending_per_session: int = Field(
        default=100, ge=1, description="Permission requests pending in one session; more are denied."
    )
    max_pending: int = Field(default=10_000, ge=1, description="Permission requests pending in all sessions.")
    max_pending_lasting: int = Field(
        default=1000,
        ge=1,
        description="Of those, the ones that do not expire within a day; in one session, half of what may be pending.",
    )
    ask_from_risk: RiskLevel = Field(
        default="medium", description="The lowest risk level that asks a person: low asks always."
    )
    history_events: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Settled permission requests that are remembered, in all."
    )
    history_bytes: int = Field(default=64 * 1024 * 1024, ge=16 * 1024, description="Bytes of them, as they are shown.")
    decision_keep_seconds: float = Field(
        default=3600,
        gt=0,
        le=MAX_TIMEOUT_SECONDS,
        description="With a journal, a decision that nobody has collected is kept for so long.",
    )
    notify_after_seconds: float = Field(
        default=30,
        ge=0,
        le=MAX_TIMEOUT_SECONDS,
        description="People who do not look are called about a request that nobody has answered for so long.",
    )
    one_request_at_a_time: bool = Field(
        default=False,
        description="Later requests of a session wait unannounced until the first is settled, for clients that "
        "answer without a request_id.",
    )

    require_request_id: bool = Field(
        default=False, description="A decision without a request_id is refused, however many requests are pending."
    )

    @model_validator(mode="after")
    def _an_event_fits_its_log(self) -> Self:
        if self.max_event_bytes > self.log_bytes:
            raise ValueError("max_event_bytes must not be larger than log_bytes")
        if self.log_bytes > self.max_total_log_bytes:
            raise ValueError("log_bytes must not be larger than max_total_log_bytes")
        if self.max_parameters_bytes > self.max_kept_parameters_bytes // 2:
            raise ValueError("max_parameters_bytes must not be larger than half of max_kept_parameters_bytes")
        return self
