"""Questions of the prompt tool as tasks: an agent that takes these need not stand there until a person answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping
from contextlib import ExitStack
from typing import Any

from aiohttp import web

from ...core.errors import NotifierError
from ...core.events import PermissionRecord
from ...mcp.message import INTERNAL_ERROR, METHOD_NOT_FOUND, Message, written
from ...mcp.tasks import Reply, Task, Tasks
from ..agents.agent_calls import JoinedCall

__all__ = ["PROMPT_TASKS", "answer_about_task", "question_as_task"]

PROMPT_TASKS = web.AppKey("prompt_tasks", Tasks)


def answer_about_task(tasks: Tasks, owner: Hashable, body: dict[str, Any]) -> Reply:
    """The answer to a request about a task; there is no server behind that may know it."""
    looked = tasks.look(owner, Message(body, b""))
    assert looked is not None  # the method is one of tasks, and it has an id
    if isinstance(looked, Reply):
        return looked
    return Reply(written(looked.told({"error": {"code": METHOD_NOT_FOUND}})), is_error=True)


def question_as_task(
    tasks: Tasks, owner: Hashable, joined: JoinedCall, told: Callable[[PermissionRecord], Mapping[str, Any]]
) -> Task | None:
    """The task that waits for the answer from now on, or None where its client has too many."""
    assert joined.request is not None
    decision = joined.request.decision
    stack = ExitStack()
    place = stack.enter_context(joined.waiting())  # before whoever has waited leaves

    async def work(task: Task) -> Mapping[str, Any]:
        with stack:
            try:
                await decision()
            except asyncio.CancelledError:
                joined.leave(place, "the agent withdrew it")
                raise
            except NotifierError as refused:
                return {"error": {"code": INTERNAL_ERROR, "message": refused.message}}
        return {"result": told(joined.record)}

    task = tasks.begin(owner, "A person is asked.", work)
    if task is None:
        stack.close()
    return task
