"""What a session is told of one call, in the same words whoever makes the call."""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..core.errors import BrokerClosed, NotifierError, ToolDenied
from ..core.events import CallDetails, EventData, Status, ToolProgress, ToolResult, ToolStatus, utc_now
from ..core.limits import RiskLevel
from .results import shown_error, shown_parameters, shown_result

__all__ = ["Report", "Tell", "new_call_id", "number", "usable_name"]

_log = logging.getLogger("notifier_service.calls")

_MAX_MESSAGE = 4096

Tell = Callable[[str, EventData], object]


def new_call_id() -> str:
    """An id for a call that came without one: calls of one session run side by side."""
    return "call_" + secrets.token_urlsafe(12)


def usable_name(name: Any) -> str | None:
    """What another program calls a tool or a call, where people can be told it as that."""
    return name if isinstance(name, str) and 1 <= len(name) <= 256 and name.isprintable() else None


class Report:
    """Tells a session that a call runs, how far it is, what it gave and how it ended: each once, and in this order.

    ``tell`` publishes an event. What it raises comes out of ``executing``, because what cannot be announced does not
    run; later it is logged, because it must not change what the caller of a tool gets. ``risk_level`` and
    ``tool_call_id`` may be set as long as nothing was told. ``agent_call_id`` is how the agent itself calls the call.
    """

    def __init__(
        self,
        tell: Tell,
        tool_name: str,
        risk_level: RiskLevel,
        tool_call_id: str | None,
        *,
        max_event_bytes: int,
        agent_call_id: str | None = None,
    ) -> None:
        self.tool_name = tool_name
        self.risk_level: RiskLevel = risk_level
        self.tool_call_id = tool_call_id
        #: Whether the end was told.
        self.is_over = False
        self._tell = tell
        self._agent_call_id = agent_call_id
        self._max_event_bytes = max_event_bytes
        self._began = time.monotonic()
        self._runs = False

    @property
    def is_running(self) -> bool:
        """Whether it was told that it runs, and not how it ended."""
        return self._runs and not self.is_over

    @property
    def elapsed_ms(self) -> float:
        """How long it has run, or waited if it does not run."""
        return round((time.monotonic() - self._began) * 1000, 3)

    def waits(self) -> None:
        """A person is asked about it: that it runs is told when it does, even if that was told before."""
        self._runs = False

    def executing(
        self, parameters: Mapping[str, Any], *, whole_bytes: int | None = None, description: str | None = None
    ) -> None:
        """Tell that it runs, with what; ``whole_bytes`` where the parameters are what is left of so many."""
        if self._runs or self.is_over:
            return
        self._runs = True
        self._began = time.monotonic()
        max_bytes = self._max_event_bytes if whole_bytes is None else 0
        shown = shown_parameters(parameters, max_bytes=max_bytes, whole_bytes=whole_bytes)
        self._tell("tool_status", self._status("executing", **shown, description=description, start_time=utc_now()))

    def progress(self, progress: Any, total: Any = None, message: Any = None) -> None:
        """Tell how far it is. What is no number is not told."""
        done = number(progress)
        if done is None or not self._runs or self.is_over or self.tool_call_id is None:
            return
        event = ToolProgress(
            tool_name=self.tool_name,
            tool_call_id=self.tool_call_id,
            progress=done,
            total=number(total),
            message=_message(message) if isinstance(message, str) else None,
        )
        self._try_to_tell("tool_progress", event)

    def result(
        self,
        result: Any,
        *,
        success: bool,
        status: Status | None = None,
        error: BaseException | str | None = None,
        duration_ms: float | None = None,
        whole_bytes: int | None = None,
        answered_by: str | None = None,
    ) -> None:
        """Tell what it gave, and that it has ended thereby: as ``status``, if it is not plainly completed or failed."""
        if self.is_over:
            return
        error = None if error is None else shown_error(error)
        event = ToolResult(
            tool_name=self.tool_name,
            success=success,
            error=error,
            duration_ms=duration_ms,
            tool_call_id=self.tool_call_id,
            **shown_result(result, max_bytes=self._max_event_bytes, whole_bytes=whole_bytes),
        )
        self._try_to_tell("tool_result", event)
        if status is None:
            status = "completed" if success else "failed"
        self.ended(
            status,
            error=error if status == "failed" else None,
            duration_ms=duration_ms,
            answered_by=answered_by,
        )

    def answered(self, response: str | None, decided_by: str | None) -> None:
        """Tell that a person answered in the tool's place."""
        self.result(response, success=True, duration_ms=self.elapsed_ms, answered_by=decided_by)

    def denied(self, denial: ToolDenied) -> None:
        """Tell that it does not run."""
        self._not_run("denied", denial)

    def withdrawn(self, denial: ToolDenied) -> None:
        """Tell that it does not run because whoever made it left, or took it back, while a person was asked."""
        self._not_run("cancelled", denial)

    def cancelled(self) -> None:
        """Tell that whoever made it took it back."""
        if self._runs:
            self.ended("cancelled", duration_ms=self.elapsed_ms)
        else:
            text = f"{self.tool_name} did not run: the request was cancelled because the call was cancelled."
            self.withdrawn(ToolDenied(text, outcome="cancelled"))

    def ended(self, status: Status, **details: Any) -> None:
        """Tell how it ended, with more of the details."""
        if not self.is_over:
            self.is_over = True
            self._try_to_tell("tool_status", self._status(status, **details))

    def _not_run(self, status: Status, denial: ToolDenied) -> None:
        self.ended(status, outcome=denial.outcome, reason=str(denial), request_id=denial.request_id, **denial.details)

    def _status(self, status: Status, **details: Any) -> ToolStatus:
        return ToolStatus(
            status=status,
            tool_name=self.tool_name,
            tool_call_id=self.tool_call_id,
            details=CallDetails(risk_level=self.risk_level, agent_call_id=self._agent_call_id, **details),
        )

    def _try_to_tell(self, event_type: str, event: EventData) -> None:
        try:
            self._tell(event_type, event)
        except BrokerClosed:
            _log.debug("%s of %s comes after the end of its session", event_type, self.tool_name)
        except NotifierError as error:
            _log.warning("%s of %s was not published: %s", event_type, self.tool_name, error)


def _message(text: str) -> str:
    """As much of it as an event holds; halves of characters, as in the names of some files, as escapes."""
    return text[:_MAX_MESSAGE].encode("utf-8", "backslashreplace").decode()[:_MAX_MESSAGE]


def number(value: Any) -> float | None:
    """The value if it is a number that an event can carry."""
    if isinstance(value, bool | str | bytes):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
