"""Between a program on standard input and output and one that is started here: lines, both ways, and one end."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import stat
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple, cast

from pydantic_core import from_json

__all__ = ["LineRelay", "TooLong"]

_LOOKED_AT_BYTES = 1024
#: What waits for a server that does not read, before no more is read for it.
_MAX_UNREAD_BYTES = 64 * 1024 * 1024

#: A server that nobody needs any more: after so long it is told to end, and after so long again it is ended.
_GRACE_SECONDS = 5.0
_KILL_SECONDS = 3.0
#: What a server said before it ended, until all of it is here; what the client was sent, until it has taken it.
_DRAIN_SECONDS = 1.0
_FLUSH_SECONDS = 10.0

_LOOK_SECONDS = 0.02
#: The last is that of a terminal which is closed.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_NOT_FOUND = 127
_NOT_STARTED = 126

#: An id as the first or the last key of a message, where that is all one has of it.
_ID = rb'"id"\s*:\s*(-?\d{1,18}|"[^"\\]{1,256}")'
_FIRST_ID = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?' + _ID + rb"\s*,")
_LAST_ID = re.compile(_ID + rb'\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')


class LineRelay(ABC):
    """One client, one server, and their lines.

    Whatever ends first, the client, the server or this process, ends the others. A line beyond ``max_line_bytes`` is
    not kept.
    """

    def __init__(self, *, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._server = _Server(self, _Lines(max_line_bytes))
        self._client = _Client(self, _Lines(max_line_bytes))
        self._changed = asyncio.Event()
        self._signals = 0

    @abstractmethod
    def from_client(self, line: bytes) -> None:
        """Take one line of the client's."""

    @abstractmethod
    def from_server(self, line: bytes) -> None:
        """Take one line of the server's."""

    @abstractmethod
    def too_long(self, line: TooLong, *, from_client: bool) -> None:
        """A line was not kept."""

    @abstractmethod
    async def _withdraw(self) -> None:
        """Nobody waits any more for what was asked."""

    @abstractmethod
    def _is_owed(self) -> bool:
        """Whether the server has something to finish for a client that still reads."""

    @abstractmethod
    def _server_ended(self) -> None:
        """The server has ended, and answers nothing any more."""

    async def run(self, command: Sequence[str], *, source: int, sink: int) -> int:
        """Start the server, relay until something ends, and return the server's exit code.

        The server and what it starts are a group of processes of their own, of which nothing is left. It inherits the
        environment but for ``NOTIFIER_*``, which is ours: a token in it would let the server answer for itself.

        The client's messages come from the open file ``source``, and what it gets goes to ``sink``; both are closed.
        """
        loop = asyncio.get_running_loop()
        environment = {name: value for name, value in os.environ.items() if not name.upper().startswith("NOTIFIER_")}
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        try:
            try:
                await loop.subprocess_exec(
                    lambda: self._server, *command, stderr=None, start_new_session=True, env=environment
                )
            except OSError as error:
                os.close(source)
                os.close(sink)
                print(f"notifier-service: {command[0]}: {error.strerror or error}", file=sys.stderr)
                return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_STARTED
            await self._client.connect(source, sink)
            await self._until(self._is_ending)
            await self._withdraw()
            await self._end_server()
            self._server_ended()
            return self._server.exit_code
        finally:
            await self._withdraw()
            self._server.close()
            await self._client.close()
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def changed(self) -> None:
        """Somebody came to an end."""
        self._changed.set()

    def client_is_full(self, full: bool) -> None:
        """The client does not read, or does again: nor is read what would only fill memory."""
        self._client.pause("client", full)
        self._server.pause(full)

    def server_is_full(self, full: bool) -> None:
        self._client.pause("server", full)

    def _is_ending(self) -> bool:
        server, client = self._server, self._client
        return server.is_over or server.is_deaf or client.has_left or client.is_gone or self._signals > 0

    def _on_signal(self) -> None:
        self._signals += 1
        if self._signals > 1:
            self._server.kill()
        self.changed()

    async def _until(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait until the condition holds, for so long at most; whether it does."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        return condition()

    async def _end_server(self) -> None:
        """Let the server finish what it does for a client that still reads, then end it."""
        server = self._server
        server.close_input()

        def is_to_end() -> bool:
            return server.is_over or self._signals > 0

        while not await self._until(is_to_end, _GRACE_SECONDS) and self._is_owed() and not self._client.is_gone:
            pass
        if server.is_running:
            server.terminate()
            if not await self._server_ends(_KILL_SECONDS):
                server.kill()
                await self._server_ends(_DRAIN_SECONDS)
        await self._until(lambda: server.is_silent, _DRAIN_SECONDS)

    async def _server_ends(self, seconds: float) -> bool:
        """Wait until nothing of the server runs, for so long at most; nobody tells when its children end."""
        deadline = time.monotonic() + seconds
        while self._server.is_running and time.monotonic() < deadline:
            await self._until(lambda: not self._server.is_running, _LOOK_SECONDS)
        return not self._server.is_running


class _Client(asyncio.Protocol):
    """The client's two pipes."""

    def __init__(self, relay: LineRelay, lines: _Lines) -> None:
        self._relay = relay
        self._lines = lines
        self._source: asyncio.ReadTransport | None = None
        self._sink: asyncio.WriteTransport | None = None
        self._copies: list[threading.Thread] = []
        self._output = _ClientOutput(relay)
        self._full: set[str] = set()
        self.has_left = False

    @property
    def is_gone(self) -> bool:
        """Whether nobody reads any more what it is told."""
        return self._output.is_closed

    async def connect(self, source: int, sink: int) -> None:
        loop = asyncio.get_running_loop()
        source = self._pollable(source, os.O_RDONLY)
        sink = self._pollable(sink, os.O_WRONLY)
        self._sink, _ = await loop.connect_write_pipe(lambda: self._output, os.fdopen(sink, "wb", buffering=0))
        self._source, _ = await loop.connect_read_pipe(lambda: self, os.fdopen(source, "rb", buffering=0))

    def _pollable(self, end: int, mode: int) -> int:
        """The file itself, or the end of a pipe to or from it: a file on a disk is nothing that one can wait for."""
        kind = os.fstat(end).st_mode
        if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) or os.isatty(end):
            return end
        near, far = os.pipe() if mode == os.O_RDONLY else os.pipe()[::-1]
        reading, writing = (end, far) if mode == os.O_RDONLY else (far, end)
        copy = threading.Thread(target=_copy, args=(reading, writing), daemon=True)
        copy.start()
        if mode == os.O_WRONLY:
            self._copies.append(copy)
        return near

    def write(self, line: bytes) -> None:
        if self._sink is not None and not self._output.is_closed:
            self._sink.write(line + b"\n")

    def write_if_reading(self, line: bytes) -> None:
        """Write what is worth nothing later."""
        if not self._output.is_paused:
            self.write(line)

    def pause(self, reason: str, paused: bool) -> None:
        if paused:
            self._full.add(reason)
        else:
            self._full.discard(reason)
        _pause(self._source, bool(self._full))

    async def close(self) -> None:
        if self._source is not None:
            self._source.close()
        if self._sink is not None:
            self._sink.close()
            await self._output.closed(_FLUSH_SECONDS)
        for copy in self._copies:
            await asyncio.to_thread(copy.join, _FLUSH_SECONDS)

    def data_received(self, data: bytes) -> None:
        for line in self._lines.take(data):
            if isinstance(line, TooLong):
                self._relay.too_long(line, from_client=True)
            else:
                self._relay.from_client(line)

    def connection_lost(self, error: Exception | None) -> None:
        rest = self._lines.rest()
        if rest and error is None:
            self._relay.from_client(rest)
        self.has_left = True
        self._relay.changed()


