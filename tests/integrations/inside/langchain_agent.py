"""A LangChain agent calls its tools as a person answers."""

from __future__ import annotations

from typing import Any

import pytest
from approve_langchain import approval
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool


class Model(GenericFakeChatModel):
    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self


class Agent:
    """An agent whose model calls these tools at once, and then is done."""

    def __init__(self, service: Any, *calls: dict[str, Any], **options: Any) -> None:
        self.ran: list[str] = []

        @tool
        def delete(path: str) -> str:
            """Delete a file."""
            self.ran.append(path)
            return f"{path} is gone"

        @tool
        def look() -> str:
            """Look around."""
            self.ran.append("look")
            return "nothing"

        wanted = [{**call, "id": f"call_{number}", "type": "tool_call"} for number, call in enumerate(calls)]
        model = Model(messages=iter([AIMessage("", tool_calls=wanted), AIMessage("done")]))
        middleware = [approval("s", service=service, **options)]
        self._agent: Any = create_agent(model, [delete, look], middleware=middleware)

    async def run(self) -> list[tuple[str, str]]:
        """What the tools gave the model, each with how it went."""
        answer = await self._agent.ainvoke({"messages": [("user", "tidy up")]})
        assert answer["messages"][-1].content == "done"
        return [(message.content, message.status) for message in answer["messages"] if isinstance(message, ToolMessage)]


DELETE = {"name": "delete", "args": {"path": "a"}}


async def test_approved_call_runs(service: Any, person: Any) -> None:
    agent = Agent(service, DELETE)
    seen = person(delete={"approved": True}).seen

    assert await agent.run() == [("a is gone", "success")]
    assert agent.ran == ["a"]
    assert (seen[0]["parameters"], seen[0]["tool_call_id"]) == ({"path": "a"}, "call_0")


async def test_edited_call_runs_as_it_was_edited(service: Any, person: Any) -> None:
    agent = Agent(service, DELETE)
    person(delete={"approved": True, "parameters": {"path": "b"}})

    assert await agent.run() == [("b is gone", "success")]
    assert agent.ran == ["b"]


async def test_rejected_call_does_not_run_and_the_model_is_told_why(service: Any, person: Any) -> None:
    agent = Agent(service, DELETE)
    person(delete={"approved": False, "reason": "not now"})

    assert await agent.run() == [("delete did not run: rejected by ada: not now", "error")]
    assert agent.ran == []


async def test_call_of_low_risk_runs_unasked_beside_one_that_is_rejected(service: Any, person: Any) -> None:
    agent = Agent(service, DELETE, {"name": "look", "args": {}}, risk_levels={"look": "low"})
    seen = person(delete={"approved": False}).seen

    assert await agent.run() == [("delete did not run: rejected by ada.", "error"), ("nothing", "success")]
    assert (agent.ran, len(seen)) == (["look"], 1)


async def test_agent_that_is_not_called_asynchronously_runs_nothing(broker: Any) -> None:
    agent = Agent(broker, DELETE)

    with pytest.raises(NotImplementedError, match="Synchronous implementation of wrap_tool_call is not available"):
        agent._agent.invoke({"messages": [("user", "tidy up")]})
    assert agent.ran == []
