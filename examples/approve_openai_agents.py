"""OpenAI Agents SDK: a person is asked where a tool needs approval.

    result = await run_gated(agent, "tidy up", session_id="s1")

in the place of Runner.run, with tools of @function_tool(needs_approval=True), or MCP servers of
require_approval="always". With service=Client(url) a running service asks, else the broker that serve() was given in
this process. The SDK takes no edited arguments, so people are offered to approve and to reject.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Literal

from notifier_service import Broker, Client, ToolDenied, ask


async def run_gated(
    agent: Any,
    given: Any,
    *,
    session_id: str,
    service: Broker | Client | None = None,
    risk_levels: Mapping[str, Literal["low", "medium", "high"]] | None = None,
    **options: Any,
) -> Any:
    from agents import Runner

    async def settle(state: Any, item: Any) -> None:
        try:
            await ask(
                session_id,
                item.tool_name,
                json.loads(item.arguments or "{}"),
                service=service,
                risk_level=(risk_levels or {}).get(item.tool_name, "high"),
                tool_call_id=item.call_id,
                may_edit=False,
            )
        except ToolDenied as denial:
            state.reject(item, rejection_message=str(denial))
        else:
            state.approve(item)

    result = await Runner.run(agent, given, **options)
    while result.interruptions:
        state = result.to_state()
        async with asyncio.TaskGroup() as asking:
            for item in result.interruptions:
                asking.create_task(settle(state, item))
        result = await Runner.run(agent, state, **options)
    return result
