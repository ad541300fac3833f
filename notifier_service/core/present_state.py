"""What a session knows of the present: the last status, the last result, and the calls that run or wait."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from .events import PermissionRecord, RunningCall, Snapshot, ToolProgress, ToolResult, ToolStatus, dump

__all__ = ["OVER", "SessionState"]

OVER = frozenset({"completed", "failed", "denied", "cancelled"})


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
        self._running: OrderedDict[str, tuple[RunningCall, int]] | None = None
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

    def follow(self, data: object, size: int = 0) -> None:
        """Bring the state up to date with the data of an event of this size; what leaves none is passed over."""
        if isinstance(data, ToolStatus):
            self.tool_status = data
            self._status_bytes = size
            self._follow_call(data)
        elif isinstance(data, ToolProgress):
            before = self._forgotten(data.tool_call_id)
            if before is not None:
                self._keep(data.tool_call_id, before.model_copy(update={"progress": data}))
        elif isinstance(data, ToolResult):
            self.tool_result = data
            self._result_bytes = size

    def clear_result(self) -> None:
        """Forget the last result."""
        self.tool_result = None
        self._result_bytes = 0

    @property
    def waiting(self) -> Sequence[RunningCall]:
        """The calls about which a person is asked."""
        return [call for call in self._calls if call.status == "waiting_permission"]

    def snapshot(self, last_event_id: str, pending: Sequence[PermissionRecord]) -> Snapshot:
        """The state as it travels, with the requests that wait for a person, oldest first."""
        return Snapshot(
            last_event_id=last_event_id,
            tool_status=self.tool_status,
            permission_request=pending[0] if pending else None,
            permission_requests=tuple(pending),
            tool_result=self.tool_result,
            running=tuple(call for call in self._calls if not call.is_end_unknown),
            end_unknown=tuple(call for call in self._calls if call.is_end_unknown) or None,
        )

    @property
    def _calls(self) -> Sequence[RunningCall]:
        return () if self._running is None else [call for call, _ in self._running.values()]

    def _follow_call(self, status: ToolStatus) -> None:
        key = status.tool_call_id or f"\0{status.tool_name}"
        before = self._forgotten(key)
        if status.status not in OVER or status.is_end_unknown:
            progress = before.progress if before is not None else None
            self._keep(key, RunningCall.model_construct(**{**status.__dict__, "progress": progress}))

    def _forgotten(self, key: str) -> RunningCall | None:
        call, size = (None, 0) if self._running is None else self._running.pop(key, (None, 0))
        self._running_bytes -= size
        return call

    def _keep(self, key: str, call: RunningCall) -> None:
        size = len(dump(call))
        if self._running is None:
            self._running = OrderedDict()
        self._running[key] = (call, size)
        self._running_bytes += size
        while len(self._running) > self._max_calls or self._running_bytes > self._max_bytes:
            self._running_bytes -= self._running.popitem(last=False)[1][1]
