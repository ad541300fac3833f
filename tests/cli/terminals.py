"""A terminal that is none, with a watch in it and a person before it."""

from __future__ import annotations

import asyncio
import codecs
import os
import pty
import signal
import termios
import threading
from asyncio.subprocess import Process
from contextlib import suppress

import pyte
import pytest

from notifier_service import Client
from notifier_service.cli.watch import Watch
from tests.cli.processes import Commands

__all__ = ["LOOK", "SCREEN", "Terminal"]

#: Wide, so that nothing wraps; dumb, so that every escape in the output would be somebody else's.
SCREEN = {"TERM": "dumb", "COLUMNS": "200", "LINES": "60", "PYTHONIOENCODING": "utf-8"}

LOOK = "look, then press again"
#: What is said to a key that was pressed too soon, and how long that is here.
EARLY = "This has just come to the screen"
REST_SECONDS = 0.1


class Terminal:
    """A pseudo terminal with a watch in it; ``shown`` is all that it printed, ``rows`` what is on its screen now.

    Without a size it does not say one, and the environment does.
    """

    def __init__(self, columns: int = 0, rows: int = 0) -> None:
        self._screen, self.keyboard = pty.openpty()
        self._emulated = pyte.Screen(columns or int(SCREEN["COLUMNS"]), rows or int(SCREEN["LINES"]))
        self._emulated.set_mode(pyte.modes.LNM)
        self._stream = pyte.Stream(self._emulated)
        if columns:
            termios.tcsetwinsize(self.keyboard, (rows, columns))
        self.settings_before = termios.tcgetattr(self.keyboard)
        self.process: Process | None = None
        self.shown = ""
        self._read_to = 0
        self._more = asyncio.Event()
        self._ended: asyncio.Task[int] | None = None
        self._environment = pytest.MonkeyPatch()
        self._decoder: codecs.IncrementalDecoder = codecs.getincrementaldecoder("utf-8")()
        # A thread reads: who prints waits as soon as a few kilobytes are not read, and may be of this thread.
        self._reader = threading.Thread(target=self._read, args=(asyncio.get_running_loop(),), daemon=True)
        self._reader.start()

    async def open(
        self, url: str, session: str | None = "s", *, rest_seconds: float = REST_SECONDS, **environment: str
    ) -> None:
        """Start a watch in this process, which takes a hundredth of the time, and wait until it has begun."""
        encoding = environment.pop("PYTHONIOENCODING", "utf-8")
        self._decoder = codecs.getincrementaldecoder(encoding)()
        for name, value in (SCREEN | environment).items():
            self._environment.setenv(name, value)
        self._begin(asyncio.create_task(self._watch(url, session, encoding, rest_seconds)))
        await self.until("Press ? for help.")

    async def start(self, commands: Commands, **environment: str) -> None:
        """Start a watch of session ``s`` as a process of its own, as a shell does, and wait until it has begun."""
        ends = dict.fromkeys(("stdin", "stdout", "stderr"), self.keyboard)
        self.process = await commands.start("watch", "s", env=SCREEN | environment, **ends)
        self._begin(asyncio.create_task(self.process.wait()))
        await self.until("Watching session s; 1 watching. Press ? for help.")

    def _begin(self, ended: asyncio.Task[int]) -> None:
        self._ended = ended
        ended.add_done_callback(lambda ended: self._more.set())

    async def _watch(self, url: str, session: str | None, encoding: str, rest_seconds: float) -> int:
        ends = [os.dup(self.keyboard) for _ in range(2)]
        with open(ends[0]) as stdin, open(ends[1], "w", encoding=encoding) as stdout:
            async with Client(url) as client:
                return await Watch(client, session, stdin=stdin, stdout=stdout, rest_seconds=rest_seconds).run()

    @property
    def rows(self) -> list[str]:
        """What a person sees, without the blanks at the right."""
        return [row.rstrip() for row in self._emulated.display]

    def resize(self, columns: int, rows: int) -> None:
        """Make it larger or smaller, as a person does with a window."""
        termios.tcsetwinsize(self.keyboard, (rows, columns))
        self._emulated.resize(rows, columns)
        os.kill(os.getpid(), signal.SIGWINCH)

    async def ended(self) -> int:
        """Wait until the watch has ended; its exit code."""
        assert self._ended is not None
        async with asyncio.timeout(20):
            return await self._ended

    async def close(self) -> None:
        """End the watch; one of its own process must have ended."""
        if self._ended is not None:
            self._ended.cancel()
            await asyncio.gather(self._ended, return_exceptions=True)
        self._environment.undo()
        os.close(self.keyboard)
        await asyncio.to_thread(self._reader.join)
        os.close(self._screen)

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    async def until(self, *texts: str) -> str:
        """Wait until one of these has been printed behind what was waited for before; say which."""
        async with asyncio.timeout(20):
            while True:
                found = [(place, text) for text in texts if (place := self.shown.find(text, self._read_to)) >= 0]
                if found:
                    place, text = min(found)
                    self._read_to = place + len(text)
                    return text
                assert self._ended is None or not self._ended.done(), f"the watch ended without {texts}: {self.shown}"
                self._more.clear()
                await self._more.wait()

    async def press(self, keys: str, until: str) -> None:
        """Press keys until they count: those that come too soon after a new card do not."""
        async with asyncio.timeout(20):
            while True:
                self.type(keys)
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.6):
                        if await self.until(until, EARLY) == until:
                            return
                        await asyncio.sleep(REST_SECONDS)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(OSError):  # nobody has it open any more
            while output := os.read(self._screen, 65536):
                loop.call_soon_threadsafe(self._on_output, output)

    def _on_output(self, output: bytes) -> None:
        text = self._decoder.decode(output)
        self.shown += text
        self._stream.feed(text)
        self._more.set()
