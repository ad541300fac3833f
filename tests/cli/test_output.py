"""Nobody waits for a reader of standard output or of the log, and no reader who leaves ends anything."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import pytest

from notifier_service import Client
from notifier_service.cli.output import Lines, logging_to
from tests.cli.processes import Commands
from tests.cli.test_service import url_of, write


def lines_of(reader: TextIO, count: int) -> list[str]:
    return [reader.readline().rstrip("\n") for _ in range(count)]


@pytest.fixture
def pipe() -> Iterator[tuple[TextIO, int]]:
    """What is read, and the file to write to."""
    reader, writer = os.pipe()
    with os.fdopen(reader, encoding="utf-8") as text:
        yield text, writer
    with suppress(OSError):
        os.close(writer)


def test_lines_come_out_whole_and_in_order(pipe: tuple[TextIO, int]) -> None:
    reader, writer = pipe
    lines = Lines(writer)
    for number in range(1000):
        lines.put(f"{number} é \udcff")
    lines.close(seconds=10)

    assert lines_of(reader, 1000) == [f"{number} é \\udcff" for number in range(1000)]


def test_lines_that_nobody_reads_are_dropped_and_counted(pipe: tuple[TextIO, int]) -> None:
    reader, writer = pipe
    lines = Lines(writer, capacity_bytes=100_000)
    for number in range(10_000):
        lines.put(f"{number:050}")
    read = lines_of(reader, 1500)
    lines.put("the last one")
    lines.close(seconds=0.1)
    while read[-1] != "the last one":
        read += lines_of(reader, 1)
    told = [line.split(" ", 2) for line in read if line.startswith("notifier-service: ")]

    assert {rest for _, _, rest in told} == {"lines were dropped, because nobody read them"}
    assert sum(int(count) for _, count, _ in told) + len(read) - len(told) - 1 == 10_000


def test_reader_who_leaves_is_no_failure_and_a_full_disk_is() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    failures: list[OSError] = []
    told = threading.Event()

    def failed(error: OSError) -> None:
        failures.append(error)
        told.set()

    left = Lines(writer, failed=failed)
    left.put("nobody")
    left.close(seconds=10)
    full = Lines(os.open("/dev/full", os.O_WRONLY), failed=failed)
    full.put("no room")
    assert told.wait(10)
    full.put("more")
    full.close(seconds=10)

    assert [error.strerror for error in failures] == ["No space left on device"]


def test_file_that_somebody_made_non_blocking_takes_all_the_same(pipe: tuple[TextIO, int]) -> None:
    reader, writer = pipe
    os.set_blocking(writer, False)
    lines = Lines(writer)
    for _ in range(3000):
        lines.put("x" * 99)
    read = lines_of(reader, 3000)
    lines.close()

    assert set(read) == {"x" * 99}


def test_record_that_cannot_be_formatted_ends_nothing(pipe: tuple[TextIO, int]) -> None:
    reader, writer = pipe
    record = logging.LogRecord("somewhere", logging.INFO, "", 0, "%d", ("no number",), None)
    with logging_to(writer, "info", "%(message)s"):
        logging.getLogger().handlers[-1].handle(record)  # by itself: that of pytest raises

    assert lines_of(reader, 1) == ["a line of the log cannot be written: somewhere: '%d'"]


@pytest.mark.parametrize(("loop", "number"), [("uvloop", signal.SIGTERM), ("asyncio", signal.SIGINT)])
async def test_service_whose_log_nobody_reads_goes_on_and_ends(
    commands: Commands, loop: str, number: signal.Signals, tmp_path: Path
) -> None:
    environment = {}
    if loop == "asyncio":
        (tmp_path / "uvloop.py").write_text("raise ImportError('as if it were not installed')")
        environment["PYTHONPATH"] = str(tmp_path)
    unread, theirs = os.pipe()
    process = await commands.start("serve", "--port", "0", stderr=theirs, env=environment)
    os.close(theirs)
    async with Client(await url_of(process)) as client:
        for _ in range(800):  # a pipe holds 641 lines
            await client.health("s")
    process.send_signal(number)

    async with asyncio.timeout(5):
        assert await process.wait() == 0
    os.close(unread)


async def test_demo_whose_output_nobody_reads_goes_on_and_ends(commands: Commands) -> None:
    unread, theirs = os.pipe()
    process = await commands.start("demo", "--port", "0", "--pause", "0", stdout=theirs)
    os.close(theirs)
    with os.fdopen(unread, encoding="utf-8") as output:
        url = (await asyncio.to_thread(output.readline)).split()[-1]
        async with Client(url) as client:
            for _ in range(600):  # of some hundred bytes of output each
                while not (pending := await client.pending("demo")):  # asking yields
                    pass
                await client.decide("demo", {"approved": False, "request_id": pending[0]["request_id"]})
        process.send_signal(signal.SIGTERM)

        async with asyncio.timeout(5):
            assert await process.wait() == 0


async def test_service_whose_output_and_log_are_gone_goes_on(commands: Commands) -> None:
    output, theirs = os.pipe()
    log, their_log = os.pipe()
    process = await commands.start("serve", "--port", "0", stdout=theirs, stderr=their_log)
    os.close(theirs)
    os.close(their_log)
    url = (await asyncio.to_thread(os.read, output, 1000)).decode().split()[-1]
    os.close(output)
    os.close(log)
    async with Client(url) as client:
        for _ in range(10):
            assert (await client.health("s"))["status"] == "healthy"
    process.send_signal(signal.SIGTERM)

    assert await process.wait() == 0


STILL = """
import time

async def answer(turn):
    yield "I begin."
    time.sleep(3600)
"""


async def test_loop_that_stands_still_is_named_and_ends_all_the_same(commands: Commands, tmp_path: Path) -> None:
    write("still.py", STILL)
    (tmp_path / "uvloop.py").write_text("raise ImportError('as if it were not installed')")
    with_uvloop: dict[str, str] = {}
    without = {"PYTHONPATH": str(tmp_path)}
    # At the same time: each takes until the watchdog is sure, twice.
    await asyncio.gather(*(_stands_still_and_ends(commands, environment) for environment in (with_uvloop, without)))


async def _stands_still_and_ends(commands: Commands, environment: dict[str, str]) -> None:
    process = await commands.start(
        "serve", "--port", "0", "--agent", "still:answer", "--shutdown-seconds", "0.1", env=environment
    )
    host = (await url_of(process)).removeprefix("http://").partition("/")[0]
    _, writer = await asyncio.open_connection(*host.split(":"))
    writer.write(b"GET /agent_chat_stream?query=hi HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert process.stderr is not None
    log = ""
    async with asyncio.timeout(30):
        while "time.sleep(3600)" not in log:
            log += (await process.stderr.readline()).decode()
    process.send_signal(signal.SIGTERM)

    async with asyncio.timeout(10):
        assert await process.wait() == 128 + signal.SIGTERM
    assert "the event loop has stood still for" in log
    assert "still.py" in log
    writer.close()
