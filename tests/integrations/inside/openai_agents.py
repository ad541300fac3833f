"""An agent of the OpenAI Agents SDK calls its tools as a person answers."""

from __future__ import annotations

import json
from typing import Any

from agents import Agent, Model, ModelResponse, RunConfig, Usage, function_tool
from approve_openai_agents import run_gated
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText


class Once(Model):
    """A model that calls these tools at once, and then is done; it keeps what it was told of them."""

    def __init__(self, *calls: tuple[str, dict[str, Any]]) -> None:
        self._calls = calls
        self.told: dict[str, str] = {}

    async def get_response(self, system_instructions: Any, input: Any, *more: Any, **options: Any) -> ModelResponse:  # noqa: A002  # the SDK's own name
        items = input if isinstance(input, list) else []
        self.told = {item["call_id"]: item["output"] for item in items if item.get("type") == "function_call_output"}
        output: list[Any] = [
            ResponseFunctionToolCall(
                type="function_call", call_id=f"call_{number}", name=name, arguments=json.dumps(arguments)
            )
            for number, (name, arguments) in enumerate(self._calls)
        ]
        if self.told:
            text = ResponseOutputText(type="output_text", text="done", annotations=[])
            output = [
                ResponseOutputMessage(id="msg_1", type="message", role="assistant", status="completed", content=[text])
            ]
        return ModelResponse(output=output, usage=Usage(), response_id=None)

    def stream_response(self, *arguments: Any, **options: Any) -> Any:
        raise NotImplementedError


async def run(service: Any, *calls: tuple[str, dict[str, Any]], **options: Any) -> tuple[list[str], dict[str, str]]:
    """What ran, and what the model was told of each call."""
    ran: list[str] = []

    @function_tool(needs_approval=True)
    def delete(path: str) -> str:
        ran.append(path)
        return f"{path} is gone"

    model = Once(*calls)
    agent = Agent(name="tidy", model=model, tools=[delete])
    result = await run_gated(
        agent, "tidy up", session_id="s", service=service, run_config=RunConfig(tracing_disabled=True), **options
    )
    assert result.final_output == "done"
    return ran, model.told


async def test_approved_call_runs(service: Any, person: Any) -> None:
    seen = person(delete={"approved": True}).seen

    assert await run(service, ("delete", {"path": "a"})) == (["a"], {"call_0": "a is gone"})
    assert (seen[0]["parameters"], seen[0]["tool_call_id"]) == ({"path": "a"}, "call_0")
    assert list(seen[0]["allowed_decisions"]) == ["approve", "reject"]


async def test_rejected_call_does_not_run_and_the_model_is_told_why(service: Any, person: Any) -> None:
    person(delete={"approved": False, "reason": "not now"})

    assert await run(service, ("delete", {"path": "a"})) == (
        [],
        {"call_0": "delete did not run: rejected by ada: not now"},
    )


async def test_calls_are_asked_side_by_side(service: Any, person: Any) -> None:
    seen = person(delete={"approved": True}).seen

    ran, _ = await run(service, ("delete", {"path": "a"}), ("delete", {"path": "b"}))

    assert (sorted(ran), len(seen)) == (["a", "b"], 2)


async def test_call_of_low_risk_runs_unasked(service: Any) -> None:
    assert (await run(service, ("delete", {"path": "a"}), risk_levels={"delete": "low"}))[0] == ["a"]
