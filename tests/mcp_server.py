"""A small MCP server on the SDK's low level, for either of its major versions: in memory, or with ``-m`` over stdio."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import Any

import anyio
from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.memory import create_client_server_memory_streams

#: 1.x registers handlers with decorators.
IS_FIRST = hasattr(Server, "list_tools")
_A_PAGE = 3
_CLOSED = {"openWorldHint": False}


class Journal:
    """A server with a few tools, and what happened to it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.annotations: dict[str, dict[str, Any] | None] = {
            "read": {"readOnlyHint": True} | _CLOSED,
            "search": {"readOnlyHint": True, "openWorldHint": True},
            "append": {"destructiveHint": False} | _CLOSED,
            "write": None,
            "journal": {"readOnlyHint": True} | _CLOSED,
            "wait": {"readOnlyHint": True} | _CLOSED,
            "count": {"readOnlyHint": True} | _CLOSED,
            "change": {"readOnlyHint": True} | _CLOSED,
            "fail": {"readOnlyHint": True} | _CLOSED,
            "rounds": None,
            "jot": None,
        }

    def page(self, cursor: str | None) -> Any:
        self.lines.append(f"list {cursor}")
        start = int(cursor or 0)
        names = list(self.annotations)[start : start + _A_PAGE]
        tools = [
            {"name": name, "inputSchema": {"type": "object"}, "annotations": self.annotations[name]} for name in names
        ]
        end = start + _A_PAGE
        more = {"nextCursor": str(end)} if end < len(self.annotations) else {}
        return types.ListToolsResult.model_validate({"tools": tools, **more})

    async def call(self, name: str, arguments: dict[str, Any], context: Any, params: Any = None) -> Any:
        self.lines.append(f"call {name} {arguments}")
        if name == "wait":
            try:
                await anyio.sleep_forever()
            finally:
                self.lines.append("cancelled")
        if name == "count":
            for step in (1, 2, 3):
                await _progress(context, step, 3, f"step {step}")
        if name == "change":
            self.annotations["jot"] = {"readOnlyHint": True} | _CLOSED
            await context.session.send_tool_list_changed()
        if name == "rounds" and params.request_state != "second":
            state = "second" if params.request_state else "first"
            return types.InputRequiredResult(request_state=state)
        text = "\n".join(self.lines) if name == "journal" else f"{name} {arguments}"
        return types.CallToolResult.model_validate(
            {"content": [{"type": "text", "text": text}], "isError": name == "fail"}
        )

    def server(self) -> Any:
        if not IS_FIRST:

            async def list_page(context: Any, params: Any) -> Any:
                return self.page(params.cursor if params else None)

            async def call(context: Any, params: Any) -> Any:
                return await self.call(params.name, params.arguments or {}, context, params)

            return Server("journal", on_list_tools=list_page, on_call_tool=call)  # type: ignore[call-arg]
        server: Any = Server("journal")

        @server.list_tools()
        async def _list(request: types.ListToolsRequest) -> Any:  # it goes by this type, and gives None too
            # None is the server itself, which looks a tool up.
            return self.page(request.params.cursor if request and request.params else None)

        @server.call_tool()
        async def _call(name: str, arguments: dict[str, Any]) -> Any:
            return await self.call(name, arguments, server.request_context)

        return server


async def _progress(context: Any, progress: float, total: float, message: str) -> None:
    if IS_FIRST:
        await context.session.send_progress_notification(context.meta.progressToken, progress, total, message)
    else:
        await context.session.report_progress(progress, total, message)


@asynccontextmanager
async def in_memory(journal: Journal, **options: Any) -> Any:
    """A real client session with the server in this process."""
    server = journal.server()
    async with create_client_server_memory_streams() as (client, serving), anyio.create_task_group() as tasks:
        tasks.start_soon(server.run, *serving, server.create_initialization_options())
        async with ClientSession(*client, **options) as session:
            await session.initialize()
            yield session
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def over_stdio(**options: Any) -> Any:
    """A real client session with the server in a process of its own."""
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "tests.mcp_server"], env={"PYTHONPATH": ":".join(sys.path)}
    )
    async with stdio_client(parameters) as streams, ClientSession(*streams, **options) as session:
        await session.initialize()
        yield session


async def _serve() -> None:
    server = Journal().server()
    async with stdio_server() as streams:
        await server.run(*streams, server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(_serve())
