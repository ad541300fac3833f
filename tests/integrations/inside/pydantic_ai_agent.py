"""A pydantic-ai agent calls its tools as a person answers."""

from __future__ import annotations

from typing import Any

from approve_pydantic_ai import approval
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel


async def run(service: Any, *paths: str, **options: Any) -> tuple[list[str], list[str]]:
    """What ran, and what the model was told of each call."""
    ran: list[str] = []
    told: list[str] = []

    def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        told[:] = [str(part.content) for part in messages[-1].parts if isinstance(part, ToolReturnPart)]
        if told:
            return ModelResponse([TextPart("done")])
        return ModelResponse([ToolCallPart("delete", {"path": path}, f"call_{path}") for path in paths])

    agent = Agent(FunctionModel(model), capabilities=[approval("s", service=service, **options)])

    @agent.tool_plain(requires_approval=True)
    def delete(path: str) -> str:
        ran.append(path)
        return f"{path} is gone"

    assert (await agent.run("tidy up")).output == "done"
    return ran, told


async def test_approved_call_runs(service: Any, person: Any) -> None:
    seen = person(delete={"approved": True}).seen

    assert await run(service, "a") == (["a"], ["a is gone"])
    assert (seen[0]["parameters"], seen[0]["tool_call_id"]) == ({"path": "a"}, "call_a")


async def test_edited_call_runs_as_it_was_edited(service: Any, person: Any) -> None:
    person(delete={"approved": True, "parameters": {"path": "b"}})

    assert await run(service, "a") == (["b"], ["b is gone"])


async def test_rejected_call_does_not_run_and_the_model_is_told_why(service: Any, person: Any) -> None:
    person(delete={"approved": False, "reason": "not now"})

    assert await run(service, "a") == ([], ["delete did not run: rejected by ada: not now"])


async def test_calls_are_asked_side_by_side(service: Any, person: Any) -> None:
    seen = person(delete={"approved": True}).seen

    ran, _ = await run(service, "a", "b")

    assert (sorted(ran), len(seen)) == (["a", "b"], 2)


async def test_call_of_low_risk_runs_unasked(service: Any) -> None:
    assert await run(service, "a", risk_levels={"delete": "low"}) == (["a"], ["a is gone"])
