"""What a person types: single keys on a terminal, lines elsewhere."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TextIO

__all__ = ["Keyboard", "Typed"]

#: An arrow key is three characters, which may come one by one; the last one looks like a letter.
_ESCAPE_SECONDS = 0.1
#: A key that is held down repeats in less than this.
_REPEAT_SECONDS = 0.2


#: What a terminal sends that was asked to tell whether it has the focus.
_FOCUS = re.compile(rb"\x1b\[([IO])")


class Typed(NamedTuple):
    """A key, or a line, and when it was read (on the loop's clock)."""

    text: str
    at: float


class Keyboard:
    """Standard input, as long as ``open`` lasts.

    On a terminal ``on_disturbed`` hears that its size has changed, or that the command was stopped and goes on, and
    ``on_focus`` whether it has the focus, where it says so when ``write`` has asked it to.
    """

    def __init__(
        self,
        stdin: TextIO,
        *,
        has_keys: bool,
        on_disturbed: Callable[[], object],
        on_focus: Callable[[bool], object] = lambda has_focus: None,
        write: Callable[[str], object] = lambda text: None,
    ) -> None:
        self._stdin = stdin
        self._has_keys = has_keys
        self._on_disturbed = on_disturbed
        self._on_focus = on_focus
        self._write = write
        self._tells_focus = has_keys and os.environ.get("TERM", "dumb") != "dumb"
        self._input: asyncio.Queue[Typed | None] = asyncio.Queue()
        self._is_line = not has_keys
        self._typed = b""
        self._deaf_until = 0.0

    def fileno(self) -> int:
        return self._stdin.fileno()

    async def next(self) -> Typed | None:
        """The next key or line; None at the end of the input."""
        return await self._input.get()

    async def is_held_down(self) -> bool:
        """Whether the key that came last goes on coming, as one does that something lies on."""
        try:
            async with asyncio.timeout(_REPEAT_SECONDS):
                typed = await self._input.get()
        except TimeoutError:
            return False
        if typed is None:
            self._input.put_nowait(None)
        return typed is not None

    @contextmanager
    def open(self) -> Iterator[None]:
        """Hear single keys on a terminal, lines elsewhere."""
        loop = asyncio.get_running_loop()
        descriptor = self._stdin.fileno()
        before = termios.tcgetattr(descriptor) if self._has_keys else None
        try:
            if before is not None:
                self._take_keys()
                for number in (signal.SIGWINCH, signal.SIGCONT):
                    loop.add_signal_handler(number, self._disturbed)
                if self._tells_focus:
                    loop.add_signal_handler(signal.SIGTSTP, self._stop)
                self._ask_for_focus(is_asked=True)
            loop.add_reader(descriptor, self._on_readable, descriptor)
        except PermissionError:
            # A plain file as standard input cannot be waited for; it has no keys either.
            for line in self._stdin:
                self._put(line)
            self._input.put_nowait(None)
        try:
            yield
        finally:
            loop.remove_reader(descriptor)
            if before is not None:
                self._ask_for_focus(is_asked=False)
                for number in (signal.SIGWINCH, signal.SIGCONT, signal.SIGTSTP):
                    loop.remove_signal_handler(number)
                termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

    @contextmanager
    def lines(self) -> Iterator[None]:
        """Give the person the terminal: whole lines, with an echo."""
        descriptor = self._stdin.fileno()
        keys = termios.tcgetattr(descriptor)
        lines = termios.tcgetattr(descriptor)
        lines[3] |= termios.ICANON | termios.ECHO
        self._ask_for_focus(is_asked=False)  # it would stand in the line
        termios.tcsetattr(descriptor, termios.TCSADRAIN, lines)
        self._is_line = True
        try:
            yield
        finally:
            self._is_line = False
            self._ask_for_focus(is_asked=True)
            termios.tcsetattr(descriptor, termios.TCSADRAIN, keys)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Leave the terminal to another program."""
        loop, descriptor = asyncio.get_running_loop(), self._stdin.fileno()
        with self.lines():
            loop.remove_reader(descriptor)
            try:
                yield
            finally:
                loop.add_reader(descriptor, self._on_readable, descriptor)

    def _take_keys(self, when: int = termios.TCSAFLUSH) -> None:
        descriptor = self._stdin.fileno()
        tty.setcbreak(descriptor, when)
        settings: list[Any] = termios.tcgetattr(descriptor)
        settings[0] &= ~termios.IXON  # with Ctrl-S keys would answer what is not on the screen yet
        termios.tcsetattr(descriptor, termios.TCSANOW, settings)

    def _ask_for_focus(self, *, is_asked: bool) -> None:
        if self._tells_focus:
            self._write("\x1b[?1004h" if is_asked else "\x1b[?1004l")

    def _stop(self) -> None:
        """Stop as asked (Ctrl-Z), and leave the shell a terminal that does not tell of its focus."""
        self._ask_for_focus(is_asked=False)
        os.kill(os.getpid(), signal.SIGSTOP)

    def _disturbed(self) -> None:
        if not self._is_line:
            self._ask_for_focus(is_asked=True)
            # A shell that let the command go on may have set them otherwise. What was typed stays: it may be read just
            # now, and the read would wait.
            self._take_keys(termios.TCSANOW)
        self._on_disturbed()

    def _on_readable(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, 4096)
        except OSError:
            data = b""  # the terminal is gone
        if self._has_keys and not self._is_line:
            told = _FOCUS.findall(data)
            if told:
                self._on_focus(told[-1] == b"I")
                data = _FOCUS.sub(b"", data)
                if not data:
                    return
            if not data or data == b"\x04":
                self._end(descriptor)
            else:
                self._take_key(data.decode(errors="replace"))
            return
        *lines, self._typed = (self._typed + data).split(b"\n")
        for line in lines:
            self._put(line.decode(errors="replace"))
        if not data:
            # The end of the input; at a prompt Ctrl-D, which ends that line only.
            rest, self._typed = self._typed, b""
            if rest or self._has_keys:
                self._put(rest.decode(errors="replace"))
            if not self._has_keys:
                self._end(descriptor)

    def _take_key(self, text: str) -> None:
        """One key, or the same several times; what else comes at once was pasted, or is an arrow, and says nothing."""
        now = asyncio.get_running_loop().time()
        if "\x1b" in text:
            self._deaf_until = now + _ESCAPE_SECONDS
        keys = set(text.rstrip("\r\n")) or {"\n"}  # people press Enter after a key
        if now >= self._deaf_until and len(keys) == 1:
            self._put(keys.pop())

    def _put(self, text: str) -> None:
        self._input.put_nowait(Typed(text, asyncio.get_running_loop().time()))

    def _end(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        self._input.put_nowait(None)
