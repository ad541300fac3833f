"""A chat over HTTP goes on after the service was killed: the rest of an answer, and what became of a turn."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.service_process import service_process

AGENT = """
import asyncio

async def answer(turn):
    for past in turn.history:
        yield f"[{past.query}: {past.answer} ({past.outcome})]"
    yield f"answer to {turn.query}"
    if turn.query == "wait":
        await asyncio.Event().wait()
"""


@pytest.fixture
def flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    (tmp_path / "talker.py").write_text(AGENT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "--journal", str(tmp_path / "journal"), "--agent", "talker:answer"


async def told(port: int, query: str, *, cursor: str | None = None, count: int | None = None) -> list[tuple[str, Any]]:
    """The messages of an answer with their places, up to its end or so many."""
    url = f"http://127.0.0.1:{port}/agent_chat_stream"
    headers = {} if cursor is None else {"Last-Event-ID": cursor}
    messages: list[tuple[str, Any]] = []
    place = ""
    async with (
        asyncio.timeout(10),
        ClientSession() as http,
        http.get(url, params={"query": query, "session_id": "s"}, headers=headers) as answer,
    ):
        async for line in answer.content:
            field, _, text = line.decode().rstrip("\n").partition(": ")
            if field == "id":
                place = text
            elif field == "data":
                messages.append((place, json.loads(text)))
                if len(messages) == count:
                    break
    return messages


async def test_stream_that_comes_back_hears_that_its_turn_was_cut_and_the_next_turn_knows_it(
    flags: tuple[str, ...],
) -> None:
    async with service_process(*flags) as (process, port):
        await told(port, "one")
        [*_, (place, last)] = await told(port, "wait", count=2)
        await asyncio.sleep(0.3)  # what is said is kept within a tenth of a second
        process.kill()

    async with service_process(*flags) as (process, port):
        [(end_place, end)] = await told(port, "wait", cursor=place)
        again = await told(port, "wait", cursor=end_place)
        following = [message for _, message in await told(port, "two")]

    assert last == {"type": "content", "content": "answer to wait"}
    assert (end["type"], "restarted" in end["message"], again) == ("error", True, [])
    assert [message.get("content") for message in following] == [
        "[one: answer to one (done)]",
        "[wait: [one: answer to one (done)]answer to wait (error)]",
        "answer to two",
        None,
    ]
