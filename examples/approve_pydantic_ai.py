"""pydantic-ai: a person is asked where a tool requires approval.

    agent = Agent(model, capabilities=[approval("s1")])

    @agent.tool_plain(requires_approval=True)
    def delete_file(path: str) -> str: ...

With service=Client(url) a running service asks, else the broker that serve() was given in this process. To bind the
session to a run instead of an agent: agent.run(..., capabilities=[approval(session_id)]).
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

from notifier_service import Broker, Client, ask
from notifier_service import ToolDenied as Denied


def approval(
    session_id: str,
    *,
    service: Broker | Client | None = None,
    risk_levels: Mapping[str, Literal["low", "medium", "high"]] | None = None,
) -> Any:
    from pydantic_ai.capabilities import HandleDeferredToolCalls
    from pydantic_ai.tools import DeferredToolResults, ToolApproved, ToolDenied

    async def answer(call: Any) -> Any:
        try:
            parameters = await ask(
                session_id,
                call.tool_name,
                call.args_as_dict(),
                service=service,
                risk_level=(risk_levels or {}).get(call.tool_name, "high"),
                tool_call_id=call.tool_call_id,
            )
        except Denied as denial:
            return ToolDenied(str(denial))
        return ToolApproved(override_args=parameters)

    async def handler(context: Any, requests: Any) -> Any:
        async with asyncio.TaskGroup() as asking:
            answers = {call.tool_call_id: asking.create_task(answer(call)) for call in requests.approvals}
        return DeferredToolResults(approvals={call_id: task.result() for call_id, task in answers.items()})

    return HandleDeferredToolCalls(handler=handler)
