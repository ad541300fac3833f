"""Heads reach a second machine, one after the other, whatever it does; nobody waits for it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from notifier_service.web.head_sender import HeadSender
from tests.cli.processes import free_port
from tests.mcp.http_wiring import on_a_port

from .conftest import until


class SecondMachine:
    """Keeps what is sent to it, and answers as the test says."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.answers: list[int] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.kept.append((await request.json())["head"])
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 307 else {})


@pytest.fixture
async def machine() -> AsyncIterator[SecondMachine]:
    machine = SecondMachine()
    app = web.Application()
    app.router.add_post("/heads", machine.take)
    async with on_a_port(app) as port:
        machine.url = f"http://127.0.0.1:{port}/heads?secret=123"
        yield machine


@asynccontextmanager
async def sending(to: str) -> AsyncIterator[HeadSender]:
    sender = HeadSender(to, first_backoff_seconds=0.01)
    sender.begin()
    try:
        yield sender
    finally:
        await sender.end(0.1)


async def soon(state: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not state():  # noqa: ASYNC110  # the state of another machine, or of a file
            await asyncio.sleep(0.005)


async def test_heads_are_posted_in_order(machine: SecondMachine) -> None:
    async with sending(machine.url) as sender:
        for number in range(5):
            sender.put(f"head {number}")
        await until(lambda: len(machine.kept) == 5)

    assert machine.kept == [f"head {number}" for number in range(5)]


@pytest.mark.parametrize("status", [500, 404, 429, 307])
async def test_head_that_is_not_taken_is_sent_again(
    machine: SecondMachine, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    machine.answers = [status, status]

    async with sending(machine.url) as sender:
        sender.put("head 1")
        sender.put("head 2")
        await soon(lambda: len(machine.kept) == 2)
        await until(lambda: "again" in caplog.text)

    assert machine.kept == ["head 1", "head 2"]
    assert caplog.text.count("cannot be sent") == 1
    assert f"it answers {status}" in caplog.text
    assert "secret" not in caplog.text


async def test_machine_that_is_away_holds_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with sending(f"http://user:secret@127.0.0.1:{free_port()}/secret") as sender:
        for number in range(500):
            sender.put(f"head {number}")
        await until(lambda: "cannot be sent to http://127.0.0.1:" in caplog.text)

    assert "secret" not in caplog.text


async def test_newest_heads_wait_for_a_machine_that_comes_back(machine: SecondMachine) -> None:
    machine.answers = [503]
    sender = HeadSender(machine.url, first_backoff_seconds=0.01)
    for number in range(500):
        sender.put(f"head {number}")

    sender.begin()
    await soon(lambda: len(machine.kept) == 100)
    await sender.end(1)

    assert machine.kept == [f"head {number}" for number in range(400, 500)]


async def test_last_head_is_sent_before_the_end(machine: SecondMachine) -> None:
    sender = HeadSender(machine.url)
    sender.begin()
    sender.put("first")
    await until(lambda: machine.kept)

    await asyncio.to_thread(sender.put, "last")
    await sender.end(5)

    assert machine.kept == ["first", "last"]


async def test_sender_that_never_began_ends() -> None:
    sender = HeadSender("/nowhere")
    sender.put("head")

    await sender.end(1)


async def test_heads_are_appended_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "heads.jsonl"
    path.write_text('{"head": "of before"}\n')

    async with sending(str(path)) as sender:
        sender.put("head 1\n\n— x\n")
        sender.put("head 2")
        await soon(lambda: path.read_bytes().count(b"\n") == 3)

    assert [json.loads(line)["head"] for line in path.read_text().splitlines()] == [
        "of before",
        "head 1\n\n— x\n",
        "head 2",
    ]


async def test_file_that_cannot_be_written_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "later" / "heads.jsonl"

    async with sending(str(path)) as sender:
        sender.put("head")
        await soon(lambda: "No such file or directory" in caplog.text)
        path.parent.mkdir()
        await soon(lambda: path.exists() and path.read_bytes().endswith(b"\n"))

    assert "again" in caplog.text


async def test_pipe_that_nobody_reads_holds_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(tmp_path / "pipe")

    async with sending(str(tmp_path / "pipe")) as sender:
        sender.put("head")
        await soon(lambda: "cannot be sent" in caplog.text)


@pytest.mark.parametrize("to", ["http://", "http://[::1", "http://host:99999/", "http://a b/"])
async def test_address_that_is_none_is_told(to: str, caplog: pytest.LogCaptureFixture) -> None:
    async with sending(to) as sender:
        sender.put("head")
        await soon(lambda: "cannot be sent" in caplog.text)
