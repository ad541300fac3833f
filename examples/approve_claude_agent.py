"""Claude Agent SDK: a person is asked where Claude Code would ask.

    options = ClaudeAgentOptions(can_use_tool=approval("s1"))

With service=Client(url) a running service asks, else the broker that serve() was given in this process. What rules
allow (allowed_tools, bypassPermissions) never reaches this callback, and nobody is asked about it.
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
    from claude_agent_sdk import PermissionResultAllow, PermissionResultDeny

    async def can_use_tool(tool_name: str, tool_input: dict[str, Any], context: Any) -> Any:
        try:
            parameters = await ask(
                session_id,
                tool_name,
                tool_input,
                service=service,
                risk_level=(risk_levels or {}).get(tool_name, "high"),
                tool_call_id=context.tool_use_id,
            )
        except ToolDenied as denial:
            return PermissionResultDeny(message=str(denial))
        return PermissionResultAllow(updated_input=parameters)

    return can_use_tool
