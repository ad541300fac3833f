"""One book of what is under way between a client and a server: calls that wait, calls that run, requests of our own.

Nothing here reads or writes. Whoever does says what came, and is told whether it may pass.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from .gate import Answer, Gate, Run
from .message import INTERNAL_ERROR, Message, MessageId, ToolCall, error_answer, may_be_same, same_id, written

__all__ = ["Conversation", "HeldCall", "HeldCalls"]

_log = logging.getLogger("notifier_service.mcp")

_MAX_RUNNING = 1000


class HeldCall:
    """A call that waits for a person."""

    __slots__ = ("_withdraw", "is_withdrawn", "message_id")

    def __init__(self, message_id: MessageId, withdraw: Callable[[], object]) -> None:
        self.message_id = message_id
        self.is_withdrawn = False
        self._withdraw = withdraw

    def withdraw(self) -> None:
        """Nobody waits for it any more: it must not run, even if a person has just let it."""
        self.is_withdrawn = True
        self._withdraw()


class HeldCalls:
    """The calls that wait, by the ids which their client gave them."""

    def __init__(self) -> None:
        self._held: list[HeldCall] = []

    @property
    def is_waiting(self) -> bool:
        return bool(self._held)

    def hold(self, message_id: MessageId, withdraw: Callable[[], object]) -> HeldCall:
        """A call waits from now on, until ``let_go``; ``withdraw`` ends that."""
        held = HeldCall(message_id, withdraw)
        self._held.append(held)
        return held

    def let_go(self, held: HeldCall) -> None:
        """The call does not wait any more, if it did."""
        with suppress(ValueError):
            self._held.remove(held)

    def cancelled(self, message_id: Any) -> bool:
        """Withdraw the call that a client has cancelled; whether there was just one that can be meant.

        Of two clients that cannot be told apart, and chose the same id, nobody knows whose call it is.
        """
        held = self._named(message_id)
        if len(held) == 1:
            held[0].withdraw()
        return len(held) == 1

    def _named(self, message_id: Any) -> list[HeldCall]:
        return [held for held in self._held if same_id(held.message_id, message_id)]


class Conversation(HeldCalls):
    """A client's calls of a server's tools, from the ``gate`` to the answer."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate
        self._running: list[Run] = []
        self._own_ids = f"notifier-service-{secrets.token_hex(8)}-"
        self._own_count = 0

    @property
    def is_running(self) -> bool:
        """Whether the server owes an answer to a call."""
        return bool(self._running)

    def is_under_way(self, message_id: MessageId) -> bool:
        """Whether a call with this id waits or runs."""
        return bool(self._named(message_id)) or self.running(message_id) is not None

    def own_id(self) -> str:
        """An id for a request that the gateway makes; it is nobody else's."""
        self._own_count += 1
        return f"{self._own_ids}{self._own_count}"

    def own_request(self, method: str, params: Mapping[str, Any]) -> tuple[str, bytes]:
        """A request that the gateway makes for itself, and its id."""
        message_id = self.own_id()
        return message_id, written({"jsonrpc": "2.0", "id": message_id, "method": method, "params": params})

    def is_own(self, message_id: Any) -> bool:
        """Whether a response answers the gateway, and not the client."""
        return isinstance(message_id, str) and message_id.startswith(self._own_ids)

    async def admit(self, call: ToolCall, beat: Callable[[bytes], None]) -> Run | Answer:
        """Wait at the gate, as ``Gate.admit`` says. Where the gate itself fails, nothing runs."""
        try:
            return await self.gate.admit(call, beat)
        except Exception:
            _log.exception("a call could not be judged, and was not run")
            return Answer(error_answer(call.message_id, INTERNAL_ERROR, "The gateway failed; nothing ran."))

    def starts(self, run: Run) -> None:
        """A call is sent to the server."""
        self._running.append(run)
        if len(self._running) > _MAX_RUNNING:
            del self._running[0]
        run.begins()

    def running(self, message_id: Any, only: Run | None = None) -> Run | None:
        """The newest call with this id that runs, or ``only`` that one, if it has this id."""
        runs = reversed(self._running) if only is None else (only,)
        return next((run for run in runs if same_id(run.call.message_id, message_id)), None)

    def drop(self, run: Run) -> None:
        """Nobody waits for the answer of this call any more."""
        self._forget(run)
        run.cancelled()

    def cancelled(self, message_id: Any) -> bool:
        """Drop or withdraw the call that a client has cancelled; whether the server has never heard of it."""
        run = self.running(message_id)
        if run is None:
            return super().cancelled(message_id)
        if not self._named(message_id):
            self.drop(run)
        return False

    def may_answer(self, message_id: Any, only: Run | None = None) -> bool:
        """Whether a response of the server's may pass: not to a call that waits, nor to one that some take for it."""
        return self.running(message_id, only) is not None or not any(
            may_be_same(held.message_id, message_id) for held in self._held
        )

    def passed(self, message: Message, only: Run | None = None) -> bytes:
        """What the client gets of a message that may pass; with ``only`` it can answer no other call."""
        run = self.running(message.message_id, only) if message.is_response else None
        return (None if run is None else run.answer(message.body)) or message.text

    def read(self, message: Mapping[str, Any], only: Run | None = None) -> None:
        """Learn from a message of the server's what becomes of calls, or of ``only`` the one that it is said to."""
        method = message.get("method")
        if method == "notifications/tools/list_changed":
            self.gate.catalog.drop()
        elif method == "notifications/progress":
            params = message.get("params")
            for told in self._running if only is None else (only,):
                if isinstance(params, Mapping) and same_id(told.call.progress_token, params.get("progressToken")):
                    told.progress(params)
        elif method is None and "id" in message:
            run = self.running(message["id"], only)
            if run is not None:
                self._forget(run)
                run.ends(message)

    def withdraw(self) -> None:
        """The client is gone."""
        for held in self._held:
            held.withdraw()
        while self._running:
            self.drop(self._running[-1])

    def fail(self, text: str) -> None:
        """The server is gone, and answers none of the calls that run."""
        while self._running:
            self._running.pop(0).ends({"error": {"message": text}})

    def _forget(self, run: Run) -> None:
        with suppress(ValueError):
            self._running.remove(run)
