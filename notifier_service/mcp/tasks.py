"""Tasks: what a client that takes them gets in place of an answer which a person has yet to allow (SEP-2663).

Nothing here reads or writes, nor knows what a task does. The tasks of a server behind a gateway stay the server's.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine, Hashable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from .message import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    TASKS,
    Message,
    MessageId,
    answerable,
    error_answer,
    result_answer,
    takes_tasks,
    written,
)

__all__ = ["AFTER_SECONDS", "Passed", "Reply", "Task", "Tasks", "Work"]

_log = logging.getLogger("notifier_service.mcp")

#: How long a call waits before its client gets a task: who looks has answered by then, and no client has given up.
AFTER_SECONDS = 20.0

_METHODS = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})
_POLL_MS = 2000
_KEEP_SECONDS = 3600.0

_MAX_TASKS = 5000
_MAX_TASKS_OF_ONE = 200
_MAX_BYTES = 128 * 1024 * 1024
_MAX_BYTES_OF_ONE = 16 * 1024 * 1024


class Reply(NamedTuple):
    """What a client gets for its message, of which the server does not hear."""

    text: bytes
    is_error: bool = False


class Passed(NamedTuple):
    """What the server gets of a client's message; ``told`` makes of its answer what the client gets."""

    text: bytes
    told: Callable[[dict[str, Any]], dict[str, Any]]
    #: The task that it is about, where the server knows it by another id.
    task_id: str | None = None


class Task:
    """One call whose client asks how it is."""

    def __init__(self, owner: Hashable, says: str) -> None:
        #: 192 bits: whoever knows them and is the same caller is told what the tool gave.
        self.task_id = secrets.token_urlsafe(24)
        self.owner = owner
        self.status = "working"
        #: By which id the server knows it, when it has made a task of its own of the call.
        self.upstream_id: str | None = None
        #: How it ended, as it is kept.
        self.end = b""
        #: Whether its client has been told that.
        self.is_known = False
        #: When it is forgotten, if it is over or the server's.
        self.until: float | None = None
        self._says = says
        self._created = self._updated = datetime.now(UTC)
        self._ttl: timedelta | None = None
        self._wanted: dict[str, Any] = {}
        self._keys: dict[str, str] = {}
        self._given: dict[str, Any] = {}
        self._is_given: asyncio.Future[None] | None = None

    @property
    def is_over(self) -> bool:
        return self.status in ("completed", "failed", "cancelled")

    def is_old(self, now: float) -> bool:
        return self.until is not None and self.until <= now

    def created(self, message_id: MessageId) -> bytes:
        """The answer to the call, which is a task from now on."""
        return result_answer(message_id, {"resultType": "task", **self._state()})

    def told(self, message_id: MessageId) -> bytes:
        """The answer to a client that asks how it is."""
        more = {"inputRequests": self._wanted} if self.status == "input_required" else {}
        text = result_answer(message_id, {"resultType": "complete", **self._state(), **more})
        self.is_known = self.is_over
        # Never parsed again: it may be large, or deep.
        return text[:-2] + b"," + self.end[1:-1] + b"}}" if self.end else text

    def says(self, text: str) -> None:
        """Tell its client what it is at."""
        self._says, self._updated = text, datetime.now(UTC)

    async def given(self, requests: Mapping[str, Any]) -> dict[str, Any]:
        """Ask its client for all of these, and wait for the answers. Raises ``ValueError`` for what has no form."""
        written(requests)
        self._given = {}
        for key, request in requests.items():
            # A key is one request's as long as the task lives; the server may use it again in its next round.
            name = key if key not in self._keys else f"{key}#{len(self._keys)}"
            self._keys[name] = key
            self._wanted[name] = request
        if self._wanted:
            self._is_given = asyncio.get_running_loop().create_future()
            self.status = "input_required"
            self.says("The tool needs more of its client.")
            await self._is_given
        return self._given

    def give(self, answers: Mapping[str, Any]) -> None:
        """Take what its client answers. What nobody has asked, or somebody has answered, is passed over."""
        for name in self._wanted.keys() & answers.keys():
            del self._wanted[name]
            self._given[self._keys[name]] = answers[name]
        if self.status == "input_required" and not self._wanted and self._is_given is not None:
            self.status = "working"
            self.says("The tool goes on.")
            self._is_given.set_result(None)

    def ends(self, status: str, says: str, end: bytes, keep_seconds: float) -> None:
        """It is over, and kept for so long."""
        self.status, self.end = status, end
        self.says(says)
        self._ttl = self._updated - self._created + timedelta(seconds=keep_seconds)

    def _state(self) -> dict[str, Any]:
        return {
            "taskId": self.task_id,
            "status": self.status,
            "statusMessage": self._says,
            "createdAt": _iso(self._created),
            "lastUpdatedAt": _iso(self._updated),
            "ttlMs": None if self._ttl is None else self._ttl // timedelta(milliseconds=1),
            "pollIntervalMs": _POLL_MS,
        }