class _ClientOutput(asyncio.BaseProtocol):
    def __init__(self, relay: LineRelay) -> None:
        self._relay = relay
        self._closed = asyncio.Event()
        self.is_paused = False

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    async def closed(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()

    def pause_writing(self) -> None:
        self.is_paused = True
        self._relay.client_is_full(True)

    def resume_writing(self) -> None:
        self.is_paused = False
        self._relay.client_is_full(False)

    def connection_lost(self, error: Exception | None) -> None:
        self._closed.set()
        self._relay.changed()


class _Server(asyncio.SubprocessProtocol):
    """The server's process and its two pipes."""

    def __init__(self, relay: LineRelay, lines: _Lines) -> None:
        self._relay = relay
        self._lines = lines
        self._transport: asyncio.SubprocessTransport | None = None
        self._input: asyncio.WriteTransport | None = None
        self._is_gone = False
        self.is_over = False
        self.is_silent = False
        self.is_deaf = False

    @property
    def exit_code(self) -> int:
        """As a shell tells it: 128 and the number of the signal that ended it."""
        code = None if self._transport is None else self._transport.get_returncode()
        return 1 if code is None else code if code >= 0 else 128 - code

    def write(self, line: bytes) -> None:
        if self._input is not None and not self._input.is_closing():
            self._input.write(line + b"\n")

    def pause(self, paused: bool) -> None:
        if self._transport is not None:
            _pause(cast("asyncio.ReadTransport | None", self._transport.get_pipe_transport(1)), paused)

    def close_input(self) -> None:
        if self._input is not None:
            self._input.close()

    @property
    def is_running(self) -> bool:
        """Whether the server runs, or something that it has started."""
        return self._signal(0) or not (self.is_over or self._transport is None)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """Leave nothing of it; what still runs is killed."""
        if self._transport is not None:
            self.kill()
            self._transport.close()

    def _signal(self, number: int) -> bool:
        """Send a signal to the whole group; False when there is none any more."""
        if self._transport is None or self._is_gone:
            return False
        try:
            os.killpg(self._transport.get_pid(), number)
        except (ProcessLookupError, PermissionError):
            # Its number may be another group's from now on, but only after the server itself was waited for.
            self._is_gone = self.is_over
            return False
        return True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self._input = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        self._input.set_write_buffer_limits(high=_MAX_UNREAD_BYTES)

    def pause_writing(self) -> None:
        self._relay.server_is_full(True)

    def resume_writing(self) -> None:
        self._relay.server_is_full(False)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        for line in self._lines.take(data):
            if isinstance(line, TooLong):
                self._relay.too_long(line, from_client=False)
            else:
                self._relay.from_server(line)

    def pipe_connection_lost(self, fd: int, error: Exception | None) -> None:
        if fd == 1:
            rest = self._lines.rest()
            if rest:
                self._relay.from_server(rest)
            self.is_silent = True
        else:
            self.is_deaf = True
        self._relay.changed()

    def process_exited(self) -> None:
        self.is_over = True
        self._relay.changed()


class TooLong(NamedTuple):
    """What is kept of a line that is longer than any is kept."""

    head: bytes
    tail: bytes

    def message_id(self) -> str | int | None:
        """The id of the message that it was, where its sender puts it first or last."""
        found = _FIRST_ID.match(self.head) or _LAST_ID.search(self.tail)
        message_id: str | int | None = None if found is None else from_json(found[1])
        return message_id


class _Lines:
    """The lines in the pieces of a stream."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pieces: list[bytes] = []
        self._size = 0
        self._long: TooLong | None = None

    def take(self, data: bytes) -> Iterator[bytes | TooLong]:
        """The lines that are whole with this piece."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._keep(data[start:end])
            yield self._line()
            start = end + 1
        self._keep(data[start:])

    def rest(self) -> bytes:
        """What came behind the last end of a line."""
        line = self._line()
        return line if isinstance(line, bytes) else b""

    def _line(self) -> bytes | TooLong:
        line = b"".join(self._pieces) if self._long is None else self._long
        self._pieces, self._size, self._long = [], 0, None
        return line.removesuffix(b"\r") if isinstance(line, bytes) else line

    def _keep(self, piece: bytes) -> None:
        if not piece:
            return
        self._size += len(piece)
        if self._size <= self._max_bytes:
            self._pieces.append(piece)
            return
        if self._long is None:
            head = b"".join([*self._pieces, piece])[:_LOOKED_AT_BYTES]
            self._long, self._pieces = TooLong(head, b"".join(self._pieces)[-_LOOKED_AT_BYTES:]), []
        self._long = self._long._replace(tail=(self._long.tail + piece)[-_LOOKED_AT_BYTES:])


def _pause(transport: asyncio.ReadTransport | None, paused: bool) -> None:
    if transport is not None and not transport.is_closing() and transport.is_reading() == paused:
        if paused:
            transport.pause_reading()
        else:
            transport.resume_reading()


def _copy(source: int, sink: int) -> None:
    with (
        suppress(OSError),
        os.fdopen(source, "rb", buffering=0) as reading,
        os.fdopen(sink, "wb", buffering=0) as writing,
    ):
        shutil.copyfileobj(reading, writing)
