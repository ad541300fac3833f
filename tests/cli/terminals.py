"""A terminal that is none, with a watch in it and a person before it."""

from __future__ import annotations

import asyncio
import codecs
import os
import pty
import signal
import termios
from asyncio.subprocess import Process
from contextlib import suppress

import pyte

from tests.cli.processes import Commands

__all__ = ["LOOK", "SCREEN", "Terminal"]

#: Wide, so that nothing wraps; dumb, so that every escape in the output would be somebody else's.
SCREEN = {"TERM": "dumb", "COLUMNS": "200", "LINES": "60", "PYTHONIOENCODING": "utf-8"}

LOOK = "look, then press again"


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
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        asyncio.get_running_loop().add_reader(self._screen, self._on_output)

    async def open(self, commands: Commands, **environment: str) -> None:
        """Start a watch of session ``s`` and wait until it has begun."""
        encoding = environment.get("PYTHONIOENCODING", "utf-8")
        self._decoder = codecs.getincrementaldecoder(encoding)()
        ends = dict.fromkeys(("stdin", "stdout", "stderr"), self.keyboard)
        self.process = await commands.start("watch", "s", env=SCREEN | environment, **ends)
        self._ended = asyncio.create_task(self.process.wait())
        self._ended.add_done_callback(lambda ended: self._more.set())
        await self.until("Watching session s; 1 watching. Press ? for help.")

    @property
    def rows(self) -> list[str]:
        """What a person sees, without the blanks at the right."""
        return [row.rstrip() for row in self._emulated.display]

    def resize(self, columns: int, rows: int) -> None:
        """Make it larger or smaller, as a person does with a window."""
        assert self.process is not None
        termios.tcsetwinsize(self.keyboard, (rows, columns))
        self._emulated.resize(rows, columns)
        self.process.send_signal(signal.SIGWINCH)

    async def ended(self) -> int:
        """Wait until the watch has ended; its exit code."""
        assert self._ended is not None
        async with asyncio.timeout(20):
            return await self._ended

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._screen)
        os.close(self._screen)
        os.close(self.keyboard)

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
                        await self.until(until)
                        return

    def _on_output(self) -> None:
        try:
            text = self._decoder.decode(os.read(self._screen, 65536))
            self.shown += text
            self._stream.feed(text)
        except OSError:
            asyncio.get_running_loop().remove_reader(self._screen)
        self._more.set()