#: Does what a task is for: the response to the call, or None when the server has made a task of its own of it. When
#: the task is over already, nothing more may begin.
Work = Callable[[Task], Coroutine[Any, Any, Mapping[str, Any] | None]]


class Tasks:
    """The tasks of all clients of a gateway; only its ``owner`` hears of one.

    A call becomes a task after ``after_seconds``. How one ended is kept for ``keep_seconds``. ``max_tasks`` and
    ``max_bytes`` are the most of all owners and of one: beyond, those are forgotten sooner whose client knows the end.
    """

    def __init__(
        self,
        *,
        after_seconds: float = AFTER_SECONDS,
        keep_seconds: float = _KEEP_SECONDS,
        max_tasks: tuple[int, int] = (_MAX_TASKS, _MAX_TASKS_OF_ONE),
        max_bytes: tuple[int, int] = (_MAX_BYTES, _MAX_BYTES_OF_ONE),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.after_seconds = after_seconds
        self._keep_seconds = keep_seconds
        self._max_tasks = max_tasks
        self._max_bytes = max_bytes
        self._clock = clock
        self._tasks: dict[str, Task] = {}
        self._works: dict[str, asyncio.Task[None]] = {}

    def begin(self, owner: Hashable, says: str, work: Work) -> Task | None:
        """A task that does this, of which its client can ask from now on; None where there are too many."""
        now = self._clock()
        for old in [task for task in self._tasks.values() if task.is_old(now)]:
            del self._tasks[old.task_id]
        if not self._has_room(owner, lambda task: 1, 1, self._max_tasks):
            return None
        task = Task(owner, says)
        self._tasks[task.task_id] = task
        doing = self._works[task.task_id] = asyncio.create_task(self._do(task, work))
        doing.add_done_callback(lambda _: self._works.pop(task.task_id))
        return task

    def cancel(self, task: Task) -> None:
        """Nobody wants it any more. What is over stays as it is."""
        work = self._works.get(task.task_id)
        if not task.is_over:
            self._end(task, "cancelled", "The call was cancelled.", b"")
            if work is not None:
                # Behind its first step: one that is cancelled before never gets to its own clean-up.
                asyncio.get_running_loop().call_soon(work.cancel)

    async def close(self) -> None:
        """Cancel all that is under way."""
        works = list(self._works.values())
        for task_id in list(self._works):
            self.cancel(self._tasks[task_id])
        await asyncio.gather(*works, return_exceptions=True)

    def knows(self, message: Message) -> bool:
        """Whether a client's message is about a task of here."""
        return message.method in _METHODS and self._named(message.params.get("taskId")) is not None

    def look(self, owner: Hashable, message: Message) -> Reply | Passed | None:
        """What becomes of a client's message that has to do with tasks; None for any other."""
        if message.method == "server/discover":
            return Passed(message.text, _with_tasks)
        if message.method == "subscriptions/listen":
            return self._listening(message)
        message_id = answerable(message.message_id)
        if message.method not in _METHODS or message_id is None:
            return None
        unknown = _unknown(message_id, takes_tasks(message.params.get("_meta")))
        task = self._named(message.params.get("taskId"))
        if task is None:
            return Passed(message.text, partial(_told_unknown, unknown))
        if task.owner != owner or not takes_tasks(message.params.get("_meta")):
            return Reply(written(unknown), is_error=True)
        if task.upstream_id is not None:
            return self._of_server(message, task, task.upstream_id)
        return self._asked(message, message_id, task)

    def _asked(self, message: Message, message_id: MessageId, task: Task) -> Reply:
        if message.method == "tasks/get":
            try:
                return Reply(task.told(message_id))
            except RecursionError:
                text = "What the server wants is too deep."
                return Reply(error_answer(message_id, INTERNAL_ERROR, text), is_error=True)
        if message.method == "tasks/cancel":
            self.cancel(task)
        else:
            answers = message.params.get("inputResponses")
            if not isinstance(answers, dict) or _bytes(answers) is None:
                text = "The inputResponses of a task are an object."
                return Reply(error_answer(message_id, INVALID_PARAMS, text), is_error=True)
            task.give(answers)
        return Reply(result_answer(message_id, {"resultType": "complete"}))

    def _of_server(self, message: Message, task: Task, upstream_id: str) -> Reply | Passed:
        """Ask the server about the task that it has made of a call which is a task here."""

        def told(response: dict[str, Any]) -> dict[str, Any]:
            result = response.get("result")
            if isinstance(result, dict) and result.get("taskId") == upstream_id:
                return {**response, "result": result | {"taskId": task.task_id}}
            return response

        task.until = self._clock() + self._keep_seconds
        return _changed(message, {"taskId": upstream_id}, told, upstream_id)

    def _listening(self, message: Message) -> Reply | Passed | None:
        """Have the server asked for its own tasks alone: of those here it has never heard, and nobody tells of them."""
        wanted = message.params.get("notifications")
        ids = wanted.get("taskIds") if isinstance(wanted, dict) else None
        if not isinstance(wanted, dict) or not isinstance(ids, list) or not any(map(self._named, ids)):
            return None
        theirs = wanted | {"taskIds": [task_id for task_id in ids if self._named(task_id) is None]}
        return _changed(message, {"notifications": theirs}, lambda response: response)

    async def _do(self, task: Task, work: Work) -> None:
        try:
            response = await work(task)
        except Exception:
            _log.exception("a call that is a task failed")
            response = {"error": {"code": INTERNAL_ERROR, "message": "The gateway failed."}}
        if task.is_over:
            return
        if response is None:
            task.until = self._clock() + self._keep_seconds
        else:
            self._end(task, *self._kept(task, response))

    def _kept(self, task: Task, response: Mapping[str, Any]) -> tuple[str, str, bytes]:
        """How a task ends with this response: as which status, in words, and what is kept of it."""
        result = response.get("result")
        is_result = isinstance(result, dict) and response.get("error") is None
        end = _bytes({"result": result} if is_result else {"error": _as_error(response.get("error"))})
        if end is not None and self._has_room(task.owner, lambda one: len(one.end), len(end), self._max_bytes):
            return ("completed", "The call has ended.", end) if is_result else ("failed", "The call has failed.", end)
        text = "The call has ended; its answer is too large to be kept until its client asks."
        said = {"content": [{"type": "text", "text": text}], "isError": True, "resultType": "complete"}
        return "completed", text, written({"result": said})

    def _end(self, task: Task, status: str, says: str, end: bytes) -> None:
        task.ends(status, says, end, self._keep_seconds)
        task.until = self._clock() + self._keep_seconds

    def _has_room(self, owner: Hashable, size: Callable[[Task], int], more: int, limits: tuple[int, int]) -> bool:
        """Whether so much more is within the limits; tasks whose client knows the end make room, the oldest first."""
        for limit, is_for_all in zip(limits, (True, False), strict=True):
            tasks = [task for task in self._tasks.values() if is_for_all or task.owner == owner]
            excess = sum(map(size, tasks)) + more - limit
            for task in tasks:
                if excess > 0 and task.is_known and size(task):
                    del self._tasks[task.task_id]
                    excess -= size(task)
            if excess > 0:
                return False
        return True

    def _named(self, task_id: Any) -> Task | None:
        task = self._tasks.get(task_id) if isinstance(task_id, str) else None
        return None if task is None or task.is_old(self._clock()) else task


def _changed(
    message: Message,
    params: Mapping[str, Any],
    told: Callable[[dict[str, Any]], dict[str, Any]],
    task_id: str | None = None,
) -> Reply | Passed:
    """A message with other params, for the server."""
    text = _bytes(message.body | {"params": {**message.params, **params}})
    if text is None:
        answer = error_answer(answerable(message.message_id), INVALID_PARAMS, "A number is too large.")
        return Reply(answer, is_error=True)
    return Passed(text, told, task_id)


def _with_tasks(response: dict[str, Any]) -> dict[str, Any]:
    """What a server says that it can do, and tasks."""
    result = response.get("result")
    capabilities = result.get("capabilities") if isinstance(result, dict) else None
    if not isinstance(result, dict) or not isinstance(capabilities, dict):
        return response
    extensions = capabilities.get("extensions")
    told: dict[str, Any] = {TASKS: {}} | (extensions if isinstance(extensions, dict) else {})
    return {**response, "result": result | {"capabilities": capabilities | {"extensions": told}}}


def _unknown(message_id: MessageId, takes: bool) -> dict[str, Any]:
    """The answer about a task that its client has not, or to a client that does not say that it takes tasks."""
    error: dict[str, Any] = {"code": INVALID_PARAMS, "message": "There is no such task."}
    if not takes:
        extensions: dict[str, Any] = {TASKS: {}}
        data = {"requiredCapabilities": {"extensions": extensions}}
        text = f"The client's capabilities lack the extension {TASKS}."
        error = {"code": MISSING_CAPABILITY, "message": text, "data": data}
    return {"jsonrpc": "2.0", "id": message_id, "error": error}


def _told_unknown(unknown: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    """What a server says of a task that is none here; one that knows no tasks says that it knows no such method."""
    error = response.get("error")
    return unknown if isinstance(error, dict) and error.get("code") == METHOD_NOT_FOUND else response


def _as_error(error: Any) -> dict[str, Any]:
    if isinstance(error, dict) and isinstance(error.get("code"), int) and isinstance(error.get("message"), str):
        return error
    message = error.get("message") if isinstance(error, dict) else None
    return {"code": INTERNAL_ERROR, "message": str(message or "The MCP server's answer is none.")}


def _bytes(value: Any) -> bytes | None:
    """The JSON of a value; None for what has no form, such as a number beyond every double."""
    try:
        return written(value)
    except (ValueError, RecursionError):
        return None


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
