"""LangChain: a person is asked before an agent's tool runs.

    agent = create_agent(model, tools, middleware=[approval("s1")])

With service=Client(url) a running service asks, else the broker that serve() was given in this process. The agent is
called with ainvoke or astream; LangChain refuses to call its tools otherwise.
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
    from langchain.agents.middleware import AgentMiddleware
    from langchain_core.messages import ToolMessage

    class Approval(AgentMiddleware):
        async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
            call = request.tool_call
            try:
                parameters = await ask(
                    session_id,
                    call["name"],
                    call["args"],
                    service=service,
                    risk_level=(risk_levels or {}).get(call["name"], "high"),
                    tool_call_id=call["id"],
                )
            except ToolDenied as denial:
                return ToolMessage(str(denial), tool_call_id=call["id"], name=call["name"], status="error")
            return await handler(request.override(tool_call={**call, "args": parameters}))

    return Approval()
