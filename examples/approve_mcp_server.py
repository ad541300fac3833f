"""An MCP server of the SDK 2.x: a person is asked before one of its own tools runs, whoever the client is.

    server = MCPServer("files", extensions=[approval("s1")])

With service=Client(url) a running service asks, else the broker that serve() was given in this process. The SDK lets an
extension change no arguments, so people are offered to approve and to reject. A call that needs several rounds is asked
about in each. Clients give up after about a minute: see docs/mcp.md.
"""

from collections.abc import Mapping
from typing import Any, Literal

from notifier_service import Broker, Client, ToolDenied, ask


def approval(
    session_id: str,
    *,
    service: Broker | Client | None = None,
    risk_levels: Mapping[str, Literal["low", "medium", "high"]] | None = None,
) -> Any:
    from mcp.server.extension import Extension
    from mcp.types import CallToolResult, TextContent

    class Approval(Extension):
        identifier = "io.github.notifier-service/approval"

        async def intercept_tool_call(self, params: Any, ctx: Any, call_next: Any) -> Any:
            try:
                await ask(
                    session_id,
                    params.name,
                    params.arguments or {},
                    service=service,
                    risk_level=(risk_levels or {}).get(params.name, "high"),
                    may_edit=False,
                )
            except ToolDenied as denial:
                return CallToolResult(content=[TextContent(type="text", text=str(denial))], is_error=True)
            return await call_next(ctx)

    return Approval()
