"""A pydantic-ai agent that answers in the chat: notifier-service serve --agent chat_pydantic_ai:answer"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart

from notifier_service import ChatTurn, ToolDenied

# Such as MODEL=anthropic:claude-sonnet-4-5, with that provider's key; "test" calls every tool once, without a network.
agent = Agent(os.environ.get("MODEL", "test"), deps_type=ChatTurn, instructions="You keep a folder of notes.")


@agent.tool
async def save_note(context: RunContext[ChatTurn], name: str, text: str) -> str:
    """Write a note."""

    def save_note(name: str, text: str) -> str:
        note = Path(name).name  # here, where it also holds for what a person edited
        Path(note).with_suffix(".md").write_text(text)
        return f"{note} is saved"

    try:
        # Announced in the session's events, asked about there, and run as it was shown.
        return await context.deps.tools(save_note, risk_level="medium")(name=name, text=text)
    except ToolDenied as denial:
        return str(denial)  # the model is told who said no, and why


async def answer(turn: ChatTurn) -> AsyncIterator[str]:
    history: list[ModelMessage] = []
    for past in turn.history:
        history += [ModelRequest([UserPromptPart(past.query)]), ModelResponse([TextPart(past.answer)])]
    async with agent.run_stream(turn.query, deps=turn, message_history=history) as result:
        async for piece in result.stream_text(delta=True):
            yield piece
