"""Between a client on standard input and output and a server that is started here: only tools/call is held."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ..calls.asker import Asker
from ..calls.catalog import Catalog
from .conversation import Conversation, HeldCall
from .gate import Answer, Gate, Run
from .line_relay import LineRelay, TooLong
from .message import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    Message,
    MessageId,
    MessageRefused,
    ToolCall,
    answerable,
    error_answer,
    name_of,
    unpacked,
    written,
)
from .readings import is_harmless
from .task_calls import begun_task, too_many, withdrawn
from .tasks import AFTER_SECONDS, Passed, Reply, Task, Tasks

__all__ = ["StdioRelay"]

_log = logging.getLogger("notifier_service.mcp")

#: Of so many requests whose answers are changed, the oldest will have none any more.
_MAX_PASSED = 1000


class StdioRelay(LineRelay):
    """One client, one server, which people know as ``server``, and a gate between them.

    Whatever ends first, the client, the server or this process, ends the others: calls that wait are withdrawn, and
    nothing runs that was not let through. A line beyond ``max_line_bytes`` is not kept. After ``client_seconds`` the
    client is known to have given up. One that takes tasks gets one for a call that waits longer than ``task_seconds``.
    """

    def __init__(
        self,
        asker: Asker,
        *,
        server: str | None = None,
        approval_seconds: float | None = None,
        client_seconds: float | None = None,
        heartbeat_seconds: float = 10,
        task_seconds: float = AFTER_SECONDS,
        max_line_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        super().__init__(max_line_bytes=max_line_bytes)
        gate = Gate(
            asker,
            Catalog(self._request),
            server=server,
            approval_seconds=approval_seconds,
            client_seconds=client_seconds,
            heartbeat_seconds=heartbeat_seconds,
        )
        self._calls = Conversation(gate)
        self._waiting: set[asyncio.Task[None]] = set()
        self._own: dict[str, asyncio.Future[Mapping[str, Any]]] = {}
        self._tasks = Tasks(after_seconds=min(task_seconds, (client_seconds or 2 * task_seconds) / 2))
        self._passed: dict[MessageId, Passed] = {}

    def from_client(self, line: bytes) -> None:
        """Judge one line of the client's."""
        if not line or line.isspace():
            return
        try:
            message = Message.parse(line)
            if message.is_tool_call:
                self._call(message)
                return
        except MessageRefused as refused:
            self._client.write(refused.answer)
            return
        if message.method == "notifications/cancelled":
            if self._calls.cancelled(message.params.get("requestId")):
                return  # the server has never heard of that call
        elif message.method == "initialize":
            self._calls.gate.client_name = name_of(message.params.get("clientInfo"))
        looked = self._tasks.look(None, message)
        if isinstance(looked, Reply):
            self._client.write(looked.text)
            return
        message_id = answerable(message.message_id)
        if looked is not None and message_id is not None:
            self._passed[message_id] = looked
            if len(self._passed) > _MAX_PASSED:
                del self._passed[next(iter(self._passed))]
        self._server.write(message.text if looked is None else looked.text)

    def from_server(self, line: bytes) -> None:
        """Pass one line of the server's on, unless it answers the gateway itself, or could be read as a call."""
        for text in unpacked(line):
            try:
                message = Message.of_server(text)
            except MessageRefused as refused:
                self._refused(refused)
            except (ValueError, RecursionError):
                # What is no message for this parser may be one for the client, and it is to say so.
                if text.lstrip()[:1] in (b"{", b"[") and is_harmless(text):
                    self._client.write(text)
                elif text and not text.isspace():
                    sys.stderr.buffer.write(text + b"\n")
                    sys.stderr.flush()
            else:
                self._from_server(message)

    def _from_server(self, message: Message) -> None:
        if message.is_response and not self._is_for_client(message.message_id, message.body):
            return
        is_own = message.method == "notifications/progress" and self._calls.is_own(message.params.get("progressToken"))
        if not is_own:
            self._client.write(self._told(message))
        self._calls.read(message.body)

    def _told(self, message: Message) -> bytes:
        """What the client gets of a message of the server's."""
        message_id = answerable(message.message_id) if message.is_response else None
        passed = None if message_id is None else self._passed.pop(message_id, None)
        if passed is not None and (told := passed.told(message.body)) is not message.body:
            with suppress(ValueError):  # a number that has no form
                return written(told)
        return self._calls.passed(message)

    def _refused(self, refused: MessageRefused) -> None:
        """Tell whoever waits that what the server sent did not pass."""
        _log.warning("a message of the server did not pass: %s", refused)
        if refused.is_response:
            self._fail_answer(refused)
        elif refused.message_id is not None:
            self._server.write(refused.answer)

    def _fail_answer(self, refused: MessageRefused) -> None:
        error = {"id": refused.message_id, "error": {"code": refused.code, "message": str(refused)}}
        if refused.message_id is not None and self._is_for_client(refused.message_id, error):
            self._client.write(refused.answer)
            self._calls.read(error)

    def _is_for_client(self, message_id: Any, response: Mapping[str, Any]) -> bool:
        """Whether the client waits for this response: the gateway does, or the server has never been asked."""
        if not self._calls.is_own(message_id):
            return self._calls.may_answer(message_id)
        answer = self._own.get(message_id)
        if answer is not None and not answer.done():
            answer.set_result(response)
        return False

    def too_long(self, line: TooLong, *, from_client: bool) -> None:
        """A line was not kept: whoever waits for its answer, or for the answer that it was, is told."""
        who = "client" if from_client else "server"
        _log.warning("a line of the %s that is longer than %d bytes was dropped", who, self._max_line_bytes)
        message_id = line.message_id()
        if from_client:
            text = f"The message is longer than {self._max_line_bytes} bytes."
            self._client.write(error_answer(message_id, INVALID_REQUEST, text))
        else:
            text = f"The answer is longer than {self._max_line_bytes} bytes."
            self._fail_answer(MessageRefused(INTERNAL_ERROR, text, message_id, is_response=True))

    def _call(self, message: Message) -> None:
        if "id" not in message.body:
            _log.warning("a tools/call without an id was dropped: it could be neither asked about nor answered")
            return
        call = ToolCall(message)
        if self._calls.is_under_way(call.message_id):
            raise MessageRefused(INVALID_REQUEST, "A call with that id is under way.")
        run = self._calls.gate.admit_nowait(call)
        if run is not None:
            self._start(run)
            return
        held = self._calls.hold(call.message_id, lambda: task.cancel())
        task = asyncio.create_task(self._hold(call, held))
        self._waiting.add(task)
        # One that is cancelled before its first step never gets to its own clean-up.
        task.add_done_callback(lambda task: self._let_go(task, held))

    async def _hold(self, call: ToolCall, held: HeldCall) -> None:
        try:
            admitted = await (self._held(call) if call.takes_tasks else self._admitted(call))
        except asyncio.CancelledError:
            return  # withdrawn: nobody waits for an answer
        finally:
            self._calls.let_go(held)
        if isinstance(admitted, Answer):
            self._client.write(admitted.text)
        else:
            self._start(admitted)

    async def _admitted(self, call: ToolCall) -> Run | Answer:
        return await self._calls.admit(call, self._client.write_if_reading)

    async def _held(self, call: ToolCall) -> Run | Answer:
        """Wait at the gate, for so long that the client gets a task for the call."""
        task: Task | None = None

        def beat(text: bytes) -> None:
            if task is None:
                self._client.write_if_reading(text)

        admission = asyncio.create_task(self._calls.admit(call, beat))
        try:
            await asyncio.wait({admission}, timeout=self._tasks.after_seconds)
        except asyncio.CancelledError:
            await withdrawn(admission)
            raise
        if admission.done():
            return admission.result()
        task = begun_task(self._tasks, None, self._calls, call, admission, self._send)
        if task is None:
            await withdrawn(admission)
            return too_many(call)
        return Answer(task.created(call.message_id))

    async def _send(self, run: Run) -> Mapping[str, Any]:
        """Run a call for which nobody waits but its task."""
        message_id = str(run.call.message_id)
        answer: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._own[message_id] = answer
        self._start(run)
        try:
            response = await answer
        except asyncio.CancelledError:
            params = {"requestId": message_id}
            self._server.write(written({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}))
            self._calls.drop(run)
            raise
        finally:
            del self._own[message_id]
        self._calls.read(response)
        return response

    def _let_go(self, task: asyncio.Task[None], held: HeldCall) -> None:
        self._waiting.discard(task)
        self._calls.let_go(held)

    def _start(self, run: Run) -> None:
        self._server.write(run.text)
        self._calls.starts(run)

    async def _request(self, method: str, params: dict[str, Any]) -> Mapping[str, Any]:
        """Ask the server something of the gateway's own; the client never sees it."""
        message_id, text = self._calls.own_request(method, params)
        answer: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._own[message_id] = answer
        try:
            self._server.write(text)
            return await answer
        finally:
            del self._own[message_id]

    async def _withdraw(self) -> None:
        tasks = list(self._waiting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._tasks.close()

    def _is_owed(self) -> bool:
        return self._calls.is_running

    def _server_ended(self) -> None:
        self._calls.fail("the server ended")
