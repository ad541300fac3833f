"""langchain-mcp-adapters: a person is asked before an MCP server's tool runs.

    client = MultiServerMCPClient(connections, tool_interceptors=[approval("s1")])

With service=Client(url) a running service asks, else the broker that serve() was given in this process. LangChain hands
on no annotations, so the risk is what risk_levels says of "server.tool", and high for all others.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

from notifier_service import Broker, Client, ToolDenied, ask


def approval(
    session_id: str,
    *,
    service: Broker | Client | None = None,
    risk_levels: Mapping[str, Literal["low", "medium", "high"]] | None = None,
) -> Any:
    from mcp.types import CallToolResult, TextContent

    async def interceptor(request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        tool_name = f"{request.server_name}.{request.name}"
        try:
            parameters = await ask(
                session_id,
                tool_name,
                request.args,
                service=service,
                risk_level=(risk_levels or {}).get(tool_name, "high"),
            )
        except ToolDenied as denial:
            return CallToolResult(content=[TextContent(type="text", text=str(denial))], isError=True)
        return await handler(request.override(args=parameters))

    return interceptor
