"""A call that is a task: wait for the person, run it, ask its client for more, and give what the tool gave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any

from .conversation import Conversation
from .gate import Answer, Run
from .message import INTERNAL_ERROR, ToolCall, denial_answer
from .tasks import Task, Tasks

__all__ = ["Send", "begun_task", "too_many", "withdrawn"]

#: A server that wants more of its client without end would be called without end.
_MAX_ROUNDS = 100

#: Of what a server says while a call runs.
_MAX_SAID = 500

#: Runs a call at the server, tells the session of it, and returns the response.
Send = Callable[[Run], Awaitable[Mapping[str, Any]]]


def begun_task(
    tasks: Tasks,
    owner: Hashable,
    calls: Conversation,
    call: ToolCall,
    admission: asyncio.Task[Run | Answer],
    send: Send,
    still_may: Callable[[], bool] = lambda: True,
) -> Task | None:
    """The task that a call becomes, or None where its client has too many. ``admission`` is its wait at the gate."""

    async def work(task: Task) -> Mapping[str, Any] | None:
        admitted = admission
        for _ in range(_MAX_ROUNDS):
            run = await _admitted(admitted)
            if isinstance(run, Answer):
                return _response(run.text)
            if task.is_over:
                run.cancelled()
                return None
            if not still_may():
                run.cancelled()
                text = f"{call.name} did not run: the token of who called it is no longer good for it."
                return _response(denial_answer(call, text))
            run.renew(calls.own_id(), lambda said: task.says(f"{call.name} runs: {said[:_MAX_SAID]}"))
            task.says(f"{call.name} runs.")
            response = await send(run)
            edited = run.answer(response)
            response = response if edited is None else _response(edited)
            result = response.get("result")
            kind = result.get("resultType") if isinstance(result, Mapping) else None
            if isinstance(result, Mapping) and kind == "task" and isinstance(result.get("taskId"), str):
                task.upstream_id = result["taskId"]
                return None
            if not isinstance(result, Mapping) or kind != "input_required":
                return response
            wanted = result.get("inputRequests")
            answers = await task.given(wanted if isinstance(wanted, Mapping) else {})
            state = {"requestState": result["requestState"]} if "requestState" in result else {}
            # Whoever let the first round run has let this one run: the gate knows it by its state.
            again = call.renewed(calls.own_id(), inputResponses=answers, **state)
            admitted = asyncio.create_task(calls.admit(again, lambda _: None))
        return {"error": {"code": INTERNAL_ERROR, "message": "The MCP server wants more of its client without end."}}

    return tasks.begin(owner, f"{call.name} waits for a person to decide.", work)


async def withdrawn(admission: asyncio.Task[Run | Answer]) -> None:
    """Take back what is asked; what a person has let run in the last moment does not run."""
    admission.cancel()
    await asyncio.wait({admission})
    _forget(admission)


def too_many(call: ToolCall) -> Answer:
    """Nobody is asked about more calls than a client may have as tasks."""
    return Answer(denial_answer(call, f"{call.name} did not run: too many calls of this client are tasks already."))


async def _admitted(admission: asyncio.Task[Run | Answer]) -> Run | Answer:
    """Wait at the gate. Cancelled, it takes back what is asked."""
    try:
        return await admission
    except asyncio.CancelledError:
        _forget(admission)
        raise


def _forget(admission: asyncio.Task[Run | Answer]) -> None:
    if admission.done() and not admission.cancelled() and isinstance(run := admission.result(), Run):
        run.cancelled()


def _response(text: bytes) -> Mapping[str, Any]:
    response: Mapping[str, Any] = json.loads(text)
    return response
