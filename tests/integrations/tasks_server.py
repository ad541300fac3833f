"""The server that the task scenarios of the MCP conformance suite call for, with the SDK 2.x.

Its arguments are a port or ``stdio``, and ``tasks``; without the second it knows no tasks, and answers each call when
it has ended.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import uvicorn
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from starlette.requests import Request

TASKS = "io.modelcontextprotocol/tasks"
WANTED = {"requiredCapabilities": {"extensions": {TASKS: {}}}}

Result = dict[str, Any]
#: Asks the client, and waits for its answers.
Ask = Callable[[Result], Awaitable[Result]]
Tool = Callable[[Result, Ask], Awaitable[Result]]


def text(said: str, **more: Any) -> Result:
    return {"content": [{"type": "text", "text": said}], **more}


def elicitation(message: str) -> Result:
    schema = {"type": "object", "properties": {"confirm": {"type": "boolean"}}}
    return {"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}}


# The tools


async def greet(given: Result, ask: Ask) -> Result:
    return text(f"Hello, {given['name']}!")


async def slow_compute(given: Result, ask: Ask) -> Result:
    await asyncio.sleep(given["seconds"])
    return text("computed")


async def failing_job(given: Result, ask: Ask) -> Result:
    return text("It went wrong.", isError=True)


async def protocol_error_job(given: Result, ask: Ask) -> Result:
    raise MCPError(types.INTERNAL_ERROR, "The job panicked.")


async def confirm_delete(given: Result, ask: Ask) -> Result:
    return text(f"Got {await ask({'confirm': elicitation('Delete it?')})}")


async def multi_input(given: Result, ask: Ask) -> Result:
    return text(f"Got {await ask({'first': elicitation('First?'), 'second': elicitation('Second?')})}")


async def test_tool_with_task(given: Result, ask: Ask) -> Result:
    return text(f"Hello, {given['answers']}")


TOOLS: dict[str, Tool] = {
    tool.__name__: tool
    for tool in (
        greet, slow_compute, failing_job, protocol_error_job, confirm_delete, multi_input, test_tool_with_task,
    )
}  # fmt: skip
AS_TASK = TOOLS.keys() - {"greet"}
ONLY_AS_TASK = {"failing_job"}


# Tasks


class Task:
    def __init__(self) -> None:
        now = datetime.now(UTC).isoformat()
        times = {"createdAt": now, "lastUpdatedAt": now, "ttlMs": 60_000, "pollIntervalMs": 100}
        self.state: Result = {"taskId": uuid4().hex, "status": "working", **times}
        self.work: asyncio.Task[None] | None = None
        self.answers: Result = {}
        self.answered = asyncio.Event()

    async def ask(self, requests: Result) -> Result:
        self.state |= {"status": "input_required", "inputRequests": dict(requests)}
        await self.answered.wait()
        return self.answers

    def give(self, answers: Result) -> None:
        wanted = self.state.get("inputRequests", {})
        for key in wanted.keys() & answers.keys():
            del wanted[key]
            self.answers[key] = answers[key]
        if self.state["status"] == "input_required" and not wanted:
            del self.state["inputRequests"]
            self.state["status"] = "working"
            self.answered.set()

    async def run(self, tool: Tool, given: Result) -> None:
        try:
            self.state |= {"result": await tool(given, self.ask), "status": "completed"}
        except MCPError as error:
            self.state |= {"error": {"code": error.code, "message": error.message}, "status": "failed"}
        except asyncio.CancelledError:
            self.state["status"] = "cancelled"


KEPT: dict[str, Task] = {}


class TaskParams(types.RequestParams):
    task_id: str
    input_responses: dict[str, Any] = {}  # noqa: RUF012  # a field of a model


def takes_tasks(ctx: Any) -> bool:
    capabilities = ctx.session.client_capabilities
    return TASKS in ((capabilities and capabilities.extensions) or {})


def checked(ctx: Any, params: TaskParams) -> Task:
    if not takes_tasks(ctx):
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "tasks are needed", WANTED)
    if isinstance(ctx.request, Request) and ctx.request.headers.get("Mcp-Name") != params.task_id:
        raise MCPError(types.HEADER_MISMATCH, "Mcp-Name is another task")
    if params.task_id not in KEPT:
        raise MCPError(types.INVALID_PARAMS, "There is no such task.")
    return KEPT[params.task_id]


async def get(ctx: Any, params: TaskParams) -> Result:
    return {"resultType": "complete", **checked(ctx, params).state}


async def update(ctx: Any, params: TaskParams) -> Result:
    checked(ctx, params).give(params.input_responses)
    return {"resultType": "complete"}


async def cancel(ctx: Any, params: TaskParams) -> Result:
    task = checked(ctx, params)
    if task.work is not None:
        task.work.cancel()
        with suppress(asyncio.CancelledError):
            await task.work
    return {"resultType": "complete"}


# The endpoints


def answers(params: types.CallToolRequestParams) -> Result:
    return {
        key: answer.model_dump(mode="json", by_alias=True, exclude_none=True)
        for key, answer in (params.input_responses or {}).items()
    }


class NeedsMore(Exception):
    pass


async def now(tool: Tool, params: types.CallToolRequestParams, given: Result) -> Any:
    """The answer of a call that is no task."""
    wanted: Result = {}

    async def ask(requests: Result) -> Result:
        wanted.update(requests)
        if not requests.keys() <= answers(params).keys():
            raise NeedsMore
        return answers(params)

    try:
        return types.CallToolResult.model_validate(await tool(given, ask))
    except NeedsMore:
        return types.InputRequiredResult(result_type="input_required", input_requests=wanted, request_state="state")


async def call_tool(ctx: Any, params: types.CallToolRequestParams) -> Any:
    tool = TOOLS.get(params.name)
    if tool is None:
        raise MCPError(types.INVALID_PARAMS, "There is no such tool.")
    given: Result = {**(params.arguments or {}), "answers": answers(params)}
    is_task_server = "tasks" in sys.argv
    if is_task_server and params.name in ONLY_AS_TASK and not takes_tasks(ctx):
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "tasks are needed", WANTED)
    if params.name == "test_tool_with_task" and "user_name" not in given["answers"]:
        wanted = {"user_name": elicitation("Who are you?")}
        return types.InputRequiredResult.model_validate(
            {"resultType": "input_required", "inputRequests": wanted, "requestState": "state"}
        )
    if not is_task_server or params.name not in AS_TASK or not takes_tasks(ctx):
        return await now(tool, params, given)
    task = Task()
    KEPT[task.state["taskId"]] = task
    created = {"resultType": "task", **task.state}
    task.work = asyncio.create_task(task.run(tool, given))
    return created


async def list_tools(ctx: Any, params: Any) -> types.ListToolsResult:
    reads = {"readOnlyHint": True, "openWorldHint": False}
    tools = [
        {
            "name": name,
            "inputSchema": {"type": "object"},
            # Nobody is asked about the one that must answer at once.
            **({"annotations": reads} if name in ("greet", "test_tool_with_task") else {}),
        }
        for name in TOOLS
    ]
    return types.ListToolsResult.model_validate({"tools": tools})


async def over_stdio(server: Any) -> None:
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


def main() -> None:
    warnings.simplefilter("ignore")  # of what the newest protocol no longer has
    server: Any = Server("tasks", version="1", on_list_tools=list_tools, on_call_tool=call_tool)
    if "tasks" in sys.argv:
        server.extensions[TASKS] = {}
        for method, answer in {"tasks/get": get, "tasks/update": update, "tasks/cancel": cancel}.items():
            server.add_request_handler(method, TaskParams, answer)
    if sys.argv[1] == "stdio":
        asyncio.run(over_stdio(server))
        return
    uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()
