"""What a session knows of the present: the last status, the last result, and the calls that run or wait."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from .events import PermissionRecord, RunningCall, Snapshot, ToolProgress, ToolResult, ToolStatus, made

__all__ = ["NOTHING", "OVER", "SessionState"]

OVER = frozenset({"completed", "failed", "denied", "cancelled"})


class _Call(NamedTuple):
    """A call that runs or waits, as its events told of it, and how large these were."""

    status: ToolStatus
    status_bytes: int
    progress: ToolProgress | None
    progress_bytes: int

    @property
    def size(self) -> int:
        return self.status_bytes + self.progress_bytes

    @property
    def running(self) -> RunningCall:
        return made(RunningCall, {**self.status.__dict__, "progress": self.progress})


@lru_cache(maxsize=256)
def _followed(kind: type) -> type | None:
    """What leaves a state of which this is a kind; to ask a model's class whose it is takes long."""
    return next((each for each in (ToolStatus, ToolProgress, ToolResult) if issubclass(kind, each)), None)


class SessionState:
    """The state that the events of a log add up to: of running calls at most so many, the newest, and bytes of them.

    With them counts what was started and has an unknown end.
    """

    __slots__ = (
        "_max_bytes",
        "_max_calls",
        "_result_bytes",
        "_running",
        "_running_bytes",
        "_status_bytes",
        "tool_result",
        "tool_status",
    )

    def __init__(self, max_calls: int, max_bytes: int) -> None:
        self.tool_status: ToolStatus | None = None
        self.tool_result: ToolResult | None = None
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._running: OrderedDict[str, _Call] | None = None
        self._running_bytes = 0
        self._status_bytes = 0
        self._result_bytes = 0

    @property
    def size_bytes(self) -> int:
        """About how many bytes it takes as it travels."""
        return self._running_bytes + self._status_bytes + self._result_bytes

    @property
    def has_running(self) -> bool:
        """Whether a call has begun, or waits, and has not ended."""
        return bool(self._running)

    def follow(self, data: object, size: int) -> type | None:
        """Bring the state up to date with the data of an event of this size.

        Return which it was: ``ToolStatus``, ``ToolProgress`` or ``ToolResult``; None for what leaves no state.
        """
        kind = _followed(type(data))  # type: ignore[arg-type]  # every type is hashable
        if kind is ToolStatus:
            self._follow_call(data, size)  # type: ignore[arg-type]  # as the next two, by its kind
        elif kind is ToolProgress:
            self._follow_progress(data, size)  # type: ignore[arg-type]
        elif kind is ToolResult:
            self.tool_result = data  # type: ignore[assignment]
            self._result_bytes = size
        return kind

    def clear_result(self) -> None:
        """Forget the last result."""
        self.tool_result = None
        self._result_bytes = 0

    @property
    def waiting(self) -> Sequence[ToolStatus]:
        """The calls about which a person is asked."""
        return [call.status for call in self._calls if call.status.status == "waiting_permission"]

    def snapshot(self, last_event_id: str, pending: Sequence[PermissionRecord]) -> Snapshot:
        """The state as it travels, with the requests that wait for a person, oldest first."""
        return Snapshot(
            last_event_id=last_event_id,
            tool_status=self.tool_status,
            permission_request=pending[0] if pending else None,
            permission_requests=tuple(pending),
            tool_result=self.tool_result,
            running=tuple(call.running for call in self._calls if not call.status.is_end_unknown),
            end_unknown=tuple(call.running for call in self._calls if call.status.is_end_unknown) or None,
        )

    @property
    def _calls(self) -> Sequence[_Call]:
        return () if self._running is None else tuple(self._running.values())

    def _follow_call(self, status: ToolStatus, size: int) -> None:
        self.tool_status = status
        self._status_bytes = size
        key = status.tool_call_id or f"\0{status.tool_name}"
        before = self._forgotten(key)
        if status.status not in OVER or status.is_end_unknown:
            told = (None, 0) if before is None else (before.progress, before.progress_bytes)
            self._keep(key, _Call(status, size, *told))

    def _follow_progress(self, progress: ToolProgress, size: int) -> None:
        before = self._forgotten(progress.tool_call_id)
        if before is not None:
            self._keep(progress.tool_call_id, _Call(before.status, before.status_bytes, progress, size))

    def _forgotten(self, key: str) -> _Call | None:
        call = None if self._running is None else self._running.pop(key, None)
        if call is not None:
            self._running_bytes -= call.size
        return call

    def _keep(self, key: str, call: _Call) -> None:
        if self._running is None:
            self._running = OrderedDict()
        self._running[key] = call
        self._running_bytes += call.size
        while len(self._running) > self._max_calls or self._running_bytes > self._max_bytes:
            self._running_bytes -= self._running.popitem(last=False)[1].size


#: Where nothing has been told yet; nobody's own, so that nothing may be told it.
NOTHING = SessionState(0, 0)
