"""Which request is being handled, and in which trace: for the lines of a log, and for what is asked meanwhile."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = ["checked_traceparent", "fields_of", "handled", "handling", "in_trace", "traceparent_now"]

#: W3C Trace Context: version, trace, parent, flags; a later version may have more behind them.
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII
)


@dataclass(slots=True)
class _Handled:
    tell: Callable[[], tuple[str | None, str | None]]
    #: Tasks and timers that began meanwhile may go on for longer, and are about something else then.
    is_over: bool = False


_HANDLED: ContextVar[_Handled | None] = ContextVar("notifier_service_handled", default=None)
_TRACE: ContextVar[str | None] = ContextVar("notifier_service_trace", default=None)


@contextmanager
def handling(tell: Callable[[], tuple[str | None, str | None]]) -> Iterator[None]:
    """Everything in here, and in the tasks that begin in here, belongs to a request; ``tell`` its id and its trace."""
    here = _Handled(tell)
    before = _HANDLED.set(here)
    try:
        yield
    finally:
        here.is_over = True
        _HANDLED.reset(before)


@contextmanager
def in_trace(traceparent: str | None) -> Iterator[None]:
    """Everything in here belongs to this trace, unless it is None."""
    before = _TRACE.set(traceparent or _TRACE.get())
    try:
        yield
    finally:
        _TRACE.reset(before)


def handled() -> tuple[str | None, str | None]:
    """The id and the trace of the request that is being handled."""
    here = _HANDLED.get()
    return (None, None) if here is None or here.is_over else here.tell()


def fields_of(request_id: str | None, traceparent: str | None) -> dict[str, object]:
    """What a line of the log says of a request and its trace."""
    fields: dict[str, object] = {} if request_id is None else {"request_id": request_id}
    if traceparent is not None:
        _, fields["trace_id"], fields["span_id"], _ = traceparent.split("-")
    return fields


def traceparent_now() -> str | None:
    """The trace in which this is done: that of the request, or of the program, where it uses OpenTelemetry."""
    return _TRACE.get() or handled()[1] or _of_opentelemetry()


def checked_traceparent(came: object) -> str | None:
    """A ``traceparent`` in the form of version 00; None for what is not valid."""
    found = _TRACEPARENT.fullmatch(came) if isinstance(came, str) and len(came) <= 512 else None
    if found is None or (found[1] == "00" and found[5] is not None):
        return None
    return f"00-{found[2]}-{found[3]}-{found[4]}"


def _of_opentelemetry() -> str | None:
    api = sys.modules.get("opentelemetry.trace")  # who has not loaded it is in no trace of it
    if api is None:
        return None
    try:
        span = api.get_current_span().get_span_context()
        return checked_traceparent(f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}")
    except (AttributeError, TypeError, ValueError):
        return None
